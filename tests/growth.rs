//! The index grows with its items, a bucket at a time: no insert pays for all of it.

use crossbeam_utils::CachePadded;
use slabd::clock::Clock;
use slabd::settings::{ClassSizes, LruMode, LruTuning};
use slabd::stats::Block;
use slabd::store::{Condition, Deadline, Draft, Store, StoreConfig, Stored};
use std::sync::Arc;
use std::time::Duration;

/// Processor time of this thread: a machine that has other things to do does not make a store long.
fn worked() -> Duration {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    nix::time::clock_gettime(clock).map(Duration::from).expect("Linux has this clock")
}

/// Items stored. The longest store of all is looked at, so this is as good as any larger number to find a pause that grows
/// with the table, and takes seconds.
const ITEMS: u64 = 5_000_000;

/// A pause for the whole table would be at least this: moving five million items is some hundred milliseconds of work. A single
/// bucket's split takes microseconds; the rest is for memory that the kernel clears when it is touched for the first time.
const PAUSE_MAX: Duration = Duration::from_millis(50);

#[test]
fn storing_never_pauses_while_the_index_grows_to_five_million_items() {
    let config = StoreConfig {
        memory_len: 1 << 30,
        item_len_max: 1 << 20,
        classes: ClassSizes::default(),
        with_cas: true,
        evict: false,
        lru: LruMode::default(),
        lru_tuning: LruTuning::default(),
        hash_seed: Some(1),
    };
    let store = Store::new(&config).expect("a gigabyte can be reserved");
    let mut local = store.local(Arc::new(CachePadded::new(Block::default())));
    let now = Clock::manual().now();
    let mut longest: Vec<(Duration, u64)> = Vec::new();
    let mut growths = 0;
    let mut index_len = store.footprint().index_len;
    for n in 0..ITEMS {
        let key = n.to_le_bytes();
        let draft = Draft::new((store.hash(&key), &key), 0, Deadline::NEVER);
        let start = worked();
        let stored = store.put(&mut local, draft, Condition::Always, b"value", now);
        let took = worked() - start;
        assert_eq!(stored, Ok(Stored::Stored));
        if took > Duration::from_millis(1) {
            longest.push((took, n));
        }
        if n.is_multiple_of(10_000) {
            let grown = store.footprint().index_len;
            growths += u32::from(grown > index_len);
            index_len = grown;
        }
    }
    longest.sort_unstable();
    let worst = longest.last().copied();
    println!("longest store: {worst:?}; over 1 ms: {} of {ITEMS}; index {index_len} bytes", longest.len());
    assert!(growths > 400, "the index grew in {growths} steps of ten thousand items: not bit by bit");
    assert!(worst.is_none_or(|(took, _)| took < PAUSE_MAX), "a store took {worst:?}");
    // All of them are there, wherever the splits have put them.
    for n in (0..ITEMS).step_by(997) {
        let key = n.to_le_bytes();
        assert!(store.get(&mut local, (store.hash(&key), &key), now, None, |view| view.is_some()), "item {n} is gone");
    }
}
