//! Entries are listed by owner, actor, operation and time, and none is hidden.

use std::time::{Duration, SystemTime};

use retell_vault::layout::Rows;
use retell_vault::ledger::{LedgerFilter, LedgerList, ListedEntry};
use retell_vault::records::{TenantId, UserId};
use retell_vault::{ErrorKind, Layout, Owner};

use crate::Stage;
use crate::support::faults::{number, until};
use crate::support::vaults::*;

fn user(id: &str) -> UserId {
    id.parse().unwrap()
}

impl Stage {
    async fn list(&self, filter: LedgerFilter) -> LedgerList {
        self.vault.list_ledger(&filter).await.unwrap()
    }
}

/// What was done with whom, in the order of the list.
fn shown(listed: &LedgerList) -> Vec<(&str, &str)> {
    fn one(entry: &ListedEntry) -> (&str, &str) {
        (&entry.operation, entry.user.as_deref().unwrap_or_default())
    }
    listed.entries.iter().map(one).collect()
}

#[tokio::test]
async fn entries_are_listed_by_what_they_say() {
    let stage = Stage::begun().await;
    let ann = stage.store("ann").await;
    stage.store("ben").await;
    stage.store("ann").await;
    stage.vault.delete(&ann).await.unwrap();
    // the clock of an entry has milliseconds, so the order of the list is certain only with pauses
    let later = "UPDATE retell_vault.ledger SET at_ms = 1700000000000 + seq * 1000";
    stage.db.exec(later).await;

    let all = stage.list(LedgerFilter::new()).await;
    assert_eq!(shown(&all), [("delete", "ann"), ("store", "ann"), ("store", "ben"), ("store", "ann")]);
    assert!(!all.more && all.entries.iter().all(|entry| !entry.authentic), "the times were changed: {all:?}");
    let of_ann = stage.list(LedgerFilter::new().user(&user("ann"))).await;
    assert_eq!(shown(&of_ann), [("delete", "ann"), ("store", "ann"), ("store", "ann")]);
    assert_eq!(of_ann.entries[0].before, of_ann.entries[1].after, "{of_ann:?}");
    let stores = stage.list(LedgerFilter::new().operation("store").user(&user("ann"))).await;
    assert_eq!(shown(&stores), [("store", "ann"), ("store", "ann")]);

    // from the first time on, and before the second
    let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds);
    let between = stage.list(LedgerFilter::new().since(at(2)).until(at(4))).await;
    assert_eq!(shown(&between), [("store", "ann"), ("store", "ben")]);

    let newest = stage.list(LedgerFilter::new().limit(3)).await;
    assert!(newest.more && newest.entries == all.entries[..3], "{newest:?}");
    assert!(!stage.list(LedgerFilter::new().limit(4)).await.more);
    assert!(stage.list(LedgerFilter::new().user(&user("nobody"))).await.entries.is_empty());
}

#[tokio::test]
async fn what_nobody_wrote_is_listed_as_not_authentic() {
    let stage = Stage::begun().await;
    stage.store("ann").await;
    stage.store("ben").await;
    assert!(stage.list(LedgerFilter::new()).await.entries.iter().all(|entry| entry.authentic));
    stage.db.exec("UPDATE retell_vault.ledger SET actor = 'mallory' WHERE usr = 'ben'").await;
    let listed = stage.list(LedgerFilter::new()).await;
    let authentic: Vec<_> =
        listed.entries.iter().map(|entry| (entry.user.as_deref(), entry.authentic)).collect();
    assert!(
        authentic.contains(&(Some("ann"), true)) && authentic.contains(&(Some("ben"), false)),
        "{listed:?}"
    );
    let of_mallory = stage.list(LedgerFilter::new().actor("mallory")).await;
    assert_eq!(shown(&of_mallory), [("store", "ben")]);
    // without a version, as an entry of a refused operation
    let refused = "INSERT INTO retell_vault.ledger SELECT gen_random_uuid(), 1, epoch, 0, head, at_ms + 1000, 'store', place, usr,
        tenant, before, NULL, NULL, 'refused', actor, reason, request, host, release, detail, mac FROM retell_vault.ledger WHERE usr = 'ben'";
    stage.db.exec(refused).await;
    let of_ben = stage.list(LedgerFilter::new().user(&user("ben"))).await;
    let outcomes: Vec<_> = of_ben.entries.iter().map(|entry| entry.outcome.as_deref()).collect();
    assert_eq!(outcomes, [Some("refused"), None]);
}

#[tokio::test]
async fn only_entries_of_this_place_are_listed_unless_all_are_asked_for() {
    let stage = Stage::begun().await;
    stage.store("ann").await;
    stage.db.exec("CREATE TABLE other (user_id text, tenant_id text, encrypted_retell_api_key text, UNIQUE (user_id, tenant_id))").await;
    let layout = Layout::new()
        .table("other")
        .and_then(|layout| layout.tenant_column("tenant_id"))
        .unwrap()
        .rows(Rows::Create);
    let other = stage.hosts.host(1, &stage.db.url).layout(layout).build().await.unwrap();
    for tenant in ["acme", "beta"] {
        let owner = Owner::user("ann").unwrap().in_tenant(tenant).unwrap();
        other.store(&owner, &small_config(1)).await.unwrap();
    }
    let own = stage.list(LedgerFilter::new().user(&user("ann"))).await;
    assert_eq!(own.entries.len(), 1, "{own:?}");
    let tenants = |listed: &LedgerList| {
        let mut all: Vec<_> =
            listed.entries.iter().map(|entry| entry.tenant.clone().unwrap_or_default()).collect();
        all.sort_unstable();
        all
    };
    let all = stage.list(LedgerFilter::new().user(&user("ann")).all_places()).await;
    assert_eq!(tenants(&all), ["", "acme", "beta"]);
    let tenant: TenantId = "beta".parse().unwrap();
    assert_eq!(tenants(&other.list_ledger(&LedgerFilter::new().tenant(&tenant)).await.unwrap()), ["beta"]);
    assert_eq!(
        tenants(&other.list_ledger(&LedgerFilter::new().user(&user("ann"))).await.unwrap()),
        ["acme", "beta"]
    );
}

#[tokio::test]
async fn a_filter_that_no_entry_can_pass_is_refused_and_so_is_a_list_without_a_ledger() {
    let stage = Stage::new().await;
    let refused = stage.vault.list_ledger(&LedgerFilter::new()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LedgerUnavailable, "{refused}");
    let now = SystemTime::now();
    let long = "a".repeat(201);
    for (filter, named) in [
        (LedgerFilter::new().since(now).until(now), "until"),
        (LedgerFilter::new().operation(""), "operation"),
        (LedgerFilter::new().operation("a\0b"), "operation"),
        (LedgerFilter::new().actor(&long), "actor"),
    ] {
        let refused = stage.vault.list_ledger(&filter).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
        assert!(refused.to_string().contains(named) && refused.hint().contains(named), "{refused}");
    }
}

/// Both kinds of entries of an owner, with a version and without, are found without reading those of others.
#[tokio::test]
async fn the_entries_of_an_owner_are_found_by_indexes() {
    let stage = Stage::begun().await;
    stage.store("ann").await;
    let many = "INSERT INTO retell_vault.ledger SELECT gen_random_uuid(), n, epoch, 0, head, at_ms, op, place, 'user-' || n, tenant, before,
        CASE WHEN n % 2 = 0 THEN after END, digest, outcome, actor, reason, request, host, release, detail, mac
        FROM retell_vault.ledger, generate_series(1, 20000) AS n WHERE usr = 'ann'";
    stage.db.exec(many).await;
    stage.db.exec("ANALYZE retell_vault.ledger").await;
    let scans = async |what: &str| {
        let text = match what {
            "table" => {
                "SELECT seq_scan FROM pg_stat_all_tables WHERE relid = 'retell_vault.ledger'::regclass"
                    .to_owned()
            }
            index => format!(
                "SELECT idx_scan FROM pg_stat_all_indexes WHERE indexrelname = 'retell_vault_ledger_{index}'"
            ),
        };
        number(&stage.db.url, &text).await
    };
    let before = [scans("table").await, scans("states").await, scans("others").await];
    for (id, found) in [("ann", 1), ("user-7", 1), ("user-8", 1), ("user-0", 0)] {
        assert_eq!(stage.list(LedgerFilter::new().user(&user(id))).await.entries.len(), found, "{id}");
    }
    stage.vault.close().await;
    until(async || scans("others").await >= before[2] + 4).await;
    let after = [scans("table").await, scans("states").await, scans("others").await];
    assert_eq!(after[0], before[0], "the whole ledger was read");
    assert!(after[1] >= before[1] + 4 && after[2] >= before[2] + 4, "{before:?} {after:?}");
}
