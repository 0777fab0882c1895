//! Plans for columns, owner, indexes and `updated_at`: each step does what it says, is not planned again, and is
//! taken back; the script does the same.

mod applications;
mod evidence;
mod layouts;
mod refusals;
mod round_trips;
mod scripts;

use retell_vault::schema::{SchemaPlan, Wanted};
use retell_vault::{Layout, Result};
use serde_json::Value;

use crate::support::rows::value;
use crate::support::vaults::Hosts;
use crate::support::*;

/// What these tests are about; the other steps have tests of their own.
const OTHERS: [&str; 4] = ["guard.", "values.", "function.", "row_security"];

async fn whole_plan(url: &str, layout: &Layout, wanted: &Wanted) -> Result<SchemaPlan> {
    let hosts = Hosts::new().await;
    let vault = hosts.host(0, url).layout(layout.clone()).build().await.unwrap();
    let plan = vault.schema().plan(wanted.clone()).await;
    vault.close().await;
    plan
}

async fn try_plan(url: &str, layout: &Layout, wanted: &Wanted) -> Result<SchemaPlan> {
    let mut plan = whole_plan(url, layout, wanted).await?;
    plan.steps.retain(|step| !OTHERS.iter().any(|other| step.id.starts_with(other)));
    Ok(plan)
}

async fn plan(db: &TestDb, layout: &Layout, wanted: &Wanted) -> SchemaPlan {
    try_plan(&db.url, layout, wanted).await.unwrap()
}

fn ids(plan: &SchemaPlan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.id.as_str()).collect()
}

/// Everything in the catalogue that a plan could change, without the journal.
async fn dump(db: &TestDb) -> Value {
    value(
        db,
        "WITH ours AS (SELECT c.oid, c.relname, c.relkind, c.relrowsecurity, c.relacl, n.nspname FROM pg_class c
             JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
               AND c.relname NOT LIKE 'retell\\_vault\\_steps%')
         SELECT jsonb_build_object(
           'relations', (SELECT jsonb_agg(jsonb_build_array(nspname, relname, relkind, relrowsecurity, relacl::text) ORDER BY nspname, relname) FROM ours),
           'columns', (SELECT jsonb_agg(jsonb_build_array(relname, attname, format_type(atttypid, atttypmod), attnotnull, attcollation::regcollation,
               (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND adnum = attnum)) ORDER BY nspname, relname, attnum)
             FROM pg_attribute a JOIN ours ON ours.oid = attrelid WHERE attnum > 0 AND NOT attisdropped),
           'indexes', (SELECT jsonb_agg(pg_get_indexdef(indexrelid) || indisvalid::text ORDER BY relname, indexrelid::regclass::text) FROM pg_index JOIN ours ON ours.oid = indrelid),
           'constraints', (SELECT jsonb_agg(pg_get_constraintdef(k.oid) ORDER BY relname, conname) FROM pg_constraint k JOIN ours ON ours.oid = conrelid),
           'triggers', (SELECT jsonb_agg(pg_get_triggerdef(t.oid) || tgenabled::text ORDER BY relname, tgname) FROM pg_trigger t JOIN ours ON ours.oid = tgrelid),
           'functions', (SELECT jsonb_agg(pg_get_functiondef(p.oid) || coalesce(proacl::text, '') ORDER BY proname)
             FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
             WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'))",
    )
    .await
}
