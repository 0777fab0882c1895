//! The layout file: reads and prints a layout as TOML. Reading calls the methods of [`Layout`], which check everything.

use toml::de::DeTable;

use crate::error::{Error, Result};
use crate::layout::filter::{Filter, FilterValue};
use crate::layout::layout::{Layout, joined_name};
use crate::layout::old_source::{Held, OldSource};
use crate::layout::toml_member::{Member, invalid, meant, members, not_toml};
use crate::record::credentials::Credentials;
use crate::record::field::Field;

/// The longest file in bytes.
const MAX_FILE: usize = 64 * 1024;

const SECTIONS: [&str; 4] = ["table", "columns", "source", "ledger"];
const OF_TABLE: [&str; 6] = ["name", "user", "tenant", "where", "is_null", "rows"];
const OF_SOURCE: [&str; 12] = [
    "table",
    "user",
    "tenant",
    "where",
    "is_null",
    "column",
    "field",
    "members",
    "decryptor",
    "iv",
    "tag",
    "time",
];
const OF_LEDGER: [&str; 1] = ["reveal_needs_reason"];
/// Reserved members of `[columns]`. A field with one of these names goes into `[columns.fields]`.
const OF_COLUMNS: [&str; 6] = ["config", "sync", "index", "sealed", "extra", "fields"];

impl Layout {
    /// Reads a layout for a kind of credentials from the text of a layout file. See [`Layout::from_toml`].
    ///
    /// # Errors
    /// `InvalidInput`, which names the member and its line, and never repeats a value.
    pub fn from_toml_of<C: Credentials>(text: &str) -> Result<Self> {
        if text.len() > MAX_FILE {
            return Err(invalid("the layout file is longer than 64 KiB"));
        }
        let file = DeTable::parse(text).map_err(|error| not_toml(text, &error))?;
        let mut layout = Self::of::<C>();
        let members = members(text, None, file.get_ref());
        // sources last: they may name fields that `columns` declares
        let (sources, members): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|member| member.name == "source");
        for member in members.iter().chain(&sources) {
            layout = match member.name {
                "table" => read_table(layout, member)?,
                "columns" => read_columns(layout, member)?,
                "ledger" => read_ledger(layout, member)?,
                "source" => member.items("a list of tables")?.iter().try_fold(layout, read_source)?,
                _ => return Err(member.unknown(&SECTIONS)),
            };
        }
        Ok(layout)
    }

    /// Prints the layout as the text of a layout file. It leaves out defaults, except the user column.
    pub fn to_toml(&self) -> String {
        let mut lines = vec!["[table]".to_owned()];
        if self.table_was_named {
            lines.push(member("name", &text(&joined_name(&[&self.schema, &self.table]))));
        }
        lines.push(member("user", &text(&self.user_column)));
        lines.extend(self.tenant_column.iter().map(|column| member("tenant", &text(column))));
        lines.extend(filter_lines(&self.filter));
        lines.extend(self.rows.map(|rows| member("rows", &text(rows.as_str()))));
        let columns = self.column_lines();
        if !columns.is_empty() {
            lines.extend([String::new(), "[columns]".to_owned()]);
            lines.extend(columns);
        }
        if self.reveal_needs_reason {
            lines.extend([String::new(), "[ledger]".to_owned(), member("reveal_needs_reason", "true")]);
        }
        lines.extend(self.sources.iter().flat_map(source_lines));
        lines.into_iter().map(|line| line + "\n").collect()
    }

    /// A command that shows secrets asks for a reason, which the [ledger](crate::ledger) keeps. The default is that it does not.
    pub fn reveal_needs_reason(self) -> Self {
        Self { reveal_needs_reason: true, ..self }
    }

    /// Whether a command that shows secrets asks for a reason.
    pub fn is_reason_needed(&self) -> bool {
        self.reveal_needs_reason
    }

    fn column_lines(&self) -> Vec<String> {
        let named = self.fields.each().filter_map(|(field, _)| Some((field, self.columns.get(&field)?)));
        let of_field = |(field, column): (Field, &String)| match OF_COLUMNS.contains(&field.name()) {
            true => member(&format!("fields.{field}"), &text(column)),
            false => member(field.name(), &text(column)),
        };
        let mut lines: Vec<String> = named.map(of_field).collect();
        lines.extend(self.names_config_column().then(|| member("config", &text(&self.config_column))));
        lines.extend(self.names_sync_column().then(|| member("sync", &text(&self.sync_column))));
        lines.extend(self.index_was_named.then(|| member("index", &text(&self.index_column))));
        if !self.sealed.is_empty() {
            lines.push(member("sealed", &texts(self.sealed.iter().map(Field::name))));
        }
        if !self.extra.is_empty() {
            lines.push(member("extra", &texts(self.extra.iter().map(Field::name))));
        }
        lines
    }
}

fn read_table(mut layout: Layout, table: &Member<'_>) -> Result<Layout> {
    for member in table.members()? {
        layout = match member.name {
            "name" => member.checked(layout.table(member.text()?))?,
            "user" => member.checked(layout.user_column(member.text()?))?,
            "tenant" => member.checked(layout.tenant_column(member.text()?))?,
            "where" => read_where(layout, &member)?,
            "is_null" => member
                .items("a list of texts")?
                .iter()
                .try_fold(layout, |layout, column| column.checked(layout.is_null(column.text()?)))?,
            "rows" => layout.rows(member.rows()?),
            _ => return Err(member.unknown(&OF_TABLE)),
        };
    }
    Ok(layout)
}

fn read_where(layout: Layout, filter: &Member<'_>) -> Result<Layout> {
    let constants = filter.members()?;
    constants.iter().try_fold(layout, |layout, constant| {
        filter.checked(layout.where_equals(constant.name, filter.constant(constant)?))
    })
}

fn read_columns(mut layout: Layout, columns: &Member<'_>) -> Result<Layout> {
    let members = columns.members()?;
    // `extra` first: other members may name the fields that it declares
    for extra in members.iter().filter(|member| member.name == "extra") {
        for name in extra.items("a list of texts")? {
            layout = name.checked(layout.extra_secret(name.text()?))?;
        }
    }
    for member in &members {
        layout = match member.name {
            "extra" => layout,
            "config" => member.checked(layout.config_column(member.text()?))?,
            "sync" => member.checked(layout.sync_column(member.text()?))?,
            "index" => member.checked(layout.index_column(member.text()?))?,
            "sealed" => member.items("a list of texts")?.iter().try_fold(layout, read_sealed)?,
            "fields" => {
                member.members()?.iter().try_fold(layout, |layout, field| read_column(layout, field, &[]))?
            }
            _ => read_column(layout, member, &OF_COLUMNS)?,
        };
    }
    Ok(layout)
}

fn read_ledger(mut layout: Layout, ledger: &Member<'_>) -> Result<Layout> {
    for member in ledger.members()? {
        match member.name {
            "reveal_needs_reason" => layout.reveal_needs_reason = member.boolean()?,
            _ => return Err(member.unknown(&OF_LEDGER)),
        }
    }
    Ok(layout)
}

/// `others` are names that are valid in addition to the fields.
fn read_column(layout: Layout, member: &Member<'_>, others: &[&str]) -> Result<Layout> {
    match known_field(&layout, member.name) {
        Some(field) => member.checked(layout.column(field, member.text()?)),
        None => {
            let fields: Vec<Field> = layout.fields.each().map(|(field, _)| field).collect();
            let fields = fields.iter().map(Field::name);
            Err(member.unknown(&fields.chain(others.iter().copied()).collect::<Vec<_>>()))
        }
    }
}

fn read_sealed(layout: Layout, item: &Member<'_>) -> Result<Layout> {
    match known_field(&layout, item.text()?) {
        Some(field) => item.checked(layout.sealed(field)),
        None => {
            let plain: Vec<Field> = layout.fields.plain().map(|(field, _)| field).collect();
            let plain: Vec<&str> = plain.iter().map(Field::name).collect();
            let error = invalid("no field has this name").about(&item.place);
            Err(error.with_hint(meant(item.text()?, &plain)))
        }
    }
}

fn read_source(layout: Layout, source: &Member<'_>) -> Result<Layout> {
    let members = source.members()?;
    if let Some(other) = members.iter().find(|member| !OF_SOURCE.contains(&member.name)) {
        return Err(other.unknown(&OF_SOURCE));
    }
    let find = |name: &str| members.iter().find(|member| member.name == name);
    let missing = |name: &str| invalid(format!("{name} is missing")).about(&source.place);
    let required = |name: &str| find(name).ok_or_else(|| missing(name)).and_then(Member::text);
    let about = |error: Error| error.about(&source.place);
    let [table, user, column, decryptor] =
        [required("table")?, required("user")?, required("column")?, required("decryptor")?];
    let mut made = OldSource::new(table, user, column, decryptor).map_err(about)?;
    for member in &members {
        let placed = |made: Result<OldSource>| made.map_err(|error| error.about(&member.place));
        made = match member.name {
            "tenant" => placed(made.tenant_column(member.text()?))?,
            "where" => member.members()?.iter().try_fold(made, |made, constant| {
                placed(made.where_equals(constant.name, member.constant(constant)?))
            })?,
            "is_null" => member
                .items("a list of texts")?
                .iter()
                .try_fold(made, |made, column| placed(made.is_null(column.text()?)))?,
            "iv" => placed(made.iv_column(member.text()?))?,
            "tag" => placed(made.tag_column(member.text()?))?,
            "time" => placed(made.time_column(member.text()?))?,
            "field" => made.field(source_field(&layout, member, member.text()?)?),
            "members" => member.members()?.iter().try_fold(made, |made, path| {
                // the path may be a secret in the wrong place
                let name = path.value.as_str().ok_or_else(|| member.wrong_type("a field for each path"))?;
                placed(made.member(path.name, source_field(&layout, member, name)?))
            })?,
            _ => made,
        };
    }
    if find("field").is_some() && find("members").is_some() {
        return Err(about(invalid("a source has either `field` or `members`")));
    }
    source.checked(layout.source(made))
}

fn source_field(layout: &Layout, member: &Member<'_>, name: &str) -> Result<Field> {
    known_field(layout, name).ok_or_else(|| {
        let fields: Vec<Field> = layout.fields.each().map(|(field, _)| field).collect();
        let fields: Vec<&str> = fields.iter().map(Field::name).collect();
        invalid("no field has this name").about(&member.place).with_hint(meant(name, &fields))
    })
}

fn filter_lines(filter: &Filter) -> Vec<String> {
    let mut lines = Vec::new();
    if !filter.equals.is_empty() {
        let constants = filter.equals.iter().map(|(column, value)| member(&key(column), &constant(value)));
        lines.push(member("where", &format!("{{ {} }}", constants.collect::<Vec<_>>().join(", "))));
    }
    if !filter.is_null.is_empty() {
        lines.push(member("is_null", &texts(filter.is_null.iter().map(String::as_str))));
    }
    lines
}

/// One `[[source]]` part, after an empty line.
pub(crate) fn source_lines(source: &OldSource) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        "[[source]]".to_owned(),
        member("table", &text(&joined_name(&[&source.schema, &source.table]))),
        member("user", &text(&source.user_column)),
    ];
    lines.extend(source.tenant_column.iter().map(|column| member("tenant", &text(column))));
    lines.extend(filter_lines(&source.filter));
    lines.push(member("column", &text(&source.column)));
    match &source.held {
        Held::MembersByName => {}
        Held::One(field) => lines.push(member("field", &text(field.name()))),
        Held::Members(members) => {
            let members = members.iter().map(|(path, field)| member(&key(path), &text(field.name())));
            lines.push(member("members", &format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))));
        }
    }
    lines.push(member("decryptor", &text(source.decryptor)));
    lines.extend(source.iv_column.iter().map(|column| member("iv", &text(column))));
    lines.extend(source.tag_column.iter().map(|column| member("tag", &text(column))));
    lines.extend(source.time_column.iter().map(|column| member("time", &text(column))));
    lines
}

fn known_field(layout: &Layout, name: &str) -> Option<Field> {
    name.parse().ok().filter(|field| layout.fields.knows(*field))
}

fn member(name: &str, value: &str) -> String {
    format!("{name} = {value}")
}

fn constant(value: &FilterValue) -> String {
    match value {
        FilterValue::Text(value) => text(value),
        FilterValue::Integer(number) => number.to_string(),
        FilterValue::Boolean(is_set) => is_set.to_string(),
    }
}

fn texts<'a>(items: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", items.map(text).collect::<Vec<_>>().join(", "))
}

fn key(name: &str) -> String {
    let is_bare = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == '-';
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => text(name),
    }
}

/// A basic string. No text in a layout has control characters.
fn text(value: &str) -> String {
    let mut text = String::from("\"");
    for char in value.chars() {
        if matches!(char, '"' | '\\') {
            text.push('\\');
        }
        text.push(char);
    }
    text + "\""
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
