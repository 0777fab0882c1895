//! The values of a Retell configuration. Parsing is validation: a value that exists is valid.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::record::values::quoted;

/// Retell promises no length; its keys are far shorter. Source: the official SDKs.
const MAX_SECRET: usize = 256;
const MAX_EXTRA: usize = 1_024;
pub(crate) const MAX_AGENT_ID: usize = 64;
pub(crate) const MAX_URL: usize = 2_048;
pub(crate) const MAX_EVENTS: usize = 64;
pub(crate) const MAX_EVENT: usize = 64;

/// A Retell API key: 1 to 256 printable ASCII characters without spaces.
///
/// # Security
/// Wiped from memory when dropped. `Debug` shows only the masked form.
#[derive(Clone)]
pub struct ApiKey(SecretString);

/// The id of a Retell agent: 1 to 64 of `A-Z a-z 0-9 _ -`. Usually starts with `agent_`.
///
/// # Security
/// Kept like a secret: it and any key of the workspace are enough to make calls as that agent. Wiped from memory
/// when dropped. `Debug` shows only the masked form.
#[derive(Clone)]
pub struct AgentId(SecretString);

/// The API key that Retell signs webhook calls with (the one with the webhook badge), if the service calls Retell with
/// another one: 1 to 256 printable ASCII characters without spaces.
///
/// # Security
/// Wiped from memory when dropped. `Debug` shows only the masked form.
#[derive(Clone)]
pub struct WebhookKey(SecretString);

/// The value of an extra field: 1 to 1,024 printable ASCII characters, spaces allowed.
///
/// # Security
/// Wiped from memory when dropped. `Debug` shows only the masked form.
#[derive(Clone)]
pub struct ExtraSecret(SecretString);

macro_rules! secret_value {
    ($type:ident, $valid:path, $expected:literal) => {
        impl $type {
            /// The value itself.
            ///
            /// # Security
            /// The caller decides where it goes from here: keep it out of logs.
            pub fn expose_secret(&self) -> &str {
                self.0.expose_secret()
            }

            /// A form to show to people: the prefix and the last four characters, or less.
            pub fn masked(&self) -> String {
                mask(self.0.expose_secret())
            }
        }

        impl FromStr for $type {
            type Err = Error;

            /// # Errors
            /// `InvalidInput`, which never repeats the value.
            fn from_str(text: &str) -> Result<Self> {
                match $valid(text) {
                    true => Ok(Self(SecretString::from(text))),
                    false => Err(invalid(concat!("must be ", $expected))),
                }
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($type), self.masked())
            }
        }

        impl PartialEq for $type {
            /// In constant time for values of equal length.
            fn eq(&self, other: &Self) -> bool {
                use subtle::ConstantTimeEq;
                self.expose_secret().as_bytes().ct_eq(other.expose_secret().as_bytes()).into()
            }
        }

        impl Eq for $type {}
    };
}

secret_value!(ApiKey, is_secret_text, "1 to 256 printable ASCII characters without spaces");
secret_value!(AgentId, is_agent_id, "1 to 64 of the characters A-Z a-z 0-9 _ -");
secret_value!(WebhookKey, is_secret_text, "1 to 256 printable ASCII characters without spaces");
secret_value!(ExtraSecret, is_extra, "1 to 1024 printable ASCII characters");

fn is_secret_text(text: &str) -> bool {
    (1..=MAX_SECRET).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_extra(text: &str) -> bool {
    (1..=MAX_EXTRA).contains(&text.len()) && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

fn is_agent_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=MAX_AGENT_ID).contains(&text.len()) && text.bytes().all(allowed)
}

/// The text by which the index finds an agent.
pub(crate) fn id_of(agent: &AgentId) -> &str {
    agent.expose_secret()
}

/// `key_0123456789abcdef` becomes `key_…cdef`. At least eight characters stay hidden.
pub(crate) fn mask(secret: &str) -> String {
    let prefix = secret.find('_').map_or(0, |at| at + 1);
    let prefix = if prefix <= 6 { prefix } else { 0 };
    match secret.len() >= prefix + 12 {
        true => format!("{}…{}", &secret[..prefix], &secret[secret.len() - 4..]),
        false => "…".to_owned(),
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

/// A phone number in E.164 form: `+`, then 7 to 15 digits, the first not zero (ITU-T E.164).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// The number, with its `+`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PhoneNumber {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some(digits) = text.strip_prefix('+') else {
            return Err(invalid("must start with + and the country code")
                .with_hint("write it in E.164 form, like +14155550100"));
        };
        let valid = (7..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        match valid {
            true => Ok(Self(text.to_owned())),
            false => Err(invalid("must be + and 7 to 15 digits, the first not zero")
                .with_hint("write it in E.164 form, like +14155550100")),
        }
    }
}

/// Where Retell sends events, and which ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    url: Url,
    events: Vec<String>,
}

impl WebhookConfig {
    /// A webhook at `url`: https, at most 2,048 characters, no user name or password in it.
    ///
    /// # Errors
    /// `InvalidInput` that does not repeat the address, which may hold a token.
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self { url: parse_webhook_url(url)?, events: Vec::new() })
    }

    /// The events to send, at most 64 different names of `A-Z a-z 0-9 _ . -`, each up to 64 characters.
    /// Names that this version does not know are kept. Without events, Retell's default applies.
    ///
    /// # Errors
    /// `InvalidInput` for any other name, or more than 64.
    pub fn with_events<S: AsRef<str>>(mut self, events: impl IntoIterator<Item = S>) -> Result<Self> {
        self.events.clear();
        for event in events {
            self.add_event(event.as_ref())?;
        }
        Ok(self)
    }

    fn add_event(&mut self, event: &str) -> Result<()> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if !(1..=MAX_EVENT).contains(&event.len()) || !event.bytes().all(allowed) {
            return Err(
                invalid("an event must be 1 to 64 of the characters A-Z a-z 0-9 _ . -").about("events")
            );
        }
        if self.events.len() == MAX_EVENTS {
            return Err(invalid("at most 64 events").about("events"));
        }
        if !self.events.iter().any(|known| known == event) {
            self.events.push(event.to_owned());
        }
        Ok(())
    }

    /// The address.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The events, in the order given, each once.
    pub fn events(&self) -> &[String] {
        &self.events
    }

    /// The plain part of a webhook: `{"events", "webhook_url"}`, as `Values::put_json` prints it.
    pub(crate) fn to_stored(&self) -> Zeroizing<String> {
        // names of events hold nothing that JSON escapes
        let mut json = Zeroizing::new(String::with_capacity(self.url().len() + 64));
        json.push_str("{\"events\":[");
        for (at, event) in self.events.iter().enumerate() {
            json.push_str(if at > 0 { ",\"" } else { "\"" });
            json.push_str(event);
            json.push('"');
        }
        json.push_str("],\"webhook_url\":");
        json.push_str(&quoted(self.url()));
        json.push('}');
        json
    }

    /// The inverse of [`to_stored`](Self::to_stored). Members of other code are skipped.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub(crate) fn from_stored(json: &str) -> Result<Self> {
        // our own output takes the fast path; the slow path reports what is wrong with other text, or skips it
        if let Ok(WebhookJson { webhook_url, events }) = serde_json::from_str(json) {
            return Self::new(&webhook_url)?.with_events(events);
        }
        let value: Value = serde_json::from_str(json).map_err(|_| invalid("is not JSON"))?;
        Self::from_value(&value)
    }

    fn from_value(value: &Value) -> Result<Self> {
        let shape = |message: &str| invalid(message).with_hint("the shape is {\"webhook_url\", \"events\"}");
        let url = value.get("webhook_url").and_then(Value::as_str);
        let webhook = Self::new(url.ok_or_else(|| shape("webhook_url is missing"))?)?;
        match value.get("events") {
            None | Some(Value::Null) => Ok(webhook),
            Some(Value::Array(events)) => webhook.with_events(events.iter().filter_map(Value::as_str)),
            Some(_) => Err(shape("events must be a list")),
        }
    }
}

/// The JSON of a webhook as we print it.
#[derive(Deserialize)]
struct WebhookJson<'a> {
    #[serde(borrow)]
    webhook_url: Cow<'a, str>,
    events: Vec<String>,
}

fn parse_webhook_url(text: &str) -> Result<Url> {
    let field = "webhook_url";
    if text.len() > MAX_URL || text.chars().any(char::is_control) {
        return Err(invalid("must be at most 2048 characters, none of them control characters").about(field));
    }
    let url = Url::parse(text).map_err(|_| invalid("is not a URL").about(field))?;
    if url.scheme() != "https" || url.host_str().is_none() {
        return Err(invalid("must be an https address")
            .about(field)
            .with_hint("events carry personal data: give an https:// address"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("must not hold a user name or password")
            .about(field)
            .with_hint("this field is stored in the clear: put the key into webhook_key"));
    }
    if url.as_str().len() > MAX_URL {
        return Err(invalid("must be at most 2048 characters when encoded").about(field));
    }
    Ok(url)
}

/// The progress of an owner's integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IntegrationStatus {
    /// Nothing is set up.
    NotConfigured,
    /// Credentials are stored.
    Configured,
    /// Calls are being made.
    Active,
    /// The last attempt failed.
    Error,
    /// It was switched off.
    Disabled,
}

impl IntegrationStatus {
    /// The words that are stored, in the order of the variants.
    pub(crate) const WORDS: [&str; 5] = ["not_configured", "configured", "active", "error", "disabled"];
    pub(crate) const ALL: [Self; 5] =
        [Self::NotConfigured, Self::Configured, Self::Active, Self::Error, Self::Disabled];

    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

impl FromStr for IntegrationStatus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| invalid("must be one of not_configured, configured, active, error, disabled"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_hide_at_least_eight_characters() {
        assert_eq!(mask("key_test_00000000009f2a"), "key_…9f2a");
        assert_eq!(mask("0123456789ab"), "…89ab");
        assert_eq!(mask("key_short"), "…");
        assert_eq!(mask("verylongprefix_00000000"), "…0000");
    }

    #[test]
    fn debug_of_a_secret_is_masked() {
        let canary = "key_test_canary_00000000";
        assert_eq!(format!("{:?}", canary.parse::<ApiKey>().unwrap()), "ApiKey(key_…0000)");
        assert_eq!(format!("{:?}", canary.parse::<AgentId>().unwrap()), "AgentId(key_…0000)");
        assert_eq!(format!("{:?}", canary.parse::<WebhookKey>().unwrap()), "WebhookKey(key_…0000)");
        assert_eq!(format!("{:?}", canary.parse::<ExtraSecret>().unwrap()), "ExtraSecret(key_…0000)");
    }

    /// All of them are refused, with an error that does not repeat them.
    fn refused<T: FromStr<Err = Error>>(texts: &[&str]) {
        for text in texts {
            let error = text.parse::<T>().err().unwrap_or_else(|| panic!("{text:?} is refused"));
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let shown = format!("{error:?}");
            assert!(text.is_empty() || !shown.contains(text), "{shown}");
        }
    }

    #[test]
    fn secrets_refuse_what_is_not_printable_ascii_and_do_not_repeat_it() {
        let bad = ["", "key test", "key\0", "key\n", "schlüssel", &"k".repeat(257)];
        refused::<ApiKey>(&bad);
        refused::<WebhookKey>(&bad);
        refused::<AgentId>(&["", "agent test", "agent.test", "ägent", &"a".repeat(65)]);
        refused::<ExtraSecret>(&["", "voice\tkey", "voice\n", "stimmschlüssel", &"v".repeat(1_025)]);
        assert!("k".repeat(256).parse::<ApiKey>().is_ok() && "k".repeat(256).parse::<WebhookKey>().is_ok());
        assert!("a".repeat(64).parse::<AgentId>().is_ok());
        assert!("v".repeat(1_024).parse::<ExtraSecret>().is_ok() && " a b ".parse::<ExtraSecret>().is_ok());
    }

    #[test]
    fn every_status_has_its_word() {
        for (status, word) in IntegrationStatus::ALL.into_iter().zip(IntegrationStatus::WORDS) {
            assert_eq!(status.as_str(), word);
            assert_eq!(word.parse::<IntegrationStatus>().unwrap(), status);
        }
        refused::<IntegrationStatus>(&["", "Active", "enabled"]);
    }

    #[test]
    fn phone_numbers_are_e164() {
        assert!("+14155550100".parse::<PhoneNumber>().is_ok());
        for bad in ["14155550100", "+", "+0123456789", "+1415555010a", "+1234567890123456", "+123456"] {
            assert!(bad.parse::<PhoneNumber>().is_err(), "{bad}");
        }
    }

    #[test]
    fn webhooks_are_https_without_credentials_and_keep_unknown_events() {
        for bad in ["http://example.com", "https://", "example.com", "https://u:p@example.com", "ftp://a/"] {
            assert!(WebhookConfig::new(bad).is_err(), "{bad}");
        }
        let hook = WebhookConfig::new("https://example.com/hook").unwrap();
        let hook = hook.with_events(["call_ended", "from_the_future", "call_ended"]).unwrap();
        assert_eq!(hook.events(), ["call_ended", "from_the_future"]);
    }
}
