//! The steps that were applied, recorded in the database beside the table, so that they can be taken back.

use crate::layout::Layout;
use crate::schema::names::{in_schema, literal, relation as table};
use crate::schema::step::{Stake, Step};
use crate::schema::wanted::Profile;

const NAME: &str = "retell_vault_steps";

/// The journal as it stands in SQL. All tables of a schema share it.
pub(crate) fn relation(layout: &Layout) -> String {
    in_schema(layout, NAME)
}

/// Makes the journal where there is none. Can be run twice.
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
    [vec![create], lock_down_sql(&relation(layout))].concat()
}

/// Hides a table from everybody but its owner. Supabase would otherwise show it to every client.
pub(crate) fn lock_down_sql(relation: &str) -> Vec<String> {
    let revoke = literal(&format!("REVOKE ALL ON TABLE {relation} FROM "));
    let revoke = format!(
        "DECLARE r text; BEGIN FOR r IN SELECT rolname FROM pg_catalog.pg_roles \
         WHERE rolname IN ('anon', 'authenticated', 'service_role') \
         LOOP EXECUTE {revoke} || pg_catalog.quote_ident(r); END LOOP; END"
    );
    vec![
        format!("ALTER TABLE {relation} ENABLE ROW LEVEL SECURITY"),
        format!("REVOKE ALL ON TABLE {relation} FROM PUBLIC"),
        format!("DO {}", literal(&revoke)),
    ]
}

/// Records a step. One of the same id that would be taken back in the same way is replaced: it was begun by a
/// run that was killed, or what it made has gone since.
pub(crate) fn record_sql(layout: &Layout, profile: Profile, step: &Step, done: bool) -> Vec<String> {
    let (journal, relation, id) = (relation(layout), literal(&table(layout)), literal(&step.id));
    let (sql, undo) = (array(&step.sql), array(&step.undo));
    let stake = |part: fn(&Stake) -> &String| match &step.stake {
        Some(stake) => literal(part(stake)),
        None => "NULL".to_owned(),
    };
    let (count, backup) = (stake(|stake| &stake.count), stake(|stake| &stake.backup));
    let (profile, concurrent, rewrites) = (literal(profile.as_str()), step.concurrent, step.rewrites);
    vec![
        format!("DELETE FROM {journal} WHERE relation = {relation} AND step = {id} AND undo = {undo}"),
        format!(
            "INSERT INTO {journal} (relation, step, profile, sql, undo, concurrent, rewrites, stake_count, stake_backup, done) \
             VALUES ({relation}, {id}, {profile}, {sql}, {undo}, {concurrent}, {rewrites}, {count}, {backup}, {done})"
        ),
    ]
}

fn array(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| literal(text)).collect();
    format!("ARRAY[{}]::text[]", texts.join(", "))
}
