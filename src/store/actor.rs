//! The actor of an operation: who does it, why, and for which request. The application says so, and entries of the ledger
//! repeat it.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::display::is_harmless;
use crate::error::{Error, ErrorKind, Result};
use crate::record::field::Fields;
use crate::record::values::Values;

/// How many bytes of each text an entry holds, as the table limits them.
const MAX_ACTOR: usize = 200;
const MAX_REASON: usize = 1000;
const MAX_REQUEST: usize = 200;
/// A shorter value is not looked for in the texts: it may be part of a word by chance.
const SHORTEST: usize = 8;

tokio::task_local! {
    static CURRENT: Option<Arc<Attribution>>;
}

/// Who does an operation, why, and for which request. A text that is blank is not there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Attribution {
    actor: Option<CleanText>,
    reason: Option<CleanText>,
    request: Option<CleanText>,
}

impl Attribution {
    pub(crate) fn new(actor: &str, reason: Option<&str>, request: Option<&str>) -> Self {
        Self {
            actor: CleanText::of(actor, MAX_ACTOR),
            reason: reason.and_then(|reason| CleanText::of(reason, MAX_REASON)),
            request: request.and_then(|request| CleanText::of(request, MAX_REQUEST)),
        }
    }

    pub(crate) fn actor(&self) -> Option<&str> {
        self.actor.as_ref().map(CleanText::noted)
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_ref().map(CleanText::noted)
    }

    pub(crate) fn request(&self) -> Option<&str> {
        self.request.as_ref().map(CleanText::noted)
    }

    /// The same without what entries do not hold: it may be kept.
    pub(crate) fn cut(self: Arc<Self>) -> Arc<Self> {
        let texts = [&self.actor, &self.reason, &self.request];
        if texts.into_iter().flatten().all(|text| text.whole.len() == text.end) {
            return self;
        }
        let cut = |text: &Option<CleanText>| {
            text.as_ref().map(|text| CleanText { whole: text.noted().to_owned(), end: text.end })
        };
        let (actor, reason, request) = (cut(&self.actor), cut(&self.reason), cut(&self.request));
        Arc::new(Self { actor, reason, request })
    }

    /// The first of its texts that holds a secret value, and the name of the field.
    fn holding(&self, fields: &Fields, values: &Values) -> Option<(&'static str, String)> {
        let texts = [("actor", &self.actor), ("reason", &self.reason), ("request id", &self.request)];
        for (field, json) in values.iter().filter(|(field, _)| !fields.is_plain(*field)) {
            for (name, text) in &texts {
                let is_held = |value: &str| text.as_ref().is_some_and(|text| text.whole.contains(value));
                if any_value(json, is_held) {
                    return Some((name, field.to_string()));
                }
            }
        }
        None
    }
}

/// A text in one line without invisible characters, of which entries hold the beginning.
#[derive(Debug, PartialEq, Eq)]
struct CleanText {
    /// All of it: a secret that the cut would divide is found too.
    whole: String,
    end: usize,
}

impl CleanText {
    fn of(text: &str, limit: usize) -> Option<Self> {
        let whole = in_one_line(text);
        let end = whole.floor_char_boundary(limit);
        (!whole.is_empty()).then_some(Self { whole, end })
    }

    fn noted(&self) -> &str {
        &self.whole[..self.end]
    }
}

fn in_one_line(text: &str) -> String {
    let clean = |char: char| match char {
        _ if char.is_whitespace() => Some(' '),
        _ => Some(char).filter(|char| is_harmless(*char)),
    };
    let clean = Zeroizing::new(text.chars().filter_map(clean).collect::<String>());
    clean.trim().to_owned()
}

/// Runs a call as done by this actor.
pub(crate) fn acting<T>(
    actor: Option<Arc<Attribution>>,
    call: impl Future<Output = T>,
) -> impl Future<Output = T> {
    CURRENT.scope(actor, call)
}

/// Who does the operation that this task is in.
pub(crate) fn acting_now() -> Option<Arc<Attribution>> {
    CURRENT.try_with(Clone::clone).ok().flatten()
}

/// # Errors
/// `InvalidInput` if a text about the actor of this operation holds a secret value: entries must not.
pub(crate) fn refuse_secrets_in_actor(fields: &Fields, values: &Values) -> Result<()> {
    let Some((text, field)) = acting_now().and_then(|actor| actor.holding(fields, values)) else {
        return Ok(());
    };
    let message = format!("the {text} of the operation holds the value of {field}");
    Err(Error::new(ErrorKind::InvalidInput, message)
        .with_hint("name the field and not its value: everybody who may read the ledger reads this text"))
}

/// Whether this holds for a string or number in a JSON text that has no white space between its parts.
fn any_value(json: &str, holds: impl Fn(&str) -> bool) -> bool {
    let (bytes, mut at) = (json.as_bytes(), 0);
    while at < bytes.len() {
        let end = match bytes[at] {
            b'"' => end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => end_of_number(bytes, at),
            _ => {
                at += 1;
                continue;
            }
        };
        let is_name = bytes.get(end) == Some(&b':');
        let part = &json[at..end];
        at = end;
        if is_name {
            continue;
        }
        // a string without escapes is what stands between its quotes
        let value = match serde_json::from_str::<Zeroizing<String>>(part) {
            Ok(string) => string,
            Err(_) => Zeroizing::new(part.to_owned()),
        };
        // as it would stand in the text
        let value = Zeroizing::new(in_one_line(&value));
        if value.chars().count() >= SHORTEST && holds(&value) {
            return true;
        }
    }
    false
}

/// The place after the string that begins here.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn end_of_number(bytes: &[u8], start: usize) -> usize {
    let is_over = |byte: &u8| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    bytes[start..].iter().position(is_over).map_or(bytes.len(), |length| start + length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::credentials::Credentials;
    use crate::record::field::Field;
    use crate::retell::config::RetellConfig;

    fn noted(text: &str, limit: usize) -> Option<String> {
        CleanText::of(text, limit).map(|text| text.noted().to_owned())
    }

    #[test]
    fn texts_are_one_line_of_visible_characters_and_cut() {
        let cleaned = noted(" a\nb\t\u{1b}[31mc\u{202e}d\u{200b}\0 ", 200);
        assert_eq!(cleaned.as_deref(), Some("a b [31mcd"));
        assert_eq!(noted("äöüß", 3).as_deref(), Some("ä"));
        assert_eq!(noted("äöüß", 4).as_deref(), Some("äö"));
        assert_eq!(noted(&"x".repeat(500), 500), Some("x".repeat(500)));
        for blank in ["", "  ", "\n\u{200b}"] {
            assert_eq!(noted(blank, 9), None);
        }
        let actor = Attribution::new(&"a".repeat(201), Some(&"r".repeat(1001)), Some(&"q".repeat(201)));
        assert_eq!(actor.actor().map(str::len), Some(200));
        assert_eq!(actor.reason().map(str::len), Some(1000));
        assert_eq!(actor.request().map(str::len), Some(200));
    }

    /// What a text is refused for, with a record of this JSON in a secret field.
    fn refused(reason: &str, json: &str) -> bool {
        let field = Field::parse(b"agent_config").unwrap();
        let mut values = Values::new();
        values.put(field, Some(json.to_owned().into()));
        let fields = Fields::new(RetellConfig::NAMESPACE, RetellConfig::FIELDS);
        Attribution::new("alice", Some(reason), None).holding(&fields, &values).is_some()
    }

    #[test]
    fn a_secret_is_found_in_every_form_and_place() {
        for json in [
            r#""key_secret""#,
            r#"{"a":[1,{"b":"key_secret"}]}"#,
            r#"["key\u005fsecret"]"#,
            r#"{"other\"":"\\","b":"key_secret"}"#,
        ] {
            assert!(refused("it was key_secret before", json), "{json}");
            assert!(refused("it was key_\u{200b}secret before", json), "{json}");
            assert!(refused(&format!("{}key_secret", "x".repeat(995)), json), "{json}: the cut divides it");
            assert!(!refused("it was another before", json), "{json}");
        }
        assert!(refused("it is 12345678", r#"{"number":12345678}"#));
        let lines = r#""-----BEGIN KEY-----\nabcdef\t\n""#;
        assert!(refused("-----BEGIN KEY-----\nabcdef\t\n", lines), "a value of several lines");
        assert!(refused("was -----BEGIN KEY----- abcdef", lines));
        assert!(!refused("key_secret", r#"{"key_secret":1}"#), "a name is no value");
        assert!(!refused("a short one", r#""short""#));
        assert!(!refused("", r#""key_secret""#));
    }
}
