//! The index grows with its items, a bucket at a time: no insert pays for all of it. And it shrinks the same way when they have gone.

use crossbeam_utils::CachePadded;
use slabd::clock::{Clock, Now};
use slabd::settings::{ClassSizes, LruMode, LruTuning};
use slabd::stats::{Block, Registry};
use slabd::store::{ClassSet, Condition, Deadline, Draft, Local, Progress, Store, StoreConfig, Stored, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
        class_len_min: 0,
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

/// Stores and deletes a thread's own keys, in tides, and finds every one of them.
fn come_and_go(store: &Store, local: &mut Local, thread: u64, now: Now) {
    for round in 0..4_u64 {
        let keys = || (0..40_000_u64).map(|n| (thread << 32 | n).to_le_bytes());
        for key in keys() {
            let draft = Draft::new((store.hash(&key), &key), 0, Deadline::NEVER);
            assert_eq!(store.put(local, draft, Condition::Always, &key, now), Ok(Stored::Stored));
        }
        for (n, key) in keys().enumerate() {
            let own = store.get(local, (store.hash(&key), &key), now, None, |view| {
                view.is_some_and(|view| matches!(view.value, Value::Borrowed(value) if value == key))
            });
            assert!(own, "key {n} of thread {thread} in round {round}");
            assert!(store.delete(local, (store.hash(&key), &key), now));
        }
    }
}

/// What the maintainer does, all the time; how many buckets it has merged.
fn night_shift(store: &Store, local: &mut Local, stop: &AtomicBool, now: Now) -> u32 {
    let (mut moving, mut dump) = (None, None);
    let (mut merged, mut turn) = (0, 0_u32);
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..100 {
            merged += u32::from(store.step_index() == Progress::More);
        }
        turn += 1;
        let _ = store.ask_reassign(-1, 1 + i32::from(turn.is_multiple_of(2)));
        moving = moving.or_else(|| store.take_reassign());
        if let Some(page_move) = &mut moving
            && store.step_move(local, page_move, now) == Progress::Done
        {
            moving = None;
        }
        let _ = store.sweep(local, now);
        // A dump now and then, not all the time: nothing is merged meanwhile.
        if turn.is_multiple_of(1000) {
            dump = store.begin_dump(ClassSet::ALL, now).ok();
        }
        if dump.as_mut().is_some_and(|dump| (0..100).any(|_| !dump.step(now, |_| {}))) {
            dump = None;
        }
    }
    while moving.as_mut().is_some_and(|moving| store.step_move(local, moving, now) != Progress::Done) {}
    merged
}

/// Threads store and delete while another one merges buckets, moves pages from class to class (whose items' buckets it tries from
/// their queues), sweeps, and dumps.
#[test]
fn an_index_whose_items_go_shrinks_and_loses_none_of_the_others() {
    let config = StoreConfig {
        memory_len: 64 << 20,
        class_len_min: 0,
        item_len_max: 1 << 20,
        classes: ClassSizes::default(),
        with_cas: true,
        evict: true,
        lru: LruMode::default(),
        lru_tuning: LruTuning::default(),
        hash_seed: None,
    };
    let store = Store::new(&config).expect("64 MiB can be reserved");
    let (registry, stop, now) = (Registry::default(), AtomicBool::new(false), Clock::manual().now());
    let least = store.footprint().index_len;
    let mut locals: Vec<Local> = (0..4).map(|_| store.local(registry.register())).collect();
    std::thread::scope(|scope| {
        let (own, others) = locals.split_first_mut().expect("four");
        let (store, stop) = (&store, &stop);
        let night = scope.spawn(move || night_shift(store, own, stop, now));
        let workers: Vec<_> =
            (0..).zip(others).map(|(n, local)| scope.spawn(move || come_and_go(store, local, n, now))).collect();
        let ended: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        let merged = night.join().expect("nothing is in its way");
        assert!(ended.iter().all(Result::is_ok), "nothing is lost");
        assert!(merged > 1000, "{merged} buckets merged");
    });
    while store.step_index() == Progress::More {}
    assert_eq!(store.footprint().index_len, least, "nothing is left, and the index as it was at first");
    let census = store.audit(&locals.iter().collect::<Vec<_>>());
    assert_eq!((census.items, census.held, registry.totals().evictions), (0, 0, 0));
}
