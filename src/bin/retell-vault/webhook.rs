//! `webhook verify`: whose webhook call it is.

use retell_vault::webhooks::Verified;
use serde_json::json;

use crate::args::global::Global;
use crate::args::webhook::WebhookCommand;
use crate::failure::Failure;
use crate::{input, print, session};

/// Runs the command.
pub async fn run(global: &Global, command: &WebhookCommand) -> Result<(), Failure> {
    let WebhookCommand::Verify(args) = command;
    let options = args.options()?;
    let body = input::webhook_body()?;
    let verified = session::vault(global).await?.verify_webhook_with(&body, &args.header, options).await?;
    match global.json {
        true => print::json(&as_json(&verified)),
        false => print::out(&as_text(&verified)),
    }
}

/// The agent id came in the body, so it is no secret to the caller.
fn as_json(verified: &Verified) -> serde_json::Value {
    json!({
        "user": verified.owner.user_id().as_str(),
        "tenant": verified.owner.tenant_id().map(|tenant| tenant.as_str()),
        "event": verified.event,
        "agent_id": verified.agent_id.as_ref().map(|id| id.expose_secret()),
        "call_id": verified.call_id,
        "chat_id": verified.chat_id,
        "signed_at": verified.signed_at,
        "key": verified.key.as_str(),
        "wanted": verified.is_wanted,
    })
}

fn as_text(verified: &Verified) -> String {
    let agent = verified.agent_id.as_ref().map(|id| id.expose_secret());
    let rows = [
        ("owner", Some(verified.owner.to_string())),
        ("event", verified.event.clone()),
        ("agent", agent.map(str::to_owned)),
        ("call", verified.call_id.clone()),
        ("chat", verified.chat_id.clone()),
        ("signed with", Some(verified.key.as_str().to_owned())),
        ("wanted", Some(if verified.is_wanted { "yes" } else { "no" }.to_owned())),
    ];
    let set = rows.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?]));
    print::table(&set.collect::<Vec<_>>())
}
