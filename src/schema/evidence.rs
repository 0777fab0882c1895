//! What a bounded look at the rows says, where the catalogue cannot.

/// What a bounded look at the rows found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// Columns made for tokens in which text that is no token was seen.
    pub(crate) foreign: Vec<String>,
    /// Whether every row was looked at for that, or only a sample.
    pub(crate) foreign_is_proved: bool,
    /// Whether owners have several rows; unknown where looking would have taken too long.
    pub(crate) duplicates: Option<bool>,
}
