//! A token count as it is shown: by key and place.

use retell_vault::{Census, KeyId, KeyInfo, TokenPlace};
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::print;

/// One object for every place and key.
pub fn json(census: &Census) -> Value {
    let count = |count: &retell_vault::TokenCount| {
        let (place, name) = match &count.place {
            TokenPlace::Column(column) => ("column", column),
            TokenPlace::Local(sort) => ("local", sort),
            other => return json!({ "place": other.to_string(), "tokens": count.tokens }),
        };
        json!({ "place": place, "name": name, "key": count.key.map(|key| key.to_string()), "tokens": count.tokens })
    };
    census.counts.iter().map(count).collect()
}

/// A row for every key and place, after a heading.
pub fn rows(census: &Census, keys: &[KeyInfo]) -> Vec<[String; 4]> {
    let heading = ["key", "state", "place", "tokens"].map(str::to_owned);
    let mut counts: Vec<_> = census.counts.iter().collect();
    counts.sort_by_key(|count| (count.key.is_none(), count.key, &count.place));
    let row = |count: &&retell_vault::TokenCount| {
        let key = count.key.map_or("none".to_owned(), |key| key.to_string());
        let state = count.key.map_or("no token", |key| state(keys, key));
        [key, state.to_owned(), count.place.to_string(), count.tokens.to_string()]
    };
    std::iter::once(heading).chain(counts.iter().map(row)).collect()
}

/// What a count covers.
pub fn scope(global: &Global) -> &'static str {
    match global.database_url() {
        Some(_) => "in the layout",
        None => "in the local file",
    }
}

/// A line that says what was not counted, or nothing.
pub fn not_looked_at(census: &Census) -> String {
    match census.not_looked_at.as_slice() {
        [] => String::new(),
        places => {
            print::table(&[[format!("not looked at, since the layout does not name it: {}", some(places))]])
        }
    }
}

/// Names of a list that may be long.
fn some(places: &[String]) -> String {
    const SHOWN: usize = 12;
    match places.len() {
        0..=SHOWN => places.join(", "),
        all => format!("{}, and {} more (--json lists all)", places[..SHOWN].join(", "), all - SHOWN),
    }
}

/// The state of a key that a token names.
pub fn state(keys: &[KeyInfo], id: KeyId) -> &'static str {
    keys.iter().find(|key| key.id == id).map_or("unknown", |key| key.state.as_str())
}

/// `3 in column a, 1 in local file, pending`.
pub fn places(census: &Census, key: Option<KeyId>) -> String {
    let counts = census.counts.iter().filter(|count| count.key == key);
    let places: Vec<_> = counts.map(|count| format!("{} in {}", count.tokens, count.place)).collect();
    places.join(", ")
}
