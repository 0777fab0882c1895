//! The body of a webhook call: whom it names, and which event it tells. Nothing in it is trusted before its signature is verified.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::retell::values::{AgentId, PhoneNumber};

/// The longest body, in bytes.
const MAX_BODY: usize = 1 << 20;
const MAX_DEPTH: usize = 64;
/// The longest event, and the longest id of a call or chat, in bytes.
const MAX_NAME: usize = 256;

/// What a body names.
#[derive(Default)]
pub(crate) struct WebhookBody {
    /// Absent in a custom function.
    pub(crate) event: Option<String>,
    pub(crate) call_id: Option<String>,
    pub(crate) chat_id: Option<String>,
    agent: Option<Zeroizing<String>>,
    number: Option<Zeroizing<String>>,
}

impl WebhookBody {
    /// # Errors
    /// `InvalidInput`, which repeats nothing of the body, when it is too long, too deep or not JSON; when it names a member that
    /// was read here twice, since another parser may take the other one; or when it has several of `call`, `chat`,
    /// `call_inbound` and `chat_inbound`.
    pub(crate) fn parse(raw: &[u8]) -> Result<Self> {
        Self::check_length(raw)?;
        let text = std::str::from_utf8(raw).map_err(|_| malformed("is not UTF-8 text"))?;
        if depth(text) > MAX_DEPTH {
            return Err(malformed("is nested more than 64 deep"));
        }
        let mut json = serde_json::Deserializer::from_str(text);
        // the message of serde repeats values
        let body = json.deserialize_map(BodyReader).and_then(|body| json.end().map(|()| body));
        body.map_err(|_| malformed("is not a JSON object as Retell sends it, or has a member twice"))
    }

    /// # Errors
    /// `InvalidInput` for a body that is too long, before anything else looks at it.
    pub(crate) fn check_length(raw: &[u8]) -> Result<()> {
        match raw.len() <= MAX_BODY {
            true => Ok(()),
            false => Err(malformed("is longer than 1 MiB")),
        }
    }

    /// Whether Retell waits for what the service answers.
    pub(crate) fn waits_for_answer(event: &str) -> bool {
        matches!(event, "call_inbound" | "chat_inbound")
    }

    /// The agent. A text that is no id of an agent names nobody.
    pub(crate) fn agent_id(&self) -> Option<AgentId> {
        self.agent.as_deref()?.parse().ok()
    }

    /// Whether it names an agent or a number, valid or not.
    pub(crate) fn names_somebody(&self) -> bool {
        self.agent.is_some() || self.number.is_some()
    }

    /// The number of the account: the one that was called, or that called out. A text that is no number in E.164 form names
    /// nobody.
    pub(crate) fn phone_number(&self) -> Option<PhoneNumber> {
        self.number.as_deref()?.parse().ok()
    }
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("the body of the webhook {what}"))
        .with_hint("pass the bytes of the request as they came, before any parser")
}

/// How deep objects and arrays are nested. Exact for valid JSON.
fn depth(text: &str) -> usize {
    let (mut now, mut deepest, mut bytes) = (0usize, 0, text.bytes());
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => now += 1,
            b'}' | b']' => now = now.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
        deepest = deepest.max(now);
    }
    deepest
}

fn skip_string(bytes: &mut impl Iterator<Item = u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return,
            _ => {}
        }
    }
}

/// The objects that an event can be about. A body has one of them, or none.
const OBJECTS: [&str; 4] = ["call", "chat", "call_inbound", "chat_inbound"];

/// What is read of such an object.
const MEMBERS: [&str; 6] = ["agent_id", "from_number", "to_number", "direction", "call_id", "chat_id"];

/// The members in the order of [`MEMBERS`]. One that holds no text is as good as absent.
type MemberTexts = [Option<Zeroizing<String>>; MEMBERS.len()];

impl WebhookBody {
    fn new(event: Option<Zeroizing<String>>, members: MemberTexts) -> Self {
        let [agent, from, to, direction, call_id, chat_id] = members;
        let calls_out = direction.is_some_and(|direction| *direction == "outbound");
        let number = if calls_out { from } else { to };
        Self { event: named(event), call_id: named(call_id), chat_id: named(chat_id), agent, number }
    }
}

/// A name of a usual length.
fn named(text: Option<Zeroizing<String>>) -> Option<String> {
    text.filter(|text| (1..=MAX_NAME).contains(&text.len())).map(|text| text.to_string())
}

/// The index of a member that was not met before.
fn first_time<E: serde::de::Error>(names: &[&str], met: &mut [bool], name: &str) -> Result<Option<usize>, E> {
    let at = names.iter().position(|known| *known == name);
    match at.map(|at| std::mem::replace(&mut met[at], true)) {
        Some(true) => Err(E::custom("a member twice")),
        _ => Ok(at),
    }
}

fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Zeroizing<String>>, A::Error> {
    Ok(match map.next_value()? {
        Value::String(text) => Some(Zeroizing::new(text)),
        _ => None,
    })
}

struct BodyReader;

impl<'de> Visitor<'de> for BodyReader {
    type Value = WebhookBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WebhookBody, A::Error> {
        let (mut event, mut event_met) = (None, [false]);
        let (mut object, mut met) = (None, [false; OBJECTS.len()]);
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            if first_time::<A::Error>(&["event"], &mut event_met, &name)?.is_some() {
                event = text(&mut map)?;
            } else if first_time::<A::Error>(&OBJECTS, &mut met, &name)?.is_some() {
                let found = map.next_value_seed(ObjectReader)?;
                if found.is_some() && object.is_some() {
                    return Err(A::Error::custom("several objects"));
                }
                object = object.or(found);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(WebhookBody::new(event, object.unwrap_or_default()))
    }
}

/// One of the [`OBJECTS`]. An argument of a custom function may have such a name, and be no object.
struct ObjectReader;

impl<'de> DeserializeSeed<'de> for ObjectReader {
    type Value = Option<MemberTexts>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<MemberTexts>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ObjectReader {
    type Value = Option<MemberTexts>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<MemberTexts>, A::Error> {
        let (mut members, mut met) = (MemberTexts::default(), [false; MEMBERS.len()]);
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            match first_time::<A::Error>(&MEMBERS, &mut met, &name)? {
                Some(at) => members[at] = text(&mut map)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Option<MemberTexts>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Option<MemberTexts>, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<MemberTexts>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<MemberTexts>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<MemberTexts>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<MemberTexts>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<MemberTexts>, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<WebhookBody> {
        WebhookBody::parse(text.as_bytes())
    }

    fn agent(body: &WebhookBody) -> Option<String> {
        body.agent_id().map(|id| id.expose_secret().to_owned())
    }

    fn number(body: &WebhookBody) -> Option<String> {
        body.phone_number().map(|number| number.as_str().to_owned())
    }

    #[test]
    fn every_kind_of_body_names_its_agent_and_the_number_of_the_account() {
        let numbers = |direction: &str| {
            json!({ "agent_id": "agent_test_1", "call_id": "call_1", "direction": direction,
                    "from_number": "+15550100001", "to_number": "+15550100002" })
        };
        let inbound =
            parse(&json!({ "event": "call_started", "call": numbers("inbound") }).to_string()).unwrap();
        assert_eq!(
            (inbound.event.as_deref(), inbound.call_id.as_deref()),
            (Some("call_started"), Some("call_1"))
        );
        assert_eq!(
            (agent(&inbound).as_deref(), number(&inbound).as_deref()),
            (Some("agent_test_1"), Some("+15550100002"))
        );
        let outbound =
            parse(&json!({ "event": "from_the_future", "call": numbers("outbound") }).to_string()).unwrap();
        assert_eq!(
            (outbound.event.as_deref(), number(&outbound).as_deref()),
            (Some("from_the_future"), Some("+15550100001"))
        );

        for object in ["call_inbound", "chat_inbound"] {
            let body = json!({ "event": object, object: { "from_number": "+15550100001", "to_number": "+15550100002" } });
            let body = parse(&body.to_string()).unwrap();
            assert_eq!((agent(&body), number(&body).as_deref()), (None, Some("+15550100002")));
        }
        let chat =
            parse(r#"{"event":"chat_ended","chat":{"chat_id":"chat_1","agent_id":"agent_test_2"}}"#).unwrap();
        assert_eq!(
            (chat.chat_id.as_deref(), chat.call_id.as_deref(), number(&chat)),
            (Some("chat_1"), None, None)
        );
        let function =
            r#"{"name":"f","call":{"agent_id":"agent_test_1"},"args":{"agent_id":"agent_test_9"}}"#;
        let function = parse(function).unwrap();
        assert_eq!((function.event.as_deref(), agent(&function).as_deref()), (None, Some("agent_test_1")));
    }

    #[test]
    fn a_body_that_another_parser_may_read_otherwise_is_refused() {
        for twice in [
            r#"{"event":"call_ended","event":"call_started"}"#,
            r#"{"event":"call_ended","\u0065vent":"call_started"}"#,
            r#"{"event":1,"event":"call_ended"}"#,
            r#"{"call":{},"call":{"agent_id":"agent_test_1"}}"#,
            r#"{"call":null,"call":{"agent_id":"agent_test_1"}}"#,
            r#"{"call":{"agent_id":"agent_test_1","agent_id":"agent_test_2"}}"#,
            r#"{"call":{"agent_id":null,"agent_id":"agent_test_2"}}"#,
            r#"{"call":{"agent\u005fid":"agent_test_1","agent_id":"agent_test_2"}}"#,
            r#"{"call":{"to_number":"+15550100001","to_number":"+15550100002"}}"#,
            r#"{"call":{"from_number":"+15550100001","from_number":"+15550100002"}}"#,
            r#"{"call":{"direction":"inbound","direction":"outbound"}}"#,
            r#"{"call":{"call_id":"1","call_id":"2"}}"#,
            r#"{"chat":{"chat_id":"1","chat_id":"2"}}"#,
            r#"{"chat_inbound":{},"chat_inbound":{}}"#,
            r#"{"call":{"agent_id":"agent_test_1"},"chat":{"agent_id":"agent_test_2"}}"#,
            r#"{"call_inbound":{},"call":{}}"#,
        ] {
            assert_eq!(
                parse(twice).err().map(|error| error.kind()),
                Some(ErrorKind::InvalidInput),
                "{twice}"
            );
        }
        // what was not read here may stand twice, and an agent in it is not the agent
        let other =
            r#"{"x":1,"x":2,"call":{"metadata":{"agent_id":"a"},"y":1,"y":2,"agent_id":"agent_test_1"}}"#;
        assert_eq!(agent(&parse(other).unwrap()).as_deref(), Some("agent_test_1"));
    }

    #[test]
    fn a_body_is_a_json_object_of_limited_length_and_depth() {
        for bad in [
            "",
            " ",
            "{",
            "{}}",
            "[]",
            "[\"call_ended\",{}]",
            "null",
            "1",
            "\"x\"",
            "{'event':1}",
            "{\"a\":1,}",
            "\u{feff}{}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(WebhookBody::parse(b"{\"event\":\"\xff\"}").is_err());
        assert!(WebhookBody::parse(b"{\"x\":\"\xff\"}").is_err());

        let nested =
            |depth: usize| format!("{{\"call\":{}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(parse(&nested(64)).is_ok() && parse(&nested(65)).is_err());
        assert!(parse(&nested(500_000)).is_err(), "no stack is used up");
        let quoted = format!("{{\"x\":\"{}\\\"{}\"}}", "[".repeat(100), "{".repeat(100));
        assert!(parse(&quoted).is_ok(), "brackets in a text are no depth");

        let long = |length: usize| format!("{{\"x\":\"{}\"}}", "y".repeat(length - 8));
        assert!(parse(&long(MAX_BODY)).is_ok() && parse(&long(MAX_BODY + 1)).is_err());
    }

    #[test]
    fn what_is_no_id_names_nobody() {
        for call in [
            r#"{"agent_id":5}"#,
            r#"{"agent_id":null}"#,
            r#"{"agent_id":["agent_test_1"]}"#,
            "7",
            "null",
            "[]",
            "\"x\"",
            "true",
            "-1",
            "1.5",
        ] {
            let body = parse(&format!(r#"{{"event":"call_ended","call":{call}}}"#)).unwrap();
            assert_eq!((agent(&body), number(&body), body.call_id.as_deref()), (None, None, None), "{call}");
        }
        for id in
            ["", " ", "agent test", "agent_test_1\\n", "agent'--", &"a".repeat(65), "agent_\\u0000", "ägent"]
        {
            let body = parse(&format!(r#"{{"call":{{"agent_id":"{id}","to_number":"5550100"}}}}"#)).unwrap();
            assert_eq!((agent(&body), number(&body), body.names_somebody()), (None, None, true), "{id}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let name = prop_oneof![
            "event|call|chat|call_inbound|agent_id|to_number|from_number|direction|call_id",
            "[a-z]{1,3}"
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "agent_test_[0-9]|outbound|\\+1555010000[0-9]|\\PC{0,8}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name.clone(), inner, 0..6)
                    .prop_map(|map| map.into_iter().collect::<Value>()),
            ]
        })
    }

    proptest! {
        /// Against serde_json's own tree, which has every member once.
        #[test]
        fn it_reads_what_a_plain_parser_reads(value in any_json()) {
            let objects: Vec<_> = OBJECTS.iter().filter_map(|name| value.get(name)).filter(|object| object.is_object()).collect();
            match parse(&value.to_string()) {
                Err(_) => prop_assert!(!value.is_object() || objects.len() > 1),
                Ok(body) => {
                    let agent = objects.first().and_then(|object| object.get("agent_id")).and_then(Value::as_str);
                    prop_assert_eq!(body.agent.as_ref().map(|id| id.as_str()), agent);
                    let event = value.get("event").and_then(Value::as_str).filter(|event| !event.is_empty());
                    prop_assert_eq!(body.event.as_deref(), event);
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,\\\\ evntcalgid_0-9]{0,60}") {
            let _ = (WebhookBody::parse(&bytes), parse(&text));
        }
    }
}
