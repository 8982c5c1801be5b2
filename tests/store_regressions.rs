//! One test per defect that the store once had, with its story. Each failed before its defect was repaired. Those of the wire are in
//! `regressions.rs`.

use slabd::clock::Clock;
use slabd::limits::PAGE_LEN_MIN;
use slabd::settings::{ClassSizes, LruMode, LruTuning};
use slabd::stats::Registry;
use slabd::store::{
    Condition, Deadline, Draft, Lifetimes, Local, Progress, Refused, Side, Store, StoreConfig, Stored, Terms,
};

/// A store with one thread, moved by hand.
struct Bench {
    store: Store,
    registry: Registry,
    local: Local,
    clock: Clock,
}

impl Bench {
    fn new(memory_mib: u64) -> Self {
        Self::with_memory(memory_mib << 20)
    }

    /// A store of one page.
    fn with_one_page() -> Self {
        Self::with_memory(PAGE_LEN_MIN as u64)
    }

    fn with_memory(memory_len: u64) -> Self {
        Self::with(memory_len, true)
    }

    fn with(memory_len: u64, evict: bool) -> Self {
        Self::with_mode(memory_len, evict, LruMode::Segmented)
    }

    fn with_mode(memory_len: u64, evict: bool, lru: LruMode) -> Self {
        let config = StoreConfig {
            memory_len,
            class_len_min: 0,
            item_len_max: 1 << 20,
            classes: ClassSizes::default(),
            with_cas: true,
            evict,
            lru,
            lru_tuning: LruTuning::default(),
            hash_seed: Some(1),
        };
        let store = Store::new(&config).expect("a few pages can be mapped");
        let registry = Registry::default();
        let local = store.local(registry.register());
        Self { store, registry, local, clock: Clock::manual() }
    }

    fn draft<'k>(&self, key: &'k [u8]) -> Draft<'k> {
        Draft::new((self.store.hash(key), key), 0, Deadline::NEVER)
    }

    fn put(&mut self, key: &str, value_len: usize) -> Result<Stored, Refused> {
        let draft = self.draft(key.as_bytes());
        self.store.put(&mut self.local, draft, Condition::Always, &vec![b'v'; value_len], self.clock.now())
    }

    fn has(&mut self, key: &str) -> bool {
        let key = key.as_bytes();
        self.store.get(&mut self.local, (self.store.hash(key), key), self.clock.now(), None, |view| view.is_some())
    }

    fn delete(&mut self, key: &str) -> bool {
        let key = key.as_bytes();
        self.store.delete(&mut self.local, (self.store.hash(key), key), self.clock.now())
    }

    fn flush(&mut self) {
        self.store.flush_all(&mut self.local, self.clock.now(), Deadline::NEVER);
    }
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Stamps of access are 24 bits of seconds. Compared with the flush's the shorter way round, those given more than 97 days after
/// a `flush_all` lay before it: everything stored from then on was dead at once, for the next 97 days.
#[test]
fn what_is_stored_months_after_a_flush_lives() {
    let mut bench = Bench::new(2);
    assert_eq!(bench.put("before", 10), Ok(Stored::Stored));
    bench.flush();
    for days in 1..900 {
        bench.clock.advance(DAY_MS);
        assert_eq!(bench.put("after", 10), Ok(Stored::Stored));
        assert!(bench.has("after"), "dead on arrival {days} days after a flush");
    }
}

/// For the same reason an item that nobody had used for 97 days seemed to lie behind a flush, and lived on.
#[test]
fn a_flush_reaches_what_has_been_idle_for_months() {
    for idle_days in [1, 96, 98, 150, 180] {
        let mut bench = Bench::new(2);
        assert_eq!(bench.put("idle", 10), Ok(Stored::Stored));
        bench.clock.advance(idle_days * DAY_MS);
        bench.flush();
        assert!(!bench.has("idle"), "an item idle for {idle_days} days outlived a flush");
    }
}

/// Each thread has its own idea of now, as of when its turn began. A flush by a thread a second behind spared what a thread
/// ahead had stored before it.
#[test]
fn a_flush_by_a_thread_whose_clock_lags_spares_nothing() {
    let mut bench = Bench::new(2);
    let behind = bench.clock.now();
    bench.clock.advance(3000);
    bench.store.begin_turn(&mut bench.local, bench.clock.now());
    assert_eq!(bench.put("before", 10), Ok(Stored::Stored));
    bench.store.flush_all(&mut bench.local, behind, Deadline::NEVER);
    assert!(!bench.has("before"), "stored before the flush");
}

/// The other way about, what a thread whose turn had begun before the flusher's stored after the flush was taken for older.
#[test]
fn what_a_thread_whose_clock_lags_stores_after_a_flush_lives() {
    let mut bench = Bench::new(2);
    let behind = bench.clock.now();
    bench.clock.advance(3000);
    bench.flush();
    let draft = bench.draft(b"after");
    assert_eq!(bench.store.put(&mut bench.local, draft, Condition::Always, b"value", behind), Ok(Stored::Stored));
    assert!(bench.has("after"), "stored after the flush");
}

/// An item was found alive, then a flush came, then it was given its new stamp, one from after the flush: it lived on. A read could
/// do that as well as a write; of a rewrite the moment in between is the caller's.
#[test]
fn what_was_found_before_a_flush_does_not_outlive_it() {
    let mut bench = Bench::new(2);
    assert_eq!(bench.put("counter", 10), Ok(Stored::Stored));
    let (key, now) = (b"counter", bench.clock.now());
    let rewritten = bench.store.rewrite(
        &mut bench.local,
        (bench.store.hash(key), key),
        (None, Lifetimes::default()),
        now,
        |_, _| {
            let mut other = bench.store.local(bench.registry.register());
            bench.store.flush_all(&mut other, now, Deadline::NEVER);
            Ok::<_, Refused>(([b'7'].into_iter().collect(), ()))
        },
    );
    assert_eq!(rewritten, Ok(Some(())), "before the flush, then");
    assert!(!bench.has("counter"), "and so flushed");
}

/// A stamp has room for 2^24 seconds and flushes. After so many more flushes, which is some seconds of nothing else, what the first one had
/// dropped was taken for younger than the last.
#[test]
fn what_a_flush_dropped_stays_away_however_many_follow() {
    let mut bench = Bench::new(2);
    let old: Vec<_> = (0..8).map(|n| format!("old{n}")).collect();
    old.iter().for_each(|key| assert_eq!(bench.put(key, 10), Ok(Stored::Stored)));
    bench.flush();
    // Half a round, all of it but what clocks may differ by, and so on.
    let mut flushes = 1_u32;
    for (key, at) in old.iter().zip([1 << 23, (1 << 24) - (1 << 16) - 9, (1 << 24) - 9, 1 << 24, (1 << 24) + (1 << 15)])
    {
        while flushes < at {
            bench.flush();
            flushes += 1;
        }
        assert!(!bench.has(key), "{key} is back after {at} flushes");
        assert_eq!(bench.put("new", 10), Ok(Stored::Stored));
        assert!(bench.has("new"));
    }
}

/// The same with something stored between any two flushes, all of it at different ages.
#[test]
fn what_flushes_dropped_stays_away_while_others_are_stored_between_them() {
    let mut bench = Bench::new(8);
    let mut last = String::new();
    for n in 0..40_000_u64 {
        let key = format!("key{n}");
        assert_eq!(bench.put(&key, 10), Ok(Stored::Stored));
        assert!(bench.has(&key), "stored after {n} flushes");
        bench.flush();
        bench.clock.advance(1000 * 1000);
        if n % 16 == 0 {
            // Whatever was stored when, somebody comes back for it.
            last = format!("key{}", n / 2);
        }
        assert!(!bench.has(&last), "{last} is back after {n} flushes");
    }
    let kept = (0..40_000).filter(|n| bench.has(&format!("key{n}"))).count();
    assert_eq!(kept, 0, "dropped, and served again");
}

/// And by time alone: nobody swept where dead items may stay, and in the 194th day they were back. What is alive and has not been
/// used for longer must be, and a flush must find it.
#[test]
fn months_bring_nothing_back_and_take_nothing_away() {
    let mut bench = Bench::new(2);
    assert_eq!(bench.put("alive", 10), Ok(Stored::Stored));
    for round in 0..2 {
        for day in 0..230 {
            assert_eq!(bench.put(&format!("dead{day}"), 10), Ok(Stored::Stored));
        }
        bench.flush();
        let alive = format!("alive{round}");
        assert_eq!(bench.put(&alive, 10), Ok(Stored::Stored));
        for day in 0..230 {
            bench.clock.advance(DAY_MS);
            bench.store.begin_turn(&mut bench.local, bench.clock.now());
            // What the maintainer does.
            let now = bench.clock.now();
            while bench.store.needs_round(now) {
                bench.store.sweep(&mut bench.local, now);
            }
            assert!(!bench.has(&format!("dead{day}")), "back on day {day}");
        }
        assert!(bench.has(&alive), "alive, and idle for 230 days");
    }
    assert!(!bench.has("alive"), "flushed twice");
}

/// A thread that only removed items never told the shared count. With one client's sets served by one thread and its deletes
/// by another, the count rose without end, and the index with it, up to a quarter of the store's memory.
#[test]
fn an_index_does_not_grow_with_items_that_another_thread_removes() {
    let mut bench = Bench::new(64);
    let mut remover = bench.store.local(bench.registry.register());
    let level = bench.store.footprint().index_level;
    for n in 0..100_000 {
        let key = format!("key{n}");
        assert_eq!(bench.put(&key, 10), Ok(Stored::Stored));
        std::mem::swap(&mut bench.local, &mut remover);
        assert!(bench.delete(&key));
        std::mem::swap(&mut bench.local, &mut remover);
    }
    assert_eq!(bench.store.footprint().index_level, level, "the index grew for an empty store");
}

/// Each attempt to make room looks at a bounded number of tails and spares those in use. When everything had been read twice, the
/// bound was spent on sparing, and the store said it was out of memory, a hundred times in a row.
#[test]
fn a_store_whose_items_are_all_in_use_makes_room() {
    let mut bench = Bench::new(2);
    let keys: Vec<String> = (0..60_000).map(|n| format!("key{n:05}")).collect();
    for key in &keys {
        assert_eq!(bench.put(key, 60), Ok(Stored::Stored));
    }
    let kept = keys.iter().filter(|key| bench.has(key) && bench.has(key)).count();
    assert!(kept > 10_000, "{kept}");
    let refused = (0..kept).filter(|n| bench.put(&format!("new{n:05}"), 60).is_err()).count();
    assert_eq!(refused, 0, "stores refused by a store that may evict");
}

/// A page being drained waits for a chunk that is reserved. If that is then linked after all, the page went on draining with
/// nobody at it, and the class was never asked for a page again while such an item was its next victim.
#[test]
fn a_drain_that_a_reservation_held_up_is_taken_up_again() {
    let mut bench = Bench::with_one_page();
    assert_eq!(bench.put("tiny", 100), Ok(Stored::Stored));
    let draft = bench.draft(b"slow");
    let mut reservation = bench.store.reserve(&mut bench.local, draft, 100, bench.clock.now()).expect("room");
    assert_eq!(bench.put("large", 10_000), Err(Refused::NoMemory), "the only page has a chunk reserved");
    reservation.unfilled().fill(b'v');
    reservation.advance(100);
    let stored = bench.store.commit(&mut bench.local, reservation, Condition::Always, bench.clock.now());
    assert_eq!(stored, Ok(Stored::Stored));
    assert_eq!(bench.put("large", 10_000), Ok(Stored::Stored), "the page can be had now");
    let census = bench.store.audit(&[&bench.local]);
    assert_eq!((census.items, census.held), (1, 0));
}

/// The same with nobody else after the page: the class reused the one chunk it had in it, over and over, and the rest of the page
/// was nobody's.
#[test]
fn a_class_is_not_left_with_one_chunk_of_a_page_half_drained() {
    let mut bench = Bench::with_one_page();
    let draft = bench.draft(b"slow");
    let mut reservation = bench.store.reserve(&mut bench.local, draft, 100, bench.clock.now()).expect("room");
    assert_eq!(bench.put("tiny", 100), Ok(Stored::Stored));
    assert_eq!(bench.put("large", 10_000), Err(Refused::NoMemory));
    reservation.unfilled().fill(b'v');
    reservation.advance(100);
    let stored = bench.store.commit(&mut bench.local, reservation, Condition::Always, bench.clock.now());
    assert_eq!(stored, Ok(Stored::Stored));
    for n in 0..1000 {
        assert_eq!(bench.put(&format!("{n:04}"), 100), Ok(Stored::Stored));
    }
    assert!(bench.store.audit(&[&bench.local]).items > 200, "a page has room for hundreds");
}

/// Without eviction no page was ever taken from a class, not even an empty one: a store from which all had been deleted went on
/// refusing whatever was of another size.
#[test]
fn an_empty_page_changes_hands_without_eviction() {
    let mut bench = Bench::with(2 << 20, false);
    let stored = (0..60_000).take_while(|n| bench.put(&format!("key{n:05}"), 60).is_ok()).count();
    assert_eq!(bench.put("large", 500_000), Err(Refused::NoMemory));
    for n in 0..stored {
        assert!(bench.delete(&format!("key{n:05}")));
    }
    assert_eq!(bench.put("large", 500_000), Ok(Stored::Stored));
}

/// Values that readers have pinned stay in their queue's place. With COLD made of such values alone, nothing else was looked
/// at, and the store refused although there was plenty to evict.
#[test]
fn a_few_pinned_values_do_not_keep_the_others_from_being_evicted() {
    let mut bench = Bench::new(16);
    let len = 900_000;
    for n in 0..64 {
        assert_eq!(bench.put(&format!("key{n}"), len), Ok(Stored::Stored));
    }
    let mut pins = Vec::new();
    for n in 0..64 {
        let key = format!("key{n}");
        let key = key.as_bytes();
        let pinned =
            bench.store.get(&mut bench.local, (bench.store.hash(key), key), bench.clock.now(), None, |view| match view
                .map(|view| view.value)
            {
                Some(slabd::store::Value::Pinned(pinned)) => Some(pinned),
                _ => None,
            });
        if pins.len() < 13 {
            pins.extend(pinned);
        }
    }
    assert_eq!(pins.len(), 13);
    for n in 0..200 {
        assert_eq!(bench.put(&format!("new{n}"), len), Ok(Stored::Stored), "store {n}");
    }
}

/// Room for what is to take an item's place if that is there was made by evicting the item itself, where a class has few: an
/// append was NOT_STORED, and the value it was for was gone. And a key that had just been stored was the next to go.
#[test]
fn what_is_extended_or_replaced_is_not_what_is_evicted_for_it() {
    for mode in [LruMode::S3Fifo, LruMode::Segmented, LruMode::Flat] {
        let mut bench = Bench::with_mode(8 << 20, true, mode);
        for n in 0..60_000 {
            assert_eq!(bench.put(&format!("fill{n}"), 100), Ok(Stored::Stored));
        }
        // The last is in pieces when it is longer.
        for value_len in [3000, 6000, 16_000, 16_300] {
            for n in 0..40 {
                let name = format!("log{value_len}-{n}");
                let (key, now) = (name.as_bytes(), bench.clock.now());
                let (hash, terms) = (bench.store.hash(key), Terms { compare: None, cas: None });
                assert_eq!(bench.put(&name, value_len), Ok(Stored::Stored));
                let more = [b'm'; 200];
                for side in [Side::Append, Side::Prepend] {
                    let stored = bench.store.extend(&mut bench.local, (hash, key), side, &more, terms, now);
                    assert_eq!(stored, Ok(Stored::Stored), "{mode:?} {value_len} {n}");
                }
                let draft = bench.draft(key);
                let value = vec![b'r'; value_len + 600];
                let stored = bench.store.put(&mut bench.local, draft, Condition::Present, &value, now);
                assert_eq!(stored, Ok(Stored::Stored), "{mode:?} {value_len} {n}");
                // A value that is received bit by bit, a short one and one in pieces.
                for value_len in [value_len + 100, 5 * value_len] {
                    let draft = bench.draft(key);
                    let mut reservation = bench.store.reserve(&mut bench.local, draft, value_len, now).expect("room");
                    while !reservation.is_complete() {
                        bench.store.grow(&mut bench.local, &mut reservation, now).expect("room");
                        let len = reservation.unfilled().len();
                        reservation.advance(len);
                    }
                    let stored = bench.store.commit(&mut bench.local, reservation, Condition::Present, now);
                    assert_eq!(stored, Ok(Stored::Stored), "{mode:?} {value_len} {n}");
                }
            }
        }
        assert!(bench.registry.totals().evictions > 0, "room had to be made");
        assert_eq!(bench.store.audit(&[&bench.local]).held, 0);
    }
}

/// In a class of few items the probation had room for one: every key that was stored pushed out the one stored before it.
#[test]
fn a_key_that_has_just_been_stored_is_not_the_next_to_go() {
    let mut bench = Bench::with_mode(8 << 20, true, LruMode::S3Fifo);
    for n in 0..60_000 {
        assert_eq!(bench.put(&format!("fill{n}"), 100), Ok(Stored::Stored));
    }
    for n in 0..40 {
        assert_eq!(bench.put(&format!("rare{n}"), 2000), Ok(Stored::Stored));
        assert!(n == 0 || bench.has(&format!("rare{}", n - 1)), "{n}");
    }
}

/// What a client was reading of a page that an operator moved was evicted, as if there had been no room for it.
#[test]
fn a_value_that_is_being_read_outlives_the_move_of_its_page() {
    use slabd::store::Value;
    for patience in [3, 200] {
        let mut bench = Bench::new(1024);
        for n in 0..30 {
            assert_eq!(bench.put(&format!("key{n:02}"), 100_000), Ok(Stored::Stored));
        }
        let now = bench.clock.now();
        // Of every page the class has, something is read.
        let pins: Vec<_> = (0..30)
            .filter_map(|n| {
                let key = format!("key{n:02}");
                let key = (bench.store.hash(key.as_bytes()), key.as_bytes());
                bench.store.get(&mut bench.local, key, now, None, |view| match view.map(|view| view.value) {
                    Some(Value::Pinned(pinned)) => Some(pinned),
                    _ => None,
                })
            })
            .collect();
        assert_eq!(pins.len(), 30, "they are long enough to be pinned");
        let from = bench.store.samples(now).into_iter().max_by_key(|sample| sample.pages).expect("classes").class;
        bench.store.ask_reassign(from.number().into(), 1).expect("it has pages to spare");
        let mut page_move = bench.store.take_reassign().expect("one was asked for");
        for _ in 0..patience {
            assert_ne!(bench.store.step_move(&mut bench.local, &mut page_move, now), Progress::Done);
        }
        drop(pins);
        while bench.store.step_move(&mut bench.local, &mut page_move, now) != Progress::Done {}
        let left = (0..30).filter(|n| bench.has(&format!("key{n:02}"))).count();
        let totals = bench.registry.totals();
        assert_eq!(left as u64 + totals.slab_reassign_busy_deletes, 30);
        assert_eq!(totals.slab_reassign_busy_deletes == 0, patience < 100, "who never ends to read is not waited for");
        assert_eq!(bench.store.audit(&[&bench.local]).held, 0);
    }
}

/// Threads add to and take from the gauges on their own, in no order that a third one sees: what one has taken away may be
/// counted before what another has added, and `curr_items` was 18446744073709551615.
#[test]
fn a_gauge_is_never_less_than_nothing() {
    let registry = Registry::default();
    let (adds, takes) = (registry.register(), registry.register());
    takes.curr_items.sub(1);
    takes.bytes.sub(100);
    assert_eq!((registry.totals().curr_items, registry.totals().bytes), (0, 0));
    adds.curr_items.add(2);
    assert_eq!(registry.totals().curr_items, 1);
}

/// A reservation names a chunk of its own store; in another one that chunk is somebody else's, and may be read while it is filled.
#[test]
#[should_panic(expected = "another store")]
fn a_reservation_is_committed_to_its_own_store_only() {
    let (mut one, mut other) = (Bench::new(1), Bench::new(1));
    let draft = one.draft(b"key");
    let reservation = one.store.reserve(&mut one.local, draft, 0, one.clock.now()).expect("room");
    let _ = other.store.commit(&mut other.local, reservation, Condition::Always, other.clock.now());
}

/// Each worker had a thousand numbers at hand: a key deleted and stored again by another worker could get a smaller one than before, and
/// who used it as a fencing token was shut out.
#[test]
fn numbers_rise_from_thread_to_thread() {
    let bench = Bench::with(8 << 20, true);
    let mut others: Vec<_> = (0..3).map(|_| bench.store.local(bench.registry.register())).collect();
    let mut last = 0;
    for round in 0..1000 {
        let now = bench.clock.now();
        let draft = bench.draft(b"lock");
        let local = &mut others[round * 7 % 3];
        bench.store.begin_turn(local, now);
        for _ in 0..round % 4 {
            assert_eq!(bench.store.put_apart(local, draft, Condition::Always, b"x", now), Ok(Stored::Stored));
            let cas = bench.store.get(local, draft.key, now, None, |view| view.map_or(0, |view| view.cas));
            assert!(cas > last, "{cas} after {last}");
            last = cas;
        }
        bench.store.delete(local, draft.key, now);
    }
}

/// A client's own number near the greatest made each store of its key take a block of sixteen, which nobody used: a few hundred thousand
/// stores a second were enough for numbers to run ahead of the time that they begin from after a restart.
#[test]
fn a_number_that_a_client_chose_does_not_use_up_ours() {
    let mut bench = Bench::new(1);
    for chosen in [u64::MAX - 2000, u64::MAX] {
        assert_eq!(bench.put("ours", 1), Ok(Stored::Stored));
        let before = bench.local.last_written().cas;
        let draft = Draft { cas: Some(chosen), ..bench.draft(b"theirs") };
        let stored = bench.store.put(&mut bench.local, draft, Condition::Always, b"x", bench.clock.now());
        assert_eq!(stored, Ok(Stored::Stored));
        for step in 1..1000 {
            assert_eq!(bench.put("theirs", 1), Ok(Stored::Stored));
            let cas = bench.local.last_written().cas;
            assert!(cas == chosen.wrapping_add(step) || chosen == u64::MAX && cas > before, "{cas} after {chosen}");
        }
        assert_eq!(bench.put("ours", 1), Ok(Stored::Stored));
        let used = bench.local.last_written().cas - before;
        assert!(used <= 1001 + 16, "1001 stores have used {used} numbers");
    }
}

/// `reclaimed` is what was won from the dead when room was needed, but all that the maintainer swept away was counted as well, and so
/// twice; as were its evictions, as made by the storing thread itself.
#[test]
fn what_the_maintainer_removes_is_not_counted_as_removed_for_a_store() {
    let mut bench = Bench::with_memory(8 * PAGE_LEN_MIN as u64);
    for n in 0..50 {
        let key = format!("mortal{n}");
        let draft = Draft { deadline: Deadline::from_exptime(1, bench.clock.now()), ..bench.draft(key.as_bytes()) };
        let stored = bench.store.put(&mut bench.local, draft, Condition::Always, b"x", bench.clock.now());
        assert_eq!(stored, Ok(Stored::Stored));
    }
    bench.clock.advance(3000);
    while !bench.store.sweep(&mut bench.local, bench.clock.now()).round {}
    let totals = bench.registry.totals();
    assert_eq!((totals.crawler_reclaimed, totals.expired_unfetched, totals.reclaimed), (50, 50, 0));
    for n in 0..400 {
        assert_eq!(bench.put(&format!("large{n}"), 3000), Ok(Stored::Stored));
    }
    let before = bench.registry.totals();
    assert!(before.direct_reclaims > 0, "the pages are full");
    assert_eq!(before.direct_reclaims, before.evictions);
    let now = bench.clock.now();
    let samples = bench.store.samples(now);
    let from = samples.iter().max_by_key(|sample| sample.pages).expect("classes").class;
    let mut page_move = bench.store.begin_move(from, samples[0].class);
    while bench.store.step_move(&mut bench.local, &mut page_move, now) == Progress::More {}
    let after = bench.registry.totals();
    assert!(after.evictions > before.evictions, "the page was full");
    assert_eq!(after.direct_reclaims, before.direct_reclaims);
}

/// A page that was emptied for a store was counted as moved before it had moved, and once more at each store that looked whether it
/// could.
#[test]
fn a_page_that_does_not_move_is_not_counted_as_moved() {
    let mut bench = Bench::with_one_page();
    let draft = bench.draft(b"held");
    let held = bench.store.reserve(&mut bench.local, draft, 3000, bench.clock.now()).expect("room");
    assert_eq!(bench.put("small", 3000), Ok(Stored::Stored));
    for _ in 0..10 {
        assert_eq!(bench.put("large", 9000), Err(Refused::NoMemory));
    }
    assert_eq!(bench.registry.totals().slabs_moved, 0);
    drop(held);
    assert_eq!(bench.put("large", 9000), Ok(Stored::Stored));
    assert!(bench.registry.totals().slabs_moved <= 1);
}

/// Where all classes had one page, a store in a class without one took another's last page, and all that was in it was lost, though a
/// longer chunk was free; and the other class took it back with its next store, and so on.
#[test]
fn a_last_page_stays_where_a_longer_chunk_is_free_and_goes_once_a_second_at_most() {
    let mut bench = Bench::with_memory(2 * PAGE_LEN_MIN as u64);
    for n in 0..100 {
        assert_eq!(bench.put(&format!("small{n:02}"), 20), Ok(Stored::Stored));
    }
    assert_eq!(bench.put("large0", 5000), Ok(Stored::Stored));
    assert_eq!(bench.put("middle", 500), Ok(Stored::Stored));
    let small = (0..100).filter(|n| bench.has(&format!("small{n:02}"))).count();
    assert_eq!((small, bench.has("large0"), bench.has("middle")), (100, true, true));
    assert_eq!(bench.registry.totals().slabs_moved, 0);
    for seconds in 1..10 {
        for n in 0..100 {
            assert_eq!(bench.put(&format!("large{n}"), 5000), Ok(Stored::Stored));
            assert_eq!(bench.put(&format!("middle{n}"), 500), Ok(Stored::Stored));
            assert_eq!(bench.put(&format!("small{n:02}"), 20), Ok(Stored::Stored));
        }
        let moved = bench.registry.totals().slabs_moved;
        assert!(moved <= seconds, "{moved} pages have moved in {seconds} seconds");
        bench.clock.advance(1000);
    }
    assert_eq!(bench.store.audit(&[&bench.local]).held, 0);
}
