//! Entries of the ledger that wait in memory until they are written in the background: reads, folded, and refused operations.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::error::{Error, ErrorKind};
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::store::actor::Attribution;

/// How many entries wait at most.
const MAX_WAITING: usize = 10_000;
/// So many are written at once, without waiting for the minute.
const MANY_WAITING: usize = 5_000;
/// Refusals of one owner and kind are noted once in this time, and all of them so often.
const PAUSE: Duration = Duration::from_secs(1);
const MAX_REFUSALS: usize = 20;
/// How many fields an entry names at most: the table limits the length of the text.
const MAX_FIELDS: usize = 100;

/// When the [ledger](crate::ledger) learns of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Reads {
    /// Once a minute, with one entry for all reads of one owner by one actor for one reason. A load never waits, and never fails
    /// because of the ledger. A process that is killed loses the reads of its last minute. This is the default.
    #[default]
    Folded,
    /// Before the value is returned, with an entry for each read, also for one that the local file answers.
    Before(IfNotNoted),
}

/// What becomes of a read that the ledger cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IfNotNoted {
    /// It fails with `LedgerUnavailable`, or with `Unavailable` in an outage. No value is returned.
    Refuse,
    /// The value is returned, and `not_noted` beside it says why the ledger does not know. The entry is written once the ledger
    /// takes entries again, as those of [`Reads::Folded`] are.
    ServeAndSay,
}

/// The entries of this process that the [ledger](crate::ledger) does not have yet: reads, and refused operations.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LedgerBacklog {
    /// Entries that wait in memory. They are written once a minute.
    pub waiting: u64,
    /// Reads that will never have an entry, because 10,000 entries waited already. The next entry that is written says how many.
    pub lost: u64,
    /// Why the ledger did not take them the last time.
    pub problem: Option<Error>,
}

/// What waits.
pub(crate) struct WaitingEntries {
    pub(super) mode: Reads,
    waiting: Mutex<WaitingState>,
    /// Held by the task that writes.
    pub(super) writing: tokio::sync::Mutex<()>,
    pub(super) wake: Arc<Wake>,
}

/// Tells the background that it should not wait for the minute.
#[derive(Default)]
pub(crate) struct Wake {
    pub(super) many: Notify,
    pub(super) refused: Notify,
}

#[derive(Default)]
struct WaitingState {
    reads: HashMap<ReadKey, FoldedReads>,
    refusals: VecDeque<RefusedOperation>,
    /// How many entries are taken and not written yet. They may come back.
    taken: usize,
    /// The refusals of the last second.
    recent: VecDeque<(Instant, Owner, ErrorKind)>,
    /// How many refusals were not noted since the last one that was.
    skipped: u64,
    /// How many reads had no room, and how many of them no entry has said yet.
    lost: u64,
    untold: u64,
    problem: Option<Error>,
}

/// An entry that has no number yet.
pub(crate) enum WaitingEntry {
    Reads(ReadKey, FoldedReads),
    Refusal(RefusedOperation),
    /// So many reads had no room.
    Lost(u64),
}

/// An operation that was refused because of the record that is there.
#[derive(Debug, Clone)]
pub(crate) struct RefusedOperation {
    pub(crate) at_ms: i64,
    pub(crate) operation: &'static str,
    pub(crate) owner: Owner,
    pub(crate) actor: Option<Arc<Attribution>>,
    pub(crate) kind: ErrorKind,
    /// How many were not noted before it.
    pub(crate) skipped: u64,
}

/// Reads with the same key have one entry.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct ReadKey {
    pub(crate) owner: Owner,
    actor: ByWhom,
    pub(crate) fields: Vec<Field>,
}

impl ReadKey {
    pub(super) fn actor(&self) -> Option<&Attribution> {
        self.actor.0.as_deref()
    }
}

/// An actor, compared without the request.
struct ByWhom(Option<Arc<Attribution>>);

impl ByWhom {
    fn texts(&self) -> Option<(Option<&str>, Option<&str>)> {
        self.0.as_deref().map(|actor| (actor.actor(), actor.reason()))
    }

    fn request(&self) -> Option<&str> {
        self.0.as_deref().and_then(Attribution::request)
    }
}

impl PartialEq for ByWhom {
    fn eq(&self, other: &Self) -> bool {
        self.texts() == other.texts()
    }
}

impl Eq for ByWhom {}

impl Hash for ByWhom {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.texts().hash(state);
    }
}

/// Reads of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FoldedReads {
    pub(crate) first_ms: i64,
    last_ms: i64,
    count: u64,
    /// Whether all of them are of the request that the actor names.
    pub(crate) is_of_request: bool,
}

/// What is taken to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    All,
    /// Everything but reads, which may still be folded.
    Refusals,
}

impl WaitingEntries {
    pub(crate) fn new(mode: Reads) -> Self {
        Self { mode, waiting: Mutex::default(), writing: tokio::sync::Mutex::default(), wake: Arc::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingState> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that these fields of an owner are read.
    pub(super) fn read(
        &self,
        owner: &Owner,
        fields: Vec<Field>,
        actor: Option<Arc<Attribution>>,
        at_ms: i64,
    ) {
        let actor = ByWhom(actor.map(Attribution::cut));
        let key = ReadKey { owner: owner.clone(), actor, fields };
        let one = FoldedReads { first_ms: at_ms, last_ms: at_ms, count: 1, is_of_request: true };
        let mut waiting = self.waiting();
        if waiting.fold(key, one) {
            self.wake_if_many(&waiting);
        }
    }

    /// Notes that an operation was refused, unless there were too many of late: the next one then says how many.
    pub(super) fn refused(&self, now: Instant, mut refusal: RefusedOperation) {
        refusal.actor = refusal.actor.map(Attribution::cut);
        let mut waiting = self.waiting();
        while waiting.recent.front().is_some_and(|(at, ..)| now.saturating_duration_since(*at) >= PAUSE) {
            waiting.recent.pop_front();
        }
        let is_same =
            |(_, owner, kind): &(Instant, Owner, ErrorKind)| *kind == refusal.kind && *owner == refusal.owner;
        if waiting.recent.len() >= MAX_REFUSALS
            || waiting.recent.iter().any(is_same)
            || waiting.count() >= MAX_WAITING
        {
            waiting.skipped += 1;
            return;
        }
        refusal.skipped = std::mem::take(&mut waiting.skipped);
        waiting.recent.push_back((now, refusal.owner.clone(), refusal.kind));
        waiting.refusals.push_back(refusal);
        self.wake.refused.notify_one();
        self.wake_if_many(&waiting);
    }

    /// Once: what cannot be written is tried again each minute, and not at every read.
    fn wake_if_many(&self, waiting: &WaitingState) {
        if waiting.count() == MANY_WAITING {
            self.wake.many.notify_one();
        }
    }

    pub(super) fn take(&self, what: Taken) -> VecDeque<WaitingEntry> {
        let mut waiting = self.waiting();
        let mut taken: VecDeque<_> = waiting.refusals.drain(..).map(WaitingEntry::Refusal).collect();
        if what == Taken::All {
            let untold = std::mem::take(&mut waiting.untold);
            taken.extend((untold > 0).then_some(WaitingEntry::Lost(untold)));
            taken.extend(waiting.reads.drain().map(|(key, folded)| WaitingEntry::Reads(key, folded)));
        }
        waiting.taken += taken.len();
        taken
    }

    /// So many of those that were taken are written.
    pub(super) fn written(&self, count: usize) {
        let mut waiting = self.waiting();
        waiting.taken = waiting.taken.saturating_sub(count);
        waiting.problem = None;
    }

    /// Gives back what could not be written, in its place among what came since.
    pub(super) fn put_back(&self, entries: VecDeque<WaitingEntry>) {
        let mut waiting = self.waiting();
        waiting.taken = waiting.taken.saturating_sub(entries.len());
        for entry in entries.into_iter().rev() {
            match entry {
                WaitingEntry::Reads(key, folded) => drop(waiting.fold(key, folded)),
                WaitingEntry::Refusal(refusal) => waiting.refusals.push_front(refusal),
                WaitingEntry::Lost(count) => waiting.untold += count,
            }
        }
    }

    /// Why entries could not be written. Returns whether that is new.
    pub(super) fn failed(&self, problem: Error) -> bool {
        self.waiting().problem.replace(problem).is_none()
    }

    /// Whether so many wait that they should be written now.
    pub(super) fn are_many(&self) -> bool {
        self.waiting().count() >= MANY_WAITING
    }

    pub(crate) fn backlog(&self) -> LedgerBacklog {
        let waiting = self.waiting();
        LedgerBacklog {
            waiting: waiting.count() as u64,
            lost: waiting.lost,
            problem: waiting.problem.clone(),
        }
    }
}

impl WaitingState {
    fn count(&self) -> usize {
        self.reads.len() + self.refusals.len() + self.taken
    }

    /// Returns whether it is one entry more.
    fn fold(&mut self, key: ReadKey, folded: FoldedReads) -> bool {
        let has_room = self.count() < MAX_WAITING;
        let actor = ByWhom(key.actor.0.clone());
        match self.reads.entry(key) {
            Entry::Occupied(mut held) => {
                let is_same = held.key().actor.request() == actor.request();
                held.get_mut().add(folded, is_same);
                false
            }
            Entry::Vacant(place) if has_room => {
                place.insert(folded);
                true
            }
            Entry::Vacant(_) => {
                self.lost += folded.count;
                self.untold += folded.count;
                false
            }
        }
    }
}

impl FoldedReads {
    fn add(&mut self, other: Self, is_same_request: bool) {
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
        self.count += other.count;
        self.is_of_request &= other.is_of_request && is_same_request;
    }

    pub(super) fn detail(&self, fields: &[Field]) -> Value {
        let mut detail = of_fields(fields);
        detail["count"] = self.count.into();
        if self.last_ms > self.first_ms {
            detail["until_ms"] = self.last_ms.into();
        }
        detail
    }
}

/// What an entry says about fields that were read: only their names.
pub(super) fn of_fields(fields: &[Field]) -> Value {
    let names: Vec<String> = fields.iter().take(MAX_FIELDS).map(Field::to_string).collect();
    let mut detail = json!({ "fields": names });
    if fields.len() > MAX_FIELDS {
        detail["more_fields"] = (fields.len() - MAX_FIELDS).into();
    }
    detail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::entry::operation;

    fn owner(id: &str) -> Owner {
        Owner::user(id).unwrap()
    }

    fn actor(name: &str, request: &str) -> Option<Arc<Attribution>> {
        Some(Arc::new(Attribution::new(name, Some("why"), Some(request))))
    }

    fn fields(names: &[&str]) -> Vec<Field> {
        names.iter().map(|name| Field::parse(name.as_bytes()).unwrap()).collect()
    }

    fn text(entry: &WaitingEntry) -> String {
        match entry {
            WaitingEntry::Reads(key, folded) => {
                let request = key.actor.request().filter(|_| folded.is_of_request).unwrap_or("-");
                format!("{} {} {request} {}", folded.first_ms, key.owner, folded.detail(&key.fields))
            }
            WaitingEntry::Refusal(refusal) => {
                format!("{} {} skipped {}", refusal.owner, refusal.kind.as_str(), refusal.skipped)
            }
            WaitingEntry::Lost(count) => format!("lost {count}"),
        }
    }

    fn texts(entries: &VecDeque<WaitingEntry>) -> Vec<String> {
        let mut texts: Vec<_> = entries.iter().map(text).collect();
        texts.sort();
        texts
    }

    /// What is taken, and written.
    fn taken(waiting: &WaitingEntries, what: Taken) -> Vec<String> {
        let entries = waiting.take(what);
        waiting.written(entries.len());
        texts(&entries)
    }

    #[test]
    fn reads_are_folded_by_owner_actor_reason_and_fields() {
        let waiting = WaitingEntries::new(Reads::Folded);
        let (one, two) = (fields(&["a"]), fields(&["a", "b"]));
        waiting.read(&owner("ann"), one.clone(), actor("alice", "1"), 10);
        waiting.read(&owner("ann"), one.clone(), actor("alice", "1"), 12);
        waiting.read(&owner("ann"), two.clone(), actor("alice", "1"), 13);
        waiting.read(&owner("ann"), two, actor("alice", "2"), 14);
        waiting.read(&owner("ben"), one.clone(), actor("alice", "1"), 15);
        waiting.read(&owner("ben"), one.clone(), actor("bob", "1"), 16);
        waiting.read(&owner("ben"), one, None, 17);
        assert_eq!(taken(&waiting, Taken::Refusals), [""; 0]);
        let expected = [
            r#"10 ann 1 {"count":2,"fields":["a"],"until_ms":12}"#,
            r#"13 ann - {"count":2,"fields":["a","b"],"until_ms":14}"#,
            r#"15 ben 1 {"count":1,"fields":["a"]}"#,
            r#"16 ben 1 {"count":1,"fields":["a"]}"#,
            r#"17 ben - {"count":1,"fields":["a"]}"#,
        ];
        assert_eq!(taken(&waiting, Taken::All), expected);
        assert_eq!(taken(&waiting, Taken::All), [""; 0]);
    }

    #[test]
    fn what_could_not_be_written_is_folded_with_what_came_since() {
        let waiting = WaitingEntries::new(Reads::Folded);
        let read = |request, at| waiting.read(&owner("ann"), fields(&["a"]), actor("alice", request), at);
        read("1", 10);
        let entries = waiting.take(Taken::All);
        read("2", 20);
        assert_eq!(waiting.backlog().waiting, 2);
        waiting.put_back(entries);
        assert_eq!(waiting.backlog().waiting, 1);
        assert_eq!(taken(&waiting, Taken::All), [r#"10 ann - {"count":2,"fields":["a"],"until_ms":20}"#]);
        assert_eq!(waiting.backlog().waiting, 0);
    }

    #[test]
    fn memory_is_bounded_and_what_has_no_room_is_counted() {
        let waiting = WaitingEntries::new(Reads::Folded);
        for n in 0..MAX_WAITING + 7 {
            waiting.read(&owner(&format!("user-{n}")), fields(&["a"]), None, 1);
        }
        waiting.read(&owner("user-1"), fields(&["a"]), None, 1);
        let entries = waiting.take(Taken::All);
        assert_eq!(entries.len(), MAX_WAITING + 1);
        assert!(texts(&entries).contains(&"lost 7".to_owned()));
        waiting.read(&owner("new"), fields(&["a"]), None, 1);
        assert_eq!(waiting.backlog().lost, 8, "what is being written still counts");
        waiting.put_back(entries);
        let entries = waiting.take(Taken::All);
        assert_eq!(entries.len(), MAX_WAITING + 1);
        assert!(texts(&entries).contains(&"lost 8".to_owned()));
        waiting.written(entries.len());
        waiting.read(&owner("new"), fields(&["a"]), None, 1);
        assert_eq!((waiting.backlog().waiting, waiting.backlog().lost), (1, 8));
    }

    #[test]
    fn the_background_is_woken_once_when_many_wait() {
        let waiting = WaitingEntries::new(Reads::Folded);
        let is_woken = || {
            let mut notified = std::pin::pin!(waiting.wake.many.notified());
            notified.as_mut().enable()
        };
        let read = |n: usize| waiting.read(&owner(&format!("user-{n}")), fields(&["a"]), None, 1);
        (1..MANY_WAITING).for_each(read);
        assert!(!is_woken() && !waiting.are_many());
        read(MANY_WAITING);
        assert!(is_woken() && waiting.are_many());
        waiting.put_back(waiting.take(Taken::All));
        read(MANY_WAITING + 1);
        read(1);
        assert!(!is_woken(), "each read would try again");
    }

    #[test]
    fn a_text_that_entries_do_not_hold_is_not_kept() {
        let waiting = WaitingEntries::new(Reads::Folded);
        let long = Attribution::new("alice", Some(&"x".repeat(100_000)), None);
        waiting.read(&owner("ann"), fields(&["a"]), Some(Arc::new(long)), 1);
        let entries = waiting.take(Taken::All);
        let WaitingEntry::Reads(key, _) = &entries[0] else { panic!("a read") };
        assert!(format!("{:?}", key.actor()).len() < 2000);
    }

    #[test]
    fn many_fields_are_cut() {
        let names: Vec<_> = (0..130).map(|n| format!("{}{n:03}", "x".repeat(37))).collect();
        let detail = of_fields(&fields(&names.iter().map(String::as_str).collect::<Vec<_>>()));
        assert_eq!((&detail["more_fields"], &detail["fields"][99]), (&30.into(), &json!(names[99])));
        assert!(detail.to_string().len() < 8000);
    }

    fn refusal(id: &str, kind: ErrorKind) -> RefusedOperation {
        RefusedOperation {
            at_ms: 0,
            operation: operation::STORE,
            owner: owner(id),
            actor: None,
            kind,
            skipped: 0,
        }
    }

    #[test]
    fn refusals_are_limited_and_the_others_are_counted() {
        let (waiting, start) = (WaitingEntries::new(Reads::Folded), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        for millis in [0, 999] {
            waiting.refused(at(millis), refusal("ann", ErrorKind::Conflict));
            waiting.refused(at(millis), refusal("ann", ErrorKind::Unsealable));
        }
        assert_eq!(taken(&waiting, Taken::Refusals).len(), 2);
        waiting.refused(at(1000), refusal("ann", ErrorKind::Conflict));
        assert_eq!(taken(&waiting, Taken::Refusals), ["ann conflict skipped 2"]);
        for n in 0..100 {
            waiting.refused(at(2000), refusal(&format!("user-{n}"), ErrorKind::Conflict));
        }
        assert_eq!(taken(&waiting, Taken::Refusals).len(), MAX_REFUSALS);
        waiting.refused(at(2999), refusal("other", ErrorKind::Conflict));
        assert_eq!(taken(&waiting, Taken::Refusals), [""; 0]);
        waiting.refused(at(3000), refusal("other", ErrorKind::Conflict));
        assert_eq!(taken(&waiting, Taken::Refusals), ["other conflict skipped 81"]);
    }
}
