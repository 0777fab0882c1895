//! The server, as it describes itself, and the connection to it: its encryption and its pooler.

use serde::Deserialize;
use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::doctor::context::HostContext;
use crate::doctor::finding::{Finding, Fix, Severity};
use crate::doctor::finding_ids;
use crate::doctor::frame::framed;
use crate::error::{Error, ErrorKind};
use crate::postgres::connection::errors::{DatabaseError, Outcome, Phase};
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::postgres::connection::route::{Encryption, Route};
use crate::postgres::sql::names::quote;
use crate::postgres::statements::plan::Postgres;
use crate::record::version::Millis;

/// Parameters: $1 the schema of the table, $2 its name. Runs with a safe search path.
const ASK: &str = "SELECT json_build_object(
    'version', current_setting('server_version_num')::int,
    'now', (extract(epoch FROM clock_timestamp()) * 1000)::int8,
    'role', current_user,
    'database', current_database(),
    'is_standby', pg_is_in_recovery(),
    'fsync', current_setting('fsync')::bool,
    'read_only', (SELECT source FROM pg_settings WHERE name = 'default_transaction_read_only' AND setting = 'on'),
    'tls', (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()),
    'kind_of_table', (SELECT c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                      WHERE n.nspname = $1 AND c.relname = $2))::text";

/// How often the first query is tried. The first refusal reveals a transaction pooler.
const ROUNDS: u32 = 3;
/// The oldest supported server version.
const OLDEST: i32 = 130_000;
/// The doctor reports clocks that differ by more than this.
const SKEW: Millis = 60 * 1000;
/// Beyond this, writes of one host override later writes of other hosts for an hour or more.
const GREAT_SKEW: Millis = 60 * 60 * 1000;

/// The server's description of itself and of this connection.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ServerState {
    /// 150004 for 15.4.
    version: i32,
    /// The server's time, in milliseconds since 1970.
    now: Millis,
    role: String,
    database: String,
    is_standby: bool,
    /// Whether it waits for its disk.
    fsync: bool,
    /// The source of the read-only setting, if a session of the vault is read-only, as in pg_settings.source.
    read_only: Option<String>,
    /// Whether the server's connection is encrypted. Behind a pooler this is the pooler's connection.
    tls: Option<bool>,
    /// As in pg_class.relkind. `None` if no object has this name.
    pub(crate) kind_of_table: Option<char>,
    /// The difference between the server's clock and this host's, in milliseconds.
    #[serde(default)]
    skew: i64,
}

/// Examines the server and the connection to it.
pub(super) async fn look(host: &HostContext<'_>, postgres: &Postgres, server: &ServerState) -> Vec<Finding> {
    let address = format!("database {}", postgres.database.address());
    let mut findings = server.findings(&address);
    findings.extend(encryption_finding(&postgres.database.route(), server, &address));
    findings.extend(pooler(host, &postgres.database, &address).await);
    findings
}

impl ServerState {
    pub(crate) async fn ask(postgres: &Postgres, clock: impl Fn() -> Millis) -> Result<Self, DatabaseError> {
        let mut round = 1;
        loop {
            match Self::ask_once(postgres, &clock).await {
                Err(fault) if round < ROUNDS && matches!(fault.outcome, Outcome::Retry | Outcome::Pooler) => {
                    round += 1;
                }
                answered => return answered,
            }
        }
    }

    async fn ask_once(postgres: &Postgres, clock: impl Fn() -> Millis) -> Result<Self, DatabaseError> {
        let mut arguments = PgArguments::default();
        bind(&mut arguments, postgres.layout().schema.clone())?;
        bind(&mut arguments, postgres.layout().table.clone())?;
        let before = clock();
        let rows = postgres.database.inspect(Query { sql: ASK.into(), arguments }).await?;
        let after = clock();
        let odd = || Error::new(ErrorKind::Rejected, "the server's answer is not as expected");
        let json: Result<String, _> = rows.first().ok_or_else(odd)?.try_get(0);
        let json = json.map_err(|error| DatabaseError::of(&error, Phase::Reading))?;
        let mut server: Self = serde_json::from_str(&json).map_err(|_| odd())?;
        // the server read its clock at some time in between
        server.skew = difference(server.now, server.now.clamp(before, after.max(before)));
        Ok(server)
    }

    fn findings(&self, address: &str) -> Vec<Finding> {
        [self.old(address), self.unwilling(address), self.careless(address), self.skewed(address)]
            .into_iter()
            .flatten()
            .collect()
    }

    fn old(&self, address: &str) -> Option<Finding> {
        let major = self.version / 10_000;
        (self.version < OLDEST).then(|| {
            Finding::new(
                finding_ids::SERVER_TOO_OLD,
                Severity::Critical,
                address,
                format!(
                    "the server is Postgres {major}: the vault supports 13 and later, and older versions get no \
                     security fixes"
                ),
                Fix::Advice("move to a supported version of Postgres".to_owned()),
            )
        })
    }

    /// A finding if the server refuses writes.
    fn unwilling(&self, address: &str) -> Option<Finding> {
        if self.is_standby {
            return Some(Finding::new(
                finding_ids::STANDBY,
                Severity::Warning,
                address,
                "the server is a standby: it answers reads, and stores go to the local file",
                Fix::Advice("name the primary in the URL".to_owned()),
            ));
        }
        let source = self.read_only.as_deref()?;
        Some(Finding::new(
            finding_ids::READ_ONLY,
            Severity::Warning,
            address,
            format!(
                "sessions of role {} are read-only (default_transaction_read_only): nothing can be stored",
                self.role
            ),
            self.writable_again(source),
        ))
    }

    fn writable_again(&self, source: &str) -> Fix {
        let (role, database) = (quote(&self.role), quote(&self.database));
        let whose = match source {
            "database" => format!("DATABASE {database}"),
            "user" => format!("ROLE {role}"),
            "database user" => format!("ROLE {role} IN DATABASE {database}"),
            _ => {
                let advice = format!(
                    "default_transaction_read_only is on (set by {source}): switch it off there, or connect to \
                     another server"
                );
                return Fix::Advice(advice);
            }
        };
        let reset = format!("ALTER {whose} RESET default_transaction_read_only");
        Fix::Sql(format!("SET default_transaction_read_only = off;\n{}", framed(None, &reset)))
    }

    fn careless(&self, address: &str) -> Option<Finding> {
        let meaning = "the server does not wait for its disk (fsync = off): a crash of its machine may lose or \
                       damage acknowledged writes";
        let mend = Fix::Advice("set fsync = on in the server's configuration, and reload it".to_owned());
        (!self.fsync).then(|| Finding::new(finding_ids::FSYNC_OFF, Severity::Warning, address, meaning, mend))
    }

    fn skewed(&self, address: &str) -> Option<Finding> {
        let skew = self.skew.unsigned_abs();
        if skew <= SKEW {
            return None;
        }
        let severity = if skew > GREAT_SKEW { Severity::Critical } else { Severity::Warning };
        let ahead = if self.skew > 0 { "ahead of" } else { "behind" };
        let meaning = format!(
            "the server's clock is {} s {ahead} this host's: records are ordered by clocks, so an older \
             configuration may override a newer one",
            skew / 1000
        );
        let mend = Fix::Advice("synchronise both clocks (NTP), the wrong one first".to_owned());
        Some(Finding::new(finding_ids::CLOCK_SKEW, severity, address, meaning, mend))
    }
}

fn difference(one: Millis, other: Millis) -> i64 {
    i64::try_from(i128::from(one) - i128::from(other)).unwrap_or(i64::MAX)
}

fn encryption_finding(route: &Route, server: &ServerState, address: &str) -> Option<Finding> {
    // behind a pooler the server describes the pooler's connection
    let plain = match route.encryption {
        Encryption::Never => true,
        Encryption::Perhaps => !route.pooled && server.tls == Some(false),
        Encryption::Unverified => false,
        Encryption::Verified => return None,
    };
    if route.is_local {
        return None;
    }
    let (severity, id, meaning) = match plain {
        true => (
            Severity::Critical,
            finding_ids::TLS_OFF,
            "the connection to another host is not encrypted: an attacker on the network can read the password \
             and every answer",
        ),
        false => (
            Severity::Warning,
            finding_ids::TLS_UNVERIFIED,
            "the server's certificate is not verified: an attacker on the network can impersonate the server and \
             read the password",
        ),
    };
    let mend = "add `sslmode=verify-full` to the URL, and `sslrootcert=FILE` if the certificate is not from a \
                public authority";
    Some(Finding::new(id, severity, address, meaning, Fix::Advice(mend.to_owned())))
}

async fn pooler(host: &HostContext<'_>, database: &Database, address: &str) -> Option<Finding> {
    if database.is_transactional() {
        host.note("the connection uses a transaction pooler: every operation runs in its own transaction");
        return None;
    }
    match database.shares_sessions().await {
        Ok(true) => {}
        Ok(false) => return None,
        Err(fault) => {
            host.note(format!(
                "it is not known whether the connection uses a transaction pooler: {}",
                fault.error
            ));
            return None;
        }
    }
    Some(Finding::new(
        finding_ids::POOLER_NOT_RECOGNISED,
        Severity::Warning,
        address,
        "two connections share one server session, as behind a transaction pooler, but the pooler mode is not set \
         to `transaction`: statements fail now and then, and answers may belong to another client",
        Fix::Advice(
            "set the pooler mode (`--pooler transaction`, `PoolerMode::Transaction`), or connect without the \
             pooler"
                .to_owned(),
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(change: impl Fn(&mut ServerState)) -> ServerState {
        let mut server = ServerState {
            version: OLDEST,
            now: 0,
            role: "app".to_owned(),
            database: "it's".to_owned(),
            is_standby: false,
            fsync: true,
            read_only: None,
            tls: None,
            kind_of_table: None,
            skew: 0,
        };
        change(&mut server);
        server
    }

    fn found(change: impl Fn(&mut ServerState)) -> Vec<(&'static str, Severity)> {
        let findings = server(change).findings("database");
        findings.iter().map(|finding| (finding.id, finding.severity)).collect()
    }

    #[test]
    fn what_a_server_says_about_itself() {
        assert_eq!(found(|_| {}), []);
        assert_eq!(found(|server| server.version = 120_018), [("server_too_old", Severity::Critical)]);
        assert_eq!(found(|server| server.fsync = false), [("fsync_off", Severity::Warning)]);
        assert_eq!(found(|server| server.is_standby = true), [("standby", Severity::Warning)]);
        assert_eq!(found(|server| server.skew = 59_000), []);
        assert_eq!(found(|server| server.skew = -61_000), [("clock_skew", Severity::Warning)]);
        assert_eq!(found(|server| server.skew = 3_700_000), [("clock_skew", Severity::Critical)]);
    }

    #[test]
    fn read_only_is_mended_where_it_was_said() {
        let mend = |source: &str| server(|_| {}).writable_again(source);
        assert!(
            mend("database").text().contains("ALTER DATABASE \"it's\" RESET default_transaction_read_only;")
        );
        assert!(mend("database user").text().contains("ALTER ROLE \"app\" IN DATABASE \"it's\" RESET"));
        assert_eq!(mend("configuration file").kind(), "advice");
    }

    fn found_over(
        encryption: Encryption,
        is_local: bool,
        pooled: bool,
        tls: bool,
    ) -> Option<(Severity, &'static str)> {
        let json = serde_json::json!({
            "version": 150000, "now": 0, "role": "app", "database": "app", "is_standby": false, "fsync": true, "read_only": null,
            "tls": tls, "kind_of_table": "r"
        });
        let server = serde_json::from_value(json).unwrap();
        let found = encryption_finding(&Route { encryption, is_local, pooled }, &server, "database");
        found.map(|finding| (finding.severity, finding.id))
    }

    #[test]
    fn only_a_verified_certificate_is_good_enough_for_another_host() {
        let (off, unverified) =
            (Some((Severity::Critical, "tls_off")), Some((Severity::Warning, "tls_unverified")));
        assert_eq!(found_over(Encryption::Verified, false, false, true), None);
        assert_eq!(found_over(Encryption::Unverified, false, false, true), unverified);
        assert_eq!(found_over(Encryption::Perhaps, false, false, true), unverified);
        assert_eq!(found_over(Encryption::Perhaps, false, false, false), off);
        assert_eq!(found_over(Encryption::Perhaps, false, true, false), unverified);
        assert_eq!(found_over(Encryption::Never, false, true, true), off);
        assert_eq!(found_over(Encryption::Never, true, false, false), None);
    }
}
