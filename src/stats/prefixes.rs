//! How often keys are used by what they begin with, up to a delimiter: `stats detail`. While it is off nothing of it runs. While it is on
//! every use of a key takes one lock for all threads, as in memcached.

use super::{KeyUse, Registry, Watch};
use crate::limits::PREFIXES_MAX;
use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

/// Counts by prefix, [`PREFIXES_MAX`] of them at most; what begins otherwise then is not counted.
pub(super) type Prefixes = HashMap<Box<[u8]>, PrefixCounts>;

/// Uses of keys with one prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PrefixCounts {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

/// A row of `stats detail dump`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixRow {
    /// What the keys begin with, without the delimiter.
    pub prefix: Vec<u8>,
    /// Reads.
    pub gets: u64,
    /// Reads that found an item.
    pub hits: u64,
    /// Values that were to be stored.
    pub sets: u64,
    /// Deletes.
    pub deletes: u64,
}

impl Watch {
    /// Counts a use of a key under its prefix, if it has one.
    pub(super) fn note_prefix(&self, what: KeyUse, key: &[u8]) {
        let Some(len) = key.iter().position(|&byte| byte == self.delimiter()) else { return };
        if what == KeyUse::Other {
            return;
        }
        let prefix = &key[..len];
        let mut prefixes = self.prefixes();
        if !prefixes.contains_key(prefix) {
            if prefixes.len() >= PREFIXES_MAX {
                return;
            }
            prefixes.insert(prefix.into(), PrefixCounts::default());
        }
        let Some(counts) = prefixes.get_mut(prefix) else { return };
        match what {
            KeyUse::Get { hit } => {
                counts.gets += 1;
                counts.hits += u64::from(hit);
            }
            KeyUse::Set => counts.sets += 1,
            KeyUse::Delete => counts.deletes += 1,
            KeyUse::Other => {}
        }
    }

    fn prefixes(&self) -> MutexGuard<'_, Prefixes> {
        self.prefixes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Uses by prefix, in the order of prefixes.
    #[must_use]
    pub fn prefixes(&self) -> Vec<PrefixRow> {
        let row = |prefix: &[u8], counts: &PrefixCounts| {
            let PrefixCounts { gets, hits, sets, deletes } = *counts;
            PrefixRow { prefix: prefix.to_vec(), gets, hits, sets, deletes }
        };
        let mut rows: Vec<_> = self.watch.prefixes().iter().map(|(prefix, counts)| row(prefix, counts)).collect();
        rows.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        rows
    }

    /// Forgets all prefixes.
    pub fn reset_prefixes(&self) {
        *self.watch.prefixes() = Prefixes::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Switch;

    #[test]
    fn uses_are_counted_by_prefix_while_it_is_on_and_prefixes_are_bounded() {
        let registry = Registry::default();
        let block = registry.register();
        let note = |what, key: &str| {
            block.begin_turn();
            block.note_key(what, key.as_bytes(), 1);
        };
        note(KeyUse::Set, "a:1");
        registry.watch().turn(Switch::Detail, true);
        note(KeyUse::Set, "a:1");
        note(KeyUse::Get { hit: true }, "a:1:2");
        note(KeyUse::Get { hit: false }, "a:");
        note(KeyUse::Delete, ":");
        note(KeyUse::Other, "b:1");
        note(KeyUse::Set, "b");
        let row =
            |prefix: &str, gets, hits, sets, deletes| PrefixRow { prefix: prefix.into(), gets, hits, sets, deletes };
        assert_eq!(registry.prefixes(), [row("", 0, 0, 0, 1), row("a", 2, 1, 1, 0)]);
        for n in 0..PREFIXES_MAX + 10 {
            note(KeyUse::Set, &format!("{n}:"));
        }
        assert_eq!(registry.prefixes().len(), PREFIXES_MAX);
        registry.reset_prefixes();
        registry.watch().turn(Switch::Detail, false);
        note(KeyUse::Set, "a:1");
        assert!(registry.prefixes().is_empty());
    }
}
