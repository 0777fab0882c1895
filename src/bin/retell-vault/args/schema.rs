//! The options of `schema`, and their help.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, value_parser};
use retell_vault::rotation::{PromoteOptions, RotateOptions};
use retell_vault::schema::{ApplyOptions, Profile, RollBackOptions, RowSecurity, Wanted};

use crate::failure::Failure;

pub const PLAN_HELP: &str = "\
Exit code 0 even if there are steps to apply; use `schema verify` for a verdict.
A column `phone_number` or `webhook_config` that the vault did not create stays as it is, unless you give it to the vault
with `--adopt COLUMN`. A column with a type of the application, such as an enum, also stays, unless you name it with
`--retype COLUMN`. The plan has a note about both.

";
pub const APPLY_HELP: &str = "\
The command does not ask for confirmation: `schema plan` with the same options shows the steps. It needs a
direct connection, not a transaction pooler, as the owner of the table. It records every step, so that
`schema rollback` can undo it. You can interrupt (Ctrl-C) or kill it: a step is applied as a whole or not at all. Run the same command again
to continue.

";
pub const VERIFY_HELP: &str = "\
Exit code 1 if a check failed. Use the same options as for the plan.

";
pub const ROLLBACK_HELP: &str = "\
The command does not ask for confirmation. If a column to drop holds data, it undoes nothing without --allow-data-loss.
You can interrupt (Ctrl-C) or kill it. Run the same command again to continue.

";

/// Changes to the schema of the table.
#[derive(Subcommand)]
pub enum SchemaCommand {
    /// Show the steps that the table needs, with their SQL; changes nothing
    Plan(PlanArgs),
    /// Make the same plan and apply it, without asking for confirmation
    Apply(ApplyArgs),
    /// Check the schema, and try it out in a transaction that is rolled back
    Verify(WantedArgs),
    /// Undo the applied steps, the latest first
    Rollback(RollbackArgs),
    /// Move records into better columns that now exist
    ///
    /// Moves records that are packed in one column, in the JSONB column or in the local file. The service can keep
    /// running, and its writes win. Run the command again after an interruption. Exit code 1 unless every readable
    /// record is in its place.
    Promote(PromoteArgs),
}

/// What the schema should be.
#[derive(Args)]
pub struct WantedArgs {
    /// Which parts of the schema the vault manages
    #[arg(long, value_name = "PROFILE", default_value = "credentials")]
    profile: ProfileName,
    /// How to treat row level security
    #[arg(long, value_name = "MODE", default_value = "auto")]
    row_security: RowSecurityMode,
    /// Apply row level security to the owner of the table too
    #[arg(long)]
    force_row_security: bool,
    /// A role that may see every row; may be repeated
    #[arg(long, value_name = "ROLE")]
    service_role: Vec<String>,
    /// Keep only the newest row of each owner, and move the others to a backup table
    #[arg(long)]
    remove_duplicates: bool,
    /// Change the type of a column that has a type of the application, such as an enum; may be repeated
    #[arg(long, value_name = "COLUMN")]
    retype: Vec<String>,
    /// Give the vault a column that may belong to the application, such as phone_number; may be repeated
    #[arg(long, value_name = "COLUMN")]
    adopt: Vec<String>,
    /// Create the schema retell_vault, for a keyring in the database, push counts and the ledger
    #[arg(long)]
    vault_schema: bool,
    /// Check every row even of a large table, however long it takes
    #[arg(long)]
    every_row: bool,
}

impl WantedArgs {
    /// The same for the library.
    ///
    /// # Errors
    /// Row level security must stay as it is, and an option changes it.
    pub fn wanted(&self) -> Result<Wanted, Failure> {
        let is_for_policies = !self.service_role.is_empty() && !self.vault_schema;
        let changes = self.force_row_security || is_for_policies;
        if matches!(self.row_security, RowSecurityMode::Leave) && changes {
            return Err(Failure::usage(
                "--row-security leave changes no policy, so --force-row-security and --service-role have no effect",
                "remove one of these options",
            ));
        }
        let mut wanted = Wanted::from(Profile::from(self.profile)).row_security(self.row_security.into());
        if self.force_row_security {
            wanted = wanted.force_row_security();
        }
        if self.remove_duplicates {
            wanted = wanted.remove_duplicates();
        }
        if self.vault_schema {
            wanted = wanted.vault_schema();
        }
        if self.every_row {
            wanted = wanted.look_at_every_row();
        }
        wanted = self.retype.iter().fold(wanted, |wanted, column| wanted.retype(column));
        wanted = self.adopt.iter().fold(wanted, |wanted, column| wanted.adopt(column));
        Ok(self.service_role.iter().fold(wanted, |wanted, role| wanted.service_role(role)))
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum ProfileName {
    /// The vault's columns, a unique owner, and only tokens in the columns for tokens
    Credentials,
    /// Also a user profile, its indexes, and functions for callers that use only SQL
    FullProfile,
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Credentials => Self::Credentials,
            ProfileName::FullProfile => Self::FullProfile,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum RowSecurityMode {
    /// Switch it on if Supabase's API would otherwise expose the table
    Auto,
    /// Switch it on, with the policies of the vault
    On,
    /// Leave it as it is
    Leave,
}

impl From<RowSecurityMode> for RowSecurity {
    fn from(mode: RowSecurityMode) -> Self {
        match mode {
            RowSecurityMode::Auto => Self::Auto,
            RowSecurityMode::On => Self::On,
            RowSecurityMode::Leave => Self::Leave,
        }
    }
}

#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub wanted: WantedArgs,
    /// Print only an equivalent script for an SQL editor
    #[arg(long, conflicts_with = "json")]
    pub sql: bool,
}

#[derive(Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    pub wanted: WantedArgs,
    #[command(flatten)]
    locks: Locks,
}

impl ApplyArgs {
    /// How to apply.
    pub fn options(&self) -> ApplyOptions {
        let options = ApplyOptions::new().lock_timeout(self.locks.timeout()).patience(self.locks.patience());
        if self.locks.allow_rewrite { options.allow_rewrite() } else { options }
    }
}

/// How long other sessions may wait.
#[derive(Args)]
struct Locks {
    /// Allow steps that rewrite the table: no other session can read or write it meanwhile
    #[arg(long)]
    allow_rewrite: bool,
    /// How long a step waits for its lock before it lets other sessions go first
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = value_parser!(u64).range(1..=60_000))]
    lock_timeout: u64,
    /// How long to retry a step, and to wait for another run
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = value_parser!(u64).range(0..=86_400))]
    patience: u64,
}

impl Locks {
    fn timeout(&self) -> Duration {
        Duration::from_millis(self.lock_timeout)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }
}

#[derive(Args)]
pub struct RollbackArgs {
    /// Drop columns even if they hold data, after copying the data to a backup table
    #[arg(long)]
    allow_data_loss: bool,
    #[command(flatten)]
    locks: Locks,
}

impl RollbackArgs {
    /// How to undo steps.
    pub fn options(&self) -> RollBackOptions {
        let locks = &self.locks;
        let mut options = RollBackOptions::new().lock_timeout(locks.timeout()).patience(locks.patience());
        if self.allow_data_loss {
            options = options.allow_data_loss();
        }
        if locks.allow_rewrite { options.allow_rewrite() } else { options }
    }
}

#[derive(Args)]
pub struct PromoteArgs {
    /// Rows per statement, 1 to 100000 [default: 100]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=i64::from(RotateOptions::MAX_BATCH)))]
    batch: Option<u32>,
}

impl PromoteArgs {
    /// How to move them.
    pub fn options(&self) -> PromoteOptions {
        self.batch.map_or_else(PromoteOptions::new, |rows| PromoteOptions::new().batch(rows))
    }
}
