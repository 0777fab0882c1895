//! What the integration tests share. A test file that declares `mod support;` gets all of it.

// Every test file is a separate program, and none uses everything.
#![allow(dead_code, unused_imports)]

pub mod cluster;
pub mod dump;
pub mod faults;
pub mod heard;
pub mod in_table;
pub mod proxy;

pub use cluster::{Cluster, POSTGRES_15, TestDb};
pub use proxy::{CutProxy, Fault, Mode, Request};
pub mod doctor;
pub mod plants;
pub mod promotion;
pub mod role;
pub mod rotation;
pub mod rows;
pub mod schema;
pub mod supabase;
pub mod vaults;
pub mod webhook;
