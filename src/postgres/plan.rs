//! What the catalogue said, and the placement and the SQL that follow from it.

use std::time::{Duration, Instant};

use crate::classify::Fault;
use crate::detect::{IdKind, Table};
use crate::error::{Error, ErrorKind};
use crate::layout::Layout;
use crate::owner::Owner;
use crate::placement::{Placement, placement};
use crate::postgres::fragments::Forms;
use crate::postgres::sql::Statements;

/// The placement for the columns that existed when it was made, and the SQL for it.
pub(crate) struct Plan {
    pub(crate) placement: Placement,
    /// False when the default table is missing.
    pub(super) has_table: bool,
    /// Absent when there is no table, or it has no slot.
    work: Option<Work>,
    made: Instant,
}

struct Work {
    table: Table,
    /// For an owner with one form, and all that is about no single owner.
    one_form: Statements,
    two_forms: Statements,
}

impl Plan {
    pub(super) fn new(layout: &Layout, table: Option<Table>) -> Self {
        let columns = table.as_ref().map(|table| table.columns.as_slice()).unwrap_or_default();
        let placement = placement(layout, columns);
        let has_table = table.is_some();
        let work = table.filter(|_| !placement.slots.is_empty());
        let work = work.map(|table| {
            let statements = |forms| Statements::new(layout, &table, &placement, forms);
            let (one_form, two_forms) = (statements(Forms::One), statements(Forms::Two));
            Work { table, one_form, two_forms }
        });
        Self { placement, has_table, work, made: Instant::now() }
    }

    pub(super) fn age(&self) -> Duration {
        self.made.elapsed()
    }

    /// Whether the database has a place to read tokens from.
    pub(crate) fn has_slots(&self) -> bool {
        self.work.is_some()
    }

    /// Whether a bulk write may rely on one row per owner.
    pub(crate) fn is_unique(&self) -> bool {
        self.work.as_ref().is_some_and(|work| work.table.unique)
    }

    /// Whether the owner can have one row only. In text columns a UUID that was given in upper case
    /// may have one for each form.
    pub(crate) fn has_one_row(&self, owner: &Owner) -> bool {
        let Some(Work { table, .. }) = &self.work else { return false };
        let one = |kind: Option<IdKind>, forms: usize| kind != Some(IdKind::Text) || forms <= 1;
        let tenant_forms = owner.tenant_id().map_or(0, |tenant| tenant.forms().count());
        table.unique
            && one(Some(table.user), owner.user_id().forms().count())
            && one(table.tenant, tenant_forms)
    }

    pub(super) fn work(&self) -> Result<(&Table, &Statements), Fault> {
        self.some_work().map(|work| (&work.table, &work.one_form))
    }

    pub(super) fn work_for(&self, owner: &Owner) -> Result<(&Table, &Statements), Fault> {
        let tenant_forms = owner.tenant_id().map_or(1, |tenant| tenant.forms().count());
        let work = self.some_work()?;
        match owner.user_id().forms().count().max(tenant_forms) {
            1 => Ok((&work.table, &work.one_form)),
            _ => Ok((&work.table, &work.two_forms)),
        }
    }

    fn some_work(&self) -> Result<&Work, Fault> {
        self.work.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Schema, "the table has no column that can hold tokens").into()
        })
    }
}
