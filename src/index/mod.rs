//! The blind index: finds the owners of a value without opening every record.

pub(crate) mod entries;
