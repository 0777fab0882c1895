//! The texts of the local file under the primary key: its part of a key rotation.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::crypto::random;
use crate::crypto::reseal::reseal;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::Keyring;
use crate::local::file::LocalFile;
use crate::local::walk::{LocalPlace, LocalText, Swap};
use crate::record::owner::Owner;
use crate::record::record::{print_packed, read_packed};
use crate::record::token::{KeyId, Token, claims_to_be_token};
use crate::record::version::Version;
use crate::store::core::Router;

/// How many texts are read, and replaced in one transaction.
const PAGE: u32 = 500;
/// Texts change while they are walked over; who writes all the time is not waited for.
const PASSES: u32 = 5;

/// What resealing the local file did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LocalResealed {
    /// Texts that were replaced.
    pub(crate) resealed: u64,
    /// Texts with tokens of other keys that could not be resealed, by the reason.
    pub(crate) unreadable: Vec<(ErrorKind, u64)>,
}

impl Router {
    /// Seals anew, under the primary key, every text of the local file with a token that is not under
    /// it. What cannot be opened stays as it is, and `unreadable` is told of it, once.
    ///
    /// A text that somebody changes meanwhile is left to the next pass. The log of the file holds the
    /// old texts until [`LocalFile::checkpoint`].
    ///
    /// # Errors
    /// Of the local file, and `Entropy`. Texts that were resealed by then stay so; the rest is as it was.
    pub(crate) async fn reseal_local(
        &self,
        local: &LocalFile,
        places: &[LocalPlace],
        unreadable: impl FnMut(&Owner, &'static str, &Error) + Send,
    ) -> Result<LocalResealed> {
        Walk::new(local, places, self.keyring.for_sealing()?, unreadable).run().await
    }
}

/// One walk over the local file.
struct Walk<'a, F> {
    local: &'a LocalFile,
    places: &'a [LocalPlace],
    keyring: Arc<Keyring>,
    unreadable: F,
    /// What was told to `unreadable`: every pass meets it again.
    told: BTreeSet<(LocalPlace, i64)>,
    report: LocalResealed,
}

impl<'a, F: FnMut(&Owner, &'static str, &Error) + Send> Walk<'a, F> {
    fn new(local: &'a LocalFile, places: &'a [LocalPlace], keyring: Arc<Keyring>, unreadable: F) -> Self {
        Self { local, places, keyring, unreadable, told: BTreeSet::new(), report: LocalResealed::default() }
    }

    async fn run(mut self) -> Result<LocalResealed> {
        for _ in 0..PASSES {
            let mut found = 0;
            for place in self.places {
                found += self.pass(*place).await?;
            }
            if found == 0 {
                break;
            }
        }
        Ok(self.report)
    }

    /// Goes over a place once, and says how many texts were there to be replaced.
    async fn pass(&mut self, place: LocalPlace) -> Result<usize> {
        let mut found = 0;
        let mut after = i64::MIN;
        loop {
            let page = self.local.texts_after(place, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = last.id;
            let swaps = self.swaps(place, page)?;
            found += swaps.len();
            self.report.resealed += self.local.swap_texts(place, &swaps).await?;
        }
    }

    fn swaps(&mut self, place: LocalPlace, page: Vec<LocalText>) -> Result<Vec<Swap>> {
        let primary = self.keyring.primary().0;
        let mut swaps = Vec::new();
        for text in page.into_iter().filter(|text| names_another_key(&text.text, primary)) {
            let (new, problem) = resealed(&text, &self.keyring)?;
            if let Some(error) = problem {
                self.tell(place, &text, &error);
            }
            if let Some(new) = new {
                swaps.push(Swap { id: text.id, old: text.text, new });
            }
        }
        Ok(swaps)
    }

    fn tell(&mut self, place: LocalPlace, text: &LocalText, error: &Error) {
        if !self.told.insert((place, text.id)) {
            return;
        }
        let kind = error.kind();
        match self.report.unreadable.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.report.unreadable.push((kind, 1)),
        }
        (self.unreadable)(&text.owner, place.name(), error);
    }
}

/// Whether a piece of the text claims to be a token and is not under this key: told without decoding.
fn names_another_key(text: &str, primary: KeyId) -> bool {
    let head = format!("rv1.{primary}.");
    text.split(' ').any(|piece| claims_to_be_token(piece) && !piece.starts_with(&head))
}

/// The text with every version sealed anew that opens, if there is one, and the first thing that is
/// wrong with the others. A text with a piece that is no token is left as it is: whatever it belongs
/// to must not end up under another key than its rest.
///
/// # Errors
/// `Entropy`.
fn resealed(text: &LocalText, keyring: &Keyring) -> Result<(Option<String>, Option<Error>)> {
    let mut tokens = match read_packed(&text.text) {
        Ok(tokens) => tokens,
        Err(error) => return Ok((None, Some(error))),
    };
    let mut problem = None;
    let versions: BTreeSet<Version> = tokens.iter().map(|token| token.version).collect();
    for version in versions {
        let (places, group): (Vec<usize>, Vec<Token>) =
            tokens.iter().cloned().enumerate().filter(|(_, token)| token.version == version).unzip();
        match random::with_rng(|rng| reseal(&group, &text.owner, keyring, rng))? {
            Ok(group) => places.into_iter().zip(group).for_each(|(at, token)| tokens[at] = token),
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    let new = print_packed(tokens.iter());
    Ok(((new != text.text).then_some(new), problem))
}

#[cfg(test)]
#[path = "local_keys_tests.rs"]
mod tests;
