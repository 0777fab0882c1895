//! A checkpoint of the ledger: how far every writer had come. Pure: the text that is signed, and back.
//!
//! `docs/FORMAT.md` defines the lines.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use crate::chain::entry::Hash;
use crate::chain::numbers::KnownHead;

const FIRST_LINE: &str = "retell-vault/ledger";

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// From 1 on.
    pub(crate) number: u64,
    /// The SHA-256 of the whole signed note before this one; zeros for the first.
    pub(crate) previous: Hash,
    pub(crate) entries: u64,
    pub(crate) writers: u64,
    /// The heads that changed since, by writer.
    pub(crate) heads: Vec<KnownHead>,
}

impl Checkpoint {
    /// The text, with a line break at the end of each line.
    pub(crate) fn text(&self) -> String {
        let Self { number, previous, entries, writers, heads } = self;
        let previous = STANDARD.encode(previous);
        let mut text = format!("{FIRST_LINE}\n{number}\n{previous}\nentries {entries}\nwriters {writers}\n");
        for KnownHead { writer, settled, head } in heads {
            let _ = writeln!(text, "{writer} {settled} {}", STANDARD.encode(head));
        }
        text
    }

    /// `None` if a text is not exactly that of a checkpoint.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let number = lines.next()?.parse().ok()?;
        let previous = hash(lines.next()?)?;
        let entries = lines.next()?.strip_prefix("entries ")?.parse().ok()?;
        let writers = lines.next()?.strip_prefix("writers ")?.parse().ok()?;
        let heads = lines.map(head).collect::<Option<_>>()?;
        let checkpoint = Self { number, previous, entries, writers, heads };
        Some(checkpoint).filter(|checkpoint| checkpoint.text() == text)
    }
}

fn head(line: &str) -> Option<KnownHead> {
    let mut parts = line.split(' ');
    let (writer, settled, head) = (parts.next()?, parts.next()?, hash(parts.next()?)?);
    Some(KnownHead { writer: Uuid::parse_str(writer).ok()?, settled: settled.parse().ok()?, head })
}

fn hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_form() {
        let head = KnownHead { writer: Uuid::from_u128(7), settled: 3, head: [5; 32] };
        let checkpoint =
            Checkpoint { number: 2, previous: [1; 32], entries: 9, writers: 1, heads: vec![head] };
        let text = checkpoint.text();
        assert_eq!(Checkpoint::parse(&text), Some(checkpoint));
        for (from, to) in [
            ("retell", "other"),
            ("\n2\n", "\n+2\n"),
            ("\n2\n", "\n02\n"),
            ("entries ", "entries  "),
            ("writers 1\n", ""),
            (" 3 ", " 03 "),
            ("0007 ", "0007\t"),
            ("0007", "007"),
            ("=\n", "\n"),
        ] {
            assert!(
                text.contains(from) && Checkpoint::parse(&text.replacen(from, to, 1)).is_none(),
                "{from:?}"
            );
        }
        assert!(Checkpoint::parse(text.trim_end()).is_none(), "the last line break is part of it");
        assert!(Checkpoint::parse(&format!("{text}\n")).is_none());
    }
}
