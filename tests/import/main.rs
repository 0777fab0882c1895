//! An import: the formats that it reads, and how every value that an application left ends sealed or reported.

#[cfg(feature = "cli")]
mod run;
// Shared with `tests/cli`, which uses the rest.
#[cfg(feature = "cli")]
#[allow(dead_code)]
#[path = "../cli/runner.rs"]
mod runner;
#[cfg(feature = "cli")]
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "admin")]
mod values;
