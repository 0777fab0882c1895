//! Code of others that statements on the table run: functions that policies call, and whatever its owner has made for it.

use crate::doctor::context::TableContext;
use crate::doctor::finding::{Finding, Fix, Severity};
use crate::doctor::finding_ids;
use crate::postgres::catalogue::definitions::Policy;

pub(super) fn look(context: &TableContext<'_>) -> Vec<Finding> {
    let policies = context.definitions.policies.iter();
    let calls = policies.filter(|policy| !policy.others_functions.is_empty());
    let calls = calls.map(|policy| calls_others(context, policy));
    calls.chain(auth_uid(context)).chain(superuser(context)).collect()
}

fn calls_others(context: &TableContext<'_>, policy: &Policy) -> Finding {
    let meaning = format!(
        "the policy calls {}: that role decides whose rows are seen, and its code runs with the rights of everybody who reads \
         or writes the table",
        policy.others_functions.join(", ")
    );
    Finding::new(
        finding_ids::POLICY_CALLS_OTHERS,
        Severity::Warning,
        format!("policy {} on {}", policy.name, context.layout.table_name()),
        meaning,
        Fix::Advice(format!(
            "read the function, and give it to {}; or drop the policy",
            context.definitions.relation.owner
        )),
    )
}

fn auth_uid(context: &TableContext<'_>) -> Option<Finding> {
    let others = context.definitions.server.others_auth_uid.as_ref()?;
    let meaning = format!(
        "it is {others}, who has not the rights of the table's owner: a policy that asks it lets through what that role says. \
         The vault does not rely on it"
    );
    let advice = "on Supabase the schema `auth` belongs to a superuser; elsewhere drop what nobody knows";
    Some(Finding::new(
        finding_ids::AUTH_UID_NOT_TRUSTED,
        Severity::Warning,
        "function auth.uid()",
        meaning,
        Fix::Advice(advice.to_owned()),
    ))
}

/// Of a table whose owner is a superuser too, nobody else has made what runs.
fn superuser(context: &TableContext<'_>) -> Option<Finding> {
    let (server, table) = (&context.definitions.server, &context.definitions.relation);
    if !server.superuser || table.owner_is_superuser {
        return None;
    }
    let meaning = format!(
        "the session is a superuser's, and the table is {0}'s: triggers, policies and functions of indexes that {0} makes run \
         with the rights of whoever stores and loads. Commands act as {0}, which code that was made for it can undo",
        table.owner
    );
    Some(Finding::new(
        finding_ids::SESSION_IS_SUPERUSER,
        Severity::Warning,
        format!("role {}", server.role),
        meaning,
        Fix::Advice(format!("connect as {}, or as a role that has rights on this table only", table.owner)),
    ))
}
