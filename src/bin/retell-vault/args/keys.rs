//! The options of `key` and `rotate`, and their help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, value_parser};
use retell_vault::rotation::{DestroyOptions, RotateOptions};

pub const REWRAP_HELP: &str = "\
The new secret, exactly one:
  --new-passphrase-file FILE     a file of mode 0600 with the new passphrase
  RETELL_VAULT_NEW_PASSPHRASE    the new passphrase
  RETELL_VAULT_NEW_WRAPPING_KEY  base64 of 32 bytes, for a keyring without a passphrase
  If none is set, the command asks for a new passphrase at the terminal, twice.

";
pub const CHECK_HELP: &str = "\
Reports tokens under a key that the keyring does not hold or that was destroyed, tokens left under a retired
key, a pending key that does not seal yet, text that is not a token in a column for tokens, and tokens outside
of the layout, which no rotation reaches. For tokens outside of the layout it searches a sample of the rows; --deep
searches every row. Exit code 1 if it reports a problem.

";
pub const DESTROY_HELP: &str = "\
This cannot be undone. The command first counts the tokens that name the key, in the database and in the local
file of this host. If it finds any, it does not destroy the key. In a column that the layout does not name, a
token counts if it opens for the owner of its row, or if its owner is unknown; other tokens are only listed. The
command takes as long as reading the whole table. If you stop it with Ctrl-C, nothing is destroyed.
Copies and backups of the keyring file still hold the key. You need such a copy to open a database backup from
before the rotation.

";
pub const ROTATE_HELP: &str = "\
The service can keep running: versions do not change, and its writes win. You can interrupt (Ctrl-C) or kill the
command. Run the same command again to continue; finished work is kept. Exit code 1 unless it ends with
`complete`.

With several hosts, add the new key first: run `retell-vault key add`, copy the keyring to every host, and run
`retell-vault key promote`. Then run `retell-vault rotate` on every host, for its local file.

--new-key does all of that on a single host. It creates at most one key for each completed rotation. If there is
a pending key, it promotes the oldest one. If tokens are left under a retired key, it continues the rotation to
the primary key instead of creating a key. It reports which of these it does. It keeps no state outside of the
keyring.

--json prints a line for every batch, {\"event\":\"batch\",…}, and {\"event\":\"done\",…} at the end.

";

pub const ADOPT_HELP: &str = "\
If a table holds tokens, and this keyring holds none of the keys that the checked tokens name, the vault stores
nothing in it: either the keyring or the database is the wrong one. This command declares that the keyring is right for this table.
Use it only if the other keyring is lost for good. Records stored under the other keyring stay unreadable until you
store each of them again with `put --replace-unreadable`. If the other keyring is still in use on another host, both
keep storing in one table, and neither opens the records of the other.
The local file of this home stores the decision, for this table. Run the command on every other host too.

";

pub const PUSH_HELP: &str = "\
Moves the keyring of this home into the database, where every host finds it. Afterwards this home uses it there, and
keyring.json is a backup: move it to a safe place.

";
pub const RESTORE_HELP: &str = "\
After a restore of the database its keyring may be an older one, or missing. Nothing is sealed until the newest is back.
This command puts back the copy in the local file of this home, which holds the last generation that a command or a
process of this home has loaded. Run it on the host with the newest copy.

";
pub const REPAIR_HELP: &str = "\
Removes the rows above the newest generation that opens with your secret and belongs to the keyring of this home, or of
RETELL_VAULT_KEYRING. Such rows stop sealing. They were planted; or the keyring was rewrapped: then use the new secret
instead.

";

/// Where `init` creates the keyring.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Store {
    /// As keyring.json in the home
    File,
    /// In the table retell_vault.keyring of the database
    Table,
    /// On standard output, for a secret store; no file holds it
    Print,
}

#[derive(Args)]
pub struct InitArgs {
    /// Where to keep the keyring
    #[arg(long, value_name = "STORE", default_value = "file")]
    pub store: Store,
    #[command(flatten)]
    pub roles: RoleArgs,
}

#[derive(Args)]
pub struct RoleArgs {
    /// Role of the application: it may read a keyring in the database, and note what it has loaded. May be repeated
    #[arg(long = "service-role", value_name = "ROLE")]
    pub service_roles: Vec<String>,
}

#[derive(Args)]
pub struct PullArgs {
    /// The new file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// The keyring as a whole: where it lies, and which one it is.
#[derive(Subcommand)]
pub enum KeyringCommand {
    /// Show where the keyring lies, its pin, and the generation that each running host has loaded
    Show,
    /// Move the keyring of this home into the database; see below
    Push(RoleArgs),
    /// Write the sealed keyring of the database to a new file, as a backup
    Pull(PullArgs),
    /// Put the newest keyring back into a database that was restored; see below
    Restore,
    /// Remove rows that others planted in the table of the keyring; see below
    Repair,
    /// Use this keyring with a table that holds another keyring's tokens; see below
    Adopt,
}

/// Changes to the keyring.
#[derive(Subcommand)]
pub enum KeyCommand {
    /// List the keys, with the number of tokens under each
    List,
    /// Open every key, count the tokens under each, and report problems
    Check(CheckArgs),
    /// Create a new, pending key: it opens, but does not seal yet
    Add,
    /// Make a pending key the primary key, which seals from now on
    Promote(KeyArgs),
    /// Abandon a pending key; to retire the primary key, promote another key
    Retire(KeyArgs),
    /// Destroy a retired key for good, after checking that no token is sealed under it
    Destroy(DestroyArgs),
    /// Seal the keyring file under a new passphrase or wrapping key
    Rewrap(RewrapArgs),
}

/// Which key.
#[derive(Args)]
pub struct KeyArgs {
    /// Id of the key, or enough of its first digits
    #[arg(value_name = "ID")]
    pub id: String,
}

#[derive(Args)]
pub struct CheckArgs {
    /// Search every row of every column that can hold a token, whatever the layout says, and open the tokens found
    #[arg(long)]
    pub deep: bool,
}

#[derive(Args)]
pub struct RewrapArgs {
    /// File with the new passphrase; must have mode 0600
    #[arg(long, value_name = "FILE")]
    pub new_passphrase_file: Option<PathBuf>,
}

#[derive(Args)]
pub struct DestroyArgs {
    #[command(flatten)]
    pub key: KeyArgs,
    /// Do not wait for 24 hours after the key was retired; states that no process still seals under it
    #[arg(long)]
    force: bool,
    /// State that every other host has run `sync` and `rotate`, so that no local file elsewhere names the key
    #[arg(long)]
    other_hosts_synced: bool,
    /// State that no token names the key in any other table that this home was used with
    #[arg(long)]
    other_tables_counted: bool,
    /// State that nothing in this column, which is outside of the layout, is needed; its tokens are still listed. May be repeated
    #[arg(long, value_name = "TABLE.COLUMN")]
    not_evidence: Vec<String>,
}

impl DestroyArgs {
    /// The statements that the options make.
    pub fn options(&self) -> DestroyOptions {
        let mut options = DestroyOptions::new();
        if self.force {
            options = options.force();
        }
        if self.other_hosts_synced {
            options = options.other_hosts_synced();
        }
        if self.other_tables_counted {
            options = options.other_tables_counted();
        }
        self.not_evidence.iter().fold(options, |options, column| options.not_evidence(column))
    }
}

#[derive(Args)]
pub struct RotateArgs {
    /// Create and promote a new key first, on a single host; see below
    #[arg(long, conflicts_with = "dry_run")]
    pub new_key: bool,
    /// Count the rows to re-encrypt and estimate the time; writes nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Rows per statement, 1 to 100000 [default: 100]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=i64::from(RotateOptions::MAX_BATCH)))]
    batch: Option<u32>,
    /// Parts of the table processed in parallel, 1 to 64 [default: 1]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=i64::from(RotateOptions::MAX_JOBS)))]
    jobs: Option<u32>,
    /// Maximum number of rows per second
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Pause while reading one row takes longer than this
    #[arg(long, value_name = "MS", value_parser = value_parser!(u64).range(1..))]
    max_latency: Option<u64>,
    /// Pause while a replica lags by more than this; needs pg_monitor
    #[arg(long, value_name = "MIB", value_parser = value_parser!(u64).range(1..=1 << 40))]
    max_replica_lag: Option<u64>,
    /// Write a line of JSON to this file for everything that cannot be opened
    ///
    /// The members are owner, place, kind and reason; no secrets. The file gets mode 0600. It may replace a report of
    /// an earlier run. If it is any other file, the command fails before it changes anything.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub report: Option<PathBuf>,
}

impl RotateArgs {
    /// How to rotate.
    pub fn options(&self) -> RotateOptions {
        let mut options = RotateOptions::new();
        if self.new_key {
            options = options.new_key();
        }
        if let Some(rows) = self.batch {
            options = options.batch(rows);
        }
        if let Some(jobs) = self.jobs {
            options = options.jobs(jobs);
        }
        if let Some(rows) = self.rate {
            options = options.rate(rows);
        }
        if let Some(millis) = self.max_latency {
            options = options.max_latency(Duration::from_millis(millis));
        }
        if let Some(mib) = self.max_replica_lag {
            options = options.max_replica_lag(mib * 1024 * 1024);
        }
        options
    }
}
