//! What row level security keeps from our role. The rule stands here alone.

use sqlx::postgres::PgArguments;

use crate::classify::Fault;
use crate::database::{Query, bind};

/// What somebody does with rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Reading them.
    Read,
    /// Changing them; whether they can be read is another question.
    Update,
    /// Whatever there is.
    Everything,
}

/// A condition of SQL: row level security may keep rows of a relation from our role. `relation` is an
/// expression of its oid.
///
/// It does not where it does not apply to us, nor where a policy for us by name, or for everybody, has exactly
/// `true` as its condition, and none takes anything away from anybody. That is less than the server would let us
/// see: whose rights are ours may change between a look and a count, and nothing can hold it. Policies stay for
/// as long as the relation is held.
pub(crate) fn may_hide(relation: &str, deed: Deed) -> String {
    let takes = "coalesce(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), 'true') = 'true'";
    let (commands, grants) = match deed {
        Deed::Read => ("'*', 'r'", String::new()),
        Deed::Update => ("'*', 'w'", format!(" AND {takes}")),
        Deed::Everything => ("'*', 'r', 'a', 'w', 'd'", format!(" AND {takes} AND p.polcmd = '*'")),
    };
    let ours = "ARRAY[0, (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user)]::oid[]";
    format!(
        "(pg_catalog.row_security_active({relation}) AND NOT coalesce((\
         SELECT pg_catalog.bool_and(p.polpermissive) AND pg_catalog.bool_or(p.polroles && {ours} \
         AND pg_catalog.pg_get_expr(p.polqual, p.polrelid) = 'true'{grants}) \
         FROM pg_catalog.pg_policy AS p WHERE p.polrelid = {relation} AND p.polcmd IN ({commands})), false))"
    )
}

/// Makes the rest of the transaction see every row of some relations or fail.
///
/// Where policies apply to us and hide nothing, they stay on. In any other case the server refuses what they
/// would change.
pub(super) fn all_or_nothing(relations: &[&str]) -> Result<Query, Fault> {
    let names: Vec<String> = relations.iter().map(|relation| (*relation).to_owned()).collect();
    let mut arguments = PgArguments::default();
    bind(&mut arguments, names)?;
    let sql = format!(
        "SELECT pg_catalog.set_config('row_security', CASE \
         WHEN pg_catalog.bool_or(pg_catalog.row_security_active(t.relation)) AND NOT pg_catalog.bool_or({}) \
         THEN 'on' ELSE 'off' END, true) \
         FROM (SELECT n.name::regclass::oid FROM pg_catalog.unnest($1::text[]) AS n (name)) AS t (relation)",
        may_hide("t.relation", Deed::Read)
    );
    Ok(Query { sql: sql.into(), arguments })
}
