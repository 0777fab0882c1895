//! A rotation to a new key: which key everything goes under. Whatever interrupts it, keys do not heap up.

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::{KeyInfo, KeyState};
use crate::record::token::KeyId;
use crate::rotation::key_life::{add_key, promote_key};
use crate::rotation::options::RotateOptions;
use crate::rotation::report::{NewKeyStep, RotateEvent};
use crate::rotation::rotate::estimate_rotation;
use crate::rotation::token_count::TokenCounts;
use crate::store::core::Core;

/// What the keys and their tokens tell about an earlier run.
#[derive(Debug, PartialEq, Eq)]
enum NextStep {
    /// None is unfinished.
    Add,
    /// It made a key and did not promote it, or somebody added it: the oldest of these.
    Promote(KeyId),
    /// It promoted a key and did not re-encrypt everything: so many tokens are left.
    GoOn(u64),
}

impl NextStep {
    fn of(keys: &[KeyInfo], token_counts: &TokenCounts) -> Self {
        let ids = |state| keys.iter().filter(move |key| key.state == state).map(|key| key.id);
        // a retired key that is left over comes from a promotion; an unknown one does not
        let left = ids(KeyState::Retired).map(|key| token_counts.tokens_of(key)).sum();
        match (ids(KeyState::Pending).next(), left) {
            (Some(pending), _) => Self::Promote(pending),
            (None, 0) => Self::Add,
            (None, left) => Self::GoOn(left),
        }
    }
}

/// Makes the key primary under which everything is re-encrypted. No key is made for a rotation that could not begin: the
/// tokens are counted first.
pub(crate) async fn bring_in(
    core: &Core,
    options: &RotateOptions,
    listener: &mut (dyn FnMut(RotateEvent<'_>) + Send),
) -> Result<()> {
    let (step, primary) = next_step(core, options).await.map_err(|error| error.about("no key was made"))?;
    let Some(key) = pending(core, step, primary, listener).await? else { return Ok(()) };
    promote_key(core, key).await?;
    listener(RotateEvent::NewKey(NewKeyStep::Promoted { key, retired: primary }));
    Ok(())
}

/// The next step, and the primary key until then.
async fn next_step(core: &Core, options: &RotateOptions) -> Result<(NextStep, KeyId)> {
    let estimate = estimate_rotation(core, options).await?;
    let keys = core.keyring.keys();
    refuse_unknown(&keys, &estimate.token_counts)?;
    Ok((NextStep::of(&keys, &estimate.token_counts), estimate.key))
}

/// Another host may have brought a new key in already: a second one would be its rival.
fn refuse_unknown(keys: &[KeyInfo], token_counts: &TokenCounts) -> Result<()> {
    let unknown = token_counts.keys().into_iter().find(|(id, _)| keys.iter().all(|key| key.id != *id));
    let Some((id, tokens)) = unknown else { return Ok(()) };
    let tokens = if tokens == 1 { "1 token is".to_owned() } else { format!("{tokens} tokens are") };
    let message = format!("{tokens} under key {id}, which this keyring does not hold");
    Err(Error::new(ErrorKind::UnknownKey, message).with_hint(
        "copy the newest keyring to this host; if there is none with that key, bring a new one in with `retell-vault key add` and `key promote`, then `rotate`",
    ))
}

/// The key to promote, made where there is none. `None`: the primary key is the one.
async fn pending(
    core: &Core,
    step: NextStep,
    primary: KeyId,
    listener: &mut (dyn FnMut(RotateEvent<'_>) + Send),
) -> Result<Option<KeyId>> {
    let (step, key) = match step {
        NextStep::Add => {
            let key = add_key(core).await?.id;
            (NewKeyStep::Added { key }, Some(key))
        }
        NextStep::Promote(key) => (NewKeyStep::ResumedPending { key }, Some(key)),
        NextStep::GoOn(tokens) => (NewKeyStep::ResumedRotation { key: primary, tokens }, None),
    };
    listener(RotateEvent::NewKey(step));
    Ok(key)
}
