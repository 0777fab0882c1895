//! The named values of a configuration.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// One named value of a configuration.
///
/// The first four are secret: they are sealed wherever they are stored. The other three are stored
/// in the clear in a column made for them, and sealed anywhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// The Retell API key.
    ApiKey,
    /// The agent that handles calls.
    CallAgentId,
    /// The agent that handles text messages.
    SmsAgentId,
    /// The secret that webhook calls are signed with.
    WebhookSecret,
    /// The phone number.
    PhoneNumber,
    /// The webhook's address and events.
    WebhookConfig,
    /// How far the integration has come.
    IntegrationStatus,
}

impl Field {
    /// All fields, the secret ones first.
    pub const ALL: [Self; 7] = [
        Self::ApiKey,
        Self::CallAgentId,
        Self::SmsAgentId,
        Self::WebhookSecret,
        Self::PhoneNumber,
        Self::WebhookConfig,
        Self::IntegrationStatus,
    ];

    /// The fields that are sealed wherever they are. A record always holds all four.
    pub const SECRET: [Self; 4] = [Self::ApiKey, Self::CallAgentId, Self::SmsAgentId, Self::WebhookSecret];

    /// The fields that may lie in the clear in a column of their own.
    pub const PLAIN: [Self; 3] = [Self::PhoneNumber, Self::WebhookConfig, Self::IntegrationStatus];

    /// The name of the field in tokens, JSON and error messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::CallAgentId => "call_agent_id",
            Self::SmsAgentId => "sms_agent_id",
            Self::WebhookSecret => "webhook_secret",
            Self::PhoneNumber => "phone_number",
            Self::WebhookConfig => "webhook_config",
            Self::IntegrationStatus => "integration_status",
        }
    }

    /// Whether the field is sealed wherever it is.
    pub fn is_secret(self) -> bool {
        Self::SECRET.contains(&self)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Field {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|field| field.name() == name)
            .ok_or_else(|| Error::new(ErrorKind::Malformed, "a token of a field that does not exist"))
    }
}
