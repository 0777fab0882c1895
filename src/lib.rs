//! Encrypted storage of Retell AI credentials in the application's own Postgres table.
//!
//! A [`Vault`] encrypts every secret of a [`RetellConfig`] with AES-256-GCM, under a key derived for the record and bound to its
//! [`Owner`]. It stores the result in the columns that your table has: columns made for it, a JSONB config column, or a single text
//! column. While the database is down, an encrypted local file takes the record, and a sync stores it later. A save is acknowledged
//! only when it is durable and encrypted. A sealed record token lists the fields of the record, so that a removed, added or swapped
//! value is detected.
//!
//! # First steps
//!
//! ```
//! use retell_vault::{Error, Keyring, Owner, Passphrase, RetellConfig, Vault};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let folder = folder.path().join("vault");
//! // Once per environment. Back up this file and the passphrase, in different places.
//! let passphrase = Passphrase::new("five random words of yours");
//! let keyring = Keyring::prepare(folder.join("keyring.json"), &passphrase).await?;
//! // With `.postgres(url)`, the records go to your table.
//! let vault = Vault::builder(keyring).local_file(folder.join("local.db")).init().await?;
//!
//! let owner = Owner::user("user-42")?;
//! let config = RetellConfig::new("key_test_0000000000000000".parse()?);
//! vault.store(&owner, &config).await?;
//!
//! let loaded = vault.load(&owner).await?;
//! assert_eq!(loaded.config.api_key().unwrap().expose_secret(), "key_test_0000000000000000");
//! # Ok(())
//! # }
//! ```
//!
//! # What is where
//!
//! - The root: the [`Vault`], its [builder](VaultBuilder), owners, configurations and errors.
//! - [`config`]: the values of a configuration, and credentials of other providers.
//! - [`records`]: what `store`, `load` and `list` take and return.
//! - [`keyring`]: root keys, and what unlocks the keyring file. [`rotation`]: replacing and destroying keys.
//! - [`sync`]: outages, and what the local file keeps. [`status`]: the state of the database, the local file and the layout.
//! - [`connection`]: time-outs and poolers.
//! - [`layout`]: which table and columns the vault uses. [`webhooks`]: whose webhook call it is, and whether it is genuine.
//! - [`display`]: prints names that others chose, without control characters.
#![cfg_attr(
    feature = "admin",
    doc = "- [`schema`]: plans and applies changes of the table. [`doctor`]: finds what would leak or lose credentials. [`config::import`]: \
           opens what an application stored before."
)]
#![cfg_attr(
    feature = "local-file",
    doc = "- [`testing`]: a vault in memory, for tests of a service, with faults to switch on."
)]
#![cfg_attr(
    not(feature = "admin"),
    doc = "- `schema`, `doctor` and `config::import`: behind the feature `admin`."
)]
//!
//! README.md is the manual. docs/ has manuals for the layout file, the schema, the doctor and operations. docs/FORMAT.md specifies the
//! stored bytes, and SECURITY.md lists what the crate guarantees and what it does not.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// Only schema and doctor read some parts of the catalogue and the connections. With both features, no warning is hidden.
#![cfg_attr(not(all(feature = "admin", feature = "local-file")), allow(dead_code))]

mod chain;
mod crypto;
#[cfg(feature = "admin")]
mod detect;
pub mod display;
#[cfg(feature = "admin")]
pub mod doctor;
mod error;
mod hex;
#[cfg(feature = "admin")]
mod import;
mod index;
#[cfg(retell_vault_internals)]
#[doc(hidden)]
pub mod internals;
pub mod keyring;
pub mod layout;
pub mod ledger;
mod local;
mod observe;
mod postgres;
mod record;
mod retell;
pub mod rotation;
#[cfg(feature = "admin")]
pub mod schema;
mod store;
mod vault;
mod webhook;

pub use error::{Error, ErrorKind, Result};
pub use keyring::file::Keyring;
pub use keyring::wrapping::Passphrase;
pub use layout::layout::Layout;
pub use record::owner::Owner;
pub use retell::config::RetellConfig;
pub use vault::Vault;
pub use vault::builder::VaultBuilder;

/// The values of a configuration, and credentials of other providers.
///
/// Every value is checked when it is parsed, so a [`RetellConfig`] that exists is valid.
///
/// ```
/// use retell_vault::RetellConfig;
/// use retell_vault::config::{ApiKey, PhoneNumber};
///
/// let key: ApiKey = "key_test_0000000000000000".parse()?;
/// let config = RetellConfig::new(key).with_phone_number("+14155550100".parse()?);
/// assert_eq!(config.to_json_masked(), r#"{"api_key":"key_…0000","phone_number":"+14155550100"}"#);
/// assert!("415 555 0100".parse::<PhoneNumber>().is_err());
/// # Ok::<(), retell_vault::Error>(())
/// ```
pub mod config {
    pub use crate::record::credentials::Credentials;
    pub use crate::record::field::{Field, FieldSpec};
    pub use crate::record::values::Values;
    pub use crate::retell::values::{
        AgentId, ApiKey, ExtraSecret, IntegrationStatus, PhoneNumber, WebhookConfig, WebhookKey,
    };

    /// Opens what an application stored before: values in plaintext, and ciphertexts of code that the vault replaces.
    ///
    /// A [`Decryptor`](import::Decryptor) opens one value, or says why it cannot. There are five:
    /// [`Plaintext`](import::Plaintext), [`Base64`](import::Base64), [`RawAesGcm`](import::RawAesGcm),
    /// [`Fernet`](import::Fernet) and [`Carexps`](import::Carexps). A program may have its own.
    /// [`Members`](import::Members) takes JSON with several fields apart, and [`scan`](import::scan) reads the
    /// [sources](crate::Layout::source) of a layout. Nothing here writes to a database; `docs/IMPORT.md` shows how to use it.
    ///
    /// ```
    /// use retell_vault::config::Credentials;
    /// use retell_vault::config::import::{Members, Plaintext};
    /// use retell_vault::{Layout, RetellConfig};
    ///
    /// let layout = Layout::new();
    /// let old = serde_json::json!({ "retell_api_key": "key_test_0000000000000000", "sms_agent_id": "" });
    /// let opened = Members::of(&layout).open(&Plaintext, "user-42", &old);
    /// let config = RetellConfig::from_values(opened.values(&layout)?)?;
    /// assert_eq!(config.to_json_masked(), r#"{"api_key":"key_…0000"}"#);
    /// # Ok::<(), retell_vault::Error>(())
    /// ```
    #[cfg(feature = "admin")]
    pub mod import {
        pub use crate::import::carexps::Carexps;
        pub use crate::import::fernet::Fernet;
        pub use crate::import::members::{Members, OpenedMembers};
        pub use crate::import::old_value::{
            Decryptor, OpenedValue, Opening, Refused, StoredForm, StoredValue,
        };
        pub use crate::import::passwords::Passwords;
        pub use crate::import::plaintext::{Base64, Plaintext};
        pub use crate::import::raw_gcm::RawAesGcm;
        pub use crate::import::report::{ImportEvent, ImportOptions, ImportProgress, ImportReport};
        pub use crate::import::scan::{ScanReport, ScannedPlace, scan};
        pub use crate::import::sources::FoundField;
    }
}

/// How the vault connects to the database.
///
/// ```no_run
/// use std::time::Duration;
///
/// use retell_vault::connection::{PoolerMode, Timeouts};
/// use retell_vault::{Error, Keyring, Vault};
///
/// async fn build(keyring: Keyring, url: &str) -> Result<Vault, Error> {
///     let timeouts = Timeouts { operation: Duration::from_secs(2), ..Timeouts::default() };
///     Vault::builder(keyring).postgres(url).pooler(PoolerMode::Transaction).timeouts(timeouts).build().await
/// }
/// ```
pub mod connection {
    pub use crate::postgres::connection::options::{PoolerMode, Timeouts};
    pub use crate::store::keyring_table::KeyringTable;
}

/// What [`Vault::store`], [`Vault::load`] and [`Vault::list`] take and return.
///
/// ```
/// use retell_vault::Owner;
/// use retell_vault::records::{Expected, StoreOptions};
///
/// let owner = Owner::user("user-42")?.in_tenant("acme")?;
/// assert_eq!(owner.to_string(), "acme/user-42");
/// let only_if_absent = StoreOptions::new().expect(Expected::Absent);
/// # let _ = only_if_absent;
/// # Ok::<(), retell_vault::Error>(())
/// ```
pub mod records {
    pub use crate::record::owner::{TenantId, UserId};
    pub use crate::record::version::Version;
    pub use crate::store::degraded::Degraded;
    pub use crate::store::options::{Expected, LoadOptions, StoreOptions};
    pub use crate::vault::answers::{Loaded, Source, Stored, Uncommitted};
    pub use crate::vault::find::FoundOwners;
    pub use crate::vault::owner_list::{ListEntry, ListPage, ListPosition, ListedOwner, RecordState};
}

/// Outages: what happens to a write while the database is down, what the local file keeps, and the background work of a service.
///
/// ```no_run
/// use retell_vault::sync::{Fallback, Schedule};
/// use retell_vault::{Error, Keyring, Vault};
///
/// async fn run(keyring: Keyring, url: &str) -> Result<(), Error> {
///     let vault = Vault::builder(keyring).postgres(url).fallback(Fallback::LocalFile).build().await?;
///     let maintenance = vault.maintain(Schedule::new()); // also pushes the records of an earlier outage
///     // … serve …
///     maintenance.stop().await;
///     vault.sync().await?;
///     vault.close().await;
///     Ok(())
/// }
/// ```
pub mod sync {
    pub use crate::store::options::Fallback;
    pub use crate::store::sync::SyncReport;
    pub use crate::vault::kept::{Forgotten, KeptReason, KeptRecord};
    pub use crate::vault::maintenance::{JobState, Maintenance, MaintenanceState, Schedule};
}

/// For tests of code that uses a vault: [`Vault::in_memory`], and faults that a test can switch on.
///
/// ```
/// use retell_vault::testing::Fault;
/// use retell_vault::{ErrorKind, Owner, RetellConfig, Vault};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), retell_vault::Error> {
/// let (vault, faults) = Vault::in_memory().await?;
/// faults.switch_on(Fault::Outage);
/// let config = RetellConfig::new("key_test_0000000000000000".parse()?);
/// let stored = vault.store(&Owner::user("user-42")?, &config).await?;
/// assert!(stored.degraded.is_some());
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "local-file")]
pub mod testing {
    pub use crate::store::faults::{Fault, Faults};
}

/// The state of the database, of the local file and of the keys, and how the layout fits the table.
///
/// ```no_run
/// use retell_vault::{Error, Vault};
///
/// /// For a health check.
/// async fn is_ready(vault: &Vault) -> Result<bool, Error> {
///     let status = vault.status().await?;
///     Ok(status.database.is_some_and(|database| database.reachable && database.problem.is_none()))
/// }
/// ```
pub mod status {
    pub use crate::vault::layout_report::{Contradiction, FieldReport, LayoutReport};
    pub use crate::vault::status::{DatabaseStatus, IndexStatus, LeftAlone, LocalStatus, SlotStatus, Status};
}

/// Webhook calls of Retell: whose call it is, and whether it is genuine. docs/WEBHOOKS.md is the manual.
///
/// ```
/// use retell_vault::webhooks::Verified;
/// use retell_vault::{Error, Owner, Vault};
///
/// /// `raw` is the body as it came, `header` the value of `X-Retell-Signature`.
/// async fn receive(vault: &Vault, owner: &Owner, raw: &[u8], header: &str) -> Result<Verified, Error> {
///     vault.verify_webhook_for(owner, raw, header).await
/// }
/// ```
pub mod webhooks {
    pub use crate::vault::verified::{SignedBy, Verified};
    pub use crate::vault::webhook::WebhookOptions;
}

/// The examples of the manual compile.
#[cfg(all(doctest, feature = "admin"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// So do those of the other manuals.
#[cfg(all(doctest, feature = "admin"))]
#[doc = include_str!("../docs/SCHEMA.md")]
struct SchemaManual;

#[cfg(all(doctest, feature = "metrics"))]
#[doc = include_str!("../docs/METRICS.md")]
struct MetricsManual;
#[cfg(all(doctest, feature = "admin"))]
#[doc = include_str!("../docs/IMPORT.md")]
struct ImportManual;

#[cfg(doctest)]
#[doc = include_str!("../docs/LAYOUT.md")]
struct LayoutManual;

#[cfg(doctest)]
#[doc = include_str!("../docs/FIND.md")]
struct FindManual;

#[cfg(doctest)]
#[doc = include_str!("../docs/WEBHOOKS.md")]
struct WebhooksManual;

#[cfg(doctest)]
#[doc = include_str!("../docs/LEDGER.md")]
struct LedgerManual;

#[cfg(all(doctest, feature = "local-file"))]
#[doc = include_str!("../docs/TESTING-YOUR-SERVICE.md")]
struct TestingManual;

#[cfg(all(doctest, feature = "admin"))]
#[doc = include_str!("../docs/DOCTOR.md")]
struct DoctorManual;
