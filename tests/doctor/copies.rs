//! Copies of rows in other tables of the database: plan and doctor name them, also after the table holds no plaintext.

use retell_vault::doctor::Fix;
use retell_vault::schema::{Profile, SchemaPlan};

use crate::support::doctor::Clinic;

/// As supa_audit makes it, in short.
const SUPA_AUDIT: &str = "CREATE SCHEMA audit;
    CREATE TABLE audit.record_version (id bigserial PRIMARY KEY, record_id uuid, op text, ts timestamptz DEFAULT now(), table_oid oid,
        table_schema name, table_name name, record jsonb, old_record jsonb);
    CREATE FUNCTION audit.insert_update_delete_trigger() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
        BEGIN insert into audit.record_version (op, table_oid, record) select TG_OP, TG_RELID, pg_catalog.to_jsonb(NEW); RETURN NEW; END $$;
    CREATE TRIGGER audit_i_u_d AFTER INSERT OR UPDATE OR DELETE ON user_profiles FOR EACH ROW EXECUTE FUNCTION audit.insert_update_delete_trigger()";

/// Each with what is named, and what may stand beside it without being named.
const CASES: [(&str, &str); 8] = [
    (SUPA_AUDIT, "audit.record_version (written by audit.insert_update_delete_trigger())"),
    // tracking was switched off, the rows are still there
    ("CREATE TABLE logged_actions (event_id int, table_name text, row_data jsonb, changed_fields jsonb)", "public.logged_actions"),
    ("CREATE TABLE versions (id int, item_type text, item_id int, object text)", "public.versions"),
    (
        "CREATE TABLE \"Old Rows\" (LIKE user_profiles);
         CREATE FUNCTION versioning() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER v BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'public.\"Old Rows\"', 'true')",
        "public.\"Old Rows\" (written by public.versioning())",
    ),
    // the name is made at run time
    ("CREATE SCHEMA hist; CREATE TABLE hist.user_profiles_history (user_id text, api_key text, valid_to timestamptz)", "hist.user_profiles_history"),
    ("CREATE TABLE user_profiles_audit (id int, data jsonb)", "public.user_profiles_audit"),
    (
        "CREATE TABLE changes (who text, what text); CREATE RULE keep AS ON UPDATE TO user_profiles DO ALSO INSERT INTO changes VALUES (OLD.user_id, OLD.api_key)",
        "public.changes",
    ),
    (
        "CREATE TABLE trail (what text);
         CREATE FUNCTION keep(what text) RETURNS void LANGUAGE sql AS 'INSERT INTO public.trail VALUES (what)';
         CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.keep(NEW.api_key); RETURN NEW; END';
         CREATE TRIGGER t AFTER UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION tell()",
        "public.trail (written by public.tell())",
    ),
];

/// Tables of an application that hold no rows of another.
const OTHERS: &str = "CREATE TABLE orders (id int, user_id text, total int); CREATE TABLE user_profiles_settings (user_id text, theme jsonb);
    CREATE TABLE user_profiles_log (id int, created_at timestamptz, line int); CREATE TABLE events (id int, payload jsonb, model text);
    CREATE TABLE texts (before text, after text); CREATE TABLE trails (record jsonb); CREATE TABLE retell_vault_history (user_id text);
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.last_retell_sync = now(); RETURN NEW; END';
    CREATE TRIGGER a BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION touch('orders of events')";

async fn plan(clinic: &Clinic) -> SchemaPlan {
    let vault = clinic.vault().await;
    let plan = vault.schema().plan(Profile::Credentials).await.unwrap();
    vault.close().await;
    plan
}

#[tokio::test]
async fn tables_that_may_hold_copies_are_named_by_plan_and_doctor() {
    let table = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, api_key text, encrypted_agent_config jsonb, last_retell_sync timestamptz);
        INSERT INTO user_profiles VALUES ('ada', 'key_test_in_the_clear')";
    let clinic = Clinic::bare(table, retell_vault::Layout::new()).await;
    clinic.db.exec(OTHERS).await;
    let speaks_of_copies = |notes: &[String]| notes.iter().any(|note| note.contains("copies of rows"));
    assert!(
        !speaks_of_copies(&plan(&clinic).await.notes) && !speaks_of_copies(&clinic.diagnose().await.notes)
    );
    let mut named: Vec<&str> = Vec::new();
    for (made, name) in CASES {
        clinic.db.exec(made).await;
        named.push(name);
    }
    named.sort_by_key(|name| name.replace('"', ""));
    let all = named.join(", ");
    let notes = plan(&clinic).await.notes;
    let told = format!("copies of rows may be in {all}: no step changes them");
    assert!(notes.iter().any(|note| note.starts_with(&told)), "{told}\n{notes:#?}");
    let diagnosis = clinic.diagnose().await;
    let plaintext = diagnosis.findings.iter().find(|finding| finding.id == "plaintext").unwrap();
    let told = format!("in this database perhaps in {all}, and perhaps where triggers");
    assert!(plaintext.meaning.contains(&told), "{told}\n{plaintext:#?}");
    // the fix does not reach the copies, and the doctor goes on to say so
    let Fix::Sql(_) = plaintext.fix else { panic!("{plaintext:?}") };
    clinic.mend(plaintext).await;
    let diagnosis = clinic.diagnose().await;
    assert!(!diagnosis.findings.iter().any(|finding| finding.id == "plaintext"), "{:#?}", diagnosis.findings);
    let told = format!("that the table no longer has, may be in {all}; no fix");
    assert!(diagnosis.notes.iter().any(|note| note.contains(&told)), "{told}\n{:#?}", diagnosis.notes);
}
