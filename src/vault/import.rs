//! Import of what an application stored before.

use std::sync::Arc;

use crate::error::Result;
use crate::import::on_read::ImportOnRead;
use crate::import::passwords::Passwords;
use crate::import::report::{ImportEvent, ImportOptions, ImportReport};
use crate::import::run::import;
use crate::record::credentials::Credentials;
use crate::vault::Vault;

impl<C: Credentials> Vault<C> {
    /// # Errors
    /// `Configuration` without a database; those of sources that cannot be read, if the database answers.
    pub(super) async fn importing_on_read(self, on_read: Option<ImportOnRead<C>>) -> Result<Self> {
        let Some(on_read) = on_read else { return Ok(self) };
        on_read.check(&self.core).await?;
        Ok(Self { on_read: Some(Arc::new(on_read)), ..self })
    }

    /// Imports what the [sources](crate::Layout::source) of the layout hold: opens the old values of each owner with these passwords
    /// and keys, seals them in one record, and reads the record back. With [`ImportOptions::clear_source`] it then clears the old values,
    /// each only where it is unchanged.
    ///
    /// The service can keep reading and writing, through the vault and through its old code. A record that was stored or deleted
    /// through the vault is never overwritten: if it differs from the old values, it is in
    /// [`ImportReport::disagreed`]. If an old value changes after it was imported, the next import stores it again, unless the
    /// record was saved since. It is safe to drop the future, to kill the process and to run this twice at once: run it again
    /// to continue. Of several sources the first that has a field gives it, in the order of the layout.
    ///
    /// `listener` receives the progress, everything that was not imported, and all values that are about to be cleared. If it
    /// returns an error, the import ends with that error.
    ///
    /// # Errors
    /// Finished work is kept. `Configuration` without a database or without a source, and if the vault seals in the column of a source
    /// that is not to be cleared; `Unsealable` if none of the first hundred values of a source opens; `Schema`, naming the source, if a column is missing;
    /// `AccessDenied`, `Unavailable`, `WrongKeyring`; the error of `listener`.
    ///
    /// # Security
    /// Old values stay in backups, in the write-ahead log and in dead rows until those are gone. Replace the keys in
    /// [`ImportReport::exposed`] at the provider.
    pub async fn import(
        &self,
        passwords: &Passwords,
        options: &ImportOptions,
        mut listener: impl FnMut(ImportEvent<'_>) -> Result<()> + Send,
    ) -> Result<ImportReport> {
        let import = Box::pin(import::<C>(&self.core, passwords, options, &mut listener));
        self.observed("import", import).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_be_spawned(_: &(impl Send + ?Sized)) {}

    #[allow(dead_code, reason = "that it compiles is the test: a program spawns what it awaits")]
    fn every_future_may_be_spawned(vault: &Vault, passwords: &Passwords) {
        may_be_spawned(&vault.import(passwords, &ImportOptions::new(), |_| Ok(())));
    }
}
