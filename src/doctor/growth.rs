//! A growing table: dead rows, an autovacuum that lags or is off, statistics of the planner, indexes that do not fit into
//! memory. Everything comes from the server's counters, and is silent for tables with few rows.

use crate::doctor::context::TableContext;
use crate::doctor::finding::{Finding, FindingId, Fix, Severity};
use crate::doctor::finding_ids;
use crate::doctor::frame::by_owner;
use crate::error::ErrorKind;
use crate::postgres::catalogue::statistics::{RowStatistics, TableStatistics};
use crate::postgres::connection::errors::DatabaseError;

/// The doctor looks after the growth of a table with more rows than this.
pub(super) const LARGE: i64 = 10_000;
/// After this many uses of the other indexes, an index without any use is not needed.
pub(super) const MANY_SCANS: i64 = 10_000;
/// Fewer dead rows do not matter.
const DEAD_ROWS: i64 = 10_000;
/// The autovacuum lags if it lets this many times as many rows die as start it.
const LAG: i64 = 2;
/// The hit rate of the indexes means something once this many blocks were requested.
const REQUESTS: i64 = 10_000;
/// The lowest percentage of index blocks that are found in memory.
const HIT_RATE: i64 = 90;
/// Seconds after a reset in which low counters say nothing: a day, since traffic differs by the hour.
const RESET: i64 = 24 * 60 * 60;
/// As many partitions are named in a finding.
const NAMED: usize = 5;

pub(super) fn look(context: &TableContext<'_>) -> Result<Vec<Finding>, DatabaseError> {
    let statistics = match context.statistics() {
        Ok(statistics) => statistics,
        Err(fault) if fault.error.kind() == ErrorKind::AccessDenied => {
            return Ok(vec![not_readable(context)]);
        }
        Err(fault) => return Err(fault),
    };
    if !is_large(&statistics.tables) {
        return Ok(Vec::new());
    }
    let growth = Growth { context, statistics, large: large(&statistics.tables) };
    if let Some(finding) = growth.not_counting() {
        return Ok(growth.autovacuum_off().into_iter().chain([finding]).collect());
    }
    let findings = [
        growth.not_counted(),
        growth.vacuum_lags(),
        growth.autovacuum_off(),
        growth.never_analysed(),
        growth.index_hit_rate(),
    ];
    Ok(findings.into_iter().flatten().collect())
}

fn is_large(tables: &[RowStatistics]) -> bool {
    tables.iter().map(RowStatistics::most_rows).sum::<i64>() > LARGE
}

/// The tables with many rows of their own.
fn large(tables: &[RowStatistics]) -> Vec<&RowStatistics> {
    tables.iter().filter(|table| table.most_rows() > LARGE).collect()
}

impl RowStatistics {
    /// The number of rows: the counters and the planner may have lost it, but not both.
    fn most_rows(&self) -> i64 {
        self.rows.max(self.live)
    }

    fn lags(&self) -> bool {
        self.dead >= DEAD_ROWS && self.dead > self.allowed.saturating_mul(LAG)
    }

    /// Whether the counters were lost, in a crash or by a reset: they know of far fewer rows than the planner.
    fn is_lost(&self) -> bool {
        self.rows > LARGE && self.live < self.rows / 2 && !self.counted
    }
}

/// A large table, and what was counted of it.
struct Growth<'a> {
    context: &'a TableContext<'a>,
    statistics: &'a TableStatistics,
    large: Vec<&'a RowStatistics>,
}

impl Growth<'_> {
    /// A finding if the server counts nothing.
    fn not_counting(&self) -> Option<Finding> {
        let mend =
            "set track_counts = on in the server's configuration, and reload it: the autovacuum needs it too";
        let meaning = "the server does not count (track_counts = off), so these were not looked at: dead rows, the \
                       planner's statistics, the hit rate of the indexes, unused indexes";
        (!self.statistics.counting).then(|| not_looked_at(self.context, meaning, mend))
    }

    /// A finding or a note if the counters are too low to say anything.
    fn not_counted(&self) -> Option<Finding> {
        let unknown = self.unknown();
        if unknown.is_empty() {
            return None;
        }
        let unknown = unknown.join(", ");
        if self.statistics.is_standby {
            self.note(&format!("{unknown}: a standby has counters of its own"));
            return None;
        }
        let is_fresh = self.statistics.reset_ago.is_some_and(|seconds| seconds < RESET);
        if is_fresh || self.large.iter().any(|table| table.is_lost()) {
            let meaning = format!(
                "the server's counters were reset or lost a short time ago, so these were not looked at: {unknown}"
            );
            let mend =
                "run the doctor again after a day of the usual traffic; ANALYZE counts the dead rows at once";
            return Some(not_looked_at(self.context, meaning, mend));
        }
        self.note(&format!("{unknown}: the server has not counted enough yet"));
        None
    }

    /// What the counters do not show.
    fn unknown(&self) -> Vec<&'static str> {
        let is_unknown = [
            (self.large.iter().any(|table| self.may_have_dead_rows(table)), "dead rows"),
            (self.large.iter().any(|table| self.may_be_analysed(table)), "the planner's statistics"),
            (self.requests() < REQUESTS, "the hit rate of the indexes"),
            (self.statistics.scans() < MANY_SCANS && !self.context.table.is_partitioned(), "unused indexes"),
        ];
        is_unknown.into_iter().filter(|(is_unknown, _)| *is_unknown).map(|(_, what)| what).collect()
    }

    /// Whether the counters may have forgotten dead rows: the next ANALYZE counts them again.
    fn may_have_dead_rows(&self, table: &RowStatistics) -> bool {
        self.may_have_forgotten(table) && !table.lags()
    }

    /// Whether an ANALYZE may be forgotten, and the server hides its results from the role.
    fn may_be_analysed(&self, table: &RowStatistics) -> bool {
        self.may_have_forgotten(table) && table.hidden && !table.analysed
    }

    fn may_have_forgotten(&self, table: &RowStatistics) -> bool {
        let is_reset = self.statistics.reset_ago.is_some() || self.statistics.is_standby || table.is_lost();
        is_reset && !table.counted
    }

    fn note(&self, unknown: &str) {
        self.context.host.note(format!("not looked at in {}: {unknown}", self.context.layout.table_name()));
    }

    fn vacuum_lags(&self) -> Option<Finding> {
        let tables: Vec<_> = self.statistics.tables.iter().filter(|table| table.lags()).collect();
        let dead: i64 = tables.iter().map(|table| table.dead).sum();
        let meaning = format!(
            "{dead} dead rows{}, more than twice as many as start the autovacuum: reads and writes get slower and \
             the table grows. If they are there again after the SQL, an open transaction keeps them, or the autovacuum \
             is too slow",
            self.within(&tables)
        );
        let finding =
            self.finding(finding_ids::VACUUM_LAGS, Severity::Warning, &tables, meaning, "VACUUM (ANALYZE)")?;
        Some(finding.of(u64::try_from(dead).unwrap_or_default(), Vec::new()))
    }

    fn autovacuum_off(&self) -> Option<Finding> {
        let meaning = "the autovacuum is off: dead rows stay, the planner's statistics get old, and in the end the \
                       server stops all writes to protect itself (transaction ids run out)";
        let id = finding_ids::AUTOVACUUM_OFF;
        if !self.statistics.autovacuum {
            let mend = "set autovacuum = on in the server's configuration, and reload it".to_owned();
            let object = self.context.object();
            return Some(Finding::new(id, Severity::Warning, object, meaning, Fix::Advice(mend)));
        }
        let off: Vec<_> = self.statistics.tables.iter().filter(|table| !table.autovacuum).collect();
        let reset =
            off.iter().map(|table| format!("ALTER TABLE {} RESET (autovacuum_enabled)", table.relation));
        let sql = by_owner(self.context, &reset.collect::<Vec<_>>().join(";\n"));
        let meaning = format!("{meaning}{}", self.within(&off));
        (!off.is_empty())
            .then(|| Finding::new(id, Severity::Warning, self.context.object(), meaning, Fix::Sql(sql)))
    }

    fn never_analysed(&self) -> Option<Finding> {
        let is_so =
            |table: &&&RowStatistics| !table.counted && !table.analysed && !self.may_be_analysed(table);
        let tables: Vec<_> = self.large.iter().filter(is_so).copied().collect();
        let meaning = format!(
            "the planner has no statistics about the rows{}, so it may read the whole table for one owner",
            self.within(&tables)
        );
        self.finding(finding_ids::NEVER_ANALYSED, Severity::Notice, &tables, meaning, "ANALYZE")
    }

    fn index_hit_rate(&self) -> Option<Finding> {
        let tables: Vec<_> = self.statistics.tables.iter().collect();
        let (hits, requests) = (self.hits(), self.requests());
        if requests < REQUESTS || hits.saturating_mul(100) >= requests.saturating_mul(HIT_RATE) {
            return None;
        }
        let meaning = format!(
            "the server found only {} of 100 index blocks in memory since its counters were reset: look-ups wait for \
             the disk. The SQL makes the indexes as small as possible; if the rate of the next {REQUESTS} blocks is no \
             better, give the server more memory (shared_buffers)",
            hits.saturating_mul(100) / requests
        );
        let id = finding_ids::INDEX_HIT_RATE;
        let reindex = |table: &&RowStatistics| format!("REINDEX TABLE CONCURRENTLY {}", table.relation);
        let sql: Vec<_> = tables.iter().map(reindex).collect();
        let object = self.context.object();
        Some(Finding::new(id, Severity::Notice, object, meaning, Fix::Sql(sql.join(";\n"))))
    }

    fn hits(&self) -> i64 {
        self.statistics.tables.iter().map(|table| table.index_hits).sum()
    }

    fn requests(&self) -> i64 {
        self.statistics.tables.iter().map(|table| table.index_hits + table.index_reads).sum()
    }

    /// A finding about some tables, if there are any. VACUUM and ANALYZE run in no transaction, so they have no frame.
    /// They need none: they name the schema, and functions that they call run with the rights of the table's owner.
    fn finding(
        &self,
        id: FindingId,
        severity: Severity,
        tables: &[&RowStatistics],
        meaning: String,
        verb: &str,
    ) -> Option<Finding> {
        let names: Vec<_> = tables.iter().map(|table| table.relation.as_str()).collect();
        let sql = format!("{verb} {}", names.join(", "));
        (!names.is_empty()).then(|| Finding::new(id, severity, self.context.object(), meaning, Fix::Sql(sql)))
    }

    /// Names some of the partitions. Nothing for a table without partitions.
    fn within(&self, tables: &[&RowStatistics]) -> String {
        if !self.context.table.is_partitioned() {
            return String::new();
        }
        let named: Vec<_> = tables.iter().take(NAMED).map(|table| table.relation.as_str()).collect();
        let more = if tables.len() > NAMED { " and others" } else { "" };
        format!(" (in {}{more})", named.join(", "))
    }
}

fn not_readable(context: &TableContext<'_>) -> Finding {
    let role = &context.definitions.server.role;
    let meaning = "the role may not read the statistics views, so these were not looked at: dead rows, the planner's \
                   statistics, the hit rate of the indexes, unused indexes, and whether look-ups scan the table";
    let mend = format!(
        "as a superuser, grant SELECT on pg_stats, pg_stat_all_tables, pg_stat_all_indexes, pg_statio_all_indexes and \
         pg_stat_database to {role}"
    );
    not_looked_at(context, meaning, &mend)
}

fn not_looked_at(context: &TableContext<'_>, meaning: impl Into<String>, mend: &str) -> Finding {
    let mend = Fix::Advice(mend.to_owned());
    Finding::new(finding_ids::NOT_EXAMINED, Severity::Warning, context.object(), meaning, mend)
}
