//! The options of `schema`, and their help.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, value_parser};
use retell_vault::rotation::{PromoteOptions, RotateOptions};
use retell_vault::schema::{ApplyOptions, Profile, RollBackOptions, RowSecurity, Wanted};

use crate::failure::Failure;

pub const PLAN_HELP: &str = "\
Exit code 0 whatever there is to do; use `schema verify` for a verdict.
A column `phone_number` or `webhook_config` that the vault did not make stays as it is, unless `--adopt COLUMN` gives
it to the vault. A column whose type the application made, such as an enum, stays too, unless `--retype COLUMN` says
so. The plan notes both.

";
pub const APPLY_HELP: &str = "\
Nothing is asked: `schema plan` with the same options shows what would be done. It needs a direct connection,
not a transaction pooler, as the owner of the table. What it applies it records, so that `schema rollback` can
take it back. It may be interrupted (Ctrl-C), killed, and run again: a step is applied as a whole or not at all,
and the same command goes on.

";
pub const VERIFY_HELP: &str = "\
Exit code 1 when a check failed. Give it the options that the plan was made with.

";
pub const ROLLBACK_HELP: &str = "\
Nothing is asked. Without --allow-data-loss nothing is undone while a column that would be dropped holds data.
It may be interrupted (Ctrl-C), killed, and run again: the same command goes on.

";

/// What is done to the schema of the table.
#[derive(Subcommand)]
pub enum SchemaCommand {
    /// Show what the table lacks, step by step, with its SQL; changes nothing
    Plan(PlanArgs),
    /// Make the same plan and apply it; nothing is asked
    Apply(ApplyArgs),
    /// Look at everything again, and try it out in a transaction that is rolled back
    Verify(WantedArgs),
    /// Take the steps back that were applied, the latest first
    Rollback(RollbackArgs),
    /// Move records into the better columns that they have by now
    ///
    /// Records that lie packed in one column, in the JSONB column or in the local file. The service may go on
    /// meanwhile, and whatever it stores wins. Run it again after an interruption. Exit code 1 unless everything
    /// that can be read is where it belongs.
    Promote(PromoteArgs),
}

/// What the schema should be.
#[derive(Args)]
pub struct WantedArgs {
    /// How much of the schema is looked after
    #[arg(long, value_name = "PROFILE", default_value = "credentials")]
    profile: ProfileName,
    /// What becomes of row level security
    #[arg(long, value_name = "MODE", default_value = "auto")]
    row_security: RowSecurityMode,
    /// Row level security for the owner of the table too
    #[arg(long)]
    force_row_security: bool,
    /// A role that may see every row; may be given several times
    #[arg(long, value_name = "ROLE")]
    service_role: Vec<String>,
    /// Keep only the newest row of each owner; the others go to a table beside
    #[arg(long)]
    remove_duplicates: bool,
    /// Give a column the type that the vault can use although the application made its type, such as an enum; may be
    /// given several times
    #[arg(long, value_name = "COLUMN")]
    retype: Vec<String>,
    /// Give the vault a column that may be the application's own, such as phone_number; may be given several times
    #[arg(long, value_name = "COLUMN")]
    adopt: Vec<String>,
    /// Look at every row of a large table too, for as long as it takes
    #[arg(long)]
    every_row: bool,
}

impl WantedArgs {
    /// The same for the library.
    ///
    /// # Errors
    /// Row level security shall stay as it is, and be changed.
    pub fn wanted(&self) -> Result<Wanted, Failure> {
        let changes = self.force_row_security || !self.service_role.is_empty();
        if matches!(self.row_security, RowSecurityMode::Leave) && changes {
            return Err(Failure::usage(
                "--row-security leave changes no policy, so that --force-row-security and --service-role do nothing",
                "leave one or the other out",
            ));
        }
        let mut wanted = Wanted::from(Profile::from(self.profile)).row_security(self.row_security.into());
        if self.force_row_security {
            wanted = wanted.force_row_security();
        }
        if self.remove_duplicates {
            wanted = wanted.remove_duplicates();
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
    /// In addition a user profile, its indexes, and functions for callers that speak only SQL
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
    /// Switched on where Supabase's API would otherwise show the table
    Auto,
    /// Switched on, with the policies of the vault
    On,
    /// Stays as it is
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
    /// Print a script for an SQL editor that does the same, and nothing else
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

/// How long others may be kept waiting.
#[derive(Args)]
struct Locks {
    /// Take steps too that rewrite the table: nobody reads or writes it meanwhile
    #[arg(long)]
    allow_rewrite: bool,
    /// How long a step waits for its lock before it lets others go first
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = value_parser!(u64).range(1..=60_000))]
    lock_timeout: u64,
    /// How long it is tried again, and another run is waited for
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
    /// Drop columns that hold data too, after copying it to a table beside
    #[arg(long)]
    allow_data_loss: bool,
    #[command(flatten)]
    locks: Locks,
}

impl RollbackArgs {
    /// How to take steps back.
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
    /// Rows to a statement, 1 to 100000 [default: 100]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=i64::from(RotateOptions::MAX_BATCH)))]
    batch: Option<u32>,
}

impl PromoteArgs {
    /// How to move them.
    pub fn options(&self) -> PromoteOptions {
        self.batch.map_or_else(PromoteOptions::new, |rows| PromoteOptions::new().batch(rows))
    }
}
