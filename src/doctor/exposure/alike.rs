//! Names that secrets go by: of columns beside the layout's, and of keys in JSON.

/// Words that say where a value is from or what was done to it, not what it is.
const DECORATION: [&str; 26] = [
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
];
/// What it is, without blanks.
const SECRETS: [&str; 12] = [
    "apikey",
    "key",
    "secretkey",
    "apisecret",
    "apitoken",
    "accesstoken",
    "secret",
    "token",
    "webhooksecret",
    "webhooktoken",
    "signingsecret",
    "credentials",
];
/// Too common by themselves: secrets only where Retell or a webhook is named too.
const COMMON: [&str; 3] = ["key", "secret", "token"];
const AGENTS: [&str; 2] = ["agentid", "agentconfig"];
/// In the settings of a webhook, besides [`SECRETS`].
const WEBHOOK: [&str; 5] = ["authorization", "auth", "password", "passwd", "bearer"];

/// What a name says that a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alike {
    /// An API key, a webhook secret.
    Secret,
    /// The id of an agent.
    Agent,
}

/// What a column beside the layout's holds, going by its name.
pub(crate) fn of_column(name: &str) -> Option<Alike> {
    let words = words(name);
    let core = core(&words);
    let is_named = words.iter().any(|word| word == "retell" || word == "webhook");
    match core.as_str() {
        core if AGENTS.contains(&core) => Some(Alike::Agent),
        core if COMMON.contains(&core) && !is_named => None,
        core if SECRETS.contains(&core) => Some(Alike::Secret),
        _ => None,
    }
}

/// Whether a key in the JSON of a configuration holds a secret. There the common names are enough.
pub(crate) fn is_secret_key(name: &str) -> bool {
    SECRETS.contains(&core(&words(name)).as_str())
}

/// Whether a name may be said aloud: it is a word, and cannot be somebody's key that serves as a name.
pub(crate) fn may_be_told(name: &str) -> bool {
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=40).contains(&name.len()) && name.bytes().all(is_plain) && digits <= 2
}

/// Whether a key in the settings of a webhook, or a parameter in its address, holds a secret.
pub(crate) fn is_webhook_secret(name: &str) -> bool {
    is_secret_key(name) || WEBHOOK.contains(&core(&words(name)).as_str())
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
}

fn core(words: &[String]) -> String {
    let rest = words.iter().filter(|word| !DECORATION.contains(&word.as_str()));
    rest.map(String::as_str).collect()
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
            "webhook_secret",
            "retell_webhook_secret",
            "RetellAPIKey",
            "encrypted_api_key_old",
            "api_key_v2",
            "retell_token",
            "apikey",
            "retell_ai_api_key",
        ] {
            assert_eq!(of_column(name), Some(Alike::Secret), "{name}");
        }
        for name in ["call_agent_id", "sms_agent_id", "agent_id", "retell_agent_id", "agentId"] {
            assert_eq!(of_column(name), Some(Alike::Agent), "{name}");
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
            "",
        ] {
            assert_eq!(of_column(name), None, "{name}");
        }
    }

    #[test]
    fn in_json_the_common_names_are_enough() {
        for name in ["api_key", "apiKey", "retell_api_key", "secret", "token", "x-api-key"] {
            assert!(is_secret_key(name), "{name}");
        }
        assert!(is_webhook_secret("Authorization") && is_webhook_secret("password"));
        assert!(!is_webhook_secret("webhook_url") && !is_webhook_secret("events"));
    }
}
