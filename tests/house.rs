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
    let is_source = |source: &Source| source.path.ends_with(".rs") && !is_test_file(&source.path);
    files.iter().map(source).filter(is_source).collect()
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
        let folder =
            source.path.strip_suffix("mod.rs").or(source.path.strip_suffix("lib.rs")).unwrap_or(in_crate);
        let children = children(source).into_iter().filter_map(|child| file_of(&files, folder, &[child]));
        named.chain(children).filter(|file| *file != source.path).collect()
    };
    sources.iter().map(|source| (source.path.clone(), of(source))).collect()
}

/// Every file of the library and of the command is on the map, and nothing else is.
#[test]
fn the_map_names_every_file() {
    let files: BTreeSet<String> = sources().into_iter().map(|source| source.path).collect();
    let map = map();
    let on_map: BTreeSet<String> = map.iter().cloned().collect();
    assert_eq!(map.len(), on_map.len(), "a file stands on the map twice");
    let missing: Vec<_> = files.difference(&on_map).collect();
    let gone: Vec<_> = on_map.difference(&files).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not on the map: {missing:?}; not in src/: {gone:?}");
}

/// A file imports only files that stand before it on the map. So no files form a circle.
#[test]
fn imports_point_down() {
    let (map, sources) = (map(), sources());
    let place =
        |path: &str| map.iter().position(|file| file == path).unwrap_or_else(|| panic!("{path}: no map"));
    let (mut checked, mut upward) = (0, Vec::new());
    for (file, imported) in graph(&sources) {
        checked += imported.len();
        upward.extend(
            imported
                .iter()
                .filter(|target| place(target) > place(&file))
                .map(|target| format!("{file} -> {target}")),
        );
    }
    assert!(upward.is_empty(), "imports of files that stand behind on the map: {upward:#?}");
    assert!(checked > 800, "only {checked} imports were looked at");
}

/// Otherwise the graph of imports would miss some.
#[test]
fn imports_are_written_from_the_root_and_name_the_file_that_defines() {
    for Source { path, text } in sources().iter().filter(|source| source.path != "lib.rs") {
        for line in text.lines().map(str::trim) {
            assert!(!line.replace("pub(super)", "").contains("super::"), "{path}: {line}");
            // the root of a folder is the public module of the same name
            let reexports = line.starts_with("pub use ") && !path.ends_with("/mod.rs");
            assert!(!reexports && !line.starts_with("pub(crate) use "), "{path} exports again: {line}");
        }
    }
}

/// A reader who meets a name knows which type it is.
#[test]
fn one_type_name_is_one_type() {
    let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // they take the place of local/file.rs and observe/metrics.rs where a feature is off
    for Source { path, text } in sources().into_iter().filter(|source| !source.path.ends_with("/absent.rs")) {
        for line in text.lines() {
            let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
            let line = line.trim_start_matches("pub(in crate::postgres) ").trim_start_matches("pub ");
            let kinds = ["struct ", "enum ", "trait ", "type "];
            if let Some(rest) = kinds.iter().find_map(|kind| line.strip_prefix(kind)) {
                let name = rest.chars().take_while(|char| char.is_alphanumeric()).collect();
                types.entry(name).or_default().push(path.clone());
            }
        }
    }
    assert!(types.len() > 200, "only {} types were found", types.len());
    types.retain(|_, files| files.len() > 1);
    assert!(types.is_empty(), "names of several types: {types:#?}");
}

/// A new variant breaks no program, unless the set is closed by its meaning.
#[test]
fn public_enums_may_grow() {
    // the states of the keyring format, and an owner that can be loaded or cannot
    const CLOSED: [&str; 2] = ["KeyState", "ListedOwner"];
    let (sources, mut met) = (sources(), BTreeSet::new());
    for Source { path, text } in sources.iter().filter(|source| !source.path.starts_with("bin/")) {
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(name) = line.strip_prefix("pub enum ") else { continue };
            let name = name.split([' ', '<']).next().unwrap();
            let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
            let may_grow = attributes.into_iter().any(|line| *line == "#[non_exhaustive]");
            assert!(may_grow != CLOSED.contains(&name), "{path}: {name}");
            met.insert(name);
        }
    }
    assert!(met.len() > 20, "only {met:?}");
}

/// What a token looks like, our member of the JSONB column, and how a name is quoted stand in one place each.
#[test]
fn one_vocabulary_of_sql() {
    let (rust, sql, names) = ("record/token.rs", "postgres/sql/token.rs", "postgres/sql/names.rs");
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    let mut met = BTreeSet::new();
    for file in files {
        let path = relative(&file);
        let text = without_comments(without_tests(&fs::read_to_string(&file).unwrap()));
        let mut may = |what: &str, found: bool, places: &[&str]| {
            assert!(!found || is_test_file(&path) || places.contains(&path.as_str()), "{path} spells {what}");
            if found {
                met.insert(what.to_owned());
            }
        };
        let starts = ["rv1", "rv2", "rv[", "'rv", "\"rv", ")rv", "^rv"];
        let starts_token = starts.iter().any(|start| text.contains(start)) && !text.contains("b\"rv-made");
        may("how a token starts", starts_token, &[rust, sql]);
        let member = text.match_indices("retell_vault").any(|(at, name)| {
            let (before, after) = (&text[..at], &text[at + name.len()..]);
            let is_crate = after.starts_with("::");
            // names of our tables, of settings of a session, and of a tag between dollars
            let is_longer = after.starts_with(['_', '.', '$']) || before.ends_with(['_', '$']);
            !is_crate && !is_longer
        });
        // the schema of our own tables has the same name
        let places = ["record/field.rs", "postgres/vault_schema/objects.rs"];
        may("the member of the JSONB column", member || text.contains("}_vault"), &places);
        let quotes =
            text.contains(".replace('\"'") || text.contains("fn quote(") || text.contains("fn literal(");
        may("how a name or a literal is quoted", quotes, &[names]);
    }
    assert_eq!(met.len(), 3, "the patterns of this test find nothing any more: {met:?}");
}

/// The statements of the hot path run with the search path of the session, where others may have put what looks like a
/// built-in operator or type. Some forms of SQL look an operator up without a place to name its schema.
#[test]
fn the_hot_path_says_what_it_calls() {
    const LOOKED_UP: [&str; 11] = [
        "= ANY",
        "NULLIF",
        "nullif",
        "DISTINCT FROM",
        " IN (",
        " LIKE ",
        " <> ",
        "::text",
        "::uuid",
        "::jsonb",
        "::int8",
    ];
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    let mut met = BTreeSet::new();
    for file in files {
        let path = relative(&file);
        let text = without_comments(without_tests(&fs::read_to_string(&file).unwrap()));
        let text = text.replace("::statements::texts::", ""); // a module
        for form in LOOKED_UP.into_iter().filter(|form| text.contains(form)) {
            assert!(!path.starts_with("postgres/statements/"), "{path} has a bare {form}");
            met.insert(form);
        }
    }
    assert_eq!(met.len(), LOOKED_UP.len(), "some patterns find nothing any more, of these only: {met:?}");
}

/// What others named cannot begin a line of the command's output: `print.rs` ends the lines, and shows every text in its visible
/// form. Findings and errors are built in one place each, which does the same for programs that use the library.
#[test]
fn what_others_named_is_shown_in_one_place() {
    let printing = |line: &str| {
        let standard = line.contains("io::stdout()") || line.contains("io::stderr()");
        ["println!", "eprintln!", "print!(", "eprint!(", "dbg!"].iter().any(|print| line.contains(print))
            || (standard && !line.contains(".is_terminal()"))
    };
    // a text with a place in it that ends its own line; JSON is the exception
    let ends_a_line = |line: &str| {
        line.match_indices("\\n\"").any(|(at, _)| {
            let literal = line[..at].rsplit('"').next().unwrap_or_default();
            literal.contains('{') && !literal.ends_with("}}}")
        })
    };
    let builds =
        |line: &str| line.contains("Finding {") && !line.contains("->") && !line.contains("let Finding {");
    let (mut files, mut met) = (Vec::new(), BTreeSet::new());
    collect(&root().join("src"), &mut files);
    for file in files {
        let path = relative(&file);
        let text = without_comments(without_tests(&fs::read_to_string(&file).unwrap()));
        let (command, test) = (path.starts_with("bin/"), is_test_file(&path));
        for line in text.lines().filter(|_| !test) {
            let mut only_in = |place: &'static str, found: bool| {
                assert!(!found || path.ends_with(place), "{path}: {line}");
                met.extend(found.then_some(place));
            };
            only_in("retell-vault/print.rs", printing(line) || (command && ends_a_line(line)));
            only_in("doctor/finding.rs", builds(line));
            only_in("error.rs", line.contains("Box<Inner>") || line.contains("Inner {"));
        }
    }
    assert_eq!(met.len(), 3, "the patterns of this test find nothing any more: {met:?}");
}

/// The core that a stranger reviews in an afternoon.
#[test]
fn the_security_core_is_small() {
    let is_core = |path: &str| path.starts_with("record/") || path.starts_with("crypto/");
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    let core = files.iter().filter(|file| is_core(&relative(file)) && !is_test_file(&relative(file)));
    let lines: usize =
        core.map(|file| without_tests(&fs::read_to_string(file).unwrap()).lines().count()).sum();
    assert!((1000..=2300).contains(&lines), "{lines} lines");
}

#[test]
fn secrets_are_exposed_only_where_they_must_be() {
    // the command prints the agent id that the caller's own webhook call names
    let command = "bin/retell-vault/webhook.rs";
    let allowed = ["crypto/aead.rs", "keyring/wrapping.rs", "retell/config.rs", "retell/values.rs", command];
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

/// A secret that prints, or that becomes text by itself, ends in a log.
#[test]
fn no_secret_type_prints_or_serialises() {
    const SECRETS: [&str; 16] = [
        "AgentId",
        "ApiKey",
        "ExtraSecret",
        "WebhookKey",
        "RetellConfig",
        "Values",
        "Passphrase",
        "RawKey",
        "WrappingKey",
        "Material",
        "RootKey",
        "RootKeys",
        "RootSecret",
        "RecordKey",
        "Subkey",
        "Subkeys",
    ];
    let mut met = BTreeSet::new();
    for Source { path, text } in sources() {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let in_macro = ["Display for $", "Serialize for $"].iter().any(|form| text.contains(form));
        assert!(!in_macro || path != "retell/values.rs", "{path}: a macro makes secrets print");
        for name in SECRETS {
            for form in ["Display", "Serialize", "ToString"] {
                assert!(!text.contains(&format!("{form} for {name} ")), "{path}: {form} for {name}");
            }
            for (at, line) in lines.iter().enumerate() {
                let declared = line.split("struct ").nth(1).and_then(|rest| rest.strip_prefix(name));
                if declared.is_none_or(|rest| rest.starts_with(|char: char| char.is_alphanumeric())) {
                    continue;
                }
                met.insert(name);
                let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
                for derived in attributes.filter(|line| line.contains("derive(")) {
                    let prints = ["Debug", "Display", "Serialize"].iter().any(|form| derived.contains(form));
                    assert!(!prints, "{path}: {name} has {derived}");
                }
            }
        }
    }
    assert_eq!(met.len(), SECRETS.len(), "not all of these types were found, only {met:?}");
}

/// A reader of the crate's first page sees few names.
#[test]
fn the_root_exports_few_names() {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut hidden = false;
    let mut names = BTreeSet::new();
    for line in text.lines() {
        let name = line.strip_prefix("pub mod ").map(|name| name.trim_end_matches([';', '{', ' ']));
        match line.strip_prefix("pub use ") {
            Some(path) => {
                let last = path.trim_end_matches(';').rsplit("::").next().unwrap_or_default();
                let list = path.split('{').nth(1).unwrap_or(last).trim_end_matches(['}', ';']);
                names.extend(list.split(',').map(|name| name.trim().to_owned()));
            }
            None => names.extend(name.filter(|_| !hidden).map(str::to_owned)),
        }
        hidden = line == "#[doc(hidden)]";
    }
    assert!(names.contains("Vault") && names.contains("ErrorKind") && names.contains("schema"), "{names:?}");
    assert!(names.len() <= 25, "{} names: {names:?}", names.len());
}

/// The columns of the schema `retell_vault`, as `table column type`: as they are created, and as they are examined.
#[test]
fn the_vault_schema_is_examined_as_it_is_created() {
    let read = |name: &str| {
        fs::read_to_string(root().join("src/postgres/vault_schema").join(name)).unwrap().replace('\'', "")
    };
    let mut created = BTreeSet::new();
    for table in read("objects.rs").split("CREATE TABLE IF NOT EXISTS retell_vault.").skip(1) {
        let (name, rest) = table.split_once(" (\n").unwrap();
        let columns = rest.split("\",\n").next().unwrap().lines();
        for line in columns.filter(|line| !line.trim_start().starts_with("CONSTRAINT")) {
            let mut words = line.split([' ', ',', ')']).filter(|word| !word.is_empty());
            let (column, kind) = (words.next().unwrap(), words.next().unwrap());
            let kind = match kind.strip_prefix("pg_catalog.").unwrap() {
                "int8" => "bigint",
                "int4" => "integer",
                "timestamptz" => "timestamp with time zone",
                other => other,
            };
            created.insert(format!("{name} {column} {kind}"));
        }
    }
    let state = read("state.sql");
    let known = state.split_once("x.relname NOT IN (").unwrap().1.split_once(')').unwrap().0;
    let objects = read("objects.rs");
    let made =
        objects.split("CREATE INDEX IF NOT EXISTS ").skip(1).map(|rest| rest.split(' ').next().unwrap());
    assert_eq!(
        made.collect::<BTreeSet<_>>(),
        known.split(", ").collect(),
        "an unknown index counts as planted"
    );
    let wanted = state.split_once("wanted (relname, attname, kind) AS (VALUES").unwrap().1;
    let wanted = wanted.split_once("allowed (").unwrap().0;
    let rows = wanted.split('(').skip(1).map(|row| row.split(')').next().unwrap().replace(',', ""));
    assert_eq!(rows.collect::<BTreeSet<_>>(), created);
    assert!(created.len() > 10, "{created:?}");
}
