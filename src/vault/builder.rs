//! Building a vault: defaults, and the checks before the first use.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sqlx::PgPool;

use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::file::{Keyring, now};
use crate::keyring::keys::{KeyState, RootKey};
use crate::layout::layout::Layout;
use crate::local::file::LocalFile;
use crate::observe::metrics;
use crate::observe::subject::Subject;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::connection::options::{PoolerMode, Timeouts};
use crate::postgres::connection::pool::Database;
use crate::postgres::statements::plan::Postgres;
use crate::record::credentials::Credentials;
use crate::record::token::{KeyId, NONCE};
use crate::retell::config::RetellConfig;
use crate::store::breaker::Breaker;
use crate::store::core::{Clock, Core, ROUNDS, ReloadedGeneration, pause};
use crate::store::database_identity::{identify, recall};
use crate::store::faults::Faults;
use crate::store::host_note::HostNote;
use crate::store::hosts::note_in_background;
use crate::store::index_check::IndexCheck;
use crate::store::keyring_check::keys_of_table;
use crate::store::look_up_limit::LookUpLimit;
use crate::store::options::Fallback;
use crate::store::push_counting::PushCounting;
use crate::store::reload::reload_keyring_first;
use crate::store::seen_records::SeenRecords;
use crate::store::table_keyring::TableKeyring;
use crate::vault::Vault;

/// Settings of a [`Vault`].
///
/// Defaults: no database and no local file; the default [`Layout`]; writes fall back to the local
/// file; reads do not use it as a replica; [`Timeouts::default`]; poolers are detected.
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
    /// key from being destroyed for five minutes. It matters only with a keyring in the database.
    pub fn short_lived(mut self) -> Self {
        self.short_lived = true;
        self
    }

    /// Builds the vault: opens the local file, checks by a canary that the keyring is the right one, and
    /// checks the database. An unreachable database is not an error: the vault starts without it.
    ///
    /// # Errors
    /// `Configuration` for a keyring that was [prepared](Keyring::prepare) and not saved (call
    /// [`init`](Self::init) for it), and for both a URL and a pool; `KeyringMissing` for one whose file is gone. `WrongKeyring`;
    /// `LocalStore`,
    /// `LocalCorrupt`; `Configuration` for a layout or a local file of another kind of credentials; `Configuration` and
    /// `Schema` for a database that answers and cannot be used, since falling back would hide that for weeks.
    pub async fn build(self) -> Result<Vault<C>> {
        self.keyring.refuse_unsaved()?;
        let core = self.core().await?;
        finish(core).await
    }

    /// Saves a keyring that was just [prepared](Keyring::prepare), then builds the vault.
    ///
    /// # Errors
    /// `KeyringExists` when there is a keyring file, or when the database or the local file already
    /// holds tokens, which another keyring made; `Unavailable` when the database cannot be asked.
    /// Nothing was saved then. Else as [`build`](Self::build).
    pub async fn init(self) -> Result<Vault<C>> {
        let keyring = self.keyring.clone();
        let core = self.core().await?;
        refuse_rival(&core).await?;
        keyring.save_new().await?;
        finish(core).await
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

pub(super) async fn finish<C>(core: Core) -> Result<Vault<C>> {
    metrics::describe();
    if let Some(local) = &core.local {
        local.claim(core.fields.namespace).await?;
        check_canaries(local, &core.keyring).await?;
    }
    reload_keyring_first(&core).await?;
    look_at_database(&core).await?;
    let core = Arc::new(core);
    note_in_background(&core).await;
    Ok(Vault { core, credentials: PhantomData })
}

/// Every key leaves a canary in the local file. One that the keyring cannot account for means that
/// the keyring is another one. If the file was used with a later generation of this one, it is an older copy.
async fn check_canaries(local: &LocalFile, keyring: &Keyring) -> Result<()> {
    let keys = keyring.current();
    let canaries = local.canaries().await?;
    let noted = local.keyring_generation().await?.unwrap_or_default();
    let made = |(id, canary): &(KeyId, Vec<u8>)| {
        keys.get(*id).is_some_and(|key| key.material.is_some() && key.made_canary(canary))
    };
    if noted > keys.generation && canaries.iter().any(made) {
        keyring.require_generation(noted, &local.path().display().to_string());
        return Ok(());
    }
    for (id, canary) in &canaries {
        if !keys.get(*id).is_some_and(|key| key.made_canary(canary)) {
            let message = format!(
                "{} was used with key {id}, which keyring {} does not hold",
                local.path().display(),
                keyring.place()
            );
            return Err(Error::new(ErrorKind::WrongKeyring, message).with_key_number(id.0));
        }
    }
    let is_new = |key: &&RootKey| {
        key.info.state != KeyState::Destroyed && canaries.iter().all(|(id, _)| *id != key.info.id)
    };
    for key in keys.keys().iter().filter(is_new) {
        if let Some(canary) = key.canary(&random::system_bytes::<NONCE>()?) {
            local.put_canary(key.info.id, &canary).await?;
        }
    }
    Ok(())
}

/// A second keyring could open none of the first keyring's tokens.
async fn refuse_rival(core: &Core) -> Result<()> {
    let exists = |place: String| {
        Error::new(ErrorKind::KeyringExists, format!("{place} already holds tokens of another keyring"))
            .with_hint("use that keyring; a new one would open none of them")
    };
    if let Some(local) = &core.local
        && local.holds_tokens().await?
    {
        return Err(exists(local.path().display().to_string()));
    }
    if let Some(postgres) = &core.postgres {
        match keys_of_table(postgres).await {
            Ok(keys) if keys.as_ref().is_none_or(Vec::is_empty) => {}
            Ok(_) => return Err(exists(format!("table {}", postgres.table_name()))),
            Err(fault) if fault.error.kind() == ErrorKind::Unavailable => {
                let hint = "start the database first: init checks whether it holds tokens of another keyring";
                return Err(fault.error.with_hint(hint));
            }
            Err(fault) => return Err(fault.error),
        }
    }
    Ok(())
}

/// Detects problems before the first request: a wrong password, a missing table, a pooler.
async fn look_at_database(core: &Core) -> Result<()> {
    let Some(postgres) = &core.postgres else { return Ok(()) };
    recall(core).await?;
    let tag = random::system_bytes::<16>()?;
    let tag: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    let looked = ask(core, || async {
        postgres.database.canary(&tag).await?;
        postgres.plan().await?;
        identify(core).await
    });
    match looked.await {
        Ok(()) => note_used(core, postgres).await,
        Err(fault) if fault.outcome == Outcome::Reject => Err(fault.error),
        Err(fault) => {
            core.note(&fault).await;
            Ok(())
        }
    }
}

/// A token count without a table that the file belongs to would miss what lies there.
async fn note_used(core: &Core, postgres: &Postgres) -> Result<()> {
    let has_table = postgres.plan().await.is_ok_and(|plan| plan.has_table());
    match &core.local {
        Some(local) if has_table => {
            local.note_used_since(core.now()).await?;
            local.note_used_with(&postgres.place()).await
        }
        _ => Ok(()),
    }
}

/// Queries the database, and retries if the error is temporary.
async fn ask<T, F>(core: &Core, question: impl Fn() -> F) -> Result<T, DatabaseError>
where
    F: Future<Output = Result<T, DatabaseError>>,
{
    let mut round = 0;
    loop {
        match question().await {
            Err(fault) if matches!(fault.outcome, Outcome::Retry | Outcome::Pooler) && round < ROUNDS => {
                pause(round).await
            }
            Err(fault) if fault.outcome == Outcome::Redetect => {
                return Err(DatabaseError::new(Outcome::Reject, fault.error));
            }
            Ok(answer) => {
                core.breaker.success();
                return Ok(answer);
            }
            Err(fault) => return Err(fault),
        }
        round += 1;
    }
}
