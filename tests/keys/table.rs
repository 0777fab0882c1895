//! A keyring in the database: replicas follow it, nothing is sealed under an older one, and every attack has its repair.

use std::time::Duration;

use retell_vault::connection::KeyringTable;
use retell_vault::keyring::{KeyState, KeyringPin, RawKey};
use retell_vault::records::RecordState;
use retell_vault::rotation::DestroyOptions;
use retell_vault::{ErrorKind, RetellConfig, Vault};

use crate::support::faults::{exec, number};
use crate::support::in_table::*;
use crate::support::role::Role;
use crate::support::vaults::*;
use crate::support::{CutProxy, Mode, TestDb};

#[tokio::test]
async fn of_several_changes_at_once_none_is_lost_and_no_generation_is_left_out() {
    let stage = Stage::new().await;
    let mut changing = Vec::new();
    for _ in 0..4 {
        let operator = stage.open().await.unwrap();
        changing.push(tokio::spawn(async move {
            let mut added = Vec::new();
            for _ in 0..8 {
                match operator.add_key().await {
                    Ok(key) => added.push(key.id),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}"),
                }
            }
            added
        }));
    }
    let mut added = Vec::new();
    for changes in changing {
        added.extend(changes.await.unwrap());
    }
    let keyring = stage.open().await.unwrap();
    assert!(added.len() >= 8 && added.iter().all(|id| keyring.keys().iter().any(|key| key.id == *id)));
    assert_eq!((keyring.keys().len(), stage.rows().await), (added.len() + 1, added.len() as i64 + 1));
    let linked = "SELECT count(*) FROM retell_vault.keyring k JOIN retell_vault.keyring b ON k.generation = b.generation + 1
        AND k.predecessor = encode(sha256(convert_to(b.sealed, 'UTF8')), 'hex')";
    assert_eq!(number(&stage.db.url, linked).await, added.len() as i64);
}

/// What was done to the table behind our back, and what it takes to mend it.
struct Attack {
    name: &'static str,
    sql: &'static str,
    running: ErrorKind,
    starting: ErrorKind,
    mend: Mend,
}

#[derive(PartialEq, Eq)]
enum Mend {
    /// The planted row is removed by `repair`.
    Repair,
    /// A running process puts the keyring back.
    Restore,
    /// The same, after the row that nothing opens is deleted by hand: it might have been somebody's keyring.
    DeleteAndRestore,
}

const ATTACKS: [Attack; 9] = [
    Attack {
        name: "an older generation is put back",
        sql: "DELETE FROM retell_vault.keyring WHERE generation > 1",
        running: ErrorKind::KeyringRolledBack,
        starting: ErrorKind::KeyringRolledBack,
        mend: Mend::Restore,
    },
    Attack {
        name: "all rows are deleted",
        sql: "DELETE FROM retell_vault.keyring",
        running: ErrorKind::KeyringMissing,
        starting: ErrorKind::KeyringMissing,
        mend: Mend::Restore,
    },
    Attack {
        name: "an older text under the next generation",
        sql: "INSERT INTO retell_vault.keyring SELECT 4, 'x', sealed FROM retell_vault.keyring ORDER BY generation LIMIT 1",
        running: ErrorKind::KeyringFile,
        starting: ErrorKind::KeyringFile,
        mend: Mend::Repair,
    },
    Attack {
        name: "the next generation, with a header that was raised",
        sql: "INSERT INTO retell_vault.keyring SELECT 4, 'x', replace(sealed, '\"generation\": 3', '\"generation\": 4'),
            now(), repeat('0', 64) FROM retell_vault.keyring WHERE generation = 3",
        running: ErrorKind::KeyringLocked,
        starting: ErrorKind::KeyringLocked,
        mend: Mend::Repair,
    },
    Attack {
        name: "the same in place of all others, so that the keys in memory are stored nowhere",
        sql: "UPDATE retell_vault.keyring SET generation = 4, sealed = replace(sealed, '\"generation\": 3', '\"generation\": 4')
            WHERE generation = 3; DELETE FROM retell_vault.keyring WHERE generation < 3",
        running: ErrorKind::KeyringLocked,
        starting: ErrorKind::KeyringLocked,
        mend: Mend::DeleteAndRestore,
    },
    Attack {
        name: "the largest generation",
        sql: "INSERT INTO retell_vault.keyring VALUES (9223372036854775807, 'x', '{}')",
        running: ErrorKind::KeyringFile,
        starting: ErrorKind::KeyringFile,
        mend: Mend::Repair,
    },
    Attack {
        name: "the largest generation in a text too",
        sql: "INSERT INTO retell_vault.keyring SELECT 9223372036854775807, 'x',
            replace(sealed, '\"generation\": 3', '\"generation\": 9223372036854775807')
            FROM retell_vault.keyring WHERE generation = 3",
        running: ErrorKind::KeyringLocked,
        starting: ErrorKind::KeyringLocked,
        mend: Mend::Repair,
    },
    Attack {
        name: "a text whose header was raised",
        sql: "INSERT INTO retell_vault.keyring SELECT 9, 'x', replace(sealed, '\"generation\": 3', '\"generation\": 9')
            FROM retell_vault.keyring WHERE generation = 3",
        running: ErrorKind::KeyringLocked,
        starting: ErrorKind::KeyringLocked,
        mend: Mend::Repair,
    },
    Attack {
        name: "the table is dropped",
        sql: "DROP TABLE retell_vault.keyring",
        running: ErrorKind::Schema,
        starting: ErrorKind::Schema,
        mend: Mend::Restore,
    },
];

#[tokio::test]
async fn an_attack_on_the_table_stops_sealing_and_not_opening_and_is_repaired() {
    futures_util::future::join_all(ATTACKS.map(survive)).await;
}

async fn survive(Attack { name, sql, running: kind, starting, mend }: Attack) {
    let mut stage = Stage::new().await;
    stage.promote().await;
    stage.pin = stage.open().await.unwrap().pin();
    assert_eq!(stage.pin.generation(), 3);
    let (running, folder) = (stage.replica().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("home/local.db");
    let with_file = Vault::builder(stage.open().await.unwrap()).postgres(&stage.db.url).local_file(&file);
    let with_file = with_file.build().await.unwrap();
    seal(&running, "user-1").await.unwrap();

    exec(&stage.db.url, sql).await;
    // neither for the database nor for the local file
    let (error, other) = tokio::join!(seal(&running, "user-1"), seal(&with_file, "user-1"));
    let error = error.expect_err(name);
    assert_eq!(other.expect_err(name).kind(), kind, "{name}");
    assert_eq!(with_file.status().await.unwrap().local.unwrap().pending, 0, "{name}");
    assert_eq!(error.kind(), kind, "{name}: {error:?}");
    running.load(&owner("user-1")).await.unwrap();
    assert_eq!(running.status().await.unwrap().keyring_problem.unwrap().kind(), kind, "{name}");
    // a new replica opens nothing but what it can prove, and seals nothing
    match stage.open().await {
        Ok(keyring) => {
            let vault = Vault::builder(keyring).postgres(&stage.db.url).build().await.unwrap();
            assert_eq!(seal(&vault, "user-2").await.unwrap_err().kind(), starting, "{name}");
            vault.close().await;
        }
        Err(error) => assert_eq!(error.kind(), starting, "{name}: {error:?}"),
    }

    match mend {
        Mend::Repair => {
            let removed = stage.table().repair(&stage.pin, &wrapping_key()).await.unwrap();
            assert_eq!(removed.len(), 1, "{name}");
        }
        Mend::Restore => {
            stage.table().create(&[]).await.unwrap();
            assert!(running.restore_keyring().await.unwrap(), "{name}");
        }
        Mend::DeleteAndRestore => {
            let error = stage.table().repair(&stage.pin, &wrapping_key()).await.unwrap_err();
            assert!(error.hint().contains("keyring restore"), "{name}: {error:?}");
            assert_eq!(running.restore_keyring().await.unwrap_err().kind(), kind, "{name}");
            exec(&stage.db.url, "DELETE FROM retell_vault.keyring").await;
            assert!(running.restore_keyring().await.unwrap(), "{name}");
        }
    }
    seal(&running, "user-1").await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let replica = stage.replica().await;
    seal(&replica, "user-2").await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    replica.load(&owner("user-1")).await.unwrap();
    assert!(!running.restore_keyring().await.unwrap(), "{name}");
}

#[tokio::test]
async fn another_keyring_under_the_same_secret_is_neither_followed_nor_opened() {
    let (stage, other) = (Stage::new().await, Stage::new().await);
    let running = stage.replica().await;
    let text = other.table().sealed_text().await.unwrap().replace('\'', "''");
    let plant = format!(
        "DELETE FROM retell_vault.keyring; INSERT INTO retell_vault.keyring VALUES (1, NULL, '{text}')"
    );
    exec(&stage.db.url, &plant).await;
    assert_eq!(seal(&running, "user-1").await.unwrap_err().kind(), ErrorKind::WrongKeyring);
    assert_eq!(stage.open().await.unwrap_err().kind(), ErrorKind::WrongKeyring);
    // what it holds may be the keyring of somebody: it is not overwritten
    assert_eq!(running.restore_keyring().await.unwrap_err().kind(), ErrorKind::WrongKeyring);
    exec(&stage.db.url, "DELETE FROM retell_vault.keyring").await;
    assert!(running.restore_keyring().await.unwrap());
    seal(&running, "user-1").await.unwrap();
}

/// Another keyring, which the same secret opens, as a later generation of ours.
#[tokio::test]
async fn another_keyring_above_ours_is_removed_by_a_repair() {
    let (stage, other) = (Stage::new().await, Stage::new().await);
    let running = stage.replica().await;
    other.promote().await;
    let text = other.table().sealed_text().await.unwrap().replace('\'', "''");
    exec(&stage.db.url, &format!("INSERT INTO retell_vault.keyring VALUES (3, 'x', '{text}')")).await;
    assert_eq!(seal(&running, "user-1").await.unwrap_err().kind(), ErrorKind::WrongKeyring);
    assert_eq!(stage.open().await.unwrap_err().kind(), ErrorKind::WrongKeyring);
    assert_eq!(stage.table().repair(&stage.pin, &wrapping_key()).await.unwrap(), [3]);
    seal(&running, "user-1").await.unwrap();
    seal(&stage.replica().await, "user-2").await.unwrap();
}

/// A dump of the schema, taken before a key was added and promoted, is restored under running and under new replicas.
#[tokio::test]
async fn a_restored_dump_stops_sealing_until_the_keyring_is_put_back() {
    let mut stage = Stage::new().await;
    let dump = crate::support::dump::of_vault_schema(&stage.db).await;
    let newest = stage.promote().await;
    stage.pin = stage.open().await.unwrap().pin();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("home/local.db");
    let table = || stage.table().local_file(&file);
    let keyring = table().open(&stage.pin, &wrapping_key()).await.unwrap();
    let with_copy = Vault::builder(keyring).postgres(&stage.db.url).local_file(&file).build().await.unwrap();
    let running = stage.replica().await;
    seal(&with_copy, "user-1").await.unwrap();
    seal(&running, "user-2").await.unwrap();

    exec(&stage.db.url, "DROP SCHEMA retell_vault CASCADE").await;
    exec(&stage.db.url, &dump).await;
    // a new replica with the pin of today, one that has only the first pin, and those that run
    let new = stage.replica().await;
    let first = format!("{}:1", stage.pin.id()).parse().unwrap();
    let old_pin = stage.table().open(&first, &wrapping_key()).await.unwrap();
    let old_pin = Vault::builder(old_pin).postgres(&stage.db.url).build().await.unwrap();
    for vault in [&with_copy, &running, &new] {
        let error = seal(vault, "user-1").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyringRolledBack, "{error:?}");
    }
    for vault in [&with_copy, &running] {
        vault.load(&owner("user-1")).await.unwrap();
        vault.load(&owner("user-2")).await.unwrap();
    }
    // it cannot know better, and what it seals it seals under a key that is stored; it opens nothing of the newest key
    let error = old_pin.store(&owner("user-1"), &small_config(1)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::KeyringRolledBack | ErrorKind::WrongKeyring), "{error:?}");
    assert_eq!(stage.key_of("user-1").await, newest);

    // from the copy in a local file, after the processes have ended
    futures_util::future::join_all([&with_copy, &running, &new].map(Vault::close)).await;
    let copy = table().open_copy(&stage.pin, &wrapping_key()).await.unwrap();
    assert!(stage.table().push(&copy).await.unwrap());
    seal(&stage.replica().await, "user-1").await.unwrap();
    seal(&old_pin, "user-2").await.unwrap();
    assert_eq!((stage.key_of("user-1").await, stage.key_of("user-2").await), (newest, newest));
}

#[tokio::test]
async fn a_key_is_not_destroyed_while_a_running_process_has_an_older_generation() {
    let stage = Stage::new().await;
    let running = stage.replica().await;
    let old = running.keys()[0].id;
    stage.promote().await;
    let operator = Vault::builder(stage.open().await.unwrap()).short_lived().postgres(&stage.db.url);
    let operator = operator.build().await.unwrap();
    let options = || DestroyOptions::new().force();
    // one that died: it is named for five minutes, and not longer
    let died = "INSERT INTO retell_vault.hosts VALUES ('dead', 1, now() - interval '4 minutes')";
    exec(&stage.db.url, died).await;
    let error = operator.destroy_key(old, options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyInUse, "{error:?}");
    let named =
        "SELECT count(*) FROM retell_vault.hosts WHERE strpos($$TEXT$$, host || ' (generation 1)') > 0";
    assert_eq!(number(&stage.db.url, &named.replace("TEXT", &error.to_string())).await, 2, "{error}");
    exec(
        &stage.db.url,
        "UPDATE retell_vault.hosts SET at = now() - interval '6 minutes' WHERE host = 'dead'",
    )
    .await;
    let error = operator.destroy_key(old, options()).await.unwrap_err();
    assert_eq!(number(&stage.db.url, &named.replace("TEXT", &error.to_string())).await, 1, "{error}");

    // the next call loads the new generation, and the note follows within a second or two
    running.load(&owner("nobody")).await.unwrap_err();
    let mut tries = 0;
    while let Err(error) = operator.destroy_key(old, options()).await {
        assert!(error.kind() == ErrorKind::KeyInUse && tries < 100, "{error:?}");
        tries += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    running.close().await;
    let hosts = "SELECT count(*) FROM retell_vault.hosts WHERE host <> 'dead'";
    assert_eq!(number(&stage.db.url, hosts).await, 0);
}

/// A role of the application may write such a note, which no clock of the server would ever make old.
#[tokio::test]
async fn a_note_from_the_future_keeps_no_key_and_is_removed() {
    let stage = Stage::new().await;
    let old = stage.open().await.unwrap().keys()[0].id;
    stage.promote().await;
    let planted = "INSERT INTO retell_vault.hosts VALUES ('forever', 1, 'infinity'), ('later', 1, now() + interval '1 hour'),
        ('ahead', 3, now() + interval '1 minute')";
    exec(&stage.db.url, planted).await;
    let hosts = stage.table().hosts().await.unwrap();
    assert_eq!(
        hosts,
        [("ahead".to_owned(), 3)],
        "the clock of a standby that took over may be a little behind"
    );
    let operator = Vault::builder(stage.open().await.unwrap()).short_lived().postgres(&stage.db.url);
    operator.build().await.unwrap().destroy_key(old, DestroyOptions::new().force()).await.unwrap();

    stage.replica().await;
    let left = "SELECT count(*) FROM retell_vault.hosts WHERE host IN ('forever', 'later')";
    assert_eq!(number(&stage.db.url, left).await, 0);
}

#[tokio::test]
async fn a_start_without_the_database_uses_the_copy_in_the_local_file() {
    let stage = Stage::new().await;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("home/local.db");
    let proxy = CutProxy::start(&stage.db.url).await;
    let table = || KeyringTable::postgres(proxy.url()).unwrap().local_file(&file);
    let start = |keyring| Vault::builder(keyring).postgres(proxy.url()).local_file(&file).build();
    let vault = start(table().open(&stage.pin, &wrapping_key()).await.unwrap()).await.unwrap();
    stage.open().await.unwrap().add_key().await.unwrap();
    seal(&vault, "user-1").await.unwrap();
    vault.close().await;

    proxy.set(Mode::Refuse).await;
    let error =
        KeyringTable::postgres(proxy.url()).unwrap().open(&stage.pin, &wrapping_key()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.hint().contains("local file"), "{error:?}");
    let copy = table().open(&stage.pin, &wrapping_key()).await.unwrap();
    assert_eq!(copy.pin().generation(), 2);
    let vault = start(copy).await.unwrap();
    assert_eq!(vault.status().await.unwrap().keyring_copy, Some(2));
    let stored = vault.store(&owner("user-2"), &small_config(2)).await.unwrap();
    assert!(stored.degraded.is_some());
    vault.load(&owner("user-2")).await.unwrap();

    proxy.set(Mode::Pass).await;
    let newest = stage.promote().await;
    let mut tries = 0;
    while vault.sync().await.unwrap().pushed == 0 {
        assert!(tries < 60, "it is never pushed");
        tries += 1;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    // in an outage it looks every five seconds
    let mut tries = 0;
    while stage.key_of("user-3").await != newest {
        assert!(tries < 60, "the keyring is never loaded again");
        tries += 1;
        tokio::time::sleep(Duration::from_millis(250)).await;
        vault.store(&owner("user-3"), &small_config(3)).await.unwrap();
    }
}

#[tokio::test]
async fn the_application_reads_the_keyring_and_nobody_else_does() {
    let stage = Stage::new().await;
    let service = Role::create(&stage.db, "GRANT SELECT, INSERT, UPDATE ON user_profiles TO guest").await;
    let stranger = Role::create(&stage.db, "GRANT CREATE ON SCHEMA public TO guest").await;
    stage.table().create(std::slice::from_ref(&service.name)).await.unwrap();
    let at = |url: &str| KeyringTable::postgres(url).unwrap();
    let keyring = at(&service.url).open(&stage.pin, &wrapping_key()).await.unwrap();
    let vault = Vault::builder(keyring.clone()).postgres(&service.url).build().await.unwrap();
    seal(&vault, "user-1").await.unwrap();
    assert_eq!(number(&stage.db.url, "SELECT count(*) FROM retell_vault.hosts").await, 1);
    assert_eq!(keyring.add_key().await.unwrap_err().kind(), ErrorKind::AccessDenied);
    let error = at(&stranger.url).open(&stage.pin, &wrapping_key()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error:?}");

    // a policy that hides rows: no row is no keyring, and not a reason to make one
    exec(&stage.db.url, "ALTER TABLE retell_vault.keyring ENABLE ROW LEVEL SECURITY").await;
    let error = seal(&vault, "user-1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error:?}");
    assert!(error.to_string().contains("row level security may hide rows"), "{error}");
    assert_eq!(
        at(&service.url).open(&stage.pin, &wrapping_key()).await.unwrap_err().kind(),
        ErrorKind::AccessDenied
    );
    exec(&stage.db.url, "ALTER TABLE retell_vault.keyring DISABLE ROW LEVEL SECURITY").await;
    seal(&vault, "user-1").await.unwrap();
    vault.close().await;
}

#[tokio::test]
async fn what_another_role_made_before_is_not_used() {
    let db = TestDb::create().await;
    db.exec(ALL_COLUMNS).await;
    let stranger = Role::create(&db, "").await;
    exec(
        &db.url,
        &format!(
            "DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO {}', current_database()); END $$",
            stranger.name
        ),
    )
    .await;
    let service = Role::create(&db, "").await;
    exec(&stranger.url, "CREATE SCHEMA retell_vault; CREATE VIEW retell_vault.keyring AS SELECT 1::int8 AS generation, 'x' AS sealed; GRANT USAGE ON SCHEMA retell_vault TO PUBLIC; GRANT SELECT ON retell_vault.keyring TO PUBLIC").await;
    let pin: KeyringPin = format!("{}:1", "0".repeat(32)).parse().unwrap();
    let table = KeyringTable::postgres(&service.url).unwrap();
    let error = table.open(&pin, &wrapping_key()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error:?}");
    assert!(error.to_string().contains("no plain table"), "{error}");
    let error = table.create(&[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error:?}");
    assert!(error.to_string().contains(&stranger.name), "{error}");
}

#[tokio::test]
async fn a_keyring_is_followed_and_changed_through_a_transaction_pooler() {
    let stage = Stage::new().await;
    let url = stage.db.bouncer_url();
    let open =
        async || KeyringTable::postgres(&url).unwrap().open(&stage.pin, &wrapping_key()).await.unwrap();
    let vault = Vault::builder(open().await).postgres(&url).build().await.unwrap();
    seal(&vault, "user-1").await.unwrap();
    let operator = open().await;
    let key = operator.add_key().await.unwrap().id;
    let promoted = operator.promote_key(key);
    // other statements use the server's connections meanwhile
    let busy = async {
        for _ in 0..20 {
            vault.load(&owner("user-1")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::join!(promoted, busy).0.unwrap();
    seal(&vault, "user-1").await.unwrap();
    assert_eq!(stage.key_of("user-1").await, key);
    vault.close().await;
}

#[tokio::test]
async fn a_rewrap_leaves_no_row_that_the_old_secret_opens() {
    let stage = Stage::new().await;
    let operator = stage.open().await.unwrap();
    operator.add_key().await.unwrap();
    let running = stage.replica().await;
    let other = RawKey::from_base64(&format!("{}A=", "Q".repeat(42))).unwrap();
    operator.rewrap(&other).await.unwrap();
    assert_eq!(stage.rows().await, 1);
    assert_eq!(stage.open().await.unwrap_err().kind(), ErrorKind::KeyringLocked);
    // a repair with the old secret removes nothing
    let error = stage.table().repair(&stage.pin, &wrapping_key()).await.unwrap_err();
    assert_eq!((error.kind(), stage.rows().await), (ErrorKind::KeyringLocked, 1));
    seal(&running, "user-1").await.unwrap();
    operator.add_key().await.unwrap();
    let error = seal(&running, "user-1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyringLocked, "{error:?}");
    assert!(error.hint().contains("new passphrase"), "{error:?}");
    running.load(&owner("user-1")).await.unwrap();
    stage.table().open(&stage.pin, &other).await.unwrap();
}

/// A rewrap that a replica has not loaded, and a replica with the old secret. The vouchers are copied beside the keyring.
async fn rewrapped() -> (Stage, Vault) {
    let stage = Stage::new().await;
    let running = stage.replica().await;
    let other = RawKey::from_base64(&format!("{}A=", "Q".repeat(42))).unwrap();
    stage.open().await.unwrap().rewrap(&other).await.unwrap();
    exec(&stage.db.url, "CREATE TABLE vouchers AS SELECT generation, voucher FROM retell_vault.keyring")
        .await;
    (stage, running)
}

#[tokio::test]
async fn a_voucher_that_cannot_be_read_stops_sealing() {
    let (stage, running) = rewrapped().await;
    exec(&stage.db.url, "ALTER TABLE retell_vault.keyring DROP voucher").await;
    for _ in 0..2 {
        let error = seal(&running, "user-1").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Schema, "{error:?}");
    }
    assert_eq!(running.status().await.unwrap().keyring_problem.unwrap().kind(), ErrorKind::Schema);
}

#[tokio::test]
async fn a_process_that_was_stopped_seals_again_after_a_vouched_row() {
    let (stage, running) = rewrapped().await;
    exec(&stage.db.url, "UPDATE retell_vault.keyring SET voucher = NULL").await;
    let error = seal(&running, "user-1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyringLocked, "{error:?}");
    let vouch = "UPDATE retell_vault.keyring k SET voucher = v.voucher FROM vouchers v WHERE v.generation = k.generation";
    exec(&stage.db.url, vouch).await;
    seal(&running, "user-1").await.unwrap();
    assert!(running.status().await.unwrap().keyring_problem.is_none());
}

/// The texts of the generations that hold a key which is destroyed now.
async fn older_texts(stage: &Stage) -> i64 {
    number(&stage.db.url, "SELECT count(*) FROM retell_vault.keyring k JOIN older USING (sealed)").await
}

#[tokio::test]
async fn a_destroyed_key_is_in_no_row_or_it_is_not_destroyed() {
    let stage = Stage::new().await;
    let old = stage.open().await.unwrap().keys()[0].id;
    stage.promote().await;
    exec(&stage.db.url, "CREATE TABLE older AS SELECT * FROM retell_vault.keyring").await;
    let role = "GRANT ALL ON user_profiles TO guest; GRANT USAGE ON SCHEMA retell_vault TO guest;
        GRANT SELECT, INSERT ON retell_vault.keyring, retell_vault.hosts TO guest";
    let role = Role::create(&stage.db, role).await;
    let destroy = async |url: &str| {
        let table = KeyringTable::postgres(url).unwrap();
        let vault =
            Vault::builder(table.open(&stage.pin, &wrapping_key()).await?).short_lived().postgres(url);
        let vault = vault.build().await.unwrap();
        let destroyed = vault.destroy_key(old, DestroyOptions::new().force()).await;
        let state = vault.keys().into_iter().find(|key| key.id == old).unwrap().state;
        assert_eq!(state == KeyState::Destroyed, destroyed.is_ok(), "{destroyed:?}");
        destroyed
    };
    let error = destroy(&role.url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error:?}");
    assert!(error.to_string().contains("retell_vault.keyring"), "{error}");
    assert!(error.hint().contains("DELETE"), "{error:?}");
    assert_eq!(older_texts(&stage).await, 3, "nothing was removed");

    // what would keep the rows although the statement succeeds
    let operator = stage.open().await.unwrap();
    let vault = Vault::builder(operator).short_lived().postgres(&stage.db.url).build().await.unwrap();
    let keeps = [
        (
            "CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
            CREATE TRIGGER stay BEFORE DELETE ON retell_vault.keyring FOR EACH ROW EXECUTE FUNCTION stay()",
            "DROP FUNCTION stay CASCADE",
        ),
        (
            "CREATE RULE stay AS ON DELETE TO retell_vault.keyring DO INSTEAD NOTHING",
            "DROP RULE stay ON retell_vault.keyring",
        ),
        (
            "ALTER TABLE retell_vault.keyring ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE retell_vault.keyring DISABLE ROW LEVEL SECURITY",
        ),
    ];
    for (keep, undo) in keeps {
        exec(&stage.db.url, keep).await;
        let error = vault.destroy_key(old, DestroyOptions::new().force()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AccessDenied, "{keep}: {error:?}");
        let state = vault.keys().into_iter().find(|key| key.id == old).unwrap().state;
        assert_eq!((state, older_texts(&stage).await), (KeyState::Retired, 3), "{keep}");
        exec(&stage.db.url, undo).await;
    }
    destroy(&stage.db.url).await.unwrap();
    assert_eq!((older_texts(&stage).await, stage.rows().await), (0, 1));
}

// --- A key that another process has just made ---

/// A process that does not know a key looks for it once, whatever the call. Its keyring is read once a second before a call;
/// here another process promotes a key and stores within that second.
#[tokio::test]
async fn every_call_finds_the_key_of_a_record_that_another_process_has_just_stored() {
    let stage = Stage::new().await;
    let users = ["user-1", "user-2"];
    seal(&stage.replica().await, "old").await.unwrap(); // or no key of the table were known
    let newest = stage.promote().await;
    let later = stage.replica().await;
    // the later generations, for a moment not there
    let hide = "CREATE TABLE IF NOT EXISTS hidden AS SELECT * FROM retell_vault.keyring WHERE false;
        INSERT INTO hidden SELECT * FROM retell_vault.keyring WHERE generation > 1;
        DELETE FROM retell_vault.keyring WHERE generation > 1";
    let show = "INSERT INTO retell_vault.keyring SELECT * FROM hidden; DELETE FROM hidden";
    let pool = stage.db.pool();
    for call in 0..11 {
        for user in users {
            later.store(&owner(user), &small_config(user)).await.unwrap();
        }
        exec(&stage.db.url, hide).await;
        let builder = Vault::builder(stage.open().await.unwrap()).postgres(&stage.db.url);
        let vault = builder.short_lived().build().await.unwrap();
        vault.load(&owner("old")).await.unwrap();
        exec(&stage.db.url, show).await;
        let (one, two) = (&owner(users[0]), &owner(users[1]));
        match call {
            0 => drop(vault.load(one).await.unwrap()),
            1 => drop(tokio::try_join!(vault.load(one), vault.load(two), vault.load(one)).unwrap()),
            2 => {
                let loaded = vault.load_many(&[one.clone(), owner("old"), two.clone()]).await;
                loaded.into_iter().for_each(|loaded| drop(loaded.unwrap()));
            }
            3 => drop(vault.store(one, &small_config(3)).await.unwrap()),
            4 => {
                let configs = [(one.clone(), small_config(4)), (two.clone(), small_config(4))];
                let stored = vault.store_many(&configs).await.unwrap();
                stored.into_iter().for_each(|stored| drop(stored.unwrap()));
            }
            5 => {
                let unset = |config: &mut RetellConfig| {
                    config.set_phone_number(None);
                    Ok(())
                };
                vault.modify(one, unset).await.unwrap();
            }
            6 => drop(vault.delete(one).await.unwrap()),
            7 => {
                vault.rename_owner(one, &owner("moved")).await.unwrap();
            }
            8 => {
                let listed = vault.list(None, 10).await.unwrap().entries;
                let readable =
                    listed.iter().filter(|entry| matches!(entry.state, RecordState::Readable)).count();
                assert_eq!(readable, 4, "{listed:?}");
            }
            9 => {
                let mut transaction = pool.begin().await.unwrap();
                vault.load_in(&mut transaction, one).await.unwrap();
                transaction.rollback().await.unwrap();
            }
            _ => {
                let mut transaction = pool.begin().await.unwrap();
                vault.store_in(&mut transaction, one, &small_config(10)).await.unwrap();
                transaction.rollback().await.unwrap();
            }
        }
        assert_eq!(vault.keys().last().unwrap().id, newest);
        vault.close().await;
    }
}
