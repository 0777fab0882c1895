//! Names that suggest a secret, of columns outside of the layout and of keys in JSON.

/// Words about the origin or the state of a value. They are ignored.
const DECORATION: [&str; 37] = [
    "retell",
    "ai",
    "my",
    "user",
    "customer",
    "client",
    "default",
    "call",
    "sms",
    "voice",
    "phone",
    "inbound",
    "outbound",
    "encrypted",
    "enc",
    "plain",
    "plaintext",
    "raw",
    "old",
    "new",
    "legacy",
    "backup",
    "bak",
    "tmp",
    "copy",
    "text",
    "prod",
    "production",
    "live",
    "test",
    "dev",
    "staging",
    "value",
    "primary",
    "secondary",
    "current",
    "list",
];
/// Names of secrets, without blanks.
const SECRETS: [&str; 14] = [
    "apikey",
    "key",
    "secretkey",
    "apisecret",
    "apisecretkey",
    "apitoken",
    "accesstoken",
    "secret",
    "token",
    "webhookkey",
    "webhooksecret",
    "webhooktoken",
    "signingsecret",
    "credential",
];
/// Names that are too common alone. They count only together with Retell or a webhook.
const COMMON: [&str; 3] = ["key", "secret", "token"];
/// The same; alone they usually name the user's own password or token.
const OWN: [&str; 11] = [
    "password",
    "passwd",
    "bearer",
    "bearertoken",
    "authtoken",
    "privatekey",
    "accesskey",
    "secretaccesskey",
    "signingkey",
    "webhooksigningkey",
    "webhooksigningsecret",
];
const AGENTS: [&str; 2] = ["agentid", "agentconfig"];
/// Further names in JSON, in addition to [`SECRETS`] and [`OWN`].
const HEADERS: [&str; 3] = ["authorization", "auth", "hmacsecret"];
/// Further names of parameters in an address.
const SIGNATURES: [&str; 2] = ["sig", "signature"];

/// What a name suggests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NameMatch {
    /// An API key, the key of a webhook.
    Secret,
    /// The id of an agent.
    Agent,
}

/// What the name of a column outside of the layout suggests.
pub(crate) fn of_column(name: &str) -> Option<NameMatch> {
    let words = words(name);
    let core = core(&words);
    let is_named = words.iter().any(|word| word == "retell" || word == "webhook");
    match core.as_str() {
        core if AGENTS.contains(&core) => Some(NameMatch::Agent),
        core if (COMMON.contains(&core) || OWN.contains(&core)) && !is_named => None,
        core if OWN.contains(&core) => Some(NameMatch::Secret),
        core if SECRETS.contains(&core) => Some(NameMatch::Secret),
        _ => None,
    }
}

/// Whether the name of a JSON key suggests a secret. Common names are enough there.
pub(crate) fn is_secret_key(name: &str) -> bool {
    let core = core(&words(name));
    [&SECRETS[..], &OWN, &HEADERS].iter().any(|names| names.contains(&core.as_str()))
}

/// Whether a text has the form of a Retell key or a webhook secret.
pub(crate) fn is_credential(text: &str) -> bool {
    let is_long = |rest: &str, least: usize| {
        rest.len() >= least
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+/=".contains(&byte))
    };
    let text = text.trim();
    text.strip_prefix("key_")
        .is_some_and(|rest| is_long(rest, 20) && rest.bytes().any(|byte| byte.is_ascii_digit()))
        || text.strip_prefix("whsec_").is_some_and(|rest| is_long(rest, 16))
}

/// Whether a name may be printed: it is a word, and cannot be a key that is used as a name.
pub(crate) fn may_be_told(name: &str) -> bool {
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=40).contains(&name.len()) && name.bytes().all(is_plain) && digits <= 2
}

/// Whether the name of a parameter in an address suggests a secret.
pub(crate) fn is_secret_parameter(name: &str) -> bool {
    is_secret_key(name) || SIGNATURES.contains(&core(&words(name)).as_str())
}

/// `retellApiKey2` -> `retell`, `api`, `key`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for char in name.chars() {
        if !char.is_ascii_alphabetic() || char.is_ascii_uppercase() && before.is_ascii_lowercase() {
            words.push(String::new());
        }
        if char.is_ascii_alphabetic() {
            words.last_mut().expect("there is always one").push(char.to_ascii_lowercase());
        }
        before = char;
    }
    words.retain(|word| !word.is_empty() && word != "v" && word != "x");
    words
        .into_iter()
        .flat_map(|word| match word.strip_prefix("retell") {
            Some(rest) if !rest.is_empty() => vec!["retell".to_owned(), rest.to_owned()],
            _ => vec![word],
        })
        .collect()
}

fn core(words: &[String]) -> String {
    let rest = words.iter().filter(|word| !DECORATION.contains(&word.as_str()));
    let core: String = rest.map(String::as_str).collect();
    // the plural counts too
    core.strip_suffix('s').map(str::to_owned).unwrap_or(core)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_look_like_credentials_are_recognised() {
        for name in [
            "retell_api_key",
            "api_key",
            "apiKey",
            "retell_key",
            "webhook_key",
            "webhook_secret",
            "retell_webhook_secret",
            "RetellAPIKey",
            "encrypted_api_key_old",
            "api_key_v2",
            "retell_token",
            "apikey",
            "retell_ai_api_key",
            "api_keys",
            "retellapikey",
            "retell_auth_token",
            "retell_password",
            "retell_credential",
            "prod_api_key",
            "api_secret_key",
            "retell_webhook_signing_key",
        ] {
            assert_eq!(of_column(name), Some(NameMatch::Secret), "{name}");
        }
        for name in ["call_agent_id", "sms_agent_id", "agent_id", "retell_agent_id", "agentId", "agent_ids"] {
            assert_eq!(of_column(name), Some(NameMatch::Agent), "{name}");
        }
    }

    #[test]
    fn other_columns_are_left_alone() {
        for name in [
            "id",
            "key",
            "token",
            "email",
            "phone",
            "api_key_hash",
            "api_key_id",
            "api_key_created",
            "agent_name",
            "secretary",
            "metadata",
            "webhook_config",
            "full_name",
            "retell_integration_status",
            "user_id",
            "password",
            "passwords",
            "private_key",
            "auth_token",
            "address",
            "",
        ] {
            assert_eq!(of_column(name), None, "{name}");
        }
    }

    #[test]
    fn in_json_the_common_names_are_enough() {
        for name in [
            "api_key",
            "apiKey",
            "retell_api_key",
            "secret",
            "token",
            "x-api-key",
            "Authorization",
            "password",
        ] {
            assert!(is_secret_key(name), "{name}");
        }
        assert!(is_secret_parameter("sig") && !is_secret_key("sig"));
        assert!(!is_secret_key("webhook_url") && !is_secret_key("events"));
    }

    #[test]
    fn what_has_the_form_of_a_credential_is_one() {
        for text in ["key_0123456789abcdef01234567", "whsec_0123456789abcdef"] {
            assert!(is_credential(text), "{text}");
        }
        for text in ["key_performance_indicators", "key_1", "agent_0123456789abcdef01234567", "whsec_", ""] {
            assert!(!is_credential(text), "{text}");
        }
    }
}
