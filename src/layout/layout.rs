//! All table and column names: the single registry of where secrets are stored in the database.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, ErrorKind, Result};
use crate::layout::filter::{Filter, FilterValue, Rows};
use crate::layout::names::{checked, column_name, invalid, split_name};
use crate::layout::old_source::OldSource;
use crate::record::credentials::Credentials;
use crate::record::field::{Field, FieldSpec, Fields};

/// The longest JSON text of an extra field: 1,024 characters that may each need a backslash.
const LONGEST_EXTRA: usize = 2 * 1024 + 2;

const DEFAULT_CONFIG_COLUMN: &str = "encrypted_agent_config";

/// The table with the application's users, and the columns that the vault may use in it.
///
/// Build it with its methods, or read it from a file with [`Layout::from_toml`]; both are equivalent. Loads, stores,
/// rotation and schema changes all use this one value. Names are written as in the catalogue: case matters, and you quote
/// nothing.
///
/// The defaults of [`Layout::new`], for Retell's credentials: table `public.user_profiles`, user column `user_id`, no tenant column;
/// `encrypted_retell_api_key`, `encrypted_call_agent_id`, `encrypted_sms_agent_id` for tokens,
/// `encrypted_agent_config` as the JSONB config column; `phone_number`, `webhook_config`,
/// `retell_integration_status` for plain fields; `last_retell_sync` for the time of the last write.
///
/// A column called `phone_number` or `webhook_config` may belong to the application. The vault uses it only if
/// [`column`](Self::column) names it, or if its comment says that the schema planner created it (`retell-vault:
/// phone_number of retell`). It never uses a column that is both `NOT NULL` and unique. Otherwise the value is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub(crate) schema: String,
    pub(crate) table: String,
    /// Whether the caller named the table. A missing table is an error only if it was named.
    pub(crate) table_was_named: bool,
    pub(crate) user_column: String,
    pub(crate) tenant_column: Option<String>,
    pub(crate) filter: Filter,
    /// `None` decides from the catalogue.
    pub(crate) rows: Option<Rows>,
    pub(crate) fields: Fields,
    /// The extra fields that the layout declares, in its order.
    pub(super) extra: Vec<Field>,
    /// The columns that were named. Other fields have their default column.
    pub(super) columns: BTreeMap<Field, String>,
    pub(super) sealed: BTreeSet<Field>,
    pub(crate) config_column: String,
    pub(crate) sync_column: String,
    /// The column of the blind index. It is used if it exists as `bytea[]`.
    pub(crate) index_column: String,
    /// Whether it was named: the schema planner then adds it.
    pub(crate) index_was_named: bool,
    /// Where credentials are today, in order of precedence.
    pub(crate) sources: Vec<OldSource>,
    /// Whether a command that shows secrets asks for a reason.
    pub(super) reveal_needs_reason: bool,
}

impl Layout {
    /// The defaults for a kind of credentials. Each kind has its own column for the time of the last write,
    /// `last_<namespace>_sync`. The table, the user column and the JSONB config column are the same for all kinds.
    pub fn of<C: Credentials>() -> Self {
        Self {
            schema: "public".to_owned(),
            table: "user_profiles".to_owned(),
            table_was_named: false,
            user_column: "user_id".to_owned(),
            tenant_column: None,
            filter: Filter::default(),
            rows: None,
            fields: Fields::new(C::NAMESPACE, C::FIELDS),
            extra: Vec::new(),
            columns: BTreeMap::new(),
            sealed: BTreeSet::new(),
            config_column: DEFAULT_CONFIG_COLUMN.to_owned(),
            sync_column: format!("last_{}_sync", C::NAMESPACE),
            index_column: Fields::new(C::NAMESPACE, &[]).index_column(),
            index_was_named: false,
            sources: Vec::new(),
            reveal_needs_reason: false,
        }
    }

    /// Sets the table, as `table` or `schema.table`. A name that contains a dot goes in double quotes.
    ///
    /// # Errors
    /// `InvalidInput` for a name that Postgres does not accept.
    pub fn table(mut self, name: &str) -> Result<Self> {
        let mut parts = split_name(name)?;
        self.table = checked(parts.pop().unwrap_or_default(), "table")?;
        self.schema = match parts.pop() {
            Some(schema) => checked(schema, "schema")?,
            None => self.schema,
        };
        if !parts.is_empty() {
            return Err(invalid("table must be `table` or `schema.table`"));
        }
        self.table_was_named = true;
        Ok(self)
    }

    /// Sets the column of the user id.
    ///
    /// # Errors
    /// Those of [`Layout::table`]; `InvalidInput` for a system column such as `ctid`.
    pub fn user_column(mut self, name: &str) -> Result<Self> {
        self.user_column = column_name(name, "user column")?;
        Ok(self)
    }

    /// Sets the column of the tenant id. There is none by default.
    ///
    /// # Errors
    /// Those of [`Layout::user_column`].
    pub fn tenant_column(mut self, name: &str) -> Result<Self> {
        self.tenant_column = Some(column_name(name, "tenant column")?);
        Ok(self)
    }

    /// Limits loads and stores to rows with this constant in this column. A row that a store creates gets the constant. A
    /// rotation, a token count and [`destroy_key`](crate::Vault::destroy_key) still read all rows. Another constant for
    /// the same column replaces the first.
    ///
    /// # Errors
    /// Those of [`Layout::user_column`]; `InvalidInput` for a text of more than 255 bytes or with control characters.
    pub fn where_equals(mut self, column: &str, value: impl Into<FilterValue>) -> Result<Self> {
        self.filter.put(column_name(column, "filter column")?, value.into())?;
        Ok(self)
    }

    /// Limits loads and stores to rows with NULL in this column, such as `deleted_at`. A row that a store creates has
    /// NULL there.
    ///
    /// # Errors
    /// Those of [`Layout::user_column`].
    pub fn is_null(mut self, column: &str) -> Result<Self> {
        self.filter.is_null.push(column_name(column, "filter column")?);
        Ok(self)
    }

    /// Sets whether the application or the vault creates the row of an owner. By default the application does if the user
    /// column is called `id`, if the database fills it, or if a foreign key refers to it. Otherwise a store creates the
    /// row.
    pub fn rows(mut self, rows: Rows) -> Self {
        self.rows = Some(rows);
        self
    }

    /// Sets the column of one field. If you name the column of a plain field, the vault uses it, even if the application
    /// created it.
    ///
    /// # Errors
    /// Those of [`Layout::user_column`]; `InvalidInput` for an unknown field. Declare an extra field first.
    pub fn column(mut self, field: Field, name: &str) -> Result<Self> {
        if !self.fields.each().any(|(known, _)| known == field) {
            return Err(invalid(&format!(
                "{field} cannot have a column: it is not a field of {}",
                self.fields.namespace
            ))
            .with_hint(format!("these fields can: {}", self.field_names())));
        }
        self.columns.insert(field, column_name(name, field.name())?);
        Ok(self)
    }

    /// Keeps a plain field sealed, whatever columns exist.
    ///
    /// # Errors
    /// `InvalidInput` for a secret field, which is always sealed, and for a field that the credentials do not have.
    pub fn sealed(mut self, field: Field) -> Result<Self> {
        match self.fields.spec(field) {
            Some(spec) if spec.is_secret => {
                Err(invalid(&format!("{field} is a secret field, which the vault always seals")))
            }
            Some(_) => {
                self.sealed.insert(field);
                Ok(self)
            }
            None => Err(invalid(&format!("{field} is not a field of {}", self.fields.namespace))
                .with_hint(format!("its fields are: {}", self.field_names()))),
        }
    }

    /// Declares one more secret field: a text of up to 1,024 printable ASCII characters. It has no column of its own
    /// unless [`column`](Self::column) names one.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is not valid, that the credentials already use, or that looks like a secret itself.
    /// The name of a field is not secret: every token contains it.
    pub fn extra_secret(mut self, name: &str) -> Result<Self> {
        let field: Field = name.parse()?;
        if looks_like_a_secret(name) {
            return Err(invalid("the name of an extra field looks like a secret (not shown)")
                .with_hint("give the name of the field, such as voice_token, not its value"));
        }
        if self.fields.knows(field) {
            return Err(invalid(&format!("{field} is already a field of {}", self.fields.namespace))
                .with_hint("choose another name for the extra field"));
        }
        self.fields = self.fields.with(FieldSpec::extra(field, LONGEST_EXTRA));
        self.extra.push(field);
        Ok(self)
    }

    fn field_names(&self) -> String {
        self.fields.each().map(|(field, _)| field.to_string()).collect::<Vec<_>>().join(", ")
    }

    /// Sets the JSONB config column.
    ///
    /// # Errors
    /// Those of [`Layout::user_column`].
    pub fn config_column(mut self, name: &str) -> Result<Self> {
        self.config_column = column_name(name, "config column")?;
        Ok(self)
    }

    /// Sets the column for the time of the last write.
    ///
    /// # Errors
    /// Those of [`Layout::user_column`].
    pub fn sync_column(mut self, name: &str) -> Result<Self> {
        self.sync_column = column_name(name, "sync column")?;
        Ok(self)
    }

    /// Sets the column of the blind index, of type `bytea[]`, by which [`Vault::find`](crate::Vault::find) finds owners. The schema
    /// planner adds it and its indexes only if it is named. By default it is `<namespace>_vault_index`, if that exists.
    ///
    /// # Errors
    /// Those of [`Layout::user_column`].
    pub fn index_column(mut self, name: &str) -> Result<Self> {
        self.index_column = column_name(name, "index column")?;
        self.index_was_named = true;
        Ok(self)
    }

    /// Adds a column in which the application keeps credentials today. Only an import reads and clears it.
    /// Sources are in order of precedence.
    ///
    /// # Errors
    /// `InvalidInput` for a field that the layout does not have, and for a tag in a column of its own without a nonce in one.
    pub fn source(mut self, source: OldSource) -> Result<Self> {
        source.check(&self.fields)?;
        self.sources.push(source);
        Ok(self)
    }

    /// The same layout without sources.
    pub(crate) fn without_sources(self) -> Self {
        Self { sources: Vec::new(), ..self }
    }

    /// The dedicated column of a field, if the layout has one.
    pub(crate) fn column_of(&self, field: Field) -> Option<&str> {
        if self.sealed.contains(&field) {
            return None;
        }
        let default = || self.fields.spec(field).and_then(|spec| spec.column);
        self.columns.get(&field).map(String::as_str).or_else(default)
    }

    /// Whether the column of a field was named, and is not the default.
    pub(crate) fn names(&self, field: Field) -> bool {
        self.columns.contains_key(&field)
    }

    /// Whether a plain field is always sealed.
    pub(crate) fn keeps_sealed(&self, field: Field) -> bool {
        self.sealed.contains(&field)
    }

    /// Whether the JSONB config column was named.
    pub(crate) fn names_config_column(&self) -> bool {
        self.config_column != DEFAULT_CONFIG_COLUMN
    }

    /// Whether the column for the time of the last write was named.
    pub(crate) fn names_sync_column(&self) -> bool {
        self.sync_column != format!("last_{}_sync", self.fields.namespace)
    }

    /// The columns of secret fields, in the order of the table of fields.
    pub(crate) fn secret_columns(&self) -> impl Iterator<Item = &str> {
        self.fields.secrets().filter_map(|(field, _)| self.column_of(field))
    }

    /// The columns of fields with a list of values, with that list.
    pub(crate) fn word_columns(&self) -> impl Iterator<Item = (&str, &'static [&'static str])> {
        let with_words = self.fields.plain().filter(|(_, spec)| !spec.words.is_empty());
        with_words.filter_map(|(field, spec)| Some((self.column_of(field)?, spec.words)))
    }

    /// Whether a column is for the tokens of a secret field.
    pub(crate) fn is_for_secrets(&self, column: &str) -> bool {
        self.secret_columns().any(|secret| secret == column)
    }

    /// The comment of a column that the schema planner created for a plain field, or that lets the vault use an existing
    /// column.
    pub(crate) fn comment_for(&self, field: Field) -> String {
        format!("retell-vault: {field} of {}", self.fields.namespace)
    }

    /// Every column that the layout names: first the owner's, then those of the filter, then the others.
    pub(crate) fn all_columns(&self) -> Vec<&str> {
        self.uses().into_iter().map(|(_, column)| column).collect()
    }

    /// The same columns, each with the member of a layout file that names it.
    pub(crate) fn uses(&self) -> Vec<(String, &str)> {
        let mut uses = vec![("table.user".to_owned(), self.user_column.as_str())];
        uses.extend(self.tenant_column.iter().map(|column| ("table.tenant".to_owned(), column.as_str())));
        uses.extend(self.filter.equals.iter().map(|(column, _)| ("table.where".to_owned(), column.as_str())));
        uses.extend(self.filter.is_null.iter().map(|column| ("table.is_null".to_owned(), column.as_str())));
        let of_field = |(field, _): (Field, _)| Some((format!("columns.{field}"), self.column_of(field)?));
        uses.extend(self.fields.each().filter_map(of_field));
        uses.push(("columns.config".to_owned(), &self.config_column));
        uses.push(("columns.sync".to_owned(), &self.sync_column));
        uses.push(("columns.index".to_owned(), &self.index_column));
        uses
    }

    /// Members that name the same column, in pairs.
    pub(crate) fn double_uses(&self) -> Vec<(String, String)> {
        let uses = self.uses();
        let earlier = |at: usize| uses[..at].iter().find(|(_, column)| *column == uses[at].1);
        let pair = |at: usize| earlier(at).map(|(member, _)| (member.clone(), uses[at].0.clone()));
        (0..uses.len()).filter_map(pair).collect()
    }

    /// Whether the layout has a tenant column.
    pub fn has_tenants(&self) -> bool {
        self.tenant_column.is_some()
    }

    /// Checks what no single method can check. Building a vault also calls it.
    ///
    /// # Errors
    /// `Configuration` if one column has two uses, or if the table of fields is not valid.
    pub fn check(&self) -> Result<()> {
        self.fields.check()?;
        match self.double_uses().first() {
            None => Ok(()),
            // the column is not shown, because it may be a secret in the wrong place
            Some((first, second)) => {
                let message = format!("the layout uses one column for {first} and for {second}");
                Err(Error::new(ErrorKind::Configuration, message)
                    .with_hint("name another column for one of them"))
            }
        }
    }

    /// The table as messages name it.
    pub(crate) fn table_name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    /// The rows of the layout, as the local file notes them with a pending record. The same id in another column is
    /// another owner.
    pub(crate) fn rows_name(&self) -> String {
        let tenant = self.tenant_column.iter().map(|column| format!(" in {column}"));
        let conditions = self.filter.printed().into_iter().map(|condition| format!(" where {condition}"));
        let rest: String = tenant.chain(conditions).collect();
        format!("{} by {}{rest}", self.table_name(), self.user_column)
    }
}

/// The reverse of [`split_name`].
pub(crate) fn joined_name(parts: &[&str]) -> String {
    let part = |part: &&str| match part.contains(['.', '"']) {
        true => format!("\"{}\"", part.replace("\"", "\"\"")),
        false => (*part).to_owned(),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(".")
}

/// A name for a message, unless it looks like a secret.
pub(crate) fn shown(name: &str) -> &str {
    if looks_like_a_secret(name) { "(looks like a secret, not shown)" } else { name }
}

/// Keys have the form of a name: `key_` and hex digits.
fn looks_like_a_secret(name: &str) -> bool {
    let starts = ["key_", "whsec_", "sk_"].iter().any(|start| name.starts_with(start));
    starts && name.len() >= 16 && name.contains(|char: char| char.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::names::SYSTEM_COLUMNS;

    #[test]
    fn tables_are_named_with_and_without_schema_and_quotes() {
        let layout = Layout::new().table("app.Profiles").unwrap();
        assert_eq!((layout.schema.as_str(), layout.table.as_str()), ("app", "Profiles"));
        let layout = Layout::new().table("\"a.b\".\"c\"\"d\"").unwrap();
        assert_eq!((layout.schema.as_str(), layout.table.as_str()), ("a.b", "c\"d"));
        for bad in ["", ".", "a.", "a.b.c", "\"a", "a\0b", &"x".repeat(64)] {
            assert!(Layout::new().table(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn another_constant_takes_the_place_of_the_first() {
        let layout = Layout::new().where_equals("provider", "twilio").unwrap();
        let layout = layout.where_equals("provider", "retell").unwrap();
        assert_eq!(layout, Layout::new().where_equals("provider", "retell").unwrap());
    }

    #[test]
    fn columns_that_the_server_fills_are_refused() {
        for name in SYSTEM_COLUMNS {
            assert!(Layout::new().table(name).is_ok());
            let field = Field::named("api_key");
            let layouts = [
                Layout::new().user_column(name),
                Layout::new().tenant_column(name),
                Layout::new().column(field, name),
                Layout::new().config_column(name),
                Layout::new().sync_column(name),
            ];
            for refused in layouts.map(Result::unwrap_err) {
                assert_eq!(refused.kind(), ErrorKind::InvalidInput);
                assert!(refused.to_string().contains(name), "{refused}");
            }
        }
    }

    #[test]
    fn one_column_cannot_have_two_uses() {
        let layout = Layout::new().column(Field::named("webhook_key"), "phone_number").unwrap();
        let error = layout.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let message = "the layout uses one column for columns.webhook_key and for columns.phone_number";
        assert_eq!(error.to_string(), message);
        assert!(Layout::new().check().is_ok());
    }

    #[test]
    fn only_fields_that_there_are_have_columns_and_no_name_means_two_fields() {
        let (voice, phone) = (Field::named("voice_id"), Field::named("phone_number"));
        let error = Layout::new().column(voice, "voice").unwrap_err();
        assert!(error.hint().contains("api_key, call_agent_id"), "{}", error.hint());
        let layout = Layout::new().extra_secret("voice_id").unwrap().column(voice, "voice").unwrap();
        assert_eq!(layout.column_of(voice), Some("voice"));
        for taken in ["api_key", "inbound_agent_id", "phone_number", "record", "Voice"] {
            assert_eq!(
                Layout::new().extra_secret(taken).unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{taken}"
            );
        }
        let error = Layout::new().extra_secret("key_0123456789abcdef").unwrap_err();
        assert!(
            error.to_string().contains("looks like a secret") && !format!("{error:?}").contains("key_01")
        );
        assert!(Layout::new().extra_secret("key_of_the_voice").is_ok());
        assert!(Layout::new().column_of(phone).is_some() && !Layout::new().names(phone));
        assert_eq!(Layout::new().sealed(phone).unwrap().column_of(phone), None);
        assert!(
            Layout::new().sealed(Field::named("api_key")).is_err() && Layout::new().sealed(voice).is_err()
        );
    }
}
