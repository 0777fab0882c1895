//! Decides what an import does with one owner: a pure function of the old values and of the record.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::import::by_field::ByField;
use crate::import::mark::ImportMark;
use crate::import::members::put_opened;
use crate::import::sources::{ExaminedText, FoundField};
use crate::layout::layout::Layout;
use crate::record::credentials::Credentials;
use crate::record::field::Field;
use crate::record::values::Values;
use crate::record::version::{Millis, Version};

/// The time of a record whose source has no time: every save is newer.
const NO_TIME: Millis = 1;

const EARLIER: &str = "an earlier source has another value";
const ROWS: &str = "several rows of this owner have different values";
const NEWER: &str = "the vault has another value, which was stored since";
const GONE: &str = "the value in the vault came from an earlier source that has been cleared";
const DELETED: &str = "the record was deleted in the vault";

/// What all sources together give an owner.
pub(super) struct Offer {
    /// As the credentials print them.
    pub(super) values: Values,
    /// The text that gives each field.
    pub(super) givers: ByField<usize>,
    /// What the order of the sources decides against.
    pub(super) disagreed: Vec<FoundField>,
}

/// The record of an owner.
pub(super) enum ThereRecord {
    Absent,
    Deleted,
    Stored { version: Version, values: Values, mark: Option<ImportMark>, has_unknown: bool },
}

/// What is to be done.
pub(super) enum Decision {
    /// The record holds what the sources give, apart from what is listed.
    Already,
    /// These values are stored over the record of this version, or over none.
    Store(Values, Option<Version>),
}

/// Combines the texts of one owner, which are in the order of the sources: the first source that has a field gives it.
///
/// # Errors
/// Those of values that the credentials do not take together.
pub(super) fn combine<C: Credentials>(texts: &[ExaminedText], layout: &Layout) -> Result<Offer> {
    let mut givers: ByField<usize> = ByField::new();
    let (mut blocked, mut disagreed) = (BTreeSet::new(), Vec::new());
    for (at, text) in texts.iter().enumerate() {
        for (field, value) in text.fields.iter() {
            let giver = *givers.get_or_insert(field, at);
            if texts[giver].fields[field].text() == value.text() {
                continue;
            }
            let is_same_source = texts[giver].text.source == text.text.source;
            let reason = if is_same_source { ROWS } else { EARLIER };
            disagreed.extend(text.about(field, "disagreed", reason));
            if is_same_source && blocked.insert(field) {
                disagreed.extend(texts[giver].about(field, "disagreed", ROWS));
            }
        }
    }
    // nothing says which row of one source is right, and a later source is no better
    givers.retain(|field| !blocked.contains(&field));
    let values = given::<C>(givers.iter().map(|(field, at)| (field, &texts[*at])), layout)?;
    Ok(Offer { values, givers, disagreed })
}

fn given<'a, C: Credentials>(
    fields: impl Iterator<Item = (Field, &'a ExaminedText)>,
    layout: &Layout,
) -> Result<Values> {
    let mut values = Values::new();
    for (field, text) in fields {
        put_opened(&mut values, field, &text.fields[field], layout)?;
    }
    if values.fields().next().is_none() {
        return Ok(values);
    }
    C::from_values(values).map(|config| config.to_values())
}

/// Decides, and adds to `offer.disagreed` what the record contradicts.
///
/// # Errors
/// Those of values that the credentials do not take together.
pub(super) fn decide<C: Credentials>(
    offer: &mut Offer,
    texts: &[ExaminedText],
    state: &ThereRecord,
    layout: &Layout,
) -> Result<Decision> {
    let (version, stored, mark, has_unknown) = match state {
        // every field has several values, and none is imported
        ThereRecord::Absent if offer.givers.is_empty() => return Ok(Decision::Already),
        ThereRecord::Absent => return Ok(Decision::Store(offer.values.clone(), None)),
        ThereRecord::Deleted => {
            offer.contradict(texts, |_| true, DELETED);
            return Ok(Decision::Already);
        }
        ThereRecord::Stored { version, values, mark, has_unknown } => (version, values, mark, has_unknown),
    };
    let Some(mark) = mark.as_ref().filter(|_| !has_unknown) else {
        let values = offer.values.clone();
        offer.contradict(texts, |field| stored.get(field) != values.get(field), NEWER);
        return Ok(Decision::Already);
    };
    let sources = Sides::of(texts, mark, layout);
    let mut merged = stored.clone();
    if sources.has_changed {
        let values = offer.values.clone();
        for (field, at) in offer.givers.iter() {
            let is_other = stored.get(field).is_some_and(|stored| Some(stored) != values.get(field));
            if !(is_other && sources.gone_before(texts[*at].text.source)) {
                merged.put(field, values.get(field).map(|json| json.to_owned().into()));
            }
        }
        if sources.are_complete {
            let gone: Vec<Field> =
                stored.fields().filter(|field| offer.givers.get(*field).is_none()).collect();
            gone.into_iter().for_each(|field| merged.put(field, None));
        }
    }
    let values = offer.values.clone();
    let reason = if sources.first_gone.is_some() { GONE } else { NEWER };
    offer.contradict(texts, |field| merged.get(field) != values.get(field), reason);
    if merged == *stored {
        return Ok(Decision::Already);
    }
    Ok(Decision::Store(C::from_values(merged)?.to_values(), Some(*version)))
}

impl Offer {
    /// When the texts that give the fields were stored. Without a time every save is newer.
    pub(super) fn time(&self, texts: &[ExaminedText]) -> Millis {
        let giving = self.givers.iter().filter_map(|(_, at)| texts[*at].text.time);
        giving.max().unwrap_or(NO_TIME).max(NO_TIME)
    }

    /// Lists the offered fields of which the record has another value.
    fn contradict(&mut self, texts: &[ExaminedText], is_other: impl Fn(Field) -> bool, reason: &str) {
        let others = self.givers.iter().filter(|(field, _)| is_other(*field));
        let others = others.filter_map(|(field, at)| texts[*at].about(field, "disagreed", reason));
        self.disagreed.extend(others.collect::<Vec<_>>());
    }
}

/// The sources of an owner beside those that the record came from.
struct Sides {
    /// A text is not one that the record came from.
    has_changed: bool,
    /// Every place that the record came from still holds something, and everything opened.
    are_complete: bool,
    /// The first source in the order of the layout that the record came from and that holds nothing any more.
    first_gone: Option<usize>,
}

impl Sides {
    fn of(texts: &[ExaminedText], mark: &ImportMark, layout: &Layout) -> Self {
        let place = |text: &ExaminedText| layout.sources[text.text.source].place();
        let here = || texts.iter().filter(|text| !text.found.is_empty());
        let places: BTreeSet<String> = here().map(place).collect();
        let gone = mark.places().filter(|gone| !places.contains(*gone));
        // a source that the layout no longer names counts as the first
        let position =
            |gone: &str| layout.sources.iter().position(|source| source.place() == gone).unwrap_or(0);
        let first_gone = gone.map(position).min();
        Self {
            has_changed: here().any(|text| !mark.holds(&place(text), &text.text)),
            are_complete: first_gone.is_none() && here().all(ExaminedText::is_whole),
            first_gone,
        }
    }

    fn gone_before(&self, source: usize) -> bool {
        self.first_gone.is_some_and(|gone| gone <= source)
    }
}
