//! The server, the connection, the local file.

pub(super) mod server;

use crate::doctor::Host;
use crate::doctor::finding::Finding;
use crate::error::Result;
use crate::postgres::Postgres;

/// The files of this host.
pub(super) async fn look_at_host(_host: &Host<'_>) -> Result<Vec<Finding>> {
    Ok(Vec::new())
}

/// The server, and the way to it.
pub(super) fn look_at_server(
    _host: &Host<'_>,
    _postgres: &Postgres,
    _server: &server::Server,
) -> Vec<Finding> {
    Vec::new()
}
