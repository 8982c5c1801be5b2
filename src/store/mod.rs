//! Where it lives: items in chunks of an arena, found through an index, evicted by class. No I/O, no threads of its own, no
//! protocol.
//!
//! ```text
//!   table.rs    hash ──► bucket (lock, tags, ids) ──► ItemId
//!   arena.rs                                            └──► page, chunk: header, key, value   item.rs
//!   pages.rs    pool ──► pages ──► chunks of a class; free list
//!   lru.rs      queues of a class, through the headers; queues.rs has their rules, evict.rs looks at their tails
//! ```
//!
//! **Lock order**: sweep → bucket → class → pool, see `locks.rs`. From a queue to a bucket is *try* only.
//!
//! **Threads**: everything is shared but [`Local`], of which each thread that uses the store has one: a block of CAS numbers
//! and counters. No operation takes a lock that all operations take; there are no chunks at hand per thread, because a chunk that
//! an idle thread keeps is one that no page can be emptied of, and taking one costs a class's lock that linking it takes anyway.
//!
//! **Reading** copies short values out under the bucket's lock, in the caller's closure; long ones are pinned ([`Pinned`]) and
//! stay where they are, whatever becomes of their item. **Writing** is in `write.rs`.

#[expect(unsafe_code, reason = "turns ids into addresses")]
mod arena;
mod audit;
mod chores;
#[cfg(feature = "debug-commands")]
mod debug;
mod dump;
mod evict;
mod expiry;
mod hash;
#[expect(unsafe_code, reason = "turns ids into key and value bytes")]
mod item;
mod large;
mod lengths;
mod locks;
mod lru;
mod meta;
mod moves;
mod pages;
mod peek;
mod queues;
mod reassign;
mod relocate;
mod resize;
mod sizes;
mod sweep;
mod table;
mod write;

pub use audit::Census;
pub use chores::{ChoresSummary, ClassSet, CrawlRefused, ReassignRefused};
pub use dump::{Dump, Dumped, Listing};
pub use expiry::Deadline;
pub use hash::Hash;
pub use meta::{Invalidation, Leased, Lifetimes, MetaView, Place, Reading, Receipt, Step};
pub use moves::ClassSample;
pub use queues::ClassCounts;
pub use reassign::{PageMove, Progress, Sparing};
pub use resize::Shrinking;
pub use sizes::ClassId;
pub use sweep::{Crawl, Crawled, Swept};
pub use table::Marks;
pub use write::{Condition, Draft, Refused, Reservation, Side, Stored, Terms};

use crate::clock::Now;
use crate::limits::{ACCESS_LAG_SECS, CAS_BLOCK, LEASE_TAKEN, MEMORY_GROWTH_MAX};
use crate::settings::{ClassSizes, LruMode, LruTuning};
use crate::stats::{Block, ClassEvent};
use crate::sys::memory;
use arena::{Arena, ItemId};
use chores::Chores;
use crossbeam_utils::CachePadded;
use expiry::{Death, Moment};
use hash::Hasher;
use item::{Chunk, Linked, PIECE_HEADER_LEN, PinToken};
use moves::Wants;
use pages::{Class, Pool};
use queues::Knobs;
use sizes::Sizes;
use std::io;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use sweep::Rounds;
use table::{BucketGuard, Slot, Table};

/// What a store is made from.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Bytes for items; rounded down to whole pages.
    pub memory_len: u64,
    /// Bytes there may be, in whole pages, for each class that has or has had any, even if all of them are more than the memory; zero: that
    /// bounds them whatever they are.
    pub class_len_min: usize,
    /// Largest item, counted as memcached counts it.
    pub item_len_max: usize,
    /// Which classes there are.
    pub classes: ClassSizes,
    /// Items carry CAS numbers.
    pub with_cas: bool,
    /// Make room by evicting.
    pub evict: bool,
    /// How items are queued for eviction, at first.
    pub lru: LruMode,
    /// What is tuned of it, at first.
    pub lru_tuning: LruTuning,
    /// For tests that must be repeatable: the hash's seed; CAS numbers then begin where they always do. None in production, where both
    /// are drawn at start-up.
    pub hash_seed: Option<u64>,
}

/// The store. Shared by all threads; each brings its own [`Local`].
#[derive(Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

/// What pins and reservations keep alive.
#[derive(Debug)]
struct Inner {
    config: StoreConfig,
    lru: Knobs,
    hasher: Hasher,
    sizes: Sizes,
    table: Table,
    arena: Arena,
    pool: Pool,
    /// Pages the arena has room for.
    page_count_max: u32,
    /// What `cache_memlimit`, or the start, has set.
    memory_len: AtomicU64,
    /// What the maintainer is asked to do.
    chores: Chores,
    classes: Box<[CachePadded<Class>]>,
    /// Classes that would like a page.
    wants: Wants,
    /// After the second in which a class has taken another's last page.
    last_page_secs: AtomicU32,
    /// The next block of CAS numbers.
    cas: CachePadded<AtomicU64>,
    /// Items are counted by length from this CAS number on; 0: they are not.
    lengths_since: AtomicU64,
    /// Of whoever adds to a long value, by its key's hash: two at one key would undo each other's copying for ever. Taken before any
    /// other lock.
    extending: [Mutex<()>; EXTENDING_LOCKS],
    /// Items, as far as threads have said; off by up to `ITEM_DELTA_MAX` a thread.
    item_count: CachePadded<AtomicI64>,
    flush: Flush,
    rounds: Rounds,
}

/// Which items a `flush_all` has made dead, in O(1): those whose stamp of last access is not after the flush's. Flushing moves
/// the stamps on by one against the clock, so that what is stored in the same second is not among them.
#[derive(Debug, Default)]
struct Flush {
    /// How far stamps are ahead of the clock, which is the number of flushes (high half), and the last flush's stamp (low half): in one
    /// word, so that nobody sees the one without the other. Both go round.
    word: AtomicU64,
    /// The second of the thread whose clock is the most ahead: no stamp was given later than this.
    newest_secs: AtomicU32,
    /// The tick of a flush to come; zero for none.
    due: AtomicU32,
}

/// A thread tells the shared count of items when it is off by this much.
const ITEM_DELTA_MAX: i64 = 32;

/// Pages that a memory of this length may grow to: as many as its ids can name, and no more than a multiple.
fn growth_max(memory_len: u64, page_len: usize) -> u32 {
    let unit = arena::Unit::for_memory(memory_len);
    let nameable = (u64::from(u32::MAX) - 1) * unit.len() as u64;
    let len = nameable.min(memory_len.saturating_mul(MEMORY_GROWTH_MAX));
    u32::try_from(len / page_len as u64).unwrap_or(u32::MAX - 1)
}

/// Locks for additions to long values: so many that two at different keys seldom wait for each other.
const EXTENDING_LOCKS: usize = 64;

/// What one thread owns of the store.
#[derive(Debug)]
pub struct Local {
    /// The thread's counters.
    pub stats: Arc<CachePadded<Block>>,
    inner: Arc<Inner>,
    /// CAS numbers at hand: next and end.
    cas: (u64, u64),
    /// Nobody had taken numbers since these, when this turn first wanted one.
    cas_is_latest: bool,
    /// Bytes of values moved in this turn because something was added to them.
    copied_len: usize,
    /// What takes long has to wait now, for the thread has others to serve.
    puts_off: bool,
    /// The item that this thread must not evict now: it is to be replaced by what room is made for, if it is still there.
    sparing: Option<ItemId>,
    /// Items linked less items unlinked that the shared count does not know of.
    item_delta: i64,
    /// What the last item that this thread wrote was given.
    last: Receipt,
    /// The number of the class of the item that it last wrote, removed, or did not replace; 0 for none.
    class: u8,
}

/// An item as a reader sees it.
#[derive(Debug)]
pub struct View<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// The client's own bits.
    pub flags: u32,
    /// Its CAS number, 0 with `-C`.
    pub cas: u64,
    /// Its bytes.
    pub value: Value<'a>,
}

/// A value's bytes: borrowed for the length of a lock, or pinned for longer.
#[derive(Debug)]
pub enum Value<'a> {
    /// Copy it now.
    Borrowed(&'a [u8]),
    /// Keep it until it is written.
    Pinned(Pinned),
}

impl Value<'_> {
    /// Its length in bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Borrowed(bytes) => bytes.len(),
            Self::Pinned(pinned) => pinned.len,
        }
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A long value that stays where it is until this is dropped, even if its item is replaced meanwhile.
#[derive(Debug)]
pub struct Pinned {
    inner: Arc<Inner>,
    id: ItemId,
    class: ClassId,
    offset: usize,
    len: usize,
    /// In pieces, not in the chunk itself.
    large: bool,
    token: Option<PinToken>,
}

impl Pinned {
    /// Bytes of the value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: short values are copied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value from `offset` on, as far as it lies in one piece: not empty before the value's end.
    #[must_use]
    pub fn part(&self, offset: usize) -> &[u8] {
        let arena = &self.inner.arena;
        let token = self.token.as_ref().expect("taken by drop only");
        if !self.large {
            return &arena.pinned(self.id, self.offset, self.len, token)[offset..];
        }
        if offset == self.len {
            return &[];
        }
        let full_len = self.inner.piece_len();
        let (index, within) = (offset / full_len, offset % full_len);
        let piece = arena.piece_id_at(self.id, self.offset + index * size_of::<u32>());
        let piece_len = full_len.min(self.len - index * full_len);
        &arena.pinned(piece, PIECE_HEADER_LEN, piece_len, token)[within..]
    }

    /// The value, piece by piece.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut offset = 0;
        std::iter::from_fn(move || {
            let part = self.part(offset);
            offset += part.len();
            (!part.is_empty()).then_some(part)
        })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let class = self.inner.class(self.class);
        let token = self.token.take().expect("taken here only");
        if self.inner.arena.unpin(self.id, class.chunk_len, token) {
            let chunk = Chunk::owned(self.id, self.class);
            if self.large {
                self.inner.free_large(chunk, self.offset, self.len);
            } else {
                self.inner.give_back(Some(chunk));
            }
        }
    }
}

impl Store {
    /// Reserves the memory; it becomes resident as it is used.
    ///
    /// # Errors
    /// When the memory is less than a page, or the system does not give the address space.
    pub fn new(config: &StoreConfig) -> io::Result<Self> {
        let sizes = Sizes::new(&config.classes, config.with_cas, config.memory_len, memory::page_len());
        let page_count = u32::try_from(config.memory_len / sizes.page_len() as u64).unwrap_or(u32::MAX - 1);
        if page_count == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "less memory than a page"));
        }
        let class_pages = u32::try_from(config.class_len_min / sizes.page_len()).unwrap_or(u32::MAX);
        // Room to grow into costs address space only; where that is short, there is less of it.
        let wanted = growth_max(config.memory_len, sizes.page_len()).max(page_count);
        let reserve = |pages: u32| {
            let items_max = pages as usize * sizes.items_per_page_max();
            let arena = Arena::new(pages, sizes.page_len(), config.with_cas)?;
            Ok((arena.with_chunks_up_to(sizes.chunk_len(sizes.largest())), Table::new(items_max)?, pages))
        };
        let (arena, table, page_count_max) = reserve(wanted).or_else(|_: io::Error| reserve(page_count))?;
        let classes = sizes
            .classes()
            .map(|id| CachePadded::new(Class::new(id, sizes.chunk_len(id), sizes.chunks_per_page(id))))
            .collect();
        let inner = Inner {
            config: config.clone(),
            lru: Knobs::new(config.lru, config.lru_tuning),
            hasher: Hasher::new(config.hash_seed),
            sizes,
            table,
            arena,
            pool: Pool::new(page_count, class_pages, page_count_max),
            page_count_max,
            memory_len: AtomicU64::new(config.memory_len),
            chores: Chores::default(),
            classes,
            wants: Wants::default(),
            last_page_secs: AtomicU32::new(0),
            cas: CachePadded::new(AtomicU64::new(if config.hash_seed.is_some() {
                CAS_SEEDED
            } else {
                first_cas(unix_ms())
            })),
            lengths_since: AtomicU64::new(0),
            extending: [const { Mutex::new(()) }; EXTENDING_LOCKS],
            item_count: CachePadded::new(AtomicI64::new(0)),
            flush: Flush::default(),
            rounds: Rounds::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// One thread's part. `stats` must be the thread's own block.
    #[must_use]
    pub fn local(&self, stats: Arc<CachePadded<Block>>) -> Local {
        Local {
            stats,
            inner: Arc::clone(&self.inner),
            cas: (0, 0),
            cas_is_latest: false,
            copied_len: 0,
            puts_off: false,
            sparing: None,
            item_delta: 0,
            last: Receipt::default(),
            class: 0,
        }
    }

    /// A key's hash; computed once per request and handed to everything else.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> Hash {
        self.inner.hasher.hash(key)
    }

    /// Has the key's bucket fetched. The first of two steps before a batch is executed.
    #[inline]
    pub fn prefetch_bucket(&self, hash: Hash) {
        self.inner.table.prefetch(hash);
    }

    /// Has the items fetched that the key's bucket (fetched meanwhile) seems to name. The second step.
    // Always: two protocols call it, and the compiler would not for both.
    #[inline(always)]
    pub fn prefetch_items(&self, hash: Hash) {
        self.inner.table.peek(hash, |id| self.inner.arena.prefetch(id));
    }

    /// Looks a key up and lets `with` have what is there, under the bucket's lock: `with` copies a borrowed value and must not
    /// allocate, wait or call the store. With `touch` a hit gets a new lifetime.
    #[inline]
    pub fn get<R>(
        &self,
        local: &mut Local,
        (hash, key): (Hash, &[u8]),
        now: Now,
        touch: Option<Deadline>,
        with: impl FnOnce(Option<View<'_>>) -> R,
    ) -> R {
        let inner = &*self.inner;
        let guard = inner.table.lock(hash);
        let Some(slot) = inner.find(&guard, hash, key) else {
            drop(guard);
            return with(None);
        };
        let (id, at) = (slot.id(), inner.moment(now));
        if let Some(death) = inner.death(id, at) {
            inner.bury_read(local, guard, slot, death);
            return with(None);
        }
        if slot.meta().has(Marks::LEASE) {
            drop(guard);
            return with(None);
        }
        if let Some(deadline) = touch {
            inner.set_deadline(id, deadline);
        }
        inner.count_read(&local.stats, id, touch.is_some());
        inner.note_read(slot, id, at);
        with(Some(self.view(&guard, id)))
    }

    #[inline]
    fn view<'g>(&'g self, guard: &'g BucketGuard<'_>, id: ItemId) -> View<'g> {
        let arena = &self.inner.arena;
        let item = Linked::vouched(id, guard);
        let header = arena.header(id);
        let len = header.value_len();
        let value = if len < arena.pin_value_min() { Value::Borrowed(arena.value(item)) } else { self.pin(item, len) };
        View { key: arena.key(item), flags: header.flags(), cas: arena.cas(id), value }
    }

    #[cold]
    fn pin<'g>(&self, item: Linked<'g>, len: usize) -> Value<'g> {
        let inner = &self.inner;
        let class = inner.class_of(item.id());
        Value::Pinned(Pinned {
            inner: Arc::clone(inner),
            id: item.id(),
            class: class.id,
            offset: inner.arena.header_len() + inner.arena.header(item.id()).key_len(),
            len,
            large: inner.sizes.is_large(inner.arena.shape_of(item)),
            token: Some(inner.arena.pin(item, class.chunk_len)),
        })
    }

    /// Removes a key; whether it was there.
    pub fn delete(&self, local: &mut Local, (hash, key): (Hash, &[u8]), now: Now) -> bool {
        let inner = &*self.inner;
        let guard = inner.table.lock(hash);
        let Some(slot) = inner.find(&guard, hash, key) else { return false };
        let alive = inner.is_alive(slot, inner.moment(now));
        inner.bury(local, guard, slot);
        alive
    }

    /// Makes everything stored so far dead, now or (`at`) at a later tick; a second call takes the place of one still to come.
    pub fn flush_all(&self, local: &mut Local, now: Now, at: Deadline) {
        let flush = &self.inner.flush;
        if at != Deadline::NEVER && !at.is_past(now) {
            flush.due.store(at.0, Ordering::Relaxed);
            return;
        }
        flush.due.store(0, Ordering::Relaxed);
        self.have_stamps(local, now);
        flush.now(now);
    }

    /// To be called by every thread that serves clients as its turn begins: makes its clock known, and carries out a flush that has become due.
    #[inline]
    pub fn begin_turn(&self, local: &mut Local, now: Now) {
        local.cas_is_latest = false;
        local.copied_len = 0;
        let flush = &self.inner.flush;
        // Written once a second, by one thread or two; read with the word beside it all the time.
        if flush.newest_secs.load(Ordering::Relaxed) < now.tick.secs() {
            flush.newest_secs.fetch_max(now.tick.secs(), Ordering::Relaxed);
        }
        let due = flush.due.load(Ordering::Relaxed);
        if due != 0
            && due <= now.tick.0
            // Relaxed: only who carries the flush out is decided here.
            && flush.due.compare_exchange(due, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.have_stamps(local, now);
            flush.now(now);
        }
    }

    /// Every class as it is now, smallest chunks first.
    #[must_use]
    pub fn classes(&self, now: Now) -> Vec<ClassSummary> {
        let inner = &*self.inner;
        let at = inner.moment(now);
        let summary = |class: &CachePadded<Class>| {
            let guard = class.lock();
            let segments = guard.state.queues.map(|queue| SegmentSummary {
                items: queue.count,
                age_secs: queue.tail.map_or(0, |id| at.age_secs(inner.arena.header(id).access())),
            });
            let chunks_per_page = u32::try_from(inner.sizes.chunks_per_page(class.id)).unwrap_or(u32::MAX);
            ClassSummary {
                id: class.id,
                chunk_len: class.chunk_len,
                chunks_per_page,
                page_len: inner.sizes.page_len(),
                pages: guard.state.page_count,
                segments,
                used_chunks: guard.state.used_count,
                bytes: guard.bytes(),
                counts: guard.state.counts,
                crawled: guard.state.sweep.crawled,
            }
        };
        inner.classes.iter().map(summary).collect()
    }

    /// Counts what happens in classes from zero on.
    pub fn reset_class_counts(&self) {
        for class in &self.inner.classes {
            let mut guard = class.lock();
            guard.state.counts = ClassCounts::default();
            guard.state.sweep.crawled = Crawled::default();
        }
    }

    /// The store's own size, for `stats`.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        let (index_level, index_len) = self.inner.table.size();
        let (used_pages, free_pages) = self.inner.pool.resident();
        let page_len = self.inner.arena.page_len();
        Footprint { index_level, index_len, free_pages, used_pages, page_len }
    }
}

/// One class, for `stats items` and `stats slabs`.
#[derive(Clone, Copy, Debug)]
pub struct ClassSummary {
    /// Which.
    pub id: ClassId,
    /// Bytes in a chunk.
    pub chunk_len: usize,
    /// Chunks in a page.
    pub chunks_per_page: u32,
    /// Bytes in a page.
    pub page_len: usize,
    /// Pages it has.
    pub pages: u32,
    /// HOT, WARM, COLD, TEMP.
    pub segments: [SegmentSummary; 4],
    /// Chunks in use: items, heads and pieces of large ones, and what is being filled or still read.
    pub used_chunks: u32,
    /// Bytes of its items.
    pub bytes: u64,
    /// What has happened in it.
    pub counts: ClassCounts,
    /// What has been swept of it in the background.
    pub crawled: Crawled,
}

/// One queue of a class.
#[derive(Clone, Copy, Debug, Default)]
pub struct SegmentSummary {
    /// Items in it.
    pub items: u32,
    /// Seconds since the item at the tail was last used.
    pub age_secs: u32,
}

impl ClassSummary {
    /// Items in all queues.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.segments.iter().map(|segment| segment.items).sum()
    }
}

/// The store's own size, for `stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// log2 of the number of buckets, rounded down.
    pub index_level: u32,
    /// Bytes of buckets in use.
    pub index_len: u64,
    /// Pages that classes have given back.
    pub free_pages: u32,
    /// Pages that classes have.
    pub used_pages: u32,
    /// Bytes in a page.
    pub page_len: usize,
}

impl Flush {
    /// What was stored by a thread whose clock is ahead of the caller's is flushed as well.
    fn now(&self, now: Now) {
        let secs = self.newest_secs.fetch_max(now.tick.secs(), Ordering::Relaxed).max(now.tick.secs());
        let next = |word| {
            let (ahead, _) = Self::parts(word);
            Some(u64::from(ahead.wrapping_add(1)) << 32 | u64::from(secs.wrapping_add(ahead)))
        };
        // Relaxed: the word says all there is to say; for one key, the bucket's lock orders who saw it before and who after.
        let flushed = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        flushed.expect("there always is a next word");
    }

    /// How far stamps are ahead of the clock, and the last flush's stamp.
    #[inline]
    fn parts(word: u64) -> (u32, u32) {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
        let flushed = word as u32;
        ((word >> 32) as u32, flushed)
    }
}

impl Inner {
    #[inline]
    fn class(&self, id: ClassId) -> &Class {
        &self.classes[id.index()]
    }

    /// The class of a linked or pinned item, by its page.
    #[inline]
    fn class_of(&self, id: ItemId) -> &Class {
        let class = self.arena.page(self.arena.page_of(id)).class();
        self.class(class.expect("a page with an item has a class"))
    }

    /// The slot of a key.
    #[inline]
    fn find<'t>(&'t self, guard: &BucketGuard<'t>, hash: Hash, key: &[u8]) -> Option<Slot<'t>> {
        guard.find(hash.tag(), |id| self.arena.key(Linked::vouched(id, guard)) == key)
    }

    /// The slot of a key whose item is alive.
    fn find_live<'t>(&'t self, guard: &BucketGuard<'t>, hash: Hash, key: &[u8], at: Moment) -> Option<Slot<'t>> {
        self.find(guard, hash, key).filter(|slot| self.is_alive(*slot, at))
    }

    /// Whether there is an item for whoever asks by its key: not dead, and not the place of one that is being made.
    #[inline]
    fn is_alive(&self, slot: Slot<'_>, at: Moment) -> bool {
        !slot.meta().has(Marks::LEASE) && !self.is_dead(slot.id(), at)
    }

    /// The present; to be asked for under the bucket of the item that is looked at. A thread whose clock is behind the
    /// flusher's gives stamps after the flush's all the same.
    #[inline]
    fn moment(&self, now: Now) -> Moment {
        // Relaxed: see `Flush::now`.
        let (ahead, flushed) = Flush::parts(self.flush.word.load(Ordering::Relaxed));
        let stamp = now.tick.secs().wrapping_add(ahead);
        let is_after = stamp.wrapping_sub(flushed).cast_signed() > 0;
        Moment { now, stamp: if is_after { stamp } else { flushed.wrapping_add(1) }, flushed }
    }

    #[inline]
    fn death(&self, id: ItemId, at: Moment) -> Option<Death> {
        let header = self.arena.header(id);
        at.death(Deadline(header.deadline()), header.access())
    }

    #[inline]
    fn is_dead(&self, id: ItemId, at: Moment) -> bool {
        self.death(id, at).is_some()
    }

    /// Counts a hit in the item's queue or, as memcached does, if it has been given a new lifetime a touch instead.
    #[inline]
    fn count_read(&self, stats: &Block, id: ItemId, touched: bool) {
        let header = self.arena.header(id);
        // By its size: its page, which knows, is another cache line.
        let shape = self.arena.shape(header.key_len(), header.value_len(), header.flags());
        let class = self.sizes.class_of_any(shape).number();
        if touched {
            stats.classes.note(class, ClassEvent::TouchHit);
        } else {
            stats.classes.hit(class, header.segment() as usize);
        }
    }

    /// Remembers that an item has been read, writing only what changes. In the flat mode it goes to its queue's head.
    #[inline]
    fn note_read(&self, slot: Slot<'_>, id: ItemId, at: Moment) {
        slot.set_meta(slot.meta().read());
        let header = self.arena.header(id);
        if at.age_secs(header.access()) >= ACCESS_LAG_SECS {
            header.set_access(at.stamp);
        }
        if self.lru.mode() == LruMode::Flat {
            self.bump(id);
        }
    }

    /// The class in whose queues an item is: the one of its chunk, or for a large item the largest.
    #[inline]
    fn queueing_class<'c>(&'c self, chunk_class: &'c Class, large: bool) -> &'c Class {
        if large { self.class(self.sizes.largest()) } else { chunk_class }
    }

    /// The same for an item that is linked.
    fn queueing_class_of(&self, id: ItemId) -> &Class {
        let header = self.arena.header(id);
        let shape = self.arena.shape(header.key_len(), header.value_len(), header.flags());
        self.queueing_class(self.class_of(id), self.sizes.is_large(shape))
    }

    /// Removes an item that was found dead by a reader.
    fn bury_read<'t>(&'t self, local: &mut Local, guard: BucketGuard<'t>, slot: Slot<'t>, death: Death) {
        match death {
            Death::Expired => local.stats.get_expired.add(1),
            Death::Flushed => local.stats.get_flushed.add(1),
        }
        self.bury(local, guard, slot);
    }

    /// Removes an item, and with it the guard.
    fn bury<'t>(&'t self, local: &mut Local, mut guard: BucketGuard<'t>, slot: Slot<'t>) {
        let id = slot.id();
        guard.remove(slot);
        local.class = self.unlink(&local.stats, &guard, id).number();
        local.count_items(-1);
    }

    /// Takes an item that is in no slot any more out of its queue, and frees its chunk, unless a reader has it pinned. The class in
    /// whose queue it was.
    fn unlink(&self, stats: &Block, guard: &BucketGuard<'_>, id: ItemId) -> ClassId {
        let shape = self.arena.shape_of(Linked::vouched(id, guard));
        let (class, large) = (self.class_of(id), self.sizes.is_large(shape));
        let header = self.arena.header(id);
        let queueing = self.queueing_class(class, large);
        self.count_length(stats, self.arena.cas(id), shape.item_len, false);
        let mut class_guard = queueing.lock();
        class_guard.dequeue(&self.arena, id);
        class_guard.state.bytes -= shape.item_len as i64;
        header.mark_unlinked();
        if self.arena.orphan(id, class.chunk_len, shape.value_len) {
            let chunk = Chunk::owned(id, class.id);
            if large {
                drop(class_guard);
                self.free_large(chunk, self.arena.header_len() + shape.key_len, shape.value_len);
            } else {
                class_guard.give(&self.arena, &self.pool, chunk);
            }
        }
        stats.bytes.sub(shape.item_len as u64);
        stats.curr_items.sub(1);
        queueing.id
    }
}

impl Local {
    /// The number of the class of the item that this thread last wrote, removed, or did not replace because a condition did not hold;
    /// 0 if there was none.
    #[inline]
    #[must_use]
    pub fn last_class(&self) -> u8 {
        self.class
    }

    /// What the last item that this thread stored or changed was given.
    #[inline]
    #[must_use]
    pub fn last_written(&self) -> Receipt {
        self.last
    }

    /// Bytes of values that this thread has moved in this turn because something was added to them: work that no length of a request
    /// shows.
    #[inline]
    #[must_use]
    pub fn copied_len(&self) -> usize {
        self.copied_len
    }

    /// Whether what takes long has to wait: for a moment when the thread has nobody else to serve, and for one such thing at a time.
    #[must_use]
    pub fn puts_off(&self) -> bool {
        self.puts_off
    }

    /// Says so, from now on.
    pub fn put_off(&mut self, puts_off: bool) {
        self.puts_off = puts_off;
    }

    /// Says that something has been done for a client that took about as long as moving so many bytes would have.
    pub fn note_work(&mut self, len: usize) {
        self.copied_len = self.copied_len.saturating_add(len);
    }

    /// A CAS number that is unique, greater than `old`, and greater than any that a client had been told when it sent what this
    /// turn serves, whichever thread told it: so that numbers order what happened, and can be fencing tokens.
    ///
    /// All that is true of our own numbers. Where a client has chosen one (meta's `E`) beyond them, the item's next is that and one: greater
    /// than `old`, but a number that another item may have as well; after the greatest there is, it is one of ours again.
    #[inline]
    fn next_cas(&mut self, old: u64) -> u64 {
        if self.cas.0 == self.cas.1 || self.cas.0 <= old || !self.cas_is_latest {
            self.refresh_cas(old);
        }
        self.cas.0 += 1;
        (self.cas.0 - 1).max(old.wrapping_add(1))
    }

    /// Goes on with the numbers at hand if nobody has taken any since they were.
    #[cold]
    fn refresh_cas(&mut self, old: u64) {
        let shared = &self.inner.cas;
        // Acquire, and release below: whoever has been told a number by another thread, by whatever way, sees that they were taken.
        let latest = shared.load(Ordering::Acquire);
        // A number that a client has chosen may be beyond all of ours: then a block is no help, and one for each store would use them up.
        let helps = self.cas.0 <= old && old < latest;
        if self.cas.0 == self.cas.1 || helps || latest != self.cas.1 {
            self.cas.0 = shared.fetch_add(CAS_BLOCK, Ordering::AcqRel);
            self.cas.1 = self.cas.0 + CAS_BLOCK;
        }
        self.cas_is_latest = true;
    }

    /// So many items more, or fewer; tells the shared count when it has become too wrong. A thread that only removes must do so
    /// as well, or the index grows with what others store.
    #[inline]
    fn count_items(&mut self, change: i64) {
        self.item_delta += change;
        if self.item_delta.abs() >= ITEM_DELTA_MAX {
            // Relaxed: a count for deciding when the index grows.
            self.inner.item_count.fetch_add(self.item_delta, Ordering::Relaxed);
            self.item_delta = 0;
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.inner.item_count.fetch_add(self.item_delta, Ordering::Relaxed);
    }
}

/// A class by its number, for tests of what decides about classes.
#[cfg(test)]
pub(crate) fn test_class(number: u8) -> ClassId {
    ClassId(number)
}

/// Where CAS numbers begin in a test that must be repeatable.
const CAS_SEEDED: u64 = 1 << 20;

/// Where CAS numbers begin: so that a number seen before a restart is not given again after it, they start from the time, with
/// room for 16 million a second, and stay below 2^53 until 2041 for clients that keep numbers as doubles.
///
/// A turn that stores uses up to [`CAS_BLOCK`] of them: where, from start to end, more than a million such turns a second took numbers by
/// turns, the last of them are ahead of the time and given again. So they are if the clock is set back, or stands before 2025.
fn first_cas(unix_ms: u64) -> u64 {
    const EPOCH_2025: u64 = 1_735_689_600;
    (unix_ms.saturating_sub(EPOCH_2025 * 1000) << 14).max(LEASE_TAKEN + 1)
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that was not set yet made the first item's number the one that says that somebody else has a lease.
    #[test]
    fn numbers_begin_above_what_leases_mean_by_theirs_whatever_the_clock_says() {
        const MS_OF_2025: u64 = 1_735_689_600_000;
        for unix_ms in [0, 1, MS_OF_2025 - 1, MS_OF_2025] {
            assert_eq!(first_cas(unix_ms), LEASE_TAKEN + 1);
        }
        assert_eq!(first_cas(MS_OF_2025 + 1), 1 << 14);
        assert!(first_cas(MS_OF_2025 + 16 * 366 * 86_400_000) < 1 << 53);
    }
}
