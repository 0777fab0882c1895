//! What an application left before: values and whole saves that its own code wrote, in every shape.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex};

use retell_vault::config::import::{
    Carexps, Decryptor, Members, OpenedMembers, Opening, Passwords, Plaintext, StoredValue,
};
use retell_vault::config::{Credentials, Field};
use retell_vault::{ErrorKind, Layout, RetellConfig};
use serde_json::{Map, Value, json};

/// Texts of the application's own encryption code, with the values that they stand for.
const VALUES: &str = include_str!("values.json");
/// The columns of the tables whose name is not that of a field.
const COLUMNS: [(&str, &str); 4] = [
    ("encrypted_retell_api_key", "api_key"),
    ("encrypted_call_agent_id", "call_agent_id"),
    ("encrypted_sms_agent_id", "sms_agent_id"),
    ("retell_integration_status", "integration_status"),
];

fn values() -> Value {
    serde_json::from_str(VALUES).unwrap()
}

/// Opens with the password of a case, if it has one. Deriving a key takes a while, so all tests share them.
fn carexps(case: &Value) -> Arc<Carexps> {
    static ALL: LazyLock<Mutex<BTreeMap<String, Arc<Carexps>>>> = LazyLock::new(Mutex::default);
    let password = case["password"].as_str().unwrap_or_default().to_owned();
    let made = || Arc::new(Carexps::new(Passwords::new().with(password.clone())));
    ALL.lock().unwrap().entry(password.clone()).or_insert_with(made).clone()
}

fn field_of(column: &str) -> Option<Field> {
    let name = COLUMNS.iter().find(|(known, _)| *known == column).map_or(column, |(_, field)| field);
    let is_field = |field: &Field| Layout::new().column(*field, "column").is_ok();
    name.parse().ok().filter(is_field)
}

/// Opens what a column holds. In a column of text it is one value, and in one of JSON several.
fn open(decryptor: &dyn Decryptor, column: &str, stored: &Value) -> OpenedMembers {
    match (stored, field_of(column)) {
        (Value::String(text), Some(field)) => {
            let mut opened = OpenedMembers::default();
            opened.fields.insert(field, decryptor.open(&StoredValue::text(field, text)));
            opened
        }
        (Value::Object(object), Some(field)) => {
            let object = Map::from_iter([(field.to_string(), Value::Object(object.clone()))]);
            Members::of(&Layout::new()).open(decryptor, "user-1", &Value::Object(object))
        }
        _ => Members::of(&Layout::new()).open(decryptor, "user-1", stored),
    }
}

/// The results as the file of the values names them: each field with its value or its fate.
fn shown(opened: &OpenedMembers) -> BTreeMap<String, Value> {
    let fields = opened.fields.iter().filter_map(|(field, opening)| {
        let shown = match opening {
            Opening::Opened(value) if field.name() == "webhook_config" => {
                serde_json::from_str(value.text()).unwrap()
            }
            Opening::Opened(value) => json!(value.text()),
            Opening::Unset => return None,
            Opening::NotMine => json!({ "fate": "not_mine" }),
            Opening::Unrecoverable(_) => json!({ "fate": "unrecoverable" }),
            Opening::Corrupt(_) => json!({ "fate": "corrupt" }),
            Opening::NotACredential(_) => json!({ "fate": "not_retell" }),
            other => panic!("{other:?}"),
        };
        Some((field.to_string(), shown))
    });
    fields.collect()
}

/// The result as the file has it, for the column as a whole where that is its fate.
fn expected(case: &Value) -> BTreeMap<String, Value> {
    let fate = |fate: &Value| json!({ "fate": fate });
    let expect = case["expect"].as_object().cloned().unwrap_or_default();
    let lost = case["lost"].as_object().cloned().unwrap_or_default();
    let lost = lost.into_iter().map(|(field, is)| (field, fate(&is)));
    expect.into_iter().chain(lost).collect()
}

#[test]
fn every_value_opens_to_what_was_stored_or_says_why_not() {
    let values = values();
    let cases = values["cases"].as_array().unwrap();
    let mut shapes = BTreeSet::new();
    for case in cases {
        let (id, column) = (&case["id"], case["column"].as_str().unwrap());
        let opened = match column.contains(',') {
            true => open(&Plaintext, column, &case["stored"]),
            false => open(&*carexps(case), column, &case["stored"]),
        };
        shapes.insert(case["shape"].as_str().unwrap());
        let results = shown(&opened);
        match &case["expect"] {
            Value::Object(_) => assert_eq!(results, expected(case), "{id}"),
            fate => {
                let is_right = |is: &Value| {
                    is == fate || case["expect_alt"].as_array().is_some_and(|all| all.contains(is))
                };
                let fates: Vec<_> = results.values().map(|result| result["fate"].clone()).collect();
                match opened.refused {
                    Some(_) => assert!(fates.is_empty() && is_right(&json!("not_retell")), "{id}"),
                    None => assert!(fates.len() == 1 && is_right(&fates[0]), "{id}: {fates:?}"),
                }
            }
        }
    }
    assert_eq!((cases.len(), shapes.len()), (88, 22));
}

#[test]
fn the_vault_takes_what_is_within_its_limits() {
    let (mut taken, mut rejected) = (0, Vec::new());
    for case in values()["cases"].as_array().unwrap() {
        let opened = open(&*carexps(case), case["column"].as_str().unwrap(), &case["stored"]);
        let values = opened.values(&Layout::new()).unwrap();
        if values.fields().next().is_none() {
            continue;
        }
        match RetellConfig::from_values(values) {
            Ok(_) => taken += 1,
            Err(error) => {
                let secret = case["expect"]["api_key"].as_str().unwrap();
                assert!(!format!("{error} {error:?}").contains(secret));
                rejected.push(case["id"].as_str().unwrap().to_owned());
            }
        }
    }
    let marked = |case: &&Value| case["vault_rejects"] == true;
    let values = values();
    let marked: Vec<_> =
        values["cases"].as_array().unwrap().iter().filter(marked).map(|case| &case["id"]).collect();
    assert_eq!(json!(rejected), json!(marked));
    assert!(taken > 50, "{taken}");
}

/// The places of one owner, in the order in which the application reads them.
#[test]
fn a_whole_save_is_put_together_from_its_places() {
    for save in values()["rows"].as_array().unwrap() {
        let decryptor = carexps(save);
        let mut found: BTreeMap<String, Value> = BTreeMap::new();
        for table in ["user_profiles", "user_settings"] {
            let columns = save["tables"][table].as_object().cloned().unwrap_or_default();
            for (column, stored) in columns.iter().filter(|(column, _)| is_credential(column)) {
                for (field, value) in shown(&open(&*decryptor, column, stored)) {
                    let first = found.entry(field).or_insert_with(|| value.clone());
                    assert_eq!(*first, value, "{}: two places disagree", save["id"]);
                }
            }
        }
        assert_eq!(json!(found), save["expect"], "{}", save["id"]);
    }
}

fn is_credential(column: &str) -> bool {
    field_of(column).is_some() || column.contains("config") || column.contains("keys")
}

/// What was not encrypted, or with a password that anyone can read, should be replaced.
#[test]
fn what_others_may_have_read_is_marked() {
    for case in values()["cases"].as_array().unwrap() {
        let opened = open(&*carexps(case), case["column"].as_str().unwrap(), &case["stored"]);
        for opening in opened.fields.values() {
            if let Opening::Opened(value) = opening {
                assert_eq!(value.is_exposed(), value.shape() != "plaintext", "{}", case["id"]);
            }
        }
    }
}

#[test]
fn nothing_that_is_printed_has_a_value_in_it() {
    for case in values()["cases"].as_array().unwrap() {
        let decryptor = carexps(case);
        let opened = open(&*decryptor, case["column"].as_str().unwrap(), &case["stored"]);
        let printed = format!("{opened:?} {decryptor:?} {:?}", opened.values(&Layout::new()));
        for value in shown(&opened).values().filter_map(Value::as_str).chain(case["password"].as_str()) {
            assert!(!printed.contains(value), "{}: {printed}", case["id"]);
        }
    }
}

#[test]
fn members_can_be_named() {
    let layout = Layout::new();
    let [key, agent] = ["api_key", "call_agent_id"].map(|name| name.parse::<Field>().unwrap());
    let members = Members::only(&layout, &[("voice.retell.key", key), ("voice.agent", agent)]).unwrap();
    let old = json!({ "api_key": "key_test_other", "voice": { "retell": { "key": "key_test_0001" }, "agent": null } });
    let opened = members.open(&Plaintext, "user-1", &old);
    assert_eq!(json!(shown(&opened)), json!({ "api_key": "key_test_0001" }));
    for (path, field) in [("", key), ("a..b", key), ("a", "voice_id".parse().unwrap())] {
        assert_eq!(Members::only(&layout, &[(path, field)]).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn two_members_for_one_field_must_agree() {
    let members = Members::of(&Layout::new());
    let open = |old: Value| json!(shown(&members.open(&Plaintext, "user-1", &old)));
    let same = json!({ "api_key": "key_test_0001", "retell_api_key": "key_test_0001" });
    assert_eq!(open(same), json!({ "api_key": "key_test_0001" }));
    let other = json!({ "api_key": "key_test_0001", "retell_api_key": "key_test_0002" });
    assert_eq!(open(other), json!({ "api_key": { "fate": "corrupt" } }));
}

/// The shapes of the browser application that have a ciphertext, each with a case that opens.
#[test]
fn a_wrong_password_an_altered_and_a_cut_off_value_are_told_apart() {
    let values = values();
    let cases = values["cases"].as_array().unwrap();
    for shape in ["text4", "gcm_prefix", "object_as_text", "object_in_retell_config"] {
        let opens = |case: &&Value| {
            case["shape"] == shape
                && !case["password"].is_null()
                && case["expect"]["api_key"].is_string()
                && case["lost"].is_null()
        };
        let case = cases.iter().find(opens).unwrap_or_else(|| panic!("{shape}"));
        let stored = match &case["stored"] {
            Value::String(text) => text.clone(),
            json => json["api_key"].as_str().map_or_else(|| json["api_key"].to_string(), str::to_owned),
        };
        let open = |decryptor: &Carexps, text: &str| {
            decryptor.open(&StoredValue::text(Field::named("api_key"), text))
        };
        let reason = |opening: Opening| match opening {
            Opening::Corrupt(refused) => refused.reason,
            other => panic!("{shape}: {other:?}"),
        };
        let right = carexps(case);
        assert!(matches!(open(&right, &stored), Opening::Opened(_)), "{shape}");
        let wrong = carexps(&json!({ "password": "not the password" }));
        assert!(reason(open(&wrong, &stored)).starts_with("no password opens it"), "{shape}");
        let (altered, cut) = match serde_json::from_str::<Map<String, Value>>(&stored) {
            Ok(object) => {
                let with = |member: &str, text: String| {
                    let mut object = object.clone();
                    object.insert(member.to_owned(), json!(text));
                    Value::Object(object).to_string()
                };
                let of = |member: &str| object[member].as_str().unwrap();
                (with("data", other_first(of("data"))), with("tag", of("tag")[..8].to_owned()))
            }
            Err(_) if shape == "gcm_prefix" => {
                let at = stored.len() - 12;
                (format!("{}{}", &stored[..at], other_first(&stored[at..])), stored[..40].to_owned())
            }
            Err(_) => (other_first(&stored), stored[..stored.len() / 2].to_owned()),
        };
        assert!(reason(open(&right, &altered)).starts_with("no password opens it"), "{shape}");
        assert!(reason(open(&right, &cut)).contains("cut off"), "{shape}");
    }
}

/// A text with another first character.
fn other_first(text: &str) -> String {
    let other = if text.starts_with('A') { 'B' } else { 'A' };
    format!("{other}{}", &text[1..])
}
