use std::fs;

use super::*;
use crate::keyring::file::tests::{at_once, raw, saved};
use crate::keyring::keys::KeyState;
use crate::keyring::life::Grace;
use crate::keyring::private_file;

/// A keyring that an operator changes, and a process that runs with it.
struct Fixture {
    _folder: tempfile::TempDir,
    operator: Keyring,
    running: Keyring,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let operator = saved(folder.path());
        let running = at_once(Keyring::open(operator.path().unwrap(), &raw(1))).unwrap();
        Self { _folder: folder, operator, running }
    }

    fn primary(&self) -> KeyId {
        self.operator.current().primary().0
    }

    /// The operator adds a key and promotes it.
    fn promote(&self) -> KeyId {
        let id = at_once(self.operator.add_key()).unwrap().id;
        at_once(self.operator.promote_key(id)).unwrap().id
    }

    /// The key that the running process seals with a second later.
    fn seals_with(&self) -> Result<KeyId> {
        self.running.inner.watch.make_due();
        self.running.for_sealing().map(|keys| keys.primary().0)
    }

    fn replace(&self, content: &[u8]) {
        fs::remove_file(self.operator.path().unwrap()).ok();
        private_file::write_new_private(self.operator.path().unwrap(), content, ErrorKind::KeyringFile)
            .unwrap();
    }
}

#[test]
fn sealing_follows_a_promotion_and_no_id_is_ever_unknown() {
    let fixture = Fixture::new();
    let old = fixture.primary();
    assert_eq!(fixture.seals_with().unwrap(), old);
    let new = fixture.promote();
    // an unknown id is looked up at once, even right after a look for sealing
    assert!(fixture.running.holding(new).opener(new).is_ok());
    assert_eq!(fixture.seals_with().unwrap(), new);
    assert!(fixture.running.current().opener(old).is_ok());
}

#[test]
fn sealing_follows_a_promotion_by_itself() {
    let fixture = Fixture::new();
    fixture.running.for_sealing().unwrap();
    let new = fixture.promote();
    let followed = (0..400).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(25));
        fixture.running.for_sealing().unwrap().primary().0 == new
    });
    assert!(followed);
}

#[test]
fn a_look_is_due_once_a_second_and_whoever_comes_meanwhile_waits_for_it() {
    let fixture = Fixture::new();
    let new = fixture.promote();
    let seals = || {
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| fixture.running.for_sealing().unwrap().primary().0)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        })
    };
    assert_eq!(seals(), vec![new; 8]);
}

#[test]
fn without_a_readable_file_the_keys_in_memory_go_on() {
    let fixture = Fixture::new();
    let old = fixture.primary();
    let first = fs::read(fixture.operator.path().unwrap()).unwrap();
    let new = fixture.promote();
    let promoted = fs::read(fixture.operator.path().unwrap()).unwrap();
    assert_eq!(fixture.seals_with().unwrap(), new);

    fs::remove_file(fixture.operator.path().unwrap()).unwrap();
    assert_eq!(fixture.seals_with().unwrap(), new);
    for bad in [&b""[..], b"{}", &promoted[..promoted.len() / 2]] {
        fixture.replace(bad);
        assert_eq!(fixture.seals_with().unwrap(), new);
    }
    // the new key would be in no file
    fixture.replace(&first);
    let error = fixture.seals_with().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyringRolledBack, "{error:?}");
    assert!(error.to_string().contains("went back to generation 1; generation 3 is in memory"), "{error}");
    assert!([old, new].iter().all(|key| fixture.running.holding(*key).opener(*key).is_ok()));
    fs::remove_file(fixture.operator.path().unwrap()).unwrap();
    assert!(fixture.seals_with().is_err(), "what was seen is not unseen");
    fixture.replace(&promoted);
    assert_eq!(fixture.seals_with().unwrap(), new);
    // and a change after all that is taken up
    let newer = fixture.promote();
    assert_eq!(fixture.seals_with().unwrap(), newer);
}

#[test]
fn what_cannot_be_taken_up_is_remembered_so_that_it_is_warned_of_once() {
    let fixture = Fixture::new();
    let warned = || fixture.running.inner.watch.hold().warned;
    fixture.seals_with().unwrap();
    assert_eq!(warned(), None);
    fs::remove_file(fixture.operator.path().unwrap()).unwrap();
    fixture.seals_with().unwrap();
    assert_eq!(warned(), Some(None));
    fixture.replace(b"{}");
    fixture.seals_with().unwrap();
    assert_eq!(warned(), Some(private_file::stamp(fixture.operator.path().unwrap())));
}

#[test]
fn another_keyring_is_not_taken_up_although_the_same_key_opens_it() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let (old, foreign) = (fixture.primary(), other.promote());
    let ours = fs::read(fixture.operator.path().unwrap()).unwrap();
    fixture.replace(&fs::read(other.operator.path().unwrap()).unwrap());
    assert_eq!(fixture.seals_with().unwrap_err().kind(), ErrorKind::WrongKeyring);
    assert!(fixture.running.holding(old).opener(old).is_ok());
    fixture.replace(&ours);
    assert_eq!(fixture.seals_with().unwrap(), old);
    fixture.replace(&fs::read(other.operator.path().unwrap()).unwrap());
    assert!(fixture.running.holding(foreign).get(foreign).is_none());
}

#[test]
fn a_rewrap_alone_stops_nothing() {
    let fixture = Fixture::new();
    let old = fixture.primary();
    at_once(fixture.operator.rewrap(&raw(2))).unwrap();
    assert_eq!(fixture.seals_with().unwrap(), old);
    assert_eq!(fixture.running.holding(KeyId(1)).primary().0, old);
    assert_eq!(at_once(fixture.running.add_key()).unwrap_err().kind(), ErrorKind::KeyringLocked);
}

#[test]
fn a_rewrap_and_a_change_stop_sealing_and_not_opening() {
    let fixture = Fixture::new();
    let old = fixture.primary();
    at_once(fixture.operator.rewrap(&raw(2))).unwrap();
    let rewrapped = fs::read(fixture.operator.path().unwrap()).unwrap();
    fixture.promote();
    let changed = fs::read(fixture.operator.path().unwrap()).unwrap();

    let error = fixture.seals_with().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyringLocked);
    assert!(error.to_string().contains("was rewrapped and has changed since"));
    assert!(error.hint().contains("restart"));
    assert!(fixture.running.holding(old).opener(old).is_ok());
    // between two looks, too
    assert!(fixture.running.for_sealing().is_err());

    // what was seen is not unseen
    fs::remove_file(fixture.operator.path().unwrap()).unwrap();
    assert!(fixture.seals_with().is_err());
    fixture.replace(&rewrapped);
    assert!(fixture.seals_with().is_err());
    fixture.replace(&changed);
    assert!(fixture.seals_with().is_err());
}

#[test]
fn a_change_and_a_rewrap_that_were_both_missed_stop_sealing_until_the_file_opens_again() {
    let fixture = Fixture::new();
    let old = fixture.primary();
    let first = fs::read(fixture.operator.path().unwrap()).unwrap();
    at_once(fixture.operator.add_key()).unwrap();
    at_once(fixture.operator.rewrap(&raw(2))).unwrap();
    assert!(fixture.seals_with().is_err());
    // the operator puts the keyring back that this process opens
    fixture.replace(&first);
    assert_eq!(fixture.seals_with().unwrap(), old);
}

#[test]
fn a_key_that_is_destroyed_elsewhere_lingers_until_it_is_let_go() {
    let fixture = Fixture::new();
    let old = fixture.primary();
    let new = fixture.promote();
    at_once(fixture.operator.destroy_key(old, Grace::Waive)).unwrap();
    assert!(fixture.operator.current().opener(old).is_err() && !fixture.operator.current().retains());

    assert_eq!(fixture.seals_with().unwrap(), new);
    let running = &fixture.running;
    assert!(running.current().retains());
    assert!(running.holding(old).opener(old).is_ok());
    assert_eq!(running.keys()[0].state, KeyState::Destroyed);
    assert_eq!(running.current().openable(), [new, old]);

    // it gets into no file, and stays over the next change, of this process or another
    at_once(running.add_key()).unwrap();
    let saved = at_once(Keyring::open(running.path().unwrap(), &raw(1))).unwrap();
    assert!(saved.current().opener(old).is_err() && !saved.current().retains());
    assert!(running.current().retains());
    at_once(fixture.operator.add_key()).unwrap();
    fixture.seals_with().unwrap();
    assert!(running.current().retains());

    let clone = running.clone();
    running.wipe_retained();
    assert!(!clone.current().retains() && clone.current().opener(old).is_err());
    assert_eq!(clone.current().primary().0, new);
}
