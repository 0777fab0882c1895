//! Decides which field goes to which slot, with one pure function of the layout and the existing columns.

use std::sync::Arc;

use crate::layout::layout::Layout;
use crate::record::field::{Field, FieldSpec, ValueKind};
use crate::record::token::{Token, print_object, print_packed, token_len};

/// Where one field of a configuration is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// In its own column: a secret field as a token, a plain field in plaintext.
    Column(Arc<str>),
    /// As a token in this JSONB column, in the sub-object `<namespace>_vault`.
    Json(Arc<str>),
    /// As a token in this column, beside the token of another field.
    Packed(Arc<str>),
    /// As a token in the local file.
    Local,
}

impl Place {
    /// `column`, `json`, `packed` or `local`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Column(_) => "column",
            Self::Json(_) => "json",
            Self::Packed(_) => "packed",
            Self::Local => "local",
        }
    }

    /// The column, unless the place is the local file.
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::Column(column) | Self::Json(column) | Self::Packed(column) => Some(column),
            Self::Local => None,
        }
    }
}

/// The types of columns that matter for the placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ColumnType {
    Text,
    /// With its length in characters.
    Varchar(usize),
    Uuid,
    Json,
    Jsonb,
    Timestamptz,
    /// `bytea[]`
    ByteaArray,
    Other(String),
}

/// A column that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: ColumnType,
    pub(crate) not_null: bool,
    pub(crate) writable: bool,
    /// Whether it is part of a unique constraint or index.
    pub(crate) unique: bool,
    /// Whether its comment says that the schema planner created it.
    pub(crate) adopted: bool,
}

/// A column that can hold tokens. Every write sets or clears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) column: Arc<str>,
    pub(crate) json: bool,
    /// Whether it has a maximum length.
    pub(crate) bounded: bool,
    pub(crate) not_null: bool,
    /// The secret field of this column, unless the column is too short for its tokens.
    pub(crate) own: Option<Field>,
}

/// A plain field's own column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlainColumn {
    pub(crate) field: Field,
    pub(crate) column: Arc<str>,
    pub(crate) kind: ColumnType,
    pub(crate) not_null: bool,
    /// Its value if the field is not set and the column is NOT NULL.
    pub(crate) unset: &'static str,
    /// Whether owners can be found by its value.
    pub(crate) is_indexed: bool,
}

/// The slot of every field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    /// Every existing slot, whether a field goes there or not.
    pub(crate) slots: Vec<Slot>,
    /// The JSONB config column among the slots.
    json: Option<usize>,
    /// The first unbounded text column of a secret field among the slots.
    packing: Option<usize>,
    pub(crate) plain: Vec<PlainColumn>,
    /// Columns that plain fields could use but do not, because they may belong to the application.
    pub(crate) left_alone: Vec<(Field, String)>,
    pub(crate) sync_column: Option<Arc<str>>,
    /// The column of the blind index. Every write sets it.
    pub(crate) index: Option<Arc<str>>,
    /// A column that a write has to change, but the role may not.
    pub(crate) unwritable: Option<Arc<str>>,
}

impl Placement {
    /// Whether no column of the database can hold a record.
    pub(crate) fn is_local(&self) -> bool {
        self.shared().is_none()
    }

    /// The slot of every value without a column of its own.
    fn shared(&self) -> Option<usize> {
        self.json.or(self.packing)
    }

    pub(crate) fn place(&self, field: Field) -> Place {
        let own = self.own_slot(field).map(|slot| slot.column.clone());
        let own = own.or_else(|| self.plain_column(field).map(|plain| plain.column.clone()));
        match (self.is_local(), own, self.json, self.packing) {
            (true, _, _, _) => Place::Local,
            (_, Some(column), _, _) => Place::Column(column),
            (_, _, Some(json), _) => Place::Json(self.slots[json].column.clone()),
            (_, _, _, packing) => {
                packing.map_or(Place::Local, |at| Place::Packed(self.slots[at].column.clone()))
            }
        }
    }

    fn own_slot(&self, field: Field) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.own == Some(field))
    }

    pub(crate) fn plain_column(&self, field: Field) -> Option<&PlainColumn> {
        self.plain.iter().find(|plain| plain.field == field)
    }

    /// Whether tokens of fields without a column of their own belong in this slot.
    pub(crate) fn is_shared(&self, at: usize) -> bool {
        self.shared() == Some(at)
    }

    /// The fields with a column of their own. They belong in no other slot.
    pub(crate) fn with_own_columns(&self) -> impl Iterator<Item = Field> {
        self.slots.iter().filter_map(|slot| slot.own).chain(self.plain.iter().map(|plain| plain.field))
    }

    /// The slot of every token of one record. `None` for a plain field that is stored in plaintext.
    ///
    /// The record token goes to the slot of another token: the JSONB column if the record uses it, otherwise the first
    /// unbounded text column that the record uses. The record token of a tombstone goes outside of the fields' own
    /// columns if possible.
    pub(crate) fn slots_of(&self, tokens: &[Token]) -> Vec<Option<usize>> {
        let own = |field: Field| self.slots.iter().position(|slot| slot.own == Some(field));
        let slot = |token: &Token| match self.plain_column(token.field) {
            _ if token.field.is_record() => None,
            Some(_) => None,
            None => own(token.field).or(self.shared()),
        };
        let mut slots: Vec<_> = tokens.iter().map(slot).collect();
        let used = |at: &usize| slots.contains(&Some(*at));
        let unbounded = |at: &usize| !self.slots[*at].json && !self.slots[*at].bounded;
        let beside = self.json.filter(used).or_else(|| (0..self.slots.len()).filter(unbounded).find(used));
        let of_record = beside.or(self.shared());
        for (slot, token) in slots.iter_mut().zip(tokens) {
            if token.field.is_record() {
                *slot = of_record;
            }
        }
        slots
    }

    /// The text of every slot for these tokens of one record.
    pub(crate) fn texts(&self, tokens: &[Token]) -> Vec<Option<String>> {
        let places = self.slots_of(tokens);
        let text = |(at, slot): (usize, &Slot)| {
            let here =
                tokens.iter().zip(&places).filter(|(_, place)| **place == Some(at)).map(|(token, _)| token);
            match (here.clone().next().is_some(), slot.json) {
                (true, true) => Some(print_object(here)),
                (true, false) => {
                    // the first token identifies the column, so the record token comes last
                    let mut here: Vec<_> = here.collect();
                    here.sort_by_key(|token| (Some(token.field) != slot.own, token.field.is_record()));
                    Some(print_packed(here.into_iter()))
                }
                (false, false) if slot.not_null => Some(String::new()),
                (false, _) => None,
            }
        };
        self.slots.iter().enumerate().map(text).collect()
    }

    /// The plain fields that do not need a token here.
    pub(crate) fn in_the_clear(&self) -> Vec<Field> {
        self.plain.iter().map(|plain| plain.field).collect()
    }
}

/// Decides for every field, in this order: its own column, the JSONB config column, packed beside another token, the
/// local file. A record is stored in the database as a whole or not at all.
pub(crate) fn placement(layout: &Layout, columns: &[Column]) -> Placement {
    let find = |name: &str| columns.iter().find(|column| column.name == name);
    let dedicated = |field: Field| layout.column_of(field).and_then(find);
    let mut placement = Placement::default();
    for (field, spec) in layout.fields.secrets() {
        let Some(column) = dedicated(field).filter(|column| is_text(&column.kind)) else { continue };
        let own = Some(field).filter(|_| has_room(spec, field, column));
        placement.slots.push(slot(column, own));
    }
    placement.packing = placement.slots.iter().position(|slot| !slot.bounded);
    if let Some(config) = find(&layout.config_column).filter(|column| column.kind == ColumnType::Jsonb) {
        placement.json = Some(placement.slots.len());
        placement.slots.push(slot(config, None));
    }
    for (field, spec) in layout.fields.plain() {
        let Some(column) = dedicated(field).filter(|column| can_be_plain(spec, column)) else { continue };
        match layout.names(field) || column.adopted || !spec.by_consent {
            true => placement.plain.push(plain_column(field, spec, column)),
            false => placement.left_alone.push((field, column.name.clone())),
        }
    }
    let sync = find(&layout.sync_column).filter(|column| column.kind == ColumnType::Timestamptz);
    placement.sync_column = sync.map(|column| column.name.as_str().into());
    let index = find(&layout.index_column).filter(|column| column.kind == ColumnType::ByteaArray);
    placement.index = index.map(|column| column.name.as_str().into());
    placement.unwritable = first_unwritable(&placement, columns);
    placement
}

fn is_text(kind: &ColumnType) -> bool {
    matches!(kind, ColumnType::Text | ColumnType::Varchar(_))
}

/// Whether the longest token of a secret field fits in a column.
fn has_room(spec: &FieldSpec, field: Field, column: &Column) -> bool {
    match column.kind {
        ColumnType::Varchar(length) => length >= token_len(field, spec.longest),
        _ => column.kind == ColumnType::Text,
    }
}

/// Whether a plain field can be stored in this column. A column that needs a unique value in every row belongs to the
/// application, and clearing it would fail for the second owner.
fn can_be_plain(spec: &FieldSpec, column: &Column) -> bool {
    fits_plain(spec, column) && !is_applications_key(column)
}

/// Whether the column needs a unique value in every row.
pub(crate) fn is_applications_key(column: &Column) -> bool {
    column.not_null && column.unique
}

fn fits_plain(spec: &FieldSpec, column: &Column) -> bool {
    match (&column.kind, spec.kind) {
        (ColumnType::Json | ColumnType::Jsonb, kind) => kind == ValueKind::Object,
        (ColumnType::Text, kind) => kind == ValueKind::Text,
        (ColumnType::Varchar(length), ValueKind::Text) => *length + 2 >= spec.longest,
        _ => false,
    }
}

/// Whether the type of this column can hold the field.
pub(crate) fn usable(field: Field, spec: &FieldSpec, column: &Column) -> bool {
    match spec.is_secret {
        true => has_room(spec, field, column),
        false => fits_plain(spec, column),
    }
}

fn slot(column: &Column, own: Option<Field>) -> Slot {
    Slot {
        column: column.name.as_str().into(),
        json: column.kind == ColumnType::Jsonb,
        bounded: matches!(column.kind, ColumnType::Varchar(_)),
        not_null: column.not_null,
        own,
    }
}

fn plain_column(field: Field, spec: &FieldSpec, column: &Column) -> PlainColumn {
    PlainColumn {
        field,
        column: column.name.as_str().into(),
        kind: column.kind.clone(),
        not_null: column.not_null,
        unset: spec.unset,
        is_indexed: spec.index.is_some() && spec.kind == ValueKind::Text,
    }
}

fn first_unwritable(placement: &Placement, columns: &[Column]) -> Option<Arc<str>> {
    let slots = placement.slots.iter().map(|slot| &slot.column);
    let plain = placement.plain.iter().map(|plain| &plain.column);
    let mut touched = slots.chain(plain).chain(&placement.sync_column).chain(&placement.index);
    let writable = |name: &str| columns.iter().all(|column| column.name != name || column.writable);
    touched.find(|name| !writable(name)).cloned()
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
