//! `Layout::detect` on tables as applications have them (facts from public repositories, every value made up).
//!
//! The first line of each file in `tests/detect/` says, as JSON, what a careful person would answer. A database of
//! `tests/detect/none/` has no table with credentials of a provider.
#![cfg(feature = "cli")]

mod hidden;
mod large;
mod proposals;
mod sources;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use retell_vault::Layout;
use retell_vault::layout::FilterValue;
use retell_vault::schema::{Candidate, DetectOptions, Detection};
use serde::Deserialize;
use serde_json::{Value, json};
use support::TestDb;
use tokio::task::JoinSet;

/// What a careful person would answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    table: String,
    user: String,
    /// Only where it is sure.
    tenant: Option<String>,
    #[serde(default, rename = "where")]
    filter: BTreeMap<String, Value>,
    #[serde(default)]
    is_null: Vec<String>,
    /// Some of the columns, at least that of the key or of the configuration.
    columns: BTreeMap<String, String>,
    holds: String,
    provider: String,
    /// Other tables that must be listed too.
    #[serde(default)]
    also: Vec<String>,
    /// Whether another table is as likely, so that none is chosen.
    #[serde(default)]
    is_unclear: bool,
    /// A word of the reasons.
    says: Option<String>,
}

/// How many databases are looked at together.
const TOGETHER: usize = 4;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end == "sql")).collect();
    files.sort();
    files
}

fn name(file: &Path) -> &str {
    file.file_stem().unwrap().to_str().unwrap()
}

/// The answer in the first line. A database without credentials has none.
fn expected(sql: &str) -> Option<Expected> {
    let json = sql.lines().next().unwrap().strip_prefix("-- ").filter(|line| line.starts_with('{'))?;
    Some(serde_json::from_str(json).unwrap())
}

async fn detect(url: &str) -> Detection {
    Layout::detect(url, &DetectOptions::new()).await.unwrap()
}

/// What `wrong` finds wrong in the answer for each file.
async fn wrong_answers(files: Vec<PathBuf>, wrong: fn(&str, &Detection) -> Vec<String>) -> Vec<String> {
    let (mut running, mut found) = (JoinSet::new(), Vec::new());
    for file in files {
        if running.len() == TOGETHER {
            found.extend(running.join_next().await.unwrap().unwrap());
        }
        running.spawn(async move {
            let (db, sql) = (TestDb::create().await, fs::read_to_string(&file).unwrap());
            db.exec(&sql).await;
            let found = detect(&db.url).await;
            let mut wrong = wrong(&sql, &found);
            if let Some(expected) = expected(&sql) {
                wrong.extend(sources::wrong(&db, &expected, &found).await);
            }
            wrong.iter().map(|what| format!("{}: {what}", name(&file))).collect::<Vec<_>>()
        });
    }
    while let Some(more) = running.join_next().await {
        found.extend(more.unwrap());
    }
    found
}

fn constants(candidate: &Candidate) -> BTreeMap<String, Value> {
    let constant = |value: &FilterValue| match value {
        FilterValue::Text(text) => json!(text),
        FilterValue::Boolean(is_set) => json!(is_set),
        other => panic!("{other:?}"),
    };
    candidate.filter.iter().map(|(column, value)| (column.clone(), constant(value))).collect()
}

fn wrong(sql: &str, found: &Detection) -> Vec<String> {
    let expected = expected(sql).unwrap();
    let Some(best) = found.candidates.first() else { return vec!["no candidate".to_owned()] };
    let mut wrong = Vec::new();
    let mut check = |what: &str, found: Value, expected: Value| {
        if found != expected {
            wrong.push(format!("{what} is {found}, and not {expected}"));
        }
    };
    check("table", json!(best.table), json!(expected.table));
    check("user", json!(best.user), json!(expected.user));
    if expected.tenant.is_some() {
        check("tenant", json!(best.tenant), json!(expected.tenant));
    }
    check("where", json!(constants(best)), json!(expected.filter));
    check("is_null", json!(best.is_null), json!(expected.is_null));
    for (field, column) in &expected.columns {
        check(field, json!(best.columns.get(field.as_str())), json!(column));
    }
    check("holds", json!(best.holds.as_str()), json!(expected.holds));
    check("provider", json!(best.provider), json!(expected.provider));
    let tables: Vec<&str> = found.candidates.iter().map(|candidate| candidate.table.as_str()).collect();
    for table in &expected.also {
        check(table, json!(tables.contains(&table.as_str())), json!(true));
    }
    if let Some(word) = &expected.says {
        check("why", json!(best.why.iter().any(|why| why.contains(word))), json!(true));
    }
    let chosen = (expected.provider == "retell" && !expected.is_unclear).then_some(0);
    check("chosen", json!(found.chosen), json!(chosen));
    wrong
}

#[tokio::test]
async fn the_table_and_its_columns_are_found() {
    let files = files("tests/detect");
    assert!(files.len() >= 90, "the folder is complete: {}", files.len());
    assert_eq!(wrong_answers(files, wrong).await, [""; 0]);
}

#[tokio::test]
async fn a_database_without_such_a_table_has_no_candidate() {
    let files = files("tests/detect/none");
    assert!(files.len() >= 14, "the folder is complete: {}", files.len());
    let none = |_: &str, found: &Detection| {
        let found = found.candidates.iter();
        found.map(|found| format!("{} {:?} {:?}", found.table, found.columns, found.why)).collect()
    };
    assert_eq!(wrong_answers(files, none).await, [""; 0]);
}
