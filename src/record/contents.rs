//! The content of the record token: which fields belong to a record, and the digests of its plain values.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::record::field::{Field, Fields, MAX_FIELDS};
use crate::record::values::Values;

/// The first 16 bytes of SHA-256 of a plain field's JSON text.
type Digest = [u8; 16];
/// The length of a digest in base64.
const DIGITS: usize = 22;

/// The plaintext of a record token. One without any field is a tombstone: the record was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The secret fields that are set, in byte order.
    pub(crate) secret: Vec<Field>,
    /// The plain fields that are set, in byte order, wherever their values are.
    plain: Vec<(Field, Digest)>,
}

impl Contents {
    pub(crate) fn of(values: &Values, fields: &Fields) -> Self {
        let mut contents = Self::default();
        for (field, json) in values.iter() {
            match fields.is_plain(field) {
                true => contents.plain.push((field, digest(json))),
                false => contents.secret.push(field),
            }
        }
        contents
    }

    /// The contents of this record once it holds `values`. For plain fields that are not `changed` it still vouches for
    /// what it did before, including those that only a newer program knows.
    pub(crate) fn changed(&self, values: &Values, fields: &Fields, changed: &[Field]) -> Self {
        let mut contents = Self::default();
        for (field, json) in values.iter() {
            let before = self.plain.iter().find(|(listed, _)| *listed == field);
            match before.filter(|_| !changed.contains(&field)) {
                Some(before) => contents.plain.push(*before),
                None if before.is_some() || fields.is_plain(field) => {
                    contents.plain.push((field, digest(json)));
                }
                None => contents.secret.push(field),
            }
        }
        let elsewhere =
            self.plain.iter().filter(|(field, _)| !fields.knows(*field) && !contents.lists(*field));
        let elsewhere: Vec<_> = elsewhere.copied().collect();
        contents.plain.extend(elsewhere);
        contents.plain.sort_by_key(|(field, _)| *field);
        contents
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.secret.is_empty() && self.plain.is_empty()
    }

    pub(crate) fn plain(&self) -> impl Iterator<Item = Field> {
        self.plain.iter().map(|(field, _)| *field)
    }

    /// All fields that belong to the record.
    pub(crate) fn fields(&self) -> impl Iterator<Item = Field> {
        self.secret.iter().copied().chain(self.plain())
    }

    /// Whether a field belongs to the record.
    pub(crate) fn lists(&self, field: Field) -> bool {
        self.fields().any(|listed| listed == field)
    }

    /// Whether the record was stored with this value of a plain field.
    pub(crate) fn vouches_for(&self, field: Field, json: &str) -> bool {
        self.plain.contains(&(field, digest(json)))
    }

    /// Compact JSON: the only text for these contents.
    pub(crate) fn print(&self) -> String {
        // quotes, a comma and, of a plain field, its digest
        let room = self.secret.len() * 32 + self.plain.len() * 64;
        let mut text = String::with_capacity(START.len() + MIDDLE.len() + END.len() + room);
        text.push_str(START);
        for (at, field) in self.secret.iter().enumerate() {
            text.push_str(if at > 0 { ",\"" } else { "\"" });
            text.push_str(field.name());
            text.push('"');
        }
        text.push_str(MIDDLE);
        for (at, (field, digest)) in self.plain.iter().enumerate() {
            text.push_str(if at > 0 { ",\"" } else { "\"" });
            text.push_str(field.name());
            text.push_str("\":\"");
            URL_SAFE_NO_PAD.encode_string(digest, &mut text);
            text.push('"');
        }
        text.push_str(END);
        text
    }

    /// # Errors
    /// `Malformed` for anything but the one text that [`print`](Self::print) produces.
    pub(crate) fn parse(json: &str) -> Result<Self> {
        let contents = Self::read(json).filter(|contents| {
            let in_order = contents.secret.is_sorted_by(|one, next| one < next)
                && contents.plain.is_sorted_by(|one, next| one.0 < next.0);
            let apart = contents.plain().all(|field| !contents.secret.contains(&field));
            in_order && apart && contents.fields().count() <= MAX_FIELDS
        });
        contents
            .ok_or_else(|| Error::new(ErrorKind::Malformed, "the record token's contents are not canonical"))
    }

    /// Names hold no character that JSON escapes, so every part is at the expected position, or the text is another one.
    fn read(json: &str) -> Option<Self> {
        let lists = json.strip_prefix(START)?.strip_suffix(END)?.as_bytes();
        let (secret, plain) = lists.split_at(lists.iter().position(|byte| *byte == b']')?);
        let plain = plain.strip_prefix(MIDDLE.as_bytes())?;
        let name = |text: &[u8]| Field::parse(text).filter(|field| !field.is_record());
        let plain = items(plain).map(|item| {
            let (field, digits) = quoted(item)?.split_last_chunk::<DIGITS>()?;
            let mut digest = Digest::default();
            URL_SAFE_NO_PAD.decode_slice(digits, &mut digest).ok()?;
            Some((name(field.strip_suffix(b"\":\"")?)?, digest))
        });
        Some(Self {
            secret: items(secret).map(|item| name(quoted(item)?)).collect::<Option<_>>()?,
            plain: plain.collect::<Option<_>>()?,
        })
    }
}

const START: &str = r#"{"fields":["#;
const MIDDLE: &str = r#"],"plain":{"#;
const END: &str = "}}";

/// The part between commas.
fn items(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').filter(move |_| !list.is_empty())
}

fn quoted(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

fn digest(json: &str) -> Digest {
    *Sha256::digest(json).first_chunk().expect("32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_text_for_the_contents_of_a_record() {
        let good =
            r#"{"fields":["a","b"],"plain":{"c":"AAAAAAAAAAAAAAAAAAAAAA","d":"_____________________w"}}"#;
        let contents = Contents::parse(good).unwrap();
        assert_eq!(contents.print(), good);
        assert!(contents.lists(Field::named("d")) && !contents.lists(Field::named("e")));
        assert!(Contents::parse(r#"{"fields":[],"plain":{}}"#).unwrap().is_tombstone());
        let digest = r#""AAAAAAAAAAAAAAAAAAAAAA""#;
        let many: Vec<_> = (100..165).map(|n| format!("\"f{n}\"")).collect();
        let bad = [
            "".to_owned(),
            "null".to_owned(),
            "{}".to_owned(),
            r#"{"fields":[]}"#.to_owned(),
            r#"{"plain":{},"fields":[]}"#.to_owned(),
            r#"{"fields":[],"plain":{},"more":1}"#.to_owned(),
            r#"{"fields":[],"plain":{}} "#.to_owned(),
            r#"{"fields": [],"plain":{}}"#.to_owned(),
            r#"{"fields":["b","a"],"plain":{}}"#.to_owned(),
            r#"{"fields":["a","a"],"plain":{}}"#.to_owned(),
            r#"{"fields":["record"],"plain":{}}"#.to_owned(),
            r#"{"fields":["A"],"plain":{}}"#.to_owned(),
            r#"{"fields":["\u0061"],"plain":{}}"#.to_owned(),
            format!(r#"{{"fields":["a"],"plain":{{"a":{digest}}}}}"#),
            format!(r#"{{"fields":[],"plain":{{"b":{digest},"a":{digest}}}}}"#),
            format!(r#"{{"fields":[],"plain":{{"a":{digest},"a":{digest}}}}}"#),
            r#"{"fields":[],"plain":{"a":"AAAA"}}"#.to_owned(),
            r#"{"fields":[],"plain":{"a":"AAAAAAAAAAAAAAAAAAAAAB"}}"#.to_owned(),
            r#"{"fields":[],"plain":{"a":null}}"#.to_owned(),
            format!(r#"{{"fields":[{}],"plain":{{}}}}"#, many.join(",")),
        ];
        for bad in bad {
            assert_eq!(Contents::parse(&bad).unwrap_err().kind(), ErrorKind::Malformed, "{bad}");
        }
    }
}
