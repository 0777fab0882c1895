//! One owner's Retell configuration, in and out of JSON.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value, json};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, ErrorKind, Result};
use crate::record::fields::Field;
use crate::record::values::{AgentId, ApiKey, IntegrationStatus, PhoneNumber, WebhookConfig, WebhookSecret};

/// The longest JSON text of a configuration that is read, in bytes.
const MAX_JSON: usize = 64 * 1024;

/// One owner's Retell configuration. Only the API key is required; one that exists is valid.
///
/// ```
/// use retell_vault::RetellConfig;
///
/// let config = RetellConfig::new("key_test_0000000000000000".parse()?)
///     .call_agent_id("agent_test_call".parse()?)
///     .phone_number("+14155550100".parse()?);
/// assert_eq!(config.api_key().masked(), "key_…0000");
/// # Ok::<(), retell_vault::Error>(())
/// ```
///
/// # Security
/// `Debug` shows secrets masked. The secret values are wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct RetellConfig {
    pub(crate) api_key: ApiKey,
    pub(crate) call_agent_id: Option<AgentId>,
    pub(crate) sms_agent_id: Option<AgentId>,
    pub(crate) webhook_secret: Option<WebhookSecret>,
    pub(crate) phone_number: Option<PhoneNumber>,
    pub(crate) webhook_config: Option<WebhookConfig>,
    pub(crate) integration_status: Option<IntegrationStatus>,
}

impl RetellConfig {
    /// A configuration with nothing but its API key.
    pub fn new(api_key: ApiKey) -> Self {
        Self {
            api_key,
            call_agent_id: None,
            sms_agent_id: None,
            webhook_secret: None,
            phone_number: None,
            webhook_config: None,
            integration_status: None,
        }
    }

    /// With the agent that handles calls.
    pub fn call_agent_id(mut self, id: AgentId) -> Self {
        self.call_agent_id = Some(id);
        self
    }

    /// With the agent that handles text messages.
    pub fn sms_agent_id(mut self, id: AgentId) -> Self {
        self.sms_agent_id = Some(id);
        self
    }

    /// With the secret that webhook calls are signed with.
    pub fn webhook_secret(mut self, secret: WebhookSecret) -> Self {
        self.webhook_secret = Some(secret);
        self
    }

    /// With a phone number.
    pub fn phone_number(mut self, number: PhoneNumber) -> Self {
        self.phone_number = Some(number);
        self
    }

    /// With a webhook.
    pub fn webhook_config(mut self, webhook: WebhookConfig) -> Self {
        self.webhook_config = Some(webhook);
        self
    }

    /// With the status of the integration.
    pub fn integration_status(mut self, status: IntegrationStatus) -> Self {
        self.integration_status = Some(status);
        self
    }

    /// The API key.
    pub fn api_key(&self) -> &ApiKey {
        &self.api_key
    }

    /// The agent that handles calls.
    pub fn get_call_agent_id(&self) -> Option<&AgentId> {
        self.call_agent_id.as_ref()
    }

    /// The agent that handles text messages.
    pub fn get_sms_agent_id(&self) -> Option<&AgentId> {
        self.sms_agent_id.as_ref()
    }

    /// The secret that webhook calls are signed with.
    pub fn get_webhook_secret(&self) -> Option<&WebhookSecret> {
        self.webhook_secret.as_ref()
    }

    /// The phone number.
    pub fn get_phone_number(&self) -> Option<&PhoneNumber> {
        self.phone_number.as_ref()
    }

    /// The webhook's address and events.
    pub fn get_webhook_config(&self) -> Option<&WebhookConfig> {
        self.webhook_config.as_ref()
    }

    /// The status of the integration.
    pub fn get_integration_status(&self) -> Option<IntegrationStatus> {
        self.integration_status
    }

    /// Whether a field has a value.
    pub(crate) fn is_set(&self, field: Field) -> bool {
        match field {
            Field::ApiKey => true,
            Field::CallAgentId => self.call_agent_id.is_some(),
            Field::SmsAgentId => self.sms_agent_id.is_some(),
            Field::WebhookSecret => self.webhook_secret.is_some(),
            Field::PhoneNumber => self.phone_number.is_some(),
            Field::WebhookConfig => self.webhook_config.is_some(),
            Field::IntegrationStatus => self.integration_status.is_some(),
        }
    }

    /// A configuration from JSON of this shape, where only `api_key` is required and `null` means absent:
    /// `{"api_key", "call_agent_id", "sms_agent_id", "phone_number",
    /// "webhook_config": {"webhook_url", "events", "secret"}, "integration_status"}`.
    ///
    /// # Errors
    /// `InvalidInput`, which names the field, and never repeats a value.
    pub fn from_json(text: &str) -> Result<Self> {
        if text.len() > MAX_JSON {
            return Err(invalid("the configuration is longer than 64 KiB"));
        }
        if text.trim_start().starts_with('[') {
            return Err(invalid(
                "the configuration: a value of the wrong type, a list, where an object belongs",
            ));
        }
        let raw: RawConfig = serde_json::from_str(text).map_err(without_values)?;
        raw.check()
    }

    /// The configuration as JSON, in the shape that [`from_json`](Self::from_json) reads, with its secrets.
    ///
    /// # Security
    /// The text is wiped when dropped; copies of it are the caller's.
    pub fn to_json_exposed(&self) -> Zeroizing<String> {
        let mut value = self.to_value(&|exposed, _| exposed.to_owned());
        let mut text = Zeroizing::new(String::with_capacity(MAX_JSON / 8));
        text.push_str(&Zeroizing::new(value.to_string()));
        wipe(&mut value);
        text
    }

    /// The configuration as JSON with its secrets masked, like `key_…9f2a`.
    pub fn to_json_masked(&self) -> String {
        self.to_value(&|_, masked| masked.to_owned()).to_string()
    }

    /// `show` picks one of the exposed and the masked form.
    fn to_value(&self, show: &dyn Fn(&str, &str) -> String) -> Value {
        let mut object = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            value.and_then(|value| object.insert(name.to_owned(), value));
        };
        let agent = |id: &AgentId| Value::String(show(id.expose_secret(), &id.masked()));
        put("api_key", Some(show(self.api_key.expose_secret(), &self.api_key.masked()).into()));
        put("call_agent_id", self.call_agent_id.as_ref().map(agent));
        put("sms_agent_id", self.sms_agent_id.as_ref().map(agent));
        put("phone_number", self.phone_number.as_ref().map(|number| number.as_str().into()));
        put("webhook_config", self.webhook_value(show));
        put("integration_status", self.integration_status.map(|status| status.as_str().into()));
        Value::Object(object)
    }

    fn webhook_value(&self, show: &dyn Fn(&str, &str) -> String) -> Option<Value> {
        let mut object = self.webhook_config.as_ref().map(webhook_to_value);
        if let Some(secret) = &self.webhook_secret {
            let secret = show(secret.expose_secret(), &secret.masked());
            object.get_or_insert_with(|| json!({}))["secret"] = secret.into();
        }
        object
    }
}

impl fmt::Debug for RetellConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RetellConfig({})", self.to_json_masked())
    }
}

/// The plain part of a webhook: `{"webhook_url", "events"}`.
pub(crate) fn webhook_to_value(webhook: &WebhookConfig) -> Value {
    json!({ "webhook_url": webhook.url(), "events": webhook.events() })
}

/// The inverse of [`webhook_to_value`]; keys of other code are passed over.
pub(crate) fn webhook_from_value(value: &Value) -> Result<WebhookConfig> {
    let url = value.get("webhook_url").and_then(Value::as_str);
    let webhook = WebhookConfig::new(url.ok_or_else(|| invalid("webhook_url is missing"))?)?;
    match value.get("events") {
        None | Some(Value::Null) => Ok(webhook),
        Some(Value::Array(events)) => webhook.with_events(events.iter().filter_map(Value::as_str)),
        Some(_) => Err(invalid("events must be a list")),
    }
}

/// Overwrites every text in a JSON value.
pub(crate) fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(object) => object.values_mut().for_each(wipe),
        _ => {}
    }
}

/// The JSON shape before its values are checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default)]
    api_key: Option<Text>,
    #[serde(default)]
    call_agent_id: Option<Text>,
    #[serde(default)]
    sms_agent_id: Option<Text>,
    #[serde(default)]
    phone_number: Option<Text>,
    #[serde(default)]
    webhook_config: Option<RawWebhook>,
    #[serde(default)]
    integration_status: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWebhook {
    #[serde(default)]
    webhook_url: Option<Text>,
    #[serde(default)]
    events: Option<Vec<Text>>,
    #[serde(default)]
    secret: Option<Text>,
}

/// Text that is wiped when dropped.
struct Text(Zeroizing<String>);

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Zeroizing::new(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Text, E> {
                Ok(Text(Zeroizing::new(text)))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

impl RawConfig {
    fn check(self) -> Result<RetellConfig> {
        let api_key = self.api_key.as_ref().ok_or_else(|| invalid("api_key is missing"))?;
        let (webhook_config, webhook_secret) = match &self.webhook_config {
            Some(webhook) => (webhook.plain()?, parsed("webhook_config.secret", &webhook.secret)?),
            None => (None, None),
        };
        Ok(RetellConfig {
            api_key: api_key.as_ref().parse().map_err(|error: Error| error.about("api_key"))?,
            call_agent_id: parsed("call_agent_id", &self.call_agent_id)?,
            sms_agent_id: parsed("sms_agent_id", &self.sms_agent_id)?,
            webhook_secret,
            phone_number: parsed("phone_number", &self.phone_number)?,
            webhook_config,
            integration_status: parsed("integration_status", &self.integration_status)?,
        })
    }
}

impl RawWebhook {
    fn plain(&self) -> Result<Option<WebhookConfig>> {
        let Some(url) = &self.webhook_url else {
            return match (&self.events, &self.secret) {
                (None, Some(_)) => Ok(None),
                _ => Err(invalid("webhook_config: webhook_url is missing")),
            };
        };
        let webhook = WebhookConfig::new(url.as_ref()).and_then(|hook| match &self.events {
            Some(events) => hook.with_events(events),
            None => Ok(hook),
        });
        webhook.map(Some).map_err(|error| error.about("webhook_config"))
    }
}

fn parsed<T: std::str::FromStr<Err = Error>>(name: &str, text: &Option<Text>) -> Result<Option<T>> {
    let parsed = text.as_ref().map(|text| text.as_ref().parse::<T>()).transpose();
    parsed.map_err(|error| error.about(name))
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

/// Longer names in an error are left out: somebody may have put a secret where its name belongs.
const MAX_NAME_SHOWN: usize = 20;

/// serde_json repeats the value in errors about its type, so only texts that cannot hold one pass.
fn without_values(error: serde_json::Error) -> Error {
    let place = format!("line {} column {}", error.line(), error.column());
    let text = error.to_string();
    let names_a_field =
        ["unknown field", "duplicate field", "missing field"].iter().any(|start| text.starts_with(start));
    let is_short = text.split('`').nth(1).is_some_and(|name| name.len() <= MAX_NAME_SHOWN);
    let message = match error.classify() {
        Category::Data if names_a_field && is_short => format!("the configuration: {text}"),
        Category::Data if names_a_field => {
            format!("the configuration: unknown field with a long name at {place}")
        }
        Category::Data => format!("the configuration: a value of the wrong type at {place}"),
        Category::Eof => format!("the configuration is not complete JSON: it ends at {place}"),
        _ => format!("the configuration is not JSON, at {place}"),
    };
    invalid(&message).with_hint(
        "the shape is {\"api_key\", \"call_agent_id\", \"sms_agent_id\", \"phone_number\", \"webhook_config\": {\"webhook_url\", \"events\", \"secret\"}, \"integration_status\"}",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{"api_key":"key_test_canary_00000000","call_agent_id":"agent_test_call","phone_number":"+14155550100",
        "webhook_config":{"webhook_url":"https://example.com/hook","events":["call_ended","later"],"secret":"whsec_test_00000000"},
        "integration_status":"active","sms_agent_id":null}"#;

    #[test]
    fn json_goes_in_and_out() {
        let config = RetellConfig::from_json(FULL).unwrap();
        assert_eq!(RetellConfig::from_json(&config.to_json_exposed()).unwrap(), config);
        assert!(config.get_sms_agent_id().is_none());
        assert_eq!(config.get_webhook_secret().unwrap().expose_secret(), "whsec_test_00000000");
    }

    #[test]
    fn masked_json_and_debug_hide_secrets() {
        let config = RetellConfig::from_json(FULL).unwrap();
        for text in [config.to_json_masked(), format!("{config:?}")] {
            assert!(
                !text.contains("key_test_canary")
                    && !text.contains("whsec_test")
                    && !text.contains("agent_test_call"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_webhook_secret_without_an_address_is_not_lost() {
        let config = RetellConfig::from_json(
            r#"{"api_key":"key_test_0","webhook_config":{"secret":"whsec_test_00000000"}}"#,
        )
        .unwrap();
        assert!(config.get_webhook_config().is_none());
        assert_eq!(RetellConfig::from_json(&config.to_json_exposed()).unwrap(), config);
    }

    #[test]
    fn bad_json_names_the_field_and_never_the_value() {
        let canary = "key_test_canary_00000000";
        let bad = [
            (format!(r#"{{"api_key":["{canary}"]}}"#), "wrong type"),
            (r#"{"api_key":7415926535}"#.to_owned(), "wrong type"),
            (format!(r#"{{"api_key":"{canary}","apikey2":"{canary}"}}"#), "apikey2"),
            (format!(r#"{{"api_key":"key_test_0","{canary}":""}}"#), "long name"),
            (format!(r#"{{"api_key":"{canary}","api_key":"{canary}"}}"#), "duplicate field `api_key`"),
            (format!(r#"{{"api_key":"{canary} "}}"#), "api_key: must be"),
            (format!(r#"{{"api_key":"{canary}""#), "complete JSON"),
            (format!(r#""{canary}"#), "JSON"),
            (
                format!(r#"{{"api_key":"{canary}","phone_number":"4155550100"}}"#),
                "phone_number: must start with +",
            ),
            (
                format!(r#"{{"api_key":"{canary}","integration_status":"{canary}"}}"#),
                "integration_status: must be one of",
            ),
            (
                format!(r#"{{"api_key":"{canary}","webhook_config":{{"webhook_url":"http://a.example/"}}}}"#),
                "https",
            ),
            (
                format!(r#"{{"api_key":"{canary}","webhook_config":{{"events":[]}}}}"#),
                "webhook_url is missing",
            ),
            (r#"{}"#.to_owned(), "api_key is missing"),
            (r#"[]"#.to_owned(), "wrong type"),
            (" ".repeat(MAX_JSON + 1), "64 KiB"),
        ];
        for (json, expected) in bad {
            let error = RetellConfig::from_json(&json).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let text = format!("{error} {error:?} {}", error.hint());
            assert!(text.contains(expected), "{text} for {expected}");
            assert!(!text.contains(canary) && !text.contains("7415926535"), "{text}");
        }
    }
}
