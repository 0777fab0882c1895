//! The index by which owners are found: records that it lacks, and values that several owners share.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::doctor::context::TableContext;
use crate::doctor::finding::{Finding, Fix, Severity};
use crate::doctor::finding_ids;
use crate::doctor::rows::counts::{ExaminedRows, SharedSecrets};
use crate::doctor::rows::secret_hashes::SecretKind;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::Query;
use crate::postgres::sql::names::{owner_columns, quote};

/// The time limit for finding values that several owners share, without a deep examination.
const LIMIT: Duration = Duration::from_millis(500);
/// A finding names at most this many owners.
const OWNERS: usize = 5;
/// Counting stops at this number of values.
const MOST: u32 = 1000;

pub(super) async fn look(context: &TableContext<'_>) -> Result<Vec<Finding>, DatabaseError> {
    let Some(column) = context.plan.placement.index.as_deref() else { return Ok(Vec::new()) };
    let mut findings = Vec::new();
    if context.plan.has_slots() && context.postgres.has_unindexed(context.plan).await? {
        findings.push(Finding::new(
            finding_ids::INDEX_INCOMPLETE,
            Severity::Warning,
            context.object(),
            "records are not in the index, so a look-up by an agent or a number may miss their owners, and says so",
            Fix::Command("retell-vault index build".to_owned()),
        ));
    }
    findings.extend(shared(context, column).await?);
    Ok(findings)
}

/// Entries that the rows of several owners hold. Nothing is opened: equal entries are equal values.
async fn shared(context: &TableContext<'_>, column: &str) -> Result<Option<Finding>, DatabaseError> {
    let owner =
        owner_columns(context.layout).iter().map(|name| format!("t.{name}::text")).collect::<Vec<_>>();
    let owner = format!("pg_catalog.concat_ws('/', {})", owner.join(", "));
    let sql = format!(
        "SELECT s.owners FROM (SELECT e.entry, pg_catalog.array_agg(DISTINCT {owner}) AS owners FROM {} AS t, \
         pg_catalog.unnest(t.{}) AS e (entry) WHERE true{} GROUP BY e.entry HAVING pg_catalog.count(*) > 1 LIMIT {MOST}) AS s \
         WHERE pg_catalog.cardinality(s.owners) > 1",
        context.relation(),
        quote(column),
        context.table.filter.and("t."),
    );
    let limit = match context.options.deep {
        true => context.postgres.database.patience(),
        false => context.patience(LIMIT),
    };
    let query = Query { sql: sql.into(), arguments: PgArguments::default() };
    let rows = match context.postgres.database.quick_check(&[&context.relation()], query, limit).await {
        Err(_) if !context.options.deep => {
            context.host.note("the index was not searched for values of several owners: `--deep` does that");
            return Ok(None);
        }
        rows => rows?,
    };
    let (mut concerned, mut named) = (BTreeSet::new(), Vec::new());
    for row in &rows {
        let here: Vec<String> = row.try_get(0).map_err(|error| DatabaseError::of(&error, Phase::Reading))?;
        if here.len() > named.len() {
            named.clone_from(&here);
        }
        concerned.extend(here);
    }
    named.truncate(OWNERS);
    let (count, concerned) = (rows.len() as u64, concerned.len() as u64);
    Ok((count > 0).then(|| shared_values(context, count, extent(concerned, &named), named)))
}

/// A list of owners that is cut must not look like all of them.
fn extent(concerned: u64, named: &[String]) -> String {
    match concerned > named.len() as u64 {
        true => format!("; {concerned} owners are concerned, and those named here have the same one"),
        false => String::new(),
    }
}

fn shared_values(context: &TableContext<'_>, count: u64, extent: String, owners: Vec<String>) -> Finding {
    let meaning = format!(
        "several owners have the same agent or number: a webhook of it belongs to the owner whose key verifies it, and to none \
         if the keys are the same too{extent}"
    );
    let advice =
        Fix::Advice("`retell-vault find` names all owners of a value; remove what is left over".to_owned());
    Finding::new(finding_ids::SHARED_VALUES, Severity::Notice, context.object(), meaning, advice)
        .of(count, owners)
}

/// Secrets of several owners, from the records that a deep examination opened.
pub(super) fn of_rows(rows: &ExaminedRows<'_>) -> Vec<Finding> {
    rows.shared.iter().map(|shared| shared_secrets(rows.context, shared)).collect()
}

fn shared_secrets(context: &TableContext<'_>, shared: &SharedSecrets) -> Finding {
    let (count, owners) = (shared.count, shared.owners.clone());
    let extent = extent(shared.concerned, &owners);
    let SecretKind::Field(field) = shared.kind else { return shared_values(context, count, extent, owners) };
    let meaning = format!(
        "several owners have the same {field}: it gives access to one account for all of them, and revoking it affects all of \
         them{extent}"
    );
    let advice = "give each owner a separate one at the provider, store it with `retell-vault set`, and revoke the shared one; \
                  nothing to do if one customer has several ids";
    let object = format!("{}, field {field}", context.object());
    let advice = Fix::Advice(advice.to_owned());
    Finding::new(finding_ids::SHARED_SECRETS, Severity::Warning, object, meaning, advice).of(count, owners)
}
