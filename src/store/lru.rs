//! One queue of one class: a list through the items' own links, newest at the head.
//!
//! ```text
//!   head ──next──► item ──next──► ... ──next──► tail        evicted from the tail
//!        ◄──prev──      ◄──prev──     ◄──prev──
//! ```
//!
//! The class's lock protects heads, tails, counts and the links and segment of every item in them. Ids, not pointers, so that
//! a wrong link is a wrong id, which the arena checks, and nothing here is unsafe.

use super::arena::{Arena, ItemId};
use super::item::Segment;
use super::pages::ClassGuard;

/// Ends and length of a queue.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Queue {
    pub(super) head: Option<ItemId>,
    pub(super) tail: Option<ItemId>,
    pub(super) count: u32,
}

impl Queue {
    fn push(&mut self, arena: &Arena, id: ItemId) {
        let header = arena.header(id);
        header.set_prev(None);
        header.set_next(self.head);
        match self.head {
            Some(head) => arena.header(head).set_prev(Some(id)),
            None => self.tail = Some(id),
        }
        self.head = Some(id);
        self.count += 1;
    }

    fn remove(&mut self, arena: &Arena, id: ItemId) {
        let header = arena.header(id);
        let (prev, next) = (header.prev(), header.next());
        match prev {
            Some(prev) => arena.header(prev).set_next(next),
            None => self.head = next,
        }
        match next {
            Some(next) => arena.header(next).set_prev(prev),
            None => self.tail = prev,
        }
        self.count -= 1;
    }

    /// From the tail on, for audits and for choosing victims. The class's guard must be held meanwhile.
    pub(super) fn tail_first<'a>(&self, arena: &'a Arena) -> impl Iterator<Item = ItemId> + use<'a> {
        std::iter::successors(self.tail, |&id| arena.header(id).prev())
    }
}

impl ClassGuard<'_> {
    /// Puts an item at the head of the queue of its segment, which its header already names.
    pub(super) fn enqueue(&mut self, arena: &Arena, id: ItemId) {
        let segment = arena.header(id).segment();
        self.queue(segment).push(arena, id);
    }

    /// Takes an item out of its queue.
    pub(super) fn dequeue(&mut self, arena: &Arena, id: ItemId) {
        let header = arena.header(id);
        if self.state.scout == Some(id) {
            self.state.scout = header.prev();
        }
        self.queue(header.segment()).remove(arena, id);
    }

    /// Begins to scout at a queue's tail. A queue is a list: its next victims are found one after the other, each
    /// a wait for memory, so a step of that walk is made with each chunk that is taken until then. With the chains of
    /// their buckets fetched as well, set/p16 evicting takes 8 % less cpu.
    pub(super) fn scout_from_tail(&mut self, arena: &Arena, segment: Segment) {
        self.state.scout = self.queue(segment).tail;
        if let Some(id) = self.state.scout {
            arena.prefetch(id);
        }
    }

    /// One step towards the head: to an item whose header has been fetched, and fetches the one after it.
    #[inline]
    pub(super) fn scout_ahead(&mut self, arena: &Arena) -> Option<ItemId> {
        let scouted = self.state.scout?;
        self.state.scout = arena.header(scouted).prev();
        if let Some(id) = self.state.scout {
            arena.prefetch(id);
        }
        Some(scouted)
    }

    /// Moves an item to the head of a queue, another or its own.
    pub(super) fn requeue(&mut self, arena: &Arena, id: ItemId, segment: Segment) {
        self.dequeue(arena, id);
        arena.header(id).set_segment(segment);
        self.enqueue(arena, id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::arena::PageId;
    use super::super::pages::{Class, Pool};
    use super::super::sizes::ClassId;
    use super::*;

    #[test]
    fn queues_keep_their_order() {
        let arena = Arena::new(1, 1 << 20, true).expect("2 MiB can be mapped");
        let pool = Pool::new(1, 0, 1);
        let class = Class::new(ClassId(1), 96, 10);
        let mut guard = class.lock();
        let ids: Vec<_> = (0..4)
            .map(|_| {
                let chunk = guard.take(&arena, &pool).expect("a page has room for ten");
                arena.header(chunk.id()).mark_linked(arena.shape(1, 1, 0), Segment::Hot, 0);
                guard.enqueue(&arena, chunk.id());
                chunk.id()
            })
            .collect();
        assert_eq!(arena.page_of(ids[0]), PageId(0));
        let order = |guard: &mut ClassGuard<'_>, segment| guard.queue(segment).tail_first(&arena).collect::<Vec<_>>();
        assert_eq!(order(&mut guard, Segment::Hot), ids);
        guard.requeue(&arena, ids[1], Segment::Hot);
        assert_eq!(order(&mut guard, Segment::Hot), [ids[0], ids[2], ids[3], ids[1]]);
        guard.requeue(&arena, ids[0], Segment::Cold);
        guard.dequeue(&arena, ids[1]);
        assert_eq!(order(&mut guard, Segment::Hot), [ids[2], ids[3]]);
        assert_eq!(order(&mut guard, Segment::Cold), [ids[0]]);
        assert_eq!(guard.item_count(), 3);
    }
}
