//! Row level security: off, without the owner, or hiding rows from the vault itself.

use crate::doctor::Patient;
use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::postgres::catalogue::access::TableAccess;
use crate::postgres::catalogue::definitions::OUR_POLICIES;
use crate::postgres::connection::errors::Fault;
use crate::postgres::sql::names;
use crate::postgres::sql::names::quote;
use crate::schema::plan::plan_from;
use crate::schema::wanted::{Profile, RowSecurity, Wanted};

/// Our policies, and row level security switched on.
pub(in crate::doctor) fn on() -> Wanted {
    Wanted::from(Profile::Credentials).row_security(RowSecurity::On)
}

/// What the plan for this says about row level security, as the doctor's mend.
pub(in crate::doctor) async fn planned(patient: &Patient<'_>, wanted: &Wanted) -> Result<Mend, Fault> {
    let sql = planned_sql(patient, wanted).await?;
    Ok(match sql.is_empty() {
        false => Mend::Sql(sql.join(";\n")),
        true => Mend::Advice(
            "the policies of the vault are there already; look at the other policies of the table".to_owned(),
        ),
    })
}

/// The statements of the planner's step for row level security; none when there is nothing to do.
pub(in crate::doctor) async fn planned_sql(
    patient: &Patient<'_>,
    wanted: &Wanted,
) -> Result<Vec<String>, Fault> {
    let plan = plan_from(patient.postgres, patient.table, patient.definitions, wanted).await?;
    let steps = plan.steps.into_iter().filter(|step| step.id == "row_security");
    let sql: Vec<String> = steps.flat_map(|step| step.sql).collect();
    let drops = OUR_POLICIES.into_iter().map(|name| format!("{} ON {}", quote(name), relation(patient)));
    let drops =
        drops.filter(|policy| sql.iter().any(|sql| sql.starts_with(&format!("CREATE POLICY {policy} "))));
    // several findings may be mended by the same statements, one after the other
    let drops = drops.map(|policy| format!("DROP POLICY IF EXISTS {policy}"));
    let drops: Vec<String> = drops.filter(|drop| !sql.contains(drop)).collect();
    Ok(drops.into_iter().chain(sql).collect())
}

/// Off, though ordinary users reach the table.
pub(super) async fn off(patient: &Patient<'_>, access: &TableAccess) -> Result<Option<Finding>, Fault> {
    let definitions = patient.definitions;
    if definitions.relation.row_security || !(access.users_reach || definitions.server.auth_uid) {
        return Ok(None);
    }
    let meaning = match access.users_reach {
        true => "row level security is off, and ordinary users have rights on the table: each sees every row",
        false => {
            "row level security is off on a server whose API gives the tables to its users: one grant, and each \
             sees every row"
        }
    };
    let mend = planned(patient, &on()).await?;
    Ok(Some(Finding::new(critical("row_security_off"), table(patient), meaning, mend)))
}

/// On, though not for the owner, and that is us.
pub(super) async fn not_forced(
    patient: &Patient<'_>,
    access: &TableAccess,
) -> Result<Option<Finding>, Fault> {
    let (table_is, me) = (&patient.definitions.relation, &patient.definitions.server.role);
    let owner = if access.bypassing_me { table_is.owner == *me } else { table_is.owned };
    if !table_is.row_security || table_is.forced || !owner {
        return Ok(None);
    }
    // for a role that bypasses row level security the force changes nothing
    let (severity, rest) = match access.bypassing_me {
        true => (Severity::Notice, ", and by its BYPASSRLS or superuser right too"),
        false => (Severity::Warning, ""),
    };
    let meaning = format!(
        "row level security is not forced, and the application connects as {me}, who owns the table: the \
         policies do not hold for it{rest}"
    );
    let mend = planned(patient, &on().force_row_security()).await?;
    Ok(Some(Finding::new((Area::Access, severity, "row_security_not_forced"), table(patient), meaning, mend)))
}

/// It holds for the vault, and no policy gives it everything.
pub(super) async fn hides_from_us(patient: &Patient<'_>) -> Result<Option<Finding>, Fault> {
    let table_is = &patient.definitions.relation;
    if !table_is.holds_back {
        return Ok(None);
    }
    let me = &patient.definitions.server.role;
    let meaning = match table_is.hides_rows {
        true => format!(
            "row level security may hide rows from {me}, as whom the vault connects: loads may miss them, and counting, \
             rotating and destroying are refused"
        ),
        false => format!(
            "row level security may keep {me}, as whom the vault connects, from writing rows that it sees: stores fail, \
             and rotating may be refused"
        ),
    };
    let restricts = patient.definitions.policies.iter().any(|policy| !policy.permissive);
    let mend = match restricts {
        true => Mend::Advice(format!(
            "a restrictive policy holds for {me}, or would as soon as it got a role that the policy is for: connect as \
             a role with BYPASSRLS, or as the owner of the table where row level security is not forced"
        )),
        false => planned(patient, &on().service_role(me)).await?,
    };
    let kind = (Area::Access, Severity::Warning, "row_security_hides_rows");
    Ok(Some(Finding::new(kind, table(patient), meaning, mend)))
}

pub(super) fn critical(id: &'static str) -> (Area, Severity, &'static str) {
    (Area::Access, Severity::Critical, id)
}

pub(super) fn warning(id: &'static str) -> (Area, Severity, &'static str) {
    (Area::Access, Severity::Warning, id)
}

/// The table as the object of a finding.
pub(in crate::doctor) fn table(patient: &Patient<'_>) -> String {
    format!("table {}", patient.layout.table_name())
}

/// The table as it stands in SQL.
pub(in crate::doctor) fn relation(patient: &Patient<'_>) -> String {
    names::relation(patient.layout)
}
