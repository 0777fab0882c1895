//! `key list`: the keys, and how many tokens each has sealed.

use retell_vault::{Census, KeyInfo, KeyringFile};
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::failure::Failure;
use crate::{print, session, status, token_count};

/// Lists the keys. Without the database, or without a local file that fits, there are still the keys.
pub async fn list(global: &Global) -> Result<(), Failure> {
    let keyring = session::keyring(global)?;
    let census = match count(global, &keyring).await {
        Ok(census) => Some(census),
        Err(failure) => {
            print::warning(&format!("the tokens were not counted: {}", failure.message()));
            None
        }
    };
    let keys = keyring.keys();
    match global.json {
        true => print::json(&as_json(&keyring, &keys, census.as_ref())),
        false => {
            let outside = census.as_ref().map(|census| token_count::outside(&census.outside));
            print::out(&(print::table(&as_rows(&keys, census.as_ref())) + &outside.unwrap_or_default()))
        }
    }
}

async fn count(global: &Global, keyring: &KeyringFile) -> Result<Census, Failure> {
    let vault = session::builder(global, keyring.clone())?.build().await?;
    Ok(vault.census().await?)
}

/// The keys that tokens name and the keyring does not hold, with the number of these tokens.
fn unknown(keys: &[KeyInfo], census: Option<&Census>) -> Vec<(String, u64)> {
    let named = census.map(Census::keys).unwrap_or_default().into_iter();
    let unknown = named.filter(|(id, _)| keys.iter().all(|key| key.id != *id));
    unknown.map(|(id, tokens)| (id.to_string(), tokens)).collect()
}

fn as_json(keyring: &KeyringFile, keys: &[KeyInfo], census: Option<&Census>) -> Value {
    let known = keys.iter().map(|key| {
        let mut object = status::key_json(key);
        object["tokens"] = json!(census.map(|census| census.tokens_of(key.id)));
        object
    });
    let unknown = unknown(keys, census).into_iter().map(|(id, tokens)| {
        json!({ "id": id, "state": "unknown", "created_at": null, "state_since": null, "fingerprint": null,
            "tokens": tokens })
    });
    let object = json!({
        "keyring": keyring.path().display().to_string(),
        "keys": known.chain(unknown).collect::<Vec<_>>(),
        "not_looked_at": null,
    });
    match census {
        Some(census) => token_count::with_outside(object, &census.outside),
        None => object,
    }
}

fn as_rows(keys: &[KeyInfo], census: Option<&Census>) -> Vec<[String; 5]> {
    let heading = ["key", "state", "created", "since", "tokens"].map(str::to_owned);
    let known = keys.iter().map(|key| {
        let tokens = census.map_or("unknown".to_owned(), |census| census.tokens_of(key.id).to_string());
        let state = key.state.as_str().to_owned();
        [key.id.to_string(), state, print::utc(key.created_at), print::utc(key.state_since), tokens]
    });
    let dash = || "-".to_owned();
    let unknown = unknown(keys, census).into_iter();
    let unknown = unknown.map(|(id, tokens)| [id, "unknown".to_owned(), dash(), dash(), tokens.to_string()]);
    std::iter::once(heading).chain(known).chain(unknown).collect()
}
