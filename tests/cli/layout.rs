//! The layout file and its commands: written once, found by every command, and compared with the database.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::runner::*;
use crate::support::TestDb;

/// What people have: an organization per row, one row per provider, and a soft delete.
const ORGANIZATIONS: &str = r#"CREATE SCHEMA crm;
    CREATE TABLE crm.organizations (
        id uuid PRIMARY KEY, org_id text NOT NULL, name text, provider text NOT NULL, deleted_at timestamptz,
        retell_api_key_enc text, settings jsonb, phone_number text, short varchar(50), number integer, webhook_config integer,
        upper_name text GENERATED ALWAYS AS (upper(name)) STORED);
    CREATE VIEW crm.active AS SELECT * FROM crm.organizations WHERE deleted_at IS NULL"#;
const OPTIONS: [&str; 8] = [
    "--table",
    "crm.organizations",
    "--user-column",
    "id",
    "--column",
    "api_key=retell_api_key_enc",
    "--where",
    "provider=retell",
];
const WRITTEN: &str = r#"# The layout of retell-vault, described in docs/LAYOUT.md
[table]
name = "crm.organizations"
user = "id"
where = { provider = "retell" }

[columns]
api_key = "retell_api_key_enc"
"#;

async fn organizations() -> (TestDb, Home) {
    let db = TestDb::create().await;
    db.exec(ORGANIZATIONS).await;
    let home = Home::empty_over(&db.url);
    (db, home)
}

fn with<'a>(command: &[&'a str], options: &[&'a str]) -> Vec<&'a str> {
    [command, options].concat()
}

fn file_of(home: &Home) -> std::path::PathBuf {
    home.path().join("layout.toml")
}

fn write(home: &Home, text: &str) {
    fs::write(file_of(home), text).unwrap();
}

/// The contradictions that `layout check` finds with a file, as `member: problem`.
fn contradictions(home: &Home, file: &str) -> Vec<String> {
    write(home, file);
    let checked = home.run(&["layout", "check", "--json"]);
    let found = checked.json()["contradictions"].clone();
    let found: Vec<_> = found.as_array().unwrap().iter().map(shown).collect();
    assert_eq!(checked.code, i32::from(!found.is_empty()), "{checked:?}");
    found
}

fn shown(found: &Value) -> String {
    assert!(!found["hint"].as_str().unwrap().is_empty(), "{found}");
    format!("{}: {}", found["member"].as_str().unwrap(), found["problem"].as_str().unwrap())
}

#[tokio::test]
async fn init_writes_the_layout_and_every_command_finds_it() {
    let (_db, home) = organizations().await;
    let made = home.run(&with(&["init"], &OPTIONS)).ok();
    assert!(made.out.ends_with("layout.toml\n") && made.out.contains("\nwrote "), "{}", made.out);
    assert!(made.err.contains("layout check"), "{}", made.err);
    assert_eq!(fs::read_to_string(file_of(&home)).unwrap(), WRITTEN);
    assert_eq!(fs::metadata(file_of(&home)).unwrap().permissions().mode() & 0o777, 0o644);
    let names: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains(".new")), "{names:?}");

    let status = home.json(&["status"]);
    assert_eq!(status["database"]["table"], "crm.organizations");
    assert_eq!(status["writes"]["api_key"]["column"], "retell_api_key_enc");
    // an option changes it for one command
    let status = home.json(&["status", "--column", "api_key=name"]);
    assert_eq!(status["writes"]["api_key"]["column"], "name");
    assert_eq!(fs::read_to_string(file_of(&home)).unwrap(), WRITTEN);
}

#[tokio::test]
async fn init_keeps_a_layout_that_is_there_and_refuses_options_that_contradict_it() {
    let (_db, home) = organizations().await;
    fs::create_dir(home.path()).unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let by_hand = format!("# by hand\n{WRITTEN}");
    write(&home, &by_hand);
    let contradicting = [
        (["--table", "crm.active"], "layout.toml contradicts --table: member table.name"),
        (["--user-column", "org_id"], "layout.toml contradicts --user-column: member table.user"),
        (["--tenant-column", "org_id"], "layout.toml contradicts --tenant-column: member table.tenant"),
        (["--column", "api_key=name"], "layout.toml contradicts --column: member columns.api_key"),
        (["--column", "config=settings"], "layout.toml contradicts --column: member columns.config"),
        (["--where", "provider=twilio"], "layout.toml contradicts --where: member table.where"),
        (["--where", "number=3"], "layout.toml contradicts --where: member table.where"),
    ];
    for (options, message) in contradicting {
        home.run(&with(&["init"], &options)).fails(1, message, "nothing was created");
    }
    assert!(!home.path().join("keyring.json").exists());

    let made = home.run(&with(&["init", "--json"], &OPTIONS)).ok().json();
    assert_eq!(made["layout"].as_str(), file_of(&home).to_str());
    assert_eq!(fs::read_to_string(file_of(&home)).unwrap(), by_hand);
    let again = home.run(&with(&["init"], &OPTIONS));
    again.fails(1, "already exists", "use the existing keyring");
}

#[tokio::test]
async fn a_layout_can_be_written_beside_a_keyring_that_is_there() {
    let (_db, home) = organizations().await;
    home.run(&["init"]).ok();
    assert!(!file_of(&home).exists());
    home.run(&with(&["init"], &OPTIONS)).fails(1, "already exists", "layout write");
    home.run(&["layout", "write"]).fails(2, "nothing to write", "--table");
    // it opens no keyring
    let no_key = [("RETELL_VAULT_WRAPPING_KEY", "")];
    let wrote = home.run_with(&with(&["layout", "write"], &OPTIONS), &no_key, "").ok();
    assert!(wrote.out.starts_with("wrote "), "{}", wrote.out);
    assert_eq!(fs::read_to_string(file_of(&home)).unwrap(), WRITTEN);
    let kept = home.json(&with(&["layout", "write"], &OPTIONS));
    assert_eq!(kept["written"], false);

    let more = ["layout", "write", "--column", "webhook_key=name"];
    home.run(&more).fails(1, "layout.toml contradicts --column: member columns.webhook_key", "--replace");
    assert_eq!(fs::read_to_string(file_of(&home)).unwrap(), WRITTEN);
    home.run(&with(&more, &["--replace"])).ok();
    assert_eq!(fs::read_to_string(file_of(&home)).unwrap(), format!("{WRITTEN}webhook_key = \"name\"\n"));
    let twice = ["layout", "write", "--replace", "--column", "sms_agent_id=name"];
    home.run(&twice).fails(1, "one column for columns.sms_agent_id and for columns.webhook_key", "another");

    let other = home.path().join("other.toml");
    let other = other.to_str().unwrap();
    home.run(&["layout", "write", "--layout", other, "--table", "crm.active"]).ok();
    assert!(fs::read_to_string(other).unwrap().contains("name = \"crm.active\""));
}

#[tokio::test]
async fn a_file_that_was_named_must_be_there() {
    let (_db, home) = organizations().await;
    home.run(&with(&["init"], &OPTIONS)).ok();
    for command in [&["status"][..], &["layout", "show"], &["layout", "check"], &["list"]] {
        let named = with(command, &["--layout", "absent.toml"]);
        home.run(&named).fails(1, "the layout file absent.toml does not exist", "--layout");
        let variable = home.run_with(command, &[("RETELL_VAULT_LAYOUT", "absent.toml")], "");
        variable.fails(1, "the layout file absent.toml does not exist", "RETELL_VAULT_LAYOUT");
    }
    // an empty variable names none
    home.run_with(&["status"], &[("RETELL_VAULT_LAYOUT", "")], "").ok();
    let fresh = Home::empty_over(&home.database);
    fresh.run(&with(&["init", "--layout", "absent.toml"], &OPTIONS)).fails(1, "does not exist", "--layout");
    assert!(!fresh.path().exists());
    // a file that is named is used and kept, and nothing is written beside it
    let named = file_of(&home);
    let made = fresh.json(&with(&["init", "--layout", named.to_str().unwrap()], &OPTIONS));
    assert_eq!(made["layout"].as_str(), named.to_str());
    assert!(!file_of(&fresh).exists());
}

#[tokio::test]
async fn show_says_where_every_field_goes_and_what_is_not_touched_and_why() {
    let (db, home) = organizations().await;
    home.run(&with(&["init"], &OPTIONS)).ok();
    let show = home.run_with(&["layout", "show"], &[("RETELL_VAULT_WRAPPING_KEY", "")], "").ok().out;
    for part in [
        "table            crm.organizations\n",
        "owner            id\n",
        "rows that count  provider = \"retell\"\n",
        "  api_key             column  retell_api_key_enc  sealed\n",
        "  call_agent_id       packed  retell_api_key_enc  sealed  column encrypted_call_agent_id does not exist\n",
        "column phone_number may belong to the application; to use it: COMMENT ON COLUMN \"crm\".",
        "columns that are not touched:\n  org_id, name, deleted_at, settings, phone_number, short, number, webhook_config, upper_name\n",
    ] {
        assert!(show.contains(part), "{part}: {show}");
    }
    let text = r#"
        [table]
        name = "crm.organizations"
        user = "id"
        tenant = "org_id"
        where = { provider = "retell", number = 7 }
        is_null = ["deleted_at"]
        rows = "existing"
        [columns]
        call_agent_id = "short"
        config = "settings"
        phone_number = "phone_number"
        sealed = ["webhook_config"]"#;
    write(&home, text);
    let shown = home.json(&["layout", "show"]);
    assert_eq!(shown["owner"], json!(["id", "org_id"]));
    assert_eq!(shown["filter"], json!(["provider = \"retell\"", "number = 7", "deleted_at is NULL"]));
    assert_eq!(shown["rows"], "existing");
    let field = |place, column, sealed, why| json!({ "place": place, "column": column, "sealed": sealed, "why": why });
    let fields = &shown["fields"];
    let missing = "column encrypted_retell_api_key does not exist";
    assert_eq!(fields["api_key"], field("json", "settings", true, json!(missing)));
    let short = "column short has type character varying(50), but needs room for 338 characters";
    assert_eq!(fields["call_agent_id"], field("json", "settings", true, json!(short)));
    assert_eq!(fields["phone_number"], field("column", "phone_number", false, Value::Null));
    assert_eq!(
        fields["webhook_config"],
        field("json", "settings", true, json!("the layout keeps it sealed"))
    );
    assert_eq!(shown["not_touched"], json!(["name", "retell_api_key_enc", "webhook_config", "upper_name"]));
    assert_eq!(shown["layout"].as_str(), file_of(&home).to_str());
    // nothing is made anywhere, and without a database there is nothing to compare
    db.exec("DROP TABLE crm.organizations CASCADE").await;
    assert_eq!(home.json(&["layout", "show"])["table"], Value::Null);
    home.run(&["layout", "show", "--database-url", ""]).fails(2, "needs a database", "DATABASE_URL");
}

#[tokio::test]
async fn check_finds_every_contradiction() {
    let (db, home) = organizations().await;
    home.run(&["init"]).ok();
    assert_eq!(contradictions(&home, WRITTEN), [""; 0]);
    let good = home.run(&["layout", "check"]).ok().out;
    assert!(
        good.starts_with("the database matches the layout: ") && good.ends_with("not checked: the rows\n"),
        "{good}"
    );

    let table = "[table]\nname = 'crm.organizations'\nuser = 'id'\n";
    let cases = [
        ("[table]\nname = 'crm.absent'", "table.name: the database has no table of this name"),
        ("[table]\nname = 'crm.active'", "table.name: crm.active is a view"),
        (
            "[columns]\nconfig = 'settings'",
            "table.name: no table is named, and public.user_profiles does not exist",
        ),
        ("tenant = 'org'\n", "table.tenant: the table has no such column"),
        ("tenant = 'number'\nis_null = ['number']", "table.is_null: names the same column as table.tenant"),
        ("where = { absent = 1 }", "table.where: the table has no such column"),
        ("where = { upper_name = 'A' }", "table.where: column upper_name is generated"),
        ("where = { number = 'A' }", "table.where: column number has type integer, which holds no text"),
        ("where = { provider = true }", "table.where: column provider has type text, which holds no boolean"),
        ("is_null = ['org_id']", "table.is_null: column org_id is NOT NULL"),
        ("[columns]\napi_key = 'retell_api_key'", "columns.api_key: the table has no such column"),
        ("[columns]\napi_key = 'number'", "columns.api_key: column number has type integer"),
        ("[columns]\napi_key = 'short'", "columns.api_key: column short has type character varying(50)"),
        ("[columns]\napi_key = 'upper_name'", "columns.api_key: column upper_name may not be written"),
        (
            "[columns]\napi_key = 'name'\nwebhook_key = 'name'",
            "columns.webhook_key: names the same column as columns.api_key",
        ),
        ("[columns]\nconfig = 'name'", "columns.config: column name has type text, not jsonb"),
        ("[columns]\nsync = 'settings'", "columns.sync: column settings has type jsonb, not timestamp"),
        ("", "columns: no column of the table can hold tokens"),
    ];
    for (text, expected) in cases {
        let text = if text.starts_with("[table]") || expected.contains("user_profiles") {
            text.to_owned()
        } else {
            format!("{table}{text}")
        };
        let found = contradictions(&home, &text);
        assert!(found.iter().any(|found| found.starts_with(expected)), "{text}: {found:?}");
    }
    let wrong_owner = contradictions(&home, "[table]\nname = 'crm.organizations'\nuser = 'deleted_at'");
    assert!(
        wrong_owner[0].starts_with("table.user: column deleted_at of crm.organizations has type"),
        "{wrong_owner:?}"
    );

    // all of them at once, each with the column that was meant
    write(
        &home,
        "[table]\nname = 'crm.organizations'\nuser = 'idd'\n[columns]\napi_key = 'retell_api_key_en'",
    );
    let checked = home.run(&["layout", "check"]);
    assert_eq!(checked.code, 1);
    for part in [
        "table.user: the table has",
        "did you mean `id`?",
        "columns.api_key: the",
        "did you mean `retell_api_key_enc`?",
    ] {
        assert!(checked.out.contains(part), "{checked:?}");
    }
    assert!(checked.err.starts_with("error: 3 contradictions"), "{checked:?}");
    db.exec("ALTER TABLE crm.organizations SET UNLOGGED").await;
    assert!(contradictions(&home, WRITTEN)[0].contains("UNLOGGED"));
}

#[tokio::test]
async fn check_says_when_the_role_sees_only_a_part() {
    let (db, home) = organizations().await;
    home.run(&with(&["init"], &OPTIONS)).ok();
    let role = format!("part_{}", std::process::id());
    db.exec(&format!("CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA crm TO {role}")).await;
    db.exec(&format!("GRANT SELECT (id, retell_api_key_enc) ON crm.organizations TO {role}")).await;
    db.exec("ALTER TABLE crm.organizations ENABLE ROW LEVEL SECURITY").await;
    let url = db.url.replacen("postgres@", &format!("{role}@"), 1);
    assert_ne!(url, db.url);
    let checked = home.run(&["layout", "check", "--json", "--database-url", &url]);
    let found: Vec<_> = checked.json()["contradictions"].as_array().unwrap().iter().map(shown).collect();
    db.exec(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    assert_eq!(checked.code, 1);
    for part in [
        "table.name: row level security may hide rows of crm.organizations from this role",
        "table.where: column provider may not be read by this role",
        "columns.api_key: column retell_api_key_enc may not be written",
    ] {
        assert!(found.iter().any(|found| found == part), "{part}: {found:?}");
    }
}

#[test]
fn a_bad_file_is_named_by_member_and_line_and_nothing_is_made() {
    let home = Home::empty();
    fs::create_dir(home.path()).unwrap();
    let bad = [
        ("[table]\nusr = 'id'", "layout.toml: table.usr, line 2: unknown member", "did you mean `user`?"),
        (
            "[columns]\nphone_numbr = 'x'",
            "columns.phone_numbr, line 2: unknown member",
            "did you mean `phone_number`?",
        ),
        ("[table]\nname = 7", "table.name, line 2: expected a text", "correct"),
        ("[table]\nrows = 'sometimes'", "table.rows, line 2: expected \"existing\" or \"create\"", "correct"),
        ("[table\n", "the layout file is not TOML, line 1", "docs/LAYOUT.md"),
        (&format!("#{}", "x".repeat(65 * 1024)), "longer than 64 KiB", ""),
    ];
    for (text, error, hint) in bad {
        write(&home, text);
        for command in [
            &["init", "--table", "app.users"][..],
            &["layout", "check"],
            &["layout", "write", "--table", "a"],
        ] {
            home.run(command).fails(1, error, hint);
        }
    }
    fs::write(file_of(&home), b"[table]\nname = '\xff'").unwrap();
    home.run(&["init"]).fails(1, "not UTF-8", "TOML");
    assert!(!home.path().join("keyring.json").exists());
    let folder = home.path();
    home.run(&["init", "--layout", folder.to_str().unwrap()]).fails(1, "cannot read", "--layout");
}

#[test]
fn wrong_options_are_wrong_usage() {
    let home = Home::empty();
    let bad: [(&[&str], &str, &str); 11] = [
        (&["--where", "number=007"], "is not valid", "leading zero"),
        (&["--where", "number=99999999999999999999"], "is not valid", "64 bits"),
        (&["--where", "provider="], "is not valid", "an empty text"),
        (&["--where", "provider"], "is not valid", "provider=retell"),
        (&["--where", "ctid=1"], "is not valid", "ctid"),
        (&["--where", "a=1", "--where", "a=2"], "--where is given twice", "remove one"),
        (&["--column", "api_key"], "is not valid", "api_key=retell_api_key"),
        (&["--column", "api_key="], "is not valid", "1 to 63 bytes"),
        (&["--column", "Api=x"], "is not valid", "lower-case letter"),
        (&["--column", "foo=x"], "there is no such field", "these fields can: api_key"),
        (&["--column", "api_key=a", "--column=api_key=b"], "--column is given twice", "remove one"),
    ];
    for (options, error, hint) in bad {
        home.run(&with(&["init"], options)).fails(2, error, hint);
    }
    // clap would drop the first without a word
    home.run(&["--where", "a=1", "init", "--where", "b=2"]).fails(2, "before and after the command", "after");
    home.run(&["--where=a=1", "init", "--column", "api_key=b", "--where", "b=2"]).fails(
        2,
        "--where is given both",
        "after",
    );
    assert!(!home.path().exists());

    let values = [
        "--where=a=42",
        "--where=b=-1",
        "--where=c=true",
        "--where",
        "d=\"42\"",
        "--where=e=x=y",
        "--where=f=\"\"",
    ];
    home.run(&with(&["layout", "write"], &values)).ok();
    let text = fs::read_to_string(file_of(&home)).unwrap();
    assert!(
        text.contains("where = { a = 42, b = -1, c = true, d = \"42\", e = \"x=y\", f = \"\" }"),
        "{text}"
    );
}

#[tokio::test]
async fn a_key_in_place_of_a_name_is_never_repeated() {
    let (_db, home) = organizations().await;
    home.run(&["init"]).ok();
    // `run` looks for it in everything that is printed
    let key = SECRETS[0];
    let files = [
        key.to_owned(),
        format!("{key} = 1"),
        format!("[{key}]"),
        format!("[table]\nname = '{key}'"),
        format!("[table]\nname = 'a.b.{key}'"),
        format!("[table]\nname = {key}"),
        format!("[table]\n{key} = 1"),
        format!("[table]\nrows = '{key}'"),
        format!("[table]\nname = 'crm.organizations'\nuser = '{key}'\ntenant = '{key}'"),
        format!(
            "[table]\nname = 'crm.organizations'\nuser = 'id'\nwhere = {{ {key} = '{key}', provider = '{key}' }}"
        ),
        format!("[table]\nname = 'crm.organizations'\nuser = 'id'\nis_null = ['{key}']"),
        format!(
            "[table]\nname = 'crm.organizations'\nuser = 'id'\n[columns]\napi_key = '{key}'\nconfig = '{key}'\nsync = '{key}'"
        ),
        format!("[columns]\n{key} = 'x'"),
        format!("[columns]\nsealed = ['{key}']"),
        format!("[columns]\nextra = ['{key}']"),
    ];
    for text in files {
        write(&home, &text);
        for command in [&["layout", "show"][..], &["layout", "show", "--json"], &["layout", "check"]] {
            let ran = home.run(command);
            assert!(ran.code == 1 || command[1] == "show", "{text}: {ran:?}");
        }
        home.run(&["layout", "write", "--table", "other"]);
        home.run(&["init", "--table", "other"]);
        home.run(&["status"]);
        home.put(&["--user", "user-1"], SMALL);
    }
    write(&home, "");
    for option in ["--table", "--user-column", "--tenant-column"] {
        let fresh = Home::empty_over(&home.database);
        let table = if option == "--table" { &[][..] } else { &["--table", "crm.organizations"][..] };
        let made = fresh.run(&[&["init", option, key][..], table].concat());
        assert_eq!(made.code, 1, "{made:?}");
    }
    let pairs = [format!("{key}=x"), format!("x={key}"), format!("{key}={key}"), key.to_owned()];
    for pair in &pairs {
        for option in ["--where", "--column"] {
            home.run(&["layout", "check", option, pair]);
            home.run(&["layout", "show", option, pair]);
        }
    }
}

/// Two files for one table: what both would write is named, and a constant that differs keeps them apart.
#[tokio::test(flavor = "multi_thread")]
async fn check_beside_another_layout() {
    let (_db, home) = organizations().await;
    fs::create_dir_all(home.path()).unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    write(&home, WRITTEN);
    let other = home.path().join("other.toml");
    let beside = |text: &str| {
        fs::write(&other, text).unwrap();
        home.run(&["layout", "check", "--beside", other.to_str().unwrap()])
    };
    assert_eq!(beside(&WRITTEN.replace("\"retell\"", "\"twilio\"")).code, 0);
    assert_eq!(beside(WRITTEN).code, 0, "the same layout");
    let clash = beside(&WRITTEN.replace("user = \"id\"", "user = \"org_id\""));
    assert!(clash.code == 1 && clash.err.contains("retell_api_key_enc"), "{clash:?}");
    assert!(clash.err.contains("other.toml") && clash.err.contains("hint: "), "{clash:?}");
    // a vault is not opened with it either, while the home has the first
    home.run(&["init"]).ok();
    for command in [&["status"][..], &["get", "--user", "acme"]] {
        let refused = home.run(&[command, &["--layout", other.to_str().unwrap()]].concat());
        assert!(refused.code == 1 && refused.err.contains("retell_api_key_enc"), "{refused:?}");
        assert!(refused.err.contains("--home"), "{refused:?}");
    }
    fs::write(&other, WRITTEN.replace("\"retell\"", "\"twilio\"")).unwrap();
    home.run(&["status", "--layout", other.to_str().unwrap()]).ok();
    let missing = home.run(&["layout", "check", "--beside", "nowhere.toml"]);
    assert!(missing.code == 2 && missing.err.contains("nowhere.toml"), "{missing:?}");
}

/// The whole life with a filter, by commands alone; the row of the other provider stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn commands_look_at_the_rows_that_count() {
    let (db, home) = organizations().await;
    let [ours, theirs] = ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"];
    db.exec(&format!(
        "INSERT INTO crm.organizations (id, org_id, provider, retell_api_key_enc)
         VALUES ('{ours}', 'acme', 'retell', NULL), ('{theirs}', 'acme', 'twilio', 'their own')"
    ))
    .await;
    let created = home.run(&with(&["init"], &OPTIONS));
    assert_eq!(created.code, 0, "{created:?}");
    let key = r#"{"api_key": "key_test_of_acme"}"#;
    let stored = home.run_with(&["put", "--user", ours, "--json"], &[], key);
    assert_eq!((stored.code, stored.json()["rows"].as_u64()), (0, Some(1)), "{stored:?}");
    // the row of the other provider is nobody here, and none is made for it or for a mistyped id
    for id in [theirs, "00000000-0000-4000-8000-00000000000f"] {
        let refused = home.run_with(&["put", "--user", id], &[], key);
        assert!(refused.code == 1 && refused.err.contains("the application creates the rows"), "{refused:?}");
        assert_eq!(home.run(&["get", "--user", id]).code, 3);
    }
    let listed = home.run(&["list", "--json"]).json();
    assert_eq!(listed["owners"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(home.run(&["delete", "--user", ours]).code, 0);
    let held: Value = crate::support::rows::value(
        &db,
        "SELECT jsonb_object_agg(provider, retell_api_key_enc) FROM crm.organizations",
    )
    .await;
    assert_eq!(held["twilio"], json!("their own"));
}
