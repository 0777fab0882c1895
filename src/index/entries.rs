//! The entries of the blind index: what a row holds for each value that can be found. Pure functions.
//!
//! `docs/FORMAT.md` defines the bytes.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::keyring::subkeys::{INDEX, Subkey, Subkeys};
use crate::record::field::{Field, Fields};
use crate::record::values::Values;

/// The length of an entry. Two of a billion values share one with a probability below 2^-68, and what is found is compared.
pub(crate) const ENTRY: usize = 16;

/// The entry of one value of a kind under one key.
///
/// Each part has its length in front, so that no two triples have the same bytes.
pub(crate) fn entry(key: &Subkey, namespace: &str, kind: &str, value: &str) -> [u8; ENTRY] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.key.as_slice()).expect("a key of any length is valid");
    for part in [namespace, kind, value] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    let whole = mac.finalize().into_bytes();
    *whole.first_chunk().expect("32 bytes are longer")
}

/// The entries of a value under every epoch, for a look-up. Empty without an index key.
pub(crate) fn entries_of(subkeys: &Subkeys, namespace: &str, kind: &str, value: &str) -> Vec<[u8; ENTRY]> {
    subkeys.of(INDEX).map(|key| entry(key, namespace, kind, value)).collect()
}

/// What the index column of a row gets for these values: the entries of every indexed field that is sealed, under every
/// epoch, sorted, as the text of a `bytea[]`. A row without such values gets an empty array. `None` without an index key:
/// the row counts as not indexed.
pub(crate) fn column_text(
    subkeys: &Subkeys,
    fields: &Fields,
    values: &Values,
    in_the_clear: &[Field],
) -> Option<String> {
    subkeys.newest(INDEX)?;
    let mut entries: Vec<[u8; ENTRY]> = Vec::new();
    for (kind, value) in indexed(fields, values, in_the_clear) {
        entries.extend(entries_of(subkeys, fields.namespace, kind, &value));
    }
    Some(printed(entries))
}

/// The values that can be found by the index, each with its kind.
fn indexed<'a>(
    fields: &'a Fields,
    values: &'a Values,
    in_the_clear: &'a [Field],
) -> impl Iterator<Item = (&'static str, Zeroizing<String>)> + 'a {
    let sealed = values.iter().filter(|(field, _)| !in_the_clear.contains(field));
    sealed.filter_map(|(field, json)| Some((fields.spec(field)?.index?, text_of(json)?)))
}

/// Whether a field of this kind has this value.
pub(crate) fn has_value(fields: &Fields, values: &Values, kind: &str, value: &str) -> bool {
    indexed(fields, values, &[]).any(|(held_kind, held)| held_kind == kind && held.as_str() == value)
}

fn text_of(json: &str) -> Option<Zeroizing<String>> {
    serde_json::from_str::<String>(json).ok().map(Zeroizing::new)
}

/// Equal sets of entries have one text, so that a row whose values did not change keeps its column as it is.
fn printed(mut entries: Vec<[u8; ENTRY]>) -> String {
    entries.sort_unstable();
    entries.dedup();
    let elements = entries.iter().map(|entry| {
        let digits: String = entry.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("\"\\\\x{digits}\"")
    });
    format!("{{{}}}", elements.collect::<Vec<_>>().join(","))
}
