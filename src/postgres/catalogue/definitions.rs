//! The definitions of the table that the schema plan and the doctor need in addition to the table itself.

use std::fmt;

use serde::Deserialize;

use crate::postgres::catalogue::table::Index;

/// The policies that the vault creates: for the owner of a row, and for services.
pub(crate) const OUR_POLICIES: [&str; 2] = ["retell_vault_owner", "retell_vault_service"];

/// The definitions of the table. The query waits for other sessions that have locked the table.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TableDefinitions {
    pub(crate) server: CatalogueServer,
    pub(crate) relation: Relation,
    columns: Vec<ColumnDefinition>,
    indexes: Vec<IndexDefinition>,
    pub(crate) constraints: Vec<Constraint>,
    pub(crate) triggers: Vec<Trigger>,
    pub(crate) policies: Vec<Policy>,
    pub(crate) functions: Vec<Function>,
    /// Tables of this database that may hold copies of rows, found by triggers, by names and by columns.
    pub(crate) copies: Vec<RowCopies>,
    /// Relations of the same schema whose names start with `retell_vault_`.
    pub(crate) ours: Vec<String>,
}

impl TableDefinitions {
    /// The default of a column, in SQL.
    pub(crate) fn default_of(&self, column: &str) -> Option<&str> {
        self.column(column)?.default.as_deref()
    }

    /// Whether the default of a column makes a new value for each row.
    pub(crate) fn makes_values(&self, column: &str) -> bool {
        self.column(column).is_some_and(|column| column.makes_values)
    }

    /// The collation of a column in SQL. `None` for the default of its type.
    pub(crate) fn collation_of(&self, column: &str) -> Option<&str> {
        self.column(column)?.collation.as_deref()
    }

    fn column(&self, name: &str) -> Option<&ColumnDefinition> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The tables that may hold copies of rows, as messages name them. `None` without such a table.
    pub(crate) fn copies_in_words(&self) -> Option<String> {
        let copies: Vec<_> = self.copies.iter().map(RowCopies::to_string).collect();
        (!copies.is_empty()).then(|| copies.join(", "))
    }

    /// # Panics
    /// If the index is from another snapshot.
    pub(crate) fn of_index(&self, index: &Index) -> &IndexDefinition {
        let found = self.indexes.iter().find(|definition| definition.name == index.name);
        found.expect("one query answers with the indexes and their definitions")
    }

    /// Whether one of `anon`, `authenticated` and `service_role` exists.
    pub(crate) fn has_role(&self, name: &str) -> bool {
        self.server.roles.iter().any(|role| role.name == name)
    }
}

/// The server, and the vault's role on it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CatalogueServer {
    /// 150004 for 15.4.
    pub(crate) version: i32,
    /// The name of the vault's role.
    pub(crate) role: String,
    pub(crate) superuser: bool,
    /// Whether `auth.uid()` exists, as on Supabase, and belongs to a trusted role.
    pub(crate) auth_uid: bool,
    /// An `auth.uid()` of a role that is not trusted, and that role.
    pub(crate) others_auth_uid: Option<String>,
    /// The existing roles among `anon`, `authenticated` and `service_role`.
    pub(crate) roles: Vec<ApiRole>,
    /// All roles of the server.
    pub(crate) role_names: Vec<String>,
}

/// A role of Supabase's API.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ApiRole {
    pub(crate) name: String,
    /// Whether row level security does not apply to it.
    pub(crate) bypasses: bool,
}

/// The table as a whole, and the rights of the vault's role on it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Relation {
    pub(crate) oid: i64,
    pub(crate) owner: String,
    pub(crate) owner_is_superuser: bool,
    /// Whether the role may act as its owner.
    pub(crate) owned: bool,
    /// Whether the role may create objects in its schema.
    pub(crate) can_create: bool,
    pub(crate) row_security: bool,
    pub(crate) forced: bool,
    /// Whether row level security applies to the role.
    pub(crate) row_security_active: bool,
    /// Whether it may hide rows from the role.
    pub(crate) hides_rows: bool,
    /// Whether it may prevent the role from reading, changing or creating some row.
    pub(crate) holds_back: bool,
    /// The server's estimate of the rows. -1 without an estimate.
    pub(crate) rows: i64,
    /// The size of the main fork, with all partitions.
    pub(crate) bytes: i64,
    /// The columns of the partition key. `None` for an expression.
    pub(crate) partition_key: Vec<Option<String>>,
    /// Tables whose foreign keys delete or change rows when a row of this table is deleted.
    pub(crate) cascades: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct ColumnDefinition {
    name: String,
    collation: Option<String>,
    default: Option<String>,
    makes_values: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct IndexDefinition {
    name: String,
    /// `CREATE INDEX …`
    pub(crate) sql: String,
    pub(crate) predicate: Option<String>,
    /// The constraint that it serves.
    pub(crate) constraint: Option<String>,
    pub(crate) expressions: Vec<IndexExpression>,
    pub(crate) included: Vec<String>,
}

/// A key of an index that is an expression.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct IndexExpression {
    pub(crate) sql: String,
    /// Whether its values can hold a part of a text.
    pub(crate) holds_text: bool,
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
pub(crate) struct Trigger {
    pub(crate) name: String,
    pub(crate) definition: String,
    pub(crate) enabled: bool,
    /// The body of its function.
    pub(crate) source: String,
    /// The function, qualified.
    pub(crate) function: String,
    /// Whether its function may put copies of rows into another table.
    pub(crate) copies: bool,
}

/// A table that may hold copies of rows, such as an audit table.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RowCopies {
    /// Qualified.
    relation: String,
    /// The function that writes there, if a trigger of the table runs it.
    function: Option<String>,
}

impl RowCopies {
    /// Its name, qualified and quoted.
    pub(crate) fn relation(&self) -> &str {
        &self.relation
    }
}

impl fmt::Display for RowCopies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.function {
            Some(function) => write!(f, "{} (written by {function})", self.relation),
            None => f.write_str(&self.relation),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Policy {
    pub(crate) name: String,
    /// As in pg_policy.polcmd: `*` all, `r` select, `a` insert, `w` update, `d` delete.
    pub(crate) command: char,
    pub(crate) permissive: bool,
    /// `public` for PUBLIC.
    pub(crate) roles: Vec<String>,
    pub(crate) using: Option<String>,
    pub(crate) check: Option<String>,
    /// The functions of untrusted roles that it calls, each with its role.
    pub(crate) others_functions: Vec<String>,
    /// Whether it uses a column of the table.
    pub(crate) names_columns: bool,
}

impl Policy {
    /// Whether its name is one of the vault's policies.
    pub(crate) fn is_ours(&self) -> bool {
        OUR_POLICIES.contains(&self.name.as_str())
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) arguments: String,
    /// The body.
    pub(crate) source: String,
    pub(crate) security_definer: bool,
    /// Settings such as `search_path=""`.
    pub(crate) settings: Vec<String>,
    /// `CREATE OR REPLACE FUNCTION …`
    pub(crate) definition: String,
    /// Whether its owner has the rights of the owner of the table.
    pub(crate) trusted: bool,
    /// The roles that may execute it, except its owner.
    pub(crate) grantees: Vec<String>,
}

// --- Expressions as the server prints them ---

/// Parts that the server adds or leaves out when it prints an expression: it prints `OPERATOR(pg_catalog.=)` as `=`.
const ADDED: [&str; 16] = [
    "pg_catalog.",
    "OPERATOR",
    "::text[]",
    "::text",
    "::jsonpath",
    "::smallint",
    "::integer",
    "::bigint",
    "::boolean",
    "::int2",
    "::int4",
    "::int8",
    "::bool",
    "::uuid",
    "::bpchar",
    "::name",
];

/// Whether two texts are the same expression: one as written here, the other as the server prints it with a safe search
/// path.
pub(crate) fn is_same_expression(written: &str, printed: &str) -> bool {
    bare(written) == bare(printed)
}

fn bare(text: &str) -> String {
    let is_added = |char: char| char.is_whitespace() || "()\"".contains(char);
    let text = text.replace(is_added, "");
    // a literal with a backslash is written in the E form, and printed by the session's settings
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
        assert!(is_same_expression(r#""a" OPERATOR(pg_catalog.=) 'x'"#, "(a = 'x'::text)"));
        assert!(!is_same_expression(r#""a" = 'x'"#, "(a OPERATOR(public.=) 'x'::text)"));
        assert!(!is_same_expression(r#""a" = 'x'"#, "((a = 'x'::text) OR true)"));
    }
}
