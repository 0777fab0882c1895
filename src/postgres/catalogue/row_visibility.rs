//! What row level security hides from the vault's role: the rule, queries that need every row, and refusals.

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

/// The server checks once a second whether the client is still connected, so that an interrupted command leaves no
/// running statement. Systems other than Linux may not support this, and refuse the setting.
const UNTIL_THE_CLIENT_IS_GONE: &str = "SELECT pg_catalog.set_config(s.name, '1000', true) FROM pg_catalog.pg_settings AS s \
    WHERE s.name = 'client_connection_check_interval' AND pg_catalog.version() LIKE '%linux%'";

/// An action on rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowAction {
    /// Reading them.
    Read,
    /// Changing them, whether they can be read or not.
    Update,
    /// Any action.
    Everything,
}

/// A condition in SQL that row level security may hide rows of a relation from the role. `relation` is an expression for
/// its oid.
///
/// Row level security hides nothing if it does not apply to the role. It also hides nothing if a policy for this role by
/// name, or for PUBLIC, has exactly `true` as its condition and no policy is restrictive. The server may show more rows
/// than this rule assumes, but memberships can change between the check and a count, and no lock prevents that. Policies
/// do not change while the relation is locked.
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

/// Makes the rest of the transaction see every row of some relations, or fail.
///
/// If policies apply to the role and hide nothing, they stay on. Otherwise the server refuses statements whose result
/// they would change.
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
    /// Runs a statement that reads whole relations, without a time limit, as the owner of the first one. It fails if row
    /// level security would hide rows, even if policies change in the meantime. Dropping the future closes the
    /// connection, which ends the statement.
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

    /// As [`fetch_from_all_rows`](Self::fetch_from_all_rows), but passes on each row as it arrives, so that a result of
    /// any length takes little memory.
    pub(in crate::postgres) async fn each_of_all_rows(
        &self,
        relations: &[&str],
        query: Query,
        each: impl FnMut(PgRow) -> Result<(), DatabaseError> + Send,
    ) -> Result<(), DatabaseError> {
        self.stream(for_all_rows(None, relations)?, query, each).await
    }

    /// As [`fetch_from_all_rows`](Self::fetch_from_all_rows), for a statement that reads some of the rows. The server
    /// gives up after `limit`.
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

    /// As [`inspect_as_owner`](Self::inspect_as_owner), for rows of some relations, as the owner of the first one. The
    /// server gives up after `limit`, and refuses if row level security would hide rows.
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

/// The statements before a statement over whole relations, in its transaction.
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
    // locks the relations, so that their policies do not change until the end; unlike LOCK TABLE, this needs no
    // right on more than a column
    queries.extend(relations.iter().map(|relation| setting(&format!("SELECT 1 FROM {relation} LIMIT 0"))));
    queries.push(all_or_nothing(relations)?);
    Ok(queries)
}

fn as_owner_of_first(relations: &[&str]) -> Option<Query> {
    relations.first().map(|relation| setting(&act_as_owner(relation, Until::TheTransactionEnds)))
}

/// How to get access to a table whose policies apply to the role.
const HINT: &str = "give the role a policy for every row (`retell-vault schema plan --row-security on \
                    --service-role ROLE`), or connect as a role with BYPASSRLS; superusers and members of the \
                    table's owner act as that owner, which needs such a policy if row level security is forced";

/// # Errors
/// `AccessDenied` if policies may hide rows of the table from the role.
pub(crate) async fn refuse_hidden_rows(database: &Database, layout: &Layout) -> Result<(), DatabaseError> {
    match may_hide_from_us(database, layout, RowAction::Read).await? {
        true => Err(hidden_rows(layout).into()),
        false => Ok(()),
    }
}

/// # Errors
/// `AccessDenied` if policies may prevent the role from changing rows that it sees.
pub(crate) async fn refuse_fixed_rows(database: &Database, layout: &Layout) -> Result<(), DatabaseError> {
    if !may_hide_from_us(database, layout, RowAction::Update).await? {
        return Ok(());
    }
    let message =
        format!("row level security may prevent this role from changing rows of {}", layout.table_name());
    Err(Error::new(ErrorKind::AccessDenied, message).with_hint(HINT).into())
}

/// The error for a table with rows that may be hidden.
pub(crate) fn hidden_rows(layout: &Layout) -> Error {
    let message = format!(
        "row level security may hide rows of {} from this role, so no count or rotation of them is reliable",
        layout.table_name()
    );
    Error::new(ErrorKind::AccessDenied, message).with_hint(HINT)
}

/// Whether policies may hide rows from the role for this action.
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
