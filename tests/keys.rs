//! Root keys that change under a running vault, as an operator changes them with another process.

use std::fs;
use std::path::Path;
use std::time::Duration;

use retell_vault::keyring::{KeyId, RawKey};
use retell_vault::{ErrorKind, Keyring, Owner, RetellConfig, Vault};

fn raw(byte: char) -> RawKey {
    RawKey::from_base64(&format!("{}A=", byte.to_string().repeat(42))).unwrap()
}

fn config() -> RetellConfig {
    RetellConfig::new("key_test_rotation".parse().unwrap())
}

/// A vault over the local file alone, and the keyring as an operator has it open.
async fn running(home: &Path) -> (Vault, Keyring) {
    let path = home.join("home/keyring.json");
    let prepared = Keyring::prepare(&path, &raw('A')).unwrap();
    let vault = Vault::builder(prepared).local_file(home.join("home/local.db")).init().await.unwrap();
    (vault, Keyring::open(&path, &raw('A')).unwrap())
}

/// Whether a token that names the key lies in the local file.
fn holds_token_of(home: &Path, key: KeyId) -> bool {
    let head = format!("rv1.{key}.");
    let holds = |bytes: Vec<u8>| bytes.windows(head.len()).any(|text| text == head.as_bytes());
    ["local.db", "local.db-journal"]
        .iter()
        .any(|name| fs::read(home.join("home").join(name)).is_ok_and(holds))
}

#[tokio::test]
async fn a_keyring_that_is_saved_nowhere_seals_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (path, local) = (home.path().join("home/keyring.json"), home.path().join("home/local.db"));
    let prepared = Keyring::prepare(&path, &raw('A')).unwrap();
    let builder = || Vault::builder(prepared.clone()).local_file(&local);
    let refused = builder().build().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Configuration);
    assert!(refused.to_string().contains("keyring.json") && refused.hint().contains("init()"), "{refused}");
    assert!(!path.exists() && !local.exists(), "nothing was begun");

    // once it is saved, every clone of it may be built with, and another process opens what it sealed
    let owner = Owner::user("user-1").unwrap();
    builder().init().await.unwrap().store(&owner, &config()).await.unwrap();
    builder().build().await.unwrap().load(&owner).await.unwrap();
    let opened = Keyring::open(&path, &raw('A')).unwrap();
    let vault = Vault::builder(opened.clone()).local_file(&local).build().await.unwrap();
    vault.load(&owner).await.unwrap();

    // a file that was lost is saved nowhere either
    fs::remove_file(&path).unwrap();
    for keyring in [prepared, opened] {
        let refused = Vault::builder(keyring).local_file(&local).build().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::KeyringMissing, "{refused}");
    }
    vault.load(&owner).await.unwrap();
}

#[tokio::test]
async fn a_running_vault_seals_under_the_promoted_key_and_opens_what_was_stored_before() {
    let home = tempfile::tempdir().unwrap();
    let (vault, operator) = running(home.path()).await;
    let before = Owner::user("before").unwrap();
    vault.store(&before, &config()).await.unwrap();
    let new = operator.add_key().unwrap().id;
    operator.promote_key(new).unwrap();
    let mut stores = 0;
    while !holds_token_of(home.path(), new) {
        assert!(stores < 400, "the new key never sealed");
        tokio::time::sleep(Duration::from_millis(25)).await;
        vault.store(&Owner::user(&format!("user-{stores}")).unwrap(), &config()).await.unwrap();
        stores += 1;
    }
    for user in (0..stores).map(|number| format!("user-{number}")).chain(["before".to_owned()]) {
        vault.load(&Owner::user(&user).unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn a_vault_that_cannot_follow_the_keyring_refuses_to_store_and_goes_on_loading() {
    let home = tempfile::tempdir().unwrap();
    let (vault, operator) = running(home.path()).await;
    let owner = Owner::user("user-1").unwrap();
    vault.store(&owner, &config()).await.unwrap();
    operator.rewrap(&raw('Q')).unwrap();
    operator.add_key().unwrap();
    let mut tries = 0;
    let error = loop {
        match vault.store(&owner, &config()).await {
            Err(error) => break error,
            Ok(_) => assert!(tries < 400, "it never noticed"),
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(25)).await;
    };
    assert_eq!(error.kind(), ErrorKind::KeyringLocked);
    assert!(error.hint().contains("restart"), "{error:?}");
    vault.load(&owner).await.unwrap();

    drop(vault);
    let reopened = Keyring::open(operator.path(), &raw('Q')).unwrap();
    let vault = Vault::builder(reopened).local_file(home.path().join("home/local.db")).build().await.unwrap();
    vault.store(&owner, &config()).await.unwrap();
}
