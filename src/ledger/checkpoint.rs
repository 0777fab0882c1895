//! Checkpoints of the ledger: verified, then signed.

use std::sync::Arc;

use crate::chain::checkpoint::Checkpoint;
use crate::chain::numbers::KnownHead;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::copies::LedgerCopies;
use crate::ledger::note::LedgerSigningKey;
use crate::ledger::verify::verify_with_heads;
use crate::store::core::Core;

/// A signed checkpoint of the ledger.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LedgerCheckpoint {
    /// From 1 on.
    pub number: u64,
    /// How many entries there are.
    pub entries: u64,
    /// How many writers wrote them.
    pub writers: u64,
    /// How many writers have another head than at the checkpoint before.
    pub heads: u64,
    /// The signed note. Keep it outside of the database.
    pub note: String,
}

impl LedgerCheckpoint {
    /// The name of its text in a [`CheckpointSink`](crate::ledger::CheckpointSink). Names sort as the numbers do.
    pub fn name(&self) -> String {
        format!("checkpoint-{:012}.note", self.number)
    }
}

pub(crate) async fn checkpoint_ledger(
    core: &Arc<Core>,
    copies: &LedgerCopies,
    key: &LedgerSigningKey,
) -> Result<LedgerCheckpoint> {
    let (found, heads) = verify_with_heads(core, copies).await?;
    if !found.has_every_entry() {
        let problem = "the ledger is not whole, so no checkpoint of it was signed";
        return Err(Error::new(ErrorKind::LedgerBroken, problem));
    }
    let last = copies.last.clone().unwrap_or_default();
    let is_new = |head: &KnownHead| last.heads.get(&head.writer) != Some(head);
    let checkpoint = Checkpoint {
        number: last.number + 1,
        previous: last.hash,
        entries: found.entries,
        writers: found.writers,
        heads: heads.into_iter().filter(is_new).collect(),
    };
    Ok(LedgerCheckpoint {
        number: checkpoint.number,
        entries: checkpoint.entries,
        writers: checkpoint.writers,
        heads: checkpoint.heads.len() as u64,
        note: key.sign(&checkpoint.text()),
    })
}
