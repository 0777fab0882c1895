//! Of which types the columns of an owner may be: a whole life on each, and the true reason where it may not.

use retell_vault::layout::Rows;
use retell_vault::schema::{ApplyOptions, Profile};
use retell_vault::{ErrorKind, Layout, Owner, RetellConfig, Vault};

use crate::support::rotation::{at_once, completes, promote, until_taken_up};
use crate::support::rows::value;
use crate::support::vaults::*;
use crate::support::*;

const TYPES: &str = "CREATE DOMAIN positive AS bigint CHECK (VALUE > 0); CREATE DOMAIN account AS positive;
    CREATE DOMAIN person AS uuid; CREATE DOMAIN handle AS varchar(40); CREATE TYPE region AS ENUM ('eu', 'us');
    CREATE SCHEMA app; CREATE TYPE app.\"Region\" AS ENUM ('eu', 'us');";
const UUID: [&str; 3] = [
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a13",
];

fn table(user: &str, tenant: Option<&str>) -> String {
    let tenant = tenant.map(|kind| format!("tenant_id {kind} NOT NULL, ")).unwrap_or_default();
    let key = if tenant.is_empty() { "user_id" } else { "tenant_id, user_id" };
    format!(
        "{TYPES} CREATE TABLE user_profiles (user_id {user}, {tenant}full_name text DEFAULT 'none',
         encrypted_retell_api_key text, encrypted_call_agent_id text, encrypted_agent_config jsonb, PRIMARY KEY ({key}))"
    )
}

fn layout(tenant: Option<&str>) -> Layout {
    match tenant {
        Some(_) => Layout::new().tenant_column("tenant_id").unwrap(),
        None => Layout::new(),
    }
}

/// Everything that a vault does with owners, on rows that it makes itself.
async fn lives(user: &str, tenant: Option<(&str, &str)>, ids: [&str; 3]) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(&table(user, tenant.map(|(kind, _)| kind))).await;
    let layout = layout(tenant.map(|(kind, _)| kind));
    let vault = hosts.host(0, &db.url).layout(layout.clone()).build().await.unwrap();
    let owner = |id: &str| match tenant {
        Some((_, tenant)) => owner(id).in_tenant(tenant).unwrap(),
        None => owner(id),
    };
    let owners = ids.map(owner);
    for (at, of) in owners.iter().enumerate() {
        let stored = vault.store(of, &full_config(at)).await.unwrap();
        assert_eq!((stored.degraded, stored.rows), (None, 1), "{user}");
    }
    let again: Vec<_> = owners.iter().cloned().zip((10..).map(full_config)).collect();
    for stored in vault.store_many(&again).await.unwrap() {
        assert_eq!(stored.unwrap().rows, 1);
    }
    // another process has seen nothing yet
    let other = hosts.host(1, &db.url).layout(layout.clone()).build().await.unwrap();
    other.store(&owners[0], &full_config(20)).await.unwrap();
    check(&vault, &owners, [20, 11, 12].map(full_config)).await;
    vault
        .modify(&owners[1], |config| {
            *config = full_config(21);
            Ok(())
        })
        .await
        .unwrap();
    let listed = vault.list(None, 2).await.unwrap();
    assert!(listed.next.is_some() && listed.entries.len() == 2, "{listed:?}");

    let (old, _) = promote(&hosts).await;
    until_taken_up().await;
    completes(&vault).await;
    vault.destroy_key(old, at_once()).await.unwrap();
    let fresh = hosts.host(1, &db.url).layout(layout).build().await.unwrap();
    check(&fresh, &owners, [20, 21, 12].map(full_config)).await;
    for of in &owners {
        fresh.delete(of).await.unwrap();
        assert_eq!(fresh.load(of).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert_eq!(value::<i64>(&db, "SELECT count(*) FROM user_profiles WHERE full_name = 'none'").await, 3);
}

async fn check(vault: &Vault, owners: &[Owner], configs: [RetellConfig; 3]) {
    let many = vault.load_many(owners).await;
    for ((owner, config), loaded) in owners.iter().zip(&configs).zip(many) {
        assert_eq!(&loaded.unwrap().config, config);
        assert_eq!(&vault.load(owner).await.unwrap().config, config);
    }
}

#[tokio::test]
async fn integers_of_every_size() {
    lives("smallint", None, ["-32768", "0", "32767"]).await;
    lives("integer", None, ["-2147483648", "7", "2147483647"]).await;
    lives("bigint", None, ["-9223372036854775808", "42", "9223372036854775807"]).await;
}

#[tokio::test]
async fn domains_over_them_over_uuid_and_over_text() {
    lives("account", None, ["1", "10", "9223372036854775807"]).await;
    lives("person", None, UUID).await;
    lives("handle", None, ["josé", "O'Neill", "jose\u{301}"]).await;
}

#[tokio::test]
async fn an_enum_names_the_tenant() {
    lives("bigint", Some(("region", "eu")), ["1", "2", "3"]).await;
    lives("person", Some(("app.\"Region\"", "us")), UUID).await;
    lives("text", Some(("positive", "7")), ["a", "b", "c"]).await;
    lives("integer", Some(("uuid", UUID[0])), ["-1", "1", "11"]).await;
}

/// One number has one text, so that one owner has one record.
#[tokio::test]
async fn what_is_no_integer_of_the_column_is_an_error_and_nothing_is_written() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(&table("integer", Some("region"))).await;
    let layout = layout(Some("region"));
    let vault = hosts.host(0, &db.url).layout(layout).build().await.unwrap();
    let in_eu = |id: &str| owner(id).in_tenant("eu").unwrap();
    for id in ["007", "+7", "7.0", " 7", "2147483648", "seven", UUID[0]] {
        let errors = [
            vault.store(&in_eu(id), &small_config(1)).await.unwrap_err(),
            vault.load(&in_eu(id)).await.unwrap_err(),
            vault.delete(&in_eu(id)).await.unwrap_err(),
            vault.load_many(&[in_eu(id)]).await.remove(0).unwrap_err(),
            vault.store_many(&[(in_eu(id), small_config(1))]).await.unwrap().remove(0).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{id}: {error}");
            assert!(error.to_string().contains("the user id is not a valid integer"), "{error}");
        }
    }
    // one bad id does not keep the others from being written
    let mixed = [(in_eu("7"), small_config(7)), (in_eu("x"), small_config(8))];
    let stored = vault.store_many(&mixed).await.unwrap();
    assert!(stored[0].is_ok() && stored[1].is_err(), "{stored:?}");
    // an enum has no such tenant: nobody is found there, and no row can be made
    let nowhere = owner("7").in_tenant("mars").unwrap();
    assert_eq!(vault.load(&nowhere).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(vault.store(&nowhere, &small_config(9)).await.unwrap_err().kind(), ErrorKind::Rejected);
    assert_eq!(value::<i64>(&db, "SELECT count(*) FROM user_profiles").await, 1);
    assert_eq!(vault.status().await.unwrap().local.unwrap().pending, 0);
}

#[tokio::test]
async fn a_type_that_cannot_tell_owners_apart_is_refused_with_the_true_reason() {
    let refused = [
        ("numeric", "several texts"),
        ("char(8)", "spaces at the end"),
        ("name", "63 bytes"),
        ("real", "not exact"),
        ("boolean", "not a type for ids"),
        ("region", "not a type for ids"),
        ("text COLLATE anycase", "treats different texts as equal"),
        ("jsonb", "not a type for ids"),
    ];
    let collation =
        "CREATE COLLATION anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);";
    for (kind, reason) in refused {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(&format!("{collation} {}", table(kind, None))).await;
        let error = hosts.host(0, &db.url).build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Schema, "{kind}: {error}");
        assert!(error.to_string().contains(reason), "{kind}: {error}");
        assert_eq!(value::<i64>(&db, "SELECT count(*) FROM user_profiles").await, 0);
    }
}

/// Where the owner is the application's own row, a mistyped id makes no new one (an organisation without a name).
#[tokio::test]
async fn a_row_is_made_only_where_the_vault_is_who_makes_them() {
    let orgs = "CREATE TABLE orgs (id bigint PRIMARY KEY, name text, encrypted_retell_api_key text);
        CREATE TABLE members (org bigint REFERENCES orgs (number))";
    let tables = [
        (orgs.replace("(number)", "(id)"), "id", None, false),
        (orgs.replace("(number)", "(id)"), "id", Some(Rows::Create), true),
        (orgs.replace("id bigint", "number bigint"), "number", None, false),
        (
            orgs.replace("id bigint", "number bigint").replace("REFERENCES orgs (number)", ""),
            "number",
            None,
            true,
        ),
        (
            orgs.replace("id bigint", "number bigint").replace("REFERENCES orgs (number)", ""),
            "number",
            Some(Rows::Existing),
            false,
        ),
    ];
    for (sql, column, rows, makes) in tables {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(&format!("{sql}; INSERT INTO orgs ({column}, name) VALUES (1, 'Acme')")).await;
        let layout = Layout::new().table("orgs").unwrap().user_column(column).unwrap();
        let layout = rows.into_iter().fold(layout, Layout::rows);
        let vault = hosts.host(0, &db.url).layout(layout.clone()).build().await.unwrap();
        assert_eq!(vault.store(&owner("1"), &small_config(1)).await.unwrap().rows, 1);
        let stored = vault.store(&owner("11"), &small_config(2)).await;
        let many = vault.store_many(&[(owner("12"), small_config(3))]).await.unwrap().remove(0);
        assert_eq!((stored.is_ok(), many.is_ok()), (makes, makes), "{sql} {stored:?} {many:?}");
        for error in [stored.map(drop), many.map(drop)].into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), ErrorKind::UnknownOwner);
            assert!(error.to_string().contains("public.orgs"), "{error}");
        }
        assert_eq!(vault.status().await.unwrap().local.unwrap().pending, 0, "nothing is kept locally");
        let expected = if makes { 3 } else { 1 };
        assert_eq!(value::<i64>(&db, "SELECT count(*) FROM orgs").await, expected);
    }
}

/// In an outage it waits, since nobody can say whether the row is there.
#[tokio::test]
async fn a_store_in_an_outage_waits_for_a_row_that_is_still_missing() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec("CREATE TABLE orgs (id integer PRIMARY KEY, encrypted_retell_api_key text); INSERT INTO orgs VALUES (1)")
        .await;
    let layout = Layout::new().table("orgs").unwrap().user_column("id").unwrap();
    let away = hosts.host(0, faults::DEAD_URL).layout(layout.clone()).build().await.unwrap();
    for id in ["1", "2"] {
        assert!(away.store(&owner(id), &small_config(id)).await.unwrap().degraded.is_some());
    }
    drop(away);
    let back = hosts.host(0, &db.url).layout(layout).build().await.unwrap();
    let report = back.sync().await.unwrap();
    assert_eq!((report.pushed, report.dead_letters), (1, 0), "{report:?}");
    assert_eq!(report.blocked[0].0, owner("2"));
    assert_eq!(back.load(&owner("1")).await.unwrap().config, small_config("1"));
    assert_eq!(value::<i64>(&db, "SELECT count(*) FROM orgs").await, 1);
    db.exec("INSERT INTO orgs VALUES (2)").await;
    assert_eq!(back.sync().await.unwrap().pushed, 1);
}

/// The database computes the owner from its own key: that works, and verifying does not fail over a row that nobody can make.
#[tokio::test]
async fn a_generated_owner_column() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(
        "CREATE TABLE user_profiles (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
         user_id text GENERATED ALWAYS AS ('u' || id) STORED UNIQUE, encrypted_retell_api_key text);
         INSERT INTO user_profiles DEFAULT VALUES",
    )
    .await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.store(&owner("u1"), &small_config(1)).await.unwrap();
    assert_eq!(vault.load(&owner("u1")).await.unwrap().config, small_config(1));
    assert_eq!(
        vault.store(&owner("u2"), &small_config(2)).await.unwrap_err().kind(),
        ErrorKind::UnknownOwner
    );
    let plan = vault.schema().plan(Profile::Credentials).await.unwrap();
    vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    let verification = vault.schema().verify(Profile::Credentials).await.unwrap();
    assert!(verification.is_good(), "{verification:#?}");
    let tried = verification.checks.iter().find(|check| check.what.starts_with("store of a new"));
    assert!(tried.is_some_and(|check| check.to_string().contains("the application creates the rows")));

    let create = Layout::new().rows(Rows::Create);
    let error = hosts.host(1, &db.url).layout(create).build().await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Schema
            && error.to_string().contains("the database generates column user_id"),
        "{error}"
    );
}

/// A cast that somebody made could give two tenants one text, and would run as a function of theirs.
#[tokio::test]
async fn an_enum_with_a_cast_of_its_own_is_no_tenant() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(&format!(
        "{} ; CREATE FUNCTION lower_region(region) RETURNS text LANGUAGE sql IMMUTABLE RETURN lower(format('%s', $1));
         CREATE CAST (region AS text) WITH FUNCTION lower_region(region)",
        table("text", Some("region"))
    ))
    .await;
    let error = hosts.host(0, &db.url).layout(layout(Some("region"))).build().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Schema && error.to_string().contains("not a type for ids"), "{error}");
    // nor is a type of the same name as a built-in one
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(
        "CREATE SCHEMA app; CREATE TYPE app.uuid AS (a int, b int);
         CREATE TABLE user_profiles (user_id app.uuid, encrypted_retell_api_key text)",
    )
    .await;
    let error = hosts.host(0, &db.url).build().await.unwrap_err();
    assert!(error.to_string().contains("not a type for ids"), "{error}");
}
