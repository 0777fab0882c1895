//! Whose objects are used: those of roles that could act as the owner of the table anyhow.
//!
//! Whoever may make objects in the schema could plant a journal, whose SQL a rollback runs, or a function
//! of our name, which triggers run. To a superuser, and to a role that is a member of others, such objects
//! look like its own.

use crate::postgres::sql::names::{literal, relation};
use crate::record::layout::Layout;

/// Raised by our own statements: an object of our name is somebody else's.
pub(super) const PLANTED: &str = "RV002";

pub(super) const HINT: &str = "look at what is called retell_vault_… in the schema, and at the functions of the full profile; \
     drop what nobody knows";

/// A condition: the role that a query answers with has all the rights of the owner of the table.
pub(super) fn is_trusted(layout: &Layout, owner: &str) -> String {
    format!(
        "(SELECT pg_catalog.pg_has_role(({owner}), t.relowner, 'USAGE') FROM pg_catalog.pg_class t \
         WHERE t.oid = pg_catalog.to_regclass({})) IS TRUE",
        literal(&relation(layout))
    )
}

/// A statement that fails when a function is not as trusted as that. It stands after the one that makes it,
/// since a function that is replaced keeps its owner.
pub(super) fn function_is_ours(layout: &Layout, signature: &str) -> String {
    let owner = format!(
        "SELECT proowner FROM pg_catalog.pg_proc WHERE oid = pg_catalog.to_regprocedure({})",
        literal(signature)
    );
    check(layout, signature, &owner)
}

/// The same of a table.
pub(super) fn table_is_ours(layout: &Layout, table: &str) -> String {
    let owner = format!(
        "SELECT relowner FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass({}) AND relkind = 'r'",
        literal(table)
    );
    check(layout, table, &owner)
}

fn check(layout: &Layout, what: &str, owner: &str) -> String {
    let message = format!("{what} belongs to a role without the rights of the owner of {}", relation(layout));
    let body = format!(
        "BEGIN IF NOT ({}) THEN RAISE EXCEPTION USING ERRCODE = '{PLANTED}', MESSAGE = {}, HINT = {}; END IF; END",
        is_trusted(layout, owner),
        literal(&message),
        literal(HINT)
    );
    format!("DO {}", literal(&body))
}
