//! `list`: the owners that have a record, page by page.

use retell_vault::{ErrorKind, ListEntry, ListPage, Owner, RecordState};
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::args::records::ListArgs;
use crate::failure::Failure;
use crate::{print, session};

/// Lists owners.
pub async fn list(global: &Global, list: &ListArgs) -> Result<(), Failure> {
    let after = list.after()?;
    let (page, complete) = page(global, after.as_ref(), list.limit).await?;
    let next = page.entries.last().map(|last| &last.owner).filter(|_| page.more);
    if global.json {
        return print::json(&as_json(&page, next, complete));
    }
    if let Some(next) = next {
        print::hint(&format!("there may be more: add {}", next_options(next)));
    }
    print::out(&as_text(&page))
}

/// A page, and whether the database has been asked. While it is away there is still the local file.
async fn page(global: &Global, after: Option<&Owner>, limit: u32) -> Result<(ListPage, bool), Failure> {
    let keyring = session::keyring(global)?;
    let vault = session::builder(global, keyring.clone())?.build().await?;
    match vault.list(after, limit).await {
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            print::warning(&format!("only what the local file holds is listed: {error}"));
            let local = session::local(global, keyring).build().await?;
            Ok((local.list(after, limit).await?, false))
        }
        listed => Ok((listed?, true)),
    }
}

fn as_json(page: &ListPage, next: Option<&Owner>, complete: bool) -> Value {
    let next = next.map(|owner| {
        json!({ "after_user": owner.user_id().as_str(), "after_tenant": owner.tenant_id().map(|tenant| tenant.as_str()) })
    });
    let owners: Vec<_> = page.entries.iter().map(entry_json).collect();
    json!({ "owners": owners, "more": page.more, "next": next, "complete": complete })
}

fn entry_json(entry: &ListEntry) -> Value {
    json!({
        "user": entry.owner.user_id().as_str(),
        "tenant": entry.owner.tenant_id().map(|tenant| tenant.as_str()),
        "version": entry.version.map(|version| version.to_string()),
        "place": entry.source.as_str(),
        "state": state(entry.state),
        "problem": problem(entry.state),
    })
}

fn as_text(page: &ListPage) -> String {
    let rows: Vec<_> = page.entries.iter().map(entry_row).collect();
    match rows.is_empty() {
        true => "no records\n".to_owned(),
        false => print::table(&rows),
    }
}

fn entry_row(entry: &ListEntry) -> [String; 5] {
    let dash = || "-".to_owned();
    let state = match problem(entry.state) {
        Some(problem) => format!("{} ({problem})", state(entry.state)),
        None => state(entry.state).to_owned(),
    };
    [
        entry.owner.to_string(),
        entry.version.map_or_else(dash, |version| version.to_string()),
        entry.version.map_or_else(dash, |version| print::utc(version.millis())),
        entry.source.as_str().to_owned(),
        state,
    ]
}

fn state(state: RecordState) -> &'static str {
    match state {
        RecordState::Readable => "readable",
        RecordState::Deleted => "deleted",
        _ => "unreadable",
    }
}

fn problem(state: RecordState) -> Option<String> {
    match state {
        RecordState::Unreadable(kind) => Some(print::kind(kind)),
        _ => None,
    }
}

fn next_options(owner: &Owner) -> String {
    let user = format!("--after-user {}", quoted(owner.user_id().as_str()));
    match owner.tenant_id() {
        Some(tenant) => format!("{user} --after-tenant {}", quoted(tenant.as_str())),
        None => user,
    }
}

/// As one word for a shell.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@:".contains(&byte);
    match text.bytes().all(plain) && !text.starts_with('-') {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}
