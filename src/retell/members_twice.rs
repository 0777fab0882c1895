//! Finds members that JSON names twice: a parsed object keeps only the last of them.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Whether an object of this JSON, at any depth, has two members of one name.
pub(crate) fn names_twice(json: &str) -> bool {
    serde_json::from_str::<Twice>(json).is_ok_and(|Twice(is_twice)| is_twice)
}

struct Twice(bool);

impl<'de> Deserialize<'de> for Twice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TwiceReader).map(Self)
    }
}

struct TwiceReader;

macro_rules! scalars {
    ($($name:ident: $type:ty),*) => {
        $(fn $name<E>(self, _: $type) -> Result<bool, E> {
            Ok(false)
        })*
    };
}

impl<'de> Visitor<'de> for TwiceReader {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let mut is_twice = false;
        while let Some(Twice(inner)) = items.next_element()? {
            is_twice |= inner;
        }
        Ok(is_twice)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let (mut names, mut is_twice) = (HashSet::new(), false);
        while let Some((name, Twice(inner))) = members.next_entry::<String, Twice>()? {
            is_twice |= inner | !names.insert(name);
        }
        Ok(is_twice)
    }
}
