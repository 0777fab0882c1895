//! A bounded memory of what was met last.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};

/// The entries of one generation. Two of them are kept: 100,000 entries.
pub(crate) const GENERATION: usize = 50_000;

/// Remembers a value for each of the keys that were met last. What was met longest ago is forgotten.
pub(crate) struct Recent<V> {
    // hashed with a random key, so that nobody can choose keys that collide
    hasher: RandomState,
    generations: Mutex<Generations<V>>,
}

struct Generations<V> {
    young: HashMap<u64, V>,
    old: HashMap<u64, V>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { hasher: RandomState::default(), generations: Mutex::new(generations) }
    }
}

impl<V: Clone> Recent<V> {
    pub(crate) fn get(&self, key: impl Hash) -> Option<V> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).get(self.hasher.hash_one(key))
    }

    /// Remembers what `value` makes of the value before, and returns it.
    pub(crate) fn update(&self, key: impl Hash, value: impl FnOnce(Option<V>) -> V) -> V {
        let key = self.hasher.hash_one(key);
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let value = value(generations.get(key));
        if generations.young.len() >= GENERATION && !generations.young.contains_key(&key) {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key, value.clone());
        value
    }

    pub(crate) fn forget(&self, key: impl Hash) {
        let key = self.hasher.hash_one(key);
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.young.remove(&key);
        generations.old.remove(&key);
    }
}

impl<V: Clone> Generations<V> {
    fn get(&self, key: u64) -> Option<V> {
        self.young.get(&key).or_else(|| self.old.get(&key)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_what_was_met_last() {
        let recent = Recent::default();
        recent.update(0, |before| before.unwrap_or(7));
        assert_eq!(recent.update(0, |before| before.map_or(0, |before| before + 1)), 8);
        for key in 1..=GENERATION {
            recent.update(key, |_| 1);
        }
        assert_eq!(recent.get(0), Some(8), "in the old generation");
        for key in 1..=2 * GENERATION {
            recent.update(key, |_| 1);
        }
        assert_eq!(recent.get(0), None);
        recent.forget(2 * GENERATION);
        assert_eq!(recent.get(2 * GENERATION), None);
    }
}
