//! Whether the write-ahead log has lost commits. Pure: bytes in, verdict out.
//!
//! SQLite takes the frames up to the first one with a wrong checksum and ignores the rest without a
//! word, because a torn end is normal. A flipped byte in the middle therefore loses commits that were
//! acknowledged. <https://sqlite.org/fileformat2.html>, section 4:
//!
//! ```text
//! header  magic[4] format[4] page size[4] sequence[4] salt[8] checksum[8]
//! frame   page number[4] pages after commit, else 0[4] salt[8] checksum[8] page[page size]
//! ```

use crate::local::guard::Boot;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const MAGIC: u32 = 0x377f_0682;

/// What FILE-shm says about the log: the last commit that anybody could have seen.
/// <https://sqlite.org/walformat.html>, section 2
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Published {
    salt: [u8; 8],
    /// Frames in the log up to the last commit.
    frames: u32,
    /// How many of them are in the database file already.
    copied: u32,
}

impl Published {
    /// `None` when it is torn: both copies and the checksum must agree.
    pub(super) fn read(shm: &[u8]) -> Option<Self> {
        let (first, rest) = shm.split_at_checked(48)?;
        let (second, checkpoint) = rest.split_at_checked(48)?;
        let word = |at: usize| native(first, at);
        let sum = checksum(&first[..40], (0, 0), native);
        let sound = first == second && word(0)? == 3_007_000 && first[12] == 1;
        if !sound || sum != (word(40)?, word(44)?) {
            return None;
        }
        Some(Self { salt: first[32..40].try_into().ok()?, frames: word(16)?, copied: native(checkpoint, 0)? })
    }
}

/// What is wrong with a log, if anything is. `shm` is what FILE-shm holds.
///
/// - The machine has not been started again: the page cache has survived whatever happened to the
///   processes, and `shm` tells exactly how far the log was published.
/// - It was: `shm` tells nothing. Until one commit is durable the next one does not begin, so at most
///   one commit can be torn; a second one after the tear is a loss.
/// - It is not known: one commit frame at or after the first bad frame is too much.
pub(super) fn damage(wal: &[u8], shm: &[u8], boot: Boot) -> Option<&'static str> {
    let published = Published::read(shm).filter(|_| boot == Boot::Same);
    let Some(log) = Log::parse(wal) else {
        let lost = published.is_some_and(|published| published.frames > published.copied);
        let unreadable = wal.len() > HEADER && wal.iter().any(|byte| *byte != 0);
        return (lost || unreadable).then_some("the header of its log is damaged or missing");
    };
    let tolerated = match boot {
        Boot::Another => 1,
        Boot::Same | Boot::Unknown => 0,
    };
    let lost = match published {
        Some(published) if published.salt == log.salt => log.committed < published.frames as usize,
        // a log that was replaced: no new log is published before its header is written
        Some(published) if published.frames > 0 => true,
        _ => log.half_salted || log.commits_after > tolerated,
    };
    lost.then_some("its log is damaged before the last commit")
}

/// What a walk over the log finds.
struct Log {
    salt: [u8; 8],
    /// Frames up to the last commit that SQLite will find.
    committed: usize,
    /// Commit frames of this log, by their salt, that SQLite will not find.
    commits_after: usize,
    /// A frame with half of this log's salt: neither of this log nor of an earlier one, in which both
    /// halves differ.
    half_salted: bool,
}

type Sum = (u32, u32);
type Word = fn(&[u8], usize) -> Option<u32>;

impl Log {
    /// `None` when SQLite will not read it at all.
    fn parse(wal: &[u8]) -> Option<Self> {
        let (header, frames) = wal.split_at_checked(HEADER)?;
        let magic = big_endian(header, 0)?;
        let word: Word = match magic & 1 {
            1 => big_endian,
            _ => little_endian,
        };
        let page = big_endian(header, 8)?;
        let sum = checksum(&header[..24], (0, 0), word);
        let sound = magic & !1 == MAGIC && page.is_power_of_two() && (512..=65536).contains(&page);
        if !sound || sum != stored_sum(header, 24)? {
            return None;
        }
        let salt = header[16..24].try_into().ok()?;
        let mut log = Self { salt, committed: 0, commits_after: 0, half_salted: false };
        log.walk(frames.chunks_exact(FRAME_HEADER + page as usize), sum, word);
        Some(log)
    }

    fn walk<'a>(&mut self, frames: impl Iterator<Item = &'a [u8]>, sum: Sum, word: Word) {
        let mut sum = Some(sum);
        for (index, frame) in frames.enumerate() {
            sum = sum.and_then(|sum| self.next_sum(frame, sum, word));
            let commits = frame[4..8] != [0; 4];
            match sum {
                Some(_) if commits => self.committed = index + 1,
                Some(_) => {}
                None => self.count_unread(frame, commits),
            }
        }
    }

    /// The checksum after this frame, if the frame is valid.
    fn next_sum(&self, frame: &[u8], sum: Sum, word: Word) -> Option<Sum> {
        if frame[8..16] != self.salt || frame[..4] == [0; 4] {
            return None;
        }
        let sum = checksum(&frame[..8], sum, word);
        let sum = checksum(&frame[FRAME_HEADER..], sum, word);
        (sum == stored_sum(frame, 16)?).then_some(sum)
    }

    fn count_unread(&mut self, frame: &[u8], commits: bool) {
        match (frame[8..12] == self.salt[..4], frame[12..16] == self.salt[4..]) {
            (true, true) => self.commits_after += usize::from(commits),
            (false, false) => {} // of a log before this one: the rest was not written yet
            _ => self.half_salted = true,
        }
    }
}

/// `bytes` must be a multiple of eight long.
fn checksum(bytes: &[u8], (mut first, mut second): Sum, word: Word) -> Sum {
    for pair in bytes.chunks_exact(8) {
        first = first.wrapping_add(word(pair, 0).unwrap_or(0)).wrapping_add(second);
        second = second.wrapping_add(word(pair, 4).unwrap_or(0)).wrapping_add(first);
    }
    (first, second)
}

/// Checksums are stored most significant byte first, whatever they were computed over.
fn stored_sum(bytes: &[u8], at: usize) -> Option<Sum> {
    Some((big_endian(bytes, at)?, big_endian(bytes, at + 4)?))
}

fn big_endian(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn little_endian(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn native(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
