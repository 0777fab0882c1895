//! One step of a plan: its statements, its reason, its lock and its reverse.

use std::fmt;

#[cfg(feature = "cli")]
use crate::display::displayed;
use crate::postgres::sql::printed::statements;

/// The strongest lock that a step takes on the table, named as in the PostgreSQL manual, section 13.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LockLevel {
    /// No lock on the table.
    None,
    /// Reads and writes continue.
    ShareUpdateExclusive,
    /// Reads go on, writes wait.
    Share,
    /// Reads go on, writes wait.
    ShareRowExclusive,
    /// Reads and writes wait. The wait is short, unless the step rewrites the table.
    AccessExclusive,
}

impl LockLevel {
    /// The name as in `LOCK TABLE`; `none` for no lock.
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
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Step {
    /// Its id, the same in every plan, such as `column.phone_number`.
    pub id: String,
    /// The object that it changes, such as `column public.user_profiles.phone_number`.
    pub object: String,
    /// Why it is needed.
    pub reason: String,
    /// Its statements, in order.
    pub sql: Vec<String>,
    /// The statements that roll it back, in order. Empty if another step's rollback covers it.
    pub undo: Vec<String>,
    /// The strongest lock that it takes on the table.
    #[cfg_attr(feature = "cli", serde(serialize_with = "displayed"))]
    pub lock: LockLevel,
    /// Whether it rewrites the table, and holds its lock all that time. Applied only with
    /// [`ApplyOptions::allow_rewrite`](crate::schema::ApplyOptions::allow_rewrite).
    pub rewrites: bool,
    /// Whether its statements run one by one outside of a transaction, as `CREATE INDEX CONCURRENTLY` must.
    pub concurrent: bool,
    /// The step to apply instead if the table holds text that is not a token.
    pub instead: Option<Box<Instead>>,
    /// A condition in SQL that is true once the step is applied.
    #[cfg_attr(feature = "cli", serde(skip))]
    pub(crate) done_if: String,
    /// The data that its rollback would lose.
    #[cfg_attr(feature = "cli", serde(skip))]
    pub(crate) at_risk: Option<DataAtRisk>,
}

impl Step {
    /// Its statements in printed form: one line each, with a semicolon, function bodies as literals, and invisible
    /// characters in names escaped. You can run them as printed, indentation included.
    pub fn printed_sql(&self) -> String {
        statements(&self.sql.join(";\n"))
    }

    /// The statements that roll it back, in the same form.
    pub fn printed_undo(&self) -> String {
        statements(&self.undo.join(";\n"))
    }
}

/// Another step, for the case that a query returns true.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Instead {
    /// A query over the table that returns one boolean.
    pub when: String,
    /// The step to apply if it returns true.
    pub step: Step,
}

/// The data that the rollback of a step would lose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataAtRisk {
    /// A query that counts the rows whose data would be lost.
    pub(crate) count: String,
    /// A query for the data to copy to another table before the rollback.
    pub(crate) backup: String,
}

/// A problem that no step can fix.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Blocked {
    /// The object, such as `column public.user_profiles.webhook_config`.
    pub object: String,
    /// The problem.
    pub reason: String,
    /// How to fix it.
    pub hint: String,
}
