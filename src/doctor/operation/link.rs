//! The way to the server: encrypted, and through which pooler.

use crate::doctor::Host;
use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::doctor::operation::server::Server;
use crate::postgres::connection::pool::Database;
use crate::postgres::connection::route::{Encryption, Route};

pub(super) fn encryption(route: &Route, server: &Server, address: &str) -> Option<Finding> {
    // what the server says is about the pooler's connection where there is one
    let plain = match route.encryption {
        Encryption::Never => true,
        Encryption::Perhaps => !route.pooled && server.tls == Some(false),
        Encryption::Unverified => false,
        Encryption::Verified => return None,
    };
    if route.is_local {
        return None;
    }
    let (severity, id, meaning) = match plain {
        true => (
            Severity::Critical,
            "tls_off",
            "the connection to another host is not encrypted: whoever is on the way reads the password and every \
             answer",
        ),
        false => (
            Severity::Warning,
            "tls_unverified",
            "the server's certificate is not checked: whoever is on the way can answer in its place, and read the \
             password",
        ),
    };
    let mend = "add `sslmode=verify-full` to the URL, and `sslrootcert=FILE` where the certificate is not by a \
                public authority";
    Some(Finding::new((Area::Operation, severity, id), address, meaning, Mend::Advice(mend.to_owned())))
}

pub(super) async fn pooler(host: &Host<'_>, database: &Database, address: &str) -> Option<Finding> {
    if database.is_transactional() {
        host.note("a transaction pooler stands in between: every operation is a transaction of its own");
        return None;
    }
    match database.shares_sessions().await {
        Ok(true) => {}
        Ok(false) => return None,
        Err(fault) => {
            host.note(format!(
                "whether a transaction pooler stands in between is not known: {}",
                fault.error
            ));
            return None;
        }
    }
    Some(Finding::new(
        (Area::Operation, Severity::Warning, "pooler_not_recognised"),
        address,
        "two connections share one session of the server, as behind a transaction pooler, and the vault does not \
         treat it as one: statements fail now and then, and answers may be another client's",
        Mend::Advice(
            "say so (`--pooler transaction`, `PoolerMode::Transaction`), or connect without the pooler"
                .to_owned(),
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(
        encryption: Encryption,
        is_local: bool,
        pooled: bool,
        tls: bool,
    ) -> Option<(Severity, &'static str)> {
        let json = serde_json::json!({
            "version": 150000, "now": 0, "role": "app", "database": "app", "is_standby": false, "read_only": null,
            "tls": tls, "kind_of_table": "r"
        });
        let server = serde_json::from_value(json).unwrap();
        let found = super::encryption(&Route { encryption, is_local, pooled }, &server, "database");
        found.map(|finding| (finding.severity, finding.id))
    }

    #[test]
    fn only_a_verified_certificate_is_good_enough_for_another_host() {
        let (off, unverified) =
            (Some((Severity::Critical, "tls_off")), Some((Severity::Warning, "tls_unverified")));
        assert_eq!(found(Encryption::Verified, false, false, true), None);
        assert_eq!(found(Encryption::Unverified, false, false, true), unverified);
        assert_eq!(found(Encryption::Perhaps, false, false, true), unverified);
        assert_eq!(found(Encryption::Perhaps, false, false, false), off);
        assert_eq!(found(Encryption::Perhaps, false, true, false), unverified);
        assert_eq!(found(Encryption::Never, false, true, true), off);
        assert_eq!(found(Encryption::Never, true, false, false), None);
    }
}
