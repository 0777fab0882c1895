//! The role that the probe acts as, and how its statements name the two owners.

use serde_json::json;
use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::doctor::context::TableContext;
use crate::error::{Error, ErrorKind};
use crate::postgres::catalogue::access::TableAccess;
use crate::postgres::catalogue::id_kind::IdKind;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Query, bind};
use crate::postgres::connection::transaction::{Trial, local_setting};
use crate::postgres::sql::names::{EQ, quote};
use crate::record::owner::Owner;

/// How long the probe waits for a locked row, in milliseconds.
const LOCK_TIMEOUT: &str = "1000";

/// A setting that starts at zero. A statement counts its rows there.
pub(super) const ROWS_MET: &str = "retell_vault.met";

pub(super) struct Actor<'a> {
    pub(super) context: &'a TableContext<'a>,
    pub(super) role: String,
    pub(super) owner: &'a Owner,
    pub(super) other: &'a Owner,
    /// The columns of the owner, with their types.
    columns: Vec<(&'a str, IdKind)>,
}

impl<'a> Actor<'a> {
    /// `authenticated` if the session may act as it, otherwise the vault's own role. `None` if policies do not apply to
    /// the vault's role.
    pub(super) fn choose(
        context: &'a TableContext<'a>,
        access: &TableAccess,
        owner: &'a Owner,
        other: &'a Owner,
    ) -> Option<Self> {
        let (server, about) = (&context.definitions.server, &context.definitions.relation);
        let sees_all = about.row_security_active && !about.holds_back;
        let unbound = access.bypassing_me || (about.owned && !about.forced) || sees_all;
        let role = match access.actors.iter().find(|name| *name == "authenticated") {
            Some(role) => role.clone(),
            None if unbound => return None,
            None => server.role.clone(),
        };
        let table = context.plan.table()?;
        let user = Some((context.layout.user_column.as_str(), table.user));
        let tenant = context.layout.tenant_column.as_deref().zip(table.tenant);
        let columns = [user, tenant].into_iter().flatten().collect();
        Some(Self { context, role, owner, other, columns })
    }

    /// The condition for the rows of an owner whose values are bound from parameter `first` on.
    pub(super) fn is_owner(&self, first: usize) -> String {
        let column = |(at, (name, kind)): (usize, &(&str, IdKind))| {
            let (held, number) = (kind.cast(&quote(name)), first + at);
            match kind {
                IdKind::Text => format!("{held} {EQ} ANY(${number}::pg_catalog._text)"),
                _ => format!("{held} {EQ} {}", kind.cast(&format!("(${number}::pg_catalog._text)[1]"))),
            }
        };
        let owner: Vec<_> = self.columns.iter().enumerate().map(column).collect();
        let counts = self.context.plan.table().map(|table| table.filter.and(""));
        format!("{}{}", owner.join(" AND "), counts.unwrap_or_default())
    }

    /// The columns of the owner and of the filter, with the values for a new row.
    pub(super) fn new_row(&self, first: usize) -> (Vec<String>, Vec<String>) {
        let filter = self.context.plan.table().into_iter().flat_map(|table| table.filter.values());
        let (names, values) = self.assignments(first);
        names.into_iter().zip(values).chain(filter).unzip()
    }

    /// The columns of the owner, with their bound values.
    pub(super) fn assignments(&self, first: usize) -> (Vec<String>, Vec<String>) {
        let value = |(at, (name, kind)): (usize, &(&str, IdKind))| {
            let value = kind.cast(&format!("(${}::pg_catalog._text)[1]", first + at));
            let column = self.context.plan.table().and_then(|table| table.column(name));
            column.map_or_else(|| value.clone(), |column| column.assigned(&value))
        };
        let owner = self.columns.iter().map(|(name, _)| quote(name));
        owner.zip(self.columns.iter().enumerate().map(value)).unzip()
    }

    /// The number of parameters for one owner.
    pub(super) fn parameters(&self) -> usize {
        self.columns.len()
    }

    pub(super) fn query(&self, sql: String, owners: &[&Owner]) -> Result<Query, DatabaseError> {
        let mut arguments = PgArguments::default();
        for owner in owners {
            self.bind_owner(&mut arguments, owner)?;
        }
        Ok(Query { sql: sql.into(), arguments })
    }

    fn bind_owner(&self, arguments: &mut PgArguments, owner: &Owner) -> Result<(), DatabaseError> {
        let user = owner.user_id().forms().map(str::to_owned).collect();
        let tenant = owner.tenant_id().map(|id| id.forms().map(str::to_owned).collect());
        let forms: [Option<Vec<String>>; 2] = [Some(user), tenant];
        self.columns.iter().zip(forms.into_iter().flatten()).try_for_each(|(_, forms)| bind(arguments, forms))
    }

    /// Runs one statement as the actor, with the claims of its owner.
    pub(super) async fn attempt(&self, statement: Query) -> Result<Trial, DatabaseError> {
        let user = self.owner.user_id().as_str();
        let tenant = self.owner.tenant_id().map(|tenant| tenant.as_str());
        let claims = json!({
            "sub": user, "role": self.role, "tenant_id": tenant, "app_metadata": { "tenant_id": tenant },
        });
        let queries = vec![
            local_setting("lock_timeout", LOCK_TIMEOUT)?,
            local_setting(ROWS_MET, "0")?,
            local_setting("request.jwt.claims", &claims.to_string())?,
            local_setting("request.jwt.claim.sub", user)?,
            local_setting("request.jwt.claim.role", &self.role)?,
            local_setting("role", &self.role)?,
            statement,
        ];
        match self.context.postgres.database.attempt(queries).await? {
            Trial::Refused { last: false, .. } => {
                let message = format!("the probe may not act as role {}", self.role);
                Err(Error::new(ErrorKind::AccessDenied, message)
                    .with_hint("connect as a member of that role, or as its administrator")
                    .into())
            }
            trial => Ok(trial),
        }
    }

    /// The number of rows of an owner that the vault itself sees.
    pub(super) async fn count_as_ourselves(&self, owner: &Owner) -> Result<i64, DatabaseError> {
        let sql =
            format!("SELECT pg_catalog.count(*) FROM {} WHERE {}", self.context.relation(), self.is_owner(1));
        let rows = self.context.as_owner(self.query(sql, &[owner])?).await?;
        one(rows.first().map(|row| row.try_get(0)))
    }

    /// The row versions of the two owners. Every write that is not rolled back changes them.
    pub(super) async fn row_versions(&self) -> Result<String, DatabaseError> {
        let (owner, other) = (self.is_owner(1), self.is_owner(1 + self.parameters()));
        let sql = format!(
            "SELECT coalesce(pg_catalog.string_agg(pg_catalog.concat_ws(' ', tableoid, ctid, xmin), ',' ORDER BY tableoid, ctid), '') \
             FROM {} WHERE ({owner}) OR ({other})",
            self.context.relation()
        );
        let query = self.query(sql, &[self.owner, self.other])?;
        let rows = self.context.as_owner(query).await?;
        one(rows.first().map(|row| row.try_get(0)))
    }
}

/// The value of an answer with exactly one value.
fn one<T: Default>(value: Option<sqlx::Result<T>>) -> Result<T, DatabaseError> {
    value
        .transpose()
        .map(Option::unwrap_or_default)
        .map_err(|error| DatabaseError::of(&error, Phase::Reading))
}
