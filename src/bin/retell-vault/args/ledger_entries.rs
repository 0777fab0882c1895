//! The options of `ledger list` and `ledger export`, and their help.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, value_parser};
use retell_vault::ledger::{LedgerExportOptions, LedgerFilter};
use retell_vault::records::{TenantId, UserId};

use crate::args::time::time;

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
    /// Only entries of this operation, such as store, delete or read
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
