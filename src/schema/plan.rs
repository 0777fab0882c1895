//! The way from the schema that is there to the one that is wanted.

use std::fmt;

use crate::display::visible;
use crate::layout::layout::Layout;
use crate::postgres::catalogue::definitions::TableDefinitions;
use crate::postgres::catalogue::table::Table;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::statements::plan::Postgres;
use crate::schema::evidence::RowInspection;
use crate::schema::plan_input::{PlanDraft, PlanInput};
use crate::schema::step::{Blocked, Step};
use crate::schema::wanted::Wanted;
use crate::schema::{columns, functions, guards, indexes, owner_unique, row_security, updated_at};

/// Ordered steps from the schema that is there to the one that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaPlan {
    /// The table, as `schema.table`.
    pub table: String,
    /// What to do, in order. Nothing: the schema is as wanted.
    pub steps: Vec<Step>,
    /// What no step can mend. It is left as it is.
    pub blocked: Vec<Blocked>,
    /// What a reader should know: what was only sampled, and why something is not planned.
    pub notes: Vec<String>,
    pub(crate) wanted: Wanted,
    pub(crate) layout: Layout,
}

impl SchemaPlan {
    /// What was wanted.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Whether there is nothing to do, and nothing in the way.
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

/// A plan from what is there now.
///
/// # Errors
/// `Schema` when the table is missing or cannot be used; those of asking the database.
pub(crate) async fn plan(postgres: &Postgres, wanted: &Wanted) -> Result<SchemaPlan, DatabaseError> {
    let (current, definitions) = postgres.refresh_with_definitions().await?;
    plan_from(postgres, current.some_table(postgres.layout())?, &definitions, wanted).await
}

/// A plan from what the catalogue has said, and from a look at the rows.
pub(crate) async fn plan_from(
    postgres: &Postgres,
    table: &Table,
    definitions: &TableDefinitions,
    wanted: &Wanted,
) -> Result<SchemaPlan, DatabaseError> {
    let (layout, extent) = (postgres.layout(), wanted.extent);
    let compares_rows = wanted.remove_duplicates;
    let inspection =
        RowInspection { database: &postgres.database, layout, table, definitions, extent, compares_rows };
    let evidence = inspection.gather().await?;
    Ok(draft(&PlanInput { layout, wanted, table, definitions, evidence: &evidence }))
}

/// Pure: the same input gives the same plan.
fn draft(input: &PlanInput<'_>) -> SchemaPlan {
    let mut draft = PlanDraft::default();
    // before the columns: rows that come back after them would not be as they were
    owner_unique::draft(input, &mut draft);
    columns::draft(input, &mut draft);
    guards::draft(input, &mut draft);
    updated_at::draft(input, &mut draft);
    indexes::draft(input, &mut draft);
    functions::draft(input, &mut draft);
    row_security::draft(input, &mut draft);
    SchemaPlan {
        table: input.layout.table_name(),
        steps: draft.steps,
        blocked: draft.blocked,
        notes: draft.notes,
        wanted: input.wanted.clone(),
        layout: input.layout.clone(),
    }
}
