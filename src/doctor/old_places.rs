//! Values that the application stored before, and that are left in the sources of the layout.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::doctor::context::TableContext;
use crate::doctor::finding::{Area, Finding, Fix, Severity};
use crate::doctor::finding_ids;
use crate::doctor::rows::text_class::{TextClass, classify};
use crate::import::members::Members;
use crate::layout::old_source::{Held, OldSource};
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::statements::answer::parse_owner;
use crate::postgres::statements::found_records::{FoundRecords, Row};
use crate::postgres::walk::old_places::{LeftValue, MOST_VALUES};
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::version::Millis;
use crate::retell::json::wipe;

/// The time limit for one read, and for all of them. A deep examination has more.
const ONE: Duration = Duration::from_millis(700);
const ALL: Duration = Duration::from_secs(4);
const ONE_DEEP: Duration = Duration::from_secs(60);
const ALL_DEEP: Duration = Duration::from_secs(600);
/// How many owners a finding names.
const OWNERS: usize = 5;
/// How many owners are looked up together.
const TOGETHER: usize = 500;

const IMPORT: &str = "retell-vault import run";
const CLEAR: &str = "retell-vault import run --clear-source";

/// The time that is left for reading old places.
pub(super) struct OldPlacesTime {
    started: Instant,
    is_deep: bool,
}

impl OldPlacesTime {
    pub(super) fn start(is_deep: bool) -> Self {
        Self { started: Instant::now(), is_deep }
    }

    /// `None`: the time is over.
    pub(super) fn next(&self) -> Option<Duration> {
        let (one, all) = if self.is_deep { (ONE_DEEP, ALL_DEEP) } else { (ONE, ALL) };
        let left = all.saturating_sub(self.started.elapsed());
        (!left.is_zero()).then(|| one.min(left))
    }
}

/// Examines every source of the layout. What could not be read becomes a finding.
pub(super) async fn look(context: &TableContext<'_>, time: &OldPlacesTime) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &context.layout.sources {
        match look_at(context, source, time).await {
            Ok(found) => findings.extend(found),
            Err(fault) => findings.push(not_examined(format!("column {}", source.place()), &fault)),
        }
    }
    findings
}

async fn look_at(
    context: &TableContext<'_>,
    source: &OldSource,
    time: &OldPlacesTime,
) -> Result<Vec<Finding>, DatabaseError> {
    let Some(limit) = time.next() else {
        context
            .host
            .note(format!("not looked at, because the time was over: old values in {}", source.place()));
        return Ok(Vec::new());
    };
    let mut values = context.postgres.database.left_values(source, limit).await?;
    let is_all = values.len() <= MOST_VALUES;
    values.truncate(MOST_VALUES);
    let left = Left::of(context, source, &values);
    let extent = if is_all { "all" } else { "the first" };
    context.host.note(format!(
        "old values in {}: {extent} {} rows with a value were examined",
        source.place(),
        values.len()
    ));
    let absent = left.absent(context, source).await?;
    Ok([left.finding(source, is_all), absent].into_iter().flatten().collect())
}

/// What is left in one source.
#[derive(Default)]
struct Left {
    /// How many rows hold which text at worst.
    classes: BTreeMap<TextClass, u64>,
    /// Whether one of the plain texts is more than the id of an agent or a telephone number.
    has_open_secret: bool,
    owners: BTreeSet<(Option<String>, String)>,
}

impl Left {
    fn of(context: &TableContext<'_>, source: &OldSource, values: &[LeftValue]) -> Self {
        let members = match &source.held {
            Held::Members(paths) => {
                let paths: Vec<_> = paths.iter().map(|(path, field)| (path.as_str(), *field)).collect();
                Members::only(context.layout, &paths).unwrap_or_else(|_| Members::of(context.layout))
            }
            _ => Members::of(context.layout),
        };
        let mut left = Self::default();
        for value in values {
            let classes = classes_of(source, &members, value);
            let Some(worst) = classes.iter().map(|(_, class)| *class).min() else { continue };
            *left.classes.entry(worst).or_default() += 1;
            left.has_open_secret |= classes.iter().any(|(field, class)| is_open(*class) && is_secret(*field));
            left.owners.insert((value.tenant.clone(), value.user.clone()));
        }
        left
    }

    fn finding(&self, source: &OldSource, is_all: bool) -> Option<Finding> {
        let count: u64 = self.classes.values().sum();
        let is_open = self.classes.keys().any(|class| is_open(*class));
        let severity = if self.has_open_secret { Severity::Critical } else { Severity::Warning };
        let what: Vec<String> =
            self.classes.iter().map(|(class, count)| format!("{count} of {}", what(*class))).collect();
        let readers = if is_open { "every reader of the table can see plaintext; " } else { "" };
        let at_least = if is_all { "" } else { "at least " };
        let meaning = format!(
            "values that the application stored before are left here ({at_least}{}): {readers}the command stores what is not in \
             the vault, compares each record with its source, and clears only what it has compared; copies remain in backups, \
             logs and replicas",
            what.join(", ")
        );
        let object = format!("column {}", source.place());
        let finding = Finding::new(
            finding_ids::OLD_VALUES_LEFT,
            severity,
            object,
            meaning,
            Fix::Command(CLEAR.to_owned()),
        );
        (count > 0).then(|| finding.of(count, self.owners.iter().take(OWNERS).map(shown).collect()))
    }

    /// The owners without a record in the vault. A deletion is a record.
    async fn absent(
        &self,
        context: &TableContext<'_>,
        source: &OldSource,
    ) -> Result<Option<Finding>, DatabaseError> {
        let has_other_tenants = source.tenant_column.is_some() != context.layout.tenant_column.is_some();
        if has_other_tenants || context.definitions.relation.hides_rows || !context.plan.has_slots() {
            context.host.note(format!(
                "not compared with the records of the vault: the owners in {}",
                source.place()
            ));
            return Ok(None);
        }
        let named: Vec<(&(Option<String>, String), Owner)> =
            self.owners.iter().filter_map(|owner| Some((owner, parse_owner(owner.clone())?))).collect();
        let mut absent = Vec::new();
        for some in named.chunks(TOGETHER) {
            let owners: Vec<&Owner> = some.iter().map(|(_, owner)| owner).collect();
            let present = present(context, &owners).await?;
            absent.extend(
                some.iter().zip(present).filter(|(_, present)| !present).map(|((owner, _), _)| *owner),
            );
        }
        let meaning = "these owners have values here and no record in the vault: a service that no longer reads this column has no \
                       credentials for them";
        let finding = Finding::new(
            finding_ids::OLD_VALUES_NOT_IMPORTED,
            Severity::Warning,
            format!("column {}", source.place()),
            meaning,
            Fix::Command(IMPORT.to_owned()),
        );
        let owners = absent.iter().take(OWNERS).map(|owner| shown(owner)).collect();
        Ok((!absent.is_empty()).then(|| finding.of(absent.len() as u64, owners)))
    }
}

/// Whether each owner has a record in the database.
async fn present(context: &TableContext<'_>, owners: &[&Owner]) -> Result<Vec<bool>, DatabaseError> {
    let mut rows: Vec<(usize, Row, Millis)> = Vec::new();
    let read = context.postgres.read_many(context.plan, owners, |at, answer| {
        rows.push((at, answer.read()?, answer.now()?));
        Ok(())
    });
    read.await?;
    let mut present = vec![false; owners.len()];
    for (at, row, now) in rows {
        let found = FoundRecords::of(&[row], &context.plan.placement.slots, now);
        present[at] |= !found.records.is_empty();
    }
    Ok(present)
}

/// The fields that a value holds, and what their texts look like.
fn classes_of(source: &OldSource, members: &Members, value: &LeftValue) -> Vec<(Option<Field>, TextClass)> {
    let field = if let Held::One(field) = source.held { Some(field) } else { None };
    let Some(text) = &value.text else { return vec![(field, TextClass::Plaintext)] };
    if value.is_bytes {
        return vec![(field, classify(&format!("\\x{}", &**text)))];
    }
    let is_object = text.trim_start().starts_with('{');
    let mut json = match value.is_json || (is_object && field.is_none()) {
        true => serde_json::from_str(text).unwrap_or(Value::Null),
        false => Value::String(text.to_string()),
    };
    let all = match (&json, field) {
        (json, Some(field)) => vec![(Some(field), class_of(json))],
        (Value::Object(object), None) => {
            let stored = members.stored(object).into_iter();
            stored.map(|(field, value)| (Some(field), class_of(value))).collect()
        }
        (json, None) => vec![(None, class_of(json))],
    };
    wipe(&mut json);
    all.into_iter().filter(|(_, class)| !matches!(class, TextClass::Empty | TextClass::Tokens)).collect()
}

fn class_of(value: &Value) -> TextClass {
    match value {
        Value::String(text) => classify(text),
        Value::Object(object) if object.is_empty() => TextClass::Empty,
        Value::Object(_) => classify(&value.to_string()),
        _ => TextClass::Empty,
    }
}

pub(super) fn is_open(class: TextClass) -> bool {
    matches!(class, TextClass::Plaintext | TextClass::Encoded)
}

/// Whether a field is more than an id or a number.
fn is_secret(field: Option<Field>) -> bool {
    field.is_none_or(|field| {
        let name = field.name();
        !name.ends_with("_agent_id") && name != "phone_number" && name != "integration_status"
    })
}

pub(super) fn what(class: TextClass) -> &'static str {
    match class {
        TextClass::Plaintext => "unencrypted text",
        TextClass::Encoded => "base64 or hex of plaintext",
        TextClass::Ciphertext => "text that looks like ciphertext",
        TextClass::Malformed | TextClass::Tokens | TextClass::Empty => {
            "text that starts like a token but is not one"
        }
    }
}

fn shown((tenant, user): &(Option<String>, String)) -> String {
    match tenant {
        Some(tenant) => format!("{tenant}/{user}"),
        None => user.clone(),
    }
}

pub(super) fn not_examined(object: String, fault: &DatabaseError) -> Finding {
    Finding::new(
        finding_ids::NOT_EXAMINED.in_area(Area::Exposure),
        Severity::Warning,
        object,
        format!("old values could not be read here: {}", fault.error),
        Fix::Advice(fault.error.hint().to_owned()),
    )
}
