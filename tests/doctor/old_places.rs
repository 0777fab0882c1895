//! Values that the application stored before: in the sources of the layout, and in copies of them.

use retell_vault::config::Field;
use retell_vault::doctor::{DoctorOptions, Finding, Fix, Severity};
use retell_vault::layout::OldSource;
use retell_vault::{Layout, RetellConfig};

use crate::support::doctor::Clinic;
use crate::support::role::Role;
use crate::support::vaults::{ALL_COLUMNS, owner};

const SEALED: &str = "7a1f00aa5bd0c4e21f9a7703:7c5e627b1a58b03860ffabb08805f724:aebd63aee190722bb040c081a1c5d99eb8dccc6338fd35fe";
const CANARY: &str = "key_test_old_canary";

fn source(table: &str, column: &str, decryptor: &str) -> OldSource {
    OldSource::new(table, "user_id", column, decryptor).unwrap()
}

fn layout(sources: impl IntoIterator<Item = OldSource>) -> Layout {
    sources.into_iter().fold(Layout::new(), |layout, source| layout.source(source).unwrap())
}

fn api_key() -> Field {
    Field::named("api_key")
}

/// The usual table, and one with old values of three users.
async fn clinic(sources: impl IntoIterator<Item = OldSource>) -> Clinic {
    let clinic = Clinic::with(ALL_COLUMNS, layout(sources)).await;
    clinic
        .db
        .exec(&format!(
            "CREATE TABLE old (user_id text PRIMARY KEY, key text, agent text, settings jsonb, raw bytea, kind text DEFAULT 'retell');
             INSERT INTO old VALUES ('ada', '{CANARY}', 'agent_test_0001', '{{\"voice\": {{\"key\": \"{CANARY}\"}}}}', '{CANARY}'),
                 ('bob', '{SEALED}', '', '{{\"api_key\": {{\"iv\": \"AAAA\", \"data\": \"AAAA\"}}}}', decode(repeat('fe', 60), 'hex')),
                 ('cy', NULL, NULL, '{{\"api_key\": \"\", \"theme\": \"dark\"}}', NULL);
             INSERT INTO old (user_id, key, kind) VALUES ('dan', '{CANARY}', 'vapi')"
        ))
        .await;
    clinic
}

/// The findings about old values, each as its id, its object, its severity, its count and its owners.
async fn found(clinic: &Clinic) -> Vec<String> {
    let diagnosis = clinic.diagnose().await;
    assert!(!format!("{diagnosis:?}").contains("canary"), "{diagnosis:#?}");
    let line = |found: &Finding| {
        let (severity, owners) = (found.severity.as_str(), found.owners.join("+"));
        let object = found.object.trim_start_matches("column public.");
        format!(
            "{} {object} {severity} {} {owners}",
            found.id.trim_start_matches("old_values_"),
            found.count.unwrap_or_default()
        )
    };
    let mut lines: Vec<String> = diagnosis.findings.iter().map(line).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn what_is_left_in_a_source_is_counted_by_what_it_is() {
    let one = |column: &str, field: &str| source("old", column, "aes-gcm").field(field.parse().unwrap());
    let key = one("key", "api_key").where_equals("kind", "retell").unwrap();
    let voice = source("old", "settings", "plaintext").member("voice.key", api_key()).unwrap();
    let sources = [
        key,
        one("agent", "call_agent_id"),
        source("old", "settings", "carexps"),
        voice,
        one("raw", "api_key"),
    ];
    let clinic = clinic(sources).await;
    let vault = clinic.vault().await;
    clinic.db.exec("INSERT INTO user_profiles (user_id) VALUES ('bob')").await;
    vault.store(&owner("bob"), &RetellConfig::new("key_test_in_the_vault".parse().unwrap())).await.unwrap();
    vault.close().await;
    assert_eq!(
        found(&clinic).await,
        [
            "left old.agent warning 1 ada",
            "left old.key critical 2 ada+bob",
            "left old.raw critical 2 ada+bob",
            "left old.settings critical 1 ada",
            "left old.settings warning 1 bob",
            "not_imported old.agent warning 1 ada",
            "not_imported old.key warning 1 ada",
            "not_imported old.raw warning 1 ada",
            "not_imported old.settings warning 1 ada",
        ]
    );
    let diagnosis = clinic.diagnose().await;
    for finding in &diagnosis.findings {
        let clears = matches!(&finding.fix, Fix::Command(command) if command.ends_with("--clear-source"));
        assert_eq!(clears, finding.id == "old_values_left", "{finding:?}");
    }
    let key = diagnosis.findings.iter().find(|found| found.object.ends_with("old.key")).unwrap();
    assert!(key.meaning.contains("1 of unencrypted text, 1 of text that looks like ciphertext"), "{key:?}");

    // tokens of the vault are no old values
    clinic
        .db
        .exec("UPDATE old SET key = (SELECT encrypted_retell_api_key FROM user_profiles WHERE user_id = 'bob'), agent = '', settings = '{}', raw = NULL WHERE kind = 'retell'")
        .await;
    clinic.is_clean().await;
    let notes = clinic.diagnose().await.notes;
    assert!(
        notes
            .iter()
            .any(|note| note == "old values in public.old.agent: all 0 rows with a value were examined"),
        "{notes:#?}"
    );
}

#[tokio::test]
async fn a_source_in_the_table_of_the_vault_is_imported_and_not_cleared_first() {
    let own = source("user_profiles", "retell_api_key", "plaintext").field(api_key());
    let clinic = Clinic::with(ALL_COLUMNS, layout([own])).await;
    clinic
        .db
        .exec(&format!(
            "ALTER TABLE user_profiles ADD retell_api_key text; INSERT INTO user_profiles (user_id, retell_api_key) VALUES ('ada', '{CANARY}')"
        ))
        .await;
    let expected = [
        "left user_profiles.retell_api_key critical 1 ada",
        "not_imported user_profiles.retell_api_key warning 1 ada",
    ];
    assert_eq!(found(&clinic).await, expected);
}

#[tokio::test]
async fn copies_in_other_tables_are_found_and_cleared() {
    let plants = [
        (
            "user_settings.key critical 1 ",
            "CREATE TABLE user_settings AS SELECT user_id, key FROM old WHERE user_id = 'ada'",
        ),
        (
            "old_history.key critical 2 ",
            "CREATE TABLE old_history AS SELECT key, now() AS at FROM old WHERE kind = 'retell'; ALTER TABLE old_history ALTER key SET DEFAULT ''",
        ),
        (
            "audit_old.record critical 1 ",
            "CREATE TABLE audit_old (table_name text, record jsonb); INSERT INTO audit_old SELECT 'old', to_jsonb(o) FROM old AS o WHERE user_id = 'ada'",
        ),
        (
            "changes_of_rows.object_changes critical 1 ",
            "CREATE TABLE changes_of_rows (item_type text, object_changes jsonb); INSERT INTO changes_of_rows VALUES ('Old', '{\"key\": [null, \"key_test_old_canary\"]}')",
        ),
        (
            "trail.what critical 1 ",
            "CREATE TABLE trail (what json);
             CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.trail VALUES (to_json(OLD)); RETURN NEW; END';
             CREATE TRIGGER keep BEFORE UPDATE ON old FOR EACH ROW EXECUTE FUNCTION keep();
             UPDATE old SET agent = '' WHERE user_id = 'ada'; DROP TRIGGER keep ON old; CREATE TRIGGER keep AFTER DELETE ON old FOR EACH ROW EXECUTE FUNCTION keep()",
        ),
        (
            "sealed.key warning 1 ",
            "CREATE TABLE sealed (user_id text, key text NOT NULL); INSERT INTO sealed SELECT user_id, key FROM old WHERE user_id = 'bob';
             ALTER TABLE sealed ENABLE ROW LEVEL SECURITY; ALTER TABLE sealed FORCE ROW LEVEL SECURITY",
        ),
    ];
    for (expected, plant) in plants {
        let clinic = clinic([source("old", "key", "plaintext").field(api_key())]).await;
        clinic.db.exec(plant).await;
        clinic.db.exec("CREATE TABLE others (key text, name text); INSERT INTO others VALUES ('key_test_of_others', 'x')").await;
        let diagnosis = clinic.diagnose().await;
        let copies: Vec<&Finding> =
            diagnosis.findings.iter().filter(|found| found.id == "old_values_copied").collect();
        let lines = found(&clinic).await;
        assert_eq!(
            lines.iter().filter_map(|line| line.strip_prefix("copied ")).collect::<Vec<_>>(),
            [expected],
            "{lines:?}"
        );
        clinic.db.exec("UPDATE old SET key = NULL").await;
        for copy in copies {
            clinic.mend(copy).await;
        }
        clinic.is_clean().await;
    }
}

#[tokio::test]
async fn a_copy_that_sql_does_not_reach_is_named_with_advice() {
    let clinic = clinic([source("old", "key", "plaintext").field(api_key())]).await;
    clinic
        .db
        .exec(
            "CREATE TABLE old_log (item_type text, before text); INSERT INTO old_log SELECT 'old', to_json(o)::text FROM old AS o WHERE user_id = 'ada';
             CREATE TABLE old_audit (data jsonb); INSERT INTO old_audit SELECT jsonb_build_object('new', o) FROM old AS o WHERE user_id = 'ada';
             CREATE MATERIALIZED VIEW shown AS SELECT user_id, key FROM old WHERE kind = 'retell'",
        )
        .await;
    let diagnosis = clinic.diagnose().await;
    let copies = diagnosis.findings.iter().filter(|found| found.id == "old_values_copied");
    let fixes: Vec<_> =
        copies.map(|found| (found.object.as_str(), found.fix.kind(), found.severity)).collect();
    assert_eq!(
        fixes,
        [
            ("column public.old_audit.data", "advice", Severity::Critical),
            ("column public.old_log.before", "advice", Severity::Critical),
            ("column public.shown.key", "sql", Severity::Critical),
        ]
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_said() {
    let clinic = clinic([
        source("old", "key", "plaintext").field(api_key()),
        source("gone", "key", "plaintext").field(api_key()),
    ])
    .await;
    let role = Role::create(&clinic.db, "GRANT SELECT, UPDATE ON user_profiles TO guest").await;
    let clinic = clinic.by(&role.url).options(DoctorOptions::new().deep());
    let diagnosis = clinic.diagnose().await;
    let unread: Vec<&str> = diagnosis
        .findings
        .iter()
        .filter(|found| {
            found.id == "not_examined" && found.meaning.starts_with("old values could not be read")
        })
        .map(|found| found.object.as_str())
        .collect();
    assert_eq!(unread, ["column public.gone.key", "column public.old.key"], "{diagnosis:#?}");
}
