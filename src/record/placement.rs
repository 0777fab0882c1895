//! Which field goes to which slot: one pure function of the layout and the columns that exist.

use crate::record::fields::Field;
use crate::record::layout::Layout;
use crate::record::token::token_len;
use crate::record::values::longest_json;

/// Where one field of a stored configuration is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// In the column made for it: secret fields as a token, plain fields in the clear.
    Column(String),
    /// As a token in this JSONB column, in its sub-object `retell_vault`.
    Json(String),
    /// As a token in this column, beside the token of another field.
    Packed(String),
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

/// The types of columns that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ColumnType {
    Text,
    /// With its length in characters.
    Varchar(usize),
    Uuid,
    Json,
    Jsonb,
    Timestamptz,
    Other(String),
}

/// A column that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: ColumnType,
    pub(crate) not_null: bool,
    pub(crate) writable: bool,
}

/// A column that can hold tokens, and what it gets: nothing means that every write clears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) column: String,
    pub(crate) json: bool,
    pub(crate) not_null: bool,
    pub(crate) fields: Vec<Field>,
}

/// A plain field's own column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlainColumn {
    pub(crate) field: Field,
    pub(crate) column: String,
    pub(crate) kind: ColumnType,
    pub(crate) not_null: bool,
}

/// Which field goes where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placement {
    /// Every slot that exists, whether it gets something or not.
    pub(crate) slots: Vec<Slot>,
    pub(crate) plain: Vec<PlainColumn>,
    pub(crate) sync_column: Option<String>,
    /// A column that a write would have to touch and may not.
    pub(crate) unwritable: Option<String>,
    places: [Place; 7],
}

impl Placement {
    pub(crate) fn place(&self, field: Field) -> &Place {
        &self.places[field as usize]
    }

    /// Whether the database has no room for a record.
    pub(crate) fn is_local(&self) -> bool {
        self.places.contains(&Place::Local)
    }

    /// The fields that need a token here: all but the plain ones with a column of their own.
    pub(crate) fn sealed_fields(&self) -> Vec<Field> {
        Field::ALL.into_iter().filter(|field| !self.plain.iter().any(|plain| plain.field == *field)).collect()
    }
}

/// Decides for every field, in this order: its own column, the JSONB config column, packed beside
/// another token, the local file. A record is in the database as a whole or not at all.
pub(crate) fn placement(layout: &Layout, columns: &[Column]) -> Placement {
    let find = |name: &str| columns.iter().find(|column| column.name == name);
    let dedicated = |field: Field| layout.column_of(field).and_then(find);

    let config = find(&layout.config_column).filter(|column| column.kind == ColumnType::Jsonb);
    let packing = [Field::ApiKey, Field::CallAgentId, Field::SmsAgentId]
        .into_iter()
        .filter_map(dedicated)
        .find(|column| column.kind == ColumnType::Text);
    let place =
        |field: Field| match (dedicated(field).filter(|column| usable(field, column)), config, packing) {
            (Some(column), _, _) => Place::Column(column.name.clone()),
            (None, Some(config), _) => Place::Json(config.name.clone()),
            (None, None, Some(packing)) => Place::Packed(packing.name.clone()),
            (None, None, None) => Place::Local,
        };
    let mut places = Field::ALL.map(place);
    if places.contains(&Place::Local) {
        places = Field::ALL.map(|_| Place::Local);
    }

    let text_slots = Field::SECRET.into_iter().filter_map(dedicated).filter(|column| is_text(&column.kind));
    let slots = text_slots.chain(config).map(|column| slot(column, &places)).collect();
    let plain = Field::PLAIN.into_iter().filter_map(|field| plain_column(field, dedicated(field)?)).collect();
    let sync = find(&layout.sync_column).filter(|column| column.kind == ColumnType::Timestamptz);
    let mut placement = Placement {
        slots,
        plain,
        sync_column: sync.map(|column| column.name.clone()),
        unwritable: None,
        places,
    };
    placement.unwritable = first_unwritable(&placement, columns);
    placement
}

fn is_text(kind: &ColumnType) -> bool {
    matches!(kind, ColumnType::Text | ColumnType::Varchar(_))
}

/// Whether a field can live in this column of its own.
pub(crate) fn usable(field: Field, column: &Column) -> bool {
    let longest = longest_json(field);
    match (&column.kind, field) {
        (ColumnType::Json | ColumnType::Jsonb, Field::WebhookConfig) => true,
        (_, Field::WebhookConfig) => false,
        (ColumnType::Text, _) => true,
        (ColumnType::Varchar(length), _) if field.is_secret() => *length >= token_len(field, longest),
        (ColumnType::Varchar(length), _) => *length >= longest - 2,
        _ => false,
    }
}

fn slot(column: &Column, places: &[Place; 7]) -> Slot {
    let here = |field: &Field| {
        !is_plain_column(*field, places) && places[*field as usize].column() == Some(&column.name)
    };
    Slot {
        column: column.name.clone(),
        json: column.kind == ColumnType::Jsonb,
        not_null: column.not_null,
        fields: Field::ALL.into_iter().filter(here).collect(),
    }
}

fn is_plain_column(field: Field, places: &[Place; 7]) -> bool {
    !field.is_secret() && matches!(places[field as usize], Place::Column(_))
}

fn plain_column(field: Field, column: &Column) -> Option<PlainColumn> {
    usable(field, column).then(|| PlainColumn {
        field,
        column: column.name.clone(),
        kind: column.kind.clone(),
        not_null: column.not_null,
    })
}

fn first_unwritable(placement: &Placement, columns: &[Column]) -> Option<String> {
    let slots = placement.slots.iter().map(|slot| &slot.column);
    let plain = placement.plain.iter().map(|plain| &plain.column);
    let mut touched = slots.chain(plain).chain(&placement.sync_column);
    let unwritable = |name: &&String| columns.iter().any(|column| column.name == **name && !column.writable);
    touched.find(unwritable).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column(name: &str, kind: ColumnType) -> Column {
        Column { name: name.to_owned(), kind, not_null: false, writable: true }
    }

    fn text(name: &str) -> Column {
        column(name, ColumnType::Text)
    }

    fn all() -> Vec<Column> {
        vec![
            text("encrypted_retell_api_key"),
            text("encrypted_call_agent_id"),
            text("encrypted_sms_agent_id"),
            column("encrypted_agent_config", ColumnType::Jsonb),
            text("phone_number"),
            column("webhook_config", ColumnType::Jsonb),
            text("retell_integration_status"),
            column("last_retell_sync", ColumnType::Timestamptz),
        ]
    }

    fn kinds(columns: &[Column]) -> Vec<&'static str> {
        let placement = placement(&Layout::new(), columns);
        Field::ALL.map(|field| placement.place(field).kind()).to_vec()
    }

    #[test]
    fn the_examples_of_the_design() {
        assert_eq!(kinds(&all()), ["column", "column", "column", "json", "column", "column", "column"]);
        assert_eq!(kinds(&all()[3..4]), ["json"; 7]);
        assert_eq!(
            kinds(&all()[..1]),
            ["column", "packed", "packed", "packed", "packed", "packed", "packed"]
        );
        assert_eq!(
            kinds(&all()[1..2]),
            ["packed", "column", "packed", "packed", "packed", "packed", "packed"]
        );
        assert_eq!(kinds(&[]), ["local"; 7]);
        assert_eq!(kinds(&all()[4..]), ["local"; 7]);
    }

    #[test]
    fn a_varchar_counts_only_when_the_longest_token_fits() {
        let varchar = |length| column("encrypted_retell_api_key", ColumnType::Varchar(length));
        let needed = token_len(Field::ApiKey, longest_json(Field::ApiKey));
        let config = column("encrypted_agent_config", ColumnType::Jsonb);
        assert_eq!(kinds(&[varchar(needed), config.clone()])[0], "column");
        assert_eq!(kinds(&[varchar(needed - 1), config])[0], "json");
        // nothing can be packed into a bounded column, and half a record is none
        assert_eq!(kinds(&[varchar(needed)]), ["local"; 7]);
    }

    #[test]
    fn slots_that_get_nothing_are_still_looked_at_and_cleared() {
        let columns =
            [text("encrypted_retell_api_key"), column("encrypted_call_agent_id", ColumnType::Varchar(50))];
        let placement = placement(&Layout::new(), &columns);
        assert_eq!(placement.slots.len(), 2);
        assert!(placement.slots[1].fields.is_empty());
    }

    #[test]
    fn a_column_that_may_not_be_written_is_named() {
        let mut columns = all();
        columns[4].writable = false;
        assert_eq!(placement(&Layout::new(), &columns).unwritable.as_deref(), Some("phone_number"));
    }

    fn any_column(name: &'static str) -> impl Strategy<Value = Option<Column>> {
        let kind = prop_oneof![
            Just(ColumnType::Text),
            (1usize..3000).prop_map(ColumnType::Varchar),
            Just(ColumnType::Json),
            Just(ColumnType::Jsonb),
            Just(ColumnType::Uuid),
            Just(ColumnType::Timestamptz),
            Just(ColumnType::Other("bytea".to_owned())),
        ];
        prop::option::of(kind.prop_map(move |kind| column(name, kind)))
    }

    proptest! {
        #[test]
        fn every_secret_has_exactly_one_slot_or_the_record_is_local(
            columns in all().into_iter().map(|column| any_column(Box::leak(column.name.into_boxed_str()))).collect::<Vec<_>>()
        ) {
            let columns: Vec<_> = columns.into_iter().flatten().collect();
            let placement = placement(&Layout::new(), &columns);
            for field in Field::ALL {
                let slots = placement.slots.iter().filter(|slot| slot.fields.contains(&field)).count();
                let plain = placement.plain.iter().filter(|plain| plain.field == field).count();
                if placement.is_local() {
                    prop_assert_eq!(slots, 0);
                } else {
                    prop_assert_eq!(slots + plain, 1);
                    prop_assert!(!(field.is_secret() && plain > 0));
                }
            }
            for slot in placement.slots.iter().filter(|slot| slot.fields.len() > 1 && !slot.json) {
                let unbounded = columns.iter().any(|column| column.name == slot.column && column.kind == ColumnType::Text);
                prop_assert!(unbounded);
            }
        }
    }
}
