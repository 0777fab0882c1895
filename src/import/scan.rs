//! Reads every source of a layout, and reports what is there. Writes nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::error::Result;
use crate::import::old_value::OpenedValue;
use crate::import::owner_pages::{OldOwner, OwnerPages};
use crate::import::passwords::Passwords;
use crate::import::sources::{ExaminedText, FoundField, Sources};
use crate::import::tally::SourceTally;
use crate::layout::layout::Layout;
use crate::postgres::connection::options::{PoolerMode, Timeouts};
use crate::postgres::connection::pool::Database;
use crate::record::credentials::Credentials;
use crate::record::field::Field;
use crate::retell::values::mask;

/// How many rows a page has.
const PAGE: u32 = 500;

/// What a scan found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ScanReport {
    /// The sources of the layout, in their order.
    pub places: Vec<ScannedPlace>,
    /// How many owners have at least one value that opened.
    pub owners: u64,
    /// Values that cannot be had.
    pub lost: Vec<FoundField>,
    /// Fields of which a later source has another value than an earlier one.
    pub disagreed: Vec<FoundField>,
    /// Values that others may have read, which should be replaced at the provider.
    pub exposed: Vec<FoundField>,
}

/// One source.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ScannedPlace {
    /// Table and column.
    pub place: String,
    /// The name of the decryptor.
    pub decryptor: &'static str,
    /// Rows that hold something.
    pub rows: u64,
    /// How many values had which result (`opened`, `corrupt`, …) and shape.
    pub counts: BTreeMap<(&'static str, &'static str), u64>,
    /// One of the values, masked.
    pub sample: Option<String>,
    /// Rows that were not opened, because nothing of the first hundred opened.
    pub given_up: u64,
}

/// Reads every [source](Layout::source) of a layout in the database at a URL, and opens the values with these passwords and keys.
/// Needs no keyring, and writes nothing. No value leaves this function, except one masked sample of each source.
///
/// # Errors
/// `Configuration` if the layout has no source; `InvalidInput` if a source needs a key and none of the texts is one; those of reading,
/// with the name of the source.
pub async fn scan<C: Credentials>(
    url: &str,
    pooler: PoolerMode,
    layout: &Layout,
    passwords: &Passwords,
) -> Result<ScanReport> {
    let sources = Sources::<C>::new(layout, passwords)?;
    let database = Database::from_url(url, pooler, Timeouts::default())?;
    let scanned = scan_all(&database, sources).await;
    database.close().await;
    scanned
}

async fn scan_all<C: Credentials>(database: &Database, sources: Sources<C>) -> Result<ScanReport> {
    let tables = database.old_tables(sources.all(), PAGE).await.map_err(|fault| fault.error)?;
    let place = |(source, decryptor): (String, &'static str)| ScannedPlace {
        place: source,
        decryptor,
        ..ScannedPlace::default()
    };
    let places = sources.all().iter().map(|source| place((source.place(), source.decryptor)));
    let report = ScanReport { places: places.collect(), ..ScanReport::default() };
    let all = sources.all().to_vec();
    let mut scan = SourceScan { tally: SourceTally::of_all(&all), sources: Arc::new(sources), report };
    let mut pages = OwnerPages::new(database, &all, &tables);
    while let Some(page) = pages.next().await? {
        // deriving a key takes a while
        let work = tokio::task::spawn_blocking(move || {
            page.owners.into_iter().for_each(|owner| scan.owner(owner));
            scan
        });
        scan = work.await.expect("no decryptor panics");
    }
    Ok(scan.report)
}

struct SourceScan<C> {
    sources: Arc<Sources<C>>,
    report: ScanReport,
    tally: Vec<SourceTally>,
}

impl<C: Credentials> SourceScan<C> {
    fn owner(&mut self, owner: OldOwner) {
        let mut first: HashMap<Field, OpenedValue> = HashMap::new();
        for text in owner.texts {
            let at = text.source;
            self.report.places[at].rows += 1;
            if self.tally[at].opens_nothing() {
                self.report.places[at].given_up += 1;
                continue;
            }
            let examined = self.sources.examine(text);
            self.tally[at].note(&examined);
            self.note(at, &examined, &mut first);
        }
        self.report.owners += u64::from(!first.is_empty());
    }

    fn note(&mut self, at: usize, examined: &ExaminedText, first: &mut HashMap<Field, OpenedValue>) {
        let ScanReport { places, lost, disagreed, exposed, .. } = &mut self.report;
        for found in &examined.found {
            *places[at].counts.entry((found.result, found.shape)).or_default() += 1;
            let opened = found.field.and_then(|field| Some((field, examined.fields.get(field)?)));
            let Some((field, value)) = opened else {
                lost.push(found.clone());
                continue;
            };
            places[at].sample.get_or_insert_with(|| masked(value));
            exposed.extend(value.is_exposed().then(|| found.clone()));
            let known = first.entry(field).or_insert_with(|| value.clone());
            disagreed.extend((known.text() != value.text()).then(|| found.clone()));
        }
    }
}

/// Of an object nothing is shown.
fn masked(value: &OpenedValue) -> String {
    match value.text().is_ascii() && !value.text().starts_with('{') {
        true => mask(value.text()),
        false => "…".to_owned(),
    }
}
