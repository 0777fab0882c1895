//! The plan: the last snapshot of the catalogue, with its placement and SQL.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::layout::Layout;
use crate::layout::placement::{Placement, placement};
use crate::postgres::catalogue::definitions::TableDefinitions;
use crate::postgres::catalogue::id_kind::IdKind;
use crate::postgres::catalogue::snapshot::{self, DetailedSnapshot};
use crate::postgres::catalogue::table::{Table, missing_table};
use crate::postgres::connection::errors::{DatabaseError, Outcome, Phase};
use crate::postgres::connection::pool::{Database, Query};
use crate::postgres::sql::names::relation;
use crate::postgres::statements::fragments::Forms;
use crate::postgres::statements::texts::Statements;
use crate::record::owner::Owner;

/// How long a snapshot of the catalogue is used before the catalogue is read again.
const MAX_AGE: Duration = Duration::from_secs(60);
/// The minimum interval between two reads of the catalogue because nothing was found.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Every role may call the function, unless an administrator has revoked that.
const IDENTITY: &str =
    "SELECT pg_catalog.format('%s of server %s', pg_catalog.current_database(), system_identifier)
 FROM pg_catalog.pg_control_system()";

/// The placement for the columns of a snapshot, and its SQL.
pub(crate) struct Plan {
    pub(crate) placement: Placement,
    /// `None` if the default table is missing.
    table: Option<Table>,
    /// `None` if there is no table, or the table has no slot.
    texts: Option<StatementForms>,
    made: Instant,
}

struct StatementForms {
    /// For an owner with one form, and for statements without a single owner.
    one_form: Statements,
    two_forms: Statements,
}

impl Plan {
    pub(in crate::postgres) fn new(layout: &Layout, table: Option<Table>) -> Self {
        let columns = table.as_ref().map(|table| table.layout_columns.as_slice()).unwrap_or_default();
        let placement = placement(layout, columns);
        let with_slots = table.as_ref().filter(|_| !placement.slots.is_empty());
        let texts = with_slots.map(|table| {
            let statements = |forms| Statements::new(layout, table, &placement, forms);
            StatementForms { one_form: statements(Forms::One), two_forms: statements(Forms::Two) }
        });
        Self { placement, table, texts, made: Instant::now() }
    }

    pub(in crate::postgres) fn age(&self) -> Duration {
        self.made.elapsed()
    }

    /// Whether the database has a place to read tokens from.
    pub(crate) fn has_slots(&self) -> bool {
        self.texts.is_some()
    }

    /// Whether there is a table: the default one may be missing.
    pub(crate) fn has_table(&self) -> bool {
        self.table.is_some()
    }

    /// The table in the catalogue, unless the default table is missing.
    pub(crate) fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    /// The table in the catalogue.
    ///
    /// # Errors
    /// `Schema` if the default table is missing.
    pub(crate) fn some_table(&self, layout: &Layout) -> Result<&Table, Error> {
        self.table.as_ref().ok_or_else(|| missing_table(layout))
    }

    /// Whether a bulk write may rely on one row per owner.
    pub(crate) fn is_unique(&self) -> bool {
        self.has_slots() && self.table.as_ref().is_some_and(|table| table.unique)
    }

    /// Whether the owner can have only one row. In text columns a UUID that was given in upper case can have one row for
    /// each form.
    pub(crate) fn has_one_row(&self, owner: &Owner) -> bool {
        let Some(table) = &self.table else { return false };
        let is_text = |kind: Option<IdKind>| kind == Some(IdKind::Text);
        table.unique && (owner.has_one_form() || !(is_text(Some(table.user)) || is_text(table.tenant)))
    }

    pub(in crate::postgres) fn work(&self) -> Result<(&Table, &Statements), DatabaseError> {
        self.some_work().map(|(table, texts)| (table, &texts.one_form))
    }

    pub(in crate::postgres) fn work_for(
        &self,
        owner: &Owner,
    ) -> Result<(&Table, &Statements), DatabaseError> {
        let (table, texts) = self.some_work()?;
        match owner.has_one_form() {
            true => Ok((table, &texts.one_form)),
            false => Ok((table, &texts.two_forms)),
        }
    }

    fn some_work(&self) -> Result<(&Table, &StatementForms), DatabaseError> {
        self.table.as_ref().zip(self.texts.as_ref()).ok_or_else(|| {
            Error::new(ErrorKind::Schema, "the table has no column that can hold tokens").into()
        })
    }
}

/// The application's table in its database.
pub(crate) struct Postgres {
    pub(crate) database: Database,
    pub(in crate::postgres) layout: Layout,
    plan: Mutex<Option<Arc<Plan>>>,
    identity: Mutex<String>,
}

impl Postgres {
    pub(crate) fn new(database: Database, layout: Layout) -> Self {
        Self { database, layout, plan: Mutex::default(), identity: Mutex::default() }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The plan. Reads the catalogue if the last snapshot is too old.
    pub(crate) async fn plan(&self) -> Result<Arc<Plan>, DatabaseError> {
        let cached = self.cached().filter(|plan| plan.age() < MAX_AGE);
        match cached {
            Some(plan) => Ok(plan),
            None => self.refresh().await,
        }
    }

    fn cached(&self) -> Option<Arc<Plan>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the catalogue now.
    pub(crate) async fn refresh(&self) -> Result<Arc<Plan>, DatabaseError> {
        let taken = Box::pin(snapshot::take(&self.database, &self.layout)).await;
        Ok(self.plan_for(taken.inspect_err(|_| self.forget())?))
    }

    /// Reads the catalogue now, with the definitions of the table.
    ///
    /// # Errors
    /// Those of [`snapshot::take_with_definitions`].
    pub(crate) async fn refresh_with_definitions(
        &self,
    ) -> Result<(Arc<Plan>, TableDefinitions), DatabaseError> {
        let taken = Box::pin(snapshot::take_with_definitions(&self.database, &self.layout)).await;
        let (table, definitions) = taken.inspect_err(|_| self.forget())?;
        Ok((self.plan_for(Some(table)), definitions))
    }

    /// Reads everything in the catalogue now.
    ///
    /// # Errors
    /// Those of [`snapshot::take_with_access`].
    pub(crate) async fn refresh_with_access(&self) -> Result<(Arc<Plan>, DetailedSnapshot), DatabaseError> {
        let taken = Box::pin(snapshot::take_with_access(&self.database, &self.layout)).await;
        let snapshot = taken.inspect_err(|_| self.forget())?;
        Ok((self.plan_for(Some(snapshot.table.clone())), snapshot))
    }

    /// The plan for a table that was just read. Stores it as the current plan.
    fn plan_for(&self, table: Option<Table>) -> Arc<Plan> {
        let plan = Arc::new(Plan::new(&self.layout, table));
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan.clone());
        plan
    }

    /// Forgets the old snapshot, which is not trusted after a failure.
    fn forget(&self) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Reads the catalogue now, unless it was read a moment ago.
    pub(crate) async fn refresh_if_older(&self) -> Result<Option<Arc<Plan>>, DatabaseError> {
        match self.cached() {
            Some(plan) if plan.age() < LOOK_EVERY => Ok(None),
            _ => self.refresh().await.map(Some),
        }
    }

    /// A plan for an existing table.
    ///
    /// # Errors
    /// `Schema` if no table was named and the default table is missing: records that are meant for a table of another
    /// name must not stay on one host and be pushed later.
    pub(crate) async fn plan_with_table(&self) -> Result<Arc<Plan>, DatabaseError> {
        let mut plan = self.plan().await?;
        // the application may have created it in the meantime
        if !plan.has_table()
            && let Some(newer) = self.refresh_if_older().await?
        {
            plan = newer;
        }
        plan.some_table(&self.layout)?;
        Ok(plan)
    }

    /// A plan that puts records into the database.
    ///
    /// # Errors
    /// Those of [`plan_with_table`](Self::plan_with_table); `TakesNoWrites` if no column can hold a record.
    pub(crate) async fn plan_with_room(&self) -> Result<Arc<Plan>, DatabaseError> {
        let mut plan = self.plan_with_table().await?;
        // an operator may have followed the hint in the meantime
        if (plan.placement.is_local() || self.check_writable(&plan).is_err())
            && let Some(newer) = self.refresh_if_older().await?
        {
            plan = newer;
        }
        self.check_room(&plan)?;
        Ok(plan)
    }

    /// # Errors
    /// Those of [`plan_with_room`](Self::plan_with_room) for this plan.
    fn check_room(&self, plan: &Plan) -> Result<(), DatabaseError> {
        plan.some_table(&self.layout)?;
        if plan.placement.is_local() {
            let error = Error::new(ErrorKind::Schema, self.no_room());
            return Err(DatabaseError::new(Outcome::TakesNoWrites, error));
        }
        Ok(self.check_writable(plan)?)
    }

    /// As [`plan_with_table`](Self::plan_with_table), for a transaction of the caller. If callers hold all connections of
    /// the service's pool, it takes an old plan rather than wait for them. Postgres refuses a statement whose plan no
    /// longer fits the table.
    pub(crate) async fn plan_for_caller_to_read(&self) -> Result<Arc<Plan>, DatabaseError> {
        match self.cached().filter(|_| self.database.is_used_up()) {
            Some(plan) if plan.has_table() => Ok(plan),
            _ => self.plan_with_table().await,
        }
    }

    /// As [`plan_with_room`](Self::plan_with_room), for a transaction of the caller.
    pub(crate) async fn plan_for_caller_to_write(&self) -> Result<Arc<Plan>, DatabaseError> {
        match self.cached().filter(|_| self.database.is_used_up()) {
            Some(plan) if self.check_room(&plan).is_ok() => Ok(plan),
            _ => self.plan_with_room().await,
        }
    }

    /// # Errors
    /// `Schema` for a table that does not survive a crash of the server, because it must hold no records. `AccessDenied`
    /// for a column that a write has to change but the role may not.
    pub(crate) fn check_writable(&self, plan: &Plan) -> Result<()> {
        if let Some(table) = &plan.table {
            table.check_durable(&self.layout)?;
        }
        let Some(column) = &plan.placement.unwritable else { return Ok(()) };
        let message = format!("the role may not write to column {column} of {}", self.table_name());
        let hint = format!(
            "GRANT UPDATE ({column}) ON the table to the role that connects; a generated column cannot be used"
        );
        Err(Error::new(ErrorKind::AccessDenied, message).with_column(column.to_string()).with_hint(hint))
    }

    /// # Errors
    /// `InvalidInput` if the owner has a tenant and the layout has none, or the reverse.
    pub(crate) fn check_owner(&self, owner: &Owner) -> Result<()> {
        let (message, hint) = match (owner.tenant_id(), &self.layout.tenant_column) {
            (Some(_), None) => (
                "the owner has a tenant, but the layout has no tenant column",
                "name it with `tenant_column` (`--tenant-column`)",
            ),
            (None, Some(_)) => (
                "the owner has no tenant, but the layout has a tenant column",
                "name the tenant (`--tenant`)",
            ),
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint))
    }

    /// The identity that distinguishes this database from others. Empty while it is unknown.
    pub(crate) fn identity(&self) -> String {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn note_identity(&self, identity: String) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    /// Asks for the identity: the name of the database, and the system identifier of the server. All addresses, poolers
    /// and standbys of a server share it. `None` if the server does not reveal it.
    pub(crate) async fn ask_identity(&self) -> Result<Option<String>, DatabaseError> {
        let query = Query { sql: IDENTITY.into(), arguments: PgArguments::default() };
        match self.database.fetch(query, Phase::Reading).await {
            Ok(rows) => Ok(rows.first().and_then(|row| row.try_get(0).ok())),
            Err(fault) if matches!(fault.outcome, Outcome::Reject | Outcome::Redetect) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// The message for a table without any slot.
    pub(crate) fn no_room(&self) -> String {
        format!("table {} has no column that can hold a configuration", self.table_name())
    }

    /// The table and its database, as they were named.
    pub(crate) fn place(&self) -> String {
        format!("{} in {}", self.table_name(), self.database.address())
    }

    /// The table, for messages.
    pub(crate) fn table_name(&self) -> String {
        self.layout.table_name()
    }
    /// The table in SQL.
    pub(crate) fn relation(&self) -> String {
        relation(&self.layout)
    }
}
