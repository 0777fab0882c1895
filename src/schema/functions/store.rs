//! The function that stores a record that was sealed elsewhere.

use crate::postgres::sql::names::quote;
use crate::postgres::sql::names::{literal, owner_columns};
use crate::postgres::sql::token::{
    Kind, holds_unrecognised, member, only_member, token_pattern, version, with_member, without_member,
};
use crate::record::field::Field;
use crate::schema::functions::owner::OwnerParams;
use crate::schema::functions::template::fill;
use crate::schema::plan::Subject;

const STORE: &str = include_str!("store.sql");

/// The body. Tokens go where the vault would put them once all columns of the layout are there: those
/// of a secret field with a column of its own into it, the others into the JSONB column.
pub(super) fn body(subject: &Subject<'_>, owner: &OwnerParams) -> String {
    let slots = Slots::new(subject);
    let names =
        |fields: &[Field]| fields.iter().map(|field| literal(field.name())).collect::<Vec<_>>().join(", ");
    let dedicated: Vec<_> = slots.texts.iter().map(|(field, _)| *field).collect();
    let no_tenant = match owner.params.len() {
        1 => String::new(),
        _ => " OR p_tenant IS NULL".to_owned(),
    };
    let inserted: Vec<_> = owner.values().into_iter().chain(slots.inserts(subject)).collect();
    let (columns, values): (Vec<_>, Vec<_>) = inserted.into_iter().unzip();
    // beside a deferrable constraint Postgres asks for one; elsewhere a column that is called like a
    // parameter would be taken for it
    let target = match subject.picture.indexes.iter().any(|index| !index.immediate) {
        true => format!(" ({})", owner_columns(subject.layout).join(", ")),
        false => String::new(),
    };
    fill(
        STORE,
        &[
            ("relation", subject.relation()),
            ("token", token_pattern()),
            ("owner", owner.condition()),
            ("no_tenant", no_tenant),
            ("secrets", names(&Field::SECRET)),
            ("secret_words", Field::SECRET.map(Field::name).join(", ")),
            ("fields", names(&Field::ALL)),
            ("dedicated", names(&dedicated)),
            ("assignments", slots.assignments()),
            ("foreign", slots.foreign()),
            ("newest", slots.newest()),
            ("columns", columns.join(", ")),
            ("values", values.join(", ")),
            ("target", target),
        ],
    )
}

/// Where the tokens of a record go, quoted.
struct Slots {
    texts: Vec<(Field, String)>,
    config: String,
    sync: String,
}

impl Slots {
    fn new(subject: &Subject<'_>) -> Self {
        let layout = subject.layout;
        let own = |field: Field| Some((field, quote(layout.column_of(field)?)));
        Self {
            texts: Field::SECRET.into_iter().filter_map(own).collect(),
            config: quote(&layout.config_column),
            sync: quote(&layout.sync_column),
        }
    }

    fn token(field: Field) -> String {
        format!("p_tokens ->> {}", literal(field.name()))
    }

    fn assignments(&self) -> String {
        let config = format!("t.{}", self.config);
        let texts = self.texts.iter().map(|(field, column)| format!("{column} = {}", Self::token(*field)));
        let others = [
            // what other code wrote beside ours stays
            format!(
                "{} = CASE WHEN v_rest <> '{{}}' THEN {} \
                 WHEN pg_catalog.jsonb_typeof({config}) = 'object' THEN {} ELSE {config} END",
                self.config,
                with_member(&config, "v_rest"),
                without_member(&config)
            ),
            format!("{} = pg_catalog.now()", self.sync),
        ];
        texts.chain(others).collect::<Vec<_>>().join(", ")
    }

    fn foreign(&self) -> String {
        let config = format!("t.{}", self.config);
        let texts = self
            .texts
            .iter()
            .map(|(_, column)| holds_unrecognised(&format!("t.{column}::pg_catalog.text"), Kind::Text));
        let others = [
            format!("pg_catalog.jsonb_typeof({config}) NOT IN ('object', 'null')"),
            holds_unrecognised(&config, Kind::Json),
        ];
        texts.chain(others).map(|condition| format!("({condition}) IS TRUE")).collect::<Vec<_>>().join(" OR ")
    }

    /// The newest version that any token of the row `t` has. Only columns of `t`, so that it is looked at
    /// again after a wait for the row.
    fn newest(&self) -> String {
        let texts: Vec<_> =
            self.texts.iter().map(|(_, column)| format!("t.{column}::pg_catalog.text")).collect();
        let ours = member(&format!("t.{}", self.config));
        format!(
            "coalesce((SELECT pg_catalog.max({} COLLATE \"C\") FROM \
             (SELECT pg_catalog.unnest(pg_catalog.string_to_array(pg_catalog.concat_ws(' ', {}), ' ')) \
             UNION ALL SELECT value FROM pg_catalog.jsonb_each_text(CASE pg_catalog.jsonb_typeof({ours}) WHEN 'object' THEN {ours} ELSE '{{}}' END)) \
             AS held (token)), '') COLLATE \"C\"",
            version("held.token"),
            [&["NULL".to_owned()], texts.as_slice()].concat().join(", ")
        )
    }

    /// The columns of a new row besides the owner's, and their values.
    fn inserts(&self, subject: &Subject<'_>) -> Vec<(String, String)> {
        let must_be = |column: &str| subject.picture.column(column).is_some_and(|column| column.not_null);
        let nothing = if must_be(&subject.layout.config_column) { "'{}'" } else { "NULL" };
        let texts = self.texts.iter().map(|(field, column)| (column.clone(), Self::token(*field)));
        let config = format!("CASE WHEN v_rest <> '{{}}' THEN {} ELSE {nothing} END", only_member("v_rest"));
        let others = [(self.config.clone(), config), (self.sync.clone(), "pg_catalog.now()".to_owned())];
        texts.chain(others).chain(blanks(subject)).collect()
    }
}

/// What the vault writes into plain columns that may not be null and have no default.
fn blanks(subject: &Subject<'_>) -> impl Iterator<Item = (String, String)> {
    let blank = |field: Field| {
        let column = subject.picture.column(subject.layout.column_of(field)?)?;
        let value = match field {
            Field::IntegrationStatus => "'not_configured'",
            Field::WebhookConfig => "'{}'",
            _ => "''",
        };
        (column.not_null && column.default.is_none()).then(|| (quote(&column.name), value.to_owned()))
    };
    Field::PLAIN.into_iter().filter_map(blank)
}
