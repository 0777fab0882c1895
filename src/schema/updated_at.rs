//! Keeps `updated_at` up to date for every change of a row.

use crate::postgres::catalogue::definitions::Trigger;
use crate::postgres::sql::names::{in_schema, literal, quote};
use crate::schema::object_owner::{function_is_ours, revoke};
use crate::schema::plan_input::{PlanDraft, PlanInput};
use crate::schema::step::{LockLevel, Step};
use crate::schema::wanted_columns::kind_after;

/// The name of the trigger, and of the function that all tables of a schema share.
pub(super) const NAME: &str = "retell_vault_touch_updated_at";

const BODY: &str = "
BEGIN
  NEW.updated_at := pg_catalog.now();
  RETURN NEW;
END
";

pub(super) fn draft(input: &PlanInput<'_>, draft: &mut PlanDraft) {
    if !input.is_full() || input.definitions.triggers.iter().any(touches) {
        return;
    }
    let kind = kind_after(input, "updated_at").unwrap_or_default();
    let generated = input.table.column("updated_at").is_some_and(|column| column.generated);
    match kind.starts_with("timestamp") && !generated {
        true => draft.steps.push(step(input)),
        false => draft.notes.push(format!(
            "updated_at of {} is not a plain timestamp, so no trigger keeps it up to date",
            input.layout.table_name()
        )),
    }
}

fn touches(trigger: &Trigger) -> bool {
    let words = [&trigger.source, &trigger.definition];
    trigger.enabled
        && trigger.definition.contains(" BEFORE ")
        && trigger.definition.contains("UPDATE")
        // `moddatetime` and similar functions take the column as an argument
        && words.iter().any(|text| text.contains("updated_at"))
}

fn step(input: &PlanInput<'_>) -> Step {
    let (relation, trigger) = (input.relation(), quote(NAME));
    let disabled = input.definitions.triggers.iter().any(|found| found.name == NAME);
    let (mut sql, mut undo) = match disabled {
        true => (
            vec![format!("ALTER TABLE {relation} ENABLE TRIGGER {trigger}")],
            vec![format!("ALTER TABLE {relation} DISABLE TRIGGER {trigger}")],
        ),
        false => (vec![create_trigger(input)], vec![format!("DROP TRIGGER {trigger} ON {relation}")]),
    };
    let (create, drop) = function(input);
    sql.splice(
        0..0,
        create
            .into_iter()
            .chain([function_is_ours(input.layout, &format!("{}()", in_schema(input.layout, NAME)))]),
    );
    undo.push(drop);
    Step {
        id: "updated_at".to_owned(),
        object: format!("trigger {NAME} of {}", input.layout.table_name()),
        reason: "no trigger keeps updated_at up to date".to_owned(),
        sql,
        undo,
        lock: LockLevel::ShareRowExclusive,
        rewrites: false,
        concurrent: false,
        instead: None,
        done_if: format!(
            "EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = {}::pg_catalog.regclass \
             AND tgname = {} AND tgenabled <> 'D')",
            literal(&relation),
            literal(NAME)
        ),
        at_risk: None,
    }
}

fn create_trigger(input: &PlanInput<'_>) -> String {
    // compared as bytes, because json has no equality. A whole row with generated columns cannot be compared, so
    // every UPDATE counts on such a table
    let generated = input.table.columns.iter().any(|column| column.generated);
    let when = if generated { "" } else { "WHEN (OLD.* OPERATOR(pg_catalog.*<>) NEW.*) " };
    format!(
        "CREATE TRIGGER {} BEFORE UPDATE ON {} FOR EACH ROW {when}EXECUTE FUNCTION {}()",
        quote(NAME),
        input.relation(),
        in_schema(input.layout, NAME)
    )
}

/// The statements that create the function, unless it exists, and that roll it back.
fn function(input: &PlanInput<'_>) -> (Vec<String>, String) {
    let name = in_schema(input.layout, NAME);
    let functions = &input.definitions.functions;
    match functions.iter().find(|function| function.name == NAME && function.arguments.is_empty()) {
        None => (create_function(input, &name), drop_unused(&name)),
        Some(old) if old.source == BODY => (Vec::new(), drop_unused(&name)),
        Some(old) => (create_function(input, &name), old.definition.clone()),
    }
}

fn create_function(input: &PlanInput<'_>, name: &str) -> Vec<String> {
    vec![
        format!(
            "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS {}",
            literal(BODY)
        ),
        revoke(input.definitions, &format!("{name}()")),
    ]
}

/// Drops the function unless another table of the schema uses it.
fn drop_unused(name: &str) -> String {
    let body = format!(
        "BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = {}::pg_catalog.regprocedure) \
         THEN DROP FUNCTION {name}(); END IF; END",
        literal(&format!("{name}()"))
    );
    format!("DO {}", literal(&body))
}
