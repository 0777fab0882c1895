//! What stands around the SQL of a fix, so that it means the same for everybody who runs it.
//!
//! The one who pastes it may be a superuser whose search path others can put objects on. In the frame only built-in objects are
//! found by a bare name, and the triggers of the table run with its owner's rights.

use crate::doctor::context::TableContext;
use crate::postgres::sql::names::quote;
use crate::schema::object_owner::without_force;

/// Statements as one transaction. `role`: as whom it runs; `None`: as whoever pastes it, for what the owner of the table may
/// not do.
pub(crate) fn framed(role: Option<&str>, statements: &str) -> String {
    let role = role.map(|role| format!("SET LOCAL ROLE {};\n", quote(role))).unwrap_or_default();
    format!("BEGIN;\nSET LOCAL search_path = pg_catalog, pg_temp;\n{role}{statements};\nCOMMIT")
}

/// Statements that change the table, as its owner.
pub(crate) fn by_owner(context: &TableContext<'_>, statements: &str) -> String {
    framed(Some(&context.definitions.relation.owner), statements)
}

/// Statements that change rows of the table, as its owner. They do it to every row or fail: a policy that hid some would leave
/// them as they are.
pub(crate) fn to_every_row(context: &TableContext<'_>, statements: &str) -> String {
    let statements = vec!["SET LOCAL row_security = off".to_owned(), statements.to_owned()];
    let forced = context.definitions.relation.forced;
    by_owner(context, &without_force(&context.relation(), forced, statements).join(";\n"))
}
