//! What is in a chunk.
//!
//! ```text
//!  0       4       8       12      16      20      24              32
//!  +-------+-------+-------+-------+-------+-------+---------------+---------+---------- ...   ---+-------+
//!  | next  | prev  | dead- | flags | value | key   | cas           | key ... | value ...          | pins  |
//!  |       |       | line  |       | len,  | len,  |               |         |                    |       |
//!  |       |       |       |       | segm. | access|               |         |                    |       |
//!  +-------+-------+-------+-------+-------+-------+---------------+---------+---------- ...   ---+-------+
//!  `-------- Header, 24 bytes, all atomics --------´  not with -C                           only with values
//!                                                                                           >= PIN_VALUE_MIN,
//!                                                                                           at the chunk's end
//! ```
//!
//! A **large** item, too long for any chunk, has a head like this whose value bytes are the ids of its pieces, four bytes each. A piece
//! is a chunk with a header, in which `next` names the head, and data:
//!
//! ```text
//!   head:  | header | cas | key ... | id | id | ... | id | ... | pins |
//!                                     |              └──► piece (of a class that fits): | header | data ... |
//!                                     └──► piece (largest class): | header | data ...                       |
//! ```
//!
//! No class (the page knows), no link to the next item of the bucket (the index is not chained through items), no NUL and
//! no CRLF. `next` and `prev` are [`ItemId`]s: of the queue while the item is linked, of the free list while the chunk is
//! free. A key length of zero says that the chunk is no linked item.
//!
//! Every header field is an atomic and any bits are a valid header, so lists and tables are safe code. Unsafe is
//! what turns an id into bytes, and it rests on these invariants:
//!
//! - *No id outlives what vouches for it*: a bucket's guard (for what its slots name), a class's guard (for what its queues
//!   and free list name), a pin, or being the owner of an unlinked [`Chunk`].
//! - *A chunk's bytes are written only through its [`Chunk`]*, which is unlinked and so unreachable, *or in place under its
//!   bucket's guard* while the value is shorter than `PIN_VALUE_MIN`, so that nobody can have it pinned.
//! - *The key of a linked item never changes.*
//! - *A page changes class only when every chunk in it is free.* A pinned or reserved chunk is not.

use super::arena::{Arena, ItemId};
use super::pages::ClassGuard;
use super::relocate::Guards;
use super::sizes::{ClassId, ItemShape};
use super::table::BucketGuard;
use crate::limits::KEY_LEN_MAX;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};

/// The fixed part of an item. Next to each field: what protects it while the item is linked.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Header {
    /// Towards the tail of the queue. Class lock.
    next: AtomicU32,
    /// Towards the head of the queue. Class lock.
    prev: AtomicU32,
    /// `Deadline`. Bucket lock.
    deadline: AtomicU32,
    /// The client's. Bucket lock.
    flags: AtomicU32,
    /// Value length (30 bits, bucket lock) and segment (2 bits, class lock): changed by read-modify-write.
    value_segment: AtomicU32,
    /// Key length (8 bits; zero: not linked) and time of last access (24 bits). Bucket lock; linking and unlinking hold the
    /// class lock as well, so under either one can see whether the item is linked.
    key_access: AtomicU32,
}

const _: () = assert!(size_of::<Header>() == 24);
const _: () = assert!(KEY_LEN_MAX < 1 << 8);

/// The queue an item is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Hot,
    Warm,
    Cold,
    /// For short lifetimes.
    Temp,
}

impl Segment {
    pub(super) const ALL: [Self; 4] = [Self::Hot, Self::Warm, Self::Cold, Self::Temp];
}

const SEGMENT_BITS: u32 = 2;
const ACCESS_BITS: u32 = 24;
const ACCESS_MASK: u32 = (1 << ACCESS_BITS) - 1;

/// `key_access` of a free chunk: no key, and not zero either, which is how an owned chunk says it.
const FREE: u32 = 1;

/// `key_access` of a piece of a large item.
const PIECE: u32 = 2;

/// Bytes before the data of a piece.
pub(super) const PIECE_HEADER_LEN: usize = size_of::<Header>();

/// Bytes of a piece's id in the head.
const PIECE_ID_LEN: usize = size_of::<u32>();

impl Header {
    #[inline]
    pub(super) fn next(&self) -> Option<ItemId> {
        ItemId::from_bits(self.next.load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn prev(&self) -> Option<ItemId> {
        ItemId::from_bits(self.prev.load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn set_next(&self, id: Option<ItemId>) {
        self.next.store(id.map_or(0, ItemId::bits), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn set_prev(&self, id: Option<ItemId>) {
        self.prev.store(id.map_or(0, ItemId::bits), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn deadline(&self) -> u32 {
        self.deadline.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn set_deadline(&self, deadline: u32) {
        self.deadline.store(deadline, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn value_len(&self) -> usize {
        (self.value_segment.load(Ordering::Relaxed) >> SEGMENT_BITS) as usize
    }

    #[inline]
    pub(super) fn segment(&self) -> Segment {
        Segment::ALL[(self.value_segment.load(Ordering::Relaxed) & 3) as usize]
    }

    /// Sets the length of a linked item's value, and leaves the segment, which another lock protects.
    #[inline]
    pub(super) fn set_value_len(&self, len: usize) {
        let now = self.value_len_bits();
        let then = u32::try_from(len).expect("values are shorter than 2^30") << SEGMENT_BITS;
        // Adding the difference changes the length's bits only, whatever the segment is meanwhile.
        self.value_segment.fetch_add(then.wrapping_sub(now), Ordering::Relaxed);
    }

    /// Moves a linked item to another segment, and leaves the length.
    #[inline]
    pub(super) fn set_segment(&self, segment: Segment) {
        let change = (segment as u32) ^ (self.segment() as u32);
        self.value_segment.fetch_xor(change, Ordering::Relaxed);
    }

    fn value_len_bits(&self) -> u32 {
        self.value_segment.load(Ordering::Relaxed) >> SEGMENT_BITS << SEGMENT_BITS
    }

    /// Zero for a chunk that is no linked item.
    #[inline]
    pub(super) fn key_len(&self) -> usize {
        (self.key_access.load(Ordering::Relaxed) >> ACCESS_BITS) as usize
    }

    #[inline]
    pub(super) fn is_linked(&self) -> bool {
        self.key_access.load(Ordering::Acquire) >> ACCESS_BITS != 0
    }

    /// Stamp of last access, in seconds, 24 bits.
    #[inline]
    pub(super) fn access(&self) -> u32 {
        self.key_access.load(Ordering::Relaxed) & ((1 << ACCESS_BITS) - 1)
    }

    #[inline]
    pub(super) fn set_access(&self, stamp: u32) {
        // Release: it takes the place of what `mark_linked` released, for whoever acquires it in `is_linked`.
        let key_len = self.key_access.load(Ordering::Relaxed) >> ACCESS_BITS << ACCESS_BITS;
        self.key_access.store(key_len | stamp & ((1 << ACCESS_BITS) - 1), Ordering::Release);
    }

    /// Gives the item another stamp unless it gets one just now. Neither its bucket nor its class need be locked: the key's length
    /// stays, and an item that is unlinked meanwhile has another word here.
    pub(super) fn replace_access(&self, seen: u32, stamp: u32) {
        let word = self.key_access.load(Ordering::Relaxed);
        if word >> ACCESS_BITS != 0 && word & ACCESS_MASK == seen {
            let changed = word & !ACCESS_MASK | stamp & ACCESS_MASK;
            // Relaxed: whoever acquires what `mark_linked` released acquires it by this change as well.
            let _ = self.key_access.compare_exchange(word, changed, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Makes the item linked (its key's length, its lengths of value and its segment known), as its queue and bucket see it.
    pub(super) fn mark_linked(&self, shape: ItemShape, segment: Segment, stamp: u32) {
        let value_len = u32::try_from(shape.value_len).expect("values are shorter than 2^30");
        self.value_segment.store(value_len << SEGMENT_BITS | segment as u32, Ordering::Relaxed);
        let key_len = u32::try_from(shape.key_len).expect("keys are shorter than 256");
        let access = stamp & ((1 << ACCESS_BITS) - 1);
        // Release: pairs with the acquire in `is_linked`. Who sees that it is linked without holding its queue's lock (which for a
        // large item is not the lock of its chunk's class) sees its lengths as well.
        self.key_access.store(key_len << ACCESS_BITS | access, Ordering::Release);
    }

    /// The chunk is no linked item from here on, and has an owner.
    #[inline]
    pub(super) fn mark_unlinked(&self) {
        self.key_access.store(0, Ordering::Relaxed);
    }

    /// The chunk is in its class's free list.
    #[inline]
    pub(super) fn mark_free(&self) {
        self.key_access.store(FREE, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn is_free(&self) -> bool {
        self.key_access.load(Ordering::Relaxed) == FREE
    }

    /// The chunk is a piece of the large item whose head is `head`.
    pub(super) fn mark_piece(&self, head: ItemId) {
        self.set_next(Some(head));
        self.set_prev(None);
        // Release: pairs with the acquire in `head_of_piece`. Who joins pieces holds no lock of their class; who sees there that a chunk is a
        // piece must not take the free list's link, which `next` was before, for its head.
        self.key_access.store(PIECE, Ordering::Release);
    }

    /// The head of the large item this chunk is a piece of, if it is one.
    pub(super) fn head_of_piece(&self) -> Option<ItemId> {
        // Acquire: see `mark_piece`.
        (self.key_access.load(Ordering::Acquire) == PIECE).then(|| self.next()).flatten()
    }
}

/// A chunk that only its owner knows: not linked, not free. Whoever has it gives it back or links it; it must not be dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Chunk {
    id: ItemId,
    class: ClassId,
}

impl Chunk {
    /// The owner's word that nobody else knows the chunk, which no type can show. Who gives it: `pages.rs`, which has just taken the chunk
    /// from the free list or a fresh page under the class's lock; whoever has unlinked an item from its bucket and its queue, and been
    /// told by [`Arena::orphan`] that it is not pinned (`mod.rs`, `evict.rs`); the last [`Arena::unpin`] of such a one (`mod.rs`); the owner
    /// of a large item's head for its pieces (`large.rs`); and who has moved an item that nobody has pinned out of it, with the bucket and
    /// the class locked (`relocate.rs`).
    #[inline]
    pub(super) fn owned(id: ItemId, class: ClassId) -> Self {
        Self { id, class }
    }

    #[inline]
    pub(super) fn id(&self) -> ItemId {
        self.id
    }

    #[inline]
    pub(super) fn class(&self) -> ClassId {
        self.class
    }
}

/// A lock held under which an item stays what it is: its bucket's, or that of the class in whose queue it is.
///
/// # Safety
/// While a value of the type is there, a lock of that kind is held. (Unsafe so that it can be implemented in this file only.)
pub(super) unsafe trait Vouches {}

// SAFETY: made by taking the bucket's lock, let go when it is dropped.
unsafe impl Vouches for BucketGuard<'_> {}

// SAFETY: made by taking the class's lock, let go when it is dropped.
unsafe impl Vouches for ClassGuard<'_> {}

// SAFETY: borrows one or two guards of classes.
unsafe impl Vouches for Guards<'_, '_, '_> {}

/// An item that a guard vouches for: found in a slot of its bucket, or in a queue of its class, for as long as that
/// guard is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linked<'g> {
    id: ItemId,
    guard: PhantomData<&'g ()>,
}

impl<'g> Linked<'g> {
    /// The guard's word: it was held when `id` was read from what it protects. That it is a guard, and held, its type shows; that
    /// it is the one of this item is the caller's to know.
    #[inline]
    pub(super) fn vouched(id: ItemId, _guard: &'g impl Vouches) -> Self {
        Self { id, guard: PhantomData }
    }

    #[inline]
    pub(super) fn id(self) -> ItemId {
        self.id
    }
}

/// Pins of a value: the count, and whether the item has been unlinked meanwhile.
const PIN_ORPHAN: u64 = 1 << 63;
const PIN_LEN: usize = 8;

/// Bytes that a large item's head needs behind its key, for `count` pieces and its pins.
pub(super) fn piece_ids_len(count: usize) -> usize {
    count * PIECE_ID_LEN + PIN_LEN
}

impl Arena {
    /// How long an item is, and so which chunk it takes.
    #[inline]
    pub(super) fn shape(&self, key_len: usize, value_len: usize, flags: u32) -> ItemShape {
        let pin_len = if value_len >= self.pin_value_min() { PIN_LEN } else { 0 };
        let item_len = self.header_len() + key_len + value_len + pin_len;
        ItemShape { key_len, value_len, item_len, has_flags: flags != 0 }
    }

    /// The shape of a linked item.
    #[inline]
    pub(super) fn shape_of(&self, item: Linked<'_>) -> ItemShape {
        let header = self.header(item.id);
        self.shape(header.key_len(), header.value_len(), header.flags())
    }

    /// The item's CAS number, 0 with `-C`. Bucket lock.
    #[inline]
    pub(super) fn cas(&self, id: ItemId) -> u64 {
        if self.has_cas() { self.word(id, size_of::<Header>()).load(Ordering::Relaxed) } else { 0 }
    }

    #[inline]
    pub(super) fn set_cas(&self, id: ItemId, cas: u64) {
        if self.has_cas() {
            self.word(id, size_of::<Header>()).store(cas, Ordering::Relaxed);
        }
    }

    /// An item's key.
    #[inline]
    pub(super) fn key<'g>(&'g self, item: Linked<'g>) -> &'g [u8] {
        let len = self.header(item.id).key_len();
        let place = self.place(item.id, self.header_len(), len);
        // SAFETY: inside the arena by `place`; a guard vouches that the item is linked, and the key of a linked item never
        // changes, so nobody writes these bytes while the guard is held.
        unsafe { std::slice::from_raw_parts(place.as_ptr(), len) }
    }

    /// An item's value. The guard behind `item` must be the bucket's: a class's does not keep values from changing.
    #[inline]
    pub(super) fn value<'g>(&'g self, item: Linked<'g>) -> &'g [u8] {
        let header = self.header(item.id);
        let len = header.value_len();
        let place = self.place(item.id, self.header_len() + header.key_len(), len);
        // SAFETY: inside the arena by `place`; values of linked items change only under the bucket's guard, by
        // `overwrite`, which is given it exclusively while this slice borrows it.
        unsafe { std::slice::from_raw_parts(place.as_ptr(), len) }
    }

    /// Writes `bytes` over a linked item's value from `offset` on, in place. The caller holds the bucket (`_guard`) and has
    /// made sure that the chunk has room; the value is one nobody can have pinned.
    #[inline(always)]
    pub(super) fn overwrite(
        &self,
        _guard: &mut BucketGuard<'_>,
        id: ItemId,
        chunk_len: usize,
        offset: usize,
        bytes: &[u8],
    ) {
        let start = self.header_len() + self.header(id).key_len() + offset;
        assert!(start + bytes.len() <= chunk_len, "an in-place write stays in its chunk");
        debug_assert!(offset + bytes.len() < self.pin_value_min());
        let place = self.place(id, start, bytes.len());
        // SAFETY: inside the chunk by the assertion and inside the arena by `place`; the bucket's guard is held exclusively,
        // so no slice of the value is alive, and values this short are never pinned. `bytes` does not overlap: it is a client's,
        // or lies in another chunk that its owner lends or a pin keeps.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.as_ptr(), bytes.len()) };
    }

    /// The key and value bytes of an unlinked chunk, from the key's first byte to the chunk's end.
    #[inline]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the bytes are lent exclusively with their chunk")]
    pub(super) fn body<'c>(&'c self, chunk: &'c mut Chunk, chunk_len: usize) -> &'c mut [u8] {
        let len = chunk_len - self.header_len();
        let place = self.place(chunk.id, self.header_len(), len);
        // SAFETY: inside the arena by `place`, and inside the chunk since `chunk_len` is its class's; the owner of a
        // `Chunk` is alone in knowing it, and gives it exclusively for as long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(place.as_ptr(), len) }
    }

    /// The data bytes of an unlinked chunk that is to be a piece.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the bytes are lent exclusively with their chunk")]
    pub(super) fn piece_body<'c>(&'c self, piece: &'c mut Chunk, chunk_len: usize) -> &'c mut [u8] {
        let len = chunk_len - PIECE_HEADER_LEN;
        let place = self.place(piece.id, PIECE_HEADER_LEN, len);
        // SAFETY: as for `body`: inside the arena and the chunk, and the chunk is lent exclusively.
        unsafe { std::slice::from_raw_parts_mut(place.as_ptr(), len) }
    }

    /// The id of a piece `offset` bytes into an item's head.
    pub(super) fn piece_id_at(&self, head: ItemId, offset: usize) -> ItemId {
        let place = self.place(head, offset, PIECE_ID_LEN);
        // SAFETY: inside the arena by `place`; the ids of a large item's pieces are written before it is linked, or by
        // `set_piece_id_at` while nobody may read them, and what vouches for the head keeps the chunk from being freed. Any bits
        // are an id, which the arena checks.
        let bits = unsafe { place.cast::<u32>().read_unaligned() };
        ItemId::from_bits(bits).expect("a large item names its pieces")
    }

    /// The ids of a large item's pieces, as they lie in its head.
    pub(super) fn piece_ids<'g>(&'g self, head: Linked<'g>, count: usize) -> &'g [u8] {
        let place = self.place(head.id, self.header_len() + self.header(head.id).key_len(), count * PIECE_ID_LEN);
        // SAFETY: inside the arena by `place`; a guard vouches for the head, and its ids change only under its bucket's guard
        // together with its queue's, by `set_piece_id_at`, which is given the former exclusively.
        unsafe { std::slice::from_raw_parts(place.as_ptr(), count * PIECE_ID_LEN) }
    }

    /// Names another piece in the head of a linked item whose value nobody has pinned. The caller holds its bucket, exclusively
    /// (`_guard`), and the class in whose queue it is: between them everybody who reads such a name holds one or has a pin.
    pub(super) fn set_piece_id_at(&self, _guard: &mut BucketGuard<'_>, head: ItemId, offset: usize, piece: ItemId) {
        let place = self.place(head, offset, PIECE_ID_LEN);
        // SAFETY: inside the arena by `place`; nobody reads these bytes meanwhile, by this function's contract.
        unsafe { place.cast::<u32>().write_unaligned(piece.bits()) };
    }

    /// The data of a linked item's piece. `_guard` is its bucket's: pieces of linked items are never written to, and not freed
    /// while that is held.
    pub(super) fn piece_data<'g>(&'g self, piece: ItemId, len: usize, _guard: &'g BucketGuard<'_>) -> &'g [u8] {
        let place = self.place(piece, PIECE_HEADER_LEN, len);
        // SAFETY: inside the arena by `place`; nobody writes these bytes while the guard is held, by this function's contract.
        unsafe { std::slice::from_raw_parts(place.as_ptr(), len) }
    }

    /// The bytes of a pinned value: `offset` bytes into the chunk. The pin keeps them from being freed or changed.
    #[inline]
    pub(super) fn pinned<'p>(&'p self, id: ItemId, offset: usize, len: usize, _pin: &'p PinToken) -> &'p [u8] {
        let place = self.place(id, offset, len);
        // SAFETY: inside the arena by `place`; while the pin is held the chunk is not freed, and a value long enough to be
        // pinned is never written in place.
        unsafe { std::slice::from_raw_parts(place.as_ptr(), len) }
    }

    fn pin_word(&self, id: ItemId, chunk_len: usize) -> &std::sync::atomic::AtomicU64 {
        self.word(id, chunk_len - PIN_LEN)
    }

    /// No pins: for a chunk about to be linked with a value of this length.
    #[inline]
    pub(super) fn clear_pins(&self, id: ItemId, chunk_len: usize, value_len: usize) {
        if value_len >= self.pin_value_min() {
            self.pin_word(id, chunk_len).store(0, Ordering::Relaxed);
        }
    }

    /// Pins a linked item's value. Under the bucket's guard.
    pub(super) fn pin(&self, item: Linked<'_>, chunk_len: usize) -> PinToken {
        debug_assert!(self.header(item.id).value_len() >= self.pin_value_min());
        // Relaxed: the bucket's lock orders this before any `orphan`.
        self.pin_word(item.id, chunk_len).fetch_add(1, Ordering::Relaxed);
        PinToken(())
    }

    /// The item has been unlinked. Whether nobody has it pinned: then the chunk is the caller's, otherwise the last
    /// `unpin`'s.
    pub(super) fn orphan(&self, id: ItemId, chunk_len: usize, value_len: usize) -> bool {
        // Acquire: pairs with the release in `unpin`, so that the last reader is done with the bytes.
        value_len < self.pin_value_min() || self.pin_word(id, chunk_len).fetch_or(PIN_ORPHAN, Ordering::AcqRel) == 0
    }

    /// Whether a reader has the value pinned. While the bucket is held there is none to come, and who moves the item then takes
    /// none for leave to use its chunk again.
    pub(super) fn is_pinned(&self, id: ItemId, chunk_len: usize, value_len: usize) -> bool {
        // Acquire: as in `orphan`, it pairs with the release in `unpin`, so that the last reader is done with the bytes.
        value_len >= self.pin_value_min() && self.pin_word(id, chunk_len).load(Ordering::Acquire) & !PIN_ORPHAN != 0
    }

    /// Takes a pin back. Whether it was the last one of an unlinked item: then the chunk is the caller's.
    pub(super) fn unpin(&self, id: ItemId, chunk_len: usize, _pin: PinToken) -> bool {
        // AcqRel: the bytes were read before this, and if the caller frees the chunk, everybody else's reads were too.
        self.pin_word(id, chunk_len).fetch_sub(1, Ordering::AcqRel) == PIN_ORPHAN | 1
    }
}

/// Proof of one pin; given back with [`Arena::unpin`].
#[derive(Debug)]
pub(super) struct PinToken(());

#[cfg(test)]
mod tests {
    use super::super::arena::PageId;
    use super::super::hash::Hasher;
    use super::super::table::Table;
    use super::*;
    use crate::limits::PIN_VALUE_MIN;

    fn arena() -> Arena {
        Arena::new(2, 1 << 20, true).expect("3 MiB can be mapped")
    }

    #[test]
    fn length_and_segment_do_not_disturb_each_other() {
        let arena = arena();
        let header = arena.header(arena.chunk_id(PageId(1), 0, 96));
        header.mark_linked(arena.shape(250, 70_000, 0), Segment::Warm, 0x12_3456);
        assert_eq!((header.key_len(), header.value_len(), header.access()), (250, 70_000, 0x12_3456));
        for segment in Segment::ALL {
            header.set_segment(segment);
            header.set_value_len(3);
            assert_eq!((header.segment(), header.value_len()), (segment, 3));
            header.set_value_len((1 << 30) - 1);
            assert_eq!((header.segment(), header.value_len()), (segment, (1 << 30) - 1));
        }
        header.set_access(7);
        assert_eq!((header.key_len(), header.access()), (250, 7));
        header.mark_unlinked();
        assert!(!header.is_linked());
    }

    #[test]
    fn a_chunks_body_becomes_key_and_value() {
        let arena = arena();
        let mut chunk = Chunk::owned(arena.chunk_id(PageId(1), 3, 96), ClassId(1));
        arena.body(&mut chunk, 96)[..6].copy_from_slice(b"foobar");
        arena.header(chunk.id()).mark_linked(arena.shape(2, 4, 0), Segment::Hot, 0);
        let table = Table::new(1).expect("a small table can be mapped");
        let mut guard = table.lock(Hasher::new(Some(1)).hash(b"fo"));
        let item = Linked::vouched(chunk.id(), &guard);
        assert_eq!((arena.key(item), arena.value(item)), (&b"fo"[..], &b"obar"[..]));
        arena.overwrite(&mut guard, chunk.id(), 96, 1, b"XY");
        assert_eq!(arena.value(Linked::vouched(chunk.id(), &guard)), b"oXYr");
    }

    #[test]
    fn the_last_unpin_of_an_orphan_frees() {
        let arena = arena();
        let id = arena.chunk_id(PageId(1), 0, 32 << 10);
        let (chunk_len, value_len) = (32 << 10, PIN_VALUE_MIN);
        arena.header(id).mark_linked(arena.shape(1, value_len, 0), Segment::Hot, 0);
        arena.clear_pins(id, chunk_len, value_len);
        let table = Table::new(1).expect("a small table can be mapped");
        let guard = table.lock(Hasher::new(Some(1)).hash(b"k"));
        let item = Linked::vouched(id, &guard);
        let (a, b) = (arena.pin(item, chunk_len), arena.pin(item, chunk_len));
        assert!(!arena.unpin(id, chunk_len, a));
        assert!(arena.is_pinned(id, chunk_len, value_len));
        assert!(!arena.orphan(id, chunk_len, value_len));
        assert!(arena.unpin(id, chunk_len, b));
        arena.clear_pins(id, chunk_len, value_len);
        assert!(arena.orphan(id, chunk_len, value_len));
    }
}
