//! The column that says which provider's credentials a row holds, as `provider = 'retell'`.

use crate::detect::names::{Meaning, Name, words};
use crate::detect::providers::{self, Class, Provider};
use crate::detect::sampled::Sampled;
use crate::layout::layout::shown;
use crate::postgres::catalogue::all_tables::{FoundColumn, FoundKind};

/// The last words of such a column, the clearest first.
const LAST_WORDS: [&str; 18] = [
    "provider",
    "service",
    "integration",
    "platform",
    "vendor",
    "adapter",
    "connector",
    "gateway",
    "app",
    "type",
    "kind",
    "system",
    "source",
    "channel",
    "key",
    "slug",
    "code",
    "name",
];

/// Where the words of a name begin, as in a table of names and values.
const NAMES_FROM: usize = 14;

/// The longest constant. Longer texts are prose.
const LONGEST: usize = 40;

/// A constant that names a provider.
pub(super) struct ProviderConstant {
    pub(super) provider: &'static Provider,
    pub(super) text: String,
    /// Whether it also names a key, as `retell_api_key` in a table of names and values.
    pub(super) names_key: bool,
    /// In how many sampled rows. 0: only the type or a CHECK constraint lists it.
    rows: usize,
}

pub(super) struct ProviderColumn<'a> {
    pub(super) column: &'a FoundColumn,
    /// The constants that name providers.
    constants: Vec<ProviderConstant>,
    /// The place of its last word in the list.
    rank: usize,
}

impl ProviderColumn<'_> {
    /// The constant of the highest class, or of most rows.
    pub(super) fn best(&self) -> Option<&ProviderConstant> {
        let order = |constant: &&ProviderConstant| {
            let is_retell = constant.provider.class == Class::Retell;
            (is_retell, constant.names_key, is_retell && is_exact(constant), constant.rows)
        };
        self.constants.iter().rev().max_by_key(order)
    }

    /// Other constants for the same provider, such as `retell-chat`.
    pub(super) fn others_like<'b>(&'b self, best: &'b ProviderConstant) -> impl Iterator<Item = &'b str> {
        let like =
            move |other: &&ProviderConstant| other.provider == best.provider && other.text != best.text;
        self.constants.iter().filter(like).map(|other| other.text.as_str())
    }

    fn rows(&self) -> usize {
        self.constants.iter().map(|constant| constant.rows).sum()
    }
}

/// The column whose constants name providers in most rows, else one that is called so.
pub(super) fn find<'a>(sampled: &Sampled<'a>) -> Option<ProviderColumn<'a>> {
    let table = sampled.table;
    let columns = table.columns.iter().filter_map(|column| {
        let is_one = matches!(column.kind, FoundKind::Text | FoundKind::Enum);
        let refers = table.foreign.iter().any(|key| key.column == column.name);
        let rank = rank(&column.name)?;
        (is_one && !refers).then(|| {
            let mut constants = constants(sampled, column);
            // other texts there only speak of a provider
            constants.retain(|constant| rank < NAMES_FROM || constant.names_key || is_exact(constant));
            ProviderColumn { column, constants, rank }
        })
    });
    let is_clear = |found: &ProviderColumn| !found.constants.is_empty() || found.rank < 9;
    columns
        .filter(is_clear)
        .max_by_key(|found| (!found.constants.is_empty(), found.rows(), std::cmp::Reverse(found.rank)))
}

/// Whether a column is called like one that tells the provider.
pub(super) fn is_called_so(name: &str) -> bool {
    rank(name).is_some()
}

/// The place of its last word in the list. Of `provider_name` and `app_id`, the word before counts.
fn rank(column: &str) -> Option<usize> {
    let name = Name::of(column);
    let place = |word: &str| LAST_WORDS.iter().position(|known| *known == word);
    let before = name.words.iter().rev().nth(1).and_then(|word| place(word)).filter(|place| *place < 9);
    let is_name = ["id", "identifier", "key", "name", "slug", "code", "type", "kind"].contains(&name.last());
    before.filter(|_| is_name).or_else(|| place(name.last()))
}

fn is_exact(constant: &ProviderConstant) -> bool {
    words(&constant.text).concat() == constant.provider.name
}

fn constants(sampled: &Sampled<'_>, column: &FoundColumn) -> Vec<ProviderConstant> {
    let mut constants: Vec<ProviderConstant> = Vec::new();
    let mut add = |text: &str, rows: usize| match constants.iter_mut().find(|known| known.text == text) {
        Some(known) => known.rows += rows,
        None => constants.extend(constant(text, rows)),
    };
    sampled.texts(&column.name).for_each(|text| add(text, 1));
    column.labels.iter().for_each(|label| add(label, 0));
    let checks = sampled.table.checks.iter().filter(|check| check.column == column.name);
    checks.for_each(|check| quoted(&check.definition).for_each(|text| add(text, 0)));
    constants
}

/// `None` for a text that names no provider, or that may be more than a name.
fn constant(text: &str, rows: usize) -> Option<ProviderConstant> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || " _-./".contains(char);
    if text.len() > LONGEST || !text.chars().all(is_name) || shown(text) != text {
        return None;
    }
    let words = words(text);
    let (provider, _) = providers::find(&words)?;
    // a key has long words, or digits in them
    let is_word = |word: &String| {
        let most = if word.bytes().any(|byte| byte.is_ascii_digit()) { 3 } else { 12 };
        word.len() <= most || providers::is_known(word)
    };
    let is_short = words.len() <= 4 && words.iter().all(is_word);
    let names_key = matches!(Name::of(text).meaning(), Meaning::Key(_));
    is_short.then(|| ProviderConstant { provider, text: text.to_owned(), names_key, rows })
}

/// The texts between single quotes.
fn quoted(definition: &str) -> impl Iterator<Item = &str> {
    definition.split('\'').skip(1).step_by(2)
}
