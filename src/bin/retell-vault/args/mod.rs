//! The command line, and its help.

pub mod doctor;
pub mod global;
pub mod keys;
pub mod layout;
pub mod records;
pub mod schema;

use std::env;
use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::args::doctor::DoctorArgs;
use crate::args::global::Global;
use crate::args::keys::{KeyCommand, KeyringCommand, RotateArgs};
use crate::args::layout::LayoutCommand;
use crate::args::records::{
    DeleteArgs, FieldArgs, GetArgs, ListArgs, MOVE_HELP, MoveArgs, OwnerArgs, PUT_HELP, PutArgs, SET_HELP,
    SYNC_HELP, SyncArgs, UNSET_HELP,
};
use crate::args::schema::SchemaCommand;
use crate::failure::Failure;

const ENVIRONMENT: &str = "\
Environment:
  RETELL_VAULT_HOME          the same as --home
  RETELL_VAULT_LAYOUT        the same as --layout
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
  4  the stored record is not the expected one, or other writers kept changing it
  `doctor` has its own: 0 healthy, 1 degraded, 2 critical";
const ERRORS: &str = "Errors go to standard error as `error: …` and `hint: …`, with --json too.";
/// Stores Retell AI credentials encrypted: in the application's Postgres table, or in a local file.
#[derive(Parser)]
#[command(name = "retell-vault", version)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Make the keyring; an existing one is never overwritten
    ///
    /// With --table, --user-column, --tenant-column, --column or --where it also writes them into layout.toml in the home,
    /// where every later command finds them. An existing layout file is kept.
    Init,
    /// Store a configuration, as JSON from a file or standard input
    Put(PutArgs),
    /// Show a configuration, its secrets masked
    Get(GetArgs),
    /// Set one field to the value on standard input; the others stay as they are
    Set(FieldArgs),
    /// Remove one field; the others stay as they are
    Unset(FieldArgs),
    /// Move a configuration to another id of its owner
    Move(MoveArgs),
    /// Delete a configuration
    Delete(DeleteArgs),
    /// List the owners that have a record, deleted ones too, page by page
    List(ListArgs),
    /// Erase what the local file holds of an owner
    ///
    /// Pending records, copies, losers, replaced texts and dead letters. What the database has not got
    /// yet is lost; what it has stays, until `delete`.
    Forget(OwnerArgs),
    /// Show the database and its columns, those that are left alone too, the local file, and the keys
    Status,
    /// Show, check or write the layout: the table, how its rows are found, and which column holds which field
    #[command(subcommand)]
    Layout(LayoutCommand),
    /// Send what waits in the local file to the database; fails if anything stays behind
    Sync(SyncArgs),
    /// Show, check or change the root keys of the keyring, or the secret that opens it
    #[command(subcommand)]
    Key(KeyCommand),
    /// Say that this keyring belongs to a table that holds another one's tokens
    #[command(subcommand)]
    Keyring(KeyringCommand),
    /// Re-encrypt everything that is not under the primary key; fails if anything stays behind
    Rotate(RotateArgs),
    /// Plan, apply, verify or take back what the table lacks; move records to better columns
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Look for what would leak or lose credentials, and say how to mend it; has exit codes of its own
    Doctor(DoctorArgs),
}

/// Every command explains the environment and the exit codes, some more.
fn with_help(parent: &str, command: clap::Command) -> clap::Command {
    let name = command.get_name().to_owned();
    let own = match name.as_str() {
        "put" => PUT_HELP,
        "set" => SET_HELP,
        "unset" => UNSET_HELP,
        "sync" => SYNC_HELP,
        "move" => MOVE_HELP,
        "rewrap" => keys::REWRAP_HELP,
        "rotate" => keys::ROTATE_HELP,
        "destroy" => keys::DESTROY_HELP,
        "init" => layout::INIT_HELP,
        "layout" => layout::LAYOUT_HELP,
        "check" if parent == "layout" => layout::CHECK_HELP,
        "check" => keys::CHECK_HELP,
        "write" => layout::WRITE_HELP,
        "adopt" => keys::ADOPT_HELP,
        "plan" => schema::PLAN_HELP,
        "apply" => schema::APPLY_HELP,
        "verify" => schema::VERIFY_HELP,
        "rollback" => schema::ROLLBACK_HELP,
        _ => "",
    };
    let codes = if name == "doctor" { doctor::EXIT_CODES } else { EXIT_CODES };
    let help = format!("{own}{ENVIRONMENT}\n\n{codes}\n\n{ERRORS}");
    command.after_help(help).mut_subcommands(|command| with_help(&name, command))
}

/// Reads the command line. Ends the process for `--help`, `--version`, and most mistakes.
pub fn parse() -> Result<Cli, Failure> {
    let command = with_help("", Cli::command());
    let parsed = command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let parsed: Cli = parsed.or_else(|error| match error.get(ContextKind::InvalidArg) {
        // clap would repeat it, and it may be a secret
        Some(ContextValue::String(text))
            if error.kind() == ErrorKind::UnknownArgument && !text.starts_with('-') =>
        {
            Err(Failure::usage(
                "unexpected argument; it is not repeated here, since it may be a secret",
                "secrets go to standard input or into a file, never on the command line",
            ))
        }
        Some(ContextValue::String(name)) if error.kind() == ErrorKind::ValueValidation => {
            let reason = error.source().map_or_else(|| "see --help".to_owned(), ToString::to_string);
            Err(Failure::usage(
                format!(
                    "the value for '{name}' is not valid; it is not repeated here, since it may be a secret"
                ),
                reason,
            ))
        }
        _ => error.exit(),
    })?;
    parsed.global.layout.check_none_lost(env::args_os())?;
    Ok(parsed)
}
