//! An import: what an application left ends sealed or reported, whatever happens meanwhile.

pub mod clearing;
pub mod commands;
pub mod kills;
pub mod on_read;
pub mod outcomes;
pub mod shapes;
pub mod siblings;
pub mod support;
pub mod traffic;
