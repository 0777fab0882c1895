//! The server, the connection, the local file.

mod files;
mod link;
pub(super) mod server;
mod waiting;

use crate::doctor::Host;
use crate::doctor::finding::Finding;
use crate::doctor::operation::server::Server;
use crate::error::Result;
use crate::postgres::statements::plan::Postgres;

/// The files of this host, and what waits in them.
pub(super) async fn look_at_host(host: &Host<'_>) -> Result<Vec<Finding>> {
    let mut findings = files::look(host);
    if let Some(local) = &host.router.local {
        findings.extend(waiting::look(host, local).await?);
    }
    Ok(findings)
}

/// The server, and the way to it.
pub(super) async fn look_at_server(host: &Host<'_>, postgres: &Postgres, server: &Server) -> Vec<Finding> {
    let address = format!("database {}", postgres.database.address());
    let mut findings = server.findings(&address);
    findings.extend(link::encryption(&postgres.database.route(), server, &address));
    findings.extend(link::pooler(host, &postgres.database, &address).await);
    findings
}
