//! One seeded hash per key, computed once and carried along.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};
use std::hash::{BuildHasher, RandomState};

/// A key's hash. The index takes its low bits, the tag its high ones, so that the two say different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(u64);

impl Hash {
    /// All of it.
    #[inline]
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// 16 bits that are never zero: a zero tag is an empty slot.
    #[inline]
    pub(super) fn tag(self) -> u16 {
        let tag = (self.0 >> 48) as u16;
        tag.max(1)
    }
}

/// Hashes keys with secrets drawn at start-up, so that nobody outside can prepare keys that share a bucket.
#[derive(Debug)]
pub(super) struct Hasher {
    secrets: RapidSecrets,
}

impl Hasher {
    /// With the operating system's randomness, or with `seed` so that a test can be repeated.
    pub(super) fn new(seed: Option<u64>) -> Self {
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(std::process::id()));
        Self { secrets: RapidSecrets::seed(seed) }
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> Hash {
        Hash(rapidhash_v3_seeded(key, &self.secrets))
    }
}
