//! Which chunk sizes there are, and which one an item takes. Pure.
//!
//! Two tables: slabd's own, fine enough that an item wastes 3 % of its chunk on average, and memcached's, by its own
//! rule, for operators who gave `-f` or `-n` and know the classes by number.

use super::arena::Unit;
use crate::limits::{ITEM_LEN_MAX, PAGE_LEN};

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
    /// Chunk length of class 1, 2, ...: rising, all multiples of the unit, the last one a whole page.
    chunk_lens: Vec<u32>,
    /// Class of a length, by units of 8 bytes, for short lengths; longer ones are searched.
    short: Vec<u8>,
    /// Classes are chosen by memcached's item length rather than ours.
    by_memcached: bool,
    with_cas: bool,
}

/// Lengths up to this are looked up, longer ones searched.
const SHORT_MAX: usize = 4096;
const SHORT_STEP: usize = 8;

/// memcached's item header, CAS number and chunk limit (memcached.h; `-o slab_chunk_max`).
const MEMCACHED_HEADER_LEN: usize = 48;
const MEMCACHED_CAS_LEN: usize = 8;
const MEMCACHED_CHUNK_MAX: usize = 512 << 10;
const MEMCACHED_FACTOR: f64 = 1.25;
const MEMCACHED_CHUNK_MIN: usize = 48;
/// memcached's `POWER_LARGEST`-1: no more classes than this, whatever the factor.
const MEMCACHED_CLASSES_MAX: usize = 62;

impl Sizes {
    /// The table; memcached's if a factor or a least size is given.
    pub(super) fn new(factor: Option<f64>, chunk_min: Option<usize>, with_cas: bool, unit: Unit) -> Self {
        let by_memcached = factor.is_some() || chunk_min.is_some();
        let chunk_lens = if by_memcached {
            memcached_table(factor.unwrap_or(MEMCACHED_FACTOR), chunk_min.unwrap_or(MEMCACHED_CHUNK_MIN), unit)
        } else {
            own_table(unit)
        };
        let short = (0..=SHORT_MAX / SHORT_STEP)
            .map(|step| {
                let class = chunk_lens.partition_point(|&len| (len as usize) < step * SHORT_STEP);
                u8::try_from(class + 1).expect("there are fewer than 255 classes")
            })
            .collect();
        Self { chunk_lens, short, by_memcached, with_cas }
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
        PAGE_LEN / self.chunk_len(class)
    }

    /// The class for an item, or none if it is longer than `item_len_max` as memcached counts item lengths.
    #[inline]
    pub(super) fn class_of(&self, shape: ItemShape, item_len_max: usize) -> Option<ClassId> {
        let theirs = self.memcached_len(shape);
        if theirs > item_len_max.min(ITEM_LEN_MAX) {
            return None;
        }
        let len = if self.by_memcached { theirs } else { shape.item_len };
        debug_assert!(shape.item_len <= len, "memcached's layout is never shorter than ours");
        let class = match self.short.get(len.div_ceil(SHORT_STEP)) {
            Some(&class) => class,
            None => u8::try_from(self.chunk_lens.partition_point(|&chunk| (chunk as usize) < len) + 1)
                .expect("fewer than 255 classes"),
        };
        debug_assert!(usize::from(class) <= self.chunk_lens.len());
        Some(ClassId(class))
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

/// 8 bytes apart up to 128, then at most 6.25 % apart up to 2 KiB, then 12.5 %; each stretched to the longest chunk of which as many
/// fit a page, so that pages have no tail to waste.
fn own_table(unit: Unit) -> Vec<u32> {
    let unit = unit.len();
    let mut chunk_lens = Vec::new();
    let mut len = 40_usize.next_multiple_of(unit);
    while len < PAGE_LEN {
        let stretched = if len > 2048 { (PAGE_LEN / (PAGE_LEN / len)) / unit * unit } else { len };
        chunk_lens.push(stretched);
        let step = if stretched < 2048 { stretched / 16 } else { stretched / 8 };
        len = (stretched + step.max(unit)) / unit * unit;
    }
    chunk_lens.push(PAGE_LEN);
    chunk_lens.dedup();
    chunk_lens.into_iter().map(narrow).collect()
}

/// memcached's `slabs_init`: start at header + least size, grow by the factor, round up to 8, end with the chunk limit.
/// One class of whole pages is added for items above it, which memcached would cut into chunks.
fn memcached_table(factor: f64, chunk_min: usize, unit: Unit) -> Vec<u32> {
    let mut chunk_lens = Vec::new();
    let mut len = MEMCACHED_HEADER_LEN + chunk_min;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and below a page")]
    let scaled = |len: usize, by: f64| (f64::from(narrow(len)) * by) as usize;
    while chunk_lens.len() < MEMCACHED_CLASSES_MAX && len < scaled(MEMCACHED_CHUNK_MAX, 1.0 / factor) {
        len = len.next_multiple_of(unit.len().max(8));
        chunk_lens.push(len);
        len = scaled(len, factor).max(len + 1);
    }
    chunk_lens.push(MEMCACHED_CHUNK_MAX);
    chunk_lens.push(PAGE_LEN);
    chunk_lens.into_iter().map(narrow).collect()
}

fn narrow(len: usize) -> u32 {
    u32::try_from(len).expect("a chunk is no longer than a page")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(key_len: usize, value_len: usize) -> ItemShape {
        ItemShape { key_len, value_len, item_len: 32 + key_len + value_len, has_flags: false }
    }

    #[test]
    fn memcacheds_table_has_memcacheds_numbers() {
        let sizes = Sizes::new(Some(1.25), None, true, Unit::for_memory(1 << 26));
        let expected = [
            96, 120, 152, 192, 240, 304, 384, 480, 600, 752, 944, 1184, 1480, 1856, 2320, 2904, 3632, 4544, 5680, 7104,
            8880, 11104, 13880, 17352, 21696, 27120, 33904, 42384, 52984, 66232, 82792, 103_496, 129_376, 161_720,
            202_152, 252_696, 315_872, 394_840, 524_288, 1_048_576,
        ];
        assert_eq!(sizes.chunk_lens, expected);
        // 48 + 8 + 3 + 1 + 34 + 2 = 96: the last that fits class 1.
        assert_eq!(sizes.class_of(shape(3, 34), PAGE_LEN), Some(ClassId(1)));
        assert_eq!(sizes.class_of(shape(3, 35), PAGE_LEN), Some(ClassId(2)));
        let flagged = ItemShape { has_flags: true, ..shape(3, 34) };
        assert_eq!(sizes.class_of(flagged, PAGE_LEN), Some(ClassId(2)));
    }

    #[test]
    fn own_classes_rise_fit_and_waste_little() {
        for memory in [1_u64 << 26, 1 << 36] {
            let unit = Unit::for_memory(memory);
            let sizes = Sizes::new(None, None, true, unit);
            assert!(sizes.chunk_lens.len() < 128, "{} classes", sizes.chunk_lens.len());
            assert!(sizes.chunk_lens.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(sizes.chunk_lens.iter().all(|&len| (len as usize).is_multiple_of(unit.len())));
            for value_len in (0..PAGE_LEN - 400).step_by(37) {
                let item = shape(20, value_len);
                let class = sizes.class_of(item, PAGE_LEN).expect("below the limit");
                assert!(sizes.chunk_len(class) >= item.item_len);
                assert!(class.0 == 1 || sizes.chunk_len(ClassId(class.0 - 1)) < item.item_len);
            }
        }
    }

    #[test]
    fn the_item_limit_is_memcacheds() {
        let sizes = Sizes::new(None, None, true, Unit::for_memory(1 << 26));
        let longest = PAGE_LEN - 48 - 8 - 3 - 1 - 2;
        assert!(sizes.class_of(shape(3, longest), PAGE_LEN).is_some());
        assert_eq!(sizes.class_of(shape(3, longest + 1), PAGE_LEN), None);
        assert_eq!(sizes.class_of(shape(3, 2000), 1024), None);
    }
}
