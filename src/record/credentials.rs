//! What the vault needs of a type to keep values of it.

use crate::error::Result;
use crate::record::field::FieldSpec;
use crate::record::values::Values;

/// A kind of credentials: [`RetellConfig`](crate::RetellConfig), or another provider's, which a service declares
/// itself. `examples/other_provider.rs` does that.
///
/// A value that exists must be valid. Two kinds may share one table and its JSONB config column; each has text
/// columns of its own, and a local file of its own.
pub trait Credentials: Clone + Send + Sync + Sized + 'static {
    /// Names this kind in every token, so that no token of one kind passes for one of another: `[a-z][a-z0-9_]{0,39}`.
    /// It never changes once something is stored.
    const NAMESPACE: &'static str;

    /// The table of its fields, at most 64. A field may come; one that was used must not change its name or its kind.
    const FIELDS: &'static [FieldSpec];

    /// The value of every field that is set.
    fn to_values(&self) -> Values;

    /// The reverse. `values` hold what is known of by [`FIELDS`](Self::FIELDS), and extra fields that the layout declares.
    ///
    /// # Errors
    /// For a value that its field cannot hold. The error must not repeat the value.
    fn from_values(values: Values) -> Result<Self>;
}
