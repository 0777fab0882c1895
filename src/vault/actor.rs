//! A handle on a vault for one actor.

use std::sync::Arc;

use crate::record::credentials::Credentials;
use crate::store::actor::Attribution;
use crate::vault::Vault;

impl<C: Credentials> Vault<C> {
    /// A handle on the same vault whose entries in the [ledger](crate::ledger) say who did the operation, why, and for which
    /// request. It shares everything with this vault, so make one for each request. A blank text counts as none.
    ///
    /// An entry holds one line of each text without invisible characters: at most 200 bytes of the actor, 1,000 of the reason
    /// and 200 of the request id. An operation fails with `InvalidInput`, and changes nothing, if one of the texts holds a secret
    /// value that the operation writes or opens, of at least 8 characters.
    ///
    /// A record that goes to the local file is pushed later, for all of its writers: its entry names no actor.
    ///
    /// ```no_run
    /// # async fn example(vault: retell_vault::Vault) -> Result<(), retell_vault::Error> {
    /// # let owner = retell_vault::Owner::user("user-42")?;
    /// let vault = vault.as_actor("alice", Some("the customer lost the key"), Some("req-7"));
    /// vault.delete(&owner).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Security
    /// The vault believes the application: an entry proves that a process with the keyring wrote it, not that it was `alice`.
    pub fn as_actor(&self, actor: &str, reason: Option<&str>, request_id: Option<&str>) -> Self {
        Self {
            core: self.core.clone(),
            actor: Some(Arc::new(Attribution::new(actor, reason, request_id))),
            #[cfg(feature = "admin")]
            on_read: self.on_read.clone(),
            credentials: std::marker::PhantomData,
        }
    }
}
