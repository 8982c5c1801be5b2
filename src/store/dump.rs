//! All items, one after the other, for whoever dumps them: by the index, or by the pages of one class. A slice at a time; nothing is held
//! between two.
//!
//! **By the index** (`table/walk.rs`): an item that is there from the dump's beginning to its end is told once, wherever it moves and
//! whatever is split. One that is stored, replaced or removed meanwhile is told or not, and as it is when its bucket is visited. Dead items are not
//! told. There is one such dump at a time, and none while an operator's crawl is under way: a board's entry says whose turn it is.
//! Who does not go on for a while loses it to the next who asks.
//!
//! **By the pages of a class**: cheap where the class is small. An item that is moved to another page meanwhile may be missed, or told twice.

use super::chores::{Board, ClassSet, CrawlRefused};
use super::expiry::Moment;
use super::item::Linked;
use super::pages::ClassGuard;
use super::sizes::ClassId;
use super::table::walk::Walk;
use super::table::{BucketGuard, Marks, Slot};
use super::{Deadline, Inner, Store};
use crate::clock::{Now, Tick};
use crate::limits::DUMP_STALL_SECS;
use crate::store::arena::{ItemId, PageId};
use std::sync::Arc;

/// An item as a dump tells it.
#[derive(Clone, Copy, Debug)]
pub struct Dumped<'a> {
    /// Any bytes.
    pub key: &'a [u8],
    /// Whether it was given in base64.
    pub key_is_base64: bool,
    /// When it dies, in seconds since 1970; never, if none.
    pub exptime: Option<u64>,
    /// When it was last used, the same way.
    pub used_at: u64,
    /// Its CAS number, 0 with `-C`.
    pub cas: u64,
    /// Has been read since it was stored.
    pub is_fetched: bool,
    /// The number of the class in whose queues it is.
    pub class: u8,
    /// Bytes of header, key and value.
    pub item_len: usize,
    /// The client's own bits.
    pub flags: u32,
    /// Bytes of its value.
    pub value_len: usize,
}

/// A dump by the index. Its turn is over when it is dropped.
#[derive(Debug)]
pub struct Dump {
    inner: Arc<Inner>,
    number: u64,
    classes: ClassSet,
    walk: Walk,
}

/// Whose turn it is to dump.
#[derive(Debug, Default)]
pub(super) struct DumpTurn {
    /// Dumps there have ever been; the last of them is the one whose turn it is, if there is one.
    count: u64,
    /// When it last went on.
    active: Option<Tick>,
}

impl DumpTurn {
    /// Whether somebody dumps, and goes on with it.
    pub(super) fn is_taken(&self, now: Now) -> bool {
        let stalls_at = |tick: Tick| tick.0.saturating_add(DUMP_STALL_SECS * Tick::PER_SEC);
        self.active.is_some_and(|active| now.tick.0 < stalls_at(active))
    }
}

impl Store {
    /// Begins a dump of these classes.
    ///
    /// # Errors
    /// Why there is none.
    pub fn begin_dump(&self, classes: ClassSet, now: Now) -> Result<Dump, CrawlRefused> {
        let mut board = self.board_for_walk(classes, now)?;
        board.dump.count += 1;
        board.dump.active = Some(now.tick);
        let (number, walk) = (board.dump.count, self.inner.table.walk());
        Ok(Dump { inner: Arc::clone(&self.inner), number, classes, walk })
    }

    /// Begins to list the items of a class, by its number; none if there is no such number.
    #[must_use]
    pub fn begin_listing(&self, number: u8) -> Option<Listing> {
        let inner = &self.inner;
        let class = inner.sizes.classes().find(|class| class.number() == number);
        let is_known = class.is_some() || number <= MEMCACHED_CLASS_MAX;
        is_known.then(|| Listing { inner: Arc::clone(inner), class, page: 0, chunk: 0 })
    }
}

/// Highest number of a class of memcached's.
const MEMCACHED_CLASS_MAX: u8 = 63;

impl Dump {
    /// Says that the dump goes on, which keeps its turn; false if it is lost.
    pub fn keep_turn(&self, now: Now) -> bool {
        let mut board = self.inner.chores.board();
        let is_ours = self.is_ours(&board);
        if is_ours {
            board.dump.active = Some(now.tick);
        }
        is_ours
    }

    fn is_ours(&self, board: &Board) -> bool {
        board.dump.count == self.number
    }

    /// Tells what is in one more bucket, under its lock: `tell` must not wait or call the store. False if there is none left.
    pub fn step(&mut self, now: Now, mut tell: impl FnMut(Dumped<'_>)) -> bool {
        let inner = &*self.inner;
        inner.table.step(
            &mut self.walk,
            |id| inner.arena.prefetch(id),
            |guard| {
                let at = inner.moment(now);
                for slot in guard.slots().filter(|slot| inner.is_alive(*slot, at)) {
                    let dumped = inner.dumped(guard, slot, at);
                    if self.classes.contains(dumped.class) {
                        tell(dumped);
                    }
                }
            },
        )
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        self.inner.table.end_walk(std::mem::take(&mut self.walk));
        let mut board = self.inner.chores.board();
        if self.is_ours(&board) {
            board.dump.active = None;
        }
    }
}

/// A list of the items of one class.
#[derive(Debug)]
pub struct Listing {
    inner: Arc<Inner>,
    /// None: it has no items.
    class: Option<ClassId>,
    page: u32,
    chunk: u32,
}

impl Listing {
    /// Tells what is in some more chunks, under the class's lock, as long as `tell` wants more: it must not wait or call the store. False if
    /// there are none left.
    pub fn step(&mut self, now: Now, chunk_count: u32, mut tell: impl FnMut(Dumped<'_>) -> bool) -> bool {
        let inner = &*self.inner;
        let Some(class) = self.class else { return false };
        let pages = self.page..inner.arena.page_count();
        let Some(page) = pages.into_iter().find(|page| inner.arena.page(PageId(*page)).class() == Some(class)) else {
            return false;
        };
        if page != self.page {
            (self.page, self.chunk) = (page, 0);
        }
        let guard = inner.class(class).lock();
        // Looked at again, now that it cannot change.
        let page = inner.arena.page(PageId(self.page));
        let carved = page.carved.load(std::sync::atomic::Ordering::Relaxed);
        if page.class() != Some(class) || self.chunk >= carved {
            (self.page, self.chunk) = (self.page + 1, 0);
            return true;
        }
        let (at, end) = (inner.moment(now), carved.min(self.chunk.saturating_add(chunk_count)));
        for index in self.chunk..end {
            let chunk = inner.arena.chunk_id(PageId(self.page), index, guard.class.chunk_len);
            if let Some(id) = inner.listed(chunk, &guard)
                && !inner.is_dead(id, at)
                && !tell(inner.listed_item(&guard, id, at))
            {
                return false;
            }
        }
        self.chunk = end;
        true
    }
}

impl Inner {
    /// The item that a chunk of a class stands for in the class's list: its own, if it is queued in this class, or the one of which it is the
    /// first piece.
    fn listed(&self, chunk: ItemId, guard: &ClassGuard<'_>) -> Option<ItemId> {
        let header = self.arena.header(chunk);
        if header.is_linked() {
            let shape = self.arena.shape(header.key_len(), header.value_len(), header.flags());
            return (!self.sizes.is_large(shape)).then_some(chunk);
        }
        // Pieces are of the class in which their item is queued, unless they are the last and shorter.
        let head = header.head_of_piece().filter(|&head| self.arena.header(head).is_linked())?;
        let is_first = self.queueing_class_of(head).id == self.class_of(chunk).id
            && self.first_piece(Linked::vouched(head, guard)) == chunk;
        is_first.then_some(head)
    }

    fn listed_item<'g>(&'g self, guard: &'g ClassGuard<'_>, id: ItemId, at: Moment) -> Dumped<'g> {
        self.item_as_dumped(Linked::vouched(id, guard), Marks::NONE, false, at)
    }

    fn dumped<'g>(&'g self, guard: &'g BucketGuard<'_>, slot: Slot<'_>, at: Moment) -> Dumped<'g> {
        let meta = slot.meta();
        self.item_as_dumped(Linked::vouched(slot.id(), guard), meta.marks(), meta.is_fetched(), at)
    }

    fn item_as_dumped<'g>(&'g self, item: Linked<'g>, marks: Marks, is_fetched: bool, at: Moment) -> Dumped<'g> {
        let (id, now) = (item.id(), at.now);
        let header = self.arena.header(id);
        let shape = self.arena.shape_of(item);
        let epoch_secs = self.chores.epoch_secs(now);
        Dumped {
            key: self.arena.key(item),
            key_is_base64: marks.has(Marks::KEY_BASE64),
            exptime: (header.deadline() != Deadline::NEVER.0)
                .then(|| epoch_secs + u64::from(header.deadline().div_ceil(Tick::PER_SEC))),
            used_at: (epoch_secs + u64::from(now.tick.secs())).saturating_sub(at.age_secs(header.access()).into()),
            cas: self.arena.cas(id),
            is_fetched,
            // By its size, as for hits: its page, which knows, is another cache line.
            class: self.sizes.class_of_any(shape).number(),
            item_len: shape.item_len,
            flags: header.flags(),
            value_len: header.value_len(),
        }
    }
}
