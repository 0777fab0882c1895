//! `find`: the owners of an agent or of a phone number.

use retell_vault::records::Loaded;
use retell_vault::records::{ListPosition, Version};
use retell_vault::{ErrorKind, Owner, RetellConfig, Vault};
use serde_json::{Value, json};

use crate::args::find::FindArgs;
use crate::args::global::Global;
use crate::failure::Failure;
use crate::{print, session};

/// Owners whose records are read at once by a scan.
const PAGE: u32 = 500;

#[derive(Default)]
struct FindResult {
    owners: Vec<(Owner, Version)>,
    /// There may be more.
    is_cut: bool,
    /// The index could not answer, so every record was read.
    is_scanned: bool,
    /// Records that a scan could not open.
    unreadable: u64,
}

/// Finds owners.
pub async fn find(global: &Global, args: &FindArgs) -> Result<(), Failure> {
    let vault = session::vault(global).await?;
    let found = match by_index(&vault, args).await? {
        Some(found) => found,
        None => scan(&vault, args).await?,
    };
    if found.is_scanned {
        print::warning(
            "the index does not cover every record, so every record was read: `retell-vault index build`",
        );
    }
    if found.unreadable > 0 {
        let unreadable = print::count(found.unreadable, "record");
        print::warning(&format!(
            "{unreadable} could not be opened, and may hold the value: `retell-vault list`"
        ));
    }
    if found.is_cut {
        print::warning("there may be more owners: only the first rows were read");
    }
    if global.json {
        print::json(&as_json(&found))?;
    } else if !found.owners.is_empty() {
        let rows: Vec<_> =
            found.owners.iter().map(|(owner, version)| [owner.to_string(), version.to_string()]).collect();
        print::out(&print::table(&rows))?;
    }
    match found.owners.is_empty() {
        true => Err(Failure::nobody(
            "no owner has it",
            "check the value; a webhook names the agent and both numbers",
        )),
        false => Ok(()),
    }
}

/// `None`: the index cannot answer.
async fn by_index(vault: &Vault, args: &FindArgs) -> Result<Option<FindResult>, Failure> {
    let found = match (&args.agent, &args.phone) {
        (Some(agent), _) => vault.find_by_agent(agent).await,
        (_, Some(number)) => vault.find_by_phone(number).await,
        _ => return Err(Failure::usage("nothing to look for", "give --agent or --phone")),
    };
    match found {
        Ok(found) if found.is_complete => {
            let owners = found.owners.into_iter().map(|(owner, loaded)| (owner, loaded.version)).collect();
            Ok(Some(FindResult { owners, is_cut: found.is_cut, ..FindResult::default() }))
        }
        Err(error) if !is_for_a_scan(error.kind()) => Err(error.into()),
        _ => Ok(None),
    }
}

fn is_for_a_scan(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotIndexed | ErrorKind::IndexIncomplete)
}

/// Opens every record.
async fn scan(vault: &Vault, args: &FindArgs) -> Result<FindResult, Failure> {
    let mut found = FindResult { is_scanned: true, ..FindResult::default() };
    let mut after: Option<ListPosition> = None;
    loop {
        let page = vault.list(after.as_ref(), PAGE).await?;
        let owners: Vec<Owner> =
            page.entries.iter().filter_map(|entry| entry.owner.valid().cloned()).collect();
        for (owner, loaded) in owners.iter().zip(vault.load_many(&owners).await) {
            match loaded {
                Ok(loaded) if has(&loaded, args) => found.owners.push((owner.clone(), loaded.version)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if error.is_retryable() => return Err(error.into()),
                Err(_) => found.unreadable += 1,
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

fn has(loaded: &Loaded<RetellConfig>, args: &FindArgs) -> bool {
    let agent =
        args.agent.as_ref().is_some_and(|agent| loaded.config.agents().any(|(_, held)| held == agent));
    agent || args.phone.as_ref().is_some_and(|number| loaded.config.phone_number() == Some(number))
}

fn as_json(found: &FindResult) -> Value {
    let owner = |(owner, version): &(Owner, Version)| {
        json!({
            "user": owner.user_id().as_str(),
            "tenant": owner.tenant_id().map(|tenant| tenant.as_str()),
            "version": version.to_string(),
        })
    };
    json!({
        "owners": found.owners.iter().map(owner).collect::<Vec<_>>(),
        "more": found.is_cut,
        "scanned": found.is_scanned,
        "unreadable": found.unreadable,
    })
}
