//! The command line, and its help.

mod doctor;
mod keys;
mod schema;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, value_parser};
use retell_vault::{Fallback, Layout, Owner, PoolerMode, StoreOptions, TenantId, UserId};

pub use doctor::Doctor;
pub use keys::{Destroy, KeyArg, KeyCommand, Rewrap, Rotate};
pub use schema::{Apply, Plan, Promote, Rollback, SchemaCommand, WantedArgs};

use crate::failure::Failure;

const DEFAULT_HOME: &str = ".retell-vault";
const ENVIRONMENT: &str = "\
Environment:
  RETELL_VAULT_HOME          the same as --home
  DATABASE_URL               the same as --database-url, and in no process list
  RETELL_VAULT_PASSPHRASE    the passphrase of the keyring
  RETELL_VAULT_WRAPPING_KEY  base64 of 32 bytes, for a keyring without a passphrase
  With none of the last two and no --passphrase-file, the passphrase is asked for at the terminal.";
const EXIT_CODES: &str = "\
Exit codes:
  0  done; a save that waits in the local file for the database is done, with a warning
  1  failed
  2  wrong usage
  3  nothing is stored for this owner
  `doctor` has its own: 0 healthy, 1 degraded, 2 critical";
const ERRORS: &str = "Errors go to standard error as `error: …` and `hint: …`, with --json too.";
const PUT_HELP: &str = r#"The configuration, of which only api_key is required:
  {"api_key": "key_…", "call_agent_id": "agent_…", "sms_agent_id": "agent_…",
   "phone_number": "+14155550100",
   "webhook_config": {"webhook_url": "https://…", "events": ["call_ended"], "secret": "…"},
   "integration_status": "not_configured" | "configured" | "active" | "error" | "disabled"}
It replaces what was stored before as a whole.

"#;

/// Stores Retell AI credentials encrypted: in the application's Postgres table, or in a local file.
#[derive(Parser)]
#[command(name = "retell-vault", version)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Folder of keyring.json and local.db [default: .retell-vault]
    #[arg(long, global = true, value_name = "DIR", env = "RETELL_VAULT_HOME", hide_env_values = true)]
    home: Option<OsString>,
    /// Postgres to store in, postgres://USER:PASSWORD@HOST/DATABASE; without it, the local file only
    #[arg(long, global = true, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Table of the application's users [default: public.user_profiles]
    #[arg(long, global = true, value_name = "[SCHEMA.]TABLE", value_parser = table)]
    pub table: Option<String>,
    /// Its column with the user id [default: user_id]
    #[arg(long, global = true, value_name = "COLUMN", value_parser = column)]
    pub user_column: Option<String>,
    /// Its column with the tenant id [default: none]
    #[arg(long, global = true, value_name = "COLUMN", value_parser = column)]
    pub tenant_column: Option<String>,
    /// Whether a transaction pooler (PgBouncer, Supavisor) stands before Postgres
    #[arg(long, global = true, value_name = "MODE", default_value = "auto")]
    pub pooler: Pooler,
    /// File of mode 0600 with the passphrase of the keyring
    #[arg(long, global = true, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Print the result as one line of JSON
    #[arg(long, global = true)]
    pub json: bool,
}

impl Global {
    fn home(&self) -> &Path {
        let given = self.home.as_deref().filter(|home| !home.is_empty());
        given.map_or(Path::new(DEFAULT_HOME), Path::new)
    }

    /// Where the keyring lies.
    pub fn keyring(&self) -> PathBuf {
        self.home().join("keyring.json")
    }

    /// Where the local file lies.
    pub fn local_file(&self) -> PathBuf {
        self.home().join("local.db")
    }

    /// The database, if one is named. An empty variable names none.
    pub fn database_url(&self) -> Option<&str> {
        self.database_url.as_deref().filter(|url| !url.is_empty())
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Pooler {
    /// Recognised by its port or its answers
    Auto,
    /// There is one
    Transaction,
    /// There is none
    None,
}

impl From<Pooler> for PoolerMode {
    fn from(pooler: Pooler) -> Self {
        match pooler {
            Pooler::Auto => Self::Auto,
            Pooler::Transaction => Self::Transaction,
            Pooler::None => Self::None,
        }
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Make the keyring; an existing one is never overwritten
    Init,
    /// Store a configuration, as JSON from a file or standard input
    Put(Put),
    /// Show a configuration, its secrets masked
    Get(Get),
    /// Delete a configuration
    Delete(Delete),
    /// List the owners that have a record, deleted ones too, page by page
    List(List),
    /// Erase what the local file holds of an owner
    ///
    /// Pending records, copies, losers, replaced texts and dead letters. What the database has not got
    /// yet is lost; what it has stays, until `delete`.
    Forget(OwnerArgs),
    /// Show the database and its columns, the local file, and the keys
    Status,
    /// Send what waits in the local file to the database; fails if anything stays behind
    Sync,
    /// Show, check or change the root keys of the keyring, or the secret that opens it
    #[command(subcommand)]
    Key(KeyCommand),
    /// Seal everything anew that is not under the primary key; fails if anything stays behind
    Rotate(Rotate),
    /// Plan, apply, verify or take back what the table lacks; move records to better columns
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Look for what would leak or lose credentials, and say how to mend it; has exit codes of its own
    Doctor(Doctor),
}

/// Whose configuration.
#[derive(Args)]
pub struct OwnerArgs {
    /// Whose configuration
    #[arg(long, value_name = "ID", value_parser = user)]
    user: String,
    /// The tenant of the user
    #[arg(long, value_name = "ID", value_parser = tenant)]
    tenant: Option<String>,
}

impl OwnerArgs {
    pub fn owner(&self) -> Result<Owner, Failure> {
        owner(&self.user, self.tenant.as_deref())
    }
}

#[derive(Args)]
pub struct Put {
    #[command(flatten)]
    pub owner: OwnerArgs,
    /// File with the configuration; standard input without it, or when it is -
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Fail when the database cannot take it, instead of keeping it in the local file
    #[arg(long)]
    require_database: bool,
    /// Replace a stored record that cannot be opened; its old text is kept in the local file
    #[arg(long)]
    replace_unreadable: bool,
    /// Overwrite text in the vault's columns that the vault did not write, for good
    #[arg(long)]
    replace_foreign: bool,
}

impl Put {
    /// What may be overwritten.
    pub fn options(&self) -> StoreOptions {
        let mut options = StoreOptions::new();
        if self.replace_unreadable {
            options = options.replace_unreadable();
        }
        if self.replace_foreign {
            options = options.replace_foreign();
        }
        options
    }

    pub fn fallback(&self, global: &Global) -> Result<Fallback, Failure> {
        fallback(self.require_database, global)
    }
}

#[derive(Args)]
pub struct Get {
    #[command(flatten)]
    pub owner: OwnerArgs,
    /// Show the secrets themselves
    #[arg(long)]
    pub reveal: bool,
}

#[derive(Args)]
pub struct Delete {
    #[command(flatten)]
    pub owner: OwnerArgs,
    /// Fail when the database cannot take it, instead of noting it in the local file
    #[arg(long)]
    require_database: bool,
}

impl Delete {
    pub fn fallback(&self, global: &Global) -> Result<Fallback, Failure> {
        fallback(self.require_database, global)
    }
}

#[derive(Args)]
pub struct List {
    /// How many owners
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Only owners after this one: the last of the page before
    #[arg(long, value_name = "ID", value_parser = user)]
    after_user: Option<String>,
    /// The tenant of that one
    #[arg(long, value_name = "ID", value_parser = tenant, requires = "after_user")]
    after_tenant: Option<String>,
}

impl List {
    /// The last owner of the page before.
    pub fn after(&self) -> Result<Option<Owner>, Failure> {
        self.after_user.as_deref().map(|user| owner(user, self.after_tenant.as_deref())).transpose()
    }
}

fn owner(user: &str, tenant: Option<&str>) -> Result<Owner, Failure> {
    let owner = Owner::user(user)?;
    Ok(match tenant {
        Some(tenant) => owner.in_tenant(tenant)?,
        None => owner,
    })
}

fn fallback(require_database: bool, global: &Global) -> Result<Fallback, Failure> {
    match (require_database, global.database_url()) {
        (false, _) => Ok(Fallback::LocalFile),
        (true, Some(_)) => Ok(Fallback::Refuse),
        (true, None) => Err(Failure::usage(
            "--require-database is given, but no database",
            "name it with DATABASE_URL or --database-url",
        )),
    }
}

/// Texts are checked here, so that a wrong one is a usage error, and kept as they were given.
fn user(text: &str) -> retell_vault::Result<String> {
    text.parse::<UserId>().map(|_| text.to_owned())
}

fn tenant(text: &str) -> retell_vault::Result<String> {
    text.parse::<TenantId>().map(|_| text.to_owned())
}

fn table(text: &str) -> retell_vault::Result<String> {
    Layout::new().table(text).map(|_| text.to_owned())
}

fn column(text: &str) -> retell_vault::Result<String> {
    Layout::new().user_column(text).map(|_| text.to_owned())
}

/// Every command explains the environment and the exit codes, some more.
fn with_help(command: clap::Command) -> clap::Command {
    let own = match command.get_name() {
        "put" => PUT_HELP,
        "rewrap" => keys::REWRAP_HELP,
        "rotate" => keys::ROTATE_HELP,
        "check" => keys::CHECK_HELP,
        "destroy" => keys::DESTROY_HELP,
        "plan" => schema::PLAN_HELP,
        "apply" => schema::APPLY_HELP,
        "verify" => schema::VERIFY_HELP,
        "rollback" => schema::ROLLBACK_HELP,
        _ => "",
    };
    let codes = if command.get_name() == "doctor" { doctor::EXIT_CODES } else { EXIT_CODES };
    let help = format!("{own}{ENVIRONMENT}\n\n{codes}\n\n{ERRORS}");
    command.after_help(help).mut_subcommands(with_help)
}

/// Reads the command line. Ends the process for `--help`, `--version`, and most mistakes.
pub fn parse() -> Result<Cli, Failure> {
    let command = with_help(Cli::command());
    let parsed = command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.or_else(|error| match error.get(ContextKind::InvalidArg) {
        // clap would repeat it, and it may be a secret
        Some(ContextValue::String(text))
            if error.kind() == ErrorKind::UnknownArgument && !text.starts_with('-') =>
        {
            Err(Failure::usage(
                "there is an argument too many; it is not repeated here, since it may be a secret",
                "secrets go to standard input or into a file, never on the command line",
            ))
        }
        _ => error.exit(),
    })
}
