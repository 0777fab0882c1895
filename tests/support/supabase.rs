//! What Supabase adds to a database: its roles, and `auth.uid()`.

use sqlx::postgres::PgDatabaseError;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::TestDb;

/// The roles belong to the server, so other tests may create them at the same time. They stay.
const ROLES: &str = "DO $$ BEGIN CREATE ROLE anon; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;
    DO $$ BEGIN CREATE ROLE authenticated; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;
    DO $$ BEGIN CREATE ROLE service_role BYPASSRLS; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;
    GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;";

/// As Supabase defines it.
const AUTH: &str = "CREATE SCHEMA auth; GRANT USAGE ON SCHEMA auth TO anon, authenticated, service_role;
    CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS $$
      SELECT coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
        (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'))::uuid $$;
    CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE AS $$
      SELECT coalesce(nullif(current_setting('request.jwt.claim', true), ''),
        nullif(current_setting('request.jwt.claims', true), ''))::jsonb $$;";

/// The roles of Supabase and its default privileges, which give all roles access to new tables and functions.
pub async fn roles(db: &TestDb) {
    db.exec(ROLES).await;
}

/// The roles, and the schema `auth`.
pub async fn supabase(db: &TestDb) {
    roles(db).await;
    db.exec(AUTH).await;
}

/// A session as the API of Supabase opens it: a role, and the claims of a token.
pub struct Session {
    pub connection: PgConnection,
}

/// The error of a failed statement.
#[derive(Debug)]
pub struct Refused {
    pub code: String,
    /// Message, detail, hint and context.
    pub said: String,
}

impl Session {
    pub async fn of(db: &TestDb, role: &str, claims: Option<&str>) -> Self {
        let mut connection = PgConnection::connect(&db.url).await.unwrap();
        if let Some(claims) = claims {
            let set = sqlx::query("SELECT set_config('request.jwt.claims', $1, false)").bind(claims);
            set.execute(&mut connection).await.unwrap();
        }
        sqlx::raw_sql(AssertSqlSafe(format!("SET ROLE {role}"))).execute(&mut connection).await.unwrap();
        Self { connection }
    }

    /// A logged-in user.
    pub async fn user(db: &TestDb, id: &str) -> Self {
        Self::of(db, "authenticated", Some(&format!(r#"{{"sub":"{id}"}}"#))).await
    }

    /// How many rows a statement affected.
    pub async fn run(&mut self, sql: &str) -> Result<u64, Refused> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await;
        done.map(|done| done.rows_affected()).map_err(refused)
    }

    /// The text that a statement returns.
    pub async fn ask(&mut self, sql: &str) -> Result<Option<String>, Refused> {
        let answer = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.connection).await;
        answer.map_err(refused)
    }
}

fn refused(error: sqlx::Error) -> Refused {
    let Some(said) = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
    else {
        panic!("{error}")
    };
    let parts = [Some(said.message()), said.detail(), said.hint(), said.r#where()];
    Refused { code: said.code().to_owned(), said: parts.into_iter().flatten().collect::<Vec<_>>().join("\n") }
}
