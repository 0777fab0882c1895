//! Code of other roles that statements on the table run: functions that policies call, and the owner's triggers and
//! policies.

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
        "the policy calls {}: that role decides which rows are visible, and its code runs with the rights of \
         every role that reads or writes the table",
        policy.others_functions.join(", ")
    );
    Finding::new(
        finding_ids::POLICY_CALLS_OTHERS,
        Severity::Warning,
        format!("policy {} on {}", policy.name, context.layout.table_name()),
        meaning,
        Fix::Advice(format!(
            "read the function and transfer it to {}, or drop the policy",
            context.definitions.relation.owner
        )),
    )
}

fn auth_uid(context: &TableContext<'_>) -> Option<Finding> {
    let others = context.definitions.server.others_auth_uid.as_ref()?;
    let meaning = format!(
        "it is {others}, a role without the rights of the table's owner: that role decides what a policy that \
         calls the function allows. The vault does not rely on it"
    );
    let advice = "on Supabase the schema `auth` belongs to a superuser; elsewhere, drop a function that you do \
                  not recognise";
    Some(Finding::new(
        finding_ids::AUTH_UID_NOT_TRUSTED,
        Severity::Warning,
        "function auth.uid()",
        meaning,
        Fix::Advice(advice.to_owned()),
    ))
}

/// If the table's owner is a superuser too, no less trusted role has created the code that runs.
fn superuser(context: &TableContext<'_>) -> Option<Finding> {
    let (server, table) = (&context.definitions.server, &context.definitions.relation);
    if !server.superuser || table.owner_is_superuser {
        return None;
    }
    let meaning = format!(
        "the session is a superuser's, and {0} owns the table: triggers, policies and index functions of {0} run \
         with the rights of the role that stores and loads. Commands act as {0}, but malicious code can undo that",
        table.owner
    );
    Some(Finding::new(
        finding_ids::SESSION_IS_SUPERUSER,
        Severity::Warning,
        format!("role {}", server.role),
        meaning,
        Fix::Advice(format!("connect as {}, or as a role that has rights only on this table", table.owner)),
    ))
}
