//! Creates the schema and its tables, closed to everybody else, and checks that they are what they should be.

use sqlx::Row;
use sqlx::postgres::{PgArguments, PgRow};

use crate::display::visible;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query};
use crate::postgres::sql::names::{literal, quote};

pub(crate) const KEYRING: &str = "retell_vault.keyring";
pub(in crate::postgres) const HOSTS: &str = "retell_vault.hosts";

/// Roles that every client of a hosted database may act as.
const CLIENTS: &str = "SELECT rolname::pg_catalog.text FROM pg_catalog.pg_roles
    WHERE rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY (ARRAY['anon', 'authenticated']::pg_catalog.text[])";

/// Whether the schema is there, and a role owns it that this session may act as.
const SCHEMA: &str = "SELECT pg_catalog.pg_has_role(nspowner, 'USAGE'), pg_catalog.pg_get_userbyid(nspowner)::pg_catalog.text
    FROM pg_catalog.pg_namespace WHERE nspname::pg_catalog.text OPERATOR(pg_catalog.=) 'retell_vault'::pg_catalog.text";

/// The tables, and whether a statement on one of them runs code of others: a view, a rule, a trigger, a policy. `relhasrules` and the
/// like stay true after the last rule was dropped, until the next VACUUM.
const TABLES: &str = "SELECT c.relname::pg_catalog.text, c.relkind::pg_catalog.text OPERATOR(pg_catalog.=) 'r'
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class OPERATOR(pg_catalog.=) c.oid)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid OPERATOR(pg_catalog.=) c.oid)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent OPERATOR(pg_catalog.=) c.oid),
    c.relrowsecurity
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) 'retell_vault'::pg_catalog.text
        AND c.relname::pg_catalog.text OPERATOR(pg_catalog.=) ANY (ARRAY['keyring', 'hosts']::pg_catalog.text[])";

const TABLE_STATEMENTS: [&str; 4] = [
    "CREATE SCHEMA IF NOT EXISTS retell_vault",
    "CREATE TABLE IF NOT EXISTS retell_vault.keyring (
    generation pg_catalog.int8 PRIMARY KEY CHECK (generation OPERATOR(pg_catalog.>) 0::pg_catalog.int8),
    predecessor pg_catalog.text UNIQUE,
    sealed pg_catalog.text NOT NULL CHECK (pg_catalog.octet_length(sealed) OPERATOR(pg_catalog.<=) 1048576),
    at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    voucher pg_catalog.text)",
    "CREATE TABLE IF NOT EXISTS retell_vault.hosts (
    host pg_catalog.text PRIMARY KEY CHECK (pg_catalog.octet_length(host) OPERATOR(pg_catalog.<=) 200),
    generation pg_catalog.int8 NOT NULL,
    at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp())",
    "COMMENT ON TABLE retell_vault.keyring IS 'retell-vault: the sealed keyring, one row for each generation'",
];

/// Creates what is missing, and takes the rights of others away. `roles` are those of the application: they may read the
/// keyring and write notes of hosts.
///
/// # Errors
/// `AccessDenied` if another role owns the schema, or this one may not create it. On error nothing was changed.
pub(crate) async fn create(database: &Database, roles: &[String]) -> Result<(), DatabaseError> {
    refuse_others_schema(database).await?;
    let clients = database.inspect(statement(CLIENTS.to_owned())).await?;
    let mut closed: Vec<String> = vec!["PUBLIC".to_owned()];
    for client in &clients {
        closed.push(quote(&column::<String>(client, 0)?));
    }
    let closed = closed.join(", ");
    let mut statements: Vec<String> = TABLE_STATEMENTS.iter().map(|&sql| sql.to_owned()).collect();
    statements.push(format!("REVOKE ALL ON SCHEMA retell_vault FROM {closed}"));
    statements.push(format!("REVOKE ALL ON {KEYRING}, {HOSTS} FROM {closed}"));
    for role in roles {
        let role = quote(role);
        statements.push(format!("GRANT USAGE ON SCHEMA retell_vault TO {role}"));
        statements.push(format!("GRANT SELECT ON {KEYRING} TO {role}"));
        statements.push(format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {HOSTS} TO {role}"));
    }
    // DDL without parameters; a lock that is held elsewhere must not queue up readers for long
    let patience = format!("SELECT pg_catalog.set_config('lock_timeout', {}, true)", literal("2s"));
    let queries = [patience].into_iter().chain(statements).map(statement).collect();
    database.transaction(queries, Phase::Writing).await.map(drop)
}

/// Somebody who may create schemas could have made it before, with code of their own in it.
async fn refuse_others_schema(database: &Database) -> Result<(), DatabaseError> {
    let rows = database.inspect(statement(SCHEMA.to_owned())).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    match column::<bool>(row, 0)? {
        true => check_tables(database).await,
        false => {
            let owner: String = column(row, 1)?;
            let message = format!("the schema retell_vault belongs to role {}", visible(&owner));
            Err(Error::new(ErrorKind::AccessDenied, message)
                .with_hint("run this as its owner; if you do not know that role, drop the schema first")
                .into())
        }
    }
}

/// Refuses tables on which a statement would run code of others, and rows that row level security would hide.
///
/// # Errors
/// `AccessDenied`, naming the table.
pub(crate) async fn check_tables(database: &Database) -> Result<(), DatabaseError> {
    for row in database.inspect(statement(TABLES.to_owned())).await? {
        let name: String = column(&row, 0)?;
        let problem = match (column::<bool>(&row, 1)?, column::<bool>(&row, 2)?) {
            (true, false) => continue,
            (true, true) => "has row level security, which may hide rows",
            _ => "is no plain table, or has triggers, rules or inheriting tables",
        };
        let message = format!("retell_vault.{} {problem}", visible(&name));
        return Err(Error::new(ErrorKind::AccessDenied, message)
            .with_hint("retell-vault did not make it so: find out who did, then remove that")
            .into());
    }
    Ok(())
}

pub(super) fn statement(sql: String) -> Query {
    Query { sql: sql.into(), arguments: PgArguments::default() }
}

pub(super) fn column<'r, T>(row: &'r PgRow, at: usize) -> Result<T, DatabaseError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(at).map_err(|error| DatabaseError::of(&error, Phase::Reading))
}
