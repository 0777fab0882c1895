//! What the doctor finds, and how to fix it.

use crate::display::visible;
use crate::postgres::sql::printed::statements;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
#[cfg_attr(feature = "cli", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Severity {
    /// Useful to know; nothing is at risk.
    Notice,
    /// A protection is missing, or something will fail.
    Warning,
    /// Credentials leak, are lost, or could be forged.
    Critical,
}

impl Severity {
    /// `notice`, `warning` or `critical`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
#[cfg_attr(feature = "cli", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Area {
    /// Columns, constraints and indexes.
    Schema,
    /// Secrets stored in plaintext.
    Exposure,
    /// Rights to read and write the table.
    Access,
    /// Keys, and the tokens under them.
    Keys,
    /// The server, the connection, the local file.
    Operation,
}

impl Area {
    /// `schema`, `exposure`, `access`, `keys` or `operation`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Exposure => "exposure",
            Self::Access => "access",
            Self::Keys => "keys",
            Self::Operation => "operation",
        }
    }
}

/// How to fix a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
#[cfg_attr(feature = "cli", serde(tag = "kind", content = "text", rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Fix {
    /// One or more SQL statements for the owner of the table. Each is one line and ends with a semicolon. You can run
    /// them as printed, indentation included.
    Sql(String),
    /// A command of this program or of the shell.
    Command(String),
    /// A person must decide.
    Advice(String),
}

impl Fix {
    /// `sql`, `command` or `advice`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sql(_) => "sql",
            Self::Command(_) => "command",
            Self::Advice(_) => "advice",
        }
    }

    /// Escapes every invisible character of a name.
    fn visible(self) -> Self {
        match self {
            Self::Sql(sql) => Self::Sql(statements(&sql)),
            Self::Command(text) => Self::Command(visible(&text).into_owned()),
            Self::Advice(text) => Self::Advice(visible(&text).into_owned()),
        }
    }

    /// The statements, the command or the advice.
    pub fn text(&self) -> &str {
        match self {
            Self::Sql(text) | Self::Command(text) | Self::Advice(text) => text,
        }
    }
}

/// The stable id of a finding, and its area. `finding_ids.rs` defines them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FindingId {
    pub(crate) name: &'static str,
    pub(crate) area: Area,
}

impl FindingId {
    /// The same id in another area: a part of any area may be impossible to examine.
    pub(crate) fn in_area(self, area: Area) -> Self {
        Self { area, ..self }
    }
}

/// One problem.
///
/// # Security
/// A finding holds names of objects, counts and owner ids, never a stored value. You can print its texts as they are:
/// names and ids are in their [visible](crate::display::visible()) form, so no name can imitate another finding or
/// control a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Finding {
    /// Its stable id, such as `plaintext`.
    pub id: &'static str,
    /// Its area.
    pub area: Area,
    /// Its severity.
    pub severity: Severity,
    /// The object, such as `column public.user_profiles.api_key`.
    pub object: String,
    /// The problem and its consequence.
    pub meaning: String,
    /// The number of rows, tokens or records, if the doctor counted any.
    pub count: Option<u64>,
    /// At most five of the owners concerned, as `user` or `tenant/user`.
    pub owners: Vec<String>,
    /// How to fix it. JSON calls it `mend`.
    #[cfg_attr(feature = "cli", serde(rename = "mend"))]
    pub fix: Fix,
}

impl Finding {
    pub(crate) fn new(
        id: FindingId,
        severity: Severity,
        object: impl Into<String>,
        meaning: impl Into<String>,
        fix: Fix,
    ) -> Self {
        let shown = |text: String| visible(&text).into_owned();
        let (object, meaning) = (shown(object.into()), shown(meaning.into()));
        let FindingId { name: id, area } = id;
        Self { id, area, severity, object, meaning, count: None, owners: Vec::new(), fix: fix.visible() }
    }

    /// The same finding with another fix.
    pub(crate) fn fixed_by(self, fix: Fix) -> Self {
        Self { fix: fix.visible(), ..self }
    }

    /// The same finding with a count and some of the owners.
    pub(crate) fn of(self, count: u64, owners: Vec<String>) -> Self {
        Self { count: Some(count), ..self.about(owners) }
    }

    /// The same finding for these owners.
    pub(crate) fn about(self, owners: Vec<String>) -> Self {
        Self { owners: owners.iter().map(|owner| visible(owner).into_owned()).collect(), ..self }
    }
}

/// The overall state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Health {
    /// No findings, or only notices.
    Healthy,
    /// At least one warning.
    Degraded,
    /// At least one critical finding.
    Critical,
}

impl Health {
    /// `healthy`, `degraded` or `critical`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Critical => "critical",
        }
    }
}

/// The result of an examination.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The findings, worst first.
    pub findings: Vec<Finding>,
    /// What was counted, what was only sampled, and what could not be examined.
    pub notes: Vec<String>,
}

impl Diagnosis {
    /// The state that follows from the worst finding.
    pub fn health(&self) -> Health {
        match self.findings.iter().map(|finding| finding.severity).max() {
            None | Some(Severity::Notice) => Health::Healthy,
            Some(Severity::Warning) => Health::Degraded,
            Some(Severity::Critical) => Health::Critical,
        }
    }
}
