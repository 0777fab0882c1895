//! `ledger checkpoint` and `ledger signing-key`.

use retell_vault::ledger::{CheckpointSink as _, FolderSink, LedgerSigningKey};
use serde_json::json;

use crate::args::global::Global;
use crate::args::ledger::{CheckpointArgs, SigningKeyCommand};
use crate::failure::Failure;
use crate::{ledger_copies, print, session};

/// Verifies the ledger, and signs how far it goes.
pub async fn checkpoint(global: &Global, args: &CheckpointArgs) -> Result<(), Failure> {
    let key = LedgerSigningKey::open(&args.signing_key)?;
    let earlier = match args.to.is_dir() {
        true => ledger_copies::files_of_sink(&args.to)?,
        false => Vec::new(),
    };
    let copies = ledger_copies::read(&earlier, Some(&key.verifying_text()))?;
    let vault = session::vault(global).await?;
    let made = vault.checkpoint_ledger(&copies, &key).await?;
    FolderSink::new(&args.to).put(&made.name(), &made.note).await?;
    match global.json {
        true => print::json(&json!({
            "number": made.number,
            "entries": made.entries,
            "writers": made.writers,
            "heads": made.heads,
            "file": args.to.join(made.name()).display().to_string(),
        })),
        false => print::line(&format!(
            "checkpoint {}: entries {}, writers {}",
            made.number, made.entries, made.writers
        )),
    }
}

/// Creates the key, or shows by which text others verify it.
pub fn signing_key_command(global: &Global, command: &SigningKeyCommand) -> Result<(), Failure> {
    let key = match command {
        SigningKeyCommand::Init { file } => LedgerSigningKey::create(file)?,
        SigningKeyCommand::Show { file } => LedgerSigningKey::open(file)?,
    };
    match global.json {
        true => print::json(&json!({ "verifying_key": key.verifying_text() })),
        false => print::line(&key.verifying_text()),
    }
}
