//! The rules of the house: imports point down, secrets stay where they belong, files stay short.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    files.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root().join("src")).unwrap().to_str().unwrap().to_owned()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}

/// The part of a file that is not its tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

/// The modules in the order of the map in `docs/ARCHITECTURE.md`.
fn order() -> HashMap<String, usize> {
    let map = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let map = map.split("```").nth(1).unwrap();
    let rows =
        map.lines().filter_map(|line| line.split_whitespace().next()).filter(|word| word.contains('.'));
    rows.enumerate()
        .map(|(at, file)| (file.trim_end_matches(',').trim_end_matches(".rs").to_owned(), at))
        .collect()
}

fn is_test_file(file: &str) -> bool {
    file.ends_with("tests.rs") || file.contains("/tests/")
}

/// `router/write` is in the row of `router`, unless it has a row of its own.
fn place(order: &HashMap<String, usize>, module: &str) -> Option<usize> {
    let own = order.get(module);
    own.or_else(|| order.get(module.split('/').next()?)).copied()
}

#[test]
fn imports_point_down() {
    let order = order();
    assert!(order.len() > 20, "the map was not found");
    let mut checked = 0;
    for (file, text) in sources()
        .iter()
        .filter(|(file, _)| !is_test_file(file) && file != "lib.rs" && !file.starts_with("bin"))
    {
        let module = file.trim_end_matches(".rs").trim_end_matches("/mod");
        let from = place(&order, module).unwrap_or_else(|| panic!("{file} is not on the map"));
        for target in without_tests(text).split("crate::").skip(1) {
            let path: String =
                target.chars().take_while(|char| char.is_ascii_lowercase() || "_:".contains(*char)).collect();
            let parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
            let Some(first) = parts.first() else { continue };
            let deeper = parts
                .get(1)
                .map(|second| format!("{first}/{second}"))
                .filter(|name| order.contains_key(name));
            let to = place(&order, &deeper.unwrap_or_else(|| (*first).to_owned()));
            let to = to.unwrap_or_else(|| panic!("{file} imports {path}, which is not on the map"));
            assert!(
                to <= from || *first == module.split('/').next().unwrap(),
                "{file} imports {path}, which is above it"
            );
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} imports were looked at");
}

#[test]
fn secrets_are_exposed_only_where_they_must_be() {
    let allowed = ["aead.rs", "sealer.rs", "keyring/wrapping.rs", "config.rs", "config/fields.rs"];
    for (file, text) in sources().iter().filter(|(file, _)| !is_test_file(file)) {
        let exposes = without_tests(text).contains("expose_secret");
        assert!(!exposes || allowed.contains(&file.as_str()), "{file} exposes a secret");
    }
}

#[test]
fn postgres_and_the_local_file_know_no_key_and_no_configuration() {
    for (file, text) in
        sources().iter().filter(|(file, _)| file.starts_with("postgres") || file.starts_with("local"))
    {
        for word in ["RetellConfig", "Keyring", "RootSecret", "sealer", "aead"] {
            assert!(!without_tests(text).contains(word), "{file} knows {word}");
        }
    }
}

#[test]
fn files_are_short() {
    for (file, text) in sources().iter().filter(|(file, _)| !is_test_file(file)) {
        let lines = without_tests(text).lines().count();
        assert!(lines <= 400, "{file} has {lines} lines without its tests: two nouns?");
    }
}

#[test]
fn nothing_depends_on_one_machine() {
    let machine_paths = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    for (file, text) in sources() {
        for path in &machine_paths {
            assert!(!text.contains(path.as_str()), "{file} names {path}");
        }
    }
}
