//! `schema apply`: a plan, and its steps one by one.

use retell_vault::{Applied, SchemaPlan};
use serde_json::{Value, json};

use super::Teller;
use crate::args::{Apply, Global};
use crate::failure::Failure;
use crate::interrupt::unless_interrupted;
use crate::{print, session};

/// Plans, tells the steps, and applies them.
pub async fn apply(global: &Global, options: &Apply) -> Result<(), Failure> {
    let wanted = options.wanted.wanted()?;
    let vault = session::vault(global).await?;
    let schema = vault.schema();
    let plan = schema.plan(wanted).await?;
    for line in plan.to_string().lines() {
        print::note("plan", line);
    }
    let mut teller = Teller::default();
    let options = options.options();
    let work = schema.apply(&plan, &options, |event| teller.hear(event));
    match unless_interrupted(work).await? {
        None => Err(teller.interrupted("applied", "is taken back")),
        Some(applied) => tell(global, &plan, &applied?),
    }
}

fn tell(global: &Global, plan: &SchemaPlan, applied: &Applied) -> Result<(), Failure> {
    if global.json {
        return print::json(&as_json(plan, applied));
    }
    if applied.steps.iter().any(|step| step.starts_with("column.") || step.starts_with("type.")) {
        print::hint("records move into the new columns with `retell-vault schema promote`");
    }
    if !applied.steps.is_empty() {
        print::hint(
            "`retell-vault schema verify` tries it out; `retell-vault schema rollback` takes it back",
        );
    }
    print::out(&match applied.steps.len() as u64 {
        0 => format!("nothing to do: {} is as wanted\n", plan.table),
        steps => format!("applied {} to {}\n", print::count(steps, "step"), plan.table),
    })
}

fn as_json(plan: &SchemaPlan, applied: &Applied) -> Value {
    json!({
        "table": plan.table,
        "profile": plan.wanted().profile().as_str(),
        "applied": applied.steps,
    })
}
