//! Who may read and write the table: every open way is planted, found, and closed by the doctor's own SQL.

mod clinics;
mod others;

use clinics::supabase_clinic;
use retell_vault::doctor::{Fix, Severity};

use crate::support::POSTGRES_15;
use crate::support::doctor::{Clinic, Planted};

/// Each in a database of its own.
async fn all_are_found_and_mended(planted: &[Planted]) {
    for planted in planted {
        supabase_clinic().await.finds_and_mends(planted).await;
    }
}

#[tokio::test]
async fn nothing_is_found_where_only_the_owner_has_rights() {
    Clinic::new().await.is_clean().await;
}

/// A role that bypasses row level security gets what PUBLIC has in every database of the server: the tests that make one, and
/// the one that grants to PUBLIC, run one after the other.
static BYPASSING_ROLES: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn grants() {
    let _alone = BYPASSING_ROLES.lock().await;
    all_are_found_and_mended(&[
        Planted { id: "granted_to_anon", plant: "GRANT SELECT ON user_profiles TO anon" },
        Planted {
            id: "granted_to_anon",
            plant: "GRANT UPDATE (encrypted_retell_api_key), SELECT (webhook_config) ON user_profiles TO anon",
        },
        Planted { id: "granted_to_public", plant: "GRANT INSERT, DELETE ON user_profiles TO PUBLIC" },
        Planted { id: "granted_to_anon", plant: "GRANT TRUNCATE ON user_profiles TO anon" },
        Planted { id: "granted_to_public", plant: "GRANT TRIGGER ON user_profiles TO PUBLIC" },
        Planted { id: "granted_to_anon", plant: "GRANT UPDATE (user_id) ON user_profiles TO anon" },
    ])
    .await;
}

#[tokio::test]
async fn rights_that_open_nothing_are_no_finding() {
    let clinic = supabase_clinic().await;
    clinic.db.exec("GRANT REFERENCES ON user_profiles TO anon, PUBLIC").await;
    clinic.db.exec("GRANT SELECT (full_name) ON user_profiles TO anon").await;
    clinic.is_clean().await;
}

#[tokio::test]
async fn policies_that_are_always_true() {
    all_are_found_and_mended(&[
        Planted {
            id: "policy_always_true",
            plant: "CREATE POLICY open ON user_profiles TO authenticated USING (true)",
        },
        Planted { id: "policy_always_true", plant: "CREATE POLICY open ON user_profiles USING (1 = 1)" },
        Planted {
            id: "policy_always_true",
            plant: "CREATE POLICY \"Open \"\"Door\"\"\" ON user_profiles FOR INSERT TO authenticated, service_role
                    WITH CHECK (user_id = user_id OR full_name = 'x')",
        },
        Planted {
            id: "policy_always_true",
            plant: "CREATE POLICY half ON user_profiles FOR UPDATE TO authenticated
                    USING (user_id = (SELECT auth.uid())::text) WITH CHECK (true)",
        },
    ])
    .await;
}

#[tokio::test]
async fn what_a_policy_can_reach_decides_how_bad_it_is() {
    let clinic = supabase_clinic().await;
    let open = Planted {
        id: "policy_always_true",
        plant: "REVOKE ALL ON user_profiles FROM authenticated;
                CREATE POLICY open ON user_profiles TO authenticated USING (true)",
    };
    assert_eq!(clinic.finds_and_mends(&open).await[0].severity, Severity::Warning);
    let open = Planted {
        plant: "GRANT SELECT ON user_profiles TO authenticated;
        CREATE POLICY open ON user_profiles TO authenticated USING (true)",
        ..open
    };
    assert_eq!(clinic.finds_and_mends(&open).await[0].severity, Severity::Critical);
}

#[tokio::test]
async fn policies_that_only_restrict_or_are_for_services_are_no_finding() {
    let clinic = supabase_clinic().await;
    clinic
        .db
        .exec(
            "CREATE POLICY narrow ON user_profiles AS RESTRICTIVE USING (true);
             CREATE POLICY service ON user_profiles TO service_role USING (true) WITH CHECK (true);
             CREATE POLICY mine ON user_profiles TO authenticated USING (user_id = (SELECT auth.uid())::text);
             CREATE POLICY never ON user_profiles TO authenticated USING (false)",
        )
        .await;
    clinic.is_clean().await;
}

#[tokio::test]
async fn policies_for_who_is_not_signed_in() {
    all_are_found_and_mended(&[
        Planted {
            id: "policy_reaches_anon",
            plant: "CREATE POLICY outside ON user_profiles FOR SELECT TO anon USING (user_id = (SELECT auth.uid())::text)",
        },
        Planted {
            id: "policy_reaches_anon",
            plant: "CREATE POLICY outside ON user_profiles TO anon, authenticated USING (user_id = (SELECT auth.uid())::text)",
        },
    ])
    .await;
    let clinic = supabase_clinic().await;
    clinic
        .db
        .exec("CREATE POLICY everybody ON user_profiles USING (user_id = (SELECT auth.uid())::text)")
        .await;
    clinic.is_clean().await;
    clinic.db.exec("GRANT SELECT ON user_profiles TO anon").await;
    let findings = clinic.diagnose().await.findings;
    let ids: Vec<&str> = findings.iter().map(|finding| finding.id).collect();
    assert_eq!(ids, ["granted_to_anon", "policy_reaches_anon"]);
    for finding in &findings {
        clinic.mend(finding).await;
    }
    clinic.is_clean().await;
}

#[tokio::test]
async fn policies_that_look_at_no_column() {
    for (condition, severity) in [
        ("(SELECT auth.uid()) IS NOT NULL", Severity::Warning),
        ("auth.uid() IS NOT NULL AND user_id = user_id", Severity::Warning),
        ("length(user_id) >= 0", Severity::Warning),
        ("user_id LIKE '%'", Severity::Warning),
        ("user_id = ANY (ARRAY[user_id])", Severity::Warning),
        ("1 < 2", Severity::Warning),
        ("user_id = (SELECT auth.uid())::text OR full_name = 'public'", Severity::Warning),
        ("auth.jwt() ->> 'role' = 'admin'", Severity::Notice),
    ] {
        let clinic = supabase_clinic().await;
        clinic
            .db
            .exec(&format!("CREATE POLICY any_row ON user_profiles TO authenticated USING ({condition})"))
            .await;
        let findings = clinic.finds_only("policy_ignores_rows").await;
        assert_eq!(findings[0].severity, severity);
        assert!(matches!(findings[0].fix, Fix::Advice(_)));
    }
}

#[tokio::test]
async fn policies_that_need_themselves() {
    all_are_found_and_mended(&[
        Planted {
            id: "policy_recursion",
            plant: "CREATE POLICY circle ON user_profiles TO authenticated USING (EXISTS (
                    SELECT FROM user_profiles u WHERE u.user_id = (SELECT auth.uid())::text AND u.full_name = 'admin'))",
        },
        Planted {
            id: "policy_recursion",
            plant: "CREATE TABLE teams (lead text); ALTER TABLE teams ENABLE ROW LEVEL SECURITY;
                    CREATE POLICY led ON user_profiles FOR UPDATE TO authenticated
                      USING (user_id IN (SELECT lead FROM teams));
                    CREATE POLICY back ON teams TO authenticated USING (lead IN (SELECT user_id FROM user_profiles))",
        },
    ])
    .await;
}

#[tokio::test]
async fn routines_with_the_rights_of_their_owner() {
    all_are_found_and_mended(&[
        Planted {
            id: "definer_search_path",
            plant: "CREATE FUNCTION peek(a text, b int) RETURNS bigint LANGUAGE sql SECURITY DEFINER
                      AS 'SELECT count(*) FROM public.user_profiles';
                    REVOKE EXECUTE ON FUNCTION peek FROM PUBLIC, anon",
        },
        Planted {
            id: "definer_search_path",
            plant: "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER
                      BEGIN ATOMIC SELECT count(*) FROM public.user_profiles; END;
                    REVOKE EXECUTE ON FUNCTION peek FROM PUBLIC, anon",
        },
        Planted {
            id: "definer_callable",
            plant:
                "CREATE SCHEMA \"Api v2\"; CREATE PROCEDURE \"Api v2\".wipe() LANGUAGE sql SECURITY DEFINER
                      SET search_path = '' AS 'DELETE FROM public.user_profiles'",
        },
        Planted {
            id: "definer_callable",
            plant: "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER
                      SET search_path = '' AS 'SELECT count(*) FROM public.user_profiles';
                    REVOKE EXECUTE ON FUNCTION peek FROM PUBLIC",
        },
        Planted {
            id: "definer_callable",
            plant: "CREATE VIEW below AS SELECT * FROM user_profiles; REVOKE ALL ON below FROM anon, authenticated;
                    CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER
                      SET search_path = '' AS 'SELECT count(*) FROM public.below'",
        },
        Planted {
            id: "definer_search_path",
            plant: "CREATE SCHEMA \"Open to all\"; GRANT CREATE ON SCHEMA \"Open to all\" TO authenticated;
                    CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER
                      SET search_path = public, \"Open to all\" AS 'SELECT count(*) FROM user_profiles';
                    REVOKE EXECUTE ON FUNCTION peek FROM PUBLIC, anon",
        },
    ])
    .await;
}

#[tokio::test]
async fn routines_of_no_concern() {
    let clinic = supabase_clinic().await;
    clinic
        .db
        .exec(
            "CREATE FUNCTION as_caller() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.user_profiles';
             CREATE FUNCTION other() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1 AS user_profiles_2';
             CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
               AS 'BEGIN UPDATE public.user_profiles SET full_name = NULL WHERE false; RETURN NEW; END';
             CREATE FUNCTION is_admin() RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
               AS 'SELECT EXISTS (SELECT FROM public.user_profiles WHERE full_name = ''admin'')'",
        )
        .await;
    clinic.is_clean().await;
}

#[tokio::test]
async fn views() {
    let clinic = supabase_clinic().await;
    let has_invokers = clinic.db.version().await >= POSTGRES_15;
    let with = |option| if has_invokers { option } else { "" };
    let above = format!(
        "CREATE VIEW below AS SELECT * FROM user_profiles; REVOKE ALL ON below FROM anon, authenticated;
         CREATE VIEW above {} AS SELECT user_id FROM below",
        with("WITH (security_invoker = off)")
    );
    all_are_found_and_mended(&[
        Planted { id: "view_without_invoker", plant: "CREATE VIEW everything AS SELECT * FROM user_profiles" },
        Planted { id: "view_without_invoker", plant: above.leak() },
        Planted {
            id: "materialized_view",
            plant: "CREATE MATERIALIZED VIEW copy AS SELECT user_id, encrypted_retell_api_key FROM user_profiles",
        },
        Planted {
            id: "view_without_invoker",
            plant: "CREATE VIEW narrow AS SELECT * FROM user_profiles; REVOKE ALL ON narrow FROM anon, authenticated;
                    GRANT SELECT (encrypted_retell_api_key) ON narrow TO anon",
        },
        Planted {
            id: "vault_table_open",
            plant: "CREATE TABLE retell_vault_copy (a text); ALTER TABLE retell_vault_copy ENABLE ROW LEVEL SECURITY;
                    REVOKE ALL ON retell_vault_copy FROM anon, authenticated; GRANT SELECT (a) ON retell_vault_copy TO anon",
        },
    ])
    .await;
    clinic
        .db
        .exec(with("CREATE VIEW careful WITH (security_invoker = yes) AS SELECT * FROM user_profiles"))
        .await;
    clinic
        .db
        .exec("CREATE VIEW closed AS SELECT * FROM user_profiles; REVOKE ALL ON closed FROM anon, authenticated")
        .await;
    clinic.is_clean().await;
}

#[tokio::test]
async fn a_broken_auth_uid() {
    all_are_found_and_mended(&[Planted {
        id: "auth_uid_breaks",
        plant: "CREATE OR REPLACE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE
                AS $$ SELECT (current_setting('request.jwt.claims', true)::jsonb ->> 'sub')::uuid $$",
    }])
    .await;
}

#[tokio::test]
async fn tables_of_the_vault_itself() {
    all_are_found_and_mended(&[
        Planted { id: "vault_table_open", plant: "CREATE TABLE retell_vault_backup_x (a text)" },
        Planted {
            id: "vault_table_open",
            plant: "CREATE TABLE retell_vault_backup_x (a text); REVOKE ALL ON retell_vault_backup_x FROM anon, authenticated",
        },
        Planted {
            id: "vault_table_open",
            plant: "CREATE TABLE retell_vault_backup_x (a text);
                    ALTER TABLE retell_vault_backup_x ENABLE ROW LEVEL SECURITY",
        },
    ])
    .await;
}

#[tokio::test]
async fn row_level_security_that_is_off_or_spares_the_owner() {
    all_are_found_and_mended(&[
        Planted { id: "row_security_off", plant: "ALTER TABLE user_profiles DISABLE ROW LEVEL SECURITY" },
        Planted {
            id: "row_security_off",
            plant: "DROP POLICY retell_vault_owner ON user_profiles; ALTER TABLE user_profiles DISABLE ROW LEVEL SECURITY",
        },
        Planted { id: "row_security_not_forced", plant: "ALTER TABLE user_profiles NO FORCE ROW LEVEL SECURITY" },
    ])
    .await;
}
