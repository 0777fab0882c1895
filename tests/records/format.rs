//! `docs/FORMAT.md` is true: its two programs open what the vault wrote, and the frozen vectors.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use retell_vault::config::WebhookConfig;
use retell_vault::keyring::{KeyState, RawKey};
use retell_vault::{Keyring, Owner, RetellConfig, Vault};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row};
use tempfile::TempDir;

use crate::support::vaults::*;

/// The programs of the page: what marks their block, and their file.
const PROGRAMS: [(&str, &str); 2] = [("js", "open_record.mjs"), ("python", "open_record.py")];

/// A Python that has `cryptography`: the first one in the path may belong to a version manager.
static PYTHON: LazyLock<&str> = LazyLock::new(|| {
    let imports = |python: &&str| {
        let imported = Command::new(python).args(["-c", "import cryptography"]).output();
        imported.is_ok_and(|output| output.status.success())
    };
    let python = ["python3", "/usr/bin/python3"].into_iter().find(imports);
    python.expect("these tests need python3 with cryptography, which scripts/test installs")
});

fn source(language: &str) -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/FORMAT.md")).unwrap();
    let blocks: Vec<&str> = page.split(&format!("```{language}\n")).skip(1).collect();
    assert_eq!(blocks.len(), 1, "programs in {language}");
    blocks[0].split("```").next().unwrap().to_owned()
}

/// Whose record it is, as the programs are told.
#[derive(Clone, Copy, Debug)]
struct Subject<'a> {
    namespace: &'a str,
    user: &'a str,
    tenant: Option<&'a str>,
}

impl<'a> Subject<'a> {
    fn of_vector(vector: &'a Value) -> Self {
        let text = |name: &str| vector[name].as_str().unwrap();
        Self { namespace: text("namespace"), user: text("user"), tenant: vector["tenant"].as_str() }
    }
}

/// Both programs of the page, in a folder of their own.
struct Programs {
    folder: TempDir,
    keyring: PathBuf,
    wrapping_key: String,
}

impl Programs {
    fn new(keyring: &Path, wrapping_key: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (language, file) in PROGRAMS {
            fs::write(folder.path().join(file), source(language)).unwrap();
        }
        Self { folder, keyring: keyring.to_owned(), wrapping_key: wrapping_key.to_owned() }
    }

    /// Those of the frozen keyring.
    fn of_vectors(vectors: &Value) -> Self {
        Self::new(&vectors_folder().join("keyring.json"), vectors["wrapping_key"].as_str().unwrap())
    }

    fn run(&self, subject: Subject<'_>, packed: &str) -> [(&'static str, Output); 2] {
        PROGRAMS.map(|(language, file)| {
            let mut program = Command::new(if language == "js" { "node" } else { *PYTHON });
            program.arg(self.folder.path().join(file)).arg(&self.keyring);
            program.args([subject.namespace, subject.user, packed]).args(subject.tenant);
            program.env("RETELL_VAULT_WRAPPING_KEY", &self.wrapping_key);
            (file, program.output().expect("these tests need node, which scripts/test installs"))
        })
    }

    /// What both of them print.
    fn open(&self, subject: Subject<'_>, packed: &str, name: &str) -> Value {
        let opened = self.run(subject, packed).map(|(file, output)| {
            let problem = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{file}, {name}: {problem}");
            serde_json::from_slice::<Value>(&output.stdout).unwrap()
        });
        assert_eq!(opened[0], opened[1], "{name}");
        opened[0].clone()
    }

    fn assert_refused(&self, subject: Subject<'_>, packed: &str, name: &str) {
        for (file, output) in self.run(subject, packed) {
            assert!(!output.status.success() && output.stdout.is_empty(), "{file} opens {name}");
        }
    }
}

#[test]
fn the_programs_are_short_and_need_nothing_unusual() {
    for (language, file) in PROGRAMS {
        let lines = source(language).lines().count();
        assert!(lines <= 40, "{file} has {lines} lines");
    }
    for line in source("js").lines().filter(|line| line.contains("import") || line.contains("require")) {
        assert!(line.starts_with("import {") && line.contains(r#"} from "node:"#), "{line}");
    }
    for line in source("python").lines().filter(|line| line.contains("import")) {
        let standard = "import base64, hmac, json, os, re, sys";
        assert!(line == standard || line.starts_with("from cryptography.hazmat."), "{line}");
    }
}

/// What the only pending row of a local file holds.
async fn pending(file: &Path) -> String {
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    let rows = sqlx::query("SELECT text FROM pending").fetch_all(&mut connection).await.unwrap();
    assert_eq!(rows.len(), 1);
    rows[0].get(0)
}

fn field_of(token: &str) -> &str {
    token.split('.').nth(3).unwrap()
}

fn every_field() -> (RetellConfig, Value) {
    let webhook = WebhookConfig::new("https://example.com/hook").unwrap();
    let webhook = webhook.with_events(["call_ended", "from_the_future"]).unwrap();
    let config = RetellConfig::new("key_test_\"\\_0000000000".parse().unwrap())
        .with_call_agent_id("agent_test_call".parse().unwrap())
        .with_sms_agent_id("agent_test_sms".parse().unwrap())
        .with_webhook_key("whsec_test_00000000".parse().unwrap())
        .with_phone_number("+14155550100".parse().unwrap())
        .with_webhook_config(webhook)
        .with_integration_status("active".parse().unwrap());
    let values = json!({
        "api_key": "key_test_\"\\_0000000000",
        "call_agent_id": "agent_test_call",
        "sms_agent_id": "agent_test_sms",
        "webhook_key": "whsec_test_00000000",
        "phone_number": "+14155550100",
        "webhook_config":
            { "events": ["call_ended", "from_the_future"], "webhook_url": "https://example.com/hook" },
        "integration_status": "active",
    });
    (config, values)
}

fn api_key_alone() -> (RetellConfig, Value) {
    let config = RetellConfig::new("key_test_0000000000000000".parse().unwrap());
    (config, json!({ "api_key": "key_test_0000000000000000" }))
}

fn without_api_key() -> (RetellConfig, Value) {
    let json = r#"{"webhook_key":"whsec_test_00000000"}"#;
    (RetellConfig::from_json(json).unwrap(), serde_json::from_str(json).unwrap())
}

const UUID: &str = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11";

fn owner_of(subject: Subject<'_>) -> Owner {
    let owner = Owner::user(subject.user).unwrap();
    subject.tenant.map_or(owner.clone(), |tenant| owner.in_tenant(tenant).unwrap())
}

fn subject<'a>(user: &'a str, tenant: Option<&'a str>) -> Subject<'a> {
    Subject { namespace: "retell", user, tenant }
}

fn programs_of(hosts: &Hosts) -> Programs {
    Programs::new(hosts.keyring().path().unwrap(), &STANDARD.encode([7; 32]))
}

#[tokio::test]
async fn the_programs_open_what_the_vault_wrote() {
    let hosts = Hosts::new().await;
    let programs = programs_of(&hosts);
    let cases = [
        (subject("user-1", None), every_field()),
        (subject(UUID, Some("Zürich-株式会社")), every_field()),
        (subject("josé-🦀", Some("tenant-1")), api_key_alone()),
        (subject("user-2", Some(UUID)), without_api_key()),
    ];
    for (number, (subject, (config, values))) in cases.into_iter().enumerate() {
        let vault = hosts.offline(number + 1).build().await.unwrap();
        let file = hosts.local_file(number + 1);
        vault.store(&owner_of(subject), &config).await.unwrap();
        let packed = pending(&file).await;
        assert_eq!(packed.split(' ').count(), values.as_object().unwrap().len() + 1);
        assert_eq!(programs.open(subject, &packed, "a record"), values);

        vault.delete(&owner_of(subject)).await.unwrap();
        let tombstone = pending(&file).await;
        assert_eq!(field_of(&tombstone), "record");
        assert_eq!(programs.open(subject, &tombstone, "a tombstone"), json!({}));
    }
}

/// Stores twice, with every field set, and gives both packed records.
async fn stored_twice(vault: &Vault, file: &Path, subject: Subject<'_>) -> [String; 2] {
    let (config, _) = every_field();
    vault.store(&owner_of(subject), &config).await.unwrap();
    let earlier = pending(file).await;
    vault.store(&owner_of(subject), &config).await.unwrap();
    [earlier, pending(file).await]
}

#[tokio::test]
async fn the_programs_refuse_a_record_of_the_vault_for_anyone_else() {
    let hosts = Hosts::new().await;
    let programs = programs_of(&hosts);
    let whose = subject("user-1", Some("tenant-1"));
    let vault = hosts.offline(1).build().await.unwrap();
    let [_, packed] = stored_twice(&vault, &hosts.local_file(1), whose).await;
    assert_eq!(programs.open(whose, &packed, "the record"), every_field().1);

    let others = [
        subject("user-2", Some("tenant-1")),
        subject("user-1", Some("tenant-2")),
        subject("user-1", None),
        subject("tenant-1", Some("user-1")),
        Subject { namespace: "twilio", ..whose },
    ];
    for other in others {
        programs.assert_refused(other, &packed, &format!("the record as {other:?}"));
    }
    let other_key = Programs::new(hosts.keyring().path().unwrap(), &STANDARD.encode([8; 32]));
    other_key.assert_refused(whose, &packed, "the record with another wrapping key");
}

#[tokio::test]
async fn the_programs_refuse_tokens_removed_added_or_swapped() {
    let hosts = Hosts::new().await;
    let programs = programs_of(&hosts);
    let whose = subject("user-1", None);
    let vault = hosts.offline(1).build().await.unwrap();
    let [earlier, packed] = stored_twice(&vault, &hosts.local_file(1), whose).await;
    let (earlier, tokens): (Vec<&str>, Vec<&str>) =
        (earlier.split(' ').collect(), packed.split(' ').collect());
    let plain = ["phone_number", "webhook_config", "integration_status"];

    for (at, token) in tokens.iter().enumerate() {
        let field = field_of(token);
        let rest = tokens.iter().filter(|other| *other != token).copied().collect::<Vec<_>>().join(" ");
        // a plain field may lie in a column, which the programs do not see
        if plain.contains(&field) {
            let opened = programs.open(whose, &rest, field);
            assert!(opened.get(field).is_none() && opened.as_object().unwrap().len() == tokens.len() - 2);
        } else {
            programs.assert_refused(whose, &rest, &format!("a record without {field}"));
        }
        let twice = format!("{packed} {token}");
        programs.assert_refused(whose, &twice, &format!("a record with {field} twice"));
        let old = earlier.iter().find(|token| field_of(token) == field).unwrap();
        programs.assert_refused(
            whose,
            &format!("{rest} {old}"),
            &format!("a record with an earlier {field}"),
        );

        let next = tokens[(at + 1) % tokens.len()];
        let swapped = packed.replace(token, "…").replace(next, &renamed(next, field));
        let swapped = swapped.replace('…', &renamed(token, field_of(next)));
        programs.assert_refused(whose, &swapped, &format!("{field} and {} exchanged", field_of(next)));
    }
    let unlisted = renamed(tokens[0], "voice_agent_id");
    programs.assert_refused(whose, &format!("{packed} {unlisted}"), "a record with a token of another name");
    programs.assert_refused(whose, &format!("{packed} {}", earlier.join(" ")), "two records");
}

/// The token under the name of another field.
fn renamed(token: &str, field: &str) -> String {
    token.replacen(&format!(".{}.", field_of(token)), &format!(".{field}."), 1)
}

fn vectors_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn vectors() -> Value {
    serde_json::from_str(&fs::read_to_string(vectors_folder().join("tokens.json")).unwrap()).unwrap()
}

/// The vectors of one member, each with its name.
fn each<'a>(vectors: &'a Value, member: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let list = vectors[member].as_array().unwrap();
    assert!(!list.is_empty(), "{member}");
    list.iter().map(|vector| (vector["name"].as_str().unwrap(), vector))
}

#[test]
fn the_programs_open_the_frozen_tokens_and_records() {
    let vectors = vectors();
    let programs = Programs::of_vectors(&vectors);
    for (name, vector) in each(&vectors, "opens") {
        let text = |name: &str| vector[name].as_str().unwrap();
        let packed = format!("{} {}", text("token"), text("beside"));
        let opened = programs.open(Subject::of_vector(vector), &packed, name);
        assert_eq!(opened[text("field")], serde_json::from_str::<Value>(text("json")).unwrap(), "{name}");
    }
    for (name, vector) in each(&vectors, "records") {
        let packed = vector["packed"].as_str().unwrap();
        let opened = programs.open(Subject::of_vector(vector), packed, name);
        assert_eq!(opened, vector["values"], "{name}");
        let reversed = packed.rsplit(' ').collect::<Vec<_>>().join(" ");
        assert_eq!(programs.open(Subject::of_vector(vector), &reversed, name), opened, "{name}, reversed");
    }
}

#[test]
fn the_programs_refuse_the_frozen_bad_tokens_and_records() {
    let vectors = vectors();
    let programs = Programs::of_vectors(&vectors);
    for (name, vector) in each(&vectors, "refused") {
        let text = |name: &str| vector[name].as_str().unwrap();
        let packed = format!("{} {}", text("beside"), text("token"));
        programs.assert_refused(Subject::of_vector(vector), &packed, name);
    }
    for (name, vector) in each(&vectors, "refused_records") {
        let packed = vector["packed"].as_str().unwrap();
        match vector["needs_columns"].as_bool().unwrap() {
            true => drop(programs.open(Subject::of_vector(vector), packed, name)),
            false => programs.assert_refused(Subject::of_vector(vector), packed, name),
        }
    }
}

#[test]
fn the_frozen_vectors_are_what_their_program_makes() {
    let output = Command::new(*PYTHON).arg(vectors_folder().join("generate.py")).arg("--check").output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn the_vault_opens_the_frozen_keyring() {
    let vectors = vectors();
    // a checkout knows no modes
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let path = home.path().join("keyring.json");
    fs::copy(vectors_folder().join("keyring.json"), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();

    let wrapping_key = RawKey::from_base64(vectors["wrapping_key"].as_str().unwrap()).unwrap();
    let keys = Keyring::open(&path, &wrapping_key).await.unwrap().keys();
    let states: Vec<KeyState> = keys.iter().map(|key| key.state).collect();
    assert_eq!(states, [KeyState::Destroyed, KeyState::Retired, KeyState::Primary]);
    for key in keys {
        assert_eq!(json!(key.fingerprint), vectors["fingerprints"][key.id.to_string()]);
    }
}
