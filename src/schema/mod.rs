//! The schema of the application's table: planned, applied, verified, and taken back.

mod apply;
pub(crate) mod check_results;
mod columns;
mod evidence;
mod functions;
pub(crate) mod guards;
mod indexes;
pub(crate) mod journal;
pub(crate) mod object_owner;
pub(crate) mod options;
mod owner_unique;
pub(crate) mod plan;
mod plan_input;
mod roll_back;
mod round_trip;
mod row_security;
mod script;
pub(crate) mod step;
mod step_runner;
mod updated_at;
mod verify;
pub(crate) mod wanted;

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::statements::plan::Postgres;
use crate::store::core::Core;

pub use crate::schema::check_results::{Check, CheckOutcome, Verification};
pub use crate::schema::options::{Applied, ApplyOptions, RollBackOptions, RolledBack, SchemaEvent};
pub use crate::schema::plan::SchemaPlan;
pub use crate::schema::step::{Blocked, Instead, LockLevel, Step};
pub use crate::schema::wanted::{Profile, RowSecurity, Wanted};

/// The schema of the vault's table. See [`Vault::schema`](crate::Vault::schema).
#[derive(Clone)]
pub struct Schema {
    core: Arc<Core>,
}

impl Schema {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Compares the table with what is wanted: a [`Profile`], or [`Wanted`] for more. Changes nothing.
    ///
    /// # Errors
    /// `Configuration` without a database; `Schema` when the table is missing or is not one; those of asking the
    /// database.
    pub async fn plan(&self, wanted: impl Into<Wanted>) -> Result<SchemaPlan> {
        let postgres = self.postgres()?;
        plan::plan(postgres, &wanted.into()).await.map_err(|fault| fault.error)
    }

    /// Applies a plan over a connection of its own, each step together with its record or not at all. Steps that
    /// another run has done meanwhile are left out; so whoever applies twice, or after a run that was killed,
    /// does what is left.
    ///
    /// Nobody waits for it: a lock that is not free within the [lock time-out](ApplyOptions::lock_timeout) is
    /// given up and asked for again later, so readers and writers get through.
    ///
    /// # Errors
    /// Before anything was done: `Schema` for a plan with something in the way, or with a step that rewrites
    /// the table and was not allowed to; `StalePlan`; `AccessDenied`, naming what the role lacks; `Configuration`
    /// behind a transaction pooler; `Busy` when another run does not end.
    /// At a step, which was not done then: `Busy`, naming who holds the lock; `Schema` when owners have several
    /// rows; `AccessDenied`; `OutcomeUnknown` when the connection was lost. The steps before it stay applied.
    pub async fn apply(
        &self,
        plan: &SchemaPlan,
        options: &ApplyOptions,
        mut listener: impl FnMut(SchemaEvent<'_>) + Send,
    ) -> Result<Applied> {
        let postgres = self.postgres()?;
        let applied = Box::pin(apply::apply(postgres, plan, options, &mut listener)).await;
        applied.map_err(|fault| fault.error)
    }

    /// Reads the schema again, and tries it: a configuration of a test owner is stored, loaded, stored again
    /// and deleted, exactly as the vault does it, and text that is not a token is offered to every column made for
    /// tokens. All that happens in one transaction that is rolled back, over a connection of its own; the owner is
    /// a random UUID that no row has.
    ///
    /// Triggers of the application fire in that transaction. What they write to the database, and their NOTIFY,
    /// is rolled back with it; a sequence that gave a number goes on from there, and whatever a trigger does outside
    /// of the database is done.
    ///
    /// # Errors
    /// `Configuration` without a database or behind a transaction pooler; `Schema` when the table is missing;
    /// those of asking the database. What is wrong with the schema is in the answer.
    pub async fn verify(&self, wanted: impl Into<Wanted>) -> Result<Verification> {
        let (postgres, wanted) = (self.postgres()?, wanted.into());
        let verified = Box::pin(verify::verify(&self.core, postgres, &wanted)).await;
        verified.map_err(|fault| fault.error)
    }

    /// Takes back what [`apply`](Self::apply) recorded for this table, the latest first. Data that would be lost
    /// is copied to a table beside, if losing it was allowed at all.
    ///
    /// # Errors
    /// Before anything was undone: `Schema` when something holds data, or the table would be rewritten, and
    /// that was not allowed; else as [`apply`](Self::apply).
    pub async fn roll_back(
        &self,
        options: &RollBackOptions,
        mut listener: impl FnMut(SchemaEvent<'_>) + Send,
    ) -> Result<RolledBack> {
        let postgres = self.postgres()?;
        let undone = Box::pin(roll_back::roll_back(postgres, options, &mut listener)).await;
        undone.map_err(|fault| fault.error)
    }

    fn postgres(&self) -> Result<&Postgres> {
        self.core.postgres.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Configuration, "you named no database, so there is no schema")
                .with_hint("name the database (`--database-url`)")
        })
    }
}
