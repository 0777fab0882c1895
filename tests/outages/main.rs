//! The database is away and comes back: what waits in the local file reaches it.

mod breaker;
mod durability;
mod maintain;
mod outage;
mod standby;
#[path = "../support/mod.rs"]
mod support;
mod sync;
