//! The text form of one sealed field: parse and print. `docs/FORMAT.md` has the byte table.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Error, ErrorKind, Result};
use crate::record::field::Field;
use crate::record::padding::{PADDING, padded_len};
use crate::record::version::{Version, hex_value};

pub(crate) const SALT: usize = 32;
pub(crate) const COMMITMENT: usize = 32;
pub(crate) const NONCE: usize = 12;
pub(crate) const TAG: usize = 16;
/// What a body holds besides the ciphertext.
pub(crate) const OVERHEAD: usize = SALT + COMMITMENT + NONCE + TAG;

pub(crate) const SUITE: &str = "rv1";
/// The length of a suite and a key id with their dots.
pub(crate) const START_LEN: usize = SUITE.len() + 1 + 8 + 1;
/// Where the version stands, counted from 1 as SQL does, and its length.
pub(crate) const VERSION_AT: usize = START_LEN + 1;
pub(crate) const VERSION_LEN: usize = 16;
/// The length of everything before the field, with its dot: what all tokens of a record start with.
pub(crate) const HEAD_LEN: usize = START_LEN + VERSION_LEN + 1;
/// The longest token accepted, in bytes. The longest field of Retell takes about 9,000.
pub(crate) const MAX_TOKEN: usize = 16 * 1024;
/// The longest slot accepted, in bytes: a whole record.
pub(crate) const MAX_SLOT: usize = 256 * 1024;

/// The id of a root key: random, unique in its keyring, never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(crate) u32);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let id = hex_value(text, 8).and_then(|id| u32::try_from(id).ok());
        id.map(Self).ok_or_else(|| malformed("a key id must be 8 lower-case hex digits"))
    }
}

/// One sealed field. A token that exists is well formed, but it may still not open.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) key: KeyId,
    pub(crate) version: Version,
    pub(crate) field: Field,
    /// salt, commitment, nonce, ciphertext, tag
    pub(crate) body: Vec<u8>,
}

/// The fixed parts and dots take 31 bytes, the longest name of a field 40.
pub(crate) const MAX_HEAD: usize = 71;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Up to `N` bytes. More is a mistake of the caller, and panics.
#[derive(Clone)]
pub(crate) struct Stack<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Stack<N> {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    #[inline(always)] // lengths that are known then need no call of memcpy
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

impl<const N: usize> Deref for Stack<N> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Everything before the body of a token.
pub(crate) fn head(key: KeyId, version: Version, field: Field) -> Stack<MAX_HEAD> {
    let mut head = head_of_record(key, version);
    push_field(&mut head, field);
    head
}

/// Everything before the field, which is the same in all tokens of a record.
pub(crate) fn head_of_record(key: KeyId, version: Version) -> Stack<MAX_HEAD> {
    let mut head = Stack::new();
    head.push(SUITE.as_bytes());
    head.push(b".");
    push_hex(&mut head, &key.0.to_be_bytes());
    head.push(b".");
    push_hex(&mut head, &version.to_bytes());
    head.push(b".");
    head
}

pub(crate) fn push_field(head: &mut Stack<MAX_HEAD>, field: Field) {
    head.push(field.name().as_bytes());
    head.push(b".");
}

fn push_hex(head: &mut Stack<MAX_HEAD>, bytes: &[u8]) {
    for byte in bytes {
        head.push(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// The length in bytes of a token whose JSON text is `json` bytes long.
pub(crate) fn token_len(field: Field, json: usize) -> usize {
    text_len(field, OVERHEAD + padded_len(json))
}

fn text_len(field: Field, body: usize) -> usize {
    SUITE.len() + 1 + 8 + 1 + 16 + 1 + field.name().len() + 1 + (body * 4).div_ceil(3)
}

/// Whether text claims to be a token, of this version or a later one.
pub(crate) fn claims_to_be_token(text: &str) -> bool {
    matches!(text.as_bytes(), [b'r', b'v', b'1'..=b'9', b'.', ..])
}

/// How every token under a key starts.
pub(crate) fn start_under(key: KeyId) -> String {
    format!("{SUITE}.{key}.")
}

/// The key named by a text that starts like a token of this version or a later one, whatever else is wrong with it.
pub(crate) fn named_key(text: &[u8]) -> Option<KeyId> {
    match text {
        [b'r', b'v', b'1'..=b'9', b'.', rest @ ..] if rest.get(8) == Some(&b'.') => {
            str::from_utf8(&rest[..8]).ok()?.parse().ok()
        }
        _ => None,
    }
}

fn malformed(message: &str) -> Error {
    Error::new(ErrorKind::Malformed, message)
}

impl FromStr for Token {
    type Err = Error;

    /// # Errors
    /// `Malformed`. Lengths are checked before any other work, and only canonical base64 is accepted, so every token has
    /// exactly one text.
    fn from_str(text: &str) -> Result<Self> {
        if text.len() > MAX_TOKEN {
            return Err(malformed("the token is longer than 16 KiB"));
        }
        let mut rest = text;
        let suite = next_part(&mut rest);
        if suite != SUITE {
            return Err(other_suite(suite));
        }
        let key = next_part(&mut rest).parse()?;
        let version = next_part(&mut rest).parse().map_err(|error: Error| malformed(&error.to_string()))?;
        let field = Field::parse(next_part(&mut rest).as_bytes());
        let field = field.ok_or_else(|| malformed("the token's field name is not valid"))?;
        Ok(Self { key, version, field, body: decode_body(rest)? })
    }
}

/// The part before the next dot, or all of it. `rest` is then the part after it.
fn next_part<'a>(rest: &mut &'a str) -> &'a str {
    // the parts are short: a plain loop finds the dot sooner than a search does
    let dot = rest.bytes().position(|byte| byte == b'.').unwrap_or(rest.len());
    let part = &rest[..dot];
    *rest = rest.get(dot + 1..).unwrap_or_default();
    part
}

fn other_suite(suite: &str) -> Error {
    match suite.len() == SUITE.len() && claims_to_be_token(&format!("{suite}.")) {
        true => Error::new(
            ErrorKind::UnsupportedFormat,
            format!("the token has format {suite}, which this version does not know"),
        ),
        false => malformed("the text does not start like a token"),
    }
}

fn decode_body(text: &str) -> Result<Vec<u8>> {
    // the engine refuses padding, other alphabets and non-zero trailing bits
    let body =
        URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed("the token's body is not canonical base64url"))?;
    let ciphertext = body.len().checked_sub(OVERHEAD).filter(|length| *length > 0);
    match ciphertext {
        Some(length) if length % PADDING == 0 => Ok(body),
        _ => Err(malformed("the token's body has an invalid length")),
    }
}

impl Token {
    /// Adds its text to another one.
    pub(crate) fn print_to(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(&head(self.key, self.version, self.field));
        let start = text.len();
        text.resize(start + (self.body.len() * 4).div_ceil(3), 0);
        URL_SAFE_NO_PAD.encode_slice(&self.body, &mut text[start..]).expect("there is room for its digits");
    }

    /// How long its text is.
    pub(crate) fn len(&self) -> usize {
        text_len(self.field, self.body.len())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(self.len());
        self.print_to(&mut text);
        f.write_str(&ascii(text))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({SUITE}.{}.{}.{}.…)", self.key, self.version, self.field)
    }
}

/// Tokens as a text slot holds them: one space between them.
pub(crate) fn print_packed<'a>(tokens: impl Iterator<Item = &'a Token> + Clone) -> String {
    let mut text = Vec::with_capacity(tokens.clone().map(|token| token.len() + 1).sum());
    for token in tokens {
        if !text.is_empty() {
            text.push(b' ');
        }
        token.print_to(&mut text);
    }
    ascii(text)
}

/// Tokens as the vault's member of the JSONB column holds them: field name -> token. Neither names nor tokens hold anything
/// that JSON escapes.
pub(crate) fn print_object<'a>(tokens: impl Iterator<Item = &'a Token> + Clone) -> String {
    let mut text = Vec::with_capacity(tokens.clone().map(|token| token.len() + 32).sum());
    for token in tokens {
        text.extend_from_slice(if text.is_empty() { b"{\"" } else { b",\"" });
        text.extend_from_slice(token.field.name().as_bytes());
        text.extend_from_slice(b"\":\"");
        token.print_to(&mut text);
        text.push(b'"');
    }
    text.extend_from_slice(if text.is_empty() { b"{}" } else { b"}" });
    ascii(text)
}

fn ascii(text: Vec<u8>) -> String {
    String::from_utf8(text).expect("tokens are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token() -> Token {
        let body = (0..OVERHEAD + PADDING).map(|n| n as u8).collect();
        Token {
            key: KeyId(0xab),
            version: "00000000000000ff".parse().unwrap(),
            field: Field::named("api_key"),
            body,
        }
    }

    #[test]
    fn print_and_parse_are_inverse() {
        let text = token().to_string();
        assert!(text.starts_with("rv1.000000ab.00000000000000ff.api_key."));
        assert_eq!(text.parse::<Token>().unwrap(), token());
        assert_eq!(text.len(), token_len(Field::named("api_key"), 64));
    }

    #[test]
    fn a_damaged_piece_names_its_key_and_nothing_else_does() {
        for names in ["rv1.000000ab.", "rv9.000000ab.junk", "rv1.000000ab.00000000000000ff.api_key.AA\u{e9}"]
        {
            assert_eq!(named_key(names.as_bytes()), Some(KeyId(0xab)), "{names}");
        }
        let not = ["", "rv1.000000ab", "rv0.000000ab.", "rv1.000000AB.x", "rv1.0000000ab.x", "rv1.+00000ab."];
        for not in not.into_iter().chain(["xrv1.000000ab.", "rv1.0000 0ab.", "rv1.\u{e9}00000ab."]) {
            assert_eq!(named_key(not.as_bytes()), None, "{not}");
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        let text = token().to_string();
        for end in 0..text.len() {
            assert!(text[..end].parse::<Token>().is_err(), "{end}");
        }
    }

    #[test]
    fn white_space_case_padding_and_other_alphabets_are_refused() {
        let text = token().to_string();
        let upper = text.replace("000000ab", "000000AB");
        let bad = [
            format!(" {text}"),
            format!("{text} "),
            format!("{text}\n"),
            format!("{text}="),
            format!("{text}AAAA"),
            format!("{text}\0"),
            upper,
            text.replacen("rv1", "rv2", 1),
            text.replace("api_key", "API_KEY"),
            text.replace("api_key", "9_key"),
            text.replace("api_key", &"x".repeat(41)),
            text.replace("api_key", ""),
            text.replace("AAEC", "AA+C"),
            "x".repeat(1 << 20),
        ];
        for bad in bad {
            let kind = bad.parse::<Token>().unwrap_err().kind();
            let expected =
                if bad.starts_with("rv2") { ErrorKind::UnsupportedFormat } else { ErrorKind::Malformed };
            assert_eq!(kind, expected);
        }
    }

    #[test]
    fn unused_trailing_bits_must_be_zero() {
        let mut token = token();
        token.body.extend_from_slice(&[0; PADDING]); // 220 bytes: the last digit has unused bits
        let text = token.to_string();
        assert!(text.parse::<Token>().is_ok());
        let (start, last) = text.split_at(text.len() - 1);
        let next = (last.as_bytes()[0] + 1) as char;
        assert!(format!("{start}{next}").parse::<Token>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back_the_same(text in "rv1\\.[0-9a-f]{7,9}\\.[0-9a-f]{15,17}\\.(api_key|record|[a-z][a-z0-9_]{0,45})\\.[A-Za-z0-9_-]{0,300}") {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert_eq!(token.to_string(), text);
            }
        }
    }
}
