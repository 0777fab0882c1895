//! Who may read and write the table, by whatever way.

mod beside;
mod grants;
pub(super) mod policies;
mod routines;
pub(super) mod row_security;
mod tautology;
mod trials;
mod views;

use crate::doctor::Patient;
use crate::doctor::finding::Finding;
use crate::postgres::connection::errors::Fault;

pub(super) async fn look(patient: &Patient<'_>) -> Result<Vec<Finding>, Fault> {
    let access = patient.access()?;
    let mut findings = Vec::new();
    findings.extend(row_security::off(patient, access).await?);
    findings.extend(row_security::not_forced(patient, access).await?);
    findings.extend(row_security::hides_from_us(patient).await?);
    findings.extend(grants::to_outsiders(patient, access));
    findings.extend(grants::bypassing(patient, access));
    findings.extend(grants::owning(patient, access));
    findings.extend(policies::look(patient, access));
    findings.extend(routines::look(access));
    findings.extend(views::look(patient, access));
    findings.extend(beside::look(access));
    findings.extend(trials::recursion(patient, access).await?);
    findings.extend(trials::auth_uid(patient, access).await?);
    Ok(findings)
}
