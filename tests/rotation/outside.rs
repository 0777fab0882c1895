//! Tokens where the layout does not look: a key that they name is not destroyed, and nothing is called complete
//! that was not looked at.

use retell_vault::rotation::RotateOptions;
use retell_vault::schema::{ApplyOptions, Profile, Wanted};
use retell_vault::{ErrorKind, Vault};

use sqlx::Executor as _;

use crate::support::faults::{Lock, connect, number, until, until_waiting};
use crate::support::role::Role;
use crate::support::rotation::*;
use crate::support::vaults::*;

const KEY: &str = "encrypted_retell_api_key";
/// A token of one owner under the old key.
const SAVED: &str = "CREATE TABLE saved AS SELECT user_id, encrypted_retell_api_key AS token FROM user_profiles WHERE user_id = 'user-1'";
const CLEARED: &str = "UPDATE user_profiles SET";

async fn not_looked_at(vault: &Vault) -> Vec<String> {
    let rotation = completes(vault).await;
    let estimate = vault.estimate_rotation(&RotateOptions::new()).await.unwrap();
    assert_eq!(estimate.token_counts.outside.not_looked_at, rotation.token_counts.outside.not_looked_at);
    // the application's own
    let (name, places) = rotation.token_counts.outside.not_looked_at.split_first().unwrap();
    assert_eq!(name, "column public.user_profiles.full_name");
    places.to_vec()
}

/// A column that was renamed, with and without an empty one under the old name, keeps its key.
#[tokio::test]
async fn a_column_under_another_name() {
    for then in ["", "ALTER TABLE user_profiles ADD COLUMN encrypted_retell_api_key text"] {
        let stage = Stage::on(ALL_COLUMNS, 10).await;
        stage.db.exec(&format!("ALTER TABLE user_profiles RENAME COLUMN {KEY} TO old_key; {then}")).await;
        let vault = stage.vault(0).await;
        // what is left in the other columns is no whole record, and stays
        rotate(&vault, &small()).await.unwrap();
        stage.db.exec("UPDATE user_profiles SET encrypted_agent_config = NULL, encrypted_call_agent_id = NULL, encrypted_sms_agent_id = NULL").await;
        assert_eq!(not_looked_at(&vault).await, ["column public.user_profiles.old_key"], "{then}");
        refuses_to_destroy(&vault, stage.old, "10 in column public.user_profiles.old_key").await;

        // with the right layout it is counted, rotated, and then the key may go
        let layout =
            stage.layout.clone().column(retell_vault::config::Field::named("api_key"), "old_key").unwrap();
        let named = stage.hosts.host(1, &stage.db.url).layout(layout).build().await.unwrap();
        refuses_to_destroy(&named, stage.old, "in column old_key").await;
        stage.db.exec(&format!("{CLEARED} old_key = NULL")).await;
        vault.destroy_key(stage.old, at_once()).await.unwrap();
    }
}

/// Rows that `schema apply` moved aside, which a rollback would put back.
#[tokio::test]
async fn duplicates_that_were_moved_aside() {
    let stage = Stage::on(&ALL_COLUMNS.replace("user_id text PRIMARY KEY", "user_id text NOT NULL"), 3).await;
    stage.db.exec("INSERT INTO user_profiles SELECT * FROM user_profiles WHERE user_id = 'user-1'").await;
    let vault = stage.vault(0).await;
    let plan = vault.schema().plan(Wanted::from(Profile::Credentials).remove_duplicates()).await.unwrap();
    vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    let aside = "public.retell_vault_duplicates_user_profiles";
    let found = completes(&vault).await.token_counts.outside.tokens;
    let found: Vec<_> =
        found.iter().map(|found| (found.place.clone(), found.in_use, found.own_table)).collect();
    assert!(found.contains(&(format!("{aside}.{KEY}"), 1, true)), "{found:?}");
    refuses_to_destroy(&vault, stage.old, &format!("1 in column {aside}.{KEY}")).await;
    stage.db.exec(&format!("DELETE FROM {aside}")).await;
    vault.destroy_key(stage.old, at_once()).await.unwrap();
}

/// The kind: whatever the type of a column is, if it can hold the text of a token it is looked at.
#[tokio::test]
async fn a_column_of_any_type_that_can_hold_text() {
    let stage = Stage::on(ALL_COLUMNS, 5).await;
    stage
        .db
        .exec(&format!(
            "CREATE DOMAIN note AS varchar(4000); CREATE TYPE pair AS (a int, b text);
            CREATE DOMAIN blob AS bytea; CREATE TYPE bytes_pair AS (a int, b bytea);
            {SAVED};
            CREATE TABLE archived (kept_text text) INHERITS (user_profiles);
            CREATE TABLE retell_vault_copy (t text);
            INSERT INTO archived (user_id) VALUES ('archived');
            ALTER TABLE user_profiles ADD n int, ADD d timestamptz, ADD ids int[], ADD u uuid"
        ))
        .await;
    let vault = stage.vault(0).await;
    let token = "(SELECT token FROM saved)";
    let columns = [
        ("text", format!("'see ' || {token}")),
        ("varchar(2000)", token.to_owned()),
        ("char(2000)", token.to_owned()),
        ("note", token.to_owned()),
        ("text[]", format!("ARRAY['x', {token}]")),
        ("note[]", format!("ARRAY[{token}]::note[]")),
        ("json", format!("json_build_object('a', json_build_array({token}))")),
        ("jsonb", format!("jsonb_build_object('a', jsonb_build_array({token}))")),
        ("jsonb[]", format!("ARRAY[to_jsonb({token})]")),
        ("xml", format!("xmlelement(name a, {token})")),
        ("pair", format!("ROW(1, {token})::pair")),
        ("bytea", format!("convert_to({token}, 'UTF8')")),
        ("blob", format!("convert_to({token}, 'UTF8')")),
        ("bytea[]", format!("ARRAY[convert_to({token}, 'UTF8')]")),
        ("blob[]", format!("ARRAY[convert_to({token}, 'UTF8')]::blob[]")),
        ("bytes_pair", format!("ROW(1, convert_to({token}, 'UTF8'))::bytes_pair")),
        ("tsvector", format!("array_to_tsvector(ARRAY[{token}])")),
    ];
    completes(&vault).await;
    for (kind, value) in columns {
        stage
            .db
            .exec(&format!(
                "ALTER TABLE user_profiles ADD COLUMN odd {kind};
                {CLEARED} odd = {value} WHERE user_id = 'user-1'"
            ))
            .await;
        assert_eq!(not_looked_at(&vault).await[0], "column public.user_profiles.odd", "{kind}");
        refuses_to_destroy(&vault, stage.old, "1 in column public.user_profiles.odd").await;
        stage.db.exec("ALTER TABLE user_profiles DROP COLUMN odd CASCADE").await;
    }
    for (place, set, cleared) in [
        (
            "public.archived.kept_text",
            format!("UPDATE archived SET user_id = 'user-1', kept_text = {token}"),
            "TRUNCATE archived",
        ),
        (
            "public.retell_vault_copy.t",
            format!("INSERT INTO retell_vault_copy VALUES ({token})"),
            "TRUNCATE retell_vault_copy",
        ),
        (
            "public.user_profiles.encrypted_agent_config",
            format!(
                "{CLEARED} encrypted_agent_config = encrypted_agent_config || jsonb_build_object('note', {token}) WHERE user_id = 'user-1'"
            ),
            "UPDATE user_profiles SET encrypted_agent_config = encrypted_agent_config - 'note'",
        ),
    ] {
        stage.db.exec(&set).await;
        let error = vault.destroy_key(stage.old, at_once()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyInUse, "{place}: {error}");
        let column = place.rsplit('.').next().unwrap();
        assert!(error.to_string().contains(column), "{place}: {error}");
        stage.db.exec(cleared).await;
    }
    assert_eq!(
        not_looked_at(&vault).await,
        ["table public.archived"],
        "numbers, times and ids hold no token, and a table of ours is counted"
    );
    vault.destroy_key(stage.old, at_once()).await.unwrap();
    stage.all_load().await;
}

/// What may not be read was not looked at: the key stays.
#[tokio::test]
async fn a_column_that_the_role_may_not_read() {
    let stage = Stage::on(ALL_COLUMNS, 5).await;
    let columns = "user_id, encrypted_retell_api_key, encrypted_agent_config, encrypted_call_agent_id, encrypted_sms_agent_id";
    let script = format!(
        "ALTER TABLE user_profiles ADD COLUMN private text;
        GRANT UPDATE ON user_profiles TO guest; GRANT SELECT ({columns}, full_name, phone_number, webhook_config, retell_integration_status, last_retell_sync) ON user_profiles TO guest"
    );
    let role = Role::create(&stage.db, &script).await;
    let vault = stage.vault_at(0, &role.url).await;
    assert_eq!(not_looked_at(&vault).await, ["column public.user_profiles.private"]);
    let error = vault.destroy_key(stage.old, at_once()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
    assert!(error.to_string().contains("column public.user_profiles.private"), "{error}");
    stage.db.exec(&format!("GRANT SELECT ON user_profiles TO {}", role.name)).await;
    vault.destroy_key(stage.old, at_once()).await.unwrap();
    vault.close().await;
}

/// Tables that inherit from the table or from one of our own, whatever else they inherit from.
#[tokio::test]
async fn tables_that_inherit() {
    let stage = Stage::on(ALL_COLUMNS, 3).await;
    stage
        .db
        .exec(&format!(
            "{SAVED}; ALTER TABLE user_profiles ALTER user_id SET DEFAULT 'user-1';
            CREATE TABLE mixin (note text); CREATE TABLE mixed () INHERITS (user_profiles, mixin);
            CREATE TABLE retell_vault_copy (t text); CREATE TABLE child (note text) INHERITS (retell_vault_copy);
            CREATE SCHEMA other; CREATE TABLE other.\"A.b\" (note text) INHERITS (mixed)"
        ))
        .await;
    let vault = stage.vault(0).await;
    completes(&vault).await;
    for (table, place) in [
        ("mixed", "public.mixed.note"),
        ("child", "public.child.note"),
        ("other.\"A.b\"", "public.mixed.note"),
        ("retell_vault_copy", "public.retell_vault_copy.t"),
    ] {
        let column = place.rsplit('.').next().unwrap();
        stage.db.exec(&format!("INSERT INTO {table} ({column}) SELECT token FROM saved")).await;
        refuses_to_destroy(&vault, stage.old, &format!("1 in column {place}")).await;
        stage.db.exec(&format!("TRUNCATE {table}")).await;
    }
    vault.destroy_key(stage.old, at_once()).await.unwrap();
}

/// A partition whose detaching was interrupted is no longer read with its parent.
#[tokio::test]
async fn a_partition_that_is_half_detached() {
    let parts = "PARTITION BY HASH (user_id);
        CREATE TABLE p0 PARTITION OF user_profiles FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE p1 PARTITION OF user_profiles FOR VALUES WITH (MODULUS 2, REMAINDER 1)";
    let stage = Stage::on(&format!("{} {parts}", ALL_COLUMNS.split(';').next().unwrap()), 8).await;
    let reader = Lock::by(&stage.db.url, "BEGIN; SELECT count(*) FROM user_profiles").await;
    let mut operator = connect(&stage.db.url).await;
    operator.execute("SET statement_timeout = '500ms'").await.unwrap();
    operator.execute("ALTER TABLE user_profiles DETACH PARTITION p1 CONCURRENTLY").await.unwrap_err();
    reader.release().await;
    let pending = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending";
    assert_eq!(number(&stage.db.url, pending).await, 1);
    let vault = stage.vault(0).await;
    completes(&vault).await;
    refuses_to_destroy(&vault, stage.old, "in column public.p1.encrypted_retell_api_key").await;
    stage.db.exec("DROP TABLE p1").await;
    vault.destroy_key(stage.old, at_once()).await.unwrap();
}

/// What another role planted under a name like ours runs nothing with our rights: its table is not even read.
#[tokio::test]
async fn a_table_that_another_role_planted() {
    let stage = Stage::on(ALL_COLUMNS, 3).await;
    stage.db.exec("CREATE TABLE witness (who text); GRANT INSERT ON witness TO PUBLIC").await;
    let f = "FUNCTION f(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS";
    let script = format!(
        "GRANT CREATE, USAGE ON SCHEMA public TO guest; SET ROLE guest;
        CREATE {f} $$ BEGIN RETURN i; END $$;
        CREATE TABLE retell_vault_planted (t text); CREATE INDEX ON retell_vault_planted ((f(1)));
        CREATE FUNCTION w() RETURNS void LANGUAGE sql AS $$ INSERT INTO public.witness VALUES (current_user) $$;
        CREATE OR REPLACE {f} $$ BEGIN PERFORM public.w(); RETURN i; END $$; RESET ROLE"
    );
    let role = Role::create(&stage.db, &script).await;
    let witness = "SELECT count(*) FROM witness";
    stage.db.exec("SELECT count(*) FROM retell_vault_planted").await;
    assert_eq!(number(&stage.db.url, witness).await, 1, "whoever reads it runs it");
    let vault = stage.vault(0).await;
    completes(&vault).await;
    let error = vault.destroy_key(stage.old, at_once()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
    assert!(error.to_string().contains("table public.retell_vault_planted belongs to"), "{error}");
    assert_eq!(number(&stage.db.url, witness).await, 1, "nothing of his ran");
    stage.db.exec("DROP TABLE retell_vault_planted").await;
    vault.destroy_key(stage.old, at_once()).await.unwrap();
    drop(role);
}

/// A type with a cast of its own, as an extra column and as one of the layout, is printed and not cast.
#[tokio::test]
async fn a_type_with_a_cast_that_runs_a_function() {
    let stage = Stage::on(ALL_COLUMNS, 3).await;
    stage
        .db
        .exec(&format!(
            "{SAVED}; CREATE TABLE witness (who text); CREATE TYPE odd AS (a text);
            CREATE FUNCTION odd_text(odd) RETURNS text LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO public.witness VALUES (current_user); RETURN ''; END $$;
            CREATE CAST (odd AS text) WITH FUNCTION odd_text(odd);
            ALTER TABLE user_profiles ADD extra odd"
        ))
        .await;
    let vault = stage.vault(0).await;
    completes(&vault).await;
    let odd = "(SELECT ROW(token)::odd FROM saved)";
    stage.db.exec(&format!("{CLEARED} extra = {odd}")).await;
    // of three copies one is in a row of its owner
    refuses_to_destroy(&vault, stage.old, "1 in column public.user_profiles.extra").await;
    let column = "encrypted_sms_agent_id";
    stage
        .db
        .exec(&format!(
            "ALTER TABLE user_profiles DROP extra, DROP {column}; ALTER TABLE user_profiles ADD {column} odd;
            {CLEARED} {column} = {odd}"
        ))
        .await;
    refuses_to_destroy(&vault, stage.old, &format!("3 in column {column}")).await;
    assert_eq!(number(&stage.db.url, "SELECT count(*) FROM witness").await, 0);
}

/// What holds no token hinders nothing, however odd it is.
#[tokio::test]
async fn columns_and_tables_that_are_hard_to_read() {
    let stage = Stage::on(ALL_COLUMNS, 3).await;
    let vault = stage.vault(0).await;
    completes(&vault).await;
    stage
        .db
        .exec(&format!(
            "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
            ALTER TABLE user_profiles ADD email text COLLATE ci DEFAULT 'somebody.with.a.long.name@example.com', ADD c text COLLATE \"C\" DEFAULT 'x',
                ADD \"a.\"\"B; drop\" text DEFAULT 'x', ADD \"$1\" text DEFAULT 'x', ADD t text, ADD at int;
            ALTER TABLE user_profiles ALTER {KEY} TYPE text COLLATE ci;
            CREATE MATERIALIZED VIEW retell_vault_view AS SELECT * FROM user_profiles WITH NO DATA;
            CREATE VIEW retell_vault_broken AS SELECT (1 / 0)::text AS t; CREATE TABLE retell_vault_none ();
            CREATE TABLE retell_vault_ci (email text COLLATE ci); INSERT INTO retell_vault_ci VALUES ('somebody.with.a.long.name@example.com')"
        ))
        .await;
    vault.destroy_key(stage.old, at_once()).await.unwrap();
    stage.all_load().await;
}

/// A rollback puts rows back into the table while we count: what is counted is of one moment.
#[tokio::test]
async fn rows_that_are_put_back_meanwhile() {
    let stage = Stage::on(ALL_COLUMNS, 3).await;
    let aside = "retell_vault_duplicates_user_profiles";
    let first = "user_profiles WHERE user_id = 'user-1'";
    stage.db.exec(&format!("CREATE TABLE {aside} AS SELECT * FROM {first}; DELETE FROM {first}")).await;
    let vault = stage.vault(0).await;
    completes(&vault).await;
    let back = format!("BEGIN; INSERT INTO user_profiles SELECT * FROM {aside}; TRUNCATE {aside}");
    let rollback = Lock::by(&stage.db.url, &back).await;
    let (destroyed, ()) = tokio::join!(vault.destroy_key(stage.old, at_once()), async {
        until_waiting(&stage.db.url, 1).await;
        rollback.release().await;
    });
    assert_eq!(destroyed.unwrap_err().kind(), ErrorKind::KeyInUse);
}

/// Policies hide rows of a table of ours: the error names that table.
#[tokio::test]
async fn a_table_of_ours_with_hidden_rows() {
    let stage = Stage::on(ALL_COLUMNS, 3).await;
    let script =
        "CREATE TABLE retell_vault_steps (t text); ALTER TABLE retell_vault_steps ENABLE ROW LEVEL SECURITY;
        GRANT SELECT ON retell_vault_steps TO guest; GRANT SELECT, UPDATE ON user_profiles TO guest";
    let role = Role::create(&stage.db, script).await;
    let vault = stage.vault_at(0, &role.url).await;
    completes(&vault).await;
    let error = vault.destroy_key(stage.old, at_once()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
    assert!(error.to_string().contains("public.retell_vault_steps"), "{error}");
    vault.close().await;
}

/// CASES 37: the owner's column is generated.
#[tokio::test]
async fn an_owner_column_that_is_generated() {
    let columns = "CREATE TABLE people (id uuid PRIMARY KEY, owner text GENERATED ALWAYS AS (id::text) STORED UNIQUE,
            encrypted_retell_api_key text, encrypted_agent_config jsonb, old_key text);
        INSERT INTO people SELECT ('00000000-0000-4000-8000-00000000000' || n)::uuid FROM generate_series(1, 3) AS n";
    let owners = (1..=3).map(|n| owner(&format!("00000000-0000-4000-8000-00000000000{n}"))).collect();
    let layout = retell_vault::Layout::new().table("people").unwrap().user_column("owner").unwrap();
    let stage = Stage::with(columns, layout, owners).await;
    stage.db.exec("UPDATE people SET old_key = encrypted_retell_api_key").await;
    let vault = stage.vault(0).await;
    completes(&vault).await;
    refuses_to_destroy(&vault, stage.old, "3 in column public.people.old_key").await;
    stage
        .db
        .exec("UPDATE people AS t SET old_key = s.old_key FROM people AS s WHERE s.id::text LIKE '%1'")
        .await;
    refuses_to_destroy(&vault, stage.old, "1 in column public.people.old_key").await;
    stage.db.exec("UPDATE people SET old_key = NULL WHERE id::text LIKE '%1'").await;
    vault.destroy_key(stage.old, at_once()).await.unwrap();
    stage.all_load().await;
}

/// Whose a token is cannot be told: the row's owner is none, the text is long, a later version or another kind wrote it.
#[tokio::test]
async fn tokens_of_which_nobody_can_tell_whose_they_are() {
    let stage = Stage::on(ALL_COLUMNS, 3).await;
    let vault = stage.vault(0).await;
    stage.db.exec(&format!("{SAVED}; ALTER TABLE user_profiles ADD notes text")).await;
    completes(&vault).await;
    let (token, notes) = ("(SELECT token FROM saved)", "1 in column public.user_profiles.notes");
    for (value, keeps) in [
        // of the row's owner, with something behind it that leaves no gap
        (format!("{token} || {token}"), true),
        (format!("{token} || '_old'"), true),
        (format!("repeat('a ', 600000) || {token}"), true),
        (format!("replace({token}, 'rv1.', 'rv2.')"), true),
        (format!("replace({token}, '.api_key.', '.auth_token.')"), true),
        (format!("left({token}, 120)"), false),
        (format!("replace({token}, '.api_key.', '.webhook_key.')"), false),
        (format!("overlay({token} PLACING 'AAAA' FROM 60 FOR 4)"), false),
        (format!("upper({token})"), false),
    ] {
        stage.db.exec(&format!("{CLEARED} notes = {value} WHERE user_id = 'user-1'")).await;
        if keeps {
            refuses_to_destroy(&vault, stage.old, notes).await;
        } else {
            let token_counts = vault.count_all_tokens(|_| {}).await.unwrap();
            assert_eq!(token_counts.outside.evidence(stage.old).count(), 0, "{value}: {token_counts:?}");
        }
    }
    stage
        .db
        .exec(&format!("{CLEARED} notes = NULL; INSERT INTO user_profiles (user_id, notes) SELECT E'a\tb', token FROM saved"))
        .await;
    refuses_to_destroy(&vault, stage.old, notes).await;
    let nobody = at_once().not_evidence("public.user_profiles.notes");
    let destroyed = vault.destroy_key_with(stage.old, nobody, |_| {}).await.unwrap();
    let found: Vec<_> =
        destroyed.outside.tokens.iter().map(|found| (found.tokens, found.not_evidence)).collect();
    assert_eq!(found, [(1, true)]);
    stage.all_load().await;
}

/// A column that may not be read, and a whole table of ours, for which an operator vouches.
#[tokio::test]
async fn what_may_not_be_read_is_vouched_for() {
    let stage = Stage::on(ALL_COLUMNS, 3).await;
    let columns = "user_id, encrypted_retell_api_key, encrypted_agent_config, encrypted_call_agent_id, encrypted_sms_agent_id, \
        full_name, phone_number, webhook_config, retell_integration_status, last_retell_sync";
    let script = format!(
        "ALTER TABLE user_profiles ADD private text; CREATE TABLE retell_vault_copy (a text, b text);
        GRANT UPDATE ON user_profiles TO guest; GRANT SELECT ({columns}) ON user_profiles TO guest"
    );
    let role = Role::create(&stage.db, &script).await;
    let vault = stage.vault_at(0, &role.url).await;
    let places = not_looked_at(&vault).await;
    assert_eq!(places, ["column public.user_profiles.private", "table public.retell_vault_copy"]);
    let mut options = at_once();
    for (name, missing) in [
        ("user_profiles.private", "user_profiles.private"),
        ("retell_vault_copy.a", "retell_vault_copy.a"),
        ("public.retell_vault_copy.b", "retell_vault_copy.b"),
    ] {
        let error = vault.destroy_key(stage.old, options.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
        assert!(error.to_string().contains(missing) && error.hint().contains("--not-evidence"), "{error:?}");
        options = options.not_evidence(name);
    }
    let destroyed = vault.destroy_key_with(stage.old, options, |_| {}).await.unwrap();
    assert_eq!(destroyed.outside.not_looked_at, places);
    vault.close().await;
}

/// Dropping the search destroys nothing, and leaves no session that goes on.
#[tokio::test]
async fn a_search_that_is_given_up() {
    let stage = Stage::on(ALL_COLUMNS, 3).await;
    let vault = stage.vault(0).await;
    completes(&vault).await;
    stage
        .db
        .exec(
            "ALTER TABLE user_profiles ADD history jsonb; INSERT INTO user_profiles (user_id, history)
            SELECT 'many-' || n, jsonb_build_object('text', repeat(md5(n::text), 60)) FROM generate_series(1, 40000) AS n",
        )
        .await;
    let (under_way, heard) = (tokio::sync::Notify::new(), std::sync::atomic::AtomicU64::new(0));
    let listener = |progress: &retell_vault::rotation::CountProgress| {
        heard.store(progress.visited, std::sync::atomic::Ordering::Relaxed);
        under_way.notify_one();
    };
    tokio::select! {
        biased;
        () = under_way.notified() => {}
        done = vault.destroy_key_with(stage.old, at_once(), listener) => panic!("it ended: {done:?}"),
    }
    assert!((1000..40_000).contains(&heard.load(std::sync::atomic::Ordering::Relaxed)), "{heard:?}");
    let at_work =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'
        AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    until(async || number(&stage.db.url, at_work).await == 0).await;
    assert_eq!(vault.keys()[0].state, retell_vault::keyring::KeyState::Retired);
    vault.destroy_key(stage.old, at_once()).await.unwrap();
    stage.all_load().await;
}

/// Through a pooler in transaction mode a search is one transaction, and one that is given up does not come back to others.
#[tokio::test]
async fn a_search_through_a_pooler() {
    let stage = Stage::on(ALL_COLUMNS, 3).await;
    stage
        .db
        .exec(&format!(
            "ALTER TABLE user_profiles ADD notes text; {CLEARED} notes = {KEY} WHERE user_id = 'user-2';
            INSERT INTO user_profiles (user_id, notes) SELECT 'many-' || n, repeat(md5(n::text), 60) FROM generate_series(1, 20000) AS n"
        ))
        .await;
    let vault = stage.vault_at(0, &stage.db.bouncer_url()).await;
    completes(&vault).await;
    let notes = "1 in column public.user_profiles.notes";
    let (mut given_up, mut ended) = (0, 0);
    while given_up < 4 {
        let under_way = tokio::sync::Notify::new();
        tokio::select! {
            biased;
            () = under_way.notified() => given_up += 1,
            // on a busy machine all rows may have arrived when the first of them is counted
            done = vault.destroy_key_with(stage.old, at_once(), |_| under_way.notify_one()) => {
                assert_eq!(done.unwrap_err().kind(), ErrorKind::KeyInUse);
                ended += 1;
            }
        }
        assert!(ended < 20, "{given_up} searches were given up, and {ended} ended");
    }
    refuses_to_destroy(&vault, stage.old, notes).await;
    stage.db.exec(&format!("{CLEARED} notes = NULL")).await;
    vault.destroy_key(stage.old, at_once()).await.unwrap();
    vault.close().await;
    stage.all_load().await;
}
