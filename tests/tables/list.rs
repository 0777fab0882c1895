//! The list of owners: every row in it exactly once, whatever stands in the columns of the owner, and never less in silence.

use std::collections::BTreeSet;

use retell_vault::records::{ListEntry, ListPosition, ListedOwner, RecordState, Source};
use retell_vault::{ErrorKind, Layout, Owner, Vault};

use crate::support::TestDb;
use crate::support::faults::{exec, until};
use crate::support::role::Role;
use crate::support::vaults::{Hosts, owner, small_config};

const SIZES: [u32; 6] = [1, 2, 3, 7, 100, 10_000];
const LONG: usize = 300;

/// Every entry, page by page. No page is empty while there are more, and none is longer than it may be.
async fn listed(vault: &Vault, size: u32) -> Vec<ListEntry> {
    let (mut entries, mut after): (Vec<ListEntry>, Option<ListPosition>) = (Vec::new(), None);
    loop {
        let page = vault.list(after.as_ref(), size).await.unwrap();
        assert!(page.entries.len() <= size as usize && page.hidden.is_none());
        assert!(page.next.is_none() || !page.entries.is_empty());
        entries.extend(page.entries);
        match page.next {
            None => return entries,
            next => after = next,
        }
    }
}

fn names(entries: &[ListEntry]) -> Vec<(Option<&str>, &str)> {
    entries.iter().map(|entry| (entry.owner.tenant(), entry.owner.user())).collect()
}

fn assert_each_once(entries: &[ListEntry], count: usize) {
    let names = names(entries);
    assert_eq!(names.len(), count);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), count, "an owner is there twice");
    let positions: Vec<_> = entries.iter().map(|entry| ListPosition::from(&entry.owner)).collect();
    assert!(positions.is_sorted(), "{names:?}");
}

/// A vault over a table with these columns of the owner.
async fn vault_over(columns: &str, layout: Layout) -> (TestDb, Hosts, Vault) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(&format!("CREATE TABLE user_profiles ({columns}, encrypted_retell_api_key text)")).await;
    let vault = hosts.host(0, &db.url).layout(layout).build().await.unwrap();
    (db, hosts, vault)
}

#[tokio::test]
async fn pages_of_every_size_list_every_row_once_also_those_that_belong_to_nobody() {
    let (db, _hosts, vault) = vault_over("user_id text UNIQUE", Layout::new()).await;
    vault.store(&owner("user-250"), &small_config(1)).await.unwrap();
    db.exec(&format!(
        "INSERT INTO user_profiles SELECT name, encrypted_retell_api_key FROM user_profiles CROSS JOIN (
            SELECT 'user-' || n FROM generate_series(0, 498) AS n WHERE n <> 250
            UNION ALL VALUES (E'user-1\\t2'), (repeat('u', {LONG}))) AS more (name)"
    ))
    .await;
    for size in SIZES {
        let entries = listed(&vault, size).await;
        assert_each_once(&entries, 501);
        let unusable: Vec<_> = entries.iter().filter(|entry| entry.state == RecordState::Unusable).collect();
        let [tab, long] = unusable[..] else { panic!("{unusable:?}") };
        assert_eq!(tab.owner, ListedOwner::Unusable { tenant: None, user: "user-1\t2".to_owned() });
        assert_eq!(tab.owner.to_string(), r#""user-1\t2""#);
        assert_eq!((long.owner.user(), tab.version), ("u".repeat(LONG).as_str(), long.version));
        let readable = entries.iter().find(|entry| entry.state == RecordState::Readable).unwrap();
        assert_eq!(readable.owner.valid(), Some(&owner("user-250")));
    }
}

/// Any entry is a place to go on after.
#[tokio::test]
async fn the_list_goes_on_after_the_texts_of_any_entry() {
    let (db, _hosts, vault) = vault_over("user_id text UNIQUE", Layout::new()).await;
    db.exec(&format!(
        "INSERT INTO user_profiles SELECT name, 'text' FROM (VALUES (NULL), (E'\\x1b[2J'), ('-x'), ('b'),
            (repeat('c', {LONG})), (repeat('c', {LONG}) || E'\\n'), ('d'), (repeat('e', 5000))) AS names (name)"
    ))
    .await;
    let entries = listed(&vault, 100).await;
    assert_each_once(&entries, 8);
    assert_eq!((entries[0].owner.user(), entries[0].state), ("", RecordState::Unusable));
    assert_eq!(entries[7].owner.user().len(), 1000);
    for (at, entry) in entries.iter().enumerate() {
        let after = ListPosition::after(entry.owner.user(), entry.owner.tenant());
        let rest = vault.list(Some(&after), 100).await.unwrap().entries;
        assert_eq!(names(&rest), names(&entries[at + 1..]));
    }
    let nul = ListPosition::after("a\0b", None);
    assert_eq!(vault.list(Some(&nul), 1).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn rows_that_belong_to_nobody_are_not_no_records() {
    let (db, _hosts, vault) = vault_over("user_id text", Layout::new()).await;
    db.exec(
        "INSERT INTO user_profiles SELECT n || E'\\n', 'text' FROM generate_series(1, 100) AS n
         UNION ALL VALUES (NULL, 'text'), (NULL, 'text'), ('', 'text')",
    )
    .await;
    for size in SIZES {
        let entries = listed(&vault, size).await;
        // those without any text are in one entry
        assert_each_once(&entries, 101);
        assert!(entries.iter().all(|entry| entry.state == RecordState::Unusable));
    }
}

/// An owner is listed once, with the newest of all its rows, wherever a page ends.
#[tokio::test]
async fn several_rows_of_an_owner_are_one_entry() {
    const UPPER: &str = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11";
    let (db, _hosts, vault) = vault_over("user_id text", Layout::new()).await;
    let lower = UPPER.to_lowercase();
    for id in ["a", "b", "c", &lower] {
        vault.store(&owner(id), &small_config(id)).await.unwrap();
        db.exec(&format!(
            "INSERT INTO user_profiles SELECT user_id, NULL FROM user_profiles WHERE user_id = '{id}';
             INSERT INTO user_profiles SELECT user_id, encrypted_retell_api_key FROM user_profiles
                WHERE user_id = '{id}' AND encrypted_retell_api_key IS NOT NULL"
        ))
        .await;
    }
    db.exec(&format!(
        "UPDATE user_profiles SET user_id = '{UPPER}' WHERE ctid = (SELECT max(ctid) FROM user_profiles)"
    ))
    .await;
    for size in SIZES {
        let entries = listed(&vault, size).await;
        assert_eq!(names(&entries), [(None, "a"), (None, lower.as_str()), (None, "b"), (None, "c")]);
        assert!(entries.iter().all(|entry| entry.state == RecordState::Readable), "{entries:?}");
    }
}

#[tokio::test]
async fn tenants_and_columns_of_uuid_and_varchar_are_listed_in_the_order_of_their_text() {
    const IDS: [&str; 3] = [
        "0f0e0d0c-0000-4000-8000-000000000001",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "f0000000-0000-4000-8000-00000000000f",
    ];
    for kind in ["uuid", "varchar(60)"] {
        let layout = Layout::new().tenant_column("org").unwrap();
        let columns = format!("org {kind}, user_id {kind}, UNIQUE (org, user_id)");
        let (db, _hosts, vault) = vault_over(&columns, layout).await;
        let owners = IDS.map(|tenant| IDS.map(|user| owner(user).in_tenant(tenant).unwrap()));
        let configs: Vec<_> =
            owners.as_flattened().iter().rev().map(|owner| (owner.clone(), small_config(1))).collect();
        for stored in vault.store_many(&configs).await.unwrap() {
            stored.unwrap();
        }
        db.exec(&format!(
            "INSERT INTO user_profiles VALUES (NULL, '{}', 'text'), ('{}', NULL, 'text')",
            IDS[1], IDS[1]
        ))
        .await;
        for size in SIZES {
            let entries = listed(&vault, size).await;
            assert_each_once(&entries, 11);
            let valid: Vec<&Owner> = entries.iter().filter_map(|entry| entry.owner.valid()).collect();
            assert_eq!(valid, owners.as_flattened().iter().collect::<Vec<_>>());
            let no_tenant = ListedOwner::Unusable { tenant: None, user: IDS[1].to_owned() };
            let no_user = ListedOwner::Unusable { tenant: Some(IDS[1].to_owned()), user: String::new() };
            assert_eq!((&entries[0].owner, &entries[4].owner), (&no_tenant, &no_user));
        }
    }
}

/// What waits in the local file is merged in the same order: an owner in both places is one entry.
#[tokio::test]
async fn pending_records_stand_between_the_others() {
    let (db, hosts, vault) = vault_over("user_id text UNIQUE", Layout::new()).await;
    for n in (0..40).step_by(2) {
        vault.store(&owner(&format!("user-{n:02}")), &small_config(n)).await.unwrap();
    }
    db.exec("INSERT INTO user_profiles VALUES (E'user-05\\t', 'text'), (E'user-39\\t', 'text')").await;
    drop(vault);
    let offline = hosts.offline(0).build().await.unwrap();
    for n in (0..40).step_by(3) {
        offline.store(&owner(&format!("user-{n:02}")), &small_config(n)).await.unwrap();
    }
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    for size in SIZES {
        let entries = listed(&vault, size).await;
        assert_each_once(&entries, 20 + 7 + 2);
        let local = entries.iter().filter(|entry| entry.source == Source::Local).count();
        assert_eq!(local, 14);
    }
}

/// The role sees one tenant, or none: the list says so.
#[tokio::test]
async fn a_list_that_rows_may_be_hidden_from_says_so() {
    let layout = Layout::new().tenant_column("tenant").unwrap();
    let columns = "tenant text, user_id text, UNIQUE (tenant, user_id)";
    let (db, hosts, all) = vault_over(columns, layout.clone()).await;
    for tenant in ["acme", "zoo"] {
        all.store(&owner("u").in_tenant(tenant).unwrap(), &small_config(1)).await.unwrap();
    }
    let guest = Role::create(
        &db,
        "ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY;
         GRANT SELECT, INSERT, UPDATE ON user_profiles TO guest;
         CREATE POLICY one ON user_profiles TO guest USING (tenant = current_setting('app.current_tenant', true))",
    )
    .await;
    let vault = hosts.host(1, &guest.url).layout(layout.clone()).build().await.unwrap();
    let page = vault.list(None, 10).await.unwrap();
    assert_eq!((page.entries.len(), page.next), (0, None));
    let hidden = page.hidden.unwrap();
    assert!(hidden.contains("row level security may hide rows of public.user_profiles"), "{hidden}");

    exec(&db.url, &format!("ALTER ROLE {} SET app.current_tenant = 'zoo'", guest.name)).await;
    let vault = hosts.host(1, &guest.url).layout(layout.clone()).build().await.unwrap();
    let page = vault.list(None, 10).await.unwrap();
    assert_eq!((names(&page.entries), page.hidden), (vec![(Some("zoo"), "u")], Some(hidden)));

    // a policy for every row hides nothing
    db.exec(&format!("CREATE POLICY every ON user_profiles TO {} USING (true)", guest.name)).await;
    assert_eq!(listed(&vault, 10).await.len(), 2);
    assert!(all.list(None, 10).await.unwrap().hidden.is_none());
}

/// A vault that knows the table as it was looks again, as every load does.
#[tokio::test]
async fn columns_that_come_and_go_do_not_break_a_list() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec("CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb)").await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.store(&owner("user-1"), &small_config(1)).await.unwrap();
    let listed = async || {
        let page = vault.list(None, 10).await.unwrap();
        page.entries.into_iter().map(|entry| (entry.owner.user().to_owned(), entry.state)).collect::<Vec<_>>()
    };
    for change in ["ADD encrypted_retell_api_key text", "DROP encrypted_retell_api_key"] {
        db.exec(&format!("ALTER TABLE user_profiles {change}")).await;
        assert_eq!(listed().await, [("user-1".to_owned(), RecordState::Readable)], "{change}");
    }
    // nor does the one column that holds records
    db.exec("ALTER TABLE user_profiles RENAME encrypted_agent_config TO other").await;
    assert_eq!(listed().await, []);
    db.exec("ALTER TABLE user_profiles RENAME other TO encrypted_agent_config").await;
    // the catalogue is not read twice in one moment
    until(async || !listed().await.is_empty()).await;
}
