//! What is stored in the database, read without the vault.

use retell_vault::Owner;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::TestDb;
use super::vaults::owner;

/// One value of one row, by a statement of the test.
pub async fn value<T>(db: &TestDb, sql: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    (T,): for<'r> sqlx::FromRow<'r, PgRow>,
{
    let mut connection = PgConnection::connect(&db.url).await.unwrap();
    let row: Result<(T,), _> = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut connection).await;
    connection.close().await.unwrap();
    row.unwrap_or_else(|error| panic!("{error}\nin: {sql}")).0
}

/// Every row of a table in a fixed order, as JSON.
pub async fn table(db: &TestDb, table: &str) -> Value {
    value(db, &format!("SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY t::text), '[]') FROM {table} AS t"))
        .await
}

/// `user-0`, `user-1`, …
pub fn owners(count: usize) -> Vec<Owner> {
    (0..count).map(|n| owner(&format!("user-{n}"))).collect()
}
