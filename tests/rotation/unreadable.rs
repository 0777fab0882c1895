//! What cannot be opened is told by cause and owner, stops nobody, and stays as it is, byte for byte.

use std::collections::BTreeMap;

use retell_vault::ErrorKind;

use crate::support::rotation::*;
use crate::support::rows::value;
use crate::support::vaults::*;

const PACKED: &str =
    "CREATE TABLE user_profiles (id serial PRIMARY KEY, user_id text, encrypted_retell_api_key text)";
const USERS: usize = 30;

fn set(user: usize, text: &str) -> String {
    format!("UPDATE user_profiles SET encrypted_retell_api_key = {text} WHERE user_id = 'user-{user}'")
}

/// The rows of these ids or owners, as they are.
async fn rows(stage: &Stage, names: &[&str]) -> String {
    let list = names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT string_agg(t::text, '; ' ORDER BY t::text) FROM user_profiles t WHERE coalesce(user_id, '') IN ({list})"
    );
    value(&stage.db, &sql).await
}

#[tokio::test]
async fn every_cause_is_told_and_nothing_is_touched() {
    let stage = Stage::on(PACKED, USERS).await;
    let (old, new) = (stage.old, stage.new);
    let key = "encrypted_retell_api_key";
    let altered = format!(
        "overlay({key} placing CASE substr({key}, 70, 1) WHEN 'A' THEN 'B' ELSE 'A' END from 70 for 1)"
    );
    let of = |user: usize| format!("(SELECT {key} FROM user_profiles WHERE user_id = 'user-{user}')");
    let changes = [
        set(1, &altered),
        set(2, &format!("replace({key}, 'rv1.{old}.', 'rv1.deadbeef.')")),
        // two owners against each other
        format!(
            "CREATE TABLE swap AS SELECT user_id, {key} FROM user_profiles WHERE user_id IN ('user-3', 'user-4')"
        ),
        set(3, "(SELECT encrypted_retell_api_key FROM swap WHERE user_id = 'user-4')"),
        set(4, "(SELECT encrypted_retell_api_key FROM swap WHERE user_id = 'user-3')"),
        set(5, &format!("overlay({key} placing 'rv1.{new}.' from 1 for 13)")),
        set(6, &format!(r"regexp_replace({key}, '^\S+ ', '')")),
        set(7, &format!("{key} || ' ' || split_part({key}, ' ', 1)")),
        set(8, "'key_test_legacy'"),
        set(9, &format!("{key} || ' legacy'")),
        set(10, &format!("replace({key}, 'rv1.', 'rv2.')")),
        set(11, &format!("left({key}, 100)")),
        set(12, &format!("replace({key}, ' ', '  ')")),
        // a second record, of somebody else, under another version
        set(13, &format!("{key} || ' ' || {}", of(14))),
        format!(
            "INSERT INTO user_profiles (user_id, {key}) SELECT '', {key} FROM user_profiles WHERE user_id = 'user-20'"
        ),
        format!(
            "INSERT INTO user_profiles (user_id, {key}) SELECT repeat('x', 5000), {key} FROM user_profiles WHERE user_id = 'user-20'"
        ),
    ];
    for change in &changes {
        stage.db.exec(change).await;
    }
    let names: Vec<String> =
        (1..=12).map(|n| format!("user-{n}")).chain(["".to_owned(), "x".repeat(5000)]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let before = rows(&stage, &names).await;

    let vault = stage.vault(0).await;
    let (rotation, unreadable) = rotate(&vault, &small()).await.unwrap();
    let told: BTreeMap<_, _> = unreadable.iter().map(|row| (row.owner.as_str(), row.kind)).collect();
    println!("{told:?}");
    let expected = [
        (1, ErrorKind::Unsealable),
        (2, ErrorKind::UnknownKey),
        (3, ErrorKind::Unsealable),
        (4, ErrorKind::Unsealable),
        (5, ErrorKind::Malformed),
        (6, ErrorKind::Incomplete),
        (7, ErrorKind::Malformed),
        (8, ErrorKind::ForeignValue),
        (9, ErrorKind::Malformed),
        (10, ErrorKind::UnsupportedFormat),
        (11, ErrorKind::Malformed),
        (12, ErrorKind::Malformed),
        (13, ErrorKind::Unsealable),
    ];
    for (user, kind) in expected {
        assert_eq!(told.get(format!("user-{user}").as_str()), Some(&kind), "user-{user}: {unreadable:?}");
    }
    assert_eq!((told.get(""), told.len()), (Some(&ErrorKind::InvalidInput), expected.len() + 2));
    assert_eq!(rotation.unreadable.iter().map(|(_, count)| count).sum::<u64>(), unreadable.len() as u64);
    for (kind, count) in &rotation.unreadable {
        assert_eq!(unreadable.iter().filter(|row| row.kind == *kind).count() as u64, *count);
    }
    assert!(unreadable.iter().all(|row| !row.reason.contains("legacy") && !row.reason.contains("canary")));
    assert_eq!(rows(&stage, &names).await, before);

    assert!(!rotation.complete);
    assert_eq!(rotation.progress.unreadable, expected.len() as u64 + 2);
    refuses_to_destroy(&vault, old, "in column encrypted_retell_api_key").await;
    let lost: Vec<_> = (1..=13).map(|n| format!("user-{n}")).collect();
    let lost: Vec<_> = lost.iter().map(String::as_str).collect();
    stage.all_load_besides(&lost).await;

    // whoever is stored again is well again, and what names no key is in nobody's way
    for user in (1..=13).filter(|user| *user != 8) {
        let options = retell_vault::records::StoreOptions::new().replace_unreadable().replace_foreign();
        vault.store_with(&stage.owners[user], &full_config(user), options).await.unwrap();
    }
    stage.db.exec("DELETE FROM user_profiles WHERE user_id = '' OR length(user_id) = 5000").await;
    for owner in &stage.owners {
        vault.forget(owner).await.unwrap();
    }
    let (rotation, unreadable) = rotate(&vault, &small()).await.unwrap();
    assert!(rotation.complete, "{rotation:?}");
    assert_eq!(rotation.unreadable, [(ErrorKind::ForeignValue, 1)], "{unreadable:?}");
    vault.destroy_key(old, at_once()).await.unwrap();
    stage.all_load_besides(&["user-8"]).await;
}

/// A record that is spread over four columns is done as a whole or not at all.
#[tokio::test]
async fn a_record_in_four_columns_with_one_of_them_spoilt() {
    let stage = Stage::on(ALL_COLUMNS, 12).await;
    let sms = "encrypted_sms_agent_id";
    let spoil = |user: usize, change: &str| {
        format!("UPDATE user_profiles SET {change} WHERE user_id = 'user-{user}'")
    };
    for change in [
        spoil(
            1,
            &format!(
                "{sms} = overlay({sms} placing CASE substr({sms}, 70, 1) WHEN 'A' THEN 'B' ELSE 'A' END from 70 for 1)"
            ),
        ),
        spoil(2, &format!("{sms} = NULL")),
        spoil(3, &format!("{sms} = 'agent_test_legacy'")),
        spoil(4, r#"encrypted_agent_config = '{"retell_vault": "legacy", "voice": 1}'"#),
        spoil(
            5,
            r#"encrypted_agent_config = encrypted_agent_config #- '{retell_vault,webhook_key}' || '{"voice": 1}'"#,
        ),
        spoil(
            6,
            r#"encrypted_agent_config = jsonb_set(encrypted_agent_config, '{retell_vault,theirs}', '"x"')"#,
        ),
        spoil(
            7,
            r#"encrypted_agent_config = jsonb_set(encrypted_agent_config, '{retell_vault,webhook_key}', '7')"#,
        ),
        spoil(8, &format!("{sms} = (SELECT {sms} FROM user_profiles WHERE user_id = 'user-9')")),
    ] {
        stage.db.exec(&change).await;
    }
    let names: Vec<String> = (1..=8).map(|n| format!("user-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let before = rows(&stage, &names).await;
    let vault = stage.vault(0).await;
    let (rotation, unreadable) = rotate(&vault, &small()).await.unwrap();
    println!("{unreadable:?}");
    assert!(!rotation.complete);
    for name in &names {
        assert!(unreadable.iter().any(|row| row.owner == *name), "{name}: {unreadable:?}");
    }
    assert_eq!(rows(&stage, &names).await, before);
    assert_eq!((rotation.progress.resealed, rotation.progress.unreadable), (4, 8));
    stage.all_load_besides(&names).await;
}
