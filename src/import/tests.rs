//! Every decryptor against arbitrary, cut-off and altered values. `PROPTEST_CASES` makes the campaigns longer.

use aes_gcm::aead::AeadInOut;
use aes_gcm::aes::Aes256Enc;
use aes_gcm::aes::cipher::consts::{U12, U16};
use aes_gcm::{AesGcm, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use proptest::prelude::*;
use serde_json::json;

use crate::import::carexps::Carexps;
use crate::import::fernet::Fernet;
use crate::import::members::Members;
use crate::import::old_value::{Decryptor, Opening, StoredValue};
use crate::import::passwords::Passwords;
use crate::import::plaintext::{Base64, Plaintext};
use crate::import::raw_gcm::RawAesGcm;
use crate::layout::layout::Layout;
use crate::record::field::Field;

const API_KEY: Field = Field::named("api_key");
const SECRET: &str = "key_test_canary_4711";
/// A key, as the application encrypted it with its built-in password.
const TEXT4: &str =
    "+zA/gMJAhQFDWCuC26DPpMUsFmvnktR4rfFWhMA=:7o+PZaz6hNRTJSEe:VH1jnKsC8t4wsJi3O4Ekyw==:1795674103908";
const TEXT4_VALUE: &str = "key_test_57d59082e082eb513508";
/// From the specification of Fernet, `generate.json`.
const FERNET_KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
const FERNET: &str =
    "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";
const RAW_KEY: [u8; 32] = [0x5e; 32];

fn open(decryptor: &dyn Decryptor, text: &str) -> Opening {
    decryptor.open(&StoredValue::text(API_KEY, text))
}

fn opened(decryptor: &dyn Decryptor, text: &str) -> Option<String> {
    match open(decryptor, text) {
        Opening::Opened(value) => Some(value.text().to_owned()),
        _ => None,
    }
}

fn passwords(texts: &[&str]) -> Passwords {
    texts.iter().fold(Passwords::new(), |all, text| all.with((*text).to_owned()))
}

fn raw() -> RawAesGcm {
    RawAesGcm::new(&passwords(&[&STANDARD.encode([1; 32]), &"5e".repeat(32)]))
}

fn fernet() -> Fernet {
    Fernet::new(&passwords(&["dGVzdA==", &STANDARD.encode([1; 32]), FERNET_KEY]))
}

/// Nonce, ciphertext and tag of a text.
fn seal(text: &str, nonce: usize) -> [Vec<u8>; 3] {
    let (iv, mut sealed) = (vec![0x11; nonce], text.as_bytes().to_vec());
    let buffer = sealed.as_mut_slice().into();
    let tag = match nonce {
        12 => {
            let cipher = AesGcm::<Aes256Enc, U12>::new(&RAW_KEY.into());
            cipher.encrypt_inout_detached(iv.as_slice().try_into().unwrap(), b"", buffer).unwrap().to_vec()
        }
        _ => {
            let cipher = AesGcm::<Aes256Enc, U16>::new(&RAW_KEY.into());
            cipher.encrypt_inout_detached(iv.as_slice().try_into().unwrap(), b"", buffer).unwrap().to_vec()
        }
    };
    [iv, sealed, tag]
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[test]
fn aes_gcm_opens_in_every_order_and_encoding() {
    let raw = raw();
    let encodings: [fn(&[u8]) -> String; 3] =
        [to_hex, |bytes| STANDARD.encode(bytes), |bytes| URL_SAFE_NO_PAD.encode(bytes)];
    for (nonce, encode) in [12, 16].into_iter().flat_map(|nonce| encodings.map(|encode| (nonce, encode))) {
        let parts = seal(SECRET, nonce);
        let [iv, sealed, tag] = &parts;
        for order in ORDERS {
            let text = order.map(|at| encode(&parts[at])).join(":");
            assert_eq!(opened(&raw, &text).as_deref(), Some(SECRET), "{order:?}");
            assert_eq!(opened(&raw, &format!("v1:{text}")).as_deref(), Some(SECRET), "{order:?}");
        }
        for order in [[0, 1, 2], [0, 2, 1], [1, 2, 0], [2, 1, 0]] {
            let text = encode(&order.map(|at| parts[at].clone()).concat());
            assert_eq!(opened(&raw, &text).as_deref(), Some(SECRET), "{order:?}");
        }
        let joined = encode(&[&sealed[..], tag].concat());
        assert_eq!(opened(&raw, &format!("{}.{joined}", encode(iv))).as_deref(), Some(SECRET));
        let [iv, sealed, tag] = [iv, sealed, tag].map(|part| encode(part));
        for (stored, tag) in [(&sealed, Some(tag.as_str())), (&joined, None)] {
            let stored = StoredValue::text(API_KEY, stored).with_parts(&iv, tag);
            assert!(matches!(raw.open(&stored), Opening::Opened(value) if value.text() == SECRET));
        }
        let object = json!({ "iv": iv, "content": sealed, "authTag": tag });
        assert_eq!(opened(&raw, &object.to_string()).as_deref(), Some(SECRET));
        let stored = StoredValue::object(API_KEY, object.as_object().unwrap());
        assert!(matches!(raw.open(&stored), Opening::Opened(value) if value.text() == SECRET));
    }
}

#[test]
fn a_wrong_key_a_cut_off_value_and_another_form_are_told_apart() {
    let reason = |opening: Opening| match opening {
        Opening::Corrupt(refused) => refused.reason,
        other => panic!("{other:?}"),
    };
    let text = seal(SECRET, 12).map(|part| to_hex(&part)).join(":");
    let wrong = RawAesGcm::new(&passwords(&[&"ab".repeat(32)]));
    assert!(reason(open(&wrong, &text)).starts_with("no key opens it"));
    assert!(reason(open(&raw(), &text[..text.len() - 2])).contains("cut off"));
    assert_eq!(open(&raw(), "a text with no ciphertext in it!"), Opening::NotMine);
    assert!(RawAesGcm::new(&passwords(&["no key"])).has_no_key());

    assert_eq!(opened(&fernet(), FERNET).as_deref(), Some("hello"));
    let wrong = Fernet::new(&passwords(&[&STANDARD.encode([1; 32])]));
    assert!(reason(open(&wrong, FERNET)).starts_with("no key opens it"));
    assert!(reason(open(&fernet(), &FERNET[..FERNET.len() - 8])).contains("cut off"));
    // the version, the time, the nonce, the ciphertext and the signature
    for at in [8, 20, 40, 60, FERNET.len() - 10] {
        let other = if FERNET.as_bytes()[at] == b'A' { "B" } else { "A" };
        let altered = format!("{}{other}{}", &FERNET[..at], &FERNET[at + 1..]);
        assert!(reason(open(&fernet(), &altered)).starts_with("no key opens it"), "{at}");
    }
    assert_eq!(open(&fernet(), SECRET), Opening::NotMine);
    assert!(Fernet::new(&passwords(&["no key"])).has_no_key());

    let carexps = Carexps::new(passwords(&["another", Carexps::BUILT_IN_PASSWORD]));
    assert_eq!(opened(&carexps, TEXT4).as_deref(), Some(TEXT4_VALUE));
    assert!(reason(open(&carexps, &TEXT4.replacen('+', "-", 1))).contains("cut off"));
    assert!(reason(open(&carexps, &TEXT4.replacen("zA", "zB", 1))).starts_with("no password opens it"));
    // without its padding alone, the tag is still complete
    for end in 8..TEXT4.rfind("==:").unwrap() {
        assert!(reason(open(&carexps, &TEXT4[..end])).contains("cut off"), "{end}");
    }
    assert_eq!(open(&carexps, "something else"), Opening::NotMine);
}

/// How a ciphertext of AES-GCM may be stored: what a decryptor makes of its nonce, ciphertext and tag.
type Stored = fn(&RawAesGcm, [&[u8]; 3]) -> Opening;

const AES_GCM_FORMS: [(&str, Stored); 6] = [
    ("one text", |raw, parts| open(raw, &to_hex(&parts.concat()))),
    ("two parts", |raw, [iv, sealed, tag]| {
        open(raw, &format!("{}.{}", STANDARD.encode(iv), STANDARD.encode([sealed, tag].concat())))
    }),
    ("three parts", |raw, parts| open(raw, &parts.map(to_hex).join(":"))),
    ("an object", |raw, [iv, sealed, tag]| {
        let object = json!({ "iv": to_hex(iv), "content": to_hex(sealed), "authTag": to_hex(tag) });
        raw.open(&StoredValue::object(API_KEY, object.as_object().unwrap()))
    }),
    ("JSON as text", |raw, [iv, sealed, tag]| {
        open(raw, &json!({ "nonce": to_hex(iv), "ct": to_hex(sealed), "tag": to_hex(tag) }).to_string())
    }),
    ("columns", |raw, [iv, sealed, tag]| {
        raw.open(&StoredValue::text(API_KEY, &to_hex(sealed)).with_parts(&to_hex(iv), Some(&to_hex(tag))))
    }),
];

#[test]
fn a_wrong_key_an_altered_and_a_cut_off_part_are_told_apart_in_every_form_of_aes_gcm() {
    let reason = |opening: Opening| match opening {
        Opening::Corrupt(refused) => refused.reason,
        other => panic!("{other:?}"),
    };
    let wrong = RawAesGcm::new(&passwords(&[&"ab".repeat(32)]));
    let parts = seal(SECRET, 12);
    for (form, stored) in AES_GCM_FORMS {
        let with = |raw: &RawAesGcm, parts: &[Vec<u8>; 3]| stored(raw, parts.each_ref().map(Vec::as_slice));
        assert!(matches!(with(&raw(), &parts), Opening::Opened(_)), "{form}");
        assert!(reason(with(&wrong, &parts)).starts_with("no key opens it"), "{form}");
        for at in 0..3 {
            let mut altered = parts.clone();
            altered[at][0] ^= 1;
            assert!(reason(with(&raw(), &altered)).starts_with("no key opens it"), "{form}, part {at}");
        }
        // without separate parts, only a text that is too short is certainly cut off
        let cut: &[usize] = match form {
            "one text" => &[],
            "two parts" => &[0],
            _ => &[0, 2],
        };
        for at in cut {
            let mut short = parts.clone();
            short[*at].pop();
            assert!(reason(with(&raw(), &short)).contains("cut off"), "{form}, part {at}");
        }
        let nothing = [parts[0].clone(), vec![1], parts[2][..4].to_vec()];
        assert!(reason(with(&raw(), &nothing)).contains("cut off"), "{form}");
    }
    let json = json!({ "iv": "AAAA", "content": "AAAA" }).to_string();
    assert!(reason(open(&raw(), &json[..json.len() - 1])).contains("cut off"));
}

/// A token whose signature holds and whose padding does not, which only its own key can make.
#[test]
fn a_signed_token_with_wrong_padding_is_corrupt() {
    let key = STANDARD.encode([7; 32]);
    let mut token = [&[0x80][..], &[0; 8], &[1; 16], &[2; 16]].concat();
    let mac = Hmac::<sha2::Sha256>::new_from_slice(&[7; 16]).unwrap().chain_update(&token).finalize();
    token.extend(mac.into_bytes());
    let text = URL_SAFE_NO_PAD.encode(token);
    let opening = open(&Fernet::new(&passwords(&[&key])), &text);
    assert!(
        matches!(opening, Opening::Corrupt(refused) if refused.reason.contains("not text")),
        "{opening:?}"
    );
}

#[test]
fn a_key_is_derived_once_for_each_password_and_salt() {
    let carexps = Carexps::new(passwords(&["another", Carexps::BUILT_IN_PASSWORD]));
    for _ in 0..50 {
        assert_eq!(opened(&carexps, TEXT4).as_deref(), Some(TEXT4_VALUE));
    }
    assert_eq!(carexps.derived(), 2, "the password that does not open it, and the built-in one");
}

#[test]
fn plaintext_and_base64_do_not_take_ciphertexts() {
    let agent = Field::named("call_agent_id");
    let token = format!(
        "{}0190000000000000.api_key.AAAA",
        crate::record::token::start_under(crate::record::token::KeyId(1))
    );
    for sealed in [FERNET, "gcm:AAAA", "cbc:AAAA", "{\"data\":\"\"}", &token] {
        assert_eq!(open(&Plaintext, sealed), Opening::NotMine, "{sealed}");
        assert_eq!(opened(&Base64, sealed), None, "{sealed}");
    }
    assert_eq!(opened(&Plaintext, &format!(" {SECRET}\n")).as_deref(), Some(SECRET));
    assert_eq!(opened(&Base64, &STANDARD.encode(SECRET)).as_deref(), Some(SECRET));
    assert_eq!((open(&Plaintext, " "), open(&Base64, "")), (Opening::Unset, Opening::Unset));
    // the browser encoded Latin-1
    let latin1 = STANDARD.encode(b"key_test_cl\xe9");
    assert_eq!(opened(&Carexps::new(Passwords::new()), &latin1).as_deref(), Some("key_test_clé"));
    // by accident it is base64
    let id = "Abcd1234Abcd1234Abcd1234Abcd1234";
    let opened = Carexps::new(Passwords::new()).open(&StoredValue::text(agent, id));
    assert!(matches!(opened, Opening::Opened(value) if value.text() == id && !value.is_exposed()));
}

/// A text with one of its characters replaced, or cut off.
fn altered(text: &'static str) -> impl Strategy<Value = String> {
    let replaced = (0..text.len(), "[A-Za-z0-9+/=:_-]")
        .prop_map(move |(at, new)| format!("{}{new}{}", &text[..at], &text[at + 1..]));
    prop_oneof![replaced, (0..text.len()).prop_map(move |at| text[..at].to_owned())]
}

/// Texts that look like those that the decryptors know.
fn any_text() -> impl Strategy<Value = String> {
    let part = || "[A-Za-z0-9+/=_-]{0,44}";
    prop_oneof![
        any::<String>(),
        (prop_oneof![Just("gcm:"), Just("cbc:"), Just("gAAAAA"), Just("{\"data\":\"")], part())
            .prop_map(|(start, rest)| format!("{start}{rest}")),
        (part(), part(), part()).prop_map(|(a, b, c)| format!("{a}:{b}:{c}:1")),
        (part(), part(), part()).prop_map(|(a, b, c)| json!({ "data": a, "iv": b, "tag": c }).to_string()),
        (part(), part())
            .prop_map(|(a, b)| json!({ "api_key": a, "api_key_encoded": true, "x": b }).to_string()),
    ]
}

fn carexps() -> &'static Carexps {
    static ONE: std::sync::LazyLock<Carexps> = std::sync::LazyLock::new(|| Carexps::new(Passwords::new()));
    &ONE
}

proptest! {
    #[test]
    fn an_altered_text4_never_opens_to_another_value(text in altered(TEXT4)) {
        let value = opened(carexps(), &text);
        prop_assert!(value.as_deref().is_none_or(|value| value == TEXT4_VALUE), "{text}");
    }

    #[test]
    fn an_altered_fernet_token_never_opens_to_another_value(text in altered(FERNET)) {
        let value = opened(&fernet(), &text);
        prop_assert!(value.as_deref().is_none_or(|value| value == "hello"), "{text}");
    }

    #[test]
    fn an_altered_aes_gcm_text_never_opens_to_another_value(at in 0..96_usize, new in "[0-9A-F:]") {
        let text = seal(SECRET, 12).map(|part| to_hex(&part)).join(":");
        let text = format!("{}{new}{}", &text[..at], &text[at + 1..]);
        prop_assert!(opened(&raw(), &text).is_none_or(|value| value == SECRET), "{text}");
    }

    /// No decryptor takes a text for a ciphertext that it cannot check.
    #[test]
    fn no_decryptor_guesses(text in any_text()) {
        prop_assert_eq!(opened(&raw(), &text), None);
        prop_assert_eq!(opened(&fernet(), &text), None);
        let guessed = opened(carexps(), &text);
        let is_said = text.contains("ZmFsbGJhY2staXY=") || guessed.as_deref().is_none_or(|value| value.contains('_'));
        prop_assert!(is_said, "{text}: {guessed:?}");
    }

    #[test]
    fn any_json_is_taken_apart(text in any_text(), name in "(api_key|retell_api_key|webhook_config|call_agent_id)") {
        let members = Members::of(&Layout::new());
        let inner: serde_json::Value = serde_json::from_str(&text).unwrap_or(json!(text));
        for json in [json!(text), json!({ name.clone(): inner.clone() }), json!([text]), inner] {
            for decryptor in [carexps() as &dyn Decryptor, &raw(), &fernet(), &Plaintext, &Base64] {
                let opened = members.open(decryptor, "user-1", &json);
                prop_assert!(opened.values(&Layout::new()).is_ok());
            }
        }
    }
}
