//! The lock in a bucket's first word: free, held, or held with somebody asleep on it.

use super::parts::{AtomicU32, Ordering, SPINS, spin_loop, wait, wake_all, wake_one};

const FREE: u32 = 0;
const HELD: u32 = 1;
const AWAITED: u32 = 2;

#[inline]
pub(crate) fn try_lock(word: &AtomicU32) -> bool {
    // Acquire: pairs with the release in `unlock`, so that what the last holder wrote is seen.
    word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

#[inline]
pub(crate) fn lock(word: &AtomicU32) {
    if !try_lock(word) {
        lock_contended(word);
    }
}

#[cold]
fn lock_contended(word: &AtomicU32) {
    for _ in 0..SPINS {
        spin_loop();
        if word.load(Ordering::Relaxed) == FREE && try_lock(word) {
            return;
        }
    }
    // Acquire: as in `try_lock`. Taking it as AWAITED may cost a needless wake-up, never a lost one.
    while word.swap(AWAITED, Ordering::Acquire) != FREE {
        wait(word, AWAITED);
    }
}

/// The lock was held by this thread, and its word has become zero with the memory it lies in: it is free, or somebody else's by now. Who was
/// asleep on it tries again.
pub(crate) fn wiped(word: &AtomicU32) {
    // What the holder wrote before was ordered by the system, which had to take the page from all processors.
    wake_all(word);
}

#[inline]
pub(crate) fn unlock(word: &AtomicU32) {
    // Release: pairs with the acquire in `try_lock` and `lock_contended`.
    if word.swap(FREE, Ordering::Release) == AWAITED {
        wake_one(word);
    }
}
