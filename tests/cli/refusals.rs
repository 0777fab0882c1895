//! Wrong input on purpose: what is refused, with which exit code, and that nothing is repeated or left behind.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::runner::*;

#[test]
fn a_second_init_changes_nothing() {
    let home = Home::new();
    let keyring = home.path().join("keyring.json");
    let before = fs::read(&keyring).unwrap();
    home.run(&["init"]).fails(1, "already exists", "nothing was changed");
    assert_eq!(fs::read(&keyring).unwrap(), before);
}

#[test]
fn without_a_keyring_every_command_says_so_and_makes_nothing() {
    let home = Home::empty();
    let user = ["--user", "user-1"];
    for command in ["put", "get", "delete", "forget"] {
        home.run(&[&[command], &user[..]].concat()).fails(1, "keyring.json does not exist", "init");
    }
    for command in ["list", "status"] {
        home.run(&[command]).fails(1, "keyring.json does not exist", "init");
    }
    assert!(!home.path().exists());
}

#[test]
fn exactly_one_way_to_open_the_keyring() {
    let home = Home::new();
    let run = |variables: &[(&str, &str)]| home.run_with(&["list"], variables, "");
    let (key, phrase) = ("RETELL_VAULT_WRAPPING_KEY", "RETELL_VAULT_PASSPHRASE");
    run(&[(key, "")]).fails(2, "no terminal to ask for one", "--passphrase-file");
    run(&[(phrase, "correct horse battery")]).fails(2, "RETELL_VAULT_PASSPHRASE", "the one");
    home.run(&["list", "--passphrase-file", "x"]).fails(2, "--passphrase-file", "the one");
    run(&[(key, "hunter2")]).fails(1, "32 bytes in base64", "openssl rand");
    let other = WRAPPING_KEY.replace('B', "C");
    run(&[(key, &other)]).fails(1, "the keyring did not open", "wrapping key");
    run(&[(key, ""), (phrase, "correct horse battery")]).fails(1, "raw wrapping key", "WRAPPING_KEY");
}

#[test]
fn a_home_that_others_can_read_is_refused() {
    let home = Home::new();
    home.put(&["--user", "user-1"], SMALL).ok();
    let mode = |mode| fs::set_permissions(home.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o750);
    home.run(&["get", "--user", "user-1"]).fails(1, "is open to group or others (mode 750)", "chmod 700");
    home.put(&["--user", "user-1"], SMALL).fails(1, "is open to group or others (mode 750)", "chmod 700");
    mode(0o700);
    home.run(&["get", "--user", "user-1"]).ok();
}

#[test]
fn a_bad_configuration_is_refused_by_name_and_nothing_is_stored() {
    let home = Home::new();
    let long = format!(r#"{{"api_key":"{}"}}"#, "k".repeat(257 * 1024));
    let long_key = format!(r#"{{"api_key":"{}"}}"#, "k".repeat(257));
    let bad: [(&[u8], &str, &str); 15] = [
        (b"", "is empty", "api_key"),
        (b" \n", "is empty", "api_key"),
        (b"{\"api_key\":\"key_test_canary_4711\"", "not complete JSON", "the shape is"),
        (b"key_test_canary_4711", "not JSON", "the shape is"),
        (b"[\"key_test_canary_4711\"]", "must be an object", ""),
        (b"{}", "the configuration has no secret", ""),
        (b"{\"api_key\":[\"key_test_canary_4711\"]}", "api_key: must be a string", "the shape is"),
        (
            b"{\"api_key\":\"key_test_canary_4711\",\"apikey\":\"x\"}",
            "unknown field `apikey`",
            "the shape is",
        ),
        (br#"{"api_key":"k","webhook_config":{"webhook_url":"http://example.com"}}"#, "webhook_url", "https"),
        (br#"{"api_key":"k","phone_number":"14155550100"}"#, "phone_number", "E.164"),
        (br#"{"api_key":"key_test_canary_4711\u0000"}"#, "api_key: must be", ""),
        (b"{\"api_key\":\"key_test_canary_4711\0\"}", "not JSON", ""),
        (b"{\"api_key\":\"\xff\"}", "not UTF-8", ""),
        (long_key.as_bytes(), "api_key: must be 1 to 256", ""),
        (long.as_bytes(), "longer than 256 KiB", ""),
    ];
    for (config, error, hint) in bad {
        home.run_with(&["put", "--user", "user-1"], &[], config).fails(1, error, hint);
    }
    home.run(&["put", "--user", "user-1", "--file", "absent.json"]).fails(1, "absent.json", "--file");
    let folder = home.path();
    let folder = folder.to_str().unwrap();
    home.run(&["put", "--user", "user-1", "--file", folder]).fails(1, "cannot read", "--file");
    assert_eq!(home.run(&["list"]).ok().out, "no records\n");
}

#[test]
fn wrong_usage_is_exit_code_2_and_repeats_no_secret() {
    let home = Home::new();
    let long = "x".repeat(256);
    let bad: [&[&str]; 19] = [
        &[],
        &["undo"],
        &["get"],
        &["get", "--user"],
        &["get", "--user", ""],
        &["get", "--user", "a\nb"],
        &["get", "--user", &long],
        &["get", "--user", "user-1", "--tenant", ""],
        &["put", "--user", "user-1", "key_test_canary_4711"],
        &["put", "--user", "user-1", "--api-key", "key_test_canary_4711"],
        &["put", "--user", "user-1", "--api-key=key_test_canary_4711"],
        &["list", "--limit", "0"],
        &["list", "--after-tenant", "acme"],
        &["list", "--table", "a.b.c"],
        &["list", "--user-column", ""],
        &["list", "--pooler", "maybe"],
        &["sync"],
        &["put", "--user", "user-1", "--require-database"],
        &["delete", "--user", "user-1", "--require-database"],
    ];
    for args in bad {
        let ran = home.run(args);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?} {ran:?}");
        assert!(args.is_empty() || ran.err.starts_with("error: "), "{ran:?}");
    }
}

#[test]
fn help_explains_exit_codes_and_variables_and_shows_no_value() {
    let home = Home::empty_over("postgres://user:hunter2@db.example.com/app");
    for args in [
        &["--help"][..],
        &["-h"],
        &["put", "--help"],
        &["help", "get"],
        &["sync", "-h"],
        &["key", "add", "--help"],
    ] {
        let help = home.run(args).ok().out;
        for part in ["Exit codes:", "3  nothing is stored", "RETELL_VAULT_WRAPPING_KEY", "DATABASE_URL"] {
            assert!(help.contains(part), "{args:?} {help}");
        }
        assert!(!help.contains("db.example.com"));
    }
    assert!(home.run(&["--version"]).ok().out.starts_with("retell-vault "));
}

#[test]
fn a_reader_that_leaves_is_no_failure_and_a_full_disk_is() {
    let home = Home::new();
    for user in 0..3 {
        home.put(&["--user", &format!("user-{user}")], SMALL).ok();
    }
    for args in [&["list"][..], &["status"], &["--help"]] {
        let mut child = home.command(args).spawn().unwrap();
        drop(child.stdout.take());
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(errors, "");
    }
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let child = home.command(&["list"]).stdout(Stdio::from(full)).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("its result cannot be written"));
}
