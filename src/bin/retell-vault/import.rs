//! `import scan`: what the sources of the layout hold.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use retell_vault::RetellConfig;
use retell_vault::config::import::{FoundField, Passwords, ScanReport, ScannedPlace, scan};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::args::global::Global;
use crate::args::import::{ImportCommand, ImportScanArgs, OldSecret, SecretPlace};
use crate::failure::Failure;
use crate::{layout_file, print};

/// The most owners that the text names in one list. JSON has all.
const SHOWN: usize = 20;

/// Runs the command.
pub async fn run(global: &Global, command: &ImportCommand) -> Result<(), Failure> {
    let ImportCommand::Scan(args) = command;
    let url = global.database_url().ok_or_else(|| {
        Failure::usage("import scan needs a database", "name it with DATABASE_URL or --database-url")
    })?;
    let layout = layout_file::layout(global)?;
    let passwords = passwords(args)?;
    let report = scan::<RetellConfig>(url, global.pooler.into(), &layout, &passwords).await?;
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

fn passwords(args: &ImportScanArgs) -> Result<Passwords, Failure> {
    args.secrets.iter().try_fold(Passwords::new(), |all, secret| Ok(all.with(read(secret)?)))
}

/// The text of a secret. One end of line at the end of a file does not belong to it.
fn read(OldSecret { name, from }: &OldSecret) -> Result<Zeroizing<String>, Failure> {
    let failed = |why: &str| {
        Failure::usage(format!("--secret {name}: {why}"), "set the variable, or name a private file of text")
    };
    let text = match from {
        SecretPlace::Variable(variable) => Zeroizing::new(
            env::var(variable).map_err(|_| failed("the variable is not set, or is not UTF-8 text"))?,
        ),
        SecretPlace::File(path) => {
            let mode =
                fs::metadata(path).map_err(|_| failed("the file cannot be read"))?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(failed("the file is open to group or others").with_hint("run `chmod 600` on it"));
            }
            let text = fs::read_to_string(path).map(Zeroizing::new);
            let text = text.map_err(|_| failed("the file cannot be read, or is not UTF-8 text"))?;
            let line = text.strip_suffix('\n').unwrap_or(&text);
            Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned())
        }
    };
    match text.is_empty() {
        true => Err(failed("it is empty")),
        false => Ok(text),
    }
}

fn as_json(report: &ScanReport) -> Value {
    let owner = |found: &FoundField| {
        json!({
            "user": found.user,
            "tenant": found.tenant,
            "place": found.place,
            "field": found.field.map(|field| field.to_string()),
        })
    };
    let lost = |found: &FoundField| {
        let mut json = owner(found);
        json["result"] = json!(found.result);
        json["shape"] = json!(found.shape);
        json["reason"] = json!(found.reason);
        json
    };
    json!({
        "places": report.places.iter().map(place_json).collect::<Vec<_>>(),
        "owners": report.owners,
        "lost": report.lost.iter().map(lost).collect::<Vec<_>>(),
        "disagreed": report.disagreed.iter().map(owner).collect::<Vec<_>>(),
        "replace_at_provider": report.exposed.iter().map(owner).collect::<Vec<_>>(),
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
    for (title, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        let mut lines: String =
            list.iter().take(SHOWN).map(|found| print::indented(0, &found_text(found))).collect();
        if list.len() > SHOWN {
            lines.push_str(&print::indented(
                0,
                &format!("and {} more, which --json lists", list.len() - SHOWN),
            ));
        }
        text.push('\n');
        text.push_str(&print::titled(title, &lines));
    }
    text
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
