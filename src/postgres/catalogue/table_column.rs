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
    /// The name of its type in pg_type, after `other ` when it is no built-in one.
    pub(super) base: String,
    modifier: i32,
    /// Of a domain: the name of the type below all domains, as `base`.
    domain_over: Option<String>,
    /// Of an enum: its name, as it stands in SQL.
    #[serde(rename = "enum")]
    pub(super) enum_type: Option<String>,
    /// Of an enum: the first of its values.
    pub(crate) first_label: Option<String>,
    /// Whether a foreign key refers to it.
    pub(super) referenced: bool,
    /// The type of an array of its values as SQL names it; absent when we may not name it.
    pub(crate) array_type: Option<String>,
    pub(crate) not_null: bool,
    pub(super) deterministic: bool,
    pub(crate) generated: bool,
    pub(crate) identity: bool,
    /// Only the database gives it a value.
    pub(super) always_identity: bool,
    pub(crate) comment: Option<String>,
    /// Whether we may select it.
    pub(crate) readable: bool,
    /// Whether we may update it.
    pub(crate) writable: bool,
}

impl TableColumn {
    /// Whether its type is one that somebody made in this database.
    pub(crate) fn is_of_made_type(&self) -> bool {
        self.base.starts_with("other ")
    }

    /// Whether its type is an array, of a built-in type.
    pub(crate) fn is_array(&self) -> Option<bool> {
        (!self.base.starts_with("other ")).then(|| self.base.starts_with('_'))
    }

    /// Whether its own type is this built-in one; varchar is another than text.
    pub(super) fn is_of_built_in(&self, kind: &str) -> bool {
        self.base == kind
    }

    pub(crate) fn is_enum(&self) -> bool {
        self.enum_type.is_some()
    }

    /// The built-in type of its values: below all domains, and `text` for an enum.
    pub(crate) fn value_type(&self) -> &str {
        match &self.enum_type {
            Some(_) => "text",
            None => self.domain_over.as_deref().unwrap_or(&self.base),
        }
    }

    /// Whether its values are printed by built-in functions alone: a cast of any other type may be somebody's own, and would
    /// run.
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
            "timestamptz" => ColumnType::Timestamptz,
            other => ColumnType::Other(other.to_owned()),
        }
    }

    /// Whether its comment gives it to the plain field that the layout has it for.
    pub(super) fn is_adopted(&self, layout: &Layout) -> bool {
        layout.fields.plain().any(|(field, _)| {
            layout.column_of(field) == Some(&self.name)
                && self.comment.as_deref().is_some_and(|comment| comment.trim() == layout.comment_for(field))
        })
    }
}
