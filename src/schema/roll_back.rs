//! Taking recorded steps back, the latest first.

use crate::error::{Error, ErrorKind};
use crate::postgres::connection::direct::Refusal;
use crate::postgres::connection::errors::{Fault, Outcome};
use crate::postgres::sql::names::{in_schema, literal, our_name, relation};
use crate::postgres::statements::plan::Postgres;
use crate::schema::apply::rewrites;
use crate::schema::journal::{self, Entry};
use crate::schema::options::{RollBackOptions, RolledBack, SchemaEvent};
use crate::schema::step::{Stake, Step};
use crate::schema::work::{Listener, Work};

/// Raised by ourselves: rows have come since they were counted.
const MORE_ROWS: &str = "RV001";

pub(super) async fn roll_back(
    postgres: &Postgres,
    options: &RollBackOptions,
    listener: Listener<'_>,
) -> Result<RolledBack, Fault> {
    let mut work = Work::begin(postgres, &options.apply, listener).await?;
    let entries = journal::entries(&mut work.direct, work.layout).await?;
    let mut run = Run { work, options, undone: RolledBack::default() };
    run.may_undo(&entries).await?;
    let done = run.undo_all(&entries).await;
    let Run { work, undone, .. } = run;
    if done.is_err() && undone.steps.is_empty() {
        return done.map(|()| undone);
    }
    let ended = work.end().await;
    postgres.refresh().await.ok(); // what was looked at before is forgotten in any case
    done.and(ended).map(|()| undone)
}

struct Run<'a> {
    work: Work<'a>,
    options: &'a RollBackOptions,
    undone: RolledBack,
}

impl Run<'_> {
    /// What must be decided before anything is undone.
    async fn may_undo(&mut self, entries: &[Entry]) -> Result<(), Fault> {
        let rewriting = entries.iter().map(|entry| &entry.reversal).find(|step| step.rewrites);
        if let Some(step) = rewriting.filter(|_| !self.options.apply.allow_rewrite) {
            return Err(rewrites(step).into());
        }
        for (entry, stake) in entries.iter().filter_map(|entry| Some((entry, entry.stake.as_ref()?))) {
            let rows = self.count(&entry.reversal, stake).await?;
            self.may_lose(&entry.reversal, rows)?;
        }
        Ok(())
    }

    fn may_lose(&self, step: &Step, rows: i64) -> Result<(), Error> {
        if rows == 0 || self.options.allow_data_loss {
            return Ok(());
        }
        let rows = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
        Err(Error::new(ErrorKind::Schema, format!("{} holds data in {rows}", step.object)).with_hint(
            "to drop it after a copy to a table beside, allow it with allow_data_loss (`--allow-data-loss`)",
        ))
    }

    /// How many rows would lose data. None where what is counted has gone already.
    async fn count(&mut self, step: &Step, stake: &Stake) -> Result<i64, Refusal> {
        let counted = match self.work.direct.value(&stake.count).await {
            Err(refusal) if refusal.code == "42501" => self.count_unforced(step, stake).await,
            counted => counted,
        };
        match counted {
            Err(refusal) if ["42P01", "42703"].contains(&refusal.code.as_str()) => Ok(0),
            counted => counted,
        }
    }

    /// The same where policies are forced on the owner of the table too, and hide rows that would lose data.
    async fn count_unforced(&mut self, step: &Step, stake: &Stake) -> Result<i64, Refusal> {
        let (unforced, forced) = self.forced().await?;
        let count =
            format!("SELECT pg_catalog.set_config('retell_vault.rows', ({})::text, false)", stake.count);
        let statements: Vec<_> = unforced.into_iter().chain([count]).chain(forced).collect();
        self.work.together(step, &statements).await?;
        self.work.direct.value("SELECT pg_catalog.current_setting('retell_vault.rows')::int8").await
    }

    /// What lets the owner of a table see every row for the rest of a transaction, and what ends that.
    async fn forced(&mut self) -> Result<(Option<String>, Option<String>), Refusal> {
        let relation = relation(self.work.layout);
        let sql = format!(
            "SELECT relforcerowsecurity FROM pg_catalog.pg_class WHERE oid = {}::pg_catalog.regclass",
            literal(&relation)
        );
        let is_forced: bool = self.work.direct.value(&sql).await?;
        let alter =
            |force: &str| is_forced.then(|| format!("ALTER TABLE {relation} {force} ROW LEVEL SECURITY"));
        Ok((alter("NO FORCE"), alter("FORCE")))
    }

    async fn undo_all(&mut self, entries: &[Entry]) -> Result<(), Fault> {
        for entry in entries {
            let step = &entry.reversal;
            self.work.tell(SchemaEvent::Begins(step));
            if let Err(refusal) = self.undo(entry).await {
                return Err(Fault::new(refusal.fault.outcome, self.explain(step, refusal)));
            }
            self.work.tell(SchemaEvent::Undone(&step.id));
            self.undone.steps.push(step.id.clone());
        }
        Ok(())
    }

    fn explain(&self, step: &Step, refusal: Refusal) -> Error {
        let Refusal { code, fault } = refusal;
        let error = match code.as_str() {
            "09000" => Error::new(
                ErrorKind::Schema,
                "a trigger or rule of the table keeps rows from coming back",
            )
            .with_hint(
                "switch it off (`ALTER TABLE … DISABLE TRIGGER …`), roll back again, and switch it on",
            ),
            "42703" | "42704" | "42P01" | "42883" => {
                Error::new(ErrorKind::Schema, "what the step made was removed or renamed by others")
                    .with_hint("apply the plan again, which makes it anew, then roll back")
            }
            _ if fault.outcome == Outcome::Ambiguous => {
                let message = "the connection was lost, so it may have been taken back or not";
                Error::new(ErrorKind::OutcomeUnknown, message)
                    .with_hint("roll back again: that goes on where this ended")
            }
            _ => fault.error,
        };
        let before = match self.undone.steps.len() {
            0 => "nothing was taken back before it".to_owned(),
            1 => "the step after it is taken back".to_owned(),
            many => format!("the {many} steps after it are taken back"),
        };
        error.about(format_args!("taking back step {} ({before})", step.id))
    }

    async fn undo(&mut self, entry: &Entry) -> Result<(), Refusal> {
        let (step, forget) = (&entry.reversal, journal::forget_sql(self.work.layout, entry.seq));
        if step.concurrent {
            self.work.one_by_one(step).await?;
            return self.work.together(step, &forget).await;
        }
        let Some(stake) = &entry.stake else {
            return self.work.together(step, &[step.sql.clone(), forget].concat()).await;
        };
        loop {
            match self.undo_with_care(step, stake, &forget).await {
                Err(refusal) if refusal.code == MORE_ROWS => {}
                done => return done,
            }
        }
    }

    /// Undoes a step in the same transaction that copies what is lost with it. Nobody writes meanwhile, so
    /// that nothing is lost that was not counted, or not copied.
    async fn undo_with_care(&mut self, step: &Step, stake: &Stake, forget: &[String]) -> Result<(), Refusal> {
        let rows = self.count(step, stake).await?;
        self.may_lose(step, rows)?;
        let (unforced, forced) = self.forced().await?;
        let mut statements =
            vec![format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", relation(self.work.layout))];
        statements.extend(unforced);
        let backup = match rows {
            0 => None,
            _ => Some(self.free_name(step).await?),
        };
        match &backup {
            None => statements.push(guard(stake)),
            Some(name) => statements.extend(backup_sql(&in_schema(self.work.layout, name), stake)),
        }
        statements.extend(step.sql.iter().chain(&forced).chain(forget).cloned());
        self.work.together(step, &statements).await?;
        if let Some(name) = backup {
            let name = format!("{}.{name}", self.work.layout.schema);
            self.work.tell(SchemaEvent::BackedUp(&name));
            self.undone.backups.push(name);
        }
        Ok(())
    }

    /// A name for a backup that no other relation has.
    async fn free_name(&mut self, step: &Step) -> Result<String, Refusal> {
        let id = step.id.replace('.', "_");
        let base = ["backup", &self.work.layout.table, &id];
        let mut name = our_name(&base);
        let mut number = 1;
        while self.exists(&name).await? {
            number += 1;
            name = our_name(&[&base[..], &[&number.to_string()]].concat());
        }
        Ok(name)
    }

    async fn exists(&mut self, name: &str) -> Result<bool, Refusal> {
        let name = literal(&in_schema(self.work.layout, name));
        self.work.direct.value(&format!("SELECT to_regclass({name}) IS NOT NULL")).await
    }
}

fn backup_sql(backup: &str, stake: &Stake) -> Vec<String> {
    let copy = format!("CREATE TABLE {backup} AS {}", stake.backup);
    [vec![copy], journal::lock_down_sql(backup)].concat()
}

/// Fails when there is anything to lose after all. What is counted may have gone: then nothing is lost.
fn guard(stake: &Stake) -> String {
    let body = format!(
        "DECLARE n bigint; BEGIN EXECUTE {} INTO n; IF n > 0 THEN RAISE EXCEPTION USING ERRCODE = '{MORE_ROWS}'; END IF; \
         EXCEPTION WHEN undefined_column OR undefined_table THEN NULL; END",
        literal(&stake.count)
    );
    format!("DO {}", literal(&body))
}
