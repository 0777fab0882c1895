//! The real parts of a sequence: a database, hosts with their local files, and the way between them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use retell_vault::connection::{PoolerMode, Timeouts};
use retell_vault::sync::{Fallback, KeptReason};
use retell_vault::{Error, ErrorKind, RetellConfig, Vault};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgPool, PgPoolOptions};

use super::operations::{HostStart, OWNERS, Start};
use super::owners::{AtHost, Id, Model, Row};
use crate::support::vaults::{ADOPT, ALL_COLUMNS, Hosts, full_config, owner, small_config};
use crate::support::{Cluster, CutProxy, Mode, TestDb};

/// The shapes of the table. In all but the first two a record has no place or a crowded one.
pub fn tables() -> Vec<String> {
    let columns =
        |columns: &str| format!("CREATE TABLE user_profiles (user_id text PRIMARY KEY, {columns}); {ADOPT}");
    vec![
        ALL_COLUMNS.to_owned(),
        ALL_COLUMNS.replace("PRIMARY KEY", "NOT NULL"),
        columns("encrypted_agent_config jsonb"),
        columns("encrypted_retell_api_key text"),
        columns("encrypted_retell_api_key text, encrypted_call_agent_id text, phone_number text"),
        columns("encrypted_retell_api_key text, encrypted_agent_config jsonb, webhook_config jsonb"),
    ]
}

/// Short, since an outage costs this much; a server that is slower is one that is away.
const TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_millis(2000), operation: Duration::from_secs(10) };

/// What a worker keeps for all of its sequences.
pub struct Ground {
    server: Server,
    pub admin: PgPool,
    proxies: Vec<CutProxy>,
}

enum Server {
    Shared(TestDb),
    Own(Cluster),
}

impl Ground {
    pub async fn new(own_server: bool) -> Self {
        let server = match own_server {
            true => Server::Own(Cluster::start(&["-c", "fsync=off"]).await),
            false => Server::Shared(TestDb::create().await),
        };
        let url = match &server {
            Server::Shared(db) => db.url.clone(),
            Server::Own(cluster) => cluster.url().to_owned(),
        };
        let admin = PgPoolOptions::new().max_connections(2).connect_lazy(&url).unwrap();
        let mut proxies = Vec::new();
        for _ in 0..3 {
            proxies.push(CutProxy::start(&url).await);
        }
        Self { server, admin, proxies }
    }

    pub async fn exec(&self, sql: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.admin).await;
        done.unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
    }

    pub async fn kill(&self) {
        let Server::Own(cluster) = &self.server else { panic!("this server is shared") };
        cluster.kill().await;
        cluster.restart().await;
    }
}

/// One host: its vault, its clock, and the way to the database.
pub struct Host {
    pub vault: Option<Vault>,
    pub start: HostStart,
    clock: Arc<AtomicI64>,
    /// No way to the database.
    pub is_cut_off: bool,
    /// The process may take the database for dead, although it is there.
    pub doubts: bool,
    /// Answers got lost in this process: what fell back to the local file may be in the database too.
    pub lost_answers: bool,
    saved: Option<(PathBuf, Vec<AtHost>)>,
}

/// The table while a column has another name.
pub struct Renamed {
    pub column: &'static str,
    pub rows: Vec<BTreeSet<Row>>,
}

pub struct World<'a> {
    pub ground: &'a Ground,
    pub folder: Hosts,
    pub hosts: Vec<Host>,
    pub model: Model,
    pub renamed: Option<Renamed>,
    /// It was renamed at least once: of what a column held meanwhile, something may be left over.
    pub was_renamed: bool,
    pub renamed_once: bool,
    pub saved_table: Option<Vec<BTreeSet<Row>>>,
    /// A process may know the table as one without a place for records.
    pub is_narrow: bool,
    pub log: Arc<std::sync::Mutex<Vec<String>>>,
}

pub fn who(o: usize) -> retell_vault::Owner {
    owner(&format!("user-{o}"))
}

impl<'a> World<'a> {
    pub async fn new(ground: &'a Ground, start: &Start, log: Arc<std::sync::Mutex<Vec<String>>>) -> Self {
        for proxy in &ground.proxies {
            proxy.set(Mode::Pass).await;
        }
        let clean = "DO $$ DECLARE object text; BEGIN
            FOR object IN SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
            LOOP EXECUTE 'DROP TABLE ' || object || ' CASCADE'; END LOOP;
            FOR object IN SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            LOOP EXECUTE 'DROP FUNCTION ' || object || ' CASCADE'; END LOOP; END $$;
            DROP SCHEMA IF EXISTS saved CASCADE; CREATE SCHEMA saved;";
        ground.exec(&format!("{clean} {}", tables()[start.table])).await;
        let host = |start: &HostStart| Host {
            vault: None,
            start: start.clone(),
            clock: Arc::new(AtomicI64::new(start.minutes)),
            is_cut_off: false,
            doubts: false,
            lost_answers: false,
            saved: None,
        };
        let hosts: Vec<_> = start.hosts.iter().map(host).collect();
        let mut world = Self {
            ground,
            folder: Hosts::new().await,
            model: Model::new(OWNERS, hosts.len()),
            hosts,
            renamed: None,
            was_renamed: false,
            renamed_once: false,
            saved_table: None,
            is_narrow: false,
            log,
        };
        for h in 0..world.hosts.len() {
            world.restart(h).await;
        }
        world
    }

    pub fn say(&self, what: String) {
        self.log.lock().unwrap().push(what);
    }

    pub fn vault(&self, h: usize) -> Vault {
        self.hosts[h].vault.clone().expect("a host runs")
    }

    pub fn url(&self, h: usize) -> &str {
        self.ground.proxies[h].url()
    }

    /// The values of a new write, in one of three shapes. No two writes have the same.
    pub fn new_config(&self, o: usize) -> RetellConfig {
        let mark = format!("{o}_{}", self.model.writes.len());
        match self.model.writes.len() % 3 {
            0 => small_config(mark),
            1 => full_config(mark),
            _ => small_config(&mark).with_sms_agent_id(format!("agent_test_{mark}").parse().unwrap()),
        }
    }

    /// A new process of the host.
    pub async fn restart(&mut self, h: usize) {
        self.stop(h).await;
        let host = &mut self.hosts[h];
        let clock = host.clock.clone();
        let (is_cut_off, start) = (host.is_cut_off, host.start.clone());
        let builder = self.folder.host(h, self.ground.proxies[h].url()).timeouts(TIMEOUTS);
        let builder = configured(builder, &start).clock(move || time(clock.load(Ordering::SeqCst)));
        host.vault = Some(builder.build().await.unwrap());
        (host.doubts, host.lost_answers) = (is_cut_off, false);
        self.model.restarted(h);
    }

    async fn stop(&mut self, h: usize) {
        if let Some(vault) = self.hosts[h].vault.take() {
            vault.close().await;
        }
    }

    pub fn turn_clock(&self, h: usize, minutes: i64) {
        let clock = &self.hosts[h].clock;
        let turned = (clock.load(Ordering::SeqCst) + minutes).clamp(-90, 90);
        clock.store(turned, Ordering::SeqCst);
    }

    pub fn minutes(&self, h: usize) -> i64 {
        self.hosts[h].clock.load(Ordering::SeqCst)
    }

    pub async fn outage(&mut self, h: usize) {
        self.ground.proxies[h].set(Mode::Refuse).await;
        (self.hosts[h].is_cut_off, self.hosts[h].doubts) = (true, true);
    }

    pub async fn outage_ends(&mut self, h: usize) {
        self.ground.proxies[h].set(Mode::Pass).await;
        self.hosts[h].is_cut_off = false;
    }

    pub async fn cut(&mut self, h: usize) {
        if !self.hosts[h].is_cut_off {
            self.ground.proxies[h].set(Mode::CutAfterRequest(crate::support::Request::Execution)).await;
            (self.hosts[h].doubts, self.hosts[h].lost_answers) = (true, true);
        }
    }

    // --- Older copies put back ---

    fn files(&self, h: usize) -> Vec<PathBuf> {
        let file = self.folder.local_file(h);
        let name = file.file_name().unwrap().to_owned();
        let beside = |suffix: &str| {
            let mut name = name.clone();
            name.push(suffix);
            file.with_file_name(name)
        };
        ["", "-wal", "-shm", "-journal"].map(beside).into()
    }

    pub async fn save_file(&mut self, h: usize) {
        self.stop(h).await;
        let copies = self.folder.local_file(h).with_file_name("saved");
        let _ = std::fs::remove_dir_all(&copies);
        std::fs::create_dir(&copies).unwrap();
        for file in self.files(h).iter().filter(|file| file.exists()) {
            std::fs::copy(file, copies.join(file.file_name().unwrap())).unwrap();
        }
        let at = self.model.owners.iter().map(|possible| possible.at[h].clone()).collect();
        self.hosts[h].saved = Some((copies, at));
        self.restart(h).await;
    }

    pub async fn restore_file(&mut self, h: usize) {
        let Some((copies, at)) = self.hosts[h].saved.clone() else { return };
        self.stop(h).await;
        for file in self.files(h) {
            let _ = std::fs::remove_file(&file);
            let copy = copies.join(file.file_name().unwrap());
            if copy.exists() {
                std::fs::copy(copy, file).unwrap();
            }
        }
        for (possible, then) in self.model.owners.iter_mut().zip(at) {
            let seen = possible.at[h].seen.clone();
            possible.at[h] = AtHost { restored: true, ..then };
            possible.at[h].seen.extend(seen);
        }
        self.restart(h).await;
    }

    /// Copies that hold tokens of keys which are about to be destroyed would be of no use.
    pub async fn forget_copies(&mut self) {
        self.ground.exec("DROP SCHEMA saved CASCADE; CREATE SCHEMA saved").await;
        self.saved_table = None;
        for h in 0..self.hosts.len() {
            if let Some((copies, _)) = self.hosts[h].saved.take() {
                std::fs::remove_dir_all(copies).unwrap();
            }
        }
    }

    pub async fn save_table(&mut self) {
        self.ground
            .exec("DROP TABLE IF EXISTS saved.copy; CREATE TABLE saved.copy AS TABLE user_profiles")
            .await;
        self.saved_table = Some(self.model.owners.iter().map(|possible| possible.row.clone()).collect());
    }

    pub async fn restore_table(&mut self) {
        let Some(rows) = self.saved_table.clone() else { return };
        self.ground
            .exec("DELETE FROM user_profiles; INSERT INTO user_profiles SELECT * FROM saved.copy")
            .await;
        for (possible, then) in self.model.owners.iter_mut().zip(rows) {
            possible.row = then;
            possible.was_removed = true;
        }
    }

    /// A copy of a table with other columns does not fit it.
    pub fn columns_changed(&mut self) {
        self.saved_table = None;
    }

    pub async fn remove_row(&mut self, o: usize) {
        self.ground.exec(&format!("DELETE FROM user_profiles WHERE user_id = 'user-{o}'")).await;
        self.model.owners[o].row = [Row::Missing].into();
        self.model.owners[o].was_removed = true;
        if let Some(renamed) = &mut self.renamed {
            renamed.rows[o] = [Row::Missing].into();
        }
    }

    pub async fn make_row(&mut self, o: usize) {
        let sql = format!(
            "INSERT INTO user_profiles (user_id) SELECT 'user-{o}' WHERE NOT EXISTS (SELECT 1 FROM user_profiles WHERE user_id = 'user-{o}')"
        );
        self.ground.exec(&sql).await;
        let made = |row: &Row| if *row == Row::Missing { Row::Empty } else { *row };
        self.model.owners[o].row = self.model.owners[o].row.iter().map(made).collect();
    }

    // --- A column with another name ---

    pub async fn rename_column(&mut self) {
        if self.renamed.is_some() {
            return;
        }
        let columns: Vec<String> = sqlx::query_scalar(
            "SELECT column_name::text FROM information_schema.columns WHERE table_schema = 'public'
             AND table_name = 'user_profiles' AND column_name LIKE 'encrypted%' ORDER BY ordinal_position",
        )
        .fetch_all(&self.ground.admin)
        .await
        .unwrap();
        const NAMES: [&str; 4] = [
            "encrypted_retell_api_key",
            "encrypted_call_agent_id",
            "encrypted_sms_agent_id",
            "encrypted_agent_config",
        ];
        let column = NAMES.iter().filter(|name| columns.iter().any(|column| column == *name));
        let column = column.copied().nth(self.model.writes.len() % columns.len()).expect("one of them");
        self.ground.exec(&format!("ALTER TABLE user_profiles RENAME {column} TO renamed")).await;
        let rows = self.model.owners.iter().map(|possible| possible.row.clone()).collect();
        self.renamed = Some(Renamed { column, rows });
        (self.was_renamed, self.renamed_once) = (true, true);
        // a process that saw the table without a place believes so for a minute
        self.is_narrow |= columns.len() == 1;
        self.columns_changed();
    }

    /// What was stored meanwhile lies beside what the column held: the newest counts.
    pub async fn rename_column_back(&mut self) {
        let Some(Renamed { column, rows }) = self.renamed.take() else { return };
        self.ground.exec(&format!("ALTER TABLE user_profiles RENAME renamed TO {column}")).await;
        self.columns_changed();
        for (o, then) in rows.into_iter().enumerate() {
            let mut newest = BTreeSet::new();
            for now in &self.model.owners[o].row {
                for then in &then {
                    match (*now, *then) {
                        (Row::Holds(now), Row::Holds(then)) => {
                            newest.extend(self.model.may_be_newer(now, then).then_some(Row::Holds(now)));
                            newest.extend(self.model.may_be_newer(then, now).then_some(Row::Holds(then)));
                        }
                        (now, _) => drop(newest.insert(now)),
                    }
                }
            }
            self.model.owners[o].row = newest;
        }
    }

    // --- What was kept ---

    /// Everything that the local file of a host has kept, as the writes that they are.
    pub async fn kept(&self, h: usize) -> Vec<(Id, KeptReason)> {
        let mut found = Vec::new();
        for kept in self.vault(h).kept(0, 10_000).await.unwrap() {
            let config = match kept.config {
                Ok(Some(config)) => config,
                Ok(None) => continue,
                // half a record that a column held under its other name
                Err(error) if kept.why == KeptReason::Replaced && error.kind() == ErrorKind::Incomplete => {
                    continue;
                }
                Err(error) => panic!("what was kept does not open: {error:?}"),
            };
            let owner = (0..OWNERS).find(|o| who(*o) == kept.owner).expect("one of ours");
            let writes = self.model.all_with(owner, &config);
            // plain values that were written while a column had another name
            assert!(!writes.is_empty() || self.renamed_once, "{} did not write what was kept", kept.owner);
            found.extend(writes.into_iter().map(|id| (id, kept.why)));
        }
        for (o, possible) in self.model.owners.iter().enumerate() {
            for id in &possible.at[h].kept {
                assert!(
                    found.iter().any(|(kept, _)| kept == id),
                    "write {id} of owner {o} is not kept on host {h}"
                );
            }
        }
        found
    }

    /// Whether an error may be an answer of this host now.
    pub fn may_fail(&self, h: usize, error: &Error) -> bool {
        use ErrorKind::{AccessDenied, Busy, OutcomeUnknown, Unavailable};
        let kind = error.kind();
        let host = &self.hosts[h];
        (host.doubts && matches!(kind, Unavailable | OutcomeUnknown | Busy))
            || (self.renamed.is_some() && is_of_renamed(kind))
            || (self.renamed.is_some() && kind == AccessDenied)
    }

    /// The host has spoken with the database.
    pub fn reached(&mut self, h: usize) {
        assert!(!self.hosts[h].is_cut_off, "host {h} has no way to the database");
        // an answer that was to get lost may still do so
        self.hosts[h].doubts &= self.hosts[h].lost_answers;
    }
}

/// What may be said of records of which a column has another name.
fn is_of_renamed(kind: ErrorKind) -> bool {
    use ErrorKind::{Incomplete, Malformed, NotFound, Schema, Unsealable};
    matches!(kind, Incomplete | Malformed | NotFound | Schema | Unsealable)
}

pub fn configured(builder: retell_vault::VaultBuilder, start: &HostStart) -> retell_vault::VaultBuilder {
    let builder = if start.offline_reads { builder.offline_reads() } else { builder };
    let builder = if start.refuses { builder.fallback(Fallback::Refuse) } else { builder };
    let mode = if start.transactions { PoolerMode::Transaction } else { PoolerMode::None };
    builder.pooler(mode)
}

/// The time of a clock that is wrong by so many minutes.
pub fn time(minutes: i64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    now.checked_add_signed(minutes * 60_000).unwrap()
}

pub fn home(file: &Path) -> &Path {
    file.parent().unwrap()
}
