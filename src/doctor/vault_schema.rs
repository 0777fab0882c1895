//! The schema `retell_vault`: who owns it, who may use it, what else lies in it, and what its rows say.

use crate::display::visible;
use crate::doctor::context::TableContext;
use crate::doctor::finding::{Finding, Fix, Severity};
use crate::doctor::finding_ids;
use crate::doctor::frame::framed;
use crate::error::ErrorKind;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::sql::names::quote;
use crate::postgres::vault_schema::objects::{Existing, SCHEMA, SCHEMA_OBJECT, creation, ledger_grant};
use crate::postgres::vault_schema::state::{self, VaultSchema, WiderGrant, sql_name};
use crate::postgres::vault_schema::{generations, hosts, newest};
use crate::schema::removed_rows::are_noted;
use crate::store::keyring_table::sealed;

/// How many hosts a finding names.
const HOSTS: usize = 5;

pub(super) async fn look(context: &TableContext<'_>) -> Result<Vec<Finding>, DatabaseError> {
    let database = &context.postgres.database;
    let found = state::look(database, &context.relation(), &[]).await?;
    let Some(owner) = &found.owner else { return Ok(Vec::new()) };
    let mut findings = Vec::new();
    findings.extend(incomplete(&found, owner));
    findings.extend(not_durable(&found));
    findings.extend(others(context, &found));
    findings.extend(found.open.iter().map(open));
    findings.extend(planted(&found, owner));
    findings.extend(missing_grant(context, &found, owner));
    if context.core.ledger_key().is_some() {
        findings.extend(rewritable(context, &found));
        findings.extend(removals_not_noted(context));
    }
    // statements on objects of others would run their code
    if found.is_trusted() {
        findings.extend(readable(keyring_rows(context, &found).await)?);
        findings.extend(readable(host_notes(context, &found, owner).await)?);
    }
    Ok(findings)
}

/// A missing right is a finding of its own.
fn readable(found: Result<Vec<Finding>, DatabaseError>) -> Result<Vec<Finding>, DatabaseError> {
    match found {
        Err(fault) if fault.error.kind() == ErrorKind::AccessDenied => Ok(Vec::new()),
        found => found,
    }
}

/// Statements as a role, in the frame that makes them mean the same for everybody.
fn as_role(role: &str, statements: &[String]) -> Fix {
    Fix::Sql(framed(Some(role), &statements.join(";\n")))
}

fn table(name: &str) -> String {
    format!("table retell_vault.{name}")
}

fn incomplete(found: &VaultSchema, owner: &str) -> Vec<Finding> {
    let id = finding_ids::VAULT_SCHEMA_INCOMPLETE;
    let finding =
        |meaning: String, fix| Finding::new(id, Severity::Warning, SCHEMA_OBJECT.to_owned(), meaning, fix);
    let missing = (!found.missing.is_empty()).then(|| {
        let meaning = format!(
            "it lacks {}: a keyring in the database, notes of hosts or counts of pushes have no place",
            found.missing.join(", ")
        );
        finding(meaning, as_role(owner, &creation(Existing::Schema, &[])))
    });
    let unlike = (!found.unlike.is_empty()).then(|| {
        let advice = "find out what changed them; keep a dump of the tables before you change them back";
        let meaning =
            format!("{} are missing or not of the type that the vault made", found.unlike.join(", "));
        finding(meaning, Fix::Advice(advice.to_owned()))
    });
    missing.into_iter().chain(unlike).collect()
}

fn not_durable(found: &VaultSchema) -> Vec<Finding> {
    let finding = |unlogged: &state::OwnedTable| {
        let sql = format!("ALTER TABLE retell_vault.{} SET LOGGED", quote(&unlogged.name));
        Finding::new(
            finding_ids::TABLE_NOT_DURABLE,
            Severity::Critical,
            table(&unlogged.name),
            "the table is UNLOGGED: a crash of the server empties it, and a keyring in it would be lost",
            as_role(&unlogged.owner, &[sql]),
        )
    };
    found.unlogged.iter().map(finding).collect()
}

/// An owner that could have planted the schema.
fn others(context: &TableContext<'_>, found: &VaultSchema) -> Option<Finding> {
    let meaning = format!(
        "it or a table in it belongs to {}, a role without the rights of {}, which owns {}: that role can read, replace \
         and remove what lies there. The vault counts no pushes in it",
        found.others.join(", "),
        context.definitions.relation.owner,
        context.layout.table_name()
    );
    let advice = format!(
        "if you know that role, transfer the schema and its tables to {}; otherwise drop the schema and make it again",
        context.definitions.relation.owner
    );
    let id = finding_ids::VAULT_SCHEMA_OWNER;
    (!found.others.is_empty())
        .then(|| Finding::new(id, Severity::Warning, SCHEMA_OBJECT, meaning, Fix::Advice(advice)))
}

fn open(grant: &WiderGrant) -> Finding {
    let object = match grant.object.as_str() {
        "" => SCHEMA_OBJECT.to_owned(),
        function if function.ends_with(')') => format!("function {SCHEMA}.{function}"),
        name => table(name),
    };
    let holder = match grant.holder.as_str() {
        "public" => "everybody".to_owned(),
        holder if holder == grant.grantee => format!("role {holder}"),
        holder => format!("role {holder}, as a member of {},", grant.grantee),
    };
    let severity = match ["public", "anon", "authenticated"].contains(&grant.holder.as_str()) {
        true => Severity::Critical,
        false => Severity::Warning,
    };
    let meaning = format!(
        "{holder} has {} here, more than the vault grants: the sealed keyring and the counts are for the roles of the \
         application and of its operators alone",
        grant.privileges.join(", ")
    );
    Finding::new(finding_ids::VAULT_SCHEMA_OPEN, severity, object, meaning, revoke(grant))
}

/// Only the role that granted a right can revoke it.
fn revoke(grant: &WiderGrant) -> Fix {
    if grant.holder != "public" && grant.holder != grant.grantee {
        let sql = format!("REVOKE {} FROM {}", quote(&grant.grantee), quote(&grant.holder));
        return Fix::Sql(framed(None, &sql));
    }
    let from = if grant.grantee == "public" { "PUBLIC".to_owned() } else { quote(&grant.grantee) };
    let sql =
        format!("REVOKE {} ON {} FROM {from} CASCADE", grant.privileges.join(", "), sql_name(&grant.object));
    as_role(&grant.grantor, &[sql])
}

fn planted(found: &VaultSchema, owner: &str) -> Vec<Finding> {
    let named = |has_drop: bool| {
        let objects = found.planted.iter().filter(move |object| object.drop.is_some() == has_drop);
        objects.map(|object| object.what.as_str()).collect::<Vec<_>>().join("; ")
    };
    let drops: Vec<String> = found.planted.iter().filter_map(|object| object.drop.clone()).collect();
    let finding = |meaning: String, fix| {
        Finding::new(finding_ids::VAULT_SCHEMA_PLANTED, Severity::Critical, SCHEMA_OBJECT, meaning, fix)
    };
    let with_sql = (!drops.is_empty()).then(|| {
        let meaning = format!(
            "retell-vault did not make these: {}. Code in them runs with the rights of every role that uses the tables, and \
             a policy may hide rows; the vault refuses a keyring there and counts no pushes",
            named(true)
        );
        finding(meaning, as_role(owner, &drops))
    });
    let others = named(false);
    let without = (!others.is_empty()).then(|| {
        let advice = "find out what made them, and move or drop them: they may hold data";
        finding(format!("retell-vault did not make these: {others}"), Fix::Advice(advice.to_owned()))
    });
    with_sql.into_iter().chain(without).collect()
}

/// Rights that the vault's own role needs: on the keyring and the hosts if its keyring lies there, on the counts if it
/// has a local file, and on the ledger if it was begun.
fn missing_grant(context: &TableContext<'_>, found: &VaultSchema, owner: &str) -> Option<Finding> {
    let core = context.core;
    let needs = |object: &str| match object {
        "keyring" | "hosts" => core.keyring.is_in_table(),
        "local_files" => core.local.is_some(),
        "ledger" | newest::LISTED => core.ledger_key().is_some(),
        _ => core.keyring.is_in_table() || core.local.is_some() || core.ledger_key().is_some(),
    };
    let role = &context.definitions.server.role;
    let lacking =
        found.lacking.iter().filter(|right| needs(&right.object) && !found.missing.contains(&right.object));
    let grants: Vec<String> = lacking
        .map(|right| match right.object.as_str() {
            "ledger" => ledger_grant(role),
            object => format!("GRANT {} ON {} TO {}", right.privilege, sql_name(object), quote(role)),
        })
        .collect();
    let meaning = format!(
        "role {role} lacks rights in it: without them a keyring there cannot be read, hosts are not noted, a restored local file is \
         noticed only by the age of its records, and no load can be compared with the ledger"
    );
    let id = finding_ids::MISSING_GRANT;
    (!grants.is_empty())
        .then(|| Finding::new(id, Severity::Warning, SCHEMA_OBJECT, meaning, as_role(owner, &grants)))
}

/// A ledger that the role itself could change.
fn rewritable(context: &TableContext<'_>, found: &VaultSchema) -> Option<Finding> {
    let meaning = format!(
        "the ledger does not hold against role {}: that role may change or remove entries, and only copies outside of the \
         database show it. This matters if the application connects as it",
        context.definitions.server.role
    );
    let advice = "let the application connect as a role that only adds entries, and give the schema an owner of its own: \
                  docs/LEDGER.md, Rights";
    let id = finding_ids::LEDGER_REWRITABLE;
    found
        .rewrites_ledger
        .then(|| Finding::new(id, Severity::Notice, table("ledger"), meaning, Fix::Advice(advice.to_owned())))
}

/// A table whose deleted rows the ledger cannot explain.
fn removals_not_noted(context: &TableContext<'_>) -> Option<Finding> {
    let meaning = "no trigger notes which rows are deleted, so `ledger verify` reports a row that the application deletes, for \
                   example by ON DELETE CASCADE, as vanished";
    let fix = Fix::Command("retell-vault schema apply --vault-schema".to_owned());
    let id = finding_ids::REMOVALS_NOT_NOTED;
    (!are_noted(context.layout, context.table, context.definitions))
        .then(|| Finding::new(id, Severity::Notice, context.layout.table_name(), meaning, fix))
}

/// The rows of the keyring, if the keyring of this vault lies there.
async fn keyring_rows(
    context: &TableContext<'_>,
    found: &VaultSchema,
) -> Result<Vec<Finding>, DatabaseError> {
    let keyring = &context.core.keyring;
    if !keyring.is_in_table() || found.missing.iter().any(|name| name == "keyring") {
        return Ok(Vec::new());
    }
    let rows = generations::newest_rows(&context.postgres.database).await?;
    let newest = rows.first().map(|row| row.generation);
    let finding = |id, meaning: String| {
        let fix = Fix::Command("retell-vault keyring repair".to_owned());
        Finding::new(id, Severity::Critical, table("keyring"), meaning, fix)
    };
    let (mut findings, mut others) = (Vec::new(), 0);
    for row in rows {
        let generation = row.generation;
        // older rows may be sealed under an older secret, so only the newest must open
        match sealed(row).and_then(|row| keyring.id_of(&row)) {
            Ok(id) if id != keyring.pin().id() => others += 1,
            Err(error) if Some(generation) == newest => findings.push(finding(
                finding_ids::KEYRING_ROW_LOCKED,
                format!("the newest row, generation {generation}, does not open ({error}): no process starts, and nothing is sealed"),
            )),
            _ => {}
        }
    }
    if others > 0 {
        let meaning = format!("{others} rows hold another keyring than {}", keyring.pin().id());
        findings.push(finding(finding_ids::KEYRING_ROWS_MIXED, meaning).of(others, Vec::new()));
    }
    Ok(findings)
}

/// Notes of running processes that have another generation, and notes that nothing renews.
async fn host_notes(
    context: &TableContext<'_>,
    found: &VaultSchema,
    owner: &str,
) -> Result<Vec<Finding>, DatabaseError> {
    if found.missing.iter().any(|name| name == "hosts") {
        return Ok(Vec::new());
    }
    let notes = hosts::all(&context.postgres.database).await?;
    let keyring = &context.core.keyring;
    let generation = i64::try_from(keyring.current().generation).unwrap_or(i64::MAX);
    let (live, stale): (Vec<_>, Vec<_>) = notes.into_iter().partition(|note| note.is_live);
    let behind: Vec<_> = live.iter().filter(|note| note.generation != generation).collect();
    let mut findings = Vec::new();
    if keyring.is_in_table() && !behind.is_empty() {
        let named = behind.iter().take(HOSTS).map(|note| format!("{} has {}", note.host, note.generation));
        let meaning = format!(
            "running processes have loaded another generation of the keyring than {generation}: {}",
            named.collect::<Vec<_>>().join(", ")
        );
        let advice = "a process loads a new generation within a minute; if it does not, restart it, with the new \
                      passphrase or wrapping key if that changed";
        let id = finding_ids::HOST_GENERATION;
        let finding =
            Finding::new(id, Severity::Warning, table("hosts"), meaning, Fix::Advice(advice.to_owned()));
        findings.push(finding.of(behind.len() as u64, Vec::new()));
    }
    if !stale.is_empty() {
        let mut meaning = "notes of processes that have not been renewed for five minutes: the processes were killed, or they \
                           cannot write their notes"
            .to_owned();
        let ahead = stale.iter().filter(|note| note.is_ahead).take(HOSTS);
        let ahead: Vec<_> = ahead.map(|note| visible(&note.host)).collect();
        if !ahead.is_empty() {
            let named = ahead.join(", ");
            meaning = format!("{meaning}; notes that no process wrote, with a time in the future: {named}");
        }
        let fix = as_role(owner, &[hosts::remove_stale_sql()]);
        let finding =
            Finding::new(finding_ids::HOST_NOTES_STALE, Severity::Notice, table("hosts"), meaning, fix);
        findings.push(finding.of(stale.len() as u64, Vec::new()));
    }
    Ok(findings)
}
