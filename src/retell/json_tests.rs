use super::*;
use serde_json::json;

const CANARY: &str = "key_test_canary_00000000";

const FULL: &str = r#"{"api_key":"key_test_canary_00000000","call_agent_id":"agent_canary_call_00","sms_agent_id":"agent_canary_sms_00",
    "agents":{"inbound":"agent_canary_inbound"},"webhook_key":"key_test_canary_11111111","phone_number":"+14155550100",
    "webhook_config":{"webhook_url":"https://example.com/hook","events":["call_ended","later"]},
    "integration_status":"active","extra":{"voice_id":"a voice of canary"}}"#;

fn read(json: &str) -> RetellConfig {
    RetellConfig::from_json(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// What a user would see of the error. It must be `InvalidInput`, have a hint and repeat no canary.
fn refused(json: &str) -> String {
    let error = RetellConfig::from_json(json).err().unwrap_or_else(|| panic!("{json} is refused"));
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(!error.hint().is_empty());
    let text = format!("{error} {error:?} {}", error.hint());
    assert!(!text.contains("canary") && !text.contains("7415926535"), "{text}");
    text
}

fn assert_refused(json: &str, expected: &str) {
    let text = refused(json);
    assert!(text.contains(expected), "{text} for {expected}");
}

#[test]
fn json_goes_in_and_out() {
    let config = read(FULL);
    assert_eq!(config.call_agent_id().unwrap().expose_secret(), "agent_canary_call_00");
    assert_eq!(config.agent("inbound").unwrap().expose_secret(), "agent_canary_inbound");
    assert_eq!(config.extra("voice_id").unwrap().expose_secret(), "a voice of canary");
    let out = config.to_json_exposed();
    assert_eq!(read(&out), config);
    let [out, full]: [Value; 2] = [&out, FULL].map(|json| serde_json::from_str(json).unwrap());
    assert_eq!(out, full);
    // in this order: what people look for first comes first
    assert!(
        config.to_json_masked().starts_with(r#"{"api_key":"key_…0000","call_agent_id":"agent_…l_00","sms"#)
    );
}

#[test]
fn only_what_is_set_is_printed() {
    assert_eq!(RetellConfig::empty().to_json_exposed().as_str(), "{}");
    assert_eq!(read(r#"{"sms_agent_id":"a"}"#).to_json_exposed().as_str(), r#"{"sms_agent_id":"a"}"#);
    assert_eq!(read(r#"{"extra":{"x":"{"}}"#).to_json_exposed().as_str(), r#"{"extra":{"x":"{"}}"#);
    let two = r#"{"agents":{"a":"1","b":"2"},"extra":{"c":"3","d":"\"4\\"}}"#;
    assert_eq!(read(two).to_json_exposed().as_str(), two);
}

#[test]
fn masked_json_hides_every_secret() {
    let masked = read(FULL).to_json_masked();
    assert!(!masked.contains("canary"), "{masked}");
    for shown in [
        "key_…0000",
        "key_…1111",
        "+14155550100",
        "https://example.com/hook",
        "\"inbound\":",
        "\"voice_id\":",
    ] {
        assert!(masked.contains(shown), "{masked}");
    }
}

#[test]
fn null_means_not_set() {
    let config = read(
        r#"{"api_key":"key_test_0","call_agent_id":null,"agents":null,"extra":{"voice_id":null},"webhook_key":null,
        "phone_number":null,"webhook_config":null,"integration_status":null,"webhook_secret":null}"#,
    );
    assert_eq!(config, RetellConfig::new("key_test_0".parse().unwrap()));
    assert!(read(r#"{"call_agent_id":null,"agents":{"call":"a"}}"#).call_agent_id().is_some());
    assert!(read(r#"{"webhook_key":"k","webhook_config":{"secret":null,"webhook_url":"https://a.example","events":null}}"#)
        .webhook_config()
        .is_some());
}

#[test]
fn two_spellings_are_one_field() {
    let one = read(r#"{"call_agent_id":"a","inbound_agent_id":"b","webhook_key":"k"}"#);
    let other = [
        r#"{"agents":{"call":"a","inbound":"b"},"webhook_secret":"k"}"#,
        r#"{"agents":{"call":"a"},"inbound_agent_id":"b","webhook_config":{"secret":"k"}}"#,
        r#"{"call_agent_id":"a","agents":{"call":"a","inbound":"b"},"inbound_agent_id":"b",
            "webhook_key":"k","webhook_secret":"k","webhook_config":{"secret":"k"}}"#,
    ];
    for other in other {
        assert_eq!(read(other), one);
    }
}

#[test]
fn contradictions_name_the_field() {
    let long = "night_shift_of_the_canary";
    let bad = [
        (
            format!(r#"{{"call_agent_id":"{CANARY}","agents":{{"call":"other"}}}}"#),
            "call_agent_id: given twice",
        ),
        (
            format!(r#"{{"agents":{{"inbound":"{CANARY}"}},"inbound_agent_id":"x"}}"#),
            "inbound_agent_id: given twice",
        ),
        (format!(r#"{{"webhook_key":"{CANARY}","webhook_secret":"x"}}"#), "webhook_key: given twice"),
        (
            format!(r#"{{"webhook_secret":"{CANARY}","webhook_config":{{"secret":"x"}}}}"#),
            "webhook_key: given twice",
        ),
        (
            format!(r#"{{"webhook_config":{{"secret":"x"}},"webhook_key":"{CANARY}"}}"#),
            "webhook_key: given twice",
        ),
        (
            format!(r#"{{"agents":{{"{long}":"a"}},"{long}_agent_id":"b"}}"#),
            "an agent with a long role: given twice",
        ),
    ];
    for (json, expected) in bad {
        assert_refused(&json, expected);
    }
}

#[test]
fn a_member_twice_is_refused_even_with_equal_values() {
    assert_refused(&format!(r#"{{"api_key":"{CANARY}","api_key":"{CANARY}"}}"#), "duplicate field `api_key`");
    assert_refused(r#"{"api_key":null,"api_key":"k"}"#, "duplicate field `api_key`");
    assert_refused(r#"{"agents":{"in":"a","in":"a"}}"#, "duplicate field `in`");
    assert_refused(r#"{"extra":{"x":"a","\u0078":"a"}}"#, "duplicate field `x`");
    assert_refused(r#"{"webhook_config":{"secret":"a","secret":"a"}}"#, "duplicate field `secret`");
    assert_refused(&format!(r#"{{"{CANARY}":"a","{CANARY}":"a"}}"#), "duplicate field with a long name");
}

#[test]
fn unknown_members_are_named_where_that_is_safe() {
    let with = |member: &str| format!(r#"{{"api_key":"{CANARY}",{member}}}"#);
    let bad = [
        (with(r#""apikey2":"x""#), "unknown field `apikey2`, did you mean api_key?"),
        (with(r#""callAgentId":null"#), "unknown field `callAgentId`, did you mean call_agent_id?"),
        (with(r#""phone":"x""#), "did you mean phone_number?"),
        (with(r#""colour":"x""#), "the configuration: unknown field `colour`"),
        (with(r#""record":"x""#), "unknown field `record`"),
        (with(r#""":"x""#), "unknown field ``"),
        (with(r#""12345678901234567890":"x""#), "unknown field `12345678901234567890`"),
        (with(r#""123456789012345678901":"x""#), "unknown field, member 2, whose name is not shown"),
        (with(&format!(r#""{CANARY}":"x""#)), "unknown field, member 2, whose name is not shown"),
        (with(r#""canäry\n":"x""#), "member 2"),
        (
            with(r#""webhook_config":{"webhook_url":"https://a.example","url":"x"}"#),
            "webhook_config: unknown field `url`",
        ),
        (with(&format!(r#""webhook_config":{{"{CANARY}":"x"}}"#)), "webhook_config: unknown field, member 1"),
    ];
    for (json, expected) in bad {
        assert_refused(&json, expected);
        assert!(refused(&json).contains("the shape is"));
    }
    assert!(!refused(&with(r#""colour":"x""#)).contains("did you mean"));
}

#[test]
fn roles_and_extra_names_are_field_names_of_their_own() {
    let bad = [
        (r#"{"agents":{"Inbound":"a"}}"#.to_owned(), "agents.Inbound: the role"),
        (r#"{"agents":{"":"a"}}"#.to_owned(), "agents.: the role"),
        (r#"{"agents":{"BAD":null}}"#.to_owned(), "agents.BAD: the role"),
        (format!(r#"{{"agents":{{"a":"a","{CANARY}_is_too_long":"a"}}}}"#), "agents, member 2: the role"),
        (r#"{"Inbound_agent_id":"a"}"#.to_owned(), "unknown field `Inbound_agent_id`"),
        (r#"{"_agent_id":"a"}"#.to_owned(), "unknown field `_agent_id`"),
        (r#"{"extra":{"Voice":"a"}}"#.to_owned(), "extra.Voice: a field name"),
        (r#"{"extra":{"record":"a"}}"#.to_owned(), "extra.record: a field name"),
        (format!(r#"{{"extra":{{"{CANARY} ":"a"}}}}"#), "extra, member 1: a field name"),
        (r#"{"extra":{"api_key":"a"}}"#.to_owned(), "extra.api_key: api_key cannot"),
        (r#"{"extra":{"phone_number":null}}"#.to_owned(), "extra.phone_number: phone_number cannot"),
        (r#"{"extra":{"in_agent_id":"a"}}"#.to_owned(), "extra.in_agent_id: a name that ends with _agent_id"),
        (r#"{"extra":{"webhook_secret":"a"}}"#.to_owned(), "extra.webhook_secret: webhook_secret cannot"),
        (r#"{"extra":{"agents":"a"}}"#.to_owned(), "extra.agents: agents cannot"),
        (r#"{"extra":{"extra":"a"}}"#.to_owned(), "extra.extra: extra cannot"),
    ];
    for (json, expected) in bad {
        assert_refused(&json, expected);
    }
}

#[test]
fn bad_values_name_the_field() {
    let bad = [
        (format!(r#"{{"api_key":"{CANARY} "}}"#), "api_key: must be 1 to 256"),
        (format!(r#"{{"call_agent_id":"{CANARY}!"}}"#), "call_agent_id: must be 1 to 64"),
        (format!(r#"{{"agents":{{"inbound":"{CANARY}!"}}}}"#), "inbound_agent_id: must be 1 to 64"),
        (format!(r#"{{"webhook_secret":"{CANARY} "}}"#), "webhook_key: must be 1 to 256"),
        (format!(r#"{{"extra":{{"voice_id":"{CANARY}\n"}}}}"#), "extra.voice_id: must be 1 to 1024"),
        (format!(r#"{{"extra":{{"{CANARY}":""}}}}"#), "an extra field with a long name: must be 1 to 1024"),
        (format!(r#"{{"api_key":"{CANARY}","phone_number":"canary"}}"#), "phone_number: must start with +"),
        (
            format!(r#"{{"api_key":"{CANARY}","integration_status":"{CANARY}"}}"#),
            "integration_status: must be one of",
        ),
    ];
    for (json, expected) in bad {
        assert_refused(&json, expected);
    }
    let wrong_types =
        ["[\"key_test_canary\"]", "{\"a\":\"canary\"}", "7415926535", "-7415926535", "7415926535.5", "true"];
    for value in wrong_types {
        assert_refused(&format!(r#"{{"api_key":{value}}}"#), "api_key: must be a string");
        assert_refused(
            &format!(r#"{{"agents":{{"inbound":{value}}}}}"#),
            "inbound_agent_id: must be a string",
        );
        assert_refused(&format!(r#"{{"extra":{{"voice_id":{value}}}}}"#), "extra.voice_id: must be a string");
    }
    for group in ["agents", "extra", "webhook_config"] {
        for value in ["\"canary\"", "[]", "7415926535", "false"] {
            assert_refused(&format!(r#"{{"{group}":{value}}}"#), &format!("{group}: must be an object"));
        }
    }
}

#[test]
fn a_webhook_needs_an_address_unless_there_is_only_a_key() {
    let alone = read(r#"{"webhook_config":{"secret":"whsec_test_00000000"}}"#);
    assert!(alone.webhook_config().is_none());
    assert_eq!(alone.webhook_key().unwrap().expose_secret(), "whsec_test_00000000");
    assert_eq!(alone.to_json_exposed().as_str(), r#"{"webhook_key":"whsec_test_00000000"}"#);
    let with = |webhook: &str| format!(r#"{{"api_key":"{CANARY}","webhook_config":{webhook}}}"#);
    let bad = [
        ("{}", "webhook_config: webhook_url is missing"),
        (r#"{"secret":null}"#, "webhook_url is missing"),
        (r#"{"events":[],"secret":"a"}"#, "webhook_url is missing"),
        (r#"{"webhook_url":1}"#, "webhook_config.webhook_url: must be a string"),
        (
            r#"{"webhook_url":"http://canary.example/"}"#,
            "webhook_config: webhook_url: must be an https address",
        ),
        (r#"{"webhook_url":"https://u:canary@a.example/"}"#, "webhook_config: webhook_url: must not hold"),
        (
            r#"{"webhook_url":"https://a.example/","events":"canary"}"#,
            "webhook_config.events: must be a list",
        ),
        (r#"{"webhook_url":"https://a.example/","events":["a",1]}"#, "webhook_config.events: must be a list"),
        (r#"{"webhook_url":"https://a.example/","events":["a canary"]}"#, "events: an event must be"),
    ];
    for (webhook, expected) in bad {
        assert_refused(&with(webhook), expected);
    }
}

#[test]
fn an_input_without_a_secret_is_refused() {
    for json in
        ["{}", "null", r#"{"api_key":null}"#, r#"{"phone_number":"+14155550100","agents":{},"extra":{}}"#]
    {
        assert_refused(json, "has no secret field: set api_key");
    }
}

#[test]
fn what_is_not_a_json_object_is_refused() {
    assert_refused("[]", "the configuration: must be an object");
    assert_refused(&format!("\"{CANARY}\""), "the configuration: must be an object");
    assert_refused(&format!(r#"{{"api_key":"{CANARY}""#), "not complete JSON");
    assert_refused("", "not complete JSON");
    assert_refused(&format!(r#""{CANARY}"#), "JSON");
    assert_refused(CANARY, "is not JSON, at line 1");
    assert_refused(&format!(r#"{{"api_key":"{CANARY}"}} {CANARY}"#), "is not JSON");
    assert_refused(&"[".repeat(1_000), "is not JSON");
    assert_refused(&" ".repeat(MAX_JSON + 1), "256 KiB");
}

#[test]
fn there_are_at_most_64_fields() {
    let agents = |count: usize| (0..count).map(|n| format!(r#""r{n}":"a""#)).collect::<Vec<_>>().join(",");
    let with = |count: usize| format!(r#"{{"agents":{{{}}},"extra":{{"voice_id":"x"}}}}"#, agents(count));
    let largest = read(&with(63));
    assert_eq!(read(&largest.to_json_exposed()), largest);
    assert_refused(&with(64), "the configuration has more than 64 fields");
    assert_refused(&with(65), "an object with more than 64 fields");
}

#[test]
fn wiping_leaves_no_text() {
    let mut value = json!({ "a": ["canary", { "b": "canary" }], "c": 1 });
    wipe(&mut value);
    assert_eq!(value, json!({ "a": ["", { "b": "" }], "c": 1 }));
}

#[test]
fn a_webhook_has_a_json_form_of_its_own() {
    let json = r#"{"webhook_url":"https://example.com/hook","events":["call_ended","later"]}"#;
    assert_eq!(&WebhookConfig::from_json(json).unwrap(), read(FULL).webhook_config().unwrap());
    let without_events = WebhookConfig::from_json(r#"{"webhook_url":"https://example.com/hook"}"#).unwrap();
    assert!(without_events.events().is_empty());
    for (bad, expected) in [
        ("null".to_owned(), "webhook_config: webhook_url is missing"),
        ("{}".to_owned(), "webhook_config: webhook_url is missing"),
        (format!("\"{CANARY}\""), "webhook_config: must be an object"),
        (CANARY.to_owned(), "webhook_config is not JSON"),
        (format!(r#"{{"webhook_url":"https://{CANARY}@example.com"}}"#), "must not hold a user name"),
        (json.replace('}', &format!(r#","secret":"{CANARY}"}}"#)), "has its own field"),
        (" ".repeat(MAX_JSON) + json, "webhook_config is longer than 256 KiB"),
    ] {
        let error = WebhookConfig::from_json(&bad).expect_err(expected);
        let text = format!("{error} {error:?}");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(text.contains(expected) && !text.contains("canary"), "{text}");
    }
}
