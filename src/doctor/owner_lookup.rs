//! Look-ups by the owner that read the whole table. The server only plans the vault's own statement; it does not run it.

use std::time::Duration;

use serde_json::Value;

use crate::doctor::context::TableContext;
use crate::doctor::finding::{Area, Finding, Fix, Severity};
use crate::doctor::finding_ids;
use crate::doctor::frame::by_owner;
use crate::doctor::growth::LARGE;
use crate::postgres::catalogue::statistics::RowStatistics;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::sql::names::{our_name, owner_columns, quote};
use crate::schema::plan::SchemaPlan;
use crate::schema::round_trip::test_owner;
use crate::schema::step::Step;

/// The time limit for the server to plan the statement.
const LIMIT: Duration = Duration::from_millis(500);

/// A failure here says nothing about the rest of the schema.
pub(super) async fn look(context: &TableContext<'_>, plan: &SchemaPlan) -> Option<Finding> {
    scans(context, plan).await.unwrap_or_else(|fault| {
        let meaning =
            format!("it is not known whether look-ups by the owner read the whole table: {}", fault.error);
        let (id, mend) = (finding_ids::NOT_EXAMINED.in_area(Area::Schema), fault.error.hint().to_owned());
        Some(Finding::new(id, Severity::Warning, context.object(), meaning, Fix::Advice(mend)))
    })
}

/// Without the server's estimates nothing is looked at, which the findings about the growth say.
async fn scans(context: &TableContext<'_>, plan: &SchemaPlan) -> Result<Option<Finding>, DatabaseError> {
    let tables = context.statistics().map(|statistics| statistics.tables.as_slice()).unwrap_or_default();
    let large: Vec<_> = tables.iter().filter(|table| table.rows > LARGE).collect();
    if large.is_empty() || !context.plan.has_slots() {
        return Ok(None);
    }
    let owner = test_owner(context.layout, context.table)?;
    let limit = context.patience(LIMIT);
    let planned = context.postgres.explain_read(context.plan, &owner, limit).await?;
    let mut scanned = Vec::new();
    find_scans(&planned, &large, &mut scanned);
    Ok(scanned.first().map(|table| finding(context, plan, table)))
}

/// Adds each of the tables that the server would read as a whole.
fn find_scans<'a>(planned: &Value, large: &[&'a RowStatistics], found: &mut Vec<&'a RowStatistics>) {
    match planned {
        Value::Array(parts) => parts.iter().for_each(|part| find_scans(part, large, found)),
        Value::Object(node) => {
            if reads_everything(node) {
                found.extend(large.iter().filter(|table| node["Relation Name"] == table.name.as_str()));
            }
            node.values().for_each(|part| find_scans(part, large, found));
        }
        _ => {}
    }
}

/// A scan of the table, or of an index from its start to its end.
fn reads_everything(node: &serde_json::Map<String, Value>) -> bool {
    match node.get("Node Type").and_then(Value::as_str) {
        Some("Seq Scan") => true,
        Some("Index Scan" | "Index Only Scan") => !node.contains_key("Index Cond"),
        _ => false,
    }
}

fn finding(context: &TableContext<'_>, plan: &SchemaPlan, table: &RowStatistics) -> Finding {
    let meaning = format!(
        "the server would read all of {} (about {} rows) to find one owner: loads and stores get slower with every \
         row",
        table.relation, table.rows
    );
    Finding::new(finding_ids::OWNER_SCANS, Severity::Warning, context.object(), meaning, fix(context, plan))
}

fn fix(context: &TableContext<'_>, plan: &SchemaPlan) -> Fix {
    let unique = plan.steps.iter().find(|step| step.id == "owner.unique");
    match unique {
        // the index that the plan makes too: the SQL of both findings can be run
        Some(step) => Fix::Sql(unless_there(context, step)),
        None if has_index(context) => Fix::Advice(
            "an index on the owner exists: run ANALYZE, and check whether the server's configuration or a policy \
             prevents its use"
                .to_owned(),
        ),
        None => Fix::Sql(lookup_index(context)),
    }
}

fn unless_there(context: &TableContext<'_>, step: &Step) -> String {
    let sql = step.sql.join(";\n");
    match step.concurrent {
        true => {
            sql.replace("CREATE UNIQUE INDEX CONCURRENTLY", "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS")
        }
        false => by_owner(context, &sql.replace("CREATE UNIQUE INDEX", "CREATE UNIQUE INDEX IF NOT EXISTS")),
    }
}

/// Whether a valid index starts with a column of the owner.
fn has_index(context: &TableContext<'_>) -> bool {
    let layout = context.layout;
    let is_owner = |name: &String| *name == layout.user_column || Some(name) == layout.tenant_column.as_ref();
    context.table.unique
        || context
            .table
            .indexes
            .iter()
            .any(|index| index.valid && !index.has_expressions && index.columns.first().is_some_and(is_owner))
}

/// Not unique, because the plan has a reason against a unique index.
fn lookup_index(context: &TableContext<'_>) -> String {
    let filter = &context.table.filter;
    let name = quote(&our_name(&[&context.layout.table, "lookup", &filter.mark()]));
    let rows = filter.index_predicate().map(|predicate| format!(" WHERE {predicate}")).unwrap_or_default();
    let (relation, columns) = (context.relation(), owner_columns(context.layout).join(", "));
    let of = format!("IF NOT EXISTS {name} ON {relation} ({columns}){rows}");
    match context.table.is_partitioned() {
        true => by_owner(context, &format!("CREATE INDEX {of}")),
        false => format!("CREATE INDEX CONCURRENTLY {of}"),
    }
}
