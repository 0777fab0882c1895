//! The ledger of a vault: begin it, verify it, and read it.

use std::time::SystemTime;

use crate::error::Result;
use crate::ledger::accept::{LedgerAccepted, accept_ledger};
use crate::ledger::begin::{LedgerBegun, begin_ledger};
use crate::ledger::checkpoint::{LedgerCheckpoint, checkpoint_ledger};
use crate::ledger::copies::LedgerCopies;
use crate::ledger::export::{LedgerExportOptions, LedgerExported, export_ledger};
use crate::ledger::list::{LedgerFilter, LedgerList, list_ledger};
use crate::ledger::note::LedgerSigningKey;
use crate::ledger::prune::{LedgerPruned, prune_ledger};
use crate::ledger::verify::{LedgerVerification, verify_ledger};
use crate::record::credentials::Credentials;
use crate::store::keyring_check::check_keyring;
use crate::vault::Vault;

impl<C: Credentials> Vault<C> {
    /// Begins the ledger: adds a key for it to the keyring, then an entry for every record that has none. From then on every
    /// process with this keyring writes an entry with each change of a record, in the same statement, and no record without one.
    /// Writers go on meanwhile. An interrupted call is continued by the next.
    ///
    /// The role must be allowed to read `retell_vault.ledger` and the whole table. A process whose keyring is a copy without the
    /// new key writes no entries: give every host the new keyring first, then call it once more.
    ///
    /// # Errors
    /// `LedgerUnavailable` if the table of the ledger is missing or cannot be used (`schema apply --vault-schema` makes it):
    /// no key was added. `Configuration` without a database; `AccessDenied`; `Busy` if a transaction that began earlier does not
    /// end within a minute; the errors of [`Keyring::add_key`](crate::Keyring::add_key). Finished work is kept.
    pub async fn begin_ledger(&self) -> Result<LedgerBegun> {
        let begin = async {
            check_keyring(&self.core).await?;
            Box::pin(begin_ledger(&self.core)).await
        };
        self.observed("begin_ledger", begin).await
    }

    /// Reads every entry of the ledger and every record of the table in one snapshot, and compares them with each other and with
    /// copies outside of the database: those given, and those of this vault's local file. It changes nothing, and writers go
    /// on.
    ///
    /// # Errors
    /// `LedgerUnavailable` if the ledger was not begun; `Configuration` without a database; `AccessDenied` for a role that
    /// may not read the ledger; `LocalCorrupt`; other errors of the database. What was found is not an error.
    ///
    /// # Security
    /// What lies in the database alone cannot show that the whole database went back to an earlier state. Heads that lie outside
    /// show it, and entries that lie outside show which owners it concerns.
    pub async fn verify_ledger(&self, copies: &LedgerCopies) -> Result<LedgerVerification> {
        self.observed("verify_ledger", Box::pin(verify_ledger(&self.core, copies))).await
    }

    /// Verifies the ledger, and makes what was found the new truth, after a restore for example: an entry names the numbers that are
    /// missing, altered or replaced; every record that went back or appeared is stored again as it is, under a new version; and an
    /// entry deletes every owner whose record is gone. Call it on the handle of [`as_actor`](Self::as_actor), with the reason. Writers go on meanwhile.
    ///
    /// Look at what [`verify_ledger`](Self::verify_ledger) finds first: accepted numbers are no alarm any more, and no head of their
    /// writer is compared from there on.
    ///
    /// # Errors
    /// `InvalidInput` without a reason; those of `verify_ledger`; those of a store that may succeed later. Finished work
    /// is kept, so call it again.
    pub async fn accept_ledger(&self, copies: &LedgerCopies) -> Result<LedgerAccepted> {
        self.observed("accept_ledger", Box::pin(accept_ledger(&self.core, copies))).await
    }

    /// Removes the entries of writers that wrote their last one before this time, by the database's clock, and that the newest checkpoint
    /// among the copies covers. An owner whose record only these entries name gets a new entry first. Entries that accept or prune
    /// something stay, and so do writers that wrote about another table too. Writers go on meanwhile.
    ///
    /// Export the ledger before: nothing brings the entries back. A [verification](Self::verify_ledger) counts what was pruned.
    ///
    /// # Errors
    /// `InvalidInput` without a checkpoint; `LedgerBroken` if the verification finds anything; those of `verify_ledger`; `AccessDenied` if
    /// the role may not delete entries; `Busy` if owners keep changing. A call that failed can be repeated.
    pub async fn prune_ledger(&self, copies: &LedgerCopies, before: SystemTime) -> Result<LedgerPruned> {
        self.observed("prune_ledger", Box::pin(prune_ledger(&self.core, copies, before))).await
    }

    /// Lists entries of the ledger, the newest first by the clocks of their hosts. An entry that no key of the keyring made is
    /// listed too, as one that is not [authentic](crate::ledger::ListedEntry::authentic).
    ///
    /// A filter by user reads an index, except with [`all_places`](LedgerFilter::all_places). Every other filter reads the whole
    /// ledger, and memory does not grow with it.
    ///
    /// # Errors
    /// `InvalidInput` for a filter that no entry can pass; `LedgerUnavailable` if the ledger was not begun; `Configuration`
    /// without a database; `AccessDenied` for a role that may not read the ledger; other errors of the database.
    ///
    /// # Security
    /// Texts of an entry that is not authentic are of anyone who may add entries. Print them with [`display`](crate::display).
    pub async fn list_ledger(&self, filter: &LedgerFilter) -> Result<LedgerList> {
        self.observed("list_ledger", Box::pin(list_ledger(&self.core, filter))).await
    }

    /// Calls `listener` with every entry of the ledger as one line of JSON, as docs/FORMAT.md defines it: in one snapshot, by
    /// writer and number, for all tables and kinds of credentials. If `listener` returns an error, the export ends with it.
    /// A line has no line break, and every character in it is visible.
    ///
    /// ```no_run
    /// use retell_vault::ledger::LedgerExportOptions;
    /// use retell_vault::{Error, Vault};
    ///
    /// async fn print(vault: &Vault) -> Result<(), Error> {
    ///     let print = |line: &str| {
    ///         println!("{line}");
    ///         Ok(())
    ///     };
    ///     vault.export_ledger(LedgerExportOptions::new(), print).await.map(drop)
    /// }
    /// ```
    ///
    /// # Errors
    /// The lines before an error do not make a whole export. `LedgerUnavailable` if the ledger was not begun; `Configuration`
    /// without a database; `AccessDenied` for a role that may not read the ledger; other errors of the database; the error of
    /// `listener`.
    pub async fn export_ledger(
        &self,
        options: LedgerExportOptions,
        mut listener: impl FnMut(&str) -> Result<()> + Send,
    ) -> Result<LedgerExported> {
        let export = Box::pin(export_ledger(&self.core, options, &mut listener));
        self.observed("export_ledger", export).await
    }

    /// Verifies the ledger, as [`verify_ledger`](Self::verify_ledger) does, and signs how far every writer had come. `copies` must
    /// have every checkpoint before this one. Keep the new one outside of the database.
    ///
    /// # Errors
    /// `LedgerBroken` if an entry is missing, altered or replaced, or a known head went back: nothing was signed. What differs
    /// in records is none. Else as `verify_ledger`.
    pub async fn checkpoint_ledger(
        &self,
        copies: &LedgerCopies,
        key: &LedgerSigningKey,
    ) -> Result<LedgerCheckpoint> {
        self.observed("checkpoint_ledger", Box::pin(checkpoint_ledger(&self.core, copies, key))).await
    }
}
