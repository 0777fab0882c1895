//! How to promote.

use crate::rotation::options::RotateOptions;

/// How to promote.
///
/// Defaults: 1,000 rows to a batch, as a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromoteOptions {
    pub(super) batch: u32,
}

impl Default for PromoteOptions {
    fn default() -> Self {
        Self { batch: 1000 }
    }
}

impl PromoteOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows that are read and written by one statement, 1 to [`RotateOptions::MAX_BATCH`].
    pub fn batch(mut self, rows: u32) -> Self {
        self.batch = rows.clamp(1, RotateOptions::MAX_BATCH);
        self
    }
}
