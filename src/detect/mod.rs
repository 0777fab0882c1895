//! Finds the table and the columns that hold credentials today, and proposes a layout.
//!
//! Data flows one way: names of all tables, then the catalogue's description of the most likely ones, then a sample of
//! their values, of which only shapes are kept; from these, the columns of the credentials, their owner, and a score.

mod all_sources;
mod candidate;
mod columns;
mod look;
mod names;
mod old_form;
mod old_members;
mod owner;
mod proposal;
mod provider_column;
mod providers;
mod report;
mod sampled;
mod shapes;
mod sign_in;
mod sources;
mod whose;

pub use crate::detect::report::{Candidate, DetectOptions, Detection, Holding, Proposal, ProposedSource};

use crate::error::Result;
use crate::layout::layout::Layout;
use crate::postgres::connection::options::Timeouts;
use crate::postgres::connection::pool::Database;

impl Layout {
    /// Looks for the table that holds credentials today, in the database at a URL: at the names of all tables that the role
    /// sees, and at samples of their values. Needs no keyring and writes nothing. No value leaves this function, only what
    /// it looks like.
    ///
    /// It looks closely at no more than 2,000 tables and 1,000 rows of each, for about 30 s. What it left out is in the
    /// result.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), retell_vault::Error> {
    /// use retell_vault::Layout;
    /// use retell_vault::schema::DetectOptions;
    ///
    /// let found = Layout::detect("postgres://localhost/app", &DetectOptions::new()).await?;
    /// for candidate in &found.candidates {
    ///     println!("{}: {}", candidate.table, candidate.holds.as_str());
    /// }
    /// if let Some(proposal) = found.proposal() {
    ///     println!("{}", proposal.to_toml());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of connecting and of reading the catalogue; `InvalidInput` for a table name that is not valid; `NotFound` for
    /// a schema that does not exist or that the role may not use.
    pub async fn detect(url: &str, options: &DetectOptions) -> Result<Detection> {
        let database = Database::from_url(url, options.pooler, Timeouts::default())?;
        let detection = Box::pin(look::detect(&database, options)).await;
        database.close().await;
        detection
    }
}
