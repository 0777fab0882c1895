//! The route to the server: its encryption and its pooler.

use std::time::Duration;

use sqlx::postgres::PgSslMode;
use sqlx::{Connection, PgConnection, Row};
use tokio::time::timeout;

use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::Database;

/// Long enough for two connections to another continent.
const LIMIT: Duration = Duration::from_secs(3);
/// How often the sessions of two connections are compared.
const COMPARISONS: usize = 3;

/// The encryption that the connection options require, named as in the PostgreSQL manual, section 34.19.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// `disable`.
    Never,
    /// `allow`, `prefer`: the server decides.
    Perhaps,
    /// `require`: encrypted, but without verifying the server.
    Unverified,
    /// `verify-ca`, `verify-full`.
    Verified,
}

/// The route to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) encryption: Encryption,
    /// Whether it stays on this host.
    pub(crate) is_local: bool,
    /// Whether it goes through a known transaction pooler.
    pub(crate) pooled: bool,
}

impl Database {
    pub(crate) fn route(&self) -> Route {
        let options = self.pool().connect_options();
        let encryption = match options.get_ssl_mode() {
            PgSslMode::Disable => Encryption::Never,
            PgSslMode::Allow | PgSslMode::Prefer => Encryption::Perhaps,
            PgSslMode::Require => Encryption::Unverified,
            PgSslMode::VerifyCa | PgSslMode::VerifyFull => Encryption::Verified,
        };
        let is_local = options.get_socket().is_some() || is_this_host(options.get_host());
        Route { encryption, is_local, pooled: self.is_transactional() }
    }

    /// Whether one server session serves two connections in turn, as behind a transaction pooler. It detects only an idle
    /// pooler: a busy pooler may give each connection a separate session.
    pub(crate) async fn shares_sessions(&self) -> Result<bool, DatabaseError> {
        let limit = self.patience().min(LIMIT);
        let compared = timeout(limit, self.compare_sessions()).await;
        compared
            .map_err(|_| DatabaseError::timed_out(Phase::Reading))?
            .map_err(|error| DatabaseError::of(&error, Phase::Reading))
    }

    async fn compare_sessions(&self) -> sqlx::Result<bool> {
        let options = self.pool().connect_options();
        let mut one = PgConnection::connect_with(&options).await?;
        let mut other = PgConnection::connect_with(&options).await?;
        let mut shared = false;
        for _ in 0..COMPARISONS {
            shared |= session(&mut one).await? == session(&mut other).await?;
        }
        one.close().await?;
        other.close().await?;
        Ok(shared)
    }
}

/// The server session of a connection. It uses the simple protocol, which passes through every pooler.
async fn session(connection: &mut PgConnection) -> sqlx::Result<i32> {
    let row = sqlx::raw_sql("SELECT pg_catalog.pg_backend_pid()").fetch_one(connection).await?;
    row.try_get(0)
}

fn is_this_host(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = address.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    is_loopback || host.starts_with('/') || host.is_empty() || host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::connection::options::{PoolerMode, Timeouts};

    #[tokio::test]
    async fn a_route_is_read_from_the_url() {
        let route =
            |url: &str| Database::from_url(url, PoolerMode::Auto, Timeouts::default()).unwrap().route();
        for local in ["localhost", "127.0.0.1", "[::1]", "%2Frun%2Fpostgresql"] {
            assert!(route(&format!("postgres://u@{local}/db")).is_local, "{local}");
        }
        for (mode, encryption) in [
            ("disable", Encryption::Never),
            ("prefer", Encryption::Perhaps),
            ("require", Encryption::Unverified),
            ("verify-full", Encryption::Verified),
        ] {
            let route = route(&format!("postgres://u@db.example.com:6543/db?sslmode={mode}"));
            assert_eq!(route, Route { encryption, is_local: false, pooled: true });
        }
    }
}
