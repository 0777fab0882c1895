//! Vaults and configurations to test with. Every value is obviously fake.

use std::path::{Path, PathBuf};

use base64::Engine;
use futures_util::FutureExt;
use retell_vault::keyring::RawKey;
use retell_vault::{Keyring, Layout, Owner, RetellConfig, Vault, VaultBuilder};
use tempfile::TempDir;

/// A value that must not be found anywhere outside the vault.
pub const CANARIES: [&str; 4] =
    ["key_test_canary_4711", "agent_test_canary_call", "agent_test_canary_sms", "whsec_test_canary"];

/// A configuration with every field, its secrets ending in `mark`.
pub fn full_config(mark: impl std::fmt::Display) -> RetellConfig {
    let json = format!(
        r#"{{"api_key":"{}_{mark}","call_agent_id":"{}_{mark}","sms_agent_id":"{}_{mark}","phone_number":"+14155550100",
        "webhook_config":{{"webhook_url":"https://example.com/hook","events":["call_ended","from_the_future"],"secret":"{}_{mark}"}},
        "integration_status":"active"}}"#,
        CANARIES[0], CANARIES[1], CANARIES[2], CANARIES[3]
    );
    RetellConfig::from_json(&json).unwrap()
}

/// A configuration with only its key.
pub fn small_config(mark: impl std::fmt::Display) -> RetellConfig {
    RetellConfig::new(format!("{}_{mark}", CANARIES[0]).parse().unwrap())
}

pub fn owner(id: &str) -> Owner {
    Owner::user(id).unwrap()
}

/// The wrapping key of every test keyring.
pub fn wrapping_key() -> RawKey {
    RawKey::from_base64(&base64::engine::general_purpose::STANDARD.encode([7; 32])).unwrap()
}

/// Opens a keyring file of a test. Its wrapping key is given in the clear, so that there is nothing to wait for.
pub fn open_keyring(path: impl AsRef<Path>) -> Keyring {
    Keyring::open(path, &wrapping_key()).now_or_never().expect("a raw key waits for nothing").unwrap()
}

/// A keyring and the homes of the hosts that share it.
pub struct Hosts {
    folder: TempDir,
}

impl Hosts {
    /// Creates the keyring.
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keyring =
            Keyring::prepare(folder.path().join("home-0/keyring.json"), &wrapping_key()).await.unwrap();
        let local = folder.path().join("home-0/init.db");
        Vault::builder(keyring).local_file(local).init().await.unwrap();
        Self { folder }
    }

    pub fn keyring(&self) -> Keyring {
        open_keyring(self.folder.path().join("home-0/keyring.json"))
    }

    /// The local file of one host.
    pub fn local_file(&self, host: usize) -> PathBuf {
        self.folder.path().join(format!("home-{host}/local.db"))
    }

    /// A vault without a database.
    pub fn offline(&self, host: usize) -> VaultBuilder {
        Vault::builder(self.keyring()).local_file(self.local_file(host))
    }

    /// A vault of one host over a database.
    pub fn host(&self, host: usize, url: &str) -> VaultBuilder {
        self.offline(host).postgres(url)
    }

    /// All files in the homes, as bytes.
    pub fn files(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        read_all(self.folder.path(), &mut bytes);
        bytes
    }
}

fn read_all(folder: &Path, bytes: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => read_all(&path, bytes),
            // SQLite removes its log when the last connection closes, which may be now
            false => bytes.extend(std::fs::read(&path).unwrap_or_default()),
        }
    }
}

/// Panics if any secret of [`full_config`] is in the bytes.
pub fn assert_no_secret(bytes: &[u8], place: &str) {
    for canary in CANARIES {
        let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
        assert!(!found, "{canary} stands in {place}");
    }
}

/// The usual table with every column.
pub const ALL_COLUMNS: &str = "CREATE TABLE user_profiles (
    user_id text PRIMARY KEY, full_name text,
    encrypted_retell_api_key text, encrypted_call_agent_id text, encrypted_sms_agent_id text,
    encrypted_agent_config jsonb, phone_number text, webhook_config jsonb,
    retell_integration_status text, last_retell_sync timestamptz);
    COMMENT ON COLUMN user_profiles.phone_number IS 'retell-vault: phone_number of retell';
    COMMENT ON COLUMN user_profiles.webhook_config IS 'retell-vault: webhook_config of retell'";

/// Gives the plain columns of the usual table to the vault, as `schema apply` does with those that it creates.
pub const ADOPT: &str = "DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT attname FROM pg_attribute WHERE attrelid = 'user_profiles'::regclass AND NOT attisdropped
        AND attname IN ('phone_number', 'webhook_config') LOOP
        EXECUTE format('COMMENT ON COLUMN user_profiles.%I IS %L', name, 'retell-vault: ' || name || ' of retell');
    END LOOP; END $$";

/// The default layout on a table of another name.
pub fn named_table(name: &str) -> Layout {
    Layout::new().table(name).unwrap()
}
