//! `status`: the database, the local file and the keys. An unreachable database is part of the result.

use retell_vault::keyring::KeyInfo;
use retell_vault::status::{DatabaseStatus, IndexStatus, LocalStatus, Status};
use retell_vault::sync::{KeptReason, KeptRecord};
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::failure::Failure;
use crate::records::{place_row, places_json};
use crate::{layout_detect, print, session, token_count};

/// How many of the records that were kept aside are shown.
const KEPT: u32 = 100;

/// Prints the state of the vault.
pub async fn status(global: &Global) -> Result<(), Failure> {
    let vault = session::vault(global).await?;
    let (status, kept) = (vault.status().await?, vault.kept(0, KEPT).await?);
    if let Some(problem) = status.database.as_ref().and_then(|database| database.problem.as_ref()) {
        layout_detect::hint(problem);
    }
    match global.json {
        true => print::json(&json!({
            "database": status.database.as_ref().map(database_json),
            "writes": places_json(&status.writes),
            "local": status.local.as_ref().map(local_json),
            "kept": kept.iter().map(kept_json).collect::<Vec<_>>(),
            "keyring": status.keyring,
            "keyring_problem": status.keyring_problem.as_ref().map(ToString::to_string),
            "keyring_copy": status.keyring_copy,
            "keys": status.keys,
            "out_of_reach": status.out_of_reach,
        })),
        false => print::out(&as_text(global, &status, &kept)),
    }
}

fn database_json(database: &DatabaseStatus) -> Value {
    let slot = |slot: &retell_vault::status::SlotStatus| {
        let fields: Vec<_> = slot.fields.iter().map(|field| field.name()).collect();
        json!({ "column": slot.column, "type": slot_type(slot.json), "fields": fields })
    };
    json!({
        "address": database.address,
        "table": database.table,
        "reachable": database.reachable,
        "problem": database.problem.as_ref().map(ToString::to_string),
        "transaction_pooler": database.transaction_pooler,
        "fsync": database.fsync,
        "slots": database.slots.iter().map(slot).collect::<Vec<_>>(),
        "index": database.index,
        "left_alone": database.left_alone,
        "not_looked_at": database.not_looked_at,
    })
}

fn local_json(local: &LocalStatus) -> Value {
    json!({
        "path": local.path.display().to_string(),
        "pending": local.pending,
        "blocked": local.blocked,
        "replicas": local.replicas,
        "losers": local.losers,
        "replaced": local.replaced,
        "dead_letters": local.dead_letters,
        "unsent_entries": local.unsent_entries,
        "set_aside": local.set_aside.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
    })
}

fn kept_json(kept: &KeptRecord) -> Value {
    json!({
        "user": kept.owner.user_id().as_str(),
        "tenant": kept.owner.tenant_id().map(|tenant| tenant.as_str()),
        "why": why(kept.why),
        "reason": kept.reason,
        "at": kept.at,
    })
}

fn as_text(global: &Global, status: &Status, kept: &[KeptRecord]) -> String {
    let mut parts = vec![print::table(&database_rows(status.database.as_ref()))];
    if let Some(database) = status.database.as_ref().filter(|database| !database.slots.is_empty()) {
        let rows: Vec<_> = database.slots.iter().map(slot_row).collect();
        parts
            .push(print::titled("slots found, and the fields that writes store there", &print::table(&rows)));
    }
    let places: Vec<_> = status.writes.iter().map(|place| place_row(global, place)).collect();
    parts.push(print::titled("a write would use", &print::table(&places)));
    if let Some(local) = &status.local {
        // without a database no record is pending
        let pending = if status.database.is_some() { "pending" } else { "records" };
        parts.push(print::table(&local_rows(local, pending)));
    }
    if !kept.is_empty() {
        let rows: Vec<_> = kept.iter().map(kept_row).collect();
        parts.push(print::titled("kept aside in the local file", &print::table(&rows)));
    }
    let keys: Vec<_> = status.keys.iter().map(key_row).collect();
    parts.push(print::titled(&format!("keys in {}", status.keyring), &print::table(&keys)));
    if let Some(problem) = &status.keyring_problem {
        parts.push(print::table(&[["nothing is sealed".to_owned(), problem.to_string()]]));
    }
    parts.push(print::table(&[["out of reach of any count".to_owned(), status.out_of_reach.join("; ")]]));
    parts.join("\n")
}

fn database_rows(database: Option<&DatabaseStatus>) -> Vec<[String; 2]> {
    let row = |name: &str, value: &str| [name.to_owned(), value.to_owned()];
    let Some(database) = database else {
        return vec![row("database", "none: everything is in the local file")];
    };
    let reachable = if database.reachable { "reachable" } else { "not reachable" };
    let mut rows = vec![
        row("database", &format!("{}, {reachable}", database.address)),
        row("table", &database.table),
        row("pooler", if database.transaction_pooler { "transaction" } else { "none" }),
    ];
    if database.fsync == Some(false) {
        rows.push(row("fsync", "off: a crash of the server's machine may lose acknowledged writes"));
    }
    match &database.index {
        Some(index) => rows.push(row("index", &index_text(index))),
        // without slots the table was not examined
        None if database.slots.is_empty() => {}
        None => rows.push(row("index", "none: `retell-vault find` reads every record")),
    }
    rows.extend(database.problem.as_ref().map(|problem| row("problem", &problem.to_string())));
    if !database.not_looked_at.is_empty() {
        rows.push(row("not searched", &token_count::some(&database.not_looked_at)));
    }
    for left in &database.left_alone {
        let meaning = format!(
            "may belong to the application, so {} is sealed elsewhere; to use the column: {}",
            left.field, left.adopt
        );
        rows.push(row(&format!("column {}", left.column), &meaning));
    }
    rows
}

fn index_text(index: &IndexStatus) -> String {
    let state = match (index.usable, index.complete) {
        (false, _) => "cannot be used: run `retell-vault schema apply`, then `retell-vault index build`",
        (true, Some(true)) => "complete",
        (true, Some(false)) => "some records are missing: run `retell-vault index build`",
        (true, None) => "not known whether it is complete: the database did not answer in time",
    };
    format!("{}: {state}", index.column)
}

fn slot_row(slot: &retell_vault::status::SlotStatus) -> [String; 3] {
    let fields: Vec<_> = slot.fields.iter().map(|field| field.name()).collect();
    let fields = if fields.is_empty() { "nothing".to_owned() } else { fields.join(" ") };
    [slot.column.clone(), slot_type(slot.json).to_owned(), fields]
}

fn slot_type(json: bool) -> &'static str {
    if json { "jsonb" } else { "text" }
}

fn local_rows(local: &LocalStatus, pending: &str) -> Vec<[String; 2]> {
    let mut rows = vec![["local file".to_owned(), local.path.display().to_string()]];
    let counts = [
        (pending, local.pending),
        ("blocked", local.blocked),
        ("replicas", local.replicas),
        ("losers", local.losers),
        ("replaced", local.replaced),
        ("dead letters", local.dead_letters),
    ];
    rows.extend(counts.map(|(name, count)| [name.to_owned(), count.to_string()]));
    if local.unsent_entries > 0 {
        rows.push(["entries for the ledger".to_owned(), local.unsent_entries.to_string()]);
    }
    rows.extend(local.set_aside.iter().map(|path| ["set aside".to_owned(), path.display().to_string()]));
    rows
}

fn kept_row(kept: &KeptRecord) -> [String; 4] {
    [kept.owner.to_string(), why(kept.why).to_owned(), print::utc(kept.at), kept.reason.clone()]
}

fn why(why: KeptReason) -> &'static str {
    match why {
        KeptReason::Loser => "loser",
        KeptReason::Replaced => "replaced",
        KeptReason::DeadLetter => "dead_letter",
        _ => "other",
    }
}

fn key_row(key: &KeyInfo) -> [String; 3] {
    [key.id.to_string(), key.state.as_str().to_owned(), format!("since {}", print::utc(key.state_since))]
}
