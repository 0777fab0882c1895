//! Owners are found by an agent or a phone number: through the index, whatever wrote the record, and never wrongly.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};

use retell_vault::doctor::DoctorOptions;
use retell_vault::keyring::RawKey;
use retell_vault::layout::Rows;
use retell_vault::rotation::{IndexEvent, IndexOptions, IndexReport, PromoteOptions, RotateOptions};
use retell_vault::schema::{ApplyOptions, Profile, RollBackOptions};
use retell_vault::sync::Fallback;
use retell_vault::testing::Fault;
use retell_vault::{ErrorKind, Keyring, Layout, RetellConfig, Vault};

use crate::support::faults::{BOUND, Lock, number, until_counted};
use crate::support::rows::value;
use crate::support::vaults::*;
use crate::support::*;

/// The index column with its indexes, as the schema planner creates them.
const INDEX: &str = "ALTER TABLE user_profiles ADD retell_vault_index bytea[];
    CREATE INDEX ON user_profiles USING gin (retell_vault_index) WITH (fastupdate = off);
    CREATE INDEX ON user_profiles (user_id) WHERE retell_vault_index IS NULL";

/// Every value is sealed.
const SEALED: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text,
    encrypted_call_agent_id text, encrypted_sms_agent_id text, encrypted_agent_config jsonb)";

async fn stage(table: &str) -> (TestDb, Hosts, Vault) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(table).await;
    db.exec(INDEX).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    (db, hosts, vault)
}

fn with_agents(mark: &str, call: &str, sms: &str) -> RetellConfig {
    RetellConfig::new(format!("key_test_{mark}").parse().unwrap())
        .with_call_agent_id(call.parse().unwrap())
        .with_sms_agent_id(sms.parse().unwrap())
        .with_phone_number("+14155550100".parse().unwrap())
}

/// A configuration with one agent for calls.
fn agent(id: &str) -> RetellConfig {
    small_config(id).with_call_agent_id(format!("agent_test_{id}").parse().unwrap())
}

/// The users that are found by an agent, sorted.
async fn by_agent(vault: &Vault, agent: &str) -> Vec<String> {
    let found = vault.find_by_agent(&format!("agent_test_{agent}").parse().unwrap()).await.unwrap();
    assert!(found.is_complete && !found.is_cut);
    let mut users: Vec<_> = found.owners.iter().map(|(owner, _)| owner.user_id().to_string()).collect();
    users.sort();
    users
}

async fn entries(db: &TestDb, user: &str) -> Option<Vec<Vec<u8>>> {
    value(db, &format!("SELECT retell_vault_index FROM user_profiles WHERE user_id = '{user}'")).await
}

async fn build(vault: &Vault) -> IndexReport {
    vault.build_index(&IndexOptions::new(), |_| {}).await.unwrap()
}

const NOBODY: [String; 0] = [];

#[tokio::test]
async fn an_owner_is_found_by_every_agent_and_by_the_number() {
    let plain = format!("{ALL_COLUMNS}; CREATE INDEX ON user_profiles (phone_number)");
    for table in [SEALED, &plain] {
        let (_db, _hosts, vault) = stage(table).await;
        vault.store(&owner("a"), &with_agents("a", "agent_test_1", "agent_test_2")).await.unwrap();
        vault.store(&owner("b"), &with_agents("b", "agent_test_2", "agent_test_3")).await.unwrap();
        assert_eq!(by_agent(&vault, "1").await, ["a"]);
        assert_eq!(by_agent(&vault, "2").await, ["a", "b"], "whatever its role");
        assert_eq!(by_agent(&vault, "4").await, NOBODY);
        let number = vault.find_by_phone(&"+14155550100".parse().unwrap()).await.unwrap();
        assert_eq!(number.owners.len(), 2);
        assert_eq!(number.owners[0].1.config.phone_number(), Some(&"+14155550100".parse().unwrap()));
        let other = vault.find_by_phone(&"+14155550101".parse().unwrap()).await.unwrap();
        assert_eq!(other.owners.len(), 0);
        let of_a_field = vault.find("phone", "agent_test_1").await.unwrap();
        assert_eq!(of_a_field.owners.len(), 0, "a value of another kind");
    }
}

/// Each write sets the entries in its own statement.
#[tokio::test]
async fn every_write_moves_what_is_found() {
    let (db, hosts, vault) = stage(SEALED).await;
    let [a, b, c] = ["a", "b", "c"].map(owner);
    vault.store(&a, &agent("store")).await.unwrap();
    vault.store(&a, &agent("again")).await.unwrap();
    assert_eq!(
        (by_agent(&vault, "store").await, by_agent(&vault, "again").await),
        (vec![], vec!["a".into()])
    );

    let other = hosts.host(1, &db.url).build().await.unwrap();
    let set = |config: &mut RetellConfig| {
        config.set_call_agent_id(Some("agent_test_modify".parse()?));
        Ok(())
    };
    other.modify(&a, set).await.unwrap();
    assert_eq!(by_agent(&vault, "modify").await, ["a"]);

    // one statement over seen records, of one shape and of two
    let many = [(a.clone(), agent("many1")), (b.clone(), agent("many2")), (c.clone(), small_config(3))];
    for (_, config) in &many[1..] {
        vault.store(if config == &many[1].1 { &b } else { &c }, config).await.unwrap();
    }
    vault.store_many(&many).await.unwrap().into_iter().for_each(|stored| drop(stored.unwrap()));
    assert_eq!(by_agent(&vault, "many1").await, ["a"]);
    assert_eq!(by_agent(&vault, "many2").await, ["b"]);
    assert_eq!(by_agent(&vault, "modify").await, NOBODY);
    assert_eq!(entries(&db, "c").await, Some(vec![]), "nothing of it can be found");

    let mut transaction = db.pool().begin().await.unwrap();
    vault.store_in(&mut transaction, &b, &agent("inside")).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(by_agent(&vault, "inside").await, ["b"]);

    vault.rename_owner(&b, &owner("renamed")).await.unwrap();
    assert_eq!(by_agent(&vault, "inside").await, ["renamed"]);
    assert_eq!(entries(&db, "b").await, Some(vec![]), "a tombstone has none");

    hosts.offline(2).build().await.unwrap().store(&c, &agent("pushed")).await.unwrap();
    let pushing = hosts.host(2, &db.url).fallback(Fallback::LocalFile).build().await.unwrap();
    assert_eq!(pushing.sync().await.unwrap().pushed, 1);
    assert_eq!(by_agent(&vault, "pushed").await, ["c"]);

    let before = entries(&db, "a").await;
    vault.rotate(&RotateOptions::new().new_key(), |_| {}).await.unwrap();
    assert_eq!(by_agent(&vault, "many1").await, ["a"]);
    assert_eq!(entries(&db, "a").await, before, "a rotation keeps them");

    vault.delete(&a).await.unwrap();
    assert_eq!(by_agent(&vault, "many1").await, NOBODY);
    assert_eq!(entries(&db, "a").await, Some(vec![]));
    assert_eq!(build(&vault).await.indexed, 0, "no write has left anything to build");
}

/// A number that was sealed is found after it moved to its column.
#[tokio::test]
async fn a_promotion_loses_nobody() {
    let (db, _hosts, vault) = stage(SEALED).await;
    vault.store(&owner("a"), &with_agents("a", "agent_test_1", "agent_test_2")).await.unwrap();
    db.exec(
        "ALTER TABLE user_profiles ADD phone_number text; CREATE INDEX ON user_profiles (phone_number);
        COMMENT ON COLUMN user_profiles.phone_number IS 'retell-vault: phone_number of retell'",
    )
    .await;
    let promoted = vault.promote(&PromoteOptions::new(), |_| {}).await.unwrap();
    assert!(promoted.complete && promoted.promoted == 1);
    let number = vault.find_by_phone(&"+14155550100".parse().unwrap()).await.unwrap();
    assert_eq!((number.owners.len(), by_agent(&vault, "1").await), (1, vec!["a".to_owned()]));
}

/// Equal values have equal entries, so the server need not touch any index of the table.
#[tokio::test]
async fn a_store_of_the_same_agents_is_a_hot_update() {
    let (db, _hosts, vault) = stage(SEALED).await;
    vault.store(&owner("a"), &agent("1")).await.unwrap();
    let before = entries(&db, "a").await;
    for n in 0..5 {
        let config = agent("1").with_api_key(format!("key_test_other_{n}").parse().unwrap());
        vault.store(&owner("a"), &config).await.unwrap();
    }
    assert_eq!(entries(&db, "a").await, before);
    vault.close().await;
    // every one of the five updates is a hot one
    let counters =
        "SELECT n_tup_upd = 5 AND n_tup_hot_upd = 5 FROM pg_stat_user_tables WHERE relname = 'user_profiles'";
    until_counted(&db.url, counters).await;
}

/// Whoever writes the table can put any entries into any row.
#[tokio::test]
async fn an_index_that_others_redirected_finds_nobody_wrong() {
    let (db, _hosts, vault) = stage(SEALED).await;
    for user in ["a", "b"] {
        vault.store(&owner(user), &agent(user)).await.unwrap();
    }
    db.exec("UPDATE user_profiles SET retell_vault_index = (SELECT array_agg(e) FROM user_profiles AS o, unnest(o.retell_vault_index) AS e)").await;
    assert_eq!(by_agent(&vault, "a").await, ["a"], "both rows have both entries");
    assert_eq!(by_agent(&vault, "b").await, ["b"]);
    // a record that was moved opens for nobody
    db.exec("INSERT INTO user_profiles SELECT 'c', encrypted_retell_api_key, encrypted_call_agent_id, encrypted_sms_agent_id,
        encrypted_agent_config, retell_vault_index FROM user_profiles WHERE user_id = 'a'").await;
    assert_eq!(by_agent(&vault, "a").await, ["a"]);
    db.exec("UPDATE user_profiles SET retell_vault_index = (SELECT o.retell_vault_index FROM user_profiles AS o WHERE o.user_id <> user_profiles.user_id LIMIT 1) WHERE user_id = 'a'; DELETE FROM user_profiles WHERE user_id = 'c'").await;
    db.exec("UPDATE user_profiles SET retell_vault_index = '{}' WHERE user_id = 'a'").await;
    assert_eq!(by_agent(&vault, "a").await, NOBODY);
    let report = build(&vault).await;
    assert_eq!(
        (report.complete, report.indexed),
        (true, 2),
        "the build finds what is missing, and what is too much"
    );
    assert_eq!(by_agent(&vault, "a").await, ["a"]);
}

#[tokio::test]
async fn an_agent_of_too_many_owners_is_told() {
    let (_db, _hosts, vault) = stage(SEALED).await;
    let many: Vec<_> = (0..40).map(|n| (owner(&format!("user-{n}")), agent("shared"))).collect();
    vault.store_many(&many).await.unwrap().into_iter().for_each(|stored| drop(stored.unwrap()));
    let found = vault.find_by_agent(&"agent_test_shared".parse().unwrap()).await.unwrap();
    assert_eq!((found.owners.len(), found.is_cut), (33, true));
}

#[tokio::test]
async fn without_an_index_the_answer_is_an_error_and_not_nobody() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(SEALED).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.store(&owner("a"), &agent("1")).await.unwrap();
    let find = async |vault: &Vault| vault.find_by_agent(&"agent_test_1".parse().unwrap()).await.map(|_| ());
    assert_eq!(find(&vault).await.unwrap_err().kind(), ErrorKind::NotIndexed);
    assert_eq!(
        vault.build_index(&IndexOptions::new(), |_| {}).await.unwrap_err().kind(),
        ErrorKind::NotIndexed
    );
    // the column alone finds nobody quickly
    db.exec("ALTER TABLE user_profiles ADD retell_vault_index bytea[]").await;
    let vault = hosts.host(1, &db.url).build().await.unwrap();
    assert_eq!(find(&vault).await.unwrap_err().kind(), ErrorKind::NotIndexed);
    db.exec("CREATE INDEX ON user_profiles USING gin (retell_vault_index)").await;
    let vault = hosts.host(2, &db.url).build().await.unwrap();
    assert_eq!(find(&vault).await.unwrap_err().kind(), ErrorKind::IndexIncomplete);
    vault.store(&owner("b"), &agent("2")).await.unwrap();
    let found = vault.find_by_agent(&"agent_test_2".parse().unwrap()).await.unwrap();
    assert_eq!((found.owners.len(), found.is_complete), (1, false));
    let (mut passes, report) = (0, build(&vault).await);
    assert_eq!((report.complete, report.indexed, report.unreadable), (true, 1, 0));
    assert_eq!(by_agent(&vault, "1").await, ["a"]);
    let options = IndexOptions::new();
    let again = vault.build_index(&options, |event| {
        passes += u32::from(matches!(event, IndexEvent::Pass(_)));
    });
    assert_eq!((again.await.unwrap().indexed, passes), (0, 1));
}

/// A build names what it cannot index, and the answer stays honest.
#[tokio::test]
async fn a_record_that_does_not_open_keeps_the_index_incomplete() {
    let (db, _hosts, vault) = stage(SEALED).await;
    for user in ["a", "b"] {
        vault.store(&owner(user), &agent(user)).await.unwrap();
    }
    // text that the vault did not write is no record
    db.exec(
        "UPDATE user_profiles SET user_id = 'moved', retell_vault_index = NULL WHERE user_id = 'b';
        INSERT INTO user_profiles (user_id, encrypted_retell_api_key) VALUES ('c', 'key_test_plaintext')",
    )
    .await;
    let mut named = Vec::new();
    let options = IndexOptions::new();
    let report = vault.build_index(&options, |event| {
        if let IndexEvent::Unreadable(row) = event {
            named.push((row.owner.clone(), row.kind));
        }
    });
    let report = report.await.unwrap();
    assert_eq!((report.complete, report.unreadable), (false, 1));
    assert_eq!(named, [("moved".to_owned(), ErrorKind::Unsealable)]);
    let missed = vault.find_by_agent(&"agent_test_b".parse().unwrap()).await.unwrap_err();
    assert_eq!(missed.kind(), ErrorKind::IndexIncomplete);
    vault.rename_owner(&owner("b"), &owner("moved")).await.unwrap();
    assert_eq!(by_agent(&vault, "b").await, ["moved"]);
}

/// The rows have entries under both keys while the key is replaced, and a run that stops half way is continued.
#[tokio::test]
async fn an_index_key_is_replaced_while_owners_are_found() {
    let (db, hosts, vault) = stage(SEALED).await;
    let other = hosts.host(1, &db.url).build().await.unwrap();
    let all: Vec<_> = (0..300).map(|n| (owner(&format!("user-{n}")), agent(&n.to_string()))).collect();
    vault.store_many(&all).await.unwrap().into_iter().for_each(|stored| drop(stored.unwrap()));
    let old = entries(&db, "user-7").await.unwrap();

    let (told, mut hear_stop) = tokio::sync::mpsc::channel(1);
    let options = IndexOptions::new().batch(10).rate(200);
    let stopped = vault.rotate_index_key(&options, move |event| {
        if let IndexEvent::Batch(progress) = event
            && progress.indexed >= 50
        {
            told.try_send(()).ok();
        }
    });
    tokio::select! {
        done = stopped => panic!("it is not stopped: {done:?}"),
        _ = hear_stop.recv() => {}
    }
    let of = async |many: &str| {
        number(
            &db.url,
            &format!("SELECT count(*) FROM user_profiles WHERE cardinality(retell_vault_index) = {many}"),
        )
        .await
    };
    assert!(of("2").await >= 50 && of("1").await >= 50, "{} {}", of("2").await, of("1").await);
    for vault in [&vault, &other] {
        for n in [0, 7, 150, 299] {
            assert_eq!(by_agent(vault, &n.to_string()).await, [format!("user-{n}")]);
        }
    }
    vault.store(&owner("user-299"), &agent("late")).await.unwrap();
    assert_eq!(entries(&db, "user-299").await.unwrap().len(), 2, "a write has entries under both keys");

    // other hosts may have the old keyring only, and would find nobody without its entries
    let report = vault.rotate_index_key(&IndexOptions::new(), |_| {}).await.unwrap();
    assert_eq!((report.complete, report.epoch, report.earlier_keys), (true, 2, 1));
    assert_eq!(of("2").await, 300);
    let report = vault.rotate_index_key(&IndexOptions::new().other_hosts_synced(), |_| {}).await.unwrap();
    assert_eq!((report.complete, report.epoch, report.earlier_keys), (true, 2, 0));
    assert_eq!(of("1").await, 300);
    assert_ne!(entries(&db, "user-7").await.unwrap(), old);
    for vault in [&vault, &other] {
        assert_eq!(by_agent(vault, "7").await, ["user-7"]);
        assert_eq!(by_agent(vault, "late").await, ["user-299"]);
    }
}

/// What a transaction wrote before the new key, and commits after the pass, has its entries too.
#[tokio::test]
async fn a_transaction_that_is_open_while_the_index_key_is_replaced_loses_nobody() {
    let (db, _hosts, vault) = stage(SEALED).await;
    vault.store(&owner("user-1"), &agent("one")).await.unwrap();
    let mut transaction = db.pool().begin().await.unwrap();
    vault.store_in(&mut transaction, &owner("user-2"), &agent("two")).await.unwrap();
    let rotating = vault.clone();
    let rotation = tokio::spawn(async move {
        rotating.rotate_index_key(&IndexOptions::new().other_hosts_synced(), |_| {}).await.unwrap()
    });
    // without the transaction it takes five seconds: twice the time in which other processes reload the keyring
    tokio::time::sleep(std::time::Duration::from_secs(7)).await;
    assert!(!rotation.is_finished(), "it waits for the transaction");
    transaction.commit().await.unwrap();
    let report = rotation.await.unwrap();
    assert_eq!((report.complete, report.earlier_keys), (true, 0));
    assert_eq!(by_agent(&vault, "one").await, ["user-1"]);
    assert_eq!(by_agent(&vault, "two").await, ["user-2"]);
}

/// A keyring of an earlier version has no key for the index: nothing is indexed until the build adds one.
#[tokio::test]
async fn a_keyring_from_before_gets_its_key_from_the_build() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let tokens: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(vectors.join("tokens.json")).unwrap()).unwrap();
    let secret = RawKey::from_base64(tokens["wrapping_key"].as_str().unwrap()).unwrap();
    let home = folder.path().join("home");
    let path = home.join("keyring.json");
    std::fs::DirBuilder::new().mode(0o700).create(&home).unwrap();
    std::fs::copy(vectors.join("keyring.json"), &path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let db = TestDb::create().await;
    db.exec(SEALED).await;
    db.exec(INDEX).await;
    let open = async |n: u8| {
        let keyring = Keyring::open(&path, &secret).await.unwrap();
        let local = home.join(format!("local-{n}.db"));
        Vault::builder(keyring).local_file(local).postgres(&db.url).build().await.unwrap()
    };
    let vault = open(0).await;
    vault.store(&owner("a"), &agent("1")).await.unwrap();
    assert_eq!(entries(&db, "a").await, None);
    let missed = vault.find_by_agent(&"agent_test_1".parse().unwrap()).await.unwrap_err();
    assert_eq!(missed.kind(), ErrorKind::IndexIncomplete);
    let before = std::fs::read_to_string(&path).unwrap();
    let report = build(&vault).await;
    assert_eq!((report.complete, report.epoch, report.indexed), (true, 1, 1));
    // a host with a copy of the old keyring does not take a full index for one that it can search
    let copy = Keyring::from_text(&before, &secret).await.unwrap();
    let behind =
        Vault::builder(copy).local_file(home.join("behind.db")).postgres(&db.url).build().await.unwrap();
    let missed = behind.find_by_agent(&"agent_test_1".parse().unwrap()).await.unwrap_err();
    assert_eq!(missed.kind(), ErrorKind::IndexIncomplete);
    for vault in [vault, open(1).await] {
        assert_eq!(by_agent(&vault, "1").await, ["a"]);
    }
}

/// The planner makes the column and the indexes if the layout names the column, and takes them back.
#[tokio::test]
async fn the_schema_planner_makes_the_index_on_request() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec("CREATE TABLE user_profiles (user_id text PRIMARY KEY, full_name text)").await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    let unasked = vault.schema().plan(Profile::Credentials).await.unwrap();
    assert!(unasked.steps.iter().all(|step| !step.id.contains("index")), "{unasked}");

    let layout = Layout::new().index_column("retell_vault_index").unwrap().rows(Rows::Create);
    let vault = hosts.host(1, &db.url).layout(layout.clone()).build().await.unwrap();
    let plan = vault.schema().plan(Profile::Credentials).await.unwrap();
    vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    let verified = vault.schema().verify(Profile::Credentials).await.unwrap();
    assert!(verified.is_good(), "{verified:?}");
    let again = vault.schema().plan(Profile::Credentials).await.unwrap();
    assert!(again.is_empty(), "{again}");
    // a layout that does not name it keeps what is there
    let unnamed = hosts.host(2, &db.url).build().await.unwrap();
    assert!(unnamed.schema().plan(Profile::Credentials).await.unwrap().is_empty());
    for vault in [&vault, &unnamed] {
        vault.store(&owner("a"), &with_agents("a", "agent_test_1", "agent_test_2")).await.unwrap();
        assert_eq!(by_agent(vault, "1").await, ["a"]);
        assert_eq!(vault.find_by_phone(&"+14155550100".parse().unwrap()).await.unwrap().owners.len(), 1);
    }
    let definitions: String =
        value(&db, "SELECT string_agg(indexdef, ' ') FROM pg_indexes WHERE tablename = 'user_profiles'")
            .await;
    assert!(
        definitions.contains("fastupdate=off") && definitions.contains("(phone_number)"),
        "{definitions}"
    );
    vault.schema().roll_back(&RollBackOptions::new().allow_data_loss(), |_| {}).await.unwrap();
    let left = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'user_profiles'::regclass AND attnum > 0 AND NOT attisdropped";
    assert_eq!(number(&db.url, left).await, 2);
}

/// A client that uses only SQL stores tokens, and cannot know their entries.
#[tokio::test]
async fn a_record_that_sql_stored_counts_as_not_indexed() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec("CREATE TABLE user_profiles (user_id text PRIMARY KEY)").await;
    let layout = Layout::new().index_column("retell_vault_index").unwrap().rows(Rows::Create);
    let vault = hosts.host(0, &db.url).layout(layout).build().await.unwrap();
    let plan = vault.schema().plan(Profile::FullProfile).await.unwrap();
    vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    vault.store(&owner("a"), &agent("1")).await.unwrap();
    db.exec("CREATE TABLE saved AS SELECT * FROM user_profiles").await;
    vault.store(&owner("a"), &agent("2")).await.unwrap();
    let tokens = r"SELECT string_agg(m[1], ' ') FROM user_profiles AS t,
        regexp_matches(t::text, 'rv1[.][0-9a-f]{8}[.][0-9a-f]{16}[.][a-z_]+[.][A-Za-z0-9_-]+', 'g') AS m";
    let tokens: String = value(&db, tokens).await;
    db.exec("DELETE FROM user_profiles; INSERT INTO user_profiles SELECT * FROM saved").await;
    db.exec(&format!("SELECT store_retell_config(p_user => 'a', p_record => '{tokens}', p_plain => '{{}}')"))
        .await;
    assert_eq!(entries(&db, "a").await, None);
    let missed = vault.find_by_agent(&"agent_test_2".parse().unwrap()).await.unwrap_err();
    assert_eq!(missed.kind(), ErrorKind::IndexIncomplete);
    assert!(build(&vault).await.complete);
    assert_eq!(by_agent(&vault, "2").await, ["a"]);
}

/// Also for a table without statistics, where the planner expects many rows.
#[tokio::test]
async fn a_look_up_reads_no_whole_table() {
    let (db, hosts, vault) = stage(SEALED).await;
    db.exec(
        "ALTER TABLE user_profiles SET (autovacuum_enabled = off);
        INSERT INTO user_profiles (user_id, encrypted_agent_config, retell_vault_index)
        SELECT 'user-' || n, '{\"other\": 1}', ARRAY[decode(md5(n::text), 'hex')] FROM generate_series(1, 20000) AS n",
    )
    .await;
    vault.store(&owner("a"), &agent("1")).await.unwrap();
    vault.close().await;
    let vault = hosts.host(1, &db.url).build().await.unwrap();
    for _ in 0..20 {
        assert_eq!(by_agent(&vault, "1").await, ["a"]);
        assert_eq!(by_agent(&vault, "2").await, NOBODY);
    }
    vault.close().await;
    let scans = "SELECT sum(i.idx_scan) FILTER (WHERE i.indexrelname ~ 'index_idx$') >= 40 \
        FROM pg_stat_user_indexes AS i WHERE i.relname = 'user_profiles'";
    until_counted(&db.url, scans).await;
}

/// A service that is tested with a vault in memory finds its owners too.
#[tokio::test]
async fn a_vault_in_memory_finds_owners() {
    let (vault, faults) = Vault::in_memory().await.unwrap();
    let many = (0..600).map(|n| (owner(&format!("user-{n}")), agent(&n.to_string())));
    vault
        .store_many(&many.collect::<Vec<_>>())
        .await
        .unwrap()
        .into_iter()
        .for_each(|stored| drop(stored.unwrap()));
    assert_eq!(by_agent(&vault, "599").await, ["user-599"]);
    assert_eq!(by_agent(&vault, "600").await, NOBODY);
    vault.delete(&owner("user-599")).await.unwrap();
    assert_eq!(by_agent(&vault, "599").await, NOBODY);
    faults.switch_on(Fault::Outage);
    let found = vault.find_by_agent(&"agent_test_1".parse().unwrap()).await;
    assert!(found.is_err_and(|error| error.kind() == ErrorKind::Unavailable));
}

/// The doctor knows the column: it is no secret, it may lack records, and equal entries are equal values.
#[tokio::test]
async fn the_doctor_examines_the_index() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec("CREATE TABLE user_profiles (user_id text PRIMARY KEY)").await;
    let layout = Layout::new().index_column("retell_vault_index").unwrap().rows(Rows::Create);
    let vault = hosts.host(0, &db.url).layout(layout).build().await.unwrap();
    let plan = vault.schema().plan(Profile::Credentials).await.unwrap();
    vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    for user in ["a", "b"] {
        vault.store(&owner(user), &agent(user)).await.unwrap();
    }
    let about_the_index = async || {
        let diagnosis = vault.doctor(&DoctorOptions::new(), |_| {}).await.unwrap();
        let found = diagnosis.findings.iter().filter(|found| {
            found.id.contains("index") || found.id.contains("shared") || found.object.contains("index")
        });
        let notes = diagnosis.notes.iter().filter(|note| note.contains("retell_vault_index"));
        assert_eq!(notes.count(), 0, "{:?}", diagnosis.notes);
        found.map(|found| (found.id, found.count, found.owners.clone())).collect::<Vec<_>>()
    };
    assert_eq!(about_the_index().await, []);
    vault.store(&owner("b"), &agent("a")).await.unwrap();
    let both = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(about_the_index().await, [("shared_values", Some(1), both)]);
    db.exec("UPDATE user_profiles SET retell_vault_index = NULL").await;
    assert_eq!(about_the_index().await, [("index_incomplete", None, vec![])]);
}

/// The status waits for no table that is locked, and does not guess.
#[tokio::test]
async fn the_status_tells_whether_the_index_is_complete_if_the_table_answers() {
    let (db, _hosts, vault) = stage(SEALED).await;
    vault.store(&owner("a"), &agent("a")).await.unwrap();
    let complete = async || vault.status().await.unwrap().database.unwrap().index.unwrap().complete;
    assert_eq!(complete().await, Some(true));
    db.exec("UPDATE user_profiles SET retell_vault_index = NULL").await;
    assert_eq!(complete().await, Some(false));
    let lock = Lock::on_table(&db.url).await;
    let told = tokio::time::timeout(BOUND, complete()).await.expect("it ends");
    assert_eq!(told, None);
    lock.release().await;
    assert_eq!(complete().await, Some(false));
}

/// A campaign: look-ups beside a bare SELECT by the primary key, in a table of `RETELL_VAULT_TEST_OWNERS` rows.
#[tokio::test]
#[ignore = "it fills a large table"]
async fn among_many_owners() {
    let rows: u64 = std::env::var("RETELL_VAULT_TEST_OWNERS").map_or(1_000_000, |rows| rows.parse().unwrap());
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(SEALED).await;
    db.exec(&format!(
        "ALTER TABLE user_profiles ADD retell_vault_index bytea[];
        INSERT INTO user_profiles (user_id, encrypted_agent_config, retell_vault_index)
        SELECT 'filler-' || n, jsonb_build_object('other', repeat('x', 900)),
            ARRAY[decode(md5('a' || n), 'hex'), decode(md5('b' || n), 'hex'), decode(md5('c' || n), 'hex')]
        FROM generate_series(1, {rows}) AS n;
        CREATE INDEX ON user_profiles USING gin (retell_vault_index) WITH (fastupdate = off);
        CREATE INDEX ON user_profiles (user_id) WHERE retell_vault_index IS NULL; ANALYZE user_profiles"
    ))
    .await;
    let (vault, pool) = (hosts.host(0, &db.url).build().await.unwrap(), db.pool());
    let many: Vec<_> = (0..500).map(|n| (owner(&format!("user-{n}")), agent(&n.to_string()))).collect();
    vault.store_many(&many).await.unwrap().into_iter().for_each(|stored| drop(stored.unwrap()));
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for n in 0..500 {
        let started = std::time::Instant::now();
        assert_eq!(by_agent(&vault, &n.to_string()).await, [format!("user-{n}")]);
        ours.push(started.elapsed());
        let started = std::time::Instant::now();
        let select = sqlx::query(
            "SELECT encrypted_agent_config, encrypted_retell_api_key FROM user_profiles WHERE user_id = $1",
        );
        assert_eq!(select.bind(format!("user-{n}")).fetch_all(&pool).await.unwrap().len(), 1);
        bare.push(started.elapsed());
    }
    ours.sort();
    bare.sort();
    let ratio = ours[250].as_secs_f64() / bare[250].as_secs_f64();
    println!("{rows} rows: a look-up {:?}, a bare SELECT {:?}: {ratio:.2} times", ours[250], bare[250]);
}
