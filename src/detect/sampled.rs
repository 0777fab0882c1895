//! A table and the sampled rows of it: how often each column holds which shape.

use std::collections::BTreeMap;

use crate::detect::report::Holding;
use crate::detect::shapes::{ValueShape, shape};
use crate::postgres::catalogue::all_tables::{FoundColumn, FoundTable, SampledRow};

/// How many values of a column have each shape.
#[derive(Debug, Clone, Default)]
pub(super) struct Shapes(BTreeMap<ValueShape, usize>);

impl Shapes {
    pub(super) fn of(&self, shapes: &[ValueShape]) -> usize {
        shapes.iter().filter_map(|shape| self.0.get(shape)).sum()
    }

    /// The number of values that are set.
    pub(super) fn set(&self) -> usize {
        self.0.iter().filter(|(shape, _)| **shape != ValueShape::Empty).map(|(_, number)| number).sum()
    }

    /// What most of them are. `says_encrypted`: the column's name does, which decides about random text.
    pub(super) fn holds(&self, says_encrypted: bool) -> Holding {
        use ValueShape::*;
        let random = self.of(&[Random]);
        let plaintext = self.of(&[RetellKey, RetellAgent, OtherKey, EncodedKey, JsonPlaintext]);
        let ciphertext = self.of(&[Ciphertext, JsonCiphertext]);
        // settings without credentials lie beside settings with them
        let in_json = self.of(&[JsonPlaintext, JsonCiphertext, JsonToken]);
        let others = self.of(&[Hash, Masked]) + if in_json > 0 { 0 } else { self.of(&[Other]) };
        let kinds = [
            (self.of(&[Token, JsonToken]), Holding::Tokens),
            (ciphertext + if says_encrypted { random } else { 0 }, Holding::Ciphertext),
            (plaintext + if says_encrypted { 0 } else { random }, Holding::Plaintext),
            (self.of(&[Reference]), Holding::References),
            (others, Holding::Unknown),
        ];
        let most = kinds.into_iter().rev().max_by_key(|(number, _)| *number);
        most.filter(|(number, _)| *number > 0).map_or(Holding::Empty, |(_, holds)| holds)
    }
}

/// A table with some of its rows.
pub(super) struct Sampled<'a> {
    pub(super) table: &'a FoundTable,
    /// The columns whose values were read.
    columns: Vec<&'a str>,
    rows: Vec<SampledRow>,
    /// Whether values could be read at all.
    pub(super) was_read: bool,
    /// Whether these are all rows of the table.
    pub(super) is_complete: bool,
    /// Columns of which every row with a value was read.
    pub(super) searched: Vec<String>,
}

impl<'a> Sampled<'a> {
    pub(super) fn new(table: &'a FoundTable, columns: Vec<&'a str>, rows: Option<Vec<SampledRow>>) -> Self {
        let was_read = rows.is_some();
        let rows = rows.unwrap_or_default();
        Self { table, columns, rows, was_read, is_complete: false, searched: Vec::new() }
    }

    /// Whether every row of a column could be seen: the role may read it, and no policy hides rows.
    pub(super) fn was_column_read(&self, column: &FoundColumn) -> bool {
        self.was_read && column.readable && !self.table.hides_rows && self.at(&column.name).is_some()
    }

    /// Whether no row has a value in a column.
    pub(super) fn is_surely_empty(&self, column: &FoundColumn) -> bool {
        let was_searched = self.is_complete || self.searched.contains(&column.name);
        was_searched && self.was_column_read(column) && self.shapes(&column.name, None).set() == 0
    }

    pub(super) fn add(&mut self, rows: Vec<SampledRow>) {
        self.rows.extend(rows);
    }

    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    fn at(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|known| *known == column)
    }

    /// The texts of a column, in the rows with a constant in another one. `None` for NULL.
    fn values(&self, column: &str, filter: Option<(&str, &str)>) -> impl Iterator<Item = Option<&str>> {
        let at = self.at(column);
        let filter = filter.and_then(|(name, value)| Some((self.at(name)?, value)));
        let rows = if at.is_some() { &self.rows[..] } else { &[] };
        let counts = move |row: &&SampledRow| {
            filter.is_none_or(|(at, constant)| row[at].as_ref().is_some_and(|text| text.as_str() == constant))
        };
        rows.iter().filter(counts).map(move |row| row[at?].as_ref().map(|text| text.as_str()))
    }

    /// The texts of a column that are set.
    pub(super) fn texts(&self, column: &str) -> impl Iterator<Item = &str> {
        self.values(column, None).flatten()
    }

    /// The texts of a column that are set, in the rows with a constant in another one.
    pub(super) fn texts_where(
        &self,
        column: &str,
        filter: Option<(&str, &str)>,
    ) -> impl Iterator<Item = &str> {
        self.values(column, filter).flatten()
    }

    /// The shapes of a column, in the rows with a constant in another one.
    pub(super) fn shapes(&self, column: &str, filter: Option<(&str, &str)>) -> Shapes {
        let mut shapes = Shapes::default();
        for value in self.values(column, filter) {
            *shapes.0.entry(value.map_or(ValueShape::Empty, shape)).or_default() += 1;
        }
        shapes
    }

    /// Whether one value stands in several rows with that constant.
    pub(super) fn repeats(&self, column: &str, filter: Option<(&str, &str)>) -> bool {
        let mut values: Vec<&str> = self.values(column, filter).flatten().collect();
        values.sort_unstable();
        values.windows(2).any(|pair| pair[0] == pair[1])
    }
}
