//! Which roles may read and write the table, directly or through another object.

pub(super) mod grants;
mod others_code;
pub(super) mod policies;
mod policy_conditions;
mod related_objects;
pub(super) mod row_security;

use crate::doctor::context::TableContext;
use crate::doctor::finding::Finding;
use crate::postgres::connection::errors::DatabaseError;

pub(super) async fn look(context: &TableContext<'_>) -> Result<Vec<Finding>, DatabaseError> {
    let access = context.access()?;
    let mut findings = Vec::new();
    findings.extend(row_security::off(context, access).await?);
    findings.extend(row_security::not_forced(context, access).await?);
    findings.extend(row_security::hides_from_us(context).await?);
    findings.extend(grants::to_outsiders(context, access));
    findings.extend(grants::bypassing(context, access));
    findings.extend(grants::owning(context, access));
    findings.extend(policies::look(context, access));
    findings.extend(others_code::look(context));
    findings.extend(related_objects::routines(access));
    findings.extend(related_objects::views(context, access));
    findings.extend(related_objects::tables(access));
    findings.extend(policies::recursion(context, access).await?);
    findings.extend(policies::auth_uid(context, access).await?);
    Ok(findings)
}
