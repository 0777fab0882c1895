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

    /// How many ranges there are.
    pub(crate) fn count(&self) -> u64 {
        self.ranges.values().map(|ranges| ranges.len() as u64).sum()
    }

    /// Whether anything of this writer is accepted. Its chain cannot be followed beyond that.
    pub(crate) fn has(&self, writer: Uuid) -> bool {
        self.ranges.contains_key(&writer)
    }

    /// Whether this number is accepted.
    pub(crate) fn covers(&self, writer: Uuid, seq: i64) -> bool {
        let covers = |range: &(i64, i64)| (range.0..=range.1).contains(&seq);
        self.ranges.get(&writer).is_some_and(|ranges| ranges.iter().any(covers))
    }

    /// The parts of a gap that are not accepted.
    pub(crate) fn rest(&self, gap: Gap) -> Vec<Gap> {
        let mut rest = vec![gap];
        for (first, last) in self.ranges.get(&rest[0].writer).into_iter().flatten() {
            let outside = |gap: Gap| {
                let before = Gap { last: gap.last.min(first - 1), ..gap.clone() };
                let after = Gap { first: gap.first.max(last + 1), ..gap };
                [before, after].into_iter().filter(|part| part.first <= part.last)
            };
            rest = rest.into_iter().flat_map(outside).collect();
            if rest.is_empty() {
                break;
            }
        }
        rest
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
        assert!([3, 4, 5, 9].into_iter().all(|seq| acceptance.covers(writer, seq)));
        assert!(![2, 6, 8, 10].into_iter().any(|seq| acceptance.covers(writer, seq)));
        assert!(acceptance.has(writer) && !acceptance.has(Uuid::from_u128(8)));
        assert_eq!(Acceptance::parse("{}"), None);
    }

    #[test]
    fn what_is_accepted_is_taken_out_of_a_gap() {
        let writer = Uuid::from_u128(7);
        let gap = |first, last| Gap { writer, first, last };
        let acceptance = Acceptance::of(&[gap(3, 5), gap(9, 9), gap(6, 6), gap(20, 30)]);
        let table = [
            (gap(3, 6), vec![]),
            (gap(4, 4), vec![]),
            (gap(1, 9), vec![gap(1, 2), gap(7, 8)]),
            (gap(7, 8), vec![gap(7, 8)]),
            (gap(25, 40), vec![gap(31, 40)]),
            (gap(1, 100), vec![gap(1, 2), gap(7, 8), gap(10, 19), gap(31, 100)]),
        ];
        for (all, rest) in table {
            assert_eq!(acceptance.rest(all.clone()), rest, "{all:?}");
        }
        let other = Gap { writer: Uuid::from_u128(8), ..gap(3, 5) };
        assert_eq!(acceptance.rest(other.clone()), [other]);
    }
}
