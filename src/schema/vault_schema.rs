//! The schema `retell_vault`, with the tables for the keyring and for counting pushes: created, and closed to everybody else.
//!
//! It is planned where the operator asks for it, and where it exists already and lacks a table, is open to clients, or lacks
//! the rights of a named service role. Elsewhere it is not planned: a keyring in a file needs no schema, and a plan for one
//! table should not need the right to create schemas in the database.

use crate::postgres::vault_schema::newest::NEWEST;
use crate::postgres::vault_schema::objects::{SCHEMA, SCHEMA_OBJECT, TABLE_NAMES, creation, removal};
use crate::postgres::vault_schema::removed::NOTE_REMOVED;
use crate::postgres::vault_schema::state::VaultSchema;
use crate::schema::object_owner::{function_is_ours, schema_is_ours, table_is_ours};
use crate::schema::plan_input::{PlanDraft, PlanInput};
use crate::schema::step::{LockLevel, Step};
use crate::schema::wanted::VaultSchemaMode;

/// The id of its step.
pub(super) const STEP: &str = "vault_schema";

pub(super) fn draft(input: &PlanInput<'_>, draft: &mut PlanDraft) {
    let (Some(found), mode) = (input.vault_schema, input.wanted.vault_schema) else { return };
    let is_asked_for = mode == VaultSchemaMode::Create;
    if !found.exists() && !is_asked_for {
        return;
    }
    let Some(reason) = reason(found) else { return };
    match hindrance(found) {
        None => draft.steps.push(step(input, found, reason)),
        Some((problem, hint)) if is_asked_for => {
            draft.block(SCHEMA_OBJECT, format!("{reason}, but {problem}"), hint)
        }
        Some((problem, _)) => draft.notes.push(format!("{SCHEMA_OBJECT}: {reason}, but {problem}")),
    }
}

/// Why something has to be done.
fn reason(found: &VaultSchema) -> Option<String> {
    let clients: Vec<&str> =
        found.open.iter().filter(|grant| grant.is_to_clients()).map(|grant| grant.holder.as_str()).collect();
    if !found.exists() {
        return Some("the tables for a keyring in the database and for push counts are missing".to_owned());
    }
    if !found.missing.is_empty() {
        return Some(format!("it lacks {}", found.missing.join(", ")));
    }
    if let Some(client) = clients.first() {
        return Some(format!("{client} has rights in it"));
    }
    let role = found.ungranted.first()?;
    Some(format!("role {role} may not use it"))
}

/// What keeps the acting role from it, and what to do.
fn hindrance(found: &VaultSchema) -> Option<(String, String)> {
    let actor = &found.actor;
    match &found.owner {
        None if found.creatable => None,
        None => Some((
            format!("role {actor} may not create a schema in this database"),
            format!(
                "grant it CREATE on the database, or create the schema as another role: `CREATE SCHEMA {SCHEMA} AUTHORIZATION {actor}`"
            ),
        )),
        Some(_) if found.owned => None,
        Some(owner) => Some((
            format!("it belongs to role {owner}, as which {actor} may not act"),
            "let its owner do this; if you do not know that role, drop the schema first".to_owned(),
        )),
    }
}

fn step(input: &PlanInput<'_>, found: &VaultSchema, reason: String) -> Step {
    let known = &input.definitions.server.role_names;
    let roles: Vec<String> =
        input.wanted.service_roles.iter().filter(|role| known.contains(role)).cloned().collect();
    let mut sql = creation(found.existing(), &roles);
    // an existing object keeps its owner
    sql.push(schema_is_ours(input.layout, SCHEMA));
    sql.extend(TABLE_NAMES.map(|name| table_is_ours(input.layout, &format!("{SCHEMA}.{name}"))));
    sql.extend([NOTE_REMOVED, NEWEST].map(|function| function_is_ours(input.layout, function)));
    Step {
        id: STEP.to_owned(),
        object: SCHEMA_OBJECT.to_owned(),
        reason,
        sql,
        undo: removal().to_vec(),
        lock: LockLevel::None,
        rewrites: false,
        concurrent: false,
        instead: None,
        // every statement can be repeated
        done_if: "false".to_owned(),
        at_risk: None,
    }
}
