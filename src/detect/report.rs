//! What a detection reports.

use std::collections::BTreeMap;

use crate::display::visible;
use crate::layout::filter::FilterValue;
use crate::layout::layout::Layout;
use crate::postgres::connection::options::PoolerMode;

/// What to look at, and for how long.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DetectOptions {
    pub(super) schema: Option<String>,
    pub(super) table: Option<String>,
    pub(super) pooler: PoolerMode,
}

impl DetectOptions {
    /// Looks at every schema that the role may use.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at this schema only.
    pub fn schema(mut self, name: &str) -> Self {
        self.schema = Some(name.to_owned());
        self
    }

    /// Chooses this table, `table` or `schema.table`, if it is a candidate.
    pub fn table(mut self, name: &str) -> Self {
        self.table = Some(name.to_owned());
        self
    }

    /// Whether a transaction pooler is in front of Postgres.
    pub fn pooler(mut self, mode: PoolerMode) -> Self {
        self.pooler = mode;
        self
    }
}

/// The result of [`Layout::detect`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Detection {
    /// Tables that hold credentials of a voice or API provider, or are made for them. The most likely one is first;
    /// tables that name Retell are before all others.
    pub candidates: Vec<Candidate>,
    /// The candidate that is meant: the table that was named, or the first candidate if it names Retell and leads
    /// clearly.
    pub chosen: Option<usize>,
    /// What was not looked at, or not completely, and why.
    pub left_out: Vec<String>,
}

impl Detection {
    /// The layout for the chosen candidate, and remarks about it.
    pub fn proposal(&self) -> Option<&Proposal> {
        self.chosen.and_then(|at| self.candidates[at].proposal.as_ref())
    }
}

/// A table with credentials, or made for them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Candidate {
    /// Its name with its schema. A part with a dot or a double quote is in double quotes.
    pub table: String,
    /// The column that tells whose credentials a row holds. `None`: the table has no key that could.
    pub user: Option<String>,
    /// The column of the group that the user belongs to.
    pub tenant: Option<String>,
    /// Which rows hold them: constants of columns.
    pub filter: BTreeMap<String, FilterValue>,
    /// Which rows count: those with NULL in these columns, as `deleted_at`.
    pub is_null: Vec<String>,
    /// Where values are today: fields of a configuration, `config` for a column with several of them, and `iv`, `tag`
    /// and `refresh` for the parts of a ciphertext in columns of their own.
    pub columns: BTreeMap<&'static str, String>,
    /// What the column of the key holds, or the config column if there is no key.
    pub holds: Holding,
    /// The reasons, and what could not be told. Without any value of the table.
    pub why: Vec<String>,
    /// The provider that the table, a column, the filter or a value names.
    pub provider: Option<String>,
    pub(super) score: i32,
    pub(super) proposal: Option<Proposal>,
}

/// What a column holds, as far as a sample shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Holding {
    /// Keys that everybody can read who can read the table.
    Plaintext,
    /// What looks encrypted by the application.
    Ciphertext,
    /// Names of the places where the keys are, such as environment variables.
    References,
    /// Tokens of a vault.
    Tokens,
    /// Nothing in the sampled rows.
    Empty,
    /// Something else, or nothing could be read.
    Unknown,
}

impl Holding {
    /// `plaintext`, `ciphertext`, `references`, `tokens`, `empty` or `unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ciphertext => "ciphertext",
            Self::References => "references",
            Self::Tokens => "tokens",
            Self::Empty => "empty",
            Self::Unknown => "unknown",
        }
    }
}

/// A layout for a candidate: where the vault would store tokens. A column that holds other values is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proposal {
    /// The layout.
    pub layout: Layout,
    /// For each value that is in another column today: its field, its column, and where tokens will go.
    pub remarks: Vec<String>,
}

impl Proposal {
    /// The text of a layout file, with the remarks as comments.
    pub fn to_toml(&self) -> String {
        // a name with a line break must not become a line of the file
        let remarks: String = self.remarks.iter().map(|remark| format!("# {}\n", visible(remark))).collect();
        format!("{remarks}{}", self.layout.to_toml())
    }
}
