//! Walks over every row of the table, and counts.

pub(crate) mod cursor;
pub(crate) mod pages;
pub(crate) mod rows;
pub(crate) mod scan;
pub(crate) mod token_count;
pub(crate) mod tokens_outside;
