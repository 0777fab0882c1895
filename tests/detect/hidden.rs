//! Values that a role may not see, and values that nobody may see in an answer.

use std::process::Command;

use retell_vault::Layout;
use retell_vault::schema::DetectOptions;

use crate::detect;
use crate::support::TestDb;
use crate::support::heard::Heard;
use crate::support::role::Role;

#[tokio::test]
async fn what_a_role_may_not_see_is_left_out_and_unknown() {
    let db = TestDb::create().await;
    db.exec(
        "CREATE TABLE orgs (id uuid PRIMARY KEY, name text, retell_api_key text, encrypted_retell_api_key text);
         INSERT INTO orgs VALUES (gen_random_uuid(), 'One', 'key_test_75c16db3fcfe954aa606be81', 'other')",
    )
    .await;
    for (grants, left_out) in [
        ("", "the values of public.orgs, which this role may not read"),
        (
            "GRANT SELECT (id, name) ON orgs TO guest",
            "the values of retell_api_key in public.orgs, which this role may not read",
        ),
        (
            "GRANT SELECT ON orgs TO guest; ALTER TABLE orgs ENABLE ROW LEVEL SECURITY",
            "rows of public.orgs that row level security may hide from this role",
        ),
    ] {
        let role = Role::create(&db, grants).await;
        let found = detect(&role.url).await;
        let [candidate] = &found.candidates[..] else { panic!("{found:?}") };
        assert_eq!(candidate.columns["api_key"], "retell_api_key", "{grants}");
        assert_eq!(candidate.holds.as_str(), "unknown", "{grants}: {:?}", candidate.why);
        assert_eq!(found.left_out, [left_out], "{grants}");
        // what is in the default column is not known either
        let text = found.proposal().unwrap().to_toml();
        assert!(text.contains("api_key = \"retell_vault_api_key\""), "{text}");
    }
}

/// Values as no name has them. The first is the start of a constant that names a provider and a key.
const CANARIES: [&str; 3] = ["key_live_canary4711", "canary", "4711"];

/// A value in every column, and in every text of the catalogue that may name a provider.
const TABLES: &str = "
    CREATE TYPE kind AS ENUM ('retell-key_live_canary4711', 'retell', 'canary4711');
    CREATE TABLE integrations (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), org_id uuid NOT NULL, provider text NOT NULL
          CHECK (provider IN ('retell', 'retell key_live_canary4711', 'retell-key_live_canary4711')),
        kind kind, label text, api_key text, webhook_secret text, agent_id text, phone_number text, metadata jsonb, raw bytea, list text[]);
    COMMENT ON COLUMN integrations.api_key IS 'as key_live_canary4711';
    INSERT INTO integrations (org_id, provider, kind, label, api_key, webhook_secret, agent_id, phone_number, metadata, raw, list) VALUES
        (gen_random_uuid(), 'retell', 'retell', 'canary4711', 'key_live_canary4711aaaaaaaaaaaa', 'whsec_canary4711', 'agent_canary4711aaaaaaaaa', '+canary4711', '{\"retell\": {\"api_key\": \"key_live_canary4711aaaaaaaaaaaa\"}}', 'canary4711', '{canary4711}'),
        (gen_random_uuid(), 'retell-key_live_canary4711', 'retell-key_live_canary4711', '', '', '', '', '', '{}', '', '{}');
    CREATE TABLE settings (tenant_id integer NOT NULL, name text NOT NULL, value text, PRIMARY KEY (tenant_id, name));
    INSERT INTO settings VALUES (1, 'retell_key_live_canary4711', 'key_live_canary4711aaaaaaaaaaaa'), (1, 'retell_api_key', 'canary4711');
    CREATE TABLE orgs (id text PRIMARY KEY, email text, retell_api_key text, retell_key_live text, retail_api_key text, api_secret text, settings jsonb);
    INSERT INTO orgs VALUES ('canary4711', 'canary4711@example.com', 'canary4711', 'key_live_canary4711aaaaaaaaaaaa', 'canary4711', 'canary4711', '{\"canary4711\": \"key_live_canary4711aaaaaaaaaaaa\"}');
    CREATE TABLE connections (id serial PRIMARY KEY, user_id integer, service text, encrypted_credentials text, iv text, auth_tag text);
    INSERT INTO connections (user_id, service, encrypted_credentials, iv, auth_tag) VALUES (4711, 'openai canary4711', 'canary4711', 'canary4711', 'canary4711'), (4711, 'openai', 'canary4711', 'canary4711', 'canary4711');
    -- its policy fails with a value in the message
    CREATE FUNCTION fail(value text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'canary4711 %', value; END $$;
    CREATE TABLE vapi_keys (user_id uuid PRIMARY KEY, vapi_api_key text);
    INSERT INTO vapi_keys VALUES (gen_random_uuid(), 'canary4711');
    ALTER TABLE vapi_keys ENABLE ROW LEVEL SECURITY;
    CREATE POLICY fails ON vapi_keys USING (fail(vapi_api_key));";

fn hides_values(what: &str, text: &str) {
    for canary in CANARIES {
        assert!(!text.contains(canary), "{canary} is in {what}: {text}");
    }
}

/// The command with these options: what it prints on both streams.
fn printed(url: &str, options: &[&str]) -> String {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_retell-vault"));
    let command = command.args(["layout", "detect"]).args(options).env_clear().env("DATABASE_URL", url);
    let output = command.env("RETELL_VAULT_HOME", home.path()).output().unwrap();
    let file = std::fs::read_to_string(home.path().join("layout.toml")).unwrap_or_default();
    format!(
        "{}{}{file}",
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap()
    )
}

#[tokio::test]
async fn no_value_is_in_an_answer_an_event_an_error_or_the_output() {
    let db = TestDb::create().await;
    db.exec(TABLES).await;
    let reader = Role::create(&db, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest").await;
    let heard = Heard::default();
    // for this thread: the other tests say their SQL
    let _listening = tracing::subscriber::set_default(heard.clone());
    for url in [&db.url, &reader.url] {
        let found = detect(url).await;
        let tables: Vec<&str> = found.candidates.iter().map(|candidate| candidate.table.as_str()).collect();
        for table in [
            "public.integrations",
            "public.settings",
            "public.orgs",
            "public.connections",
            "public.vapi_keys",
        ] {
            assert!(tables.contains(&table), "{table} is in {tables:?}");
            let named = Layout::detect(url, &DetectOptions::new().table(table)).await.unwrap();
            hides_values(
                "an answer",
                &format!("{named:?} {:?}", named.proposal().map(|proposal| proposal.to_toml())),
            );
        }
        for options in
            [&["--json"][..], &[], &["--write", "--table", "integrations"], &["--write", "--table", "orgs"]]
        {
            let text = printed(url, options);
            assert!(text.contains("integrations") || text.contains("orgs"), "{text}");
            hides_values("the output", &text);
        }
        hides_values("an error", &printed(url, &["--schema", "missing"]));
        hides_values("an error", &printed(url, &["--write", "--table", "missing"]));
    }
    let heard = heard.0.lock().unwrap();
    assert!(!heard.is_empty(), "events are heard");
    hides_values("an event", &heard);
}
