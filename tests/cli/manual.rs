//! docs/CLI.md beside the command: its commands, options, exit codes and JSON members are those of the page, and the reverse.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::database::AWAY;
use crate::runner::*;
use crate::support::TestDb;

const PAGE: &str = include_str!("../../docs/CLI.md");
type Names = BTreeSet<String>;

/// A table of which an import has something in each list.
const IMPORTED: &str = r#"CREATE TABLE records (user_id text PRIMARY KEY, encrypted_agent_config jsonb);
    CREATE TABLE old (user_id text PRIMARY KEY, key text, agent text NOT NULL UNIQUE, config jsonb);
    INSERT INTO old VALUES
        ('user-1', 'a2V5X3Rlc3RfNGIwYzE3NDFiNGUwNTAwZjQ2YzU=:ZmFsbGJhY2staXY=:ZmFsbGJhY2stdGFn:1', 'agent_test_0001', '{"api_key": "key_test_0009"}'),
        ('user-2', 'cbc:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=', 'agent_test_0002', '[]'),
        ('user-3', 'AAAA:BBBB:CCCC:1', 'not an agent ü', NULL)"#;
const IMPORTED_LAYOUT: &str = r#"
[table]
name = "records"
[[source]]
table = "old"
user = "user_id"
column = "key"
field = "api_key"
decryptor = "carexps"
[[source]]
table = "old"
user = "user_id"
column = "agent"
field = "call_agent_id"
decryptor = "plaintext"
[[source]]
table = "old"
user = "user_id"
column = "config"
decryptor = "plaintext"
"#;

/// The text below a heading, up to the next one.
fn section(heading: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    rest.split("\n#").next().unwrap()
}

/// The cells of the rows of all tables in a text, without their headings and rules.
fn rows(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        let cells = line.replace("\\|", "\u{0}");
        let cells = cells.trim_matches('|').split('|');
        cells.map(|cell| cell.replace('\u{0}', "|").trim().to_owned()).collect::<Vec<_>>()
    };
    let rows = text.lines().filter(|line| line.starts_with('|')).map(cells).collect::<Vec<_>>();
    let is_rule = |row: &Vec<String>| row.iter().all(|cell| cell.chars().all(|char| char == '-'));
    let heads = rows.iter().skip(1).map(is_rule).chain([false]).collect::<Vec<_>>();
    rows.into_iter()
        .zip(heads)
        .filter(|(row, is_head)| !is_head && !is_rule(row))
        .map(|(row, _)| row)
        .collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// `--file` of `--file FILE`.
fn option_names(text: &str) -> Names {
    let names = quoted(text).filter(|text| text.starts_with("--"));
    names.map(|text| text.split([' ', '[']).next().unwrap().to_owned()).collect()
}

/// The options below a heading of the help.
fn options_of_help(help: &str, heading: &str) -> Names {
    let lines = help.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.is_empty());
    let long = lines.filter_map(|line| {
        line.trim_start().trim_start_matches("-h, ").trim_start_matches("-V, ").strip_prefix("--")
    });
    long.map(|text| format!("--{}", text.split([' ', '.']).next().unwrap()))
        .filter(|name| name != "--help" && name != "--version")
        .collect()
}

fn help(command: &str) -> String {
    let arguments: Vec<_> = command.split_whitespace().chain(["-h"]).collect();
    Home::empty().run(&arguments).ok().out
}

/// The commands that do something, and their options.
fn commands_of_help(command: &str, found: &mut BTreeMap<String, Names>) {
    let help = help(command);
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    let names: Vec<_> = names.filter(|name| *name != "help").collect();
    if names.is_empty() {
        found.insert(command.to_owned(), options_of_help(&help, "Options:"));
    }
    names.iter().for_each(|name| commands_of_help(format!("{command} {name}").trim(), found));
}

#[test]
fn the_page_has_every_command_and_option_and_no_other() {
    let mut program = BTreeMap::new();
    commands_of_help("", &mut program);
    let row = |row: Vec<String>| (quoted(&row[0]).next().unwrap().to_owned(), option_names(&row[1]));
    let page: BTreeMap<_, _> = rows(section("## Commands")).into_iter().map(row).collect();
    assert_eq!(page, program);
    assert!(program.len() > 20 && program["put"].contains("--replace-foreign"), "{program:?}");

    let everywhere = section("## Options that every command has");
    let page: Names = rows(everywhere).iter().flat_map(|row| option_names(&row[0])).collect();
    assert_eq!(page, options_of_help(&help("get"), "Global options:"));
}

#[test]
fn every_exit_code_of_the_page_happens_and_the_help_has_the_same() {
    let page: Vec<_> = rows(section("## Exit codes")).into_iter().map(|row| row[0].clone()).collect();
    let long = Home::empty().run(&["get", "--help"]).ok().out;
    let lines = long.lines().skip_while(|line| *line != "Exit codes:").skip(1);
    let codes = lines.map_while(|line| line.trim().split_once("  ")).map(|(code, _)| code.to_owned());
    assert_eq!(page, codes.collect::<Vec<_>>());

    let home = Home::new();
    let user = ["--user", "user-1"];
    let ran = [
        home.put(&user, FULL),
        home.put(&user, "{}"),
        home.run(&["get"]),
        home.run(&["get", "--user", "user-2"]),
        home.put(&[&user[..], &["--expect", "absent"]].concat(), FULL),
    ];
    assert_eq!(page, ran.map(|ran| ran.code.to_string()));
}

/// The members of each command as the page has them, and those that were printed.
struct Members {
    documented: BTreeMap<String, Names>,
    printed: BTreeMap<String, Names>,
}

impl Members {
    fn of_page() -> Self {
        let json = PAGE.split_once("\n## JSON\n").unwrap().1;
        let (shared, commands) = json.split_once("\n### `").unwrap();
        let mut tables: BTreeMap<String, Names> = BTreeMap::new();
        for table in shared.split("\n\n").filter_map(|text| text.strip_prefix("| ")) {
            let name = table.split(" |").next().unwrap().to_owned();
            let members = rows(&format!("| {table}"))
                .iter()
                .filter_map(|row| quoted(&row[0]).next().map(str::to_owned))
                .collect();
            tables.insert(name, members);
        }
        let mut documented = BTreeMap::new();
        for part in format!("`{commands}").split("\n### ") {
            let (heading, text) = part.split_once('\n').unwrap();
            let members: Names = rows(text).iter().flat_map(|row| members(row, &tables)).collect();
            for command in quoted(heading) {
                documented.insert(command.to_owned(), members.clone());
            }
        }
        Self { documented, printed: BTreeMap::new() }
    }

    /// Runs a command, whatever comes of it, and notes what it prints.
    fn run(&mut self, home: &Home, command: &str, options: &[&str], input: &str) -> Vec<Value> {
        let words: Vec<_> = command.split(' ').chain(options.iter().copied()).chain(["--json"]).collect();
        let ran = home.run_with(&words, &[("RETELL_VAULT_NEW_WRAPPING_KEY", WRAPPING_KEY)], input);
        let lines: Vec<Value> = ran.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!lines.is_empty(), "{command} {options:?}: {ran:?}");
        let documented = &self.documented[command];
        let printed = self.printed.entry(command.to_owned()).or_default();
        lines.iter().for_each(|line| visit(command, "", line, documented, printed));
        lines
    }

    /// # Panics
    /// Where the page has a member that no run has printed.
    fn are_all_printed(&self) {
        for (command, documented) in &self.documented {
            let printed = self.printed.get(command).unwrap_or_else(|| panic!("{command} was not run"));
            let missing: Vec<_> = documented.difference(printed).collect();
            // a unit test of the command prints it: it needs a server that has gone back
            let is_known = command == "get" && missing == ["seen"];
            assert!(missing.is_empty() || is_known, "{command} never prints {missing:?}");
        }
    }
}

/// The members that a row stands for: those of a shared table are below its own.
fn members(row: &[String], tables: &BTreeMap<String, Names>) -> Vec<String> {
    let own = quoted(&row[0]).next().unwrap_or_default();
    let first = row[1].split([' ', ',', ';']).next().unwrap();
    match tables.get(first) {
        None => vec![own.to_owned()],
        Some(shared) if own.is_empty() => shared.iter().cloned().collect(),
        Some(shared) => shared.iter().map(|member| format!("{own}.{member}")).collect(),
    }
}

/// Notes every member of the page below `path`.
///
/// # Panics
/// Where the page does not have one.
fn visit(command: &str, path: &str, value: &Value, documented: &Names, printed: &mut Names) {
    if documented.contains(path) {
        printed.insert(path.to_owned());
        return;
    }
    let below =
        |separator: &str| documented.iter().any(|member| member.starts_with(&format!("{path}{separator}")));
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let name = if below(".FIELD") || documented.contains("FIELD") { "FIELD" } else { name };
                visit(command, format!("{path}.{name}").trim_start_matches('.'), value, documented, printed);
            }
        }
        Value::Array(elements) if below("[]") => elements
            .iter()
            .for_each(|element| visit(command, &format!("{path}[]"), element, documented, printed)),
        Value::Null if below("[]") || below(".") => {}
        _ => panic!("the page does not have {path} of {command}"),
    }
}

const TABLE: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text,
    encrypted_agent_config jsonb, phone_number text, notes text)";
const REFUSE: &str =
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON user_profiles FOR EACH ROW EXECUTE FUNCTION refuse()";

#[tokio::test]
async fn the_page_has_every_member_of_json_and_no_other() {
    let mut members = Members::of_page();
    let db = TestDb::create().await;
    db.exec(TABLE).await;
    let mut home = Home::empty_over(&db.url);
    members.run(&home, "init", &[], "");
    records(&mut members, &mut home, &db).await;
    keys(&mut members, &home, &db).await;
    members.run(&home, "doctor", &[], "");
    layouts(&mut members, &home);
    imports(&mut members).await;
    schema(&mut members).await;
    index(&mut members).await;
    ledger(&mut members).await;
    members.run(&home, "keyring adopt", &[], "");
    members.run(&home, "key rewrap", &[], "");
    keyrings(&mut members, &db).await;
    members.are_all_printed();
}

async fn records(members: &mut Members, home: &mut Home, db: &TestDb) {
    members.run(home, "put", &["--user", "user-1"], FULL);
    members.run(home, "set", &["--user", "user-1", "sms_agent_id"], "agent_test_0001");
    members.run(home, "unset", &["--user", "user-1", "sms_agent_id"], "");
    members.run(home, "get", &["--user", "user-1"], "");
    db.exec("INSERT INTO user_profiles (user_id) VALUES ('user-2')").await;
    members.run(home, "move", &["--from", "user-1", "--to", "user-2"], "");
    let header = crate::webhook::header();
    let options = ["--header", &header, "--at", crate::webhook::AT, "--user", "user-2"];
    members.run(home, "webhook verify", &options, crate::webhook::BODY);
    members.run(home, "delete", &["--user", "user-2"], "");
    members.run(home, "put", &["--user", "user-2"], FULL);
    members.run(home, "put", &["--user", "user-3"], FULL);
    members.run(home, "list", &["--limit", "1"], "");
    // a row that was given to another owner does not open for that one
    db.exec("UPDATE user_profiles SET user_id = 'user-4' WHERE user_id = 'user-3'").await;
    members.run(home, "put", &["--user", "user-4", "--replace-unreadable"], FULL);

    home.database = AWAY.to_owned();
    home.put(&["--user", "user-5"], SMALL).ok();
    home.database = db.url.clone();
    db.exec(REFUSE).await;
    members.run(home, "sync", &[], "");
    members.run(home, "schema promote", &[], "");
    db.exec("DROP TRIGGER refuse ON user_profiles").await;
    members.run(home, "sync", &["--retry-dead-letters"], "");
    members.run(home, "status", &[], "");
    // what was kept of it is under the first key, which is destroyed below
    members.run(home, "forget", &["--user", "user-4"], "");
}

async fn keys(members: &mut Members, home: &Home, db: &TestDb) {
    // tokens outside of the layout, in the row of another owner, so that they keep no key
    db.exec(
        "UPDATE user_profiles SET notes = (SELECT encrypted_retell_api_key FROM user_profiles WHERE user_id = 'user-2')
        WHERE user_id = 'user-4'",
    )
    .await;
    members.run(home, "rotate --dry-run", &[], "");
    let listed = members.run(home, "key list", &[], "");
    members.run(home, "rotate", &["--new-key"], "");
    db.exec(
        "INSERT INTO user_profiles (user_id, encrypted_retell_api_key)
        VALUES ('user-6', 'rv1.0123abcd.0190000000000000.api_key.AAAA')",
    )
    .await;
    members.run(home, "key check", &[], "");
    db.exec("DELETE FROM user_profiles WHERE user_id = 'user-6'").await;
    let retired = listed[0]["keys"][0]["id"].as_str().unwrap();
    members.run(home, "key destroy", &[retired, "--force", "--other-hosts-synced"], "");
    for command in ["key promote", "key retire"] {
        let added = members.run(home, "key add", &[], "");
        members.run(home, command, &[added[0]["key"]["id"].as_str().unwrap()], "");
    }
}

async fn keyrings(members: &mut Members, db: &TestDb) {
    let empty = TestDb::create().await;
    empty.exec(TABLE).await;
    members.run(&Home::empty_over(&empty.url), "init", &["--store", "print"], "");
    let home = Home::over(&empty.url);
    members.run(&home, "keyring push", &[], "");
    let note = "INSERT INTO retell_vault.hosts VALUES ('web-1', 1)";
    empty.exec(note).await;
    for command in ["keyring show", "keyring restore", "keyring repair"] {
        members.run(&home, command, &[], "");
    }
    let file = home.path().join(&db.name);
    members.run(&home, "keyring pull", &[file.to_str().unwrap()], "");
}

fn layouts(members: &mut Members, home: &Home) {
    members.run(home, "layout show", &["--column", "api_key=absent"], "");
    members.run(home, "layout check", &["--column", "api_key=absent"], "");
    members.run(home, "layout write", &["--user-column", "user_id"], "");
    members.run(home, "layout detect", &["--write", "--replace", "--table", "user_profiles"], "");
}

async fn imports(members: &mut Members) {
    let db = TestDb::create().await;
    db.exec(crate::import::TABLES).await;
    let home = Home::over(&db.url);
    members.run(&home, "layout detect", &["--table", "user_profiles"], "");
    std::fs::write(home.path().join("layout.toml"), crate::import::LAYOUT).unwrap();
    members.run(&home, "import scan", &[], "");

    let db = TestDb::create().await;
    db.exec(IMPORTED).await;
    let home = Home::over(&db.url);
    std::fs::write(home.path().join("layout.toml"), IMPORTED_LAYOUT).unwrap();
    members.run(&home, "import run", &["--clear-source"], "");
    members.run(&home, "get", &["--user", "user-1"], "");
}

async fn index(members: &mut Members) {
    let db = TestDb::create().await;
    db.exec("CREATE TABLE user_profiles (user_id text PRIMARY KEY)").await;
    let home = Home::over(&db.url);
    home.run(&["schema", "apply", "--column", "index=retell_vault_index"]).ok();
    home.put(&["--user", "user-1"], FULL).ok();
    for command in ["index build", "index rotate"] {
        members.run(&home, command, &[], "");
    }
    members.run(&home, "status", &[], "");
    members.run(&home, "find", &["--agent", "agent_test_canary_call"], "");
}

async fn ledger(members: &mut Members) {
    let db = TestDb::create().await;
    db.exec(TABLE).await;
    let home = Home::over(&db.url);
    home.run(&["schema", "apply", "--vault-schema"]).ok();
    members.run(&home, "ledger begin", &[], "");
    home.put(&["--user", "user-1"], FULL).ok();
    for command in ["ledger verify", "ledger list"] {
        members.run(&home, command, &[], "");
    }
    let file = home.path().join("export");
    members.run(&home, "ledger export", &["--out", file.to_str().unwrap()], "");
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (key, sink) = (at("signing-key"), at("sink"));
    members.run(&home, "ledger accept", &["--reason", "a test"], "");
    members.run(&home, "ledger signing-key init", &[&key], "");
    members.run(&home, "ledger signing-key show", &[&key], "");
    members.run(&home, "ledger checkpoint", &["--signing-key", &key, "--to", &sink], "");
}

async fn schema(members: &mut Members) {
    let twice = TestDb::create().await;
    twice
        .exec("CREATE TABLE user_profiles (user_id text); INSERT INTO user_profiles VALUES ('user-1'), ('user-1')")
        .await;
    members.run(&Home::over(&twice.url), "schema plan", &[], "");
    let bare = TestDb::create().await;
    bare.exec("CREATE TABLE user_profiles (user_id text PRIMARY KEY)").await;
    let home = Home::over(&bare.url);
    for command in ["schema apply", "schema verify", "schema rollback"] {
        members.run(&home, command, &[], "");
    }
}
