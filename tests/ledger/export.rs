//! An export has every entry, and a program without any secret checks it.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use retell_vault::ledger::{LedgerCopies, LedgerExportOptions, LedgerExported, LedgerSigningKey};
use retell_vault::{Error, ErrorKind, Vault};
use serde_json::Value;

use crate::Stage;
use crate::support::vaults::*;

pub(crate) async fn export(vault: &Vault, options: LedgerExportOptions) -> (Vec<String>, LedgerExported) {
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

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/verify-ledger.mjs");

#[test]
fn the_program_is_short_and_needs_nothing_but_node() {
    let source = fs::read_to_string(PROGRAM).unwrap();
    assert!(source.lines().count() <= 60 && source.lines().all(|line| line.chars().count() <= 132));
    for line in source.lines().filter(|line| line.contains("import ") || line.contains("require")) {
        assert!(line.starts_with("import {") && line.contains(r#"} from "node:"#), "{line}");
    }
}

/// What the program said of an export, and its exit code.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    err: String,
}

/// The lines of two writers, in files for the program.
struct Exported {
    folder: tempfile::TempDir,
    lines: Vec<String>,
    verifying: String,
}

impl Exported {
    /// One writer with an entry after the other, and one that ended with ten entries at once.
    async fn new() -> Self {
        let stage = Stage::begun().await;
        for n in 0..8 {
            stage.store(&format!("user-{n}")).await;
        }
        let other = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
        other.delete(&owner("user-1")).await.unwrap();
        let many: Vec<_> = (0..10).map(|n| (owner(&format!("many-{n}")), full_config(n))).collect();
        // one statement writes all of them, once they have rows
        for _ in 0..2 {
            other.store_many(&many).await.unwrap().into_iter().for_each(|stored| drop(stored.unwrap()));
        }
        let (lines, _) = export(&stage.vault, LedgerExportOptions::new()).await;
        let key = LedgerSigningKey::generate().unwrap();
        let checkpoint = other.checkpoint_ledger(&LedgerCopies::new(), &key).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("checkpoint"), &checkpoint.note).unwrap();
        Self { folder, lines, verifying: key.verifying_text() }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Over these lines, with these options.
    fn check<L: AsRef<str>>(&self, lines: &[L], options: &[&str]) -> Said {
        let text: String = lines.iter().map(|line| format!("{}\n", line.as_ref())).collect();
        let file = self.file("export");
        fs::write(&file, text).unwrap();
        run(&[options, &[&file]].concat(), "")
    }

    /// With the checkpoint in a file.
    fn check_with<L: AsRef<str>>(&self, lines: &[L], checkpoint: &str) -> Said {
        self.check(lines, &["--checkpoint", &self.file(checkpoint), "--key", &self.verifying])
    }

    /// The places of the lines of the writer whose entries came one after the other, and of the other one.
    fn writers(&self) -> [Vec<usize>; 2] {
        let is_first = |line: &String| line.contains("\"user-0\"");
        let first = &self.lines[self.lines.iter().position(is_first).unwrap()][..50];
        let (one, other) = (0..self.lines.len()).partition(|at| self.lines[*at].starts_with(first));
        [one, other]
    }

    fn without(&self, at: usize) -> Vec<&str> {
        let left = self.lines.iter().enumerate().filter(|(place, _)| *place != at);
        left.map(|(_, line)| line.as_str()).collect()
    }
}

pub(crate) fn run(args: &[&str], input: &str) -> Said {
    let mut node = Command::new("node");
    node.arg(PROGRAM).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = node.spawn().expect("these tests need node, which scripts/test installs");
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// The line with another value of a member.
fn changed(line: &str, member: &str) -> String {
    let start = line.find(&format!("\"{member}\":")).unwrap() + member.len() + 3;
    let (before, value) = line.split_at(start);
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    if let Some(rest) = value.strip_prefix("null") {
        return format!("{before}\"x\"{rest}");
    }
    if digits > 0 {
        let number: u64 = value[..digits].parse().unwrap();
        return format!("{before}{}{}", number + 1, &value[digits..]);
    }
    let other = if value.as_bytes()[1] == b'0' { '1' } else { '0' };
    format!("{before}\"{other}{}", &value[2..])
}

#[tokio::test]
async fn the_program_finds_what_was_changed_in_an_export() {
    let exported = Exported::new().await;
    let lines = &exported.lines;
    let whole = exported.check(lines, &[]);
    assert_eq!((whole.code, whole.err.as_str()), (0, ""), "{whole:?}");
    // the last of one writer, and ten of the other, which were written at once
    assert_eq!(whole.out, "29 entries of 2 writers: whole; 11 not covered by a head\n");
    let piped = run(&[], &format!("{}\n", lines.join("\n")));
    assert_eq!((piped.code, &piped.out), (0, &whole.out), "{piped:?}");

    let [one, other] = exported.writers();
    let members = [
        "writer", "seq", "epoch", "settled", "head", "at_ms", "op", "place", "usr", "tenant", "before",
        "after", "digest", "outcome", "actor", "reason", "request", "host", "release", "detail", "mac",
    ];
    for member in members {
        let mut edited = lines.clone();
        edited[one[3]] = changed(&lines[one[3]], member);
        assert_ne!(edited, *lines);
        let said = exported.check(&edited, &[]);
        assert!(said.code == 1 && said.out.contains(": not whole;"), "{member}: {said:?}");
    }
    let removed = exported.check(&exported.without(one[3]), &[]);
    assert!(removed.code == 1 && removed.out.contains("missing: 4 to 4 of "), "{removed:?}");
    // nobody says that it was written
    let removed = exported.check(&exported.without(other[15]), &[]);
    assert!(removed.code == 0 && removed.out.starts_with("open: 16 to 16 of "), "{removed:?}");
    for (a, b) in [(one[3], other[0]), (one[3], one[4]), (one[7], other[20])] {
        let mut swapped = lines.clone();
        swapped.swap(a, b);
        let said = exported.check(&swapped, &[]);
        assert!(said.code == 1 && said.out.contains("is out of order"), "{a} {b}: {said:?}");
    }
    // the number and the writer of an entry are in its hash
    let mut exchanged = lines.clone();
    let (writer_one, writer_other) = (&lines[one[0]][..49], &lines[other[0]][..49]);
    exchanged[other[0]] = lines[one[0]].replace(writer_one, writer_other);
    assert_eq!(exported.check(&exchanged, &[]).code, 1);
}

#[tokio::test]
async fn the_program_compares_an_export_with_a_signed_checkpoint() {
    let exported = Exported::new().await;
    let lines = &exported.lines;
    let whole = exported.check_with(lines, "checkpoint");
    assert_eq!((whole.code, whole.err.as_str()), (0, ""), "{whole:?}");
    let [one, other] = exported.writers();
    // without the checkpoint, the end of a writer can be cut off
    for at in [one[7], other[20], other[15]] {
        assert_eq!(exported.check(&exported.without(at), &[]).code, 0);
        let said = exported.check_with(&exported.without(at), "checkpoint");
        assert!(said.code == 1 && said.out.contains("is not on the chain"), "{said:?}");
    }
    let of_one: Vec<_> = one.iter().map(|at| &lines[*at]).collect();
    assert_eq!(exported.check(&of_one, &[]).code, 0);
    assert_eq!(exported.check_with(&of_one, "checkpoint").code, 1);
    let mut edited = lines.clone();
    edited[one[7]] = changed(&lines[one[7]], "usr");
    assert_eq!(exported.check(&edited, &[]).code, 0);
    assert_eq!(exported.check_with(&edited, "checkpoint").code, 1);

    // forged ones
    let note = fs::read_to_string(exported.file("checkpoint")).unwrap();
    let (text, signature) = note.split_once("\n\n").unwrap();
    let stranger = LedgerSigningKey::generate().unwrap().verifying_text();
    let forged = [
        note.replacen("entries 29", "entries 28", 1),
        note.replacen("\n1\n", "\n2\n", 1),
        format!("{}\n\n{signature}", text.rsplit_once('\n').unwrap().0),
        format!("{text}\n\n"),
        format!(
            "{text}\n\n{}",
            signature.replacen("== ", "", 1).replacen("ledger A", "ledger B", 1).to_lowercase()
        ),
        "retell-vault/ledger\n\n".to_owned(),
    ];
    for forged in forged {
        assert_ne!(forged, note);
        fs::write(exported.file("forged"), &forged).unwrap();
        let said = exported.check_with(lines, "forged");
        assert!(
            said.code == 1 && said.out.contains("forged is no checkpoint by this key"),
            "{forged}: {said:?}"
        );
    }
    let said = exported.check(lines, &["--checkpoint", &exported.file("checkpoint"), "--key", &stranger]);
    assert!(said.code == 1 && said.out.contains("checkpoint is no checkpoint by this key"), "{said:?}");
}

#[tokio::test]
async fn the_program_names_wrong_input() {
    let exported = Exported::new().await;
    let named = |said: Said, name: &str| {
        assert!(said.code == 2 && said.out.is_empty(), "{name}: {said:?}");
        assert!(said.err.starts_with("error: ") && said.err.contains(name), "{name}: {said:?}");
        assert_eq!(said.err.lines().count(), 1, "{said:?}");
    };
    named(run(&["nowhere.jsonl"], ""), "nowhere.jsonl");
    named(run(&["--mac-key", "00"], ""), "--mac-key");
    named(run(&[], ""), "there are no entries");
    named(run(&[], "null\n"), "/dev/stdin, line 1: this is not an entry");
    let steering = run(&[], "\u{1b}[2J\n");
    assert!(!steering.err.contains('\u{1b}'), "{steering:?}");
    named(steering, "/dev/stdin, line 1: ");
    let mut lines = exported.lines.clone();
    for (wrong, problem) in [
        ("{}".to_owned(), "not an entry of the ledger"),
        ("key".to_owned(), "not valid JSON"),
        (lines[2].replacen("}", ",\"more\":1}", 1), "not an entry of the ledger"),
        // a member named twice: a reader of the text may believe the other value
        (lines[2].replacen("\"usr\":", "\"usr\":\"mallory\",\"usr\":", 1), "not an entry of the ledger"),
        (lines[2].replacen("\"usr\":", "\"u\\u0073r\" : null,\"usr\":", 1), "not an entry of the ledger"),
        (lines[2].replacen("\"epoch\":1", "\"epoch\":\"1\"", 1), "a number is none"),
        (lines[2].replacen("\"mac\":\"", "\"mac\":\"zz", 1), "bytes are not hex"),
    ] {
        lines[2] = wrong;
        named(
            exported.check(&lines, &[]),
            &format!("export, line 3: {problem}").replace("export, line 3: not", "not"),
        );
        lines.clone_from(&exported.lines);
    }
    named(exported.check_with(&lines, "nowhere"), "nowhere");
    named(exported.check(&lines, &["--checkpoint", &exported.file("checkpoint")]), "--key");
    let mistyped = ["--checkpoint", &exported.file("checkpoint"), "--key", "name+00000000+AAAA"];
    named(exported.check(&lines, &mistyped), "--key");
}
