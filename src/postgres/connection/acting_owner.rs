//! As whom an operator's statements run: as the owner of the table where the session may, so that code that was made for the
//! table never gets the rights of a session that has more.
//!
//! Triggers, rules, the functions of indexes and types: all of them run with the rights of whoever reads or writes the table.
//! Its owner can make them anyhow. A session whose role is neither the owner nor a member of it goes on as itself.

use crate::postgres::sql::names::{EQ, literal};

/// Until when a session acts as the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// The end of the transaction, whoever gets the connection then.
    TheTransactionEnds,
    /// The end of a session of our own.
    TheSessionEnds,
}

/// A query that makes what comes after it run as the owner of a table. It names everything, so it may stand before the path is set.
pub(crate) fn act_as_owner(relation: &str, until: Until) -> String {
    let local = until == Until::TheTransactionEnds;
    format!(
        "SELECT pg_catalog.set_config('role', a.rolname::pg_catalog.text, {local}) FROM pg_catalog.pg_roles AS a \
         WHERE a.oid {EQ} {} AND a.rolname OPERATOR(pg_catalog.<>) current_user",
        acting_role(&format!(
            "(SELECT c.relowner FROM pg_catalog.pg_class AS c WHERE c.oid {EQ} pg_catalog.to_regclass({})::pg_catalog.oid)",
            literal(relation)
        ))
    )
}

/// The oid of the owner of a table, in SQL; NULL where the session goes on as itself. Nobody is raised to a superuser by this.
pub(in crate::postgres) fn acting_role(owner: &str) -> String {
    format!(
        "(SELECT o.oid FROM pg_catalog.pg_roles AS o WHERE o.oid {EQ} {owner} AND NOT o.rolsuper \
         AND pg_catalog.pg_has_role(o.oid, CASE \
         WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 OPERATOR(pg_catalog.<) 160000 \
         THEN 'MEMBER' ELSE 'SET' END))"
    )
}
