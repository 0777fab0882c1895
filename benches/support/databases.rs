//! Two databases, for a large table and a small one.

use crate::fixture::{Cluster, TestDb};

const OPTIONS: [&str; 8] =
    ["-c", "fsync=off", "-c", "autovacuum=off", "-c", "max_wal_size=8GB", "-c", "shared_buffers=512MB"];

/// On the server that `RETELL_VAULT_TEST_PG` names, else each on a server of its own. They go when this is dropped.
pub enum Databases {
    Shared(TestDb, TestDb),
    Own(Cluster, Cluster),
}

impl Databases {
    pub async fn make() -> Self {
        match std::env::var_os("RETELL_VAULT_TEST_PG") {
            Some(_) => Self::Shared(TestDb::create().await, TestDb::create().await),
            None => Self::Own(Cluster::start(&OPTIONS).await, Cluster::start(&OPTIONS).await),
        }
    }

    pub fn urls(&self) -> [String; 2] {
        match self {
            Self::Shared(large, small) => [large.url.clone(), small.url.clone()],
            Self::Own(large, small) => [large.url().to_owned(), small.url().to_owned()],
        }
    }
}
