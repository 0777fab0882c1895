//! Functions for callers that use only SQL. They run with the rights of their caller.

mod bodies;

use crate::postgres::catalogue::definitions::Function;
use crate::postgres::sql::names::{dollar_quoted, in_schema, literal, quote};
use crate::schema::functions::bodies::{OwnerParams, fill, store_body};
use crate::schema::object_owner::{function_is_ours, grant, revoke};
use crate::schema::plan_input::{PlanDraft, PlanInput};
use crate::schema::step::{LockLevel, Step};

/// The text that every version of the vault's function bodies contains.
const MARK: &str = "-- retell-vault";

/// The setting as the catalogue prints it.
const SETTING: &str = "search_path=\"\"";

const PROFILE: &str = include_str!("profile.sql");
const STATUS: &str = include_str!("status.sql");

pub(super) fn draft(input: &PlanInput<'_>, draft: &mut PlanDraft) {
    if input.is_full() {
        for wanted in wanted(input) {
            wanted.draft(draft);
        }
    }
}

fn wanted<'a>(input: &'a PlanInput<'a>) -> Vec<WantedFunction<'a>> {
    let owner = OwnerParams::new(input);
    let relation = ("relation", input.relation());
    let condition = ("owner", owner.condition());
    let store = WantedFunction {
        input,
        name: format!("store_{}_config", input.layout.fields.namespace),
        params: [owner.and("p_record", "text"), vec![("p_plain", "jsonb")]].concat(),
        result: "text",
        volatility: "",
        body: store_body(input, &owner),
    };
    let profile = WantedFunction {
        input,
        name: "get_complete_user_profile".to_owned(),
        params: owner.params.clone(),
        result: "jsonb",
        volatility: " STABLE",
        body: fill(PROFILE, &[relation.clone(), condition.clone()]),
    };
    let with_words = input.layout.fields.plain().filter(|(_, spec)| !spec.words.is_empty());
    let status = with_words.filter_map(|(field, spec)| {
        let (column, words) = (input.plain_column(field)?, spec.words);
        let statuses = words.iter().map(|word| literal(word)).collect::<Vec<_>>().join(", ");
        let values = [
            relation.clone(),
            condition.clone(),
            ("status", quote(column)),
            ("statuses", statuses),
            ("status_words", words.join(", ")),
        ];
        Some(WantedFunction {
            input,
            name: format!("update_{}_{field}", input.layout.fields.namespace),
            params: owner.and("p_status", "text"),
            result: "void",
            volatility: "",
            body: fill(STATUS, &values),
        })
    });
    [store, profile].into_iter().chain(status).collect()
}

/// A wanted function.
struct WantedFunction<'a> {
    input: &'a PlanInput<'a>,
    name: String,
    /// Names and types.
    params: Vec<(&'static str, &'static str)>,
    result: &'static str,
    volatility: &'static str,
    body: String,
}

impl WantedFunction<'_> {
    fn draft(&self, draft: &mut PlanDraft) {
        let object = format!("function {}.{}", self.input.layout.schema, self.name);
        match self.there() {
            Some(there) if !there.source.contains(MARK) => draft.block(
                object,
                "another function already has this name and these parameters",
                "rename it, or plan the profile `credentials`, which needs no functions",
            ),
            Some(there) if self.is(there) => {}
            there => draft.steps.push(self.step(object, there)),
        }
    }

    fn there(&self) -> Option<&Function> {
        let functions = &self.input.definitions.functions;
        functions.iter().find(|function| function.name == self.name && self.has_params_of(function))
    }

    /// Compares the types of the parameters, whatever their names.
    fn has_params_of(&self, function: &Function) -> bool {
        let theirs: Vec<_> = function.arguments.split(", ").filter(|argument| !argument.is_empty()).collect();
        let is = |theirs: &&str, kind: &str| *theirs == kind || theirs.ends_with(&format!(" {kind}"));
        theirs.len() == self.params.len()
            && theirs.iter().zip(&self.params).all(|(theirs, (_, kind))| is(theirs, kind))
    }

    fn is(&self, there: &Function) -> bool {
        let lets_in = |role: &str| there.grantees.iter().any(|grantee| grantee == role);
        // grants of the application to other roles stay
        there.source == self.body
            && !there.security_definer
            && there.trusted
            && there.settings == [SETTING]
            && !["public", "anon"].into_iter().any(lets_in)
            && self.callers().into_iter().all(lets_in)
    }

    /// The existing roles among `authenticated` and `service_role`.
    fn callers(&self) -> Vec<&'static str> {
        let callers = ["authenticated", "service_role"].into_iter();
        callers.filter(|role| self.input.definitions.has_role(role)).collect()
    }

    fn step(&self, object: String, there: Option<&Function>) -> Step {
        let signature = self.signature();
        let locked = revoke(self.input.definitions, &signature);
        let open = grant(&signature, &self.callers());
        let undo = match there {
            None => vec![format!("DROP FUNCTION IF EXISTS {signature}")],
            Some(there) => [there.definition.clone(), locked.clone()]
                .into_iter()
                .chain(grant(&signature, &there.grantees))
                .collect(),
        };
        Step {
            id: format!("function.{}", self.name),
            object,
            reason: match there {
                None => "callers that use only SQL have no other safe way to the table",
                Some(_) => "it differs from the function of this version, or other roles may call it",
            }
            .to_owned(),
            sql: [self.create(), locked, function_is_ours(self.input.layout, &signature)]
                .into_iter()
                .chain(open)
                .collect(),
            undo,
            lock: LockLevel::None,
            rewrites: false,
            concurrent: false,
            instead: None,
            done_if: self.done_if(),
            at_risk: None,
        }
    }

    fn create(&self) -> String {
        let params: Vec<_> = self.params.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
        format!(
            "CREATE OR REPLACE FUNCTION {}({}) RETURNS {} LANGUAGE plpgsql{} SECURITY INVOKER SET search_path = '' AS {}",
            in_schema(self.input.layout, &self.name),
            params.join(", "),
            self.result,
            self.volatility,
            dollar_quoted(&self.body)
        )
    }

    fn signature(&self) -> String {
        let kinds: Vec<_> = self.params.iter().map(|(_, kind)| *kind).collect();
        format!("{}({})", in_schema(self.input.layout, &self.name), kinds.join(", "))
    }

    fn done_if(&self) -> String {
        let may =
            |role: &str| format!("pg_catalog.has_function_privilege({}, oid, 'EXECUTE')", literal(role));
        let anon = self.input.definitions.has_role("anon").then_some("anon");
        let closed = ["public"].into_iter().chain(anon).map(|role| format!(" AND NOT {}", may(role)));
        let open = self.callers().into_iter().map(|role| format!(" AND {}", may(role)));
        format!(
            "EXISTS (SELECT FROM pg_catalog.pg_proc WHERE oid = pg_catalog.to_regprocedure({}) AND prosrc = {} \
             AND NOT prosecdef AND proconfig = ARRAY[{}]{})",
            literal(&self.signature()),
            literal(&self.body),
            literal(SETTING),
            closed.chain(open).collect::<String>()
        )
    }
}
