//! Classifies text in a column for tokens. It guesses from the form alone.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::record::record::read_packed;
use crate::record::token::{START_LEN, SUITE, claims_to_be_token};

/// Shorter text may be base64 or hex by accident.
const SHORTEST_CODE: usize = 8;
/// Shorter bytes cannot hold a nonce and one block, so they are not ciphertext.
const SHORTEST_CIPHERTEXT: usize = 16;
/// Values that count as empty.
pub(crate) const EMPTY_VALUES: [&str; 6] = ["", "null", "{}", "[]", "\"\"", "\\x"];
/// The prefixes of keys and ids of Retell and similar services.
const PREFIXES: [&str; 7] = ["key_", "agent_", "whsec_", "sk_", "pk_", "sk-", "bearer "];

const FORGIVING: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const CODES: [GeneralPurpose; 2] = [
    GeneralPurpose::new(&alphabet::STANDARD, FORGIVING),
    GeneralPurpose::new(&alphabet::URL_SAFE, FORGIVING),
];

/// What a text looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TextClass {
    /// No text.
    Empty,
    /// Tokens of this format or a later one.
    Tokens,
    /// Readable text.
    Plaintext,
    /// Base64 or hex of readable text, which is an encoding and not encryption.
    Encoded,
    /// Base64, hex or armour of bytes: probably encrypted by other code.
    Ciphertext,
    /// Starts like a token but is not one.
    Malformed,
}

/// Guesses from the form alone. Doubtful text is plaintext.
pub(crate) fn classify(text: &str) -> TextClass {
    if claims_to_be_token(text) {
        return match text.split(' ').all(|piece| is_token(piece) || is_later_token(piece)) {
            true => TextClass::Tokens,
            false => TextClass::Malformed,
        };
    }
    match text.trim() {
        _ if text.is_empty() => TextClass::Empty,
        text if is_armour(text) => TextClass::Ciphertext,
        text if has_known_prefix(text) => TextClass::Plaintext,
        text => of_code(text).unwrap_or(TextClass::Plaintext),
    }
}

fn is_token(piece: &str) -> bool {
    read_packed(piece).is_ok()
}

/// `rv2.` and later. This version cannot check the text after the head.
fn is_later_token(piece: &str) -> bool {
    claims_to_be_token(piece)
        && !piece.starts_with(SUITE)
        && piece.as_bytes().get(START_LEN - 1) == Some(&b'.')
}

fn has_known_prefix(text: &str) -> bool {
    let starts =
        |prefix: &&str| text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    PREFIXES.iter().any(starts)
}

/// `-----BEGIN PGP MESSAGE-----`, bytes stored as text, `v1:…`, `{"iv":…}`, `iv:ciphertext`.
fn is_armour(text: &str) -> bool {
    let is_bytes = text.chars().any(|char| char.is_control() && !char.is_whitespace() || char == '\u{fffd}');
    text.starts_with("-----BEGIN ") || is_bytes || is_numbered(text) || is_envelope(text) || is_in_parts(text)
}

/// `v1:…` and the like.
fn is_numbered(text: &str) -> bool {
    let number = text.strip_prefix(['v', 'V']).and_then(|rest| rest.split_once([':', '$']));
    number.is_some_and(|(number, rest)| {
        !rest.is_empty() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// A JSON object with a nonce and what goes with it.
fn is_envelope(text: &str) -> bool {
    let has = |names: &[&str]| names.iter().any(|name| text.contains(&format!("\"{name}\"")));
    text.starts_with('{')
        && has(&["iv", "nonce", "tag", "authTag"])
        && has(&["ct", "data", "content", "ciphertext", "encrypted", "encryptedData"])
}

/// Hex or base64 with colons or dots between: a nonce, a tag, a ciphertext.
fn is_in_parts(text: &str) -> bool {
    let is_part =
        |part: &str| part.len() >= SHORTEST_CODE && (bytes_of_hex(part).is_some() || is_mixed(part));
    let parts = |mark: char| text.contains(mark) && text.split(mark).all(is_part);
    parts(':') || parts('.')
}

/// What base64 or hex decodes to. `None` for text that is neither.
fn of_code(text: &str) -> Option<TextClass> {
    let (hex, is_escaped) = match text.strip_prefix("\\x") {
        Some(hex) => (hex, true),
        None => (text, false),
    };
    if let Some(bytes) = bytes_of_hex(hex).filter(|_| is_escaped || hex.len() >= SHORTEST_CODE) {
        let is_long = is_escaped || bytes.len() >= SHORTEST_CIPHERTEXT;
        return of_bytes(&bytes).or_else(|| is_long.then_some(TextClass::Ciphertext));
    }
    if text.len() < SHORTEST_CODE {
        return None;
    }
    let text: Zeroizing<String> = Zeroizing::new(text.split_ascii_whitespace().collect());
    let bytes = CODES.iter().find_map(|code| code.decode(text.as_bytes()).ok()).map(Zeroizing::new)?;
    let is_long = bytes.len() >= SHORTEST_CIPHERTEXT && text.len().is_multiple_of(4);
    of_bytes(&bytes).or_else(|| (is_long && is_mixed(&text)).then_some(TextClass::Ciphertext))
}

/// `None` for bytes that are not text.
fn of_bytes(bytes: &[u8]) -> Option<TextClass> {
    let text = str::from_utf8(bytes).ok()?;
    let printable = |char: char| !char.is_control() || char.is_whitespace();
    (!text.is_empty() && text.chars().all(printable)).then_some(TextClass::Encoded)
}

fn bytes_of_hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8);
    let even = !text.is_empty() && text.len().is_multiple_of(2);
    even.then(|| text.as_bytes().chunks_exact(2).map(pair).collect::<Option<Vec<_>>>())?.map(Zeroizing::new)
}

/// Base64 of random bytes: upper-case letters, lower-case letters, and digits or signs, with no other characters.
fn is_mixed(text: &str) -> bool {
    let has = |test: fn(&u8) -> bool| text.as_bytes().iter().any(test);
    let sign = |byte: u8| matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || sign(byte))
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'/' | b'='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    #[test]
    fn what_people_keep_in_such_columns_is_told_apart() {
        let random: Vec<u8> = (0..48u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let cases: Vec<(String, TextClass)> = vec![
            (String::new(), TextClass::Empty),
            ("  ".into(), TextClass::Plaintext),
            ("key_test_0123456789abcdef".into(), TextClass::Plaintext),
            ("agent_test_oncall".into(), TextClass::Plaintext),
            ("hunter2".into(), TextClass::Plaintext),
            ("MySecretPassphrase".into(), TextClass::Plaintext),
            ("Ünïcode secret".into(), TextClass::Plaintext),
            (STANDARD.encode("key_test_abc"), TextClass::Encoded),
            (URL_SAFE_NO_PAD.encode("key_test_abcd"), TextClass::Encoded),
            ("6b65795f746573745f61626364".into(), TextClass::Encoded),
            ("\\x6b65795f74657374".into(), TextClass::Encoded),
            (STANDARD.encode(&random), TextClass::Ciphertext),
            (hex.clone(), TextClass::Ciphertext),
            (format!("\\x{hex}"), TextClass::Ciphertext),
            (format!("{}:{hex}", &hex[..32]), TextClass::Ciphertext),
            ("-----BEGIN PGP MESSAGE-----\n\nabc\n-----END PGP MESSAGE-----".into(), TextClass::Ciphertext),
            ("v1:abcdef".into(), TextClass::Ciphertext),
            (r#"{"iv":"00","data":"11"}"#.into(), TextClass::Ciphertext),
            ("rv1.".into(), TextClass::Malformed),
            ("rv1.0123abcd.00000000000000ff.api_key.".into(), TextClass::Malformed),
            ("rv2.0123abcd.anything-at-all".into(), TextClass::Tokens),
        ];
        for (text, class) in cases {
            assert_eq!(classify(&text), class, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}|rv[0-9]\\.[ -~]{0,40}|[A-Za-z0-9+/=_:.\\\\x-]{0,80}|[\\x00-\\x7fä€]{0,40}") {
            classify(&text);
        }

        #[test]
        fn printable_text_in_base64_is_no_encryption(text in "[ -~]{8,40}") {
            prop_assume!(!text.trim().is_empty());
            let class = classify(&STANDARD.encode(&text));
            prop_assert!(matches!(class, TextClass::Encoded), "{class:?}");
        }
    }
}
