//! `docs/FORMAT.md` is true: its own program opens what the vault wrote, and the frozen vectors.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use retell_vault::{KeyState, KeyringFile, Owner, RawKey, RetellConfig};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row};
use support::vaults::*;
use tempfile::TempDir;

/// The program of the page, in a folder of its own.
struct Program {
    folder: TempDir,
    keyring: PathBuf,
    wrapping_key: String,
}

impl Program {
    fn new(keyring: &Path, wrapping_key: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("open_token.mjs"), source()).unwrap();
        Self { folder, keyring: keyring.to_owned(), wrapping_key: wrapping_key.to_owned() }
    }

    fn run(&self, user: &str, tenant: Option<&str>, token: &str) -> Output {
        let mut node = Command::new("node");
        node.arg(self.folder.path().join("open_token.mjs")).arg(&self.keyring).args([user, token]);
        node.args(tenant).env("RETELL_VAULT_WRAPPING_KEY", &self.wrapping_key);
        node.output().expect("these tests need node, which scripts/test installs")
    }

    fn open(&self, user: &str, tenant: Option<&str>, token: &str) -> String {
        let output = self.run(user, tenant, token);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned()
    }

    fn refuses(&self, user: &str, tenant: Option<&str>, token: &str) -> bool {
        let output = self.run(user, tenant, token);
        !output.status.success() && output.stdout.is_empty()
    }
}

fn source() -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/FORMAT.md")).unwrap();
    let program = page.split("```js\n").nth(1).unwrap().split("```").next().unwrap();
    program.to_owned()
}

/// All tokens of the local file.
async fn tokens(file: &Path) -> Vec<(String, String)> {
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    let rows =
        sqlx::query("SELECT text FROM pending ORDER BY user").fetch_all(&mut connection).await.unwrap();
    let texts: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let tokens = texts.iter().flat_map(|text| text.split(' '));
    tokens.map(|token| (token.split('.').nth(3).unwrap().to_owned(), token.to_owned())).collect()
}

#[test]
fn the_program_is_short_and_needs_node_alone() {
    let program = source();
    assert!(program.lines().count() <= 40, "{} lines", program.lines().count());
    for line in program.lines().filter(|line| line.contains("import") || line.contains("require")) {
        assert!(line.contains(r#"from "node:"#), "{line}");
    }
}

#[tokio::test]
async fn the_program_opens_what_the_vault_wrote() {
    let hosts = Hosts::new().await;
    let cases = [
        ("user-1", None, full_config(1)),
        ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", Some("Zürich-株式会社"), full_config(2)),
        ("josé-🦀", Some("tenant-1"), small_config(3)),
    ];
    for (number, (user, tenant, config)) in cases.into_iter().enumerate() {
        let owner = Owner::user(user).unwrap();
        let owner = tenant.map_or(owner.clone(), |tenant| owner.in_tenant(tenant).unwrap());
        let vault = hosts.offline(number + 1).build().await.unwrap();
        vault.store(&owner, &config).await.unwrap();

        let keyring = hosts.keyring();
        let program = Program::new(keyring.path(), &STANDARD.encode([7; 32]));
        let tokens = tokens(&hosts.local_file(number + 1)).await;
        let expected = fields(&config);
        assert_eq!(tokens.len(), expected.len());
        for (field, token) in &tokens {
            let opened: Value = serde_json::from_str(&program.open(user, tenant, token)).unwrap();
            assert_eq!(&opened, &expected[field], "{field}");
        }
        assert!(program.refuses("user-2", tenant, &tokens[0].1));
        assert!(Program::new(keyring.path(), &STANDARD.encode([8; 32])).refuses(user, tenant, &tokens[0].1));
    }
}

/// What the tokens of a configuration hold: every secret field, and of the plain ones those that are set.
fn fields(config: &RetellConfig) -> serde_json::Map<String, Value> {
    let mut config: Value = serde_json::from_str(&config.to_json_exposed()).unwrap();
    let fields = config.as_object_mut().unwrap();
    let webhook = fields.get_mut("webhook_config").and_then(Value::as_object_mut);
    let secret = webhook.and_then(|webhook| webhook.remove("secret"));
    fields.insert("webhook_secret".to_owned(), secret.unwrap_or_default());
    for field in ["call_agent_id", "sms_agent_id"] {
        fields.entry(field).or_insert(Value::Null);
    }
    fields.clone()
}

fn vectors() -> (PathBuf, Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let vectors = fs::read_to_string(folder.join("tokens.json")).unwrap();
    (folder, serde_json::from_str(&vectors).unwrap())
}

#[test]
fn the_program_agrees_with_the_frozen_vectors() {
    let (folder, vectors) = vectors();
    let program = Program::new(&folder.join("keyring.json"), vectors["wrapping_key"].as_str().unwrap());
    for vector in vectors["opens"].as_array().unwrap() {
        let text = |name: &str| vector[name].as_str().unwrap();
        let opened = program.open(text("user"), vector["tenant"].as_str(), text("token"));
        assert_eq!(opened, text("json"), "{}", text("name"));
    }
    for vector in vectors["refused"].as_array().unwrap() {
        let text = |name: &str| vector[name].as_str().unwrap();
        assert!(program.refuses(text("user"), vector["tenant"].as_str(), text("token")), "{}", text("name"));
    }
}

#[test]
fn the_vault_opens_the_frozen_keyring() {
    let (folder, vectors) = vectors();
    // a checkout knows no modes
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let path = home.path().join("keyring.json");
    fs::copy(folder.join("keyring.json"), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();

    let wrapping_key = RawKey::from_base64(vectors["wrapping_key"].as_str().unwrap()).unwrap();
    let keys = KeyringFile::open(&path, &wrapping_key).unwrap().keys();
    let states: Vec<KeyState> = keys.iter().map(|key| key.state).collect();
    assert_eq!(states, [KeyState::Destroyed, KeyState::Retired, KeyState::Primary]);
    for key in keys {
        assert_eq!(json!(key.fingerprint), vectors["fingerprints"][key.id.to_string()]);
    }
}
