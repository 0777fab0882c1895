//! The schema `retell_vault`: planned, closed, examined, and never dropped with a keyring in it.

mod pushes;

use retell_vault::connection::KeyringTable;
use retell_vault::doctor::{Diagnosis, DoctorOptions, Finding, Fix};
use retell_vault::schema::{ApplyOptions, Profile, RollBackOptions, SchemaPlan, Wanted};
use retell_vault::{ErrorKind, Keyring, Vault};

use crate::support::TestDb;
use crate::support::doctor::{examine, psql};
use crate::support::dump::schema_of;
use crate::support::faults::number;
use crate::support::role::Role;
use crate::support::supabase;
use crate::support::vaults::*;

const STEP: &str = "vault_schema";
const KEYRING_ROW: &str = "INSERT INTO retell_vault.keyring (generation, sealed) VALUES (1, 'not a keyring')";
/// How many rights everybody and the clients of a hosted database have in the schema.
const OPEN: &str = "SELECT count(*) FROM (
      SELECT a.grantee FROM pg_namespace, aclexplode(nspacl) AS a WHERE nspname = 'retell_vault'
      UNION ALL SELECT a.grantee FROM pg_class, aclexplode(relacl) AS a WHERE relnamespace = 'retell_vault'::regnamespace
      UNION ALL SELECT a.grantee FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) AS a WHERE pronamespace = 'retell_vault'::regnamespace
      UNION ALL SELECT a.grantee FROM pg_attribute, aclexplode(attacl) AS a WHERE attrelid = 'retell_vault.keyring'::regclass
    ) AS granted WHERE grantee = 0 OR grantee IN (SELECT oid FROM pg_roles WHERE rolname IN ('anon', 'authenticated'))";

async fn stage() -> (TestDb, Hosts, Vault) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    (db, hosts, vault)
}

fn asked() -> Wanted {
    Wanted::from(Profile::Credentials).vault_schema()
}

async fn plan(vault: &Vault, wanted: impl Into<Wanted>) -> SchemaPlan {
    vault.schema().plan(wanted).await.unwrap()
}

fn has_step(plan: &SchemaPlan) -> bool {
    plan.steps.iter().any(|step| step.id == STEP)
}

async fn apply(vault: &Vault, wanted: Wanted) {
    let plan = plan(vault, wanted).await;
    vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
}

async fn roll_back(vault: &Vault) {
    vault.schema().roll_back(&RollBackOptions::new(), |_| {}).await.unwrap();
}

/// Only the part of a dump that is about the schema.
async fn dumped(db: &TestDb) -> Vec<String> {
    let dump = schema_of(db).await;
    let dump = dump.split("\n--\n-- PostgreSQL database dump complete").next().unwrap().trim_end();
    let objects = dump.split("\n--\n-- Name: ").filter(|object| object.contains("retell_vault."));
    objects.map(|object| object.trim_end().to_owned()).collect()
}

#[tokio::test]
async fn a_plan_makes_what_init_makes_and_only_where_it_is_wanted() {
    let (db, _hosts, vault) = stage().await;
    assert!(!has_step(&plan(&vault, Profile::Credentials).await), "nobody asked for it");
    let before = schema_of(&db).await;
    apply(&vault, asked()).await;
    assert!(
        plan(&vault, asked()).await.is_empty() && vault.schema().verify(asked()).await.unwrap().is_good()
    );
    let by_init = TestDb::create().await;
    KeyringTable::postgres(&by_init.url).unwrap().create(&[]).await.unwrap();
    let made = dumped(&db).await;
    // on the application's table, of which an init knows nothing
    let is_trigger = |object: &String| object.contains("CREATE TRIGGER retell_vault_note_removed_user_id ");
    let (triggers, objects): (Vec<_>, Vec<_>) = made.iter().cloned().partition(is_trigger);
    assert_eq!((triggers.len(), objects), (1, dumped(&by_init).await));
    assert!(made.len() > 5, "{made:#?}");
    roll_back(&vault).await;
    assert_eq!(schema_of(&db).await, before);

    // the script does the same, twice
    let script = plan(&vault, asked()).await.script();
    for _ in 0..2 {
        psql(&db.url, &script).await;
        assert_eq!(dumped(&db).await, made);
    }
    roll_back(&vault).await;
    assert_eq!(schema_of(&db).await, before);
}

#[tokio::test]
async fn an_existing_schema_is_completed_and_closed_and_a_named_role_may_use_it() {
    let (db, _hosts, vault) = stage().await;
    supabase::roles(&db).await;
    let service = Role::create(&db, "").await;
    apply(&vault, asked()).await;
    for opened in [
        "GRANT USAGE ON SCHEMA retell_vault TO PUBLIC",
        "GRANT ALL ON retell_vault.hosts TO anon",
        "GRANT SELECT (sealed) ON retell_vault.keyring TO authenticated",
        "DROP TABLE retell_vault.local_files",
        "GRANT EXECUTE ON FUNCTION retell_vault.newest(text, text, text) TO PUBLIC",
        "DROP FUNCTION retell_vault.newest(text, text, text)",
    ] {
        db.exec(opened).await;
        let wanted = Wanted::from(Profile::Credentials);
        assert!(has_step(&plan(&vault, wanted.clone()).await), "{opened}");
        assert!(!vault.schema().verify(wanted.clone()).await.unwrap().is_good(), "{opened}");
        apply(&vault, wanted.clone()).await;
        assert!(plan(&vault, wanted).await.is_empty(), "{opened}");
        assert_eq!(number(&db.url, OPEN).await, 0, "{opened}");
    }
    let may = format!(
        "SELECT count(*) FROM (VALUES ('keyring', 'SELECT'), ('hosts', 'DELETE'), ('local_files', 'UPDATE')) AS v (t, p)
         WHERE has_schema_privilege('{0}', 'retell_vault', 'USAGE') AND has_table_privilege('{0}', 'retell_vault.' || t, p)",
        service.name
    );
    assert_eq!(number(&db.url, &may).await, 0);
    apply(&vault, Wanted::from(Profile::Credentials).service_role(&service.name)).await;
    assert_eq!(number(&db.url, &may).await, 3);
    let more = format!(
        "SELECT has_table_privilege('{}', 'retell_vault.keyring', 'INSERT')::int::bigint",
        service.name
    );
    assert_eq!(number(&db.url, &more).await, 0, "only an operator changes keys");
}

#[tokio::test]
async fn a_rollback_never_drops_a_row_of_the_keyring() {
    let (db, _hosts, vault) = stage().await;
    apply(&vault, asked()).await;
    db.exec(KEYRING_ROW).await;
    roll_back(&vault).await;
    assert_eq!(number(&db.url, "SELECT count(*) FROM retell_vault.keyring").await, 1);
    let tables =
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'retell_vault'::regnamespace AND relkind = 'r'";
    assert_eq!(number(&db.url, tables).await, 1, "the empty ones are gone");
    db.exec("DELETE FROM retell_vault.keyring").await;
    apply(&vault, asked()).await;
    roll_back(&vault).await;
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'retell_vault'";
    assert_eq!(number(&db.url, schemas).await, 0);
}

#[tokio::test]
async fn a_schema_of_another_role_is_not_touched() {
    let (db, hosts, vault) = stage().await;
    vault.close().await;
    let grant = "GRANT CREATE ON SCHEMA public TO guest; ALTER TABLE user_profiles OWNER TO guest";
    let owner = Role::create(&db, grant).await;
    let vault = hosts.host(1, &owner.url).build().await.unwrap();
    let blocked = plan(&vault, asked()).await.blocked;
    assert!(blocked.iter().any(|it| it.reason.contains("may not create a schema")), "{blocked:?}");

    let other = Role::create(&db, "CREATE SCHEMA retell_vault AUTHORIZATION guest").await;
    let refused = plan(&vault, asked()).await;
    assert!(refused.blocked.iter().any(|it| it.reason.contains(&other.name)), "{:?}", refused.blocked);
    let noted = plan(&vault, Profile::Credentials).await;
    assert!(noted.blocked.is_empty() && !has_step(&noted), "{:?}", noted.blocked);
    assert!(noted.notes.iter().any(|note| note.contains(&other.name)), "{:?}", noted.notes);
    let found = with_id(&diagnose(&vault).await, "vault_schema_owner");
    assert!(found[0].meaning.contains(&other.name), "{found:?}");
}

async fn diagnose(vault: &Vault) -> Diagnosis {
    examine(vault, &DoctorOptions::new()).await
}

fn with_id(diagnosis: &Diagnosis, id: &str) -> Vec<Finding> {
    let found: Vec<Finding> = diagnosis.findings.iter().filter(|finding| finding.id == id).cloned().collect();
    assert!(!found.is_empty(), "{id}: {diagnosis:#?}");
    found
}

/// A process with its keyring in the table.
async fn in_table(db: &TestDb) -> (Keyring, Vault) {
    let table = KeyringTable::postgres(&db.url).unwrap();
    table.create(&[]).await.unwrap();
    let keyring = table.prepare(&wrapping_key()).await.unwrap();
    let vault = Vault::builder(keyring.clone()).postgres(&db.url).init().await.unwrap();
    (keyring, vault)
}

/// What creates the schema and what examines it name the same columns, constraints and rights.
#[tokio::test]
async fn a_new_schema_has_no_finding_and_a_sync_is_counted_in_it() {
    for is_planned in [false, true] {
        let (db, hosts, vault) = stage().await;
        if is_planned {
            apply(&vault, asked()).await;
        } else {
            in_table(&db).await.1.close().await;
        }
        let found = diagnose(&vault).await.findings;
        let about_it = |finding: &&Finding| {
            finding.object.contains("retell_vault.") || finding.object == "schema retell_vault"
        };
        assert_eq!(found.iter().filter(about_it).count(), 0, "planned {is_planned}: {found:#?}");
        vault.close().await;

        let offline = hosts.offline(1).build().await.unwrap();
        offline.store(&owner("user-1"), &small_config("user-1")).await.unwrap();
        offline.close().await;
        let vault = hosts.host(1, &db.url).build().await.unwrap();
        assert_eq!(vault.sync().await.unwrap().pushed, 1);
        let counted = "SELECT count(*) FROM retell_vault.local_files";
        assert_eq!(number(&db.url, counted).await, 1, "planned {is_planned}");
    }
}

#[tokio::test]
async fn a_keyring_is_refused_where_its_table_would_run_code_of_others() {
    let function = "CREATE FUNCTION public.code(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1'";
    for planted in [
        "ALTER TABLE retell_vault.hosts ADD CHECK (public.code(host) <> '')",
        "ALTER TABLE retell_vault.keyring ALTER predecessor SET DEFAULT public.code('')",
        "CREATE INDEX ON retell_vault.keyring (public.code(sealed))",
        "CREATE DOMAIN public.checked AS text CHECK (public.code(VALUE) <> ''); ALTER TABLE retell_vault.hosts ALTER host TYPE public.checked",
    ] {
        let db = TestDb::create().await;
        db.exec(&format!("{ALL_COLUMNS}; {function}")).await;
        let (keyring, vault) = in_table(&db).await;
        let pin = keyring.pin();
        vault.close().await;
        let table = KeyringTable::postgres(&db.url).unwrap();
        table.open(&pin, &wrapping_key()).await.unwrap();
        db.exec(planted).await;
        let error = table.open(&pin, &wrapping_key()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AccessDenied, "{planted}");
        assert_eq!(table.create(&[]).await.unwrap_err().kind(), ErrorKind::AccessDenied, "{planted}");
    }
}

#[tokio::test]
async fn rows_of_the_keyring_and_the_hosts_are_examined() {
    let (db, _hosts, vault) = stage().await;
    vault.close().await;
    let (_, vault) = in_table(&db).await;
    let other_db = TestDb::create().await;
    let (_, other) = in_table(&other_db).await;
    let clean = diagnose(&vault).await;
    assert!(clean.findings.iter().all(|it| it.area.as_str() == "schema"), "{clean:#?}");

    // a row of another keyring under the same secret
    let dump = "SELECT 'INSERT INTO retell_vault.keyring (generation, sealed) VALUES (1, ' || quote_literal(sealed) || ')' FROM retell_vault.keyring";
    let planted: String = crate::support::rows::value(&other_db, dump).await;
    db.exec("UPDATE retell_vault.keyring SET generation = 2").await;
    db.exec(&planted).await;
    let found = with_id(&diagnose(&vault).await, "keyring_rows_mixed");
    assert_eq!(found[0].count, Some(1));
    // row 2 holds generation 1 now, so it is not what it was
    let found = with_id(&diagnose(&vault).await, "keyring_row_locked");
    assert!(matches!(&found[0].fix, Fix::Command(command) if command == "retell-vault keyring repair"));

    db.exec("INSERT INTO retell_vault.hosts VALUES ('elsewhere', 7, now())").await;
    let found = with_id(&diagnose(&vault).await, "host_generation");
    assert!(found[0].meaning.contains("elsewhere has 7"), "{found:?}");
    db.exec("INSERT INTO retell_vault.hosts VALUES ('forever', 1, 'infinity')").await;
    let found = with_id(&diagnose(&vault).await, "host_notes_stale");
    assert!(found[0].meaning.contains("in the future: forever"), "{found:?}");
    let Fix::Sql(remove) = &found[0].fix else { panic!("{found:?}") };
    psql(&db.url, remove).await;
    assert_eq!(number(&db.url, "SELECT count(*) FROM retell_vault.hosts WHERE host = 'forever'").await, 0);
    db.exec("ALTER TABLE retell_vault.hosts ADD note text; ALTER TABLE retell_vault.local_files ALTER pushes TYPE text").await;
    let found = diagnose(&vault).await;
    assert!(matches!(with_id(&found, "vault_schema_planted")[0].fix, Fix::Advice(_)));
    assert!(matches!(with_id(&found, "vault_schema_incomplete")[0].fix, Fix::Advice(_)));
    other.close().await;
}
