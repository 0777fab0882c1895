//! Acts as one owner, and checks that it can neither read nor write another owner's row. Everything is rolled back.

use crate::doctor::access::policies::is_open;
use crate::doctor::access::row_security::{on, planned_sql};
use crate::doctor::context::TableContext;
use crate::doctor::finding::{Finding, FindingId, Fix, Severity};
use crate::doctor::finding_ids;
use crate::doctor::fixes::drop_policy;
use crate::doctor::frame::by_owner;
use crate::doctor::probe_actor::{Actor, ROWS_MET};
use crate::error::{Error, ErrorKind};
use crate::postgres::catalogue::access::TableAccess;
use crate::postgres::catalogue::definitions::Policy;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::connection::pool::Query;
use crate::postgres::connection::transaction::Trial;
use crate::postgres::sql::names::quote;
use crate::record::owner::Owner;

/// Counts the rows that a statement reaches, and divides by zero at the hundredth. An owner has fewer rows, and a
/// statement on an unprotected table must not lock all of it.
fn bound() -> String {
    let met = format!("pg_catalog.current_setting('{ROWS_MET}')::pg_catalog.int4");
    let met = format!("({met} OPERATOR(pg_catalog.+) 1)::pg_catalog.text");
    let met = format!("pg_catalog.set_config('{ROWS_MET}', {met}, true)::pg_catalog.int4");
    format!("1000 OPERATOR(pg_catalog./) (100 OPERATOR(pg_catalog.-) {met})")
}

/// SQLSTATE of this division by zero.
const BOUND_REACHED: &str = "22012";

pub(super) async fn look(context: &TableContext<'_>) -> Result<Vec<Finding>, DatabaseError> {
    let Some((actor, other)) = &context.options.probe else { return Ok(Vec::new()) };
    for owner in [actor, other] {
        context.postgres.check_owner(owner)?;
    }
    if actor == other {
        return Err(Error::new(ErrorKind::InvalidInput, "the probe needs two different owners").into());
    }
    let access = context.access()?;
    let Some(actor) = Actor::choose(context, access, actor, other) else {
        return Ok(vec![meaningless(context)]);
    };
    let before = actor.row_versions().await?;
    let findings = run(&actor, access).await?;
    match actor.row_versions().await? == before {
        true => Ok(findings),
        false => Ok(findings.into_iter().chain([changed(context)]).collect()),
    }
}

async fn run(actor: &Actor<'_>, access: &TableAccess) -> Result<Vec<Finding>, DatabaseError> {
    if actor.count_as_ourselves(actor.other).await? == 0 {
        return Ok(vec![without_row(actor.context, actor.other)]);
    }
    let has_own = actor.count_as_ourselves(actor.owner).await? > 0;
    let mut findings = Vec::new();
    for attack in Attack::ALL {
        if attack == Attack::Move && !has_own {
            actor
                .context
                .host
                .note("the probe's first owner has no row, so the probe did not try to move it");
            continue;
        }
        if attack.run(actor).await? == AttackOutcome::Succeeded {
            findings.push(attack.finding(actor, access).await?);
        }
    }
    if has_own && !sees_own(actor).await? {
        findings.push(own_row_hidden(actor));
    }
    actor.context.host.note(format!(
        "the probe acted as role {} with the claims of {}, and was rolled back",
        actor.role, actor.owner
    ));
    Ok(findings)
}

/// An attempt of one owner on the row of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    /// Reads it.
    Read,
    /// Writes each of its columns.
    Update,
    Delete,
    /// Creates another row for the other owner.
    Insert,
    /// Transfers the first owner's row to the other owner.
    Move,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AttackOutcome {
    Succeeded,
    HeldBack,
}

impl Attack {
    const ALL: [Self; 5] = [Self::Read, Self::Update, Self::Delete, Self::Insert, Self::Move];

    fn id(self) -> FindingId {
        match self {
            Self::Read => finding_ids::PROBE_READS,
            Self::Update => finding_ids::PROBE_UPDATES,
            Self::Delete => finding_ids::PROBE_DELETES,
            Self::Insert => finding_ids::PROBE_INSERTS,
            Self::Move => finding_ids::PROBE_MOVES,
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Read => "one owner read the row of another",
            Self::Update => "one owner changed the row of another",
            Self::Delete => "one owner deleted the row of another",
            Self::Insert => "one owner created a row for another",
            Self::Move => "one owner transferred its row to another",
        }
    }

    /// The command of the policies that may have allowed it, as in pg_policy.polcmd.
    fn command(self) -> char {
        match self {
            Self::Read => 'r',
            Self::Update | Self::Move => 'w',
            Self::Delete => 'd',
            Self::Insert => 'a',
        }
    }

    async fn run(self, actor: &Actor<'_>) -> Result<AttackOutcome, DatabaseError> {
        for statement in self.statements(actor)? {
            if outcome(&actor.attempt(statement).await?) == AttackOutcome::Succeeded {
                return Ok(AttackOutcome::Succeeded);
            }
        }
        Ok(AttackOutcome::HeldBack)
    }

    /// The statements of the attempt. They read no stored value; only the number of rows comes back.
    fn statements(self, actor: &Actor<'_>) -> Result<Vec<Query>, DatabaseError> {
        let (relation, other) = (actor.context.relation(), actor.is_owner(1));
        let about_other = |sql: String| actor.query(sql, &[actor.other]);
        Ok(match self {
            Self::Read => vec![about_other(format!("SELECT 1 FROM {relation} WHERE {other}"))?],
            Self::Delete => vec![about_other(format!("DELETE FROM {relation} WHERE {other}"))?],
            Self::Update => {
                let update = |column| format!("UPDATE {relation} SET {column} = {column} WHERE {other}");
                let updates = writable_columns(actor.context).into_iter().map(update);
                updates.map(about_other).collect::<Result<_, _>>()?
            }
            Self::Insert => {
                let (names, values) = actor.new_row(1);
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
                // without a condition, the policies for SELECT do not apply to the new row
                let bound = bound();
                let blindly = set(&|value| {
                    format!("CASE WHEN {bound} OPERATOR(pg_catalog.>) 0 THEN {value} ELSE {value} END")
                });
                vec![actor.query(openly, &[actor.other, actor.owner])?, about_other(blindly)?]
            }
        })
    }

    async fn finding(self, actor: &Actor<'_>, access: &TableAccess) -> Result<Finding, DatabaseError> {
        let context = actor.context;
        let meaning = format!("{}, as role {} (tried, and rolled back)", self.meaning(), actor.role);
        let mend = self.fix(context, access).await?;
        let finding = Finding::new(self.id(), Severity::Critical, context.object(), meaning, mend);
        Ok(finding.about(vec![actor.owner.to_string(), actor.other.to_string()]))
    }

    /// Drops the policies that allowed it, and creates the vault's.
    async fn fix(self, context: &TableContext<'_>, access: &TableAccess) -> Result<Fix, DatabaseError> {
        let drops = self.suspects(context, access).into_iter().map(|policy| drop_policy(context, policy));
        let sql: Vec<String> = drops.chain(planned_sql(context, &on()).await?).collect();
        Ok(match sql.is_empty() {
            false => Fix::Sql(by_owner(context, &sql.join(";\n"))),
            true => Fix::Advice(
                "no policy of the table explains it: check whether the role is a member of the table's owner"
                    .to_owned(),
            ),
        })
    }

    /// The policies for this command that are open. All of them if none is known to be open.
    fn suspects<'a>(self, context: &'a TableContext<'_>, access: &TableAccess) -> Vec<&'a Policy> {
        let for_users = |policy: &&Policy| access.roles_of(policy).any(|role| !role.service);
        let command = |policy: &&Policy| [self.command(), '*'].contains(&policy.command);
        let candidates: Vec<&Policy> = context
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

/// A refusal by a constraint means that the statement passed row level security, which is checked first. A trigger of the
/// application may raise the same code before that check.
fn outcome(trial: &Trial) -> AttackOutcome {
    match trial {
        Trial::Done { affected } if *affected > 0 => AttackOutcome::Succeeded,
        Trial::Refused { code, names_table, .. }
            if (*names_table && code.starts_with("23")) || code == BOUND_REACHED =>
        {
            AttackOutcome::Succeeded
        }
        Trial::Done { .. } | Trial::Refused { .. } => AttackOutcome::HeldBack,
    }
}

/// Every column that the vault uses, because a right may be for some columns only.
fn writable_columns(context: &TableContext<'_>) -> Vec<String> {
    let used = context.layout.all_columns();
    let columns = context.table.columns.iter().filter(|column| !column.generated);
    columns.filter(|column| used.contains(&column.name.as_str())).map(|column| quote(&column.name)).collect()
}

/// Whether the actor sees the row of its own owner.
async fn sees_own(actor: &Actor<'_>) -> Result<bool, DatabaseError> {
    let sql = format!("SELECT 1 FROM {} WHERE {}", actor.context.relation(), actor.is_owner(1));
    let trial = actor.attempt(actor.query(sql, &[actor.owner])?).await?;
    Ok(matches!(trial, Trial::Done { affected } if affected > 0))
}

fn meaningless(context: &TableContext<'_>) -> Finding {
    let meaning = format!(
        "the probe proves nothing: there is no role `authenticated` to act as, and policies do not apply to {}, \
         the role of the vault",
        context.definitions.server.role
    );
    Finding::new(
        finding_ids::PROBE_MEANINGLESS,
        Severity::Warning,
        context.object(),
        meaning,
        Fix::Advice(
            "run the probe over a connection of the role that runs users' requests and does not own the table"
                .to_owned(),
        ),
    )
}

fn without_row(context: &TableContext<'_>, other: &Owner) -> Finding {
    Finding::new(
        finding_ids::PROBE_WITHOUT_ROW,
        Severity::Warning,
        context.object(),
        "the probe proves nothing: the other owner has no row that the vault sees",
        Fix::Advice("name an owner with a row".to_owned()),
    )
    .about(vec![other.to_string()])
}

fn own_row_hidden(actor: &Actor<'_>) -> Finding {
    Finding::new(
        finding_ids::PROBE_OWN_ROW_HIDDEN,
        Severity::Notice,
        actor.context.object(),
        format!("as {}, the first owner does not see its own row either", actor.role),
        Fix::Advice(
            "if users read the table themselves, give them the right and a policy for their own rows; if only \
             services read it, nothing is wrong"
                .to_owned(),
        ),
    )
    .about(vec![actor.owner.to_string()])
}

/// The probe rolls everything back, so another process made this change.
fn changed(context: &TableContext<'_>) -> Finding {
    Finding::new(
        finding_ids::PROBE_ROWS_CHANGED,
        Severity::Notice,
        context.object(),
        "another process wrote the rows of the two owners while the probe ran, so its results may be out of date",
        Fix::Advice("run the probe again".to_owned()),
    )
}
