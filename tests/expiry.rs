//! Dead items give way: seen through a store whose clock is moved by hand.

use slabd::clock::Clock;
use slabd::settings::{ClassSizes, LruMode, LruTuning};
use slabd::stats::Registry;
use slabd::store::{ClassSet, Condition, Deadline, Draft, Local, Refused, Store, StoreConfig, Stored};

struct Bench {
    store: Store,
    registry: Registry,
    local: Local,
    clock: Clock,
}

impl Bench {
    fn new(memory_mib: u64, evict: bool) -> Self {
        let config = StoreConfig {
            memory_len: memory_mib << 20,
            class_len_min: 0,
            item_len_max: 1 << 20,
            classes: ClassSizes::default(),
            with_cas: true,
            evict,
            lru: LruMode::Segmented,
            lru_tuning: LruTuning::default(),
            hash_seed: Some(1),
        };
        let store = Store::new(&config).expect("a few pages can be mapped");
        let registry = Registry::default();
        let local = store.local(registry.register());
        Self { store, registry, local, clock: Clock::manual() }
    }

    fn put(&mut self, key: &str, value_len: usize, exptime: i64) -> Result<Stored, Refused> {
        let now = self.clock.now();
        let key = key.as_bytes();
        let draft = Draft::new((self.store.hash(key), key), 0, Deadline::from_exptime(exptime, now));
        self.store.put(&mut self.local, draft, Condition::Always, &vec![b'v'; value_len], now)
    }

    fn has(&mut self, key: &str) -> bool {
        let key = key.as_bytes();
        self.store.get(&mut self.local, (self.store.hash(key), key), self.clock.now(), None, |view| view.is_some())
    }

    /// Sweeps once around; how many items went.
    fn sweep(&mut self) -> u64 {
        let mut reclaimed = 0;
        loop {
            let swept = self.store.sweep(&mut self.local, self.clock.now());
            reclaimed += swept.reclaimed;
            if swept.round {
                return reclaimed;
            }
        }
    }
}

#[test]
fn a_sweep_removes_what_is_dead_and_nothing_else() {
    let mut bench = Bench::new(64, true);
    for n in 0..3000 {
        let (len, exptime) = ([10, 300, 5000, 40_000][n % 4], [0, 5, 50][n % 3]);
        assert_eq!(
            bench.put(&format!("key{n}"), if n % 100 == 0 { 200_000 } else { len }, exptime),
            Ok(Stored::Stored)
        );
    }
    assert_eq!(bench.sweep(), 0);
    bench.clock.advance(5000);
    assert_eq!(bench.sweep(), 1000);
    assert_eq!(bench.registry.totals().curr_items, 2000);
    assert_eq!(bench.sweep(), 0);
    bench.clock.advance(60_000);
    assert_eq!(bench.sweep(), 1000);
    for n in 0..3000 {
        assert_eq!(bench.has(&format!("key{n}")), n % 3 == 0, "key{n}");
    }
    let census = bench.store.audit(&[&bench.local]);
    assert_eq!((census.items, census.held), (1000, 0));
}

#[test]
fn what_a_flush_killed_is_swept_away() {
    let mut bench = Bench::new(8, true);
    for n in 0..1000 {
        assert_eq!(bench.put(&format!("key{n}"), 100, 0), Ok(Stored::Stored));
    }
    bench.store.flush_all(&mut bench.local, bench.clock.now(), Deadline::NEVER);
    for n in 0..10 {
        assert_eq!(bench.put(&format!("new{n}"), 100, 0), Ok(Stored::Stored));
    }
    assert_eq!(bench.sweep(), 1000);
    assert_eq!(bench.registry.totals().curr_items, 10);
    assert_eq!(bench.sweep(), 0);
}

/// Nothing is swept in the background here: whoever needs room has to find the dead ones.
#[test]
fn a_cache_half_full_of_expired_items_never_evicts_a_live_one() {
    let mut bench = Bench::new(8, true);
    let mut live = Vec::new();
    for n in 0.. {
        let before = bench.registry.totals().evictions;
        assert_eq!(bench.put(&format!("key{n:06}"), 100, if n % 2 == 0 { 10 } else { 0 }), Ok(Stored::Stored));
        if bench.registry.totals().evictions > before {
            break;
        }
        if n % 2 == 1 {
            live.push(format!("key{n:06}"));
        }
    }
    let evicted = bench.registry.totals().evictions;
    bench.clock.advance(11_000);
    let room = live.len() - 200;
    for n in 0..room {
        assert_eq!(bench.put(&format!("new{n:06}"), 100, 0), Ok(Stored::Stored));
    }
    assert_eq!(bench.registry.totals().evictions, evicted, "a live item was evicted while dead ones were there");
    let gone = live.iter().filter(|key| !bench.has(key)).count();
    assert!(gone <= 8, "{gone} live items are gone");
}

/// Whoever needs room sweeps a slice, and may never come back.
#[test]
fn a_page_swept_in_part_is_swept_again() {
    let mut bench = Bench::new(1, false);
    while bench.put(&format!("key{:06}", bench.registry.totals().curr_items), 100, 10) == Ok(Stored::Stored) {}
    bench.clock.advance(11_000);
    assert_eq!(bench.put("one", 100, 0), Ok(Stored::Stored));
    assert!(bench.registry.totals().curr_items > 5000, "the rest of the page was not looked at");
    assert!(bench.sweep() > 5000);
    assert_eq!(bench.registry.totals().curr_items, 1);
    assert_eq!(bench.sweep(), 0);
    assert_eq!(bench.put("large", 5000, 0), Ok(Stored::Stored), "pages are for others again");
}

/// A crawl that has looked at as many items of a class as it was to leaves the page it has come to.
#[test]
fn a_crawl_that_stops_within_a_page_leaves_the_rest_to_be_swept() {
    let mut bench = Bench::new(8, true);
    for n in 0..1000 {
        assert_eq!(bench.put(&format!("key{n:03}"), 100, if n % 2 == 0 { 10 } else { 20 }), Ok(Stored::Stored));
    }
    bench.clock.advance(11_000);
    bench.store.tune_background(|background| background.crawler_tocrawl = 64);
    assert_eq!(bench.store.ask_crawl(ClassSet::ALL, bench.clock.now()), Ok(()));
    let mut crawl = bench.store.take_crawl().expect("it was asked for");
    while bench.store.crawl(&mut bench.local, &mut crawl, bench.clock.now()) {}
    assert_eq!(bench.registry.totals().curr_items, 968, "half of 64 are dead");
    assert_eq!(bench.sweep(), 468, "the rest of those, in that page as in others");
    bench.clock.advance(10_000);
    assert_eq!(bench.sweep(), 500);
}

#[test]
fn a_store_that_may_not_evict_makes_room_of_what_is_dead() {
    let mut bench = Bench::new(1, false);
    let mut count = 0;
    while bench.put(&format!("key{count:06}"), 100, 10) == Ok(Stored::Stored) {
        count += 1;
    }
    assert!(count > 5000, "{count}");
    assert_eq!(bench.put("another", 100, 0), Err(Refused::NoMemory));
    bench.clock.advance(11_000);
    for n in 0..count {
        assert_eq!(bench.put(&format!("new{n:06}"), 100, 0), Ok(Stored::Stored), "store {n} of {count}");
    }
}
