//! The columns whose values are examined, and the reason for each.

use crate::doctor::context::TableContext;
use crate::doctor::rows::json_secrets::JsonPath;
use crate::doctor::rows::name_patterns::{NameMatch, of_column};
use crate::layout::layout::Layout;
use crate::postgres::catalogue::table_column::TableColumn;
use crate::postgres::walk::scan::Watched;
use crate::record::field::ValueKind;
use crate::record::token::MAX_SLOT;

/// The longest JSON that is searched, in bytes.
const LONGEST_JSON: usize = 1 << 20;
/// This much of a text is enough to classify it.
const LONGEST_TEXT: usize = 4096;

/// Types that cannot hold a secret, by the start of their names.
const NO_TEXT: [&str; 14] = [
    "smallint", "integer", "bigint", "numeric", "real", "double", "boolean", "date", "time", "interval",
    "uuid", "inet", "cidr", "oid",
];

/// Why a column is examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ColumnRole {
    /// It may hold only tokens.
    Slot,
    /// It holds tokens in the vault's member; the rest belongs to the application.
    Config,
    /// The settings of the webhook.
    Webhook,
    /// Its name suggests a credential.
    Named(NameMatch),
}

/// The part of a column that holds the find.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ColumnPart {
    Whole,
    /// The vault's member of the config column.
    Ours,
    Key(JsonPath),
}

/// The columns that are examined, and the reason for each.
pub(crate) struct WatchedColumns {
    pub(crate) watched: Vec<Watched>,
    /// With the longest text of each.
    pub(crate) roles: Vec<(ColumnRole, usize)>,
}

impl WatchedColumns {
    pub(super) fn of(context: &TableContext<'_>) -> Self {
        let roles = context.table.columns.iter().filter_map(|column| Some((column, role(context, column)?)));
        let (mut watched, mut kept) = (Vec::new(), Vec::new());
        for (column, role) in roles {
            let longest = match role {
                ColumnRole::Slot => MAX_SLOT,
                ColumnRole::Config | ColumnRole::Webhook => LONGEST_JSON,
                ColumnRole::Named(_) => LONGEST_TEXT,
            };
            let is_json = column.kind.starts_with("json");
            let of_rows_that_count = !matches!(role, ColumnRole::Named(_));
            watched.push(Watched { column: column.name.clone(), longest, is_json, of_rows_that_count });
            kept.push((role, longest));
        }
        Self { watched, roles: kept }
    }
}

fn role(context: &TableContext<'_>, column: &TableColumn) -> Option<ColumnRole> {
    let (layout, name) = (context.layout, column.name.as_str());
    // a domain or an array may hold anything
    let is_text = !NO_TEXT.iter().any(|kind| column.kind.starts_with(kind));
    match name {
        _ if !is_text || !column.casts_to_text() => None,
        _ if layout.is_for_secrets(name) => Some(ColumnRole::Slot),
        _ if name == layout.config_column => Some(ColumnRole::Config),
        _ if is_object(layout, name) => Some(ColumnRole::Webhook),
        _ if layout.all_columns().contains(&name) => None,
        _ => of_column(name).map(ColumnRole::Named),
    }
}

/// Whether a column is for JSON in plaintext.
fn is_object(layout: &Layout, column: &str) -> bool {
    let mut plain = layout.fields.plain();
    plain.any(|(field, spec)| spec.kind == ValueKind::Object && layout.column_of(field) == Some(column))
}
