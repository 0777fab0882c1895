//! Records: what is stored, changed, listed and found, and what happens to damaged ones.

mod expect;
mod fields;
mod find;
mod forged;
mod format;
mod huge_rows;
mod in_memory;
mod other_provider;
mod plain_columns;
mod races;
mod rename;
mod seen;
#[path = "../support/mod.rs"]
mod support;
mod webhooks;
