//! What verifying found.

use std::fmt;

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
