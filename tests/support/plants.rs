//! Operators, functions, types and relations planted in `public`, and the count of their calls.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use sqlx::PgConnection;
use tokio::sync::Mutex;

use super::TestDb;
use super::faults::connect;
use super::supabase;

/// Plants everything. That function explains how calls are counted.
const PLANTS: &str = include_str!("plants.sql");

/// Every plant that was called since the database was created, and how often. Functions of `initdb` have lower numbers.
const CALLED: &str =
    "SELECT f.oid::pg_catalog.regprocedure::pg_catalog.text, pg_catalog.pg_stat_get_function_calls(f.oid)
    FROM pg_catalog.pg_proc AS f WHERE f.oid >= 16384 AND pg_catalog.pg_stat_get_function_calls(f.oid) > 0
    AND pg_catalog.starts_with(f.prosrc, '/* planted */')";

/// Other sessions inside a statement or a transaction: their calls are not in the counters yet.
const AT_WORK: &str = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity
    WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid()
    AND backend_type = 'client backend' AND state IS DISTINCT FROM 'idle'";

/// What is made of the planted, of all that somebody made later: a definition finds these wherever it is used.
const BOUND: &str = "WITH planted (class, oid) AS (
        SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, oid FROM pg_catalog.pg_operator WHERE oprnamespace = 'public'::pg_catalog.regnamespace
        UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid FROM pg_catalog.pg_proc WHERE pg_catalog.starts_with(prosrc, '/* planted */')
        UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid FROM pg_catalog.pg_type
            WHERE typnamespace = 'public'::pg_catalog.regnamespace AND typtype = 'd'
        UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, oid FROM pg_catalog.pg_class
            WHERE relnamespace = 'public'::pg_catalog.regnamespace AND relkind = 'v'),
    made (class, oid) AS (
        SELECT tableoid, oid FROM pg_catalog.pg_policy UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_trigger
        UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_attrdef
        UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_constraint WHERE conrelid <> 0
        UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_class WHERE relkind <> 'v'
        UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_proc WHERE prokind = 'f' AND NOT pg_catalog.starts_with(prosrc, '/* planted */'))
    SELECT DISTINCT pg_catalog.concat(pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid), ' is made of ',
        pg_catalog.pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid))
    FROM pg_catalog.pg_depend AS d JOIN made AS m ON (m.class, m.oid) = (d.classid, d.objid)
    JOIN planted AS p ON (p.class, p.oid) = (d.refclassid, d.refobjid)";

/// Created once for the tests that need it at the same time.
static PLANTED: Mutex<Weak<TestDb>> = Mutex::const_new(Weak::new());

/// A database to copy, in which everything is planted that SQL of ours could call by mistake.
pub async fn planted() -> Arc<TestDb> {
    let mut planted = PLANTED.lock().await;
    if let Some(db) = planted.upgrade() {
        return db;
    }
    let db = Arc::new(plant().await);
    *planted = Arc::downgrade(&db);
    db
}

async fn plant() -> TestDb {
    let db = TestDb::create().await;
    supabase::roles(&db).await;
    let words: Vec<_> = words().into_iter().map(|word| format!("('{word}')")).collect();
    let words =
        format!("CREATE TEMP TABLE words (word text); INSERT INTO words VALUES {};", words.join(", "));
    db.exec(&format!("{words} {PLANTS}")).await;
    db
}

/// Every word of the sources that could be the name of a function or of a table.
fn words() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut words);
    assert!(words.contains("jsonb_set") && words.contains("pg_class"));
    words
}

fn collect(path: &Path, words: &mut BTreeSet<String>) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| collect(&entry.unwrap().path(), words));
        return;
    }
    let text = fs::read_to_string(path).unwrap();
    let is_of_word = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
    words.extend(text.split(|char| !is_of_word(char)).filter(|word| word.len() > 1).map(str::to_owned));
}

/// Tells which plants of a database were called, from one question to the next.
pub struct Counters {
    connection: PgConnection,
    before: BTreeMap<String, i64>,
}

impl Counters {
    pub async fn of(db: &TestDb) -> Self {
        let mut connection = connect(&db.url).await;
        // asked for one by one, so that the counters are not copied as a whole first
        sqlx::raw_sql("SET search_path = ''; SET stats_fetch_consistency = none")
            .execute(&mut connection)
            .await
            .unwrap();
        let mut counters = Self { connection, before: BTreeMap::new() };
        counters.called().await;
        counters
    }

    /// What was called since the last time, in the order of the names.
    pub async fn called(&mut self) -> Vec<String> {
        let start = Instant::now();
        while sqlx::query_scalar::<_, i64>(AT_WORK).fetch_one(&mut self.connection).await.unwrap() > 0 {
            assert!(start.elapsed() < Duration::from_secs(30), "somebody never ends");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let called = sqlx::query_as(CALLED).fetch_all(&mut self.connection).await.unwrap();
        let now: BTreeMap<String, i64> = called.into_iter().collect();
        let more = |(name, calls): &(&String, &i64)| self.before.get(*name).unwrap_or(&0) < *calls;
        let called = now.iter().filter(more).map(|(name, _)| name.clone()).collect();
        self.before = now;
        called
    }

    /// What others made of the planted. That is for ever, whatever their path was later.
    pub async fn bound(&mut self) -> Vec<String> {
        sqlx::query_scalar(BOUND).fetch_all(&mut self.connection).await.unwrap()
    }
}
