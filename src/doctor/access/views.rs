//! Views that read the table with the rights of their owner.

use crate::doctor::Patient;
use crate::doctor::access::grants::roles;
use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::postgres::catalogue::access::{TableAccess, View};

/// The first version whose views can read with the rights of who asks.
const SECURITY_INVOKER: i32 = 150_000;

pub(super) fn look(patient: &Patient<'_>, access: &TableAccess) -> Vec<Finding> {
    access.views.iter().filter_map(|view| judge(patient, view)).collect()
}

/// A view of other columns is of no concern, unless it goes round row level security.
fn judge(patient: &Patient<'_>, view: &View) -> Option<Finding> {
    let concerns = view.uses || patient.definitions.relation.row_security;
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
            "materialized_view",
            format!("it is a copy of the table for which no policy holds, and {readers} may read it"),
            Mend::Sql(format!("REVOKE ALL ON TABLE {} FROM {}", view.relation, roles(&view.readers))),
        ),
        false => (
            "view_without_invoker",
            format!(
                "it reads the table with the rights of its owner, so {readers} may see what they may not in \
                     the table itself"
            ),
            invoker(patient, view),
        ),
    };
    Some(Finding::new((Area::Access, severity, id), format!("view {}", view.relation), meaning, mend))
}

fn invoker(patient: &Patient<'_>, view: &View) -> Mend {
    match patient.definitions.server.version >= SECURITY_INVOKER {
        true => Mend::Sql(format!("ALTER VIEW {} SET (security_invoker = true)", view.relation)),
        false => Mend::Advice(format!(
            "before PostgreSQL 15 a view cannot read with the rights of who asks: `REVOKE ALL ON TABLE {} FROM {}`, \
             or put the policy's condition into the view, with `security_barrier`",
            view.relation,
            roles(&view.readers)
        )),
    }
}
