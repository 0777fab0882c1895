//! A table with credentials as a candidate for the layout: what it is, and how likely it is meant.

use std::collections::BTreeMap;

use crate::detect::columns::{self, TableCredentials, is_record};
use crate::detect::names::{Name, words};
use crate::detect::owner::{self, CountedRows, singular};
use crate::detect::proposal;
use crate::detect::providers::Class;
use crate::detect::report::{Candidate, Holding};
use crate::detect::sampled::Sampled;
use crate::detect::sources;
use crate::layout::filter::FilterValue;
use crate::layout::layout::joined_name;
use crate::postgres::catalogue::all_tables::{FoundKind, FoundTable};

const SETTINGS: [&str; 12] = [
    "config",
    "configs",
    "configuration",
    "connections",
    "credential",
    "credentials",
    "creds",
    "integration",
    "integrations",
    "secrets",
    "setting",
    "settings",
];

/// The lead of a candidate that is chosen without being named.
pub(super) const LEAD: i32 = 15;

/// The candidate that a table is. `None`: it holds no credentials, and is not made for them.
pub(super) fn candidate(sampled: &Sampled<'_>) -> Option<Candidate> {
    let table = sampled.table;
    let mut found = columns::find(sampled)?;
    let mut filter: BTreeMap<String, FilterValue> = BTreeMap::new();
    if let Some((column, value)) = &found.filter {
        filter.insert((*column).to_owned(), FilterValue::Text(value.clone()));
    }
    let rows = CountedRows {
        filter: found.filter.as_ref().map(|(column, value)| (*column, value.as_str())),
        kinds: kinds(table),
    };
    let mut owner = owner::find(sampled, &rows);
    let (is_null, deletion_flag) = deletion(table);
    if let Some(column) = deletion_flag {
        filter.insert(column.to_owned(), FilterValue::Boolean(false));
    }
    let mut why = names(sampled, &found);
    why.append(&mut found.why);
    why.append(&mut owner.why);
    if !is_null.is_empty() {
        why.push(format!("rows with {} set are deleted", is_null.join(" or ")));
    }
    if is_record(&Name::of(&table.name)) {
        why.push("the table's name speaks of events or copies: it is probably not where the application keeps credentials".to_owned());
    }
    let score = score(sampled, &found, owner.user.is_some());
    let columns = found.fields.iter().map(|(field, column)| (*field, column.name.clone())).collect();
    let provider = found.whose.name.clone();
    let proposal = proposal::proposal(sampled, &found, &owner, (&filter, &is_null));
    let sources = sources::find(sampled, &found, &owner, (&filter, &is_null));
    let rows_of = owner.user.as_deref().map(|user| rows_of(table, user));
    Some(Candidate {
        table: joined_name(&[&table.schema, &table.name]),
        user: owner.user,
        tenant: owner.tenant,
        filter,
        is_null,
        columns,
        holds: found.holds,
        why,
        provider,
        sources: sources.proposed,
        unopened: sources.unopened,
        rows_of,
        is_record: is_record(&Name::of(&table.name)),
        score,
        proposal,
    })
}

/// What the owner's column names: the table that it refers to, or the word before `id`. The row's own key names the table itself.
fn rows_of(table: &FoundTable, user: &str) -> String {
    let of_words = |words: Vec<String>| words.iter().map(|word| singular(word)).collect::<Vec<_>>().join("_");
    if let Some(key) = table.foreign.iter().find(|key| key.column == user) {
        return of_words(words(&key.table));
    }
    let mut of_column = words(user);
    if of_column.last().is_some_and(|last| ["id", "uuid", "uid"].contains(&last.as_str())) {
        of_column.pop();
    }
    of_words(if of_column.is_empty() { words(&table.name) } else { of_column })
}

impl Candidate {
    /// Whether Retell is named by the table, a column, the filter or a value.
    pub(super) fn names_retell(&self) -> bool {
        self.provider.as_deref() == Some("retell")
    }

    /// Whether it has a place for a key.
    pub(super) fn has_key(&self) -> bool {
        self.columns.contains_key("api_key") || self.columns.contains_key("config")
    }
}

/// Columns that tell the kind of a row: a unique key with one of them and the owner allows one row of each kind.
fn kinds(table: &FoundTable) -> Vec<&str> {
    let tells = |name: &str| {
        [
            "provider",
            "service",
            "type",
            "kind",
            "platform",
            "integration",
            "vendor",
            "environment",
            "env",
            "slug",
        ]
        .contains(&Name::of(name).last())
    };
    table.columns.iter().map(|column| column.name.as_str()).filter(|name| tells(name)).collect()
}

/// The columns that say that a row is deleted: times that are set then, and a flag.
fn deletion(table: &FoundTable) -> (Vec<String>, Option<&str>) {
    let is_deletion = |name: &str| {
        words(name).iter().any(|word| matches!(word.as_str(), "deleted" | "removed" | "discarded"))
    };
    let columns = table.columns.iter().filter(|column| is_deletion(&column.name));
    let times = columns.clone().filter(|column| column.kind == FoundKind::Time && !column.not_null);
    let flag = columns.clone().find(|column| column.kind == FoundKind::Bool && column.not_null);
    (times.map(|column| column.name.clone()).collect(), flag.map(|column| column.name.as_str()))
}

/// What names the provider.
fn names(sampled: &Sampled<'_>, found: &TableCredentials<'_>) -> Vec<String> {
    let Some(provider) = &found.whose.name else {
        return vec!["no provider is named: the table looks made for credentials".to_owned()];
    };
    let is_named = |name: &str| Name::of(name).provider.is_some_and(|named| named.name == provider);
    let columns: Vec<&str> =
        found.fields.values().map(|column| column.name.as_str()).filter(|column| is_named(column)).collect();
    let shown = if provider == "retell" { "Retell" } else { provider };
    match (is_named(&sampled.table.name), columns.is_empty(), &found.filter) {
        (_, false, _) => vec![format!(
            "{} {} {shown}",
            columns.join(", "),
            if columns.len() == 1 { "names" } else { "name" }
        )],
        (true, ..) => vec![format!("the table's name contains {shown}")],
        (_, _, Some((column, value))) => vec![format!("{column} = {value} names {shown}")],
        _ => vec![format!("the form of a value is that of {shown}")],
    }
}

fn score(sampled: &Sampled<'_>, found: &TableCredentials<'_>, has_owner: bool) -> i32 {
    let has = |field| i32::from(found.fields.contains_key(field));
    let table = Name::of(&sampled.table.name);
    let class = found.whose.provider.map_or(-1, |provider| match provider.class {
        Class::Retell => 100,
        class => class as i32,
    });
    let holds = match found.holds {
        Holding::Tokens => 40,
        Holding::Plaintext | Holding::Ciphertext => 30,
        Holding::References => 20,
        Holding::Empty | Holding::Unknown => 0,
    };
    let has_key = has("api_key") == 1 || has("config") == 1;
    let is_key_value = found.filter.as_ref().is_some_and(|(column, _)| matches!(*column, "key" | "name"));
    10_000 * class
        + 40 * i32::from(has_key)
        + if has_key { holds } else { 0 }
        + 10 * has("call_agent_id")
        + 5 * (has("sms_agent_id") + has("webhook_key"))
        + 5 * i32::from(table.has(&SETTINGS))
        - 40 * i32::from(is_record(&table))
        - 25 * i32::from(is_key_value || !has_owner)
        - 15 * i32::from(table.has(&["template", "templates", "default", "defaults"]))
        + if has("api_key") == 1 { 5 } else { 0 }
}
