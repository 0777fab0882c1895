//! Two layouts over one table.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::layout::{Layout, shown};

impl Layout {
    /// Checks that you can use this layout together with another one: both are equal, or they write to different tables,
    /// different columns or different rows. Two kinds of credentials may share the JSONB config column.
    ///
    /// # Errors
    /// `Configuration`, which names a column that both would write in the same rows.
    pub fn check_beside(&self, other: &Self) -> Result<()> {
        let is_apart = (&self.schema, &self.table) != (&other.schema, &other.table)
            || self.filter.excludes(&other.filter)
            || self == other;
        let config = Some(self.config_column.as_str());
        let config = config.filter(|column| {
            *column == other.config_column && self.fields.namespace == other.fields.namespace
        });
        // each write would remove the entries of the other layout
        let is_named = self.index_was_named || other.index_was_named;
        let index =
            Some(self.index_column.as_str()).filter(|column| is_named && *column == other.index_column);
        let shared = self.secret_columns().find(|column| other.is_for_secrets(column)).or(config).or(index);
        match shared.filter(|_| !is_apart) {
            None => Ok(()),
            Some(column) => {
                let table = self.table_name();
                let message =
                    format!("two layouts write to column {} of {table} in the same rows", shown(column));
                Err(Error::new(ErrorKind::Configuration, message).with_hint(
                    "name different columns in one of the layouts, or a different constant in its `where`",
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::field::Field;

    #[test]
    fn two_layouts_are_used_beside_each_other_only_where_they_write_different_cells() {
        let base = || Layout::new().table("crm.integrations").unwrap();
        let retell = base().where_equals("provider", "retell").unwrap();
        let apart = [
            retell.clone(),
            Layout::new(),
            base().where_equals("provider", "other").unwrap(),
            retell.clone().where_equals("provider", "third").unwrap(),
        ];
        for other in apart {
            assert!(retell.check_beside(&other).is_ok() && other.check_beside(&retell).is_ok(), "{other:?}");
        }
        let clashing = [
            (base(), "encrypted_retell_api_key"),
            (retell.clone().user_column("account").unwrap(), "encrypted_retell_api_key"),
            (base().is_null("deleted_at").unwrap(), "encrypted_retell_api_key"),
        ];
        for (other, column) in clashing {
            let error = retell.check_beside(&other).unwrap_err();
            assert!(
                error.kind() == ErrorKind::Configuration && error.to_string().contains(column),
                "{error}"
            );
            assert!(other.check_beside(&retell).is_err());
        }
        let fields = ["api_key", "call_agent_id", "sms_agent_id"].map(Field::named);
        let elsewhere = fields
            .iter()
            .fold(retell.clone(), |layout, field| layout.column(*field, &format!("other_{field}")).unwrap());
        let error = retell.check_beside(&elsewhere).unwrap_err();
        assert!(
            error.to_string().contains("encrypted_agent_config"),
            "one kind has one JSONB column: {error}"
        );
        let elsewhere = elsewhere.config_column("other_config").unwrap();
        assert!(retell.check_beside(&elsewhere).is_ok());
        let indexed = |layout: &Layout, column: &str| layout.clone().index_column(column).unwrap();
        let error = indexed(&retell, "found").check_beside(&indexed(&elsewhere, "found")).unwrap_err();
        assert!(error.to_string().contains("column found"), "{error}");
        assert!(indexed(&retell, "found").check_beside(&indexed(&elsewhere, "other")).is_ok());
    }
}
