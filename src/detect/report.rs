//! What a detection reports.

use std::collections::BTreeMap;

use crate::display::visible;
use crate::layout::file::source_lines;
use crate::layout::filter::FilterValue;
use crate::layout::layout::{Layout, joined_name};
use crate::layout::old_source::{Held, OldSource};
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
    /// Where its values could be imported from.
    pub(super) sources: Vec<ProposedSource>,
    pub(super) unopened: Vec<String>,
    /// What a row is about, such as `user`: two tables with the same have the same owners.
    pub(super) rows_of: Option<String>,
    /// Whether its name speaks of events or copies.
    pub(super) is_record: bool,
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

/// A column from which credentials can be imported: a `[[source]]` part of the layout file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProposedSource {
    /// Its table with its schema, as in [`Candidate::table`].
    pub table: String,
    /// The column of the user id.
    pub user: String,
    /// The column of the tenant id.
    pub tenant: Option<String>,
    /// Which rows count: constants of columns.
    pub filter: BTreeMap<String, FilterValue>,
    /// Which rows count: those with NULL in these columns.
    pub is_null: Vec<String>,
    /// The column with the values.
    pub column: String,
    /// The field, if each value is one field.
    pub field: Option<String>,
    /// The members of the JSON, each with its field. Without a field and members, the members have the names of the fields.
    pub members: BTreeMap<String, String>,
    /// The decryptor whose form the values have.
    pub decryptor: &'static str,
    /// The column of the nonce, if it has one of its own.
    pub iv: Option<String>,
    /// The column of the tag, if it has one of its own.
    pub tag: Option<String>,
    /// Why a person must check it first. The layout does not have such a source, and its file has it as a comment.
    pub doubt: Option<String>,
    pub(super) source: OldSource,
}

impl ProposedSource {
    pub(super) fn new(source: OldSource, doubt: Option<String>) -> Self {
        let (field, members) = match &source.held {
            Held::MembersByName => (None, BTreeMap::new()),
            Held::One(field) => (Some(field.to_string()), BTreeMap::new()),
            Held::Members(members) => {
                let members = members.iter().map(|(path, field)| (path.clone(), field.to_string()));
                (None, members.collect())
            }
        };
        Self {
            table: joined_name(&[&source.schema, &source.table]),
            user: source.user_column.clone(),
            tenant: source.tenant_column.clone(),
            filter: source.filter.equals.iter().cloned().collect(),
            is_null: source.filter.is_null.clone(),
            column: source.column.clone(),
            field,
            members,
            decryptor: source.decryptor,
            iv: source.iv_column.clone(),
            tag: source.tag_column.clone(),
            doubt,
            source,
        }
    }

    /// Its lines in the file. With a doubt they are comments.
    fn lines(&self) -> Vec<String> {
        let lines = source_lines(&self.source);
        match &self.doubt {
            None => lines,
            Some(doubt) => {
                let why = format!("# not in use, because {}. Check it, and remove the `#`:", visible(doubt));
                let lines = lines.into_iter().skip(1).map(|line| format!("# {line}"));
                [String::new(), why].into_iter().chain(lines).collect()
            }
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
    /// Where credentials are today, in order of precedence: first in the table of the layout, then in other candidates of the same
    /// owners. The layout has those without a doubt.
    pub sources: Vec<ProposedSource>,
    /// What no decryptor opens, with its column.
    pub unopened: Vec<String>,
}

/// What the file says before its sources.
const ABOUT_SOURCES: &str = "
# Where credentials are today, for `retell-vault import scan`. If two sources have different values for one field of an owner, the
# first source wins. The order is that of the likelihood: check that the application reads its columns in this order, and swap the
# parts if it does not.
";

impl Proposal {
    pub(super) fn add(&mut self, sources: Vec<ProposedSource>, unopened: Vec<String>) {
        self.layout.sources =
            sources.iter().filter(|found| found.doubt.is_none()).map(|found| found.source.clone()).collect();
        (self.sources, self.unopened) = (sources, unopened);
    }

    /// The text of a layout file, with the remarks as comments.
    pub fn to_toml(&self) -> String {
        // a name with a line break must not become a line of the file
        let remarks: String = self.remarks.iter().map(|remark| format!("# {}\n", visible(remark))).collect();
        let mut text = format!("{remarks}{}", self.layout.clone().without_sources().to_toml());
        if !self.sources.is_empty() || !self.unopened.is_empty() {
            text.push_str(ABOUT_SOURCES);
        }
        for line in self.sources.iter().flat_map(ProposedSource::lines) {
            text.push_str(&line);
            text.push('\n');
        }
        for line in &self.unopened {
            text.push_str(&format!("\n# {}\n", visible(line)));
        }
        text
    }
}
