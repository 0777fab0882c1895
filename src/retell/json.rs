//! A Retell configuration in and out of JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, ErrorKind, Result};
use crate::record::credentials::Credentials as _;
use crate::record::field::{Field, MAX_FIELDS};
use crate::record::values::Values;
use crate::retell::config::{
    AGENT, API_KEY, CALL_AGENT_ID, INTEGRATION_STATUS, PHONE_NUMBER, RetellConfig, SMS_AGENT_ID,
    WEBHOOK_CONFIG, WEBHOOK_KEY, agent_field, extra_field, short_name, table,
};
use crate::retell::values::WebhookConfig;

/// The longest JSON text that is read, in bytes.
const MAX_JSON: usize = 256 * 1024;

/// Errors do not repeat longer names: such a name could be a secret in the wrong place.
const MAX_NAME_SHOWN: usize = 20;

const SHAPE: &str = "the shape is {\"api_key\", \"call_agent_id\", \"sms_agent_id\", \"agents\": {\"<role>\"}, \"webhook_key\", \"phone_number\", \"webhook_config\": {\"webhook_url\", \"events\"}, \"integration_status\", \"extra\": {\"<name>\"}}";

impl RetellConfig {
    /// A configuration from JSON of at most 256 KiB and 64 fields, in this shape:
    /// `{"api_key", "call_agent_id", "sms_agent_id", "agents": {"<role>"}, "webhook_key", "phone_number",
    /// "webhook_config": {"webhook_url", "events"}, "integration_status", "extra": {"<name>"}}`.
    ///
    /// At least one secret must be set, and `null` means not set. `<role>_agent_id` is another spelling of
    /// `agents.<role>`, and `webhook_config.secret` and `webhook_secret` are older spellings of `webhook_key`. A field that
    /// is given in two spellings must have the same value in both.
    ///
    /// # Errors
    /// `InvalidInput`, which names the field and never repeats a value.
    pub fn from_json(text: &str) -> Result<Self> {
        let mut input = Input::default();
        input.read(parsed(text, "the configuration")?)?;
        let config = input.into_config()?;
        config.check()?;
        Ok(config)
    }

    /// The configuration with its secrets, as JSON in the shape that [`from_json`](Self::from_json) reads.
    ///
    /// # Security
    /// The text is wiped when dropped. The caller is responsible for copies of it.
    pub fn to_json_exposed(&self) -> Zeroizing<String> {
        print(&self.to_values())
    }

    /// The configuration as JSON with its secrets masked, like `key_…9f2a`.
    pub fn to_json_masked(&self) -> String {
        print(&self.masked_values()).to_string()
    }
}

impl WebhookConfig {
    /// A webhook from JSON like `{"webhook_url": "https://…", "events": ["call_ended"]}`. The events may be left out.
    ///
    /// # Errors
    /// `InvalidInput`, which never repeats a value. A member `secret` is refused: it is the field `webhook_key`.
    pub fn from_json(text: &str) -> Result<Self> {
        let mut input = Input::default();
        input.read_webhook(parsed(text, "webhook_config")?)?;
        if !input.texts.is_empty() {
            let message = "webhook_config.secret: has its own field";
            return Err(Error::new(ErrorKind::InvalidInput, message).with_hint("put it into webhook_key"));
        }
        input.webhook.ok_or_else(|| misshapen("webhook_config: webhook_url is missing"))
    }
}

/// Overwrites every text in a JSON value.
pub(crate) fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(object) => object.values_mut().for_each(wipe),
        _ => {}
    }
}

fn print(values: &Values) -> Zeroizing<String> {
    // quotes, colon and comma of every field, and 32 for the groups: the text never grows, and leaves no copy behind
    let room = values.iter().map(|(field, json)| field.name().len() + json.len() + 4).sum::<usize>() + 32;
    let mut text = Zeroizing::new(String::with_capacity(room));
    let single = |fields: &[Field], text: &mut String| {
        for field in fields {
            values.get(*field).into_iter().for_each(|json| print_member(field.name(), json, text));
        }
    };
    let table = table();
    let (agents, extra): (Vec<_>, Vec<_>) = values
        .iter()
        .filter(|(field, _)| !table.each().any(|(own, _)| own == *field))
        .partition(|(field, _)| table.knows(*field));
    text.push('{');
    single(&[API_KEY, CALL_AGENT_ID, SMS_AGENT_ID], &mut text);
    print_group("agents", &agents, &mut text);
    single(&[WEBHOOK_KEY, PHONE_NUMBER, WEBHOOK_CONFIG, INTEGRATION_STATUS], &mut text);
    print_group("extra", &extra, &mut text);
    text.push('}');
    debug_assert!(text.len() <= room);
    text
}

fn print_group(name: &str, members: &[(Field, &str)], text: &mut String) {
    if !members.is_empty() {
        print_member(name, "{", text);
        members.iter().for_each(|(field, json)| print_member(short_name(field), json, text));
        text.push('}');
    }
}

fn print_member(name: &str, json: &str, text: &mut String) {
    text.push_str(if text.ends_with('{') { "\"" } else { ",\"" });
    text.push_str(name);
    text.push_str("\":");
    text.push_str(json);
}

/// Any JSON value. Its texts and names are wiped when dropped.
enum Json {
    Null,
    Text(Zeroizing<String>),
    List(Vec<Json>),
    Object(Vec<(Zeroizing<String>, Json)>),
    Other,
}

impl Json {
    /// The members of an object. `null` has none.
    fn into_members(self, place: &str) -> Result<Vec<(Zeroizing<String>, Json)>> {
        match self {
            Self::Null => Ok(Vec::new()),
            Self::Object(members) => Ok(members),
            _ => Err(misshapen(format!("{place}: must be an object"))),
        }
    }

    fn into_text(self, place: &str) -> Result<Option<Zeroizing<String>>> {
        match self {
            Self::Null => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            _ => Err(misshapen(format!("{place}: must be a string"))),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Json, A::Error> {
        let mut members: Vec<(Zeroizing<String>, Json)> = Vec::new();
        while let Some((name, value)) = object.next_entry::<Zeroizing<String>, Json>()? {
            if members.iter().any(|(known, _)| *known == name) {
                let name = shown(&name).map_or("with a long name".to_owned(), |name| format!("`{name}`"));
                return Err(A::Error::custom(format!("duplicate field {name}")));
            }
            if members.len() == MAX_FIELDS {
                return Err(A::Error::custom(format!("an object with more than {MAX_FIELDS} fields")));
            }
            members.push((name, value));
        }
        Ok(Json::Object(members))
    }
}

/// What was read, before the values are parsed.
#[derive(Default)]
struct Input {
    texts: BTreeMap<Field, Zeroizing<String>>,
    webhook: Option<WebhookConfig>,
}

impl Input {
    fn read(&mut self, json: Json) -> Result<()> {
        let table = table();
        for (at, (name, value)) in json.into_members("the configuration")?.into_iter().enumerate() {
            match name.as_str() {
                "agents" => self.read_group("agents", agent_field, value)?,
                "extra" => self.read_group("extra", extra_field, value)?,
                "webhook_config" => self.read_webhook(value)?,
                "webhook_secret" => self.put(WEBHOOK_KEY, value)?,
                name => match name.parse().ok().filter(|field| table.knows(*field)) {
                    Some(field) => self.put(field, value)?,
                    None => return Err(unknown("the configuration", name, at)),
                },
            }
        }
        Ok(())
    }

    fn read_group(&mut self, group: &str, field: fn(&str) -> Result<Field>, json: Json) -> Result<()> {
        for (at, (name, value)) in json.into_members(group)?.into_iter().enumerate() {
            let place = || match shown(&name) {
                Some(name) => format!("{group}.{name}"),
                None => format!("{group}, member {}", at + 1),
            };
            let field = field(&name).map_err(|error| error.about(place()))?;
            self.put(field, value)?;
        }
        Ok(())
    }

    fn read_webhook(&mut self, json: Json) -> Result<()> {
        let is_null = matches!(json, Json::Null);
        let (mut url, mut events, mut has_key) = (None, None, false);
        for (at, (name, value)) in json.into_members("webhook_config")?.into_iter().enumerate() {
            match (name.as_str(), value) {
                ("webhook_url", value) => url = value.into_text("webhook_config.webhook_url")?,
                ("events", Json::Null) => {}
                ("events", Json::List(items)) => events = Some(items),
                ("events", _) => return Err(misshapen("webhook_config.events: must be a list of strings")),
                ("secret", value) => {
                    has_key = !matches!(value, Json::Null);
                    self.put(WEBHOOK_KEY, value)?;
                }
                (name, _) => return Err(unknown("webhook_config", name, at)),
            }
        }
        let about = |error: Error| error.about("webhook_config");
        match (url, events) {
            (Some(url), None) => self.webhook = Some(WebhookConfig::new(&url).map_err(about)?),
            (Some(url), Some(events)) => {
                let texts = events.into_iter().map(|event| match event {
                    Json::Text(event) => Ok(event),
                    _ => Err(misshapen("webhook_config.events: must be a list of strings")),
                });
                let events = texts.collect::<Result<Vec<_>>>()?;
                let webhook = WebhookConfig::new(&url).and_then(|webhook| webhook.with_events(&*events));
                self.webhook = Some(webhook.map_err(about)?);
            }
            (None, None) if is_null || has_key => {}
            (None, _) => return Err(misshapen("webhook_config: webhook_url is missing")),
        }
        Ok(())
    }

    fn put(&mut self, field: Field, json: Json) -> Result<()> {
        let Some(text) = json.into_text(&label(field))? else { return Ok(()) };
        match self.texts.get(&field) {
            Some(known) if *known != text => {
                let message = format!("{}: given twice with different values", label(field));
                Err(Error::new(ErrorKind::InvalidInput, message).with_hint(
                    "<role>_agent_id is the same field as agents.<role>, and webhook_config.secret and webhook_secret are the same as webhook_key: keep one of them",
                ))
            }
            _ => {
                self.texts.insert(field, text);
                Ok(())
            }
        }
    }

    fn into_config(mut self) -> Result<RetellConfig> {
        let mut config = RetellConfig::empty();
        config.set_api_key(self.take(API_KEY)?);
        config.set_webhook_key(self.take(WEBHOOK_KEY)?);
        config.set_phone_number(self.take(PHONE_NUMBER)?);
        config.set_webhook_config(self.webhook.take());
        config.set_integration_status(self.take(INTEGRATION_STATUS)?);
        for field in self.texts.keys().copied().collect::<Vec<_>>() {
            match field.name().strip_suffix(AGENT) {
                Some(role) => config.set_agent(role, self.take(field)?)?,
                None => config.set_extra(field.name(), self.take(field)?)?,
            }
        }
        Ok(config)
    }

    fn take<T: FromStr<Err = Error>>(&mut self, field: Field) -> Result<Option<T>> {
        let value = self.texts.remove(&field).map(|text| text.parse()).transpose();
        value.map_err(|error: Error| error.about(label(field)))
    }
}

/// How errors name a field whose value is wrong.
fn label(field: Field) -> String {
    let is_own = table().knows(field);
    match shown(short_name(&field)) {
        Some(_) if is_own => field.to_string(),
        Some(name) => format!("extra.{name}"),
        None if is_own => "an agent with a long role".to_owned(),
        None => "an extra field with a long name".to_owned(),
    }
}

/// A name, if errors may repeat it.
fn shown(name: &str) -> Option<&str> {
    let is_printable = name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    (name.len() <= MAX_NAME_SHOWN && is_printable).then_some(name)
}

fn unknown(place: &str, name: &str, at: usize) -> Error {
    let Some(name) = shown(name) else {
        return misshapen(format!("{place}: unknown field, member {}, whose name is not shown", at + 1));
    };
    misshapen(match near(name).filter(|_| place != "webhook_config") {
        Some(near) => format!("{place}: unknown field `{name}`, did you mean {near}?"),
        None => format!("{place}: unknown field `{name}`"),
    })
}

/// The first field whose name contains this one or is contained in it, apart from case and separators.
fn near(name: &str) -> Option<Field> {
    let letters = |name: &str| name.to_ascii_lowercase().replace(['_', '-', ' '], "");
    let name = letters(name);
    let is_near = |own: &str| name.len() > 2 && (own.contains(&name) || name.contains(own));
    table().each().map(|(own, _)| own).find(|own| is_near(&letters(own.name())))
}

/// serde_json's own errors about types repeat the value. [`Json`] takes every type, so errors about data are ours.
fn parsed(text: &str, thing: &str) -> Result<Json> {
    if text.len() > MAX_JSON {
        return Err(misshapen(format!("{thing} is longer than 256 KiB")));
    }
    serde_json::from_str(text).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        misshapen(match error.classify() {
            Category::Data => format!("{thing}: {error}"),
            Category::Eof => format!("{thing} is not complete JSON: it ends at {place}"),
            _ => format!("{thing} is not JSON, at {place}"),
        })
    })
}

fn misshapen(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message).with_hint(SHAPE)
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
