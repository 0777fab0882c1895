//! The function `retell_vault.newest`: the last entries of one owner, for a role that may not read the ledger.

use crate::postgres::sql::names::literal;
use crate::postgres::statements::with_entry::COLUMNS;

/// The function with its arguments: the place, the user, and the tenant.
pub(crate) const NEWEST: &str = "retell_vault.newest(pg_catalog.text, pg_catalog.text, pg_catalog.text)";
/// The same as the catalogue lists it, without the schema.
pub(crate) const LISTED: &str = "newest(text,text,text)";
/// Its name in messages.
pub(super) const NAME: &str = "retell_vault.newest";
/// How many entries it returns at most. Entries that no vault wrote may stand above the one that counts.
pub(crate) const MOST: usize = 16;

/// A note of a removed row names the table without the namespace.
const NOTED: &str = "EXISTS (SELECT FROM retell_vault.removed AS r
    WHERE r.place = pg_catalog.substr($1, pg_catalog.strpos($1, ' ') + 1) AND r.usr COLLATE \"C\" = $2
    AND r.tenant COLLATE \"C\" IS NOT DISTINCT FROM $3 AND r.at > l.received)";

/// The body. With `IS NULL` an index gives the order only if it is asked for the tenant too.
pub(super) fn body() -> String {
    let columns = COLUMNS.map(|(name, _)| format!("l.{name}")).join(", ");
    let entries = |tenant: &str| {
        format!(
            "RETURN QUERY SELECT {columns}, {NOTED} FROM retell_vault.ledger AS l
    WHERE l.place = $1 AND l.usr COLLATE \"C\" = $2 AND l.tenant COLLATE \"C\" {tenant} AND l.after IS NOT NULL
    ORDER BY l.tenant COLLATE \"C\", l.after COLLATE \"C\" DESC LIMIT {MOST};"
        )
    };
    format!(
        "
BEGIN
  IF $3 IS NULL THEN
    {}
  ELSE
    {}
  END IF;
END
",
        entries("IS NULL"),
        entries("= $3")
    )
}

/// The statement that creates the function. It can be repeated. It runs as the owner of the schema.
pub(super) fn create_function() -> String {
    let columns: Vec<_> = COLUMNS.iter().map(|(name, kind)| format!("{name} pg_catalog.{kind}")).collect();
    format!(
        "CREATE OR REPLACE FUNCTION {NEWEST}
    RETURNS TABLE ({}, was_removed pg_catalog.bool) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS {}",
        columns.join(", "),
        literal(&body())
    )
}
