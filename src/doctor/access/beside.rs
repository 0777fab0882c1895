//! Tables of ours beside the table, and its partitions: its policies do not hold for them.

use crate::doctor::access::grants::roles;
use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::postgres::catalogue::access::{RelatedTable, TableAccess};

pub(super) fn look(access: &TableAccess) -> Vec<Finding> {
    access.related_tables.iter().filter_map(judge).collect()
}

fn judge(table: &RelatedTable) -> Option<Finding> {
    match table.partition {
        true => partition(table),
        false => ours(table),
    }
}

/// A partition that is asked by its own name answers without the policies of the whole.
fn partition(table: &RelatedTable) -> Option<Finding> {
    if table.readers.is_empty() || table.row_security {
        return None;
    }
    let meaning = format!(
        "a partition that is asked by its own name answers without the policies of the whole, and {} may ask",
        table.readers.join(", ")
    );
    Some(Finding::new(
        (Area::Access, Severity::Critical, "partition_open"),
        format!("partition {}", table.relation),
        meaning,
        Mend::Sql(format!("REVOKE ALL ON TABLE {} FROM {}", table.relation, roles(&table.readers))),
    ))
}

/// Backups and the journal of the schema may hold what was in the table.
fn ours(table: &RelatedTable) -> Option<Finding> {
    let revoke = || format!("REVOKE ALL ON TABLE {} FROM {}", table.relation, roles(&table.readers));
    let enable = || format!("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", table.relation);
    let (severity, sql) = match (table.row_security, table.readers.is_empty()) {
        (true, true) => return None,
        (true, false) => (Severity::Warning, revoke()),
        (false, true) => (Severity::Warning, enable()),
        (false, false) => (Severity::Critical, format!("{};\n{}", enable(), revoke())),
    };
    let meaning = "it is a table of the vault's own, which may hold what was in the table, and it is not closed: \
                   row level security is to be on without a policy, and nobody else has rights";
    Some(Finding::new(
        (Area::Access, severity, "vault_table_open"),
        format!("table {}", table.relation),
        meaning,
        Mend::Sql(sql),
    ))
}
