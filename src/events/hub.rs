//! Where events are noted and told: a log for each thread, lines for each watcher, and the hub that knows them all.
//!
//! ```text
//!   log ──exchanged when all is told──► taken ──a part each turn, merged by number──► lines, in blocks ──a block each turn──► connection
//! ```
//!
//! Logs and lines may be long, and whoever pumps has clients to serve: what is taken at once is put into words in as many turns as it takes.

use super::{Entry, Event, HEAD_LEN, KIND_COUNT, Kinds};
use crate::limits::{LOG_ENTRY_LEN_MAX, WATCH_PUMP_LEN, WATCH_TAKE_LEN, WATCHERS_MAX};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{SystemTime, UNIX_EPOCH};

/// What one thread notes. Only that thread writes to it.
#[derive(Debug, Default)]
pub struct Log {
    /// What somebody watches.
    wanted: AtomicU32,
    /// The last entry found no room, and nothing has been taken since.
    full: AtomicBool,
    /// Whom the thread is serving, by descriptor.
    client: AtomicU32,
    /// Entries not taken yet. Its capacity is what there may be; it is not exceeded. The lock is held for a copy or an exchange
    /// and nothing else is locked meanwhile, so it may be taken under any other.
    entries: Mutex<Vec<u8>>,
    written: AtomicU64,
    dropped: [AtomicU64; KIND_COUNT],
    number: Arc<AtomicU64>,
}

/// Adds one to a count of which there is one writer.
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

impl Log {
    /// Whether an event of this kind is to be noted. One that is wanted and has no room is counted as lost.
    #[inline]
    #[must_use]
    pub fn wants(&self, kind: Kinds) -> bool {
        // Relaxed: whoever begins to watch misses what is under way.
        self.wanted.load(Ordering::Relaxed) & kind.0 != 0 && self.has_room(kind)
    }

    /// Whether any of these kinds is watched, be there room or not.
    #[inline]
    #[must_use]
    pub fn is_watched(&self, kinds: Kinds) -> bool {
        self.wanted.load(Ordering::Relaxed) & kinds.0 != 0
    }

    #[cold]
    fn has_room(&self, kind: Kinds) -> bool {
        let full = self.full.load(Ordering::Relaxed);
        if full {
            count(&self.dropped[kind.index()]);
        }
        !full
    }

    /// Says whom the thread is serving.
    pub fn serve(&self, client: u32) {
        self.client.store(client, Ordering::Relaxed);
    }

    /// Notes what has happened, or that it has no room for it.
    #[cold]
    pub fn note(&self, event: Event<'_>) {
        let mut entry = Entry::of(event);
        let place;
        if let Event::ConnNew(peer) | Event::ConnClose(peer, _) = event {
            place = peer.map_or_else(
                || "rip=unix rport=0 transport=local".to_owned(),
                |peer| format!("rip={} rport={} transport=tcp", peer.ip(), peer.port()),
            );
            entry.text = place.as_bytes();
        }
        entry.text = &entry.text[..entry.text.len().min(LOG_ENTRY_LEN_MAX - HEAD_LEN)];
        entry.client = self.client.load(Ordering::Relaxed);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        entry.at_us = u64::try_from(since.as_micros()).unwrap_or(0);
        let mut entries = self.entries();
        entry.number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        if entry.write(&mut entries) {
            count(&self.written);
        } else {
            self.full.store(true, Ordering::Relaxed);
            count(&self.dropped[event.kind().index()]);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<u8>> {
        // Every write to it leaves it whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing has been noted since it was taken.
    fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Takes what has been noted, leaving the empty `into` in its place.
    fn take(&self, into: &mut Vec<u8>) {
        std::mem::swap(&mut *self.entries(), into);
        self.full.store(false, Ordering::Relaxed);
    }

    fn dropped_of(&self, kinds: Kinds) -> u64 {
        let kinds = (0..KIND_COUNT).filter(|kind| kinds.0 >> kind & 1 != 0);
        kinds.map(|kind| self.dropped[kind].load(Ordering::Relaxed)).sum()
    }
}

/// How much logs and watchers may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLens {
    /// Bytes of one thread's log.
    pub worker: usize,
    /// Bytes of one watcher's lines.
    pub watcher: usize,
}

/// What `stats` tells of logs and watchers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Events that found a log full.
    pub worker_dropped: u64,
    /// Events noted.
    pub worker_written: u64,
    /// Lines that found a watcher without room.
    pub watcher_skipped: u64,
    /// Lines for watchers.
    pub watcher_sent: u64,
    /// Watchers there are.
    pub watchers: usize,
}

/// All logs, and all who watch.
#[derive(Debug, Default)]
pub struct Hub {
    state: Mutex<State>,
    number: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct State {
    logs: Vec<Arc<Log>>,
    watchers: Vec<Watching>,
    /// Watchers there have ever been.
    watcher_count: u64,
    /// Of a log, while there are watchers.
    log_len: usize,
    sent: u64,
    skipped: u64,
    /// What has been taken of the logs, in their order; all of it is told before more is taken.
    taken: Vec<Taken>,
}

/// What has been taken of a log, and how far it is told. When all of it is, its memory is the log's next.
#[derive(Debug, Default)]
struct Taken {
    entries: Vec<u8>,
    /// `entries[..told]` are.
    told: usize,
    /// Of the first entry that is not; none if all are.
    number: Option<u64>,
}

impl Taken {
    /// Takes what a log has, all that was taken being told.
    fn take(&mut self, log: &Log, log_len: usize) {
        self.entries.clear();
        if !log.is_empty() {
            self.entries.reserve_exact(log_len);
            log.take(&mut self.entries);
        }
        self.be_told(0);
    }

    /// The first entry that is not told, and how many bytes are when it is.
    fn first(&self) -> Option<(Entry<'_>, usize)> {
        let (entry, rest) = Entry::read(&self.entries[self.told..])?;
        Some((entry, self.entries.len() - rest.len()))
    }

    fn be_told(&mut self, told: usize) {
        self.told = told;
        self.number = self.first().map(|(entry, _)| entry.number);
    }
}

/// One who watches.
#[derive(Debug)]
struct Watching {
    id: u64,
    kinds: Kinds,
    /// Blocks of at most `WATCH_TAKE_LEN`, none empty but a last one, which is kept for its memory.
    blocks: VecDeque<Vec<u8>>,
    /// Bytes of all of them, at most `lines_len_max`.
    lines_len: usize,
    lines_len_max: usize,
    /// Lines it has missed and not been told of.
    missed: u64,
    /// Of those that logs had no room for, how many it knows of.
    dropped_seen: u64,
}

impl Watching {
    fn has_room(&self) -> bool {
        self.lines_len < self.lines_len_max / 2
    }

    /// Adds a line, and before it how many were missed, or misses it.
    fn add(&mut self, line: &[u8]) -> bool {
        let missed = if self.missed > 0 { format!("skipped={}\n", self.missed) } else { String::new() };
        let len = missed.len() + line.len();
        let fits = self.lines_len + len <= self.lines_len_max;
        if fits {
            if self.blocks.back().is_none_or(|block| block.len() + len > WATCH_TAKE_LEN) {
                self.blocks.push_back(Vec::new());
            }
            let block = self.blocks.back_mut().expect("there is one now");
            block.extend_from_slice(missed.as_bytes());
            block.extend_from_slice(line);
            self.lines_len += len;
            self.missed = 0;
        } else {
            self.missed += 1;
        }
        fits
    }

    /// Hands on the first lines, a block of them.
    fn take(&mut self, with: impl FnOnce(&[u8])) {
        let Some(block) = self.blocks.front_mut().filter(|block| !block.is_empty()) else { return };
        with(block);
        self.lines_len -= block.len();
        block.clear();
        if self.blocks.len() > 1 {
            self.blocks.pop_front();
        }
    }
}

/// Somebody who watches, for as long as this lives.
#[derive(Debug)]
pub struct Watcher {
    hub: Arc<Hub>,
    id: u64,
}

impl Hub {
    /// A thread's log.
    pub fn log(&self) -> Arc<Log> {
        let log = Arc::new(Log { number: Arc::clone(&self.number), ..Log::default() });
        let mut state = self.state();
        state.logs.push(Arc::clone(&log));
        state.set_up();
        log
    }

    /// Begins to watch; none if there are too many who do.
    #[must_use]
    pub fn watch(self: &Arc<Self>, kinds: Kinds, lens: LogLens) -> Option<Watcher> {
        let mut state = self.state();
        if state.watchers.len() >= WATCHERS_MAX {
            return None;
        }
        state.watcher_count += 1;
        state.log_len = lens.worker;
        let id = state.watcher_count;
        let dropped_seen = state.logs.iter().map(|log| log.dropped_of(kinds)).sum();
        let (blocks, lines_len, lines_len_max) = (VecDeque::new(), 0, lens.watcher);
        state.watchers.push(Watching { id, kinds, blocks, lines_len, lines_len_max, missed: 0, dropped_seen });
        state.set_up();
        Some(Watcher { hub: Arc::clone(self), id })
    }

    /// Makes lines of a part of what has been noted, if anybody has room for them and nobody else is at it; whether there were any.
    pub fn pump(&self) -> bool {
        match self.state.try_lock() {
            Ok(mut state) => state.pump(),
            Err(TryLockError::Poisoned(state)) => state.into_inner().pump(),
            Err(TryLockError::WouldBlock) => false,
        }
    }

    /// For `stats`.
    #[must_use]
    pub fn counts(&self) -> LogCounts {
        let state = self.state();
        LogCounts {
            worker_dropped: state.logs.iter().map(|log| log.dropped_of(Kinds::ALL)).sum(),
            worker_written: state.logs.iter().map(|log| log.written.load(Ordering::Relaxed)).sum(),
            watcher_skipped: state.skipped,
            watcher_sent: state.sent,
            watchers: state.watchers.len(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of it leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tells all logs what is wanted, and gives them room for it.
    fn set_up(&mut self) {
        let wanted = self.watchers.iter().fold(Kinds::NONE, |all, watching| all.and(watching.kinds));
        for log in &self.logs {
            let mut entries = log.entries();
            if wanted == Kinds::NONE {
                *entries = Vec::new();
            } else if entries.capacity() < self.log_len {
                let more = self.log_len - entries.len();
                entries.reserve_exact(more);
            }
            log.full.store(false, Ordering::Relaxed);
            // After there is room.
            log.wanted.store(wanted.0, Ordering::Relaxed);
        }
        if self.watchers.is_empty() {
            self.taken = Vec::new();
        }
    }

    fn pump(&mut self) -> bool {
        if !self.watchers.iter().any(Watching::has_room) {
            return false;
        }
        if self.taken.iter().all(|taken| taken.number.is_none()) {
            self.taken.resize_with(self.logs.len(), Taken::default);
            for (taken, log) in self.taken.iter_mut().zip(&self.logs) {
                taken.take(log, self.log_len);
            }
            self.note_dropped();
        }
        self.tell()
    }

    fn note_dropped(&mut self) {
        for watching in &mut self.watchers {
            let dropped: u64 = self.logs.iter().map(|log| log.dropped_of(watching.kinds)).sum();
            watching.missed += dropped - watching.dropped_seen;
            watching.dropped_seen = dropped;
        }
    }

    /// Puts entries into words, in order, as many as are a turn's, and gives them to who watches such; whether there were any.
    fn tell(&mut self) -> bool {
        let mut line = Vec::new();
        let mut len = 0;
        while len < WATCH_PUMP_LEN {
            let left = self.taken.iter_mut().filter(|taken| taken.number.is_some());
            let Some(taken) = left.min_by_key(|taken| taken.number) else { break };
            let Some((entry, told)) = taken.first() else { break };
            line.clear();
            for watching in self.watchers.iter_mut().filter(|watching| watching.kinds.0 & entry.kind().0 != 0) {
                if line.is_empty() {
                    entry.tell(&mut line);
                }
                let sent = watching.add(&line);
                self.sent += u64::from(sent);
                self.skipped += u64::from(!sent);
            }
            len += told - taken.told;
            taken.be_told(told);
        }
        len > 0
    }
}

impl Watcher {
    /// Hands on lines that have come together, if there are any: as many as are a turn's.
    pub fn take(&self, with: impl FnOnce(&[u8])) {
        let mut state = self.hub.state();
        if let Some(watching) = state.watchers.iter_mut().find(|watching| watching.id == self.id) {
            watching.take(with);
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        state.watchers.retain(|watching| watching.id != self.id);
        state.set_up();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{About, Status, Verb};
    use super::*;

    const LENS: LogLens = LogLens { worker: 4 << 10, watcher: 16 << 10 };

    fn lines(watcher: &Watcher) -> Vec<String> {
        watcher.hub.pump();
        let mut lines = Vec::new();
        watcher.take(|bytes| lines.extend_from_slice(bytes));
        let text = String::from_utf8(lines).unwrap();
        text.lines().map(|line| line.split_once(" type=").map_or(line, |(_, line)| line).to_owned()).collect()
    }

    #[test]
    fn each_watcher_is_told_what_it_asked_for_in_order_whoever_noted_it() {
        let hub = Arc::new(Hub::default());
        let (a, b) = (hub.log(), hub.log());
        assert!(!a.wants(Kinds::FETCHERS) && !a.is_watched(Kinds::ALL));
        let reads = hub.watch(Kinds::FETCHERS, LENS).unwrap();
        let both = hub.watch(Kinds::FETCHERS.and(Kinds::DELETIONS), LENS).unwrap();
        assert!(a.wants(Kinds::DELETIONS) && !b.wants(Kinds::MUTATIONS));
        b.serve(7);
        let about = About { class: 3, value_len: 10, ttl: None };
        b.note(Event::Get(b"x y\n%", Status::Found, about));
        a.note(Event::Get(b"k", Status::NotFound, About::default()));
        b.note(Event::Deleted(b"k", Verb::MetaDelete, about));
        let get = [
            "item_get key=x%20y%0A%25 status=found clsid=3 cfd=7 size=10",
            "item_get key=k status=not_found clsid=0 cfd=0 size=0",
        ];
        assert_eq!(lines(&reads), get);
        assert_eq!(lines(&both), [get[0], get[1], "deleted key=k cmd=md clsid=3 size=10"]);
        drop(both);
        assert!(!a.wants(Kinds::DELETIONS) && a.wants(Kinds::FETCHERS));
        drop(reads);
        assert!(!a.is_watched(Kinds::ALL) && a.entries().capacity() == 0);
        assert_eq!(hub.counts(), LogCounts { worker_written: 3, watcher_sent: 5, ..LogCounts::default() });
    }

    #[test]
    fn who_does_not_read_costs_no_more_than_its_bound_and_is_told_what_it_missed() {
        let hub = Arc::new(Hub::default());
        let log = hub.log();
        let watcher = hub.watch(Kinds::EVICTIONS, LENS).unwrap();
        let mut noted = 0;
        for _ in 0..10_000 {
            if log.wants(Kinds::EVICTIONS) {
                log.note(Event::Eviction(b"key", true, 5, About { class: 1, value_len: 2, ttl: Some(9) }));
            }
            noted += 1;
            hub.pump();
        }
        assert!(hub.state().watchers[0].lines_len <= LENS.watcher && log.entries().len() <= LENS.worker);
        let (told, mut missed) = (lines(&watcher), 0);
        assert_eq!(told[0], "eviction key=key fetch=yes ttl=9 la=5 clsid=1 size=2");
        let told = told.len()
            + lines(&watcher).iter().fold(0, |told, line| match line.strip_prefix("skipped=") {
                Some(count) => {
                    missed += count.parse::<usize>().unwrap();
                    told
                }
                None => told + 1,
            });
        assert_eq!(told + missed, noted);
    }

    #[test]
    fn a_turn_tells_and_hands_on_a_bounded_part_and_nothing_is_lost_or_out_of_order() {
        let hub = Arc::new(Hub::default());
        let logs = [hub.log(), hub.log(), hub.log()];
        let watcher = hub.watch(Kinds::FETCHERS, LogLens { worker: 4 << 20, watcher: 16 << 20 }).unwrap();
        let count = 40_000;
        for n in 0..count {
            // In runs of all lengths, and nothing in the last log.
            logs[usize::from(n % 7 > n % 3)].note(Event::Get(b"key", Status::Found, About::default()));
        }
        let told = |hub: &Hub| hub.counts().watcher_sent;
        let mut turns = 0;
        while told(&hub) < count {
            let before = told(&hub);
            assert!(hub.pump());
            let now = told(&hub) - before;
            assert!(now > 0 && now <= (WATCH_PUMP_LEN / (HEAD_LEN + 3)) as u64 + 1, "{now} in one turn");
            turns += 1;
        }
        assert!(turns > 10 && !hub.pump());
        let (mut lines, mut parts) = (Vec::new(), 0);
        loop {
            let before = lines.len();
            watcher.take(|bytes| lines.extend_from_slice(bytes));
            let len = lines.len() - before;
            if len == 0 {
                break;
            }
            assert!(len <= WATCH_TAKE_LEN && lines.ends_with(b"\n"));
            parts += 1;
        }
        assert!(parts > 10 && hub.state().watchers[0].lines_len == 0);
        let text = String::from_utf8(lines).unwrap();
        let numbers = text.lines().map(|line| line.split(' ').nth(1).unwrap().strip_prefix("gid=").unwrap());
        assert!(numbers.map(|number| number.parse::<u64>().unwrap()).eq(1..=count));
    }

    #[test]
    fn there_are_no_more_watchers_than_there_may_be() {
        let hub = Arc::new(Hub::default());
        let mut watchers: Vec<_> = (0..WATCHERS_MAX).map(|_| hub.watch(Kinds::FETCHERS, LENS).unwrap()).collect();
        assert!(hub.watch(Kinds::FETCHERS, LENS).is_none());
        watchers.pop();
        assert!(hub.watch(Kinds::FETCHERS, LENS).is_some());
    }
}
