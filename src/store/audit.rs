//! A walk over everything that proves every invariant: for tests, with nobody else at work.

use super::arena::ItemId;
use super::item::{Linked, Segment};
use super::{Local, Store};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

/// What an audit counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Linked items, dead ones included.
    pub items: u64,
    /// Bytes of items.
    pub bytes: u64,
    /// Ghosts of evicted items.
    pub ghosts: u64,
    /// Pages that a class has.
    pub pages: u32,
    /// Classes that have or have had pages.
    pub classes: u32,
    /// Chunks in no item and no free list: reserved or pinned.
    pub held: u64,
}

impl Store {
    /// Proves the invariants. `locals` are all threads' parts; no thread may use the store meanwhile.
    ///
    /// # Panics
    /// When an invariant does not hold, naming it.
    #[must_use]
    pub fn audit(&self, locals: &[&Local]) -> Census {
        let mut census = Census::default();
        let mut pieces = HashSet::new();
        let linked = self.audit_index(&mut census, &mut pieces);
        let mut queued = 0;
        for class in &self.inner.classes {
            queued += self.audit_class(class, &linked, &pieces, &mut census);
        }
        assert_eq!(queued, linked.len(), "every item of the index is in one queue");
        let given_back: HashSet<_> = self.inner.pool.given_back().into_iter().collect();
        for page in &given_back {
            assert_eq!(self.inner.arena.page(*page).class(), None, "a page of the pool has no class");
        }
        let given_back = u32::try_from(given_back.len()).expect("few");
        assert_eq!(census.pages + given_back, self.inner.arena.page_count(), "every page is a class's or the pool's");
        assert_eq!(census.pages, self.inner.pool.resident().0, "the pool knows how many pages classes have");
        assert_eq!(
            census.classes,
            self.inner.pool.class_count(),
            "the pool knows how many classes have or have had pages"
        );
        let delta: i64 = locals.iter().map(|local| local.item_delta).sum();
        let counted = self.inner.item_count.load(Ordering::Relaxed) + delta;
        assert_eq!(counted, i64::try_from(census.items).expect("few"), "the count of items is right");
        census
    }

    /// Every chain: items where their hash belongs, tags right, keys unique, overflow buckets in use and counted.
    fn audit_index(&self, census: &mut Census, pieces: &mut HashSet<ItemId>) -> HashMap<ItemId, usize> {
        let inner = &*self.inner;
        let mut linked = HashMap::new();
        inner.table.each_chain(|index, guard| {
            let mut keys = HashSet::new();
            for ghost in guard.ghosts() {
                assert_eq!(inner.table.index_of(ghost), index, "a ghost is in the bucket of its hash");
                census.ghosts += 1;
            }
            for slot in guard.slots() {
                let item = Linked::vouched(slot.id(), guard);
                assert!(inner.arena.header(slot.id()).is_linked(), "the index names linked items only");
                let hash = inner.hash_of(item);
                assert_eq!(inner.table.index_of(hash), index, "an item is in the bucket of its hash");
                let found = guard.find(hash.tag(), |id| id == slot.id());
                assert!(found.is_some(), "an item is found by its tag");
                assert!(keys.insert(inner.arena.key(item).to_vec()), "a key is there once");
                let shape = inner.arena.shape_of(item);
                if inner.sizes.is_large(shape) {
                    let count = inner.piece_count(shape.value_len);
                    pieces.extend((0..count).map(|index| self.audit_piece(item, index)));
                } else {
                    assert!(shape.item_len <= inner.class_of(slot.id()).chunk_len, "an item fits its chunk");
                }
                assert!(linked.insert(slot.id(), index).is_none(), "an item is in one slot");
                census.items += 1;
                census.bytes += shape.item_len as u64;
            }
        });
        linked
    }

    /// One piece of a large item: in use, and knowing its head.
    fn audit_piece(&self, head: Linked<'_>, index: usize) -> ItemId {
        let arena = &self.inner.arena;
        let ids_at = arena.header_len() + arena.header(head.id()).key_len();
        let piece = arena.piece_id_at(head.id(), ids_at + index * size_of::<u32>());
        assert_eq!(arena.header(piece).head_of_piece(), Some(head.id()), "a piece knows its head");
        piece
    }

    /// One class: queues well linked and made of items of the index, free list disjoint from them, pages' counts right.
    fn audit_class(
        &self,
        class: &super::Class,
        linked: &HashMap<ItemId, usize>,
        pieces: &HashSet<ItemId>,
        census: &mut Census,
    ) -> usize {
        let arena = &self.inner.arena;
        let mut guard = class.lock();
        let mut queued = HashSet::new();
        for segment in Segment::ALL {
            let queue = *guard.queue(segment);
            let ids: Vec<_> = queue.tail_first(arena).collect();
            assert_eq!(ids.len(), queue.count as usize, "a queue's count is its length");
            assert_eq!(ids.last().copied(), queue.head, "a queue ends at its head");
            for (place, &id) in ids.iter().enumerate() {
                let header = arena.header(id);
                assert_eq!(header.segment(), segment, "an item knows its queue");
                assert_eq!(header.next(), place.checked_sub(1).map(|before| ids[before]), "links go both ways");
                assert!(linked.contains_key(&id), "a queue is made of items of the index");
                assert_eq!(self.inner.queueing_class_of(id).id, class.id, "an item is in its class's queue");
                assert!(queued.insert(id), "an item is in one queue");
            }
        }
        assert!(guard.state.scout.is_none_or(|id| queued.contains(&id)), "a scout is at an item of its class's queues");
        let free = guard.free_ids(arena);
        assert_eq!(free.len(), guard.state.free_count as usize, "the free list's count is its length");
        let free: HashSet<_> = free.into_iter().collect();
        let bytes: usize = queued.iter().map(|&id| arena.shape_of(Linked::vouched(id, &guard)).item_len).sum();
        assert_eq!(guard.bytes(), bytes as u64, "a class knows how many bytes its items have");
        let (mut page_count, mut used_count) = (0, 0);
        for (page_id, page) in arena.pages().filter(|(_, page)| page.class() == Some(class.id)) {
            page_count += 1;
            let carved = page.carved.load(Ordering::Relaxed);
            let mut used = 0;
            for index in 0..carved {
                let id = arena.chunk_id(page_id, index, class.chunk_len);
                let header = arena.header(id);
                assert_eq!(header.is_linked(), linked.contains_key(&id), "a chunk says whether it is an item");
                let draining = page.draining.load(Ordering::Relaxed);
                assert!(!draining || !free.contains(&id), "nothing of a draining page is in the free list");
                assert!(draining || header.is_free() == free.contains(&id), "a chunk says whether it is free");
                assert!(header.head_of_piece().is_some() || !pieces.contains(&id), "a large item's piece says so");
                used += u32::from(header.is_linked() || pieces.contains(&id));
            }
            let counted = page.used.load(Ordering::Relaxed);
            assert!(used <= counted && counted <= carved, "a page knows how many of its chunks are used");
            census.held += u64::from(counted - used);
            used_count += counted;
        }
        assert_eq!(page_count, guard.state.page_count, "a class knows its pages");
        assert_eq!(used_count, guard.state.used_count, "a class knows how many of its chunks are used");
        census.pages += page_count;
        assert!(guard.state.had_page || page_count == 0, "a class knows whether it has had a page");
        census.classes += u32::from(guard.state.had_page);
        queued.len()
    }
}
