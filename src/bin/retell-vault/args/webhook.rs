//! The options of webhook, and its help.

use clap::{Args, Subcommand};
use retell_vault::webhooks::WebhookOptions;

use crate::args::global::{owner, tenant, user};
use crate::failure::Failure;

pub const VERIFY_HELP: &str = "\
Reads the body of a webhook call from standard input, byte for byte, and says whose call it is. A call is refused with exit code 1
if no owner's key signed it, or if its time is more than five minutes from now. The agent id that is printed is the one in the body.

Example: retell-vault webhook verify --header \"$SIGNATURE\" < body.json

";

/// Webhook calls of Retell.
#[derive(Subcommand)]
pub enum WebhookCommand {
    /// Find the owner whose key signed a webhook call
    Verify(WebhookVerifyArgs),
}

#[derive(Args)]
pub struct WebhookVerifyArgs {
    /// The value of X-Retell-Signature
    #[arg(long, value_name = "VALUE")]
    pub header: String,
    /// Verify as if it were this time, in milliseconds since 1970
    #[arg(long, value_name = "MS")]
    at: Option<u64>,
    /// Only this user's key may have signed it
    #[arg(long, value_name = "ID", value_parser = user)]
    user: Option<String>,
    /// The tenant of the user
    #[arg(long, value_name = "ID", value_parser = tenant, requires = "user")]
    tenant: Option<String>,
}

impl WebhookVerifyArgs {
    pub fn options(&self) -> Result<WebhookOptions, Failure> {
        let mut options = WebhookOptions::new();
        if let Some(user) = &self.user {
            options = options.of_owner(owner(user, self.tenant.as_deref())?);
        }
        Ok(match self.at {
            Some(millis) => options.at(millis),
            None => options,
        })
    }
}
