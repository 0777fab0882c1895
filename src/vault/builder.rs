//! Building a vault: its settings, and their defaults.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
#[cfg(feature = "admin")]
use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::PgPool;

use crate::error::{Error, ErrorKind, Result};
#[cfg(feature = "admin")]
use crate::import::on_read::ImportOnRead;
#[cfg(feature = "admin")]
use crate::import::passwords::Passwords;
use crate::keyring::file::{Keyring, now};
use crate::layout::layout::Layout;
use crate::local::file::LocalFile;
use crate::observe::subject::Subject;
use crate::postgres::connection::options::{PoolerMode, Timeouts};
use crate::postgres::connection::pool::Database;
use crate::postgres::statements::plan::Postgres;
use crate::record::credentials::Credentials;
#[cfg(feature = "admin")]
use crate::record::version::Millis;
use crate::retell::config::RetellConfig;
use crate::store::breaker::Breaker;
use crate::store::core::{Clock, Core, ReloadedGeneration};
use crate::store::faults::Faults;
use crate::store::host_note::{HostNote, process_name};
use crate::store::index_check::IndexCheck;
use crate::store::ledger_sink::CheckpointSink;
use crate::store::ledger_writers::Ledger;
use crate::store::look_up_limit::LookUpLimit;
use crate::store::options::Fallback;
use crate::store::push_counting::PushCounting;
use crate::store::seen_records::SeenRecords;
use crate::store::table_keyring::TableKeyring;
use crate::store::waiting_entries::Reads;
use crate::vault::Vault;
use crate::vault::start::{finish, refuse_rival};

/// Settings of a [`Vault`].
///
/// Defaults: no database and no local file; the default [`Layout`]; writes fall back to the local
/// file; reads do not use it as a replica; [`Timeouts::default`]; poolers are detected; a load imports nothing.
#[must_use = "call build"]
pub struct VaultBuilder<C = RetellConfig> {
    keyring: Keyring,
    url: Option<String>,
    pool: Option<PgPool>,
    local: Option<PathBuf>,
    layout: Layout,
    fallback: Fallback,
    offline_reads: bool,
    timeouts: Timeouts,
    pooler: PoolerMode,
    clock: Clock,
    /// Of a vault in memory.
    faults: Option<Faults>,
    short_lived: bool,
    sink: Option<Arc<dyn CheckpointSink>>,
    reads: Reads,
    #[cfg(feature = "admin")]
    on_read: Option<(Passwords, Millis)>,
    credentials: PhantomData<fn() -> C>,
}

impl Vault {
    /// Starts building a vault over an opened keyring. It keeps Retell's credentials unless
    /// [`credentials`](VaultBuilder::credentials) says otherwise.
    pub fn builder(keyring: Keyring) -> VaultBuilder {
        VaultBuilder::new(keyring)
    }
}

impl<C: Credentials> VaultBuilder<C> {
    fn new(keyring: Keyring) -> Self {
        Self {
            keyring,
            url: None,
            pool: None,
            local: None,
            layout: Layout::of::<C>(),
            fallback: Fallback::default(),
            offline_reads: false,
            timeouts: Timeouts::default(),
            pooler: PoolerMode::default(),
            clock: Arc::new(now),
            faults: None,
            short_lived: false,
            sink: None,
            reads: Reads::default(),
            #[cfg(feature = "admin")]
            on_read: None,
            credentials: PhantomData,
        }
    }

    /// With a local file in memory in place of a database.
    pub(super) fn in_memory(keyring: Keyring, faults: Faults) -> Self {
        Self { faults: Some(faults), ..Self::new(keyring) }
    }

    /// Keeps credentials of another kind. The layout becomes the default one of that kind, so call [`layout`](Self::layout)
    /// after this.
    pub fn credentials<D: Credentials>(self) -> VaultBuilder<D> {
        VaultBuilder {
            keyring: self.keyring,
            url: self.url,
            pool: self.pool,
            local: self.local,
            layout: Layout::of::<D>(),
            fallback: self.fallback,
            offline_reads: self.offline_reads,
            timeouts: self.timeouts,
            pooler: self.pooler,
            clock: self.clock,
            faults: self.faults,
            short_lived: self.short_lived,
            sink: self.sink,
            reads: self.reads,
            #[cfg(feature = "admin")]
            on_read: self.on_read,
            credentials: PhantomData,
        }
    }

    /// Uses the database at a URL, with a pool of the vault's own of at most 10 connections. Instead of [`pool`](Self::pool).
    pub fn postgres(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// Uses the service's own pool. Instead of [`postgres`](Self::postgres).
    pub fn pool(mut self, pool: PgPool) -> Self {
        self.pool = Some(pool);
        self
    }

    /// Keeps records in this file while the database cannot store them. No other user may have access to its folder,
    /// which is created if it is missing. A file keeps one kind of credentials: use a file for each kind.
    #[cfg(feature = "local-file")]
    pub fn local_file(mut self, path: impl AsRef<std::path::Path>) -> Self {
        self.local = Some(path.as_ref().to_owned());
        self
    }

    /// Other table and column names. Create the layout with [`Layout::of`] for credentials that are not Retell's.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// What happens to a write that the database cannot store.
    pub fn fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = fallback;
        self
    }

    /// Keeps a sealed copy of what was stored and loaded in the local file, and answers with it, marked
    /// stale, while the database is down. Every load then also reads the local file.
    pub fn offline_reads(mut self) -> Self {
        self.offline_reads = true;
        self
    }

    /// How long to wait for the database.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Whether a transaction pooler is in front of Postgres.
    pub fn pooler(mut self, mode: PoolerMode) -> Self {
        self.pooler = mode;
        self
    }

    /// Another clock than the system's, in milliseconds since 1970: for tests.
    pub fn clock(mut self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Does not note this process in `retell_vault.hosts`. For commands that end within seconds: a note of theirs would keep a
    /// key from being destroyed for five minutes. Nor does it copy entries of the [ledger](crate::ledger) in the background: call
    /// [`close`](Vault::close) at the end.
    pub fn short_lived(mut self) -> Self {
        self.short_lived = true;
        self
    }

    /// Where copies of the [ledger](crate::ledger) go, besides the local file: once a minute, and when the vault is closed.
    pub fn ledger_sink(mut self, sink: impl CheckpointSink + 'static) -> Self {
        self.sink = Some(Arc::new(sink));
        self
    }

    /// When the [ledger](crate::ledger) learns of a read. The default is [`Reads::Folded`]. Without a ledger no read is noted.
    pub fn ledger_reads(mut self, reads: Reads) -> Self {
        self.reads = reads;
        self
    }

    /// Until this time, [`Vault::load`] imports an owner without a record: it opens what the [sources](Layout::source) of the layout
    /// hold of this owner with these passwords and keys, stores it as [`Vault::import`] does, and returns it. Old values stay
    /// where they are. The layout must have a source. The default is that a load imports nothing.
    ///
    /// An owner is not imported who has a record, a deleted record, or a record that this process has seen. If nothing could be
    /// imported for an owner, the sources are read again after a minute. docs/IMPORT.md describes the rest.
    ///
    /// # Security
    /// The passwords stay in the memory of the service until the vault is dropped. A role that can write a source can give an owner
    /// without a record any value. Choose a near end, and use [`Vault::import`] for everything else.
    #[cfg(feature = "admin")]
    pub fn import_on_read(mut self, passwords: Passwords, until: SystemTime) -> Self {
        self.on_read = Some((passwords, millis(until)));
        self
    }

    /// Builds the vault: opens the local file, checks by a canary that the keyring is the right one, and
    /// checks the database. An unreachable database is not an error: the vault starts without it. Build it on the runtime that
    /// uses it: its connections, and the task that notes its host, end with the runtime that built it.
    ///
    /// # Errors
    /// `Configuration` for a keyring that was [prepared](Keyring::prepare) and not saved (call
    /// [`init`](Self::init) for it), and for both a URL and a pool; `KeyringMissing` for one whose file is gone. `WrongKeyring`;
    /// `LocalStore`,
    /// `LocalCorrupt`; `Configuration` for a layout or a local file of another kind of credentials; `Configuration` and
    /// `Schema` for a database that answers and cannot be used, since falling back would hide that for weeks; with
    /// `import_on_read`, also `Configuration`, `InvalidInput`, `Schema` and `AccessDenied` for sources that cannot be read.
    pub async fn build(self) -> Result<Vault<C>> {
        self.keyring.refuse_unsaved()?;
        #[cfg(feature = "admin")]
        let on_read = self.importer()?;
        let core = self.core().await?;
        // boxed: otherwise the future would fill the stack of a thread
        let vault = Box::pin(finish(core)).await?;
        #[cfg(feature = "admin")]
        let vault = Box::pin(vault.importing_on_read(on_read)).await?;
        Ok(vault)
    }

    /// Saves a keyring that was just [prepared](Keyring::prepare), then builds the vault.
    ///
    /// # Errors
    /// `KeyringExists` when there is a keyring file, or when the database or the local file already
    /// holds tokens, which another keyring made; `Unavailable` when the database cannot be asked.
    /// Nothing was saved then. Else as [`build`](Self::build).
    pub async fn init(self) -> Result<Vault<C>> {
        let keyring = self.keyring.clone();
        #[cfg(feature = "admin")]
        let on_read = self.importer()?;
        let core = self.core().await?;
        refuse_rival(&core).await?;
        keyring.save_new().await?;
        let vault = Box::pin(finish(core)).await?;
        #[cfg(feature = "admin")]
        let vault = Box::pin(vault.importing_on_read(on_read)).await?;
        Ok(vault)
    }

    /// `None` if loads import nothing, or no longer.
    #[cfg(feature = "admin")]
    fn importer(&self) -> Result<Option<ImportOnRead<C>>> {
        match &self.on_read {
            Some((passwords, until)) if (self.clock)() < *until => {
                ImportOnRead::new(&self.layout, passwords, *until).map(Some)
            }
            _ => Ok(None),
        }
    }

    pub(super) async fn core(self) -> Result<Core> {
        self.layout.check()?;
        let fields = self.layout.fields.clone();
        if fields.namespace != C::NAMESPACE {
            let message =
                format!("the layout is for {}, but the vault keeps {}", fields.namespace, C::NAMESPACE);
            return Err(Error::new(ErrorKind::Configuration, message)
                .with_hint("create it with `Layout::of` for the type of the credentials"));
        }
        let database = match (self.url, self.pool) {
            (None, None) => None,
            (Some(url), None) => Some(Database::from_url(&url, self.pooler, self.timeouts)?),
            (None, Some(pool)) => Some(Database::from_pool(pool, self.pooler, self.timeouts)),
            // they may be two databases, and which one was meant cannot be guessed
            (Some(_), Some(_)) => {
                return Err(Error::new(
                    ErrorKind::Configuration,
                    "the vault has both a database URL and a pool",
                )
                .with_hint("call either postgres or pool, not both"));
            }
        };
        let local = match (&self.local, &self.faults) {
            (_, Some(_)) => Some(LocalFile::in_memory().await?),
            (Some(path), None) => Some(LocalFile::open(path).await?),
            (None, None) => None,
        };
        if database.is_none() && local.is_none() {
            return Err(Error::new(
                ErrorKind::Configuration,
                "the vault has neither a database nor a local file",
            )
            .with_hint("call postgres, pool or local_file before build"));
        }
        let subject = Subject {
            system: if database.is_some() { "postgresql" } else { "sqlite" },
            collection: database.as_ref().map(|_| self.layout.table_name().into()),
            namespace: fields.namespace,
        };
        let database = database.map(|database| database.measured_as(subject.clone()));
        let ledger = Ledger::new(process_name()?, local.is_some(), self.sink, self.reads);
        Ok(Core {
            postgres: database.map(|database| Postgres::new(database, self.layout)),
            local,
            keyring: self.keyring,
            fields,
            fallback: self.fallback,
            offline_reads: self.offline_reads,
            breaker: Breaker::new(subject.clone()),
            subject,
            seen: SeenRecords::default(),
            look_ups: LookUpLimit::default(),
            index: IndexCheck::default(),
            ledger,
            clock: self.clock,
            reloaded: ReloadedGeneration::default(),
            table_keyring: TableKeyring::default(),
            counting: PushCounting::default(),
            host: if self.short_lived { None } else { Some(HostNote::new()?) },
            faults: self.faults,
            closed: AtomicBool::new(false),
        })
    }
}

#[cfg(feature = "admin")]
fn millis(time: SystemTime) -> Millis {
    time.duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as Millis)
}
