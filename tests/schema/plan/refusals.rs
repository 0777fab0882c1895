//! What no step can mend, and what is left to the application.

use retell_vault::schema::{Profile, SchemaPlan, Wanted};
use retell_vault::{ErrorKind, Layout};

use super::{ids, plan, try_plan};
use crate::support::vaults::{Hosts, named_table};
use crate::support::*;

async fn credentials(ddl: &str, layout: &Layout) -> SchemaPlan {
    let db = TestDb::create().await;
    db.exec(ddl).await;
    plan(&db, layout, &Profile::Credentials.into()).await
}

#[tokio::test]
async fn what_is_no_table() {
    let db = TestDb::create().await;
    let missing = Layout::new();
    let error = try_plan(&db.url, &missing, &Profile::Credentials.into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("public.user_profiles does not exist"), "{error}");

    // a view is refused before there is a vault over it
    db.exec("CREATE VIEW user_profiles AS SELECT 'a'::text AS user_id").await;
    let hosts = Hosts::new().await;
    let planned = match hosts.host(0, &db.url).build().await {
        Ok(vault) => vault.schema().plan(Profile::Credentials).await.map(|_| ()),
        Err(error) => Err(error),
    };
    let error = planned.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("is not a table"), "{error}");
}

#[tokio::test]
async fn duplicates_without_the_word_to_move_them() {
    let ddl = "CREATE TABLE user_profiles (user_id text); INSERT INTO user_profiles VALUES ('a'), ('a')";
    let plan = credentials(ddl, &Layout::new()).await;
    assert!(!ids(&plan).contains(&"owner.unique"));
    let blocked = &plan.blocked[0];
    assert_eq!(blocked.object, "owner of public.user_profiles");
    assert!(blocked.hint.contains("--remove-duplicates"), "{}", blocked.hint);
}

/// Removing a row must not remove rows of other tables, which no backup of ours would hold.
#[tokio::test]
async fn duplicates_that_others_hang_on() {
    let db = TestDb::create().await;
    db.exec(
        "CREATE TABLE user_profiles (id int PRIMARY KEY, user_id text);
         CREATE TABLE orders (profile int REFERENCES user_profiles ON DELETE CASCADE);
         INSERT INTO user_profiles VALUES (1, 'a'), (2, 'a')",
    )
    .await;
    let wanted = Wanted::from(Profile::Credentials).remove_duplicates();
    let plan = plan(&db, &Layout::new(), &wanted).await;
    assert!(plan.blocked[0].reason.contains("public.orders"), "{}", plan.blocked[0].reason);
    assert!(!ids(&plan).iter().any(|id| id.starts_with("owner.")));
}

#[tokio::test]
async fn a_partition_key_that_is_not_the_owner() {
    let ddl = "CREATE TABLE user_profiles (user_id text, region text) PARTITION BY LIST (region)";
    let plan = credentials(ddl, &Layout::new()).await;
    assert!(plan.blocked.is_empty(), "the vault works without a unique constraint");
    assert!(plan.notes.iter().any(|note| note.contains("partitioned by region")), "{:?}", plan.notes);
}

#[tokio::test]
async fn columns_that_cannot_be_written() {
    let ddl = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, phone_number text GENERATED ALWAYS AS ('1') STORED);
        COMMENT ON COLUMN user_profiles.phone_number IS 'retell-vault: phone_number of retell'";
    let plan = credentials(ddl, &Layout::new()).await;
    assert_eq!(plan.blocked[0].object, "column public.user_profiles.phone_number");
    assert!(!ids(&plan).contains(&"column.phone_number"));
}

#[tokio::test]
async fn columns_of_the_application_keep_their_type() {
    let db = TestDb::create().await;
    db.exec("CREATE TABLE user_profiles (user_id text PRIMARY KEY, department int, preferences text)").await;
    let plan = plan(&db, &Layout::new(), &Profile::FullProfile.into()).await;
    for column in ["department", "preferences"] {
        assert!(
            !ids(&plan).iter().any(|id| *id == format!("column.{column}") || *id == format!("type.{column}"))
        );
        assert!(
            plan.notes.iter().any(|note| note.contains(&format!("user_profiles.{column} has type"))),
            "{:?}",
            plan.notes
        );
    }
    assert!(ids(&plan).contains(&"index.retell_vault_user_profiles_department"));
    assert!(!ids(&plan).contains(&"index.retell_vault_user_profiles_preferences"));
}

/// A layout that uses a name of the full profile for a field of its own.
#[tokio::test]
async fn no_column_is_planned_twice() {
    let db = TestDb::create().await;
    db.exec("CREATE TABLE people (department text PRIMARY KEY)").await;
    let layout = named_table("people")
        .user_column("department")
        .and_then(|layout| layout.column(retell_vault::config::Field::named("phone_number"), "phone"))
        .and_then(|layout| layout.column(retell_vault::config::Field::named("webhook_config"), "metadata"))
        .and_then(|layout| layout.sync_column("updated_at"))
        .unwrap();
    let plan = plan(&db, &layout, &Profile::FullProfile.into()).await;
    let mut unique = ids(&plan);
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), plan.steps.len(), "{:?}", ids(&plan));
    assert!(ids(&plan).contains(&"column.phone"));
}
