//! `schema rollback`: what was applied is taken back, the latest first.

use retell_vault::{RolledBack, SchemaEvent};
use serde_json::json;

use super::Teller;
use crate::args::{Global, Rollback};
use crate::failure::Failure;
use crate::interrupt::unless_interrupted;
use crate::{print, session};

/// Takes the recorded steps back.
pub async fn rollback(global: &Global, options: &Rollback) -> Result<(), Failure> {
    let vault = session::vault(global).await?;
    let schema = vault.schema();
    let mut teller = Teller::default();
    let options = options.options();
    let work = schema.roll_back(&options, |event| match event {
        // its end is told
        SchemaEvent::Begins(_) => {}
        event => teller.hear(event),
    });
    match unless_interrupted(work).await? {
        None => Err(teller.interrupted("taken back", "stays applied")),
        Some(rolled_back) => tell(global, &rolled_back?),
    }
}

fn tell(global: &Global, rolled_back: &RolledBack) -> Result<(), Failure> {
    if global.json {
        return print::json(&json!({ "undone": rolled_back.steps, "backups": rolled_back.backups }));
    }
    if !rolled_back.backups.is_empty() {
        print::hint(
            "only the owner of the backup tables can read them; drop them when nobody needs the data",
        );
        print::hint(
            "records whose tokens lie in them do not load until these are put back: docs/SCHEMA.md, \"Roll back\"",
        );
    }
    print::out(&match rolled_back.steps.len() as u64 {
        0 => "nothing to take back: no step is recorded\n".to_owned(),
        steps => format!("took back {}\n", print::count(steps, "step")),
    })
}
