//! Key rotation through the library, over everything that may be there and happen meanwhile.
//!
//! `RETELL_VAULT_TEST_ROWS=100000 scripts/test --test rotation traffic` runs it over more rows.

mod support;

#[path = "rotation/access.rs"]
mod access;
#[path = "rotation/new_key.rs"]
mod new_key;
#[path = "rotation/outside.rs"]
mod outside;
#[path = "rotation/places.rs"]
mod places;
#[path = "rotation/policies.rs"]
mod policies;
#[path = "rotation/schema.rs"]
mod schema;
#[path = "rotation/tables.rs"]
mod tables;
#[path = "rotation/takeup.rs"]
mod takeup;
#[path = "rotation/throttle.rs"]
mod throttle;
#[path = "rotation/together.rs"]
mod together;
#[path = "rotation/traffic.rs"]
mod traffic;
#[path = "rotation/unreadable.rs"]
mod unreadable;
