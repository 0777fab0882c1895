//! Sealing and opening one value of 64 bytes, beside bare `aes-gcm` with a fresh key every time.

mod support;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use criterion::Criterion;
use retell_vault::Owner;
use retell_vault::internals::{Sealed, Sealer};
use support::{Comparison, is_wanted};

const JSON: &[u8; 64] = b"\"key_test_0000000000000000000000000000000000000000000000000000\" ";
const AAD: &[u8; 64] = &[0; 64];
const ROUNDS: u32 = 1000;
const CALLS: u32 = 200;

fn sealer() -> Sealer {
    let owner = Owner::user("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11").expect("a valid id");
    Sealer::new(&[7; 32], owner)
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

fn bare_seal(key: &[u8; 32]) -> Vec<u8> {
    let cipher = Aes256Gcm::new(key.into());
    cipher.encrypt(&[1; 12].into(), Payload { msg: JSON, aad: AAD }).expect("it is short")
}

fn bare_open(key: &[u8; 32], sealed: &[u8]) -> Vec<u8> {
    let cipher = Aes256Gcm::new(key.into());
    cipher.decrypt(&[1; 12].into(), Payload { msg: sealed, aad: AAD }).expect("it was sealed with this key")
}

fn ratios() {
    let (sealer, mut key) = (sealer(), fresh_key());
    let sealed = sealer.seal(JSON).expect("there is entropy");
    let text = sealed.to_text();
    let (bare_key, bare) = ([9; 32], bare_seal(&[9; 32]));
    Comparison::new("seal", 2.2).run(ROUNDS, CALLS, || sealer.seal(JSON), || bare_seal(&key()));
    Comparison::new("open", 2.3).run(
        ROUNDS,
        CALLS,
        || sealer.open(&sealed).expect("it opens"),
        || bare_open(std::hint::black_box(&bare_key), &bare),
    );
    println!("with printing and parsing the text of the token, for which there is no limit:");
    let mut key = fresh_key();
    Comparison::new("seal to text", f64::INFINITY).run(
        ROUNDS,
        CALLS,
        || sealer.seal(JSON).expect("there is entropy").to_text(),
        || bare_seal(&key()),
    );
    Comparison::new("open from text", f64::INFINITY).run(
        ROUNDS,
        CALLS,
        || sealer.open(&Sealed::parse(&text).expect("a token")).expect("it opens"),
        || bare_open(std::hint::black_box(&bare_key), &bare),
    );
}

fn statistics() {
    let mut criterion = Criterion::default().configure_from_args();
    let (sealer, mut key) = (sealer(), fresh_key());
    let sealed = sealer.seal(JSON).expect("there is entropy");
    let (bare_key, bare) = ([9; 32], bare_seal(&[9; 32]));
    criterion.bench_function("seal", |bench| bench.iter(|| sealer.seal(JSON)));
    criterion.bench_function("bare seal, fresh key", |bench| bench.iter(|| bare_seal(&key())));
    criterion.bench_function("open", |bench| bench.iter(|| sealer.open(&sealed)));
    criterion.bench_function("bare open, fresh key", |bench| {
        bench.iter(|| bare_open(std::hint::black_box(&bare_key), &bare))
    });
    criterion.final_summary();
}

fn main() {
    if is_wanted() {
        ratios();
        statistics();
    }
}
