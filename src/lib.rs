//! Encrypted storage of Retell AI credentials in the application's own Postgres table.
//!
//! A [`Vault`] seals a [`RetellConfig`] with AES-256-GCM under a key of its own for every value,
//! bound to its [`Owner`], and stores it in the best place that exists: columns made for it, a JSONB
//! config column, packed into the one column there is, or an encrypted local file until the database
//! returns. It acknowledges a save only when that is durable and encrypted.
//!
//! Root keys live in a [`KeyringFile`]. [`Vault::rotate`] seals everything anew under a new one while
//! the service goes on, and [`Vault::destroy_key`] ends an old one, after a count of what it sealed.
//!
//! [`Vault::schema`] plans what the table lacks, applies, verifies and takes it back; [`Vault::doctor`] finds
//! what would leak or lose credentials.
//!
//! The README is the manual, `docs/SCHEMA.md` and `docs/DOCTOR.md` those of schema and doctor, and
//! `docs/OPERATIONS.md` the runbook; `docs/ARCHITECTURE.md` is the map, `docs/FORMAT.md` the bytes, and
//! `SECURITY.md` says what is promised and what is not.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod aead;
mod census;
mod classify;
mod config;
mod database;
mod detect;
mod disk;
mod doctor;
mod entropy;
mod error;
mod field;
#[doc(hidden)]
pub mod internals;
mod keyring;
mod layout;
mod local;
mod owner;
mod placement;
mod postgres;
mod promote;
mod record;
mod rotate;
mod router;
mod schema;
mod sealer;
mod stack;
mod sync;
mod token;
mod vault;
mod version;

pub use census::{Census, TokenCount, TokenPlace};
pub use config::RetellConfig;
pub use config::fields::{AgentId, ApiKey, IntegrationStatus, PhoneNumber, WebhookConfig, WebhookSecret};
pub use database::{PoolerMode, Timeouts};
pub use doctor::finding::{Area, Diagnosis, Finding, Health, Mend, Severity};
pub use doctor::options::{DoctorOptions, DoctorProgress};
pub use error::{Error, ErrorKind, Result};
pub use field::Field;
pub use keyring::file::KeyringFile;
pub use keyring::wrapping::{Passphrase, RawKey, Wrapping, WrappingKey, WrappingKeyProvider};
pub use keyring::{KeyInfo, KeyState};
pub use layout::Layout;
pub use owner::{Owner, TenantId, UserId};
pub use placement::Place;
pub use promote::{PromoteEvent, PromoteOptions, PromoteProgress, Promotion};
pub use rotate::{RotateEstimate, RotateEvent, RotateOptions, RotateProgress, Rotation, UnreadableRow};
pub use router::{Fallback, StoreOptions};
pub use schema::Schema;
pub use schema::options::{Applied, ApplyOptions, RollBackOptions, RolledBack, SchemaEvent};
pub use schema::plan::Plan as SchemaPlan;
pub use schema::step::{Blocked, Instead, LockLevel, Step};
pub use schema::verify::{Check, CheckOutcome, Verification};
pub use schema::wanted::{Profile, RowSecurity, Wanted};
pub use sync::{BackgroundSync, SyncReport};
pub use token::KeyId;
pub use vault::{
    DatabaseStatus, DestroyOptions, Forgotten, KeptReason, KeptRecord, ListEntry, ListPage, Loaded,
    LocalStatus, RecordState, SlotStatus, Source, Status, Stored, Vault, VaultBuilder,
};
pub use version::Version;

/// The examples of the manual compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// So do those of the other manuals.
#[cfg(doctest)]
#[doc = include_str!("../docs/SCHEMA.md")]
struct SchemaManual;

#[cfg(doctest)]
#[doc = include_str!("../docs/DOCTOR.md")]
struct DoctorManual;
