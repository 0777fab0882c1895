//! Routines that run with the rights of their owner.

use crate::doctor::access::grants::roles;
use crate::doctor::access::row_security::{critical, warning};
use crate::doctor::finding::{Finding, Mend};
use crate::postgres::catalogue::access::{Routine, TableAccess};

pub(super) fn look(access: &TableAccess) -> Vec<Finding> {
    access.routines.iter().flat_map(|routine| [free_path(routine), callable(routine)]).flatten().collect()
}

fn free_path(routine: &Routine) -> Option<Finding> {
    let place = match (routine.fixed_path, routine.open_path) {
        (true, false) => return None,
        (true, true) => "in a schema where its caller may make things",
        (false, _) => "where its caller says",
    };
    let meaning = format!(
        "it runs with the rights of its owner and names the table or a view of it, but looks names up {place}: a \
         caller's own function or table takes the place of what is meant. With an empty path every name in it \
         must say its schema"
    );
    let sql = format!("ALTER ROUTINE {} SET search_path = ''", routine.signature);
    Some(Finding::new(warning("definer_search_path"), object(routine), meaning, Mend::Sql(sql)))
}

fn callable(routine: &Routine) -> Option<Finding> {
    if routine.callers.is_empty() {
        return None;
    }
    let meaning = "it runs with the rights of its owner, for whom policies need not hold, names the table or a view \
                   of it, and may be called without being signed in; the roles that need it get EXECUTE of their own";
    let sql = format!("REVOKE EXECUTE ON ROUTINE {} FROM {}", routine.signature, roles(&routine.callers));
    Some(Finding::new(critical("definer_callable"), object(routine), meaning, Mend::Sql(sql)))
}

fn object(routine: &Routine) -> String {
    format!("routine {}", routine.signature)
}
