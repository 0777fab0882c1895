//! The options that every command has, and how ids and names on the command line are checked.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use retell_vault::Owner;
use retell_vault::connection::PoolerMode;
use retell_vault::records::{Expected, TenantId, UserId};

use crate::args::layout::LayoutArgs;
use crate::failure::Failure;

const DEFAULT_HOME: &str = ".retell-vault";

#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Folder of keyring.json, local.db and layout.toml [default: .retell-vault]
    #[arg(long, global = true, value_name = "DIR", env = "RETELL_VAULT_HOME", hide_env_values = true)]
    home: Option<OsString>,
    /// Postgres database, as postgres://USER:PASSWORD@HOST/DATABASE; without it, only the local file is used
    #[arg(long, global = true, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Keyring file that others write, such as a mounted Secret; read only [default: keyring.json in the home, or the database]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "RETELL_VAULT_KEYRING_FILE",
        hide_env_values = true
    )]
    keyring_file: Option<PathBuf>,
    #[command(flatten)]
    pub layout: LayoutArgs,
    /// Whether a transaction pooler (PgBouncer, Supavisor) is in front of Postgres
    #[arg(long, global = true, value_name = "MODE", default_value = "auto")]
    pub pooler: Pooler,
    /// File with the passphrase of the keyring; must have mode 0600
    #[arg(long, global = true, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Who runs the command, for the ledger [default: the name of the user of the operating system]
    #[arg(long, global = true, value_name = "NAME", env = "RETELL_VAULT_ACTOR", hide_env_values = true)]
    actor: Option<String>,
    /// Why, for the ledger; must hold no secret
    #[arg(long, global = true, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Print the result as one line of JSON
    #[arg(long, global = true)]
    pub json: bool,
}

impl Global {
    fn home(&self) -> &Path {
        let given = self.home.as_deref().filter(|home| !home.is_empty());
        given.map_or(Path::new(DEFAULT_HOME), Path::new)
    }

    /// The path of the keyring.
    pub fn keyring(&self) -> PathBuf {
        self.home().join("keyring.json")
    }

    /// The keyring file that others write, if one is named.
    pub fn read_only_keyring(&self) -> Option<&Path> {
        self.keyring_file.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    /// The note that the keyring of this home lies in the database.
    pub fn keyring_note(&self) -> PathBuf {
        self.home().join("keyring-note.json")
    }

    /// The path of the local file.
    pub fn local_file(&self) -> PathBuf {
        self.home().join("local.db")
    }

    /// The layout file: the named one, or that of the home, which may not exist.
    pub fn layout_file(&self) -> PathBuf {
        self.layout.named_file().map_or_else(|| self.layout_of_home(), Path::to_owned)
    }

    /// The layout file of the home, which may not exist.
    pub fn layout_of_home(&self) -> PathBuf {
        self.home().join("layout.toml")
    }

    /// Who runs the command. Empty if nobody says so.
    pub fn actor(&self) -> String {
        let given = self.actor.clone().filter(|actor| !actor.is_empty());
        given.or_else(user_name).unwrap_or_default()
    }

    /// The database, if one is named. An empty variable names none.
    pub fn database_url(&self) -> Option<&str> {
        self.database_url.as_deref().filter(|url| !url.is_empty())
    }
}

/// The name of the user, as the shell says it.
fn user_name() -> Option<String> {
    let mut named = ["LOGNAME", "USER", "USERNAME"].into_iter().filter_map(|name| env::var(name).ok());
    named.find(|name| !name.is_empty())
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Pooler {
    /// Detect it by its port or its answers
    Auto,
    /// A pooler is in front of Postgres
    Transaction,
    /// No pooler
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

pub fn owner(user: &str, tenant: Option<&str>) -> Result<Owner, Failure> {
    let owner = Owner::user(user)?;
    Ok(match tenant {
        Some(tenant) => owner.in_tenant(tenant)?,
        None => owner,
    })
}

/// Checks the id here, so that an invalid one is a usage error. Returns it as it was given.
pub fn user(text: &str) -> retell_vault::Result<String> {
    text.parse::<UserId>().map(|_| text.to_owned())
}

pub fn tenant(text: &str) -> retell_vault::Result<String> {
    text.parse::<TenantId>().map(|_| text.to_owned())
}

pub fn expected(text: &str) -> Result<Expected, &'static str> {
    match (text, text.parse()) {
        ("absent", _) => Ok(Expected::Absent),
        (_, Ok(version)) => Ok(Expected::Version(version)),
        (_, Err(_)) => Err("must be `absent`, or a version of 16 hex digits as printed by `get`"),
    }
}
