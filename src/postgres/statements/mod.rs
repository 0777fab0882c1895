//! The statements of the hot path: their texts, parameters and results.

pub(crate) mod answer;
pub(crate) mod bind;
pub(crate) mod found_records;
pub(crate) mod fragments;
pub(crate) mod owner;
pub(crate) mod plan;
pub(crate) mod read;
pub(crate) mod seen_update;
pub(crate) mod texts;
pub(crate) mod with_entry;
pub(crate) mod write;
