//! Re-encryption and promotion of everything that is stored, and the end of a key.

pub(crate) mod destroy_key;
pub(crate) mod options;
pub(crate) mod promote;
pub(crate) mod promote_rows;
pub(crate) mod report;
pub(crate) mod rotate;
pub(crate) mod rotate_rows;
pub(crate) mod shard;
pub(crate) mod throttle;
pub(crate) mod token_count;
