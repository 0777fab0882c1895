//! `key check`: whether keys and tokens fit together, and what to do where they do not.

use retell_vault::{Census, KeyId, KeyInfo, KeyState};
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::failure::Failure;
use crate::{print, session, token_count};

/// Something that is wrong.
struct KeyProblem {
    problem: &'static str,
    key: Option<KeyId>,
    tokens: u64,
    text: String,
    advice: String,
}

/// Opens every key, as building the vault does, and looks what the tokens name.
pub async fn check(global: &Global) -> Result<(), Failure> {
    let vault = session::vault(global).await?;
    let census = vault.census().await?;
    let keys = vault.keys();
    let mut problems: Vec<_> =
        census.keys().iter().filter_map(|named| of_tokens(&keys, &census, *named)).collect();
    let waits = |key: &&KeyInfo| key.state == KeyState::Pending && census.tokens_of(key.id) == 0;
    problems.extend(keys.iter().filter(waits).map(pending));
    problems.extend(unrecognised(&census));
    let (count, tokens) = (keys.len() as u64, census.keys().iter().map(|(_, tokens)| tokens).sum());
    match global.json {
        true => print::json(&as_json(&problems, &census, count, tokens))?,
        false => print::out(&as_text(global, &problems, &census, count, tokens))?,
    }
    match problems.len() as u64 {
        0 => Ok(()),
        found => Err(Failure::new(
            format!("{} to mend", print::count(found, "thing")),
            "what to do is said with each; then run `retell-vault key check` again",
        )),
    }
}

fn of_tokens(keys: &[KeyInfo], census: &Census, (id, tokens): (KeyId, u64)) -> Option<KeyProblem> {
    let state = keys.iter().find(|key| key.id == id).map(|key| key.state);
    let lost = "find a copy of the keyring that holds it; where there is none, restore these records from a \
                backup or store them again with `retell-vault put --replace-unreadable`";
    let (problem, what, advice) = match state {
        None => ("unknown_key", "which the keyring does not hold", lost),
        Some(KeyState::Destroyed) => ("destroyed_key", "which was destroyed", lost),
        Some(KeyState::Retired) => {
            ("retired_key", "which is retired", "seal them anew: `retell-vault rotate`")
        }
        Some(KeyState::Pending) => (
            "older_keyring",
            "which is pending here and seals elsewhere: this keyring is not the newest",
            "copy the newest keyring to this host, and change no keys here before",
        ),
        Some(KeyState::Primary) => return None,
    };
    let places = token_count::places(census, Some(id));
    let text = format!("{} under key {id}, {what}: {places}", print::count(tokens, "token"));
    Some(KeyProblem { problem, key: Some(id), tokens, text, advice: advice.to_owned() })
}

fn pending(key: &KeyInfo) -> KeyProblem {
    let id = key.id;
    let text = format!("key {id} is pending since {}: it does not seal yet", print::utc(key.state_since));
    let advice = format!(
        "when every process of every host has this keyring, `retell-vault key promote {id}`; to give it up, `retell-vault key retire {id}`"
    );
    KeyProblem { problem: "pending_key", key: Some(id), tokens: 0, text, advice }
}

fn unrecognised(census: &Census) -> Option<KeyProblem> {
    let tokens: u64 =
        census.counts.iter().filter(|count| count.key.is_none()).map(|count| count.tokens).sum();
    let places = token_count::places(census, None);
    let text = format!(
        "{} of text that names no key, in columns for tokens: {places}",
        print::count(tokens, "piece")
    );
    let advice = "nothing protects it: `retell-vault list` says whose it is; store it through the vault with \
                  `retell-vault put --replace-foreign`, or clear it";
    (tokens > 0).then(|| KeyProblem {
        problem: "no_token",
        key: None,
        tokens,
        text,
        advice: advice.to_owned(),
    })
}

fn as_json(problems: &[KeyProblem], census: &Census, keys: u64, tokens: u64) -> Value {
    let problem = |problem: &KeyProblem| {
        json!({
            "problem": problem.problem,
            "key": problem.key.map(|key| key.to_string()),
            "tokens": problem.tokens,
            "text": problem.text,
            "advice": problem.advice,
        })
    };
    let problems: Vec<_> = problems.iter().map(problem).collect();
    let ok = problems.is_empty();
    json!({ "ok": ok, "keys": keys, "tokens": tokens, "findings": problems, "not_looked_at": census.not_looked_at })
}

fn as_text(global: &Global, problems: &[KeyProblem], census: &Census, keys: u64, tokens: u64) -> String {
    let (keys, tokens) = (print::count(keys, "key"), print::count(tokens, "token"));
    let mut text = format!("{keys}, {tokens}\n");
    match problems {
        [] => text.push_str(&format!("nothing is wrong {}\n", token_count::scope(global))),
        _ => problems.iter().for_each(|KeyProblem { text: what, advice, .. }| {
            text.push_str(&print::table(&[[format!("wrong: {what}")], [format!("  {advice}")]]));
        }),
    }
    text + &token_count::not_looked_at(census)
}
