//! Secrets that lie open, and text in the vault's columns that it did not write.

pub(crate) mod alike;
pub(crate) mod class;
mod defaults;
pub(crate) mod json;
mod mend;

use crate::doctor::exposure::alike::Alike;
use crate::doctor::exposure::class::Class;
use crate::doctor::finding::{Area, Finding, Severity};
use crate::doctor::rows::Seen;
use crate::doctor::rows::tally::{Place, Role, Sighting};
use crate::record::token::MEMBER;

pub(crate) use crate::doctor::exposure::mend::NOTHING;

/// What was seen, as findings.
pub(crate) fn findings(seen: &Seen<'_>) -> Vec<Finding> {
    let exposed = seen.tally.exposed.iter();
    let exposed = exposed.map(|((at, place, class), sighting)| finding(seen, *at, place, *class, sighting));
    exposed.chain(defaults::findings(seen)).collect()
}

fn finding(seen: &Seen<'_>, at: usize, place: &Place, class: Class, sighting: &Sighting) -> Finding {
    let role = seen.columns.roles[at].0;
    let object = match place {
        Place::Whole => seen.object(at),
        Place::Ours => format!("{}, {MEMBER}", seen.object(at)),
        Place::Key(spot) => format!("{}, key {}", seen.object(at), spot.path.join(".")),
    };
    let id = if role == Role::Webhook { "secret_in_webhook_config" } else { id(class) };
    let meaning = format!("{}{}: {}", what(class), seen.of_how_many(), consequence(role, place, class));
    let finding = Finding::new(
        (Area::Exposure, severity(role, class), id),
        object,
        meaning,
        mend::mend(seen, at, place, class),
    );
    finding.of(sighting.count, sighting.owners.clone())
}

fn id(class: Class) -> &'static str {
    match class {
        Class::Ciphertext => "foreign_ciphertext",
        Class::Encoded => "encoded_plaintext",
        Class::Malformed | Class::Tokens | Class::Empty => "malformed_token",
        Class::Plaintext => "plaintext",
    }
}

fn severity(role: Role, class: Class) -> Severity {
    match (role, class) {
        (Role::Alike(Alike::Agent), _) | (_, Class::Ciphertext) => Severity::Warning,
        _ => Severity::Critical,
    }
}

fn what(class: Class) -> &'static str {
    match class {
        Class::Plaintext => "plain text",
        Class::Encoded => "base64 or hex of plain text, which is no encryption",
        Class::Ciphertext => "what looks like the ciphertext of other code",
        Class::Malformed | Class::Tokens | Class::Empty => "text that starts like a token and is none",
    }
}

fn consequence(role: Role, place: &Place, class: Class) -> &'static str {
    match (role, place, class) {
        (_, Place::Key(spot), _) if spot.in_address => {
            "the address holds a password or token, which everybody reads who may read the table; \
             let the receiver check the vault's webhook secret; the SQL takes user, password and parameters out of it"
        }
        (Role::Webhook, ..) => {
            "this column is not encrypted; store the value through the vault first, where it is still needed: the SQL \
             removes it for good"
        }
        (_, Place::Key(_), _) => {
            "everybody reads it who may read the table; it belongs to the application: store it through the vault first \
             and stop what writes it, since the SQL removes it for good"
        }
        (Role::Alike(_), ..) => {
            "the column is none of the vault's and, by its name, holds what belongs there; store the values through the \
             vault first and stop what writes them, since the SQL clears them for good"
        }
        (Role::Config, Place::Whole, _) => {
            "the column holds neither an object nor null, so that the vault never writes it; store what is still needed \
             through the vault afterwards: the SQL clears it for good"
        }
        (_, _, Class::Malformed) => {
            "the record does not load; restore it from a backup, or store the configuration again"
        }
        (_, _, Class::Ciphertext) => {
            "the vault neither reads nor overwrites it; open it with the code that wrote it, and store it through the vault"
        }
        _ => {
            "the vault neither reads nor overwrites it, and everybody reads it who may read the table; store it through \
             the vault, which replaces it"
        }
    }
}
