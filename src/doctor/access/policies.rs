//! Policies that let through more than a user's own rows.

use crate::doctor::Patient;
use crate::doctor::access::grants::role;
use crate::doctor::access::row_security::{relation, warning};
use crate::doctor::access::tautology::{asks_only_for_a_session, ignores_who_asks, is_always_true};
use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::postgres::catalogue::access::{PolicyRole, TableAccess};
use crate::postgres::catalogue::definitions::Policy;
use crate::postgres::sql::names::quote;

/// Policies mean nothing while row level security is off, and restrictive ones only take away.
pub(super) fn look(patient: &Patient<'_>, access: &TableAccess) -> Vec<Finding> {
    if !patient.definitions.relation.row_security {
        return Vec::new();
    }
    let permissive = patient.definitions.policies.iter().filter(|policy| policy.permissive);
    permissive.filter_map(|policy| judge(patient, access, policy)).collect()
}

/// The worst that can be said of a policy.
fn judge(patient: &Patient<'_>, access: &TableAccess, policy: &Policy) -> Option<Finding> {
    users(access, policy).next()?;
    always_true(patient, access, policy)
        .or_else(|| reaches_anon(patient, access, policy))
        .or_else(|| ignores_rows(patient, policy))
}

/// Those of its roles that are not meant to see every row.
fn users<'a>(access: &'a TableAccess, policy: &'a Policy) -> impl Iterator<Item = &'a PolicyRole> {
    access.roles_of(policy).filter(|role| !role.service)
}

/// Whether a part of the policy holds for every row.
pub(in crate::doctor) fn is_open(policy: &Policy) -> bool {
    let conditions = || policy.using.iter().chain(&policy.check);
    conditions().any(|condition| is_always_true(condition) || asks_only_for_a_session(condition))
}

fn always_true(patient: &Patient<'_>, access: &TableAccess, policy: &Policy) -> Option<Finding> {
    let conditions = || policy.using.iter().chain(&policy.check);
    if !conditions().any(|condition| is_always_true(condition)) {
        return None;
    }
    let reached = users(access, policy).any(|role| role.reaches);
    let severity = if reached { Severity::Critical } else { Severity::Warning };
    let what = match policy.using.as_deref().is_some_and(is_always_true) {
        true => "every row",
        false => "rows of anybody as new ones",
    };
    let who = users(access, policy).map(|role| role.name.as_str()).collect::<Vec<_>>().join(", ");
    let meaning = format!("the policy is always true: for {}, it lets {who} have {what}", command(policy));
    let kind = (Area::Access, severity, "policy_always_true");
    Some(Finding::new(
        kind,
        object(patient, policy),
        meaning,
        without(patient, access, policy, |role| role.service),
    ))
}

/// A policy for who is not signed in; one for everybody only while such a one has rights. Ours is for
/// everybody where there is no role for those who are signed in.
fn reaches_anon(patient: &Patient<'_>, access: &TableAccess, policy: &Policy) -> Option<Finding> {
    let names = |name: &str| policy.roles.iter().any(|role| role == name);
    let public_reaches = names("public") && !access.granted.is_empty() && !policy.is_ours();
    let groups = || access.roles_of(policy).filter(|role| role.anons && !role.service);
    if !names("anon") && !public_reaches {
        let group = groups().next()?;
        let meaning = format!("the policy holds for anon, as a member of {}", group.name);
        let revokes: Vec<_> =
            groups().map(|group| format!("REVOKE {} FROM anon", quote(&group.name))).collect();
        let mend = Mend::Sql(revokes.join(";\n"));
        return Some(Finding::new(warning("policy_reaches_anon"), object(patient, policy), meaning, mend));
    }
    let meaning = format!("the policy for {} holds for who is not signed in", command(policy));
    let mend = match names("public") && patient.definitions.has_role("authenticated") {
        true => Mend::Sql(alter(patient, policy, "TO authenticated")),
        false => without(patient, access, policy, |role| !["anon", "public"].contains(&role.name.as_str())),
    };
    Some(Finding::new(warning("policy_reaches_anon"), object(patient, policy), meaning, mend))
}

/// A condition that asks neither for the row nor for who wants it. It may be meant for an administrator, or for
/// rows that are public: these have credentials all the same.
fn ignores_rows(patient: &Patient<'_>, policy: &Policy) -> Option<Finding> {
    let conditions = || policy.using.iter().chain(&policy.check);
    let session = conditions().any(|condition| asks_only_for_a_session(condition));
    let everybody = conditions().any(|condition| ignores_who_asks(condition));
    let closed = conditions().all(|condition| condition == "false");
    if closed || (policy.names_columns && !session && !everybody) {
        return None;
    }
    let (severity, meaning) = match (session, everybody) {
        (true, _) => {
            (Severity::Warning, "the policy asks only whether somebody is signed in: each user has every row")
        }
        (_, true) => {
            (Severity::Warning, "the policy does not ask who wants a row: each has what anybody has")
        }
        _ => (
            Severity::Notice,
            "the policy looks at no column of the table: whoever meets its condition has every row",
        ),
    };
    let advice = "compare the column of the owner with who asks, as in `user_id = (SELECT auth.uid())`; a policy \
                  for an administrator is better given to a role of its own";
    let kind = (Area::Access, severity, "policy_ignores_rows");
    Some(Finding::new(kind, object(patient, policy), meaning, Mend::Advice(advice.to_owned())))
}

/// The policy for those of its roles only; nobody is left: it goes.
fn without(
    patient: &Patient<'_>,
    access: &TableAccess,
    policy: &Policy,
    stays: impl Fn(&PolicyRole) -> bool,
) -> Mend {
    let left: Vec<String> =
        access.roles_of(policy).filter(|role| stays(role)).map(|left| role(&left.name)).collect();
    Mend::Sql(match left.is_empty() {
        true => drop_policy(patient, policy),
        false => alter(patient, policy, &format!("TO {}", left.join(", "))),
    })
}

fn alter(patient: &Patient<'_>, policy: &Policy, change: &str) -> String {
    format!("ALTER POLICY {} ON {} {change}", quote(&policy.name), relation(patient))
}

pub(in crate::doctor) fn drop_policy(patient: &Patient<'_>, policy: &Policy) -> String {
    format!("DROP POLICY IF EXISTS {} ON {}", quote(&policy.name), relation(patient))
}

fn object(patient: &Patient<'_>, policy: &Policy) -> String {
    format!("policy {} on {}", policy.name, patient.layout.table_name())
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
