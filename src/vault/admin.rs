//! The API for operators: schema and doctor.

use crate::doctor::examine;
use crate::doctor::finding::Diagnosis;
use crate::doctor::options::{DoctorOptions, DoctorProgress};
use crate::error::Result;
use crate::record::credentials::Credentials;
use crate::schema::Schema;
use crate::vault::Vault;

impl<C: Credentials> Vault<C> {
    /// The schema of the table: plan, apply, verify and roll back changes.
    pub fn schema(&self) -> Schema {
        Schema::new(self.core.clone(), self.actor.clone())
    }

    /// Finds problems that would leak or lose credentials: in the schema, in the access to the table, in the
    /// keys, in the rows, in the local file. Changes nothing. `listener` receives the progress of a deep examination.
    ///
    /// # Errors
    /// `LocalStore`. Anything that cannot be examined is a finding.
    pub async fn doctor(
        &self,
        options: &DoctorOptions,
        mut listener: impl FnMut(&DoctorProgress) + Send,
    ) -> Result<Diagnosis> {
        self.observed("doctor", Box::pin(examine(&self.core, options, &mut listener))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::options::{ApplyOptions, RollBackOptions};
    use crate::schema::plan::SchemaPlan;
    use crate::schema::wanted::Profile;

    fn may_be_spawned(_: &(impl Send + ?Sized)) {}

    #[allow(dead_code, reason = "that it compiles is the test: a web handler spawns what it awaits")]
    fn every_future_may_be_spawned(vault: &Vault, plan: &SchemaPlan) {
        let (schema, apply, undo) = (vault.schema(), ApplyOptions::new(), RollBackOptions::new());
        may_be_spawned(&schema.plan(Profile::Credentials));
        may_be_spawned(&schema.apply(plan, &apply, |_| {}));
        may_be_spawned(&schema.roll_back(&undo, |_| {}));
        may_be_spawned(&schema.verify(Profile::Credentials));
        may_be_spawned(&vault.doctor(&DoctorOptions::new(), |_| {}));
    }
}
