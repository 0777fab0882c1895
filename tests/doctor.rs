//! The doctor, over planted misconfigurations: each is found, alone, and mended by its own SQL.

mod support;

#[path = "doctor/frame.rs"]
mod frame;
