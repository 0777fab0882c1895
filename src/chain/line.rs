//! An entry of the ledger, or a head, as one line of JSON: what exports, local files and sinks hold. Pure.
//!
//! `docs/FORMAT.md` defines the members.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[cfg(any(feature = "admin", test))]
use crate::chain::entry::Hash;
use crate::chain::entry::{Event, LedgerEntry, StoredEntry};
use crate::chain::numbers::KnownHead;
use crate::hex::{from_hex, hex};

/// The members of an entry, named and ordered as the columns of the table.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryLine {
    writer: String,
    seq: i64,
    epoch: i32,
    settled: i64,
    head: String,
    at_ms: i64,
    op: String,
    place: Option<String>,
    usr: Option<String>,
    tenant: Option<String>,
    before: Option<String>,
    after: Option<String>,
    digest: Option<String>,
    outcome: Option<String>,
    actor: Option<String>,
    reason: Option<String>,
    request: Option<String>,
    host: Option<String>,
    release: Option<String>,
    detail: Option<String>,
    mac: String,
}

/// The members of a head.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadLine {
    writer: String,
    settled: i64,
    head: String,
}

/// What a line holds.
#[cfg(any(feature = "admin", test))]
pub(crate) enum Line {
    Entry(Box<StoredEntry>),
    Head(KnownHead),
}

/// The line of an entry, without a line break.
pub(crate) fn entry_line(entry: &LedgerEntry, mac: &[u8]) -> String {
    let event = entry.event.clone();
    let line = EntryLine {
        writer: entry.writer.to_string(),
        seq: entry.seq,
        epoch: entry.epoch,
        settled: entry.settled,
        head: hex(&entry.head),
        at_ms: entry.at_ms,
        op: event.operation,
        place: event.place,
        usr: event.user,
        tenant: event.tenant,
        before: event.before,
        after: event.after,
        digest: event.digest.as_deref().map(hex),
        outcome: event.outcome,
        actor: event.actor,
        reason: event.reason,
        request: event.request,
        host: event.host,
        release: event.release,
        detail: event.detail,
        mac: hex(mac),
    };
    serde_json::to_string(&line).expect("texts and numbers are JSON")
}

/// The line of a head, without a line break.
pub(crate) fn head_line(known: &KnownHead) -> String {
    let KnownHead { writer, settled, head } = known;
    let line = HeadLine { writer: writer.to_string(), settled: *settled, head: hex(head) };
    serde_json::to_string(&line).expect("texts and numbers are JSON")
}

/// `None` if it is neither the line of an entry nor that of a head.
#[cfg(any(feature = "admin", test))]
pub(crate) fn parse(line: &str) -> Option<Line> {
    entry(line).map(|stored| Line::Entry(Box::new(stored))).or_else(|| head(line).map(Line::Head))
}

/// `None` if it is not the line of an entry.
pub(crate) fn entry(line: &str) -> Option<StoredEntry> {
    let line: EntryLine = serde_json::from_str(line).ok()?;
    let event = Event {
        operation: line.op,
        place: line.place,
        user: line.usr,
        tenant: line.tenant,
        before: line.before,
        after: line.after,
        digest: line.digest.as_deref().map(from_hex).map_or(Some(None), |digest| digest.map(Some))?,
        outcome: line.outcome,
        actor: line.actor,
        reason: line.reason,
        request: line.request,
        host: line.host,
        release: line.release,
        detail: line.detail,
    };
    let (writer, head) = (Uuid::parse_str(&line.writer).ok()?, from_hex(&line.head)?);
    let (seq, epoch, settled, at_ms) = (line.seq, line.epoch, line.settled, line.at_ms);
    let entry = LedgerEntry { writer, seq, epoch, settled, head, at_ms, event };
    Some(StoredEntry { entry, mac: from_hex(&line.mac)? })
}

#[cfg(any(feature = "admin", test))]
fn head(line: &str) -> Option<KnownHead> {
    let line: HeadLine = serde_json::from_str(line).ok()?;
    let head: Hash = from_hex(&line.head)?.try_into().ok()?;
    Some(KnownHead { writer: Uuid::parse_str(&line.writer).ok()?, settled: line.settled, head })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::entry::tests::{entry as an_entry, key};

    #[test]
    fn a_line_is_read_as_what_it_was_made_of() {
        let sealed = an_entry().sealed(&key(1));
        let stored = StoredEntry { entry: sealed.entry, mac: sealed.mac.to_vec() };
        let Some(Line::Entry(read)) = parse(&entry_line(&stored.entry, &stored.mac)) else {
            panic!("it is an entry")
        };
        assert_eq!(*read, stored);
        let known = KnownHead { writer: Uuid::from_u128(7), settled: 3, head: [5; 32] };
        let Some(Line::Head(read)) = parse(&head_line(&known)) else { panic!("it is a head") };
        assert_eq!(read, known);
    }

    #[test]
    fn other_texts_are_refused() {
        let known = KnownHead { writer: Uuid::from_u128(7), settled: 3, head: [5; 32] };
        let line = head_line(&known);
        let broken = [
            String::new(),
            "{}".to_owned(),
            line.replace("05", "0g"),
            line.replacen("05", "0", 1),
            line.replacen("05", "A5", 1),
            line.replacen("0505", "05", 1),
            line.replace("settled", "set"),
            line.replace("}", ",\"more\":1}"),
            line.replace('7', "é"),
        ];
        for line in broken {
            assert!(parse(&line).is_none(), "{line}");
        }
    }
}
