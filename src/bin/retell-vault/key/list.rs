//! `key list`: the keys, and the number of tokens under each.

use retell_vault::Keyring;
use retell_vault::keyring::KeyInfo;
use retell_vault::rotation::TokenCounts;
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::failure::Failure;
use crate::{print, session, token_count};

/// Lists the keys. Without the database, or without a local file that fits, there are still the keys.
pub async fn list(global: &Global) -> Result<(), Failure> {
    let keyring = session::keyring(global).await?;
    let token_counts = match count(global, &keyring).await {
        Ok(token_counts) => Some(token_counts),
        Err(failure) => {
            print::warning(&format!("tokens could not be counted: {}", failure.message()));
            None
        }
    };
    let keys = keyring.keys();
    match global.json {
        true => print::json(&as_json(&keyring, &keys, token_counts.as_ref())),
        false => {
            let outside =
                token_counts.as_ref().map(|token_counts| token_count::outside(&token_counts.outside));
            print::out(&(print::table(&as_rows(&keys, token_counts.as_ref())) + &outside.unwrap_or_default()))
        }
    }
}

async fn count(global: &Global, keyring: &Keyring) -> Result<TokenCounts, Failure> {
    let vault = session::builder(global, keyring.clone())?.build().await?;
    Ok(vault.count_tokens().await?)
}

/// The keys that tokens name and the keyring does not hold, with the number of these tokens.
fn unknown(keys: &[KeyInfo], token_counts: Option<&TokenCounts>) -> Vec<(String, u64)> {
    let named = token_counts.map(TokenCounts::keys).unwrap_or_default().into_iter();
    let unknown = named.filter(|(id, _)| keys.iter().all(|key| key.id != *id));
    unknown.map(|(id, tokens)| (id.to_string(), tokens)).collect()
}

fn as_json(keyring: &Keyring, keys: &[KeyInfo], token_counts: Option<&TokenCounts>) -> Value {
    let known = keys.iter().map(|key| {
        let mut object = json!(key);
        object["tokens"] = json!(token_counts.map(|token_counts| token_counts.tokens_of(key.id)));
        object
    });
    let unknown = unknown(keys, token_counts).into_iter().map(|(id, tokens)| {
        json!({ "id": id, "state": "unknown", "created_at": null, "state_since": null, "fingerprint": null,
            "tokens": tokens })
    });
    let object = json!({
        "keyring": keyring.place(),
        "env": keyring.pin().to_env(),
        "keys": known.chain(unknown).collect::<Vec<_>>(),
        "not_looked_at": null,
    });
    match token_counts {
        Some(token_counts) => token_count::with_outside(object, &token_counts.outside),
        None => object,
    }
}

fn as_rows(keys: &[KeyInfo], token_counts: Option<&TokenCounts>) -> Vec<[String; 5]> {
    let heading = ["key", "state", "created", "since", "tokens"].map(str::to_owned);
    let known = keys.iter().map(|key| {
        let tokens = token_counts
            .map_or("unknown".to_owned(), |token_counts| token_counts.tokens_of(key.id).to_string());
        let state = key.state.as_str().to_owned();
        [key.id.to_string(), state, print::utc(key.created_at), print::utc(key.state_since), tokens]
    });
    let dash = || "-".to_owned();
    let unknown = unknown(keys, token_counts).into_iter();
    let unknown = unknown.map(|(id, tokens)| [id, "unknown".to_owned(), dash(), dash(), tokens.to_string()]);
    std::iter::once(heading).chain(known).chain(unknown).collect()
}
