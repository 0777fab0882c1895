//! `schema`: what the table lacks, how it gets it, and how that is taken back.

mod apply;
mod plan;
mod promote;
mod rollback;
mod verify;

use retell_vault::{SchemaEvent, Step};

use crate::args::{Global, SchemaCommand};
use crate::failure::Failure;
use crate::print;

/// Runs one of them.
pub async fn run(global: &Global, command: &SchemaCommand) -> Result<(), Failure> {
    match command {
        SchemaCommand::Plan(options) => plan::plan(global, options).await,
        SchemaCommand::Apply(options) => apply::apply(global, options).await,
        SchemaCommand::Verify(wanted) => verify::verify(global, wanted).await,
        SchemaCommand::Rollback(options) => rollback::rollback(global, options).await,
        SchemaCommand::Promote(options) => promote::promote(global, options).await,
    }
}

/// Tells on standard error what happens to the table, and counts it.
#[derive(Default)]
struct Teller {
    /// Steps that were applied, or taken back.
    done: u64,
    /// The step that waits for its lock, so that it is told once.
    waits: Option<String>,
}

impl Teller {
    fn hear(&mut self, event: SchemaEvent<'_>) {
        match event {
            SchemaEvent::Waiting => print::note("waits", "another run is at work on this table"),
            SchemaEvent::Begins(step) => print::note("step", &step.id),
            SchemaEvent::Locked(step) => self.wait(step),
            SchemaEvent::Instead(step) => print::warning(&format!(
                "{}: {}; `retell-vault doctor` says which rows hold it back",
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
            let text = format!("{}: the table is in use; it lets others go first, and tries again", step.id);
            print::note("waits", &text);
            self.waits = Some(step.id.clone());
        }
    }

    /// How a run ends that somebody interrupts: what became of so many steps, and of the one under way.
    fn interrupted(&self, done: &str, under_way: &str) -> Failure {
        let steps = print::count(self.done, "step");
        Failure::new(
            format!("interrupted: {steps} {done}, and the one under way {under_way}"),
            "run the same command to go on",
        )
    }
}
