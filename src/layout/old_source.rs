//! A place where an application keeps credentials today, from which they are imported.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::filter::{Filter, FilterValue};
use crate::layout::names::{checked, column_name, invalid, split_name};
use crate::record::field::{Field, Fields};

/// The names of the decryptors that a layout file may name.
pub(crate) const DECRYPTORS: [&str; 5] = ["plaintext", "base64", "carexps", "aes-gcm", "fernet"];

/// One column in which an application keeps credentials today. See [`Layout::source`](crate::Layout::source).
///
/// ```
/// use retell_vault::Layout;
/// use retell_vault::layout::OldSource;
///
/// let source = OldSource::new("user_settings", "user_id", "retell_config", "carexps")?;
/// let layout = Layout::new().source(source)?;
/// assert!(layout.to_toml().contains("[[source]]"));
/// # Ok::<(), retell_vault::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldSource {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) user_column: String,
    pub(crate) tenant_column: Option<String>,
    /// Which rows count.
    pub(crate) filter: Filter,
    pub(crate) column: String,
    pub(crate) held: Held,
    pub(crate) decryptor: &'static str,
    pub(crate) iv_column: Option<String>,
    pub(crate) tag_column: Option<String>,
    pub(crate) time_column: Option<String>,
}

/// What the values of a source are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// JSON whose members have the names of the fields.
    MembersByName,
    /// JSON with these members.
    Members(Vec<(String, Field)>),
    /// One field.
    One(Field),
}

impl OldSource {
    /// A column of a table, `table` or `schema.table`, with the column of the user id and the name of the decryptor: `plaintext`,
    /// `base64`, `carexps`, `aes-gcm` or `fernet`. By default it holds JSON whose members have the names of the fields.
    ///
    /// # Errors
    /// `InvalidInput` for a name that Postgres does not accept, and for an unknown decryptor.
    pub fn new(table: &str, user_column: &str, column: &str, decryptor: &str) -> Result<Self> {
        let mut parts = split_name(table)?;
        let table = checked(parts.pop().unwrap_or_default(), "table")?;
        let schema = parts.pop().map_or(Ok("public".to_owned()), |schema| checked(schema, "schema"))?;
        if !parts.is_empty() {
            return Err(invalid("table must be `table` or `schema.table`"));
        }
        let decryptor = DECRYPTORS.into_iter().find(|known| *known == decryptor).ok_or_else(|| {
            invalid("there is no decryptor of this name")
                .with_hint(format!("the decryptors are: {}", DECRYPTORS.join(", ")))
        })?;
        Ok(Self {
            schema,
            table,
            user_column: column_name(user_column, "user column")?,
            tenant_column: None,
            filter: Filter::default(),
            column: column_name(column, "column")?,
            held: Held::MembersByName,
            decryptor,
            iv_column: None,
            tag_column: None,
            time_column: None,
        })
    }

    /// The same column, which holds one field.
    pub fn field(self, field: Field) -> Self {
        Self { held: Held::One(field), ..self }
    }

    /// One more member of the JSON that the column holds, and its field. Another field for the same path replaces the first. A path is `api_key`, or `retell.api_key` for a member of a
    /// member.
    ///
    /// # Errors
    /// `InvalidInput` for a path with an empty name.
    pub fn member(mut self, path: &str, field: Field) -> Result<Self> {
        if path.split('.').any(str::is_empty) || path.chars().any(char::is_control) {
            return Err(invalid("the path of a member must be names divided by dots"));
        }
        let mut members = match self.held {
            Held::Members(members) => members,
            _ => Vec::new(),
        };
        members.retain(|(known, _)| known != path);
        members.push((path.to_owned(), field));
        self.held = Held::Members(members);
        Ok(self)
    }

    /// The column of the tenant id.
    ///
    /// # Errors
    /// As those of [`OldSource::new`].
    pub fn tenant_column(mut self, name: &str) -> Result<Self> {
        self.tenant_column = Some(column_name(name, "tenant column")?);
        Ok(self)
    }

    /// Only rows with this constant in this column count. Another constant for the same column replaces the first.
    ///
    /// # Errors
    /// As those of [`OldSource::new`]; `InvalidInput` for a text of more than 255 bytes or with control characters.
    pub fn where_equals(mut self, column: &str, value: impl Into<FilterValue>) -> Result<Self> {
        self.filter.put(column_name(column, "filter column")?, value.into())?;
        Ok(self)
    }

    /// Only rows with NULL in this column count, such as `deleted_at`.
    ///
    /// # Errors
    /// As those of [`OldSource::new`].
    pub fn is_null(mut self, column: &str) -> Result<Self> {
        self.filter.is_null.push(column_name(column, "filter column")?);
        Ok(self)
    }

    /// The column of the nonce, if it is not in the text.
    ///
    /// # Errors
    /// As those of [`OldSource::new`].
    pub fn iv_column(mut self, name: &str) -> Result<Self> {
        self.iv_column = Some(column_name(name, "iv column")?);
        Ok(self)
    }

    /// The column of the authentication tag, if it is not in the text.
    ///
    /// # Errors
    /// As those of [`OldSource::new`].
    pub fn tag_column(mut self, name: &str) -> Result<Self> {
        self.tag_column = Some(column_name(name, "tag column")?);
        Ok(self)
    }

    /// The column of the time at which the value was stored: of type `timestamptz`, `timestamp` (in UTC), or `bigint` with
    /// milliseconds since 1970. An imported record gets this time. Without it the time is the start of 1970, so that every save of the
    /// vault is newer.
    ///
    /// # Errors
    /// As those of [`OldSource::new`].
    pub fn time_column(mut self, name: &str) -> Result<Self> {
        self.time_column = Some(column_name(name, "time column")?);
        Ok(self)
    }

    /// Whether both are columns of the same rows of one table, with the same columns of the owner.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        let owner = |source: &Self| (source.user_column.clone(), source.tenant_column.clone());
        self.relation() == other.relation() && owner(self) == owner(other) && self.filter == other.filter
    }

    /// Schema and table.
    pub(crate) fn relation(&self) -> (&str, &str) {
        (&self.schema, &self.table)
    }

    /// The column as messages name it: `public.user_settings.retell_config`.
    pub(crate) fn place(&self) -> String {
        format!("{}.{}.{}", self.schema, self.table, self.column)
    }

    pub(crate) fn check(&self, fields: &Fields) -> Result<()> {
        let named: Vec<Field> = match &self.held {
            Held::MembersByName => Vec::new(),
            Held::Members(members) => members.iter().map(|(_, field)| *field).collect(),
            Held::One(field) => vec![*field],
        };
        match named.iter().find(|field| !fields.knows(**field)) {
            None if self.tag_column.is_some() && self.iv_column.is_none() => {
                Err(invalid("a source with a column for the tag needs one for the nonce, `iv`"))
            }
            None => Ok(()),
            Some(field) => {
                let message = format!("{field} is not a field of {}", fields.namespace);
                Err(Error::new(ErrorKind::InvalidInput, message)
                    .with_hint("declare an extra field in `columns.extra`"))
            }
        }
    }
}
