//! The SQL text of one placement, built once. Every value is bound, every name quoted.
//!
//! Parameters come in this order: the owner's user, the owner's tenant if the layout has one, then
//! what the statement's own comment says. "The values of a record" are one text for every slot, then two for every
//! plain column: what it gets, and what it must hold to be cleared when it gets nothing.

use std::sync::Arc;

use crate::postgres::catalogue::table::Table;
use crate::postgres::sql::names::quote;
use crate::postgres::sql::token;
use crate::postgres::statements::fragments::{
    Forms, Writer, array, array_values, counter, id_column, sort_key,
};
use crate::record::layout::Layout;
use crate::record::placement::{Placement, Slot};

pub(crate) struct Statements {
    /// The rows of one owner.
    pub(crate) read: Arc<str>,
    /// + the values of a record, its version, the ids of the known keys, the version of which it is known what may be cleared
    pub(crate) update: Arc<str>,
    /// + the values of a record
    pub(crate) insert: Arc<str>,
    /// + the values of a record, the old text of every slot and of every plain column
    pub(crate) replace: Arc<str>,
    /// + the values of a record, its version, the ids of the known keys. Answers with the row as it was.
    pub(crate) push: Arc<str>,
    /// users[], tenants[]
    pub(crate) read_many: Arc<str>,
    /// users[], tenants[], the values of a record as arrays, versions[], ordinals[], the ids of the known keys
    pub(crate) update_many: Arc<str>,
    /// tenant or null, user or null (start after these), limit
    pub(crate) list: Arc<str>,
    /// Whether any row holds a token.
    pub(crate) tokens: Arc<str>,
    /// For every slot: + a text that is no token
    pub(crate) forge: Vec<Arc<str>>,
}

impl Statements {
    pub(in crate::postgres) fn new(
        layout: &Layout,
        table: &Table,
        placement: &Placement,
        forms: Forms,
    ) -> Self {
        let writer = Writer { layout, table, placement, forms };
        Self {
            read: writer.read().into(),
            update: writer.update().into(),
            insert: writer.insert().into(),
            replace: writer.replace().into(),
            push: writer.push().into(),
            read_many: writer.read_many().into(),
            update_many: writer.update_many().into(),
            list: writer.list().into(),
            tokens: writer.tokens().into(),
            forge: placement.slots.iter().map(|slot| writer.forge(slot).into()).collect(),
        }
    }
}

impl Writer<'_> {
    fn read(&self) -> String {
        let (columns, relation, owner) = (self.read_columns("t"), self.relation(), self.is_owner("t"));
        format!(
            "SELECT {columns}, {} AS is_current FROM {relation} AS t WHERE {owner}",
            self.schema_is_current()
        )
    }

    fn update(&self) -> String {
        let first = self.owner_params() + 1;
        let (version, keys) = self.guard_params(first);
        let seen = format!("${}::text COLLATE \"C\"", first + self.values() + 2);
        let settled = |row: &str| {
            let is_seen = format!("{} = {seen}", self.version_of_row(row, &keys));
            self.clears_nothing_unseen(row, counter(first), &is_seen)
        };
        format!(
            "UPDATE {} AS t SET {} WHERE {} AND {} < {version} COLLATE \"C\" AND {}{}{} RETURNING {}",
            self.relation(),
            self.set_clause(first),
            self.is_owner("t"),
            self.version_of_row("t", &keys),
            self.schema_is_current(),
            self.no_newer_duplicate(&version, &keys, Some(&settled("d"))),
            settled("t"),
            self.holds_what_was_bound(counter(first)),
        )
    }

    /// The version and the known keys come after the values of a record.
    fn guard_params(&self, first: usize) -> (String, String) {
        let version = first + self.values();
        (format!("${version}"), format!("${}", version + 1))
    }

    /// Without a unique constraint the owner may have several rows, and with one a UUID in a text
    /// column may have a row for each of its forms; all are written or none.
    fn no_newer_duplicate(&self, version: &str, keys: &str, settled: Option<&str>) -> String {
        if self.table.unique && self.has_one_form() {
            return String::new();
        }
        let (relation, owner, newest) = (self.relation(), self.is_owner("d"), self.version_of_row("d", keys));
        format!(
            " AND NOT EXISTS (SELECT 1 FROM {relation} AS d WHERE {owner} AND ({newest} >= {version} COLLATE \"C\" OR NOT (true{})))",
            settled.unwrap_or_default()
        )
    }

    fn insert(&self) -> String {
        let first = self.owner_params() + 1;
        let assignments =
            self.assignments(counter(first)).into_iter().map(|(column, _, insert)| (column, insert));
        let (columns, values): (Vec<_>, Vec<_>) = self.owner_values().into_iter().chain(assignments).unzip();
        let (relation, current) = (self.relation(), self.schema_is_current());
        // other code takes no lock, and may run into a constraint that we cannot rely on
        let absent = match self.table.unique {
            true => String::new(),
            false => format!(" AND NOT EXISTS (SELECT 1 FROM {relation} AS d WHERE {})", self.is_owner("d")),
        };
        format!(
            "INSERT INTO {relation} AS t ({}) SELECT {} WHERE {current}{absent}{} RETURNING {}",
            columns.join(", "),
            values.join(", "),
            self.unless_there(),
            self.holds_what_was_bound(counter(first)),
        )
    }

    /// Beside a deferrable constraint the clause needs a target; without a usable constraint there is none,
    /// and the lock alone keeps two of us apart.
    fn unless_there(&self) -> String {
        match (self.table.deferrable, self.table.unique) {
            (false, _) => " ON CONFLICT DO NOTHING".to_owned(),
            (true, true) => {
                let (columns, _): (Vec<_>, Vec<_>) = self.owner_values().into_iter().unzip();
                format!(" ON CONFLICT ({}) DO NOTHING", columns.join(", "))
            }
            (true, false) => String::new(),
        }
    }

    fn replace(&self) -> String {
        let first = self.owner_params() + 1;
        let mut old = counter(first + self.values());
        let unchanged = self.placement.slots.iter().map(|slot| {
            let column = format!("t.{}", quote(&slot.column));
            match slot.json {
                true => {
                    format!("{} IS NOT DISTINCT FROM {}::text::jsonb", self.member(&column), old())
                }
                false => format!("{column}::text IS NOT DISTINCT FROM {}::text", old()),
            }
        });
        let slots: Vec<_> = unchanged.collect();
        let plain = self.placement.plain.iter();
        let plain = plain
            .map(|plain| format!("t.{}::text IS NOT DISTINCT FROM {}::text", quote(&plain.column), old()));
        let unchanged: Vec<_> = slots.into_iter().chain(plain).collect();
        let json = self.placement.slots.iter().find(|slot| slot.json);
        let writable_json = json.map(|slot| {
            format!(
                " AND coalesce(pg_catalog.jsonb_typeof(t.{}) IN ('object', 'null'), true)",
                quote(&slot.column)
            )
        });
        format!(
            "UPDATE {} AS t SET {} WHERE {} AND {} AND {}{} RETURNING {}",
            self.relation(),
            self.set_clause(first),
            self.is_owner("t"),
            unchanged.join(" AND "),
            self.schema_is_current(),
            writable_json.unwrap_or_default(),
            self.holds_what_was_bound(counter(first)),
        )
    }

    fn push(&self) -> String {
        let first = self.owner_params() + 1;
        let (version, keys) = self.guard_params(first);
        let (relation, owner) = (self.relation(), self.is_owner("t"));
        let names = (0..self.placement.slots.len()).map(|at| format!("pre.s{at}"));
        let plain = (0..self.placement.plain.len()).map(|at| format!("pre.p{at}"));
        let old: Vec<_> =
            names.chain(plain).chain(["pre.json_is_unrecognised".to_owned(), "pre.now".to_owned()]).collect();
        format!(
            "WITH pre AS MATERIALIZED (SELECT t.ctid AS place, {} FROM {relation} AS t WHERE {owner} FOR UPDATE) \
             UPDATE {relation} AS t SET {} FROM pre WHERE t.ctid = pre.place AND {owner} AND {} < {version} COLLATE \"C\" AND {}{} \
             RETURNING {}, {} AS held, true AS is_current",
            self.read_columns("t"),
            self.set_clause(first),
            self.version_of_row("t", &keys),
            self.schema_is_current(),
            self.no_newer_duplicate(&version, &keys, None),
            old.join(", "),
            self.holds_what_was_bound(counter(first)),
        )
    }

    fn read_many(&self) -> String {
        let user = id_column(&self.layout.user_column, self.table.user);
        let users = array(self.table.user);
        let owners = match (&self.layout.tenant_column, self.table.tenant) {
            (Some(tenant), Some(kind)) => {
                let tenants = array(kind);
                format!(
                    "({user}, {}) IN (SELECT * FROM unnest($1::{users}, $2::{tenants}))",
                    id_column(tenant, kind)
                )
            }
            _ => format!("{user} = ANY($1::{users})"),
        };
        format!(
            "SELECT {}, {}, {} AS is_current FROM {} AS t WHERE {owners}",
            self.owner_columns(),
            self.read_columns("t"),
            self.schema_is_current(),
            self.relation()
        )
    }

    fn update_many(&self) -> String {
        let values = self.values();
        let mut next = counter(1);
        let mut arrays = vec![format!("{}::{}", next(), array(self.table.user))];
        arrays.extend(self.table.tenant.map(|kind| format!("{}::{}", next(), array(kind))));
        arrays.extend((0..=values).map(|_| format!("{}::text[]", next())));
        arrays.push(format!("{}::int4[]", next()));
        let keys = next();

        let mut names = vec!["u".to_owned()];
        names.extend(self.table.tenant.map(|_| "w".to_owned()));
        names.extend((0..values).map(|at| format!("v{at}")));
        names.extend(["version".to_owned(), "ordinal".to_owned()]);

        let assignments = self.assignments(array_values());
        let set: Vec<_> =
            assignments.into_iter().map(|(column, update, _)| format!("{column} = {update}")).collect();
        let tenant = self.layout.tenant_column.as_ref().zip(self.table.tenant);
        let tenant = tenant.map(|(name, kind)| format!(" AND {} = n.w", id_column(name, kind)));
        format!(
            "UPDATE {} AS t SET {} FROM unnest({}) AS n({}) WHERE {} = n.u{} AND {} < n.version COLLATE \"C\" AND {}{} RETURNING {} AS held, n.ordinal",
            self.relation(),
            set.join(", "),
            arrays.join(", "),
            names.join(", "),
            id_column(&self.layout.user_column, self.table.user),
            tenant.unwrap_or_default(),
            self.version_of_row("t", &keys),
            self.schema_is_current(),
            self.clears_nothing_unseen("t", array_values(), "false"),
            self.holds_what_was_bound(array_values()),
        )
    }

    fn list(&self) -> String {
        let user = sort_key(&self.layout.user_column, self.table.user);
        let tenant = match (&self.layout.tenant_column, self.table.tenant) {
            (Some(tenant), Some(kind)) => format!("coalesce({}, '')", sort_key(tenant, kind)),
            _ => "''::text".to_owned(), // ORDER BY refuses a bare constant
        };
        let filled: Vec<_> = self
            .placement
            .slots
            .iter()
            .map(|slot| format!("{} IS NOT NULL", self.slot_text("t", slot)))
            .collect();
        format!(
            "SELECT {}, {}, {} AS is_current FROM {} AS t WHERE ({}) AND ({tenant}, {user}) > ($1::text, $2::text) \
             ORDER BY {tenant}, {user} LIMIT $3::int8",
            self.owner_columns(),
            self.read_columns("t"),
            self.schema_is_current(),
            self.relation(),
            if filled.is_empty() { "false".to_owned() } else { filled.join(" OR ") },
        )
    }

    /// A token of any format. What an application left in the columns is none.
    fn tokens(&self) -> String {
        let holds = |slot: &Slot| token::holds_any(&self.slot_text("t", slot));
        let tokens: Vec<_> = self.placement.slots.iter().map(holds).collect();
        format!("SELECT 1 FROM {} AS t WHERE {} LIMIT 1", self.relation(), tokens.join(" OR "))
    }

    fn forge(&self, slot: &Slot) -> String {
        let (column, text) = (quote(&slot.column), format!("${}::text", self.owner_params() + 1));
        let forged = match slot.json {
            true => token::only_member(
                &self.member_name(),
                &format!("pg_catalog.jsonb_build_object('forged', {text})"),
            ),
            false => text,
        };
        format!(
            "UPDATE {} AS t SET {column} = {forged} WHERE {} RETURNING 1",
            self.relation(),
            self.is_owner("t")
        )
    }
}
