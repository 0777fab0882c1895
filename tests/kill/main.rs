//! SIGKILL to a process at any moment.

mod local;
#[cfg(feature = "cli")]
mod rotation;
// Shared with `tests/cli`, which uses the rest.
#[cfg(feature = "cli")]
#[allow(dead_code)]
#[path = "../cli/runner.rs"]
mod runner;
mod schema;
#[path = "../support/mod.rs"]
mod support;
