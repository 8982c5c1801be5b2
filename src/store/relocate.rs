//! Moving a live item to another chunk of its class, so that its page can be emptied without losing it.
//!
//! ```text
//!   draining page              another page of the class
//!   | chunk: item |  ──copy──► | free chunk |
//!        ▲   ▲                      ▲   ▲
//!    slot    queue's links  ──────► slot    queue's links: same place in the queue, same uses
//! ```
//!
//! The class is held throughout; the item's bucket is tried. Where the class has no free chunk, its next victim makes one: a class that
//! gives a page loses what it values least, not what happens to lie there. Large items are not moved, they are evicted with their page.

use super::Inner;
use super::arena::{Arena, ItemId};
use super::evict::Won;
use super::expiry::Moment;
use super::item::{Chunk, Linked};
use super::pages::ClassGuard;
use crate::limits::RELOCATE_TRIES_MAX;
use crate::stats::Block;
use std::sync::atomic::Ordering;

impl Inner {
    /// Moves an item of the class out of its draining page, making room for it if need be. Whether the chunk is free now (the
    /// item may have been the victim itself); how many items were evicted for it is added to `evicted`.
    pub(super) fn relocate(
        &self,
        guard: &mut ClassGuard<'_>,
        stats: &Block,
        id: ItemId,
        at: Moment,
        (evicted, strays): (&mut i64, &mut Vec<Chunk>),
    ) -> bool {
        let header = self.arena.header(id);
        let shape = self.arena.shape_of(Linked::vouched(id, &*guard));
        if self.sizes.is_large(shape) || self.is_dead(id, at) {
            return false;
        }
        for _ in 0..RELOCATE_TRIES_MAX {
            if let Some(chunk) = guard.take_at_hand(&self.arena, &self.pool) {
                return self.move_item(guard, stats, id, chunk);
            }
            if !self.config.evict {
                return false;
            }
            let mut won = Won::default();
            *evicted += self.evict(guard, stats, 1, at, &mut won);
            for chunk in won.chunks {
                guard.give(&self.arena, &self.pool, chunk);
            }
            strays.append(&mut won.strays);
            // The victim may have been the item itself, and the last of its page, which then is anybody's by now: as long as it is
            // this class's nobody else can have made something of the chunk.
            let page = self.arena.page(self.arena.page_of(id));
            let is_ours = page.class() == Some(guard.class.id) && page.draining.load(Ordering::Relaxed);
            if !is_ours || !header.is_linked() {
                return true;
            }
        }
        false
    }

    fn move_item(&self, guard: &mut ClassGuard<'_>, stats: &Block, id: ItemId, mut chunk: Chunk) -> bool {
        let hash = self.hash_of(Linked::vouched(id, &*guard));
        let Some(bucket) = self.table.try_lock(hash) else {
            guard.give(&self.arena, &self.pool, chunk);
            return false;
        };
        let slot = bucket.find(hash.tag(), |other| other == id).expect("a queued item is in the index");
        let item = Linked::vouched(id, &bucket);
        // Pins are taken under the bucket's lock, so there is none to come.
        if self.arena.is_pinned(id, guard.class.chunk_len, self.arena.header(id).value_len()) {
            drop(bucket);
            guard.give(&self.arena, &self.pool, chunk);
            return false;
        }
        let (key, value) = (self.arena.key(item), self.arena.value(item));
        let body = self.arena.body(&mut chunk, guard.class.chunk_len);
        body[..key.len()].copy_from_slice(key);
        body[key.len()..key.len() + value.len()].copy_from_slice(value);
        let (from, to) = (self.arena.header(id), self.arena.header(chunk.id()));
        to.set_flags(from.flags());
        to.set_deadline(from.deadline());
        self.arena.set_cas(chunk.id(), self.arena.cas(id));
        self.arena.clear_pins(chunk.id(), guard.class.chunk_len, value.len());
        to.mark_linked(self.arena.shape_of(item), from.segment(), from.access());
        self.arena.note_deadline(chunk.id(), from.deadline());
        guard.replace(&self.arena, id, chunk.id());
        slot.set_id(chunk.id());
        from.mark_unlinked();
        drop(bucket);
        guard.give(&self.arena, &self.pool, Chunk::owned(id, guard.class.id));
        stats.slab_reassign_rescues.add(1);
        true
    }
}

impl ClassGuard<'_> {
    /// Puts `new` in the place that `old` has in its queue.
    fn replace(&mut self, arena: &Arena, old: ItemId, new: ItemId) {
        let (from, to) = (arena.header(old), arena.header(new));
        let (prev, next) = (from.prev(), from.next());
        to.set_prev(prev);
        to.set_next(next);
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
