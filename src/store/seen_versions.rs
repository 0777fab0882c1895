//! Which version each owner's row was last known to hold.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::record::owner::Owner;
use crate::record::version::Version;

/// Owners in one generation: two of them take half a megabyte at most.
const GENERATION: usize = 10_000;

/// What this process knows of the rows, for writes that cannot look: their version must be later, and
/// sync must be able to tell what they were based on. The owners that were met longest ago are forgotten.
#[derive(Default)]
pub(crate) struct SeenVersions {
    // under a random key: nobody can choose ids that collide
    hasher: RandomState,
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<u64, Version>,
    old: HashMap<u64, Version>,
}

impl Generations {
    fn get(&self, owner: u64) -> Option<Version> {
        self.young.get(&owner).or_else(|| self.old.get(&owner)).copied()
    }
}

impl SeenVersions {
    /// The newest version that the owner's row was seen to hold.
    pub(crate) fn get(&self, owner: &Owner) -> Option<Version> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).get(self.hasher.hash_one(owner))
    }

    /// The row holds this version. An older one than before is news that came late.
    pub(crate) fn holds(&self, owner: &Owner, version: Version) {
        let owner = self.hasher.hash_one(owner);
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let version = generations.get(owner).map_or(version, |before| before.max(version));
        if generations.young.len() >= GENERATION && !generations.young.contains_key(&owner) {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(owner, version);
    }

    /// There is no record of this owner any more.
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

    #[test]
    fn it_remembers_the_newest_version_of_the_owners_met_last() {
        let (seen, version) = (SeenVersions::default(), |n| Version::next(n, None, 0));
        let owner = |n: usize| Owner::user(&format!("user-{n}")).unwrap();
        seen.holds(&owner(0), version(7));
        seen.holds(&owner(0), version(6));
        assert_eq!(seen.get(&owner(0)), Some(version(7)));
        (1..=GENERATION).for_each(|n| seen.holds(&owner(n), version(1)));
        assert_eq!(seen.get(&owner(0)), Some(version(7)), "in the old generation");
        (1..=2 * GENERATION).for_each(|n| seen.holds(&owner(n), version(1)));
        assert_eq!(seen.get(&owner(0)), None);
        seen.gone(&owner(2 * GENERATION));
        assert_eq!(seen.get(&owner(2 * GENERATION)), None);
    }
}
