//! The options of `key` and `rotate`, and their help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, value_parser};
use retell_vault::rotation::{DestroyOptions, RotateOptions};

pub const REWRAP_HELP: &str = "\
The new secret, exactly one:
  --new-passphrase-file FILE     a file of mode 0600 with the new passphrase
  RETELL_VAULT_NEW_PASSPHRASE    the new passphrase
  RETELL_VAULT_NEW_WRAPPING_KEY  base64 of 32 bytes, for a keyring without a passphrase
  With none of them, a new passphrase is asked for at the terminal, twice.

";
pub const CHECK_HELP: &str = "\
These are wrong: tokens under a key that the keyring does not hold or that was destroyed, tokens left under a
retired key, a pending key that does not seal yet, text that is no token in a column for tokens, and tokens
outside of the layout, which no rotation reaches. The last are looked for in a sample of the rows; --deep
looks at every row. Exit code 1 when anything is wrong.

";
pub const DESTROY_HELP: &str = "\
This cannot be undone. What still names the key is counted first, in the database and in the local file of
this host, and nothing is destroyed while anything does. In columns that the layout does not name a token counts
if it opens for the owner of its row, or if nobody can tell whose it is; all others are listed. The command takes
as long as reading the whole table. Ctrl-C ends it, and nothing is destroyed.
Out of reach: copies and backups of the keyring file, which still hold the key. A backup of the database
from before the rotation opens with nothing but such a copy.

";
pub const ROTATE_HELP: &str = "\
The service may go on meanwhile: versions stay as they are, and whatever it stores wins. The command may be
interrupted (Ctrl-C), killed, and run again: what is done stays done, and the same command goes on from
there. Exit code 1 unless it ends with `complete`.

With several hosts or processes, bring the new key in first: `retell-vault key add`, copy the keyring to all
of them, `retell-vault key promote`, then `retell-vault rotate` on every host, for its local file.

--new-key does all of that for a single host. It makes at most one key for each rotation that is carried
through: if a pending key is there, it promotes the oldest of these; if tokens are left under a retired key,
it goes on with the rotation to the primary key, and makes no new one; it says so. The keys of the keyring are
the only trace that it needs: no file of its own could be lost.

--json prints a line for every batch, {\"event\":\"batch\",…}, and {\"event\":\"done\",…} at the end.

";

pub const ADOPT_HELP: &str = "\
Where the table holds tokens and this keyring has the key of none of those that are looked at, nothing is stored: it is
the wrong keyring, or the wrong database. This command says that the keyring is the right one all the same.
Use it only when the other keyring is lost for good. What is stored under it opens with no other keyring: each of those
records stays unreadable until it is stored again with `put --replace-unreadable`. If the other keyring is in use
somewhere, both go on storing in one table, and neither opens what the other stores.
It is noted in the local file of this home, for this table. Every other host needs the same.

";

/// What this home says about its keyring.
#[derive(Subcommand)]
pub enum KeyringCommand {
    /// Go on with this keyring over a table full of another one's tokens; see below
    Adopt,
}

/// What is done to the keyring.
#[derive(Subcommand)]
pub enum KeyCommand {
    /// List the keys, with the number of tokens under each
    List,
    /// Open every key, count the tokens under each, and say what is wrong
    Check(CheckArgs),
    /// Make a new key; it is pending: it opens, and does not seal yet
    Add,
    /// Make a pending key the primary one, which seals from now on
    Promote(KeyArgs),
    /// Give a pending key up; the primary key is retired by promoting another one
    Retire(KeyArgs),
    /// Destroy a retired key for good, after counting that nothing is sealed under it
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
    /// Look at every row of every column that can hold a token, whatever the layout says, and open what is found
    #[arg(long)]
    pub deep: bool,
}

#[derive(Args)]
pub struct RewrapArgs {
    /// File of mode 0600 with the new passphrase
    #[arg(long, value_name = "FILE")]
    pub new_passphrase_file: Option<PathBuf>,
}

#[derive(Args)]
pub struct DestroyArgs {
    #[command(flatten)]
    pub key: KeyArgs,
    /// Do not wait until the key has been retired for 24 hours: no process runs that has not noticed
    #[arg(long)]
    force: bool,
    /// Every other host has synchronised and rotated, so that no local file elsewhere names the key
    #[arg(long)]
    other_hosts_synced: bool,
    /// No token names the key in any other table that this home was used with
    #[arg(long)]
    other_tables_counted: bool,
    /// Nothing in this column outside of the layout is needed; it need not be readable, and is reported. Repeatable
    #[arg(long, value_name = "TABLE.COLUMN")]
    not_evidence: Vec<String>,
}

impl DestroyArgs {
    /// What is taken for granted.
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
    /// Make and promote a new key first, for a single host; see below
    #[arg(long, conflicts_with = "dry_run")]
    pub new_key: bool,
    /// Count what there is to do and about how long it takes, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Rows to a statement, 1 to 100000 [default: 100]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=i64::from(RotateOptions::MAX_BATCH)))]
    batch: Option<u32>,
    /// Parts of the table that are worked on at once, 1 to 64 [default: 1]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=i64::from(RotateOptions::MAX_JOBS)))]
    jobs: Option<u32>,
    /// At most so many rows a second
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Pause while reading one row takes longer than this
    #[arg(long, value_name = "MS", value_parser = value_parser!(u64).range(1..))]
    max_latency: Option<u64>,
    /// Pause while a replica is further behind than this; needs pg_monitor
    #[arg(long, value_name = "MIB", value_parser = value_parser!(u64).range(1..=1 << 40))]
    max_replica_lag: Option<u64>,
    /// Write what cannot be opened to this file, a line of JSON each
    ///
    /// owner, place, kind and reason; no secrets. The file gets mode 0600. A report of an earlier run is
    /// replaced; any other file is refused before anything is done.
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
