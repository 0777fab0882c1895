//! From many starting tables: plan, apply, verify, an empty plan, roll back, the starting schema.

use retell_vault::schema::{ApplyOptions, Profile, RollBackOptions, RowSecurity, SchemaPlan, Wanted};
use retell_vault::{Layout, Vault};

use crate::support::dump::schema_of;
use crate::support::rows::{table, value};
use crate::support::vaults::{Hosts, full_config, named_table, owner};
use crate::support::{POSTGRES_15, TestDb};

/// Where somebody starts, and what they ask for.
struct Start {
    sql: String,
    layout: Layout,
    wanted: Wanted,
    rewrites: bool,
}

impl Start {
    fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), layout: Layout::new(), wanted: Profile::FullProfile.into(), rewrites: false }
    }

    fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    fn wanted(mut self, wanted: impl Into<Wanted>) -> Self {
        self.wanted = wanted.into();
        self
    }

    fn with_rewrites(mut self) -> Self {
        self.rewrites = true;
        self
    }

    fn apply_options(&self) -> ApplyOptions {
        match self.rewrites {
            true => ApplyOptions::new().allow_rewrite(),
            false => ApplyOptions::new(),
        }
    }
}

/// A database at the start of a journey, and a vault over it.
struct Journey {
    db: TestDb,
    vault: Vault,
    start: Start,
    _hosts: Hosts,
}

impl Journey {
    async fn begin(start: Start) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(&start.sql).await;
        let vault = hosts.host(0, &db.url).layout(start.layout.clone()).build().await.unwrap();
        Self { db, vault, start, _hosts: hosts }
    }

    async fn plan(&self) -> SchemaPlan {
        self.vault.schema().plan(self.start.wanted.clone()).await.unwrap()
    }

    /// Plans, applies, verifies, and plans again.
    async fn there(&self) -> SchemaPlan {
        let plan = self.plan().await;
        assert!(plan.blocked.is_empty(), "{:?}", plan.blocked);
        let applied = self.vault.schema().apply(&plan, &self.start.apply_options(), |_| {}).await.unwrap();
        assert_eq!(applied.steps.is_empty(), plan.steps.is_empty());
        let verification = self.vault.schema().verify(self.start.wanted.clone()).await.unwrap();
        assert!(verification.is_good(), "{verification:#?}");
        let again = self.plan().await;
        assert!(again.is_empty(), "{again:#?}");
        plan
    }

    async fn back(&self) {
        self.vault.schema().roll_back(&RollBackOptions::new().allow_rewrite(), |_| {}).await.unwrap();
    }

    /// Rolls back whatever is lost, and names the tables that hold it.
    async fn back_with_losses(&self) -> Vec<String> {
        let options = RollBackOptions::new().allow_rewrite().allow_data_loss();
        self.vault.schema().roll_back(&options, |_| {}).await.unwrap().backups
    }

    async fn drop_tables(&self, tables: &[String]) {
        for table in tables {
            self.db.exec(&format!("DROP TABLE {table}")).await;
        }
    }

    /// There and back, and everything is as it was: the schema, and the rows of the table.
    async fn there_and_back(&self, relation: &str) -> SchemaPlan {
        let (schema, rows) = (schema_of(&self.db).await, table(&self.db, relation).await);
        let plan = self.there().await;
        self.back().await;
        assert_eq!(schema_of(&self.db).await, schema);
        assert_eq!(table(&self.db, relation).await, rows);
        plan
    }
}

fn ids(plan: &SchemaPlan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.id.as_str()).collect()
}

const BARE: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, full_name text);
    INSERT INTO user_profiles VALUES ('ada', 'Ada'), ('bob', NULL);";

#[tokio::test]
async fn a_bare_profile_table() {
    let journey = Journey::begin(Start::new(BARE)).await;
    let plan = journey.there_and_back("user_profiles").await;
    assert!(ids(&plan).contains(&"column.encrypted_agent_config"), "{plan}");
    assert!(
        plan.notes.iter().any(|note| note.contains("columns for tokens get no index")),
        "{:?}",
        plan.notes
    );
}

#[tokio::test]
async fn a_bare_profile_table_gets_the_credentials_only() {
    let journey = Journey::begin(Start::new(BARE).wanted(Profile::Credentials)).await;
    let plan = journey.there_and_back("user_profiles").await;
    assert!(!ids(&plan).iter().any(|id| id.starts_with("index.") || id.starts_with("function.")), "{plan}");
}

#[tokio::test]
async fn partial_columns() {
    let start = Start::new(
        "CREATE TABLE user_profiles (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id text NOT NULL UNIQUE,
            encrypted_retell_api_key text, phone_number varchar(20), department text, is_active boolean,
            updated_at timestamptz DEFAULT now());
         CREATE INDEX by_department ON user_profiles (department);
         INSERT INTO user_profiles (user_id, phone_number) VALUES ('ada', '+14155550100')",
    );
    let journey = Journey::begin(start).await;
    let plan = journey.there_and_back("user_profiles").await;
    assert!(!ids(&plan).contains(&"column.encrypted_retell_api_key"), "{plan}");
    let department =
        |sql: &String| sql.contains("btree (\"department\")") || sql.contains("(\"department\")");
    assert!(
        !plan.steps.iter().any(|step| step.id.starts_with("index.") && step.sql.iter().any(department)),
        "{plan}"
    );
}

#[tokio::test]
async fn wrong_types() {
    let start = Start::new(
        "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key varchar(100),
            encrypted_call_agent_id integer, encrypted_agent_config text DEFAULT '{}', webhook_config text,
            last_retell_sync timestamp, retell_integration_status varchar(30));
         INSERT INTO user_profiles (user_id, webhook_config) VALUES ('ada', '{\"a\": 1}'), ('bob', NULL)",
    );
    let journey = Journey::begin(start.with_rewrites()).await;
    let plan = journey.there_and_back("user_profiles").await;
    assert!(plan.steps.iter().any(|step| step.rewrites), "{plan}");
    let varchar = plan.steps.iter().find(|step| step.id == "type.encrypted_retell_api_key").unwrap();
    assert!(!varchar.rewrites, "varchar to text rewrites nothing");
}

#[tokio::test]
async fn uuid_ids() {
    let start = Start::new(
        "CREATE TABLE user_profiles (user_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), email text);
         INSERT INTO user_profiles (email) VALUES ('ada@example.com'), ('bob@example.com')",
    );
    Journey::begin(start).await.there_and_back("user_profiles").await;
}

#[tokio::test]
async fn no_unique_constraint_and_duplicates() {
    let start = Start::new(
        "CREATE TABLE user_profiles (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id text, note text,
            shout text GENERATED ALWAYS AS (upper(note)) STORED);
         INSERT INTO user_profiles (user_id, note) VALUES
            ('ada', 'one'), ('ada', 'one'), ('bob', 'three'), (NULL, 'four'), (NULL, 'five')",
    );
    let journey = Journey::begin(start).await;
    let blocked = journey.plan().await;
    assert!(
        blocked.blocked.iter().any(|blocked| blocked.hint.contains("--remove-duplicates")),
        "{blocked:#?}"
    );
    let error = journey.vault.schema().apply(&blocked, &ApplyOptions::new(), |_| {}).await.unwrap_err();
    assert!(error.hint().contains("--remove-duplicates"), "{error:?}");

    let Journey { db, vault, start, _hosts } = journey;
    let start = start.wanted(Wanted::from(Profile::FullProfile).remove_duplicates());
    let journey = Journey { db, vault, start, _hosts };
    let plan = journey.there_and_back("user_profiles").await;
    assert!(ids(&plan).contains(&"owner.duplicates"), "{plan}");
}

#[tokio::test]
async fn duplicates_leave_the_row_with_the_newest_record() {
    let start = Start::new(
        "CREATE TABLE user_profiles (user_id text, note text, encrypted_retell_api_key text,
            encrypted_agent_config jsonb)",
    );
    let journey = Journey::begin(start.wanted(Wanted::from(Profile::Credentials).remove_duplicates())).await;
    journey.db.exec("INSERT INTO user_profiles VALUES ('ada', 'old')").await;
    journey.vault.store(&owner("ada"), &full_config("old")).await.unwrap();
    journey.db.exec("CREATE TABLE aside AS SELECT * FROM user_profiles").await;
    journey.vault.store(&owner("ada"), &full_config("new")).await.unwrap();
    journey.db.exec("INSERT INTO user_profiles SELECT * FROM aside; DROP TABLE aside").await;
    journey.there().await;
    assert_eq!(value::<i64>(&journey.db, "SELECT count(*) FROM user_profiles").await, 1);
    assert_eq!(journey.vault.load(&owner("ada")).await.unwrap().config, full_config("new"));
}

#[tokio::test]
async fn a_tenant_column() {
    for (tenant, sort) in [("text NOT NULL", "ids"), ("uuid", "nullable uuids")] {
        let start = Start::new(format!(
            "CREATE TABLE user_profiles (tenant_id {tenant}, user_id text NOT NULL, name text, created timestamptz DEFAULT now())"
        ));
        let layout = Layout::new().tenant_column("tenant_id").unwrap();
        let wanted = Wanted::from(Profile::FullProfile).row_security(RowSecurity::On);
        let journey = Journey::begin(start.layout(layout).wanted(wanted)).await;
        if sort.starts_with("nullable") && journey.db.version().await < POSTGRES_15 {
            // no unique constraint sees a NULL there
            let blocked = journey.plan().await.blocked;
            assert!(blocked.len() == 1 && blocked[0].reason.contains("may be NULL"), "{blocked:?}");
            journey.db.exec(blocked[0].hint.split('`').nth(1).expect("SQL to run")).await;
        }
        let plan = journey.there_and_back("user_profiles").await;
        assert!(ids(&plan).contains(&"owner.unique"), "{sort}: {plan}");
    }
}

#[tokio::test]
async fn another_schema() {
    let start = Start::new("CREATE SCHEMA app; CREATE TABLE app.people (user_id text NOT NULL)");
    Journey::begin(start.layout(named_table("app.people"))).await.there_and_back("app.people").await;
}

#[tokio::test]
async fn quoted_names() {
    let start = Start::new(
        r#"CREATE SCHEMA "My ""App"; CREATE TABLE "My ""App"."User's Profiles" ("The Id" uuid, "Phone No." text, "api$key" varchar(40))"#,
    );
    let layout = Layout::new()
        .table(r#""My ""App"."User's Profiles""#)
        .and_then(|layout| layout.user_column("The Id"))
        .and_then(|layout| layout.column(retell_vault::config::Field::named("phone_number"), "Phone No."))
        .and_then(|layout| layout.column(retell_vault::config::Field::named("api_key"), "api$key"))
        .and_then(|layout| {
            layout.column(retell_vault::config::Field::named("sms_agent_id"), r#"sms "agent" \d"#)
        })
        .unwrap();
    let wanted = Wanted::from(Profile::FullProfile).row_security(RowSecurity::On).force_row_security();
    let journey = Journey::begin(start.layout(layout).wanted(wanted)).await;
    journey.there_and_back(r#""My ""App"."User's Profiles""#).await;
}

#[tokio::test]
async fn row_level_security_on() {
    let start = Start::new(format!(
        "{BARE} ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON user_profiles USING (user_id = current_user)"
    ));
    let journey = Journey::begin(start).await;
    let plan = journey.there_and_back("user_profiles").await;
    assert!(!ids(&plan).contains(&"row_security"), "the application has its own policies: {plan}");

    let Journey { db, vault, start, _hosts } = journey;
    let wanted = Wanted::from(Profile::Credentials).row_security(RowSecurity::On).force_row_security();
    let journey = Journey { db, vault, start: start.wanted(wanted), _hosts };
    let plan = journey.there_and_back("user_profiles").await;
    assert!(ids(&plan).contains(&"row_security"), "{plan}");
}

#[tokio::test]
async fn already_current() {
    let journey = Journey::begin(Start::new(BARE)).await;
    journey.there().await;
    let schema = schema_of(&journey.db).await;
    let plan = journey.there().await;
    assert!(plan.is_empty() && schema_of(&journey.db).await == schema);
}

#[tokio::test]
async fn current_with_legacy_text_in_the_columns() {
    let start = Start::new(
        "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, encrypted_agent_config jsonb,
            retell_integration_status text, note text);
         INSERT INTO user_profiles VALUES ('ada', 'key_test_legacy', '{\"theme\": \"dark\"}', 'whatever'),
            ('bob', NULL, '{\"retell_vault\": {\"api_key\": \"key_test_legacy\"}}', NULL)",
    );
    let journey = Journey::begin(start).await;
    let plan = journey.there_and_back("user_profiles").await;
    assert!(ids(&plan).contains(&"guard.encrypted_retell_api_key.trigger"), "{plan}");
    let schema = schema_of(&journey.db).await;

    journey.there().await;
    journey.db.exec("UPDATE user_profiles SET note = 'unrelated updates go on'").await;
    // imported, as its hint says: then the trigger gives way to a CHECK
    journey.db.exec("UPDATE user_profiles SET encrypted_retell_api_key = NULL, encrypted_agent_config = NULL, retell_integration_status = NULL").await;
    let plan = journey.there().await;
    assert!(ids(&plan).contains(&"guard.encrypted_retell_api_key.validate"), "{plan}");
    // the trigger on updated_at has left data behind
    let backups = journey.back_with_losses().await;
    journey.drop_tables(&backups).await;
    assert_eq!(schema_of(&journey.db).await, schema);
}

#[tokio::test]
async fn a_partitioned_table() {
    let start = Start::new(
        "CREATE TABLE user_profiles (user_id text NOT NULL, region text) PARTITION BY HASH (user_id);
         CREATE TABLE part_0 PARTITION OF user_profiles FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE part_1 PARTITION OF user_profiles FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         INSERT INTO user_profiles VALUES ('ada', 'eu'), ('bob', 'us'), ('eve', 'eu')",
    );
    Journey::begin(start).await.there_and_back("user_profiles").await;
}

#[tokio::test]
async fn a_table_that_is_partitioned_by_another_column() {
    let start = Start::new(
        "CREATE TABLE user_profiles (user_id text NOT NULL, region text) PARTITION BY LIST (region);
         CREATE TABLE part_eu PARTITION OF user_profiles FOR VALUES IN ('eu');
         CREATE TABLE part_rest PARTITION OF user_profiles DEFAULT;
         INSERT INTO user_profiles VALUES ('ada', 'eu'), ('bob', 'us')",
    );
    let journey = Journey::begin(start).await;
    let plan = journey.there_and_back("user_profiles").await;
    assert!(plan.notes.iter().any(|note| note.contains("partitioned by region")), "{:?}", plan.notes);
}

#[tokio::test]
async fn one_million_rows() {
    let start = Start::new(
        "CREATE TABLE user_profiles (user_id text, department text, full_name text);
         INSERT INTO user_profiles SELECT 'user-' || n, 'd' || n % 10, repeat('x', 40) FROM generate_series(1, 1000000) AS n;
         ANALYZE user_profiles",
    );
    let journey = Journey::begin(start).await;
    let schema = schema_of(&journey.db).await;
    journey.there().await;
    journey.back().await;
    assert_eq!(schema_of(&journey.db).await, schema);
    assert_eq!(value::<i64>(&journey.db, "SELECT count(*) FROM user_profiles").await, 1_000_000);
}

#[tokio::test]
async fn data_is_refused_or_backed_up() {
    let journey = Journey::begin(Start::new(BARE)).await;
    let schema = schema_of(&journey.db).await;
    journey.there().await;
    journey.vault.store(&owner("ada"), &full_config("kept")).await.unwrap();
    let there = schema_of(&journey.db).await;

    let refused = journey.vault.schema().roll_back(&RollBackOptions::new(), |_| {}).await.unwrap_err();
    assert!(refused.hint().contains("--allow-data-loss"), "{refused:?}");
    assert_eq!(schema_of(&journey.db).await, there, "nothing was undone");

    let backups = journey.back_with_losses().await;
    assert!(!backups.is_empty());
    let mut tokens = 0;
    for backup in &backups {
        let sql = format!("SELECT count(*) FROM {backup} AS b WHERE b::text LIKE '%rv1.%'");
        tokens += value::<i64>(&journey.db, &sql).await;
    }
    journey.drop_tables(&backups).await;
    assert!(tokens >= 4, "the tokens of four fields were copied, not {tokens}");
    assert_eq!(schema_of(&journey.db).await, schema);
}
