//! The API for services that receive webhook calls of Retell: whose call is it, and is it genuine?

use std::time::Instant;

use crate::chain::entry::operation;
use crate::error::{Error, ErrorKind, Result};
use crate::record::credentials::Credentials;
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::version::Millis;
use crate::retell::config::{AGENT_INDEX, API_KEY, PHONE_INDEX, RetellConfig, WEBHOOK_KEY, signing_key};
use crate::retell::values::{AgentId, PhoneNumber, id_of};
use crate::store::actor::refuse_secrets_in_actor;
use crate::store::core::{Core, LoadedRecord};
use crate::store::find::{OwnerRecord, candidates, is_complete, load_if_has};
use crate::store::ledger_reads::{note_reads, noting_refusal};
use crate::store::load::load;
use crate::vault::Vault;
use crate::vault::answers::Loaded;
use crate::webhook::body::WebhookBody;
use crate::webhook::signature::Signature;

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
    fn field(self) -> Field {
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

/// How a webhook call is verified.
#[derive(Debug, Clone, Default)]
pub struct WebhookOptions {
    owner: Option<Owner>,
    at: Option<Millis>,
}

impl WebhookOptions {
    /// The owner is looked up, and the time is now.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only this owner's key may have signed it.
    pub fn of_owner(self, owner: Owner) -> Self {
        Self { owner: Some(owner), ..self }
    }

    /// As if it were this time, in milliseconds since 1970: for calls that were recorded.
    pub fn at(self, millis: u64) -> Self {
        Self { at: Some(millis), ..self }
    }
}

impl Vault<RetellConfig> {
    /// Verifies a webhook call, and finds its owner by the agent that the body names, or by the number of the account. `raw` is
    /// the body as it came, `header` the value of `X-Retell-Signature`.
    ///
    /// # Errors
    /// `NotIndexed` when the table has no index; `IndexIncomplete` when no owner's key verifies the call and the index is not
    /// complete; `Ambiguous` when several do; `Busy` when too many calls named unknown agents; else those of
    /// [`verify_webhook_with`](Self::verify_webhook_with).
    pub async fn verify_webhook(&self, raw: &[u8], header: &str) -> Result<Verified> {
        self.verify_webhook_with(raw, header, WebhookOptions::new()).await
    }

    /// Verifies a webhook call for an owner that is known beforehand, for example from the address that was called. It needs
    /// no index. Errors and security are those of [`verify_webhook_with`](Self::verify_webhook_with).
    pub async fn verify_webhook_for(&self, owner: &Owner, raw: &[u8], header: &str) -> Result<Verified> {
        self.verify_webhook_with(raw, header, WebhookOptions::new().of_owner(owner.clone())).await
    }

    /// Verifies a webhook call as the options say. `raw` is the body as it came, `header` the value of `X-Retell-Signature`.
    ///
    /// # Errors
    /// `InvalidInput` for a header or body that Retell does not send; `Expired`; `Unverified`, one answer for an unknown owner,
    /// an unknown agent and a wrong signature; those of [`load`](Self::load).
    ///
    /// # Security
    /// Nothing in the body is trusted before its signature is verified. The comparison takes constant time; the whole call does
    /// not, so it may show that an agent id is known. Retell keeps no list of deliveries: a call can be sent again for five
    /// minutes, so remember [`Verified::idempotency_key`].
    pub async fn verify_webhook_with(
        &self,
        raw: &[u8],
        header: &str,
        options: WebhookOptions,
    ) -> Result<Verified> {
        self.observed("verify_webhook", Box::pin(verify(&self.core, raw, header, options))).await
    }
}

/// A call that is not verified yet.
struct UnverifiedCall<'a> {
    raw: &'a [u8],
    signature: Signature<'a>,
    body: WebhookBody,
}

async fn verify(core: &Core, raw: &[u8], header: &str, options: WebhookOptions) -> Result<Verified> {
    WebhookBody::check_length(raw)?;
    let signature = Signature::parse(header)?;
    signature.check_time(options.at.unwrap_or_else(|| core.now()))?;
    let call = UnverifiedCall { raw, signature, body: WebhookBody::parse(raw)? };
    match options.owner {
        Some(owner) => call.verify_for(core, owner).await,
        None => call.verify_found(core).await,
    }
}

/// How many owners of an agent or number are tried.
const MOST_TRIED: u32 = 32;

/// What became of the owners of one agent or number.
enum Tried {
    Verified(Box<(Owner, SignedBy, RetellConfig)>),
    /// None of them signed it; whether that was all of them.
    Nobody {
        is_cut: bool,
    },
    Several,
    /// Too many look-ups found nobody.
    Refused,
}

impl UnverifiedCall<'_> {
    async fn verify_for(self, core: &Core, owner: Owner) -> Result<Verified> {
        let loaded = noting_refusal(core, operation::READ, &owner, load(core, &owner)).await;
        let config = config_of(loaded)?.ok_or(ErrorKind::Unverified)?;
        let key = self.signed_by(&config).ok_or(ErrorKind::Unverified)?;
        self.verified(core, owner, key, &config).await
    }

    /// Looks the owner up by the agent, then by the number.
    async fn verify_found(self, core: &Core) -> Result<Verified> {
        let (agent, number) = (self.body.agent_id(), self.body.phone_number());
        let agent = agent.as_ref().map(|agent| (AGENT_INDEX, id_of(agent)));
        let number = number.as_ref().map(|number| (PHONE_INDEX, number.as_str()));
        let named: Vec<_> = agent.into_iter().chain(number).collect();
        if !self.body.names_somebody() {
            return Err(names_nobody());
        }
        let (mut refused, mut was_found) = (None, false);
        for (kind, value) in named {
            match self.try_owners_of(core, kind, value).await {
                Ok(None) => {}
                // the other value may find an owner who was verified before
                Ok(Some(Tried::Refused)) => refused = refused.or_else(|| Some(too_many_unknown())),
                Ok(Some(Tried::Several)) => return Err(ErrorKind::Ambiguous.into()),
                Ok(Some(Tried::Nobody { is_cut })) => {
                    was_found = true;
                    refused = refused.or(is_cut.then(too_many));
                }
                Ok(Some(Tried::Verified(found))) => {
                    let (owner, key, config) = *found;
                    return self.verified(core, owner, key, &config).await;
                }
                // the index may lack the owner, or the other value finds them
                Err(error) if is_of_index(&error) => refused = refused.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        match refused {
            Some(error) => Err(error),
            None if was_found && !is_complete(core).await? => Err(ErrorKind::IndexIncomplete.into()),
            None => Err(ErrorKind::Unverified.into()),
        }
    }

    /// `None`: nobody has the value.
    async fn try_owners_of(&self, core: &Core, kind: &str, value: &str) -> Result<Option<Tried>> {
        let last = core.look_ups.last(value);
        let Some(permit) = core.look_ups.may_look_up(last.is_some(), Instant::now()) else {
            return Ok(Some(Tried::Refused));
        };
        let found = candidates(core, kind, value, MOST_TRIED + 1).await?;
        if found.owners.is_empty() {
            core.look_ups.forget(value);
            return Ok(None);
        }
        core.look_ups.found(permit);
        let mut tried = found.owners;
        if let Some(last) = last {
            last_first(core, &mut tried, last, kind, value).await?;
        }
        let is_cut = found.is_cut || tried.len() > MOST_TRIED as usize;
        Ok(Some(self.signers(core, tried, value, is_cut)))
    }

    fn signers(&self, core: &Core, tried: Vec<OwnerRecord>, value: &str, is_cut: bool) -> Tried {
        let mut signer = None;
        for OwnerRecord { owner, loaded } in tried.into_iter().take(MOST_TRIED as usize) {
            let Ok(Some(config)) = config_of(Ok(loaded)) else { continue };
            let Some(key) = self.signed_by(&config) else { continue };
            if signer.is_some() {
                return Tried::Several;
            }
            signer = Some(Box::new((owner, key, config)));
        }
        match signer {
            Some(signer) => {
                core.look_ups.remember(value, &signer.0);
                Tried::Verified(signer)
            }
            None => Tried::Nobody { is_cut },
        }
    }

    /// The owner's key that signed the call, if one did.
    fn signed_by(&self, config: &RetellConfig) -> Option<SignedBy> {
        let (key, is_for_webhooks) = signing_key(config)?;
        let by = if is_for_webhooks { SignedBy::WebhookKey } else { SignedBy::ApiKey };
        self.signature.is_of(self.raw, key).then_some(by)
    }

    /// The caller learns that the owner's key signed the call: that counts as a read of the key.
    async fn verified(
        self,
        core: &Core,
        owner: Owner,
        key: SignedBy,
        config: &RetellConfig,
    ) -> Result<Verified> {
        refuse_secrets_in_actor(&core.fields, &config.to_values())?;
        let not_noted = note_reads(core, vec![(&owner, vec![key.field()])]).await?;
        let (signed_at, is_wanted) = (self.signature.signed_at(), is_wanted(&self.body, config));
        let (agent_id, phone_number) = (self.body.agent_id(), self.body.phone_number());
        let WebhookBody { event, call_id, chat_id, .. } = self.body;
        Ok(Verified {
            owner,
            event,
            agent_id,
            phone_number,
            call_id,
            chat_id,
            signed_at,
            key,
            is_wanted,
            not_noted,
        })
    }
}

/// `None`: there is no record.
fn config_of(loaded: Result<LoadedRecord>) -> Result<Option<RetellConfig>> {
    match loaded.and_then(Loaded::<RetellConfig>::try_from) {
        Ok(loaded) => Ok(Some(loaded.config)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The owner who was verified last comes first, even if more owners have the value than were read. So nobody can crowd an owner
/// out by storing that owner's agent for many others.
async fn last_first(
    core: &Core,
    tried: &mut Vec<OwnerRecord>,
    last: Owner,
    kind: &str,
    value: &str,
) -> Result<()> {
    match tried.iter().position(|found| found.owner == last) {
        Some(at) => tried.swap(0, at),
        None => match load_if_has(core, &last, kind, value).await? {
            Some(loaded) => tried.insert(0, OwnerRecord { owner: last, loaded }),
            None => core.look_ups.forget(value),
        },
    }
    Ok(())
}

fn is_of_index(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotIndexed | ErrorKind::IndexIncomplete)
}

fn too_many() -> Error {
    let message = format!(
        "more than {MOST_TRIED} owners have the agent or number of the webhook, and none of those that were tried signed it"
    );
    Error::new(ErrorKind::Ambiguous, message)
}

fn too_many_unknown() -> Error {
    Error::new(ErrorKind::Busy, "too many webhook calls name agents or numbers that nobody has").with_hint(
        "answer 503: Retell sends the call again; limit the calls of each address before the service",
    )
}

fn names_nobody() -> Error {
    Error::new(ErrorKind::InvalidInput, "the body of the webhook names no agent and no number")
        .with_hint("put the owner into the address of the webhook, and verify the call for this owner")
}

fn is_wanted(body: &WebhookBody, config: &RetellConfig) -> bool {
    let Some(event) = body.event.as_deref().filter(|event| !WebhookBody::waits_for_answer(event)) else {
        return true;
    };
    let wanted = config.webhook_config().map_or(&[][..], |webhook| webhook.events());
    wanted.is_empty() || wanted.iter().any(|wanted| wanted == event)
}
