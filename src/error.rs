//! One error type for the whole crate: what went wrong, what to do about it, and never a secret.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::display::one_line;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and a hint about what to do.
///
/// `Display` is one line, in lower case, that names the thing; [`Error::hint`] tells you how to fix it. Both show names that others
/// chose in their [visible](crate::display::visible()) form. A program reads [`kind`](Error::kind), [`sqlstate`](Error::sqlstate),
/// [`key_id`](Error::key_id) and [`column`](Error::column) instead of the text, which may change between versions.
///
/// Two errors are equal if their kind, message, hint and details are equal. Their sources are not compared.
///
/// # Security
/// No message, hint or source holds a secret, a plaintext or a database row: errors of the database
/// are reduced to their SQLSTATE and the names of the objects concerned.
#[derive(Clone)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    details: Details,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// Details that a program may need besides the kind.
#[derive(Clone, Default, PartialEq, Eq)]
struct Details {
    sqlstate: Option<String>,
    /// The number of a [`KeyId`](crate::keyring::KeyId), whose file imports this one.
    key: Option<u32>,
    column: Option<String>,
}

/// The kinds of failure that a caller may want to distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value given by the caller is not valid.
    InvalidInput,
    /// The settings of the vault cannot work, for example with two kinds of credentials in one text column.
    Configuration,
    /// The owner has no stored configuration, or it was deleted.
    NotFound,
    /// A stored record lacks its record token, or a field that the record token lists.
    Incomplete,
    /// Stored text looks like a token but is none, tokens do not belong together, or JSON in a plain column is unreadable.
    Malformed,
    /// A stored value has a format that a later version wrote.
    UnsupportedFormat,
    /// A token names a key that the keyring does not hold or no longer holds.
    UnknownKey,
    /// A token did not open: wrong keyring, or an altered value. From a store: such a record is there, and stays.
    Unsealable,
    /// A slot holds text that the vault did not write.
    ForeignValue,
    /// The record is not the one that the caller expects.
    Conflict,
    /// The database refuses the owner (a foreign key).
    UnknownOwner,
    /// The database hides the row or forbids the operation.
    AccessDenied,
    /// The database is up but too busy. You may repeat the operation.
    Busy,
    /// The table or its columns cannot be used as they are.
    Schema,
    /// The schema has changed since the plan was made.
    StalePlan,
    /// The database refuses the operation and would refuse it again.
    Rejected,
    /// The database is unreachable and no local file may be used, or, in a caller's transaction, a newer record is pending locally.
    Unavailable,
    /// The connection was lost after a write was sent: it may or may not have been applied.
    OutcomeUnknown,
    /// There is no keyring file.
    KeyringMissing,
    /// A keyring already exists, or the database holds tokens of another one.
    KeyringExists,
    /// The keyring file did not open: wrong passphrase or wrapping key, or the file was altered.
    KeyringLocked,
    /// The file is not a keyring file that this version can read, or it cannot be read or saved.
    KeyringFile,
    /// An older generation of the keyring is in place of the one in use. Nothing is sealed; what has its key here opens.
    KeyringRolledBack,
    /// The state of a root key does not allow the change.
    KeyState,
    /// Stored values still name the root key.
    KeyInUse,
    /// The local file or the tokens of the table belong to another keyring. Nothing was stored, not even locally.
    WrongKeyring,
    /// The local file cannot be used.
    LocalStore,
    /// The local file is damaged.
    LocalCorrupt,
    /// No index in the database finds the value. `schema apply` makes one.
    NotIndexed,
    /// Nothing was found, but the index does not cover every record yet. `index build` completes it.
    IndexIncomplete,
    /// The ledger was begun, and cannot take an entry: nothing is written without one.
    LedgerUnavailable,
    /// The ledger is not whole, or a checkpoint of it is not genuine: no checkpoint was made or used.
    LedgerBroken,
    /// The operating system gave no random bytes.
    Entropy,
    /// No owner is known whose key signed a webhook call. An unknown agent and a wrong signature are not told apart.
    Unverified,
    /// The signature of a webhook call is more than five minutes old, or that far in the future.
    Expired,
    /// The keys of several owners verify a webhook call.
    Ambiguous,
}

impl ErrorKind {
    /// The name of the kind in snake case, for logs, metrics and JSON: `unknown_key`. Names never change; new kinds may be added.
    ///
    /// ```
    /// assert_eq!(retell_vault::ErrorKind::UnknownKey.as_str(), "unknown_key");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::Configuration => "configuration",
            Self::NotFound => "not_found",
            Self::Incomplete => "incomplete",
            Self::Malformed => "malformed",
            Self::UnsupportedFormat => "unsupported_format",
            Self::UnknownKey => "unknown_key",
            Self::Unsealable => "unsealable",
            Self::ForeignValue => "foreign_value",
            Self::Conflict => "conflict",
            Self::UnknownOwner => "unknown_owner",
            Self::AccessDenied => "access_denied",
            Self::Busy => "busy",
            Self::Schema => "schema",
            Self::StalePlan => "stale_plan",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::KeyringMissing => "keyring_missing",
            Self::KeyringExists => "keyring_exists",
            Self::KeyringLocked => "keyring_locked",
            Self::KeyringFile => "keyring_file",
            Self::KeyringRolledBack => "keyring_rolled_back",
            Self::KeyState => "key_state",
            Self::KeyInUse => "key_in_use",
            Self::WrongKeyring => "wrong_keyring",
            Self::LocalStore => "local_store",
            Self::LocalCorrupt => "local_corrupt",
            Self::NotIndexed => "not_indexed",
            Self::IndexIncomplete => "index_incomplete",
            Self::LedgerUnavailable => "ledger_unavailable",
            Self::LedgerBroken => "ledger_broken",
            Self::Entropy => "entropy",
            Self::Unverified => "unverified",
            Self::Expired => "expired",
            Self::Ambiguous => "ambiguous",
        }
    }

    /// Whether the same call may succeed later without a correction. If so, wait, then repeat it.
    ///
    /// | kind | why |
    /// | --- | --- |
    /// | `Busy` | locks are released, and other writers end |
    /// | `Unavailable` | the database comes back |
    /// | `OutcomeUnknown` | the database comes back. You may repeat a store or delete even if it was applied, because it writes the same values again. A store with [`expect`](crate::records::StoreOptions::expect) then fails with `Conflict` |
    ///
    /// All others need a correction first. After `Conflict`, for example, load the record again and decide again: the same
    /// expectation would fail again.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable | Self::OutcomeUnknown)
    }

    fn default_hint(self) -> &'static str {
        match self {
            Self::InvalidInput => "correct the named value and try again",
            Self::Configuration => "correct the named setting and build the vault again",
            Self::NotFound => "check the user id and the tenant: nothing is stored for this owner",
            Self::Incomplete => {
                "other code removed part of the record: restore the row from a backup; to give the record up, store again with replace_unreadable (`put --replace-unreadable`)"
            }
            Self::Malformed => {
                "other code changed the stored value: restore the row from a backup; to give the record up, store again with replace_unreadable (`put --replace-unreadable`)"
            }
            Self::UnsupportedFormat => {
                "a newer retell-vault may have written it: upgrade; to give the stored value up, store again with replace_unreadable (`put --replace-unreadable`)"
            }
            Self::UnknownKey => {
                "use the keyring that holds this key id; to give the stored value up, store again with replace_unreadable (`put --replace-unreadable`)"
            }
            Self::Unsealable => {
                "wrong keyring, or the stored value was altered: restore the row from a backup; to give the record up, store again with replace_unreadable (`put --replace-unreadable`)"
            }
            Self::ForeignValue => {
                "read the old value, then store it through the vault with replace_foreign (`put --replace-foreign`), which overwrites the old text"
            }
            Self::Conflict => "load the record again, and repeat the change",
            Self::UnknownOwner => "create the user first: the database has no such owner",
            Self::AccessDenied => "check the grants and the row level security policies of this role",
            Self::Busy => "try again; if the error persists, look for long transactions that hold locks",
            Self::Schema => "check the table and column names of the layout against the database",
            Self::StalePlan => "make a new plan, check it, and apply it",
            Self::Rejected => "look up the SQLSTATE in appendix A of the PostgreSQL manual",
            Self::Unavailable => "check that the database is up and that the URL is right",
            Self::OutcomeUnknown => "load the configuration to see whether it was stored, or store it again",
            Self::KeyringMissing => {
                "create one with `retell-vault init`; if there was one, restore it from its backup: no other keyring opens the stored values"
            }
            Self::KeyringExists => "nothing was changed; use the existing keyring, or choose another folder",
            Self::KeyringLocked => {
                "check the passphrase or the wrapping key, or restore the file from its backup"
            }
            Self::KeyringFile => "restore the keyring file from its backup",
            Self::KeyringRolledBack => "put the newest generation back: nothing is sealed until then",
            Self::KeyState => {
                "check the states with `retell-vault status`; a key goes from pending to primary, retired and destroyed, never back"
            }
            Self::KeyInUse => {
                "re-encrypt the stored values under the primary key first (rotate), then destroy the key"
            }
            Self::WrongKeyring => "use the keyring that this vault was set up with",
            Self::LocalStore => "check free space, owner and mode of the local file and of its folder",
            Self::LocalCorrupt => {
                "keep the file that was set aside: `sqlite3 FILE .recover` can read what is left of it"
            }
            Self::NotIndexed => {
                "name the column of the index in the layout (`index` in `[columns]`), run `retell-vault schema apply`, then `retell-vault index build`"
            }
            Self::IndexIncomplete => "run `retell-vault index build`",
            Self::LedgerUnavailable => "run `retell-vault schema apply --vault-schema`, then `ledger begin`",
            Self::LedgerBroken => "run `retell-vault ledger verify`, and look for a restored backup first",
            Self::Entropy => "the operating system's random source failed; nothing was written",
            Self::Unverified => {
                "check that the owner is stored with the agent id or number of the call, and with the key that has the webhook badge at Retell; pass the body as it came"
            }
            Self::Expired => "check the clock of this host: a signature is valid for five minutes",
            Self::Ambiguous => {
                "store the agent under one owner only, or verify the call for the owner that its address names"
            }
        }
    }
}

impl Error {
    /// An error with the kind's own hint.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let inner = Inner {
            kind,
            message: one_line(message.into()),
            hint: None,
            details: Details::default(),
            source: None,
        };
        Self { inner: Box::new(inner) }
    }

    /// The same error with a better hint than the kind's own.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(one_line(hint.into()));
        self
    }

    /// The same error with its cause. The cause must not hold a secret in any of its texts.
    pub(crate) fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.inner.source = Some(Arc::new(source));
        self
    }

    /// The same error, its message prefixed with the thing that it is about.
    pub(crate) fn about(mut self, thing: impl fmt::Display) -> Self {
        self.inner.message = one_line(format!("{thing}: {}", self.inner.message));
        self
    }

    /// The same error with the SQLSTATE of the database, unless it is empty.
    pub(crate) fn with_sqlstate(mut self, code: &str) -> Self {
        self.inner.details.sqlstate = Some(code).filter(|code| !code.is_empty()).map(str::to_owned);
        self
    }

    /// The same error with the number of the key that it is about.
    pub(crate) fn with_key_number(mut self, number: u32) -> Self {
        self.inner.details.key = Some(number);
        self
    }

    /// The same error with the one column that it is about.
    pub(crate) fn with_column(mut self, column: impl Into<String>) -> Self {
        self.inner.details.column = Some(column.into());
        self
    }

    /// The same error with the SQLSTATE, key and column of `other`.
    pub(crate) fn with_details_of(mut self, other: &Self) -> Self {
        self.inner.details = other.inner.details.clone();
        self
    }

    /// For a [`WrappingKeyProvider`](crate::keyring::WrappingKeyProvider) of your own: why there is no wrapping
    /// key, and what to do. The kind is `KeyringLocked`.
    ///
    /// # Security
    /// Both texts are shown to people: keep secrets out of them.
    pub fn no_wrapping_key(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(ErrorKind::KeyringLocked, message).with_hint(hint)
    }

    /// Which kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Whether the same call may succeed later without a correction. See [`ErrorKind::is_retryable`].
    pub fn is_retryable(&self) -> bool {
        self.inner.kind.is_retryable()
    }

    /// The SQLSTATE that the database returned, such as `23514` (PostgreSQL manual, appendix A). `None` if the error does not
    /// come from the database.
    pub fn sqlstate(&self) -> Option<&str> {
        self.inner.details.sqlstate.as_deref()
    }

    /// The name of the column that caused the error: it holds a foreign value, is missing, has the wrong type, or may not be
    /// written. Print it with [`visible`](crate::display::visible()), because others chose the name.
    pub fn column(&self) -> Option<&str> {
        self.inner.details.column.as_deref()
    }

    pub(crate) fn key_number(&self) -> Option<u32> {
        self.inner.details.key
    }

    /// What to do about the error, in one line.
    pub fn hint(&self) -> &str {
        self.inner.hint.as_deref().unwrap_or_else(|| self.inner.kind.default_hint())
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        let message = match kind {
            ErrorKind::Unsealable => "a stored value did not open",
            ErrorKind::Entropy => "no random bytes from the operating system",
            ErrorKind::NotFound => "no configuration is stored for this owner",
            ErrorKind::Unverified => "the webhook is not verified",
            ErrorKind::Expired => "the signature of the webhook is not within five minutes of now",
            ErrorKind::Ambiguous => "the keys of several owners verify the webhook",
            _ => return Self::new(kind, kind.as_str()),
        };
        Self::new(kind, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("message", &self.inner.message)
            .field("hint", &self.hint())
            .field("sqlstate", &self.inner.details.sqlstate)
            .field("key", &self.inner.details.key.map(|key| format!("{key:08x}")))
            .field("column", &self.inner.details.column)
            .field("source", &self.inner.source)
            .finish()
    }
}

impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        let said = |error: &Self| (error.kind(), error.hint().to_owned(), error.inner.details.clone());
        self.inner.message == other.inner.message && said(self) == said(other)
    }
}

impl Eq for Error {}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_adds_a_line_to_a_message_or_a_hint() {
        let error = Error::new(ErrorKind::Schema, "no column \u{202e}a").about("table x\nhealthy: nothing");
        let error = error.with_hint("rename\u{2028}it");
        assert_eq!(error.to_string(), r"table x\u{a}healthy: nothing: no column \u{202e}a");
        assert_eq!(error.hint(), r"rename\u{2028}it");
        assert_eq!(error.clone(), error);
    }

    #[test]
    fn the_names_of_kinds_are_released_and_three_kinds_pass_by_themselves() {
        use ErrorKind::*;
        let kinds = [
            (InvalidInput, "invalid_input"),
            (Configuration, "configuration"),
            (NotFound, "not_found"),
            (Incomplete, "incomplete"),
            (Malformed, "malformed"),
            (UnsupportedFormat, "unsupported_format"),
            (UnknownKey, "unknown_key"),
            (Unsealable, "unsealable"),
            (ForeignValue, "foreign_value"),
            (Conflict, "conflict"),
            (UnknownOwner, "unknown_owner"),
            (AccessDenied, "access_denied"),
            (Busy, "busy"),
            (Schema, "schema"),
            (StalePlan, "stale_plan"),
            (Rejected, "rejected"),
            (Unavailable, "unavailable"),
            (OutcomeUnknown, "outcome_unknown"),
            (KeyringMissing, "keyring_missing"),
            (KeyringExists, "keyring_exists"),
            (KeyringLocked, "keyring_locked"),
            (KeyringFile, "keyring_file"),
            (KeyringRolledBack, "keyring_rolled_back"),
            (KeyState, "key_state"),
            (KeyInUse, "key_in_use"),
            (WrongKeyring, "wrong_keyring"),
            (LocalStore, "local_store"),
            (LocalCorrupt, "local_corrupt"),
            (NotIndexed, "not_indexed"),
            (IndexIncomplete, "index_incomplete"),
            (LedgerUnavailable, "ledger_unavailable"),
            (LedgerBroken, "ledger_broken"),
            (Entropy, "entropy"),
            (Unverified, "unverified"),
            (Expired, "expired"),
            (Ambiguous, "ambiguous"),
        ];
        for (kind, name) in kinds {
            assert_eq!(kind.as_str(), name);
        }
        let retryable = kinds.iter().filter(|(kind, _)| kind.is_retryable()).map(|(_, name)| *name);
        assert_eq!(retryable.collect::<Vec<_>>(), ["busy", "unavailable", "outcome_unknown"]);
    }

    #[test]
    fn an_error_keeps_what_a_program_needs_of_it() {
        let error = Error::new(ErrorKind::Rejected, "no").with_sqlstate("23514").with_key_number(7);
        let error = error.with_column("a\nb").with_hint("yes").about("table x");
        for error in [error.clone(), Error::from(ErrorKind::Busy).with_details_of(&error)] {
            assert_eq!((error.sqlstate(), error.column()), (Some("23514"), Some("a\nb")));
            assert_eq!(error.key_number(), Some(7));
        }
        assert_ne!(error.clone().with_sqlstate(""), error);
    }
}
