//! Which table and columns hold records, and which field goes where. Pure.
//!
//! ```
//! use retell_vault::Layout;
//! use retell_vault::config::Field;
//!
//! let layout = Layout::new()
//!     .table("crm.accounts")?
//!     .user_column("account_id")?
//!     .column(Field::named("api_key"), "retell_key")?;
//! # let _ = layout;
//! # Ok::<(), retell_vault::Error>(())
//! ```

pub(crate) mod beside;
pub(crate) mod file;
pub(crate) mod filter;
// the noun of the folder
#[allow(clippy::module_inception)]
pub(crate) mod layout;
pub(crate) mod names;
pub(crate) mod old_source;
pub(crate) mod placement;
pub(crate) mod toml_member;

pub use crate::layout::filter::{FilterValue, Rows};
pub use crate::layout::layout::Layout;
pub use crate::layout::old_source::OldSource;
pub use crate::layout::placement::Place;
