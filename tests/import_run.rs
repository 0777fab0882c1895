//! An import: what an application left ends sealed or reported, whatever happens meanwhile.
#![cfg(feature = "cli")]

mod import_run {
    pub mod clearing;
    pub mod commands;
    pub mod kills;
    pub mod on_read;
    pub mod outcomes;
    pub mod shapes;
    pub mod siblings;
    pub mod support;
    pub mod traffic;
}
// Shared with `tests/cli.rs`, which uses the rest.
#[allow(dead_code)]
#[path = "cli/runner.rs"]
mod runner;
mod support;
