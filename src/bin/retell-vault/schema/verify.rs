//! `schema verify`: what was looked at and tried, and how it ended.

use retell_vault::{Check, CheckOutcome, Verification};
use serde_json::{Value, json};

use crate::args::{Global, WantedArgs};
use crate::failure::Failure;
use crate::{print, session};

/// Looks at everything again and tries it out.
///
/// # Errors
/// A check that failed, too.
pub async fn verify(global: &Global, wanted: &WantedArgs) -> Result<(), Failure> {
    let wanted = wanted.wanted()?;
    let vault = session::vault(global).await?;
    let verification = vault.schema().verify(wanted).await?;
    match global.json {
        true => print::json(&as_json(&verification))?,
        false => print::out(&as_text(&verification))?,
    }
    match verification.failed().count() as u64 {
        0 => Ok(()),
        failed => Err(Failure::new(
            format!("the schema is not as wanted: {} failed", print::count(failed, "check")),
            "`retell-vault schema plan` with the same options shows what is missing, `retell-vault doctor` what else is wrong",
        )),
    }
}

fn as_json(verification: &Verification) -> Value {
    let check = |check: &Check| {
        let (outcome, reason) = outcome(&check.outcome);
        json!({ "what": check.what, "outcome": outcome, "reason": reason })
    };
    let checks: Vec<_> = verification.checks.iter().map(check).collect();
    json!({ "good": verification.is_good(), "checks": checks })
}

fn as_text(verification: &Verification) -> String {
    let row = |check: &Check| {
        let (outcome, reason) = outcome(&check.outcome);
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        [outcome.to_owned(), format!("{}{reason}", check.what)]
    };
    let rows: Vec<_> = verification.checks.iter().map(row).collect();
    let verdict = if verification.is_good() { "the schema is as wanted\n" } else { "" };
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
