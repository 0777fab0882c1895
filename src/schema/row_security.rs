//! Row level security: owners see their own rows, and services see every row.

use crate::postgres::catalogue::definitions::{ApiRole, OUR_POLICIES, Policy, is_same_expression};
use crate::postgres::catalogue::id_kind::IdKind;
use crate::postgres::sql::names::{literal, quote, relation};
use crate::schema::object_owner::role_name;
use crate::schema::plan_input::{PlanDraft, PlanInput};
use crate::schema::step::{LockLevel, Step};
use crate::schema::wanted::RowSecurity;

const OWNER: &str = OUR_POLICIES[0];
const SERVICE: &str = OUR_POLICIES[1];

/// Roles that a policy for services must not include.
const USERS: [&str; 3] = ["public", "anon", "authenticated"];

pub(super) fn draft(input: &PlanInput<'_>, draft: &mut PlanDraft) {
    let there = ExistingPolicies::new(input);
    let (table, services) = (input.layout.table_name(), &input.wanted.service_roles);
    if let Some(others) = &input.definitions.server.others_auth_uid {
        draft.notes.push(format!(
            "{others}, a role without the rights of the table's owner, is not trusted: no policy calls the \
             function"
        ));
    }
    match input.wanted.row_security {
        RowSecurity::Leave => {}
        RowSecurity::On => there.draft(draft),
        // forcing row level security implies switching it on
        RowSecurity::Auto if input.wanted.force || there.is_ours() => there.draft(draft),
        RowSecurity::Auto if input.definitions.relation.row_security => draft
            .notes
            .push(format!("{table} has row level security with other policies, which stay unchanged")),
        RowSecurity::Auto if input.definitions.server.auth_uid => there.draft(draft),
        RowSecurity::Auto if services.is_empty() => {}
        RowSecurity::Auto => draft.notes.push(format!(
            "{table} does not use row level security, so {} needs no policy; `--row-security on` enables it",
            services.join(", ")
        )),
    }
}

/// Blocks service roles that cannot get a policy, before the first step and not at the last one.
fn is_blocked(input: &PlanInput<'_>, draft: &mut PlanDraft) -> bool {
    let before = draft.blocked.len();
    for role in &input.wanted.service_roles {
        let reason = match role.as_str() {
            users if USERS.contains(&users) => "it is a role of users, but a service role sees every row",
            other if !input.definitions.server.role_names.iter().any(|there| there == other) => {
                "it does not exist"
            }
            _ => continue,
        };
        draft.block(
            format!("role {role}"),
            reason,
            "name the role of a service with `--service-role` (case matters)",
        );
    }
    draft.blocked.len() > before
}

/// The existing policies of the vault.
struct ExistingPolicies<'a> {
    input: &'a PlanInput<'a>,
    owner: Option<&'a Policy>,
    service: Option<&'a Policy>,
}

impl<'a> ExistingPolicies<'a> {
    fn new(input: &'a PlanInput<'a>) -> Self {
        let find = |name: &str| input.definitions.policies.iter().find(|policy| policy.name == name);
        Self { input, owner: find(OWNER), service: find(SERVICE) }
    }

    fn is_ours(&self) -> bool {
        self.owner.is_some() || self.service.is_some()
    }

    /// The policies to create, each with the existing policy that it replaces.
    fn missing(&self) -> Vec<(WantedPolicy, Option<&'a Policy>)> {
        let owner = Some((WantedPolicy::owner(self.input), self.owner));
        let service = WantedPolicy::service(self.input).map(|wanted| (wanted, self.service));
        let is_missing =
            |(wanted, there): &(WantedPolicy, Option<&Policy>)| !there.is_some_and(|there| wanted.is(there));
        [owner, service].into_iter().flatten().filter(is_missing).collect()
    }

    /// A policy for services that includes users, although the plan does not want it.
    fn leak(&self) -> Option<&'a Policy> {
        self.service.filter(|policy| WantedPolicy::service(self.input).is_none() && !is_for_services(policy))
    }

    fn draft(&self, draft: &mut PlanDraft) {
        if is_blocked(self.input, draft) {
            return;
        }
        let table = &self.input.definitions.relation;
        let (missing, leak) = (self.missing(), self.leak());
        let enable = !table.row_security;
        let force = self.input.wanted.force && !table.forced;
        if missing.is_empty() && leak.is_none() && !enable && !force {
            return;
        }
        let create = missing.iter().flat_map(|(wanted, there)| {
            there.map(|_| self.drop(wanted.name)).into_iter().chain([wanted.create(self.input)])
        });
        let switch = [enable.then(|| self.alter("ENABLE")), force.then(|| self.alter("FORCE"))];
        let back = [force.then(|| self.alter("NO FORCE")), enable.then(|| self.alter("DISABLE"))];
        let relation = relation(self.input.layout);
        let undone = missing.iter().flat_map(|(wanted, there)| {
            [self.drop(wanted.name)].into_iter().chain(there.map(|there| definition(there, &relation)))
        });
        draft.steps.push(Step {
            id: "row_security".to_owned(),
            object: format!("table {}", self.input.layout.table_name()),
            reason: self.reason(),
            sql: leak
                .map(|_| self.drop(SERVICE))
                .into_iter()
                .chain(create)
                .chain(switch.into_iter().flatten())
                .collect(),
            undo: (back.into_iter().flatten())
                .chain(undone)
                .chain(leak.map(|policy| definition(policy, &relation)))
                .collect(),
            lock: LockLevel::AccessExclusive,
            rewrites: false,
            concurrent: false,
            instead: None,
            done_if: self.done_if(&missing, leak),
            at_risk: None,
        });
    }

    fn reason(&self) -> String {
        match self.input.definitions.relation.row_security {
            false => "every role that may read the table sees the rows of all users",
            true => "its policies differ from those that the vault needs",
        }
        .to_owned()
    }

    fn drop(&self, policy: &str) -> String {
        format!("DROP POLICY IF EXISTS {} ON {}", quote(policy), relation(self.input.layout))
    }

    fn alter(&self, action: &str) -> String {
        format!("ALTER TABLE {} {action} ROW LEVEL SECURITY", relation(self.input.layout))
    }

    fn done_if(&self, missing: &[(WantedPolicy, Option<&Policy>)], leak: Option<&Policy>) -> String {
        let table = format!("{}::pg_catalog.regclass", literal(&relation(self.input.layout)));
        let forced = if self.input.wanted.force { " AND relforcerowsecurity" } else { "" };
        let switched = format!(
            "EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = {table} AND relrowsecurity{forced})"
        );
        let policy = |name: &str, and: &str| {
            format!(
                "EXISTS (SELECT FROM pg_catalog.pg_policy WHERE polrelid = {table} AND polname = {}{and})",
                literal(name)
            )
        };
        let made = missing.iter().map(|(wanted, there)| {
            policy(wanted.name, &there.map(|there| format!(" AND {}", differs(there))).unwrap_or_default())
        });
        let gone = leak.map(|leak| format!("NOT {}", policy(&leak.name, "")));
        [switched].into_iter().chain(made).chain(gone).collect::<Vec<_>>().join(" AND ")
    }
}

/// A condition that a row of pg_policy no longer equals this policy.
fn differs(policy: &Policy) -> String {
    let text = |text: &Option<String>| text.as_deref().map_or("NULL".to_owned(), literal);
    let roles: Vec<_> = policy.roles.iter().map(|role| literal(role)).collect();
    format!(
        "(polcmd <> {} OR polpermissive <> {} OR pg_catalog.pg_get_expr(polqual, polrelid) IS DISTINCT FROM {} \
         OR pg_catalog.pg_get_expr(polwithcheck, polrelid) IS DISTINCT FROM {} \
         OR ARRAY(SELECT CASE role WHEN 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(role) END::pg_catalog.text \
         FROM pg_catalog.unnest(polroles) AS role) <> ARRAY[{}])",
        literal(&policy.command.to_string()),
        policy.permissive,
        text(&policy.using),
        text(&policy.check),
        roles.join(", ")
    )
}

/// A policy for every command, with one condition for reads and writes.
struct WantedPolicy {
    name: &'static str,
    roles: Vec<String>,
    condition: String,
}

impl WantedPolicy {
    /// Owners see and write their own rows. It reads no table, so it cannot recurse.
    fn owner(input: &PlanInput<'_>) -> Self {
        let role = if input.definitions.has_role("authenticated") { "authenticated" } else { "public" };
        Self { name: OWNER, roles: vec![role.to_owned()], condition: owner_condition(input) }
    }

    /// Services see every row. `None` if no service needs a policy.
    fn service(input: &PlanInput<'_>) -> Option<Self> {
        let server = &input.definitions.server;
        // outside of Supabase, any role that may create roles can have taken the name
        let is_service = |role: &&ApiRole| server.auth_uid && role.name == "service_role" && !role.bypasses;
        let service = server.roles.iter().filter(is_service);
        let service = service.map(|role| role.name.clone());
        let named = input.wanted.service_roles.iter().cloned();
        // forced policies also apply to the owner of the table
        let forced = [Some(&input.definitions.relation.owner), (!server.superuser).then_some(&server.role)];
        let forced = forced.into_iter().flatten().filter(|_| input.wanted.force).cloned();
        let mut roles: Vec<String> = service.chain(named).chain(forced).collect();
        if roles.is_empty() {
            return None;
        }
        // services of an earlier plan stay
        let there = input.definitions.policies.iter().find(|policy| policy.name == SERVICE);
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

    fn is(&self, there: &Policy) -> bool {
        let holds = |condition: &Option<String>| {
            condition.as_ref().is_some_and(|printed| is_same_expression(&self.condition, printed))
        };
        let lets_in = |role: &String| there.roles.contains(role);
        let roles = match self.name {
            OWNER => there.roles == self.roles,
            _ => self.roles.iter().all(lets_in) && is_for_services(there),
        };
        there.command == '*' && there.permissive && roles && holds(&there.using) && holds(&there.check)
    }

    fn create(&self, input: &PlanInput<'_>) -> String {
        let roles: Vec<_> = self.roles.iter().map(|role| role_name(role)).collect();
        format!(
            "CREATE POLICY {} ON {} FOR ALL TO {} USING ({condition}) WITH CHECK ({condition})",
            quote(self.name),
            relation(input.layout),
            roles.join(", "),
            condition = self.condition
        )
    }
}

/// Whether a policy is only for services.
fn is_for_services(policy: &Policy) -> bool {
    !policy.roles.iter().any(|role| USERS.contains(&role.as_str()))
}

/// The current policy, in SQL.
fn definition(policy: &Policy, table: &str) -> String {
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

/// The condition that the row belongs to the caller. A subquery reads the claims once per statement. A missing or empty
/// claim matches no owner.
fn owner_condition(input: &PlanInput<'_>) -> String {
    let layout = input.layout;
    let user = match input.definitions.server.auth_uid {
        true => ("(SELECT auth.uid() AS uid)".to_owned(), IdKind::Uuid),
        false => (claim("->> 'sub'"), IdKind::Text),
    };
    let user = is_claimed(&layout.user_column, input.table.user, &user);
    let Some((column, kind)) = layout.tenant_column.as_deref().zip(input.table.tenant) else { return user };
    // users may edit their `user_metadata`, but not their `app_metadata`
    let path = match input.definitions.server.auth_uid {
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
        _ => format!("{column}::text = {claim}::text"),
    }
}
