//! What the server says about itself and about our connection.

use serde::Deserialize;
use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::classify::{Fault, Outcome, Phase, classify};
use crate::database::{Query, bind};
use crate::error::{Error, ErrorKind};
use crate::postgres::Postgres;
use crate::version::Millis;

/// $1 the schema of the table, $2 its name. Runs with an empty search_path.
const ASK: &str = "SELECT json_build_object(
    'version', current_setting('server_version_num')::int,
    'now', (extract(epoch FROM clock_timestamp()) * 1000)::int8,
    'is_standby', pg_is_in_recovery(),
    'is_read_only', current_setting('default_transaction_read_only') = 'on',
    'tls', (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()),
    'kind_of_table', (SELECT c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                      WHERE n.nspname = $1 AND c.relname = $2))::text";

/// How often the first question is asked: a transaction pooler is recognised by its first refusal.
const ROUNDS: u32 = 3;

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Server {
    /// 150004 for 15.4.
    pub(crate) version: i32,
    /// Its clock, in milliseconds since 1970.
    pub(crate) now: Millis,
    pub(crate) is_standby: bool,
    /// Whether a session of ours is read-only unless it says otherwise.
    pub(crate) is_read_only: bool,
    /// Whether the connection that the server sees is encrypted; behind a pooler that one is the pooler's.
    pub(crate) tls: Option<bool>,
    /// As in pg_class.relkind; `None` when there is nothing of this name.
    pub(crate) kind_of_table: Option<char>,
}

impl Server {
    pub(crate) async fn ask(postgres: &Postgres) -> Result<Self, Fault> {
        let mut round = 1;
        loop {
            match Self::ask_once(postgres).await {
                Err(fault) if round < ROUNDS && matches!(fault.outcome, Outcome::Retry | Outcome::Pooler) => {
                    round += 1;
                }
                answered => return answered,
            }
        }
    }

    async fn ask_once(postgres: &Postgres) -> Result<Self, Fault> {
        let mut arguments = PgArguments::default();
        bind(&mut arguments, postgres.layout().schema.clone())?;
        bind(&mut arguments, postgres.layout().table.clone())?;
        let rows = postgres.database.inspect(Query { sql: ASK.into(), arguments }).await?;
        let odd = || Error::new(ErrorKind::Rejected, "the server's answer is not as expected");
        let json: String =
            rows.first().ok_or_else(odd)?.try_get(0).map_err(|error| classify(&error, Phase::Reading))?;
        Ok(serde_json::from_str(&json).map_err(|_| odd())?)
    }
}
