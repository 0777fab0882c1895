use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::keyring::keys::Keyring;
use crate::record::token::KeyId;

fn keyring(byte: u8) -> Keyring {
    Keyring::first(KeyId(7), Zeroizing::new([byte; 32]), Zeroizing::new([2; 32]), 0)
}

fn owner() -> Owner {
    Owner::user("user-1").unwrap()
}

fn config() -> RetellConfig {
    RetellConfig::from_json(
        r#"{"api_key":"key_test_\"\\canary","call_agent_id":"agent_test_call","phone_number":"+14155550100",
        "webhook_config":{"webhook_url":"https://example.com/hook","events":["call_ended"],"secret":"whsec_test_00000000"},
        "integration_status":"active"}"#,
    )
    .unwrap()
}

fn version(number: u64) -> Version {
    Version::next(number, None, 0)
}

fn seal_all(config: Option<&RetellConfig>) -> Record {
    seal(config, &owner(), version(5), &Field::ALL, keyring(1).primary(), &mut StdRng::seed_from_u64(1))
}

#[test]
fn a_configuration_comes_back_from_its_tokens() {
    let opened = open(&seal_all(Some(&config())), &owner(), keyring(1).primary().1).unwrap();
    assert_eq!(opened.config.unwrap(), config());
}

#[test]
fn plain_columns_serve_the_fields_that_have_no_token() {
    let record =
        seal(Some(&config()), &owner(), version(5), &[], keyring(1).primary(), &mut StdRng::seed_from_u64(1));
    assert_eq!(record.tokens().len(), 4);
    assert_eq!(open(&record, &owner(), keyring(1).primary().1).unwrap().config.unwrap(), config());
}

#[test]
fn a_token_beats_the_column_and_a_bad_column_is_reported() {
    let mut record = seal_all(Some(&config()));
    record.plain.phone_number = Some("+19995550100".to_owned());
    let opened = open(&record, &owner(), keyring(1).primary().1).unwrap();
    assert_eq!(opened.config.unwrap().phone_number().unwrap().as_str(), "+14155550100");

    let mut record =
        seal(Some(&config()), &owner(), version(5), &[], keyring(1).primary(), &mut StdRng::seed_from_u64(1));
    record.plain.phone_number = Some("call me".to_owned());
    let opened = open(&record, &owner(), keyring(1).primary().1).unwrap();
    assert_eq!(opened.ignored, [Field::named("phone_number")]);
    assert!(opened.config.unwrap().phone_number().is_none());
}

#[test]
fn a_tombstone_opens_as_nothing() {
    let record = seal_all(None);
    assert_eq!(record.tokens().len(), 4);
    assert!(open(&record, &owner(), keyring(1).primary().1).unwrap().config.is_none());
    assert!(is_tombstone(&record, &owner(), keyring(1).primary().1).unwrap());
}

#[test]
fn a_removed_secret_is_incomplete_and_never_switched_off() {
    for field in Field::SECRET {
        let tokens =
            seal_all(Some(&config())).tokens().iter().filter(|token| token.field != field).cloned().collect();
        let error = Record::new(tokens, PlainValues::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incomplete);
        assert!(error.to_string().contains(field.name()));
    }
}

#[test]
fn fields_mixed_in_from_another_version_are_refused() {
    let old =
        seal(Some(&config()), &owner(), version(4), &[], keyring(1).primary(), &mut StdRng::seed_from_u64(2));
    let mut tokens = seal_all(Some(&config())).tokens().to_vec();
    let at = tokens.iter().position(|token| token.field == Field::named("webhook_key")).unwrap();
    tokens[at] = old.token(Field::named("webhook_key")).unwrap().clone();
    assert_eq!(Record::new(tokens.clone(), PlainValues::default()).unwrap_err().kind(), ErrorKind::Malformed);
    // relabelled with the record's version it no longer opens
    tokens[at].version = version(5);
    let record = Record::new(tokens, PlainValues::default()).unwrap();
    assert_eq!(open(&record, &owner(), keyring(1).primary().1).unwrap_err().kind(), ErrorKind::Unsealable);
}

#[test]
fn another_key_with_the_same_id_opens_nothing() {
    let error = open(&seal_all(Some(&config())), &owner(), keyring(9).primary().1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsealable);
}
