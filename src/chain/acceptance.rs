//! Numbers of writers that an operator has accepted as missing, altered or replaced. Pure.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::chain::numbers::Gap;

/// Ranges of accepted numbers, by writer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Acceptance {
    ranges: BTreeMap<Uuid, Vec<(i64, i64)>>,
}

impl Acceptance {
    pub(crate) fn of(ranges: &[Gap]) -> Self {
        let mut acceptance = Self::default();
        ranges.iter().for_each(|gap| acceptance.add(gap.writer, gap.first, gap.last));
        acceptance
    }

    fn add(&mut self, writer: Uuid, first: i64, last: i64) {
        self.ranges.entry(writer).or_default().push((first, last));
    }

    pub(crate) fn extend(&mut self, other: Self) {
        for (writer, ranges) in other.ranges {
            self.ranges.entry(writer).or_default().extend(ranges);
        }
    }

    /// Whether anything of this writer is accepted. Its chain cannot be followed beyond that.
    pub(crate) fn has(&self, writer: Uuid) -> bool {
        self.ranges.contains_key(&writer)
    }

    /// Whether all of these numbers are accepted, in one range.
    pub(crate) fn covers(&self, writer: Uuid, first: i64, last: i64) -> bool {
        let covers = |range: &(i64, i64)| range.0 <= first && last <= range.1;
        self.ranges.get(&writer).is_some_and(|ranges| ranges.iter().any(covers))
    }

    /// The text for the detail of an entry: JSON, `{"accepted":[["WRITER",FIRST,LAST],…]}`.
    pub(crate) fn print(&self) -> String {
        let mut texts = Vec::new();
        for (writer, ranges) in &self.ranges {
            texts.extend(ranges.iter().map(|(first, last)| format!(r#"["{writer}",{first},{last}]"#)));
        }
        format!(r#"{{"accepted":[{}]}}"#, texts.join(","))
    }

    /// `None` for any other text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Detail {
            accepted: Vec<(String, i64, i64)>,
        }
        let detail: Detail = serde_json::from_str(text).ok()?;
        let mut acceptance = Self::default();
        for (writer, first, last) in detail.accepted {
            acceptance.add(Uuid::parse_str(&writer).ok()?, first, last);
        }
        Some(acceptance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_what_it_was_made_of() {
        let writer = Uuid::from_u128(7);
        let gap = |first, last| Gap { writer, first, last };
        let acceptance = Acceptance::of(&[gap(3, 5), gap(9, 9)]);
        assert_eq!(Acceptance::parse(&acceptance.print()), Some(acceptance.clone()));
        let covered = [(3, 5), (4, 4), (9, 9)];
        assert!(covered.into_iter().all(|(first, last)| acceptance.covers(writer, first, last)));
        let others = [(2, 3), (5, 6), (3, 9), (6, 8)];
        assert!(!others.into_iter().any(|(first, last)| acceptance.covers(writer, first, last)));
        assert!(acceptance.has(writer) && !acceptance.has(Uuid::from_u128(8)));
        assert_eq!(Acceptance::parse("{}"), None);
    }
}
