//! A column in which an application keeps credentials today: its type, and how its values are read.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind};
use crate::layout::old_source::OldSource;
use crate::postgres::sql::names::text;

/// A column of a table with old values.
#[derive(Debug, Clone)]
pub(in crate::postgres) struct OldColumn {
    /// The name of its built-in type, or `other`.
    pub(in crate::postgres) base: String,
    pub(in crate::postgres) not_null: bool,
    pub(in crate::postgres) unique: bool,
}

impl OldColumn {
    pub(in crate::postgres) fn is_bytes(&self) -> bool {
        self.base == "bytea"
    }

    /// The text of the column, or the hex digits of its bytes. What it reads is compared when the column is cleared.
    pub(in crate::postgres) fn text_or_hex(&self, column: &str) -> String {
        match self.is_bytes() {
            true => format!("pg_catalog.encode({column}, 'hex'::pg_catalog.text)"),
            false => text(column),
        }
    }
}

/// Milliseconds since 1970, of a column of this type.
pub(in crate::postgres) fn time_of(column: &str, base: &str) -> Option<String> {
    let of_time = |value: &str| {
        format!("CASE WHEN isfinite({column}) THEN floor(extract(epoch FROM {value}) * 1000)::int8 END")
    };
    match base {
        "timestamptz" => Some(of_time(column)),
        "timestamp" => Some(of_time(&format!("({column} AT TIME ZONE 'UTC')"))),
        "int8" => Some(column.to_owned()),
        _ => None,
    }
}

/// Whether a source can be read.
///
/// # Errors
/// `Schema`, naming the column, if it is missing or has no time.
pub(in crate::postgres) fn check_columns(
    source: &OldSource,
    columns: &BTreeMap<String, OldColumn>,
) -> Result<(), Error> {
    let optional = [&source.tenant_column, &source.iv_column, &source.tag_column, &source.time_column];
    let filter = source.filter.equals.iter().map(|(name, _)| name).chain(&source.filter.is_null);
    let named = [&source.user_column, &source.column].into_iter().chain(optional.into_iter().flatten());
    let mut named = named.chain(filter);
    if let Some(missing) = named.find(|name| !columns.contains_key(*name)) {
        return Err(
            Error::new(ErrorKind::Schema, format!("the table has no column {missing}")).with_column(missing)
        );
    }
    let time = source.time_column.iter().find(|name| time_of("", &columns[*name].base).is_none());
    match time {
        None => Ok(()),
        Some(name) => Err(Error::new(ErrorKind::Schema, format!("column {name} holds no time"))
            .with_hint("the time must be timestamptz, timestamp, or bigint with milliseconds since 1970")),
    }
}
