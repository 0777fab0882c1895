//! Binds values to statements.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgTypeInfo};
use sqlx::types::Json;
use sqlx::{Encode, Type};
use uuid::Uuid;

use crate::chain::entry::SealedEntry;
use crate::error::{Error, ErrorKind};
use crate::layout::placement::{Placement, PlainColumn};
use crate::postgres::catalogue::id_kind::IdKind;
use crate::postgres::catalogue::table::Table;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::connection::pool::bind;
use crate::postgres::statements::found_records::Row;
use crate::postgres::statements::fragments::Bound;
use crate::postgres::statements::plan::Postgres;
use crate::postgres::statements::seen_update::{PlainChange, Shape};
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::plain::PlainTexts;
use crate::record::record::{Head, Record};

/// An id in the form that its column accepts.
fn id<'a>(
    arguments: &mut PgArguments,
    (kind, has_one_form): (IdKind, bool),
    forms: impl Iterator<Item = &'a str> + Clone,
    what: &str,
) -> Result<(), DatabaseError> {
    let canonical = forms.clone().next().unwrap_or_default();
    match (kind, has_one_form) {
        (IdKind::Text, true) => bind(arguments, canonical),
        (IdKind::Text, false) => bind(arguments, both_forms(forms)),
        (IdKind::Uuid, _) => bind(arguments, required_uuid(canonical, what)?),
        (IdKind::SmallInt, _) => bind(arguments, kind.integer::<i16>(canonical, what)?),
        (IdKind::Integer, _) => bind(arguments, kind.integer::<i32>(canonical, what)?),
        (IdKind::BigInt, _) => bind(arguments, kind.integer::<i64>(canonical, what)?),
    }
}

/// Always two forms, the canonical one first.
fn both_forms<'a>(mut forms: impl Iterator<Item = &'a str>) -> [String; 2] {
    let canonical = forms.next().unwrap_or_default().to_owned();
    let given = forms.next().map_or_else(|| canonical.clone(), str::to_owned);
    [canonical, given]
}

fn required_uuid(id: &str, what: &str) -> Result<Uuid, DatabaseError> {
    let uuid = Uuid::try_parse(id).ok().filter(|_| id.len() == 36);
    let error = || {
        Error::new(
            ErrorKind::InvalidInput,
            format!("the {what} id is not a UUID, but its column has type uuid"),
        )
    };
    uuid.ok_or_else(|| error().with_hint("write it like a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11").into())
}

/// The values that a write puts into a row.
#[derive(Clone, Copy)]
pub(crate) struct Written<'a> {
    pub(crate) record: &'a Record,
    /// The values that the previous record vouched for in plain columns, if known. A column that still holds its value is
    /// cleared.
    pub(crate) vouched: Option<&'a PlainTexts>,
    /// The only plain fields whose columns are written, if not all.
    pub(crate) only: Option<&'a [Field]>,
    /// The entry of the ledger that is written in the same statement.
    pub(crate) entry: Option<&'a SealedEntry>,
}

impl Written<'_> {
    /// The new value of a plain column, and the value that it must hold to be cleared if there is no new value.
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
    entries_of_index(arguments, placement, written.record)
}

/// What the index column gets, if there is one.
fn entries_of_index(
    arguments: &mut PgArguments,
    placement: &Placement,
    record: &Record,
) -> Result<(), DatabaseError> {
    match &placement.index {
        Some(_) => bind(arguments, record.index.as_deref()),
        None => Ok(()),
    }
}

/// The texts of the slots and plain columns of a row when it was read.
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
    id(&mut arguments, (table.user, has_one_form), owner.user_id().forms(), "user")?;
    if let (Some(kind), Some(tenant)) = (table.tenant, owner.tenant_id()) {
        id(&mut arguments, (kind, has_one_form), tenant.forms(), "tenant")?;
    }
    Ok(arguments)
}

/// Every form of every owner: users, and tenants if the table has them. Returns the index in `owners` for each form.
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
    fn each<T>(
        texts: &[&str],
        parse: impl Fn(&str) -> Result<T, DatabaseError>,
    ) -> Result<Vec<T>, DatabaseError> {
        texts.iter().map(|text| parse(text)).collect()
    }
    match kind {
        IdKind::Text => bind(arguments, texts),
        IdKind::Uuid => bind(arguments, each(&texts, |text| required_uuid(text, what))?),
        IdKind::SmallInt => bind(arguments, each(&texts, |text| Ok(kind.integer::<i16>(text, what)?))?),
        IdKind::Integer => bind(arguments, each(&texts, |text| Ok(kind.integer::<i32>(text, what)?))?),
        IdKind::BigInt => bind(arguments, each(&texts, |text| Ok(kind.integer::<i64>(text, what)?))?),
    }
}

/// The shape of a write: what it does to each column. `texts` are the texts of the slots.
pub(in crate::postgres) fn shape(
    placement: &Placement,
    texts: &[Option<String>],
    written: Written<'_>,
) -> Shape {
    let change = |plain: &PlainColumn| match (written.plain(plain.field), written.vouched) {
        ((Some(_), _), _) => PlainChange::Set,
        ((None, Some(_)), _) => PlainChange::Clear,
        ((None, None), Some(_)) => PlainChange::Keep,
        ((None, None), None) => PlainChange::Unset,
    };
    Shape {
        // a NOT NULL column gets an empty text if there is none
        slots: texts.iter().map(|text| text.as_ref().is_some_and(|text| !text.is_empty())).collect(),
        plain: placement.plain.iter().map(change).collect(),
    }
}

/// The values of a write over a seen record, as its shape needs them.
pub(in crate::postgres) fn filled(
    arguments: &mut PgArguments,
    placement: &Placement,
    shape: &Shape,
    texts: &[Option<String>],
    written: Written<'_>,
) -> Result<(), DatabaseError> {
    for ((slot, text), is_filled) in placement.slots.iter().zip(texts).zip(&shape.slots) {
        if *is_filled {
            bind_as(arguments, Bound::of_slot(slot), text.as_deref())?;
        }
    }
    for (plain, change) in placement.plain.iter().zip(&shape.plain) {
        let (new, old) = written.plain(plain.field);
        match change {
            PlainChange::Set => bind_as(arguments, Bound::of_plain(plain), new)?,
            PlainChange::Clear => bind(arguments, old)?,
            PlainChange::Keep | PlainChange::Unset => {}
        }
    }
    entries_of_index(arguments, placement, written.record)
}

/// One record of a bulk write, over the record that this process has seen last.
pub(crate) struct BulkEntry<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) record: Record,
    pub(crate) seen: Head,
    /// The entry of the ledger that is written in the same statement.
    pub(crate) noted: Option<SealedEntry>,
}

/// An entry with its index among all, and the text of each slot.
pub(in crate::postgres) type PrintedEntry<'e, 'a> = (usize, &'e BulkEntry<'a>, Vec<Option<String>>);

/// The parameters of a bulk write of one shape: one array for each of users, tenants, values, heads, ordinals. Every owner
/// has one form.
pub(in crate::postgres) fn entries(
    table: &Table,
    placement: &Placement,
    shape: &Shape,
    entries: &[PrintedEntry<'_, '_>],
) -> Result<PgArguments, DatabaseError> {
    let mut arguments = PgArguments::default();
    let all: Vec<_> = entries.iter().map(|(_, entry, _)| entry.owner).collect();
    if owners(&mut arguments, table, &all)?.len() != entries.len() {
        return Err(Error::new(ErrorKind::InvalidInput, "an owner of a bulk write has two forms").into());
    }
    for (at, slot) in placement.slots.iter().enumerate().filter(|(at, _)| shape.slots[*at]) {
        let column: Vec<_> = entries.iter().map(|(_, _, texts)| texts[at].as_deref()).collect();
        bind_all(&mut arguments, Bound::of_slot(slot), &column)?;
    }
    let set = |change: &PlainChange| *change == PlainChange::Set;
    for (plain, _) in placement.plain.iter().zip(&shape.plain).filter(|(_, change)| set(change)) {
        let column: Vec<_> =
            entries.iter().map(|(_, entry, _)| entry.record.plain.text(plain.field)).collect();
        bind_all(&mut arguments, Bound::of_plain(plain), &column)?;
    }
    if placement.index.is_some() {
        let entries = entries.iter().map(|(_, entry, _)| entry.record.index.as_deref());
        bind(&mut arguments, entries.collect::<Vec<_>>())?;
    }
    bind(&mut arguments, entries.iter().map(|(_, entry, _)| entry.seen.to_string()).collect::<Vec<_>>())?;
    bind(&mut arguments, entries.iter().map(|(at, ..)| *at as i32).collect::<Vec<_>>())?;
    Ok(arguments)
}
