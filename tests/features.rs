//! What a service builds: no more crates than the README says, and nothing of what it switched off.

use std::collections::BTreeSet;
use std::process::Command;

/// How deep a crate is in the tree, and its name and version.
type Line = (usize, String);

/// The tree of the crates that are built for these features.
fn tree(features: &str) -> Vec<Line> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "normal,build",
            "--prefix",
            "depth",
            "--no-dedupe",
        ])
        .args(["--no-default-features", "--features", features])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = |line: &str| {
        let name = line.trim_start_matches(|char: char| char.is_ascii_digit());
        let depth = line[..line.len() - name.len()].parse().unwrap();
        // `name v1.2.3 (proc-macro)`
        (depth, name.split(' ').take(2).collect::<Vec<_>>().join(" "))
    };
    String::from_utf8(output.stdout).unwrap().lines().map(line).collect()
}

fn names<'a>(tree: impl IntoIterator<Item = &'a Line>) -> BTreeSet<String> {
    tree.into_iter().map(|(_, name)| name.clone()).collect()
}

fn crates(features: &str) -> BTreeSet<String> {
    names(&tree(features))
}

fn has(crates: &BTreeSet<String>, name: &str) -> bool {
    crates.iter().any(|one| one.split(' ').next() == Some(name))
}

#[test]
fn a_service_builds_few_crates_more_than_sqlx() {
    let tree = tree("");
    let start = tree.iter().position(|(depth, name)| *depth == 1 && name.starts_with("sqlx v")).unwrap();
    let below = tree[start + 1..].iter().take_while(|(depth, _)| *depth > 1);
    let (ours, sqlx) = (names(&tree), names(below));
    let more = ours.difference(&sqlx).count();
    println!("{} crates, {more} more than sqlx with the same features", ours.len());
    assert!(sqlx.len() > 80 && more > 10, "the trees were not read: {} and {more}", sqlx.len());
    assert!(more <= 60, "{more} crates more than sqlx");
}

/// The facade and its hash function: a service brings its own recorder.
#[test]
fn metrics_cost_few_crates() {
    let (without, with) = (crates(""), crates("metrics"));
    let more: Vec<_> = with.difference(&without).collect();
    assert!(has(&with, "metrics") && !has(&without, "metrics"), "{more:?}");
    assert!(more.len() <= 3, "{more:?}");
}

#[test]
fn a_feature_that_is_off_builds_nothing() {
    let sqlite = "libsqlite3-sys";
    let tls = ["rustls", "ring", "aws-lc-rs", "native-tls"];
    let lean = crates("");
    assert!(!has(&lean, sqlite) && !tls.iter().any(|tls| has(&lean, tls)), "{lean:?}");
    for (feature, wanted) in [
        ("local-file", vec![sqlite]),
        ("admin", vec![]),
        ("tls-rustls-ring", vec!["rustls", "ring"]),
        ("tls-rustls-aws-lc", vec!["rustls", "aws-lc-rs"]),
        ("tls-native", vec!["native-tls"]),
    ] {
        let built = crates(feature);
        let found: Vec<_> = [sqlite].into_iter().chain(tls).filter(|name| has(&built, name)).collect();
        assert_eq!(found, wanted, "{feature}");
    }
}
