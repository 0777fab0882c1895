//! What a column may hold.

use crate::postgres::sql::names::{our_name, quote, relation};
use crate::postgres::sql::token::{Kind, holds_unknown_status, holds_unrecognised, member};
use crate::record::fields::Field;
use crate::record::layout::Layout;
use crate::record::values::IntegrationStatus;

/// What a column may hold, for the database to see to.
pub(super) struct Rule<'a> {
    layout: &'a Layout,
    pub(super) column: &'a str,
    /// The id of the step that sees to it.
    pub(super) id: String,
    holds: Holds,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Tokens(Kind),
    Status,
}

impl<'a> Rule<'a> {
    /// For every column made for tokens, and for the status.
    pub(super) fn all(layout: &'a Layout) -> Vec<Self> {
        let secrets = Field::SECRET.into_iter().filter_map(|field| layout.column_of(field));
        let texts = secrets.map(|column| (column, Holds::Tokens(Kind::Text)));
        let config = (layout.config_column.as_str(), Holds::Tokens(Kind::Json));
        let status = layout.column_of(Field::IntegrationStatus).map(|column| (column, Holds::Status));
        texts.chain([config]).chain(status).map(|(column, holds)| Self::new(layout, column, holds)).collect()
    }

    fn new(layout: &'a Layout, column: &'a str, holds: Holds) -> Self {
        let id = match holds {
            Holds::Tokens(_) => format!("guard.{column}"),
            Holds::Status => "status.check".to_owned(),
        };
        Self { layout, column, id, holds }
    }

    pub(super) fn is_for_tokens(&self) -> bool {
        self.holds != Holds::Status
    }

    /// True for a row that breaks the rule; false or NULL otherwise. `row` is empty, or `new.`.
    pub(super) fn is_broken(&self, row: &str) -> String {
        let column = format!("{row}{}", quote(self.column));
        match self.holds {
            Holds::Tokens(Kind::Json) => holds_unrecognised(&column, Kind::Json),
            // the cast: a role that may make functions could put a better match for varchar in the way
            Holds::Tokens(Kind::Text) => holds_unrecognised(&format!("{column}::text"), Kind::Text),
            Holds::Status => holds_unknown_status(&format!("{column}::text")),
        }
    }

    /// What the rule looks at, of one row.
    pub(super) fn value(&self, row: &str) -> String {
        let column = format!("{row}{}", quote(self.column));
        match self.holds {
            Holds::Tokens(Kind::Json) => member(&column),
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
        our_name(&[&self.layout.table, self.column, what])
    }

    /// A query over the whole table: whether any row breaks the rule.
    pub(super) fn anything_breaks_it(&self) -> String {
        format!("SELECT EXISTS (SELECT FROM {} WHERE {})", relation(self.layout), self.is_broken(""))
    }

    /// What the column takes, in words.
    pub(super) fn takes(&self) -> String {
        match self.holds {
            Holds::Tokens(_) => "tokens of retell-vault".to_owned(),
            Holds::Status => {
                format!("one of {}", IntegrationStatus::ALL.map(IntegrationStatus::as_str).join(", "))
            }
        }
    }

    /// What else breaks the rule, in words.
    pub(super) fn what_breaks_it(&self) -> &'static str {
        match self.holds {
            Holds::Tokens(_) => "text that is no token",
            Holds::Status => "a status that does not exist",
        }
    }

    /// The column as it stands in messages.
    pub(super) fn object(&self) -> String {
        format!("column {}.{}", self.layout.table_name(), self.column)
    }
}
