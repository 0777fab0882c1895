//! Who may execute a function of ours.

use crate::postgres::catalogue::picture::Picture;
use crate::postgres::sql::names::quote;

/// Takes a function away from everybody but its owner: Postgres gives a new one to PUBLIC, and Supabase's
/// default privileges give it to each of its roles.
pub(super) fn revoke(picture: &Picture, function: &str) -> String {
    let roles = picture.server.roles.iter().map(|role| quote(&role.name));
    let everybody: Vec<_> = std::iter::once("PUBLIC".to_owned()).chain(roles).collect();
    format!("REVOKE ALL ON FUNCTION {function} FROM {}", everybody.join(", "))
}

/// Gives a function to roles. `public` is everybody.
pub(super) fn grant(function: &str, roles: &[impl AsRef<str>]) -> Option<String> {
    let names: Vec<_> = roles.iter().map(|role| role_name(role.as_ref())).collect();
    (!names.is_empty()).then(|| format!("GRANT EXECUTE ON FUNCTION {function} TO {}", names.join(", ")))
}

/// A role as it stands in SQL, from its name in the picture.
pub(super) fn role_name(role: &str) -> String {
    match role {
        "public" => "PUBLIC".to_owned(),
        other => quote(other),
    }
}
