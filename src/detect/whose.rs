//! Whose credentials a table holds: the provider that a column, the table, a constant or a value names.

use crate::detect::names::{Meaning, Name};
use crate::detect::provider_column::ProviderColumn;
use crate::detect::providers::{self, Class, Provider};
use crate::detect::sampled::{Sampled, Shapes};
use crate::detect::shapes::{ValueShape, provider_inside};
use crate::postgres::catalogue::all_tables::{FoundColumn, FoundKind};

/// Words in the names of tables that are made for credentials.
pub(super) const FOR_CREDENTIALS: [&str; 16] = [
    "auth",
    "auths",
    "connection",
    "connections",
    "connector",
    "connectors",
    "credential",
    "credentials",
    "creds",
    "integration",
    "integrations",
    "provider",
    "providers",
    "secret",
    "secrets",
    "vault",
];

/// A column that may hold a value, with what its name and its values say.
pub(super) struct Known<'a> {
    pub(super) column: &'a FoundColumn,
    pub(super) name: Name,
    pub(super) meaning: Meaning,
    pub(super) shapes: Shapes,
    /// The provider whose credentials are inside a JSON value.
    pub(super) inside: Option<&'static Provider>,
}

/// The provider whose credentials a table holds, and how that is known.
#[derive(Clone)]
pub(super) struct Whose {
    /// `None`: nothing names one, but the table is made for credentials.
    pub(super) provider: Option<&'static Provider>,
    pub(super) name: Option<String>,
    /// Columns without a provider in their name belong to it too, because the table or a constant names it.
    pub(super) is_all: bool,
    pub(super) is_by_constant: bool,
}

impl Whose {
    /// Whether a column is the provider's, by its name, or because everything in the table is.
    pub(super) fn owns(&self, name: &Name) -> bool {
        match (name.provider, self.provider) {
            (Some(named), Some(provider)) => named == provider,
            (Some(_), None) => false,
            (None, None) => self.is_all || name.unknown_provider() == self.name.as_deref(),
            (None, Some(_)) => self.is_all && !name.is_misspelt,
        }
    }

    pub(super) fn is_retell(&self) -> bool {
        self.provider.is_some_and(|provider| provider.class == Class::Retell)
    }
}

/// The columns that matter, before any value is read: all that may hold one.
pub(super) fn of_interest(column: &FoundColumn) -> bool {
    column.readable && is_for_values(column)
}

/// The id of a secret may be a UUID.
fn is_for_values(column: &FoundColumn) -> bool {
    column.kind.is_for_values() || (column.kind == FoundKind::Uuid && Name::of(&column.name).says_reference())
}

/// All but those that refer to other tables, and the one that tells the provider.
pub(super) fn known<'a>(sampled: &Sampled<'a>, constants: Option<&ProviderColumn<'a>>) -> Vec<Known<'a>> {
    let tells = |column: &FoundColumn| {
        constants.is_some_and(|found| found.best().is_some() && found.column.name == column.name)
    };
    let refers = |column: &FoundColumn| {
        sampled.table.foreign.iter().any(|key| key.column == column.name)
            && !Name::of(&column.name).says_reference()
    };
    let columns = sampled.table.columns.iter();
    let columns = columns.filter(|column| is_for_values(column) && column.kind != FoundKind::Enum);
    columns
        .filter(|column| !refers(column) && !tells(column))
        .map(|column| {
            let (name, shapes) = (Name::of(&column.name), sampled.shapes(&column.name, None));
            let is_text = matches!(column.kind, FoundKind::Json | FoundKind::Jsonb | FoundKind::Text);
            let texts = sampled.texts(&column.name).filter(|_| is_text);
            let inside = texts.filter_map(provider_inside).max_by_key(|provider| provider.class);
            let meaning = meaning(column, &name, &shapes, inside.is_some());
            Known { column, name, meaning, shapes, inside }
        })
        .collect()
}

fn meaning(column: &FoundColumn, name: &Name, shapes: &Shapes, has_inside: bool) -> Meaning {
    let is_json = matches!(column.kind, FoundKind::Json | FoundKind::Jsonb);
    match name.meaning() {
        Meaning::Key(_) if is_json => Meaning::Config,
        Meaning::Other | Meaning::PhoneNumber if shapes.of(&[ValueShape::RetellKey]) * 2 > shapes.set() => {
            Meaning::Key(1)
        }
        Meaning::Other | Meaning::Config
            if is_json && (has_inside || shapes.of(&[ValueShape::JsonToken]) > 0) =>
        {
            Meaning::Config
        }
        // it may be a word of the application, such as `{agent}`
        Meaning::Config if name.last() == "data" && is_json => Meaning::Other,
        meaning => meaning,
    }
}

/// `None`: nobody's, as far as can be told.
pub(super) fn whose(
    known: &[Known<'_>],
    table: &Name,
    constants: Option<&ProviderColumn<'_>>,
) -> Option<Whose> {
    let is_secret = |known: &Known| {
        matches!(known.meaning, Meaning::Key(_) | Meaning::Config | Meaning::WebhookKey | Meaning::Agent(_))
    };
    let is_general =
        |known: &Known| known.name.provider.is_none() && (is_secret(known) || known.name.last() == "value");
    let has_general = known.iter().any(is_general);
    let whose = |provider: &'static Provider, is_all, is_by_constant| Whose {
        provider: Some(provider),
        name: Some(provider.name.to_owned()),
        is_all,
        is_by_constant,
    };
    let by_column = known.iter().filter(|known| is_secret(known)).filter_map(|known| {
        let is_enough = |provider: &Provider| {
            provider.class == Class::Retell
                || !matches!(known.meaning, Meaning::Agent(_) | Meaning::WebhookKey)
        };
        known
            .name
            .provider
            .filter(|provider| is_enough(provider))
            .map(|provider| whose(provider, false, false))
    });
    let by_table = table.provider.map(|provider| whose(provider, true, false));
    let best = constants.and_then(ProviderColumn::best).filter(|_| has_general);
    let by_constant = best.map(|constant| whose(constant.provider, true, true));
    let has = |shapes: &[ValueShape]| {
        known.iter().any(|known| known.shapes.of(shapes) > 0 && known.meaning != Meaning::Other)
    };
    let by_value = has(&[ValueShape::RetellKey, ValueShape::RetellAgent])
        .then(|| whose(providers::retell(), false, false));
    let by_inside =
        known.iter().filter(|known| known.meaning == Meaning::Config).filter_map(|known| known.inside);
    let by_inside = by_inside.map(|provider| whose(provider, false, false));
    let all = by_column.chain(by_table).chain(by_constant).chain(by_value).chain(by_inside);
    // the first of the highest class
    let class = |whose: &Whose| whose.provider.map(|provider| provider.class);
    let best = all.reduce(|best, other| if class(&other) > class(&best) { other } else { best });
    best.or_else(|| unknown(known, table, constants, has_general))
}

/// A table for credentials whose provider is not known.
fn unknown(
    known: &[Known<'_>],
    table: &Name,
    constants: Option<&ProviderColumn<'_>>,
    has_general: bool,
) -> Option<Whose> {
    let named = known.iter().find_map(|known| known.name.unknown_provider().map(str::to_owned));
    let is_made_for_it = table.has(&FOR_CREDENTIALS) && constants.is_some() && has_general;
    let whose = Whose { provider: None, name: named, is_all: is_made_for_it, is_by_constant: false };
    (whose.name.is_some() || is_made_for_it).then_some(whose)
}
