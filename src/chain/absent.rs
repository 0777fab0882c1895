//! Replaces the changes of a local file if the feature `local-file` is off: there are none.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::chain::entry::Event;
use crate::keyring::subkeys::Subkey;

/// No value of this type exists.
pub(crate) enum LocalEvent {}

impl LocalEvent {
    pub(crate) fn new(
        _key: Subkey,
        _writer: Uuid,
        _at_ms: i64,
        _event: Event,
        _detail: Map<String, Value>,
    ) -> Option<Self> {
        None
    }
}
