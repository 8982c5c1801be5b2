//! Seeded random operations on a store and on a naive twin of it, compared after each, with an audit after each batch.
//!
//! `SLABD_SEED` repeats one run; `SLABD_MODEL_SEEDS` and `SLABD_MODEL_STEPS` make it longer.

use crossbeam_utils::CachePadded;
use slabd::clock::{Clock, Now};
use slabd::limits::PIN_VALUE_MIN;
use slabd::settings::{LruMode, LruTuning};
use slabd::stats::{Block, Registry};
use slabd::store::{
    Condition, Deadline, Draft, Local, Pinned, Refused, Side, Store, StoreConfig, Stored, Terms, Value,
};
use std::collections::HashMap;
use std::sync::Arc;

/// What the twin knows of an item.
#[derive(Clone, Debug, PartialEq)]
struct Twin {
    flags: u32,
    value: Vec<u8>,
    cas: u64,
    /// Milliseconds at which it is dead; none for never.
    dies_ms: Option<u64>,
}

/// A value a reader has pinned, and what it must stay.
struct Pin {
    pinned: Pinned,
    value: Vec<u8>,
}

struct Model {
    store: Store,
    locals: Vec<Local>,
    clock: Clock,
    now_ms: u64,
    twin: HashMap<Vec<u8>, Twin>,
    pins: Vec<Pin>,
    /// Items may go missing: memory is short.
    evicts: bool,
    rng: fastrand::Rng,
    evicted: u64,
    refused: u64,
    with_cas: bool,
    /// Now and then the queues get other rules.
    modes_change: bool,
}

impl Model {
    fn new(config: &StoreConfig, seed: u64) -> Self {
        let store = Store::new(config).expect("a few pages can be mapped");
        let registry = Registry::default();
        let locals = (0..3).map(|_| store.local(registry.register())).collect();
        Self {
            store,
            locals,
            clock: Clock::manual(),
            now_ms: 0,
            twin: HashMap::new(),
            pins: Vec::new(),
            evicts: config.evict,
            rng: fastrand::Rng::with_seed(seed),
            evicted: 0,
            refused: 0,
            with_cas: config.with_cas,
            modes_change: false,
        }
    }

    fn change_mode(&mut self) {
        let modes = [LruMode::Flat, LruMode::Segmented, LruMode::S3Fifo];
        self.store.set_lru_mode(modes[self.rng.usize(0..3)]);
        let hot_pct = self.rng.u32(0..=80);
        self.store.set_lru_tuning(LruTuning {
            hot_pct,
            warm_pct: self.rng.u32(0..=80 - hot_pct),
            hot_max_factor: self.rng.f64() + 0.01,
            warm_max_factor: self.rng.f64() * 3.0 + 0.01,
            temporary_ttl: [None, Some(0), Some(3), Some(100)][self.rng.usize(0..4)],
        });
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn key(&mut self) -> Vec<u8> {
        let n = self.rng.u32(0..1200);
        let mut key = format!("key{n}").into_bytes();
        if n.is_multiple_of(7) {
            key.resize(250 - n as usize % 100, b'k');
        }
        key
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.rng.u8(..) {
            0..=149 => self.rng.usize(0..300),
            150..=219 => self.rng.usize(0..8000),
            220..=249 => self.rng.usize(PIN_VALUE_MIN - 20..60_000),
            _ => self.rng.usize(60_000..900_000),
        };
        // Bytes that say where they belong, so that a piece in the wrong place is found out.
        let seed = self.rng.usize(..);
        (0..len).map(|at| (seed ^ at ^ at >> 8).to_le_bytes()[0]).collect()
    }

    fn is_dead(&self, twin: &Twin) -> bool {
        twin.dies_ms.is_some_and(|dies| dies <= self.now_ms)
    }

    /// The twin's item, if it is alive.
    fn alive(&self, key: &[u8]) -> Option<&Twin> {
        self.twin.get(key).filter(|twin| !self.is_dead(twin))
    }

    /// Reads from the store, and takes out of the twin what eviction took out of the store.
    fn read(&mut self, key: &[u8], touch: Option<i64>) -> Option<(u32, u64, Vec<u8>)> {
        let now = self.now();
        let hash = self.store.hash(key);
        let deadline = touch.map(|exptime| Deadline::from_exptime(exptime, now));
        let local = &mut self.locals[self.rng.usize(0..3)];
        let mut pin = None;
        let found = self.store.get(local, (hash, key), now, deadline, |view| {
            view.map(|view| {
                assert_eq!(view.key, key);
                let value = match view.value {
                    Value::Borrowed(bytes) => bytes.to_vec(),
                    Value::Pinned(pinned) => {
                        let value = pinned.parts().collect::<Vec<_>>().concat();
                        pin = Some(pinned);
                        value
                    }
                };
                (view.flags, view.cas, value)
            })
        });
        if let (Some(pinned), Some((_, _, value))) = (pin, &found)
            && self.pins.len() < 3
            && self.rng.u8(..) < 60
        {
            self.pins.push(Pin { pinned, value: value.clone() });
        }
        found
    }

    fn check(&mut self, key: &[u8]) {
        let touch = (self.rng.u8(..) < 20).then(|| self.rng.i64(0..20));
        let found = self.read(key, touch);
        match (found, self.alive(key).cloned()) {
            (None, Some(_)) => {
                assert!(self.evicts, "an item vanished from a store that does not evict");
                self.evicted += 1;
                self.twin.remove(key);
            }
            (None, None) => {}
            (Some(found), None) => panic!("{:?} came back from the dead: {} bytes", key, found.2.len()),
            (Some((flags, cas, value)), Some(twin)) => {
                assert_eq!((flags, value.len()), (twin.flags, twin.value.len()));
                assert!(value == twin.value, "a value of {} bytes has wrong bytes", value.len());
                if self.with_cas && twin.cas != 0 {
                    assert_eq!(cas, twin.cas, "a CAS number changed without a change");
                }
                let dies_ms = match touch {
                    Some(exptime) => self.dies(exptime),
                    None => twin.dies_ms,
                };
                self.twin.insert(key.to_vec(), Twin { cas, dies_ms, ..twin });
            }
        }
    }

    fn dies(&self, exptime: i64) -> Option<u64> {
        // The clock of this test moves in quarter seconds, so lifetimes are exact.
        match exptime {
            0 => None,
            ..0 => Some(0),
            _ => Some(self.now_ms + exptime.unsigned_abs() * 1000),
        }
    }

    fn store_value(&mut self, key: &[u8]) {
        // What the store has is settled first, so that a failed condition can be told from an eviction.
        self.check(key);
        let (value, now) = (self.value(), self.now());
        let exptime = [0, 0, 0, 1, 5, -1][self.rng.usize(0..6)];
        let before = self.alive(key).cloned();
        let known_cas = before.as_ref().map_or(7, |twin| twin.cas);
        let condition = match self.rng.u8(0..8) {
            0..=3 => Condition::Always,
            4 => Condition::Absent,
            5 => Condition::Present,
            6 => Condition::Cas(known_cas),
            _ => Condition::Cas(known_cas.wrapping_add(1)),
        };
        let draft = Draft {
            key: (self.store.hash(key), key),
            flags: self.rng.u32(..),
            deadline: Deadline::from_exptime(exptime, now),
        };
        let (which, value_len) = (self.rng.usize(0..3), value.len());
        let stored = if self.rng.bool() {
            self.store.put(&mut self.locals[which], draft, condition, &value, now)
        } else {
            self.store_in_parts(which, draft, condition, &value, now)
        };
        // A reservation may have evicted the very item the condition asks for.
        if self.evicts && stored != Ok(Stored::Stored) {
            let found = self.read(key, None);
            if found.is_none() && before.is_some() {
                self.twin.remove(key);
                self.evicted += 1;
                return;
            }
        }
        let expected = match (condition, &before) {
            (Condition::Absent, Some(_)) | (Condition::Present, None) => Stored::NotStored,
            (Condition::Cas(_), None) => Stored::NotFound,
            (Condition::Cas(cas), Some(twin)) if !self.with_cas || cas != twin.cas => Stored::Exists,
            _ => Stored::Stored,
        };
        match stored {
            Ok(Stored::Stored) => {
                // With eviction the item may have gone between the check and the store, which then is right to store.
                assert!(expected == Stored::Stored || self.evicts, "{condition:?} must not hold: {before:?}");
                let twin = Twin { flags: draft.flags, value, cas: 0, dies_ms: self.dies(exptime) };
                let last_cas = before.map_or(0, |twin| twin.cas);
                self.twin.insert(key.to_vec(), twin);
                if let Some((_, cas, _)) = self.read(key, None) {
                    // To make room for it the store may have evicted the old item: then the number is new, not greater.
                    let renewed = if self.evicts { cas != last_cas } else { cas > last_cas };
                    assert!(!self.with_cas || renewed, "CAS numbers of a key rise: {last_cas}, {cas}");
                    self.twin.get_mut(key).expect("just inserted").cas = cas;
                }
            }
            Ok(other) => assert_eq!(other, expected),
            Err(refused) => {
                assert_eq!(refused, Refused::NoMemory, "no value of this test is too large");
                self.refused += 1;
                // Pins can hold all of a small store; nothing else may make one refuse that evicts.
                assert!(!self.evicts || !self.pins.is_empty(), "a store that evicts refuses {} bytes", value_len);
            }
        }
    }

    /// As the value comes from a socket: a part now, a part then.
    fn store_in_parts(
        &mut self,
        which: usize,
        draft: Draft<'_>,
        condition: Condition,
        mut value: &[u8],
        now: Now,
    ) -> Result<Stored, Refused> {
        let local = &mut self.locals[which];
        let mut reservation = self.store.reserve(local, draft, value.len(), now)?;
        while !reservation.is_complete() {
            self.store.grow(local, &mut reservation, now)?;
            let room = reservation.unfilled();
            let len = room.len().min(1 + self.rng.usize(0..40_000)).min(value.len());
            room[..len].copy_from_slice(&value[..len]);
            reservation.advance(len);
            value = &value[len..];
        }
        self.store.commit(local, reservation, condition, now)
    }

    fn extend(&mut self, key: &[u8]) {
        self.check(key);
        let len = self.rng.usize(0..200);
        let bytes = vec![self.rng.u8(..); len];
        let side = if self.rng.bool() { Side::Append } else { Side::Prepend };
        let (now, which) = (self.now(), self.rng.usize(0..3));
        let before = self.alive(key).cloned();
        let stored = self.store.extend(
            &mut self.locals[which],
            (self.store.hash(key), key),
            side,
            &bytes,
            Terms::default(),
            now,
        );
        match (stored, before) {
            (Ok(Stored::Stored), Some(twin)) => {
                let value = if side == Side::Append { [&twin.value[..], &bytes] } else { [&bytes, &twin.value[..]] };
                let value = value.concat();
                self.twin.insert(key.to_vec(), Twin { value, cas: 0, ..twin });
                self.check(key);
            }
            (Ok(Stored::NotStored), before) => {
                assert!(before.is_none() || self.evicts);
                self.twin.remove(key);
            }
            (Err(_), Some(_)) => {}
            other => panic!("extend: {other:?}"),
        }
    }

    fn count_up(&mut self, key: &[u8]) {
        self.check(key);
        let (now, which) = (self.now(), self.rng.usize(0..3));
        let text = [b"7".to_vec(), b"12345678901234567890".to_vec()][self.rng.usize(0..2)].clone();
        let before = self.alive(key).cloned();
        if before.as_ref().is_some_and(|twin| twin.value.len() >= PIN_VALUE_MIN) {
            // May be in pieces, and then is no number: nothing to compare.
            return;
        }
        let rewritten: Result<Option<u8>, Refused> =
            self.store.rewrite(&mut self.locals[which], (self.store.hash(key), key), now, |_, _| {
                Ok((text.iter().copied().collect(), 9))
            });
        match (rewritten, before) {
            (Ok(Some(9)), Some(mut twin)) => {
                let old_len = twin.value.len();
                twin.value = text;
                let new_len = twin.value.len().max(old_len);
                twin.value.resize(new_len, b' ');
                self.twin.insert(key.to_vec(), Twin { cas: 0, ..twin });
                self.check(key);
            }
            (Ok(None), before) => {
                assert!(before.is_none() || self.evicts);
                self.twin.remove(key);
            }
            (Err(Refused::NoMemory), Some(_)) => {}
            other => panic!("rewrite: {other:?}"),
        }
    }

    fn step(&mut self) {
        if self.modes_change && self.rng.u8(..) == 0 {
            self.change_mode();
        }
        let key = self.key();
        match self.rng.u8(..) {
            0..=79 => self.check(&key),
            80..=169 => self.store_value(&key),
            170..=189 => self.extend(&key),
            190..=204 => self.count_up(&key),
            205..=224 => {
                self.check(&key);
                let (now, which) = (self.now(), self.rng.usize(0..3));
                let deleted = self.store.delete(&mut self.locals[which], (self.store.hash(&key), &key), now);
                assert_eq!(deleted, self.alive(&key).is_some());
                self.twin.remove(&key);
            }
            225..=234 => {
                self.check(&key);
                let (now, place) = (self.now(), (self.store.hash(&key), &key[..]));
                let touched =
                    self.store.get(&mut self.locals[0], place, now, Some(Deadline::PAST), |view| view.is_some());
                assert_eq!(touched, self.alive(&key).is_some());
                self.twin.remove(&key);
            }
            235..=244 => {
                let ms = 250 * self.rng.u64(0..8);
                self.clock.advance(ms);
                self.now_ms += ms;
            }
            245..=250 => {
                self.pins.pop();
            }
            251 if self.rng.u8(0..12) == 0 => {
                self.store.flush_all(self.now(), Deadline::NEVER);
                self.twin.clear();
            }
            _ => {
                let reservation = self.store.reserve(
                    &mut self.locals[0],
                    Draft { key: (self.store.hash(&key), &key), flags: 0, deadline: Deadline::NEVER },
                    500,
                    self.clock.now(),
                );
                drop(reservation);
            }
        }
        for pin in &self.pins {
            assert!(pin.pinned.parts().collect::<Vec<_>>().concat() == pin.value, "a pinned value stays what it was");
        }
    }

    fn audit(&self) {
        let locals: Vec<&Local> = self.locals.iter().collect();
        let census = self.store.audit(&locals);
        let alive = self.twin.values().filter(|twin| !self.is_dead(twin)).count();
        assert!(self.evicts || census.items >= alive as u64);
        assert!(census.held == 0 || !self.pins.is_empty(), "{} chunks are lost", census.held);
    }
}

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn run(name: &str, change: impl Fn(&mut StoreConfig)) {
    run_with(name, change, false);
}

fn run_with(name: &str, change: impl Fn(&mut StoreConfig), modes_change: bool) {
    let seeds = match std::env::var("SLABD_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("SLABD_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..env("SLABD_MODEL_SEEDS", 4),
    };
    for seed in seeds {
        println!("{name}: SLABD_SEED={seed}");
        let mut config = StoreConfig {
            memory_len: 2 << 20,
            item_len_max: 1 << 20,
            growth_factor: None,
            chunk_min: None,
            with_cas: true,
            evict: true,
            lru: LruMode::default(),
            lru_tuning: LruTuning::default(),
            hash_seed: Some(seed),
        };
        change(&mut config);
        config.memory_len = config.memory_len.max((2 + seed % 5 * 2) << 20);
        let mut model = Model::new(&config, seed);
        model.modes_change = modes_change;
        for _ in 0..env("SLABD_MODEL_STEPS", 20_000) / 1000 {
            for _ in 0..1000 {
                model.step();
            }
            model.audit();
        }
        model.pins.clear();
        model.locals.drain(1..);
        model.audit();
        println!("{name}: {} items went by eviction, {} stores were refused", model.evicted, model.refused);
    }
}

#[test]
fn a_store_with_a_probation_agrees_with_its_twin_while_memory_is_short() {
    run("s3fifo", |config| config.lru = LruMode::S3Fifo);
}

#[test]
fn a_store_with_segments_agrees_with_its_twin_while_memory_is_short() {
    run("segmented", |config| config.lru = LruMode::Segmented);
}

#[test]
fn a_store_whose_mode_and_tuning_change_all_the_time_agrees_with_its_twin() {
    run_with("changing modes", |_| {}, true);
}

#[test]
fn a_store_with_one_queue_agrees_with_its_twin_while_memory_is_short() {
    run("flat", |config| config.lru = LruMode::Flat);
}

#[test]
fn a_store_that_may_not_evict_loses_nothing() {
    run("no eviction", |config| config.evict = false);
}

#[test]
fn a_store_with_room_loses_nothing() {
    run("room", |config| {
        config.memory_len = 1 << 30;
        config.evict = false;
    });
}

#[test]
fn memcacheds_classes_and_no_cas_change_nothing_else() {
    run("memcached's classes", |config| {
        config.growth_factor = Some(1.25);
        config.with_cas = false;
    });
}

#[test]
fn a_strict_lru_evicts_the_least_recently_used_first() {
    let config = StoreConfig {
        memory_len: 1 << 20,
        item_len_max: 1 << 20,
        growth_factor: None,
        chunk_min: None,
        with_cas: true,
        evict: true,
        lru: LruMode::Flat,
        lru_tuning: LruTuning::default(),
        hash_seed: Some(1),
    };
    let store = Store::new(&config).expect("a page");
    let mut local = store.local(Arc::new(CachePadded::new(Block::default())));
    let now = Clock::manual().now();
    let value = [b'v'; 3000];
    let put = |local: &mut Local, n: u32| {
        let key = format!("{n:05}");
        let draft = Draft { key: (store.hash(key.as_bytes()), key.as_bytes()), flags: 0, deadline: Deadline::NEVER };
        assert_eq!(store.put(local, draft, Condition::Always, &value, now), Ok(Stored::Stored));
    };
    let has = |local: &mut Local, n: u32| {
        let key = format!("{n:05}");
        store.get(local, (store.hash(key.as_bytes()), key.as_bytes()), now, None, |view| view.is_some())
    };
    for n in 0..300 {
        put(&mut local, n);
    }
    assert!(has(&mut local, 0), "there is room for 300");
    // Far more than fit, with the first one used all along.
    for n in 300..3000 {
        put(&mut local, n);
        assert!(has(&mut local, 0), "a key in use was evicted after {n}");
    }
    let kept: Vec<u32> = (1..3000).filter(|&n| has(&mut local, n)).collect();
    assert!(
        kept.len() > 250 && kept[0] == 3000 - u32::try_from(kept.len()).expect("few"),
        "the newest are kept: {kept:?}"
    );
}
