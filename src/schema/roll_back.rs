//! Rolls back recorded steps, latest first.

use crate::error::{Error, ErrorKind};
use crate::postgres::connection::direct::Refusal;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::sql::names::{in_schema, literal, our_name, relation};
use crate::postgres::statements::plan::Postgres;
use crate::schema::apply::rewrites;
use crate::schema::journal::{self, JournalEntry};
use crate::schema::object_owner::lock_down_sql;
use crate::schema::options::{RollBackOptions, RolledBack, SchemaEvent};
use crate::schema::step::{DataAtRisk, Step};
use crate::schema::step_runner::{Listener, StepRunner};

/// SQLSTATE that the vault raises if rows were added since the count.
const MORE_ROWS: &str = "RV001";

pub(super) async fn roll_back(
    postgres: &Postgres,
    options: &RollBackOptions,
    listener: Listener<'_>,
) -> Result<RolledBack, DatabaseError> {
    let mut runner = StepRunner::begin(postgres, &options.apply, listener).await?;
    let entries = journal::entries(&mut runner.direct, runner.layout).await?;
    let mut run = RollBackRun { runner, options, undone: RolledBack::default() };
    run.may_undo(&entries).await?;
    let done = run.undo_all(&entries).await;
    let RollBackRun { runner, undone, .. } = run;
    if done.is_err() && undone.steps.is_empty() {
        return done.map(|()| undone);
    }
    let ended = runner.end().await;
    postgres.refresh().await.ok(); // what was looked at before is forgotten in any case
    done.and(ended).map(|()| undone)
}

struct RollBackRun<'a> {
    runner: StepRunner<'a>,
    options: &'a RollBackOptions,
    undone: RolledBack,
}

impl RollBackRun<'_> {
    /// Checks the conditions that must be met before the first rollback.
    async fn may_undo(&mut self, entries: &[JournalEntry]) -> Result<(), DatabaseError> {
        let rewriting = entries.iter().map(|entry| &entry.reversal).find(|step| step.rewrites);
        if let Some(step) = rewriting.filter(|_| !self.options.apply.allow_rewrite) {
            return Err(rewrites(step).into());
        }
        for (entry, at_risk) in entries.iter().filter_map(|entry| Some((entry, entry.at_risk.as_ref()?))) {
            let rows = self.count(&entry.reversal, at_risk).await?;
            self.may_lose(&entry.reversal, rows)?;
        }
        Ok(())
    }

    fn may_lose(&self, step: &Step, rows: i64) -> Result<(), Error> {
        if rows == 0 || self.options.allow_data_loss {
            return Ok(());
        }
        let rows = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
        Err(Error::new(ErrorKind::Schema, format!("{} holds data in {rows}", step.object)).with_hint(
            "to copy the data to another table and drop it, allow that with allow_data_loss (`--allow-data-loss`)",
        ))
    }

    /// The number of rows that would lose data. 0 if the object is already gone.
    async fn count(&mut self, step: &Step, at_risk: &DataAtRisk) -> Result<i64, Refusal> {
        let counted = match self.runner.direct.value(&at_risk.count).await {
            Err(refusal) if refusal.code == "42501" => self.count_unforced(step, at_risk).await,
            counted => counted,
        };
        match counted {
            Err(refusal) if ["42P01", "42703"].contains(&refusal.code.as_str()) => Ok(0),
            counted => counted,
        }
    }

    /// The same for a table with forced policies, which could hide rows that would lose data.
    async fn count_unforced(&mut self, step: &Step, at_risk: &DataAtRisk) -> Result<i64, Refusal> {
        let (unforced, forced) = self.forced().await?;
        let count =
            format!("SELECT pg_catalog.set_config('retell_vault.rows', ({})::text, false)", at_risk.count);
        let statements: Vec<_> = unforced.into_iter().chain([count]).chain(forced).collect();
        self.runner.together(step, &statements).await?;
        self.runner.direct.value("SELECT pg_catalog.current_setting('retell_vault.rows')::int8").await
    }

    /// The statements that let the owner see every row for the rest of a transaction, and that end this.
    async fn forced(&mut self) -> Result<(Option<String>, Option<String>), Refusal> {
        let relation = relation(self.runner.layout);
        let sql = format!(
            "SELECT relforcerowsecurity FROM pg_catalog.pg_class WHERE oid = {}::pg_catalog.regclass",
            literal(&relation)
        );
        let is_forced: bool = self.runner.direct.value(&sql).await?;
        let alter =
            |force: &str| is_forced.then(|| format!("ALTER TABLE {relation} {force} ROW LEVEL SECURITY"));
        Ok((alter("NO FORCE"), alter("FORCE")))
    }

    async fn undo_all(&mut self, entries: &[JournalEntry]) -> Result<(), DatabaseError> {
        for entry in entries {
            let step = &entry.reversal;
            self.runner.tell(SchemaEvent::Begins(step));
            if let Err(refusal) = self.undo(entry).await {
                return Err(DatabaseError::new(refusal.fault.outcome, self.explain(step, refusal)));
            }
            self.runner.tell(SchemaEvent::Undone(&step.id));
            self.undone.steps.push(step.id.clone());
        }
        Ok(())
    }

    fn explain(&self, step: &Step, refusal: Refusal) -> Error {
        let Refusal { code, fault } = refusal;
        let error = match code.as_str() {
            "09000" => Error::new(
                ErrorKind::Schema,
                "a trigger or rule of the table prevents rows from being restored",
            )
            .with_hint(
                "switch it off (`ALTER TABLE … DISABLE TRIGGER …`), roll back again, and switch it on",
            ),
            "42703" | "42704" | "42P01" | "42883" => {
                Error::new(ErrorKind::Schema, "the object that the step created was removed or renamed")
                    .with_hint("apply the plan again, which creates it again, then roll back")
            }
            _ if fault.outcome == Outcome::Ambiguous => {
                let message = "the connection was lost; the step may have been rolled back";
                Error::new(ErrorKind::OutcomeUnknown, message)
                    .with_hint("roll back again: the new run continues where this one ended")
            }
            _ => fault.error,
        };
        let before = match self.undone.steps.len() {
            0 => "no step was rolled back before it".to_owned(),
            1 => "the step after it was rolled back".to_owned(),
            many => format!("the {many} steps after it were rolled back"),
        };
        error.with_sqlstate(&code).about(format_args!("rolling back step {} ({before})", step.id))
    }

    async fn undo(&mut self, entry: &JournalEntry) -> Result<(), Refusal> {
        let (step, forget) = (&entry.reversal, journal::forget_sql(self.runner.layout, entry.seq));
        if step.concurrent {
            self.runner.one_by_one(step).await?;
            return self.runner.together(step, &forget).await;
        }
        let Some(at_risk) = &entry.at_risk else {
            return self.runner.together(step, &[step.sql.clone(), forget].concat()).await;
        };
        loop {
            match self.undo_with_care(step, at_risk, &forget).await {
                Err(refusal) if refusal.code == MORE_ROWS => {}
                done => return done,
            }
        }
    }

    /// Rolls back a step in the same transaction that copies its data. No other session can write meanwhile, so no data
    /// is lost that was not counted or copied.
    async fn undo_with_care(
        &mut self,
        step: &Step,
        at_risk: &DataAtRisk,
        forget: &[String],
    ) -> Result<(), Refusal> {
        let rows = self.count(step, at_risk).await?;
        self.may_lose(step, rows)?;
        let (unforced, forced) = self.forced().await?;
        let mut statements =
            vec![format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", relation(self.runner.layout))];
        statements.extend(unforced);
        let backup = match rows {
            0 => None,
            _ => Some(self.free_name(step).await?),
        };
        match &backup {
            None => statements.push(guard(at_risk)),
            Some(name) => statements.extend(backup_sql(&in_schema(self.runner.layout, name), at_risk)),
        }
        statements.extend(step.sql.iter().chain(&forced).chain(forget).cloned());
        self.runner.together(step, &statements).await?;
        if let Some(name) = backup {
            let name = format!("{}.{name}", self.runner.layout.schema);
            self.runner.tell(SchemaEvent::BackedUp(&name));
            self.undone.backups.push(name);
        }
        Ok(())
    }

    /// A free name for a backup table.
    async fn free_name(&mut self, step: &Step) -> Result<String, Refusal> {
        let id = step.id.replace('.', "_");
        let base = ["backup", &self.runner.layout.table, &id];
        let mut name = our_name(&base);
        let mut number = 1;
        while self.exists(&name).await? {
            number += 1;
            name = our_name(&[&base[..], &[&number.to_string()]].concat());
        }
        Ok(name)
    }

    async fn exists(&mut self, name: &str) -> Result<bool, Refusal> {
        let name = literal(&in_schema(self.runner.layout, name));
        self.runner.direct.value(&format!("SELECT to_regclass({name}) IS NOT NULL")).await
    }
}

fn backup_sql(backup: &str, at_risk: &DataAtRisk) -> Vec<String> {
    let copy = format!("CREATE TABLE {backup} AS {}", at_risk.backup);
    [vec![copy], lock_down_sql(backup)].concat()
}

/// A statement that fails if there is data to lose after all. If the object is already gone, there is none.
fn guard(at_risk: &DataAtRisk) -> String {
    let body = format!(
        "DECLARE n bigint; BEGIN EXECUTE {} INTO n; IF n > 0 THEN RAISE EXCEPTION USING ERRCODE = '{MORE_ROWS}'; END IF; \
         EXCEPTION WHEN undefined_column OR undefined_table THEN NULL; END",
        literal(&at_risk.count)
    );
    format!("DO {}", literal(&body))
}
