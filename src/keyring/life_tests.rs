use proptest::prelude::*;

use super::*;
use crate::keyring::keys::KeyInfo;

const A: KeyId = KeyId(0xa);
const B: KeyId = KeyId(0xb);
const C: KeyId = KeyId(0xc);
const DAY: Millis = 24 * 60 * 60 * 1000;

fn material(byte: u32) -> Material {
    Material::copied(&[byte as u8; 32])
}

/// A is primary.
fn first() -> RootKeys {
    RootKeys::first(A, material(1), material(2), 0)
}

/// A is retired since 20, B is primary, C pending.
fn three() -> RootKeys {
    let two = first().add(B, material(3), 10).unwrap().promote(B, 20).unwrap().unwrap();
    two.add(C, material(4), 30).unwrap()
}

fn states(keys: &RootKeys) -> Vec<(KeyId, KeyState, Millis)> {
    keys.keys().iter().map(|key| (key.info.id, key.info.state, key.info.state_since)).collect()
}

fn refusal(result: Result<Option<RootKeys>>) -> (ErrorKind, String, String) {
    let error = result.expect_err("it is refused");
    (error.kind(), error.to_string(), error.hint().to_owned())
}

fn assert_refused(result: Result<Option<RootKeys>>, message: &str, hint: &str) {
    let (kind, said, hinted) = refusal(result);
    assert_eq!(kind, ErrorKind::KeyState);
    assert!(said.contains(message), "{said}");
    assert!(hinted.contains(hint), "{hinted}");
}

#[test]
fn a_key_goes_from_pending_to_destroyed() {
    use KeyState::{Destroyed, Pending, Primary, Retired};
    let one = first();
    let two = one.add(B, material(3), 10).unwrap();
    assert_eq!((states(&one).len(), two.generation), (1, 2));
    assert_eq!(states(&two), [(A, Primary, 0), (B, Pending, 10)]);
    assert!(two.opener(B).is_ok());
    assert_eq!(two.primary().0, A);

    let promoted = two.promote(B, 20).unwrap().unwrap();
    assert_eq!(states(&promoted), [(A, Retired, 20), (B, Primary, 20)]);
    assert_eq!((promoted.primary().0, promoted.generation), (B, 3));
    assert!(promoted.opener(A).is_ok());

    let destroyed = promoted.destroy(A, 20 + DAY, Grace::Wait).unwrap().unwrap();
    assert_eq!(states(&destroyed), [(A, Destroyed, 20 + DAY), (B, Primary, 20)]);
    assert!(destroyed.get(A).unwrap().material.is_none() && destroyed.opener(A).is_err());
    assert_eq!(destroyed.get(A).unwrap().info.fingerprint, one.get(A).unwrap().info.fingerprint);
    assert_eq!(destroyed.openable(), [B]);
    assert!(promoted.opener(A).is_ok(), "the keyring before stays as it was");
}

#[test]
fn what_is_so_already_is_not_done_again() {
    let keys = three();
    assert!(keys.promote(B, 99).unwrap().is_none());
    assert!(keys.retire(A, 99).unwrap().is_none());
    let destroyed = keys.destroy(A, 99, Grace::Waive).unwrap().unwrap();
    assert!(destroyed.destroy(A, 99, Grace::Wait).unwrap().is_none());
}

#[test]
fn keys_never_go_back() {
    let keys = three();
    assert_refused(keys.promote(A, 99), "0000000a is retired", "key add");
    let keys = keys.destroy(A, 99, Grace::Waive).unwrap().unwrap();
    assert_refused(keys.promote(A, 99), "0000000a is destroyed", "key add");
    assert_refused(keys.retire(A, 99), "0000000a is destroyed", "another key");
}

#[test]
fn the_primary_key_goes_only_when_another_one_is_promoted() {
    let alone = first();
    for refused in [alone.retire(A, 9), alone.destroy(A, DAY, Grace::Waive)] {
        assert_refused(refused, "0000000a is the primary key", "`retell-vault key add`, then");
    }
    let keys = three();
    for refused in [keys.retire(B, 99), keys.destroy(B, DAY * 9, Grace::Waive)] {
        assert_refused(refused, "0000000b is the primary key", "key promote 0000000c");
    }
}

#[test]
fn only_keys_retired_for_a_day_are_destroyed_unless_that_is_waived() {
    let keys = three();
    assert_refused(keys.destroy(C, DAY * 9, Grace::Waive), "0000000c is pending", "key retire 0000000c");
    // a clock that went back makes nothing older
    for now in [0, 20, 21, 19 + DAY] {
        assert_refused(keys.destroy(A, now, Grace::Wait), "not been retired for 24 hours", "wait");
    }
    assert!(keys.destroy(A, 20 + DAY, Grace::Wait).unwrap().is_some());
    assert!(keys.destroy(A, 21, Grace::Waive).unwrap().is_some());
}

#[test]
fn an_unknown_key_is_named_and_a_used_id_is_refused() {
    let keys = three().destroy(A, 99, Grace::Waive).unwrap().unwrap();
    let unknown = KeyId(0xdead);
    for result in
        [keys.promote(unknown, 99), keys.retire(unknown, 99), keys.destroy(unknown, 99, Grace::Waive)]
    {
        let (kind, message, _) = refusal(result);
        assert_eq!(kind, ErrorKind::UnknownKey);
        assert!(message.contains("0000dead"));
    }
    for id in [A, B, C] {
        assert_refused(keys.add(id, material(9), 99).map(Some), "was used already", "another id");
    }
}

#[test]
fn what_follows_a_keyring_loses_no_key_and_takes_none_back() {
    let (one, later) = (first(), three());
    assert!(later.follows(&one) && one.follows(&one));
    assert!(!one.follows(&later), "an older generation");
    let with_b = one.add(B, material(3), 10).unwrap();
    let with_c = one.add(C, material(3), 10).unwrap();
    assert!(!with_c.follows(&with_b), "the same generation of another host");
    assert!(!with_c.next().follows(&with_b), "a later one without B");
    let other_b = one.add(B, material(5), 10).unwrap();
    assert!(!other_b.next().follows(&with_b), "another key with the same id");
    let (promoted, retired) = (with_b.promote(B, 1).unwrap().unwrap(), with_b.retire(B, 1).unwrap().unwrap());
    assert!(!promoted.next().follows(&retired), "B went back");
    let stranger = RootKeys::first(A, material(1), material(9), 0);
    assert!(!stranger.next().follows(&one), "another stable secret");
}

#[test]
fn what_was_destroyed_elsewhere_lingers_and_is_never_key_material() {
    let ours = three();
    let theirs = || ours.destroy(A, 99, Grace::Waive).unwrap().unwrap();
    let taken = theirs().retaining_from(&ours);
    assert!(taken.retains() && taken.opener(A).is_ok());
    assert_eq!(taken.get(A).unwrap().info.state, KeyState::Destroyed);
    assert!(taken.get(A).unwrap().material.is_none());
    assert_eq!(taken.openable(), [B, C, A]);
    let again = theirs().next().retaining_from(&taken);
    assert!(again.opener(A).is_ok(), "it retains on over the next generation");
    assert!(!again.next().retains(), "a next generation to save holds none");
    assert!(again.without_retained().opener(A).is_err());
    assert!(theirs().retaining_from(&ours).without_retained_key(A).opener(A).is_err());
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Add(u32),
    Promote(u32),
    Retire(u32),
    Destroy(u32, Grace),
}

const IDS: [u32; 3] = [0xa, 0xb, 0xc];

fn all_steps() -> Vec<Step> {
    let of = |id| {
        [
            Step::Add(id),
            Step::Promote(id),
            Step::Retire(id),
            Step::Destroy(id, Grace::Wait),
            Step::Destroy(id, Grace::Waive),
        ]
    };
    IDS.into_iter().flat_map(of).collect()
}

/// The keyring after a step, with everything asserted that no step may break.
fn taken(keys: &RootKeys, step: Step, now: Millis) -> Option<RootKeys> {
    let before = infos(keys);
    let result = match step {
        Step::Add(id) => keys.add(KeyId(id), material(id), now).map(Some),
        Step::Promote(id) => keys.promote(KeyId(id), now),
        Step::Retire(id) => keys.retire(KeyId(id), now),
        Step::Destroy(id, grace) => keys.destroy(KeyId(id), now, grace),
    };
    assert_eq!(infos(keys), before, "the given keyring stays as it is");
    let next = result.ok().flatten()?;
    assert_eq!(next.generation, keys.generation + 1);
    assert!(next.follows(keys), "{step:?}: {before:?} -> {:?}", infos(&next));
    let of = |state| next.keys().iter().filter(|key| key.info.state == state).count();
    assert_eq!(of(KeyState::Primary), 1);
    assert!(next.keys().len() - keys.keys().len() <= 1);
    for key in next.keys() {
        assert_eq!(key.material.is_none(), key.info.state == KeyState::Destroyed);
        assert_eq!(next.opener(key.info.id).is_ok(), key.material.is_some());
    }
    // what is printed and read back is the same keyring
    let restored = next.keys().iter().map(|key| RootKey::restore(key.info.clone(), key.material.clone()));
    let restored: Vec<RootKey> = restored.collect::<Result<_>>().unwrap();
    RootKeys::restore(next.generation, next.stable.clone(), restored).unwrap();
    Some(next)
}

fn infos(keys: &RootKeys) -> Vec<KeyInfo> {
    keys.keys().iter().map(|key| key.info.clone()).collect()
}

#[test]
fn every_sequence_of_four_steps_keeps_the_rules() {
    fn walk(keys: &RootKeys, depth: u64, taken_steps: &mut u32) {
        if depth == 0 {
            return;
        }
        for step in all_steps() {
            if let Some(next) = taken(keys, step, (5 - depth) * DAY) {
                *taken_steps += 1;
                walk(&next, depth - 1, taken_steps);
            }
        }
    }
    let mut taken_steps = 0;
    walk(&first(), 4, &mut taken_steps);
    assert!(taken_steps > 50, "only {taken_steps} steps were possible");
}

proptest! {
    #[test]
    fn long_lives_keep_the_rules(steps in prop::collection::vec((0usize..15, 0u32..40, 0..DAY), 1..60)) {
        let mut keys = first();
        let mut now = 0;
        for (step, id, later) in steps {
            now += later;
            let step = match all_steps()[step] {
                Step::Add(_) => Step::Add(id),
                Step::Promote(_) => Step::Promote(id),
                Step::Retire(_) => Step::Retire(id),
                Step::Destroy(_, grace) => Step::Destroy(id, grace),
            };
            if let Some(next) = taken(&keys, step, now) {
                keys = next;
            }
        }
    }
}
