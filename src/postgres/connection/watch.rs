//! Checks over a second connection whether a session still works on a long statement.

use std::io::{self, ErrorKind::TimedOut};
use std::pin::pin;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::postgres::connection::options::Timeouts;

/// A session counts as lost after this many checks in succession that do not see it at work. With the usual time limits
/// this takes about 50 s. TCP survives a shorter interruption of the network.
const LOOKS: u32 = 4;

/// The identity of the session. A process id alone could belong to another session soon after this one ends.
const SESSION: &str =
    "SELECT a.pid, pg_catalog.date_part('epoch', a.backend_start) FROM pg_catalog.pg_stat_activity AS a
    WHERE a.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()";

/// Whether the session is at work. A session that waits for its client has answered already, or never got the statement;
/// in both cases the network lost the message.
const AT_WORK: &str = "SELECT coalesce(a.wait_event_type OPERATOR(pg_catalog.<>) 'Client', true)
    FROM pg_catalog.pg_stat_activity AS a WHERE a.pid OPERATOR(pg_catalog.=) $1
    AND pg_catalog.date_part('epoch', a.backend_start) OPERATOR(pg_catalog.=) $2";

/// Ends the session. Its locks would otherwise stay until the server notices that the client is gone.
const END: &str = "SELECT pg_catalog.pg_terminate_backend(a.pid)
    FROM pg_catalog.pg_stat_activity AS a WHERE a.pid OPERATOR(pg_catalog.=) $1
    AND pg_catalog.date_part('epoch', a.backend_start) OPERATOR(pg_catalog.=) $2
    AND a.wait_event_type OPERATOR(pg_catalog.=) 'Client'";

/// Watches a session whose statements have no time limit.
pub(super) struct SessionWatch {
    options: PgConnectOptions,
    timeouts: Timeouts,
    pid: i32,
    started: f64,
    lost: bool,
}

impl SessionWatch {
    /// Watches the session of a connection. It opens further connections with the options.
    pub(super) async fn of(
        connection: &mut PgConnection,
        options: PgConnectOptions,
        timeouts: Timeouts,
    ) -> sqlx::Result<Self> {
        let (pid, started) = sqlx::query_as(SESSION).persistent(false).fetch_one(connection).await?;
        Ok(Self { options, timeouts, pid, started, lost: false })
    }

    /// Waits for a statement of the session while the session is at work. `None` if the session is lost. Later statements
    /// are then lost too.
    pub(super) async fn over<T>(
        &mut self,
        statement: impl Future<Output = sqlx::Result<T>> + Send,
    ) -> Option<sqlx::Result<T>> {
        let (mut statement, mut failed) = (pin!(statement), 0);
        while !self.lost {
            if let Ok(done) = timeout(self.timeouts.operation, &mut statement).await {
                return Some(done);
            }
            failed = if self.is_at_work().await { 0 } else { failed + 1 };
            self.lost = failed == LOOKS;
            if self.lost {
                self.ask(END).await.ok(); // out of reach, it ends when the server notices
            }
        }
        None
    }

    /// Whether the session is at work. It counts as at work while the server has no free connection for the check, or a
    /// pooler delays it.
    async fn is_at_work(&self) -> bool {
        match self.ask(AT_WORK).await {
            Ok(at_work) => at_work.unwrap_or(false),
            Err(error) => matches!(error, sqlx::Error::PoolTimedOut) || error.as_database_error().is_some(),
        }
    }

    async fn ask(&self, sql: &'static str) -> sqlx::Result<Option<bool>> {
        let connecting = timeout(self.timeouts.connect, PgConnection::connect_with(&self.options));
        let mut connection = connecting.await.map_err(|_| sqlx::Error::from(io::Error::from(TimedOut)))??;
        let answer = async {
            let question = sqlx::query_scalar(sql).bind(self.pid).bind(self.started).persistent(false);
            let answer = question.fetch_optional(&mut connection).await?;
            connection.close().await.ok(); // it has answered
            Ok(answer)
        };
        timeout(self.timeouts.connect, answer).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }
}
