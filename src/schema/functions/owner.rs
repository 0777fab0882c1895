//! The owner of a row, as the parameters of a function.

use crate::postgres::catalogue::detect::IdKind;
use crate::postgres::sql::names::quote;
use crate::schema::plan::Subject;

/// A user, and a tenant where the layout has a column for it.
pub(super) struct OwnerParams {
    /// Names and types.
    pub(super) params: Vec<(&'static str, &'static str)>,
    columns: Vec<(String, IdKind)>,
}

impl OwnerParams {
    pub(super) fn new(subject: &Subject<'_>) -> Self {
        let user = (subject.layout.user_column.as_str(), subject.table.user, "p_user");
        let tenant = subject.layout.tenant_column.as_deref().zip(subject.table.tenant);
        let tenant = tenant.map(|(column, kind)| (column, kind, "p_tenant"));
        let all = [user].into_iter().chain(tenant);
        let (params, columns) =
            all.map(|(column, kind, param)| ((param, type_of(kind)), (quote(column), kind))).unzip();
        Self { params, columns }
    }

    /// With one more parameter.
    pub(super) fn and(&self, name: &'static str, kind: &'static str) -> Vec<(&'static str, &'static str)> {
        self.params.iter().copied().chain([(name, kind)]).collect()
    }

    /// Whether the row `t` is the owner's. A text column may hold a UUID as it was given, or in its canonical form.
    pub(super) fn condition(&self) -> String {
        let is = |(param, column, kind): (&str, &str, IdKind)| match kind {
            IdKind::Uuid => format!("t.{column} = {param}"),
            IdKind::Text => format!("t.{column}::pg_catalog.text IN ({param}, {})", canonical(param)),
        };
        self.each().map(is).collect::<Vec<_>>().join(" AND ")
    }

    /// The owner's columns, and what a new row gets there.
    pub(super) fn values(&self) -> Vec<(String, String)> {
        let value = |(param, column, kind): (&str, &str, IdKind)| match kind {
            IdKind::Uuid => (column.to_owned(), param.to_owned()),
            IdKind::Text => (column.to_owned(), canonical(param)),
        };
        self.each().map(value).collect()
    }

    fn each(&self) -> impl Iterator<Item = (&str, &str, IdKind)> {
        self.params
            .iter()
            .zip(&self.columns)
            .map(|((param, _), (column, kind))| (*param, column.as_str(), *kind))
    }
}

fn type_of(kind: IdKind) -> &'static str {
    match kind {
        IdKind::Text => "text",
        IdKind::Uuid => "uuid",
    }
}

fn canonical(param: &str) -> String {
    format!(
        "CASE WHEN {param} ~ '^[0-9a-fA-F]{{8}}-([0-9a-fA-F]{{4}}-){{3}}[0-9a-fA-F]{{12}}$' THEN pg_catalog.lower({param}) ELSE {param} END"
    )
}
