//! `key check`: whether keys and tokens match, and what to do if they do not.

use retell_vault::Vault;
use retell_vault::keyring::{KeyId, KeyInfo, KeyState};
use retell_vault::rotation::{OutsideTokens, TokenCounts};
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::args::keys::CheckArgs;
use crate::failure::Failure;
use crate::progress::{RowProgress, unless_interrupted};
use crate::{print, session, token_count};

/// Something that is wrong.
struct KeyProblem {
    problem: &'static str,
    key: Option<KeyId>,
    tokens: u64,
    text: String,
    advice: String,
}

/// Opens every key, as building the vault does, and checks which keys the tokens name.
pub async fn check(global: &Global, options: &CheckArgs) -> Result<(), Failure> {
    let keyring = session::keyring(global).await?;
    let vault = session::builder(global, keyring.clone())?.build().await?;
    let token_counts = match options.deep {
        true => every_row(&vault).await?,
        false => vault.count_tokens().await?,
    };
    let keys = vault.keys();
    let mut problems: Vec<_> =
        token_counts.keys().iter().filter_map(|named| of_tokens(&keys, &token_counts, *named)).collect();
    let waits = |key: &&KeyInfo| key.state == KeyState::Pending && token_counts.tokens_of(key.id) == 0;
    problems.extend(keys.iter().filter(waits).map(pending));
    problems.extend(unrecognised(&token_counts));
    let primary = keys.iter().find(|key| key.state == KeyState::Primary).map(|key| key.id);
    problems.extend(token_counts.outside.tokens.iter().filter_map(|found| of_outside(found, primary)));
    let (count, tokens) = (keys.len() as u64, token_counts.keys().iter().map(|(_, tokens)| tokens).sum());
    match global.json {
        true => {
            let mut object = as_json(&problems, &token_counts, count, tokens);
            object["env"] = json!(keyring.pin().to_env());
            print::json(&object)?;
        }
        false => print::out(&as_text(global, &problems, &token_counts, count, tokens))?,
    }
    match problems.len() as u64 {
        0 => Ok(()),
        found => Err(Failure::new(
            format!("{} found", print::count(found, "problem")),
            "follow the advice for each, then run `retell-vault key check` again",
        )),
    }
}

async fn every_row(vault: &Vault) -> Result<TokenCounts, Failure> {
    let mut progress = RowProgress::new();
    let count = vault.count_all_tokens(|done| progress.show(done.visited, done.rows));
    let counted = unless_interrupted(count).await?;
    counted.ok_or_else(|| Failure::new("interrupted", "run the same command again"))?.map_err(Failure::from)
}

fn of_tokens(keys: &[KeyInfo], token_counts: &TokenCounts, (id, tokens): (KeyId, u64)) -> Option<KeyProblem> {
    let state = keys.iter().find(|key| key.id == id).map(|key| key.state);
    let lost = "find a copy of the keyring that holds it; if there is none, restore these records from a \
                backup or store them again with `retell-vault put --replace-unreadable`";
    let (problem, what, advice) = match state {
        None => ("unknown_key", "which the keyring does not hold", lost),
        Some(KeyState::Destroyed) => ("destroyed_key", "which was destroyed", lost),
        Some(KeyState::Retired) => {
            ("retired_key", "which is retired", "re-encrypt them: `retell-vault rotate`")
        }
        Some(KeyState::Pending) => (
            "older_keyring",
            "which is pending here but seals elsewhere: this keyring is not the newest",
            "copy the newest keyring to this host before you change keys here",
        ),
        Some(KeyState::Primary) => return None,
    };
    let places = token_count::places(token_counts, Some(id));
    let text = format!("{} under key {id}, {what}: {places}", print::count(tokens, "token"));
    Some(KeyProblem { problem, key: Some(id), tokens, text, advice: advice.to_owned() })
}

fn pending(key: &KeyInfo) -> KeyProblem {
    let id = key.id;
    let text = format!("key {id} is pending since {}: it does not seal yet", print::utc(key.state_since));
    let advice = format!(
        "when every process on every host has this keyring, run `retell-vault key promote {id}`; to abandon the key, run `retell-vault key retire {id}`"
    );
    KeyProblem { problem: "pending_key", key: Some(id), tokens: 0, text, advice }
}

/// Tokens that no rotation reaches.
fn of_outside(found: &OutsideTokens, primary: Option<KeyId>) -> Option<KeyProblem> {
    let advice = match found.own_table {
        true => {
            "they are lost with the key: clear or drop the table if it is not needed, or roll back its step"
        }
        false => {
            "if these records are in use, name their column in the layout; otherwise clear or drop the column"
        }
    };
    found.is_left_behind(primary).then(|| KeyProblem {
        problem: "outside_layout",
        key: Some(found.key),
        tokens: found.in_use,
        text: format!("outside of the layout: {found}; no rotation reaches them"),
        advice: advice.to_owned(),
    })
}

fn unrecognised(token_counts: &TokenCounts) -> Option<KeyProblem> {
    let tokens: u64 =
        token_counts.counts.iter().filter(|count| count.key.is_none()).map(|count| count.tokens).sum();
    let places = token_count::places(token_counts, None);
    let text = format!(
        "{} of text that names no key, in columns for tokens: {places}",
        print::count(tokens, "piece")
    );
    let advice = "nothing protects it: `retell-vault list` shows its owner; store it through the vault with \
                  `retell-vault put --replace-foreign`, or clear it";
    (tokens > 0).then(|| KeyProblem {
        problem: "no_token",
        key: None,
        tokens,
        text,
        advice: advice.to_owned(),
    })
}

fn as_json(problems: &[KeyProblem], token_counts: &TokenCounts, keys: u64, tokens: u64) -> Value {
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
    let object = json!({ "ok": ok, "keys": keys, "tokens": tokens, "findings": problems });
    token_count::with_outside(object, &token_counts.outside)
}

fn as_text(
    global: &Global,
    problems: &[KeyProblem],
    token_counts: &TokenCounts,
    keys: u64,
    tokens: u64,
) -> String {
    let (keys, tokens) = (print::count(keys, "key"), print::count(tokens, "token"));
    let mut text = print::indented(0, &format!("{keys}, {tokens}"));
    match problems {
        [] => {
            text.push_str(&print::indented(0, &format!("no problems found {}", token_count::scope(global))))
        }
        _ => problems.iter().for_each(|KeyProblem { text: what, advice, .. }| {
            text.push_str(&print::table(&[[format!("problem: {what}")], [format!("  {advice}")]]));
        }),
    }
    text + &token_count::outside(&token_counts.outside)
}
