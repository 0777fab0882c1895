//! Who may read and write the table, by whatever way.

pub(super) mod facts;
pub(super) mod grants;
pub(super) mod policies;
mod policy_conditions;
mod related_objects;
pub(super) mod row_security;

use crate::doctor::access::facts::Facts;
use crate::doctor::context::TableContext;
use crate::doctor::finding::Finding;
use crate::postgres::connection::errors::Fault;

pub(super) async fn look(context: &TableContext<'_>) -> Result<Vec<Finding>, Fault> {
    let facts = Facts::take(&context.postgres.database, context.layout).await?;
    let mut findings = Vec::new();
    findings.extend(row_security::off(context, &facts).await?);
    findings.extend(row_security::not_forced(context, &facts).await?);
    findings.extend(row_security::hides_from_us(context, &facts).await?);
    findings.extend(grants::to_outsiders(context, &facts));
    findings.extend(grants::bypassing(context, &facts));
    findings.extend(grants::owning(context, &facts));
    findings.extend(policies::look(context, &facts));
    findings.extend(related_objects::routines(&facts));
    findings.extend(related_objects::views(context, &facts));
    findings.extend(related_objects::tables(&facts));
    findings.extend(policies::recursion(context, &facts).await?);
    findings.extend(policies::auth_uid(context, &facts).await?);
    Ok(findings)
}
