//! What only shows when it is tried. Everything is rolled back.

use sqlx::postgres::PgArguments;

use crate::doctor::Patient;
use crate::doctor::access::policies::drop_policy;
use crate::doctor::access::row_security::{on, planned_sql, relation, table, warning};
use crate::doctor::finding::{Finding, Mend};
use crate::postgres::catalogue::access::TableAccess;
use crate::postgres::catalogue::definitions::Policy;
use crate::postgres::connection::errors::Fault;
use crate::postgres::connection::pool::Query;
use crate::postgres::connection::transaction::{Trial, local_setting};
use crate::postgres::sql::names::quote;

/// SQLSTATE of policies that need themselves to be decided.
const RECURSION: &str = "42P17";
/// More roles than this are not tried: each takes a round trip for each kind of statement.
const ACTORS: usize = 8;

/// Policies that read the table that they guard, directly or by way of others.
pub(super) async fn recursion(patient: &Patient<'_>, access: &TableAccess) -> Result<Option<Finding>, Fault> {
    let suspects: Vec<&Policy> =
        patient.definitions.policies.iter().filter(|policy| has_subquery(policy)).collect();
    if suspects.is_empty() || !patient.definitions.relation.row_security {
        return Ok(None);
    }
    let own =
        patient.definitions.relation.row_security_active.then(|| patient.definitions.server.role.clone());
    let actors = access.actors.iter().take(ACTORS).cloned().chain(own);
    for actor in actors {
        if recurses(patient, &actor).await? {
            return found(patient, &suspects, &actor).await.map(Some);
        }
    }
    Ok(None)
}

fn has_subquery(policy: &Policy) -> bool {
    policy.using.iter().chain(&policy.check).any(|condition| condition.contains("SELECT "))
}

/// `EXPLAIN` applies the policies and runs nothing.
async fn recurses(patient: &Patient<'_>, actor: &str) -> Result<bool, Fault> {
    let (relation, user) = (relation(patient), quote(&patient.layout.user_column));
    let statements = [
        format!("EXPLAIN SELECT 1 FROM {relation}"),
        format!("EXPLAIN UPDATE {relation} SET {user} = {user}"),
        format!("EXPLAIN DELETE FROM {relation}"),
        format!("EXPLAIN INSERT INTO {relation} ({user}) VALUES (NULL)"),
    ];
    for statement in statements {
        let become_actor = local_setting("role", actor)?;
        let trial = patient.postgres.database.attempt(vec![become_actor, plain(&statement)]).await?;
        if matches!(trial, Trial::Refused { last: true, code, .. } if code == RECURSION) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn found(patient: &Patient<'_>, suspects: &[&Policy], actor: &str) -> Result<Finding, Fault> {
    let direct: Vec<&Policy> =
        suspects.iter().copied().filter(|policy| names_table(patient, policy)).collect();
    let guilty = if direct.is_empty() { suspects } else { &direct };
    let names: Vec<&str> = guilty.iter().map(|policy| policy.name.as_str()).collect();
    let meaning = format!(
        "a policy reads the table that it guards (SQLSTATE {RECURSION}), so every statement of {actor} fails: {}",
        names.join(", ")
    );
    let drops = guilty.iter().map(|policy| drop_policy(patient, policy));
    let sql: Vec<String> = drops.chain(planned_sql(patient, &on()).await?).collect();
    Ok(Finding::new(warning("policy_recursion"), table(patient), meaning, Mend::Sql(sql.join(";\n"))))
}

fn names_table(patient: &Patient<'_>, policy: &Policy) -> bool {
    let mut conditions = policy.using.iter().chain(&policy.check);
    conditions.any(|condition| condition.contains(&patient.layout.table))
}

/// `auth.uid()` with the empty claims that a pooled connection is left with.
pub(super) async fn auth_uid(patient: &Patient<'_>, access: &TableAccess) -> Result<Option<Finding>, Fault> {
    let Some(returns) = &access.auth_uid_type else { return Ok(None) };
    let queries = vec![
        local_setting("transaction_read_only", "on")?,
        local_setting("request.jwt.claims", "")?,
        local_setting("request.jwt.claim.sub", "")?,
        plain("SELECT auth.uid() IS NULL"),
    ];
    // no right to call it is no finding
    let broken = match patient.postgres.database.attempt(queries).await? {
        Trial::Refused { last: true, code, .. } => code != "42501",
        Trial::Refused { .. } | Trial::Done { .. } => false,
    };
    let meaning = "auth.uid() fails on an empty claim, which a connection keeps after its first request with one: \
                   statements under a policy that asks for it fail now and then";
    let finding = || {
        Finding::new(
            warning("auth_uid_breaks"),
            "function auth.uid()",
            meaning,
            Mend::Sql(replacement(returns)),
        )
    };
    Ok(broken.then(finding))
}

fn replacement(returns: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION auth.uid() RETURNS {returns} LANGUAGE sql STABLE AS $$\n  \
         SELECT coalesce(nullif(pg_catalog.current_setting('request.jwt.claim.sub', true), ''),\n    \
         nullif(nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::pg_catalog.jsonb ->> 'sub', ''))\
         ::{returns}\n$$"
    )
}

fn plain(sql: &str) -> Query {
    Query { sql: sql.into(), arguments: PgArguments::default() }
}
