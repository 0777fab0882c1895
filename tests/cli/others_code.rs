//! Code of other roles does not run with the rights of the one who looks after the table: a superuser's commands act as the table's
//! owner, and functions and roles of others are not relied on.

use retell_vault::doctor::{Diagnosis, DoctorOptions};
use retell_vault::schema::{Profile, RowSecurity, SchemaPlan, Wanted};

use crate::runner::{FULL, Home};
use crate::support::TestDb;
use crate::support::faults::exec;
use crate::support::role::Role;
use crate::support::rows::value;
use crate::support::supabase;
use crate::support::vaults::{ALL_COLUMNS, Hosts};

/// What the owner of the table made: whoever runs it as a superuser leaves a mark that no rollback and no read-only transaction
/// takes back.
const TRAP: &str = "CREATE SCHEMA trap; CREATE SEQUENCE trap.sprung; GRANT USAGE ON SCHEMA trap TO PUBLIC;
    CREATE FUNCTION trap.spring() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
      PERFORM pg_catalog.pg_stat_force_next_flush();
      IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN PERFORM trap.by_superuser();
      ELSE PERFORM trap.by_other(); END IF;
      RETURN true; END $$;
    CREATE FUNCTION trap.by_superuser() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_catalog.pg_stat_force_next_flush(); END $$;
    CREATE FUNCTION trap.by_other() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_catalog.pg_stat_force_next_flush(); END $$;";

/// Types, casts, triggers, an index and a policy of the owner, all of which spring it.
const TABLE: &str = "CREATE FUNCTION trap.constant(integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
      RETURN trap.spring(); END $$;
    CREATE TYPE trap.pair AS (a text, b text);
    CREATE FUNCTION trap.to_text(trap.pair) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.spring(); RETURN 'x'; END $$;
    CREATE CAST (trap.pair AS text) WITH FUNCTION trap.to_text(trap.pair) AS IMPLICIT;
    CREATE TYPE trap.mood AS ENUM ('good', 'bad');
    CREATE FUNCTION trap.to_text(trap.mood) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.spring(); RETURN 'x'; END $$;
    CREATE CAST (trap.mood AS text) WITH FUNCTION trap.to_text(trap.mood) AS IMPLICIT;
    CREATE TABLE public.user_profiles (user_id text PRIMARY KEY, full_name text, retell_api_key trap.pair, webhook_secret trap.mood,
      encrypted_retell_api_key text, encrypted_call_agent_id text, encrypted_sms_agent_id trap.pair, encrypted_agent_config jsonb);
    CREATE FUNCTION trap.on_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.spring(); RETURN NEW; END $$;
    CREATE TRIGGER on_change BEFORE INSERT OR UPDATE ON public.user_profiles FOR EACH ROW EXECUTE FUNCTION trap.on_change();
    CREATE INDEX ON public.user_profiles (full_name) WHERE trap.constant(1);
    CREATE POLICY asks ON public.user_profiles USING (trap.spring());
    INSERT INTO public.user_profiles (user_id, retell_api_key, webhook_secret, encrypted_sms_agent_id)
      VALUES ('user-0', ROW('a', 'b'), 'good', ROW('a', 'b'));";

/// A table of an ordinary role, and a superuser's home over it.
struct Trapped {
    db: TestDb,
    home: Home,
    role: Role,
}

impl Trapped {
    async fn new() -> Self {
        let db = TestDb::create().await;
        let script = format!(
            "GRANT CREATE ON DATABASE {name} TO guest; GRANT CREATE ON SCHEMA public TO guest; \
             ALTER DATABASE {name} SET track_functions = 'pl'",
            name = db.name
        );
        let role = Role::create(&db, &script).await;
        exec(&role.url, &format!("{TRAP} {TABLE}")).await;
        let mut home = Home::over(&role.url);
        home.put(&["--user", "user-1"], FULL).ok();
        home.put(&["--user", "user-2"], FULL).ok();
        home.database = db.url.clone();
        Self { db, home, role }
    }

    /// How often the trap was sprung by a superuser, and by others.
    async fn sprung(&self) -> [i64; 2] {
        let calls = |function: &str| {
            format!("SELECT coalesce(pg_stat_get_function_calls('trap.{function}'::regproc), 0)")
        };
        let mut counted = [0, 0];
        for (at, function) in ["by_superuser", "by_other"].into_iter().enumerate() {
            counted[at] = value(&self.db, &calls(function)).await;
        }
        counted
    }

    /// A command of the superuser springs nothing as one.
    async fn is_harmless(&self, args: &[&str], codes: &[i32]) {
        let ran = self.home.run(args);
        assert!(codes.contains(&ran.code), "{args:?}: {ran:?}");
        assert_eq!(self.sprung().await[0], 0, "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superusers_commands_act_as_the_owner_of_the_table() {
    let trapped = Trapped::new().await;
    // it does spring for whoever is careless
    let [before, _] = trapped.sprung().await;
    assert_eq!(before, 0);
    let any = [0, 1, 2];
    for args in [
        &["doctor"][..],
        &["doctor", "--deep", "--users-table", "public.user_profiles", "--users-column", "user_id"],
        &["schema", "plan"],
        &["schema", "plan", "--every-row", "--remove-duplicates"],
        &["key", "check"],
        &["key", "check", "--deep"],
        &["key", "list"],
        &["list"],
        &["layout", "show"],
        &["layout", "check"],
        &["status"],
    ] {
        trapped.is_harmless(args, &any).await;
    }
    let [_, others] = trapped.sprung().await;
    trapped.is_harmless(&["rotate", "--new-key"], &[0]).await;
    assert!(trapped.sprung().await[1] > others, "the trigger has run");
    for args in [
        &["schema", "apply", "--row-security", "on"][..],
        &["schema", "verify"],
        &["schema", "promote"],
        &["schema", "rollback", "--allow-data-loss"],
    ] {
        trapped.is_harmless(args, &any).await;
    }
    exec(&trapped.db.url, "UPDATE public.user_profiles SET full_name = 'x'").await;
    assert!(trapped.sprung().await[0] > 0, "the trap works");
    drop(trapped.role);
}

// --- Functions and roles of others ---

/// What one table is told by the planner and by the doctor.
async fn asked(db: &TestDb, wanted: impl Into<Wanted>) -> (SchemaPlan, Diagnosis) {
    let hosts = Hosts::new().await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    let plan = vault.schema().plan(wanted).await.unwrap();
    let diagnosis = vault.doctor(&DoctorOptions::new(), |_| {}).await.unwrap();
    vault.close().await;
    (plan, diagnosis)
}

fn has(diagnosis: &Diagnosis, id: &str) -> bool {
    diagnosis.findings.iter().any(|finding| finding.id == id)
}

fn row_security(plan: &SchemaPlan) -> Option<String> {
    plan.steps.iter().find(|step| step.id == "row_security").map(|step| step.sql.join("\n"))
}

/// The schema and the function are a role's that may create in the database.
#[tokio::test]
async fn an_auth_uid_of_others_is_not_relied_on() {
    const UID: &str =
        "CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$;";
    let db = TestDb::create().await;
    db.exec(ALL_COLUMNS).await;
    let role = Role::create(&db, &format!("GRANT CREATE ON DATABASE {} TO guest", db.name)).await;
    exec(&role.url, &format!("CREATE SCHEMA auth; GRANT USAGE ON SCHEMA auth TO PUBLIC; {UID}")).await;
    let (plan, diagnosis) = asked(&db, Profile::Credentials).await;
    assert_eq!(row_security(&plan), None, "plain apply leaves row level security alone");
    assert!(plan.notes.iter().any(|note| note.contains(&role.name)), "{:?}", plan.notes);
    assert!(has(&diagnosis, "auth_uid_not_trusted"), "{diagnosis:#?}");
    assert!(!has(&diagnosis, "auth_uid_breaks"), "it was not called");
    let on = Wanted::from(Profile::Credentials).row_security(RowSecurity::On);
    let policies = row_security(&asked(&db, on).await.0).unwrap();
    assert!(policies.contains("request.jwt.claims") && !policies.contains("auth.uid"), "{policies}");

    // in a schema of the superuser, the function of a role that may create there is no better
    db.exec(&format!(
        "ALTER SCHEMA auth OWNER TO CURRENT_USER; GRANT CREATE ON SCHEMA auth TO {}",
        role.name
    ))
    .await;
    assert!(has(&asked(&db, Profile::Credentials).await.1, "auth_uid_not_trusted"));
    db.exec("ALTER FUNCTION auth.uid() OWNER TO CURRENT_USER").await;
    let (plan, diagnosis) = asked(&db, Profile::Credentials).await;
    assert!(row_security(&plan).is_some_and(|policies| policies.contains("auth.uid")));
    assert!(!has(&diagnosis, "auth_uid_not_trusted"));
}

/// As on Supabase: the schema is the superuser's, and the functions are those of a role that it has let in.
#[tokio::test]
async fn the_auth_uid_of_supabase_is_relied_on() {
    let db = TestDb::create().await;
    db.exec(ALL_COLUMNS).await;
    supabase::supabase(&db).await;
    db.exec(
        "DO $$ BEGIN CREATE ROLE supabase_auth_admin; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;
         GRANT CREATE, USAGE ON SCHEMA auth TO supabase_auth_admin; ALTER FUNCTION auth.uid() OWNER TO supabase_auth_admin;
         CREATE POLICY own ON user_profiles USING (user_id = (SELECT auth.uid())::text)",
    )
    .await;
    let (plan, diagnosis) =
        asked(&db, Wanted::from(Profile::Credentials).row_security(RowSecurity::On)).await;
    assert!(row_security(&plan).is_some_and(|policies| policies.contains("auth.uid")));
    assert!(
        !has(&diagnosis, "auth_uid_not_trusted") && !has(&diagnosis, "policy_calls_others"),
        "{diagnosis:#?}"
    );
    db.exec("DROP OWNED BY supabase_auth_admin CASCADE").await;
}

#[tokio::test]
async fn a_policy_that_calls_a_function_of_others_is_found() {
    let db = TestDb::create().await;
    db.exec(ALL_COLUMNS).await;
    let role = Role::create(&db, &format!("GRANT CREATE ON DATABASE {} TO guest", db.name)).await;
    let helpers = "CREATE SCHEMA helpers; GRANT USAGE ON SCHEMA helpers TO PUBLIC;
        CREATE FUNCTION helpers.may(text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
        CREATE FUNCTION helpers.same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
        CREATE OPERATOR helpers.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = helpers.same);";
    exec(&role.url, helpers).await;
    db.exec("ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY").await;
    for condition in ["helpers.may(user_id)", "user_id OPERATOR(helpers.===) current_user::text"] {
        db.exec(&format!("CREATE POLICY asks ON user_profiles USING ({condition})")).await;
        assert!(has(&asked(&db, Profile::Credentials).await.1, "policy_calls_others"), "{condition}");
        db.exec("DROP POLICY asks ON user_profiles").await;
    }
    db.exec("CREATE POLICY asks ON user_profiles USING (user_id = current_user)").await;
    assert!(!has(&asked(&db, Profile::Credentials).await.1, "policy_calls_others"));
}
