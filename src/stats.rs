//! Counters, one block per thread on cache lines of its own, summed when somebody asks.
//!
//! A block has **one writer**, its thread, so adding is a plain load and store; readers may be anybody. `stats reset`
//! therefore does not write to the blocks: it remembers their sums, and later sums are given less those.

use crate::events::{Hub, Log};
use crate::limits::CLASSES_MAX;
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A counter with one writer. Statistical only: no other memory is published by it, so relaxed throughout.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the block's own thread may call this; a second writer would lose counts.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes `n` away, for gauges such as the number of items; only the sum over threads says something.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $kind:ident),* $(,)?) => {
        /// One thread's counters. Names are memcached's where memcached has the counter.
        #[derive(Debug, Default)]
        pub struct Block {
            $($(#[$doc])* pub $name: Counter,)*
            /// Hits by class and queue.
            pub hits: ClassHits,
            /// What the thread notes for watchers.
            pub log: Arc<Log>,
        }

        /// Sums of all blocks at one moment; each value true for some moment during the summing.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Totals { $($(#[$doc])* pub $name: u64),* }

        impl Totals {
            fn add(&mut self, block: &Block) {
                $(self.$name = self.$name.wrapping_add(block.$name.value());)*
            }

            /// These totals counted from `zero` on; gauges are not counted from anywhere.
            fn since(&self, zero: &Self) -> Self {
                Self { $($name: counters!(@since $kind, self.$name, zero.$name)),* }
            }
        }
    };
    (@since count, $now:expr, $zero:expr) => { $now.wrapping_sub($zero) };
    // Threads add and take away each on their own, and their blocks are not read at one moment: a sum may be short by what has
    // been taken away already and not yet been seen to be added.
    (@since gauge, $now:expr, $zero:expr) => { $now.cast_signed().max(0).cast_unsigned() };
}

counters! {
    /// Keys asked for by get, gets, gat, gats, mg.
    cmd_get: count,
    /// Storage requests whose data arrived whole.
    cmd_set: count,
    /// `flush_all` requests.
    cmd_flush: count,
    /// touch, gat and gats.
    cmd_touch: count,
    /// Meta requests.
    cmd_meta: count,
    /// Keys found.
    get_hits: count,
    /// Keys not found, whatever the reason.
    get_misses: count,
    /// Misses because the item had expired.
    get_expired: count,
    /// Misses because the item was flushed.
    get_flushed: count,
    /// Deletes of nothing.
    delete_misses: count,
    /// Deletes that removed an item.
    delete_hits: count,
    /// incr of nothing.
    incr_misses: count,
    /// incr that found its item.
    incr_hits: count,
    /// decr of nothing.
    decr_misses: count,
    /// decr that found its item.
    decr_hits: count,
    /// cas of nothing.
    cas_misses: count,
    /// cas that stored.
    cas_hits: count,
    /// cas with another value's number.
    cas_badval: count,
    /// touch, gat that found its item.
    touch_hits: count,
    /// touch, gat of nothing.
    touch_misses: count,
    /// Logins tried.
    auth_cmds: count,
    /// Logins that failed.
    auth_errors: count,
    /// Stores refused for their size.
    store_too_large: count,
    /// Stores refused for want of memory.
    store_no_memory: count,
    /// Bytes read from clients.
    bytes_read: count,
    /// Bytes written to clients.
    bytes_written: count,
    /// Times a connection's turn ended with requests left, for the others' sake.
    conn_yields: count,
    /// Connections closed for idleness.
    idle_kicks: count,
    /// Connections ever adopted.
    total_connections: count,
    /// Connections turned away at the limit.
    rejected_connections: count,
    /// Connections open now.
    curr_connections: gauge,
    /// Bytes of buffers that connections own now.
    read_buf_bytes: gauge,
    /// Bytes of items (header, key, value) now.
    bytes: gauge,
    /// Items now.
    curr_items: gauge,
    /// Items ever linked.
    total_items: count,
    /// Items removed expired that nobody had read.
    expired_unfetched: count,
    /// Items evicted that nobody had read.
    evicted_unfetched: count,
    /// Items evicted that were in frequent use.
    evicted_active: count,
    /// Items evicted to make room.
    evictions: count,
    /// Chunks won from expired items when room was needed.
    reclaimed: count,
    /// Evictions tried while the item's bucket was held by somebody.
    lrutail_reflocked: count,
    /// Items moved to COLD.
    moves_to_cold: count,
    /// Items moved to WARM.
    moves_to_warm: count,
    /// Items given another round in their queue.
    moves_within_lru: count,
    /// Evictions made by the storing thread itself.
    direct_reclaims: count,
    /// Live items moved out of a page that was emptied.
    slab_reassign_rescues: count,
    /// Pieces of large values moved out of such a page.
    slab_reassign_chunk_rescues: count,
    /// Dead items found in such a page.
    slab_reassign_inline_reclaim: count,
    /// Chunks that were held by somebody when all of such a page had been looked at.
    slab_reassign_busy_items: count,
    /// Items evicted from such a page though a reader had them.
    slab_reassign_busy_deletes: count,
    /// Items of such a page for which no chunk could be had.
    slab_reassign_busy_nomem: count,
    /// Crawls begun, and rounds of the background sweep that found something to look at.
    lru_crawler_starts: count,
    /// Items the maintainer's sweep has looked at.
    crawler_items_checked: count,
    /// Dead items the maintainer's sweep has removed.
    crawler_reclaimed: count,
    /// Pages taken from a class for another one.
    slabs_moved: count,
}

/// Hits of one thread by class and queue, HOT first.
#[derive(Debug)]
pub struct ClassHits(Box<[[Counter; QUEUES]]>);

/// HOT, WARM, COLD, TEMP.
pub const QUEUES: usize = 4;

impl Default for ClassHits {
    fn default() -> Self {
        Self((0..=CLASSES_MAX).map(|_| Default::default()).collect())
    }
}

impl ClassHits {
    /// Counts a hit.
    #[inline]
    pub fn add(&self, class: u8, queue: usize) {
        // A class of no such number, a queue of no such place, and nothing else, is not counted.
        if let Some(counter) = self.0.get(usize::from(class)).and_then(|class| class.get(queue)) {
            counter.add(1);
        }
    }
}

/// Sums of [`ClassHits`], by the number of the class.
pub type HitSums = Vec<[u64; QUEUES]>;

/// All threads' blocks.
#[derive(Debug, Default)]
pub struct Registry {
    blocks: Mutex<Vec<Arc<CachePadded<Block>>>>,
    /// What `stats reset` remembered.
    zero: Mutex<Totals>,
    zero_hits: Mutex<HitSums>,
    /// Who watches what threads note.
    pub watch: Arc<Hub>,
}

impl Registry {
    /// A new block, to be written by one thread only.
    pub fn register(&self) -> Arc<CachePadded<Block>> {
        let block = Arc::new(CachePadded::new(Block { log: self.watch.log(), ..Block::default() }));
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&block));
        block
    }

    /// Sums since the last [`Registry::reset`].
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.sums().since(&self.zero.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts from here on; gauges stay.
    pub fn reset(&self) {
        let sums = self.sums();
        *self.zero.lock().unwrap_or_else(PoisonError::into_inner) = sums;
        *self.zero_hits.lock().unwrap_or_else(PoisonError::into_inner) = self.hit_sums();
    }

    /// Hits by class and queue since the last [`Registry::reset`].
    #[must_use]
    pub fn hits(&self) -> HitSums {
        let mut sums = self.hit_sums();
        let zero = self.zero_hits.lock().unwrap_or_else(PoisonError::into_inner);
        for (sum, zero) in sums.iter_mut().flatten().zip(zero.iter().flatten()) {
            *sum = sum.wrapping_sub(*zero);
        }
        sums
    }

    fn hit_sums(&self) -> HitSums {
        let mut sums = vec![[0; QUEUES]; CLASSES_MAX + 1];
        for block in self.blocks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for (sum, counter) in sums.iter_mut().flatten().zip(block.hits.0.iter().flatten()) {
                *sum += counter.value();
            }
        }
        sums
    }

    fn sums(&self) -> Totals {
        let mut totals = Totals::default();
        for block in self.blocks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            totals.add(block);
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_zeroes_counts_and_leaves_gauges() {
        let registry = Registry::default();
        let (a, b) = (registry.register(), registry.register());
        a.cmd_get.add(3);
        b.cmd_get.add(4);
        a.curr_items.add(2);
        b.curr_items.sub(1);
        assert_eq!(registry.totals().cmd_get, 7);
        registry.reset();
        b.cmd_get.add(1);
        assert_eq!(registry.totals().cmd_get, 1);
        assert_eq!(registry.totals().curr_items, 1);
    }
}
