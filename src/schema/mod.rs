//! The schema of the application's table: plan, apply, verify and roll back.
//!
//! ```no_run
//! use retell_vault::schema::Profile;
//! use retell_vault::{Error, Vault};
//!
//! async fn what_is_missing(vault: &Vault) -> Result<(), Error> {
//!     let plan = vault.schema().plan(Profile::Credentials).await?;
//!     for step in &plan.steps {
//!         println!("{}: {}", step.object, step.reason);
//!     }
//!     Ok(())
//! }
//! ```

mod apply;
pub(crate) mod check_results;
mod columns;
mod evidence;
mod find_indexes;
mod functions;
pub(crate) mod guards;
mod indexes;
pub(crate) mod journal;
pub(crate) mod object_owner;
pub(crate) mod options;
mod owner_unique;
pub(crate) mod plan;
mod plan_input;
pub(crate) mod removed_rows;
mod roll_back;
pub(crate) mod round_trip;
mod row_security;
mod script;
pub(crate) mod step;
mod step_runner;
mod updated_at;
mod vault_schema;
mod verify;
pub(crate) mod wanted;
mod wanted_columns;

use std::sync::Arc;

use serde_json::json;

use crate::chain::entry::operation;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::statements::plan::Postgres;
use crate::store::actor::{Attribution, acting};
use crate::store::core::Core;
use crate::store::ledger_work::{note_begin, note_end, noted_work};

pub use crate::detect::{Candidate, DetectOptions, Detection, Holding, Proposal, ProposedSource};
pub use crate::schema::check_results::{Check, CheckOutcome, Verification};
pub use crate::schema::options::{Applied, ApplyOptions, RollBackOptions, RolledBack, SchemaEvent};
pub use crate::schema::plan::SchemaPlan;
pub use crate::schema::step::{Blocked, Instead, LockLevel, Step};
pub use crate::schema::wanted::{Profile, RowSecurity, Wanted};

/// The schema of the vault's table. See [`Vault::schema`](crate::Vault::schema).
#[derive(Clone)]
pub struct Schema {
    core: Arc<Core>,
    actor: Option<Arc<Attribution>>,
}

impl Schema {
    pub(crate) fn new(core: Arc<Core>, actor: Option<Arc<Attribution>>) -> Self {
        Self { core, actor }
    }

    /// Compares the table with the wanted schema: a [`Profile`], or [`Wanted`] for more options. Changes nothing.
    ///
    /// # Errors
    /// `Configuration` without a database; `Schema` if the table is missing or is not a table; errors of the database.
    pub async fn plan(&self, wanted: impl Into<Wanted>) -> Result<SchemaPlan> {
        let (postgres, wanted) = (self.postgres()?, wanted.into());
        Box::pin(plan::plan(postgres, &wanted)).await.map_err(|fault| fault.error)
    }

    /// Applies a plan over a separate connection. Each step is applied together with its record, or not at all. Steps
    /// that another run has applied in the meantime are skipped, so you can apply a plan again, for example after a run
    /// was killed.
    ///
    /// It does not block other sessions for long: a step that does not get its lock within the [lock
    /// time-out](ApplyOptions::lock_timeout) gives up and tries again later, so reads and writes get through.
    ///
    /// # Errors
    /// Before any step was applied: `Schema` if the plan is blocked, or if a step rewrites the table and rewrites are not
    /// allowed; `StalePlan`; `AccessDenied`, which names the missing right; `Configuration` behind a transaction pooler;
    /// `Busy` if another run does not end; `LedgerUnavailable` if the ledger cannot take an entry and this plan does not make its
    /// table. At a step, which was then not applied: `Busy`, which names the sessions that
    /// hold the lock; `Schema` if owners have several rows; `AccessDenied`; `OutcomeUnknown` if the connection was lost.
    /// The steps before it stay applied.
    pub async fn apply(
        &self,
        plan: &SchemaPlan,
        options: &ApplyOptions,
        mut listener: impl FnMut(SchemaEvent<'_>) + Send,
    ) -> Result<Applied> {
        let (postgres, about) = (self.postgres()?, json!({ "steps": plan.steps.len() }));
        // the table of the ledger may be what this plan makes
        let mends = plan.steps.iter().any(|step| step.id == vault_schema::STEP);
        let apply = async {
            let begun = match note_begin(&self.core, operation::SCHEMA_APPLY, about).await {
                Err(error) if mends && error.kind() == ErrorKind::LedgerUnavailable => None,
                begun => begun?,
            };
            let done = Box::pin(apply::apply(postgres, plan, options, &mut listener)).await;
            let applied = done.as_ref().map_or(0, |applied| applied.steps.len());
            let (failed, told) = (done.as_ref().err().map(|fault| &fault.error), json!({ "steps": applied }));
            note_end(&self.core, operation::SCHEMA_APPLY, begun, failed, told).await;
            done.map_err(|fault| fault.error)
        };
        acting(self.actor.clone(), Box::pin(apply)).await
    }

    /// Reads the schema again and tests it. It stores, loads, stores again and deletes a configuration of a test owner
    /// with the vault's own statements, and tries to write text that is not a token into every column for tokens. All of
    /// this happens over a separate connection, in one transaction that is rolled back. The test owner is a random UUID
    /// that no row has.
    ///
    /// Triggers of the application fire in that transaction. Their writes and their NOTIFY are rolled back with it.
    /// Sequences keep the numbers that they have given, and effects of a trigger outside of the database remain.
    ///
    /// # Errors
    /// `Configuration` without a database or behind a transaction pooler; `Schema` if the table is missing; errors of the
    /// database. Problems of the schema are in the result.
    pub async fn verify(&self, wanted: impl Into<Wanted>) -> Result<Verification> {
        let (postgres, wanted) = (self.postgres()?, wanted.into());
        let verified = Box::pin(verify::verify(&self.core, postgres, &wanted)).await;
        verified.map_err(|fault| fault.error)
    }

    /// Rolls back the steps that [`apply`](Self::apply) recorded for this table, latest first. If data loss is allowed,
    /// it copies the data to another table first.
    ///
    /// # Errors
    /// Before any step was rolled back: `Schema` if a step would lose data or rewrite the table, and that is not allowed.
    /// Otherwise those of [`apply`](Self::apply).
    pub async fn roll_back(
        &self,
        options: &RollBackOptions,
        mut listener: impl FnMut(SchemaEvent<'_>) + Send,
    ) -> Result<RolledBack> {
        let postgres = self.postgres()?;
        let undo = async {
            let undone = Box::pin(roll_back::roll_back(postgres, options, &mut listener)).await;
            undone.map_err(|fault| fault.error)
        };
        let told = |undone: &RolledBack| json!({ "steps": undone.steps.len() });
        let undo = noted_work(&self.core, operation::SCHEMA_ROLL_BACK, json!({}), undo, told);
        acting(self.actor.clone(), Box::pin(undo)).await
    }

    fn postgres(&self) -> Result<&Postgres> {
        self.core.postgres.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Configuration, "no database is named, so there is no schema")
                .with_hint("configure a database (`--database-url`)")
        })
    }
}
