//! Damaged files: set aside, reported, and never replaced in silence.

use super::journal::is_damaged;
use super::*;

const OWNERS: u64 = 30;
const SECTOR: usize = 512;
/// Of SQLite's default.
const PAGE: usize = 4096;

/// More pages than the cache of this connection may hold: SQLite writes them to the file before the commit.
const LARGE: &str = "PRAGMA cache_size = 3; BEGIN IMMEDIATE;
    UPDATE pending SET text = 'torn' || substr(text, 700);
    DELETE FROM pending WHERE user < 'user-05';
    INSERT INTO pending (tenant, user, version, text, base, at)
        SELECT tenant, 'new-' || user, version, text, base, at FROM pending;
    UPDATE pending SET text = 'torn' || text;";

/// The files as a kill in the middle of a write leaves them: copied while a handle is at it.
async fn killed() -> Home {
    let (home, copy) = (Home::new(), Home::new());
    let file = home.open().await;
    for number in 0..OWNERS {
        file.put_pending(&record(&user(&format!("user-{number:02}")), number), Basis::Remembered, None)
            .await
            .unwrap();
    }
    let mut writer = file.inner.writer.acquire().await.unwrap();
    sqlx::raw_sql(LARGE).execute(&mut *writer).await.unwrap();
    copy_files(&home, &copy);
    sqlx::raw_sql("ROLLBACK").execute(&mut *writer).await.unwrap();
    assert!(fs::read(copy.path()).unwrap().windows(4).any(|bytes| bytes == b"torn"));
    copy
}

/// By another process: closing FILE in this one would drop SQLite's locks.
fn copy_files(from: &Home, to: &Home) {
    let script = "cp -p \"$0\"/* \"$1\"";
    let folders = [from.folder.path(), to.folder.path()];
    assert!(Command::new("sh").args(["-c", script]).args(folders).status().unwrap().success());
}

fn copy_of(from: &Home) -> Home {
    let home = Home::new();
    copy_files(from, &home);
    home
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, length: usize) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length as u64).unwrap();
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
    file.put_pending(&record(&user("next"), 1), Basis::Remembered, None).await.unwrap();
    close(file).await;
    assert_eq!(home.open().await.set_aside(), aside, "it stays visible");
    aside[0].clone()
}

#[tokio::test]
async fn after_a_kill_everything_is_there() {
    let home = killed().await;
    let file = home.open().await;
    let found = file.pending_after(None, 100).await.unwrap();
    let texts: Vec<_> = found.into_iter().map(|record| record.text).collect();
    assert_eq!(texts, (0..OWNERS).map(text).collect::<Vec<_>>());
    assert!(file.set_aside().is_empty());
    assert_eq!(fs::metadata(home.beside("-journal")).map_or(0, |left| left.len()), 0);
}

#[tokio::test]
async fn a_handle_that_is_open_undoes_what_a_killed_process_left() {
    let torn = killed().await;
    let home = Home::new();
    let file = home.open().await;
    // by another process, see above
    let script = "cat \"$0\" > \"$1\"";
    for suffix in ["", "-journal"] {
        let files = [torn.beside(suffix), home.beside(suffix)];
        assert!(Command::new("sh").args(["-c", script]).args(files).status().unwrap().success());
    }
    assert_eq!(file.pending_after(None, 100).await.unwrap().len() as u64, OWNERS);
    assert_eq!(file.pending(&user("user-07")).await.unwrap().unwrap().text, text(7));
}

#[tokio::test]
async fn a_damaged_header_is_set_aside() {
    for at in [0, 3, 15] {
        let home = Home::new();
        let file = home.open().await;
        file.put_pending(&record(&user("ann"), 1), Basis::Remembered, None).await.unwrap();
        close(file).await;
        flip(&home.path(), at);
        assert_set_aside(&home).await;
    }
}

#[tokio::test]
async fn no_byte_of_the_file_can_change_so_that_a_record_is_missing() {
    let sound = Home::new();
    let file = sound.open().await;
    let owners: Vec<_> = (0..3).map(|number| user(&format!("user-{number}"))).collect();
    for (owner, number) in owners.iter().zip(0..) {
        file.put_pending(&record(owner, number), Basis::Remembered, None).await.unwrap();
    }
    close(file).await;
    let length = fs::metadata(sound.path()).unwrap().len() as usize;
    let step = std::env::var("RETELL_VAULT_TEST_DAMAGE_STEP").map_or(397, |step| step.parse().unwrap());
    let mut noticed = 0;
    for at in (0..100).step_by(step.min(7)).chain((100..length).step_by(step)) {
        let home = copy_of(&sound);
        flip(&home.path(), at);
        let file = match LocalFile::open(&home.path()).await {
            Ok(file) => file,
            Err(error) => {
                noticed += usize::from(error.kind() == ErrorKind::LocalCorrupt);
                continue;
            }
        };
        for owner in &owners {
            // a text that has changed is no token of its owner any more
            let found = file.pending(owner).await;
            assert!(!matches!(found, Ok(None)), "{at}: {owner}");
        }
    }
    assert!(noticed > 10, "{noticed}");
}

#[tokio::test]
async fn a_damaged_page_is_set_aside() {
    let home = Home::new();
    close(home.open().await).await;
    let mut bytes = fs::read(home.path()).unwrap();
    bytes[PAGE..PAGE + 64].fill(0xee);
    fs::write(home.path(), bytes).unwrap();
    assert_set_aside(&home).await;
}

#[tokio::test]
async fn a_truncated_or_emptied_file_is_set_aside() {
    for length in [0, 100, 5000] {
        let home = Home::new();
        let file = home.open().await;
        file.put_pending(&record(&user("ann"), 1), Basis::Remembered, None).await.unwrap();
        close(file).await;
        fs::OpenOptions::new().write(true).open(home.path()).unwrap().set_len(length).unwrap();
        assert_set_aside(&home).await;
    }
}

#[tokio::test]
async fn a_journal_without_its_file_is_set_aside() {
    let home = killed().await;
    fs::remove_file(home.path()).unwrap();
    assert_set_aside(&home).await;
    let home = killed().await;
    cut(&home.path(), 0);
    assert_set_aside(&home).await;
}

#[tokio::test]
async fn a_file_whose_journal_was_removed_emptied_or_cut_is_set_aside() {
    let torn = killed().await;
    let home = copy_of(&torn);
    fs::remove_file(home.beside("-journal")).unwrap();
    assert_set_aside(&home).await;

    for length in [0, 3, SECTOR, SECTOR + 9 * PAGE] {
        let home = copy_of(&torn);
        cut(&home.beside("-journal"), length);
        let journal = fs::read(home.beside("-journal")).unwrap();
        let aside = assert_set_aside(&home).await;
        assert_eq!(fs::read(files::beside(&aside, "-journal")).unwrap(), journal, "nothing was undone");
    }
}

#[tokio::test]
async fn a_damaged_journal_is_set_aside_with_its_file() {
    let torn = killed().await;
    let length = fs::metadata(torn.beside("-journal")).unwrap().len() as usize;
    // the header, the number of the first page, and the checksum behind it
    for at in [0, 7, 10, 13, 22, 26, SECTOR, SECTOR + 4 + PAGE] {
        assert!(at < length);
        let home = copy_of(&torn);
        flip(&home.beside("-journal"), at);
        let before = fs::read(home.path()).unwrap();
        let aside = assert_set_aside(&home).await;
        assert_eq!(fs::read(&aside).unwrap(), before, "{at}: nothing was undone");
    }
}

#[tokio::test]
async fn a_journal_with_another_number_of_pages_loses_nothing_in_silence() {
    let torn = killed().await;
    for at in 16..20 {
        let home = copy_of(&torn);
        flip(&home.beside("-journal"), at);
        match LocalFile::open(&home.path()).await {
            Ok(file) => assert_eq!(file.pending_after(None, 100).await.unwrap().len() as u64, OWNERS),
            Err(error) => assert_eq!(error.kind(), ErrorKind::LocalCorrupt, "{error}"),
        }
    }
}

#[tokio::test]
async fn every_byte_of_a_journal_that_its_checksums_cover_is_checked() {
    let journal = fs::read(killed().await.beside("-journal")).unwrap();
    let records = u32::from_be_bytes(journal[8..12].try_into().unwrap()) as usize;
    let end = SECTOR + records * (PAGE + 8);
    assert!(records > 0 && end <= journal.len(), "{records}");
    assert!(!is_damaged(&journal) && !is_damaged(&[]) && !is_damaged(&[0; 700]));

    let mut flipped = journal.clone();
    for at in (0..16).chain(20..28).chain(SECTOR..end) {
        let in_record = at.checked_sub(SECTOR).map(|at| at % (PAGE + 8));
        // of a page only every 200th byte; of its number, only whether there is such a page
        let is_covered =
            in_record.is_none_or(|at| at >= 4 + PAGE || (at >= 4 && (4 + PAGE - at).is_multiple_of(200)));
        // fewer records: zeros in a page may look like the next header
        flipped[at] = if (8..12).contains(&at) { 0xff } else { journal[at] ^ [0x01, 0x80, 0xff][at % 3] };
        assert!(is_damaged(&flipped) || !is_covered, "{at}");
        flipped[at] = journal[at];
    }
    for length in (1..end).step_by(7) {
        assert!(is_damaged(&journal[..length]), "{length}");
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
    assert!(error.hint().contains("start them again"), "{}", error.hint());
    assert!(home.path().exists() && files::set_aside(&home.path()).is_empty());
}
