//! `get`: one configuration, masked unless its secrets are asked for.

use retell_vault::Loaded;
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use crate::args::{Get, Global};
use crate::failure::Failure;
use crate::{print, session};

/// Shows a configuration.
pub async fn get(global: &Global, get: &Get) -> Result<(), Failure> {
    let owner = get.owner.owner()?;
    let loaded = session::vault(global).await?.load(&owner).await?;
    warn_of(&loaded);
    let config = match get.reveal {
        true => loaded.config.to_json_exposed(),
        false => Zeroizing::new(loaded.config.to_json_masked()),
    };
    match global.json {
        true => print::out(&as_json(&config, &loaded)),
        false => print::out(&as_text(&config, &loaded)),
    }
}

fn warn_of(loaded: &Loaded) {
    if loaded.stale {
        print::warning("the database cannot be reached and may hold a newer record");
    }
    for field in &loaded.ignored {
        print::warning(&format!("{field} is left out: its column holds something that is not valid"));
    }
}

/// Put together as text, since a JSON value would hold secrets that nobody wipes.
fn as_json(config: &str, loaded: &Loaded) -> Zeroizing<String> {
    let (source, version, stale) = (loaded.source.as_str(), loaded.version, loaded.stale);
    let rest = format!(",\"source\":\"{source}\",\"version\":\"{version}\",\"stale\":{stale}}}\n");
    joined(&["{\"config\":", config, &rest])
}

fn as_text(config: &str, loaded: &Loaded) -> Zeroizing<String> {
    let mut config: Value = serde_json::from_str(config).expect("the library prints JSON");
    let mut rows = Vec::new();
    push_rows(&mut config, &mut rows);
    let about = [
        ["version".to_owned(), format!("{}, {}", loaded.version, print::utc(loaded.version.millis()))],
        ["source".to_owned(), loaded.source.as_str().to_owned()],
    ];
    rows.extend(about);
    let text = Zeroizing::new(print::table(&rows));
    rows.iter_mut().flatten().for_each(Zeroize::zeroize);
    text
}

/// A row for every text in it; a webhook's are named `webhook_secret` and so on. What has no text of
/// its own is a list of events.
fn push_rows(config: &mut Value, rows: &mut Vec<[String; 2]>) {
    let Value::Object(fields) = config else { return };
    for (name, value) in fields.iter_mut() {
        match value {
            Value::String(text) => rows.push([row_name(name), std::mem::take(text)]),
            Value::Array(events) if !events.is_empty() => {
                let events: Vec<_> = events.iter().filter_map(Value::as_str).collect();
                rows.push([row_name(name), events.join(", ")]);
            }
            other => push_rows(other, rows),
        }
    }
}

fn row_name(name: &str) -> String {
    match name {
        "events" | "secret" => format!("webhook_{name}"),
        _ => name.to_owned(),
    }
}

/// In one buffer of the right size, so that nothing is copied and left behind.
fn joined(parts: &[&str]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| text.push_str(part));
    text
}
