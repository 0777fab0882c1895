//! A changed keyring is taken up: what the local file holds is sealed anew under its primary key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::{KeyState, Keyring};
use crate::local::file::LocalFile;
use crate::local::walk::LocalPlace;
use crate::store::core::Router;

/// Which generation of the keyring this process has taken up.
#[derive(Default)]
pub(crate) struct TakenUp {
    generation: AtomicU64,
    /// Held by the one who does the work; the others need not wait for it.
    working: Mutex<()>,
}

impl Router {
    /// Takes a changed keyring up. Costs next to nothing while it has not changed.
    ///
    /// A key that was destroyed elsewhere stays in the memory of this process until the local file needs it no more.
    pub(crate) async fn take_up(&self) {
        // what sealing cannot go on with, sealing says
        let Ok(keyring) = self.keyring.for_sealing() else { return };
        if self.taken_up.generation.load(Ordering::Acquire) == keyring.generation {
            return;
        }
        let Ok(_working) = self.taken_up.working.try_lock() else { return };
        match self.reseal_for(&keyring).await {
            Ok(()) => self.taken_up.generation.store(keyring.generation, Ordering::Release),
            // tried again by the next call; until then destroyed keys stay
            Err(error) => tracing::warn!(%error, "the local file could not be sealed anew"),
        }
    }

    /// As [`take_up`](Self::take_up), when the vault is built.
    ///
    /// # Errors
    /// `WrongKeyring` when the local file was used with a later generation of it; `KeyInUse` when it names
    /// a key that the keyring has destroyed: nobody could open that any more, and it must not be found
    /// out later. `LocalStore`.
    pub(crate) async fn take_up_first(&self) -> Result<()> {
        let keyring = self.keyring.current();
        if let Some(local) = &self.local {
            let noted = local.keyring_generation().await?;
            if noted == Some(keyring.generation) {
                self.taken_up.generation.store(keyring.generation, Ordering::Release);
                return Ok(());
            }
            refuse_older(local, noted, &keyring)?;
            refuse_destroyed(local, &keyring).await?;
        }
        self.take_up().await;
        Ok(())
    }

    async fn reseal_for(&self, keyring: &Arc<Keyring>) -> Result<()> {
        if let Some(local) = &self.local {
            let done = self.reseal_local(local, &LocalPlace::ALL, |owner, place, error| {
                tracing::warn!(%owner, place, %error, "a local text could not be sealed anew");
            });
            done.await?;
            local.note_keyring_generation(keyring.generation).await?;
        }
        self.keyring.let_go();
        Ok(())
    }
}

/// An older copy does not know what was promoted, and what was destroyed, since.
fn refuse_older(local: &LocalFile, noted: Option<u64>, keyring: &Keyring) -> Result<()> {
    let Some(noted) = noted.filter(|noted| *noted > keyring.generation) else { return Ok(()) };
    let message = format!(
        "the keyring is generation {}, but {} was used with generation {noted}: an older copy was put back",
        keyring.generation,
        local.path().display()
    );
    let hint = "use the newest copy of the keyring; if this is the newest that is left, move the local file away, with all that is pending in it";
    Err(Error::new(ErrorKind::WrongKeyring, message).with_hint(hint))
}

async fn refuse_destroyed(local: &LocalFile, keyring: &Keyring) -> Result<()> {
    for count in local.tokens_per_key().await? {
        let state = count.key.and_then(|id| keyring.get(id)).map(|key| key.info.state);
        if let (Some(id), Some(KeyState::Destroyed)) = (count.key, state) {
            let message = format!(
                "{} holds {} tokens ({}) under key {id}, which the keyring has destroyed",
                local.path().display(),
                count.tokens,
                count.place
            );
            let hint = "put back a copy of the keyring in which that key is retired, run `retell-vault rotate`, then bring this keyring in again; to give those records up, move the file away";
            return Err(Error::new(ErrorKind::KeyInUse, message).with_hint(hint));
        }
    }
    Ok(())
}
