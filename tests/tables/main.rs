//! The tables of applications: their columns, rows, rights and servers.

mod access;
mod conformance;
mod databases;
mod families;
mod list;
mod owners;
mod refusals;
mod row_filter;
#[path = "../support/mod.rs"]
mod support;
