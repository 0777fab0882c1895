//! Clears old values whose record was read back.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{ErrorKind, Result};
use crate::import::candidate::{Announce, ImportCandidate, ImportRun, PageResult};
use crate::import::old_value::OpenedValue;
use crate::import::sources::{ExaminedText, FoundField};
use crate::layout::old_source::{Held, OldSource};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::walk::old_clearing::{Cleared, ClearedPart};
use crate::postgres::walk::old_values::OldTable;
use crate::record::credentials::Credentials;
use crate::record::field::Field;
use crate::record::values::Values;
use crate::retell::json::wipe;

const PARTLY: &str = "another member that is this field, or a member of it, was not imported";
const LEFT_OUT: &str = "the vault does not keep every member of this object";
const CHANGED: &str = "the old value or the record was changed meanwhile";

/// An old value that is to be cleared, and what is said about it.
type ClearedLines<'a> = (Cleared<'a>, Vec<FoundField>);

impl<C: Credentials> ImportRun<C> {
    /// Clears what the records hold that were read back.
    pub(super) async fn clear(
        &self,
        candidates: &[ImportCandidate],
        announce: &impl Announce,
        page: &mut PageResult,
    ) -> Result<()> {
        let Some(postgres) = &self.core.postgres else { return Ok(()) };
        let plan = postgres.plan().await.map_err(|fault| fault.error)?;
        let mut parts: BTreeMap<(usize, ClearedPart), Vec<ClearedLines<'_>>> = BTreeMap::new();
        for candidate in candidates {
            self.note_stuck(candidate, &plan, page);
            for (source, part, cleared) in self.parts(candidate, &plan) {
                parts.entry((source, part)).or_default().push(cleared);
            }
        }
        for ((source, part), mut all) in parts {
            let table = self.tables.iter().find(|table| table.sources.contains(&source));
            let old = (table.expect("every source has its table"), &self.sources.all()[source]);
            if let Some(reason) = old.0.why_kept(old.1, &part) {
                page.found.extend(all.into_iter().flat_map(|(_, lines)| not_cleared(lines, reason)));
                continue;
            }
            // two imports rarely wait for each other if both go in the order of the ids
            all.sort_by(|(one, _), (next, _)| one.owner.cmp(next.owner));
            announce.clearing(all.iter().flat_map(|(_, lines)| lines.clone()).collect()).await?;
            self.clear_part(postgres, &plan, (old, &part), all, page).await?;
        }
        Ok(())
    }

    /// What can be cleared of one owner. Two sources that read members of one column are cleared together: the column is compared
    /// as a whole.
    fn parts<'a>(
        &self,
        candidate: &'a ImportCandidate,
        plan: &Plan,
    ) -> Vec<(usize, ClearedPart, ClearedLines<'a>)> {
        let mut parts: Vec<(usize, ClearedPart, ClearedLines<'a>)> = Vec::new();
        let (Some(head), Some(values)) = (candidate.head, &candidate.record) else { return parts };
        for text in candidate.texts.iter().filter(|text| !self.stays(plan, text.text.source)) {
            let fields = held_fields(text, candidate, values, is_whole_object);
            let Some(part) = self.part(text, &fields) else { continue };
            let place = |source: usize| self.sources.all()[source].place();
            let goes = |field: &&Field| match &part {
                ClearedPart::Everything => true,
                ClearedPart::Members(paths) => {
                    text.paths.iter().any(|(of, path)| of == *field && paths.contains(path))
                }
            };
            let lines: Vec<_> =
                fields.iter().filter(goes).filter_map(|field| text.about(*field, "cleared", "")).collect();
            let there = parts.iter_mut().find(|(source, _, (cleared, _))| {
                place(*source) == place(text.text.source) && cleared.old.content == text.text.content
            });
            match (there, part) {
                (Some((_, ClearedPart::Members(all), (_, known))), ClearedPart::Members(paths)) => {
                    all.extend(paths);
                    all.sort_by_key(|path| (Reverse(path.matches('.').count()), path.clone()));
                    all.dedup();
                    known.extend(lines);
                }
                // several rows with one text are cleared together
                (Some(_), _) => {}
                (None, part) => {
                    let cleared = Cleared { old: &text.text, owner: &candidate.owner, head };
                    parts.push((text.text.source, part, (cleared, lines)));
                }
            }
        }
        parts
    }

    /// Clears all with one statement. If the database refuses that, clears ever smaller parts.
    async fn clear_part(
        &self,
        postgres: &Postgres,
        plan: &Plan,
        (old, part): ((&OldTable, &OldSource), &ClearedPart),
        cleared: Vec<ClearedLines<'_>>,
        page: &mut PageResult,
    ) -> Result<()> {
        let mut parts = vec![cleared];
        while let Some(mut some) = parts.pop() {
            let values: Vec<Cleared<'_>> = some.iter().map(|(cleared, _)| *cleared).collect();
            match postgres.clear_old_values(plan, old, part, &values).await {
                Ok(done) => {
                    page.progress.cleared += done.iter().filter(|done| **done).count() as u64;
                    let left = some.into_iter().zip(done).filter(|(_, done)| !done);
                    page.found.extend(left.flat_map(|((_, lines), _)| not_cleared(lines, CHANGED)));
                }
                Err(fault)
                    if matches!(fault.error.kind(), ErrorKind::Unavailable | ErrorKind::OutcomeUnknown) =>
                {
                    return Err(fault.error);
                }
                Err(_) if some.len() > 1 => {
                    let rest = some.split_off(some.len() / 2);
                    parts.extend([rest, some]);
                }
                Err(fault) => {
                    let reason = fault.error.to_string();
                    page.found.extend(some.into_iter().flat_map(|(_, lines)| not_cleared(lines, &reason)));
                }
            }
        }
        Ok(())
    }

    /// Lists the members that the record holds and that cannot be removed.
    fn note_stuck(&self, candidate: &ImportCandidate, plan: &Plan, page: &mut PageResult) {
        let Some(values) = candidate.record.as_ref().filter(|_| candidate.head.is_some()) else { return };
        for text in candidate.texts.iter().filter(|text| !self.stays(plan, text.text.source)) {
            let left_out = held_fields(text, candidate, values, |old, kept| !is_whole_object(old, kept));
            page.found
                .extend(left_out.iter().filter_map(|field| text.about(*field, "not_cleared", LEFT_OUT)));
            if matches!(self.sources.all()[text.text.source].held, Held::One(_)) {
                continue;
            }
            let fields = held_fields(text, candidate, values, is_whole_object);
            let paths = removable(text, &fields);
            for field in fields {
                let stays = |(of, path): &&(Field, String)| *of == field && !paths.contains(path);
                if text.filled.iter().any(|path| stays(&path)) {
                    let reason = text.stuck.unwrap_or(PARTLY);
                    page.found.extend(text.about(field, "not_cleared", reason));
                }
            }
        }
    }

    /// Whether a source is a column of the vault's own: its tokens have replaced the text, or it holds a plain value.
    fn stays(&self, plan: &Plan, source: usize) -> bool {
        let (layout, source_of) = (&self.sources.layout, &self.sources.all()[source]);
        let is_plain = || plan.placement.plain.iter().any(|plain| *plain.column == *source_of.column);
        let is_here = source_of.relation() == (layout.schema.as_str(), layout.table.as_str());
        self.own.contains(&source) || (is_here && is_plain())
    }

    /// What can be cleared of a text whose record holds these fields.
    fn part(&self, text: &ExaminedText, fields: &[Field]) -> Option<ClearedPart> {
        if fields.is_empty() {
            return None;
        }
        match self.sources.all()[text.text.source].held {
            Held::One(_) => {
                let is_all = text.is_whole() && fields.len() == text.fields.len();
                is_all.then_some(ClearedPart::Everything)
            }
            _ => {
                let paths = removable(text, fields);
                (!paths.is_empty()).then_some(ClearedPart::Members(paths))
            }
        }
    }
}

/// The paths of these fields that can be removed. An object stays if a member of it is a field of its own that stays.
fn removable(text: &ExaminedText, fields: &[Field]) -> Vec<String> {
    if text.stuck.is_some() {
        return Vec::new();
    }
    let is_held = |(field, path): &&(Field, String)| {
        fields.contains(field) && text.paths.iter().any(|(of, known)| of == field && known == path)
    };
    let keeps_none = |(_, path): &&(Field, String)| {
        let inner = format!("{path}.");
        text.filled.iter().filter(|(_, other)| other.starts_with(&inner)).all(|other| is_held(&other))
    };
    let paths = text.paths.iter().filter(|path| is_held(path) && keeps_none(path));
    paths.map(|(_, path)| path.clone()).collect()
}

/// The fields of a text that the record holds, and whose stored form is as it is to be.
fn held_fields(
    text: &ExaminedText,
    candidate: &ImportCandidate,
    record: &Values,
    is_wanted: fn(&OpenedValue, &str) -> bool,
) -> Vec<Field> {
    let ImportCandidate { offer, texts, .. } = candidate;
    let is_held = |(field, value): &(Field, &OpenedValue)| {
        let giver = offer.givers.get(*field).map(|at| &texts[*at].fields[*field]);
        giver.is_some_and(|giver| giver.text() == value.text())
            && offer
                .values
                .get(*field)
                .is_some_and(|kept| record.get(*field) == Some(kept) && is_wanted(value, kept))
    };
    text.fields.iter().filter(is_held).map(|(field, _)| field).collect()
}

/// Whether nothing of an object was left out.
fn is_whole_object(old: &OpenedValue, kept: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
    let (old, kept) = (parse(old.text()), parse(kept));
    // what the vault adds, such as an empty list of events, takes nothing away
    let is_whole = match (old.as_ref().and_then(Value::as_object), kept.as_ref().and_then(Value::as_object)) {
        (Some(old), kept) => {
            old.iter().all(|(name, value)| kept.and_then(|kept| kept.get(name)) == Some(value))
        }
        (None, _) => true,
    };
    [old, kept].into_iter().flatten().for_each(|mut json| wipe(&mut json));
    is_whole
}

fn not_cleared(lines: Vec<FoundField>, reason: &str) -> impl Iterator<Item = FoundField> {
    lines.into_iter().map(move |line| FoundField { result: "not_cleared", reason: reason.to_owned(), ..line })
}
