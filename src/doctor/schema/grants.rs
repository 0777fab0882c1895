//! What the vault's own role may do with the table.

use serde::Deserialize;
use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::doctor::Patient;
use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::error::{Error, ErrorKind};
use crate::postgres::connection::errors::{Fault, Phase, classify};
use crate::postgres::connection::pool::{Query, bind};
use crate::postgres::sql::names::quote;
use crate::postgres::sql::names::relation;

/// $1 the table, $2 the columns of the owner, $3 the others that the vault writes. Runs with an empty search_path.
const MISSING: &str = "SELECT json_build_object(
  'usage', has_schema_privilege(n.oid, 'USAGE'),
  'missing', (SELECT coalesce(json_agg(json_build_object('column', a.attname, 'privilege', p.privilege) ORDER BY a.attnum), '[]')
    FROM pg_attribute a CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE')) AS p (privilege)
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
      AND (a.attname = ANY($3) OR (a.attname = ANY($2) AND p.privilege <> 'UPDATE'))
      AND NOT has_column_privilege(c.oid, a.attnum, p.privilege)))::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid";

#[derive(Deserialize)]
struct Answer {
    /// Whether the names of the schema may be used.
    usage: bool,
    missing: Vec<Missing>,
}

#[derive(Deserialize)]
struct Missing {
    column: String,
    privilege: String,
}

pub(super) async fn look(patient: &Patient<'_>) -> Result<Option<Finding>, Fault> {
    let answer = ask(patient).await?;
    let role = quote(&patient.definitions.server.role);
    let mut grants = Vec::new();
    if !answer.usage {
        grants.push(format!("GRANT USAGE ON SCHEMA {} TO {role}", quote(&patient.layout.schema)));
    }
    for privilege in ["SELECT", "INSERT", "UPDATE"] {
        let columns = answer.missing.iter().filter(|missing| missing.privilege == privilege);
        let columns: Vec<String> = columns.map(|missing| quote(&missing.column)).collect();
        if !columns.is_empty() {
            let table = relation(patient.layout);
            grants.push(format!("GRANT {privilege} ({}) ON TABLE {table} TO {role}", columns.join(", ")));
        }
    }
    Ok((!grants.is_empty()).then(|| missing_grant(patient, &answer, grants.join(";\n"))))
}

async fn ask(patient: &Patient<'_>) -> Result<Answer, Fault> {
    let layout = patient.layout;
    let owner: Vec<String> =
        [layout.tenant_column.as_ref(), Some(&layout.user_column)].into_iter().flatten().cloned().collect();
    let mut arguments = PgArguments::default();
    bind(&mut arguments, patient.definitions.relation.oid)?;
    bind(&mut arguments, owner)?;
    bind(&mut arguments, written(patient))?;
    let rows = patient.postgres.database.inspect(Query { sql: MISSING.into(), arguments }).await?;
    let odd = || Error::new(ErrorKind::Schema, "the catalogue's answer is not as expected");
    let json: Result<String, _> = rows.first().ok_or_else(odd)?.try_get(0);
    let json = json.map_err(|error| classify(&error, Phase::Reading))?;
    Ok(serde_json::from_str(&json).map_err(|_| odd())?)
}

/// The columns that a write sets or clears.
fn written(patient: &Patient<'_>) -> Vec<String> {
    let placement = &patient.plan.placement;
    let slots = placement.slots.iter().map(|slot| &slot.column);
    let plain = placement.plain.iter().map(|plain| &plain.column);
    slots.chain(plain).chain(&placement.sync_column).cloned().collect()
}

fn missing_grant(patient: &Patient<'_>, answer: &Answer, sql: String) -> Finding {
    let mut columns: Vec<&str> = answer.missing.iter().map(|missing| missing.column.as_str()).collect();
    columns.dedup();
    let what = match columns.is_empty() {
        true => "the names of its schema".to_owned(),
        false => columns.join(", "),
    };
    let meaning = format!(
        "role {} may not read or write {what}: storing fails, and so may loading",
        patient.definitions.server.role
    );
    let object = format!("table {}", patient.layout.table_name());
    Finding::new((Area::Schema, Severity::Warning, "missing_grant"), object, meaning, Mend::Sql(sql))
}
