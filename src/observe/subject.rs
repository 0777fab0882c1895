//! The subject of a measurement: which vault it is of.

use std::sync::Arc;

/// Tells the vaults of one process apart. All of it is from the settings, nothing from a call.
#[derive(Clone, Default)]
pub(crate) struct Subject {
    /// `postgresql`, or `sqlite` for a vault with only a local file.
    pub(crate) system: &'static str,
    /// The layout's table, with its schema, if there is a database.
    pub(crate) collection: Option<Arc<str>>,
    /// The namespace of the kind of credentials.
    pub(crate) namespace: &'static str,
}
