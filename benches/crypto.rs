//! Sealing and opening a record, and one token by itself, beside bare `aes-gcm` on the same messages under one fresh key.

mod support;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use criterion::Criterion;
use retell_vault::Owner;
use retell_vault::config::{Field, Values};
use retell_vault::internals::{SealedToken, Sealer};
use support::{Comparison, is_wanted};

const JSON: &[u8; 64] = b"\"key_test_0000000000000000000000000000000000000000000000000000\" ";
const AAD: &[u8; 64] = &[0; 64];
const NONCE: [u8; 12] = [1; 12];
const ROUNDS: u32 = 1000;
const CALLS: u32 = 100;

fn sealer() -> Sealer {
    let owner = Owner::user("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11").expect("a valid id");
    Sealer::new(&[7; 32], owner)
}

/// Three secret fields. Their texts, and that of the record token, take 64 bytes each when they are padded.
fn values() -> Values {
    let mut values = Values::new();
    for field in ["api_key", "call_agent_id", "sms_agent_id"] {
        values.put_text(Field::named(field), Some("key_test_000000000000000000000000"));
    }
    values
}

/// A key that was never used before, as cheaply as possible.
fn fresh_key() -> impl FnMut() -> [u8; 32] {
    let mut number = 0u64;
    move || {
        number += 1;
        let mut key = [7; 32];
        key[..8].copy_from_slice(&number.to_ne_bytes());
        key
    }
}

fn seal_one(cipher: &Aes256Gcm, msg: &[u8]) -> Vec<u8> {
    cipher.encrypt(&NONCE.into(), Payload { msg, aad: AAD }).expect("it is short")
}

fn open_one(cipher: &Aes256Gcm, msg: &[u8]) -> Vec<u8> {
    cipher.decrypt(&NONCE.into(), Payload { msg, aad: AAD }).expect("it was sealed with this key")
}

fn bare_seal(key: &[u8; 32]) -> Vec<u8> {
    seal_one(&Aes256Gcm::new(key.into()), JSON)
}

fn bare_open(key: &[u8; 32], sealed: &[u8]) -> Vec<u8> {
    open_one(&Aes256Gcm::new(key.into()), sealed)
}

fn bare_seal_record(key: &[u8; 32]) -> [Vec<u8>; 4] {
    let cipher = Aes256Gcm::new(key.into());
    [JSON; 4].map(|message| seal_one(&cipher, message))
}

fn bare_open_record(key: &[u8; 32], sealed: &[Vec<u8>; 4]) -> [Vec<u8>; 4] {
    let cipher = Aes256Gcm::new(key.into());
    sealed.each_ref().map(|message| open_one(&cipher, message))
}

fn ratios() {
    let (sealer, values, mut key) = (sealer(), values(), fresh_key());
    let record = sealer.seal(&values).expect("there is entropy");
    let (bare_key, bare_record) = ([9; 32], bare_seal_record(&[9; 32]));
    assert_eq!(record.message_lengths(), [64; 4], "the bare messages are the same");
    Comparison::new("seal a record", 1.8).run(
        ROUNDS,
        CALLS,
        || sealer.seal(&values),
        || bare_seal_record(&key()),
    );
    Comparison::new("open a record", 1.7).run(
        ROUNDS,
        CALLS,
        || sealer.open(&record).expect("it opens"),
        || bare_open_record(std::hint::black_box(&bare_key), &bare_record),
    );

    let token = sealer.seal_token(JSON).expect("there is entropy");
    let (text, bare) = (token.to_text(), bare_seal(&[9; 32]));
    Comparison::new("seal a token", 2.3).run(ROUNDS, CALLS, || sealer.seal_token(JSON), || bare_seal(&key()));
    Comparison::new("open a token", 2.0).run(
        ROUNDS,
        CALLS,
        || sealer.open_token(&token).expect("it opens"),
        || bare_open(std::hint::black_box(&bare_key), &bare),
    );
    println!("with printing and parsing the text of the token, for which there is no limit:");
    Comparison::new("seal to text", f64::INFINITY).run(
        ROUNDS,
        CALLS,
        || sealer.seal_token(JSON).expect("there is entropy").to_text(),
        || bare_seal(&key()),
    );
    Comparison::new("open from text", f64::INFINITY).run(
        ROUNDS,
        CALLS,
        || sealer.open_token(&SealedToken::parse(&text).expect("a token")).expect("it opens"),
        || bare_open(std::hint::black_box(&bare_key), &bare),
    );
}

fn statistics() {
    let mut criterion = Criterion::default().configure_from_args();
    let (sealer, values, mut key) = (sealer(), values(), fresh_key());
    let record = sealer.seal(&values).expect("there is entropy");
    let (bare_key, bare_record) = ([9; 32], bare_seal_record(&[9; 32]));
    criterion.bench_function("seal a record", |bench| bench.iter(|| sealer.seal(&values)));
    criterion.bench_function("bare seal of a record, fresh key", |bench| {
        bench.iter(|| bare_seal_record(&key()));
    });
    criterion.bench_function("open a record", |bench| bench.iter(|| sealer.open(&record)));
    criterion.bench_function("bare open of a record, fresh key", |bench| {
        bench.iter(|| bare_open_record(std::hint::black_box(&bare_key), &bare_record));
    });
    criterion.final_summary();
}

fn main() {
    if is_wanted() {
        ratios();
        statistics();
    }
}
