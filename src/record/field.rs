//! Fields: their names, and the table that says what each of them is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// Longest name in bytes.
pub(crate) const MAX_NAME: usize = 40;
/// Most fields in a record.
pub(crate) const MAX_FIELDS: usize = 64;

/// The name of one value of a record: `[a-z][a-z0-9_]{0,39}`, but not `record` or `imported_from`, which are the vault's own.
/// Names sort byte by byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field {
    /// The first eight bytes again: two names rarely share them, so one comparison distinguishes most names.
    start: u64,
    /// Filled up with zeros, which sort before every character of a name.
    bytes: [u8; MAX_NAME],
}

impl Field {
    /// The reserved name of the record token.
    pub(crate) const RECORD: Self = match Self::parse(b"record") {
        Some(field) => field,
        None => panic!("it has the form of a name"),
    };

    /// The reserved name of the mark of an imported record.
    pub(crate) const IMPORTED_FROM: Self = match Self::parse(b"imported_from") {
        Some(field) => field,
        None => panic!("it has the form of a name"),
    };

    /// A field name that is written in the source. In a `const`, an invalid name does not compile.
    ///
    /// # Panics
    /// When the name is not valid.
    pub const fn named(name: &str) -> Self {
        match Self::parse(name.as_bytes()) {
            Some(field) if !field.is_reserved() => field,
            _ => panic!("a field name is [a-z][a-z0-9_]{{0,39}}, and not `record` or `imported_from`"),
        }
    }

    /// Any name, including the reserved ones.
    pub(crate) const fn parse(name: &[u8]) -> Option<Self> {
        if name.is_empty() || name.len() > MAX_NAME || !name[0].is_ascii_lowercase() {
            return None;
        }
        let mut bytes = [0; MAX_NAME];
        let mut at = 0;
        while at < name.len() {
            if !(name[at].is_ascii_lowercase() || name[at].is_ascii_digit() || name[at] == b'_') {
                return None;
            }
            bytes[at] = name[at];
            at += 1;
        }
        let [a, b, c, d, e, f, g, h, ..] = bytes;
        Some(Self { start: u64::from_be_bytes([a, b, c, d, e, f, g, h]), bytes })
    }

    /// Whether it is the reserved name of the record token.
    pub(crate) const fn is_record(&self) -> bool {
        matches!(&self.bytes, [b'r', b'e', b'c', b'o', b'r', b'd', 0, ..])
    }

    /// Whether the vault keeps it beside the values, so that no kind of credentials can have it.
    pub(crate) const fn is_reserved(&self) -> bool {
        // the first byte after the name is zero
        self.is_record()
            || matches!(
                &self.bytes,
                [b'i', b'm', b'p', b'o', b'r', b't', b'e', b'd', b'_', b'f', b'r', b'o', b'm', 0, ..]
            )
    }

    /// The name, as it appears in tokens, JSON and messages.
    pub fn name(&self) -> &str {
        let end = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(MAX_NAME);
        str::from_utf8(&self.bytes[..end]).expect("a name is ASCII")
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({})", self.name())
    }
}

impl FromStr for Field {
    type Err = Error;

    /// # Errors
    /// `InvalidInput`, which does not repeat the name: it may be a secret in the wrong place.
    fn from_str(name: &str) -> Result<Self> {
        let field = Self::parse(name.as_bytes()).filter(|field| !field.is_reserved());
        field.ok_or_else(|| {
            let message = "a field name must be a lower-case letter and up to 39 of a-z 0-9 _, and not `record` or `imported_from`";
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}

/// What a field's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueKind {
    /// A JSON string; in its own column, the text.
    Text,
    /// A JSON object; its own column is of type `jsonb` or `json`.
    Object,
}

/// Which fields a row of the table is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpecName {
    Is(Field),
    EndsWith(&'static str),
}

/// One row of the table of fields: what the vault must know of a field to store it.
///
/// ```
/// use retell_vault::config::FieldSpec;
///
/// const FIELDS: &[FieldSpec] = &[
///     FieldSpec::secret("auth_token").column("twilio_auth_token"),
///     FieldSpec::plain("phone_number").column("twilio_phone_number").longest(18),
/// ];
/// ```
#[derive(Debug, Clone, Copy)]
pub struct FieldSpec {
    pub(crate) name: SpecName,
    pub(crate) is_secret: bool,
    pub(crate) kind: ValueKind,
    /// The longest JSON text in bytes; what a token of it must have room for.
    pub(crate) longest: usize,
    pub(crate) column: Option<&'static str>,
    /// An application may use the default name of its column for something else.
    pub(crate) by_consent: bool,
    /// What stands for "not set" in a column that may not be null.
    pub(crate) unset: &'static str,
    /// The only allowed values; empty: no such list.
    pub(crate) words: &'static [&'static str],
    /// The kind under which the blind index finds its value, if it does.
    pub(crate) index: Option<&'static str>,
    pub(crate) is_valid: fn(&str) -> bool,
}

/// The longest JSON text of a field that does not set its own limit: 256 characters that may each need a backslash.
const LONGEST: usize = 2 * 256 + 2;

impl FieldSpec {
    const fn new(name: SpecName, is_secret: bool) -> Self {
        Self {
            name,
            is_secret,
            kind: ValueKind::Text,
            longest: LONGEST,
            column: None,
            by_consent: false,
            unset: "",
            words: &[],
            index: None,
            is_valid: |_| true,
        }
    }

    /// A field that is always sealed. By default its JSON text has at most 514 bytes, and it has no column of its own.
    ///
    /// # Panics
    /// When the name is not valid; see [`Field::named`].
    pub const fn secret(name: &str) -> Self {
        Self::new(SpecName::Is(Field::named(name)), true)
    }

    /// Every name with this ending is a secret field, without its own column. A field with its own row comes first.
    ///
    /// # Panics
    /// When no name can have this ending.
    pub const fn secrets_ending(ending: &'static str) -> Self {
        let mut at = 0;
        while at < ending.len() {
            let byte = ending.as_bytes()[at];
            assert!(
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_',
                "no name has this ending"
            );
            at += 1;
        }
        Self::new(SpecName::EndsWith(ending), true)
    }

    /// A field that is stored in the clear in its own column, and is sealed elsewhere. By default its JSON text has
    /// at most 514 bytes, and it has no column.
    ///
    /// # Panics
    /// When the name is not valid; see [`Field::named`].
    pub const fn plain(name: &str) -> Self {
        Self::new(SpecName::Is(Field::named(name)), false)
    }

    /// A secret field that a layout declares.
    pub(crate) fn extra(field: Field, longest: usize) -> Self {
        Self { longest, ..Self::new(SpecName::Is(field), true) }
    }

    /// The default name of its column.
    pub const fn column(mut self, name: &'static str) -> Self {
        self.column = Some(name);
        self
    }

    /// The length of its longest JSON text in bytes. A longer value is `InvalidInput`, and a column that is too short is
    /// not used.
    pub const fn longest(mut self, bytes: usize) -> Self {
        self.longest = bytes;
        self
    }

    /// For a plain field whose column has a name that the application may use for something else. The column is used only
    /// if the layout names it, or if its comment says that the schema planner created it.
    pub const fn by_consent(mut self) -> Self {
        self.by_consent = true;
        self
    }

    /// Its value is a JSON object. Its column is of type `jsonb` or `json`.
    pub const fn object(mut self) -> Self {
        self.kind = ValueKind::Object;
        self.unset = "{}";
        self
    }

    /// Its value is one of these words.
    pub const fn one_of(mut self, words: &'static [&'static str]) -> Self {
        self.words = words;
        self
    }

    /// Lets [`Vault::find`](crate::Vault::find) find owners by its value, under this kind. Several fields may be of one kind.
    pub const fn indexed_as(mut self, kind: &'static str) -> Self {
        self.index = Some(kind);
        self
    }

    /// What a `NOT NULL` column holds while the field is not set. By default `''`, or `{}` for an object.
    pub const fn unset_as(mut self, text: &'static str) -> Self {
        self.unset = text;
        self
    }

    /// Decides whether a JSON text is a value of the field, because another program may put anything into a plain column. A
    /// load leaves out what is not a value, and names the field in [`Loaded::ignored`](crate::records::Loaded::ignored).
    pub const fn checked_by(mut self, is_valid: fn(&str) -> bool) -> Self {
        self.is_valid = is_valid;
        self
    }

    fn is_about(&self, field: Field) -> bool {
        match self.name {
            SpecName::Is(name) => name == field,
            SpecName::EndsWith(ending) => field.name().len() > ending.len() && field.name().ends_with(ending),
        }
    }

    /// The type of its own column, as the schema planner creates it.
    pub(crate) fn column_type(&self) -> &'static str {
        match self.kind {
            ValueKind::Text => "text",
            ValueKind::Object => "jsonb",
        }
    }
}

/// The fields that one kind of credentials has, and their namespace.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    pub(crate) namespace: &'static str,
    specs: Arc<[FieldSpec]>,
}

impl PartialEq for Fields {
    /// The rest of the table is the program's.
    fn eq(&self, other: &Self) -> bool {
        let names = |fields: &Self| fields.specs.iter().map(|spec| spec.name).collect::<Vec<_>>();
        self.namespace == other.namespace && names(self) == names(other)
    }
}

impl Eq for Fields {}

impl Fields {
    pub(crate) fn new(namespace: &'static str, specs: &[FieldSpec]) -> Self {
        Self { namespace, specs: specs.into() }
    }

    /// The same, and more secret ones.
    pub(crate) fn with(&self, extra: FieldSpec) -> Self {
        Self { namespace: self.namespace, specs: self.specs.iter().copied().chain([extra]).collect() }
    }

    /// # Errors
    /// `Configuration` for an invalid namespace, a duplicate field, or more than 64 fields.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::new(ErrorKind::Configuration, message));
        if Field::parse(self.namespace.as_bytes()).is_none() {
            return wrong("a namespace must be a lower-case letter and up to 39 of a-z 0-9 _".to_owned());
        }
        if self.specs.len() > MAX_FIELDS {
            return wrong(format!("{} has more than {MAX_FIELDS} fields", self.namespace));
        }
        let mut names: Vec<Field> = self.each().map(|(field, _)| field).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => wrong(format!("{} has the field {} twice", self.namespace, pair[0])),
            None => Ok(()),
        }
    }

    /// What is known of a field; nothing if a newer program introduced it.
    pub(crate) fn spec(&self, field: Field) -> Option<&FieldSpec> {
        self.position(field).map(|at| &self.specs[at])
    }

    /// A field with its own row takes precedence over an ending.
    fn position(&self, field: Field) -> Option<usize> {
        let own = self.specs.iter().position(|spec| spec.name == SpecName::Is(field));
        own.or_else(|| self.specs.iter().position(|spec| spec.is_about(field)))
    }

    /// The same fields in the order of the table; unknown ones come last.
    pub(crate) fn sorted(&self, fields: impl Iterator<Item = Field>) -> Vec<Field> {
        let mut fields: Vec<Field> = fields.collect();
        fields.sort_by_cached_key(|field| self.position(*field).unwrap_or(MAX_FIELDS));
        fields
    }

    pub(crate) fn knows(&self, field: Field) -> bool {
        self.spec(field).is_some()
    }

    /// The fields with their own row, in the order of the table.
    pub(crate) fn each(&self) -> impl Iterator<Item = (Field, &FieldSpec)> {
        self.specs.iter().filter_map(|spec| match spec.name {
            SpecName::Is(field) => Some((field, spec)),
            SpecName::EndsWith(_) => None,
        })
    }

    /// The rows of the table whose values are found under this kind.
    pub(crate) fn indexed_as(&self, kind: &str) -> impl Iterator<Item = &FieldSpec> {
        self.specs.iter().filter(move |spec| spec.index == Some(kind))
    }

    pub(crate) fn secrets(&self) -> impl Iterator<Item = (Field, &FieldSpec)> {
        self.each().filter(|(_, spec)| spec.is_secret)
    }

    pub(crate) fn plain(&self) -> impl Iterator<Item = (Field, &FieldSpec)> {
        self.each().filter(|(_, spec)| !spec.is_secret)
    }

    /// Whether a field may be stored in the clear. An unknown one may not.
    pub(crate) fn is_plain(&self, field: Field) -> bool {
        self.spec(field).is_some_and(|spec| !spec.is_secret)
    }

    /// The vault's member of the JSONB config column: an object of tokens by the names of their fields.
    pub(crate) fn member(&self) -> String {
        format!("{}_vault", self.namespace)
    }

    /// The default name of the column of the blind index.
    pub(crate) fn index_column(&self) -> String {
        format!("{}_vault_index", self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_form_and_sorts_byte_by_byte() {
        for good in ["a", "api_key", "x9_", &"x".repeat(40)] {
            assert_eq!(good.parse::<Field>().unwrap().name(), good);
        }
        let bad = [
            "",
            "record",
            "imported_from",
            "Api_key",
            "9a",
            "_a",
            "a-b",
            "a b",
            "schlüssel",
            "a\0",
            &"x".repeat(41),
        ];
        for bad in bad {
            let error = bad.parse::<Field>().unwrap_err();
            assert!(
                error.kind() == ErrorKind::InvalidInput
                    && (bad.len() < 2
                        || ["record", "imported_from"].contains(&bad)
                        || !error.to_string().contains(bad))
            );
        }
        let mut names = ["b", "a_b", "ab", "a", "a0"].map(|name| name.parse::<Field>().unwrap());
        names.sort();
        assert_eq!(names.map(|field| field.to_string()), ["a", "a0", "a_b", "ab", "b"]);
        assert!(Field::RECORD.is_record() && !Field::named("records").is_record());
    }

    #[test]
    fn a_row_of_its_own_comes_before_an_ending() {
        const SPECS: &[FieldSpec] =
            &[FieldSpec::secrets_ending("_id"), FieldSpec::plain("call_id"), FieldSpec::secret("key")];
        let fields = Fields::new("test", SPECS);
        assert!(fields.is_plain(Field::named("call_id")) && !fields.is_plain(Field::named("sms_id")));
        assert!(fields.knows(Field::named("sms_id")) && !fields.knows(Field::named("later")));
        assert_eq!(fields.each().count(), 2);
        assert!(fields.check().is_ok());
        let twice = fields.with(FieldSpec::extra(Field::named("key"), 10));
        assert_eq!(twice.check().unwrap_err().to_string(), "test has the field key twice");
        assert!(Fields::new("Test", SPECS).check().is_err());
        assert!(Fields::new("test", &[FieldSpec::secrets_ending("_id"); 65]).check().is_err());
    }
}
