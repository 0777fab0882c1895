//! `rotate --new-key`: what the command says of each step towards the new key.

use std::path::Path;

use retell_vault::rotation::NewKeyStep;
use serde_json::json;

use crate::failure::Failure;
use crate::print;

/// Tells one step.
///
/// # Errors
/// Standard output takes no more.
pub fn tell(is_json: bool, keyring: &Path, step: NewKeyStep) -> Result<(), Failure> {
    let (name, key, text, hint) = match step {
        NewKeyStep::Added { key, .. } => ("added", key, format!("added key {key}"), None),
        NewKeyStep::ResumedPending { key, .. } => {
            ("resumed", key, format!("key {key} is pending: it is taken, and no new key is made"), None)
        }
        NewKeyStep::ResumedRotation { key, tokens, .. } => (
            "resumed",
            key,
            format!(
                "{} left under retired keys: the rotation to key {key} goes on, and no new key is made",
                print::count(tokens, "token")
            ),
            Some(
                "for a new key all the same: `retell-vault key add`, then `key promote`, then `rotate`"
                    .to_owned(),
            ),
        ),
        NewKeyStep::Promoted { key, retired, .. } => (
            "promoted",
            key,
            format!("promoted key {key}; key {retired} is retired: it opens, and seals no more"),
            Some(format!(
                "back {} up now: what is sealed from now on opens with nothing else",
                keyring.display()
            )),
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
