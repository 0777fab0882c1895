//! `schema plan` and `schema verify`: what the table lacks, and whether it works. Neither changes anything.

use retell_vault::schema::{Blocked, Check, CheckOutcome, Instead, SchemaPlan, Step, Verification};
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::args::schema::{PlanArgs, WantedArgs};
use crate::failure::Failure;
use crate::{print, session};

/// Shows the plan, or prints it as a script.
pub async fn plan(global: &Global, options: &PlanArgs) -> Result<(), Failure> {
    let wanted = options.wanted.wanted()?;
    let vault = session::vault(global).await?;
    let plan = vault.schema().plan(wanted).await?;
    if options.sql {
        warn_of_blocked(&plan);
        return print::script(&plan.script());
    }
    match global.json {
        true => print::json(&plan_json(&plan)),
        false => print::out(&plan_text(&plan)),
    }
}

/// The script contains only the steps.
fn warn_of_blocked(plan: &SchemaPlan) {
    for blocked in &plan.blocked {
        print::warning(&format!("the script omits this: {}: {}", blocked.object, blocked.reason));
        print::hint(&blocked.hint);
    }
}

fn plan_json(plan: &SchemaPlan) -> Value {
    json!({
        "table": plan.table,
        "profile": plan.wanted().profile().as_str(),
        "steps": plan.steps,
        "blocked": plan.blocked,
        "notes": plan.notes,
    })
}

fn plan_text(plan: &SchemaPlan) -> String {
    let profile = plan.wanted().profile().as_str();
    let much = match (plan.steps.len() as u64, plan.blocked.is_empty()) {
        (0, true) => "nothing to do".to_owned(),
        (steps, _) => print::count(steps, "step"),
    };
    let mut text = print::indented(0, &format!("{}, profile {profile}: {much}", plan.table));
    for (at, step) in plan.steps.iter().enumerate() {
        text.push_str(&format!("\n{}. {}", at + 1, step_text(step)));
    }
    for Blocked { object, reason, hint, .. } in &plan.blocked {
        text.push_str(&format!("\n{}", print::indented(0, &format!("blocked: {object}: {reason}"))));
        text.push_str(&print::indented(2, hint));
    }
    if !plan.notes.is_empty() {
        let notes: String = plan.notes.iter().map(|note| print::indented(0, note)).collect();
        text.push_str(&format!("\n{}", print::titled("notes", &notes)));
    }
    text
}

fn step_text(step: &Step) -> String {
    let mut text = print::indented(0, &format!("{}: {}", step.id, step.reason));
    text.push_str(&print::indented(3, &format!("{}, {}", step.object, conditions(step))));
    text.push_str(&print::statements(5, &step.printed_sql()));
    if !step.undo.is_empty() {
        text.push_str(&print::indented(3, "undo:"));
        text.push_str(&print::statements(5, &step.printed_undo()));
    }
    if let Some(Instead { step, .. }) = step.instead.as_deref() {
        // in full it would be longer than all the rest
        text.push_str(&print::indented(3, &format!("or {}: {} (--json has its SQL)", step.id, step.reason)));
    }
    text
}

/// The lock, and other effects on sessions that use the table.
fn conditions(step: &Step) -> String {
    let mut conditions = format!("lock {}", step.lock);
    if step.rewrites {
        conditions.push_str(", rewrites the table");
    }
    if step.concurrent {
        conditions.push_str(", outside of a transaction");
    }
    conditions
}

/// Checks the schema and tries it out.
///
/// # Errors
/// A check that failed, too.
pub async fn verify(global: &Global, wanted: &WantedArgs) -> Result<(), Failure> {
    let wanted = wanted.wanted()?;
    let vault = session::vault(global).await?;
    let verification = vault.schema().verify(wanted).await?;
    match global.json {
        true => print::json(&verification_json(&verification))?,
        false => print::out(&verification_text(&verification))?,
    }
    match verification.failed().count() as u64 {
        0 => Ok(()),
        failed => Err(Failure::new(
            format!("the schema does not match the plan: {} failed", print::count(failed, "check")),
            "`retell-vault schema plan` with the same options shows what is missing; `retell-vault doctor` shows other problems",
        )),
    }
}

fn verification_json(verification: &Verification) -> Value {
    let check = |check: &Check| {
        let (outcome, reason) = outcome(&check.outcome);
        json!({ "what": check.what, "outcome": outcome, "reason": reason })
    };
    let checks: Vec<_> = verification.checks.iter().map(check).collect();
    json!({ "good": verification.is_good(), "checks": checks })
}

fn verification_text(verification: &Verification) -> String {
    let row = |check: &Check| {
        let (outcome, reason) = outcome(&check.outcome);
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        [outcome.to_owned(), format!("{}{reason}", check.what)]
    };
    let rows: Vec<_> = verification.checks.iter().map(row).collect();
    let verdict = if verification.is_good() { "the schema matches the plan\n" } else { "" };
    format!("{}{verdict}", print::table(&rows))
}

fn outcome(outcome: &CheckOutcome) -> (&'static str, Option<&str>) {
    match outcome {
        CheckOutcome::Passed => ("passed", None),
        CheckOutcome::Failed(reason) => ("failed", Some(reason)),
        CheckOutcome::Skipped(reason) => ("skipped", Some(reason)),
        _ => ("other", None),
    }
}
