//! What would leak or lose credentials, found before it happens.

mod access;
mod deep;
mod exposure;
pub(crate) mod finding;
mod keys;
mod operation;
pub(crate) mod options;
mod patient;
mod probe;
mod rows;
mod schema;

use std::cmp::Reverse;
use std::sync::{Mutex, PoisonError};

use futures_util::future::join3;

use crate::doctor::finding::{Area, Diagnosis, Finding, Mend, Severity};
use crate::doctor::operation::server::Server;
use crate::doctor::options::{DoctorOptions, DoctorProgress};
pub(crate) use crate::doctor::patient::{Host, Patient};
use crate::error::{ErrorKind, Result};
use crate::postgres::connection::errors::Fault;
use crate::postgres::statements::plan::Postgres;
use crate::store::core::Router;

/// Examines everything. A finding for what could not be examined.
pub(crate) async fn examine(
    router: &Router,
    options: &DoctorOptions,
    listener: &mut (dyn FnMut(&DoctorProgress) + Send),
) -> Result<Diagnosis> {
    let listener = Mutex::new(listener);
    let tell = |progress: &DoctorProgress| listener.lock().unwrap_or_else(PoisonError::into_inner)(progress);
    let host = Host::new(router, options, &tell);
    let mut findings = operation::look_at_host(&host).await?;
    findings.extend(keys::look_at_host(&host).await?);
    match &router.postgres {
        Some(postgres) => findings.extend(look_at_database(&host, postgres).await),
        None => host.note("no database is named: only the keyring and the local file were looked at"),
    }
    findings.sort_by(|one, other| rank(one).cmp(&rank(other)));
    Ok(Diagnosis { findings, notes: host.notes() })
}

/// The worst first, and always in the same order.
fn rank(finding: &Finding) -> (Reverse<Severity>, Area, &str, &str) {
    (Reverse(finding.severity), finding.area, finding.id, &finding.object)
}

async fn look_at_database(host: &Host<'_>, postgres: &Postgres) -> Vec<Finding> {
    let server = match Server::ask(postgres, || host.router.now()).await {
        Ok(server) => server,
        Err(fault) => {
            host.router.note(&fault);
            return vec![unreachable(postgres, &fault)];
        }
    };
    let mut findings = operation::look_at_server(host, postgres, &server).await;
    match server.kind_of_table {
        None => findings.push(missing_table(postgres)),
        Some('r' | 'p') => findings.extend(look_at_table(host, postgres).await),
        Some(_) => findings.push(not_a_table(postgres)),
    }
    findings
}

async fn look_at_table(host: &Host<'_>, postgres: &Postgres) -> Vec<Finding> {
    let (plan, snapshot) = match postgres.refresh_with_access().await {
        Ok(taken) => taken,
        Err(fault) if fault.error.kind() == ErrorKind::Schema => {
            return vec![unusable_owner(postgres, &fault)];
        }
        Err(fault) => return vec![not_examined(postgres, Area::Schema, &fault)],
    };
    let patient = Patient::new(host, postgres, &plan, &snapshot);
    // at the same time: a deep look at the rows is long
    let (schema, orphans, exposure) =
        join3(schema::look(&patient), schema::look_for_orphans(&patient), rows::look(&patient)).await;
    let looks = [
        (Area::Schema, schema),
        (Area::Schema, orphans),
        (Area::Exposure, exposure),
        (Area::Access, access::look(&patient).await),
        (Area::Access, probe::look(&patient).await),
    ];
    let found = |(area, look): (Area, Result<Vec<Finding>, Fault>)| {
        look.unwrap_or_else(|fault| vec![not_examined(postgres, area, &fault)])
    };
    looks.into_iter().flat_map(found).collect()
}

fn unreachable(postgres: &Postgres, fault: &Fault) -> Finding {
    let meaning = format!(
        "the database does not serve: {}; nothing in it was looked at, and what is stored now waits in the local \
         file where there is one",
        fault.error
    );
    Finding::new(
        (Area::Operation, Severity::Critical, "database_unreachable"),
        format!("database {}", postgres.database.address()),
        meaning,
        Mend::Advice("check that the database is up and that the URL is right".to_owned()),
    )
}

fn missing_table(postgres: &Postgres) -> Finding {
    Finding::new(
        (Area::Schema, Severity::Critical, "table_missing"),
        table(postgres),
        "the table does not exist: configurations are kept in the local file of this host only",
        Mend::Advice(
            "make the table in the application, or name the right one (`--table`, case matters); then \
             `retell-vault schema apply` adds what the vault needs"
                .to_owned(),
        ),
    )
}

fn not_a_table(postgres: &Postgres) -> Finding {
    Finding::new(
        (Area::Schema, Severity::Critical, "not_a_table"),
        table(postgres),
        "what has this name is not a table: the vault neither reads nor writes it",
        Mend::Advice("name the table itself (`--table`), not a view of it".to_owned()),
    )
}

fn unusable_owner(postgres: &Postgres, fault: &Fault) -> Finding {
    Finding::new(
        (Area::Schema, Severity::Critical, "owner_unusable"),
        table(postgres),
        format!("{}: the vault refuses the table, and nothing else in it was looked at", fault.error),
        Mend::Advice(fault.error.hint().to_owned()),
    )
}

fn not_examined(postgres: &Postgres, area: Area, fault: &Fault) -> Finding {
    Finding::new(
        (area, Severity::Warning, "not_examined"),
        table(postgres),
        format!("this could not be looked at ({}): {}", area.as_str(), fault.error),
        Mend::Advice(fault.error.hint().to_owned()),
    )
}

fn table(postgres: &Postgres) -> String {
    format!("table {}", postgres.table_name())
}
