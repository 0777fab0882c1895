//! Whether the schema is as wanted, and works: everything is read again, and tried.

mod objects;
mod trial;

use std::fmt;

use crate::postgres::connection::errors::Fault;
use crate::postgres::statements::plan::Postgres;
use crate::schema::draw;
use crate::schema::plan::Plan;
use crate::schema::wanted::Wanted;
use crate::store::core::Core;

/// What verifying found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// What was looked at and tried, in order.
    pub checks: Vec<Check>,
}

impl Verification {
    /// Whether no check failed. Those that could not be made do not count.
    pub fn is_good(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| matches!(check.outcome, CheckOutcome::Failed(_)))
    }
}

/// One thing that was looked at or tried.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// What it was, in words.
    pub what: String,
    /// How it ended.
    pub outcome: CheckOutcome,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckOutcome {
    /// As it should.
    Passed,
    /// It is not as it should be, for this reason.
    Failed(String),
    /// It could not be made, for this reason: `not exercised: …`
    Skipped(String),
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            CheckOutcome::Passed => write!(f, "{}: passed", self.what),
            CheckOutcome::Failed(reason) => write!(f, "{}: failed: {reason}", self.what),
            CheckOutcome::Skipped(reason) => write!(f, "{}: {reason}", self.what),
        }
    }
}

/// The checks as they add up.
#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn pass(&mut self, what: impl Into<String>) {
        self.0.push(Check { what: what.into(), outcome: CheckOutcome::Passed });
    }

    fn fail(&mut self, what: impl Into<String>, reason: impl fmt::Display) {
        self.0.push(Check { what: what.into(), outcome: CheckOutcome::Failed(reason.to_string()) });
    }

    fn skip(&mut self, what: impl Into<String>, reason: impl fmt::Display) {
        let outcome = CheckOutcome::Skipped(format!("not exercised: {reason}"));
        self.0.push(Check { what: what.into(), outcome });
    }
}

/// # Errors
/// `Configuration` behind a transaction pooler; those of the database. Nothing stays behind either way.
pub(super) async fn verify(
    router: &Core,
    postgres: &Postgres,
    wanted: &Wanted,
) -> Result<Verification, Fault> {
    let mut direct = postgres.database.direct().await?;
    let mut checks = Checks::default();
    plan_is_empty(&draw(postgres, wanted).await?, &mut checks);
    objects::look(postgres, &mut direct, &mut checks).await?;
    trial::run(router, postgres, &mut direct, &mut checks).await?;
    direct.close().await;
    Ok(Verification { checks: checks.0 })
}

/// Whoever plans again finds nothing to do.
fn plan_is_empty(plan: &Plan, checks: &mut Checks) {
    for step in &plan.steps {
        checks.fail(&step.object, format!("step {} is left to do: {}", step.id, step.reason));
    }
    for blocked in &plan.blocked {
        checks.fail(&blocked.object, &blocked.reason);
    }
    if plan.is_empty() {
        checks.pass("nothing is left to do");
    }
}
