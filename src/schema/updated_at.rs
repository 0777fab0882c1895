//! `updated_at` follows every change of a row, whoever makes it.

use crate::postgres::catalogue::picture::Trigger;
use crate::postgres::sql::names::quote;
use crate::postgres::sql::names::{in_schema, literal};
use crate::schema::columns::kind_after;
use crate::schema::plan::Subject;
use crate::schema::step::{Draft, LockLevel, Step};
use crate::schema::trust::function_is_ours;

/// The name of the trigger, and of the function that all tables of a schema share.
const NAME: &str = "retell_vault_touch_updated_at";

const BODY: &str = "
BEGIN
  NEW.updated_at := pg_catalog.now();
  RETURN NEW;
END
";

pub(super) fn draft(subject: &Subject<'_>, draft: &mut Draft) {
    if !subject.is_full() || subject.picture.triggers.iter().any(touches) {
        return;
    }
    let kind = kind_after(subject, "updated_at").unwrap_or_default();
    let generated = subject.picture.column("updated_at").is_some_and(|column| column.generated);
    match kind.starts_with("timestamp") && !generated {
        true => draft.steps.push(step(subject)),
        false => draft.notes.push(format!(
            "updated_at of {} is no plain time stamp, so no trigger keeps it up to date",
            subject.layout.table_name()
        )),
    }
}

fn touches(trigger: &Trigger) -> bool {
    let words = [&trigger.source, &trigger.definition];
    trigger.enabled
        && trigger.definition.contains(" BEFORE ")
        && trigger.definition.contains("UPDATE")
        // `moddatetime` and the like are told the column as an argument
        && words.iter().any(|text| text.contains("updated_at"))
}

fn step(subject: &Subject<'_>) -> Step {
    let (relation, trigger) = (subject.relation(), quote(NAME));
    let disabled = subject.picture.triggers.iter().any(|found| found.name == NAME);
    let (mut sql, mut undo) = match disabled {
        true => (
            vec![format!("ALTER TABLE {relation} ENABLE TRIGGER {trigger}")],
            vec![format!("ALTER TABLE {relation} DISABLE TRIGGER {trigger}")],
        ),
        false => (vec![create_trigger(subject)], vec![format!("DROP TRIGGER {trigger} ON {relation}")]),
    };
    let (create, drop) = function(subject);
    sql.splice(
        0..0,
        create
            .into_iter()
            .chain([function_is_ours(subject.layout, &format!("{}()", in_schema(subject.layout, NAME)))]),
    );
    undo.push(drop);
    Step {
        id: "updated_at".to_owned(),
        object: format!("trigger {NAME} of {}", subject.layout.table_name()),
        reason: "nothing keeps updated_at up to date".to_owned(),
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
        stake: None,
    }
}

fn create_trigger(subject: &Subject<'_>) -> String {
    // compared as bytes, since json has no equality. A whole row with generated columns cannot be compared
    // there, so on such a table every UPDATE counts
    let generated = subject.picture.columns.iter().any(|column| column.generated);
    let when = if generated { "" } else { "WHEN (OLD.* OPERATOR(pg_catalog.*<>) NEW.*) " };
    format!(
        "CREATE TRIGGER {} BEFORE UPDATE ON {} FOR EACH ROW {when}EXECUTE FUNCTION {}()",
        quote(NAME),
        subject.relation(),
        in_schema(subject.layout, NAME)
    )
}

/// How the function is made, unless it is there, and how it is taken back.
fn function(subject: &Subject<'_>) -> (Vec<String>, String) {
    let name = in_schema(subject.layout, NAME);
    let functions = &subject.picture.functions;
    match functions.iter().find(|function| function.name == NAME && function.arguments.is_empty()) {
        None => (create_function(subject, &name), drop_unused(&name)),
        Some(old) if old.source == BODY => (Vec::new(), drop_unused(&name)),
        Some(old) => (create_function(subject, &name), old.definition.clone()),
    }
}

fn create_function(subject: &Subject<'_>, name: &str) -> Vec<String> {
    let others = subject.picture.server.roles.iter().map(|role| quote(&role.name));
    let others: Vec<String> = ["PUBLIC".to_owned()].into_iter().chain(others).collect();
    vec![
        format!(
            "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS {}",
            literal(BODY)
        ),
        format!("REVOKE ALL ON FUNCTION {name}() FROM {}", others.join(", ")),
    ]
}

/// Another table of the schema may have come to use it.
fn drop_unused(name: &str) -> String {
    let body = format!(
        "BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = {}::pg_catalog.regprocedure) \
         THEN DROP FUNCTION {name}(); END IF; END",
        literal(&format!("{name}()"))
    );
    format!("DO {}", literal(&body))
}
