//! The slab allocator: pages to classes, chunks to owners.
//!
//! ```text
//!   pool of pages ──take_page──►  class: page, carved from its beginning as chunks are wanted
//!        ▲                          │  take                        ▲ give
//!        │                          ▼                              │
//!        └── last chunk given ── a Chunk: in a Reservation, or linked as an item
//!            of a draining page
//! ```
//!
//! Each class has its free list, its queues and its carving page behind one lock. A page is touched only as it is carved, so
//! that an empty daemon is small. A page that must go elsewhere is *drained*: nothing of it is in the free list any more, what
//! is given back stays with the page, and with its last chunk it returns to the pool.

use super::arena::{Arena, ItemId, PageId};
use super::item::{Chunk, Segment};
use super::locks::{Rank, Ranked, RankedGuard};
use super::lru::Queue;
use super::queues::{ClassCounts, Probation};
use super::sizes::ClassId;
use super::sweep::{ClassSweep, NOTHING_DUE};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// One class.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) id: ClassId,
    pub(super) chunk_len: usize,
    pub(super) chunks_per_page: u32,
    /// Bytes that items have become longer (or shorter) by in place: under their buckets' locks, not the class's.
    grown: AtomicI64,
    state: Ranked<ClassState>,
}

/// What a class's lock protects (and the queue links and segments of its items with it).
#[derive(Debug, Default)]
pub(super) struct ClassState {
    /// HOT, WARM, COLD, TEMP, by `Segment`.
    pub(super) queues: [Queue; 4],
    /// Free chunks, doubly linked.
    free: Option<ItemId>,
    pub(super) free_count: u32,
    /// The fewest that it had since somebody looked for pages to spare.
    free_low: u32,
    /// Chunks in use: neither free nor to be carved yet.
    pub(super) used_count: u32,
    /// The page being carved.
    carving: Option<PageId>,
    /// The sweep for whoever needs room.
    pub(super) sweep: ClassSweep,
    /// Pages, draining ones included.
    pub(super) page_count: u32,
    /// It has one, or has had.
    pub(super) had_page: bool,
    /// Bytes of items, less what they have grown by since they were linked.
    pub(super) bytes: i64,
    pub(super) probation: Probation,
    pub(super) counts: ClassCounts,
    /// Keys that came back after their item had been evicted.
    pub(super) near_misses: u64,
    /// Live items evicted since the class last asked for a page.
    pub(super) evicted_since_asked: u32,
    /// The item that whoever holds the class must not evict.
    pub(super) spared: Option<ItemId>,
    /// The queued item, near the tail that was last evicted from, up to which headers are on their way to the processor's cache.
    pub(super) scout: Option<ItemId>,
}

/// Proof of holding a class's lock.
#[derive(Debug)]
pub(super) struct ClassGuard<'a> {
    pub(super) class: &'a Class,
    pub(super) state: RankedGuard<'a, ClassState>,
}

/// Memory is short when no more than this part of it has never been used.
const SHORT_PART: u32 = 8;

/// Pages that belong to no class.
#[derive(Debug)]
pub(super) struct Pool {
    state: Ranked<PoolState>,
    /// How often nothing of a class's page has come to be used.
    unused_noted: AtomicU64,
    /// As many when somebody last began to look for such a page, and found none.
    unused_sought: AtomicU64,
}

#[derive(Debug)]
struct PoolState {
    /// Given back by classes; room for all pages from the start, so that pushing never allocates.
    free: Vec<PageId>,
    /// Given back to the system as well.
    let_go: Vec<PageId>,
    /// The first page that never was a class's; no more than `capacity`.
    fresh: u32,
    /// Pages the arena has.
    capacity: u32,
    /// Pages that classes have. With `free`, no more than there may be, but for a while after that was lowered.
    used: u32,
    /// Pages there may be for all classes together.
    limit: u32,
    /// Classes that have or have had pages. It does not fall: or else what is alive in others would have to go for a page that comes back.
    classes: u32,
    /// Pages that there may be for each of these classes, even if that is more.
    class_pages: u32,
    /// Pages there may be in any case.
    bound: u32,
    /// A page is on its way to this class: the last free one is not for others.
    kept_for: Option<ClassId>,
}

/// Which of the pool's pages may be lent to a class that is about to give one back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loan {
    /// None: somebody waits for a page, or there are too many.
    None,
    /// Those that are not resident: it is the pool that wants one, and to exchange one for another would be no gain.
    Unused,
    /// Any.
    Any,
}

impl PoolState {
    /// Pages there may be, if so many classes have pages.
    fn limit_for(&self, classes: u32) -> u32 {
        self.limit.max(classes.saturating_mul(self.class_pages).min(self.capacity)).min(self.bound)
    }

    fn limit(&self) -> u32 {
        self.limit_for(self.classes)
    }

    /// Pages that may be taken: given back, or never had, and no more than there may be. A class that has had none counts as one more.
    fn available_count(&self, first: bool) -> u32 {
        self.limit_for(self.classes + u32::from(first)).saturating_sub(self.used)
    }

    fn given_back(&self) -> u32 {
        u32::try_from(self.free.len()).expect("no more than there are pages")
    }

    /// One more page for a class; its first one or not.
    fn take_free(&mut self, arena: &Arena, first: bool) -> Option<PageId> {
        let Some(page) = self.free.pop() else { return self.take_unused(arena, first) };
        self.note_taken(first);
        Some(page)
    }

    fn note_taken(&mut self, first: bool) {
        self.used += 1;
        self.classes += u32::from(first);
    }

    /// The same, of those that are not resident.
    fn take_unused(&mut self, arena: &Arena, first: bool) -> Option<PageId> {
        // What has been given back to the system counts as if it had never been used.
        let page = match self.let_go.pop() {
            Some(page) => page,
            // The last may be on its way to the system while the limit is raised.
            None if self.fresh == self.capacity => return None,
            None => {
                self.fresh += 1;
                arena.note_pages(self.fresh);
                PageId(self.fresh - 1)
            }
        };
        self.note_taken(first);
        Some(page)
    }
}

impl Pool {
    /// A pool with `limit` pages now, or `class_pages` for each class that has any if that is more, and up to `capacity` later.
    pub(super) fn new(limit: u32, class_pages: u32, capacity: u32) -> Self {
        let room = || Vec::with_capacity(capacity as usize);
        Self {
            state: Ranked::new(PoolState {
                free: room(),
                let_go: room(),
                fresh: 0,
                capacity,
                used: 0,
                limit,
                classes: 0,
                class_pages,
                bound: u32::MAX,
                kept_for: None,
            }),
            unused_noted: AtomicU64::new(0),
            unused_sought: AtomicU64::new(0),
        }
    }

    /// Of a page that a class has nothing is used.
    pub(super) fn note_unused(&self) {
        // Release: who sees the number sees the page as it is.
        self.unused_noted.fetch_add(1, Ordering::Release);
    }

    /// Whether there may be such a page, and then what to tell [`Pool::note_none_unused`] if there is not.
    pub(super) fn may_have_unused(&self) -> Option<u64> {
        // Acquire: see above. The other is only compared with it.
        let noted = self.unused_noted.load(Ordering::Acquire);
        (noted != self.unused_sought.load(Ordering::Relaxed)).then_some(noted)
    }

    /// There was none when so many had been noted. Others may have looked meanwhile: an older number is no harm.
    pub(super) fn note_none_unused(&self, noted: u64) {
        self.unused_sought.store(noted, Ordering::Relaxed);
    }

    fn take(&self, arena: &Arena, class: ClassId, first: bool) -> Option<PageId> {
        let mut state = self.state.lock(Rank::Pool);
        let available_count = state.available_count(first);
        if available_count == 0 || available_count == 1 && state.kept_for.is_some_and(|other| other != class) {
            return None;
        }
        state.take_free(arena, first)
    }

    /// A page for what is moved out of one that will be the pool's in return: the last one, too, whoever it is kept for.
    fn lend(&self, arena: &Arena, loan: Loan, first: bool) -> Option<PageId> {
        let mut state = self.state.lock(Rank::Pool);
        match loan {
            Loan::Any if state.available_count(first) > 0 => state.take_free(arena, first),
            Loan::Unused if state.available_count(first) > state.given_back() => state.take_unused(arena, first),
            _ => None,
        }
    }

    /// A page that a class has just given back, for another: however many there may be, there are no more of them than before. Whoever
    /// it is kept for: a client waits for it, and what is moved can be moved again.
    fn take_instead(&self, first: bool) -> Option<PageId> {
        let mut state = self.state.lock(Rank::Pool);
        // The very page may have gone on to the system meanwhile.
        let page = state.free.pop().or_else(|| state.let_go.pop())?;
        state.note_taken(first);
        Some(page)
    }

    /// Keeps the next free page for a class, or for nobody in particular.
    pub(super) fn keep_for(&self, class: Option<ClassId>) {
        self.state.lock(Rank::Pool).kept_for = class;
    }

    fn give(&self, page: PageId) {
        let mut state = self.state.lock(Rank::Pool);
        state.used -= 1;
        state.free.push(page);
    }

    /// Pages that a class which has or has had some could have now.
    pub(super) fn available_count(&self) -> u32 {
        self.state.lock(Rank::Pool).available_count(false)
    }

    /// Sets how many pages there may be. What is beyond that goes in time: see [`Pool::excess`].
    pub(super) fn set_limit(&self, limit: u32) {
        self.state.lock(Rank::Pool).limit = limit;
    }

    /// The same of how many there may be in any case.
    pub(super) fn set_bound(&self, bound: u32) {
        self.state.lock(Rank::Pool).bound = bound;
    }

    /// Pages there may be.
    pub(super) fn limit(&self) -> u32 {
        self.state.lock(Rank::Pool).limit()
    }

    /// Classes that have or have had pages, for audits.
    pub(super) fn class_count(&self) -> u32 {
        self.state.lock(Rank::Pool).classes
    }

    /// Pages that classes have, and pages given back by them that are resident still.
    pub(super) fn resident(&self) -> (u32, u32) {
        let state = self.state.lock(Rank::Pool);
        (state.used, state.given_back())
    }

    /// Pages beyond the limit that classes have.
    pub(super) fn excess(&self) -> u32 {
        let state = self.state.lock(Rank::Pool);
        state.used.saturating_sub(state.limit())
    }

    /// A page that is resident for nothing: given back by a class, and beyond the limit.
    /// To be given back to the system and then to [`Pool::give_gone`]; nobody else has it meanwhile.
    pub(super) fn take_beyond(&self) -> Option<PageId> {
        let mut state = self.state.lock(Rank::Pool);
        if state.used + state.given_back() > state.limit() { state.free.pop() } else { None }
    }

    /// Whether most pages have been a class's: what comes soon takes what classes have given back.
    pub(super) fn is_short(&self) -> bool {
        let state = self.state.lock(Rank::Pool);
        state.available_count(false) <= state.given_back() + state.limit() / SHORT_PART
    }

    /// Whether pages have been given back to the system that nobody has taken since.
    pub(super) fn has_gone(&self) -> bool {
        !self.state.lock(Rank::Pool).let_go.is_empty()
    }

    /// A page that has been given back to the system.
    pub(super) fn give_gone(&self, page: PageId) {
        self.state.lock(Rank::Pool).let_go.push(page);
    }

    /// Pages that no class has and that have been a class's, for audits.
    pub(super) fn given_back(&self) -> Vec<PageId> {
        let state = self.state.lock(Rank::Pool);
        state.free.iter().chain(&state.let_go).copied().collect()
    }
}

impl Class {
    pub(super) fn new(id: ClassId, chunk_len: usize, chunks_per_page: usize) -> Self {
        let chunks_per_page = u32::try_from(chunks_per_page).expect("a page has fewer than 2^32 bytes");
        Self { id, chunk_len, chunks_per_page, grown: AtomicI64::new(0), state: Ranked::default() }
    }

    /// An item's length has changed in place. Bucket lock.
    #[inline]
    pub(super) fn resized(&self, added: u64, removed: u64) {
        if added != removed {
            self.grown.fetch_add(added.wrapping_sub(removed).cast_signed(), Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn lock(&self) -> ClassGuard<'_> {
        ClassGuard { class: self, state: self.state.lock(Rank::Class) }
    }

    /// The class if nobody has it, whatever else is held.
    pub(super) fn try_lock(&self) -> Option<ClassGuard<'_>> {
        self.state.try_lock(Rank::Class).map(|state| ClassGuard { class: self, state })
    }
}

impl ClassGuard<'_> {
    /// A chunk that is free, or carved from a page, taking a page from the pool if need be.
    pub(super) fn take(&mut self, arena: &Arena, pool: &Pool) -> Option<Chunk> {
        if let Some(id) = self.state.free {
            self.unlink_free(arena, id);
            return Some(self.own(arena, id));
        }
        if self.state.carving.is_none() {
            self.claim_page(arena, pool);
        }
        let page_id = self.state.carving?;
        Some(self.take_carved(arena, page_id))
    }

    /// The next chunk of the page being carved.
    fn take_carved(&mut self, arena: &Arena, page_id: PageId) -> Chunk {
        let page = arena.page(page_id);
        let index = page.carved.load(Ordering::Relaxed);
        page.carved.store(index + 1, Ordering::Relaxed);
        if index + 1 == self.class.chunks_per_page {
            self.state.carving = None;
        }
        let id = arena.chunk_id(page_id, index, self.class.chunk_len);
        self.own(arena, id)
    }

    /// [`ClassGuard::take`] after a page has been taken from another class for this one: also where there are too many
    /// pages and the pool has none for anybody.
    pub(super) fn take_instead(&mut self, arena: &Arena, pool: &Pool) -> Option<Chunk> {
        if let Some(chunk) = self.take(arena, pool) {
            return Some(chunk);
        }
        let page = pool.take_instead(!self.state.had_page)?;
        self.begin_carving(arena, page);
        self.take(arena, pool)
    }

    /// Takes a page from the pool for the class to carve, if it has none; whether it did.
    pub(super) fn claim_page(&mut self, arena: &Arena, pool: &Pool) -> bool {
        if self.state.carving.is_some() {
            return false;
        }
        let Some(page) = pool.take(arena, self.class.id, !self.state.had_page) else { return false };
        self.begin_carving(arena, page);
        pool.note_unused();
        true
    }

    fn begin_carving(&mut self, arena: &Arena, page: PageId) {
        self.state.had_page = true;
        arena.page(page).set_class(Some(self.class.id));
        self.state.carving = Some(page);
        self.state.page_count += 1;
    }

    /// Puts up to `count` chunks of the page being carved into the free list; whether that page is all carved now.
    pub(super) fn carve(&mut self, arena: &Arena, pool: &Pool, count: u32) -> bool {
        for _ in 0..count {
            let Some(page_id) = self.state.carving else { return true };
            let chunk = self.take_carved(arena, page_id);
            self.give(arena, pool, chunk);
        }
        self.state.carving.is_none()
    }

    /// A chunk that costs no new page, or one of a page that the pool lends.
    pub(super) fn take_at_hand(&mut self, arena: &Arena, pool: &Pool, loan: Loan) -> Option<Chunk> {
        if self.state.free.is_none() && self.state.carving.is_none() {
            let page = pool.lend(arena, loan, !self.state.had_page)?;
            self.begin_carving(arena, page);
        }
        self.take(arena, pool)
    }

    fn own(&mut self, arena: &Arena, id: ItemId) -> Chunk {
        self.state.used_count += 1;
        let page = arena.page(arena.page_of(id));
        page.used.store(page.used.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        arena.header(id).mark_unlinked();
        Chunk::owned(id, self.class.id)
    }

    /// Takes a chunk back: to the free list or, from a draining page, to the page, which goes to the pool with its last one.
    pub(super) fn give(&mut self, arena: &Arena, pool: &Pool, chunk: Chunk) {
        debug_assert_eq!(chunk.class(), self.class.id);
        let id = chunk.id();
        debug_assert!(!arena.header(id).is_linked());
        let page_id = arena.page_of(id);
        let page = arena.page(page_id);
        let used = page.used.load(Ordering::Relaxed) - 1;
        page.used.store(used, Ordering::Relaxed);
        self.state.used_count -= 1;
        arena.header(id).mark_free();
        if page.draining.load(Ordering::Relaxed) {
            if used == 0 {
                self.release(arena, pool, page_id);
            }
            return;
        }
        if used == 0 {
            pool.note_unused();
        }
        self.link_free(arena, id);
    }

    fn link_free(&mut self, arena: &Arena, id: ItemId) {
        let header = arena.header(id);
        header.set_prev(None);
        header.set_next(self.state.free);
        if let Some(next) = self.state.free {
            arena.header(next).set_prev(Some(id));
        }
        self.state.free = Some(id);
        self.state.free_count += 1;
    }

    fn unlink_free(&mut self, arena: &Arena, id: ItemId) {
        let header = arena.header(id);
        let (prev, next) = (header.prev(), header.next());
        match prev {
            Some(prev) => arena.header(prev).set_next(next),
            None => self.state.free = next,
        }
        if let Some(next) = next {
            arena.header(next).set_prev(prev);
        }
        self.state.free_count -= 1;
        self.state.free_low = self.state.free_low.min(self.state.free_count);
    }

    /// Pages' worth of free chunks that nobody has wanted since this was asked last, but for one page's, which the class keeps.
    pub(super) fn spare_pages(&mut self) -> u32 {
        let free_count = self.state.free_count;
        let low = std::mem::replace(&mut self.state.free_low, free_count);
        (low / self.class.chunks_per_page).saturating_sub(1)
    }

    /// Whether it has so many free chunks now.
    pub(super) fn has_spare_page(&self) -> bool {
        self.state.free_count >= 2 * self.class.chunks_per_page
    }

    fn release(&mut self, arena: &Arena, pool: &Pool, page_id: PageId) {
        let page = arena.page(page_id);
        page.carved.store(0, Ordering::Relaxed);
        page.draining.store(false, Ordering::Relaxed);
        page.earliest.store(NOTHING_DUE, Ordering::Relaxed);
        page.set_class(None);
        self.state.page_count -= 1;
        pool.give(page_id);
    }

    /// Begins to drain a page of this class: its free chunks leave the free list, its uncarved rest is forgotten. Returns how
    /// many chunks it has to look at.
    pub(super) fn drain(&mut self, arena: &Arena, pool: &Pool, page_id: PageId) -> u32 {
        let page = arena.page(page_id);
        debug_assert_eq!(page.class(), Some(self.class.id));
        let carved = page.carved.load(Ordering::Relaxed);
        page.draining.store(true, Ordering::Relaxed);
        if self.state.carving == Some(page_id) {
            self.state.carving = None;
        }
        // With an empty free list, which is how it is when memory is short, there is nothing to look for.
        let mut index = 0;
        while self.state.free_count > 0 && index < carved {
            let id = arena.chunk_id(page_id, index, self.class.chunk_len);
            if arena.header(id).is_free() {
                self.unlink_free(arena, id);
            }
            index += 1;
        }
        if page.used.load(Ordering::Relaxed) == 0 {
            self.release(arena, pool, page_id);
            return 0;
        }
        carved
    }

    /// Takes back that a page is drained: what is free of it is in the free list again, what was not carved is now.
    pub(super) fn stop_draining(&mut self, arena: &Arena, pool: &Pool, page_id: PageId) {
        let page = arena.page(page_id);
        if page.class() != Some(self.class.id) || !page.draining.swap(false, Ordering::Relaxed) {
            return;
        }
        for index in 0..page.carved.load(Ordering::Relaxed) {
            let id = arena.chunk_id(page_id, index, self.class.chunk_len);
            if arena.header(id).is_free() {
                self.link_free(arena, id);
            }
        }
        // The class may be carving another one meanwhile.
        let carving = self.state.carving;
        while page.carved.load(Ordering::Relaxed) < self.class.chunks_per_page {
            let chunk = self.take_carved(arena, page_id);
            self.give(arena, pool, chunk);
        }
        self.state.carving = carving;
    }

    /// The queue of a segment.
    pub(super) fn queue(&mut self, segment: Segment) -> &mut Queue {
        &mut self.state.queues[segment as usize]
    }

    /// Bytes of all items.
    pub(super) fn bytes(&self) -> u64 {
        u64::try_from(self.state.bytes + self.class.grown.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Items in all queues.
    pub(super) fn item_count(&self) -> u32 {
        self.state.queues.iter().map(|queue| queue.count).sum()
    }

    /// The free list, for audits.
    pub(super) fn free_ids(&self, arena: &Arena) -> Vec<ItemId> {
        std::iter::successors(self.state.free, |&id| arena.header(id).next()).collect()
    }
}
