//! Stores, loads and deletes a test owner's configuration with the vault's own statements, in a transaction that is
//! rolled back.

use std::sync::Arc;

use sqlx::postgres::PgRow;
use uuid::{Builder, Uuid};

use crate::crypto::random;
use crate::error::Result;
use crate::layout::filter::Rows;
use crate::layout::layout::Layout;
use crate::postgres::catalogue::id_kind::IdKind;
use crate::postgres::catalogue::table::Table;
use crate::postgres::connection::direct::{Direct, Refusal};
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::connection::pool::Query;
use crate::postgres::statements::bind::Written;
use crate::postgres::statements::found_records::FoundRecords;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::statements::read::read_rows;
use crate::record::field::{Fields, ValueKind};
use crate::record::owner::Owner;
use crate::record::record::Record;
use crate::record::values::{Values, quoted};
use crate::record::version::Version;
use crate::schema::check_results::Checks;
use crate::store::core::{Core, StoreRequest};
use crate::store::judge::vouched;
use crate::store::options::StoreOptions;
use zeroize::Zeroizing;

/// The search path is the default, so that triggers of the application run as usual; the vault's statements are safe on
/// any path. The time-outs end a wait for a lock or for a trigger that hangs.
const SETTINGS: &str =
    "SET LOCAL search_path TO DEFAULT; SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '30s'";

/// Refusals by an application's own constraints and triggers of a row that the application did not create: a column that
/// must not be null, an owner that another table does not know, a check, a missing partition, a text that is too long.
const OF_THE_APPLICATION: [&str; 7] = ["23502", "23503", "23505", "23514", "23P01", "22001", "P0001"];

/// Text that is not a token, and that is recognisable if it ever remains.
const NO_TOKEN: &str = "retell-vault test: no token";

const STORE: &str = "store of a new test owner";
const STORE_AGAIN: &str = "store with every field over it";
const LOAD: &str = "load";
const DELETE: &str = "delete";
const CLEAN: &str = "no row of the test owner remains";

/// Tests everything, and rolls it back.
pub(super) async fn run(
    core: &Core,
    postgres: &Postgres,
    direct: &mut Direct,
    checks: &mut Checks,
) -> Result<(), DatabaseError> {
    let plan = postgres.plan().await?;
    if plan.placement.is_local() {
        checks.fail(STORE, postgres.no_room());
        return Ok(());
    }
    if !postgres.database.takes_writes().await? {
        checks.fail(STORE, postgres.database.why_read_only().await.to_string());
        return Ok(());
    }
    if let Err(error) = postgres.check_writable(&plan) {
        checks.fail(STORE, error);
        return Ok(());
    }
    let table = plan.some_table(postgres.layout())?;
    if table.rows == Rows::Existing {
        checks.skip(STORE, "the application creates the rows of this table, and verify does not change them");
        return Ok(());
    }
    let owner = test_owner(postgres.layout(), table)?;
    let mut round_trip = RoundTrip { core, postgres, plan, owner, direct, checks, version: None };
    round_trip.direct.run("BEGIN").await?;
    round_trip.direct.run(SETTINGS).await?;
    let tried = round_trip.try_all().await;
    round_trip.direct.run("ROLLBACK").await?;
    tried?;
    round_trip.look_for_remains().await
}

/// An owner who is unlikely to exist.
pub(crate) fn test_owner(layout: &Layout, table: &Table) -> Result<Owner> {
    let owner = Owner::user(&test_id(table.user)?)?;
    let Some((column, kind)) = layout.tenant_column.as_ref().zip(table.tenant) else { return Ok(owner) };
    match table.column(column).and_then(|column| column.first_label.as_deref()) {
        Some(label) => owner.in_tenant(label),
        None => owner.in_tenant(&test_id(kind)?),
    }
}

/// A random id that is unlikely to exist. An integer is from the larger half of its range.
fn test_id(kind: IdKind) -> Result<String> {
    let uuid = random_uuid()?;
    let number = |max: u64| max - uuid.as_u128() as u64 % (max / 2);
    Ok(match kind {
        IdKind::Text | IdKind::Uuid => uuid.to_string(),
        IdKind::SmallInt => number(i16::MAX as u64).to_string(),
        IdKind::Integer => number(i32::MAX as u64).to_string(),
        IdKind::BigInt => number(i64::MAX as u64).to_string(),
    })
}

fn random_uuid() -> Result<Uuid> {
    random::with_rng(|rng| {
        let mut bytes = [0; 16];
        rand::Rng::fill_bytes(rng, &mut bytes);
        Builder::from_random_bytes(bytes).into_uuid()
    })
}

/// Values for every field, or only for the secret fields. Secret fields never go into a plain column, where an
/// application may have constraints.
fn samples(fields: &Fields, with_plain: bool) -> Values {
    let mut values = Values::new();
    for (field, _) in fields.secrets() {
        values.put_text(field, Some("key_test_verify_0000000001"));
    }
    for (field, spec) in fields.plain().filter(|_| with_plain) {
        let texts = spec.words.iter().rev().chain(&["+14155550100", "verify"]).map(|text| quoted(text));
        let objects = [r#"{"events":[],"webhook_url":"https://example.com/verify"}"#, r#"{"verify":true}"#];
        let objects = objects.map(|json| Zeroizing::new(json.to_owned()));
        let json = match spec.kind {
            ValueKind::Text => texts.into_iter().find(|json| (spec.is_valid)(json)),
            ValueKind::Object => objects.into_iter().find(|json| (spec.is_valid)(json)),
        };
        values.put(field, json);
    }
    values
}

struct RoundTrip<'a> {
    core: &'a Core,
    postgres: &'a Postgres,
    plan: Arc<Plan>,
    owner: Owner,
    direct: &'a mut Direct,
    checks: &'a mut Checks,
    /// The version of the last store.
    version: Option<Version>,
}

impl RoundTrip<'_> {
    async fn try_all(&mut self) -> Result<(), DatabaseError> {
        let (secrets, all) = (samples(&self.core.fields, false), samples(&self.core.fields, true));
        if !self.is_free().await? || !self.stores_first(&secrets).await? {
            return Ok(());
        }
        let mut stored = &secrets;
        self.loads(LOAD, Some(stored)).await?;
        if self.stores(STORE_AGAIN, &all).await? {
            stored = &all;
            self.loads("load of every field", Some(stored)).await?;
        }
        self.refuses_plaintext().await?;
        self.loads("load after that", Some(stored)).await?;
        if self.stores(DELETE, &Values::new()).await? {
            self.loads("load after the delete", None).await?;
        }
        Ok(())
    }

    /// Whether the test owner has no row. An existing owner, which is only likely with small integers, is not used.
    async fn is_free(&mut self) -> Result<bool, DatabaseError> {
        match self.attempt(self.postgres.read_query(&self.plan, &self.owner)?).await? {
            Ok(rows) if rows.is_empty() => return Ok(true),
            Ok(_) => self.checks.skip(STORE, "the test owner already has a row"),
            Err(refusal) => self.checks.fail(LOAD, refusal.fault.error),
        }
        Ok(false)
    }

    async fn stores_first(&mut self, values: &Values) -> Result<bool, DatabaseError> {
        let record = self.seal(values)?;
        let written = Written { record: &record, vouched: None, only: None, entry: None };
        let insert = self.postgres.insert_query(&self.plan, &self.owner, written)?;
        let problem = "no row was created: a trigger dropped it, or it conflicts with a row that this role cannot \
                       see";
        self.writes(STORE, insert, problem).await
    }

    /// Stores over the existing row, as a store does after it has read the row. Empty values store a tombstone.
    async fn stores(&mut self, what: &str, values: &Values) -> Result<bool, DatabaseError> {
        let record = self.seal(values)?;
        let rows = self.attempt(self.postgres.read_query(&self.plan, &self.owner)?).await?;
        let found = read_rows(&self.plan, &rows.unwrap_or_default())?.rows;
        let Some(row) = found.first() else {
            self.checks.fail(what, "the new row cannot be read");
            return Ok(false);
        };
        let vouched = vouched(self.core, &self.plan, &self.owner, &found);
        let written = Written { record: &record, vouched: Some(&vouched), only: None, entry: None };
        let replace = self.postgres.replace_query(&self.plan, &self.owner, written, row)?;
        self.writes(what, replace, "the row exists, but a policy or a trigger prevents the write").await
    }

    fn seal(&mut self, values: &Values) -> Result<Record> {
        let entry = StoreRequest::new(&self.owner, values, StoreOptions::new());
        let record = self.core.seal(entry, self.version, &self.plan.placement.in_the_clear())?;
        self.version = Some(record.version);
        Ok(record)
    }

    async fn writes(
        &mut self,
        what: &str,
        query: Query,
        nothing_written: &str,
    ) -> Result<bool, DatabaseError> {
        match self.attempt(query).await? {
            Ok(rows) if rows.is_empty() => self.checks.fail(what, nothing_written),
            Ok(_) => {
                self.checks.pass(what);
                return Ok(true);
            }
            Err(refusal) if is_of_the_application(&refusal) => {
                let error = refusal.fault.error;
                self.checks.skip(what, format!("the application's own constraints refuse the row: {error}"));
            }
            Err(refusal) => self.checks.fail(what, refusal.fault.error),
        }
        Ok(false)
    }

    async fn loads(&mut self, what: &str, expected: Option<&Values>) -> Result<(), DatabaseError> {
        let rows = match self.attempt(self.postgres.read_query(&self.plan, &self.owner)?).await? {
            Ok(rows) => rows,
            Err(refusal) => {
                self.checks.fail(what, refusal.fault.error);
                return Ok(());
            }
        };
        let found = read_rows(&self.plan, &rows)?;
        let records = FoundRecords::of(&found.rows, &self.plan.placement.slots, found.now);
        let opened = records.newest().and_then(|record| self.core.open(&record, &self.owner));
        match opened {
            Ok(opened) if opened.values.as_ref() == expected && opened.ignored.is_empty() => {
                self.checks.pass(what);
            }
            Ok(_) => self.checks.fail(what, "the value read is not the value stored: other code changes it"),
            Err(error) => self.checks.fail(what, error),
        }
        Ok(())
    }

    async fn refuses_plaintext(&mut self) -> Result<(), DatabaseError> {
        let columns: Vec<_> = self.plan.placement.slots.iter().map(|slot| slot.column.clone()).collect();
        for (at, column) in columns.iter().enumerate() {
            let what = format!("column {column} refuses text that is not a token");
            let forge = self.postgres.forge_query(&self.plan, &self.owner, at, NO_TOKEN)?;
            match self.attempt(forge).await? {
                Ok(rows) if rows.is_empty() => self.checks.skip(what, "the row cannot be written"),
                Ok(_) => self.checks.fail(what, "it accepts such text"),
                Err(refusal) if is_a_rule(&refusal) => self.checks.pass(what),
                Err(refusal) => self.checks.fail(what, refusal.fault.error),
            }
        }
        Ok(())
    }

    /// Checks after the transaction that no row remains.
    async fn look_for_remains(&mut self) -> Result<(), DatabaseError> {
        let query = self.postgres.read_query(&self.plan, &self.owner)?;
        match self.direct.fetch(query).await {
            Ok(rows) if rows.is_empty() => self.checks.pass(CLEAN),
            Ok(_) => self.checks.fail(CLEAN, format!("the row of {} is there", self.owner)),
            Err(refusal) => self.checks.fail(CLEAN, refusal.fault.error),
        }
        Ok(())
    }

    /// Runs one statement. A refused statement leaves the transaction unchanged.
    ///
    /// # Errors
    /// If the connection is lost, which also ends the transaction.
    async fn attempt(&mut self, query: Query) -> Result<Result<Vec<PgRow>, Refusal>, DatabaseError> {
        self.direct.run("SAVEPOINT attempt").await?;
        let done = self.direct.fetch(query).await;
        let end = if done.is_ok() { "RELEASE SAVEPOINT attempt" } else { "ROLLBACK TO SAVEPOINT attempt" };
        self.direct.run(end).await?;
        Ok(done)
    }
}

/// Whether a constraint or a trigger refused the statement.
fn is_a_rule(refusal: &Refusal) -> bool {
    OF_THE_APPLICATION.contains(&refusal.code.as_str())
}

/// Whether the application's own rules refused the statement, and not a guard of the vault.
fn is_of_the_application(refusal: &Refusal) -> bool {
    is_a_rule(refusal) && !refusal.fault.error.to_string().contains("retell_vault_")
}
