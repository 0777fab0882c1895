use super::*;
use crate::record::padding::PADDING;
use crate::record::token::{KeyId, OVERHEAD};
use proptest::prelude::*;

const NAMES: [&str; 7] = [
    "api_key",
    "call_agent_id",
    "sms_agent_id",
    "webhook_key",
    "phone_number",
    "webhook_config",
    "integration_status",
];

fn column(name: &str, kind: ColumnType) -> Column {
    Column { name: name.to_owned(), kind, not_null: false, writable: true, unique: false, adopted: true }
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
    NAMES.map(|name| placement.place(Field::named(name)).kind()).to_vec()
}

fn token(name: &str) -> Token {
    let field = Field::parse(name.as_bytes()).unwrap();
    Token {
        key: KeyId(1),
        version: "00000000000000ff".parse().unwrap(),
        field,
        body: vec![7; OVERHEAD + PADDING],
    }
}

/// Which fields every slot gets.
fn texts(columns: &[Column], names: &[&str]) -> Vec<String> {
    let tokens: Vec<_> = names.iter().map(|name| token(name)).collect();
    let texts = placement(&Layout::new(), columns).texts(&tokens);
    let fields = |text: Option<String>| {
        let text = text.unwrap_or_default();
        text.split("rv1.")
            .skip(1)
            .map(|token| token.split('.').nth(2).unwrap().to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    texts.into_iter().map(fields).collect()
}

#[test]
fn the_examples_of_the_design() {
    assert_eq!(kinds(&all()), ["column", "column", "column", "json", "column", "column", "column"]);
    assert_eq!(kinds(&all()[3..4]), ["json"; 7]);
    assert_eq!(kinds(&all()[..1]), ["column", "packed", "packed", "packed", "packed", "packed", "packed"]);
    assert_eq!(kinds(&all()[1..2]), ["packed", "column", "packed", "packed", "packed", "packed", "packed"]);
    assert_eq!(kinds(&[]), ["local"; 7]);
    assert_eq!(kinds(&all()[4..]), ["local"; 7]);
}

#[test]
fn a_field_that_no_row_of_the_table_names_lies_beside_the_others() {
    let inbound = Field::named("inbound_agent_id");
    assert_eq!(placement(&Layout::new(), &all()).place(inbound).kind(), "json");
    assert_eq!(placement(&Layout::new(), &all()[..1]).place(inbound).kind(), "packed");
    assert_eq!(placement(&Layout::new(), &[]).place(inbound).kind(), "local");
}

#[test]
fn the_record_token_lies_beside_another_one() {
    let full = all();
    assert_eq!(texts(&full, &["record", "api_key"]), ["api_key record", "", "", ""]);
    assert_eq!(texts(&full, &["record", "sms_agent_id"]), ["", "", "sms_agent_id record", ""]);
    assert_eq!(
        texts(&full, &["record", "api_key", "webhook_key"]),
        ["api_key", "", "", "record webhook_key"]
    );
    assert_eq!(
        texts(&full[..3], &["record", "call_agent_id", "x_agent_id"]),
        ["x_agent_id record", "call_agent_id", ""]
    );
    assert_eq!(texts(&full[3..4], &["record", "api_key"]), ["record api_key"]);
}

#[test]
fn a_tombstone_leaves_the_columns_of_the_fields_empty_where_it_can() {
    assert_eq!(texts(&all(), &["record"]), ["", "", "", "record"]);
    assert_eq!(texts(&all()[..3], &["record"]), ["record", "", ""]);
}

#[test]
fn a_varchar_counts_only_when_the_longest_token_fits() {
    let varchar = |length| column("encrypted_retell_api_key", ColumnType::Varchar(length));
    let layout = Layout::new();
    let (field, spec) = layout.fields.secrets().next().unwrap();
    let needed = token_len(field, spec.longest);
    let config = column("encrypted_agent_config", ColumnType::Jsonb);
    assert_eq!(kinds(&[varchar(needed), config.clone()])[0], "column");
    assert_eq!(kinds(&[varchar(needed - 1), config.clone()])[0], "json");
    // nothing can be packed into a bounded column, and half a record is none
    assert_eq!(kinds(&[varchar(needed)]), ["local"; 7]);
    // nor can the record token
    assert_eq!(texts(&[varchar(needed), config], &["record", "api_key"]), ["api_key", "record"]);
}

#[test]
fn slots_that_get_nothing_are_still_looked_at_and_cleared() {
    let columns =
        [text("encrypted_retell_api_key"), column("encrypted_call_agent_id", ColumnType::Varchar(50))];
    let placement = placement(&Layout::new(), &columns);
    assert_eq!(placement.slots.len(), 2);
    assert_eq!(placement.slots[1].own, None);
    assert_eq!(placement.texts(&[token("record"), token("api_key")])[1], None);
}

#[test]
fn a_column_that_may_not_be_written_is_named() {
    let mut columns = all();
    columns[4].writable = false;
    assert_eq!(placement(&Layout::new(), &columns).unwritable.as_deref(), Some("phone_number"));
}

#[test]
fn a_column_that_may_be_the_applications_needs_consent() {
    let (phone, webhook) = (Field::named("phone_number"), Field::named("webhook_config"));
    let mut columns = all();
    columns[4].adopted = false;
    columns[5].adopted = false;
    columns[6].adopted = false;
    assert_eq!(kinds(&columns)[4..], ["json", "json", "column"]);
    let left_alone = placement(&Layout::new(), &columns).left_alone;
    assert_eq!(left_alone, [(phone, "phone_number".to_owned()), (webhook, "webhook_config".to_owned())]);
    let named = Layout::new().column(phone, "phone_number").unwrap();
    assert_eq!(placement(&named, &columns).place(phone).kind(), "column");
    // who signs in by it has one, and no other user has the same
    (columns[4].not_null, columns[4].unique) = (true, true);
    assert_eq!(placement(&named, &columns).place(phone).kind(), "json");
    let sealed = Layout::new().sealed(phone).unwrap();
    assert_eq!(placement(&sealed, &all()).place(phone).kind(), "json");
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
    let flags = any::<[bool; 3]>();
    prop::option::of((kind, flags).prop_map(move |(kind, [not_null, unique, adopted])| Column {
        not_null,
        unique,
        adopted,
        ..column(name, kind)
    }))
}

proptest! {
    #[test]
    fn every_token_has_exactly_one_slot_or_the_record_is_local(
        columns in all().into_iter().map(|column| any_column(Box::leak(column.name.into_boxed_str()))).collect::<Vec<_>>(),
        set in prop::sample::subsequence(vec!["record", "api_key", "call_agent_id", "sms_agent_id", "webhook_key",
            "x_agent_id", "later", "phone_number", "webhook_config", "integration_status"], 0..=10),
    ) {
        let columns: Vec<_> = columns.into_iter().flatten().collect();
        let placement = placement(&Layout::new(), &columns);
        prop_assume!(!placement.is_local());
        let tokens: Vec<_> = set.iter().map(|name| token(name)).collect();
        let texts = placement.texts(&tokens);
        for token in &tokens {
            let slots = texts.iter().flatten().filter(|text| text.contains(&token.to_string())).count();
            let in_the_clear = placement.in_the_clear().contains(&token.field);
            prop_assert_eq!(slots, usize::from(!in_the_clear), "{}", token.field);
        }
        for (slot, text) in placement.slots.iter().zip(&texts) {
            let text = text.as_deref().unwrap_or_default();
            prop_assert!(!slot.bounded || text.is_empty() || (slot.own.is_some() && !text.contains(' ')));
        }
    }
}
