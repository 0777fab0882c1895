//! Rows of owners that the application no longer knows.

use std::time::Duration;

use serde::Deserialize;
use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::doctor::context::TableContext;
use crate::doctor::finding::{Finding, Fix, Severity};
use crate::doctor::finding_ids;
use crate::doctor::frame::to_every_row;
use crate::error::{Error, ErrorKind};
use crate::layout::layout::Layout;
use crate::postgres::catalogue::id_kind::IdKind;
use crate::postgres::connection::errors::{DatabaseError, Outcome, Phase};
use crate::postgres::connection::pool::{Query, bind};
use crate::postgres::sql::names::{EQ, in_schema, our_name, quote, relation, text};
use crate::schema::object_owner::lock_down_sql;

/// The doctor samples a table with more bytes than this.
const SMALL: i64 = 32 * 1024 * 1024;
/// The approximate size of a sample in bytes.
const SAMPLE: i64 = 8 * 1024 * 1024;
/// The time limit for comparing all rows.
const ALL_ROWS: Duration = Duration::from_millis(1000);
/// The time limit for a sample.
const SOME_ROWS: Duration = Duration::from_millis(500);
/// Counting stops at this number.
const MOST: i64 = 1000;
/// How many owners a finding names.
const OWNERS: usize = 5;

/// A UUID as the vault accepts it, in its form of 36 characters.
const UUID: &str = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$";

/// The type, and whether it is built in or a domain over a built-in type. Parameters: $1 the schema of the application's
/// users, $2 the table, $3 the column. Runs with a safe search path.
const TYPE: &str = "SELECT format_type(a.atttypid, NULL), EXISTS (
      WITH RECURSIVE below AS (
        SELECT t.typtype, t.typbasetype, t.typnamespace FROM pg_type t WHERE t.oid = a.atttypid
        UNION ALL SELECT t.typtype, t.typbasetype, t.typnamespace
        FROM below JOIN pg_type t ON t.oid = below.typbasetype WHERE below.typtype = 'd')
      SELECT FROM below WHERE typtype <> 'd' AND typnamespace = 'pg_catalog'::regnamespace)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $3 AND a.attnum > 0 AND NOT a.attisdropped
    WHERE n.nspname = $1 AND c.relname = $2";

/// The application's users.
struct Users {
    layout: Layout,
    column: String,
    /// The type of the column.
    kind: String,
}

#[derive(Deserialize)]
struct Orphans {
    count: i64,
    owners: Vec<String>,
}

/// Fails if the users' table or its column does not exist.
pub(super) async fn look(context: &TableContext<'_>) -> Result<Option<Finding>, DatabaseError> {
    let Some((table, column)) = &context.options.users_table else { return Ok(None) };
    let users = Users::find(context, table, column).await?;
    let (found, sampled) = match context.definitions.relation.bytes {
        ..=SMALL => match count(context, &users, "", ALL_ROWS).await {
            Err(fault) if fault.outcome == Outcome::Retry => (sample(context, &users).await, true),
            counted => (counted, false),
        },
        _ => (sample(context, &users).await, true),
    };
    let table = users.layout.table_name();
    match found {
        Err(fault) if fault.outcome == Outcome::Retry => {
            let message = format!("the server took too long to compare the owners with {table}");
            Err(Error::new(ErrorKind::Busy, message)
                .with_hint("try again when the server is less busy")
                .into())
        }
        Err(fault) => Err(fault),
        Ok(found) => {
            if sampled {
                context.host.note(format!(
                    "only a sample of the rows was checked for owners that are not in {table}"
                ));
            }
            Ok((found.count > 0).then(|| finding(context, &users, &found)))
        }
    }
}

impl Users {
    async fn find(context: &TableContext<'_>, table: &str, column: &str) -> Result<Self, DatabaseError> {
        let layout = context.layout.clone().table(table)?;
        let mut arguments = PgArguments::default();
        bind(&mut arguments, layout.schema.clone())?;
        bind(&mut arguments, layout.table.clone())?;
        bind(&mut arguments, column.to_owned())?;
        let rows = context.postgres.database.inspect(Query { sql: TYPE.into(), arguments }).await?;
        let missing = || {
            let message = format!("table {} does not exist or has no column {column}", layout.table_name());
            Error::new(ErrorKind::Schema, message)
                .with_hint("name the table of the application's users and its id column")
        };
        let row = rows.first().ok_or_else(missing)?;
        let read = row.try_get(0).and_then(|kind: String| Ok((kind, row.try_get(1)?)));
        let (kind, is_built_in): (String, bool) =
            read.map_err(|error| DatabaseError::of(&error, Phase::Reading))?;
        if !is_built_in {
            let message = format!(
                "column {column} of {} has type {kind}, which is not built in, so the owners were not compared",
                layout.table_name()
            );
            return Err(Error::new(ErrorKind::Schema, message)
                .with_hint("name an id column with a built-in type, or with a domain over one")
                .into());
        }
        Ok(Self { layout, column: column.to_owned(), kind })
    }

    /// A condition that is true for a row `o` whose owner is not in the users' table.
    fn condition(&self, context: &TableContext<'_>) -> String {
        let owner = format!("o.{}", quote(&context.layout.user_column));
        let user = format!("u.{}", quote(&self.column));
        // in a form that an index on the users' table supports
        let owner_kind = context.plan.table().map(|table| table.user);
        let same = match (owner_kind, self.kind.as_str()) {
            (Some(IdKind::Uuid), "uuid") => format!("{user} {EQ} {owner}"),
            (_, "uuid") => format!(
                "{user} {EQ} CASE WHEN {} OPERATOR(pg_catalog.~) '{UUID}' THEN {}::pg_catalog.uuid END",
                text(&owner),
                text(&owner)
            ),
            (Some(IdKind::Uuid), "text" | "character varying") => {
                let owner = text(&owner);
                format!("{} {EQ} ANY (ARRAY[{owner}, pg_catalog.upper({owner})])", text(&user))
            }
            // an index on a varchar column supports this too
            _ => format!("{} {EQ} {}", text(&user), text(&owner)),
        };
        let users = relation(&self.layout);
        format!("{owner} IS NOT NULL AND NOT EXISTS (SELECT FROM {users} AS u WHERE {same})")
    }
}

async fn sample(context: &TableContext<'_>, users: &Users) -> Result<Orphans, DatabaseError> {
    let percent = (SAMPLE as f64 * 100.0 / context.definitions.relation.bytes.max(1) as f64).min(100.0);
    count(context, users, &format!("TABLESAMPLE SYSTEM ({percent:.6})"), SOME_ROWS).await
}

/// Counts in all rows, or in the rows of a `TABLESAMPLE` clause.
async fn count(
    context: &TableContext<'_>,
    users: &Users,
    sample: &str,
    limit: Duration,
) -> Result<Orphans, DatabaseError> {
    let (user, condition) = (quote(&context.layout.user_column), users.condition(context));
    let table = context.relation();
    let sql = format!(
        "SELECT json_build_object('count', count(*), 'owners', coalesce((array_agg(owner))[1:{OWNERS}], '{{}}'))::text
         FROM (SELECT o.{user}::text AS owner FROM {table} AS o {sample} WHERE {condition} LIMIT {MOST}) AS orphans"
    );
    let query = Query { sql: sql.into(), arguments: PgArguments::default() };
    let users = relation(&users.layout);
    let rows =
        context.postgres.database.quick_check(&[&table, &users], query, context.patience(limit)).await?;
    let odd = || Error::new(ErrorKind::Schema, "the database's answer is not as expected");
    let json: Result<String, _> = rows.first().ok_or_else(odd)?.try_get(0);
    let json = json.map_err(|error| DatabaseError::of(&error, Phase::Reading))?;
    Ok(serde_json::from_str(&json).map_err(|_| odd())?)
}

fn finding(context: &TableContext<'_>, users: &Users, found: &Orphans) -> Finding {
    let at_least = if found.count >= MOST { "at least " } else { "" };
    let (table, user) = (users.layout.table_name(), quote(&context.layout.user_column));
    let meaning = format!(
        "{at_least}{} rows belong to owners that are not in {table}: they hold credentials of users that no \
         longer exist. The SQL moves the rows to another table; if both columns have the same type, a foreign key \
         prevents new ones (`ALTER TABLE {} ADD FOREIGN KEY ({user}) REFERENCES {} ({}) ON DELETE CASCADE`)",
        found.count,
        context.relation(),
        relation(&users.layout),
        quote(&users.column)
    );
    let mend = Fix::Sql(moved(context, users));
    Finding::new(finding_ids::ORPHANS, Severity::Warning, context.object(), meaning, mend)
        .of(found.count.unsigned_abs(), found.owners.clone())
}

fn moved(context: &TableContext<'_>, users: &Users) -> String {
    let table = context.relation();
    let beside = in_schema(context.layout, &our_name(&["backup", "orphans", &context.layout.table]));
    let mut sql = vec![format!("CREATE TABLE IF NOT EXISTS {beside} AS SELECT * FROM {table} WITH NO DATA")];
    sql.extend(lock_down_sql(&beside));
    sql.push(format!(
        "WITH gone AS (DELETE FROM {table} AS o WHERE {} RETURNING o.*) INSERT INTO {beside} SELECT * FROM gone",
        users.condition(context)
    ));
    // a policy that hides a user would make the user's rows look orphaned
    to_every_row(context, &sql.join(";\n"))
}
