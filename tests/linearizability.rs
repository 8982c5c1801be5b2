//! Short histories of a few threads at one key, each held against every order that the clock allows: one of them must explain all
//! answers (Wing and Gong, "Testing and Verifying Concurrent Objects", 1993). The store has room, so that nothing is evicted, and its
//! index grows all the while.
//!
//! `SLABD_SEED` chooses other histories, `SLABD_HISTORIES` how many.

use slabd::clock::{Clock, Now};
use slabd::limits::PIN_VALUE_MIN;
use slabd::settings::{ClassSizes, LruMode, LruTuning};
use slabd::stats::Registry;
use slabd::store::{
    Condition, Deadline, Draft, Lifetimes, Local, Refused, Side, Store, StoreConfig, Stored, Terms, Value,
};
use std::collections::HashSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

const THREADS: usize = 4;
const OPS_PER_THREAD: usize = 4;

/// Values of histories about long ones end with this much that says nothing.
const LONG_TAIL: usize = PIN_VALUE_MIN + 1000;

/// What a thread did and what it was told.
#[derive(Clone, Debug)]
enum Did {
    /// Number and CAS number, if it was there.
    Get(Option<(u64, u64)>),
    Put(u64, Condition, Stored),
    /// The new number, if it was there.
    Count(Option<u64>),
    /// Puts this digit behind the number; whether it was there.
    Append(u64, bool),
    Delete(bool),
}

/// One operation, from just before to just after.
#[derive(Clone, Debug)]
struct Event {
    invoked: u64,
    returned: u64,
    did: Did,
}

/// The key as the sequential model has it. Of a CAS number nobody has seen yet it is known what it is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Model {
    number: Option<u64>,
    cas: Option<u64>,
    /// Greater than this: the last one seen of this item.
    above: u64,
    not: Vec<u64>,
}

impl Model {
    /// A change: a new CAS number, greater than any before in this item's life.
    fn write(&mut self, number: u64) {
        let above = if self.number.is_some() { self.cas.unwrap_or(self.above) } else { 0 };
        *self = Self { number: Some(number), cas: None, above, not: Vec::new() };
    }

    /// Whether the CAS number can be this one; from then on it is.
    fn has_cas(&mut self, cas: u64) -> bool {
        let fits = self.cas.map_or(cas > self.above && !self.not.contains(&cas), |known| known == cas);
        self.cas = Some(cas);
        fits
    }

    /// Whether the CAS number can be another one than this.
    fn has_other_cas(&mut self, cas: u64) -> bool {
        if self.cas.is_none() && cas > self.above {
            self.not.push(cas);
        }
        self.cas != Some(cas)
    }

    /// Whether `did` could have happened now; then it has.
    fn accept(&mut self, did: &Did) -> bool {
        match *did {
            Did::Get(None) => self.number.is_none(),
            Did::Get(Some((number, cas))) => self.number == Some(number) && self.has_cas(cas),
            Did::Put(number, condition, stored) => self.accept_put(number, condition, stored),
            Did::Count(counted) => {
                let expected = self.number.map(|number| number + 1);
                expected.into_iter().for_each(|number| self.write(number));
                counted == expected
            }
            Did::Append(digit, stored) => {
                let expected = self.number.map(|number| number * 10 + digit);
                expected.into_iter().for_each(|number| self.write(number));
                stored == expected.is_some()
            }
            Did::Delete(deleted) => deleted == std::mem::take(self).number.is_some(),
        }
    }

    fn accept_put(&mut self, number: u64, condition: Condition, stored: Stored) -> bool {
        let is_there = self.number.is_some();
        let fits = match (condition, stored) {
            (Condition::Always, Stored::Stored) => true,
            (Condition::Absent, Stored::Stored) | (Condition::Present, Stored::NotStored) => !is_there,
            (Condition::Absent, Stored::NotStored) | (Condition::Present, Stored::Stored) => is_there,
            (Condition::Cas(_), Stored::NotFound) => !is_there,
            (Condition::Cas(cas), Stored::Exists) => is_there && self.has_other_cas(cas),
            (Condition::Cas(cas), Stored::Stored) => is_there && self.has_cas(cas),
            _ => false,
        };
        if stored == Stored::Stored {
            self.write(number);
        }
        fits
    }
}

/// Whether some order of the events that has each between its invocation and its return explains them all.
fn is_linearizable(events: &[Event]) -> bool {
    fn go(events: &[Event], done: u32, model: &Model, seen: &mut HashSet<(u32, Model)>) -> bool {
        if done.count_ones() as usize == events.len() {
            return true;
        }
        if !seen.insert((done, model.clone())) {
            return false;
        }
        let open = || (0..events.len()).filter(|&n| done & 1 << n == 0);
        // What had not been invoked when another open one had returned already cannot come before that one.
        let first_return = open().map(|n| events[n].returned).min().expect("some are open");
        open().filter(|&n| events[n].invoked < first_return).any(|n| {
            let mut next = model.clone();
            next.accept(&events[n].did) && go(events, done | 1 << n, &next, seen)
        })
    }
    go(events, 0, &Model::default(), &mut HashSet::new())
}

/// One thread's part in all histories.
struct Worker<'s> {
    store: &'s Store,
    local: Local,
    clock: &'s AtomicU64,
    rng: fastrand::Rng,
    number: usize,
    now: Now,
    /// The CAS number it has seen last, in this history.
    cas: u64,
}

impl Worker<'_> {
    /// Does a few things at `key`, and stores something else meanwhile, so that the index grows.
    fn history(&mut self, history: usize, key: &[u8]) -> Vec<Event> {
        self.cas = 1;
        let is_long = history % 3 == 2;
        (0..OPS_PER_THREAD)
            .map(|op| {
                if self.rng.bool() {
                    let filler = format!("filler{history}-{}-{op}", self.number);
                    self.put(filler.as_bytes(), Condition::Always, b"");
                }
                let number = 100 + 20 * (self.number * OPS_PER_THREAD + op) as u64;
                // The clock only orders events of different threads; sequentially consistent, so that it does.
                let invoked = self.clock.fetch_add(1, Ordering::SeqCst);
                self.dawdle();
                let did = if is_long { self.long_op(key, number) } else { self.short_op(key, number) };
                Event { invoked, returned: self.clock.fetch_add(1, Ordering::SeqCst), did }
            })
            .collect()
    }

    /// With fewer processors than threads, operations overlap where one gives way to another, so now and then one does.
    fn dawdle(&mut self) {
        if self.rng.u8(..) < 60 {
            std::thread::yield_now();
        }
    }

    fn short_op(&mut self, key: &[u8], number: u64) -> Did {
        match self.rng.u8(0..12) {
            0..=2 => self.get(key),
            3..=6 => {
                let condition = self.condition();
                let stored = self.put(key, condition, number.to_string().as_bytes());
                Did::Put(number, condition, stored)
            }
            7..=8 => self.count(key),
            9 => self.append(key),
            _ => self.delete(key),
        }
    }

    /// Long values are pinned and never written in place, and their chunks are filled before they are linked.
    fn long_op(&mut self, key: &[u8], number: u64) -> Did {
        match self.rng.u8(0..10) {
            0..=3 => self.get(key),
            4..=8 => {
                let mut value = number.to_string().into_bytes();
                value.resize(LONG_TAIL, b' ');
                let condition = self.condition();
                let stored = if self.rng.bool() {
                    self.put(key, condition, &value)
                } else {
                    let draft = self.draft(key);
                    let reserved = self.store.reserve(&mut self.local, draft, value.len(), self.now);
                    let mut reservation = reserved.expect("there is room");
                    reservation.unfilled().copy_from_slice(&value);
                    reservation.advance(value.len());
                    self.store.commit(&mut self.local, reservation, condition, self.now).expect("there is room")
                };
                Did::Put(number, condition, stored)
            }
            _ => self.delete(key),
        }
    }

    fn condition(&mut self) -> Condition {
        match self.rng.u8(0..6) {
            0 => Condition::Absent,
            1 => Condition::Present,
            2..=3 => Condition::Cas(self.cas),
            _ => Condition::Always,
        }
    }

    fn draft<'k>(&self, key: &'k [u8]) -> Draft<'k> {
        Draft::new((self.store.hash(key), key), 0, Deadline::NEVER)
    }

    fn get(&mut self, key: &[u8]) -> Did {
        let hash = self.store.hash(key);
        let gives_way = self.rng.u8(..) < 100;
        let found = self.store.get(&mut self.local, (hash, key), self.now, None, |view| {
            // No store would wait under a lock; this test does, so that others find it held.
            if gives_way {
                std::thread::yield_now();
            }
            view.map(|view| match view.value {
                Value::Borrowed(bytes) => (parse(bytes), view.cas),
                Value::Pinned(pinned) => (parse(&pinned.parts().collect::<Vec<_>>().concat()), view.cas),
            })
        });
        if let Some((_, cas)) = found {
            self.cas = cas;
        }
        Did::Get(found)
    }

    fn put(&mut self, key: &[u8], condition: Condition, value: &[u8]) -> Stored {
        let draft = self.draft(key);
        self.store.put(&mut self.local, draft, condition, value, self.now).expect("there is room")
    }

    fn count(&mut self, key: &[u8]) -> Did {
        let hash = self.store.hash(key);
        let gives_way = self.rng.u8(..) < 100;
        let counted =
            self.store.rewrite(&mut self.local, (hash, key), (None, Lifetimes::default()), self.now, |value, _| {
                if gives_way {
                    std::thread::yield_now();
                }
                let number = parse(value) + 1;
                Ok::<_, Refused>((number.to_string().bytes().collect(), number))
            });
        Did::Count(counted.expect("there is room"))
    }

    fn append(&mut self, key: &[u8]) -> Did {
        let (hash, digit) = (self.store.hash(key), self.rng.u64(0..10));
        let bytes = digit.to_string();
        let stored =
            self.store.extend(&mut self.local, (hash, key), Side::Append, bytes.as_bytes(), Terms::default(), self.now);
        Did::Append(digit, stored == Ok(Stored::Stored))
    }

    fn delete(&mut self, key: &[u8]) -> Did {
        Did::Delete(self.store.delete(&mut self.local, (self.store.hash(key), key), self.now))
    }
}

/// The number a value is, whatever blanks are behind it.
///
/// # Panics
/// When it is none: it was torn.
fn parse(value: &[u8]) -> u64 {
    std::str::from_utf8(value).expect("digits").trim_end().parse().expect("a number")
}

fn env(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn every_history_of_one_key_has_an_order_that_explains_it() {
    let (seed, histories) = (env("SLABD_SEED", 1) as u64, env("SLABD_HISTORIES", 3000));
    println!("SLABD_SEED={seed}");
    let config = StoreConfig {
        memory_len: 256 << 20,
        class_len_min: 0,
        item_len_max: 1 << 20,
        classes: ClassSizes::default(),
        with_cas: true,
        evict: false,
        lru: LruMode::Segmented,
        lru_tuning: LruTuning::default(),
        hash_seed: Some(seed),
    };
    let store = Store::new(&config).expect("the memory can be reserved");
    let (registry, clock, barrier) = (Registry::default(), AtomicU64::new(0), Barrier::new(THREADS));
    let mut rng = fastrand::Rng::with_seed(seed);
    let now = Clock::manual().now();
    let mut workers: Vec<_> = (0..THREADS)
        .map(|number| Worker {
            store: &store,
            local: store.local(registry.register()),
            clock: &clock,
            rng: rng.fork(),
            number,
            now,
            cas: 1,
        })
        .collect();
    // As many items as the index holds before it splits its first bucket: from here on each one more splits one.
    for n in 0..24_600 {
        workers[0].put(format!("before{n}").as_bytes(), Condition::Always, b"");
    }
    let level = store.footprint().index_len;
    let parts: Vec<Vec<Vec<Event>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .iter_mut()
            .map(|worker| {
                let barrier = &barrier;
                scope.spawn(move || {
                    (0..histories)
                        .map(|history| {
                            let key = format!("key{history}");
                            barrier.wait();
                            worker.history(history, key.as_bytes())
                        })
                        .collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a value was torn")).collect()
    });
    let mut overlaps = 0;
    for history in 0..histories {
        let mut events: Vec<Event> = parts.iter().flat_map(|part| part[history].clone()).collect();
        events.sort_by_key(|event| event.invoked);
        overlaps += events.windows(2).filter(|pair| pair[1].invoked < pair[0].returned).count();
        assert!(is_linearizable(&events), "SLABD_SEED={seed}, history {history} has no order: {events:#?}");
    }
    println!("{histories} histories, {overlaps} overlaps");
    // How many do depends on the machine and what else it does.
    assert!(histories < 1000 || overlaps > 0, "no two operations overlapped: nothing was shown");
    assert!(histories < 1000 || store.footprint().index_len > level, "the index was to grow meanwhile");
    let census = store.audit(&workers.iter().map(|worker| &worker.local).collect::<Vec<_>>());
    assert_eq!(census.held, 0);
}

/// The checker itself: it must say no as well.
#[test]
fn a_history_without_an_order_is_found_out() {
    let event = |invoked, returned, did| Event { invoked, returned, did };
    let put = |number| Did::Put(number, Condition::Always, Stored::Stored);
    let stale = [event(0, 1, put(1)), event(2, 3, put(2)), event(4, 5, Did::Get(Some((1, 7))))];
    assert!(!is_linearizable(&stale), "a value replaced before the get began");
    let overlapping = [event(0, 1, put(1)), event(2, 5, put(2)), event(3, 4, Did::Get(Some((1, 7))))];
    assert!(is_linearizable(&overlapping));
    let lost = [event(0, 1, put(1)), event(2, 6, Did::Count(Some(2))), event(3, 5, Did::Count(Some(2)))];
    assert!(!is_linearizable(&lost), "one of two counts was lost");
    let cas = |returned, cas| event(2, returned, Did::Put(9, Condition::Cas(cas), Stored::Stored));
    let seen = [event(0, 1, put(1)), event(1, 2, Did::Get(Some((1, 7)))), cas(5, 7), cas(6, 7)];
    assert!(!is_linearizable(&seen), "two stores for one CAS number");
    let fallen = [event(0, 1, put(1)), event(2, 3, Did::Get(Some((1, 7)))), event(4, 5, put(2))];
    let fallen: Vec<_> = fallen.into_iter().chain([event(6, 7, Did::Get(Some((2, 6))))]).collect();
    assert!(!is_linearizable(&fallen), "a CAS number fell");
}
