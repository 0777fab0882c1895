//! One owner's Retell configuration: the typed form of its values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::record::credentials::Credentials;
use crate::record::field::{Field, FieldSpec, Fields, MAX_FIELDS};
use crate::record::values::{Values, not_a_value};
use crate::retell::values::{
    AgentId, ApiKey, ExtraSecret, IntegrationStatus, MAX_AGENT_ID, MAX_EVENT, MAX_EVENTS, MAX_URL,
    PhoneNumber, WebhookConfig, WebhookKey, mask,
};

pub(crate) const API_KEY: Field = Field::named("api_key");
pub(crate) const CALL_AGENT_ID: Field = Field::named("call_agent_id");
pub(crate) const SMS_AGENT_ID: Field = Field::named("sms_agent_id");
pub(crate) const WEBHOOK_KEY: Field = Field::named("webhook_key");
pub(crate) const PHONE_NUMBER: Field = Field::named("phone_number");
pub(crate) const WEBHOOK_CONFIG: Field = Field::named("webhook_config");
pub(crate) const INTEGRATION_STATUS: Field = Field::named("integration_status");
/// The kinds of values by which an owner is found.
pub(crate) const AGENT_INDEX: &str = "agent";
pub(crate) const PHONE_INDEX: &str = "phone";
/// The field of an agent is its role and this.
pub(crate) const AGENT: &str = "_agent_id";

/// One owner's Retell configuration. Every field is optional, but a store needs at least one secret field.
///
/// ```
/// use retell_vault::RetellConfig;
///
/// let config = RetellConfig::new("key_test_0000000000000000".parse()?)
///     .with_call_agent_id("agent_test_call".parse()?)
///     .with_agent("inbound", "agent_test_inbound".parse()?)?
///     .with_phone_number("+14155550100".parse()?);
/// assert_eq!(config.api_key().unwrap().masked(), "key_…0000");
/// # Ok::<(), retell_vault::Error>(())
/// ```
///
/// # Security
/// `Debug` shows secrets masked. The secret values are wiped from memory when dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RetellConfig {
    api_key: Option<ApiKey>,
    agents: BTreeMap<Field, AgentId>,
    webhook_key: Option<WebhookKey>,
    phone_number: Option<PhoneNumber>,
    webhook_config: Option<WebhookConfig>,
    integration_status: Option<IntegrationStatus>,
    extra: BTreeMap<Field, ExtraSecret>,
}

impl RetellConfig {
    /// A configuration with an API key and nothing else.
    pub fn new(api_key: ApiKey) -> Self {
        Self::empty().with_api_key(api_key)
    }

    /// A configuration with nothing set. A store refuses it until a secret field is set.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The API key.
    pub fn api_key(&self) -> Option<&ApiKey> {
        self.api_key.as_ref()
    }

    /// Sets or clears the API key.
    pub fn set_api_key(&mut self, key: Option<ApiKey>) {
        self.api_key = key;
    }

    /// The same configuration with this API key.
    pub fn with_api_key(self, key: ApiKey) -> Self {
        Self { api_key: Some(key), ..self }
    }

    /// The agent that handles calls. Its role is `call`.
    pub fn call_agent_id(&self) -> Option<&AgentId> {
        self.agents.get(&CALL_AGENT_ID)
    }

    /// Sets or clears the agent that handles calls.
    pub fn set_call_agent_id(&mut self, id: Option<AgentId>) {
        put(&mut self.agents, CALL_AGENT_ID, id);
    }

    /// The same configuration with this agent for calls.
    pub fn with_call_agent_id(mut self, id: AgentId) -> Self {
        self.set_call_agent_id(Some(id));
        self
    }

    /// The agent that handles text messages. Its role is `sms`.
    pub fn sms_agent_id(&self) -> Option<&AgentId> {
        self.agents.get(&SMS_AGENT_ID)
    }

    /// Sets or clears the agent that handles text messages.
    pub fn set_sms_agent_id(&mut self, id: Option<AgentId>) {
        put(&mut self.agents, SMS_AGENT_ID, id);
    }

    /// The same configuration with this agent for text messages.
    pub fn with_sms_agent_id(mut self, id: AgentId) -> Self {
        self.set_sms_agent_id(Some(id));
        self
    }

    /// The agent of a role. The role `inbound` is the field `inbound_agent_id`.
    pub fn agent(&self, role: &str) -> Option<&AgentId> {
        self.agents.get(&agent_field(role).ok()?)
    }

    /// Sets or clears the agent of a role.
    ///
    /// # Errors
    /// `InvalidInput` when `<role>_agent_id` is not a field name. On error nothing is changed.
    pub fn set_agent(&mut self, role: &str, id: Option<AgentId>) -> Result<()> {
        put(&mut self.agents, agent_field(role)?, id);
        Ok(())
    }

    /// The same configuration with this agent for a role. Errors are those of [`set_agent`](Self::set_agent).
    pub fn with_agent(mut self, role: &str, id: AgentId) -> Result<Self> {
        self.set_agent(role, Some(id))?;
        Ok(self)
    }

    /// Every agent with its role, `call` and `sms` included, in the order of the roles' fields.
    pub fn agents(&self) -> impl Iterator<Item = (&str, &AgentId)> {
        self.agents.iter().map(|(field, id)| (short_name(field), id))
    }

    /// The key that Retell signs webhook calls with: the API key that has the webhook badge, if that is not
    /// [`api_key`](Self::api_key). Retell has no webhook secret apart from its API keys.
    pub fn webhook_key(&self) -> Option<&WebhookKey> {
        self.webhook_key.as_ref()
    }

    /// Sets or clears the key that webhook calls are signed with.
    pub fn set_webhook_key(&mut self, key: Option<WebhookKey>) {
        self.webhook_key = key;
    }

    /// The same configuration with this key for webhook calls.
    pub fn with_webhook_key(self, key: WebhookKey) -> Self {
        Self { webhook_key: Some(key), ..self }
    }

    /// The phone number.
    pub fn phone_number(&self) -> Option<&PhoneNumber> {
        self.phone_number.as_ref()
    }

    /// Sets or clears the phone number.
    pub fn set_phone_number(&mut self, number: Option<PhoneNumber>) {
        self.phone_number = number;
    }

    /// The same configuration with this phone number.
    pub fn with_phone_number(self, number: PhoneNumber) -> Self {
        Self { phone_number: Some(number), ..self }
    }

    /// The webhook's address and events.
    pub fn webhook_config(&self) -> Option<&WebhookConfig> {
        self.webhook_config.as_ref()
    }

    /// Sets or clears the webhook's address and events.
    pub fn set_webhook_config(&mut self, webhook: Option<WebhookConfig>) {
        self.webhook_config = webhook;
    }

    /// The same configuration with this webhook.
    pub fn with_webhook_config(self, webhook: WebhookConfig) -> Self {
        Self { webhook_config: Some(webhook), ..self }
    }

    /// The status of the integration.
    pub fn integration_status(&self) -> Option<IntegrationStatus> {
        self.integration_status
    }

    /// Sets or clears the status of the integration.
    pub fn set_integration_status(&mut self, status: Option<IntegrationStatus>) {
        self.integration_status = status;
    }

    /// The same configuration with this status.
    pub fn with_integration_status(self, status: IntegrationStatus) -> Self {
        Self { integration_status: Some(status), ..self }
    }

    /// The value of an extra field.
    pub fn extra(&self, name: &str) -> Option<&ExtraSecret> {
        self.extra.get(&extra_field(name).ok()?)
    }

    /// Sets or clears an extra field. A store needs a layout that declares it with [`Layout::extra_secret`](crate::Layout::extra_secret).
    ///
    /// # Errors
    /// `InvalidInput` for a name that is not valid or has another meaning. On error nothing is changed.
    pub fn set_extra(&mut self, name: &str, secret: Option<ExtraSecret>) -> Result<()> {
        put(&mut self.extra, extra_field(name)?, secret);
        Ok(())
    }

    /// The same configuration with this extra field. Errors are those of [`set_extra`](Self::set_extra).
    pub fn with_extra(mut self, name: &str, secret: ExtraSecret) -> Result<Self> {
        self.set_extra(name, Some(secret))?;
        Ok(self)
    }

    /// Every extra field with its name, in the order of the names.
    pub fn extras(&self) -> impl Iterator<Item = (&str, &ExtraSecret)> {
        self.extra.iter().map(|(field, secret)| (field.name(), secret))
    }

    /// # Errors
    /// `InvalidInput` when no secret field is set, or more than 64 fields are.
    pub(crate) fn check(&self) -> Result<()> {
        let (values, table) = (self.masked_values(), table());
        if values.fields().all(|field| table.is_plain(field)) {
            let message =
                "the configuration has no secret field: set api_key, an agent id or another secret field";
            return Err(invalid(message, "to remove a stored configuration, delete it"));
        }
        if values.fields().count() > MAX_FIELDS {
            let message = format!("the configuration has more than {MAX_FIELDS} fields");
            return Err(invalid(message, "leave some of them out"));
        }
        Ok(())
    }

    /// Its values, with every secret in the form that `show` gives it.
    fn shown(&self, show: fn(&str) -> Cow<'_, str>) -> Values {
        let mut values = Values::new();
        let mut put = |field, secret: &str| values.put_text(field, Some(&show(secret)));
        self.api_key.iter().for_each(|key| put(API_KEY, key.expose_secret()));
        self.agents.iter().for_each(|(field, id)| put(*field, id.expose_secret()));
        self.webhook_key.iter().for_each(|key| put(WEBHOOK_KEY, key.expose_secret()));
        self.extra.iter().for_each(|(field, secret)| put(*field, secret.expose_secret()));
        values.put_text(PHONE_NUMBER, self.phone_number.as_ref().map(PhoneNumber::as_str));
        values.put(WEBHOOK_CONFIG, self.webhook_config.as_ref().map(WebhookConfig::to_stored));
        values.put_text(INTEGRATION_STATUS, self.integration_status.map(IntegrationStatus::as_str));
        values
    }

    /// Sets a field. `None`: there is no such field, or it cannot hold this value.
    fn put_json(&mut self, field: Field, json: &str) -> Option<()> {
        match field {
            API_KEY => self.api_key = Some(text_of(json)?),
            WEBHOOK_KEY => self.webhook_key = Some(text_of(json)?),
            PHONE_NUMBER => self.phone_number = Some(text_of(json)?),
            INTEGRATION_STATUS => self.integration_status = Some(text_of(json)?),
            WEBHOOK_CONFIG => self.webhook_config = Some(WebhookConfig::from_stored(json).ok()?),
            _ if field.name().ends_with(AGENT) => put(&mut self.agents, field, Some(text_of(json)?)),
            _ => put(&mut self.extra, extra_field(field.name()).ok()?, Some(text_of(json)?)),
        }
        Some(())
    }

    /// Its values with every secret masked.
    pub(crate) fn masked_values(&self) -> Values {
        self.shown(|secret| Cow::Owned(mask(secret)))
    }
}

/// The key that signs an owner's webhook calls, and whether it is the one for them.
pub(crate) fn signing_key(config: &RetellConfig) -> Option<(&str, bool)> {
    let own = config.webhook_key().map(|key| (key.expose_secret(), true));
    own.or_else(|| config.api_key().map(|key| (key.expose_secret(), false)))
}

/// The agents of all roles are of one kind: a webhook names the agent, but not its role.
const fn agent(spec: FieldSpec) -> FieldSpec {
    spec.longest(MAX_AGENT_ID + 2).indexed_as(AGENT_INDEX)
}

impl Credentials for RetellConfig {
    const NAMESPACE: &'static str = "retell";

    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::secret("api_key").column("encrypted_retell_api_key"),
        agent(FieldSpec::secret("call_agent_id").column("encrypted_call_agent_id")),
        agent(FieldSpec::secret("sms_agent_id").column("encrypted_sms_agent_id")),
        FieldSpec::secret("webhook_key"),
        agent(FieldSpec::secrets_ending(AGENT)),
        FieldSpec::plain("phone_number")
            .column("phone_number")
            .by_consent()
            .longest(18)
            .indexed_as(PHONE_INDEX)
            .checked_by(is_text_of::<PhoneNumber>),
        FieldSpec::plain("webhook_config")
            .column("webhook_config")
            .object()
            .by_consent()
            .longest(2 * MAX_URL + MAX_EVENTS * (MAX_EVENT + 3) + 64)
            .checked_by(is_webhook),
        FieldSpec::plain("integration_status")
            .column("retell_integration_status")
            .one_of(&IntegrationStatus::WORDS)
            .unset_as("not_configured")
            .longest(16)
            .checked_by(is_text_of::<IntegrationStatus>),
    ];

    fn to_values(&self) -> Values {
        self.shown(|secret| Cow::Borrowed(secret)).checked()
    }

    fn from_values(values: Values) -> Result<Self> {
        let mut config = Self::empty();
        for (field, json) in values.into_texts() {
            config.put_json(field, &json).ok_or_else(|| not_a_value(field))?;
        }
        Ok(config)
    }
}

impl fmt::Debug for RetellConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RetellConfig");
        for (field, json) in self.masked_values().iter() {
            shown.field(field.name(), &format_args!("{json}"));
        }
        shown.finish()
    }
}

/// # Errors
/// `InvalidInput`, which does not repeat the role: it could be a secret in the wrong place.
pub(crate) fn agent_field(role: &str) -> Result<Field> {
    let name = Zeroizing::new([role, AGENT].concat());
    let message = "the role of an agent must be a lower-case letter and up to 30 of a-z 0-9 _";
    name.parse().map_err(|_| invalid(message, "the role inbound is the field inbound_agent_id"))
}

/// The name of an extra field.
///
/// # Errors
/// `InvalidInput`, which repeats no names but the vault's own.
pub(crate) fn extra_field(name: &str) -> Result<Field> {
    let field: Field = name.parse()?;
    // the last three are members of the JSON form
    if table().knows(field) || matches!(name, "agents" | "extra" | "webhook_secret") {
        let name = if name.ends_with(AGENT) { "a name that ends with _agent_id" } else { name };
        let message = format!("{name} cannot be an extra field because the name is reserved");
        return Err(invalid(
            message,
            "set the field itself, set an agent by its role, or choose another name",
        ));
    }
    Ok(field)
}

/// Every field but the extra ones.
pub(crate) fn table() -> Fields {
    Fields::new(RetellConfig::NAMESPACE, RetellConfig::FIELDS)
}

/// An agent's role, or the name of another field.
pub(crate) fn short_name(field: &Field) -> &str {
    field.name().strip_suffix(AGENT).unwrap_or(field.name())
}

fn put<T>(map: &mut BTreeMap<Field, T>, field: Field, value: Option<T>) {
    map.remove(&field);
    map.extend(value.map(|value| (field, value)));
}

fn text_of<T: FromStr>(json: &str) -> Option<T> {
    match json.contains('\\') {
        false => serde_json::from_str::<&str>(json).ok()?.parse().ok(),
        true => serde_json::from_str::<Zeroizing<String>>(json).ok()?.parse().ok(),
    }
}

fn is_text_of<T: FromStr>(json: &str) -> bool {
    text_of::<T>(json).is_some()
}

fn is_webhook(json: &str) -> bool {
    WebhookConfig::from_stored(json).is_ok()
}

fn invalid(message: impl Into<String>, hint: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, message).with_hint(hint)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
