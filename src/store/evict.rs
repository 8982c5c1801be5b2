//! Making room in a class: its queues' tails first, then somebody else's page, then a larger chunk.
//!
//! ```text
//!  segmented:   new ──► HOT ──unused──► COLD ──unused──► evicted
//!                        │                │
//!                        └──used──► WARM ◄┘ used
//!                                    │ ▲
//!                             unused ▼ └─ used: another round
//!                                   COLD
//!  flat:        new ──► COLD ──► evicted; every use moves an item to the head
//! ```
//!
//! Nothing moves between queues while there is room: an item's uses are counted in its slot of the index, and looked at only
//! when it has come to a tail. Of what is looked at for one chunk the first half may be spared for its uses, the second may not: a
//! store where everything is in use still makes room. From a queue to an item is against the lock order, so the item's bucket is
//! only tried; an item that is held by somebody goes back to the head.

use super::arena::{Arena, ItemId, Page, PageId};
use super::expiry::Moment;
use super::hash::Hash;
use super::item::{Chunk, Linked, Segment};
use super::pages::{Class, ClassGuard};
use super::table::BucketGuard;
use super::{Inner, Local};
use crate::clock::Now;
use crate::limits::{EVICT_BATCH, EVICT_BATCH_BYTES, EVICT_SPARED_MAX, EVICT_STEPS_MAX};
use crate::settings::LruMode;
use crate::stats::Block;
use arrayvec::ArrayVec;
use std::sync::atomic::Ordering;

/// Shares of a class's items in percent (memcached's `hot_lru_pct` and `warm_lru_pct`).
const HOT_PCT: u32 = 20;
const WARM_PCT: u32 = 40;

/// Uses that make an item of HOT or WARM worth keeping (memcached's second hit).
const ACTIVE_USES: u8 = 2;

/// Queues in the order in which victims are taken from them.
const VICTIM_ORDER: [Segment; 4] = [Segment::Cold, Segment::Hot, Segment::Warm, Segment::Temp];

/// A chunk this many times as long as needed is taken before the last page of another class.
const LARGER_MAX: usize = 2;

/// What an item is spared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spare {
    /// Uses since it came to its queue, or readers who have it pinned.
    Used,
    /// Readers who have it pinned: evicting it would win no chunk.
    Pinned,
    /// Nothing: its page is to be emptied.
    Nothing,
}

/// What became of the item at a tail.
enum Fate {
    /// Its chunk is ours.
    Evicted(Chunk),
    /// Unlinked, but a reader has it pinned and will free it.
    Orphaned,
    /// Kept: used, or held by somebody.
    Kept,
}

impl ClassGuard<'_> {
    /// The item that would be looked at first if room were needed.
    fn next_victim(&mut self) -> Option<ItemId> {
        VICTIM_ORDER.into_iter().find_map(|segment| self.queue(segment).tail)
    }

    /// The queue to take victims from: the first that has any, or, so that a queue of pinned values does not hide the others,
    /// each of those in turn.
    fn victim_segment(&mut self, turn: usize) -> Option<Segment> {
        let filled: ArrayVec<Segment, 4> =
            VICTIM_ORDER.into_iter().filter(|&segment| self.queue(segment).count > 0).collect();
        (!filled.is_empty()).then(|| filled[turn % filled.len()])
    }

    /// How well the class can do without a page: pages, then seconds since its next victim was used.
    /// None if it has no victim, which then is true of its pages as well: all reserved or pinned.
    fn wealth(mut self, arena: &Arena, at: Moment) -> Option<(u32, u32)> {
        let idle_secs = at.age_secs(arena.header(self.next_victim()?).access());
        Some((self.state.page_count, idle_secs))
    }
}

impl Inner {
    /// A chunk for a class that has none free, from wherever it can be had.
    #[cold]
    pub(super) fn make_room(&self, local: &mut Local, class: &Class, now: Now) -> Option<Chunk> {
        let at = self.moment(now);
        self.evict_for(local, class, at)
            .or_else(|| self.drained_chunk(local, class, 2, at))
            .or_else(|| self.larger_chunk(local, class, LARGER_MAX, at))
            .or_else(|| self.drained_chunk(local, class, 1, at))
            .or_else(|| self.larger_chunk(local, class, usize::MAX, at))
    }

    /// A chunk of a page that is taken from another class: one of which nothing is used, or else (if anything may be evicted at
    /// all) of a class that has at least `page_count_min`.
    fn drained_chunk(&self, local: &mut Local, class: &Class, page_count_min: u32, at: Moment) -> Option<Chunk> {
        let drained =
            self.release_unused_page(class) || self.config.evict && self.drain_a_page(local, class, page_count_min, at);
        drained.then(|| class.lock().take(&self.arena, &self.pool)).flatten()
    }

    /// Evicts from a class's own queues: one chunk to return, and a few more for the free list while the class is locked.
    fn evict_for(&self, local: &mut Local, class: &Class, at: Moment) -> Option<Chunk> {
        let mut guard = class.lock();
        if let Some(chunk) = guard.take(&self.arena, &self.pool) {
            return Some(chunk);
        }
        if !self.config.evict {
            return None;
        }
        let want = (EVICT_BATCH_BYTES / class.chunk_len).clamp(1, EVICT_BATCH);
        let mut won: ArrayVec<Chunk, EVICT_BATCH> = ArrayVec::new();
        let removed = self.evict(&mut guard, &local.stats, want, at, &mut won);
        local.count_items(-removed);
        // A page that was still being drained may have gone to the pool with its last item.
        let chunk = won.pop().or_else(|| guard.take(&self.arena, &self.pool));
        for spare in won {
            guard.give(&self.arena, &self.pool, spare);
        }
        chunk
    }

    /// Looks at tails until `want` chunks are won or the steps are spent; how many items it removed.
    fn evict(
        &self,
        guard: &mut ClassGuard<'_>,
        stats: &Block,
        want: usize,
        at: Moment,
        won: &mut ArrayVec<Chunk, EVICT_BATCH>,
    ) -> i64 {
        let (mut steps, mut hard_turns, mut removed) = (0, 0, 0);
        while won.len() < want && steps < EVICT_STEPS_MAX {
            if self.config.lru == LruMode::Segmented {
                self.rebalance(guard, stats);
            }
            let spare = if steps < EVICT_SPARED_MAX { Spare::Used } else { Spare::Pinned };
            let Some(segment) = guard.victim_segment(hard_turns) else { break };
            hard_turns += usize::from(spare == Spare::Pinned);
            // Hash a few victims first, so that their buckets are on their way while the first one is unlinked.
            let victims: ArrayVec<(ItemId, Hash), EVICT_BATCH> = guard
                .queue(segment)
                .tail_first(&self.arena)
                .take(want - won.len())
                .map(|id| {
                    let hash = self.hash_of(Linked::vouched(id, &*guard));
                    self.table.prefetch(hash);
                    (id, hash)
                })
                .collect();
            for (id, hash) in victims {
                steps += 1;
                match self.evict_item(guard, stats, id, hash, at, spare) {
                    // Not to be used again, or the page would never be empty, and the rest of it nobody's.
                    Fate::Evicted(chunk)
                        if self.arena.page(self.arena.page_of(id)).draining.load(Ordering::Relaxed) =>
                    {
                        guard.give(&self.arena, &self.pool, chunk);
                    }
                    Fate::Evicted(chunk) => won.push(chunk),
                    Fate::Orphaned => {}
                    Fate::Kept => continue,
                }
                removed += 1;
            }
        }
        removed
    }

    /// Brings HOT and WARM back to their shares, two steps at most of each.
    fn rebalance(&self, guard: &mut ClassGuard<'_>, stats: &Block) {
        for (segment, pct) in [(Segment::Hot, HOT_PCT), (Segment::Warm, WARM_PCT)] {
            for _ in 0..2 {
                let count = guard.queue(segment).count;
                if u64::from(count) * 100 <= u64::from(guard.item_count()) * u64::from(pct) {
                    break;
                }
                let Some(id) = guard.queue(segment).tail else { break };
                let hash = self.hash_of(Linked::vouched(id, &*guard));
                let active = self.table.try_lock(hash).is_some_and(|bucket| {
                    let slot = bucket.find(hash.tag(), |other| other == id);
                    slot.is_some_and(|slot| {
                        let meta = slot.meta();
                        slot.set_meta(meta.rested());
                        meta.frequency() >= ACTIVE_USES
                    })
                });
                match (active, segment) {
                    (true, Segment::Warm) => stats.moves_within_lru.add(1),
                    (true, _) => stats.moves_to_warm.add(1),
                    (false, _) => stats.moves_to_cold.add(1),
                }
                guard.requeue(&self.arena, id, if active { Segment::Warm } else { Segment::Cold });
            }
        }
    }

    /// Evicts one item, unless it is alive and to be spared, or somebody holds its bucket.
    fn evict_item(
        &self,
        guard: &mut ClassGuard<'_>,
        stats: &Block,
        id: ItemId,
        hash: Hash,
        at: Moment,
        spare: Spare,
    ) -> Fate {
        let Some(mut bucket) = self.table.try_lock(hash) else {
            stats.lrutail_reflocked.add(1);
            let segment = self.arena.header(id).segment();
            guard.requeue(&self.arena, id, segment);
            return Fate::Kept;
        };
        let slot = bucket.find(hash.tag(), |other| other == id).expect("a queued item is in the index");
        let (meta, dead) = (slot.meta(), self.is_dead(id, at));
        let chunk_len = guard.class.chunk_len;
        let header = self.arena.header(id);
        let pinned = self.arena.is_pinned(id, chunk_len, header.value_len());
        let used = self.config.lru == LruMode::Segmented && meta.frequency() > 0;
        if !dead && (spare != Spare::Nothing && pinned || spare == Spare::Used && used) {
            slot.set_meta(meta.rested());
            if pinned { &stats.moves_within_lru } else { &stats.moves_to_warm }.add(1);
            guard.requeue(&self.arena, id, if pinned { header.segment() } else { Segment::Warm });
            return Fate::Kept;
        }
        count_eviction(stats, dead, meta.is_fetched(), meta.frequency() >= ACTIVE_USES);
        let item_len = self.arena.shape_of(Linked::vouched(id, &bucket)).item_len;
        bucket.remove(slot);
        guard.dequeue(&self.arena, id);
        stats.bytes.sub(item_len as u64);
        stats.curr_items.sub(1);
        self.unlinked(&bucket, id, guard.class)
    }

    /// The item is in no bucket and no queue any more: its chunk is ours unless a reader has it pinned.
    fn unlinked(&self, _bucket: &BucketGuard<'_>, id: ItemId, class: &Class) -> Fate {
        let header = self.arena.header(id);
        let value_len = header.value_len();
        header.mark_unlinked();
        if self.arena.orphan(id, class.chunk_len, value_len) {
            Fate::Evicted(Chunk::owned(id, class.id))
        } else {
            Fate::Orphaned
        }
    }

    /// Empties one page of another class, so that the pool has one for `wanting`: one of the class
    /// that has the most (of several such, the one whose next victim has been idle longest). Whether the pool has one.
    fn drain_a_page(&self, local: &mut Local, wanting: &Class, page_count_min: u32, at: Moment) -> bool {
        let donor = self
            .classes
            .iter()
            .filter(|class| class.id != wanting.id)
            .filter_map(|class| Some((class.lock().wealth(&self.arena, at)?, class)))
            .filter(|((page_count, _), _)| *page_count >= page_count_min)
            .max_by_key(|(wealth, _)| *wealth);
        let Some((_, donor)) = donor else { return false };
        let Some((page, chunk_count)) = self.begin_drain(donor) else { return false };
        local.stats.slabs_moved.add(1);
        let mut index = 0;
        while index < chunk_count {
            // The class is let go every so often: others store in it meanwhile.
            let mut guard = donor.lock();
            let end = chunk_count.min(index + u32::try_from(EVICT_STEPS_MAX).unwrap_or(u32::MAX));
            while index < end && self.is_draining(donor, page, index) {
                self.drain_chunk(&mut guard, local, page, index, at);
                index += 1;
            }
            index = end;
        }
        self.pool.free_count() > 0
    }

    /// Whether this chunk of the page still is one to look at: the page may have gone to the pool and come back meanwhile.
    fn is_draining(&self, donor: &Class, page: PageId, index: u32) -> bool {
        let page = self.arena.page(page);
        page.class() == Some(donor.id)
            && page.draining.load(Ordering::Relaxed)
            && index < page.carved.load(Ordering::Relaxed)
    }

    /// Gives a page back of which another class uses nothing. Whether there was one.
    fn release_unused_page(&self, wanting: &Class) -> bool {
        let unused = |page: &Page| {
            page.class().is_some_and(|class| class != wanting.id) && page.used.load(Ordering::Relaxed) == 0
        };
        self.arena.pages().filter(|(_, page)| unused(page)).any(|(id, page)| {
            // Looked at again under the class's lock; what was seen without it is a hint.
            let Some(class) = page.class() else { return false };
            let mut guard = self.class(class).lock();
            let still = page.class() == Some(class) && unused(page) && !page.draining.load(Ordering::Relaxed);
            still && guard.drain(&self.arena, &self.pool, id) == 0
        })
    }

    /// Picks the page of the item that would be evicted next, and begins to drain it. One that is being drained already has an item
    /// whose bucket was held, or whose chunk was reserved, when it was last looked at: it is looked at again.
    fn begin_drain(&self, donor: &Class) -> Option<(PageId, u32)> {
        let mut guard = donor.lock();
        let oldest = guard.next_victim()?;
        let page_id = self.arena.page_of(oldest);
        let page = self.arena.page(page_id);
        if page.draining.load(Ordering::Relaxed) {
            return Some((page_id, page.carved.load(Ordering::Relaxed)));
        }
        Some((page_id, guard.drain(&self.arena, &self.pool, page_id)))
    }

    fn drain_chunk(&self, guard: &mut ClassGuard<'_>, local: &mut Local, page: PageId, index: u32, at: Moment) {
        let id = self.arena.chunk_id(page, index, guard.class.chunk_len);
        if !self.arena.header(id).is_linked() {
            return;
        }
        let hash = self.hash_of(Linked::vouched(id, &*guard));
        // An item whose bucket is held just now stays, and with it the page, until it is freed in its own time.
        match self.evict_item(guard, &local.stats, id, hash, at, Spare::Nothing) {
            Fate::Evicted(chunk) => guard.give(&self.arena, &self.pool, chunk),
            Fate::Orphaned => {}
            Fate::Kept => return,
        }
        local.count_items(-1);
    }

    /// A chunk of the next larger class that has or can make one, up to `times` the size: better wasteful than refused.
    fn larger_chunk(&self, local: &mut Local, class: &Class, times: usize, at: Moment) -> Option<Chunk> {
        let len_max = class.chunk_len.saturating_mul(times);
        self.classes[class.id.index() + 1..]
            .iter()
            .take_while(|larger| larger.chunk_len <= len_max)
            .find_map(|larger| self.evict_for(local, larger, at))
    }

    /// The hash of a linked item's key.
    pub(super) fn hash_of(&self, item: Linked<'_>) -> Hash {
        self.hasher.hash(self.arena.key(item))
    }

    /// Splits one bucket of the index if it has become too full.
    #[inline]
    pub(super) fn grow_index(&self) {
        if self.table.wants_split(u64::try_from(self.item_count.load(Ordering::Relaxed)).unwrap_or(0)) {
            self.split_index();
        }
    }

    #[cold]
    fn split_index(&self) {
        let arena: &Arena = &self.arena;
        self.table.split(|id| arena.prefetch(id), |id, guard| self.hash_of(Linked::vouched(id, guard)));
    }
}

fn count_eviction(stats: &Block, dead: bool, fetched: bool, active: bool) {
    if dead {
        stats.reclaimed.add(1);
        if !fetched {
            stats.expired_unfetched.add(1);
        }
        return;
    }
    stats.evictions.add(1);
    stats.direct_reclaims.add(1);
    if !fetched {
        stats.evicted_unfetched.add(1);
    }
    if active {
        stats.evicted_active.add(1);
    }
}
