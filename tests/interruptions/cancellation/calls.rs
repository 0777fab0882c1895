//! Every other public call, cut in the middle: what operators do, what reads the local file, how a vault begins and ends.

use std::env;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use retell_vault::connection::PoolerMode;
use retell_vault::doctor::DoctorOptions;
use retell_vault::keyring::KeyState;
use retell_vault::rotation::{PromoteOptions, RotateOptions};
use retell_vault::schema::{ApplyOptions, Profile, RollBackOptions};
use retell_vault::sync::Schedule;
use retell_vault::{Keyring, Layout, Vault};
use sqlx::Row;
use sqlx::postgres::{PgPool, PgPoolOptions};

use super::{Cut, cut};
use crate::support::faults::*;
use crate::support::role::Role;
use crate::support::rotation::{at_once, promote};
use crate::support::vaults::*;
use crate::support::*;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Call {
    Build,
    Init,
    Close,
    List,
    Status,
    Redetect,
    Kept,
    Forget,
    RetryDeadLetters,
    Maintain,
    LayoutReport,
    LayoutComparison,
    AdoptTable,
    EstimateRotation,
    CountTokens,
    DeepCensus,
    Doctor,
    Rotate,
    DestroyKey,
    Promote,
    SchemaPlan,
    SchemaVerify,
    SchemaApply,
    SchemaRollBack,
}

pub const CALLS: [Call; 24] = [
    Call::Build,
    Call::Init,
    Call::Close,
    Call::List,
    Call::Status,
    Call::Redetect,
    Call::Kept,
    Call::Forget,
    Call::RetryDeadLetters,
    Call::Maintain,
    Call::LayoutReport,
    Call::LayoutComparison,
    Call::AdoptTable,
    Call::EstimateRotation,
    Call::CountTokens,
    Call::DeepCensus,
    Call::Doctor,
    Call::Rotate,
    Call::DestroyKey,
    Call::Promote,
    Call::SchemaPlan,
    Call::SchemaVerify,
    Call::SchemaApply,
    Call::SchemaRollBack,
];

const USERS: [&str; 3] = ["user-1", "user-2", "user-3"];

/// Takes no record of this owner.
const REFUSED: &str = "refused";

/// All that a call could leave on a session of the pool, and whether a transaction is open.
const SESSION: &str = "SELECT pg_catalog.concat_ws('|', current_user, session_user,
    pg_catalog.current_setting('search_path'), pg_catalog.current_setting('transaction_read_only'),
    pg_catalog.current_setting('transaction_isolation'), pg_catalog.current_setting('row_security'),
    pg_catalog.current_setting('statement_timeout'), pg_catalog.current_setting('lock_timeout'),
    pg_catalog.current_setting('standard_conforming_strings'), pg_catalog.current_setting('datestyle'),
    pg_catalog.now() OPERATOR(pg_catalog.=) pg_catalog.statement_timestamp())";

/// A table of another role, which the service's role is a member of, and the one connection of a service's pool.
struct Stage {
    hosts: Hosts,
    pool: PgPool,
    session: String,
    role: Role,
    table_owner: Role,
    db: TestDb,
}

impl Stage {
    async fn new() -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(&format!(
            "CREATE TABLE user_profiles (user_id text PRIMARY KEY CHECK (user_id <> '{REFUSED}'),
             encrypted_retell_api_key text, encrypted_call_agent_id text, encrypted_agent_config jsonb)"
        ))
        .await;
        let makes = "GRANT CREATE ON SCHEMA public TO guest";
        let table_owner = Role::create(&db, makes).await;
        let role = Role::create(&db, makes).await;
        db.exec(&format!(
            "ALTER TABLE user_profiles OWNER TO {owner}; GRANT {owner} TO {}",
            role.name,
            owner = table_owner.name
        ))
        .await;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(10))
            .connect_lazy(&role.url)
            .unwrap();
        let session = session(&pool).await;
        let stage = Self { hosts, pool, session, role, table_owner, db };
        let vault = stage.vault(PoolerMode::None).await;
        for user in USERS {
            vault.store(&owner(user), &full_config("old")).await.unwrap();
        }
        stage
    }

    async fn vault(&self, mode: PoolerMode) -> Vault {
        self.hosts.offline(0).pool(self.pool.clone()).pooler(mode).build().await.unwrap()
    }

    /// Something waits in the local file, without the database.
    async fn wait_in_local_file(&self, user: &str) {
        let unplugged = unplugged(&self.hosts, 0).await;
        unplugged.store(&owner(user), &full_config("new")).await.unwrap();
        unplugged.close().await;
    }

    async fn destroy_old_keys(&self, vault: &Vault) {
        vault.rotate(&RotateOptions::new(), |_| {}).await.unwrap();
        for key in vault.keys().iter().filter(|key| key.state == KeyState::Retired) {
            vault.destroy_key(key.id, at_once()).await.unwrap();
        }
    }

    async fn apply(&self, vault: &Vault) {
        let plan = vault.schema().plan(Profile::Credentials).await.unwrap();
        vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
        let verification = vault.schema().verify(Profile::Credentials).await.unwrap();
        assert!(verification.is_good(), "{verification:?}");
    }

    async fn roll_back(&self, vault: &Vault) {
        vault.schema().roll_back(&RollBackOptions::new(), |_| {}).await.unwrap();
    }

    async fn prepare(&self, call: Call, vault: &Vault) {
        match call {
            Call::Forget | Call::Maintain => self.wait_in_local_file("waits").await,
            Call::Kept | Call::RetryDeadLetters => {
                self.wait_in_local_file(REFUSED).await;
                vault.sync().await.unwrap();
                assert_eq!(local(vault).await.dead_letters, 1);
            }
            Call::EstimateRotation if vault.keys().len() > 1 => {}
            Call::EstimateRotation | Call::Rotate => drop(promote(&self.hosts).await),
            Call::DestroyKey => {
                promote(&self.hosts).await;
                let vault = self.vault(PoolerMode::None).await;
                vault.rotate(&RotateOptions::new(), |_| {}).await.unwrap();
            }
            Call::Promote => {
                let (old, aside) = ("encrypted_call_agent_id", "aside");
                self.db.exec(&format!("ALTER TABLE user_profiles RENAME {old} TO {aside}")).await;
                let vault = self.vault(PoolerMode::None).await;
                vault.store(&owner("waits"), &full_config("new")).await.unwrap();
                self.db.exec(&format!("ALTER TABLE user_profiles RENAME {aside} TO {old}")).await;
            }
            Call::SchemaRollBack => self.apply(vault).await,
            _ => {}
        }
    }

    async fn run(&self, call: Call, vault: &Vault) {
        match call {
            Call::Build => drop(self.vault(PoolerMode::None).await),
            Call::Init => {
                let file = self.hosts.local_file(9);
                let keyring = file.with_file_name("keyring.json");
                if !keyring.exists() {
                    let keyring = Keyring::prepare(keyring, &wrapping_key()).await.unwrap();
                    Vault::<retell_vault::RetellConfig>::builder(keyring)
                        .local_file(file)
                        .init()
                        .await
                        .unwrap();
                }
            }
            Call::Close => vault.close().await,
            Call::List => assert!(vault.list(None, 10).await.unwrap().entries.len() >= USERS.len()),
            Call::Status => drop(vault.status().await.unwrap()),
            Call::Redetect => vault.redetect().await.unwrap(),
            Call::Kept => assert_eq!(vault.kept(0, 9).await.unwrap().len(), 1),
            Call::Forget => drop(vault.forget(&owner("waits")).await.unwrap()),
            Call::RetryDeadLetters => assert_eq!(vault.retry_dead_letters(None).await.unwrap(), 1),
            Call::Maintain => {
                let pause = Duration::from_millis(5);
                let _maintenance = vault.maintain(Schedule::new().sync_every(pause).health_every(pause));
                while local(vault).await.pending > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            Call::LayoutReport => drop(vault.layout_report().await.unwrap()),
            Call::LayoutComparison => {
                drop(Layout::new().compare(&self.role.url, PoolerMode::None).await.unwrap());
            }
            Call::AdoptTable => assert!(!vault.adopt_table().await.unwrap()),
            Call::EstimateRotation => {
                drop(vault.estimate_rotation(&RotateOptions::new()).await.unwrap());
            }
            Call::CountTokens => drop(vault.count_tokens().await.unwrap()),
            Call::DeepCensus => drop(vault.count_all_tokens(|_| {}).await.unwrap()),
            Call::Doctor => drop(vault.doctor(&DoctorOptions::new().deep(), |_| {}).await.unwrap()),
            Call::Rotate => {
                let rotation = vault.rotate(&RotateOptions::new().batch(1), |_| {}).await.unwrap();
                assert!(rotation.complete, "{rotation:?}");
            }
            Call::DestroyKey => {
                let key = vault.keys().into_iter().find(|key| key.state == KeyState::Retired).unwrap();
                drop(vault.destroy_key(key.id, at_once()).await.unwrap());
            }
            Call::Promote => drop(vault.promote(&PromoteOptions::new(), |_| {}).await.unwrap()),
            Call::SchemaPlan => drop(vault.schema().plan(Profile::Credentials).await.unwrap()),
            Call::SchemaVerify => drop(vault.schema().verify(Profile::Credentials).await.unwrap()),
            Call::SchemaApply => self.apply(vault).await,
            Call::SchemaRollBack => self.roll_back(vault).await,
        }
    }

    /// What was cut comes to its end at a second try, and what it is about is there once.
    async fn finish(&self, call: Call, vault: &Vault, case: &str) {
        let waits = async |vault: &Vault| vault.load(&owner("waits")).await.map(|loaded| loaded.config);
        match call {
            Call::Init => {
                self.run(call, vault).await;
                let file = self.hosts.local_file(9);
                let keyring = open_keyring(file.with_file_name("keyring.json"));
                let made: Vault = Vault::builder(keyring).local_file(&file).build().await.unwrap();
                made.close().await;
                std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
            }
            Call::Forget => {
                vault.forget(&owner("waits")).await.unwrap();
                assert_eq!(local(vault).await.pending, 0, "{case}");
            }
            Call::Kept | Call::RetryDeadLetters => {
                let there = local(vault).await;
                assert_eq!(there.pending + there.dead_letters, 1, "{case}: {there:?}");
                vault.sync().await.unwrap();
                assert_eq!(local(vault).await.dead_letters, 1, "{case}");
                vault.forget(&owner(REFUSED)).await.unwrap();
            }
            Call::Maintain => {
                vault.sync().await.unwrap();
                assert_eq!(local(vault).await.pending, 0, "{case}");
                assert_eq!(waits(vault).await.unwrap(), full_config("new"), "{case}");
            }
            Call::Rotate | Call::DestroyKey => self.destroy_old_keys(vault).await,
            Call::Promote => {
                assert_eq!(waits(vault).await.unwrap(), full_config("new"), "{case}");
                self.run(call, vault).await;
                assert_eq!(waits(vault).await.unwrap(), full_config("new"), "{case}");
                self.db.exec("DELETE FROM user_profiles WHERE user_id = 'waits'").await;
            }
            Call::SchemaApply => {
                self.apply(vault).await;
                self.roll_back(vault).await;
                self.renew_table().await;
            }
            Call::SchemaRollBack => {
                self.roll_back(vault).await;
                self.renew_table().await;
            }
            _ => {}
        }
    }

    /// A table may have 1,600 columns in its life, and those that a rollback drops count.
    async fn renew_table(&self) {
        self.db
            .exec(&format!(
                "ALTER TABLE user_profiles RENAME TO worn; CREATE TABLE user_profiles (LIKE worn INCLUDING ALL);
                 INSERT INTO user_profiles SELECT * FROM worn; DROP TABLE worn; ALTER TABLE user_profiles OWNER TO {}",
                self.table_owner.name
            ))
            .await;
    }

    /// The session that the pool hands out is as it was, and every record that was acknowledged is there.
    async fn assert_sound(&self, vault: &Vault, case: &str) {
        for _ in 0..2 {
            assert_eq!(session(&self.pool).await, self.session, "{case}");
        }
        let checked = owner("checked");
        let stored = vault.store(&checked, &full_config("new")).await.unwrap();
        assert!(stored.degraded.is_none(), "{case}: {:?}", stored.degraded);
        assert_eq!(vault.load(&checked).await.unwrap().config, full_config("new"), "{case}");
        for user in USERS {
            assert_eq!(vault.load(&owner(user)).await.unwrap().config, full_config("old"), "{case}: {user}");
        }
        // so that a rollback has nothing to lose
        self.db.exec("DELETE FROM user_profiles WHERE user_id = 'checked'").await;
    }
}

/// What [`SESSION`] says, in one message: so both times are the same, unless a transaction has begun before.
async fn session(pool: &PgPool) -> String {
    let session: String = sqlx::raw_sql(SESSION).fetch_one(pool).await.unwrap().get(0);
    assert!(session.ends_with("|t"), "a transaction is open: {session}");
    session
}

/// How often a future is polled until it is ready.
async fn polls(future: impl Future) -> usize {
    let (mut future, mut polls) = (pin!(future), 0);
    poll_fn(|context| {
        polls += 1;
        future.as_mut().poll(context).map(drop)
    })
    .await;
    polls
}

/// Which polls are the last ones: all with `RETELL_VAULT_TEST_EVERY=1`, otherwise a few, others each time.
fn chosen(polls: usize) -> Vec<usize> {
    let few = || (polls / 3).max(1);
    let every = env::var("RETELL_VAULT_TEST_EVERY").map_or_else(|_| few(), |every| every.parse().unwrap());
    (rand::random_range(0..every)..polls).step_by(every).collect()
}

pub async fn cut_call(call: Call) {
    let stage = Stage::new().await;
    let vault = stage.vault(PoolerMode::None).await;
    stage.prepare(call, &vault).await;
    let vault = stage.vault(PoolerMode::None).await;
    let polls = polls(stage.run(call, &vault)).await;
    let vault = stage.vault(PoolerMode::None).await;
    stage.finish(call, &vault, "uncut").await;
    let chosen = chosen(polls);
    for woken in [false, true] {
        for polls in &chosen {
            let case = format!("{call:?}, {polls} polls, woken: {woken}");
            stage.prepare(call, &vault).await;
            // a process that takes up the newest key
            let begun = stage.vault(PoolerMode::None).await;
            cut(Cut { polls: *polls, woken }, stage.run(call, &begun)).await;
            let vault = if call == Call::Close { stage.vault(PoolerMode::None).await } else { begun };
            stage.assert_sound(&vault, &case).await;
            stage.finish(call, &vault, &case).await;
        }
    }
    println!("{call:?}: cut at {} of {polls} polls, each in two ways", chosen.len());
    let elsewhere = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
    for user in USERS {
        assert_eq!(elsewhere.load(&owner(user)).await.unwrap().config, full_config("old"), "{call:?}");
    }
    until(async || number(&stage.db.url, super::OPEN_TRANSACTIONS).await == 0).await;
    until(async || number(&stage.db.url, super::ADVISORY_LOCKS).await == 0).await;
    stage.pool.close().await;
}
