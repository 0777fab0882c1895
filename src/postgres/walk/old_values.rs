//! Reads the columns in which an application keeps credentials today, owner by owner.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};
use crate::layout::filter::{Filter, FilterValue};
use crate::layout::old_source::OldSource;
use crate::postgres::catalogue::id_kind::IdKind;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::postgres::sql::names::{EQ, literal, quote, text};
use crate::postgres::walk::cursor::{Cursor, Position};
use crate::postgres::walk::old_column::{OldColumn, check_columns, time_of};
use crate::record::version::Millis;

/// The longest text that is read. Of a longer one, one more character is read.
const LONGEST: usize = 1024 * 1024;

/// Name, built-in type below a domain, whether it is never null, and whether a unique index has it. Parameters: schema, table.
const COLUMNS: &str = "
SELECT a.attname::text, CASE WHEN coalesce(b.typnamespace, t.typnamespace) = 'pg_catalog'::regnamespace
    THEN coalesce(b.typname, t.typname)::text ELSE 'other' END,
  a.attnotnull OR t.typnotnull,
  EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisunique AND a.attnum = ANY (i.indkey::int2[]))
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_attribute AS a ON a.attrelid = c.oid
JOIN pg_type AS t ON t.oid = a.atttypid LEFT JOIN pg_type AS b ON b.oid = t.typbasetype
WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped";

/// Whether a relation shows or stores rows of another one: as a view of it, of any depth, as a partition, or as a child or a parent.
/// Parameters: both relations.
const IS_RELATED: &str = "
WITH RECURSIVE related(oid) AS (
  SELECT to_regclass($1)::oid
  UNION
  SELECT next.oid FROM related AS r CROSS JOIN LATERAL (
    SELECT i.inhrelid AS oid FROM pg_inherits AS i WHERE i.inhparent = r.oid
    UNION ALL SELECT i.inhparent FROM pg_inherits AS i WHERE i.inhrelid = r.oid
    UNION ALL SELECT w.ev_class FROM pg_depend AS d JOIN pg_rewrite AS w ON w.oid = d.objid
      WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = r.oid
  ) AS next)
SELECT to_regclass($1) <> to_regclass($2) AND to_regclass($2)::oid IN (SELECT oid FROM related)";

/// What one column of one row holds. The texts are wiped when they are dropped.
pub(crate) struct OldText {
    /// The number of the source in the layout.
    pub(crate) source: usize,
    pub(crate) user: String,
    pub(crate) tenant: Option<String>,
    /// Of a column of type `bytea`: hex digits.
    pub(crate) content: Zeroizing<String>,
    /// The column is of type `json` or `jsonb`.
    pub(crate) is_json: bool,
    /// It is longer than what is read.
    pub(crate) is_cut: bool,
    /// The column is of type `bytea`.
    pub(crate) is_bytes: bool,
    pub(crate) iv: Option<Zeroizing<String>>,
    pub(crate) tag: Option<Zeroizing<String>>,
    /// When it was stored, if there is a column for that.
    pub(crate) time: Option<Millis>,
}

/// A table, and the sources that are columns of it.
pub(crate) struct OldTable {
    /// Their numbers in the layout.
    pub(crate) sources: Vec<usize>,
    pub(in crate::postgres) relation: String,
    pub(in crate::postgres) columns: BTreeMap<String, OldColumn>,
    /// How the column of the user is compared.
    pub(in crate::postgres) user: IdKind,
    /// A view, a partition or a parent of the vault's table: what is cleared in it may be the vault's own.
    pub(in crate::postgres) is_of_the_vault: bool,
    cursor: Cursor,
    /// No user has several rows. Then the pages hold the texts too.
    has_one_row: bool,
    owners: [String; 2],
    texts: String,
    count: String,
}

/// The owners of one page of rows.
pub(crate) struct OldOwners {
    /// The user and the tenant of each row.
    pub(crate) owners: Vec<(String, Option<String>)>,
    /// Everything that the sources of the table hold of them. `None`: they may have more rows, so that it must be read.
    pub(crate) texts: Option<Vec<OldText>>,
    /// The position of the last row. `None`: the table ends here.
    pub(crate) last: Option<Position>,
}

impl Database {
    /// Groups the sources of a layout by their tables, and looks at the columns.
    ///
    /// # Errors
    /// `Schema`, naming the source, if a table or a column is missing, or the type of a column cannot be used; `AccessDenied`
    /// if the role may not read one.
    pub(crate) async fn old_tables(
        &self,
        sources: &[OldSource],
        batch: u32,
    ) -> Result<Vec<OldTable>, DatabaseError> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (at, source) in sources.iter().enumerate() {
            match groups.iter_mut().find(|group| sources[group[0]].is_beside(source)) {
                Some(group) => group.push(at),
                None => groups.push(vec![at]),
            }
        }
        let mut tables = Vec::with_capacity(groups.len());
        for group in groups {
            let first = &sources[group[0]];
            let about = |fault: DatabaseError| DatabaseError {
                error: fault.error.about(format!("source {}", first.place())),
                ..fault
            };
            tables.push(self.old_table(sources, group, batch).await.map_err(about)?);
        }
        Ok(tables)
    }

    async fn old_table(
        &self,
        sources: &[OldSource],
        group: Vec<usize>,
        batch: u32,
    ) -> Result<OldTable, DatabaseError> {
        let first = &sources[group[0]];
        let columns = self.old_columns(first).await?;
        for source in group.iter().map(|at| &sources[*at]) {
            check_columns(source, &columns)?;
        }
        let (schema, table) = first.relation();
        let relation = format!("{}.{}", quote(schema), quote(table));
        let user = IdKind::of(&columns[&first.user_column].base, true).unwrap_or(IdKind::Text);
        let cursor = Cursor::find_in(self, schema, table, &first.user_column).await?;
        let has_one_row = cursor.is_unique_column(&first.user_column);
        let selected: Vec<_> = group.iter().flat_map(|at| selected(&sources[*at], &columns)).collect();
        let selected = selected.join(", ");
        let filled: Vec<_> =
            group.iter().map(|at| format!("t.{} IS NOT NULL", quote(&sources[*at].column))).collect();
        let (name, filled) = (format!("t.{}", quote(&first.user_column)), filled.join(" OR "));
        let tenant = optional(first.tenant_column.as_deref(), &columns);
        let filled = format!("({filled}){}", counts("t", &first.filter));
        let page = |after: bool| {
            let after = if after { format!(" AND {}", cursor.compared(">", 1)) } else { String::new() };
            let limit = match cursor.unique {
                true => format!("LIMIT {batch}"),
                false => format!("FETCH FIRST {batch} ROWS WITH TIES"),
            };
            let texts = if has_one_row { format!(", {selected}") } else { String::new() };
            format!(
                "SELECT {}, {name}::text, {tenant}{texts} FROM {relation} AS t WHERE {filled} AND {name} IS NOT NULL AND {}{after} ORDER BY {} {limit}",
                cursor.selected(),
                cursor.has_position(),
                cursor.order()
            )
        };
        let made = OldTable {
            owners: [page(false), page(true)],
            // the subquery hides the number of users from the planner, as in the statements of the hot path
            texts: format!(
                "SELECT {name}::text, {tenant}, {selected} FROM {relation} AS t WHERE {filled} AND {} = ANY ((SELECT $1::text[])::{}[])",
                user.cast(&name),
                user.sql()
            ),
            count: format!("SELECT count(*) FROM {relation} AS t WHERE {filled} AND {name} IS NOT NULL"),
            sources: group,
            relation,
            columns,
            user,
            is_of_the_vault: false,
            cursor,
            has_one_row,
        };
        // a column that may not be read is refused before anything is written
        self.old_texts(&made, sources, &[]).await?;
        Ok(made)
    }

    async fn old_columns(&self, source: &OldSource) -> Result<BTreeMap<String, OldColumn>, DatabaseError> {
        let (schema, table) = source.relation();
        let mut arguments = PgArguments::default();
        bind(&mut arguments, schema.to_owned())?;
        bind(&mut arguments, table.to_owned())?;
        let rows = self.inspect(Query { sql: COLUMNS.into(), arguments }).await?;
        let column = |row: &PgRow| {
            let column =
                OldColumn { base: row.try_get(1)?, not_null: row.try_get(2)?, unique: row.try_get(3)? };
            Ok((row.try_get(0)?, column))
        };
        let columns: BTreeMap<_, _> = parsed(&rows, column)?.into_iter().collect();
        match columns.is_empty() {
            true => {
                Err(Error::new(ErrorKind::Schema, "there is no such table, or this role may not see it")
                    .into())
            }
            false => Ok(columns),
        }
    }

    /// Notes which tables are other names of the vault's table.
    pub(crate) async fn find_other_names(
        &self,
        tables: &mut [OldTable],
        vaults: &str,
    ) -> Result<(), DatabaseError> {
        for table in tables {
            let mut arguments = PgArguments::default();
            bind(&mut arguments, vaults.to_owned())?;
            bind(&mut arguments, table.relation.clone())?;
            let rows = self.inspect(Query { sql: IS_RELATED.into(), arguments }).await?;
            let is_related = parsed(&rows, |row| row.try_get::<Option<bool>, _>(0))?;
            table.is_of_the_vault = is_related.contains(&Some(true));
        }
        Ok(())
    }

    /// How many rows hold something.
    pub(crate) async fn count_old_rows(&self, table: &OldTable) -> Result<u64, DatabaseError> {
        let query = Query { sql: table.count.as_str().into(), arguments: PgArguments::default() };
        let rows = self.fetch_from_all_rows(&[&table.relation], query).await?;
        let counts = parsed(&rows, |row| row.try_get::<i64, _>(0))?;
        Ok(counts.first().map_or(0, |count| count.unsigned_abs()))
    }

    /// The owners of the next rows.
    pub(crate) async fn old_owners(
        &self,
        table: &OldTable,
        sources: &[OldSource],
        after: Option<&Position>,
    ) -> Result<OldOwners, DatabaseError> {
        let mut arguments = PgArguments::default();
        after.into_iter().flatten().cloned().try_for_each(|text| bind(&mut arguments, text))?;
        let sql = table.owners[usize::from(after.is_some())].as_str().into();
        let rows = self.inspect_as_owner(&table.relation, Query { sql, arguments }).await?;
        let last = rows.last().map(|row| table.cursor.position(row)).transpose()?;
        let width = table.cursor.width();
        let owners = parsed(&rows, |row| Ok((row.try_get(width)?, row.try_get(width + 1)?)))?;
        let texts = table.has_one_row.then(|| table.texts_of(sources, &rows, width)).transpose()?;
        Ok(OldOwners { owners, texts, last })
    }

    /// Everything that the sources of a table hold of some users.
    pub(crate) async fn old_texts(
        &self,
        table: &OldTable,
        sources: &[OldSource],
        users: &[&str],
    ) -> Result<Vec<OldText>, DatabaseError> {
        let is_valid = |user: &&&str| match table.user {
            IdKind::Text => true,
            IdKind::Uuid => sqlx::types::Uuid::try_parse(user).is_ok(),
            IdKind::SmallInt => user.parse::<i16>().is_ok(),
            IdKind::Integer => user.parse::<i32>().is_ok(),
            IdKind::BigInt => user.parse::<i64>().is_ok(),
        };
        let users: Vec<&str> = users.iter().filter(is_valid).copied().collect();
        let mut arguments = PgArguments::default();
        bind(&mut arguments, users)?;
        let query = Query { sql: table.texts.as_str().into(), arguments };
        let rows = self.inspect_as_owner(&table.relation, query).await?;
        table.texts_of(sources, &rows, 0)
    }
}

impl OldTable {
    /// The texts of some rows, whose column `user` is the user, followed by the tenant and what `selected` names for each source.
    fn texts_of(
        &self,
        sources: &[OldSource],
        rows: &[PgRow],
        user: usize,
    ) -> Result<Vec<OldText>, DatabaseError> {
        let mut texts = Vec::with_capacity(rows.len() * self.sources.len());
        for (nth, at) in self.sources.iter().enumerate() {
            let (first, column) = (user + 2 + 4 * nth, &self.columns[&sources[*at].column]);
            let read = parsed(rows, |row| old_text(row, *at, [user, first], column))?;
            texts.extend(read.into_iter().flatten());
        }
        Ok(texts)
    }
}

fn parsed<T>(rows: &[PgRow], read: impl Fn(&PgRow) -> sqlx::Result<T>) -> Result<Vec<T>, DatabaseError> {
    let read: sqlx::Result<Vec<T>> = rows.iter().map(read).collect();
    read.map_err(|error| DatabaseError::of(&error, Phase::Reading))
}

/// Value, nonce, tag and time of a source.
fn selected(source: &OldSource, columns: &BTreeMap<String, OldColumn>) -> [String; 4] {
    let time = source
        .time_column
        .as_ref()
        .and_then(|name| time_of(&format!("t.{}", quote(name)), &columns[name].base));
    [
        format!(
            "left({}, {LONGEST} + 1)",
            columns[&source.column].text_or_hex(&format!("t.{}", quote(&source.column)))
        ),
        optional(source.iv_column.as_deref(), columns),
        optional(source.tag_column.as_deref(), columns),
        time.unwrap_or_else(|| "NULL::int8".to_owned()),
    ]
}

fn optional(name: Option<&str>, columns: &BTreeMap<String, OldColumn>) -> String {
    name.map_or("NULL::text".to_owned(), |name| columns[name].text_or_hex(&format!("t.{}", quote(name))))
}

/// The conditions that a row of a source counts, each after an `AND`. Compared as text, a constant fits a column of any type.
pub(crate) fn counts(row: &str, filter: &Filter) -> String {
    let constant = |value: &FilterValue| match value {
        FilterValue::Text(text) => literal(text),
        FilterValue::Integer(number) => literal(&number.to_string()),
        FilterValue::Boolean(is_set) => literal(&is_set.to_string()),
    };
    let column = |name: &str| format!("{row}.{}", quote(name));
    let equals = filter
        .equals
        .iter()
        .map(|(name, value)| format!("{} {EQ} {}", text(&column(name)), text(&constant(value))));
    let is_null = filter.is_null.iter().map(|name| format!("{} IS NULL", column(name)));
    equals.chain(is_null).map(|condition| format!(" AND {condition}")).collect()
}

/// `None` if the column of the source is NULL.
fn old_text(
    row: &PgRow,
    source: usize,
    [user, first]: [usize; 2],
    column: &OldColumn,
) -> sqlx::Result<Option<OldText>> {
    let part = |at: usize| Ok::<_, sqlx::Error>(row.try_get::<Option<String>, _>(at)?.map(Zeroizing::new));
    let Some(content) = part(first)? else { return Ok(None) };
    let is_cut = content.len() > LONGEST && content.chars().count() > LONGEST;
    let time: Option<i64> = row.try_get(first + 3)?;
    Ok(Some(OldText {
        source,
        user: row.try_get(user)?,
        tenant: row.try_get(user + 1)?,
        content,
        is_json: ["json", "jsonb"].contains(&column.base.as_str()),
        is_bytes: column.is_bytes(),
        is_cut,
        iv: part(first + 1)?,
        tag: part(first + 2)?,
        time: time.and_then(|time| time.try_into().ok()),
    }))
}
