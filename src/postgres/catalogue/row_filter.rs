//! The filter of a layout, as the types of its columns have it.

use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::filter::FilterValue;
use crate::layout::layout::{Layout, shown};
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
    /// As a literal without a type.
    literal: String,
    /// The name of the enum that it is of.
    of_enum: Option<String>,
}

impl RowFilter {
    /// # Errors
    /// `Schema` for a column that is missing, is computed, or does not hold such a constant.
    pub(super) fn new(layout: &Layout, columns: &[TableColumn]) -> Result<Self> {
        let table = layout.table_name();
        let column = |name: &String| {
            let found = columns.iter().find(|column| column.name == *name).ok_or_else(|| {
                let name = shown(name);
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

    /// The rows that count, as an index or a unique constraint may be limited to them; `None`: all.
    pub(crate) fn index_predicate(&self) -> Option<String> {
        let equals = self.equals.iter().map(Constant::for_an_index);
        let is_null = self.is_null.iter().map(|column| format!("{column} IS NULL"));
        let conditions: Vec<_> = equals.chain(is_null).collect();
        (!conditions.is_empty()).then(|| conditions.join(" AND "))
    }

    /// Whether a condition that the server printed holds for every row that counts. It is taken apart only as far as its
    /// words are ours or as plain as these; else the answer is no.
    pub(super) fn implies(&self, predicate: &str) -> bool {
        predicate.split(" AND ").all(|part| {
            let part = part.trim_matches([' ', '(', ')']);
            let is_null =
                |column: &String| is_name(column, part.strip_suffix(" IS NULL").unwrap_or_default());
            self.is_null.iter().any(is_null) || self.equals.iter().any(|of| of.is_printed_as(part))
        })
    }

    /// Whether every row that counts has the same value in a column.
    pub(super) fn fixes(&self, column: &str) -> bool {
        self.equals.iter().any(|of| of.column == quote(column))
    }
}

impl Constant {
    /// In a form that does not change: the text of an enum may, for Postgres.
    fn for_an_index(&self) -> String {
        match &self.of_enum {
            Some(name) => format!("{} {EQ} {}::{name}", self.column, self.literal),
            None => format!("{}::pg_catalog.{} {EQ} {}", self.column, self.kind, self.value),
        }
    }

    /// `(provider)::text = 'retell'::text`, and for a boolean `active` or `NOT active`.
    fn is_printed_as(&self, part: &str) -> bool {
        let Some((column, value)) = part.split_once(" = ") else {
            let is_set = part.strip_prefix("NOT ");
            return self.kind == "bool"
                && is_name(&self.column, is_set.unwrap_or(part))
                && (self.literal == "'true'") == is_set.is_none();
        };
        let bare = self.literal.trim_matches('\'');
        let rest = value.strip_prefix(self.literal.as_str());
        let rest = rest.or_else(|| value.strip_prefix(bare).filter(|_| self.kind == "int8"));
        is_name(&self.column, column) && rest.is_some_and(is_cast)
    }
}

/// Nothing, or the name of a type and nothing else.
fn is_cast(rest: &str) -> bool {
    let of_a_name = |char: char| char.is_alphanumeric() || "_.\"".contains(char);
    rest.is_empty() || rest.strip_prefix("::").is_some_and(|kind| kind.chars().all(of_a_name))
}

/// Whether an expression is this column, which is quoted, with or without a cast.
fn is_name(quoted: &str, expression: &str) -> bool {
    let name = expression.split("::").next().unwrap_or_default().trim_matches([' ', '(', ')']);
    name == quoted || format!("\"{name}\"") == quoted
}

fn constant(table: &str, column: &TableColumn, value: &FilterValue) -> Result<Constant> {
    let Some((kind, literal)) = as_sql(column, value) else {
        let (name, kind) = (&column.name, &column.kind);
        return Err(wrong(format!(
            "column {name} of {table} has type {kind}, and never holds the constant that the filter of the layout has for it"
        )));
    };
    let value = format!("{literal}::pg_catalog.{kind}");
    let (assigned, of_enum) = (column.assigned(&value), column.enum_type.clone());
    Ok(Constant { column: quote(&column.name), kind, value, assigned, literal, of_enum })
}

/// The built-in type that a constant is compared as, and its literal; `None`: no value of the column is such a constant.
fn as_sql(column: &TableColumn, value: &FilterValue) -> Option<(&'static str, String)> {
    match (column.value_type(), value) {
        ("text" | "varchar" | "bpchar" | "name", FilterValue::Text(text)) => Some(("text", literal(text))),
        ("uuid", FilterValue::Text(text)) => Uuid::try_parse(text).ok().map(|_| ("uuid", literal(text))),
        ("int2" | "int4" | "int8", FilterValue::Integer(number)) => Some(("int8", format!("'{number}'"))),
        ("bool", FilterValue::Boolean(is_set)) => Some(("bool", format!("'{is_set}'"))),
        _ => None,
    }
}

/// Whether a column can hold a constant.
pub(crate) fn can_hold(column: &TableColumn, value: &FilterValue) -> bool {
    as_sql(column, value).is_some()
}

fn wrong(message: String) -> Error {
    Error::new(ErrorKind::Schema, message)
        .with_hint("name another column in the filter, with a constant of its type, or leave the filter out")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(kind: &'static str, literal: &str, of_enum: Option<&str>) -> Constant {
        Constant {
            column: "\"provider\"".to_owned(),
            kind,
            value: format!("{literal}::pg_catalog.{kind}"),
            assigned: literal.to_owned(),
            literal: literal.to_owned(),
            of_enum: of_enum.map(str::to_owned),
        }
    }

    fn implies(equals: Vec<Constant>, predicate: &str) -> bool {
        RowFilter { equals, is_null: vec!["\"deleted_at\"".to_owned(), "\"Gone\"".to_owned()] }
            .implies(predicate)
    }

    #[test]
    fn a_condition_that_holds_for_the_rows_that_count_is_known_again() {
        let text = || vec![constant("text", "'retell'", None)];
        for printed in [
            "(deleted_at IS NULL)",
            "(\"Gone\" IS NULL)",
            "(provider = 'retell'::text)",
            "((provider)::text = 'retell'::text)",
            "(((provider)::text = 'retell'::text) AND (deleted_at IS NULL))",
            "((deleted_at IS NULL) AND (\"Gone\" IS NULL))",
        ] {
            assert!(implies(text(), printed), "{printed}");
        }
        assert!(implies(
            vec![constant("text", "'retell'", Some("app.kind"))],
            "(provider = 'retell'::app.kind)"
        ));
        assert!(implies(vec![constant("int8", "'3'", None)], "((provider)::bigint = '3'::bigint)"));
        assert!(implies(vec![constant("int8", "'3'", None)], "(provider = 3)"));
        assert!(implies(vec![constant("bool", "'true'", None)], "provider"));
        assert!(implies(vec![constant("bool", "'false'", None)], "(NOT provider)"));
    }

    #[test]
    fn any_other_condition_is_not() {
        let text = || vec![constant("text", "'retell'", None)];
        for printed in [
            "",
            "true",
            "(deleted_at IS NOT NULL)",
            "(gone IS NULL)",
            "(provider = 'twilio'::text)",
            "(provider = 'retell::x'::text)",
            "(provider <> 'retell'::text)",
            "(lower(provider) = 'retell'::text)",
            "((provider = 'retell'::text) AND active)",
            "((provider = 'retell'::text) OR (deleted_at IS NULL))",
            "(provider = 'retell'::text || label)",
            "provider",
        ] {
            assert!(!implies(text(), printed), "{printed}");
        }
        assert!(!implies(vec![constant("int8", "'3'", None)], "(provider = 30)"));
        assert!(!implies(vec![constant("bool", "'true'", None)], "(NOT provider)"));
        assert!(!implies(vec![constant("bool", "'false'", None)], "provider"));
    }
}
