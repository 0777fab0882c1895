//! Clears old values whose record was read back.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::layout::old_source::OldSource;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Query, bind as bind_value};
use crate::postgres::sql::names::{EQ, bytes_of, literal, quote, text};
use crate::postgres::statements::bind;
use crate::postgres::statements::fragments::{DURABLE, Forms, Writer};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::walk::old_values::{OldTable, OldText, counts};
use crate::postgres::walk::rows::PATIENTLY;
use crate::record::owner::Owner;
use crate::record::record::Head;

const UNIQUE: &str = "the column is unique and NOT NULL, so nothing stands for an empty value";
const OTHER_NAME: &str =
    "the source is a view or a partition of the vault's own table: name that table itself";

/// An old value, and the record that holds it.
#[derive(Clone, Copy)]
pub(crate) struct Cleared<'a> {
    pub(crate) old: &'a OldText,
    pub(crate) owner: &'a Owner,
    pub(crate) head: Head,
}

/// What is cleared of a column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ClearedPart {
    Everything,
    /// These members of its JSON, by their paths. The others stay.
    Members(Vec<String>),
}

impl OldTable {
    /// Why a column cannot be cleared, if it cannot.
    pub(crate) fn why_kept(&self, source: &OldSource, part: &ClearedPart) -> Option<&'static str> {
        let column = &self.columns[&source.column];
        let is_unique = *part == ClearedPart::Everything && column.not_null && column.unique;
        match self.is_of_the_vault {
            true => Some(OTHER_NAME),
            false => is_unique.then_some(UNIQUE),
        }
    }

    fn new_value(&self, source: &OldSource, part: &ClearedPart) -> String {
        let (column, held) = (&self.columns[&source.column], format!("t.{}", quote(&source.column)));
        let cast = |value: String| format!("({value})::pg_catalog.{}", column.base);
        match part {
            ClearedPart::Everything if !column.not_null => "NULL".to_owned(),
            ClearedPart::Everything => match column.base.as_str() {
                "json" | "jsonb" => cast("'{}'".to_owned()),
                _ => "''".to_owned(),
            },
            ClearedPart::Members(paths) => {
                let json = match column.is_bytes() {
                    true => {
                        format!("pg_catalog.convert_from({held}, 'UTF8'::pg_catalog.name)::pg_catalog.jsonb")
                    }
                    false => format!("{}::pg_catalog.jsonb", text(&held)),
                };
                let without = paths.iter().fold(json, |json, path| {
                    let names: Vec<_> = path.split('.').map(literal).collect();
                    format!("({json}) OPERATOR(pg_catalog.#-) ARRAY[{}]::pg_catalog._text", names.join(", "))
                });
                match column.base.as_str() {
                    "json" | "jsonb" => cast(without),
                    "bytea" => {
                        format!(
                            "pg_catalog.convert_to({}, 'UTF8'::pg_catalog.name)",
                            text(&format!("({without})"))
                        )
                    }
                    _ => text(&format!("({without})")),
                }
            }
        }
    }

    /// Whether a written row no longer holds what was to be cleared. Clearing it again would change nothing.
    fn is_cleared(&self, source: &OldSource, part: &ClearedPart) -> String {
        let (column, held) = (&self.columns[&source.column], format!("t.{}", quote(&source.column)));
        let new = self.new_value(source, part);
        match part {
            ClearedPart::Everything if new == "NULL" => format!("{held} IS NULL"),
            _ => format!("{} {EQ} {}", column.text_or_hex(&held), column.text_or_hex(&format!("({new})"))),
        }
    }
}

impl Postgres {
    /// Clears a column in the rows that still hold the old text, of owners whose record still is the one that was read
    /// back. One statement compares both. Returns which were cleared.
    ///
    /// On error nothing was cleared, unless the error says that the outcome is unknown.
    pub(crate) async fn clear_old_values(
        &self,
        plan: &Plan,
        (old_table, source): (&OldTable, &OldSource),
        part: &ClearedPart,
        cleared: &[Cleared<'_>],
    ) -> Result<Vec<bool>, DatabaseError> {
        let (table, _) = plan.work()?;
        let writer = Writer { layout: self.layout(), table, placement: &plan.placement, forms: Forms::One };
        let mut arguments = PgArguments::default();
        let owners: Vec<&Owner> = cleared.iter().map(|cleared| cleared.owner).collect();
        let places = bind::owners(&mut arguments, table, &owners)?;
        let each = || places.iter().map(|at| &cleared[*at]);
        bind_value(&mut arguments, each().map(|cleared| cleared.old.user.as_str()).collect::<Vec<_>>())?;
        bind_value(&mut arguments, each().map(|cleared| cleared.old.tenant.as_deref()).collect::<Vec<_>>())?;
        bind_value(&mut arguments, each().map(|cleared| cleared.old.content.as_str()).collect::<Vec<_>>())?;
        bind_value(&mut arguments, each().map(|cleared| cleared.head.to_string()).collect::<Vec<_>>())?;
        bind_value(&mut arguments, places.iter().map(|at| *at as i32).collect::<Vec<_>>())?;
        let sql: Arc<str> = statement(&writer, (old_table, source), part).into();
        let act = self.database.acts_as_owner(&old_table.relation).await?;
        let begin = match act {
            None => PATIENTLY.into(),
            Some(act) => format!("{PATIENTLY}; {act}").into(),
        };
        let rows = self.database.begun_with(begin, Query { sql, arguments }, Phase::Writing).await?;
        let mut done = vec![false; cleared.len()];
        for row in &rows {
            let at: i32 = row.try_get(0).map_err(|error| DatabaseError::of(&error, Phase::Writing))?;
            if let Some(done) = usize::try_from(at).ok().and_then(|at| done.get_mut(at)) {
                *done = true;
            }
        }
        Ok(done)
    }
}

/// users[] and tenants[] of the vault's table, users[] and tenants[] of the source, old texts[], heads[], ordinals[]
fn statement(
    writer: &Writer<'_>,
    (old_table, source): (&OldTable, &OldSource),
    part: &ClearedPart,
) -> String {
    let (owner, owner_names) = writer.owner_arrays();
    let text_array = "pg_catalog._text";
    let kinds = owner.iter().map(String::as_str);
    let kinds = kinds.chain([text_array, text_array, text_array, text_array, "pg_catalog._int4"]);
    let arrays: Vec<_> = kinds.enumerate().map(|(at, kind)| format!("${}::{kind}", at + 1)).collect();
    let names: Vec<_> = owner_names.into_iter().chain(["su", "sw", "old", "head", "ordinal"]).collect();
    let column = |name: &str| format!("t.{}", quote(name));
    let kind = old_table.user;
    let tenant = source
        .tenant_column
        .as_ref()
        .map(|name| format!(" AND coalesce({}, '') {EQ} coalesce(n.sw, '')", bytes_of(&column(name))));
    format!(
        "UPDATE {} AS t SET {} = {} FROM unnest({}) AS n ({}) WHERE {} {EQ} {}{}{} AND {} COLLATE pg_catalog.\"C\" {EQ} n.old \
         AND EXISTS (SELECT FROM {} AS r WHERE {} AND {} AND NOT ({})) RETURNING CASE WHEN {} THEN n.ordinal ELSE -1 END, {DURABLE}",
        old_table.relation,
        quote(&source.column),
        old_table.new_value(source, part),
        arrays.join(", "),
        names.join(", "),
        kind.cast(&column(&source.user_column)),
        kind.cast("n.su"),
        tenant.unwrap_or_default(),
        counts("t", &source.filter),
        old_table.columns[&source.column].text_or_hex(&column(&source.column)),
        writer.relation(),
        writer.is_owner_of("r", "n"),
        writer.holds_seen("r", "n.head"),
        // the record is still there: the row is not empty
        writer.holds_seen("r", "'-'::pg_catalog.text"),
        // a trigger may have put the old value back
        old_table.is_cleared(source, part),
    )
}
