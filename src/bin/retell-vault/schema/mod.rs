//! `schema`: plans, applies, verifies and rolls back changes of the table.

mod plan;
mod promote;
mod steps;

use crate::args::global::Global;
use crate::args::schema::SchemaCommand;
use crate::failure::Failure;

/// Runs one of them.
pub async fn run(global: &Global, command: &SchemaCommand) -> Result<(), Failure> {
    match command {
        SchemaCommand::Plan(options) => plan::plan(global, options).await,
        SchemaCommand::Apply(options) => steps::apply(global, options).await,
        SchemaCommand::Verify(wanted) => plan::verify(global, wanted).await,
        SchemaCommand::Rollback(options) => steps::rollback(global, options).await,
        SchemaCommand::Promote(options) => promote::promote(global, options).await,
    }
}
