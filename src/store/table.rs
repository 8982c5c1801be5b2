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
//! A **ghost** is what is left of an evicted item in a slot that nobody wants yet: fifteen bits of tag, the low 24 of its hash
//! (so that a split can send it to the right half) and sixteen that the queues read (`queues.rs`), in the place of id and
//! meta. Ghosts are in first buckets only, never in overflow ones; they give way to items, they are no
//! reason for the index to grow, and to whoever looks for items they do not exist: the top bit of a tag says *item*, so no
//! lookup ever matches one.
//!
//! **Growth** is linear hashing (Litwin 1980). With 2^level + split buckets, a hash names bucket `low level bits` or, if
//! that one has been split in this round, `low level + 1 bits`. An insert that finds the table too full splits *one* bucket:
//! both halves are locked, the items are hashed again (their lines fetched all at once before), those of the upper half
//! move, and the new geometry is published before either lock is released. So whoever locks a bucket and then finds that the
//! geometry still leads there holds the right one. The array is reserved at its greatest length; nothing is ever copied, and there is
//! no pause. The inverse, when items have gone, is in `table/merge.rs`. The price: towards the end of a round, buckets not yet split are fuller than the others, and some overflow.

mod merge;
pub(super) mod walk;

use super::arena::ItemId;
use super::hash::{Hash, ITEM_TAG};
use super::locks::{Held, Rank, Ranked, word};
use crate::limits::{BUCKET_FILL, BUCKET_SLOTS, INDEX_LEVEL_MIN};
use crate::sys::memory::{Backing, ZeroedArray, prefetch};
use arrayvec::ArrayVec;
use crossbeam_utils::CachePadded;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// One cache line of the index. All fields but `lock` are protected by the lock of the chain's first bucket.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct Bucket {
    lock: AtomicU32,
    /// The next bucket of the chain, by its place in the spill; zero for none.
    overflow: AtomicU32,
    /// For each slot, four to a word: fifteen bits of the hash and, at the top, whether it has an item; zero where it is empty.
    tags: [AtomicU64; 2],
    /// An item's id, or 24 bits of a ghost's hash and 8 of the ghost; zero where the slot is empty.
    ids: [AtomicU32; BUCKET_SLOTS],
    meta: [AtomicU8; BUCKET_SLOTS],
}

const _: () = assert!(size_of::<Bucket>() == 64 && BUCKET_SLOTS == 8);

/// What a slot knows of its item beside the tag: frequency (2 bits), whether it has been read, and [`Marks`] (4 bits). One bit is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta(u8);

impl Meta {
    const FREQUENCY_MAX: u8 = 3;
    const FETCHED: u8 = 1 << 2;
    /// Where [`Marks`] are.
    const MARKS: u8 = 0b1111 << 3;

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

    /// With one use less, as after another round in its queue.
    pub(super) fn tired(self) -> Self {
        Self(self.0 - u8::from(self.frequency() > 0))
    }

    /// With no uses to its name, as after a promotion.
    pub(super) fn rested(self) -> Self {
        Self(self.0 & !Self::FREQUENCY_MAX)
    }

    /// Stored anew: used once more, not read, and marked so.
    pub(super) fn restored(self, marks: Marks) -> Self {
        Self(self.used().0 & Self::FREQUENCY_MAX | marks.0)
    }

    pub(super) fn marks(self) -> Marks {
        Marks(self.0 & Self::MARKS)
    }

    pub(super) fn has(self, marks: Marks) -> bool {
        self.0 & marks.0 != 0
    }

    pub(super) fn with(self, marks: Marks) -> Self {
        Self(self.0 | marks.0)
    }

    pub(super) fn without(self, marks: Marks) -> Self {
        Self(self.0 & !marks.0)
    }
}

/// What the meta commands and leases note on an item. A store clears them all, unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u8);

impl Marks {
    /// None.
    pub const NONE: Self = Self(0);

    /// Known to be outdated, and good enough until somebody has a new value.
    pub const STALE: Self = Self(1 << 3);

    /// Somebody has been told to make a new value.
    pub const TOKEN_SENT: Self = Self(1 << 4);

    /// The key was given in base64, and so is told.
    pub const KEY_BASE64: Self = Self(1 << 5);

    /// No item to anybody but the lease verbs: the place of a value that somebody is making.
    pub const LEASE: Self = Self(1 << 6);

    /// Read by the same command that made it.
    pub(super) const FETCHED: Self = Self(Meta::FETCHED);

    /// Whether any of those is among them.
    #[must_use]
    pub const fn has(self, those: Self) -> bool {
        self.0 & those.0 != 0
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These, as far as they are among those.
    #[must_use]
    pub const fn only(self, those: Self) -> Self {
        Self(self.0 & those.0)
    }
}

const _: () = assert!(
    Meta::MARKS == Marks::STALE.0 | Marks::TOKEN_SENT.0 | Marks::KEY_BASE64.0 | Marks::LEASE.0
        && Meta::MARKS & (Meta::FREQUENCY_MAX | Meta::FETCHED) == 0
);

/// What a ghost remembers beside its key: which queue its item was evicted from, and when, by that queue's own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ghost(u16);

impl Ghost {
    const FROM_MAIN: u16 = 1 << 15;
    /// Epochs are counted in so many bits.
    pub(super) const EPOCH_MASK: u16 = Self::FROM_MAIN - 1;

    pub(super) fn new(from_main: bool, epoch: u16) -> Self {
        Self(epoch & Self::EPOCH_MASK | if from_main { Self::FROM_MAIN } else { 0 })
    }

    /// Evicted from the main queue: rarer than the others, so it gives way after them.
    pub(super) fn is_from_main(self) -> bool {
        self.0 & Self::FROM_MAIN != 0
    }

    pub(super) fn epoch(self) -> u16 {
        self.0 & Self::EPOCH_MASK
    }

    /// As it lies in a slot with a part of its hash: in the place of the id, and in that of the meta byte.
    fn laid_down(self, hash_bits: u32) -> (u32, u8) {
        let [high, low] = self.0.to_be_bytes();
        (u32::from(high) << GHOST_HASH_BITS | hash_bits, low)
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

/// Bits of its hash that a ghost remembers beside its tag.
const GHOST_HASH_BITS: u32 = 24;
const GHOST_HASH_MASK: u32 = (1 << GHOST_HASH_BITS) - 1;

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

    fn set(&self, lane: usize, tag: u16, id: u32, meta: u8) {
        let shift = lane % LANES_PER_WORD * 16;
        let tags = &self.tags[lane / LANES_PER_WORD];
        let others = tags.load(Ordering::Relaxed) & !(0xffff << shift);
        tags.store(others | u64::from(tag) << shift, Ordering::Relaxed);
        self.ids[lane].store(id, Ordering::Relaxed);
        self.meta[lane].store(meta, Ordering::Relaxed);
    }

    fn set_item(&self, lane: usize, tag: u16, id: ItemId, meta: Meta) {
        debug_assert!(tag & ITEM_TAG != 0);
        self.set(lane, tag, id.bits(), meta.0);
    }

    fn move_lane(&self, lane: usize, to: &Self, to_lane: usize) {
        let (id, meta) = (self.ids[lane].load(Ordering::Relaxed), self.meta[lane].load(Ordering::Relaxed));
        to.set(to_lane, self.tag(lane), id, meta);
        self.clear(lane);
    }

    fn clear(&self, lane: usize) {
        self.set(lane, 0, 0, 0);
    }

    /// The lanes with an item.
    fn item_lanes(&self) -> impl Iterator<Item = usize> + use<> {
        let words = [0, 1].map(|word: usize| self.tags[word].load(Ordering::Relaxed) & LANE_TOPS);
        words.into_iter().enumerate().flat_map(|(word, tops)| Lanes(tops).map(move |lane| word * LANES_PER_WORD + lane))
    }

    /// A lane for something with this tag: an empty one, else one with a ghost.
    fn free_lane(&self, tag: u16) -> Option<usize> {
        self.matches(0).next().or_else(|| self.yielding_lane(tag))
    }

    /// The lane of the ghost that gives way. The tag decides where to begin, or it would always be the same one.
    fn yielding_lane(&self, tag: u16) -> Option<usize> {
        let start = usize::from(tag);
        let lanes = (start..start + BUCKET_SLOTS).map(|lane| lane % BUCKET_SLOTS);
        let ghosts = || lanes.clone().filter_map(|lane| Some((lane, self.ghost(lane)?)));
        let (lane, _) = ghosts().find(|(_, ghost)| !ghost.is_from_main()).or_else(|| ghosts().next())?;
        Some(lane)
    }

    /// What ghost is in a lane. The tag of a lane without an item is a ghost's, or zero.
    fn ghost(&self, lane: usize) -> Option<Ghost> {
        let tag = self.tag(lane);
        let [high, ..] = self.ids[lane].load(Ordering::Relaxed).to_be_bytes();
        let low = self.meta[lane].load(Ordering::Relaxed);
        (tag != 0 && tag & ITEM_TAG == 0).then_some(Ghost(u16::from_be_bytes([high, low])))
    }

    /// What is known of the hash of a lane's ghost.
    fn ghost_hash_bits(&self, lane: usize) -> u32 {
        self.ids[lane].load(Ordering::Relaxed) & GHOST_HASH_MASK
    }

    fn set_ghost(&self, lane: usize, tag: u16, hash_bits: u32, ghost: Ghost) {
        let (id, meta) = ghost.laid_down(hash_bits);
        self.set(lane, tag, id, meta);
    }

    /// All ghosts as they are, and none is left.
    fn take_ghosts(&self) -> ArrayVec<(u16, u32, Ghost), BUCKET_SLOTS> {
        let mut ghosts = ArrayVec::new();
        for lane in 0..BUCKET_SLOTS {
            if let Some(ghost) = self.ghost(lane) {
                ghosts.push((self.tag(lane), self.ghost_hash_bits(lane), ghost));
                self.clear(lane);
            }
        }
        ghosts
    }

    fn first_used_lane(&self) -> Option<usize> {
        self.item_lanes().next()
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
#[derive(Clone, Copy, Debug, Default)]
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
    /// Somebody is splitting, or merging; others need not.
    splitting: AtomicBool,
    /// Buckets below this one have been in use since the memory behind them was last given back.
    touched: AtomicUsize,
    /// Buckets that were left when memory was last given back, while no huge pages may be put together, which would bring it back; zero while
    /// they may.
    kept_apart: AtomicUsize,
    /// Walks under way, while which nothing is merged. Taken before any bucket's lock.
    walks: Mutex<usize>,
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
            touched: AtomicUsize::new(1 << INDEX_LEVEL_MIN),
            kept_apart: AtomicUsize::new(0),
            walks: Mutex::new(0),
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
    // Always, as its caller.
    #[inline(always)]
    pub(super) fn peek(&self, hash: Hash, mut each: impl FnMut(ItemId)) {
        let bucket = &self.buckets[self.geometry().index_of(hash)];
        for id in bucket.matches(hash.tag()).filter_map(|lane| bucket.id(lane)) {
            each(id);
        }
        self.prefetch_overflow(bucket);
    }

    /// Has the bucket after this one in its chain fetched, if there is one.
    #[inline]
    fn prefetch_overflow(&self, bucket: &Bucket) {
        let overflow = bucket.overflow.load(Ordering::Relaxed);
        if overflow != 0 {
            prefetch(std::ptr::from_ref(&self.overflow[overflow as usize]).cast());
        }
    }

    /// Has the chain of a bucket fetched that was asked for before.
    #[inline]
    pub(super) fn prefetch_chain(&self, hash: Hash) {
        self.prefetch_overflow(&self.buckets[self.geometry().index_of(hash)]);
    }

    /// Locks the bucket a hash belongs to.
    #[inline]
    pub(super) fn lock(&self, hash: Hash) -> BucketGuard<'_> {
        loop {
            let index = self.geometry().index_of(hash);
            let guard = BucketGuard::lock(self, &self.buckets[index], Rank::Bucket);
            // The lock's acquire pairs with a splitter's or merger's release: what became of this bucket is seen here.
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

    /// Locks a bucket, and leaves it so until it is unlocked in the same way; it is not split meanwhile.
    #[cfg(feature = "debug-commands")]
    pub(super) fn lock_for_good(&self, hash: Hash) {
        loop {
            let bucket = &self.buckets[self.geometry().index_of(hash)];
            word::lock(&bucket.lock);
            if std::ptr::eq(bucket, &raw const self.buckets[self.geometry().index_of(hash)]) {
                return;
            }
            word::unlock(&bucket.lock);
        }
    }

    /// Unlocks it.
    #[cfg(feature = "debug-commands")]
    pub(super) fn unlock_for_good(&self, hash: Hash) {
        word::unlock(&self.buckets[self.geometry().index_of(hash)].lock);
    }

    /// Whether two hashes belong to one bucket.
    #[cfg(feature = "debug-commands")]
    pub(super) fn share_bucket(&self, one: Hash, other: Hash) -> bool {
        self.geometry().index_of(one) == self.geometry().index_of(other)
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
            let leaves = |hash| new.index_of(hash) != old.split as usize;
            // In a table of more buckets than that a ghost does not know its half, and goes.
            let ghost_leaves = |hash| (old.level < GHOST_HASH_BITS).then(|| leaves(hash));
            lower.move_to(&mut upper, &mut spare, |id, guard| leaves(hash(id, guard)), ghost_leaves);
            // Release, and before the locks go: see `lock`.
            self.geometry.store(new.bits(), Ordering::Release);
            self.note_touched(new.count());
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

    /// Every chain with its lock held, one after the other; with the index it has. For audits, when nothing splits or merges.
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
        self.chain().flat_map(|bucket| bucket.item_lanes().map(move |lane| Slot { bucket, lane }))
    }

    /// Puts an item in a free slot; false if there is neither a slot nor an overflow bucket left.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "exclusive: slots found before are stale after")]
    pub(super) fn insert(&mut self, tag: u16, id: ItemId, meta: Meta) -> bool {
        self.insert_with(tag, id, meta, || self.table.take_spill())
    }

    fn insert_with(&self, tag: u16, id: ItemId, meta: Meta, mut take: impl FnMut() -> Option<u32>) -> bool {
        let mut bucket = self.bucket;
        loop {
            if let Some(lane) = bucket.free_lane(tag) {
                bucket.set_item(lane, tag, id, meta);
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
        slot.bucket.clear(slot.lane);
        let Some(last) = self.chain().last().filter(|last| !std::ptr::eq(*last, self.bucket)) else { return };
        if let Some(lane) = last.first_used_lane()
            && !std::ptr::eq(last, slot.bucket)
        {
            last.move_lane(lane, slot.bucket, slot.lane);
        }
        self.trim();
    }

    /// Leaves a ghost behind, if the first bucket has room for it or another ghost that gives way.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "exclusive: slots found before are stale after")]
    pub(super) fn leave_ghost(&mut self, hash: Hash, ghost: Ghost) {
        if let Some(lane) = self.bucket.free_lane(hash.ghost_tag()) {
            self.bucket.set_ghost(lane, hash.ghost_tag(), hash.low() & GHOST_HASH_MASK, ghost);
        }
    }

    /// Takes a key's ghost away, if there is one.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "exclusive: slots found before are stale after")]
    pub(super) fn take_ghost(&mut self, hash: Hash) -> Option<Ghost> {
        let bucket = self.bucket;
        let (tag, bits) = (hash.ghost_tag(), hash.low() & GHOST_HASH_MASK);
        let is_its = |&lane: &usize| bucket.tag(lane) == tag && bucket.ghost_hash_bits(lane) == bits;
        let lane = bucket.matches(tag).find(is_its)?;
        let ghost = bucket.ghost(lane);
        bucket.clear(lane);
        ghost
    }

    /// What is known of the hashes of all ghosts. For audits, of small tables.
    pub(super) fn ghosts(&self) -> impl Iterator<Item = Hash> + use<'t> {
        let bucket = self.bucket;
        let ghosts = (0..BUCKET_SLOTS).filter(|&lane| bucket.ghost(lane).is_some());
        ghosts.map(|lane| Hash::from_low(bucket.ghost_hash_bits(lane)))
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

    /// Moves the items for which `moves` holds to `other`, which takes its overflow buckets from `spare`. Ghosts stay or go by
    /// `ghost_moves` (or are forgotten, if it does not know), as far as there is room when the items have their places.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "exclusive: slots found before are stale after")]
    fn move_to<const N: usize>(
        &mut self,
        other: &mut BucketGuard<'t>,
        spare: &mut ArrayVec<u32, N>,
        moves: impl Fn(ItemId, &BucketGuard<'t>) -> bool,
        ghost_moves: impl Fn(Hash) -> Option<bool>,
    ) {
        let ghosts = self.bucket.take_ghosts();
        // The chain is walked once, and what stays is set down again from the chain's beginning: never ahead of the walk.
        let (mut to, mut to_lane) = (self.bucket, 0);
        for bucket in self.chain() {
            for lane in 0..BUCKET_SLOTS {
                let Some(id) = bucket.id(lane) else { continue };
                let (tag, meta) = (bucket.tag(lane), Meta(bucket.meta[lane].load(Ordering::Relaxed)));
                let leaves = moves(id, self);
                bucket.clear(lane);
                if leaves {
                    let moved = other.insert_with(tag, id, meta, || spare.pop());
                    assert!(moved, "a split sets aside as many overflow buckets as the chain has");
                    continue;
                }
                if to_lane == BUCKET_SLOTS {
                    to = self.table.next(to).expect("what stays needs no longer a chain than before");
                    to_lane = 0;
                }
                to.set_item(to_lane, tag, id, meta);
                to_lane += 1;
            }
        }
        for _ in 0..self.chain().count() {
            self.trim();
        }
        for (tag, hash_bits, ghost) in ghosts {
            let Some(leaves) = ghost_moves(Hash::from_low(hash_bits)) else { continue };
            let to = if leaves { other.bucket } else { self.bucket };
            if let Some(lane) = to.free_lane(tag) {
                to.set_ghost(lane, tag, hash_bits, ghost);
            }
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
            bucket.set_item(lane, 0x8001 + u16::try_from(lane).expect("small"), id(1), Meta::default());
        }
        for lane in 0..BUCKET_SLOTS {
            let tag = 0x8001 + u16::try_from(lane).expect("small");
            assert!(bucket.matches(tag).any(|found| found == lane));
            assert_eq!(bucket.tag(lane), tag);
        }
        assert_eq!(bucket.matches(0x1234).count(), 0);
    }

    /// Ghosts beside a map: those the table still has are where their hash leads, whatever moved around them.
    #[test]
    fn ghosts_give_way_to_items_and_move_with_splits() {
        let hasher = Hasher::new(Some(3));
        let hash = |n: u32| hasher.hash(&n.to_le_bytes());
        let table = Table::new(100_000).expect("the index can be mapped");
        let count = 20_000;
        for n in 1..=count {
            let mut guard = table.lock(hash(n));
            guard.leave_ghost(hash(n), Ghost::new(n.is_multiple_of(2), u16::try_from(n % 1000).expect("small")));
        }
        let ghost_count = || {
            let mut ghosts = 0;
            table.each_chain(|index, guard| {
                ghosts += guard.ghosts().inspect(|&hash| assert_eq!(table.index_of(hash), index)).count();
                assert_eq!(guard.slots().count(), guard.slots().filter(|slot| slot.id().bits() > count).count());
            });
            ghosts
        };
        let before = ghost_count();
        assert!(before > 15_000, "{before} of 20,000 ghosts in 32,768 slots");
        // Items under other keys: every one finds a slot, nobody finds a ghost, the index grows by items alone.
        for n in count + 1..=3 * count {
            let mut guard = table.lock(hash(n));
            assert!(guard.find(hash(n).tag(), |other| other == id(n)).is_none());
            assert!(guard.insert(hash(n).tag(), id(n), Meta::default()));
            drop(guard);
            if table.wants_split(u64::from(n - count)) {
                table.split(|_| (), |id, _| hash(id.bits()));
            }
        }
        let after = ghost_count();
        assert!((1000..before).contains(&after), "{after} ghosts are left");
        let mut found = 0;
        for n in 1..=count {
            let mut guard = table.lock(hash(n));
            if let Some(ghost) = guard.take_ghost(hash(n)) {
                assert_eq!(ghost, Ghost::new(n.is_multiple_of(2), u16::try_from(n % 1000).expect("small")));
                found += 1;
            }
            assert_eq!(guard.take_ghost(hash(n)), None, "a ghost is taken once");
        }
        assert_eq!((found, ghost_count()), (after, 0));
    }

    #[test]
    fn frequency_saturates_and_rests() {
        let meta = (0..9).fold(Meta::default(), |meta, _| meta.read());
        assert_eq!((meta.frequency(), meta.is_fetched()), (3, true));
        assert_eq!((meta.rested().frequency(), meta.rested().is_fetched()), (0, true));
        assert_eq!((meta.tired().frequency(), meta.rested().tired()), (2, meta.rested()));
        assert!(!meta.restored(Marks::NONE).is_fetched());
    }
}
