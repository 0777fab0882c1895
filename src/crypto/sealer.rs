//! Values <-> `Record`: the only file where plaintext and ciphertext of credentials meet.

use std::collections::BTreeMap;

use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::crypto::aead::{RecordKey, RootSecret, Scope, open as open_token};
use crate::error::{Error, ErrorKind, Result};
use crate::record::contents::Contents;
use crate::record::field::{Field, Fields, ValueKind};
use crate::record::plain::{PlainTexts, from_column, is_unset, to_column};
use crate::record::record::Record;
use crate::record::token::{KeyId, Token};
use crate::record::values::{Values, not_a_value};
use crate::record::version::Version;

/// What a record held.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Absent when the record is a tombstone: the credentials were deleted.
    pub(crate) values: Option<Values>,
    /// Plain fields whose column no longer holds what was stored. Their values are those of the column.
    pub(crate) changed_outside: Vec<Field>,
    /// Plain fields whose column holds a text that is not a valid value.
    pub(crate) ignored: Vec<Field>,
    /// Fields that a newer program stored.
    pub(crate) unknown: Vec<Field>,
    /// The mark of a record that an import stored.
    pub(crate) imported_from: Option<Zeroizing<String>>,
}

/// Seals values under a key, the primary one. Without values the result is a tombstone.
///
/// The plain fields in `in_the_clear` get no token: they go into their own columns.
pub(crate) fn seal(
    (values, contents): (&Values, &Contents),
    scope: Scope<'_>,
    version: Version,
    (fields, in_the_clear): (&Fields, &[Field]),
    (key, root): (KeyId, &RootSecret),
    rng: &mut impl CryptoRng,
) -> Record {
    let record_key = RecordKey::fresh(root, key, version, scope, rng);
    let contents = contents.print();
    let mut tokens = Vec::with_capacity(1 + values.fields().count());
    tokens.push(record_key.seal(Field::RECORD, contents.as_bytes(), rng));
    let sealed = values.iter().filter(|(field, _)| !in_the_clear.contains(field));
    tokens.extend(sealed.map(|(field, json)| record_key.seal(field, json.as_bytes(), rng)));
    Record::new(tokens, plain_texts(values, fields)).expect("one version, one key, every field once")
}

/// The plain values, as their own columns get them.
fn plain_texts(values: &Values, fields: &Fields) -> PlainTexts {
    let mut texts = PlainTexts::default();
    for (field, json) in values.iter() {
        if let Some(spec) = fields.spec(field).filter(|spec| !spec.is_secret) {
            texts.push(field, to_column(spec, json));
        }
    }
    texts
}

/// The same record with tokens for all plain fields that belong to it, for a place without plain columns. They are
/// sealed under the record's own key and salt. `values` are what the record was stored with, or opened as.
///
/// # Errors
/// `Unsealable`, `Malformed`, of its record token.
pub(crate) fn seal_rest(
    record: Record,
    values: &Values,
    scope: Scope<'_>,
    root: &RootSecret,
    rng: &mut impl CryptoRng,
) -> Result<Record> {
    let record_key = RecordKey::of(root, scope, record.record_token())?;
    let contents = open_contents(&record_key, record.record_token())?;
    let mut tokens = record.tokens().to_vec();
    for field in contents.plain().filter(|field| record.token(*field).is_none()) {
        // a field whose column was emptied since is no longer set, but still belongs to the record
        let json = values.get(field).unwrap_or("null");
        tokens.push(record_key.seal(field, json.as_bytes(), rng));
    }
    Record::new(tokens, record.plain)
}

/// A record with its plain fields read out of their tokens, for a place that has plain columns.
///
/// # Errors
/// As [`open`].
pub(crate) fn with_plain_texts(
    mut record: Record,
    scope: Scope<'_>,
    root: &RootSecret,
    fields: &Fields,
) -> Result<Record> {
    let opened = open(&record, scope, root, fields)?;
    record.plain = plain_texts(&opened.values.unwrap_or_default(), fields);
    Ok(record)
}

/// Opens a record: every token, under the key that the record names.
///
/// # Errors
/// `Unsealable`; `Incomplete`, naming a field that belongs to it and is missing; `Malformed` for a field that does not
/// belong to it, and for a plain column that cannot be read.
pub(crate) fn open(record: &Record, scope: Scope<'_>, root: &RootSecret, fields: &Fields) -> Result<Opened> {
    let mut keys = RecordKeys { root, scope, derived: None };
    let contents = open_contents(keys.of(record.record_token())?, record.record_token())?;
    refuse_strangers(record.tokens(), &contents)?;
    let mut opened = Opened {
        values: None,
        changed_outside: Vec::new(),
        ignored: Vec::new(),
        unknown: Vec::new(),
        imported_from: None,
    };
    let mut values = Values::new();
    for field in &contents.secret {
        match record.token(*field) {
            Some(token) => values.put(*field, Some(keys.open_text(token)?)),
            None if fields.knows(*field) => return Err(lacks(record.version, *field)),
            None => {}
        }
    }
    for field in contents.plain() {
        let (json, column) = match (record.token(field), fields.spec(field), record.plain.column(field)) {
            (Some(token), _, _) => (keys.open_plain(token)?, None),
            (None, Some(spec), Some(text)) => {
                (text.map(|text| from_column(field, spec, text)).transpose()?, Some(spec))
            }
            (None, Some(_), None) => {
                let hint = "its column was removed, or the layout no longer names it: restore that, or store the configuration again";
                return Err(lacks(record.version, field).with_hint(hint));
            }
            (None, None, _) => continue,
        };
        let is_vouched = json.as_ref().is_some_and(|json| contents.vouches_for(field, json));
        if !is_vouched {
            opened.changed_outside.push(field);
        }
        // the text that means "not set" in a column is a value only if it was stored
        values.put(field, json.filter(|json| is_vouched || !column.is_some_and(|spec| is_unset(spec, json))));
    }
    opened.unknown =
        contents.fields().filter(|field| !field.is_reserved() && !fields.knows(*field)).collect();
    // not a value of the credentials: a change of the record drops it
    opened.imported_from = values.take_text(Field::IMPORTED_FROM)?;
    if contents.is_tombstone() {
        return Ok(opened);
    }
    add_unlisted(&mut values, &mut opened, record, &contents, fields)?;
    opened.values = Some(values);
    Ok(opened)
}

/// Plain columns that another program filled: their values count, and are named. Texts that are not valid values do not
/// count.
fn add_unlisted(
    values: &mut Values,
    opened: &mut Opened,
    record: &Record,
    contents: &Contents,
    fields: &Fields,
) -> Result<()> {
    for (field, text) in record.plain.iter() {
        let (Some(spec), Some(text)) = (fields.spec(field), text) else { continue };
        if !contents.lists(field) {
            let json = Some(from_column(field, spec, text)?).filter(|json| !is_unset(spec, json));
            opened.changed_outside.extend(json.is_some().then_some(field));
            values.put(field, json);
        }
        // an object that the record vouches for was checked when it was stored; a word may be a newer program's
        let is_checked = spec.kind == ValueKind::Object && !opened.changed_outside.contains(&field);
        let is_invalid = |json: &str| !is_checked && !(spec.is_valid)(json);
        if record.token(field).is_none() && values.get(field).is_some_and(is_invalid) {
            values.put(field, None);
            opened.ignored.push(field);
        }
    }
    Ok(())
}

/// Opens the record token only: what belongs to the record.
///
/// # Errors
/// `Unsealable`, `Malformed`.
pub(crate) fn contents(record: &Record, scope: Scope<'_>, root: &RootSecret) -> Result<Contents> {
    open_contents(&RecordKey::of(root, scope, record.record_token())?, record.record_token())
}

/// The texts of plain columns that hold what the record was stored with. The others belong to the application, even if the
/// record has a token for the field, or another column cannot be read.
pub(crate) fn vouched(contents: &Contents, record: &Record, fields: &Fields) -> PlainTexts {
    let mut vouched = PlainTexts::default();
    for (field, text) in record.plain.iter() {
        let (Some(spec), Some(text)) = (fields.spec(field), text) else { continue };
        if from_column(field, spec, text).is_ok_and(|json| contents.vouches_for(field, &json)) {
            vouched.push(field, Some(text.to_owned()));
        }
    }
    vouched
}

fn open_contents(key: &RecordKey, token: &Token) -> Result<Contents> {
    let json = text_of(token.field, key.open(token)?)?;
    Contents::parse(&json)
}

fn refuse_strangers(tokens: &[Token], contents: &Contents) -> Result<()> {
    let belongs = |token: &&Token| token.field.is_record() || contents.lists(token.field);
    match tokens.iter().find(|token| !belongs(token)) {
        None => Ok(()),
        Some(stranger) => Err(malformed(format!(
            "the record of version {} holds a token of {}, which does not belong to it",
            stranger.version, stranger.field
        ))),
    }
}

/// The keys of the tokens of one record: one, unless it was put together from several sealings.
struct RecordKeys<'a> {
    root: &'a RootSecret,
    scope: Scope<'a>,
    derived: Option<RecordKey>,
}

impl RecordKeys<'_> {
    fn of(&mut self, token: &Token) -> Result<&RecordKey> {
        if !self.derived.as_ref().is_some_and(|key| key.is_of(token)) {
            self.derived = Some(RecordKey::of(self.root, self.scope, token)?);
        }
        Ok(self.derived.as_ref().expect("derived just now"))
    }

    fn open_text(&mut self, token: &Token) -> Result<Zeroizing<String>> {
        text_of(token.field, self.of(token)?.open(token)?)
    }

    /// `None`: the column was empty when the token was made.
    fn open_plain(&mut self, token: &Token) -> Result<Option<Zeroizing<String>>> {
        Ok(Some(self.open_text(token)?).filter(|json| json.as_str() != "null"))
    }
}

/// The JSON text without its padding, in the buffer that it came in.
fn text_of(field: Field, mut json: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>> {
    let length = json.trim_ascii_end().len();
    json.truncate(length);
    String::from_utf8(std::mem::take(&mut *json)).map(Zeroizing::new).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        not_a_value(field)
    })
}

/// The same tokens under the primary key, each with its version, field and length, in the same order. Tokens that are under
/// it already come back unopened. The tokens of a version share a key again.
///
/// # Errors
/// `Malformed` if the tokens of one version name several keys or hold a field twice: a mixture that is refused must not
/// become a record by being re-encrypted. `Unsealable` of the first token that does not open, and the error of `opener` for
/// its key. Nothing is returned then.
pub(crate) fn reencrypt<'k>(
    tokens: &[Token],
    scope: Scope<'_>,
    (primary, root): (KeyId, &RootSecret),
    opener: impl Fn(KeyId) -> Result<&'k RootSecret>,
    rng: &mut impl CryptoRng,
) -> Result<Vec<Token>> {
    refuse_mixtures(tokens)?;
    let mut new_keys: BTreeMap<Version, RecordKey> = BTreeMap::new();
    let mut old_keys: BTreeMap<Version, RecordKeys<'_>> = BTreeMap::new();
    let mut reencrypted = Vec::with_capacity(tokens.len());
    for token in tokens {
        if token.key == primary {
            reencrypted.push(token.clone());
            continue;
        }
        let version = token.version;
        let root_of_old = opener(token.key)?;
        let old = old_keys.entry(version).or_insert(RecordKeys { root: root_of_old, scope, derived: None });
        let json = old.of(token)?.open(token)?;
        let new =
            new_keys.entry(version).or_insert_with(|| RecordKey::fresh(root, primary, version, scope, rng));
        reencrypted.push(new.seal(token.field, &json, rng));
    }
    Ok(reencrypted)
}

/// As [`reencrypt`], for the tokens of one record, which must be complete: a token left under the old key would no longer
/// belong to it.
///
/// # Errors
/// As [`reencrypt`]; `Incomplete`, naming a secret field whose token is not among them: it is missing, or is in a column
/// that this process does not know.
pub(crate) fn reencrypt_whole<'k>(
    tokens: &[Token],
    scope: Scope<'_>,
    (primary, root): (KeyId, &RootSecret),
    opener: impl Fn(KeyId) -> Result<&'k RootSecret>,
    rng: &mut impl CryptoRng,
) -> Result<Vec<Token>> {
    let Some(token) = tokens.iter().find(|token| token.field.is_record()) else {
        return reencrypt(tokens, scope, (primary, root), opener, rng);
    };
    let (version, key) = Record::check(tokens)?;
    let mut old = RecordKeys { root: opener(key)?, scope, derived: None };
    refuse_parts(tokens, &open_contents(old.of(token)?, token)?, |_| false)?;
    if key == primary {
        return Ok(tokens.to_vec());
    }
    let new = RecordKey::fresh(root, primary, version, scope, rng);
    tokens.iter().map(|token| Ok(new.seal(token.field, &old.of(token)?.open(token)?, rng))).collect()
}

/// Whether every secret field of a record has its token here, except those that it `may_lack`, and there is no other token.
///
/// # Errors
/// `Incomplete`, naming the field; `Malformed`; `Unsealable` of the record token.
pub(crate) fn check_whole(
    record: &Record,
    scope: Scope<'_>,
    root: &RootSecret,
    may_lack: impl Fn(Field) -> bool,
) -> Result<()> {
    refuse_parts(record.tokens(), &contents(record, scope, root)?, may_lack)
}

fn refuse_parts(tokens: &[Token], contents: &Contents, may_lack: impl Fn(Field) -> bool) -> Result<()> {
    refuse_strangers(tokens, contents)?;
    let is_there = |field: Field| tokens.iter().any(|token| token.field == field);
    match contents.secret.iter().find(|field| !is_there(**field) && !may_lack(**field)) {
        None => Ok(()),
        Some(field) => Err(lacks(tokens[0].version, *field)
            .with_hint("its token was removed, or is in a column that this version does not know: upgrade")),
    }
}

/// Opens every token of a record, reads no column, and gives each value to `each` as JSON. Returns what belongs to the record.
///
/// # Errors
/// As [`check_whole`], and of the first token that does not open. A field that is not known may be missing.
pub(crate) fn verify(
    record: &Record,
    scope: Scope<'_>,
    root: &RootSecret,
    fields: &Fields,
    mut each: impl FnMut(Field, &str),
) -> Result<Contents> {
    let mut keys = RecordKeys { root, scope, derived: None };
    let contents = open_contents(keys.of(record.record_token())?, record.record_token())?;
    refuse_parts(record.tokens(), &contents, |field| !fields.knows(field))?;
    let mut others = record.tokens().iter().filter(|token| !token.field.is_record());
    others.try_for_each(|token| keys.open_text(token).map(|json| each(token.field, &json)))?;
    Ok(contents)
}

/// Whether a token opens by itself, whatever it belongs to.
pub(crate) fn opens(token: &Token, scope: Scope<'_>, root: &RootSecret) -> bool {
    open_token(root, scope, token).is_ok()
}

fn refuse_mixtures(tokens: &[Token]) -> Result<()> {
    let mut keys: BTreeMap<Version, KeyId> = BTreeMap::new();
    for (at, token) in tokens.iter().enumerate() {
        let (version, field) = (token.version, token.field);
        if *keys.entry(version).or_insert(token.key) != token.key {
            return Err(malformed(format!("the record of version {version} mixes keys")));
        }
        if tokens[..at].iter().any(|before| (before.version, before.field) == (version, field)) {
            return Err(malformed(format!("the record of version {version} holds {field} twice")));
        }
    }
    Ok(())
}

fn lacks(version: Version, field: Field) -> Error {
    Error::new(ErrorKind::Incomplete, format!("the record of version {version} lacks {field}"))
}

fn malformed(message: String) -> Error {
    Error::new(ErrorKind::Malformed, message)
}

#[cfg(test)]
#[path = "sealer_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "reencrypt_tests.rs"]
mod reencrypt_tests;

#[cfg(test)]
#[path = "tamper_tests.rs"]
mod tamper_tests;
