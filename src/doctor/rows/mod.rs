//! The values in the rows of the table. The doctor examines some rows, or with
//! [`deep`](crate::doctor::DoctorOptions::deep) every row, and then opens each record.

pub(super) mod columns;
pub(super) mod counts;
pub(super) mod json_secrets;
pub(super) mod name_patterns;
pub(super) mod secret_hashes;
pub(super) mod text_class;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;

use crate::doctor::context::TableContext;
use crate::doctor::options::DoctorProgress;
use crate::doctor::rows::columns::{ColumnRole, WatchedColumns};
use crate::doctor::rows::counts::{ExaminedRows, NAMED, RowCounts, SharedSecrets};
use crate::doctor::rows::secret_hashes::{SecretHash, SecretHashes, SecretKind, SharedHashes};
use crate::error::{Error, ErrorKind};
use crate::keyring::keys::RootKeys;
use crate::postgres::catalogue::row_visibility::hidden_rows;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::walk::scan::{Portion, Scan, Scanned};
use crate::postgres::walk::tokens_outside::not_looked_at;
use crate::record::field::Fields;
use crate::schema::guards::proves;

/// Tables with more rows than this are sampled.
const ALL: u64 = 20_000;
/// The intended number of rows in a sample.
const SAMPLE: u64 = 10_000;
/// The time limit for the server to return them.
const LIMIT: Duration = Duration::from_millis(700);
/// The assumed minimum size of a row in bytes, used if the server has no estimate of their number.
const SMALL_ROW: u64 = 128;
/// Rows per page if every row is opened.
const PAGE: u32 = 1000;
/// Above this number of rows the server's estimate is used.
const MANY: u64 = 100_000;

/// Examines the rows, and notes how many rows and which columns were examined.
pub(super) async fn examine<'a>(context: &'a TableContext<'a>) -> Result<ExaminedRows<'a>, DatabaseError> {
    if context.definitions.relation.hides_rows {
        return Err(hidden_rows(context.layout).into());
    }
    let columns = WatchedColumns::of(context);
    let scan = context.postgres.scan(context.plan, &columns.watched).await?;
    let (counts, is_exact) = match context.options.deep {
        true => (every_row(context, &columns, &scan).await?, true),
        false => some_rows(context, &columns, &scan).await?,
    };
    let mut rows = ExaminedRows { context, columns, counts, is_exact, shared: Vec::new() };
    if let Some(secrets) = rows.counts.secrets.take() {
        rows.shared = shared_secrets(context, &rows.columns, &scan, secrets).await?;
    }
    note_extent(&rows);
    note_not_looked_at(context, &rows.columns);
    Ok(rows)
}

/// Notes how many rows were examined, and what is known about the others.
fn note_extent(rows: &ExaminedRows<'_>) {
    let (context, table, looked_at) = (rows.context, rows.context.postgres.table_name(), rows.counts.rows);
    let note = |note: String| context.host.note(note);
    let estimate = match context.definitions.relation.rows {
        rows @ 1.. => format!(" of about {rows}"),
        _ => String::new(),
    };
    note(match rows.is_exact {
        true => format!("every row of {table} was examined: {looked_at}"),
        false => format!(
            "{looked_at}{estimate} rows of {table} were examined; `retell-vault doctor --deep` examines all"
        ),
    });
    if let (false, Some(proved)) = (rows.is_exact, proved(rows)) {
        note(format!("a constraint proves that every row of {table} holds only tokens in {proved}"));
    }
}

/// The columns in which a validated constraint allows only tokens.
fn proved(rows: &ExaminedRows<'_>) -> Option<String> {
    let slots = rows.columns.watched.iter().zip(&rows.columns.roles);
    let slots = slots.filter(|(_, (role, _))| matches!(role, ColumnRole::Slot | ColumnRole::Config));
    let is_proved = |column: &str| {
        let (layout, filter) = (rows.context.layout, &rows.context.table.filter);
        let constraints = &rows.context.definitions.constraints;
        constraints.iter().any(|constraint| proves(layout, filter, column, constraint))
    };
    let proved: Vec<_> =
        slots.map(|(watched, _)| watched.column.as_str()).filter(|column| is_proved(column)).collect();
    (!proved.is_empty()).then(|| proved.join(", "))
}

/// Notes the columns in which the doctor did not count tokens or search for secrets.
fn note_not_looked_at(context: &TableContext<'_>, columns: &WatchedColumns) {
    let looked_at = columns.watched.iter().map(|watched| watched.column.as_str());
    // its entries are no values
    let index = context.plan.placement.index.as_deref();
    let looked_at: Vec<&str> = looked_at.chain(index).collect();
    let not_looked_at = not_looked_at(context.layout, &context.snapshot.text_columns, &looked_at);
    if !not_looked_at.is_empty() {
        context.host.note(format!("values were not examined in {}", not_looked_at.join(", ")));
    }
}

/// Reads all rows of a small table, or a sample of a large one.
async fn some_rows(
    context: &TableContext<'_>,
    columns: &WatchedColumns,
    scan: &Scan,
) -> Result<(RowCounts, bool), DatabaseError> {
    let portion = portion(context.definitions.relation.rows, context.definitions.relation.bytes);
    let rows = match context.postgres.some_rows(scan, portion, context.patience(LIMIT)).await {
        Ok(rows) => rows,
        Err(fault) if fault.outcome == Outcome::Retry => return Err(too_slow(context).into()),
        Err(fault) => return Err(fault),
    };
    let is_exact = matches!(portion, Portion::First(_)) && rows.len() as u64 <= ALL;
    let mut counts = RowCounts::default();
    rows.iter().try_for_each(|row| counts.take(row, &columns.roles, &context.layout.fields, None))?;
    Ok((counts, is_exact))
}

fn too_slow(context: &TableContext<'_>) -> Error {
    let message = format!("the server took too long to return rows of {}", context.postgres.table_name());
    Error::new(ErrorKind::Busy, message).with_hint("try again when the server is less busy, or with --deep")
}

/// Decides from the server's estimates of rows (-1 if it has none) and bytes.
fn portion(rows: i64, bytes: i64) -> Portion {
    let most = u64::try_from(bytes).unwrap_or_default() / SMALL_ROW;
    let rows = u64::try_from(rows).unwrap_or(most);
    match rows <= ALL {
        true => Portion::First(ALL + 1),
        false => Portion::Sample((SAMPLE as f64 * 100.0 / rows as f64).min(100.0), ALL),
    }
}

/// Reads every row, and opens the records of a page while the next page arrives. The memory use is two pages for a table
/// of any size, and no snapshot is held.
async fn every_row(
    context: &TableContext<'_>,
    columns: &WatchedColumns,
    scan: &Scan,
) -> Result<RowCounts, DatabaseError> {
    let (postgres, patience) = (context.postgres, context.postgres.database.patience());
    let roles: Arc<[(ColumnRole, usize)]> = columns.roles.clone().into();
    let mut progress = DoctorProgress { rows: number_of_rows(context, scan).await?, opened: 0 };
    let secrets = match context.plan.placement.index {
        // two owners of one entry are another finding
        Some(_) => SecretHashes::new()?.fields_only(),
        None => SecretHashes::new()?,
    };
    let mut counts = RowCounts { secrets: Some(secrets), ..RowCounts::default() };
    let mut before = None;
    let (mut page, mut last) = postgres.rows_after(scan, None, PAGE, patience).await?;
    while let Some(position) = last {
        counts.secrets.iter_mut().for_each(|secrets| secrets.start_page(before.take()));
        before = Some(position.clone());
        let keyring = context.core.keyring.current();
        let opened = tokio::task::spawn_blocking({
            let (roles, fields) = (roles.clone(), context.layout.fields.clone());
            move || opened(&page, &roles, &fields, &keyring, counts)
        });
        let (opened, next) = join(opened, postgres.rows_after(scan, Some(&position), PAGE, patience)).await;
        counts = opened.map_err(|_| shutting_down())??;
        (page, last) = next?;
        progress = DoctorProgress { rows: progress.rows.max(counts.rows), opened: counts.rows };
        context.host.tell(&progress);
    }
    Ok(counts)
}

/// The secrets that several owners have. Reads a few pages again to name these owners.
async fn shared_secrets(
    context: &TableContext<'_>,
    columns: &WatchedColumns,
    scan: &Scan,
    mut secrets: SecretHashes,
) -> Result<Vec<SharedSecrets>, DatabaseError> {
    let (postgres, patience) = (context.postgres, context.postgres.database.patience());
    if secrets.is_cut() {
        context.host.note(format!(
            "secrets of several owners were not searched for in all of {}: only the first 1,000,000 secrets were compared",
            postgres.table_name()
        ));
    }
    let shared = secrets.shared(NAMED);
    let wanted: Vec<(SecretKind, SecretHash)> =
        shared.iter().flat_map(|shared| shared.named.iter().map(|hash| (shared.kind, *hash))).collect();
    let mut named: Vec<(SecretKind, String)> = Vec::new();
    for before in secrets.pages_of(wanted.iter().map(|(_, hash)| hash)) {
        let (page, _) = postgres.rows_after(scan, before.as_ref(), PAGE, patience).await?;
        let (roles, fields) = (columns.roles.clone(), context.layout.fields.clone());
        let (keyring, wanted, secrets) = (context.core.keyring.current(), wanted.clone(), secrets.emptied());
        let owners = tokio::task::spawn_blocking(move || {
            owners_of(
                &wanted,
                &page,
                |row, counts| counts.take(row, &roles, &fields, Some(&keyring)),
                &secrets,
            )
        });
        named.extend(owners.await.map_err(|_| shutting_down())??);
    }
    let of_kind = |SharedHashes { kind, count, owners: concerned, .. }| {
        let mut owners: Vec<_> =
            named.iter().filter(|(of, _)| *of == kind).map(|(_, owner)| owner.clone()).collect();
        owners.sort();
        owners.dedup();
        SharedSecrets { kind, count, concerned, owners }
    };
    Ok(shared.into_iter().map(of_kind).collect())
}

/// The owners in a page who have one of these secrets.
fn owners_of(
    wanted: &[(SecretKind, SecretHash)],
    page: &[Scanned],
    take: impl Fn(&Scanned, &mut RowCounts) -> Result<(), DatabaseError>,
    secrets: &SecretHashes,
) -> Result<Vec<(SecretKind, String)>, DatabaseError> {
    let mut owners = Vec::new();
    for row in page {
        let mut counts = RowCounts { secrets: Some(secrets.emptied()), ..RowCounts::default() };
        take(row, &mut counts)?;
        let Some(held) = counts.secrets else { continue };
        for (kind, _) in wanted.iter().filter(|(kind, hash)| held.has(*kind, hash)) {
            owners.push((*kind, row.owner()?.0));
        }
    }
    Ok(owners)
}

fn shutting_down() -> Error {
    Error::new(ErrorKind::Busy, "the program is shutting down")
}

/// Counts only a small table, because counting reads the whole table.
async fn number_of_rows(context: &TableContext<'_>, scan: &Scan) -> Result<u64, DatabaseError> {
    match u64::try_from(context.definitions.relation.rows) {
        Ok(estimate) if estimate > MANY => Ok(estimate),
        _ => context.postgres.number_of_rows(scan).await,
    }
}

fn opened(
    rows: &[Scanned],
    roles: &[(ColumnRole, usize)],
    fields: &Fields,
    keyring: &RootKeys,
    mut counts: RowCounts,
) -> Result<RowCounts, DatabaseError> {
    rows.iter().try_for_each(|row| counts.take(row, roles, fields, Some(keyring)))?;
    Ok(counts)
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
