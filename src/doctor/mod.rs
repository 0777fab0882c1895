//! Finds problems that would leak or lose credentials, before they do.
//!
//! ```no_run
//! use retell_vault::doctor::{DoctorOptions, Health};
//! use retell_vault::{Error, Vault};
//!
//! async fn is_healthy(vault: &Vault) -> Result<bool, Error> {
//!     let diagnosis = vault.doctor(&DoctorOptions::new().deep(), |_progress| {}).await?;
//!     for finding in &diagnosis.findings {
//!         eprintln!("{}: {}", finding.object, finding.meaning);
//!     }
//!     Ok(diagnosis.health() == Health::Healthy)
//! }
//! ```

mod access;
mod after_restore;
mod context;
mod exposure;
mod find_index;
pub(crate) mod finding;
mod finding_ids;
mod fixes;
mod frame;
mod growth;
mod host_files;
mod keys;
mod old_copies;
mod old_places;
pub(crate) mod options;
mod orphans;
mod outside;
mod owner_lookup;
mod probe;
mod probe_actor;
mod rows;
mod schema;
mod server;
mod vault_schema;

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join3;

use crate::doctor::context::{HostContext, TableContext};
use crate::doctor::old_places::OldPlacesTime;
use crate::doctor::server::ServerState;
use crate::error::{ErrorKind, Result};
use crate::postgres::catalogue::statistics::take_statistics;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::statements::plan::Postgres;
use crate::store::core::Core;

pub use crate::doctor::finding::{Area, Diagnosis, Finding, Fix, Health, Severity};
pub use crate::doctor::options::{DoctorOptions, DoctorProgress};

/// Examines everything. A part that cannot be examined becomes a finding.
pub(crate) async fn examine(
    core: &Arc<Core>,
    options: &DoctorOptions,
    listener: &mut (dyn FnMut(&DoctorProgress) + Send),
) -> Result<Diagnosis> {
    let listener = Mutex::new(listener);
    let tell = |progress: &DoctorProgress| listener.lock().unwrap_or_else(PoisonError::into_inner)(progress);
    let host = HostContext::new(core, options, &tell);
    let mut findings = host_files::look(&host).await?;
    findings.extend(keys::look_at_host(&host).await?);
    match &core.postgres {
        Some(postgres) => findings.extend(look_at_database(&host, postgres).await),
        None => host.note("you named no database: only the keyring and the local file were examined"),
    }
    findings.sort_by(|one, other| rank(one).cmp(&rank(other)));
    Ok(Diagnosis { findings, notes: host.notes() })
}

/// Sorts the worst first, and always in the same order.
fn rank(finding: &Finding) -> (Reverse<Severity>, Area, &str, &str) {
    (Reverse(finding.severity), finding.area, finding.id, &finding.object)
}

async fn look_at_database(host: &HostContext<'_>, postgres: &Postgres) -> Vec<Finding> {
    let state = match ServerState::ask(postgres, || host.core.now()).await {
        Ok(state) => state,
        Err(fault) => {
            host.core.note(&fault).await;
            return vec![unreachable(postgres, &fault)];
        }
    };
    let mut findings = server::look(host, postgres, &state).await;
    match state.kind_of_table {
        None => findings.push(missing_table(postgres)),
        Some('r' | 'p') => findings.extend(look_at_table(host, postgres).await),
        Some(_) => findings.push(not_a_table(postgres)),
    }
    findings
}

async fn look_at_table(host: &HostContext<'_>, postgres: &Postgres) -> Vec<Finding> {
    let (plan, snapshot) = match postgres.refresh_with_access().await {
        Ok(taken) => taken,
        Err(fault) if fault.error.kind() == ErrorKind::Schema => {
            return vec![unusable_owner(postgres, &fault)];
        }
        Err(fault) => return vec![not_examined(postgres, Area::Schema, &fault)],
    };
    let statistics = take_statistics(&postgres.database, postgres.layout()).await;
    let context = TableContext::new(host, postgres, &plan, &snapshot, &statistics);
    exposure::note_copies(&context);
    // concurrent, because a deep examination of the rows takes long
    let (schema, orphans, exposure) =
        join3(schema::look(&context), orphans::look(&context), look_at_rows(&context)).await;
    let looks = [
        (Area::Schema, schema),
        (Area::Schema, orphans.map(Vec::from_iter)),
        (Area::Operation, growth::look(&context)),
        (Area::Exposure, exposure),
        (Area::Operation, find_index::look(&context).await),
        (Area::Exposure, Ok(Box::pin(look_at_old_places(&context)).await)),
        (Area::Access, access::look(&context).await),
        (Area::Schema, vault_schema::look(&context).await),
        (Area::Access, probe::look(&context).await),
        (Area::Operation, look_after_restore(&context).await),
    ];
    let found = |(area, look): (Area, Result<Vec<Finding>, DatabaseError>)| {
        look.unwrap_or_else(|fault| vec![not_examined(postgres, area, &fault)])
    };
    looks.into_iter().flat_map(found).collect()
}

/// Only if it was asked for: it opens every record.
async fn look_after_restore(context: &TableContext<'_>) -> Result<Vec<Finding>, DatabaseError> {
    match context.options.after_restore {
        true => Box::pin(after_restore::look(context)).await,
        false => Ok(Vec::new()),
    }
}

/// The sources of the layout, and copies of them.
async fn look_at_old_places(context: &TableContext<'_>) -> Vec<Finding> {
    let time = OldPlacesTime::start(context.options.deep);
    let mut findings = old_places::look(context, &time).await;
    findings.extend(old_copies::look(context, &time).await);
    findings
}

/// Exposure and keys, from one read of the rows.
async fn look_at_rows(context: &TableContext<'_>) -> Result<Vec<Finding>, DatabaseError> {
    let rows = rows::examine(context).await?;
    let mut findings = exposure::findings(&rows);
    findings.extend(keys::of_rows(&rows));
    findings.extend(find_index::of_rows(&rows));
    findings.extend(outside::look(context).await?);
    Ok(findings)
}

fn unreachable(postgres: &Postgres, fault: &DatabaseError) -> Finding {
    let meaning = format!(
        "the database does not answer: {}; nothing in it was examined, and stores go to the local file if there \
         is one",
        fault.error
    );
    Finding::new(
        finding_ids::DATABASE_UNREACHABLE,
        Severity::Critical,
        format!("database {}", postgres.database.address()),
        meaning,
        Fix::Advice("check that the database is up and that the URL is right".to_owned()),
    )
}

fn missing_table(postgres: &Postgres) -> Finding {
    Finding::new(
        finding_ids::TABLE_MISSING,
        Severity::Critical,
        table(postgres),
        "the table does not exist: nothing can be stored or loaded",
        Fix::Advice(
            "create the table in the application, or name the right one (`--table`, case matters); then \
             `retell-vault schema apply` adds what the vault needs"
                .to_owned(),
        ),
    )
}

fn not_a_table(postgres: &Postgres) -> Finding {
    Finding::new(
        finding_ids::NOT_A_TABLE,
        Severity::Critical,
        table(postgres),
        "this object is not a table: the vault neither reads nor writes it",
        Fix::Advice("name the table itself (`--table`), not a view of it".to_owned()),
    )
}

fn unusable_owner(postgres: &Postgres, fault: &DatabaseError) -> Finding {
    Finding::new(
        finding_ids::OWNER_UNUSABLE,
        Severity::Critical,
        table(postgres),
        format!("{}: the vault refuses the table, and nothing else in it was examined", fault.error),
        Fix::Advice(fault.error.hint().to_owned()),
    )
}

fn not_examined(postgres: &Postgres, area: Area, fault: &DatabaseError) -> Finding {
    Finding::new(
        finding_ids::NOT_EXAMINED.in_area(area),
        Severity::Warning,
        table(postgres),
        format!("this could not be examined ({}): {}", area.as_str(), fault.error),
        Fix::Advice(fault.error.hint().to_owned()),
    )
}

fn table(postgres: &Postgres) -> String {
    format!("table {}", postgres.table_name())
}
