//! Columns, constraints and indexes.

mod grants;
mod indexes;
mod orphans;
mod planned;

use crate::doctor::Patient;
use crate::doctor::finding::Finding;
use crate::postgres::connection::errors::Fault;
use crate::schema::plan::plan_from;
use crate::schema::wanted::{Profile, RowSecurity, Wanted};

pub(super) async fn look(patient: &Patient<'_>) -> Result<Vec<Finding>, Fault> {
    // row level security is looked at by what it lets through
    let wanted = Wanted::from(Profile::Credentials).row_security(RowSecurity::Leave).remove_duplicates();
    let plan = plan_from(patient.postgres, patient.table, patient.definitions, &wanted).await?;
    let mut findings = planned::findings(patient, &plan).await?;
    findings.extend(grants::look(patient).await?);
    findings.extend(indexes::look(patient, &plan));
    Ok(findings)
}

/// Apart from the rest, since it fails where the users' table is not what was said.
pub(super) async fn look_for_orphans(patient: &Patient<'_>) -> Result<Vec<Finding>, Fault> {
    Ok(orphans::look(patient).await?.into_iter().collect())
}
