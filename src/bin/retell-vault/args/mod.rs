//! The command line, and its help.

pub mod doctor;
pub mod find;
pub mod global;
pub mod import;
pub mod keys;
pub mod layout;
pub mod ledger;
pub mod ledger_entries;
pub mod records;
pub mod schema;
pub mod time;
pub mod webhook;

use std::env;
use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::args::doctor::DoctorArgs;
use crate::args::find::{FindArgs, IndexCommand};
use crate::args::global::Global;
use crate::args::import::ImportCommand;
use crate::args::keys::{InitArgs, KeyCommand, KeyringCommand, RotateArgs};
use crate::args::layout::LayoutCommand;
use crate::args::ledger::LedgerCommand;
use crate::args::records::{
    DeleteArgs, FieldArgs, GetArgs, ListArgs, MOVE_HELP, MoveArgs, OwnerArgs, PUT_HELP, PutArgs, SET_HELP,
    SYNC_HELP, SyncArgs, UNSET_HELP,
};
use crate::args::schema::SchemaCommand;
use crate::args::webhook::WebhookCommand;
use crate::failure::Failure;

const ENVIRONMENT: &str = "\
Environment:
  RETELL_VAULT_HOME          the same as --home
  RETELL_VAULT_LAYOUT        the same as --layout
  RETELL_VAULT_ACTOR         the same as --actor
  DATABASE_URL               the same as --database-url, but not visible in the process list
  RETELL_VAULT_KEYRING       the pin of the keyring, as `key` commands print it; names a keyring in the database
  RETELL_VAULT_KEYRING_FILE  the same as --keyring-file
  RETELL_VAULT_KEYRING_TEXT  the sealed keyring itself, as `init --store print` prints it; read only, in place of --keyring-file
  RETELL_VAULT_PASSPHRASE    the passphrase of the keyring
  RETELL_VAULT_WRAPPING_KEY  base64 of 32 bytes, for a keyring without a passphrase
  If neither of the last two is set, and no --passphrase-file is given, the command asks for the passphrase at the terminal.";
const EXIT_CODES: &str = "\
Exit codes:
  0  done; also if the record was stored only in the local file, with a warning
  1  failed
  2  wrong usage
  3  nothing is stored for this owner, or no owner has the value (`find`)
  4  the stored record is not the expected one, or other writers kept changing it
  `doctor` has its own: 0 healthy, 1 degraded, 2 critical";
const ERRORS: &str = "Errors go to standard error as `error: …` and `hint: …`, with --json too.";
/// Stores Retell AI credentials encrypted, in the application's Postgres table or in a local file.
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
    /// Create the keyring; an existing one is never overwritten
    ///
    /// It also writes --table, --user-column, --tenant-column, --column and --where into layout.toml in the home, for
    /// every later command. An existing layout file is kept.
    Init(InitArgs),
    /// Store a configuration, as JSON from a file or standard input
    Put(PutArgs),
    /// Show a configuration, with its secrets masked
    Get(GetArgs),
    /// Set one field to the value on standard input; the others stay as they are
    Set(FieldArgs),
    /// Remove one field; the others stay as they are
    Unset(FieldArgs),
    /// Move a configuration to another id of its owner
    Move(MoveArgs),
    /// Delete a configuration
    Delete(DeleteArgs),
    /// List the owners that have a record, including those whose record was deleted, page by page
    List(ListArgs),
    /// Find the owners of an agent or a phone number
    Find(FindArgs),
    /// Build the index by which owners are found, or replace its key
    #[command(subcommand)]
    Index(IndexCommand),
    /// Erase everything about an owner from the local file
    ///
    /// Erases pending records, copies, losers, replaced texts and dead letters. A pending record that is not in the
    /// database yet is lost. The record in the database stays; use `delete` to remove it.
    Forget(OwnerArgs),
    /// Show the database and its columns, including those that the vault leaves alone, the local file, and the keys
    Status,
    /// Show, check or write the layout: the table, how its rows are found, and which column holds which field
    #[command(subcommand)]
    Layout(LayoutCommand),
    /// Push pending records from the local file to the database; fails if any stay behind
    Sync(SyncArgs),
    /// Show, check or change the root keys of the keyring, or the secret that opens it
    #[command(subcommand)]
    Key(KeyCommand),
    /// Show, move, restore or repair the keyring as a whole, or declare that it belongs to a table
    #[command(subcommand)]
    Keyring(KeyringCommand),
    /// Re-encrypt everything that is not under the primary key; fails if anything stays behind
    Rotate(RotateArgs),
    /// Begin, verify, sign, list or export the ledger of changes
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Verify a webhook call of Retell
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Import what an application stored before
    #[command(subcommand)]
    Import(ImportCommand),
    /// Plan, apply, verify or roll back schema changes; move records to better columns
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Find problems that would leak or lose credentials, and show how to fix them; has its own exit codes
    Doctor(DoctorArgs),
}

/// The help of every command lists the environment and the exit codes.
fn with_help(parent: &str, command: clap::Command) -> clap::Command {
    let name = command.get_name().to_owned();
    let own = match name.as_str() {
        "put" => PUT_HELP,
        "set" => SET_HELP,
        "unset" => UNSET_HELP,
        "sync" => SYNC_HELP,
        "move" => MOVE_HELP,
        "rewrap" => keys::REWRAP_HELP,
        "rotate" if parent == "index" => find::ROTATE_INDEX_HELP,
        "rotate" => keys::ROTATE_HELP,
        "find" => find::FIND_HELP,
        "build" => find::BUILD_HELP,
        "destroy" => keys::DESTROY_HELP,
        "init" => layout::INIT_HELP,
        "layout" => layout::LAYOUT_HELP,
        "check" if parent == "layout" => layout::CHECK_HELP,
        "check" => keys::CHECK_HELP,
        "write" => layout::WRITE_HELP,
        "detect" => layout::DETECT_HELP,
        "scan" => import::SCAN_HELP,
        "run" => import::RUN_HELP,
        "adopt" => keys::ADOPT_HELP,
        "push" => keys::PUSH_HELP,
        "restore" => keys::RESTORE_HELP,
        "repair" => keys::REPAIR_HELP,
        "plan" => schema::PLAN_HELP,
        "apply" => schema::APPLY_HELP,
        "verify" if parent == "webhook" => webhook::VERIFY_HELP,
        "verify" if parent == "ledger" => ledger::VERIFY_HELP,
        "begin" => ledger::BEGIN_HELP,
        "accept" => ledger::ACCEPT_HELP,
        "prune" => ledger::PRUNE_HELP,
        "list" if parent == "ledger" => ledger_entries::LIST_HELP,
        "export" => ledger_entries::EXPORT_HELP,
        "checkpoint" => ledger::CHECKPOINT_HELP,
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
        // clap would print it, and it may be a secret
        Some(ContextValue::String(text))
            if error.kind() == ErrorKind::UnknownArgument && !text.starts_with('-') =>
        {
            Err(Failure::usage(
                "unexpected argument; it may be a secret and is not printed",
                "pass secrets on standard input or in a file, never on the command line",
            ))
        }
        Some(ContextValue::String(name)) if error.kind() == ErrorKind::ValueValidation => {
            let reason = error.source().map_or_else(|| "see --help".to_owned(), ToString::to_string);
            Err(Failure::usage(
                format!("the value for '{name}' is not valid; it may be a secret and is not printed"),
                reason,
            ))
        }
        _ => error.exit(),
    })?;
    parsed.global.layout.check_none_lost(env::args_os())?;
    Ok(parsed)
}
