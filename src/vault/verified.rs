//! A webhook call that was verified.

use crate::error::Error;
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::retell::config::{API_KEY, WEBHOOK_KEY};
use crate::retell::values::{AgentId, PhoneNumber};

/// A genuine webhook call, and whose it is. There is no way to get one but a verification.
///
/// The values are those that the verification read. Use them rather than those of a parser of your own, which may take a
/// different one where a body has a member twice.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Verified {
    /// The owner whose key signed the call.
    pub owner: Owner,
    /// The event, also one that this version does not know. `None` for a custom function.
    pub event: Option<String>,
    /// The agent that the body names.
    pub agent_id: Option<AgentId>,
    /// The number of the account that the body names: the one that was called, or the one that called out.
    pub phone_number: Option<PhoneNumber>,
    /// The call.
    pub call_id: Option<String>,
    /// The chat.
    pub chat_id: Option<String>,
    /// When Retell signed it, in milliseconds since 1970.
    pub signed_at: u64,
    /// The key that signed it.
    pub key: SignedBy,
    /// Whether the owner wants this event: their `webhook_config` lists it, or lists nothing. A call that waits for an answer
    /// (`call_inbound`, `chat_inbound`, a custom function) is always wanted.
    ///
    /// # Security
    /// `webhook_config` may lie in a plain column, which any role that can write the table can change.
    pub is_wanted: bool,
    /// Why the [ledger](crate::ledger) could not take this read of the key before it was served. Set only with
    /// [`IfNotNoted::ServeAndSay`](crate::ledger::IfNotNoted::ServeAndSay).
    pub not_noted: Option<Error>,
}

impl Verified {
    /// The owner, the id of the call or chat, and the event. Retell repeats a delivery that was not answered in time, so a service
    /// remembers this pair to handle an event once. `None` if the body has no id or no event, and for `transcript_updated`, which
    /// comes many times for one call.
    ///
    /// # Security
    /// The owner is part of it: another owner can name the same call in a call that their own key signs.
    pub fn idempotency_key(&self) -> Option<(&Owner, &str, &str)> {
        let id = self.call_id.as_deref().or(self.chat_id.as_deref());
        let event = self.event.as_deref().filter(|event| *event != "transcript_updated");
        Some((&self.owner, id?, event?))
    }
}

/// Which of an owner's keys signed a webhook call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignedBy {
    /// The key for webhook calls.
    WebhookKey,
    /// The API key, of an owner without a key for webhook calls.
    ApiKey,
}

impl SignedBy {
    pub(super) fn field(self) -> Field {
        match self {
            Self::WebhookKey => WEBHOOK_KEY,
            Self::ApiKey => API_KEY,
        }
    }

    /// `webhook_key` or `api_key`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebhookKey => "webhook_key",
            Self::ApiKey => "api_key",
        }
    }
}
