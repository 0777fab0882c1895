//! Parses rows of results in place.

use sqlx::postgres::PgRow;
use sqlx::{Row as _, ValueRef as _};

use crate::error::{Error, ErrorKind};
use crate::layout::placement::{ColumnType, Placement};
use crate::postgres::connection::errors::{DatabaseError, Outcome, Phase};
use crate::postgres::statements::found_records::{JsonState, Row};
use crate::postgres::statements::fragments::TOO_LONG;
use crate::record::owner::Owner;
use crate::record::plain::PlainTexts;
use crate::record::record::{Record, SlotText, read_slot};
use crate::record::version::Millis;

/// The bytes of one value, in place.
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

/// The text of a JSONB value.
fn json(row: &PgRow, at: usize) -> Result<Option<&str>, DatabaseError> {
    let text = text(row, at)?.map(|text| text.strip_prefix('\u{1}').ok_or_else(another_type));
    text.transpose()
}

fn another_type() -> DatabaseError {
    let error = Error::new(ErrorKind::Schema, "the type of a column has changed");
    DatabaseError::new(Outcome::Redetect, error)
}

/// The state of the JSONB column, from the column `at`.
pub(in crate::postgres) fn json_state(row: &PgRow, at: usize) -> Result<JsonState, DatabaseError> {
    Ok(match text(row, at)? {
        None | Some("object" | "null") => JsonState::Usable,
        Some(TOO_LONG) => JsonState::TooLong,
        Some(_) => JsonState::Unrecognised,
    })
}

/// A time of the database in the column `at`. The server sends microseconds since 2000.
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
            let value = match column.kind {
                ColumnType::Jsonb => json(self.row, first + at)?,
                _ => text(self.row, first + at)?,
            };
            plain.push(column.field, value.map(str::to_owned));
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

    /// The record of a row that holds only one, as nearly every row does. `None` means that a full read is needed.
    ///
    /// # Errors
    /// `Redetect` if a column has another type than planned.
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

/// An owner as stored in its columns: tenant, user.
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
