//! The indexes of a full profile: for what applications look up, and none on ciphertext. Building them does not block
//! writes.

use std::collections::HashSet;

use crate::postgres::catalogue::definitions::TableDefinitions;
use crate::postgres::catalogue::table::Index;
use crate::postgres::sql::names::{in_schema, literal, our_name, quote};
use crate::record::field::ValueKind;
use crate::schema::plan_input::{PlanDraft, PlanInput};
use crate::schema::step::{LockLevel, Step};
use crate::schema::wanted_columns::kind_after;

/// Types without an order, and types whose order is useless for lookups.
const UNORDERED: [&str; 11] =
    ["json", "jsonb", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle", "bytea"];

const NONE_ON_CIPHERTEXT: &str = "columns for tokens get no index: sealing the same value twice gives different \
                                  text, so no query could use the index, and every write would pay for it";

/// An index that the vault builds.
pub(super) struct WantedIndex {
    pub(super) name: String,
    /// `btree` or `gin`.
    pub(super) method: &'static str,
    /// Key columns in order, not quoted.
    pub(super) columns: Vec<String>,
    pub(super) unique: bool,
    pub(super) nulls_not_distinct: bool,
    pub(super) predicate: Option<Predicate>,
    /// Storage parameters, with the `WITH` before them; empty for the defaults.
    pub(super) options: &'static str,
}

/// The rows that an index covers.
pub(super) struct Predicate {
    /// The column of the condition, not quoted.
    pub(super) column: String,
    pub(super) sql: String,
}

impl WantedIndex {
    /// Whether a valid index does the same, whatever its name.
    pub(super) fn is_served_by(&self, index: &Index, definitions: &TableDefinitions) -> bool {
        let same_rows = match (&self.predicate, &definitions.of_index(index).predicate) {
            (None, None) => true,
            // the server prints the condition in its own form; both forms contain the column, quoted if necessary
            (Some(wanted), Some(found)) => {
                found.contains(&wanted.column) || found.contains(&quote(&wanted.column))
            }
            _ => false,
        };
        index.valid
            && !index.has_expressions
            && index.method == self.method
            && index.columns == self.columns
            && (index.unique || !self.unique)
            && (index.nulls_not_distinct || !self.nulls_not_distinct)
            && same_rows
    }

    /// Adds the step that builds it, unless the name belongs to another object, which the rollback would drop.
    pub(super) fn draft(&self, input: &PlanInput<'_>, id: String, reason: String, draft: &mut PlanDraft) {
        let is_it = |index: &Index| index.name == self.name;
        if input.definitions.ours.contains(&self.name) && !input.table.indexes.iter().any(is_it) {
            let object = format!("index {}.{}", input.layout.schema, self.name);
            let reason = "the name belongs to another object, which is not an index of this table";
            draft.block(object, reason, "rename or drop that object");
        } else {
            draft.steps.push(self.step(input, id, reason));
        }
    }

    fn step(&self, input: &PlanInput<'_>, id: String, reason: String) -> Step {
        let name = in_schema(input.layout, &self.name);
        // an index on a partitioned table cannot be built concurrently
        let concurrent = !input.table.is_partitioned();
        let concurrently = if concurrent { "CONCURRENTLY " } else { "" };
        let drop = format!("DROP INDEX {concurrently}IF EXISTS {name}");
        let old = input.table.indexes.iter().find(|index| index.name == self.name);
        let restored = old
            .filter(|index| index.valid)
            .map(|index| in_words(&input.definitions.of_index(index).sql, concurrently));
        let create = self.create(input, concurrently);
        Step {
            id,
            object: format!("index {}.{}", input.layout.schema, self.name),
            reason,
            sql: old.map(|_| drop.clone()).into_iter().chain([create]).collect(),
            undo: [drop].into_iter().chain(restored).collect(),
            lock: if concurrent { LockLevel::ShareUpdateExclusive } else { LockLevel::Share },
            rewrites: false,
            concurrent,
            instead: None,
            done_if: self.done_if(input),
            at_risk: None,
        }
    }

    fn create(&self, input: &PlanInput<'_>, concurrently: &str) -> String {
        let unique = if self.unique { "UNIQUE " } else { "" };
        let columns: Vec<String> = self.columns.iter().map(|column| quote(column)).collect();
        let nulls = if self.nulls_not_distinct { " NULLS NOT DISTINCT" } else { "" };
        let rows = self.predicate.as_ref().map(|predicate| format!(" WHERE {}", predicate.sql));
        format!(
            "CREATE {unique}INDEX {concurrently}{} ON {} USING {} ({}){nulls}{}{}",
            quote(&self.name),
            input.relation(),
            self.method,
            columns.join(", "),
            self.options,
            rows.unwrap_or_default()
        )
    }

    pub(super) fn done_if(&self, input: &PlanInput<'_>) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| literal(column)).collect();
        let also = [
            (self.unique, " AND i.indisunique".to_owned()),
            (
                self.nulls_not_distinct,
                " AND (pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct'::text)::bool".to_owned(),
            ),
            (self.predicate.is_some(), " AND i.indpred IS NOT NULL".to_owned()),
            (self.predicate.is_none(), " AND i.indpred IS NULL".to_owned()),
        ];
        let also: String = also.into_iter().filter(|(applies, _)| *applies).map(|(_, sql)| sql).collect();
        format!(
            "EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid \
             JOIN pg_catalog.pg_am m ON m.oid = x.relam \
             WHERE i.indrelid = {}::pg_catalog.regclass AND x.relname = {} AND m.amname = '{}' \
             AND i.indisvalid AND i.indisready{also} AND ARRAY(SELECT a.attname::text \
             FROM pg_catalog.unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (number, at) \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.at) \
             = ARRAY[{}]::text[])",
            literal(&input.relation()),
            literal(&self.name),
            self.method,
            columns.join(", ")
        )
    }
}

/// The definition of an index, with or without `CONCURRENTLY`.
fn in_words(definition: &str, concurrently: &str) -> String {
    definition.replacen("INDEX ", &format!("INDEX {concurrently}"), 1)
}

pub(super) fn draft(input: &PlanInput<'_>, draft: &mut PlanDraft) {
    if !input.is_full() {
        return;
    }
    for (wanted, reason) in wanted(input) {
        let is_there = input.table.indexes.iter().any(|index| wanted.is_served_by(index, input.definitions));
        if !is_there {
            let id = format!("index.{}", wanted.name);
            wanted.draft(input, id, reason, draft);
        }
    }
    draft.notes.push(NONE_ON_CIPHERTEXT.to_owned());
}

/// The wanted indexes, each with its reason.
fn wanted(input: &PlanInput<'_>) -> Vec<(WantedIndex, String)> {
    let layout = input.layout;
    let words: Vec<&str> = layout.word_columns().map(|(column, _)| column).collect();
    let status = configured_column(input);
    let lookups = ["department", "phone"].into_iter().chain(words);
    let lookups = lookups.filter(|column| is_ordered(input, column));
    let lookups = lookups
        .map(|column| (index(input, column, "btree", &[column]), format!("speeds up lookups by {column}")));

    let objects = layout.fields.plain().filter(|(_, spec)| spec.kind == ValueKind::Object);
    let objects = objects.filter_map(|(field, _)| input.plain_column(field));
    let documents = ["metadata", "preferences"].into_iter().chain(objects);
    let documents = documents.filter(|column| has_type(input, column, "jsonb"));
    let documents = documents.map(|column| {
        (index(input, column, "gin", &[column]), format!("speeds up lookups by the contents of {column}"))
    });

    let all = lookups.chain(documents).chain(active(input)).chain(configured(input, status));
    // a layout may use a name of the full profile for a field
    let mut names = HashSet::new();
    all.filter(|(wanted, _)| names.insert(wanted.name.clone())).collect()
}

fn active(input: &PlanInput<'_>) -> Vec<(WantedIndex, String)> {
    if !has_type(input, "is_active", "boolean") {
        return Vec::new();
    }
    let mut all = Vec::new();
    if is_ordered(input, "department") {
        let both = index(input, "is_active_department", "btree", &["is_active", "department"]);
        all.push((both, "speeds up listing the active users of a department".to_owned()));
    }
    let predicate = Predicate { column: "is_active".to_owned(), sql: "is_active".to_owned() };
    all.push((partial(input, "active_users", predicate), "speeds up listing active users".to_owned()));
    all
}

/// The column with the status of the integration.
fn configured_column<'a>(input: &PlanInput<'a>) -> Option<&'a str> {
    let mut words = input.layout.word_columns();
    words
        .find(|(_, words)| ["configured", "active"].iter().all(|word| words.contains(word)))
        .map(|(column, _)| column)
}

fn configured(input: &PlanInput<'_>, status: Option<&str>) -> Option<(WantedIndex, String)> {
    let status = status.filter(|status| is_text(input, status))?;
    let sql = format!("{} IN ('configured', 'active')", quote(status));
    let predicate = Predicate { column: status.to_owned(), sql };
    Some((partial(input, "configured_users", predicate), "speeds up listing configured users".to_owned()))
}

fn partial(input: &PlanInput<'_>, purpose: &str, predicate: Predicate) -> WantedIndex {
    let user = input.layout.user_column.as_str();
    WantedIndex { predicate: Some(predicate), ..index(input, purpose, "btree", &[user]) }
}

fn index(input: &PlanInput<'_>, purpose: &str, method: &'static str, columns: &[&str]) -> WantedIndex {
    WantedIndex {
        name: our_name(&[&input.layout.table, purpose]),
        method,
        columns: columns.iter().map(|&column| column.to_owned()).collect(),
        unique: false,
        nulls_not_distinct: false,
        predicate: None,
        options: "",
    }
}

fn has_type(input: &PlanInput<'_>, column: &str, kind: &str) -> bool {
    kind_after(input, column).is_some_and(|found| found == kind)
}

fn is_text(input: &PlanInput<'_>, column: &str) -> bool {
    kind_after(input, column).is_some_and(|kind| kind == "text" || kind.starts_with("character varying"))
}

fn is_ordered(input: &PlanInput<'_>, column: &str) -> bool {
    kind_after(input, column).is_some_and(|kind| !UNORDERED.contains(&kind.as_str()))
}
