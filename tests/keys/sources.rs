//! Keyrings that this process only reads: a text, and a file as Kubernetes mounts a Secret.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use retell_vault::keyring::{KeyId, KeyringPin};
use retell_vault::rotation::DestroyOptions;
use retell_vault::{Error, ErrorKind, Keyring, Vault};

use crate::support::rotation::{primary, promote};
use crate::support::vaults::*;

/// A folder as Kubernetes makes one for a Secret: the file is a link through `..data`, which moves with every change.
struct Mount {
    folder: tempfile::TempDir,
    changes: u32,
}

impl Mount {
    fn new(text: &[u8]) -> Self {
        let mut mount = Self { folder: tempfile::tempdir().unwrap(), changes: 0 };
        mount.put(text);
        symlink("..data/keyring.json", mount.keyring()).unwrap();
        fs::set_permissions(mount.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        mount
    }

    fn keyring(&self) -> PathBuf {
        self.folder.path().join("keyring.json")
    }

    /// What the kubelet does when the Secret has changed.
    fn put(&mut self, text: &[u8]) {
        self.changes += 1;
        let name = format!("..2026_01_01_00_00_00.{}", self.changes);
        let (version, new) = (self.folder.path().join(&name), self.folder.path().join("..data_tmp"));
        fs::create_dir(&version).unwrap();
        fs::write(version.join("keyring.json"), text).unwrap();
        fs::set_permissions(version.join("keyring.json"), fs::Permissions::from_mode(0o440)).unwrap();
        symlink(&name, &new).unwrap();
        fs::rename(new, self.folder.path().join("..data")).unwrap();
    }

    fn set_mode(&self, mode: u32) {
        fs::set_permissions(self.keyring(), fs::Permissions::from_mode(mode)).unwrap();
    }

    async fn open(&self) -> Result<Keyring, Error> {
        Keyring::read_only(self.keyring(), &wrapping_key()).await
    }
}

fn text(hosts: &Hosts) -> Vec<u8> {
    fs::read(hosts.keyring().path().unwrap()).unwrap()
}

async fn from_text(text: &[u8]) -> Keyring {
    Keyring::from_text(std::str::from_utf8(text).unwrap(), &wrapping_key()).await.unwrap()
}

/// A vault of a host over its local file alone.
async fn vault(keyring: Keyring, file: &Path) -> Vault {
    Vault::builder(keyring).local_file(file).build().await.unwrap()
}

/// The key of the next record that the vault stores, after it had the time to reload the keyring.
async fn seals_with(vault: &Vault, file: &Path, user: &str) -> Result<KeyId, Error> {
    tokio::time::sleep(Duration::from_millis(1100)).await;
    vault.store(&owner(user), &small_config(user)).await?;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut file = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let sql = "SELECT text FROM pending WHERE user = ?";
    let text: String = sqlx::query_scalar(sql).bind(user).fetch_one(&mut file).await.unwrap();
    sqlx::Connection::close(file).await.unwrap();
    Ok(text["rv1.".len()..][..8].parse().unwrap())
}

#[tokio::test]
async fn a_mounted_secret_is_followed_and_never_written() {
    let hosts = Hosts::new().await;
    let mut mount = Mount::new(&text(&hosts));
    let file = hosts.local_file(0);
    let running = vault(mount.open().await.unwrap(), &file).await;
    assert_eq!(seals_with(&running, &file, "user-1").await.unwrap(), primary(&hosts));

    let (_, new) = promote(&hosts).await;
    mount.put(&text(&hosts));
    assert_eq!(seals_with(&running, &file, "user-2").await.unwrap(), new);
    running.load(&owner("user-1")).await.unwrap();

    // a Secret that is taken back: the new key would be stored nowhere
    let before = fs::read_dir(mount.folder.path()).unwrap().count();
    let first = mount.folder.path().join("..2026_01_01_00_00_00.1/keyring.json");
    mount.put(&fs::read(first).unwrap());
    let error = seals_with(&running, &file, "user-3").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyringRolledBack, "{error:?}");
    running.load(&owner("user-2")).await.unwrap();
    mount.put(&text(&hosts));
    assert_eq!(seals_with(&running, &file, "user-3").await.unwrap(), new);
    assert_eq!(fs::read_dir(mount.folder.path()).unwrap().count(), before + 2, "nothing was written there");
}

#[tokio::test]
async fn every_change_of_a_read_only_keyring_is_an_error_that_says_where_to_make_it() {
    let hosts = Hosts::new().await;
    let old = primary(&hosts);
    let (_, new) = promote(&hosts).await;
    let mount = Mount::new(&text(&hosts));
    for keyring in [mount.open().await.unwrap(), from_text(&text(&hosts)).await] {
        let vault = vault(keyring.clone(), &hosts.local_file(0)).await;
        let refused = [
            keyring.add_key().await.unwrap_err(),
            keyring.promote_key(old).await.unwrap_err(),
            keyring.retire_key(new).await.unwrap_err(),
            keyring.rewrap(&wrapping_key()).await.unwrap_err(),
            vault.destroy_key(old, DestroyOptions::new().force()).await.unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
            assert!(error.to_string().contains("is read-only for this process"), "{error}");
            assert!(error.hint().contains("`retell-vault key`"), "{error:?}");
        }
        assert_eq!(keyring.keys(), hosts.keyring().keys());
        assert_eq!(keyring.pin(), hosts.keyring().pin());
        vault.close().await;
    }
    assert!(!mount.keyring().with_extension("json.lock").exists());
}

#[tokio::test]
async fn a_mounted_secret_may_be_readable_and_not_writable_by_others() {
    let hosts = Hosts::new().await;
    let mut mount = Mount::new(&text(&hosts));
    for mode in [0o400, 0o440, 0o444, 0o644] {
        mount.set_mode(mode);
        mount.open().await.unwrap();
        // the rules of a private file are others
        let as_own = Keyring::open(mount.keyring(), &wrapping_key()).await.unwrap_err();
        assert_eq!(as_own.kind(), ErrorKind::KeyringFile, "{as_own:?}");
    }
    for mode in [0o664, 0o646, 0o666] {
        mount.set_mode(mode);
        let error = mount.open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyringFile, "{error:?}");
        assert!(error.to_string().contains(&format!("mode {mode:03o}")), "{error}");
    }
    mount.put(&vec![b' '; 1024 * 1024 + 1]);
    assert!(mount.open().await.unwrap_err().to_string().contains("is too long"));
    mount.put(b"{}");
    assert_eq!(mount.open().await.unwrap_err().kind(), ErrorKind::KeyringFile);
    fs::remove_file(mount.folder.path().join("..data")).unwrap();
    let error = mount.open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyringMissing, "{error:?}");
    assert!(error.hint().contains("Secret"), "{error:?}");
}

/// A Secret that went back before a process starts. Without a local file and without a pin nothing tells.
#[tokio::test]
async fn an_older_text_seals_nothing_where_the_local_file_or_the_pin_knows_better() {
    let hosts = Hosts::new().await;
    let first = text(&hosts);
    let (_, new) = promote(&hosts).await;
    let newest = text(&hosts);
    let pin = hosts.keyring().pin();
    assert_eq!(pin.generation(), 3);

    let file = hosts.local_file(0);
    let before = vault(from_text(&newest).await, &file).await;
    assert_eq!(seals_with(&before, &file, "user-1").await.unwrap(), new);
    before.close().await;
    let mount = Mount::new(&first);
    let pinned = |keyring: Keyring| keyring.pinned(&pin).unwrap();
    for (keyring, file, knows) in [
        (from_text(&first).await, hosts.local_file(0), "local.db knows generation 3"),
        (mount.open().await.unwrap(), hosts.local_file(0), "local.db knows generation 3"),
        (pinned(from_text(&first).await), hosts.local_file(1), "the pin knows generation 3"),
        (pinned(mount.open().await.unwrap()), hosts.local_file(1), "the pin knows generation 3"),
    ] {
        let vault = vault(keyring, &file).await;
        let error = seals_with(&vault, &file, "user-2").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyringRolledBack, "{error:?}");
        assert!(error.to_string().contains(knows), "{error}");
        let problem = vault.status().await.unwrap().keyring_problem.unwrap();
        assert_eq!(problem.kind(), ErrorKind::KeyringRolledBack, "{problem:?}");
        vault.close().await;
    }

    // a mount that comes back is followed
    let (mut mount, file) = (mount, hosts.local_file(1));
    let running = vault(pinned(mount.open().await.unwrap()), &file).await;
    mount.put(&newest);
    assert_eq!(seals_with(&running, &file, "user-3").await.unwrap(), new);
}

#[tokio::test]
async fn a_pin_names_one_keyring() {
    let (hosts, other) = (Hosts::new().await, Hosts::new().await);
    let error = hosts.keyring().pinned(&other.keyring().pin()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongKeyring, "{error:?}");
    let pin: KeyringPin = hosts.keyring().pin().to_string().parse().unwrap();
    promote(&hosts).await;
    let later = hosts.keyring().pin();
    assert_eq!((later.id(), later.generation()), (pin.id(), 3), "the id is that of every generation");
    let vault = vault(hosts.keyring().pinned(&pin).unwrap(), &hosts.local_file(0)).await;
    vault.store(&owner("user-1"), &small_config(1)).await.unwrap();
}
