//! What key rotation does with the file: texts page by page, swapped by their exact text, and counted.

use super::*;

/// Puts a text where it belongs.
async fn put(file: &LocalFile, place: LocalPlace, id: &str, number: u64) {
    let owner = user(id);
    match place {
        LocalPlace::Pending => {
            drop(file.put_pending(&record(&owner, number), Basis::Remembered, None).await.unwrap())
        }
        LocalPlace::Replica => {
            file.put_replica(&owner, &OwnerRows::default(), version(number), &text(number), 1).await.unwrap();
        }
        LocalPlace::Kept => file.keep(&owner, KeptKind::Superseded, &text(number), "older", 1).await.unwrap(),
    }
}

async fn all(file: &LocalFile, place: LocalPlace, limit: u32) -> Vec<LocalText> {
    let mut found = Vec::<LocalText>::new();
    loop {
        let after = found.last().map_or(i64::MIN, |text| text.id);
        let page = file.texts_after(place, after, limit).await.unwrap();
        assert!(page.len() <= limit as usize);
        match page.is_empty() {
            true => return found,
            false => found.extend(page),
        }
    }
}

/// The same length, and other bytes.
fn swap(old: &LocalText, number: u64) -> Swap {
    Swap { id: old.id, old: old.text.clone(), new: text(number) }
}

async fn execute(file: &LocalFile, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&file.inner.writer).await.unwrap();
}

/// Everything of a place but its texts, in the order of its ids.
async fn without_texts(file: &LocalFile, place: LocalPlace) -> Vec<String> {
    let sql = match place {
        LocalPlace::Pending => "SELECT rowid||tenant||user||version||base||at FROM pending ORDER BY rowid",
        LocalPlace::Replica => "SELECT rowid||tenant||user||version||at FROM replica ORDER BY rowid",
        LocalPlace::Kept => "SELECT rowid||tenant||user||kind||reason||at FROM kept ORDER BY rowid",
    };
    sqlx::query_scalar(sql).fetch_all(&file.inner.readers).await.unwrap()
}

#[tokio::test]
async fn pages_hold_every_text_that_stays_while_others_come_and_go() {
    let home = Home::new();
    let file = home.open().await;
    for place in LocalPlace::ALL {
        for number in 0..10 {
            put(&file, place, &format!("user-{number}"), number).await;
        }
        let first = file.texts_after(place, i64::MIN, 4).await.unwrap();
        assert_eq!(first[0].owner, user("user-0"));
        assert_eq!(first[0].text, text(0));
        assert!(first.is_sorted_by_key(|text| text.id));
        // one that was met, the last one met and one to come go; another one comes
        for gone in ["user-1", "user-3", "user-5"] {
            file.forget(&user(gone), None).await.unwrap();
        }
        put(&file, place, "user-10", 10).await;
        let mut rest = Vec::new();
        let mut after = first[3].id;
        while let Some(next) = file.texts_after(place, after, 1).await.unwrap().pop() {
            after = next.id;
            rest.push(next.owner.to_string());
        }
        assert_eq!(rest, ["user-4", "user-6", "user-7", "user-8", "user-9", "user-10"], "{place:?}");
        for number in 0..=10 {
            file.forget(&user(&format!("user-{number}")), None).await.unwrap();
        }
        assert!(file.texts_after(place, i64::MIN, 4).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_swap_changes_the_text_and_nothing_else_and_leaves_a_newer_text_alone() {
    let home = Home::new();
    let file = home.open().await;
    for place in LocalPlace::ALL {
        for number in 0..4 {
            put(&file, place, &format!("user-{number}"), number).await;
        }
        let found = all(&file, place, 3).await;
        let rows = without_texts(&file, place).await;
        let mut swaps: Vec<Swap> = found.iter().map(|text| swap(text, 100 + text.id as u64)).collect();
        swaps[1].old = text(77); // it has changed meanwhile
        swaps[2].id += 1000; // it is gone
        assert_eq!(file.swap_texts(place, &swaps).await.unwrap(), 2);
        assert_eq!(file.swap_texts(place, &swaps).await.unwrap(), 0, "a second attempt");

        let after = all(&file, place, 500).await;
        for (at, (before, after)) in found.iter().zip(&after).enumerate() {
            let expected = if at == 1 || at == 2 { &before.text } else { &swaps[at].new };
            assert_eq!((&after.text, &after.owner, after.id), (expected, &before.owner, before.id));
        }
        assert_eq!(without_texts(&file, place).await, rows, "{place:?}");
    }
    assert_eq!(file.swap_texts(LocalPlace::Pending, &[]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_failure_in_the_middle_swaps_nothing() {
    let home = Home::new();
    let file = home.open().await;
    for number in 0..5 {
        put(&file, LocalPlace::Pending, &format!("user-{number}"), number).await;
    }
    execute(
        &file,
        "CREATE TRIGGER refuse BEFORE UPDATE ON pending WHEN old.user = 'user-3'
         BEGIN SELECT RAISE(ABORT, 'refused'); END",
    )
    .await;
    let found = all(&file, LocalPlace::Pending, 500).await;
    let swaps: Vec<Swap> = found.iter().map(|text| swap(text, 100)).collect();
    let error = file.swap_texts(LocalPlace::Pending, &swaps).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LocalStore);
    assert_eq!(all(&file, LocalPlace::Pending, 500).await, found);

    execute(&file, "DROP TRIGGER refuse").await;
    assert_eq!(file.swap_texts(LocalPlace::Pending, &swaps).await.unwrap(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_dropped_at_any_await_swap_all_or_nothing() {
    let home = Home::new();
    let file = home.open().await;
    for number in 0..6 {
        put(&file, LocalPlace::Kept, &format!("user-{number}"), number).await;
    }
    let mut outcomes = [0, 0];
    for round in 0..100 {
        let found = all(&file, LocalPlace::Kept, 500).await;
        let swaps: Vec<Swap> = found.iter().map(|text| swap(text, 1000 + round)).collect();
        {
            let mut swap = Box::pin(file.swap_texts(LocalPlace::Kept, &swaps));
            let end = Instant::now() + Duration::from_micros(round * 10);
            while (&mut swap).now_or_never().is_none() && Instant::now() < end {
                tokio::task::yield_now().await;
            }
        }
        file.put_canary(KeyId(1), b"x").await.expect("no connection was left in a transaction");
        let swapped = all(&file, LocalPlace::Kept, 500)
            .await
            .iter()
            .filter(|found| found.text == text(1000 + round))
            .count();
        assert!(swapped == 0 || swapped == 6, "round {round}: {swapped}");
        outcomes[usize::from(swapped == 6)] += 1;
    }
    assert!(outcomes[0] > 0, "no swap was dropped in time: {outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_handles_at_once_swap_every_text_once() {
    let home = Home::new();
    let handles = [home.open().await, home.open().await];
    for number in 0..50 {
        put(&handles[0], LocalPlace::Replica, &format!("user-{number}"), number).await;
    }
    let found = all(&handles[1], LocalPlace::Replica, 7).await;
    let tasks = (0..10).map(|task| {
        let file = handles[task % 2].clone();
        let swaps: Vec<Swap> = found.iter().map(|text| swap(text, 1000 * (1 + task as u64))).collect();
        tokio::spawn(async move { file.swap_texts(LocalPlace::Replica, &swaps).await.unwrap() })
    });
    let swapped: Vec<u64> = join_all(tasks).await.into_iter().map(|result| result.unwrap()).collect();
    assert_eq!(swapped.iter().sum::<u64>(), 50);
    assert_eq!(swapped.iter().max(), Some(&50), "one transaction each: {swapped:?}");
    let winner = 1 + swapped.iter().position(|swapped| *swapped == 50).unwrap() as u64;
    for file in &handles {
        assert!(
            all(file, LocalPlace::Replica, 500).await.iter().all(|found| found.text == text(1000 * winner))
        );
    }
}

fn count(place: &str, key: Option<u32>, tokens: u64) -> LocalCount {
    LocalCount { place: place.to_owned(), key: key.map(KeyId), tokens }
}

#[tokio::test]
async fn tokens_are_counted_by_place_and_key_also_where_the_walk_does_not_go() {
    let home = Home::new();
    let file = home.open().await;
    assert!(file.tokens_per_key().await.unwrap().is_empty());
    let of = |key: &str, pieces: usize| vec![format!("rv1.{key}.00ff.api_key.AA"); pieces].join(" ");
    let pending = |id: &str, text: String| LocalRecord { text, ..record(&user(id), 1) };
    file.put_pending(&pending("ann", of("0000000a", 4)), Basis::Remembered, None).await.unwrap();
    file.put_pending(&pending("bob", of("0000000b", 5) + "  " + &of("0000000a", 1)), Basis::Remembered, None)
        .await
        .unwrap();
    file.put_pending(&pending("cid", String::new()), Basis::Remembered, None).await.unwrap();
    file.put_replica(
        &user("ann"),
        &OwnerRows::default(),
        version(1),
        "rv2.0000000a.\u{0}\u{e9} junk rv1.0000000A.x",
        1,
    )
    .await
    .unwrap();
    for (kind, pieces) in [(KeptKind::Superseded, 1), (KeptKind::Replaced, 2), (KeptKind::DeadLetter, 3)] {
        file.keep(&user("ann"), kind, &of("0000000a", pieces), "why", 1).await.unwrap();
        file.keep(&user("bob"), kind, &of("0000000a", pieces), "why", 1).await.unwrap();
    }
    execute(
        &file,
        "CREATE TABLE \"odd \"\" name\" (a, Text);
         INSERT INTO \"odd \"\" name\" VALUES (1, 'rv1.0000000c.x rv1.0000000c.y'), (2, NULL), (3, 7),
            (4, CAST('rv1.0000000c.z' AS BLOB) || x'FF');
         CREATE TABLE forgotten (text TEXT, kind TEXT);
         INSERT INTO forgotten VALUES ('rv1.0000000c.x', 'lost'), ('rv1.0000000c.x', NULL), ('', 'empty');
         CREATE TABLE without_texts (kind TEXT, texts TEXT);
         INSERT INTO without_texts VALUES ('loser', 'rv1.0000000c.x');
         CREATE VIEW view_of_texts AS SELECT text FROM forgotten",
    )
    .await;
    let expected = [
        count("dead-letter", Some(0xa), 6),
        count("forgotten", Some(0xc), 1),
        count("loser", Some(0xa), 2),
        count("lost", Some(0xc), 1),
        count("odd \" name", None, 1),
        count("odd \" name", Some(0xc), 3),
        count("pending", Some(0xa), 5),
        count("pending", Some(0xb), 5),
        count("replaced", Some(0xa), 4),
        count("replica", None, 2),
        count("replica", Some(0xa), 1),
    ];
    assert_eq!(file.tokens_per_key().await.unwrap(), expected);
    execute(&file, "DROP TABLE forgotten").await;
    assert!(file.tokens_per_key().await.unwrap().iter().all(|count| count.place != "lost"));
}

#[tokio::test]
async fn every_table_with_texts_is_walked() {
    let home = Home::new();
    let file = home.open().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_schema AS t WHERE type = 'table'
         AND EXISTS (SELECT 1 FROM pragma_table_xinfo(t.name) WHERE name = 'text') ORDER BY name",
    )
    .fetch_all(&file.inner.readers)
    .await
    .unwrap();
    let mut walked = LocalPlace::ALL.map(LocalPlace::name);
    walked.sort();
    assert_eq!(tables, walked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_is_of_one_moment() {
    let home = Home::new();
    let file = home.open().await;
    put(&file, LocalPlace::Pending, "ann", 1).await;
    let mover = file.clone();
    // the text moves from place to place, and is never in two or none of them
    let moving = tokio::spawn(async move {
        for round in 0..50 {
            mover
                .set_pending_aside(&user("ann"), &text(1), KeptKind::DeadLetter, "moved", round, None)
                .await
                .unwrap();
            let back =
                "BEGIN IMMEDIATE; INSERT INTO pending (tenant, user, version, text, base, at) SELECT tenant, user, '00', text, 'none', at FROM kept;
                        DELETE FROM kept; COMMIT";
            sqlx::raw_sql(back).execute(&mover.inner.writer).await.unwrap();
        }
    });
    let mut looks = 0;
    while !moving.is_finished() {
        let counts = file.tokens_per_key().await.unwrap();
        assert_eq!(counts.iter().map(|count| count.tokens).sum::<u64>(), 1, "{counts:?}");
        looks += 1;
    }
    moving.await.unwrap();
    assert!(looks > 0);
}

fn holds(bytes: &[u8], text: &str) -> bool {
    // slices from its middle: what is left of it would not start with its first byte
    [200, 700, 1200].iter().any(|at| {
        let slice = &text.as_bytes()[*at..*at + 60];
        bytes.windows(60).any(|window| window == slice)
    })
}

#[tokio::test]
async fn a_swapped_text_is_gone_from_all_files() {
    let home = Home::new();
    let file = home.open().await;
    for place in LocalPlace::ALL {
        for number in 0..20 {
            put(&file, place, &format!("user-{number}"), number).await;
        }
    }
    assert!((0..20).all(|number| holds(&home.bytes(), &text(number))));
    for place in LocalPlace::ALL {
        let found = all(&file, place, 500).await;
        let swaps: Vec<Swap> = found.iter().map(|text| swap(text, 5000 + text.id as u64)).collect();
        assert_eq!(file.swap_texts(place, &swaps).await.unwrap(), 20);
    }
    let after = home.bytes();
    assert_eq!((0..20).filter(|number| holds(&after, &text(*number))).count(), 0);
    assert!(holds(&after, &text(5001)));
}
