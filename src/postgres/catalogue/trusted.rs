//! The functions and roles that the vault relies on: only those of roles that can act as the owner of the table.
//!
//! A role that may create objects in the database can create a schema `auth` with a function `uid()`. That role would
//! decide what a policy that calls the function allows, and the function would run with the rights of every reader of the
//! table.

/// A condition that the owner of a function has all the rights of the owner of the table. `function` is an alias of
/// pg_proc, and `owner` is an expression for the oid of the table's owner.
///
/// On Supabase a role without these rights owns the functions of the schema `auth`. The vault relies on it if a trusted
/// role owns the schema and has granted exactly this role the right to create objects there.
pub(super) fn is_trusted_function(function: &str, owner: &str) -> String {
    format!(
        "(pg_has_role({function}.proowner, {owner}, 'USAGE') OR EXISTS (\
         SELECT FROM pg_namespace s CROSS JOIN aclexplode(s.nspacl) AS g \
         WHERE s.oid = {function}.pronamespace AND s.nspname = 'auth' AND pg_has_role(s.nspowner, {owner}, 'USAGE') \
         AND g.grantee = {function}.proowner AND g.privilege_type = 'CREATE' \
         AND pg_get_userbyid(g.grantee) = 'supabase_auth_admin'))"
    )
}

/// A condition that a role acts only for roles with all the rights of the owner of the table: it is one of them, or nobody can
/// log in as it and its members are all such roles. Both arguments are expressions for oids.
pub(crate) fn acts_for(role: &str, owner: &str) -> String {
    let may_act = "pg_catalog.pg_has_role";
    format!(
        "({may_act}({role}, {owner}, 'USAGE') OR EXISTS (SELECT FROM pg_catalog.pg_roles acting WHERE acting.oid = {role} AND NOT acting.rolcanlogin) \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles member WHERE member.oid <> {role} AND NOT member.rolsuper \
         AND {may_act}(member.oid, {role}, 'MEMBER') AND NOT {may_act}(member.oid, {owner}, 'USAGE')))"
    )
}

/// A condition that `auth.uid()` exists, and that trusted roles own the function and its schema. Then `anon`,
/// `authenticated` and `service_role` are the roles of Supabase too, because no other role can have taken these names.
pub(super) fn is_supabase(owner: &str) -> String {
    format!(
        "EXISTS (SELECT FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace \
         WHERE n.nspname = 'auth' AND f.proname = 'uid' AND f.pronargs = 0 \
         AND pg_has_role(n.nspowner, {owner}, 'USAGE') AND {})",
        is_trusted_function("f", owner)
    )
}

/// Inserts both conditions into a query.
pub(super) fn with_trust(sql: &str, owner: &str) -> String {
    sql.replace("{is_supabase}", &is_supabase(owner))
        .replace("{is_trusted_function}", &is_trusted_function("f", owner))
}
