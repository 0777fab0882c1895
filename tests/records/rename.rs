//! A record moves to another id of its owner: whole, in one transaction, and only to one who has none.

use retell_vault::config::Field;
use retell_vault::layout::Rows;
use retell_vault::records::Source;
use retell_vault::sync::KeptReason;
use retell_vault::{ErrorKind, Layout, RetellConfig};

use crate::support::faults::*;
use crate::support::vaults::*;
use crate::support::*;

async fn stage(table: &str) -> (TestDb, Hosts) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(table).await;
    (db, hosts)
}

const TEXTS: &str = "SELECT count(*) FROM user_profiles AS t WHERE t::text LIKE '%' || $$";

/// How many rows hold a text.
async fn rows_with(db: &TestDb, text: &str) -> i64 {
    number(&db.url, &format!("{TEXTS}{text}$$ || '%'")).await
}

const SEVERAL_ROWS: &str =
    "CREATE TABLE user_profiles (user_id text, encrypted_retell_api_key text, encrypted_agent_config jsonb)";

#[tokio::test]
async fn a_record_moves_with_all_that_belongs_to_it() {
    for (table, copies) in [(ALL_COLUMNS, 1), (SEVERAL_ROWS, 2)] {
        for target_has_row in [true, false] {
            let (db, hosts) = stage(table).await;
            let layout = Layout::new().rows(Rows::Create);
            let vault = hosts.host(0, &db.url).layout(layout).offline_reads().build().await.unwrap();
            for _ in 0..copies {
                db.exec("INSERT INTO user_profiles (user_id) VALUES ('old'), ('other')").await;
                if target_has_row {
                    db.exec("INSERT INTO user_profiles (user_id) VALUES ('new')").await;
                }
            }
            let before = vault.store(&owner("old"), &full_config(1)).await.unwrap();
            vault.store(&owner("other"), &full_config(2)).await.unwrap();
            let moved = vault.rename_owner(&owner("old"), &owner("new")).await.unwrap();
            let rows = if target_has_row { copies } else { 1 };
            assert!(moved.version > before.version && moved.rows == rows, "{moved:?}");
            let other = hosts.host(1, &db.url).build().await.unwrap();
            for vault in [&vault, &other] {
                let loaded = vault.load(&owner("new")).await.unwrap();
                assert_eq!((loaded.version, &loaded.config), (moved.version, &full_config(1)));
                assert_eq!((loaded.source, loaded.stale), (Source::Database, false));
                assert_eq!(loaded.changed_outside, []);
                assert_eq!(said(&[vault], &owner("old")).await, ["NotFound"]);
                assert_eq!(vault.load(&owner("other")).await.unwrap().config, full_config(2));
            }
            // a tombstone, and nothing else of it
            assert_eq!(rows_with(&db, ".record.").await, (2 * copies + rows) as i64);
            assert_eq!(rows_with(&db, ".api_key.").await, (copies + rows) as i64);
            let kept = vault.kept(0, 9).await.unwrap();
            assert_eq!((kept.len(), kept[0].why, &kept[0].owner), (1, KeptReason::Loser, &owner("old")));
            assert_eq!(kept[0].config.as_ref().unwrap(), &Some(full_config(1)));
            // and on: both are owners like any other
            vault.store(&owner("old"), &full_config(3)).await.unwrap();
            vault.store(&owner("new"), &full_config(4)).await.unwrap();
            assert_eq!(other.load(&owner("new")).await.unwrap().config, full_config(4));
        }
    }
}

/// The application has changed the id in the row: its record opens for nobody until it is told whose it was.
#[tokio::test]
async fn a_row_that_has_the_new_id_already() {
    for old_row in [false, true] {
        let (db, hosts) = stage(ALL_COLUMNS).await;
        let vault = hosts.host(0, &db.url).build().await.unwrap();
        vault.store(&owner("old"), &full_config(1)).await.unwrap();
        db.exec("UPDATE user_profiles SET user_id = 'new', phone_number = '+14155550199'").await;
        if old_row {
            db.exec("INSERT INTO user_profiles (user_id) VALUES ('old')").await;
        }
        let refused = vault.store(&owner("new"), &full_config(2)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsealable);
        assert!(refused.hint().contains("move --from"), "{}", refused.hint());
        let error = vault.rename_owner(&owner("nobody"), &owner("new")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsealable, "it is not nobody's");

        vault.rename_owner(&owner("old"), &owner("new")).await.unwrap();
        let other = hosts.host(1, &db.url).build().await.unwrap();
        for vault in [&vault, &other] {
            let loaded = vault.load(&owner("new")).await.unwrap();
            assert_eq!(loaded.config.api_key(), full_config(1).api_key());
            assert_eq!(loaded.config.phone_number(), Some(&"+14155550199".parse().unwrap()));
            assert_eq!(loaded.changed_outside, [Field::named("phone_number")], "it still says so");
            assert_eq!(said(&[vault], &owner("old")).await, ["NotFound"]);
        }
        assert_eq!(number(&db.url, "SELECT count(*) FROM user_profiles").await, 1 + i64::from(old_row));
        let error = vault.rename_owner(&owner("old"), &owner("new")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "it is done");
    }
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let proxy = CutProxy::start(&db.url).await;
    let vault = hosts.host(0, proxy.url()).timeouts(QUICK).build().await.unwrap();
    for user in ["old", "taken", "deleted"] {
        vault.store(&owner(user), &full_config(user)).await.unwrap();
    }
    vault.delete(&owner("deleted")).await.unwrap();
    db.exec("INSERT INTO user_profiles (user_id, encrypted_retell_api_key) VALUES ('foreign', 'of another program')").await;
    let rows = "SELECT hashtext(string_agg(t::text, '|' ORDER BY user_id))::int8 FROM user_profiles AS t";
    let before = number(&db.url, rows).await;
    let existing = hosts.host(1, &db.url).layout(Layout::new().rows(Rows::Existing)).build().await.unwrap();
    for (vault, from, to, kind, part) in [
        (&vault, "old", "taken", ErrorKind::Conflict, "taken already has a record"),
        (&vault, "absent", "new", ErrorKind::NotFound, ""),
        (&vault, "deleted", "new", ErrorKind::NotFound, ""),
        (&vault, "old", "old", ErrorKind::InvalidInput, "the same"),
        (&vault, "old", "foreign", ErrorKind::ForeignValue, "encrypted_retell_api_key"),
        (&vault, "foreign", "new", ErrorKind::ForeignValue, "encrypted_retell_api_key"),
        (&existing, "old", "new", ErrorKind::UnknownOwner, "no row"),
    ] {
        let error = vault.rename_owner(&owner(from), &owner(to)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{from} to {to}: {error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    // one transaction: the tombstone is refused, so the record stays where it is
    db.exec(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF NEW.user_id = 'old' THEN RAISE 'no'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER fail BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION fail()",
    )
    .await;
    let error = vault.rename_owner(&owner("old"), &owner("deleted")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    db.exec("DROP TRIGGER fail ON user_profiles").await;
    proxy.set(Mode::Refuse).await;
    let error = vault.rename_owner(&owner("old"), &owner("new")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(number(&db.url, rows).await, before);
    assert_eq!(local(&vault).await.pending, 0);
    let offline = hosts.offline(2).build().await.unwrap();
    let error = offline.rename_owner(&owner("old"), &owner("new")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);

    // one who was deleted has no record
    proxy.set(Mode::Pass).await;
    until(async || vault.rename_owner(&owner("old"), &owner("deleted")).await.is_ok()).await;
    assert_eq!(said(&[&vault], &owner("old")).await, ["NotFound"]);
    assert_eq!(vault.load(&owner("deleted")).await.unwrap().config, full_config("old"));
}

#[tokio::test]
async fn what_waits_for_either_owner_goes_first() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.store(&owner("old"), &full_config("row")).await.unwrap();
    vault.store(&owner("gone"), &full_config("row")).await.unwrap();
    vault.close().await;
    let away = unplugged(&hosts, 0).await;
    for user in ["old", "taken", "gone"] {
        away.store(&owner(user), &full_config(format!("{user}_waits"))).await.unwrap();
    }
    away.close().await;
    db.exec("UPDATE user_profiles SET user_id = 'moved' WHERE user_id = 'gone'").await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    let error = vault.rename_owner(&owner("gone"), &owner("moved")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "what waits is newer");
    assert!(error.to_string().contains("is pending in the local file"), "{error}");
    let error = vault.rename_owner(&owner("old"), &owner("taken")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    vault.rename_owner(&owner("old"), &owner("new")).await.unwrap();
    assert_eq!(vault.load(&owner("new")).await.unwrap().config, full_config("old_waits"));
    assert_eq!(vault.load(&owner("taken")).await.unwrap().config, full_config("taken_waits"));
    assert_eq!((local(&vault).await.pending, local(&vault).await.dead_letters), (1, 0));
}

/// Fields that only a newer program knows go along, unless they lie in a column that this one does not know.
#[tokio::test]
async fn fields_of_a_newer_program() {
    let json = format!(r#"{{"api_key":"{}","extra":{{"voice_id":"{}"}}}}"#, CANARIES[0], CANARIES[1]);
    let config = RetellConfig::from_json(&json).unwrap();
    let declared = || Layout::new().extra_secret("voice_id").unwrap();
    let with_column = declared().column(Field::named("voice_id"), "voice_enc").unwrap();
    for (layout, moves) in [(declared(), true), (with_column, false)] {
        let (db, hosts) =
            stage(&format!("{ALL_COLUMNS}; ALTER TABLE user_profiles ADD voice_enc text")).await;
        let newer = hosts.host(0, &db.url).layout(layout).build().await.unwrap();
        newer.store(&owner("old"), &config).await.unwrap();
        let older = hosts.host(1, &db.url).build().await.unwrap();
        let moved = older.rename_owner(&owner("old"), &owner("new")).await;
        let holder = match moves {
            true => "new",
            false => {
                let error = moved.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Incomplete);
                assert!(error.to_string().contains("voice_id"), "{error}");
                "old"
            }
        };
        assert_eq!(newer.load(&owner(holder)).await.unwrap().config, config);
    }
}

/// The answer to the commit is lost: it was done once, and the caller hears so.
#[tokio::test]
async fn a_lost_answer_is_read_back() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let proxy = CutProxy::start(&db.url).await;
    let vault = hosts.host(0, proxy.url()).build().await.unwrap();
    for n in 0..3 {
        let (from, to) = (owner(&format!("user-{n}")), owner(&format!("user-{}", n + 1)));
        if n == 0 {
            vault.store(&from, &full_config(1)).await.unwrap();
        }
        proxy.set(Mode::CutAfterRequest(Request::Message(b"COMMIT"))).await;
        let moved = vault.rename_owner(&from, &to).await.unwrap();
        assert_eq!(proxy.cuts(), n + 1);
        let loaded = vault.load(&to).await.unwrap();
        assert_eq!((loaded.version, loaded.config), (moved.version, full_config(1)));
        assert_eq!(said(&[&vault], &from).await, ["NotFound"]);
    }
}
