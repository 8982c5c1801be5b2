//! Real threads on one small store, where every edge is common: pages change hands all the time, readers hold pins, stores stay half
//! received, flushes come at any moment, and no two threads agree on the time.
//!
//! Every value says whose it is: it is a row of records, each made from its key and a nonce that is used once, so that a reader
//! knows a torn value, or another key's, without knowing who wrote it. Of some keys each thread is the only writer; of
//! those it knows more: what it reads must be what it wrote last, or nothing, and nothing after a delete or a flush.
//!
//! `SLABD_SEED` chooses another course; `SLABD_STRESS_SECS` is for how long, all runs together.

use slabd::clock::{Clock, Now};
use slabd::limits::{CLASS_LEN_MIN, PIN_VALUE_MIN};
use slabd::settings::{ClassSizes, LruMode, LruTuning};
use slabd::stats::Registry;
use slabd::store::{
    ClassSet, Condition, Crawl, Deadline, Draft, Lifetimes, Local, PageMove, Pinned, Progress, Refused, Reservation,
    Shrinking, Side, Store, StoreConfig, Stored, Terms, Value,
};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Keys that every thread writes, and as many of each of the two other kinds.
const SHARED_KEYS: usize = 150;
const OWNED_KEYS: usize = 60;
const COUNTER_KEYS: usize = 20;

/// Nonce and length, before a record's bytes.
const RECORD_HEAD_LEN: usize = 12;

const PINS_MAX: usize = 3;
const RESERVATIONS_MAX: usize = 2;

/// What all threads share.
struct Shared<'s> {
    store: &'s Store,
    clock: Clock,
    stop: AtomicBool,
    nonce: AtomicU64,
    /// Pins to be dropped by another thread than took them.
    handed_over: Mutex<Vec<Pin>>,
    /// Flushes are made one at a time; `begun` counts up before, `done` after.
    flush: Mutex<()>,
    flushes_begun: AtomicU64,
    flushes_done: AtomicU64,
}

/// A pinned value and what it belongs to.
struct Pin {
    pinned: Pinned,
    key: Vec<u8>,
    nonces: Vec<u64>,
}

/// A value that has come in part.
struct Receiving {
    reservation: Reservation,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// What the only writer of a key knows of it.
#[derive(Clone, Default)]
struct Owned {
    /// The nonces of its records; none if it must be a miss.
    nonces: Option<Vec<u64>>,
    flags: u32,
    dies: Option<Deadline>,
    /// Flushes begun when the last write was done; one that began after it has made the item dead.
    flushes: u64,
    cas: u64,
}

/// One thread.
struct Worker<'s> {
    shared: &'s Shared<'s>,
    local: Local,
    rng: fastrand::Rng,
    number: usize,
    now: Now,
    turn_left: u32,
    owned: HashMap<Vec<u8>, Owned>,
    pins: Vec<Pin>,
    reservations: Vec<Receiving>,
    tally: Tally,
}

#[derive(Default, Debug)]
struct Tally {
    steps: u64,
    hits: u64,
    misses: u64,
    stored: u64,
    refused: u64,
    pinned: u64,
    flushes: u64,
}

/// The bytes of one record, by eights.
fn stream(key: &[u8], nonce: u64) -> impl Iterator<Item = [u8; 8]> {
    let mut state = key.iter().fold(nonce ^ 0x9e37_79b9_7f4a_7c15, |state, &byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
    });
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()
    })
}

fn write_record(key: &[u8], nonce: u64, to: &mut [u8]) {
    if to.is_empty() {
        return;
    }
    let len = u32::try_from(to.len() - RECORD_HEAD_LEN).expect("records are short");
    let (head, body) = to.split_at_mut(RECORD_HEAD_LEN);
    head[..8].copy_from_slice(&nonce.to_le_bytes());
    head[8..].copy_from_slice(&len.to_le_bytes());
    for (place, bytes) in body.chunks_mut(8).zip(stream(key, nonce)) {
        place.copy_from_slice(&bytes[..place.len()]);
    }
}

fn record(key: &[u8], nonce: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    write_record(key, nonce, &mut bytes);
    bytes
}

/// A pinned value in one piece.
fn whole(pinned: &Pinned) -> Vec<u8> {
    pinned.parts().collect::<Vec<_>>().concat()
}

/// Moves bytes into a reservation as they come, taking pieces as a large value wants them.
fn fill(
    store: &Store,
    local: &mut Local,
    reservation: &mut Reservation,
    mut bytes: &[u8],
    now: Now,
) -> Result<(), Refused> {
    while !bytes.is_empty() {
        store.grow(local, reservation, now)?;
        let room = reservation.unfilled();
        let len = room.len().min(bytes.len());
        room[..len].copy_from_slice(&bytes[..len]);
        reservation.advance(len);
        bytes = &bytes[len..];
    }
    Ok(())
}

/// The nonces of a value's records.
///
/// # Panics
/// When it is not made of whole records of this key.
fn read_records(key: &[u8], mut value: &[u8]) -> Vec<u64> {
    let mut nonces = Vec::new();
    while !value.is_empty() {
        assert!(value.len() >= RECORD_HEAD_LEN, "a torn value of {}", key.escape_ascii());
        let (head, rest) = value.split_at(RECORD_HEAD_LEN);
        let nonce = u64::from_le_bytes(head[..8].try_into().expect("eight"));
        let len = u32::from_le_bytes(head[8..].try_into().expect("four")) as usize;
        assert!(rest.len() >= len, "a value of {} ends early, or is another key's", key.escape_ascii());
        let (body, behind) = rest.split_at(len);
        for (place, bytes) in body.chunks(8).zip(stream(key, nonce)) {
            assert_eq!(place, &bytes[..place.len()], "a torn value, or another key's, in {}", key.escape_ascii());
        }
        nonces.push(nonce);
        value = behind;
    }
    nonces
}

impl Worker<'_> {
    /// Time goes on for a thread when its turn begins, so each one's is a little behind, and by how much differs.
    fn begin_turn(&mut self) {
        if self.turn_left == 0 {
            self.turn_left = self.rng.u32(1..150);
            if self.rng.u8(..) < 40 {
                self.shared.clock.advance(self.rng.u64(0..700));
            }
            self.now = self.shared.clock.now();
            self.shared.store.begin_turn(&mut self.local, self.now);
        }
        self.turn_left -= 1;
    }

    fn key(&mut self) -> (Vec<u8>, bool) {
        let owned = self.rng.bool();
        let n = self.rng.usize(0..if owned { OWNED_KEYS } else { SHARED_KEYS });
        let mut key = if owned { format!("own{}-{n}", self.number) } else { format!("all{n}") }.into_bytes();
        if n.is_multiple_of(9) {
            key.resize(250 - n, b'k');
        }
        (key, owned)
    }

    /// Zero, or room for a record's head at least.
    fn len(&mut self) -> usize {
        match self.rng.u8(..) {
            0..=9 => 0,
            10..=139 => self.rng.usize(RECORD_HEAD_LEN..300),
            140..=199 => self.rng.usize(300..9000),
            200..=249 => self.rng.usize(PIN_VALUE_MIN - 100..60_000),
            _ => self.rng.usize(60_000..900_000),
        }
    }

    fn nonce(&self) -> u64 {
        self.shared.nonce.fetch_add(1, Ordering::Relaxed)
    }

    fn draft<'k>(&mut self, key: &'k [u8]) -> Draft<'k> {
        let exptime = [0, 0, 0, 1, 3, 30, -1][self.rng.usize(0..7)];
        Draft::new((self.shared.store.hash(key), key), self.rng.u32(..), Deadline::from_exptime(exptime, self.now))
    }

    /// What may be there under an owned key: as remembered, unless it must be gone.
    fn remembered(&self, key: &[u8]) -> Option<Owned> {
        let owned = self.owned.get(key)?;
        let flushed = self.shared.flushes_done.load(Ordering::SeqCst) > owned.flushes;
        let expired = owned.dies.is_some_and(|deadline| deadline.is_past(self.now));
        (owned.nonces.is_some() && !flushed && !expired).then(|| owned.clone())
    }

    fn remember(&mut self, key: &[u8], nonces: Vec<u64>, draft: &Draft<'_>) {
        let flushes = self.shared.flushes_begun.load(Ordering::SeqCst);
        let (flags, dies) = (draft.flags, Some(draft.deadline));
        self.owned.insert(key.to_vec(), Owned { nonces: Some(nonces), flags, dies, flushes, cas: 0 });
    }

    fn get(&mut self, key: &[u8], owned: bool) {
        let remembered = self.remembered(key);
        let deadline = (self.rng.u8(..) < 30).then(|| Deadline::from_exptime(self.rng.i64(0..4), self.now));
        let hash = self.shared.store.hash(key);
        if self.rng.u8(..) < 60 {
            self.shared.store.prefetch_bucket(hash);
            self.shared.store.prefetch_items(hash);
        }
        let mut pinned = None;
        let found = self.shared.store.get(&mut self.local, (hash, key), self.now, deadline, |view| {
            view.map(|view| {
                assert_eq!(view.key, key, "the view of another key");
                let nonces = match view.value {
                    Value::Borrowed(bytes) => read_records(key, bytes),
                    Value::Pinned(value) => {
                        pinned = Some(value);
                        Vec::new()
                    }
                };
                (nonces, view.flags, view.cas)
            })
        });
        let Some((mut nonces, flags, cas)) = found else {
            self.tally.misses += 1;
            return;
        };
        self.tally.hits += 1;
        if let Some(pinned) = pinned {
            nonces = read_records(key, &whole(&pinned));
            self.keep(Pin { pinned, key: key.to_vec(), nonces: nonces.clone() });
        }
        if owned {
            let name = key.escape_ascii();
            let Some(known) = remembered else { panic!("{name} is there, and was deleted, flushed or expired") };
            assert_eq!((Some(nonces), flags), (known.nonces, known.flags), "{name} is not what was stored last");
            assert!(known.cas == 0 || known.cas == cas, "the CAS number of {name} changed by itself");
            let entry = self.owned.get_mut(key).expect("remembered");
            entry.cas = cas;
            entry.dies = deadline.or(entry.dies);
        }
    }

    fn keep(&mut self, pin: Pin) {
        self.tally.pinned += 1;
        match self.rng.u8(..) {
            0..=99 => drop(pin),
            100..=179 if self.pins.len() < PINS_MAX => self.pins.push(pin),
            _ => {
                let mut handed_over = self.shared.handed_over.lock().expect("no thread panicked");
                if handed_over.len() < PINS_MAX {
                    handed_over.push(pin);
                }
            }
        }
    }

    fn release(&mut self) {
        let theirs = self.shared.handed_over.lock().expect("no thread panicked").pop();
        let mine = (!self.pins.is_empty()).then(|| self.pins.swap_remove(self.rng.usize(0..self.pins.len())));
        for pin in [theirs, mine].into_iter().flatten() {
            assert_eq!(read_records(&pin.key, &whole(&pin.pinned)), pin.nonces, "a pinned value changed");
        }
    }

    fn condition(&mut self, key: &[u8]) -> Condition {
        match self.rng.u8(0..10) {
            0..=5 => Condition::Always,
            6 => Condition::Absent,
            7 => Condition::Present,
            8 => Condition::Cas(self.owned.get(key).map_or(1, |owned| owned.cas)),
            _ => Condition::Cas(1),
        }
    }

    fn put(&mut self, key: &[u8], owned: bool) {
        let (len, nonce, condition) = (self.len(), self.nonce(), self.condition(key));
        let (value, draft) = (record(key, nonce, len), self.draft(key));
        let before = self.remembered(key);
        let stored = self.shared.store.put(&mut self.local, draft, condition, &value, self.now);
        self.account(owned, draft, condition, before.as_ref(), stored, if len == 0 { vec![] } else { vec![nonce] });
    }

    /// What a store's answer says about an owned key, and whether it may be so.
    fn account(
        &mut self,
        owned: bool,
        draft: Draft<'_>,
        condition: Condition,
        before: Option<&Owned>,
        stored: Result<Stored, Refused>,
        nonces: Vec<u64>,
    ) {
        let key = draft.key.1;
        match stored {
            Err(refused) => {
                assert_eq!(refused, Refused::NoMemory, "nothing here is too large");
                self.tally.refused += 1;
            }
            Ok(Stored::Stored) => {
                self.tally.stored += 1;
                let may_be = condition == Condition::Always || condition == Condition::Absent || before.is_some();
                assert!(!owned || may_be, "{condition:?} held for {}, which is not there", key.escape_ascii());
                if owned {
                    self.remember(key, nonces, &draft);
                }
            }
            Ok(Stored::NotStored) if condition == Condition::Absent => {
                assert!(!owned || before.is_some(), "add found {}, which is not there", key.escape_ascii());
            }
            Ok(Stored::NotStored) => assert_eq!(condition, Condition::Present),
            Ok(Stored::Exists) => assert!(!owned || before.is_some(), "cas found what is not there"),
            Ok(Stored::NotFound) => assert!(matches!(condition, Condition::Cas(_))),
            Ok(Stored::StoredStale) => panic!("nobody asked for that"),
        }
    }

    fn reserve(&mut self, key: &[u8]) {
        if self.reservations.len() >= RESERVATIONS_MAX {
            return;
        }
        let (len, nonce, draft) = (self.len(), self.nonce(), self.draft(key));
        match self.shared.store.reserve(&mut self.local, draft, len, self.now) {
            Ok(mut reservation) => {
                let value = record(key, nonce, len);
                let part = self.rng.usize(0..=len);
                if fill(self.shared.store, &mut self.local, &mut reservation, &value[..part], self.now).is_err() {
                    self.tally.refused += 1;
                    return;
                }
                self.reservations.push(Receiving { reservation, key: key.to_vec(), value });
            }
            Err(_) => self.tally.refused += 1,
        }
    }

    /// Commits a reservation some time after it was made, or gives it up.
    fn commit(&mut self) {
        if self.reservations.is_empty() {
            return;
        }
        let which = self.rng.usize(0..self.reservations.len());
        let Receiving { mut reservation, key, value } = self.reservations.swap_remove(which);
        if self.rng.u8(..) < 40 {
            return;
        }
        let store = self.shared.store;
        let missing = &value[value.len() - reservation.missing_len()..];
        if fill(store, &mut self.local, &mut reservation, missing, self.now).is_err() {
            self.tally.refused += 1;
            return;
        }
        let stored = if self.rng.u8(..) < 80 {
            let side = self.side();
            store.commit_extension(&mut self.local, reservation, (side, false), Terms::default(), self.now)
        } else {
            let condition = self.condition(&key);
            store.commit(&mut self.local, reservation, condition, self.now)
        };
        match stored {
            Ok(Stored::Stored) => self.tally.stored += 1,
            Ok(_) => {}
            Err(_) => self.tally.refused += 1,
        }
    }

    fn side(&mut self) -> Side {
        if self.rng.bool() { Side::Append } else { Side::Prepend }
    }

    fn extend(&mut self, key: &[u8], owned: bool) {
        let (nonce, side) = (self.nonce(), self.side());
        let len = self.rng.usize(RECORD_HEAD_LEN..400);
        let before = self.remembered(key);
        let bytes = record(key, nonce, len);
        let hash = self.shared.store.hash(key);
        let stored = self.shared.store.extend(&mut self.local, (hash, key), side, &bytes, Terms::default(), self.now);
        if stored != Ok(Stored::Stored) {
            self.tally.refused += u64::from(stored.is_err());
            return;
        }
        if owned {
            let Some(mut known) = before else { panic!("{} was extended, and is not there", key.escape_ascii()) };
            let nonces = known.nonces.as_mut().expect("remembered ones are there");
            nonces.insert(if side == Side::Append { nonces.len() } else { 0 }, nonce);
            known.cas = 0;
            known.flushes = self.shared.flushes_begun.load(Ordering::SeqCst);
            self.owned.insert(key.to_vec(), known);
        }
    }

    fn delete(&mut self, key: &[u8], owned: bool) {
        let before = self.remembered(key);
        let deleted = self.shared.store.delete(&mut self.local, (self.shared.store.hash(key), key), self.now);
        if owned {
            assert!(!deleted || before.is_some(), "deleted what is not there");
            self.owned.remove(key);
        }
    }

    fn touch(&mut self, key: &[u8], owned: bool) {
        let before = self.remembered(key);
        let deadline = Deadline::from_exptime(self.rng.i64(-1..20), self.now);
        let place = (self.shared.store.hash(key), key);
        let touched = self.shared.store.get(&mut self.local, place, self.now, Some(deadline), |view| view.is_some());
        if touched && owned {
            assert!(before.is_some(), "touched what is not there");
            self.owned.get_mut(key).expect("remembered").dies = Some(deadline);
        }
    }

    /// Counters are numbers that only grow, with blanks behind them, or nothing.
    fn count(&mut self) {
        let key = format!("counter{}", self.rng.usize(0..COUNTER_KEYS)).into_bytes();
        let hash = self.shared.store.hash(&key);
        let counted = self.shared.store.rewrite(
            &mut self.local,
            (hash, &key),
            (None, Lifetimes::default()),
            self.now,
            |value, _| {
                let text = std::str::from_utf8(value).expect("a counter is a number").trim_end();
                let number: u64 = text.parse().expect("a counter is a number");
                let text = number.checked_mul(3).unwrap_or(1).to_string();
                Ok::<_, Refused>((text.bytes().collect(), number))
            },
        );
        match counted {
            Ok(Some(_)) => self.tally.hits += 1,
            Ok(None) => {
                let text = format!("{:<width$}", 1, width = self.rng.usize(1..40));
                let draft = Draft::new((hash, &key), 0, Deadline::NEVER);
                let _ = self.shared.store.put(&mut self.local, draft, Condition::Absent, text.as_bytes(), self.now);
            }
            Err(_) => self.tally.refused += 1,
        }
    }

    /// One flush at a time, so that it is known which stores came before it.
    fn flush(&mut self) {
        let _one_at_a_time = self.shared.flush.lock().expect("no thread panicked");
        self.shared.flushes_begun.fetch_add(1, Ordering::SeqCst);
        self.shared.store.flush_all(&mut self.local, self.now, Deadline::NEVER);
        self.shared.flushes_done.fetch_add(1, Ordering::SeqCst);
        self.tally.flushes += 1;
    }

    fn step(&mut self) {
        self.begin_turn();
        self.tally.steps += 1;
        let (key, owned) = self.key();
        match self.rng.u8(..) {
            0..=99 => self.get(&key, owned),
            100..=164 => self.put(&key, owned),
            // Of owned keys the last write must be known, so what is stored later is a shared one.
            165..=179 if !owned => self.reserve(&key),
            165..=194 => self.commit(),
            195..=209 => self.extend(&key, owned),
            210..=219 => self.delete(&key, owned),
            220..=229 => self.touch(&key, owned),
            230..=239 => self.count(),
            240..=252 => self.release(),
            253 if self.rng.u8(..) < 15 => self.flush(),
            254 if self.rng.u8(..) < 30 => {
                let _ = (self.shared.store.classes(self.now), self.shared.store.footprint());
            }
            _ => self.get(&key, owned),
        }
    }
}

/// What the maintainer does, all at once and all the time: pages that somebody moves, crawls, more memory and less.
fn night_shift(shared: &Shared<'_>, mut local: Local, mut rng: fastrand::Rng) -> Local {
    let _stop = StopAll(&shared.stop);
    let (store, memory_len) = (shared.store, shared.store.memory_len());
    let class_count = i32::try_from(store.classes(shared.clock.now()).len()).expect("few");
    let (mut moving, mut crawl) = (None::<PageMove>, None::<Crawl>);
    let mut shrinking = Shrinking::default();
    while !shared.stop.load(Ordering::Relaxed) {
        let now = shared.clock.now();
        let _ = store.ask_reassign(rng.i32(-1..=class_count), rng.i32(0..=class_count));
        moving = moving.or_else(|| store.take_reassign());
        if let Some(page_move) = &mut moving
            && store.step_move(&mut local, page_move, now) == Progress::Done
        {
            moving = None;
        }
        if rng.u8(..) == 0 {
            let _ = store.set_memory_len(memory_len * rng.u64(1..=8) / 4);
            let _ = store.ask_crawl(ClassSet::ALL, Clock::manual().now());
        }
        let _ = store.step_shrink(&mut local, &mut shrinking, now);
        let _ = store.sweep(&mut local, now);
        let _ = store.step_index();
        crawl = crawl.or_else(|| store.take_crawl());
        if let Some(under_way) = &mut crawl
            && !store.crawl(&mut local, under_way, now)
        {
            crawl = None;
        }
        if rng.u8(..) < 16 {
            std::thread::yield_now();
        }
    }
    local
}

/// Runs threads on one store, then counts it over.
fn run(name: &str, seed: u64, secs: f64, config: &StoreConfig) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let threads = rng.usize(4..=8);
    println!("{name}: SLABD_SEED={seed}, {threads} threads, {} pages", config.memory_len >> 20);
    let store = Store::new(config).expect("a few pages can be mapped");
    let registry = Registry::default();
    let shared = Shared {
        store: &store,
        clock: Clock::manual(),
        stop: AtomicBool::new(false),
        nonce: AtomicU64::new(1),
        handed_over: Mutex::new(Vec::new()),
        flush: Mutex::new(()),
        flushes_begun: AtomicU64::new(0),
        flushes_done: AtomicU64::new(0),
    };
    let mut locals = Vec::new();
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let mut worker = Worker {
                    shared: &shared,
                    local: store.local(registry.register()),
                    rng: rng.fork(),
                    number,
                    now: shared.clock.now(),
                    turn_left: 0,
                    owned: HashMap::new(),
                    pins: Vec::new(),
                    reservations: Vec::new(),
                    tally: Tally::default(),
                };
                scope.spawn(move || {
                    let _stop = StopAll(&worker.shared.stop);
                    while !worker.shared.stop.load(Ordering::Relaxed) {
                        worker.step();
                    }
                    (worker.local, worker.tally)
                })
            })
            .collect();
        let night = scope.spawn(|| night_shift(&shared, store.local(registry.register()), rng.fork()));
        let end = Instant::now() + Duration::from_secs_f64(secs);
        while Instant::now() < end && !shared.stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
            let totals = registry.totals();
            assert!(totals.curr_items < 1 << 40 && totals.bytes < 1 << 40, "a gauge went below nothing");
        }
        shared.stop.store(true, Ordering::Relaxed);
        for worker in workers {
            let (local, part) = worker.join().expect("a worker found something wrong");
            locals.push(local);
            tally.add(&part);
        }
        locals.push(night.join().expect("the night shift found something wrong"));
    });
    shared.handed_over.lock().expect("no thread panicked").clear();
    let census = store.audit(&locals.iter().collect::<Vec<_>>());
    let totals = registry.totals();
    assert_eq!(census.held, 0, "all pins and reservations are given back, and so must be their chunks");
    assert_eq!((totals.curr_items, totals.bytes), (census.items, census.bytes), "the counters are right");
    let (moved, rescued) = (totals.slabs_moved, totals.slab_reassign_rescues);
    let pieces = totals.slab_reassign_chunk_rescues;
    println!(
        "{name}: {tally:?}, {} evictions, {moved} pages moved, {rescued} items and {pieces} pieces with them",
        totals.evictions
    );
    assert!(tally.steps < 1000 || tally.hits > 0 && tally.stored > 0, "nothing was stored or nothing found");
}

/// Stops all threads when one of them does.
struct StopAll<'s>(&'s AtomicBool);

impl Drop for StopAll<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.hits += other.hits;
        self.misses += other.misses;
        self.stored += other.stored;
        self.refused += other.refused;
        self.pinned += other.pinned;
        self.flushes += other.flushes;
    }
}

#[test]
fn threads_that_share_a_store_never_see_what_they_should_not() {
    let seed: u64 = std::env::var("SLABD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let secs: f64 = std::env::var("SLABD_STRESS_SECS").ok().and_then(|secs| secs.parse().ok()).unwrap_or(3.0);
    let base = StoreConfig {
        memory_len: 8 << 20,
        class_len_min: 0,
        item_len_max: 1 << 20,
        classes: ClassSizes::default(),
        with_cas: true,
        evict: true,
        lru: LruMode::Segmented,
        lru_tuning: LruTuning::default(),
        hash_seed: Some(seed),
    };
    let runs = [
        ("four pages", StoreConfig { memory_len: 4 << 20, ..base.clone() }),
        ("eight pages", base.clone()),
        ("more than its memory", StoreConfig { memory_len: 4 << 20, class_len_min: CLASS_LEN_MIN, ..base.clone() }),
        ("sixteen pages", StoreConfig { memory_len: 16 << 20, ..base.clone() }),
        ("one queue", StoreConfig { lru: LruMode::Flat, ..base.clone() }),
        (
            "memcached's classes",
            StoreConfig {
                classes: ClassSizes { factor: Some(1.25), ..ClassSizes::default() },
                with_cas: false,
                ..base.clone()
            },
        ),
        (
            "short pieces",
            StoreConfig { classes: ClassSizes { chunk_max: Some(4 << 10), ..ClassSizes::default() }, ..base.clone() },
        ),
        ("no eviction", StoreConfig { evict: false, ..base }),
    ];
    let share = secs / f64::from(u32::try_from(runs.len()).expect("a few"));
    for (name, config) in &runs {
        run(name, seed, share, config);
    }
}
