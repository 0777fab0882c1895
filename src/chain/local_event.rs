//! A change of a local file, as an entry that has no number yet. Pure.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::chain::entry::{Event, LedgerEntry, NO_HEAD, SealedEntry, chained};
use crate::chain::numbers::KnownHead;
use crate::keyring::subkeys::Subkey;

/// What happened, and the key that seals it.
pub(crate) struct LocalEvent {
    key: Subkey,
    writer: Uuid,
    at_ms: i64,
    event: Event,
    detail: Map<String, Value>,
}

impl LocalEvent {
    /// `writer` is that of the entry, unless it follows another one, and `detail` has members of its detail. `None` in a program
    /// that knows no local files.
    pub(crate) fn new(
        key: Subkey,
        writer: Uuid,
        at_ms: i64,
        event: Event,
        detail: Map<String, Value>,
    ) -> Option<Self> {
        Some(Self { key, writer, at_ms, event, detail })
    }

    /// The entry after this one of its writer, and the head over all of them: each of them is certainly written.
    pub(crate) fn after(&self, last: Option<&KnownHead>, counts: &[(&str, u64)]) -> (SealedEntry, KnownHead) {
        let mut detail = self.detail.clone();
        let counts = counts.iter().filter(|(_, count)| *count > 0);
        detail.extend(counts.map(|(name, count)| ((*name).to_owned(), Value::from(*count))));
        let detail = Some(Value::from(detail).to_string());
        let (writer, settled, head) =
            last.map_or((self.writer, 0, NO_HEAD), |last| (last.writer, last.settled, last.head));
        let seq = settled + 1;
        let entry = LedgerEntry {
            writer,
            seq,
            epoch: i32::try_from(self.key.epoch).unwrap_or(i32::MAX),
            settled,
            head: head.to_vec(),
            at_ms: self.at_ms,
            event: Event { detail, ..self.event.clone() },
        };
        let sealed = entry.sealed(&self.key);
        let head = chained(&head, &sealed.link);
        (sealed, KnownHead { writer, settled: seq, head })
    }
}
