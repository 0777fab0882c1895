use proptest::prelude::*;

use super::*;
use crate::record::padding::PADDING;
use crate::record::token::OVERHEAD;
use crate::record::version::MAX_AHEAD;

const NOW: Millis = 1_700_000_000_000;

fn version(at: Millis) -> Version {
    Version::next(at, None, 0)
}

fn token(field: Field, at: Millis, key: u32) -> Token {
    Token { key: KeyId(key), version: version(at), field, body: vec![field as u8; OVERHEAD + PADDING] }
}

fn record(at: Millis) -> Record {
    Record::new(Field::SECRET.map(|field| token(field, at, 1)).to_vec(), PlainValues::default()).unwrap()
}

fn slots() -> Vec<Slot> {
    let slot =
        |column: &str, json| Slot { column: column.to_owned(), json, not_null: false, fields: Vec::new() };
    vec![slot("a", false), slot("b", false), slot("j", true)]
}

fn row(a: Option<String>, b: Option<String>, j: Option<String>) -> Row {
    Row { slots: vec![a, b, j], json_is_unrecognised: false, plain: PlainValues::default() }
}

/// A record whose first two fields lie in the text columns, the others in the JSONB column.
fn spread(at: Millis) -> Row {
    let record = record(at);
    let (first, rest) = Field::SECRET.split_at(2);
    row(Some(record.packed(&first[..1])), Some(record.packed(&first[1..])), Some(record.object(rest)))
}

fn newest(rows: &[Row]) -> Result<Version> {
    FoundRecords::of(rows, &slots(), NOW).newest().map(|record| record.version)
}

#[test]
fn a_record_comes_together_from_every_slot() {
    assert_eq!(newest(&[spread(NOW)]).unwrap(), version(NOW));
    let packed = row(Some(record(NOW).packed(&Field::ALL)), None, Some("{}".to_owned()));
    assert_eq!(newest(&[packed]).unwrap(), version(NOW));
    let object = row(Some(String::new()), None, Some(record(NOW).object(&Field::ALL)));
    assert_eq!(newest(&[object]).unwrap(), version(NOW));
}

#[test]
fn the_highest_version_wins_as_a_whole_among_slots_and_rows() {
    let mut both = spread(NOW);
    both.slots[1] = Some(record(NOW + 1).packed(&Field::ALL));
    assert_eq!(newest(&[spread(NOW - 5), both, spread(NOW - 1)]).unwrap(), version(NOW + 1));
}

#[test]
fn a_missing_part_of_the_newest_record_is_never_an_older_record() {
    for slot in 0..3 {
        let mut newer = spread(NOW);
        newer.slots[slot] = None;
        let error = newest(&[newer, spread(NOW - 1)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incomplete);
    }
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
    let mut tokens = Field::SECRET.map(|field| token(field, NOW, 1)).to_vec();
    tokens[2].key = KeyId(2);
    assert_eq!(Record::new(tokens, PlainValues::default()).unwrap_err().kind(), ErrorKind::Malformed);
    let mut tokens = Field::SECRET.map(|field| token(field, NOW, 1)).to_vec();
    tokens.push(token(Field::named("api_key"), NOW, 1));
    assert_eq!(Record::new(tokens, PlainValues::default()).unwrap_err().kind(), ErrorKind::Malformed);
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
    let whole = record(NOW).packed(&Field::ALL);
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
    /// Whatever a database holds, there is an answer, and it is a record only if it is a whole one.
    #[test]
    fn any_text_gets_an_answer(a in any_slot(), b in any_slot(), j in any_slot()) {
        let rows = [row(a, b, j)];
        if let Ok(record) = FoundRecords::of(&rows, &slots(), NOW).newest() {
            prop_assert!(Field::SECRET.iter().all(|field| record.token(*field).is_some()));
        }
    }
}

fn any_slot() -> impl Strategy<Value = Option<String>> {
    let tokens = prop::collection::vec((0usize..7, 0u64..3, 1u32..3), 0..8);
    let packed = tokens.prop_map(|tokens| {
        let texts: Vec<_> = tokens
            .into_iter()
            .map(|(field, at, key)| token(Field::ALL[field], NOW + at, key).to_string())
            .collect();
        texts.join(" ")
    });
    let object = (0u64..3).prop_map(|at| record(NOW + at).object(&Field::ALL));
    prop::option::of(prop_oneof![packed, object, "rv[0-9]\\..{0,80}", ".{0,40}"])
}
