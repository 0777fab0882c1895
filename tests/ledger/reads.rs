//! Reads and refused operations have entries: folded in the background, or before the value is returned.

use std::time::{Duration, Instant};

use retell_vault::ledger::{IfNotNoted, LedgerFilter, ListedEntry, Reads};
use retell_vault::records::{Expected, StoreOptions};
use retell_vault::webhooks::WebhookOptions;
use retell_vault::{Error, ErrorKind, Owner, RetellConfig, Vault, VaultBuilder};
use serde_json::{Value, json};

use crate::Stage;
use crate::support::faults::{QUICK, number, until};
use crate::support::vaults::*;
use crate::support::webhook::{INDEX, signed};
use crate::support::{CutProxy, Mode};

const HIDE: &str = "ALTER TABLE retell_vault.ledger RENAME TO hidden";
const SHOW: &str = "ALTER TABLE retell_vault.hidden RENAME TO ledger";
/// The record of ben does not open then.
const CLEAR: &str = "UPDATE user_profiles SET encrypted_retell_api_key = '' WHERE user_id = 'ben'";

impl Stage {
    /// Another process with this setting.
    async fn reading(&self, reads: Reads) -> Vault {
        self.with(|builder| builder.ledger_reads(reads)).await
    }

    async fn with(&self, change: impl FnOnce(VaultBuilder) -> VaultBuilder) -> Vault {
        change(self.hosts.host(1, &self.db.url).timeouts(QUICK)).build().await.unwrap()
    }

    /// The entries of an operation that name no state, the oldest first.
    async fn listed(&self, operation: &str) -> Vec<ListedEntry> {
        let filter = LedgerFilter::new().operation(operation).limit(1000);
        let mut listed = self.vault.list_ledger(&filter).await.unwrap().entries;
        listed.retain(|entry| entry.after.is_none());
        assert!(listed.iter().all(|entry| entry.authentic), "{listed:?}");
        listed.reverse();
        listed
    }
}

fn detail(entry: &ListedEntry) -> Value {
    entry.detail.as_deref().map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

/// Owner, actor, reason, request and count.
fn said(entry: &ListedEntry) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let texts = [&entry.user, &entry.actor, &entry.reason, &entry.request].map(or_dash);
    format!("{} {}", texts.join(" "), detail(entry)["count"])
}

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn touch(config: &mut RetellConfig) -> Result<(), Error> {
    config.set_call_agent_id(None);
    Ok(())
}

#[tokio::test]
async fn reads_of_a_minute_have_one_entry_for_each_owner_actor_and_reason() {
    let stage = Stage::begun().await;
    let (ann, ben) = (stage.store("ann").await, stage.store("ben").await);
    let vault = stage.reading(Reads::Folded).await;
    let alice = vault.as_actor("alice", Some("support"), Some("req-1"));
    for _ in 0..3 {
        alice.load(&ann).await.unwrap();
    }
    vault.as_actor("alice", Some("support"), Some("req-2")).load(&ben).await.unwrap();
    let both = [ann.clone(), ben.clone(), owner("nobody")];
    let loaded = vault.as_actor("alice", Some("support"), Some("req-3")).load_many(&both).await;
    assert_eq!(loaded[2].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    vault.as_actor("bob", None, None).load(&ann).await.unwrap();
    vault.load(&ann).await.unwrap();
    assert_eq!(kind(vault.load(&owner("nobody")).await), ErrorKind::NotFound);
    let mut transaction = stage.db.pool().begin().await.unwrap();
    vault.load_in(&mut transaction, &ann).await.unwrap();
    transaction.rollback().await.unwrap();

    assert!(stage.listed("read").await.is_empty(), "a load does not wait for the ledger");
    let backlog = vault.status().await.unwrap().ledger;
    assert_eq!((backlog.waiting, backlog.lost, backlog.problem.is_none()), (4, 0, true));
    vault.close().await;
    let listed = stage.listed("read").await;
    let mut read: Vec<_> = listed.iter().map(said).collect();
    read.sort();
    assert_eq!(read, ["ann - - - 2", "ann alice support - 4", "ann bob - - 1", "ben alice support - 2"]);
    let config = full_config("ann");
    let fields: Vec<_> = retell_vault::config::Credentials::to_values(&config).fields().collect();
    let mut named: Vec<_> = detail(&listed[0])["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    let mut expected: Vec<_> = fields.iter().map(ToString::to_string).collect();
    named.sort();
    expected.sort();
    assert_eq!(named, expected);
    let folded = listed.iter().find(|entry| said(entry).contains("support - 4")).unwrap();
    assert!(detail(folded)["until_ms"].as_i64().unwrap() > folded.at_ms, "{folded:?}");
    let found = stage.verify().await;
    assert!(found.is_unbroken() && found.owners == 2, "{found:?}");
}

#[tokio::test]
async fn who_is_found_and_whose_key_signed_is_read() {
    let stage = Stage::begun().await;
    let ann = stage.store("ann").await;
    stage.db.exec(INDEX).await;
    stage.vault.redetect().await.unwrap();
    stage.store("ann").await;
    let vault = stage.reading(Reads::Before(IfNotNoted::Refuse)).await;
    let config = full_config("ann");
    let agent = config.call_agent_id().unwrap();
    assert_eq!(vault.find_by_agent(agent).await.unwrap().owners.len(), 1);
    let body = json!({ "event": "call_ended", "call": { "agent_id": agent.expose_secret() } }).to_string();
    let call = async |key: &str, options: WebhookOptions| {
        let header = signed(key, body.as_bytes(), 1);
        vault.verify_webhook_with(body.as_bytes(), &header, options.at(1)).await
    };
    let key = config.webhook_key().unwrap().expose_secret();
    assert!(call(key, WebhookOptions::new()).await.unwrap().not_noted.is_none());
    call(key, WebhookOptions::new().of_owner(ann.clone())).await.unwrap();
    assert_eq!(kind(call("key_wrong_0000000000", WebhookOptions::new()).await), ErrorKind::Unverified);
    let details: Vec<_> = stage.listed("read").await.iter().map(detail).collect();
    assert_eq!(details.len(), 3, "a call that is not verified is no read");
    assert!(details[0]["fields"].as_array().unwrap().len() > 3);
    assert_eq!(details[1..], [json!({ "fields": ["webhook_key"] }), json!({ "fields": ["webhook_key"] })]);
    stage.db.exec(HIDE).await;
    assert_eq!(kind(call(key, WebhookOptions::new()).await), ErrorKind::LedgerUnavailable);
    assert_eq!(kind(vault.find_by_agent(agent).await), ErrorKind::LedgerUnavailable);
}

#[tokio::test]
async fn a_value_is_returned_only_once_its_entry_stands() {
    let stage = Stage::begun().await;
    let (ann, ben) = (stage.store("ann").await, stage.store("ben").await);
    let vault = stage.reading(Reads::Before(IfNotNoted::Refuse)).await;
    let alice = vault.as_actor("alice", Some("support"), Some("req-1"));
    for expected in 1..=3 {
        alice.load(&ann).await.unwrap();
        assert_eq!(stage.of("read").await, expected);
    }
    let many = [ann.clone(), owner("nobody"), ben.clone()];
    let loaded = alice.load_many(&many).await;
    assert!(loaded[0].is_ok() && loaded[2].is_ok());
    let mut transaction = stage.db.pool().begin().await.unwrap();
    vault.load_in(&mut transaction, &ann).await.unwrap();
    transaction.rollback().await.unwrap();
    let mut read: Vec<_> = stage.listed("read").await.iter().map(said).collect();
    read.sort();
    let by_alice = "ann alice support req-1 null";
    assert_eq!(
        read,
        ["ann - - - null", by_alice, by_alice, by_alice, by_alice, "ben alice support req-1 null"]
    );

    stage.db.exec(HIDE).await;
    let error = vault.load(&ann).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LedgerUnavailable);
    assert!(error.to_string().starts_with("the read could not be noted: "), "{error}");
    let kinds: Vec<_> = alice.load_many(&many).await.into_iter().map(kind).collect();
    assert_eq!(kinds, [ErrorKind::LedgerUnavailable, ErrorKind::NotFound, ErrorKind::LedgerUnavailable]);
    stage.db.exec(SHOW).await;
    vault.load(&ann).await.unwrap();
    assert_eq!(stage.of("read").await, 7);
    vault.close().await;
    assert_eq!(stage.of("read").await, 7, "what was refused is no read");
    assert!(stage.verify().await.is_unbroken());
}

#[tokio::test]
async fn a_read_that_could_not_be_noted_is_served_and_said_and_noted_later() {
    let stage = Stage::begun().await;
    let ann = stage.store("ann").await;
    let vault = stage.reading(Reads::Before(IfNotNoted::ServeAndSay)).await;
    assert!(vault.load(&ann).await.unwrap().not_noted.is_none());
    stage.db.exec(HIDE).await;
    let loaded = vault.as_actor("alice", None, Some("req-1")).load(&ann).await.unwrap();
    assert_eq!(loaded.config, full_config("ann"));
    assert_eq!(loaded.not_noted.unwrap().kind(), ErrorKind::LedgerUnavailable);
    let many = vault.load_many(std::slice::from_ref(&ann)).await.remove(0).unwrap();
    assert_eq!(many.not_noted.unwrap().kind(), ErrorKind::LedgerUnavailable);
    let status = vault.status().await.unwrap();
    assert_eq!(status.ledger.waiting, 2);
    assert_eq!(status.problem().map(Error::kind), Some(ErrorKind::LedgerUnavailable));
    stage.db.exec(SHOW).await;
    vault.close().await;
    let mut read: Vec<_> = stage.listed("read").await.iter().map(said).collect();
    read.sort();
    assert_eq!(read, ["ann - - - 1", "ann - - - null", "ann alice - req-1 1"]);
}

/// A folded read never fails a load, and a ledger that takes nothing is said in the status.
#[tokio::test]
async fn folded_reads_wait_for_a_ledger_that_takes_nothing() {
    let stage = Stage::begun().await;
    let (ann, ben) = (stage.store("ann").await, stage.store("ben").await);
    stage.db.exec(CLEAR).await;
    let vault = stage.reading(Reads::Folded).await;
    vault.load(&ann).await.unwrap();
    stage.db.exec(HIDE).await;
    vault.load(&ann).await.unwrap();
    // a refused operation does not wait for the minute
    assert_eq!(kind(vault.load(&ben).await), ErrorKind::Incomplete);
    until(async || vault.status().await.unwrap().ledger.problem.is_some()).await;
    let backlog = vault.status().await.unwrap().ledger;
    assert_eq!((backlog.waiting, backlog.lost), (2, 0));
    assert_eq!(backlog.problem.unwrap().kind(), ErrorKind::LedgerUnavailable);
    stage.db.exec(SHOW).await;
    vault.close().await;
    let listed = stage.listed("read").await;
    let mut read: Vec<_> = listed.iter().map(said).collect();
    read.sort();
    assert_eq!(read, ["ann - - - 2", "ben - - - null"]);
    assert!(listed.iter().any(|entry| entry.outcome.as_deref() == Some("incomplete")), "{listed:?}");
}

#[tokio::test]
async fn in_an_outage_the_local_file_answers_only_what_may_be_noted_later() {
    let stage = Stage::begun().await;
    let ann = owner("ann");
    let proxy = CutProxy::start(&stage.db.url).await;
    let through = |host, reads| {
        stage.hosts.host(host, proxy.url()).timeouts(QUICK).offline_reads().ledger_reads(reads).build()
    };
    let strict = through(1, Reads::Before(IfNotNoted::Refuse)).await.unwrap();
    let lenient = through(2, Reads::Before(IfNotNoted::ServeAndSay)).await.unwrap();
    let folded = through(3, Reads::Folded).await.unwrap();
    for vault in [&strict, &lenient, &folded] {
        vault.store(&ann, &full_config("ann")).await.unwrap();
        vault.load(&ann).await.unwrap();
    }
    proxy.set(Mode::Refuse).await;
    assert_eq!(kind(strict.load(&ann).await), ErrorKind::Unavailable);
    assert!(folded.load(&ann).await.is_ok());
    assert_eq!(lenient.load(&ann).await.unwrap().not_noted.unwrap().kind(), ErrorKind::Unavailable);
    let started = Instant::now();
    for _ in 0..20 {
        lenient.load(&ann).await.unwrap();
    }
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "each waited for a dead server: {:?}",
        started.elapsed()
    );
    proxy.set(Mode::Pass).await;
    lenient.close().await;
    folded.close().await;
    let mut counts: Vec<_> =
        stage.listed("read").await.iter().map(|entry| detail(entry)["count"].to_string()).collect();
    counts.sort();
    assert_eq!(counts, ["2", "21", "null", "null"]);
    assert!(stage.verify().await.is_unbroken());
}

#[tokio::test]
async fn more_reads_than_may_wait_are_written_early() {
    let stage = Stage::begun().await;
    let configs: Vec<_> = (0..500).map(|n| (owner(&format!("user-{n}")), small_config("many"))).collect();
    let owners: Vec<Owner> = configs.iter().map(|(owner, _)| owner.clone()).collect();
    for stored in stage.vault.store_many(&configs).await.unwrap() {
        stored.unwrap();
    }
    // a command has no background
    let short = stage.with(VaultBuilder::short_lived).await;
    for reason in 0..11 {
        let vault = short.as_actor("alice", Some(&format!("reason {reason}")), None);
        vault.load_many(&owners).await.into_iter().for_each(|loaded| drop(loaded.unwrap()));
    }
    let backlog = short.status().await.unwrap().ledger;
    assert_eq!((backlog.waiting, backlog.lost), (500, 0));
    assert_eq!(stage.of("read").await, 5000);
    short.close().await;
    assert_eq!(stage.of("read").await, 5500);
    assert!(stage.verify().await.is_unbroken());
}

#[tokio::test]
async fn refused_operations_have_entries_without_a_state() {
    let stage = Stage::begun().await;
    let (ann, ben) = (stage.store("ann").await, stage.store("ben").await);
    let alice = stage.vault.as_actor("alice", Some("support"), Some("req-1"));
    let wrong = || StoreOptions::new().expect(Expected::Absent);
    assert_eq!(kind(alice.store_with(&ann, &full_config(2), wrong()).await), ErrorKind::Conflict);
    until(async || stage.listed("store").await.len() == 1).await;
    let entry = stage.listed("store").await.remove(0);
    assert_eq!(entry.outcome.as_deref(), Some("conflict"));
    assert_eq!(said(&entry), "ann alice support req-1 null");

    stage.db.exec(CLEAR).await;
    let again = std::slice::from_ref(&ben);
    assert_eq!(kind(alice.load(&ben).await), ErrorKind::Incomplete);
    for _ in 0..2 {
        assert_eq!(kind(alice.load_many(again).await.remove(0)), ErrorKind::Incomplete);
    }
    until(async || !stage.listed("read").await.is_empty()).await;
    let entry = stage.listed("read").await.remove(0);
    assert_eq!((entry.outcome.as_deref(), entry.user.as_deref()), (Some("incomplete"), Some("ben")));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(stage.listed("read").await.len(), 1, "one a second for each owner and kind");
    assert_eq!(kind(alice.modify(&ben, touch).await), ErrorKind::Incomplete);
    until(async || !stage.listed("modify").await.is_empty()).await;
    let entry = stage.listed("modify").await.remove(0);
    assert_eq!((entry.outcome.as_deref(), detail(&entry)), (Some("incomplete"), json!({ "skipped": 2 })));
    let found = stage.verify().await;
    assert_eq!((found.missing_entries, found.altered.len(), found.unreadable.len()), (0, 0, 1), "{found:?}");
}

/// Only those of the record: a missing owner, or an outage, says nothing about tampering.
#[tokio::test]
async fn other_errors_have_no_entry() {
    let stage = Stage::begun().await;
    let nobody = owner("nobody");
    assert_eq!(kind(stage.vault.load(&nobody).await), ErrorKind::NotFound);
    assert_eq!(kind(stage.vault.delete(&nobody).await), ErrorKind::NotFound);
    assert_eq!(kind(stage.vault.store(&nobody, &RetellConfig::default()).await), ErrorKind::InvalidInput);
    stage.vault.close().await;
    let entries = "SELECT count(*) FROM retell_vault.ledger WHERE usr IS NOT NULL";
    assert_eq!(number(&stage.db.url, entries).await, 0);
}

/// A change that fails has seen the values.
#[tokio::test]
async fn a_change_that_fails_is_a_read() {
    let stage = Stage::begun().await;
    let ann = stage.store("ann").await;
    let fail = |_: &mut RetellConfig| Err(Error::from(ErrorKind::InvalidInput));
    assert_eq!(kind(stage.vault.modify(&ann, fail).await), ErrorKind::InvalidInput);
    stage.vault.modify(&ann, touch).await.unwrap();
    stage.vault.close().await;
    let hosts = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
    let listed = hosts.list_ledger(&LedgerFilter::new().operation("read")).await.unwrap();
    assert_eq!(listed.entries.iter().map(said).collect::<Vec<_>>(), ["ann - - - 1"]);
}

#[tokio::test]
async fn without_a_ledger_no_read_is_noted() {
    let stage = Stage::new().await;
    let ann = stage.store("ann").await;
    let vault = stage.reading(Reads::Before(IfNotNoted::Refuse)).await;
    vault.load(&ann).await.unwrap();
    let wrong = StoreOptions::new().expect(Expected::Absent);
    assert_eq!(kind(vault.store_with(&ann, &full_config(2), wrong).await), ErrorKind::Conflict);
    assert_eq!(vault.status().await.unwrap().ledger.waiting, 0);
    vault.close().await;
    assert_eq!(stage.entries().await, 0);
}
