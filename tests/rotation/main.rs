//! Key rotation through the library, over everything that may be there and happen meanwhile.
//!
//! `RETELL_VAULT_TEST_ROWS=100000 scripts/test --test rotation traffic` runs it over more rows.

mod access;
mod new_key;
mod outside;
mod places;
mod policies;
mod promote;
mod schema;
#[path = "../support/mod.rs"]
mod support;
mod tables;
mod takeup;
mod throttle;
mod together;
mod traffic;
mod unreadable;
