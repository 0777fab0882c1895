//! Policies that allow more than a user's own rows, and policies that fail at run time.

use sqlx::postgres::PgArguments;

use crate::doctor::access::grants::role;
use crate::doctor::access::policy_conditions::{asks_only_for_a_session, ignores_who_asks, is_always_true};
use crate::doctor::access::row_security::{on, planned_sql};
use crate::doctor::context::TableContext;
use crate::doctor::finding::{Finding, Fix, Severity};
use crate::doctor::finding_ids;
use crate::doctor::fixes::{alter_policy, drop_policy};
use crate::doctor::frame::{by_owner, framed};
use crate::postgres::catalogue::access::{PolicyRole, TableAccess};
use crate::postgres::catalogue::definitions::Policy;
use crate::postgres::connection::acting_owner::{Until, act_as_owner};
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::connection::pool::Query;
use crate::postgres::connection::transaction::{Trial, local_setting};
use crate::postgres::sql::names::quote;

/// SQLSTATE of policies that depend on themselves.
const RECURSION: &str = "42P17";
/// The maximum number of roles to try. Each takes a round trip for each kind of statement.
const ACTORS: usize = 8;

/// Only permissive policies, and only while row level security is on: restrictive policies can only remove rows.
pub(super) fn look(context: &TableContext<'_>, access: &TableAccess) -> Vec<Finding> {
    if !context.definitions.relation.row_security {
        return Vec::new();
    }
    let permissive = context.definitions.policies.iter().filter(|policy| policy.permissive);
    permissive.filter_map(|policy| judge(context, access, policy)).collect()
}

/// The worst problem of a policy.
fn judge(context: &TableContext<'_>, access: &TableAccess, policy: &Policy) -> Option<Finding> {
    users(access, policy).next()?;
    always_true(context, access, policy)
        .or_else(|| reaches_anon(context, access, policy))
        .or_else(|| ignores_rows(context, policy))
}

/// The policy's roles that should not see every row.
fn users<'a>(access: &'a TableAccess, policy: &'a Policy) -> impl Iterator<Item = &'a PolicyRole> {
    access.roles_of(policy).filter(|role| !role.service)
}

/// Whether one condition of the policy is true for every row.
pub(crate) fn is_open(policy: &Policy) -> bool {
    let conditions = || policy.using.iter().chain(&policy.check);
    conditions().any(|condition| is_always_true(condition) || asks_only_for_a_session(condition))
}

fn always_true(context: &TableContext<'_>, access: &TableAccess, policy: &Policy) -> Option<Finding> {
    let conditions = || policy.using.iter().chain(&policy.check);
    if !conditions().any(|condition| is_always_true(condition)) {
        return None;
    }
    let reached = users(access, policy).any(|role| role.reaches);
    let severity = if reached { Severity::Critical } else { Severity::Warning };
    let what = match policy.using.as_deref().is_some_and(is_always_true) {
        true => "every row",
        false => "new rows for any owner",
    };
    let who = users(access, policy).map(|role| role.name.as_str()).collect::<Vec<_>>().join(", ");
    let meaning = format!("the policy is always true: for {}, it allows {who} {what}", command(policy));
    Some(Finding::new(
        finding_ids::POLICY_ALWAYS_TRUE,
        severity,
        object(context, policy),
        meaning,
        without(context, access, policy, |role| role.service),
    ))
}

/// A policy that applies to requests that are not signed in. A policy for PUBLIC counts only if PUBLIC or `anon` has
/// rights. The vault's own policy is for PUBLIC if the database has no role for signed-in users.
fn reaches_anon(context: &TableContext<'_>, access: &TableAccess, policy: &Policy) -> Option<Finding> {
    let names = |name: &str| policy.roles.iter().any(|role| role == name);
    let public_reaches = names("public") && !access.granted.is_empty() && !policy.is_ours();
    let groups = || access.roles_of(policy).filter(|role| role.anons && !role.service);
    if !names("anon") && !public_reaches {
        let group = groups().next()?;
        let meaning = format!("the policy applies to anon, because anon is a member of {}", group.name);
        let revokes: Vec<_> =
            groups().map(|group| format!("REVOKE {} FROM anon", quote(&group.name))).collect();
        let mend = Fix::Sql(framed(None, &revokes.join(";\n")));
        return Some(Finding::new(
            finding_ids::POLICY_REACHES_ANON,
            Severity::Warning,
            object(context, policy),
            meaning,
            mend,
        ));
    }
    let meaning = format!("the policy for {} applies to requests that are not signed in", command(policy));
    let mend = match names("public") && context.definitions.has_role("authenticated") {
        true => Fix::Sql(by_owner(context, &alter_policy(context, policy, "TO authenticated"))),
        false => without(context, access, policy, |role| !["anon", "public"].contains(&role.name.as_str())),
    };
    Some(Finding::new(
        finding_ids::POLICY_REACHES_ANON,
        Severity::Warning,
        object(context, policy),
        meaning,
        mend,
    ))
}

/// A condition that checks neither the row nor the user that asks. It may be intended for administrators or for public
/// rows, but such rows hold credentials too.
fn ignores_rows(context: &TableContext<'_>, policy: &Policy) -> Option<Finding> {
    let conditions = || policy.using.iter().chain(&policy.check);
    let session = conditions().any(|condition| asks_only_for_a_session(condition));
    let everybody = conditions().any(|condition| ignores_who_asks(condition));
    let closed = conditions().all(|condition| condition == "false");
    if closed || (policy.names_columns && !session && !everybody) {
        return None;
    }
    let (severity, meaning) = match (session, everybody) {
        (true, _) => {
            (Severity::Warning, "the policy checks only that a user is signed in: each user has every row")
        }
        (_, true) => {
            (Severity::Warning, "the policy does not check which user asks: every user gets the same rows")
        }
        _ => (
            Severity::Notice,
            "the policy uses no column of the table: a user that meets its condition has every row",
        ),
    };
    let advice = "compare the owner's column with the user that asks, as in `user_id = (SELECT auth.uid())`; give \
                  a policy for administrators to a separate role";
    Some(Finding::new(
        finding_ids::POLICY_IGNORES_ROWS,
        severity,
        object(context, policy),
        meaning,
        Fix::Advice(advice.to_owned()),
    ))
}

/// Restricts the policy to the roles that stay. Without any such role it drops the policy.
fn without(
    context: &TableContext<'_>,
    access: &TableAccess,
    policy: &Policy,
    stays: impl Fn(&PolicyRole) -> bool,
) -> Fix {
    let left: Vec<String> =
        access.roles_of(policy).filter(|role| stays(role)).map(|left| role(&left.name)).collect();
    let sql = match left.is_empty() {
        true => drop_policy(context, policy),
        false => alter_policy(context, policy, &format!("TO {}", left.join(", "))),
    };
    Fix::Sql(by_owner(context, &sql))
}

fn object(context: &TableContext<'_>, policy: &Policy) -> String {
    format!("policy {} on {}", policy.name, context.layout.table_name())
}

fn command(policy: &Policy) -> &'static str {
    match policy.command {
        'r' => "SELECT",
        'a' => "INSERT",
        'w' => "UPDATE",
        'd' => "DELETE",
        _ => "everything",
    }
}

/// Policies that read the table that they protect, directly or through other tables.
pub(super) async fn recursion(
    context: &TableContext<'_>,
    access: &TableAccess,
) -> Result<Option<Finding>, DatabaseError> {
    let suspects: Vec<&Policy> =
        context.definitions.policies.iter().filter(|policy| has_subquery(policy)).collect();
    if suspects.is_empty() || !context.definitions.relation.row_security {
        return Ok(None);
    }
    let own =
        context.definitions.relation.row_security_active.then(|| context.definitions.server.role.clone());
    let actors = access.actors.iter().take(ACTORS).cloned().chain(own);
    for actor in actors {
        if recurses(context, &actor).await? {
            return recursion_finding(context, &suspects, &actor).await.map(Some);
        }
    }
    Ok(None)
}

fn has_subquery(policy: &Policy) -> bool {
    policy.using.iter().chain(&policy.check).any(|condition| condition.contains("SELECT "))
}

/// `EXPLAIN` applies the policies and runs nothing.
async fn recurses(context: &TableContext<'_>, actor: &str) -> Result<bool, DatabaseError> {
    let (relation, user) = (context.relation(), quote(&context.layout.user_column));
    let statements = [
        format!("EXPLAIN SELECT 1 FROM {relation}"),
        format!("EXPLAIN UPDATE {relation} SET {user} = {user}"),
        format!("EXPLAIN DELETE FROM {relation}"),
        format!("EXPLAIN INSERT INTO {relation} ({user}) VALUES (NULL)"),
    ];
    for statement in statements {
        let become_actor = local_setting("role", actor)?;
        let trial = context.postgres.database.attempt(vec![become_actor, plain(&statement)]).await?;
        if matches!(trial, Trial::Refused { last: true, code, .. } if code == RECURSION) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn recursion_finding(
    context: &TableContext<'_>,
    suspects: &[&Policy],
    actor: &str,
) -> Result<Finding, DatabaseError> {
    let direct: Vec<&Policy> =
        suspects.iter().copied().filter(|policy| names_table(context, policy)).collect();
    let guilty = if direct.is_empty() { suspects } else { &direct };
    let names: Vec<&str> = guilty.iter().map(|policy| policy.name.as_str()).collect();
    let meaning = format!(
        "a policy reads the table that it protects (SQLSTATE {RECURSION}), so every statement of {actor} fails: {}",
        names.join(", ")
    );
    let drops = guilty.iter().map(|policy| drop_policy(context, policy));
    let sql: Vec<String> = drops.chain(planned_sql(context, &on()).await?).collect();
    Ok(Finding::new(
        finding_ids::POLICY_RECURSION,
        Severity::Warning,
        context.object(),
        meaning,
        Fix::Sql(by_owner(context, &sql.join(";\n"))),
    ))
}

fn names_table(context: &TableContext<'_>, policy: &Policy) -> bool {
    let mut conditions = policy.using.iter().chain(&policy.check);
    conditions.any(|condition| condition.contains(&context.layout.table))
}

/// Calls `auth.uid()` with the empty claims that stay on a pooled connection.
pub(super) async fn auth_uid(
    context: &TableContext<'_>,
    access: &TableAccess,
) -> Result<Option<Finding>, DatabaseError> {
    let Some(returns) = &access.auth_uid_type else { return Ok(None) };
    let queries = vec![
        local_setting("transaction_read_only", "on")?,
        local_setting("request.jwt.claims", "")?,
        local_setting("request.jwt.claim.sub", "")?,
        plain(&act_as_owner(&context.relation(), Until::TheTransactionEnds)),
        plain("SELECT auth.uid() IS NULL"),
    ];
    // a missing right to call it is not a finding
    let broken = match context.postgres.database.attempt(queries).await? {
        Trial::Refused { last: true, code, .. } => code != "42501",
        Trial::Refused { .. } | Trial::Done { .. } => false,
    };
    let meaning = "auth.uid() fails on an empty claim, and a pooled connection keeps an empty claim after its \
                   first request: statements under a policy that calls the function fail now and then";
    let finding = || {
        Finding::new(
            finding_ids::AUTH_UID_BREAKS,
            Severity::Warning,
            "function auth.uid()",
            meaning,
            Fix::Sql(framed(None, &replacement(returns))),
        )
    };
    Ok(broken.then(finding))
}

fn replacement(returns: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION auth.uid() RETURNS {returns} LANGUAGE sql STABLE SET search_path = '' AS $$\n  \
         SELECT coalesce(nullif(pg_catalog.current_setting('request.jwt.claim.sub', true), ''),\n    \
         nullif(nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::pg_catalog.jsonb ->> 'sub', ''))\
         ::{returns}\n$$"
    )
}

fn plain(sql: &str) -> Query {
    Query { sql: sql.into(), arguments: PgArguments::default() }
}
