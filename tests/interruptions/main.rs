//! Calls that are cut off: their future is dropped, their connection ends, or their transaction is rolled back.

mod cancellation;
mod in_transaction;
mod proxy;
#[path = "../support/mod.rs"]
mod support;
