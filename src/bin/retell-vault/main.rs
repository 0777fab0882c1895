//! The `retell-vault` command: arguments, output and exit codes around the library's public API.
#![forbid(unsafe_code)]

mod args;
mod change;
mod doctor;
mod failure;
mod find;
mod import;
mod index;
mod init;
mod input;
mod key;
mod keyring;
mod keyring_source;
mod layout;
mod layout_detect;
mod layout_file;
mod ledger;
mod ledger_checkpoint;
mod ledger_copies;
mod ledger_export;
mod ledger_list;
mod list;
mod print;
mod progress;
mod records;
mod report_file;
mod rotate;
mod schema;
mod secret;
mod session;
mod status;
mod token_count;
mod webhook;

use std::process::ExitCode;

use crate::args::{Cli, Command};
use crate::failure::Failure;

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match args::parse() {
        Ok(cli) => run(&cli).await,
        Err(failure) => Err(failure),
    };
    session::close().await;
    ended.unwrap_or_else(|failure| {
        print::failure(&failure);
        failure.exit_code()
    })
}

async fn run(Cli { global, command }: &Cli) -> Result<ExitCode, Failure> {
    match command {
        Command::Init(options) => init::init(global, options).await,
        Command::Put(put) => records::put(global, put).await,
        Command::Get(get) => records::get(global, get).await,
        Command::Set(set) => change::set(global, set).await,
        Command::Unset(unset) => change::unset(global, unset).await,
        Command::Move(args) => records::rename(global, args).await,
        Command::Delete(delete) => records::delete(global, delete).await,
        Command::List(list) => list::list(global, list).await,
        Command::Find(args) => find::find(global, args).await,
        Command::Index(command) => index::run(global, command).await,
        Command::Forget(owner) => records::forget(global, owner).await,
        Command::Status => status::status(global).await,
        Command::Layout(command) => layout::run(global, command).await,
        Command::Sync(sync) => records::sync(global, sync).await,
        Command::Key(command) => key::run(global, command).await,
        Command::Keyring(command) => keyring::run(global, command).await,
        Command::Rotate(rotate) => rotate::rotate(global, rotate).await,
        Command::Ledger(command) => ledger::run(global, command).await,
        Command::Webhook(command) => webhook::run(global, command).await,
        Command::Import(command) => import::run(global, command).await,
        Command::Schema(command) => schema::run(global, command).await,
        // its verdict is no failure, and has exit codes of its own
        Command::Doctor(options) => return doctor::doctor(global, options).await,
    }?;
    Ok(ExitCode::SUCCESS)
}
