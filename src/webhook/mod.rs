//! What a webhook call of Retell is: its signature, and what its body names.

pub(crate) mod body;
pub(crate) mod signature;
