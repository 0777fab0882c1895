//! Finds the owners of a value.

use crate::error::Result;
use crate::record::credentials::Credentials;
use crate::record::owner::Owner;
use crate::retell::config::{AGENT_INDEX, PHONE_INDEX, RetellConfig};
use crate::retell::values::{AgentId, PhoneNumber, id_of};
use crate::store::find::{OwnerRecord, candidates, is_complete};
use crate::store::ledger_reads::note_reads;
use crate::vault::Vault;
use crate::vault::answers::Loaded;
use crate::vault::load::seen;

/// The number of rows that a look-up reads.
pub const FIND_LIMIT: u32 = 33;

/// The owners of a value, each with its record.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FoundOwners<C = RetellConfig> {
    /// The owners, in no particular order.
    pub owners: Vec<(Owner, Loaded<C>)>,
    /// There may be more owners than were read.
    pub is_cut: bool,
    /// The index covers every record. If not, an owner may be missing; `index build` completes the index.
    pub is_complete: bool,
}

impl<C: Credentials> Vault<C> {
    /// The owners whose record has this value in a field that is [indexed](crate::config::FieldSpec::indexed_as) as this kind. Every
    /// record that is found is opened and compared, whatever the index says. At most 33 rows are read.
    ///
    /// # Errors
    /// `NotIndexed` if no index finds the value: `schema apply` makes it. `IndexIncomplete` if nobody was found, and the index
    /// does not cover every record. `Unavailable` in an outage. Without a database every record of the local file is
    /// read.
    pub async fn find(&self, kind: &str, value: &str) -> Result<FoundOwners<C>> {
        self.observed("find", Box::pin(self.find_owners(kind, value))).await
    }

    async fn find_owners(&self, kind: &str, value: &str) -> Result<FoundOwners<C>> {
        let found = candidates(&self.core, kind, value, FIND_LIMIT).await?;
        let is_complete = is_complete(&self.core).await?;
        let owner_and_record = |OwnerRecord { owner, loaded }| (owner, loaded);
        let (owners, records): (Vec<_>, Vec<_>) = found.owners.into_iter().map(owner_and_record).unzip();
        let mut reads = Vec::new();
        let see = |(owner, record)| seen(&self.core, owner, record, &mut reads);
        let loaded = owners.iter().zip(records).map(see).collect::<Result<Vec<Loaded<C>>>>()?;
        let not_noted = note_reads(&self.core, reads).await?;
        let loaded = loaded.into_iter().map(|loaded| loaded.with_not_noted(&not_noted));
        Ok(FoundOwners {
            owners: owners.into_iter().zip(loaded).collect(),
            is_cut: found.is_cut,
            is_complete,
        })
    }
}

impl Vault<RetellConfig> {
    /// The owners that have this agent, in whatever role.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn find_by_agent(&self, agent: &AgentId) -> Result<FoundOwners> {
        self.find(AGENT_INDEX, id_of(agent)).await
    }

    /// The owners that have this phone number.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn find_by_phone(&self, number: &PhoneNumber) -> Result<FoundOwners> {
        self.find(PHONE_INDEX, number.as_str()).await
    }
}
