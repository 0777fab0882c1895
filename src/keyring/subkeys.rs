//! Subkeys: random keys beside the root keys, for other purposes than sealing, each with an epoch.

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::material::Material;
use crate::record::field::Field;

/// The use of the keys of the blind index.
pub(crate) const INDEX: &str = "index";
/// The use of the keys of the ledger. A keyring that has one belongs to a vault whose ledger was begun.
pub(crate) const LEDGER: &str = "ledger";

/// One key of one use. A later epoch replaces an earlier one; the keyring holds both until everything is under the later one.
#[derive(Clone)]
pub(crate) struct Subkey {
    /// `[a-z][a-z0-9_]{0,39}`. A use that only a newer program knows stays in the keyring.
    pub(crate) usage: String,
    pub(crate) epoch: u32,
    pub(crate) key: Material,
}

/// The subkeys of a keyring, by use and epoch.
///
/// They are random. If they were derived from a secret that no rotation replaces, they could not rotate either.
#[derive(Clone, Default)]
pub(crate) struct Subkeys(Vec<Subkey>);

impl Subkeys {
    /// # Errors
    /// `KeyringFile` for a use that is not a name, and for one epoch of a use twice.
    pub(crate) fn new(mut keys: Vec<Subkey>) -> Result<Self> {
        keys.sort_by(|a, b| (&a.usage, a.epoch).cmp(&(&b.usage, b.epoch)));
        let is_twice = keys.windows(2).any(|pair| is_same_epoch(&pair[0], &pair[1]));
        match is_twice || keys.iter().any(|key| Field::parse(key.usage.as_bytes()).is_none()) {
            true => Err(Error::new(
                ErrorKind::KeyringFile,
                "the keyring must hold no subkey without a valid use, and none twice",
            )),
            false => Ok(Self(keys)),
        }
    }

    /// One key for the index, of the first epoch.
    pub(crate) fn first(key: Material) -> Self {
        Self::default().with_next_epoch(INDEX, key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Subkey> {
        self.0.iter()
    }

    /// Every epoch of a use, the earliest first.
    pub(crate) fn of<'a>(&'a self, usage: &'a str) -> impl DoubleEndedIterator<Item = &'a Subkey> {
        self.0.iter().filter(move |key| key.usage == usage)
    }

    /// The epoch that replaces all others of a use.
    pub(crate) fn newest(&self, usage: &str) -> Option<u32> {
        self.of(usage).map(|key| key.epoch).max()
    }

    /// The same, and a key of the next epoch of a use.
    pub(crate) fn with_next_epoch(&self, usage: &str, key: Material) -> Self {
        let epoch = self.newest(usage).map_or(1, |epoch| epoch.saturating_add(1));
        let next = Subkey { usage: usage.to_owned(), epoch, key };
        Self::new(self.0.iter().cloned().chain([next]).collect()).expect("a new epoch of a valid use")
    }

    /// The same without the earlier epochs of a use.
    pub(crate) fn with_newest_only(&self, usage: &str) -> Self {
        let newest = self.newest(usage);
        let stays = |key: &&Subkey| key.usage != usage || Some(key.epoch) == newest;
        Self(self.0.iter().filter(stays).cloned().collect())
    }

    /// Whether they may be those of a later generation: no epoch goes back, and none has another key.
    pub(crate) fn follow(&self, earlier: &Self) -> bool {
        earlier.iter().all(|before| {
            let here = self.of(&before.usage).find(|key| key.epoch == before.epoch);
            self.newest(&before.usage) >= earlier.newest(&before.usage)
                && here.is_none_or(|key| *key.key == *before.key)
        })
    }

    pub(crate) fn are_same(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.follow(other) && other.follow(self)
    }
}

fn is_same_epoch(one: &Subkey, other: &Subkey) -> bool {
    (&one.usage, one.epoch) == (&other.usage, other.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(usage: &str, epoch: u32, byte: u8) -> Subkey {
        Subkey { usage: usage.to_owned(), epoch, key: Material::copied(&[byte; 32]) }
    }

    #[test]
    fn an_epoch_is_there_once_and_never_goes_back() {
        assert!(Subkeys::new(vec![key("index", 1, 1), key("index", 1, 2)]).is_err());
        assert!(Subkeys::new(vec![key("In dex", 1, 1)]).is_err());
        let first = Subkeys::new(vec![key("ledger", 7, 9), key("index", 1, 1)]).unwrap();
        let both = first.with_next_epoch(INDEX, Material::copied(&[2; 32]));
        assert_eq!(both.of(INDEX).map(|key| key.epoch).collect::<Vec<_>>(), [1, 2]);
        let newest = both.with_newest_only(INDEX);
        assert_eq!(newest.of(INDEX).map(|key| key.epoch).collect::<Vec<_>>(), [2]);
        assert_eq!(newest.newest("ledger"), Some(7), "the keys of other uses stay");
        assert!(both.follow(&first) && newest.follow(&both) && newest.follow(&first));
        assert!(!first.follow(&both) && !Subkeys::default().follow(&first));
        let other = Subkeys::new(vec![key("ledger", 7, 9), key("index", 1, 3)]).unwrap();
        assert!(!other.follow(&first) && !other.are_same(&first) && first.are_same(&first.clone()));
    }
}
