//! `layout detect`: finds the table that holds credentials today, and writes a layout for it.

use std::collections::BTreeMap;

use retell_vault::layout::FilterValue;
use retell_vault::schema::{Candidate, DetectOptions, Detection, Proposal, ProposedSource};
use retell_vault::{Error, ErrorKind, Layout};
use serde_json::{Map, Value, json};

use crate::args::global::Global;
use crate::args::layout::LayoutDetectArgs;
use crate::failure::Failure;
use crate::layout_file;
use crate::print;

/// Runs the command.
pub async fn run(global: &Global, args: &LayoutDetectArgs) -> Result<(), Failure> {
    let table = global.layout.only_table("layout detect")?;
    let url = global.database_url().ok_or_else(|| {
        Failure::usage("layout detect needs a database", "name it with DATABASE_URL or --database-url")
    })?;
    let mut options = DetectOptions::new().pooler(global.pooler.into());
    if let Some(schema) = &args.schema {
        options = options.schema(schema);
    }
    if let Some(table) = table {
        options = options.table(table);
    }
    let found = Layout::detect(url, &options).await?;
    let written = match args.write {
        true => Some(write(global, args, &found, table)?),
        false => None,
    };
    match global.json {
        true => print::json(&as_json(&found, written.as_ref())),
        false => print::out(&as_text(&found, written.as_ref())),
    }
}

/// What to do about a table that is missing or has no room for tokens.
pub fn hint(problem: &Error) {
    if problem.kind() == ErrorKind::Schema {
        print::hint(
            "`retell-vault layout detect` finds the table that holds credentials today, and --write names it in a layout file",
        );
    }
}

/// The layout file, and whether it was changed.
struct WrittenFile {
    path: String,
    is_new: bool,
}

fn write(
    global: &Global,
    args: &LayoutDetectArgs,
    found: &Detection,
    table: Option<&str>,
) -> Result<WrittenFile, Failure> {
    let proposal = proposal(found, table)?;
    let path = global.layout_file();
    let shown = path.display().to_string();
    match layout_file::read(&path)? {
        Some(layout) if layout == proposal.layout => return Ok(WrittenFile { path: shown, is_new: false }),
        Some(_) if !args.replace => {
            return Err(Failure::new(
                format!("{shown} is already there, with another layout"),
                "nothing was written; add --replace to overwrite it, or name another file with --layout",
            ));
        }
        _ => {}
    }
    layout_file::write_text(&path, &proposal.to_toml())?;
    Ok(WrittenFile { path: shown, is_new: true })
}

fn proposal<'a>(found: &'a Detection, table: Option<&str>) -> Result<&'a Proposal, Failure> {
    match (found.chosen, table) {
        (Some(at), _) => found.proposal().ok_or_else(|| {
            Failure::new(
                format!("no layout was written: {} has no column that tells whose credentials a row holds", found.candidates[at].table),
                "give the table a primary key of one column, or write the layout with `retell-vault layout write`",
            )
        }),
        (None, Some(_)) => Err(Failure::new(
            "no layout was written: the table that --table names does not exist, or has no column that looks like credentials",
            "run `retell-vault layout detect` without --table, or write the layout with `retell-vault layout write`",
        )),
        (None, None) if found.candidates.is_empty() => Err(Failure::new(
            "no layout was written: no table looks like one for credentials",
            "name the table and its columns with `retell-vault layout write`",
        )),
        (None, None) => Err(Failure::new(
            "no layout was written: no table leads clearly",
            "choose one of those that `retell-vault layout detect` lists, with --table",
        )),
    }
}

fn as_json(found: &Detection, written: Option<&WrittenFile>) -> Value {
    let mut json = json!({
        "candidates": found.candidates.iter().map(candidate_json).collect::<Vec<_>>(),
        "chosen": found.chosen,
        "sources": sources(found).iter().map(source_json).collect::<Vec<_>>(),
        "unopened": unopened(found),
        "left_out": found.left_out,
    });
    if let Some(written) = written {
        json["layout"] = json!(written.path);
        json["written"] = json!(written.is_new);
    }
    json
}

fn sources(found: &Detection) -> &[ProposedSource] {
    found.proposal().map_or(&[], |proposal| &proposal.sources)
}

fn unopened(found: &Detection) -> &[String] {
    found.proposal().map_or(&[], |proposal| &proposal.unopened)
}

fn source_json(source: &ProposedSource) -> Value {
    json!({
        "table": source.table,
        "user": source.user,
        "tenant": source.tenant,
        "where": constants(&source.filter),
        "is_null": source.is_null,
        "column": source.column,
        "field": source.field,
        "members": source.members,
        "decryptor": source.decryptor,
        "iv": source.iv,
        "tag": source.tag,
        "doubt": source.doubt,
    })
}

fn constants(filter: &BTreeMap<String, FilterValue>) -> Map<String, Value> {
    filter.iter().map(|(column, value)| (column.clone(), constant(value))).collect()
}

fn candidate_json(candidate: &Candidate) -> Value {
    json!({
        "table": candidate.table,
        "user": candidate.user,
        "tenant": candidate.tenant,
        "where": constants(&candidate.filter),
        "is_null": candidate.is_null,
        "columns": candidate.columns,
        "holds": candidate.holds.as_str(),
        "provider": candidate.provider,
        "why": candidate.why,
    })
}

fn constant(value: &FilterValue) -> Value {
    match value {
        FilterValue::Text(text) => json!(text),
        FilterValue::Integer(number) => json!(number),
        FilterValue::Boolean(is_set) => json!(is_set),
        _ => Value::Null,
    }
}

fn as_text(found: &Detection, written: Option<&WrittenFile>) -> String {
    let mut parts: Vec<String> = found
        .candidates
        .iter()
        .enumerate()
        .map(|(at, candidate)| candidate_text(candidate, found.chosen == Some(at)))
        .collect();
    if parts.is_empty() {
        parts.push("no table looks like one for credentials of a voice or API provider\n".to_owned());
    }
    let lines: String = sources(found).iter().map(source_text).collect();
    let lines = lines + &unopened(found).iter().map(|what| print::indented(0, what)).collect::<String>();
    if !lines.is_empty() {
        parts.push(print::titled("values to import, the first source of a field wins", &lines));
    }
    if !found.left_out.is_empty() {
        let lines: String = found.left_out.iter().map(|what| print::indented(0, what)).collect();
        parts.push(print::titled("not looked at", &lines));
    }
    parts.push(next(found, written));
    parts.join("\n")
}

fn candidate_text(candidate: &Candidate, is_chosen: bool) -> String {
    let row = |name: &str, value: String| [format!("  {name}"), value];
    let mut rows = vec![row("owner", owner(candidate))];
    let filter: Vec<String> = candidate
        .filter
        .iter()
        .map(|(column, value)| format!("{column} = {}", constant(value)))
        .chain(candidate.is_null.iter().map(|column| format!("{column} is NULL")))
        .collect();
    if !filter.is_empty() {
        rows.push(row("rows", filter.join(" and ")));
    }
    rows.extend(candidate.columns.iter().map(|(field, column)| row(field, column.clone())));
    rows.push(row("holds", candidate.holds.as_str().to_owned()));
    let mark = if is_chosen { " (chosen)" } else { "" };
    let why: String = candidate.why.iter().map(|why| print::indented(2, &format!("- {why}"))).collect();
    format!("{}{}{why}", print::indented(0, &format!("{}{mark}", candidate.table)), print::table(&rows))
}

fn source_text(source: &ProposedSource) -> String {
    let what = match &source.field {
        Some(field) => field.clone(),
        None if source.members.is_empty() => "members by their names".to_owned(),
        None => source
            .members
            .iter()
            .map(|(path, field)| format!("{path} = {field}"))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let line = format!("{}.{}: {what} ({})", source.table, source.column, source.decryptor);
    let doubt =
        source.doubt.iter().map(|doubt| print::indented(2, &format!("- not in use, because {doubt}")));
    print::indented(0, &line) + &doubt.collect::<String>()
}

fn owner(candidate: &Candidate) -> String {
    match (&candidate.user, &candidate.tenant) {
        (Some(user), Some(tenant)) => format!("{user}, in tenant {tenant}"),
        (Some(user), None) => user.clone(),
        (None, _) => "no column".to_owned(),
    }
}

fn next(found: &Detection, written: Option<&WrittenFile>) -> String {
    match (written, found.chosen) {
        (Some(WrittenFile { path, is_new: true }), _) => {
            let next = "next: read it, then `retell-vault schema plan` and `retell-vault schema apply`";
            let scan = "then: check the order of its sources, and what `retell-vault import scan` finds in them";
            let scan = print::indented(0, scan);
            let scan = if sources(found).is_empty() { String::new() } else { scan };
            print::indented(0, &format!("wrote {path}")) + &print::indented(0, next) + &scan
        }
        (Some(WrittenFile { path, .. }), _) => print::indented(0, &format!("kept {path}: it already matches")),
        (None, Some(_)) => "next: `retell-vault layout detect --write` writes a layout for the chosen table\n".to_owned(),
        (None, None) if found.candidates.is_empty() => {
            "next: name the table with `retell-vault layout write`\n".to_owned()
        }
        (None, None) => "next: no table leads clearly; choose one with `retell-vault layout detect --write --table NAME`\n".to_owned(),
    }
}
