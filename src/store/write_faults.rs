//! What a write does after a fault: whether another round is worthwhile, and what the caller is told.

use crate::error::{Error, ErrorKind};
use crate::postgres::connection::errors::{DatabaseError, Outcome, standby};
use crate::store::core::pause;
use crate::store::ledger::explained;
use crate::store::write::Write;

impl Write<'_> {
    /// Does what makes another round worthwhile, and returns the fault.
    ///
    /// # Errors
    /// The fault, if another round would meet it again.
    pub(super) async fn recover(
        &mut self,
        fault: DatabaseError,
        round: u32,
    ) -> Result<DatabaseError, DatabaseError> {
        self.looks_first |= fault.outcome != Outcome::Redetect;
        let fault = explained(self.core, self.postgres, fault).await;
        match fault.outcome {
            Outcome::Reject if self.schema_moved(&fault.error).await => Ok(fault),
            // another writer may have created the row
            Outcome::Duplicate if !std::mem::replace(&mut self.was_duplicate, true) => Ok(fault),
            Outcome::Fallback if fault.was_connected && !std::mem::replace(&mut self.was_cut, true) => {
                Ok(fault)
            }
            Outcome::Fallback | Outcome::TakesNoWrites | Outcome::Reject | Outcome::Duplicate => Err(fault),
            Outcome::ReadOnly => self.read_only(fault).await,
            Outcome::Ambiguous => self.reconcile(fault).await,
            Outcome::Redetect => self.postgres.refresh().await.map(|_| fault),
            Outcome::Retry | Outcome::Pooler => {
                pause(round).await;
                Ok(fault)
            }
        }
    }

    /// After a write whose answer was lost: can the database be read at all? Then the same record is
    /// sent again, which changes nothing if it is there already.
    async fn reconcile(&self, fault: DatabaseError) -> Result<DatabaseError, DatabaseError> {
        let Ok(plan) = self.postgres.plan().await else { return Err(fault) };
        match self.postgres.read(&plan, self.request.owner).await {
            Ok(_) => Ok(fault),
            Err(reading)
                if matches!(reading.outcome, Outcome::Redetect | Outcome::Retry | Outcome::Pooler) =>
            {
                Ok(fault)
            }
            Err(_) => Err(fault),
        }
    }

    /// A standby, a role that may not write, or a connection from before a failover.
    async fn read_only(&mut self, fault: DatabaseError) -> Result<DatabaseError, DatabaseError> {
        match self.postgres.database.is_standby().await {
            Ok(true) => Err(DatabaseError::new(Outcome::TakesNoWrites, standby())),
            Ok(false) if !self.reconnected => {
                self.reconnected = true;
                self.postgres.database.rebuild();
                Ok(fault)
            }
            _ => Err(DatabaseError::new(Outcome::Reject, fault.error)),
        }
    }

    /// After a rejection: was the catalogue snapshot stale, so that another try may succeed? A column whose type has
    /// changed shows itself like this.
    async fn schema_moved(&self, error: &Error) -> bool {
        let may_be = matches!(error.kind(), ErrorKind::Rejected | ErrorKind::Schema);
        let Some(before) = self.plan.as_ref().filter(|_| may_be) else { return false };
        self.postgres.refresh().await.is_ok_and(|after| after.placement != before.placement)
    }
}
