//! Values into statements, and rows out of answers.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgRow, PgTypeInfo};
use sqlx::types::Json;
use sqlx::{Encode, Row as _, Type, ValueRef as _};
use uuid::Uuid;

use crate::error::{Error, ErrorKind};
use crate::postgres::catalogue::table::{IdKind, Table};
use crate::postgres::connection::errors::{DatabaseError, Outcome, Phase};
use crate::postgres::connection::pool::bind;
use crate::postgres::statements::found_records::{JsonState, Row};
use crate::postgres::statements::fragments::{Bound, TOO_LONG};
use crate::postgres::statements::plan::Postgres;
use crate::record::field::Field;
use crate::record::owner::{Owner, TenantId, UserId};
use crate::record::placement::Placement;
use crate::record::plain::PlainTexts;
use crate::record::record::{Head, Record, SlotText, read_slot};
use crate::record::version::Millis;

fn user(
    arguments: &mut PgArguments,
    (kind, has_one_form): (IdKind, bool),
    id: &UserId,
) -> Result<(), DatabaseError> {
    match (kind, has_one_form) {
        (IdKind::Uuid, _) => bind(arguments, required_uuid(id.as_uuid(), "user")?),
        (IdKind::Text, true) => bind(arguments, id.as_str()),
        (IdKind::Text, false) => bind(arguments, both_forms(id.forms())),
    }
}

fn tenant(
    arguments: &mut PgArguments,
    (kind, has_one_form): (IdKind, bool),
    id: &TenantId,
) -> Result<(), DatabaseError> {
    match (kind, has_one_form) {
        (IdKind::Uuid, _) => bind(arguments, required_uuid(id.as_uuid(), "tenant")?),
        (IdKind::Text, true) => bind(arguments, id.as_str()),
        (IdKind::Text, false) => bind(arguments, both_forms(id.forms())),
    }
}

/// Always two, the canonical one first.
fn both_forms<'a>(mut forms: impl Iterator<Item = &'a str>) -> [String; 2] {
    let canonical = forms.next().unwrap_or_default().to_owned();
    let given = forms.next().map_or_else(|| canonical.clone(), str::to_owned);
    [canonical, given]
}

fn required_uuid(id: Option<Uuid>, what: &str) -> Result<Uuid, DatabaseError> {
    let error = || {
        Error::new(
            ErrorKind::InvalidInput,
            format!("the {what} id is not a UUID, but its column is of type uuid"),
        )
    };
    id.ok_or_else(|| error().with_hint("write it like a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11").into())
}

/// What a write puts into a row.
#[derive(Clone, Copy)]
pub(crate) struct Written<'a> {
    pub(crate) record: &'a Record,
    /// What the plain columns hold of the record before, as far as that is known: they are cleared where they still do.
    pub(crate) vouched: Option<&'a PlainTexts>,
    /// The only plain fields whose columns are written, if not all.
    pub(crate) only: Option<&'a [Field]>,
}

impl Written<'_> {
    /// What a plain column gets, and what it must hold to be cleared when that is nothing.
    fn plain(&self, field: Field) -> (Option<&str>, Option<&str>) {
        match self.only.is_some_and(|only| !only.contains(&field)) {
            true => (None, None),
            false => (self.record.plain.text(field), self.vouched.and_then(|vouched| vouched.text(field))),
        }
    }
}

/// A JSON text as a JSONB parameter.
#[derive(Clone, Copy)]
struct Jsonb<'a>(&'a str);

impl Type<sqlx::Postgres> for Jsonb<'_> {
    fn type_info() -> PgTypeInfo {
        <Json<()> as Type<sqlx::Postgres>>::type_info()
    }
}

impl PgHasArrayType for Jsonb<'_> {
    fn array_type_info() -> PgTypeInfo {
        <Json<()> as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, sqlx::Postgres> for Jsonb<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.push(1); // the version of the binary format
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

fn bind_as(arguments: &mut PgArguments, bound: Bound, text: Option<&str>) -> Result<(), DatabaseError> {
    match bound {
        Bound::Text => bind(arguments, text),
        Bound::Jsonb => bind(arguments, text.map(Jsonb)),
    }
}

/// The texts of one column of several rows, as an array.
pub(in crate::postgres) fn bind_all(
    arguments: &mut PgArguments,
    bound: Bound,
    texts: &[Option<&str>],
) -> Result<(), DatabaseError> {
    match bound {
        Bound::Text => bind(arguments, texts),
        Bound::Jsonb => bind(arguments, texts.iter().map(|text| text.map(Jsonb)).collect::<Vec<_>>()),
    }
}

/// The values of a record.
pub(in crate::postgres) fn record(
    arguments: &mut PgArguments,
    placement: &Placement,
    written: Written<'_>,
) -> Result<(), DatabaseError> {
    for (slot, text) in placement.slots.iter().zip(placement.texts(written.record.tokens())) {
        bind_as(arguments, Bound::of_slot(slot), text.as_deref())?;
    }
    for plain in &placement.plain {
        let (new, old) = written.plain(plain.field);
        bind_as(arguments, Bound::of_plain(plain), new)?;
        bind(arguments, old)?;
    }
    Ok(())
}

/// What the slots and the plain columns of a row held when it was read.
pub(in crate::postgres) fn old_texts(
    arguments: &mut PgArguments,
    placement: &Placement,
    old: &Row,
) -> Result<(), DatabaseError> {
    for (slot, text) in placement.slots.iter().zip(&old.slots) {
        bind_as(arguments, Bound::of_slot(slot), text.as_deref())?;
    }
    placement.plain.iter().try_for_each(|plain| bind(arguments, old.plain.text(plain.field)))
}

/// The owner, as the first parameters of a statement.
///
/// # Errors
/// As [`Postgres::check_owner`].
pub(in crate::postgres) fn owner(
    postgres: &Postgres,
    table: &Table,
    owner: &Owner,
) -> Result<PgArguments, DatabaseError> {
    postgres.check_owner(owner)?;
    let mut arguments = PgArguments::default();
    let has_one_form = owner.has_one_form();
    user(&mut arguments, (table.user, has_one_form), owner.user_id())?;
    if let (Some(kind), Some(id)) = (table.tenant, owner.tenant_id()) {
        tenant(&mut arguments, (kind, has_one_form), id)?;
    }
    Ok(arguments)
}

/// Every form of every owner: users, and tenants where the table has them. Answers with the place in `owners` of each
/// form.
pub(in crate::postgres) fn owners(
    arguments: &mut PgArguments,
    table: &Table,
    owners: &[&Owner],
) -> Result<Vec<usize>, DatabaseError> {
    let mut forms: Vec<(Option<&str>, &str, usize)> = Vec::with_capacity(owners.len());
    for (at, owner) in owners.iter().enumerate() {
        match owner.tenant_id() {
            None => forms.extend(owner.user_id().forms().map(|user| (None, user, at))),
            Some(tenant) => forms.extend(
                tenant
                    .forms()
                    .flat_map(|tenant| owner.user_id().forms().map(move |user| (Some(tenant), user, at))),
            ),
        }
    }
    ids(arguments, table.user, forms.iter().map(|(_, user, _)| *user).collect(), "user")?;
    if let Some(kind) = table.tenant {
        ids(arguments, kind, forms.iter().filter_map(|(tenant, ..)| *tenant).collect(), "tenant")?;
    }
    Ok(forms.into_iter().map(|(.., at)| at).collect())
}

fn ids(arguments: &mut PgArguments, kind: IdKind, texts: Vec<&str>, what: &str) -> Result<(), DatabaseError> {
    match kind {
        IdKind::Text => bind(arguments, texts),
        IdKind::Uuid => {
            let uuids = texts
                .iter()
                .map(|text| required_uuid(Uuid::try_parse(text).ok().filter(|_| text.len() == 36), what));
            bind(arguments, uuids.collect::<Result<Vec<_>, _>>()?)
        }
    }
}

/// One record of a bulk write, over the record that this process has seen last.
pub(crate) struct BulkEntry<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) record: Record,
    pub(crate) seen: Head,
}

/// The parameters of a bulk write: one array for each of users, tenants, values, heads, ordinals. Every owner has one form.
pub(in crate::postgres) fn entries(
    table: &Table,
    placement: &Placement,
    entries: &[BulkEntry<'_>],
) -> Result<PgArguments, DatabaseError> {
    let mut arguments = PgArguments::default();
    let all: Vec<&Owner> = entries.iter().map(|entry| entry.owner).collect();
    let places = owners(&mut arguments, table, &all)?;
    let texts: Vec<_> = entries.iter().map(|entry| placement.texts(entry.record.tokens())).collect();
    for (at, slot) in placement.slots.iter().enumerate() {
        let column: Vec<_> = places.iter().map(|place| texts[*place][at].as_deref()).collect();
        bind_all(&mut arguments, Bound::of_slot(slot), &column)?;
    }
    for plain in &placement.plain {
        let column: Vec<_> =
            places.iter().map(|place| entries[*place].record.plain.text(plain.field)).collect();
        bind_all(&mut arguments, Bound::of_plain(plain), &column)?;
        bind(&mut arguments, vec![None::<&str>; places.len()])?;
    }
    bind(&mut arguments, places.iter().map(|place| entries[*place].seen.to_string()).collect::<Vec<_>>())?;
    bind(&mut arguments, places.iter().map(|place| *place as i32).collect::<Vec<_>>())?;
    Ok(arguments)
}

/// The bytes of one value, where they lie in the answer.
fn bytes(row: &PgRow, at: usize) -> Result<Option<&[u8]>, DatabaseError> {
    let value = row.try_get_raw(at).map_err(|error| DatabaseError::of(&error, Phase::Reading))?;
    match value.is_null() {
        true => Ok(None),
        false => value.as_bytes().map(Some).map_err(|_| another_type()),
    }
}

fn text(row: &PgRow, at: usize) -> Result<Option<&str>, DatabaseError> {
    bytes(row, at)?.map(|bytes| str::from_utf8(bytes).map_err(|_| another_type())).transpose()
}

/// Of a JSONB value the text.
fn json(row: &PgRow, at: usize) -> Result<Option<&str>, DatabaseError> {
    let text = text(row, at)?.map(|text| text.strip_prefix('\u{1}').ok_or_else(another_type));
    text.transpose()
}

fn another_type() -> DatabaseError {
    let error = Error::new(ErrorKind::Schema, "a column has another type than before");
    DatabaseError::new(Outcome::Redetect, error)
}

/// The state of the JSONB column, as the column `at` says it.
pub(in crate::postgres) fn json_state(row: &PgRow, at: usize) -> Result<JsonState, DatabaseError> {
    Ok(match text(row, at)? {
        None | Some("object" | "null") => JsonState::Usable,
        Some(TOO_LONG) => JsonState::TooLong,
        Some(_) => JsonState::Unrecognised,
    })
}

/// A time of the database in the column `at`. It sends microseconds since 2000.
pub(in crate::postgres) fn clock(row: &PgRow, at: usize) -> Result<Millis, DatabaseError> {
    const MILLIS_OF_2000: i64 = 946_684_800_000;
    let bytes = bytes(row, at)?.and_then(|bytes| bytes.try_into().ok());
    let micros = i64::from_be_bytes(bytes.ok_or_else(another_type)?);
    Ok(Millis::try_from(micros / 1000 + MILLIS_OF_2000).unwrap_or_default())
}

/// The columns of a row from `first` on, as every reading statement has them.
#[derive(Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) row: &'a PgRow,
    pub(crate) first: usize,
    pub(crate) placement: &'a Placement,
}

impl<'a> Answer<'a> {
    fn slot(self, at: usize) -> Result<Option<&'a str>, DatabaseError> {
        match self.placement.slots[at].json {
            true => json(self.row, self.first + at),
            false => text(self.row, self.first + at),
        }
    }

    fn plain(self) -> Result<PlainTexts, DatabaseError> {
        let first = self.first + self.placement.slots.len();
        let mut plain = PlainTexts::default();
        for (at, column) in self.placement.plain.iter().enumerate() {
            plain.push(column.field, text(self.row, first + at)?.map(str::to_owned));
        }
        Ok(plain)
    }

    fn after_columns(self) -> usize {
        self.first + self.placement.slots.len() + self.placement.plain.len()
    }

    fn json_state(self) -> Result<JsonState, DatabaseError> {
        json_state(self.row, self.after_columns())
    }

    /// The database's clock.
    pub(crate) fn now(self) -> Result<Millis, DatabaseError> {
        clock(self.row, self.after_columns() + 1)
    }

    /// Everything that the row holds.
    pub(crate) fn read(self) -> Result<Row, DatabaseError> {
        let slots = (0..self.placement.slots.len()).map(|at| Ok(self.slot(at)?.map(str::to_owned)));
        Ok(Row {
            slots: slots.collect::<Result<_, DatabaseError>>()?,
            json: self.json_state()?,
            plain: self.plain()?,
        })
    }

    /// The record of a row that holds just one, as nearly every row does. `None`: read all of it.
    ///
    /// # Errors
    /// `Redetect` when a column has another type than planned.
    pub(crate) fn only_record(self) -> Result<Option<Record>, DatabaseError> {
        if self.json_state()? != JsonState::Usable {
            return Ok(None);
        }
        let mut tokens = Vec::with_capacity(8);
        for (at, slot) in self.placement.slots.iter().enumerate() {
            match read_slot(self.slot(at)?, slot.json) {
                SlotText::Empty => {}
                SlotText::Tokens(here) => tokens.extend(here),
                SlotText::Unrecognised | SlotText::Damaged(_) => return Ok(None),
            }
        }
        let Ok(record) = Record::new(tokens, self.plain()?) else { return Ok(None) };
        Ok(Some(record).filter(|record| self.now().is_ok_and(|now| !record.version.is_ahead_of(now))))
    }
}

/// An owner as its columns hold it: tenant, user.
pub(crate) type OwnerText = (Option<String>, String);

/// The owner in the columns from `first` on: user, tenant.
pub(crate) fn owner_of(row: &PgRow, first: usize) -> Result<OwnerText, DatabaseError> {
    let get = |error: sqlx::Error| DatabaseError::of(&error, Phase::Reading);
    let user: Option<String> = row.try_get(first).map_err(get)?;
    let tenant: Option<String> = row.try_get(first + 1).map_err(get)?;
    Ok((tenant, user.unwrap_or_default()))
}

pub(crate) fn parse_owner((tenant, user): OwnerText) -> Option<Owner> {
    let owner = Owner::user(&user).ok()?;
    match tenant {
        Some(tenant) => owner.in_tenant(&tenant).ok(),
        None => Some(owner),
    }
}
