//! Making room in a class: its queues' tails first, then somebody else's page, then a larger chunk.
//!
//! Which tail, and what keeps an item, is in `queues.rs`. Of all that is looked at for one chunk the first half may be spared for
//! its uses, the second may not: a store where everything is in use still makes room. From a queue to an item is against the
//! lock order, so the item's bucket is only tried; an item that is held by somebody goes back to the head.

use super::arena::{Arena, ItemId, Page, PageId};
use super::expiry::Moment;
use super::hash::Hash;
use super::item::{Chunk, Linked, Segment};
use super::moves::Wants;
use super::pages::{Class, ClassGuard, Loan};
use super::queues::{ACTIVE_USES, ClassCounts, Move, kept};
use super::reassign::{Emptied, Emptying};
use super::relocate::{Guards, Moved, Terms};
use super::sizes::ClassId;
use super::table::Meta;
use super::{Inner, Local};
use crate::clock::Now;
use crate::events::{Event, Kinds};
use crate::limits::{ASK_AFTER_PART, DRAIN_TRIES_MAX, EVICT_BATCH, EVICT_SPARED_MAX, EVICT_STEPS_MAX, SWEEPS_MAX};
use crate::settings::LruMode;
use crate::stats::Block;
use arrayvec::ArrayVec;
use std::sync::atomic::Ordering;

/// A chunk this many times as long as needed is taken before the last page of another class.
const LARGER_MAX: usize = 2;

/// What eviction has won.
#[derive(Default)]
pub(super) struct Won {
    /// Of the class that is held.
    pub(super) chunks: ArrayVec<Chunk, EVICT_BATCH>,
    /// Large items, whose pieces are in the class's free list.
    freed: usize,
    /// What of large items is of other classes, to be freed when the class is let go.
    pub(super) strays: Vec<Chunk>,
}

/// What an item is spared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spare {
    /// All that are alive.
    Living,
    /// Uses since it came to its queue, or readers who have it pinned.
    Used,
    /// Readers who have it pinned: evicting it would win no chunk.
    Pinned,
    /// Nothing: its page is to be emptied.
    Nothing,
}

/// Who removes items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// A thread that needs room for what it stores.
    Storer,
    /// The maintainer, in its own time.
    Maintainer,
}

/// What became of the item at a tail.
enum Fate {
    /// Its chunk is ours.
    Evicted(Chunk),
    /// It was large: its pieces have been given to the class that is held, the rest is left to be freed when that is let go.
    Freed,
    /// Unlinked, but a reader has it pinned and will free it.
    Orphaned,
    /// Kept: used, or held by somebody.
    Kept,
}

impl ClassGuard<'_> {
    /// The queue to take victims from when nothing may be spared for its uses: so that a queue of pinned values does not hide the
    /// others, each of them in turn, the probation first.
    fn any_victims(&mut self, turn: usize) -> Option<Segment> {
        let filled: ArrayVec<Segment, 4> = [Segment::Hot, Segment::Cold, Segment::Warm, Segment::Temp]
            .into_iter()
            .filter(|&segment| self.queue(segment).count > 0)
            .collect();
        (!filled.is_empty()).then(|| filled[turn % filled.len()])
    }

    /// Asks for a page when an eighth of one has been evicted since the last time.
    fn ask_for_page(&mut self, evicted: u32, wants: &Wants) {
        self.state.evicted_since_asked += evicted;
        if self.state.evicted_since_asked >= (self.class.chunks_per_page / ASK_AFTER_PART).max(1) {
            self.state.evicted_since_asked = 0;
            wants.note(self.class.id);
        }
    }

    /// How well the class can do without a page: pages, then seconds since its next victim was used.
    /// None if it has no victim, which then is true of its pages as well: all reserved or pinned.
    fn wealth(mut self, arena: &Arena, mode: LruMode, at: Moment) -> Option<(u32, u32)> {
        let idle_secs = at.age_secs(arena.header(self.next_victim(mode)?).access());
        Some((self.state.page_count, idle_secs))
    }
}

impl Inner {
    /// A chunk for a class that has none free, from wherever it can be had: what costs least first.
    ///
    /// ```text
    ///   1 its own: swept, evicted      one item
    ///   2 a page of a class with more  some items, and the class has a page from then on
    ///   3 a chunk up to twice as long  one item
    ///   4 any longer chunk that is free    none
    ///   5 another class's last page    all that class has: once a second, or they would take it from each other at each store
    ///   6 any longer chunk             one item
    ///   7 another class's last page    where no longer chunk can be had
    /// ```
    #[cold]
    pub(super) fn make_room(&self, local: &mut Local, class: &Class, now: Now) -> Option<Chunk> {
        let at = self.moment(now);
        self.evict_for(local, class, at)
            .or_else(|| self.drained_chunk(local, class, 2, at))
            .or_else(|| self.larger_chunk(local, class, LARGER_MAX, at))
            .or_else(|| self.larger_free_chunk(class))
            .or_else(|| if self.may_take_last_page(at) { self.drained_chunk(local, class, 1, at) } else { None })
            .or_else(|| self.larger_chunk(local, class, usize::MAX, at))
            .or_else(|| self.drained_chunk(local, class, 1, at))
    }

    /// Whether a class's last page may go to another that could have a longer chunk instead: if none has in this second.
    fn may_take_last_page(&self, at: Moment) -> bool {
        let next_secs = at.now.tick.secs() + 1;
        self.config.evict && self.last_page_secs.fetch_max(next_secs, Ordering::Relaxed) < next_secs
    }

    /// A chunk of a page that is taken from another class: one of which nothing is used, or else (if anything may be evicted at
    /// all) of a class that has at least `page_count_min`.
    fn drained_chunk(&self, local: &mut Local, class: &Class, page_count_min: u32, at: Moment) -> Option<Chunk> {
        for _ in 0..DRAIN_TRIES_MAX {
            if !self.release_unused_page(&local.stats, class) {
                let donor = if self.config.evict { self.donor(class, page_count_min, at) } else { None };
                // A page in which something is reserved or pinned stays; then another one is tried.
                if !self.drain_page_of(local, donor?, at) {
                    continue;
                }
            }
            if let Some(chunk) = class.lock().take_instead(&self.arena, &self.pool) {
                return Some(chunk);
            }
        }
        None
    }

    /// A chunk that the class has, or has room for. With each, the bucket of one of the next victims is fetched, and the header
    /// of the one after it: without the buckets, storing takes 10 % longer while it evicts (`benches/store.rs`).
    #[inline]
    pub(super) fn take_scouting(&self, class: ClassId) -> Option<Chunk> {
        let mut guard = self.class(class).lock();
        let chunk = guard.take(&self.arena, &self.pool);
        if let Some(id) = guard.scout_ahead(&self.arena) {
            self.table.prefetch(self.hash_of(Linked::vouched(id, &guard)));
        }
        chunk
    }

    /// Evicts from a class's own queues: one chunk to return, and a few more for the free list while the class is locked.
    fn evict_for(&self, local: &mut Local, class: &Class, at: Moment) -> Option<Chunk> {
        let mut guard = class.lock();
        if let Some(chunk) = guard.take(&self.arena, &self.pool) {
            return Some(chunk);
        }
        let mut won = Won::default();
        // One slice of what is dead, or, where nothing alive may go, as many as it takes.
        let sweeps = if self.config.evict { 1 } else { SWEEPS_MAX };
        let swept =
            (0..sweeps).map_while(|_| self.sweep_for_room(&mut guard, local, at, &mut won.strays)).any(|n| n > 0);
        if swept || !self.config.evict {
            let chunk = guard.take(&self.arena, &self.pool);
            drop(guard);
            self.give_back_all(won.strays);
            return chunk;
        }
        let want = guard.victims_at_once();
        guard.state.spared = local.sparing;
        let removed = self.evict(&mut guard, &local.stats, (want, By::Storer), at, &mut won);
        guard.state.spared = None;
        local.count_items(-removed);
        // A page that was still being drained may have gone to the pool with its last item.
        let chunk = won.chunks.pop().or_else(|| guard.take(&self.arena, &self.pool));
        for spare in won.chunks {
            guard.give(&self.arena, &self.pool, spare);
        }
        guard.ask_for_page(u32::try_from(removed).unwrap_or(0), &self.wants);
        drop(guard);
        self.give_back_all(won.strays);
        self.call_maintainer();
        chunk
    }

    /// Looks at tails until `want` chunks are won or the steps are spent; how many items it removed.
    pub(super) fn evict(
        &self,
        guard: &mut ClassGuard<'_>,
        stats: &Block,
        (want, by): (usize, By),
        at: Moment,
        won: &mut Won,
    ) -> i64 {
        let (mut steps, mut hard_turns, mut removed) = (0, 0, 0);
        let mode = self.lru.mode();
        while won.chunks.len() + won.freed < want && steps < EVICT_STEPS_MAX {
            if mode == LruMode::Segmented {
                self.rebalance(guard, stats, at);
            }
            let spare = if steps < EVICT_SPARED_MAX { Spare::Used } else { Spare::Pinned };
            if spare == Spare::Pinned && won.chunks.len() + won.freed > 0 {
                // What is in use goes for one chunk, not for a batch.
                break;
            }
            let victims = match spare {
                Spare::Used => self.victims(guard, mode, at),
                _ => guard.any_victims(hard_turns).map(|segment| (segment, 1)),
            };
            let Some((segment, batch)) = victims else { break };
            hard_turns += usize::from(spare == Spare::Pinned);
            // Hash a few victims first, so that their buckets are on their way while the first one is unlinked.
            let victims: ArrayVec<(ItemId, Hash), EVICT_BATCH> = guard
                .queue(segment)
                .tail_first(&self.arena)
                .take(batch.min(want - won.chunks.len() - won.freed))
                .map(|id| {
                    let hash = self.hash_of(Linked::vouched(id, &*guard));
                    self.table.prefetch(hash);
                    (id, hash)
                })
                .collect();
            for &(_, hash) in &victims {
                self.table.prefetch_chain(hash);
            }
            for (id, hash) in victims {
                steps += 1;
                match self.evict_item(guard, stats, (id, hash), at, (spare, by), &mut won.strays) {
                    // Not to be used again, or the page would never be empty, and the rest of it nobody's.
                    Fate::Evicted(chunk)
                        if self.arena.page(self.arena.page_of(id)).draining.load(Ordering::Relaxed) =>
                    {
                        guard.give(&self.arena, &self.pool, chunk);
                    }
                    Fate::Evicted(chunk) => won.chunks.push(chunk),
                    // At least one of its pieces is of this class.
                    Fate::Freed => won.freed += 1,
                    Fate::Orphaned => {}
                    Fate::Kept => continue,
                }
                removed += 1;
            }
            guard.scout_from_tail(&self.arena, segment);
        }
        removed
    }

    /// The queue to take victims from, and how many at most: dead items of TEMP first.
    fn victims(&self, guard: &mut ClassGuard<'_>, mode: LruMode, at: Moment) -> Option<(Segment, usize)> {
        if guard.queue(Segment::Temp).tail.is_some_and(|id| self.is_dead(id, at)) {
            return Some((Segment::Temp, 1));
        }
        guard.victims_of(mode)
    }

    /// Evicts one item, unless it is alive and to be spared, or somebody holds its bucket.
    fn evict_item(
        &self,
        guard: &mut ClassGuard<'_>,
        stats: &Block,
        (id, hash): (ItemId, Hash),
        at: Moment,
        (spare, by): (Spare, By),
        strays: &mut Vec<Chunk>,
    ) -> Fate {
        let Some(mut bucket) = self.table.try_lock(hash) else {
            stats.lrutail_reflocked.add(1);
            guard.state.counts.lrutail_reflocked += 1;
            let segment = self.arena.header(id).segment();
            guard.requeue(&self.arena, id, segment);
            return Fate::Kept;
        };
        let slot = bucket.find(hash.tag(), |other| other == id).expect("a queued item is in the index");
        let (meta, dead) = (slot.meta(), self.is_dead(id, at));
        let class = self.class_of(id);
        let header = self.arena.header(id);
        let pinned = self.arena.is_pinned(id, class.chunk_len, header.value_len());
        if !dead && spare == Spare::Living {
            return Fate::Kept;
        }
        if !dead && guard.state.spared == Some(id) {
            guard.requeue(&self.arena, id, header.segment());
            return Fate::Kept;
        }
        let (mode, segment) = (self.lru.mode(), header.segment());
        if !dead && pinned && spare != Spare::Nothing {
            guard.state.counts.moved(stats, Move::Within);
            guard.requeue(&self.arena, id, segment);
            return Fate::Kept;
        }
        if !dead && spare == Spare::Used && mode != LruMode::Flat && meta.frequency() > 0 {
            let (segment, meta, how) = kept(mode, segment, meta);
            slot.set_meta(meta);
            guard.state.counts.moved(stats, how);
            guard.requeue(&self.arena, id, segment);
            return Fate::Kept;
        }
        let ghost = (!dead && segment != Segment::Temp).then(|| {
            let (from_main, items) = (segment != Segment::Hot, guard.competing_count());
            let probation = &mut guard.state.probation;
            if spare == Spare::Nothing { probation.removed(from_main) } else { probation.evicted(from_main, items) }
        });
        let idle_secs = at.age_secs(header.access());
        count_eviction(stats, &mut guard.state.counts, (meta, header.deadline(), idle_secs), (dead, by));
        if !dead && stats.log.wants(Kinds::EVICTIONS) {
            let key = self.arena.key(Linked::vouched(id, &bucket));
            stats.log.note(Event::Eviction(key, meta.is_fetched(), idle_secs, self.about(id, at.now)));
        }
        let shape = self.arena.shape_of(Linked::vouched(id, &bucket));
        bucket.remove(slot);
        if let Some(ghost) = ghost {
            bucket.leave_ghost(hash, ghost);
        }
        guard.dequeue(&self.arena, id);
        guard.state.bytes -= shape.item_len as i64;
        self.count_length(stats, self.arena.cas(id), shape.item_len, false);
        stats.bytes.sub(shape.item_len as u64);
        stats.curr_items.sub(1);
        header.mark_unlinked();
        // In no bucket and no queue any more: its chunk is ours unless a reader has it pinned.
        if !self.arena.orphan(id, class.chunk_len, shape.value_len) {
            return Fate::Orphaned;
        }
        let chunk = Chunk::owned(id, class.id);
        if !self.sizes.is_large(shape) {
            return Fate::Evicted(chunk);
        }
        self.free_large_in(guard, chunk, self.arena.header_len() + shape.key_len, shape.value_len, strays);
        Fate::Freed
    }

    /// The class that gives a page to `wanting`: one that has the most, and of several such, the one whose next victim has been idle
    /// longest. Of last pages that of the smallest chunks: what else would be in them can have longer ones, which the others cannot.
    fn donor(&self, wanting: &Class, page_count_min: u32, at: Moment) -> Option<&Class> {
        let rank = |class: &Class| {
            let (page_count, idle_secs) = class.lock().wealth(&self.arena, self.lru.mode(), at)?;
            let number = i16::from(class.id.number());
            let rank = (page_count, idle_secs, if page_count == 1 { -number } else { number });
            (page_count >= page_count_min).then_some(rank)
        };
        let donors = self.classes.iter().filter(|class| class.id != wanting.id);
        donors.filter_map(|class| Some((rank(class)?, class))).max_by_key(|(rank, _)| *rank).map(|(_, class)| &**class)
    }

    /// Empties one page of a class; whether one can be had for it, or the pool has one.
    fn drain_page_of(&self, local: &mut Local, donor: &Class, at: Moment) -> bool {
        let Some(mut emptying) = self.begin_drain(donor) else { return false };
        // The class is let go after every slice: others store in it meanwhile.
        let emptied = loop {
            match self.empty_slice(local, &mut emptying, Terms::haste(By::Storer), at) {
                Emptied::More => {}
                emptied => break emptied,
            }
        };
        local.stats.slabs_moved.add(u64::from(emptied == Emptied::Gone));
        // While there are too many pages the pool has none, but another one may be had for the one that has gone.
        self.pool.available_count() > 0 || emptied == Emptied::Gone
    }

    /// Whether this chunk of the page still is one to look at: the page may have gone to the pool and come back meanwhile.
    pub(super) fn is_draining(&self, donor: &Class, page: PageId, index: u32) -> bool {
        let page = self.arena.page(page);
        page.class() == Some(donor.id)
            && page.draining.load(Ordering::Relaxed)
            && index < page.carved.load(Ordering::Relaxed)
    }

    /// Gives a page back of which another class uses nothing. Whether there was one.
    fn release_unused_page(&self, stats: &Block, wanting: &Class) -> bool {
        // Most of the time there is none, and the table of pages is long.
        let Some(noted) = self.pool.may_have_unused() else { return false };
        let is_unused = |page: &Page| page.class().is_some() && page.used.load(Ordering::Relaxed) == 0;
        let mut seen = false;
        let released = self.arena.pages().filter(|(_, page)| is_unused(page)).any(|(id, page)| {
            seen = true;
            // Looked at again under the class's lock; what was seen without it is a hint.
            let Some(class) = page.class().filter(|&class| class != wanting.id) else { return false };
            let mut guard = self.class(class).lock();
            let still = page.class() == Some(class) && is_unused(page) && !page.draining.load(Ordering::Relaxed);
            still && guard.drain(&self.arena, &self.pool, id) == 0
        });
        if !seen {
            self.pool.note_none_unused(noted);
        }
        stats.slabs_moved.add(u64::from(released));
        released
    }

    /// Picks the page of the item that would be evicted next, and begins to drain it. One that is being drained already has an item
    /// whose bucket was held, or whose chunk was reserved, when it was last looked at: it is looked at again.
    pub(super) fn begin_drain(&self, donor: &Class) -> Option<Emptying> {
        let mut guard = donor.lock();
        let oldest = guard.next_victim(self.lru.mode())?;
        let large = self.sizes.is_large(self.arena.shape_of(Linked::vouched(oldest, &guard)));
        let chunk = if large { self.first_piece(Linked::vouched(oldest, &guard)) } else { oldest };
        let page = self.arena.page_of(chunk);
        if self.arena.page(page).class() != Some(donor.id) {
            return None;
        }
        // Or begun before, and something was in the way: a chunk that was reserved or pinned then, and is an item now.
        if !self.arena.page(page).draining.load(Ordering::Relaxed) {
            guard.drain(&self.arena, &self.pool, page);
        }
        Some(Emptying::of(donor.id, page))
    }

    /// Moves what a chunk of a draining page has of an item, or evicts the item.
    pub(super) fn drain_chunk(
        &self,
        guard: &mut ClassGuard<'_>,
        local: &mut Local,
        (page, index): (PageId, u32),
        terms: Terms,
        at: Moment,
        strays: &mut Vec<Chunk>,
    ) {
        let chunk = self.arena.chunk_id(page, index, guard.class.chunk_len);
        let header = self.arena.header(chunk);
        // The class is held, so a piece is not freed now, and its head is freed after it.
        let id = if header.is_linked() { Some(chunk) } else { header.head_of_piece() };
        let Some(id) = id.filter(|&id| self.arena.header(id).is_linked()) else { return };
        let queueing = self.queueing_class_of(id);
        if queueing.id == guard.class.id {
            let moved = self.relocate_large(Guards::one(guard), local, (id, chunk, terms), at, strays);
            self.drain_item(guard, local, id, (moved, terms), at, strays);
        } else if let Some(mut queueing_guard) = queueing.try_lock() {
            // Looked at again: it may have been unlinked before its queue's class was locked.
            if self.arena.header(id).is_linked() {
                let guards = Guards::two(guard, &mut queueing_guard);
                let moved = self.relocate_large(guards, local, (id, chunk, terms), at, strays);
                self.drain_item(&mut queueing_guard, local, id, (moved, terms), at, strays);
            }
        }
    }

    /// Moves an item that is in one piece; what has not been moved is evicted, unless it may wait.
    fn drain_item(
        &self,
        guard: &mut ClassGuard<'_>,
        local: &mut Local,
        id: ItemId,
        (moved, terms): (Moved, Terms),
        at: Moment,
        strays: &mut Vec<Chunk>,
    ) {
        let mut moved = moved;
        if moved == Moved::Not {
            let mut evicted = 0;
            moved = self.relocate(guard, &local.stats, (id, terms), at, (&mut evicted, strays));
            local.count_items(-evicted);
        }
        if moved == Moved::Away || moved == Moved::Held && terms.patient {
            return;
        }
        let (header, dead) = (self.arena.header(id), self.is_dead(id, at));
        if !dead && !terms.may_evict {
            return;
        }
        let pinned = self.arena.is_pinned(id, self.class_of(id).chunk_len, header.value_len());
        // An item whose bucket is held just now stays, and with it the page, until it is freed in its own time.
        if self.remove_item(guard, &local.stats, id, at, (Spare::Nothing, terms.by), strays) {
            local.stats.slab_reassign_inline_reclaim.add(u64::from(dead));
            local.stats.slab_reassign_busy_deletes.add(u64::from(pinned && !dead));
            local.count_items(-1);
        }
    }

    /// Evicts one item and frees its chunk; whether it did.
    pub(super) fn remove_item(
        &self,
        guard: &mut ClassGuard<'_>,
        stats: &Block,
        id: ItemId,
        at: Moment,
        cause: (Spare, By),
        strays: &mut Vec<Chunk>,
    ) -> bool {
        let hash = self.hash_of(Linked::vouched(id, &*guard));
        match self.evict_item(guard, stats, (id, hash), at, cause, strays) {
            Fate::Evicted(chunk) => guard.give(&self.arena, &self.pool, chunk),
            Fate::Freed | Fate::Orphaned => {}
            Fate::Kept => return false,
        }
        true
    }

    /// A chunk of the next larger class that has or can make one, up to `times` the size: better wasteful than refused.
    fn larger_chunk(&self, local: &mut Local, class: &Class, times: usize, at: Moment) -> Option<Chunk> {
        let len_max = class.chunk_len.saturating_mul(times);
        self.classes[class.id.index() + 1..]
            .iter()
            .take_while(|larger| larger.chunk_len <= len_max)
            // A class in use may have a first page where there is no other memory left: not for this.
            .filter(|larger| larger.lock().state.page_count > 0)
            .find_map(|larger| self.evict_for(local, larger, at))
    }

    /// A chunk of a larger class, however large, that has one at hand.
    fn larger_free_chunk(&self, class: &Class) -> Option<Chunk> {
        let larger = &self.classes[class.id.index() + 1..];
        larger.iter().find_map(|larger| larger.lock().take_at_hand(&self.arena, &self.pool, Loan::None))
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

fn count_eviction(
    stats: &Block,
    counts: &mut ClassCounts,
    (meta, deadline, idle_secs): (Meta, u32, u32),
    (dead, by): (bool, By),
) {
    let unfetched = u64::from(!meta.is_fetched());
    let for_room = u64::from(by == By::Storer);
    if dead {
        // As in memcached: what the maintainer finds dead is counted by its sweeps.
        counts.reclaimed += for_room;
        counts.expired_unfetched += unfetched;
        stats.reclaimed.add(for_room);
        stats.expired_unfetched.add(unfetched);
        return;
    }
    let active = u64::from(meta.frequency() >= ACTIVE_USES);
    counts.evicted += 1;
    counts.evicted_nonzero += u64::from(deadline != 0);
    counts.evicted_time = idle_secs;
    counts.evicted_unfetched += unfetched;
    counts.evicted_active += active;
    counts.direct_reclaims += for_room;
    stats.evictions.add(1);
    stats.direct_reclaims.add(for_room);
    stats.evicted_unfetched.add(unfetched);
    stats.evicted_active.add(active);
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::limits::PAGE_LEN_MIN;
    use crate::settings::{ClassSizes, LruTuning};
    use crate::stats::Registry;
    use crate::store::{Condition, Deadline, Draft, LruMode, Refused, Store, StoreConfig, Stored};

    /// With `-M` each store that was refused looked at all pages eight times.
    #[test]
    fn a_store_that_is_refused_looks_for_an_unused_page_only_if_there_may_be_one() {
        let config = StoreConfig {
            memory_len: 2 * PAGE_LEN_MIN as u64,
            class_len_min: 0,
            item_len_max: 1 << 20,
            classes: ClassSizes::default(),
            with_cas: true,
            evict: false,
            lru: LruMode::default(),
            lru_tuning: LruTuning::default(),
            hash_seed: Some(1),
        };
        let store = Store::new(&config).expect("two pages can be mapped");
        let (mut local, now) = (store.local(Registry::default().register()), Clock::manual().now());
        let mut put = |key: &str, len: usize| {
            let draft = Draft::new((store.hash(key.as_bytes()), key.as_bytes()), 0, Deadline::NEVER);
            store.put(&mut local, draft, Condition::Always, &vec![b'x'; len], now)
        };
        let large_count = (0..).take_while(|n| put(&format!("large{n}"), 9000).is_ok()).count();
        assert_eq!(put("small", 9), Err(Refused::NoMemory));
        assert_eq!(store.inner.pool.may_have_unused(), None, "it has been looked, and there is none");
        assert_eq!(put("small", 9), Err(Refused::NoMemory));
        for key in (0..large_count).map(|n| format!("large{n}")) {
            let key = key.as_bytes();
            assert!(store.delete(&mut local, (store.hash(key), key), now));
        }
        let draft = Draft::new((store.hash(b"small"), b"small"), 0, Deadline::NEVER);
        assert_eq!(store.put(&mut local, draft, Condition::Always, b"x", now), Ok(Stored::Stored));
    }
}
