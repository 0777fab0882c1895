//! Verifies that the schema is as wanted and works: reads everything again, and tests it.

use crate::layout::layout::Layout;
use crate::postgres::catalogue::definitions::TableDefinitions;
use crate::postgres::catalogue::table::Table;
use crate::postgres::connection::direct::Direct;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::sql::names::{our_name, relation};
use crate::postgres::statements::plan::Postgres;
use crate::schema::check_results::{Checks, Verification};
use crate::schema::plan::{SchemaPlan, plan_from};
use crate::schema::removed_rows::are_noted;
use crate::schema::wanted::Wanted;
use crate::schema::{journal, round_trip, updated_at};
use crate::store::core::Core;

/// The prefix of the vault's own names.
const OURS: &str = "retell_vault_";

/// # Errors
/// `Configuration` behind a transaction pooler; errors of the database. Nothing remains in the database in any case.
pub(super) async fn verify(
    core: &Core,
    postgres: &Postgres,
    wanted: &Wanted,
) -> Result<Verification, DatabaseError> {
    let mut direct = postgres.database.direct().await?;
    direct.act_as_owner(&relation(postgres.layout())).await?;
    let mut checks = Checks::default();
    let (current, definitions) = postgres.refresh_with_definitions().await?;
    let found = ExistingObjects {
        layout: postgres.layout(),
        table: current.some_table(postgres.layout())?,
        definitions: &definitions,
    };
    plan_is_empty(&plan_from(postgres, found.table, &definitions, wanted).await?, &mut checks);
    found.are_valid(&mut checks);
    found.are_as_recorded(&mut direct, &mut checks).await?;
    round_trip::run(core, postgres, &mut direct, &mut checks).await?;
    direct.close().await;
    Ok(checks.done())
}

/// A new plan has no steps.
fn plan_is_empty(plan: &SchemaPlan, checks: &mut Checks) {
    for step in &plan.steps {
        checks.fail(&step.object, format!("step {} is not applied: {}", step.id, step.reason));
    }
    for blocked in &plan.blocked {
        checks.fail(&blocked.object, &blocked.reason);
    }
    if plan.is_empty() {
        checks.pass("every step is applied");
    }
}

/// The existing objects of the vault.
struct ExistingObjects<'a> {
    layout: &'a Layout,
    table: &'a Table,
    definitions: &'a TableDefinitions,
}

impl ExistingObjects<'_> {
    /// Checks that the vault's objects are valid and enabled.
    fn are_valid(&self, checks: &mut Checks) {
        let of_ours = |name: &str| name.starts_with(OURS);
        let mut look = |what: String, is_good: bool, problem: &str| match is_good {
            true => checks.pass(what),
            false => checks.fail(what, problem),
        };
        for constraint in self.definitions.constraints.iter().filter(|constraint| of_ours(&constraint.name)) {
            let what = format!("constraint {}", constraint.name);
            look(what, constraint.validated, "it is not validated: older rows may violate it");
        }
        for index in self.table.indexes.iter().filter(|index| of_ours(&index.name)) {
            look(format!("index {}", index.name), index.valid, "it is not valid, so it is not used");
        }
        for trigger in self.definitions.triggers.iter().filter(|trigger| of_ours(&trigger.name)) {
            look(format!("trigger {}", trigger.name), trigger.enabled, "it is disabled");
        }
    }

    /// Checks that the objects of recorded steps still exist.
    async fn are_as_recorded(&self, direct: &mut Direct, checks: &mut Checks) -> Result<(), DatabaseError> {
        match journal::owner(direct, self.layout).await? {
            None => {}
            Some((_, true)) => {
                for entry in journal::entries(direct, self.layout).await? {
                    self.look_for(&entry.reversal.id, checks);
                }
            }
            Some((owner, false)) => {
                checks.skip("objects in the journal", format!("the journal belongs to role {owner}"));
            }
        }
        Ok(())
    }

    /// Checks that the object of a recorded step still exists.
    fn look_for(&self, id: &str, checks: &mut Checks) {
        match self.holds(id) {
            Some(true) => checks.pass(format!("recorded step {id}")),
            Some(false) => {
                checks.fail(format!("recorded step {id}"), "the object that it created was removed");
            }
            // the step created no object
            None => {}
        }
    }

    fn holds(&self, id: &str) -> Option<bool> {
        let (kind, name) = id.split_once('.').unwrap_or((id, ""));
        match kind {
            "column" | "type" => Some(self.table.column(name).is_some()),
            "index" => Some(self.table.indexes.iter().any(|index| index.name == name)),
            "function" => Some(self.definitions.functions.iter().any(|function| function.name == name)),
            "guard" | "values" => {
                let column = [".validate", ".trigger"].iter().find_map(|end| name.strip_suffix(end));
                Some(self.guards(column.unwrap_or(name)))
            }
            "owner" if name == "unique" => Some(self.table.unique),
            "updated_at" => {
                Some(self.definitions.triggers.iter().any(|trigger| trigger.name == updated_at::NAME))
            }
            "removed_rows" => Some(are_noted(self.layout, self.table, self.definitions)),
            "row_security" => Some(self.definitions.relation.row_security),
            _ => None,
        }
    }

    /// Whether one of the vault's constraints or triggers guards a column.
    fn guards(&self, column: &str) -> bool {
        let mark = self.table.filter.mark();
        let check = |what: &str| our_name(&[&self.layout.table, column, what, &mark]);
        let trigger = our_name(&[column, "update", &mark]);
        let (tokens, values) = (check("tokens"), check("values"));
        let constraints = &self.definitions.constraints;
        constraints.iter().any(|found| found.name == tokens || found.name == values)
            || self.definitions.triggers.iter().any(|found| found.name == trigger)
    }
}
