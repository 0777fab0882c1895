//! What is stored: fields, owners, versions, tokens, records. Pure.

pub(crate) mod contents;
pub(crate) mod credentials;
pub(crate) mod field;
pub(crate) mod owner;
pub(crate) mod padding;
pub(crate) mod plain;
pub(crate) mod record;
pub(crate) mod token;
pub(crate) mod values;
pub(crate) mod version;
