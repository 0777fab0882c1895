//! The database hides, forbids, drops or changes what is written: the caller hears of it with a hint,
//! and nothing is written, neither there nor in the local file.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use retell_vault::{Error, ErrorKind, Owner, Vault};

use crate::support::role::Role;
use crate::support::rotation::{completes, promote};
use crate::support::rows::*;
use crate::support::vaults::*;
use crate::support::*;

const TABLE: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, full_name text,
    encrypted_retell_api_key text, encrypted_agent_config jsonb, phone_number text);
    COMMENT ON COLUMN user_profiles.phone_number IS 'retell-vault: phone_number of retell';
    INSERT INTO user_profiles (user_id, phone_number) VALUES ('user-1', '+14155550199')";
const SHARED: &str = "GRANT SELECT, INSERT, UPDATE, DELETE ON user_profiles TO guest;";

/// A vault whose user has been given what the script says.
struct Guest {
    vault: Vault,
    hosts: Hosts,
    role: Role,
    db: TestDb,
}

impl Guest {
    async fn on(table: &str, script: &str) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(table).await;
        Self::join(db, hosts, script).await
    }

    /// With a record that was stored when nothing stood in the way.
    async fn with_record(table: &str, script: &str) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(table).await;
        let admin = hosts.host(1, &db.url).build().await.unwrap();
        admin.store(&owner("user-1"), &full_config("before")).await.unwrap();
        Self::join(db, hosts, script).await
    }

    async fn join(db: TestDb, hosts: Hosts, script: &str) -> Self {
        let role = Role::create(&db, script).await;
        let vault = hosts.host(0, &role.url).build().await.unwrap();
        Self { vault, hosts, role, db }
    }

    /// A store of any kind is refused, and everything stays as it was.
    async fn refuses(&self, user: &str, kind: ErrorKind) -> Error {
        let before = table(&self.db, "user_profiles").await;
        let owner: Owner = owner(user);
        let error = self.vault.store(&owner, &full_config(1)).await.expect_err("a store that cannot be");
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.hint().len() > 10);
        let many = self.vault.store_many(&[(owner.clone(), full_config(2))]).await.unwrap().remove(0);
        assert_eq!(many.unwrap_err().kind(), kind);
        assert_eq!(table(&self.db, "user_profiles").await, before, "the table was changed");
        let local = self.vault.status().await.unwrap().local.unwrap();
        let kept = local.pending + local.replicas + local.losers + local.replaced + local.dead_letters;
        assert_eq!(kept, 0, "something is in the local file");
        error
    }

    async fn load(&self) -> Result<retell_vault::RetellConfig, ErrorKind> {
        self.vault.load(&owner("user-1")).await.map(|loaded| loaded.config).map_err(|error| error.kind())
    }
}

fn without_constraint() -> String {
    TABLE.replace("PRIMARY KEY", "NOT NULL")
}

#[tokio::test]
async fn a_row_that_row_level_security_hides() {
    for table in [TABLE.to_owned(), without_constraint()] {
        let policies = "ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY;
            CREATE POLICY mine ON user_profiles USING (user_id <> 'user-1') WITH CHECK (true);";
        let guest = Guest::with_record(&table, &format!("{SHARED}{policies}")).await;
        guest.refuses("user-1", ErrorKind::AccessDenied).await;
        assert_eq!(guest.load().await, Err(ErrorKind::NotFound));
        assert_eq!(guest.vault.delete(&owner("user-1")).await.unwrap_err().kind(), ErrorKind::NotFound);
        // what the policies let through works
        guest.vault.store(&owner("user-2"), &full_config(2)).await.unwrap();
        assert_eq!(guest.vault.load(&owner("user-2")).await.unwrap().config, full_config(2));
    }
}

#[tokio::test]
async fn a_row_that_may_be_read_and_not_written() {
    for policy in [
        "CREATE POLICY look ON user_profiles FOR SELECT USING (true)",
        "CREATE POLICY look ON user_profiles FOR SELECT USING (true); CREATE POLICY change ON user_profiles FOR UPDATE USING (false)",
        "CREATE POLICY change ON user_profiles USING (true) WITH CHECK (encrypted_agent_config IS NULL)",
        "CREATE POLICY all_of ON user_profiles USING (true); CREATE POLICY but ON user_profiles AS RESTRICTIVE FOR UPDATE USING (user_id <> 'user-1')",
    ] {
        let script = format!("{SHARED} ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY; {policy}");
        for table in [TABLE.to_owned(), without_constraint()] {
            let guest = Guest::with_record(&table, &script).await;
            guest.refuses("user-1", ErrorKind::AccessDenied).await;
            assert_eq!(guest.load().await, Ok(full_config("before")), "{policy}");
            let error = guest.vault.delete(&owner("user-1")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AccessDenied, "{policy}");
            assert_eq!(guest.load().await, Ok(full_config("before")), "{policy}");
        }
    }
}

#[tokio::test]
async fn a_row_that_may_not_be_made() {
    let policies = "ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY;
        CREATE POLICY look ON user_profiles FOR SELECT USING (true);
        CREATE POLICY change ON user_profiles FOR UPDATE USING (true);";
    for policy in ["", "CREATE POLICY make ON user_profiles FOR INSERT WITH CHECK (user_id = 'user-1')"] {
        for table in [TABLE.to_owned(), without_constraint()] {
            let guest = Guest::with_record(&table, &format!("{SHARED}{policies}{policy}")).await;
            guest.refuses("user-2", ErrorKind::AccessDenied).await;
            guest.vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn missing_grants() {
    let loads = [
        ("", Err(ErrorKind::AccessDenied)),
        ("GRANT INSERT, UPDATE ON user_profiles TO guest", Err(ErrorKind::AccessDenied)),
        ("GRANT SELECT, INSERT ON user_profiles TO guest", Ok(full_config("before"))),
        ("GRANT SELECT ON user_profiles TO guest", Ok(full_config("before"))),
        (
            "GRANT SELECT, INSERT, UPDATE ON user_profiles TO guest; REVOKE USAGE ON SCHEMA public FROM public",
            Err(ErrorKind::AccessDenied),
        ),
    ];
    for (grants, loads) in loads {
        let guest = Guest::with_record(TABLE, grants).await;
        guest.refuses("user-1", ErrorKind::AccessDenied).await;
        assert_eq!(guest.load().await, loads, "{grants}");
    }
    let guest = Guest::with_record(TABLE, "GRANT SELECT, UPDATE ON user_profiles TO guest").await;
    guest.refuses("user-2", ErrorKind::AccessDenied).await;
    guest.vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    assert_eq!(guest.load().await, Ok(full_config(1)));
    // rights that are taken away while the vault is at work
    guest.db.exec(&format!("REVOKE UPDATE ON user_profiles FROM {}", guest.role.name)).await;
    guest.refuses("user-1", ErrorKind::AccessDenied).await;
    tokio::time::sleep(Duration::from_millis(1100)).await; // they are looked at once a second
    guest.db.exec(&format!("GRANT UPDATE ON user_profiles TO {}", guest.role.name)).await;
    guest.vault.store(&owner("user-1"), &full_config(2)).await.unwrap();
    assert_eq!(guest.load().await, Ok(full_config(2)));
}

/// The column is there, so going around it would leave old tokens in it, or hide new ones from others.
#[tokio::test]
async fn a_column_that_may_not_be_written() {
    for column in ["encrypted_agent_config", "encrypted_retell_api_key", "phone_number"] {
        let columns = ["encrypted_agent_config", "encrypted_retell_api_key", "phone_number"];
        let others: Vec<_> = columns.into_iter().filter(|other| *other != column).collect();
        let grants = format!(
            "GRANT SELECT, INSERT ON user_profiles TO guest; GRANT UPDATE (user_id, {}) ON user_profiles TO guest",
            others.join(", ")
        );
        let guest = Guest::with_record(TABLE, &grants).await;
        for user in ["user-1", "user-2"] {
            let error = guest.refuses(user, ErrorKind::AccessDenied).await;
            assert!(error.to_string().contains(column) && error.hint().contains("GRANT"), "{error:?}");
        }
        assert_eq!(guest.load().await, Ok(full_config("before")));
        let problem = guest.vault.status().await.unwrap().database.unwrap().problem.unwrap().to_string();
        assert!(problem.contains(column), "{problem}");
    }
}

#[tokio::test]
async fn a_generated_column() {
    let table = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text,
        phone_number text GENERATED ALWAYS AS (user_id) STORED);
        COMMENT ON COLUMN user_profiles.phone_number IS 'retell-vault: phone_number of retell';
        INSERT INTO user_profiles VALUES ('user-1')";
    let guest = Guest::on(table, SHARED).await;
    for user in ["user-1", "user-2"] {
        let error = guest.refuses(user, ErrorKind::AccessDenied).await;
        assert!(
            error.to_string().contains("phone_number") && error.hint().contains("generated"),
            "{error:?}"
        );
    }
}

fn trigger(when: &str, body: &str) -> String {
    format!(
        "{SHARED} CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$;
        CREATE TRIGGER meddle BEFORE {when} ON user_profiles FOR EACH ROW EXECUTE FUNCTION meddle()"
    )
}

#[tokio::test]
async fn triggers_that_drop_the_write() {
    for table in [TABLE.to_owned(), without_constraint()] {
        let guest = Guest::with_record(&table, &trigger("UPDATE", "RETURN NULL")).await;
        guest.refuses("user-1", ErrorKind::AccessDenied).await;
        assert_eq!(guest.load().await, Ok(full_config("before")));
        let guest = Guest::with_record(&table, &trigger("INSERT", "RETURN NULL")).await;
        guest.refuses("user-2", ErrorKind::AccessDenied).await;
        let guest = Guest::with_record(&table, &trigger("INSERT OR UPDATE", "RAISE EXCEPTION 'no'")).await;
        guest.refuses("user-1", ErrorKind::Rejected).await;
        guest.refuses("user-2", ErrorKind::Rejected).await;
    }
}

/// A record that was changed on its way in would be unreadable, and the one before it gone.
#[tokio::test]
async fn triggers_that_change_the_write() {
    for change in [
        "NEW.encrypted_retell_api_key := left(NEW.encrypted_retell_api_key, 100); RETURN NEW",
        "NEW.encrypted_retell_api_key := NULL; RETURN NEW",
        "NEW.encrypted_retell_api_key := upper(NEW.encrypted_retell_api_key); RETURN NEW",
        "NEW.encrypted_agent_config := NEW.encrypted_agent_config - 'retell_vault'; RETURN NEW",
    ] {
        for table in [TABLE.to_owned(), without_constraint()] {
            let guest = Guest::with_record(&table, &trigger("INSERT OR UPDATE", change)).await;
            for user in ["user-1", "user-2"] {
                let error = guest.refuses(user, ErrorKind::Rejected).await;
                assert!(error.hint().contains("trigger"), "{error:?}");
            }
            assert_eq!(guest.load().await, Ok(full_config("before")), "{change}");
        }
    }
    // what a trigger does to the rest of the row is the application's business
    let tidy = "NEW.full_name := 'Ada'; NEW.phone_number := replace(NEW.phone_number, ' ', ''); RETURN NEW";
    let guest = Guest::with_record(TABLE, &trigger("INSERT OR UPDATE", tidy)).await;
    guest.vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    assert_eq!(guest.load().await, Ok(full_config(1)));
}

#[tokio::test]
async fn a_read_only_role() {
    let guest = Guest::with_record(TABLE, SHARED).await;
    let read_only = format!("ALTER ROLE {} SET default_transaction_read_only = on", guest.role.name);
    guest.db.exec(&read_only).await;
    let vault = guest.hosts.host(2, &guest.role.url).build().await.unwrap();
    let guest = Guest { vault, ..guest };
    guest.refuses("user-1", ErrorKind::AccessDenied).await;
    guest.refuses("user-2", ErrorKind::AccessDenied).await;
    assert_eq!(guest.load().await, Ok(full_config("before")));
}

/// A wrong setting would be hidden for weeks by a fallback.
#[tokio::test]
async fn a_wrong_user_password_or_database_fails_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let rules = folder.path().join("hba");
    std::fs::write(&rules, "host all locked all scram-sha-256\nhost all all all trust\n").unwrap();
    std::fs::set_permissions(&rules, PermissionsExt::from_mode(0o644)).unwrap();
    let setting = format!("hba_file={}", rules.display());
    let (cluster, hosts) = (Cluster::start(&["-c", "fsync=off", "-c", &setting]).await, Hosts::new().await);
    let make = "CREATE ROLE locked LOGIN PASSWORD 'right'; CREATE TABLE user_profiles (user_id text, encrypted_retell_api_key text); GRANT ALL ON user_profiles TO locked";
    crate::support::cluster::run_sql(cluster.url(), make).await.unwrap();
    let as_user = |user: &str| cluster.url().replace("postgres@", &format!("{user}@"));
    let vault = hosts.host(0, &as_user("locked:right")).build().await.unwrap();
    assert_eq!(vault.store(&owner("user-1"), &full_config(1)).await.unwrap().degraded, None);
    for url in [
        as_user("locked:hunter2"),
        as_user("locked"),
        as_user("nobody-there"),
        cluster.url().replace("/postgres", "/no_such_database"),
    ] {
        let error = hosts.host(0, &url).build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{url}: {error:?}");
        assert!(!error.hint().is_empty() && !format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    // a password that is changed later is an error soon, and no reason to live in the local file
    crate::support::cluster::run_sql(cluster.url(), "ALTER ROLE locked PASSWORD 'new'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'locked'").await.unwrap();
    let mut kind = None;
    for _ in 0..20 {
        // the first connection breaks off, which is an outage for a second
        kind = vault.store(&owner("user-1"), &full_config(2)).await.err().map(|error| error.kind());
        if kind.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(kind, Some(ErrorKind::Configuration));
}

#[tokio::test]
async fn a_partitioned_table() {
    let table = "CREATE TABLE user_profiles (user_id text, encrypted_retell_api_key text, encrypted_agent_config jsonb, phone_number text, PRIMARY KEY (user_id)) PARTITION BY HASH (user_id);
        CREATE TABLE part_0 PARTITION OF user_profiles FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE part_1 PARTITION OF user_profiles FOR VALUES WITH (MODULUS 2, REMAINDER 1)";
    let by_region = "CREATE TABLE user_profiles (user_id text, region text NOT NULL DEFAULT 'eu', encrypted_agent_config jsonb) PARTITION BY LIST (region);
        CREATE TABLE eu PARTITION OF user_profiles FOR VALUES IN ('eu'); CREATE TABLE us PARTITION OF user_profiles FOR VALUES IN ('us');
        INSERT INTO user_profiles VALUES ('user-1', 'us'), ('user-1', 'eu')";
    for table in [table, by_region] {
        let guest = Guest::on(table, SHARED).await;
        let configs: Vec<_> = owners(20).into_iter().map(|owner| (owner, full_config("bulk"))).collect();
        for _ in 0..2 {
            for stored in guest.vault.store_many(&configs).await.unwrap() {
                assert_eq!(stored.unwrap().degraded, None);
            }
        }
        for mark in 0..3 {
            guest.vault.store(&owner("user-1"), &full_config(mark)).await.unwrap();
            assert_eq!(guest.load().await, Ok(full_config(mark)));
        }
        let others = guest.vault.load_many(&owners(20)).await;
        assert!(others.iter().all(Result::is_ok));
        guest.vault.delete(&owner("user-1")).await.unwrap();
        assert_eq!(guest.load().await, Err(ErrorKind::NotFound));
    }
}

/// Who may make functions and operators in a schema of the search path (CVE-2018-1058) does not get
/// ours to run them: `varchar` columns invite a better match than Postgres' own for `text`.
#[tokio::test]
async fn functions_in_the_search_path_are_not_called() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(
        "CREATE TABLE user_profiles (user_id varchar PRIMARY KEY, encrypted_retell_api_key varchar, encrypted_agent_config jsonb);
        CREATE FUNCTION public.trap(varchar, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
        CREATE FUNCTION public.left(varchar, int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
        CREATE FUNCTION public.substr(varchar, int, int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
        CREATE FUNCTION public.lower(varchar) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
        CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = text, FUNCTION = public.trap);
        CREATE OPERATOR public.~ (LEFTARG = varchar, RIGHTARG = text, FUNCTION = public.trap);
        CREATE FUNCTION public.unnest(text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
        CREATE FUNCTION public.unnest(int2[]) RETURNS SETOF int2 LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
        CREATE FUNCTION public.json_build_array(name, name) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
        CREATE FUNCTION public.trap_json(json, json) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
        CREATE AGGREGATE public.json_agg(json) (SFUNC = public.trap_json, STYPE = json, INITCOND = '[]');
        CREATE FUNCTION public.trap_text(text[], text) RETURNS text[] LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
        CREATE AGGREGATE public.array_agg(text) (SFUNC = public.trap_text, STYPE = text[], INITCOND = '{}');
        CREATE FUNCTION public.trap(oid, regclass) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
        CREATE FUNCTION public.trap(oid, regnamespace) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
        CREATE FUNCTION public.trap(int8[], int8[]) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
        CREATE FUNCTION public.trap(text[], text[]) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
        CREATE FUNCTION public.trap(jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
        CREATE FUNCTION public.trap(numeric, int4) RETURNS numeric LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
        CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = regclass, FUNCTION = public.trap);
        CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = regnamespace, FUNCTION = public.trap);
        CREATE OPERATOR public.<> (LEFTARG = oid, RIGHTARG = regnamespace, FUNCTION = public.trap);
        CREATE OPERATOR public.= (LEFTARG = int8[], RIGHTARG = int8[], FUNCTION = public.trap);
        CREATE OPERATOR public.= (LEFTARG = text[], RIGHTARG = text[], FUNCTION = public.trap);
        CREATE OPERATOR public.-> (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = public.trap);
        CREATE OPERATOR public.->> (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = public.trap);
        CREATE OPERATOR public.- (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = public.trap);
        CREATE OPERATOR public.* (LEFTARG = numeric, RIGHTARG = int4, FUNCTION = public.trap)",
    )
    .await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    for mark in 1..4 {
        vault.store(&owner("user-1"), &full_config(mark)).await.unwrap();
        vault.store_many(&[(owner("user-2"), full_config(mark))]).await.unwrap().remove(0).unwrap();
        assert_eq!(vault.load(&owner("user-1")).await.unwrap().config, full_config(mark));
        let loaded = vault.load_many(&[owner("user-1"), owner("user-2")]).await;
        assert!(loaded.iter().all(|loaded| loaded.as_ref().unwrap().config == full_config(mark)));
    }
    assert_eq!(vault.list(None, 10).await.unwrap().entries.len(), 2);
    promote(&hosts).await;
    let vault = hosts.host(1, &db.url).build().await.unwrap();
    completes(&vault).await;
    vault.delete(&owner("user-1")).await.unwrap();
}
