//! Checks the entries of every writer: that none is missing, altered or replaced. Pure.
//!
//! The entries come in the order of their writers and numbers. Memory does not grow with them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use uuid::Uuid;

use crate::chain::acceptance::Acceptance;
use crate::chain::entry::{Hash, LedgerEntry, NO_HEAD, chained, is_entry, link};
use crate::chain::numbers::{Gap, KnownHead, MAX_OPEN};
use crate::keyring::subkeys::Subkeys;

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) writer: Uuid,
    pub(crate) seq: i64,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ChainReport {
    pub(crate) entries: u64,
    pub(crate) writers: u64,
    /// Entries that were written and are gone.
    pub(crate) missing: Vec<Gap>,
    /// How many they are, and of how many of these there is a copy outside of the database.
    pub(crate) missing_entries: u64,
    pub(crate) missing_copied: u64,
    /// Numbers of which nobody knows whether they were written: work under way, or a crash.
    pub(crate) open: Vec<Gap>,
    /// Entries whose MAC does not fit.
    pub(crate) altered: Vec<At>,
    /// Entries whose writer had another entry at or before the number that it named as settled.
    pub(crate) replaced: Vec<At>,
    /// How far each writer's entries reach without a gap, and the head over them.
    pub(crate) heads: Vec<KnownHead>,
    /// Known heads that were compared.
    pub(crate) anchors: u64,
    /// Known heads that do not fit.
    pub(crate) went_back: Vec<KnownHead>,
}

/// At most this many places of a kind are listed.
const MAX_LISTED: usize = 10_000;

/// A check under way.
pub(crate) struct ChainCheck {
    subkeys: Subkeys,
    known: BTreeMap<Uuid, Vec<KnownHead>>,
    /// Entries of which a copy lies outside of the database.
    copied: BTreeSet<(Uuid, i64)>,
    accepted: Acceptance,
    writer: Option<Progress>,
    report: ChainReport,
}

/// The writer whose entries are being read.
struct Progress {
    id: Uuid,
    /// The last number that was read.
    last: i64,
    /// The heads over the last numbers, without a gap. The last one is over all of them.
    heads: VecDeque<Hash>,
    /// The first number that is not in the chain any more, after a gap.
    broken_at: Option<i64>,
    /// Whether an entry is authentic.
    is_ours: bool,
    /// The highest number that an authentic entry names as settled.
    settled: i64,
    gaps: Vec<Gap>,
}

impl Progress {
    fn new(id: Uuid) -> Self {
        let heads = VecDeque::from([NO_HEAD]);
        Self { id, last: 0, heads, broken_at: None, is_ours: false, settled: 0, gaps: Vec::new() }
    }

    /// The head over all numbers up to this one, if it is still known.
    fn head(&self, settled: i64) -> Option<&Hash> {
        let end = self.broken_at.map_or(self.last, |at| at - 1);
        let back = usize::try_from(end - settled).ok()?;
        self.heads.len().checked_sub(back + 1).and_then(|at| self.heads.get(at))
    }
}

impl ChainCheck {
    pub(crate) fn new(
        subkeys: Subkeys,
        known: Vec<KnownHead>,
        copied: BTreeSet<(Uuid, i64)>,
        accepted: Acceptance,
    ) -> Self {
        let mut by_writer: BTreeMap<Uuid, Vec<KnownHead>> = BTreeMap::new();
        known.into_iter().for_each(|head| by_writer.entry(head.writer).or_default().push(head));
        // a writer of which only copies are left is looked for as well
        for (writer, _) in &copied {
            by_writer.entry(*writer).or_default();
        }
        Self { subkeys, known: by_writer, copied, accepted, writer: None, report: ChainReport::default() }
    }

    /// The next entry, with its MAC as it is stored.
    pub(crate) fn take(&mut self, entry: &LedgerEntry, mac: &[u8]) {
        if self.writer.as_ref().is_none_or(|writer| writer.id != entry.writer) {
            self.end_writer();
            self.writer = Some(Progress::new(entry.writer));
            self.report.writers += 1;
        }
        self.report.entries += 1;
        let writer = self.writer.as_mut().expect("it was put there just now");
        let at = At { writer: entry.writer, seq: entry.seq };
        if entry.seq > writer.last + 1 {
            writer.gaps.push(Gap { writer: writer.id, first: writer.last + 1, last: entry.seq - 1 });
            writer.broken_at.get_or_insert(writer.last + 1);
        }
        let bytes = entry.bytes();
        let is_ours = is_entry(&self.subkeys, entry, &bytes, mac);
        let is_accepted = self.accepted.covers(at.writer, at.seq);
        if is_accepted {
            // what the writer says of its chain from here on cannot be followed
            writer.broken_at.get_or_insert(at.seq);
        }
        if !is_ours && !is_accepted {
            list(&mut self.report.altered, at);
        }
        if is_ours {
            writer.is_ours = true;
            writer.settled = writer.settled.max(entry.settled);
            let fits = |head: &Hash| head.as_slice() == entry.head.as_slice();
            let is_before_gap = writer.broken_at.is_none_or(|broken| entry.settled < broken);
            if is_before_gap && !writer.head(entry.settled).is_some_and(fits) {
                list(&mut self.report.replaced, at);
            }
        }
        writer.last = entry.seq;
        if writer.broken_at.is_none() {
            let mut tag = [0; 32];
            let length = mac.len().min(tag.len());
            tag[..length].copy_from_slice(&mac[..length]);
            let last = writer.heads.back().expect("it starts with one");
            let next = chained(last, &link(&bytes, &tag));
            writer.heads.push_back(next);
            if writer.heads.len() > MAX_OPEN + 2 {
                writer.heads.pop_front();
            }
            self.compare_known(entry.writer, entry.seq, next);
        }
    }

    fn compare_known(&mut self, id: Uuid, seq: i64, head: Hash) {
        let Some(known) = self.known.get_mut(&id) else { return };
        known.retain(|known| {
            let is_here = known.settled == seq;
            if is_here {
                self.report.anchors += 1;
                if known.head != head && !self.accepted.has(id) {
                    list(&mut self.report.went_back, known.clone());
                }
            }
            !is_here
        });
    }

    fn end_writer(&mut self) {
        let Some(mut writer) = self.writer.take() else { return };
        let settled = writer.broken_at.map_or(writer.last, |at| at - 1);
        // anyone who may add entries can add those of a writer that never was
        if let Some(head) = writer.heads.back().filter(|_| settled > 0 && writer.is_ours) {
            self.report.heads.push(KnownHead { writer: writer.id, settled, head: *head });
        }
        // whatever survives outside knows more than the entries that are left
        let known = self.known.remove(&writer.id).unwrap_or_default();
        let outside = known.iter().map(|known| known.settled).max().unwrap_or(0);
        let last = outside.max(self.last_copied(writer.id));
        if last > writer.last {
            writer.gaps.push(Gap { writer: writer.id, first: writer.last + 1, last });
        }
        self.lost(known);
        self.end_gaps(writer.gaps, writer.settled.max(outside));
    }

    fn last_copied(&self, writer: Uuid) -> i64 {
        let mut numbers = self.copied.range((writer, i64::MIN)..=(writer, i64::MAX));
        numbers.next_back().map_or(0, |(_, number)| *number)
    }

    /// Up to the settled number everything was written, and above it that of which there is a copy.
    fn end_gaps(&mut self, gaps: Vec<Gap>, settled: i64) {
        for gap in gaps {
            let (missing, open) = split(&gap, settled);
            if let Some(gap) = missing {
                self.missing(gap);
            }
            let Some(mut open) = open else { continue };
            let copied = self.copied.range((open.writer, open.first)..=(open.writer, open.last));
            let copied: Vec<i64> = copied.map(|(_, number)| *number).collect();
            for number in copied {
                if number > open.first {
                    list(&mut self.report.open, Gap { last: number - 1, ..open.clone() });
                }
                self.missing(Gap { first: number, last: number, ..open.clone() });
                open.first = number + 1;
            }
            if open.first <= open.last {
                list(&mut self.report.open, open);
            }
        }
    }

    fn missing(&mut self, gap: Gap) {
        for gap in self.accepted.rest(gap) {
            let copied = self.copied.range((gap.writer, gap.first)..=(gap.writer, gap.last)).count();
            let all = u64::try_from(gap.last - gap.first + 1).unwrap_or_default();
            self.report.missing_entries += all;
            self.report.missing_copied += copied as u64;
            list(&mut self.report.missing, gap);
        }
    }

    /// Known heads that no chain of entries led to.
    fn lost(&mut self, known: Vec<KnownHead>) {
        for head in known.into_iter().filter(|known| known.settled > 0 && !self.accepted.has(known.writer)) {
            self.report.anchors += 1;
            list(&mut self.report.went_back, head);
        }
    }

    pub(crate) fn end(mut self) -> ChainReport {
        self.end_writer();
        for (id, known) in std::mem::take(&mut self.known) {
            let settled = known.iter().map(|known| known.settled).max().unwrap_or(0);
            let last = settled.max(self.last_copied(id));
            if last > 0 {
                self.end_gaps(vec![Gap { writer: id, first: 1, last }], settled);
            }
            self.lost(known);
        }
        self.report
    }
}

/// The part of a gap up to the settled number, and the rest.
fn split(gap: &Gap, settled: i64) -> (Option<Gap>, Option<Gap>) {
    let missing = (gap.first <= settled).then(|| Gap { last: gap.last.min(settled), ..gap.clone() });
    let open = (gap.last > settled).then(|| Gap { first: gap.first.max(settled + 1), ..gap.clone() });
    (missing, open)
}

fn list<T>(all: &mut Vec<T>, one: T) {
    if all.len() < MAX_LISTED {
        all.push(one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::entry::tests::key;
    use crate::chain::entry::{Event, SealedEntry, operation};
    use crate::chain::numbers::Numbers;
    use crate::keyring::subkeys::Subkey;

    /// A writer as a process has it.
    struct Process {
        id: Uuid,
        numbers: Numbers,
        key: Subkey,
        written: BTreeMap<i64, SealedEntry>,
    }

    impl Process {
        fn new(id: u128) -> Self {
            let id = Uuid::from_u128(id);
            Self { id, numbers: Numbers::default(), key: key(1), written: BTreeMap::new() }
        }

        fn draw(&mut self, user: &str) -> SealedEntry {
            let seq = self.numbers.draw().unwrap();
            let (settled, head) = self.numbers.settled();
            let event = Event {
                operation: operation::STORE.to_owned(),
                user: Some(user.to_owned()),
                ..Event::default()
            };
            let head = head.to_vec();
            LedgerEntry { writer: self.id, seq, epoch: 1, settled, head, at_ms: seq, event }.sealed(&self.key)
        }

        fn write(&mut self, sealed: SealedEntry) {
            self.numbers.written(sealed.entry.seq, sealed.link);
            self.written.insert(sealed.entry.seq, sealed);
        }

        /// Several writes at once, some of which fail, in an order that the seed decides.
        fn work(&mut self, rounds: u64, seed: u64) {
            let mut under_way: Vec<SealedEntry> = Vec::new();
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            for round in 0..rounds {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                under_way.push(self.draw(&format!("user-{round}")));
                while under_way.len() > (random % 8) as usize {
                    let done = under_way.remove((random >> 8) as usize % under_way.len());
                    match (random >> 16).is_multiple_of(10) {
                        true => self.numbers.unwritten(done.entry.seq),
                        false => self.write(done),
                    }
                }
            }
            under_way.into_iter().for_each(|done| self.write(done));
            while let Some(free) = self.numbers.first_free() {
                let sealed = self.draw("again");
                assert_eq!(sealed.entry.seq, free);
                self.write(sealed);
            }
        }

        fn known_head(&self) -> KnownHead {
            let (settled, head) = self.numbers.settled();
            KnownHead { writer: self.id, settled, head: *head }
        }
    }

    fn check<'a>(entries: impl IntoIterator<Item = &'a SealedEntry>, known: Vec<KnownHead>) -> ChainReport {
        let subkeys = Subkeys::new(vec![key(1)]).unwrap();
        let mut check = ChainCheck::new(subkeys, known, BTreeSet::new(), Acceptance::default());
        entries.into_iter().for_each(|sealed| check.take(&sealed.entry, &sealed.mac));
        check.end()
    }

    fn is_clean(report: &ChainReport) -> bool {
        report.missing.is_empty()
            && report.altered.is_empty()
            && report.replaced.is_empty()
            && report.went_back.is_empty()
    }

    #[test]
    fn what_a_process_writes_is_never_an_alarm() {
        for seed in 0..200 {
            let mut process = Process::new(7);
            process.work(200, seed);
            let report = check(process.written.values(), vec![process.known_head()]);
            assert!(is_clean(&report) && report.open.is_empty(), "seed {seed}: {report:?}");
            assert_eq!(
                (report.entries, report.writers, report.anchors),
                (process.written.len() as u64, 1, 1)
            );
        }
    }

    #[test]
    fn a_removed_entry_is_missing_below_a_settled_number_and_open_above() {
        let mut process = Process::new(7);
        process.work(300, 5);
        let settled = process.written.values().map(|sealed| sealed.entry.settled).max().unwrap();
        let last = *process.written.keys().last().unwrap();
        assert!(settled > 100 && settled < last);
        for seq in 1..=last {
            let left = process.written.values().filter(|sealed| sealed.entry.seq != seq);
            let report = check(left, Vec::new());
            // the last entry may be the only one that names the highest settled number
            let is_known =
                process.written.values().any(|other| other.entry.seq != seq && other.entry.settled >= seq);
            assert_eq!(!report.missing.is_empty(), is_known, "{seq}: {report:?}");
            let left = process.written.values().filter(|sealed| sealed.entry.seq != seq);
            let report = check(left, vec![process.known_head()]);
            let gap = Gap { writer: process.id, first: seq, last: seq };
            assert_eq!(report.missing, [gap], "a head from outside covers every number");
        }
    }

    #[test]
    fn an_entry_of_another_time_of_the_same_writer_is_found() {
        let mut process = Process::new(7);
        process.work(50, 3);
        // a copy of the writer goes another way from here on, as two runs of one restored machine would
        let mut copy = Process { written: process.written.clone(), ..Process::new(7) };
        for sealed in process.written.values() {
            copy.numbers.draw().unwrap();
            copy.numbers.written(sealed.entry.seq, sealed.link);
        }
        let fork = copy.draw("forked");
        let at = fork.entry.seq;
        process.work(50, 4);
        assert!(is_clean(&check(process.written.values(), Vec::new())));
        process.written.insert(at, fork);
        let report = check(process.written.values(), Vec::new());
        assert!(report.altered.is_empty() && !report.replaced.is_empty(), "{report:?}");
    }

    #[test]
    fn altered_foreign_and_cut_entries_are_found() {
        let mut process = Process::new(7);
        process.work(100, 9);
        let mut altered = process.written.clone();
        altered.get_mut(&40).unwrap().entry.event.user = Some("mallory".to_owned());
        let report = check(altered.values(), Vec::new());
        assert_eq!(report.altered, [At { writer: process.id, seq: 40 }]);
        // an entry of another writer under this one's number
        let mut other = Process::new(8);
        other.work(100, 9);
        let mut spliced = process.written.clone();
        let mut foreign = other.written[&40].clone();
        foreign.entry.writer = process.id;
        spliced.insert(40, foreign);
        assert_eq!(check(spliced.values(), Vec::new()).altered.len(), 1);
        // without a head from outside a cut tail cannot be told from a crash
        let cut = process.written.range(..=60).map(|(_, sealed)| sealed);
        assert!(is_clean(&check(cut.clone(), Vec::new())));
        let report = check(cut, vec![process.known_head()]);
        assert_eq!(report.went_back, [process.known_head()]);
        assert_eq!(report.missing[0].first, 61, "{report:?}");
        // nothing of the writer is left
        let report = check([], vec![process.known_head()]);
        assert_eq!((report.missing.len(), report.went_back.len()), (1, 1));
    }
}
