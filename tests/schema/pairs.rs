//! Two hosts, and one knows only how the table looked before a migration: they never hide each other's
//! writes, from any kind of table to any other.

use retell_vault::records::StoreOptions;
use retell_vault::{Owner, RetellConfig, Vault};

use crate::support::vaults::*;
use crate::support::*;

const API_KEY: &str = "encrypted_retell_api_key text";
const CALL: &str = "encrypted_call_agent_id text";
const SMS: &str = "encrypted_sms_agent_id text";
const JSONB: &str = "encrypted_agent_config jsonb";
const PHONE: &str = "phone_number text";
const WEBHOOK: &str = "webhook_config jsonb";
const STATUS: &str = "retell_integration_status text";
const SYNC: &str = "last_retell_sync timestamptz";

/// Tables as they are, and as they may become.
const LAYOUTS: [(&str, &[&str]); 10] = [
    ("all columns", &[API_KEY, CALL, SMS, JSONB, PHONE, WEBHOOK, STATUS, SYNC]),
    ("only the JSONB column", &[JSONB]),
    ("only the API key", &[API_KEY]),
    ("only the SMS agent", &[SMS]),
    ("API key and JSONB", &[API_KEY, JSONB]),
    ("text columns", &[API_KEY, CALL, SMS]),
    ("API key and plain columns", &[API_KEY, PHONE, WEBHOOK, STATUS]),
    ("JSONB and plain columns", &[JSONB, PHONE, WEBHOOK, STATUS]),
    // of other types than one would think, so that they cannot be used
    (
        "API key and unusable columns",
        &[API_KEY, "encrypted_agent_config int", "phone_number int", "webhook_config text"],
    ),
    ("JSONB and short columns", &["encrypted_retell_api_key varchar(20)", JSONB, "phone_number varchar(3)"]),
];

fn name(column: &str) -> &str {
    column.split(' ').next().unwrap()
}

/// The statements that make one table out of another. What has no common meaning is emptied.
fn migration(from: &[&str], to: &[&str]) -> String {
    let mut steps = Vec::new();
    for column in from {
        match to.iter().find(|there| name(there) == name(column)) {
            None => steps.push(format!("DROP COLUMN {}", name(column))),
            Some(there) if there != column => {
                let kind = there.split_once(' ').unwrap().1;
                steps.push(format!("ALTER COLUMN {} TYPE {kind} USING NULL", name(column)));
            }
            Some(_) => {}
        }
    }
    let is_new = |column: &&&str| from.iter().all(|there| name(there) != name(column));
    steps.extend(to.iter().filter(is_new).map(|column| format!("ADD COLUMN {column}")));
    format!("ALTER TABLE user_profiles {}", steps.join(", "))
}

fn create(columns: &[&str]) -> String {
    format!("CREATE TABLE user_profiles (user_id text PRIMARY KEY, {})", columns.join(", "))
}

/// Everything that a host can see of an owner.
async fn sees(vault: &Vault, owner: &Owner, config: &RetellConfig, what: &str) {
    let loaded = vault.load(owner).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(&loaded.config, config, "{what}");
}

async fn sees_in_bulk(vault: &Vault, owner: &Owner, config: &RetellConfig, what: &str) {
    let loaded = vault.load_many(std::slice::from_ref(owner)).await.remove(0);
    assert_eq!(&loaded.unwrap_or_else(|error| panic!("{what}: {error}")).config, config, "{what}");
}

async fn stores(vault: &Vault, owner: &Owner, config: &RetellConfig, what: &str) {
    let stored = vault.store(owner, config).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(stored.degraded, None, "{what}");
}

async fn stores_in_bulk(vault: &Vault, owner: &Owner, config: &RetellConfig, what: &str) {
    let stored = vault.store_many(&[(owner.clone(), config.clone())]).await.unwrap().remove(0);
    assert_eq!(stored.unwrap_or_else(|error| panic!("{what}: {error}")).degraded, None, "{what}");
}

/// Four hosts that looked before the move, one for each call that has to notice it by itself, and one
/// that looks after it.
struct Pair {
    db: TestDb,
    _hosts: Hosts,
    stale: [Vault; 4],
    fresh: Vault,
}

impl Pair {
    async fn new() -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        let host = async |number| hosts.host(number, &db.url).build().await.unwrap();
        let stale = [host(0).await, host(1).await, host(2).await, host(3).await];
        let fresh = host(4).await;
        Self { db, _hosts: hosts, stale, fresh }
    }

    async fn meet(&self, before: usize, after: usize) {
        let ((from, old), (to, new)) = (LAYOUTS[before], LAYOUTS[after]);
        let (db, stale, fresh) = (&self.db, &self.stale, &self.fresh);
        let owner = owner("user-1");
        db.exec("DROP TABLE IF EXISTS user_profiles").await;
        db.exec(&create(old)).await;
        for vault in stale {
            vault.redetect().await.unwrap();
            stores(vault, &owner, &full_config("before"), from).await;
            sees(vault, &owner, &full_config("before"), from).await;
            sees_in_bulk(vault, &owner, &full_config("before"), from).await;
        }
        db.exec(&migration(old, new)).await;
        fresh.redetect().await.unwrap();
        let what = |call: &str| format!("from {from} to {to}: {call}");

        // a dropped column may have taken a part of the record: the rest is given up
        let options = StoreOptions::new().replace_unreadable();
        let stored = fresh.store_with(&owner, &full_config("fresh"), options).await;
        assert_eq!(stored.unwrap().degraded, None, "{}", what("the fresh host stores"));
        sees(&stale[0], &owner, &full_config("fresh"), &what("a stale host loads")).await;
        sees_in_bulk(&stale[1], &owner, &full_config("fresh"), &what("a stale host loads many")).await;
        stores(&stale[2], &owner, &full_config("stale"), &what("a stale host stores")).await;
        sees(fresh, &owner, &full_config("stale"), &what("the fresh host loads")).await;
        stores_in_bulk(&stale[3], &owner, &full_config("bulk"), &what("a stale host stores many")).await;
        for vault in stale.iter().chain([fresh]) {
            sees(vault, &owner, &full_config("bulk"), &what("all load")).await;
        }
        // less than before: nothing of the old may shine through
        stores(fresh, &owner, &small_config("small"), &what("the fresh host stores less")).await;
        for vault in stale.iter().chain([fresh]) {
            sees(vault, &owner, &small_config("small"), &what("all load less")).await;
            sees_in_bulk(vault, &owner, &small_config("small"), &what("all load less")).await;
        }
    }
}

async fn pairs_from(before: usize) {
    let pair = Pair::new().await;
    for after in (0..LAYOUTS.len()).filter(|after| *after != before) {
        pair.meet(before, after).await;
    }
}

macro_rules! pairs {
    ($($test:ident $before:literal)*) => { $(
        #[tokio::test]
        async fn $test() {
            pairs_from($before).await;
        }
    )* };
}
pairs! {
    from_all_columns 0
    from_only_the_jsonb_column 1
    from_only_the_api_key 2
    from_only_the_sms_agent 3
    from_api_key_and_jsonb 4
    from_text_columns 5
    from_api_key_and_plain_columns 6
    from_jsonb_and_plain_columns 7
    from_unusable_columns 8
    from_short_columns 9
}
