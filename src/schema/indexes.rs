//! Indexes for what applications look up in a full profile. None on ciphertext.

use std::collections::HashSet;

use crate::postgres::sql::names::our_name;
use crate::postgres::sql::names::quote;
use crate::record::field::Field;
use crate::schema::columns::kind_after;
use crate::schema::index::{Predicate, Wanted};
use crate::schema::plan::Subject;
use crate::schema::step::Draft;

/// Types without an order, and those whose order nobody looks things up by.
const UNORDERED: [&str; 11] =
    ["json", "jsonb", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle", "bytea"];

const NONE_ON_CIPHERTEXT: &str = "columns made for tokens get no index: every sealing of the same value gives \
    another text, so nothing could be looked up there, and every write would pay for it";

pub(super) fn draft(subject: &Subject<'_>, draft: &mut Draft) {
    if !subject.is_full() {
        return;
    }
    for (wanted, reason) in wanted(subject) {
        let is_there = subject.picture.indexes.iter().any(|index| wanted.is_served_by(index));
        if !is_there {
            let id = format!("index.{}", wanted.name);
            wanted.draft(subject, id, reason, draft);
        }
    }
    draft.notes.push(NONE_ON_CIPHERTEXT.to_owned());
}

/// Each with its reason.
fn wanted(subject: &Subject<'_>) -> Vec<(Wanted, String)> {
    let layout = subject.layout;
    let status = layout.column_of(Field::IntegrationStatus);
    let lookups = [Some("department"), Some("phone"), status].into_iter().flatten();
    let lookups = lookups.filter(|column| is_ordered(subject, column));
    let lookups = lookups.map(|column| {
        (index(subject, column, "btree", &[column]), format!("rows are looked up by {column}"))
    });

    let documents = [Some("metadata"), Some("preferences"), layout.column_of(Field::WebhookConfig)];
    let documents = documents.into_iter().flatten().filter(|column| has_type(subject, column, "jsonb"));
    let documents = documents.map(|column| {
        (index(subject, column, "gin", &[column]), format!("rows are looked up by what {column} contains"))
    });

    let all = lookups.chain(documents).chain(active(subject)).chain(configured(subject, status));
    // a layout may use a name of the full profile for a field of its own
    let mut names = HashSet::new();
    all.filter(|(wanted, _)| names.insert(wanted.name.clone())).collect()
}

fn active(subject: &Subject<'_>) -> Vec<(Wanted, String)> {
    if !has_type(subject, "is_active", "boolean") {
        return Vec::new();
    }
    let mut all = Vec::new();
    if is_ordered(subject, "department") {
        let both = index(subject, "is_active_department", "btree", &["is_active", "department"]);
        all.push((both, "the active users of a department are listed".to_owned()));
    }
    let predicate = Predicate { column: "is_active".to_owned(), sql: "is_active".to_owned() };
    all.push((partial(subject, "active_users", predicate), "active users are listed".to_owned()));
    all
}

fn configured(subject: &Subject<'_>, status: Option<&str>) -> Option<(Wanted, String)> {
    let status = status.filter(|status| is_text(subject, status))?;
    let sql = format!("{} IN ('configured', 'active')", quote(status));
    let predicate = Predicate { column: status.to_owned(), sql };
    Some((partial(subject, "configured_users", predicate), "configured users are listed".to_owned()))
}

fn partial(subject: &Subject<'_>, purpose: &str, predicate: Predicate) -> Wanted {
    let user = subject.layout.user_column.as_str();
    Wanted { predicate: Some(predicate), ..index(subject, purpose, "btree", &[user]) }
}

fn index(subject: &Subject<'_>, purpose: &str, method: &'static str, columns: &[&str]) -> Wanted {
    Wanted {
        name: our_name(&[&subject.layout.table, purpose]),
        method,
        columns: columns.iter().map(|&column| column.to_owned()).collect(),
        unique: false,
        nulls_not_distinct: false,
        predicate: None,
    }
}

fn has_type(subject: &Subject<'_>, column: &str, kind: &str) -> bool {
    kind_after(subject, column).is_some_and(|found| found == kind)
}

fn is_text(subject: &Subject<'_>, column: &str) -> bool {
    kind_after(subject, column).is_some_and(|kind| kind == "text" || kind.starts_with("character varying"))
}

fn is_ordered(subject: &Subject<'_>, column: &str) -> bool {
    kind_after(subject, column).is_some_and(|kind| !UNORDERED.contains(&kind.as_str()))
}
