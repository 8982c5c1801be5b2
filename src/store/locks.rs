//! Locks in one order, and the check that nobody takes them in another.
//!
//! ```text
//!   sweep (the round)  ──►  bucket  ──►  class  ──►  pool (pages) or spill (overflow buckets)
//! ```
//!
//! Blocking goes with the arrows only. Against them (from the tail of a queue to an item's bucket) there is *try*, and on
//! failure the item is skipped. Two buckets are held by a split alone, in address order, or a merge, which tries; two classes never. Debug
//! builds panic on a breach. Before them all come two that are no part of the check: whose turn it is to add to a long value (`large.rs`), and
//! the count of walks (`table/merge.rs`).

pub(super) mod word;

use std::sync::{Mutex, MutexGuard, TryLockError};

/// What `word.rs` is made of. `tests/loom.rs` puts a model checker's in their place.
mod parts {
    pub(super) use atomic_wait::{wait, wake_all, wake_one};
    pub(super) use std::hint::spin_loop;
    pub(super) use std::sync::atomic::{AtomicU32, Ordering};

    /// Tries before going to sleep. Few: on few cores the holder may not be running.
    pub(super) const SPINS: u32 = 60;
}

/// A lock's place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Sweep,
    Bucket,
    /// The second bucket of a split.
    SplitBucket,
    Class,
    Pool,
}

/// Proof, kept by a guard, that the order was checked.
#[derive(Debug)]
pub(super) struct Held {
    #[cfg(debug_assertions)]
    rank: Rank,
}

#[cfg(debug_assertions)]
mod ranks {
    use super::{Held, Rank};
    use std::cell::Cell;

    thread_local! {
        /// How many locks of each rank this thread holds.
        static HELD: Cell<[u8; 5]> = const { Cell::new([0; 5]) };
    }

    impl Held {
        /// Before blocking on a lock of this rank.
        pub(in crate::store) fn blocking(rank: Rank) -> Self {
            let held = HELD.get();
            let above = held.iter().skip(rank as usize).any(|&count| count > 0);
            assert!(!above, "lock order: {rank:?} wanted while holding {held:?} (sweep, bucket, split, class, pool)");
            Self::tried(rank)
        }

        /// After a `try` that took the lock, from wherever.
        pub(in crate::store) fn tried(rank: Rank) -> Self {
            let mut held = HELD.get();
            held[rank as usize] += 1;
            HELD.set(held);
            Self { rank }
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            let mut held = HELD.get();
            held[self.rank as usize] -= 1;
            HELD.set(held);
        }
    }
}

#[cfg(not(debug_assertions))]
impl Held {
    #[inline]
    pub(super) fn blocking(_: Rank) -> Self {
        Self {}
    }

    #[inline]
    pub(super) fn tried(_: Rank) -> Self {
        Self {}
    }
}

/// A mutex with a rank. A thread that panicked in it has left the store in an unknown state: nobody goes on.
#[derive(Debug, Default)]
pub(super) struct Ranked<T> {
    mutex: Mutex<T>,
}

/// Proof of holding a [`Ranked`] mutex, and the way to what it protects.
#[derive(Debug)]
pub(super) struct RankedGuard<'a, T> {
    guard: MutexGuard<'a, T>,
    _held: Held,
}

impl<T> Ranked<T> {
    pub(super) fn new(value: T) -> Self {
        Self { mutex: Mutex::new(value) }
    }

    #[inline]
    pub(super) fn lock(&self, rank: Rank) -> RankedGuard<'_, T> {
        let held = Held::blocking(rank);
        RankedGuard { guard: self.mutex.lock().expect("no thread panicked in the store"), _held: held }
    }
}

impl<T> Ranked<T> {
    /// The lock if it is free, whatever else is held.
    pub(super) fn try_lock(&self, rank: Rank) -> Option<RankedGuard<'_, T>> {
        match self.mutex.try_lock() {
            Ok(guard) => Some(RankedGuard { guard, _held: Held::tried(rank) }),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => panic!("a thread panicked in the store"),
        }
    }
}

impl<T> std::ops::Deref for RankedGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> std::ops::DerefMut for RankedGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    #[test]
    #[should_panic(expected = "lock order")]
    fn taking_a_bucket_while_holding_a_class_panics() {
        let _class = Held::blocking(Rank::Class);
        let _bucket = Held::blocking(Rank::Bucket);
    }

    #[test]
    fn the_order_itself_is_allowed() {
        let bucket = Held::blocking(Rank::Bucket);
        let class = Held::blocking(Rank::Class);
        drop((class, bucket));
        let _class = Held::blocking(Rank::Class);
        let _bucket = Held::tried(Rank::Bucket);
    }

    #[test]
    fn a_word_lock_excludes_and_wakes() {
        let lock = AtomicU32::new(0);
        let (a, b) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        word::lock(&lock);
                        let seen = a.load(Ordering::Relaxed);
                        assert_eq!(seen, b.load(Ordering::Relaxed));
                        a.store(seen + 1, Ordering::Relaxed);
                        b.store(seen + 1, Ordering::Relaxed);
                        word::unlock(&lock);
                    }
                });
            }
        });
        assert_eq!(a.load(Ordering::Relaxed), 80_000);
    }
}
