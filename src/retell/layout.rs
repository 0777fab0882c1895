//! The layout of Retell's credentials: its default names, and its file.

use crate::error::Result;
use crate::layout::layout::Layout;
use crate::retell::config::RetellConfig;

impl Default for Layout {
    fn default() -> Self {
        Self::of::<RetellConfig>()
    }
}

impl Layout {
    /// The default names for Retell's credentials.
    pub fn new() -> Self {
        Self::default()
    }

    /// A layout for Retell's credentials from the text of a layout file: TOML of at most 64 KiB. Members that the text
    /// omits have their defaults. `docs/LAYOUT.md` describes every member.
    ///
    /// ```
    /// use retell_vault::Layout;
    /// use retell_vault::config::Field;
    ///
    /// let text = r#"
    /// [table]
    /// name = "crm.organizations"
    /// user = "id"
    /// where = { provider = "retell" }
    /// is_null = ["deleted_at"]
    /// rows = "existing"
    ///
    /// [columns]
    /// api_key = "retell_api_key_enc"
    /// config = "settings"
    /// "#;
    /// let layout = Layout::new()
    ///     .table("crm.organizations")?
    ///     .user_column("id")?
    ///     .where_equals("provider", "retell")?
    ///     .is_null("deleted_at")?
    ///     .rows(retell_vault::layout::Rows::Existing)
    ///     .column(Field::named("api_key"), "retell_api_key_enc")?
    ///     .config_column("settings")?;
    /// assert_eq!(Layout::from_toml(text)?, layout);
    /// # Ok::<(), retell_vault::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput`, which names the member and its line, and never repeats a value.
    pub fn from_toml(text: &str) -> Result<Self> {
        Self::from_toml_of::<RetellConfig>(text)
    }
}
