use super::*;
use crate::error::ErrorKind;
use crate::layout::filter::Rows;
use crate::record::field::FieldSpec;
use crate::record::values::Values;
use proptest::prelude::*;

const SECRET: &str = "key_test_canary_4711";

const DESIGN: &str = r#"
[table]
name = "crm.organizations"
user = "id"
tenant = "org_id"
where = { provider = "retell", kind = 7, live = true }
is_null = ["deleted_at"]
rows = "existing"

[columns]
api_key = "retell_api_key_enc"
config = "settings"
sync = "synced_at"
sealed = ["webhook_config"]
extra = ["voice_id"]
"#;

fn of_design() -> Layout {
    Layout::new()
        .table("crm.organizations")
        .and_then(|layout| layout.user_column("id"))
        .and_then(|layout| layout.tenant_column("org_id"))
        .and_then(|layout| layout.where_equals("provider", "retell"))
        .and_then(|layout| layout.where_equals("kind", 7))
        .and_then(|layout| layout.where_equals("live", true))
        .and_then(|layout| layout.is_null("deleted_at"))
        .and_then(|layout| layout.column(Field::named("api_key"), "retell_api_key_enc"))
        .and_then(|layout| layout.config_column("settings"))
        .and_then(|layout| layout.sync_column("synced_at"))
        .and_then(|layout| layout.sealed(Field::named("webhook_config")))
        .and_then(|layout| layout.extra_secret("voice_id"))
        .unwrap()
        .rows(Rows::Existing)
}

#[test]
fn the_file_and_the_builder_are_one_thing() {
    assert_eq!(Layout::from_toml(DESIGN).unwrap(), of_design());
    assert_eq!(Layout::from_toml("").unwrap(), Layout::new());
    assert_eq!(
        Layout::from_toml("[table]\nuser = \"id\"").unwrap(),
        Layout::new().user_column("id").unwrap()
    );
}

#[test]
fn the_reason_for_showing_secrets_is_asked_for_by_choice() {
    let layout = Layout::from_toml("[ledger]\nreveal_needs_reason = true").unwrap();
    assert!(layout.is_reason_needed() && !Layout::new().is_reason_needed());
    assert_eq!(layout, Layout::new().reveal_needs_reason());
    let printed = layout.to_toml();
    assert_eq!(printed, "[table]\nuser = \"user_id\"\n\n[ledger]\nreveal_needs_reason = true\n");
    assert_eq!(Layout::from_toml(&printed).unwrap(), layout);
    assert_eq!(Layout::from_toml("[ledger]\nreveal_needs_reason = false").unwrap(), Layout::new());
    let wrong = Layout::from_toml("[ledger]\nreveal_needs_reason = \"yes\"").unwrap_err();
    assert_eq!(wrong.to_string(), "ledger.reveal_needs_reason, line 2: expected true or false");
    let unknown = Layout::from_toml("[ledger]\nreveal_needs_raeson = true").unwrap_err();
    assert!(unknown.hint().contains("did you mean `reveal_needs_reason`"), "{}", unknown.hint());
}

#[test]
fn a_file_that_says_the_same_is_as_short_as_it_can_be() {
    assert_eq!(Layout::new().to_toml(), "[table]\nuser = \"user_id\"\n");
    let printed = of_design().to_toml();
    let lines =
        |text: &str| text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&printed), lines(DESIGN));
}

const SOURCES: &str = r#"
[table]
user = "user_id"
[columns]
extra = ["voice_id"]
[[source]]
table = "public.user_settings"
user = "user_id"
column = "retell_config"
decryptor = "carexps"
[[source]]
table = "crm.\"old.keys\""
user = "id"
tenant = "org"
where = { provider = "retell", live = true }
is_null = ["deleted_at"]
column = "key"
field = "voice_id"
decryptor = "aes-gcm"
iv = "key_iv"
tag = "key_tag"
time = "stored_at"
[[source]]
table = "public.user_settings"
user = "user_id"
column = "settings"
members = { "voice.key" = "api_key", agent = "call_agent_id" }
decryptor = "plaintext"
"#;

#[test]
fn sources_are_read_in_their_order_and_printed() {
    let layout = Layout::from_toml(SOURCES).unwrap();
    let old = |table, user, column, decryptor| OldSource::new(table, user, column, decryptor).unwrap();
    let key = old("crm.\"old.keys\"", "id", "key", "aes-gcm").field(Field::named("voice_id"));
    let key = key.where_equals("provider", "retell").and_then(|key| key.where_equals("live", true));
    let key = key.and_then(|key| key.is_null("deleted_at")).unwrap();
    let key = key
        .tenant_column("org")
        .and_then(|key| key.iv_column("key_iv")?.tag_column("key_tag")?.time_column("stored_at"))
        .unwrap();
    let settings = old("user_settings", "user_id", "settings", "plaintext");
    let settings = settings.member("voice.key", Field::named("api_key")).unwrap();
    let settings = settings.member("agent", Field::named("call_agent_id")).unwrap();
    let sources = [old("user_settings", "user_id", "retell_config", "carexps"), key, settings];
    let built =
        sources.into_iter().fold(Layout::new().extra_secret("voice_id").unwrap(), |layout, source| {
            layout.source(source).unwrap()
        });
    assert_eq!(layout, built);
    let lines =
        |text: &str| text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&layout.to_toml()), lines(SOURCES));
}

#[test]
fn a_wrong_source_is_named_with_its_line() {
    let source = |rest: &str| format!("[[source]]\ntable = 't'\nuser = 'u'\ncolumn = 'c'\n{rest}");
    let bad = [
        ("source = 1".to_owned(), "source, line 1: expected a list of tables"),
        ("source = [1]".to_owned(), "source, line 1: expected a table"),
        (source(""), "source, line 1: decryptor is missing"),
        (source("decryptor = 'rot13'"), "source, line 1: there is no decryptor of this name"),
        (source("decryptor = 7"), "source.decryptor, line 5: expected a text"),
        (source("decryptor = 'fernet'\nfeild = 'api_key'"), "source.feild, line 6: unknown member"),
        (source("decryptor = 'fernet'\nfield = 'api_ky'"), "source.field, line 6: no field has this name"),
        (
            source("decryptor = 'fernet'\nmembers = { a = 1 }"),
            "source.members, line 6: expected a field for each path",
        ),
        (
            source("decryptor = 'fernet'\nmembers = { 'a..b' = 'api_key' }"),
            "source.members, line 6: the path of a member",
        ),
        (
            source("decryptor = 'fernet'\nmembers = { a = 'nothing' }"),
            "source.members, line 6: no field has this name",
        ),
        (
            source("decryptor = 'fernet'\nfield = 'api_key'\nmembers = { a = 'api_key' }"),
            "source, line 1: a source has either `field` or `members`",
        ),
        (source("decryptor = 'fernet'\nwhere = 1"), "source.where, line 6: expected a table"),
        (
            source("decryptor = 'fernet'\nwhere = { a = 1.5 }"),
            "source.where, line 6: expected a text, an integer",
        ),
        (source("decryptor = 'fernet'\nis_null = 'a'"), "source.is_null, line 6: expected a list of texts"),
        (source("decryptor = 'aes-gcm'\ntag = 't'"), "source, line 1: a source with a column for the tag"),
        (
            source("decryptor = 'aes-gcm'\niv = 'ctid'"),
            "source.iv, line 6: iv column must be an ordinary column",
        ),
    ];
    for (text, message) in bad {
        let error = Layout::from_toml(&text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with(message), "{text}: {error}");
    }
}

#[test]
fn the_order_of_members_makes_no_difference() {
    let columns = "[columns]\nvoice_id = \"voice\"\nextra = [\"voice_id\"]\n[table]\nname = 'a'\n";
    let layout = Layout::from_toml(columns).unwrap();
    assert_eq!(layout.column_of(Field::named("voice_id")), Some("voice"));
    let table = "[table.where]\nprovider = \"retell\"\n";
    assert_eq!(Layout::from_toml(table).unwrap(), Layout::new().where_equals("provider", "retell").unwrap());
}

#[test]
fn a_member_that_is_not_known_is_named_with_the_one_that_was_meant() {
    let bad = [
        ("[tabel]", "tabel, line 1: unknown member", "did you mean `table`?"),
        ("[table]\n\nusr = 'id'", "table.usr, line 3: unknown member", "did you mean `user`?"),
        ("[columns]\napikey = 'x'", "columns.apikey, line 2: unknown member", "did you mean `api_key`?"),
        ("[columns]\nConfig = 'x'", "columns.Config, line 2: unknown member", "did you mean `config`?"),
        (
            "[columns.fields]\nphone_numbr = 'x'",
            "columns.fields.phone_numbr, line 2",
            "did you mean `phone_number`?",
        ),
        ("[columns]\nsealed = ['webhook_confg']", "columns.sealed, line 2", "did you mean `webhook_config`?"),
        (
            "[columns]\nfoo = 'x'",
            "[columns], line 2: unknown member",
            "the known members are: api_key, call_agent_id",
        ),
        ("foo = 'x'", "the file, line 1: unknown member", "the known members are: table, columns"),
    ];
    for (text, message, hint) in bad {
        let error = Layout::from_toml(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with(message), "{text}: {error}");
        assert!(error.hint().starts_with(hint), "{text}: {}", error.hint());
    }
}

#[test]
fn a_value_of_a_wrong_type_is_named_with_what_is_expected() {
    let bad = [
        ("table = 1", "table, line 1: expected a table"),
        ("[table]\nname = 1", "table.name, line 2: expected a text"),
        ("[table]\nuser = ['id']", "table.user, line 2: expected a text"),
        ("[table]\nwhere = 'a'", "table.where, line 2: expected a table"),
        (
            "[table]\nwhere = {a = 1.5}",
            "table.where, line 2: expected a text, an integer or a boolean for each column",
        ),
        (
            "[table]\nwhere = {a = 2026-01-01}",
            "table.where, line 2: expected a text, an integer or a boolean",
        ),
        (
            "[table]\nwhere = {a = 99999999999999999999}",
            "table.where, line 2: the integer does not fit in 64 bits",
        ),
        ("[table]\nis_null = 'a'", "table.is_null, line 2: expected a list of texts"),
        ("[table]\nis_null = [\n'a',\n1]", "table.is_null, line 4: expected a text"),
        ("[table]\nrows = true", "table.rows, line 2: expected \"existing\" or \"create\""),
        ("[table]\nrows = 'exist'", "table.rows, line 2: expected \"existing\" or \"create\""),
        ("[columns]\napi_key = 1", "columns.api_key, line 2: expected a text"),
        ("[columns]\nfields = 1", "columns.fields, line 2: expected a table"),
        ("[columns]\nsealed = 'phone_number'", "columns.sealed, line 2: expected a list of texts"),
        ("[columns]\nsealed = ['api_key']", "columns.sealed, line 2: api_key is a secret field"),
        ("[columns]\nextra = ['Voice']", "columns.extra, line 2: a field name must be"),
        (
            "[columns]\nextra = ['voice', 'voice']",
            "columns.extra, line 2: voice is already a field of retell",
        ),
        (
            "[columns]\ninbound_agent_id = 'x'",
            "columns.inbound_agent_id, line 2: inbound_agent_id cannot have a column",
        ),
        (
            "[table]\nuser = 'ctid'",
            "table.user, line 2: user column must be an ordinary column of the table; ctid is a system column",
        ),
        ("[table]\nuser = ''", "table.user, line 2: user column must be a name"),
        ("[table]\nname = 'a.b.c'", "table.name, line 2: table must be"),
    ];
    for (text, message) in bad {
        let error = Layout::from_toml(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with(message), "{text}: {error}");
    }
    let long = format!("# {}", "x".repeat(MAX_FILE));
    assert!(Layout::from_toml(&long).unwrap_err().to_string().contains("64 KiB"));
}

#[test]
fn no_error_repeats_what_may_be_a_secret() {
    let long = SECRET.repeat(4);
    let bad = [
        SECRET.to_owned(),
        format!("{SECRET} = 1"),
        format!("[{SECRET}]"),
        format!("[table]\nname = {SECRET}"),
        format!("[table]\nname = \"{SECRET}"),
        format!("[table]\n{SECRET} = 1"),
        format!("[table]\n{SECRET} = 1\n{SECRET} = 2"),
        format!("[table]\nname = 'a.b.{SECRET}'"),
        format!("[table]\nuser = '{long}'"),
        format!("[table]\ntenant = ['{SECRET}']"),
        format!("[table]\nrows = '{SECRET}'"),
        format!("[table]\nwhere = '{SECRET}'"),
        format!("[table]\nwhere = {{ {SECRET} = 1.5 }}"),
        format!("[table]\nwhere = {{ a = '{}' }}", long.repeat(5)),
        format!("[table]\nwhere = {{ a = ['{SECRET}'] }}"),
        format!("[table]\nis_null = '{SECRET}'"),
        format!("[columns]\napi_key = ['{SECRET}']"),
        format!("[columns]\napi_key = '{long}'"),
        format!("[columns]\n{SECRET} = 'x'"),
        format!("[columns]\nsealed = ['{SECRET}']"),
        format!("[columns]\nextra = ['{long}']"),
        format!("[columns]\nextra = ['{SECRET}']"),
        format!("[columns.fields]\n{SECRET} = 'x'"),
        format!("source = '{SECRET}'"),
        format!("[[source]]\n{SECRET} = 'x'"),
        format!("[[source]]\ntable = 't'\nuser = 'u'\ncolumn = 'c'\ndecryptor = '{SECRET}'"),
        format!("[[source]]\ntable = 'a.b.{SECRET}'\nuser = 'u'\ncolumn = 'c'\ndecryptor = 'fernet'"),
        format!(
            "[[source]]\ntable = 't'\nuser = 'u'\ncolumn = 'c'\ndecryptor = 'fernet'\nmembers = {{ '{SECRET}..' = 'api_key' }}"
        ),
        format!(
            "[[source]]\ntable = 't'\nuser = 'u'\ncolumn = 'c'\ndecryptor = 'fernet'\nmembers = {{ a = '{SECRET}' }}"
        ),
        format!(
            "[[source]]\ntable = 't'\nuser = 'u'\ncolumn = 'c'\ndecryptor = 'fernet'\nmembers = {{ {SECRET} = 1 }}"
        ),
    ];
    for text in bad {
        let error = Layout::from_toml(&text).unwrap_err();
        let shown = format!("{error} {} {error:?}", error.hint());
        assert!(!shown.contains(SECRET), "{shown}");
    }
    let twice = format!("[columns]\napi_key = '{SECRET}'\nwebhook_key = '{SECRET}'");
    let error = Layout::from_toml(&twice).unwrap().check().unwrap_err();
    assert!(
        error.to_string().contains("columns.api_key") && !format!("{error:?}").contains(SECRET),
        "{error}"
    );
}

/// A kind of credentials whose fields have the names of members.
#[derive(Clone)]
struct Words;

impl Credentials for Words {
    const NAMESPACE: &'static str = "words";
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::secret("config").column("words_config"),
        FieldSpec::secret("sync"),
        FieldSpec::plain("sealed"),
        FieldSpec::plain("extra").column("words_extra"),
        FieldSpec::secret("fields"),
        FieldSpec::secret("name"),
    ];

    fn to_values(&self) -> Values {
        Values::new()
    }

    fn from_values(_: Values) -> Result<Self> {
        Ok(Self)
    }
}

#[test]
fn fields_with_the_name_of_a_member_have_a_table_of_their_own() {
    let text =
        "[columns]\nname = 'a'\nconfig = 'b'\nfields.config = 'c'\nfields.fields = 'd'\nsealed = ['sealed']";
    let layout = Layout::from_toml_of::<Words>(text).unwrap();
    let column = |name| layout.column_of(Field::named(name));
    assert_eq!((column("name"), column("config"), column("fields")), (Some("a"), Some("c"), Some("d")));
    assert_eq!((layout.config_column.as_str(), column("sealed")), ("b", None));
}

/// A name that Postgres takes.
fn any_name() -> impl Strategy<Value = String> {
    let name = prop_oneof!["[a-z_]{1,12}", "[ -~]{1,20}", "\\PC{1,15}"];
    name.prop_filter("the server fills it, or it is too long", |name| Layout::new().user_column(name).is_ok())
}

fn any_constant() -> impl Strategy<Value = FilterValue> {
    prop_oneof![
        "\\PC{0,60}".prop_map(FilterValue::Text),
        any::<i64>().prop_map(FilterValue::Integer),
        any::<bool>().prop_map(FilterValue::Boolean),
    ]
}

fn any_rows() -> impl Strategy<Value = Option<Rows>> {
    prop::option::of(prop_oneof![Just(Rows::Existing), Just(Rows::Create)])
}

/// A layout of a kind, with columns for some of these fields and with some of the plain ones sealed.
fn any_layout<C: Credentials>(
    fields: &'static [&'static str],
    plain: &'static [&'static str],
) -> impl Strategy<Value = Layout> {
    let owner = (prop::option::of((any_name(), any_name())), any_name(), prop::option::of(any_name()));
    let filter = (
        prop::collection::vec((any_name(), any_constant()), 0..4),
        prop::collection::vec(any_name(), 0..3),
        any_rows(),
    );
    let extra = prop::sample::subsequence(vec!["voice_id", "x9", "later"], 0..=3);
    let columns = prop::collection::vec((prop::sample::select(fields), any_name()), 0..4);
    let sealed = prop::sample::subsequence(plain.to_vec(), 0..=plain.len());
    let others = (prop::option::of(any_name()), prop::option::of(any_name()));
    let source =
        (any_name(), any_name(), any_name(), "[a-zA-Z \"'\\\\#=-]{1,12}", prop::option::of(any_name()));
    let sources = prop::collection::vec(source, 0..3);
    (owner, filter, extra, columns, sealed, others, sources).prop_map(|parts| {
        let ((table, user, tenant), (equals, is_null, rows), extra, columns, sealed, (config, sync), sources) =
            parts;
        let mut layout = Layout::of::<C>().user_column(&user).unwrap();
        if let Some((schema, table)) = table {
            layout = layout.table(&joined_name(&[&schema, &table])).unwrap();
        }
        if let Some(tenant) = tenant {
            layout = layout.tenant_column(&tenant).unwrap();
        }
        for (column, value) in equals {
            // a text with characters that no column holds
            layout = layout.clone().where_equals(&column, value).unwrap_or(layout);
        }
        layout = is_null.iter().fold(layout, |layout, column| layout.is_null(column).unwrap());
        if let Some(rows) = rows {
            layout = layout.rows(rows);
        }
        layout = extra.iter().fold(layout, |layout, name| layout.extra_secret(name).unwrap());
        for (field, column) in columns {
            layout = layout.column(Field::named(field), &column).unwrap();
        }
        layout = sealed.iter().fold(layout, |layout, name| layout.sealed(Field::named(name)).unwrap());
        for (table, user, column, path, iv) in sources {
            let source = OldSource::new(&joined_name(&[&table]), &user, &column, "aes-gcm").unwrap();
            let source = match iv {
                Some(iv) => source.field(Field::named(fields[0])).iv_column(&iv).unwrap(),
                None => source.member(&path, Field::named(fields[0])).unwrap().where_equals(&user, true).unwrap(),
            };
            layout = layout.source(source).unwrap();
        }
        if let Some(config) = config {
            layout = layout.config_column(&config).unwrap();
        }
        match sync {
            Some(sync) => layout.sync_column(&sync).unwrap(),
            None => layout,
        }
    })
}

const OF_RETELL: &[&str] = &["api_key", "call_agent_id", "webhook_key", "phone_number", "integration_status"];
const OF_WORDS: &[&str] = &["config", "sync", "sealed", "extra", "fields", "name"];

proptest! {
    #[test]
    fn what_is_printed_is_read_back(
        retell in any_layout::<crate::retell::config::RetellConfig>(OF_RETELL, &["phone_number", "webhook_config"]),
        words in any_layout::<Words>(OF_WORDS, &["sealed", "extra"]),
    ) {
        let printed = retell.to_toml();
        let read = Layout::from_toml(&printed).unwrap();
        prop_assert_eq!(&read, &retell, "{}", printed);
        prop_assert_eq!(read.to_toml(), printed);
        let printed = words.to_toml();
        let read = Layout::from_toml_of::<Words>(&printed).unwrap();
        prop_assert_eq!(&read, &words, "{}", printed);
        prop_assert_eq!(read.to_toml(), printed);
    }

    #[test]
    fn no_damage_to_a_file_makes_an_error_repeat_a_value(
        at in any::<prop::sample::Index>(),
        cut in 0usize..12,
        put in "[=\\[\\]{}'\",.\\\\\n #a1-]{0,3}",
    ) {
        // the others are refused at once, and nothing behind them would be read
        let value = |line: &str| !["rows", "sealed", "extra"].iter().any(|name| line.starts_with(name));
        let with_secret = |line: &str| match line.split_once('"') {
            Some((before, rest)) if value(line) => match rest.split_once('"') {
                Some((_, after)) => format!("{before}\"{SECRET}\"{after}"),
                None => line.to_owned(),
            },
            _ => line.to_owned(),
        };
        let lines: Vec<String> = DESIGN.lines().map(with_secret).collect();
        let mut text = lines.join("\n");
        let at = at.index(text.len());
        text.replace_range(at..(at + cut).min(text.len()), &put);
        if let Err(error) = Layout::from_toml(&text).and_then(|layout| layout.check()) {
            let shown = format!("{error} {} {error:?}", error.hint());
            prop_assert!(!shown.contains(SECRET), "{text}: {shown}");
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "(\\[table\\]|\\[columns\\]|user|name|where|=|\\{|\\}|'|\"|[\\[\\],.\n #a1-]|\\PC){0,40}") {
        let _ = Layout::from_toml(&text);
    }
}
