//! Tables of an application's own sign-in. The tokens in them are those of its users, not of a service that it calls.

use crate::detect::names::words;
use crate::postgres::catalogue::all_tables::FoundTable;

/// Columns that only a sign-in through another provider has: who the user is there, and what proves it.
const COLUMNS: [&str; 10] = [
    "authcode",
    "codechallenge",
    "codeverifier",
    "idtoken",
    "oauthid",
    "openid",
    "provideraccountid",
    "provideruid",
    "provideruserid",
    "sessionstate",
];

/// Words in the names of such tables.
const TABLES: [&str; 11] = [
    "identities",
    "identity",
    "saml",
    "signin",
    "social",
    "socialaccount",
    "socialapp",
    "socialauth",
    "socialtoken",
    "sso",
    "userauth",
];

/// Whether a table is of the application's own sign-in.
pub(super) fn is_sign_in(table: &FoundTable) -> bool {
    let is_column = |name: &str| COLUMNS.contains(&words(name).concat().as_str());
    table.columns.iter().any(|column| is_column(&column.name))
        || words(&table.name).iter().any(|word| TABLES.contains(&word.as_str()))
}
