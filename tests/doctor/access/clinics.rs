//! Databases in which the doctor finds nothing.

use retell_vault::Layout;
use retell_vault::schema::{Profile, RowSecurity, Wanted};

use crate::support::doctor::Clinic;
use crate::support::schema::run_steps;
use crate::support::supabase::supabase;
use crate::support::vaults::ALL_COLUMNS;

/// What is wanted where users reach the table: policies, for the owner too.
pub fn guarded() -> Wanted {
    Wanted::from(Profile::Credentials).row_security(RowSecurity::On).force_row_security()
}

/// The usual table on a database like those of Supabase, closed to who is not signed in.
pub async fn supabase_clinic() -> Clinic {
    supabase_clinic_with(ALL_COLUMNS, Layout::new(), "public.user_profiles").await
}

/// Another table there.
pub async fn supabase_clinic_with(table: &str, layout: Layout, relation: &str) -> Clinic {
    let clinic = Clinic::bare("SELECT 1", layout).await;
    supabase(&clinic.db).await;
    clinic.db.exec(table).await;
    clinic.db.exec(&format!("REVOKE ALL ON {relation} FROM anon")).await;
    apply(&clinic, guarded()).await;
    clinic.is_clean().await;
    clinic
}

pub async fn apply(clinic: &Clinic, wanted: Wanted) {
    let vault = clinic.vault().await;
    let plan = vault.schema().plan(wanted).await.unwrap();
    run_steps(&clinic.db, &plan).await;
    vault.close().await;
}
