//! There, again, and back, from many tables.

use retell_vault::Layout;
use retell_vault::config::Field;
use retell_vault::schema::{Profile, Wanted};

use super::{dump, ids, plan};
use crate::support::rows::{table, value};
use crate::support::schema::{run_steps, undo_steps};
use crate::support::vaults::named_table;
use crate::support::*;

/// A table to begin with, and the steps that are planned for it.
struct Start<'a> {
    ddl: &'a str,
    layout: Layout,
    wanted: Wanted,
    /// The table as it stands in SQL.
    relation: &'a str,
    journal: &'a str,
    steps: &'a [&'a str],
}

impl Start<'_> {
    fn of(ddl: &'static str, steps: &'static [&'static str]) -> Start<'static> {
        Start {
            ddl,
            layout: Layout::new(),
            wanted: Profile::Credentials.into(),
            relation: "public.user_profiles",
            journal: "public.retell_vault_steps",
            steps,
        }
    }

    async fn check(&self) {
        let db = TestDb::create().await;
        db.exec(self.ddl).await;
        let (before, rows) = (dump(&db).await, table(&db, self.relation).await);

        let first = plan(&db, &self.layout, &self.wanted).await;
        assert_eq!(ids(&first), self.steps);
        let done = run_steps(&db, &first).await;
        let after = dump(&db).await;
        let again = plan(&db, &self.layout, &self.wanted).await;
        assert!(again.is_empty(), "{:?} {:?}", ids(&again), again.blocked);

        // every condition of the script holds now, so it does nothing
        db.exec(&first.script()).await;
        assert_eq!(self.recorded(&db).await, 0, "a step that is applied counts as missing");
        assert_eq!(dump(&db).await, after);
        db.exec(&format!("DROP TABLE {}", self.journal)).await;

        undo_steps(&db, &done).await;
        assert_eq!(dump(&db).await, before);
        assert_eq!(table(&db, self.relation).await, rows);

        // the script, in one transaction, and once more
        for _ in 0..2 {
            db.exec(&first.script()).await;
            assert_eq!(self.recorded(&db).await, self.steps.len() as i64);
            assert_eq!(dump(&db).await, after);
        }
        let again = plan(&db, &self.layout, &self.wanted).await;
        assert!(again.is_empty(), "{:?}", ids(&again));
        undo_steps(&db, &done).await;
        assert_eq!(dump(&db).await, before);
        assert_eq!(table(&db, self.relation).await, rows);
    }

    async fn recorded(&self, db: &TestDb) -> i64 {
        value(db, &format!("SELECT count(*) FROM {} WHERE done", self.journal)).await
    }
}

const ALL: [&str; 8] = [
    "column.encrypted_retell_api_key",
    "column.encrypted_call_agent_id",
    "column.encrypted_sms_agent_id",
    "column.phone_number",
    "column.webhook_config",
    "column.retell_integration_status",
    "column.encrypted_agent_config",
    "column.last_retell_sync",
];

#[tokio::test]
async fn a_bare_table() {
    let ddl = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, full_name text);
        INSERT INTO user_profiles VALUES ('user-1', 'A'), ('user-2', NULL)";
    Start::of(ddl, &ALL).check().await;
}

#[tokio::test]
async fn the_full_profile() {
    let ddl =
        "CREATE TABLE user_profiles (user_id uuid PRIMARY KEY, full_name text, phone character varying(20));
        INSERT INTO user_profiles VALUES (gen_random_uuid(), 'A', '1'), (gen_random_uuid(), NULL, NULL)";
    let steps: Vec<&str> = ALL
        .into_iter()
        .chain([
            "column.department",
            "column.position",
            "column.avatar_url",
            "column.timezone",
            "column.language",
            "column.is_active",
            "column.metadata",
            "column.preferences",
            "column.updated_at",
            "updated_at",
            "index.retell_vault_user_profiles_department",
            "index.retell_vault_user_profiles_phone",
            "index.retell_vault_user_profiles_retell_integration_status",
            "index.retell_vault_user_profiles_metadata",
            "index.retell_vault_user_profiles_preferences",
            "index.retell_vault_user_profiles_webhook_config",
            "index.retell_vault_user_profiles_is_active_department",
            "index.retell_vault_user_profiles_active_users",
            "index.retell_vault_user_profiles_configured_users",
        ])
        .collect();
    let start = Start::of(ddl, &[]);
    Start { steps: &steps, wanted: Profile::FullProfile.into(), ..start }.check().await;
}

const WRONG_TYPES: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY,
    encrypted_retell_api_key character varying(50) COLLATE \"C\" DEFAULT 'none', encrypted_call_agent_id bytea,
    encrypted_sms_agent_id character varying(8000), encrypted_agent_config text NOT NULL DEFAULT '{}',
    phone_number character varying(20), webhook_config json, retell_integration_status character varying(3),
    last_retell_sync timestamp without time zone DEFAULT now());
    INSERT INTO user_profiles VALUES ('user-1', '', '\\x00', NULL, '{\"a\": 1}', '1', '{}', 'abc', '2024-07-01 12:00');";

#[tokio::test]
async fn wrong_types() {
    let steps = &[
        "type.encrypted_retell_api_key",
        "type.encrypted_call_agent_id",
        "type.retell_integration_status",
        "type.encrypted_agent_config",
        "type.last_retell_sync",
    ];
    Start::of(WRONG_TYPES, steps).check().await;
}

/// A bound is lifted without a rewrite; everything else needs the word.
#[tokio::test]
async fn only_what_rewrites_says_so() {
    let db = TestDb::create().await;
    db.exec(WRONG_TYPES).await;
    let plan = plan(&db, &Layout::new(), &Profile::Credentials.into()).await;
    for step in &plan.steps {
        let node = "SELECT pg_relation_filenode('user_profiles')::int8";
        let before: i64 = value(&db, node).await;
        db.exec(&step.sql.join(";")).await;
        let after: i64 = value(&db, node).await;
        assert_eq!(step.rewrites, before != after, "{}", step.id);
    }
}

#[tokio::test]
async fn a_nullable_tenant_in_another_schema_under_odd_names() {
    let db = TestDb::create().await;
    // before, no unique constraint sees a NULL, and the plan asks for NOT NULL
    let (sort, tenant) = match db.version().await >= POSTGRES_15 {
        true => ("uuid", "NULL"),
        false => ("uuid NOT NULL", "'00000000-0000-4000-8000-000000000001'"),
    };
    let ddl = r#"CREATE SCHEMA "A ""b"" $vault$"; CREATE TABLE "A ""b"" $vault$"."It's \ ""T"" CONCURRENTLY" ("Us""er" text, "ten'ant" SORT, "last" text);
        INSERT INTO "A ""b"" $vault$"."It's \ ""T"" CONCURRENTLY" VALUES ('user-1', TENANT, 'a'), (NULL, TENANT, 'b')"#;
    let ddl = &ddl.replace("SORT", sort).replace("TENANT", tenant);
    let layout = named_table(r#""A ""b"" $vault$"."It's \ ""T"" CONCURRENTLY""#)
        .user_column("Us\"er")
        .and_then(|layout| layout.tenant_column("ten'ant"))
        .and_then(|layout| layout.column(Field::named("api_key"), "K'e\"y \\"))
        .and_then(|layout| layout.column(Field::named("call_agent_id"), "C$$all"))
        .and_then(|layout| layout.column(Field::named("sms_agent_id"), "encrypted_sms_agent_id"))
        .and_then(|layout| layout.column(Field::named("phone_number"), "phone_number"))
        .and_then(|layout| layout.column(Field::named("webhook_config"), "Hook's"))
        .and_then(|layout| layout.column(Field::named("integration_status"), "Sta\"t'us"))
        .and_then(|layout| layout.config_column("Con\"fig"))
        .and_then(|layout| layout.sync_column("Sy'nc"))
        .unwrap();
    let columns = [
        "owner.unique",
        "column.K'e\"y \\",
        "column.C$$all",
        "column.encrypted_sms_agent_id",
        "column.phone_number",
        "column.Hook's",
        "column.Sta\"t'us",
        "column.Con\"fig",
        "column.Sy'nc",
    ];
    let start = Start {
        layout,
        relation: r#""A ""b"" $vault$"."It's \ ""T"" CONCURRENTLY""#,
        journal: r#""A ""b"" $vault$".retell_vault_steps"#,
        ddl,
        steps: &columns,
        ..Start::of("", &[])
    };
    start.check().await;

    db.exec(ddl).await;
    let full = plan(&db, &start.layout, &Profile::FullProfile.into()).await;
    run_steps(&db, &full).await;
    let again = plan(&db, &start.layout, &Profile::FullProfile.into()).await;
    assert!(again.is_empty(), "{:?}", ids(&again));
    // a tenant that is NULL is a tenant like any other
    let twice =
        format!("INSERT INTO {} (\"Us\"\"er\", \"ten'ant\") VALUES ('user-1', {tenant})", start.relation);
    let refused = cluster::run_sql(&db.url, &twice).await.unwrap_err();
    assert!(refused.as_database_error().unwrap().is_unique_violation(), "{refused}");
}

#[tokio::test]
async fn partitions() {
    let ddl = "CREATE TABLE user_profiles (user_id text, tenant text NOT NULL) PARTITION BY HASH (user_id);
        CREATE TABLE one PARTITION OF user_profiles FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE two PARTITION OF user_profiles FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO user_profiles SELECT 'user-' || n, 't' FROM generate_series(1, 20) AS n";
    let layout = Layout::new().tenant_column("tenant").unwrap();
    let steps: Vec<&str> = ["owner.unique"].into_iter().chain(ALL).collect();
    Start { layout: layout.clone(), steps: &steps, ..Start::of(ddl, &[]) }.check().await;

    let db = TestDb::create().await;
    db.exec(ddl).await;
    let before = dump(&db).await;
    let full = plan(&db, &layout, &Profile::FullProfile.into()).await;
    assert!(full.steps.iter().all(|step| !step.concurrent));
    let done = run_steps(&db, &full).await;
    let again = plan(&db, &layout, &Profile::FullProfile.into()).await;
    assert!(again.is_empty(), "{:?}", ids(&again));
    undo_steps(&db, &done).await;
    assert_eq!(dump(&db).await, before);
}

/// Which of the rows of an owner stays: that with the newest version in any slot, then the one changed last.
#[tokio::test]
async fn duplicates_move_aside_and_come_back() {
    let ddl = "CREATE TABLE user_profiles (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id text,
        twice bigint GENERATED ALWAYS AS (7) STORED, updated_at timestamptz,
        encrypted_retell_api_key text, encrypted_call_agent_id text, encrypted_sms_agent_id text, encrypted_agent_config jsonb,
        phone_number text, webhook_config json, retell_integration_status text, last_retell_sync timestamptz);
        INSERT INTO user_profiles (user_id, updated_at, encrypted_retell_api_key, encrypted_agent_config) VALUES
          ('a', '2025-01-01', 'rv1.00000000.000000000000000a.api_key.AA', NULL),
          ('a', '2024-01-01', 'rv1.00000000.0000000000000001.api_key.AA', '{\"retell_vault\": {\"webhook_secret\": \"rv1.00000000.000000000000000b.webhook_secret.AA\"}}'),
          ('a', '2026-01-01', 'key_test_legacy', '[]'),
          ('b', '2025-01-01', NULL, NULL), ('b', '2024-01-01', NULL, NULL), ('b', NULL, NULL, NULL),
          ('c', NULL, NULL, NULL), (NULL, NULL, NULL, NULL), (NULL, NULL, NULL, NULL)";
    let wanted = Wanted::from(Profile::Credentials).remove_duplicates();
    let start = Start { wanted, ..Start::of(ddl, &["owner.duplicates", "owner.unique"]) };
    start.check().await;

    let db = TestDb::create().await;
    db.exec(ddl).await;
    let first = plan(&db, &start.layout, &start.wanted).await;
    run_steps(&db, &first).await;
    let left: String = value(&db, "SELECT string_agg(id::text, ',' ORDER BY id) FROM user_profiles").await;
    assert_eq!(left, "2,4,7,8,9");
    let moved = "SELECT string_agg(id::text, ',' ORDER BY id) FROM retell_vault_duplicates_user_profiles";
    assert_eq!(value::<String>(&db, moved).await, "1,3,5,6");
    let locked =
        "SELECT relrowsecurity FROM pg_class WHERE relname = 'retell_vault_duplicates_user_profiles'";
    assert!(value::<bool>(&db, locked).await);

    // what was moved aside before is not touched when it is needed again
    db.exec("DROP INDEX retell_vault_user_profiles_owner; INSERT INTO user_profiles (user_id) VALUES ('c')")
        .await;
    let second = plan(&db, &start.layout, &start.wanted).await;
    let done = run_steps(&db, &second).await;
    assert_eq!(value::<String>(&db, moved).await, "1,3,5,6");
    undo_steps(&db, &done).await;
    assert_eq!(value::<i64>(&db, "SELECT count(*) FROM user_profiles").await, 6);
}

/// An index that was left invalid is replaced, one of ours that is another comes back with the undo, and one of
/// another name that does the same is enough.
#[tokio::test]
async fn indexes_that_are_there() {
    let ddl = "CREATE TABLE user_profiles (user_id text, encrypted_retell_api_key text, encrypted_call_agent_id text,
        encrypted_sms_agent_id text, encrypted_agent_config jsonb, phone_number text, webhook_config jsonb,
        retell_integration_status text, last_retell_sync timestamptz,
        department text, position text, phone text, avatar_url text, timezone text, language text, is_active bool, metadata jsonb,
        preferences json, updated_at timestamptz);
        COMMENT ON COLUMN user_profiles.webhook_config IS 'retell-vault: webhook_config of retell';
        CREATE UNIQUE INDEX retell_vault_user_profiles_owner ON user_profiles (user_id);
        UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'retell_vault_user_profiles_owner'::regclass;
        CREATE INDEX retell_vault_user_profiles_phone ON user_profiles (phone, language);
        CREATE INDEX theirs ON user_profiles (department);
        CREATE INDEX theirs_status ON user_profiles (retell_integration_status);
        CREATE INDEX theirs_gin ON user_profiles USING gin (metadata);
        CREATE INDEX theirs_active ON user_profiles (user_id) WHERE is_active AND department IS NOT NULL;
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.updated_at = now(); RETURN NEW; END';
        CREATE TRIGGER touch BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION touch()";
    let db = TestDb::create().await;
    db.exec(ddl).await;
    let wanted = Profile::FullProfile.into();
    let first = plan(&db, &Layout::new(), &wanted).await;
    let expected = [
        "owner.unique",
        "index.retell_vault_user_profiles_phone",
        "index.retell_vault_user_profiles_webhook_config",
        "index.retell_vault_user_profiles_is_active_department",
        "index.retell_vault_user_profiles_configured_users",
    ];
    assert_eq!(ids(&first), expected);
    let done = run_steps(&db, &first).await;
    assert!(plan(&db, &Layout::new(), &wanted).await.is_empty());
    undo_steps(&db, &done).await;
    let phone = "SELECT pg_get_indexdef('retell_vault_user_profiles_phone'::regclass)";
    assert!(value::<String>(&db, phone).await.ends_with("(phone, language)"));
    assert!(value::<bool>(&db, "SELECT to_regclass('retell_vault_user_profiles_owner') IS NULL").await);
}

#[tokio::test]
async fn updated_at_follows_changes_only() {
    // json has no equality, which a comparison of whole rows must not stumble over
    for (extra, touched_by_nothing) in [("", false), (", twice int GENERATED ALWAYS AS (7) STORED", true)] {
        let db = TestDb::create().await;
        db.exec(&format!(
            "CREATE TABLE user_profiles (user_id text PRIMARY KEY, webhook_config json, note text{extra});
             CREATE TABLE other (user_id text PRIMARY KEY);
             INSERT INTO user_profiles VALUES ('user-1', '{{\"a\": 1}}', 'a')"
        ))
        .await;
        let plan_of = async |name: &str| plan(&db, &named_table(name), &Profile::FullProfile.into()).await;
        let first = plan_of("user_profiles").await;
        let done = run_steps(&db, &first).await;
        let is_touched = "SELECT updated_at IS NOT NULL FROM user_profiles";
        assert!(!value::<bool>(&db, is_touched).await, "nobody knows when the row was changed");
        db.exec("UPDATE user_profiles SET note = note").await;
        assert_eq!(value::<bool>(&db, is_touched).await, touched_by_nothing);
        db.exec("UPDATE user_profiles SET note = 'b'").await;
        assert!(value::<bool>(&db, is_touched).await);

        // the tables of a schema share the function, and it goes with the last
        let other = plan_of("other").await;
        let done_there = run_steps(&db, &other).await;
        undo_steps(&db, &done).await;
        db.exec("INSERT INTO other VALUES ('user-1'); UPDATE other SET department = 'x'").await;
        assert!(value::<bool>(&db, "SELECT updated_at IS NOT NULL FROM other").await);
        undo_steps(&db, &done_there).await;
        let functions = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'retell\\_vault\\_%'";
        assert_eq!(value::<i64>(&db, functions).await, 0);
    }
}
