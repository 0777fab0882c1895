//! The result of a rotation: what was done, what is left and what to do about it.

use std::time::Duration;

use retell_vault::keyring::{KeyInfo, KeyState};
use retell_vault::rotation::Rotation;
use retell_vault::{Error, ErrorKind};
use serde_json::{Map, Value, json};

use crate::args::global::Global;
use crate::args::keys::RotateArgs;
use crate::failure::Failure;
use crate::rotate::progress::{RotationProgress, members};
use crate::{print, token_count};

/// How long a key must have been retired before `key destroy` takes it, in milliseconds.
const GRACE: u64 = 24 * 60 * 60 * 1000;

/// Tells it.
///
/// # Errors
/// Anything left under another key than the primary one.
pub fn tell(
    global: &Global,
    options: &RotateArgs,
    keys: &[KeyInfo],
    rotation: &Rotation,
    progress: &RotationProgress,
) -> Result<(), Failure> {
    match global.json {
        true => print::json(&as_json(rotation, progress.elapsed()))?,
        false => print::out(&as_text(global, keys, rotation, progress.elapsed()))?,
    }
    warn_of_unreadable(options, rotation);
    warn_of_outside(rotation);
    match rotation.complete {
        true => {
            if !global.json {
                hint_at_destruction(global, keys, rotation);
            }
            Ok(())
        }
        false => Err(not_complete(keys, rotation)),
    }
}

fn as_json(rotation: &Rotation, elapsed: Duration) -> Value {
    let causes: Map<_, _> =
        rotation.unreadable.iter().map(|(kind, count)| (kind.as_str().to_owned(), json!(count))).collect();
    let mut object = members("done", &rotation.progress, elapsed);
    object.insert("complete".to_owned(), json!(rotation.complete));
    object.insert("key".to_owned(), json!(rotation.key.to_string()));
    object.insert("causes".to_owned(), Value::Object(causes));
    object.insert("census".to_owned(), token_count::json(&rotation.token_counts));
    object.extend(token_count::outside_members(&rotation.token_counts.outside));
    Value::Object(object)
}

fn as_text(global: &Global, keys: &[KeyInfo], rotation: &Rotation, elapsed: Duration) -> String {
    let done = &rotation.progress;
    let rate = match done.resealed {
        0 => String::new(),
        rows => format!(", {:.0} rows a second", rows as f64 / elapsed.as_secs_f64().max(0.001)),
    };
    let (resealed, local) = (print::count(done.resealed, "row"), print::count(done.local, "text"));
    let rows = [
        ("re-encrypted", format!("{resealed}, {local} of the local file")),
        ("passes", done.pass.to_string()),
        ("time", format!("{}{rate}", print::duration(elapsed))),
        ("unreadable", unreadable(rotation).unwrap_or_else(|| "none".to_owned())),
    ];
    let tokens = print::table(&token_count::rows(&rotation.token_counts, keys));
    let verdict = match rotation.complete {
        true => format!("complete {}: every token is under key {}", token_count::scope(global), rotation.key),
        false => format!("not complete: {}", left(keys, rotation)),
    };
    let summary = print::table(&rows.map(|(name, value)| [name.to_owned(), value]));
    let outside = token_count::outside(&rotation.token_counts.outside);
    [summary, print::titled("tokens", &tokens), print::indented(0, &verdict) + &outside].join("\n")
}

/// `2 unsealable, 1 unknown_key`.
fn unreadable(rotation: &Rotation) -> Option<String> {
    let causes = rotation.unreadable.iter();
    let causes: Vec<_> = causes.map(|(kind, count)| format!("{count} {}", kind.as_str())).collect();
    (!causes.is_empty()).then(|| causes.join(", "))
}

/// `3 tokens under key 0123abcd (retired): 3 in column a`.
fn left(keys: &[KeyInfo], rotation: &Rotation) -> String {
    let others = rotation.token_counts.keys().into_iter().filter(|(key, _)| *key != rotation.key);
    let left = others.map(|(key, tokens)| {
        let (tokens, state) = (print::count(tokens, "token"), token_count::state(keys, key));
        let places = token_count::places(&rotation.token_counts, Some(key));
        format!("{tokens} left under key {key} ({state}): {places}")
    });
    left.collect::<Vec<_>>().join("; ")
}

fn warn_of_unreadable(options: &RotateArgs, rotation: &Rotation) {
    let Some(causes) = unreadable(rotation) else { return };
    print::warning(&format!("left unchanged: {causes}"));
    match &options.report {
        Some(path) => {
            print::hint(&format!("{} lists the records, their places and the reasons", path.display()))
        }
        None => print::hint(
            "run the same command with --report FILE to list the records, their places and the reasons",
        ),
    }
}

/// A rotation is complete in the layout all the same.
fn warn_of_outside(rotation: &Rotation) {
    let outside = rotation.token_counts.outside.tokens.iter();
    for found in outside.filter(|found| found.in_use > 0 && found.key != rotation.key) {
        print::warning(&format!("outside of the layout: {found}; no rotation reaches them"));
    }
}

/// Why tokens may be left, and what to do next.
fn not_complete(keys: &[KeyInfo], rotation: &Rotation) -> Failure {
    let left = rotation.token_counts.keys().into_iter().filter(|(key, _)| *key != rotation.key);
    let is_left =
        |states: &[&str]| left.clone().any(|(key, _)| states.contains(&token_count::state(keys, key)));
    let kinds = || rotation.unreadable.iter().map(|(kind, _)| *kind);
    let mut advice = Vec::new();
    if is_left(&["pending"]) {
        advice
            .push("copy the newest keyring to this host: a key that is pending here already seals elsewhere");
    }
    if is_left(&["unknown", "destroyed"]) {
        advice.push(
            "find a keyring that holds the missing keys; if there is none, store those records again with `retell-vault put --replace-unreadable`, and erase the copies in the local file with `retell-vault forget`",
        );
    }
    if kinds().any(|kind| kind == ErrorKind::Rejected) {
        advice.push("fix what makes the database reject rows");
    }
    if !kinds().all(|kind| matches!(kind, ErrorKind::Rejected | ErrorKind::UnknownKey | ErrorKind::Busy)) {
        advice.push(
            "restore the unreadable records from a backup, or store them again with `retell-vault put --replace-unreadable`",
        );
    }
    if rotation.progress.changed > 0 {
        advice.push("look for a long transaction that locks rows");
    }
    if advice.is_empty() || rotation.progress.changed > 0 {
        advice.push(
            "look for a process that still seals under an old key: give it this keyring, or restart it",
        );
    }
    let tokens: u64 = left.map(|(_, tokens)| tokens).sum();
    Failure::new(
        format!(
            "the rotation is not complete: {} not under key {}",
            match tokens {
                1 => "1 token is".to_owned(),
                _ => format!("{tokens} tokens are"),
            },
            rotation.key
        ),
        // with --new-key, it would create a key each time while only unknown keys are left
        format!("{}; then run the command again, without --new-key", advice.join("; ")),
    )
}

/// When and how the old keys can go.
fn hint_at_destruction(global: &Global, keys: &[KeyInfo], rotation: &Rotation) {
    let retired = keys.iter().filter(|key| key.state == KeyState::Retired);
    let idle: Vec<_> = retired.filter(|key| rotation.token_counts.tokens_of(key.id) == 0).collect();
    for key in &idle {
        let since = print::utc(key.state_since);
        let from = print::utc(key.state_since + GRACE);
        let other_hosts = match global.database_url() {
            Some(_) => " --other-hosts-synced` once every other host has run `sync` and `rotate`",
            None => "`",
        };
        print::hint(&format!(
            "key {0} was retired at {since} and seals nothing; you can destroy it from {from} on: `retell-vault key destroy {0}{other_hosts}",
            key.id
        ));
    }
    if !idle.is_empty() {
        print::hint(
            "earlier backups still need the retired keys: keep a copy of the keyring as long as you keep those backups",
        );
    }
}

/// Why a rotation could not go on.
pub fn stopped(error: Error) -> Failure {
    match error.kind() {
        ErrorKind::Unavailable => Failure::unavailable(
            &error,
            "check that the database is up and that the URL is right; nothing is lost; run the same command again to continue",
        ),
        _ => error.into(),
    }
}
