//! How to connect: what a URL says, and how a pool is set up.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool};

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connection::errors::URL_HINT;

/// Whether a transaction pooler (PgBouncer, Supavisor) stands between the vault and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PoolerMode {
    /// Recognised by port 6543, `pgbouncer=true` in the URL, or a refused start-up parameter.
    #[default]
    Auto,
    /// Every operation in one explicit transaction, with unnamed statements. Costs round trips.
    Transaction,
    /// A direct connection, or a pooler in session mode.
    None,
}

/// How long the vault waits for the database before it goes on without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection. 3 s by default: a healthy server answers in milliseconds.
    pub connect: Duration,
    /// For one operation on a connection. 10 s by default: longer than most lock waits.
    pub operation: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), operation: Duration::from_secs(10) }
    }
}

/// Connections a pool of our own keeps at most.
const MAX_CONNECTIONS: u32 = 10;

/// What a URL says, and whether it names a transaction pooler.
///
/// # Errors
/// `Configuration`; the error does not repeat the URL.
pub(super) fn parse(url: &str) -> Result<(PgConnectOptions, bool)> {
    let (url, says_pooler) = without_pooler_parameter(url)?;
    let options = PgConnectOptions::from_str(&url).map_err(|_| invalid_url())?;
    Ok((options.application_name("retell-vault").disable_statement_logging(), says_pooler))
}

/// A pool of our own. It connects when it is first used.
pub(super) fn pool(options: &PgConnectOptions, transactional: bool, timeouts: Timeouts) -> PgPool {
    let options = match transactional {
        true => options.clone().extra_float_digits(None).statement_cache_capacity(0),
        // the server gives up first, so that a write which waited too long is known not to be applied
        false => options.clone().options([("statement_timeout", server_limit(timeouts))]),
    };
    PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(timeouts.connect)
        // a broken connection shows itself when it is used; testing costs a round trip each time
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// The time limit of a statement in milliseconds, as the server is told it.
fn server_limit(timeouts: Timeouts) -> String {
    (timeouts.operation.as_millis() * 9 / 10).max(1).to_string()
}

/// `pgbouncer=true` is a convention of other clients; sqlx would log it with its value.
fn without_pooler_parameter(url: &str) -> Result<(String, bool)> {
    let mut parsed = url::Url::parse(url).map_err(|_| invalid_url())?;
    // without `//` the driver would take the whole rest for the name of a database on this host
    if !["postgres", "postgresql"].contains(&parsed.scheme()) || !parsed.has_authority() {
        return Err(invalid_url());
    }
    let pairs: Vec<(String, String)> = parsed.query_pairs().into_owned().collect();
    let says_pooler = pairs.iter().any(|(name, value)| name == "pgbouncer" && value == "true");
    if !pairs.iter().any(|(name, _)| name == "pgbouncer") {
        return Ok((url.to_owned(), false));
    }
    let rest = pairs.iter().filter(|(name, _)| name != "pgbouncer");
    parsed.query_pairs_mut().clear().extend_pairs(rest);
    Ok((parsed.into(), says_pooler))
}

fn invalid_url() -> Error {
    Error::new(ErrorKind::Configuration, "the database URL is not valid").with_hint(URL_HINT)
}
