//! Encrypted storage of Retell AI credentials in the application's own Postgres table.
//!
//! A [`Vault`] seals every value of a [`RetellConfig`] with AES-256-GCM, under a key that is derived for the
//! record and bound to its [`Owner`], and stores it in the best place that exists: columns made for it, a JSONB
//! config column, packed into the one column there is, or an encrypted local file until the database
//! returns. It acknowledges a save only when that is durable and encrypted. A sealed record token lists what belongs
//! to the record, so that nothing can be removed, added or swapped unnoticed.
//!
//! Another provider's credentials are a type of the service's that implements [`Credentials`]; they share the keyring, the table
//! and the JSONB config column.
//!
//! Root keys live in a [`KeyringFile`]. [`Vault::rotate`] re-encrypts everything under a new one while
//! the service goes on, and [`Vault::destroy_key`] destroys an old one, after a count of what it sealed.
//!
//! [`Vault::schema`] plans what the table lacks, applies, verifies and takes it back; [`Vault::doctor`] finds
//! what would leak or lose credentials.
//!
//! The README is the manual, `docs/LAYOUT.md`, `docs/SCHEMA.md` and `docs/DOCTOR.md` those of layout file, schema and doctor, and
//! `docs/OPERATIONS.md` the runbook; `docs/ARCHITECTURE.md` is the map, `docs/FORMAT.md` the bytes, and
//! `SECURITY.md` says what is promised and what is not.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod crypto;
mod doctor;
mod error;
#[doc(hidden)]
pub mod internals;
mod keyring;
mod layout;
mod local;
mod postgres;
mod record;
mod retell;
mod rotation;
mod schema;
mod store;
mod vault;
mod visible;

pub use doctor::finding::{Area, Diagnosis, Finding, Health, Mend, Severity};
pub use doctor::options::{DoctorOptions, DoctorProgress};
pub use error::{Error, ErrorKind, Result};
pub use keyring::file::KeyringFile;
pub use keyring::keys::{KeyInfo, KeyState};
pub use keyring::wrapping::{Passphrase, RawKey, Wrapping, WrappingKey, WrappingKeyProvider};
pub use layout::filter::{FilterValue, Rows};
pub use layout::layout::Layout;
pub use layout::placement::Place;
pub use postgres::connection::options::{PoolerMode, Timeouts};
pub use record::credentials::Credentials;
pub use record::field::{Field, FieldSpec};
pub use record::owner::{Owner, TenantId, UserId};
pub use record::token::KeyId;
pub use record::values::Values;
pub use record::version::Version;
pub use retell::config::RetellConfig;
pub use retell::values::{
    AgentId, ApiKey, ExtraSecret, IntegrationStatus, PhoneNumber, WebhookConfig, WebhookKey,
};
pub use rotation::destroy_key::Destruction;
pub use rotation::evidence::{CountProgress, Outside, OutsideExtent, OutsideTokens};
pub use rotation::options::DestroyOptions;
pub use rotation::options::PromoteOptions;
pub use rotation::options::RotateOptions;
pub use rotation::report::{PromoteEvent, PromoteProgress, Promotion};
pub use rotation::report::{RotateEstimate, RotateEvent, RotateProgress, Rotation, UnreadableRow};
pub use rotation::token_count::{Census, TokenCount, TokenPlace};
pub use schema::Schema;
pub use schema::check_results::{Check, CheckOutcome, Verification};
pub use schema::options::{Applied, ApplyOptions, RollBackOptions, RolledBack, SchemaEvent};
pub use schema::plan::SchemaPlan;
pub use schema::step::{Blocked, Instead, LockLevel, Step};
pub use schema::wanted::{Profile, RowSecurity, Wanted};
pub use store::core::{Expected, Fallback, StoreOptions};
pub use store::sync::{BackgroundSync, SyncReport};
pub use vault::Vault;
pub use vault::answers::{Loaded, Source, Stored};
pub use vault::builder::VaultBuilder;
pub use vault::kept::{Forgotten, KeptReason, KeptRecord};
pub use vault::layout_report::{Contradiction, FieldReport, LayoutReport};
pub use vault::owner_list::{ListEntry, ListPage, ListPosition, ListedOwner, RecordState};
pub use vault::status::{DatabaseStatus, LeftAlone, LocalStatus, SlotStatus, Status};
pub use visible::{visible, visible_json};

/// The examples of the manual compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// So do those of the other manuals.
#[cfg(doctest)]
#[doc = include_str!("../docs/SCHEMA.md")]
struct SchemaManual;

#[cfg(doctest)]
#[doc = include_str!("../docs/LAYOUT.md")]
struct LayoutManual;

#[cfg(doctest)]
#[doc = include_str!("../docs/DOCTOR.md")]
struct DoctorManual;
