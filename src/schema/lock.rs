//! One run at a time: two that change the same schema do not meet.

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use crate::error::{Error, ErrorKind};
use crate::postgres::connection::direct::Direct;
use crate::postgres::connection::errors::Fault;
use crate::record::layout::Layout;
use crate::schema::journal;

/// How often the lock is asked for. A session that waits for it inside of one statement would hold a
/// snapshot, for which the other run's `CREATE INDEX CONCURRENTLY` would wait in turn.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Takes the lock of the layout's schema for as long as the session lives. It is one for all tables of a
/// schema, since they share the journal.
///
/// # Errors
/// `Busy` when another run still has it after `patience`.
pub(super) async fn take(
    direct: &mut Direct,
    layout: &Layout,
    patience: Duration,
    on_wait: &mut (dyn FnMut() + Send),
) -> Result<(), Fault> {
    let (key, started) = (key(layout), Instant::now());
    let mut has_waited = false;
    while !direct.value::<bool>(&format!("SELECT pg_catalog.pg_try_advisory_lock({key})")).await? {
        if started.elapsed() >= patience {
            return Err(busy(direct, layout, key).await?.into());
        }
        if !has_waited {
            on_wait();
        }
        has_waited = true;
        sleep(ASK_EVERY).await;
    }
    Ok(())
}

/// Lets go of it at once, and not only when the server has noticed that the session is over.
pub(super) async fn release(direct: &mut Direct, layout: &Layout) -> Result<(), Fault> {
    direct.value::<bool>(&format!("SELECT pg_catalog.pg_advisory_unlock({})", key(layout))).await?;
    Ok(())
}

fn key(layout: &Layout) -> i64 {
    let digest = Sha256::digest(format!("retell-vault schema {}", journal::relation(layout)));
    i64::from_be_bytes(std::array::from_fn(|at| digest[at]))
}

async fn busy(direct: &mut Direct, layout: &Layout, key: i64) -> Result<Error, Fault> {
    let sql = format!(
        "SELECT coalesce(string_agg('process ' || pid, ', ' ORDER BY pid), 'unknown') FROM pg_catalog.pg_locks
         WHERE locktype = 'advisory' AND granted AND objsubid = 1
           AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
           AND (classid::int8 << 32 | objid::int8) = {key}"
    );
    let holder: String = direct.value(&sql).await?;
    let message = format!("another run is changing schema {} ({holder})", layout.schema);
    Ok(Error::new(ErrorKind::Busy, message).with_hint("wait until it has ended, then try again"))
}
