//! What the vault needs from a type to store values of it.

use crate::error::Result;
use crate::record::field::FieldSpec;
use crate::record::values::Values;

/// A kind of credentials: [`RetellConfig`](crate::RetellConfig), or a type that a service declares for another provider, as
/// `examples/other_provider.rs` does.
///
/// A value that exists must be valid. Two kinds may share a keyring, a table and its JSONB config column. Each needs text
/// columns and a local file of its own.
///
/// # Security
/// Write `Debug` by hand for such a type, and mask its secrets.
pub trait Credentials: Clone + Send + Sync + Sized + 'static {
    /// The namespace of this kind: `[a-z][a-z0-9_]{0,39}`. Keys are derived for it, so that a token of one kind does not
    /// open as one of another. It must not change once something is stored.
    const NAMESPACE: &'static str;

    /// The table of its fields, at most 64. Fields may be added. A stored field must not change its name, and must not
    /// change between secret and plain.
    const FIELDS: &'static [FieldSpec];

    /// The value of every field that is set.
    fn to_values(&self) -> Values;

    /// The reverse. `values` hold fields of [`FIELDS`](Self::FIELDS) and extra fields that the layout declares.
    ///
    /// # Errors
    /// For a value that its field cannot hold. The error must not repeat the value.
    fn from_values(values: Values) -> Result<Self>;
}
