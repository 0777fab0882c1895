//! `rotate --new-key`: which key everything goes under. Whatever interrupts it, keys do not heap up.

use retell_vault::keyring::{KeyId, KeyInfo, KeyState};
use retell_vault::rotation::TokenCounts;
use retell_vault::{Keyring, Vault};
use serde_json::json;

use crate::args::global::Global;
use crate::args::keys::RotateArgs;
use crate::failure::Failure;
use crate::print;
use crate::rotate::outcome::stopped;

/// What the keys and their tokens tell about an earlier run.
#[derive(Debug, PartialEq, Eq)]
enum NextStep {
    /// None is unfinished.
    Add,
    /// It made a key and did not promote it, or `key add` made it: the oldest of these.
    Promote(KeyId),
    /// It promoted a key and did not seal everything anew: so many tokens are left.
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

/// Makes the key primary under which everything is sealed anew. No key is made for a rotation that
/// could not begin: the database is asked first.
pub async fn bring_in(
    global: &Global,
    options: &RotateArgs,
    vault: &Vault,
    keyring: &Keyring,
) -> Result<(), Failure> {
    let estimate = vault.estimate_rotation(&options.options()).await.map_err(|error| {
        print::warning("no key was made: the rotation could not begin");
        stopped(error)
    })?;
    refuse_unknown(&keyring.keys(), &estimate.token_counts)?;
    let step = NextStep::of(&keyring.keys(), &estimate.token_counts);
    let Some(id) = pending(global, keyring, step, estimate.key)? else { return Ok(()) };
    keyring.promote_key(id)?;
    let text = format!("promoted key {id}; key {} is retired: it opens, and seals no more", estimate.key);
    tell(global, "promoted", id, &text)?;
    let path = keyring.path().display();
    hint(global, &format!("back {path} up now: what is sealed from now on opens with nothing else"));
    Ok(())
}

/// Another host may have brought a new key in already: a second one would be its rival.
fn refuse_unknown(keys: &[KeyInfo], token_counts: &TokenCounts) -> Result<(), Failure> {
    let unknown = token_counts.keys().into_iter().find(|(id, _)| keys.iter().all(|key| key.id != *id));
    match unknown {
        None => Ok(()),
        Some((id, tokens)) => Err(Failure::new(
            format!(
                "{} under key {id}, which this keyring does not hold; no key was made",
                print::count(tokens, "token")
            ),
            "copy the newest keyring to this host; if there is none with that key, bring a new one in with `retell-vault key add` and `key promote`, then `rotate`",
        )),
    }
}

/// The key to promote, made where there is none. `None`: the primary key is the one.
fn pending(
    global: &Global,
    keyring: &Keyring,
    step: NextStep,
    primary: KeyId,
) -> Result<Option<KeyId>, Failure> {
    match step {
        NextStep::Add => {
            let id = keyring.add_key()?.id;
            tell(global, "added", id, &format!("added key {id}"))?;
            Ok(Some(id))
        }
        NextStep::Promote(id) => {
            let text = format!("key {id} is pending: it is taken, and no new key is made");
            tell(global, "resumed", id, &text)?;
            Ok(Some(id))
        }
        NextStep::GoOn(left) => {
            let text = format!(
                "{} left under retired keys: the rotation to key {primary} goes on, and no new key is made",
                print::count(left, "token")
            );
            tell(global, "resumed", primary, &text)?;
            hint(
                global,
                "for a new key all the same: `retell-vault key add`, then `key promote`, then `rotate`",
            );
            Ok(None)
        }
    }
}

fn hint(global: &Global, text: &str) {
    if !global.json {
        print::hint(text);
    }
}

fn tell(global: &Global, step: &str, key: KeyId, text: &str) -> Result<(), Failure> {
    match global.json {
        true => print::json(&json!({ "event": "key", "step": step, "key": key.to_string() })),
        false => {
            print::note("step", text);
            Ok(())
        }
    }
}
