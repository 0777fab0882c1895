//! What is printed for pasting: the doctor's fixes, and the script of a plan.

use std::process::Stdio;

use retell_vault::doctor::{DoctorOptions, Fix};
use retell_vault::schema::{Profile, Wanted};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::support::TestDb;
use super::support::plants::{Counters, planted};
use super::support::role::Role;
use super::support::vaults::Hosts;

/// Whoever pastes it has a path on which everything is planted before the built-in objects.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_calls_nothing_that_was_planted() {
    let db = planted().await.copy().await;
    let script = format!(
        "SET search_path = ''; GRANT CREATE ON SCHEMA public TO guest; \
         ALTER DATABASE {name} SET track_functions = 'pl'; ALTER DATABASE {name} SET search_path = public, pg_catalog; \
         CREATE TABLE public.app_users (id pg_catalog.varchar PRIMARY KEY); ALTER TABLE public.app_users OWNER TO guest; \
         CREATE TABLE public.user_profiles (user_id pg_catalog.varchar NOT NULL, note pg_catalog.varchar, retell_api_key pg_catalog.varchar, \
           api_token pg_catalog.text, webhook_config pg_catalog.jsonb, encrypted_agent_config pg_catalog.jsonb, encrypted_retell_api_key pg_catalog.varchar); \
         ALTER TABLE public.user_profiles OWNER TO guest; \
         CREATE INDEX cipher ON public.user_profiles (encrypted_retell_api_key); \
         COMMENT ON COLUMN public.user_profiles.webhook_config IS 'retell-vault: webhook_config of retell'; \
         INSERT INTO public.user_profiles (user_id, retell_api_key, webhook_config, encrypted_agent_config) VALUES \
           ('user-1', 'key_test_canary_4711_0123456789', '{{\"secret\":\"whsec_test_canary_4711_0123\"}}', '[1]'); INSERT INTO public.user_profiles TABLE public.user_profiles; \
         GRANT SELECT ON public.user_profiles TO PUBLIC; ALTER TABLE public.user_profiles ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY open ON public.user_profiles USING (true)",
        name = db.name
    );
    let role = Role::create(&db, &script).await;
    let hosts = Hosts::new().await;
    let quiet = format!("{}?options=-csearch_path%3Dpg_catalog", db.url);
    let vault = hosts.host(0, &quiet).build().await.unwrap();
    let options = DoctorOptions::new().users_table("public.app_users", "id");
    let diagnosis = vault.doctor(&options, |_| {}).await.unwrap();
    let script = vault
        .schema()
        .plan(Wanted::from(Profile::FullProfile).remove_duplicates().vault_schema())
        .await
        .unwrap()
        .script();
    vault.close().await;
    let mut counters = Counters::of(&db).await;
    let fixes = diagnosis.findings.iter().filter_map(|finding| match &finding.fix {
        // roles belong to the server, and to other tests
        Fix::Sql(sql) if finding.id != "bypasses_row_security" => Some((finding.id, sql.as_str())),
        _ => None,
    });
    let mut printed: Vec<_> = fixes.chain([("schema plan --sql", script.as_str())]).collect();
    // the rows go last: the other fixes are about them
    printed.sort_by_key(|(id, _)| *id == "orphans");
    let ids: Vec<_> = printed.iter().map(|(id, _)| *id).collect();
    for id in [
        "plaintext",
        "orphans",
        "duplicate_owners",
        "policy_always_true",
        "index_on_ciphertext",
        "granted_to_public",
    ] {
        assert!(ids.contains(&id), "{id} in {ids:?}");
    }
    for (id, sql) in printed {
        paste(&db, sql).await;
        assert_eq!(counters.called().await, Vec::<String>::new(), "{id}:\n{sql}");
        assert_eq!(counters.bound().await, Vec::<String>::new(), "{id}:\n{sql}");
    }
    drop(role);
}

/// As a person does it, in a session of a superuser.
async fn paste(db: &TestDb, sql: &str) {
    let psql = Command::new("psql")
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", &db.url, "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut psql = psql.expect("psql runs");
    let mut input = psql.stdin.take().expect("it was piped");
    input.write_all(format!("{sql}\n;").as_bytes()).await.expect("psql reads");
    drop(input);
    let output = psql.wait_with_output().await.expect("psql ends");
    assert!(output.status.success(), "{}\nin: {sql}", String::from_utf8_lossy(&output.stderr));
}
