//! The input of a plan, and the draft that the sub-planners fill.

use crate::layout::layout::Layout;
use crate::layout::placement::is_applications_key;
use crate::postgres::catalogue::definitions::TableDefinitions;
use crate::postgres::catalogue::table::Table;
use crate::postgres::sql::names::relation;
use crate::postgres::vault_schema::state::VaultSchema;
use crate::record::field::Field;
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
    /// `None` if the plan leaves the schema `retell_vault` alone.
    pub(crate) vault_schema: Option<&'a VaultSchema>,
}

impl<'a> PlanInput<'a> {
    /// The column of a plain field, unless the existing column may belong to the application.
    pub(crate) fn plain_column(&self, field: Field) -> Option<&'a str> {
        let name = self.layout.column_of(field)?;
        let is_left_alone =
            self.left_alone().any(|(_, column)| column == name) || self.is_applications_key(name);
        (!is_left_alone).then_some(name)
    }

    /// Columns that plain fields could use but do not, because they may belong to the application.
    pub(crate) fn left_alone(&self) -> impl Iterator<Item = (Field, &'a str)> {
        let (layout, table) = (self.layout, self.table);
        let by_consent =
            layout.fields.plain().filter(|(field, spec)| spec.by_consent && !layout.names(*field));
        by_consent.filter_map(|(field, _)| {
            let name = layout.column_of(field)?;
            let there = table.layout_columns.iter().find(|column| column.name == name)?;
            (!there.adopted && !is_applications_key(there)).then_some((field, name))
        })
    }

    /// Columns that plain fields never use, because they need a unique value in every row.
    pub(crate) fn applications_keys(&self) -> impl Iterator<Item = (Field, &'a str)> {
        let named =
            self.layout.fields.plain().filter_map(|(field, _)| Some((field, self.layout.column_of(field)?)));
        named.filter(|(_, name)| self.is_applications_key(name))
    }

    /// Whether no plain field can use a column, even if a layout or an option names it.
    fn is_applications_key(&self, name: &str) -> bool {
        self.table.layout_columns.iter().any(|column| column.name == name && is_applications_key(column))
    }

    /// Whether a missing column of a field is added. A layout that says where tokens go wants no other columns: its other
    /// fields share a place. The full profile always has a column for every field.
    pub(crate) fn wants_column_of(&self, field: Field) -> bool {
        self.is_full() || !self.lists_columns() || self.layout.names(field)
    }

    /// Whether a missing column for the time of the last write is added.
    pub(crate) fn wants_sync_column(&self) -> bool {
        self.is_full() || !self.lists_columns() || self.layout.names_sync_column()
    }

    /// Whether a missing JSONB column is added, even if other columns have room for every token.
    pub(crate) fn wants_config_column(&self) -> bool {
        self.is_full() || !self.lists_columns() || self.layout.names_config_column()
    }

    /// Whether the layout names a column for tokens in place of a default one. A column for a field without a default
    /// column is an addition.
    fn lists_columns(&self) -> bool {
        let mut secrets = self.layout.fields.secrets();
        self.layout.names_config_column()
            || secrets.any(|(field, spec)| spec.column.is_some() && self.layout.names(field))
    }

    /// The table in SQL: quoted, with its schema.
    pub(crate) fn relation(&self) -> String {
        relation(self.layout)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.wanted.profile == Profile::FullProfile
    }
}

/// The plan while the sub-planners fill it.
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
