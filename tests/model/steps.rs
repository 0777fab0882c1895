//! Each operation on the real vaults, and what its answer may be.

use std::collections::BTreeSet;

use retell_vault::doctor::DoctorOptions;
use retell_vault::records::StoreOptions;
use retell_vault::records::{Expected, RecordState, Source, Version};
use retell_vault::records::{Loaded, Stored};
use retell_vault::rotation::{PromoteOptions, RotateOptions};
use retell_vault::schema::{ApplyOptions, Profile, RollBackOptions};
use retell_vault::sync::KeptReason;
use retell_vault::{Error, ErrorKind};

use super::operations::{Expect, OWNERS, Operation};
use super::owners::{Id, Row};
use super::process::kill_process;
use super::world::{World, who};
use crate::support::rotation::{at_once, promote};

impl World<'_> {
    pub async fn run(&mut self, operation: &Operation) {
        use Operation::*;
        match *operation {
            Store { h, o } => self.store(h, o).await,
            StoreExpecting { h, o, what } => self.store_expecting(h, o, what).await,
            StoreIn { h, o, commits } => self.store_in(h, o, commits).await,
            StoreMany { h } => self.store_many(h).await,
            Modify { h, o } => self.modify(h, o).await,
            Delete { h, o } => self.delete(h, o).await,
            Load { h, o } => self.load(h, o).await,
            LoadMany { h } => self.load_many(h).await,
            List { h } => self.list(h).await,
            Sync { h } => self.sync(h).await,
            Forget { h, o } => self.forget(h, o).await,
            Kept { h } => drop(self.kept(h).await),
            RetryDeadLetters { h, o } => self.retry_dead_letters(h, o).await,
            RenameOwner { h, from, to } => self.rename_owner(h, from, to).await,
            Status { h } => drop(self.vault(h).status().await.unwrap()),
            CountTokens { h, deep } => self.count_tokens(h, deep).await,
            Rotate { h } => self.rotate(h).await,
            NewKey => drop(promote(&self.folder).await),
            DestroyOldKeys { h } => self.destroy_old_keys(h).await,
            ApplySchema { h } => self.apply_schema(h).await,
            RollBackSchema { h } => self.roll_back_schema(h).await,
            VerifySchema { h } => self.verify_schema(h).await,
            Promote { h } => self.promote(h).await,
            Redetect { h } => {
                let done = self.vault(h).redetect().await;
                self.no_answer_but(h, done);
            }
            Doctor { h } => {
                drop(self.vault(h).doctor(&DoctorOptions::new().deep(), |_| {}).await.unwrap());
            }
            Together { o } => self.together(o).await,
            RenameColumn => self.rename_column().await,
            RenameColumnBack => self.rename_column_back().await,
            Outage { h } => self.outage(h).await,
            OutageEnds { h } => self.outage_ends(h).await,
            Cut { h } => self.cut(h).await,
            Restart { h } => self.restart(h).await,
            Clock { h, minutes } => self.turn_clock(h, minutes),
            SaveFile { h } => self.save_file(h).await,
            RestoreFile { h } => self.restore_file(h).await,
            SaveTable if self.renamed.is_none() => self.save_table().await,
            RestoreTable if self.renamed.is_none() => self.restore_table().await,
            SaveTable | RestoreTable => {}
            RemoveRow { o } => self.remove_row(o).await,
            MakeRow { o } => self.make_row(o).await,
            KillProcess { h, o, delete, micros } => kill_process(self, h, o, delete, micros).await,
            KillServer { micros } => self.kill_server(micros).await,
        }
    }

    // --- Writes ---

    async fn store(&mut self, h: usize, o: usize) {
        let config = self.new_config(o);
        let id = self.model.write(o, Some(config.clone()));
        let stored = self.vault(h).store(&who(o), &config).await;
        self.note_store(h, id, stored);
    }

    /// A store that clears half a record which a column held under its other name.
    pub async fn store_over_leftovers(&mut self, o: usize) {
        let config = self.new_config(o);
        let id = self.model.write(o, Some(config.clone()));
        let options = StoreOptions::new().replace_unreadable();
        let stored = self.vault(0).store_with(&who(o), &config, options).await;
        self.note_store(0, id, stored);
    }

    /// The answer to a write of which everything may be expected.
    pub fn note_store(&mut self, h: usize, id: Id, stored: Result<Stored, Error>) {
        let brief = stored.as_ref().map(|stored| (stored.version, stored.rows, stored.degraded.clone()));
        self.say(format!("    write {id} on host {h}: {brief:?}"));
        match stored {
            Ok(stored) => self.note_stored(h, id, stored.version, stored.degraded.is_some()),
            Err(error) => {
                let is_refusal = self.hosts[h].start.refuses && error.kind() == ErrorKind::Unavailable;
                // where a store has no place for a record, and may not fall back
                let no_place = self.hosts[h].start.refuses && self.is_narrow;
                let half = self.was_renamed && error.kind() == ErrorKind::Unsealable;
                assert!(is_refusal || no_place || half || self.may_fail(h, &error), "host {h}: {error:?}");
                assert!(!is_refusal || self.hosts[h].doubts || no_place, "the database is there: {error:?}");
                if error.kind() == ErrorKind::OutcomeUnknown {
                    self.may_be_stored(id);
                }
            }
        }
    }

    fn may_be_stored(&mut self, id: Id) {
        let owner = self.model.writes[id].owner;
        self.model.owners[owner].row.insert(Row::Holds(id));
    }

    pub fn note_stored(&mut self, h: usize, id: Id, version: Version, degraded: bool) {
        self.model.learn_version(id, version);
        let owner = self.model.writes[id].owner;
        if !degraded {
            self.reached(h);
            self.model.stored(h, id, self.renamed.is_none());
            return;
        }
        let host = &self.hosts[h];
        assert!(!host.start.refuses, "host {h} keeps nothing locally");
        assert!(host.doubts || self.renamed.is_some() || self.is_narrow, "the database is there");
        let (unseen, has_replica) = (host.is_cut_off, host.start.offline_reads);
        if !unseen {
            // a store opens what it writes over, also where its own answer is lost then
            self.model.may_have_seen(owner, h);
        }
        let host = &self.hosts[h];
        if host.lost_answers || !host.is_cut_off {
            self.may_be_stored(id);
        }
        self.model.degraded(h, id, unseen, has_replica);
        if self.hosts[h].start.offline_reads {
            self.model.owners[owner].at[h].seen.insert(id);
        }
    }

    /// The connection of the service does not lead through the host's proxy, and the host learns nothing from it.
    async fn store_in(&mut self, h: usize, o: usize, commits: bool) {
        let config = self.new_config(o);
        let id = self.model.write(o, Some(config.clone()));
        let (vault, pool) = (self.vault(h), &self.ground.admin);
        let store = async || {
            let mut transaction = pool.begin().await.unwrap();
            let stored = vault.store_in(&mut transaction, &who(o), &config).await?;
            match commits {
                true => transaction.commit().await.unwrap(),
                false => transaction.rollback().await.unwrap(),
            }
            Ok(stored.version)
        };
        let mut stored: Result<Version, Error> = store().await;
        // the table has changed since the host read its columns
        if stored.as_ref().is_err_and(|error| error.kind() == ErrorKind::Schema && error.sqlstate().is_some())
        {
            stored = store().await;
        }
        self.say(format!("    write {id} by host {h}, commits: {commits}: {stored:?}"));
        match stored {
            Ok(version) if commits => {
                self.model.learn_version(id, version);
                self.model.stored_elsewhere(h, id, self.renamed.is_none());
            }
            Ok(_) => {}
            Err(error) => {
                let no_place = self.is_narrow && error.kind() == ErrorKind::Schema;
                let half = self.was_renamed && error.kind() == ErrorKind::Unsealable;
                let is_unknown = error.kind() == ErrorKind::OutcomeUnknown;
                assert!(no_place || half || (self.may_fail(h, &error) && !is_unknown), "host {h}: {error:?}");
            }
        }
    }

    async fn store_many(&mut self, h: usize) {
        let mut writes = Vec::new();
        for o in [0, 1, 2] {
            let config = self.new_config(o);
            writes.push((self.model.write(o, Some(config.clone())), who(o), config));
        }
        let configs: Vec<_> =
            writes.iter().map(|(_, owner, config)| (owner.clone(), config.clone())).collect();
        let stored = self.vault(h).store_many(&configs).await.unwrap();
        let mut answers: Vec<_> = writes.into_iter().map(|(id, ..)| id).zip(stored).collect();
        // where some came through in the end, the database was still away for the others
        answers.sort_by_key(|(_, stored)| stored.as_ref().is_ok_and(|stored| stored.degraded.is_none()));
        for (id, stored) in answers {
            self.note_store(h, id, stored);
        }
    }

    async fn store_expecting(&mut self, h: usize, o: usize, what: Expect) {
        let there: Vec<Id> = self.model.owners[o].row.iter().filter_map(held).collect();
        let of_owner =
            |id: &Id| self.model.writes[*id].owner == o && self.model.writes[*id].version.is_some();
        let id = match what {
            Expect::Absent => None,
            Expect::Current => there.first().copied().filter(of_owner),
            Expect::Earlier => (0..self.model.writes.len()).find(of_owner),
        };
        let version = id.and_then(|id| self.model.writes[id].version);
        let expected = version.map_or(Expected::Absent, Expected::Version);
        let config = self.new_config(o);
        let id = self.model.write(o, Some(config.clone()));
        let stored = self.vault(h).store_with(&who(o), &config, StoreOptions::new().expect(expected)).await;
        // what waits is synchronised first
        if !self.hosts[h].is_cut_off {
            self.model.may_be_settled(o, h);
            self.model.may_have_seen(o, h);
        }
        let is_expected = |row: &Row| match held(row).filter(|id| !self.model.is_tombstone(*id)) {
            None => version.is_none(),
            Some(there) => {
                version.is_some()
                    && self.model.writes[there].version.is_none_or(|there| Some(there) == version)
            }
        };
        let rows = &self.model.owners[o].row;
        match &stored {
            Ok(_) => assert!(
                rows.iter().any(is_expected) || self.renamed.is_some(),
                "the row holds {rows:?}, and not {expected:?}"
            ),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let was_lost = self.hosts[h].lost_answers;
                assert!(
                    was_lost || self.renamed.is_some() || !rows.iter().all(is_expected),
                    "it was as expected: {error}"
                );
                if was_lost {
                    self.may_be_stored(id);
                }
                self.say(format!("    conflict with {expected:?}"));
                return;
            }
            Err(_) => {}
        }
        assert!(stored.as_ref().is_ok_and(|stored| stored.degraded.is_none()) || stored.is_err());
        self.note_careful(h, id, stored);
    }

    /// The answer to a write that never falls back.
    fn note_careful(&mut self, h: usize, id: Id, stored: Result<Stored, Error>) {
        if let Err(error) = &stored {
            self.say(format!("    write {id} on host {h}: {error}"));
            let no_place = self.is_narrow && error.kind() == ErrorKind::Schema;
            let half = self.was_renamed && error.kind() == ErrorKind::Unsealable;
            assert!(no_place || half || self.may_fail(h, error), "host {h}: {error:?}");
            if self.hosts[h].lost_answers {
                self.may_be_stored(id);
            }
            return;
        }
        self.note_store(h, id, stored);
    }

    async fn modify(&mut self, h: usize, o: usize) {
        let agent = format!("agent_test_modified_{o}_{}", self.model.writes.len());
        let mut seen = None;
        let modified = self
            .vault(h)
            .modify(&who(o), |config| {
                let before = config.clone();
                config.set_call_agent_id(Some(agent.parse()?));
                seen = Some((before, config.clone()));
                Ok(())
            })
            .await;
        if !self.hosts[h].is_cut_off {
            self.model.may_be_settled(o, h);
            self.model.may_have_seen(o, h);
        }
        let Some((before, after)) = seen else {
            let error = modified.expect_err("nothing was loaded");
            let is_nothing = |row: &Row| held(row).is_none_or(|id| self.model.is_tombstone(id));
            let nothing =
                error.kind() == ErrorKind::NotFound && self.model.owners[o].row.iter().any(is_nothing);
            self.say(format!("    nothing was modified: {error}"));
            let no_place = self.is_narrow && error.kind() == ErrorKind::Schema;
            let half = self.was_renamed && error.kind() == ErrorKind::Incomplete;
            assert!(nothing || half || no_place || self.may_fail(h, &error), "host {h}: {error:?}");
            return;
        };
        let (bases, rows) = (self.model.all_with(o, &before), &self.model.owners[o].row);
        let is_there = bases.iter().any(|base| rows.contains(&Row::Holds(*base)));
        assert!(is_there, "modified one of {bases:?}, and the row holds {rows:?}");
        let id = self.model.write(o, Some(after));
        match &modified {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                assert!(self.hosts[h].lost_answers, "nobody else was there: {error}");
                self.may_be_stored(id);
            }
            _ => self.note_careful(h, id, modified),
        }
    }

    async fn delete(&mut self, h: usize, o: usize) {
        let answers = self.model.answers(o, h);
        let id = self.model.write(o, None);
        let deleted = self.vault(h).delete(&who(o)).await;
        self.note_delete(h, id, deleted, answers.contains(&None));
    }

    pub fn note_delete(&mut self, h: usize, id: Id, deleted: Result<Stored, Error>, may_be_nothing: bool) {
        match &deleted {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.say(format!("    nothing was deleted on host {h}"));
                if !self.hosts[h].is_cut_off {
                    self.model.may_have_seen(self.model.writes[id].owner, h);
                }
                let by_file = self.hosts[h].doubts
                    && (self.hosts[h].start.offline_reads
                        || self.tombstone_waits(h, self.model.writes[id].owner));
                assert!(
                    may_be_nothing || by_file || self.renamed.is_some() || self.is_narrow,
                    "there was something to delete"
                );
            }
            Ok(stored) if stored.rows == 0 && stored.degraded.is_none() => {
                self.say(format!("    write {id} on host {h}: {:?}, over what waits", stored.version));
                self.model.learn_version(id, stored.version);
                self.reached(h);
                self.model.deleted_what_waits(h, id, self.renamed.is_none());
            }
            _ => self.note_store(h, id, deleted),
        }
    }

    /// In an outage the local file may say that there is nothing.
    fn tombstone_waits(&self, h: usize, o: usize) -> bool {
        self.model.owners[o].at[h].waiting.iter().flatten().any(|id| self.model.is_tombstone(*id))
    }

    /// Two hosts store at the same time: both are acknowledged, and the row holds the later one.
    async fn together(&mut self, o: usize) {
        let (a, b) = (self.vault(0), self.vault(1));
        let (config_a, owner) = (self.new_config(o), who(o));
        let id_a = self.model.write(o, Some(config_a.clone()));
        let config_b = self.new_config(o);
        let id_b = self.model.write(o, Some(config_b.clone()));
        let (stored_a, stored_b) = tokio::join!(a.store(&owner, &config_a), b.store(&owner, &config_b));
        let in_database = |stored: &Result<Stored, Error>| {
            stored
                .as_ref()
                .is_ok_and(|stored| stored.degraded.is_none())
                .then(|| stored.as_ref().unwrap().version)
        };
        // noted in the order in which they took effect
        match (in_database(&stored_a), in_database(&stored_b)) {
            (Some(version_a), Some(version_b)) if version_a > version_b => {
                self.note_store(1, id_b, stored_b);
                self.note_store(0, id_a, stored_a);
            }
            _ => {
                self.note_store(0, id_a, stored_a);
                self.note_store(1, id_b, stored_b);
            }
        }
    }

    /// Every host stores for owners of its own, and the server is killed meanwhile.
    async fn kill_server(&mut self, micros: u64) {
        let mut stores = Vec::new();
        for o in 0..OWNERS {
            let h = o % self.hosts.len();
            let config = self.new_config(o);
            let (id, vault) = (self.model.write(o, Some(config.clone())), self.vault(h));
            let store = tokio::spawn(async move { vault.store(&who(o), &config).await });
            stores.push((h, id, store));
        }
        tokio::time::sleep(std::time::Duration::from_micros(micros)).await;
        self.ground.kill().await;
        for host in &mut self.hosts {
            (host.doubts, host.lost_answers) = (true, true);
        }
        for (h, id, store) in stores {
            self.note_store(h, id, store.await.unwrap());
        }
    }

    /// The record of one owner becomes that of another, who has none, and a tombstone stays behind.
    async fn rename_owner(&mut self, h: usize, from: usize, to: usize) {
        let moved = self.vault(h).rename_owner(&who(from), &who(to)).await;
        // what waits is synchronised first
        if !self.hosts[h].is_cut_off {
            for o in [from, to] {
                self.model.may_be_settled(o, h);
                self.model.may_have_seen(o, h);
            }
        }
        let is_record = |id: &Id| !self.model.is_tombstone(*id);
        let records = |o: usize| -> Vec<Id> {
            self.model.owners[o].row.iter().filter_map(held).filter(is_record).collect()
        };
        let (sources, targets) = (records(from), records(to));
        let has_nothing = |o: usize, records: &[Id]| records.len() < self.model.owners[o].row.len();
        self.say(format!(
            "    {sources:?} to an owner with {targets:?}: {:?}",
            moved.as_ref().map(|moved| moved.version)
        ));
        let is_lost = self.hosts[h].lost_answers;
        let version = match &moved {
            Ok(moved) => {
                assert!(moved.degraded.is_none() && !sources.is_empty(), "there was nothing to move");
                assert!(has_nothing(to, &targets), "the other owner has {targets:?}");
                Some(moved.version)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                assert!(is_lost || has_nothing(from, &sources), "there was something to move");
                None
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                // what waits of an owner whose row is gone is in the way too
                let waits = self.model.owners[from].at[h].waiting.iter().any(Option::is_some);
                assert!(is_lost || waits || !targets.is_empty(), "nothing was in the way: {error}");
                None
            }
            Err(error) => return assert!(self.may_fail(h, error), "host {h}: {error:?}"),
        };
        if version.is_some() || is_lost {
            self.note_renamed(h, (from, to), &sources, version);
        }
    }

    /// It is one of these records that has moved, or where nobody was told so, it may have.
    fn note_renamed(
        &mut self,
        h: usize,
        (from, to): (usize, usize),
        sources: &[Id],
        version: Option<Version>,
    ) {
        let tombstone = self.model.write(from, None);
        let mut moved = Vec::new();
        for source in sources {
            let config = self.model.writes[*source].config.clone();
            moved.push(self.model.write(to, config));
        }
        if let Some(version) = version {
            moved.iter().for_each(|id| self.model.learn_version(*id, version));
            for o in [from, to] {
                self.model.owners[o].row.clear();
                self.model.owners[o].at[h].waiting = [None].into();
                self.model.owners[o].at[h].restored = false;
            }
            if let [source] = sources {
                self.model.owners[from].at[h].kept.insert(*source);
            }
            self.reached(h);
        }
        self.model.owners[from].row.insert(Row::Holds(tombstone));
        self.model.owners[to].row.extend(moved.iter().map(|id| Row::Holds(*id)));
        self.model.saw(from, h, tombstone);
        moved.iter().for_each(|id| self.model.saw(to, h, *id));
    }

    // --- Reads ---

    async fn load(&mut self, h: usize, o: usize) {
        let loaded = self.vault(h).load(&who(o)).await;
        self.note_load(h, o, loaded);
    }

    async fn load_many(&mut self, h: usize) {
        let owners: Vec<_> = (0..OWNERS).map(who).collect();
        let mut answers: Vec<_> = self.vault(h).load_many(&owners).await.into_iter().enumerate().collect();
        answers.sort_by_key(|(_, loaded)| loaded.as_ref().is_ok_and(|loaded| !loaded.stale));
        for (o, loaded) in answers {
            self.note_load(h, o, loaded);
        }
    }

    pub fn note_load(&mut self, h: usize, o: usize, loaded: Result<Loaded, Error>) {
        let answers = self.model.answers(o, h);
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return self.note_failed_load(h, o, error),
        };
        // a record that a column hid under its other name, and whose plain columns were written meanwhile, says so
        let is_named = self.was_renamed && !loaded.changed_outside.is_empty();
        let of_version = || self.model.writes.iter().position(|write| write.version == Some(loaded.version));
        let found =
            self.model.find(o, &loaded.config, loaded.version).or_else(|| of_version().filter(|_| is_named));
        let id = found.unwrap_or_else(|| panic!("a mixture: nobody wrote {:?}", loaded.version));
        self.say(format!(
            "    host {h}, owner {o}: write {id} from {:?}, stale: {}",
            loaded.source, loaded.stale
        ));
        assert_eq!(self.model.writes[id].owner, o, "another owner's");
        self.model.learn_version(id, loaded.version);
        let by_replica = loaded.stale
            && self.hosts[h].doubts
            && self.hosts[h].start.offline_reads
            && self.model.owners[o].at[h].seen.contains(&id);
        let possible = &mut self.model.owners[o];
        match loaded.source {
            Source::Local if loaded.stale => {
                assert!(self.hosts[h].doubts, "the database is there");
                let waits = possible.at[h].waiting.contains(&Some(id));
                let may_be_nothing = possible.at[h].waiting.iter().all(|waiting| waiting.is_some());
                assert!(waits || by_replica, "write {id} does not wait here, and is no copy");
                assert!(waits || !may_be_nothing || by_replica, "something newer waits here");
            }
            Source::Local => {
                assert!(answers.contains(&Some(id)), "write {id}, and not one of {answers:?}");
                assert!(possible.at[h].waiting.contains(&Some(id)), "write {id} does not wait here");
                possible.at[h].waiting = [Some(id)].into();
                // a table without a place for records is known not to hold any
                if self.renamed.is_none() {
                    self.reached(h);
                }
            }
            Source::Database => {
                assert!(answers.contains(&Some(id)), "write {id}, and not one of {answers:?}");
                assert!(possible.row.contains(&Row::Holds(id)), "the row holds {:?}", possible.row);
                assert!(
                    loaded.seen.is_none_or(|seen| seen > loaded.version)
                        && loaded.stale == loaded.seen.is_some()
                );
                assert!(loaded.ignored.is_empty() && loaded.unknown.is_empty());
                assert!(
                    loaded.changed_outside.is_empty() || self.was_renamed,
                    "{:?}",
                    loaded.changed_outside
                );
                possible.row = [Row::Holds(id)].into();
                self.model.saw(o, h, id);
                self.reached(h);
            }
            other => panic!("a place that the model does not know: {other:?}"),
        }
    }

    fn note_failed_load(&mut self, h: usize, o: usize, error: Error) {
        self.say(format!("    host {h}, owner {o}: {error}"));
        if error.kind() != ErrorKind::NotFound {
            // what waits here is there without the database
            let waits = self.model.owners[o].at[h].waiting.iter().all(Option::is_some);
            assert!(
                !waits || self.renamed.is_some() || error.kind() == ErrorKind::Busy,
                "{error:?}, though a record waits here"
            );
            let no_place = self.is_narrow && error.kind() == ErrorKind::Schema;
            let half = self.was_renamed && error.kind() == ErrorKind::Incomplete;
            assert!(half || no_place || self.may_fail(h, &error), "host {h}: {error:?}");
            return;
        }
        let tombstone_waits = self.tombstone_waits(h, o);
        let by_file = self.hosts[h].doubts && (tombstone_waits || self.hosts[h].start.offline_reads);
        if by_file || self.renamed.is_some() || self.is_narrow {
            return;
        }
        let answers = self.model.answers(o, h);
        assert!(answers.contains(&None), "nothing, and not one of {answers:?}");
        self.reached(h);
        if self.model.owners[o].at[h].waiting.len() == 1 && !tombstone_waits {
            let nothing: Vec<Row> = self.model.owners[o].row.iter().copied().collect();
            let nothing =
                nothing.into_iter().filter(|row| held(row).is_none_or(|id| self.model.is_tombstone(id)));
            self.model.owners[o].row = nothing.collect();
        }
        // whether the process has seen a tombstone or forgotten a row does not show
        let seen: Vec<Id> = self.model.owners[o].row.iter().filter_map(held).collect();
        let at = &mut self.model.owners[o].at[h];
        at.seen.extend(&seen);
        at.seen_now.extend(&seen);
        at.last = None;
    }

    async fn list(&mut self, h: usize) {
        let page = match self.vault(h).list(None, 100).await {
            Ok(page) => page,
            Err(error) => {
                let no_place = self.is_narrow && error.kind() == ErrorKind::Schema;
                return assert!(no_place || self.may_fail(h, &error), "host {h}: {error:?}");
            }
        };
        if self.renamed.is_some() || self.is_narrow {
            return;
        }
        for o in 0..OWNERS {
            let answers = self.model.answers(o, h);
            let entry = page.entries.iter().find(|entry| entry.owner.valid() == Some(&who(o)));
            let record = entry.filter(|entry| entry.state != RecordState::Deleted);
            match record {
                None => {
                    assert!(answers.contains(&None), "owner {o} is not listed, and has one of {answers:?}")
                }
                Some(record) => {
                    let half =
                        self.was_renamed && record.state == RecordState::Unreadable(ErrorKind::Incomplete);
                    assert!(half || record.state == RecordState::Readable, "owner {o}: {record:?}");
                    if half {
                        continue;
                    }
                    let is_it = |id: &Id| {
                        self.model.writes[*id].version.is_none()
                            || record.version == self.model.writes[*id].version
                    };
                    assert!(
                        answers.iter().flatten().any(is_it),
                        "owner {o}: {record:?}, and not one of {answers:?}"
                    );
                }
            }
        }
        assert!(!self.hosts[h].is_cut_off, "host {h} has no way to the database");
    }

    // --- What waits, and what was kept ---

    pub async fn sync(&mut self, h: usize) {
        let before = self.kept(h).await;
        let report = self.vault(h).sync().await.unwrap();
        self.say(format!("    {report:?}"));
        if let Some(reason) = &report.stopped {
            let excused = self.hosts[h].doubts || self.renamed.is_some() || self.is_narrow;
            assert!(excused, "sync has stopped, and the database is there: {reason}");
            if !self.hosts[h].is_cut_off {
                (0..OWNERS).for_each(|o| self.model.may_be_settled(o, h));
            }
            return;
        }
        assert!(report.blocked.is_empty() || self.was_renamed || self.hosts[h].doubts, "{report:?}");
        let kept = self.kept(h).await;
        for o in 0..OWNERS {
            match report.blocked.iter().any(|(blocked, _)| *blocked == who(o)) {
                true => self.model.may_be_settled(o, h),
                false => self.model.settled(o, h, &kept, &before),
            }
        }
        let waited = report.pushed + report.lost + report.dead_letters > 0;
        if waited {
            self.reached(h);
        }
        // the file says the same as its vault
        drop(self.kept(h).await);
    }

    /// They wait again, with what each was based on, unless something waits already.
    async fn retry_dead_letters(&mut self, h: usize, o: Option<usize>) {
        let before = self.kept(h).await;
        let owner = o.map(who);
        let retried = self.vault(h).retry_dead_letters(owner.as_ref()).await.unwrap() as usize;
        self.say(format!("    {retried} wait again"));
        // those of which nothing may be kept any more; which, the file tells
        for possible in &mut self.model.owners {
            possible.at[h].kept.retain(|id| !before.contains(&(*id, KeptReason::DeadLetter)));
        }
        let after = self.kept(h).await;
        let mut waiting = [const { BTreeSet::new() }; OWNERS];
        for entry in before.iter().filter(|(_, why)| *why == KeptReason::DeadLetter) {
            let owner = self.model.writes[entry.0].owner;
            match after.contains(entry) {
                true => drop(self.model.owners[owner].at[h].kept.insert(entry.0)),
                false => drop(waiting[owner].insert(Some(entry.0))),
            }
        }
        let gone = waiting.iter().filter(|waiting| !waiting.is_empty()).count();
        assert!(gone <= retried, "{waiting:?} are no dead letters any more, and {retried} wait again");
        for (owner, waiting) in waiting.into_iter().enumerate().filter(|(_, waiting)| !waiting.is_empty()) {
            assert!(o.is_none_or(|o| o == owner), "it was another's");
            let at = &mut self.model.owners[owner].at[h];
            assert!(at.waiting.contains(&None), "something newer waits");
            (at.waiting, at.restored) = (waiting, true);
        }
        // a tombstone cannot be told from another one
        if gone < retried {
            let tombstones = self.model.writes.iter().enumerate().filter(|(_, write)| write.config.is_none());
            for (id, write) in tombstones {
                let at = &mut self.model.owners[write.owner].at[h];
                let may_be = o.is_none_or(|o| o == write.owner) && at.waiting.contains(&None);
                at.waiting.extend(may_be.then_some(Some(id)));
                at.restored |= may_be;
            }
        }
    }

    async fn forget(&mut self, h: usize, o: usize) {
        self.vault(h).forget(&who(o)).await.unwrap();
        let at = &mut self.model.owners[o].at[h];
        at.waiting = [None].into();
        at.kept.clear();
        at.restored = false;
    }

    // --- What operators do ---

    fn no_answer_but<T>(&self, h: usize, done: Result<T, Error>) {
        if let Err(error) = done {
            self.say(format!("    {error}"));
            let needs_direct = self.hosts[h].start.transactions && error.kind() == ErrorKind::Configuration;
            let in_the_way = needs_direct || error.kind() == ErrorKind::Schema;
            assert!(in_the_way || self.may_fail(h, &error), "host {h}: {error:?}");
        }
    }

    async fn count_tokens(&mut self, h: usize, deep: bool) {
        let vault = self.vault(h);
        let counted = if deep { vault.count_all_tokens(|_| {}).await } else { vault.count_tokens().await };
        self.no_answer_but(h, counted);
    }

    pub async fn rotate(&mut self, h: usize) {
        let mut rotation = self.vault(h).rotate(&RotateOptions::new(), |_| {}).await;
        // a key that was promoted a moment ago: the next run finds what is left
        if matches!(&rotation, Ok(rotation) if !rotation.complete) {
            rotation = self.vault(h).rotate(&RotateOptions::new(), |_| {}).await;
        }
        if let Ok(rotation) = &rotation {
            let excused = self.was_renamed || self.hosts[h].doubts;
            assert!(rotation.complete || excused, "nobody else was there: {rotation:?}");
        }
        self.no_answer_but(h, rotation);
    }

    /// As an operator does it who knows all hosts: each re-encrypts its local file, then the old keys go.
    pub async fn destroy_old_keys(&mut self, h: usize) {
        if self.was_renamed || self.hosts.iter().any(|host| host.doubts) {
            return;
        }
        self.forget_copies().await;
        for host in 0..self.hosts.len() {
            self.rotate(host).await;
        }
        let vault = self.vault(h);
        for key in vault.keys() {
            if key.state == retell_vault::keyring::KeyState::Retired {
                vault.destroy_key(key.id, at_once()).await.unwrap();
            }
        }
    }

    async fn apply_schema(&mut self, h: usize) {
        if self.renamed.is_some() {
            return;
        }
        let schema = self.vault(h).schema();
        let applied = match schema.plan(Profile::Credentials).await {
            Ok(plan) => schema.apply(&plan, &ApplyOptions::new(), |_| {}).await.map(drop),
            Err(error) => Err(error),
        };
        self.columns_changed();
        self.no_answer_but(h, applied);
    }

    async fn roll_back_schema(&mut self, h: usize) {
        if self.renamed.is_some() {
            return;
        }
        let undone = self.vault(h).schema().roll_back(&RollBackOptions::new(), |_| {}).await;
        self.columns_changed();
        self.no_answer_but(h, undone);
    }

    async fn verify_schema(&mut self, h: usize) {
        let verified = self.vault(h).schema().verify(Profile::Credentials).await;
        self.no_answer_but(h, verified);
    }

    /// Moves records in the table, and synchronises first.
    async fn promote(&mut self, h: usize) {
        let before = self.kept(h).await;
        let promoted = self.vault(h).promote(&PromoteOptions::new(), |_| {}).await;
        match &promoted {
            Ok(promotion) if promotion.local.stopped.is_none() && promotion.local.blocked.is_empty() => {
                let kept = self.kept(h).await;
                (0..OWNERS).for_each(|o| self.model.settled(o, h, &kept, &before));
            }
            _ if self.hosts[h].is_cut_off => {}
            _ => (0..OWNERS).for_each(|o| self.model.may_be_settled(o, h)),
        }
        self.no_answer_but(h, promoted);
    }
}

fn held(row: &Row) -> Option<Id> {
    match row {
        Row::Holds(id) => Some(*id),
        _ => None,
    }
}
