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
    /// Absent when the default table is missing.
    table: Option<Table>,
    /// Absent when there is no table, or it has no slot.
    texts: Option<Texts>,
    made: Instant,
}

struct Texts {
    /// For an owner with one form, and all that is about no single owner.
    one_form: Statements,
    two_forms: Statements,
}

impl Plan {
    pub(super) fn new(layout: &Layout, table: Option<Table>) -> Self {
        let columns = table.as_ref().map(|table| table.columns.as_slice()).unwrap_or_default();
        let placement = placement(layout, columns);
        let with_slots = table.as_ref().filter(|_| !placement.slots.is_empty());
        let texts = with_slots.map(|table| {
            let statements = |forms| Statements::new(layout, table, &placement, forms);
            Texts { one_form: statements(Forms::One), two_forms: statements(Forms::Two) }
        });
        Self { placement, table, texts, made: Instant::now() }
    }

    pub(super) fn age(&self) -> Duration {
        self.made.elapsed()
    }

    /// Whether the database has a place to read tokens from.
    pub(crate) fn has_slots(&self) -> bool {
        self.texts.is_some()
    }

    /// Whether there is a table: the default one may be missing.
    pub(crate) fn has_table(&self) -> bool {
        self.table.is_some()
    }

    /// What the catalogue said, unless the default table is missing.
    pub(crate) fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    /// Whether a bulk write may rely on one row per owner.
    pub(crate) fn is_unique(&self) -> bool {
        self.has_slots() && self.table.as_ref().is_some_and(|table| table.unique)
    }

    /// Whether the owner can have one row only. In text columns a UUID that was given in upper case
    /// may have one for each form.
    pub(crate) fn has_one_row(&self, owner: &Owner) -> bool {
        let Some(table) = &self.table else { return false };
        let one = |kind: Option<IdKind>, forms: usize| kind != Some(IdKind::Text) || forms <= 1;
        let tenant_forms = owner.tenant_id().map_or(0, |tenant| tenant.forms().count());
        table.unique
            && one(Some(table.user), owner.user_id().forms().count())
            && one(table.tenant, tenant_forms)
    }

    pub(super) fn work(&self) -> Result<(&Table, &Statements), Fault> {
        self.some_work().map(|(table, texts)| (table, &texts.one_form))
    }

    pub(super) fn work_for(&self, owner: &Owner) -> Result<(&Table, &Statements), Fault> {
        let tenant_forms = owner.tenant_id().map_or(1, |tenant| tenant.forms().count());
        let (table, texts) = self.some_work()?;
        match owner.user_id().forms().count().max(tenant_forms) {
            1 => Ok((table, &texts.one_form)),
            _ => Ok((table, &texts.two_forms)),
        }
    }

    fn some_work(&self) -> Result<(&Table, &Texts), Fault> {
        self.table.as_ref().zip(self.texts.as_ref()).ok_or_else(|| {
            Error::new(ErrorKind::Schema, "the table has no column that can hold tokens").into()
        })
    }
}
