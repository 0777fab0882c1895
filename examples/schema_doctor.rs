//! Examines a half-migrated table, plans and applies the changes, verifies and fixes it, and rolls back, on a real Postgres
//! server in a temporary folder.
//!
//!     cargo run --example schema_doctor
//!
//! It needs the Postgres programs (`scripts/test --setup` installs them). The server and the folders are removed at the
//! end, even after a failure or Ctrl-C.

mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use retell_vault::doctor::{Diagnosis, DoctorOptions, Fix, Health};
use retell_vault::rotation::PromoteOptions;
use retell_vault::schema::{ApplyOptions, Profile, RollBackOptions, SchemaEvent};
use retell_vault::{Keyring, Owner, Passphrase, RetellConfig, Vault};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use support::{Result, Server, ended, interrupted};

/// One column that fits, one that is too short for a token, and one that holds plaintext.
const TABLE: &str = "
    CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text,
        encrypted_call_agent_id varchar(64), api_key text);
    INSERT INTO user_profiles (user_id, api_key) VALUES ('user-7', 'key_test_in_the_clear')";

#[tokio::main]
async fn main() -> ExitCode {
    ended(run().await)
}

async fn run() -> Result<()> {
    // removed when they are dropped, however this function ends
    let server = Server::new();
    let folder = tempfile::Builder::new().prefix("retell-vault-home-").tempdir()?;
    tokio::select! {
        // a folder that the vault creates is private
        done = migrate(&server, folder.path().join("home")) => done,
        () = interrupted() => Err("interrupted".into()),
    }
}

async fn migrate(server: &Server, home: PathBuf) -> Result<()> {
    let url = server.run("start")?;
    execute(&url, TABLE).await?;
    let keyring =
        Keyring::prepare(home.join("keyring.json"), &Passphrase::new("only for this example")).await?;
    let vault = Vault::builder(keyring).postgres(&url).local_file(home.join("local.db")).init().await?;
    let (owner, config) = (Owner::user("user-42")?, config());
    vault.store(&owner, &config).await?;
    println!("stored     a configuration, packed into the one column that fits\n");

    let sick = examine(&vault).await?;
    assert_eq!(sick.health(), Health::Critical, "an API key is stored in plaintext");

    apply(&vault).await?;
    let promotion = vault.promote(&PromoteOptions::new(), |_event| {}).await?;
    println!("promoted   {} record to the new columns\n", promotion.promoted);
    assert!(promotion.complete);

    for finding in &examine(&vault).await?.findings {
        if let Fix::Sql(sql) = &finding.fix {
            execute(&url, sql).await?;
            println!("fixed      {}", finding.id);
        }
    }
    assert_eq!(examine(&vault).await?.health(), Health::Healthy);
    assert_eq!(vault.load(&owner).await?.config, config);

    roll_back(&vault).await
}

async fn apply(vault: &Vault) -> Result<()> {
    let schema = vault.schema();
    let plan = schema.plan(Profile::Credentials).await?;
    println!("plan       {} steps for {}\n{plan}", plan.steps.len(), plan.table);
    schema.apply(&plan, &ApplyOptions::new(), |_event| {}).await?;
    assert!(schema.plan(Profile::Credentials).await?.is_empty(), "there is nothing left to do");
    assert!(
        schema.verify(Profile::Credentials).await?.is_good(),
        "the statements were tried, and rolled back"
    );
    println!("applied    and verified");
    Ok(())
}

async fn roll_back(vault: &Vault) -> Result<()> {
    // one column gets its old length back, for which Postgres rewrites every row
    let options = RollBackOptions::new().allow_rewrite();
    let refused = vault.schema().roll_back(&options, |_event| {}).await;
    let refused = refused.expect_err("the new columns hold data");
    println!("\nroll back  refused: {refused}");
    let options = options.allow_data_loss();
    let tell = |event: SchemaEvent<'_>| {
        if let SchemaEvent::BackedUp(table) = event {
            println!("copied     the dropped columns to {table}");
        }
    };
    let rolled_back = vault.schema().roll_back(&options, tell).await?;
    println!("roll back  {} steps rolled back", rolled_back.steps.len());
    Ok(())
}

async fn examine(vault: &Vault) -> Result<Diagnosis> {
    let diagnosis = vault.doctor(&DoctorOptions::new(), |_progress| {}).await?;
    println!("doctor     {}", diagnosis.health().as_str());
    for finding in &diagnosis.findings {
        println!("           {}: {}, {}", finding.severity.as_str(), finding.id, finding.object);
    }
    Ok(diagnosis)
}

async fn execute(url: &str, sql: &str) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    // one by one, because some of them must not run in a transaction
    for statement in sql.split_inclusive(";\n") {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    }
    connection.close().await?;
    Ok(())
}

fn config() -> RetellConfig {
    let config = RetellConfig::new("key_test_first_00000001".parse().expect("a valid key"));
    config.with_phone_number("+14155550100".parse().expect("a valid number"))
}
