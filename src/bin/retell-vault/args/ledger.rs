//! The options of `ledger`, and their help.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand, value_parser};
use retell_vault::ledger::{LedgerExportOptions, LedgerFilter};
use retell_vault::records::{TenantId, UserId};

use crate::args::time::time;

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

pub const LIST_HELP: &str = "\
A TIME is a date (2026-01-31, at 00:00 UTC), a time (2026-01-31T23:59:59Z or with +01:00), or how long ago it was (90s, 30m, 12h,
7d, 4w). Times are those of the hosts that wrote the entries. An entry that no key of this keyring made is listed as not authentic.
The role must be allowed to read the ledger.

";
pub const EXPORT_HELP: &str = "\
Prints a line of JSON for every entry, of all tables, by writer and number, as docs/FORMAT.md defines it. The service can keep
running. A TIME is as for `ledger list`. With --since, every writer that wrote an entry since then is exported with all its entries,
because a chain is checked from its first entry. An export is whole only if the exit code is 0. The program
examples/verify-ledger.mjs checks it without any secret. The role must be allowed to read the ledger.

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
    /// List entries, the newest first; see below
    List(LedgerListArgs),
    /// Print every entry as a line of JSON; see below
    Export(LedgerExportArgs),
}

#[derive(Args)]
pub struct LedgerListArgs {
    /// Only entries about this user, in any tenant unless --tenant names one
    #[arg(long, value_name = "ID")]
    user: Option<UserId>,
    /// Only entries about users of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// Only entries of this actor
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// Only entries of this operation, such as store, modify or delete
    #[arg(long, value_name = "OPERATION")]
    operation: Option<String>,
    /// Only entries from this time on
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<SystemTime>,
    /// Only entries before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<SystemTime>,
    /// Maximum number of entries, 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=i64::from(LedgerFilter::MAX_LIMIT)))]
    pub limit: u32,
    /// List also entries of other tables and other kinds of credentials
    #[arg(long)]
    pub all_places: bool,
}

impl LedgerListArgs {
    /// Which entries to list.
    pub fn filter(&self) -> LedgerFilter {
        let mut filter = LedgerFilter::new().limit(self.limit);
        if let Some(user) = &self.user {
            filter = filter.user(user);
        }
        if let Some(tenant) = &self.tenant {
            filter = filter.tenant(tenant);
        }
        if let Some(actor) = &self.actor {
            filter = filter.actor(actor);
        }
        if let Some(operation) = &self.operation {
            filter = filter.operation(operation);
        }
        if let Some(since) = self.since {
            filter = filter.since(since);
        }
        if let Some(until) = self.until {
            filter = filter.until(until);
        }
        if self.all_places { filter.all_places() } else { filter }
    }
}

#[derive(Args)]
pub struct LedgerExportArgs {
    /// Only writers that wrote an entry from this time on
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<SystemTime>,
    /// A new file for the lines, which only you can read; an existing file is never overwritten [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

impl LedgerExportArgs {
    /// What to export.
    pub fn options(&self) -> LedgerExportOptions {
        self.since.map_or_else(LedgerExportOptions::new, |since| LedgerExportOptions::new().since(since))
    }
}
