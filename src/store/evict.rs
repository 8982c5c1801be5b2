//! Making room in a class: its queues' tails first, then somebody else's page, then a larger chunk.
//!
//! Which tail, and who is spared, is in `queues.rs`. From a queue to an item is against the lock order, so the item's bucket is
//! only tried; an item that is held by somebody goes back to the head.

use super::arena::{Arena, ItemId, Page, PageId};
use super::expiry::stamp_age;
use super::hash::Hash;
use super::item::{Chunk, Linked, Segment};
use super::pages::{Class, ClassGuard};
use super::queues::{ACTIVE_USES, ClassCounts, Move, kept};
use super::table::{BucketGuard, Meta};
use super::{Inner, Local};
use crate::clock::Now;
use crate::limits::{EVICT_BATCH, EVICT_STEPS_MAX};
use crate::settings::LruMode;
use crate::stats::Block;
use arrayvec::ArrayVec;
use std::sync::atomic::Ordering;

/// A chunk this many times as long as needed is taken before the last page of another class.
const LARGER_MAX: usize = 2;

/// What became of the item at a tail.
enum Fate {
    /// Its chunk is ours.
    Evicted(Chunk),
    /// Unlinked, but a reader has it pinned and will free it.
    Orphaned,
    /// Kept: used, or held by somebody.
    Kept,
}

/// Whom an eviction leaves alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sparing {
    /// What has been used since it came to its queue, and what is pinned.
    Used,
    /// What is pinned.
    Pinned,
    /// Nothing: the page must go.
    Nothing,
}

impl ClassGuard<'_> {
    /// How well the class can do without a page: pages, then seconds since its next victim was used.
    /// None if it has no victim, which then is true of its pages as well: all reserved or pinned.
    fn wealth(mut self, arena: &Arena, mode: LruMode, stamp: u32) -> Option<(u32, u32)> {
        let idle_secs = stamp_age(arena.header(self.next_victim(mode)?).access(), stamp);
        Some((self.state.page_count, idle_secs))
    }
}

impl Inner {
    /// A chunk for a class that has none free, from wherever it can be had.
    #[cold]
    pub(super) fn make_room(&self, local: &mut Local, class: &Class, now: Now) -> Option<Chunk> {
        self.evict_for(local, class, now)
            .or_else(|| self.drained_chunk(local, class, 2, now))
            .or_else(|| self.larger_chunk(local, class, LARGER_MAX, now))
            .or_else(|| self.drained_chunk(local, class, 1, now))
            .or_else(|| self.larger_chunk(local, class, usize::MAX, now))
    }

    /// A chunk of a page that is taken from another class, one that has at least `page_count_min`.
    fn drained_chunk(&self, local: &mut Local, class: &Class, page_count_min: u32, now: Now) -> Option<Chunk> {
        let drained = self.config.evict && self.drain_a_page(local, class, page_count_min, now);
        drained.then(|| class.lock().take(&self.arena, &self.pool)).flatten()
    }

    /// Evicts from a class's own queues: one chunk to return, and a few more for the free list while the class is locked.
    fn evict_for(&self, local: &mut Local, class: &Class, now: Now) -> Option<Chunk> {
        let mut guard = class.lock();
        if let Some(chunk) = guard.take(&self.arena, &self.pool) {
            return Some(chunk);
        }
        if !self.config.evict {
            return None;
        }
        let want = guard.victims_at_once();
        let mut won: ArrayVec<Chunk, EVICT_BATCH> = ArrayVec::new();
        let removed = self.evict(&mut guard, &local.stats, want, now, &mut won);
        local.item_delta -= removed;
        let chunk = won.pop();
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
        now: Now,
        won: &mut ArrayVec<Chunk, EVICT_BATCH>,
    ) -> i64 {
        let (mut steps, mut removed) = (0, 0);
        let mode = self.lru.mode();
        while won.len() < want && steps < EVICT_STEPS_MAX {
            if mode == LruMode::Segmented {
                self.rebalance(guard, stats, now);
            }
            // When everything at the tails is in use, something in use must go: the probation's, if there is one.
            let is_urgent = won.is_empty() && steps >= EVICT_STEPS_MAX / 2;
            let Some((segment, batch)) = self.victims(guard, mode, is_urgent, now) else { break };
            // Hash a few victims first, so that their buckets are on their way while the first one is unlinked.
            let victims: ArrayVec<(ItemId, Hash), EVICT_BATCH> = guard
                .queue(segment)
                .tail_first(&self.arena)
                .take(batch.min(want - won.len()))
                .map(|id| {
                    let hash = self.hash_of(Linked::vouched(id, &*guard));
                    self.table.prefetch(hash);
                    (id, hash)
                })
                .collect();
            let sparing = if is_urgent { Sparing::Pinned } else { Sparing::Used };
            for (id, hash) in victims {
                steps += 1;
                match self.evict_item(guard, stats, id, hash, now, sparing) {
                    Fate::Evicted(chunk) => won.push(chunk),
                    Fate::Orphaned => {}
                    Fate::Kept => continue,
                }
                removed += 1;
            }
            // Who has been spared for long enough is enough for one chunk, not for a batch.
            if !won.is_empty() && steps >= EVICT_STEPS_MAX / 2 {
                break;
            }
        }
        removed
    }

    /// The queue to take victims from, and how many at most: dead items of TEMP first.
    fn victims(
        &self,
        guard: &mut ClassGuard<'_>,
        mode: LruMode,
        is_urgent: bool,
        now: Now,
    ) -> Option<(Segment, usize)> {
        if guard.queue(Segment::Temp).tail.is_some_and(|id| self.is_dead(id, now)) {
            return Some((Segment::Temp, 1));
        }
        if is_urgent && guard.queue(Segment::Hot).count > 0 {
            return Some((Segment::Hot, 1));
        }
        guard.victims_of(mode)
    }

    /// Evicts one item, unless it is to be spared or somebody holds its bucket.
    fn evict_item(
        &self,
        guard: &mut ClassGuard<'_>,
        stats: &Block,
        id: ItemId,
        hash: Hash,
        now: Now,
        sparing: Sparing,
    ) -> Fate {
        let Some(mut bucket) = self.table.try_lock(hash) else {
            stats.lrutail_reflocked.add(1);
            guard.state.counts.lrutail_reflocked += 1;
            let segment = self.arena.header(id).segment();
            guard.requeue(&self.arena, id, segment);
            return Fate::Kept;
        };
        let slot = bucket.find(hash.tag(), |other| other == id).expect("a queued item is in the index");
        let (meta, dead) = (slot.meta(), self.is_dead(id, now));
        let chunk_len = guard.class.chunk_len;
        let header = self.arena.header(id);
        let (mode, segment) = (self.lru.mode(), header.segment());
        let pinned = self.arena.is_pinned(id, chunk_len, header.value_len());
        if !dead && pinned && sparing != Sparing::Nothing {
            guard.state.counts.moved(stats, Move::Within);
            guard.requeue(&self.arena, id, segment);
            return Fate::Kept;
        }
        if !dead && sparing == Sparing::Used && mode != LruMode::Flat && meta.frequency() > 0 {
            let (segment, meta, how) = kept(mode, segment, meta);
            slot.set_meta(meta);
            guard.state.counts.moved(stats, how);
            guard.requeue(&self.arena, id, segment);
            return Fate::Kept;
        }
        let ghost = (mode == LruMode::S3Fifo && !dead && segment != Segment::Temp).then(|| {
            let (from_main, items) = (segment != Segment::Hot, guard.competing_count());
            let probation = &mut guard.state.probation;
            if sparing == Sparing::Nothing { probation.removed(from_main) } else { probation.evicted(from_main, items) }
        });
        let idle_secs = stamp_age(header.access(), self.stamp(now));
        count_eviction(stats, &mut guard.state.counts, (meta, header.deadline(), idle_secs), dead);
        let item_len = self.arena.shape_of(Linked::vouched(id, &bucket)).item_len;
        bucket.remove(slot);
        if let Some(ghost) = ghost {
            bucket.leave_ghost(hash, ghost);
        }
        guard.dequeue(&self.arena, id);
        guard.state.bytes -= item_len as i64;
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

    /// Empties one page of another class, so that the pool has one for `wanting`: one that is empty already, or one of the class
    /// that has the most (of several such, the one whose next victim has been idle longest). Whether the pool has one.
    fn drain_a_page(&self, local: &mut Local, wanting: &Class, page_count_min: u32, now: Now) -> bool {
        if self.release_unused_page(wanting) {
            return true;
        }
        let donor = self
            .classes
            .iter()
            .filter(|class| class.id != wanting.id)
            .filter_map(|class| Some((class.lock().wealth(&self.arena, self.lru.mode(), self.stamp(now))?, class)))
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
                self.drain_chunk(&mut guard, local, page, index, now);
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

    /// Picks the page of the item that would be evicted next, and begins to drain it.
    fn begin_drain(&self, donor: &Class) -> Option<(PageId, u32)> {
        let mut guard = donor.lock();
        let oldest = guard.next_victim(self.lru.mode())?;
        let page = self.arena.page_of(oldest);
        if self.arena.page(page).draining.load(Ordering::Relaxed) {
            return None;
        }
        Some((page, guard.drain(&self.arena, &self.pool, page)))
    }

    fn drain_chunk(&self, guard: &mut ClassGuard<'_>, local: &mut Local, page: PageId, index: u32, now: Now) {
        let id = self.arena.chunk_id(page, index, guard.class.chunk_len);
        if !self.arena.header(id).is_linked() {
            return;
        }
        let hash = self.hash_of(Linked::vouched(id, &*guard));
        // An item whose bucket is held just now stays, and with it the page, until it is freed in its own time.
        match self.evict_item(guard, &local.stats, id, hash, now, Sparing::Nothing) {
            Fate::Evicted(chunk) => guard.give(&self.arena, &self.pool, chunk),
            Fate::Orphaned => {}
            Fate::Kept => return,
        }
        local.item_delta -= 1;
    }

    /// A chunk of the next larger class that has or can make one, up to `times` the size: better wasteful than refused.
    fn larger_chunk(&self, local: &mut Local, class: &Class, times: usize, now: Now) -> Option<Chunk> {
        let len_max = class.chunk_len.saturating_mul(times);
        self.classes[class.id.index() + 1..]
            .iter()
            .take_while(|larger| larger.chunk_len <= len_max)
            .find_map(|larger| self.evict_for(local, larger, now))
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

fn count_eviction(stats: &Block, counts: &mut ClassCounts, (meta, deadline, idle_secs): (Meta, u32, u32), dead: bool) {
    let unfetched = u64::from(!meta.is_fetched());
    if dead {
        counts.reclaimed += 1;
        counts.expired_unfetched += unfetched;
        stats.reclaimed.add(1);
        stats.expired_unfetched.add(unfetched);
        return;
    }
    let active = u64::from(meta.frequency() >= ACTIVE_USES);
    counts.evicted += 1;
    counts.evicted_nonzero += u64::from(deadline != 0);
    counts.evicted_time = idle_secs;
    counts.evicted_unfetched += unfetched;
    counts.evicted_active += active;
    counts.direct_reclaims += 1;
    stats.evictions.add(1);
    stats.direct_reclaims.add(1);
    stats.evicted_unfetched.add(unfetched);
    stats.evicted_active.add(active);
}
