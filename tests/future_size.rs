//! The futures of the public API are small. Applications nest them in their own, and a large one overflows the stack of a
//! thread, of which a debug build needs much.

use retell_vault::doctor::DoctorOptions;
use retell_vault::keyring::KeyId;
use retell_vault::records::StoreOptions;
use retell_vault::rotation::{DestroyOptions, PromoteOptions, RotateOptions};
use retell_vault::schema::{ApplyOptions, Profile, RollBackOptions, SchemaPlan};
use retell_vault::{Owner, RetellConfig, Vault, VaultBuilder};
use sqlx::PgTransaction;

const LIMIT: usize = 10 * 1024; // bytes

/// The size of the future that a function returns. The function is not called.
fn size<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn of_every_long_call() {
    type V = &'static Vault;
    type InTransaction = (V, &'static mut PgTransaction<'static>, &'static Owner, &'static RetellConfig);
    let sizes = [
        ("build", size(|builder: VaultBuilder| builder.build())),
        ("init", size(|builder: VaultBuilder| builder.init())),
        ("load", size(|(vault, owner): (V, &'static Owner)| vault.load(owner))),
        ("load_many", size(|(vault, owners): (V, &'static [Owner])| vault.load_many(owners))),
        (
            "store_with",
            size(|(vault, owner, config): (V, &'static Owner, &'static RetellConfig)| {
                vault.store_with(owner, config, StoreOptions::new())
            }),
        ),
        ("modify", size(|(vault, owner): (V, &'static Owner)| vault.modify(owner, |_| Ok(())))),
        (
            "store_many",
            size(|(vault, configs): (V, &'static [(Owner, RetellConfig)])| vault.store_many(configs)),
        ),
        ("rename_owner", size(|(vault, owner): (V, &'static Owner)| vault.rename_owner(owner, owner))),
        ("delete", size(|(vault, owner): (V, &'static Owner)| vault.delete(owner))),
        ("store_in", size(|(vault, tx, owner, config): InTransaction| vault.store_in(tx, owner, config))),
        (
            "store_in_with",
            size(|(vault, tx, owner, config): InTransaction| {
                vault.store_in_with(tx, owner, config, StoreOptions::new())
            }),
        ),
        ("load_in", size(|(vault, tx, owner, _): InTransaction| vault.load_in(tx, owner))),
        ("modify_in", size(|(vault, tx, owner, _): InTransaction| vault.modify_in(tx, owner, |_| Ok(())))),
        ("delete_in", size(|(vault, tx, owner, _): InTransaction| vault.delete_in(tx, owner))),
        ("forget", size(|(vault, owner): (V, &'static Owner)| vault.forget(owner))),
        ("sync", size(|vault: V| vault.sync())),
        ("status", size(|vault: V| vault.status())),
        #[cfg(feature = "metrics")]
        ("sample_metrics", size(|vault: V| vault.sample_metrics())),
        ("list", size(|vault: V| vault.list(None, 1))),
        ("kept", size(|vault: V| vault.kept(0, 1))),
        ("redetect", size(|vault: V| vault.redetect())),
        ("layout_report", size(|vault: V| vault.layout_report())),
        ("count_tokens", size(|vault: V| vault.count_tokens())),
        ("count_all_tokens", size(|vault: V| vault.count_all_tokens(|_| {}))),
        (
            "estimate_rotation",
            size(|(vault, options): (V, &'static RotateOptions)| vault.estimate_rotation(options)),
        ),
        ("rotate", size(|(vault, options): (V, &'static RotateOptions)| vault.rotate(options, |_| {}))),
        ("promote", size(|(vault, options): (V, &'static PromoteOptions)| vault.promote(options, |_| {}))),
        ("destroy_key", size(|(vault, id): (V, KeyId)| vault.destroy_key(id, DestroyOptions::default()))),
        ("doctor", size(|(vault, options): (V, &'static DoctorOptions)| vault.doctor(options, |_| {}))),
        ("schema plan", size(|vault: V| async { vault.schema().plan(Profile::FullProfile).await.map(drop) })),
        (
            "schema verify",
            size(|vault: V| async { vault.schema().verify(Profile::FullProfile).await.map(drop) }),
        ),
        (
            "schema apply",
            size(|(vault, plan): (V, &'static SchemaPlan)| async {
                vault.schema().apply(plan, &ApplyOptions::new(), |_| {}).await.map(drop)
            }),
        ),
        (
            "schema roll_back",
            size(|vault: V| async {
                vault.schema().roll_back(&RollBackOptions::new(), |_| {}).await.map(drop)
            }),
        ),
    ];
    println!("{sizes:?}");
    let large: Vec<_> = sizes.iter().filter(|(_, size)| *size > LIMIT).collect();
    assert!(large.is_empty(), "larger than {LIMIT} bytes: {large:?}");
}
