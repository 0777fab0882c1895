//! Finds the table that holds credentials, and writes a layout for it, on a real Postgres server in a temporary folder.
//!
//!     cargo run --features admin --example find_layout
//!
//! It needs the Postgres programs (`scripts/test --setup` installs them). The server and its folder are removed at the end,
//! even after a failure or Ctrl-C.

mod support;

use std::process::ExitCode;

use retell_vault::Layout;
use retell_vault::schema::{Candidate, DetectOptions, Holding};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use support::{Result, Server, ended, interrupted};

/// What an application may have: one row for each provider of an organization, keys in plaintext, and a table of calls.
const TABLES: &str = "
    CREATE TABLE organizations (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text);
    CREATE TABLE integrations (id bigserial PRIMARY KEY, organization_id uuid NOT NULL REFERENCES organizations,
        provider text NOT NULL, api_key text, deleted_at timestamptz, UNIQUE (organization_id, provider));
    CREATE TABLE calls (id bigserial PRIMARY KEY, organization_id uuid REFERENCES organizations, retell_call_id text);
    INSERT INTO organizations (name) VALUES ('Acme');
    INSERT INTO integrations (organization_id, provider, api_key)
        SELECT id, 'retell', 'key_test_of_an_example' FROM organizations
        UNION ALL SELECT id, 'stripe', 'sk_test_of_an_example' FROM organizations";

#[tokio::main]
async fn main() -> ExitCode {
    ended(run().await)
}

async fn run() -> Result<()> {
    let server = Server::new();
    tokio::select! {
        done = find(&server) => done,
        () = interrupted() => Err("interrupted".into()),
    }
}

async fn find(server: &Server) -> Result<()> {
    let url = server.run("start")?;
    let mut connection = PgConnection::connect(&url).await?;
    sqlx::raw_sql(AssertSqlSafe(TABLES)).execute(&mut connection).await?;
    connection.close().await?;

    let found = Layout::detect(&url, &DetectOptions::new()).await?;
    found.candidates.iter().for_each(show);
    found.left_out.iter().for_each(|what| println!("not looked at: {what}"));

    let chosen = &found.candidates[found.chosen.ok_or("no table leads clearly")?];
    assert_eq!(chosen.holds, Holding::Plaintext);
    let proposal = found.proposal().ok_or("the table has no owner")?;
    println!("layout.toml:\n\n{}", proposal.to_toml());
    assert_eq!(Layout::from_toml(&proposal.to_toml())?, proposal.layout);
    Ok(())
}

fn show(candidate: &Candidate) {
    println!("{} holds {}", candidate.table, candidate.holds.as_str());
    candidate.why.iter().for_each(|why| println!("  - {why}"));
    println!();
}
