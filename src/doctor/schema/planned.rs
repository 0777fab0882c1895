//! What the plan for the schema says, as findings: the doctor and the plan never disagree.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::doctor::Patient;
use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::error::ErrorKind;
use crate::postgres::catalogue::table::TableColumn;
use crate::postgres::connection::errors::{Fault, Outcome};
use crate::postgres::connection::pool::Query;
use crate::record::field::Field;
use crate::schema::plan::SchemaPlan;
use crate::schema::step::{Blocked, Step};

/// How long it may take to find out which form of a step applies.
const LIMIT: Duration = Duration::from_millis(500);

/// The steps about one thing make one finding: a column and what guards it, the owner's duplicates and the index.
struct Group {
    about: String,
    finding: Finding,
    sql: Vec<String>,
    /// The guard that was decided on, and whether it takes its other form, which needs no further step.
    decided: Option<(String, bool)>,
}

pub(super) async fn findings(patient: &Patient<'_>, plan: &SchemaPlan) -> Result<Vec<Finding>, Fault> {
    let mut groups: Vec<Group> = Vec::new();
    for step in &plan.steps {
        let about = about(patient, step);
        let at = groups.iter().position(|group| group.about == about);
        let at = at.unwrap_or_else(|| {
            let finding = finding(patient, step);
            groups.push(Group { about, finding, sql: Vec::new(), decided: None });
            groups.len() - 1
        });
        groups[at].add(patient, step).await?;
    }
    let mended =
        groups.into_iter().map(|group| Finding { mend: Mend::Sql(group.sql.join(";\n")), ..group.finding });
    Ok(mended.chain(plan.blocked.iter().filter_map(|it| blocked(patient, it))).collect())
}

/// The column, or the noun of the step.
fn about(patient: &Patient<'_>, step: &Step) -> String {
    let (noun, name) = step.id.split_once('.').unwrap_or((&step.id, ""));
    let column = match noun {
        "column" | "type" => name,
        "guard" => guarded(name),
        "status" => patient.layout.column_of(Field::IntegrationStatus).unwrap_or_default(),
        _ => return noun.to_owned(),
    };
    format!("column {column}")
}

/// The column of `guard.<column>`, `guard.<column>.validate` and `guard.<column>.trigger`, without `guard.`
fn guarded(name: &str) -> &str {
    [".validate", ".trigger"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

impl Group {
    async fn add(&mut self, patient: &Patient<'_>, step: &Step) -> Result<(), Fault> {
        let guard = guarded(&step.id);
        // what was decided for a guard holds for its validation, which asks whether the guard is there
        let decided = self.decided.as_ref().filter(|(id, _)| id == guard).map(|(_, other)| *other);
        let other = match (&step.instead, decided) {
            (_, Some(true)) => return Ok(()),
            (Some(instead), None) => applies(patient, &instead.when).await?.then_some(&instead.step),
            _ => None,
        };
        self.decided = Some((guard.to_owned(), other.is_some()));
        self.sql.push(as_one(other.unwrap_or(step)));
        Ok(())
    }
}

/// What a person runs. A step that is not concurrent is one transaction.
fn as_one(step: &Step) -> String {
    let sql = step.sql.join(";\n");
    match step.concurrent || step.sql.len() < 2 {
        true => sql,
        false => format!("BEGIN;\n{sql};\nCOMMIT"),
    }
}

/// Its SQL comes later.
fn finding(patient: &Patient<'_>, step: &Step) -> Finding {
    let (noun, name) = step.id.split_once('.').unwrap_or((&step.id, ""));
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
    let meaning = format!("{}; {danger}", step.reason);
    Finding::new((Area::Schema, severity, id), step.object.clone(), meaning, Mend::Sql(String::new()))
}

fn kind_of(patient: &Patient<'_>, noun: &str, column: &str) -> &'static str {
    let is_short = |kind: &str| kind.starts_with("character varying");
    match patient.table.column(column) {
        _ if noun == "column" => "column_missing",
        Some(found) if is_short(&found.kind) => "column_too_short",
        _ => "column_mistyped",
    }
}

async fn applies(patient: &Patient<'_>, when: &str) -> Result<bool, Fault> {
    let query = Query { sql: when.into(), arguments: PgArguments::default() };
    match patient
        .postgres
        .database
        .glance(&[&patient.postgres.relation()], query, patient.patience(LIMIT))
        .await
    {
        Ok(rows) => Ok(rows.first().is_some_and(|row| row.try_get(0).unwrap_or(false))),
        // on a large table nothing was found in the time that there is; a column that is missing holds nothing
        Err(fault) if matches!(fault.outcome, Outcome::Retry | Outcome::Redetect) => Ok(false),
        // rows that we may not see may hold anything
        Err(fault) if fault.error.kind() == ErrorKind::AccessDenied => Ok(true),
        Err(fault) => Err(fault),
    }
}

/// `None` for a grant that is missing, which is found where grants are looked at, with the SQL for it.
fn blocked(patient: &Patient<'_>, blocked: &Blocked) -> Option<Finding> {
    let object = |column: &&TableColumn| format!("column {}.{}", patient.layout.table_name(), column.name);
    let column = patient.table.columns.iter().find(|column| object(column) == blocked.object);
    let id = match column {
        Some(column) if column.generated || column.identity => "column_generated",
        Some(column) if !column.writable => return None,
        _ => "schema_blocked",
    };
    let mend = Mend::Advice(blocked.hint.clone());
    Some(Finding::new(
        (Area::Schema, Severity::Warning, id),
        blocked.object.clone(),
        blocked.reason.clone(),
        mend,
    ))
}
