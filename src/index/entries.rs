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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::material::Material;
    use crate::record::credentials::Credentials;
    use crate::retell::config::RetellConfig;

    fn subkeys(epochs: u8) -> Subkeys {
        let key = |byte| Material::copied(&[byte; 32]);
        (2..=epochs).fold(Subkeys::first(key(1)), |keys, byte| keys.with_next_epoch(INDEX, key(byte)))
    }

    fn fields() -> Fields {
        Fields::new(RetellConfig::NAMESPACE, RetellConfig::FIELDS)
    }

    fn config() -> Values {
        let config = RetellConfig::new("key_test_0000".parse().unwrap());
        let config = config.with_call_agent_id("agent_test_1".parse().unwrap());
        let config = config.with_agent("other", "agent_test_1".parse().unwrap()).unwrap();
        config.with_phone_number("+14155550100".parse().unwrap()).to_values()
    }

    /// Computed from docs/FORMAT.md with the `hmac` of Python.
    #[test]
    fn the_bytes_are_those_of_the_format() {
        let text =
            |epochs, clear: &[Field]| column_text(&subkeys(epochs), &fields(), &config(), clear).unwrap();
        let first = r#"{"\\xc04a41b036b88ed0533aa0422bc974e1","\\xfaf512180f846a210971c1d24d68c618"}"#;
        assert_eq!(text(1, &[]), first, "an agent in two roles has one entry, and the key none");
        let both = r#"{"\\x4d6868a0544e579a0ffd4ff20f450649","\\x7b75a2e98b4421b6685a061d6411b798","\\xc04a41b036b88ed0533aa0422bc974e1","\\xfaf512180f846a210971c1d24d68c618"}"#;
        assert_eq!(text(2, &[]), both);
        let phone = [Field::named("phone_number")];
        assert_eq!(text(1, &phone), r#"{"\\xfaf512180f846a210971c1d24d68c618"}"#, "only what is sealed");
    }

    #[test]
    fn nothing_to_find_is_not_the_same_as_nobody_looked() {
        assert_eq!(column_text(&subkeys(1), &fields(), &Values::new(), &[]).as_deref(), Some("{}"));
        assert_eq!(column_text(&Subkeys::default(), &fields(), &config(), &[]), None);
    }

    #[test]
    fn no_two_values_have_the_same_bytes() {
        let keys = subkeys(2);
        let [first, second] = [keys.of(INDEX).next().unwrap(), keys.of(INDEX).last().unwrap()];
        let entries = [
            entry(first, "retell", "agent", "1"),
            entry(second, "retell", "agent", "1"),
            entry(first, "retel", "lagent", "1"),
            entry(first, "retell", "agent1", ""),
            entry(first, "retell", "phone", "1"),
        ];
        let distinct: std::collections::BTreeSet<_> = entries.iter().collect();
        assert_eq!(distinct.len(), entries.len());
        // from an untrusted body, before anything is checked
        entry(first, "retell", "agent", &"x".repeat(1 << 20));
    }
}
