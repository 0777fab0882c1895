//! The options of `ledger`, and their help.

use std::path::PathBuf;

use clap::Subcommand;

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

/// The ledger of changes.
#[derive(Subcommand)]
pub enum LedgerCommand {
    /// Begin the ledger: add its key, and an entry for every record; see below
    Begin,
    /// Compare every entry and every record; see below
    Verify {
        /// Copies of the ledger outside of the database: segments and heads of a sink, or exports
        #[arg(long, value_name = "FILE", num_args = 1..)]
        with: Vec<PathBuf>,
    },
}
