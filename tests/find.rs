//! Owners are found by an agent or a phone number: through the index, and never wrongly.

mod support;

use retell_vault::{RetellConfig, Vault};
use support::vaults::*;
use support::*;

/// The index column with its index, as the schema planner creates both.
const INDEX: &str = "ALTER TABLE user_profiles ADD retell_vault_index bytea[];
    CREATE INDEX ON user_profiles USING gin (retell_vault_index) WITH (fastupdate = off)";

/// Every value is sealed.
const SEALED: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text,
    encrypted_call_agent_id text, encrypted_sms_agent_id text, encrypted_agent_config jsonb)";

async fn stage(table: &str) -> (TestDb, Hosts, Vault) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(table).await;
    db.exec(INDEX).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    (db, hosts, vault)
}

fn with_agents(mark: &str, call: &str, sms: &str) -> RetellConfig {
    RetellConfig::new(format!("key_test_{mark}").parse().unwrap())
        .with_call_agent_id(call.parse().unwrap())
        .with_sms_agent_id(sms.parse().unwrap())
        .with_phone_number("+14155550100".parse().unwrap())
}

/// The users that are found by an agent, sorted.
async fn by_agent(vault: &Vault, agent: &str) -> Vec<String> {
    let found = vault.find_by_agent(&agent.parse().unwrap()).await.unwrap();
    assert!(found.is_complete && !found.is_cut);
    let mut users: Vec<_> = found.owners.iter().map(|(owner, _)| owner.user_id().to_string()).collect();
    users.sort();
    users
}

#[tokio::test]
async fn an_owner_is_found_by_every_agent_and_by_the_number() {
    let plain = format!("{ALL_COLUMNS}; CREATE INDEX ON user_profiles (phone_number)");
    for table in [SEALED, &plain] {
        let (_db, _hosts, vault) = stage(table).await;
        vault.store(&owner("a"), &with_agents("a", "agent_test_1", "agent_test_2")).await.unwrap();
        vault.store(&owner("b"), &with_agents("b", "agent_test_2", "agent_test_3")).await.unwrap();
        assert_eq!(by_agent(&vault, "agent_test_1").await, ["a"]);
        assert_eq!(by_agent(&vault, "agent_test_2").await, ["a", "b"], "whatever its role");
        assert_eq!(by_agent(&vault, "agent_test_4").await, Vec::<String>::new());
        let number = vault.find_by_phone(&"+14155550100".parse().unwrap()).await.unwrap();
        assert_eq!(number.owners.len(), 2);
        assert_eq!(number.owners[0].1.config.phone_number(), Some(&"+14155550100".parse().unwrap()));
        let other = vault.find_by_phone(&"+14155550101".parse().unwrap()).await.unwrap();
        assert_eq!(other.owners.len(), 0);
    }
}
