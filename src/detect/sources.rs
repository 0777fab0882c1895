//! The columns of a candidate from which its credentials can be imported, as `[[source]]` parts of the layout file.

use std::collections::BTreeMap;

use crate::detect::columns::TableCredentials;
use crate::detect::names::{Meaning, Name};
use crate::detect::old_form::{self, OldForm};
use crate::detect::old_members::{FormCounts, OldMembers};
use crate::detect::owner::FoundOwner;
use crate::detect::report::ProposedSource;
use crate::detect::sampled::Sampled;
use crate::detect::shapes::ValueShape;
use crate::detect::whose::{FOR_CREDENTIALS, Known};
use crate::error::Result;
use crate::import::members::Members;
use crate::layout::filter::FilterValue;
use crate::layout::layout::{Layout, joined_name};
use crate::layout::old_source::OldSource;
use crate::postgres::catalogue::all_tables::{FoundColumn, FoundKind};
use crate::record::field::Field;

/// What a table has to import.
#[derive(Default)]
pub(super) struct TableSources {
    /// The column of the key first.
    pub(super) proposed: Vec<ProposedSource>,
    /// What no decryptor opens, with its column.
    pub(super) unopened: Vec<String>,
}

/// The sources of a table with credentials of Retell. A table without a column for the owner has none.
pub(super) fn find(
    sampled: &Sampled<'_>,
    found: &TableCredentials<'_>,
    owner: &FoundOwner,
    filter: (&BTreeMap<String, FilterValue>, &[String]),
) -> TableSources {
    let Some(user) = owner.user.as_deref().filter(|_| found.whose.is_retell()) else {
        return TableSources::default();
    };
    let constant = found.filter.as_ref().map(|(column, value)| (*column, value.as_str()));
    let layout = Layout::new();
    let mut finder = SourceFinder {
        sampled,
        found,
        user,
        tenant: owner.tenant.as_deref(),
        filter,
        constant,
        layout: &layout,
        sources: TableSources::default(),
    };
    for known in finder.in_order() {
        finder.column(known);
    }
    finder.sources
}

struct SourceFinder<'a, 'b> {
    sampled: &'b Sampled<'a>,
    found: &'b TableCredentials<'a>,
    user: &'b str,
    tenant: Option<&'b str>,
    filter: (&'b BTreeMap<String, FilterValue>, &'b [String]),
    constant: Option<(&'b str, &'b str)>,
    layout: &'b Layout,
    sources: TableSources,
}

/// The paths of members, each with its field.
type MemberPaths = Vec<(String, Field)>;

/// What the values of a column or a member are, as a whole.
enum ColumnVerdict {
    Nothing,
    Unopened(String),
    Opened { decryptor: &'static str, doubt: Option<String> },
}

impl<'a, 'b> SourceFinder<'a, 'b> {
    /// The columns of the fields, the key first, then other columns, and JSON last.
    fn in_order(&self) -> Vec<&'b Known<'a>> {
        let is_json = |known: &Known<'_>| matches!(known.column.kind, FoundKind::Json | FoundKind::Jsonb);
        let rank = |known: &&Known<'_>| {
            let column = &known.column.name;
            let at = self.found.fields.values().position(|used| used.name == *column);
            (is_json(known), at.unwrap_or(usize::MAX))
        };
        let mut all: Vec<&'b Known<'a>> = self.found.known.iter().collect();
        all.sort_by_key(rank);
        all
    }

    fn column(&mut self, known: &Known<'a>) {
        // the vault's own columns hold tokens, or what a check of the layout names
        if known.column.name.starts_with("retell_vault_") {
            return;
        }
        let is_text = matches!(known.column.kind, FoundKind::Text | FoundKind::Bytea | FoundKind::Uuid);
        match self.field(known).filter(|_| is_text) {
            Some((field, doubt)) => self.one(known, field, doubt),
            None => self.several(known),
        }
    }

    /// The field that a column is, and why that is in doubt.
    fn field(&self, known: &Known<'a>) -> Option<(Field, Option<String>)> {
        let column = &known.column.name;
        let used = self.found.fields.iter().find(|(_, used)| used.name == *column).map(|(name, _)| *name);
        let another = |field: &str| {
            let used = self.found.fields.get(field)?;
            Some(format!("{} is more likely the column of {field}", used.name))
        };
        let is_theirs = self.found.whose.owns(&known.name);
        let holds_keys = known.shapes.of(&[ValueShape::RetellKey]) * 2 > known.shapes.set();
        let misspelt = || format!("the name of {column} looks misspelt");
        let (name, doubt) = match (used, known.meaning) {
            (Some("config" | "settings"), _) => return None,
            (Some("iv" | "tag" | "refresh"), _) => return None,
            (Some(field), _) => (field, None),
            (None, Meaning::Key(_) | Meaning::Agent(_) | Meaning::WebhookKey) if known.name.is_misspelt => {
                let field = if let Meaning::Agent(field) = known.meaning { field } else { "api_key" };
                (field, Some(misspelt()))
            }
            (None, Meaning::Key(3..)) if is_theirs && known.name.provider.is_some() => ("api_key", None),
            (None, Meaning::Key(5..)) if is_theirs => ("api_key", another("api_key")),
            (None, Meaning::Key(_)) if holds_keys => {
                let own =
                    format!("the name of {column} tells no provider: its keys may be the application's own");
                ("api_key", Some(own))
            }
            (None, Meaning::WebhookKey) if is_theirs => ("webhook_key", another("webhook_key")),
            (None, Meaning::Agent(field)) if is_theirs => (field, another(field)),
            _ => return self.default_field(column).map(|field| (field, None)),
        };
        let field: Field = name.parse().ok()?;
        self.layout.fields.knows(field).then_some((field, doubt))
    }

    /// The secret field whose default column has this name.
    fn default_field(&self, column: &str) -> Option<Field> {
        let mut secrets = self.layout.fields.secrets().map(|(field, _)| field);
        secrets.find(|field| self.layout.column_of(*field) == Some(column))
    }

    /// A column in which each value is one field.
    fn one(&mut self, known: &Known<'a>, field: Field, doubt: Option<String>) {
        let column = &known.column.name;
        let is_plain = field.name() == "phone_number";
        let parts = if field.name() == "api_key" { self.parts(column) } else { None };
        let mut forms = FormCounts::new();
        for text in self.sampled.texts_where(column, self.constant) {
            let form = match known.column.kind {
                FoundKind::Bytea => old_form::of_bytes(text),
                _ if is_plain && !text.trim().is_empty() => OldForm::Plaintext,
                _ if known.name.says_reference() && !text.is_empty() => {
                    match old_form::of_text(text, false) {
                        OldForm::Plaintext if known.column.kind != FoundKind::Uuid => OldForm::Plaintext,
                        _ => OldForm::Unopened(old_form::REFERENCES),
                    }
                }
                _ => old_form::of_text(text, known.name.says_encrypted()),
            };
            let form = parts.as_ref().map_or(form, |parts| parts.of(form));
            *forms.entry(form).or_default() += 1;
        }
        match verdict(&forms) {
            ColumnVerdict::Nothing => {}
            ColumnVerdict::Unopened(what) => self.unopened(column, &what),
            ColumnVerdict::Opened { decryptor, doubt: of_values } => {
                let made = self.source(column, decryptor).map(|source| source.field(field));
                let made = made.and_then(|source| match &parts {
                    Some(parts) if decryptor == "aes-gcm" => parts.name(source),
                    _ => Ok(source),
                });
                self.propose(made, doubt.or(of_values));
            }
        }
    }

    /// The columns of the nonce and of the tag, if the key has them.
    fn parts(&self, column: &str) -> Option<SplitCiphertext> {
        let is_key = self.found.fields.get("api_key").is_some_and(|key| key.name == column);
        let iv = self.found.fields.get("iv").filter(|_| is_key)?;
        let mut nonces = self.sampled.texts_where(&iv.name, self.constant).filter(|text| !text.is_empty());
        Some(SplitCiphertext {
            is_fitting: nonces.all(old_form::is_nonce),
            iv: iv.name.clone(),
            tag: self.found.fields.get("tag").map(|tag| tag.name.clone()),
        })
    }

    /// A column with several fields in each value.
    fn several(&mut self, known: &Known<'a>) {
        let is_theirs = self.found.whose.owns(&known.name);
        let is_inside = known.inside.is_some_and(|inside| Some(inside) == self.found.whose.provider);
        let is_default = known.column.name == self.layout.config_column;
        let is_used = is_default || self.found.fields.values().any(|used| used.name == known.column.name);
        let is_json = matches!(known.column.kind, FoundKind::Json | FoundKind::Jsonb);
        let may_hold = known.meaning == Meaning::Config || is_inside;
        // the settings of the webhook are Retell's, whatever else is in the table
        let is_webhook = is_json && known.name.words == ["webhook", "config"];
        if !(may_hold && (is_theirs || is_inside || is_used || is_webhook))
            || known.column.kind == FoundKind::Bytea
        {
            return;
        }
        let (mut members, mut forms) = (OldMembers::default(), FormCounts::new());
        for text in self.sampled.texts_where(&known.column.name, self.constant) {
            match text.trim_start().starts_with('{') {
                true => members.add(text, is_theirs || is_default || is_webhook, is_webhook),
                false if is_json => {}
                false => *forms.entry(old_form::of_text(text, known.name.says_encrypted())).or_default() += 1,
            }
        }
        for (form, number) in std::mem::take(&mut members.as_whole) {
            *forms.entry(form).or_default() += number;
        }
        self.as_whole(known, &forms);
        self.members(known, &members);
    }

    /// Values that are encrypted with all their members.
    fn as_whole(&mut self, known: &Known<'a>, forms: &FormCounts) {
        let column = &known.column.name;
        let is_key = matches!(known.name.meaning(), Meaning::Key(_));
        match verdict(forms) {
            ColumnVerdict::Nothing => {}
            ColumnVerdict::Unopened(what) => self.unopened(column, &what),
            ColumnVerdict::Opened { decryptor, doubt } if is_key => {
                let made = self.source(column, decryptor);
                self.propose(made.map(|source| source.field(Field::named("api_key"))), doubt);
            }
            ColumnVerdict::Opened { .. } => self.unopened(
                column,
                "values that are encrypted as a whole, so that a source cannot name their members",
            ),
        }
    }

    fn members(&mut self, known: &Known<'a>, members: &OldMembers) {
        let column = known.column.name.clone();
        let mut groups: BTreeMap<(Option<String>, &'static str), MemberPaths> = BTreeMap::new();
        let mut fields: BTreeMap<Field, String> = BTreeMap::new();
        let by_name = Members::of(self.layout);
        let has_carexps = members.paths.values().any(|(_, forms)| forms.contains_key(&OldForm::Carexps));
        for (path, (field, forms)) in &members.paths {
            let (field, forms) = (*field, for_field(*field, forms));
            let is_another = fields.get(&field).filter(|_| !by_name.has(path, field));
            let another = is_another.map(|first| format!("{first} is the same field"));
            // it opens the plaintext and base64 beside its ciphertexts too
            let verdict = match verdict(&forms) {
                ColumnVerdict::Opened { .. } if has_carexps => {
                    ColumnVerdict::Opened { decryptor: "carexps", doubt: None }
                }
                verdict => verdict,
            };
            match verdict {
                ColumnVerdict::Nothing => continue,
                ColumnVerdict::Unopened(what) => self.unopened(&format!("{column}, member {path}"), &what),
                ColumnVerdict::Opened { decryptor, doubt } => {
                    groups.entry((another.or(doubt), decryptor)).or_default().push((path.clone(), field));
                }
            }
            fields.entry(field).or_insert_with(|| path.clone());
        }
        let is_one = groups.len() == 1;
        for ((doubt, decryptor), paths) in groups {
            let is_by_name = is_one && paths.iter().all(|(path, field)| by_name.has(path, *field));
            let made = self.source(&column, decryptor).and_then(|source| match is_by_name {
                true => Ok(source),
                false => paths.iter().try_fold(source, |source, (path, field)| source.member(path, *field)),
            });
            self.propose(made, doubt);
        }
        if members.without_path > 0 {
            self.unopened(
                &column,
                "credentials in lists, or in members whose names are not known (they are not shown)",
            );
        }
        let says_secret = known.name.says_encrypted()
            || known.name.has(&["credential", "credentials", "creds", "secrets", "keys"]);
        if members.paths.is_empty() && members.objects > 0 && says_secret {
            let made = self.source(&column, "plaintext");
            self.propose(
                made,
                Some(format!(
                    "no member of {column} has a name or a value that tells its field: name them in `members`"
                )),
            );
        }
    }

    /// A source over the rows that count.
    fn source(&self, column: &str, decryptor: &str) -> Result<OldSource> {
        let table = joined_name(&[&self.sampled.table.schema, &self.sampled.table.name]);
        let mut source = OldSource::new(&table, self.user, column, decryptor)?;
        if let Some(tenant) = self.tenant {
            source = source.tenant_column(tenant)?;
        }
        for (column, value) in self.filter.0 {
            source = source.where_equals(column, value.clone())?;
        }
        if let Some(column) = self.switch() {
            source = source.where_equals(column, true)?;
        }
        self.filter.1.iter().try_fold(source, |source, column| source.is_null(column))
    }

    /// The flag that says whether the credentials of a row are in use. In a table of something else it is about that.
    fn switch(&self) -> Option<&'b str> {
        let table = self.sampled.table;
        let is_switch = |name: &str| matches!(Name::of(name).last(), "active" | "enabled");
        let is_one = |column: &&FoundColumn| column.kind == FoundKind::Bool && is_switch(&column.name);
        let column =
            table.columns.iter().find(is_one).filter(|_| Name::of(&table.name).has(&FOR_CREDENTIALS))?;
        (!self.filter.0.contains_key(&column.name)).then_some(column.name.as_str())
    }

    /// A name that a layout cannot have makes no source.
    fn propose(&mut self, source: Result<OldSource>, doubt: Option<String>) {
        if let Ok(source) = source {
            self.sources.proposed.push(ProposedSource::new(source, doubt));
        }
    }

    fn unopened(&mut self, column: &str, what: &str) {
        let table = joined_name(&[&self.sampled.table.schema, &self.sampled.table.name]);
        self.sources.unopened.push(format!("no source reads this: {table}.{column} holds {what}"));
    }
}

/// The nonce, and perhaps the tag, in columns of their own.
struct SplitCiphertext {
    iv: String,
    tag: Option<String>,
    /// Whether every nonce has a length of AES-GCM.
    is_fitting: bool,
}

impl SplitCiphertext {
    /// The form of a ciphertext with these parts.
    fn of(&self, form: OldForm) -> OldForm {
        match form {
            OldForm::Nothing | OldForm::Plaintext | OldForm::Base64 | OldForm::Fernet | OldForm::Carexps => {
                form
            }
            OldForm::Unopened(_) | OldForm::PerhapsPlaintext | OldForm::AesGcm | OldForm::PerhapsAesGcm => {
                match self.is_fitting {
                    true => OldForm::AesGcm,
                    false => {
                        OldForm::Unopened("ciphertexts with a nonce of a length that AES-GCM does not have")
                    }
                }
            }
        }
    }

    fn name(&self, source: OldSource) -> Result<OldSource> {
        let source = source.iv_column(&self.iv)?;
        self.tag.iter().try_fold(source, |source, tag| source.tag_column(tag))
    }
}

/// A plain field may have any text.
fn for_field(field: Field, forms: &FormCounts) -> FormCounts {
    match matches!(field.name(), "phone_number" | "webhook_config") {
        true => FormCounts::from([(OldForm::Plaintext, forms.values().sum())]),
        false => forms.clone(),
    }
}

/// One decryptor for all values, or the reason why there is none.
fn verdict(forms: &FormCounts) -> ColumnVerdict {
    use OldForm::*;
    let set: Vec<(OldForm, usize)> =
        forms.iter().filter(|(form, _)| **form != Nothing).map(|(form, number)| (*form, *number)).collect();
    let mut words: Vec<&str> = set.iter().map(|(form, _)| form.what()).collect();
    words.dedup();
    let most = set.iter().filter(|(form, _)| form.decryptor().is_some()).max_by_key(|(_, number)| *number);
    let Some(decryptor) = most.and_then(|(form, _)| form.decryptor()) else {
        return if set.is_empty() {
            ColumnVerdict::Nothing
        } else {
            ColumnVerdict::Unopened(words.join(" and "))
        };
    };
    // the decryptor of CareXPS refuses what is not a value of that application
    if set.iter().any(|(form, _)| *form == Carexps) {
        return ColumnVerdict::Opened { decryptor: "carexps", doubt: None };
    }
    let doubt = match set.iter().all(|(form, _)| form.decryptor() == Some(decryptor)) {
        false => Some(format!("its values have several forms: {}", words.join(", "))),
        true => set.iter().find_map(|(form, _)| form.doubt()).map(str::to_owned),
    };
    ColumnVerdict::Opened { decryptor, doubt }
}
