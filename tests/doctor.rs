//! The doctor, over planted misconfigurations: each is found, alone, and mended by its own SQL.

mod support;

#[path = "doctor/copies.rs"]
mod copies;
#[path = "doctor/frame.rs"]
mod frame;
#[path = "doctor/growth.rs"]
mod growth;
#[path = "doctor/indexes.rs"]
mod indexes;
#[path = "doctor/names.rs"]
mod names;
#[path = "doctor/old_places.rs"]
mod old_places;
#[path = "doctor/operation.rs"]
mod operation;
#[path = "doctor/orphans.rs"]
mod orphans;
#[path = "doctor/schema.rs"]
mod schema;
