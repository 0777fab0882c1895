//! What a sequence is made of: every public operation, and everything that happens to servers, processes, files and rows.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub const OWNERS: usize = 4;

#[derive(Clone, Copy, Debug)]
pub enum Expect {
    Absent,
    /// The version that the row is known to hold.
    Current,
    /// Some version that the owner had.
    Earlier,
}

/// `h` is a host, `o` an owner.
#[derive(Clone, Debug)]
pub enum Operation {
    Store {
        h: usize,
        o: usize,
    },
    StoreExpecting {
        h: usize,
        o: usize,
        what: Expect,
    },
    /// In a transaction of the service, which commits or rolls back.
    StoreIn {
        h: usize,
        o: usize,
        commits: bool,
    },
    StoreMany {
        h: usize,
    },
    Modify {
        h: usize,
        o: usize,
    },
    Delete {
        h: usize,
        o: usize,
    },
    Load {
        h: usize,
        o: usize,
    },
    LoadMany {
        h: usize,
    },
    List {
        h: usize,
    },
    Sync {
        h: usize,
    },
    Forget {
        h: usize,
        o: usize,
    },
    Kept {
        h: usize,
    },
    /// Of one owner, or of all.
    RetryDeadLetters {
        h: usize,
        o: Option<usize>,
    },
    RenameOwner {
        h: usize,
        from: usize,
        to: usize,
    },
    Status {
        h: usize,
    },
    CountTokens {
        h: usize,
        deep: bool,
    },
    Rotate {
        h: usize,
    },
    NewKey,
    DestroyOldKeys {
        h: usize,
    },
    ApplySchema {
        h: usize,
    },
    RollBackSchema {
        h: usize,
    },
    VerifySchema {
        h: usize,
    },
    Promote {
        h: usize,
    },
    Redetect {
        h: usize,
    },
    Doctor {
        h: usize,
    },
    /// Two hosts store for one owner at the same time.
    Together {
        o: usize,
    },
    RenameColumn,
    RenameColumnBack,
    Outage {
        h: usize,
    },
    OutageEnds {
        h: usize,
    },
    /// The answer to the next statement gets lost, and its connection.
    Cut {
        h: usize,
    },
    Restart {
        h: usize,
    },
    Clock {
        h: usize,
        minutes: i64,
    },
    SaveFile {
        h: usize,
    },
    RestoreFile {
        h: usize,
    },
    SaveTable,
    RestoreTable,
    RemoveRow {
        o: usize,
    },
    MakeRow {
        o: usize,
    },
    /// A process of the host does one operation, and is killed on the way.
    KillProcess {
        h: usize,
        o: usize,
        delete: bool,
        micros: u64,
    },
    /// All hosts store, and the server is killed meanwhile.
    KillServer {
        micros: u64,
    },
}

/// What happens besides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Besides {
    Nothing,
    KilledProcesses,
    KilledServer,
    /// A column has another name for a while. What it held is hidden then, so less can be said of every answer.
    RenamedColumns,
}

/// How a sequence begins.
#[derive(Clone, Debug)]
pub struct Start {
    pub table: usize,
    pub hosts: Vec<HostStart>,
}

#[derive(Clone, Debug)]
pub struct HostStart {
    pub offline_reads: bool,
    pub refuses: bool,
    pub transactions: bool,
    pub minutes: i64,
}

pub fn sequence(seed: u64, besides: Besides, tables: usize) -> (Start, Vec<Operation>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let host = |rng: &mut StdRng| HostStart {
        offline_reads: rng.random_bool(0.4),
        refuses: rng.random_bool(0.1),
        transactions: rng.random_bool(0.25),
        minutes: rng.random_range(-60..=60),
    };
    let count = rng.random_range(2..=3);
    let hosts: Vec<_> = (0..count).map(|_| host(&mut rng)).collect();
    let start = Start { table: rng.random_range(0..tables), hosts };
    let length = rng.random_range(20..=40);
    let operations = (0..length).map(|_| operation(&mut rng, count, besides)).collect();
    (start, operations)
}

fn operation(rng: &mut StdRng, hosts: usize, besides: Besides) -> Operation {
    use Operation::*;
    let (h, o) = (rng.random_range(0..hosts), rng.random_range(0..OWNERS));
    let kill = rng.random_range(0..100);
    match besides {
        Besides::KilledProcesses if kill < 8 => {
            let (delete, micros) = (rng.random_bool(0.2), rng.random_range(0..25_000));
            return KillProcess { h, o, delete, micros };
        }
        Besides::KilledServer if kill < 8 => return KillServer { micros: rng.random_range(0..40_000) },
        _ => {}
    }
    match rng.random_range(0..1000) {
        0..180 => Store { h, o },
        180..220 => StoreIn { h, o, commits: rng.random_bool(0.6) },
        220..270 => {
            let what = [Expect::Absent, Expect::Current, Expect::Earlier][rng.random_range(0..3)];
            StoreExpecting { h, o, what }
        }
        270..300 => StoreMany { h },
        300..350 => Modify { h, o },
        350..410 => Delete { h, o },
        410..540 => Load { h, o },
        540..570 => LoadMany { h },
        570..590 => List { h },
        590..670 => Sync { h },
        670..680 => Forget { h, o },
        680..695 => Kept { h },
        695..705 => Status { h },
        705..712 => CountTokens { h, deep: rng.random_bool(0.3) },
        712..716 => Rotate { h },
        716..724 => NewKey,
        724..727 => DestroyOldKeys { h },
        727..735 => ApplySchema { h },
        735..740 => RollBackSchema { h },
        740..743 => VerifySchema { h },
        743..750 => Promote { h },
        750..755 => Redetect { h },
        755..757 => Doctor { h },
        757..780 => Together { o },
        780..788 if besides == Besides::RenamedColumns => RenameColumn,
        788..800 if besides == Besides::RenamedColumns => RenameColumnBack,
        780..792 => RenameOwner { h, from: o, to: (o + rng.random_range(1..OWNERS)) % OWNERS },
        792..800 => RetryDeadLetters { h, o: rng.random_bool(0.5).then_some(o) },
        800..835 => Outage { h },
        835..880 => OutageEnds { h },
        880..895 => Cut { h },
        895..910 => Restart { h },
        910..920 => Clock { h, minutes: rng.random_range(-30..=30) },
        920..930 => SaveFile { h },
        930..942 => RestoreFile { h },
        942..950 => SaveTable,
        950..958 => RestoreTable,
        958..980 => RemoveRow { o },
        _ => MakeRow { o },
    }
}
