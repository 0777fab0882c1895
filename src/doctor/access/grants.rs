//! Rights on the table: rights that other roles should not have, and rights that the vault lacks.

use serde::Deserialize;
use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::doctor::context::TableContext;
use crate::doctor::finding::{Finding, Fix, Severity};
use crate::doctor::finding_ids;
use crate::doctor::frame::{by_owner, framed};
use crate::error::{Error, ErrorKind};
use crate::postgres::catalogue::access::{Grant, TableAccess};
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Query, bind};
use crate::postgres::sql::names::quote;

/// Parameters: $1 the table, $2 the columns of the owner, $3 the other columns that the vault writes. Runs with a safe
/// search path.
const MISSING: &str = "SELECT json_build_object(
  'usage', has_schema_privilege(n.oid, 'USAGE'),
  'missing', (SELECT coalesce(json_agg(json_build_object('column', a.attname, 'privilege', p.privilege) ORDER BY a.attnum), '[]')
    FROM pg_attribute a CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE')) AS p (privilege)
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
      AND (a.attname = ANY($3) OR (a.attname = ANY($2) AND p.privilege <> 'UPDATE'))
      AND NOT has_column_privilege(c.oid, a.attnum, p.privilege)))::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid";

pub(super) fn to_outsiders(context: &TableContext<'_>, access: &TableAccess) -> Vec<Finding> {
    access.granted.iter().map(|grant| to_outsider(context, grant)).collect()
}

fn to_outsider(context: &TableContext<'_>, grant: &Grant) -> Finding {
    let id =
        if grant.holder == "public" { finding_ids::GRANTED_TO_PUBLIC } else { finding_ids::GRANTED_TO_ANON };
    // with row level security on, a policy still protects the rows
    let severity = match context.definitions.relation.row_security {
        true => Severity::Warning,
        false => Severity::Critical,
    };
    let object = match grant.columns.as_slice() {
        [] => context.object(),
        columns => format!("columns {} of {}", columns.join(", "), context.layout.table_name()),
    };
    let who = match grant.holder.as_str() {
        "public" => "everybody".to_owned(),
        holder if holder == grant.grantee => holder.to_owned(),
        holder => format!("{holder}, as a member of {},", grant.grantee),
    };
    let by = grant
        .grantor
        .as_ref()
        .map(|grantor| format!(" (granted by {grantor}, and only that role can revoke it)"))
        .unwrap_or_default();
    let meaning = format!(
        "{who} may {} here{by}: requests that are not signed in do not need this right, and a policy should not \
         be the only protection",
        grant.privileges.join(", ")
    );
    Finding::new(id, severity, object, meaning, Fix::Sql(revoke(context, grant)))
}

/// A REVOKE by the owner revokes only the owner's own grants, so the role that granted the right must revoke it.
fn revoke(context: &TableContext<'_>, grant: &Grant) -> String {
    if grant.holder != "public" && grant.holder != grant.grantee {
        return framed(None, &format!("REVOKE {} FROM {}", quote(&grant.grantee), quote(&grant.holder)));
    }
    let columns = match grant.columns.as_slice() {
        [] => String::new(),
        columns => format!(" ({})", columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ")),
    };
    let (relation, grantee) = (context.relation(), role(&grant.grantee));
    let revoke = format!("REVOKE ALL PRIVILEGES{columns} ON TABLE {relation} FROM {grantee}");
    match &grant.grantor {
        Some(grantor) => framed(Some(grantor), &revoke),
        None => by_owner(context, &revoke),
    }
}

/// A role in SQL: quoted, or `PUBLIC`.
pub(super) fn role(name: &str) -> String {
    match name {
        "public" => "PUBLIC".to_owned(),
        name => quote(name),
    }
}

/// Roles in SQL.
pub(super) fn roles(names: &[String]) -> String {
    names.iter().map(|name| role(name)).collect::<Vec<_>>().join(", ")
}

/// Roles with BYPASSRLS and rights on the table. Without row level security there is nothing to bypass.
pub(super) fn bypassing(context: &TableContext<'_>, access: &TableAccess) -> Vec<Finding> {
    if !context.definitions.relation.row_security {
        return Vec::new();
    }
    let finding = |name: &String| {
        Finding::new(
            finding_ids::BYPASSES_ROW_SECURITY,
            Severity::Warning,
            format!("role {name}"),
            "the role has rights on the table and bypasses row level security, so it sees every row",
            Fix::Sql(framed(None, &format!("ALTER ROLE {} NOBYPASSRLS", quote(name)))),
        )
    };
    access.bypassing.iter().map(finding).collect()
}

/// Roles of users with the rights of the table's owner. Policies do not apply to them, and they can switch policies off.
pub(super) fn owning(context: &TableContext<'_>, access: &TableAccess) -> Vec<Finding> {
    let owner = &context.definitions.relation.owner;
    let finding = |name: &String| {
        let mend = match name == owner {
            true => Fix::Advice("transfer the table to a role that no user can act as".to_owned()),
            false => Fix::Sql(framed(None, &format!("REVOKE {} FROM {}", quote(owner), quote(name)))),
        };
        let meaning = format!(
            "it has the rights of {owner}, which owns the table: policies do not restrict it any more than the \
             owner"
        );
        Finding::new(
            finding_ids::BYPASSES_ROW_SECURITY,
            Severity::Critical,
            format!("role {name}"),
            meaning,
            mend,
        )
    };
    access.owning.iter().map(finding).collect()
}

#[derive(Deserialize)]
struct GrantsAnswer {
    /// Whether the role has USAGE on the schema.
    usage: bool,
    missing: Vec<MissingGrant>,
}

#[derive(Deserialize)]
struct MissingGrant {
    column: String,
    privilege: String,
}

/// Rights on the table that the vault's role needs and lacks.
pub(crate) async fn missing(context: &TableContext<'_>) -> Result<Option<Finding>, DatabaseError> {
    let answer = ask(context).await?;
    let role = quote(&context.definitions.server.role);
    let (mut grants, mut on_schema) = (Vec::new(), None);
    if !answer.usage {
        // the schema may belong to another role
        let usage = format!("GRANT USAGE ON SCHEMA {} TO {role}", quote(&context.layout.schema));
        on_schema = Some(framed(None, &usage));
    }
    for privilege in ["SELECT", "INSERT", "UPDATE"] {
        let columns = answer.missing.iter().filter(|missing| missing.privilege == privilege);
        let columns: Vec<String> = columns.map(|missing| quote(&missing.column)).collect();
        if !columns.is_empty() {
            let table = context.relation();
            grants.push(format!("GRANT {privilege} ({}) ON TABLE {table} TO {role}", columns.join(", ")));
        }
    }
    let on_table = (!grants.is_empty()).then(|| by_owner(context, &grants.join(";\n")));
    let sql: Vec<String> = on_schema.into_iter().chain(on_table).collect();
    Ok((!sql.is_empty()).then(|| missing_grant(context, &answer, sql.join(";\n"))))
}

async fn ask(context: &TableContext<'_>) -> Result<GrantsAnswer, DatabaseError> {
    let layout = context.layout;
    let owner: Vec<String> =
        [layout.tenant_column.as_ref(), Some(&layout.user_column)].into_iter().flatten().cloned().collect();
    let mut arguments = PgArguments::default();
    bind(&mut arguments, context.definitions.relation.oid)?;
    bind(&mut arguments, owner)?;
    bind(&mut arguments, written(context))?;
    let rows = context.postgres.database.inspect(Query { sql: MISSING.into(), arguments }).await?;
    let odd = || Error::new(ErrorKind::Schema, "the catalogue's answer is not as expected");
    let json: Result<String, _> = rows.first().ok_or_else(odd)?.try_get(0);
    let json = json.map_err(|error| DatabaseError::of(&error, Phase::Reading))?;
    Ok(serde_json::from_str(&json).map_err(|_| odd())?)
}

/// The columns that a write sets or clears.
fn written(context: &TableContext<'_>) -> Vec<String> {
    let placement = &context.plan.placement;
    let slots = placement.slots.iter().map(|slot| &slot.column);
    let plain = placement.plain.iter().map(|plain| &plain.column);
    slots.chain(plain).chain(&placement.sync_column).map(|name| name.to_string()).collect()
}

fn missing_grant(context: &TableContext<'_>, answer: &GrantsAnswer, sql: String) -> Finding {
    let mut columns: Vec<&str> = answer.missing.iter().map(|missing| missing.column.as_str()).collect();
    columns.dedup();
    let what = match columns.is_empty() {
        true => "any table of its schema".to_owned(),
        false => columns.join(", "),
    };
    let meaning = format!(
        "role {} may not read or write {what}: stores fail, and loads may fail too",
        context.definitions.server.role
    );
    Finding::new(finding_ids::MISSING_GRANT, Severity::Warning, context.object(), meaning, Fix::Sql(sql))
}
