//! `schema apply` and `schema rollback`: applies steps one by one, or undoes them, the latest first.

use retell_vault::schema::{Applied, RolledBack, SchemaEvent, SchemaPlan, Step};
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::args::schema::{ApplyArgs, RollbackArgs};
use crate::failure::Failure;
use crate::progress::unless_interrupted;
use crate::{print, session};

/// Plans, tells the steps, and applies them.
pub async fn apply(global: &Global, options: &ApplyArgs) -> Result<(), Failure> {
    let wanted = options.wanted.wanted()?;
    let vault = session::vault(global).await?;
    let schema = vault.schema();
    let plan = schema.plan(wanted).await?;
    for line in plan.to_string().lines() {
        print::note("plan", line);
    }
    let mut progress = StepProgress::default();
    let options = options.options();
    let work = schema.apply(&plan, &options, |event| progress.hear(event));
    match unless_interrupted(work).await? {
        None => Err(progress.interrupted("applied", "is rolled back")),
        Some(applied) => tell_applied(global, &plan, &applied?),
    }
}

fn tell_applied(global: &Global, plan: &SchemaPlan, applied: &Applied) -> Result<(), Failure> {
    if global.json {
        return print::json(&as_json(plan, applied));
    }
    if applied.steps.iter().any(|step| step.starts_with("column.") || step.starts_with("type.")) {
        print::hint("`retell-vault schema promote` moves records into the new columns");
    }
    if !applied.steps.is_empty() {
        print::hint(
            "`retell-vault schema verify` checks the result; `retell-vault schema rollback` undoes it",
        );
    }
    print::line(&match applied.steps.len() as u64 {
        0 => format!("nothing to do: {} matches the plan", plan.table),
        steps => format!("applied {} to {}", print::count(steps, "step"), plan.table),
    })
}

fn as_json(plan: &SchemaPlan, applied: &Applied) -> Value {
    json!({
        "table": plan.table,
        "profile": plan.wanted().profile().as_str(),
        "applied": applied.steps,
    })
}

/// Undoes the recorded steps.
pub async fn rollback(global: &Global, options: &RollbackArgs) -> Result<(), Failure> {
    let vault = session::vault(global).await?;
    let schema = vault.schema();
    let mut progress = StepProgress::default();
    let options = options.options();
    let work = schema.roll_back(&options, |event| match event {
        // its end is told
        SchemaEvent::Begins(_) => {}
        event => progress.hear(event),
    });
    match unless_interrupted(work).await? {
        None => Err(progress.interrupted("undone", "stays applied")),
        Some(rolled_back) => tell_rolled_back(global, &rolled_back?),
    }
}

fn tell_rolled_back(global: &Global, rolled_back: &RolledBack) -> Result<(), Failure> {
    if global.json {
        return print::json(&json!({ "undone": rolled_back.steps, "backups": rolled_back.backups }));
    }
    if !rolled_back.backups.is_empty() {
        print::hint(
            "only the owner of the backup tables can read them; drop them when you no longer need the data",
        );
        print::hint(
            "records whose tokens are in them do not load until you restore these: docs/SCHEMA.md, \"Roll back\"",
        );
    }
    print::line(&match rolled_back.steps.len() as u64 {
        0 => "nothing to undo: no step is recorded".to_owned(),
        steps => format!("undid {}", print::count(steps, "step")),
    })
}

/// Prints the steps to standard error, and counts them.
#[derive(Default)]
struct StepProgress {
    /// Steps that were applied or undone.
    done: u64,
    /// The step that waits for its lock, so that it is printed once.
    waits: Option<String>,
}

impl StepProgress {
    fn hear(&mut self, event: SchemaEvent<'_>) {
        match event {
            SchemaEvent::Waiting => print::note("waits", "another run is working on this table"),
            SchemaEvent::Begins(step) => print::note("step", &step.id),
            SchemaEvent::Locked(step) => self.wait(step),
            SchemaEvent::Instead(step) => print::warning(&format!(
                "{}: {}; `retell-vault doctor` lists the rows that prevent it",
                step.id, step.reason
            )),
            SchemaEvent::Applied(_) => self.done += 1,
            SchemaEvent::Undone(step) => {
                self.done += 1;
                print::note("undone", step);
            }
            SchemaEvent::BackedUp(table) => print::note("backup", table),
            _ => {}
        }
    }

    fn wait(&mut self, step: &Step) {
        if self.waits.as_ref() != Some(&step.id) {
            let text = format!(
                "{}: the table is in use; letting other sessions go first, then trying again",
                step.id
            );
            print::note("waits", &text);
            self.waits = Some(step.id.clone());
        }
    }

    /// The failure of an interrupted run: how many steps are done, and the state of the current one.
    fn interrupted(&self, done: &str, under_way: &str) -> Failure {
        let steps = print::count(self.done, "step");
        Failure::new(
            format!("interrupted: {steps} {done}; the current one {under_way}"),
            "run the same command again to continue",
        )
    }
}
