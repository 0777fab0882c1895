//! What waits in the local file, and what the database never took.

use crate::doctor::Host;
use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::error::Result;
use crate::local::file::{KeptKind, LocalFile};
use crate::record::owner::Owner;
use crate::record::version::Millis;

/// What waits for longer than this is not on its way any more.
const LONG: Millis = 60 * 60 * 1000;
/// How many owners a finding names.
const OWNERS: usize = 5;
/// How many kept texts are looked through for owners to name.
const KEPT: u32 = 200;

pub(super) async fn look(host: &Host<'_>, local: &LocalFile) -> Result<Vec<Finding>> {
    let counts = local.counts().await?;
    let mut findings = Vec::new();
    // without a database the local file is where records belong
    if host.router.postgres.is_some() && counts.pending > 0 {
        findings.push(pending(host, local, counts.pending).await?);
    }
    let letters = (Severity::Warning, "dead_letters", "were refused by the database and are kept only here");
    let losers = (Severity::Notice, "kept_records", "lost against newer ones and are kept for 90 days");
    let replaced =
        (Severity::Notice, "kept_records", "could not be read, were replaced, and are kept for 90 days");
    let kept = [
        (KeptKind::DeadLetter, counts.dead_letters, letters),
        (KeptKind::Superseded, counts.superseded, losers),
        (KeptKind::Replaced, counts.replaced, replaced),
    ];
    for (kind, count, (severity, id, what)) in kept.into_iter().filter(|(_, count, _)| *count > 0) {
        let owners = kept_owners(local, kind).await?;
        let meaning = format!("{count} records {what}");
        let advice = "see whether what the owners have now is right, and store it anew where it is not; then drop what \
                      is kept with `retell-vault forget --user ID`";
        let mend = Mend::Advice(advice.to_owned());
        findings.push(
            Finding::new((Area::Operation, severity, id), object(local), meaning, mend).of(count, owners),
        );
    }
    findings.extend(local.set_aside().into_iter().map(|path| {
        Finding::new(
            (Area::Operation, Severity::Warning, "local_file_damaged"),
            format!("file {}", path.display()),
            "the local file was damaged and set aside; what waited in it is not in the database",
            Mend::Advice(
                "recover it with `sqlite3 FILE .recover`, or remove it when nothing waited".to_owned(),
            ),
        )
    }));
    Ok(findings)
}

async fn pending(host: &Host<'_>, local: &LocalFile, count: u64) -> Result<Finding> {
    let oldest = local.oldest_pending().await?.unwrap_or_default();
    let age = host.router.now().saturating_sub(oldest);
    let severity = if age > LONG { Severity::Warning } else { Severity::Notice };
    let first = local.pending_after(None, OWNERS as u32).await?;
    let owners = first.iter().map(|record| record.owner.to_string()).collect();
    let meaning = format!(
        "records are only in the local file of this host, the oldest for {} s: other hosts do not see them",
        age / 1000
    );
    let mend = Mend::Command("retell-vault sync".to_owned());
    let finding = Finding::new((Area::Operation, severity, "pending_records"), object(local), meaning, mend);
    Ok(finding.of(count, owners))
}

async fn kept_owners(local: &LocalFile, kind: KeptKind) -> Result<Vec<String>> {
    let kept = local.kept_after(0, KEPT).await?;
    let mut owners: Vec<&Owner> =
        kept.iter().filter(|kept| kept.kind == kind).map(|kept| &kept.owner).collect();
    owners.dedup();
    Ok(owners.into_iter().take(OWNERS).map(Owner::to_string).collect())
}

fn object(local: &LocalFile) -> String {
    format!("local file {}", local.path().display())
}
