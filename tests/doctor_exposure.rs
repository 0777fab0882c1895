//! What lies open in the rows: planted in every place, found alone, mended as the doctor says, and never repeated.

mod support;

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, OnceLock};

use retell_vault::doctor::{Area, DoctorOptions, Finding, Fix, Severity};
use retell_vault::records::StoreOptions;
use retell_vault::{Layout, Owner};
use support::doctor::Clinic;
use support::role::Role;
use support::rows::{owners, value};
use support::vaults::{ALL_COLUMNS, full_config, owner};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// In every planted value.
const CANARY: &str = "canary4711";
/// `key_test_canary4711_x` in base64 and in hex.
const BASE64: &str = "a2V5X3Rlc3RfY2FuYXJ5NDcxMV94";
const HEX: &str = "6b65795f746573745f63616e617279343731315f78";
/// 48 bytes as another program would seal them.
const CIPHERTEXT: &str = "q83vEjRWeJqrze8SNFZ4mqvN7xI0VniaEhIXl4rqKj9xQ0pLZ7fT3Yk1M+2wB8sA";

// --- What is heard ---

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<String>>);

impl Visit for Heard {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

impl Subscriber for Heard {
    /// The statements of the tests themselves hold what is planted.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() != "sqlx::query"
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Everything that this program logs.
fn heard() -> &'static Heard {
    static HEARD: OnceLock<Heard> = OnceLock::new();
    HEARD.get_or_init(|| {
        let heard = Heard::default();
        tracing::subscriber::set_global_default(heard.clone()).unwrap();
        heard
    })
}

fn assert_untold(text: &str) {
    for value in [CANARY, BASE64, HEX, CIPHERTEXT, "rv1."] {
        assert!(!text.contains(value), "{value} is in {text}");
    }
}

// --- The stage ---

/// Ten users with everything stored. What the plan wants is another test's matter: without guards anything
/// can be planted.
async fn clinic(table: &str, layout: Layout, owners: Vec<Owner>) -> Clinic {
    heard();
    let clinic = Clinic::bare(table, layout).await;
    let vault = clinic.vault().await;
    let configs: Vec<_> = owners.into_iter().enumerate().map(|(n, owner)| (owner, full_config(n))).collect();
    for stored in vault.store_many(&configs).await.unwrap() {
        assert_eq!(stored.unwrap().degraded, None);
    }
    vault.close().await;
    clinic
}

async fn usual() -> Clinic {
    clinic(ALL_COLUMNS, Layout::new(), owners(10)).await
}

/// What is found in the rows, which never repeats what was planted there.
async fn found(clinic: &Clinic) -> Vec<Finding> {
    let diagnosis = clinic.diagnose().await;
    assert_untold(&format!("{diagnosis:?} {}", heard().0.lock().unwrap()));
    let in_rows = |finding: &Finding| matches!(finding.area, Area::Exposure | Area::Keys);
    diagnosis.findings.into_iter().filter(in_rows).collect()
}

fn only_one(findings: Vec<Finding>) -> Finding {
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.into_iter().next().unwrap()
}

async fn only(clinic: &Clinic, id: &str, object: &str) -> Finding {
    let finding = only_one(found(clinic).await);
    assert_eq!((finding.id, finding.object.as_str()), (id, object));
    finding
}

/// The command of a finding, done by the library.
async fn put(clinic: &Clinic, finding: &Finding, owner: &Owner) {
    let Fix::Command(command) = &finding.fix else { panic!("{finding:?}") };
    let (_, replace) = command.split_once("--user ID ").unwrap();
    let options = match replace {
        "--replace-foreign --replace-unreadable" => {
            StoreOptions::new().replace_foreign().replace_unreadable()
        }
        other => panic!("{other}"),
    };
    let vault = clinic.vault().await;
    vault.store_with(owner, &full_config("again"), options).await.unwrap();
    vault.close().await;
}

// --- The vault's own columns ---

#[tokio::test]
async fn nothing_is_found_where_all_is_sealed() {
    assert_eq!(found(&usual().await).await, []);
}

#[tokio::test]
async fn text_that_is_no_token_is_found_in_every_text_column() {
    let texts = [
        ("plaintext", format!("key_test_{CANARY}"), Severity::Critical),
        ("plaintext", format!("my {CANARY}"), Severity::Critical),
        ("encoded_plaintext", BASE64.to_owned(), Severity::Critical),
        ("encoded_plaintext", HEX.to_owned(), Severity::Critical),
        ("foreign_ciphertext", CIPHERTEXT.to_owned(), Severity::Warning),
        ("foreign_ciphertext", format!("-----BEGIN PGP MESSAGE-----\n{CANARY}"), Severity::Warning),
        ("malformed_token", format!("rv1.0123abcd.{CANARY}"), Severity::Critical),
    ];
    let clinic = usual().await;
    for column in ["encrypted_retell_api_key", "encrypted_call_agent_id", "encrypted_sms_agent_id"] {
        for (id, text, severity) in &texts {
            let plant = format!("UPDATE user_profiles SET {column} = '{text}' WHERE user_id = 'user-3'");
            clinic.db.exec(&plant).await;
            let finding = only(&clinic, id, &format!("column public.user_profiles.{column}")).await;
            assert_eq!((finding.area, finding.severity), (Area::Exposure, *severity));
            assert_eq!((finding.count, finding.owners.clone()), (Some(1), vec!["user-3".to_owned()]));
            put(&clinic, &finding, &owner("user-3")).await;
            assert_eq!(found(&clinic).await, [], "{column} {id}");
        }
    }
}

#[tokio::test]
async fn text_that_is_no_token_is_found_in_our_part_of_the_json() {
    let clinic = usual().await;
    let values = [
        ("plaintext", format!(r#"{{"api_key":"key_test_{CANARY}"}}"#)),
        ("plaintext", format!(r#"["key_test_{CANARY}"]"#)),
        ("plaintext", r#"{"webhook_secret":4711}"#.to_owned()),
        ("encoded_plaintext", format!(r#"{{"webhook_secret":"{BASE64}"}}"#)),
        ("encoded_plaintext", format!(r#""{BASE64}""#)),
        ("foreign_ciphertext", format!(r#"{{"webhook_secret":"{CIPHERTEXT}"}}"#)),
        ("malformed_token", r#"{"webhook_secret":"rv1."}"#.to_owned()),
        ("malformed_token", r#"{"webhook_secret":""}"#.to_owned()),
    ];
    for (id, value) in values {
        let plant = format!(
            "UPDATE user_profiles SET encrypted_agent_config = jsonb_build_object('retell_vault', '{value}'::jsonb)
            WHERE user_id = 'user-4'"
        );
        clinic.db.exec(&plant).await;
        let object = "column public.user_profiles.encrypted_agent_config, retell_vault";
        let finding = only(&clinic, id, object).await;
        assert_eq!(finding.owners, ["user-4"]);
        put(&clinic, &finding, &owner("user-4")).await;
        assert_eq!(found(&clinic).await, [], "{value}");
    }
}

#[tokio::test]
async fn a_config_column_that_holds_no_object_is_found_and_cleared() {
    let clinic = usual().await;
    for (id, value) in [
        ("plaintext", format!(r#""key_test_{CANARY}""#)),
        ("encoded_plaintext", format!(r#""{BASE64}""#)),
        ("plaintext", format!(r#"["{CANARY}"]"#)),
    ] {
        let plant = "UPDATE user_profiles SET encrypted_agent_config =";
        clinic.db.exec(&format!("{plant} '{value}' WHERE user_id = 'user-7'")).await;
        let finding = only(&clinic, id, "column public.user_profiles.encrypted_agent_config").await;
        clinic.mend(&finding).await;
        // what had been in it is gone, which is the next thing to mend
        let finding = only_one(found(&clinic).await);
        assert_eq!((finding.id, finding.owners), ("incomplete_record", vec!["user-7".to_owned()]));
        let vault = clinic.vault().await;
        let options = StoreOptions::new().replace_unreadable();
        vault.store_with(&owner("user-7"), &full_config("again"), options).await.unwrap();
        vault.close().await;
        assert_eq!(found(&clinic).await, [], "{value}");
    }
}

#[tokio::test]
async fn a_token_under_the_name_of_another_field_is_found() {
    let clinic = usual().await;
    clinic
        .db
        .exec(
            "UPDATE user_profiles SET encrypted_agent_config = jsonb_build_object('retell_vault', jsonb_build_object(
            'sms_agent_id', encrypted_agent_config -> 'retell_vault' -> 'webhook_key')) WHERE user_id = 'user-4'",
        )
        .await;
    only(&clinic, "malformed_token", "column public.user_profiles.encrypted_agent_config, retell_vault")
        .await;
}

// --- The application's columns ---

async fn is_mended_by_sql(clinic: &Clinic, id: &str, object: &str) -> Finding {
    let finding = only(clinic, id, object).await;
    clinic.mend(&finding).await;
    assert_eq!(found(clinic).await, [], "{finding:#?}");
    finding
}

#[tokio::test]
async fn columns_that_look_like_credentials_are_found_and_cleared() {
    let columns = [
        ("retell_api_key", "text", format!("'key_test_{CANARY}'"), "plaintext", Severity::Critical),
        ("api_key", "varchar(80)", format!("'{BASE64}'"), "encoded_plaintext", Severity::Critical),
        (
            "retell_key",
            "text NOT NULL DEFAULT ''",
            format!("'key_test_{CANARY}'"),
            "plaintext",
            Severity::Critical,
        ),
        ("webhook_secret", "text", format!("'{CIPHERTEXT}'"), "foreign_ciphertext", Severity::Warning),
        (
            "retell_webhook_secret",
            "jsonb",
            format!("to_jsonb('key_test_{CANARY}'::text)"),
            "plaintext",
            Severity::Critical,
        ),
        (
            "\"apiKey\"",
            "json NOT NULL DEFAULT '{}'",
            format!("to_json('{CANARY}'::text)"),
            "plaintext",
            Severity::Critical,
        ),
        ("api_key_bytes_old", "text", format!("'{CANARY}'"), "", Severity::Notice),
        (
            "encrypted_api_key_old",
            "bytea",
            format!("'key_test_{CANARY}'::bytea"),
            "encoded_plaintext",
            Severity::Critical,
        ),
        (
            "api_keys",
            "text[] NOT NULL DEFAULT '{}'",
            format!("ARRAY['key_test_{CANARY}']"),
            "plaintext",
            Severity::Critical,
        ),
        ("retell_token", "text", format!("'rv1.0123abcd.{CANARY}'"), "malformed_token", Severity::Critical),
        ("retellkey", "name", format!("'{CANARY}'"), "plaintext", Severity::Critical),
        ("call_agent_id", "text", format!("'agent_test_{CANARY}'"), "plaintext", Severity::Warning),
        ("sms_agent_id", "text", format!("'agent_test_{CANARY}'"), "plaintext", Severity::Warning),
        ("agent_id", "text", format!("'agent_test_{CANARY}'"), "plaintext", Severity::Warning),
    ];
    let clinic = usual().await;
    for (column, kind, value, id, severity) in columns {
        clinic.db.exec(&format!("ALTER TABLE user_profiles ADD COLUMN {column} {kind}")).await;
        assert_eq!(found(&clinic).await, [], "{column} is empty");
        let some = "user_id IN ('user-1', 'user-2', 'user-3', 'user-4', 'user-5', 'user-6')";
        clinic.db.exec(&format!("UPDATE user_profiles SET {column} = {value} WHERE {some}")).await;
        match id {
            "" => assert_eq!(found(&clinic).await, [], "{column} is none"),
            id => {
                let object = format!("column public.user_profiles.{}", column.trim_matches('"'));
                let finding = is_mended_by_sql(&clinic, id, &object).await;
                assert_eq!((finding.severity, finding.count, finding.owners.len()), (severity, Some(6), 5));
            }
        }
        clinic.db.exec(&format!("ALTER TABLE user_profiles DROP COLUMN {column}")).await;
    }
}

/// A secret that the application makes for itself, or looks up, breaks the application when it is cleared.
#[tokio::test]
async fn secrets_of_the_application_itself_are_not_cleared() {
    let clinic = usual().await;
    let key = format!("'key_test_{CANARY}_'");
    clinic
        .db
        .exec(
            "CREATE FUNCTION nanoid() RETURNS text LANGUAGE sql VOLATILE AS 'SELECT md5(random()::text)';
             CREATE FUNCTION known() RETURNS text LANGUAGE sql STABLE AS 'SELECT current_setting($$app.known$$, true)';
             CREATE DOMAIN secret AS text DEFAULT 'whsec_' || gen_random_uuid()",
        )
        .await;
    let makes = "makes a value for each row";
    for (column, severity, says) in [
        ("webhook_secret text DEFAULT gen_random_uuid()::text".to_owned(), Severity::Notice, Some(makes)),
        (
            "webhook_secret text NOT NULL DEFAULT 'whsec_' || nanoid()".to_owned(),
            Severity::Notice,
            Some(makes),
        ),
        ("webhook_secret secret".to_owned(), Severity::Notice, Some(makes)),
        (
            "api_key text NOT NULL UNIQUE DEFAULT md5(random()::text)".to_owned(),
            Severity::Notice,
            Some(makes),
        ),
        (
            format!("api_key text GENERATED ALWAYS AS ({key} || user_id) STORED"),
            Severity::Critical,
            Some("belongs to the application"),
        ),
        // what a provider issued
        (format!("api_key text DEFAULT {key} || lower('X')"), Severity::Critical, None),
        (format!("api_key text DEFAULT coalesce(known(), {key} || lower('X'))"), Severity::Critical, None),
    ] {
        clinic.db.exec(&format!("ALTER TABLE user_profiles ADD COLUMN {column}")).await;
        let findings = found(&clinic).await;
        let finding = findings.iter().find(|finding| finding.object.starts_with("column")).unwrap();
        assert_eq!((finding.severity, finding.count), (severity, Some(10)), "{column}: {findings:#?}");
        match says {
            Some(says) => {
                assert!(
                    matches!(finding.fix, Fix::Advice(_)) && finding.meaning.contains(says),
                    "{finding:#?}"
                );
                assert!(!finding.meaning.contains("the SQL clears"), "{finding:#?}");
            }
            None => clinic.mend(finding).await,
        }
        let name = column.split(' ').next().unwrap();
        clinic.db.exec(&format!("ALTER TABLE user_profiles DROP COLUMN {name}")).await;
    }
    // one that the application issues: no two rows could be cleared
    let issued = format!("ALTER TABLE user_profiles ADD COLUMN api_key text; UPDATE user_profiles SET api_key = {key} || user_id;
        ALTER TABLE user_profiles ALTER COLUMN api_key SET NOT NULL, ADD UNIQUE (api_key)");
    clinic.db.exec(&issued).await;
    let finding = only(&clinic, "plaintext", "column public.user_profiles.api_key").await;
    assert!(matches!(&finding.fix, Fix::Advice(advice) if advice.contains("unique value")), "{finding:#?}");
    assert_eq!(finding.severity, Severity::Critical);
}

#[tokio::test]
async fn what_other_code_keeps_beside_our_part_of_the_json_is_looked_at() {
    let clinic = usual().await;
    let siblings = [
        ("plaintext", "api_key", format!(r#"{{"api_key":"key_test_{CANARY}","voice":"anna"}}"#)),
        ("encoded_plaintext", "apiKey", format!(r#"{{"apiKey":"{BASE64}"}}"#)),
        ("foreign_ciphertext", "retell_api_key", format!(r#"{{"retell_api_key":"{CIPHERTEXT}"}}"#)),
        ("plaintext", "agent.token", format!(r#"{{"agent":{{"token":"{CANARY}","name":"anna"}}}}"#)),
        ("plaintext", "secret", format!(r#"{{"secret":"{CANARY}"}}"#)),
    ];
    for (id, path, value) in siblings {
        let plant = format!(
            "UPDATE user_profiles SET encrypted_agent_config = encrypted_agent_config || '{value}' WHERE user_id = 'user-5'"
        );
        clinic.db.exec(&plant).await;
        let object = format!("column public.user_profiles.encrypted_agent_config, key {path}");
        is_mended_by_sql(&clinic, id, &object).await;
    }
    let loaded = clinic.vault().await.load(&owner("user-5")).await.unwrap();
    assert_eq!(loaded.config, full_config(5));
}

#[tokio::test]
async fn secrets_in_the_settings_of_a_webhook_are_found_and_removed() {
    for kind in ["jsonb", "json"] {
        let table = ALL_COLUMNS.replace("webhook_config jsonb", &format!("webhook_config {kind}"));
        let clinic = clinic(&table, Layout::new(), owners(10)).await;
        let settings = [
            ("secret", format!(r#"{{"secret":"whsec_{CANARY}"}}"#)),
            ("headers.Authorization", format!(r#"{{"headers":{{"Authorization":"Bearer {CANARY}"}}}}"#)),
            ("password", format!(r#"{{"password":"{CANARY}"}}"#)),
            ("webhook_url", format!(r#"{{"webhook_url":"https://user:{CANARY}@example.com/hook"}}"#)),
            ("webhook_url", format!(r#"{{"webhook_url":"https://example.com/hook?access_token={CANARY}"}}"#)),
        ];
        for (path, value) in settings {
            let plant =
                format!("UPDATE user_profiles SET webhook_config = '{value}' WHERE user_id = 'user-6'");
            clinic.db.exec(&plant).await;
            let object = format!("column public.user_profiles.webhook_config, key {path}");
            let finding = is_mended_by_sql(&clinic, "secret_in_webhook_config", &object).await;
            assert_eq!((finding.severity, finding.owners), (Severity::Critical, vec!["user-6".to_owned()]));
        }
    }
}

// --- Other tables ---

#[tokio::test]
async fn odd_names_uuids_and_tenants_are_no_hindrance() {
    let table = r#"CREATE SCHEMA "My ""App"""; CREATE TABLE "My ""App"""."User's" ("The Id" uuid, "Org" text,
        "Enc""Key" text, "Cfg's" jsonb, "API Key" text, PRIMARY KEY ("Org", "The Id"))"#;
    let layout = Layout::new()
        .table(r#""My ""App"""."User's""#)
        .unwrap()
        .user_column("The Id")
        .unwrap()
        .tenant_column("Org")
        .unwrap()
        .column(retell_vault::config::Field::named("api_key"), "Enc\"Key")
        .unwrap()
        .config_column("Cfg's")
        .unwrap();
    let id = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let one = Owner::user(id).unwrap().in_tenant("acme").unwrap();
    let clinic = clinic(table, layout, vec![one.clone()]).await;
    let update = r#"UPDATE "My ""App"""."User's" SET "#;
    for (plant, id, at) in [
        (format!(r#""API Key" = '{CANARY}'"#), "plaintext", "API Key"),
        (
            format!(r#""Cfg's" = "Cfg's" || '{{"token":"{BASE64}"}}'"#),
            "encoded_plaintext",
            "Cfg's, key token",
        ),
    ] {
        clinic.db.exec(&format!("{update}{plant}")).await;
        let finding = is_mended_by_sql(&clinic, id, &format!("column My \"App\".User's.{at}")).await;
        assert_eq!(finding.owners, [format!("acme/{}", one.user_id())]);
    }
    clinic.db.exec(&format!("{update}\"Enc\"\"Key\" = '{CANARY}'")).await;
    let finding = only(&clinic, "plaintext", "column My \"App\".User's.Enc\"Key").await;
    assert_eq!(
        finding.fix.text(),
        "retell-vault put --tenant ID --user ID --replace-foreign --replace-unreadable"
    );
    put(&clinic, &finding, &one).await;
    assert_eq!(found(&clinic).await, []);
}

#[tokio::test]
async fn a_large_table_is_sampled_and_the_diagnosis_says_so() {
    let clinic = usual().await;
    clinic
        .db
        .exec(&format!(
            "ALTER TABLE user_profiles ADD COLUMN api_key text;
            INSERT INTO user_profiles (user_id, api_key) SELECT 'many-' || n, '{CANARY}' FROM generate_series(1, 60000) AS n;
            ANALYZE user_profiles"
        ))
        .await;
    let finding = only(&clinic, "plaintext", "column public.user_profiles.api_key").await;
    let count = finding.count.unwrap();
    assert!((1_000..=20_000).contains(&count), "{count}");
    let says = |notes: &[String]| notes.iter().any(|note| note.contains("of about 600"));
    assert!(says(&clinic.diagnose().await.notes));
    let deep = clinic.options(DoctorOptions::new().deep());
    let finding = only(&deep, "plaintext", "column public.user_profiles.api_key").await;
    assert_eq!(finding.count, Some(60_000));
    assert!(!says(&deep.diagnose().await.notes));
}

#[tokio::test]
async fn rows_that_are_hidden_are_not_called_clean() {
    let clinic = usual().await;
    let script = "GRANT ALL ON user_profiles TO guest; ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY";
    let role = Role::create(&clinic.db, script).await;
    let clinic = clinic.by(&role.url);
    let findings = found(&clinic).await;
    drop(role); // while its database is there
    assert!(findings.iter().any(|finding| finding.id == "not_examined"), "{findings:#?}");
}

#[tokio::test]
async fn secrets_in_the_defaults_of_columns_are_found_and_dropped() {
    let clinic = usual().await;
    clinic.db.exec("ALTER TABLE user_profiles ADD COLUMN api_key text DEFAULT ''").await;
    for (id, column, value) in [
        ("plaintext", "encrypted_retell_api_key", format!("key_test_{CANARY}")),
        ("encoded_plaintext", "api_key", BASE64.to_owned()),
        ("plaintext", "encrypted_agent_config", format!(r#"{{"token":"{CANARY}"}}"#)),
        ("secret_in_webhook_config", "webhook_config", format!(r#"{{"headers":[{{"secret":"{CANARY}"}}]}}"#)),
    ] {
        let plant = format!("ALTER TABLE user_profiles ALTER COLUMN {column} SET DEFAULT '{value}'");
        clinic.db.exec(&plant).await;
        is_mended_by_sql(&clinic, id, &format!("default of column public.user_profiles.{column}")).await;
    }
}

/// Where the way leads over lists and keys that are not told, only the application can take it.
#[tokio::test]
async fn secrets_in_lists_and_under_keys_of_all_sorts_are_found() {
    let clinic = usual().await;
    for (value, at) in [
        (format!(r#"{{"accounts":[{{"api_key":"{CANARY}"}}]}}"#), "accounts.[].api_key"),
        (format!(r#"{{"0b1c2d3e4f":{{"api_key":"{CANARY}"}}}}"#), "….api_key"),
        (format!(r#"{{"key_0123456789{CANARY}":1}}"#), "…"),
    ] {
        let update = "UPDATE user_profiles SET encrypted_agent_config = encrypted_agent_config";
        clinic.db.exec(&format!("{update} || '{value}' WHERE user_id = 'user-5'")).await;
        let object = format!("column public.user_profiles.encrypted_agent_config, key {at}");
        let finding = only(&clinic, "plaintext", &object).await;
        assert!(matches!(finding.fix, Fix::Advice(_)), "{finding:?}");
        clinic
            .db
            .exec(&format!("{update} - ARRAY(SELECT jsonb_object_keys('{value}')) WHERE user_id = 'user-5'"))
            .await;
    }
    assert_eq!(found(&clinic).await, []);
}

#[tokio::test]
async fn json_that_differs_in_every_row_makes_few_findings() {
    let clinic = usual().await;
    clinic
        .db
        .exec(&format!(
            "INSERT INTO user_profiles (user_id, webhook_config) SELECT 'many-' || n,
            jsonb_build_object(translate(n::text, '0123456789', 'abcdefghij'), '{{\"token\":\"{CANARY}\"}}'::jsonb)
            FROM generate_series(1, 1000) AS n"
        ))
        .await;
    let findings = found(&clinic).await;
    assert!((2..=101).contains(&findings.len()), "{}", findings.len());
    assert_eq!(findings.iter().filter_map(|finding| finding.count).sum::<u64>(), 1000);
}

#[tokio::test]
async fn json_that_is_too_deep_is_not_called_clean() {
    let clinic = usual().await;
    clinic
        .db
        .exec(&format!(
            "UPDATE user_profiles SET webhook_config = (repeat('[', 200) || '\"{CANARY}\"' || repeat(']', 200))::jsonb
            WHERE user_id = 'user-1'"
        ))
        .await;
    let finding = only(&clinic, "not_examined", "table public.user_profiles").await;
    assert_eq!(finding.count, Some(1));
}

// --- What is said about copies, and about constraints ---

#[tokio::test]
async fn triggers_that_may_copy_rows_are_named_and_others_are_not() {
    let clinic = usual().await;
    clinic.db.exec("CREATE SCHEMA audit; CREATE TABLE audit.record_version (record jsonb)").await;
    let plant =
        format!("ALTER TABLE user_profiles ADD api_key text; UPDATE user_profiles SET api_key = '{CANARY}'");
    clinic.db.exec(&plant).await;
    let insert = "INSERT INTO audit.record_version VALUES (to_jsonb(NEW));";
    let others = "CREATE SCHEMA extensions; CREATE EXTENSION moddatetime SCHEMA extensions";
    clinic.db.exec(others).await;
    let made = |name: &str, body: &str| {
        format!("CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS
            $$ BEGIN {body} RETURN NEW; END $$")
    };
    for (function, made, is_named) in [
        // as supa_audit makes it
        ("audit.insert_update_delete_trigger()", made("audit.insert_update_delete_trigger", insert), true),
        ("public.keep_history()", made("public.keep_history", insert), true),
        ("public.log_change()", made("public.log_change", "PERFORM audit.log(to_jsonb(NEW));"), true),
        ("public.set_updated_at()", made("public.set_updated_at", "NEW.last_retell_sync = now();"), false),
        ("public.tell()", made("public.tell", "PERFORM pg_notify('changed', NEW.user_id);"), false),
        ("extensions.moddatetime(last_retell_sync)", "SELECT 1".to_owned(), false),
    ] {
        let trigger = format!(
            "CREATE TRIGGER t BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION {function}"
        );
        clinic.db.exec(&format!("{made}; {trigger}")).await;
        let finding = only(&clinic, "plaintext", "column public.user_profiles.api_key").await;
        assert!(finding.meaning.contains("audit or history tables"), "{finding:?}");
        let name = format!("where triggers of this table write ({function})");
        assert_eq!(finding.meaning.contains(&name), is_named, "{function}: {finding:?}");
        assert_eq!(finding.meaning.contains("triggers"), is_named, "{function}: {finding:?}");
        clinic.db.exec("DROP TRIGGER t ON user_profiles").await;
    }
}

#[tokio::test]
async fn a_constraint_proves_by_its_definition_and_only_when_it_is_valid() {
    let clinic = Clinic::new().await;
    // more rows than are looked at
    clinic
        .db
        .exec("INSERT INTO user_profiles (user_id) SELECT n::text FROM generate_series(1, 20001) AS n; ANALYZE user_profiles")
        .await;
    let name = "retell_vault_user_profiles_encrypted_retell_api_key_tokens";
    let proved = async || {
        let notes = clinic.diagnose().await.notes;
        let note = notes.into_iter().find(|note| note.starts_with("a constraint proves")).unwrap();
        assert!(note.contains("encrypted_call_agent_id"), "{note}");
        note.contains("encrypted_retell_api_key")
    };
    assert!(proved().await);
    let definition = format!("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{name}'");
    let check: String = value(&clinic.db, &definition).await;
    for (as_name, definition, proves) in [
        (name, "CHECK (encrypted_retell_api_key LIKE 'rv1.%')".to_owned(), false),
        (name, check.replacen("CHECK (", "CHECK (true OR ", 1), false),
        (name, format!("{check} NOT VALID"), false),
        ("of_the_application", check, true),
    ] {
        let replace = format!(
            "ALTER TABLE user_profiles DROP CONSTRAINT {name}; ALTER TABLE user_profiles ADD CONSTRAINT {as_name} {definition}"
        );
        clinic.db.exec(&replace).await;
        assert_eq!(proved().await, proves, "{as_name} {definition}");
    }
}
