//! The words in the names of tables and columns, and what they say about a column.

use crate::detect::providers::{self, Provider};

/// Words that run together in names without any separation, as in `retellapikey`.
const RUN_TOGETHER: [&str; 32] = [
    "access",
    "account",
    "agent",
    "api",
    "auth",
    "call",
    "chat",
    "client",
    "company",
    "config",
    "credentials",
    "customer",
    "encrypted",
    "enc",
    "id",
    "inbound",
    "key",
    "keys",
    "number",
    "org",
    "outbound",
    "phone",
    "secret",
    "settings",
    "sms",
    "tenant",
    "token",
    "user",
    "voice",
    "webhook",
    "integration",
    "assistant",
];

/// Last words of a column that is about a secret and does not hold it. Some, like `id`, have other meanings too.
const ABOUT_A_SECRET: [&str; 51] = [
    "active",
    "algorithm",
    "at",
    "by",
    "count",
    "created",
    "date",
    "description",
    "digest",
    "email",
    "enabled",
    "encoded",
    "encoding",
    "endpoint",
    "expires",
    "expiry",
    "expiration",
    "fingerprint",
    "hash",
    "hashed",
    "hint",
    "id",
    "ids",
    "label",
    "last4",
    "length",
    "limit",
    "masked",
    "name",
    "on",
    "owner",
    "path",
    "prefix",
    "preview",
    "scope",
    "scopes",
    "sha256",
    "sid",
    "source",
    "state",
    "status",
    "suffix",
    "time",
    "type",
    "updated",
    "uri",
    "url",
    "usage",
    "valid",
    "verified",
    "version",
];

/// Secrets of the application's own users, and keys that are no secrets.
const OF_THE_APPLICATION: [&str; 37] = [
    "cache",
    "confirm",
    "confirmation",
    "cookie",
    "csrf",
    "dedup",
    "deduplication",
    "device",
    "fcm",
    "foreign",
    "idempotency",
    "invite",
    "invitation",
    "job",
    "jwt",
    "license",
    "magic",
    "mfa",
    "object",
    "otp",
    "partition",
    "passcode",
    "password",
    "passwd",
    "pin",
    "primary",
    "public",
    "publishable",
    "push",
    "pwd",
    "recovery",
    "remember",
    "reset",
    "session",
    "totp",
    "unsubscribe",
    "verification",
];

const ENCRYPTED: [&str; 7] = ["cipher", "ciphertext", "crypted", "enc", "encrypted", "cyphertext", "sealed"];

/// What a column is for, as far as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// An API key, a token or the like. A higher number is a clearer name.
    Key(u8),
    WebhookKey,
    /// An agent id, with the field that it would be.
    Agent(&'static str),
    PhoneNumber,
    /// Several values in one column: credentials or a configuration.
    Config,
    /// A part of a ciphertext that is stored in several columns: `iv` or `tag`.
    Part(&'static str),
    RefreshToken,
    Other,
}

/// A name, taken apart.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) words: Vec<String>,
    /// The provider that the name contains.
    pub(super) provider: Option<&'static Provider>,
    /// Whether the provider is one letter off, as in `retail_api_key`.
    pub(super) is_misspelt: bool,
    /// The words without those of the provider.
    rest: Vec<String>,
}

impl Name {
    pub(super) fn of(name: &str) -> Self {
        let words = words(name);
        let found = providers::find(&words);
        let rest = match &found {
            Some((_, at)) => [&words[..at.start], &words[at.end..]].concat(),
            None => words.clone(),
        };
        let is_misspelt = found.is_none() && words.iter().any(|word| is_misspelt_retell(word));
        Self { words, provider: found.map(|(provider, _)| provider), is_misspelt, rest }
    }

    pub(super) fn has(&self, any: &[&str]) -> bool {
        self.words.iter().any(|word| any.contains(&word.as_str()))
    }

    pub(super) fn last(&self) -> &str {
        self.words.last().map_or("", String::as_str)
    }

    /// Whether the name claims that its values are encrypted.
    pub(super) fn says_encrypted(&self) -> bool {
        self.has(&ENCRYPTED)
    }

    /// What the columns of one ciphertext have in common: the words without the last one, `iv` or `ciphertext`.
    pub(super) fn stem(&self) -> &[String] {
        self.words.split_last().map_or(&[], |(_, stem)| stem)
    }

    /// Whether it is the name of a reference to a secret, as in `secret_reference` or `retell_secret_id`.
    pub(super) fn says_reference(&self) -> bool {
        let before = self.words.iter().rev().nth(1).map_or("", String::as_str);
        let is_place = match self.last() {
            "reference" | "ref" | "env" | "variable" | "arn" => return true,
            "path" | "uri" => ["key", "secret", "token", "vault"].contains(&before),
            "id" | "name" => ["secret", "vault"].contains(&before),
            _ => false,
        };
        // without a provider it may be a folder, or a row of the application
        is_place && self.provider.is_some()
    }

    /// The word before `api_key` that is no known provider, as in `acme_api_key`.
    pub(super) fn unknown_provider(&self) -> Option<&str> {
        const NO_PROVIDER: [&str; 22] = [
            "access",
            "admin",
            "app",
            "auth",
            "client",
            "default",
            "encrypted",
            "enc",
            "internal",
            "master",
            "my",
            "new",
            "old",
            "our",
            "own",
            "private",
            "public",
            "secret",
            "server",
            "system",
            "user",
            "test",
        ];
        let [provider, api, key, ..] = &self.words[..] else { return None };
        let is_one = api == "api" && key == "key" && !NO_PROVIDER.contains(&provider.as_str());
        (is_one && self.meaning() != Meaning::Other).then_some(provider)
    }

    pub(super) fn meaning(&self) -> Meaning {
        let words: Vec<&str> = self.rest.iter().map(String::as_str).collect();
        let has = |word: &str| words.contains(&word);
        let pair = |first: &str, second: &str| words.windows(2).any(|pair| pair == [first, second]);
        let last = words.last().copied().unwrap_or_default();
        let is_agent = has("agent") || has("assistant");
        if is_agent && matches!(last, "id" | "agent" | "assistant" | "enc" | "encrypted") {
            return Meaning::Agent(agent_field(&words));
        }
        if matches!(last, "iv" | "nonce" | "tag") || pair("auth", "tag") {
            return Meaning::Part(if last == "tag" { "tag" } else { "iv" });
        }
        let is_about = ABOUT_A_SECRET.contains(&last) && !self.says_reference();
        if is_about || words.iter().any(|word| OF_THE_APPLICATION.contains(word)) {
            return Meaning::Other;
        }
        if pair("phone", "number") || last == "phone" || (last == "number" && words.len() <= 2) {
            return Meaning::PhoneNumber;
        }
        let is_secret = ["secret", "key", "token", "keys"].iter().any(|word| has(word));
        if is_secret && (has("webhook") || has("signing") || has("hook")) {
            return Meaning::WebhookKey;
        }
        if has("refresh") {
            return if is_secret || self.says_encrypted() { Meaning::RefreshToken } else { Meaning::Other };
        }
        self.key_or_config(&words, last)
    }

    fn key_or_config(&self, words: &[&str], last: &str) -> Meaning {
        let has = |word: &str| words.contains(&word);
        let pair = |first: &str, second: &str| words.windows(2).any(|pair| pair == [first, second]);
        let config = [
            "config",
            "configuration",
            "credentials",
            "credential",
            "creds",
            "settings",
            "secrets",
            "keys",
            "data",
        ];
        match () {
            () if pair("api", "key") => Meaning::Key(10),
            () if pair("secret", "key") || pair("access", "key") || pair("auth", "key") => Meaning::Key(9),
            () if pair("access", "token") || pair("auth", "token") || pair("api", "token") => Meaning::Key(8),
            () if pair("api", "secret") || has("bearer") => Meaning::Key(7),
            () if config.iter().any(|word| has(word)) => Meaning::Config,
            () if has("token") => Meaning::Key(6),
            () if has("secret") => Meaning::Key(5),
            () if self.says_encrypted() && (has("access") || has("value")) => Meaning::Key(4),
            () if last == "key" || (has("key") && self.says_encrypted()) => Meaning::Key(3),
            () if self.says_encrypted() && words.iter().all(|word| ENCRYPTED.contains(word)) => {
                Meaning::Key(2)
            }
            () => Meaning::Other,
        }
    }
}

/// Whether a word is meant to be `retell`: one letter off, or the usual `retail`.
fn is_misspelt_retell(word: &str) -> bool {
    let (word, right) = (word.as_bytes(), b"retell".as_slice());
    let start = word.iter().zip(right).take_while(|(a, b)| a == b).count();
    let end = word.iter().rev().zip(right.iter().rev()).take_while(|(a, b)| a == b).count();
    let longest = word.len().max(right.len());
    let is_one_off = word.len().abs_diff(right.len()) <= 1 && start + end + 1 >= longest;
    word == b"retail" || (is_one_off && word != right && word != b"resell" && word != b"retells")
}

fn agent_field(words: &[&str]) -> &'static str {
    let has = |any: &[&str]| words.iter().any(|word| any.contains(word));
    match () {
        () if has(&["sms", "chat", "text", "messaging"]) => "sms_agent_id",
        () if has(&["inbound", "incoming"]) => "inbound_agent_id",
        () if has(&["outbound", "outgoing"]) => "outbound_agent_id",
        () if has(&["followup"]) || words.windows(2).any(|pair| pair == ["follow", "up"]) => {
            "followup_agent_id"
        }
        () => "call_agent_id",
    }
}

/// The words of a name in lower case. `retellApiKey`, `retell_api_key`, `RETELL-API-KEY` and `retellapikey` have the same.
pub(super) fn words(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, char) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| chars[before]);
        let is_next_lower = chars.get(at + 1).is_some_and(|next| next.is_lowercase());
        let starts =
            char.is_uppercase() && before.is_some_and(|before| !before.is_uppercase() || is_next_lower);
        if !char.is_alphanumeric() || starts {
            words.push(String::new());
        }
        if char.is_alphanumeric() {
            words.last_mut().expect("starts with one").extend(char.to_lowercase());
        }
    }
    words.iter().filter(|word| !word.is_empty()).flat_map(|word| separated(word)).collect()
}

/// Whether a word is one of those that name credentials, or a provider. A name of other words may be a value in the wrong place.
pub(super) fn is_known(word: &str) -> bool {
    RUN_TOGETHER.contains(&word) || providers::is_known(word)
}

/// The longest known word.
const LONGEST_WORD: usize = 13;
/// Names of more than this are not searched for words that run together.
const LONGEST_NAME: usize = 63;

/// The words that run together in one, if they are known and nothing is left over.
fn separated(word: &str) -> Vec<String> {
    let known = |part: &str| RUN_TOGETHER.contains(&part) || providers::is_known(part);
    if word.len() < 5 || word.len() > LONGEST_NAME || !word.is_ascii() || known(word) {
        return vec![word.to_owned()];
    }
    // for each length of the start: where its last word starts
    let mut last: Vec<Option<usize>> = vec![None; word.len() + 1];
    last[0] = Some(0);
    for end in 1..=word.len() {
        last[end] = (end.saturating_sub(LONGEST_WORD)..end)
            .find(|start| last[*start].is_some() && known(&word[*start..end]));
    }
    let (mut parts, mut end) = (Vec::new(), word.len());
    while end > 0 {
        let Some(start) = last[end] else { return vec![word.to_owned()] };
        parts.push(word[start..end].to_owned());
        end = start;
    }
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_however_they_are_written() {
        for name in ["retellApiKey", "retell_api_key", "RETELL-API-KEY", "RetellAPIKey", "retellapikey"] {
            assert_eq!(words(name), ["retell", "api", "key"], "{name}");
        }
        assert_eq!(words("n8nWebhookUrl"), ["n8n", "webhook", "url"]);
        assert_eq!(words("accessIV"), ["access", "iv"]);
        assert_eq!(words("monkey"), ["monkey"], "it is no key");
        assert_eq!(words(""), [""; 0]);
        assert_eq!(words("schlüssel"), ["schlüssel"]);
    }

    #[test]
    fn a_name_says_what_a_column_is_for() {
        use Meaning::*;
        for (name, meaning) in [
            ("retell_api_key", Key(10)),
            ("retellApiKey", Key(10)),
            ("api_key_encrypted", Key(10)),
            ("twilio_auth_token", Key(8)),
            ("history_secret_reference", Key(5)),
            ("accessCiphertext", Key(4)),
            ("encrypted_retell", Key(2)),
            ("retell_webhook_secret", WebhookKey),
            ("retell_agent_id", Agent("call_agent_id")),
            ("encrypted_sms_agent_id", Agent("sms_agent_id")),
            ("retell_outbound_agent_id", Agent("outbound_agent_id")),
            ("followUpAgentId", Agent("followup_agent_id")),
            ("retell_phone_number", PhoneNumber),
            ("encrypted_credentials", Config),
            ("encrypted_agent_config", Config),
            ("accessTag", Part("tag")),
            ("accessIV", Part("iv")),
            ("refreshCiphertext", RefreshToken),
        ] {
            assert_eq!(Name::of(name).meaning(), meaning, "{name}");
        }
        for other in [
            "encrypted_password",
            "password_hash",
            "key_hash",
            "secretPath",
            "api_key_id",
            "twilio_account_sid",
            "webhook_url",
            "reset_token",
            "idempotency_key",
            "retell_call_id",
            "api_key_last4",
            "token_expires_at",
            "name",
            "retell_llm_id",
            "deduplication_key",
            "mfaSecret",
        ] {
            assert_eq!(Name::of(other).meaning(), Other, "{other}");
        }
        assert_eq!(Name::of("acme_api_key").unknown_provider(), Some("acme"));
        assert_eq!(Name::of("user_api_key").unknown_provider(), None);
        for name in
            ["retail_api_key", "retel_api_key", "retelll_api_key", "rettell_api_key", "retall_api_key"]
        {
            assert!(Name::of(name).is_misspelt, "{name}");
        }
        for name in ["retell_api_key", "resell_price", "detail", "tell", "retry_key"] {
            assert!(!Name::of(name).is_misspelt, "{name}");
        }
    }

    #[test]
    fn the_name_of_a_reference_names_the_place_of_a_secret() {
        for name in
            ["retell_api_key_secret_id", "retell_api_key_path", "secret_arn", "history_secret_reference"]
        {
            assert!(Name::of(name).says_reference(), "{name}");
            assert!(matches!(Name::of(name).meaning(), Meaning::Key(_)), "{name}");
        }
        for name in
            ["secretPath", "retell_api_key_id", "retell_api_key_name", "secret_id", "retell_file_path"]
        {
            assert!(!Name::of(name).says_reference(), "{name}");
        }
    }
}
