//! A vault that exists only in memory, for tests of code that uses a vault.

use crate::error::Result;
use crate::keyring::file::Keyring;
use crate::layout::layout::Layout;
use crate::record::credentials::Credentials;
use crate::store::faults::Faults;
use crate::vault::Vault;
use crate::vault::builder::VaultBuilder;
use crate::vault::start::finish;

impl Vault {
    /// A vault for tests of code that uses a vault. It is ready in milliseconds and needs no file, server or passphrase. It
    /// seals and opens as every vault does. Faults can be switched on while it runs.
    ///
    /// docs/TESTING-YOUR-SERVICE.md lists how it differs from a vault over a database.
    ///
    /// ```
    /// use retell_vault::testing::Fault;
    /// use retell_vault::{Error, ErrorKind, Owner, RetellConfig, Vault};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// let (vault, faults) = Vault::in_memory().await?;
    /// let owner = Owner::user("user-42")?;
    /// vault.store(&owner, &RetellConfig::new("key_test_0000000000000000".parse()?)).await?;
    ///
    /// faults.switch_on(Fault::Error(ErrorKind::Unavailable));
    /// assert_eq!(vault.load(&owner).await.unwrap_err().kind(), ErrorKind::Unavailable);
    /// faults.clear();
    /// vault.load(&owner).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Entropy`; `LocalStore` when SQLite gets no memory.
    pub async fn in_memory() -> Result<(Self, Faults)> {
        Self::in_memory_with(Layout::new()).await
    }
}

impl<C: Credentials> Vault<C> {
    /// As [`in_memory`](Vault::in_memory), for other credentials or a layout with extra fields:
    /// `Vault::<Twilio>::in_memory_with(Layout::of::<Twilio>())`.
    ///
    /// # Errors
    /// As [`in_memory`](Vault::in_memory), and `Configuration` for a layout of another kind of credentials.
    pub async fn in_memory_with(layout: Layout) -> Result<(Self, Faults)> {
        let faults = Faults::default();
        let builder = VaultBuilder::<C>::in_memory(Keyring::in_memory()?, faults.clone()).layout(layout);
        Ok((finish(builder.core().await?).await?, faults))
    }
}
