//! Where the generations of a keyring lie one after another: what a source of that kind can do.

use crate::keyring::wrapping::ProviderFuture;

/// One generation, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealedGeneration {
    pub(crate) generation: u64,
    /// The text of the keyring.
    pub(crate) text: String,
}

/// Whether generations before the new one stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Earlier {
    Keep,
    /// They would undo the change: they hold the key that was destroyed, or open with the old passphrase.
    Remove,
}

/// A place in the database that holds the generations of one keyring. The layers below know how.
pub(crate) trait GenerationTable: Send + Sync {
    /// The place in words.
    fn place(&self) -> String;

    /// The newest generation. `None` if there is none.
    ///
    /// # Errors
    /// `Unavailable`, `Busy` or `OutcomeUnknown` if the database cannot be asked now; else why it cannot be read.
    fn newest(&self) -> ProviderFuture<'_, Option<SealedGeneration>>;

    /// What the row of a generation has of [`RootKeys::vouch`](crate::keyring::keys::RootKeys::vouch).
    ///
    /// # Errors
    /// As [`newest`](Self::newest).
    fn voucher(&self, generation: u64) -> ProviderFuture<'_, Option<String>>;

    /// Adds a generation after `before`, which must be the newest still, or after none. False: it is not, and nothing was
    /// added.
    ///
    /// # Errors
    /// `OutcomeUnknown` if it may have been added; else nothing was added.
    fn append<'a>(
        &'a self,
        before: Option<&'a SealedGeneration>,
        next: &'a SealedGeneration,
        voucher: &'a str,
        earlier: Earlier,
    ) -> ProviderFuture<'a, bool>;

    /// Removes the generations before this one.
    ///
    /// # Errors
    /// Those of the database.
    fn remove_before(&self, generation: u64) -> ProviderFuture<'_, ()>;

    /// Notes which generation a process has loaded.
    ///
    /// # Errors
    /// Those of the database.
    fn note_host<'a>(&'a self, host: &'a str, generation: u64) -> ProviderFuture<'a, ()>;

    /// Removes the note of a process that ends.
    ///
    /// # Errors
    /// Those of the database.
    fn remove_host<'a>(&'a self, host: &'a str) -> ProviderFuture<'a, ()>;

    /// The live processes that have not loaded a generation yet, with the one that they have.
    ///
    /// # Errors
    /// Those of the database.
    fn hosts_before(&self, generation: u64) -> ProviderFuture<'_, Vec<(String, u64)>>;
}
