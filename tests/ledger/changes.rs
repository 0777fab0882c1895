//! Every change has an entry in its own statement, and what is missing, altered or went back is found.

use retell_vault::ledger::{LedgerCopies, LedgerVerification};
use retell_vault::records::Expected;
use retell_vault::records::StoreOptions;
use retell_vault::schema::{ApplyOptions, Profile, Wanted};
use retell_vault::{Error, ErrorKind, Vault};

use crate::Stage;
use crate::support::faults::until;
use crate::support::role::Role;
use crate::support::vaults::*;
use crate::support::{self, CutProxy, Mode, Request};

#[tokio::test]
async fn every_change_has_one_entry_and_nothing_of_it_is_an_alarm() {
    let stage = Stage::begun().await;
    let (vault, ann) = (&stage.vault, stage.store("ann").await);
    assert_eq!(stage.of("store").await, 1);
    vault.store(&ann, &full_config("again")).await.unwrap();
    vault
        .modify(&ann, |config| {
            config.set_call_agent_id(None);
            Ok(())
        })
        .await
        .unwrap();
    let expected = StoreOptions::new().expect(Expected::Absent);
    vault.store_with(&owner("ben"), &full_config("ben"), expected).await.unwrap();
    vault.delete(&ann).await.unwrap();
    assert_eq!((stage.of("store").await, stage.of("modify").await, stage.of("delete").await), (3, 1, 1));
    let many: Vec<_> = (0..50).map(|n| (owner(&format!("many-{n}")), full_config(n))).collect();
    for _ in 0..2 {
        vault.store_many(&many).await.unwrap().into_iter().for_each(|stored| drop(stored.unwrap()));
    }
    assert_eq!(stage.of("store").await, 103);
    vault.rename_owner(&owner("ben"), &owner("benjamin")).await.unwrap();
    assert_eq!(stage.of("rename").await, 2);

    // a refused write changes no state, and has an entry that says so
    let before = stage.entries().await + 1;
    let refused = vault.store_with(&owner("benjamin"), &full_config("x"), expected).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
    until(async || stage.entries().await == before).await;

    // the caller's transaction decides about its entry
    let pool = stage.db.pool();
    for commits in [true, false] {
        let mut transaction = pool.begin().await.unwrap();
        vault.store_in(&mut transaction, &owner("many-1"), &full_config("in")).await.unwrap();
        match commits {
            true => transaction.commit().await.unwrap(),
            false => transaction.rollback().await.unwrap(),
        }
    }
    assert_eq!(stage.entries().await, before + 1);
    stage.store("cid").await;
    let found = stage.verify().await;
    assert!(found.is_unbroken(), "{found:?}");
    assert_eq!((found.owners, found.entries), (54, before as u64 + 2), "{found:?}");
    assert!(found.open.len() <= 2, "{found:?}");
    let others = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
    others.store(&owner("cid"), &full_config("other")).await.unwrap();
    let found = stage.verify().await;
    assert!(found.is_unbroken() && found.writers == 2, "{found:?}");
    let text = "SELECT string_agg(l::text, ' ') FROM retell_vault.ledger AS l";
    let text: String = sqlx::query_scalar(text).fetch_one(&pool).await.unwrap();
    assert_no_secret(text.as_bytes(), "the ledger");
}

#[tokio::test]
async fn a_begin_notes_what_is_there_and_can_be_repeated() {
    let stage = Stage::new().await;
    let error = stage.vault.verify_ledger(&LedgerCopies::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LedgerUnavailable);
    for n in 0..1200 {
        if n % 100 == 0 {
            stage.store(&format!("before-{n}")).await;
        }
    }
    let many: Vec<_> = (0..1100).map(|n| (owner(&format!("many-{n}")), small_config(n))).collect();
    stage.vault.store_many(&many).await.unwrap();
    assert_eq!(stage.entries().await, 0, "the ledger was not begun");
    let begun = stage.vault.begin_ledger().await.unwrap();
    assert_eq!((begun.key_added, begun.noted, begun.unreadable), (true, 1112, 0));
    let found = stage.verify().await;
    assert!(found.is_unbroken() && found.owners == 1112, "{found:?}");
    let again = stage.vault.begin_ledger().await.unwrap();
    assert_eq!((again.key_added, again.noted), (false, 0));
}

#[tokio::test]
async fn a_begin_while_others_write_leaves_no_record_without_an_entry() {
    let stage = Stage::new().await;
    for n in 0..40 {
        stage.store(&format!("user-{n}")).await;
    }
    let writer = {
        let vault = stage.vault.clone();
        tokio::spawn(async move {
            for round in 0..30 {
                for n in 0..40 {
                    vault.store(&owner(&format!("user-{n}")), &full_config(round)).await.unwrap();
                }
                vault.store(&owner(&format!("new-{round}")), &full_config(round)).await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
    };
    stage.vault.begin_ledger().await.unwrap();
    let during = stage.verify().await;
    assert!(during.is_unbroken(), "{during:?}");
    writer.await.unwrap();
    let found = stage.verify().await;
    assert!(found.is_unbroken() && found.owners == 70, "{found:?}");
}

/// One kind of tampering: the SQL, and whether the verification names it.
type Tampering = (&'static str, fn(&LedgerVerification) -> bool);

#[tokio::test]
async fn what_was_done_to_rows_and_entries_is_found() {
    let kinds: [Tampering; 9] = [
        ("UPDATE user_profiles u SET encrypted_retell_api_key = o.encrypted_retell_api_key,
            encrypted_call_agent_id = o.encrypted_call_agent_id, encrypted_sms_agent_id = o.encrypted_sms_agent_id,
            encrypted_agent_config = o.encrypted_agent_config, phone_number = o.phone_number, webhook_config = o.webhook_config
            FROM old_rows o WHERE u.user_id = 'ann' AND o.user_id = 'ann'", |found| found.went_back.len() == 1),
        ("SET session_replication_role = replica; DELETE FROM user_profiles WHERE user_id = 'ann'", |found| found.vanished.len() == 1),
        ("DELETE FROM user_profiles WHERE user_id = 'gone'", |found| found.removed.len() == 1 && found.is_unbroken()),
        ("DELETE FROM retell_vault.ledger WHERE usr = 'ben'", |found| !found.missing.is_empty() && found.appeared.len() == 1),
        ("UPDATE retell_vault.ledger SET actor = 'mallory' WHERE seq = 2", |found| found.altered.len() == 1),
        ("UPDATE retell_vault.ledger SET at_ms = at_ms - 1 WHERE seq = 3", |found| found.altered.len() == 1),
        ("UPDATE retell_vault.ledger SET seq = -seq + 100 WHERE seq IN (4, 5)", |found| found.altered.len() == 2),
        ("INSERT INTO retell_vault.ledger SELECT gen_random_uuid(), 1, epoch, 0, head, at_ms, op, place, usr, tenant, before,
            'ffffffffffffffff', digest, outcome, actor, reason, request, host, release, detail, mac
            FROM retell_vault.ledger WHERE usr = 'ann' LIMIT 1", |found| found.altered.len() == 1 && found.went_back.is_empty()),
        ("UPDATE user_profiles SET encrypted_retell_api_key = overlay(encrypted_retell_api_key PLACING 'AAAA' FROM 120) WHERE user_id = 'ann'",
            |found| found.unreadable.len() == 1),
    ];
    let stage = Stage::begun().await;
    stage.store("ann").await;
    stage.db.exec("CREATE TABLE old_rows AS SELECT * FROM user_profiles").await;
    for id in ["ann", "ben", "gone", "cid", "dan", "eve"] {
        stage.store(id).await;
    }
    stage.vault.delete(&owner("gone")).await.unwrap();
    stage.store("ann").await;
    let clean = stage.verify().await;
    assert!(clean.is_unbroken(), "{clean:?}");
    stage.vault.close().await;
    for (sql, is_named) in kinds {
        let copy = stage.db.copy().await;
        copy.exec(sql).await;
        let vault = stage.hosts.host(1, &copy.url).build().await.unwrap();
        let found = vault.verify_ledger(&LedgerCopies::new()).await.unwrap();
        assert!(is_named(&found), "{sql}: {found:?}");
        assert!(sql.contains("'gone'") || !found.is_unbroken(), "{sql}");
        vault.close().await;
    }
}

#[tokio::test]
async fn without_its_table_nothing_is_written_without_an_entry() {
    let stage = Stage::begun().await;
    let ann = stage.store("ann").await;
    stage.db.exec("ALTER TABLE retell_vault.ledger RENAME TO hidden").await;
    let other = Vault::builder(stage.hosts.keyring()).postgres(&stage.db.url).build().await.unwrap();
    let refused = other.store(&ann, &full_config("refused")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LedgerUnavailable, "{refused}");
    assert!(refused.hint().contains("schema apply"), "{refused}");
    let refused = other.delete(&ann).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LedgerUnavailable, "{refused}");
    assert_eq!(other.load(&ann).await.unwrap().config, full_config("ann"));
    let mut transaction = stage.db.pool().begin().await.unwrap();
    let refused = other.store_in(&mut transaction, &ann, &full_config("refused")).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::LedgerUnavailable, "{refused}");
    drop(transaction);

    // with a local file the record waits there, and gets its entry when it is pushed
    let stored = stage.vault.store(&ann, &full_config("waits")).await.unwrap();
    assert!(stored.degraded.is_some());
    stage.db.exec("ALTER TABLE retell_vault.hidden RENAME TO ledger").await;
    let report = stage.vault.sync().await.unwrap();
    assert_eq!((report.pushed, stage.of("sync").await), (1, 1), "{report:?}");
    let found = stage.verify().await;
    assert!(found.is_unbroken(), "{found:?}");
    assert_eq!(stage.vault.load(&ann).await.unwrap().config, full_config("waits"));
}

#[tokio::test]
async fn the_application_adds_entries_and_can_neither_read_nor_change_them() {
    let stage = Stage::begun().await;
    stage.store("ann").await;
    let role = Role::create(&stage.db, "GRANT SELECT, INSERT, UPDATE ON user_profiles TO guest").await;
    let vault = stage.hosts.host(1, &role.url).build().await.unwrap();
    let refused: Result<_, Error> = Vault::builder(stage.hosts.keyring()).postgres(&role.url).build().await;
    let refused = refused.unwrap().store(&owner("ann"), &full_config("x")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LedgerUnavailable, "the role has no right yet: {refused}");
    let wanted = Wanted::from(Profile::Credentials).service_role(&role.name);
    let plan = stage.vault.schema().plan(wanted).await.unwrap();
    stage.vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    let stored = vault.store(&owner("ann"), &full_config("role")).await.unwrap();
    assert!(stored.degraded.is_none(), "{stored:?}");
    for sql in [
        "SELECT count(*) FROM retell_vault.ledger",
        "UPDATE retell_vault.ledger SET actor = 'x'",
        "DELETE FROM retell_vault.ledger",
        "INSERT INTO retell_vault.ledger (writer, seq, received) VALUES (gen_random_uuid(), 1, now())",
    ] {
        let refused = support::cluster::run_sql(&role.url, sql).await.unwrap_err();
        let code = refused.as_database_error().unwrap().code().unwrap().into_owned();
        assert_eq!(code, "42501", "{sql}");
    }
    let refused = vault.verify_ledger(&LedgerCopies::new()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AccessDenied, "{refused}");
    let found = stage.verify().await;
    assert!(found.is_unbroken() && found.writers >= 2, "{found:?}");
}

/// The connection ends after the statement arrived, before the answer: the write stands or not, and so does its entry.
#[tokio::test]
async fn a_lost_answer_is_no_alarm_and_its_number_is_decided() {
    let stage = Stage::begun().await;
    stage.store("ann").await;
    let proxy = CutProxy::start(&stage.db.url).await;
    let vault = stage.hosts.host(1, proxy.url()).build().await.unwrap();
    for round in 0..5 {
        vault.store(&owner("ann"), &full_config(round)).await.unwrap();
        proxy.set(Mode::CutAfterRequest(Request::ExecutionOf(b"retell_vault.ledger"))).await;
        let stored = vault.store(&owner("ann"), &full_config(format!("lost-{round}"))).await.unwrap();
        proxy.set(Mode::Pass).await;
        assert!(stored.degraded.is_none(), "{stored:?}");
        let loaded = stage.vault.load(&owner("ann")).await.unwrap();
        assert_eq!(loaded.config, full_config(format!("lost-{round}")));
    }
    assert!(proxy.cuts() >= 5);
    let found = stage.verify().await;
    assert!(found.is_unbroken(), "{found:?}");
}

/// Callers give up at any moment. Then many find out at once that the table must be looked at again, so all of them ask what
/// became of the same numbers; some of these give up too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_are_given_up_are_no_alarm() {
    let stage = Stage::begun().await;
    let store = |number: u64, round: u64, patience: u64| {
        let vault = stage.vault.clone();
        async move {
            let (owner, config) = (owner(&format!("user-{number}")), small_config(round));
            let patience = std::time::Duration::from_micros(patience);
            tokio::time::timeout(patience, vault.store(&owner, &config)).await.map(Result::unwrap).is_err()
        }
    };
    let (mut given_up, mut round) = (0, 0);
    // how many are given up in the midst depends on the machine
    while round < 60 || (round < 600 && stage.of("void").await <= 10) {
        let patience = |number| 300 + (400 * number + 170 * round) % 4_000;
        let hasty = (0..8).map(|number| tokio::spawn(store(number, round, patience(number))));
        for done in hasty.collect::<Vec<_>>() {
            given_up += u32::from(done.await.unwrap());
        }
        let columns = match round % 2 {
            0 => "ALTER TABLE user_profiles DROP COLUMN last_retell_sync",
            _ => "ALTER TABLE user_profiles ADD COLUMN last_retell_sync timestamptz",
        };
        stage.db.exec(columns).await;
        let all = (0..8).map(|number| {
            let patience = if number % 4 == 3 { 20_000 + 3_000 * (round % 60) } else { 60_000_000 };
            tokio::spawn(store(number, 100 + round, patience))
        });
        for done in all.collect::<Vec<_>>() {
            done.await.unwrap();
        }
        round += 1;
    }
    let found = stage.verify().await;
    assert!(given_up > 20 && stage.of("void").await > 10, "{given_up} given up, {found:?}");
    assert!(found.is_unbroken(), "{found:?}");
}

/// The whole database goes back: both parts agree, but a vault that was there before knows better.
#[tokio::test]
async fn a_vault_that_lives_through_a_restore_shows_it() {
    let stage = Stage::begun().await;
    for n in 0..4 {
        stage.store(&format!("user-{n}")).await;
    }
    stage
        .db
        .exec("CREATE TABLE rows_then AS TABLE user_profiles; CREATE TABLE entries_then AS TABLE retell_vault.ledger")
        .await;
    for n in 2..6 {
        stage.store(&format!("user-{n}")).await;
    }
    let found = stage.verify().await;
    assert!(found.is_unbroken() && found.anchors > 0, "{found:?}");
    let back = "TRUNCATE user_profiles, retell_vault.ledger; INSERT INTO user_profiles TABLE rows_then;
        INSERT INTO retell_vault.ledger TABLE entries_then";
    stage.db.exec(back).await;
    let found = stage.verify().await;
    assert!(!found.is_unbroken() && found.ledger_went_back.len() == 1, "{found:?}");
    assert!(found.missing.iter().map(|gap| gap.last - gap.first + 1).sum::<u64>() == 4, "{found:?}");
    let newcomer = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
    let found = newcomer.verify_ledger(&LedgerCopies::new()).await.unwrap();
    assert!(found.is_unbroken() && found.anchors == 0, "the database alone cannot show it: {found:?}");
}

#[tokio::test]
async fn code_of_others_in_place_of_the_table_is_not_run() {
    let stage = Stage::begun().await;
    stage.store("ann").await;
    stage
        .db
        .exec(
            "CREATE TABLE called (at timestamptz); ALTER TABLE retell_vault.ledger RENAME TO real;
             CREATE FUNCTION note() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'called'; END $$;
             CREATE VIEW retell_vault.ledger AS SELECT * FROM retell_vault.real WHERE note()",
        )
        .await;
    let refused = stage.vault.verify_ledger(&LedgerCopies::new()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AccessDenied, "{refused}");
    assert!(refused.to_string().contains("retell_vault.ledger is no plain table"), "{refused}");
}

#[tokio::test]
async fn a_table_without_a_place_for_tokens_cannot_be_compared() {
    let stage = Stage::begun().await;
    stage.db.exec("DROP TABLE user_profiles; CREATE TABLE user_profiles (user_id text PRIMARY KEY)").await;
    let refused = stage.vault.verify_ledger(&LedgerCopies::new()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Schema, "{refused}");
    assert_eq!(stage.vault.begin_ledger().await.unwrap_err().kind(), ErrorKind::Schema);
}

/// Rows that do not count for a load may count again later, so their records have entries too.
#[tokio::test]
async fn rows_outside_of_the_filter_are_compared_and_may_leave_and_come_back() {
    let stage = Stage::new().await;
    stage
        .db
        .exec("ALTER TABLE user_profiles ADD provider text NOT NULL DEFAULT 'retell', ADD deleted_at timestamptz")
        .await;
    let layout = retell_vault::Layout::new()
        .where_equals("provider", "retell")
        .and_then(|layout| layout.is_null("deleted_at"))
        .unwrap();
    let vault = stage.hosts.host(1, &stage.db.url).layout(layout).build().await.unwrap();
    for id in ["ann", "ben"] {
        vault.store(&owner(id), &full_config(id)).await.unwrap();
    }
    stage.db.exec("UPDATE user_profiles SET deleted_at = now() WHERE user_id = 'ben'").await;
    assert_eq!(vault.begin_ledger().await.unwrap().noted, 2);
    vault.store(&owner("ann"), &full_config("again")).await.unwrap();
    for change in [
        "UPDATE user_profiles SET deleted_at = now() WHERE user_id = 'ann'",
        "UPDATE user_profiles SET deleted_at = NULL",
    ] {
        stage.db.exec(change).await;
        let found = vault.verify_ledger(&LedgerCopies::new()).await.unwrap();
        assert!(found.is_unbroken() && found.owners == 2, "{change}: {found:?}");
    }
}

/// The table of the ledger limits the name of a place, so nothing could be written once the ledger were begun.
#[tokio::test]
async fn a_filter_that_is_too_long_for_an_entry_is_refused_before_anything_begins() {
    let stage = Stage::new().await;
    let mut layout = named_table("user_profiles");
    for n in 0..9 {
        stage.db.exec(&format!("ALTER TABLE user_profiles ADD kind_{n} text")).await;
        layout = layout.where_equals(&format!("kind_{n}"), "x".repeat(255).as_str()).unwrap();
    }
    let vault = stage.hosts.host(1, &stage.db.url).layout(layout).build().await.unwrap();
    let refused = vault.begin_ledger().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LedgerUnavailable, "{refused}");
    assert!(refused.to_string().contains("filter of the layout") && !stage.hosts.keyring().has_ledger());
    stage.store("ann").await;
}

/// Their ids are longer than the vault accepts, and there are more of them than are read at once.
#[tokio::test]
async fn owners_after_many_that_are_passed_over_are_compared() {
    let stage = Stage::begun().await;
    stage.store("ann").await;
    stage.store("zoe").await;
    let strangers = "INSERT INTO user_profiles (user_id, encrypted_retell_api_key)
        SELECT repeat('b', 256) || n, encrypted_retell_api_key FROM user_profiles, generate_series(1, 4500) AS n
        WHERE user_id = 'ann'";
    stage.db.exec(strangers).await;
    let found = stage.verify().await;
    assert!(found.is_unbroken(), "{found:?}");
    assert_eq!(found.owners, 2, "{found:?}");
}
