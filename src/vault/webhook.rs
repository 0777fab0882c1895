//! The API for services that receive webhook calls of Retell: whose call is it, and is it genuine?

use std::time::Instant;

use crate::chain::entry::operation;
use crate::error::{Error, ErrorKind, Result};
use crate::record::credentials::Credentials;
use crate::record::owner::Owner;
use crate::record::version::Millis;
use crate::retell::config::{AGENT_INDEX, PHONE_INDEX, RetellConfig, signing_key};
use crate::retell::values::id_of;
use crate::store::actor::refuse_secrets_in_actor;
use crate::store::core::{Core, LoadedRecord};
use crate::store::find::{Candidates, OwnerRecord, candidates, is_complete, load_if_has};
use crate::store::ledger_reads::{note_reads, noting_refusal};
use crate::store::load::load;
use crate::vault::Vault;
use crate::vault::answers::Loaded;
use crate::vault::verified::{SignedBy, Verified};
use crate::webhook::body::WebhookBody;
use crate::webhook::signature::Signature;

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
/// How many of them are tried after too many calls that none of them had signed. A call then costs little more than a genuine
/// one. Few agents have more owners, so this refuses few genuine calls.
const FEW_TRIED: u32 = 4;

/// What became of the owners of one agent or number.
enum Tried {
    Verified(Box<(Owner, SignedBy, RetellConfig)>),
    /// None of them signed it; whether that was all of them.
    Nobody {
        is_cut: bool,
    },
    Several,
    /// Too many other calls: only a few of them were tried, or none was looked up.
    Refused(Error),
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
                Ok(Some(Tried::Refused(error))) => refused = refused.or(Some(error)),
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
        let is_known = core.look_ups.last(value).is_some();
        let Some(permit) = core.look_ups.may_look_up(is_known, Instant::now()) else {
            return Ok(Some(Tried::Refused(too_many_unknown())));
        };
        let most = if core.look_ups.may_try_many(Instant::now()) { MOST_TRIED } else { FEW_TRIED };
        let found = match candidates(core, kind, value, most + 1).await {
            Ok(found) => found,
            Err(error) => {
                // an outage is no miss. A busy database is one, or the look-ups would keep it busy
                if !matches!(error.kind(), ErrorKind::IndexIncomplete | ErrorKind::Busy) {
                    core.look_ups.give_back(permit);
                }
                return Err(error);
            }
        };
        if found.owners.is_empty() && (most == MOST_TRIED || !found.is_cut) {
            core.look_ups.forget(value);
            return Ok(None);
        }
        core.look_ups.give_back(permit);
        let (mut tried, is_cut) = self.try_found(core, found, (kind, value), most).await?;
        if most < MOST_TRIED && is_cut {
            tried = match tried {
                Tried::Nobody { .. } => Tried::Refused(too_many_wrong()),
                // the call is signed with an owner's key, which another owner may have too
                Tried::Verified(_) => {
                    let found = candidates(core, kind, value, MOST_TRIED + 1).await?;
                    self.try_found(core, found, (kind, value), MOST_TRIED).await?.0
                }
                other => other,
            };
        }
        if let Tried::Verified(found) = &tried {
            core.look_ups.remember(value, &found.0);
        }
        Ok(Some(tried))
    }

    /// Tries at most so many owners. Returns whether there are more.
    async fn try_found(
        &self,
        core: &Core,
        found: Candidates,
        (kind, value): (&str, &str),
        most: u32,
    ) -> Result<(Tried, bool)> {
        let mut owners = found.owners;
        if let Some(last) = core.look_ups.last(value) {
            last_first(core, &mut owners, last, kind, value).await?;
        }
        let is_cut = found.is_cut || owners.len() > most as usize;
        owners.truncate(most as usize);
        let number = owners.len();
        let tried = self.signers(owners, is_cut);
        if number > FEW_TRIED as usize && matches!(tried, Tried::Nobody { .. }) {
            core.look_ups.tried_in_vain(Instant::now());
        }
        Ok((tried, is_cut))
    }

    fn signers(&self, owners: Vec<OwnerRecord>, is_cut: bool) -> Tried {
        let mut signer = None;
        for OwnerRecord { owner, loaded } in owners {
            let Ok(Some(config)) = config_of(Ok(loaded)) else { continue };
            let Some(key) = self.signed_by(&config) else { continue };
            if signer.is_some() {
                return Tried::Several;
            }
            signer = Some(Box::new((owner, key, config)));
        }
        signer.map_or(Tried::Nobody { is_cut }, Tried::Verified)
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

fn too_many_wrong() -> Error {
    let message =
        "too many webhook calls name an agent or number of many owners, and are signed by none of them";
    Error::new(ErrorKind::Busy, message).with_hint(
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
