//! A plan applied and taken back: alone, beside others, without the rights for it, and under load.

mod locks;
mod planted;
mod refusals;
mod roles;
mod roll_back;
mod tables;
mod traffic;

use std::time::Duration;

use retell_vault::schema::{
    Applied, ApplyOptions, Profile, RollBackOptions, RolledBack, SchemaEvent, SchemaPlan, Wanted,
};
use retell_vault::{Result, Vault};

use crate::support::dump::schema_of;
use crate::support::rows::value;
use crate::support::vaults::*;
use crate::support::*;

/// What most services start from.
const BARE: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, full_name text);
    INSERT INTO user_profiles SELECT 'user-' || n, 'Name ' || n FROM generate_series(0, 99) AS n";

/// A database and a vault over it.
struct Stage {
    db: TestDb,
    hosts: Hosts,
}

impl Stage {
    async fn on(sql: &str) -> Self {
        let stage = Self { db: TestDb::create().await, hosts: Hosts::new().await };
        stage.db.exec(sql).await;
        stage
    }

    async fn vault(&self, host: usize) -> Vault {
        self.hosts.host(host, &self.db.url).build().await.unwrap()
    }
}

async fn plan(vault: &Vault, wanted: impl Into<Wanted>) -> SchemaPlan {
    vault.schema().plan(wanted).await.unwrap()
}

async fn apply(vault: &Vault, plan: &SchemaPlan) -> Result<Applied> {
    vault.schema().apply(plan, &hasty(), |_| {}).await
}

/// Plans and applies.
async fn migrate(vault: &Vault, wanted: impl Into<Wanted>) -> Applied {
    apply(vault, &plan(vault, wanted).await).await.unwrap()
}

async fn roll_back(vault: &Vault) -> Result<RolledBack> {
    vault.schema().roll_back(&RollBackOptions::new(), |_| {}).await
}

/// Gives up soon, so that tests end.
fn hasty() -> ApplyOptions {
    ApplyOptions::new().lock_timeout(Duration::from_millis(100)).patience(Duration::from_secs(20))
}

fn ids(plan: &SchemaPlan) -> Vec<String> {
    plan.steps.iter().map(|step| step.id.clone()).collect()
}

async fn has_journal(db: &TestDb) -> bool {
    value(db, "SELECT to_regclass('public.retell_vault_steps') IS NOT NULL").await
}

#[tokio::test]
async fn a_plan_is_applied_once_and_taken_back() {
    let stage = Stage::on(BARE).await;
    let before = schema_of(&stage.db).await;
    let vault = stage.vault(0).await;
    let wanted = plan(&vault, Profile::FullProfile).await;
    assert!(wanted.steps.len() > 10, "{wanted}");

    let mut events = Vec::new();
    let listener = |event: SchemaEvent<'_>| match event {
        SchemaEvent::Begins(step) => events.push(format!("begins {}", step.id)),
        SchemaEvent::Applied(step) => events.push(format!("applied {}", step.id)),
        other => panic!("{other:?}"),
    };
    let applied = vault.schema().apply(&wanted, &hasty(), listener).await.unwrap();
    assert_eq!(applied.steps, ids(&wanted));
    let expected = ids(&wanted).into_iter().flat_map(|id| [format!("begins {id}"), format!("applied {id}")]);
    assert_eq!(events, expected.collect::<Vec<_>>());

    let left = plan(&vault, Profile::FullProfile).await;
    assert!(left.is_empty(), "{left}");
    let recorded: String =
        value(&stage.db, "SELECT string_agg(step, ',' ORDER BY seq) FROM retell_vault_steps WHERE done")
            .await;
    assert_eq!(recorded, applied.steps.join(","));
    // the vault looks at the new columns without being told
    let stored = vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    assert!(stored.degraded.is_none());
    let token: String =
        value(&stage.db, "SELECT encrypted_sms_agent_id FROM user_profiles WHERE user_id = 'user-1'").await;
    assert!(token.starts_with("rv1."));
    stage.db.exec("DELETE FROM user_profiles").await;

    // twice, with the plan from before and with a new one
    let applied_schema = schema_of(&stage.db).await;
    assert_eq!(apply(&vault, &wanted).await.unwrap(), Applied::default());
    assert_eq!(migrate(&vault, Profile::FullProfile).await, Applied::default());
    assert_eq!(schema_of(&stage.db).await, applied_schema);

    let undone = roll_back(&vault).await.unwrap();
    assert_eq!(undone.steps, applied.steps.into_iter().rev().collect::<Vec<_>>());
    assert_eq!(undone.backups, Vec::<String>::new());
    assert_eq!(schema_of(&stage.db).await, before);
    // nothing is recorded any more, so there is nothing to take back
    assert_eq!(roll_back(&vault).await.unwrap(), RolledBack::default());
    assert_eq!(ids(&plan(&vault, Profile::FullProfile).await), ids(&wanted));
}

/// One profile on top of the other; and the same again after it was taken back.
#[tokio::test]
async fn profiles_add_up() {
    let stage = Stage::on(BARE).await;
    let before = schema_of(&stage.db).await;
    let vault = stage.vault(0).await;
    for _ in 0..2 {
        let credentials = migrate(&vault, Profile::Credentials).await;
        let full = migrate(&vault, Profile::FullProfile).await;
        assert!(!credentials.steps.is_empty() && !full.steps.is_empty());
        assert!(plan(&vault, Profile::Credentials).await.is_empty());
        let undone = roll_back(&vault).await.unwrap();
        assert_eq!(undone.steps.len(), credentials.steps.len() + full.steps.len());
        assert_eq!(schema_of(&stage.db).await, before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_both_end_well() {
    let stage = Stage::on(BARE).await;
    let before = schema_of(&stage.db).await;
    let (one, other) = (stage.vault(0).await, stage.vault(1).await);
    let wanted = plan(&one, Profile::FullProfile).await;
    let (first, second) = tokio::join!(apply(&one, &wanted), apply(&other, &wanted));
    let (first, second) = (first.unwrap().steps, second.unwrap().steps);
    let mut did: Vec<_> = [first, second].into_iter().filter(|steps| !steps.is_empty()).collect();
    assert_eq!(did.pop(), Some(ids(&wanted)), "one of them did it all");
    assert!(did.is_empty());
    let (first, second) = tokio::join!(roll_back(&one), roll_back(&other));
    assert_eq!(first.unwrap().steps.len() + second.unwrap().steps.len(), wanted.steps.len());
    assert_eq!(schema_of(&stage.db).await, before);
}

/// The journal is one for the schema; each table has its own steps in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tables_share_the_journal() {
    let stage =
        Stage::on(r#"CREATE TABLE one (user_id text); CREATE TABLE "Other ""x""" (user_id uuid)"#).await;
    let before = schema_of(&stage.db).await;
    let vault =
        async |host, layout| stage.hosts.host(host, &stage.db.url).layout(layout).build().await.unwrap();
    let one = vault(0, named_table("one")).await;
    let other = vault(1, named_table(r#"public."Other ""x""""#)).await;
    let (_, first) = tokio::join!(migrate(&one, Profile::Credentials), migrate(&other, Profile::Credentials));
    assert_eq!(roll_back(&one).await.unwrap().steps.len(), first.steps.len());
    assert!(plan(&other, Profile::Credentials).await.is_empty());
    assert!(has_journal(&stage.db).await);
    roll_back(&other).await.unwrap();
    assert_eq!(schema_of(&stage.db).await, before);
}

/// A client that speaks PostgREST's language hears of it.
#[tokio::test]
async fn who_caches_the_schema_is_told() {
    let stage = Stage::on(BARE).await;
    let vault = stage.vault(0).await;
    let mut ear = sqlx::postgres::PgListener::connect(&stage.db.url).await.unwrap();
    ear.listen("pgrst").await.unwrap();
    migrate(&vault, Profile::Credentials).await;
    let heard = tokio::time::timeout(faults::BOUND, ear.recv()).await.expect("a notification").unwrap();
    assert_eq!(heard.payload(), "reload schema");
}

/// The journal and what it says is nobody's business.
#[tokio::test]
async fn the_journal_is_hidden_on_supabase() {
    let stage = Stage::on(BARE).await;
    supabase::roles(&stage.db).await;
    migrate(&stage.vault(0).await, Profile::Credentials).await;
    for role in ["anon", "authenticated", "service_role"] {
        let mut session = supabase::Session::of(&stage.db, role, None).await;
        let refused = session.ask("SELECT step FROM retell_vault_steps LIMIT 1").await.unwrap_err();
        assert_eq!(refused.code, "42501");
    }
}
