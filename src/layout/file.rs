//! The layout file: reads and prints a layout as TOML. Reading calls the methods of [`Layout`], which check everything.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::error::{Error, ErrorKind, Result};
use crate::layout::filter::{FilterValue, Rows};
use crate::layout::layout::{Layout, joined_name};
use crate::layout::old_source::{Held, OldSource};
use crate::record::credentials::Credentials;
use crate::record::field::Field;

/// The longest file in bytes.
const MAX_FILE: usize = 64 * 1024;

const SECTIONS: [&str; 3] = ["table", "columns", "source"];
const OF_TABLE: [&str; 6] = ["name", "user", "tenant", "where", "is_null", "rows"];
const OF_SOURCE: [&str; 10] =
    ["table", "user", "tenant", "column", "field", "members", "decryptor", "iv", "tag", "time"];
/// Reserved members of `[columns]`. A field with one of these names goes into `[columns.fields]`.
const OF_COLUMNS: [&str; 5] = ["config", "sync", "sealed", "extra", "fields"];

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
        if !self.filter.equals.is_empty() {
            let constants =
                self.filter.equals.iter().map(|(column, value)| member(&key(column), &constant(value)));
            lines.push(member("where", &format!("{{ {} }}", constants.collect::<Vec<_>>().join(", "))));
        }
        if !self.filter.is_null.is_empty() {
            lines.push(member("is_null", &texts(self.filter.is_null.iter().map(String::as_str))));
        }
        lines.extend(self.rows.map(|rows| member("rows", &text(rows.as_str()))));
        let columns = self.column_lines();
        if !columns.is_empty() {
            lines.extend([String::new(), "[columns]".to_owned()]);
            lines.extend(columns);
        }
        lines.extend(self.sources.iter().flat_map(source_lines));
        lines.into_iter().map(|line| line + "\n").collect()
    }

    fn column_lines(&self) -> Vec<String> {
        let named = self.fields.each().filter_map(|(field, _)| Some((field, self.columns.get(&field)?)));
        let of_field = |(field, column): (Field, &String)| match OF_COLUMNS.contains(&field.name()) {
            true => member(&format!("fields.{field}"), &text(column)),
            false => member(field.name(), &text(column)),
        };
        let mut lines: Vec<String> = named.map(of_field).collect();
        if self.names_config_column() {
            lines.push(member("config", &text(&self.config_column)));
        }
        if self.names_sync_column() {
            lines.push(member("sync", &text(&self.sync_column)));
        }
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
            "sealed" => member.items("a list of texts")?.iter().try_fold(layout, read_sealed)?,
            "fields" => {
                member.members()?.iter().try_fold(layout, |layout, field| read_column(layout, field, &[]))?
            }
            _ => read_column(layout, member, &OF_COLUMNS)?,
        };
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

fn source_lines(source: &OldSource) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        "[[source]]".to_owned(),
        member("table", &text(&joined_name(&[&source.schema, &source.table]))),
        member("user", &text(&source.user_column)),
    ];
    lines.extend(source.tenant_column.iter().map(|column| member("tenant", &text(column))));
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

/// A member of a table, or an item of a list.
struct Member<'a> {
    /// The text of the file.
    file: &'a str,
    name: &'a str,
    /// For a member `table` or `columns`, and those in them.
    path: String,
    /// The place as messages name it: `table.user, line 3`.
    place: String,
    value: &'a DeValue<'a>,
}

/// The members of a table in the order of the file.
fn members<'a>(file: &'a str, parent: Option<&str>, table: &'a DeTable<'a>) -> Vec<Member<'a>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    let member = |(name, value): (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)| {
        let path = match parent {
            Some(parent) => format!("{parent}.{}", name.get_ref()),
            None => name.get_ref().to_string(),
        };
        let place = format!("{path}, line {}", line(file, name.span()));
        Member { file, name: name.get_ref(), path, place, value: value.get_ref() }
    };
    entries.into_iter().map(member).collect()
}

impl<'a> Member<'a> {
    fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong_type("a text"))
    }

    fn members(&self) -> Result<Vec<Member<'a>>> {
        let table = self.value.as_table().ok_or_else(|| self.wrong_type("a table"))?;
        Ok(members(self.file, Some(&self.path), table))
    }

    /// The items of a list, such as `a list of texts`.
    fn items(&self, expected: &str) -> Result<Vec<Member<'a>>> {
        let list = self.value.as_array().ok_or_else(|| self.wrong_type(expected))?;
        let item = |item: &'a Spanned<DeValue<'a>>| Member {
            file: self.file,
            name: self.name,
            path: self.path.clone(),
            place: format!("{}, line {}", self.path, line(self.file, item.span())),
            value: item.get_ref(),
        };
        Ok(list.iter().map(item).collect())
    }

    /// The constant of a column, which is a member of this one. Messages do not show the name of the column.
    fn constant(&self, column: &Member<'_>) -> Result<FilterValue> {
        match column.value {
            DeValue::String(text) => Ok(FilterValue::Text(text.to_string())),
            DeValue::Boolean(is_set) => Ok(FilterValue::Boolean(*is_set)),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map(FilterValue::Integer)
                .map_err(|_| invalid("the integer does not fit in 64 bits").about(&self.place)),
            _ => Err(self.wrong_type("a text, an integer or a boolean for each column")),
        }
    }

    fn rows(&self) -> Result<Rows> {
        let both = [Rows::Existing, Rows::Create];
        let named = both.into_iter().find(|rows| self.value.as_str() == Some(rows.as_str()));
        named.ok_or_else(|| self.wrong_type("\"existing\" or \"create\""))
    }

    /// The result of a method of [`Layout`]. Adds the place to an error.
    fn checked(&self, made: Result<Layout>) -> Result<Layout> {
        made.map_err(|error| error.about(&self.place))
    }

    fn wrong_type(&self, expected: &str) -> Error {
        invalid(format!("expected {expected}")).about(&self.place)
    }

    /// Shows the name only if it is close to a known one, because it may be a secret in the wrong place.
    fn unknown(&self, known: &[&str]) -> Error {
        let line = self.place.rsplit(", ").next().unwrap_or_default();
        let parent = self.path.strip_suffix(self.name).unwrap_or_default().trim_end_matches('.');
        let of = if parent.is_empty() { "the file".to_owned() } else { format!("[{parent}]") };
        let message = match nearest(self.name, known) {
            Some(_) => format!("{}: unknown member", self.place),
            None => format!("{of}, {line}: unknown member (its name is not shown)"),
        };
        invalid(message).with_hint(meant(self.name, known))
    }
}

/// The hint for an unknown name.
fn meant(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`? See docs/LAYOUT.md"),
        None => format!("the known members are: {}", known.join(", ")),
    }
}

/// The known name that is similar to this one, if there is one.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // the number of letters that may differ
    let near = |word: &str| (1 + word.len() / 4).min(4);
    let distance = |word: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &word.to_lowercase());
    let scored = known.iter().map(|word| (distance(word), *word));
    scored.filter(|(distance, word)| *distance <= near(word)).min().map(|(_, word)| word)
}

fn not_toml(file: &str, error: &toml::de::Error) -> Error {
    let place = error.span().map_or_else(String::new, |span| format!(", line {}", line(file, span)));
    // only the message, because its `Display` repeats the line
    invalid(format!("the layout file is not TOML{place}: {}", error.message()))
        .with_hint("put texts in double quotes; docs/LAYOUT.md has an example")
}

/// The line on which a span starts, counted from 1.
fn line(file: &str, span: Range<usize>) -> usize {
    1 + file.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
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
