use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;
use crate::crypto::sealer;
use crate::keyring::keys::{KeyState, RootKey};
use crate::keyring::material::Material;
use crate::local::entries::{Base, Basis, KeptKind, LocalRecord, OwnerRows};
use crate::record::contents::Contents;
use crate::record::credentials::Credentials;
use crate::record::plain::PlainTexts;
use crate::record::record::Record;
use crate::retell::config::{RetellConfig, table};

const OLD: KeyId = KeyId(0x01d);
const NEW: KeyId = KeyId(0x2e);
const LOST: KeyId = KeyId(0xdead);

type Told = Vec<(String, &'static str, ErrorKind)>;

fn keyring(keys: &[(KeyId, KeyState)]) -> Arc<RootKeys> {
    let key =
        |(id, state): &(KeyId, KeyState)| RootKey::new(*id, *state, Material::copied(&[id.0 as u8; 32]), 0);
    let keys = keys.iter().map(key).collect();
    Arc::new(RootKeys::restore(1, Material::copied(&[2; 32]), keys).unwrap())
}

fn only(key: KeyId) -> Arc<RootKeys> {
    keyring(&[(key, KeyState::Primary)])
}

fn promoted() -> Arc<RootKeys> {
    keyring(&[(OLD, KeyState::Retired), (NEW, KeyState::Primary)])
}

fn user(id: &str) -> Owner {
    Owner::user(id).unwrap()
}

fn version(number: u64) -> Version {
    Version::next(number, None, 0)
}

fn config(number: u64) -> RetellConfig {
    RetellConfig::new(format!("key_test_{number}").parse().unwrap())
        .with_phone_number("+14155550100".parse().unwrap())
}

/// The text of a record under a key.
fn sealed(owner: &Owner, number: u64, key: KeyId) -> String {
    let (values, fields, keyring) = (config(number).to_values(), table(), only(key));
    let scope = Scope { namespace: "retell", owner };
    let values = (&values, &Contents::of(&values, &fields));
    let seal =
        |rng: &mut _| sealer::seal(values, scope, version(number), (&fields, &[]), keyring.primary(), rng);
    random::with_rng(seal).unwrap().packed()
}

/// Panics unless it opens under the new key alone and is what was sealed.
fn assert_opens(text: &str, owner: &Owner, number: u64) {
    let record = Record::new(read_packed(text).unwrap(), PlainTexts::default()).unwrap();
    let scope = Scope { namespace: "retell", owner };
    let opened = sealer::open(&record, scope, only(NEW).primary().1, &table()).unwrap();
    assert_eq!(opened.values, Some(config(number).to_values()));
    assert_eq!(record.version, version(number));
}

struct Home {
    _folder: TempDir,
    local: LocalFile,
}

impl Home {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let local = LocalFile::open(&folder.path().join("vault.db")).await.unwrap();
        Self { _folder: folder, local }
    }

    async fn put(&self, place: LocalPlace, owner: &Owner, text: String) {
        match place {
            LocalPlace::Pending => {
                let record = LocalRecord {
                    owner: owner.clone(),
                    version: version(1),
                    text,
                    base: Base::NoRow,
                    at: 7,
                    rows: OwnerRows::default(),
                };
                self.local.put_pending(&record, Basis::Remembered, None).await.unwrap();
            }
            LocalPlace::Replica => {
                self.local.put_replica(owner, &OwnerRows::default(), version(1), &text, 7).await.unwrap()
            }
            LocalPlace::Kept => self.local.keep(owner, KeptKind::Superseded, &text, "why", 7).await.unwrap(),
        }
    }

    async fn texts(&self, place: LocalPlace) -> Vec<LocalText> {
        self.local.texts_after(place, 0, 10_000).await.unwrap()
    }

    async fn reencrypt(&self, keyring: &Arc<RootKeys>) -> (LocalReencrypted, Told) {
        let mut told = Told::new();
        let unreadable = |owner: &Owner, place, error: &Error| {
            told.push((owner.to_string(), place, error.kind()));
        };
        let walk = LocalReencryption {
            local: &self.local,
            places: &LocalPlace::ALL,
            namespace: "retell",
            keyring: keyring.clone(),
            unreadable,
            told: BTreeSet::new(),
            report: LocalReencrypted::default(),
        };
        let report = walk.run().await.unwrap();
        (report, told)
    }

    /// Tokens that do not name the new key.
    async fn others(&self) -> u64 {
        let counts = self.local.tokens_per_key().await.unwrap();
        counts.iter().filter(|count| count.key != Some(NEW)).map(|count| count.tokens).sum()
    }
}

#[tokio::test]
async fn every_text_of_every_place_opens_under_the_new_key() {
    let home = Home::new().await;
    for number in 0..10 {
        let owner = user(&format!("user-{number}")).in_tenant("acme").unwrap();
        for place in LocalPlace::ALL {
            // one in five is under the new key already
            let key = if number % 5 == 0 { NEW } else { OLD };
            home.put(place, &owner, sealed(&owner, number, key)).await;
        }
    }
    let before = home.texts(LocalPlace::Pending).await;
    let (report, told) = home.reencrypt(&promoted()).await;
    assert_eq!(report, LocalReencrypted { reencrypted: 24, unreadable: vec![] });
    assert!(told.is_empty());
    assert_eq!(home.others().await, 0);
    for place in LocalPlace::ALL {
        for (number, text) in home.texts(place).await.into_iter().enumerate() {
            assert_opens(&text.text, &text.owner, number as u64);
        }
    }
    let after = home.texts(LocalPlace::Pending).await;
    assert_eq!((&before[0], &before[5]), (&after[0], &after[5]), "under the new key already");
    assert!(before.iter().zip(&after).all(|(before, after)| before.text.len() == after.text.len()));

    assert_eq!(home.reencrypt(&promoted()).await.0, LocalReencrypted::default(), "nothing is left to do");
    assert_eq!(home.texts(LocalPlace::Pending).await, after);
}

#[tokio::test]
async fn pages_do_not_end_the_walk() {
    let home = Home::new().await;
    let total = u64::from(PAGE) + 3;
    for number in 0..total {
        let owner = user(&format!("user-{number:04}"));
        home.put(LocalPlace::Kept, &owner, sealed(&owner, number, OLD)).await;
    }
    assert_eq!(home.reencrypt(&promoted()).await.0.reencrypted, total);
    assert_eq!(home.others().await, 0);
}

#[tokio::test]
async fn what_cannot_be_opened_is_told_once_and_stays_as_it_is() {
    let home = Home::new().await;
    let (ann, bob) = (user("ann"), user("bob"));
    let damaged = sealed(&ann, 2, OLD).replacen("phone_number", "Phone_number", 1);
    let mixed = {
        let (one, other) = (sealed(&ann, 3, OLD), sealed(&ann, 3, NEW));
        let mut pieces: Vec<&str> = one.split(' ').collect();
        pieces[1] = other.split(' ').nth(1).unwrap();
        pieces.join(" ")
    };
    home.put(LocalPlace::Pending, &ann, sealed(&ann, 1, LOST)).await;
    home.put(LocalPlace::Pending, &bob, sealed(&bob, 5, OLD)).await;
    home.put(LocalPlace::Replica, &ann, sealed(&bob, 1, OLD)).await; // of another owner
    home.put(LocalPlace::Kept, &ann, damaged).await;
    home.put(LocalPlace::Kept, &ann, mixed).await;
    home.put(LocalPlace::Kept, &ann, format!("rv2.{OLD}.later")).await;
    home.put(LocalPlace::Kept, &bob, sealed(&bob, 4, LOST)).await;
    home.put(LocalPlace::Kept, &bob, "not ours, and under no key".to_owned()).await;
    let kept = home.texts(LocalPlace::Kept).await;

    let (report, told) = home.reencrypt(&promoted()).await;
    let expected = [
        ("ann", "pending", ErrorKind::UnknownKey),
        ("ann", "replica", ErrorKind::Unsealable),
        ("ann", "kept", ErrorKind::Malformed),
        ("ann", "kept", ErrorKind::Malformed),
        ("ann", "kept", ErrorKind::UnsupportedFormat),
        ("bob", "kept", ErrorKind::UnknownKey),
    ];
    assert_eq!(told, expected.map(|(owner, place, kind)| (owner.to_owned(), place, kind)));
    let kinds = [
        (ErrorKind::UnknownKey, 2),
        (ErrorKind::Unsealable, 1),
        (ErrorKind::Malformed, 2),
        (ErrorKind::UnsupportedFormat, 1),
    ];
    assert_eq!(report, LocalReencrypted { reencrypted: 1, unreadable: kinds.to_vec() });
    assert_eq!(home.texts(LocalPlace::Kept).await, kept);
    assert_opens(&home.local.pending(&bob).await.unwrap().unwrap().text, &bob, 5);
}

#[tokio::test]
async fn of_a_text_with_several_versions_those_that_open_are_sealed_anew() {
    let home = Home::new().await;
    let ann = user("ann");
    let (old, lost, new) = (sealed(&ann, 1, OLD), sealed(&ann, 2, LOST), sealed(&ann, 3, NEW));
    home.put(LocalPlace::Kept, &ann, [&*new, &*lost, &*old].join(" ")).await;
    let (report, told) = home.reencrypt(&promoted()).await;
    assert_eq!(report, LocalReencrypted { reencrypted: 1, unreadable: vec![(ErrorKind::UnknownKey, 1)] });
    assert_eq!(told, [("ann".to_owned(), "kept", ErrorKind::UnknownKey)]);
    let text = home.texts(LocalPlace::Kept).await.remove(0).text;
    let reencrypted = text.strip_prefix(&format!("{new} {lost} ")).unwrap();
    assert_opens(reencrypted, &ann, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_meanwhile_is_never_lost() {
    let home = Home::new().await;
    let ids: Vec<Owner> = (0..40).map(|number| user(&format!("user-{number}"))).collect();
    for owner in &ids {
        home.put(LocalPlace::Pending, owner, sealed(owner, 1, OLD)).await;
    }
    // a process that has not heard of the new key yet
    let (writer, owners) = (home.local.clone(), ids.clone());
    let writing = tokio::spawn(async move {
        for number in 2..7 {
            for owner in &owners {
                let text = sealed(owner, number, OLD);
                let version = version(number);
                let record = LocalRecord {
                    owner: owner.clone(),
                    version,
                    text,
                    base: Base::NoRow,
                    at: 7,
                    rows: OwnerRows::default(),
                };
                writer.put_pending(&record, Basis::Remembered, None).await.unwrap();
            }
        }
    });
    while !writing.is_finished() {
        home.reencrypt(&promoted()).await;
    }
    writing.await.unwrap();
    home.reencrypt(&promoted()).await;
    assert_eq!(home.others().await, 0);
    for owner in &ids {
        let pending = home.local.pending(owner).await.unwrap().unwrap();
        assert_eq!(pending.version, version(6));
        assert_opens(&pending.text, owner, 6);
    }
}

fn is_send<T: Send>(_: &T) {}

#[test]
fn the_walk_can_be_spawned() {
    fn check(core: &Core, local: &LocalFile) {
        is_send(&reencrypt_local(core, local, &LocalPlace::ALL, |_, _, _| {}));
    }
    let _ = check;
}
