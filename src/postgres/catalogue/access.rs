//! The roles that may reach the table, directly or through other objects.

use serde::Deserialize;
use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};

use crate::error::{Error, ErrorKind};
use crate::layout::layout::Layout;
use crate::postgres::catalogue::definitions::Policy;
use crate::postgres::catalogue::table::missing_table;
use crate::postgres::catalogue::trusted::with_trust;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Query, bind};

/// The query. It returns a [`TableAccess`].
const ACCESS: &str = include_str!("access.sql");

#[derive(Debug, Deserialize)]
pub(crate) struct TableAccess {
    /// Whether row level security never applies to the vault's role: a superuser, or BYPASSRLS.
    pub(crate) bypassing_me: bool,
    /// The rights of PUBLIC and `anon` on the table.
    pub(crate) granted: Vec<Grant>,
    /// Whether PUBLIC, `anon` or `authenticated` may read or write.
    pub(crate) users_reach: bool,
    /// Roles with BYPASSRLS and rights on the table, except the usual ones.
    pub(crate) bypassing: Vec<String>,
    /// The roles among `anon` and `authenticated` that have the rights of the table's owner.
    pub(crate) owning: Vec<String>,
    /// Every role of the table's policies.
    policy_roles: Vec<PolicyRole>,
    /// The roles with access to the table that the session can act as.
    pub(crate) actors: Vec<String>,
    /// SECURITY DEFINER routines that name the table, a partition or a view of it.
    pub(crate) routines: Vec<Routine>,
    /// Views of the table, and views of those.
    pub(crate) views: Vec<View>,
    /// The vault's own tables in the same schema, and partitions of the table.
    pub(crate) related_tables: Vec<RelatedTable>,
    /// The return type of `auth.uid()`, if it exists and belongs to a trusted role.
    pub(crate) auth_uid_type: Option<String>,
}

/// Rights that requests have without being signed in.
#[derive(Debug, Deserialize)]
pub(crate) struct Grant {
    /// `public` or `anon`.
    pub(crate) holder: String,
    /// The role that was granted the rights: the holder, or a role that it is a member of.
    pub(crate) grantee: String,
    /// The role that granted them, unless it is the owner of the table.
    pub(crate) grantor: Option<String>,
    pub(crate) privileges: Vec<String>,
    /// The columns. Empty for the whole table.
    pub(crate) columns: Vec<String>,
}

/// A role of a policy.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PolicyRole {
    /// `public` for PUBLIC.
    pub(crate) name: String,
    /// Whether it should see every row.
    pub(crate) service: bool,
    /// Whether `anon` is a member of it.
    pub(crate) anons: bool,
    /// Whether it has rights on the table.
    pub(crate) reaches: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Routine {
    /// Qualified, with the types of its arguments.
    pub(crate) signature: String,
    pub(crate) fixed_path: bool,
    /// Whether ordinary users may create objects in a schema of its path.
    pub(crate) open_path: bool,
    /// Whether it returns one boolean, names no column that the vault stores in, and writes nothing.
    pub(crate) only_answers: bool,
    /// The roles that may call it, among `public`, `anon` and the roles that `anon` is a member of.
    pub(crate) callers: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct View {
    /// Qualified and quoted.
    pub(crate) relation: String,
    pub(crate) materialized: bool,
    /// Whether it reads with the rights of the caller.
    pub(crate) invoker: bool,
    /// Whether it reads a column that the vault uses.
    pub(crate) uses: bool,
    /// The roles that may read it, except its owner and the services.
    pub(crate) readers: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RelatedTable {
    /// Qualified and quoted.
    pub(crate) relation: String,
    pub(crate) partition: bool,
    pub(crate) row_security: bool,
    /// The roles with rights: ordinary users, and without row level security every role except its owner and the
    /// services.
    pub(crate) readers: Vec<String>,
}

impl TableAccess {
    pub(super) fn parse(layout: &Layout, rows: &[PgRow]) -> Result<Self, DatabaseError> {
        let row = rows.first().ok_or_else(|| missing_table(layout))?;
        let json: String = row.try_get(0).map_err(|error| DatabaseError::of(&error, Phase::Reading))?;
        serde_json::from_str(&json).map_err(|_| {
            Error::new(ErrorKind::Schema, "the catalogue's answer about access is not as expected").into()
        })
    }

    /// The roles of a policy, in its order.
    pub(crate) fn roles_of(&self, policy: &Policy) -> impl Iterator<Item = &PolicyRole> {
        let role = |name: &String| self.policy_roles.iter().find(|role| role.name == *name);
        policy.roles.iter().filter_map(role)
    }
}

pub(super) fn access_query(layout: &Layout) -> Result<Query, DatabaseError> {
    let mut arguments = PgArguments::default();
    bind(&mut arguments, layout.schema.clone())?;
    bind(&mut arguments, layout.table.clone())?;
    bind(&mut arguments, columns(layout))?;
    let owner = [Some(&layout.user_column), layout.tenant_column.as_ref()];
    bind(&mut arguments, owner.into_iter().flatten().cloned().collect::<Vec<String>>())?;
    Ok(Query { sql: with_trust(ACCESS, "t.relowner").into(), arguments })
}

/// The columns in which the vault stores values.
fn columns(layout: &Layout) -> Vec<String> {
    let fields = layout.fields.each().filter_map(|(field, _)| layout.column_of(field));
    fields.chain([layout.config_column.as_str()]).map(str::to_owned).collect()
}
