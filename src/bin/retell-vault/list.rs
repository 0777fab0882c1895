//! `list`: the owners that have a record, page by page.

use retell_vault::ErrorKind;
use retell_vault::records::{ListEntry, ListPage, ListPosition, RecordState};
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::args::records::ListArgs;
use crate::failure::Failure;
use crate::{print, session};

/// What was listed.
struct Listed {
    page: ListPage,
    /// The database was down, and only the local file was listed.
    is_local_only: bool,
}

impl Listed {
    /// Whether the pages name every owner with a record.
    fn is_complete(&self) -> bool {
        !self.is_local_only && self.page.hidden.is_none()
    }
}

/// Lists owners.
pub async fn list(global: &Global, list: &ListArgs) -> Result<(), Failure> {
    let listed = page(global, list.after().as_ref(), list.limit).await?;
    if let Some(hidden) = &listed.page.hidden {
        print::warning(&format!("the list may be incomplete: {hidden}"));
    }
    if global.json {
        return print::json(&as_json(&listed));
    }
    if let Some(next) = &listed.page.next {
        print::hint(&format!("there may be more: add {}", next_options(next)));
    }
    print::out(&as_text(&listed))
}

async fn page(global: &Global, after: Option<&ListPosition>, limit: u32) -> Result<Listed, Failure> {
    let keyring = session::keyring(global).await?;
    let vault = session::open(global, session::builder(global, keyring.clone())?).await?;
    match vault.list(after, limit).await {
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            print::warning(&format!("listing only the local file: {error}"));
            let local = session::local(global, keyring).build().await?;
            Ok(Listed { page: local.list(after, limit).await?, is_local_only: true })
        }
        page => Ok(Listed { page: page?, is_local_only: false }),
    }
}

fn as_json(listed: &Listed) -> Value {
    let page = &listed.page;
    let next = page.next.as_ref();
    let next = next.map(|next| json!({ "after_user": next.user(), "after_tenant": next.tenant() }));
    let owners: Vec<_> = page.entries.iter().map(entry_json).collect();
    json!({
        "owners": owners,
        "more": page.next.is_some(),
        "next": next,
        "complete": listed.is_complete(),
        "hidden": page.hidden,
    })
}

fn entry_json(entry: &ListEntry) -> Value {
    json!({
        "user": entry.owner.user(),
        "tenant": entry.owner.tenant(),
        "version": entry.version.map(|version| version.to_string()),
        "place": entry.source.as_str(),
        "state": state(entry.state),
        "problem": problem(entry.state),
    })
}

fn as_text(listed: &Listed) -> String {
    let rows: Vec<_> = listed.page.entries.iter().map(entry_row).collect();
    match rows.is_empty() {
        false => print::table(&rows),
        true if listed.is_local_only => "no records in the local file\n".to_owned(),
        true if listed.page.hidden.is_some() => "no records visible to this role\n".to_owned(),
        true => "no records\n".to_owned(),
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
        RecordState::Unusable => "unusable",
        _ => "unreadable",
    }
}

fn problem(state: RecordState) -> Option<String> {
    match state {
        RecordState::Unreadable(kind) => Some(kind.as_str().to_owned()),
        RecordState::Unusable => Some("invalid_id".to_owned()),
        _ => None,
    }
}

fn next_options(next: &ListPosition) -> String {
    let option = |name: &str, text: &str| match text.starts_with('-') {
        true => format!("--{name}={}", quoted(text)), // else it would be taken for an option
        false => format!("--{name} {}", quoted(text)),
    };
    let user = option("after", next.user());
    match next.tenant() {
        Some(tenant) => format!("{user} {}", option("after-tenant", tenant)),
        None => user,
    }
}

/// As one word for a shell.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@:".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    if !text.contains(char::is_control) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    // the one form that bash, zsh and ksh take them in without printing them
    let byte = |byte: u8| match byte {
        b'\'' | b'\\' => format!(r"\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!(r"\x{byte:02x}"),
    };
    format!("$'{}'", text.bytes().map(byte).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell_print_no_control_characters() {
        let words = ["user-42", "o'neil", "", "a\tb'\\é"].map(quoted);
        assert_eq!(words, ["user-42", r"'o'\''neil'", "''", r"$'a\x09b\'\\\xc3\xa9'"]);
    }

    #[test]
    fn the_next_page_is_asked_for_by_any_text() {
        let next = ListPosition::after("-x", Some("acme"));
        assert_eq!(next_options(&next), "--after=-x --after-tenant acme");
    }
}
