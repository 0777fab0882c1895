//! What the schema should be: a profile, and what goes with it.

use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// How much of the schema is looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// The columns of the layout, a usable unique constraint on the owner, and guards that let only tokens
    /// into the columns made for them.
    Credentials,
    /// In addition the columns of a user profile, indexes, the `updated_at` trigger, and functions for
    /// callers that speak only SQL.
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

/// What becomes of row level security.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RowSecurity {
    /// Switched on with the policies of the vault on Supabase (where `auth.uid()` exists), whose API would
    /// otherwise show the table; elsewhere it stays as it is. A table that has it on already keeps its policies.
    #[default]
    Auto,
    /// Switched on, with the policies of the vault.
    On,
    /// Stays as it is.
    Leave,
}

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// For less than a second, however large the table is.
    Bounded,
    /// Every row, for as long as it takes.
    EveryRow,
}

/// What the schema should be. Made from a [`Profile`], with everything else at its default.
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
        }
    }
}

impl Wanted {
    /// Another choice for row level security.
    pub fn row_security(mut self, row_security: RowSecurity) -> Self {
        self.row_security = row_security;
        self
    }

    /// Row level security for the owner of the table too. Not by default, since services often connect as
    /// the owner. The role that applies the plan, and the [service roles](Self::service_role), get a policy.
    pub fn force_row_security(mut self) -> Self {
        self.force = true;
        self
    }

    /// A role that may see every row. `service_role` is one on Supabase; roles with BYPASSRLS need none.
    pub fn service_role(mut self, role: &str) -> Self {
        self.service_roles.push(role.to_owned());
        self
    }

    /// Moves all but the newest row of an owner to a table beside, where owners have several. Without it
    /// a plan is blocked there, since rows of the application would go. It stays blocked where such rows differ in columns of
    /// the application: they are for different things then.
    pub fn remove_duplicates(mut self) -> Self {
        self.remove_duplicates = true;
        self
    }

    /// A column whose type the application made, such as an enum or a domain, gets the type that the vault can use. Without
    /// it such a column stays as it is, and its field is sealed elsewhere.
    pub fn retype(mut self, column: &str) -> Self {
        self.retyped.push(column.to_owned());
        self
    }

    /// A column such as `phone_number` that may be the application's own is given to the vault, by its comment.
    pub fn adopt(mut self, column: &str) -> Self {
        self.adopted.push(column.to_owned());
        self
    }

    /// Looks at every row, for as long as it takes. By default a plan looks for less than a second, at a part
    /// of a large table; then triggers that guard a column stay, even when nothing is left that needs them.
    pub fn look_at_every_row(mut self) -> Self {
        self.extent = Extent::EveryRow;
        self
    }

    /// The profile.
    pub fn profile(&self) -> Profile {
        self.profile
    }
}
