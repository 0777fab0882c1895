//! The rows of the table: some of them, or with [`deep`](crate::DoctorOptions::deep) all, each one opened.

pub(crate) mod tally;

use std::time::Duration;

use crate::doctor::exposure::alike::of_column;
use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::doctor::rows::tally::{Role, Tally};
use crate::doctor::{Patient, deep, exposure, keys};
use crate::error::{Error, ErrorKind};
use crate::postgres::catalogue::row_visibility::hidden_rows;
use crate::postgres::catalogue::table::TableColumn;
use crate::postgres::connection::errors::{Fault, Outcome};
use crate::postgres::walk::scan::{Portion, Scan, Watched};
use crate::postgres::walk::tokens_outside::not_looked_at;
use crate::record::field::Field;
use crate::record::token::MAX_SLOT;

/// Tables with more rows than this are sampled.
const ALL: u64 = 20_000;
/// How many rows a sample is meant to have.
const SAMPLE: u64 = 10_000;
/// How long the server may take for them.
const LIMIT: Duration = Duration::from_millis(700);
/// A row takes at least this many bytes, where the server has no estimate of their number.
const SMALL_ROW: u64 = 128;
/// The longest JSON that is looked into.
const LONGEST_JSON: usize = 1 << 20;
/// So much of a look-alike is enough to tell what it is.
const LONGEST_ALIKE: usize = 4096;

/// Types, by the start of their names, in which no secret has room.
const NO_TEXT: [&str; 14] = [
    "smallint", "integer", "bigint", "numeric", "real", "double", "boolean", "date", "time", "interval",
    "uuid", "inet", "cidr", "oid",
];

/// The columns that are looked at, and what for.
pub(crate) struct Columns {
    pub(crate) watched: Vec<Watched>,
    /// With the longest text of each.
    pub(crate) roles: Vec<(Role, usize)>,
}

/// What was seen in the rows, and how many of them were looked at.
pub(crate) struct Seen<'a> {
    pub(crate) patient: &'a Patient<'a>,
    pub(crate) columns: &'a Columns,
    pub(crate) tally: Tally,
    /// Every row was looked at.
    pub(crate) is_exact: bool,
}

/// Exposure and keys, in one look at the rows.
pub(super) async fn look(patient: &Patient<'_>) -> Result<Vec<Finding>, Fault> {
    if patient.definitions.relation.hides_rows {
        return Err(hidden_rows(patient.layout).into());
    }
    let columns = Columns::of(patient);
    let scan = patient.postgres.scan(patient.plan, &columns.watched).await?;
    let (tally, is_exact) = match patient.options.deep {
        true => (deep::rows(patient, &columns, &scan).await?, true),
        false => some_rows(patient, &columns, &scan).await?,
    };
    let seen = Seen { patient, columns: &columns, tally, is_exact };
    seen.note();
    note_not_looked_at(patient, &columns);
    let mut findings = exposure::findings(&seen);
    findings.extend(keys::of_rows(&seen));
    findings.extend(seen.too_long());
    Ok(findings)
}

/// Tokens are counted, and secrets are looked for, in these columns only.
fn note_not_looked_at(patient: &Patient<'_>, columns: &Columns) {
    let looked_at: Vec<&str> = columns.watched.iter().map(|watched| watched.column.as_str()).collect();
    let not_looked_at = not_looked_at(patient.layout, &patient.snapshot.text_columns, &looked_at);
    if !not_looked_at.is_empty() {
        patient.host.note(format!("values were not looked at in {}", not_looked_at.join(", ")));
    }
}

/// All rows of a small table, some of a large one.
async fn some_rows(patient: &Patient<'_>, columns: &Columns, scan: &Scan) -> Result<(Tally, bool), Fault> {
    let portion = portion(patient.definitions.relation.rows, patient.definitions.relation.bytes);
    let rows = match patient.postgres.some_rows(scan, portion, patient.patience(LIMIT)).await {
        Ok(rows) => rows,
        Err(fault) if fault.outcome == Outcome::Retry => return Err(too_slow(patient).into()),
        Err(fault) => return Err(fault),
    };
    let is_exact = matches!(portion, Portion::First(_)) && rows.len() as u64 <= ALL;
    let mut tally = Tally::default();
    rows.iter().try_for_each(|row| tally.take(row, &columns.roles, None))?;
    Ok((tally, is_exact))
}

fn too_slow(patient: &Patient<'_>) -> Error {
    let message = format!("the server takes too long to give rows of {}", patient.postgres.table_name());
    Error::new(ErrorKind::Busy, message).with_hint("look when it is less busy, or with --deep")
}

/// From the server's estimates of rows, -1 for none, and bytes.
fn portion(rows: i64, bytes: i64) -> Portion {
    let most = u64::try_from(bytes).unwrap_or_default() / SMALL_ROW;
    let rows = u64::try_from(rows).unwrap_or(most);
    match rows <= ALL {
        true => Portion::First(ALL + 1),
        false => Portion::Sample((SAMPLE as f64 * 100.0 / rows as f64).min(100.0), ALL),
    }
}

impl Columns {
    fn of(patient: &Patient<'_>) -> Self {
        let roles = patient.table.columns.iter().filter_map(|column| Some((column, role(patient, column)?)));
        let (mut watched, mut kept) = (Vec::new(), Vec::new());
        for (column, role) in roles {
            let longest = match role {
                Role::Slot => MAX_SLOT,
                Role::Config | Role::Webhook => LONGEST_JSON,
                Role::Alike(_) => LONGEST_ALIKE,
            };
            let is_json = column.kind.starts_with("json");
            watched.push(Watched { column: column.name.clone(), longest, is_json });
            kept.push((role, longest));
        }
        Self { watched, roles: kept }
    }
}

fn role(patient: &Patient<'_>, column: &TableColumn) -> Option<Role> {
    let (layout, name) = (patient.layout, column.name.as_str());
    // a domain, and an array, may hold anything
    let is_text = !NO_TEXT.iter().any(|kind| column.kind.starts_with(kind));
    match name {
        _ if !is_text => None,
        _ if layout.is_for_secrets(name) => Some(Role::Slot),
        _ if name == layout.config_column => Some(Role::Config),
        _ if layout.column_of(Field::WebhookConfig) == Some(name) => Some(Role::Webhook),
        _ if layout.all_columns().contains(&name) => None,
        _ => of_column(name).map(Role::Alike),
    }
}

impl Seen<'_> {
    /// The column as it stands in findings: `column public.user_profiles.api_key`.
    pub(crate) fn object(&self, at: usize) -> String {
        format!("column {}.{}", self.patient.postgres.table_name(), self.columns.watched[at].column)
    }

    /// What a count means: of all rows, or of a sample.
    pub(crate) fn of_how_many(&self) -> String {
        match self.is_exact {
            true => String::new(),
            false => format!(" (of {} rows that were looked at)", self.tally.rows),
        }
    }

    fn too_long(&self) -> Option<Finding> {
        let count = self.tally.too_long;
        let meaning =
            "JSON that is longer than 1 MiB, deeper than 127 levels, or damaged, is not looked into";
        let advice = "see for yourself whether there are secrets in it; settings are shorter";
        let finding = Finding::new(
            (Area::Exposure, Severity::Warning, "not_examined"),
            format!("table {}", self.patient.postgres.table_name()),
            meaning,
            Mend::Advice(advice.to_owned()),
        );
        (count > 0).then(|| finding.of(count, Vec::new()))
    }

    /// The columns for tokens that a validated constraint of ours keeps free of anything else.
    fn proved(&self) -> Option<String> {
        let slots = self.columns.watched.iter().zip(&self.columns.roles);
        let slots = slots.filter(|(_, (role, _))| matches!(role, Role::Slot | Role::Config));
        let is_proved = |column: &str| {
            self.patient.definitions.constraints.iter().any(|constraint| {
                constraint.kind == 'c'
                    && constraint.validated
                    && constraint.name.starts_with("retell_vault_")
                    && constraint.columns == [column]
            })
        };
        let proved: Vec<_> =
            slots.map(|(watched, _)| watched.column.as_str()).filter(|column| is_proved(column)).collect();
        (!proved.is_empty()).then(|| proved.join(", "))
    }

    fn note(&self) {
        let (table, rows) = (self.patient.postgres.table_name(), self.tally.rows);
        let note = |note: String| self.patient.host.note(note);
        let estimate = match self.patient.definitions.relation.rows {
            rows @ 1.. => format!(" of about {rows}"),
            _ => String::new(),
        };
        note(match self.is_exact {
            true => format!("every row of {table} was looked at: {rows}"),
            false => format!(
                "{rows}{estimate} rows of {table} were looked at; `retell-vault doctor --deep` looks at all"
            ),
        });
        if let (false, Some(proved)) = (self.is_exact, self.proved()) {
            note(format!("a constraint proves of every row of {table} that only tokens are in {proved}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_tables_are_sampled_and_small_ones_read() {
        assert!(matches!(portion(0, 0), Portion::First(_)));
        assert!(matches!(portion(20_000, 1 << 40), Portion::First(_)));
        assert!(matches!(portion(-1, 8192), Portion::First(_)));
        assert!(matches!(portion(1_000_000, 0), Portion::Sample(percent, _) if percent == 1.0));
        assert!(matches!(portion(-1, 1 << 30), Portion::Sample(percent, _) if percent < 1.0));
    }
}
