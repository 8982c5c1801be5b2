//! The index becomes smaller again: the inverse of a split, one bucket at a time, and the memory behind it goes back to the system.
//!
//! ```text
//!   count = 7:   0   1   2   3   4   5   6          count = 6:   0   1   2   3   4   5   ┆ 6
//!                        ▲               │                               └─ with the items of 6; that is zero, and
//!                        └── all of it ──┘                                  goes with the rest of its page of the system
//! ```
//!
//! **Merging.** The last bucket's items go where they came from. Both are locked, and the geometry is published before either is let go, as
//! for a split. A change of the geometry moves only hashes between the two buckets that are locked meanwhile. So who has locked *any* bucket and
//! then sees *any* geometry since the last change of that one finds out rightly whether a hash belongs there: it is asked again under
//! the lock, and who came too late for a bucket that is no more tries another time.
//!
//! **Giving back.** A page of the system is let go when none of its buckets is in use. They are still looked at by who comes too late: reading
//! finds zeros, an empty bucket that nobody has locked. Their locks are words of the same page, and so:
//!
//! 1. all of them are taken, by a try: nobody holds one whose `unlock` would let go what somebody else has locked since;
//! 2. the page goes, and with it they are free, without anybody's having unlocked them;
//! 3. who fell asleep on one before that is woken, and takes a lock that is free.
//!
//! Buckets in use are split and merged, and pages let go, by one thread at a time (`splitting`), so no bucket comes back into use in between.
//!
//! The system may put small pages together to huge ones where a single one of them is in use, and does so while it pleases: it is told not to
//! until the index grows again.
//!
//! **Walks** (`walk.rs`) count on buckets being split only: while there is one nothing is merged.
//!
//! **When.** Buckets are split at six items each, and merged below half of that: a number of items that goes up and down somewhat costs nothing,
//! and what is merged is split again at the earliest after twice as many have come.

use super::{BUCKET_FILL, BUCKET_SLOTS, Bucket, BucketGuard, Geometry, INDEX_LEVEL_MIN, SPLIT_SPILL_MAX, Table};
use crate::limits::MERGE_PARTS;
use crate::store::locks::{Held, Rank, word};
use crate::store::reassign::Progress;
use arrayvec::ArrayVec;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Buckets in a page of the system. Where pages are longer they stay.
const PAGE_BUCKETS: usize = 4096 / size_of::<Bucket>();

impl Geometry {
    /// With one bucket less, which there must be.
    fn shrunk(self) -> Self {
        if self.split == 0 {
            Self { level: self.level - 1, split: (1 << (self.level - 1)) - 1 }
        } else {
            Self { split: self.split - 1, ..self }
        }
    }
}

impl Table {
    /// Whether `items` items are so much fewer than the buckets could hold that there may be one less.
    fn wants_merge(&self, items: u64) -> bool {
        let count = self.geometry().count();
        count > 1 << INDEX_LEVEL_MIN && items * MERGE_PARTS < (count * BUCKET_FILL) as u64
    }

    /// Where the pages end that are not in use.
    fn spare_end(&self) -> usize {
        // Relaxed: who relies on it has `splitting`.
        self.touched.load(Ordering::Relaxed)
    }

    fn has_spare_page(&self) -> bool {
        self.spare_end() > self.geometry().count().next_multiple_of(PAGE_BUCKETS)
    }

    /// Notes that buckets up to this many have been in use. Of who has `splitting`.
    pub(super) fn note_touched(&self, count: usize) {
        if count > self.touched.load(Ordering::Relaxed) {
            self.touched.store(count, Ordering::Relaxed);
        }
    }

    /// Merges one bucket, if `items` are few, and lets one page go, if there is one. For the maintainer.
    pub(in crate::store) fn shrink(&self, items: u64) -> Progress {
        let wants_merge = self.wants_merge(items);
        if !wants_merge && !self.has_spare_page() {
            self.keep_apart(false);
            return Progress::Done;
        }
        // Acquire and release: as for a split.
        if self.splitting.swap(true, Ordering::Acquire) {
            return Progress::Held;
        }
        let merged = wants_merge && self.merge();
        let let_go = self.has_spare_page() && {
            self.keep_apart(true);
            self.let_page_go()
        };
        self.splitting.store(false, Ordering::Release);
        if merged || let_go { Progress::More } else { Progress::Held }
    }

    /// Has no huge pages put together, of which what has been given back would be a part, until the index grows again. Only the maintainer
    /// asks.
    fn keep_apart(&self, apart: bool) {
        let (count, before) = (self.geometry().count(), self.kept_apart.load(Ordering::Relaxed));
        if apart {
            if before == 0 {
                self.buckets.allow_huge(false);
            }
            self.kept_apart.store(count, Ordering::Relaxed);
        } else if before != 0 && count > before {
            self.buckets.allow_huge(true);
            self.kept_apart.store(0, Ordering::Relaxed);
        }
    }

    /// Merges the last bucket with the one it was split off, unless one of the two is held, or somebody walks.
    fn merge(&self) -> bool {
        let walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
        if *walks > 0 {
            return false;
        }
        let new = self.geometry().shrunk();
        let try_lock = |index: usize, rank: Rank| {
            let bucket = &self.buckets[index];
            word::try_lock(&bucket.lock).then(|| BucketGuard { table: self, bucket, _held: Held::tried(rank) })
        };
        let Some(mut lower) = try_lock(new.split as usize, Rank::Bucket) else { return false };
        let Some(mut upper) = try_lock(new.count(), Rank::SplitBucket) else { return false };
        let (there, coming) = (lower.slots().count(), upper.slots().count());
        let room = lower.chain().count() * BUCKET_SLOTS - there;
        let lacking = coming.saturating_sub(room).div_ceil(BUCKET_SLOTS);
        let mut spare: ArrayVec<u32, SPLIT_SPILL_MAX> = ArrayVec::new();
        while spare.len() < lacking {
            let Some(place) = (!spare.is_full()).then(|| self.take_spill()).flatten() else { break };
            spare.push(place);
        }
        let fits = spare.len() >= lacking;
        if fits {
            upper.move_all_to(&mut lower, &mut spare);
            // Release, and before the locks go: as for a split.
            self.geometry.store(new.bits(), Ordering::Release);
        }
        for place in spare {
            self.give_spill(place);
        }
        fits
    }

    /// Gives the last page back to the system that has been in use and is not now; false if somebody is about to find that out.
    fn let_page_go(&self) -> bool {
        let begin = (self.spare_end() - 1) / PAGE_BUCKETS * PAGE_BUCKETS;
        let end = begin + PAGE_BUCKETS;
        // Half a page, at the end of all, is kept.
        if let Some(page) = self.buckets.get(begin..end) {
            let locked = page.iter().take_while(|bucket| word::try_lock(&bucket.lock)).count();
            if locked < PAGE_BUCKETS {
                page[..locked].iter().for_each(|bucket| word::unlock(&bucket.lock));
                return false;
            }
            if self.buckets.let_go(begin, PAGE_BUCKETS) {
                page.iter().for_each(|bucket| word::wiped(&bucket.lock));
            } else {
                page.iter().for_each(|bucket| word::unlock(&bucket.lock));
            }
        }
        self.touched.store(begin, Ordering::Relaxed);
        true
    }
}

impl<'t> BucketGuard<'t> {
    /// Moves everything to `other`, which takes its overflow buckets from `spare`; ghosts as far as there is room when the items have
    /// their places.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "exclusive: slots found before are stale after")]
    fn move_all_to<const N: usize>(&mut self, other: &mut BucketGuard<'t>, spare: &mut ArrayVec<u32, N>) {
        let ghosts = self.bucket.take_ghosts();
        for slot in self.slots() {
            let moved = other.insert_with(slot.bucket.tag(slot.lane), slot.id(), slot.meta(), || spare.pop());
            assert!(moved, "a merge sets aside as many overflow buckets as it needs");
        }
        for bucket in self.chain() {
            bucket.item_lanes().for_each(|lane| bucket.clear(lane));
        }
        let mut place = self.bucket.overflow.swap(0, Ordering::Relaxed);
        while place != 0 {
            let next = self.table.overflow[place as usize].overflow.load(Ordering::Relaxed);
            self.table.give_spill(place);
            place = next;
        }
        for (tag, hash_bits, ghost) in ghosts {
            if let Some(lane) = other.bucket.free_lane(tag) {
                other.bucket.set_ghost(lane, tag, hash_bits, ghost);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::hash::Hasher;
    use super::super::{Ghost, Hash, ItemId, Meta};
    use super::*;
    use std::collections::HashSet;

    fn id(n: u32) -> ItemId {
        ItemId::from_bits(n).expect("ids of the test begin at 1")
    }

    fn hash(n: u32) -> Hash {
        Hasher::new(Some(5)).hash(&n.to_le_bytes())
    }

    fn has(table: &Table, n: u32) -> bool {
        table.lock(hash(n)).find(hash(n).tag(), |other| other == id(n)).is_some()
    }

    /// Puts an item in, and splits a bucket if there are too many.
    fn insert(table: &Table, n: u32, items: u64) {
        assert!(table.lock(hash(n)).insert(hash(n).tag(), id(n), Meta::default()));
        if table.wants_split(items) {
            table.split(|_| (), |id, _| hash(id.bits()));
        }
    }

    fn remove(table: &Table, n: u32) {
        let mut guard = table.lock(hash(n));
        let slot = guard.find(hash(n).tag(), |other| other == id(n)).expect("it is there");
        guard.remove(slot);
    }

    /// Everything is where it belongs, and nothing is in a bucket that is not in use.
    fn check(table: &Table, items: usize) {
        let mut seen = 0;
        table.each_chain(|index, guard| {
            seen += guard.slots().inspect(|slot| assert_eq!(table.index_of(hash(slot.id().bits())), index)).count();
            guard.ghosts().for_each(|hash| assert_eq!(table.index_of(hash), index));
        });
        assert_eq!(seen, items);
        for bucket in &table.buckets[table.geometry().count()..table.geometry().count() + PAGE_BUCKETS] {
            assert!(bucket.item_lanes().count() == 0 && bucket.take_ghosts().is_empty());
            assert_eq!((bucket.overflow.load(Ordering::Relaxed), bucket.lock.load(Ordering::Relaxed)), (0, 0));
        }
    }

    #[test]
    fn geometries_shrink_as_they_have_grown() {
        let mut geometry = Geometry { level: 1, split: 0 };
        for _ in 0..1000 {
            let grown = geometry.grown();
            assert_eq!((grown.shrunk().bits(), grown.count()), (geometry.bits(), geometry.count() + 1));
            geometry = grown;
        }
    }

    #[test]
    fn whatever_comes_and_goes_the_index_follows_and_loses_nothing() {
        for seed in 0..4 {
            let mut random = fastrand::Rng::with_seed(seed);
            let table = Table::new(400_000).expect("the index can be mapped");
            let mut twin: HashSet<u32> = HashSet::new();
            for round in 0..6 {
                let aim = if round % 2 == 0 { random.usize(60_000..150_000) } else { random.usize(..3000) };
                while twin.len() != aim {
                    let n = random.u32(1..300_000);
                    if twin.len() < aim && twin.insert(n) {
                        insert(&table, n, twin.len() as u64);
                    } else if twin.len() > aim {
                        let n = *twin.iter().next().expect("more than none");
                        twin.remove(&n);
                        remove(&table, n);
                        table.lock(hash(n)).leave_ghost(hash(n), Ghost::new(n.is_multiple_of(2), 7));
                    }
                    // Now and then, so that it is at all stages while items come and go.
                    if random.u8(..) < 50 {
                        let _ = table.shrink(twin.len() as u64);
                    }
                }
                while table.shrink(twin.len() as u64) == Progress::More {}
                check(&table, twin.len());
                assert!(twin.iter().all(|&n| has(&table, n)), "seed {seed}");
                let most = (1 << INDEX_LEVEL_MIN).max(twin.len() * 2 / BUCKET_FILL + 1);
                assert!(table.geometry().count() <= most, "{} of {most}", table.geometry().count());
                assert!(table.spare_end() <= table.geometry().count().next_multiple_of(PAGE_BUCKETS));
            }
        }
    }

    #[test]
    fn a_number_of_items_that_goes_up_and_down_by_half_merges_nothing() {
        let table = Table::new(400_000).expect("the index can be mapped");
        (1..=100_000).for_each(|n| insert(&table, n, n.into()));
        let count = table.geometry().count();
        (50_001..=100_000).for_each(|n| remove(&table, n));
        assert_eq!((table.shrink(50_001), table.geometry().count()), (Progress::Done, count));
        assert_eq!((table.shrink(49_000), table.geometry().count()), (Progress::More, count - 1));
    }

    #[test]
    fn nothing_is_merged_while_somebody_walks_or_holds_a_bucket() {
        let table = Table::new(400_000).expect("the index can be mapped");
        (1..=100_000).for_each(|n| insert(&table, n, n.into()));
        (3..=100_000).for_each(|n| remove(&table, n));
        let count = table.geometry().count();
        let (one, other) = (table.walk(), table.walk());
        assert_eq!(table.shrink(2), Progress::Held);
        table.end_walk(one);
        assert_eq!(table.shrink(2), Progress::Held);
        table.end_walk(other);
        for index in [count - 1, table.geometry().shrunk().split as usize] {
            let guard = BucketGuard::lock(&table, &table.buckets[index], Rank::Bucket);
            assert_eq!(table.shrink(2), Progress::Held);
            drop(guard);
        }
        assert_eq!(table.geometry().count(), count);
        while table.shrink(2) == Progress::More {}
        check(&table, 2);
        assert_eq!((table.geometry().count(), table.spill_in_use()), (1 << INDEX_LEVEL_MIN, 0));
    }

    /// Four threads look for what is always there, and change what is theirs, while the index grows and shrinks under them.
    #[test]
    fn who_comes_too_late_finds_what_has_moved() {
        use std::sync::atomic::{AtomicBool, AtomicU64};
        const OWN: u32 = 30_000;
        let table = Table::new(400_000).expect("the index can be mapped");
        let (items, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        for n in 1..=500 {
            insert(&table, n, 0);
        }
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4_u32)
                .map(|thread| {
                    let (table, items) = (&table, &items);
                    scope.spawn(move || {
                        let own = 1000 + thread * OWN..1000 + (thread + 1) * OWN;
                        for _ in 0..4 {
                            for n in own.clone() {
                                insert(table, n, items.fetch_add(1, Ordering::Relaxed));
                                assert!(has(table, n) && has(table, n % 500 + 1));
                            }
                            for n in own.clone() {
                                assert!(has(table, n % 500 + 1));
                                remove(table, n);
                                items.fetch_sub(1, Ordering::Relaxed);
                                assert!(!has(table, n));
                            }
                        }
                    })
                })
                .collect();
            let (table, items, stop) = (&table, &items, &stop);
            let shrinker = scope.spawn(move || {
                let mut merged = 0;
                while !stop.load(Ordering::Relaxed) {
                    merged += u32::from(table.shrink(items.load(Ordering::Relaxed)) == Progress::More);
                }
                merged
            });
            workers.into_iter().for_each(|worker| worker.join().expect("nothing is lost"));
            stop.store(true, Ordering::Relaxed);
            assert!(shrinker.join().expect("nothing is in the way") > 1000);
        });
        while table.shrink(500) == Progress::More {}
        check(&table, 500);
    }
}
