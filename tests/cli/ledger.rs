//! `ledger` as an operator uses it.

use crate::runner::*;
use crate::support::TestDb;

const TABLE: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, encrypted_agent_config jsonb)";

#[tokio::test]
async fn a_ledger_is_begun_and_shows_a_record_that_went_back() {
    let db = TestDb::create().await;
    db.exec(TABLE).await;
    let home = Home::over(&db.url);
    home.put(&["--user", "ann"], SMALL).ok();
    home.run(&["ledger", "verify"]).fails(1, "the ledger was not begun", "ledger begin");
    let fresh = ["get", "--user", "ann", "--fresh"];
    home.run(&fresh).fails(1, "the ledger was not begun", "ledger begin");
    home.run(&["ledger", "begin"]).fails(
        1,
        "retell_vault.ledger does not exist",
        "schema apply --vault-schema",
    );
    home.put(&["--user", "ann"], SMALL).ok();
    home.run(&["schema", "apply", "--vault-schema"]).ok();
    let begun = home.run(&["ledger", "begin"]).ok();
    assert_eq!(begun.out, "noted in the ledger: 1 record\n");
    assert!(begun.err.contains("back it up"), "{}", begun.err);
    db.exec("CREATE TABLE earlier AS SELECT * FROM user_profiles").await;
    home.put(&["--user", "ann"], SMALL).ok();
    home.run(&["ledger", "verify"]).ok();
    assert_eq!(home.run(&fresh).ok().out, home.run(&["get", "--user", "ann"]).ok().out);
    let back = "UPDATE user_profiles AS u SET encrypted_retell_api_key = e.encrypted_retell_api_key,
        encrypted_agent_config = e.encrypted_agent_config FROM earlier AS e";
    db.exec(back).await;
    home.run(&["get", "--user", "ann"]).ok();
    home.run(&fresh).fails(
        1,
        "not the one that the ledger names last: the row holds an older one",
        "ledger verify",
    );
    let found = home.run(&["ledger", "verify"]);
    assert!(found.out.contains("went back      ann: the ledger names version"), "{}", found.out);
    assert!(found.code == 1 && found.err.contains("do not agree"), "{found:?}");
}

fn at(home: &Home, name: &str) -> String {
    home.path().join(name).to_str().unwrap().to_owned()
}

#[tokio::test]
async fn checkpoints_of_a_folder_show_that_the_database_went_back() {
    let db = TestDb::create().await;
    db.exec(TABLE).await;
    let home = Home::over(&db.url);
    home.run(&["schema", "apply", "--vault-schema"]).ok();
    home.put(&["--user", "ann"], SMALL).ok();
    home.run(&["ledger", "begin"]).ok();
    let (key, sink) = (at(&home, "signing-key"), at(&home, "sink"));
    let made = home.run(&["ledger", "signing-key", "init", &key]).ok();
    assert_eq!(home.run(&["ledger", "signing-key", "show", &key]).ok().out, made.out);
    home.run(&["ledger", "signing-key", "init", &key]).fails(1, "already exists", "new file");
    let secret = std::fs::read_to_string(&key).unwrap();
    assert!(
        secret.starts_with("PRIVATE+KEY+")
            && !made.out.contains(secret.trim().splitn(5, '+').last().unwrap())
    );

    let checkpoint = ["ledger", "checkpoint", "--signing-key", &key, "--to", &sink];
    let first = home.run(&checkpoint).ok();
    assert_eq!(first.out, "checkpoint 1: entries 2, writers 1\n");
    home.put(&["--user", "ben"], SMALL).ok();
    home.run(&checkpoint).ok();
    let verifying = made.out.trim();
    let verify = ["ledger", "verify", "--with", &sink, "--verifying-key", verifying];
    home.run(&verify).ok();

    // the copies of this host are gone, and so is what ben's process wrote
    std::fs::remove_file(at(&home, "local.db")).unwrap();
    db.exec(
        "DELETE FROM user_profiles WHERE user_id = 'ben'; DELETE FROM retell_vault.ledger WHERE at_ms >
        (SELECT max(at_ms) FROM retell_vault.ledger WHERE op = 'baseline')",
    )
    .await;
    home.run(&["ledger", "verify"]).ok();
    let found = home.run(&verify);
    assert!(found.code == 1 && found.out.contains("ledger went back"), "{found:?}");
    assert!(found.out.contains("not all owners are known"), "{}", found.out);
    home.run(&checkpoint).fails(1, "no checkpoint of it was signed", "ledger verify");

    // wrong input is named
    let without_key = ["ledger", "verify", "--with", &sink];
    home.run(&without_key).fails(2, "is a checkpoint", "--verifying-key");
    let other_key = ["ledger", "verify", "--with", &sink, "--verifying-key", "no key"];
    home.run(&other_key).fails(1, "not a key that verifies checkpoints", "signing-key show");
    let (folder, file) = (at(&home, "empty"), at(&home, "empty.jsonl"));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(&file, "\n").unwrap();
    for place in [&folder, &file] {
        home.run(&["ledger", "verify", "--with", place]).fails(1, "holds no copy of the ledger", "sink");
    }
    home.run(&["ledger", "verify", "--with", "nowhere"]).fails(1, "cannot read nowhere", "sink");
    let (wrong, missing) = (at(&home, "keyring.json"), at(&home, "nowhere"));
    let with_key = |key: &str| home.run(&["ledger", "checkpoint", "--signing-key", key, "--to", &sink]);
    with_key(&wrong).fails(1, "keyring.json: this is not a key that signs checkpoints", "signing-key init");
    with_key(&missing).fails(1, "nowhere does not exist", "signing-key init");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    with_key(&key).fails(1, "signing-key", "chmod");
}

#[tokio::test]
async fn entries_name_the_actor_of_a_command_and_its_reason() {
    let db = TestDb::create().await;
    db.exec(TABLE).await;
    let home = Home::over(&db.url);
    home.run(&["schema", "apply", "--vault-schema"]).ok();
    home.run(&["ledger", "begin"]).ok();
    let put = |args: &[&str], variables: &[(&str, &str)]| {
        home.run_with(&[&["put", "--user", "ann"], args].concat(), variables, SMALL)
    };
    put(&[], &[]).ok();
    put(&[], &[("LOGNAME", "alice")]).ok();
    put(&[], &[("LOGNAME", "alice"), ("RETELL_VAULT_ACTOR", "bob")]).ok();
    put(&["--actor", "carol", "--reason", "ticket 7"], &[("RETELL_VAULT_ACTOR", "bob")]).ok();
    let secret = put(&["--reason", "it is key_test_canary_4711"], &[]);
    secret.fails(1, "the reason of the operation holds the value of api_key", "not its value");
    let sql =
        "SELECT concat_ws(' ', actor, reason) FROM retell_vault.ledger WHERE op = 'store' ORDER BY received";
    let named: Vec<String> = sqlx::query_scalar(sql).fetch_all(&db.pool()).await.unwrap();
    assert_eq!(named, ["", "alice", "bob", "carol ticket 7"]);
    home.run_with(&["delete", "--user", "ann"], &[("USER", "dave")], "").ok();
    let sql = "SELECT actor FROM retell_vault.ledger WHERE op = 'delete'";
    let named: String = sqlx::query_scalar(sql).fetch_one(&db.pool()).await.unwrap();
    assert_eq!(named, "dave");
}

#[tokio::test]
async fn keys_of_a_ledger_change_only_where_it_can_be_noted() {
    let db = TestDb::create().await;
    db.exec(TABLE).await;
    let home = Home::over(&db.url);
    home.run(&["key", "add"]).ok();
    home.run(&["schema", "apply", "--vault-schema"]).ok();
    home.run(&["ledger", "begin"]).ok();
    let key = home.json(&["key", "add", "--actor", "alice"])["key"]["id"].as_str().unwrap().to_owned();
    let away = [("DATABASE_URL", "")];
    for args in [vec!["key", "add"], vec!["key", "promote", &key], vec!["key", "retire", &key]] {
        home.run_with(&args, &away, "").fails(1, "no database is named", "--database-url");
    }
    home.run(&["key", "promote", &key, "--actor", "bob"]).ok();
    home.run(&["rotate", "--actor", "carol", "--reason", "yearly"]).ok();
    let sql = "SELECT concat_ws(' ', op, detail::jsonb ->> 'state', actor, reason) FROM retell_vault.ledger
        WHERE actor IS NOT NULL AND detail IS NOT NULL ORDER BY received";
    let noted: Vec<String> = sqlx::query_scalar(sql).fetch_all(&db.pool()).await.unwrap();
    let expected = [
        "key_add begun alice",
        "key_add ended alice",
        "key_promote begun bob",
        "key_promote ended bob",
        "rotate begun carol yearly",
        "rotate ended carol yearly",
    ];
    assert_eq!(noted, expected);
    home.run(&["ledger", "verify"]).ok();
}

#[tokio::test]
async fn removed_rows_a_prune_and_a_restore() {
    let db = TestDb::create().await;
    db.exec(TABLE).await;
    let home = Home::over(&db.url);
    home.run(&["schema", "apply", "--vault-schema"]).ok();
    assert!(home.run(&["doctor", "--after-restore"]).out.contains("restore_unknown"));
    home.run(&["ledger", "begin"]).ok();
    for user in ["ann", "ben"] {
        home.put(&["--user", user], SMALL).ok();
    }
    db.exec("DELETE FROM user_profiles WHERE user_id = 'ann'").await;
    home.run(&["ledger", "verify"]).ok();
    let strict = home.run(&["ledger", "verify", "--strict"]);
    assert!(strict.code == 1 && strict.err.contains("rows of 1 owner were removed"), "{strict:?}");
    assert!(strict.out.contains("removed        ann"), "{strict:?}");

    let (key, audit) = (at(&home, "signing-key"), at(&home, "audit"));
    let verifying = home.run(&["ledger", "signing-key", "init", &key]).ok().out;
    let verifying = verifying.trim();
    let bare = home.run(&["ledger", "prune"]);
    assert!(bare.code == 2 && bare.err.contains("--verifying-key <KEY>"), "{bare:?}");
    let prune = ["ledger", "prune", "--with", &audit, "--verifying-key", verifying];
    home.run(&prune).fails(1, "audit", "sink");
    home.run(&["ledger", "checkpoint", "--signing-key", &key, "--to", &audit]).ok();
    home.run(&[&prune[..], &["--before", "gestern"]].concat()).fails(2, "--before", "7d");
    assert!(home.run(&prune).ok().out.contains("writers pruned           0"), "nothing is six years old");
    let pruned = home.run(&[&prune[..], &["--before", "0s", "--reason", "a test"]].concat()).ok();
    assert!(pruned.out.contains("owners with a new entry  1"), "{}", pruned.out);
    let verified = home.run(&["ledger", "verify", "--with", &audit, "--verifying-key", verifying]).ok();
    assert!(verified.out.contains("pruned"), "{}", verified.out);
    assert!(home.run(&["ledger", "list", "--operation", "prune"]).ok().out.contains("a test"));

    db.exec("TRUNCATE user_profiles").await;
    home.run(&prune).fails(1, "do not agree", "ledger verify");
    assert!(home.run(&["doctor", "--after-restore"]).out.contains("records_went_back"));
    Home::new().run(&["doctor", "--after-restore"]).fails(2, "--after-restore", "--database-url");
}
