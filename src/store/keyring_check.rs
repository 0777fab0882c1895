//! Whether the tokens of the table are of this keyring: looked at before anything is sealed for it.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::plan::Postgres;
use crate::record::token::KeyId;
use crate::store::core::{Core, pause};
use crate::store::database_identity::identify;
use crate::store::table_keyring::TokensOf;

/// How often the look is tried again, where the server says that it may answer later.
const ROUNDS: u32 = 3;
/// The longest search for tokens. A large table in which it finds none is taken not to be another keyring's.
const LIMIT: Duration = Duration::from_secs(2);

/// Makes sure that this keyring is the one of the table, by up to 100 of the table's tokens. If the keyring has the key
/// of none of these, in whatever state, the table belongs to another keyring, and nothing may be sealed for it. One
/// planted token among others stops nobody. Once the check has passed, it costs an atomic load.
///
/// # Errors
/// `WrongKeyring`; else why the database could not be asked: what is meant for the database has to wait.
pub(crate) async fn require_own_keyring(core: &Core, postgres: &Postgres) -> Result<(), DatabaseError> {
    match core.table_keyring.found() {
        TokensOf::ThisKeyring => Ok(()),
        // in a box: an application's futures would become too deep for the compiler otherwise
        _ => Box::pin(look(core, postgres)).await,
    }
}

/// As [`require_own_keyring`], where nothing falls back.
///
/// # Errors
/// As that. Without a database there is nothing to look at.
pub(crate) async fn check_keyring(core: &Core) -> Result<()> {
    match &core.postgres {
        Some(postgres) => require_own_keyring(core, postgres).await.map_err(|fault| fault.error),
        None => Ok(()),
    }
}

/// Why the table's tokens are another keyring's, if that is what was found, or is found now.
pub(crate) async fn wrong_keyring(core: &Core) -> Option<Error> {
    let error = check_keyring(core).await.err()?;
    (error.kind() == ErrorKind::WrongKeyring).then_some(error)
}

/// What the last look found, for times when the database cannot be asked.
pub(super) fn refuse_found_wrong(core: &Core) -> Result<()> {
    match (&core.postgres, core.table_keyring.found()) {
        (Some(postgres), TokensOf::AnotherKeyring) => Err(another_keyring(postgres)),
        _ => Ok(()),
    }
}

/// An error for a record under an unknown key: where no key is known, the keyring is the wrong one.
pub(super) async fn explain(core: &Core, error: Error) -> Error {
    match error.kind() {
        ErrorKind::UnknownKey => wrong_keyring(core).await.unwrap_or(error),
        _ => error,
    }
}

/// Notes in the local file that this keyring belongs to the table, whatever is in it. False: it was so already.
///
/// # Errors
/// `Configuration` without a database or a local file; those of asking the database, and of the local file.
pub(crate) async fn adopt(core: &Core) -> Result<bool> {
    let (Some(postgres), Some(local)) = (&core.postgres, &core.local) else {
        let message = "the vault lacks a database, or a local file to note the adoption in";
        return Err(Error::new(ErrorKind::Configuration, message)
            .with_hint("name both: the note stays with the local file of this host"));
    };
    match require_own_keyring(core, postgres).await {
        Ok(()) => return Ok(false),
        Err(fault) if fault.error.kind() == ErrorKind::WrongKeyring => {}
        Err(fault) => return Err(fault.error),
    }
    local.note_adopted(&postgres.place()).await?;
    core.table_keyring.note(TokensOf::ThisKeyring);
    Ok(true)
}

async fn look(core: &Core, postgres: &Postgres) -> Result<(), DatabaseError> {
    let asked = Instant::now();
    let mut last = core.table_keyring.last.lock().await;
    if core.table_keyring.found() == TokensOf::ThisKeyring {
        return Ok(());
    }
    // those who waited for this look get its answer: in an outage they would wait for the server one after the other
    if let Some((at, fault)) = last.as_ref()
        && *at >= asked
    {
        return Err(fault.copy());
    }
    let looked = look_now(core, postgres).await;
    if let Err(fault) = &looked {
        *last = Some((Instant::now(), fault.copy()));
    }
    looked
}

async fn look_now(core: &Core, postgres: &Postgres) -> Result<(), DatabaseError> {
    // what falls back later notes it
    identify(core).await?;
    if let Some(local) = &core.local
        && local.has_adopted(&postgres.place()).await?
    {
        core.table_keyring.note(TokensOf::ThisKeyring);
        return Ok(());
    }
    let keys = match keys_of_table(postgres).await {
        Ok(Some(keys)) => keys,
        // columns that come later are looked at then
        Ok(None) => return Ok(()),
        // whatever is refused here is refused to what follows too, which says so
        Err(fault) if fault.outcome == Outcome::Reject => return Ok(()),
        Err(fault) => return Err(fault),
    };
    // the keyring file is read again for a key that is not known: another process may have made it
    let is_ours = |id: &KeyId| core.keyring.holding(*id).get(*id).is_some();
    let is_another = !keys.is_empty() && !keys.iter().any(is_ours);
    core.table_keyring.note(if is_another { TokensOf::AnotherKeyring } else { TokensOf::ThisKeyring });
    match is_another {
        true => Err(another_keyring(postgres).into()),
        false => Ok(()),
    }
}

/// The keys that some of the table's tokens name; `None` where no column could hold one.
///
/// # Errors
/// Those of asking the database, when it goes on saying so.
pub(crate) async fn keys_of_table(postgres: &Postgres) -> Result<Option<Vec<KeyId>>, DatabaseError> {
    let (started, limit, mut round) = (Instant::now(), postgres.database.patience() / 2, 0);
    loop {
        let fault = match postgres.some_keys(LIMIT.min(limit)).await {
            Ok(keys) => return Ok(keys),
            Err(fault) => fault,
        };
        // an old connection may be dead while the server is well
        let was_cut = fault.outcome == Outcome::Fallback && fault.was_connected && round == 0;
        match fault.outcome {
            _ if started.elapsed() > limit => return Err(fault),
            Outcome::Redetect if round < ROUNDS => drop(postgres.refresh().await?),
            Outcome::Retry | Outcome::Pooler if round < ROUNDS => pause(round).await,
            _ if was_cut => {}
            _ => return Err(fault),
        }
        round += 1;
    }
}

fn another_keyring(postgres: &Postgres) -> Error {
    let message = format!(
        "{} holds tokens of another keyring: none that was looked at is under a key of this one",
        postgres.place()
    );
    Error::new(ErrorKind::WrongKeyring, message).with_hint(
        "use the keyring of this database; only if that is lost for good, `retell-vault keyring adopt` goes on with this one, \
         which opens nothing of what is there",
    )
}
