//! `layout show`, `layout check` and `layout write`: the layout beside the database. None of them opens the keyring, nor
//! does `layout detect`.

use std::path::PathBuf;

use retell_vault::status::{Contradiction, FieldReport, LayoutReport};
use serde_json::{Map, Value, json};

use crate::args::global::Global;
use crate::args::layout::{LayoutCheckArgs, LayoutCommand, LayoutWriteArgs};
use crate::failure::Failure;
use crate::layout_detect;
use crate::layout_file::{self, contradicting, contradiction};
use crate::print;

/// What is not touched is shown up to this many columns.
const SHOWN: usize = 20;

/// Runs one of the commands.
pub async fn run(global: &Global, command: &LayoutCommand) -> Result<(), Failure> {
    match command {
        LayoutCommand::Show => show(global).await,
        LayoutCommand::Check(args) => check(global, args).await,
        LayoutCommand::Write(args) => write(global, args),
        LayoutCommand::Detect(args) => layout_detect::run(global, args).await,
    }
}

async fn show(global: &Global) -> Result<(), Failure> {
    let report = report(global).await?;
    match global.json {
        true => print::json(&as_json(global, &report)),
        false => print::out(&as_text(global, &report)),
    }
}

async fn check(global: &Global, args: &LayoutCheckArgs) -> Result<(), Failure> {
    check_beside(global, &args.beside)?;
    let report = report(global).await?;
    match global.json {
        true => print::json(&as_json(global, &report))?,
        false => print::out(&verdict(&report))?,
    }
    match report.contradictions.len() {
        0 => Ok(()),
        number => Err(Failure::new(
            format!("{} between the layout and the database", print::count(number as u64, "contradiction")),
            "correct the layout file or the table; `retell-vault layout show` shows where every field would be stored",
        )),
    }
}

/// Two layouts must not write the same columns of the same rows.
fn check_beside(global: &Global, others: &[PathBuf]) -> Result<(), Failure> {
    let layout = layout_file::layout(global)?;
    for path in others {
        let missing = || Failure::usage(format!("there is no file {}", path.display()), "check its name");
        let other = layout_file::read(path)?.ok_or_else(missing)?;
        layout
            .check_beside(&other)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display()), error.hint().to_owned()))?;
    }
    Ok(())
}

async fn report(global: &Global) -> Result<LayoutReport, Failure> {
    let layout = layout_file::layout(global)?;
    let url = global.database_url().ok_or_else(|| {
        Failure::usage("comparing the layout needs a database", "name it with DATABASE_URL or --database-url")
    })?;
    Ok(layout.compare(url, global.pooler.into()).await?)
}

fn write(global: &Global, args: &LayoutWriteArgs) -> Result<(), Failure> {
    let (options, path) = (global.layout.options()?, global.layout_file());
    if options.is_empty() {
        return Err(Failure::usage(
            "nothing to write",
            "give --table, --user-column, --tenant-column, --column or --where",
        ));
    }
    let existing = layout_file::read(&path)?;
    let is_new = match &existing {
        None => true,
        Some(layout) => match contradicting(&options, layout)? {
            None => false,
            Some(_) if args.replace => true,
            Some(option) => {
                return Err(contradiction(option, &path)
                    .with_hint("edit the file, or add --replace to change it without its comments"));
            }
        },
    };
    if is_new {
        let layout = existing.unwrap_or_default();
        let layout = options.iter().try_fold(layout, |layout, option| option.apply(layout))?;
        layout.check()?;
        layout_file::write(&path, &layout)?;
    }
    let path = path.display().to_string();
    match (global.json, is_new) {
        (true, _) => print::json(&json!({ "layout": path, "written": is_new })),
        (false, true) => print::line(&format!("wrote {path}")),
        (false, false) => print::line(&format!("kept {path}: it already matches")),
    }
}

fn as_json(global: &Global, report: &LayoutReport) -> Value {
    let field = |field: &FieldReport| {
        let shown = json!({ "place": field.place.kind(), "column": field.place.column(), "sealed": field.is_sealed, "why": field.why });
        (field.field.to_string(), shown)
    };
    json!({
        "layout": used_file(global),
        "database": report.address,
        "table": report.table,
        "owner": report.owner,
        "filter": report.filter,
        "rows": report.rows.map(|rows| rows.as_str()),
        "fields": report.fields.iter().map(field).collect::<Map<_, _>>(),
        "not_touched": report.not_touched,
        "contradictions": report.contradictions,
        "not_looked_at": report.not_looked_at,
    })
}

/// The layout file, if there is one.
fn used_file(global: &Global) -> Option<String> {
    let path = global.layout_file();
    path.exists().then(|| path.display().to_string())
}

fn as_text(global: &Global, report: &LayoutReport) -> String {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let file = used_file(global)
        .unwrap_or_else(|| "none: default names, and the options of this command".to_owned());
    let table = report.table.clone().unwrap_or_else(|| "missing".to_owned());
    let mut head = vec![row("layout", file), row("database", report.address.clone()), row("table", table)];
    if !report.owner.is_empty() {
        head.push(row("owner", report.owner.join(", tenant ")));
    }
    let filter = if report.filter.is_empty() { "all".to_owned() } else { report.filter.join(" and ") };
    head.push(row("rows that count", filter));
    head.push(row("new rows", new_rows(report)));
    let fields: Vec<_> = report.fields.iter().map(field_row).collect();
    let mut parts = vec![print::table(&head), print::titled("fields", &print::table(&fields))];
    if !report.not_touched.is_empty() {
        parts.push(print::titled(
            "columns that are not touched",
            &print::indented(0, &some(&report.not_touched)),
        ));
    }
    if !report.contradictions.is_empty() {
        parts.push(print::titled("contradictions", &contradictions(report)));
    }
    parts.join("\n")
}

fn new_rows(report: &LayoutReport) -> String {
    match report.rows.map(|rows| rows.as_str()) {
        Some("create") => "a store creates the row of an owner".to_owned(),
        Some(_) => "the application creates the row of an owner".to_owned(),
        None => "not set: the application creates them if the user column is `id`, has a default, or is referenced by a foreign key; otherwise a store creates them".to_owned(),
    }
}

fn field_row(field: &FieldReport) -> [String; 5] {
    let kept = if field.is_sealed { "sealed" } else { "in the clear" };
    [
        field.field.to_string(),
        field.place.kind().to_owned(),
        field.place.column().unwrap_or("-").to_owned(),
        kept.to_owned(),
        field.why.clone().unwrap_or_default(),
    ]
}

fn contradictions(report: &LayoutReport) -> String {
    let text = |found: &Contradiction| {
        let problem = print::indented(0, &format!("{}: {}", found.member, found.problem));
        problem + &print::indented(2, &found.hint)
    };
    report.contradictions.iter().map(text).collect()
}

/// The text of `layout check`.
fn verdict(report: &LayoutReport) -> String {
    let mut text = match report.contradictions.is_empty() {
        true => "the database matches the layout: the table, the columns and their types, and the privileges of this role\n"
            .to_owned(),
        false => contradictions(report),
    };
    for what in &report.not_looked_at {
        text.push_str(&print::indented(0, &format!("not checked: {what}")));
    }
    text + "not checked: the rows\n"
}

/// Names of a list that may be long.
fn some(names: &[String]) -> String {
    match names.len() {
        0..=SHOWN => names.join(", "),
        all => format!("{}, and {} more (--json lists all)", names[..SHOWN].join(", "), all - SHOWN),
    }
}
