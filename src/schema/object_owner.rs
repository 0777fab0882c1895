//! Ownership of the vault's own objects, and rights on them.
//!
//! The vault uses only objects of roles that can act as the owner of the table, or as which only such roles can act.
//!
//! A role that may create objects in the schema could plant a journal, whose SQL a rollback runs, or a function with the
//! vault's name, which triggers run. A superuser, or a member of several roles, cannot distinguish such objects from its
//! own.

use crate::layout::layout::Layout;
use crate::postgres::catalogue::definitions::TableDefinitions;
use crate::postgres::catalogue::trusted::acts_for;
use crate::postgres::sql::names::{literal, quote, relation};

/// SQLSTATE that the vault's own statements raise if an object with the vault's name belongs to another role.
pub(super) const PLANTED: &str = "RV002";

pub(super) const HINT: &str = "check the objects named retell_vault_… in the schema, and the functions of the \
    full profile; drop those that you do not recognise";

/// A condition that is true if the role that a query returns acts only for the owner of the table.
pub(super) fn is_trusted(layout: &Layout, owner: &str) -> String {
    format!(
        "(SELECT {} FROM pg_catalog.pg_class t, LATERAL (SELECT ({owner})) AS object (owner) \
         WHERE t.oid = pg_catalog.to_regclass({})) IS TRUE",
        acts_for("object.owner", "t.relowner"),
        literal(&relation(layout))
    )
}

/// A statement that fails if the owner of a function is not trusted. It comes after the statement that creates the
/// function, because a replaced function keeps its owner.
pub(super) fn function_is_ours(layout: &Layout, signature: &str) -> String {
    let owner = format!(
        "SELECT proowner FROM pg_catalog.pg_proc WHERE oid = pg_catalog.to_regprocedure({})",
        literal(signature)
    );
    check(layout, signature, &owner)
}

/// The same for a schema.
pub(super) fn schema_is_ours(layout: &Layout, schema: &str) -> String {
    let owner = format!("SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname = {}", literal(schema));
    check(layout, schema, &owner)
}

/// The same for a table.
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

/// Revokes a function from every role but its owner. Postgres grants a new function to PUBLIC, and Supabase's default
/// privileges grant it to each of its roles.
pub(super) fn revoke(definitions: &TableDefinitions, function: &str) -> String {
    let roles = definitions.server.roles.iter().map(|role| quote(&role.name));
    let everybody: Vec<_> = std::iter::once("PUBLIC".to_owned()).chain(roles).collect();
    format!("REVOKE ALL ON FUNCTION {function} FROM {}", everybody.join(", "))
}

/// Grants a function to roles. `public` means PUBLIC.
pub(super) fn grant(function: &str, roles: &[impl AsRef<str>]) -> Option<String> {
    let names: Vec<_> = roles.iter().map(|role| role_name(role.as_ref())).collect();
    (!names.is_empty()).then(|| format!("GRANT EXECUTE ON FUNCTION {function} TO {}", names.join(", ")))
}

/// A role in SQL, from its name in the catalogue.
pub(super) fn role_name(role: &str) -> String {
    match role {
        "public" => "PUBLIC".to_owned(),
        other => quote(other),
    }
}

/// Hides a table from every role but its owner. Supabase would otherwise expose it to every client.
pub(crate) fn lock_down_sql(relation: &str) -> Vec<String> {
    let revoke = literal(&format!("REVOKE ALL ON TABLE {relation} FROM "));
    // default privileges may have granted it to any role, with the right to create triggers on it
    let revoke = format!(
        "DECLARE r text; BEGIN FOR r IN SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' \
         ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END \
         FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) AS a \
         WHERE c.oid = {}::pg_catalog.regclass AND a.grantee <> c.relowner \
         LOOP EXECUTE {revoke} || r; END LOOP; END",
        literal(relation)
    );
    vec![format!("ALTER TABLE {relation} ENABLE ROW LEVEL SECURITY"), format!("DO {}", literal(&revoke))]
}

/// Statements that reach every row of a table. `forced` says whether its policies apply to its owner. The statements then
/// lift FORCE, which blocks all reads of the table until they end.
pub(crate) fn without_force(relation: &str, forced: bool, statements: Vec<String>) -> Vec<String> {
    if !forced {
        return statements;
    }
    let alter = |force: &str| format!("ALTER TABLE {relation} {force} ROW LEVEL SECURITY");
    [vec![alter("NO FORCE")], statements, vec![alter("FORCE")]].concat()
}
