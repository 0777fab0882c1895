//! Planted misconfigurations: the doctor finds each one alone, and its own SQL fixes it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use retell_vault::doctor::{Diagnosis, DoctorOptions, Finding, Fix};
use retell_vault::schema::Profile;
use retell_vault::{Layout, Vault};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::TestDb;
use super::vaults::{ALL_COLUMNS, Hosts};

const MANUAL: &str = include_str!("../../docs/DOCTOR.md");

/// A misconfiguration, and the id of its finding.
pub struct Planted {
    pub id: &'static str,
    pub plant: &'static str,
}

/// A database in which the doctor finds nothing.
pub struct Clinic {
    pub db: TestDb,
    pub hosts: Hosts,
    pub layout: Layout,
    pub options: DoctorOptions,
    url: String,
}

impl Clinic {
    /// The usual table.
    pub async fn new() -> Self {
        Self::with(ALL_COLUMNS, Layout::new()).await
    }

    /// Another table, after everything that its plan contains was applied.
    pub async fn with(table: &str, layout: Layout) -> Self {
        let clinic = Self::bare(table, layout).await;
        clinic.apply_plan().await;
        clinic
    }

    /// A table as it is.
    pub async fn bare(table: &str, layout: Layout) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(table).await;
        let url = db.url.clone();
        Self { db, hosts, layout, options: DoctorOptions::new(), url }
    }

    /// The same, with something else that the doctor examines.
    pub fn options(mut self, options: DoctorOptions) -> Self {
        self.options = options;
        self
    }

    /// The same, as another user of the server, or over another connection.
    pub fn by(mut self, url: &str) -> Self {
        self.url = url.to_owned();
        self
    }

    pub async fn vault(&self) -> Vault {
        let builder = self.hosts.host(0, &self.url).layout(self.layout.clone());
        builder.build().await.unwrap()
    }

    async fn apply_plan(&self) {
        let vault = self.vault().await;
        let plan = vault.schema().plan(Profile::Credentials).await.unwrap();
        assert_eq!(plan.blocked, []);
        for sql in plan.steps.iter().flat_map(|step| &step.sql) {
            self.psql(sql).await;
        }
        vault.close().await;
    }

    /// What a new doctor finds.
    pub async fn diagnose(&self) -> Diagnosis {
        let vault = self.vault().await;
        let diagnosis = examine(&vault, &self.options).await;
        vault.close().await;
        diagnosis
    }

    pub async fn is_clean(&self) {
        let diagnosis = self.diagnose().await;
        assert!(diagnosis.findings.is_empty(), "{:#?}", diagnosis.findings);
    }

    /// The findings, which all have this id.
    pub async fn finds_only(&self, id: &str) -> Vec<Finding> {
        let findings = self.diagnose().await.findings;
        let ids: Vec<&str> = findings.iter().map(|finding| finding.id).collect();
        assert!(!ids.is_empty() && ids.iter().all(|found| *found == id), "{id}: {findings:#?}");
        findings
    }

    /// Plants it, finds it and nothing else, fixes it with the doctor's SQL, and finds nothing any more.
    pub async fn finds_and_mends(&self, planted: &Planted) -> Vec<Finding> {
        self.db.exec(planted.plant).await;
        let findings = self.finds_only(planted.id).await;
        for finding in &findings {
            self.mend(finding).await;
        }
        let left = self.diagnose().await.findings;
        assert!(left.is_empty(), "{} is left: {left:#?}\nafter {findings:#?}", planted.id);
        findings
    }

    /// Runs the SQL of a finding as the command prints it: one statement on a line, indented.
    pub async fn mend(&self, finding: &Finding) {
        match &finding.fix {
            Fix::Sql(sql) => {
                // so a test of every documented one is a test of every one
                assert!(
                    documented_sql_ids().contains(finding.id),
                    "the manual knows no SQL of {}",
                    finding.id
                );
                let lines: String = sql.lines().map(|line| format!("    {line}\n")).collect();
                self.psql(&lines).await;
            }
            other => panic!("{} is not mended by SQL: {other:?}", finding.id),
        }
    }

    /// As a superuser would run it, statement by statement.
    pub async fn psql(&self, sql: &str) {
        psql(&self.db.url, sql).await;
    }
}

/// Runs SQL through psql, as a user pastes it.
pub async fn psql(url: &str, sql: &str) {
    let mut psql = Command::new("psql")
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", url])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql runs");
    let mut input = psql.stdin.take().expect("it was piped");
    input.write_all(format!("{sql}\n").as_bytes()).await.expect("psql reads");
    drop(input);
    let output = psql.wait_with_output().await.expect("psql ends");
    assert!(output.status.success(), "{}\nin: {sql}", String::from_utf8_lossy(&output.stderr));
}

/// The ids that the manual says SQL fixes, at least in some cases.
pub fn documented_sql_ids() -> BTreeSet<&'static str> {
    let mut documented: BTreeMap<&str, &str> = BTreeMap::new();
    for row in MANUAL.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [ids, _, _, mended_by] = cells[..] else { continue };
        documented.extend(ids.split(", ").map(|id| (id.trim_matches('`'), mended_by)));
    }
    let says_sql =
        |mended_by: &str| mended_by.split(|char: char| !char.is_alphanumeric()).any(|word| word == "SQL");
    let is_mended_by_sql = |mended_by: &str| match mended_by.strip_prefix("as `") {
        Some(other) => says_sql(documented[other.trim_end_matches('`')]),
        None => says_sql(mended_by),
    };
    documented.iter().filter(|(_, mended_by)| is_mended_by_sql(mended_by)).map(|(id, _)| *id).collect()
}

/// What the doctor finds, except that the server of the tests does not wait for its disk, which is true.
pub async fn examine(vault: &Vault, options: &DoctorOptions) -> Diagnosis {
    let mut diagnosis = vault.doctor(options, |_| {}).await.unwrap();
    let database = vault.status().await.unwrap().database;
    if database.is_some_and(|database| database.fsync == Some(false)) {
        let at = diagnosis.findings.iter().position(|finding| finding.id == "fsync_off");
        diagnosis.findings.remove(at.expect("the server says so"));
    }
    diagnosis
}

/// Each one in its own database.
pub async fn each_is_found_and_mended(planted: &[Planted]) {
    for planted in planted {
        Clinic::new().await.finds_and_mends(planted).await;
    }
}
