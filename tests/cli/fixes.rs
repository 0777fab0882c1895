//! The SQL that `doctor` prints: for every finding that has some, it is planted, found, mended by what was printed, run through
//! psql as it stands, and then gone. Once as the owner of the table, and once as a superuser.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::runner::*;
use crate::support::TestDb;
use crate::support::doctor::{documented_sql_ids, psql};
use crate::support::role::Role;
use crate::support::supabase::supabase;
use crate::support::vaults::ALL_COLUMNS;

const ANNE: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
const BERT: &str = "b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a22";

/// Whose connection it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Owner,
    Service,
    Superuser,
}

/// What is planted at once by the owner of the table, and found by one look.
struct Stage {
    /// Each after the id of its finding. `$OWNER` and `$SERVICE` are roles of the test.
    plants: &'static [(&'static str, &'static str)],
    looks: Who,
    options: &'static [&'static str],
    /// Why the owner of the table cannot run what is printed.
    only_superuser: Option<&'static str>,
}

impl Stage {
    const fn new(looks: Who, plants: &'static [(&'static str, &'static str)]) -> Self {
        Self { plants, looks, options: &[], only_superuser: None }
    }

    const fn options(mut self, options: &'static [&'static str]) -> Self {
        self.options = options;
        self
    }

    const fn only_superuser(mut self, why: &'static str) -> Self {
        self.only_superuser = Some(why);
        self
    }

    fn ids(&self) -> BTreeSet<&'static str> {
        self.plants.iter().map(|(id, _)| *id).collect()
    }
}

/// A layout with a source, from which other tables have copies.
const SOURCES: &str = "[[source]]\ntable = \"old\"\nuser = \"user_id\"\ncolumn = \"key\"\nfield = \"api_key\"\ndecryptor = \"plaintext\"\n";

/// Of the documented, those that are not planted here, and why.
const UNREACHABLE: [(&str, &str); 2] = [
    (
        "schema_differs",
        "the profile that the doctor plans for has no other kind of step than those with an id",
    ),
    ("index_hit_rate", "it takes a server with little memory: tests/doctor/growth.rs"),
];

/// One after the other in the same database.
const STAGES: &[Stage] = &[
    Stage::new(
        Who::Superuser,
        &[
            ("column_missing", "ALTER TABLE user_profiles DROP COLUMN last_retell_sync"),
            (
                "column_mistyped",
                "ALTER TABLE user_profiles DROP COLUMN webhook_config; ALTER TABLE user_profiles ADD webhook_config text;
                 COMMENT ON COLUMN user_profiles.webhook_config IS 'retell-vault: webhook_config of retell'",
            ),
            ("column_too_short", "ALTER TABLE user_profiles ALTER COLUMN phone_number TYPE varchar(8)"),
            ("column_unguarded", "CALL drop_checks('encrypted_retell_api_key')"),
            ("status_unchecked", "CALL drop_checks('retell_integration_status')"),
            (
                "invalid_index",
                "CREATE INDEX by_name ON user_profiles (full_name); RESET ROLE;
                 UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_name'::regclass",
            ),
            ("index_on_ciphertext", "CREATE INDEX \"by Key\" ON user_profiles (encrypted_retell_api_key)"),
            ("duplicate_index", "CREATE INDEX by_user ON user_profiles (user_id)"),
        ],
    ),
    Stage::new(
        Who::Superuser,
        &[("owner_not_unique", "ALTER TABLE user_profiles DROP CONSTRAINT user_profiles_pkey")],
    ),
    Stage::new(
        Who::Superuser,
        &[(
            "duplicate_owners",
            "CALL drop_unique_indexes(); INSERT INTO user_profiles (user_id) VALUES ('twice'), ('twice')",
        )],
    ),
    Stage::new(
        Who::Superuser,
        &[
            ("table_not_durable", "ALTER TABLE user_profiles SET UNLOGGED"),
            (
                "unused_index",
                "CREATE INDEX never ON user_profiles (phone_number); RESET ROLE; SET enable_seqscan = off; SET enable_bitmapscan = off;
                 DO $$ BEGIN FOR n IN 1..10000 LOOP PERFORM FROM user_profiles WHERE user_id = n::text; END LOOP; END $$",
            ),
        ],
    ),
    Stage::new(
        Who::Superuser,
        &[(
            "orphans",
            "CREATE TABLE users AS SELECT user_id AS id FROM user_profiles; INSERT INTO user_profiles (user_id) VALUES ('gone')",
        )],
    )
    .options(&["--users-table", "users", "--users-column", "id"]),
    Stage::new(
        Who::Superuser,
        &[
            (
                "plaintext",
                "ALTER TABLE user_profiles ADD api_key text DEFAULT 'key_test_default'; UPDATE user_profiles SET api_key = 'key_test_open'",
            ),
            (
                "encoded_plaintext",
                "UPDATE user_profiles SET encrypted_agent_config = '{\"apiKey\":\"a2V5X3Rlc3RfY2FuYXJ5NDcxMV94\"}' WHERE user_id = 'twice'",
            ),
            (
                "foreign_ciphertext",
                "ALTER TABLE user_profiles ADD webhook_secret text NOT NULL DEFAULT '';
                 UPDATE user_profiles SET webhook_secret = 'q83vEjRWeJqrze8SNFZ4mqvN7xI0VniaEhIXl4rqKj9xQ0pLZ7fT3Yk1M+2wB8sA'",
            ),
            (
                "malformed_token",
                "ALTER TABLE user_profiles ADD retell_token text; UPDATE user_profiles SET retell_token = 'rv1.0123abcd.no'",
            ),
            (
                "secret_in_webhook_config",
                "UPDATE user_profiles SET webhook_config = '{\"webhook_url\":\"https://example.com/?token=key_test_open\"}'
                 WHERE user_id = 'twice'",
            ),
        ],
    ),
    Stage::new(
        Who::Superuser,
        &[(
            "old_values_copied",
            "CREATE TABLE old (user_id text, key text);
             CREATE TABLE old_history AS SELECT 'anne' AS user_id, 'key_test_open' AS key;
             CREATE TABLE old_audit AS SELECT jsonb_build_object('key', 'key_test_open') AS record;
             ALTER TABLE old_audit ENABLE ROW LEVEL SECURITY; ALTER TABLE old_audit FORCE ROW LEVEL SECURITY",
        )],
    )
    .options(&["--layout", "$HOME/sources.toml"]),
    Stage::new(
        Who::Superuser,
        &[
            ("granted_to_anon", "GRANT SELECT, TRUNCATE, UPDATE (phone_number) ON user_profiles TO anon"),
            ("granted_to_public", "GRANT INSERT ON user_profiles TO PUBLIC"),
            (
                "policy_always_true",
                "CREATE POLICY \"Open \"\"Door\"\"\" ON user_profiles TO authenticated USING (true)",
            ),
            (
                "policy_reaches_anon",
                "CREATE POLICY outside ON user_profiles TO anon, authenticated USING (user_id = (SELECT auth.uid())::text)",
            ),
            (
                "definer_search_path",
                "CREATE FUNCTION peek(a text, b int) RETURNS bigint LANGUAGE sql SECURITY DEFINER
                   AS 'SELECT count(*) FROM public.user_profiles'; REVOKE EXECUTE ON FUNCTION peek FROM PUBLIC",
            ),
            (
                "definer_callable",
                "CREATE PROCEDURE wipe() LANGUAGE sql SECURITY DEFINER SET search_path = '' AS 'DELETE FROM public.user_profiles'",
            ),
            (
                "view_without_invoker",
                "CREATE VIEW everything AS SELECT * FROM user_profiles; GRANT SELECT ON everything TO authenticated",
            ),
            (
                "materialized_view",
                "CREATE MATERIALIZED VIEW copy AS SELECT * FROM user_profiles; GRANT SELECT ON copy TO authenticated",
            ),
            ("vault_table_open", "CREATE TABLE retell_vault_backup_x (a text); GRANT SELECT ON retell_vault_backup_x TO authenticated"),
        ],
    ),
    Stage::new(
        Who::Superuser,
        &[(
            "policy_recursion",
            "CREATE POLICY circle ON user_profiles TO authenticated USING (EXISTS (
               SELECT FROM user_profiles AS u WHERE u.user_id = (SELECT auth.uid())::text AND u.full_name = 'admin'))",
        )],
    ),
    Stage::new(
        Who::Superuser,
        &[
            ("row_security_off", "ALTER TABLE user_profiles DISABLE ROW LEVEL SECURITY"),
            ("probe_reads", ""),
            ("probe_updates", ""),
            ("probe_deletes", ""),
            ("probe_inserts", ""),
            ("probe_moves", ""),
        ],
    )
    .options(&["--probe", ANNE, BERT]),
    Stage::new(
        Who::Owner,
        &[("row_security_not_forced", "ALTER TABLE user_profiles NO FORCE ROW LEVEL SECURITY")],
    ),
    Stage::new(
        Who::Service,
        &[("row_security_hides_rows", "ALTER POLICY retell_vault_service ON user_profiles TO $OWNER")],
    ),
    Stage::new(
        Who::Service,
        &[("missing_grant", "REVOKE INSERT ON user_profiles FROM $SERVICE; REVOKE UPDATE ON user_profiles FROM $SERVICE")],
    ),
    Stage::new(
        Who::Owner,
        &[("read_only", "RESET ROLE; ALTER ROLE $OWNER SET default_transaction_read_only = on")],
    ),
    Stage::new(Who::Superuser, &[("partition_open", "GRANT SELECT ON part_0 TO authenticated")])
        .options(&["--table", "parts"]),
    Stage::new(Who::Superuser, &[("bypasses_row_security", "RESET ROLE; ALTER ROLE $SERVICE BYPASSRLS")])
        .only_superuser("ALTER ROLE … NOBYPASSRLS"),
    // a large table: the build of an index counts its rows, as ANALYZE does
    Stage::new(
        Who::Superuser,
        &[
            ("autovacuum_off", "ALTER TABLE user_profiles SET (autovacuum_enabled = false)"),
            (
                "vacuum_lags",
                "CREATE INDEX by_name ON user_profiles (full_name);
                 INSERT INTO user_profiles (user_id) SELECT 'user-' || n FROM generate_series(1, 10001) AS n;
                 UPDATE user_profiles SET full_name = 'x'",
            ),
            ("never_analysed", ""),
            ("owner_not_unique", "CALL drop_unique_indexes()"),
            ("owner_scans", "CREATE INDEX by_phone ON user_profiles (phone_number)"),
        ],
    ),
    Stage::new(
        Who::Superuser,
        &[(
            "auth_uid_breaks",
            "RESET ROLE; CREATE OR REPLACE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE
               AS $$ SELECT (current_setting('request.jwt.claims', true)::jsonb ->> 'sub')::uuid $$",
        )],
    )
    .only_superuser("auth.uid() is another's, as on Supabase"),
    Stage::new(
        Who::Superuser,
        &[
            (
                "vault_schema_incomplete",
                "RESET ROLE; CREATE SCHEMA retell_vault AUTHORIZATION $OWNER; SET ROLE $OWNER;
                 CREATE TABLE retell_vault.keyring (generation bigint PRIMARY KEY, predecessor text UNIQUE, sealed text NOT NULL, voucher text,
                   at timestamptz NOT NULL DEFAULT clock_timestamp());
                 CREATE UNLOGGED TABLE retell_vault.hosts (host text PRIMARY KEY, generation bigint NOT NULL,
                   at timestamptz NOT NULL DEFAULT clock_timestamp())",
            ),
            ("table_not_durable", ""),
            (
                "vault_schema_open",
                "GRANT USAGE, CREATE ON SCHEMA retell_vault TO anon; GRANT SELECT ON retell_vault.keyring TO PUBLIC;
                 GRANT REFERENCES (sealed), INSERT ON retell_vault.keyring TO authenticated;
                 GRANT UPDATE (sealed), TRIGGER, SELECT ON retell_vault.keyring TO $SERVICE WITH GRANT OPTION",
            ),
        ],
    ),
    Stage::new(
        Who::Superuser,
        &[(
            "vault_schema_planted",
            "CREATE FUNCTION retell_vault.\"of Others\"() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE FUNCTION retell_vault.always(text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
             CREATE TRIGGER \"on Hosts\" BEFORE INSERT ON retell_vault.hosts FOR EACH ROW EXECUTE FUNCTION retell_vault.\"of Others\"();
             CREATE RULE quiet AS ON DELETE TO retell_vault.keyring DO INSTEAD NOTHING;
             CREATE POLICY hides ON retell_vault.keyring USING (false); ALTER TABLE retell_vault.keyring ENABLE ROW LEVEL SECURITY;
             ALTER TABLE retell_vault.hosts ADD CONSTRAINT calls CHECK (retell_vault.always(host));
             ALTER TABLE retell_vault.hosts ALTER COLUMN generation SET DEFAULT 1, ALTER COLUMN at SET DEFAULT now();
             CREATE INDEX by_code ON retell_vault.local_files (upper(id));
             CREATE VIEW retell_vault.shows AS SELECT * FROM retell_vault.keyring; CREATE SEQUENCE retell_vault.numbers",
        )],
    ),
    Stage::new(
        Who::Superuser,
        &[(
            "host_notes_stale",
            "INSERT INTO retell_vault.hosts VALUES ('killed', 1, now() - interval '6 minutes'), ('here', 1, now())",
        )],
    ),
    Stage::new(Who::Service, &[("missing_grant", "REVOKE ALL ON SCHEMA retell_vault FROM $SERVICE")]),
];

/// The roles of the server, which the tests of this file share.
static SERVER: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

/// Two tables of an owner who is no superuser, on a server like those of Supabase, with everything that is wanted.
struct Ground {
    owner: Role,
    service: Role,
    home: Home,
    db: TestDb,
}

impl Ground {
    async fn new() -> Self {
        let db = TestDb::create().await;
        supabase(&db).await;
        let owner = "GRANT CREATE ON SCHEMA public TO guest; GRANT USAGE ON SCHEMA auth TO guest";
        let owner = Role::create(&db, owner).await;
        let service = Role::create(&db, "GRANT USAGE ON SCHEMA auth TO guest").await;
        let mut ground = Self { home: Home::over(&owner.url), owner, service, db };
        let drop_each = |name: &str, drops: &str| {
            format!(
                "CREATE PROCEDURE {name} LANGUAGE plpgsql AS $$ DECLARE it text; BEGIN FOR it IN {drops} LOOP EXECUTE it; END LOOP; END $$;"
            )
        };
        let checks = drop_each(
            "drop_checks(named text)",
            "SELECT format('ALTER TABLE user_profiles DROP CONSTRAINT %I', conname) FROM pg_constraint
             WHERE conrelid = 'user_profiles'::regclass AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%' || named || '%'",
        );
        let indexes = drop_each(
            "drop_unique_indexes()",
            "SELECT format('DROP INDEX %s', indexrelid::regclass) FROM pg_index WHERE indrelid = 'user_profiles'::regclass AND indisunique",
        );
        std::fs::write(ground.home.path().join("sources.toml"), SOURCES).unwrap();
        let parts = ALL_COLUMNS.split(';').next().unwrap().replace("user_profiles", "parts");
        ground
            .plant(&format!(
                "{ALL_COLUMNS}; {parts} PARTITION BY HASH (user_id);
                 CREATE TABLE part_0 PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0); {checks} {indexes}
                 GRANT SELECT, INSERT, UPDATE, DELETE ON user_profiles TO authenticated, $SERVICE;
                 INSERT INTO user_profiles (user_id) VALUES ('{ANNE}'), ('{BERT}')"
            ))
            .await;
        for table in ["user_profiles", "parts"] {
            let apply = ["schema", "apply", "--row-security", "on", "--force-row-security", "--table", table];
            ground.home.database = ground.owner.url.clone();
            ground.home.run(&[&apply[..], &["--service-role", &ground.service.name]].concat()).ok();
            for who in [Who::Superuser, Who::Owner, Who::Service] {
                if (who, table) != (Who::Service, "parts") {
                    ground.is_clean(who, &["--table", table]);
                }
            }
        }
        ground
    }

    fn url(&self, who: Who) -> &str {
        match who {
            Who::Owner => &self.owner.url,
            Who::Service => &self.service.url,
            Who::Superuser => &self.db.url,
        }
    }

    /// As the owner of the table, until the script says otherwise.
    async fn plant(&self, script: &str) {
        let script = script.replace("$OWNER", &self.owner.name).replace("$SERVICE", &self.service.name);
        self.db.exec(&format!("SET ROLE {}; {script}", self.owner.name)).await;
    }

    fn doctor(&mut self, who: Who, options: &[&str]) -> Ran {
        self.home.database = self.url(who).to_owned();
        let home = self.home.path().display().to_string();
        let options: Vec<_> = options.iter().map(|option| option.replace("$HOME", &home)).collect();
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        self.home.run(&[&["doctor"], &options[..]].concat())
    }

    fn findings(&mut self, who: Who, options: &[&str]) -> Vec<Value> {
        let diagnosis = self.doctor(who, &[options, &["--json"]].concat()).json();
        diagnosis["findings"].as_array().unwrap().clone()
    }

    /// Nothing is found but what is true of the server of the tests, and of its superuser.
    fn is_clean(&mut self, who: Who, options: &[&str]) {
        let mut left = self.findings(who, options);
        let superuser = who == Who::Superuser;
        left.retain(|found| {
            found["id"] != "fsync_off" && !(superuser && found["id"] == "session_is_superuser")
        });
        assert!(left.is_empty(), "{left:#?}");
    }

    async fn mends(&mut self, stage: &Stage, runs: Who) {
        // a role that bypasses row level security is a finding in every database of the server
        let is_server_wide = stage.ids().contains("bypasses_row_security");
        let (mut alone, mut beside) = (None, None);
        match is_server_wide {
            true => alone = Some(SERVER.write().await),
            false => beside = Some(SERVER.read().await),
        }
        for (_, plant) in stage.plants {
            self.plant(plant).await;
        }
        let text = self.doctor(stage.looks, stage.options).out;
        let found = self.findings(stage.looks, stage.options);
        let found: Vec<_> = found.iter().filter(|found| found["mend"]["kind"] == "sql").collect();
        let ids: BTreeSet<_> = found.iter().map(|found| found["id"].as_str().unwrap()).collect();
        assert_eq!(ids, stage.ids(), "{text}");
        let printed = printed(&text);
        assert_eq!(printed.len(), found.len(), "{text}");
        for (printed, found) in printed.iter().zip(found) {
            let json = found["mend"]["text"].as_str().unwrap();
            let indented: String = json.lines().map(|line| format!("    {line}\n")).collect();
            assert_eq!(*printed, indented, "text and JSON have the same statements");
            // one of each kind, as people paste them
            psql(self.url(runs), if runs == Who::Owner { printed } else { json }).await;
        }
        self.is_clean(stage.looks, stage.options);
        drop((alone, beside));
    }
}

/// What stands below each `fix it with this SQL:`, as it stands.
fn printed(text: &str) -> Vec<String> {
    let below = text.split("\n  fix it with this SQL:\n").skip(1);
    below
        .map(|rest| rest.split_inclusive('\n').take_while(|line| line.starts_with("    ")).collect())
        .collect()
}

async fn every_stage_is_mended_by(who: Who) {
    let mut ground = Ground::new().await;
    for stage in STAGES.iter().filter(|stage| who == Who::Superuser || stage.only_superuser.is_none()) {
        ground.mends(stage, who).await;
    }
}

#[tokio::test]
async fn what_is_printed_mends_as_the_owner_of_the_table() {
    every_stage_is_mended_by(Who::Owner).await;
}

#[tokio::test]
async fn what_is_printed_mends_as_a_superuser() {
    every_stage_is_mended_by(Who::Superuser).await;
}

/// The unit tests of the registry hold the ids of the manual and of the code together.
#[test]
fn every_finding_with_sql_is_planted() {
    let planted = STAGES.iter().flat_map(Stage::ids);
    let planted: BTreeSet<_> = planted.chain(UNREACHABLE.map(|(id, _)| id)).collect();
    assert_eq!(planted, documented_sql_ids());
}
