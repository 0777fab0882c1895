//! The `retell-vault` command: arguments, output and exit codes around the library's public API.
#![forbid(unsafe_code)]

mod args;
mod census;
mod commands;
mod doctor;
mod failure;
mod input;
mod interrupt;
mod key;
mod list;
mod meter;
mod print;
mod progress;
mod report;
mod rotate;
mod schema;
mod secret;
mod session;
mod show;
mod status;

use std::process::ExitCode;

use args::{Cli, Command};
use failure::Failure;

#[tokio::main]
async fn main() -> ExitCode {
    match args::parse() {
        Ok(cli) => run(&cli).await.unwrap_or_else(Failure::report),
        Err(failure) => failure.report(),
    }
}

async fn run(Cli { global, command }: &Cli) -> Result<ExitCode, Failure> {
    match command {
        Command::Init => commands::init(global).await,
        Command::Put(put) => commands::put(global, put).await,
        Command::Get(get) => show::get(global, get).await,
        Command::Delete(delete) => commands::delete(global, delete).await,
        Command::List(list) => list::list(global, list).await,
        Command::Forget(owner) => commands::forget(global, owner).await,
        Command::Status => status::status(global).await,
        Command::Sync => commands::sync(global).await,
        Command::Key(command) => key::run(global, command).await,
        Command::Rotate(rotate) => rotate::rotate(global, rotate).await,
        Command::Schema(command) => schema::run(global, command).await,
        // its verdict is no failure, and has exit codes of its own
        Command::Doctor(options) => return doctor::doctor(global, options).await,
    }?;
    Ok(ExitCode::SUCCESS)
}
