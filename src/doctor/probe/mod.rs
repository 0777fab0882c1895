//! Acts as one owner, and proves that another's row can be neither read nor written. Always rolled back.

mod actor;
mod attack;

use crate::doctor::Patient;
use crate::doctor::access::row_security::table;
use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::doctor::probe::actor::Actor;
use crate::doctor::probe::attack::{Attack, Outcome};
use crate::error::{Error, ErrorKind};
use crate::postgres::catalogue::access::TableAccess;
use crate::postgres::connection::errors::Fault;
use crate::record::owner::Owner;

pub(super) async fn look(patient: &Patient<'_>) -> Result<Vec<Finding>, Fault> {
    let Some((actor, other)) = &patient.options.probe else { return Ok(Vec::new()) };
    for owner in [actor, other] {
        patient.postgres.check_owner(owner)?;
    }
    if actor == other {
        return Err(Error::new(ErrorKind::InvalidInput, "the probe needs two different owners").into());
    }
    let access = patient.access()?;
    let Some(actor) = Actor::choose(patient, access, actor, other) else {
        return Ok(vec![meaningless(patient)]);
    };
    let before = actor.row_versions().await?;
    let findings = run(&actor, access).await?;
    match actor.row_versions().await? == before {
        true => Ok(findings),
        false => Ok(findings.into_iter().chain([changed(patient)]).collect()),
    }
}

async fn run(actor: &Actor<'_>, access: &TableAccess) -> Result<Vec<Finding>, Fault> {
    if actor.count_as_ourselves(actor.other).await? == 0 {
        return Ok(vec![without_row(actor.patient, actor.other)]);
    }
    let has_own = actor.count_as_ourselves(actor.owner).await? > 0;
    let mut findings = Vec::new();
    for attack in Attack::ALL {
        if attack == Attack::Move && !has_own {
            actor.patient.host.note("the probe's actor has no row of its own, so moving it was not tried");
            continue;
        }
        if attack.run(actor).await? == Outcome::Succeeded {
            findings.push(attack.finding(actor, access).await?);
        }
    }
    if has_own && !attack::sees_own(actor).await? {
        findings.push(own_row_hidden(actor));
    }
    actor.patient.host.note(format!(
        "the probe acted as role {} with the claims of {}, and was rolled back",
        actor.role, actor.owner
    ));
    Ok(findings)
}

fn meaningless(patient: &Patient<'_>) -> Finding {
    let meaning = format!(
        "the probe proves nothing: there is no role `authenticated` to act as, and no policy is to hold back {}, \
         as whom the vault connects",
        patient.definitions.server.role
    );
    Finding::new(
        (Area::Access, Severity::Warning, "probe_meaningless"),
        table(patient),
        meaning,
        Mend::Advice(
            "run the probe over a connection of the role that the users' requests run as, which does not own \
             the table"
                .to_owned(),
        ),
    )
}

fn without_row(patient: &Patient<'_>, other: &Owner) -> Finding {
    let mut finding = Finding::new(
        (Area::Access, Severity::Warning, "probe_without_row"),
        table(patient),
        "the probe proves nothing: the other owner has no row that the vault sees",
        Mend::Advice("name an owner with a row".to_owned()),
    );
    finding.owners = vec![other.to_string()];
    finding
}

fn own_row_hidden(actor: &Actor<'_>) -> Finding {
    let mut finding = Finding::new(
        (Area::Access, Severity::Notice, "probe_own_row_hidden"),
        table(actor.patient),
        format!("as {}, the owner does not see the own row either", actor.role),
        Mend::Advice(
            "where users read the table themselves, give them the right and a policy for their own rows; where \
             only services do, this is as it should be"
                .to_owned(),
        ),
    );
    finding.owners = vec![actor.owner.to_string()];
    finding
}

/// Everything is rolled back, so the probe did not do it.
fn changed(patient: &Patient<'_>) -> Finding {
    Finding::new(
        (Area::Access, Severity::Notice, "probe_rows_changed"),
        table(patient),
        "somebody wrote the rows of the two owners while the probe ran: what it says may be of another moment",
        Mend::Advice("probe again".to_owned()),
    )
}
