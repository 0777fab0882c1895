//! `RetellConfig` <-> `Record`: the only file where plaintext and ciphertext of a configuration meet.

use std::collections::BTreeMap;

use rand::CryptoRng;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::crypto::aead::{self, RootSecret};
use crate::error::{Error, ErrorKind, Result};
use crate::record::fields::Field;
use crate::record::owner::Owner;
use crate::record::record::{PlainValues, Record};
use crate::record::retell::{RetellConfig, webhook_from_value, webhook_to_value};
use crate::record::token::{KeyId, Token};
use crate::record::values::{AgentId, ApiKey, IntegrationStatus, WebhookSecret};
use crate::record::version::Version;

/// What a record held.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Absent when the record is a tombstone: the configuration was deleted.
    pub(crate) config: Option<RetellConfig>,
    /// Plain fields whose column holds something that is not a valid value.
    pub(crate) ignored: Vec<Field>,
}

/// Seals a configuration, or a tombstone, under a key: the primary one.
///
/// Every secret field gets a token, an absent one a sealed `null`: otherwise removing a token would
/// silently switch a protection off. Of the plain fields, those in `fields` that are set get one.
pub(crate) fn seal(
    config: Option<&RetellConfig>,
    owner: &Owner,
    version: Version,
    fields: &[Field],
    (key, root): (KeyId, &RootSecret),
    rng: &mut impl CryptoRng,
) -> Record {
    let token = |field: Field| {
        let json = config.and_then(|config| field_json(config, field));
        let json = match (&json, field.is_secret()) {
            (Some(json), _) => json.as_str(),
            (None, true) => "null",
            (None, false) => return None,
        };
        Some(aead::seal(root, key, version, owner, field, json.as_bytes(), rng))
    };
    let tokens = Field::ALL
        .into_iter()
        .filter(|field| field.is_secret() || fields.contains(field))
        .filter_map(token)
        .collect();
    Record::new(tokens, config.map(plain_values).unwrap_or_default())
        .expect("all four secret fields, one version, one key")
}

/// The same record with tokens for all plain fields that are set, for a place without plain columns.
///
/// `root` is the record's own key.
///
/// # Errors
/// None that a record can cause: it holds every secret field already.
pub(crate) fn seal_rest(
    record: Record,
    config: Option<&RetellConfig>,
    owner: &Owner,
    root: &RootSecret,
    rng: &mut impl CryptoRng,
) -> Result<Record> {
    let mut tokens = record.tokens().to_vec();
    for field in Field::PLAIN.into_iter().filter(|field| record.token(*field).is_none()) {
        if let Some(json) = config.and_then(|config| field_json(config, field)) {
            tokens.push(aead::seal(root, record.key, record.version, owner, field, json.as_bytes(), rng));
        }
    }
    Record::new(tokens, record.plain)
}

/// A record with its plain fields read out of their tokens, for a place that has plain columns.
///
/// # Errors
/// As [`open`].
pub(crate) fn with_plain_values(mut record: Record, owner: &Owner, root: &RootSecret) -> Result<Record> {
    let opened = open(&record, owner, root)?;
    record.plain = opened.config.as_ref().map(plain_values).unwrap_or_default();
    Ok(record)
}

/// The plain fields as they go into columns of their own.
fn plain_values(config: &RetellConfig) -> PlainValues {
    PlainValues {
        phone_number: config.phone_number.as_ref().map(|number| number.as_str().to_owned()),
        webhook_config: config.webhook_config.as_ref().map(webhook_to_value),
        integration_status: config.integration_status.map(|status| status.as_str().to_owned()),
    }
}

/// The JSON text of one field that is set.
fn field_json(config: &RetellConfig, field: Field) -> Option<Zeroizing<String>> {
    let agent = |id: &AgentId| quoted(id.expose_secret());
    match field {
        Field::ApiKey => Some(quoted(config.api_key.expose_secret())),
        Field::CallAgentId => config.call_agent_id.as_ref().map(agent),
        Field::SmsAgentId => config.sms_agent_id.as_ref().map(agent),
        Field::WebhookSecret => config.webhook_secret.as_ref().map(|secret| quoted(secret.expose_secret())),
        Field::PhoneNumber => config.phone_number.as_ref().map(|number| quoted(number.as_str())),
        Field::WebhookConfig => config
            .webhook_config
            .as_ref()
            .map(|webhook| Zeroizing::new(webhook_to_value(webhook).to_string())),
        Field::IntegrationStatus => config.integration_status.map(|status| quoted(status.as_str())),
    }
}

/// A JSON string of printable ASCII, in one buffer that is wiped.
fn quoted(text: &str) -> Zeroizing<String> {
    let mut json = Zeroizing::new(String::with_capacity(2 * text.len() + 2));
    json.push('"');
    for char in text.chars() {
        if char == '"' || char == '\\' {
            json.push('\\');
        }
        json.push(char);
    }
    json.push('"');
    json
}

/// Opens a record: every token, under the key that the record names.
///
/// # Errors
/// `Unsealable`.
pub(crate) fn open(record: &Record, owner: &Owner, root: &RootSecret) -> Result<Opened> {
    let open = |field: Field| record.token(field).map(|token| open_token(root, owner, token)).transpose();
    let api_key = open(Field::ApiKey)?.flatten();
    let call_agent_id = secret::<AgentId>(open(Field::CallAgentId)?)?;
    let sms_agent_id = secret::<AgentId>(open(Field::SmsAgentId)?)?;
    let webhook_secret = secret::<WebhookSecret>(open(Field::WebhookSecret)?)?;
    let Some(api_key) = api_key else {
        return Ok(Opened { config: None, ignored: Vec::new() });
    };
    let api_key = api_key.parse::<ApiKey>().map_err(|_| unsealable())?;
    let mut config =
        RetellConfig { call_agent_id, sms_agent_id, webhook_secret, ..RetellConfig::new(api_key) };
    let mut ignored = Vec::new();
    for field in Field::PLAIN {
        // a token at the record's version beats the column, which is the application's
        let sealed = match record.token(field) {
            Some(token) => Some(open_plain(root, owner, token)?),
            None => column_value(&record.plain, field),
        };
        if let Some(value) = sealed
            && set_plain(&mut config, field, &value).is_err()
        {
            ignored.push(field);
        }
    }
    Ok(Opened { config: Some(config), ignored })
}

/// Opens the API key of a record only: whether it is a tombstone.
///
/// # Errors
/// As [`open`].
pub(crate) fn is_tombstone(record: &Record, owner: &Owner, root: &RootSecret) -> Result<bool> {
    let token = record.token(Field::ApiKey).ok_or(ErrorKind::Incomplete)?;
    Ok(open_token(root, owner, token)?.is_none())
}

/// The same tokens under the primary key, each with its version, field and length, in the same order.
/// Those that are under it already come back as they are, unopened. A record that lacks a field still
/// lacks it afterwards.
///
/// # Errors
/// `Malformed` when the tokens of one version name several keys or hold a field twice: what is refused
/// as a mixture must not become a record by being re-encrypted. `Unsealable` of the first token that does
/// not open, and whatever `opener` says of its key. Nothing is answered then.
pub(crate) fn reencrypt<'k>(
    tokens: &[Token],
    owner: &Owner,
    (primary, root): (KeyId, &RootSecret),
    opener: impl Fn(KeyId) -> Result<&'k RootSecret>,
    rng: &mut impl CryptoRng,
) -> Result<Vec<Token>> {
    refuse_mixtures(tokens)?;
    let reencrypt = |token: &Token| {
        if token.key == primary {
            return Ok(token.clone());
        }
        let json = aead::open(opener(token.key)?, owner, token)?;
        Ok(aead::seal(root, primary, token.version, owner, token.field, &json, rng))
    };
    tokens.iter().map(reencrypt).collect()
}

fn refuse_mixtures(tokens: &[Token]) -> Result<()> {
    let mut keys: BTreeMap<Version, KeyId> = BTreeMap::new();
    for (at, token) in tokens.iter().enumerate() {
        let (version, field) = (token.version, token.field);
        if *keys.entry(version).or_insert(token.key) != token.key {
            return Err(malformed(format!("the record of version {version} mixes keys")));
        }
        if tokens[..at].iter().any(|before| (before.version, before.field) == (version, field)) {
            return Err(malformed(format!("the record of version {version} holds {field} twice")));
        }
    }
    Ok(())
}

fn malformed(message: String) -> Error {
    Error::new(ErrorKind::Malformed, message)
}

type SecretText = Zeroizing<String>;

/// The text in a token, or `None` for a sealed `null`.
fn open_token(root: &RootSecret, owner: &Owner, token: &Token) -> Result<Option<SecretText>> {
    let json = aead::open(root, owner, token)?;
    let text: Option<SecretText> = serde_json::from_slice(&json).map_err(|_| unsealable())?;
    Ok(text)
}

fn secret<T: std::str::FromStr>(text: Option<Option<SecretText>>) -> Result<Option<T>> {
    text.flatten().map(|text| text.parse().map_err(|_| unsealable())).transpose()
}

fn open_plain(root: &RootSecret, owner: &Owner, token: &Token) -> Result<Value> {
    let json = aead::open(root, owner, token)?;
    serde_json::from_slice(&json).map_err(|_| unsealable())
}

/// Something sealed under our key, for this owner and field, that is not a value of the field.
fn unsealable() -> Error {
    Error::new(ErrorKind::Unsealable, "a sealed value is not what its field holds")
        .with_hint("a newer retell-vault may have written it: upgrade")
}

/// What an application keeps in a column that may not be null stands for nothing.
fn column_value(plain: &PlainValues, field: Field) -> Option<Value> {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty()).map(Value::String);
    match field {
        Field::PhoneNumber => text(&plain.phone_number),
        Field::IntegrationStatus => text(&plain.integration_status),
        Field::WebhookConfig => plain
            .webhook_config
            .clone()
            .filter(|value| !value.is_null() && !value.as_object().is_some_and(serde_json::Map::is_empty)),
        _ => None,
    }
}

fn set_plain(config: &mut RetellConfig, field: Field, value: &Value) -> Result<()> {
    let text = value.as_str().unwrap_or_default();
    match field {
        Field::PhoneNumber => config.phone_number = Some(text.parse()?),
        Field::IntegrationStatus => config.integration_status = Some(text.parse::<IntegrationStatus>()?),
        Field::WebhookConfig => config.webhook_config = Some(webhook_from_value(value)?),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
#[path = "record_sealer_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "reencrypt_tests.rs"]
mod reencrypt_tests;
