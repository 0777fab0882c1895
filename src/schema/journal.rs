//! The journal: the applied steps, recorded in the database so that they can be rolled back.

use sqlx::Row as _;

use crate::layout::layout::Layout;
use crate::postgres::connection::direct::Direct;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::sql::names::{in_schema, literal, relation as table};
use crate::schema::object_owner::{is_trusted, lock_down_sql, table_is_ours};
use crate::schema::step::{DataAtRisk, LockLevel, Step};
use crate::schema::wanted::Profile;

const NAME: &str = "retell_vault_steps";

/// The journal in SQL. All tables of a schema share it.
pub(crate) fn relation(layout: &Layout) -> String {
    in_schema(layout, NAME)
}

/// Creates the journal if it does not exist. Can run twice.
pub(crate) fn create_sql(layout: &Layout) -> Vec<String> {
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {} (\n  \
         seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n  \
         relation text NOT NULL,\n  step text NOT NULL,\n  profile text NOT NULL,\n  \
         sql text[] NOT NULL,\n  undo text[] NOT NULL,\n  \
         concurrent boolean NOT NULL,\n  rewrites boolean NOT NULL,\n  \
         stake_count text,\n  stake_backup text,\n  done boolean NOT NULL,\n  \
         at timestamptz NOT NULL DEFAULT pg_catalog.now())",
        relation(layout)
    );
    let relation = relation(layout);
    // locked by then, so no other session can replace it
    [vec![create], lock_down_sql(&relation), vec![is_ours_sql(layout)]].concat()
}

/// Fails if another role planted the journal.
pub(super) fn is_ours_sql(layout: &Layout) -> String {
    table_is_ours(layout, &relation(layout))
}

/// Records a step. It replaces a record with the same id and the same reverse, which a killed run began, or whose object
/// was removed since.
pub(crate) fn record_sql(layout: &Layout, profile: Profile, step: &Step, done: bool) -> Vec<String> {
    let (journal, relation, id) = (relation(layout), literal(&table(layout)), literal(&step.id));
    let (sql, undo) = (array(&step.sql), array(&step.undo));
    let at_risk = |part: fn(&DataAtRisk) -> &String| match &step.at_risk {
        Some(at_risk) => literal(part(at_risk)),
        None => "NULL".to_owned(),
    };
    let (count, backup) = (at_risk(|at_risk| &at_risk.count), at_risk(|at_risk| &at_risk.backup));
    let (profile, concurrent) = (literal(profile.as_str()), step.concurrent);
    // removing a length limit does not rewrite the table, restoring it does
    let rewrites = step.id.starts_with("type.");
    vec![
        format!("DELETE FROM {journal} WHERE relation = {relation} AND step = {id} AND undo = {undo}"),
        format!(
            "INSERT INTO {journal} (relation, step, profile, sql, undo, concurrent, rewrites, stake_count, stake_backup, done) \
             VALUES ({relation}, {id}, {profile}, {sql}, {undo}, {concurrent}, {rewrites}, {count}, {backup}, {done})"
        ),
    ]
}

/// Marks every begun step as done. The plan has shown that they are.
pub(super) fn finish_sql(layout: &Layout) -> String {
    let (journal, relation) = (relation(layout), literal(&table(layout)));
    format!("UPDATE {journal} SET done = true WHERE relation = {relation} AND NOT done")
}

/// Removes the record of a step, and the journal if it is then empty.
pub(super) fn forget_sql(layout: &Layout, seq: i64) -> Vec<String> {
    let journal = relation(layout);
    let drop = format!("BEGIN IF NOT EXISTS (SELECT FROM {journal}) THEN DROP TABLE {journal}; END IF; END");
    vec![format!("DELETE FROM {journal} WHERE seq = {seq}"), format!("DO {}", literal(&drop))]
}

fn array(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| literal(text)).collect();
    format!("ARRAY[{}]::text[]", texts.join(", "))
}

/// A recorded step and its reverse.
#[derive(Debug)]
pub(super) struct JournalEntry {
    pub(super) seq: i64,
    pub(super) at_risk: Option<DataAtRisk>,
    /// The step that rolls it back, with the same id.
    pub(super) reversal: Step,
}

/// The owner of the journal, or `None` without one. The flag is true if the session may act as that owner and may trust
/// its SQL.
pub(super) async fn owner(
    direct: &mut Direct,
    layout: &Layout,
) -> Result<Option<(String, bool)>, DatabaseError> {
    let sql = format!(
        "SELECT pg_catalog.pg_get_userbyid(relowner)::text,
           relkind = 'r' AND pg_catalog.pg_has_role(relowner, 'USAGE') AND {}
         FROM pg_catalog.pg_class j WHERE oid = pg_catalog.to_regclass({})",
        is_trusted(layout, "j.relowner"),
        literal(&relation(layout))
    );
    let rows = direct.query(&sql).await?;
    let read = rows.first().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose();
    read.map_err(|error| DatabaseError::of(&error, Phase::Reading))
}

/// The recorded steps of the table, latest first.
pub(super) async fn entries(
    direct: &mut Direct,
    layout: &Layout,
) -> Result<Vec<JournalEntry>, DatabaseError> {
    if owner(direct, layout).await?.is_none() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT seq, step, undo, concurrent, rewrites, stake_count, stake_backup FROM {} \
         WHERE relation = {} ORDER BY seq DESC",
        relation(layout),
        literal(&table(layout))
    );
    let rows = direct.query(&sql).await?;
    let entries: sqlx::Result<_> = rows.iter().map(|row| entry(row, layout)).collect();
    entries.map_err(|error| DatabaseError::of(&error, Phase::Reading))
}

fn entry(row: &sqlx::postgres::PgRow, layout: &Layout) -> sqlx::Result<JournalEntry> {
    let (count, backup): (Option<String>, Option<String>) =
        (row.try_get("stake_count")?, row.try_get("stake_backup")?);
    let id: String = row.try_get("step")?;
    let reversal = Step {
        object: format!("{} of {}", id.replacen('.', " ", 1), layout.table_name()),
        id,
        reason: "it is rolled back".to_owned(),
        sql: row.try_get("undo")?,
        undo: Vec::new(),
        lock: LockLevel::AccessExclusive,
        rewrites: row.try_get("rewrites")?,
        concurrent: row.try_get("concurrent")?,
        instead: None,
        done_if: String::new(),
        at_risk: None,
    };
    let at_risk = count.zip(backup).map(|(count, backup)| DataAtRisk { count, backup });
    Ok(JournalEntry { seq: row.try_get("seq")?, at_risk, reversal })
}
