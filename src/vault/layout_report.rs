//! The result of comparing a layout with the database.
//!
//! A name that does not exist in the database is not printed, because it may be a secret in the wrong place.

use crate::layout::filter::{FilterValue, Rows};
use crate::layout::layout::Layout;
use crate::layout::placement::Place;
use crate::postgres::catalogue::table::missing_table;
use crate::postgres::catalogue::table_column::TableColumn;
use crate::record::field::Field;

/// The result of [`Layout::compare`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LayoutReport {
    /// Host, port and name of the database.
    pub address: String,
    /// The table with its schema, if there is one of this name.
    pub table: Option<String>,
    /// The columns of the owner that exist: of the user id, and of the tenant id.
    pub owner: Vec<String>,
    /// Which rows count: a condition for each column. Texts that may be secrets are masked.
    pub filter: Vec<String>,
    /// Who makes the row of an owner, as the layout says.
    pub rows: Option<Rows>,
    /// Where every field would go now.
    pub fields: Vec<FieldReport>,
    /// The columns of the table that the vault neither reads nor writes.
    pub not_touched: Vec<String>,
    /// Contradictions between the layout and the database. Empty: everything that was checked matches.
    pub contradictions: Vec<Contradiction>,
    /// What was not checked.
    pub not_looked_at: Vec<String>,
}

/// Where one field would go.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FieldReport {
    /// The field.
    pub field: Field,
    /// Where a store would put it.
    pub place: Place,
    /// Whether it would be stored as a token there. Otherwise it would be in plaintext.
    pub is_sealed: bool,
    /// Why it is not in a column of its own, where it could have one.
    pub why: Option<String>,
}

/// A contradiction between the layout and the database.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Contradiction {
    /// The member of the layout file: `columns.api_key`.
    pub member: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub hint: String,
}

/// Where there is no table of the name.
pub(super) fn without_table(layout: &Layout) -> LayoutReport {
    let (problem, hint) = match layout.table_was_named {
        true => {
            ("the database has no table of this name".to_owned(), missing_table(layout).hint().to_owned())
        }
        false => (
            format!("no table is named, and {} does not exist", layout.table_name()),
            "name the table of the application's users or accounts; `retell-vault layout detect` finds the one with credentials"
                .to_owned(),
        ),
    };
    let mut contradictions = double_uses(layout);
    contradictions.push(Contradiction { member: "table.name".to_owned(), problem, hint });
    LayoutReport {
        address: String::new(),
        table: None,
        owner: Vec::new(),
        filter: filter(layout, &[]),
        rows: layout.rows,
        fields: layout.fields.each().map(|(field, _)| local(field)).collect(),
        not_touched: Vec::new(),
        contradictions,
        not_looked_at: vec!["columns, because there is no table".to_owned()],
    }
}

pub(super) fn local(field: Field) -> FieldReport {
    FieldReport { field, place: Place::Local, is_sealed: true, why: None }
}

pub(super) fn double_uses(layout: &Layout) -> Vec<Contradiction> {
    let found = |(first, second): (String, String)| Contradiction {
        problem: format!("names the same column as {first}"),
        member: second,
        hint: "name another column for one of them".to_owned(),
    };
    layout.double_uses().into_iter().map(found).collect()
}

/// The conditions of the filter, those of columns that exist by name.
pub(super) fn filter(layout: &Layout, columns: &[TableColumn]) -> Vec<String> {
    let name = |column: &str| match columns.iter().any(|known| known.name == column) {
        true => column.to_owned(),
        false => "a column that does not exist".to_owned(),
    };
    let equals = layout.filter.equals.iter().map(|(column, value)| {
        let value = match value {
            FilterValue::Text(text) if may_be_secret(text) => "a text that is not printed here".to_owned(),
            FilterValue::Text(text) => format!("\"{text}\""),
            FilterValue::Integer(number) => number.to_string(),
            FilterValue::Boolean(is_set) => is_set.to_string(),
        };
        format!("{} = {value}", name(column))
    });
    let is_null = layout.filter.is_null.iter().map(|column| format!("{} is NULL", name(column)));
    equals.chain(is_null).collect()
}

/// Whether a constant is no word: long, or with digits as keys have.
fn may_be_secret(text: &str) -> bool {
    text.len() > 32 || (text.len() >= 12 && text.contains(|char: char| char.is_ascii_digit()))
}
