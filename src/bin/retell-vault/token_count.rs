//! A token count as it is shown: by key and place.

use retell_vault::keyring::{KeyId, KeyInfo};
use retell_vault::rotation::{Outside, OutsideExtent, TokenCounts, TokenPlace};
use serde_json::{Map, Value, json};

use crate::args::global::Global;
use crate::print;

/// One object for every place and key.
pub fn json(token_counts: &TokenCounts) -> Value {
    let count = |count: &retell_vault::rotation::TokenCount| {
        let (place, name) = match &count.place {
            TokenPlace::Column(column) => ("column", column),
            TokenPlace::Local(sort) => ("local", sort),
            other => return json!({ "place": other.to_string(), "tokens": count.tokens }),
        };
        json!({ "place": place, "name": name, "key": count.key.map(|key| key.to_string()), "tokens": count.tokens })
    };
    token_counts.counts.iter().map(count).collect()
}

/// A row for every key and place, after a heading.
pub fn rows(token_counts: &TokenCounts, keys: &[KeyInfo]) -> Vec<[String; 4]> {
    let heading = ["key", "state", "place", "tokens"].map(str::to_owned);
    let mut counts: Vec<_> = token_counts.counts.iter().collect();
    counts.sort_by_key(|count| (count.key.is_none(), count.key, &count.place));
    let row = |count: &&retell_vault::rotation::TokenCount| {
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

/// What lies outside of the layout, as lines of text; nothing without a database.
pub fn outside(outside: &Outside) -> String {
    let mut lines: Vec<[String; 1]> = Vec::new();
    let extent = match outside.extent {
        OutsideExtent::EveryRow(rows) => format!("every row, {rows}"),
        OutsideExtent::Sample(rows) => format!("a sample of {}", print::count(rows, "row")),
        _ => String::new(),
    };
    for found in outside.tokens.iter().filter(|found| !found.in_layout) {
        let extent = if found.own_table { "every row" } else { &extent };
        lines.push([format!("outside of the layout ({extent}): {found}")]);
    }
    if !outside.not_looked_at.is_empty() {
        let places = some(&outside.not_looked_at);
        let extent = match outside.extent {
            OutsideExtent::Sample(rows @ 1..) => format!(" beyond a sample of {}", print::count(rows, "row")),
            _ => String::new(),
        };
        lines.push([format!("not searched{extent}, because the layout does not name it: {places}")]);
    }
    if !outside.out_of_reach.is_empty() {
        lines.push([format!("out of reach of any count: {}", outside.out_of_reach.join("; "))]);
    }
    if lines.is_empty() { String::new() } else { print::table(&lines) }
}

/// The same as members of a JSON object.
pub fn outside_members(outside: &Outside) -> Map<String, Value> {
    let found = outside.tokens.iter().filter(|found| !found.in_layout).map(|found| {
        json!({ "column": found.place, "key": found.key.to_string(), "tokens": found.tokens, "in_use": found.in_use,
            "own_table": found.own_table, "not_evidence": found.not_evidence })
    });
    let (rows, is_every_row) = match outside.extent {
        OutsideExtent::EveryRow(rows) => (rows, true),
        OutsideExtent::Sample(rows) => (rows, false),
        _ => (0, false),
    };
    let members = [
        ("outside", found.collect()),
        ("outside_rows", json!(rows)),
        ("outside_every_row", json!(is_every_row)),
        ("not_looked_at", json!(outside.not_looked_at)),
        ("out_of_reach", json!(outside.out_of_reach)),
    ];
    members.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

/// A JSON object with these members too.
pub fn with_outside(mut object: Value, outside: &Outside) -> Value {
    if let Value::Object(members) = &mut object {
        members.extend(outside_members(outside));
    }
    object
}

/// Names of a list that may be long.
pub fn some(places: &[String]) -> String {
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
pub fn places(token_counts: &TokenCounts, key: Option<KeyId>) -> String {
    let counts = token_counts.counts.iter().filter(|count| count.key == key);
    let places: Vec<_> = counts.map(|count| format!("{} in {}", count.tokens, count.place)).collect();
    places.join(", ")
}
