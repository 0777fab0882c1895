//! `rotate --new-key`: the messages about each step towards the new key.

use retell_vault::rotation::NewKeyStep;
use serde_json::json;

use crate::failure::Failure;
use crate::print;

/// Tells one step.
///
/// # Errors
/// Standard output takes no more.
pub fn tell(is_json: bool, keyring: &str, step: NewKeyStep) -> Result<(), Failure> {
    let (name, key, text, hint) = match step {
        NewKeyStep::Added { key, .. } => ("added", key, format!("added key {key}"), None),
        NewKeyStep::ResumedPending { key, .. } => {
            ("resumed", key, format!("key {key} is pending and is promoted; no new key is created"), None)
        }
        NewKeyStep::ResumedRotation { key, tokens, .. } => (
            "resumed",
            key,
            format!(
                "{} left under retired keys: the rotation to key {key} continues; no new key is created",
                print::count(tokens, "token")
            ),
            Some(
                "to add a new key anyway, run `retell-vault key add`, then `key promote`, then `rotate`"
                    .to_owned(),
            ),
        ),
        NewKeyStep::Promoted { key, retired, .. } => (
            "promoted",
            key,
            format!("promoted key {key}; key {retired} is retired: it still opens, but no longer seals"),
            Some(format!("back up {keyring} now: nothing else opens what is sealed from now on")),
        ),
        _ => return Ok(()),
    };
    if is_json {
        return print::json(&json!({ "event": "key", "step": name, "key": key.to_string() }));
    }
    print::note("step", &text);
    if let Some(hint) = hint {
        print::hint(&hint);
    }
    Ok(())
}
