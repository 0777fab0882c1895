//! What cannot be moved stays as it is, byte for byte, and is told; what is moved does not come back to life.

use std::collections::BTreeMap;

use retell_vault::rotation::UnreadableRow;
use retell_vault::{Error, ErrorKind};

use crate::support::promotion::*;
use crate::support::rows::value;
use crate::support::vaults::*;

const USERS: usize = 20;
const KEY: &str = "encrypted_retell_api_key";

async fn row(stage: &Stage, user: usize) -> String {
    value(&stage.db, &format!("SELECT t::text FROM user_profiles t WHERE user_id = 'user-{user}'")).await
}

async fn set(stage: &Stage, user: usize, assignments: &str) {
    stage.db.exec(&format!("UPDATE user_profiles SET {assignments} WHERE user_id = 'user-{user}'")).await;
}

fn told(left: &[UnreadableRow]) -> BTreeMap<&str, ErrorKind> {
    left.iter().map(|row| (row.owner.as_str(), row.kind)).collect()
}

#[tokio::test]
async fn unreadable_rows_stay_and_are_told() {
    let stage = Stage::on(PACKED, USERS).await;
    stage.db.exec(ADD_ALL).await;
    let altered = format!(
        "{KEY} = overlay({KEY} placing CASE substr({KEY}, 70, 1) WHEN 'A' THEN 'B' ELSE 'A' END from 70 for 1)"
    );
    let (day, far) = (24 * 60 * 60 * 1000_u64, stage.versions[7].millis());
    let ahead = format!("{:012x}", far + 3 * day);
    let changes = [
        (1, altered, ErrorKind::Unsealable),
        (
            2,
            format!(r"{KEY} = regexp_replace({KEY}, 'rv1\.[0-9a-f]{{8}}\.', 'rv1.deadbeef.', 'g')"),
            ErrorKind::UnknownKey,
        ),
        (
            3,
            format!("{KEY} = (SELECT {KEY} FROM user_profiles WHERE user_id = 'user-13')"),
            ErrorKind::Unsealable,
        ),
        (4, format!(r"{KEY} = regexp_replace({KEY}, '^\S+ ', '')"), ErrorKind::Incomplete),
        (5, "encrypted_call_agent_id = 'agent_legacy'".to_owned(), ErrorKind::ForeignValue),
        (6, "encrypted_agent_config = '[1]'".to_owned(), ErrorKind::ForeignValue),
        (
            7,
            format!(
                r"{KEY} = regexp_replace({KEY}, '(rv1\.[0-9a-f]{{8}}\.)[0-9a-f]{{12}}', '\1{ahead}', 'g')"
            ),
            ErrorKind::Malformed,
        ),
        (8, format!("{KEY} = replace({KEY}, 'rv1.', 'rv2.')"), ErrorKind::UnsupportedFormat),
        (9, "phone_number = '+14155559999'".to_owned(), ErrorKind::ForeignValue),
        (
            10,
            "webhook_config = '{\"webhook_url\": \"https://example.com/theirs\"}'".to_owned(),
            ErrorKind::ForeignValue,
        ),
    ];
    for (user, assignment, _) in &changes {
        set(&stage, *user, assignment).await;
    }
    let mut before = Vec::new();
    for user in 1..=8 {
        before.push(row(&stage, user).await);
    }
    let vault = stage.vault(0).await;
    let (promotion, left) = promote(&vault).await.unwrap();
    assert!(!promotion.complete, "{promotion:?}");
    assert_eq!((promotion.promoted, promotion.unreadable), (USERS as u64 - 8, 10), "{left:?}");
    let names: Vec<_> = changes.iter().map(|(user, _, _)| format!("user-{user}")).collect();
    let expected: BTreeMap<_, _> =
        names.iter().zip(&changes).map(|(name, (_, _, kind))| (name.as_str(), *kind)).collect();
    assert_eq!(told(&left), expected);
    for (at, before) in before.iter().enumerate() {
        assert_eq!(&row(&stage, at + 1).await, before);
    }
    // no word of what is stored
    assert_no_secret(format!("{left:?}").as_bytes(), "what is told");
    assert!(!format!("{left:?}").contains("4155559999") && !format!("{left:?}").contains("agent_legacy"));
}

/// The record's value goes on to win, and the application's stays where it put it. The next store settles it.
#[tokio::test]
async fn a_plain_column_with_another_value_keeps_it() {
    let stage = Stage::on(PACKED, USERS).await;
    stage.db.exec(ADD_ALL).await;
    set(
        &stage,
        0,
        "phone_number = '+14155559999', retell_integration_status = 'not_configured', webhook_config = '{}'",
    )
    .await;
    set(&stage, 1, "phone_number = '+14155550100', retell_integration_status = 'active'").await;
    let vault = stage.vault(0).await;
    let (promotion, left) = promote(&vault).await.unwrap();
    assert_eq!((promotion.complete, promotion.unreadable, left.len()), (false, 1, 1), "{left:?}");
    assert_eq!(left[0].place.as_deref(), Some("phone_number"));
    stage.all_load().await;
    let sql = "SELECT phone_number || ' ' || retell_integration_status || ' ' ||
        (encrypted_retell_api_key ~ '\\.phone_number\\.')::text FROM user_profiles WHERE user_id = 'user-0'";
    assert_eq!(value::<String>(&stage.db, sql).await, "+14155559999 active true");
    let (again, _) = promote(&vault).await.unwrap();
    assert_eq!((again.promoted, again.passes), (0, 1), "it is not tried again and again");
    vault.store(&stage.owners[0], &full_config(0)).await.unwrap();
    let (promotion, left) = promote(&vault).await.unwrap();
    assert!(promotion.complete && left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn tombstones_move_and_stay_tombstones() {
    let stage = Stage::on(PACKED, USERS).await;
    let vault = stage.vault(0).await;
    let deleted = vault.delete(&stage.owners[3]).await.unwrap();
    stage.db.exec(ADD_ALL).await;
    set(&stage, 3, "phone_number = '+14155559999'").await;
    let (promotion, left) = promote(&vault).await.unwrap();
    assert!(promotion.complete && promotion.promoted == USERS as u64, "{promotion:?} {left:?}");
    let gone = |error: Error| error.kind() == ErrorKind::NotFound;
    assert!(vault.load(&stage.owners[3]).await.is_err_and(gone));
    // the key's own column is NULL again
    let places = "SELECT coalesce(encrypted_retell_api_key, '') || '|' || (encrypted_agent_config #>> '{retell_vault,record}')
        FROM user_profiles WHERE user_id = 'user-3'";
    let places: String = value(&stage.db, places).await;
    assert!(
        places.starts_with("|rv1.") && places.contains(&format!(".{}.record.", deleted.version)),
        "{places}"
    );
    let phone: String =
        value(&stage.db, "SELECT phone_number FROM user_profiles WHERE user_id = 'user-3'").await;
    assert_eq!(phone, "+14155559999");
}

/// A host with an old picture, or a restored backup, left an older record in other slots.
#[tokio::test]
async fn older_records_of_ours_go_and_those_of_unknown_keys_stay() {
    let stage = Stage::on(PACKED, USERS).await;
    stage.db.exec("CREATE TABLE old AS TABLE user_profiles").await;
    let (vault, mut newer) = (stage.vault(0).await, Vec::new());
    for (n, owner) in stage.owners.iter().enumerate() {
        newer.push(vault.store(owner, &full_config(n)).await.unwrap().version);
    }
    stage.db.exec(ADD_ALL).await;
    stage.db.exec(&format!("UPDATE user_profiles SET encrypted_sms_agent_id = old.{KEY} FROM old WHERE old.user_id = user_profiles.user_id")).await;
    set(&stage, 5, r"encrypted_sms_agent_id = regexp_replace(encrypted_sms_agent_id, 'rv1\.[0-9a-f]{8}\.', 'rv1.deadbeef.', 'g')").await;
    let stage = Stage { versions: newer, ..stage };
    stage.all_load().await;
    let before = row(&stage, 5).await;
    let (promotion, left) = promote(&vault).await.unwrap();
    assert_eq!(promotion.promoted, USERS as u64 - 1, "{left:?}");
    assert_eq!(told(&left), BTreeMap::from([("user-5", ErrorKind::UnknownKey)]));
    assert_eq!(row(&stage, 5).await, before);
    stage.all_load().await;
    let tokens: i64 = value(
        &stage.db,
        "SELECT sum(regexp_count)::int8 FROM user_profiles, LATERAL (SELECT count(*) AS regexp_count FROM
         regexp_matches(to_jsonb(user_profiles)::text, 'rv1\\.', 'g')) AS c WHERE user_id <> 'user-5'",
    )
    .await;
    assert_eq!(tokens, 5 * (USERS as i64 - 1));
}
