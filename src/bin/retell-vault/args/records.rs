//! The options of `put`, `get`, `set`, `unset`, `move`, `delete`, `list`, `forget` and `sync`, and their help.

use std::path::PathBuf;

use clap::{Args, value_parser};
use retell_vault::Owner;
use retell_vault::records::StoreOptions;
use retell_vault::records::{Expected, ListPosition};
use retell_vault::sync::Fallback;

use crate::args::global::{Global, expected, owner, tenant, user};
use crate::failure::Failure;

pub const PUT_HELP: &str = r#"The configuration is JSON. Every member is optional, but at least one secret must be set:
  {"api_key": "key_…", "call_agent_id": "agent_…", "sms_agent_id": "agent_…",
   "agents": {"inbound": "agent_…"},
   "webhook_key": "key_…",
   "phone_number": "+14155550100",
   "webhook_config": {"webhook_url": "https://…", "events": ["call_ended"]},
   "integration_status": "not_configured" | "configured" | "active" | "error" | "disabled"}
`agents.inbound` may be written as `inbound_agent_id`. `webhook_key` is the API key that has the webhook badge, if
it differs from `api_key`; older input may call it `webhook_config.secret` or `webhook_secret`.
The configuration replaces the whole stored one; `set` and `unset` change one field. At most 256 KiB.

--expect compares with the record in the database. Pending records of this host are pushed first. A pending record of
another host may still win later, if it is newer.

"#;
pub const SET_HELP: &str = r#"Fields: api_key, call_agent_id, sms_agent_id, <role>_agent_id, webhook_key, phone_number, webhook_config,
integration_status. The value is one line of plain text; that of webhook_config is JSON:
  {"webhook_url": "https://…", "events": ["call_ended"]}
The other fields stay as they are, even if another program changes them at the same time.
The command fails in an outage. It does not use the local file.

"#;
pub const MOVE_HELP: &str = r#"For owners whose id has changed, because of an UPDATE by the application or a new login provider. The command
re-encrypts the record for the new id, and leaves a tombstone in the row of the old id.
If the application has already changed the id in the row, the command finds the
record there. It creates a new row only if the layout lets the vault create rows.
The command fails in an outage. It does not use the local file.

"#;
pub const SYNC_HELP: &str = r#"A pending record becomes a dead letter if a constraint rejects it, if the database rejects it five times over at least a day
for another reason, if its row was removed or created again, if the owner's record was deleted in the meantime, or if it is too old.
--retry-dead-letters tries dead letters once more. A local file restored from a backup may hold records that were deleted since:
check `retell-vault status` before you name a user, and use `forget` for records that you do not want.

"#;
pub const UNSET_HELP: &str = r#"Fields: api_key, call_agent_id, sms_agent_id, <role>_agent_id, webhook_key, phone_number, webhook_config,
integration_status. At least one secret must remain; to remove everything, use `delete`.
The command fails in an outage. It does not use the local file.

"#;

/// The owner of the configuration.
#[derive(Args)]
pub struct OwnerArgs {
    /// User id of the owner
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
    /// File with the configuration; omit it or give - for standard input
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Fail if the database cannot store it, instead of keeping it in the local file
    #[arg(long)]
    require_database: bool,
    /// Replace a stored record that cannot be opened; its old text is kept in the local file
    #[arg(long)]
    replace_unreadable: bool,
    /// Permanently overwrite text in the vault's columns that the vault did not write
    #[arg(long)]
    replace_foreign: bool,
    /// Store only if the record has this version; `absent`: only if there is no record or it was deleted
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
    /// Current user id of the record
    #[arg(long, value_name = "ID", value_parser = user)]
    from: String,
    /// New user id, which must not have a record
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
    /// Make dead letters pending again first, if the record that each was based on is unchanged
    #[arg(long)]
    pub retry_dead_letters: bool,
    /// Only dead letters of this user, even if they are too old
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
    /// Fail unless it is the record that the ledger names last
    #[arg(long)]
    pub fresh: bool,
}

#[derive(Args)]
pub struct FieldArgs {
    #[command(flatten)]
    pub owner: OwnerArgs,
    /// One of the fields below
    pub field: String,
}

#[derive(Args)]
pub struct DeleteArgs {
    #[command(flatten)]
    pub owner: OwnerArgs,
    /// Fail if the database cannot store the deletion, instead of keeping it in the local file
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
    /// Maximum number of owners
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Only owners after this one: the `user` of any entry of the previous page, even if it is not a valid id
    #[arg(long, value_name = "USER")]
    after: Option<String>,
    /// The tenant of that entry
    #[arg(long, value_name = "TENANT", requires = "after")]
    after_tenant: Option<String>,
}

impl ListArgs {
    /// The entry of the previous page to continue after.
    pub fn after(&self) -> Option<ListPosition> {
        self.after.as_deref().map(|user| ListPosition::after(user, self.after_tenant.as_deref()))
    }
}

fn fallback(require_database: bool, global: &Global) -> Result<Fallback, Failure> {
    match (require_database, global.database_url()) {
        (false, _) => Ok(Fallback::LocalFile),
        (true, Some(_)) => Ok(Fallback::Refuse),
        (true, None) => Err(Failure::usage(
            "--require-database needs a database",
            "name it with DATABASE_URL or --database-url",
        )),
    }
}
