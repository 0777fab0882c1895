//! What each owner may have, by everything that was acknowledged: the contract of the vault, without its code.
//!
//! Where the outcome of an operation is unknown there are several possibilities, and every answer narrows them.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use retell_vault::RetellConfig;
use retell_vault::records::Version;
use retell_vault::sync::KeptReason;

/// The number of a write.
pub type Id = usize;

/// What a pending record was based on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Base {
    /// Its process never saw the owner's row: it may make one.
    Nothing,
    /// Its process saw this write in the row last.
    On(Id),
    /// The model does not know which.
    Either,
}

pub struct Write {
    pub owner: usize,
    /// `None`: a deletion.
    pub config: Option<RetellConfig>,
    /// Unknown where nobody was answered.
    pub version: Option<Version>,
    pub base: Base,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    Missing,
    Empty,
    Holds(Id),
}

/// What a host knows of an owner.
#[derive(Clone, Debug, Default)]
pub struct AtHost {
    /// What may wait in its local file.
    pub waiting: BTreeSet<Option<Id>>,
    /// The local file was put back from an older copy: what waits may be older than it looks.
    pub restored: bool,
    /// All that it may ever have seen in the row.
    pub seen: BTreeSet<Id>,
    /// The same, in the process that runs now.
    pub seen_now: BTreeSet<Id>,
    /// What it saw in the row last, where that is certain.
    pub last: Option<Id>,
    /// What its local file must have kept.
    pub kept: BTreeSet<Id>,
}

#[derive(Clone, Debug)]
pub struct Possible {
    pub row: BTreeSet<Row>,
    pub at: Vec<AtHost>,
    /// The application has removed its row at least once, so an id may have been used again.
    pub was_removed: bool,
}

/// What became of a pending record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    Pushed,
    Superseded,
    DeadLetter,
}

#[derive(Default)]
pub struct Model {
    pub writes: Vec<Write>,
    pub owners: Vec<Possible>,
}

impl Model {
    pub fn new(owners: usize, hosts: usize) -> Self {
        let at = AtHost { waiting: [None].into(), ..AtHost::default() };
        let nobody = Possible { row: [Row::Missing].into(), at: vec![at; hosts], was_removed: false };
        Self { writes: Vec::new(), owners: vec![nobody; owners] }
    }

    /// A write that is about to be tried.
    pub fn write(&mut self, owner: usize, config: Option<RetellConfig>) -> Id {
        self.writes.push(Write { owner, config, version: None, base: Base::Either });
        self.writes.len() - 1
    }

    pub fn is_tombstone(&self, id: Id) -> bool {
        self.writes[id].config.is_none()
    }

    /// `None` where a version is not known.
    pub fn order(&self, a: Id, b: Id) -> Option<Ordering> {
        if a == b {
            return Some(Ordering::Equal);
        }
        Some(self.writes[a].version?.cmp(&self.writes[b].version?))
    }

    pub fn may_be_newer(&self, a: Id, b: Id) -> bool {
        self.order(a, b).is_none_or(|order| order != Ordering::Less)
    }

    /// The write of an owner with this configuration and this version, which may be new.
    pub fn find(&self, owner: usize, config: &RetellConfig, version: Version) -> Option<Id> {
        let all = self.all_with(owner, config);
        let is_others =
            all.is_empty() && self.writes.iter().any(|write| write.config.as_ref() == Some(config));
        assert!(!is_others, "another owner's");
        let with = |known: Option<Version>| all.iter().find(|id| self.writes[**id].version == known);
        with(Some(version)).or_else(|| with(None)).or(all.last()).copied()
    }

    /// The writes of an owner with this configuration. There are several only of what has moved to another owner and back.
    pub fn all_with(&self, owner: usize, config: &RetellConfig) -> Vec<Id> {
        let is_it = |write: &Write| write.owner == owner && write.config.as_ref() == Some(config);
        (0..self.writes.len()).filter(|id| is_it(&self.writes[*id])).collect()
    }

    /// An answer tells the version of a write, and it never changes.
    pub fn learn_version(&mut self, id: Id, version: Version) {
        let known = *self.writes[id].version.get_or_insert(version);
        assert_eq!(known, version, "the version of write {id} has changed");
    }

    /// What a load may answer where the database can be asked. A deletion is nothing.
    pub fn answers(&self, owner: usize, host: usize) -> BTreeSet<Option<Id>> {
        let possible = &self.owners[owner];
        let mut answers = BTreeSet::new();
        for row in &possible.row {
            for waiting in &possible.at[host].waiting {
                match (*row, *waiting) {
                    (Row::Holds(there), Some(waiting)) => {
                        answers.extend(self.may_be_newer(there, waiting).then_some(Some(there)));
                        answers.extend(self.may_be_newer(waiting, there).then_some(Some(waiting)));
                    }
                    (Row::Holds(there), None) => drop(answers.insert(Some(there))),
                    (_, waiting) => drop(answers.insert(waiting)),
                }
            }
        }
        let record = |id: &Id| !self.is_tombstone(*id);
        answers.into_iter().map(|answer| answer.filter(record)).collect()
    }

    /// An acknowledged write in the database. `sees_all`: no column hides a record from it.
    pub fn stored(&mut self, host: usize, id: Id, sees_all: bool) {
        self.stored_elsewhere(host, id, sees_all);
        let owner = self.writes[id].owner;
        let at = &mut self.owners[owner].at[host];
        at.waiting = [None].into();
        at.restored = false;
        self.saw(owner, host, id);
    }

    /// The same, of which the host does not know that it was committed. What waits there goes on waiting, and is older.
    pub fn stored_elsewhere(&mut self, host: usize, id: Id, sees_all: bool) {
        let (owner, version) = (self.writes[id].owner, self.writes[id].version.expect("it was acknowledged"));
        let possible = &self.owners[owner];
        let is_certain = possible.row.len() == 1;
        let before = possible.row.iter().filter_map(|row| match row {
            Row::Holds(there) if is_certain && sees_all => Some(*there),
            _ => None,
        });
        let waited = possible.at[host].waiting.iter().flatten().copied();
        let waited = waited.filter(|_| possible.at[host].waiting.len() == 1);
        for earlier in before.chain(waited) {
            if let Some(earlier) = self.writes[earlier].version {
                assert!(version > earlier, "a store must be later than what it replaces");
            }
        }
        self.owners[owner].row = [Row::Holds(id)].into();
    }

    /// A deletion that met no record: it waits in the place of what waited, and no row holds it. `sees_all` as above.
    pub fn deleted_what_waits(&mut self, host: usize, id: Id, sees_all: bool) {
        let owner = self.writes[id].owner;
        let possible = &self.owners[owner];
        assert!(possible.at[host].waiting.iter().any(Option::is_some), "nothing waited");
        let has_record = |row: &Row| matches!(row, Row::Holds(id) if !self.is_tombstone(*id));
        let rows: BTreeSet<Row> =
            possible.row.iter().copied().filter(|row| !sees_all || !has_record(row)).collect();
        assert!(!rows.is_empty(), "there is a record to delete");
        self.owners[owner].row = rows;
        self.degraded(host, id, false, false);
        self.owners[owner].at[host].last = None;
    }

    /// An acknowledged write in the local file. `unseen`: the process cannot have read the row meanwhile.
    pub fn degraded(&mut self, host: usize, id: Id, unseen: bool, has_replica: bool) {
        let owner = self.writes[id].owner;
        let at = &self.owners[owner].at[host];
        let waiting: Vec<_> = at.waiting.iter().copied().collect();
        // what was written first while the database was away decides
        let base = match waiting.as_slice() {
            [Some(first)] => self.writes[*first].base,
            [None] if !unseen => Base::Either,
            [None] => match at.last {
                Some(last) => Base::On(last),
                None if at.seen_now.is_empty() && (!has_replica || at.seen.is_empty()) => Base::Nothing,
                None => Base::Either,
            },
            _ => Base::Either,
        };
        self.writes[id].base = base;
        if let [Some(before)] = waiting.as_slice()
            && let (Some(before), Some(version)) = (self.writes[*before].version, self.writes[id].version)
        {
            assert!(version > before, "a store must be later than what waits");
        }
        self.owners[owner].at[host].waiting = [Some(id)].into();
    }

    /// A host has met this write in the row.
    pub fn saw(&mut self, owner: usize, host: usize, id: Id) {
        let last = self.owners[owner].at[host].last;
        let last = last.filter(|last| !self.may_be_newer(id, *last)).unwrap_or(id);
        let at = &mut self.owners[owner].at[host];
        at.seen.insert(id);
        at.seen_now.insert(id);
        // the newest, also where the table went back
        at.last = Some(last);
    }

    /// A host has read the row, whatever it holds.
    pub fn may_have_seen(&mut self, owner: usize, host: usize) {
        let there = self.owners[owner].row.iter();
        let there: Vec<Id> =
            there.filter_map(|row| if let Row::Holds(id) = row { Some(*id) } else { None }).collect();
        let at = &mut self.owners[owner].at[host];
        at.seen.extend(&there);
        at.seen_now.extend(&there);
        at.last = None;
    }

    /// The ways in which a pending record can end, with what the row holds then.
    pub fn fates(&self, row: Row, pending: Id, restored: bool, was_removed: bool) -> BTreeSet<(Row, Fate)> {
        use Fate::{DeadLetter, Pushed, Superseded};
        let (pushed, write) = ((Row::Holds(pending), Pushed), &self.writes[pending]);
        let mut fates = BTreeSet::new();
        match row {
            // there is nothing that a deletion would have to cover
            Row::Missing | Row::Empty if self.is_tombstone(pending) => {
                fates.extend([(row, Pushed), (row, DeadLetter)]);
                fates.extend((row == Row::Empty).then_some(pushed));
            }
            Row::Missing | Row::Empty => {
                if write.base != Base::Nothing || restored {
                    fates.insert((row, DeadLetter));
                }
                // what was based on a record goes to no other row: the id may have been used again
                if !matches!(write.base, Base::On(_)) {
                    fates.insert(pushed);
                }
            }
            Row::Holds(there) if there == pending => drop(fates.insert(pushed)),
            Row::Holds(there) => {
                if self.may_be_newer(there, pending) {
                    fates.insert((row, Superseded));
                }
                if self.may_be_newer(pending, there) {
                    // what is not based on a deletion does not undo it
                    let may_revive = self.is_tombstone(there) && write.base != Base::On(there);
                    if !may_revive || write.base == Base::Either {
                        fates.insert(pushed);
                    }
                    if may_revive || was_removed || restored {
                        fates.insert((row, DeadLetter));
                    }
                }
            }
        }
        fates
    }

    /// What waits on a host is pushed, or was not: nobody has looked.
    pub fn may_be_settled(&mut self, owner: usize, host: usize) {
        let before = self.owners[owner].clone();
        for row in &before.row {
            for pending in before.at[host].waiting.iter().flatten() {
                let restored = before.at[host].restored;
                for (row, _) in self.fates(*row, *pending, restored, before.was_removed) {
                    self.owners[owner].row.insert(row);
                    self.owners[owner].at[host].waiting.insert(None);
                }
            }
        }
    }

    /// What waited is settled, and the local file tells what was kept of it: everything that it has kept now, and what it
    /// had kept before.
    pub fn settled(
        &mut self,
        owner: usize,
        host: usize,
        kept: &[(Id, KeptReason)],
        kept_before: &[(Id, KeptReason)],
    ) {
        let before = self.owners[owner].clone();
        let (mut rows, mut must_be_kept, mut all_waited) = (BTreeSet::new(), BTreeSet::new(), true);
        let is_new = |id: Id, why| kept.contains(&(id, why)) && !kept_before.contains(&(id, why));
        for waiting in &before.at[host].waiting {
            let Some(pending) = *waiting else {
                all_waited = false;
                rows.extend(before.row.iter().copied());
                continue;
            };
            for row in &before.row {
                let fates =
                    self.fates(*row, pending, before.at[host].restored, before.was_removed).into_iter();
                let fates = fates.filter(|(_, fate)| {
                    // what is kept twice is one entry, and a deletion cannot be told from another
                    let told = !self.is_tombstone(pending)
                        && !kept_before.iter().any(|(id, _)| *id == pending)
                        && before.at[host].waiting.len() == 1;
                    !told
                        || match fate {
                            Fate::Pushed => !kept.iter().any(|(id, _)| *id == pending),
                            Fate::Superseded => is_new(pending, KeptReason::Loser),
                            Fate::DeadLetter => is_new(pending, KeptReason::DeadLetter),
                        }
                });
                for (after, fate) in fates {
                    rows.insert(after);
                    let overwritten = match (*row, fate) {
                        (Row::Holds(there), Fate::Pushed) if after != *row => Some(there),
                        _ => None,
                    };
                    let unseen = |there: &Id| !before.at[host].seen.contains(there);
                    must_be_kept.extend(overwritten.filter(unseen));
                    must_be_kept.extend((fate != Fate::Pushed).then_some(pending));
                }
            }
        }
        let waiting = &before.at[host].waiting;
        assert!(
            !rows.is_empty(),
            "{waiting:?} over {:?} came to an end that is not allowed: kept are {kept:?}, before {kept_before:?}",
            before.row
        );
        // only where it is certain what happened
        let is_certain = all_waited && waiting.len() == 1 && before.row.len() == 1 && rows.len() == 1;
        if is_certain {
            let records: BTreeSet<Id> =
                must_be_kept.into_iter().filter(|id| !self.is_tombstone(*id)).collect();
            self.owners[owner].at[host].kept.extend(records);
        }
        let seen: Vec<Id> =
            rows.iter().filter_map(|row| if let Row::Holds(id) = row { Some(*id) } else { None }).collect();
        let possible = &mut self.owners[owner];
        possible.row = rows;
        let at = &mut possible.at[host];
        if at.waiting != BTreeSet::from([None]) {
            at.seen.extend(&seen);
            at.seen_now.extend(&seen);
            at.last = None;
        }
        at.waiting = [None].into();
        at.restored = false;
    }

    /// The process of a host ends, and another one begins.
    pub fn restarted(&mut self, host: usize) {
        for possible in &mut self.owners {
            possible.at[host].seen_now.clear();
            possible.at[host].last = None;
        }
    }
}
