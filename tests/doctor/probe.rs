//! The doctor acts as one owner and tries the row of another. Nothing of it stays.

use retell_vault::doctor::{DoctorOptions, Fix, Severity};
use retell_vault::schema::{Profile, RowSecurity, Wanted};
use retell_vault::{Layout, Owner};

use crate::support::doctor::Clinic;
use crate::support::role::Role;
use crate::support::rows;
use crate::support::schema::run_steps;
use crate::support::supabase::supabase;
use crate::support::vaults::{ALL_COLUMNS, owner};

const A: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
const B: &str = "b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a22";
const ATTACKS: [&str; 5] = ["probe_deletes", "probe_inserts", "probe_moves", "probe_reads", "probe_updates"];

fn pair() -> DoctorOptions {
    DoctorOptions::new().probe(owner(A), owner(B))
}

fn policies() -> Wanted {
    Wanted::from(Profile::Credentials).row_security(RowSecurity::On).force_row_security()
}

/// A row for each of two owners, on a database like those of Supabase.
async fn two_rows() -> Clinic {
    let rows = format!("INSERT INTO user_profiles (user_id, full_name) VALUES ('{A}', 'A'), ('{B}', 'B')");
    table_with(&format!("{ALL_COLUMNS}; {rows}"), Layout::new()).await.options(pair())
}

async fn table_with(script: &str, layout: Layout) -> Clinic {
    let clinic = Clinic::bare("SELECT 1", layout).await;
    supabase(&clinic.db).await;
    clinic.db.exec(script).await;
    clinic.db.exec("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM anon").await;
    clinic
}

async fn apply(clinic: &Clinic, wanted: Wanted) {
    let vault = clinic.vault().await;
    run_steps(&clinic.db, &vault.schema().plan(wanted).await.unwrap()).await;
    vault.close().await;
}

/// The attacks that went through, in order of their names. The table is as before.
async fn went_through(clinic: &Clinic) -> Vec<&'static str> {
    let before = rows::table(&clinic.db, "user_profiles").await;
    let findings = clinic.diagnose().await.findings;
    assert_eq!(rows::table(&clinic.db, "user_profiles").await, before);
    let mut ids: Vec<_> =
        findings.iter().map(|finding| finding.id).filter(|id| id.starts_with("probe_")).collect();
    ids.sort_unstable();
    ids
}

/// Runs the SQL of every finding that has some.
async fn mend_all(clinic: &Clinic) {
    for finding in clinic.diagnose().await.findings {
        if matches!(finding.fix, Fix::Sql(_)) {
            clinic.mend(&finding).await;
        }
    }
}

#[tokio::test]
async fn without_policies_every_attack_goes_through_and_with_ours_none() {
    let clinic = two_rows().await;
    assert_eq!(went_through(&clinic).await, ATTACKS);
    let findings = clinic.diagnose().await.findings;
    let probe = findings.iter().find(|finding| finding.id == "probe_reads").unwrap();
    assert_eq!(
        (probe.severity, probe.owners.as_slice()),
        (Severity::Critical, [A, B].map(str::to_owned).as_slice())
    );
    mend_all(&clinic).await;
    assert!(went_through(&clinic).await.is_empty());
}

#[tokio::test]
async fn a_planned_table_holds_every_attack_back() {
    let clinic = two_rows().await;
    apply(&clinic, policies()).await;
    clinic.is_clean().await;
    let notes = clinic.diagnose().await.notes;
    assert!(notes.iter().any(|note| note.contains("role authenticated") && note.contains(A)), "{notes:?}");
}

#[tokio::test]
async fn each_open_policy_lets_its_own_attack_through() {
    let mine = "user_id = (SELECT auth.uid())::text";
    for (policy, attacks) in [
        ("FOR SELECT TO authenticated USING (true)".to_owned(), ["probe_reads"].as_slice()),
        (format!("FOR INSERT TO authenticated WITH CHECK (user_id <> '' OR {mine})"), &["probe_inserts"]),
        (format!("FOR UPDATE TO authenticated USING ({mine}) WITH CHECK (true)"), &["probe_moves"]),
        (
            "TO authenticated USING (full_name = 'B')".to_owned(),
            &["probe_deletes", "probe_reads", "probe_updates"],
        ),
    ] {
        let clinic = two_rows().await;
        apply(&clinic, policies()).await;
        clinic.db.exec(&format!("CREATE POLICY other ON user_profiles {policy}")).await;
        assert_eq!(went_through(&clinic).await, attacks, "{policy}");
        mend_all(&clinic).await;
        clinic.is_clean().await;
    }
}

#[tokio::test]
async fn a_table_that_lies_open_for_moving_is_not_locked_as_a_whole() {
    let clinic = two_rows().await;
    clinic
        .db
        .exec("INSERT INTO user_profiles (user_id) SELECT 'user-' || n FROM generate_series(1, 1000) AS n")
        .await;
    clinic.db.exec("ALTER TABLE user_profiles DROP CONSTRAINT user_profiles_pkey").await;
    let policy = "ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY;
        CREATE POLICY look ON user_profiles FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid())::text);
        CREATE POLICY change ON user_profiles FOR UPDATE TO authenticated USING (true)";
    clinic.db.exec(policy).await;
    // a sequence is not rolled back: it tells how many rows were met
    let count = "CREATE SEQUENCE met; GRANT USAGE ON met TO authenticated;
        CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN PERFORM nextval('public.met'); RETURN NEW; END $$;
        CREATE TRIGGER count_it BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION count_it()";
    clinic.db.exec(count).await;
    assert_eq!(went_through(&clinic).await, ["probe_moves"]);
    let met: i64 = rows::value(&clinic.db, "SELECT last_value FROM met").await;
    assert!((90..=110).contains(&met), "{met}");
}

#[tokio::test]
async fn tenants_are_kept_apart_with_uuids_and_with_rights_on_columns_only() {
    let script = format!(
        "CREATE TABLE user_profiles (user_id uuid NOT NULL, tenant uuid NOT NULL, UNIQUE (tenant, user_id),
           encrypted_retell_api_key text, encrypted_call_agent_id text, encrypted_sms_agent_id text,
           encrypted_agent_config jsonb, phone_number text, webhook_config jsonb,
           retell_integration_status text, last_retell_sync timestamptz);
         INSERT INTO user_profiles (user_id, tenant) VALUES ('{A}', '{A}'), ('{A}', '{B}');
         REVOKE ALL ON user_profiles FROM authenticated;
         GRANT SELECT, UPDATE (encrypted_sms_agent_id) ON user_profiles TO authenticated"
    );
    let layout = Layout::new().tenant_column("tenant").unwrap();
    let in_tenant = |tenant: &str| -> Owner { owner(A).in_tenant(tenant).unwrap() };
    let options = DoctorOptions::new().probe(in_tenant(A), in_tenant(B));
    let clinic = table_with(&script, layout).await.options(options);
    assert_eq!(went_through(&clinic).await, ["probe_reads", "probe_updates"]);
    apply(&clinic, policies()).await;
    assert!(went_through(&clinic).await.is_empty());
}

#[tokio::test]
async fn a_probe_that_proves_nothing_says_so() {
    let clinic = two_rows().await;
    apply(&clinic, policies()).await;
    let clinic = clinic.options(DoctorOptions::new().probe(owner(A), owner("nobody")));
    clinic.finds_only("probe_without_row").await;
    let clinic = clinic.options(DoctorOptions::new().probe(owner(A), owner(A)));
    clinic.finds_only("not_examined").await;
    // the owner of the table is no user
    let sql = "GRANT CREATE ON SCHEMA public TO guest; GRANT USAGE ON SCHEMA auth TO guest";
    let role = Role::create(&clinic.db, sql).await;
    clinic.db.exec(&format!("ALTER TABLE user_profiles OWNER TO {}", role.name)).await;
    clinic.db.exec("ALTER TABLE user_profiles NO FORCE ROW LEVEL SECURITY").await;
    let clinic = clinic.options(pair()).by(&role.url);
    assert_eq!(went_through(&clinic).await, ["probe_meaningless"]);
}

#[tokio::test]
async fn an_own_row_that_is_hidden_is_worth_a_notice() {
    let clinic = two_rows().await;
    apply(&clinic, policies()).await;
    clinic.db.exec("REVOKE ALL ON user_profiles FROM authenticated").await;
    let findings = clinic.finds_only("probe_own_row_hidden").await;
    assert_eq!(findings[0].severity, Severity::Notice);
}

#[tokio::test]
async fn where_we_cannot_be_another_role_we_act_as_ourselves() {
    let rows = format!("INSERT INTO user_profiles (user_id) VALUES ('{A}'), ('{B}')");
    let clinic = Clinic::bare(&format!("{ALL_COLUMNS}; {rows}"), Layout::new()).await.options(pair());
    let role =
        Role::create(&clinic.db, "GRANT SELECT, INSERT, UPDATE, DELETE ON user_profiles TO guest").await;
    let clinic = clinic.by(&role.url);
    assert_eq!(went_through(&clinic).await, ATTACKS);
    let findings = clinic.diagnose().await.findings;
    let acted = findings.iter().find(|finding| finding.id == "probe_reads").unwrap();
    assert!(acted.meaning.contains(&role.name), "{}", acted.meaning);
}

#[tokio::test]
async fn what_a_trigger_of_the_application_refuses_did_not_get_through() {
    let clinic = two_rows().await;
    apply(&clinic, policies()).await;
    clinic
        .db
        .exec(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
               AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'check_violation'; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON user_profiles FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await;
    assert_eq!(went_through(&clinic).await, Vec::<&str>::new());
}
