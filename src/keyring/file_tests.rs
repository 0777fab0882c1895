use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt;

use super::*;
use crate::keyring::format::{parse, unseal};
use crate::keyring::wrapping::{Passphrase, RawKey};

pub(in crate::keyring) fn raw(byte: u8) -> RawKey {
    RawKey::from_base64(&STANDARD.encode([byte; 32])).unwrap()
}

/// What a provider answers that waits for nothing, as a raw key does.
pub(in crate::keyring) fn at_once<T>(answer: impl Future<Output = T>) -> T {
    answer.now_or_never().expect("a raw key waits for nothing")
}

pub(in crate::keyring) fn saved(folder: &Path) -> Keyring {
    let file = at_once(Keyring::prepare(folder.join("home/keyring.json"), &raw(1))).unwrap();
    at_once(file.save_new()).unwrap();
    file
}

#[test]
fn a_keyring_comes_back_from_its_file_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let made = saved(folder.path());
    let opened = at_once(Keyring::open(made.path().unwrap(), &raw(1))).unwrap();
    assert_eq!(opened.keys(), made.keys());
    let before = fs::read(made.path().unwrap()).unwrap();
    assert_eq!(at_once(made.save_new()).unwrap_err().kind(), ErrorKind::KeyringExists);
    assert_eq!(
        at_once(Keyring::prepare(made.path().unwrap(), &raw(1))).unwrap_err().kind(),
        ErrorKind::KeyringExists
    );
    assert_eq!(fs::read(made.path().unwrap()).unwrap(), before);
}

#[test]
fn wrong_keys_and_other_providers_are_told_apart_from_missing_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path()).path().unwrap().to_owned();
    let kind = |result: Result<Keyring>| result.unwrap_err().kind();
    assert_eq!(kind(at_once(Keyring::open(&path, &raw(2)))), ErrorKind::KeyringLocked);
    assert_eq!(
        kind(at_once(Keyring::open(&path, &Passphrase::new("correct horse")))),
        ErrorKind::KeyringLocked
    );
    fs::remove_file(&path).unwrap();
    assert_eq!(kind(at_once(Keyring::open(&path, &raw(1)))), ErrorKind::KeyringMissing);
    assert!(!path.exists());
}

#[test]
fn every_flipped_bit_and_every_truncation_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path()).path().unwrap().to_owned();
    let text = fs::read(&path).unwrap();
    let parsed = |bytes: &[u8]| {
        parse(bytes).and_then(|outer| unseal(&outer, &at_once(raw(1).open(&outer.header.wrapping))?))
    };
    assert!(parsed(&text).is_ok());
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut changed = text.clone();
            changed[at] ^= 1 << bit;
            // white space between the parts carries no meaning
            let is_space = text[at].is_ascii_whitespace() && changed[at].is_ascii_whitespace();
            assert!(is_space || parsed(&changed).is_err(), "bit {bit} of byte {at}");
        }
        assert!(at == text.len() - 1 || parsed(&text[..at]).is_err(), "cut at {at}");
    }
    println!("{} bit flips of the keyring file refused", text.len() * 8);
}

#[test]
fn a_key_is_found_by_the_start_of_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let file = saved(folder.path());
    // seventeen keys cannot all start with another digit
    for _ in 0..16 {
        at_once(file.add_key()).unwrap();
    }
    let ids: Vec<String> = file.keys().iter().map(|key| key.id.to_string()).collect();
    for id in &ids {
        assert_eq!(file.find_key(id).unwrap().to_string(), *id);
    }
    let starting = |digit: &str| ids.iter().filter(|id| id.starts_with(digit)).collect::<Vec<_>>();
    let digits: Vec<String> = (0..16).map(|digit| format!("{digit:x}")).collect();
    let shared = digits.iter().find(|digit| starting(digit).len() > 1).unwrap();
    let error = file.find_key(shared).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    for id in starting(shared) {
        assert!(error.to_string().contains(id.as_str()), "{error}");
    }
    for bad in ["", "x", "ABCDEF01", "0x", "123456789", "é", " 1"] {
        assert_eq!(file.find_key(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
    }
    let absent = (0..u32::MAX).map(|id| format!("{id:08x}")).find(|id| !ids.contains(id)).unwrap();
    let error = file.find_key(&absent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownKey);
    assert!(error.to_string().contains(&absent));
}

#[test]
fn neither_the_file_nor_debug_shows_key_material() {
    let folder = tempfile::tempdir().unwrap();
    let file = at_once(Keyring::prepare(folder.path().join("home/keyring.json"), &raw(1))).unwrap();
    at_once(file.save_new()).unwrap();
    let material = STANDARD.encode(file.current().keys()[0].material.as_ref().unwrap().as_ref());
    let text = fs::read_to_string(file.path().unwrap()).unwrap() + &format!("{file:?}");
    assert!(!text.contains(&material));
}
