//! Row level security: owners see their own rows, and services every row.

mod policy;

use crate::postgres::catalogue::picture::Policy;
use crate::postgres::sql::names::quote;
use crate::postgres::sql::names::{literal, relation};
use crate::schema::plan::Subject;
use crate::schema::row_security::policy::{OWNER, SERVICE, USERS, Wanted, definition, is_for_services};
use crate::schema::step::{Draft, LockLevel, Step};
use crate::schema::wanted::RowSecurity;

pub(super) fn draft(subject: &Subject<'_>, draft: &mut Draft) {
    let there = There::new(subject);
    let (table, services) = (subject.layout.table_name(), &subject.wanted.service_roles);
    match subject.wanted.row_security {
        RowSecurity::Leave => {}
        RowSecurity::On => there.draft(draft),
        // to ask for it to be forced is to ask for it
        RowSecurity::Auto if subject.wanted.force || there.is_ours() => there.draft(draft),
        RowSecurity::Auto if subject.picture.table.row_security => draft
            .notes
            .push(format!("{table} has row level security with policies of its own, which stay as they are")),
        RowSecurity::Auto if subject.picture.server.auth_uid => there.draft(draft),
        RowSecurity::Auto if services.is_empty() => {}
        RowSecurity::Auto => draft.notes.push(format!(
            "{table} has no row level security, so {} needs no policy; `--row-security on` switches it on",
            services.join(", ")
        )),
    }
}

/// Roles that cannot be let in: found before the first step, and not by the last one.
fn is_blocked(subject: &Subject<'_>, draft: &mut Draft) -> bool {
    let before = draft.blocked.len();
    for role in &subject.wanted.service_roles {
        let reason = match role.as_str() {
            users if USERS.contains(&users) => "it stands for users, and a service role sees every row",
            other if !subject.picture.server.role_names.iter().any(|there| there == other) => {
                "it does not exist"
            }
            _ => continue,
        };
        draft.block(
            format!("role {role}"),
            reason,
            "name the role of a service (`--service-role`, case matters)",
        );
    }
    draft.blocked.len() > before
}

/// What is there of it.
struct There<'a> {
    subject: &'a Subject<'a>,
    owner: Option<&'a Policy>,
    service: Option<&'a Policy>,
}

impl<'a> There<'a> {
    fn new(subject: &'a Subject<'a>) -> Self {
        let find = |name: &str| subject.picture.policies.iter().find(|policy| policy.name == name);
        Self { subject, owner: find(OWNER), service: find(SERVICE) }
    }

    fn is_ours(&self) -> bool {
        self.owner.is_some() || self.service.is_some()
    }

    /// The policies to be made, each with the one of its name that it replaces.
    fn missing(&self) -> Vec<(Wanted, Option<&'a Policy>)> {
        let owner = Some((Wanted::owner(self.subject), self.owner));
        let service = Wanted::service(self.subject).map(|wanted| (wanted, self.service));
        let is_missing =
            |(wanted, there): &(Wanted, Option<&Policy>)| !there.is_some_and(|there| wanted.is(there));
        [owner, service].into_iter().flatten().filter(is_missing).collect()
    }

    /// A policy for services that lets users in, and that nobody asked for.
    fn leak(&self) -> Option<&'a Policy> {
        self.service.filter(|policy| Wanted::service(self.subject).is_none() && !is_for_services(policy))
    }

    fn draft(&self, draft: &mut Draft) {
        if is_blocked(self.subject, draft) {
            return;
        }
        let table = &self.subject.picture.table;
        let (missing, leak) = (self.missing(), self.leak());
        let enable = !table.row_security;
        let force = self.subject.wanted.force && !table.forced;
        if missing.is_empty() && leak.is_none() && !enable && !force {
            return;
        }
        let create = missing.iter().flat_map(|(wanted, there)| {
            there.map(|_| self.drop(wanted.name)).into_iter().chain([wanted.create(self.subject)])
        });
        let switch = [enable.then(|| self.alter("ENABLE")), force.then(|| self.alter("FORCE"))];
        let back = [force.then(|| self.alter("NO FORCE")), enable.then(|| self.alter("DISABLE"))];
        let relation = relation(self.subject.layout);
        let undone = missing.iter().flat_map(|(wanted, there)| {
            [self.drop(wanted.name)].into_iter().chain(there.map(|there| definition(there, &relation)))
        });
        draft.steps.push(Step {
            id: "row_security".to_owned(),
            object: format!("table {}", self.subject.layout.table_name()),
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
            stake: None,
        });
    }

    fn reason(&self) -> String {
        match self.subject.picture.table.row_security {
            false => "whoever may read the table sees the rows of all users",
            true => "its policies are not as they should be",
        }
        .to_owned()
    }

    fn drop(&self, policy: &str) -> String {
        format!("DROP POLICY IF EXISTS {} ON {}", quote(policy), relation(self.subject.layout))
    }

    fn alter(&self, action: &str) -> String {
        format!("ALTER TABLE {} {action} ROW LEVEL SECURITY", relation(self.subject.layout))
    }

    fn done_if(&self, missing: &[(Wanted, Option<&Policy>)], leak: Option<&Policy>) -> String {
        let table = format!("{}::pg_catalog.regclass", literal(&relation(self.subject.layout)));
        let forced = if self.subject.wanted.force { " AND relforcerowsecurity" } else { "" };
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

/// A row of pg_policy is not this one any more.
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
