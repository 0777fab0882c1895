use proptest::prelude::*;

use super::*;
use crate::record::padding::PADDING;
use crate::record::token::{OVERHEAD, print_object, print_packed};
use crate::record::version::MAX_AHEAD;

const NOW: Millis = 1_700_000_000_000;

fn version(at: Millis) -> Version {
    Version::next(at, None, 0)
}

/// The record token and four secret fields.
const WHOLE: [Field; 5] = [
    Field::named("api_key"),
    Field::RECORD,
    Field::named("call_agent_id"),
    Field::named("sms_agent_id"),
    Field::named("webhook_key"),
];

fn token(field: Field, at: Millis, key: u32) -> Token {
    let byte = field.name().bytes().fold(0u8, u8::wrapping_add);
    Token { key: KeyId(key), version: version(at), field, body: vec![byte; OVERHEAD + PADDING] }
}

fn tokens(fields: &[Field], at: Millis) -> Vec<Token> {
    fields.iter().map(|field| token(*field, at, 1)).collect()
}

fn packed(fields: &[Field], at: Millis) -> String {
    print_packed(tokens(fields, at).iter())
}

fn object(fields: &[Field], at: Millis) -> String {
    print_object(tokens(fields, at).iter())
}

fn slots() -> Vec<Slot> {
    let slot =
        |column: &str, json| Slot { column: column.into(), json, bounded: false, not_null: false, own: None };
    vec![slot("a", false), slot("b", false), slot("j", true)]
}

fn row(a: Option<String>, b: Option<String>, j: Option<String>) -> Row {
    Row { slots: vec![a, b, j], json: JsonState::Usable, plain: PlainTexts::default() }
}

/// A record whose first two tokens lie in the text columns, the others in the JSONB column.
fn spread(at: Millis) -> Row {
    let (first, rest) = WHOLE.split_at(2);
    row(Some(packed(&first[..1], at)), Some(packed(&first[1..], at)), Some(object(rest, at)))
}

fn newest(rows: &[Row]) -> Result<Version> {
    FoundRecords::of(rows, &slots(), NOW).newest().map(|record| record.version)
}

#[test]
fn a_record_comes_together_from_every_slot() {
    assert_eq!(newest(&[spread(NOW)]).unwrap(), version(NOW));
    let packed = row(Some(packed(&WHOLE, NOW)), None, Some("{}".to_owned()));
    assert_eq!(newest(&[packed]).unwrap(), version(NOW));
    let object = row(Some(String::new()), None, Some(object(&WHOLE, NOW)));
    assert_eq!(newest(&[object]).unwrap(), version(NOW));
}

#[test]
fn the_highest_version_wins_as_a_whole_among_slots_and_rows() {
    let mut both = spread(NOW);
    both.slots[1] = Some(packed(&WHOLE, NOW + 1));
    assert_eq!(newest(&[spread(NOW - 5), both, spread(NOW - 1)]).unwrap(), version(NOW + 1));
}

#[test]
fn a_missing_part_of_the_newest_record_is_never_an_older_record() {
    for slot in 0..3 {
        let mut newer = spread(NOW);
        newer.slots[slot] = None;
        let found = FoundRecords::of(&[newer, spread(NOW - 1)], &slots(), NOW).newest();
        match slot {
            // the record token
            1 => assert_eq!(found.unwrap_err().kind(), ErrorKind::Incomplete),
            // opening its record token tells what is missing
            _ => assert!(found.is_ok_and(|found| found.version == version(NOW) && found.tokens().len() < 5)),
        }
    }
}

/// A record token says that its version was whole once. Without it, tokens are what a store left behind which did not
/// know their column.
#[test]
fn tokens_without_a_record_token_are_leftovers_only_below_a_newer_version_of_the_row() {
    let left = |at| Some(packed(&WHOLE[..1], at));
    let beside = |at| Some(object(&WHOLE[1..], at));
    let found = FoundRecords::of(&[row(left(NOW - 1), None, beside(NOW))], &slots(), NOW);
    assert_eq!((found.parts.len(), found.records.len()), (1, 1));
    assert_eq!(found.newest().unwrap().version, version(NOW));
    // of the newest version the record token is missing
    for rows in
        [vec![row(left(NOW + 1), None, beside(NOW))], vec![row(left(NOW + 1), None, None), spread(NOW)]]
    {
        let found = FoundRecords::of(&rows, &slots(), NOW);
        assert_eq!(found.records.len(), 2, "none of them is left out");
        assert_eq!(found.newest().unwrap_err().kind(), ErrorKind::Incomplete);
    }
    // a damaged newest record stays one: no version from the future makes it a leftover
    let future = packed(&WHOLE[..1], NOW + MAX_AHEAD + 1);
    let damaged = row(left(NOW), Some(future), beside(NOW - 1));
    assert_eq!(newest(&[damaged]).unwrap_err().kind(), ErrorKind::Incomplete);
}

#[test]
fn a_version_from_the_future_never_wins_over_another_one() {
    let future = NOW + MAX_AHEAD + 1;
    assert_eq!(newest(&[spread(future), spread(NOW)]).unwrap(), version(NOW));
    assert_eq!(newest(&[spread(future)]).unwrap(), version(future), "but it is better than nothing");
    assert_eq!(newest(&[spread(NOW + MAX_AHEAD), spread(NOW)]).unwrap(), version(NOW + MAX_AHEAD));
}

#[test]
fn mixed_keys_and_doubled_fields_are_refused() {
    let mut mixed = tokens(&WHOLE, NOW);
    mixed[2].key = KeyId(2);
    assert_eq!(Record::new(mixed, PlainTexts::default()).unwrap_err().kind(), ErrorKind::Malformed);
    let mut mixed = tokens(&WHOLE, NOW);
    mixed.push(token(Field::named("api_key"), NOW, 1));
    assert_eq!(Record::new(mixed, PlainTexts::default()).unwrap_err().kind(), ErrorKind::Malformed);
    let two = [tokens(&WHOLE, NOW), tokens(&[Field::RECORD], NOW)].concat();
    assert_eq!(Record::new(two, PlainTexts::default()).unwrap_err().kind(), ErrorKind::Malformed);
    for without in [Vec::new(), tokens(&WHOLE[..1], NOW), tokens(&WHOLE[2..], NOW)] {
        assert_eq!(Record::new(without, PlainTexts::default()).unwrap_err().kind(), ErrorKind::Incomplete);
    }
}

#[test]
fn text_that_is_not_ours_is_reported_and_does_not_hide_a_whole_record() {
    let foreign = |text: &str| row(Some(text.to_owned()), None, None);
    for text in ["key_live_plaintext", "a2V5X2xpdmU=", "rv1", "RV1.", " rv1.0", "null"] {
        let found = FoundRecords::of(&[foreign(text)], &slots(), NOW);
        assert_eq!(found.unrecognised, ["a"], "{text}");
        assert_eq!(found.newest().unwrap_err().kind(), ErrorKind::ForeignValue);
    }
    assert_eq!(newest(&[foreign("key_live_plaintext"), spread(NOW)]).unwrap(), version(NOW));
    let error = newest(&[foreign("key_live_plaintext")]).unwrap_err();
    assert!(!format!("{error} {error:?} {}", error.hint()).contains("key_live"));
}

#[test]
fn damaged_text_is_an_error_even_beside_a_whole_record() {
    let whole = packed(&WHOLE, NOW);
    for damaged in [
        whole[..whole.len() - 1].to_owned(),
        format!("{whole} "),
        whole.replacen(' ', "  ", 1),
        "rv1.".to_owned(),
    ] {
        let error = newest(&[row(Some(damaged), None, None), spread(NOW)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
    }
    let error = newest(&[row(Some(whole.replacen("rv1", "rv2", 1)), None, None)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedFormat);
}

#[test]
fn an_object_is_read_strictly() {
    let token = token(Field::named("api_key"), NOW, 1).to_string();
    for object in [format!(r#"{{"sms_agent_id":"{token}"}}"#), r#"{"api_key":"rv1.torn"}"#.to_owned()] {
        assert_eq!(newest(&[row(None, None, Some(object))]).unwrap_err().kind(), ErrorKind::Malformed);
    }
    for foreign in [r#"{"api_key":1}"#, r#"{"x":"hunter2"}"#, r#"{"api_key":null}"#, r#""text""#, "[]", "7"] {
        let error = newest(&[row(None, None, Some(foreign.to_owned()))]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ForeignValue);
    }
    for nothing in ["null", "{}", ""] {
        assert_eq!(
            newest(&[row(None, None, Some(nothing.to_owned()))]).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }
}

proptest! {
    /// Whatever a database holds, there is an answer, and it is a record only if one write can have made it.
    #[test]
    fn any_text_gets_an_answer(a in any_slot(), b in any_slot(), j in any_slot()) {
        let rows = [row(a, b, j)];
        if let Ok(record) = FoundRecords::of(&rows, &slots(), NOW).newest() {
            prop_assert!(record.tokens().contains(record.record_token()));
            for (at, token) in record.tokens().iter().enumerate() {
                prop_assert_eq!((token.version, token.key), (record.version, record.key));
                prop_assert!(record.tokens()[..at].iter().all(|before| before.field != token.field));
            }
        }
    }
}

fn any_slot() -> impl Strategy<Value = Option<String>> {
    let tokens = prop::collection::vec((0usize..5, 0u64..3, 1u32..3), 0..8);
    let packed = tokens.prop_map(|tokens| {
        let texts: Vec<_> = tokens
            .into_iter()
            .map(|(field, at, key)| token(WHOLE[field], NOW + at, key).to_string())
            .collect();
        texts.join(" ")
    });
    let object = (0u64..3).prop_map(|at| object(&WHOLE, NOW + at));
    prop::option::of(prop_oneof![packed, object, "rv[0-9]\\..{0,80}", ".{0,40}"])
}
