//! Re-encryption and promotion of everything that is stored, and the destruction of keys.
//!
//! ```no_run
//! use retell_vault::rotation::{RotateEvent, RotateOptions};
//! use retell_vault::{Error, Vault};
//!
//! async fn rotate(vault: &Vault) -> Result<(), Error> {
//!     let options = RotateOptions::new().new_key().rate(500);
//!     let rotation = vault
//!         .rotate(&options, |event| {
//!             if let RotateEvent::Batch(progress) = event {
//!                 println!("{} of {} rows", progress.visited, progress.rows);
//!             }
//!         })
//!         .await?;
//!     assert!(rotation.complete);
//!     Ok(())
//! }
//! ```

pub(crate) mod destroy_key;
pub(crate) mod evidence;
pub(crate) mod index;
pub(crate) mod index_row;
pub(crate) mod key_life;
pub(crate) mod new_key;
pub(crate) mod options;
pub(crate) mod passes;
pub(crate) mod promote;
pub(crate) mod promote_row;
pub(crate) mod reencrypt_row;
pub(crate) mod report;
pub(crate) mod rotate;
pub(crate) mod row_work;
pub(crate) mod stretch;
pub(crate) mod throttle;
pub(crate) mod token_count;

pub use crate::rotation::destroy_key::Destruction;
pub use crate::rotation::evidence::{CountProgress, Outside, OutsideExtent, OutsideTokens};
pub use crate::rotation::options::{DestroyOptions, IndexOptions, PromoteOptions, RotateOptions};
pub use crate::rotation::report::{
    IndexEvent, IndexProgress, IndexReport, NewKeyStep, PromoteEvent, PromoteProgress, Promotion,
    RotateEstimate, RotateEvent, RotateProgress, Rotation, UnreadableRow,
};
pub use crate::rotation::token_count::{TokenCount, TokenCounts, TokenPlace};
