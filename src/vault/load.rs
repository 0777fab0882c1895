//! The API for services: loads. The ledger learns of them.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::chain::entry::operation;
use crate::error::Result;
use crate::observe::metrics;
use crate::record::credentials::Credentials;
use crate::record::owner::Owner;
use crate::store::core::{Core, LoadedRecord};
use crate::store::ledger_reads::{Read, note_reads, note_refusal, noting_refusal, visible_fields};
use crate::store::load::load;
use crate::store::load_fresh::load_fresh;
use crate::store::load_many::load_many;
use crate::store::options::LoadOptions;
use crate::vault::answers::Loaded;
use crate::vault::{Vault, error_type};

impl<C: Credentials> Vault<C> {
    /// Loads the newest configuration of an owner.
    ///
    /// # Errors
    /// `NotFound` when there is none or it was deleted; `Unavailable` when the database is out of reach
    /// and nothing is kept locally; `Incomplete` (which names the missing field), `Malformed`, `UnknownKey`, `Unsealable`,
    /// `ForeignValue` or `Configuration` when the newest record cannot be read; `WrongKeyring` when its key is unknown, as are
    /// those of all other records that were looked at; `Schema` when the table is missing. Never an older record instead.
    /// With `VaultBuilder::import_on_read`, also those of reading the sources. With
    /// [`Reads::Before`](crate::ledger::Reads::Before), also `LedgerUnavailable` and those of an outage.
    pub async fn load(&self, owner: &Owner) -> Result<Loaded<C>> {
        let load = async { shown(&self.core, owner, self.load_or_import(owner).await?).await };
        self.observed("load", noting_refusal(&self.core, operation::READ, owner, load)).await
    }

    /// Loads the newest configuration of an owner as the options say.
    ///
    /// # Errors
    /// Those of [`load`](Self::load). With [`LoadOptions::fresh`] also `LedgerBroken` if the record is not the one that the ledger
    /// names last; `LedgerUnavailable` if the ledger was not begun, or cannot be asked; `Unavailable` in an outage, and
    /// `Configuration` without a database, whatever is kept locally; `Busy` if the record is written all the time.
    pub async fn load_with(&self, owner: &Owner, options: LoadOptions) -> Result<Loaded<C>> {
        let load = async { shown(&self.core, owner, self.load_as(owner, options).await?).await };
        self.observed("load", noting_refusal(&self.core, operation::READ, owner, load)).await
    }

    /// Boxed, without its type: otherwise an application's futures become too deep for the compiler.
    fn load_as<'a>(&'a self, owner: &'a Owner, options: LoadOptions) -> BoxFuture<'a, Result<LoadedRecord>> {
        match options.fresh {
            true => load_fresh(&self.core, owner).boxed(),
            false => self.load_or_import(owner).boxed(),
        }
    }

    async fn load_or_import(&self, owner: &Owner) -> Result<LoadedRecord> {
        #[cfg(feature = "admin")]
        if let Some(on_read) = &self.on_read {
            return Box::pin(on_read.load(&self.core, owner)).await;
        }
        load(&self.core, owner).await
    }

    /// Loads many owners, 1,000 by one statement. Every owner gets its own result, in the order given.
    pub async fn load_many(&self, owners: &[Owner]) -> Vec<Result<Loaded<C>>> {
        let load = async {
            let results = load_many(&self.core, owners).await;
            let mut reads = Vec::with_capacity(owners.len());
            let convert = |(read, owner): (Result<LoadedRecord>, _)| {
                let loaded = read.and_then(|read| seen(&self.core, owner, read, &mut reads));
                loaded.inspect_err(|error| note_refusal(&self.core, operation::READ, owner, error))
            };
            let loaded: Vec<Result<Loaded<C>>> = results.into_iter().zip(owners).map(convert).collect();
            Ok(match note_reads(&self.core, reads).await {
                Ok(None) => loaded,
                Ok(not_noted) => {
                    loaded.into_iter().map(|loaded| Ok(loaded?.with_not_noted(&not_noted))).collect()
                }
                Err(error) => loaded.into_iter().map(|loaded| loaded.and(Err(error.clone()))).collect(),
            })
        };
        // the call itself cannot fail
        let loaded: Vec<Result<Loaded<C>>> = self.observed("load_many", load).await.unwrap_or_default();
        metrics::count_owners(&self.core.subject, "load_many", loaded.iter().map(error_type));
        loaded
    }
}

/// What a caller gets to see of a record, once the read is noted.
pub(super) async fn shown<C: Credentials>(
    core: &Core,
    owner: &Owner,
    read: LoadedRecord,
) -> Result<Loaded<C>> {
    let mut reads = Vec::new();
    let loaded: Loaded<C> = seen(core, owner, read, &mut reads)?;
    let not_noted = note_reads(core, reads).await?;
    Ok(loaded.with_not_noted(&not_noted))
}

/// What a caller gets to see of a record, and the read to note. A record without values is not read.
pub(super) fn seen<'a, C: Credentials>(
    core: &Core,
    owner: &'a Owner,
    read: LoadedRecord,
    reads: &mut Vec<Read<'a>>,
) -> Result<Loaded<C>> {
    let fields = visible_fields(core, read.opened.values.as_ref())?;
    let loaded = Loaded::try_from(read)?;
    reads.extend(fields.map(|fields| (owner, fields)));
    Ok(loaded)
}
