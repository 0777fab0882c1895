//! Every public call of the library.

use std::time::Duration;

use retell_vault::connection::KeyringTable;
use retell_vault::doctor::DoctorOptions;
use retell_vault::keyring::KeyState;
use retell_vault::ledger::{LedgerCopies, LedgerExportOptions, LedgerFilter, LedgerSigningKey};
use retell_vault::records::StoreOptions;
use retell_vault::records::{Expected, ListPosition};
use retell_vault::schema::{ApplyOptions, Profile, RollBackOptions, RowSecurity, Wanted};
use retell_vault::sync::Fallback;
use retell_vault::{Error, ErrorKind, RetellConfig, Vault};
use sqlx::{AssertSqlSafe, Connection};

use super::support::faults::{DEAD_URL, QUICK, connect, exec, number};
use super::support::rotation;
use super::support::vaults::{full_config, wrapping_key};
use super::{Key, Stage};

/// The row of one owner is there twice.
const TWICE: &str = "INSERT INTO public.user_profiles SELECT * FROM public.user_profiles AS t WHERE t.user_id::text LIKE '%3'";

/// Takes a row away, and answers with its tokens, with a space between them.
const TOKENS: &str = r"WITH gone AS (DELETE FROM public.user_profiles AS t WHERE t.user_id::text LIKE '%8' RETURNING t::text AS row)
    SELECT string_agg(m[1], ' ') FROM gone, regexp_matches(row, 'rv1[.][0-9a-f]{8}[.][0-9a-f]{16}[.][a-z_]+[.][A-Za-z0-9_-]+', 'g') AS m";

fn unexpected(answer: impl std::fmt::Debug) -> Box<dyn std::error::Error> {
    format!("unexpected: {answer:?}").into()
}

/// No record is there.
fn not_found<T: std::fmt::Debug>(done: Result<T, Error>) -> Result<(), Box<dyn std::error::Error>> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => Err(unexpected(other)),
    }
}

/// One error of many results.
fn all<T>(results: Vec<Result<T, Error>>) -> Result<Vec<T>, Error> {
    results.into_iter().collect()
}

/// Records under an old key, made with nothing on the path, then every call.
pub async fn run(stage: &mut Stage) {
    let (kind, url, quiet) = (stage.kind, stage.role.url.clone(), stage.quiet_url());
    let vault = stage.hosts.host(1, &quiet).layout(kind.layout()).build().await.unwrap();
    let configs: Vec<_> = (0..4).map(|n| (kind.owner(n), full_config(n))).collect();
    all(vault.store_many(&configs).await.unwrap()).unwrap();
    vault.close().await;
    if kind.key == Key::None {
        exec(&quiet, TWICE).await;
    }
    let (old, _) = rotation::promote(&stage.hosts).await;
    let builder = stage.hosts.host(0, DEAD_URL).layout(kind.layout()).timeouts(QUICK);
    let unplugged = builder.build().await.unwrap();
    unplugged.store(&kind.owner(5), &full_config(5)).await.unwrap();
    unplugged.close().await;
    stage.counters.called().await;

    let builder = stage.hosts.host(0, &url).layout(kind.layout());
    let Some(vault) = stage.watch("build", builder.build()).await else { return };
    records(stage, &vault).await;
    keys(stage, &vault, old).await;
    schema(stage, &vault).await;
    vault.close().await;
    keyring_table(stage).await;
}

/// From here on every change of a record has an entry.
async fn ledger(stage: &mut Stage) {
    let kind = stage.kind;
    let builder = stage.hosts.host(0, &stage.role.url).layout(kind.layout());
    let vault = builder.build().await.unwrap();
    stage.counters.called().await;
    stage.watch("begin_ledger", vault.begin_ledger()).await;
    let (one, many) = (kind.owner(0), [1, 2].map(|number| (kind.owner(number), full_config(number))));
    for time in ["first", "second"] {
        stage.watch(&format!("store (ledger, {time})"), vault.store(&one, &full_config(time))).await;
    }
    stage.watch("store_many (ledger)", async { all(vault.store_many(&many).await?) }).await;
    stage.watch("delete (ledger)", vault.delete(&one)).await;
    if let Some(spare) = stage.watch("add_key (ledger)", vault.add_key()).await {
        stage.watch("retire_key (ledger)", vault.retire_key(spare.id)).await;
    }
    let primary = vault.keys().into_iter().find(|key| key.state == KeyState::Primary).unwrap().id;
    stage.watch("promote_key (ledger, again)", vault.promote_key(primary)).await;
    stage.watch("verify_ledger", vault.verify_ledger(&LedgerCopies::new())).await;
    stage
        .watch(
            "accept_ledger",
            vault.as_actor("ops", Some("a test"), None).accept_ledger(&LedgerCopies::new()),
        )
        .await;
    let filters =
        [LedgerFilter::new(), LedgerFilter::new().user(one.user_id()).actor("a").operation("b").all_places()];
    for filter in filters {
        let filter = filter.since(std::time::UNIX_EPOCH);
        stage.watch("list_ledger", vault.list_ledger(&filter)).await;
    }
    let export = LedgerExportOptions::new().since(std::time::UNIX_EPOCH);
    stage.watch("export_ledger", vault.export_ledger(export, |_| Ok(()))).await;
    let key = LedgerSigningKey::generate().unwrap();
    stage.watch("checkpoint_ledger", vault.checkpoint_ledger(&LedgerCopies::new(), &key)).await;
    vault.close().await;
    let entries = "SELECT count(*) FROM retell_vault.ledger WHERE op IN ('store', 'delete')";
    let entries = number(&stage.quiet_url(), entries).await;
    stage.watch("entries", async { if entries == 5 { Ok(()) } else { Err(unexpected(entries)) } }).await;
}

async fn records(stage: &mut Stage, vault: &Vault) {
    let kind = stage.kind;
    let owner = |number| kind.owner(number);
    let (first, second, new) = (owner(0), owner(1), owner(6));
    let owners: Vec<_> = (0..8).map(owner).collect();
    let many: Vec<_> = [1, 2, 7].into_iter().map(|n| (owner(n), full_config(n))).collect();
    stage.watch("status", vault.status()).await;
    stage.watch("redetect", vault.redetect()).await;
    #[cfg(feature = "metrics")]
    let sampled = async {
        vault.sample_metrics().await;
        Ok::<_, std::convert::Infallible>(())
    };
    #[cfg(feature = "metrics")]
    stage.watch("sample_metrics", sampled).await;
    stage
        .watch("sync", async {
            let report = vault.sync().await?;
            if report.pushed == 1 { Ok(()) } else { Err(unexpected(report)) }
        })
        .await;
    stage.watch("store (new owner)", vault.store(&new, &full_config(6))).await;
    stage.watch("store (again)", vault.store(&new, &full_config(6))).await;
    stage.watch("store (record of another process)", vault.store(&first, &full_config(0))).await;
    stage.watch("store (owner with several rows)", vault.store(&owner(3), &full_config(3))).await;
    let options = StoreOptions::new().replace_unreadable().replace_foreign();
    stage.watch("store_with", vault.store_with(&first, &full_config(0), options)).await;
    let absent = StoreOptions::new().expect(Expected::Absent);
    let expects = async {
        match vault.store_with(&first, &full_config(0), absent).await {
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            other => Err(unexpected(other)),
        }
    };
    stage.watch("store_with (expects no record)", expects).await;
    let expects = async {
        let version = vault.load(&first).await?.version;
        vault
            .store_with(&first, &full_config(0), StoreOptions::new().expect(Expected::Version(version)))
            .await
    };
    stage.watch("store_with (expects a version)", expects).await;
    let change = |config: &mut RetellConfig| {
        *config = full_config(9);
        Ok(())
    };
    stage.watch("modify", vault.modify(&second, change)).await;
    stage.watch("store_many", async { all(vault.store_many(&many).await?) }).await;
    stage.watch("load", vault.load(&first)).await;
    stage.watch("load (no record)", async { not_found(vault.load(&owner(9)).await) }).await;
    stage.watch("load_many", async { all(vault.load_many(&owners[..4]).await) }).await;
    stage.watch("list", vault.list(None, 3)).await;
    stage.watch("adopt_table", vault.adopt_table()).await;
    stage.watch("list (after an owner)", vault.list(Some(&ListPosition::from(&second)), 3)).await;
    let mut connection = connect(&stage.role.url).await;
    let in_transaction = async {
        let mut transaction = connection.begin().await?;
        for owner in [&first, &owner(3), &owner(9)] {
            vault.store_in(&mut transaction, owner, &full_config(0)).await?;
            vault.load_in(&mut transaction, owner).await?;
            vault.modify_in(&mut transaction, owner, change).await?;
            vault.delete_in(&mut transaction, owner).await?;
        }
        transaction.rollback().await?;
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    stage.watch("calls in a transaction", in_transaction).await;
    stage.watch("rename_owner", vault.rename_owner(&new, &owner(9))).await;
    stage.watch("rename_owner (and back)", vault.rename_owner(&owner(9), &new)).await;
    stage.watch("rename_owner (several rows)", vault.rename_owner(&owner(3), &owner(9))).await;
    stage.watch("rename_owner (several rows, and back)", vault.rename_owner(&owner(9), &owner(3))).await;
    stage.watch("delete", vault.delete(&new)).await;
    stage.watch("load (deleted)", async { not_found(vault.load(&new).await) }).await;
    stage.watch("kept", vault.kept(0, 10)).await;
    stage.watch("retry_dead_letters", vault.retry_dead_letters(None)).await;
    may_not_write(stage).await;
    stage.watch("forget", vault.forget(&new)).await;
}

/// Where the server takes no writes it is asked why.
async fn may_not_write(stage: &mut Stage) {
    let url = format!("{}?options=-cdefault_transaction_read_only%3Don", stage.role.url);
    let builder = stage.hosts.host(2, &url).layout(stage.kind.layout()).fallback(Fallback::Refuse);
    let vault = builder.build().await.unwrap();
    let owner = stage.kind.owner(0);
    let store = async {
        match vault.store(&owner, &full_config(0)).await {
            Err(error) if error.kind() == ErrorKind::AccessDenied => Ok(()),
            other => Err(unexpected(other)),
        }
    };
    stage.watch("store (read-only)", store).await;
    vault.close().await;
}

async fn keys(stage: &mut Stage, vault: &Vault, old: retell_vault::keyring::KeyId) {
    stage.watch("token count", vault.count_tokens()).await;
    stage.watch("count_all_tokens", vault.count_all_tokens(|_| {})).await;
    stage.watch("estimate_rotation", vault.estimate_rotation(&rotation::small())).await;
    let rotate = async {
        let options = rotation::single().max_replica_lag(1 << 30).max_latency(Duration::from_secs(1));
        let rotation = vault.rotate(&options, |_| {}).await?;
        if rotation.complete { Ok(()) } else { Err(unexpected(rotation)) }
    };
    stage.watch("rotate", rotate).await;
    stage.watch("destroy_key", vault.destroy_key(old, rotation::at_once())).await;
}

/// A keyring in the database, and everything that reads and writes its schema.
async fn keyring_table(stage: &mut Stage) {
    let (url, roles) = (stage.role.url.clone(), [stage.role.name.clone()]);
    let table = KeyringTable::postgres(&url).unwrap();
    stage.watch("KeyringTable::create", table.create(&roles)).await;
    let Some(keyring) = stage.watch("prepare", table.prepare(&wrapping_key())).await else { return };
    stage.watch("push", table.push(&keyring)).await;
    stage.watch("push (again)", table.push(&keyring)).await;
    stage.watch("sealed_text", table.sealed_text()).await;
    let Some(keyring) = stage.watch("open", table.open(&keyring.pin(), &wrapping_key())).await else {
        return;
    };
    let builder = Vault::builder(keyring.clone()).postgres(&url).layout(stage.kind.layout());
    let Some(vault) = stage.watch("build (table)", builder.build()).await else { return };
    stage.watch("hosts", table.hosts()).await;
    stage.watch("add_key", keyring.add_key()).await;
    stage.watch("restore_keyring", vault.restore_keyring()).await;
    stage.watch("repair", table.repair(&keyring.pin(), &wrapping_key())).await;
    stage.watch("rewrap", keyring.rewrap(&wrapping_key())).await;
    stage.watch("status (table)", vault.status()).await;
    let close = async {
        vault.close().await;
        Ok::<_, Error>(())
    };
    stage.watch("close", close).await;
}

async fn schema(stage: &mut Stage, vault: &Vault) {
    let (kind, schema) = (stage.kind, vault.schema());
    let wanted = || {
        let wanted = Wanted::from(Profile::FullProfile).look_at_every_row().remove_duplicates();
        wanted.row_security(RowSecurity::On).vault_schema()
    };
    let options = ApplyOptions::new();
    let Some(plan) = stage.watch("schema plan", schema.plan(wanted())).await else { return };
    stage.watch("schema apply", schema.apply(&plan, &options, |_| {})).await;
    stage.watch("schema verify", schema.verify(wanted())).await;
    stage.watch("promote", vault.promote(&Default::default(), |_| {})).await;
    index(stage).await;
    stage.watch("store (guarded)", vault.store(&kind.owner(0), &full_config(0))).await;
    stage.watch("store (guarded, new owner)", vault.store(&kind.owner(8), &full_config(8))).await;
    counted_sync(stage).await;
    functions(stage).await;
    stage.inspect("schema apply").await;
    let (actor, other) = (kind.owner(0), kind.owner(1));
    stage.watch("doctor", vault.doctor(&DoctorOptions::new(), |_| {})).await;
    let deep = DoctorOptions::new().deep().users_table("public.app_users", "id").probe(actor, other);
    stage.watch("doctor (deep, with a probe)", vault.doctor(&deep, |_| {})).await;
    ledger(stage).await;
    let options = RollBackOptions::new().allow_data_loss();
    stage.watch("schema roll_back", schema.roll_back(&options, |_| {})).await;
}

/// The index by which owners are found.
async fn index(stage: &mut Stage) {
    let layout = stage.kind.layout().index_column("retell_vault_index").unwrap();
    let vault = stage.hosts.host(3, &stage.role.url).layout(layout).build().await.unwrap();
    stage.counters.called().await;
    let Some(plan) = stage.watch("schema plan (index)", vault.schema().plan(Profile::Credentials)).await
    else {
        return;
    };
    let apply = async { vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await };
    stage.watch("schema apply (index)", apply).await;
    stage.watch("build_index", vault.build_index(&Default::default(), |_| {})).await;
    let (many, one) = ([(stage.kind.owner(1), full_config(1))], stage.kind.owner(0));
    stage.watch("store (index)", vault.store(&one, &full_config(0))).await;
    stage.watch("store_many (index)", async { all(vault.store_many(&many).await?) }).await;
    let agent = "agent_test_canary_call_0".parse().unwrap();
    let find = async {
        let found = vault.find_by_agent(&agent).await?;
        if found.owners.is_empty() { Err(unexpected(found)) } else { Ok(()) }
    };
    stage.watch("find_by_agent", find).await;
    let number = "+14155550100".parse().unwrap();
    stage.watch("find_by_phone", vault.find_by_phone(&number)).await;
    stage.watch("status (index)", vault.status()).await;
    stage.watch("rotate_index_key", vault.rotate_index_key(&Default::default(), |_| {})).await;
    vault.close().await;
}

/// A push that is counted in the schema `retell_vault`.
async fn counted_sync(stage: &mut Stage) {
    let builder = stage.hosts.host(0, DEAD_URL).layout(stage.kind.layout()).timeouts(QUICK);
    let unplugged = builder.build().await.unwrap();
    unplugged.store(&stage.kind.owner(5), &full_config(5)).await.unwrap();
    unplugged.close().await;
    // a vault believes for a minute that there is no such schema
    let builder = stage.hosts.host(0, &stage.role.url).layout(stage.kind.layout());
    let vault = builder.build().await.unwrap();
    stage.counters.called().await;
    let counted = async {
        let report = vault.sync().await?;
        if report.pushed == 1 { Ok(()) } else { Err(unexpected(report)) }
    };
    stage.watch("sync (counted)", counted).await;
    vault.close().await;
    let rows = "SELECT count(*) FROM retell_vault.local_files WHERE pushes = 2";
    assert_eq!(number(&stage.quiet_url(), rows).await, 1, "before the push and after it");
}

/// What the full profile leaves in the database for the application: functions, behind which the guards fire.
async fn functions(stage: &mut Stage) {
    let owner = stage.kind.owner(8);
    let tenant = owner.tenant_id().map(|tenant| format!(", p_tenant => '{}'", tenant.as_str()));
    let owner = format!("p_user => '{}'{}", owner.user_id().as_str(), tenant.unwrap_or_default());
    let (url, mut quiet) = (stage.role.url.clone(), connect(&stage.quiet_url()).await);
    let tokens: String = sqlx::query_scalar(TOKENS).fetch_one(&mut quiet).await.unwrap();
    stage.counters.called().await;
    let calls = [
        ("store_retell_config", format!(", p_record => '{tokens}', p_plain => '{{}}'")),
        ("get_complete_user_profile", String::new()),
        ("update_retell_integration_status", ", p_status => 'active'".to_owned()),
    ];
    for (name, more) in calls {
        let sql = format!("SELECT public.{name}({owner}{more})");
        let call = async { sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connect(&url).await).await };
        stage.watch(&format!("function {name}"), call).await;
    }
}
