//! Samples the state of a vault for its metrics.

use crate::keyring::keys::KeyState;
use crate::observe::metrics;
use crate::postgres::connection::errors::Outcome;
use crate::postgres::statements::plan::Postgres;
use crate::store::core::Core;
use crate::store::reload::reload_keyring;

/// Asks the database whether it answers, and the local file what it holds.
pub(crate) async fn sample(core: &Core) {
    if !metrics::ARE_ON {
        return;
    }
    // a process that has nothing to seal would report an old generation
    reload_keyring(core).await;
    sample_keyring(core);
    if let Some(postgres) = &core.postgres {
        metrics::set_reachable(&core.subject, is_reachable(core, postgres).await);
        postgres.database.sample_pool();
        core.breaker.sample();
    }
    if let Some(local) = &core.local {
        match local.counts().await {
            Ok(counts) => metrics::set_local(&core.subject, counts.pending, counts.dead_letters),
            Err(error) => tracing::warn!(%error, "the local file could not be counted"),
        }
    }
}

fn sample_keyring(core: &Core) {
    let keyring = core.keyring.current();
    let primary = keyring.keys().iter().find(|key| key.info.state == KeyState::Primary);
    if let Some(primary) = primary {
        metrics::set_keyring(&core.subject, keyring.generation, primary.info.created_at);
    }
}

/// A full pool is no outage, and neither is a server that refuses a query.
async fn is_reachable(core: &Core, postgres: &Postgres) -> bool {
    match postgres.database.takes_writes().await {
        Ok(_) => {
            core.breaker.success();
            true
        }
        Err(fault) => {
            core.note(&fault).await;
            !matches!(fault.outcome, Outcome::Fallback | Outcome::Ambiguous)
        }
    }
}
