//! How fast a walk may go: a rate, and pauses while other clients are slowed down.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::statements::plan::Postgres;
use crate::record::owner::Owner;
use crate::rotation::options::RotateOptions;

/// How long a pause lasts before the next check.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

/// Shared by all jobs on one table.
pub(crate) struct Throttle {
    rate: Option<u32>,
    max_latency: Option<Duration>,
    max_replica_lag: Option<u64>,
    /// When the rows that were announced so far will have had their time.
    free_at: Mutex<Instant>,
}

impl Throttle {
    pub(crate) fn new(options: &RotateOptions) -> Self {
        Self {
            rate: options.rate,
            max_latency: options.max_latency,
            max_replica_lag: options.max_replica_lag,
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// Waits until the rows that were written have had their time.
    pub(crate) async fn pace(&self, rows: usize) {
        if let Some(over) = self.over(Instant::now(), rows) {
            tokio::time::sleep_until(over.into()).await;
        }
    }

    /// When the time of these rows is over, which begins when that of all before is.
    fn over(&self, now: Instant, rows: usize) -> Option<Instant> {
        let time = Duration::from_secs_f64(rows as f64 / f64::from(self.rate?));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(now) + time;
        Some(*free_at)
    }

    /// Why other clients are slowed down, if they are. `probe` is an owner to read for that.
    ///
    /// # Errors
    /// Those of the database, and `AccessDenied` if this role cannot see the lag of replicas.
    pub(super) async fn trouble(
        &self,
        postgres: &Postgres,
        probe: Option<&Owner>,
    ) -> Result<Option<String>, DatabaseError> {
        if let Some(limit) = self.max_replica_lag {
            let lag = postgres.replica_lag().await?;
            if lag > limit {
                let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
                return Ok(Some(format!("a replica is {} MiB behind, more than {}", mib(lag), mib(limit))));
            }
        }
        if let (Some(limit), Some(owner)) = (self.max_latency, probe) {
            let started = Instant::now();
            let plan = postgres.plan().await?;
            postgres.read(&plan, owner).await?;
            let took = started.elapsed();
            if took > limit {
                let (took, limit) = (took.as_millis(), limit.as_millis());
                return Ok(Some(format!("a read takes {took} ms, more than {limit}")));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_spread_over_the_time_that_the_rate_gives_them() {
        let throttle = Throttle::new(&RotateOptions::new().rate(100));
        let now = Instant::now();
        let half = Duration::from_millis(500);
        let over: Vec<_> = (0..4).filter_map(|_| throttle.over(now, 50)).collect();
        assert_eq!(over.len(), 4);
        assert!(over.windows(2).all(|pair| pair[1] - pair[0] == half));
        // unused time does not accumulate
        let later = over[3] + Duration::from_secs(60);
        assert_eq!(throttle.over(later, 50), Some(later + half));
        assert_eq!(Throttle::new(&RotateOptions::new()).over(now, 50), None);
    }
}
