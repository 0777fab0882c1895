//! A database as `pg_dump` sees it.

use tokio::process::Command;

use super::TestDb;

/// The whole schema as a script. Two scripts are equal if the schemas are.
pub async fn schema_of(db: &TestDb) -> String {
    let output = Command::new("pg_dump")
        .args(["--schema-only", "--no-comments"])
        .arg(&db.url)
        .output()
        .await
        .expect("pg_dump runs");
    assert!(output.status.success(), "pg_dump failed: {}", String::from_utf8_lossy(&output.stderr));
    let script = String::from_utf8(output.stdout).expect("a dump is UTF-8");
    // newer versions put a random key around the script
    let lines =
        script.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    lines.collect::<Vec<_>>().join("\n")
}
