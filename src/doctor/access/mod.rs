//! Who may read and write the table, by whatever way.

mod beside;
pub(super) mod facts;
mod grants;
pub(super) mod policies;
mod routines;
pub(super) mod row_security;
mod tautology;
mod trials;
mod views;

use crate::doctor::Patient;
use crate::doctor::access::facts::Facts;
use crate::doctor::finding::Finding;
use crate::postgres::connection::errors::Fault;

pub(super) async fn look(patient: &Patient<'_>) -> Result<Vec<Finding>, Fault> {
    let facts = Facts::take(&patient.postgres.database, patient.layout).await?;
    let mut findings = Vec::new();
    findings.extend(row_security::off(patient, &facts).await?);
    findings.extend(row_security::not_forced(patient, &facts).await?);
    findings.extend(row_security::hides_from_us(patient, &facts).await?);
    findings.extend(grants::to_outsiders(patient, &facts));
    findings.extend(grants::bypassing(patient, &facts));
    findings.extend(grants::owning(patient, &facts));
    findings.extend(policies::look(patient, &facts));
    findings.extend(routines::look(&facts));
    findings.extend(views::look(patient, &facts));
    findings.extend(beside::look(&facts));
    findings.extend(trials::recursion(patient, &facts).await?);
    findings.extend(trials::auth_uid(patient, &facts).await?);
    Ok(findings)
}
