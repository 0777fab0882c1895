//! A secret goes through every operation and every failure, and is looked for everywhere afterwards.

mod support;

use std::fmt::{Debug, Write as _};
use std::path::PathBuf;

use retell_vault::config::{AgentId, ApiKey, WebhookConfig};
use retell_vault::connection::KeyringTable;
use retell_vault::ledger::{
    FolderSink, IfNotNoted, LedgerCopies, LedgerExportOptions, LedgerFilter, LedgerSigningKey, Reads,
};
use retell_vault::records::{Expected, StoreOptions};
use retell_vault::sync::Fallback;
use retell_vault::webhooks::WebhookOptions;
use retell_vault::{Error, ErrorKind, Owner, Result, RetellConfig, Vault};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};
use support::faults::*;
use support::heard::Heard;
use support::vaults::*;
use support::webhook::signed;
use support::*;

/// In every URL of the vaults here.
const PASSWORD: &str = "pw_test_canary_0815";

/// Also all that was answered, as it would be printed.
impl Heard {
    fn say(&self, what: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{what:?}").unwrap();
    }

    /// An answer, and an error with all that it can say.
    fn answer<T: Debug>(&self, answer: Result<T>) -> Option<ErrorKind> {
        self.say(&answer);
        let error = answer.err()?;
        self.error(&error);
        Some(error.kind())
    }

    fn error(&self, error: &Error) {
        let mut text = format!("{error} {error:#?} {}", error.hint());
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            write!(text, " {error} {error:#?}").unwrap();
            source = error.source();
        }
        // errors are stricter than logs: neither a token nor a plain value of the row either
        for part in ["rv1.", "example.com/hook", "from_the_future"] {
            assert!(!text.contains(part), "a piece of the row is in {text}");
        }
        self.say(&text);
    }
}

fn with_password(url: &str) -> String {
    let mut url = url::Url::parse(url).unwrap();
    url.set_password(Some(PASSWORD)).unwrap();
    url.into()
}

struct Stage {
    heard: Heard,
    cluster: Cluster,
    hosts: Hosts,
    proxy: CutProxy,
    vault: Vault,
}

impl Stage {
    async fn new() -> Self {
        let heard = Heard::default();
        tracing::subscriber::set_global_default(heard.clone()).unwrap();
        let (cluster, hosts) = (Cluster::start(&["-c", "fsync=off"]).await, Hosts::new().await);
        exec(cluster.url(), ALL_COLUMNS).await;
        let proxy = CutProxy::start(&with_password(cluster.url())).await;
        let builder = hosts.host(0, proxy.url()).timeouts(QUICK).offline_reads();
        let vault = builder.build().await.unwrap();
        Self { heard, cluster, hosts, proxy, vault }
    }

    async fn exec(&self, sql: &str) {
        exec(self.cluster.url(), sql).await;
    }

    /// What a service does, whatever comes of it. Answers with what the store said.
    async fn store_and_load(&self, user: &str) -> Option<ErrorKind> {
        let (heard, vault, owner) = (&self.heard, &self.vault, owner(user));
        let said = heard.answer(vault.store(&owner, &full_config(user)).await);
        heard.answer(vault.load(&owner).await);
        heard.answer(vault.status().await);
        said
    }

    /// Every operation.
    async fn everything(&self, user: &str) -> Option<ErrorKind> {
        let (heard, vault, owner) = (&self.heard, &self.vault, owner(user));
        let said = self.store_and_load(user).await;
        let both =
            [(owner.clone(), full_config("many")), (support::vaults::owner("other"), full_config("many"))];
        for stored in vault.store_many(&both).await.unwrap() {
            heard.answer(stored);
        }
        for loaded in vault.load_many(&[owner.clone(), both[1].0.clone()]).await {
            heard.answer(loaded);
        }
        heard.answer(vault.list(None, 10).await);
        heard.answer(vault.retry_dead_letters(None).await);
        heard.answer(vault.sync().await);
        let moved = support::vaults::owner("moved");
        heard.answer(vault.rename_owner(&owner, &moved).await);
        heard.answer(vault.rename_owner(&moved, &owner).await);
        heard.answer(vault.delete(&moved).await);
        for kept in vault.kept(0, 100).await.unwrap() {
            heard.say(&kept);
        }
        heard.answer(vault.redetect().await);
        self.in_transaction(&owner).await;
        self.webhook(user).await;
        heard.answer(vault.delete(&owner).await);
        heard.answer(vault.store(&owner, &full_config(user)).await);
        heard.say(&(vault, vault.keys(), both));
        said
    }

    /// A genuine call and a forged one, and a look-up.
    async fn webhook(&self, user: &str) {
        let (heard, vault, config) = (&self.heard, &self.vault, full_config(user));
        heard.answer(vault.store(&owner(user), &config).await);
        let agent = config.call_agent_id().unwrap();
        heard.answer(vault.find_by_agent(agent).await);
        heard.answer(vault.find_by_phone(config.phone_number().unwrap()).await);
        let body = format!(r#"{{"event":"call_ended","call":{{"agent_id":"{}"}}}}"#, agent.expose_secret());
        for (key, at) in
            [(config.webhook_key().unwrap().expose_secret(), 1), (CANARIES[0], 1), (CANARIES[0], 9_000_000)]
        {
            let (header, options) = (signed(key, body.as_bytes(), at), WebhookOptions::new().at(1));
            heard.answer(vault.verify_webhook_with(body.as_bytes(), &header, options.clone()).await);
            heard.answer(
                vault.verify_webhook_with(format!("{body}{key}").as_bytes(), &header, options.clone()).await,
            );
            heard
                .answer(vault.verify_webhook_with(body.as_bytes(), &format!("{header}{key}"), options).await);
            heard.answer(vault.verify_webhook_for(&owner(user), body.as_bytes(), &header).await);
        }
    }

    /// In a transaction of the service, unless the server is down.
    async fn in_transaction(&self, owner: &Owner) {
        let (heard, vault) = (&self.heard, &self.vault);
        let options: PgConnectOptions = self.cluster.url().parse().unwrap();
        let Ok(mut connection) = options.disable_statement_logging().connect().await else { return };
        let mut transaction = connection.begin().await.unwrap();
        heard.answer(vault.load_in(&mut transaction, owner).await);
        heard.answer(vault.store_in(&mut transaction, owner, &full_config("in_transaction")).await);
        heard.answer(vault.modify_in(&mut transaction, owner, |_| Ok(())).await);
        heard.answer(vault.delete_in(&mut transaction, owner).await);
        transaction.rollback().await.unwrap();
    }

    /// A failure that the database makes of every write.
    async fn with_trigger(&self, body: &str) -> Option<ErrorKind> {
        self.exec(&format!(
            "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$;
            CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION fail()"
        ))
        .await;
        let said = self.everything("user-1").await;
        self.exec("DROP TRIGGER fail ON user_profiles").await;
        said
    }

    async fn server_log(&self) -> Vec<u8> {
        let mut connection = connect(self.cluster.url()).await;
        let data: String =
            sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await.unwrap();
        std::fs::read(PathBuf::from(data).parent().unwrap().join("log")).unwrap()
    }

    async fn dump(&self) -> Vec<u8> {
        let output = tokio::process::Command::new("pg_dump").arg(self.cluster.url()).output().await.unwrap();
        assert!(output.status.success());
        output.stdout
    }

    /// Nothing anywhere, and everywhere something: or the search would prove nothing.
    async fn search(&self) {
        for (place, bytes, expected) in [
            ("the dump", self.dump().await, "rv1."),
            ("the server's log", self.server_log().await, "ERROR"),
            ("the local files", self.hosts.files(), "rv1."),
            ("answers and logs", self.heard.0.lock().unwrap().clone().into_bytes(), "degraded"),
        ] {
            assert_no_secret(&bytes, place);
            let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!has(PASSWORD), "the password stands in {place}");
            assert!(has(expected), "{place} does not hold what it must");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_found_anywhere() {
    let exposed = full_config(1).to_json_exposed();
    assert!(CANARIES.iter().all(|canary| exposed.contains(canary)), "these are the secrets");
    let stage = Stage::new().await;

    assert_eq!(stage.everything("user-1").await, None);
    index(&stage).await;
    refusals(&stage).await;
    outages(&stage).await;
    url_parameters(&stage).await;
    broken_records(&stage).await;
    ledger(&stage).await;
    stage.search().await;
    // after the search, since these put secrets into the database themselves
    foreign_values(&stage).await;
    values_of_plain_columns(&stage).await;
    invalid_input(&stage.heard);
    let heard = stage.heard.0.lock().unwrap().clone();
    assert_no_secret(heard.as_bytes(), "answers and logs");
    assert!(!heard.contains(PASSWORD));
}

/// The index by which owners are found, which is there from then on.
async fn index(stage: &Stage) {
    let (heard, vault) = (&stage.heard, &stage.vault);
    let agent = format!("{}_user-1", CANARIES[1]).parse().unwrap();
    assert_eq!(heard.answer(vault.find_by_agent(&agent).await), Some(ErrorKind::NotIndexed));
    stage
        .exec(
            "ALTER TABLE user_profiles ADD retell_vault_index bytea[];
            CREATE INDEX ON user_profiles USING gin (retell_vault_index)",
        )
        .await;
    vault.redetect().await.unwrap();
    assert_eq!(heard.answer(vault.find_by_agent(&agent).await), Some(ErrorKind::IndexIncomplete));
    assert_eq!(heard.answer(vault.build_index(&Default::default(), |event| heard.say(&event)).await), None);
    let found = vault.find_by_agent(&agent).await.unwrap();
    assert_eq!(found.owners.len(), 1);
    heard.say(&found);
    heard.answer(vault.rotate_index_key(&Default::default(), |event| heard.say(&event)).await);
}

/// Entries, their copies outside of the database, and everything that reads them.
async fn ledger(stage: &Stage) {
    let (heard, folder) = (&stage.heard, tempfile::tempdir().unwrap());
    let sink = folder.path().join("sink");
    let builder = stage.hosts.host(4, stage.cluster.url()).ledger_sink(FolderSink::new(&sink));
    let vault = builder.build().await.unwrap();
    heard.answer(KeyringTable::postgres(stage.cluster.url()).unwrap().create(&[]).await);
    heard.answer(vault.begin_ledger().await);
    let (one, config) = (owner("noted"), full_config("noted"));
    let alice = vault.as_actor("alice of the test", Some("a reason"), Some("req-1"));
    assert_eq!(heard.answer(alice.store(&one, &config).await), None);
    let agent = config.call_agent_id().unwrap().expose_secret();
    for secret in
        [config.api_key().unwrap().expose_secret(), config.webhook_key().unwrap().expose_secret(), agent]
    {
        let said = vault.as_actor(secret, Some(secret), Some(secret)).store(&one, &config).await;
        assert_eq!(heard.answer(said), Some(ErrorKind::InvalidInput), "the actor is a secret of the record");
        let said = vault.as_actor(secret, Some(secret), Some(secret)).load(&one).await;
        assert_eq!(heard.answer(said), Some(ErrorKind::InvalidInput), "the actor is a secret of the record");
    }
    heard.answer(alice.load(&one).await);
    for loaded in alice.load_many(std::slice::from_ref(&one)).await {
        heard.answer(loaded);
    }
    let expected = StoreOptions::new().expect(Expected::Absent);
    let refused = alice.store_with(&one, &config, expected).await;
    assert_eq!(heard.answer(refused), Some(ErrorKind::Conflict));
    for if_not_noted in [IfNotNoted::Refuse, IfNotNoted::ServeAndSay] {
        let reads = Reads::Before(if_not_noted);
        let before = stage.hosts.host(5, stage.cluster.url()).ledger_reads(reads).build().await.unwrap();
        let before = before.as_actor("alice of the test", Some("a reason"), Some("req-2"));
        assert_eq!(heard.answer(before.load(&one).await), None);
        stage.exec("ALTER TABLE retell_vault.ledger RENAME TO hidden").await;
        heard.answer(before.load(&one).await);
        heard.answer(before.status().await);
        stage.exec("ALTER TABLE retell_vault.hidden RENAME TO ledger").await;
        before.close().await;
    }
    let mut lines = String::new();
    let export = |line: &str| {
        lines.push_str(line);
        Ok(())
    };
    heard.answer(vault.export_ledger(LedgerExportOptions::new(), export).await);
    heard.answer(vault.list_ledger(&LedgerFilter::new()).await);
    heard.answer(vault.verify_ledger(&LedgerCopies::new()).await);
    heard.answer(alice.accept_ledger(&LedgerCopies::new()).await);
    let key = LedgerSigningKey::generate().unwrap();
    heard.answer(vault.checkpoint_ledger(&LedgerCopies::new(), &key).await);
    heard.say(&key);
    vault.close().await;
    for file in std::fs::read_dir(&sink).unwrap() {
        lines.push_str(&std::fs::read_to_string(file.unwrap().path()).unwrap());
    }
    assert_no_secret(lines.as_bytes(), "the export and the sink");
    assert!(lines.matches("alice of the test").count() > 1, "{lines}");
    for part in [r#""op":"read""#, r#""outcome":"conflict""#] {
        assert!(lines.contains(part), "{part} is missing: {lines}");
    }
    let signing = key.secret_text();
    // the base64 may have a + too
    assert!(!heard.0.lock().unwrap().contains(signing.splitn(5, '+').last().unwrap()));
}

/// The row in the message, the detail, the hint; a value that has the wrong form; a constraint.
async fn refusals(stage: &Stage) {
    let rejected = Some(ErrorKind::Rejected);
    let raise = "RAISE EXCEPTION 'row %', NEW USING DETAIL = NEW::text, HINT = NEW.encrypted_retell_api_key";
    assert_eq!(stage.with_trigger(raise).await, rejected);
    assert_eq!(stage.with_trigger("PERFORM NEW.encrypted_retell_api_key::int").await, rejected);
    assert_eq!(stage.with_trigger("RAISE WARNING 'row %', NEW").await, None);
    assert_eq!(stage.with_trigger("RETURN NULL").await, Some(ErrorKind::AccessDenied));
    assert_eq!(stage.with_trigger("NEW.encrypted_sms_agent_id = 'x'").await, rejected);
    let check = "ADD CONSTRAINT short CHECK (length(encrypted_retell_api_key) < 5) NOT VALID";
    stage.exec(&format!("ALTER TABLE user_profiles {check}")).await;
    assert_eq!(stage.everything("user-1").await, rejected);
    stage.exec("ALTER TABLE user_profiles DROP CONSTRAINT short").await;
    stage.exec("ALTER TABLE user_profiles ALTER webhook_config TYPE int[] USING NULL").await;
    stage.everything("user-1").await;
    stage.exec("ALTER TABLE user_profiles ALTER webhook_config TYPE jsonb USING NULL").await;
    stage.vault.redetect().await.unwrap();
}

async fn outages(stage: &Stage) {
    let lock = Lock::on_table(stage.cluster.url()).await;
    assert_eq!(stage.store_and_load("user-1").await, Some(ErrorKind::Busy));
    lock.release().await;
    for mode in [Mode::CutAfterRequest(Request::Execution), Mode::Refuse, Mode::BlackHole] {
        stage.proxy.set(mode).await;
        assert_eq!(stage.store_and_load("user-1").await, None, "with a local file");
        let strict = stage.hosts.host(2, stage.proxy.url()).timeouts(QUICK).fallback(Fallback::Refuse);
        let strict = strict.build().await.unwrap();
        stage.heard.answer(strict.store(&owner("user-1"), &full_config(2)).await);
    }
    stage.cluster.kill().await;
    stage.proxy.set(Mode::Pass).await;
    stage.everything("user-1").await;
    stage.cluster.restart().await;
    until(async || stage.vault.sync().await.unwrap().stopped.is_none()).await;
    until(async || stage.vault.store(&owner("user-1"), &full_config(3)).await.unwrap().degraded.is_none())
        .await;
    // URLs that do not work, each with the password in it
    for path in ["nowhere", "postgres?sslmode=require", "postgres?sslmode=nonsense"] {
        let url = url::Url::parse(&with_password(stage.cluster.url())).unwrap().join(path).unwrap();
        let built = stage.hosts.host(3, url.as_str()).timeouts(QUICK).build().await;
        stage.heard.answer(built.map(|vault| format!("{vault:?}")));
    }
}

/// Altered records, another keyring, the wrong owner.
async fn broken_records(stage: &Stage) {
    let key = "encrypted_retell_api_key";
    let copy = format!("INSERT INTO user_profiles (user_id, {key}, encrypted_call_agent_id, encrypted_sms_agent_id, encrypted_agent_config)
        SELECT 'thief', {key}, encrypted_call_agent_id, encrypted_sms_agent_id, encrypted_agent_config FROM user_profiles WHERE user_id = 'user-1'");
    stage.exec(&copy).await;
    assert_eq!(stage.heard.answer(stage.vault.load(&owner("thief")).await), Some(ErrorKind::Unsealable));
    stage.everything("thief").await;
    let stranger = Hosts::new().await;
    let other = stranger.host(0, stage.cluster.url()).build().await.unwrap();
    assert_eq!(stage.heard.answer(other.load(&owner("user-1")).await), Some(ErrorKind::WrongKeyring));
    assert!(stage.heard.answer(other.adopt_table().await).is_none());
    assert_eq!(stage.heard.answer(other.load(&owner("user-1")).await), Some(ErrorKind::UnknownKey));
    stage.heard.answer(other.store(&owner("user-1"), &full_config(1)).await);
    stage.exec(&format!("UPDATE user_profiles SET {key} = left({key}, -3)")).await;
    stage.everything("user-1").await;
    stage.exec(&format!("UPDATE user_profiles SET {key} = NULL")).await;
    stage.everything("user-1").await;
}

async fn foreign_values(stage: &Stage) {
    let text = format!("{}_{}", CANARIES[0], "in the clear");
    stage.exec(&format!("UPDATE user_profiles SET encrypted_retell_api_key = '{text}'")).await;
    assert_eq!(stage.everything("user-1").await, Some(ErrorKind::ForeignValue));
    stage.exec(&format!(
        "UPDATE user_profiles SET encrypted_retell_api_key = NULL, encrypted_agent_config = '{{\"retell_vault\": {{\"api_key\": \"{text}\"}}}}'"
    ))
    .await;
    stage.everything("user-1").await;
    stage.exec(&format!("UPDATE user_profiles SET encrypted_agent_config = '\"{text}\"'")).await;
    assert_eq!(stage.everything("user-1").await, Some(ErrorKind::ForeignValue));
}

/// What other code put into plain columns: a value that is none, and JSON that cannot be read.
async fn values_of_plain_columns(stage: &Stage) {
    stage.exec("DELETE FROM user_profiles").await;
    stage.heard.answer(stage.vault.store(&owner("user-1"), &full_config(1)).await);
    let text = format!("{}_{}", CANARIES[0], "in a plain column");
    stage.exec(&format!("UPDATE user_profiles SET phone_number = '{text}'")).await;
    stage.heard.answer(stage.vault.load(&owner("user-1")).await);
    let deep = format!("(repeat('[', 200) || '\"{text}\"' || repeat(']', 200))::jsonb");
    stage.exec(&format!("UPDATE user_profiles SET webhook_config = {deep}")).await;
    let loaded = stage.vault.load(&owner("user-1")).await;
    assert_eq!(stage.heard.answer(loaded), Some(ErrorKind::Malformed));
    stage.everything("user-1").await;
}

/// The driver logs the value of every parameter that it does not know.
async fn url_parameters(stage: &Stage) {
    let build = async |url: &str| stage.heard.answer(stage.hosts.host(7, url).build().await);
    let dead = format!("postgres://u:{PASSWORD}@127.0.0.1:1/db?sslmode=disable");
    let mut refused =
        vec![format!("postgres://u:12?{PASSWORD}@127.0.0.1/db&{PASSWORD}=1&sslmode={PASSWORD}")];
    for name in ["sslpasword", "sslpassword", "paswword", "anything", "Password", PASSWORD] {
        refused.push(format!("{dead}&{name}={PASSWORD}"));
    }
    refused.push(format!("{dead}&port={PASSWORD}&hostaddr={PASSWORD}"));
    for url in refused {
        assert_eq!(build(&url).await, Some(ErrorKind::Configuration), "{url}");
    }
    for name in ["password", "connect_timeout", "channel_binding", "schema", "options[search_path]"] {
        assert_eq!(build(&format!("{dead}&{name}={PASSWORD}")).await, None, "{name}");
    }
}

/// What a caller gave, which is not valid, is not repeated either.
fn invalid_input(heard: &Heard) {
    let canary = |n: usize| format!("{} and\n{}", CANARIES[n], "\u{7f}ß".repeat(200));
    heard.answer(canary(0).parse::<ApiKey>());
    heard.answer(canary(1).parse::<AgentId>());
    heard.answer(WebhookConfig::new(&format!("ftp://{}", canary(3))));
    for json in [
        format!(r#"{{"api_key":["{}"]}}"#, CANARIES[0]),
        format!(r#"{{"api_key":"{}","call_agent_id":{{"{}":1}}}}"#, CANARIES[0], CANARIES[1]),
        format!(r#"{{"api_key":"{}""#, CANARIES[0]),
        format!(
            r#"{{"api_key":"{}","webhook_config":{{"webhook_url":"{}","secret":["{}"]}}}}"#,
            CANARIES[0], CANARIES[2], CANARIES[3]
        ),
        format!(
            r#"{{"api_key":"{}","integration_status":"{}","phone_number":"{}"}}"#,
            CANARIES[0], CANARIES[1], CANARIES[2]
        ),
        format!(r#"{{"agents":{{" {}":"x"}}}}"#, CANARIES[0]),
        format!(r#"{{"agents":{{"inbound":"{} "}},"extra":{{"voice":"x"}}}}"#, CANARIES[1]),
        format!(r#"{{"inbound_agent_id":"{}","agents":{{"inbound":"{}"}}}}"#, CANARIES[1], CANARIES[2]),
        format!(r#"{{"extra":{{"{}":"x"}},"api_key":"k"}}"#, "API ".to_owned() + CANARIES[0]),
        format!(r#"{{"extra":{{"voice":"{}\u0000"}}}}"#, CANARIES[3]),
        format!(r#"{{"webhook_key":"{}","webhook_secret":"{}"}}"#, CANARIES[3], CANARIES[0]),
    ] {
        assert!(heard.answer(RetellConfig::from_json(&json)).is_some(), "{json}");
    }
}
