//! Ctrl-C, or whoever ends services.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Does the work, unless a signal comes before it is done: then it is dropped, which ends it after the
/// statements that are under way, and `None` is the answer.
pub async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Result<Option<T>, Failure> {
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    tokio::select! {
        done = work => Ok(Some(done)),
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| {
        Failure::new(
            format!("cannot listen to signals: {error}"),
            "nothing was done; run the same command again",
        )
    })
}
