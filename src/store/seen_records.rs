//! Which record each owner's row was last known to hold.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::record::owner::Owner;
use crate::record::record::Head;

/// Owners in one generation. Two of them, 100,000 owners, take about five megabytes.
const GENERATION: usize = 50_000;

/// The records that this process opened or wrote last. A store writes over these without reading them, and reads any other
/// first. A write that cannot read must be later than them, and sync must know what it was based on. The owners that were
/// met longest ago are forgotten.
#[derive(Default)]
pub(crate) struct SeenRecords {
    // hashed with a random key, so that nobody can choose ids that collide
    hasher: RandomState,
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<u64, Head>,
    old: HashMap<u64, Head>,
}

impl Generations {
    fn get(&self, owner: u64) -> Option<Head> {
        self.young.get(&owner).or_else(|| self.old.get(&owner)).copied()
    }
}

impl SeenRecords {
    /// The newest record that the owner's row was seen to hold.
    pub(crate) fn get(&self, owner: &Owner) -> Option<Head> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).get(self.hasher.hash_one(owner))
    }

    /// The row holds this record. A record older than the known one is late news, and is ignored. Returns the newest one.
    pub(crate) fn holds(&self, owner: &Owner, head: Head) -> Head {
        let owner = self.hasher.hash_one(owner);
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        // for the same version, the key that was met last: a rotation changes it
        let newer = |before: &Head| before.version > head.version;
        let head = generations.get(owner).filter(newer).unwrap_or(head);
        if generations.young.len() >= GENERATION && !generations.young.contains_key(&owner) {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(owner, head);
        head
    }

    /// The owner no longer has a record.
    pub(crate) fn gone(&self, owner: &Owner) {
        let owner = self.hasher.hash_one(owner);
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.young.remove(&owner);
        generations.old.remove(&owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::token::KeyId;
    use crate::record::version::Version;

    #[test]
    fn it_remembers_the_newest_record_of_the_owners_met_last() {
        let head = |n, key| Head { key: KeyId(key), version: Version::next(n, None, 0) };
        let (seen, owner) = (SeenRecords::default(), |n: usize| Owner::user(&format!("user-{n}")).unwrap());
        seen.holds(&owner(0), head(7, 1));
        assert_eq!(seen.holds(&owner(0), head(6, 2)), head(7, 1));
        assert_eq!(seen.holds(&owner(0), head(7, 2)), head(7, 2), "re-encrypted");
        for n in 1..=GENERATION {
            seen.holds(&owner(n), head(1, 1));
        }
        assert_eq!(seen.get(&owner(0)), Some(head(7, 2)), "in the old generation");
        for n in 1..=2 * GENERATION {
            seen.holds(&owner(n), head(1, 1));
        }
        assert_eq!(seen.get(&owner(0)), None);
        seen.gone(&owner(2 * GENERATION));
        assert_eq!(seen.get(&owner(2 * GENERATION)), None);
    }
}
