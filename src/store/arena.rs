//! One region of memory for all items, and the names of places in it.
//!
//! ```text
//!  byte 0          page length     twice that               memory
//!  +---------------+---------------+---------------+-- ... --+
//!  | page 0        | page 1        | page 2        |         |
//!  +---------------+---------------+---------------+-- ... --+
//!                  | chunk | chunk | chunk | ..rest|
//!                    ^ ItemId = byte offset / unit + 1
//! ```
//!
//! An [`ItemId`] is an offset, never an address: half the size of a pointer, checked against the region on every use,
//! and as good in another process that maps the same memory elsewhere. The unit is 8 bytes for up to 32 GiB and doubles with the
//! memory. The one is added so that no chunk has the id zero.
//!
//! Not here: who owns a chunk (`pages.rs`) and what is in it (`item.rs`).

use super::item::Header;
use super::sizes::ClassId;
use super::table::Bucket;
use crate::limits::{PIN_VALUE_MIN, REPLY_HEAD_LEN_MAX};
use crate::sys::memory::{Backing, Region, Zeroed, ZeroedArray, prefetch};
use std::io;
use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// The name of a chunk: its offset in the arena, in units, plus one. `Option<ItemId>` is four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ItemId(NonZeroU32);

impl ItemId {
    /// As it is stored in links and slots.
    #[inline]
    pub(super) fn bits(self) -> u32 {
        self.0.get()
    }

    /// From a link or slot: none for zero. Whatever it says, the arena checks it.
    #[inline]
    pub(super) fn from_bits(bits: u32) -> Option<Self> {
        NonZeroU32::new(bits).map(Self)
    }
}

/// A page's place in the arena, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PageId(pub(super) u32);

/// What one step of an [`ItemId`] is: a power of two, 8 at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    shift: u32,
}

impl Unit {
    /// The smallest unit with which 32 bits reach over this much memory.
    pub(super) fn for_memory(memory_len: u64) -> Self {
        let mut shift = 3;
        while memory_len >> shift >= u64::from(u32::MAX) {
            shift += 1;
        }
        Self { shift }
    }

    /// In bytes.
    pub(super) fn len(self) -> usize {
        1 << self.shift
    }
}

/// What is known of a page. The class's lock protects all of it while the page belongs to a class, the pool's otherwise;
/// `class` is also read under a bucket's lock, which is enough while an item of the page is linked there.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// The class, 0 for none.
    class: AtomicU8,
    /// Chunks cut from the page so far, from its beginning; the rest has never been a chunk of this class.
    pub(super) carved: AtomicU32,
    /// Chunks that are not in the class's free list: linked, reserved or pinned. <= carved.
    pub(super) used: AtomicU32,
    /// The page is being emptied: none of its chunks is in the free list, and none may go there.
    pub(super) draining: AtomicBool,
    /// No item in the page has a deadline before this tick; `NOTHING_DUE` for none. May be earlier than any. Anybody may lower it.
    pub(super) earliest: AtomicU32,
    /// The stamp, and the last flush's, as the last sweep began that has come from the page's first chunk to its last and missed nothing.
    pub(super) swept: AtomicU32,
    pub(super) swept_flush: AtomicU32,
    /// Sweeps of the page begun so far, times two. Odd until the last one begun comes to the page's end: `earliest` then knows nothing
    /// of the chunks it has not come to.
    pub(super) sweep: AtomicU32,
}

impl Page {
    #[inline]
    pub(super) fn class(&self) -> Option<ClassId> {
        let class = self.class.load(Ordering::Relaxed);
        (class != 0).then_some(ClassId(class))
    }

    pub(super) fn set_class(&self, class: Option<ClassId>) {
        self.class.store(class.map_or(0, |class| class.0), Ordering::Relaxed);
    }
}

/// The region, its unit and its pages.
#[derive(Debug)]
pub(super) struct Arena {
    region: Region,
    unit: Unit,
    /// Bytes before the key: with or without the CAS number.
    header_len: usize,
    /// Values at least this long are pinned: `PIN_VALUE_MIN`, or less where shorter ones are in pieces.
    pin_value_min: usize,
    /// log2 of the length of a page.
    page_shift: u32,
    /// As many as the region has room for.
    pages: ZeroedArray<Page>,
    /// Pages that have ever been a class's are all below this one. The pool's lock writes it.
    seen: AtomicU32,
}

// SAFETY: a bucket is made of atomic integers only (zero is a value, no drop) and aligned to 64.
unsafe impl Zeroed for Bucket {}

// SAFETY: a page's entry is made of atomics only, all of which may be zero, has no drop and is aligned to 4.
unsafe impl Zeroed for Page {}

const _: () = assert!(align_of::<Header>() <= 8);

impl Arena {
    /// Reserves room for `page_count` pages of `page_len` bytes, a power of two: as many as there will ever be.
    pub(super) fn new(page_count: u32, page_len: usize, with_cas: bool) -> io::Result<Self> {
        assert!(page_len.is_power_of_two(), "pages are powers of two");
        Ok(Self {
            region: Region::reserve(page_count as usize * page_len, Backing::Huge)?,
            unit: Unit::for_memory(u64::from(page_count) * page_len as u64),
            pin_value_min: PIN_VALUE_MIN,
            page_shift: page_len.trailing_zeros(),
            header_len: if with_cas { size_of::<Header>() + 8 } else { size_of::<Header>() },
            pages: ZeroedArray::reserve(page_count as usize, Backing::Small)?,
            seen: AtomicU32::new(0),
        })
    }

    /// The same where chunks are no longer than this: values that may be too long for any are not copied but pinned.
    pub(super) fn with_chunks_up_to(mut self, chunk_len: usize) -> Self {
        self.pin_value_min = self.pin_value_min.min(chunk_len.saturating_sub(REPLY_HEAD_LEN_MAX));
        self
    }

    #[inline]
    pub(super) fn pin_value_min(&self) -> usize {
        self.pin_value_min
    }

    /// Bytes before an item's key.
    #[inline]
    pub(super) fn header_len(&self) -> usize {
        self.header_len
    }

    pub(super) fn has_cas(&self) -> bool {
        self.header_len > size_of::<Header>()
    }

    /// Pages that ever were a class's are below this one; those behind have never been touched.
    pub(super) fn page_count(&self) -> u32 {
        // Relaxed: who finds a page of a class does so under that class's lock, which comes after this was written.
        self.seen.load(Ordering::Relaxed)
    }

    /// The first `count` pages may be a class's from here on.
    pub(super) fn note_pages(&self, count: u32) {
        self.seen.fetch_max(count, Ordering::Relaxed);
    }

    /// Bytes in a page.
    pub(super) fn page_len(&self) -> usize {
        1 << self.page_shift
    }

    /// Gives the memory of a page that no class has back to the system; it reads as zeros when it is touched again.
    pub(super) fn let_go(&self, page: PageId) {
        debug_assert!(self.page(page).class().is_none());
        // One that is kept is as good.
        let _ = self.region.let_go((page.0 as usize) << self.page_shift, self.page_len());
    }

    /// Has huge pages put together in the background, or not: what has been given back would come back with them.
    pub(super) fn allow_huge(&self, allowed: bool) {
        self.region.allow_huge(allowed);
    }

    /// Makes the first `count` pages resident.
    pub(super) fn populate(&self, count: u32) {
        self.region.populate((count as usize) << self.page_shift);
    }

    #[inline]
    pub(super) fn page(&self, page: PageId) -> &Page {
        &self.pages[page.0 as usize]
    }

    pub(super) fn pages(&self) -> impl Iterator<Item = (PageId, &Page)> {
        (0..).zip(&self.pages[..self.page_count() as usize]).map(|(id, page)| (PageId(id), page))
    }

    /// The page a chunk lies in.
    #[inline]
    pub(super) fn page_of(&self, id: ItemId) -> PageId {
        PageId(u32::try_from(self.offset(id) >> self.page_shift).expect("there are fewer than 2^32 pages"))
    }

    /// The name of the `index`th chunk of a page cut into chunks of `chunk_len`.
    pub(super) fn chunk_id(&self, page: PageId, index: u32, chunk_len: usize) -> ItemId {
        let offset = ((page.0 as usize) << self.page_shift) + index as usize * chunk_len;
        debug_assert!(index as usize * chunk_len + chunk_len <= 1 << self.page_shift);
        let id = u32::try_from((offset >> self.unit.shift) + 1).expect("the unit was chosen so that ids are 32 bits");
        ItemId::from_bits(id).expect("one was added")
    }

    #[inline]
    fn offset(&self, id: ItemId) -> usize {
        (id.bits() as usize - 1) << self.unit.shift
    }

    /// The header of a chunk. Any bits are a header, so a stale id misleads and no more.
    #[inline]
    pub(super) fn header(&self, id: ItemId) -> &Header {
        let place = self.place(id, 0, size_of::<Header>());
        // SAFETY: `place` is inside the region for a header's length and aligned to the unit, so to 8; a header is made of
        // atomics, valid for any bits, and only ever accessed as such: key and value bytes lie behind it.
        unsafe { place.cast::<Header>().as_ref() }
    }

    /// The word `offset` bytes into a chunk, for what lies outside the header but is shared all the same: the CAS number
    /// and the pin count.
    #[inline]
    pub(super) fn word(&self, id: ItemId, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8), "words are aligned");
        let place = self.place(id, offset, 8);
        // SAFETY: inside the region, aligned to 8 since chunk and offset are; `item.rs` keeps key and value bytes away from
        // the two words there are, so it is only ever accessed as an atomic.
        unsafe { place.cast::<AtomicU64>().as_ref() }
    }

    /// The address `offset` bytes into a chunk, with at least `len` bytes of the region behind it.
    ///
    /// # Panics
    /// When that is outside the region: the id was none of ours.
    #[inline]
    pub(super) fn place(&self, id: ItemId, offset: usize, len: usize) -> NonNull<u8> {
        let start = self.offset(id) + offset;
        assert!(start + len <= self.region.len(), "an item id leads out of the arena");
        // SAFETY: `start` is inside the region by the line above.
        unsafe { self.region.base().add(start) }
    }

    /// Has the first lines of a chunk fetched.
    #[inline]
    pub(super) fn prefetch(&self, id: ItemId) {
        let start = self.region.base().as_ptr().wrapping_add(self.offset(id));
        prefetch(start);
        prefetch(start.wrapping_add(64));
        prefetch(start.wrapping_add(128));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_grow_with_the_memory() {
        for (gib, len) in [(1_u64, 8), (31, 8), (32, 16), (63, 16), (64, 32), (1000, 256)] {
            assert_eq!(Unit::for_memory(gib << 30).len(), len, "{gib} GiB");
        }
    }

    #[test]
    fn ids_and_pages_agree() {
        let arena = Arena::new(3, 1 << 20, true).expect("3 MiB can be mapped");
        for page in 0..3 {
            for index in [0, 1, 5] {
                let id = arena.chunk_id(PageId(page), index, 96);
                assert_eq!(arena.page_of(id), PageId(page));
                assert_eq!(arena.header(id).key_len(), 0);
            }
        }
    }

    #[test]
    #[should_panic(expected = "out of the arena")]
    fn a_made_up_id_is_caught() {
        let arena = Arena::new(1, 1 << 20, true).expect("2 MiB can be mapped");
        let made_up = ItemId::from_bits(u32::MAX).expect("not zero");
        arena.header(made_up);
    }
}
