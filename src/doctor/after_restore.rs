//! What a restore of the database put back, as far as the ledger and its copies on this host show it.

use crate::doctor::context::TableContext;
use crate::doctor::finding::{Finding, FindingId, Fix, Severity};
use crate::doctor::finding_ids;
use crate::ledger::copies::LedgerCopies;
use crate::ledger::verify::{LedgerDifference, LedgerVerification, verify_ledger};
use crate::postgres::connection::errors::DatabaseError;

/// How many owners a finding names.
const OWNERS: usize = 5;
const LEDGER: &str = "table retell_vault.ledger";

pub(super) async fn look(context: &TableContext<'_>) -> Result<Vec<Finding>, DatabaseError> {
    if context.core.ledger_key().is_none() {
        let meaning = "the ledger was not begun, so nothing shows which records a restore put back";
        return Ok(vec![unknown(
            meaning,
            "retell-vault ledger begin",
            "so that the next restore can be examined",
        )]);
    }
    let found = verify_ledger(context.core, &LedgerCopies::new()).await?;
    context.host.note(format!(
        "the ledger was compared with {} heads that this host has; writers of other hosts are covered only up to these: run this on \
         every host, or `retell-vault ledger verify --with` the folder of the sink",
        found.anchors
    ));
    let parts = [went_back(&found), broken(&found), records(&found), alone(&found)];
    Ok(parts.into_iter().flatten().collect())
}

fn unknown(meaning: &str, command: &str, purpose: &str) -> Finding {
    let fix = Fix::Advice(format!("run `{command}`, {purpose}"));
    Finding::new(finding_ids::RESTORE_UNKNOWN, Severity::Warning, LEDGER, meaning, fix)
}

/// Without a copy the ledger went back together with the records, and both agree.
fn alone(found: &LedgerVerification) -> Option<Finding> {
    let meaning =
        "this host has no copy of the ledger: a database that went back as a whole agrees with itself";
    let command = "retell-vault ledger verify --with FOLDER";
    (found.anchors == 0).then(|| {
        unknown(
            meaning,
            command,
            "with the folder of the sink or of checkpoints, or run the doctor on the hosts that wrote",
        )
    })
}

fn went_back(found: &LedgerVerification) -> Option<Finding> {
    let writers = found.ledger_went_back.len();
    let names = match found.names_complete {
        true => "this host has a copy of each of them",
        false => "not each of them has a copy on this host, so owners may be missing in the lists",
    };
    let meaning = format!(
        "the ledger itself went back, and the records with it: {} entries of {writers} writers are gone; {names}",
        found.missing_entries
    );
    (writers > 0).then(|| finding(finding_ids::LEDGER_WENT_BACK, LEDGER.to_owned(), meaning))
}

/// What a restore does not explain.
fn broken(found: &LedgerVerification) -> Option<Finding> {
    let count = |entries: usize, what: &str| (entries > 0).then(|| format!("{entries} {what}"));
    let gaps = if found.ledger_went_back.is_empty() { found.missing.len() } else { 0 };
    let parts = [
        count(gaps, "gaps"),
        count(found.altered.len(), "altered entries"),
        count(found.replaced.len(), "replaced entries"),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    let meaning = format!("the ledger has {}: somebody changed or removed entries", parts.join(", "));
    (!parts.is_empty()).then(|| finding(finding_ids::LEDGER_BROKEN, LEDGER.to_owned(), meaning))
}

fn records(found: &LedgerVerification) -> Option<Finding> {
    let all = [&found.went_back, &found.vanished, &found.appeared];
    let [back, vanished, appeared] = all.map(Vec::len);
    let count = back + vanished + appeared;
    let meaning = format!(
        "records are not those that the ledger names: {back} went back to an older version, {vanished} are gone, and \
         {appeared} appeared. Replaced keys may be in use again, and deleted records live again"
    );
    let name = |one: &LedgerDifference| one.owner.to_string();
    let owners = all.into_iter().flatten().take(OWNERS).map(name).collect();
    let about = |id| finding(id, "records".to_owned(), meaning).of(count as u64, owners);
    (count > 0).then(|| about(finding_ids::RECORDS_WENT_BACK))
}

fn finding(id: FindingId, object: String, meaning: String) -> Finding {
    let advice =
        "list all of them with `retell-vault ledger verify`, and follow docs/LEDGER.md, After a restore";
    Finding::new(id, Severity::Critical, object, meaning, Fix::Advice(advice.to_owned()))
}
