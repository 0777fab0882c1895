//! What verifying found.

use std::fmt;

/// What verifying found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// The checks, in order.
    pub checks: Vec<Check>,
}

impl Verification {
    /// Whether no check failed. Skipped checks do not count.
    pub fn is_good(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| matches!(check.outcome, CheckOutcome::Failed(_)))
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// What it checked, in words.
    pub what: String,
    /// Its outcome.
    pub outcome: CheckOutcome,
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckOutcome {
    /// It passed.
    Passed,
    /// It failed, for this reason.
    Failed(String),
    /// It was skipped, for this reason: `not tested: …`
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

/// Collects checks.
#[derive(Default)]
pub(super) struct Checks(Vec<Check>);

impl Checks {
    pub(super) fn pass(&mut self, what: impl Into<String>) {
        self.0.push(Check { what: what.into(), outcome: CheckOutcome::Passed });
    }

    pub(super) fn fail(&mut self, what: impl Into<String>, reason: impl fmt::Display) {
        self.0.push(Check { what: what.into(), outcome: CheckOutcome::Failed(reason.to_string()) });
    }

    pub(super) fn skip(&mut self, what: impl Into<String>, reason: impl fmt::Display) {
        let outcome = CheckOutcome::Skipped(format!("not tested: {reason}"));
        self.0.push(Check { what: what.into(), outcome });
    }

    pub(super) fn done(self) -> Verification {
        Verification { checks: self.0 }
    }
}
