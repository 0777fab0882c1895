//! A load that returns only the record that the ledger names last.

use retell_vault::doctor::{DoctorOptions, Fix};
use retell_vault::records::{LoadOptions, Loaded};
use retell_vault::schema::{ApplyOptions, Profile, Wanted};
use retell_vault::{Error, ErrorKind, Layout, Owner, Vault};

use crate::Stage;
use crate::support::TestDb;
use crate::support::doctor::{examine, psql};
use crate::support::faults::until;
use crate::support::proxy::{CutProxy, Mode};
use crate::support::role::Role;
use crate::support::rows::value;
use crate::support::vaults::*;

async fn fresh(vault: &Vault, owner: &Owner) -> Result<Loaded<retell_vault::RetellConfig>, Error> {
    vault.load_with(owner, LoadOptions::new().fresh()).await
}

async fn agent(vault: &Vault, id: &str) -> Result<String, ErrorKind> {
    let loaded = fresh(vault, &owner(id)).await.map_err(|error| error.kind())?;
    Ok(loaded.config.call_agent_id().unwrap().expose_secret().to_owned())
}

/// Without the trigger that notes it.
async fn without_note(db: &TestDb, sql: &str) {
    let off = "ALTER TABLE user_profiles DISABLE TRIGGER USER";
    db.exec(&format!("{off}; {sql}; ALTER TABLE user_profiles ENABLE TRIGGER USER")).await;
}

#[tokio::test]
async fn what_the_ledger_names_last_is_loaded_and_nothing_else() {
    let stage = Stage::begun().await;
    for id in ["ann", "ben", "cid", "dan", "eve"] {
        stage.store(id).await;
    }
    // another process: what this one has seen does not help
    let vault = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
    let first = agent(&vault, "ann").await.unwrap();
    assert_eq!(agent(&vault, "nobody").await, Err(ErrorKind::NotFound));

    stage.db.exec("CREATE TABLE old AS SELECT * FROM user_profiles").await;
    stage.vault.store(&owner("ann"), &full_config("newer")).await.unwrap();
    stage.vault.delete(&owner("ben")).await.unwrap();
    assert_ne!(agent(&vault, "ann").await.unwrap(), first);
    assert_eq!(agent(&vault, "ben").await, Err(ErrorKind::NotFound));

    // both are as they were before
    without_note(&stage.db, "DELETE FROM user_profiles; INSERT INTO user_profiles SELECT * FROM old").await;
    let third = stage.hosts.host(2, &stage.db.url).build().await.unwrap();
    assert_eq!(agent(&third, "ann").await, Err(ErrorKind::LedgerBroken));
    assert_eq!(agent(&third, "ben").await, Err(ErrorKind::LedgerBroken));
    assert!(third.load(&owner("ann")).await.is_ok(), "an ordinary load is not compared");
    assert!(agent(&third, "cid").await.is_ok());
    let error = fresh(&third, &owner("ann")).await.unwrap_err().to_string();
    assert!(error.contains("older"), "{error}");

    // gone without a trace, gone with a note, and there without an entry
    without_note(&stage.db, "DELETE FROM user_profiles WHERE user_id = 'cid'").await;
    stage.db.exec("DELETE FROM user_profiles WHERE user_id = 'dan'").await;
    stage.db.exec("DELETE FROM retell_vault.ledger WHERE usr = 'eve'").await;
    assert_eq!(agent(&third, "cid").await, Err(ErrorKind::LedgerBroken));
    assert_eq!(agent(&third, "dan").await, Err(ErrorKind::NotFound));
    assert_eq!(agent(&third, "eve").await, Err(ErrorKind::LedgerBroken));

    // each of these is in the ledger too
    third.close().await;
    let noted =
        "SELECT count(DISTINCT usr) FROM retell_vault.ledger WHERE op = 'read' AND outcome = 'ledger_broken'";
    assert_eq!(value::<i64>(&stage.db, noted).await, 4);
}

#[tokio::test]
async fn an_entry_that_was_altered_does_not_count() {
    let stage = Stage::begun().await;
    stage.store("ann").await;
    stage
        .db
        .exec("UPDATE retell_vault.ledger SET digest = decode(repeat('ab', 16), 'hex') WHERE usr = 'ann'")
        .await;
    assert_eq!(agent(&stage.vault, "ann").await, Err(ErrorKind::LedgerBroken));
}

#[tokio::test]
async fn entries_that_no_vault_wrote_do_not_count_and_hide_nothing() {
    let stage = Stage::begun().await;
    stage.store("ann").await;
    let forge = |count: i32| {
        format!(
            "INSERT INTO retell_vault.ledger SELECT gen_random_uuid(), 1, epoch, 0, head, at_ms, op, place, usr, tenant, before,
            'ffffffff' || lpad(n::text, 8, '0'), digest, outcome, actor, reason, request, host, release, detail, mac
            FROM retell_vault.ledger, generate_series(1, {count}) AS n WHERE usr = 'ann' AND after NOT LIKE 'f%'"
        )
    };
    stage.db.exec(&forge(15)).await;
    assert!(agent(&stage.vault, "ann").await.is_ok());
    stage.db.exec(&forge(1)).await;
    let error = fresh(&stage.vault, &owner("ann")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::LedgerBroken && error.to_string().contains("16 entries"), "{error}");
}

#[tokio::test]
async fn a_process_that_lives_through_a_restore_knows_better() {
    let stage = Stage::begun().await;
    stage.store("ann").await;
    stage.back_up().await;
    stage.vault.store(&owner("ann"), &full_config("newer")).await.unwrap();
    stage.store("ben").await;
    stage.restore().await;
    let error = fresh(&stage.vault, &owner("ann")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::LedgerBroken && error.to_string().contains("has seen"), "{error}");
    assert_eq!(agent(&stage.vault, "ben").await, Err(ErrorKind::LedgerBroken));
    // another process has nothing to compare with
    let other = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
    assert!(agent(&other, "ann").await.is_ok());
    assert_eq!(agent(&other, "ben").await, Err(ErrorKind::NotFound));
}

#[tokio::test]
async fn tenants_and_uuids() {
    let (stage, id) = (Stage::new().await, "0F8FAD5B-D9CB-469F-A165-70867728950E");
    stage.db.exec("CREATE TABLE t (user_id text, org text, encrypted_retell_api_key text, encrypted_agent_config jsonb, PRIMARY KEY (user_id, org))").await;
    let layout = Layout::from_toml("[table]\nname = \"t\"\ntenant = \"org\"\n").unwrap();
    let vault = stage.hosts.host(1, &stage.db.url).layout(layout).build().await.unwrap();
    vault.begin_ledger().await.unwrap();
    let of = |tenant: &str, user: &str| Owner::user(user).unwrap().in_tenant(tenant).unwrap();
    for tenant in ["a", "b"] {
        vault.store(&of(tenant, id), &full_config(tenant)).await.unwrap();
        assert!(fresh(&vault, &of(tenant, &id.to_lowercase())).await.is_ok());
    }
    stage
        .db
        .exec("UPDATE t SET encrypted_retell_api_key = NULL, encrypted_agent_config = NULL WHERE org = 'a'")
        .await;
    assert_eq!(fresh(&vault, &of("a", id)).await.unwrap_err().kind(), ErrorKind::LedgerBroken);
    assert!(fresh(&vault, &of("b", id)).await.is_ok());
    let refused = fresh(&vault, &owner("x")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}

/// Writers go on, and no load calls their records unknown or old.
#[tokio::test]
async fn writers_beside_it_are_no_alarm() {
    let stage = Stage::begun().await;
    stage.store("ann").await;
    let writer = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
    let write = async {
        for n in 0..150 {
            match n % 10 {
                9 => drop(writer.delete(&owner("ann")).await.unwrap()),
                _ => drop(writer.store(&owner("ann"), &full_config(n)).await.unwrap()),
            }
        }
    };
    let read = async {
        let mut found = 0;
        for _ in 0..150 {
            match fresh(&stage.vault, &owner("ann")).await {
                Ok(_) => found += 1,
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Busy), "{error}")
                }
            }
        }
        found
    };
    let ((), found) = tokio::join!(write, read);
    assert!(found > 50, "{found}");
}

#[tokio::test]
async fn without_a_ledger_or_its_function_it_is_refused() {
    let (stage, ann) = (Stage::new().await, owner("ann"));
    stage.vault.store(&ann, &full_config("ann")).await.unwrap();
    let refused = fresh(&stage.vault, &ann).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LedgerUnavailable, "not begun: {refused}");
    stage.vault.begin_ledger().await.unwrap();
    assert!(fresh(&stage.vault, &ann).await.is_ok());

    // a role of the application that cannot read the ledger
    let grants = "GRANT SELECT, INSERT, UPDATE ON user_profiles TO guest";
    let role = Role::create(&stage.db, grants).await;
    let vault = stage.hosts.host(1, &role.url).build().await.unwrap();
    let refused = fresh(&vault, &ann).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LedgerUnavailable, "{refused}");
    let wanted = Wanted::from(Profile::Credentials).vault_schema().service_role(&role.name);
    let plan = stage.vault.schema().plan(wanted).await.unwrap();
    stage.vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    assert!(fresh(&vault, &ann).await.is_ok());

    // one that somebody replaced is not called a second time
    stage.db.exec("DROP FUNCTION retell_vault.newest(text, text, text)").await;
    for _ in 0..2 {
        let refused = fresh(&vault, &ann).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::LedgerUnavailable, "{refused}");
    }
    stage
        .db
        .exec("CREATE FUNCTION retell_vault.newest(text, text, text) RETURNS SETOF retell_vault.ledger LANGUAGE sql AS 'SELECT * FROM retell_vault.ledger WHERE false'")
        .await;
    let refused = fresh(&vault, &ann).await.unwrap_err();
    assert!(refused.to_string().contains("not the function that the vault made"), "{refused}");
    assert!(refused.hint().contains("retell-vault doctor"), "{refused}");
    let in_memory = Vault::in_memory().await.unwrap().0;
    assert_eq!(fresh(&in_memory, &ann).await.unwrap_err().kind(), ErrorKind::Configuration);
}

/// What is kept locally may be old, and what waits there is newer than anything that has an entry.
#[tokio::test]
async fn in_an_outage_it_fails_and_what_waits_locally_is_the_newest() {
    let (stage, ann) = (Stage::begun().await, owner("ann"));
    stage.store("ann").await;
    let proxy = CutProxy::start(&stage.db.url).await;
    let vault = stage.hosts.host(1, proxy.url()).offline_reads().build().await.unwrap();
    assert!(fresh(&vault, &ann).await.is_ok());
    proxy.set(Mode::Refuse).await;
    assert!(vault.load(&ann).await.unwrap().stale);
    assert_eq!(fresh(&vault, &ann).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(vault.store(&ann, &full_config("later")).await.unwrap().degraded.is_some());
    assert_eq!(fresh(&vault, &ann).await.unwrap_err().kind(), ErrorKind::Unavailable);
    proxy.set(Mode::Pass).await;
    until(async || fresh(&vault, &ann).await.is_ok()).await;
    let loaded = fresh(&vault, &ann).await.unwrap();
    assert_eq!(loaded.config, full_config("later"));
    vault.sync().await.unwrap();
    assert_eq!(fresh(&vault, &ann).await.unwrap().config, full_config("later"));
}

/// The doctor finds what was done to the function, and each fix leads to a schema without findings.
#[tokio::test]
async fn the_doctor_examines_the_function() {
    let stage = Stage::begun().await;
    let found = async || {
        let findings = examine(&stage.vault, &DoctorOptions::new()).await.findings;
        let of_schema = findings.into_iter().filter(|finding| finding.id.starts_with("vault_schema"));
        of_schema.collect::<Vec<_>>()
    };
    assert_eq!(found().await, []);
    let function = "FUNCTION retell_vault.newest(text, text, text)";
    for (change, id) in [
        (format!("GRANT EXECUTE ON {function} TO PUBLIC"), "vault_schema_open"),
        (format!("DROP {function}"), "vault_schema_incomplete"),
        (format!("ALTER {function} SECURITY INVOKER"), "vault_schema_planted"),
    ] {
        stage.db.exec(&change).await;
        assert_eq!(found().await[0].id, id, "{change}");
        // the second fix is for what the first one dropped
        for _ in 0..2 {
            for finding in found().await {
                let Fix::Sql(sql) = &finding.fix else { panic!("{finding:?}") };
                psql(&stage.db.url, sql).await;
            }
        }
        assert_eq!(found().await, [], "{change}");
        assert!(
            fresh(&stage.vault, &owner("ann")).await.is_err_and(|error| error.kind() == ErrorKind::NotFound)
        );
    }
}

/// What another process wrote in any way is what the ledger names last.
#[tokio::test]
async fn after_every_kind_of_write_the_record_is_loaded() {
    let stage = Stage::begun().await;
    let vault = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
    let many: Vec<_> = ["ann", "ben"].map(|id| (owner(id), full_config(id))).into();
    for stored in stage.vault.store_many(&many).await.unwrap() {
        stored.unwrap();
    }
    assert!(agent(&vault, "ann").await.is_ok() && agent(&vault, "ben").await.is_ok());
    stage
        .vault
        .modify(&owner("ann"), |config| {
            config.set_phone_number(None);
            Ok(())
        })
        .await
        .unwrap();
    assert!(fresh(&vault, &owner("ann")).await.unwrap().config.phone_number().is_none());
    stage.vault.rename_owner(&owner("ann"), &owner("cid")).await.unwrap();
    assert_eq!(agent(&vault, "ann").await, Err(ErrorKind::NotFound));
    assert!(agent(&vault, "cid").await.is_ok());
    stage.vault.delete(&owner("ben")).await.unwrap();
    stage.vault.forget(&owner("ben")).await.unwrap();
    assert_eq!(agent(&vault, "ben").await, Err(ErrorKind::NotFound));
    stage.store("ben").await;
    assert!(agent(&vault, "ben").await.is_ok());
}

/// A function that was replaced a moment ago, before anybody looks at it again: the entries of another owner name no record.
#[tokio::test]
async fn the_entries_of_another_owner_do_not_count() {
    let (stage, ann) = (Stage::begun().await, owner("ann"));
    stage.store("ann").await;
    stage.store("ben").await;
    let vault = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
    assert!(fresh(&vault, &ann).await.is_ok());
    let definition = "SELECT pg_get_functiondef('retell_vault.newest(text,text,text)'::regprocedure)";
    let source: String = value(&stage.db, definition).await;
    let lying = source.replace("l.usr COLLATE \"C\" = $2", "l.usr COLLATE \"C\" = 'ben'");
    assert_ne!(source, lying);
    stage.db.exec(&lying).await;
    assert_eq!(agent(&vault, "ann").await, Err(ErrorKind::LedgerBroken));
}
