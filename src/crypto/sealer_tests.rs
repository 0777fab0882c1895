use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::keyring::keys::RootKeys;
use crate::keyring::material::Material;
use crate::record::credentials::Credentials;
use crate::record::owner::Owner;
use crate::record::token::{COMMITMENT, KeyId, SALT};
use crate::retell::config::{RetellConfig, table};

const PHONE: Field = Field::named("phone_number");
const PLAIN: [Field; 3] = [PHONE, Field::named("webhook_config"), Field::named("integration_status")];
const SECRET: [Field; 3] =
    [Field::named("api_key"), Field::named("call_agent_id"), Field::named("webhook_key")];

fn keyring(byte: u8) -> RootKeys {
    RootKeys::first(KeyId(7), Material::copied(&[byte; 32]), Material::copied(&[2; 32]), 0)
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

fn scope(owner: &Owner) -> Scope<'_> {
    Scope { namespace: "retell", owner }
}

fn seal_at(number: u64, values: &Values, in_the_clear: &[Field], fields: &Fields) -> Record {
    let (owner, keyring, mut rng) = (owner(), keyring(1), StdRng::seed_from_u64(number));
    let contents = Contents::of(values, fields);
    let fields = (fields, in_the_clear);
    seal((values, &contents), scope(&owner), version(number), fields, keyring.primary(), &mut rng)
}

fn without_columns(mut record: Record) -> Record {
    record.plain = PlainTexts::default();
    record
}

/// Every value in a token, as for a place without plain columns.
fn seal_all(config: &RetellConfig) -> Record {
    without_columns(seal_at(5, &config.to_values(), &[], &table()))
}

/// Plain values in columns of their own.
fn seal_in_columns(config: &RetellConfig) -> Record {
    seal_at(5, &config.to_values(), &PLAIN, &table())
}

fn open_it(record: &Record) -> Result<Opened> {
    open(record, scope(&owner()), keyring(1).primary().1, &table())
}

fn config_of(opened: Opened) -> RetellConfig {
    RetellConfig::from_values(opened.values.unwrap()).unwrap()
}

/// The same record with another text in the column of the phone number.
fn with_phone_column(mut record: Record, text: Option<&str>) -> Record {
    let mut plain = PlainTexts::default();
    for (field, held) in record.plain.iter().filter(|(field, _)| *field != PHONE) {
        plain.push(field, held.map(str::to_owned));
    }
    plain.push(PHONE, text.map(str::to_owned));
    record.plain = plain;
    record
}

fn without(record: &Record, field: Field) -> Vec<Token> {
    record.tokens().iter().filter(|token| token.field != field).cloned().collect()
}

fn vouched_of(record: &Record) -> PlainTexts {
    let contents = contents(record, scope(&owner()), keyring(1).primary().1).unwrap();
    vouched(&contents, record, &table())
}

#[test]
fn a_configuration_comes_back_from_its_tokens() {
    let opened = open_it(&seal_all(&config())).unwrap();
    assert!(opened.changed_outside.is_empty() && opened.unknown.is_empty() && opened.ignored.is_empty());
    assert_eq!(config_of(opened), config());
}

#[test]
fn plain_columns_serve_the_fields_that_have_no_token() {
    let record = seal_in_columns(&config());
    assert_eq!(record.tokens().len(), 4);
    let opened = open_it(&record).unwrap();
    assert!(opened.changed_outside.is_empty());
    assert_eq!(vouched_of(&record).iter().count(), 3);
    assert_eq!(config_of(opened), config());
}

#[test]
fn only_what_is_set_is_sealed() {
    let config = RetellConfig::new("key_test_0000".parse().unwrap());
    let record = seal_all(&config);
    let names: Vec<_> = record.tokens().iter().map(|token| token.field.name()).collect();
    assert_eq!(names, ["record", "api_key"]);
    assert_eq!(config_of(open_it(&record).unwrap()), config);
}

#[test]
fn a_token_beats_the_column_and_a_bad_column_is_reported() {
    let record = with_phone_column(seal_all(&config()), Some("+19995550100"));
    assert_eq!(config_of(open_it(&record).unwrap()).phone_number().unwrap().as_str(), "+14155550100");

    let record = with_phone_column(seal_in_columns(&config()), Some("call me"));
    let opened = open_it(&record).unwrap();
    assert_eq!((&*opened.ignored, &*opened.changed_outside), ([PHONE].as_slice(), [PHONE].as_slice()));
    assert!(config_of(opened).phone_number().is_none());
}

#[test]
fn a_plain_column_that_somebody_changed_counts_and_is_reported() {
    for (text, expected) in [(Some("+19995550100"), Some("+19995550100")), (Some(""), None), (None, None)] {
        let record = with_phone_column(seal_in_columns(&config()), text);
        let opened = open_it(&record).unwrap();
        assert_eq!(opened.changed_outside, [PHONE], "{text:?}");
        assert_eq!(vouched_of(&record).column(PHONE), None, "{text:?}");
        assert_eq!(
            config_of(opened).phone_number().map(|number| number.as_str().to_owned()).as_deref(),
            expected
        );
    }
    // one that was not stored, and is there now
    let config = RetellConfig::new("key_test_0000".parse().unwrap());
    let opened = open_it(&with_phone_column(seal_in_columns(&config), Some("+19995550100"))).unwrap();
    assert_eq!(opened.changed_outside, [PHONE]);
    assert_eq!(config_of(opened).phone_number().unwrap().as_str(), "+19995550100");
}

#[test]
fn a_tombstone_opens_as_nothing() {
    let record = seal_at(5, &Values::new(), &[], &table());
    assert_eq!(record.tokens().len(), 1);
    assert!(open_it(&record).unwrap().values.is_none());
    let root = keyring(1);
    assert!(contents(&record, scope(&owner()), root.primary().1).unwrap().is_tombstone());
    assert!(!contents(&seal_all(&config()), scope(&owner()), root.primary().1).unwrap().is_tombstone());
    // nor is it one for what the application writes into a plain column
    assert!(open_it(&with_phone_column(record, Some("+19995550100"))).unwrap().values.is_none());
}

#[test]
fn a_removed_secret_is_incomplete_and_never_switched_off() {
    for field in SECRET {
        let record = Record::new(without(&seal_all(&config()), field), PlainTexts::default()).unwrap();
        let error = open_it(&record).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incomplete);
        assert!(error.to_string().contains(field.name()));
    }
    let error = Record::new(without(&seal_all(&config()), Field::RECORD), PlainTexts::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incomplete);
    assert!(error.to_string().contains("record token"));
}

#[test]
fn a_removed_plain_token_is_incomplete_unless_its_column_is_there_and_then_it_is_reported() {
    for field in PLAIN {
        let mut record = Record::new(without(&seal_all(&config()), field), PlainTexts::default()).unwrap();
        let error = open_it(&record).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incomplete);
        assert!(error.to_string().contains(field.name()));
        record.plain.push(field, None);
        assert_eq!(open_it(&record).unwrap().changed_outside, [field]);
    }
}

#[test]
fn fields_mixed_in_from_another_version_are_refused() {
    let old = seal_at(4, &config().to_values(), &PLAIN, &table());
    let mut tokens = seal_all(&config()).tokens().to_vec();
    let at = tokens.iter().position(|token| token.field == Field::named("webhook_key")).unwrap();
    tokens[at] = old.token(Field::named("webhook_key")).unwrap().clone();
    assert_eq!(Record::new(tokens.clone(), PlainTexts::default()).unwrap_err().kind(), ErrorKind::Malformed);
    // relabelled with the record's version it no longer opens
    tokens[at].version = version(5);
    let record = Record::new(tokens, PlainTexts::default()).unwrap();
    assert_eq!(open_it(&record).unwrap_err().kind(), ErrorKind::Unsealable);
}

#[test]
fn another_key_with_the_same_id_opens_nothing() {
    let error = open(&seal_all(&config()), scope(&owner()), keyring(9).primary().1, &table()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsealable);
}

#[test]
fn plain_tokens_that_are_added_later_lie_under_the_records_own_key_and_salt() {
    let (in_columns, owner, keyring) = (seal_in_columns(&config()), owner(), keyring(1));
    let (root, mut rng) = (keyring.primary().1, StdRng::seed_from_u64(9));
    let values = config().to_values();
    let whole = seal_rest(in_columns.clone(), &values, scope(&owner), root, &mut rng).unwrap();
    assert_eq!(whole.tokens().len(), 7);
    assert!(whole.is_same_write(&in_columns) && whole.tokens().starts_with(in_columns.tokens()));
    let shared = &whole.record_token().body[..SALT + COMMITMENT];
    assert!(whole.tokens().iter().all(|token| token.body.starts_with(shared)));
    let alone = without_columns(whole.clone());
    assert_eq!(config_of(open_it(&alone).unwrap()), config());

    // back into columns
    let back = with_plain_texts(alone, scope(&owner), root, &table()).unwrap();
    assert_eq!(back.plain, in_columns.plain);
    // nothing is left to add
    let again = seal_rest(whole.clone(), &values, scope(&owner), root, &mut rng).unwrap();
    assert_eq!(again.tokens(), whole.tokens());
}

#[test]
fn a_plain_field_whose_column_was_emptied_still_belongs_to_the_record() {
    let (owner, keyring) = (owner(), keyring(1));
    let emptied = with_phone_column(seal_in_columns(&config()), None);
    let values = open_it(&emptied).unwrap().values.unwrap();
    let mut rng = StdRng::seed_from_u64(9);
    let whole = seal_rest(emptied, &values, scope(&owner), keyring.primary().1, &mut rng).unwrap();
    let alone = without_columns(whole);
    let opened = open_it(&alone).unwrap();
    assert_eq!(opened.changed_outside, [PHONE]);
    assert!(config_of(opened).phone_number().is_none());
    let error = open_it(&Record::new(without(&alone, PHONE), PlainTexts::default()).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incomplete);
}

/// A field of a newer program is no error, as its token may lie in a column that this one does not know. But nobody
/// passes the record on without it.
#[test]
fn fields_of_a_newer_program_are_named_and_never_left_behind() {
    let voice = Field::named("voice_id");
    let newer = table().with(crate::record::field::FieldSpec::extra(voice, 64));
    let mut values = config().to_values();
    values.put_text(voice, Some("voice_test"));
    let record = without_columns(seal_at(5, &values, &[], &newer));
    let opened = open_it(&record).unwrap();
    assert_eq!(opened.unknown, [voice]);
    assert_eq!(opened.values.unwrap().get(voice), Some("\"voice_test\""));

    let (owner, keyring) = (owner(), keyring(1));
    let root = keyring.primary().1;
    let lacking = Record::new(without(&record, voice), PlainTexts::default()).unwrap();
    assert_eq!(open_it(&lacking).unwrap().unknown, [voice]);
    assert!(verify(&lacking, scope(&owner), root, &table(), |_, _| {}).is_ok());
    let refused = [
        open(&lacking, scope(&owner), root, &newer).map(drop),
        verify(&lacking, scope(&owner), root, &newer, |_, _| {}).map(drop),
        check_whole(&lacking, scope(&owner), root, |_| false),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incomplete);
        assert!(error.to_string().contains("voice_id"), "{error}");
    }
}

#[test]
fn verify_looks_at_every_token() {
    let (record, owner, keyring) = (seal_all(&config()), owner(), keyring(1));
    let verify = |tokens: Vec<Token>| {
        let record = Record::new(tokens, PlainTexts::default()).unwrap();
        verify(&record, scope(&owner), keyring.primary().1, &table(), |_, _| {})
    };
    assert!(verify(record.tokens().to_vec()).is_ok());
    for at in 0..record.tokens().len() {
        let mut tokens = record.tokens().to_vec();
        *tokens[at].body.last_mut().unwrap() ^= 1;
        assert_eq!(verify(tokens).unwrap_err().kind(), ErrorKind::Unsealable, "{at}");
    }
}
