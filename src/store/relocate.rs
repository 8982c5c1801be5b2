//! Moving a live item to another chunk of its class, so that its page can be emptied without losing it.
//!
//! ```text
//!   draining page              another page of the class
//!   | chunk: item |  ──copy──► | free chunk |
//!        ▲   ▲                      ▲   ▲
//!    slot    queue's links  ──────► slot    queue's links: same place in the queue, same uses
//! ```
//!
//! The class is held throughout; the item's bucket is tried. Where the class has no free chunk, the pool may lend it a page, which it has back
//! with the emptied one; else the class's next victim makes one: a class that gives a page loses what it values least, not what happens
//! to lie there.
//!
//! Of a large item the pieces are moved one by one, and its head, each by itself: the class of the page is held, the one it is queued in (the
//! largest; tried where that is another), and its bucket. Nobody then reads the names of its pieces, which change:
//! readers have it pinned, and then it is not moved; whoever frees it holds its bucket first; and a drain that looks for its first piece
//! holds the class of its queue. A head that moves is named anew in its pieces, whose class's locks protect that name: so
//! the class of the last, shorter one is tried as well.

use super::arena::{Arena, ItemId};
use super::evict::{By, Won};
use super::expiry::Moment;
use super::hash::Hash;
use super::item::{Chunk, Linked};
use super::pages::{Class, ClassGuard, Loan};
use super::table::BucketGuard;
use super::{Inner, Local};
use crate::limits::RELOCATE_TRIES_MAX;
use crate::stats::Block;
use std::sync::atomic::Ordering;

/// The class of a draining page, and where it is another one, the class in whose queue an item is that has something there.
pub(super) struct Guards<'g, 'p, 'q> {
    page: &'g mut ClassGuard<'p>,
    queueing: Option<&'g mut ClassGuard<'q>>,
}

/// How a page is emptied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// What the pool lends its class meanwhile.
    pub(super) loan: Loan,
    /// What is held by somebody just now is left for another time; otherwise it is evicted, if that can be done.
    pub(super) patient: bool,
    /// What is alive may be evicted, where there is no room for it.
    pub(super) may_evict: bool,
    /// Who empties it.
    pub(super) by: By,
}

impl Terms {
    /// Somebody waits for the page.
    pub(super) fn haste(by: By) -> Self {
        Self { loan: Loan::None, patient: false, may_evict: true, by }
    }

    /// Nobody needs the page yet.
    pub(super) fn leisure() -> Self {
        Self { loan: Loan::None, patient: true, may_evict: false, by: By::Maintainer }
    }
}

/// What has become of the item in a chunk that is to be emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// The chunk is free.
    Away,
    /// Somebody holds the item, or what is needed to move it.
    Held,
    /// It is where it was: there is no room for it, or it is not worth it.
    Not,
}

impl<'g, 'p, 'q> Guards<'g, 'p, 'q> {
    pub(super) fn one(page: &'g mut ClassGuard<'p>) -> Self {
        Self { page, queueing: None }
    }

    pub(super) fn two(page: &'g mut ClassGuard<'p>, queueing: &'g mut ClassGuard<'q>) -> Self {
        Self { page, queueing: Some(queueing) }
    }

    /// Whether the class is one of those that are held.
    fn hold(&self, class: &Class) -> bool {
        self.page.class.id == class.id || self.queueing.as_ref().is_some_and(|guard| guard.class.id == class.id)
    }

    /// Puts `new` in the place that `old` has in its queue.
    fn replace(&mut self, arena: &Arena, old: ItemId, new: ItemId) {
        match &mut self.queueing {
            Some(queueing) => queueing.replace(arena, old, new),
            None => self.page.replace(arena, old, new),
        }
    }
}

impl Inner {
    /// Moves an item of the class out of its draining page, making room for it if need be (the item may be the victim itself). How many
    /// items were evicted for it is added to `evicted`.
    pub(super) fn relocate(
        &self,
        guard: &mut ClassGuard<'_>,
        stats: &Block,
        (id, terms): (ItemId, Terms),
        at: Moment,
        (evicted, strays): (&mut i64, &mut Vec<Chunk>),
    ) -> Moved {
        let header = self.arena.header(id);
        let shape = self.arena.shape_of(Linked::vouched(id, &*guard));
        if self.sizes.is_large(shape) || self.is_dead(id, at) {
            return Moved::Not;
        }
        for _ in 0..RELOCATE_TRIES_MAX {
            if let Some(chunk) = guard.take_at_hand(&self.arena, &self.pool, terms.loan) {
                return self.move_item(guard, stats, (id, chunk), at);
            }
            if !self.config.evict || !terms.may_evict {
                break;
            }
            *evicted += self.evict_one(guard, stats, at, (terms.by, strays));
            // The victim may have been the item itself, and the last of its page, which then is anybody's by now: as long as it is
            // this class's nobody else can have made something of the chunk.
            let page = self.arena.page(self.arena.page_of(id));
            let is_ours = page.class() == Some(guard.class.id) && page.draining.load(Ordering::Relaxed);
            if !is_ours || !header.is_linked() {
                return Moved::Away;
            }
        }
        stats.slab_reassign_busy_nomem.add(1);
        Moved::Not
    }

    /// Evicts from the class that is held until a chunk is won; how many items it took.
    fn evict_one(
        &self,
        guard: &mut ClassGuard<'_>,
        stats: &Block,
        at: Moment,
        (by, strays): (By, &mut Vec<Chunk>),
    ) -> i64 {
        let mut won = Won::default();
        let evicted = self.evict(guard, stats, (1, by), at, &mut won);
        for chunk in won.chunks {
            guard.give(&self.arena, &self.pool, chunk);
        }
        strays.append(&mut won.strays);
        evicted
    }

    /// Moves what a chunk of a draining page has of a large item: its head, or a piece.
    pub(super) fn relocate_large(
        &self,
        guards: Guards<'_, '_, '_>,
        local: &mut Local,
        (head, chunk, terms): (ItemId, ItemId, Terms),
        at: Moment,
        strays: &mut Vec<Chunk>,
    ) -> Moved {
        let shape = self.arena.shape_of(Linked::vouched(head, &guards));
        if !self.sizes.is_large(shape) || self.is_dead(head, at) {
            return Moved::Not;
        }
        for _ in 0..RELOCATE_TRIES_MAX {
            if let Some(to) = guards.page.take_at_hand(&self.arena, &self.pool, terms.loan) {
                return self.move_large(guards, &local.stats, (head, chunk), to, at);
            }
            if !self.config.evict || !terms.may_evict {
                break;
            }
            let evicted = self.evict_one(guards.page, &local.stats, at, (terms.by, strays));
            local.count_items(-evicted);
            let page = self.arena.page(self.arena.page_of(chunk));
            let is_ours = page.class() == Some(guards.page.class.id) && page.draining.load(Ordering::Relaxed);
            // The victim may have been the item itself: its pieces of this class are free then, its head is among the strays.
            if !is_ours || !self.arena.header(head).is_linked() {
                return Moved::Away;
            }
        }
        local.stats.slab_reassign_busy_nomem.add(1);
        Moved::Not
    }

    fn move_large(
        &self,
        mut guards: Guards<'_, '_, '_>,
        stats: &Block,
        (head, from): (ItemId, ItemId),
        to: Chunk,
        at: Moment,
    ) -> Moved {
        let page_class = guards.page.class;
        let hash = self.hash_of(Linked::vouched(head, &guards));
        let Some(mut bucket) = self.table.try_lock(hash) else {
            guards.page.give(&self.arena, &self.pool, to);
            return Moved::Held;
        };
        let pinned = self.arena.is_pinned(head, self.class_of(head).chunk_len, self.arena.header(head).value_len());
        // Pins are taken under the bucket's lock, so there is none to come.
        let unmoved = if pinned {
            Some(to)
        } else if head == from {
            self.move_head(&mut guards, &bucket, (hash, head), to, at)
        } else {
            self.move_piece(&mut bucket, (head, from), to);
            stats.slab_reassign_chunk_rescues.add(1);
            None
        };
        drop(bucket);
        if let Some(to) = unmoved {
            guards.page.give(&self.arena, &self.pool, to);
            return Moved::Held;
        }
        stats.slab_reassign_rescues.add(u64::from(head == from));
        guards.page.give(&self.arena, &self.pool, Chunk::owned(from, page_class.id));
        Moved::Away
    }

    /// The piece `from` of an item that nobody has pinned is in `to` from here on.
    fn move_piece(&self, bucket: &mut BucketGuard<'_>, (head, from): (ItemId, ItemId), mut to: Chunk) {
        let header = self.arena.header(head);
        let (value_len, ids_at) = (header.value_len(), self.arena.header_len() + header.key_len());
        let id_at = |index: usize| ids_at + index * size_of::<u32>();
        let index = (0..self.piece_count(value_len))
            .find(|&index| self.arena.piece_id_at(head, id_at(index)) == from)
            .expect("a head names its pieces");
        let len = self.piece_len().min(value_len - index * self.piece_len());
        let chunk_len = self.sizes.chunk_len(to.class());
        let data = self.arena.piece_data(from, len, bucket);
        self.arena.piece_body(&mut to, chunk_len)[..len].copy_from_slice(data);
        self.arena.header(to.id()).mark_piece(head);
        self.arena.set_piece_id_at(bucket, head, id_at(index), to.id());
        self.arena.header(from).mark_unlinked();
    }

    /// The head of an item that nobody has pinned is in `to` from here on; gives that back if a class that protects a piece's name of its
    /// head is held by somebody.
    fn move_head(
        &self,
        guards: &mut Guards<'_, '_, '_>,
        bucket: &BucketGuard<'_>,
        (hash, head): (Hash, ItemId),
        mut to: Chunk,
        at: Moment,
    ) -> Option<Chunk> {
        let item = Linked::vouched(head, bucket);
        let (shape, from) = (self.arena.shape_of(item), self.arena.header(head));
        let (count, ids_at) = (self.piece_count(shape.value_len), self.arena.header_len() + shape.key_len);
        let last = self.class_of(self.arena.piece_id_at(head, ids_at + (count - 1) * size_of::<u32>()));
        let held = guards.hold(last);
        let last_guard = if held { None } else { last.try_lock() };
        if !held && last_guard.is_none() {
            return Some(to);
        }
        let (key, ids) = (self.arena.key(item), self.arena.piece_ids(item, count));
        let chunk_len = self.sizes.chunk_len(to.class());
        let body = self.arena.body(&mut to, chunk_len);
        body[..key.len()].copy_from_slice(key);
        body[key.len()..key.len() + ids.len()].copy_from_slice(ids);
        for index in 0..count {
            let piece = self.arena.piece_id_at(head, ids_at + index * size_of::<u32>());
            self.arena.header(piece).mark_piece(to.id());
        }
        self.copy_header(item, &to, at);
        guards.replace(&self.arena, head, to.id());
        let slot = bucket.find(hash.tag(), |other| other == head).expect("a queued item is in the index");
        slot.set_id(to.id());
        from.mark_unlinked();
        None
    }

    /// Makes `to`, whose body is the item's, an item that is in no queue yet. Its page may have been swept for old stamps just before.
    fn copy_header(&self, item: Linked<'_>, to: &Chunk, at: Moment) {
        let (id, shape) = (to.id(), self.arena.shape_of(item));
        let (from, header) = (self.arena.header(item.id()), self.arena.header(id));
        header.set_flags(from.flags());
        header.set_deadline(from.deadline());
        self.arena.set_cas(id, self.arena.cas(item.id()));
        self.arena.clear_pins(id, self.sizes.chunk_len(to.class()), shape.value_len);
        let stamp = at.oldest_instead(from.access()).unwrap_or_else(|| from.access());
        header.mark_linked(shape, from.segment(), stamp);
        self.arena.note_deadline(id, from.deadline());
    }

    fn move_item(
        &self,
        guard: &mut ClassGuard<'_>,
        stats: &Block,
        (id, mut chunk): (ItemId, Chunk),
        at: Moment,
    ) -> Moved {
        let hash = self.hash_of(Linked::vouched(id, &*guard));
        let Some(bucket) = self.table.try_lock(hash) else {
            guard.give(&self.arena, &self.pool, chunk);
            return Moved::Held;
        };
        let slot = bucket.find(hash.tag(), |other| other == id).expect("a queued item is in the index");
        let item = Linked::vouched(id, &bucket);
        // Pins are taken under the bucket's lock, so there is none to come.
        if self.arena.is_pinned(id, guard.class.chunk_len, self.arena.header(id).value_len()) {
            drop(bucket);
            guard.give(&self.arena, &self.pool, chunk);
            return Moved::Held;
        }
        let (key, value) = (self.arena.key(item), self.arena.value(item));
        let body = self.arena.body(&mut chunk, guard.class.chunk_len);
        body[..key.len()].copy_from_slice(key);
        body[key.len()..key.len() + value.len()].copy_from_slice(value);
        self.copy_header(item, &chunk, at);
        guard.replace(&self.arena, id, chunk.id());
        slot.set_id(chunk.id());
        self.arena.header(id).mark_unlinked();
        drop(bucket);
        guard.give(&self.arena, &self.pool, Chunk::owned(id, guard.class.id));
        stats.slab_reassign_rescues.add(1);
        Moved::Away
    }
}

impl ClassGuard<'_> {
    /// Puts `new` in the place that `old` has in its queue.
    fn replace(&mut self, arena: &Arena, old: ItemId, new: ItemId) {
        let (from, to) = (arena.header(old), arena.header(new));
        let (prev, next) = (from.prev(), from.next());
        to.set_prev(prev);
        to.set_next(next);
        if self.state.scout == Some(old) {
            self.state.scout = Some(new);
        }
        let queue = self.queue(from.segment());
        match prev {
            Some(prev) => arena.header(prev).set_next(Some(new)),
            None => queue.head = Some(new),
        }
        match next {
            Some(next) => arena.header(next).set_prev(Some(new)),
            None => queue.tail = Some(new),
        }
    }
}
