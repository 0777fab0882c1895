//! Columns, constraints and indexes.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::doctor::access::grants;
use crate::doctor::context::TableContext;
use crate::doctor::finding::{Finding, FindingId, Fix, Severity};
use crate::doctor::finding_ids;
use crate::doctor::fixes::{drop_index, rebuild_index};
use crate::doctor::frame::by_owner;
use crate::doctor::growth::MANY_SCANS;
use crate::doctor::owner_lookup;
use crate::error::ErrorKind;
use crate::postgres::catalogue::definitions::IndexDefinition;
use crate::postgres::catalogue::table::{Index, Persistence};
use crate::postgres::catalogue::table_column::TableColumn;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::connection::pool::Query;
use crate::postgres::sql::names::{quote, relation};
use crate::schema::plan::{SchemaPlan, plan_from};
use crate::schema::step::{Blocked, Step};
use crate::schema::wanted::{Profile, RowSecurity, Wanted};

/// The time limit for finding out which form of a step applies.
const LIMIT: Duration = Duration::from_millis(500);

/// The prefix of the vault's indexes. Indexes of the wanted schema are needed, even if unused.
const OURS: &str = "retell_vault_";

/// The steps for one object become one finding, such as a column and its guard, or the owner's duplicates and the unique
/// index.
struct Group {
    about: String,
    finding: Finding,
    sql: Vec<String>,
    /// The guard that was decided, and whether it takes its other form. The other form needs no further step.
    decided: Option<(String, bool)>,
}

pub(super) async fn look(context: &TableContext<'_>) -> Result<Vec<Finding>, DatabaseError> {
    // the access findings cover row level security
    let wanted = Wanted::from(Profile::Credentials)
        .row_security(RowSecurity::Leave)
        .remove_duplicates()
        .leave_vault_schema();
    let plan = plan_from(context.postgres, context.table, context.definitions, &wanted).await?;
    let mut findings: Vec<_> = not_durable(context).into_iter().collect();
    findings.extend(in_plan(context, &plan).await?);
    findings.extend(grants::missing(context).await?);
    findings.extend(in_indexes(context, &plan));
    findings.extend(owner_lookup::look(context, &plan).await);
    Ok(findings)
}

/// A table that a crash empties, or that disappears with its session.
fn not_durable(context: &TableContext<'_>) -> Option<Finding> {
    let (layout, table) = (context.postgres.layout(), context.table);
    let error = table.check_durable(layout).err()?;
    let mend = match table.is_partitioned() || table.persistence == Persistence::Temporary {
        true => Fix::Advice(error.hint().to_owned()),
        false => Fix::Sql(by_owner(context, &format!("ALTER TABLE {} SET LOGGED", relation(layout)))),
    };
    let (id, meaning) = (finding_ids::TABLE_NOT_DURABLE, error.to_string());
    Some(Finding::new(id, Severity::Critical, context.object(), meaning, mend))
}

/// The steps of the schema plan as findings, so that the doctor and the plan never disagree.
async fn in_plan(context: &TableContext<'_>, plan: &SchemaPlan) -> Result<Vec<Finding>, DatabaseError> {
    let mut groups: Vec<Group> = Vec::new();
    for step in &plan.steps {
        let about = about(step);
        let at = groups.iter().position(|group| group.about == about);
        let at = at.unwrap_or_else(|| {
            let finding = finding(context, step);
            groups.push(Group { about, finding, sql: Vec::new(), decided: None });
            groups.len() - 1
        });
        groups[at].add(context, step).await?;
    }
    let mended = groups.into_iter().map(|group| group.finding.fixed_by(Fix::Sql(group.sql.join(";\n"))));
    Ok(mended.chain(plan.blocked.iter().filter_map(|it| blocked(context, it))).collect())
}

/// The column of the step, or the first word of its id.
fn about(step: &Step) -> String {
    let (noun, name) = step.id.split_once('.').unwrap_or((&step.id, ""));
    let column = match noun {
        "column" | "type" => name,
        "guard" | "values" => guarded(name),
        _ => return noun.to_owned(),
    };
    format!("column {column}")
}

/// The column of `<column>`, `<column>.validate` and `<column>.trigger`.
fn guarded(name: &str) -> &str {
    [".validate", ".trigger"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

impl Group {
    async fn add(&mut self, context: &TableContext<'_>, step: &Step) -> Result<(), DatabaseError> {
        let guard = guarded(&step.id);
        // the decision for a guard also applies to its validation
        let decided = self.decided.as_ref().filter(|(id, _)| id == guard).map(|(_, other)| *other);
        let other = match (&step.instead, decided) {
            (_, Some(true)) => return Ok(()),
            (Some(instead), None) => applies(context, &instead.when).await?.then_some(&instead.step),
            _ => None,
        };
        self.decided = Some((guard.to_owned(), other.is_some()));
        self.sql.push(as_one(context, other.unwrap_or(step)));
        Ok(())
    }
}

/// The SQL of a step for a person to run. A step that is not concurrent is one transaction.
fn as_one(context: &TableContext<'_>, step: &Step) -> String {
    let sql = step.sql.join(";\n");
    match step.concurrent {
        true => sql,
        false => by_owner(context, &sql),
    }
}

/// The finding of a step, without its SQL.
fn finding(context: &TableContext<'_>, step: &Step) -> Finding {
    let (noun, name) = step.id.split_once('.').unwrap_or((&step.id, ""));
    let no_room = context.plan.placement.is_local();
    let (severity, id, danger) = match noun {
        "column" | "type" if no_room => (
            Severity::Critical,
            kind_of(context, noun, name),
            "no column of the database can hold a record, so all records are kept in the local file of this host",
        ),
        "column" | "type" => (
            Severity::Warning,
            kind_of(context, noun, name),
            "until then its value is stored in another column",
        ),
        "owner" if name == "duplicates" => (
            Severity::Warning,
            finding_ids::DUPLICATE_OWNERS,
            "every write goes to all rows of the owner, and loads read the newest",
        ),
        "owner" => (
            Severity::Warning,
            finding_ids::OWNER_NOT_UNIQUE,
            "one owner can get two rows, and each new owner costs a lock",
        ),
        "guard" => (
            Severity::Warning,
            finding_ids::COLUMN_UNGUARDED,
            "the database does not guarantee that this column holds only tokens: other code can store plaintext \
             secrets here, and readers would assume that they are encrypted",
        ),
        "values" => (
            Severity::Notice,
            finding_ids::STATUS_UNCHECKED,
            "the database does not restrict this column to known values: other code can store an unknown status",
        ),
        _ => (Severity::Warning, finding_ids::SCHEMA_DIFFERS, "the schema is not what the vault needs"),
    };
    // the reason of such a step describes the step, not the problem
    let meaning = match noun {
        "guard" | "values" => danger.to_owned(),
        _ => format!("{}; {danger}", step.reason),
    };
    Finding::new(id, severity, step.object.clone(), meaning, Fix::Sql(String::new()))
}

fn kind_of(context: &TableContext<'_>, noun: &str, column: &str) -> FindingId {
    let is_short = |kind: &str| kind.starts_with("character varying");
    match context.table.column(column) {
        _ if noun == "column" => finding_ids::COLUMN_MISSING,
        Some(found) if is_short(&found.kind) => finding_ids::COLUMN_TOO_SHORT,
        _ => finding_ids::COLUMN_MISTYPED,
    }
}

async fn applies(context: &TableContext<'_>, when: &str) -> Result<bool, DatabaseError> {
    let query = Query { sql: when.into(), arguments: PgArguments::default() };
    match context.postgres.database.quick_check(&[&context.relation()], query, context.patience(LIMIT)).await
    {
        Ok(rows) => Ok(rows.first().is_some_and(|row| row.try_get(0).unwrap_or(false))),
        // on a large table the search found nothing within its time limit; a missing column holds nothing
        Err(fault) if matches!(fault.outcome, Outcome::Retry | Outcome::Redetect) => Ok(false),
        // rows that the vault may not see can hold anything
        Err(fault) if fault.error.kind() == ErrorKind::AccessDenied => Ok(true),
        Err(fault) => Err(fault),
    }
}

/// `None` for a missing grant: the access findings report it, with its SQL.
fn blocked(context: &TableContext<'_>, blocked: &Blocked) -> Option<Finding> {
    let object = |column: &&TableColumn| format!("column {}.{}", context.layout.table_name(), column.name);
    let column = context.table.columns.iter().find(|column| object(column) == blocked.object);
    let id = match column {
        Some(column) if column.generated || column.identity => finding_ids::COLUMN_GENERATED,
        Some(column) if !column.writable => return None,
        _ => finding_ids::SCHEMA_BLOCKED,
    };
    let mend = Fix::Advice(blocked.hint.clone());
    Some(Finding::new(id, Severity::Warning, blocked.object.clone(), blocked.reason.clone(), mend))
}

/// Indexes that are invalid, not needed, or on ciphertext.
fn in_indexes(context: &TableContext<'_>, plan: &SchemaPlan) -> Vec<Finding> {
    let planned = |index: &Index| {
        let name = quote(&index.name);
        plan.steps.iter().flat_map(|step| &step.sql).any(|sql| sql.contains(&name))
    };
    let all = &context.table.indexes;
    // the plan rebuilds the others
    all.iter()
        .filter(|index| !planned(index))
        .filter_map(|index| index_problem(context, index, all))
        .collect()
}

fn index_problem(context: &TableContext<'_>, index: &Index, all: &[Index]) -> Option<Finding> {
    let object = format!("index {}.{}", context.layout.schema, index.name);
    let finding = |id, severity, meaning: String, sql: String| {
        Some(Finding::new(id, severity, object, meaning, Fix::Sql(sql)))
    };
    if !index.valid {
        let meaning = "its build did not finish: no query uses it, and every write pays for it";
        return finding(
            finding_ids::INVALID_INDEX,
            Severity::Warning,
            meaning.to_owned(),
            rebuild_index(context, index),
        );
    }
    if holds_ciphertext(context, index) {
        let meaning = "it indexes ciphertext, which no query can search: every write pays for it, copies of \
                       tokens remain in it, and a text of more than 2704 bytes does not fit";
        return finding(
            finding_ids::INDEX_ON_CIPHERTEXT,
            Severity::Warning,
            meaning.to_owned(),
            drop_index(context, index),
        );
    }
    if let Some(other) = all.iter().find(|other| makes_needless(context, other, index)) {
        let meaning = format!("index {} does the same: every write pays for both", other.name);
        return finding(finding_ids::DUPLICATE_INDEX, Severity::Warning, meaning, drop_index(context, index));
    }
    // where the counters cannot be read, the findings about the growth say so
    let statistics = context.statistics().ok()?;
    let scans = statistics.scans();
    if is_dispensable(context, index) && statistics.scans_of(&index.name) == 0 && scans >= MANY_SCANS {
        let meaning = format!(
            "no query has used it since the statistics were reset, while the other indexes were used {scans} \
             times; standbys keep their own statistics"
        );
        return finding(finding_ids::UNUSED_INDEX, Severity::Notice, meaning, drop_index(context, index));
    }
    None
}

fn holds_ciphertext(context: &TableContext<'_>, index: &Index) -> bool {
    let layout = context.layout;
    let is_secret = |column: &String| layout.is_for_secrets(column) || *column == layout.config_column;
    if index.columns.iter().chain(&definition(context, index).included).any(is_secret) {
        return true;
    }
    // an expression on the JSONB column may use only the application's members
    let columns = || context.table.columns.iter().filter(|column| layout.is_for_secrets(&column.name));
    let mut expressions = definition(context, index).expressions.iter().filter(|it| it.holds_text);
    expressions.any(|expression| columns().any(|column| expression.sql.contains(&column.name)))
}

/// Whether `index` is not needed, because `other` does the same and stays.
fn makes_needless(context: &TableContext<'_>, other: &Index, index: &Index) -> bool {
    let does_the_same = other.valid
        && form(context, other) == form(context, index)
        && (other.unique || !index.unique)
        && other.immediate == index.immediate;
    // of two equal indexes, one stays
    let rank = |index: &Index| {
        (definition(context, index).constraint.is_some(), index.unique, std::cmp::Reverse(index.name.clone()))
    };
    does_the_same && definition(context, index).constraint.is_none() && rank(other) > rank(index)
}

fn definition<'a>(context: &'a TableContext<'_>, index: &Index) -> &'a IndexDefinition {
    context.definitions.of_index(index)
}

/// The definition without `CREATE [UNIQUE] INDEX name`.
fn form<'a>(context: &'a TableContext<'_>, index: &Index) -> &'a str {
    let definition = definition(context, index).sql.as_str();
    let start = if index.unique { "CREATE UNIQUE INDEX " } else { "CREATE INDEX " };
    let named = definition.strip_prefix(start).unwrap_or(definition);
    let quoted = quote(&index.name);
    named.strip_prefix(quoted.as_str()).or_else(|| named.strip_prefix(index.name.as_str())).unwrap_or(named)
}

fn is_dispensable(context: &TableContext<'_>, index: &Index) -> bool {
    let serves = index.unique || index.primary || definition(context, index).constraint.is_some();
    // the server keeps no statistics for an index on a partitioned table
    !serves && !index.name.starts_with(OURS) && !context.table.is_partitioned()
}
