//! Store, load and sync: functions over one state.

pub(crate) mod breaker;
pub(crate) mod bulk;
pub(crate) mod core;
pub(crate) mod database_identity;
pub(crate) mod degraded;
pub(crate) mod delivery;
pub(crate) mod fallback;
pub(crate) mod faults;
pub(crate) mod judge;
pub(crate) mod keyring_check;
pub(crate) mod load;
pub(crate) mod modify;
pub(crate) mod options;
pub(crate) mod push_rule;
pub(crate) mod reencrypt_local;
pub(crate) mod reload;
pub(crate) mod rename;
pub(crate) mod sample;
pub(crate) mod seen_records;
pub(crate) mod store;
pub(crate) mod sync;
pub(crate) mod table_keyring;
pub(crate) mod write;
