//! Copies of what this process wrote to the ledger, in the local file and in the sink: they do not go back when the database
//! does.

use std::sync::{Arc, Weak};
use std::time::Duration;

use uuid::Uuid;

use crate::chain::entry::{SealedEntry, operation};
use crate::chain::line::{entry_line, head_line};
use crate::chain::numbers::KnownHead;
use crate::error::Result;
use crate::local::entries::{LedgerLine, LedgerLines};
use crate::postgres::vault_schema::ledger::{Voided, void};
use crate::store::core::Core;
use crate::store::ledger::settle_doubtful;
use crate::store::ledger_reads::write_waiting;
use crate::store::waiting_entries::Taken;

/// How long entries wait at most until copies of them are kept.
const COPY_EVERY: Duration = Duration::from_secs(60);
/// What cannot be written in this time at the end stays open, which is no alarm.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Keeps copies each minute for as long as the vault lives.
pub(crate) fn copy_in_background(core: &Arc<Core>) {
    if core.host.is_some() && core.ledger.keeps_copies() {
        tokio::spawn(keep_copying(Arc::downgrade(core)));
    }
}

async fn keep_copying(core: Weak<Core>) {
    loop {
        let Some(many) = core.upgrade().map(|core| core.ledger.many_unsaved.clone()) else { return };
        tokio::time::timeout(COPY_EVERY, many.notified()).await.ok();
        let Some(core) = core.upgrade().filter(|core| !core.is_closed()) else { return };
        Box::pin(copy_or_warn(&core)).await;
    }
}

/// The last entry of each writer, and copies of everything, when the vault is closed.
pub(crate) async fn end_ledger(core: &Core) {
    let close = async {
        let (Some(postgres), Some(key)) = (&core.postgres, core.ledger_key()) else { return };
        Box::pin(write_waiting(core, Taken::All)).await;
        if !core.ledger.has_written() {
            return;
        }
        settle_doubtful(core, postgres).await;
        let Ok(noted) = core.draw(&key, core.event_of_place(operation::CLOSED)) else { return };
        let Some(entry) = noted.entry().cloned() else { return };
        match void(&postgres.database, &entry).await {
            Ok(Voided::Stands) => {} // dropped, it counts as unknown
            done => drop(noted.settle(done, |done| matches!(done, Voided::Void))),
        }
    };
    tokio::time::timeout(LAST_WORD, close).await.ok();
    let backlog = core.ledger.backlog();
    if backlog.waiting > 0 {
        tracing::warn!(
            entries = backlog.waiting,
            "entries about reads and refused operations are lost: the ledger did not take them"
        );
    }
    copy_or_warn(core).await;
}

async fn copy_or_warn(core: &Core) {
    if let Err(error) = copy_now(core).await {
        tracing::warn!(%error, "copies of the ledger could not be kept outside of the database");
    }
}

async fn copy_now(core: &Core) -> Result<()> {
    let entries = core.ledger.take_unsaved();
    if entries.is_empty() {
        return Ok(());
    }
    let heads: Vec<_> = core.ledger.known_heads().into_iter().filter(|head| head.settled > 0).collect();
    let done = put_copies(core, &entries, &heads).await;
    if done.is_err() {
        core.ledger.put_back(entries);
    }
    done
}

/// Keeps copies in the local file and in the sink. The same ones may come again.
pub(super) async fn put_copies(core: &Core, entries: &[SealedEntry], heads: &[KnownHead]) -> Result<()> {
    let copies = LedgerLines {
        heads: heads.iter().map(copy_of_head).collect(),
        entries: entries.iter().map(copy_of_entry).collect(),
    };
    if let Some(local) = &core.local {
        local.put_ledger_copies(&copies, core.now()).await?;
    }
    let Some(sink) = &core.ledger.sink else { return Ok(()) };
    if let Some(first) = entries.first() {
        let (at_ms, writer, seq, count) =
            (first.entry.at_ms, first.entry.writer, first.entry.seq, entries.len());
        // the same name has the same text, also if it comes again
        let name = format!("segment-{at_ms}-{writer}-{seq}-{count}.jsonl");
        sink.put(&name, &lines(&copies.entries)).await?;
    }
    for head in &copies.heads {
        sink.put(&format!("head-{}.json", head.writer), &lines(std::slice::from_ref(head))).await?;
    }
    Ok(())
}

fn lines(copies: &[LedgerLine]) -> String {
    copies.iter().map(|copy| format!("{}\n", copy.line)).collect()
}

fn copy_of_head(head: &KnownHead) -> LedgerLine {
    copy(head.writer, head.settled, head_line(head))
}

fn copy_of_entry(sealed: &SealedEntry) -> LedgerLine {
    let (entry, event) = (&sealed.entry, &sealed.entry.event);
    LedgerLine {
        tenant: event.tenant.clone().unwrap_or_default(),
        user: event.user.clone().unwrap_or_default(),
        is_state: event.after.is_some(),
        ..copy(entry.writer, entry.seq, entry_line(entry, &sealed.mac))
    }
}

fn copy(writer: Uuid, number: i64, line: String) -> LedgerLine {
    let (tenant, user) = (String::new(), String::new());
    LedgerLine { writer: writer.to_string(), number, tenant, user, is_state: false, line }
}
