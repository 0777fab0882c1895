//! Checks that the table's tokens belong to this keyring, before anything is sealed for it.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::plan::Postgres;
use crate::record::token::KeyId;
use crate::store::core::{Core, pause};
use crate::store::database_identity::identify;
use crate::store::table_keyring::TokensOf;

/// How often the check is retried if the server says that it may answer later.
const ROUNDS: u32 = 3;
/// The longest search for tokens. If it finds none in a large table, the table counts as not belonging to another keyring.
const LIMIT: Duration = Duration::from_secs(2);

/// Makes sure that this keyring belongs to the table, by up to 100 of the table's tokens. If the keyring does not have the
/// key of any of them, in whatever state, the table belongs to another keyring, and nothing may be sealed for it. One
/// planted token among others blocks nothing. Once the check has passed, it costs an atomic load.
///
/// # Errors
/// `WrongKeyring`; otherwise why the database could not be asked: a write for the database must wait.
pub(crate) async fn require_own_keyring(core: &Core, postgres: &Postgres) -> Result<(), DatabaseError> {
    match core.table_keyring.found() {
        TokensOf::ThisKeyring => Ok(()),
        // boxed: otherwise an application's futures become too deep for the compiler
        _ => Box::pin(look(core, postgres)).await,
    }
}

/// As [`require_own_keyring`], for operations that do not fall back.
///
/// # Errors
/// The same. Without a database there is nothing to check.
pub(crate) async fn check_keyring(core: &Core) -> Result<()> {
    match &core.postgres {
        Some(postgres) => require_own_keyring(core, postgres).await.map_err(|fault| fault.error),
        None => Ok(()),
    }
}

/// Why the table's tokens belong to another keyring, if an earlier check found that, or this one does.
pub(crate) async fn wrong_keyring(core: &Core) -> Option<Error> {
    let error = check_keyring(core).await.err()?;
    (error.kind() == ErrorKind::WrongKeyring).then_some(error)
}

/// What the last check found, for times when the database cannot be asked.
pub(super) fn refuse_found_wrong(core: &Core) -> Result<()> {
    match (&core.postgres, core.table_keyring.found()) {
        (Some(postgres), TokensOf::AnotherKeyring) => Err(another_keyring(core, postgres)),
        _ => Ok(()),
    }
}

/// An error for a record under an unknown key: if no key is known, the keyring is the wrong one.
pub(super) async fn explain(core: &Core, error: Error) -> Error {
    match error.kind() {
        ErrorKind::UnknownKey => wrong_keyring(core).await.unwrap_or(error),
        _ => error,
    }
}

/// Records in the local file that this keyring belongs to the table, whatever the table holds. False: it was recorded
/// already.
///
/// # Errors
/// `Configuration` without a database or a local file; the errors of asking the database, and of the local file.
pub(crate) async fn adopt(core: &Core) -> Result<bool> {
    let (Some(postgres), Some(local)) = (&core.postgres, &core.local) else {
        let message = "adopting a keyring needs a database, and a local file to record it in";
        return Err(Error::new(ErrorKind::Configuration, message)
            .with_hint("configure both: the local file of this host records the adoption"));
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
    // callers that waited for this check get its answer: in an outage they would wait for the server one after another
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
    // a later fallback records it
    identify(core).await?;
    if let Some(local) = &core.local
        && local.has_adopted(&postgres.place()).await?
    {
        core.table_keyring.note(TokensOf::ThisKeyring);
        return Ok(());
    }
    let keys = match keys_of_table(postgres).await {
        Ok(Some(keys)) => keys,
        // columns that are added later are checked then
        Ok(None) => return Ok(()),
        // an error here also fails the operation that follows, which reports it
        Err(fault) if fault.outcome == Outcome::Reject => return Ok(()),
        Err(fault) => return Err(fault),
    };
    // the keyring file is read again for an unknown key: another process may have created it
    let is_ours = |id: &KeyId| core.keyring.holding(*id).get(*id).is_some();
    let is_another = !keys.is_empty() && !keys.iter().any(is_ours);
    core.table_keyring.note(if is_another { TokensOf::AnotherKeyring } else { TokensOf::ThisKeyring });
    match is_another {
        true => Err(another_keyring(core, postgres).into()),
        false => Ok(()),
    }
}

/// The keys that some of the table's tokens name; `None` if no column could hold one.
///
/// # Errors
/// The errors of asking the database, if they persist.
pub(crate) async fn keys_of_table(postgres: &Postgres) -> Result<Option<Vec<KeyId>>, DatabaseError> {
    let (started, limit, mut round) = (Instant::now(), postgres.database.patience() / 2, 0);
    loop {
        let fault = match postgres.some_keys(LIMIT.min(limit)).await {
            Ok(keys) => return Ok(keys),
            Err(fault) => fault,
        };
        // an old connection may be dead while the server is fine
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

/// An older copy of the right keyring may hold none of the keys either.
fn another_keyring(core: &Core, postgres: &Postgres) -> Error {
    if let Some(error) =
        core.keyring.why_stopped().filter(|error| error.kind() == ErrorKind::KeyringRolledBack)
    {
        return error;
    }
    let message = format!(
        "{} holds tokens of another keyring: none of those checked is under a key of this one",
        postgres.place()
    );
    Error::new(ErrorKind::WrongKeyring, message).with_hint(
        "use the keyring of this database; only if it is lost for good, run `retell-vault keyring adopt` to continue with this one, \
         which cannot open the existing tokens",
    )
}
