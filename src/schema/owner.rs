//! A usable unique constraint on the owner.

use crate::postgres::sql::names::our_name;
use crate::postgres::sql::names::quote;
use crate::schema::duplicates::{nulls_count, remove};
use crate::schema::index::Wanted;
use crate::schema::plan::Subject;
use crate::schema::step::Draft;

/// `NULLS NOT DISTINCT` came with this one.
const POSTGRES_15: i32 = 150_000;

pub(super) fn draft(subject: &Subject<'_>, draft: &mut Draft) {
    if subject.table.unique {
        return;
    }
    if let Some(key) = foreign_partition_key(subject) {
        draft.notes.push(format!(
            "no unique constraint on the owner is possible: {} is partitioned by {key}, which it would have to contain; \
             the vault works without, creating rows under a lock of their owner",
            subject.layout.table_name()
        ));
        return;
    }
    if is_blocked(subject, draft) {
        return;
    }
    let index = unique(subject);
    match subject.evidence.duplicates {
        Some(false) => {}
        _ if subject.wanted.remove_duplicates => draft.steps.push(remove(subject, &index)),
        _ => draft.notes.push(format!(
            "whether owners have several rows in {} was not found out; building the unique index shows it",
            subject.layout.table_name()
        )),
    }
    let reason = "no usable unique constraint keeps an owner from having two rows";
    index.draft(subject, "owner.unique".to_owned(), reason.to_owned(), draft);
}

/// Whether nothing can be done, which is then told.
fn is_blocked(subject: &Subject<'_>, draft: &mut Draft) -> bool {
    let (reason, hint) = if nulls_count(subject.layout, subject.picture)
        && subject.picture.server.version < POSTGRES_15
    {
        let tenant = subject.layout.tenant_column.as_deref().unwrap_or_default();
        (
            format!("{tenant} may be NULL, and before Postgres 15 no unique constraint sees that"),
            format!("run `ALTER TABLE {} ALTER COLUMN {} SET NOT NULL`", subject.relation(), quote(tenant)),
        )
    } else {
        match duplicates_stand(subject) {
            Some(words) => words,
            None => return false,
        }
    };
    draft.block(format!("owner of {}", subject.layout.table_name()), reason, hint);
    true
}

fn duplicates_stand(subject: &Subject<'_>) -> Option<(String, String)> {
    let cascades = &subject.picture.table.cascades;
    match (subject.wanted.remove_duplicates, subject.evidence.duplicates) {
        (_, Some(false)) => None,
        (false, Some(true)) => Some((
            "owners have several rows".to_owned(),
            "all but the newest row of each can be moved to a table beside (`--remove-duplicates`, `Wanted::remove_duplicates`)".to_owned(),
        )),
        (true, _) if !cascades.is_empty() => Some((
            format!("owners may have several rows, and removing one would change rows of {}", cascades.join(", ")),
            "remove the rows yourself, or drop ON DELETE CASCADE, SET NULL or SET DEFAULT from the foreign keys".to_owned(),
        )),
        _ => None,
    }
}

/// What the table is partitioned by besides the owner's columns.
fn foreign_partition_key(subject: &Subject<'_>) -> Option<String> {
    let layout = subject.layout;
    let is_owner = |name: &String| *name == layout.user_column || Some(name) == layout.tenant_column.as_ref();
    let key = subject.picture.table.partition_key.iter();
    let mut foreign = key.filter(|column| !column.as_ref().is_some_and(is_owner));
    foreign.next().map(|column| column.clone().unwrap_or_else(|| "an expression".to_owned()))
}

fn unique(subject: &Subject<'_>) -> Wanted {
    let names = [subject.layout.tenant_column.as_ref(), Some(&subject.layout.user_column)];
    Wanted {
        name: our_name(&[&subject.layout.table, "owner"]),
        method: "btree",
        columns: names.into_iter().flatten().cloned().collect(),
        unique: true,
        nulls_not_distinct: nulls_count(subject.layout, subject.picture),
        predicate: None,
    }
}
