//! The triggers that guard a column while existing rows would violate a CHECK constraint. The constraint would refuse
//! every update of these rows, and its error would print the row.

use crate::postgres::catalogue::definitions::{Trigger, is_same_expression};
use crate::postgres::sql::names::{dollar_quoted, in_schema, literal, our_name, quote, relation};
use crate::schema::guards::rule::Rule;
use crate::schema::object_owner::{function_is_ours, revoke};
use crate::schema::plan_input::PlanInput;

const FUNCTION: &str = "retell_vault_refuse_foreign";

/// The error names the column and never the value, which may be a plaintext secret.
const BODY: &str = "
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'check_violation',
    MESSAGE = pg_catalog.format('column %s of %s takes only %s', TG_ARGV[1], TG_ARGV[0], TG_ARGV[2]),
    HINT = 'write it through retell-vault';
END
";

/// The two triggers of one rule. They are AFTER triggers, because a BEFORE trigger of the application may change the row.
pub(super) struct Triggers<'a> {
    input: &'a PlanInput<'a>,
    rule: &'a Rule<'a>,
}

impl<'a> Triggers<'a> {
    pub(super) fn new(input: &'a PlanInput<'a>, rule: &'a Rule<'a>) -> Self {
        Self { input, rule }
    }

    fn names(&self) -> [String; 2] {
        let mark = self.rule.mark();
        ["insert", "update"].map(|event| our_name(&[self.rule.column, event, &mark]))
    }

    fn definitions(&self) -> [String; 2] {
        let broken = self.rule.is_broken("new.");
        let (new, old) = (self.rule.value("new."), self.rule.value("old."));
        let [insert, update] = self.names();
        // a row that starts to pass the filter is checked like a new one
        let changed = match self.rule.counts("old.") {
            counts if counts.is_empty() => format!("{new} IS DISTINCT FROM {old}"),
            counts => format!("({new} IS DISTINCT FROM {old} OR (true{counts}) IS NOT TRUE)"),
        };
        [
            self.definition(&insert, "INSERT", &broken),
            self.definition(&update, "UPDATE", &format!("{changed} AND ({broken})")),
        ]
    }

    fn definition(&self, name: &str, event: &str, when: &str) -> String {
        let layout = self.input.layout;
        let words = [layout.table_name(), self.rule.column.to_owned(), self.rule.trigger_argument()];
        let words: Vec<_> = words.iter().map(|word| literal(word)).collect();
        format!(
            "CREATE TRIGGER {} AFTER {event} ON {} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {}({})",
            quote(name),
            relation(layout),
            in_schema(layout, FUNCTION),
            words.join(", ")
        )
    }

    fn there(&self) -> impl Iterator<Item = &'a Trigger> {
        let names = self.names();
        self.input.definitions.triggers.iter().filter(move |trigger| names.contains(&trigger.name))
    }

    /// Whether any of them exist, correct or not.
    pub(super) fn are_there(&self) -> bool {
        self.there().next().is_some()
    }

    /// Whether both exist and are correct.
    pub(super) fn guard(&self) -> bool {
        let guards = |definition: &String| {
            self.there().any(|trigger| {
                trigger.enabled
                    && trigger.source == BODY
                    && is_same_expression(definition, &trigger.definition)
            })
        };
        self.definitions().iter().all(guards)
    }

    pub(super) fn create(&self) -> Vec<String> {
        let function = self.function();
        let create = format!(
            "CREATE OR REPLACE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS {}",
            dollar_quoted(BODY)
        );
        let locked = revoke(self.input.definitions, &function);
        let ours = function_is_ours(self.input.layout, &function);
        [create, locked, ours].into_iter().chain(self.drop()).chain(self.definitions()).collect()
    }

    pub(super) fn drop(&self) -> Vec<String> {
        let relation = relation(self.input.layout);
        let drop = |name: String| format!("DROP TRIGGER IF EXISTS {} ON {relation}", quote(&name));
        self.names().map(drop).into()
    }

    /// Restores the current triggers and function.
    pub(super) fn restore(&self) -> Vec<String> {
        let relation = relation(self.input.layout);
        let back = |trigger: &Trigger| {
            let disabled = format!("ALTER TABLE {relation} DISABLE TRIGGER {}", quote(&trigger.name));
            [trigger.definition.clone()].into_iter().chain((!trigger.enabled).then_some(disabled))
        };
        self.drop().into_iter().chain([self.function_before()]).chain(self.there().flat_map(back)).collect()
    }

    /// Restores the current function. If there is none, drops the new one, unless other triggers use it.
    fn function_before(&self) -> String {
        let functions = &self.input.definitions.functions;
        let before =
            functions.iter().find(|function| function.name == FUNCTION && function.arguments.is_empty());
        let function = self.function();
        match before {
            Some(before) => before.definition.clone(),
            None => {
                let unless_used = format!(
                    " BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = pg_catalog.to_regprocedure({})) \
                     THEN DROP FUNCTION IF EXISTS {function}; END IF; END ",
                    literal(&function)
                );
                format!("DO {}", dollar_quoted(&unless_used))
            }
        }
    }

    fn function(&self) -> String {
        format!("{}()", in_schema(self.input.layout, FUNCTION))
    }

    /// A condition that both exist as [`Triggers::create`] creates them.
    pub(super) fn done_if(&self) -> String {
        let names: Vec<_> = self.names().iter().map(|name| literal(name)).collect();
        let definitions = self.definitions();
        let is_wanted = |trigger: &&Trigger| {
            definitions.iter().any(|wanted| is_same_expression(wanted, &trigger.definition))
        };
        let unlike = self.there().filter(|trigger| !is_wanted(trigger)).map(|trigger| {
            format!(" AND pg_catalog.pg_get_triggerdef(t.oid) <> {}", literal(&trigger.definition))
        });
        format!(
            "(SELECT pg_catalog.count(*) = 2 FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc f ON f.oid = t.tgfoid \
             WHERE t.tgrelid = {}::pg_catalog.regclass AND t.tgenabled <> 'D' AND f.prosrc = {} AND t.tgname IN ({}){})",
            literal(&relation(self.input.layout)),
            literal(BODY),
            names.join(", "),
            unlike.collect::<String>()
        )
    }
}
