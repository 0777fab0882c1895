//! The sources of all candidates, in the order of precedence that is proposed.

use crate::detect::report::{Candidate, ProposedSource};
use crate::detect::sources::TableSources;

/// The sources for a layout on one candidate: its own, and then those of other candidates.
pub(super) fn for_chosen(chosen: &Candidate, others: &[&Candidate]) -> TableSources {
    let mut sources = TableSources { proposed: chosen.sources.clone(), unopened: chosen.unopened.clone() };
    for other in others.iter().filter(|other| other.table != chosen.table) {
        let doubt = other_owners(chosen, other);
        sources.proposed.extend(other.sources.iter().map(|source| {
            let doubt = doubt.clone().or_else(|| source.doubt.clone());
            ProposedSource { doubt, ..source.clone() }
        }));
        sources.unopened.extend(other.unopened.iter().cloned());
    }
    sources
}

/// Why the owners of another candidate may not be those of the chosen one.
fn other_owners(chosen: &Candidate, other: &Candidate) -> Option<String> {
    let is_same = |one: &str, other: &str| {
        let ends = |long: &str, short: &str| long == short || long.ends_with(&format!("_{short}"));
        ends(one, other) || ends(other, one)
    };
    let same_owner = chosen
        .rows_of
        .as_deref()
        .zip(other.rows_of.as_deref())
        .is_some_and(|(one, other)| is_same(one, other));
    match (chosen.tenant.is_some(), other.tenant.is_some()) {
        _ if other.is_record => Some(format!("{} looks like a table of events or copies", other.table)),
        _ if !same_owner => Some(format!(
            "nothing shows that {} of {} names the same owners as {} of {}",
            other.user.as_deref().unwrap_or_default(),
            other.table,
            chosen.user.as_deref().unwrap_or_default(),
            chosen.table
        )),
        (true, false) => Some(format!("{} has no column of the tenant", other.table)),
        (false, true) => {
            Some(format!("{} has a column of a tenant, and {} has none", other.table, chosen.table))
        }
        _ => None,
    }
}
