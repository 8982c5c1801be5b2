//! What the queues promise, seen through the store.

use slabd::clock::Clock;
use slabd::settings::{ClassSizes, LruMode, LruTuning};
use slabd::stats::Registry;
use slabd::store::{ClassCounts, Condition, Deadline, Draft, Local, Store, StoreConfig, Stored};

const ALL_MODES: [LruMode; 3] = [LruMode::Flat, LruMode::Segmented, LruMode::S3Fifo];

/// A store of one class: some hundred items to a page of memory.
struct Cache {
    store: Store,
    local: Local,
    stats: Registry,
    clock: Clock,
}

impl Cache {
    fn new(lru: LruMode, pages: u64) -> Self {
        let config = StoreConfig {
            memory_len: pages << 20,
            class_len_min: 0,
            item_len_max: 1 << 20,
            classes: ClassSizes::default(),
            with_cas: true,
            evict: true,
            lru,
            lru_tuning: LruTuning::default(),
            hash_seed: Some(1),
        };
        let store = Store::new(&config).expect("pages can be mapped");
        let stats = Registry::default();
        let local = store.local(stats.register());
        Self { store, local, stats, clock: Clock::manual() }
    }

    fn set(&mut self, key: &str, exptime: i64) {
        let now = self.clock.now();
        let hash = self.store.hash(key.as_bytes());
        let draft = Draft::new((hash, key.as_bytes()), 0, Deadline::from_exptime(exptime, now));
        let stored = self.store.put(&mut self.local, draft, Condition::Always, &[b'v'; 2000], now);
        assert_eq!(stored, Ok(Stored::Stored), "new keys can always be stored");
    }

    fn get(&mut self, key: &str) -> bool {
        let hash = self.store.hash(key.as_bytes());
        self.store.get(&mut self.local, (hash, key.as_bytes()), self.clock.now(), None, |view| view.is_some())
    }

    /// Reads a key, and stores it if it is not there. Whether it was.
    fn read_through(&mut self, key: &str) -> bool {
        let hit = self.get(key);
        if !hit {
            self.set(key, 0);
        }
        hit
    }

    /// Stores keys nobody asks for until the cache is full.
    fn fill(&mut self) -> usize {
        let mut count = 0;
        while self.stats.totals().evictions == 0 {
            self.set(&format!("fill{count}"), 0);
            count += 1;
        }
        count - 1
    }

    fn counts(&self) -> ClassCounts {
        let classes = self.store.classes(self.clock.now());
        classes.iter().find(|class| class.items() > 0).expect("one class is in use").counts
    }

    fn items(&self) -> [u32; 4] {
        let classes = self.store.classes(self.clock.now());
        classes
            .iter()
            .find(|class| class.items() > 0)
            .expect("one class is in use")
            .segments
            .map(|segment| segment.items)
    }

    fn audit(&self) -> u64 {
        self.store.audit(&[&self.local]).ghosts
    }
}

#[test]
fn a_key_read_again_and_again_survives_a_scan_of_a_hundred_times_the_cache() {
    for mode in ALL_MODES {
        let mut cache = Cache::new(mode, 1);
        let capacity = cache.fill();
        cache.set("dear", 0);
        for n in 0..100 * capacity {
            cache.set(&format!("scan{n}"), 0);
            assert!(n % 20 != 0 || cache.get("dear"), "{mode:?} lost the key after {n} others");
        }
        cache.audit();
    }
}

#[test]
fn a_scan_does_not_flush_a_working_set() {
    let mut kept = ALL_MODES.map(|mode| {
        let mut cache = Cache::new(mode, 1);
        let capacity = cache.fill();
        let set: Vec<String> = (0..capacity * 8 / 10).map(|n| format!("set{n}")).collect();
        for _ in 0..6 {
            for key in &set {
                cache.read_through(key);
            }
        }
        assert!(set.iter().all(|key| cache.get(key)), "{mode:?}: the working set fits");
        for n in 0..2 * capacity {
            cache.read_through(&format!("scan{n}"));
        }
        cache.audit();
        set.iter().filter(|key| cache.get(key)).count() * 100 / set.len()
    });
    kept.reverse();
    let [s3fifo, segmented, flat] = kept;
    assert_eq!(flat, 0, "a strict LRU loses all of it");
    assert!(s3fifo > 95, "{s3fifo} % of the working set are left");
    println!("left after a scan of twice the cache: s3fifo {s3fifo} %, segmented {segmented} %");
}

#[test]
fn a_ghost_brings_an_evicted_key_back_into_the_main_queue() {
    let mut cache = Cache::new(LruMode::S3Fifo, 1);
    cache.set("early", 0);
    let capacity = cache.fill();
    assert!(!cache.get("early"), "the first to come is the first to go");
    assert!(cache.audit() > 0, "it left a ghost");
    let [_, warm, ..] = cache.items();
    cache.set("early", 0);
    assert_eq!(cache.items()[1], warm + 1, "it begins in the main queue");
    // There it outlives a probation's worth of keys that nobody asks for.
    for n in 0..capacity / 2 {
        cache.set(&format!("more{n}"), 0);
    }
    assert!(cache.get("early"));
    assert!(cache.audit() > 0);
}

#[test]
fn an_item_that_dies_soon_is_evicted_after_all_others_and_makes_room_once_dead() {
    for mode in ALL_MODES {
        let mut cache = Cache::new(mode, 1);
        cache.store.set_lru_tuning(LruTuning { temporary_ttl: Some(60), ..LruTuning::default() });
        for n in 0..20 {
            cache.set(&format!("short{n}"), 60);
        }
        let capacity = cache.fill();
        for n in 0..3 * capacity {
            cache.set(&format!("long{n}"), 0);
        }
        assert_eq!(cache.items()[3], 20);
        assert!((0..20).all(|n| cache.get(&format!("short{n}"))), "{mode:?}");
        cache.clock.advance(62_000);
        let evicted = cache.counts().evicted;
        for n in 0..20 {
            cache.set(&format!("after{n}"), 0);
        }
        let counts = cache.counts();
        // A few chunks were free already: room is made for more than one item at a time.
        assert!(counts.evicted == evicted && counts.reclaimed > 10, "{mode:?}: the dead go first: {counts:?}");
        cache.audit();
    }
}

#[test]
fn a_class_full_of_short_lives_still_takes_new_ones() {
    for mode in ALL_MODES {
        let mut cache = Cache::new(mode, 1);
        cache.store.set_lru_tuning(LruTuning { temporary_ttl: Some(600), ..LruTuning::default() });
        for n in 0..2000 {
            cache.set(&format!("short{n}"), 500);
            cache.get(&format!("short{n}"));
        }
        assert!(cache.counts().evicted > 1000 && cache.get("short1999"), "{mode:?}");
        cache.audit();
    }
}

#[test]
fn a_cache_in_which_everything_is_in_use_still_takes_new_keys() {
    for mode in ALL_MODES {
        let mut cache = Cache::new(mode, 1);
        let capacity = cache.fill();
        for n in 0..5 * capacity {
            cache.set(&format!("key{n}"), 0);
            for back in 0..4.min(n) {
                cache.get(&format!("key{}", n - back));
            }
        }
        assert!(cache.get(&format!("key{}", 5 * capacity - 1)), "{mode:?}");
        cache.audit();
    }
}

#[test]
fn modes_change_with_items_in_every_queue() {
    let mut cache = Cache::new(LruMode::Segmented, 2);
    let capacity = cache.fill();
    for (round, mode) in [1, 2, 0, 2, 1, 0].map(|place: usize| ALL_MODES[place]).into_iter().enumerate() {
        cache.store.set_lru_mode(mode);
        assert_eq!(cache.store.lru().0, mode);
        cache.set("dear", 0);
        for n in 0..2 * capacity {
            cache.read_through(&format!("key{}", n % (capacity * 2 / 3)));
            cache.set(&format!("round{round}-{n}"), 0);
            assert!(n % 20 != 0 || cache.get("dear"), "{mode:?} lost the key after {n} others");
        }
        cache.audit();
        let items = cache.items();
        match mode {
            LruMode::Flat => assert_eq!(items[..2], [0, 0], "all is in one queue again"),
            LruMode::Segmented => assert!(items[..3].iter().all(|&count| count > 0), "{items:?}"),
            LruMode::S3Fifo => assert_eq!(items[2], 0, "COLD is not used: {items:?}"),
        }
    }
}

/// Misses on a loop somewhat longer than the cache, which LRU misses from end to end; with large items, so that a class has few.
#[test]
fn a_loop_longer_than_the_cache_hits_in_the_default_mode() {
    assert_eq!(LruMode::default(), LruMode::S3Fifo);
    let mut misses = ALL_MODES.map(|mode| {
        let mut cache = Cache::new(mode, 1);
        let capacity = cache.fill();
        let len = capacity * 6 / 5;
        (0..20 * len).filter(|n| !cache.read_through(&format!("key{}", n % len))).count() * 100 / (20 * len)
    });
    misses.reverse();
    println!("misses on a loop, %: s3fifo, segmented, flat {misses:?}");
    assert!(misses[2] == 100 && misses[0] < 98, "{misses:?}");
}
