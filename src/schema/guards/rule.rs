//! What a column may hold.

use crate::layout::layout::Layout;
use crate::postgres::catalogue::row_filter::RowFilter;
use crate::postgres::sql::names::{our_name, quote, relation};
use crate::postgres::sql::token::{Kind, holds_unknown_word, holds_unrecognised, member};

/// What a column may hold, enforced by the database.
pub(super) struct Rule<'a> {
    layout: &'a Layout,
    filter: &'a RowFilter,
    pub(super) column: &'a str,
    /// The id of the step that enforces it.
    pub(super) id: String,
    holds: Holds,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Tokens.
    Text,
    /// Tokens in the vault's member.
    Json,
    /// One of these values.
    Words(&'static [&'static str]),
}

impl<'a> Rule<'a> {
    /// The rules of every column for tokens, and of every column whose field has a list of values.
    pub(super) fn all(layout: &'a Layout, filter: &'a RowFilter) -> Vec<Self> {
        let texts = layout.secret_columns().map(|column| (column, Holds::Text));
        let config = (layout.config_column.as_str(), Holds::Json);
        let words = layout.word_columns().map(|(column, words)| (column, Holds::Words(words)));
        texts
            .chain([config])
            .chain(words)
            .map(|(column, holds)| Self::new((layout, filter), column, holds))
            .collect()
    }

    fn new((layout, filter): (&'a Layout, &'a RowFilter), column: &'a str, holds: Holds) -> Self {
        let id = match holds {
            Holds::Text | Holds::Json => format!("guard.{column}"),
            Holds::Words(_) => format!("values.{column}"),
        };
        Self { layout, filter, column, id, holds }
    }

    pub(super) fn is_for_tokens(&self) -> bool {
        matches!(self.holds, Holds::Text | Holds::Json)
    }

    /// Conditions on the rows that it applies to, each with an `AND` before it.
    pub(super) fn counts(&self, row: &str) -> String {
        self.filter.and(row)
    }

    pub(super) fn mark(&self) -> String {
        self.filter.mark()
    }

    /// A condition that is true for a row that passes the filter and breaks the rule, and false or NULL otherwise. `row`
    /// is empty or `new.`.
    pub(super) fn is_broken(&self, row: &str) -> String {
        let column = format!("{row}{}", quote(self.column));
        let broken = match self.holds {
            Holds::Json => holds_unrecognised(&column, Kind::Json(&self.layout.fields.member())),
            // the cast matters: a role that may create functions could add a better match for varchar
            Holds::Text => holds_unrecognised(&format!("{column}::text"), Kind::Text),
            Holds::Words(words) => holds_unknown_word(&format!("{column}::text"), words),
        };
        let counts: Vec<_> = self.filter.conditions(row).collect();
        match counts.is_empty() {
            true => broken,
            false => format!("{} AND ({broken})", counts.join(" AND ")),
        }
    }

    /// The value of a row that the rule checks.
    pub(super) fn value(&self, row: &str) -> String {
        let column = format!("{row}{}", quote(self.column));
        match self.holds {
            Holds::Json => member(&column, &self.layout.fields.member()),
            _ => format!("{column}::text"),
        }
    }

    /// The definition of its CHECK constraint.
    pub(super) fn check(&self) -> String {
        format!("CHECK (({}) IS NOT TRUE)", self.is_broken(""))
    }

    /// The name of its CHECK constraint.
    pub(super) fn constraint(&self) -> String {
        let what = if self.is_for_tokens() { "tokens" } else { "values" };
        our_name(&[&self.layout.table, self.column, what, &self.filter.mark()])
    }

    /// A query over the whole table that returns whether any row breaks the rule.
    pub(super) fn anything_breaks_it(&self) -> String {
        format!("SELECT EXISTS (SELECT FROM {} WHERE {})", relation(self.layout), self.is_broken(""))
    }

    /// What the column allows, as reasons name it.
    pub(super) fn allows(&self) -> String {
        match self.holds {
            Holds::Text | Holds::Json => "retell-vault tokens".to_owned(),
            Holds::Words(words) => format!("one of {}", words.join(", ")),
        }
    }

    /// The same as an argument of the triggers. Triggers in existing databases have these words: others would replace them.
    pub(super) fn trigger_argument(&self) -> String {
        match self.holds {
            Holds::Text | Holds::Json => "tokens of retell-vault".to_owned(),
            Holds::Words(_) => self.allows(),
        }
    }

    /// What breaks the rule, as reasons name it.
    pub(super) fn what_breaks_it(&self) -> &'static str {
        match self.holds {
            Holds::Text | Holds::Json => "text that is not a token",
            Holds::Words(_) => "a value that the field does not allow",
        }
    }

    /// The column as messages name it.
    pub(super) fn object(&self) -> String {
        format!("column {}.{}", self.layout.table_name(), self.column)
    }
}
