//! Policies that hold for the role of the vault: it counts all rows, or says that it cannot.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use retell_vault::rotation::TokenCounts;
use retell_vault::{ErrorKind, Vault};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::access::{SHARED, refused};
use crate::support::faults::{connect, until_waiting};
use crate::support::role::Role;
use crate::support::rotation::*;
use crate::support::vaults::*;

const USERS: usize = 12;
const COUNTS: usize = 40;
/// So many where none was whole, or none was refused.
const MOST_COUNTS: usize = 10 * COUNTS;
const ON: &str = "ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY;";
/// What the doctor recommends: the application owns the table and is under the policies.
const FORCED: &str =
    "ALTER TABLE user_profiles OWNER TO guest; ALTER TABLE user_profiles FORCE ROW LEVEL SECURITY;
    CREATE POLICY service ON user_profiles TO guest USING (true) WITH CHECK (true);";

#[tokio::test]
async fn policies_that_hide_nothing() {
    for script in [
        FORCED,
        "CREATE POLICY everybody ON user_profiles USING (true)",
        "CREATE POLICY service ON user_profiles TO guest USING (true);
         CREATE POLICY mine ON user_profiles USING (user_id = current_setting('app.user', true))",
        "CREATE POLICY reads ON user_profiles FOR SELECT USING (true);
         CREATE POLICY writes ON user_profiles FOR UPDATE TO guest USING (true)",
        "CREATE POLICY service ON user_profiles USING (true);
         CREATE POLICY stays ON user_profiles AS RESTRICTIVE FOR DELETE USING (false)",
        "CREATE POLICY service ON user_profiles TO guest USING (true);
         ALTER ROLE guest SET default_transaction_isolation = 'serializable'",
    ] {
        let stage = Stage::on(ALL_COLUMNS, USERS).await;
        let role = Role::create(&stage.db, &format!("{SHARED} {ON} {script}")).await;
        let (vault, all) = (stage.vault_at(0, &role.url).await, stage.vault(1).await);
        assert_eq!(vault.count_tokens().await.unwrap(), all.count_tokens().await.unwrap(), "{script}");
        assert_eq!(vault.estimate_rotation(&small()).await.unwrap().to_do, USERS as u64, "{script}");
        completes(&vault).await;
        vault.destroy_key(stage.old, at_once()).await.unwrap();
        vault.close().await;
        stage.all_load().await;
    }
}

#[tokio::test]
async fn policies_that_may_hide_rows() {
    for policies in [
        "",
        "CREATE POLICY mine ON user_profiles USING (user_id > 'user-5')",
        "CREATE POLICY nearly ON user_profiles USING (user_id <> 'nobody')",
        "CREATE POLICY others ON user_profiles TO pg_monitor USING (true)",
        // which rights are ours may change before the count
        "CREATE POLICY team ON user_profiles TO pg_monitor USING (true); GRANT pg_monitor TO guest",
        "CREATE POLICY service ON user_profiles TO guest USING (true);
         CREATE POLICY narrow ON user_profiles AS RESTRICTIVE TO pg_monitor USING (user_id > 'user-5')",
        "CREATE POLICY writes ON user_profiles FOR UPDATE USING (true)",
        "CREATE POLICY comes ON user_profiles WITH CHECK (true)",
        "CREATE POLICY service ON user_profiles TO guest USING (true);
         CREATE POLICY narrow ON user_profiles AS RESTRICTIVE USING (user_id > 'user-5')",
        "CREATE POLICY service ON user_profiles USING (true); GRANT pg_monitor TO guest;
         CREATE POLICY narrow ON user_profiles AS RESTRICTIVE FOR SELECT TO pg_monitor USING (user_id > 'user-5')",
    ] {
        let (stage, role, error) = refused(&format!("{SHARED} {ON} {policies}")).await;
        assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error:?}");
        // nothing is said about a part, and nothing destroyed
        let vault = stage.vault_at(0, &role.url).await;
        assert_eq!(vault.count_tokens().await.unwrap_err().kind(), ErrorKind::AccessDenied);
        assert_eq!(vault.estimate_rotation(&small()).await.unwrap_err().kind(), ErrorKind::AccessDenied);
        let error = vault.destroy_key(stage.old, at_once()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error:?}");
        vault.close().await;
        stage.db.exec(&format!("ALTER ROLE {} BYPASSRLS", role.name)).await;
        completes(&stage.vault_at(0, &role.url).await).await;
        stage.all_load().await;
    }
}

/// All rows are seen and counted, and a rotation that could not end is not begun.
#[tokio::test]
async fn policies_that_keep_rows_from_being_changed() {
    for policies in [
        "CREATE POLICY reads ON user_profiles FOR SELECT USING (true)",
        "CREATE POLICY reads ON user_profiles FOR SELECT USING (true);
         CREATE POLICY writes ON user_profiles FOR UPDATE USING (user_id > 'user-5')",
        "CREATE POLICY reads ON user_profiles USING (true) WITH CHECK (user_id > 'user-5')",
        "CREATE POLICY service ON user_profiles USING (true);
         CREATE POLICY fixed ON user_profiles AS RESTRICTIVE FOR UPDATE USING (user_id > 'user-5')",
    ] {
        let (stage, role, error) = refused(&format!("{SHARED} {ON} {policies}")).await;
        assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error:?}");
        assert!(error.to_string().contains("changing rows"), "{error}");
        let vault = stage.vault_at(0, &role.url).await;
        assert_eq!(vault.count_tokens().await.unwrap(), stage.vault(1).await.count_tokens().await.unwrap());
        refuses_to_destroy(&vault, stage.old, "12 in column").await;
        vault.close().await;
    }
}

/// Somebody changes the policies while the count waits for them to.
#[tokio::test]
async fn a_policy_that_changes_before_the_count() {
    for change in [
        "DROP POLICY service ON user_profiles",
        "ALTER POLICY service ON user_profiles USING (user_id > 'user-5')",
        "ALTER POLICY service ON user_profiles TO pg_monitor",
        "CREATE POLICY narrow ON user_profiles AS RESTRICTIVE USING (user_id > 'user-5')",
    ] {
        for isolation in ["read committed", "repeatable read"] {
            let stage = Stage::on(ALL_COLUMNS, USERS).await;
            let isolation = format!("ALTER ROLE guest SET default_transaction_isolation = '{isolation}';");
            let role = Role::create(&stage.db, &format!("{SHARED} {ON} {FORCED} {isolation}")).await;
            let vault = stage.vault_at(0, &role.url).await;
            vault.count_tokens().await.unwrap();
            let mut other = begin(&stage.db.url, change).await;
            let (token_counts, ()) = tokio::join!(vault.count_tokens(), async {
                until_waiting(&stage.db.url, 1).await;
                run(&mut other, "COMMIT").await;
            });
            assert_eq!(token_counts.unwrap_err().kind(), ErrorKind::AccessDenied, "{change}");
            vault.close().await;
        }
    }
}

/// Whatever comes between, a count is of all rows or is none.
#[tokio::test]
async fn no_count_of_a_part_while_policies_change() {
    for [close, open] in [
        [
            "ALTER POLICY service ON user_profiles USING (user_id > 'user-5')",
            "ALTER POLICY service ON user_profiles USING (true)",
        ],
        [
            "CREATE POLICY closed ON user_profiles AS RESTRICTIVE USING (user_id > 'user-5')",
            "DROP POLICY IF EXISTS closed ON user_profiles",
        ],
    ] {
        let [whole, refused] = counts_while("SELECT 1", close, open).await;
        assert!(whole > 0 && refused > 0, "{whole} and {refused}: {close}");
    }
}

/// Nothing can hold these still for as long as a count takes.
#[tokio::test]
async fn no_count_of_a_part_while_rights_change() {
    let team = "ALTER POLICY service ON user_profiles TO TEAM";
    let [whole, refused] =
        counts_while(team, "ALTER ROLE GUEST NOBYPASSRLS", "ALTER ROLE GUEST BYPASSRLS").await;
    assert!(whole > 0 && refused > 0, "{whole} and {refused}");
    let never = [0, MOST_COUNTS];
    assert_eq!(counts_while(team, "REVOKE TEAM FROM GUEST", "GRANT TEAM TO GUEST").await, never);
    let narrow = "CREATE POLICY narrow ON user_profiles AS RESTRICTIVE TO TEAM USING (user_id > 'user-5')";
    assert_eq!(counts_while(narrow, "GRANT TEAM TO GUEST", "REVOKE TEAM FROM GUEST").await, never);
}

/// How many counts were whole and how many refused, while somebody does one and the other in turn.
async fn counts_while(policies: &str, close: &str, open: &str) -> [usize; 2] {
    let stage = Stage::on(ALL_COLUMNS, USERS).await;
    let [guest, team] = [Role::create(&stage.db, SHARED).await, Role::create(&stage.db, "").await];
    let named = |sql: &str| sql.replace("TEAM", &team.name).replace("GUEST", &guest.name);
    let policies = format!(
        "{ON} CREATE POLICY service ON user_profiles TO GUEST USING (true);
         CREATE POLICY part ON user_profiles TO GUEST USING (user_id > 'user-5'); {policies}; {open}"
    );
    stage.db.exec(&named(&policies)).await;
    let (vault, all) =
        (stage.vault_at(0, &guest.url).await, stage.vault(1).await.count_tokens().await.unwrap());
    let start = Instant::now();
    drop(vault.count_tokens().await);
    // some counts fit between two changes, and some do not, however fast the machine is
    let longest = start.elapsed() * 6;
    let (done, changes) = (AtomicBool::new(false), [named(close), named(open)]);
    let ((), tally) = tokio::join!(flip(&stage.db.url, changes, longest, &done), async {
        let tally = counts(&vault, &all).await;
        done.store(true, Ordering::Relaxed);
        tally
    });
    vault.close().await;
    tally
}

/// Does one and the other in turn, with random pauses, until all is done.
async fn flip(url: &str, changes: [String; 2], longest: Duration, done: &AtomicBool) {
    let mut connection = connect(url).await;
    for change in changes.iter().cycle() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        run(&mut connection, change).await;
        tokio::time::sleep(longest.mul_f64(rand::random())).await;
    }
}

/// How many of many counts were whole and how many were refused; there is nothing else.
async fn counts(vault: &Vault, all: &TokenCounts) -> [usize; 2] {
    let mut tally = [0, 0];
    while tally[0] + tally[1] < if tally.contains(&0) { MOST_COUNTS } else { COUNTS } {
        match vault.count_tokens().await {
            Ok(token_counts) => {
                assert_eq!(token_counts, *all, "{tally:?}");
                tally[0] += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error:?}");
                tally[1] += 1;
            }
        }
    }
    tally
}

async fn begin(url: &str, sql: &str) -> PgConnection {
    let mut connection = connect(url).await;
    run(&mut connection, &format!("BEGIN; {sql}")).await;
    connection
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.expect(sql);
}
