//! The options of `ledger`, and their help.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::ledger_entries::{LedgerExportArgs, LedgerListArgs};

pub const BEGIN_HELP: &str = "\
Create the table first, with `schema apply --vault-schema`. The command adds a key for the ledger to the keyring, and then an
entry for every record. From then on each change of a record is noted in the same statement, and nothing is written without an
entry: a store fails, or goes to the local file, while the table is missing. Upgrade every process before that, since older ones
do not open such a keyring, and back the keyring up afterwards. If the keyring is a file, copy it to every other host, then run
the command again. The role must be allowed to read the table. The service can keep running.

";
pub const VERIFY_HELP: &str = "\
Reads every entry and every record in one snapshot. The service can keep running. Exit code 1 if entries are missing or altered,
or a record is not the one that the ledger names. The database alone cannot show that all of it went back to an earlier state:
that takes copies outside of it. Those in the local file of this host are always used.

";

pub const ACCEPT_HELP: &str = "\
Look at what `ledger verify` finds first, with the same copies: this command makes it the new truth. Records that went back or
appeared are stored again as they are, owners whose record is gone count as deleted, and missing, altered or replaced entries are
no alarm any more. `--reason` says what happened, and is noted. Restore first what should come back. The service can keep running.

";
pub const CHECKPOINT_HELP: &str = "\
Run it where the ledger may be read, and where the application cannot: on a schedule, for example each hour. It refuses to sign if
an entry is missing or altered, or if the ledger went back behind an earlier checkpoint or a head in the folder. A later `ledger
verify --with FOLDER` compares the ledger with every checkpoint.

";

/// The ledger of changes.
#[derive(Subcommand)]
pub enum LedgerCommand {
    /// Begin the ledger: add its key, and an entry for every record; see below
    Begin,
    /// Compare every entry and every record; see below
    Verify {
        /// Copies of the ledger outside of the database: the folder of a sink, files of it, or exports
        #[arg(long, value_name = "PATH", num_args = 1..)]
        with: Vec<PathBuf>,
        /// The key that verifies checkpoints among these, as `ledger signing-key show` prints it
        #[arg(long, value_name = "KEY")]
        verifying_key: Option<String>,
        /// Fail on removed rows too, although a note or a deletion explains them
        #[arg(long)]
        strict: bool,
    },
    /// Accept what `ledger verify` finds as the new truth; see below
    Accept {
        /// As of `ledger verify`
        #[arg(long, value_name = "PATH", num_args = 1..)]
        with: Vec<PathBuf>,
        /// As of `ledger verify`
        #[arg(long, value_name = "KEY")]
        verifying_key: Option<String>,
    },
    /// Verify the ledger, and sign how far it goes; see below
    Checkpoint(CheckpointArgs),
    /// List entries, the newest first; see below
    List(LedgerListArgs),
    /// Print every entry as a line of JSON; see below
    Export(LedgerExportArgs),
    /// The key that signs checkpoints
    #[command(subcommand)]
    SigningKey(SigningKeyCommand),
}

/// Where a checkpoint goes, and who signs it.
#[derive(Args)]
pub struct CheckpointArgs {
    /// The file of the key: `ledger signing-key init` creates one
    #[arg(long, value_name = "FILE")]
    pub signing_key: PathBuf,
    /// The folder of the sink, with every earlier checkpoint
    #[arg(long, value_name = "FOLDER")]
    pub to: PathBuf,
}

/// The key that signs checkpoints.
#[derive(Subcommand)]
pub enum SigningKeyCommand {
    /// Create a key in a new file, and print the text that verifies its signatures
    Init {
        /// The new file, which the application must not be able to read
        file: PathBuf,
    },
    /// Print the text that verifies the signatures of a key
    Show {
        /// The file of the key
        file: PathBuf,
    },
}
