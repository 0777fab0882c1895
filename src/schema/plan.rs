//! The way from the schema that is there to the one that is wanted.

use std::fmt;

use crate::postgres::catalogue::detect::Table;
use crate::postgres::catalogue::picture::Picture;
use crate::postgres::sql::names::relation;
use crate::record::layout::Layout;
use crate::schema::evidence::Evidence;
use crate::schema::step::{Blocked, Draft, Step};
use crate::schema::wanted::{Profile, Wanted};
use crate::schema::{columns, functions, guards, indexes, owner, row_security, updated_at};

/// Everything that a plan is computed from.
pub(crate) struct Subject<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) wanted: &'a Wanted,
    pub(crate) picture: &'a Picture,
    /// The columns of the layout as the vault itself sees them.
    pub(crate) table: &'a Table,
    pub(crate) evidence: &'a Evidence,
}

impl Subject<'_> {
    /// The table as it stands in SQL: quoted, with its schema.
    pub(crate) fn relation(&self) -> String {
        relation(self.layout)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.wanted.profile == Profile::FullProfile
    }
}

/// Ordered steps from the schema that is there to the one that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The table, as `schema.table`.
    pub table: String,
    /// What to do, in order. Nothing: the schema is as wanted.
    pub steps: Vec<Step>,
    /// What no step can mend. It is left as it is.
    pub blocked: Vec<Blocked>,
    /// What a reader should know: what was only sampled, and why something is not planned.
    pub notes: Vec<String>,
    pub(crate) wanted: Wanted,
    pub(crate) layout: Layout,
}

impl Plan {
    /// What was wanted.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Whether there is nothing to do, and nothing in the way.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.blocked.is_empty()
    }

    /// The same as a script for an SQL editor. It can be run twice, and undone with
    /// [`Schema::roll_back`](crate::Schema::roll_back). Indexes are not built concurrently there, since
    /// editors run scripts in a transaction: writes wait meanwhile.
    pub fn script(&self) -> String {
        crate::schema::script::script(self)
    }
}

impl fmt::Display for Plan {
    /// One line for each step.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            writeln!(f, "{}. {}: {}", at + 1, step.id, step.reason)?;
        }
        Ok(())
    }
}

/// Pure: the same subject gives the same plan.
pub(crate) fn plan(subject: &Subject<'_>) -> Plan {
    let mut draft = Draft::default();
    // before the columns: rows that come back after them would not be as they were
    owner::draft(subject, &mut draft);
    columns::draft(subject, &mut draft);
    guards::draft(subject, &mut draft);
    updated_at::draft(subject, &mut draft);
    indexes::draft(subject, &mut draft);
    functions::draft(subject, &mut draft);
    row_security::draft(subject, &mut draft);
    Plan {
        table: subject.layout.table_name(),
        steps: draft.steps,
        blocked: draft.blocked,
        notes: draft.notes,
        wanted: subject.wanted.clone(),
        layout: subject.layout.clone(),
    }
}
