//! The filter of a layout, with the types of its columns.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::filter::FilterValue;
use crate::layout::layout::{Layout, shown};
use crate::postgres::catalogue::table_column::TableColumn;
use crate::postgres::sql::names::{EQ, literal, quote};
use crate::postgres::sql::token::may_hold;

/// The rows that loads and stores use. Each constant has a built-in type.
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
    /// The built-in type in which it is compared: the type of the column, below all domains, or text for an enum.
    kind: &'static str,
    /// As a literal without a type.
    literal: String,
    /// The name of its enum, if it has one.
    of_enum: Option<String>,
    /// Whether the column has this type itself, and not a domain over it.
    is_plain: bool,
}

impl RowFilter {
    /// # Errors
    /// `Schema` for a column that is missing, is generated, or cannot hold such a constant.
    pub(super) fn new(layout: &Layout, columns: &[TableColumn]) -> Result<Self> {
        let table = layout.table_name();
        let column = |name: &String| {
            let found = columns.iter().find(|column| column.name == *name).ok_or_else(|| {
                let message = format!(
                    "table {table} has no column {}, which the filter of the layout names",
                    shown(name)
                );
                wrong(name, message)
            })?;
            match found.generated {
                true => {
                    let message = format!(
                        "column {name} of {table} is generated, so it cannot be in the filter of the layout"
                    );
                    Err(wrong(name, message))
                }
                false => Ok(found),
            }
        };
        let constant = |(name, value): &(String, FilterValue)| constant(&table, column(name)?, value);
        let never_null = |name: &String| match column(name)?.not_null {
            true => Err(wrong(
                name,
                format!("column {name} of {table} is never null, so the filter matches no row"),
            )),
            false => Ok(quote(name)),
        };
        Ok(Self {
            equals: layout.filter.equals.iter().map(constant).collect::<Result<_>>()?,
            is_null: layout.filter.is_null.iter().map(never_null).collect::<Result<_>>()?,
        })
    }

    /// One condition for each column. A row passes the filter if all are true. `row` is empty, or ends with a dot.
    pub(crate) fn conditions(&self, row: &str) -> impl Iterator<Item = String> {
        let equals = self.equals.iter().map(move |of| of.condition(row));
        let is_null = self.is_null.iter().map(move |column| format!("{row}{column} IS NULL"));
        equals.chain(is_null)
    }

    /// The conditions, each with an `AND` before it.
    pub(crate) fn and(&self, row: &str) -> String {
        self.conditions(row).map(|condition| format!(" AND {condition}")).collect()
    }

    /// A condition that the row `t` passes the filter, or that one of these texts may hold a token. Other rows belong to
    /// the application. `None` if every row passes.
    pub(crate) fn may_be_ours(&self, texts: &[String]) -> Option<String> {
        let counts: Vec<_> = self.conditions("t.").collect();
        let tokens = texts.iter().map(|text| format!(" OR {}", may_hold(text)));
        (!counts.is_empty()).then(|| format!("(({}){})", counts.join(" AND "), tokens.collect::<String>()))
    }

    /// The columns, quoted, with the values of a new row.
    pub(crate) fn values(&self) -> impl Iterator<Item = (String, String)> {
        let equals = self.equals.iter().map(|of| (of.column.clone(), of.assigned()));
        equals.chain(self.is_null.iter().map(|column| (column.clone(), "NULL".to_owned())))
    }

    /// The filter as the condition of a partial index. `None` if every row passes.
    pub(crate) fn index_predicate(&self) -> Option<String> {
        let equals = self.equals.iter().map(Constant::for_an_index);
        let is_null = self.is_null.iter().map(|column| format!("{column} IS NULL"));
        let conditions: Vec<_> = equals.chain(is_null).collect();
        (!conditions.is_empty()).then(|| conditions.join(" AND "))
    }

    /// Whether a condition that the server printed is true for every row that passes the filter. Each of its parts must
    /// be a part of the filter, as the server prints it. Otherwise the answer is false.
    pub(super) fn implies(&self, predicate: &str) -> bool {
        let is_null =
            self.is_null.iter().flat_map(|column| names(column)).map(|name| format!("{name} IS NULL"));
        let equals = self.equals.iter().flat_map(Constant::as_printed);
        let ours: Vec<String> = is_null.chain(equals).map(|part| bare(&part).to_owned()).collect();
        predicate.split(" AND ").all(|part| ours.iter().any(|ours| ours == bare(part)))
    }

    /// A mark in the names of schema objects that distinguishes these rows from other rows of the table. Empty if every
    /// row passes the filter.
    pub(crate) fn mark(&self) -> String {
        let predicate = self.index_predicate().unwrap_or_default();
        let digest = Sha256::digest(&predicate);
        digest.iter().take(4).filter(|_| !predicate.is_empty()).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether every row that passes the filter has the same value in a column.
    pub(super) fn fixes(&self, column: &str) -> bool {
        self.equals.iter().any(|of| of.column == quote(column))
    }
}

impl Constant {
    fn typed(&self) -> String {
        format!("{}::pg_catalog.{}", self.literal, self.kind)
    }

    /// The value of a new row.
    fn assigned(&self) -> String {
        match &self.of_enum {
            Some(name) => format!("{}::{name}", self.literal),
            None => self.typed(),
        }
    }

    fn condition(&self, row: &str) -> String {
        // a cast would hide a column of char(n) from its index
        let cast = if self.is_plain { String::new() } else { format!("::pg_catalog.{}", self.kind) };
        let value = format!("{row}{}{cast}", self.column);
        match (self.kind, self.literal.as_str()) {
            ("bool", "true") => value,
            ("bool", _) => format!("NOT {value}"),
            _ => format!("{value} {EQ} {}", self.typed()),
        }
    }

    /// The condition in an immutable form, because Postgres does not treat the text of an enum as immutable.
    fn for_an_index(&self) -> String {
        match &self.of_enum {
            Some(_) => format!("{} {EQ} {}", self.column, self.assigned()),
            None => self.condition(""),
        }
    }

    /// The forms in which the server prints such a condition.
    fn as_printed(&self) -> Vec<String> {
        // with a backslash the server prints it by the settings of the session, which are the defaults here
        let literal = match self.literal.strip_prefix('E') {
            Some(escaped) => escaped.replace("\\\\", "\\"),
            None => self.literal.clone(),
        };
        let kind = printed_type(self.kind);
        let values = match (&self.of_enum, self.kind) {
            (Some(name), _) => vec![format!("{literal}::{name}")],
            (None, "bool") => Vec::new(),
            // a bare number has type integer, which compares with all of these
            (None, "int2" | "int4" | "int8") => {
                let bare = literal.trim_matches('\'').to_owned();
                vec![bare, format!("'{}'::{kind}", literal.trim_matches('\''))]
            }
            (None, _) => vec![format!("{literal}::{kind}")],
        };
        let cast = |name: String| match self.is_plain || self.of_enum.is_some() {
            true => name,
            false => format!("({name})::{kind}"),
        };
        let columns = || names(&self.column).map(cast);
        match self.kind {
            "bool" if self.literal == "true" => {
                columns().flat_map(|column| [column.clone(), format!("{column} = true")]).collect()
            }
            "bool" => {
                columns().flat_map(|column| [format!("NOT {column}"), format!("{column} = false")]).collect()
            }
            _ => columns()
                .flat_map(|column| values.iter().map(move |value| format!("{column} = {value}")))
                .collect(),
        }
    }
}

/// A quoted name, and the same name without quotes if the server prints it so.
fn names(quoted: &str) -> impl Iterator<Item = String> {
    let is_simple = |name: &&str| {
        name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_')
    };
    let simple = Some(quoted.trim_matches('"')).filter(is_simple).map(str::to_owned);
    [quoted.to_owned()].into_iter().chain(simple)
}

/// Removes surrounding parentheses.
fn bare(part: &str) -> &str {
    part.trim_matches([' ', '(', ')'])
}

fn printed_type(kind: &str) -> &str {
    match kind {
        "int2" => "smallint",
        "int4" => "integer",
        "int8" => "bigint",
        "bool" => "boolean",
        other => other,
    }
}

fn constant(table: &str, column: &TableColumn, value: &FilterValue) -> Result<Constant> {
    let Some((kind, literal)) = as_sql(column, value) else {
        let (name, kind) = (&column.name, &column.kind);
        let message = format!(
            "column {name} of {table} has type {kind}, which cannot hold the constant in the filter of the layout"
        );
        return Err(wrong(name, message));
    };
    let (of_enum, is_plain) = (column.enum_type.clone(), column.is_of_built_in(kind));
    Ok(Constant { column: quote(&column.name), kind, literal, of_enum, is_plain })
}

/// The built-in type in which a constant is compared, and its literal. `None` if the column cannot hold it.
fn as_sql(column: &TableColumn, value: &FilterValue) -> Option<(&'static str, String)> {
    let number = |number: &i64| if *number < 0 { format!("'{number}'") } else { number.to_string() };
    match (column.value_type(), value) {
        ("text" | "varchar", FilterValue::Text(text)) => Some(("text", literal(text))),
        ("bpchar", FilterValue::Text(text)) => Some(("bpchar", literal(text))),
        ("name", FilterValue::Text(text)) if text.len() < 64 => Some(("name", literal(text))),
        ("uuid", FilterValue::Text(text)) => {
            let uuid = Uuid::try_parse(text).ok()?;
            Some(("uuid", literal(&uuid.hyphenated().to_string())))
        }
        ("int2", FilterValue::Integer(it)) => i16::try_from(*it).ok().map(|_| ("int2", format!("'{it}'"))),
        ("int4", FilterValue::Integer(it)) => i32::try_from(*it).ok().map(|_| ("int4", number(it))),
        ("int8", FilterValue::Integer(it)) => Some(("int8", format!("'{it}'"))),
        ("bool", FilterValue::Boolean(is_set)) => Some(("bool", is_set.to_string())),
        _ => None,
    }
}

/// Whether a column can hold a constant.
pub(crate) fn can_hold(column: &TableColumn, value: &FilterValue) -> bool {
    as_sql(column, value).is_some()
}

fn wrong(column: &str, message: String) -> Error {
    Error::new(ErrorKind::Schema, message)
        .with_column(column)
        .with_hint("name another column in the filter, with a constant of its type, or remove the filter")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(kind: &'static str, literal: &str, is_plain: bool) -> Constant {
        Constant {
            column: "\"provider\"".to_owned(),
            kind,
            literal: literal.to_owned(),
            of_enum: None,
            is_plain,
        }
    }

    fn implies(equals: Constant, predicate: &str) -> bool {
        let is_null = vec!["\"deleted_at\"".to_owned(), "\"Gone\"".to_owned()];
        RowFilter { equals: vec![equals], is_null }.implies(predicate)
    }

    /// As Postgres 15 prints them.
    #[test]
    fn a_condition_that_holds_for_the_rows_that_count_is_known_again() {
        let text = || constant("text", "'retell'", true);
        for printed in [
            "(deleted_at IS NULL)",
            "(\"Gone\" IS NULL)",
            "(provider = 'retell'::text)",
            "((provider = 'retell'::text) AND (deleted_at IS NULL))",
            "((deleted_at IS NULL) AND (\"Gone\" IS NULL))",
        ] {
            assert!(implies(text(), printed), "{printed}");
        }
        assert!(implies(constant("text", "'retell'", false), "((provider)::text = 'retell'::text)"));
        let of_enum = Some("app.\"My Kind\"".to_owned());
        let of_enum = Constant { of_enum, ..constant("text", "'retell'", false) };
        assert!(implies(of_enum, "(provider = 'retell'::app.\"My Kind\")"));
        for (kind, literal, is_plain, printed) in [
            ("int8", "'3'", true, "(provider = 3)"),
            ("int8", "'3'", true, "(provider = '3'::bigint)"),
            ("int4", "3", true, "(provider = 3)"),
            ("int4", "'-3'", true, "(provider = '-3'::integer)"),
            ("int2", "'3'", true, "(provider = '3'::smallint)"),
            ("int4", "3", false, "((provider)::integer = 3)"),
            ("bool", "true", true, "provider"),
            ("bool", "true", true, "(provider = true)"),
            ("bool", "false", true, "(NOT provider)"),
            ("bpchar", "'retell'", true, "(provider = 'retell'::bpchar)"),
        ] {
            assert!(implies(constant(kind, literal, is_plain), printed), "{printed}");
        }
    }

    #[test]
    fn any_other_condition_is_not() {
        let text = |is_plain| constant("text", "'retell'", is_plain);
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
            "(((provider)::text = 'active'::text) OR (other IS NULL))",
            "(((deleted_at)::date > '2020-01-01'::date) OR (other IS NULL))",
            "(((provider)::text || COALESCE(other, ''::text)) = 'retell'::text)",
            "(((provider)::text ~~ 'x%'::text) OR (other = 'retell'::text))",
            "((provider)::\"char\" = 'retell'::\"char\")",
        ] {
            assert!(!implies(text(true), printed) && !implies(text(false), printed), "{printed}");
        }
        for (kind, literal, printed) in [
            ("int8", "'3'", "(provider = 30)"),
            ("int8", "'3'", "(((provider)::bigint + 1) = 3)"),
            ("bool", "true", "(NOT provider)"),
            ("bool", "false", "provider"),
            ("bool", "true", "((provider)::integer < 1)"),
        ] {
            assert!(!implies(constant(kind, literal, true), printed), "{printed}");
        }
    }

    #[test]
    fn objects_for_other_rows_have_other_names() {
        let mark = |literal| {
            let equals = vec![constant("text", literal, true)];
            RowFilter { equals, is_null: Vec::new() }.mark()
        };
        assert_eq!(RowFilter::default().mark(), "");
        assert_eq!((mark("'retell'").len(), mark("'retell'")), (8, mark("'retell'")));
        assert_ne!(mark("'retell'"), mark("'twilio'"));
    }
}
