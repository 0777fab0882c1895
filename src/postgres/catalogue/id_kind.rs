//! The types that an owner's columns may have, and the reasons against other types.

use crate::error::{Error, ErrorKind, Result};

/// The built-in type whose operator compares an id column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdKind {
    /// Text, also that of an enum.
    Text,
    Uuid,
    SmallInt,
    Integer,
    BigInt,
}

impl IdKind {
    /// The kind for a column whose values have this built-in type, below all domains. An enum counts as text.
    ///
    /// # Errors
    /// The reason why the type could confuse two owners, or split one.
    pub(in crate::postgres) fn of(base: &str, is_deterministic: bool) -> Result<Self, &'static str> {
        match base {
            "text" | "varchar" if is_deterministic => Ok(Self::Text),
            "uuid" => Ok(Self::Uuid),
            "int2" => Ok(Self::SmallInt),
            "int4" => Ok(Self::Integer),
            "int8" => Ok(Self::BigInt),
            "text" | "varchar" => Err("its collation treats different texts as equal"),
            "bpchar" => Err("it ignores spaces at the end of an id"),
            "name" => Err("it cuts an id after 63 bytes"),
            "numeric" => Err("one number has several texts, such as 1 and 1.0"),
            "other citext" => Err("it treats upper and lower case as equal"),
            "float4" | "float8" => Err("its values are not exact"),
            _ => Err("it is not a type for ids"),
        }
    }

    /// The built-in type in which values are bound and compared.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Uuid => "uuid",
            Self::SmallInt => "int2",
            Self::Integer => "int4",
            Self::BigInt => "int8",
        }
    }

    /// The name of the type in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SmallInt => "smallint",
            Self::Integer => "integer",
            Self::BigInt => "bigint",
            Self::Text | Self::Uuid => self.sql(),
        }
    }

    /// A column's value, cast to this built-in type.
    pub(crate) fn cast(self, value: &str) -> String {
        format!("{value}::pg_catalog.{}", self.sql())
    }

    /// Parses an integer in the form that Postgres prints, so that each number has one text.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub(crate) fn integer<T: std::str::FromStr + ToString>(self, id: &str, what: &str) -> Result<T> {
        let number: Option<T> = id.parse().ok();
        number.filter(|number| number.to_string() == id).ok_or_else(|| {
            let message =
                format!("the {what} id is not a valid {0}, but its column has type {0}", self.name());
            Error::new(ErrorKind::InvalidInput, message)
                .with_hint("write it as the database prints it: digits without a leading zero or plus sign")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_has_one_text() {
        for (good, number) in [("0", 0), ("42", 42), ("-7", -7), ("32767", 32767)] {
            assert_eq!(IdKind::SmallInt.integer::<i16>(good, "user").unwrap(), number);
        }
        for bad in ["", "-0", "+1", "01", " 1", "1 ", "1.0", "1e3", "32768", "0x1", "١"] {
            let error = IdKind::SmallInt.integer::<i16>(bad, "tenant").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
            assert!(error.to_string().contains("the tenant id is not a valid smallint"), "{error}");
        }
    }

    #[test]
    fn a_type_that_cannot_tell_owners_apart_says_why() {
        assert_eq!(IdKind::of("int8", true), Ok(IdKind::BigInt));
        let reasons = ["bpchar", "name", "numeric", "other citext", "float8", "jsonb", "bool"];
        let reasons: std::collections::BTreeSet<_> =
            reasons.map(|base| IdKind::of(base, true).unwrap_err()).into_iter().collect();
        assert_eq!(reasons.len(), 6, "json and boolean have the same one");
        assert!(IdKind::of("text", false).unwrap_err().contains("collation"));
    }
}
