//! Connection options: the URL and the pool.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool};

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connection::errors::URL_HINT;

/// Whether the connection goes through a transaction pooler (PgBouncer, Supavisor).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PoolerMode {
    /// Detects a pooler by port 6543, by `pgbouncer=true` in the URL, or by a refused start-up parameter.
    #[default]
    Auto,
    /// Runs every operation in one explicit transaction, with unnamed statements. This costs round trips.
    Transaction,
    /// A direct connection, or a pooler in session mode.
    None,
}

/// How long the vault waits for the database before it continues without it.
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

/// The maximum number of connections in a pool of the vault's own.
const MAX_CONNECTIONS: u32 = 10;

/// The connection options of a URL, and whether it names a transaction pooler.
///
/// # Errors
/// `Configuration`. The error does not show the URL.
pub(super) fn parse(url: &str) -> Result<(PgConnectOptions, bool)> {
    let (url, says_pooler) = for_driver(url)?;
    let options = PgConnectOptions::from_str(&url).map_err(|_| invalid_url())?;
    // the driver keeps the brackets of an IPv6 address, and would look up a name that has them
    let address = options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let options = match address.map(str::to_owned) {
        Some(address) => options.host(&address),
        None => options,
    };
    Ok((options.application_name("retell-vault").disable_statement_logging(), says_pooler))
}

/// A pool of the vault's own. It connects on first use.
pub(super) fn pool(options: &PgConnectOptions, transactional: bool, timeouts: Timeouts) -> PgPool {
    let options = match transactional {
        true => options.clone().extra_float_digits(None).statement_cache_capacity(0),
        // the server gives up first, so a write that waited too long is certainly not applied
        false => options.clone().options([("statement_timeout", server_limit(timeouts))]),
    };
    PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(timeouts.connect)
        // a broken connection shows when it is used; testing costs a round trip each time
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// The time limit of a statement in milliseconds, as a server setting.
fn server_limit(timeouts: Timeouts) -> String {
    (timeouts.operation.as_millis() * 9 / 10).max(1).to_string()
}

/// The URL parameters that the driver knows. It logs any other parameter with its value.
const KNOWN: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// A convention of other clients.
const POOLER: &str = "pgbouncer";

/// URL parameters of providers and other clients that the vault ignores. Ignoring them does not weaken a connection,
/// except for `channel_binding`, which providers add by default and the driver does not support.
const DROPPED: [&str; 15] = [
    POOLER,
    "channel_binding",
    "connect_timeout",
    "connection_limit",
    "pool_timeout",
    "socket_timeout",
    "statement_cache_size",
    "schema",
    "supa",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "target_session_attrs",
];

/// The URL for the driver, with only the parameters that it knows.
///
/// # Errors
/// `Configuration` for an unknown parameter. The error names its position, because its name may be part of a password
/// with an unescaped `?` or `&`.
fn for_driver(url: &str) -> Result<(String, bool)> {
    let mut parsed = url::Url::parse(url).map_err(|_| invalid_url())?;
    // without `//` the driver would use the whole rest as the name of a database on this host
    if !["postgres", "postgresql"].contains(&parsed.scheme()) || !parsed.has_authority() {
        return Err(invalid_url());
    }
    let pairs: Vec<(String, String)> = parsed.query_pairs().into_owned().collect();
    let says_pooler = pairs.iter().any(|(name, value)| name == POOLER && value == "true");
    let mut rest = Vec::new();
    for (index, (name, value)) in pairs.iter().enumerate() {
        if DROPPED.contains(&name.as_str()) {
            continue;
        }
        if !is_known(name) {
            return Err(unknown_parameter(index, name));
        }
        rest.push((name, value));
    }
    if rest.len() == pairs.len() {
        return Ok((url.to_owned(), says_pooler));
    }
    match rest.is_empty() {
        true => parsed.set_query(None),
        false => drop(parsed.query_pairs_mut().clear().extend_pairs(rest)),
    }
    Ok((parsed.into(), says_pooler))
}

fn is_known(name: &str) -> bool {
    let is_setting = name.strip_prefix("options[").is_some_and(|rest| rest.ends_with(']'));
    is_setting || KNOWN.contains(&name)
}

fn unknown_parameter(index: usize, name: &str) -> Error {
    let message = format!("parameter {} of the database URL is unknown", index + 1);
    let close = KNOWN.iter().chain(&DROPPED).find(|known| distance(known, name) <= 2);
    let hint = match close {
        Some(close) => format!("did you mean `{close}`?"),
        None => "remove it; if it is part of the password, write `?` as %3F and `&` as %26".to_owned(),
    };
    Error::new(ErrorKind::Configuration, message).with_hint(hint)
}

/// The number of characters to add, remove or replace to turn one text into the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.chars().count()]
}

fn invalid_url() -> Error {
    Error::new(ErrorKind::Configuration, "the database URL is not valid").with_hint(URL_HINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The driver's own parser leaves the brackets on.
    #[test]
    fn an_ipv6_address_is_an_address() {
        for (url, host) in [
            ("postgres://u@[::1]:5433/db", "::1"),
            ("postgres://u@[2001:db8::7]/db", "2001:db8::7"),
            ("postgres://u@db.example.com/db", "db.example.com"),
        ] {
            assert_eq!(parse(url).unwrap().0.get_host(), host);
        }
    }

    #[test]
    fn the_driver_gets_only_parameters_that_it_knows() {
        let url =
            "postgres://u:p%3Fq@h/db?channel_binding=require&sslmode=require&pgbouncer=true&options[a]=b%26c";
        let (url, says_pooler) = for_driver(url).unwrap();
        assert!(says_pooler);
        let parsed = url::Url::parse(&url).unwrap();
        let pairs: Vec<_> = parsed.query_pairs().into_owned().collect();
        let expected =
            [("sslmode", "require"), ("options[a]", "b&c")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(pairs, expected);
        assert_eq!(for_driver("postgres://h/db?schema=public").unwrap().0, "postgres://h/db");
    }

    #[test]
    fn an_unknown_parameter_is_told_by_its_position_and_its_neighbour() {
        let error = for_driver("postgres://h/db?sslmode=require&sslmod=canary").unwrap_err();
        assert_eq!(error.to_string(), "parameter 2 of the database URL is unknown");
        assert_eq!(error.hint(), "did you mean `sslmode`?");
        let error = for_driver("postgres://h/db?canary=canary").unwrap_err();
        assert!(!format!("{error} {error:?} {}", error.hint()).contains("canary"));
    }
}
