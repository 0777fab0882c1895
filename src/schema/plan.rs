//! The plan: the steps from the existing schema to the wanted one.

use std::fmt;

use crate::display::visible;
use crate::layout::layout::Layout;
use crate::postgres::catalogue::definitions::TableDefinitions;
use crate::postgres::catalogue::table::Table;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::sql::names::relation;
use crate::postgres::statements::plan::Postgres;
use crate::postgres::vault_schema::state;
use crate::schema::evidence::{Evidence, RowInspection};
use crate::schema::plan_input::{PlanDraft, PlanInput};
use crate::schema::step::{Blocked, Step};
use crate::schema::wanted::{VaultSchemaMode, Wanted};
use crate::schema::{
    columns, find_indexes, functions, guards, indexes, owner_unique, removed_rows, row_security, updated_at,
    vault_schema,
};

/// Ordered steps from the existing schema to the wanted one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaPlan {
    /// The table, as `schema.table`.
    pub table: String,
    /// The steps, in order. Empty if the schema is as wanted.
    pub steps: Vec<Step>,
    /// Problems that no step can fix. They stay unchanged.
    pub blocked: Vec<Blocked>,
    /// Notes for the reader: what was only sampled, and why something is not planned.
    pub notes: Vec<String>,
    pub(crate) wanted: Wanted,
    pub(crate) layout: Layout,
}

impl SchemaPlan {
    /// The wanted schema that this plan leads to.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Whether there are no steps and no blocking problems.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.blocked.is_empty()
    }
}

impl fmt::Display for SchemaPlan {
    /// One line for each step.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            let line = format!("{}. {}: {}", at + 1, step.id, step.reason);
            writeln!(f, "{}", visible(&line))?;
        }
        Ok(())
    }
}

/// A plan from the current schema.
///
/// # Errors
/// `Schema` if the table is missing or cannot be used; errors of the database.
pub(crate) async fn plan(postgres: &Postgres, wanted: &Wanted) -> Result<SchemaPlan, DatabaseError> {
    let (current, definitions) = postgres.refresh_with_definitions().await?;
    plan_from(postgres, current.some_table(postgres.layout())?, &definitions, wanted).await
}

/// A plan from the catalogue's answer and from a sample of the rows.
pub(crate) async fn plan_from(
    postgres: &Postgres,
    table: &Table,
    definitions: &TableDefinitions,
    wanted: &Wanted,
) -> Result<SchemaPlan, DatabaseError> {
    let (layout, extent) = (postgres.layout(), wanted.extent);
    let compares_rows = wanted.remove_duplicates;
    let (database, nothing) = (&postgres.database, Evidence::default());
    let vault_schema = match wanted.vault_schema {
        VaultSchemaMode::Leave => None,
        _ => Some(state::look(database, &relation(layout), &wanted.service_roles).await?),
    };
    let vault_schema = vault_schema.as_ref();
    let input = |evidence| PlanInput { layout, wanted, table, definitions, evidence, vault_schema };
    let conversions = columns::conversions(&input(&nothing));
    let inspection =
        RowInspection { database, layout, table, definitions, extent, conversions, compares_rows };
    let evidence = inspection.gather().await?;
    Ok(draft(&input(&evidence)))
}

/// Notes the tables that may hold copies of rows: no step changes them.
fn note_copies(input: &PlanInput<'_>, draft: &mut PlanDraft) {
    if let Some(tables) = input.definitions.copies_in_words() {
        draft.notes.push(format!(
            "copies of rows may be in {tables}: no step changes them, and no rotation re-encrypts tokens there. Remove \
             plaintext from them too, and leave the columns of the vault out of what is copied if you can"
        ));
    }
}

/// Pure: the same input gives the same plan.
fn draft(input: &PlanInput<'_>) -> SchemaPlan {
    let mut draft = PlanDraft::default();
    // before the columns: a rollback in the reverse order restores the rows unchanged
    owner_unique::draft(input, &mut draft);
    columns::draft(input, &mut draft);
    guards::draft(input, &mut draft);
    updated_at::draft(input, &mut draft);
    find_indexes::draft(input, &mut draft);
    indexes::draft(input, &mut draft);
    functions::draft(input, &mut draft);
    row_security::draft(input, &mut draft);
    vault_schema::draft(input, &mut draft);
    removed_rows::draft(input, &mut draft);
    note_copies(input, &mut draft);
    SchemaPlan {
        table: input.layout.table_name(),
        steps: draft.steps,
        blocked: draft.blocked,
        notes: draft.notes,
        wanted: input.wanted.clone(),
        layout: input.layout.clone(),
    }
}
