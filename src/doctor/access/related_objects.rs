//! Objects that give access to the rows without the policies of the table: views, routines that run with the rights of
//! their owner, partitions, and the vault's own tables.

use crate::doctor::access::grants::roles;
use crate::doctor::context::TableContext;
use crate::doctor::finding::{Finding, Fix, Severity};
use crate::doctor::finding_ids;
use crate::doctor::frame::framed;
use crate::postgres::catalogue::access::{RelatedTable, Routine, TableAccess, View};

/// The first version whose views can read with the rights of the caller.
const SECURITY_INVOKER: i32 = 150_000;

pub(super) fn views(context: &TableContext<'_>, access: &TableAccess) -> Vec<Finding> {
    access.views.iter().filter_map(|view| around_policies(context, view)).collect()
}

/// A view of other columns matters only if it bypasses row level security.
fn around_policies(context: &TableContext<'_>, view: &View) -> Option<Finding> {
    let concerns = view.uses || context.definitions.relation.row_security;
    if view.readers.is_empty() || view.invoker || !concerns {
        return None;
    }
    let ordinary = |reader: &String| ["public", "anon", "authenticated"].contains(&reader.as_str());
    let severity = match view.readers.iter().any(ordinary) {
        true => Severity::Critical,
        false => Severity::Warning,
    };
    let readers = view.readers.join(", ");
    let (id, meaning, mend) = match view.materialized {
        true => (
            finding_ids::MATERIALIZED_VIEW,
            format!("it is a copy of the table to which no policy applies, and {readers} may read it"),
            revoke(view),
        ),
        false => (
            finding_ids::VIEW_WITHOUT_INVOKER,
            format!(
                "it reads the table with the rights of its owner, so {readers} may see rows that the table's \
                 policies hide from them"
            ),
            invoker(context, view),
        ),
    };
    Some(Finding::new(id, severity, format!("view {}", view.relation), meaning, mend))
}

fn invoker(context: &TableContext<'_>, view: &View) -> Fix {
    match context.definitions.server.version >= SECURITY_INVOKER {
        true => by_its_owner(&format!("ALTER VIEW {} SET (security_invoker = true)", view.relation)),
        // no view has that option in this version, so roles under the policies must not read the view
        false => revoke(view),
    }
}

fn revoke(view: &View) -> Fix {
    by_its_owner(&format!("REVOKE ALL ON TABLE {} FROM {}", view.relation, roles(&view.readers)))
}

/// The objects may belong to other roles than the table's owner, and the statements call no code of other roles.
fn by_its_owner(sql: &str) -> Fix {
    Fix::Sql(framed(None, sql))
}

pub(super) fn routines(access: &TableAccess) -> Vec<Finding> {
    access.routines.iter().flat_map(|routine| [free_path(routine), callable(routine)]).flatten().collect()
}

fn free_path(routine: &Routine) -> Option<Finding> {
    let place = match (routine.fixed_path, routine.open_path) {
        (true, false) => return None,
        (true, true) => "in a schema where its caller may create objects",
        (false, _) => "on its caller's search path",
    };
    let meaning = format!(
        "it runs with the rights of its owner and uses the table or a view of it, but looks names up {place}: a \
         caller can substitute a function or table of its own. With an empty path every name in the routine needs \
         its schema"
    );
    let sql = format!("ALTER ROUTINE {} SET search_path = ''", routine.signature);
    Some(Finding::new(
        finding_ids::DEFINER_SEARCH_PATH,
        Severity::Warning,
        routine_object(routine),
        meaning,
        by_its_owner(&sql),
    ))
}

fn callable(routine: &Routine) -> Option<Finding> {
    // a function that only answers may be needed before the user is signed in
    if routine.callers.is_empty() || (routine.only_answers && free_path(routine).is_none()) {
        return None;
    }
    let meaning = "it runs with the rights of its owner, to whom policies may not apply, it uses the table or a \
                   view of it, and requests that are not signed in may call it; grant EXECUTE to the roles that \
                   need it";
    let sql = format!("REVOKE EXECUTE ON ROUTINE {} FROM {}", routine.signature, roles(&routine.callers));
    Some(Finding::new(
        finding_ids::DEFINER_CALLABLE,
        Severity::Critical,
        routine_object(routine),
        meaning,
        by_its_owner(&sql),
    ))
}

fn routine_object(routine: &Routine) -> String {
    format!("routine {}", routine.signature)
}

pub(super) fn tables(access: &TableAccess) -> Vec<Finding> {
    access.related_tables.iter().filter_map(of_table).collect()
}

fn of_table(table: &RelatedTable) -> Option<Finding> {
    match table.partition {
        true => open_partition(table),
        false => open_vault_table(table),
    }
}

/// A query that names the partition bypasses the policies of the partitioned table.
fn open_partition(table: &RelatedTable) -> Option<Finding> {
    if table.readers.is_empty() || table.row_security {
        return None;
    }
    let meaning = format!(
        "a query that names the partition bypasses the policies of the partitioned table, and {} may read the \
         partition",
        table.readers.join(", ")
    );
    Some(Finding::new(
        finding_ids::PARTITION_OPEN,
        Severity::Critical,
        format!("partition {}", table.relation),
        meaning,
        by_its_owner(&format!("REVOKE ALL ON TABLE {} FROM {}", table.relation, roles(&table.readers))),
    ))
}

/// Backups and the schema journal may hold copies of the table's data.
fn open_vault_table(table: &RelatedTable) -> Option<Finding> {
    let revoke = || format!("REVOKE ALL ON TABLE {} FROM {}", table.relation, roles(&table.readers));
    let enable = || format!("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", table.relation);
    let (severity, sql) = match (table.row_security, table.readers.is_empty()) {
        (true, true) => return None,
        (true, false) => (Severity::Warning, revoke()),
        (false, true) => (Severity::Warning, enable()),
        (false, false) => (Severity::Critical, format!("{};\n{}", enable(), revoke())),
    };
    let meaning = "the vault's own table may hold copies of rows, and it is not closed: it needs row level \
                   security without any policy, and no other role should have rights on it";
    Some(Finding::new(
        finding_ids::VAULT_TABLE_OPEN,
        severity,
        format!("table {}", table.relation),
        meaning,
        by_its_owner(&sql),
    ))
}
