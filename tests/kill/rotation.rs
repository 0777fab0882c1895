//! SIGKILL while everything is sealed anew: every record opens afterwards, nothing is under a key that the
//! keyring does not list, and the same command ends what was begun.
//!
//! `RETELL_VAULT_TEST_KILLS=200 scripts/test --test kill rotation:: -- --nocapture` runs a longer campaign;
//! `RETELL_VAULT_TEST_SEED` repeats the random choices of a run.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{ChildStdout, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use retell_vault::keyring::KeyState;
use retell_vault::records::Version;
use retell_vault::{Keyring, Owner, RetellConfig, Vault, VaultBuilder};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tempfile::TempDir;

use crate::runner::Home;
use crate::support::TestDb;
use crate::support::rows::value;
use crate::support::vaults::*;

/// Users of each shape of row.
const USERS: usize = 60;
/// Users of each sort of text in the local file.
const LOCAL: usize = 15;
/// Nothing listens there.
const NOWHERE: &str = "postgres://user:hunter2@127.0.0.1:1/app";
/// Small batches, so that a kill finds some done and some not.
const ROTATE: [&str; 4] = ["rotate", "--batch", "12", "--json"];

/// What a text must go on saying: who it belongs to, at which version, in how many tokens.
type Versions = BTreeMap<String, (String, usize)>;

/// A table with rows of every shape, a local file with texts of every sort, and what is in them.
struct Scene {
    db: TestDb,
    home: Home,
    configs: Vec<(Owner, RetellConfig)>,
    /// Those that are in the local file only, or as a copy, and load while the database is away.
    offline: Vec<(Owner, RetellConfig)>,
    versions: Versions,
}

fn users(shape: &str, count: usize) -> Vec<(Owner, RetellConfig)> {
    (0..count).map(|n| (owner(&format!("{shape}-{n}")), full_config(format!("{shape}_{n}")))).collect()
}

async fn store(vault: &Vault, configs: &[(Owner, RetellConfig)]) {
    for stored in vault.store_many(configs).await.unwrap() {
        stored.unwrap();
    }
}

impl Scene {
    async fn new() -> Self {
        let db = TestDb::create().await;
        let home = Home::over(&db.url);
        let scene = Self { db, home, configs: Vec::new(), offline: Vec::new(), versions: Versions::new() };
        scene.with_rows().await.with_local_texts().await.with_versions().await
    }

    fn keyring(&self) -> Keyring {
        open_keyring(self.home.path().join("keyring.json"))
    }

    /// As a process that starts now.
    fn vault(&self) -> VaultBuilder {
        Vault::builder(self.keyring()).postgres(&self.db.url)
    }

    fn local_file(&self) -> PathBuf {
        self.home.path().join("local.db")
    }

    /// The keyring and the local file as a killed process left them. A vault that is built over the
    /// originals would seal the local file anew, which is left to the command.
    fn copy(&self) -> (TempDir, Keyring, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        for file in fs::read_dir(self.home.path()).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        let path = |name: &str| folder.path().join(name);
        let keyring = open_keyring(path("keyring.json"));
        let local = path("local.db");
        (folder, keyring, local)
    }

    /// The table grows under its rows, so that each shape stays as the columns were when it was stored.
    async fn with_rows(mut self) -> Self {
        let packed = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text)";
        let json = "ALTER TABLE user_profiles RENAME encrypted_retell_api_key TO aside;
            ALTER TABLE user_profiles ADD encrypted_agent_config jsonb";
        let both = "ALTER TABLE user_profiles RENAME aside TO encrypted_retell_api_key";
        let all =
            "ALTER TABLE user_profiles ADD encrypted_call_agent_id text, ADD encrypted_sms_agent_id text,
            ADD phone_number text, ADD webhook_config jsonb, ADD retell_integration_status text;
            COMMENT ON COLUMN user_profiles.phone_number IS 'retell-vault: phone_number of retell';
            COMMENT ON COLUMN user_profiles.webhook_config IS 'retell-vault: webhook_config of retell'";
        for (shape, sql) in [("packed", packed), ("json", json), ("both", both), ("all", all)] {
            self.db.exec(sql).await;
            let vault = self.vault().build().await.unwrap();
            let configs = users(shape, USERS);
            store(&vault, &configs).await;
            vault.close().await;
            self.configs.extend(configs);
        }
        self
    }

    /// Replicas, losers, and at last what waits for the database.
    async fn with_local_texts(mut self) -> Self {
        let online = self.vault().local_file(self.local_file()).offline_reads();
        let online = online.build().await.unwrap();
        let away = Vault::builder(self.keyring()).postgres(NOWHERE).local_file(self.local_file());
        let away = away.build().await.unwrap();
        let elsewhere = self.vault().build().await.unwrap();

        let replicas = users("replica", LOCAL);
        store(&online, &replicas).await;
        let losers = users("loser", LOCAL);
        store(&away, &losers).await;
        let winners: Vec<_> = losers.into_iter().map(|(owner, _)| (owner, full_config("won"))).collect();
        store(&elsewhere, &winners).await;
        assert_eq!(online.sync().await.unwrap().lost, LOCAL as u64);
        let pending = users("pending", LOCAL);
        store(&away, &pending).await;
        for vault in [online, away, elsewhere] {
            vault.close().await;
        }
        self.offline = [&replicas[..], &pending].concat();
        self.configs.extend([replicas, winners, pending].concat());
        self
    }

    async fn with_versions(mut self) -> Self {
        self.versions =
            self.sealed().await.into_iter().map(|(name, sealed)| (name, sealed.version)).collect();
        assert_eq!(self.versions.len(), 4 * USERS + 5 * LOCAL);
        self
    }

    /// Every text with tokens, wherever it lies, read without the vault.
    async fn sealed(&self) -> BTreeMap<String, Sealed> {
        let rows = "SELECT coalesce(jsonb_object_agg('row of ' || user_id, to_jsonb(t)::text), '{}') FROM user_profiles t";
        let rows: Value = value(&self.db, rows).await;
        let rows = rows
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned()));
        let (_folder, _, local) = self.copy();
        let local = SqliteConnectOptions::new().filename(local);
        let mut local = local.connect().await.unwrap();
        let sql = "SELECT 'pending of ' || user, text FROM pending UNION ALL SELECT 'replica of ' || user, text FROM replica
            UNION ALL SELECT kind || ' of ' || user, text FROM kept";
        let texts: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut local).await.unwrap();
        local.close().await.unwrap();
        rows.chain(texts).map(|(name, text)| (name.clone(), Sealed::read(&name, &text))).collect()
    }

    /// Until the server has noticed that the killed client is gone: its last statement may still run.
    async fn let_the_server_finish(&self) {
        let mut connection = PgConnection::connect(&self.db.url).await.unwrap();
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
        for _ in 0..2_000 {
            let others: i64 =
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap();
            if others == 0 {
                return connection.close().await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("a connection of a killed process stays");
    }

    /// What must hold at any moment. Says how far the rotation is.
    async fn check(&self) -> State {
        self.let_the_server_finish().await;
        let keys = self.keyring().keys();
        let sealed = self.sealed().await;
        let versions: Versions =
            sealed.iter().map(|(name, sealed)| (name.clone(), sealed.version.clone())).collect();
        assert!(versions == self.versions, "a version or a token came or went");
        for (name, sealed) in &sealed {
            assert!(
                keys.iter().any(|key| key.id.to_string() == sealed.key),
                "{name} names key {}",
                sealed.key
            );
        }
        tokio::join!(self.everything_opens(), self.offline_copies_open());
        let primaries: Vec<_> = keys.iter().filter(|key| key.state == KeyState::Primary).collect();
        let [primary] = primaries[..] else { panic!("{keys:?}") };
        let primary = primary.id.to_string();
        let anew = sealed.values().filter(|sealed| sealed.key == primary).count();
        State { keys: keys.len(), primary, anew, left: sealed.len() - anew }
    }

    async fn everything_opens(&self) {
        let (_folder, keyring, local) = self.copy();
        let vault = Vault::builder(keyring).postgres(&self.db.url).local_file(&local);
        let vault = vault.build().await.unwrap();
        load(&vault, &self.configs).await;
        let kept = vault.kept(0, 1_000).await.unwrap();
        assert_eq!(kept.len(), LOCAL);
        for kept in kept {
            let user = kept.owner.to_string().replace('-', "_");
            assert_eq!(kept.config.unwrap(), Some(full_config(user)));
        }
        vault.close().await;
    }

    async fn offline_copies_open(&self) {
        let (_folder, keyring, local) = self.copy();
        let away = Vault::builder(keyring).postgres(NOWHERE).local_file(local).offline_reads();
        let away = away.build().await.unwrap();
        load(&away, &self.offline).await;
        away.close().await;
    }

    /// Runs the command and kills it at this moment. False: it had ended by itself.
    async fn kill(&self, command: &[&str], moment: Moment) -> bool {
        let mut child = self.home.command(command).stderr(Stdio::null()).spawn().unwrap();
        let mut events = events(child.stdout.take().unwrap());
        let after = match moment {
            Moment::After(after) => after,
            Moment::AfterKeyAdded(after) => {
                events.find(|event| event["step"] == "added");
                after
            }
            Moment::AfterBatch(batch) => {
                events.by_ref().filter(|event| event["event"] == "batch").nth(batch);
                Duration::ZERO
            }
        };
        tokio::time::sleep(after).await;
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        assert!(ended.code().is_none_or(|code| code == 0), "{ended}");
        !ended.success()
    }

    /// Runs the command to its end.
    fn complete(&self, command: &[&str]) -> Times {
        let started = Instant::now();
        let mut child = self.home.command(command).stderr(Stdio::null()).spawn().unwrap();
        let mut times = Times::default();
        let mut last = Value::Null;
        for event in events(child.stdout.take().unwrap()) {
            match event["step"].as_str() {
                Some("added") => times.added = started.elapsed(),
                Some("promoted") => times.promoted = started.elapsed(),
                _ => last = event,
            }
            times.batches += usize::from(last["event"] == "batch");
        }
        assert!(child.wait().unwrap().success());
        assert_eq!((&last["event"], &last["complete"]), (&json!("done"), &json!(true)));
        Times { all: started.elapsed(), ..times }
    }
}

fn events(out: ChildStdout) -> impl Iterator<Item = Value> {
    BufReader::new(out).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

/// When an undisturbed rotation had come how far.
#[derive(Debug, Default)]
struct Times {
    added: Duration,
    promoted: Duration,
    all: Duration,
    batches: usize,
}

/// When to kill.
enum Moment {
    After(Duration),
    AfterKeyAdded(Duration),
    /// While rows are re-encrypted, which is a small part of the whole time.
    AfterBatch(usize),
}

impl Times {
    /// Every third kill is aimed at the rows. The others: some time between start and end; where a key
    /// comes in, mostly around that.
    fn moment(&self, kill: u32, is_new_key: bool, rng: &mut StdRng) -> Moment {
        if kill % 3 == 2 {
            return Moment::AfterBatch(rng.random_range(0..self.batches / 2));
        }
        let part = rng.random::<f64>();
        match rng.random_range(0..3) {
            0 if is_new_key => Moment::After(self.promoted.mul_f64(1.5 * part)),
            1 if is_new_key => Moment::AfterKeyAdded((self.promoted - self.added).mul_f64(3.0 * part)),
            _ => Moment::After(self.all.mul_f64(part)),
        }
    }
}

async fn load(vault: &Vault, configs: &[(Owner, RetellConfig)]) {
    let owners: Vec<_> = configs.iter().map(|(owner, _)| owner.clone()).collect();
    for (loaded, (owner, config)) in vault.load_many(&owners).await.into_iter().zip(configs) {
        assert_eq!(&loaded.unwrap_or_else(|error| panic!("{owner}: {error:?}")).config, config, "{owner}");
    }
}

/// What the tokens of a text say about themselves.
struct Sealed {
    key: String,
    version: (String, usize),
}

impl Sealed {
    fn read(name: &str, text: &str) -> Self {
        let tokens = text.split("rv1.").skip(1);
        let mut heads: Vec<_> = tokens.map(|token| token.split('.').take(2).collect::<Vec<_>>()).collect();
        let count = heads.len();
        heads.dedup();
        let [head] = &heads[..] else { panic!("{name} mixes keys or versions: {heads:?}") };
        assert!(head[1].parse::<Version>().is_ok(), "{name}: {head:?}");
        Self { key: head[0].to_owned(), version: (head[1].to_owned(), count) }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct State {
    keys: usize,
    primary: String,
    /// Texts under the primary key.
    anew: usize,
    left: usize,
}

impl State {
    fn is_over(&self, before: &Self) -> bool {
        self.primary != before.primary && self.left == 0
    }
}

/// What the kills hit.
#[derive(Debug, Default)]
struct Hits {
    before_the_key: u32,
    pending_key: u32,
    nothing_sealed: u32,
    middle: u32,
    all_sealed: u32,
}

impl Hits {
    fn count(&mut self, before: &State, now: &State) {
        let hit = match () {
            () if now.keys == before.keys => &mut self.before_the_key,
            () if now.primary == before.primary => &mut self.pending_key,
            () if now.anew == 0 => &mut self.nothing_sealed,
            () if now.left > 0 => &mut self.middle,
            () => &mut self.all_sealed,
        };
        *hit += 1;
    }

    fn sum(&self) -> u32 {
        self.before_the_key + self.pending_key + self.nothing_sealed + self.middle + self.all_sealed
    }
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_killed_anywhere_loses_nothing_and_goes_on() {
    let kills = number("RETELL_VAULT_TEST_KILLS").unwrap_or(20);
    let seed = number("RETELL_VAULT_TEST_SEED").unwrap_or_else(rand::random::<u64>);
    println!("RETELL_VAULT_TEST_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let scene = Scene::new().await;
    let new_key = [&ROTATE[..], &["--new-key"]].concat();
    let undisturbed = scene.complete(&new_key);
    println!("undisturbed: {undisturbed:?}");

    let (mut hits, mut rotations) = (Hits::default(), 1);
    let mut before = scene.check().await;
    while hits.sum() < kills {
        assert_eq!((before.keys, before.left), (rotations + 1, 0), "a key for every rotation");
        let is_new_key = rng.random_bool(0.5);
        let mut command = &new_key[..];
        if !is_new_key {
            let keyring = scene.keyring();
            keyring.promote_key(keyring.add_key().await.unwrap().id).await.unwrap();
            command = &ROTATE;
        }
        let after = loop {
            let moment = undisturbed.moment(hits.sum(), is_new_key, &mut rng);
            let killed = scene.kill(command, moment).await;
            let now = scene.check().await;
            assert!(now.keys <= before.keys + 1, "{before:?} {now:?}");
            if killed {
                hits.count(&before, &now);
            }
            // it is over when all is done, although nobody was told: once more would be another rotation
            if !killed || now.is_over(&before) {
                break now;
            }
            if hits.sum() >= kills || rng.random_bool(0.5) {
                scene.complete(command);
                break scene.check().await;
            }
        };
        assert_eq!((after.keys, after.left), (before.keys + 1, 0), "{before:?} {after:?}");
        assert_ne!(after.primary, before.primary);
        (before, rotations) = (after, rotations + 1);
    }
    println!("{} kills in {rotations} rotations: {hits:?}", hits.sum());
    assert!(hits.middle > 0, "no kill hit the middle: {hits:?}");
}
