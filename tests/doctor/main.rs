//! The doctor, over planted misconfigurations: each is found, alone, and mended by its own SQL.

mod access;
mod copies;
mod frame;
mod growth;
mod indexes;
mod keys;
mod names;
mod old_places;
mod operation;
mod orphans;
mod probe;
mod schema;
mod shared_secrets;
#[path = "../support/mod.rs"]
mod support;
