//! What row level security keeps from our role: the rule, what looks only where nothing is hidden, and what refuses.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};

use crate::error::{Error, ErrorKind};
use crate::layout::layout::Layout;
use crate::postgres::connection::acting_owner::{Until, act_as_owner};
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::postgres::connection::transaction::setting;
use crate::postgres::sql::names::relation;

/// The server looks once a second whether we are still there: a command that was interrupted leaves no statement behind. Other
/// systems than Linux may not have it, and refuse the setting then.
const UNTIL_THE_CLIENT_IS_GONE: &str = "SELECT pg_catalog.set_config(s.name, '1000', true) FROM pg_catalog.pg_settings AS s \
    WHERE s.name = 'client_connection_check_interval' AND pg_catalog.version() LIKE '%linux%'";

/// What somebody does with rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowAction {
    /// Reading them.
    Read,
    /// Changing them; whether they can be read is another question.
    Update,
    /// Whatever there is.
    Everything,
}

/// A condition of SQL: row level security may keep rows of a relation from our role. `relation` is an
/// expression of its oid.
///
/// It does not where it does not apply to us, nor where a policy for us by name, or for everybody, has exactly
/// `true` as its condition, and none takes anything away from anybody. That is less than the server would let us
/// see: whose rights are ours may change between a look and a count, and nothing can hold it. Policies stay for
/// as long as the relation is held.
pub(crate) fn may_hide(relation: &str, action: RowAction) -> String {
    let takes = "coalesce(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), 'true') = 'true'";
    let (commands, grants) = match action {
        RowAction::Read => ("'*', 'r'", String::new()),
        RowAction::Update => ("'*', 'w'", format!(" AND {takes}")),
        RowAction::Everything => ("'*', 'r', 'a', 'w', 'd'", format!(" AND {takes} AND p.polcmd = '*'")),
    };
    let ours = "ARRAY[0, (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user)]::oid[]";
    format!(
        "(pg_catalog.row_security_active({relation}) AND NOT coalesce((\
         SELECT pg_catalog.bool_and(p.polpermissive) AND pg_catalog.bool_or(p.polroles && {ours} \
         AND pg_catalog.pg_get_expr(p.polqual, p.polrelid) = 'true'{grants}) \
         FROM pg_catalog.pg_policy AS p WHERE p.polrelid = {relation} AND p.polcmd IN ({commands})), false))"
    )
}

/// Makes the rest of the transaction see every row of some relations or fail.
///
/// Where policies apply to us and hide nothing, they stay on. In any other case the server refuses what they
/// would change.
pub(super) fn all_or_nothing(relations: &[&str]) -> Result<Query, DatabaseError> {
    let names: Vec<String> = relations.iter().map(|relation| (*relation).to_owned()).collect();
    let mut arguments = PgArguments::default();
    bind(&mut arguments, names)?;
    let sql = format!(
        "SELECT pg_catalog.set_config('row_security', CASE \
         WHEN pg_catalog.bool_or(pg_catalog.row_security_active(t.relation)) AND NOT pg_catalog.bool_or({}) \
         THEN 'on' ELSE 'off' END, true) \
         FROM (SELECT n.name::regclass::oid FROM pg_catalog.unnest($1::text[]) AS n (name)) AS t (relation)",
        may_hide("t.relation", RowAction::Read)
    );
    Ok(Query { sql: sql.into(), arguments })
}

impl Database {
    /// Runs a reading statement that goes over whole relations, for as long as the server works on it, as the owner of the
    /// first one. It fails when row level security would hide something from it, also when policies change meanwhile.
    /// Dropping the future closes the connection, which ends the statement.
    pub(crate) async fn fetch_from_all_rows(
        &self,
        relations: &[&str],
        query: Query,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        self.fetch_by_processes(None, relations, query).await
    }

    /// As [`fetch_from_all_rows`](Self::fetch_from_all_rows), with at most this many processes of the server.
    pub(crate) async fn fetch_by_processes(
        &self,
        processes: Option<u32>,
        relations: &[&str],
        query: Query,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        let mut rows = Vec::new();
        let keep = |row| {
            rows.push(row);
            Ok(())
        };
        self.stream(for_all_rows(processes, relations)?, query, keep).await?;
        Ok(rows)
    }

    /// As [`fetch_from_all_rows`](Self::fetch_from_all_rows), and hands over each row as it arrives, so that an answer of any
    /// length takes little memory.
    pub(in crate::postgres) async fn each_of_all_rows(
        &self,
        relations: &[&str],
        query: Query,
        each: impl FnMut(PgRow) -> Result<(), DatabaseError> + Send,
    ) -> Result<(), DatabaseError> {
        self.stream(for_all_rows(None, relations)?, query, each).await
    }

    /// As [`fetch_from_all_rows`](Self::fetch_from_all_rows), for a statement that takes some of the rows: the server gives up
    /// after `limit`.
    pub(in crate::postgres) async fn fetch_of_all_rows_within(
        &self,
        limit: Duration,
        relations: &[&str],
        query: Query,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        let millis = limit.as_millis().max(1);
        let mut queries = for_all_rows(None, relations)?;
        let limited = format!("SELECT pg_catalog.set_config('statement_timeout', '{millis}', true)");
        queries.insert(1, setting(&limited)); // also of waiting for the relations
        queries.push(query);
        self.transaction_within(limit + self.timeouts.operation, queries, Phase::Reading).await
    }

    /// As [`inspect_as_owner`](Self::inspect_as_owner), for rows of some relations, as the owner of the first one: the server
    /// gives up after `limit`, and refuses when row level security would hide some.
    pub(crate) async fn quick_check(
        &self,
        relations: &[&str],
        query: Query,
        limit: Duration,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        let settings = format!(
            "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('transaction_read_only', 'on', true), \
             pg_catalog.set_config('statement_timeout', '{}', true)",
            limit.as_millis().max(1)
        );
        let mut queries = vec![setting(&settings)];
        queries.extend(as_owner_of_first(relations));
        queries.extend([all_or_nothing(relations)?, query]);
        self.transaction_within(limit + self.timeouts.operation, queries, Phase::Reading).await
    }
}

/// What comes before a statement over whole relations, in its transaction.
fn for_all_rows(processes: Option<u32>, relations: &[&str]) -> Result<Vec<Query>, DatabaseError> {
    let mut queries = vec![setting(
        "SELECT pg_catalog.set_config('statement_timeout', '0', true), \
         pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('row_security', 'on', true), \
         pg_catalog.set_config('transaction_read_only', 'on', true), \
         pg_catalog.set_config('bytea_output', 'escape', true)", // a token in bytes reads as text
    )];
    queries.push(setting(UNTIL_THE_CLIENT_IS_GONE));
    queries.extend(processes.map(|processes| {
        let workers = processes.saturating_sub(1);
        setting(&format!(
            "SELECT pg_catalog.set_config('max_parallel_workers_per_gather', '{workers}', true)"
        ))
    }));
    queries.extend(as_owner_of_first(relations));
    // holds the relations, so that their policies stay as they are until the end; unlike LOCK TABLE, it asks
    // for no right on more than a column
    queries.extend(relations.iter().map(|relation| setting(&format!("SELECT 1 FROM {relation} LIMIT 0"))));
    queries.push(all_or_nothing(relations)?);
    Ok(queries)
}

fn as_owner_of_first(relations: &[&str]) -> Option<Query> {
    relations.first().map(|relation| setting(&act_as_owner(relation, Until::TheTransactionEnds)))
}

/// What opens a table whose policies hold for us.
const HINT: &str = "give the role a policy for every row (`retell-vault schema plan --row-security on \
                    --service-role ROLE`), or connect as a role with BYPASSRLS; superusers and members of the \
                    table's owner act as that owner, which needs such a policy if row level security is forced";

/// # Errors
/// `AccessDenied` when policies may hide rows of the table from our role.
pub(crate) async fn refuse_hidden_rows(database: &Database, layout: &Layout) -> Result<(), DatabaseError> {
    match may_hide_from_us(database, layout, RowAction::Read).await? {
        true => Err(hidden_rows(layout).into()),
        false => Ok(()),
    }
}

/// # Errors
/// `AccessDenied` when policies may keep our role from changing rows that it sees.
pub(crate) async fn refuse_fixed_rows(database: &Database, layout: &Layout) -> Result<(), DatabaseError> {
    if !may_hide_from_us(database, layout, RowAction::Update).await? {
        return Ok(());
    }
    let message =
        format!("row level security may prevent this role from changing rows of {}", layout.table_name());
    Err(Error::new(ErrorKind::AccessDenied, message).with_hint(HINT).into())
}

/// Nothing can be said about the table.
pub(crate) fn hidden_rows(layout: &Layout) -> Error {
    let message = format!(
        "row level security may hide rows of {} from this role, so no count or rotation of them is reliable",
        layout.table_name()
    );
    Error::new(ErrorKind::AccessDenied, message).with_hint(HINT)
}

/// Whether policies may do that to our role.
pub(crate) async fn may_hide_from_us(
    database: &Database,
    layout: &Layout,
    action: RowAction,
) -> Result<bool, DatabaseError> {
    let mut arguments = PgArguments::default();
    bind(&mut arguments, relation(layout))?;
    let sql = format!(
        "SELECT {} FROM (SELECT $1::text::regclass::oid) AS t (relation)",
        may_hide("t.relation", action)
    );
    let rows = database.inspect_as_owner(&relation(layout), Query { sql: sql.into(), arguments }).await?;
    let may = rows.first().map_or(Ok(false), |row| row.try_get(0));
    may.map_err(|error| DatabaseError::of(&error, Phase::Reading))
}
