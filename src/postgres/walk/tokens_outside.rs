//! Tokens outside of the layout: in other columns of the table, and in our own tables beside it.

use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::error::{Error, ErrorKind};
use crate::layout::layout::Layout;
use crate::postgres::catalogue::snapshot::text_columns;
use crate::postgres::catalogue::table::TextColumn;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Query, bind};
use crate::postgres::sql::names::quote;
use crate::postgres::sql::token::patterns_under;
use crate::postgres::statements::plan::Postgres;
use crate::postgres::walk::token_count::printed;
use crate::record::token::KeyId;

impl TextColumn {
    /// For messages: `public.user_profiles.notes`.
    fn place(&self) -> String {
        format!("{}.{}.{}", self.schema, self.table, self.name)
    }

    fn relation(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.table))
    }

    fn is_of_the_same_table(&self, other: &Self) -> bool {
        (&self.schema, &self.table) == (&other.schema, &other.table)
    }
}

/// What can hold tokens and is not looked at, in words: columns of the table besides those in `looked_at`, and
/// tables beside it, as a whole.
pub(crate) fn not_looked_at(layout: &Layout, columns: &[TextColumn], looked_at: &[&str]) -> Vec<String> {
    let mut places: Vec<String> = Vec::new();
    for column in columns {
        let place = match (&column.schema, &column.table) == (&layout.schema, &layout.table) {
            true if looked_at.contains(&column.name.as_str()) => continue,
            true => format!("column {}", column.place()),
            false => format!("table {}.{}", column.schema, column.table),
        };
        if places.last() != Some(&place) {
            places.push(place);
        }
    }
    places
}

impl Postgres {
    /// As [`not_looked_at`], for the columns that are there now.
    pub(crate) async fn not_looked_at(&self, looked_at: &[&str]) -> Result<Vec<String>, DatabaseError> {
        Ok(not_looked_at(self.layout(), &text_columns(&self.database, self.layout()).await?, looked_at))
    }

    /// How many tokens under a key there are in each column of the table that can hold text, whatever the layout
    /// says of it, and in our own tables beside it. Columns without one are left out.
    ///
    /// # Errors
    /// `AccessDenied` when our role may not read a column or may not see every row, and for a table of a role that is
    /// not trusted. The error names the column or the table.
    pub(crate) async fn tokens_anywhere(&self, key: KeyId) -> Result<Vec<(String, u64)>, DatabaseError> {
        let columns = text_columns(&self.database, self.layout()).await?;
        if let Some(planted) = columns.iter().find(|column| !column.trusted) {
            return Err(is_not_trusted(planted, self.layout()).into());
        }
        if let Some(hidden) = columns.iter().find(|column| !column.readable) {
            return Err(may_not_be_read(hidden).into());
        }
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let tables: Vec<_> = columns.chunk_by(TextColumn::is_of_the_same_table).map(|of| &of[0]).collect();
        let relations: Vec<_> = tables.iter().map(|column| column.relation()).collect();
        let relations: Vec<_> = relations.iter().map(String::as_str).collect();
        let mut arguments = PgArguments::default();
        let (part, head) = patterns_under(key);
        bind(&mut arguments, part)?;
        bind(&mut arguments, head)?;
        let query = Query { sql: count(&columns).into(), arguments };
        let counted = self.database.fetch_from_all_rows(&relations, query).await;
        let rows = counted.map_err(|fault| about(fault, &tables))?;
        let get = |error: sqlx::Error| DatabaseError::of(&error, Phase::Reading);
        let mut found = Vec::new();
        for row in &rows {
            let (at, tokens): (i32, i64) = (row.try_get(0).map_err(get)?, row.try_get(1).map_err(get)?);
            let column = usize::try_from(at).ok().and_then(|at| columns.get(at));
            found.extend(column.map(|column| (column.place(), u64::try_from(tokens).unwrap_or(0))));
        }
        Ok(found)
    }
}

/// One statement, so that it sees one moment: rows move between the tables. $1 a part of every head under the key,
/// which is looked for first since that is fast; $2 the head.
fn count(columns: &[TextColumn]) -> String {
    let mut at = 0..columns.len();
    let tables = columns.chunk_by(TextColumn::is_of_the_same_table).map(|of| {
        let text = |(column, at): (&TextColumn, usize)| {
            format!("({at}, {})", printed(&format!("t.{}", quote(&column.name))))
        };
        let texts: Vec<_> = of.iter().zip(at.by_ref()).map(text).collect();
        format!(
            "SELECT c.at, count(*) FROM {} AS t CROSS JOIN LATERAL (VALUES {}) AS c (at, text) \
             CROSS JOIN LATERAL pg_catalog.regexp_matches(c.text, $2::text, 'g') \
             WHERE pg_catalog.strpos(c.text, $1::text) > 0 GROUP BY c.at",
            of[0].relation(),
            texts.join(", ")
        )
    });
    format!("{} ORDER BY 1", tables.collect::<Vec<_>>().join(" UNION ALL "))
}

/// The error names the tables.
fn about(fault: DatabaseError, tables: &[&TextColumn]) -> DatabaseError {
    let names: Vec<_> = tables.iter().map(|column| format!("{}.{}", column.schema, column.table)).collect();
    DatabaseError::new(fault.outcome, fault.error.about(format!("table {}", names.join(" or "))))
}

fn is_not_trusted(column: &TextColumn, layout: &Layout) -> Error {
    let message = format!(
        "table {}.{} belongs to a role without the rights of the owner of {}, so it is not read",
        column.schema,
        column.table,
        layout.table_name()
    );
    let hint = "if the vault made it, give it to that owner; drop it if nobody knows it";
    Error::new(ErrorKind::AccessDenied, message).with_hint(hint)
}

fn may_not_be_read(column: &TextColumn) -> Error {
    let (place, owner) =
        (column.place(), if column.own { "the owner of that table" } else { "the table's owner" });
    Error::new(
        ErrorKind::AccessDenied,
        format!("column {place} may not be read, so tokens in it cannot be counted"),
    )
    .with_hint(format!("run this as {owner}, or GRANT SELECT ON the table to the role that connects"))
}
