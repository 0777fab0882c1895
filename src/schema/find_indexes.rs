//! The indexes by which the vault finds owners: on the column of the blind index, and on plain columns of fields that are found.

use crate::layout::placement::ColumnType;
use crate::postgres::sql::names::{our_name, quote};
use crate::record::field::ValueKind;
use crate::schema::indexes::{Predicate, WantedIndex};
use crate::schema::plan_input::{PlanDraft, PlanInput};
use crate::schema::wanted_columns::{BYTEA_ARRAY, is_used_after, kind_after, seen};

pub(super) fn draft(input: &PlanInput<'_>, draft: &mut PlanDraft) {
    let column = input.layout.index_column.as_str();
    let is_there = seen(input, column).is_some_and(|seen| seen.kind == ColumnType::ByteaArray);
    let is_added = is_used_after(input, column) && kind_after(input, column).as_deref() == Some(BYTEA_ARRAY);
    if !is_there && !is_added {
        return;
    }
    for (wanted, reason) in wanted(input, column) {
        if !input.table.indexes.iter().any(|index| wanted.is_served_by(index, input.definitions)) {
            let id = format!("index.{}", wanted.name);
            wanted.draft(input, id, reason, draft);
        }
    }
}

fn wanted(input: &PlanInput<'_>, column: &str) -> Vec<(WantedIndex, String)> {
    let index = |purpose: &str, method, column: &str| WantedIndex {
        name: our_name(&[&input.layout.table, purpose]),
        method,
        columns: vec![column.to_owned()],
        unique: false,
        nulls_not_distinct: false,
        predicate: None,
        options: "",
    };
    // a list of entries that wait to be merged would make some look-ups slow
    let entries = WantedIndex { options: " WITH (fastupdate = off)", ..index(column, "gin", column) };
    let unindexed = Predicate { column: column.to_owned(), sql: format!("{} IS NULL", quote(column)) };
    let user = input.layout.user_column.as_str();
    let unindexed =
        WantedIndex { predicate: Some(unindexed), ..index(&format!("{column}_missing"), "btree", user) };
    let found = input.layout.fields.plain().filter(|(_, spec)| spec.index.is_some());
    let found = found.filter(|(_, spec)| spec.kind == ValueKind::Text);
    let plain = found.filter_map(|(field, _)| input.plain_column(field));
    let plain = plain.filter(|column| is_used_after(input, column));
    let plain = plain.map(|column| (index(column, "btree", column), format!("finds owners by {column}")));
    [
        (entries, "finds owners by sealed values".to_owned()),
        (unindexed, "tells whether the index covers every record".to_owned()),
    ]
    .into_iter()
    .chain(plain)
    .collect()
}
