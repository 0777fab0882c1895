//! Everything that the catalogue says about the table, in one snapshot.

use serde::Deserialize;
use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::error::{Error, ErrorKind};
use crate::postgres::catalogue::detect::missing_table;
use crate::postgres::catalogue::row_visibility::{RowAction, may_hide};
use crate::postgres::connection::errors::{Fault, Phase, classify};
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::record::layout::Layout;

/// The query, with two conditions left open; [`Picture`] is what it answers with.
const CATALOGUE: &str = include_str!("catalogue.sql");

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Picture {
    pub(crate) server: Server,
    pub(crate) table: Relation,
    pub(crate) columns: Vec<Column>,
    pub(crate) constraints: Vec<Constraint>,
    pub(crate) indexes: Vec<Index>,
    pub(crate) triggers: Vec<Trigger>,
    pub(crate) policies: Vec<Policy>,
    pub(crate) functions: Vec<Function>,
    /// Relations of the same schema whose names start with `retell_vault_`.
    pub(crate) ours: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Server {
    /// 150004 for 15.4.
    pub(crate) version: i32,
    /// Who we are.
    pub(crate) role: String,
    pub(crate) superuser: bool,
    /// Whether `auth.uid()` exists, as on Supabase.
    pub(crate) auth_uid: bool,
    /// Of `anon`, `authenticated` and `service_role` those that exist.
    pub(crate) roles: Vec<Role>,
    /// Those of the whole server.
    pub(crate) role_names: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Role {
    pub(crate) name: String,
    /// Whether row level security does not apply to it.
    pub(crate) bypasses: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Relation {
    pub(crate) oid: i64,
    /// As in pg_class.relkind: `r` a table, `p` a partitioned one.
    pub(crate) kind: char,
    pub(crate) owner: String,
    /// Whether we may act as its owner.
    pub(crate) owned: bool,
    /// Whether we may make things in its schema.
    pub(crate) can_create: bool,
    pub(crate) row_security: bool,
    pub(crate) forced: bool,
    /// Whether row level security applies to us.
    pub(crate) row_security_active: bool,
    /// Whether it may hide rows from us.
    pub(crate) hides_rows: bool,
    /// Whether it may keep us from reading, changing or making some row.
    pub(crate) holds_back: bool,
    /// The server's estimate; -1 when it has none.
    pub(crate) rows: i64,
    /// Of the main fork, with all partitions.
    pub(crate) bytes: i64,
    /// The columns of the partition key; `None` in place of an expression.
    pub(crate) partition_key: Vec<Option<String>>,
    /// Tables whose foreign keys delete or change their rows when a row of ours goes.
    pub(crate) cascades: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// As `format_type` writes it: `character varying(50)`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) not_null: bool,
    /// As it stands in SQL; `None` for the default of the type.
    pub(crate) collation: Option<String>,
    pub(crate) default: Option<String>,
    pub(crate) generated: bool,
    pub(crate) identity: bool,
    /// Whether we may update it.
    pub(crate) writable: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Constraint {
    pub(crate) name: String,
    /// As in pg_constraint.contype: `c` check, `u` unique, `p` primary, `f` foreign key.
    pub(crate) kind: char,
    pub(crate) definition: String,
    pub(crate) validated: bool,
    pub(crate) columns: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) definition: String,
    /// `btree`, `gin`, …
    pub(crate) method: String,
    pub(crate) unique: bool,
    pub(crate) primary: bool,
    pub(crate) immediate: bool,
    /// False for the leftover of a `CREATE INDEX CONCURRENTLY` that failed.
    pub(crate) valid: bool,
    pub(crate) nulls_not_distinct: bool,
    pub(crate) predicate: Option<String>,
    pub(crate) has_expressions: bool,
    /// The constraint that it serves.
    pub(crate) constraint: Option<String>,
    /// How often it was used since the statistics were reset.
    pub(crate) scans: i64,
    /// Key columns in order, without expressions.
    pub(crate) columns: Vec<String>,
    pub(crate) included: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Trigger {
    pub(crate) name: String,
    pub(crate) definition: String,
    pub(crate) enabled: bool,
    /// The body of its function.
    pub(crate) source: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Policy {
    pub(crate) name: String,
    /// As in pg_policy.polcmd: `*` all, `r` select, `a` insert, `w` update, `d` delete.
    pub(crate) command: char,
    pub(crate) permissive: bool,
    /// `public` for everybody.
    pub(crate) roles: Vec<String>,
    pub(crate) using: Option<String>,
    pub(crate) check: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) arguments: String,
    /// The body.
    pub(crate) source: String,
    pub(crate) security_definer: bool,
    /// `search_path=""` and the like.
    pub(crate) settings: Vec<String>,
    /// `CREATE OR REPLACE FUNCTION …`
    pub(crate) definition: String,
    /// Whether its owner has the rights of the owner of the table.
    pub(crate) trusted: bool,
    /// Who may execute it besides its owner.
    pub(crate) grantees: Vec<String>,
}

fn catalogue() -> String {
    let open = [("{hides_rows}", RowAction::Read), ("{holds_back}", RowAction::Everything)];
    open.into_iter()
        .fold(CATALOGUE.to_owned(), |sql, (name, deed)| sql.replace(name, &may_hide("c.oid", deed)))
}

impl Picture {
    /// # Errors
    /// `Schema` when the table is missing or is not a table.
    pub(crate) async fn take(database: &Database, layout: &Layout) -> Result<Self, Fault> {
        let mut arguments = PgArguments::default();
        bind(&mut arguments, layout.schema.clone())?;
        bind(&mut arguments, layout.table.clone())?;
        let rows = database.inspect(Query { sql: catalogue().into(), arguments }).await?;
        let row = rows.first().ok_or_else(|| missing_table(layout))?;
        let json: String = row.try_get(0).map_err(|error| classify(&error, Phase::Reading))?;
        let picture: Self = serde_json::from_str(&json)
            .map_err(|_| Error::new(ErrorKind::Schema, "the catalogue's answer is not as expected"))?;
        match picture.table.kind {
            'r' | 'p' => Ok(picture),
            _ => Err(Error::new(ErrorKind::Schema, format!("{} is not a table", layout.table_name()))
                .with_hint("name the table itself, not a view of it")
                .into()),
        }
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub(crate) fn is_partitioned(&self) -> bool {
        self.table.kind == 'p'
    }

    /// Whether one of `anon`, `authenticated` and `service_role` exists.
    pub(crate) fn has_role(&self, name: &str) -> bool {
        self.server.roles.iter().any(|role| role.name == name)
    }
}

// --- Expressions as the server prints them ---

/// What the server adds when it prints an expression.
const ADDED: [&str; 4] = ["pg_catalog.", "::text[]", "::text", "::jsonpath"];

/// Whether two texts are the same expression: one as it is written here, one as the server prints it with
/// an empty search path.
pub(crate) fn is_same_expression(written: &str, printed: &str) -> bool {
    bare(written) == bare(printed)
}

fn bare(text: &str) -> String {
    let is_added = |char: char| char.is_whitespace() || "()\"".contains(char);
    let text = text.replace(is_added, "");
    // a literal with a backslash is written in the E form, and printed as the session's settings are
    let text = text.replace("E'", "'").replace("\\\\", "\\");
    ADDED.iter().fold(text, |text, added| text.replace(added, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parentheses_casts_and_quotes_make_no_difference_but_names_and_values_do() {
        assert!(is_same_expression(r#"("a"::text <> 'x') IS NOT TRUE"#, "(((a <> 'x'::text)) IS NOT TRUE)"));
        assert!(is_same_expression(r"f(E'a\\b')", r"f('a\b')"));
        assert!(!is_same_expression(r#"("a" <> 'x') IS NOT TRUE"#, "(((a <> 'y'::text)) IS NOT TRUE)"));
        assert!(!is_same_expression(r#""a" = 'x'"#, "((a = 'x'::text) OR true)"));
    }
}
