//! Seeded random operations on a store and on a naive twin of it, compared after each, with an audit after each batch.
//!
//! `SLABD_SEED` repeats one run; `SLABD_MODEL_SEEDS` and `SLABD_MODEL_STEPS` make it longer.

use crossbeam_utils::CachePadded;
use slabd::clock::{Clock, Now};
use slabd::limits::{CLASS_LEN_MIN, MEMORY_LEN_MIN, PIN_VALUE_MIN};
use slabd::settings::{ClassSizes, LruMode, LruTuning};
use slabd::stats::{Block, Registry};
use slabd::store::{
    Condition, Deadline, Draft, Invalidation, Leased, Lifetimes, Local, Marks, Pinned, Reading, Refused, Side, Step,
    Store, StoreConfig, Stored, Terms, Value,
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
    marks: Marks,
}

/// What the twin knows of a lease.
#[derive(Clone, Copy, Debug)]
struct TwinLease {
    token: u64,
    dies_ms: u64,
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
    leases: HashMap<Vec<u8>, TwinLease>,
    pins: Vec<Pin>,
    /// Items may go missing: memory is short.
    evicts: bool,
    rng: fastrand::Rng,
    evicted: u64,
    refused: u64,
    with_cas: bool,
    /// Now and then the queues get other rules.
    modes_change: bool,
    /// Items that come and go beside the twin's, if they do.
    crowd: Option<Crowd>,
}

/// Keys from the first to the last that is there: they come in their order, and go in the reverse one.
#[derive(Default)]
struct Crowd {
    count: u32,
    /// So many more come, or fewer.
    aim: u32,
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
            leases: HashMap::new(),
            pins: Vec::new(),
            evicts: config.evict,
            rng: fastrand::Rng::with_seed(seed),
            evicted: 0,
            refused: 0,
            with_cas: config.with_cas,
            modes_change: false,
            crowd: None,
        }
    }

    /// More of the crowd, or less of it, and the index follows: there are more items than it has buckets for at first, or next to none.
    fn surge(&mut self) {
        let Some(mut crowd) = self.crowd.take() else { return };
        if crowd.count == crowd.aim {
            crowd.aim = if crowd.count > 1000 { self.rng.u32(..1000) } else { self.rng.u32(20_000..60_000) };
        }
        for _ in 0..30 {
            let (now, which, comes) = (self.now(), self.rng.usize(0..3), crowd.count < crowd.aim);
            if crowd.count == crowd.aim {
                break;
            }
            let key = format!("crowd{}", if comes { crowd.count } else { crowd.count - 1 });
            let key_hash = (self.store.hash(key.as_bytes()), key.as_bytes());
            if comes {
                let draft = Draft::new(key_hash, 0, Deadline::NEVER);
                let stored = self.store.put(&mut self.locals[which], draft, Condition::Always, b"", now);
                assert_eq!(stored, Ok(Stored::Stored));
                crowd.count += 1;
            } else {
                assert!(self.store.delete(&mut self.locals[which], key_hash, now), "{key} is lost");
                crowd.count -= 1;
            }
        }
        for _ in 0..self.rng.u8(..20) {
            let _ = self.store.step_index();
        }
        self.crowd = Some(crowd);
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
                let marks = twin.marks;
                self.twin.insert(key.to_vec(), Twin { cas, dies_ms, ..twin });
                self.check_marks(key, marks);
            }
        }
    }

    /// What is noted on an item is what should be, and looking does not change it.
    fn check_marks(&mut self, key: &[u8], marks: Marks) {
        let reading = Reading { unnoticed: true, unclaimed: true, ..Reading::default() };
        let (now, key) = (self.now(), (self.store.hash(key), key));
        self.store.read(&mut self.locals[0], key, now, &reading, |view| {
            let view = view.expect("found just now");
            assert_eq!((view.marks, view.wins), (marks, false));
        });
    }

    /// Reads as `mg R` does.
    fn win(&mut self, key: &[u8]) {
        self.check(key);
        let recache = self.rng.i64(-1..8);
        let mut lifetimes = Lifetimes::default();
        lifetimes.push(Step::Recache(recache));
        let reading = Reading { lifetimes, ..Reading::default() };
        let (now, which) = (self.now(), self.rng.usize(0..3));
        let before = self.alive(key).cloned();
        let wins = self.store.read(&mut self.locals[which], (self.store.hash(key), key), now, &reading, |view| {
            view.map(|view| view.wins)
        });
        assert_eq!(wins.is_some(), before.is_some());
        let Some(mut twin) = before else { return };
        let is_late =
            recache > 0 && twin.dies_ms.is_some_and(|dies| dies < self.now_ms + recache.unsigned_abs() * 1000);
        let expected = !twin.marks.has(Marks::TOKEN_SENT) && (is_late || twin.marks.has(Marks::STALE));
        assert_eq!(wins, Some(expected), "{recache}: {twin:?}");
        if expected {
            twin.marks = twin.marks.and(Marks::TOKEN_SENT);
        }
        self.twin.insert(key.to_vec(), twin);
        self.check(key);
    }

    /// Makes an item as `mg N` does.
    fn vivify(&mut self, key: &[u8]) {
        self.check(key);
        let exptime = [0, 1, 5][self.rng.usize(0..3)];
        let mut lifetimes = Lifetimes::default();
        lifetimes.push(Step::Vivify(exptime));
        let reading = Reading { lifetimes, ..Reading::default() };
        let marks = if self.rng.bool() { Marks::KEY_BASE64 } else { Marks::NONE };
        let cas = self.rng.bool().then(|| self.rng.u64(1..1000));
        let (now, which) = (self.now(), self.rng.usize(0..3));
        let key_hash = (self.store.hash(key), key);
        match self.store.vivify(&mut self.locals[which], key_hash, now, &reading, (cas, marks)) {
            Ok(Some(receipt)) => {
                assert!(self.evicts || self.alive(key).is_none());
                assert!(!self.with_cas || cas.is_none_or(|cas| cas == receipt.cas));
                let marks = marks.and(Marks::TOKEN_SENT);
                let dies_ms = self.dies(exptime);
                self.leases.remove(key);
                self.twin.insert(key.to_vec(), Twin { flags: 0, value: Vec::new(), cas: receipt.cas, dies_ms, marks });
                self.check(key);
            }
            Ok(None) => assert!(self.alive(key).is_some()),
            Err(refused) => assert_eq!(refused, Refused::NoMemory),
        }
    }

    /// Makes an item worth less, or removes it, as `md` does.
    fn invalidate(&mut self, key: &[u8]) {
        self.check(key);
        let before = self.alive(key).cloned();
        let known = before.as_ref().map_or(7, |twin| twin.cas);
        let compare = [None, Some(known), Some(known.wrapping_add(1))][self.rng.usize(0..3)];
        let (now, which) = (self.now(), self.rng.usize(0..3));
        let key_hash = (self.store.hash(key), key);
        let expected = match (&before, compare) {
            (None, _) => Stored::NotFound,
            (Some(twin), Some(compare)) if !self.with_cas || compare != twin.cas => Stored::Exists,
            _ => Stored::Stored,
        };
        if before.is_none() {
            self.leases.remove(key);
        }
        let local = &mut self.locals[which];
        if self.rng.bool() {
            let removed = self.store.remove(local, key_hash, compare, now);
            assert_eq!(removed, expected);
            if removed == Stored::Stored {
                self.twin.remove(key);
            }
            return;
        }
        let (empty, stale) = (self.rng.bool(), self.rng.bool());
        let exptime = self.rng.bool().then(|| self.rng.i64(0..9));
        let deadline = exptime.map(|exptime| Deadline::from_exptime(exptime, now));
        let how = Invalidation { compare, cas: None, empty, stale, deadline };
        match self.store.invalidate(local, key_hash, how, now) {
            Ok(Stored::Stored) => {
                let mut twin = before.expect("something was found");
                if empty {
                    (twin.value, twin.flags) = (Vec::new(), 0);
                }
                let stale = if stale { Marks::STALE } else { Marks::NONE };
                twin.marks = twin.marks.only(Marks::KEY_BASE64).and(stale);
                twin.dies_ms = exptime.map_or(twin.dies_ms, |exptime| self.dies(exptime));
                assert_eq!(expected, Stored::Stored);
                self.twin.insert(key.to_vec(), Twin { cas: 0, ..twin });
                self.check(key);
            }
            // To make room for an empty one the item itself may have been evicted.
            Ok(Stored::NotFound) if self.evicts => drop(self.twin.remove(key)),
            Ok(other) => assert_eq!(other, expected),
            Err(refused) => assert_eq!(refused, Refused::NoMemory),
        }
    }

    /// Asks for a lease, and now and then refills.
    fn lease(&mut self, key: &[u8]) {
        self.check(key);
        let (now, which) = (self.now(), self.rng.usize(0..3));
        let key_hash = (self.store.hash(key), key);
        let before = self.alive(key).cloned();
        let leased = self.store.lease(&mut self.locals[which], key_hash, now, |leased| match leased {
            Leased::Fresh(view) => (None, Some(view.value.len())),
            Leased::Wanted(token, view) => (Some(token), Some(view.value.len())),
        });
        let outstanding = self.leases.get(key).copied().filter(|lease| lease.dies_ms > self.now_ms);
        match (leased, before) {
            (Err(refused), _) => assert_eq!(refused, Refused::NoMemory),
            (Ok((token, len)), Some(mut twin)) => {
                assert_eq!(len, Some(twin.value.len()));
                let is_stale = twin.marks.has(Marks::STALE);
                let wins = is_stale && !twin.marks.has(Marks::TOKEN_SENT);
                assert_eq!(token, is_stale.then_some(wins.then_some(twin.cas)), "{twin:?}");
                if wins {
                    twin.marks = twin.marks.and(Marks::TOKEN_SENT);
                }
                self.twin.insert(key.to_vec(), twin);
            }
            (Ok((token, _)), None) => match (token.expect("there is nothing fresh"), outstanding) {
                (Some(token), lease) => {
                    assert!(self.evicts || lease.is_none(), "two leases at a time");
                    self.leases.insert(key.to_vec(), TwinLease { token, dies_ms: self.now_ms + 10_000 });
                }
                (None, lease) => assert!(lease.is_some(), "nobody has the lease"),
            },
        }
    }

    fn refill(&mut self, key: &[u8]) {
        self.check(key);
        let (value, now, which) = (vec![self.rng.u8(..); self.rng.usize(0..300)], self.now(), self.rng.usize(0..3));
        let before = self.alive(key).cloned();
        let lease = self.leases.get(key).copied().filter(|lease| lease.dies_ms > self.now_ms);
        let token = match (&before, lease) {
            (Some(twin), _) if self.rng.bool() => twin.cas,
            (_, Some(lease)) => lease.token,
            _ => self.rng.u64(0..3),
        };
        let draft = Draft::new((self.store.hash(key), key), 5, Deadline::NEVER);
        let stored = self.store.put(&mut self.locals[which], draft, Condition::Leased(token), &value, now);
        let expected = match (&before, lease) {
            (Some(twin), _) if twin.marks.has(Marks::TOKEN_SENT) && (token == twin.cas || !self.with_cas) => {
                Stored::Stored
            }
            (Some(twin), _) if twin.marks.has(Marks::STALE) && token > 1 && token < twin.cas => Stored::StoredStale,
            (None, Some(lease)) if token == lease.token || !self.with_cas => Stored::Stored,
            _ => Stored::NotStored,
        };
        match stored {
            Err(refused) => assert_eq!(refused, Refused::NoMemory),
            Ok(Stored::NotStored) => {
                assert!(expected == Stored::NotStored || self.evicts, "{token}: {before:?} {lease:?}");
                self.check(key);
            }
            Ok(stored) => {
                assert_eq!(stored, expected);
                let twin = Twin { flags: 5, value, cas: 0, dies_ms: None, marks: Marks::NONE };
                let twin = match before.filter(|_| stored == Stored::StoredStale) {
                    Some(old) => {
                        let marks = old.marks.only(Marks::TOKEN_SENT).and(Marks::STALE);
                        Twin { dies_ms: old.dies_ms, marks, ..twin }
                    }
                    None => twin,
                };
                self.leases.remove(key);
                self.twin.insert(key.to_vec(), twin);
                self.check(key);
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
            _ if self.rng.bool() => Condition::CasOrStale(known_cas.wrapping_add(self.rng.u64(0..3)).wrapping_sub(1)),
            _ => Condition::Cas(known_cas.wrapping_add(1)),
        };
        let draft = Draft::new((self.store.hash(key), key), self.rng.u32(..), Deadline::from_exptime(exptime, now));
        let (which, value_len) = (self.rng.usize(0..3), value.len());
        let stored = if self.rng.bool() {
            self.store.put(&mut self.locals[which], draft, condition, &value, now)
        } else {
            self.store_in_parts(which, draft, condition, &value, now)
        };
        // A reservation may have evicted the very item the condition asks for.
        if self.evicts && !matches!(stored, Ok(Stored::Stored | Stored::StoredStale)) {
            let found = self.read(key, None);
            if found.is_none() && before.is_some() {
                self.twin.remove(key);
                self.evicted += 1;
                return;
            }
        }
        let expected = match (condition, &before) {
            (Condition::Absent, Some(_)) | (Condition::Present, None) => Stored::NotStored,
            (Condition::Cas(_) | Condition::CasOrStale(_), None) => Stored::NotFound,
            (Condition::CasOrStale(cas), Some(twin)) if self.with_cas && cas != 0 && cas < twin.cas => {
                Stored::StoredStale
            }
            (Condition::CasOrStale(cas), Some(twin)) if !self.with_cas || cas != twin.cas => Stored::Exists,
            (Condition::Cas(cas), Some(twin)) if !self.with_cas || cas != twin.cas => Stored::Exists,
            _ => Stored::Stored,
        };
        match stored {
            Ok(stored @ (Stored::Stored | Stored::StoredStale)) => {
                // With eviction the item may have gone between the check and the store, which then is right to store.
                assert!(expected == stored || self.evicts, "{condition:?} must not hold: {before:?}");
                let mut twin =
                    Twin { flags: draft.flags, value, cas: 0, dies_ms: self.dies(exptime), marks: Marks::NONE };
                if let Some(before) = before.as_ref().filter(|_| stored == Stored::StoredStale) {
                    twin.dies_ms = before.dies_ms;
                    twin.marks = before.marks.only(Marks::TOKEN_SENT).and(Marks::STALE);
                }
                self.leases.remove(key);
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
                let marks = twin.marks.only(Marks::KEY_BASE64);
                self.twin.insert(key.to_vec(), Twin { value, cas: 0, marks, ..twin });
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
        if before.as_ref().is_some_and(|twin| twin.value.len() >= IN_PIECES_MIN) {
            // May be in pieces, and then is no number: nothing to compare.
            return;
        }
        let rewritten: Result<Option<u8>, Refused> = self.store.rewrite(
            &mut self.locals[which],
            (self.store.hash(key), key),
            (None, Lifetimes::default()),
            now,
            |_, _| Ok((text.iter().copied().collect(), 9)),
        );
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
        self.surge();
        let key = self.key();
        match self.rng.u8(..) {
            0..=39 => self.check(&key),
            40..=49 => self.win(&key),
            50..=54 => self.vivify(&key),
            55..=64 => self.invalidate(&key),
            65..=74 => self.lease(&key),
            75..=84 => self.refill(&key),
            85..=169 => self.store_value(&key),
            170..=189 => self.extend(&key),
            190..=204 => self.count_up(&key),
            205..=224 => {
                self.check(&key);
                let (now, which) = (self.now(), self.rng.usize(0..3));
                let deleted = self.store.delete(&mut self.locals[which], (self.store.hash(&key), &key), now);
                assert_eq!(deleted, self.alive(&key).is_some());
                self.twin.remove(&key);
                self.leases.remove(&key);
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
                let now = self.now();
                self.store.flush_all(&mut self.locals[0], now, Deadline::NEVER);
                self.twin.clear();
                self.leases.clear();
                self.crowd = self.crowd.take().map(|_| Crowd::default());
            }
            _ => {
                let reservation = self.store.reserve(
                    &mut self.locals[0],
                    Draft::new((self.store.hash(&key), &key), 0, Deadline::NEVER),
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

/// No shorter value is in pieces in any of the stores here.
const IN_PIECES_MIN: usize = 3700;

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn run(name: &str, change: impl Fn(&mut StoreConfig)) {
    run_models(name, change, |_| {});
}

fn run_models(name: &str, change: impl Fn(&mut StoreConfig), adapt: impl Fn(&mut Model)) {
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
            class_len_min: 0,
            item_len_max: 1 << 20,
            classes: ClassSizes::default(),
            with_cas: true,
            evict: true,
            lru: LruMode::default(),
            lru_tuning: LruTuning::default(),
            hash_seed: Some(seed),
        };
        change(&mut config);
        config.memory_len = config.memory_len.max((2 + seed % 5 * 2) << 20);
        config.class_len_min = if seed % 3 == 1 { CLASS_LEN_MIN } else { 0 };
        let mut model = Model::new(&config, seed);
        adapt(&mut model);
        let (mut least, mut most) = (u64::MAX, 0);
        for _ in 0..env("SLABD_MODEL_STEPS", 20_000) / 1000 {
            for _ in 0..1000 {
                model.step();
            }
            model.audit();
            let index_len = model.store.footprint().index_len;
            (least, most) = (least.min(index_len), most.max(index_len));
        }
        let steps = env("SLABD_MODEL_STEPS", 20_000);
        assert!(model.crowd.is_none() || steps < 20_000 || most > 3 * least / 2, "the index from {least} to {most}");
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
    run_models("changing modes", |_| {}, |model| model.modes_change = true);
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
fn a_store_whose_index_grows_and_shrinks_loses_nothing() {
    let config = |config: &mut StoreConfig| (config.memory_len, config.evict) = (1 << 30, false);
    run_models("crowd", config, |model| model.crowd = Some(Crowd::default()));
}

#[test]
fn memcacheds_classes_and_no_cas_change_nothing_else() {
    run("memcached's classes", |config| {
        config.classes = ClassSizes { factor: Some(1.25), ..ClassSizes::default() };
        config.with_cas = false;
        // Their pages are large, and a store of two of them may have to refuse what needs both.
        config.memory_len = MEMORY_LEN_MIN;
    });
}

#[test]
fn pieces_of_four_kilobytes_change_nothing_else() {
    // A head, a piece and the rest are of three classes, and pages have a mebibyte.
    run("short pieces", |config| {
        (config.classes, config.memory_len) =
            (ClassSizes { chunk_max: Some(4 << 10), ..ClassSizes::default() }, 16 << 20)
    });
}

#[test]
fn a_strict_lru_evicts_the_least_recently_used_first() {
    let config = StoreConfig {
        memory_len: 1 << 20,
        class_len_min: 0,
        item_len_max: 1 << 20,
        classes: ClassSizes::default(),
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
        let draft = Draft::new((store.hash(key.as_bytes()), key.as_bytes()), 0, Deadline::NEVER);
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
