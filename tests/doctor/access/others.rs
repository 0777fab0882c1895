//! What other users of the server may do, partitions, and tables of other names.

use retell_vault::Layout;
use retell_vault::doctor::{DoctorOptions, Finding, Severity};
use retell_vault::rotation::PromoteOptions;

use super::BYPASSING_ROLES;
use super::clinics::{apply, guarded, supabase_clinic, supabase_clinic_with};
use crate::support::doctor::Clinic;
use crate::support::role::Role;
use crate::support::rotation::{at_once, completes, promote};
use crate::support::rows::owners;
use crate::support::vaults::{ALL_COLUMNS, full_config};

/// Mends every finding, which all have this id, and finds nothing any more.
async fn mends(clinic: &Clinic, id: &str) -> Vec<Finding> {
    let findings = clinic.finds_only(id).await;
    for finding in &findings {
        clinic.mend(finding).await;
    }
    clinic.is_clean().await;
    findings
}

#[tokio::test]
async fn a_role_for_which_no_policy_holds() {
    let _alone = BYPASSING_ROLES.lock().await;
    let clinic = supabase_clinic().await;
    let _role =
        Role::create(&clinic.db, "ALTER ROLE guest BYPASSRLS; GRANT SELECT ON user_profiles TO guest").await;
    mends(&clinic, "bypasses_row_security").await;
}

#[tokio::test]
async fn a_role_for_which_no_policy_holds_and_without_rights_is_no_finding() {
    let _alone = BYPASSING_ROLES.lock().await;
    let clinic = supabase_clinic().await;
    let _role = Role::create(&clinic.db, "ALTER ROLE guest BYPASSRLS").await;
    clinic.is_clean().await;
}

#[tokio::test]
async fn what_somebody_else_passed_on() {
    let clinic = supabase_clinic().await;
    let _role = Role::create(
        &clinic.db,
        "GRANT SELECT, UPDATE ON user_profiles TO guest WITH GRANT OPTION; SET ROLE guest;
         GRANT SELECT ON user_profiles TO anon; GRANT UPDATE (phone_number) ON user_profiles TO anon; RESET ROLE",
    )
    .await;
    let findings = clinic.finds_only("granted_to_anon").await;
    assert!(findings.iter().all(|finding| finding.meaning.contains("granted by guest_")), "{findings:#?}");
    mends(&clinic, "granted_to_anon").await;
}

#[tokio::test]
async fn the_application_owns_the_table_and_is_not_held_back() {
    let clinic = supabase_clinic().await;
    let role = Role::create(
        &clinic.db,
        "GRANT CREATE ON SCHEMA public TO guest; GRANT USAGE ON SCHEMA auth TO guest",
    )
    .await;
    let sql = format!(
        "ALTER TABLE user_profiles OWNER TO {}; ALTER TABLE user_profiles NO FORCE ROW LEVEL SECURITY",
        role.name
    );
    clinic.db.exec(&sql).await;
    let clinic = clinic.by(&role.url);
    let findings = mends(&clinic, "row_security_not_forced").await;
    assert_eq!(findings[0].severity, Severity::Warning);
    everything_works(clinic).await;
}

#[tokio::test]
async fn the_vault_does_not_see_every_row() {
    let clinic = supabase_clinic().await;
    let role = Role::create(
        &clinic.db,
        "GRANT SELECT, INSERT, UPDATE, DELETE ON user_profiles TO guest; GRANT USAGE ON SCHEMA auth TO guest",
    )
    .await;
    let clinic = clinic.by(&role.url);
    let findings = clinic.diagnose().await.findings;
    let ids: Vec<&str> = findings.iter().map(|finding| finding.id).collect();
    assert_eq!(ids, ["not_examined", "row_security_hides_rows"]);
    clinic.mend(&findings[1]).await;
    clinic.is_clean().await;
    everything_works(clinic).await;
}

#[tokio::test]
async fn the_vault_sees_every_row_and_may_not_write_it() {
    let clinic = supabase_clinic().await;
    let role = Role::create(
        &clinic.db,
        "GRANT SELECT, INSERT, UPDATE, DELETE ON user_profiles TO guest;
         CREATE POLICY reads ON user_profiles FOR SELECT TO guest USING (true)",
    )
    .await;
    let clinic = clinic.by(&role.url);
    let findings = mends(&clinic, "row_security_hides_rows").await;
    assert!(findings[0].meaning.contains("writing rows"), "{findings:#?}");
}

/// For the role of the application: the deep look, a promotion, a rotation, the end of a key.
async fn everything_works(clinic: Clinic) {
    let vault = clinic.vault().await;
    for (n, owner) in owners(5).into_iter().enumerate() {
        vault.store(&owner, &full_config(n)).await.unwrap();
    }
    vault.close().await;
    let clinic = clinic.options(DoctorOptions::new().deep());
    clinic.is_clean().await;
    let (old, _) = promote(&clinic.hosts).await;
    let vault = clinic.vault().await;
    assert!(vault.promote(&PromoteOptions::new(), |_| {}).await.unwrap().complete);
    completes(&vault).await;
    vault.destroy_key(old, at_once()).await.unwrap();
    vault.close().await;
    clinic.is_clean().await;
}

#[tokio::test]
async fn a_partition_that_is_asked_by_its_own_name() {
    let table = ALL_COLUMNS.split(';').next().unwrap().to_owned()
        + " PARTITION BY HASH (user_id); CREATE TABLE part_0 PARTITION OF user_profiles FOR VALUES WITH (MODULUS 1, REMAINDER 0);
           REVOKE ALL ON part_0 FROM anon, authenticated";
    let clinic = supabase_clinic_with(&table, Layout::new(), "public.user_profiles").await;
    clinic.db.exec("GRANT SELECT ON part_0 TO authenticated").await;
    mends(&clinic, "partition_open").await;
}

#[tokio::test]
async fn names_with_quotes_uuids_and_tenants() {
    let relation = r#""My ""App""".users+"#.to_owned().replace("users+", "\"User's\"");
    let table = format!(
        r#"CREATE SCHEMA "My ""App"""; GRANT USAGE ON SCHEMA "My ""App""" TO authenticated;
           CREATE TABLE {relation} ("User" uuid NOT NULL, "Tenant" text NOT NULL, UNIQUE ("Tenant", "User"),
             encrypted_retell_api_key text, encrypted_call_agent_id text, encrypted_sms_agent_id text,
             encrypted_agent_config jsonb, phone_number text, webhook_config jsonb,
             retell_integration_status text, last_retell_sync timestamptz);
           GRANT SELECT, INSERT, UPDATE, DELETE ON {relation} TO authenticated"#
    );
    let layout =
        Layout::new().table(&relation).unwrap().user_column("User").unwrap().tenant_column("Tenant").unwrap();
    let clinic = supabase_clinic_with(&table, layout, &relation).await;
    for (id, plant) in [
        ("row_security_off", "ALTER TABLE user_profiles DISABLE ROW LEVEL SECURITY"),
        ("granted_to_anon", "GRANT SELECT (phone_number) ON user_profiles TO anon"),
        (
            "policy_always_true",
            r#"CREATE POLICY "a ""b"" 'c'" ON user_profiles TO authenticated USING ("User" = "User")"#,
        ),
        (
            "definer_search_path",
            r#"CREATE FUNCTION "My ""App"""."f""g"("a""b" text[]) RETURNS bigint LANGUAGE sql SECURITY DEFINER
               AS $$ SELECT count(*) FROM user_profiles $$; REVOKE EXECUTE ON FUNCTION "My ""App"""."f""g" FROM PUBLIC"#,
        ),
        (
            "view_without_invoker",
            r#"CREATE VIEW "My ""App"""."v""w" AS SELECT * FROM user_profiles;
               GRANT SELECT ON "My ""App"""."v""w" TO authenticated"#,
        ),
    ] {
        clinic.db.exec(&plant.replace("user_profiles", &relation)).await;
        mends(&clinic, id).await;
    }
}

#[tokio::test]
async fn on_a_plain_server_policies_are_for_whom_the_claims_name() {
    let clinic = Clinic::bare(ALL_COLUMNS, Layout::new()).await.options(DoctorOptions::new());
    apply(&clinic, guarded()).await;
    clinic.is_clean().await;
}

/// Roles belong to the server, so what these are given is taken back before another test sees it: each grant is
/// to a role of this test.
#[tokio::test]
async fn what_anon_has_as_a_member() {
    for (id, grant) in [
        ("policy_reaches_anon", "CREATE POLICY p ON user_profiles TO guest USING (user_id = (SELECT auth.uid())::text)"),
        (
            "definer_callable",
            "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = ''
               AS 'SELECT count(*) FROM public.user_profiles'; REVOKE EXECUTE ON FUNCTION peek FROM PUBLIC, anon;
             GRANT EXECUTE ON FUNCTION peek TO guest",
        ),
    ] {
        let clinic = supabase_clinic().await;
        let _role = Role::create(&clinic.db, &format!("{grant}; GRANT guest TO anon")).await;
        mends(&clinic, id).await;
    }
}

#[tokio::test]
async fn a_user_who_is_what_the_owner_is() {
    let clinic = supabase_clinic().await;
    let _role = Role::create(
        &clinic.db,
        "GRANT CREATE ON SCHEMA public TO guest; ALTER TABLE user_profiles OWNER TO guest; GRANT guest TO authenticated",
    )
    .await;
    // a superuser acts as the new owner, whom no policy shows the rows
    let findings = clinic.diagnose().await.findings;
    let ids: Vec<_> = findings.iter().map(|finding| finding.id).collect();
    assert_eq!(ids, ["bypasses_row_security", "not_examined", "session_is_superuser"], "{findings:#?}");
    clinic.mend(&findings[0]).await;
    let left: Vec<_> = clinic.diagnose().await.findings.iter().map(|finding| finding.id).collect();
    assert_eq!(left, ["not_examined", "session_is_superuser"]);
    clinic.db.exec("ALTER TABLE user_profiles OWNER TO CURRENT_USER").await;
}

#[tokio::test]
async fn a_partition_and_its_view_are_open_to_another_role() {
    let table = ALL_COLUMNS.split(';').next().unwrap().to_owned()
        + " PARTITION BY HASH (user_id); CREATE TABLE part_0 PARTITION OF user_profiles FOR VALUES WITH (MODULUS 1, REMAINDER 0);
           REVOKE ALL ON part_0 FROM anon, authenticated";
    let clinic = supabase_clinic_with(&table, Layout::new(), "public.user_profiles").await;
    let _role = Role::create(&clinic.db, "GRANT SELECT (encrypted_retell_api_key) ON part_0 TO guest").await;
    mends(&clinic, "partition_open").await;
    clinic.db.exec("CREATE VIEW of_part AS SELECT * FROM part_0; REVOKE ALL ON of_part FROM anon").await;
    mends(&clinic, "view_without_invoker").await;
}
