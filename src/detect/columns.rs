//! Which columns of a table hold the credentials of a provider.

use std::collections::BTreeMap;

use crate::detect::names::{Meaning, Name};
use crate::detect::provider_column::{self, ProviderColumn};
use crate::detect::providers::Class;
use crate::detect::report::Holding;
use crate::detect::sampled::Sampled;
use crate::detect::shapes::ValueShape;
use crate::detect::sign_in::is_sign_in;
use crate::detect::whose::{FOR_CREDENTIALS, Known, Whose, known, whose};
use crate::postgres::catalogue::all_tables::{FoundColumn, FoundKind};

/// Words of tables that hold what happened, and copies.
const RECORDS_OF_EVENTS: [&str; 26] = [
    "archive",
    "archived",
    "audit",
    "backup",
    "bak",
    "call",
    "calls",
    "copy",
    "deleted",
    "event",
    "events",
    "execution",
    "executions",
    "history",
    "log",
    "logs",
    "message",
    "messages",
    "old",
    "queue",
    "session",
    "sessions",
    "snapshot",
    "staging",
    "temp",
    "tmp",
];

/// The columns with the credentials of one provider.
pub(super) struct TableCredentials<'a> {
    pub(super) whose: Whose,
    /// Every column that may hold a value.
    pub(super) known: Vec<Known<'a>>,
    pub(super) fields: BTreeMap<&'static str, &'a FoundColumn>,
    pub(super) filter: Option<(&'a str, String)>,
    pub(super) holds: Holding,
    pub(super) why: Vec<String>,
}

/// The credentials of the most likely provider in a table. `None`: there are none.
pub(super) fn find<'a>(sampled: &Sampled<'a>) -> Option<TableCredentials<'a>> {
    let constants = provider_column::find(sampled);
    let (known, table) = (known(sampled, constants.as_ref()), Name::of(&sampled.table.name));
    let whose = whose(&known, &table, constants.as_ref())?;
    if is_sign_in(sampled.table) && whose.provider.is_none_or(|provider| provider.class == Class::Other) {
        return None;
    }
    let mut found = Finder { sampled, known, table, constants, whose, why: Vec::new() };
    let fields = found.fields();
    found.is_enough(&fields).then(|| found.credentials(fields))
}

struct Finder<'a, 'b> {
    sampled: &'b Sampled<'a>,
    known: Vec<Known<'a>>,
    table: Name,
    constants: Option<ProviderColumn<'a>>,
    whose: Whose,
    why: Vec<String>,
}

impl<'a> Finder<'a, '_> {
    fn is_theirs(&self, known: &Known<'_>) -> bool {
        self.whose.owns(&known.name)
    }

    fn is_retell(&self) -> bool {
        self.whose.is_retell()
    }

    fn is_named(known: &Known<'_>) -> bool {
        known.name.provider.is_some()
    }

    fn known_as(&self, column: &FoundColumn) -> Option<&Known<'a>> {
        self.known.iter().find(|known| known.column.name == column.name)
    }

    fn best(&self, score: impl Fn(&Known<'a>) -> Option<i32>) -> Option<&Known<'a>> {
        let scored = self.known.iter().filter_map(|known| Some((score(known)?, known)));
        scored.reduce(|best, other| if other.0 > best.0 { other } else { best }).map(|(_, known)| known)
    }

    fn fields(&mut self) -> BTreeMap<&'static str, &'a FoundColumn> {
        let mut fields = BTreeMap::new();
        let key = self.best(|known| self.as_key(known)).map(|known| (known.column, known.name.words.clone()));
        if let Some((column, words)) = &key {
            fields.insert("api_key", *column);
            fields.extend(self.parts(words));
        }
        let named_key = key.is_some();
        let config = self.best(|known| self.as_config(known, named_key)).map(|known| known.column);
        if let Some(config) = config {
            fields.insert("config", config);
            let is_other = |known: &&Known| {
                known.meaning == Meaning::Config && known.column.name != config.name && self.is_theirs(known)
            };
            let settings = self.known.iter().find(is_other).filter(|_| !named_key);
            fields.extend(settings.map(|known| ("settings", known.column)));
            // an empty column of any provider, beside the credentials
            let is_empty =
                |column: &FoundColumn| self.known_as(column).is_some_and(|known| known.shapes.set() == 0);
            if let Some((column, _)) = &key
                && Name::of(&column.name).provider.is_none()
                && is_empty(column)
                && !is_empty(config)
            {
                for field in ["api_key", "iv", "tag", "refresh"] {
                    fields.remove(field);
                }
            }
        }
        let webhook = self.best(|known| {
            (known.meaning == Meaning::WebhookKey && self.is_theirs(known))
                .then_some(known.shapes.set().min(1) as i32)
        });
        fields.extend(webhook.map(|known| ("webhook_key", known.column)));
        for known in self.known.iter().rev() {
            if let Meaning::Agent(field) = known.meaning
                && self.is_agent(known)
            {
                fields.insert(field, known.column);
            }
        }
        let phone = self.best(|known| self.as_phone(known, &fields));
        fields.extend(phone.map(|known| ("phone_number", known.column)));
        fields
    }

    fn as_key(&self, known: &Known<'a>) -> Option<i32> {
        // a table of names and values: the row of `retell_api_key` has the key, whatever the column is called
        let is_text = matches!(known.column.kind, FoundKind::Text | FoundKind::Bytea);
        let names_key =
            self.constants.as_ref().and_then(ProviderColumn::best).is_some_and(|best| best.names_key);
        let is_value = self.whose.is_by_constant
            && (known.name.last() == "value" || known.meaning == Meaning::Config && is_text && names_key);
        let clear = match known.meaning {
            Meaning::Key(clear) => clear,
            _ if is_value => 1,
            _ => return None,
        };
        if known.shapes.of(&[ValueShape::Hash]) * 2 > known.shapes.set() {
            return None;
        }
        let is_masked = known.shapes.of(&[ValueShape::Masked]) * 2 > known.shapes.set();
        let is_key = self.is_retell() && known.shapes.of(&[ValueShape::RetellKey]) > 0;
        let is_theirs = match (Self::is_named(known), self.whose.is_by_constant) {
            // the column of another provider, although a key of Retell is in it
            (true, _) => self.is_theirs(known),
            (false, _) => self.is_theirs(known) || is_key || self.is_generic_key(known),
        };
        let is_set = known.shapes.set() > 0;
        (is_theirs || is_value).then(|| {
            i32::from(clear)
                + 20 * i32::from(Self::is_named(known))
                + 5 * i32::from(is_set)
                + 30 * i32::from(is_key)
                - 50 * i32::from(is_masked)
        })
    }

    /// Whether an `api_key` without a provider, beside columns that name Retell, is Retell's: the application's own keys are
    /// plaintext that is none of Retell's.
    fn is_generic_key(&self, known: &Known<'a>) -> bool {
        let no_other = self
            .known
            .iter()
            .all(|known| known.name.provider.is_none_or(|named| Some(named) == self.whose.provider));
        let holds = known.shapes.holds(known.name.says_encrypted());
        let no_named =
            !self.known.iter().any(|known| matches!(known.meaning, Meaning::Key(_)) && self.is_theirs(known));
        self.is_retell()
            && no_other
            && no_named
            && matches!(holds, Holding::Ciphertext | Holding::References | Holding::Tokens)
    }

    fn as_config(&self, known: &Known<'a>, has_key: bool) -> Option<i32> {
        if known.meaning != Meaning::Config {
            return None;
        }
        let is_json = matches!(known.column.kind, FoundKind::Json | FoundKind::Jsonb);
        let says_secret = known.name.says_encrypted()
            || known.name.has(&["credentials", "credential", "creds", "secrets", "keys"]);
        let is_plain_config = is_json && ["config", "configuration", "settings"].contains(&known.name.last());
        let is_ours = known.shapes.of(&[ValueShape::JsonToken]) > 0;
        let is_theirs = self.is_theirs(known) && (!has_key || is_json || Self::is_named(known));
        let beside_key = has_key && is_plain_config && known.name.words.len() == 1;
        let with_key =
            known.inside.is_some() && known.inside == self.whose.provider && known.name.provider.is_none();
        (is_theirs || beside_key || is_ours || with_key).then(|| {
            10 * i32::from(says_secret)
                + 20 * i32::from(Self::is_named(known))
                + 40 * i32::from(is_ours)
                + 30 * i32::from(with_key)
                + 5 * i32::from(is_json)
        })
    }

    fn is_agent(&self, known: &Known<'a>) -> bool {
        let looks_so = known.shapes.of(&[ValueShape::RetellAgent]) * 2 > known.shapes.set();
        self.is_theirs(known)
            || (self.is_retell() && known.name.provider.is_none() && looks_so)
            || (self.is_retell() && known.shapes.of(&[ValueShape::Token]) > 0)
    }

    fn as_phone(&self, known: &Known<'a>, fields: &BTreeMap<&'static str, &FoundColumn>) -> Option<i32> {
        let is_about_it =
            self.table.has(&["agent", "agents", "phone", "assistant", "assistants"]) && !fields.is_empty();
        let is_plain_name = known.name.words.len() == 2 && known.name.has(&["phone"]);
        let is_ours = known
            .column
            .comment
            .as_deref()
            .is_some_and(|comment| comment.starts_with("retell-vault: phone_number"));
        let is_one = known.meaning == Meaning::PhoneNumber && known.column.kind == FoundKind::Text;
        let is_theirs = Self::is_named(known) && self.is_theirs(known) || is_ours;
        (is_one && (is_theirs || (is_plain_name && (is_about_it || self.whose.is_all))))
            .then_some(i32::from(is_theirs))
    }

    /// The other columns of a ciphertext: `accessIV` and `accessTag` of `accessCiphertext`, or just `iv` and `auth_tag`.
    fn parts(&self, key: &[String]) -> Vec<(&'static str, &'a FoundColumn)> {
        const OF_ANY: [&str; 5] = ["auth", "encrypted", "encryption", "gcm", "init"];
        let is_its = |word: &String| key.contains(word) || OF_ANY.contains(&word.as_str());
        let part = |field| {
            let is_one = |known: &&Known| {
                known.meaning == Meaning::Part(field) && known.name.stem().iter().all(is_its)
            };
            let in_common =
                |known: &&Known| known.name.stem().iter().filter(|word| key.contains(word)).count();
            Some((field, self.known.iter().filter(is_one).max_by_key(in_common)?.column))
        };
        let refresh =
            self.known.iter().find(|known| known.meaning == Meaning::RefreshToken && self.is_theirs(known));
        let refresh = refresh.map(|known| ("refresh", known.column));
        ["iv", "tag"].into_iter().filter_map(part).chain(refresh).collect()
    }

    /// Whether these columns are credentials: a key, or the agents of Retell.
    fn is_enough(&self, fields: &BTreeMap<&'static str, &'a FoundColumn>) -> bool {
        let of = |field| fields.get(field).and_then(|column| self.known_as(column));
        if let Some(key) = of("api_key") {
            return self.is_clear_key(key) || self.is_for_credentials();
        }
        let Some(config) = of("config") else {
            let is_agent = |field: &&str| field.ends_with("_agent_id") || *field == "webhook_key";
            // a call notes its agent too
            return self.is_retell() && !is_record(&self.table) && fields.keys().any(is_agent);
        };
        let says_secret =
            config.name.says_encrypted() || config.name.has(&["credentials", "creds", "secrets", "keys"]);
        // settings of an application are not credentials
        fields.len() > 1 && self.is_for_credentials()
            || self.whose.is_by_constant && self.is_for_credentials()
            || says_secret
            || holds_credentials(config)
    }

    /// Whether the table is made for credentials, or is about Retell.
    fn is_for_credentials(&self) -> bool {
        self.is_retell() || self.table.has(&FOR_CREDENTIALS)
    }

    /// A column that is only called `key` may be anything.
    fn is_clear_key(&self, known: &Known<'_>) -> bool {
        matches!(known.meaning, Meaning::Key(4..)) || Self::is_named(known) || holds_credentials(known)
    }

    fn credentials(mut self, fields: BTreeMap<&'static str, &'a FoundColumn>) -> TableCredentials<'a> {
        let filter = self.filter(&fields);
        let main = ["api_key", "config"].into_iter().find_map(|field| fields.get(field).copied());
        let main = main.or_else(|| fields.values().next().copied());
        let holds = main.map_or(Holding::Unknown, |column| self.holds(column, filter.as_ref()));
        self.say_others(&fields);
        TableCredentials { whose: self.whose, known: self.known, fields, filter, holds, why: self.why }
    }

    /// The constant of the rows that hold this provider's credentials.
    fn filter(&mut self, fields: &BTreeMap<&'static str, &'a FoundColumn>) -> Option<(&'a str, String)> {
        let constants = self.constants.as_ref()?;
        let best = constants.best().filter(|best| Some(best.provider) == self.whose.provider)?;
        let is_other_key = |known: &Known| {
            matches!(known.meaning, Meaning::Key(_))
                && known.name.provider.is_some_and(|named| Some(named) != self.whose.provider)
        };
        // without the constant, a column of one provider could not be told from another's
        let is_needed = self.whose.is_by_constant || self.known.iter().any(is_other_key);
        let is_used = fields.values().any(|column| column.name == constants.column.name);
        if !is_needed || is_used {
            return None;
        }
        let others: Vec<&str> = constants.others_like(best).collect();
        let column = &constants.column.name;
        self.why.push(format!("{column} tells whose credentials a row holds"));
        if !others.is_empty() {
            let others = others.join(", ");
            self.why.push(format!("{column} also has the values {others}: one layout has one constant"));
        }
        Some((column, best.text.clone()))
    }

    fn holds(&mut self, column: &'a FoundColumn, filter: Option<&(&'a str, String)>) -> Holding {
        let (name, filter) = (Name::of(&column.name), filter.map(|(name, value)| (*name, value.as_str())));
        let shapes = self.sampled.shapes(&column.name, filter);
        let (was_read, set) = (self.sampled.was_column_read(column), shapes.set());
        let known_keys = [ValueShape::RetellKey, ValueShape::OtherKey, ValueShape::Token];
        let holds = match shapes.holds(name.says_encrypted()) {
            _ if set == 0 && !was_read => Holding::Unknown,
            _ if set > 0 && name.says_reference() && shapes.of(&known_keys) == 0 => Holding::References,
            holds => holds,
        };
        let column = &column.name;
        match holds {
            Holding::Unknown if !was_read => {
                self.why.push(format!("the values of {column} could not be read, or not all of them"))
            }
            Holding::Empty => self.why.push(format!("{column} is empty in the sampled rows")),
            _ => {
                self.why.push(format!("{column} holds {} in most of its sampled values ({set})", what(holds)))
            }
        }
        if holds == Holding::Plaintext && name.says_encrypted() {
            self.why.push(format!("the name of {column} says encrypted, but its values are plaintext"));
        }
        if shapes.of(&[ValueShape::Masked]) > 0 {
            self.why.push(format!("{column} holds masked values, from which no key can be had"));
        }
        if shapes.of(&[ValueShape::EncodedKey]) > 0 {
            self.why.push(format!("{column} holds base64 of plaintext, which is no encryption"));
        }
        if shapes.of(&[ValueShape::Empty]) > 0 && set > 0 && self.sampled.texts(column).any(str::is_empty) {
            self.why.push(format!("in {column}, an empty text means that there is none"));
        }
        holds
    }

    /// Columns that could be taken for credentials of this provider.
    fn say_others(&mut self, fields: &BTreeMap<&'static str, &'a FoundColumn>) {
        for known in &self.known {
            let column = &known.column.name;
            let is_used = fields.values().any(|used| used.name == *column);
            let is_general = known.name.provider.is_none()
                && matches!(known.meaning, Meaning::Key(7..) | Meaning::WebhookKey);
            if known.name.is_misspelt && known.meaning != Meaning::Other {
                let set = if known.shapes.set() == 0 { "empty" } else { "not empty" };
                self.why
                    .push(format!("{column} looks like a misspelling of a column for Retell, and is {set}"));
            } else if is_general && !is_used && !self.whose.is_all {
                self.why.push(format!("{column} names no provider: taken for the application's own"));
            }
        }
    }
}

fn holds_credentials(known: &Known<'_>) -> bool {
    let holds = known.shapes.holds(known.name.says_encrypted());
    matches!(holds, Holding::Plaintext | Holding::Ciphertext | Holding::References | Holding::Tokens)
}

/// Whether a table holds what happened, or copies.
pub(super) fn is_record(table: &Name) -> bool {
    table.has(&RECORDS_OF_EVENTS)
}

pub(super) fn what(holds: Holding) -> &'static str {
    match holds {
        Holding::Plaintext => "plaintext",
        Holding::Ciphertext => "what looks encrypted",
        Holding::References => "references to secrets elsewhere",
        Holding::Tokens => "tokens of a vault",
        Holding::Empty => "nothing",
        Holding::Unknown => "something else",
    }
}
