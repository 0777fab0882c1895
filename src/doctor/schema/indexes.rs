//! Indexes that do not work, are not needed, or hold ciphertext.

use crate::doctor::Patient;
use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::postgres::catalogue::definitions::IndexDefinition;
use crate::postgres::catalogue::table::Index;
use crate::postgres::sql::names::quote;
use crate::postgres::sql::names::{in_schema, relation};
use crate::schema::plan::SchemaPlan;

/// So many uses of the other indexes say that the table was in use: then one without any is not needed.
const MANY_SCANS: i64 = 10_000;
/// Indexes of ours start so. What the wanted schema has is wanted, used or not.
const OURS: &str = "retell_vault_";

pub(super) fn look(patient: &Patient<'_>, plan: &SchemaPlan) -> Vec<Finding> {
    let planned = |index: &Index| {
        let name = quote(&index.name);
        plan.steps.iter().flat_map(|step| &step.sql).any(|sql| sql.contains(&name))
    };
    let all = &patient.table.indexes;
    // what the plan builds anew is its business
    all.iter().filter(|index| !planned(index)).filter_map(|index| problem(patient, index, all)).collect()
}

fn problem(patient: &Patient<'_>, index: &Index, all: &[Index]) -> Option<Finding> {
    let object = format!("index {}.{}", patient.layout.schema, index.name);
    let finding = |severity, id, meaning: String, sql: String| {
        Some(Finding::new((Area::Schema, severity, id), object, meaning, Mend::Sql(sql)))
    };
    if !index.valid {
        let meaning = "it was not built to its end: no query uses it, and every write pays for it";
        return finding(Severity::Warning, "invalid_index", meaning.to_owned(), rebuilt(patient, index));
    }
    if holds_ciphertext(patient, index) {
        let meaning = "it holds ciphertext, by which nothing can be found: every write pays for it, copies of tokens \
                       stay in it, and a text of more than 2704 bytes does not fit";
        return finding(
            Severity::Warning,
            "index_on_ciphertext",
            meaning.to_owned(),
            dropped(patient, index),
        );
    }
    if let Some(other) = all.iter().find(|other| makes_needless(patient, other, index)) {
        let meaning = format!("index {} does the same: every write pays for both", other.name);
        return finding(Severity::Warning, "duplicate_index", meaning, dropped(patient, index));
    }
    let scans: i64 = all.iter().map(|index| definition(patient, index).scans).sum();
    if is_dispensable(patient, index) && definition(patient, index).scans == 0 && scans >= MANY_SCANS {
        let meaning = format!(
            "no query has used it since the statistics were reset, while the other indexes were used {scans} times; \
             standbys have statistics of their own"
        );
        return finding(Severity::Notice, "unused_index", meaning, dropped(patient, index));
    }
    None
}

fn rebuilt(patient: &Patient<'_>, index: &Index) -> String {
    let is_leftover = index.name.ends_with("_ccnew") || index.name.ends_with("_ccold");
    // what kept a unique index from being built would do so again
    match definition(patient, index).constraint.is_none() && (is_leftover || index.unique) {
        true => dropped(patient, index),
        false => format!("REINDEX INDEX {}{}", concurrently(patient), in_schema(patient.layout, &index.name)),
    }
}

fn dropped(patient: &Patient<'_>, index: &Index) -> String {
    match &definition(patient, index).constraint {
        Some(name) => format!("ALTER TABLE {} DROP CONSTRAINT {}", relation(patient.layout), quote(name)),
        None => format!("DROP INDEX {}{}", concurrently(patient), in_schema(patient.layout, &index.name)),
    }
}

/// Indexes over partitions can be neither dropped nor rebuilt concurrently.
fn concurrently(patient: &Patient<'_>) -> &'static str {
    if patient.table.is_partitioned() { "" } else { "CONCURRENTLY " }
}

fn holds_ciphertext(patient: &Patient<'_>, index: &Index) -> bool {
    let layout = patient.layout;
    let is_secret = |column: &String| layout.is_for_secrets(column) || *column == layout.config_column;
    if index.columns.iter().chain(&definition(patient, index).included).any(is_secret) {
        return true;
    }
    // an expression over the JSONB column may be about the application's part of it
    let columns = patient.table.columns.iter().filter(|column| layout.is_for_secrets(&column.name));
    let expressions = definition(patient, index).sql.split(" WHERE ").next().unwrap_or_default();
    index.has_expressions && columns.into_iter().any(|column| expressions.contains(&column.name))
}

/// Whether `index` could go, since `other` does the same and stays.
fn makes_needless(patient: &Patient<'_>, other: &Index, index: &Index) -> bool {
    let does_the_same = other.valid
        && form(patient, other) == form(patient, index)
        && (other.unique || !index.unique)
        && other.immediate == index.immediate;
    // of two that could each stand for the other, one stays
    let rank = |index: &Index| {
        (definition(patient, index).constraint.is_some(), index.unique, std::cmp::Reverse(index.name.clone()))
    };
    does_the_same && definition(patient, index).constraint.is_none() && rank(other) > rank(index)
}

fn definition<'a>(patient: &'a Patient<'_>, index: &Index) -> &'a IndexDefinition {
    patient.definitions.of_index(index)
}

/// The definition without `CREATE [UNIQUE] INDEX name`.
fn form<'a>(patient: &'a Patient<'_>, index: &Index) -> &'a str {
    let definition = definition(patient, index).sql.as_str();
    let start = if index.unique { "CREATE UNIQUE INDEX " } else { "CREATE INDEX " };
    let named = definition.strip_prefix(start).unwrap_or(definition);
    let quoted = quote(&index.name);
    named.strip_prefix(quoted.as_str()).or_else(|| named.strip_prefix(index.name.as_str())).unwrap_or(named)
}

fn is_dispensable(patient: &Patient<'_>, index: &Index) -> bool {
    let serves = index.unique || index.primary || definition(patient, index).constraint.is_some();
    // the server keeps no statistics of an index over partitions
    !serves && !index.name.starts_with(OURS) && !patient.table.is_partitioned()
}
