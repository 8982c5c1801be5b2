//! A walk through the index, a bucket at a time, that sees every item once though buckets are split meanwhile. They are not merged.
//!
//! The buckets there are when it begins are visited in order. What has been split off one of them since is visited right after it:
//!
//! ```text
//!   begun with 4 buckets:    0  1  2  3
//!   while 1 is held there    0  1  2  3  4  5      5 was split off 1: its items were not in 1 any more when that was visited,
//!   are 6:                      └────────────┘     so 5 comes next; 4 was split off 0 after that was visited, and never comes
//! ```
//!
//! With each bucket to be visited goes the geometry of which its part of the items is meant. A bucket cannot be split while it is held, so
//! what is found in it is exactly that part, less what the buckets have that were split off it between that geometry and the one seen
//! under its lock; to these the same applies in turn. An item that moves from page to page stays in its slot.

use super::super::arena::ItemId;
use super::{BucketGuard, Geometry, Table};
use crate::store::locks::Rank;
use std::sync::PoisonError;

/// How far a walk has come.
#[derive(Debug, Default)]
pub(in crate::store) struct Walk {
    begun: Geometry,
    /// The next of the buckets there were.
    next: usize,
    /// Buckets split off what has been visited, and the geometry of which theirs is a part.
    split_off: Vec<(usize, Geometry)>,
}

impl Geometry {
    /// How far apart the buckets are that are split off one in the course of time.
    fn stride_of(self, index: usize) -> usize {
        let is_split = index < self.split as usize || index >= 1 << self.level;
        1 << (self.level + u32::from(is_split))
    }
}

impl Table {
    /// A walk from the beginning. Until its end ([`Table::end_walk`]) no buckets are merged.
    pub(in crate::store) fn walk(&self) -> Walk {
        let mut walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
        *walks += 1;
        // With the lock: after any merge that did not know of this walk.
        Walk { begun: self.geometry(), next: 0, split_off: Vec::new() }
    }

    /// The end of a walk, wherever it has come to.
    pub(in crate::store) fn end_walk(&self, _: Walk) {
        *self.walks.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }

    /// Visits one more bucket with its chain, and has `fetch` ask for the items of the one after it; false if there is none left.
    pub(in crate::store) fn step(
        &self,
        walk: &mut Walk,
        fetch: impl FnMut(ItemId),
        visit: impl FnOnce(&BucketGuard<'_>),
    ) -> bool {
        let (index, since) = match walk.split_off.pop() {
            Some(part) => part,
            None if walk.next >= walk.begun.count() => return false,
            None => {
                walk.next += 1;
                (walk.next - 1, walk.begun)
            }
        };
        if let Some(next) = self.buckets.get(walk.next) {
            // Without its lock: a hint.
            next.item_lanes().filter_map(|lane| next.id(lane)).for_each(fetch);
        }
        let guard = BucketGuard::lock(self, &self.buckets[index], Rank::Bucket);
        // The lock's acquire pairs with a splitter's release: all splits of this bucket are seen here.
        let now = self.geometry();
        visit(&guard);
        drop(guard);
        let stride = since.stride_of(index);
        walk.split_off.extend((index + stride..now.count()).step_by(stride).map(|part| (part, now)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::INDEX_LEVEL_MIN;

    #[test]
    fn whatever_is_split_while_it_walks_each_item_is_seen_once() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let table = Table::new(1 << 20).unwrap();
            let grow = |count: usize| {
                for _ in 0..count {
                    table.geometry.store(table.geometry().grown().bits(), std::sync::atomic::Ordering::Relaxed);
                }
            };
            grow(random.usize(..1 << INDEX_LEVEL_MIN));
            // An item is in the bucket that the low bits of its hash name: for each such number, one.
            let mut seen = vec![0; 1 << (INDEX_LEVEL_MIN + 4)];
            let mut walk = table.walk();
            loop {
                let place = walk.split_off.last().map_or(walk.next, |(index, _)| *index);
                let geometry = table.geometry();
                if !table.step(&mut walk, |_| {}, |_| {}) {
                    break;
                }
                (place..seen.len()).step_by(geometry.stride_of(place)).for_each(|low| seen[low] += 1);
                if geometry.count() < seen.len() / 2 && random.u8(..) < 20 {
                    grow(random.usize(..200));
                }
            }
            assert!(table.geometry().count() > walk.begun.count(), "there were splits");
            assert!(seen.iter().all(|&times| times == 1), "seed {seed}");
        }
    }
}
