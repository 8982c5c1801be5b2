//! Which chunk sizes there are (`-f`, `-n`, `-o slab_chunk_max`, `-o slab_sizes`).

use crate::limits::{PAGE_LEN_MAX, chunk_names_pieces};

/// Which classes there are: slabd's own finer ones, or memcached's, if anything is said of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassSizes {
    /// `-f`: growth factor.
    pub factor: Option<f64>,
    /// `-n`: least bytes for key, value and flags.
    pub chunk_min: Option<usize>,
    /// `-o slab_chunk_max`: bytes of the largest chunk.
    pub chunk_max: Option<usize>,
    /// `-o slab_sizes`: bytes of all chunks but the largest, rising. Factor and least size then have no say.
    pub listed: Vec<usize>,
}

impl ClassSizes {
    /// memcached's growth factor.
    pub const FACTOR: f64 = 1.25;
    /// memcached's least bytes for key, value and flags.
    pub const CHUNK_MIN: usize = 48;
    /// memcached's largest chunk.
    pub const CHUNK_MAX: usize = 512 << 10;
    /// Bytes by which listed sizes must differ at least, and more.
    pub const STEP_MIN: usize = 8;
    /// memcached's `POWER_LARGEST - 1`: as many classes, the largest not counted.
    pub const COUNT_MAX: usize = 62;

    /// Whether they are slabd's own.
    #[must_use]
    pub fn are_own(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self, item_len_max: usize) -> Result<(), &'static str> {
        if self.factor.is_some_and(|factor| !factor.is_finite() || factor <= 1.0) || self.chunk_min == Some(0) {
            return Err("the growth factor must be above 1, the smallest chunk above 0");
        }
        let chunk_max_is_good = |chunk_max: usize| {
            PAGE_LEN_MAX.is_multiple_of(chunk_max.max(1)) && chunk_names_pieces(chunk_max, item_len_max)
        };
        if self.chunk_max.is_some_and(|chunk_max| !chunk_max_is_good(chunk_max)) {
            return Err("the largest chunk must divide a page and have room to name all pieces of the largest item");
        }
        let rises = self.listed.windows(2).all(|pair| pair[0] + Self::STEP_MIN < pair[1]);
        let chunk_max = self.chunk_max.unwrap_or(Self::CHUNK_MAX);
        if !rises || self.listed.last().is_some_and(|&len| len > chunk_max) || self.listed.len() > Self::COUNT_MAX {
            return Err("listed chunks must rise, by more than STEP_MIN, up to the largest, and be COUNT_MAX at most");
        }
        if self.listed.first().is_some_and(|&len| len < Self::CHUNK_MIN) {
            return Err("listed chunks must be CHUNK_MIN at least");
        }
        Ok(())
    }
}
