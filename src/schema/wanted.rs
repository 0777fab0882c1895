//! The wanted schema: a profile and its options.

use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// How much of the schema the vault manages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// The columns of the layout, a usable unique constraint on the owner, and guards that allow only tokens in the
    /// columns for tokens.
    Credentials,
    /// In addition the columns of a user profile, indexes, the `updated_at` trigger, and functions for callers that use
    /// only SQL.
    FullProfile,
}

impl Profile {
    /// `credentials` or `full-profile`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::FullProfile => "full-profile",
        }
    }
}

impl FromStr for Profile {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found =
            [Self::Credentials, Self::FullProfile].into_iter().find(|profile| profile.as_str() == text);
        found.ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "unknown schema profile")
                .with_hint("the profiles are `credentials` and `full-profile`")
        })
    }
}

/// What the plan does about row level security.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RowSecurity {
    /// On Supabase, where `auth.uid()` exists, switches it on with the vault's policies, because the API would otherwise
    /// expose the table. Elsewhere leaves it unchanged. A table that already has row level security keeps its policies.
    #[default]
    Auto,
    /// Switches it on, with the vault's policies.
    On,
    /// Leaves it unchanged.
    Leave,
}

/// What the plan does about the schema `retell_vault`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VaultSchemaMode {
    /// Completes and closes it if it exists.
    Existing,
    /// Creates it too.
    Create,
    /// Leaves it alone.
    Leave,
}

/// How many rows a plan reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// As many as it can read in less than a second.
    Bounded,
    /// Every row, however long it takes.
    EveryRow,
}

/// The wanted schema. It is created from a [`Profile`], with every option at its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub(crate) profile: Profile,
    pub(crate) row_security: RowSecurity,
    pub(crate) force: bool,
    pub(crate) service_roles: Vec<String>,
    pub(crate) remove_duplicates: bool,
    pub(crate) retyped: Vec<String>,
    pub(crate) adopted: Vec<String>,
    pub(crate) extent: Extent,
    pub(crate) vault_schema: VaultSchemaMode,
}

impl From<Profile> for Wanted {
    fn from(profile: Profile) -> Self {
        Self {
            profile,
            row_security: RowSecurity::default(),
            force: false,
            service_roles: Vec::new(),
            remove_duplicates: false,
            retyped: Vec::new(),
            adopted: Vec::new(),
            extent: Extent::Bounded,
            vault_schema: VaultSchemaMode::Existing,
        }
    }
}

impl Wanted {
    /// What to do about row level security. [`RowSecurity::Auto`] by default.
    pub fn row_security(mut self, row_security: RowSecurity) -> Self {
        self.row_security = row_security;
        self
    }

    /// Applies row level security to the owner of the table too. Off by default, because services often connect as the
    /// owner. The role that applies the plan and the [service roles](Self::service_role) get a policy.
    pub fn force_row_security(mut self) -> Self {
        self.force = true;
        self
    }

    /// A role that may see every row. On Supabase `service_role` is one already. Roles with BYPASSRLS need no policy.
    pub fn service_role(mut self, role: &str) -> Self {
        self.service_roles.push(role.to_owned());
        self
    }

    /// Moves all but the newest row of each owner to another table. Without this option a plan for a table with
    /// duplicates is blocked, because it would remove rows of the application. It stays blocked if the rows of an owner
    /// differ in columns of the application, because they are not duplicates then.
    pub fn remove_duplicates(mut self) -> Self {
        self.remove_duplicates = true;
        self
    }

    /// Changes a column with a type that the application created, such as an enum or a domain, to a type that the vault
    /// can use. Without this option the column stays unchanged, and its field is sealed elsewhere.
    pub fn retype(mut self, column: &str) -> Self {
        self.retyped.push(column.to_owned());
        self
    }

    /// Lets the vault use a column such as `phone_number` that may belong to the application. The step sets the column's
    /// comment.
    pub fn adopt(mut self, column: &str) -> Self {
        self.adopted.push(column.to_owned());
        self
    }

    /// Creates the schema `retell_vault`, whose tables hold a keyring in the database and count the pushes of local files.
    /// Without this option the plan only completes and closes the schema where it exists: creating it takes the right to
    /// create schemas in the database. The [service roles](Self::service_role) may read the keyring and write the other
    /// tables. A rollback drops only tables without rows.
    pub fn vault_schema(mut self) -> Self {
        self.vault_schema = VaultSchemaMode::Create;
        self
    }

    /// Leaves the schema `retell_vault` as it is.
    pub(crate) fn leave_vault_schema(mut self) -> Self {
        self.vault_schema = VaultSchemaMode::Leave;
        self
    }

    /// Reads every row, however long it takes. By default a plan reads for less than a second, which covers only a part
    /// of a large table. In that case triggers that guard a column stay, even if no text needs them any more.
    pub fn look_at_every_row(mut self) -> Self {
        self.extent = Extent::EveryRow;
        self
    }

    /// The profile.
    pub fn profile(&self) -> Profile {
        self.profile
    }
}
