//! What the plan for the schema says, as findings: the doctor and the plan never disagree.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::classify::{Fault, Outcome};
use crate::database::Query;
use crate::doctor::Patient;
use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::schema::plan::Plan;
use crate::schema::step::{Blocked, Step};

/// How long it may take to find out which form of a step applies.
const LIMIT: Duration = Duration::from_millis(500);

pub(super) async fn findings(patient: &Patient<'_>, plan: &Plan) -> Result<Vec<Finding>, Fault> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut last = "";
    for step in &plan.steps {
        let sql = mending(patient, step).await?;
        match findings.last_mut().map(|finding| &mut finding.mend) {
            // the steps of one noun follow each other: `guard.a`, `guard.a.validate`
            Some(Mend::Sql(before)) if belongs(&step.id, last) => *before = format!("{before};\n{sql}"),
            _ => {
                findings.push(finding(patient, step, sql));
                last = &step.id;
            }
        }
    }
    findings.extend(plan.blocked.iter().map(blocked));
    Ok(findings)
}

fn belongs(id: &str, to: &str) -> bool {
    id.strip_prefix(to).is_some_and(|rest| rest.starts_with('.'))
        || (to, id) == ("owner.duplicates", "owner.unique")
}

fn finding(patient: &Patient<'_>, step: &Step, sql: String) -> Finding {
    let noun = step.id.split('.').next().unwrap_or_default();
    let name = step.id.split('.').nth(1).unwrap_or_default();
    let no_room = patient.plan.placement.is_local();
    let (severity, id, danger) = match noun {
        "column" | "type" if no_room => (
            Severity::Critical,
            kind_of(patient, noun, name),
            "there is no room for a record in the database, so that \
             all are kept in the local file of this host",
        ),
        "column" | "type" => (
            Severity::Warning,
            kind_of(patient, noun, name),
            "until then what belongs here is kept in another place",
        ),
        "owner" if name == "duplicates" => (
            Severity::Warning,
            "duplicate_owners",
            "every write goes to all rows of the owner, and the newest is read; the others are copied to a table beside \
             before they go",
        ),
        "owner" => (
            Severity::Warning,
            "owner_not_unique",
            "two rows for one owner can come into being, and each new owner costs a lock",
        ),
        "guard" => (
            Severity::Warning,
            "column_unguarded",
            "other code can store secrets in the clear here, where everybody takes them for encrypted",
        ),
        "status" => (Severity::Notice, "status_unchecked", "other code can store a status that nobody knows"),
        _ => (Severity::Warning, "schema_differs", "the schema is not as the vault wants it"),
    };
    let meaning = format!("{}: {danger}", step.reason);
    Finding::new((Area::Schema, severity, id), step.object.clone(), meaning, Mend::Sql(sql))
}

fn kind_of(patient: &Patient<'_>, noun: &str, column: &str) -> &'static str {
    let is_short = |kind: &str| kind.starts_with("character varying");
    match patient.picture.column(column) {
        _ if noun == "column" => "column_missing",
        Some(found) if is_short(&found.kind) => "column_too_short",
        _ => "column_mistyped",
    }
}

/// What a person runs. A step that is not concurrent is one transaction.
async fn mending(patient: &Patient<'_>, step: &Step) -> Result<String, Fault> {
    let step = match &step.instead {
        Some(instead) if applies(patient, &instead.when).await? => &instead.step,
        _ => step,
    };
    let sql = step.sql.join(";\n");
    Ok(match step.concurrent || step.sql.len() < 2 {
        true => sql,
        false => format!("BEGIN;\n{sql};\nCOMMIT"),
    })
}

async fn applies(patient: &Patient<'_>, when: &str) -> Result<bool, Fault> {
    let query = Query { sql: when.into(), arguments: PgArguments::default() };
    match patient.postgres.database.glance(query, LIMIT).await {
        Ok(rows) => Ok(rows.first().is_some_and(|row| row.try_get(0).unwrap_or(false))),
        // on a large table nothing was found in the time that there is
        Err(fault) if fault.outcome == Outcome::Retry => Ok(false),
        Err(fault) => Err(fault),
    }
}

fn blocked(blocked: &Blocked) -> Finding {
    Finding::new(
        (Area::Schema, Severity::Warning, "schema_blocked"),
        blocked.object.clone(),
        blocked.reason.clone(),
        Mend::Advice(blocked.hint.clone()),
    )
}
