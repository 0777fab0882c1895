//! Reads every source of a layout, and reports what is there. Writes nothing.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::marker::PhantomData;
use std::sync::Arc;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::import::bytes;
use crate::import::carexps::Carexps;
use crate::import::fernet::Fernet;
use crate::import::members::{Members, OpenedMembers};
use crate::import::old_value::{Decryptor, OpenedValue, Opening, Refused, StoredForm, StoredValue};
use crate::import::passwords::Passwords;
use crate::import::plaintext::{Base64, Plaintext};
use crate::import::raw_gcm::RawAesGcm;
use crate::layout::layout::Layout;
use crate::layout::old_source::{Held, OldSource};
use crate::postgres::connection::options::{PoolerMode, Timeouts};
use crate::postgres::connection::pool::Database;
use crate::postgres::walk::old_values::SourceRow;
use crate::record::credentials::Credentials;
use crate::record::field::Field;
use crate::retell::json::wipe;
use crate::retell::values::mask;

/// After so many rows, a source of which nothing opened is given up.
const FIRST: usize = 100;

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

/// One field of one owner in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundField {
    /// The user id.
    pub user: String,
    /// The tenant id, if the source has a column for it.
    pub tenant: Option<String>,
    /// The field. `None`: the whole value.
    pub field: Option<Field>,
    /// Table and column.
    pub place: String,
    /// `opened`, `corrupt`, `unrecoverable`, `not_a_credential`, `unknown` or `beyond_limits`.
    pub result: &'static str,
    /// The shape of the value.
    pub shape: &'static str,
    /// The reason, for people.
    pub reason: &'static str,
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
    if layout.sources.is_empty() {
        let error = Error::new(ErrorKind::Configuration, "the layout names no source to import from");
        return Err(error.with_hint("add [[source]] parts to the layout file, as docs/LAYOUT.md shows"));
    }
    let decryptors = decryptors(layout, passwords)?;
    let database = Database::from_url(url, pooler, Timeouts::default())?;
    let scanned = scan_all::<C>(&database, layout, decryptors).await;
    database.close().await;
    scanned
}

type Decryptors = BTreeMap<&'static str, Arc<dyn Decryptor>>;

/// One of each kind, so that a key is derived once for all sources.
fn decryptors(layout: &Layout, passwords: &Passwords) -> Result<Decryptors> {
    let no_key = |name: &str| {
        let message = format!("a source has the decryptor {name}, and no secret is a key for it");
        Error::new(ErrorKind::InvalidInput, message)
            .with_hint("give the key with --secret: hex or base64 for aes-gcm, base64 of 32 bytes for fernet")
    };
    let mut all = Decryptors::new();
    for OldSource { decryptor, .. } in &layout.sources {
        let made: Arc<dyn Decryptor> = match *decryptor {
            "plaintext" => Arc::new(Plaintext),
            "base64" => Arc::new(Base64),
            "carexps" => Arc::new(Carexps::new(passwords.clone())),
            "aes-gcm" => Arc::new(
                Some(RawAesGcm::new(passwords))
                    .filter(|made| !made.has_no_key())
                    .ok_or_else(|| no_key("aes-gcm"))?,
            ),
            _ => Arc::new(
                Some(Fernet::new(passwords))
                    .filter(|made| !made.has_no_key())
                    .ok_or_else(|| no_key("fernet"))?,
            ),
        };
        all.entry(decryptor).or_insert(made);
    }
    Ok(all)
}

async fn scan_all<C: Credentials>(
    database: &Database,
    layout: &Layout,
    decryptors: Decryptors,
) -> Result<ScanReport> {
    let mut scan = SourceScan::<C> {
        layout: layout.clone(),
        report: ScanReport::default(),
        first: HashMap::new(),
        hasher: RandomState::new(),
        kind: PhantomData,
    };
    for source in &layout.sources {
        let rows = database.old_values(source).await;
        let rows = rows.map_err(|fault| fault.error.about(format!("source {}", source.place())))?;
        let (source, decryptor) = (source.clone(), decryptors[source.decryptor].clone());
        // deriving a key takes a while
        let work =
            tokio::task::spawn_blocking(move || scan.source(&source, &*decryptor, rows).map(|()| scan));
        scan = work.await.expect("no decryptor panics")?;
    }
    let mut owners: Vec<_> = scan.first.keys().map(|(tenant, user, _)| (tenant, user)).collect();
    owners.sort();
    owners.dedup();
    scan.report.owners = owners.len() as u64;
    Ok(scan.report)
}

struct SourceScan<C> {
    layout: Layout,
    report: ScanReport,
    /// The hash of the first value of each field.
    first: HashMap<(Option<String>, String, Field), u64>,
    hasher: RandomState,
    kind: PhantomData<fn() -> C>,
}

impl<C: Credentials> SourceScan<C> {
    fn source(&mut self, source: &OldSource, decryptor: &dyn Decryptor, rows: Vec<SourceRow>) -> Result<()> {
        let members = match &source.held {
            Held::Members(paths) => {
                let paths: Vec<_> = paths.iter().map(|(path, field)| (path.as_str(), *field)).collect();
                Members::only(&self.layout, &paths)?
            }
            _ => Members::of(&self.layout),
        };
        let mut place = ScannedPlace {
            place: source.place(),
            decryptor: source.decryptor,
            rows: rows.len() as u64,
            ..ScannedPlace::default()
        };
        for (at, row) in rows.iter().enumerate() {
            if at >= FIRST && opens_nothing(&place) {
                place.given_up = (rows.len() - at) as u64;
                break;
            }
            let opened = open(source, &members, decryptor, row);
            self.note(&mut place, row, &opened);
        }
        self.report.places.push(place);
        Ok(())
    }

    fn note(&mut self, place: &mut ScannedPlace, row: &SourceRow, opened: &OpenedMembers) {
        let found = |field, result, refused: Refused| FoundField {
            user: row.user.clone(),
            tenant: row.tenant.clone(),
            field,
            place: place.place.clone(),
            result,
            shape: refused.shape,
            reason: refused.reason,
        };
        let mut all: Vec<FoundField> =
            opened.refused.iter().map(|refused| found(None, "not_a_credential", *refused)).collect();
        for (field, opening) in &opened.fields {
            let (result, refused) = match opening {
                Opening::Unset => continue,
                Opening::Opened(value) if self.is_beyond_limits(*field, opened) => (
                    "beyond_limits",
                    Refused { shape: value.shape(), reason: "the vault does not take this value" },
                ),
                Opening::Opened(value) => ("opened", Refused { shape: value.shape(), reason: "" }),
                Opening::NotMine => {
                    ("unknown", Refused { shape: "unknown", reason: "no form that the decryptor knows" })
                }
                Opening::Unrecoverable(refused) => ("unrecoverable", *refused),
                Opening::Corrupt(refused) => ("corrupt", *refused),
                Opening::NotACredential(refused) => ("not_a_credential", *refused),
            };
            let found = found(Some(*field), result, refused);
            if let (Opening::Opened(value), "opened") = (opening, result) {
                place.sample.get_or_insert_with(|| masked(value));
                self.opened(row, *field, value, &found);
            }
            all.push(found);
        }
        for found in all {
            *place.counts.entry((found.result, found.shape)).or_default() += 1;
            if found.result != "opened" {
                self.report.lost.push(found);
            }
        }
    }

    fn opened(&mut self, row: &SourceRow, field: Field, value: &OpenedValue, found: &FoundField) {
        if value.is_exposed() {
            self.report.exposed.push(found.clone());
        }
        let hash = self.hasher.hash_one(value.text());
        let first = self.first.entry((row.tenant.clone(), row.user.clone(), field)).or_insert(hash);
        if *first != hash {
            self.report.disagreed.push(found.clone());
        }
    }

    /// Whether the vault would refuse this one value.
    fn is_beyond_limits(&self, field: Field, opened: &OpenedMembers) -> bool {
        let one = opened.fields.get(&field).map(|opening| (field, opening.clone()));
        let one = OpenedMembers { fields: one.into_iter().collect(), refused: None };
        one.values(&self.layout).and_then(C::from_values).is_err()
    }
}

fn open(source: &OldSource, members: &Members, decryptor: &dyn Decryptor, row: &SourceRow) -> OpenedMembers {
    let mut json = match text_of(source, row) {
        Some(text) if row.is_json => serde_json::from_str(&text).unwrap_or(Value::Null),
        Some(text) => Value::String(text.to_string()),
        None => return not_text(source),
    };
    let opened = match source.held {
        Held::One(field) => {
            let stored = |content| StoredValue {
                content,
                iv: row.iv.as_ref().map(|iv| iv.as_str()),
                tag: row.tag.as_ref().map(|tag| tag.as_str()),
                ..StoredValue::text(field, "").of(&row.user)
            };
            let opening = match &json {
                Value::Null => Opening::Unset,
                Value::String(text) => decryptor.open(&stored(StoredForm::Text(text))),
                Value::Object(object) => decryptor.open(&stored(StoredForm::Object(object))),
                _ => Opening::not_a_credential("json", "neither a text nor an object"),
            };
            OpenedMembers { fields: BTreeMap::from([(field, opening)]), refused: None }
        }
        _ => members.open(decryptor, &row.user, &json),
    };
    wipe(&mut json);
    opened
}

/// The stored text. AES-GCM reads the hex digits of bytes; for other decryptors, bytes are the UTF-8 of a text.
fn text_of(source: &OldSource, row: &SourceRow) -> Option<Zeroizing<String>> {
    match row.is_bytes && source.decryptor != "aes-gcm" {
        true => bytes::hex(&row.content).and_then(bytes::utf8),
        false => Some(row.content.clone()),
    }
}

/// The result for bytes that a decryptor of texts cannot read.
fn not_text(source: &OldSource) -> OpenedMembers {
    let refused = Refused { shape: "bytes", reason: "bytes that are not a text in UTF-8" };
    match source.held {
        Held::One(field) => {
            OpenedMembers { fields: BTreeMap::from([(field, Opening::Corrupt(refused))]), refused: None }
        }
        _ => OpenedMembers { fields: BTreeMap::new(), refused: Some(refused) },
    }
}

/// Whether values are damaged, or no key fits, and nothing opened.
fn opens_nothing(place: &ScannedPlace) -> bool {
    let has = |result: &str| place.counts.keys().any(|(known, _)| *known == result);
    has("corrupt") && !has("opened") && !has("beyond_limits")
}

/// Of an object nothing is shown.
fn masked(value: &OpenedValue) -> String {
    match value.text().is_ascii() && !value.text().starts_with('{') {
        true => mask(value.text()),
        false => "…".to_owned(),
    }
}
