//! An export has every entry, and a program without any secret checks it.

use retell_vault::ledger::{LedgerCopies, LedgerExportOptions, LedgerExported};
use retell_vault::{Error, ErrorKind, Vault};
use serde_json::Value;

use crate::Stage;
use crate::support::vaults::*;

async fn export(vault: &Vault, options: LedgerExportOptions) -> (Vec<String>, LedgerExported) {
    let mut lines = Vec::new();
    let add = |line: &str| {
        lines.push(line.to_owned());
        Ok(())
    };
    let exported = vault.export_ledger(options, add).await.unwrap();
    (lines, exported)
}

#[tokio::test]
async fn an_export_has_every_column_of_every_entry_in_order() {
    let stage = Stage::begun().await;
    for n in 0..6 {
        stage.store(&format!("user-{n}")).await;
    }
    let other = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
    other.delete(&owner("user-1")).await.unwrap();
    stage.vault.store(&owner("eve\u{2028}il"), &full_config("eve")).await.unwrap();
    let (lines, exported) = export(&stage.vault, LedgerExportOptions::new()).await;
    assert_eq!((lines.len(), exported.entries, exported.writers), (8, 8, 2));
    // the database says the same
    let text = "SELECT coalesce(jsonb_agg(to_jsonb(l) - 'received' || jsonb_build_object('head', encode(head, 'hex'),
        'digest', encode(digest, 'hex'), 'mac', encode(mac, 'hex')) ORDER BY writer, seq), '[]') FROM retell_vault.ledger AS l";
    let rows: Value = sqlx::query_scalar(text).fetch_one(&stage.db.pool()).await.unwrap();
    let parsed: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::Array(parsed), rows);
    assert!(lines.iter().all(|line| !line.contains(['\n', '\u{2028}'])), "{lines:?}");
    assert_no_secret(lines.join("\n").as_bytes(), "the export");
    // it is a copy of the ledger
    let mut copies = LedgerCopies::new();
    copies.add_lines(&lines.join("\n")).unwrap();
    let found = stage.vault.verify_ledger(&copies).await.unwrap();
    assert!(found.is_unbroken(), "{found:?}");
}

#[tokio::test]
async fn an_export_since_a_time_has_whole_writers() {
    let stage = Stage::begun().await;
    for id in ["ann", "ben"] {
        stage.store(id).await;
    }
    let other = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
    other.store(&owner("cid"), &full_config("cid")).await.unwrap();
    stage.db.exec("UPDATE retell_vault.ledger SET at_ms = 1700000000000 WHERE usr IN ('ann', 'cid')").await;
    let since = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_001);
    let (lines, exported) = export(&stage.vault, LedgerExportOptions::new().since(since)).await;
    assert_eq!((exported.entries, exported.writers), (2, 1));
    assert!(lines[0].contains("\"ann\"") && lines[1].contains("\"ben\""), "{lines:?}");
}

#[tokio::test]
async fn an_export_ends_with_the_error_of_its_listener() {
    let stage = Stage::begun().await;
    for n in 0..3 {
        stage.store(&format!("user-{n}")).await;
    }
    let mut heard = 0;
    let stop = |_: &str| {
        heard += 1;
        if heard == 2 { Err(Error::from(ErrorKind::Busy)) } else { Ok(()) }
    };
    let stopped = stage.vault.export_ledger(LedgerExportOptions::new(), stop).await.unwrap_err();
    assert_eq!((stopped.kind(), heard), (ErrorKind::Busy, 2));
    // the connection can be used again
    assert!(stage.verify().await.is_unbroken());
}
