//! The two policies of the vault: an owner's own rows, and every row for services.

use crate::postgres::catalogue::detect::IdKind;
use crate::postgres::catalogue::picture::Policy;
use crate::postgres::sql::names::quote;
use crate::postgres::sql::names::relation;
use crate::schema::deparsed::same;
use crate::schema::grants::role_name;
use crate::schema::plan::Subject;

pub(super) const OWNER: &str = "retell_vault_owner";
pub(super) const SERVICE: &str = "retell_vault_service";

/// Whom a policy for services must not let in.
pub(super) const USERS: [&str; 3] = ["public", "anon", "authenticated"];

/// A policy for every command, with one condition for what is read and what is written.
pub(super) struct Wanted {
    pub(super) name: &'static str,
    roles: Vec<String>,
    condition: String,
}

impl Wanted {
    /// Owners see and write their own rows. It reads no table, so it cannot recurse.
    pub(super) fn owner(subject: &Subject<'_>) -> Self {
        let role = if subject.picture.has_role("authenticated") { "authenticated" } else { "public" };
        Self { name: OWNER, roles: vec![role.to_owned()], condition: owner_condition(subject) }
    }

    /// Services see every row. None, where nobody needs it.
    pub(super) fn service(subject: &Subject<'_>) -> Option<Self> {
        let server = &subject.picture.server;
        let service = server.roles.iter().filter(|role| role.name == "service_role" && !role.bypasses);
        let service = service.map(|role| role.name.clone());
        let named = subject.wanted.service_roles.iter().cloned();
        // who owns the table is under the policies too when they are forced
        let forced = [Some(&subject.picture.table.owner), (!server.superuser).then_some(&server.role)];
        let forced = forced.into_iter().flatten().filter(|_| subject.wanted.force).cloned();
        let mut roles: Vec<String> = service.chain(named).chain(forced).collect();
        if roles.is_empty() {
            return None;
        }
        // services that were let in by an earlier plan stay
        let there = subject.picture.policies.iter().find(|policy| policy.name == SERVICE);
        roles.extend(
            there
                .filter(|policy| is_for_services(policy))
                .into_iter()
                .flat_map(|policy| policy.roles.clone()),
        );
        roles.sort();
        roles.dedup();
        Some(Self { name: SERVICE, roles, condition: "true".to_owned() })
    }

    pub(super) fn is(&self, there: &Policy) -> bool {
        let holds = |condition: &Option<String>| {
            condition.as_ref().is_some_and(|printed| same(&self.condition, printed))
        };
        let lets_in = |role: &String| there.roles.contains(role);
        let roles = match self.name {
            OWNER => there.roles == self.roles,
            _ => self.roles.iter().all(lets_in) && is_for_services(there),
        };
        there.command == '*' && there.permissive && roles && holds(&there.using) && holds(&there.check)
    }

    pub(super) fn create(&self, subject: &Subject<'_>) -> String {
        let roles: Vec<_> = self.roles.iter().map(|role| role_name(role)).collect();
        format!(
            "CREATE POLICY {} ON {} FOR ALL TO {} USING ({condition}) WITH CHECK ({condition})",
            quote(self.name),
            relation(subject.layout),
            roles.join(", "),
            condition = self.condition
        )
    }
}

/// Whether a policy lets in nobody but services.
pub(super) fn is_for_services(policy: &Policy) -> bool {
    !policy.roles.iter().any(|role| USERS.contains(&role.as_str()))
}

/// A policy as it is now, in SQL.
pub(super) fn definition(policy: &Policy, table: &str) -> String {
    let command = match policy.command {
        'r' => "SELECT",
        'a' => "INSERT",
        'w' => "UPDATE",
        'd' => "DELETE",
        _ => "ALL",
    };
    let kind = if policy.permissive { "PERMISSIVE" } else { "RESTRICTIVE" };
    let roles: Vec<_> = policy.roles.iter().map(|role| role_name(role)).collect();
    let using = policy.using.as_ref().map(|using| format!(" USING ({using})"));
    let check = policy.check.as_ref().map(|check| format!(" WITH CHECK ({check})"));
    format!(
        "CREATE POLICY {} ON {table} AS {kind} FOR {command} TO {}{}{}",
        quote(&policy.name),
        roles.join(", "),
        using.unwrap_or_default(),
        check.unwrap_or_default()
    )
}

/// The row is the caller's. The claims are read once per statement, in a query of their own, and a claim
/// that is missing or empty is nobody.
fn owner_condition(subject: &Subject<'_>) -> String {
    let layout = subject.layout;
    let user = match subject.picture.server.auth_uid {
        true => ("(SELECT auth.uid() AS uid)".to_owned(), IdKind::Uuid),
        false => (claim("->> 'sub'"), IdKind::Text),
    };
    let user = is_claimed(&layout.user_column, subject.table.user, &user);
    let Some((column, kind)) = layout.tenant_column.as_deref().zip(subject.table.tenant) else { return user };
    // users may edit their `user_metadata`, but not this
    let path = match subject.picture.server.auth_uid {
        true => "-> 'app_metadata' ->> 'tenant_id'",
        false => "->> 'tenant_id'",
    };
    format!("{} AND {user}", is_claimed(column, kind, &(claim(path), IdKind::Text)))
}

fn claim(path: &str) -> String {
    let claims = "NULLIF(pg_catalog.current_setting('request.jwt.claims', true), '')";
    format!("(SELECT NULLIF({claims}::jsonb {path}, '') AS claim)")
}

fn is_claimed(column: &str, kind: IdKind, (claim, claimed): &(String, IdKind)) -> String {
    let column = quote(column);
    match (kind, claimed) {
        (IdKind::Uuid, IdKind::Uuid) => format!("{column} = {claim}"),
        (IdKind::Uuid, IdKind::Text) => format!("{column} = {claim}::uuid"),
        (IdKind::Text, _) => format!("{column}::text = {claim}::text"),
    }
}
