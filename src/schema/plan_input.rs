//! What a plan is computed from, and what it is put together in.

use crate::postgres::catalogue::definitions::TableDefinitions;
use crate::postgres::catalogue::table::Table;
use crate::postgres::sql::names::relation;
use crate::record::layout::Layout;
use crate::schema::evidence::Evidence;
use crate::schema::step::{Blocked, Step};
use crate::schema::wanted::{Profile, Wanted};

/// Everything that a plan is computed from.
pub(crate) struct PlanInput<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) wanted: &'a Wanted,
    pub(crate) table: &'a Table,
    pub(crate) definitions: &'a TableDefinitions,
    pub(crate) evidence: &'a Evidence,
}

impl PlanInput<'_> {
    /// The table as it stands in SQL: quoted, with its schema.
    pub(crate) fn relation(&self) -> String {
        relation(self.layout)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.wanted.profile == Profile::FullProfile
    }
}

/// What is missing, as the sub-planners put it together.
#[derive(Debug, Default)]
pub(crate) struct PlanDraft {
    pub(crate) steps: Vec<Step>,
    pub(crate) blocked: Vec<Blocked>,
    pub(crate) notes: Vec<String>,
}

impl PlanDraft {
    pub(crate) fn block(
        &mut self,
        object: impl Into<String>,
        reason: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.blocked.push(Blocked { object: object.into(), reason: reason.into(), hint: hint.into() });
    }
}
