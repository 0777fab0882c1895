//! Row level security as planned: nobody sees or writes the row of somebody else.

use retell_vault::Layout;
use retell_vault::schema::{Profile, RowSecurity, SchemaPlan, Step, Wanted};

use crate::support::role::Role;
use crate::support::rows::value;
use crate::support::schema::{run_steps, undo_steps};
use crate::support::supabase::{Session, roles, supabase};
use crate::support::vaults::*;
use crate::support::*;

const A: &str = "00000000-0000-4000-8000-00000000000a";
const B: &str = "00000000-0000-4000-8000-00000000000b";

struct Stage {
    db: TestDb,
    hosts: Hosts,
    layout: Layout,
}

impl Stage {
    /// A table with a row of A and one of B, in a tenant where there are tenants.
    async fn on(id: &str, tenant: Option<&str>, is_supabase: bool) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        match is_supabase {
            true => supabase(&db).await,
            false => roles(&db).await,
        }
        let (column, key) = match tenant {
            Some(kind) => (format!("tenant_id {kind} NOT NULL,"), "tenant_id, user_id"),
            None => (String::new(), "user_id"),
        };
        db.exec(&format!(
            "CREATE TABLE user_profiles (user_id {id}, {column} full_name text, PRIMARY KEY ({key}))"
        ))
        .await;
        let mut layout = Layout::new();
        for user in [A, B] {
            let (columns, values) = match tenant {
                Some(_) => ("user_id, tenant_id", format!("'{user}', '{A}'")),
                None => ("user_id", format!("'{user}'")),
            };
            db.exec(&format!("INSERT INTO user_profiles ({columns}) VALUES ({values})")).await;
        }
        if tenant.is_some() {
            layout = layout.tenant_column("tenant_id").unwrap();
        }
        Self { db, hosts, layout }
    }

    async fn plan(&self, wanted: &Wanted) -> SchemaPlan {
        self.plan_at(&self.db.url, wanted).await
    }

    async fn plan_at(&self, url: &str, wanted: &Wanted) -> SchemaPlan {
        let vault = self.hosts.host(0, url).layout(self.layout.clone()).build().await.unwrap();
        let mut plan = vault.schema().plan(wanted.clone()).await.unwrap();
        vault.close().await;
        plan.steps.retain(|step| step.id == "row_security");
        plan
    }

    /// Applies it; then every step is applied.
    async fn apply(&self, wanted: &Wanted) -> Vec<Step> {
        let done = run_steps(&self.db, &self.plan(wanted).await).await;
        assert_eq!(self.plan(wanted).await.steps, Vec::new());
        done
    }

    async fn state(&self) -> String {
        value(
            &self.db,
            "SELECT concat_ws(' ', c.relrowsecurity, c.relforcerowsecurity,
               (SELECT jsonb_agg(to_jsonb(p) - 'schemaname' - 'tablename' ORDER BY policyname) FROM pg_policies p))
             FROM pg_class c WHERE c.oid = 'user_profiles'::regclass",
        )
        .await
    }

    /// How many rows a session sees, and how many it can write and delete.
    async fn reach(&self, role: &str, claims: Option<&str>) -> [u64; 3] {
        let mut session = Session::of(&self.db, role, claims).await;
        let seen = session.ask("SELECT count(*)::text FROM user_profiles").await.unwrap().unwrap();
        session.run("BEGIN").await.unwrap();
        let written = session.run("UPDATE user_profiles SET full_name = 'x'").await.unwrap();
        let deleted = session.run("DELETE FROM user_profiles").await.unwrap();
        session.run("ROLLBACK").await.unwrap();
        [seen.parse().unwrap(), written, deleted]
    }
}

fn on() -> Wanted {
    Wanted::from(Profile::Credentials).row_security(RowSecurity::On)
}

fn auto() -> Wanted {
    Wanted::from(Profile::Credentials)
}

fn claims(user: &str, tenant: Option<&str>) -> String {
    let tenant = tenant.unwrap_or("none");
    format!(
        r#"{{"sub":"{user}","tenant_id":"{tenant}","app_metadata":{{"tenant_id":"{tenant}"}},"user_metadata":{{"tenant_id":"{A}"}}}}"#
    )
}

/// Of a user who has nothing: no claims, empty ones, and those without a user.
const NOBODY: [Option<&str>; 5] =
    [None, Some(""), Some("{}"), Some(r#"{"sub":null}"#), Some(r#"{"sub":""}"#)];

#[tokio::test]
async fn a_user_reaches_their_own_row_and_no_other() {
    for (id, is_supabase) in
        [("text", false), ("uuid", false), ("text", true), ("uuid", true), ("varchar(60)", true)]
    {
        let stage = Stage::on(id, None, is_supabase).await;
        let before = stage.state().await;
        let done = stage.apply(&on()).await;
        assert_eq!(
            stage.reach("authenticated", Some(&claims(A, None))).await,
            [1, 1, 1],
            "{id} {is_supabase}"
        );
        for nobody in NOBODY {
            // `auth.uid()` of Supabase itself does not take an empty user
            if !(is_supabase && nobody == Some(r#"{"sub":""}"#)) {
                assert_eq!(
                    stage.reach("authenticated", nobody).await,
                    [0; 3],
                    "{id} {is_supabase} {nobody:?}"
                );
            }
        }
        assert_eq!(stage.reach("anon", Some(&claims(A, None))).await, [0; 3]);
        assert_eq!(stage.reach("service_role", None).await, [2, 2, 2]);

        let mut user = Session::user(&stage.db, A).await;
        assert_eq!(user.ask("SELECT user_id::text FROM user_profiles").await.unwrap().as_deref(), Some(A));
        let taken = user.run(&format!("UPDATE user_profiles SET user_id = '{}'", B.replace('b', "c"))).await;
        assert_eq!(taken.unwrap_err().code, "42501");
        let made = user
            .run(&format!("INSERT INTO user_profiles (user_id) VALUES ('{}')", B.replace('b', "c")))
            .await;
        assert_eq!(made.unwrap_err().code, "42501");

        undo_steps(&stage.db, &done).await;
        assert_eq!(stage.state().await, before);
    }
}

#[tokio::test]
async fn a_user_of_one_tenant_reaches_nothing_in_another() {
    for (id, tenant, is_supabase) in
        [("text", "text", false), ("uuid", "uuid", false), ("uuid", "text", true), ("text", "uuid", true)]
    {
        let stage = Stage::on(id, Some(tenant), is_supabase).await;
        stage.apply(&on()).await;
        assert_eq!(
            stage.reach("authenticated", Some(&claims(A, Some(A)))).await,
            [1, 1, 1],
            "{id} {is_supabase}"
        );
        // `user_metadata` says A, but users write it themselves
        assert_eq!(
            stage.reach("authenticated", Some(&claims(A, Some(B)))).await,
            [0; 3],
            "{id} {is_supabase}"
        );
        let no_tenant = format!(r#"{{"sub":"{A}","user_metadata":{{"tenant_id":"{A}"}}}}"#);
        assert_eq!(stage.reach("authenticated", Some(&no_tenant)).await, [0; 3], "{id} {is_supabase}");
    }
}

#[tokio::test]
async fn supabase_gets_it_by_itself_and_others_when_they_ask() {
    let plain = Stage::on("uuid", None, false).await;
    assert_eq!(plain.plan(&auto()).await.steps, Vec::new());
    assert_eq!(plain.plan(&on().row_security(RowSecurity::Leave)).await.steps, Vec::new());
    let stage = Stage::on("uuid", None, true).await;
    assert_eq!(stage.plan(&auto().row_security(RowSecurity::Leave)).await.steps, Vec::new());
    stage.apply(&auto()).await;
    assert_eq!(stage.reach("authenticated", Some(&claims(A, None))).await, [1, 1, 1]);
}

#[tokio::test]
async fn policies_of_the_application_stay() {
    let stage = Stage::on("uuid", None, true).await;
    stage
        .db
        .exec("ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON user_profiles USING (user_id = auth.uid())")
        .await;
    let plan = stage.plan(&auto()).await;
    assert_eq!(plan.steps, Vec::new());
    assert!(plan.notes.iter().any(|note| note.contains("with other policies")), "{:?}", plan.notes);
    let before = stage.state().await;
    let done = stage.apply(&on()).await;
    undo_steps(&stage.db, &done).await;
    assert_eq!(stage.state().await, before);
}

#[tokio::test]
async fn a_policy_of_ours_that_was_changed_is_replaced() {
    let stage = Stage::on("uuid", None, true).await;
    stage.apply(&on()).await;
    let wanted = stage.state().await;
    for script in [
        "ALTER POLICY retell_vault_owner ON user_profiles USING (true)",
        "ALTER POLICY retell_vault_owner ON user_profiles WITH CHECK (user_id = auth.uid() OR full_name IS NULL)",
        "ALTER POLICY retell_vault_owner ON user_profiles TO anon, authenticated",
        "CREATE POLICY retell_vault_service ON user_profiles TO anon USING (true)",
        "ALTER TABLE user_profiles DISABLE ROW LEVEL SECURITY",
        "DROP POLICY retell_vault_owner ON user_profiles; CREATE POLICY retell_vault_owner ON user_profiles AS RESTRICTIVE FOR UPDATE USING (user_id = auth.uid())",
    ] {
        stage.db.exec(script).await;
        let before = stage.state().await;
        let plan = stage.plan(&auto()).await;
        let done = run_steps(&stage.db, &plan).await;
        assert_eq!(stage.state().await, wanted, "{script}");
        undo_steps(&stage.db, &done).await;
        assert_eq!(stage.state().await, before, "{script}");
        stage.db.exec(&plan.script()).await;
        assert_eq!(stage.state().await, wanted, "{script}");
    }
}

#[tokio::test]
async fn forced_it_binds_the_owner_of_the_table_and_services_still_see_all() {
    let stage = Stage::on("text", None, false).await;
    let owner = Role::create(
        &stage.db,
        "ALTER TABLE user_profiles OWNER TO guest; GRANT ALL ON SCHEMA public TO guest",
    )
    .await;
    let service = Role::create(&stage.db, "GRANT ALL ON user_profiles TO guest").await;
    let other = Role::create(&stage.db, "GRANT ALL ON user_profiles TO guest").await;
    stage.db.exec("GRANT ALL ON user_profiles TO authenticated").await;
    let before = stage.state().await;
    let wanted = auto().force_row_security().service_role(&service.name);
    let plan = stage.plan_at(&owner.url, &wanted).await;
    let done = run_steps(&stage.db, &plan).await;
    assert_eq!(stage.plan_at(&owner.url, &wanted).await.steps, Vec::new());
    // whoever plans, and with less in mind
    assert_eq!(stage.plan(&wanted).await.steps, Vec::new());
    assert_eq!(stage.plan(&on()).await.steps, Vec::new());

    assert_eq!(stage.reach(&owner.name, None).await, [2, 2, 2]);
    assert_eq!(stage.reach(&service.name, None).await, [2, 2, 2]);
    assert_eq!(stage.reach(&other.name, None).await, [0; 3]);
    assert_eq!(stage.reach("authenticated", Some(&claims(A, None))).await, [1, 1, 1]);
    let vault = stage.hosts.host(1, &owner.url).build().await.unwrap();
    assert!(vault.store(&crate::support::vaults::owner(A), &full_config(1)).await.is_ok());
    vault.close().await;

    undo_steps(&stage.db, &done).await;
    assert_eq!(stage.state().await, before);
}
