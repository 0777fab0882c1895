//! Rights of everybody, of who is not signed in, and of roles that policies do not hold for.

use crate::doctor::Patient;
use crate::doctor::access::row_security::{critical, relation, table, warning};
use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::postgres::catalogue::access::{Grant, TableAccess};
use crate::postgres::sql::names::quote;

pub(super) fn to_outsiders(patient: &Patient<'_>, access: &TableAccess) -> Vec<Finding> {
    access.granted.iter().map(|grant| to_outsider(patient, grant)).collect()
}

fn to_outsider(patient: &Patient<'_>, grant: &Grant) -> Finding {
    let id = if grant.holder == "public" { "granted_to_public" } else { "granted_to_anon" };
    // with row level security on, a policy still stands in between
    let severity = match patient.definitions.relation.row_security {
        true => Severity::Warning,
        false => Severity::Critical,
    };
    let object = match grant.columns.as_slice() {
        [] => table(patient),
        columns => format!("columns {} of {}", columns.join(", "), patient.layout.table_name()),
    };
    let who = match grant.holder.as_str() {
        "public" => "everybody".to_owned(),
        holder if holder == grant.grantee => holder.to_owned(),
        holder => format!("{holder}, as a member of {},", grant.grantee),
    };
    let by = grant
        .grantor
        .as_ref()
        .map(|grantor| format!(", granted by {grantor}, who alone takes it back"))
        .unwrap_or_default();
    let meaning = format!(
        "{who} may {} here{by}: nobody needs that who is not signed in, and no policy should be all that is in \
         the way",
        grant.privileges.join(", ")
    );
    Finding::new((Area::Access, severity, id), object, meaning, Mend::Sql(revoke(patient, grant)))
}

/// A REVOKE by the owner takes back only what the owner granted, so whoever passed it on takes it back.
fn revoke(patient: &Patient<'_>, grant: &Grant) -> String {
    if grant.holder != "public" && grant.holder != grant.grantee {
        return format!("REVOKE {} FROM {}", quote(&grant.grantee), quote(&grant.holder));
    }
    let columns = match grant.columns.as_slice() {
        [] => String::new(),
        columns => format!(" ({})", columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ")),
    };
    let (relation, grantee) = (relation(patient), role(&grant.grantee));
    let revoke = format!("REVOKE ALL PRIVILEGES{columns} ON TABLE {relation} FROM {grantee}");
    match &grant.grantor {
        Some(grantor) => format!("SET ROLE {};\n{revoke};\nRESET ROLE", quote(grantor)),
        None => revoke,
    }
}

/// A role as it stands in SQL, and `PUBLIC`.
pub(super) fn role(name: &str) -> String {
    match name {
        "public" => "PUBLIC".to_owned(),
        name => quote(name),
    }
}

/// Roles as they stand in SQL.
pub(super) fn roles(names: &[String]) -> String {
    names.iter().map(|name| role(name)).collect::<Vec<_>>().join(", ")
}

/// Roles with BYPASSRLS and rights on the table. Without row level security there is nothing to bypass.
pub(super) fn bypassing(patient: &Patient<'_>, access: &TableAccess) -> Vec<Finding> {
    if !patient.definitions.relation.row_security {
        return Vec::new();
    }
    let finding = |name: &String| {
        Finding::new(
            warning("bypasses_row_security"),
            format!("role {name}"),
            "the role has rights on the table, and no policy holds for it: it sees every row",
            Mend::Sql(format!("ALTER ROLE {} NOBYPASSRLS", quote(name))),
        )
    };
    access.bypassing.iter().map(finding).collect()
}

/// Users who are what the owner of the table is: no policy holds for them, and they may switch them off.
pub(super) fn owning(patient: &Patient<'_>, access: &TableAccess) -> Vec<Finding> {
    let owner = &patient.definitions.relation.owner;
    let finding = |name: &String| {
        let mend = match name == owner {
            true => Mend::Advice("give the table to a role that no user is".to_owned()),
            false => Mend::Sql(format!("REVOKE {} FROM {}", quote(owner), quote(name))),
        };
        let meaning = format!(
            "it has the rights of {owner}, who owns the table: policies hold it back as little as the owner"
        );
        Finding::new(critical("bypasses_row_security"), format!("role {name}"), meaning, mend)
    };
    access.owning.iter().map(finding).collect()
}
