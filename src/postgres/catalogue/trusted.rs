//! Whose functions and roles the vault relies on: of roles that could act as the owner of the table anyhow, and of no others.
//!
//! Whoever may create in the database can make a schema `auth` with a function `uid()`. A policy that asked it would let through
//! what its maker says, and it would run with the rights of everybody who reads the table.

/// A condition: the owner of a function has all the rights of the owner of the table. `function` is an alias of pg_proc, `owner` an
/// expression of the oid of the table's owner.
///
/// Supabase has the functions of the schema `auth` owned by a role without these rights. It is relied on where the schema is a
/// trusted role's, and that has given this very role the right to create there.
pub(super) fn is_trusted_function(function: &str, owner: &str) -> String {
    format!(
        "(pg_has_role({function}.proowner, {owner}, 'USAGE') OR EXISTS (\
         SELECT FROM pg_namespace s CROSS JOIN aclexplode(s.nspacl) AS g \
         WHERE s.oid = {function}.pronamespace AND s.nspname = 'auth' AND pg_has_role(s.nspowner, {owner}, 'USAGE') \
         AND g.grantee = {function}.proowner AND g.privilege_type = 'CREATE' \
         AND pg_get_userbyid(g.grantee) = 'supabase_auth_admin'))"
    )
}

/// A condition: `auth.uid()` exists, and neither the function nor its schema is a role's that is not trusted. Then the roles
/// `anon`, `authenticated` and `service_role` are those of Supabase, too: nobody can have taken their names.
pub(super) fn is_supabase(owner: &str) -> String {
    format!(
        "EXISTS (SELECT FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace \
         WHERE n.nspname = 'auth' AND f.proname = 'uid' AND f.pronargs = 0 \
         AND pg_has_role(n.nspowner, {owner}, 'USAGE') AND {})",
        is_trusted_function("f", owner)
    )
}

/// Puts both conditions in their places in a query.
pub(super) fn with_trust(sql: &str, owner: &str) -> String {
    sql.replace("{is_supabase}", &is_supabase(owner))
        .replace("{is_trusted_function}", &is_trusted_function("f", owner))
}
