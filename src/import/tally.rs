//! Whether anything of a source opens: if not, the password or key must be wrong.

use crate::import::sources::ExaminedText;
use crate::layout::old_source::OldSource;

/// After so many rows, a source of which nothing opened is given up.
const FIRST: u64 = 100;

/// How many rows of each source were opened, and whether any of them opened.
pub(super) struct SourceTally {
    rows: u64,
    opened: bool,
    corrupt: bool,
}

impl SourceTally {
    pub(super) fn of_all(sources: &[OldSource]) -> Vec<Self> {
        sources.iter().map(|_| Self { rows: 0, opened: false, corrupt: false }).collect()
    }

    pub(super) fn note(&mut self, examined: &ExaminedText) {
        let has = |results: &[&str]| examined.found.iter().any(|found| results.contains(&found.result));
        self.rows += 1;
        self.opened |= has(&["opened", "beyond_limits"]);
        self.corrupt |= has(&["corrupt"]);
    }

    /// Whether the first values are damaged, or no key fits, and none opened.
    pub(super) fn opens_nothing(&self) -> bool {
        self.rows >= FIRST && self.corrupt && !self.opened
    }
}
