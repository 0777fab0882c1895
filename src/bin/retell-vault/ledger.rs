//! `ledger`: begins and verifies the ledger. Its entries are listed and exported elsewhere.

use std::time::SystemTime;

use retell_vault::Owner;
use retell_vault::ledger::{LedgerBegun, LedgerCopies, LedgerDifference, LedgerGap, LedgerVerification};
use retell_vault::records::Version;
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::args::ledger::LedgerCommand;
use crate::failure::Failure;
use crate::{ledger_checkpoint, ledger_copies, ledger_export, ledger_list, print, session};

/// Begins, verifies, lists or exports it.
pub async fn run(global: &Global, command: &LedgerCommand) -> Result<(), Failure> {
    match command {
        LedgerCommand::Begin => begin(global).await,
        LedgerCommand::List(list) => ledger_list::list(global, list).await,
        LedgerCommand::Export(export) => ledger_export::export(global, export).await,
        LedgerCommand::Verify { with, verifying_key, strict } => {
            verify(global, &ledger_copies::read(with, verifying_key.as_deref())?, *strict).await
        }
        LedgerCommand::Accept { with, verifying_key } => {
            accept(global, &ledger_copies::read(with, verifying_key.as_deref())?).await
        }
        LedgerCommand::Prune { with, verifying_key, before } => {
            prune(global, &ledger_copies::read(with, Some(verifying_key))?, *before).await
        }
        LedgerCommand::Checkpoint(args) => ledger_checkpoint::checkpoint(global, args).await,
        LedgerCommand::SigningKey(command) => ledger_checkpoint::signing_key_command(global, command),
    }
}

async fn begin(global: &Global) -> Result<(), Failure> {
    let keyring = session::keyring(global).await?;
    let before = keyring.pin();
    let vault = session::open(global, session::builder(global, keyring.clone())?).await?;
    let done = vault.begin_ledger().await;
    if keyring.pin() != before {
        print::warning(&format!("{} has a key for the ledger now: back it up", keyring.place()));
    }
    let LedgerBegun { key_added, noted, unreadable, hosts_behind, .. } = done?;
    match global.json {
        true => print::json(&json!({
            "key_added": key_added,
            "noted": noted,
            "unreadable": unreadable,
            "hosts_behind": hosts_behind,
        }))?,
        false => print::line(&format!("noted in the ledger: {}", print::count(noted, "record")))?,
    }
    for host in &hosts_behind {
        print::warning(&format!("{host} has not loaded the key yet, so it writes no entries"));
    }
    match unreadable {
        0 => Ok(()),
        _ => Err(Failure::new(
            format!("{} could not be opened, and have no entry", print::count(unreadable, "owner")),
            "find them with `retell-vault list`; fix them, then run the same command again",
        )),
    }
}

async fn verify(global: &Global, copies: &LedgerCopies, strict: bool) -> Result<(), Failure> {
    let vault = session::vault(global).await?;
    let found = vault.verify_ledger(copies).await?;
    match global.json {
        true => print::json(&as_json(&found))?,
        false => print::out(&as_text(&found))?,
    }
    match found.is_unbroken() {
        true if strict && !found.removed.is_empty() => Err(Failure::new(
            format!("rows of {} were removed", print::count(found.removed.len() as u64, "owner")),
            "nothing proves that a note of a removal is true; leave out --strict to accept them",
        )),
        true => Ok(()),
        false => Err(Failure::new(
            "the ledger and the records do not agree",
            "docs/LEDGER.md says what each kind means; look for a restored backup first",
        )),
    }
}

async fn accept(global: &Global, copies: &LedgerCopies) -> Result<(), Failure> {
    let vault = session::vault(global).await?;
    let done = vault.accept_ledger(copies).await?;
    let left: Vec<Value> = done.left.iter().map(name_json).collect();
    match global.json {
        true => print::json(&json!({
            "ranges": done.ranges, "stored": done.stored, "gone": done.gone, "left": left,
        }))?,
        false => print::out(&print::table(&[
            ["ranges of entries accepted".to_owned(), done.ranges.to_string()],
            ["records stored again".to_owned(), done.stored.to_string()],
            ["owners without a record".to_owned(), done.gone.to_string()],
        ]))?,
    }
    match done.left.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(
            format!("{} could not be stored again", print::count(done.left.len() as u64, "record")),
            "find them with `retell-vault ledger verify`; restore them, or store them with --replace-unreadable",
        )),
    }
}

async fn prune(global: &Global, copies: &LedgerCopies, before: SystemTime) -> Result<(), Failure> {
    let vault = session::vault(global).await?;
    let done = vault.prune_ledger(copies, before).await?;
    match global.json {
        true => print::json(&json!({
            "writers": done.writers, "entries": done.entries, "noted": done.noted,
            "removals": done.removals,
        })),
        false => print::out(&print::table(&[
            ["writers pruned".to_owned(), done.writers.to_string()],
            ["entries removed".to_owned(), done.entries.to_string()],
            ["owners with a new entry".to_owned(), done.noted.to_string()],
            ["notes of removed rows".to_owned(), done.removals.to_string()],
        ])),
    }
}

fn as_json(found: &LedgerVerification) -> Value {
    let gaps = |gaps: &[LedgerGap]| -> Vec<Value> {
        let gap = |gap: &LedgerGap| json!({ "writer": gap.writer, "first": gap.first, "last": gap.last });
        gaps.iter().map(gap).collect()
    };
    let owners = |owners: &[LedgerDifference]| -> Vec<Value> { owners.iter().map(owner_json).collect() };
    let waiting: Vec<Value> = found.waiting.iter().map(name_json).collect();
    json!({
        "unbroken": found.is_unbroken(),
        "entries": found.entries,
        "writers": found.writers,
        "owners": found.owners,
        "missing": gaps(&found.missing),
        "missing_entries": found.missing_entries,
        "open": gaps(&found.open),
        "altered": gaps(&found.altered),
        "replaced": gaps(&found.replaced),
        "went_back": owners(&found.went_back),
        "vanished": owners(&found.vanished),
        "appeared": owners(&found.appeared),
        "unreadable": owners(&found.unreadable),
        "removed": owners(&found.removed),
        "waiting": waiting,
        "accepted": found.accepted,
        "pruned": found.pruned,
        "anchors": found.anchors,
        "ledger_went_back": gaps(&found.ledger_went_back),
        "names_complete": found.names_complete,
    })
}

fn owner_json(one: &LedgerDifference) -> Value {
    let mut value = name_json(&one.owner);
    value["expected"] = one.expected.map(|version| version.to_string()).into();
    value["found"] = one.found.map(|version| version.to_string()).into();
    value
}

fn name_json(owner: &Owner) -> Value {
    json!({ "user": owner.user_id().as_str(), "tenant": owner.tenant_id().map(|tenant| tenant.as_str()) })
}

fn as_text(found: &LedgerVerification) -> String {
    let mut rows = vec![
        ["entries".to_owned(), found.entries.to_string()],
        ["writers".to_owned(), found.writers.to_string()],
        ["owners".to_owned(), found.owners.to_string()],
        ["heads outside".to_owned(), found.anchors.to_string()],
    ];
    rows.extend(found.ledger_went_back.iter().map(|head| {
        let back =
            format!("writer {} had written {} entries, which are not there now", head.writer, head.last);
        ["ledger went back".to_owned(), back]
    }));
    if found.accepted > 0 {
        let accepted =
            format!("{}; see `ledger list --operation accept`", print::count(found.accepted, "range"));
        rows.push(["accepted".to_owned(), accepted]);
    }
    if found.pruned > 0 {
        let pruned = format!("{}; see `ledger list --operation prune`", print::count(found.pruned, "writer"));
        rows.push(["pruned".to_owned(), pruned]);
    }
    if !found.names_complete {
        let problem = format!("of {} missing entries, not all owners are known", found.missing_entries);
        rows.push(["incomplete".to_owned(), problem]);
    }
    let gaps = [
        ("missing", &found.missing),
        ("open", &found.open),
        ("altered", &found.altered),
        ("replaced", &found.replaced),
    ];
    for (name, gaps) in gaps {
        rows.extend(gaps.iter().map(|gap| {
            [name.to_owned(), format!("entries {} to {} of writer {}", gap.first, gap.last, gap.writer)]
        }));
    }
    let owners = [
        ("went back", &found.went_back),
        ("vanished", &found.vanished),
        ("appeared", &found.appeared),
        ("unreadable", &found.unreadable),
        ("removed", &found.removed),
    ];
    for (name, owners) in owners {
        rows.extend(owners.iter().map(|one| {
            let version = |version: Option<Version>| version.map_or("none".to_owned(), |it| it.to_string());
            let (expected, held) = (version(one.expected), version(one.found));
            [
                name.to_owned(),
                format!("{}: the ledger names version {expected}, the table has {held}", one.owner),
            ]
        }));
    }
    rows.extend(
        found.waiting.iter().map(|owner| {
            ["waiting".to_owned(), format!("{owner}: a record waits in this host's local file")]
        }),
    );
    print::table(&rows)
}
