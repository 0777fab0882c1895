//! Keyed hashes of secrets, to find those that several owners have. The key is of one examination and stays in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use crate::error::Result;
use crate::index::entries::{ENTRY, entry};
use crate::keyring::material::Material;
use crate::keyring::subkeys::Subkey;
use crate::postgres::walk::cursor::Position;
use crate::record::field::{Field, FieldSpec};
use crate::record::owner::Owner;

/// More hashes are not kept. One takes 24 bytes.
const MOST: usize = 1_000_000;

/// Secrets of one kind are compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SecretKind {
    /// By this kind the owner is found.
    Found(&'static str),
    /// By this field no owner is found.
    Field(Field),
}

/// The hash of one secret of one owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SecretHash {
    secret: [u8; ENTRY],
    /// Of the owner, to tell owners apart: two have the same with a probability of 2^-32.
    owner: u32,
    /// The number of the page that held the record.
    page: u32,
}

/// Secrets of one kind that several owners have.
pub(crate) struct SharedHashes {
    pub(crate) kind: SecretKind,
    /// The number of these secrets.
    pub(crate) count: u64,
    /// The number of owners who have one of them.
    pub(crate) owners: u64,
    /// Of one of these secrets.
    pub(crate) named: Vec<SecretHash>,
}

/// The hashes that were kept, and where the records are.
pub(crate) struct SecretHashes {
    key: Subkey,
    hasher: RandomState,
    most: usize,
    /// Whether another examination finds those by which owners are found.
    fields_only: bool,
    count: usize,
    /// Whether a secret was left out because enough were kept.
    is_cut: bool,
    kept: BTreeMap<SecretKind, Vec<SecretHash>>,
    /// The positions before the pages of which something was kept, and before the present page.
    pages: Vec<Option<Position>>,
    kept_before_page: usize,
}

impl SecretHashes {
    /// # Errors
    /// `Entropy`.
    pub(crate) fn new() -> Result<Self> {
        let key = Subkey { usage: "doctor".to_owned(), epoch: 1, key: Material::random()? };
        Ok(Self {
            key,
            hasher: RandomState::new(),
            most: MOST,
            fields_only: false,
            count: 0,
            is_cut: false,
            kept: BTreeMap::new(),
            pages: vec![None],
            kept_before_page: 0,
        })
    }

    /// Leaves out the secrets by which owners are found.
    pub(crate) fn fields_only(self) -> Self {
        Self { fields_only: true, ..self }
    }

    /// Empty, with the same key.
    pub(crate) fn emptied(&self) -> Self {
        let (key, hasher) = (self.key.clone(), self.hasher.clone());
        let (kept, pages) = (BTreeMap::new(), vec![None]);
        Self { key, hasher, count: 0, is_cut: false, kept, pages, kept_before_page: 0, ..*self }
    }

    /// The records that follow are of the page after this position.
    pub(crate) fn start_page(&mut self, before: Option<Position>) {
        if self.count == self.kept_before_page {
            self.pages.pop();
        }
        self.kept_before_page = self.count;
        self.pages.push(before);
    }

    /// Keeps the hash of a secret. A value that is no secret is not kept.
    pub(crate) fn take(&mut self, owner: &Owner, field: Field, spec: &FieldSpec, json: &str) {
        let kind = match spec.index {
            Some(_) if self.fields_only => return,
            Some(kind) => SecretKind::Found(kind),
            None => SecretKind::Field(field),
        };
        if !spec.is_secret {
            return;
        }
        if self.count >= self.most {
            self.is_cut = true;
            return;
        }
        let name = match &kind {
            SecretKind::Found(kind) => kind,
            SecretKind::Field(field) => field.name(),
        };
        let secret = entry(&self.key, "doctor", name, json);
        // at most one page for each hash
        let page = u32::try_from(self.pages.len() - 1).unwrap_or(u32::MAX);
        let owner = (self.hasher.hash_one(owner) >> 32) as u32;
        self.kept.entry(kind).or_default().push(SecretHash { secret, owner, page });
        self.count += 1;
    }

    /// Whether some secrets were not compared, because there were too many.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// By kind, the secrets that several owners have. Of the secret that most owners have, the hashes of at most `named` owners.
    pub(crate) fn shared(&mut self, named: usize) -> Vec<SharedHashes> {
        let shared = self.kept.iter_mut().map(|(kind, hashes)| {
            hashes.sort_unstable();
            hashes.dedup_by_key(|hash| (hash.secret, hash.owner));
            let mut owners: Vec<u32> = Vec::new();
            let mut shared = SharedHashes { kind: *kind, count: 0, owners: 0, named: Vec::new() };
            let mut most = 1;
            for same in hashes.chunk_by(|a, b| a.secret == b.secret).filter(|same| same.len() > 1) {
                shared.count += 1;
                owners.extend(same.iter().map(|hash| hash.owner));
                if same.len() > most {
                    most = same.len();
                    shared.named = same[..most.min(named)].to_vec();
                }
            }
            owners.sort_unstable();
            owners.dedup();
            SharedHashes { owners: owners.len() as u64, ..shared }
        });
        shared.filter(|shared| shared.count > 0).collect()
    }

    /// The pages of these hashes, each as the position before it.
    pub(crate) fn pages_of<'a>(&self, hashes: impl Iterator<Item = &'a SecretHash>) -> Vec<Option<Position>> {
        let pages: BTreeSet<u32> = hashes.map(|hash| hash.page).collect();
        pages.into_iter().filter_map(|page| self.pages.get(page as usize).cloned()).collect()
    }

    /// Whether the owner of this hash has the secret of this kind here too.
    pub(crate) fn has(&self, kind: SecretKind, wanted: &SecretHash) -> bool {
        let of_kind = self.kept.get(&kind).map_or(&[][..], Vec::as_slice);
        of_kind.iter().any(|hash| (hash.secret, hash.owner) == (wanted.secret, wanted.owner))
    }
}

impl fmt::Debug for SecretHashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretHashes({} hashes)", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::credentials::Credentials;
    use crate::record::field::Fields;
    use crate::retell::config::RetellConfig;

    fn take(hashes: &mut SecretHashes, owner: &str, field: &str, json: &str) {
        let (fields, field) =
            (Fields::new(RetellConfig::NAMESPACE, RetellConfig::FIELDS), Field::named(field));
        hashes.take(&Owner::user(owner).unwrap(), field, fields.spec(field).unwrap(), json);
    }

    /// The number of secrets, of their owners, and of the owners that are named.
    fn counts(hashes: &mut SecretHashes) -> Vec<(SecretKind, u64, u64, usize)> {
        hashes.shared(5).iter().map(|it| (it.kind, it.count, it.owners, it.named.len())).collect()
    }

    #[test]
    fn a_secret_of_two_owners_is_shared_and_that_of_two_rows_of_one_is_not() {
        let mut hashes = SecretHashes::new().unwrap();
        for (owner, key) in [("a", "1"), ("a", "1"), ("b", "2"), ("c", "3")] {
            take(&mut hashes, owner, "api_key", key);
            take(&mut hashes, owner, "phone_number", "no secret");
        }
        take(&mut hashes, "d", "webhook_key", "1");
        assert_eq!(counts(&mut hashes), []);
        take(&mut hashes, "d", "api_key", "1");
        take(&mut hashes, "a", "call_agent_id", "4");
        take(&mut hashes, "a", "sms_agent_id", "4");
        let api_key = SecretKind::Field(Field::named("api_key"));
        assert_eq!(counts(&mut hashes), [(api_key, 1, 2, 2)]);
        take(&mut hashes, "b", "sales_agent_id", "4");
        assert_eq!(counts(&mut hashes), [(SecretKind::Found("agent"), 1, 2, 2), (api_key, 1, 2, 2)]);
        assert_eq!(format!("{hashes:?}"), "SecretHashes(9 hashes)");

        let mut of_fields = SecretHashes::new().unwrap().fields_only();
        take(&mut of_fields, "a", "call_agent_id", "4");
        assert_eq!(of_fields.count, 0);
    }

    #[test]
    fn the_named_owners_have_one_secret_in_common() {
        let mut hashes = SecretHashes::new().unwrap();
        for (owner, key) in [("a", "1"), ("b", "1"), ("c", "2"), ("d", "2"), ("e", "2"), ("f", "3")] {
            take(&mut hashes, owner, "api_key", key);
        }
        let [shared] = &hashes.shared(5)[..] else { panic!("one kind") };
        assert_eq!((shared.count, shared.owners, shared.named.len()), (2, 5, 3));
        assert!(shared.named.iter().all(|hash| hash.secret == shared.named[0].secret));
        let [shared] = &hashes.shared(2)[..] else { panic!("one kind") };
        assert_eq!((shared.count, shared.owners, shared.named.len()), (2, 5, 2));
    }

    #[test]
    fn it_keeps_a_bounded_number_and_finds_its_pages_again() {
        assert_eq!(size_of::<SecretHash>(), 24);
        let mut hashes = SecretHashes { most: 4, ..SecretHashes::new().unwrap() };
        let position = |text: &str| Some(vec![text.to_owned()]);
        hashes.start_page(None);
        take(&mut hashes, "a", "api_key", "1");
        hashes.start_page(position("empty"));
        hashes.start_page(position("a"));
        take(&mut hashes, "b", "api_key", "2");
        take(&mut hashes, "c", "api_key", "1");
        take(&mut hashes, "d", "api_key", "3");
        assert!(!hashes.is_cut());
        hashes.start_page(position("d"));
        take(&mut hashes, "e", "api_key", "1");
        assert!(hashes.is_cut());
        let shared = hashes.shared(5);
        let [SharedHashes { kind, count: 1, owners: 2, named: first }] = shared.as_slice() else {
            panic!("{} kinds", shared.len())
        };
        assert_eq!(hashes.pages_of(first.iter()), [None, position("a")]);

        let mut again = hashes.emptied();
        take(&mut again, "c", "api_key", "1");
        assert!(again.has(*kind, first.iter().find(|hash| hash.page == 1).unwrap()));
        assert!(!again.has(*kind, first.iter().find(|hash| hash.page == 0).unwrap()));
        let mut other = SecretHashes::new().unwrap();
        take(&mut other, "c", "api_key", "1");
        assert!(!first.iter().any(|hash| other.has(*kind, hash)), "another key");
    }
}
