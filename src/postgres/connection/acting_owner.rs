//! The role of an operator's statements: the owner of the table, if the session may act as the owner. So code on the
//! table never gets the rights of a more privileged session.
//!
//! Triggers, rules, and functions of indexes and types all run with the rights of the role that reads or writes the
//! table. Its owner can create them. A session whose role is neither the owner nor a member of the owner stays as it is.

use crate::postgres::sql::names::{EQ, literal};

/// How long a session acts as the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Until the transaction ends, because another client may get the connection then.
    TheTransactionEnds,
    /// Until the vault's own session ends.
    TheSessionEnds,
}

/// A query that makes the following statements run as the owner of a table. It qualifies every name, so it can run before
/// the search path is set.
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

/// The oid of the owner of a table, in SQL. NULL if the session does not act as the owner. It never acts as a superuser.
pub(in crate::postgres) fn acting_role(owner: &str) -> String {
    format!(
        "(SELECT o.oid FROM pg_catalog.pg_roles AS o WHERE o.oid {EQ} {owner} AND NOT o.rolsuper \
         AND pg_catalog.pg_has_role(o.oid, CASE \
         WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 OPERATOR(pg_catalog.<) 160000 \
         THEN 'MEMBER' ELSE 'SET' END))"
    )
}
