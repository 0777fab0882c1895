//! One index as it should be, and the step that builds it without keeping anybody from writing.

use crate::postgres::catalogue::picture::Index;
use crate::postgres::sql::names::quote;
use crate::postgres::sql::names::{in_schema, literal};
use crate::schema::plan::Subject;
use crate::schema::step::{Draft, LockLevel, Step};

/// An index that is ours to build.
pub(super) struct Wanted {
    pub(super) name: String,
    /// `btree` or `gin`.
    pub(super) method: &'static str,
    /// Key columns in order, not quoted.
    pub(super) columns: Vec<String>,
    pub(super) unique: bool,
    pub(super) nulls_not_distinct: bool,
    pub(super) predicate: Option<Predicate>,
}

/// Which rows an index holds.
pub(super) struct Predicate {
    /// The column that decides, not quoted.
    pub(super) column: String,
    pub(super) sql: String,
}

impl Wanted {
    /// Whether a valid index does the same, whatever its name.
    pub(super) fn is_served_by(&self, index: &Index) -> bool {
        let same_rows = match (&self.predicate, &index.predicate) {
            (None, None) => true,
            // the server writes the condition in its own words; the column is in both, quoted if it must be
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

    /// The step that builds it, unless the name belongs to something else: undoing it would drop that.
    pub(super) fn draft(&self, subject: &Subject<'_>, id: String, reason: String, draft: &mut Draft) {
        let is_it = |index: &Index| index.name == self.name;
        if subject.picture.ours.contains(&self.name) && !subject.picture.indexes.iter().any(is_it) {
            let object = format!("index {}.{}", subject.layout.schema, self.name);
            let reason = "the name belongs to something that is no index of this table";
            draft.block(object, reason, "rename or drop that");
        } else {
            draft.steps.push(self.step(subject, id, reason));
        }
    }

    fn step(&self, subject: &Subject<'_>, id: String, reason: String) -> Step {
        let name = in_schema(subject.layout, &self.name);
        // an index over partitions cannot be built concurrently
        let concurrent = !subject.picture.is_partitioned();
        let concurrently = if concurrent { "CONCURRENTLY " } else { "" };
        let drop = format!("DROP INDEX {concurrently}IF EXISTS {name}");
        let old = subject.picture.indexes.iter().find(|index| index.name == self.name);
        let restored = old.filter(|index| index.valid).map(|index| in_words(&index.definition, concurrently));
        let create = self.create(subject, concurrently);
        Step {
            id,
            object: format!("index {}.{}", subject.layout.schema, self.name),
            reason,
            sql: old.map(|_| drop.clone()).into_iter().chain([create]).collect(),
            undo: [drop].into_iter().chain(restored).collect(),
            lock: if concurrent { LockLevel::ShareUpdateExclusive } else { LockLevel::Share },
            rewrites: false,
            concurrent,
            instead: None,
            done_if: self.done_if(subject),
            stake: None,
        }
    }

    fn create(&self, subject: &Subject<'_>, concurrently: &str) -> String {
        let unique = if self.unique { "UNIQUE " } else { "" };
        let columns: Vec<String> = self.columns.iter().map(|column| quote(column)).collect();
        let nulls = if self.nulls_not_distinct { " NULLS NOT DISTINCT" } else { "" };
        let rows = self.predicate.as_ref().map(|predicate| format!(" WHERE {}", predicate.sql));
        format!(
            "CREATE {unique}INDEX {concurrently}{} ON {} USING {} ({}){nulls}{}",
            quote(&self.name),
            subject.relation(),
            self.method,
            columns.join(", "),
            rows.unwrap_or_default()
        )
    }

    pub(super) fn done_if(&self, subject: &Subject<'_>) -> String {
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
            literal(&subject.relation()),
            literal(&self.name),
            self.method,
            columns.join(", ")
        )
    }
}

/// The definition of an index, built the way we do.
fn in_words(definition: &str, concurrently: &str) -> String {
    definition.replacen("INDEX ", &format!("INDEX {concurrently}"), 1)
}
