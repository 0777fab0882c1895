//! One column of the table, as the catalogue describes it.

use serde::Deserialize;

use crate::layout::layout::Layout;
use crate::layout::placement::ColumnType;

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TableColumn {
    pub(crate) name: String,
    /// As `format_type` writes it: `character varying(50)`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The name of its type in pg_type, with the prefix `other ` if it is not built in.
    pub(super) base: String,
    modifier: i32,
    /// For a domain, the name of the type below all domains, as in `base`.
    domain_over: Option<String>,
    /// For an enum, its name in SQL.
    #[serde(rename = "enum")]
    pub(super) enum_type: Option<String>,
    /// For an enum, its first value.
    pub(crate) first_label: Option<String>,
    /// Whether a foreign key refers to it.
    pub(super) referenced: bool,
    /// The array type of its values in SQL. `None` if the role may not use its name.
    pub(crate) array_type: Option<String>,
    pub(crate) not_null: bool,
    pub(super) deterministic: bool,
    pub(crate) generated: bool,
    pub(crate) identity: bool,
    /// Whether only the database sets its value.
    pub(super) always_identity: bool,
    pub(crate) comment: Option<String>,
    /// Whether the role may select it.
    pub(crate) readable: bool,
    /// Whether the role may update it.
    pub(crate) writable: bool,
}

impl TableColumn {
    /// Whether its type was created in this database.
    pub(crate) fn is_of_made_type(&self) -> bool {
        self.base.starts_with("other ")
    }

    /// Whether its type is an array. `None` if the type is not built in.
    pub(crate) fn is_array(&self) -> Option<bool> {
        (!self.base.starts_with("other ")).then(|| self.base.starts_with('_'))
    }

    /// Whether its own type is this built-in type. Varchar is not text here.
    pub(super) fn is_of_built_in(&self, kind: &str) -> bool {
        self.base == kind
    }

    pub(crate) fn is_enum(&self) -> bool {
        self.enum_type.is_some()
    }

    /// The built-in type of its values, below all domains. An enum is `text`.
    pub(crate) fn value_type(&self) -> &str {
        match &self.enum_type {
            Some(_) => "text",
            None => self.domain_over.as_deref().unwrap_or(&self.base),
        }
    }

    /// Whether only built-in functions print its values. A cast of any other type may run a function of another role.
    pub(crate) fn casts_to_text(&self) -> bool {
        !self.value_type().starts_with("other ")
    }

    /// A value of [`value_type`](Self::value_type) as a write assigns it.
    pub(crate) fn assigned(&self, value: &str) -> String {
        match &self.enum_type {
            Some(name) => format!("({value})::{name}"),
            None => value.to_owned(),
        }
    }

    pub(crate) fn column_type(&self) -> ColumnType {
        match self.base.as_str() {
            "text" => ColumnType::Text,
            // the type modifier of varchar(n) is n + 4, and -1 without a length
            "varchar" if self.modifier < 0 => ColumnType::Text,
            "varchar" => ColumnType::Varchar(usize::try_from(self.modifier - 4).unwrap_or_default()),
            "uuid" => ColumnType::Uuid,
            "json" => ColumnType::Json,
            "jsonb" => ColumnType::Jsonb,
            "_bytea" => ColumnType::ByteaArray,
            "timestamptz" => ColumnType::Timestamptz,
            other => ColumnType::Other(other.to_owned()),
        }
    }

    /// Whether its comment names the plain field of this column in the layout.
    pub(super) fn is_adopted(&self, layout: &Layout) -> bool {
        layout.fields.plain().any(|(field, _)| {
            layout.column_of(field) == Some(&self.name)
                && self.comment.as_deref().is_some_and(|comment| comment.trim() == layout.comment_for(field))
        })
    }
}
