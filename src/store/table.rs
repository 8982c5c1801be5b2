//! The index: buckets of one cache line, grown one bucket at a time.
//!
//! ```text
//!  bucket, 64 bytes
//!  +------+----------+------------------------+--------------------------------+----------------+
//!  | lock | overflow | 8 x u16 tag            | 8 x u32 ItemId                 | 8 x u8 meta    |
//!  +------+----------+------------------------+--------------------------------+----------------+
//!             |
//!             v  another bucket of eight slots, from the spill; its own lock is not used
//! ```
//!
//! A lookup touches the bucket's line and, where a tag matches, the item; a miss touches no item. The lock lies in the line
//! it protects, together with the overflow buckets behind it.
//!
//! **Growth** is linear hashing (Litwin 1980). With 2^level + split buckets, a hash names bucket `low level bits` or, if
//! that one has been split in this round, `low level + 1 bits`. An insert that finds the table too full splits *one* bucket:
//! both halves are locked, the items are hashed again (their lines fetched all at once before), those of the upper half
//! move, and the new geometry is published before either lock is released. So whoever locks a bucket and then finds that the
//! geometry still leads there holds the right one. The array is reserved at its greatest length; nothing is ever copied, and there is
//! no pause. The price: towards the end of a round, buckets not yet split are fuller than the others, and some overflow.

use super::arena::ItemId;
use super::hash::Hash;
use super::locks::{Held, Rank, Ranked, word};
use crate::limits::{BUCKET_FILL, BUCKET_SLOTS, INDEX_LEVEL_MIN};
use crate::sys::memory::{Backing, ZeroedArray, prefetch};
use arrayvec::ArrayVec;
use crossbeam_utils::CachePadded;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// One cache line of the index. All fields but `lock` are protected by the lock of the chain's first bucket.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct Bucket {
    lock: AtomicU32,
    /// The next bucket of the chain, by its place in the spill; zero for none.
    overflow: AtomicU32,
    /// Sixteen bits of the hash for each slot, four slots to a word; zero where the slot is empty.
    tags: [AtomicU64; 2],
    ids: [AtomicU32; BUCKET_SLOTS],
    meta: [AtomicU8; BUCKET_SLOTS],
}

const _: () = assert!(size_of::<Bucket>() == 64 && BUCKET_SLOTS == 8);

/// What a slot knows of its item beside the tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta(u8);

impl Meta {
    const FREQUENCY_MAX: u8 = 3;
    const FETCHED: u8 = 1 << 2;

    /// Uses since the item was linked or last looked at for eviction, up to 3.
    pub(super) fn frequency(self) -> u8 {
        self.0 & Self::FREQUENCY_MAX
    }

    /// Has been read since it was stored.
    pub(super) fn is_fetched(self) -> bool {
        self.0 & Self::FETCHED != 0
    }

    /// After one more read.
    pub(super) fn read(self) -> Self {
        Self(self.used().0 | Self::FETCHED)
    }

    /// After one more use that was no read.
    pub(super) fn used(self) -> Self {
        if self.frequency() < Self::FREQUENCY_MAX { Self(self.0 + 1) } else { self }
    }

    /// With no uses to its name, as after a promotion.
    pub(super) fn rested(self) -> Self {
        Self(self.0 & !Self::FREQUENCY_MAX)
    }

    /// Stored anew: used once, not read.
    pub(super) fn restored(self) -> Self {
        Self(self.used().0 & !Self::FETCHED)
    }
}

/// A place in a bucket. Good until the guard it came from is dropped or removes something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<'t> {
    bucket: &'t Bucket,
    lane: usize,
}

impl Slot<'_> {
    pub(super) fn id(self) -> ItemId {
        ItemId::from_bits(self.bucket.ids[self.lane].load(Ordering::Relaxed)).expect("a slot in use names an item")
    }

    #[inline]
    pub(super) fn meta(self) -> Meta {
        Meta(self.bucket.meta[self.lane].load(Ordering::Relaxed))
    }

    /// Writes only what changes, so that the line of a hot key is not written for nothing.
    #[inline]
    pub(super) fn set_meta(self, meta: Meta) {
        if self.meta() != meta {
            self.bucket.meta[self.lane].store(meta.0, Ordering::Relaxed);
        }
    }

    pub(super) fn set_id(self, id: ItemId) {
        self.bucket.ids[self.lane].store(id.bits(), Ordering::Relaxed);
    }
}

const LANES_PER_WORD: usize = 4;
const LANE_ONES: u64 = 0x0001_0001_0001_0001;
const LANE_TOPS: u64 = 0x8000_8000_8000_8000;

impl Bucket {
    /// The lanes whose tag may be `tag`: all that are, and rarely one above such a one that is not.
    #[inline]
    fn matches(&self, tag: u16) -> impl Iterator<Item = usize> + '_ {
        let wanted = u64::from(tag) * LANE_ONES;
        self.tags.iter().enumerate().flat_map(move |(word, tags)| {
            let differ = tags.load(Ordering::Relaxed) ^ wanted;
            Lanes(differ.wrapping_sub(LANE_ONES) & !differ & LANE_TOPS).map(move |lane| word * LANES_PER_WORD + lane)
        })
    }

    #[inline]
    fn id(&self, lane: usize) -> Option<ItemId> {
        ItemId::from_bits(self.ids[lane].load(Ordering::Relaxed))
    }

    fn tag(&self, lane: usize) -> u16 {
        let tags = self.tags[lane / LANES_PER_WORD].load(Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, reason = "one lane is wanted")]
        let tag = (tags >> (lane % LANES_PER_WORD * 16)) as u16;
        tag
    }

    fn set(&self, lane: usize, tag: u16, id: Option<ItemId>, meta: Meta) {
        let shift = lane % LANES_PER_WORD * 16;
        let tags = &self.tags[lane / LANES_PER_WORD];
        let others = tags.load(Ordering::Relaxed) & !(0xffff << shift);
        tags.store(others | u64::from(tag) << shift, Ordering::Relaxed);
        self.ids[lane].store(id.map_or(0, ItemId::bits), Ordering::Relaxed);
        self.meta[lane].store(meta.0, Ordering::Relaxed);
    }

    fn free_lane(&self) -> Option<usize> {
        (0..BUCKET_SLOTS).find(|&lane| self.id(lane).is_none())
    }

    fn first_used_lane(&self) -> Option<usize> {
        (0..BUCKET_SLOTS).find(|&lane| self.id(lane).is_some())
    }
}

/// The lanes marked by their top bit, lowest first.
struct Lanes(u64);

impl Iterator for Lanes {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let lane = self.0.trailing_zeros() as usize / 16;
        self.0 &= self.0 - 1;
        Some(lane)
    }
}

/// How many buckets there are: 2^level + split.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    level: u32,
    split: u32,
}

impl Geometry {
    #[inline]
    fn from_bits(bits: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
        let split = bits as u32;
        Self { level: (bits >> 32) as u32, split }
    }

    #[inline]
    fn bits(self) -> u64 {
        u64::from(self.level) << 32 | u64::from(self.split)
    }

    fn count(self) -> usize {
        (1 << self.level) + self.split as usize
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "level + 1 bits are kept, fewer than a usize has")]
    fn index_of(self, hash: Hash) -> usize {
        let low = hash.bits() & ((1 << self.level) - 1);
        if low < u64::from(self.split) { (hash.bits() & ((2 << self.level) - 1)) as usize } else { low as usize }
    }

    fn grown(self) -> Self {
        if self.split + 1 == 1 << self.level {
            Self { level: self.level + 1, split: 0 }
        } else {
            Self { split: self.split + 1, ..self }
        }
    }
}

/// The index.
#[derive(Debug)]
pub(super) struct Table {
    buckets: ZeroedArray<Bucket>,
    /// Overflow buckets; the one at 0 is not used.
    overflow: ZeroedArray<Bucket>,
    geometry: CachePadded<AtomicU64>,
    spill: Ranked<Spill>,
    /// Somebody is splitting; others need not.
    splitting: AtomicBool,
}

/// Overflow buckets that are in nobody's chain.
#[derive(Debug)]
struct Spill {
    /// A list through `overflow`.
    free: u32,
    /// The first that has never been used.
    fresh: u32,
    in_use: u32,
}

/// Overflow buckets a split sets aside before it begins; a longer chain is left for later.
const SPLIT_SPILL_MAX: usize = 8;

impl Table {
    /// An index that can grow to hold `items_max` items.
    pub(super) fn new(items_max: usize) -> io::Result<Self> {
        let bucket_count = (items_max / BUCKET_FILL).max(1 << INDEX_LEVEL_MIN).min(u32::MAX as usize);
        Ok(Self {
            buckets: ZeroedArray::reserve(bucket_count, Backing::HugeLater)?,
            overflow: ZeroedArray::reserve(bucket_count + 1, Backing::Small)?,
            geometry: CachePadded::new(AtomicU64::new(Geometry { level: INDEX_LEVEL_MIN, split: 0 }.bits())),
            spill: Ranked::new(Spill { free: 0, fresh: 1, in_use: 0 }),
            splitting: AtomicBool::new(false),
        })
    }

    #[inline]
    fn geometry(&self) -> Geometry {
        // Relaxed: a stale geometry is found out under the bucket's lock, see `lock`.
        Geometry::from_bits(self.geometry.load(Ordering::Relaxed))
    }

    /// Level (the power of two of the last whole round) and bytes of buckets in use, for `stats`.
    pub(super) fn size(&self) -> (u32, u64) {
        let in_use = self.spill.lock(Rank::Pool).in_use;
        let geometry = self.geometry();
        (geometry.level, (geometry.count() as u64 + u64::from(in_use)) * size_of::<Bucket>() as u64)
    }

    /// Has the bucket's line fetched.
    #[inline]
    pub(super) fn prefetch(&self, hash: Hash) {
        prefetch(std::ptr::from_ref(&self.buckets[self.geometry().index_of(hash)]).cast());
    }

    /// What the bucket seems to hold under this tag, without its lock: a hint for prefetching.
    #[inline]
    pub(super) fn peek(&self, hash: Hash, mut each: impl FnMut(ItemId)) {
        let bucket = &self.buckets[self.geometry().index_of(hash)];
        for id in bucket.matches(hash.tag()).filter_map(|lane| bucket.id(lane)) {
            each(id);
        }
        let overflow = bucket.overflow.load(Ordering::Relaxed);
        if overflow != 0 {
            prefetch(std::ptr::from_ref(&self.overflow[overflow as usize]).cast());
        }
    }

    /// Locks the bucket a hash belongs to.
    #[inline]
    pub(super) fn lock(&self, hash: Hash) -> BucketGuard<'_> {
        loop {
            let index = self.geometry().index_of(hash);
            let guard = BucketGuard::lock(self, &self.buckets[index], Rank::Bucket);
            // The lock's acquire pairs with a splitter's release: a split of this bucket is seen here.
            if self.geometry().index_of(hash) == index {
                return guard;
            }
        }
    }

    /// Locks the bucket a hash belongs to if that can be done at once. Allowed while holding a class.
    pub(super) fn try_lock(&self, hash: Hash) -> Option<BucketGuard<'_>> {
        let index = self.geometry().index_of(hash);
        let bucket = &self.buckets[index];
        if !word::try_lock(&bucket.lock) {
            return None;
        }
        let guard = BucketGuard { table: self, bucket, _held: Held::tried(Rank::Bucket) };
        (self.geometry().index_of(hash) == index).then_some(guard)
    }

    /// Whether `items` items are more than the buckets should hold and there is room for another bucket.
    #[inline]
    pub(super) fn wants_split(&self, items: u64) -> bool {
        let count = self.geometry().count();
        items > (count * BUCKET_FILL) as u64 && count < self.buckets.len()
    }

    /// Splits one bucket, unless somebody else is at it or its chain is too long just now. `fetch` is told the ids first;
    /// `hash` hashes an item's key, under the locks that vouch for it.
    pub(super) fn split(&self, fetch: impl Fn(ItemId), hash: impl Fn(ItemId, &BucketGuard<'_>) -> Hash) {
        // Acquire and release: the next splitter sees this one's geometry.
        if self.splitting.swap(true, Ordering::Acquire) {
            return;
        }
        let geometry = self.geometry();
        if geometry.count() < self.buckets.len() {
            self.split_at(geometry, fetch, hash);
        }
        self.splitting.store(false, Ordering::Release);
    }

    fn split_at(&self, old: Geometry, fetch: impl Fn(ItemId), hash: impl Fn(ItemId, &BucketGuard<'_>) -> Hash) {
        let new = old.grown();
        let mut lower = BucketGuard::lock(self, &self.buckets[old.split as usize], Rank::Bucket);
        let mut upper = BucketGuard::lock(self, &self.buckets[old.count()], Rank::SplitBucket);
        let chain_len = lower.chain().count() - 1;
        let mut spare: ArrayVec<u32, SPLIT_SPILL_MAX> = ArrayVec::new();
        while spare.len() < chain_len {
            // Too long a chain, or no spill left: leave it to a later split, when items have gone.
            let Some(place) = (!spare.is_full()).then(|| self.take_spill()).flatten() else { break };
            spare.push(place);
        }
        if spare.len() == chain_len {
            lower.slots().for_each(|slot| fetch(slot.id()));
            lower.move_to(&mut upper, &mut spare, |id, guard| new.index_of(hash(id, guard)) != old.split as usize);
            // Release, and before the locks go: see `lock`.
            self.geometry.store(new.bits(), Ordering::Release);
        }
        for place in spare {
            self.give_spill(place);
        }
    }

    fn take_spill(&self) -> Option<u32> {
        let mut spill = self.spill.lock(Rank::Pool);
        let place = if spill.free != 0 {
            let place = spill.free;
            spill.free = self.overflow[place as usize].overflow.load(Ordering::Relaxed);
            place
        } else {
            let place = spill.fresh;
            if place as usize >= self.overflow.len() {
                return None;
            }
            spill.fresh += 1;
            place
        };
        self.overflow[place as usize].overflow.store(0, Ordering::Relaxed);
        spill.in_use += 1;
        Some(place)
    }

    fn give_spill(&self, place: u32) {
        let mut spill = self.spill.lock(Rank::Pool);
        self.overflow[place as usize].overflow.store(spill.free, Ordering::Relaxed);
        spill.free = place;
        spill.in_use -= 1;
    }

    fn next<'t>(&'t self, bucket: &Bucket) -> Option<&'t Bucket> {
        let place = bucket.overflow.load(Ordering::Relaxed);
        (place != 0).then(|| &self.overflow[place as usize])
    }

    /// Every chain with its lock held, one after the other; with the index it has. For audits, when nothing splits.
    pub(super) fn each_chain(&self, mut visit: impl FnMut(usize, &BucketGuard<'_>)) {
        for index in 0..self.geometry().count() {
            visit(index, &BucketGuard::lock(self, &self.buckets[index], Rank::Bucket));
        }
    }

    /// Where a hash belongs now. For audits.
    pub(super) fn index_of(&self, hash: Hash) -> usize {
        self.geometry().index_of(hash)
    }

    #[cfg(test)]
    fn spill_in_use(&self) -> u32 {
        self.spill.lock(Rank::Pool).in_use
    }
}

/// Proof of holding a bucket's lock, and with it its whole chain.
#[derive(Debug)]
pub(super) struct BucketGuard<'t> {
    table: &'t Table,
    bucket: &'t Bucket,
    _held: Held,
}

impl Drop for BucketGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        word::unlock(&self.bucket.lock);
    }
}

impl<'t> BucketGuard<'t> {
    #[inline]
    fn lock(table: &'t Table, bucket: &'t Bucket, rank: Rank) -> Self {
        let held = Held::blocking(rank);
        word::lock(&bucket.lock);
        Self { table, bucket, _held: held }
    }

    /// The slot with this tag for which `is` holds.
    #[inline]
    pub(super) fn find(&self, tag: u16, mut is: impl FnMut(ItemId) -> bool) -> Option<Slot<'t>> {
        let mut bucket = self.bucket;
        loop {
            for lane in bucket.matches(tag) {
                if bucket.id(lane).is_some_and(&mut is) {
                    return Some(Slot { bucket, lane });
                }
            }
            bucket = self.table.next(bucket)?;
        }
    }

    /// The buckets of the chain.
    fn chain(&self) -> impl Iterator<Item = &'t Bucket> + use<'t> {
        let table = self.table;
        std::iter::successors(Some(self.bucket), move |bucket| table.next(bucket))
    }

    /// All slots in use.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot<'t>> + use<'t> {
        self.chain().flat_map(|bucket| {
            (0..BUCKET_SLOTS).filter(|&lane| bucket.id(lane).is_some()).map(move |lane| Slot { bucket, lane })
        })
    }

    /// Puts an item in a free slot; false if there is neither a slot nor an overflow bucket left.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "exclusive: slots found before are stale after")]
    pub(super) fn insert(&mut self, tag: u16, id: ItemId, meta: Meta) -> bool {
        self.insert_with(tag, id, meta, || self.table.take_spill())
    }

    fn insert_with(&self, tag: u16, id: ItemId, meta: Meta, mut take: impl FnMut() -> Option<u32>) -> bool {
        let mut bucket = self.bucket;
        loop {
            if let Some(lane) = bucket.free_lane() {
                bucket.set(lane, tag, Some(id), meta);
                return true;
            }
            bucket = match self.table.next(bucket) {
                Some(next) => next,
                None => {
                    let Some(place) = take() else { return false };
                    bucket.overflow.store(place, Ordering::Relaxed);
                    &self.table.overflow[place as usize]
                }
            };
        }
    }

    /// Empties a slot, filling the hole from the end of the chain, so that every overflow bucket has its use.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "exclusive: slots found before are stale after")]
    pub(super) fn remove(&mut self, slot: Slot<'t>) {
        slot.bucket.set(slot.lane, 0, None, Meta::default());
        let Some(last) = self.chain().last().filter(|last| !std::ptr::eq(*last, self.bucket)) else { return };
        if let Some(lane) = last.first_used_lane()
            && !std::ptr::eq(last, slot.bucket)
        {
            slot.bucket.set(slot.lane, last.tag(lane), last.id(lane), Meta(last.meta[lane].load(Ordering::Relaxed)));
            last.set(lane, 0, None, Meta::default());
        }
        self.trim();
    }

    /// Gives back the last overflow bucket if it is empty.
    fn trim(&self) {
        let Some(before) =
            self.chain().find(|bucket| self.table.next(bucket).is_some_and(|n| self.table.next(n).is_none()))
        else {
            return;
        };
        let place = before.overflow.load(Ordering::Relaxed);
        if self.table.overflow[place as usize].first_used_lane().is_none() {
            before.overflow.store(0, Ordering::Relaxed);
            self.table.give_spill(place);
        }
    }

    /// Moves the items for which `moves` holds to `other`, which takes its overflow buckets from `spare`.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "exclusive: slots found before are stale after")]
    fn move_to<const N: usize>(
        &mut self,
        other: &mut BucketGuard<'t>,
        spare: &mut ArrayVec<u32, N>,
        moves: impl Fn(ItemId, &BucketGuard<'t>) -> bool,
    ) {
        // The chain is walked once, and what stays is set down again from the chain's beginning: never ahead of the walk.
        let (mut to, mut to_lane) = (self.bucket, 0);
        for bucket in self.chain() {
            for lane in 0..BUCKET_SLOTS {
                let Some(id) = bucket.id(lane) else { continue };
                let (tag, meta) = (bucket.tag(lane), Meta(bucket.meta[lane].load(Ordering::Relaxed)));
                let leaves = moves(id, self);
                bucket.set(lane, 0, None, Meta::default());
                if leaves {
                    let moved = other.insert_with(tag, id, meta, || spare.pop());
                    assert!(moved, "a split sets aside as many overflow buckets as the chain has");
                    continue;
                }
                if to_lane == BUCKET_SLOTS {
                    to = self.table.next(to).expect("what stays needs no longer a chain than before");
                    to_lane = 0;
                }
                to.set(to_lane, tag, Some(id), meta);
                to_lane += 1;
            }
        }
        for _ in 0..self.chain().count() {
            self.trim();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::Hasher;
    use super::*;
    use std::collections::HashMap;

    fn id(n: u32) -> ItemId {
        ItemId::from_bits(n).expect("ids of the test begin at 1")
    }

    /// The table beside a map, items named by number, their keys being the number's bytes.
    #[test]
    fn a_table_agrees_with_a_map_while_it_grows_and_shrinks() {
        let hasher = Hasher::new(Some(1));
        let hash = |n: u32| hasher.hash(&n.to_le_bytes());
        let table = Table::new(200_000).expect("the index can be mapped");
        let mut twin: HashMap<u32, ()> = HashMap::new();
        let mut rng = fastrand::Rng::with_seed(7);
        for step in 0..400_000_u64 {
            let n = rng.u32(1..100_000);
            let mut guard = table.lock(hash(n));
            let found = guard.find(hash(n).tag(), |other| other == id(n));
            assert_eq!(found.is_some(), twin.contains_key(&n), "item {n} at step {step}");
            match found {
                Some(slot) if rng.u8(..) < 100 => {
                    guard.remove(slot);
                    twin.remove(&n);
                }
                Some(slot) => slot.set_meta(slot.meta().read()),
                None => {
                    assert!(guard.insert(hash(n).tag(), id(n), Meta::default()));
                    twin.insert(n, ());
                }
            }
            drop(guard);
            if table.wants_split(twin.len() as u64) {
                table.split(|_| (), |id, _| hash(id.bits()));
            }
        }
        let mut seen = 0;
        table.each_chain(|index, guard| {
            for slot in guard.slots() {
                assert_eq!(table.index_of(hash(slot.id().bits())), index);
                assert!(twin.contains_key(&slot.id().bits()));
                seen += 1;
            }
        });
        assert_eq!(seen, twin.len());
        assert!(table.geometry().count() * BUCKET_FILL >= twin.len());
        for n in twin.keys() {
            let mut guard = table.lock(hash(*n));
            let slot = guard.find(hash(*n).tag(), |other| other == id(*n)).expect("still there");
            guard.remove(slot);
        }
        assert_eq!(table.spill_in_use(), 0, "an empty table keeps no overflow bucket");
    }

    #[test]
    fn matching_finds_every_lane() {
        let bucket = &ZeroedArray::<Bucket>::reserve(1, Backing::Small).expect("a page")[0];
        for lane in 0..BUCKET_SLOTS {
            bucket.set(lane, 0x8001 + u16::try_from(lane).expect("small"), Some(id(1)), Meta::default());
        }
        for lane in 0..BUCKET_SLOTS {
            let tag = 0x8001 + u16::try_from(lane).expect("small");
            assert!(bucket.matches(tag).any(|found| found == lane));
            assert_eq!(bucket.tag(lane), tag);
        }
        assert_eq!(bucket.matches(0x1234).count(), 0);
    }

    #[test]
    fn frequency_saturates_and_rests() {
        let meta = (0..9).fold(Meta::default(), |meta, _| meta.read());
        assert_eq!((meta.frequency(), meta.is_fetched()), (3, true));
        assert_eq!((meta.rested().frequency(), meta.rested().is_fetched()), (0, true));
        assert!(!meta.restored().is_fetched());
    }
}
