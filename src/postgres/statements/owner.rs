//! Selects the rows of a statement: the bound owner, and the filter of the layout.

use crate::postgres::catalogue::id_kind::IdKind;
use crate::postgres::sql::names::{EQ, quote, text};
use crate::postgres::statements::fragments::{Forms, Writer};

impl Writer<'_> {
    /// The number of parameters of the owner.
    pub(in crate::postgres) fn owner_params(&self) -> usize {
        1 + usize::from(self.table.tenant.is_some())
    }

    /// A condition that the row passes the filter and belongs to the bound owner. A text column may hold either form of a
    /// UUID.
    ///
    /// It is not `= ANY($1)`: an array of unknown length makes Postgres plan again at every execution, which takes longer
    /// than everything else. It does not always use both forms: a plan for two lookups that was cached while the table
    /// was empty scans the whole table.
    pub(in crate::postgres) fn is_owner(&self, row: &str) -> String {
        let column = |name: &str, kind: IdKind, number: usize| {
            let (column, param) = (kind.cast(&format!("{row}.{}", quote(name))), format!("${number}"));
            match (kind, self.forms) {
                (IdKind::Text, Forms::Two) => format!(
                    "{column} {EQ} ANY (ARRAY[({param}::pg_catalog._text)[1], ({param}::pg_catalog._text)[2]])"
                ),
                _ => format!("{column} {EQ} {}", kind.cast(&param)),
            }
        };
        let mut parts = vec![column(&self.layout.user_column, self.table.user, 1)];
        if let (Some(name), Some(kind)) = (&self.layout.tenant_column, self.table.tenant) {
            parts.push(column(name, kind, 2));
        }
        format!("{}{}", parts.join(" AND "), self.counts(row))
    }

    /// A condition that the row passes the filter and belongs to the owner in `u` and `w` of another relation.
    pub(in crate::postgres) fn is_owner_of(&self, row: &str, other: &str) -> String {
        format!("{}{}", self.is_row_of(row, other), self.counts(row))
    }

    /// The same without the filter.
    pub(in crate::postgres) fn is_row_of(&self, row: &str, other: &str) -> String {
        let column = |name: &str, kind: IdKind| kind.cast(&format!("{row}.{}", quote(name)));
        let user = format!("{} {EQ} {other}.u", column(&self.layout.user_column, self.table.user));
        let tenant = self.layout.tenant_column.as_ref().zip(self.table.tenant);
        let tenant = tenant.map(|(name, kind)| format!("{} {EQ} {other}.w", column(name, kind)));
        let owner: Vec<_> = [user].into_iter().chain(tenant).collect();
        owner.join(" AND ")
    }

    /// A condition that the row passes the filter.
    pub(in crate::postgres) fn counts(&self, row: &str) -> String {
        self.table.filter.and(&format!("{row}."))
    }

    /// The columns of the owner with the values of a new row. The canonical form comes first in the array.
    pub(in crate::postgres) fn owner_values(&self) -> Vec<(String, String)> {
        let value = |name: &str, kind: IdKind, number: usize| {
            let value = match (kind, self.forms) {
                (IdKind::Text, Forms::Two) => format!("(${number}::pg_catalog._text)[1]"),
                _ => kind.cast(&format!("${number}")),
            };
            let assigned = self.table.column(name).map(|column| column.assigned(&value));
            (quote(name), assigned.unwrap_or(value))
        };
        let mut values = vec![value(&self.layout.user_column, self.table.user, 1)];
        if let (Some(name), Some(kind)) = (&self.layout.tenant_column, self.table.tenant) {
            values.push(value(name, kind, 2));
        }
        values
    }

    /// The owner's columns as text, for results about several owners.
    pub(in crate::postgres) fn owner_columns(&self) -> String {
        let user = text(&format!("t.{}", quote(&self.layout.user_column)));
        match &self.layout.tenant_column {
            Some(tenant) => format!("{user}, {}", text(&format!("t.{}", quote(tenant)))),
            None => format!("{user}, NULL::pg_catalog.text"),
        }
    }

    /// The types of the arrays of many owners, users first, and the names of the values in them.
    pub(in crate::postgres) fn owner_arrays(&self) -> (Vec<String>, Vec<&'static str>) {
        let kinds = [Some(self.table.user), self.table.tenant].into_iter().flatten();
        let arrays: Vec<_> = kinds.map(|kind| format!("pg_catalog._{}", kind.sql())).collect();
        let names = ["u", "w"][..arrays.len()].to_vec();
        (arrays, names)
    }
}
