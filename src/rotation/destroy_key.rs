//! Destroys a key, and refuses while the key is in use.

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::{KeyInfo, KeyState};
use crate::keyring::life::Grace;
use crate::record::token::KeyId;
use crate::rotation::evidence::{CountListener, FullSearch, Outside, out_of_reach, search_outside};
use crate::rotation::options::DestroyOptions;
use crate::rotation::token_count::{TokenCount, TokenCounts, count_tokens};
use crate::store::core::Core;
use crate::store::hosts::hosts_before;
use crate::store::reload::reload_keyring;

/// A destroyed key, and what was found before.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Destruction {
    /// The key.
    pub key: KeyInfo,
    /// What was found outside of the layout: tokens that named the key but did not keep it in use, what was not searched,
    /// and what cannot be searched.
    pub outside: Outside,
}

pub(crate) async fn destroy_key(
    core: &Core,
    id: KeyId,
    options: &DestroyOptions,
    listener: CountListener<'_>,
) -> Result<Destruction> {
    let grace = if options.force { Grace::Waive } else { Grace::Wait };
    // the cheap reasons to refuse first
    core.keyring.for_sealing()?.destroy(id, core.now(), grace)?;
    if core.keyring.current().get(id).is_some_and(|key| key.info.state == KeyState::Destroyed) {
        // only makes sure that the previous generation has lost it too
        return Ok(Destruction {
            key: core.keyring.destroy_key(id, grace).await?,
            outside: Outside::default(),
        });
    }
    if core.keyring.is_in_table() && !options.other_hosts_synced {
        refuse_older_hosts(core, id).await?;
    } else if core.postgres.is_some() && !options.other_hosts_synced {
        let message =
            format!("local files of other hosts may hold records under key {id}, and cannot be counted here");
        let hint = "run `retell-vault sync`, then `retell-vault rotate` on every host, then repeat with --other-hosts-synced";
        return Err(in_use(id, message).with_hint(hint));
    }
    if !options.other_tables_counted {
        refuse_other_tables(core, id).await?;
    }
    refuse_standby(core).await?;
    reload_keyring(core).await;
    refuse_in_use(id, &count_tokens(core, None).await?)?;
    let mut outside = Outside::default();
    if let Some(postgres) = &core.postgres {
        postgres.refuse_without_table().await.map_err(|fault| fault.error)?;
        let (not_evidence, kinds) = (&options.not_evidence, &options.kinds);
        let wanted = FullSearch { key: Some(id), not_evidence, kinds };
        let found = Box::pin(search_outside(core, postgres, &wanted, listener)).await;
        outside = found.map_err(|fault| fault.error)?;
        refuse_evidence(id, &outside)?;
    }
    outside.out_of_reach = out_of_reach(core).await?;
    Ok(Destruction { key: core.keyring.destroy_key(id, grace).await?, outside })
}

/// With a keyring in the database every process notes what it has loaded, after it has re-encrypted its local file.
async fn refuse_older_hosts(core: &Core, id: KeyId) -> Result<()> {
    let generation = core.keyring.current().generation;
    let older = hosts_before(core, generation).await?;
    if older.is_empty() {
        return Ok(());
    }
    let named = older.iter().take(5).map(|(host, noted)| format!("{host} (generation {noted})"));
    let message = format!(
        "{} running processes have not loaded generation {generation} of the keyring, and may seal or hold records under key {id}: {}",
        older.len(),
        named.collect::<Vec<_>>().join(", ")
    );
    let hint = "nothing was destroyed; a process loads it with its next call, and at the latest after a minute; the note of a process that died expires after five minutes; otherwise repeat with --other-hosts-synced";
    Err(in_use(id, message).with_hint(hint))
}

/// A standby shows an earlier state of the rows.
async fn refuse_standby(core: &Core) -> Result<()> {
    let Some(postgres) = &core.postgres else { return Ok(()) };
    match postgres.database.is_standby().await.map_err(|fault| fault.error)? {
        true => Err(Error::new(ErrorKind::Unavailable, "the database is a standby, which may lag behind")
            .with_hint("nothing was destroyed; connect to the primary server")),
        false => Ok(()),
    }
}

/// The local file remembers every table that it was used with.
async fn refuse_other_tables(core: &Core, id: KeyId) -> Result<()> {
    let (Some(local), Some(postgres)) = (&core.local, &core.postgres) else { return Ok(()) };
    let (here, mut others) = (postgres.place(), local.used_with().await?);
    others.retain(|place| *place != here);
    if others.is_empty() {
        return Ok(());
    }
    let message = format!(
        "key {id} may be in use in {}, which {} was also used with; only {here} is counted",
        others.join(", "),
        local.path().display()
    );
    let hint = "run `retell-vault key list` there; if no token names the key, or it is this table under another name, repeat with --other-tables-counted";
    Err(in_use(id, message).with_hint(hint))
}

fn refuse_in_use(id: KeyId, counted: &TokenCounts) -> Result<()> {
    let places: Vec<_> = counted.of(id).map(place).collect();
    match places.is_empty() {
        true => Ok(()),
        false => {
            let message =
                format!("{} tokens still name key {id}: {}", counted.tokens_of(id), places.join("; "));
            Err(in_use(id, message))
        }
    }
}

/// Tokens in columns that the layout does not name are lost with the key too: a renamed column, a layout that this process
/// was not given, duplicates that `schema apply` moved aside.
fn refuse_evidence(id: KeyId, outside: &Outside) -> Result<()> {
    let tokens: u64 = outside.evidence(id).map(|found| found.in_use).sum();
    let places = outside.evidence(id).map(|found| format!("{} in column {}", found.in_use, found.place));
    let places: Vec<_> = places.collect();
    if places.is_empty() {
        return Ok(());
    }
    let message = format!("{tokens} tokens outside of the layout still name key {id}: {}", places.join("; "));
    let hint = "nothing was destroyed; if these are records in use, rotate with the layout that names their \
                columns; clear or drop columns that you no longer need, or repeat with --not-evidence TABLE.COLUMN";
    Err(in_use(id, message).with_hint(hint))
}

fn in_use(id: KeyId, message: String) -> Error {
    Error::new(ErrorKind::KeyInUse, message).with_key_number(id.0)
}

fn place(count: &TokenCount) -> String {
    format!("{} in {}", count.tokens, count.place)
}
