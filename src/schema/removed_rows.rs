//! A trigger that notes deleted rows in `retell_vault.removed`, so that the ledger tells them from rows that somebody took away.
//!
//! It is planned with the schema `retell_vault`, where the operator asks for it: it belongs to the application's table.

use crate::layout::layout::Layout;
use crate::postgres::catalogue::definitions::TableDefinitions;
use crate::postgres::catalogue::table::Table;
use crate::postgres::sql::names::{literal, our_name, quote};
use crate::postgres::vault_schema::objects::removal_of_rest;
use crate::postgres::vault_schema::removed::{NOTE_REMOVED, REMOVED};
use crate::schema::plan_input::{PlanDraft, PlanInput};
use crate::schema::step::{LockLevel, Step};
use crate::schema::vault_schema;
use crate::schema::wanted::VaultSchemaMode;

pub(super) fn draft(input: &PlanInput<'_>, draft: &mut PlanDraft) {
    let (Some(found), VaultSchemaMode::Create) = (input.vault_schema, input.wanted.vault_schema) else {
        return;
    };
    if are_noted(input.layout, input.table, input.definitions) {
        return;
    }
    // the function comes with the schema, which another step may be unable to make
    let is_made = draft.steps.iter().any(|step| step.id == vault_schema::STEP);
    let is_there = found.exists() && found.missing.is_empty();
    if !is_made && !is_there {
        return;
    }
    match found.others.first() {
        None => draft.steps.push(step(input)),
        Some(owner) => draft.notes.push(format!(
            "no trigger notes deleted rows of {} for the ledger, because its function would be that of role {owner}",
            input.layout.table_name()
        )),
    }
}

/// Whether a trigger notes the rows of this layout that are deleted.
pub(crate) fn are_noted(layout: &Layout, table: &Table, definitions: &TableDefinitions) -> bool {
    let name = trigger_name(layout, table);
    let mut triggers = definitions.triggers.iter();
    triggers.any(|trigger| trigger.name == name && trigger.enabled && trigger.function == NOTE_REMOVED)
}

/// Two layouts may share a table.
fn trigger_name(layout: &Layout, table: &Table) -> String {
    let tenant = layout.tenant_column.as_deref().unwrap_or_default();
    our_name(&["note_removed", &layout.user_column, tenant, &table.filter.mark()])
}

fn step(input: &PlanInput<'_>) -> Step {
    let (layout, relation) = (input.layout, input.relation());
    let name = trigger_name(layout, input.table);
    let place = layout.rows_name();
    let arguments = [Some(&place), Some(&layout.user_column), layout.tenant_column.as_ref()];
    let arguments: Vec<_> = arguments.into_iter().flatten().map(|text| literal(text)).collect();
    let conditions: Vec<_> = input.table.filter.conditions("OLD.").collect();
    let when = match conditions.is_empty() {
        true => String::new(),
        false => format!("WHEN ({}) ", conditions.join(" AND ")),
    };
    let drop = format!("DROP TRIGGER IF EXISTS {} ON {relation}", quote(&name));
    // one that is disabled, or runs something else
    let is_there = input.definitions.triggers.iter().any(|trigger| trigger.name == name);
    let create = format!(
        "CREATE TRIGGER {} AFTER DELETE ON {relation} FOR EACH ROW {when}EXECUTE FUNCTION {}({})",
        quote(&name),
        NOTE_REMOVED.trim_end_matches("()"),
        arguments.join(", ")
    );
    Step {
        id: "removed_rows".to_owned(),
        object: format!("trigger {name} of {}", layout.table_name()),
        reason: format!("no trigger notes deleted rows in {REMOVED} for the ledger"),
        sql: is_there.then(|| drop.clone()).into_iter().chain([create]).collect(),
        undo: vec![drop, removal_of_rest()],
        lock: if is_there { LockLevel::AccessExclusive } else { LockLevel::ShareRowExclusive },
        rewrites: false,
        concurrent: false,
        instead: None,
        done_if: format!(
            "EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = {}::pg_catalog.regclass \
             AND tgname = {} AND tgenabled <> 'D' AND tgfoid = pg_catalog.to_regprocedure({}))",
            literal(&relation),
            literal(&name),
            literal(NOTE_REMOVED)
        ),
        at_risk: None,
    }
}
