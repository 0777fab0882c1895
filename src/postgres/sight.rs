//! Whether row level security keeps rows of the table from our role.

use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::classify::{Fault, Phase, classify};
use crate::database::sight::{Deed, may_hide};
use crate::database::{Query, bind};
use crate::error::{Error, ErrorKind};
use crate::postgres::Postgres;

/// What opens a table whose policies hold for us.
const HINT: &str = "give the role a policy for every row (`retell-vault schema plan --row-security on --service-role ROLE`), \
                    or connect as one with BYPASSRLS";

impl Postgres {
    /// # Errors
    /// `AccessDenied` when policies may hide rows of the table from our role.
    pub(crate) async fn refuse_hidden_rows(&self) -> Result<(), Fault> {
        match self.may_hide(Deed::Read).await? {
            true => Err(self.hidden_rows().into()),
            false => Ok(()),
        }
    }

    /// # Errors
    /// `AccessDenied` when policies may keep our role from changing rows that it sees.
    pub(crate) async fn refuse_fixed_rows(&self) -> Result<(), Fault> {
        if !self.may_hide(Deed::Update).await? {
            return Ok(());
        }
        let table = self.table_name();
        let message = format!("row level security may keep this role from changing rows of {table}");
        Err(Error::new(ErrorKind::AccessDenied, message).with_hint(HINT).into())
    }

    /// Nothing can be said about the table.
    pub(crate) fn hidden_rows(&self) -> Error {
        let table = self.table_name();
        let message = format!(
            "row level security may hide rows of {table} from this role, so nothing can be said about all of them"
        );
        Error::new(ErrorKind::AccessDenied, message).with_hint(HINT)
    }

    async fn may_hide(&self, deed: Deed) -> Result<bool, Fault> {
        let mut arguments = PgArguments::default();
        bind(&mut arguments, self.relation())?;
        let sql = format!(
            "SELECT {} FROM (SELECT $1::text::regclass::oid) AS t (relation)",
            may_hide("t.relation", deed)
        );
        let rows = self.database.fetch(Query { sql: sql.into(), arguments }, Phase::Reading).await?;
        let may = rows.first().map_or(Ok(false), |row| row.try_get(0));
        may.map_err(|error| classify(&error, Phase::Reading))
    }
}
