//! `set` and `unset`: one field of a record.

use std::str::FromStr;

use retell_vault::config::WebhookConfig;
use retell_vault::records::Stored;
use retell_vault::{Error, ErrorKind, Owner, RetellConfig};

use crate::args::global::Global;
use crate::args::records::FieldArgs;
use crate::failure::Failure;
use crate::{input, print, records, session};

const FIELDS: &str = "the fields are api_key, call_agent_id, sms_agent_id, <role>_agent_id, webhook_key, phone_number, webhook_config, integration_status; pass the value on standard input";

/// Sets one field to the value on standard input.
pub async fn set(global: &Global, set: &FieldArgs) -> Result<(), Failure> {
    let (owner, field) = (set.owner.owner()?, set.field.as_str());
    require_field(field)?;
    session::require_keyring(global).await?;
    let value = input::value()?;
    check_value(field, &value)?;
    let vault = session::vault(global).await?;
    let stored = vault.modify(&owner, |config| assign(config, field, Some(&value))).await;
    report(global, "set", field, &owner, stored)
}

/// Takes one field out of the record.
pub async fn unset(global: &Global, unset: &FieldArgs) -> Result<(), Failure> {
    let (owner, field) = (unset.owner.owner()?, unset.field.as_str());
    require_field(field)?;
    let (vault, mut was_set) = (session::vault(global).await?, true);
    let stored = vault.modify(&owner, |config| {
        let before = config.clone();
        assign(config, field, None)?;
        was_set = *config != before;
        Ok(())
    });
    let stored = stored.await;
    if stored.is_ok() && !was_set {
        print::warning(&format!("{field} was not set"));
    }
    report(global, "unset", field, &owner, stored)
}

/// Sets a field, or removes it.
///
/// # Errors
/// `InvalidInput` for a value that the field does not take, and for a field that does not exist.
fn assign(config: &mut RetellConfig, field: &str, value: Option<&str>) -> Result<(), Error> {
    match field {
        "api_key" => config.set_api_key(parsed(value)?),
        "webhook_key" => config.set_webhook_key(parsed(value)?),
        "phone_number" => config.set_phone_number(parsed(value)?),
        "integration_status" => config.set_integration_status(parsed(value)?),
        "webhook_config" => config.set_webhook_config(value.map(WebhookConfig::from_json).transpose()?),
        _ => config.set_agent(field.strip_suffix("_agent_id").unwrap_or_default(), parsed(value)?)?,
    }
    Ok(())
}

fn parsed<T: FromStr<Err = Error>>(value: Option<&str>) -> Result<Option<T>, Error> {
    value.map(str::parse).transpose()
}

/// Fails for a name that is no field. The name is not repeated, since it may be a secret in the wrong place.
fn require_field(field: &str) -> Result<(), Failure> {
    match assign(&mut RetellConfig::empty(), field, None) {
        Ok(()) => Ok(()),
        Err(_) => Err(Failure::usage("unknown field; its name may be a secret and is not printed", FIELDS)),
    }
}

/// Fails before anything is opened. JSON would pass for a key, with its quotes and braces.
fn check_value(field: &str, value: &str) -> Result<(), Failure> {
    if field != "webhook_config" && value.starts_with(['"', '{', '[']) {
        return Err(Failure::new(
            format!("{field}: the value is JSON, but the field takes plain text"),
            "pass the text without quotes, for example with `jq -r`",
        ));
    }
    assign(&mut RetellConfig::empty(), field, Some(value)).map_err(|error| match field {
        // its errors name it
        "webhook_config" => Failure::from(error),
        _ => Failure::from(error).about(field),
    })
}

fn report(
    global: &Global,
    done: &str,
    field: &str,
    owner: &Owner,
    stored: Result<Stored, Error>,
) -> Result<(), Failure> {
    let stored = stored.map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            Failure::from(error).with_hint("store a complete configuration first, with `retell-vault put`")
        }
        _ => Failure::from(error),
    })?;
    records::warn_of_stored(&stored);
    match global.json {
        true => print::json(&records::stored_json(&stored)),
        false => print::line(&format!("{done} {field} of {owner}, version {}", stored.version)),
    }
}
