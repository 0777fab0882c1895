//! Whether the journal that a killed process left is whole. Pure: bytes in, verdict out.
//!
//! It holds the pages as they were before an unfinished commit, and SQLite puts them back. At the first damaged page SQLite
//! stops silently and empties the journal: a mixture of old and new pages remains. <https://sqlite.org/fileformat2.html>,
//! section 3:
//!
//! ```text
//! header  magic[8] records[4] nonce[4] pages before[4] sector size[4] page size[4], as long as a sector
//! record  page number[4] page[page size] checksum[4]
//! ```
//!
//! A header has its first 12 bytes only when its records are durable, and no page that they hold is written
//! to the file before: what comes after 12 zero bytes undoes nothing, and may be torn. No checksum covers the
//! numbers of a header: what a wrong one does to the file, the check of the file notices afterwards.

const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
const UNSYNCED: usize = 12;

pub(super) fn is_damaged(journal: &[u8]) -> bool {
    let mut rest = journal;
    while rest.iter().take(UNSYNCED).any(|byte| *byte != 0) {
        match after_records(rest) {
            Some(next) => rest = next,
            None => return true,
        }
    }
    false
}

/// What follows a header and its records; `None` when any of them is damaged or missing.
fn after_records(journal: &[u8]) -> Option<&[u8]> {
    let [records, nonce, pages, sector, page] = [8, 12, 16, 20, 24].map(|at| number(journal, at));
    let (sector, page) = (size(sector?)?, size(page?)?);
    let record = page + 8;
    let end = sector.checked_add((records? as usize).checked_mul(record)?)?;
    let (nonce, pages) = (nonce?, pages?);
    let is_sound = |bytes: &[u8]| {
        number(bytes, 4 + page) == Some(checksum(&bytes[4..4 + page], nonce))
            && number(bytes, 0).is_some_and(|page| (1..=pages).contains(&page))
    };
    let is_whole =
        journal.starts_with(&MAGIC) && journal.get(sector..end)?.chunks_exact(record).all(is_sound);
    is_whole.then(|| journal.get(end.next_multiple_of(sector)..).unwrap_or_default())
}

/// SQLite adds up every 200th byte only: other bytes are no safer here than in the file itself.
fn checksum(page: &[u8], nonce: u32) -> u32 {
    let sampled = page.iter().rev().skip(199).step_by(200);
    sampled.fold(nonce, |sum, byte| sum.wrapping_add(u32::from(*byte)))
}

fn size(number: u32) -> Option<usize> {
    (number.is_power_of_two() && (32..=65_536).contains(&number)).then_some(number as usize)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
