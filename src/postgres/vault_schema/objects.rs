//! Creates the schema and its tables, closed to everybody else, and checks that no statement on them runs code of others.

use sqlx::Row;
use sqlx::postgres::{PgArguments, PgRow};

use crate::display::visible;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query};
use crate::postgres::sql::names::{literal, quote};
use crate::postgres::statements::with_entry::{LEDGER, column_names};
use crate::postgres::vault_schema::newest::{self, NEWEST};
use crate::postgres::vault_schema::removed;

pub(crate) const SCHEMA: &str = "retell_vault";
/// The schema as messages name it.
pub(crate) const SCHEMA_OBJECT: &str = "schema retell_vault";
pub(crate) const KEYRING: &str = "retell_vault.keyring";
pub(in crate::postgres) const HOSTS: &str = "retell_vault.hosts";
pub(in crate::postgres) const LOCAL_FILES: &str = "retell_vault.local_files";
/// The tables of the schema.
pub(crate) const TABLE_NAMES: [&str; 5] = ["keyring", "hosts", "local_files", "ledger", "removed"];

/// Whether the schema is there, and a role owns it that this session may act as.
const SCHEMA_OWNER: &str = "SELECT pg_catalog.pg_has_role(nspowner, 'USAGE'), pg_catalog.pg_get_userbyid(nspowner)::pg_catalog.text
    FROM pg_catalog.pg_namespace WHERE nspname::pg_catalog.text OPERATOR(pg_catalog.=) 'retell_vault'::pg_catalog.text";

/// The tables, and whether a statement on one of them runs code of others: a view, a rule, a trigger, a policy, or a function,
/// an operator or a type in a default, a constraint, an index or a column. What the server itself brings has no entry in
/// pg_depend. `relhasrules` and the like stay true after the last rule was dropped, until the next VACUUM. Runs with a safe search
/// path.
const TABLES: &str = "SELECT c.relname::text, c.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid)
        AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid) AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid),
    c.relrowsecurity,
    EXISTS (SELECT FROM pg_depend d WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_type'::regclass)
        AND (d.classid = 'pg_class'::regclass AND (d.objid = c.oid OR d.objid IN (SELECT indexrelid FROM pg_index WHERE indrelid = c.oid))
            OR d.classid = 'pg_attrdef'::regclass AND d.objid IN (SELECT oid FROM pg_attrdef WHERE adrelid = c.oid)
            OR d.classid = 'pg_constraint'::regclass AND d.objid IN (SELECT oid FROM pg_constraint WHERE conrelid = c.oid)))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'retell_vault' AND c.relname = ANY (ARRAY['keyring', 'hosts', 'local_files', 'ledger', 'removed'])";

/// Only where there is no schema: it takes the right to create one, even if it exists.
const CREATE_SCHEMA: &str = "CREATE SCHEMA IF NOT EXISTS retell_vault";
const TABLE_STATEMENTS: [&str; 13] = [
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
    "CREATE TABLE IF NOT EXISTS retell_vault.local_files (
    id pg_catalog.text PRIMARY KEY CHECK (pg_catalog.octet_length(id) OPERATOR(pg_catalog.<=) 64),
    pushes pg_catalog.int8 NOT NULL,
    mark pg_catalog.text NOT NULL CHECK (pg_catalog.octet_length(mark) OPERATOR(pg_catalog.<=) 64),
    at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp())",
    // no partitions: the primary key refuses a number that was used before, whenever that was
    "CREATE TABLE IF NOT EXISTS retell_vault.ledger (
    writer pg_catalog.uuid,
    seq pg_catalog.int8 CHECK (seq OPERATOR(pg_catalog.>) 0::pg_catalog.int8),
    epoch pg_catalog.int4 NOT NULL,
    settled pg_catalog.int8 NOT NULL,
    head pg_catalog.bytea NOT NULL CHECK (pg_catalog.octet_length(head) OPERATOR(pg_catalog.=) 32),
    at_ms pg_catalog.int8 NOT NULL,
    op pg_catalog.text NOT NULL CHECK (pg_catalog.octet_length(op) OPERATOR(pg_catalog.<=) 40),
    place pg_catalog.text CHECK (pg_catalog.octet_length(place) OPERATOR(pg_catalog.<=) 2000),
    usr pg_catalog.text CHECK (pg_catalog.octet_length(usr) OPERATOR(pg_catalog.<=) 255),
    tenant pg_catalog.text CHECK (pg_catalog.octet_length(tenant) OPERATOR(pg_catalog.<=) 255),
    before pg_catalog.text CHECK (pg_catalog.octet_length(before) OPERATOR(pg_catalog.=) 16),
    after pg_catalog.text CHECK (pg_catalog.octet_length(after) OPERATOR(pg_catalog.=) 16),
    digest pg_catalog.bytea CHECK (pg_catalog.octet_length(digest) OPERATOR(pg_catalog.=) 16),
    outcome pg_catalog.text CHECK (pg_catalog.octet_length(outcome) OPERATOR(pg_catalog.<=) 40),
    actor pg_catalog.text CHECK (pg_catalog.octet_length(actor) OPERATOR(pg_catalog.<=) 200),
    reason pg_catalog.text CHECK (pg_catalog.octet_length(reason) OPERATOR(pg_catalog.<=) 1000),
    request pg_catalog.text CHECK (pg_catalog.octet_length(request) OPERATOR(pg_catalog.<=) 200),
    host pg_catalog.text CHECK (pg_catalog.octet_length(host) OPERATOR(pg_catalog.<=) 200),
    release pg_catalog.text CHECK (pg_catalog.octet_length(release) OPERATOR(pg_catalog.<=) 40),
    detail pg_catalog.text CHECK (pg_catalog.octet_length(detail) OPERATOR(pg_catalog.<=) 8000),
    mac pg_catalog.bytea NOT NULL CHECK (pg_catalog.octet_length(mac) OPERATOR(pg_catalog.=) 32),
    received pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    CONSTRAINT retell_vault_ledger_number PRIMARY KEY (writer, seq))",
    "CREATE INDEX IF NOT EXISTS retell_vault_ledger_states ON retell_vault.ledger (place, usr COLLATE pg_catalog.\"C\",
    tenant COLLATE pg_catalog.\"C\", after COLLATE pg_catalog.\"C\" DESC) WHERE after IS NOT NULL",
    // for lists of what was done with an owner's record; a change of a record is in the index above
    "CREATE INDEX IF NOT EXISTS retell_vault_ledger_others ON retell_vault.ledger (place, usr COLLATE pg_catalog.\"C\",
    tenant COLLATE pg_catalog.\"C\", at_ms) WHERE after IS NULL AND usr IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS retell_vault_ledger_received ON retell_vault.ledger USING brin (received)",
    "CREATE TABLE IF NOT EXISTS retell_vault.removed (
    place pg_catalog.text NOT NULL,
    usr pg_catalog.text,
    tenant pg_catalog.text,
    role pg_catalog.text NOT NULL,
    at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp())",
    "CREATE INDEX IF NOT EXISTS retell_vault_removed_owners ON retell_vault.removed (place, usr COLLATE pg_catalog.\"C\",
    tenant COLLATE pg_catalog.\"C\")",
    "COMMENT ON TABLE retell_vault.keyring IS 'retell-vault: the sealed keyring, one row for each generation'",
    "COMMENT ON TABLE retell_vault.local_files IS 'retell-vault: how often each local file was pushed'",
    "COMMENT ON TABLE retell_vault.ledger IS 'retell-vault: the ledger, to which entries are only added'",
    "COMMENT ON TABLE retell_vault.removed IS 'retell-vault: rows that were deleted, as a trigger noted them'",
];

/// Takes the rights of everybody and of the clients of a hosted database away. These roles may come later, so the server
/// is asked for them.
const CLOSE: &str = "DO $vault$
DECLARE client pg_catalog.text;
BEGIN
FOR client IN SELECT 'PUBLIC'::pg_catalog.text UNION ALL SELECT pg_catalog.quote_ident(rolname::pg_catalog.text)
    FROM pg_catalog.pg_roles
    WHERE rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY (ARRAY['anon', 'authenticated']::pg_catalog.text[])
LOOP
    EXECUTE pg_catalog.format('REVOKE ALL ON SCHEMA retell_vault FROM %s CASCADE', client);
    EXECUTE pg_catalog.format('REVOKE ALL ON retell_vault.keyring, retell_vault.hosts, retell_vault.local_files, retell_vault.ledger, retell_vault.removed FROM %s CASCADE', client);
    EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION retell_vault.note_removed(), retell_vault.newest(pg_catalog.text, pg_catalog.text, pg_catalog.text) FROM %s CASCADE', client);
END LOOP;
END
$vault$";

/// Removes the tables, each only if it is empty. A row of the keyring is never dropped.
const REMOVE_EMPTY: &str = "DO $vault$
DECLARE ours pg_catalog.text; has_rows pg_catalog.bool;
BEGIN
FOREACH ours IN ARRAY ARRAY['keyring', 'hosts', 'local_files', 'ledger', 'removed']::pg_catalog.text[] LOOP
    IF EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) 'retell_vault'::pg_catalog.text
        AND c.relname::pg_catalog.text OPERATOR(pg_catalog.=) ours) THEN
        EXECUTE pg_catalog.format('LOCK TABLE retell_vault.%I IN ACCESS EXCLUSIVE MODE', ours);
        EXECUTE pg_catalog.format('SELECT EXISTS (SELECT FROM retell_vault.%I)', ours) INTO has_rows;
        IF NOT has_rows THEN
            EXECUTE pg_catalog.format('DROP TABLE retell_vault.%I', ours);
        END IF;
    END IF;
END LOOP;
END
$vault$";

/// Removes the schema and its functions, if there is no table and no trigger uses one.
const REMOVE_REST: &str = "DO $vault$
BEGIN
IF NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) 'retell_vault'::pg_catalog.text)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
    WHERE n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) 'retell_vault'::pg_catalog.text) THEN
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname::pg_catalog.text OPERATOR(pg_catalog.=) 'retell_vault'::pg_catalog.text) THEN
        DROP FUNCTION IF EXISTS retell_vault.note_removed(), retell_vault.newest(pg_catalog.text, pg_catalog.text, pg_catalog.text);
        DROP SCHEMA retell_vault;
    END IF;
END IF;
END
$vault$";

/// Whether there is a schema already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Nothing,
    Schema,
}

/// The statements that create what is missing and close it. Each can be repeated. `roles` are those of the application:
/// they may read the keyring, write notes of hosts, count the pushes of local files, add entries to the ledger, and ask it for
/// the last entries of one owner.
pub(crate) fn creation(existing: Existing, roles: &[String]) -> Vec<String> {
    let schema = (existing == Existing::Nothing).then_some(&CREATE_SCHEMA);
    let tables = schema.into_iter().chain(&TABLE_STATEMENTS).map(|&sql| sql.to_owned());
    let fixed = tables.chain([removed::create_function(), newest::create_function(), CLOSE.to_owned()]);
    fixed.chain(roles.iter().flat_map(|role| grants(role))).collect()
}

/// The statements that undo them as far as nothing is lost.
pub(crate) fn removal() -> [String; 2] {
    [REMOVE_EMPTY.to_owned(), removal_of_rest()]
}

/// The statement that removes what is left once there is no table: a trigger may go after the tables.
pub(crate) fn removal_of_rest() -> String {
    REMOVE_REST.to_owned()
}

/// The rights of a role of the application. It adds entries to the ledger and cannot change them, and sees only the last ones
/// of an owner that it names.
fn grants(role_name: &str) -> [String; 6] {
    let role = quote(role_name);
    [
        format!("GRANT USAGE ON SCHEMA retell_vault TO {role}"),
        format!("GRANT SELECT ON {KEYRING} TO {role}"),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {HOSTS} TO {role}"),
        format!("GRANT SELECT, INSERT, UPDATE ON {LOCAL_FILES} TO {role}"),
        ledger_grant(role_name),
        format!("GRANT EXECUTE ON FUNCTION {NEWEST} TO {role}"),
    ]
}

/// The right of a role of the application to add entries to the ledger. The database sets the time of arrival.
pub(crate) fn ledger_grant(role: &str) -> String {
    format!("GRANT INSERT ({}) ON {LEDGER} TO {}", column_names(), quote(role))
}

/// Creates what is missing, and takes the rights of others away.
///
/// # Errors
/// `AccessDenied` if another role owns the schema, or this one may not create it. On error nothing was changed.
pub(crate) async fn create(database: &Database, roles: &[String]) -> Result<(), DatabaseError> {
    let existing = refuse_others_schema(database).await?;
    // DDL without parameters; a lock that is held elsewhere must not queue up readers for long
    let patience = format!("SELECT pg_catalog.set_config('lock_timeout', {}, true)", literal("2s"));
    let queries = [patience].into_iter().chain(creation(existing, roles)).map(statement).collect();
    database.transaction(queries, Phase::Writing).await.map(drop)
}

/// Somebody who may create schemas could have made it before, with code of their own in it.
async fn refuse_others_schema(database: &Database) -> Result<Existing, DatabaseError> {
    let rows = database.inspect(statement(SCHEMA_OWNER.to_owned())).await?;
    let Some(row) = rows.first() else { return Ok(Existing::Nothing) };
    match column::<bool>(row, 0)? {
        true => check_tables(database).await.map(|()| Existing::Schema),
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
        let (is_plain, hides, calls) =
            (column::<bool>(&row, 1)?, column::<bool>(&row, 2)?, column::<bool>(&row, 3)?);
        let problem = match (is_plain, hides, calls) {
            (true, false, false) => continue,
            (true, true, _) => "has row level security, which may hide rows",
            (true, false, true) => {
                "calls functions that Postgres does not bring, in a default, a constraint or an index"
            }
            (false, ..) => "is no plain table, or has triggers, rules or inheriting tables",
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

pub(in crate::postgres) fn column<'r, T>(row: &'r PgRow, at: usize) -> Result<T, DatabaseError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(at).map_err(|error| DatabaseError::of(&error, Phase::Reading))
}
