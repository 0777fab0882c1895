//! Row level security that is off, does not apply to the owner, or hides rows from the vault itself.

use crate::doctor::context::TableContext;
use crate::doctor::finding::{Finding, Fix, Severity};
use crate::doctor::finding_ids;
use crate::doctor::frame::by_owner;
use crate::postgres::catalogue::access::TableAccess;
use crate::postgres::catalogue::definitions::OUR_POLICIES;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::sql::names::quote;
use crate::schema::plan::plan_from;
use crate::schema::wanted::{Profile, RowSecurity, Wanted};

/// The vault's policies, and row level security switched on.
pub(crate) fn on() -> Wanted {
    Wanted::from(Profile::Credentials).row_security(RowSecurity::On)
}

/// The plan's step for row level security, as a fix.
async fn planned(context: &TableContext<'_>, wanted: &Wanted) -> Result<Fix, DatabaseError> {
    let sql = planned_sql(context, wanted).await?;
    Ok(match sql.is_empty() {
        false => Fix::Sql(by_owner(context, &sql.join(";\n"))),
        true => Fix::Advice(
            "the vault's policies exist already; check the other policies of the table".to_owned(),
        ),
    })
}

/// The statements of the plan's step for row level security. Empty if there is nothing to do.
pub(crate) async fn planned_sql(
    context: &TableContext<'_>,
    wanted: &Wanted,
) -> Result<Vec<String>, DatabaseError> {
    let plan = plan_from(context.postgres, context.table, context.definitions, wanted).await?;
    let steps = plan.steps.into_iter().filter(|step| step.id == "row_security");
    let sql: Vec<String> = steps.flat_map(|step| step.sql).collect();
    let drops = OUR_POLICIES.into_iter().map(|name| format!("{} ON {}", quote(name), context.relation()));
    let drops =
        drops.filter(|policy| sql.iter().any(|sql| sql.starts_with(&format!("CREATE POLICY {policy} "))));
    // the same statements may fix several findings, one after the other
    let drops = drops.map(|policy| format!("DROP POLICY IF EXISTS {policy}"));
    let drops: Vec<String> = drops.filter(|drop| !sql.contains(drop)).collect();
    Ok(drops.into_iter().chain(sql).collect())
}

/// Row level security is off, although ordinary users can reach the table.
pub(super) async fn off(
    context: &TableContext<'_>,
    access: &TableAccess,
) -> Result<Option<Finding>, DatabaseError> {
    let definitions = context.definitions;
    if definitions.relation.row_security || !(access.users_reach || definitions.server.auth_uid) {
        return Ok(None);
    }
    let meaning = match access.users_reach {
        true => {
            "row level security is off, and ordinary users have rights on the table: each user sees every row"
        }
        false => {
            "row level security is off on a server whose API exposes tables to users: after one grant each user \
             sees every row"
        }
    };
    let mend = planned(context, &on()).await?;
    Ok(Some(Finding::new(finding_ids::ROW_SECURITY_OFF, Severity::Critical, context.object(), meaning, mend)))
}

/// Row level security is on, but does not apply to the owner, and the vault connects as the owner.
pub(super) async fn not_forced(
    context: &TableContext<'_>,
    access: &TableAccess,
) -> Result<Option<Finding>, DatabaseError> {
    let (table_is, me) = (&context.definitions.relation, &context.definitions.server.role);
    let owner = if access.bypassing_me { table_is.owner == *me } else { table_is.owned };
    if !table_is.row_security || table_is.forced || !owner {
        return Ok(None);
    }
    // FORCE changes nothing for a role that bypasses row level security
    let (severity, rest) = match access.bypassing_me {
        true => (Severity::Notice, ". The role also bypasses policies by its BYPASSRLS or superuser right"),
        false => (Severity::Warning, ""),
    };
    let meaning = format!(
        "row level security is not forced, and the application connects as {me}, which owns the table: the \
         policies do not apply to it{rest}"
    );
    let mend = planned(context, &on().force_row_security()).await?;
    Ok(Some(Finding::new(finding_ids::ROW_SECURITY_NOT_FORCED, severity, context.object(), meaning, mend)))
}

/// Row level security applies to the vault's role, and no policy gives it every row.
pub(super) async fn hides_from_us(context: &TableContext<'_>) -> Result<Option<Finding>, DatabaseError> {
    let table_is = &context.definitions.relation;
    if !table_is.holds_back {
        return Ok(None);
    }
    let me = &context.definitions.server.role;
    let meaning = match table_is.hides_rows {
        true => format!(
            "row level security may hide rows from {me}, the role of the vault: loads may miss them, and the \
             vault refuses to count, rotate and destroy"
        ),
        false => format!(
            "row level security may prevent {me}, the role of the vault, from writing rows that it sees: stores \
             fail, and the vault may refuse to rotate"
        ),
    };
    let restricts = context.definitions.policies.iter().any(|policy| !policy.permissive);
    let mend = match restricts {
        true => Fix::Advice(format!(
            "a restrictive policy applies to {me}, or would apply if {me} joined a role of the policy: connect as \
             a role with BYPASSRLS, or as the owner of the table if row level security is not forced"
        )),
        false => planned(context, &on().service_role(me)).await?,
    };
    Ok(Some(Finding::new(
        finding_ids::ROW_SECURITY_HIDES_ROWS,
        Severity::Warning,
        context.object(),
        meaning,
        mend,
    )))
}
