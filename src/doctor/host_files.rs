//! The files of this host: whether only their owner can read them, and the pending records in the local file.

use std::path::Path;

use crate::doctor::context::HostContext;
use crate::doctor::finding::{Finding, FindingId, Fix, Severity};
use crate::doctor::finding_ids;
use crate::error::Result;
use crate::keyring::private_file::{self, Openness};
use crate::local::entries::KeptKind;
use crate::local::file::LocalFile;
use crate::record::owner::Owner;
use crate::record::version::Millis;

/// A record that is pending for longer than this is a warning.
const LONG: Millis = 60 * 60 * 1000;
/// How many owners a finding names.
const OWNERS: usize = 5;
/// How many kept texts are read to find owners to name.
const KEPT: u32 = 200;

/// Examines the files of this host and their pending records.
///
/// # Errors
/// `LocalStore`.
pub(super) async fn look(host: &HostContext<'_>) -> Result<Vec<Finding>> {
    let mut findings = openness(host);
    if let Some(local) = &host.core.local {
        findings.extend(waiting(host, local).await?);
    }
    Ok(findings)
}

/// Files that other users can read.
fn openness(host: &HostContext<'_>) -> Vec<Finding> {
    let mut places = Vec::new();
    // a file that others write for this process has rules of its own, which were checked when it was opened
    if let Some(keyring) = host.core.keyring.path().filter(|_| host.core.keyring.is_own_file()) {
        let id = finding_ids::KEYRING_OPEN;
        places.extend([
            (keyring.to_owned(), id, "the keyring"),
            (private_file::beside(keyring, ".previous"), id, "the previous keyring"),
            (private_file::folder_of(keyring).to_owned(), id, "the folder of the keyring"),
        ]);
    }
    if let Some(local) = &host.core.local {
        let files = ["", "-journal"].map(|suffix| private_file::beside(local.path(), suffix));
        places.extend(files.map(|file| (file, finding_ids::LOCAL_FILE_OPEN, "the local file")));
        let folder = private_file::folder_of(local.path()).to_owned();
        if places.iter().all(|(path, ..)| *path != folder) {
            places.push((folder, finding_ids::LOCAL_FILE_OPEN, "the folder of the local file"));
        }
    }
    places.into_iter().filter_map(|(path, id, what)| open_to_others(&path, id, what)).collect()
}

fn open_to_others(path: &Path, id: FindingId, what: &str) -> Option<Finding> {
    let (problem, mend) = match private_file::openness(path)? {
        Openness::Mode { mode, private } => (
            format!("is open to group or others (mode {mode:03o})"),
            match private_file::chmod(private, path) {
                Some(command) => Fix::Command(command),
                None => Fix::Advice(format!("set its mode to {private}")),
            },
        ),
        Openness::Stranger => (
            "belongs to another user".to_owned(),
            Fix::Advice("run as its owner, or move it to a private folder of this user".to_owned()),
        ),
    };
    let meaning =
        format!("{what} {problem}: a vault refuses to start with it, and other users may have copied it");
    Some(Finding::new(id, Severity::Critical, format!("file {}", path.display()), meaning, mend))
}

/// Pending records in the local file, and records that never reached the database.
async fn waiting(host: &HostContext<'_>, local: &LocalFile) -> Result<Vec<Finding>> {
    let counts = local.counts().await?;
    let mut findings = Vec::new();
    // without a database records belong in the local file
    if host.core.postgres.is_some() && counts.pending > 0 {
        findings.push(pending(host, local, counts.pending).await?);
    }
    let letters = (
        Severity::Warning,
        finding_ids::DEAD_LETTERS,
        "are no longer pushed to the database and exist only here",
    );
    let losers = (
        Severity::Notice,
        finding_ids::KEPT_RECORDS,
        "were superseded by newer ones and are kept for 90 days",
    );
    let replaced = (
        Severity::Notice,
        finding_ids::KEPT_RECORDS,
        "could not be read and were replaced; they are kept for 90 days",
    );
    let kept = [
        (KeptKind::DeadLetter, counts.dead_letters, letters),
        (KeptKind::Superseded, counts.superseded, losers),
        (KeptKind::Replaced, counts.replaced, replaced),
    ];
    for (kind, count, (severity, id, what)) in kept.into_iter().filter(|(_, count, _)| *count > 0) {
        let owners = kept_owners(local, kind).await?;
        let meaning = format!("{count} records {what}");
        let advice = "check that these owners have the right configuration now, and store it again if not; then \
                      remove the kept records with `retell-vault forget --user ID`";
        let mend = Fix::Advice(advice.to_owned());
        findings.push(Finding::new(id, severity, object(local), meaning, mend).of(count, owners));
    }
    findings.extend(local.set_aside().into_iter().map(|path| {
        Finding::new(
            finding_ids::LOCAL_FILE_DAMAGED,
            Severity::Warning,
            format!("file {}", path.display()),
            "the local file was damaged and set aside; its pending records are not in the database",
            Fix::Advice(
                "recover it with `sqlite3 FILE .recover`, or remove it if no records were pending".to_owned(),
            ),
        )
    }));
    Ok(findings)
}

async fn pending(host: &HostContext<'_>, local: &LocalFile, count: u64) -> Result<Finding> {
    let oldest = local.oldest_pending().await?.unwrap_or_default();
    let age = host.core.now().saturating_sub(oldest);
    let severity = if age > LONG { Severity::Warning } else { Severity::Notice };
    let first = local.pending_after(None, OWNERS as u32).await?;
    let owners = first.iter().map(|record| record.owner.to_string()).collect();
    let meaning = format!(
        "records are only in the local file of this host, the oldest for {} s: other hosts cannot see them",
        age / 1000
    );
    let mend = Fix::Command("retell-vault sync".to_owned());
    let finding = Finding::new(finding_ids::PENDING_RECORDS, severity, object(local), meaning, mend);
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
