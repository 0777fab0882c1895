//! The providers whose names are known.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

/// Which kind of provider. The order is that of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Other,
    LanguageModel,
    Telephony,
    Voice,
    Retell,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Provider {
    pub(super) name: &'static str,
    pub(super) class: Class,
}

const fn all<const N: usize>(class: Class, names: [&'static str; N]) -> [Provider; N] {
    let mut providers = [const { Provider { name: "", class: Class::Other } }; N];
    let mut at = 0;
    while at < N {
        providers[at] = Provider { name: names[at], class };
        at += 1;
    }
    providers
}

static RETELL: [Provider; 1] = all(Class::Retell, ["retell"]);
static VOICE: [Provider; 21] = all(
    Class::Voice,
    [
        "vapi",
        "bland",
        "elevenlabs",
        "11labs",
        "synthflow",
        "ultravox",
        "voiceflow",
        "playht",
        "cartesia",
        "deepgram",
        "assemblyai",
        "speechmatics",
        "livekit",
        "millis",
        "hume",
        "murf",
        "rime",
        "lmnt",
        "gladia",
        "thoughtly",
        "poly",
    ],
);
static TELEPHONY: [Provider; 17] = all(
    Class::Telephony,
    [
        "twilio",
        "telnyx",
        "vonage",
        "nexmo",
        "plivo",
        "signalwire",
        "bandwidth",
        "ringcentral",
        "aircall",
        "sinch",
        "infobip",
        "messagebird",
        "dialpad",
        "zadarma",
        "binotel",
        "ringostat",
        "justcall",
    ],
);
static LANGUAGE_MODEL: [Provider; 15] = all(
    Class::LanguageModel,
    [
        "openai",
        "anthropic",
        "claude",
        "gemini",
        "groq",
        "mistral",
        "cohere",
        "openrouter",
        "huggingface",
        "replicate",
        "perplexity",
        "deepseek",
        "togetherai",
        "azureopenai",
        "xai",
    ],
);
static OTHER: [Provider; 84] = all(
    Class::Other,
    [
        "shopify",
        "github",
        "stripe",
        "hubspot",
        "salesforce",
        "slack",
        "gohighlevel",
        "highlevel",
        "ghl",
        "zapier",
        "n8n",
        "sendgrid",
        "mailgun",
        "resend",
        "postmark",
        "mailchimp",
        "klaviyo",
        "brevo",
        "google",
        "microsoft",
        "calendly",
        "calcom",
        "cal",
        "airtable",
        "notion",
        "supabase",
        "firebase",
        "aws",
        "azure",
        "cloudflare",
        "vercel",
        "netlify",
        "heroku",
        "gitlab",
        "bitbucket",
        "datadog",
        "sentry",
        "posthog",
        "mixpanel",
        "linear",
        "jira",
        "asana",
        "trello",
        "intercom",
        "zendesk",
        "freshdesk",
        "telegram",
        "whatsapp",
        "facebook",
        "instagram",
        "meta",
        "discord",
        "viber",
        "paypal",
        "square",
        "plaid",
        "xero",
        "quickbooks",
        "pipedrive",
        "zoho",
        "woocommerce",
        "magento",
        "bigcommerce",
        "amazon",
        "ebay",
        "etsy",
        "tiktok",
        "shiphero",
        "shipstation",
        "fedex",
        "dhl",
        "ups",
        "chatwoot",
        "dify",
        "flowise",
        "typebot",
        "pinecone",
        "monobank",
        "wayforpay",
        "fondy",
        "acuity",
        "mindbody",
        "opentable",
        "toast",
    ],
);

fn each() -> impl Iterator<Item = &'static Provider> {
    [&RETELL[..], &VOICE[..], &TELEPHONY[..], &LANGUAGE_MODEL[..], &OTHER[..]].into_iter().flatten()
}

pub(super) fn retell() -> &'static Provider {
    &RETELL[0]
}

/// Every provider by its name. A large database has many names.
static BY_NAME: LazyLock<HashMap<&str, &Provider>> =
    LazyLock::new(|| each().map(|provider| (provider.name, provider)).collect());

pub(super) fn is_known(name: &str) -> bool {
    BY_NAME.contains_key(name)
}

/// The provider in the words of a name, and where it stands. Two words may be one name, as in `open_ai`.
pub(super) fn find(words: &[String]) -> Option<(&'static Provider, Range<usize>)> {
    let ranges = (0..words.len()).flat_map(|at| [at..at + 1, at..(at + 2).min(words.len())]);
    // `meta_data` is no data of Meta
    let is_metadata =
        |range: &Range<usize>| words[range.start..].starts_with(&["meta".into(), "data".into()]);
    let known = ranges.filter(|range| !is_metadata(range)).filter_map(|range| {
        let joined = words[range.clone()].concat();
        BY_NAME.get(joined.as_str()).map(|provider| (*provider, range))
    });
    // the first of the highest class
    known.reduce(|best, other| if other.0.class > best.0.class { other } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_found_in_one_word_or_two() {
        let find = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            find(&words).map(|(provider, range)| (provider.name, range))
        };
        assert_eq!(find(&["open", "ai", "api"]), Some(("openai", 0..2)));
        assert_eq!(find(&["twilio", "retell", "key"]), Some(("retell", 1..2)), "the highest class counts");
        assert_eq!(find(&["eleven", "labs", "key"]), Some(("elevenlabs", 0..2)));
        assert_eq!(find(&["api", "key"]), None);
        assert_eq!(find(&["raw", "user", "meta", "data"]), None);
        assert_eq!(find(&["meta", "token"]), Some(("meta", 0..1)));
    }
}
