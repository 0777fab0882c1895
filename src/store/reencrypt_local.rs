//! Re-encrypts the texts of the local file under the primary key, as a part of a key rotation.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::crypto::aead::Scope;
use crate::crypto::random;
use crate::crypto::sealer::reencrypt;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::RootKeys;
use crate::local::entries::{LocalPlace, LocalText, Swap};
use crate::local::file::LocalFile;
use crate::record::owner::Owner;
use crate::record::record::read_packed;
use crate::record::token::{KeyId, Token, claims_to_be_token, print_packed, start_under};
use crate::record::version::Version;
use crate::store::core::Core;

/// How many texts are read, and replaced in one transaction.
const PAGE: u32 = 500;
/// Texts may change during the walk. A process that writes all the time is not waited for.
const PASSES: u32 = 5;

/// The result of re-encrypting the local file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LocalReencrypted {
    /// Texts that were replaced.
    pub(crate) reencrypted: u64,
    /// Texts with tokens of other keys that could not be re-encrypted, by the reason.
    pub(crate) unreadable: Vec<(ErrorKind, u64)>,
}

/// Re-encrypts, under the primary key, every text of the local file with a token that is not under it. A text that does not
/// open stays as it is, and is reported to `unreadable` once.
///
/// A text that changes during the walk is left to the next pass.
///
/// # Errors
/// The errors of the local file, and `Entropy`. Texts that were already re-encrypted stay so; the rest is unchanged.
pub(crate) async fn reencrypt_local(
    core: &Core,
    local: &LocalFile,
    places: &[LocalPlace],
    unreadable: impl FnMut(&Owner, &'static str, &Error) + Send,
) -> Result<LocalReencrypted> {
    LocalReencryption {
        local,
        places,
        namespace: core.fields.namespace,
        keyring: core.keyring.for_sealing()?,
        unreadable,
        told: BTreeSet::new(),
        report: LocalReencrypted::default(),
    }
    .run()
    .await
}

/// One walk over the local file.
struct LocalReencryption<'a, F> {
    local: &'a LocalFile,
    places: &'a [LocalPlace],
    namespace: &'static str,
    keyring: Arc<RootKeys>,
    unreadable: F,
    /// What was reported to `unreadable`: every pass meets it again.
    told: BTreeSet<(LocalPlace, i64)>,
    report: LocalReencrypted,
}

impl<F: FnMut(&Owner, &'static str, &Error) + Send> LocalReencryption<'_, F> {
    async fn run(mut self) -> Result<LocalReencrypted> {
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

    /// Walks over a place once, and returns how many texts had to be replaced.
    async fn pass(&mut self, place: LocalPlace) -> Result<usize> {
        let mut found = 0;
        let mut after = i64::MIN;
        loop {
            let page = self.local.texts_after(place, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = last.id;
            let swaps = self.swaps(place, page)?;
            found += swaps.len();
            self.report.reencrypted += self.local.swap_texts(place, &swaps).await?;
        }
    }

    fn swaps(&mut self, place: LocalPlace, page: Vec<LocalText>) -> Result<Vec<Swap>> {
        let primary = self.keyring.primary().0;
        let mut swaps = Vec::new();
        for text in page.into_iter().filter(|text| names_another_key(&text.text, primary)) {
            let scope = Scope { namespace: self.namespace, owner: &text.owner };
            let (new, problem) = reencrypted(&text.text, scope, &self.keyring)?;
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

/// See [`reencrypt`].
fn reencrypt_under(
    tokens: &[Token],
    scope: Scope<'_>,
    keyring: &RootKeys,
    rng: &mut impl rand::CryptoRng,
) -> Result<Vec<Token>> {
    reencrypt(tokens, scope, keyring.primary(), |key| keyring.opener_for_reencryption(key), rng)
}

/// Whether a piece of the text claims to be a token and is not under this key, without decoding it.
fn names_another_key(text: &str, primary: KeyId) -> bool {
    let head = start_under(primary);
    text.split(' ').any(|piece| claims_to_be_token(piece) && !piece.starts_with(&head))
}

/// The text with every version that opens re-encrypted, if there is one, and the first error of the others. A text with a
/// piece that is not a token stays as it is: its parts must not end up under different keys.
///
/// # Errors
/// `Entropy`.
fn reencrypted(text: &str, scope: Scope<'_>, keyring: &RootKeys) -> Result<(Option<String>, Option<Error>)> {
    let mut tokens = match read_packed(text) {
        Ok(tokens) => tokens,
        Err(error) => return Ok((None, Some(error))),
    };
    let mut problem = None;
    let versions: BTreeSet<Version> = tokens.iter().map(|token| token.version).collect();
    for version in versions {
        let (places, group): (Vec<usize>, Vec<Token>) =
            tokens.iter().cloned().enumerate().filter(|(_, token)| token.version == version).unzip();
        match random::with_rng(|rng| reencrypt_under(&group, scope, keyring, rng))? {
            Ok(group) => places.into_iter().zip(group).for_each(|(at, token)| tokens[at] = token),
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    let new = print_packed(tokens.iter());
    Ok(((new != text).then_some(new), problem))
}

#[cfg(test)]
#[path = "reencrypt_local_tests.rs"]
mod tests;
