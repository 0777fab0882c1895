//! Two keyrings over one database: the second one opens what it can, and seals nothing.

use retell_vault::records::StoreOptions;
use retell_vault::rotation::{PromoteOptions, RotateOptions};
use retell_vault::{Error, ErrorKind, Layout, Vault};
use serde_json::Value;

use crate::support::TestDb;
use crate::support::faults::{DEAD_URL, QUICK, local, unplugged};
use crate::support::rows;
use crate::support::vaults::{ALL_COLUMNS, Hosts, full_config, owner, small_config};

/// A table with records of one keyring, and homes with another.
struct TwoKeyrings {
    db: TestDb,
    first: Hosts,
    second: Hosts,
}

impl TwoKeyrings {
    async fn new() -> Self {
        let (db, first, second) = (TestDb::create().await, Hosts::new().await, Hosts::new().await);
        db.exec(ALL_COLUMNS).await;
        let vault = first.host(0, &db.url).build().await.unwrap();
        for user in rows::owners(5) {
            vault.store(&user, &full_config(1)).await.unwrap();
        }
        Self { db, first, second }
    }

    async fn stranger(&self) -> Vault {
        self.second.host(0, &self.db.url).build().await.unwrap()
    }

    async fn table(&self) -> Value {
        rows::table(&self.db, "user_profiles").await
    }
}

/// Every call that would seal something.
async fn sealing_calls(vault: &Vault) -> Vec<Error> {
    let (new, there) = (owner("new"), owner("user-1"));
    let configs = [(new.clone(), small_config(2)), (there.clone(), small_config(2))];
    let replacing = StoreOptions::new().replace_unreadable().replace_foreign();
    let mut errors = vec![
        vault.store(&new, &small_config(2)).await.unwrap_err(),
        vault.store(&there, &small_config(2)).await.unwrap_err(),
        vault.store_with(&there, &small_config(2), replacing).await.unwrap_err(),
        vault.delete(&new).await.unwrap_err(),
        vault.delete(&there).await.unwrap_err(),
        vault.modify(&there, |_| Ok(())).await.unwrap_err(),
        vault.rotate(&RotateOptions::new(), |_| {}).await.unwrap_err(),
        vault.promote(&PromoteOptions::new(), |_| {}).await.unwrap_err(),
    ];
    errors.extend(vault.store_many(&configs).await.unwrap().into_iter().map(Result::unwrap_err));
    errors
}

fn assert_wrong_keyring(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::WrongKeyring, "{error:?}");
    assert!(error.to_string().contains("public.user_profiles in "), "{error}");
    assert!(error.hint().contains("retell-vault keyring adopt"), "{}", error.hint());
}

#[tokio::test]
async fn another_keyring_seals_nothing_and_says_so_everywhere() {
    let stage = TwoKeyrings::new().await;
    let (before, vault) = (stage.table().await, stage.stranger().await);
    for error in sealing_calls(&vault).await {
        assert_wrong_keyring(&error);
    }
    assert_wrong_keyring(&vault.load(&owner("user-1")).await.unwrap_err());
    let many = vault.load_many(&[owner("user-1"), owner("new"), owner("user-2")]).await;
    let kinds: Vec<_> = many.into_iter().map(|loaded| loaded.unwrap_err().kind()).collect();
    assert_eq!(kinds, [ErrorKind::WrongKeyring, ErrorKind::NotFound, ErrorKind::WrongKeyring]);

    let status = vault.status().await.unwrap();
    let problem = status.database.unwrap().problem.unwrap().to_string();
    assert!(problem.contains("tokens of another keyring"), "{problem}");
    assert_eq!(status.local.unwrap().pending, 0);
    assert_eq!(stage.table().await, before);
}

/// What the last look found holds while the database is away: nothing is kept for a table that is another keyring's.
#[tokio::test]
async fn nothing_waits_in_the_local_file_once_the_table_is_known_to_be_anothers() {
    let stage = TwoKeyrings::new().await;
    let proxy = crate::support::CutProxy::start(&stage.db.url).await;
    let vault = stage.second.host(0, proxy.url()).timeouts(QUICK).build().await.unwrap();
    assert_wrong_keyring(&vault.store(&owner("new"), &small_config(2)).await.unwrap_err());
    proxy.set(crate::support::Mode::Refuse).await;
    for _ in 0..3 {
        assert_wrong_keyring(&vault.store(&owner("new"), &small_config(2)).await.unwrap_err());
    }
    assert_eq!(local(&vault).await.pending, 0);
}

/// Where the first look meets an outage, records wait, and the look comes before they are pushed.
#[tokio::test]
async fn what_waits_is_not_pushed_before_the_look() {
    let stage = TwoKeyrings::new().await;
    let away = unplugged(&stage.second, 0).await;
    assert!(away.store(&owner("new"), &small_config(2)).await.unwrap().degraded.is_some());
    drop(away);

    let (before, vault) = (stage.table().await, stage.stranger().await);
    let report = vault.sync().await.unwrap();
    assert!(report.stopped.unwrap().to_string().contains("tokens of another keyring"));
    assert_eq!((report.pushed, report.blocked.len(), local(&vault).await.pending), (0, 0, 1));
    assert_eq!(stage.table().await, before);

    // the right keyring pushes what waited in the same way
    let away = unplugged(&stage.first, 1).await;
    away.store(&owner("new"), &small_config(3)).await.unwrap();
    let vault = stage.first.host(1, &stage.db.url).build().await.unwrap();
    assert_eq!(vault.sync().await.unwrap().pushed, 1);
}

#[tokio::test]
async fn one_planted_token_stops_nobody() {
    let stage = TwoKeyrings::new().await;
    let planted = "rv1.0123abcd.0190000000000000.api_key.AAAA";
    // before all others, and in every place of its row
    stage
        .db
        .exec(&format!(
            "CREATE TEMP TABLE kept AS TABLE user_profiles; TRUNCATE user_profiles;
             INSERT INTO user_profiles (user_id, encrypted_retell_api_key, encrypted_call_agent_id, encrypted_agent_config)
                VALUES ('planted', repeat('{planted} ', 200), '{planted}', '{{\"retell_vault\": {{\"api_key\": \"{planted}\"}}}}');
             INSERT INTO user_profiles TABLE kept"
        ))
        .await;
    let vault = stage.first.host(1, &stage.db.url).build().await.unwrap();
    vault.store(&owner("new"), &small_config(2)).await.unwrap();
    vault.load(&owner("user-1")).await.unwrap();
    assert_eq!(vault.load(&owner("planted")).await.unwrap_err().kind(), ErrorKind::Malformed);
    assert!(vault.status().await.unwrap().database.unwrap().problem.is_none());
}

/// Text of the application is no token, and a key that was retired or destroyed is still one of ours.
#[tokio::test]
async fn tables_without_a_token_of_another_are_free() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    db.exec(
        "INSERT INTO user_profiles (user_id, encrypted_retell_api_key, encrypted_agent_config)
         VALUES ('a', 'sk_live_0000', '[1]'), ('b', 'rv1.', '{\"retell_vault\": {\"x\": \"rv\"}}')",
    )
    .await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.store(&owner("user-1"), &small_config(1)).await.unwrap();

    let keyring = hosts.keyring();
    keyring.promote_key(keyring.add_key().await.unwrap().id).await.unwrap();
    let vault = hosts.host(1, &db.url).build().await.unwrap();
    vault.store(&owner("user-2"), &small_config(2)).await.unwrap();
    vault.load(&owner("user-1")).await.unwrap();
}

/// A wrong answer is not remembered for longer than it is true.
#[tokio::test]
async fn the_look_is_repeated_after_it_failed() {
    let stage = TwoKeyrings::new().await;
    let vault = stage.stranger().await;
    assert_wrong_keyring(&vault.store(&owner("new"), &small_config(2)).await.unwrap_err());
    stage.db.exec("DELETE FROM user_profiles").await;
    vault.store(&owner("new"), &small_config(2)).await.unwrap();
    // and one that went well is remembered
    let right = stage.first.host(2, &stage.db.url).build().await.unwrap();
    assert_wrong_keyring(&right.store(&owner("user-1"), &small_config(2)).await.unwrap_err());
    vault.store(&owner("another"), &small_config(2)).await.unwrap();
}

#[tokio::test]
async fn a_keyring_can_be_adopted_and_other_homes_are_not() {
    let stage = TwoKeyrings::new().await;
    let vault = stage.stranger().await;
    assert!(vault.adopt_table().await.unwrap());
    vault.store(&owner("new"), &small_config(2)).await.unwrap();
    assert_eq!(vault.load(&owner("user-1")).await.unwrap_err().kind(), ErrorKind::UnknownKey);
    let refused = vault.store(&owner("user-1"), &small_config(2)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::UnknownKey, "what does not open is not overwritten unasked");
    drop(vault);

    // it is noted for this home and this table
    stage.db.exec("DELETE FROM user_profiles WHERE user_id = 'new'").await;
    stage.stranger().await.store(&owner("new"), &small_config(3)).await.unwrap();
    stage.db.exec("DELETE FROM user_profiles WHERE user_id = 'new'").await;
    let elsewhere = stage.second.host(1, &stage.db.url).build().await.unwrap();
    assert_wrong_keyring(&elsewhere.store(&owner("new"), &small_config(3)).await.unwrap_err());
    stage.db.exec("CREATE TABLE other AS TABLE user_profiles").await;
    let layout = Layout::new().table("other").unwrap();
    let other = stage.second.host(0, &stage.db.url).layout(layout).build().await.unwrap();
    assert_eq!(
        other.store(&owner("new"), &small_config(3)).await.unwrap_err().kind(),
        ErrorKind::WrongKeyring
    );

    let right = stage.first.host(1, &stage.db.url).build().await.unwrap();
    assert!(!right.adopt_table().await.unwrap(), "there is no need");
    let nothing_local = Vault::builder(stage.second.keyring()).postgres(&stage.db.url).build().await.unwrap();
    assert_eq!(nothing_local.adopt_table().await.unwrap_err().kind(), ErrorKind::Configuration);
    let away = stage.second.host(1, DEAD_URL).timeouts(QUICK).build().await.unwrap();
    assert_eq!(away.adopt_table().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// Many callers at once wait for one look.
#[tokio::test]
async fn a_crowd_gets_one_answer() {
    let stage = TwoKeyrings::new().await;
    let (right, wrong) = (stage.first.host(1, &stage.db.url).build().await.unwrap(), stage.stranger().await);
    let store = |vault: &Vault, n: usize| {
        let vault = vault.clone();
        tokio::spawn(async move { vault.store(&owner(&format!("crowd-{n}")), &small_config(n)).await })
    };
    let stores: Vec<_> = (0..100).map(|n| (store(&right, n), store(&wrong, 100 + n))).collect();
    for (right, wrong) in stores {
        right.await.unwrap().unwrap();
        assert_wrong_keyring(&wrong.await.unwrap().unwrap_err());
    }
}
