//! The token count of the table: how many tokens each column of the layout holds under each key.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::layout::layout::Layout;
use crate::layout::placement::ColumnType;
use crate::postgres::catalogue::row_filter::RowFilter;
use crate::postgres::catalogue::table::Table;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::Query;
use crate::postgres::sql::names::{quote, relation};
use crate::postgres::sql::token;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::record::token::{KeyId, named_key};

/// Tokens of one column under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnCount {
    pub(crate) column: String,
    /// `None` for text that names no key.
    pub(crate) key: Option<KeyId>,
    pub(crate) tokens: u64,
}

impl Postgres {
    /// Counts the tokens in every column of the layout that can hold one, in one snapshot.
    ///
    /// It uses the layout and the catalogue, not the placement or the columns of a walk, so it also finds tokens that
    /// those miss. `processes` limits the server's processes; with `None` the server decides.
    pub(crate) async fn tokens_per_key(
        &self,
        plan: &Plan,
        processes: Option<u32>,
    ) -> Result<Vec<ColumnCount>, DatabaseError> {
        let Some(table) = plan.table() else { return Ok(Vec::new()) };
        let columns = counted(self.layout(), table);
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let query = Query {
            sql: count_sql(self.layout(), &table.filter, &columns).into(),
            arguments: PgArguments::default(),
        };
        let rows = self.database.fetch_by_processes(processes, &[&self.relation()], query).await?;
        let get = |error: sqlx::Error| DatabaseError::of(&error, Phase::Reading);
        let mut tally: BTreeMap<(usize, Option<KeyId>), u64> = BTreeMap::new();
        for row in &rows {
            let at: i32 = row.try_get(0).map_err(get)?;
            let head: Option<String> = row.try_get(1).map_err(get)?;
            let tokens: i64 = row.try_get(2).map_err(get)?;
            let place = (
                usize::try_from(at).unwrap_or_default(),
                head.as_deref().and_then(|head| named_key(head.as_bytes())),
            );
            *tally.entry(place).or_default() += u64::try_from(tokens).unwrap_or(0);
        }
        let count = |((at, key), tokens): ((usize, Option<KeyId>), u64)| {
            let column = columns.get(at)?;
            // text in a plain column that is not a token belongs to the application
            let counts = key.is_some() || column.sealed;
            counts.then(|| ColumnCount { column: column.name.to_owned(), key, tokens })
        };
        Ok(tally.into_iter().filter_map(count).collect())
    }
}

/// The columns of the layout that a count reads.
pub(crate) fn counted_columns<'a>(layout: &'a Layout, plan: &Plan) -> Vec<&'a str> {
    let columns = plan.table().map(|table| counted(layout, table)).unwrap_or_default();
    columns.into_iter().map(|column| column.name).collect()
}

struct Counted<'a> {
    name: &'a str,
    form: Form,
    /// Whether it is for tokens only.
    sealed: bool,
}

/// How a column holds tokens.
enum Form {
    Text,
    Jsonb,
    /// As no slot does. It was a slot before its type changed, and may become one again.
    Other,
}

/// Every column of the layout that can hold text.
fn counted<'a>(layout: &'a Layout, table: &Table) -> Vec<Counted<'a>> {
    let counted = layout.all_columns().into_iter().filter_map(|name| {
        let (config, secret) = (name == layout.config_column, layout.is_for_secrets(name));
        let (form, sealed) = match table.layout_columns.iter().find(|column| column.name == name)?.kind {
            ColumnType::Jsonb if config => (Form::Jsonb, true),
            ColumnType::Text | ColumnType::Varchar(_) if !config => (Form::Text, secret),
            ColumnType::Json | ColumnType::Jsonb => (Form::Other, false),
            _ if config || secret => (Form::Other, false),
            _ => return None,
        };
        Some(Counted { name, form, sealed })
    });
    counted.collect()
}

/// Three counts in one snapshot. The first counts texts that are one piece, as nearly all are, and tells whether the
/// second is needed. The second splits the other texts at spaces; in a column that is not for tokens, and in the rest of
/// the JSONB column, it counts whatever looks like the start of a token. The third counts every entry of the vault's
/// member of the JSONB column.
fn count_sql(layout: &Layout, filter: &RowFilter, columns: &[Counted<'_>]) -> String {
    let (relation, member) = (relation(layout), layout.fields.member());
    let (mut places, mut starts, mut others, mut pieces, mut members) =
        (vec![], vec![], vec![], vec![], vec![]);
    for (at, column) in columns.iter().enumerate() {
        let value = format!("t.{}", quote(column.name));
        // the collation of a column may not support searches
        let text = format!("({value}::text COLLATE pg_catalog.\"C\")");
        let ours = filter.may_be_ours(std::slice::from_ref(&text)).filter(|_| column.sealed);
        let text = ours.map_or_else(|| text.clone(), |ours| format!("(CASE WHEN {ours} THEN {text} END)"));
        match column.form {
            Form::Text => {
                if column.sealed {
                    places.push(at.to_string());
                    starts.push(only_start(&text));
                }
                let is_other = if column.sealed { token::is_packed(&text) } else { token::may_hold(&text) };
                pieces.push(format!(
                    "SELECT {at}, e.value FROM pg_catalog.unnest(CASE WHEN {is_other} THEN \
                     pg_catalog.string_to_array({text}, ' ') END) AS e (value)"
                ));
                others.push(is_other);
            }
            Form::Jsonb => {
                let rest = format!("({})::text", token::without_member(&value, &member));
                pieces.push(heads(at, &rest));
                others.push(token::may_hold(&rest));
                members.push(count_members(at, &relation, &token::member(&value, &member)));
            }
            // not by a cast: the owner of a type may have made one that runs a function
            Form::Other => {
                pieces.push(heads(at, &printed(&value)));
                others.push(token::may_hold(&printed(&value)));
            }
        }
    }
    if starts.is_empty() {
        (places, starts) = (vec!["0".to_owned()], vec!["NULL::text".to_owned()]);
    }
    let (start, members) = (token::start_of("x.value"), members.concat());
    format!(
        "WITH counted AS (SELECT v.at, v.start, count(*) AS tokens, bool_or(v.at = 1 AND ({})) AS others FROM {relation} AS t \
         CROSS JOIN LATERAL pg_catalog.unnest(ARRAY[{}]) WITH ORDINALITY AS v (start, at) GROUP BY 1, 2) \
         SELECT (ARRAY[{}])[c.at::int4], c.start, c.tokens FROM counted AS c WHERE c.start IS NOT NULL \
         UNION ALL SELECT x.at, {start}, count(*) FROM {relation} AS t CROSS JOIN LATERAL ({}) AS x (at, value) \
         WHERE (SELECT bool_or(c.others) FROM counted AS c) AND coalesce(x.value, '-') <> '' GROUP BY 1, 2{members}",
        others.join(" OR "),
        starts.join(", "),
        places.join(", "),
        pieces.join(" UNION ALL "),
    )
}

/// The start of a text that is one piece, or empty if it names no key. NULL for any other text.
fn only_start(text: &str) -> String {
    let (is_packed, start) = (token::is_packed(text), token::start_of(text));
    format!("CASE WHEN {text} <> '' AND NOT {is_packed} THEN coalesce({start}, '') END")
}

/// Counts every entry of the vault's member of the JSONB column. A member that is not an object counts as one.
fn count_members(at: usize, relation: &str, ours: &str) -> String {
    format!(
        " UNION ALL SELECT {at}, {}, count(*) FROM {relation} AS t CROSS JOIN LATERAL pg_catalog.jsonb_each_text(\
         CASE coalesce(pg_catalog.jsonb_typeof({ours}), 'null') WHEN 'object' THEN {ours} WHEN 'null' THEN NULL \
         ELSE pg_catalog.jsonb_build_object('', {ours}) END) AS e WHERE coalesce(e.value, '-') <> '' GROUP BY 1, 2",
        token::start_of("e.value")
    )
}

/// A value of any type as text.
pub(crate) fn printed(value: &str) -> String {
    format!("(pg_catalog.format('%s', {value}) COLLATE pg_catalog.\"C\")")
}

/// Counts whatever looks like the start of a token in a value of any type.
fn heads(at: usize, value: &str) -> String {
    format!("SELECT {at}, e.value[1] FROM {} AS e (value)", token::heads(value))
}
