//! What the doctor finds, and how it is mended.

use crate::display::visible;
use crate::postgres::sql::printed::statements;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
#[cfg_attr(feature = "cli", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing; nothing is at risk.
    Notice,
    /// A protection is missing, or something will fail.
    Warning,
    /// Credentials leak or are lost, or anybody could make them.
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
    /// Secrets that lie open.
    Exposure,
    /// Who may read and write the table.
    Access,
    /// Keys, and what is sealed under them.
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

/// How a finding is fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
#[cfg_attr(feature = "cli", serde(tag = "kind", content = "text", rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Fix {
    /// One or more SQL statements, for the owner of the table: each on a line of its own, with its semicolon. They run as they
    /// stand, also indented.
    Sql(String),
    /// A command of this program, or of the shell.
    Command(String),
    /// What only a person can decide.
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

    /// With no character of a name that is not seen as it is.
    fn visible(self) -> Self {
        match self {
            Self::Sql(sql) => Self::Sql(statements(&sql)),
            Self::Command(text) => Self::Command(visible(&text).into_owned()),
            Self::Advice(text) => Self::Advice(visible(&text).into_owned()),
        }
    }

    /// The statements, the command, or the words.
    pub fn text(&self) -> &str {
        match self {
            Self::Sql(text) | Self::Command(text) | Self::Advice(text) => text,
        }
    }
}

/// What a finding is called, the same every time, and what it is about. All of them stand in `finding_ids.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FindingId {
    pub(crate) name: &'static str,
    pub(crate) area: Area,
}

impl FindingId {
    /// The same for another area: any may have a part that could not be looked at.
    pub(crate) fn in_area(self, area: Area) -> Self {
        Self { area, ..self }
    }
}

/// Something that is wrong.
///
/// # Security
/// Holds names of objects, counts and ids of owners, never a stored value. Its texts may be printed as they are: names and ids
/// are in their [visible](crate::display::visible()) form, so that none of them looks like another finding, or steers a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Finding {
    /// What it is called, the same every time: `plaintext`.
    pub id: &'static str,
    /// What it is about.
    pub area: Area,
    /// How bad it is.
    pub severity: Severity,
    /// The object: `column public.user_profiles.api_key`.
    pub object: String,
    /// What is the case, and what that means.
    pub meaning: String,
    /// How many rows, tokens or records, where something was counted.
    pub count: Option<u64>,
    /// Some of the owners concerned, at most five: `user`, or `tenant/user`.
    pub owners: Vec<String>,
    /// How it is fixed. JSON calls it `mend`.
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

    /// The same with another fix.
    pub(crate) fn fixed_by(self, fix: Fix) -> Self {
        Self { fix: fix.visible(), ..self }
    }

    /// The same with a count, and some of the owners.
    pub(crate) fn of(self, count: u64, owners: Vec<String>) -> Self {
        Self { count: Some(count), ..self.about(owners) }
    }

    /// The same about these owners.
    pub(crate) fn about(self, owners: Vec<String>) -> Self {
        Self { owners: owners.iter().map(|owner| visible(owner).into_owned()).collect(), ..self }
    }
}

/// How things stand on the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Health {
    /// Nothing but notices.
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

/// Everything that the doctor found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The worst first.
    pub findings: Vec<Finding>,
    /// What was only sampled or could not be looked at, and what was counted.
    pub notes: Vec<String>,
}

impl Diagnosis {
    /// The worst of the findings decides.
    pub fn health(&self) -> Health {
        match self.findings.iter().map(|finding| finding.severity).max() {
            None | Some(Severity::Notice) => Health::Healthy,
            Some(Severity::Warning) => Health::Degraded,
            Some(Severity::Critical) => Health::Critical,
        }
    }
}
