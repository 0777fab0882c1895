//! One step of a plan: what it does, why, under which lock, and how it is undone.

use std::fmt;

use crate::postgres::sql::printed::statements;

/// The strongest lock that a step takes on the table, by the names of the PostgreSQL manual, section 13.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LockLevel {
    /// None on the table.
    None,
    /// Reads and writes go on.
    ShareUpdateExclusive,
    /// Reads go on, writes wait.
    Share,
    /// Reads go on, writes wait.
    ShareRowExclusive,
    /// Reads and writes wait: for a moment, unless the step rewrites the table.
    AccessExclusive,
}

impl LockLevel {
    /// As in `LOCK TABLE`; `none` for no lock.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ShareUpdateExclusive => "SHARE UPDATE EXCLUSIVE",
            Self::Share => "SHARE",
            Self::ShareRowExclusive => "SHARE ROW EXCLUSIVE",
            Self::AccessExclusive => "ACCESS EXCLUSIVE",
        }
    }
}

impl fmt::Display for LockLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One step of a plan. It is applied as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// What it is called, the same in every plan: `column.phone_number`.
    pub id: String,
    /// What it changes: `column public.user_profiles.phone_number`.
    pub object: String,
    /// Why it is needed.
    pub reason: String,
    /// Its statements, in order.
    pub sql: Vec<String>,
    /// The statements that take it back, in order. None: it goes with the step that it belongs to.
    pub undo: Vec<String>,
    /// The strongest lock that it takes on the table.
    pub lock: LockLevel,
    /// Whether it rewrites the table, holding its lock for as long as that takes. Applied only with
    /// [`ApplyOptions::allow_rewrite`](crate::schema::ApplyOptions::allow_rewrite).
    pub rewrites: bool,
    /// Whether its statements run one by one outside of a transaction, as `CREATE INDEX CONCURRENTLY` must.
    pub concurrent: bool,
    /// What is done instead where the table holds text that is not a token.
    pub instead: Option<Box<Instead>>,
    /// A condition in SQL that holds once the step was applied.
    pub(crate) done_if: String,
    /// How undoing it is kept from losing data.
    pub(crate) at_risk: Option<DataAtRisk>,
}

impl Step {
    /// Its statements as they are printed: each on a line of its own with its semicolon, bodies of functions as literals, and
    /// escapes in names for what is not seen as it is. They run as they stand, also indented.
    pub fn printed_sql(&self) -> String {
        statements(&self.sql.join(";\n"))
    }

    /// The same of the statements that take it back.
    pub fn printed_undo(&self) -> String {
        statements(&self.undo.join(";\n"))
    }
}

/// Another step, for the case that a query finds something.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Instead {
    /// A query over the table that answers with one boolean.
    pub when: String,
    /// What is done when that is true.
    pub step: Step,
}

/// What would be lost when a step is undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataAtRisk {
    /// A query that counts the rows whose data would be lost.
    pub(crate) count: String,
    /// A query for what is copied to a table beside before that.
    pub(crate) backup: String,
}

/// Something that no step can mend.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blocked {
    /// What it is about: `column public.user_profiles.webhook_config`.
    pub object: String,
    /// What stands in the way.
    pub reason: String,
    /// How to go on.
    pub hint: String,
}
