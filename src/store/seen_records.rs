//! Which record each owner's row was last known to hold.

use crate::record::owner::Owner;
use crate::record::record::Head;
use crate::store::recent::Recent;

/// The records that this process opened or wrote last. A store writes over these without reading them, and reads any other
/// first. A write that cannot read must be later than them, and sync must know what it was based on. The owners that were
/// met longest ago are forgotten. 100,000 owners take about five megabytes.
#[derive(Default)]
pub(crate) struct SeenRecords {
    newest: Recent<Head>,
    /// The owners whose record is gone.
    gone: Recent<()>,
}

impl SeenRecords {
    /// The newest record that the owner's row was seen to hold.
    pub(crate) fn get(&self, owner: &Owner) -> Option<Head> {
        self.newest.get(owner)
    }

    /// The row holds this record. A record older than the known one is late news, and is ignored. Returns the newest one.
    pub(crate) fn holds(&self, owner: &Owner, head: Head) -> Head {
        // for the same version, the key that was met last: a rotation changes it
        let newer = |before: &Head| before.version > head.version;
        self.newest.update(owner, |before| before.filter(newer).unwrap_or(head))
    }

    /// The owner no longer has a record.
    pub(crate) fn gone(&self, owner: &Owner) {
        if self.newest.get(owner).is_some() {
            self.gone.update(owner, |_| ());
        }
        self.newest.forget(owner);
    }

    /// Whether the owner's row was ever seen to hold a record, also one that is gone.
    pub(crate) fn had_record(&self, owner: &Owner) -> bool {
        self.newest.get(owner).is_some() || self.gone.get(owner).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::token::KeyId;
    use crate::record::version::Version;

    #[test]
    fn it_remembers_the_newest_record_of_an_owner() {
        let head = |n, key| Head { key: KeyId(key), version: Version::next(n, None, 0) };
        let (seen, owner) = (SeenRecords::default(), Owner::user("user-42").unwrap());
        seen.holds(&owner, head(7, 1));
        assert_eq!(seen.holds(&owner, head(6, 2)), head(7, 1));
        assert_eq!(seen.holds(&owner, head(7, 2)), head(7, 2), "re-encrypted");
        seen.gone(&owner);
        assert_eq!(seen.get(&owner), None);
        seen.gone(&owner);
        assert!(seen.had_record(&owner), "twice looked for in vain");
        let other = Owner::user("user-43").unwrap();
        seen.gone(&other);
        assert!(!seen.had_record(&other));
    }
}
