//! The entries of the ledger: their bytes, their MAC, and the digest of a record. Pure functions.
//!
//! `docs/FORMAT.md` defines the bytes.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::keyring::subkeys::{LEDGER, Subkey, Subkeys};
use crate::record::contents::Contents;
use crate::record::owner::{Owner, TenantId};
use crate::record::version::Version;

/// A SHA-256 hash, or an HMAC with it.
pub(crate) type Hash = [u8; 32];

const LABEL: &[u8] = b"retell-vault/ledger/v1";
const DIGEST_LABEL: &[u8] = b"retell-vault/ledger/digest/v1";
/// The length of the digest of a record.
const DIGEST: usize = 16;

/// What an entry says. Of a change of a record it names the version before and after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// One of [`operation`].
    pub(crate) operation: String,
    /// The namespace and the table.
    pub(crate) place: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    /// Of the record of version `after`.
    pub(crate) digest: Option<Vec<u8>>,
    /// How an operation ended that changed nothing.
    pub(crate) outcome: Option<String>,
    pub(crate) actor: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) request: Option<String>,
    pub(crate) host: Option<String>,
    /// The version of this crate.
    pub(crate) release: Option<String>,
    /// JSON.
    pub(crate) detail: Option<String>,
}

/// The names of operations, as entries hold them.
pub(crate) mod operation {
    /// A record was stored, deleted (a tombstone), changed in part, imported, moved to or from an owner, or pushed from a
    /// local file.
    pub(crate) const STORE: &str = "store";
    pub(crate) const DELETE: &str = "delete";
    pub(crate) const MODIFY: &str = "modify";
    pub(crate) const IMPORT: &str = "import";
    pub(crate) const RENAME: &str = "rename";
    pub(crate) const SYNC: &str = "sync";
    /// An operator dropped what a local file held of an owner, or made dead letters wait again.
    pub(crate) const FORGET: &str = "forget";
    pub(crate) const RETRY: &str = "retry";
    /// Values of a record were returned to a caller.
    pub(crate) const READ: &str = "read";
    /// Work of an operator that changes no version. Its first entry says that it began, its last one how it ended.
    pub(crate) const ROTATE: &str = "rotate";
    pub(crate) const PROMOTE: &str = "promote";
    pub(crate) const INDEX: &str = "index";
    pub(crate) const KEY_ADD: &str = "key_add";
    pub(crate) const KEY_PROMOTE: &str = "key_promote";
    pub(crate) const KEY_RETIRE: &str = "key_retire";
    pub(crate) const KEY_DESTROY: &str = "key_destroy";
    #[cfg(feature = "admin")]
    pub(crate) const SCHEMA_APPLY: &str = "schema_apply";
    #[cfg(feature = "admin")]
    pub(crate) const SCHEMA_ROLL_BACK: &str = "schema_roll_back";
    /// The record was there when the ledger began.
    #[cfg(feature = "admin")]
    pub(crate) const BASELINE: &str = "baseline";
    /// An operator has accepted what a verification found.
    #[cfg(feature = "admin")]
    pub(crate) const ACCEPT: &str = "accept";
    /// Entries of writers that ended long ago were removed, or the last entry of an owner was one of them.
    #[cfg(feature = "admin")]
    pub(crate) const PRUNE: &str = "prune";
    /// The writer ended, and writes no more.
    pub(crate) const CLOSED: &str = "closed";
    /// The number was never used.
    pub(crate) const VOID: &str = "void";
}

/// One entry: what a writer noted under one of its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LedgerEntry {
    pub(crate) writer: Uuid,
    /// From 1 on.
    pub(crate) seq: i64,
    /// Of the key of the MAC.
    pub(crate) epoch: i32,
    /// The writer knows that every number up to here is written.
    pub(crate) settled: i64,
    /// The hash of the chain up to `settled`.
    pub(crate) head: Vec<u8>,
    pub(crate) at_ms: i64,
    pub(crate) event: Event,
}

impl LedgerEntry {
    /// The bytes that the MAC covers: a label and every column in a fixed order. Each part has its length in front, and an absent
    /// part differs from an empty one, so no two entries have the same bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        let event = &self.event;
        push(&mut bytes, Some(LABEL));
        push(&mut bytes, Some(self.writer.as_bytes()));
        for number in [self.seq, i64::from(self.epoch), self.settled] {
            push(&mut bytes, Some(&number.to_be_bytes()));
        }
        push(&mut bytes, Some(&self.head));
        push(&mut bytes, Some(&self.at_ms.to_be_bytes()));
        push(&mut bytes, Some(event.operation.as_bytes()));
        for text in [&event.place, &event.user, &event.tenant, &event.before, &event.after] {
            push(&mut bytes, text.as_deref().map(str::as_bytes));
        }
        push(&mut bytes, event.digest.as_deref());
        let rest = [
            &event.outcome,
            &event.actor,
            &event.reason,
            &event.request,
            &event.host,
            &event.release,
            &event.detail,
        ];
        for text in rest {
            push(&mut bytes, text.as_deref().map(str::as_bytes));
        }
        bytes
    }

    /// The entry with its MAC, under the key of its epoch.
    pub(crate) fn sealed(self, key: &Subkey) -> SealedEntry {
        let bytes = self.bytes();
        let mac = mac(key, &bytes).finalize().into_bytes().into();
        SealedEntry { link: link(&bytes, &mac), mac, entry: self }
    }
}

/// An entry and its MAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealedEntry {
    pub(crate) entry: LedgerEntry,
    pub(crate) mac: Hash,
    /// What the chain takes of it.
    pub(crate) link: Link,
}

/// An entry as it is stored, which may be anything, and its MAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredEntry {
    pub(crate) entry: LedgerEntry,
    pub(crate) mac: Vec<u8>,
}

/// What the chain takes of an entry: its hash, and its MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    hash: Hash,
    mac: Hash,
}

/// The link of an entry that was read. Its MAC may have any length there.
pub(crate) fn link(bytes: &[u8], mac: &Hash) -> Link {
    Link { hash: Sha256::digest(bytes).into(), mac: *mac }
}

/// The head of a chain without entries.
pub(crate) const NO_HEAD: Hash = [0; 32];

/// The head of the chain after one more entry.
pub(crate) fn chained(head: &Hash, link: &Link) -> Hash {
    Sha256::new().chain_update(head).chain_update(link.hash).chain_update(link.mac).finalize().into()
}

/// Whether a MAC is that of these bytes under this key.
pub(crate) fn is_authentic(key: &Subkey, bytes: &[u8], tag: &[u8]) -> bool {
    let ours: Hash = mac(key, bytes).finalize().into_bytes().into();
    subtle::ConstantTimeEq::ct_eq(ours.as_slice(), tag).into()
}

/// Whether a key of the keyring made the MAC of an entry.
pub(crate) fn is_entry(subkeys: &Subkeys, entry: &LedgerEntry, bytes: &[u8], mac: &[u8]) -> bool {
    key_of(subkeys, entry).is_some_and(|key| is_authentic(key, bytes, mac))
}

/// The key of the epoch that an entry names.
fn key_of<'a>(subkeys: &'a Subkeys, entry: &LedgerEntry) -> Option<&'a Subkey> {
    subkeys.of(LEDGER).find(|key| i64::from(key.epoch) == i64::from(entry.epoch))
}

impl StoredEntry {
    pub(crate) fn is_authentic(&self, subkeys: &Subkeys) -> bool {
        is_entry(subkeys, &self.entry, &self.entry.bytes(), &self.mac)
    }

    /// The entry as it was sealed. `None` if its MAC has another length than any has.
    pub(crate) fn sealed(self) -> Option<SealedEntry> {
        let mac = self.mac.as_slice().try_into().ok()?;
        Some(SealedEntry { link: link(&self.entry.bytes(), &mac), mac, entry: self.entry })
    }

    /// The key of its epoch.
    pub(crate) fn key<'a>(&self, subkeys: &'a Subkeys) -> Option<&'a Subkey> {
        key_of(subkeys, &self.entry)
    }
}

/// The digest of a record: of the plaintext of its record token, so re-encryption does not change it.
pub(crate) fn digest(key: &Subkey, owner: &Owner, version: Version, contents: &Contents) -> [u8; DIGEST] {
    let mut bytes = Vec::with_capacity(256);
    push(&mut bytes, Some(DIGEST_LABEL));
    push(&mut bytes, owner.tenant_id().map(|tenant| TenantId::as_str(tenant).as_bytes()));
    push(&mut bytes, Some(owner.user_id().as_str().as_bytes()));
    push(&mut bytes, Some(&version.to_bytes()));
    push(&mut bytes, Some(contents.print().as_bytes()));
    let whole = mac(key, &bytes).finalize().into_bytes();
    *whole.first_chunk().expect("32 bytes are longer")
}

fn mac(key: &Subkey, bytes: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(key.key.as_slice()).expect("a key of any length is valid");
    mac.chain_update(bytes)
}

fn push(bytes: &mut Vec<u8>, part: Option<&[u8]>) {
    let Some(part) = part else { return bytes.push(0) };
    bytes.push(1);
    bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
    bytes.extend_from_slice(part);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::keyring::material::Material;

    pub(crate) fn key(byte: u8) -> Subkey {
        Subkey { usage: LEDGER.to_owned(), epoch: 1, key: Material::copied(&[byte; 32]) }
    }

    pub(crate) fn entry() -> LedgerEntry {
        LedgerEntry {
            writer: Uuid::from_u128(7),
            seq: 3,
            epoch: 1,
            settled: 2,
            head: vec![9; 32],
            at_ms: 1_700_000_000_000,
            event: Event {
                operation: operation::STORE.to_owned(),
                place: Some("retell users".to_owned()),
                user: Some("ann".to_owned()),
                after: Some("018bcfe568000001".to_owned()),
                digest: Some(vec![4; 16]),
                ..Event::default()
            },
        }
    }

    /// Every column is in the bytes, and no two columns can be taken for each other.
    #[test]
    fn any_change_of_a_column_changes_the_mac() {
        let changes: [fn(&mut LedgerEntry); 22] = [
            |entry| entry.writer = Uuid::from_u128(8),
            |entry| entry.seq = 4,
            |entry| entry.epoch = 2,
            |entry| entry.settled = 1,
            |entry| entry.head[31] ^= 1,
            |entry| entry.at_ms += 1,
            |entry| entry.event.operation = operation::DELETE.to_owned(),
            |entry| entry.event.place = None,
            |entry| entry.event.user = Some("bob".to_owned()),
            |entry| entry.event.tenant = Some(String::new()),
            |entry| (entry.event.user, entry.event.tenant) = (None, Some("ann".to_owned())),
            |entry| entry.event.before = Some("018bcfe568000000".to_owned()),
            |entry| entry.event.after = None,
            |entry| entry.event.digest = None,
            |entry| entry.event.outcome = Some("busy".to_owned()),
            |entry| entry.event.actor = Some("alice".to_owned()),
            |entry| entry.event.reason = Some("alice".to_owned()),
            |entry| entry.event.request = Some("alice".to_owned()),
            |entry| entry.event.host = Some("alice".to_owned()),
            |entry| entry.event.release = Some("alice".to_owned()),
            |entry| entry.event.detail = Some("alice".to_owned()),
            |entry| entry.event.detail = Some(String::new()),
        ];
        let original = entry().sealed(&key(1));
        let mut macs = vec![original.mac];
        for change in changes {
            let mut changed = entry();
            change(&mut changed);
            let bytes = changed.bytes();
            assert!(!is_authentic(&key(1), &bytes, &original.mac));
            macs.push(changed.sealed(&key(1)).mac);
        }
        let count = macs.len();
        macs.sort_unstable();
        macs.dedup();
        assert_eq!(macs.len(), count, "two changes have the same MAC");
        assert!(is_authentic(&key(1), &original.entry.bytes(), &original.mac));
        assert!(!is_authentic(&key(2), &original.entry.bytes(), &original.mac), "another key");
        assert!(!is_authentic(&key(1), &original.entry.bytes(), &original.mac[..31]), "a shorter MAC");
    }

    /// The example of docs/FORMAT.md.
    #[test]
    fn the_vector_of_the_format() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let sealed = entry().sealed(&key(1));
        assert_eq!(hex(&sealed.mac), MAC);
        assert_eq!(hex(&chained(&NO_HEAD, &sealed.link)), HEAD);
    }

    const MAC: &str = "735e1a018058db9eeb6784f82d26cab9bc1c2c9507c4ff034f09e5793b947bc6";
    const HEAD: &str = "b787e47c82ccdb4d24c57baedab7ba8bc0c2da0da19c166bc28b77ec858672d8";
}
