//! Modes, planted files, and files that are not ours.

use std::os::unix::fs::{chown, symlink};

use sqlx::{ConnectOptions, Connection};

use super::*;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn everything_is_private() {
    let home = Home::new();
    let folder = home.folder.path().join("new");
    let file = LocalFile::open(&folder.join("vault.db")).await.unwrap();
    file.put_pending(&record(&user("ann"), 1), Basis::Remembered).await.unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        names.push(entry.file_name().into_string().unwrap());
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{names:?}");
    }
    names.sort();
    assert_eq!(names, ["vault.db", "vault.db-journal", "vault.db.lock"]);
}

#[tokio::test]
async fn symlinks_and_folders_in_the_place_of_any_file_are_refused() {
    for suffix in ["", "-wal", "-shm", "-journal", ".lock"] {
        for made in [false, true] {
            let home = Home::new();
            if made {
                close(home.open().await).await;
            }
            let (target, planted) = (home.folder.path().join("target"), home.beside(suffix));
            fs::write(&target, b"").unwrap();
            set_mode(&target, 0o600);
            fs::remove_file(&planted).ok();
            symlink(&target, &planted).unwrap();
            assert_eq!(home.error().await.kind(), ErrorKind::LocalStore, "symlink {suffix} {made}");

            fs::remove_file(&planted).unwrap();
            fs::create_dir(&planted).unwrap();
            set_mode(&planted, 0o700);
            assert_eq!(home.error().await.kind(), ErrorKind::LocalStore, "folder {suffix} {made}");
            assert_eq!(fs::read(&target).unwrap(), b"");
        }
    }
}

#[tokio::test]
async fn a_second_handle_looks_for_planted_files_too() {
    let home = Home::new();
    let _file = home.open().await;
    fs::remove_file(home.beside("-journal")).unwrap();
    symlink("/dev/null", home.beside("-journal")).unwrap();
    assert_eq!(home.error().await.kind(), ErrorKind::LocalStore);
}

/// SQLite takes what it finds in a log for newer pages, whatever mode the file is in.
#[tokio::test]
async fn a_private_log_or_index_of_another_mode_is_refused_unread() {
    for suffix in ["-wal", "-shm"] {
        let home = Home::new();
        close(home.open().await).await;
        fs::write(home.beside(suffix), b"planted").unwrap();
        set_mode(&home.beside(suffix), 0o600);
        let error = home.error().await;
        assert_eq!(error.kind(), ErrorKind::LocalStore, "{error}");
        assert!(error.hint().contains("journal_mode=TRUNCATE"), "{}", error.hint());
        assert_eq!(fs::read(home.beside(suffix)).unwrap(), b"planted");
    }
}

#[tokio::test]
async fn a_file_in_wal_mode_is_converted_and_loses_nothing() {
    let home = Home::new();
    let file = home.open().await;
    file.put_pending(&record(&user("ann"), 1), Basis::Remembered).await.unwrap();
    close(file).await;
    let wal = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(home.path())
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let mut connection = wal.connect().await.unwrap();
    sqlx::query("UPDATE pending SET at = 7").execute(&mut connection).await.unwrap();
    assert_eq!(home.error().await.kind(), ErrorKind::LocalStore, "its log holds what the file does not");
    connection.close().await.unwrap();

    let file = home.open().await;
    assert_eq!(file.pending(&user("ann")).await.unwrap().unwrap().at, 7);
    file.put_pending(&record(&user("bob"), 1), Basis::Remembered).await.unwrap();
    assert!(!home.beside("-wal").exists() && !home.beside("-shm").exists());
}

#[tokio::test]
async fn folders_and_files_open_to_others_are_refused() {
    let home = Home::new();
    close(home.open().await).await;
    set_mode(home.folder.path(), 0o750);
    assert_eq!(home.error().await.kind(), ErrorKind::LocalStore);
    set_mode(home.folder.path(), 0o700);
    set_mode(&home.path(), 0o640);
    let error = home.error().await;
    assert_eq!((error.kind(), error.hint()), (ErrorKind::LocalStore, "set its mode to 600"));
}

#[tokio::test]
async fn files_of_another_user_are_refused() {
    let home = Home::new();
    close(home.open().await).await;
    if chown(home.path(), Some(65534), None).is_err() {
        return eprintln!("skipped: only root can give files away");
    }
    let error = home.error().await;
    assert!(error.kind() == ErrorKind::LocalStore && error.to_string().contains("another user"), "{error}");
}

#[tokio::test]
async fn a_newer_schema_and_a_database_of_another_program_are_refused_unchanged() {
    for (sql, expected) in [
        ("UPDATE meta SET value = '3' WHERE name = 'schema'", "schema version 3"),
        ("DROP TABLE meta", "another program"),
        ("DELETE FROM meta", "another program"),
    ] {
        let home = Home::new();
        close(home.open().await).await;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(home.path());
        let mut connection = options.connect().await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let before = fs::read(home.path()).unwrap();

        let error = home.error().await;
        assert!(error.kind() == ErrorKind::LocalStore && error.to_string().contains(expected), "{error}");
        assert_eq!(fs::read(home.path()).unwrap(), before);
    }
}

#[tokio::test]
async fn an_empty_file_that_somebody_made_beforehand_is_used() {
    let home = Home::new();
    fs::write(home.path(), b"").unwrap();
    set_mode(&home.path(), 0o600);
    home.open().await.put_pending(&record(&user("ann"), 1), Basis::Remembered).await.unwrap();
}

#[tokio::test]
async fn a_write_to_a_file_that_was_moved_is_not_acknowledged() {
    let home = Home::new();
    let file = home.open().await;
    fs::rename(home.path(), home.beside(".moved")).unwrap();
    let error = file.put_pending(&record(&user("ann"), 1), Basis::Remembered).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LocalStore);
    assert_eq!(home.error().await.kind(), ErrorKind::LocalStore, "another handle does not make a new one");

    fs::rename(home.beside(".moved"), home.path()).unwrap();
    assert_eq!(
        file.put_pending(&record(&user("ann"), 1), Basis::Remembered).await.unwrap(),
        PutPending::Written
    );
}

#[tokio::test]
async fn a_file_of_the_version_before_keeps_what_waits_and_gets_its_columns() {
    let home = Home::new();
    let file = home.open().await;
    file.put_pending(&record(&user("user-1"), 1), Basis::Remembered).await.unwrap();
    close(file).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(home.path());
    let mut connection = options.connect().await.unwrap();
    let lacks = "ALTER TABLE pending DROP COLUMN waits_for; ALTER TABLE pending DROP COLUMN tries;
        ALTER TABLE pending DROP COLUMN refused_at; ALTER TABLE kept DROP COLUMN version;
        ALTER TABLE kept DROP COLUMN base; ALTER TABLE kept DROP COLUMN stored_at;
        ALTER TABLE kept DROP COLUMN waits_for; UPDATE meta SET value = '1' WHERE name = 'schema'";
    sqlx::raw_sql(lacks).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    for _ in 0..2 {
        let file = home.open().await;
        let waits = file.pending(&user("user-1")).await.unwrap().unwrap();
        assert_eq!(waits.text, record(&user("user-1"), 1).text);
        file.put_pending(&record(&user("user-2"), 2), Basis::Remembered).await.unwrap();
        close(file).await;
    }
}
