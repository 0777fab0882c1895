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
    file.put_pending(&record(&user("ann"), 1), Basis::Remembered, None).await.unwrap();
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
    file.put_pending(&record(&user("ann"), 1), Basis::Remembered, None).await.unwrap();
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
    file.put_pending(&record(&user("bob"), 1), Basis::Remembered, None).await.unwrap();
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
        ("UPDATE meta SET value = '6' WHERE name = 'schema'", "schema version 6"),
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
    home.open().await.put_pending(&record(&user("ann"), 1), Basis::Remembered, None).await.unwrap();
}

#[tokio::test]
async fn a_write_to_a_file_that_was_moved_is_not_acknowledged() {
    let home = Home::new();
    let file = home.open().await;
    fs::rename(home.path(), home.beside(".moved")).unwrap();
    let error = file.put_pending(&record(&user("ann"), 1), Basis::Remembered, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LocalStore);
    assert_eq!(home.error().await.kind(), ErrorKind::LocalStore, "another handle does not make a new one");

    fs::rename(home.beside(".moved"), home.path()).unwrap();
    assert_eq!(
        file.put_pending(&record(&user("ann"), 1), Basis::Remembered, None).await.unwrap(),
        PutPending::Written
    );
}

/// The file as an older program made it.
async fn make_older(home: &Home, version: u32) {
    const FROM_5_TO_4: &str = "DROP TABLE ledger_unsent";
    const FROM_4_TO_3: &str = "DROP TABLE ledger_head; DROP TABLE ledger_entry; DROP TABLE ledger_note";
    const FROM_3_TO_2: &str =
        "ALTER TABLE pending DROP COLUMN database; ALTER TABLE kept DROP COLUMN database;
        DROP TABLE replica; CREATE TABLE replica (
            tenant TEXT NOT NULL, user TEXT NOT NULL, version TEXT NOT NULL, text TEXT NOT NULL,
            at INTEGER NOT NULL, PRIMARY KEY (tenant, user)) STRICT;
        INSERT INTO replica VALUES ('', 'user-1', '0000000000000001', 'copy', 1)";
    const FROM_2_TO_1: &str =
        "ALTER TABLE pending DROP COLUMN waits_for; ALTER TABLE pending DROP COLUMN tries;
        ALTER TABLE pending DROP COLUMN refused_at; ALTER TABLE kept DROP COLUMN version;
        ALTER TABLE kept DROP COLUMN base; ALTER TABLE kept DROP COLUMN stored_at;
        ALTER TABLE kept DROP COLUMN waits_for";
    let scripts = &[FROM_5_TO_4, FROM_4_TO_3, FROM_3_TO_2, FROM_2_TO_1][..5 - version as usize];
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(home.path());
    let mut connection = options.connect().await.unwrap();
    for sql in scripts {
        sqlx::raw_sql(*sql).execute(&mut connection).await.unwrap();
    }
    let noted = "UPDATE meta SET value = ?1 WHERE name = 'schema'";
    sqlx::query(noted).bind(version.to_string()).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_file_of_an_older_version_keeps_what_waits_and_gets_its_columns() {
    let ann = user("user-1");
    for older in [1, 2, 3, 4] {
        let home = Home::new();
        let file = home.open().await;
        file.put_pending(&record(&ann, 1), Basis::Remembered, None).await.unwrap();
        file.keep(&ann, KeptKind::DeadLetter, &text(9), "refused", 1).await.unwrap();
        close(file).await;
        make_older(&home, older).await;
        for round in 0..2 {
            let file = home.open().await;
            assert_eq!(file.pending(&ann).await.unwrap(), Some(record(&ann, 1)), "from version {older}");
            let expected = Counts { pending: 1 + round, dead_letters: 1, ..Counts::default() };
            assert!(file.ledger_lines().await.unwrap().is_empty());
            assert_eq!(file.count_unsent().await.unwrap(), 0);
            assert_eq!(file.counts().await.unwrap(), expected, "nobody knows of which table a replica was");
            assert_eq!(file.retry_dead_letters(None, None, None).await.unwrap(), 0);
            let rows = OwnerRows { table: "t".to_owned(), database: "d".to_owned() };
            file.put_replica(&ann, &rows, version(1), &text(1), 1).await.unwrap();
            file.remove_replica(&ann, &rows).await.unwrap();
            let other = LocalRecord { rows, ..record(&user("user-2"), 2 + round) };
            file.put_pending(&other, Basis::Remembered, None).await.unwrap();
            assert_eq!(file.pending(&other.owner).await.unwrap(), Some(other));
            close(file).await;
        }
    }
}

/// An older program that has the file open would miss the new columns as much as this one the old ones.
#[tokio::test]
async fn a_file_that_an_older_program_uses_is_refused_until_that_has_ended() {
    let home = Home::new();
    let older = home.open().await;
    make_older(&home, 2).await;
    let error = home.error().await;
    assert!(error.kind() == ErrorKind::LocalStore && error.to_string().contains("older version"), "{error}");
    close(older).await;
    close(home.open().await).await;
}

/// One owner may have a row in several tables, and in the same table of several databases.
#[tokio::test]
async fn replicas_of_other_rows_are_no_answer() {
    let home = Home::new();
    let (file, ann) = (home.open().await, user("ann"));
    let rows =
        |table: &str, database: &str| OwnerRows { table: table.to_owned(), database: database.to_owned() };
    file.put_replica(&ann, &rows("a", "staging"), version(5), &text(5), 1).await.unwrap();
    file.put_replica(&ann, &rows("b", "staging"), version(7), &text(7), 1).await.unwrap();
    let texts = async |table, database| {
        let replica = file.replica(&ann, &rows(table, database)).await.unwrap();
        replica.map(|replica| replica.text)
    };
    assert_eq!(texts("a", "staging").await, Some(text(5)));
    assert_eq!(texts("a", "").await, Some(text(5)), "nobody knows which database it is");
    assert_eq!(texts("b", "staging").await, Some(text(7)));
    assert_eq!((texts("a", "production").await, texts("c", "staging").await), (None, None));
    // an older version of another database is news
    file.put_replica(&ann, &rows("a", "production"), version(3), &text(3), 1).await.unwrap();
    assert_eq!((texts("a", "production").await, texts("a", "staging").await), (Some(text(3)), None));
    file.remove_replica(&ann, &rows("a", "production")).await.unwrap();
    assert_eq!((texts("a", "").await, texts("b", "staging").await), (None, Some(text(7))));
}
