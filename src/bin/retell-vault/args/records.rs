//! The options of `put`, `get`, `set`, `unset`, `move`, `delete`, `list`, `forget` and `sync`, and their help.

use std::path::PathBuf;

use clap::{Args, value_parser};
use retell_vault::Owner;
use retell_vault::records::StoreOptions;
use retell_vault::records::{Expected, ListPosition};
use retell_vault::sync::Fallback;

use crate::args::global::{Global, expected, owner, tenant, user};
use crate::failure::Failure;

pub const PUT_HELP: &str = r#"The configuration. Every member may be left out, but one secret must be set:
  {"api_key": "key_…", "call_agent_id": "agent_…", "sms_agent_id": "agent_…",
   "agents": {"inbound": "agent_…"},
   "webhook_key": "key_…",
   "phone_number": "+14155550100",
   "webhook_config": {"webhook_url": "https://…", "events": ["call_ended"]},
   "integration_status": "not_configured" | "configured" | "active" | "error" | "disabled"}
`agents.inbound` may be written as `inbound_agent_id`. `webhook_key` is the API key that has the webhook badge, if
it is another one; older input may call it `webhook_config.secret` or `webhook_secret`.
The configuration replaces the whole stored one; `set` and `unset` change one field. At most 256 KiB.

--expect compares with what is in the database: what waits in the local file of this host is sent there first. A record
that waits on another host may still win later, if it is newer.

"#;
pub const SET_HELP: &str = r#"Fields: api_key, call_agent_id, sms_agent_id, <role>_agent_id, webhook_key, phone_number, webhook_config,
integration_status. The value is one line of plain text; that of webhook_config is JSON:
  {"webhook_url": "https://…", "events": ["call_ended"]}
The other fields stay as they are, also when another program changes them at the same time.
Nothing goes to the local file instead: in an outage the command fails.

"#;
pub const MOVE_HELP: &str = r#"For owners whose id has changed, with the application's UPDATE or another provider of logins. The record is sealed anew for the
new id, and a tombstone stays in the row of the old one. If the application has changed the id in the row already, the
record is found there. A new row is made only where the layout lets the vault make rows.
Nothing goes to the local file instead: in an outage the command fails.

"#;
pub const SYNC_HELP: &str = r#"A record becomes a dead letter when a constraint refuses it, or anything else has refused it five times over a day; when its
row is gone or was made anew; when its owner was deleted meanwhile; or when it waited for too long.
--retry-dead-letters tries them once more. A local file that was restored from a backup may hold what was deleted since:
look at `retell-vault status` before you name a user, and `forget` what is not wanted.

"#;
pub const UNSET_HELP: &str = r#"Fields: api_key, call_agent_id, sms_agent_id, <role>_agent_id, webhook_key, phone_number, webhook_config,
integration_status. One secret must stay; to remove everything, use `delete`.
Nothing goes to the local file instead: in an outage the command fails.

"#;

/// Whose configuration.
#[derive(Args)]
pub struct OwnerArgs {
    /// Whose configuration
    #[arg(long, value_name = "ID", value_parser = user)]
    user: String,
    /// The tenant of the user
    #[arg(long, value_name = "ID", value_parser = tenant)]
    tenant: Option<String>,
}

impl OwnerArgs {
    pub fn owner(&self) -> Result<Owner, Failure> {
        owner(&self.user, self.tenant.as_deref())
    }
}

#[derive(Args)]
pub struct PutArgs {
    #[command(flatten)]
    pub owner: OwnerArgs,
    /// File with the configuration; standard input without it, or when it is -
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Fail when the database cannot take it, instead of keeping it in the local file
    #[arg(long)]
    require_database: bool,
    /// Replace a stored record that cannot be opened; its old text is kept in the local file
    #[arg(long)]
    replace_unreadable: bool,
    /// Overwrite text in the vault's columns that the vault did not write, for good
    #[arg(long)]
    replace_foreign: bool,
    /// Store only if the record has this version, or, with `absent`, if there is none or it was deleted
    #[arg(long, value_name = "VERSION|absent", value_parser = expected)]
    expect: Option<Expected>,
}

impl PutArgs {
    /// What may be overwritten.
    pub fn options(&self) -> StoreOptions {
        let mut options = StoreOptions::new();
        if self.replace_unreadable {
            options = options.replace_unreadable();
        }
        if self.replace_foreign {
            options = options.replace_foreign();
        }
        if let Some(expected) = self.expect {
            options = options.expect(expected);
        }
        options
    }

    pub fn fallback(&self, global: &Global) -> Result<Fallback, Failure> {
        fallback(self.require_database, global)
    }
}

#[derive(Args)]
pub struct MoveArgs {
    /// Whose record it is now
    #[arg(long, value_name = "ID", value_parser = user)]
    from: String,
    /// Whose it is to be; there must be no record
    #[arg(long, value_name = "ID", value_parser = user)]
    to: String,
    /// The tenant of --from
    #[arg(long, value_name = "ID", value_parser = tenant)]
    from_tenant: Option<String>,
    /// The tenant of --to
    #[arg(long, value_name = "ID", value_parser = tenant)]
    to_tenant: Option<String>,
}

impl MoveArgs {
    /// The owner before and the owner after.
    pub fn owners(&self) -> Result<(Owner, Owner), Failure> {
        Ok((owner(&self.from, self.from_tenant.as_deref())?, owner(&self.to, self.to_tenant.as_deref())?))
    }
}

#[derive(Args)]
pub struct SyncArgs {
    /// First make the dead letters pending again; what each was based on must still hold
    #[arg(long)]
    pub retry_dead_letters: bool,
    /// Only those of this user, also if they waited for too long
    #[arg(long, value_name = "ID", value_parser = user, requires = "retry_dead_letters")]
    user: Option<String>,
    /// The tenant of the user
    #[arg(long, value_name = "ID", value_parser = tenant, requires = "user")]
    tenant: Option<String>,
}

impl SyncArgs {
    /// Whose dead letters, if not all.
    pub fn owner(&self) -> Result<Option<Owner>, Failure> {
        self.user.as_deref().map(|user| owner(user, self.tenant.as_deref())).transpose()
    }
}

#[derive(Args)]
pub struct GetArgs {
    #[command(flatten)]
    pub owner: OwnerArgs,
    /// Show the secrets themselves
    #[arg(long)]
    pub reveal: bool,
}

#[derive(Args)]
pub struct FieldArgs {
    #[command(flatten)]
    pub owner: OwnerArgs,
    /// The field: one of those below
    pub field: String,
}

#[derive(Args)]
pub struct DeleteArgs {
    #[command(flatten)]
    pub owner: OwnerArgs,
    /// Fail when the database cannot take it, instead of noting it in the local file
    #[arg(long)]
    require_database: bool,
}

impl DeleteArgs {
    pub fn fallback(&self, global: &Global) -> Result<Fallback, Failure> {
        fallback(self.require_database, global)
    }
}

#[derive(Args)]
pub struct ListArgs {
    /// How many owners
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Only owners after this one: the `user` of any entry of the page before, also one that is no valid id
    #[arg(long, value_name = "USER")]
    after: Option<String>,
    /// The tenant of that entry
    #[arg(long, value_name = "TENANT", requires = "after")]
    after_tenant: Option<String>,
}

impl ListArgs {
    /// The entry of the page before to go on after.
    pub fn after(&self) -> Option<ListPosition> {
        self.after.as_deref().map(|user| ListPosition::after(user, self.after_tenant.as_deref()))
    }
}

fn fallback(require_database: bool, global: &Global) -> Result<Fallback, Failure> {
    match (require_database, global.database_url()) {
        (false, _) => Ok(Fallback::LocalFile),
        (true, Some(_)) => Ok(Fallback::Refuse),
        (true, None) => Err(Failure::usage(
            "--require-database is given, but no database",
            "name it with DATABASE_URL or --database-url",
        )),
    }
}
