//! Compares a layout with the database: where every field would go, what is not touched, and what contradicts the layout.

use crate::error::Result;
use crate::layout::layout::Layout;
use crate::layout::placement::{
    Column, ColumnType, Place, Placement, is_applications_key, placement, usable,
};
use crate::layout::toml_member::nearest;
use crate::postgres::catalogue::row_filter::can_hold;
use crate::postgres::catalogue::snapshot::{TableAnswer, take_definitions, take_unchecked};
use crate::postgres::catalogue::table::{Persistence, id_kind, placed};
use crate::postgres::catalogue::table_column::TableColumn;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::connection::options::{PoolerMode, Timeouts};
use crate::postgres::connection::pool::Database;
use crate::record::field::{Field, FieldSpec};
use crate::record::token::token_len;
use crate::store::core::{ROUNDS, pause};
use crate::vault::layout_report::{
    Contradiction, FieldReport, LayoutReport, double_uses, filter, local, without_table,
};
use crate::vault::status::left_alone;

impl Layout {
    /// Compares the layout with the table of the database at a URL: where every field would go, what is not touched, and
    /// what contradicts the layout. Needs no keyring and writes nothing. It reads only the catalogue, not the rows.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), retell_vault::Error> {
    /// use retell_vault::Layout;
    /// use retell_vault::connection::PoolerMode;
    ///
    /// let layout = Layout::from_toml("[table]\nname = \"crm.organizations\"\nuser = \"id\"")?;
    /// let report = layout.compare("postgres://localhost/app", PoolerMode::Auto).await?;
    /// for found in &report.contradictions {
    ///     eprintln!("{}: {} ({})", found.member, found.problem, found.hint);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of connecting and of reading the catalogue. A layout that does not match is not an error.
    pub async fn compare(&self, url: &str, pooler: PoolerMode) -> Result<LayoutReport> {
        let database = Database::from_url(url, pooler, Timeouts::default())?;
        let report = compare(&database, self).await;
        database.close().await;
        report
    }
}

pub(crate) async fn compare(database: &Database, layout: &Layout) -> Result<LayoutReport> {
    let (table, hides_rows) = look(database, layout).await.map_err(|fault| fault.error)?;
    let mut report = match &table {
        Some(table) => Comparison::new(layout, table).report(hides_rows),
        None => without_table(layout),
    };
    report.address = database.address();
    Ok(report)
}

/// The object with the name of the table, and whether row level security may hide its rows.
async fn look(database: &Database, layout: &Layout) -> Result<(Option<TableAnswer>, bool), DatabaseError> {
    let mut round = 0;
    let table = loop {
        match take_unchecked(database, layout).await {
            Err(fault) if matches!(fault.outcome, Outcome::Retry | Outcome::Pooler) && round < ROUNDS => {
                pause(round).await;
            }
            looked => break looked?,
        }
        round += 1;
    };
    let hides_rows = match &table {
        Some(TableAnswer { kind: 'r' | 'p', .. }) => {
            take_definitions(database, layout).await?.relation.hides_rows
        }
        _ => false,
    };
    Ok((table, hides_rows))
}

/// A layout beside the table that it is about.
struct Comparison<'a> {
    layout: &'a Layout,
    table: &'a TableAnswer,
    /// The columns that the layout names and that exist.
    columns: Vec<Column>,
    placement: Placement,
    contradictions: Vec<Contradiction>,
    not_looked_at: Vec<String>,
}

impl<'a> Comparison<'a> {
    fn new(layout: &'a Layout, table: &'a TableAnswer) -> Self {
        let named = layout.all_columns();
        let used = table.columns.iter().filter(|column| named.contains(&column.name.as_str()));
        let columns: Vec<_> = used.map(|column| placed(column, layout, &table.indexes)).collect();
        let placement = placement(layout, &columns);
        let contradictions = double_uses(layout);
        Self { layout, table, columns, placement, contradictions, not_looked_at: Vec::new() }
    }

    fn report(mut self, hides_rows: bool) -> LayoutReport {
        let layout = self.layout;
        if self.check_relation(hides_rows) {
            self.check_owner();
            self.check_filter();
            self.check_columns();
            self.check_room();
        }
        let owner = self.owner().filter(|name| self.column(name).is_some()).map(str::to_owned).collect();
        let touched: Vec<&str> = self.owner().chain(layout.filter.columns()).chain(self.written()).collect();
        // of what is no table nothing is touched at all
        let is_table = self.is_table();
        let not_touched = self.table.columns.iter().map(|column| &column.name);
        LayoutReport {
            address: String::new(),
            table: Some(layout.table_name()),
            owner,
            filter: filter(layout, &self.table.columns),
            rows: layout.rows,
            fields: layout.fields.each().map(|(field, spec)| self.field(field, spec)).collect(),
            not_touched: not_touched
                .filter(|name| is_table && !touched.contains(&name.as_str()))
                .cloned()
                .collect(),
            contradictions: self.contradictions,
            not_looked_at: self.not_looked_at,
        }
    }

    /// The columns of the owner, as the layout names them.
    fn owner(&self) -> impl Iterator<Item = &'a str> {
        let names = [Some(&self.layout.user_column), self.layout.tenant_column.as_ref()];
        names.into_iter().flatten().map(String::as_str)
    }

    /// The columns that a store writes.
    fn written(&self) -> impl Iterator<Item = &str> {
        let slots = self.placement.slots.iter().map(|slot| &*slot.column);
        let plain = self.placement.plain.iter().map(|plain| &*plain.column);
        slots.chain(plain).chain(self.placement.sync_column.as_deref())
    }

    fn is_table(&self) -> bool {
        matches!(self.table.kind, 'r' | 'p')
    }

    fn column(&self, name: &str) -> Option<&'a TableColumn> {
        self.table.columns.iter().find(|column| column.name == name)
    }

    fn contradicts(&mut self, member: &str, problem: impl Into<String>, hint: impl Into<String>) {
        let (member, problem, hint) = (member.to_owned(), problem.into(), hint.into());
        self.contradictions.push(Contradiction { member, problem, hint });
    }

    /// A member names a column that does not exist. The one that was meant exists, so it may be named.
    fn is_missing(&mut self, member: &str, name: &str, hint: &str) {
        let known: Vec<&str> = self.table.columns.iter().map(|column| column.name.as_str()).collect();
        let hint = match nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => hint.to_owned(),
        };
        self.contradicts(member, "the table has no such column", hint);
    }

    /// Whether it is a table at all.
    fn check_relation(&mut self, hides_rows: bool) -> bool {
        let what = match self.table.kind {
            'r' | 'p' => None,
            'v' => Some("is a view"),
            'm' => Some("is a materialized view"),
            'f' => Some("is a foreign table"),
            _ => Some("is not a table"),
        };
        let name = self.layout.table_name();
        if let Some(what) = what {
            self.contradicts("table.name", format!("{name} {what}"), "name the table itself");
            return false;
        }
        let lost = match self.table.persistence {
            Persistence::Permanent => None,
            Persistence::Unlogged => Some("is UNLOGGED: a crash of the server empties it"),
            Persistence::Temporary => Some("is temporary: it ends with its session"),
        };
        if let Some(lost) = lost {
            self.contradicts(
                "table.name",
                format!("{name} {lost}"),
                "name a permanent table: the vault stores no records in this one",
            );
        }
        if hides_rows {
            let hint = "connect as a role that sees every row; the service works without, but `rotate` and the counts need every row";
            self.contradicts(
                "table.name",
                format!("row level security may hide rows of {name} from this role"),
                hint,
            );
        }
        true
    }

    fn check_owner(&mut self) {
        let tenant = self.layout.tenant_column.iter().map(|name| ("table.tenant", name));
        for (member, name) in [("table.user", &self.layout.user_column)].into_iter().chain(tenant) {
            match self.column(name) {
                None => self.is_missing(member, name, "name the column that holds the id"),
                Some(column) => {
                    if let Err(fault) = id_kind(self.layout, &self.table.columns, name) {
                        self.contradicts(member, fault.error.to_string(), fault.error.hint());
                    }
                    self.check_readable(member, column);
                }
            }
        }
    }

    fn check_filter(&mut self) {
        let layout = self.layout;
        for (name, value) in &layout.filter.equals {
            let Some(column) = self.check_condition("table.where", name) else { continue };
            if !can_hold(column, value) {
                let problem =
                    format!("column {name} has type {}, which holds no {}", column.kind, value.type_name());
                self.contradicts("table.where", problem, "give a constant of the column's type");
            } else if column.is_enum() {
                self.not_looked_at
                    .push(format!("whether the enum {} of column {name} has the constant", column.kind));
            }
        }
        for name in &layout.filter.is_null {
            if let Some(column) = self.check_condition("table.is_null", name)
                && column.not_null
            {
                let problem = format!("column {name} is NOT NULL, so no row would match");
                self.contradicts("table.is_null", problem, "leave it out");
            }
        }
    }

    fn check_condition(&mut self, member: &str, name: &str) -> Option<&'a TableColumn> {
        let Some(column) = self.column(name) else {
            self.is_missing(member, name, "name a column of the table");
            return None;
        };
        if column.generated {
            let problem = format!("column {name} is generated, so a new row cannot set it");
            self.contradicts(member, problem, "name a column that it is generated from");
        }
        self.check_readable(member, column);
        Some(column)
    }

    fn check_readable(&mut self, member: &str, column: &TableColumn) {
        if !column.readable {
            let problem = format!("column {} may not be read by this role", column.name);
            self.contradicts(member, problem, "GRANT SELECT on it to the role that connects");
        }
    }

    /// Columns that the layout names, and all that a store would write.
    fn check_columns(&mut self) {
        let layout = self.layout;
        for (field, spec) in layout.fields.each() {
            let Some(name) = layout.column_of(field) else { continue };
            let member = format!("columns.{field}");
            match self.column(name) {
                None if layout.names(field) => {
                    self.is_missing(
                        &member,
                        name,
                        "`retell-vault schema apply` adds it; `schema plan` shows how",
                    );
                }
                None => {}
                Some(column) => {
                    if layout.names(field)
                        && let Some(problem) = self.misfit(field, spec, name)
                    {
                        self.contradicts(&member, problem, "`retell-vault schema plan` shows whether its type can be changed; or name another column");
                    }
                    self.check_written(&member, column);
                }
            }
        }
        let others = [
            (
                "columns.config",
                &layout.config_column,
                layout.names_config_column(),
                ColumnType::Jsonb,
                "jsonb",
            ),
            (
                "columns.sync",
                &layout.sync_column,
                layout.names_sync_column(),
                ColumnType::Timestamptz,
                "timestamptz",
            ),
            (
                "columns.index",
                &layout.index_column,
                layout.index_was_named,
                ColumnType::ByteaArray,
                "bytea[]",
            ),
        ];
        for (member, name, is_named, kind, type_name) in others {
            match self.column(name) {
                None if is_named => self.is_missing(member, name, "`retell-vault schema apply` adds it"),
                None => {}
                Some(column) => {
                    if is_named && column.column_type() != kind {
                        let problem = format!("column {name} has type {}, not {type_name}", column.kind);
                        self.contradicts(member, problem, "name another column, or leave it out");
                    }
                    self.check_written(member, column);
                }
            }
        }
    }

    /// Only a column that a store would write has to be readable and writable.
    fn check_written(&mut self, member: &str, column: &TableColumn) {
        if !self.written().any(|name| name == column.name) {
            return;
        }
        self.check_readable(member, column);
        if !column.writable {
            let problem = format!("column {} may not be written", column.name);
            let hint = "GRANT UPDATE on it to the role that connects; a generated column cannot be used";
            self.contradicts(member, problem, hint);
        }
    }

    fn check_room(&mut self) {
        if self.placement.is_local() {
            let hint = "`retell-vault schema apply` adds what is missing; or name columns that exist";
            let problem = "no column of the table can hold tokens, so everything goes to the local file";
            self.contradicts("columns", problem, hint);
        }
    }

    fn field(&self, field: Field, spec: &FieldSpec) -> FieldReport {
        if !self.is_table() {
            return local(field);
        }
        let is_sealed = self.placement.is_local() || self.placement.plain_column(field).is_none();
        let place = self.placement.place(field);
        let why = match &place {
            Place::Column(_) => None,
            _ => self.why_not_its_own(field, spec),
        };
        FieldReport { field, place, is_sealed, why }
    }

    fn why_not_its_own(&self, field: Field, spec: &FieldSpec) -> Option<String> {
        let layout = self.layout;
        if let Some(left) = self.placement.left_alone.iter().find(|(left, _)| *left == field) {
            let left = left_alone(layout, left);
            return Some(format!(
                "column {} may belong to the application; to use it: {}",
                left.column, left.adopt
            ));
        }
        if layout.keeps_sealed(field) {
            return Some("the layout keeps it sealed".to_owned());
        }
        let name = layout.column_of(field)?;
        match self.column(name) {
            Some(_) => self.misfit(field, spec, name),
            None if layout.names(field) => Some("its column does not exist".to_owned()),
            None => Some(format!("column {name} does not exist")),
        }
    }

    /// Why a column that exists cannot be the field's own.
    fn misfit(&self, field: Field, spec: &FieldSpec, name: &str) -> Option<String> {
        let column = self.columns.iter().find(|column| column.name == name)?;
        let kind = &self.column(name)?.kind;
        match &column.kind {
            _ if !spec.is_secret && is_applications_key(column) => {
                Some(format!("column {name} is NOT NULL and unique, so it belongs to the application"))
            }
            _ if usable(field, spec, column) => None,
            ColumnType::Varchar(_) => {
                let needed = if spec.is_secret { token_len(field, spec.longest) } else { spec.longest - 2 };
                Some(format!("column {name} has type {kind}, but needs room for {needed} characters"))
            }
            _ => Some(format!("column {name} has type {kind}, which cannot hold it")),
        }
    }
}
