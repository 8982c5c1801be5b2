//! Which chunk sizes there are, and which one an item takes. Pure.
//!
//! Two tables: slabd's own, fine enough that an item wastes 3 % of its chunk on average, and memcached's, by its own
//! rule, for operators who gave `-f` or `-n` and know the classes by number. Pages are short where memory is, or there would be fewer of
//! them than classes: memcached's table then ends with the longest chunks of which a page has two.
//!
//! Items longer than the largest chunk are *large*: they are cut into pieces of that length, the last one of a class that fits
//! it, and count in the queue of the largest class (memcached's `slab_chunk_max`).

use super::arena::Unit;
use crate::limits::{LARGEST_CHUNK_LEN_MIN, LARGEST_CHUNKS_PER_PAGE, PAGE_LEN_MAX, PAGE_LEN_MIN, PAGES_WANTED};
use crate::settings::ClassSizes;

/// A class of chunks of one size. Numbered from 1; 0 is the pool of free pages, as in memcached's commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClassId(pub(super) u8);

impl ClassId {
    /// The class's place in arrays that begin with class 1.
    #[inline]
    pub(super) fn index(self) -> usize {
        usize::from(self.0) - 1
    }

    /// Its number, as in `stats slabs`.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

/// What decides an item's class.
#[derive(Clone, Copy, Debug)]
pub(super) struct ItemShape {
    pub(super) key_len: usize,
    pub(super) value_len: usize,
    /// Bytes the item takes in our layout.
    pub(super) item_len: usize,
    pub(super) has_flags: bool,
}

/// The table of chunk sizes.
#[derive(Debug)]
pub(super) struct Sizes {
    /// Chunk length of class 1, 2, ...: rising, all multiples of the unit.
    chunk_lens: Vec<u32>,
    page_len: usize,
    /// Class of a length, by units of 8 bytes, for short lengths; longer ones are searched.
    short: Vec<u8>,
    /// Classes are chosen by memcached's item length rather than ours.
    by_memcached: bool,
    with_cas: bool,
}

/// Lengths up to this are looked up, longer ones searched.
const SHORT_MAX: usize = 4096;
const SHORT_STEP: usize = 8;

/// memcached's item header and CAS number (memcached.h).
const MEMCACHED_HEADER_LEN: usize = 48;
const MEMCACHED_CAS_LEN: usize = 8;

impl Sizes {
    /// The table. The system's memory comes in pages of `system_page_len` bytes.
    pub(super) fn new(classes: &ClassSizes, with_cas: bool, memory_len: u64, system_page_len: usize) -> Self {
        let by_memcached = !classes.are_own();
        let unit = Unit::for_memory(memory_len);
        // What is asked for by its length must fit a page.
        let asked_len = classes.chunk_max.or(classes.listed.last().copied()).unwrap_or(0);
        let page_len = page_len_for(memory_len, system_page_len.max(asked_len));
        let chunk_lens =
            if by_memcached { memcached_table(classes, unit, page_len) } else { own_table(unit, page_len) };
        let short = (0..=SHORT_MAX / SHORT_STEP)
            .map(|step| {
                let class = chunk_lens.partition_point(|&len| (len as usize) < step * SHORT_STEP);
                u8::try_from(class + 1).expect("there are fewer than 255 classes")
            })
            .collect();
        Self { chunk_lens, page_len, short, by_memcached, with_cas }
    }

    /// All classes, smallest first.
    pub(super) fn classes(&self) -> impl Iterator<Item = ClassId> + use<> {
        (1..=self.chunk_lens.len()).map(|class| ClassId(u8::try_from(class).expect("fewer than 255 classes")))
    }

    /// Bytes in a chunk of this class.
    #[inline]
    pub(super) fn chunk_len(&self, class: ClassId) -> usize {
        self.chunk_lens[class.index()] as usize
    }

    /// Chunks in a page of this class.
    #[inline]
    pub(super) fn chunks_per_page(&self, class: ClassId) -> usize {
        self.page_len / self.chunk_len(class)
    }

    /// Items in a page, at most: there is none without a chunk.
    pub(super) fn items_per_page_max(&self) -> usize {
        self.chunks_per_page(ClassId(1))
    }

    /// Bytes in a page.
    pub(super) fn page_len(&self) -> usize {
        self.page_len
    }

    /// The class of the longest chunks, which large items are made of.
    #[inline]
    pub(super) fn largest(&self) -> ClassId {
        ClassId(u8::try_from(self.chunk_lens.len()).expect("fewer than 255 classes"))
    }

    /// Whether an item is too long for any chunk.
    #[inline]
    pub(super) fn is_large(&self, shape: ItemShape) -> bool {
        self.deciding_len(shape) > self.chunk_len(self.largest())
    }

    /// The class of chunks of at least `len` bytes, for what is no item by itself.
    pub(super) fn class_for_len(&self, len: usize) -> ClassId {
        let class = self.chunk_lens.partition_point(|&chunk| (chunk as usize) < len) + 1;
        ClassId(u8::try_from(class.min(self.chunk_lens.len())).expect("fewer than 255 classes"))
    }

    /// Whether an item is longer than `item_len_max`, as memcached counts item lengths.
    #[inline]
    pub(super) fn is_too_large(&self, shape: ItemShape, item_len_max: usize) -> bool {
        self.memcached_len(shape) > item_len_max
    }

    /// The class in whose queues an item of this shape is.
    #[inline]
    pub(super) fn class_of_any(&self, shape: ItemShape) -> ClassId {
        if self.is_large(shape) { self.largest() } else { self.class_of(shape) }
    }

    /// The class for an item that is not large.
    #[inline]
    pub(super) fn class_of(&self, shape: ItemShape) -> ClassId {
        let len = self.deciding_len(shape);
        let class = match self.short.get(len.div_ceil(SHORT_STEP)) {
            Some(&class) => ClassId(class),
            None => self.class_for_len(len),
        };
        debug_assert!(shape.item_len <= self.chunk_len(class), "an item fits the chunks of its class");
        class
    }

    /// The length that decides an item's class.
    #[inline]
    fn deciding_len(&self, shape: ItemShape) -> usize {
        if self.by_memcached { self.memcached_len(shape) } else { shape.item_len }
    }

    /// The item's length in memcached, which is what `-I` bounds there and so here.
    #[inline]
    fn memcached_len(&self, shape: ItemShape) -> usize {
        MEMCACHED_HEADER_LEN
            + if self.with_cas { MEMCACHED_CAS_LEN } else { 0 }
            + if shape.has_flags { 4 } else { 0 }
            + shape.key_len
            + 1
            + shape.value_len
            + 2
    }
}

/// Pages of a mebibyte, or smaller ones in a memory that would have too few of them; of `least` bytes in any case.
fn page_len_for(memory_len: u64, least: usize) -> usize {
    let wanted = usize::try_from(memory_len / PAGES_WANTED).unwrap_or(usize::MAX);
    wanted.clamp(PAGE_LEN_MIN, PAGE_LEN_MAX).max(least).next_power_of_two()
}

/// 8 bytes apart up to 128, then at most 6.25 % apart up to 8 KiB, then 12.5 %; from 2 KiB on each stretched to the longest chunk of
/// which as many fit a page, so that pages have no tail to waste.
fn own_table(unit: Unit, page_len: usize) -> Vec<u32> {
    let (unit, largest) = (unit.len(), (page_len / LARGEST_CHUNKS_PER_PAGE).max(LARGEST_CHUNK_LEN_MIN));
    let mut chunk_lens = Vec::new();
    let mut len = 40_usize.next_multiple_of(unit);
    while len < largest {
        let stretched = if len > 2048 { (page_len / (page_len / len)) / unit * unit } else { len };
        chunk_lens.push(stretched);
        let step = if stretched < 8192 { stretched / 16 } else { stretched / 8 };
        len = (stretched + step.max(unit)) / unit * unit;
    }
    chunk_lens.push(largest);
    chunk_lens.dedup();
    chunk_lens.into_iter().map(narrow).collect()
}

/// memcached's `slabs_init`: the sizes that are listed, or from header + least size by the factor; each rounded up to 8, and at the end
/// the chunk limit, which is half a page if nobody said otherwise. In a shorter page than memcached's the classes have its numbers and
/// lengths as far as they fit.
fn memcached_table(classes: &ClassSizes, unit: Unit, page_len: usize) -> Vec<u32> {
    let (factor, chunk_min) =
        (classes.factor.unwrap_or(ClassSizes::FACTOR), classes.chunk_min.unwrap_or(ClassSizes::CHUNK_MIN));
    let chunk_max = classes.chunk_max.unwrap_or(ClassSizes::CHUNK_MAX);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and below a page")]
    let scaled = |len: usize, by: f64| (f64::from(narrow(len)) * by) as usize;
    let aligned = |len: usize| len.next_multiple_of(unit.len().max(8));
    let mut chunk_lens: Vec<usize> = classes.listed.iter().map(|&len| aligned(len)).collect();
    if classes.listed.is_empty() {
        let mut len = MEMCACHED_HEADER_LEN + chunk_min;
        while chunk_lens.len() < ClassSizes::COUNT_MAX && len < scaled(chunk_max, 1.0 / factor) {
            len = aligned(len);
            chunk_lens.push(len);
            len = scaled(len, factor).max(len + 1);
        }
    }
    let listed_max = classes.listed.last().copied().unwrap_or(0);
    let largest = classes.chunk_max.unwrap_or(if listed_max > page_len / 2 { page_len } else { page_len / 2 });
    chunk_lens.retain(|&len| len < largest);
    chunk_lens.push(largest);
    // In a large memory's units two of them may be one.
    chunk_lens.dedup();
    chunk_lens.into_iter().map(narrow).collect()
}

fn narrow(len: usize) -> u32 {
    u32::try_from(len).expect("a chunk is no longer than a page")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CLASSES_MAX;

    fn shape(key_len: usize, value_len: usize) -> ItemShape {
        ItemShape { key_len, value_len, item_len: 32 + key_len + value_len, has_flags: false }
    }

    fn by_factor(factor: f64) -> ClassSizes {
        ClassSizes { factor: Some(factor), ..ClassSizes::default() }
    }

    fn up_to(chunk_max: usize) -> ClassSizes {
        ClassSizes { chunk_max: Some(chunk_max), ..ClassSizes::default() }
    }

    #[test]
    fn memcacheds_table_has_memcacheds_numbers() {
        let sizes = Sizes::new(&by_factor(1.25), true, 1 << 30, 4096);
        let expected = [
            96, 120, 152, 192, 240, 304, 384, 480, 600, 752, 944, 1184, 1480, 1856, 2320, 2904, 3632, 4544, 5680, 7104,
            8880, 11104, 13880, 17352, 21696, 27120, 33904, 42384, 52984, 66232, 82792, 103_496, 129_376, 161_720,
            202_152, 252_696, 315_872, 394_840, 524_288,
        ];
        assert_eq!(sizes.chunk_lens, expected);
        // 48 + 8 + 3 + 1 + 34 + 2 = 96: the last that fits class 1.
        assert_eq!(sizes.class_of(shape(3, 34)), ClassId(1));
        assert_eq!(sizes.class_of(shape(3, 35)), ClassId(2));
        let flagged = ItemShape { has_flags: true, ..shape(3, 34) };
        assert_eq!(sizes.class_of(flagged), ClassId(2));
    }

    #[test]
    fn listed_sizes_are_all_there_is_but_the_largest() {
        let listed = |sizes: &[usize]| ClassSizes { listed: sizes.to_vec(), ..ClassSizes::default() };
        assert_eq!(
            Sizes::new(&listed(&[100, 1001, 30_000]), true, 1 << 30, 4096).chunk_lens,
            [104, 1008, 30_000, 524_288]
        );
        let both = ClassSizes { chunk_max: Some(16 << 10), ..listed(&[96, 16 << 10]) };
        assert_eq!(Sizes::new(&both, true, 1 << 30, 4096).chunk_lens, [96, 16 << 10]);
        // Units of 512 bytes.
        assert_eq!(Sizes::new(&listed(&[96, 200, 600]), true, 1 << 40, 4096).chunk_lens, [512, 1024, 524_288]);
    }

    #[test]
    fn memcacheds_table_has_its_numbers_in_short_pages_too_and_there_are_more_of_them_than_classes() {
        let whole = Sizes::new(&by_factor(1.25), true, 1 << 30, 4096);
        for mib in [8, 16, 64, 100, 512] {
            let sizes = Sizes::new(&by_factor(1.25), true, mib << 20, 4096);
            let (largest, others) = sizes.chunk_lens.split_last().expect("there are classes");
            assert!(whole.chunk_lens.starts_with(others));
            assert_eq!(*largest as usize, sizes.page_len / 2, "{mib} MiB");
            assert!((mib << 20) / sizes.page_len as u64 > 4 * sizes.chunk_lens.len() as u64, "{mib} MiB");
            assert_eq!(sizes.items_per_page_max(), sizes.page_len / 96);
        }
    }

    #[test]
    fn what_is_asked_for_by_its_length_fits_a_page_and_so_does_a_page_of_the_system() {
        let least = 8 << 20;
        let table = |classes: &ClassSizes| {
            let sizes = Sizes::new(classes, true, least, 4096);
            (sizes.page_len >> 10, sizes.chunk_lens)
        };
        let listed = |sizes: &[usize]| ClassSizes { listed: sizes.to_vec(), ..ClassSizes::default() };
        assert_eq!(table(&listed(&[96, 400_000])), (512, vec![96, 400_000, 524_288]));
        assert_eq!(table(&listed(&[96, 30_000])), (32, vec![96, 30_000, 32 << 10]));
        assert_eq!(table(&listed(&[96, 10_000])), (32, vec![96, 10_000, 16 << 10]));
        let (page_kib, chunk_lens) = table(&up_to(512 << 10));
        assert_eq!((page_kib, chunk_lens.len(), chunk_lens.last()), (512, 39, Some(&(512 << 10))));
        assert_eq!(table(&up_to(1 << 20)).0, 1024);
        assert_eq!(table(&ClassSizes { chunk_min: Some(100_000), ..ClassSizes::default() }), (32, vec![16 << 10]));
        for classes in [ClassSizes::default(), by_factor(1.25)] {
            assert_eq!(Sizes::new(&classes, true, least, 64 << 10).page_len, 64 << 10);
        }
    }

    #[test]
    fn own_classes_rise_fit_and_waste_little() {
        for memory_len in [8_u64 << 20, 100 << 20, 1 << 30, 1 << 36] {
            let unit = Unit::for_memory(memory_len);
            let sizes = Sizes::new(&ClassSizes::default(), true, memory_len, 4096);
            assert!(sizes.chunk_lens.len() <= CLASSES_MAX, "{} classes", sizes.chunk_lens.len());
            assert!(sizes.chunk_lens.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(sizes.chunk_lens.iter().all(|&len| (len as usize).is_multiple_of(unit.len())));
            let largest = sizes.chunk_len(sizes.largest());
            assert!((2..=LARGEST_CHUNKS_PER_PAGE).contains(&sizes.chunks_per_page(sizes.largest())));
            for value_len in (0..largest - 400).step_by(37) {
                let item = shape(20, value_len);
                assert!(!sizes.is_large(item));
                let class = sizes.class_of(item);
                assert!(sizes.chunk_len(class) >= item.item_len);
                assert!(class.0 == 1 || sizes.chunk_len(ClassId(class.0 - 1)) < item.item_len);
            }
            assert!(sizes.is_large(shape(20, largest)));
        }
    }

    #[test]
    fn a_small_memory_has_small_pages() {
        for (mib, page_kib) in
            [(8, 32), (32, 32), (64, 64), (100, 128), (128, 128), (512, 512), (1024, 1024), (1 << 20, 1024)]
        {
            assert_eq!(page_len_for(mib << 20, 4096) >> 10, page_kib, "{mib} MiB");
        }
    }

    #[test]
    fn the_item_limit_is_memcacheds() {
        let sizes = Sizes::new(&ClassSizes::default(), true, 1 << 30, 4096);
        let longest = (1 << 20) - 48 - 8 - 3 - 1 - 2;
        assert!(!sizes.is_too_large(shape(3, longest), 1 << 20));
        assert!(sizes.is_too_large(shape(3, longest + 1), 1 << 20));
    }
}
