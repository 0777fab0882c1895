//! From many starting tables: applied, nothing left to do, a vault works, and back to the start.

use retell_vault::schema::{ApplyOptions, Profile, RollBackOptions, RowSecurity, SchemaEvent, Wanted};
use retell_vault::{Layout, Owner};

use super::{BARE, Stage, ids, plan, value};
use crate::support::cluster::run_sql;
use crate::support::dump::schema_of;
use crate::support::supabase;
use crate::support::vaults::*;

const USER: &str = "11111111-2222-3333-4444-555555555555";
const TENANT: &str = "99999999-2222-3333-4444-555555555555";

const BACKUPS: &str = "SELECT count(*) FROM pg_class WHERE starts_with(relname, 'retell_vault_backup_')";

const DROP_BACKUPS: &str = "DO $$ DECLARE backup regclass; BEGIN
    FOR backup IN SELECT oid FROM pg_class WHERE starts_with(relname, 'retell_vault_backup_')
    LOOP EXECUTE 'DROP TABLE ' || backup; END LOOP; END $$";

/// There and back, with a record stored in between.
async fn there_and_back(stage: &Stage, layout: &Layout, owner: &Owner, wanted: impl Into<Wanted>) {
    let before = schema_of(&stage.db).await;
    let vault = stage.hosts.host(0, &stage.db.url).layout(layout.clone()).build().await.unwrap();
    let (schema, wanted) = (vault.schema(), wanted.into());
    let plan = schema.plan(wanted.clone()).await.unwrap();
    assert!(!plan.steps.is_empty() && plan.blocked.is_empty(), "{plan:?}");
    let applied = schema.apply(&plan, &ApplyOptions::new().allow_rewrite(), |_| {}).await.unwrap();
    assert_eq!(applied.steps, ids(&plan));
    let left = schema.plan(wanted.clone()).await.unwrap();
    assert!(left.is_empty(), "{left} {:?}", left.blocked);

    vault.store(owner, &full_config(1)).await.unwrap();
    assert_eq!(vault.load(owner).await.unwrap().config, full_config(1));
    let options = RollBackOptions::new().allow_rewrite();
    if let Err(error) = schema.roll_back(&options, |_| {}).await {
        assert!(error.hint().contains("--allow-data-loss"), "{error:?}");
    }
    let undone = schema.roll_back(&options.allow_data_loss(), |_| {}).await.unwrap();
    assert_eq!(undone.backups.len() as i64, value::<i64>(&stage.db, BACKUPS).await);
    stage.db.exec(DROP_BACKUPS).await;
    assert_eq!(schema_of(&stage.db).await, before);
    vault.close().await;
}

async fn both_profiles(sql: &str, layout: Layout, owner: Owner) {
    for profile in [Profile::Credentials, Profile::FullProfile] {
        let stage = Stage::on(sql).await;
        there_and_back(&stage, &layout, &owner, profile).await;
    }
}

#[tokio::test]
async fn partial_columns_and_wrong_types() {
    let sql = "CREATE TABLE user_profiles (user_id varchar(80) NOT NULL, encrypted_retell_api_key varchar(50),
        encrypted_call_agent_id text NOT NULL DEFAULT '', encrypted_agent_config json, phone_number varchar(20),
        webhook_config text DEFAULT '{}', last_retell_sync timestamp, is_active int, updated_at timestamp);
        CREATE INDEX ON user_profiles (phone_number)";
    both_profiles(sql, Layout::new(), owner("user-1")).await;
}

#[tokio::test]
async fn uuid_ids_and_a_tenant() {
    let sql = "CREATE TABLE user_profiles (tenant_id uuid NOT NULL, user_id uuid NOT NULL, email text)";
    let layout = Layout::new().tenant_column("tenant_id").unwrap();
    let owner = owner(USER).in_tenant(TENANT).unwrap();
    both_profiles(sql, layout, owner).await;
}

#[tokio::test]
async fn a_schema_and_names_that_need_quotes() {
    let sql = r#"CREATE SCHEMA "Odd Schema"; CREATE TABLE "Odd Schema"."Pro""files'" ("User Id" text, "Te\nant" text NOT NULL)"#;
    let layout = Layout::new().table(r#""Odd Schema"."Pro""files'""#).unwrap();
    let layout = layout.user_column("User Id").unwrap().tenant_column(r"Te\nant").unwrap();
    let layout = layout.column(retell_vault::config::Field::named("api_key"), r#"Key "of" it"#).unwrap();
    both_profiles(sql, layout, owner("user-1").in_tenant("tenant-1").unwrap()).await;
}

#[tokio::test]
async fn partitions() {
    let sql = "CREATE TABLE user_profiles (user_id text) PARTITION BY HASH (user_id);
        CREATE TABLE profiles_0 PARTITION OF user_profiles FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE profiles_1 PARTITION OF user_profiles FOR VALUES WITH (MODULUS 2, REMAINDER 1)";
    both_profiles(sql, Layout::new(), owner("user-1")).await;
}

#[tokio::test]
async fn row_security_of_supabase_and_of_ones_own() {
    for row_security in [RowSecurity::Auto, RowSecurity::On, RowSecurity::Leave] {
        let stage = Stage::on("CREATE TABLE user_profiles (user_id uuid PRIMARY KEY)").await;
        supabase::supabase(&stage.db).await;
        let wanted = Wanted::from(Profile::FullProfile).row_security(row_security);
        there_and_back(&stage, &Layout::new(), &owner(USER), wanted).await;
    }
    let stage = Stage::on(&format!("{BARE}; ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY")).await;
    let wanted = Wanted::from(Profile::FullProfile).row_security(RowSecurity::On).force_row_security();
    there_and_back(&stage, &Layout::new(), &owner("user-1"), wanted).await;
}

#[tokio::test]
async fn text_from_before() {
    let sql = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text,
        encrypted_agent_config jsonb, retell_integration_status text);
        INSERT INTO user_profiles VALUES ('legacy', 'key_test_plain', '{\"retell_vault\": 1}', 'from before')";
    both_profiles(sql, Layout::new(), owner("user-1")).await;
}

/// Text comes while the plan is being applied: the triggers take the constraint's place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_comes_meanwhile() {
    let stage = Stage::on(
        "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, at int);
         INSERT INTO user_profiles VALUES ('legacy')",
    )
    .await;
    let before = schema_of(&stage.db).await;
    let vault = stage.vault(0).await;
    let wanted = plan(&vault, Profile::Credentials).await;
    let mut told = Vec::new();
    let listener = |event: SchemaEvent<'_>| match event {
        SchemaEvent::Begins(step) if step.id == "guard.encrypted_retell_api_key" => {
            let sql = "UPDATE user_profiles SET encrypted_retell_api_key = 'key_test_plain'";
            let write = run_sql(&stage.db.url, sql);
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(write)).unwrap();
        }
        SchemaEvent::Instead(step) => told.push(step.id.clone()),
        _ => {}
    };
    let applied = vault.schema().apply(&wanted, &ApplyOptions::new(), listener).await.unwrap();
    assert_eq!(told, ["guard.encrypted_retell_api_key.trigger"]);
    assert!(applied.steps.contains(&told[0]), "{applied:?}");
    assert!(plan(&vault, Profile::Credentials).await.is_empty());
    // the row can be used, and nothing of the kind can be added
    stage.db.exec("UPDATE user_profiles SET at = 1").await;
    let more = "INSERT INTO user_profiles VALUES ('more', 'key_test_more')";
    assert!(run_sql(&stage.db.url, more).await.unwrap_err().to_string().contains("takes only tokens"));
    vault.schema().roll_back(&RollBackOptions::new(), |_| {}).await.unwrap();
    assert_eq!(schema_of(&stage.db).await, before);
    assert_eq!(value::<i64>(&stage.db, "SELECT count(*) FROM user_profiles WHERE at = 1").await, 1);
}
