//! The schema of the application's table: planned, applied, verified, and taken back.

mod columns;
mod deparsed;
mod duplicates;
mod evidence;
mod functions;
mod grants;
mod guards;
mod index;
mod indexes;
mod journal;
pub(crate) mod names;
pub(crate) mod options;
mod owner;
pub(crate) mod picture;
pub(crate) mod plan;
mod row_security;
mod script;
pub(crate) mod step;
pub(crate) mod tokens;
mod updated_at;
pub(crate) mod wanted;

use std::sync::Arc;

use crate::classify::Fault;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::Postgres;
use crate::router::Router;
use crate::schema::evidence::Evidence;
use crate::schema::picture::Picture;
use crate::schema::plan::{Plan, Subject};
use crate::schema::wanted::Wanted;

/// The schema of the vault's table. See [`Vault::schema`](crate::Vault::schema).
#[derive(Clone)]
pub struct Schema {
    router: Arc<Router>,
}

impl Schema {
    pub(crate) fn new(router: Arc<Router>) -> Self {
        Self { router }
    }

    /// Compares the table with what is wanted: a [`Profile`](crate::Profile), or [`Wanted`] for more. Changes nothing.
    ///
    /// # Errors
    /// `Configuration` without a database; `Schema` when the table is missing or is not one; those of asking the
    /// database.
    pub async fn plan(&self, wanted: impl Into<Wanted>) -> Result<Plan> {
        let postgres = self.postgres()?;
        draw(postgres, &wanted.into()).await.map_err(|fault| fault.error)
    }

    fn postgres(&self) -> Result<&Postgres> {
        self.router.postgres.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Configuration, "no database is named, so there is no schema")
                .with_hint("give the vault a database (`--database-url`)")
        })
    }
}

/// A plan from what is there now.
pub(crate) async fn draw(postgres: &Postgres, wanted: &Wanted) -> Result<Plan, Fault> {
    let picture = Picture::take(&postgres.database, postgres.layout()).await?;
    let detected = postgres.refresh().await?;
    let table = detected.table().ok_or_else(|| crate::detect::missing_table(postgres.layout()))?;
    let evidence = Evidence::gather(&postgres.database, postgres.layout(), &picture, table.unique).await?;
    let subject = Subject {
        layout: postgres.layout(),
        wanted,
        picture: &picture,
        table,
        placement: &detected.placement,
        evidence: &evidence,
    };
    Ok(plan::plan(&subject))
}
