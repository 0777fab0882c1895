use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const CANARY: &str = "key_test_canary_00000000";

fn key<T: FromStr<Err = Error>>() -> T {
    CANARY.parse().unwrap()
}

fn full() -> RetellConfig {
    RetellConfig::new(key())
        .with_call_agent_id(key())
        .with_sms_agent_id(key())
        .with_agent("inbound", key())
        .unwrap()
        .with_webhook_key(key())
        .with_phone_number("+14155550100".parse().unwrap())
        .with_webhook_config(
            WebhookConfig::new("https://example.com/hook").unwrap().with_events(["b", "a"]).unwrap(),
        )
        .with_integration_status(IntegrationStatus::Active)
        .with_extra("voice_id", "a voice of canary".parse().unwrap())
        .unwrap()
}

/// What a user would see of an error that must be `InvalidInput`.
fn text_of<T>(result: Result<T>) -> String {
    let error = result.err().expect("it is refused");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let text = format!("{error} {error:?} {}", error.hint());
    assert!(!text.contains("canary"), "{text}");
    text
}

#[test]
fn what_was_set_is_there_and_can_be_cleared() {
    let mut config = full();
    assert_eq!(config.api_key().unwrap().expose_secret(), CANARY);
    assert_eq!(config.call_agent_id(), config.agent("call"));
    assert_eq!(config.sms_agent_id(), config.agent("sms"));
    assert_eq!(config.agents().map(|(role, _)| role).collect::<Vec<_>>(), ["call", "inbound", "sms"]);
    assert_eq!(config.webhook_key().unwrap().expose_secret(), CANARY);
    assert_eq!(config.phone_number().unwrap().as_str(), "+14155550100");
    assert_eq!(config.webhook_config().unwrap().events(), ["b", "a"]);
    assert_eq!(config.integration_status(), Some(IntegrationStatus::Active));
    assert_eq!(config.extra("voice_id").unwrap().expose_secret(), "a voice of canary");
    assert_eq!(config.extras().map(|(name, _)| name).collect::<Vec<_>>(), ["voice_id"]);

    config.set_api_key(None);
    config.set_call_agent_id(None);
    config.set_sms_agent_id(None);
    config.set_agent("inbound", None).unwrap();
    config.set_webhook_key(None);
    config.set_phone_number(None);
    config.set_webhook_config(None);
    config.set_integration_status(None);
    config.set_extra("voice_id", None).unwrap();
    assert_eq!(config, RetellConfig::empty());
    assert!(config.agent("inbound").is_none() && config.extra("voice_id").is_none());
    assert_eq!(config.to_values(), Values::new());
}

#[test]
fn call_and_sms_are_roles_like_any_other() {
    let config = RetellConfig::empty().with_agent("call", key()).unwrap().with_agent("sms", key()).unwrap();
    assert_eq!(config, RetellConfig::empty().with_call_agent_id(key()).with_sms_agent_id(key()));
}

#[test]
fn debug_is_masked_and_names_the_fields() {
    let text = format!("{:?}", full());
    assert!(!text.contains("canary"), "{text}");
    for shown in
        ["api_key: \"key_…0000\"", "inbound_agent_id: \"", "voice_id: \"", "+14155550100", "example.com"]
    {
        assert!(text.contains(shown), "{text}");
    }
}

#[test]
fn a_role_makes_a_field_name() {
    let longest = "r".repeat(31);
    for good in ["a", "call", "night_shift", "r2", &longest] {
        let config = RetellConfig::empty().with_agent(good, key()).unwrap();
        assert!(config.agent(good).is_some() && config.agents().next().unwrap().0 == good);
    }
    let too_long = "r".repeat(32);
    for bad in ["", "_", "Call", "9a", "out-bound", "canary key", "ü", &too_long] {
        let mut config = RetellConfig::empty();
        let text = text_of(config.set_agent(bad, Some(key())));
        assert!(text.contains("role") && (bad.len() < 3 || !text.contains(bad)), "{text}");
        assert!(config.agent(bad).is_none() && config == RetellConfig::empty());
    }
}

#[test]
fn an_extra_field_has_a_name_of_its_own() {
    let ours = table().each().map(|(field, _)| field.to_string()).collect::<Vec<_>>();
    let reserved = ["agents", "extra", "webhook_secret"].map(str::to_owned);
    for name in ours.into_iter().chain(reserved) {
        let text = text_of(RetellConfig::empty().with_extra(&name, key()));
        let shown = if name.ends_with(AGENT) { "ends with _agent_id" } else { &name };
        assert!(text.contains(shown) && text.contains("another name"), "{text}");
    }
    assert!(text_of(RetellConfig::empty().with_extra("canary_agent_id", key())).contains("_agent_id"));
    let too_long = "canary_".repeat(6);
    for bad in ["", "record", "Voice", "_voice", "9a", "canary-voice", "canary key", "ü", &too_long] {
        let mut config = RetellConfig::empty();
        assert!(text_of(config.set_extra(bad, Some(key()))).contains("field name"));
        assert!(config.extra(bad).is_none() && config == RetellConfig::empty());
    }
    assert!(RetellConfig::empty().with_extra("agent_id", key()).is_ok());
}

#[test]
fn a_configuration_needs_a_secret_and_has_at_most_64_fields() {
    let plain = RetellConfig::empty()
        .with_phone_number("+14155550100".parse().unwrap())
        .with_integration_status(IntegrationStatus::Active);
    for none in [RetellConfig::empty(), plain.clone()] {
        assert!(text_of(none.check()).contains("has no secret field: set api_key, an agent id"));
    }
    assert!(plain.clone().with_webhook_key(key()).check().is_ok());
    assert!(plain.clone().with_agent("inbound", key()).unwrap().check().is_ok());
    assert!(plain.clone().with_extra("voice_id", key()).unwrap().check().is_ok());

    let mut many = plain;
    for n in 0..31 {
        many.set_agent(&format!("role{n}"), Some(key())).unwrap();
        many.set_extra(&format!("extra{n}"), Some(key())).unwrap();
    }
    assert!(many.check().is_ok());
    many.set_api_key(Some(key()));
    assert!(text_of(many.check()).contains("more than 64 fields"));
}

#[test]
fn the_table_knows_the_fields_and_checks_plain_texts() {
    let table = table();
    table.check().unwrap();
    let named = table.each().map(|(field, _)| field).collect::<Vec<_>>();
    let ours =
        [API_KEY, CALL_AGENT_ID, SMS_AGENT_ID, WEBHOOK_KEY, PHONE_NUMBER, WEBHOOK_CONFIG, INTEGRATION_STATUS];
    assert_eq!(named, ours);
    let values = full().to_values();
    let is_valid = |field, json| (table.spec(field).unwrap().is_valid)(json);
    for (field, spec) in table.plain() {
        let json = values.get(field).unwrap();
        assert!(is_valid(field, json) && json.len() <= spec.longest, "{field}");
        for bad in [
            "",
            "null",
            "1",
            "\"\"",
            "{}",
            "\"+1\"",
            "\"enabled\"",
            "{\"webhook_url\":\"http://a.example/\"}",
        ] {
            assert!(!is_valid(field, bad), "{field} {bad}");
        }
    }
    assert!(!table.is_plain(Field::named("inbound_agent_id")) && !table.is_plain(Field::named("voice_id")));
}

#[test]
fn the_longest_values_fit_the_table() {
    // a backslash takes two bytes in JSON
    let backslashes = "\\".repeat(256);
    let events = (0..64).map(|n| format!("{n:0>64}"));
    let url = format!("https://example.com/{}", "u".repeat(2_028));
    let config = RetellConfig::new(backslashes.parse().unwrap())
        .with_webhook_key(backslashes.parse().unwrap())
        .with_call_agent_id("a".repeat(64).parse().unwrap())
        .with_agent("inbound", "a".repeat(64).parse().unwrap())
        .unwrap()
        .with_phone_number("+123456789012345".parse().unwrap())
        .with_integration_status(IntegrationStatus::NotConfigured)
        .with_webhook_config(WebhookConfig::new(&url).unwrap().with_events(events).unwrap());
    for (field, json) in config.to_values().iter() {
        let longest = table().spec(field).unwrap().longest;
        assert!(json.len() <= longest, "{field}: {} of {longest}", json.len());
    }
}

#[test]
fn values_that_a_field_cannot_hold_are_unsealable_and_not_repeated() {
    let bad = [
        ("api_key", "\"a canary\""),
        ("api_key", "[\"canary\"]"),
        ("inbound_agent_id", "\"a canary\""),
        ("webhook_key", "\"a canary\""),
        ("phone_number", "\"canary\""),
        ("integration_status", "\"canary\""),
        ("webhook_config", "\"canary\""),
        ("webhook_config", "{\"webhook_url\":\"http://canary.example\"}"),
        ("webhook_config", "{\"webhook_url\":\"https://a.example\",\"events\":\"canary\"}"),
        ("voice_id", "\"canary\\n\""),
        ("webhook_secret", "\"canary\""),
    ];
    for (name, json) in bad {
        let mut values = Values::new();
        values.put(Field::named(name), Some(Zeroizing::new(json.to_owned())));
        let error = RetellConfig::from_values(values).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsealable, "{name}");
        let text = format!("{error} {error:?} {}", error.hint());
        assert!(text.contains(name) && !text.contains("canary"), "{text}");
    }
}

#[test]
fn members_of_other_code_in_a_webhook_are_skipped() {
    let value = json!({ "webhook_url": "https://example.com/", "events": null, "other": [1] });
    assert_eq!(
        WebhookConfig::from_stored(&value.to_string()).unwrap().to_stored().as_str(),
        r#"{"events":[],"webhook_url":"https://example.com/"}"#
    );
    let nothing = json!({ "events": [] }).to_string();
    assert!(text_of(WebhookConfig::from_stored(&nothing)).contains("webhook_url is missing"));
}

#[test]
fn a_webhook_is_printed_as_any_json_value_is() {
    for url in ["https://example.com/", r#"https://example.com/a?b=\&c="\u{e9}"#] {
        let events = ["call_ended", "from_the_future"];
        let webhook = WebhookConfig::new(url).unwrap().with_events(events).unwrap();
        let mut values = Values::new();
        values.put_json(WEBHOOK_CONFIG, Some(&json!({ "webhook_url": webhook.url(), "events": events })));
        assert_eq!(values.get(WEBHOOK_CONFIG), Some(webhook.to_stored().as_str()));
        assert_eq!(WebhookConfig::from_stored(&webhook.to_stored()).unwrap(), webhook);
    }
}

prop_compose! {
    fn secrets()(
        api_key in option::of("[!-~]{1,256}"),
        webhook_key in option::of("[!-~]{1,40}"),
        agents in btree_map("call|sms|[a-z][a-z0-9_]{0,30}", "[A-Za-z0-9_-]{1,64}", 0..5),
        extra in btree_map("[a-z][a-z0-9_]{0,39}", "[ -~]{1,99}", 0..5),
    ) -> RetellConfig {
        let mut config = RetellConfig::empty();
        config.set_api_key(api_key.map(|key| key.parse().unwrap()));
        config.set_webhook_key(webhook_key.map(|key| key.parse().unwrap()));
        for (role, id) in &agents {
            config.set_agent(role, Some(id.parse().unwrap())).unwrap();
        }
        for (name, secret) in extra.iter().filter(|(name, _)| extra_field(name).is_ok()) {
            config.set_extra(name, Some(secret.parse().unwrap())).unwrap();
        }
        config
    }
}

prop_compose! {
    fn configs()(
        config in secrets(),
        phone in option::of("\\+[1-9][0-9]{6,14}"),
        webhook in option::of(("https://example\\.com/[ -~]{0,30}", prop::collection::vec("[A-Za-z0-9_.-]{1,64}", 0..4))),
        status in option::of(0..5_usize),
    ) -> RetellConfig {
        let mut config = config;
        config.set_phone_number(phone.map(|number| number.parse().unwrap()));
        config.set_webhook_config(webhook.map(|(url, events)| WebhookConfig::new(&url).unwrap().with_events(events).unwrap()));
        config.set_integration_status(status.map(|at| IntegrationStatus::ALL[at]));
        config
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_configuration_goes_into_values_and_json_and_comes_back(config in configs()) {
        prop_assert_eq!(&RetellConfig::from_values(config.to_values()).unwrap(), &config);
        let json = config.to_json_exposed();
        match config.check() {
            Ok(()) => prop_assert_eq!(&RetellConfig::from_json(&json).unwrap(), &config),
            Err(_) => prop_assert!(RetellConfig::from_json(&json).is_err()),
        }
        let masked: Value = serde_json::from_str(&config.to_json_masked()).unwrap();
        prop_assert!(masked.is_object());
    }
}
