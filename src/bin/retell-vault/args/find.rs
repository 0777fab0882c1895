//! The options of `find` and `index`, and their help.

use clap::{Args, Subcommand, value_parser};
use retell_vault::config::{AgentId, PhoneNumber};
use retell_vault::rotation::{IndexOptions, RotateOptions};

pub const FIND_HELP: &str = "\
Every record that is found is opened and compared. If the index cannot answer, the command reads every record, and says so.
Exit code 3 if no owner was found.

";
pub const BUILD_HELP: &str = "\
Name the column of the index in the layout (`index` in `[columns]`, or --column index=retell_vault_index), and create it with
`schema apply`, first. A keyring without a key for the index gets one: upgrade every process before that, since older ones do not
open such a keyring, and back the keyring up afterwards. The service can keep running. You can interrupt (Ctrl-C) or kill the
command. Run it again to continue. Exit code 1 unless the index covers every record.

";
pub const ROTATE_INDEX_HELP: &str = "\
The command adds a key, and gives every record the entries of both keys, so that owners are found by either. If the keyring is a
file, copy it to every other host then, and run the command again with --other-hosts-synced: it removes the old key and its
entries. On a single host, or with a keyring in the database, one run does all. You can interrupt (Ctrl-C) or kill the command.
Run it again to continue. Back the keyring up afterwards.

";

/// By what owners are found.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct FindArgs {
    /// The owners that have this agent, in any role
    #[arg(long, value_name = "ID")]
    pub agent: Option<AgentId>,
    /// The owners that have this phone number, in E.164 form: +14155550100
    #[arg(long, value_name = "NUMBER")]
    pub phone: Option<PhoneNumber>,
}

/// The index by which owners are found.
#[derive(Subcommand)]
pub enum IndexCommand {
    /// Write the index entries of every record that lacks them; see below
    Build(IndexArgs),
    /// Replace the key of the index; see below
    Rotate(RotateIndexArgs),
}

#[derive(Args)]
pub struct IndexArgs {
    /// Rows per statement, 1 to 100000 [default: 100]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=i64::from(RotateOptions::MAX_BATCH)))]
    batch: Option<u32>,
    /// Maximum number of written rows per second
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

#[derive(Args)]
pub struct RotateIndexArgs {
    #[command(flatten)]
    pub pace: IndexArgs,
    /// State that every other host has the keyring with the new key, so that the old one can be removed
    #[arg(long)]
    other_hosts_synced: bool,
}

impl RotateIndexArgs {
    /// How to replace it.
    pub fn options(&self) -> IndexOptions {
        match self.other_hosts_synced {
            true => self.pace.options().other_hosts_synced(),
            false => self.pace.options(),
        }
    }
}

impl IndexArgs {
    /// How to write them.
    pub fn options(&self) -> IndexOptions {
        let options = self.batch.map_or_else(IndexOptions::new, |rows| IndexOptions::new().batch(rows));
        self.rate.map_or(options.clone(), |rows| options.rate(rows))
    }
}
