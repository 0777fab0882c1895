//! Indexes that do not work, are not needed, or hold ciphertext.

use retell_vault::Layout;
use retell_vault::doctor::Severity;

use crate::support::doctor::{Clinic, Planted, each_is_found_and_mended};

#[tokio::test]
async fn indexes_are_found_and_mended() {
    each_is_found_and_mended(&[
        Planted {
            id: "invalid_index",
            plant: "CREATE INDEX by_phone ON user_profiles (phone_number);
                UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_phone'::regclass",
        },
        Planted {
            id: "invalid_index",
            plant: "CREATE UNIQUE INDEX once ON user_profiles (phone_number);
                UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'once'::regclass",
        },
        Planted {
            id: "index_on_ciphertext",
            plant: "CREATE INDEX by_key ON user_profiles (encrypted_retell_api_key)",
        },
        Planted {
            id: "index_on_ciphertext",
            plant: "CREATE INDEX by_config ON user_profiles USING gin (encrypted_agent_config)",
        },
        Planted {
            id: "index_on_ciphertext",
            plant: "CREATE INDEX by_digest ON user_profiles (md5(encrypted_call_agent_id))",
        },
        Planted {
            id: "index_on_ciphertext",
            plant: "ALTER TABLE user_profiles ADD CONSTRAINT one_key UNIQUE (encrypted_retell_api_key)",
        },
        Planted {
            id: "duplicate_index",
            plant: "CREATE INDEX one ON user_profiles (phone_number); CREATE INDEX \"The Other\" ON user_profiles (phone_number)",
        },
        // the primary key does the same
        Planted { id: "duplicate_index", plant: "CREATE INDEX by_user ON user_profiles (user_id)" },
    ])
    .await;
}

#[tokio::test]
async fn what_is_like_them_and_none_is_left_alone() {
    let clinic = Clinic::new().await;
    clinic
        .db
        .exec(
            "CREATE INDEX by_phone ON user_profiles (phone_number);
             CREATE INDEX configured ON user_profiles (phone_number) WHERE encrypted_retell_api_key IS NOT NULL;
             CREATE INDEX hashed ON user_profiles USING hash (phone_number);
             CREATE INDEX backwards ON user_profiles (phone_number DESC);
             CREATE INDEX lower_phone ON user_profiles (lower(phone_number));
             CREATE INDEX has_key ON user_profiles ((encrypted_retell_api_key IS NOT NULL));
             CREATE INDEX lengths ON user_profiles (length(encrypted_call_agent_id));
             CREATE INDEX flags ON user_profiles ((encrypted_agent_config ->> 'beta'))",
        )
        .await;
    clinic.is_clean().await;
}

#[tokio::test]
async fn an_index_that_nobody_uses_while_the_others_are_used() {
    let clinic = Clinic::new().await;
    let plant = "CREATE INDEX by_name ON user_profiles (full_name);
        SET enable_seqscan = off; SET enable_bitmapscan = off;
        DO $$ BEGIN FOR n IN 1..10000 LOOP PERFORM FROM user_profiles WHERE user_id = n::text; END LOOP; END $$";
    let findings = clinic.finds_and_mends(&Planted { id: "unused_index", plant }).await;
    assert_eq!(findings[0].severity, Severity::Notice);
    assert!(findings[0].object.ends_with("by_name"), "{findings:#?}");
}

#[tokio::test]
async fn over_partitions_nothing_is_done_concurrently() {
    let table = "CREATE TABLE user_profiles (user_id text PRIMARY KEY) PARTITION BY HASH (user_id);
        CREATE TABLE part_0 PARTITION OF user_profiles FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE part_1 PARTITION OF user_profiles FOR VALUES WITH (MODULUS 2, REMAINDER 1)";
    let clinic = Clinic::with(table, Layout::new()).await;
    let plant = "CREATE INDEX by_key ON user_profiles (encrypted_retell_api_key)";
    clinic.finds_and_mends(&Planted { id: "index_on_ciphertext", plant }).await;
}
