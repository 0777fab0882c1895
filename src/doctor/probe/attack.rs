//! What one owner tries with the row of another.

use crate::doctor::Patient;
use crate::doctor::access::policies::{drop_policy, is_open};
use crate::doctor::access::row_security::{on, planned_sql, relation, table};
use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::doctor::probe::actor::Actor;
use crate::postgres::catalogue::access::TableAccess;
use crate::postgres::catalogue::definitions::Policy;
use crate::postgres::connection::errors::Fault;
use crate::postgres::connection::pool::Query;
use crate::postgres::connection::transaction::Trial;
use crate::postgres::sql::names::quote;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attack {
    /// Reads it.
    Read,
    /// Writes each of its columns.
    Update,
    Delete,
    /// Makes another row for the other owner.
    Insert,
    /// Gives the own row to the other owner.
    Move,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Succeeded,
    HeldBack,
}

impl Attack {
    pub(super) const ALL: [Self; 5] = [Self::Read, Self::Update, Self::Delete, Self::Insert, Self::Move];

    fn id(self) -> &'static str {
        match self {
            Self::Read => "probe_reads",
            Self::Update => "probe_updates",
            Self::Delete => "probe_deletes",
            Self::Insert => "probe_inserts",
            Self::Move => "probe_moves",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Read => "one owner read the row of another",
            Self::Update => "one owner changed the row of another",
            Self::Delete => "one owner deleted the row of another",
            Self::Insert => "one owner made a row for another",
            Self::Move => "one owner gave the own row to another",
        }
    }

    /// The policies that may have let it through, as in pg_policy.polcmd.
    fn command(self) -> char {
        match self {
            Self::Read => 'r',
            Self::Update | Self::Move => 'w',
            Self::Delete => 'd',
            Self::Insert => 'a',
        }
    }

    pub(super) async fn run(self, actor: &Actor<'_>) -> Result<Outcome, Fault> {
        for statement in self.statements(actor)? {
            if outcome(&actor.attempt(statement).await?) == Outcome::Succeeded {
                return Ok(Outcome::Succeeded);
            }
        }
        Ok(Outcome::HeldBack)
    }

    /// Nothing that is stored is read: what comes back is how many rows there were.
    fn statements(self, actor: &Actor<'_>) -> Result<Vec<Query>, Fault> {
        let (relation, other) = (relation(actor.patient), actor.is_owner(1));
        let about_other = |sql: String| actor.query(sql, &[actor.other]);
        Ok(match self {
            Self::Read => vec![about_other(format!("SELECT 1 FROM {relation} WHERE {other}"))?],
            Self::Delete => vec![about_other(format!("DELETE FROM {relation} WHERE {other}"))?],
            Self::Update => {
                let update = |column| format!("UPDATE {relation} SET {column} = {column} WHERE {other}");
                let updates = writable_columns(actor.patient).into_iter().map(update);
                updates.map(about_other).collect::<Result<_, _>>()?
            }
            Self::Insert => {
                let (names, values) = actor.assignments(1);
                let (names, values) = (names.join(", "), values.join(", "));
                vec![about_other(format!("INSERT INTO {relation} ({names}) VALUES ({values})"))?]
            }
            Self::Move => {
                let (names, values) = actor.assignments(1);
                let set = |value: &dyn Fn(&str) -> String| {
                    let pairs = names.iter().zip(&values);
                    let sets: Vec<String> =
                        pairs.map(|(name, its)| format!("{name} = {}", value(its))).collect();
                    format!("UPDATE {relation} SET {}", sets.join(", "))
                };
                let own = actor.is_owner(1 + actor.parameters());
                let openly = format!("{} WHERE {own}", set(&str::to_owned));
                // without a condition, no policy for reading is asked where the row has gone
                let blindly = set(&|value| format!("CASE WHEN {BOUND} > 0 THEN {value} ELSE {value} END"));
                vec![actor.query(openly, &[actor.other, actor.owner])?, about_other(blindly)?]
            }
        })
    }

    pub(super) async fn finding(self, actor: &Actor<'_>, access: &TableAccess) -> Result<Finding, Fault> {
        let patient = actor.patient;
        let meaning = format!("{}, as role {} (tried, and rolled back)", self.meaning(), actor.role);
        let kind = (Area::Access, Severity::Critical, self.id());
        let mut finding = Finding::new(kind, table(patient), meaning, self.mend(patient, access).await?);
        finding.owners = vec![actor.owner.to_string(), actor.other.to_string()];
        Ok(finding)
    }

    /// Without the policies that let it through, and with ours.
    async fn mend(self, patient: &Patient<'_>, access: &TableAccess) -> Result<Mend, Fault> {
        let drops = self.suspects(patient, access).into_iter().map(|policy| drop_policy(patient, policy));
        let sql: Vec<String> = drops.chain(planned_sql(patient, &on()).await?).collect();
        Ok(match sql.is_empty() {
            false => Mend::Sql(sql.join(";\n")),
            true => Mend::Advice(
                "no policy of the table explains it: see whether the role is a member of the table's owner"
                    .to_owned(),
            ),
        })
    }

    /// The open ones among those for this command; where none is known to be open, all of them.
    fn suspects<'a>(self, patient: &'a Patient<'_>, access: &TableAccess) -> Vec<&'a Policy> {
        let for_users = |policy: &&Policy| access.roles_of(policy).any(|role| !role.service);
        let command = |policy: &&Policy| [self.command(), '*'].contains(&policy.command);
        let candidates: Vec<&Policy> = patient
            .definitions
            .policies
            .iter()
            .filter(|policy| policy.permissive && !policy.is_ours())
            .filter(for_users)
            .filter(command)
            .collect();
        let open: Vec<&Policy> = candidates.iter().copied().filter(|policy| is_open(policy)).collect();
        if open.is_empty() { candidates } else { open }
    }
}

/// Counts the rows that a statement has met, and divides by zero at the hundredth: an owner has fewer, and a
/// table that lies open is not locked as a whole.
const BOUND: &str = "1000 / (100 - pg_catalog.set_config('retell_vault.met', (coalesce(nullif(\
    pg_catalog.current_setting('retell_vault.met', true), ''), '0')::int + 1)::text, true)::int)";
/// SQLSTATE of that.
const BOUND_REACHED: &str = "22012";

/// A constraint that refuses is one that was reached: row level security is asked before. A trigger of the
/// application may raise the same, before it is asked.
fn outcome(trial: &Trial) -> Outcome {
    match trial {
        Trial::Done { affected } if *affected > 0 => Outcome::Succeeded,
        Trial::Refused { code, names_table, .. }
            if (*names_table && code.starts_with("23")) || code == BOUND_REACHED =>
        {
            Outcome::Succeeded
        }
        Trial::Done { .. } | Trial::Refused { .. } => Outcome::HeldBack,
    }
}

/// A right may be for some columns only, so each is tried that the vault uses.
fn writable_columns(patient: &Patient<'_>) -> Vec<String> {
    let used = patient.layout.all_columns();
    let columns = patient.table.columns.iter().filter(|column| !column.generated);
    columns.filter(|column| used.contains(&column.name.as_str())).map(|column| quote(&column.name)).collect()
}

/// Whether the actor sees the row of its own owner.
pub(super) async fn sees_own(actor: &Actor<'_>) -> Result<bool, Fault> {
    let sql = format!("SELECT 1 FROM {} WHERE {}", relation(actor.patient), actor.is_owner(1));
    let trial = actor.attempt(actor.query(sql, &[actor.owner])?).await?;
    Ok(matches!(trial, Trial::Done { affected } if affected > 0))
}
