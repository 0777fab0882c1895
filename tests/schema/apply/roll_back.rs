//! Taking back what holds data, and what others have changed since.

use retell_vault::ErrorKind;
use retell_vault::schema::{Profile, RollBackOptions, SchemaEvent, Wanted};

use super::{BARE, Stage, has_journal, migrate, plan, roll_back, value};
use crate::support::dump::schema_of;
use crate::support::supabase;
use crate::support::vaults::*;

#[tokio::test]
async fn data_is_kept_or_copied_but_never_lost() {
    let stage = Stage::on(BARE).await;
    supabase::roles(&stage.db).await;
    let before = schema_of(&stage.db).await;
    let vault = stage.vault(0).await;
    migrate(&vault, Profile::Credentials).await;
    vault.store(&owner("user-7"), &full_config(7)).await.unwrap();
    stage.db.exec("UPDATE user_profiles SET phone_number = '+1415555' WHERE user_id = 'user-8'").await;
    let token: String =
        value(&stage.db, "SELECT encrypted_retell_api_key FROM user_profiles WHERE user_id = 'user-7'").await;

    let applied = schema_of(&stage.db).await;
    let error = roll_back(&vault).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema, "{error:?}");
    assert!(error.to_string().contains("holds data in 1 row"), "{error}");
    assert!(error.hint().contains("--allow-data-loss"), "{error:?}");
    assert_eq!(schema_of(&stage.db).await, applied, "nothing is undone, not even what holds no data");

    let mut told = Vec::new();
    let listener = |event: SchemaEvent<'_>| {
        if let SchemaEvent::BackedUp(table) = event {
            told.push(table.to_owned());
        }
    };
    let options = RollBackOptions::new().allow_data_loss();
    let undone = vault.schema().roll_back(&options, listener).await.unwrap();
    assert_eq!(undone.backups, told);
    assert_eq!(undone.backups.len(), 8, "one for each column: {told:?}");
    // the name of the column may be cut from that of the table
    let named = "SELECT table_schema || '.' || table_name FROM information_schema.columns
        WHERE starts_with(table_name, 'retell_vault_backup_') AND column_name = 'encrypted_retell_api_key'";
    let backup: String = value(&stage.db, named).await;
    assert!(undone.backups.contains(&backup));
    let kept = &format!("SELECT encrypted_retell_api_key FROM {backup} WHERE user_id = 'user-7'");
    assert_eq!(value::<String>(&stage.db, kept).await, token);
    let phones = "SELECT count(*) FROM retell_vault_backup_user_profiles_column_phone_number";
    assert_eq!(value::<i64>(&stage.db, phones).await, 2);
    for role in ["anon", "authenticated", "service_role"] {
        let mut session = supabase::Session::of(&stage.db, role, None).await;
        assert_eq!(session.ask(kept).await.unwrap_err().code, "42501");
    }
    for backup in &undone.backups {
        stage.db.exec(&format!("DROP TABLE {backup}")).await;
    }
    assert_eq!(schema_of(&stage.db).await, before);
}

/// A second backup of the same column does not meet the first.
#[tokio::test]
async fn backups_get_names_of_their_own() {
    let stage = Stage::on(BARE).await;
    let vault = stage.vault(0).await;
    let mut backups = Vec::new();
    for round in 0..3 {
        migrate(&vault, Profile::Credentials).await;
        stage.db.exec(&format!("UPDATE user_profiles SET phone_number = 'round {round}'")).await;
        let options = RollBackOptions::new().allow_data_loss();
        backups.extend(vault.schema().roll_back(&options, |_| {}).await.unwrap().backups);
    }
    let base = "public.retell_vault_backup_user_profiles_column_phone_number";
    assert_eq!(backups, [base.to_owned(), format!("{base}_2"), format!("{base}_3")]);
    for (round, backup) in backups.iter().enumerate() {
        let phone: String = value(&stage.db, &format!("SELECT DISTINCT phone_number FROM {backup}")).await;
        assert_eq!(phone, format!("round {round}"));
    }
}

/// Rows that come between the look and the lock count as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_comes_at_the_last_moment() {
    let stage = Stage::on(BARE).await;
    let vault = stage.vault(0).await;
    migrate(&vault, Profile::Credentials).await;
    // a writer that has written and not committed: seen by no count, and waited for by the lock
    let writer = "BEGIN; UPDATE user_profiles SET phone_number = '+1415555' WHERE user_id = 'user-1'";
    let mut writer = holding(&stage, writer).await;
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut tell = Some(tell);
    let listener = move |event: SchemaEvent<'_>| {
        if matches!(event, SchemaEvent::Locked(_))
            && let Some(tell) = tell.take()
        {
            tell.send(()).unwrap();
        }
    };
    let options = RollBackOptions::new().lock_timeout(std::time::Duration::from_millis(50));
    let commit = async {
        told.await.unwrap();
        sqlx::raw_sql("COMMIT").execute(&mut writer).await.unwrap();
    };
    let schema = vault.schema();
    let (undone, ()) = tokio::join!(schema.roll_back(&options, listener), commit);
    let error = undone.unwrap_err();
    assert!(
        error.to_string().contains("phone_number of public.user_profiles holds data in 1 row"),
        "{error}"
    );
    let phone = "SELECT phone_number FROM user_profiles WHERE user_id = 'user-1'";
    assert_eq!(value::<String>(&stage.db, phone).await, "+1415555");
    // what was taken back before comes again
    migrate(&vault, Profile::Credentials).await;
    assert!(plan(&vault, Profile::Credentials).await.is_empty());
}

async fn holding(stage: &Stage, sql: &str) -> sqlx::PgConnection {
    let mut connection = super::faults::connect(&stage.db.url).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection
}

/// What others have removed meanwhile is made again, and recorded once.
#[tokio::test]
async fn what_others_removed_comes_back_and_is_recorded_once() {
    let stage = Stage::on(BARE).await;
    let before = schema_of(&stage.db).await;
    let vault = stage.vault(0).await;
    let first = migrate(&vault, Profile::Credentials).await;
    let applied = schema_of(&stage.db).await;
    stage.db.exec("ALTER TABLE user_profiles DROP COLUMN last_retell_sync").await;
    let error = roll_back(&vault).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema, "{error:?}");
    assert!(
        error.to_string().contains("column.last_retell_sync") && error.hint().contains("apply"),
        "{error:?}"
    );
    let again = migrate(&vault, Profile::Credentials).await;
    assert!(again.steps.contains(&"column.last_retell_sync".to_owned()), "{again:?}");
    assert_eq!(schema_of(&stage.db).await.len(), applied.len());
    let mut undone = roll_back(&vault).await.unwrap().steps;
    undone.sort();
    let mut all = first.steps;
    all.sort();
    assert_eq!(undone, all, "each is recorded once");
    assert!(!has_journal(&stage.db).await);
    assert_eq!(schema_of(&stage.db).await, before);
}

/// A trigger that drops rows of owners who have one would lose what was kept beside.
#[tokio::test]
async fn rows_that_a_trigger_keeps_out_are_not_lost() {
    let stage = Stage::on(
        "CREATE TABLE user_profiles (user_id text, n int UNIQUE);
         INSERT INTO user_profiles VALUES ('twice', 1), ('twice', 2);
         CREATE FUNCTION only_new() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF EXISTS (SELECT FROM public.user_profiles WHERE user_id = new.user_id) THEN RETURN NULL; END IF;
           RETURN new; END $$;
         CREATE TRIGGER only_new BEFORE INSERT ON user_profiles FOR EACH ROW EXECUTE FUNCTION only_new()",
    )
    .await;
    let vault = stage.vault(0).await;
    migrate(&vault, Wanted::from(Profile::Credentials).remove_duplicates()).await;
    let error = roll_back(&vault).await.unwrap_err();
    assert!(error.hint().contains("DISABLE TRIGGER"), "{error:?}");
    let kept = "SELECT n FROM retell_vault_duplicates_user_profiles";
    assert_eq!(value::<i32>(&stage.db, kept).await, 1);
    stage.db.exec("ALTER TABLE user_profiles DISABLE TRIGGER only_new").await;
    roll_back(&vault).await.unwrap();
    assert_eq!(value::<i64>(&stage.db, "SELECT count(*) FROM user_profiles").await, 2);
}
