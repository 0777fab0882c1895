use std::collections::BTreeSet;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Field, KeyId, PlainTexts, Record, RecordKey, Scope, Token, Values, Version, open, seal};
use crate::crypto::aead;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::{KeyState, RootKey, RootKeys};
use crate::keyring::material::Material;
use crate::record::contents::Contents;
use crate::record::credentials::Credentials;
use crate::record::owner::Owner;
use crate::record::token::{COMMITMENT, NONCE, SALT};
use crate::retell::config::{RetellConfig, table};

const OLD: KeyId = KeyId(0x01d);
const OLDER: KeyId = KeyId(0x01de);
const NEW: KeyId = KeyId(0x2e);

/// One byte of material per key: the same id and material wherever they are used.
fn keyring(keys: &[(KeyId, KeyState)]) -> RootKeys {
    let key =
        |(id, state): &(KeyId, KeyState)| RootKey::new(*id, *state, Material::copied(&[id.0 as u8; 32]), 0);
    RootKeys::restore(1, Material::copied(&[2; 32]), keys.iter().map(key).collect()).unwrap()
}

fn before() -> RootKeys {
    keyring(&[(OLD, KeyState::Primary)])
}

fn after() -> RootKeys {
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

fn scope(owner: &Owner) -> Scope<'_> {
    Scope { namespace: "retell", owner }
}

fn token(keyring: &RootKeys, number: u64, field: Field, json: &[u8]) -> Token {
    let (key, root) = keyring.primary();
    let record_key = RecordKey::fresh(root, key, version(number), scope(&owner()), &mut rng());
    record_key.seal(field, json, &mut rng())
}

/// The record token, then every value in a token, in the order of the names.
fn record(keyring: &RootKeys, number: u64, config: Option<&RetellConfig>) -> Vec<Token> {
    let values = config.map_or(Values::new(), Credentials::to_values);
    let (owner, fields) = (owner(), table());
    let contents = Contents::of(&values, &fields);
    seal((&values, &contents), scope(&owner), version(number), (&fields, &[]), keyring.primary(), &mut rng())
        .tokens()
        .to_vec()
}

fn config() -> RetellConfig {
    RetellConfig::from_json(
        r#"{"api_key":"key_test_canary","call_agent_id":"agent_test_call","phone_number":"+14155550100"}"#,
    )
    .unwrap()
}

fn open_record(tokens: Vec<Token>, keyring: &RootKeys) -> Result<Option<RetellConfig>> {
    let record = Record::new(tokens, PlainTexts::default())?;
    let opened = open(&record, scope(&owner()), keyring.opener(record.key)?, &table())?;
    opened.values.map(RetellConfig::from_values).transpose()
}

fn opened(tokens: Vec<Token>, keyring: &RootKeys) -> Option<RetellConfig> {
    open_record(tokens, keyring).unwrap()
}

/// As rotation and sync do it with what is no whole record.
fn reencrypt(tokens: &[Token], owner: &Owner, keyring: &RootKeys, rng: &mut StdRng) -> Result<Vec<Token>> {
    let opener = |key| keyring.opener_for_reencryption(key);
    super::reencrypt(tokens, scope(owner), keyring.primary(), opener, rng)
}

/// As rotation and sync do it with a record.
fn reencrypt_whole(tokens: &[Token], keyring: &RootKeys) -> Result<Vec<Token>> {
    let opener = |key| keyring.opener_for_reencryption(key);
    super::reencrypt_whole(tokens, scope(&owner()), keyring.primary(), opener, &mut rng())
}

fn kind(tokens: &[Token], owner: &Owner, keyring: &RootKeys) -> ErrorKind {
    reencrypt(tokens, owner, keyring, &mut rng()).unwrap_err().kind()
}

#[test]
fn every_field_of_every_length_holds_the_same_under_the_new_key() {
    let only_new = keyring(&[(NEW, KeyState::Primary)]);
    let known = table();
    let agent = Field::named("inbound_agent_id");
    for field in known.each().map(|(field, _)| field).chain([Field::RECORD, agent, Field::named("later")]) {
        for length in [1, 2, 63, 64, 65, 128, 500, 6000] {
            let json = vec![b'7'; length];
            let old = token(&before(), 5, field, &json);
            let new = reencrypt(std::slice::from_ref(&old), &owner(), &after(), &mut rng()).unwrap();
            let [new] = new.as_slice() else { panic!("one token") };
            assert_eq!((new.key, new.version, new.field), (NEW, old.version, field));
            assert_eq!(new.to_string().len(), old.to_string().len(), "{field} {length}");
            let text = aead::open(only_new.primary().1, scope(&owner()), new).unwrap();
            assert_eq!(*text, *aead::open(before().primary().1, scope(&owner()), &old).unwrap());
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
fn the_tokens_of_a_version_share_a_fresh_salt_and_have_nonces_of_their_own() {
    let versions = [4, 5, 6].map(|number| record(&before(), number, Some(&config())));
    let old = versions.concat();
    let mut new = reencrypt(&old, &owner(), &after(), &mut StdRng::seed_from_u64(4)).unwrap();
    let count = |tokens: &[Token], part: std::ops::Range<usize>| {
        let parts: BTreeSet<_> = tokens.iter().map(|token| token.body[part.clone()].to_vec()).collect();
        parts.len()
    };
    let nonce = SALT + COMMITMENT..SALT + COMMITMENT + NONCE;
    assert_eq!((count(&new, 0..SALT), count(&new, SALT..SALT + COMMITMENT)), (3, 3));
    assert_eq!(count(&new, nonce.clone()), new.len());
    for number in [4, 5, 6] {
        let one: Vec<_> = new.iter().filter(|token| token.version == version(number)).cloned().collect();
        assert_eq!(count(&one, 0..SALT + COMMITMENT), 1);
    }
    new.extend(old);
    assert_eq!(
        count(&new, 0..SALT),
        3 + 1,
        "old salts are not used again; the old records happen to share one"
    );
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
    let current = record(&keyring(&[(NEW, KeyState::Primary)]), 6, Some(&config()));
    let old = record(&before(), 5, Some(&config()));
    // interleaved, so that the order tells
    let at = |at: usize| [older.get(at), current.get(at), old.get(at)].into_iter().flatten().cloned();
    let tokens: Vec<Token> = (0..4).flat_map(at).collect();
    assert_eq!(tokens.len(), 1 + 4 + 4);
    let new = reencrypt(&tokens, &owner(), &after(), &mut rng()).unwrap();
    assert!(new.iter().all(|token| token.key == NEW));
    let names =
        |tokens: &[Token]| tokens.iter().map(|token| (token.version, token.field)).collect::<Vec<_>>();
    assert_eq!(names(&new), names(&tokens));
    let of =
        |number| new.iter().filter(|token| token.version == version(number)).cloned().collect::<Vec<_>>();
    assert_eq!(of(6), current);
    assert_eq!(opened(of(4), &after()), None);
    assert_eq!(opened(of(5), &after()).unwrap(), config());
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
    for at in 0..4 {
        let mut old = record(&before(), 5, Some(&config()));
        let removed = old.remove(at);
        let new = reencrypt(&old, &owner(), &after(), &mut rng()).unwrap();
        assert!(new.iter().all(|token| token.key == NEW));
        assert_eq!(new.len(), old.len());
        let error = open_record(new, &after()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incomplete);
        assert!(error.to_string().contains(removed.field.name()), "{error}");
    }
}

#[test]
fn a_record_is_re_encrypted_with_all_its_secrets_or_not_at_all() {
    let old = record(&before(), 5, Some(&config()));
    assert_eq!(opened(reencrypt_whole(&old, &after()).unwrap(), &after()), Some(config()));
    let tombstone = record(&before(), 5, None);
    assert_eq!(opened(reencrypt_whole(&tombstone, &after()).unwrap(), &after()), None);
    for at in [1, 2] {
        let mut lacking = old.clone();
        let removed = lacking.remove(at);
        let error = reencrypt_whole(&lacking, &after()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incomplete);
        assert!(error.to_string().contains(removed.field.name()), "{error}");
    }
    // a plain value may lie in its column
    assert!(reencrypt_whole(&old[..3], &after()).is_ok());
    let refused = |tokens: Vec<Token>| reencrypt_whole(&tokens, &after()).unwrap_err();
    let extra = token(&before(), 5, Field::named("webhook_key"), b"\"whsec_test\"");
    let error: Error = refused([old.clone(), vec![extra]].concat());
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.to_string().contains("webhook_key"), "{error}");
    let two = [old.clone(), record(&before(), 6, Some(&config()))].concat();
    assert_eq!(refused(two).kind(), ErrorKind::Malformed);
    // leftovers have no record token, and are re-encrypted one by one
    assert_eq!(reencrypt_whole(&old[1..], &after()).unwrap().len(), 3);
}
