//! A database as `pg_dump` sees it.

use tokio::process::Command;

use super::TestDb;

/// The whole schema as a script. Two scripts are equal if the schemas are.
pub async fn schema_of(db: &TestDb) -> String {
    dump(db, &["--schema-only", "--no-comments"]).await
}

/// The vault's own schema with its rows, as a script that a client can run.
pub async fn of_vault_schema(db: &TestDb) -> String {
    let script = dump(db, &["--schema=retell_vault", "--inserts"]).await;
    // these are for the rest of the session
    let lines = script.lines().filter(|line| !line.starts_with("SET ") && !line.contains("set_config"));
    lines.collect::<Vec<_>>().join("\n")
}

async fn dump(db: &TestDb, options: &[&str]) -> String {
    let output = Command::new("pg_dump").args(options).arg(&db.url).output().await.expect("pg_dump runs");
    assert!(output.status.success(), "pg_dump failed: {}", String::from_utf8_lossy(&output.stderr));
    let script = String::from_utf8(output.stdout).expect("a dump is UTF-8");
    // newer versions put a random key around the script
    let lines =
        script.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    lines.collect::<Vec<_>>().join("\n")
}
