//! Whether the index covers every record, as the database said a moment ago.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::error::Result;

/// How long the answer "complete" is used. Without it every look-up that finds nobody would ask again. Any other answer is
/// used only by calls that were waiting for it, because a build may have ended meanwhile.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What the database last said, and when it was asked. One call asks at a time: the question may read many rows that have no
/// record, and many look-ups may find nobody at once.
#[derive(Default)]
pub(crate) struct IndexCheck(Mutex<Option<(Instant, bool)>>);

impl IndexCheck {
    pub(crate) async fn is_complete(&self, ask: impl Future<Output = Result<bool>>) -> Result<bool> {
        let called = Instant::now();
        let mut last = self.0.lock().await;
        if let Some((asked, is_complete)) = *last
            && (asked >= called || is_complete && called.saturating_duration_since(asked) < ASK_EVERY)
        {
            return Ok(is_complete);
        }
        let asked = Instant::now();
        let is_complete = ask.await?;
        *last = Some((asked, is_complete));
        Ok(is_complete)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn a_bad_answer_serves_those_who_waited_and_a_good_one_everybody_for_a_moment() {
        let (check, times) = (IndexCheck::default(), AtomicU32::new(0));
        let ask = async |answer: bool| {
            let asked = async {
                times.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(answer)
            };
            check.is_complete(asked).await.unwrap()
        };
        // the first asks; the others came before its answer, but after it had asked, so one of them asks for all
        let answers = join_all((0..50).map(|_| ask(false))).await;
        assert!(answers.iter().all(|answer| !answer));
        assert!(times.load(Ordering::Relaxed) <= 2, "{times:?}");
        assert!(ask(true).await, "a bad answer is not kept");
        let asked = times.load(Ordering::Relaxed);
        assert!(ask(false).await && ask(false).await, "a good answer is used for a moment");
        assert_eq!(times.load(Ordering::Relaxed), asked);
    }
}
