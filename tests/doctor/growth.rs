//! A table that grows: what the server's counters show, on both sides of each threshold, and what they do not show.

use retell_vault::Layout;
use retell_vault::doctor::{Area, DoctorOptions, Finding, Fix, Severity};
use retell_vault::schema::Profile;

use crate::support::doctor::{Clinic, Planted, psql};
use crate::support::faults::until_counted;
use crate::support::role::Role;
use crate::support::vaults::{ALL_COLUMNS, Hosts};
use crate::support::{Cluster, POSTGRES_15, TestDb, cluster};

/// No autovacuum counts these rows while a test looks.
const QUIET: &str = "ALTER TABLE user_profiles SET (autovacuum_analyze_threshold = 1000000000, autovacuum_vacuum_insert_threshold = -1)";

async fn grow(db: &TestDb, rows: u32) {
    let insert = "INSERT INTO user_profiles (user_id) SELECT 'user-' || n FROM generate_series(1,";
    db.exec(&format!("{QUIET}; {insert} {rows}) AS n")).await;
    counted(db, &format!("n_live_tup = {rows}")).await;
}

async fn counted(db: &TestDb, condition: &str) {
    let table = "FROM pg_stat_all_tables WHERE relid = 'user_profiles'::regclass";
    until_counted(&db.url, &format!("SELECT {condition} {table}")).await;
}

fn ids(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.id).collect()
}

async fn found(clinic: &Clinic) -> Vec<Finding> {
    clinic.diagnose().await.findings
}

#[tokio::test]
async fn a_large_table_that_was_never_analysed() {
    let clinic = Clinic::new().await;
    grow(&clinic.db, 10_000).await;
    clinic.is_clean().await;
    let plant = "INSERT INTO user_profiles (user_id) VALUES ('one more')";
    let findings = clinic.finds_and_mends(&Planted { id: "never_analysed", plant }).await;
    assert_eq!((findings[0].area, findings[0].severity), (Area::Operation, Severity::Notice));
    let notes = clinic.diagnose().await.notes;
    let note = "not looked at in public.user_profiles: unused indexes: ";
    assert!(notes.iter().any(|found| found.starts_with(note)), "{notes:?}");
}

#[tokio::test]
async fn an_autovacuum_that_is_off() {
    let clinic = Clinic::new().await;
    let off = "ALTER TABLE user_profiles SET (autovacuum_enabled = false); ANALYZE user_profiles";
    grow(&clinic.db, 10_000).await;
    clinic.db.exec(off).await;
    clinic.is_clean().await;
    clinic.db.exec("INSERT INTO user_profiles (user_id) VALUES ('one more')").await;
    let findings = clinic.finds_and_mends(&Planted { id: "autovacuum_off", plant: off }).await;
    assert_eq!((findings[0].area, findings[0].severity), (Area::Operation, Severity::Warning));
}

#[tokio::test]
async fn an_autovacuum_that_lags() {
    let clinic = Clinic::new().await;
    // every update leaves a dead row in this index, which only VACUUM removes
    clinic.db.exec("CREATE INDEX by_name ON user_profiles (full_name)").await;
    grow(&clinic.db, 10_001).await;
    let dies = async |rows: u32| {
        let update = format!(
            "UPDATE user_profiles SET full_name = clock_timestamp()::text || user_id WHERE substr(user_id, 6)::int <= {rows}"
        );
        clinic.db.exec("VACUUM ANALYZE user_profiles").await;
        clinic.db.exec(&update).await;
        counted(&clinic.db, &format!("n_dead_tup = {rows}")).await;
    };
    let off = "autovacuum_enabled = false, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold";
    for (threshold, dead, lags) in
        [(100, 9_999, false), (100, 10_000, true), (5_000, 10_000, false), (5_000, 10_001, true)]
    {
        clinic.db.exec(&format!("ALTER TABLE user_profiles SET ({off} = {threshold})")).await;
        dies(dead).await;
        let findings = found(&clinic).await;
        let expected: &[&str] = if lags { &["autovacuum_off", "vacuum_lags"] } else { &["autovacuum_off"] };
        assert_eq!(ids(&findings), expected, "{threshold} {dead}");
    }
    let findings = found(&clinic).await;
    assert_eq!((findings[1].severity, findings[1].count), (Severity::Warning, Some(10_001)));
    clinic.mend(&findings[1]).await;
    clinic.mend(&findings[0]).await;
    counted(&clinic.db, "n_dead_tup = 0").await;
    clinic.is_clean().await;
}

#[tokio::test]
async fn a_look_up_by_the_owner_that_reads_the_whole_table() {
    let clinic = Clinic::new().await;
    let plant = "DO $$ DECLARE it text; BEGIN FOR it IN SELECT format('ALTER TABLE user_profiles DROP CONSTRAINT %I', conname)
        FROM pg_constraint WHERE conrelid = 'user_profiles'::regclass AND contype IN ('p', 'u') LOOP EXECUTE it; END LOOP; END $$";
    clinic.db.exec(plant).await;
    grow(&clinic.db, 10_000).await;
    clinic.db.exec("ANALYZE user_profiles").await;
    assert_eq!(ids(&found(&clinic).await), ["owner_not_unique"]);
    clinic.db.exec("INSERT INTO user_profiles (user_id) VALUES ('one more'); ANALYZE user_profiles").await;
    let findings = found(&clinic).await;
    assert_eq!(ids(&findings), ["owner_not_unique", "owner_scans"]);
    assert_eq!((findings[1].area, findings[1].severity), (Area::Schema, Severity::Warning));
    assert!(findings[1].meaning.contains("about 10001 rows"), "{findings:?}");
    // the second is mended with the first, and its own SQL does no harm
    for finding in &findings {
        clinic.mend(finding).await;
    }
    clinic.is_clean().await;
    // each alone is enough
    clinic.db.exec("DROP INDEX retell_vault_user_profiles_owner").await;
    clinic.mend(&findings[1]).await;
    clinic.is_clean().await;
}

/// A policy whose function fails when the statement is planned: the rest of the schema is examined.
#[tokio::test]
async fn a_look_up_that_cannot_be_planned() {
    let clinic = Clinic::new().await;
    grow(&clinic.db, 10_001).await;
    let role = Role::create(&clinic.db, "GRANT SELECT, INSERT, UPDATE ON user_profiles TO guest").await;
    clinic
        .db
        .exec(&format!(
            "ANALYZE user_profiles; ALTER TABLE user_profiles DROP COLUMN last_retell_sync, ENABLE ROW LEVEL SECURITY;
             CREATE FUNCTION fails() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE EXCEPTION USING ERRCODE = 22000; END';
             CREATE POLICY p ON user_profiles TO {} USING (user_id = 'x' OR fails())",
            role.name
        ))
        .await;
    let clinic = clinic.by(&role.url);
    let findings = found(&clinic).await;
    let of_schema: Vec<_> = findings.iter().filter(|finding| finding.area == Area::Schema).collect();
    let of_schema: Vec<_> = of_schema.iter().map(|finding| finding.id).collect();
    assert_eq!(of_schema, ["column_missing", "not_examined"], "{findings:#?}");
    drop(role); // while its database is there
}

/// The index of a tenant's users, of rows that pass a filter, or of a number serves the look-up.
#[tokio::test]
async fn a_look_up_that_uses_an_index_is_no_finding() {
    let named = |text: &str| Layout::from_toml(&format!("[table]\nname = 'keys'\n{text}")).unwrap();
    let columns = "encrypted_retell_api_key text, encrypted_call_agent_id text, encrypted_sms_agent_id text, phone_number text,
        webhook_config jsonb, retell_integration_status text, encrypted_agent_config jsonb, last_retell_sync timestamptz";
    for (table, values, layout) in [
        (
            "user_id uuid, org text NOT NULL, UNIQUE (org, user_id)",
            "gen_random_uuid(), 'org-' || n % 7",
            "tenant = 'org'",
        ),
        (
            "user_id text NOT NULL, provider text NOT NULL, UNIQUE (provider, user_id)",
            "n, 'retell'",
            "where = { provider = 'retell' }",
        ),
        ("id bigint PRIMARY KEY", "n", "user = 'id'"),
    ] {
        let clinic = Clinic::with(&format!("CREATE TABLE keys ({table}, {columns})"), named(layout)).await;
        let insert = format!("INSERT INTO keys SELECT {values} FROM generate_series(1, 10001) AS n");
        clinic.db.exec(&format!("{insert}; ANALYZE keys")).await;
        clinic.is_clean().await;
    }
}

/// Where no unique index is possible, an ordinary one is enough; an index that does not start with the owner is not.
#[tokio::test]
async fn partitions_by_another_column_are_looked_at_one_by_one() {
    let table = ALL_COLUMNS.split(';').next().unwrap();
    let table = table.replace("user_id text PRIMARY KEY", "user_id text NOT NULL, region text NOT NULL");
    assert!(table.contains("region"), "{table}");
    let table = format!(
        "{table} PARTITION BY LIST (region);
         CREATE TABLE one PARTITION OF user_profiles FOR VALUES IN ('one');
         CREATE TABLE two PARTITION OF user_profiles FOR VALUES IN ('two');
         CREATE INDEX by_name ON user_profiles (full_name, user_id)"
    );
    let clinic = Clinic::with(&table, Layout::new()).await;
    let rows = |region: &str, rows| {
        format!(
            "INSERT INTO user_profiles (user_id, region) SELECT n, '{region}' FROM generate_series(1, {rows}) AS n"
        )
    };
    clinic.db.exec(&format!("{}; {}; ANALYZE", rows("one", 10_000), rows("two", 10_000))).await;
    clinic.is_clean().await;
    let plant = &format!("{}; ANALYZE", rows("two", 1));
    clinic.db.exec(plant).await;
    let findings = clinic.finds_only("owner_scans").await;
    assert!(findings[0].meaning.contains("public.two"), "{findings:?}");
    clinic.mend(&findings[0]).await;
    clinic.is_clean().await;
}

#[tokio::test]
async fn indexes_that_do_not_fit_into_memory() {
    let (server, hosts) = (Cluster::start(&["-c", "shared_buffers=128kB"]).await, Hosts::new().await);
    cluster::run_sql(server.url(), ALL_COLUMNS).await.unwrap();
    let fill = "INSERT INTO user_profiles (user_id) SELECT repeat(md5(n::text), 3) FROM generate_series(1, 20000) AS n";
    cluster::run_sql(server.url(), &format!("{fill}; ANALYZE user_profiles")).await.unwrap();
    let vault = hosts.host(0, server.url()).build().await.unwrap();
    let find = async |id: &str| {
        let findings = vault.doctor(&DoctorOptions::new(), |_| {}).await.unwrap().findings;
        findings.into_iter().find(|finding| finding.id == id)
    };
    let look_up = |times| {
        format!(
            "DO $$ BEGIN FOR n IN 1..{times} LOOP PERFORM FROM user_profiles WHERE user_id = repeat(md5(n::text), 3); END LOOP; END $$"
        )
    };
    let requests = async |condition: &str| {
        let blocks = "SELECT sum(idx_blks_hit + idx_blks_read)";
        let index = "FROM pg_statio_user_indexes WHERE relname = 'user_profiles'";
        until_counted(server.url(), &format!("{blocks} {condition} {index}")).await;
    };
    // what filled the table is counted before the counters begin anew
    requests(">= 20000").await;
    cluster::run_sql(server.url(), "SELECT pg_stat_reset()").await.unwrap();
    // too few to say anything
    cluster::run_sql(server.url(), &look_up(2_000)).await.unwrap();
    requests("BETWEEN 2000 AND 9999").await;
    assert_eq!(find("index_hit_rate").await, None);
    cluster::run_sql(server.url(), &look_up(8_000)).await.unwrap();
    requests(">= 10000").await;
    let finding = find("index_hit_rate").await.unwrap();
    assert_eq!((finding.area, finding.severity), (Area::Operation, Severity::Notice));
    let Fix::Sql(sql) = &finding.fix else { panic!("{finding:?}") };
    psql(server.url(), sql).await;
}

/// The same look-ups where memory is enough.
#[tokio::test]
async fn indexes_in_memory_are_no_finding() {
    let clinic = Clinic::new().await;
    grow(&clinic.db, 10_001).await;
    let look_up = "SET enable_seqscan = off; SET enable_bitmapscan = off;
        DO $$ BEGIN FOR n IN 1..10001 LOOP PERFORM FROM user_profiles WHERE user_id = 'user-' || n; END LOOP; END $$";
    clinic.db.exec(&format!("ANALYZE user_profiles; {look_up}")).await;
    let diagnosis = clinic.diagnose().await;
    assert_eq!(diagnosis.findings, []);
    assert!(
        !diagnosis.notes.iter().any(|note| note.starts_with("not looked at in")),
        "{:?}",
        diagnosis.notes
    );
}

// --- What cannot be seen is not called fine ---

#[tokio::test]
async fn counters_that_were_reset_say_nothing() {
    let clinic = Clinic::new().await;
    grow(&clinic.db, 10_000).await;
    clinic.db.exec("ANALYZE user_profiles; SELECT pg_stat_reset()").await;
    clinic.is_clean().await;
    clinic.db.exec("INSERT INTO user_profiles (user_id) VALUES ('one more'); ANALYZE user_profiles; SELECT pg_stat_reset()").await;
    let findings = clinic.finds_only("not_examined").await;
    assert_eq!((findings[0].area, findings[0].severity), (Area::Operation, Severity::Warning));
    let unknown = "so these were not looked at: dead rows, the hit rate of the indexes, unused indexes";
    assert!(findings[0].meaning.ends_with(unknown), "{findings:?}");
    // ANALYZE counts the rows again
    clinic.db.exec("ANALYZE user_profiles").await;
    // an older server does not tell when it was
    if clinic.db.version().await >= POSTGRES_15 {
        let findings = clinic.finds_only("not_examined").await;
        assert!(!findings[0].meaning.contains("dead rows"), "{findings:?}");
    }
}

/// From a role to whom policies apply, the server hides the planner's statistics. Then only the counters can tell.
#[tokio::test]
async fn statistics_that_are_hidden_from_the_role() {
    let clinic = Clinic::new().await;
    grow(&clinic.db, 10_001).await;
    let role = Role::create(&clinic.db, "GRANT SELECT, INSERT, UPDATE ON user_profiles TO guest").await;
    let policy = format!("CREATE POLICY p ON user_profiles TO {} USING (true)", role.name);
    clinic.db.exec(&format!("ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY; {policy}")).await;
    let clinic = clinic.by(&role.url);
    assert!(ids(&found(&clinic).await).contains(&"never_analysed"));
    clinic.db.exec("ANALYZE user_profiles").await;
    assert!(!ids(&found(&clinic).await).contains(&"never_analysed"));
    clinic.db.exec("SELECT pg_stat_reset()").await;
    let findings = found(&clinic).await;
    let unknown = findings.iter().find(|finding| finding.id == "not_examined").unwrap();
    assert!(unknown.meaning.contains("dead rows, the planner's statistics, "), "{findings:#?}");
    assert!(!ids(&findings).contains(&"never_analysed"));
    drop(role); // while its database is there
}

#[tokio::test]
async fn a_server_that_does_not_count() {
    let clinic = Clinic::new().await;
    grow(&clinic.db, 10_001).await;
    let off =
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET track_counts = off', current_database()); END $$";
    clinic.db.exec(&format!("ANALYZE user_profiles; {off}")).await;
    let findings = clinic.finds_only("not_examined").await;
    assert!(findings[0].meaning.contains("track_counts"), "{findings:?}");
}

/// Everything else is examined, and a plan needs no counters.
#[tokio::test]
async fn views_that_the_role_may_not_read() {
    let clinic = Clinic::new().await;
    clinic.db.exec("ALTER TABLE user_profiles DROP COLUMN last_retell_sync").await;
    let role = Role::create(&clinic.db, "GRANT SELECT, INSERT, UPDATE ON user_profiles TO guest").await;
    let clinic = clinic.by(&role.url);
    for view in
        ["pg_stat_all_tables", "pg_stat_all_indexes", "pg_statio_all_indexes", "pg_stat_database", "pg_stats"]
    {
        clinic.db.exec(&format!("REVOKE SELECT ON pg_catalog.{view} FROM PUBLIC")).await;
        let findings = found(&clinic).await;
        assert_eq!(ids(&findings), ["column_missing", "not_examined"], "{view}: {findings:#?}");
        let not_examined = &findings[1];
        assert_eq!((not_examined.area, not_examined.severity), (Area::Operation, Severity::Warning));
        assert!(not_examined.meaning.contains("may not read the statistics views"), "{not_examined:?}");
        let vault = clinic.vault().await;
        let plan = vault.schema().plan(Profile::Credentials).await.unwrap();
        let steps: Vec<_> = plan.steps.iter().map(|step| step.id.as_str()).collect();
        assert!(steps.contains(&"column.last_retell_sync"), "{view}: {steps:?}");
        clinic.db.exec(&format!("GRANT SELECT ON pg_catalog.{view} TO PUBLIC")).await;
    }
    assert_eq!(ids(&found(&clinic).await), ["column_missing"]);
    drop(role); // while its database is there
}
