//! Imports one page of owners: opens, stores, reads back, clears.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::import::candidate::{Announce, ImportCandidate, ImportRun, PageResult};
use crate::import::decide::{Decision, Offer, ThereRecord, combine, decide};
use crate::import::mark::ImportMark;
use crate::import::owner_pages::{OldOwner, OwnerPage, read_texts};
use crate::import::sources::{ExaminedText, FoundField, owner_of};
use crate::postgres::walk::old_values::{OldTable, OldText};
use crate::record::credentials::Credentials;
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::values::Values;
use crate::store::core::{ImportedRecord, LoadedRecord, StoreRequest};
use crate::store::imported::{fill_rows, peek_many, stops_import, store_open};
use crate::store::load::load;
use crate::store::options::{Expected, StoreOptions};

const CHANGED: &str = "the old value was changed while it was imported; run the import again";

/// How the owners of a page are judged. In a later round only those are, to which another writer was faster.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ImportRound {
    /// As if there were no records. Rows that hold one stay as they are, and their owners are judged in the first round.
    Guessed,
    First,
    Later,
    Last,
}

impl ImportRound {
    fn and_next(self) -> impl Iterator<Item = Self> {
        let all = [Self::Guessed, Self::First, Self::Later, Self::Later, Self::Last];
        all.into_iter().skip_while(move |round| *round != self)
    }
}

impl<C: Credentials> ImportRun<C> {
    pub(super) async fn page(
        self: &Arc<Self>,
        owners: OwnerPage,
        announce: &impl Announce,
    ) -> Result<PageResult> {
        let mut page = PageResult::default();
        page.progress.visited = owners.rows;
        let run = self.clone();
        // deriving a key takes a while
        let examined = tokio::task::spawn_blocking(move || run.examine(owners.owners)).await;
        let examined =
            examined.map_err(|_| Error::new(ErrorKind::Busy, "the program is shutting down"))??;
        let mut candidates = Vec::with_capacity(examined.len());
        for (owner, texts) in examined {
            self.note_found(&texts, &mut page);
            candidates.extend(self.candidate(&owner, texts, &mut page));
        }
        self.store(&mut candidates, announce, &mut page).await?;
        self.read_back(&mut candidates, &mut page).await?;
        if self.options.clear_source {
            self.clear(&candidates, announce, &mut page).await?;
        }
        for candidate in candidates {
            page.found.extend(candidate.offer.disagreed);
        }
        Ok(page)
    }

    /// # Errors
    /// `Unsealable` if nothing of the first values of a source opens. Nothing of this page was stored then.
    fn examine(&self, owners: Vec<OldOwner>) -> Result<Vec<(OldOwner, Vec<ExaminedText>)>> {
        let mut examined = Vec::with_capacity(owners.len());
        for mut owner in owners {
            let texts = std::mem::take(&mut owner.texts).into_iter();
            let texts: Vec<_> = texts.map(|text| self.sources.examine(text)).collect();
            let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            for text in &texts {
                let source = text.text.source;
                tally[source].note(text);
                if tally[source].opens_nothing() {
                    let place = self.sources.all()[source].place();
                    let message = format!("source {place}: none of the first values opens");
                    return Err(Error::new(ErrorKind::Unsealable, message).with_hint(
                        "give the password or key with --secret; if these values are lost, remove the source from the layout",
                    ));
                }
            }
            examined.push((owner, texts));
        }
        Ok(examined)
    }

    fn note_found(&self, texts: &[ExaminedText], page: &mut PageResult) {
        for text in texts {
            page.found.extend(text.found.iter().filter(|found| found.result != "opened").cloned());
            page.exposed.extend(text.exposed().cloned());
        }
    }

    fn candidate(
        &self,
        old: &OldOwner,
        texts: Vec<ExaminedText>,
        page: &mut PageResult,
    ) -> Option<ImportCandidate> {
        if texts.iter().all(|text| text.fields.is_empty()) {
            return None;
        }
        let made = self.owner(old).and_then(|owner| Ok((owner, combine::<C>(&texts, &self.sources.layout)?)));
        match made {
            Ok((owner, offer)) => {
                let import = self.imported(&texts, &offer);
                Some(ImportCandidate { owner, texts, offer, record: None, stored: false, head: None, import })
            }
            Err(error) => {
                page.found.extend(not_stored(&texts, &error));
                None
            }
        }
    }

    fn owner(&self, old: &OldOwner) -> Result<Owner> {
        let owner = owner_of(&old.user, old.tenant.as_deref())?;
        if let Some(postgres) = &self.core.postgres {
            postgres.check_owner(&owner)?;
        }
        Ok(owner)
    }

    fn imported(&self, texts: &[ExaminedText], offer: &Offer) -> ImportedRecord {
        let own = texts.iter().filter(|text| {
            self.own.contains(&text.text.source)
                && text.is_whole()
                && !text.has_others
                && !is_contradicted(text, offer, texts)
        });
        let over =
            own.map(|text| (self.sources.all()[text.text.source].column.clone(), text.text.content.clone()));
        ImportedRecord { at: offer.time(texts), over: over.collect() }
    }

    /// Stores what is to be stored. An owner whose record another writer changed meanwhile is judged again.
    async fn store(
        &self,
        candidates: &mut [ImportCandidate],
        announce: &impl Announce,
        page: &mut PageResult,
    ) -> Result<()> {
        let mut open: Vec<usize> = (0..candidates.len()).collect();
        let is_guessed = self.rows_are_empty.load(Ordering::Relaxed) && !self.options.dry_run;
        let first = if is_guessed { ImportRound::Guessed } else { ImportRound::First };
        for round in first.and_next() {
            let states = self.states(candidates, &open, round).await?;
            let mut wanted: Vec<(usize, Values, StoreOptions)> = Vec::new();
            for (at, state) in open.drain(..).zip(states) {
                let candidate = &mut candidates[at];
                let ImportCandidate { offer, texts, .. } = candidate;
                let decided = match state {
                    Err(error) if stops_import(&error) => return Err(error),
                    state => state.and_then(|state| {
                        let decision = decide::<C>(offer, texts, &state, &self.sources.layout)?;
                        if let Decision::Store(values, _) = &decision {
                            self.core.check(values, &[])?;
                        }
                        Ok(decision)
                    }),
                };
                match decided {
                    Ok(Decision::Already) => {
                        page.progress.already += 1;
                        candidate.record = Some(candidate.offer.values.clone());
                    }
                    Ok(Decision::Store(values, version)) => {
                        let expected = version.map_or(Expected::Absent, Expected::Version);
                        wanted.push((at, values, StoreOptions::new().expect(expected)));
                    }
                    Err(error) => page.found.extend(not_stored(&candidate.texts, &error)),
                }
            }
            if self.options.dry_run {
                page.progress.sealed += wanted.len() as u64;
                return Ok(());
            }
            let wanted = self.still_there(candidates, wanted, page).await?;
            self.announce_own(candidates, &wanted, announce).await?;
            open = self.store_wanted(candidates, wanted, page, round).await?;
            if open.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Of what replaces a record, what the sources still hold. The old values were read before the record was, so another import
    /// may have stored it from later ones, and cleared them. They are read again now, after the record.
    async fn still_there(
        &self,
        candidates: &[ImportCandidate],
        wanted: Vec<(usize, Values, StoreOptions)>,
        page: &mut PageResult,
    ) -> Result<Vec<(usize, Values, StoreOptions)>> {
        let replaces = |options: &StoreOptions| matches!(options.expected, Some(Expected::Version(_)));
        let replacing = wanted.iter().filter(|(.., options)| replaces(options));
        let mut users: Vec<&str> = replacing
            .flat_map(|(at, ..)| candidates[*at].texts.iter().map(|text| text.text.user.as_str()))
            .collect();
        users.dedup();
        let Some(postgres) = self.core.postgres.as_ref().filter(|_| !users.is_empty()) else {
            return Ok(wanted);
        };
        let tables: Vec<&OldTable> = self.tables.iter().collect();
        let now = read_texts(&postgres.database, (self.sources.all(), &tables), &users).await?;
        let (kept, changed): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .partition(|(at, _, options)| !replaces(options) || are_same(&candidates[*at].texts, &now));
        for (at, ..) in changed {
            let error = Error::new(ErrorKind::Conflict, CHANGED);
            page.found.extend(not_stored(&candidates[at].texts, &error));
        }
        Ok(kept)
    }

    /// Replacing a text in its own column is clearing it.
    async fn announce_own(
        &self,
        candidates: &[ImportCandidate],
        wanted: &[(usize, Values, StoreOptions)],
        announce: &impl Announce,
    ) -> Result<()> {
        let own = wanted.iter().filter(|(at, ..)| !candidates[*at].import.over.is_empty());
        let own = own.flat_map(|(at, ..)| &candidates[*at].texts);
        let own = own.filter(|text| self.own.contains(&text.text.source));
        let lines: Vec<FoundField> = own.flat_map(|text| text.found.clone()).collect();
        if lines.is_empty() { Ok(()) } else { announce.clearing(lines).await }
    }

    /// Returns the owners that must be judged again.
    async fn store_wanted(
        &self,
        candidates: &mut [ImportCandidate],
        wanted: Vec<(usize, Values, StoreOptions)>,
        page: &mut PageResult,
        round: ImportRound,
    ) -> Result<Vec<usize>> {
        let mut marked = Vec::with_capacity(wanted.len());
        for (at, values, options) in wanted {
            let mut with_mark = values.clone();
            let mark = ImportMark::of(&candidates[at].texts, &self.sources.layout)?;
            with_mark.put_text(Field::IMPORTED_FROM, Some(&mark.print()));
            marked.push((at, values, with_mark, options));
        }
        let requests: Vec<StoreRequest<'_>> = marked
            .iter()
            .map(|(at, _, values, options)| {
                let candidate = &candidates[*at];
                StoreRequest {
                    import: Some(&candidate.import),
                    ..StoreRequest::new(&candidate.owner, values, *options)
                }
            })
            .collect();
        let mut results = fill_rows(&self.core, &requests).await?;
        if matches!(round, ImportRound::Guessed | ImportRound::First) {
            let were_empty = !results.is_empty() && results.iter().all(Option::is_some);
            self.rows_are_empty.store(were_empty, Ordering::Relaxed);
        }
        if round != ImportRound::Guessed {
            store_open(&self.core, &requests, &mut results).await;
        }
        let mut again = Vec::new();
        for ((at, values, ..), result) in marked.into_iter().zip(results) {
            let candidate = &mut candidates[at];
            let Some(result) = result else {
                again.push(at);
                continue;
            };
            match result {
                Ok(_) => {
                    page.progress.sealed += 1;
                    page.progress.cleared += candidate.import.over.len() as u64;
                    (candidate.record, candidate.stored) = (Some(values), true);
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Busy)
                        && round != ImportRound::Last =>
                {
                    again.push(at);
                }
                Err(error) if stops_import(&error) => return Err(error),
                Err(error) => page.found.extend(not_stored(&candidate.texts, &error)),
            }
        }
        Ok(again)
    }

    /// The records of these owners. In the first round an owner without an answer counts as one without a record: the store finds
    /// out.
    async fn states(
        &self,
        candidates: &[ImportCandidate],
        open: &[usize],
        round: ImportRound,
    ) -> Result<Vec<Result<ThereRecord>>> {
        if round == ImportRound::Guessed {
            return Ok(open.iter().map(|_| Ok(ThereRecord::Absent)).collect());
        }
        let owners: Vec<&Owner> = open.iter().map(|at| &candidates[*at].owner).collect();
        let mut states = Vec::with_capacity(open.len());
        for (at, peeked) in open.iter().zip(peek_many(&self.core, &owners).await?) {
            let ImportCandidate { owner, import, .. } = &candidates[*at];
            states.push(match peeked {
                Some(loaded) => state(loaded),
                None if round == ImportRound::First && !self.options.dry_run => Ok(ThereRecord::Absent),
                None => match load(&self.core, owner).await {
                    Ok(loaded) => state(loaded),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(ThereRecord::Absent),
                    Err(error) if error.kind() == ErrorKind::ForeignValue && !import.over.is_empty() => {
                        Ok(ThereRecord::Absent)
                    }
                    Err(error) => Err(error),
                },
            });
        }
        Ok(states)
    }

    /// Reads back what was stored, and what was there already.
    async fn read_back(&self, candidates: &mut [ImportCandidate], page: &mut PageResult) -> Result<()> {
        if self.options.dry_run {
            return Ok(());
        }
        let open: Vec<usize> = (0..candidates.len()).filter(|at| candidates[*at].record.is_some()).collect();
        let owners: Vec<&Owner> = open.iter().map(|at| &candidates[*at].owner).collect();
        let peeked = peek_many(&self.core, &owners).await?;
        for (at, peeked) in open.into_iter().zip(peeked) {
            let candidate = &mut candidates[at];
            let loaded = match peeked {
                Some(loaded) => Some(loaded),
                None => load(&self.core, &candidate.owner).await.ok(),
            };
            // of another writer's newer record nothing is known
            let Some(loaded) = loaded.filter(|loaded| !loaded.local) else { continue };
            let head = loaded.record.as_ref().map(|record| record.head());
            let values = loaded.opened.values.unwrap_or_default();
            let wanted = candidate.record.take().unwrap_or_default();
            if candidate.stored && wanted == values {
                page.progress.verified += 1;
            }
            (candidate.record, candidate.head) = (Some(values), head);
        }
        Ok(())
    }
}

fn state(loaded: LoadedRecord) -> Result<ThereRecord> {
    if loaded.local {
        let message = "the record is pending in the local file, so nothing is imported";
        return Err(Error::new(ErrorKind::Busy, message).with_hint("run `retell-vault sync` first"));
    }
    let mark = loaded.opened.imported_from.as_ref().and_then(|mark| ImportMark::parse(mark));
    let has_unknown = !loaded.opened.unknown.is_empty();
    Ok(match loaded.opened.values {
        None => ThereRecord::Deleted,
        Some(values) => ThereRecord::Stored { version: loaded.version, values, mark, has_unknown },
    })
}

fn is_contradicted(text: &ExaminedText, offer: &Offer, texts: &[ExaminedText]) -> bool {
    text.fields.iter().any(|(field, value)| {
        offer.givers.get(field).is_none_or(|at| texts[*at].fields[field].text() != value.text())
    })
}

/// Whether the sources hold what was read of an owner, and nothing else.
fn are_same(texts: &[ExaminedText], now: &[OldText]) -> bool {
    let Some(first) = texts.first().map(|text| &text.text) else { return true };
    let is_of_owner = |text: &&OldText| text.user == first.user && text.tenant == first.tenant;
    let texts = texts.iter().map(|text| &text.text);
    sorted(texts) == sorted(now.iter().filter(is_of_owner))
}

fn sorted<'a>(texts: impl Iterator<Item = &'a OldText>) -> Vec<(usize, &'a str)> {
    let mut texts: Vec<_> = texts.map(|text| (text.source, text.content.as_str())).collect();
    texts.sort_unstable();
    texts
}

fn not_stored(texts: &[ExaminedText], error: &Error) -> Vec<FoundField> {
    let reason = error.to_string();
    let each = |text: &ExaminedText| {
        let fields = text.fields.fields();
        fields.filter_map(|field| text.about(field, "not_stored", &reason)).collect::<Vec<_>>()
    };
    texts.iter().flat_map(each).collect()
}
