//! Damaged files: set aside, reported, and never replaced in silence.

use std::process::Command;

use super::guard::Boot;
use super::wal::{Published, damage};
use super::*;

const OWNERS: u64 = 4;
/// Of SQLite's default.
const FRAME: usize = 24 + 4096;

/// The files as a crash would leave them: copied while a handle holds acknowledged commits.
async fn crashed() -> Home {
    let (home, copy) = (Home::new(), Home::new());
    let file = home.open().await;
    for number in 0..OWNERS {
        file.put_pending(&record(&user(&format!("user-{number}")), number)).await.unwrap();
    }
    for suffix in ["", "-wal", "-shm", ".lock"] {
        copy_file(&home.beside(suffix), &copy.beside(suffix));
    }
    copy
}

/// By another process: closing FILE or FILE-shm in this one would drop SQLite's locks.
fn copy_file(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-p").arg(from).arg(to).status().unwrap().success());
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Opens a damaged file, and then the new one.
async fn assert_set_aside(home: &Home) -> PathBuf {
    let error = home.error().await;
    assert_eq!(error.kind(), ErrorKind::LocalCorrupt, "{error}");
    let file = home.open().await;
    assert_eq!(file.counts().await.unwrap(), Counts::default());
    let aside = file.set_aside();
    assert_eq!(aside.len(), 1, "{aside:?}");
    let name = aside[0].to_str().unwrap();
    assert!(error.to_string().contains(name) && error.hint().contains(name), "{error} {}", error.hint());
    file.put_pending(&record(&user("next"), 1)).await.unwrap();
    close(file).await;
    assert_eq!(home.open().await.set_aside(), aside, "it stays visible");
    aside[0].clone()
}

#[tokio::test]
async fn after_a_crash_everything_is_there() {
    let home = crashed().await;
    let file = home.open().await;
    assert_eq!(file.pending_after(None, 100).await.unwrap().len() as u64, OWNERS);
    assert!(file.set_aside().is_empty());
}

#[tokio::test]
async fn a_damaged_header_is_set_aside() {
    for at in [0, 3, 15] {
        let home = Home::new();
        let file = home.open().await;
        file.put_pending(&record(&user("ann"), 1)).await.unwrap();
        close(file).await;
        flip(&home.path(), at);
        assert_set_aside(&home).await;
    }
}

#[tokio::test]
async fn a_damaged_page_is_healed_when_the_log_holds_it() {
    let home = crashed().await;
    flip(&home.path(), 3); // the log holds the first page: it grew the file
    let file = home.open().await;
    assert_eq!(file.counts().await.unwrap().pending, OWNERS);
    close(file).await;
    assert_eq!(home.open().await.counts().await.unwrap().pending, OWNERS);
}

#[tokio::test]
async fn a_damaged_page_is_set_aside_together_with_the_log() {
    let home = crashed().await;
    let mut bytes = fs::read(home.path()).unwrap();
    bytes[4096..4160].fill(0xee); // the table `meta`, which is not in the log
    fs::write(home.path(), bytes).unwrap();
    let log = fs::read(home.beside("-wal")).unwrap();
    let aside = assert_set_aside(&home).await;
    assert_eq!(fs::read(files::beside(&aside, "-wal")).unwrap(), log, "nothing was merged or deleted");
}

#[tokio::test]
async fn a_truncated_or_emptied_file_is_set_aside() {
    for length in [0, 100, 5000] {
        let home = Home::new();
        let file = home.open().await;
        file.put_pending(&record(&user("ann"), 1)).await.unwrap();
        close(file).await;
        fs::OpenOptions::new().write(true).open(home.path()).unwrap().set_len(length).unwrap();
        assert_set_aside(&home).await;
    }
}

#[tokio::test]
async fn a_log_without_its_file_is_set_aside() {
    for emptied in [false, true] {
        let home = crashed().await;
        match emptied {
            true => fs::write(home.path(), b"").unwrap(),
            false => fs::remove_file(home.path()).unwrap(),
        }
        assert_set_aside(&home).await;
    }
}

#[tokio::test]
async fn a_log_that_was_removed_or_cut_is_noticed() {
    let home = crashed().await;
    fs::remove_file(home.beside("-wal")).unwrap();
    assert_set_aside(&home).await;

    for cut in [1, FRAME + 1, 3 * FRAME] {
        let home = crashed().await;
        let log = fs::OpenOptions::new().write(true).open(home.beside("-wal")).unwrap();
        log.set_len(log.metadata().unwrap().len() - cut as u64).unwrap();
        assert_set_aside(&home).await;
    }
}

#[tokio::test]
async fn a_damaged_log_is_set_aside_wherever_the_damage_is() {
    let template = crashed().await;
    let length = fs::read(template.beside("-wal")).unwrap().len();
    for at in (0..length).step_by(length / 20) {
        let home = Home::new();
        for suffix in ["", "-wal", "-shm", ".lock"] {
            copy_file(&template.beside(suffix), &home.beside(suffix));
        }
        flip(&home.beside("-wal"), at);
        assert_set_aside(&home).await;
    }
}

#[tokio::test]
async fn a_second_handle_reports_damage_and_moves_nothing() {
    let home = Home::new();
    let _file = home.open().await;
    // by another process, see above
    let script = "printf xxxx | dd of=\"$0\" conv=notrunc status=none";
    assert!(Command::new("sh").args(["-c", script]).arg(home.path()).status().unwrap().success());
    // a reader takes the header from the log as long as it is there
    let error = match LocalFile::open(&home.path()).await {
        Err(error) => error,
        Ok(second) => second.put_canary(KeyId(1), b"x").await.expect_err("damage went unnoticed"),
    };
    assert_eq!(error.kind(), ErrorKind::LocalCorrupt, "{error}");
    assert!(error.hint().contains("start again"), "{}", error.hint());
    assert!(home.path().exists() && files::set_aside(&home.path()).is_empty());
}

#[tokio::test]
async fn no_byte_of_the_committed_log_can_change_unnoticed() {
    let home = crashed().await;
    let log = fs::read(home.beside("-wal")).unwrap();
    let index = fs::read(home.beside("-shm")).unwrap();
    assert!(Published::read(&index).is_some(), "the layout of -shm is as expected");
    for (index, boot) in
        [(&index[..], Boot::Same), (&[], Boot::Same), (&[], Boot::Unknown), (&[], Boot::Another)]
    {
        assert_eq!(damage(&log, index, boot), None);
    }
    let commits = commit_frames(&log);
    let last_commit_begins = 32 + FRAME * (commits[commits.len() - 2] + 1);
    let mut flipped = log.clone();
    for (round, at) in (0..32).chain((0..log.len()).step_by(7)).enumerate() {
        flipped[at] = log[at] ^ [0x01, 0x80, 0xff][round % 3];
        assert!(damage(&flipped, &index, Boot::Same).is_some(), "{at}");
        if round % 4 == 0 {
            // without any evidence: only a last commit frame that became a middle one looks torn
            let not_a_commit = flipped[32 + FRAME * commits[commits.len() - 1] + 4..][..4] == [0; 4];
            assert!(damage(&flipped, &[], Boot::Unknown).is_some() || not_a_commit, "{at}");
            // after a power cut, the last commit may have been torn before it was acknowledged
            let noticed = damage(&flipped, &[], Boot::Another).is_some();
            assert!(noticed || at >= last_commit_begins, "{at}");
        }
        flipped[at] = log[at];
    }
}

fn commit_frames(log: &[u8]) -> Vec<usize> {
    let frames = log[32..].chunks_exact(FRAME).enumerate();
    frames.filter(|(_, frame)| frame[4..8] != [0; 4]).map(|(index, _)| index).collect()
}

#[tokio::test]
async fn torn_and_left_over_ends_of_the_log_are_normal() {
    let home = crashed().await;
    let log = fs::read(home.beside("-wal")).unwrap();
    let index = fs::read(home.beside("-shm")).unwrap();
    let last = &log[log.len() - FRAME..];

    // a frame that was being written
    let torn = [&log[..], &last[..FRAME - 100]].concat();
    // a commit that was written, never published, and of which a shorter one has overwritten the start
    let left_over = [&log[..], last, last].concat();
    // frames of a log before this one: other salts
    let mut older = last.to_vec();
    older[8..16].fill(7);
    let reused = [&log[..], &older, &older].concat();

    assert_eq!(damage(&torn, &index, Boot::Same), None);
    assert_eq!(damage(&left_over, &index, Boot::Same), None);
    assert_eq!(damage(&reused, &index, Boot::Same), None);
    for boot in [Boot::Another, Boot::Unknown] {
        assert_eq!(damage(&torn, &[], boot), None);
        assert_eq!(damage(&reused, &[], boot), None);
    }
    assert_eq!(damage(&[&log[..], last].concat(), &[], Boot::Another), None, "one torn commit");
    assert!(damage(&left_over, &[], Boot::Another).is_some(), "two cannot be torn");
    assert!(damage(&[&log[..], last].concat(), &[], Boot::Unknown).is_some());

    for empty in [&[][..], &log[..32], &[0; 500]] {
        assert_eq!(damage(empty, &[], Boot::Same), None);
        assert!(damage(empty, &index, Boot::Same).is_some(), "published, and lost");
        assert_eq!(damage(empty, &index, Boot::Another), None, "an index from before says nothing");
    }
}
