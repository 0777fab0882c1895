//! What an application stored before, and what a decryptor says about it.

use std::fmt;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::record::field::Field;

/// One stored value of one owner and field, as the database returns it.
///
/// # Security
/// `Debug` shows where the value is, and not the value.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct StoredValue<'a> {
    /// The field that the value is for.
    pub field: Field,
    /// The value.
    pub content: StoredForm<'a>,
    /// The owner as the table names it, for schemes that bind a value to its owner.
    pub owner: &'a str,
    /// The other members of the JSON object that the value is a member of.
    pub beside: Option<&'a Map<String, Value>>,
    /// The nonce, if it has a column of its own.
    pub iv: Option<&'a str>,
    /// The authentication tag, if it has a column of its own.
    pub tag: Option<&'a str>,
}

/// The stored form of a value.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum StoredForm<'a> {
    /// The text of a column, or a JSON string.
    Text(&'a str),
    /// A JSON object.
    Object(&'a Map<String, Value>),
}

impl<'a> StoredValue<'a> {
    /// A text of a field.
    pub fn text(field: Field, text: &'a str) -> Self {
        Self { field, content: StoredForm::Text(text), owner: "", beside: None, iv: None, tag: None }
    }

    /// A JSON object of a field.
    pub fn object(field: Field, object: &'a Map<String, Value>) -> Self {
        Self { content: StoredForm::Object(object), ..Self::text(field, "") }
    }

    /// The same value of this owner.
    pub fn of(self, owner: &'a str) -> Self {
        Self { owner, ..self }
    }

    /// The same value as a member of this object.
    pub fn beside(self, object: &'a Map<String, Value>) -> Self {
        Self { beside: Some(object), ..self }
    }

    /// The same value with nonce and tag from columns of their own. Without a column for the tag, the tag is at the end of the
    /// ciphertext.
    pub fn with_parts(self, iv: &'a str, tag: Option<&'a str>) -> Self {
        Self { iv: Some(iv), tag, ..self }
    }
}

impl fmt::Debug for StoredValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredValue").field("field", &self.field).finish_non_exhaustive()
    }
}

/// What a decryptor makes of a [`StoredValue`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Opening {
    /// It opened.
    Opened(OpenedValue),
    /// It is empty: the field is not set.
    Unset,
    /// It does not have a form of this decryptor.
    NotMine,
    /// Nobody can open it.
    Unrecoverable(Refused),
    /// It has a form of this decryptor and does not open: it is damaged, or no key fits.
    Corrupt(Refused),
    /// It is something else, such as a login.
    NotACredential(Refused),
}

impl Opening {
    pub(super) fn opened(shape: &'static str, text: Zeroizing<String>) -> Self {
        match text.is_empty() {
            true => Self::Unset,
            false => Self::Opened(OpenedValue::new(shape, text)),
        }
    }

    pub(super) fn corrupt(shape: &'static str, reason: &'static str) -> Self {
        Self::Corrupt(Refused { shape, reason })
    }

    pub(super) fn unrecoverable(shape: &'static str, reason: &'static str) -> Self {
        Self::Unrecoverable(Refused { shape, reason })
    }

    pub(super) fn not_a_credential(shape: &'static str, reason: &'static str) -> Self {
        Self::NotACredential(Refused { shape, reason })
    }
}

/// Why a value is not there. Both are texts of the program, so that neither can hold a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The form of the value, such as `text4`.
    pub shape: &'static str,
    /// The reason, for people.
    pub reason: &'static str,
}

/// A value that opened.
///
/// # Security
/// The text is wiped when dropped. `Debug` shows only the shape.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenedValue {
    text: Zeroizing<String>,
    shape: &'static str,
    replace: bool,
}

impl OpenedValue {
    /// A value, and the name of the form that it was stored in. The text of an object is its JSON.
    pub fn new(shape: &'static str, text: Zeroizing<String>) -> Self {
        Self { text, shape, replace: false }
    }

    /// Marks a value that others may have read, because it was only encoded, or because its password is public.
    pub fn exposed(self) -> Self {
        Self { replace: true, ..self }
    }

    /// The value.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The form that it was stored in.
    pub fn shape(&self) -> &'static str {
        self.shape
    }

    /// Whether it should be replaced at the provider, because others may have read it.
    pub fn is_exposed(&self) -> bool {
        self.replace
    }
}

impl fmt::Debug for OpenedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedValue").field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// Opens the values that some code of an application stored.
///
/// ```
/// use retell_vault::config::Field;
/// use retell_vault::config::import::{StoredForm, Decryptor, OpenedValue, Opening, StoredValue};
///
/// /// The application stored keys backwards.
/// struct Backwards;
///
/// impl Decryptor for Backwards {
///     fn open(&self, stored: &StoredValue<'_>) -> Opening {
///         match stored.content {
///             StoredForm::Text(text) if text.ends_with("_yek") => {
///                 let text = text.chars().rev().collect::<String>();
///                 Opening::Opened(OpenedValue::new("backwards", text.into()).exposed())
///             }
///             _ => Opening::NotMine,
///         }
///     }
/// }
///
/// let stored = StoredValue::text(Field::named("api_key"), "1000_tset_yek");
/// let Opening::Opened(value) = Backwards.open(&stored) else { panic!() };
/// assert_eq!(value.text(), "key_test_0001");
/// ```
pub trait Decryptor: Send + Sync {
    /// Opens one value. Must not guess: a value that may mean two things is [`NotMine`](Opening::NotMine) or
    /// [`Corrupt`](Opening::Corrupt).
    fn open(&self, stored: &StoredValue<'_>) -> Opening;
}
