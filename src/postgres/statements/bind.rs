//! Values into statements, and rows out of answers.

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};
use uuid::Uuid;

use crate::error::{Error, ErrorKind};
use crate::postgres::catalogue::table::{IdKind, Table};
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::bind;
use crate::postgres::statements::plan::Postgres;
use crate::record::owner::{Owner, TenantId, UserId};
use crate::record::placement::Placement;
use crate::record::plain::PlainTexts;
use crate::record::record::{Record, Row};
use crate::record::version::{Millis, Version};

fn user(arguments: &mut PgArguments, kind: IdKind, id: &UserId) -> Result<(), DatabaseError> {
    match kind {
        IdKind::Uuid => bind(arguments, required_uuid(id.as_uuid(), "user")?),
        IdKind::Text => bind(arguments, both_forms(id.forms())),
    }
}

fn tenant(arguments: &mut PgArguments, kind: IdKind, id: &TenantId) -> Result<(), DatabaseError> {
    match kind {
        IdKind::Uuid => bind(arguments, required_uuid(id.as_uuid(), "tenant")?),
        IdKind::Text => bind(arguments, both_forms(id.forms())),
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
    /// The version of that record.
    pub(crate) seen: Option<Version>,
}

/// The values of a record: what every slot gets, then for every plain column what it gets and what may be cleared, in
/// the order of the placement.
fn values(placement: &Placement, written: Written<'_>) -> Vec<Option<String>> {
    let mut values = placement.texts(written.record.tokens());
    for plain in &placement.plain {
        values.push(written.record.plain.text(plain.field).map(str::to_owned));
        let vouched = written.vouched.and_then(|vouched| vouched.text(plain.field));
        values.push(vouched.map(str::to_owned));
    }
    values
}

pub(in crate::postgres) fn record(
    arguments: &mut PgArguments,
    placement: &Placement,
    written: Written<'_>,
) -> Result<(), DatabaseError> {
    values(placement, written).into_iter().try_for_each(|value| bind(arguments, value))
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
    user(&mut arguments, table.user, owner.user_id())?;
    if let (Some(kind), Some(id)) = (table.tenant, owner.tenant_id()) {
        tenant(&mut arguments, kind, id)?;
    }
    Ok(arguments)
}

/// Every form of every owner: users, and tenants where the table has them.
pub(in crate::postgres) fn owners(
    arguments: &mut PgArguments,
    table: &Table,
    owners: &[Owner],
) -> Result<(), DatabaseError> {
    let forms: Vec<_> = owners.iter().flat_map(forms).collect();
    let users = forms.iter().map(|(_, user)| user.clone()).collect();
    ids(arguments, table.user, users, "user")?;
    match table.tenant {
        Some(kind) => {
            ids(arguments, kind, forms.into_iter().filter_map(|(tenant, _)| tenant).collect(), "tenant")
        }
        None => Ok(()),
    }
}

/// The texts under which the columns may hold an owner.
pub(in crate::postgres) fn forms(owner: &Owner) -> impl Iterator<Item = (Option<String>, String)> {
    let tenants: Vec<Option<String>> = match owner.tenant_id() {
        Some(tenant) => tenant.forms().map(|form| Some(form.to_owned())).collect(),
        None => vec![None],
    };
    let users: Vec<String> = owner.user_id().forms().map(str::to_owned).collect();
    tenants
        .into_iter()
        .flat_map(move |tenant| users.clone().into_iter().map(move |user| (tenant.clone(), user)))
}

fn ids(
    arguments: &mut PgArguments,
    kind: IdKind,
    texts: Vec<String>,
    what: &str,
) -> Result<(), DatabaseError> {
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

/// The parameters of a bulk write: one array for each of users, tenants, values, versions, ordinals.
pub(in crate::postgres) fn entries(
    table: &Table,
    placement: &Placement,
    entries: &[(&Owner, Record)],
) -> Result<PgArguments, DatabaseError> {
    let mut places: Vec<(Option<String>, String, usize)> = Vec::with_capacity(entries.len());
    for (at, (owner, _)) in entries.iter().enumerate() {
        places.extend(forms(owner).map(|(tenant, user)| (tenant, user, at)));
    }
    let mut arguments = PgArguments::default();
    ids(&mut arguments, table.user, places.iter().map(|(_, user, _)| user.clone()).collect(), "user")?;
    if let Some(kind) = table.tenant {
        ids(
            &mut arguments,
            kind,
            places.iter().filter_map(|(tenant, _, _)| tenant.clone()).collect(),
            "tenant",
        )?;
    }
    // one array for each value, each filled in the order of the places
    let mut columns: Vec<Vec<Option<String>>> = Vec::new();
    let mut before = None;
    for (_, _, at) in &places {
        match before == Some(*at) {
            // another form of the same owner
            true => columns.iter_mut().for_each(|column| column.extend_from_within(column.len() - 1..)),
            false => {
                let values =
                    values(placement, Written { record: &entries[*at].1, vouched: None, seen: None });
                columns.resize_with(values.len(), || Vec::with_capacity(places.len()));
                columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
            }
        }
        before = Some(*at);
    }
    columns.into_iter().try_for_each(|column| bind(&mut arguments, column))?;
    bind(
        &mut arguments,
        places.iter().map(|(_, _, at)| entries[*at].1.version.to_string()).collect::<Vec<_>>(),
    )?;
    bind(&mut arguments, places.iter().map(|(_, _, at)| *at as i32).collect::<Vec<_>>())?;
    Ok(arguments)
}

/// A row, and what the statement says beside it.
pub(in crate::postgres) struct ReadRow {
    pub(in crate::postgres) row: Row,
    pub(in crate::postgres) now: Millis,
    pub(in crate::postgres) is_current: bool,
}

/// Reads the columns that every reading statement has, from column `first` on.
pub(in crate::postgres) fn read_row(
    row: &PgRow,
    first: usize,
    placement: &Placement,
) -> Result<ReadRow, DatabaseError> {
    let get = |error: sqlx::Error| DatabaseError::of(&error, Phase::Reading);
    let slots = placement.slots.len();
    let plain_at = first + slots;
    let mut plain = PlainTexts::default();
    for (at, column) in placement.plain.iter().enumerate() {
        plain.push(column.field, row.try_get(plain_at + at).map_err(get)?);
    }
    let others = plain_at + placement.plain.len();
    let now: i64 = row.try_get(others + 1).map_err(get)?;
    Ok(ReadRow {
        row: Row {
            slots: (0..slots).map(|at| row.try_get(first + at)).collect::<Result<_, _>>().map_err(get)?,
            json_is_unrecognised: row.try_get(others).map_err(get)?,
            plain,
        },
        now: Millis::try_from(now).unwrap_or_default(),
        is_current: row.try_get("is_current").map_err(get)?,
    })
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
