//! Random bytes for salts, nonces and keys, drawn fast and never twice.

use std::cell::RefCell;
use std::process;

use rand::rngs::{StdRng, SysRng};
use rand::{SeedableRng, TryRng};

use crate::error::{Error, ErrorKind, Result};

/// A generator is reseeded after this many uses, so that a leaked state reveals little.
const USES_PER_SEED: u32 = 1024;

struct Seeded {
    rng: StdRng,
    process: u32,
    uses: u32,
}

thread_local! {
    static GENERATOR: RefCell<Option<Seeded>> = const { RefCell::new(None) };
}

/// Runs `work` with this thread's cryptographic generator, which the operating system seeds.
///
/// A forked process gets its own seed: otherwise parent and child would draw the same nonces.
///
/// # Errors
/// `Entropy` when the operating system gives no seed; `work` did not run.
pub(crate) fn with_rng<T>(work: impl FnOnce(&mut StdRng) -> T) -> Result<T> {
    GENERATOR.with_borrow_mut(|slot| {
        let usable = |seeded: &Seeded| seeded.process == process::id() && seeded.uses < USES_PER_SEED;
        let seeded = match slot {
            Some(seeded) if usable(seeded) => seeded,
            _ => slot.insert(fresh()?),
        };
        seeded.uses += 1;
        Ok(work(&mut seeded.rng))
    })
}

fn fresh() -> Result<Seeded> {
    let rng = StdRng::try_from_rng(&mut SysRng).map_err(|_| Error::from(ErrorKind::Entropy))?;
    Ok(Seeded { rng, process: process::id(), uses: 0 })
}

/// Bytes straight from the operating system, for keys.
///
/// # Errors
/// `Entropy`.
pub(crate) fn fill_key(bytes: &mut [u8]) -> Result<()> {
    SysRng.try_fill_bytes(bytes).map_err(|_| Error::from(ErrorKind::Entropy))
}

/// As [`fill_key`], for bytes that are not a key.
pub(crate) fn system_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fill_key(&mut bytes)?;
    Ok(bytes)
}
