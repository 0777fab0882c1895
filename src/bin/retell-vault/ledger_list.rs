//! `ledger list`: entries of the ledger, the newest first.

use retell_vault::ledger::{LedgerList, ListedEntry};
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::args::ledger_entries::LedgerListArgs;
use crate::failure::Failure;
use crate::{print, session};

/// The last second of the year 9999. A later time is printed as a number.
const LAST: u64 = 253_402_300_799_999;

/// Lists entries.
pub async fn list(global: &Global, list: &LedgerListArgs) -> Result<(), Failure> {
    let vault = session::vault(global).await?;
    let listed = vault.list_ledger(&list.filter()).await?;
    let forged = listed.entries.iter().filter(|entry| !entry.authentic).count();
    if forged > 0 {
        print::warning(&format!(
            "entries that no key of this keyring made as they are: {forged}; `ledger verify` finds all of them"
        ));
    }
    if global.json {
        return print::json(&as_json(&listed));
    }
    print::out(&as_text(&listed, list.all_places))?;
    if listed.more {
        print::hint(&format!(
            "only the newest {} are shown, and there are more: raise --limit, or name a time with --until",
            list.limit
        ));
    }
    Ok(())
}

fn as_json(listed: &LedgerList) -> Value {
    let entries: Vec<Value> = listed.entries.iter().map(entry_json).collect();
    json!({ "entries": entries, "more": listed.more })
}

fn entry_json(entry: &ListedEntry) -> Value {
    json!({
        "writer": entry.writer,
        "seq": entry.seq,
        "at": entry.at_ms,
        "operation": entry.operation,
        "place": entry.place,
        "user": entry.user,
        "tenant": entry.tenant,
        "before": entry.before,
        "after": entry.after,
        "outcome": entry.outcome,
        "actor": entry.actor,
        "reason": entry.reason,
        "request": entry.request,
        "host": entry.host,
        "release": entry.release,
        "detail": entry.detail,
        "authentic": entry.authentic,
    })
}

fn as_text(listed: &LedgerList, all_places: bool) -> String {
    let rows: Vec<_> = listed.entries.iter().map(|entry| entry_row(entry, all_places)).collect();
    match rows.is_empty() {
        false => print::table(&rows),
        true => "no entries\n".to_owned(),
    }
}

fn entry_row(entry: &ListedEntry, all_places: bool) -> [String; 9] {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let operation = match &entry.outcome {
        Some(outcome) => format!("{} ({outcome})", entry.operation),
        None => entry.operation.clone(),
    };
    let owner = match &entry.tenant {
        Some(tenant) => format!("{tenant}/{}", or_dash(&entry.user)),
        None => or_dash(&entry.user),
    };
    [
        time(entry.at_ms),
        operation,
        owner,
        or_dash(&entry.after),
        if entry.authentic { "authentic" } else { "NOT AUTHENTIC" }.to_owned(),
        or_dash(&entry.host),
        or_dash(&entry.actor),
        or_dash(&entry.reason),
        if all_places { or_dash(&entry.place) } else { String::new() },
    ]
}

/// An entry that is not authentic may claim any time.
fn time(at_ms: i64) -> String {
    match u64::try_from(at_ms) {
        Ok(millis) if millis <= LAST => print::utc(millis),
        _ => format!("{at_ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_time_can_be_printed() {
        assert_eq!(time(1_769_903_999_999), "2026-01-31 23:59:59Z");
        assert_eq!(time(253_402_300_799_999), "9999-12-31 23:59:59Z");
        assert_eq!(
            [i64::MIN, -1, i64::MAX].map(time),
            ["-9223372036854775808 ms", "-1 ms", "9223372036854775807 ms"]
        );
    }
}
