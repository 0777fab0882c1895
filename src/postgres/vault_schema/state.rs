//! What the catalogue says about the schema: its owners, its tables, their rights, and objects that the vault did not make.

use serde::Deserialize;
use sqlx::postgres::PgArguments;

use crate::error::{Error, ErrorKind};
use crate::postgres::catalogue::trusted::acts_for;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::postgres::sql::names::quote;
use crate::postgres::vault_schema::newest;
use crate::postgres::vault_schema::objects::{Existing, SCHEMA, column};
use crate::postgres::vault_schema::removed::NOTE_REMOVED_BODY;

const STATE: &str = include_str!("state.sql");

/// The schema `retell_vault` beside a table of the application.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct VaultSchema {
    /// `None`: there is no such schema.
    pub(crate) owner: Option<String>,
    /// Whether the role that the vault acts as for an operator has the rights of all owners of the schema and its tables.
    pub(crate) owned: bool,
    /// Whether that role may create a schema in this database.
    pub(crate) creatable: bool,
    /// That role.
    pub(crate) actor: String,
    /// Owners that are not the vault's own role, and may act for others than the owner of the application's table.
    pub(crate) others: Vec<String>,
    /// Whether the vault's own role could change or remove entries of the ledger.
    pub(crate) rewrites_ledger: bool,
    /// Tables and functions that do not exist. A function has its arguments.
    pub(crate) missing: Vec<String>,
    /// Columns of our tables that are missing or have another type, as `table.column`.
    pub(crate) unlike: Vec<String>,
    /// Tables that a crash of the server empties.
    pub(crate) unlogged: Vec<OwnedTable>,
    /// Rights beyond those that a role of the application or an operator needs.
    pub(crate) open: Vec<WiderGrant>,
    /// Objects that the vault did not make, in the order in which they can be dropped.
    pub(crate) planted: Vec<PlantedObject>,
    /// Rights that the vault's own role lacks on existing objects.
    pub(crate) lacking: Vec<LackingRight>,
    /// Those of the named roles that lack a right of a role of the application.
    pub(crate) ungranted: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct OwnedTable {
    pub(crate) name: String,
    pub(crate) owner: String,
}

/// Rights on the schema, on one of its tables or on one of its functions.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct WiderGrant {
    /// Empty for the schema itself. A function has its arguments.
    #[serde(rename = "relname")]
    pub(crate) object: String,
    /// The role that has the rights; `public` for everybody.
    pub(crate) holder: String,
    /// The role that was granted them: the holder, or a role that it is a member of.
    pub(crate) grantee: String,
    pub(crate) grantor: String,
    pub(crate) privileges: Vec<String>,
}

impl WiderGrant {
    /// Whether everybody or a client of a hosted database was granted them.
    pub(crate) fn is_to_clients(&self) -> bool {
        self.holder == self.grantee && ["public", "anon", "authenticated"].contains(&self.holder.as_str())
    }
}

/// An object that the vault did not make.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PlantedObject {
    /// Its kind and name.
    pub(crate) what: String,
    /// The statement that removes it, unless it may hold data.
    pub(crate) drop: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct LackingRight {
    /// Empty for the schema itself. A function has its arguments.
    pub(crate) object: String,
    pub(crate) privilege: String,
}

impl VaultSchema {
    pub(crate) fn exists(&self) -> bool {
        self.owner.is_some()
    }

    /// The same for the statements that create what is missing.
    pub(crate) fn existing(&self) -> Existing {
        if self.exists() { Existing::Schema } else { Existing::Nothing }
    }

    /// Why the vault counts no pushes in it, if it does not.
    pub(crate) fn why_not_counted(&self) -> Option<String> {
        let name = "local_files";
        if self.missing.iter().any(|missing| missing == name) {
            return Some("the table is missing".to_owned());
        }
        if let Some(other) = self.others.first() {
            return Some(format!("role {other} owns it"));
        }
        if let Some(object) = self.planted.first() {
            return Some(format!("the vault did not make {}", object.what));
        }
        let lacking = self.lacking.iter().find(|right| right.object.is_empty() || right.object == name)?;
        Some(format!("this role lacks {}", lacking.privilege))
    }

    /// Whether statements on its tables run only code of roles that the vault trusts.
    pub(crate) fn is_trusted(&self) -> bool {
        self.others.is_empty() && self.planted.is_empty() && self.unlike.is_empty()
    }
}

/// An object as statements about rights name it.
pub(crate) fn sql_name(object: &str) -> String {
    match object {
        "" => format!("SCHEMA {SCHEMA}"),
        function if function.ends_with(')') => format!("FUNCTION {SCHEMA}.{function}"),
        table => format!("TABLE {SCHEMA}.{}", quote(table)),
    }
}

/// Asks for the schema beside a table, which is named in SQL. `roles` are those of the application.
///
/// # Errors
/// `Schema` if the table is missing; those of the database.
pub(crate) async fn look(
    database: &Database,
    relation: &str,
    roles: &[String],
) -> Result<VaultSchema, DatabaseError> {
    let mut arguments = PgArguments::default();
    bind(&mut arguments, relation)?;
    bind(&mut arguments, roles.to_vec())?;
    bind(&mut arguments, SCHEMA)?;
    bind(&mut arguments, NOTE_REMOVED_BODY)?;
    bind(&mut arguments, newest::body())?;
    let sql = STATE.replace("{acts_for}", &acts_for("o.owner", "here.relowner"));
    let rows = database.inspect(Query { sql: sql.into(), arguments }).await?;
    let odd = || {
        Error::new(ErrorKind::Schema, "the catalogue's answer about the vault's schema is not as expected")
    };
    let json: String = column(rows.first().ok_or_else(odd)?, 0)?;
    Ok(serde_json::from_str(&json).map_err(|_| odd())?)
}
