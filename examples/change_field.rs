//! Changes one field of a record, from two tasks at once. A store that expects an older version is refused.
//!
//!     cargo run --example change_field
//!
//! It needs no server: the record is in a local file in a temporary folder. The calls are the same with a database.

use retell_vault::config::IntegrationStatus;
use retell_vault::records::Expected;
use retell_vault::records::StoreOptions;
use retell_vault::{ErrorKind, Keyring, Owner, Passphrase, RetellConfig};
use retell_vault::{Result, Vault};

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::Builder::new().prefix("retell-vault-change-").tempdir()?;
    // a folder that the vault creates is private
    let home = folder.path().join("home");
    let keyring =
        Keyring::prepare(home.join("keyring.json"), &Passphrase::new("only for this example")).await?;
    let vault = Vault::builder(keyring).local_file(home.join("local.db")).init().await?;
    let owner = Owner::user("user-42")?;

    let config = RetellConfig::new("key_test_0000000000000001".parse()?);
    // the owner must have no record yet
    let first = vault.store_with(&owner, &config, StoreOptions::new().expect(Expected::Absent)).await?;
    println!("stored     version {}", first.version);

    // two tasks change different fields at the same time: both changes stay
    tokio::try_join!(set_phone(&vault, &owner), set_active(&vault, &owner))?;
    let loaded = vault.load(&owner).await?;
    println!("changed    version {}, {}", loaded.version, loaded.config.to_json_masked());
    assert_eq!(loaded.config.phone_number().map(|number| number.as_str()), Some("+14155550100"));
    assert_eq!(loaded.config.integration_status(), Some(IntegrationStatus::Active));
    assert_eq!(loaded.config.api_key(), config.api_key());

    // a store that expects the first version would undo both, so it is refused
    let options = StoreOptions::new().expect(Expected::Version(first.version));
    let refused = vault.store_with(&owner, &config, options).await.expect_err("the record was changed");
    println!("refused    {refused}");
    assert_eq!(refused.kind(), ErrorKind::Conflict);

    let options = StoreOptions::new().expect(Expected::Version(loaded.version));
    let last = vault.store_with(&owner, &config, options).await?;
    println!("stored     version {}, over the version that was loaded", last.version);
    Ok(())
}

async fn set_phone(vault: &Vault, owner: &Owner) -> Result<()> {
    let change = |config: &mut RetellConfig| {
        config.set_phone_number(Some("+14155550100".parse()?));
        Ok(())
    };
    vault.modify(owner, change).await?;
    Ok(())
}

async fn set_active(vault: &Vault, owner: &Owner) -> Result<()> {
    let change = |config: &mut RetellConfig| {
        config.set_integration_status(Some(IntegrationStatus::Active));
        Ok(())
    };
    vault.modify(owner, change).await?;
    Ok(())
}
