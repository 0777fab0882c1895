//! The statements around the SQL of a fix, so that it means the same in every session.
//!
//! The session may be a superuser's, with a search path on which other roles can create objects. Inside the frame an
//! unqualified name finds only built-in objects, and the triggers of the table run with its owner's rights.

use crate::doctor::context::TableContext;
use crate::postgres::sql::names::quote;
use crate::schema::object_owner::without_force;

/// Statements as one transaction. `role` is the role that runs them. With `None` the session's own role runs them, for
/// statements that the owner of the table may not run.
pub(crate) fn framed(role: Option<&str>, statements: &str) -> String {
    let role = role.map(|role| format!("SET LOCAL ROLE {};\n", quote(role))).unwrap_or_default();
    format!("BEGIN;\nSET LOCAL search_path = pg_catalog, pg_temp;\n{role}{statements};\nCOMMIT")
}

/// Statements that change the table, as its owner.
pub(crate) fn by_owner(context: &TableContext<'_>, statements: &str) -> String {
    framed(Some(&context.definitions.relation.owner), statements)
}

/// Statements that change rows of the table, as its owner. They change every row or fail; a policy would otherwise hide
/// some rows from them.
pub(crate) fn to_every_row(context: &TableContext<'_>, statements: &str) -> String {
    let statements = vec!["SET LOCAL row_security = off".to_owned(), statements.to_owned()];
    let forced = context.definitions.relation.forced;
    by_owner(context, &without_force(&context.relation(), forced, statements).join(";\n"))
}
