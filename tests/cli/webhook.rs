//! `webhook verify`: a body on standard input, and whose it is.

use serde_json::json;

use crate::runner::*;
use crate::support::webhook::signed;

pub const AT: &str = "1795000000000";
pub const BODY: &str =
    r#"{"event":"call_ended","call":{"agent_id":"agent_test_0009","call_id":"call_test_1"}}"#;

/// Signed with the webhook key of [`FULL`].
pub fn header() -> String {
    signed(SECRETS[3], BODY.as_bytes(), AT.parse().unwrap())
}

#[test]
fn a_call_is_verified_for_its_owner_and_refused_for_another() {
    let home = Home::new();
    home.put(&["--user", "user-1", "--tenant", "acme"], FULL).ok();
    home.put(&["--user", "user-2"], SMALL).ok();
    let header = header();
    let verify = ["webhook", "verify", "--header", &header, "--at", AT];
    let alice = [&verify[..], &["--user", "user-1", "--tenant", "acme"]].concat();
    let found = home.run_with(&[&alice[..], &["--json"]].concat(), &[], BODY).ok().json();
    let expected = json!({
        "user": "user-1", "tenant": "acme", "event": "call_ended", "agent_id": "agent_test_0009", "call_id": "call_test_1",
        "chat_id": null, "signed_at": 1_795_000_000_000u64, "key": "webhook_key", "wanted": true,
    });
    assert_eq!(found, expected);
    let shown = home.run_with(&alice, &[], BODY).ok();
    assert!(shown.out.contains("acme/user-1") && shown.out.contains("webhook_key"), "{shown:?}");

    for user in ["user-1", "user-2", "nobody"] {
        let ran = home.run_with(&[&verify[..], &["--user", user]].concat(), &[], BODY);
        ran.fails(1, "the webhook is not verified", "webhook badge");
    }
    let changed = BODY.replace("call_test_1", "call_test_2");
    home.run_with(&alice, &[], &changed).fails(1, "the webhook is not verified", "");
    home.run_with(&alice, &[], format!("{BODY}\n")).fails(1, "the webhook is not verified", "");
}

#[test]
fn what_is_no_webhook_call_is_named_and_not_repeated() {
    let home = Home::new();
    home.put(&["--user", "user-1"], FULL).ok();
    let run = |header: &str, more: &[&str], body: &[u8]| {
        home.run_with(
            &[&["webhook", "verify", "--user", "user-1", "--header", header], more].concat(),
            &[],
            body,
        )
    };
    let header = header();
    run(&header, &[], BODY.as_bytes()).fails(1, "not within five minutes", "clock");
    run(SECRETS[0], &["--at", AT], BODY.as_bytes()).fails(
        1,
        "signature of the webhook is malformed",
        "X-Retell-Signature",
    );
    run(&header, &["--at", AT], SECRETS[0].as_bytes()).fails(
        1,
        "body of the webhook",
        "bytes of the request",
    );
    run(&header, &["--at", AT], &[0xff, 0xfe]).fails(1, "not UTF-8", "bytes of the request");
    run(&header, &["--at", AT], &vec![b' '; 2 << 20]).fails(
        1,
        "longer than 1024 KiB",
        "bytes of the request",
    );
    run(&header, &["--at", "yesterday"], BODY.as_bytes()).fails(2, "'--at <MS>'", "");
    let tenant_alone = home.run(&["webhook", "verify", "--header", &header, "--tenant", "acme"]);
    assert_eq!(tenant_alone.code, 2, "{tenant_alone:?}");
}
