//! `rotate`: re-encrypts everything under the primary key, and reports what is left.

mod new_key;
mod outcome;
mod progress;
mod report;

use retell_vault::Keyring;
use retell_vault::rotation::{RotateEstimate, Rotation};
use serde_json::json;

use crate::args::global::Global;
use crate::args::keys::RotateArgs;
use crate::failure::Failure;
use crate::progress::unless_interrupted;
use crate::rotate::progress::RotationProgress;
use crate::rotate::report::Report;
use crate::{print, session, token_count};

const GO_ON: &str = "finished work is kept; run the same command again to continue";

/// Rotates, or estimates the work.
pub async fn rotate(global: &Global, options: &RotateArgs) -> Result<(), Failure> {
    let keyring = session::keyring(global).await?;
    if options.dry_run {
        return dry_run(global, options, keyring).await;
    }
    let report = options.report.as_deref().map(Report::open).transpose()?;
    let mut progress = RotationProgress::new(global.json, keyring.place(), report);
    let done = unless_interrupted(carry_out(global, options, &keyring, &mut progress)).await?;
    let written = progress.finish();
    match done {
        None => Err(interrupted(global, &progress)?),
        Some(Err(failure)) => {
            if progress.has_begun() {
                print::warning(&format!("stopped: {}", progress.how_far()));
            }
            Err(failure)
        }
        Some(Ok(rotation)) => {
            let judged = outcome::tell(global, options, &keyring.keys(), &rotation, &progress);
            judged.and(written)
        }
    }
}

async fn carry_out(
    global: &Global,
    options: &RotateArgs,
    keyring: &Keyring,
    progress: &mut RotationProgress,
) -> Result<Rotation, Failure> {
    let vault = session::open(global, session::builder(global, keyring.clone())?).await?;
    vault.rotate(&options.options(), |event| progress.hear(event)).await.map_err(outcome::stopped)
}

fn interrupted(global: &Global, progress: &RotationProgress) -> Result<Failure, Failure> {
    if global.json {
        print::json(&progress.json("interrupted"))?;
    }
    Ok(Failure::new(format!("interrupted: {}", progress.how_far()), GO_ON))
}

async fn dry_run(global: &Global, options: &RotateArgs, keyring: Keyring) -> Result<(), Failure> {
    let vault = session::builder(global, keyring.clone())?.build().await?;
    let estimate = vault.estimate_rotation(&options.options()).await?;
    let local = local_tokens(&estimate);
    if global.json {
        let object = json!({
            "dry_run": true,
            "key": estimate.key.to_string(),
            "rows": estimate.rows,
            "to_do": estimate.to_do,
            "local_tokens": local,
            "seconds": estimate.time.as_millis() as f64 / 1000.0,
            "census": token_count::json(&estimate.token_counts),
        });
        return print::json(&token_count::with_outside(object, &estimate.token_counts.outside));
    }
    let rows = [
        ("primary key", estimate.key.to_string()),
        ("to do", format!("{} of {}", estimate.to_do, print::count(estimate.rows, "row"))),
        ("local file", format!("{} to re-encrypt", print::count(local, "token"))),
        ("time", format!("about {}", print::duration(estimate.time))),
    ];
    let rows = rows.map(|(name, value)| [name.to_owned(), value]);
    let tokens = token_count::rows(&estimate.token_counts, &keyring.keys());
    let tokens = print::titled("tokens", &print::table(&tokens));
    let outside = token_count::outside(&estimate.token_counts.outside);
    print::out(&(print::table(&rows) + "\n" + &tokens + &outside))
}

/// Tokens of the local file that are not under the primary key.
fn local_tokens(estimate: &RotateEstimate) -> u64 {
    let counts = estimate.token_counts.counts.iter();
    let others = counts.filter(|count| {
        matches!(count.place, retell_vault::rotation::TokenPlace::Local(_))
            && count.key.is_some_and(|key| key != estimate.key)
    });
    others.map(|count| count.tokens).sum()
}
