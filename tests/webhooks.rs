//! Webhook calls of Retell: the official SDKs' own cases, and what no call may do.

mod support;

use retell_vault::config::{ApiKey, WebhookConfig};
use retell_vault::webhooks::{SignedBy, Verified, WebhookOptions};
use retell_vault::{Error, ErrorKind, Owner, RetellConfig, Vault};
use serde_json::{Value, json};
use support::webhook::signed;

/// Bodies signed by Retell's SDKs, with the verdicts of three releases, which agree.
const CASES: &str = include_str!("webhooks/cases.json");
const KEY: &str = "key_test_webhooks_0000000000";
const AGENT: &str = "agent_test_webhooks_1";
const NOW: u64 = 1_795_000_000_000;

fn owner(user: &str) -> Owner {
    Owner::user(user).unwrap()
}

fn key(text: &str) -> ApiKey {
    text.parse().unwrap()
}

fn at(options: WebhookOptions) -> WebhookOptions {
    options.at(NOW)
}

/// Verifies a body that was signed with this key, for an owner that is known.
async fn verify_for(
    vault: &Vault,
    user: &str,
    signed_with: &str,
    body: &Value,
) -> Result<Verified, ErrorKind> {
    let body = body.to_string();
    let header = signed(signed_with, body.as_bytes(), NOW);
    let options = at(WebhookOptions::new()).of_owner(owner(user));
    let verified = vault.verify_webhook_with(body.as_bytes(), &header, options).await;
    verified.map_err(|error: Error| error.kind())
}

fn ended() -> Value {
    json!({ "event": "call_ended", "call": { "agent_id": AGENT, "call_id": "call_test_1" } })
}

#[tokio::test]
async fn the_cases_of_the_sdks_have_their_verdicts_for_an_owner_that_is_known() {
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let (vault, _faults) = Vault::in_memory().await.unwrap();
    let mut tried = 0;
    for case in cases["cases"].as_array().unwrap() {
        let text = |name: &str| case[name].as_str();
        vault.store(&owner("alice"), &RetellConfig::new(key(text("key").unwrap()))).await.unwrap();
        let options = WebhookOptions::new().of_owner(owner("alice")).at(case["now_ms"].as_u64().unwrap());
        let (body, header) = (text("body").unwrap().as_bytes(), text("header").unwrap());
        let verified = vault.verify_webhook_with(body, header, options).await;
        let expected = match text("expect").unwrap() {
            "ok" => Ok(()),
            "bad_signature" => Err(ErrorKind::Unverified),
            "expired" => Err(ErrorKind::Expired),
            "malformed" => Err(ErrorKind::InvalidInput),
            other => panic!("{other}"),
        };
        assert_eq!(verified.as_ref().map(drop).map_err(|error| error.kind()), expected, "{}", case["id"]);
        if let Ok(verified) = verified {
            assert_eq!(verified.event.as_deref(), text("event"));
            assert_eq!(verified.agent_id.as_ref().map(|id| id.expose_secret()), text("agent_id"));
            assert_eq!(verified.call_id.as_deref(), text("call_id"));
            assert_eq!(verified.chat_id.as_deref(), text("chat_id"));
            assert_eq!(verified.phone_number.as_ref().map(|number| number.as_str()), text("owner_number"));
            assert_eq!((verified.owner, verified.key), (owner("alice"), SignedBy::ApiKey));
        }
        tried += 1;
    }
    assert_eq!(tried, 12);
}

#[tokio::test]
async fn the_key_with_the_webhook_badge_signs_and_the_api_key_does_only_without_one() {
    let (vault, _faults) = Vault::in_memory().await.unwrap();
    let other = "key_test_webhook_badge_00000";
    let config = RetellConfig::new(key(KEY)).with_webhook_key(other.parse().unwrap());
    vault.store(&owner("alice"), &config).await.unwrap();
    vault.store(&owner("bob"), &RetellConfig::new(key("key_test_bob_000000000000"))).await.unwrap();
    let verified = verify_for(&vault, "alice", other, &ended()).await.unwrap();
    assert_eq!((verified.key, verified.signed_at), (SignedBy::WebhookKey, NOW));
    assert_eq!(verified.idempotency_key(), Some(("call_test_1", "call_ended")));
    assert_eq!(verify_for(&vault, "alice", KEY, &ended()).await.err(), Some(ErrorKind::Unverified));
    assert_eq!(verify_for(&vault, "bob", other, &ended()).await.err(), Some(ErrorKind::Unverified));

    // an unknown owner, an owner without a key, and a deleted owner are told like a wrong signature
    let agent = RetellConfig::empty().with_call_agent_id(AGENT.parse().unwrap());
    vault.store(&owner("carol"), &agent).await.unwrap();
    vault.delete(&owner("bob")).await.unwrap();
    for user in ["nobody", "carol", "bob"] {
        assert_eq!(
            verify_for(&vault, user, KEY, &ended()).await.err(),
            Some(ErrorKind::Unverified),
            "{user}"
        );
    }
    // a replaced key signs no more
    vault.store(&owner("alice"), &RetellConfig::new(key("key_test_replaced_0000000"))).await.unwrap();
    assert_eq!(verify_for(&vault, "alice", other, &ended()).await.err(), Some(ErrorKind::Unverified));
    assert!(verify_for(&vault, "alice", "key_test_replaced_0000000", &ended()).await.is_ok());
}

#[tokio::test]
async fn the_owners_events_decide_what_is_wanted() {
    let (vault, _faults) = Vault::in_memory().await.unwrap();
    let webhook = WebhookConfig::new("https://example.com/hook").unwrap();
    let some = webhook.clone().with_events(["call_ended", "from_the_future"]).unwrap();
    for (user, webhook) in [("none", None), ("all", Some(webhook)), ("some", Some(some))] {
        let mut config = RetellConfig::new(key(KEY));
        config.set_webhook_config(webhook);
        vault.store(&owner(user), &config).await.unwrap();
    }
    let event = |event: &str| json!({ "event": event, "call": { "agent_id": AGENT, "call_id": "c" } });
    for (name, wanted) in
        [("call_ended", true), ("call_started", false), ("from_the_future", true), ("another", false)]
    {
        for (user, wanted) in [("none", true), ("all", true), ("some", wanted)] {
            let verified = verify_for(&vault, user, KEY, &event(name)).await.unwrap();
            assert_eq!((verified.event.as_deref(), verified.is_wanted), (Some(name), wanted), "{user}");
        }
    }
    // what waits for an answer is never filtered
    for body in [
        json!({ "event": "call_inbound", "call_inbound": { "to_number": "+15550100001" } }),
        json!({ "event": "chat_inbound", "chat_inbound": { "to_number": "+15550100001" } }),
        json!({ "name": "look_up", "call": { "agent_id": AGENT }, "args": {} }),
        json!({ "city": "Berlin" }),
    ] {
        assert!(verify_for(&vault, "some", KEY, &body).await.unwrap().is_wanted, "{body}");
    }
}

#[tokio::test]
async fn what_retell_does_not_send_is_refused_before_anything_is_looked_up() {
    let (vault, _faults) = Vault::in_memory().await.unwrap();
    vault.store(&owner("alice"), &RetellConfig::new(key(KEY))).await.unwrap();
    let alice = || at(WebhookOptions::new()).of_owner(owner("alice"));
    let refused = async |body: &[u8], header: &str| {
        let error = vault.verify_webhook_with(body, header, alice()).await.unwrap_err();
        assert!(!format!("{error:?}").contains("4711"), "{error:?}");
        error.kind()
    };
    let valid = ended().to_string();
    let (_, digest) = signed(KEY, valid.as_bytes(), NOW)
        .split_once(",d=")
        .map(|(v, d)| (v.to_owned(), d.to_owned()))
        .unwrap();
    for header in [
        "4711".to_owned(),
        String::new(),
        format!("v={NOW},v={NOW},d={digest}"),
        format!("v=0{NOW},d={digest}"),
        format!("v={NOW},d={}", digest.to_uppercase()),
    ] {
        assert_eq!(refused(valid.as_bytes(), &header).await, ErrorKind::InvalidInput, "{header}");
    }
    let right = |body: &[u8]| signed(KEY, body, NOW);
    let twice = br#"{"event":"call_ended","event":"4711","call":{}}"#;
    let long = vec![b' '; (1 << 20) + 1];
    for body in [&twice[..], b"4711", b"", &long, b"\xff4711"] {
        assert_eq!(refused(body, &right(body)).await, ErrorKind::InvalidInput);
    }
    // all of them are refused by their form even where the signature is right; the longest body passes
    let spaces = [valid.as_bytes(), &vec![b' '; (1 << 20) - valid.len()]].concat();
    assert!(vault.verify_webhook_with(&spaces, &right(&spaces), alice()).await.is_ok());
}
