//! Webhook calls of Retell: the official SDKs' own cases, and what no call may do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use retell_vault::config::{ApiKey, WebhookConfig};
use retell_vault::connection::Timeouts;
use retell_vault::rotation::IndexOptions;
use retell_vault::testing::Fault;
use retell_vault::webhooks::{SignedBy, Verified, WebhookOptions};
use retell_vault::{Error, ErrorKind, Owner, RetellConfig, Vault};
use serde_json::{Value, json};

use crate::support::TestDb;
use crate::support::faults::BOUND;
use crate::support::vaults::Hosts;
use crate::support::webhook::{INDEX, signed};

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
    assert_eq!(verified.idempotency_key(), Some((&owner("alice"), "call_test_1", "call_ended")));
    let many =
        json!({ "event": "transcript_updated", "call": { "agent_id": AGENT, "call_id": "call_test_1" } });
    assert_eq!(verify_for(&vault, "alice", other, &many).await.unwrap().idempotency_key(), None);
    let chat = json!({ "event": "chat_ended", "chat": { "agent_id": AGENT, "chat_id": "chat_test_1" } });
    let chat = verify_for(&vault, "alice", other, &chat).await.unwrap();
    assert_eq!(chat.idempotency_key(), Some((&owner("alice"), "chat_test_1", "chat_ended")));
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

// --- The owner is looked up ---

const TABLE: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text,
    encrypted_call_agent_id text, encrypted_sms_agent_id text, encrypted_agent_config jsonb)";

async fn stage() -> (TestDb, Hosts, Vault) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(TABLE).await;
    db.exec(INDEX).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    (db, hosts, vault)
}

/// The key of a user who has one of their own.
fn key_of(user: &str) -> String {
    format!("key_test_of_{user}_0000000000")
}

fn with_agent(user: &str, agent: &str) -> RetellConfig {
    RetellConfig::new(key(&key_of(user))).with_call_agent_id(agent.parse().unwrap())
}

fn call_of(agent: &str) -> Value {
    json!({ "event": "call_ended", "call": { "agent_id": agent, "call_id": "call_test_1" } })
}

/// Whose call it is, if it was signed with this key now.
async fn owner_of(vault: &Vault, signed_with: &str, body: &Value) -> Result<String, ErrorKind> {
    refusal_or_owner(vault, signed_with, body).await.map_err(|error| error.kind())
}

async fn refusal_or_owner(vault: &Vault, signed_with: &str, body: &Value) -> Result<String, Error> {
    let body = body.to_string();
    let header = signed(signed_with, body.as_bytes(), NOW);
    let verified = vault.verify_webhook_with(body.as_bytes(), &header, at(WebhookOptions::new())).await?;
    Ok(verified.owner.user_id().as_str().to_owned())
}

#[tokio::test]
async fn the_cases_of_the_sdks_find_their_owner() {
    let (_db, _hosts, vault) = stage().await;
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let mut users = std::collections::BTreeMap::new();
    for (secret, owned) in cases["owners"].as_object().unwrap() {
        let mut config = RetellConfig::new(key(secret));
        for (at, agent) in owned["agents"].as_array().unwrap().iter().enumerate() {
            config.set_agent(&format!("role{at}"), Some(agent.as_str().unwrap().parse().unwrap())).unwrap();
        }
        config.set_phone_number(Some(owned["numbers"][0].as_str().unwrap().parse().unwrap()));
        let user = format!("user-{}", users.len());
        vault.store(&owner(&user), &config).await.unwrap();
        users.insert(secret.clone(), user);
    }
    for case in cases["cases"].as_array().unwrap() {
        let text = |name: &str| case[name].as_str();
        let options = WebhookOptions::new().at(case["now_ms"].as_u64().unwrap());
        let (body, header) = (text("body").unwrap().as_bytes(), text("header").unwrap());
        let verified = vault.verify_webhook_with(body, header, options).await;
        let verdict = match &verified {
            Ok(verified) => {
                assert_eq!(verified.owner.user_id().as_str(), users[text("key").unwrap()], "{}", case["id"]);
                "ok"
            }
            Err(error) => match error.kind() {
                ErrorKind::Unverified => "bad_signature",
                ErrorKind::Expired => "expired",
                ErrorKind::InvalidInput => "malformed",
                _ => panic!("{error:?}"),
            },
        };
        assert_eq!(Some(verdict), text("expect"), "{}", case["id"]);
    }
}

#[tokio::test]
async fn the_key_that_signed_decides_whose_call_it_is() {
    let (_db, _hosts, vault) = stage().await;
    for user in ["alice", "bob"] {
        vault.store(&owner(user), &with_agent(user, AGENT)).await.unwrap();
        vault.store(&owner(&format!("other-{user}")), &with_agent(user, "agent_test_shared")).await.unwrap();
    }
    vault.store(&owner("same-key"), &with_agent("alice", "agent_test_shared")).await.unwrap();
    for user in ["alice", "bob"] {
        assert_eq!(owner_of(&vault, &key_of(user), &call_of(AGENT)).await.as_deref(), Ok(user));
    }
    let shared = call_of("agent_test_shared");
    assert_eq!(owner_of(&vault, &key_of("bob"), &shared).await.as_deref(), Ok("other-bob"));
    assert_eq!(owner_of(&vault, &key_of("alice"), &shared).await, Err(ErrorKind::Ambiguous));

    // one answer for an unknown agent, for a text that is no agent, and for a wrong signature
    let wrong = refusal_or_owner(&vault, "key_test_of_nobody", &call_of(AGENT)).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Unverified);
    for agent in ["agent_test_unknown", "no agent", "", "agent'; DROP TABLE user_profiles --"] {
        let unknown = refusal_or_owner(&vault, &key_of("alice"), &call_of(agent)).await.unwrap_err();
        assert_eq!(unknown, wrong, "{agent}");
    }
    for body in
        [json!({}), json!({ "event": "call_ended", "call": {} }), json!({ "args": { "agent_id": AGENT } })]
    {
        assert_eq!(owner_of(&vault, &key_of("alice"), &body).await, Err(ErrorKind::InvalidInput), "{body}");
    }
}

#[tokio::test]
async fn a_call_without_a_known_agent_is_found_by_the_number_of_the_account() {
    let (_db, _hosts, vault) = stage().await;
    let config = with_agent("alice", AGENT).with_phone_number("+15550100001".parse().unwrap());
    vault.store(&owner("alice"), &config).await.unwrap();
    let calls = |agent: Option<&str>| {
        let call = json!({ "agent_id": agent, "from_number": "+15550199999", "to_number": "+15550100001" });
        let mut outbound = call.clone();
        outbound["direction"] = "outbound".into();
        [outbound["from_number"], outbound["to_number"]] = ["+15550100001".into(), "+15550199999".into()];
        [
            json!({ "event": "call_inbound", "call_inbound": call }),
            json!({ "event": "chat_inbound", "chat_inbound": call }),
            json!({ "event": "call_ended", "call": call }),
            json!({ "event": "call_ended", "call": outbound }),
        ]
    };
    for body in
        calls(None).iter().chain(&calls(Some("agent_test_unknown"))).chain(&calls(Some("not an agent")))
    {
        assert_eq!(owner_of(&vault, &key_of("alice"), body).await.as_deref(), Ok("alice"), "{body}");
        assert_eq!(owner_of(&vault, &key_of("bob"), body).await, Err(ErrorKind::Unverified), "{body}");
    }
    // the number of the other side names nobody
    let other = json!({ "call": { "to_number": "+15550199999", "from_number": "+15550100001" } });
    assert_eq!(owner_of(&vault, &key_of("alice"), &other).await, Err(ErrorKind::Unverified));
}

#[tokio::test]
async fn nobody_crowds_an_owner_out_by_storing_their_agent() {
    let (_db, _hosts, vault) = stage().await;
    vault.store(&owner("victim"), &with_agent("victim", AGENT)).await.unwrap();
    assert_eq!(owner_of(&vault, &key_of("victim"), &call_of(AGENT)).await.as_deref(), Ok("victim"));
    for n in 0..40 {
        let user = format!("attacker-{n}");
        vault.store(&owner(&user), &with_agent(&user, AGENT)).await.unwrap();
    }
    // the one who was verified last is tried whatever the index returns
    assert_eq!(owner_of(&vault, &key_of("victim"), &call_of(AGENT)).await.as_deref(), Ok("victim"));
    let (mut verified, mut told) = (0, 0);
    for n in 0..40 {
        let user = format!("attacker-{n}");
        match owner_of(&vault, &key_of(&user), &call_of(AGENT)).await {
            Ok(found) => {
                assert_eq!(found, user);
                verified += 1;
            }
            Err(kind) => {
                assert_eq!(kind, ErrorKind::Ambiguous, "{user}");
                told += 1;
            }
        }
    }
    assert!(verified >= 31 && told > 0, "{verified} {told}");
    // and stays the first after others were verified
    assert_eq!(owner_of(&vault, &key_of("victim"), &call_of(AGENT)).await.as_deref(), Ok("victim"));
    // a call that nobody signed is not told apart from one of an owner who was not tried
    assert_eq!(owner_of(&vault, "key_test_of_nobody", &call_of(AGENT)).await, Err(ErrorKind::Ambiguous));
}

#[tokio::test]
async fn an_index_that_others_changed_finds_nobody_wrong() {
    let (db, _hosts, vault) = stage().await;
    for user in ["alice", "bob"] {
        vault.store(&owner(user), &with_agent(user, &format!("agent_test_{user}"))).await.unwrap();
    }
    let [alice, bob] = ["alice", "bob"].map(|user| (key_of(user), call_of(&format!("agent_test_{user}"))));
    db.exec(
        "UPDATE user_profiles AS t SET retell_vault_index = o.retell_vault_index FROM user_profiles AS o WHERE t.user_id <> o.user_id",
    )
    .await;
    assert_eq!(owner_of(&vault, &alice.0, &alice.1).await, Err(ErrorKind::Unverified));
    assert_eq!(owner_of(&vault, &bob.0, &alice.1).await, Err(ErrorKind::Unverified));
    // all entries in all rows: a genuine call is found again, and still nobody else
    db.exec(
        "UPDATE user_profiles SET retell_vault_index =
            (SELECT array_agg(entry) FROM user_profiles AS o, unnest(o.retell_vault_index) AS entry)",
    )
    .await;
    assert_eq!(owner_of(&vault, &alice.0, &alice.1).await.as_deref(), Ok("alice"));
    assert_eq!(owner_of(&vault, &bob.0, &alice.1).await, Err(ErrorKind::Unverified));
    // sealed tokens of another row do not open here
    db.exec(
        "UPDATE user_profiles AS t SET encrypted_retell_api_key = o.encrypted_retell_api_key FROM user_profiles AS o
        WHERE t.user_id = 'alice' AND o.user_id = 'bob'",
    )
    .await;
    assert_eq!(owner_of(&vault, &bob.0, &alice.1).await, Err(ErrorKind::Unverified));
}

#[tokio::test]
async fn a_changed_moved_or_deleted_record_verifies_as_it_is_now() {
    let (_db, _hosts, vault) = stage().await;
    let call = call_of(AGENT);
    vault.store(&owner("alice"), &with_agent("alice", AGENT)).await.unwrap();
    assert_eq!(owner_of(&vault, &key_of("alice"), &call).await.as_deref(), Ok("alice"));
    vault.store(&owner("alice"), &with_agent("new", AGENT)).await.unwrap();
    assert_eq!(owner_of(&vault, &key_of("alice"), &call).await, Err(ErrorKind::Unverified));
    assert_eq!(owner_of(&vault, &key_of("new"), &call).await.as_deref(), Ok("alice"));

    vault.rename_owner(&owner("alice"), &owner("alicia")).await.unwrap();
    assert_eq!(owner_of(&vault, &key_of("new"), &call).await.as_deref(), Ok("alicia"));
    vault.store(&owner("alicia"), &with_agent("new", "agent_test_another")).await.unwrap();
    assert_eq!(
        owner_of(&vault, &key_of("new"), &call).await,
        Err(ErrorKind::Unverified),
        "the agent is gone"
    );
    vault.delete(&owner("alicia")).await.unwrap();
    assert_eq!(
        owner_of(&vault, &key_of("new"), &call_of("agent_test_another")).await,
        Err(ErrorKind::Unverified)
    );
}

#[tokio::test]
async fn made_up_agents_are_limited_and_do_not_stop_known_ones() {
    let (db, hosts, _) = stage().await;
    // on a busy machine some of so many calls wait for a connection for longer than by default
    let patient = Timeouts { connect: BOUND, operation: BOUND };
    let vault = hosts.host(1, &db.url).timeouts(patient).build().await.unwrap();
    for user in ["alice", "bob"] {
        vault.store(&owner(user), &with_agent(user, &format!("agent_test_{user}"))).await.unwrap();
    }
    let known =
        async |user: &str| owner_of(&vault, &key_of(user), &call_of(&format!("agent_test_{user}"))).await;
    assert_eq!(known("alice").await.as_deref(), Ok("alice"));
    let unknown = (0..1_500).map(|n| {
        let vault = vault.clone();
        tokio::spawn(async move {
            owner_of(&vault, "key_test_of_nobody", &call_of(&format!("agent_test_{n}"))).await
        })
    });
    let mut answers = std::collections::BTreeMap::new();
    for answer in unknown.collect::<Vec<_>>() {
        *answers.entry(answer.await.unwrap().unwrap_err().as_str()).or_insert(0) += 1;
    }
    assert!(answers["unverified"] >= 500 && answers["busy"] >= 1, "{answers:?}");
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_eq!(known("alice").await.as_deref(), Ok("alice"));
    // who was not verified before waits until Retell sends the call again
    let bob = loop {
        match known("bob").await {
            Err(kind) => assert_eq!(kind, ErrorKind::Busy),
            found => break found,
        }
    };
    assert_eq!(bob.as_deref(), Ok("bob"));
}

/// A caller who comes after an outage has paid for none of the calls that it failed.
#[tokio::test]
async fn look_ups_that_an_outage_failed_use_up_nothing() {
    let (vault, faults) = Vault::in_memory().await.unwrap();
    vault.store(&owner("alice"), &with_agent("alice", AGENT)).await.unwrap();
    faults.switch_on(Fault::Error(ErrorKind::Unavailable));
    for _ in 0..2_000 {
        let refused = owner_of(&vault, &key_of("alice"), &call_of(AGENT)).await;
        assert_eq!(refused, Err(ErrorKind::Unavailable));
    }
    faults.clear();
    assert_eq!(owner_of(&vault, &key_of("alice"), &call_of(AGENT)).await.as_deref(), Ok("alice"));
}

/// A database that does not keep up is not asked without a limit.
#[tokio::test]
async fn look_ups_that_a_busy_database_failed_are_limited() {
    let (vault, faults) = Vault::in_memory().await.unwrap();
    faults.switch_on(Fault::Error(ErrorKind::Busy));
    let mut limited = false;
    for _ in 0..20_000 {
        let refused = refusal_or_owner(&vault, &key_of("alice"), &call_of(AGENT)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Busy);
        if refused.to_string().contains("too many webhook calls") {
            limited = true;
            break;
        }
    }
    assert!(limited);
}

/// Whoever knows an agent of many owners could have all of their records opened by each call.
#[tokio::test]
async fn wrong_signatures_for_an_agent_of_many_owners_are_limited() {
    const OTHER: &str = "agent_test_of_two";
    let (vault, _) = Vault::in_memory().await.unwrap();
    for n in 0..10 {
        let user = format!("user-{n}");
        // two of them have one key
        let key_of_whom = if n == 8 { "user-2" } else { &user };
        vault.store(&owner(&user), &with_agent(key_of_whom, AGENT)).await.unwrap();
    }
    for user in ["alice", "bob"] {
        vault.store(&owner(user), &with_agent(user, OTHER)).await.unwrap();
    }
    let call = async |user: &str, agent: &str| owner_of(&vault, &key_of(user), &call_of(agent)).await;
    assert_eq!(call("user-7", AGENT).await.as_deref(), Ok("user-7"));

    let wrong_until_limited = async || {
        for n in 0..10_000 {
            match call("nobody", AGENT).await {
                Err(ErrorKind::Unverified) => {}
                refused => {
                    assert_eq!(refused, Err(ErrorKind::Busy));
                    return n;
                }
            }
        }
        panic!("no call was limited");
    };
    assert!(wrong_until_limited().await >= 100);
    // the owner who was verified before, and agents of few owners, are not
    assert_eq!(call("user-7", AGENT).await.as_deref(), Ok("user-7"));
    wrong_until_limited().await;
    assert_eq!(call("nobody", OTHER).await, Err(ErrorKind::Unverified));
    for user in ["alice", "bob"] {
        assert_eq!(call(user, OTHER).await.as_deref(), Ok(user));
    }
    // a key that one of the few has is still compared with all of them
    wrong_until_limited().await;
    assert_eq!(call("user-2", AGENT).await, Err(ErrorKind::Ambiguous));
    // another owner gets through when Retell sends the call again
    let mut again = 0;
    while let Err(kind) = call("user-9", AGENT).await {
        assert_eq!(kind, ErrorKind::Busy);
        again += 1;
        assert!(again < 1_000, "it is refused for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_the_index_cannot_answer_is_told_as_such() {
    let (db, _hosts, vault) = stage().await;
    vault.store(&owner("alice"), &with_agent("alice", AGENT)).await.unwrap();
    vault.store(&owner("bob"), &with_agent("bob", "agent_test_bob")).await.unwrap();
    // as a program that does not know the index leaves it
    db.exec("UPDATE user_profiles SET retell_vault_index = NULL WHERE user_id = 'bob'").await;
    assert_eq!(owner_of(&vault, &key_of("alice"), &call_of(AGENT)).await.as_deref(), Ok("alice"));
    let missed = owner_of(&vault, &key_of("bob"), &call_of("agent_test_bob")).await;
    assert_eq!(missed, Err(ErrorKind::IndexIncomplete));
    let known_agent = owner_of(&vault, &key_of("bob"), &call_of(AGENT)).await;
    assert_eq!(
        known_agent,
        Err(ErrorKind::IndexIncomplete),
        "the owner who signed it may not be indexed yet"
    );
    assert!(!vault.build_index(&IndexOptions::new(), |_| {}).await.unwrap().rows.eq(&0));
    assert_eq!(owner_of(&vault, &key_of("bob"), &call_of("agent_test_bob")).await.as_deref(), Ok("bob"));

    db.exec("ALTER TABLE user_profiles DROP COLUMN retell_vault_index").await;
    vault.redetect().await.unwrap();
    assert_eq!(owner_of(&vault, &key_of("alice"), &call_of(AGENT)).await, Err(ErrorKind::NotIndexed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_genuine_call_is_refused_while_the_key_of_the_index_is_replaced() {
    const OWNERS: usize = 200;
    let (db, hosts, vault) = stage().await;
    let call = |n: usize| (format!("user-{n}"), format!("agent_test_rotated_{n}"));
    let all: Vec<_> =
        (0..OWNERS).map(call).map(|(user, agent)| (owner(&user), with_agent(&user, &agent))).collect();
    vault.store_many(&all).await.unwrap().into_iter().for_each(|stored| drop(stored.unwrap()));
    let other = hosts.host(1, &db.url).build().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let callers = [vault.clone(), other].map(|vault| {
        let stop = stop.clone();
        tokio::spawn(async move {
            let mut verified = 0;
            while !stop.load(Ordering::Relaxed) {
                let (user, agent) = call(verified * 7 % OWNERS);
                let found = owner_of(&vault, &key_of(&user), &call_of(&agent)).await;
                assert_eq!(found.as_deref(), Ok(user.as_str()), "after {verified} calls");
                verified += 1;
            }
            verified
        })
    });
    for _ in 0..2 {
        let options = IndexOptions::new().batch(20).rate(200).other_hosts_synced();
        assert!(vault.rotate_index_key(&options, |_| {}).await.unwrap().complete);
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        let verified = caller.await.unwrap();
        assert!(verified > 20, "only {verified} calls were made");
    }
}
