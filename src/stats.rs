//! Counters, one block per thread on cache lines of its own, summed when somebody asks.
//!
//! A block has **one writer**, its thread, so adding is a plain load and store; readers may be anybody. `stats reset`
//! therefore does not write to the blocks: it remembers their sums, and later sums are given less those.
//!
//! In a block, beside plain counters: how long requests take (`latency.rs`), which keys are asked for most (`hotkeys.rs`) and under
//! which prefixes (`prefixes.rs`), which connections there are (`conns.rs`), how long items are (`sizes.rs`). What can be switched is in
//! [`Watch`], which all blocks share.

mod conns;
mod hotkeys;
mod latency;
mod prefixes;
mod sizes;

pub use conns::{ConnRow, ConnState, Endpoint, Tracked};
pub use hotkeys::{HotKey, HotKeys, KeyUse};
pub use latency::{BUCKETS, Served, TIMED, Timing, bucket_end_ns};
pub use prefixes::PrefixRow;

use crate::events::{Hub, Log};
use crate::limits::CLASSES_MAX;
use conns::ConnTable;
use crossbeam_utils::CachePadded;
use hotkeys::Sampler;
use latency::Latency;
use prefixes::Prefixes;
use sizes::SizeCounts;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
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

    /// Writes `n` over it; as [`Counter::add`], for the block's own thread only.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    #[inline]
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
            /// What is counted class by class.
            pub classes: ClassCounters,
            /// How long requests take.
            pub latency: Latency,
            /// Connections of this thread, listeners among them.
            pub conns: ConnTable,
            /// How long items are, while somebody wants to know.
            pub sizes: SizeCounts,
            /// What the thread notes for watchers.
            pub log: Arc<Log>,
            sampler: Sampler,
            watch: Arc<Watch>,
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
    /// me, as memcached counts it; the others are counted by what they do.
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
    /// TLS handshakes that failed.
    ssl_handshake_errors: count,
    /// Connections that broke TLS after their handshake.
    ssl_proto_errors: count,
    /// TLS sessions that were not resumed.
    ssl_new_sessions: count,
    /// Connections ever adopted.
    total_connections: count,
    /// Connections turned away at the limit.
    rejected_connections: count,
    /// Connections open now.
    curr_connections: gauge,
    /// Buffers of input that there are now: connections' that hold unserved input, and a scratch for each worker.
    read_buf_count: gauge,
    /// Bytes of those.
    read_buf_bytes: gauge,
    /// Bytes of spare ones.
    read_buf_bytes_free: gauge,
    /// Connections closed because the beginning of a long request could not be kept.
    read_buf_oom: count,
    /// Connections that have not taken their answers.
    response_obj_count: gauge,
    /// Bytes of buffers of those answers.
    response_obj_bytes: gauge,
    /// What of that only a long report can need.
    reports_bytes: gauge,
    /// Times that accepting had to stop for a while.
    listen_disabled_num: count,
    /// Microseconds that it has been stopped for.
    time_in_listen_disabled_us: count,
    /// 1 while it is.
    listen_disabled: gauge,
    /// Rounds of the maintainer.
    lru_maintainer_juggles: count,
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

/// Counters of one thread by class: hits by queue, HOT first, then what [`ClassEvent`] names.
#[derive(Debug)]
pub struct ClassCounters(Box<[[Counter; CLASS_COUNTERS]; CLASSES_MAX + 1]>);

/// HOT, WARM, COLD, TEMP.
pub const QUEUES: usize = 4;

/// What happens to items of a class beside being read: memcached's names, in the order of `stats slabs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassEvent {
    /// A value was to be stored.
    Set = QUEUES as isize,
    /// An item was deleted.
    DeleteHit,
    /// A number was counted up.
    IncrHit,
    /// A number was counted down.
    DecrHit,
    /// An item was replaced because it had the CAS number.
    CasHit,
    /// An item was not replaced because it had another.
    CasBadval,
    /// An item was given a new lifetime.
    TouchHit,
}

/// Counters of a class.
pub const CLASS_COUNTERS: usize = ClassEvent::TouchHit as usize + 1;

impl Default for ClassCounters {
    fn default() -> Self {
        Self(Box::new(std::array::from_fn(|_| Default::default())))
    }
}

impl ClassCounters {
    /// Counts a hit in a queue.
    #[inline]
    pub fn hit(&self, class: u8, queue: usize) {
        self.add(class, queue);
    }

    /// Counts something else.
    #[inline]
    pub fn note(&self, class: u8, event: ClassEvent) {
        self.add(class, event as usize);
    }

    #[inline]
    fn add(&self, class: u8, place: usize) {
        // There is no class of a higher number; to say so this way costs no comparison.
        if let Some(counter) = self.0[usize::from(class) % (CLASSES_MAX + 1)].get(place) {
            counter.add(1);
        }
    }
}

const _: () = assert!((CLASSES_MAX + 1).is_power_of_two());

/// Sums of [`ClassCounters`], by the number of the class.
pub type ClassSums = Vec<[u64; CLASS_COUNTERS]>;

/// What can be switched while the daemon runs; all blocks look here.
#[derive(Debug)]
pub struct Watch {
    hotkeys: AtomicBool,
    latency: AtomicBool,
    detail: AtomicBool,
    /// What ends a prefix.
    delimiter: AtomicU8,
    /// Changes with each switch, so that threads need look at nothing else.
    generation: AtomicU64,
    prefixes: Mutex<Prefixes>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            hotkeys: AtomicBool::new(true),
            // What it costs, a reading of the clock for each client's answers, is for who wants to know.
            latency: AtomicBool::new(false),
            detail: AtomicBool::new(false),
            delimiter: AtomicU8::new(b':'),
            generation: AtomicU64::new(0),
            prefixes: Mutex::default(),
        }
    }
}

/// One of the switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// `stats hotkeys`
    Hotkeys,
    /// `stats latency`
    Latency,
    /// `stats detail`
    Detail,
}

impl Watch {
    fn switch(&self, which: Switch) -> &AtomicBool {
        match which {
            Switch::Hotkeys => &self.hotkeys,
            Switch::Latency => &self.latency,
            Switch::Detail => &self.detail,
        }
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self, which: Switch) -> bool {
        self.switch(which).load(Ordering::Relaxed)
    }

    /// Turns it on or off; threads see it in their next turn.
    pub fn turn(&self, which: Switch, on: bool) {
        self.switch(which).store(on, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// What ends a prefix.
    #[must_use]
    pub fn delimiter(&self) -> u8 {
        self.delimiter.load(Ordering::Relaxed)
    }

    /// Sets what ends a prefix; what has been counted stays.
    pub fn set_delimiter(&self, delimiter: u8) {
        self.delimiter.store(delimiter, Ordering::Relaxed);
    }
}

impl Block {
    /// To be called by the block's thread as its turn begins: sees what has been switched.
    #[inline]
    pub fn begin_turn(&self) {
        self.sampler.begin_turn(&self.watch);
    }

    /// Says that a key has been used, at this second of the clock. Two loads and a store unless the key is one of the samples, or
    /// all keys are looked at.
    #[inline(always)]
    pub fn note_key(&self, what: KeyUse, key: &[u8], now_secs: u32) {
        self.sampler.note(&self.watch, what, key, now_secs);
    }

    /// What can be switched.
    #[must_use]
    #[inline]
    pub fn watch(&self) -> &Watch {
        &self.watch
    }
}

/// All threads' blocks.
#[derive(Debug, Default)]
pub struct Registry {
    blocks: Mutex<Vec<Arc<CachePadded<Block>>>>,
    /// What `stats reset` remembered.
    zero: Mutex<Totals>,
    zero_classes: Mutex<ClassSums>,
    zero_latency: Mutex<Timing>,
    zero_sizes: Mutex<Vec<u64>>,
    watch: Arc<Watch>,
    /// Who watches what threads note.
    pub hub: Arc<Hub>,
}

impl Registry {
    /// A new block, to be written by one thread only.
    pub fn register(&self) -> Arc<CachePadded<Block>> {
        let watch = Arc::clone(&self.watch);
        let block = Arc::new(CachePadded::new(Block { watch, log: self.hub.log(), ..Block::default() }));
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
        *self.zero_classes.lock().unwrap_or_else(PoisonError::into_inner) = self.class_sums();
        self.reset_latency();
        self.reset_hot_keys();
        self.reset_prefixes();
    }

    /// What can be switched.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// What has been counted by class since the last [`Registry::reset`].
    #[must_use]
    pub fn classes(&self) -> ClassSums {
        let mut sums = self.class_sums();
        let zero = self.zero_classes.lock().unwrap_or_else(PoisonError::into_inner);
        for (sum, zero) in sums.iter_mut().flatten().zip(zero.iter().flatten()) {
            *sum = sum.wrapping_sub(*zero);
        }
        sums
    }

    fn class_sums(&self) -> ClassSums {
        let mut sums = vec![[0; CLASS_COUNTERS]; CLASSES_MAX + 1];
        for block in self.blocks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for (sum, counter) in sums.iter_mut().flatten().zip(block.classes.0.iter().flatten()) {
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
