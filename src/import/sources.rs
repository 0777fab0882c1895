//! The sources of a layout: opens what they hold of an owner.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::import::by_field::ByField;
use crate::import::bytes;
use crate::import::carexps::Carexps;
use crate::import::fernet::Fernet;
use crate::import::members::{Members, OpenedMembers, UNREADABLE, put_opened};
use crate::import::old_value::{Decryptor, OpenedValue, Opening, Refused, StoredForm, StoredValue};
use crate::import::passwords::Passwords;
use crate::import::plaintext::{Base64, Plaintext};
use crate::import::raw_gcm::RawAesGcm;
use crate::layout::layout::Layout;
use crate::layout::old_source::{Held, OldSource};
use crate::postgres::walk::old_values::OldText;
use crate::record::credentials::Credentials;
use crate::record::field::{Field, ValueKind};
use crate::record::owner::Owner;
use crate::record::token::claims_to_be_token;
use crate::record::values::Values;
use crate::retell::json::wipe;
use crate::retell::members_twice::names_twice;

/// One field of one owner in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundField {
    /// The user id.
    pub user: String,
    /// The tenant id, if the source has a column for it.
    pub tenant: Option<String>,
    /// The field. `None`: the whole value.
    pub field: Option<Field>,
    /// Table and column.
    pub place: String,
    /// `opened`, `corrupt`, `unrecoverable`, `not_a_credential`, `unknown` or `beyond_limits`; of an import also `disagreed`,
    /// `not_stored` or `not_cleared`.
    pub result: &'static str,
    /// The shape of the value.
    pub shape: &'static str,
    /// The reason, for people.
    pub reason: String,
}

/// A value of a source, opened.
pub(super) struct ExaminedText {
    pub(super) text: OldText,
    /// What opened, and is within the limits of the vault.
    pub(super) fields: ByField<OpenedValue>,
    /// Everything in it, with its result.
    pub(super) found: Vec<FoundField>,
    /// The paths of the members that opened to the value of each field.
    pub(super) paths: Vec<(Field, String)>,
    /// The paths of all members that are fields and not empty.
    pub(super) filled: Vec<(Field, String)>,
    /// Its JSON holds members beside `paths`.
    pub(super) has_others: bool,
    /// Why none of its members can be removed.
    pub(super) stuck: Option<&'static str>,
}

impl ExaminedText {
    /// Whether everything in it opened.
    pub(super) fn is_whole(&self) -> bool {
        self.found.iter().all(|found| found.result == "opened")
    }

    /// What others may know: it was only encoded, or its password is public.
    pub(super) fn exposed(&self) -> impl Iterator<Item = &FoundField> {
        let is_exposed = |field: Field| self.fields.get(field).is_some_and(|value| value.is_exposed());
        self.found.iter().filter(move |found| found.field.is_some_and(is_exposed))
    }

    /// What an import says about one of its fields.
    pub(super) fn about(&self, field: Field, result: &'static str, reason: &str) -> Option<FoundField> {
        let found = self.found.iter().find(|found| found.field == Some(field))?;
        Some(FoundField { result, reason: reason.to_owned(), ..found.clone() })
    }
}

/// # Errors
/// `InvalidInput` for an id that the vault does not take.
pub(super) fn owner_of(user: &str, tenant: Option<&str>) -> Result<Owner> {
    let owner = Owner::user(user)?;
    match tenant {
        Some(tenant) => owner.in_tenant(tenant),
        None => Ok(owner),
    }
}

struct Reader {
    source: OldSource,
    place: String,
    members: Members,
    decryptor: Arc<dyn Decryptor>,
}

/// The sources of a layout, each with what opens it.
pub(super) struct Sources<C> {
    pub(super) layout: Layout,
    readers: Vec<Reader>,
    credentials: PhantomData<fn() -> C>,
}

impl<C: Credentials> Sources<C> {
    /// # Errors
    /// `Configuration` if the layout has no source; `InvalidInput` if a source needs a key and none of the texts is one.
    pub(super) fn new(layout: &Layout, passwords: &Passwords) -> Result<Self> {
        if layout.sources.is_empty() {
            let error = Error::new(ErrorKind::Configuration, "the layout names no source to import from");
            return Err(error.with_hint("add [[source]] parts to the layout file, as docs/LAYOUT.md shows"));
        }
        let mut decryptors: BTreeMap<&str, Arc<dyn Decryptor>> = BTreeMap::new();
        let mut readers = Vec::with_capacity(layout.sources.len());
        for source in &layout.sources {
            // one of each kind, so that a key is derived once for all sources
            let decryptor = match decryptors.get(source.decryptor) {
                Some(made) => made.clone(),
                None => decryptor(source.decryptor, passwords)?,
            };
            decryptors.insert(source.decryptor, decryptor.clone());
            let members = match &source.held {
                Held::Members(paths) => {
                    let paths: Vec<_> = paths.iter().map(|(path, field)| (path.as_str(), *field)).collect();
                    Members::only(layout, &paths)?
                }
                _ => Members::of(layout),
            };
            readers.push(Reader { source: source.clone(), place: source.place(), members, decryptor });
        }
        Ok(Self { layout: layout.clone(), readers, credentials: PhantomData })
    }

    pub(super) fn all(&self) -> &[OldSource] {
        &self.layout.sources
    }

    /// Opens what one column of one row holds. May take a while, because keys are derived.
    pub(super) fn examine(&self, text: OldText) -> ExaminedText {
        let reader = &self.readers[text.source];
        // nothing to take apart, and no copy of the text is needed: the most frequent case
        if let Held::One(field) = reader.source.held
            && !(text.is_json || text.is_cut || text.is_bytes || claims_to_be_token(&text.content))
        {
            let opening = reader.decryptor.open(&stored(&text, field, StoredForm::Text(&text.content)));
            return self.examined(text, OpenedText::one(field, opening));
        }
        let readable = text_of(&reader.source, &text);
        let mut damaged = text.is_cut.then_some(TOO_LONG);
        let mut json = match &readable {
            Some(content) if text.is_json && !text.is_cut => match serde_json::from_str(content) {
                Ok(json) => json,
                Err(_) => {
                    damaged = Some(UNREADABLE);
                    Value::Null
                }
            },
            Some(content) => Value::String(content.to_string()),
            None => Value::Null,
        };
        // what the vault stored in the same column is not an old value
        if let Value::Object(object) = &mut json
            && let Some(mut ours) = object.remove(&self.layout.fields.member())
        {
            wipe(&mut ours);
        }
        let (opened, paths) = match &readable {
            _ if let Some(refused) = damaged => (not_read(&reader.source, refused), Vec::new()),
            None => (not_read(&reader.source, NOT_TEXT), Vec::new()),
            Some(content) if claims_to_be_token(content) => (OpenedText::default(), Vec::new()),
            Some(_) => self.open(reader, &text, &json),
        };
        let is_members = !matches!(reader.source.held, Held::One(_));
        let filled = if is_members { reader.members.filled(&json) } else { Vec::new() };
        let has_others = is_members && has_others(&json, &paths);
        let stuck = match &readable {
            Some(_) if text.is_json && json.is_string() => Some(NESTED),
            Some(content) if !paths.is_empty() => stuck(content),
            _ => None,
        };
        wipe(&mut json);
        ExaminedText { paths, filled, has_others, stuck, ..self.examined(text, opened) }
    }

    fn examined(&self, text: OldText, opened: OpenedText) -> ExaminedText {
        let found = self.findings(&text, &opened);
        let is_usable =
            |field: Field| found.iter().any(|found| found.field == Some(field) && found.result == "opened");
        let fields = opened.fields.into_iter().filter_map(|(field, opening)| match opening {
            Opening::Opened(value) if is_usable(field) => Some((field, value)),
            _ => None,
        });
        let fields = fields.collect();
        let (paths, filled, has_others, stuck) = (Vec::new(), Vec::new(), false, None);
        ExaminedText { fields, text, found, paths, filled, has_others, stuck }
    }

    /// With the paths of the members that opened.
    fn open(&self, reader: &Reader, text: &OldText, json: &Value) -> (OpenedText, Vec<(Field, String)>) {
        let Reader { source, members, decryptor, .. } = reader;
        let Held::One(field) = source.held else {
            let (opened, paths) = members.open_with_paths(&**decryptor, &text.user, json);
            return (opened.into(), paths);
        };
        let is_object = self.layout.fields.spec(field).is_some_and(|spec| spec.kind == ValueKind::Object);
        if json.is_object() && is_object {
            // a member of it may be a field of its own, such as the secret of a webhook
            let mut whole = Value::Object(Map::from_iter([(field.to_string(), json.clone())]));
            let opened = members.open(&**decryptor, &text.user, &whole);
            wipe(&mut whole);
            return (opened.into(), Vec::new());
        }
        let stored = |content| stored(text, field, content);
        let opening = match json {
            Value::Null => Opening::Unset,
            Value::String(text) => decryptor.open(&stored(StoredForm::Text(text))),
            Value::Object(object) if object.is_empty() => Opening::Unset,
            Value::Object(object) => decryptor.open(&stored(StoredForm::Object(object))),
            _ => Opening::not_a_credential("json", "neither a text nor an object"),
        };
        (OpenedText::one(field, opening), Vec::new())
    }

    fn findings(&self, text: &OldText, opened: &OpenedText) -> Vec<FoundField> {
        let found = |field, result, refused: Refused| FoundField {
            user: text.user.clone(),
            tenant: text.tenant.clone(),
            field,
            place: self.readers[text.source].place.clone(),
            result,
            shape: refused.shape,
            reason: refused.reason.to_owned(),
        };
        let mut all: Vec<FoundField> =
            opened.refused.iter().map(|refused| found(None, result_of_whole(*refused), *refused)).collect();
        for (field, opening) in opened.fields.iter() {
            let (result, refused) = match opening {
                Opening::Unset => continue,
                Opening::Opened(value) if self.is_beyond_limits(field, value) => (
                    "beyond_limits",
                    Refused { shape: value.shape(), reason: "the vault does not take this value" },
                ),
                Opening::Opened(value) => ("opened", Refused { shape: value.shape(), reason: "" }),
                Opening::NotMine => {
                    ("unknown", Refused { shape: "unknown", reason: "no form that the decryptor knows" })
                }
                Opening::Unrecoverable(refused) => ("unrecoverable", *refused),
                Opening::Corrupt(refused) => ("corrupt", *refused),
                Opening::NotACredential(refused) => ("not_a_credential", *refused),
            };
            all.push(found(Some(field), result, refused));
        }
        all
    }

    /// Whether the vault would refuse this one value.
    fn is_beyond_limits(&self, field: Field, value: &OpenedValue) -> bool {
        let mut one = Values::new();
        put_opened(&mut one, field, value, &self.layout).and_then(|()| C::from_values(one)).is_err()
    }
}

/// What one column of one row opened to.
#[derive(Default)]
struct OpenedText {
    fields: ByField<Opening>,
    /// Why nothing can be taken from it.
    refused: Option<Refused>,
}

impl OpenedText {
    fn one(field: Field, opening: Opening) -> Self {
        Self { fields: [(field, opening)].into_iter().collect(), refused: None }
    }
}

impl From<OpenedMembers> for OpenedText {
    fn from(opened: OpenedMembers) -> Self {
        Self { fields: opened.fields.into_iter().collect(), refused: opened.refused }
    }
}

/// A text with its nonce and tag, for a decryptor.
fn stored<'a>(text: &'a OldText, field: Field, content: StoredForm<'a>) -> StoredValue<'a> {
    StoredValue {
        content,
        iv: text.iv.as_ref().map(|iv| iv.as_str()),
        tag: text.tag.as_ref().map(|tag| tag.as_str()),
        ..StoredValue::text(field, "").of(&text.user)
    }
}

/// The stored text. AES-GCM reads the hex digits of bytes; for other decryptors, bytes are the UTF-8 of a text.
fn text_of(source: &OldSource, text: &OldText) -> Option<Zeroizing<String>> {
    match text.is_bytes && source.decryptor != "aes-gcm" {
        true => bytes::hex(&text.content).and_then(bytes::utf8),
        false => Some(text.content.clone()),
    }
}

const NOT_TEXT: Refused = Refused { shape: "bytes", reason: "bytes that are not a text in UTF-8" };
const TOO_LONG: Refused = Refused { shape: "text", reason: "longer than 1 MiB, so it is not read" };

fn result_of_whole(refused: Refused) -> &'static str {
    if [UNREADABLE, TOO_LONG].contains(&refused) { "corrupt" } else { "not_a_credential" }
}

const NESTED: &str = "the JSON is a text that holds JSON, of which no single member can be removed";
const ESCAPED_ZERO: &str = "the JSON holds \\u0000, which Postgres does not convert";
const TWICE: &str = "the JSON names a member twice, and one of them would be lost";

/// Why Postgres cannot remove members of this JSON without a loss.
fn stuck(json: &str) -> Option<&'static str> {
    match json {
        _ if json.contains("\\u0000") => Some(ESCAPED_ZERO),
        _ if names_twice(json) => Some(TWICE),
        _ => None,
    }
}

/// Whether JSON holds members apart from these, whose paths come in the order of [`Members::open_with_paths`].
fn has_others(json: &Value, paths: &[(Field, String)]) -> bool {
    let mut rest = match json {
        Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        json => json.clone(),
    };
    for (_, path) in paths {
        remove(&mut rest, path);
    }
    let has_others = rest.as_object().is_some_and(|object| !object.is_empty());
    wipe(&mut rest);
    has_others
}

/// Removes a member, and the objects that are empty without it.
fn remove(json: &mut Value, path: &str) {
    let Some(object) = json.as_object_mut() else { return };
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    if let (Some(rest), Some(inner)) = (rest, object.get_mut(first)) {
        remove(inner, rest);
        if inner.as_object().is_none_or(|inner| !inner.is_empty()) {
            return;
        }
    }
    if let Some(mut removed) = object.remove(first) {
        wipe(&mut removed);
    }
}

/// The result for a value that cannot be read as a whole.
fn not_read(source: &OldSource, refused: Refused) -> OpenedText {
    match source.held {
        Held::One(field) => OpenedText::one(field, Opening::Corrupt(refused)),
        _ => OpenedText { refused: Some(refused), ..OpenedText::default() },
    }
}

fn decryptor(name: &str, passwords: &Passwords) -> Result<Arc<dyn Decryptor>> {
    let no_key = || {
        let message = format!("a source has the decryptor {name}, and no secret is a key for it");
        Error::new(ErrorKind::InvalidInput, message)
            .with_hint("give the key with --secret: hex or base64 for aes-gcm, base64 of 32 bytes for fernet")
    };
    Ok(match name {
        "plaintext" => Arc::new(Plaintext),
        "base64" => Arc::new(Base64),
        "carexps" => Arc::new(Carexps::new(passwords.clone())),
        "aes-gcm" => {
            Arc::new(Some(RawAesGcm::new(passwords)).filter(|made| !made.has_no_key()).ok_or_else(no_key)?)
        }
        _ => Arc::new(Some(Fernet::new(passwords)).filter(|made| !made.has_no_key()).ok_or_else(no_key)?),
    })
}
