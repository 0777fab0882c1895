//! Guards in the database that allow only tokens in the columns for tokens, and only known values in the status column. A
//! guard is a CHECK constraint, or triggers while existing rows would violate the constraint.

mod rule;
mod triggers;

use crate::layout::layout::Layout;
use crate::postgres::catalogue::definitions::{Constraint, is_same_expression};
use crate::postgres::catalogue::row_filter::RowFilter;
use crate::postgres::sql::names::{literal, quote, relation};
use crate::schema::guards::rule::Rule;
use crate::schema::guards::triggers::Triggers;
use crate::schema::plan_input::{PlanDraft, PlanInput};
use crate::schema::step::{Instead, LockLevel, Step};
use crate::schema::wanted_columns::is_used_after;

pub(super) fn draft(input: &PlanInput<'_>, draft: &mut PlanDraft) {
    let left_alone: Vec<&str> = input.left_alone().map(|(_, column)| column).collect();
    // a column with a type of the application holds the application's values
    let is_guarded =
        |rule: &Rule<'_>| !left_alone.contains(&rule.column) && is_used_after(input, rule.column);
    for rule in Rule::all(input.layout, &input.table.filter).into_iter().filter(is_guarded) {
        ColumnGuard::new(input, &rule).draft(draft);
    }
    let checks = draft.steps.iter().any(|step| step.instead.is_some());
    if checks && !input.evidence.foreign_is_proved {
        draft.notes.push(
            "the plan did not search every row for text that is not a token: `apply` does so before it adds a \
             CHECK constraint, and creates triggers instead if it finds such text"
                .to_owned(),
        );
    }
}

/// Whether a constraint proves that the column holds only tokens: it has the rule's definition and is validated for every
/// row.
pub(crate) fn proves(layout: &Layout, filter: &RowFilter, column: &str, constraint: &Constraint) -> bool {
    let is_rule = |rule: &Rule<'_>| {
        rule.is_for_tokens()
            && rule.column == column
            && is_same_expression(&rule.check(), &constraint.definition)
    };
    constraint.kind == 'c' && constraint.validated && Rule::all(layout, filter).iter().any(is_rule)
}

/// One rule, and its existing constraint and triggers.
struct ColumnGuard<'a> {
    input: &'a PlanInput<'a>,
    rule: &'a Rule<'a>,
    /// A constraint that enforces the rule, under any name.
    check: Option<&'a Constraint>,
    /// A constraint with the vault's name that does not enforce it.
    stale: Option<&'a Constraint>,
    triggers: Triggers<'a>,
}

impl<'a> ColumnGuard<'a> {
    fn new(input: &'a PlanInput<'a>, rule: &'a Rule<'a>) -> Self {
        let (name, definition) = (rule.constraint(), rule.check());
        let sees_to_it = |found: &&Constraint| {
            let printed = found.definition.trim_end_matches(" NOT VALID");
            let of_the_application =
                !rule.is_for_tokens() && found.columns == [rule.column] && found.name != name;
            found.kind == 'c' && (of_the_application || is_same_expression(&definition, printed))
        };
        let constraints = &input.definitions.constraints;
        let check = constraints.iter().find(sees_to_it);
        let stale = constraints.iter().find(|found| found.name == name && !sees_to_it(found));
        Self { input, rule, check, stale, triggers: Triggers::new(input, rule) }
    }

    fn draft(&self, draft: &mut PlanDraft) {
        let broken = self.input.evidence.foreign.iter().any(|column| column == self.rule.column);
        match self.check {
            Some(check) if check.validated || check.name != self.rule.constraint() => {}
            _ if broken => self.draft_triggers(draft),
            Some(_) => draft.steps.push(self.validate()),
            // it is not known whether rows break the rule, and the triggers guard the column too
            None if self.triggers.guard() && !self.input.evidence.foreign_is_proved => {
                draft.notes.push(format!(
                    "{} is guarded by triggers; plan with `--every-row` to check whether a CHECK constraint could \
                     replace them",
                    self.rule.object()
                ));
            }
            None => draft.steps.extend([self.add(), self.validate()]),
        }
    }

    fn draft_triggers(&self, draft: &mut PlanDraft) {
        draft.notes.push(format!(
            "{} holds {}: triggers prevent more of it; plan again for a CHECK constraint once it is removed",
            self.rule.object(),
            self.rule.what_breaks_it()
        ));
        if self.check.is_some() || !self.triggers.guard() {
            draft.steps.push(self.by_triggers());
        }
    }

    /// Adds the constraint for new rows only, so that the table is not read under the lock.
    fn add(&self) -> Step {
        let add = self.alter(&format!("ADD CONSTRAINT {} {} NOT VALID", self.name(), self.rule.check()));
        let replaced = self.stale.map(|_| self.drop_check());
        Step {
            id: self.rule.id.clone(),
            object: self.rule.object(),
            reason: format!("allows only {} in this column", self.rule.allows()),
            sql: replaced.into_iter().chain([add]).collect(),
            undo: [self.drop_check()].into_iter().chain(self.restore_check()).collect(),
            lock: LockLevel::AccessExclusive,
            rewrites: false,
            concurrent: false,
            instead: self.instead(&self.rule.anything_breaks_it()),
            done_if: self.has_check(""),
            at_risk: None,
        }
    }

    /// Validates the constraint while other sessions write. Earlier triggers are no longer needed and go.
    fn validate(&self) -> Step {
        let validate = self.alter(&format!("VALIDATE CONSTRAINT {}", self.name()));
        let (drop, restore, lock) = match self.triggers.are_there() {
            true => (self.triggers.drop(), self.triggers.restore(), LockLevel::AccessExclusive),
            false => (Vec::new(), Vec::new(), LockLevel::ShareUpdateExclusive),
        };
        // one that is there from an earlier try says nothing about the rows
        let when = match self.check {
            Some(_) => self.rule.anything_breaks_it(),
            None => "SELECT false".to_owned(),
        };
        let when = format!("{when} OR NOT {}", self.has_check(""));
        Step {
            id: format!("{}.validate", self.rule.id),
            object: self.rule.object(),
            reason: format!("checks that existing rows also hold only {}", self.rule.allows()),
            sql: [validate].into_iter().chain(drop).collect(),
            undo: restore,
            lock,
            rewrites: false,
            concurrent: false,
            instead: self.instead(&when),
            done_if: self.has_check(" AND convalidated"),
            at_risk: None,
        }
    }

    fn instead(&self, when: &str) -> Option<Box<Instead>> {
        Some(Box::new(Instead { when: when.to_owned(), step: self.by_triggers() }))
    }

    /// The step with triggers instead of a CHECK constraint. It drops a constraint that exists by now.
    fn by_triggers(&self) -> Step {
        let undo = self.triggers.restore().into_iter();
        let undo = match self.restore_check() {
            Some(check) => undo.chain([self.drop_check(), check]).collect(),
            None => undo.collect(),
        };
        Step {
            id: format!("{}.trigger", self.rule.id),
            object: self.rule.object(),
            reason: format!(
                "allows only {} in this column, which already holds {}",
                self.rule.allows(),
                self.rule.what_breaks_it()
            ),
            sql: [self.drop_check()].into_iter().chain(self.triggers.create()).collect(),
            undo,
            lock: LockLevel::AccessExclusive,
            rewrites: false,
            concurrent: false,
            instead: None,
            done_if: format!("{} AND NOT {}", self.triggers.done_if(), self.has_check("")),
            at_risk: None,
        }
    }

    fn name(&self) -> String {
        quote(&self.rule.constraint())
    }

    fn alter(&self, action: &str) -> String {
        format!("ALTER TABLE {} {action}", relation(self.input.layout))
    }

    fn drop_check(&self) -> String {
        self.alter(&format!("DROP CONSTRAINT IF EXISTS {}", self.name()))
    }

    /// Restores the current constraint with the vault's name.
    fn restore_check(&self) -> Option<String> {
        let ours = self.check.filter(|check| check.name == self.rule.constraint());
        let now = ours.or(self.stale)?;
        Some(self.alter(&format!("ADD CONSTRAINT {} {}", self.name(), now.definition)))
    }

    /// A condition that the new constraint exists, and not the one that it replaces.
    fn has_check(&self, and: &str) -> String {
        let unlike = self.stale.map(|stale| {
            format!(" AND pg_catalog.pg_get_constraintdef(oid) <> {}", literal(&stale.definition))
        });
        format!(
            "EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = {}::pg_catalog.regclass AND conname = {}{}{and})",
            literal(&relation(self.input.layout)),
            literal(&self.rule.constraint()),
            unlike.unwrap_or_default()
        )
    }
}
