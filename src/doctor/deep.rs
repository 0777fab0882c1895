//! Every record of the table and of the local file, opened. Pages follow each other, so that a table of any size
//! takes the memory of two of them, and no snapshot is held.

use std::sync::Arc;

use futures_util::future::join;

use crate::doctor::options::DoctorProgress;
use crate::doctor::rows::Columns;
use crate::doctor::rows::tally::{Role, Tally};
use crate::doctor::{Host, Patient};
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::Keyring;
use crate::local::file::LocalFile;
use crate::local::walk::LocalPlace;
use crate::postgres::connection::errors::Fault;
use crate::postgres::walk::scan::{Scan, Scanned};

/// Rows of a page.
const PAGE: u32 = 1000;
/// For more rows than this the server's estimate will do.
const MANY: u64 = 100_000;

/// Looks at every row, and opens its records while the next page is on its way.
pub(super) async fn rows(patient: &Patient<'_>, columns: &Columns, scan: &Scan) -> Result<Tally, Fault> {
    let (postgres, patience) = (patient.postgres, patient.postgres.database.patience());
    let roles: Arc<[(Role, usize)]> = columns.roles.clone().into();
    let mut progress = DoctorProgress { rows: number_of_rows(patient, scan).await?, opened: 0 };
    let mut tally = Tally::default();
    let (mut page, mut last) = postgres.rows_after(scan, None, PAGE, patience).await?;
    while let Some(position) = last {
        let keyring = patient.router.keyring.current();
        let opened = tokio::task::spawn_blocking({
            let roles = roles.clone();
            move || opened(&page, &roles, &keyring, tally)
        });
        let (opened, next) = join(opened, postgres.rows_after(scan, Some(&position), PAGE, patience)).await;
        tally = opened.map_err(|_| Error::new(ErrorKind::Busy, "the program is shutting down"))??;
        (page, last) = next?;
        progress = DoctorProgress { rows: progress.rows.max(tally.rows), opened: tally.rows };
        patient.host.tell(&progress);
    }
    Ok(tally)
}

/// Only a small table is counted: that takes a look at all of it.
async fn number_of_rows(patient: &Patient<'_>, scan: &Scan) -> Result<u64, Fault> {
    match u64::try_from(patient.definitions.relation.rows) {
        Ok(estimate) if estimate > MANY => Ok(estimate),
        _ => patient.postgres.number_of_rows(scan).await,
    }
}

fn opened(
    rows: &[Scanned],
    roles: &[(Role, usize)],
    keyring: &Keyring,
    mut tally: Tally,
) -> Result<Tally, Fault> {
    rows.iter().try_for_each(|row| tally.take(row, roles, Some(keyring)))?;
    Ok(tally)
}

/// Opens the texts of one sort in the local file.
pub(super) async fn texts(host: &Host<'_>, local: &LocalFile, place: LocalPlace) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut after = i64::MIN;
    loop {
        let texts = local.texts_after(place, after, PAGE).await?;
        let Some(last) = texts.last() else { return Ok(tally) };
        after = last.id;
        let keyring = host.router.keyring.current();
        texts.iter().for_each(|text| tally.take_local(&text.owner, &text.text, &keyring));
    }
}
