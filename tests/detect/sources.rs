//! The sources that are proposed: they find exactly the keys that are there, and what is in doubt is only a comment.

use std::collections::{BTreeMap, BTreeSet};

use retell_vault::config::Field;
use retell_vault::config::import::{
    Base64, Decryptor, FoundField, Members, Opening, Passwords, Plaintext, StoredValue, scan,
};
use retell_vault::connection::PoolerMode;
use retell_vault::layout::FilterValue;
use retell_vault::schema::{DetectOptions, Detection, ProposedSource};
use retell_vault::{Layout, RetellConfig};
use serde_json::{Value, json};

use crate::Expected;
use crate::support::{TestDb, rows};

const API_KEY: Field = Field::named("api_key");

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Keys for every decryptor, which open nothing that is there.
fn passwords() -> Passwords {
    Passwords::new().with("ab".repeat(32)).with("q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=".to_owned())
}

fn words(json: &Value, found: &mut BTreeSet<String>) {
    match json {
        Value::String(text) => {
            let is_part = |char: char| char.is_ascii_alphanumeric() || "_+/=".contains(char);
            found
                .extend(text.split(|char| !is_part(char)).filter(|word| word.len() >= 12).map(str::to_owned));
        }
        Value::Array(items) => items.iter().for_each(|item| words(item, found)),
        Value::Object(members) => members.values().for_each(|value| words(value, found)),
        _ => {}
    }
}

fn opened(decryptor: &dyn Decryptor, text: &str) -> Option<String> {
    match decryptor.open(&StoredValue::text(API_KEY, text)) {
        Opening::Opened(value) => Some(value.text().to_owned()),
        _ => None,
    }
}

/// Every text in the rows that count that is a key, or base64 of one.
async fn keys_in(db: &TestDb, table: &str, counts: &str) -> BTreeSet<String> {
    let sql = format!("SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM {table} AS t WHERE {counts}");
    let mut all = BTreeSet::new();
    words(&rows::value(db, &sql).await, &mut all);
    let key = |word: &String| match word.starts_with("key_") {
        true => Some(word.clone()),
        false => opened(&Base64, word).filter(|text| text.starts_with("key_")),
    };
    all.iter().filter_map(key).collect()
}

/// What a source gives for the field `api_key`.
async fn keys_of(db: &TestDb, source: &ProposedSource) -> BTreeSet<String> {
    let filter = source.filter.iter().map(|(column, value)| match value {
        FilterValue::Text(text) => format!(" AND {}::text = '{text}'", quote(column)),
        FilterValue::Boolean(is_set) => format!(" AND {} = {is_set}", quote(column)),
        other => panic!("{other:?}"),
    });
    let is_null = source.is_null.iter().map(|column| format!(" AND {} IS NULL", quote(column)));
    let sql = format!(
        "SELECT coalesce(jsonb_agg({0}), '[]') FROM {1} WHERE {0} IS NOT NULL{2}",
        quote(&source.column),
        relation(&source.table),
        filter.chain(is_null).collect::<String>()
    );
    let values: Value = rows::value(db, &sql).await;
    let decryptor: &dyn Decryptor = if source.decryptor == "base64" { &Base64 } else { &Plaintext };
    let layout = Layout::new();
    let fields: Vec<(&str, Field)> =
        source.members.iter().map(|(path, field)| (path.as_str(), field.parse().unwrap())).collect();
    let members = match fields.is_empty() {
        true => Members::of(&layout),
        false => Members::only(&layout, &fields).unwrap(),
    };
    let key = |value: &Value| match source.field.as_deref() {
        Some("api_key") => opened(decryptor, value.as_str().unwrap()),
        Some(_) => None,
        None => match members.open(decryptor, "", value).fields.get(&API_KEY) {
            Some(Opening::Opened(value)) => Some(value.text().to_owned()),
            _ => None,
        },
    };
    values.as_array().unwrap().iter().filter_map(key).collect()
}

/// A name of a candidate in SQL.
fn relation(table: &str) -> String {
    match table.split_once('.') {
        Some((schema, name)) if name.starts_with('"') => format!("{}.{name}", quote(schema)),
        Some((schema, name)) => format!("{}.{}", quote(schema), quote(name)),
        None => panic!("{table}"),
    }
}

/// What is wrong with the sources that are proposed for a database.
pub async fn wrong(db: &TestDb, expected: &Expected, found: &Detection) -> Vec<String> {
    let Some(proposal) = found.proposal() else { return Vec::new() };
    let mut wrong = Vec::new();
    let text = proposal.to_toml();
    let layout = Layout::from_toml(&text).unwrap();
    if layout != proposal.layout {
        wrong.push(format!("the file has another layout: {text}"));
    }
    let sure: Vec<_> = proposal.sources.iter().filter(|source| source.doubt.is_none()).collect();
    if expected.holds == "plaintext" {
        let constants = expected.filter.iter().map(|(column, value)| match value {
            Value::String(text) => format!("{}::text = '{text}'", quote(column)),
            other => format!("{} = {other}", quote(column)),
        });
        let is_null = expected.is_null.iter().map(|column| format!("{} IS NULL", quote(column)));
        let counts = ["true".to_owned()].into_iter().chain(constants).chain(is_null).collect::<Vec<_>>();
        let there = keys_in(db, &relation(&expected.table), &counts.join(" AND ")).await;
        let mut had = BTreeSet::new();
        for source in &sure {
            had.extend(keys_of(db, source).await);
        }
        if had != there || there.is_empty() {
            wrong.push(format!("the sources find {had:?}, and not {there:?}: {text}"));
        }
    } else if expected.holds != "ciphertext"
        && sure.iter().any(|source| source.field.as_deref() == Some("api_key"))
    {
        wrong.push(format!("a source for a key, where there are {}: {text}", expected.holds));
    }
    if !sure.is_empty() {
        wrong.extend(scanned(db, &layout).await);
    }
    wrong
}

/// What is wrong in a scan: plaintext opens, and a ciphertext has a form that its decryptor knows.
async fn scanned(db: &TestDb, layout: &Layout) -> Vec<String> {
    let report = scan::<RetellConfig>(&db.url, PoolerMode::Auto, layout, &passwords()).await.unwrap();
    let is_sealed =
        |lost: &&FoundField| lost.result == "corrupt" && ["aes-gcm", "fernet"].contains(&lost.shape);
    // settings of some rows have no credentials
    let is_without = |lost: &&FoundField| lost.reason == "JSON without a member that is a field";
    let lost = report.lost.iter().filter(|lost| !is_sealed(lost) && !is_without(lost));
    let lost = lost.map(|lost| format!("{}: {} {} {}", lost.place, lost.result, lost.shape, lost.reason));
    let unread = report.places.iter().filter(|place| place.counts.is_empty());
    lost.chain(unread.map(|place| format!("nothing was found in {}", place.place))).collect()
}

const VALUES: &str = include_str!("../import/values.json");

/// The tables of the browser application, with all values and saves of its code.
async fn carexps() -> TestDb {
    let (db, values): (_, Value) = (TestDb::create().await, serde_json::from_str(VALUES).unwrap());
    for (table, columns) in values["ddl"].as_object().unwrap() {
        let column = |column: &Value| {
            format!("{} {}", quote(column[0].as_str().unwrap()), column[1].as_str().unwrap())
        };
        let columns: Vec<_> = columns.as_array().unwrap().iter().map(column).collect();
        db.exec(&format!("CREATE TABLE {table} ({})", columns.join(", "))).await;
    }
    let mut inserted: Vec<(String, BTreeMap<String, Value>)> = Vec::new();
    for (at, case) in values["cases"].as_array().unwrap().iter().enumerate() {
        let (column, stored) = (case["column"].as_str().unwrap(), &case["stored"]);
        let mut row =
            BTreeMap::from([("user_id".to_owned(), json!(format!("00000000-0000-4000-8000-{at:012}")))]);
        match column.contains(',') {
            true => row.extend(stored.as_object().unwrap().clone()),
            false => drop(row.insert(column.to_owned(), stored.clone())),
        }
        inserted.push((case["table"].as_str().unwrap().to_owned(), row));
    }
    for save in values["rows"].as_array().unwrap() {
        for (table, row) in save["tables"].as_object().unwrap() {
            inserted.push((table.clone(), row.as_object().unwrap().clone().into_iter().collect()));
        }
    }
    for (table, mut row) in inserted {
        if table == "tenant_credentials" {
            row.remove("user_id");
            row.insert("tenant_id".to_owned(), json!("tenant_test"));
        }
        let json = json!(row).to_string().replace('\'', "''");
        db.exec(&format!("INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, '{json}')"))
            .await;
    }
    db
}

#[tokio::test]
async fn the_tables_of_the_browser_application_become_sources() {
    let db = carexps().await;
    db.exec("UPDATE system_credentials SET is_active = true WHERE user_id IN (SELECT user_id FROM system_credentials LIMIT 2)").await;
    let options = DetectOptions::new().table("user_profiles");
    let found = Layout::detect(&db.url, &options).await.unwrap();
    let proposal = found.proposal().unwrap();
    let shown = |source: &ProposedSource| {
        let members: Vec<_> = source.members.iter().map(|(path, field)| format!("{path}={field}")).collect();
        let field = source.field.clone().unwrap_or_else(|| members.join(","));
        let mark = if source.doubt.is_some() { "perhaps " } else { "" };
        format!(
            "{mark}{}.{} {field} {}",
            source.table.trim_start_matches("public."),
            source.column,
            source.decryptor
        )
    };
    let expected = [
        "user_profiles.encrypted_retell_api_key api_key carexps",
        "user_profiles.encrypted_call_agent_id call_agent_id carexps",
        "user_profiles.encrypted_sms_agent_id sms_agent_id carexps",
        "user_profiles.encrypted_agent_config  plaintext",
        "user_profiles.webhook_config secret=webhook_key plaintext",
        "system_credentials.api_key api_key plaintext",
        "system_credentials.call_agent_id call_agent_id plaintext",
        "system_credentials.sms_agent_id sms_agent_id plaintext",
        "perhaps tenant_credentials.retell_api_key api_key plaintext",
        "perhaps tenant_credentials.call_agent_id call_agent_id plaintext",
        "perhaps tenant_credentials.sms_agent_id sms_agent_id plaintext",
        "user_settings.retell_api_key api_key plaintext",
        "user_settings.call_agent_id call_agent_id plaintext",
        "user_settings.sms_agent_id sms_agent_id plaintext",
        "user_settings.encrypted_api_keys  carexps",
        "user_settings.retell_config  carexps",
        "user_settings.retell_agent_config  plaintext",
        "user_settings.encrypted_retell_keys  carexps",
    ];
    let proposed: Vec<_> = proposal.sources.iter().map(shown).collect();
    assert_eq!(proposed, expected, "{}", proposal.to_toml());
    let report =
        scan::<RetellConfig>(&db.url, PoolerMode::Auto, &proposal.layout, &Passwords::new()).await.unwrap();
    let active =
        report.places.iter().find(|place| place.place == "public.system_credentials.api_key").unwrap();
    assert_eq!(active.rows, 2, "the rows that are switched off do not count");
    for place in &report.places {
        assert!(place.counts.keys().any(|(result, _)| *result == "opened"), "{place:?}");
        assert!(place.counts.keys().all(|(result, _)| *result != "unknown"), "{place:?}");
    }
    // of the sign-in records none
    assert!(!report.lost.iter().any(|lost| lost.shape == "login" && lost.result != "not_a_credential"));
}

#[tokio::test]
async fn what_is_in_doubt_is_a_comment_with_the_reason() {
    let db = TestDb::create().await;
    let agent = "98b9527d86fa5ce857fd6aff11aabbcc";
    let base64 = "a2V5X3Rlc3RfNzVjMTZkYjNmY2ZlOTU0YWE2MDZiZTgx";
    db.exec(&format!(
        "CREATE TABLE users (id uuid PRIMARY KEY, retell_api_key text, retell_agent_id text, retell_chat_agent_id text,
             retell_api_key_old text, retell_credentials jsonb, retell_settings jsonb);
         CREATE TABLE retell_keys (user_id uuid REFERENCES users, api_key text);
         CREATE TABLE retell_keys_history (user_id uuid, api_key text);
         CREATE TABLE retell_keys_of_teams (team_id uuid, api_key text);
         INSERT INTO users VALUES (gen_random_uuid(), 'key_test_0123456789', '{agent}', 'agent_0123456789', '{base64}',
             '{{\"k\": \"0123456789abcdef\"}}', '{{\"user-1\": {{\"api_key\": \"key_test_of_user_1\"}}, \"list\": [\"key_test_in_a_list\"]}}'),
             (gen_random_uuid(), NULL, NULL, NULL, 'key_test_0123456789', NULL, NULL);
         INSERT INTO retell_keys SELECT id, 'key_test_0123456789' FROM users;
         INSERT INTO retell_keys_history SELECT * FROM retell_keys;
         INSERT INTO retell_keys_of_teams SELECT * FROM retell_keys"
    ))
    .await;
    let found = Layout::detect(&db.url, &DetectOptions::new().table("users")).await.unwrap();
    let proposal = found.proposal().unwrap();
    let doubt = |table: &str, column: &str| {
        let is_it =
            |source: &&ProposedSource| (source.table.as_str(), source.column.as_str()) == (table, column);
        let mut found = proposal.sources.iter().filter(is_it);
        let source = found.next().unwrap_or_else(|| panic!("{table}.{column}: {}", proposal.to_toml()));
        assert!(found.next().is_none(), "{table}.{column}");
        source.doubt.clone().unwrap_or_default()
    };
    for (table, column, why) in [
        ("public.users", "retell_api_key", ""),
        ("public.users", "retell_agent_id", "some values do not look like a key or an agent"),
        ("public.users", "retell_chat_agent_id", ""),
        ("public.users", "retell_api_key_old", "several forms: plaintext, base64 of plaintext"),
        ("public.users", "retell_credentials", "no member of retell_credentials"),
        ("public.retell_keys", "api_key", ""),
        ("public.retell_keys_history", "api_key", "events or copies"),
        (
            "public.retell_keys_of_teams",
            "api_key",
            "team_id of public.retell_keys_of_teams names the same owners",
        ),
    ] {
        let found = doubt(table, column);
        assert!(found.contains(why) && found.is_empty() == why.is_empty(), "{table}.{column}: {found}");
    }
    let text = proposal.to_toml();
    assert_eq!(text.matches("\n[[source]]").count(), 3, "{text}");
    assert_eq!(text.matches("\n# not in use, because ").count(), 5, "{text}");
    assert!(
        text.contains("# no source reads this: public.users.retell_settings holds credentials in lists"),
        "{text}"
    );
    // a comment is a source when its marks are removed
    let uncommented: Vec<_> = text
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| rest.starts_with("[[") || rest.contains(" = "))
                .unwrap_or(line)
        })
        .collect();
    let layout = Layout::from_toml(&uncommented.join("\n")).unwrap();
    let report = scan::<RetellConfig>(&db.url, PoolerMode::Auto, &layout, &passwords()).await.unwrap();
    assert_eq!(report.places.len(), 8, "{text}");
    assert!(!text.contains("user-1") && !text.contains(agent) && !text.contains("key_test"), "{text}");
}
