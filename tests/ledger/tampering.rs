//! Ten kinds of tampering, each at many random places of one ledger, all below heads that lie outside of the database. What is
//! found without these heads is counted: that is what holds for entries that no head outside covers.
//!
//! `LEDGER_PLACES=1000 scripts/test --test ledger tampering:: -- --nocapture` runs a longer campaign;
//! `RETELL_VAULT_TEST_SEED` repeats the random choices of a run.

use std::collections::BTreeSet;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use retell_vault::ledger::{FolderSink, LedgerCopies, LedgerDifference, LedgerGap, LedgerVerification};
use retell_vault::{ErrorKind, Vault};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::copies::copies_of;
use crate::support::faults::connect;
use crate::support::vaults::*;
use crate::{RESTORE, Stage, variable};

/// How many processes write, and how often the database is saved between their writes.
const WRITERS: usize = 4;
const ROUNDS: usize = 5;
/// Of each writer in each round.
const OPERATIONS: usize = 12;
/// Owners that one writer at a time writes.
const GROUP: usize = 6;

const SAVED: &str = "CREATE SCHEMA saved; CREATE TABLE saved.records (round int, record user_profiles);
    CREATE TABLE saved.numbers (round int, writer uuid, seq bigint)";

/// Every column of an entry but its number.
const CONTENTS: &str =
    "epoch, settled, head, at_ms, op, place, usr, tenant, before, after, digest, outcome, actor, reason,
    request, host, release, detail, mac";

/// Edits of one column, each of which changes it.
const EDITS: [&str; 19] = [
    "epoch = epoch + 1",
    "settled = settled + 1",
    "head = set_byte(head, 31, 255 - get_byte(head, 31))",
    "at_ms = at_ms - 1",
    "op = op || 'd'",
    "place = concat(place, 'x')",
    "usr = concat(usr, 'x')",
    "tenant = concat(tenant, 'x')",
    "before = CASE WHEN before IS NULL THEN '018bcfe568000001' END",
    "after = CASE WHEN after IS NULL THEN '018bcfe568000001' END",
    "digest = CASE WHEN digest IS NULL THEN decode(repeat('00', 16), 'hex') END",
    "outcome = concat(outcome, 'x')",
    "actor = concat(actor, 'x')",
    "reason = concat(reason, 'x')",
    "request = concat(request, 'x')",
    "host = concat(host, 'x')",
    "release = concat(release, 'x')",
    "detail = concat(detail, 'x')",
    "mac = set_byte(mac, 0, 255 - get_byte(mac, 0))",
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Edit,
    Delete,
    Reorder,
    CutTail,
    Splice,
    Forge,
    RollBackRow,
    DeleteRow,
    RestoreAll,
    Replay,
}

const KINDS: [Kind; 10] = [
    Kind::Edit,
    Kind::Delete,
    Kind::Reorder,
    Kind::CutTail,
    Kind::Splice,
    Kind::Forge,
    Kind::RollBackRow,
    Kind::DeleteRow,
    Kind::RestoreAll,
    Kind::Replay,
];

/// A range of numbers of one writer.
type Numbers = (String, u64, u64);

/// The list that names a tampering, and exactly what is in it.
#[derive(Debug)]
enum Named {
    Altered(BTreeSet<Numbers>),
    Missing(BTreeSet<Numbers>),
    /// The writers whose heads show it, and how many entries are gone.
    LedgerWentBack(BTreeSet<String>, u64),
    WentBack(String),
    Vanished(String),
}

fn numbers(gaps: &[LedgerGap]) -> BTreeSet<Numbers> {
    gaps.iter().map(|gap| (gap.writer.clone(), gap.first, gap.last)).collect()
}

fn is_only(list: &[LedgerDifference], user: &str) -> bool {
    matches!(list, [one] if one.owner.user_id().as_str() == user)
}

impl Named {
    fn altered(writer: &str, numbers: impl IntoIterator<Item = u64>) -> Self {
        Self::Altered(numbers.into_iter().map(|seq| (writer.to_owned(), seq, seq)).collect())
    }

    fn is_in(&self, found: &LedgerVerification) -> bool {
        match self {
            Self::Altered(expected) => numbers(&found.altered) == *expected,
            Self::Missing(expected) => {
                let all: u64 = expected.iter().map(|(_, first, last)| last - first + 1).sum();
                numbers(&found.missing) == *expected && found.missing_entries == all
            }
            Self::LedgerWentBack(writers, gone) => {
                let back: BTreeSet<_> =
                    found.ledger_went_back.iter().map(|head| head.writer.clone()).collect();
                back == *writers && found.missing_entries == *gone
            }
            Self::WentBack(user) => is_only(&found.went_back, user),
            Self::Vanished(user) => is_only(&found.vanished, user),
        }
    }
}

/// Does the operations of one writer in one round. The group of owners is this writer's alone meanwhile.
async fn write(vault: Vault, group: usize, mut rng: StdRng) {
    for operation in 0..OPERATIONS {
        let owner = owner(&format!("group-{group}-user-{}", rng.random_range(0..GROUP)));
        let mark = rng.random::<u32>();
        let done = match rng.random_range(0..10) {
            // the first one certainly writes an entry
            _ if operation == 0 => vault.store(&owner, &full_config(mark)).await.map(drop),
            0 => vault.delete(&owner).await.map(drop),
            1 => {
                let change = vault.modify(&owner, |config| {
                    config.set_call_agent_id(None);
                    Ok(())
                });
                change.await.map(drop)
            }
            _ => vault.store(&owner, &full_config(mark)).await.map(drop),
        };
        match done {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other.unwrap(),
        }
    }
}

/// A ledger of some writers that ended, and all that is known of it.
struct Campaign {
    stage: Stage,
    connection: PgConnection,
    /// Each writer and its last number, in the order in which they began.
    writers: Vec<(String, u64)>,
    /// Rounds with an owner's earlier record.
    earlier: Vec<(i32, String)>,
    /// Owners with a record that is not deleted.
    present: Vec<String>,
}

impl Campaign {
    async fn new(rng: &mut StdRng) -> (Self, LedgerCopies) {
        let stage = Stage::new().await;
        let sink = tempfile::tempdir().unwrap();
        let folder = sink.path().join("sink");
        stage.vault.begin_ledger().await.unwrap();
        stage.vault.close().await;
        stage.db.exec(SAVED).await;
        let mut vaults = Vec::new();
        for host in 1..=WRITERS {
            let vault = stage.hosts.host(host, &stage.db.url).ledger_sink(FolderSink::new(&folder));
            let vault = vault.build().await.unwrap();
            vault.store(&owner(&format!("first-{host}")), &full_config(host)).await.unwrap();
            vaults.push(vault);
        }
        for round in 0..ROUNDS {
            let writes = vaults.iter().enumerate().map(|(writer, vault)| {
                let rng = StdRng::seed_from_u64(rng.random());
                tokio::spawn(write(vault.clone(), (writer + round) % WRITERS, rng))
            });
            for written in writes.collect::<Vec<_>>() {
                written.await.unwrap();
            }
            let save = format!(
                "INSERT INTO saved.records SELECT {round}, u FROM user_profiles AS u;
                INSERT INTO saved.numbers SELECT {round}, writer, seq FROM retell_vault.ledger"
            );
            stage.db.exec(&save).await;
        }
        for vault in vaults {
            vault.close().await;
        }
        stage.back_up().await;
        let mut connection = connect(&stage.db.url).await;
        let writers =
            "SELECT writer::text, max(seq) FROM retell_vault.ledger GROUP BY writer ORDER BY min(received)";
        let writers: Vec<(String, i64)> = sqlx::query_as(writers).fetch_all(&mut connection).await.unwrap();
        let writers =
            writers.into_iter().map(|(writer, last)| (writer, u64::try_from(last).unwrap())).collect();
        let earlier = "SELECT round, u.user_id FROM saved.records s JOIN user_profiles u ON u.user_id = (s.record).user_id
            WHERE (s.record).encrypted_retell_api_key IS DISTINCT FROM u.encrypted_retell_api_key ORDER BY 1, 2";
        let earlier = sqlx::query_as(earlier).fetch_all(&mut connection).await.unwrap();
        let present = "SELECT usr FROM (SELECT DISTINCT ON (usr) usr, op FROM retell_vault.ledger WHERE after IS NOT NULL
            ORDER BY usr, after DESC) AS states WHERE op <> 'delete' ORDER BY usr";
        let present = sqlx::query_scalar(present).fetch_all(&mut connection).await.unwrap();
        let heads = copies_of(&folder, "head-");
        (Self { stage, connection, writers, earlier, present }, heads)
    }

    async fn run(&mut self, sql: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await;
        done.unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
    }

    /// Some number of some writer.
    fn place(&self, rng: &mut StdRng) -> (String, u64, u64) {
        let (writer, last) = &self.writers[rng.random_range(0..self.writers.len())];
        (writer.clone(), rng.random_range(1..=*last), *last)
    }

    /// Two numbers of one writer, the smaller first.
    fn pair(&self, rng: &mut StdRng) -> (String, u64, u64) {
        let (writer, one, last) = self.place(rng);
        let other = (one + rng.random_range(1..last) - 1) % last + 1;
        (writer, one.min(other), one.max(other))
    }

    /// Whether what is left certainly shows it: a MAC covers the number of its entry, the ledger names each record, and the last
    /// entry of a writer says that every number before it was written.
    fn is_shown_without_heads(&self, kind: Kind, named: &Named) -> bool {
        match (kind, named) {
            (Kind::CutTail | Kind::RestoreAll, _) => false,
            (_, Named::Missing(gone)) => !self
                .writers
                .iter()
                .any(|(writer, last)| gone.iter().any(|(of, _, end)| of == writer && end == last)),
            _ => true,
        }
    }

    /// Does it at a random place. Returns the SQL, and what must be found.
    async fn tamper(&mut self, kind: Kind, rng: &mut StdRng) -> (String, Named) {
        let ledger = "retell_vault.ledger";
        let copied = |from: (&str, u64), to: (&str, u64)| {
            format!(
                "INSERT INTO {ledger} (writer, seq, {CONTENTS}) SELECT '{}', {}, {CONTENTS} FROM {ledger} WHERE writer = '{}' AND seq = {}",
                to.0, to.1, from.0, from.1
            )
        };
        let deleted = |writer: &str, seq: u64| {
            format!("DELETE FROM {ledger} WHERE writer = '{writer}' AND seq = {seq}")
        };
        let (sql, named) = match kind {
            Kind::Edit => {
                let (writer, seq, _) = self.place(rng);
                let edit = EDITS[rng.random_range(0..EDITS.len())];
                let sql = format!("UPDATE {ledger} SET {edit} WHERE writer = '{writer}' AND seq = {seq}");
                (sql, Named::altered(&writer, [seq]))
            }
            Kind::Delete => {
                let (writer, seq, _) = self.place(rng);
                (deleted(&writer, seq), Named::Missing(BTreeSet::from([(writer, seq, seq)])))
            }
            Kind::Reorder => {
                let (writer, one, other) = self.pair(rng);
                let renumber = |from, to| {
                    format!("UPDATE {ledger} SET seq = {to} WHERE writer = '{writer}' AND seq = {from}")
                };
                let aside = 1_000_000;
                let sql = [renumber(one, aside), renumber(other, one), renumber(aside, other)].join(";\n");
                (sql, Named::altered(&writer, [one, other]))
            }
            Kind::CutTail => {
                let (writer, first, last) = self.place(rng);
                let sql = format!("DELETE FROM {ledger} WHERE writer = '{writer}' AND seq >= {first}");
                (sql, Named::Missing(BTreeSet::from([(writer, first, last)])))
            }
            Kind::Splice => {
                let (writer, seq, last) = self.place(rng);
                let (other, from) = loop {
                    let (other, from, _) = self.place(rng);
                    if other != writer {
                        break (other, from);
                    }
                };
                // in place of an entry, or after the last one
                let to = if rng.random() { seq } else { last + 1 };
                let sql = format!("{};\n{}", deleted(&writer, to), copied((&other, from), (&writer, to)));
                (sql, Named::altered(&writer, [to]))
            }
            Kind::Forge => {
                let (writer, from, last) = self.place(rng);
                let mac: [u8; 32] = rng.random();
                let mac: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
                let to = if rng.random() { from } else { last + 1 };
                let add =
                    if to == from { String::new() } else { copied((&writer, from), (&writer, to)) + ";\n" };
                let sql = format!(
                    "{add}UPDATE {ledger} SET actor = 'mallory', mac = decode('{mac}', 'hex') WHERE writer = '{writer}' AND seq = {to}"
                );
                (sql, Named::altered(&writer, [to]))
            }
            Kind::RollBackRow => {
                let (round, user) = self.earlier[rng.random_range(0..self.earlier.len())].clone();
                let sql = format!(
                    "DELETE FROM user_profiles WHERE user_id = '{user}';
                    INSERT INTO user_profiles SELECT (record).* FROM saved.records WHERE round = {round} AND (record).user_id = '{user}'"
                );
                (sql, Named::WentBack(user))
            }
            Kind::DeleteRow => {
                let user = self.present[rng.random_range(0..self.present.len())].clone();
                // unnoticed by the trigger of the table
                let sql = format!(
                    "SET LOCAL session_replication_role = replica; DELETE FROM user_profiles WHERE user_id = '{user}'"
                );
                (sql, Named::Vanished(user))
            }
            Kind::RestoreAll => {
                let round = rng.random_range(0..ROUNDS);
                let kept =
                    "SELECT writer::text, count(*) FROM saved.numbers WHERE round = $1 GROUP BY writer";
                let kept: Vec<(String, i64)> = sqlx::query_as(kept)
                    .bind(i32::try_from(round).unwrap())
                    .fetch_all(&mut self.connection)
                    .await
                    .unwrap();
                let kept: u64 = kept.into_iter().map(|(_, count)| u64::try_from(count).unwrap()).sum();
                let all: u64 = self.writers.iter().map(|(_, last)| last).sum();
                let sql = format!(
                    "DELETE FROM {ledger} l WHERE NOT EXISTS
                        (SELECT FROM saved.numbers n WHERE round = {round} AND n.writer = l.writer AND n.seq = l.seq);
                    DELETE FROM user_profiles;
                    INSERT INTO user_profiles SELECT (record).* FROM saved.records WHERE round = {round}"
                );
                // every writer at least closed after it
                let back = self.writers.iter().map(|(writer, _)| writer.clone()).collect();
                (sql, Named::LedgerWentBack(back, all - kept))
            }
            Kind::Replay => {
                let (writer, earlier, later) = self.pair(rng);
                let last = self.writers.iter().find(|(id, _)| *id == writer).unwrap().1;
                let to = if rng.random() { later } else { last + 1 };
                let sql = format!("{};\n{}", deleted(&writer, to), copied((&writer, earlier), (&writer, to)));
                (sql, Named::altered(&writer, [to]))
            }
        };
        self.run(&format!("BEGIN; {sql}; COMMIT")).await;
        (sql, named)
    }
}

/// Each tampering is found, and named exactly by the list that it belongs to.
#[tokio::test]
async fn every_tampering_below_a_head_outside_is_found() {
    let places: u32 = variable("LEDGER_PLACES").unwrap_or(5);
    let seed = variable("RETELL_VAULT_TEST_SEED").unwrap_or_else(rand::random::<u64>);
    println!("RETELL_VAULT_TEST_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut campaign, heads) = Campaign::new(&mut rng).await;
    let auditor = campaign.stage.hosts.host(9, &campaign.stage.db.url).build().await.unwrap();
    let clean = auditor.verify_ledger(&heads).await.unwrap();
    assert!(clean.is_unbroken() && clean.open.is_empty(), "{clean:?}");
    assert_eq!((clean.writers, clean.anchors), (WRITERS as u64, WRITERS as u64), "{clean:?}");
    println!("{} entries of {} writers about {} owners", clean.entries, clean.writers, clean.owners);
    for kind in KINDS {
        let (started, mut missed, mut alone) = (Instant::now(), Vec::new(), 0);
        for _ in 0..places {
            let (sql, named) = campaign.tamper(kind, &mut rng).await;
            let found = auditor.verify_ledger(&heads).await.unwrap();
            if found.is_unbroken() || !named.is_in(&found) {
                missed.push(format!("{sql}\nexpected {named:?}\nfound {found:?}"));
            }
            let found = auditor.verify_ledger(&LedgerCopies::new()).await.unwrap();
            let is_shown = campaign.is_shown_without_heads(kind, &named);
            assert!(!found.is_unbroken() || !is_shown, "without heads: {sql}\n{found:?}");
            alone += u32::from(!found.is_unbroken());
            campaign.run(RESTORE).await;
        }
        let found = places as usize - missed.len();
        println!("{kind:?}: {found} of {places} found, {alone} without heads, {:?}", started.elapsed());
        assert!(missed.is_empty(), "{kind:?}, {} missed, the first: {}", missed.len(), missed[0]);
    }
    // so every list above was that of one tampering
    let again = auditor.verify_ledger(&heads).await.unwrap();
    assert!(again.is_unbroken() && again.entries == clean.entries, "{again:?}");
}
