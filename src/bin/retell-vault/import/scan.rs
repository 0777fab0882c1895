//! `import scan`: what the sources of the layout hold.

use retell_vault::RetellConfig;
use retell_vault::config::import::{self, FoundField, Passwords, ScanReport, ScannedPlace};
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::failure::Failure;
use crate::{layout_file, print};

/// The most owners that the text names in one list. JSON has all.
const SHOWN: usize = 20;

/// Scans.
pub async fn scan(global: &Global, passwords: &Passwords) -> Result<(), Failure> {
    let url = global.database_url().ok_or_else(|| {
        Failure::usage("import scan needs a database", "name it with DATABASE_URL or --database-url")
    })?;
    let layout = layout_file::layout(global)?;
    let report = import::scan::<RetellConfig>(url, global.pooler.into(), &layout, passwords).await?;
    for place in report.places.iter().filter(|place| place.given_up > 0) {
        print::warning(&format!(
            "{}: none of the first values opens, so the other {} were left out; give the password or key with --secret",
            place.place,
            print::count(place.given_up, "row")
        ));
    }
    match global.json {
        true => print::json(&as_json(&report)),
        false => print::out(&as_text(&report)),
    }
}

fn as_json(report: &ScanReport) -> Value {
    let lost = |found: &FoundField| {
        let mut json = owner_json(found);
        json["result"] = json!(found.result);
        json["shape"] = json!(found.shape);
        json["reason"] = json!(found.reason);
        json
    };
    json!({
        "places": report.places.iter().map(place_json).collect::<Vec<_>>(),
        "owners": report.owners,
        "lost": report.lost.iter().map(lost).collect::<Vec<_>>(),
        "disagreed": report.disagreed.iter().map(owner_json).collect::<Vec<_>>(),
        "replace_at_provider": report.exposed.iter().map(owner_json).collect::<Vec<_>>(),
    })
}

/// The field of an owner in a place.
pub fn owner_json(found: &FoundField) -> Value {
    json!({
        "user": found.user,
        "tenant": found.tenant,
        "place": found.place,
        "field": found.field.map(|field| field.to_string()),
    })
}

fn place_json(place: &ScannedPlace) -> Value {
    let count = |((result, shape), count): (&(&str, &str), &u64)| json!({ "result": result, "shape": shape, "count": count });
    json!({
        "place": place.place,
        "decryptor": place.decryptor,
        "rows": place.rows,
        "counts": place.counts.iter().map(count).collect::<Vec<_>>(),
        "sample": place.sample,
        "given_up": place.given_up,
    })
}

fn as_text(report: &ScanReport) -> String {
    let mut text: String = report.places.iter().map(place_text).collect();
    text.push_str(&print::indented(
        0,
        &format!("{} with at least one value", print::count(report.owners, "owner")),
    ));
    let lists = [
        ("cannot be had", &report.lost),
        ("differs from an earlier source", &report.disagreed),
        ("replace at the provider, because others may have read it", &report.exposed),
    ];
    text + &lists.map(|(title, list)| list_text(title, list)).concat()
}

/// A list of values below its title. Nothing if there are none.
pub fn list_text(title: &str, list: &[FoundField]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let mut lines: String =
        list.iter().take(SHOWN).map(|found| print::indented(0, &found_text(found))).collect();
    if list.len() > SHOWN {
        let more = format!("and {} more, which --json lists", list.len() - SHOWN);
        lines.push_str(&print::indented(0, &more));
    }
    format!("\n{}", print::titled(title, &lines))
}

fn place_text(place: &ScannedPlace) -> String {
    let rows: Vec<[String; 3]> = place
        .counts
        .iter()
        .map(|((result, shape), count)| [format!("  {count}"), result.replace('_', " "), (*shape).to_owned()])
        .collect();
    let title = format!("{} ({}, {})", place.place, place.decryptor, print::count(place.rows, "row"));
    let sample = place.sample.iter().map(|sample| print::indented(2, &format!("such as {sample}")));
    print::indented(0, &title) + &print::table(&rows) + &sample.collect::<String>() + "\n"
}

fn found_text(found: &FoundField) -> String {
    let tenant = found.tenant.iter().map(|tenant| format!("{tenant}/")).collect::<String>();
    let field = found.field.map_or_else(String::new, |field| format!(", {field}"));
    let why = if found.reason.is_empty() { String::new() } else { format!(": {}", found.reason) };
    format!("{tenant}{}, {}{field}{why}", found.user, found.place)
}
