//! The filter of a layout, as the types of its columns have it.

use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::filter::FilterValue;
use crate::layout::layout::Layout;
use crate::postgres::catalogue::table_column::TableColumn;
use crate::postgres::sql::names::{EQ, literal, quote};

/// Which rows of the table count for loads and stores. Each constant is one of a built-in type.
#[derive(Debug, Clone, Default)]
pub(crate) struct RowFilter {
    equals: Vec<Constant>,
    /// Quoted.
    is_null: Vec<String>,
}

#[derive(Debug, Clone)]
struct Constant {
    /// Quoted.
    column: String,
    kind: &'static str,
    /// As SQL, of that type.
    value: String,
    /// The same as a new row gets it.
    assigned: String,
}

impl RowFilter {
    /// # Errors
    /// `Schema` for a column that is missing, is computed, or does not hold such a constant.
    pub(super) fn new(layout: &Layout, columns: &[TableColumn]) -> Result<Self> {
        let table = layout.table_name();
        let column = |name: &String| {
            let found = columns.iter().find(|column| column.name == *name).ok_or_else(|| {
                wrong(format!("table {table} has no column {name}, which the filter of the layout names"))
            })?;
            match found.generated {
                true => Err(wrong(format!("column {name} of {table} is generated, and cannot be a filter"))),
                false => Ok(found),
            }
        };
        let constant = |(name, value): &(String, FilterValue)| constant(&table, column(name)?, value);
        let never_null = |name: &String| match column(name)?.not_null {
            true => Err(wrong(format!("column {name} of {table} is never null, so no row would count"))),
            false => Ok(quote(name)),
        };
        Ok(Self {
            equals: layout.filter.equals.iter().map(constant).collect::<Result<_>>()?,
            is_null: layout.filter.is_null.iter().map(never_null).collect::<Result<_>>()?,
        })
    }

    /// One condition for each column, that a row must fulfil to count. `row` is empty, or ends with a dot.
    pub(crate) fn conditions(&self, row: &str) -> impl Iterator<Item = String> {
        let equals = self
            .equals
            .iter()
            .map(move |of| format!("{row}{}::pg_catalog.{} {EQ} {}", of.column, of.kind, of.value));
        let is_null = self.is_null.iter().map(move |column| format!("{row}{column} IS NULL"));
        equals.chain(is_null)
    }

    /// The conditions, each with an `AND` before it.
    pub(crate) fn and(&self, row: &str) -> String {
        self.conditions(row).map(|condition| format!(" AND {condition}")).collect()
    }

    /// The columns, quoted, with what a new row gets there.
    pub(crate) fn values(&self) -> impl Iterator<Item = (String, String)> {
        let equals = self.equals.iter().map(|of| (of.column.clone(), of.assigned.clone()));
        equals.chain(self.is_null.iter().map(|column| (column.clone(), "NULL".to_owned())))
    }

    /// Whether every row that counts has the same value in a column.
    pub(super) fn fixes(&self, column: &str) -> bool {
        self.equals.iter().any(|of| of.column == quote(column))
    }
}

fn constant(table: &str, column: &TableColumn, value: &FilterValue) -> Result<Constant> {
    let (kind, value) = match (column.value_type(), value) {
        ("text" | "varchar" | "bpchar" | "name", FilterValue::Text(text)) => ("text", literal(text)),
        ("uuid", FilterValue::Text(text)) if Uuid::try_parse(text).is_ok() => ("uuid", literal(text)),
        ("int2" | "int4" | "int8", FilterValue::Integer(number)) => ("int8", format!("'{number}'")),
        ("bool", FilterValue::Boolean(is_set)) => ("bool", format!("'{is_set}'")),
        _ => {
            let (name, kind) = (&column.name, &column.kind);
            return Err(wrong(format!(
                "column {name} of {table} has type {kind}, and never holds the constant that the filter of the layout has for it"
            )));
        }
    };
    let value = format!("{value}::pg_catalog.{kind}");
    let assigned = column.assigned(&value);
    Ok(Constant { column: quote(&column.name), kind, value, assigned })
}

fn wrong(message: String) -> Error {
    Error::new(ErrorKind::Schema, message)
        .with_hint("name another column in the filter, with a constant of its type, or leave the filter out")
}
