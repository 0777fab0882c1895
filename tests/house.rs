//! The rules of the house: imports point down, secrets stay where they belong, files stay short.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A source file: its path below `src/`, and its text without comments and tests.
struct Source {
    path: String,
    text: String,
}

/// Every source file that is not a test.
fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    let source = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        Source { path: relative(path), text: without_comments(without_tests(&text)) }
    };
    files.iter().map(source).filter(|source| !is_test_file(&source.path)).collect()
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

fn is_test_file(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/")
}

/// Tests stand at the end of a file.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\n").next().unwrap_or_default()
}

fn without_comments(text: &str) -> String {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    text.lines().filter(is_code).map(|line| format!("{line}\n")).collect()
}

/// The files in the order of the map in `docs/ARCHITECTURE.md`: the lowest comes first.
fn map() -> Vec<String> {
    let text = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let map = text.split("## The map").nth(1).and_then(|rest| rest.split("```").nth(1)).expect("a map");
    let (mut folders, mut files): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
    for line in map.lines().skip_while(|line| *line != "src/").skip(1).filter(|line| !line.trim().is_empty())
    {
        let name = line.split_whitespace().next().unwrap();
        folders.truncate((line.len() - line.trim_start().len()) / 2 - 1);
        match name.strip_suffix('/') {
            Some(folder) => folders.push(folder),
            None => files.push(folders.iter().chain([&name]).copied().collect::<Vec<_>>().join("/")),
        }
    }
    files
}

/// The crate that a file belongs to, as a folder below `src/`.
fn crate_of(path: &str) -> &'static str {
    if path.starts_with("bin/") { "bin/retell-vault/" } else { "" }
}

/// What a file names by `crate::…`, with groups in braces taken apart.
fn imports(text: &str) -> BTreeSet<Vec<String>> {
    let mut paths = BTreeSet::new();
    for tree in text.replace("(in crate::", "(in ").split("crate::").skip(1) {
        expand(&mut tree.chars().peekable(), &[], &mut paths);
    }
    paths
}

fn expand(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    before: &[String],
    paths: &mut BTreeSet<Vec<String>>,
) {
    let mut path = before.to_vec();
    loop {
        while chars.next_if(|char| char.is_whitespace()).is_some() {}
        if chars.next_if_eq(&'{').is_some() {
            while chars.peek().is_some_and(|char| *char != '}') {
                expand(chars, &path, paths);
                while chars.next_if(|char| char.is_whitespace() || *char == ',').is_some() {}
            }
            chars.next();
            return;
        }
        let mut name = String::new();
        while let Some(char) = chars.next_if(|char| char.is_alphanumeric() || *char == '_') {
            name.push(char);
        }
        path.push(name);
        let mut ahead = chars.clone();
        if (ahead.next(), ahead.next()) != (Some(':'), Some(':')) {
            break;
        }
        *chars = ahead;
    }
    // `{self as names}` and the like
    if chars.peek() == Some(&' ') && chars.clone().take(4).collect::<String>() == " as " {
        chars.by_ref().take(4).for_each(drop);
        while chars.next_if(|char| char.is_alphanumeric() || *char == '_').is_some() {}
    }
    paths.insert(path);
}

/// The file that defines what a path names.
fn file_of(files: &BTreeSet<String>, in_crate: &str, path: &[String]) -> Option<String> {
    let mut folder = in_crate.to_owned();
    for name in path {
        let file = format!("{folder}{name}.rs");
        if files.contains(&file) {
            return Some(file);
        }
        let deeper = format!("{folder}{name}/");
        if !files.iter().any(|file| file.starts_with(&deeper)) {
            break;
        }
        folder = deeper;
    }
    let root = format!("{folder}mod.rs");
    files.contains(&root).then_some(root)
}

/// The modules that a file declares and uses by their bare names.
fn children(source: &Source) -> Vec<String> {
    let declared = source.text.lines().filter_map(|line| line.trim().strip_suffix(';')?.split("mod ").nth(1));
    let used = declared.filter(|name| {
        let path = format!("{name}::");
        source.text.match_indices(&path).any(|(at, _)| !source.text[..at].ends_with([':', '_']))
    });
    used.map(str::to_owned).collect()
}

/// Who imports whom.
fn graph(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let files: BTreeSet<String> = sources.iter().map(|source| source.path.clone()).collect();
    let of = |source: &Source| {
        let in_crate = crate_of(&source.path);
        let named = imports(&source.text).into_iter().map(|path| {
            file_of(&files, in_crate, &path).unwrap_or_else(|| panic!("{} imports {path:?}", source.path))
        });
        named.filter(|file| *file != source.path).collect()
    };
    sources.iter().map(|source| (source.path.clone(), of(source))).collect()
}

/// Where a folder stands in the map: its first file there.
fn layer(map: &[String], path: &str) -> usize {
    let folder = |path: &str| path.split_once('/').map_or(path, |(folder, _)| folder).to_owned();
    map.iter()
        .position(|file| folder(file) == folder(path))
        .unwrap_or_else(|| panic!("{path} is not on the map"))
}

#[test]
fn imports_point_down() {
    let (map, sources) = (map(), sources());
    let mut checked = 0;
    for (file, imported) in graph(&sources).iter().filter(|(file, _)| !file.starts_with("bin/")) {
        for target in imported {
            assert!(layer(&map, target) <= layer(&map, file), "{file} imports {target}, which is above it");
            checked += 1;
        }
    }
    assert!(checked > 400, "only {checked} imports were looked at");
}

#[test]
fn secrets_are_exposed_only_where_they_must_be() {
    let allowed =
        ["crypto/aead.rs", "crypto/sealer.rs", "keyring/wrapping.rs", "record/retell.rs", "record/values.rs"];
    for Source { path, text } in sources() {
        assert!(
            !text.contains("expose_secret") || allowed.contains(&path.as_str()),
            "{path} exposes a secret"
        );
    }
}

#[test]
fn postgres_and_the_local_file_know_no_key_and_no_configuration() {
    let is_below =
        |source: &Source| source.path.starts_with("postgres/") || source.path.starts_with("local/");
    for Source { path, text } in sources().into_iter().filter(is_below) {
        for word in ["RetellConfig", "Keyring", "RootSecret", "sealer", "aead"] {
            assert!(!text.contains(word), "{path} knows {word}");
        }
    }
}

#[test]
fn files_are_short() {
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    for path in files.iter().filter(|path| !is_test_file(&relative(path))) {
        let lines = without_tests(&fs::read_to_string(path).unwrap()).lines().count();
        assert!(lines <= 400, "{} has {lines} lines without its tests: two nouns?", relative(path));
    }
}

#[test]
fn nothing_depends_on_one_machine() {
    let machine_paths = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for path in &machine_paths {
            assert!(!text.contains(path.as_str()), "{} names {path}", file.display());
        }
    }
}
