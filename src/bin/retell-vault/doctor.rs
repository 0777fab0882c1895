//! `doctor`: the findings, worst first, and how to fix them. Its exit codes are a verdict.

use std::process::ExitCode;

use retell_vault::doctor::{Diagnosis, DoctorOptions, Finding, Fix, Health, Severity};
use serde_json::{Value, json};

use crate::args::doctor::DoctorArgs;
use crate::args::global::Global;
use crate::failure::Failure;
use crate::progress::RowProgress;
use crate::{layout_file, print, session};

/// Examines everything. A failure is critical, because then nothing is known.
pub async fn doctor(global: &Global, options: &DoctorArgs) -> Result<ExitCode, Failure> {
    let options = options.options(global, &layout_file::layout(global)?)?;
    let diagnosis = examine(global, &options).await.map_err(Failure::into_critical)?;
    match global.json {
        true => print::json(&as_json(&diagnosis)),
        false => print::out(&as_text(&diagnosis)),
    }
    .map_err(Failure::into_critical)?;
    Ok(match diagnosis.health() {
        Health::Healthy => ExitCode::SUCCESS,
        Health::Degraded => ExitCode::from(1),
        _ => ExitCode::from(2),
    })
}

async fn examine(global: &Global, options: &DoctorOptions) -> Result<Diagnosis, Failure> {
    let vault = session::vault(global).await?;
    let mut shown = RowProgress::new();
    Ok(vault.doctor(options, |progress| shown.show(progress.opened, progress.rows)).await?)
}

fn as_json(diagnosis: &Diagnosis) -> Value {
    json!({
        "health": diagnosis.health().as_str(),
        "findings": diagnosis.findings,
        "notes": diagnosis.notes,
    })
}

fn as_text(diagnosis: &Diagnosis) -> String {
    let mut text =
        print::indented(0, &format!("{}: {}", diagnosis.health().as_str(), totals(&diagnosis.findings)));
    for finding in &diagnosis.findings {
        text.push_str(&format!("\n{}", finding_text(finding)));
    }
    if !diagnosis.notes.is_empty() {
        let notes: String = diagnosis.notes.iter().map(|note| print::indented(0, note)).collect();
        text.push_str(&format!("\n{}", print::titled("notes", &notes)));
    }
    text
}

/// `1 critical, 2 warnings`.
fn totals(findings: &[Finding]) -> String {
    let kinds = [
        (Severity::Critical, "critical finding"),
        (Severity::Warning, "warning"),
        (Severity::Notice, "notice"),
    ];
    let counted = kinds.into_iter().filter_map(|(severity, word)| {
        let number = findings.iter().filter(|finding| finding.severity == severity).count() as u64;
        (number > 0).then(|| print::count(number, word))
    });
    let counted: Vec<_> = counted.collect();
    if counted.is_empty() { "no problems found".to_owned() } else { counted.join(", ") }
}

fn finding_text(finding: &Finding) -> String {
    let Finding { severity, area, id, object, meaning, fix, .. } = finding;
    let mut text = print::indented(0, &format!("{}: {id} ({}), {object}", severity.as_str(), area.as_str()));
    text.push_str(&print::indented(2, meaning));
    if let Some(concerned) = concerned(finding) {
        text.push_str(&print::indented(2, &concerned));
    }
    let (how, what) = match fix {
        Fix::Sql(sql) => ("fix it with this SQL:", print::statements(4, sql)),
        Fix::Command(command) => ("fix it with this command:", print::indented(4, command)),
        _ => ("what to do:", print::indented(4, fix.text())),
    };
    text + &print::indented(2, how) + &what
}

/// `3: user-1, user-2, …`.
fn concerned(finding: &Finding) -> Option<String> {
    let count = finding.count?;
    let more = if count > finding.owners.len() as u64 { ", …" } else { "" };
    Some(match finding.owners.is_empty() {
        true => format!("counted: {count}"),
        false => format!("counted: {count}; owners: {}{more}", finding.owners.join(", ")),
    })
}
