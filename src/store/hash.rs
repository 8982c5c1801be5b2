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

    /// 15 bits and a set top bit, which says that the slot has an item.
    #[inline]
    pub(super) fn tag(self) -> u16 {
        (self.0 >> 48) as u16 | ITEM_TAG
    }

    /// The same 15 bits under a clear top bit, which says that the slot has no item but, not being zero, a ghost.
    pub(super) fn ghost_tag(self) -> u16 {
        ((self.0 >> 48) as u16 & !ITEM_TAG).max(1)
    }

    /// The low half, of which a ghost keeps a part beside its tag.
    #[expect(clippy::cast_possible_truncation, reason = "half of it is wanted")]
    pub(super) fn low(self) -> u32 {
        self.0 as u32
    }

    /// A hash of which only low bits are known: enough to say where it belongs in the index.
    pub(super) fn from_low(low: u32) -> Self {
        Self(u64::from(low))
    }
}

/// In the tag of every slot that names an item, and in no other.
pub(super) const ITEM_TAG: u16 = 0x8000;

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
