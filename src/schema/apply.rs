//! Applying a plan: each step with its record, or not at all.

use crate::error::{Error, ErrorKind};
use crate::postgres::connection::direct::Refusal;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::plan::Postgres;
use crate::schema::journal;
use crate::schema::object_owner::{HINT, PLANTED};
use crate::schema::options::{Applied, ApplyOptions, SchemaEvent};
use crate::schema::plan::{SchemaPlan, plan};
use crate::schema::step::{Instead, Step};
use crate::schema::step_runner::{Listener, StepRunner};

/// A step may allow another step that could not be planned before, which may allow one more.
const ROUNDS: usize = 3;
/// How many closed connections of the pool are tolerated when the table is read.
const CLOSED: usize = 3;

pub(super) async fn apply(
    postgres: &Postgres,
    given: &SchemaPlan,
    options: &ApplyOptions,
    listener: Listener<'_>,
) -> Result<Applied, DatabaseError> {
    if given.layout != *postgres.layout() {
        let message = format!("the plan is for {}, which is not the table of this vault", given.table);
        return Err(Error::new(ErrorKind::InvalidInput, message).into());
    }
    may_apply(given, options)?;
    let runner = StepRunner::begin(postgres, options, listener).await?;
    let mut run =
        ApplyRun { runner, postgres, given, options, applied: Applied::default(), replaced: Vec::new() };
    let done = run.rounds().await;
    if done.is_err() && run.applied.steps.is_empty() {
        return done.map(|()| run.applied);
    }
    let ended = run.end(done.is_ok()).await;
    postgres.refresh().await.ok(); // what was looked at before is forgotten in any case
    done.and(ended)
}

/// Checks the conditions that must be met before the first step.
fn may_apply(plan: &SchemaPlan, options: &ApplyOptions) -> Result<(), Error> {
    if let Some(blocked) = plan.blocked.first() {
        let error = Error::new(ErrorKind::Schema, format!("{}: {}", blocked.object, blocked.reason));
        return Err(error.with_hint(blocked.hint.clone()));
    }
    match plan.steps.iter().find(|step| step.rewrites && !options.allow_rewrite) {
        None => Ok(()),
        Some(step) => Err(rewrites(step)),
    }
}

pub(super) fn rewrites(step: &Step) -> Error {
    let message =
        format!("step {} rewrites the table and blocks all reads and writes of it meanwhile", step.id);
    Error::new(ErrorKind::Schema, message)
        .with_hint("choose a quiet time, then allow the rewrite with allow_rewrite (`--allow-rewrite`)")
}

struct ApplyRun<'a> {
    runner: StepRunner<'a>,
    postgres: &'a Postgres,
    given: &'a SchemaPlan,
    options: &'a ApplyOptions,
    applied: Applied,
    /// The ids of steps that took their other form. The plan still names them.
    replaced: Vec<String>,
}

impl ApplyRun<'_> {
    async fn rounds(&mut self) -> Result<(), DatabaseError> {
        let mut plan = self.plan().await?;
        if !is_covered(&plan, self.given) {
            let message = format!("the schema of {} has changed since the plan was made", plan.table);
            return Err(Error::new(ErrorKind::StalePlan, message).into());
        }
        for _ in 0..ROUNDS {
            if self.left(&plan).is_none() {
                return Ok(());
            }
            for step in &plan.steps {
                self.step(step).await?;
            }
            plan = self.plan().await?;
            may_apply(&plan, self.options)?;
        }
        match self.left(&plan) {
            None => Ok(()),
            Some(step) => {
                let message = format!("step {} was applied but is still needed", step.id);
                let hint = "check whether another process or an event trigger also changes the schema";
                Err(Error::new(ErrorKind::Schema, message).with_hint(hint).into())
            }
        }
    }

    /// Plans again. Connections of the pool may have been closed during a long step, which only their use shows.
    ///
    /// `&mut`, since a shared listener would keep the future from being spawned.
    async fn plan(&mut self) -> Result<SchemaPlan, DatabaseError> {
        for _ in 0..CLOSED {
            match plan(self.postgres, &self.given.wanted).await {
                Err(fault) if fault.outcome == Outcome::Fallback => {}
                planned => return planned,
            }
        }
        plan(self.postgres, &self.given.wanted).await
    }

    fn left<'p>(&self, plan: &'p SchemaPlan) -> Option<&'p Step> {
        plan.steps.iter().find(|step| !self.replaced.contains(&step.id))
    }

    async fn step(&mut self, step: &Step) -> Result<(), DatabaseError> {
        if self.replaced.contains(&step.id) {
            return Ok(());
        }
        self.runner.tell(SchemaEvent::Begins(step));
        let done = match &step.instead {
            Some(other) if self.holds(&other.when).await.map_err(|fault| self.within(step, fault))? => {
                self.instead(step, other).await
            }
            other => match (self.run(step).await, other) {
                (Err(refusal), Some(other)) if refusal.code == "23514" => self.instead(step, other).await,
                (done, _) => done,
            },
        };
        done.map_err(|refusal| self.within(step, explain(refusal)))
    }

    /// Applies the other form of a step once. Several steps may share it.
    async fn instead(&mut self, step: &Step, other: &Instead) -> Result<(), Refusal> {
        self.replaced.push(step.id.clone());
        if self.applied.steps.contains(&other.step.id) {
            return Ok(());
        }
        self.runner.tell(SchemaEvent::Instead(&other.step));
        self.run(&other.step).await
    }

    async fn holds(&mut self, query: &str) -> Result<bool, DatabaseError> {
        match self.runner.direct.value::<Option<bool>>(query).await {
            Ok(answer) => Ok(answer.unwrap_or(false)),
            // a forced policy hides rows from the owner of the table, and hidden rows may be such rows
            Err(refusal) if refusal.code == "42501" => Ok(true),
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn run(&mut self, step: &Step) -> Result<(), Refusal> {
        match step.concurrent {
            false => {
                let statements = [step.sql.clone(), self.record(step, true)].concat();
                self.runner.together(step, &statements).await?;
            }
            true => {
                let (begun, done) = (self.record(step, false), self.record(step, true));
                self.runner.together(step, &begun).await?;
                self.runner.has_journal = true;
                self.runner.one_by_one(step).await?;
                self.runner.together(step, &done).await?;
            }
        }
        self.runner.has_journal = true;
        self.runner.tell(SchemaEvent::Applied(step));
        self.applied.steps.push(step.id.clone());
        Ok(())
    }

    fn record(&self, step: &Step, done: bool) -> Vec<String> {
        let create = match self.runner.has_journal {
            true => Vec::new(),
            false => journal::create_sql(self.runner.layout),
        };
        let record = journal::record_sql(self.runner.layout, self.given.wanted.profile, step, done);
        [create, record].concat()
    }

    fn within(&self, step: &Step, fault: DatabaseError) -> DatabaseError {
        let before = match self.applied.steps.len() {
            0 => "no step was applied before it".to_owned(),
            1 => "the step before it was applied and recorded".to_owned(),
            many => format!("the {many} steps before it were applied and recorded"),
        };
        let error = fault.error.about(format_args!("step {} ({before})", step.id));
        DatabaseError::new(fault.outcome, error)
    }

    async fn end(mut self, is_complete: bool) -> Result<Applied, DatabaseError> {
        if is_complete && self.runner.has_journal {
            self.runner.direct.run(&journal::finish_sql(self.runner.layout)).await?;
        }
        self.runner.end().await?;
        Ok(self.applied)
    }
}

/// Whether the given plan covers every remaining step.
fn is_covered(fresh: &SchemaPlan, given: &SchemaPlan) -> bool {
    let others = given.steps.iter().filter_map(|step| step.instead.as_ref()).map(|other| &other.step);
    let known: Vec<&Step> = given.steps.iter().chain(others).collect();
    let is_known = |step: &Step| known.iter().any(|known| known.id == step.id && is_same(known, step));
    fresh.blocked.is_empty() && fresh.steps.iter().all(is_known)
}

/// For a concurrent step only the last statement counts. The statements before it remove leftovers of a killed run.
fn is_same(one: &Step, other: &Step) -> bool {
    match one.concurrent && other.concurrent {
        true => one.sql.last() == other.sql.last(),
        false => one.sql == other.sql,
    }
}

/// Explains a refusal of the server.
fn explain(refusal: Refusal) -> DatabaseError {
    let Refusal { code, fault } = refusal;
    let error = match code.as_str() {
        "23505" => Error::new(
            ErrorKind::Schema,
            "some owners have several rows, so the owner cannot be unique",
        )
        .with_hint(
            "plan with remove_duplicates (`--remove-duplicates`) to move all but the newest row of each owner to \
             another table",
        ),
        PLANTED => Error::new(
            ErrorKind::Schema,
            "it needs a function or table whose name belongs to another role",
        )
        .with_hint(HINT),
        "0A000" | "42883" => Error::new(
            ErrorKind::Schema,
            "another object depends on the column, so it cannot be changed",
        )
        .with_hint(
            "drop the views, rules, policies, indexes, constraints and generated columns that use it, and create \
             them again afterwards",
        ),
        "42809" => Error::new(
            ErrorKind::Schema,
            "the table is a partition or a typed table, so it cannot have columns of its own",
        )
        .with_hint("name the partitioned table, or alter the type yourself"),
        "42501" => fault.error.about("the role lacks a right that the step needs"),
        _ if fault.outcome == Outcome::Ambiguous => {
            let message = "the connection was lost; the step may have been applied";
            Error::new(ErrorKind::OutcomeUnknown, message)
                .with_hint("plan and apply again: the new run continues where this one ended")
        }
        _ => fault.error,
    };
    DatabaseError::new(fault.outcome, error.with_sqlstate(&code))
}
