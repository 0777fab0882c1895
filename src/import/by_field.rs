//! Values by field, in the order of the names. A `BTreeMap` takes more than a kilobyte for the first field, and an import has
//! several maps of mostly one field for each owner.

use std::ops::Index;

use crate::record::field::Field;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ByField<V>(Vec<(Field, V)>);

impl<V> Default for ByField<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> ByField<V> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Returns the value of a field, which is this one if it had none.
    pub(super) fn get_or_insert(&mut self, field: Field, value: V) -> &mut V {
        let at = match self.place(field) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (field, value));
                at
            }
        };
        &mut self.0[at].1
    }

    pub(super) fn get(&self, field: Field) -> Option<&V> {
        self.place(field).ok().map(|at| &self.0[at].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Field, &V)> {
        self.0.iter().map(|(field, value)| (*field, value))
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = Field> {
        self.0.iter().map(|(field, _)| *field)
    }

    pub(super) fn retain(&mut self, is_kept: impl Fn(Field) -> bool) {
        self.0.retain(|(field, _)| is_kept(*field));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, field: Field) -> Result<usize, usize> {
        self.0.binary_search_by_key(&field, |(held, _)| *held)
    }
}

impl<V> FromIterator<(Field, V)> for ByField<V> {
    /// Of several values of one field the first stays.
    fn from_iter<I: IntoIterator<Item = (Field, V)>>(values: I) -> Self {
        let mut all = Self::new();
        for (field, value) in values {
            all.get_or_insert(field, value);
        }
        all
    }
}

impl<V> IntoIterator for ByField<V> {
    type Item = (Field, V);
    type IntoIter = std::vec::IntoIter<(Field, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<V> Index<Field> for ByField<V> {
    type Output = V;

    fn index(&self, field: Field) -> &V {
        self.get(field).expect("the caller knows that it is there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_in_order_and_once() {
        let [a, b, c] = ["a", "b", "c"].map(Field::named);
        let mut all: ByField<u8> = [(c, 3), (a, 1), (c, 4)].into_iter().collect();
        assert_eq!(all.iter().collect::<Vec<_>>(), [(a, &1), (c, &3)]);
        assert_eq!((*all.get_or_insert(b, 2), *all.get_or_insert(a, 9), all[c]), (2, 1, 3));
        all.retain(|field| field != a);
        assert_eq!((all.fields().collect::<Vec<_>>(), all.len(), all.get(a)), (vec![b, c], 2, None));
    }
}
