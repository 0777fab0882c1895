//! Every table and column name: the single registry of where secrets live in the database.

use crate::error::{Error, ErrorKind, Result};
use crate::record::fields::Field;

/// Longest name of a Postgres object in bytes (NAMEDATALEN - 1).
const MAX_NAME: usize = 63;

/// Where the application keeps its users, and which columns the vault may use there.
///
/// Reading, writing, rotation and schema work all walk this one value. Names are taken as they are
/// in the catalogue: case matters, and nothing needs quoting.
///
/// Defaults: table `public.user_profiles`, user column `user_id`, no tenant column;
/// `encrypted_retell_api_key`, `encrypted_call_agent_id`, `encrypted_sms_agent_id` for tokens,
/// `encrypted_agent_config` as the JSONB config column; `phone_number`, `webhook_config`,
/// `retell_integration_status` for plain fields; `last_retell_sync` for the time of the last write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub(crate) schema: String,
    pub(crate) table: String,
    /// A table that was named and is missing is an error; a missing default table is not.
    pub(crate) table_was_named: bool,
    pub(crate) user_column: String,
    pub(crate) tenant_column: Option<String>,
    columns: [Option<String>; 7],
    pub(crate) config_column: String,
    pub(crate) sync_column: String,
}

impl Default for Layout {
    fn default() -> Self {
        let columns = Field::ALL.map(|field| default_column(field).map(str::to_owned));
        Self {
            schema: "public".to_owned(),
            table: "user_profiles".to_owned(),
            table_was_named: false,
            user_column: "user_id".to_owned(),
            tenant_column: None,
            columns,
            config_column: "encrypted_agent_config".to_owned(),
            sync_column: "last_retell_sync".to_owned(),
        }
    }
}

fn default_column(field: Field) -> Option<&'static str> {
    match field {
        Field::ApiKey => Some("encrypted_retell_api_key"),
        Field::CallAgentId => Some("encrypted_call_agent_id"),
        Field::SmsAgentId => Some("encrypted_sms_agent_id"),
        Field::WebhookSecret => None,
        Field::PhoneNumber => Some("phone_number"),
        Field::WebhookConfig => Some("webhook_config"),
        Field::IntegrationStatus => Some("retell_integration_status"),
    }
}

impl Layout {
    /// The default names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another table: `table` or `schema.table`. A name with a dot in it goes into double quotes.
    ///
    /// # Errors
    /// `InvalidInput` for a name that Postgres would not take.
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

    /// Another column for the user id.
    ///
    /// # Errors
    /// As [`Layout::table`].
    pub fn user_column(mut self, name: &str) -> Result<Self> {
        self.user_column = checked(name.to_owned(), "user column")?;
        Ok(self)
    }

    /// A column for the tenant id. There is none by default.
    ///
    /// # Errors
    /// As [`Layout::table`].
    pub fn tenant_column(mut self, name: &str) -> Result<Self> {
        self.tenant_column = Some(checked(name.to_owned(), "tenant column")?);
        Ok(self)
    }

    /// Another column for one field.
    ///
    /// # Errors
    /// As [`Layout::table`].
    pub fn column(mut self, field: Field, name: &str) -> Result<Self> {
        self.columns[field as usize] = Some(checked(name.to_owned(), field.name())?);
        Ok(self)
    }

    /// Another JSONB config column.
    ///
    /// # Errors
    /// As [`Layout::table`].
    pub fn config_column(mut self, name: &str) -> Result<Self> {
        self.config_column = checked(name.to_owned(), "config column")?;
        Ok(self)
    }

    /// Another column for the time of the last write.
    ///
    /// # Errors
    /// As [`Layout::table`].
    pub fn sync_column(mut self, name: &str) -> Result<Self> {
        self.sync_column = checked(name.to_owned(), "sync column")?;
        Ok(self)
    }

    /// The dedicated column of a field, if the layout has one.
    pub(crate) fn column_of(&self, field: Field) -> Option<&str> {
        self.columns[field as usize].as_deref()
    }

    /// Whether a column is made for the tokens of a secret field.
    pub(crate) fn is_for_secrets(&self, column: &str) -> bool {
        Field::SECRET.into_iter().any(|field| self.column_of(field) == Some(column))
    }

    /// Every column that the layout names, the owner's first.
    pub(crate) fn all_columns(&self) -> Vec<&str> {
        let owner = [Some(self.user_column.as_str()), self.tenant_column.as_deref()];
        let fields = self.columns.iter().map(Option::as_deref);
        let others = [Some(self.config_column.as_str()), Some(self.sync_column.as_str())];
        owner.into_iter().chain(fields).chain(others).flatten().collect()
    }

    /// # Errors
    /// `Configuration` when one column has two uses.
    pub(crate) fn check(&self) -> Result<()> {
        let mut names = self.all_columns();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            None => Ok(()),
            Some(pair) => {
                let message = format!("the layout uses column {} for two things", pair[0]);
                Err(Error::new(ErrorKind::Configuration, message))
            }
        }
    }

    /// The table as it stands in messages.
    pub(crate) fn table_name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }
}

/// Splits at dots outside double quotes; two double quotes inside quotes mean one.
fn split_name(name: &str) -> Result<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut chars = name.chars().peekable();
    while let Some(char) = chars.next() {
        let part = parts.last_mut().expect("starts with one");
        match char {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => part.push('"'),
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            other => part.push(other),
        }
    }
    match quoted {
        true => Err(invalid("table has a double quote that is not closed")),
        false => Ok(parts),
    }
}

fn checked(name: String, what: &str) -> Result<String> {
    match name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        true => Err(invalid(&format!("{what} must be a name of 1 to 63 bytes without control characters"))),
        false => Ok(name),
    }
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn one_column_cannot_have_two_uses() {
        let layout = Layout::new().column(Field::WebhookSecret, "phone_number").unwrap();
        assert_eq!(layout.check().unwrap_err().kind(), ErrorKind::Configuration);
        assert!(Layout::new().check().is_ok());
    }
}
