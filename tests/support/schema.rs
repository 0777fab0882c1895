//! Steps of a plan, applied and rolled back without the vault's own code for that.

use retell_vault::schema::{SchemaPlan, Step};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::TestDb;

/// Applies the steps in order, each in one transaction unless it is concurrent, and in its other form if that is needed.
/// Returns what was done.
pub async fn run_steps(db: &TestDb, plan: &SchemaPlan) -> Vec<Step> {
    assert!(plan.blocked.is_empty(), "{:?}", plan.blocked);
    let mut connection = connect(db).await;
    let mut done = Vec::new();
    for step in &plan.steps {
        let mut step = step;
        if let Some(instead) = &step.instead {
            let when = sqlx::query_scalar(AssertSqlSafe(instead.when.as_str()));
            if when.fetch_one(&mut connection).await.unwrap() {
                step = &instead.step;
            }
        }
        run(&mut connection, &step.id, &step.sql, step.concurrent).await;
        done.push(step.clone());
    }
    done
}

/// Rolls steps back, the latest first.
pub async fn undo_steps(db: &TestDb, done: &[Step]) {
    let mut connection = connect(db).await;
    for step in done.iter().rev() {
        run(&mut connection, &step.id, &step.undo, step.concurrent).await;
    }
}

async fn connect(db: &TestDb) -> PgConnection {
    let mut connection = PgConnection::connect(&db.url).await.unwrap();
    sqlx::raw_sql("SET search_path = ''").execute(&mut connection).await.unwrap();
    connection
}

async fn run(connection: &mut PgConnection, id: &str, statements: &[String], concurrent: bool) {
    let frame = |statement| match concurrent {
        true => None,
        false => Some(statement),
    };
    let all = frame("BEGIN").into_iter().chain(statements.iter().map(String::as_str)).chain(frame("COMMIT"));
    for statement in all {
        let ran = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await;
        ran.unwrap_or_else(|error| panic!("step {id}: {error}\nin: {statement}"));
    }
}
