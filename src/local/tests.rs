//! The local file as its users see it. Faults are in the modules below.

mod damage;
mod planted;
mod processes;
mod unsent;
mod walking;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use tempfile::TempDir;

use crate::record::token::KeyId;

use crate::error::{Error, ErrorKind};
use crate::local::entries::*;
use crate::local::file::*;
use crate::local::guard::Guard;
use crate::local::{files, journal, nothing_pending};
use crate::record::owner::Owner;
use crate::record::version::Version;

/// A folder of its own for each test, with a local file to be.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("vault.db")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        files::beside(&self.path(), suffix)
    }

    /// All that the folder holds, read by another process: closing FILE in this one would drop SQLite's locks.
    fn bytes(&self) -> Vec<u8> {
        let cat = Command::new("sh").args(["-c", "cat \"$0\"/*"]).arg(self.folder.path()).output().unwrap();
        assert!(cat.status.success());
        cat.stdout
    }

    async fn open(&self) -> LocalFile {
        LocalFile::open(&self.path()).await.unwrap()
    }

    async fn error(&self) -> Error {
        match LocalFile::open(&self.path()).await {
            Ok(_) => panic!("it opened"),
            Err(error) => error,
        }
    }
}

fn user(id: &str) -> Owner {
    Owner::user(id).unwrap()
}

fn version(number: u64) -> Version {
    Version::next(number, None, 0)
}

/// Text of the length of a real record, and as random as one.
fn text(number: u64) -> String {
    let mut state = number.wrapping_add(1);
    let words = (0..90).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{state:016x}")
    });
    format!("rv1.fake.{number}.{}", words.collect::<String>())
}

fn record(owner: &Owner, number: u64) -> LocalRecord {
    LocalRecord {
        owner: owner.clone(),
        version: version(number),
        text: text(number),
        base: Base::NoRow,
        at: number,
        rows: OwnerRows::default(),
    }
}

async fn close(file: LocalFile) {
    file.close().await;
}

#[tokio::test]
async fn the_newest_pending_record_stays_with_the_oldest_base_that_was_remembered() {
    let home = Home::new();
    let file = home.open().await;
    let ann = user("ann");
    let first = LocalRecord { base: Base::Version(version(1)), ..record(&ann, 5) };
    let second = record(&ann, 7);

    assert_eq!(file.put_pending(&first, Basis::Remembered, None).await.unwrap(), PutPending::Written);
    assert_eq!(
        file.put_pending(&first, Basis::Remembered, None).await.unwrap(),
        PutPending::Written,
        "a second attempt"
    );
    assert_eq!(file.put_pending(&second, Basis::Remembered, None).await.unwrap(), PutPending::Written);
    assert_eq!(
        file.put_pending(&first, Basis::Remembered, None).await.unwrap(),
        PutPending::Newer(second.version)
    );
    let rival = LocalRecord { text: text(99), ..second.clone() };
    assert_eq!(
        file.put_pending(&rival, Basis::Remembered, None).await.unwrap(),
        PutPending::Newer(second.version)
    );

    let expected = LocalRecord { base: first.base, ..second };
    assert_eq!(file.pending(&ann).await.unwrap(), Some(expected.clone()));
    assert_eq!(file.pending(&user("bob")).await.unwrap(), None);

    close(file).await;
    let file = home.open().await;
    assert_eq!(file.pending(&ann).await.unwrap(), Some(expected));

    // that of a write which has read the row is newer
    let third = record(&ann, 9);
    assert_eq!(file.put_pending(&third, Basis::Read, None).await.unwrap(), PutPending::Written);
    assert_eq!(file.pending(&ann).await.unwrap(), Some(third));
}

#[tokio::test]
async fn every_base_comes_back() {
    let home = Home::new();
    let file = home.open().await;
    for (id, base) in [("a", Base::Unknown), ("b", Base::NoRow), ("c", Base::Version(version(3)))] {
        let record = LocalRecord { base, ..record(&user(id), 9) };
        file.put_pending(&record, Basis::Remembered, None).await.unwrap();
        assert_eq!(file.pending(&record.owner).await.unwrap(), Some(record));
    }
}

#[tokio::test]
async fn pending_records_come_in_the_order_of_their_owners() {
    let home = Home::new();
    let file = home.open().await;
    let mut owners = vec![
        user("zoë"),
        user("Z"),
        user("a'; DROP TABLE pending"),
        user("x").in_tenant("acme").unwrap(),
        user("a").in_tenant("acme").unwrap(),
        user("a").in_tenant("Acme").unwrap(),
    ];
    for owner in &owners {
        file.put_pending(&record(owner, 1), Basis::Remembered, None).await.unwrap();
    }
    owners.sort();

    let mut found = Vec::<Owner>::new();
    loop {
        let page = file.pending_after(found.last(), 4).await.unwrap();
        match page.is_empty() {
            true => break,
            false => found.extend(page.into_iter().map(|record| record.owner)),
        }
    }
    assert_eq!(found, owners);
}

#[tokio::test]
async fn pending_records_are_removed_by_exact_text_and_superseded_by_version() {
    let home = Home::new();
    let file = home.open().await;
    let (ann, bob) = (user("ann"), user("ann").in_tenant("t").unwrap());
    for owner in [&ann, &bob] {
        file.put_pending(&record(owner, 5), Basis::Remembered, None).await.unwrap();
    }

    assert!(!file.remove_pending(&ann, &text(4), None).await.unwrap());
    assert!(file.remove_pending(&ann, &text(5), None).await.unwrap());
    assert!(!file.remove_pending(&ann, &text(5), None).await.unwrap());

    file.supersede(&bob, version(4), &OwnerRows::default(), None).await.unwrap();
    assert!(file.pending(&bob).await.unwrap().is_some());
    file.supersede(&bob, version(5), &OwnerRows::default(), None).await.unwrap();
    assert!(file.pending(&bob).await.unwrap().is_none());
    assert_eq!(file.counts().await.unwrap(), Counts::default());
}

/// A dead letter that waits again is what it was before: for its rows, and based on what it was based on.
#[tokio::test]
async fn a_dead_letter_comes_back_whole() {
    let home = Home::new();
    let file = home.open().await;
    let (ann, bob) = (user("ann"), user("bob"));
    let waiting = LocalRecord {
        base: Base::Version(version(1)),
        rows: OwnerRows { table: "public.t by id".to_owned(), database: "d".to_owned() },
        ..record(&ann, 5)
    };
    for record in [&waiting, &record(&bob, 6)] {
        file.put_pending(record, Basis::Remembered, None).await.unwrap();
        assert_eq!(file.note_refusal(&record.owner, &record.text, 7).await.unwrap(), (1, 7));
        assert_eq!(file.note_refusal(&record.owner, &record.text, 8).await.unwrap(), (2, 7));
        file.set_pending_aside(&record.owner, &record.text, KeptKind::DeadLetter, "", 9, None).await.unwrap();
    }
    assert_eq!(file.retry_dead_letters(Some(&bob), Some(99), None).await.unwrap(), 1);
    assert_eq!(file.pending(&bob).await.unwrap(), Some(LocalRecord { at: 99, ..record(&bob, 6) }));
    assert_eq!(file.pending(&ann).await.unwrap(), None);
    assert_eq!(file.retry_dead_letters(None, None, None).await.unwrap(), 1);
    assert_eq!(file.pending(&ann).await.unwrap(), Some(waiting.clone()));
    assert_eq!(file.note_refusal(&ann, &waiting.text, 10).await.unwrap(), (1, 10), "it counts anew");
    assert_eq!(file.counts().await.unwrap(), Counts { pending: 2, ..Counts::default() });
}

#[tokio::test]
async fn what_is_kept_is_kept_once_until_it_is_purged() {
    let home = Home::new();
    let file = home.open().await;
    let ann = user("ann");
    file.put_pending(&record(&ann, 5), Basis::Remembered, None).await.unwrap();
    file.set_pending_aside(&ann, &text(4), KeptKind::DeadLetter, "a text that is not pending", 9, None)
        .await
        .unwrap();
    assert!(file.pending(&ann).await.unwrap().is_some(), "another text survives");
    file.keep(&ann, KeptKind::Superseded, &text(4), "an older text", 10).await.unwrap();
    for _ in 0..2 {
        file.set_pending_aside(&ann, &text(5), KeptKind::DeadLetter, "rejected: 23514", 20, None)
            .await
            .unwrap();
        file.keep(&ann, KeptKind::Replaced, "junk", "unreadable", 30).await.unwrap();
    }
    assert!(file.pending(&ann).await.unwrap().is_none());

    let counts = Counts { superseded: 1, replaced: 1, dead_letters: 1, ..Counts::default() };
    assert_eq!(file.counts().await.unwrap(), counts);
    let first = file.kept_after(0, 2).await.unwrap();
    let rest = file.kept_after(first[1].id, 2).await.unwrap();
    assert_eq!((first.len(), rest.len()), (2, 1));
    assert_eq!(
        (first[1].kind, first[1].reason.as_str(), first[1].at),
        (KeptKind::DeadLetter, "rejected: 23514", 20)
    );
    assert_eq!((rest[0].owner.clone(), rest[0].text.as_str()), (ann.clone(), "junk"));

    assert_eq!(file.purge_kept(30).await.unwrap(), 1);
    assert_eq!(file.kept_after(0, 9).await.unwrap(), [first[1].clone(), rest[0].clone()]);
    assert_eq!(file.purge_kept(31).await.unwrap(), 1);
    let left = file.kept_after(0, 9).await.unwrap();
    assert_eq!(left, [first[1].clone()], "a dead letter is nowhere else, and stays");
    file.keep(&ann, KeptKind::Superseded, "next", "", 40).await.unwrap();
    assert!(file.kept_after(rest[0].id, 9).await.unwrap().len() == 1, "ids are never used again");
}

#[tokio::test]
async fn a_replica_only_goes_forward() {
    let home = Home::new();
    let file = home.open().await;
    let ann = user("ann");
    assert_eq!(file.replica(&ann, &OwnerRows::default()).await.unwrap(), None);
    for (number, expected) in [(5, 5), (4, 5), (6, 6), (6, 6)] {
        file.put_replica(&ann, &OwnerRows::default(), version(number), &text(number), number).await.unwrap();
        let expected = LocalRecord { base: Base::Unknown, ..record(&ann, expected) };
        assert_eq!(file.replica(&ann, &OwnerRows::default()).await.unwrap(), Some(expected));
    }
}

#[tokio::test]
async fn forgetting_leaves_no_byte_of_the_owner_and_all_of_the_others() {
    let home = Home::new();
    let file = home.open().await;
    let (ann, bob) = (user("ann"), user("bob"));
    assert!(!file.holds_tokens().await.unwrap());
    for (owner, base) in [(&ann, 100), (&bob, 200)] {
        file.put_pending(&record(owner, base + 5), Basis::Remembered, None).await.unwrap();
        file.put_replica(owner, &OwnerRows::default(), version(1), &text(base + 1), 1).await.unwrap();
        file.keep(owner, KeptKind::Superseded, &text(base + 2), "older", 1).await.unwrap();
        file.keep(owner, KeptKind::Superseded, &text(base + 3), "older", 1).await.unwrap();
    }
    let each = Counts { pending: 1, replicas: 1, superseded: 2, ..Counts::default() };
    assert!(file.holds_tokens().await.unwrap());

    assert_eq!(file.forget(&ann, None).await.unwrap(), each);
    assert_eq!(file.forget(&ann, None).await.unwrap(), Counts::default());
    assert_eq!(file.counts().await.unwrap(), each);
    let bytes = home.bytes();
    for number in [1, 2, 3, 5] {
        // a slice from the middle of the text: what stays would not start with its first byte
        let gone = text(100 + number)[200..260].to_owned();
        assert!(!bytes.windows(60).any(|window| window == gone.as_bytes()), "{number}");
    }
    let home_again = home.open().await;
    assert_eq!(home_again.counts().await.unwrap(), each);
}

#[tokio::test]
async fn canaries_are_not_tokens_of_an_owner() {
    let home = Home::new();
    let file = home.open().await;
    file.put_canary(KeyId(0xb), b"old").await.unwrap();
    file.put_canary(KeyId(0xb), b"new").await.unwrap();
    file.put_canary(KeyId(0xa), b"").await.unwrap();
    let expected = vec![(KeyId(0xa), vec![]), (KeyId(0xb), b"new".to_vec())];
    assert_eq!(file.canaries().await.unwrap(), expected);
    assert!(!file.holds_tokens().await.unwrap());
}

/// Waits until the file is old enough, and makes the handle note that nothing is pending.
async fn settle(file: &LocalFile) {
    tokio::time::sleep(nothing_pending::SETTLED + Duration::from_millis(30)).await;
    assert!(file.pending(&user("nobody")).await.unwrap().is_none());
    assert!(file.inner.nothing_pending.says_none(&file.inner.guard), "noted");
}

#[tokio::test]
async fn a_handle_that_noted_that_nothing_is_pending_sees_what_another_one_adds() {
    let home = Home::new();
    let (one, other) = (home.open().await, home.open().await);
    let ann = user("ann");
    for number in 1..4 {
        settle(&one).await;
        settle(&other).await;
        other.put_pending(&record(&ann, number), Basis::Remembered, None).await.unwrap();
        assert!(!one.inner.nothing_pending.says_none(&one.inner.guard));
        assert!(one.pending(&ann).await.unwrap().is_some());
        assert!(other.pending(&ann).await.unwrap().is_some());
        assert!(one.remove_pending(&ann, &text(number), None).await.unwrap());
    }
}

#[tokio::test]
async fn a_writer_that_died_before_it_could_tell_is_noticed_by_the_file() {
    let home = Home::new();
    let (one, other) = (home.open().await, home.open().await);
    settle(&one).await;
    assert!(other.upsert(&record(&user("ann"), 1), Basis::Remembered, None).await.unwrap());
    tokio::time::sleep(nothing_pending::FILE_EVERY).await;
    assert!(one.pending(&user("ann")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_file_that_was_just_written_is_not_trusted() {
    let home = Home::new();
    let file = home.open().await;
    file.put_canary(KeyId(1), b"x").await.unwrap();
    assert!(file.pending(&user("ann")).await.unwrap().is_none());
    assert!(!file.inner.nothing_pending.says_none(&file.inner.guard));
}

#[tokio::test]
async fn nothing_pending_costs_about_a_microsecond() {
    let home = Home::new();
    let file = home.open().await;
    settle(&file).await;
    let ann = user("ann");
    let start = Instant::now();
    for _ in 0..10_000 {
        assert!(file.pending(&ann).now_or_never().expect("no waiting").unwrap().is_none());
    }
    let each = start.elapsed() / 10_000;
    eprintln!("pending, nothing there: {each:?}");
    assert!(each < Duration::from_micros(50), "{each:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_of_two_handles_leave_the_newest() {
    let home = Home::new();
    let handles = [home.open().await, home.open().await];
    let ann = user("ann");
    let tasks = (0..100).map(|number| {
        let (file, record) = (handles[number as usize % 2].clone(), record(&ann, 1 + number * 37 % 100));
        tokio::spawn(async move { file.put_pending(&record, Basis::Remembered, None).await })
    });
    let results = join_all(tasks).await;
    assert!(results.into_iter().all(|result| result.unwrap().is_ok()));
    for file in &handles {
        assert_eq!(file.pending(&ann).await.unwrap().unwrap().version, version(100));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn futures_dropped_at_any_await_leave_both_or_neither() {
    let home = Home::new();
    let file = home.open().await;
    for round in 0..150 {
        let ann = user(&format!("ann-{round}"));
        file.put_pending(&record(&ann, round), Basis::Remembered, None).await.unwrap();
        let text = text(round);
        {
            let mut moved =
                Box::pin(file.set_pending_aside(&ann, &text, KeptKind::DeadLetter, "dropped", 1, None));
            let end = Instant::now() + Duration::from_micros(round * 5);
            while (&mut moved).now_or_never().is_none() && Instant::now() < end {
                tokio::task::yield_now().await;
            }
        }
        {
            let record = record(&ann, round + 1000);
            let mut put = Box::pin(file.put_pending(&record, Basis::Remembered, None));
            let _ = (&mut put).now_or_never();
        }
        // what was sent before its future was dropped is done by the time that the writer is free
        file.put_canary(KeyId(1), b"x").await.expect("no connection was left in a transaction");
        let kept = file.kept_after(0, 1000).await.unwrap().iter().any(|kept| kept.owner == ann);
        let pending = file.pending(&ann).await.unwrap();
        let old = pending.as_ref().is_some_and(|record| record.text == text);
        let new = pending.is_some_and(|record| record.text != text);
        assert!(kept != old || new, "round {round}: kept {kept}, pending {old}, replaced {new}");
    }
}

#[tokio::test]
async fn a_dropped_handle_lets_the_next_one_check_as_soon_as_its_connections_are_gone() {
    let home = Home::new();
    for round in 0..30 {
        let file = home.open().await;
        file.put_pending(&record(&user("ann"), round), Basis::Remembered, None).await.unwrap();
        drop(file);
    }
    let end = Instant::now() + Duration::from_secs(10);
    while !Guard::enter(&home.path()).await.unwrap().alone() {
        assert!(Instant::now() < end, "a connection still holds the lock");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(home.open().await.pending(&user("ann")).await.unwrap().unwrap().version, version(29));
}

#[tokio::test]
async fn a_closed_handle_says_so() {
    let home = Home::new();
    let file = home.open().await;
    file.close().await;
    let error = file.put_canary(KeyId(1), b"x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LocalStore);
    assert!(error.to_string().contains("closed"), "{error}");
}

#[tokio::test]
async fn the_path_may_be_relative_or_look_like_a_uri() {
    let home = Home::new();
    let path = home.folder.path().join("file:x?mode=memory.db");
    let file = LocalFile::open(&path).await.unwrap();
    assert_eq!(file.path(), path);
    assert!(path.exists() && file.set_aside().is_empty());
}

fn is_send<T: Send>(_: &T) {}

#[test]
fn futures_can_be_spawned() {
    fn check(file: &LocalFile, record: &LocalRecord) {
        is_send(&LocalFile::open(Path::new("x")));
        is_send(&file.put_pending(record, Basis::Remembered, None));
        is_send(&file.pending(&record.owner));
        is_send(&file.pending_after(None, 1));
        is_send(&file.set_pending_aside(&record.owner, "", KeptKind::Superseded, "", 0, None));
        is_send(&file.forget(&record.owner, None));
        is_send(&file.canaries());
        is_send(&file.texts_after(LocalPlace::Kept, 0, 1));
        is_send(&file.swap_texts(LocalPlace::Kept, &[]));
        is_send(&file.tokens_per_key());
    }
    let _ = check;
}

/// Many reads push out no copy of a change, and `forget` removes both.
#[tokio::test]
async fn copies_of_reads_and_of_changes_have_limits_of_their_own() {
    let home = Home::new();
    let file = home.open().await;
    let copy = |number: i64, is_state: bool| LedgerLine {
        writer: "w".to_owned(),
        number,
        tenant: String::new(),
        user: "ann".to_owned(),
        is_state,
        line: format!("{{\"number\":{number}}}"),
    };
    let changes = LedgerLines { heads: Vec::new(), entries: (1..=3).map(|at| copy(at, true)).collect() };
    file.put_ledger_copies(&changes, 1).await.unwrap();
    let reads = LedgerLines { heads: Vec::new(), entries: (4..=30_010).map(|at| copy(at, false)).collect() };
    file.put_ledger_copies(&reads, 2).await.unwrap();
    let lines = file.ledger_lines().await.unwrap();
    assert_eq!(lines.len(), 30_003);
    assert!((1..=3).all(|at| lines.contains(&copy(at, true).line)));
    assert!(!lines.contains(&copy(10, false).line) && lines.contains(&copy(11, false).line));
    file.forget(&user("ann"), None).await.unwrap();
    assert!(file.ledger_lines().await.unwrap().is_empty());
}
