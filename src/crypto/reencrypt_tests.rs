use rand::SeedableRng;
use rand::rngs::StdRng;
use zeroize::Zeroizing;

use super::{Owner, Token, Version, aead};
use crate::crypto::record_sealer;
use crate::error::{ErrorKind, Result};
use crate::keyring::keys::{KeyState, Keyring, RootKey};
use crate::record::fields::Field;
use crate::record::record::{PlainValues, Record};
use crate::retell::config::RetellConfig;
use crate::record::token::KeyId;

const OLD: KeyId = KeyId(0x01d);
const OLDER: KeyId = KeyId(0x01de);
const NEW: KeyId = KeyId(0x2e);

/// One byte of material per key: the same id and material wherever they are used.
fn keyring(keys: &[(KeyId, KeyState)]) -> Keyring {
    let key =
        |(id, state): &(KeyId, KeyState)| RootKey::new(*id, *state, Zeroizing::new([id.0 as u8; 32]), 0);
    Keyring::restore(1, Zeroizing::new([2; 32]), keys.iter().map(key).collect()).unwrap()
}

fn before() -> Keyring {
    keyring(&[(OLD, KeyState::Primary)])
}

fn after() -> Keyring {
    keyring(&[(OLDER, KeyState::Retired), (OLD, KeyState::Retired), (NEW, KeyState::Primary)])
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(3)
}

fn owner() -> Owner {
    Owner::user("user-1").unwrap().in_tenant("acme").unwrap()
}

fn version(number: u64) -> Version {
    Version::next(number, None, 0)
}

fn token(keyring: &Keyring, number: u64, field: Field, json: &[u8]) -> Token {
    let (key, root) = keyring.primary();
    aead::seal(root, key, version(number), &owner(), field, json, &mut rng())
}

fn record(keyring: &Keyring, number: u64, config: Option<&RetellConfig>) -> Vec<Token> {
    record_sealer::seal(config, &owner(), version(number), &Field::ALL, keyring.primary(), &mut rng())
        .tokens()
        .to_vec()
}

fn config() -> RetellConfig {
    RetellConfig::from_json(
        r#"{"api_key":"key_test_canary","call_agent_id":"agent_test_call","phone_number":"+14155550100"}"#,
    )
    .unwrap()
}

fn opened(tokens: Vec<Token>, keyring: &Keyring) -> Option<RetellConfig> {
    let record = Record::new(tokens, PlainValues::default()).unwrap();
    record_sealer::open(&record, &owner(), keyring.opener(record.key).unwrap()).unwrap().config
}

/// As rotation and sync do it.
fn reencrypt(tokens: &[Token], owner: &Owner, keyring: &Keyring, rng: &mut StdRng) -> Result<Vec<Token>> {
    record_sealer::reencrypt(
        tokens,
        owner,
        keyring.primary(),
        |key| keyring.opener_for_reencryption(key),
        rng,
    )
}

fn kind(tokens: &[Token], owner: &Owner, keyring: &Keyring) -> ErrorKind {
    reencrypt(tokens, owner, keyring, &mut rng()).unwrap_err().kind()
}

#[test]
fn every_field_of_every_length_holds_the_same_under_the_new_key() {
    let only_new = keyring(&[(NEW, KeyState::Primary)]);
    for field in Field::ALL {
        for length in [1, 2, 63, 64, 65, 128, 500, 6000] {
            let json = vec![b'7'; length];
            let old = token(&before(), 5, field, &json);
            let new = reencrypt(std::slice::from_ref(&old), &owner(), &after(), &mut rng()).unwrap();
            let [new] = new.as_slice() else { panic!("one token") };
            assert_eq!((new.key, new.version, new.field), (NEW, old.version, field));
            assert_eq!(new.to_string().len(), old.to_string().len(), "{field} {length}");
            let text = aead::open(only_new.primary().1, &owner(), new).unwrap();
            assert_eq!(*text, *aead::open(before().primary().1, &owner(), &old).unwrap());
            assert_eq!(text.trim_ascii_end(), json);
        }
    }
}

#[test]
fn a_configuration_and_a_tombstone_open_without_the_old_key() {
    let only_new = keyring(&[(NEW, KeyState::Primary)]);
    for config in [Some(config()), None] {
        let old = record(&before(), 5, config.as_ref());
        let new = reencrypt(&old, &owner(), &after(), &mut rng()).unwrap();
        assert!(new.iter().map(|token| token.field).eq(old.iter().map(|token| token.field)));
        assert_eq!(opened(new, &only_new), config);
    }
}

#[test]
fn every_token_gets_a_salt_of_its_own() {
    let old = record(&before(), 5, Some(&config()));
    let new = reencrypt(&old, &owner(), &after(), &mut rng()).unwrap();
    let mut salts: Vec<_> = new.iter().map(|token| token.body[..32].to_vec()).collect();
    salts.sort();
    salts.dedup();
    assert_eq!(salts.len(), new.len());
}

#[test]
fn what_is_under_the_primary_comes_back_unopened() {
    let mut tokens = record(&keyring(&[(NEW, KeyState::Primary)]), 5, Some(&config()));
    assert_eq!(reencrypt(&tokens, &owner(), &after(), &mut rng()).unwrap(), tokens);
    tokens[0].body[100] ^= 1;
    assert_eq!(
        reencrypt(&tokens, &owner(), &after(), &mut rng()).unwrap(),
        tokens,
        "altered, and left alone"
    );
    assert!(reencrypt(&[], &owner(), &after(), &mut rng()).unwrap().is_empty());
}

#[test]
fn versions_under_different_keys_are_resealed_each_for_itself() {
    let older = record(&keyring(&[(OLDER, KeyState::Primary)]), 4, None);
    let current = record(&keyring(&[(NEW, KeyState::Primary)]), 6, None);
    let old = record(&before(), 5, Some(&config()));
    // interleaved, so that the order tells
    let tokens: Vec<Token> =
        (0..4).flat_map(|at| [older[at].clone(), current[at].clone(), old[at].clone()]).collect();
    let new = reencrypt(&tokens, &owner(), &after(), &mut rng()).unwrap();
    assert!(new.iter().all(|token| token.key == NEW));
    let names =
        |tokens: &[Token]| tokens.iter().map(|token| (token.version, token.field)).collect::<Vec<_>>();
    assert_eq!(names(&new), names(&tokens));
    let of =
        |number| new.iter().filter(|token| token.version == version(number)).cloned().collect::<Vec<_>>();
    assert_eq!(of(6), current);
    assert_eq!(opened(of(4), &after()), None);
    assert_eq!(opened(of(5), &after()).unwrap().api_key, config().api_key);
}

#[test]
fn a_mixture_of_keys_or_a_field_twice_is_refused_before_anything_is_opened() {
    let old = record(&before(), 5, Some(&config()));
    for other in [OLDER, NEW, KeyId(0xdead)] {
        let rival = keyring(&[(other, KeyState::Primary)]);
        let mut mixed = old.clone();
        mixed[2] = record(&rival, 5, Some(&config()))[2].clone();
        assert_eq!(kind(&mixed, &owner(), &after()), ErrorKind::Malformed, "{other}");
        mixed.reverse();
        assert_eq!(kind(&mixed, &owner(), &after()), ErrorKind::Malformed, "{other}");
    }
    let twice = [old.clone(), vec![old[1].clone()]].concat();
    assert_eq!(kind(&twice, &owner(), &after()), ErrorKind::Malformed);
    let under_primary = reencrypt(&old, &owner(), &after(), &mut rng()).unwrap();
    let twice = [under_primary.clone(), vec![under_primary[1].clone()]].concat();
    assert_eq!(kind(&twice, &owner(), &after()), ErrorKind::Malformed);
}

#[test]
fn one_token_that_does_not_open_leaves_no_answer() {
    let old = record(&before(), 5, Some(&config()));
    let stranger = Owner::user("user-1").unwrap();
    assert_eq!(kind(&old, &stranger, &after()), ErrorKind::Unsealable);
    let mut altered = old.clone();
    altered.last_mut().unwrap().body[90] ^= 1;
    assert_eq!(kind(&altered, &owner(), &after()), ErrorKind::Unsealable);

    let unknown = keyring(&[(NEW, KeyState::Primary)]);
    let error = reencrypt(&old, &owner(), &unknown, &mut rng()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownKey);
    assert!(error.to_string().contains(&OLD.to_string()), "{error}");

    // the first one decides
    let missing = record(&keyring(&[(KeyId(0xdead), KeyState::Primary)]), 6, None);
    let both = [altered.clone(), missing.clone()].concat();
    assert_eq!(kind(&both, &owner(), &after()), ErrorKind::Unsealable);
    let both = [missing, altered].concat();
    assert_eq!(kind(&both, &owner(), &after()), ErrorKind::UnknownKey);
}

#[test]
fn what_is_incomplete_stays_incomplete() {
    let mut old = record(&before(), 5, Some(&config()));
    old.remove(3);
    let new = reencrypt(&old, &owner(), &after(), &mut rng()).unwrap();
    assert!(new.iter().all(|token| token.key == NEW));
    assert_eq!(new.len(), old.len());
    assert_eq!(Record::new(new, PlainValues::default()).unwrap_err().kind(), ErrorKind::Incomplete);
}
