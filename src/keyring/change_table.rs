//! A keyring in a table of the database: how a process opens and follows it, and how it adds a generation.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::file::{Keyring, Watch, Wrapped, first_keys, unseal};
use crate::keyring::format::{self, Outer};
use crate::keyring::generations::{GenerationTable, SealedGeneration};
use crate::keyring::keys::{KeyState, RootKeys};
use crate::keyring::next_generation::{KeyringChange, NextGeneration};
use crate::keyring::source::KeyringSource;
use crate::keyring::wrapping::WrappingKeyProvider;
use crate::record::token::KeyId;

/// How often a process looks at the table.
const LOOK_EVERY_MS: u64 = 1000;
/// The same while the database is away.
const LOOK_EVERY_MS_IN_AN_OUTAGE: u64 = 5000;
/// Every process knows a key after this time, since it looks once a second.
const KNOWN_AFTER: Duration = Duration::from_secs(2);

impl SealedGeneration {
    /// The text taken apart.
    ///
    /// # Errors
    /// `KeyringFile`, also if the text is of another generation than its row says.
    pub(super) fn parse(&self) -> Result<Outer> {
        let outer = format::parse(self.text.as_bytes())?;
        match outer.header.generation == self.generation {
            true => Ok(outer),
            false => Err(format::damaged(&format!(
                "row {} holds generation {}",
                self.generation, outer.header.generation
            ))),
        }
    }
}

/// The database does not answer now, so nothing is known of the table.
fn is_outage(error: &Error) -> bool {
    error.is_retryable()
}

impl Keyring {
    /// Opens a generation of a table.
    pub(crate) async fn of_table(
        table: Arc<dyn GenerationTable>,
        found: SealedGeneration,
        provider: &dyn WrappingKeyProvider,
    ) -> Result<Self> {
        let source = KeyringSource::Table(table);
        let outer = found.parse().map_err(|error| error.about(&source))?;
        let (wrapped, keys) = unseal(outer, &source, provider).await?;
        let keyring = Self::from_parts(source, wrapped, keys, Watch::new(None));
        keyring.state_mut().loaded = Some(found);
        Ok(keyring.saved())
    }

    /// A new keyring for a table, not saved yet.
    pub(crate) async fn prepare_for(
        table: Arc<dyn GenerationTable>,
        provider: &dyn WrappingKeyProvider,
    ) -> Result<Self> {
        let keys = first_keys()?;
        let (wrapping, key) = provider.create().await?;
        let source = KeyringSource::Table(table);
        Ok(Self::from_parts(source, Wrapped { wrapping, key }, keys, Watch::new(None)))
    }

    /// Whether it is time to look at the table.
    pub(crate) fn should_follow(&self) -> bool {
        let watch = &self.inner.watch;
        self.is_in_table() && watch.millis() >= watch.sealing.load(Ordering::Acquire)
    }

    /// Looks at the table, if it is due. Callers that come meanwhile wait for the outcome: they must not seal under keys of an
    /// hour ago. While the database is away, the keys in memory go on.
    ///
    /// # Errors
    /// `Unavailable`, `Busy` or `OutcomeUnknown` while the database is away. Any other problem stops sealing, and is reported
    /// there.
    pub(crate) async fn follow(&self) -> Result<()> {
        let _alone = self.inner.watch.table.lock().await;
        match self.should_follow() {
            true => self.look_at_table().await,
            false => Ok(()),
        }
    }

    /// Looks at the table for a key that is not in memory, at most once a second. Returns whether the key is in memory now: a
    /// caller that another one was faster than has it too.
    pub(crate) async fn follow_for_key(&self, key: KeyId) -> bool {
        let watch = &self.inner.watch;
        let opens = || self.current().opener(key).is_ok();
        if !self.is_in_table() {
            return false;
        }
        let _alone = watch.table.lock().await;
        if !opens() && watch.millis() >= watch.unknown.load(Ordering::Acquire) {
            watch.unknown.store(watch.millis() + LOOK_EVERY_MS, Ordering::Release);
            if let Err(error) = self.look_at_table().await {
                tracing::debug!(%error, "the keyring in the database could not be read");
            }
        }
        opens()
    }

    async fn look_at_table(&self) -> Result<()> {
        let (watch, Some(table)) = (&self.inner.watch, self.inner.source.table()) else { return Ok(()) };
        let found = table.newest().await;
        let away = found.as_ref().err().filter(|error| is_outage(error)).cloned();
        let pause = if away.is_some() { LOOK_EVERY_MS_IN_AN_OUTAGE } else { LOOK_EVERY_MS };
        watch.sealing.store(watch.millis() + pause, Ordering::Release);
        if let Some(error) = away {
            return Err(error);
        }
        let found = found.and_then(|found| found.ok_or_else(|| missing(table)));
        let mut loaded = found.clone().and_then(|found| self.load(found));
        if let (Ok(found), Err(error)) = (&found, &loaded)
            && error.kind() == ErrorKind::KeyringLocked
            && self.is_next(found)
        {
            match table.voucher(found.generation).await {
                Ok(Some(voucher)) if self.current().vouched(&found.text, &voucher) => {
                    // its row may be the only one: the keys in memory are stored, under a secret that we do not have
                    tracing::warn!(%error, "the keys in memory are used until the keyring changes again");
                    self.state_mut().resume(&self.inner.source);
                    loaded = Ok(());
                }
                Ok(_) => {}
                Err(error) if is_outage(&error) => return Err(error),
                // without a voucher, the keys in memory may be stored nowhere
                Err(error) => loaded = Err(error),
            }
        }
        if let Err(error) = loaded {
            if self.why_stopped().is_none_or(|before| before != error) {
                tracing::warn!(%error, "the keyring in the database cannot be used");
            }
            self.state_mut().stopped = Some(error);
        }
        Ok(())
    }

    /// Loads a generation, unless it is the one in memory.
    ///
    /// # Errors
    /// Why it cannot follow what is in memory.
    fn load(&self, found: SealedGeneration) -> Result<()> {
        let wrapped = self.state().wrapped.clone();
        if self.state().loaded.as_ref() == Some(&found) {
            self.state_mut().resume(&self.inner.source);
            return Ok(());
        }
        match self.unseal_following(&found, &wrapped) {
            Ok(keys) => {
                self.take(keys, wrapped, None);
                self.state_mut().loaded = Some(found);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// A rewrap adds one generation, and no key.
    fn is_next(&self, found: &SealedGeneration) -> bool {
        self.state().keys.generation.checked_add(1) == Some(found.generation)
    }

    fn unseal_following(&self, found: &SealedGeneration, wrapped: &Wrapped) -> Result<RootKeys> {
        let about = |error: Error| error.about(&self.inner.source);
        let outer = found.parse().map_err(about)?;
        let keys = format::unseal(&outer, &wrapped.key).map_err(|error| match error.kind() {
            ErrorKind::KeyringLocked => {
                let message = format!(
                    "generation {} does not open: the keyring was rewrapped, or the row is not ours",
                    found.generation
                );
                about(Error::new(ErrorKind::KeyringLocked, message)).with_hint(
                    "restart this process with the new passphrase or wrapping key; if the keyring was not rewrapped, run `retell-vault keyring repair`",
                )
            }
            _ => about(error),
        })?;
        self.check_follows(&keys)?;
        Ok(keys)
    }

    /// Reads the newest generation, and adds what `step` makes of it. If another process was faster, nothing is added.
    pub(super) async fn change_table(
        &self,
        table: &dyn GenerationTable,
        step: impl FnOnce(&RootKeys, &Arc<Wrapped>) -> Result<KeyringChange> + Send,
    ) -> Result<()> {
        let _alone = self.inner.watch.table.lock().await;
        let found = table.newest().await?.ok_or_else(|| missing(table))?;
        let wrapped = self.state().wrapped.clone();
        let keys = self.unseal_following(&found, &wrapped)?;
        match step(&keys, &wrapped)? {
            KeyringChange::Save(next) => self.append(table, Some(&found), next).await?,
            KeyringChange::WipeEarlier(_) => {
                table.remove_before(found.generation).await?;
                self.load(found)?;
            }
            KeyringChange::Nothing => self.load(found)?,
        }
        Ok(())
    }

    /// Adds the first generation.
    pub(super) async fn append_first(&self, table: &dyn GenerationTable) -> Result<()> {
        let _alone = self.inner.watch.table.lock().await;
        let (wrapped, keys) = (self.state().wrapped.clone(), self.current().without_retained());
        self.append(table, None, NextGeneration::new(&wrapped, keys)).await.map_err(|error| {
            match error.kind() {
                ErrorKind::Busy => {
                    Error::new(ErrorKind::KeyringExists, format!("{} already holds a keyring", table.place()))
                }
                _ => error,
            }
        })
    }

    /// # Errors
    /// `Busy` if another process added one; nothing was added then.
    async fn append(
        &self,
        table: &dyn GenerationTable,
        before: Option<&SealedGeneration>,
        next: NextGeneration,
    ) -> Result<()> {
        let text = next.seal()?.to_string();
        next.prove(text.as_bytes())?;
        let sealed = SealedGeneration { generation: next.keys.generation, text };
        let voucher = next.keys.vouch(&sealed.text);
        let added = match table.append(before, &sealed, &voucher, next.earlier).await {
            // nobody else seals the same text
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                let newest = table.newest().await.map_err(|_| error)?;
                newest.as_ref() == Some(&sealed)
            }
            added => added?,
        };
        if !added {
            let message = format!("another process changed {} meanwhile", table.place());
            return Err(Error::new(ErrorKind::Busy, message).with_hint("nothing was changed; try again"));
        }
        self.take(next.keys, next.wrapped, next.destroyed);
        self.state_mut().loaded = Some(sealed);
        Ok(())
    }

    /// Puts the keys in memory back into a table that went back, or that lost its rows. False: the table has them.
    ///
    /// # Errors
    /// `WrongKeyring` if the table holds another keyring; `KeyringRolledBack` if it holds a later generation that does not
    /// continue this one; `KeyringLocked` if its newest generation does not open; `Busy`; those of the database.
    pub(crate) async fn put_back(&self, table: &dyn GenerationTable) -> Result<bool> {
        let _alone = self.inner.watch.table.lock().await;
        if let Some(error) = self.state().below_lowest(&self.inner.source) {
            return Err(error);
        }
        let (found, wrapped) = (table.newest().await?, self.state().wrapped.clone());
        if let Some(found) = &found {
            match self.unseal_following(found, &wrapped) {
                Ok(_) => return self.has(found.clone()),
                Err(error) if error.kind() == ErrorKind::KeyringRolledBack && self.is_later_than(found) => {}
                Err(error) => return Err(error),
            }
        }
        let keys = self.current().without_retained();
        self.append(table, found.as_ref(), NextGeneration::new(&wrapped, keys)).await.map(|()| true)
    }

    /// Only a keyring of the table itself follows it.
    fn has(&self, found: SealedGeneration) -> Result<bool> {
        if self.is_in_table() {
            self.load(found)?;
        }
        Ok(false)
    }

    fn is_later_than(&self, found: &SealedGeneration) -> bool {
        self.current().generation > found.generation
    }

    /// The id of the keyring that a row holds.
    ///
    /// # Errors
    /// `KeyringLocked` if the secret of this process does not open it; `KeyringFile`.
    pub(crate) fn id_of(&self, found: &SealedGeneration) -> Result<String> {
        let wrapped = self.state().wrapped.clone();
        format::unseal(&found.parse()?, &wrapped.key).map(|keys| keys.id())
    }

    /// The generation in memory as it lies in the table, for a copy of it.
    pub(crate) fn sealed_generation(&self) -> Option<SealedGeneration> {
        self.state().loaded.clone()
    }

    /// Every process must know a key before another one seals under it.
    pub(super) async fn wait_until_replicas_have(&self, id: KeyId) {
        let keys = self.current();
        let pending = keys.get(id).filter(|key| key.info.state == KeyState::Pending);
        // not by the age of the key, which another host's clock has set
        if pending.is_some() && self.is_in_table() {
            tokio::time::sleep(KNOWN_AFTER).await;
        }
    }
}

pub(crate) fn missing(table: &dyn GenerationTable) -> Error {
    let message = format!("{} holds no keyring", table.place());
    Error::new(ErrorKind::KeyringMissing, message).with_hint(
        "if it held one, restore it with `retell-vault keyring restore`; check that row level security hides nothing; only `retell-vault init --store table` creates a new one",
    )
}
