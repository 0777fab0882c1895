//! What is found out by looking at rows, and when it is not.

use retell_vault::Layout;
use retell_vault::schema::{Profile, SchemaPlan, Wanted};

use super::{ids, plan, try_plan, whole_plan};
use crate::support::role::Role;
use crate::support::rows::value;
use crate::support::schema::run_steps;
use crate::support::*;

/// Row level security hides rows from us: then the index is planned, and what is not known is said.
#[tokio::test]
async fn rows_that_we_may_not_see_prove_nothing() {
    let db = TestDb::create().await;
    db.exec(
        "CREATE TABLE user_profiles (user_id text); INSERT INTO user_profiles VALUES ('a'), ('a');
         ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY",
    )
    .await;
    let guest = Role::create(&db, "GRANT ALL ON user_profiles TO guest").await;
    let plan = try_plan(&guest.url, &Layout::new(), &Profile::Credentials.into()).await.unwrap();
    assert!(ids(&plan).contains(&"owner.unique"));
    assert!(plan.notes.iter().any(|note| note.contains("it is not known whether")), "{:?}", plan.notes);
}

/// Rows without a user belong to nobody, so they are no duplicates of each other.
#[tokio::test]
async fn rows_without_a_user_are_no_duplicates() {
    let db = TestDb::create().await;
    db.exec(
        "CREATE TABLE user_profiles (user_id text); INSERT INTO user_profiles VALUES (NULL), (NULL), ('a')",
    )
    .await;
    let wanted = Wanted::from(Profile::Credentials).remove_duplicates();
    let plan = plan(&db, &Layout::new(), &wanted).await;
    assert!(!ids(&plan).contains(&"owner.duplicates"), "{:?}", ids(&plan));
}

/// A table without any right to read it is no reason to fail: the catalogue says what is missing.
#[tokio::test]
async fn without_the_right_to_read() {
    let db = TestDb::create().await;
    db.exec("CREATE TABLE user_profiles (user_id text, encrypted_retell_api_key text)").await;
    let guest = Role::create(&db, "GRANT UPDATE ON user_profiles TO guest").await;
    let plan = try_plan(&guest.url, &Layout::new(), &Profile::Credentials.into()).await.unwrap();
    assert!(ids(&plan).contains(&"column.encrypted_agent_config"));
    assert!(plan.notes.iter().any(|note| note.contains("it is not known whether")), "{:?}", plan.notes);
}

/// Where the tenant may be NULL, no tenant is a tenant like any other, for the index and for the rows. Before Postgres 15
/// there is no such index, and nothing is removed.
#[tokio::test]
async fn rows_without_a_tenant_may_be_duplicates() {
    let db = TestDb::create().await;
    db.exec(
        "CREATE TABLE user_profiles (user_id text, tenant text, note int UNIQUE);
         INSERT INTO user_profiles VALUES ('a', NULL, 1), ('a', NULL, 2), ('a', 't', 3)",
    )
    .await;
    let layout = Layout::new().tenant_column("tenant").unwrap();
    let wanted = Wanted::from(Profile::Credentials).remove_duplicates();
    let first = plan(&db, &layout, &wanted).await;
    if db.version().await < POSTGRES_15 {
        assert!(first.blocked.iter().any(|blocked| blocked.reason.contains("may be NULL")), "{first:?}");
        return;
    }
    run_steps(&db, &first).await;
    assert!(plan(&db, &layout, &wanted).await.is_empty());
    let left = "SELECT string_agg(note::text, ',' ORDER BY note) FROM user_profiles";
    assert_eq!(value::<String>(&db, left).await, "2,3");
}

/// Of a large table a plan looks at a part, so triggers stay until every row was looked at.
#[tokio::test]
async fn every_row_is_looked_at_on_request() {
    let db = TestDb::create().await;
    db.exec(
        "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, filler text);
         INSERT INTO user_profiles SELECT n::text, NULL, repeat('x', 900) FROM generate_series(1, 12000) AS n;
         UPDATE user_profiles SET encrypted_retell_api_key = 'key_test_legacy' WHERE user_id = '1'; ANALYZE user_profiles",
    )
    .await;
    let every_row = Wanted::from(Profile::Credentials).look_at_every_row();
    let first = whole(&db, &every_row).await;
    assert!(first.steps.iter().any(|step| step.id == "guard.encrypted_retell_api_key.trigger"), "{first}");
    run_steps(&db, &first).await;

    db.exec("UPDATE user_profiles SET encrypted_retell_api_key = NULL").await;
    let bounded = whole(&db, &Profile::Credentials.into()).await;
    assert!(bounded.is_empty(), "{:?}", ids(&bounded));
    assert!(bounded.notes.iter().any(|note| note.contains("--every-row")), "{:?}", bounded.notes);
    let rest = whole(&db, &every_row).await;
    assert!(rest.steps.iter().any(|step| step.id == "guard.encrypted_retell_api_key.validate"), "{rest}");
    run_steps(&db, &rest).await;
    assert!(whole(&db, &every_row).await.is_empty());
}

async fn whole(db: &TestDb, wanted: &Wanted) -> SchemaPlan {
    whole_plan(&db.url, &Layout::new(), wanted).await.unwrap()
}
