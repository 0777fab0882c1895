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
    let back = "UPDATE user_profiles AS u SET encrypted_retell_api_key = e.encrypted_retell_api_key,
        encrypted_agent_config = e.encrypted_agent_config FROM earlier AS e";
    db.exec(back).await;
    let found = home.run(&["ledger", "verify"]);
    assert!(found.out.contains("\nwent back      ann: the ledger names version"), "{}", found.out);
    assert!(found.code == 1 && found.err.contains("do not agree"), "{found:?}");
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
