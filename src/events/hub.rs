//! Where events are noted and told: a log for each thread, lines for each watcher, and the hub that knows them all.

use super::{Entry, Event, HEAD_LEN, KIND_COUNT, Kinds};
use crate::limits::{LOG_ENTRY_LEN_MAX, WATCHERS_MAX};
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
    /// To be exchanged for a log's entries: empty, and as long as a log may be.
    spare: Vec<u8>,
    /// Entries of all logs, being put in order; empty between pumps.
    pumped: Vec<u8>,
}

/// One who watches.
#[derive(Debug)]
struct Watching {
    id: u64,
    kinds: Kinds,
    lines: Vec<u8>,
    lines_len_max: usize,
    /// Lines it has missed and not been told of.
    missed: u64,
    /// Of those that logs had no room for, how many it knows of.
    dropped_seen: u64,
}

impl Watching {
    fn has_room(&self) -> bool {
        self.lines.len() < self.lines_len_max / 2
    }

    /// Adds a line, and before it how many were missed, or misses it.
    fn add(&mut self, line: &[u8]) -> bool {
        let missed = if self.missed > 0 { format!("skipped={}\n", self.missed) } else { String::new() };
        let fits = self.lines.len() + missed.len() + line.len() <= self.lines_len_max;
        if fits {
            self.lines.extend_from_slice(missed.as_bytes());
            self.lines.extend_from_slice(line);
            self.missed = 0;
        } else {
            self.missed += 1;
        }
        fits
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
        let lines_len_max = lens.watcher;
        state.watchers.push(Watching { id, kinds, lines: Vec::new(), lines_len_max, missed: 0, dropped_seen });
        state.set_up();
        Some(Watcher { hub: Arc::clone(self), id })
    }

    /// Makes lines of what has been noted, if anybody has room for them and nobody else is at it; whether there were any.
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
            (self.spare, self.pumped) = (Vec::new(), Vec::new());
        }
    }

    fn pump(&mut self) -> bool {
        if !self.watchers.iter().any(Watching::has_room) {
            return false;
        }
        let mut pumped = std::mem::take(&mut self.pumped);
        for log in &self.logs {
            self.spare.clear();
            self.spare.reserve_exact(self.log_len);
            log.take(&mut self.spare);
            pumped.extend_from_slice(&self.spare);
        }
        self.note_dropped();
        self.tell(&pumped);
        let any = !pumped.is_empty();
        pumped.clear();
        self.pumped = pumped;
        any
    }

    fn note_dropped(&mut self) {
        for watching in &mut self.watchers {
            let dropped: u64 = self.logs.iter().map(|log| log.dropped_of(watching.kinds)).sum();
            watching.missed += dropped - watching.dropped_seen;
            watching.dropped_seen = dropped;
        }
    }

    /// Puts entries in order and into words, and gives them to who watches such.
    fn tell(&mut self, entries: &[u8]) {
        let mut order = Vec::new();
        let mut rest = entries;
        while let Some((entry, behind)) = Entry::read(rest) {
            order.push((entry.number, entry));
            rest = behind;
        }
        order.sort_unstable_by_key(|(number, _)| *number);
        let mut line = Vec::new();
        for (_, entry) in &order {
            line.clear();
            for watching in self.watchers.iter_mut().filter(|watching| watching.kinds.0 & entry.kind().0 != 0) {
                if line.is_empty() {
                    entry.tell(&mut line);
                }
                let sent = watching.add(&line);
                self.sent += u64::from(sent);
                self.skipped += u64::from(!sent);
            }
        }
    }
}

impl Watcher {
    /// Hands on the lines that have come together, if there are any.
    pub fn take(&self, with: impl FnOnce(&[u8])) {
        let mut state = self.hub.state();
        let watching = state.watchers.iter_mut().find(|watching| watching.id == self.id);
        if let Some(watching) = watching.filter(|watching| !watching.lines.is_empty()) {
            with(&watching.lines);
            watching.lines.clear();
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
        assert!(hub.state().watchers[0].lines.len() <= LENS.watcher && log.entries().len() <= LENS.worker);
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
    fn there_are_no_more_watchers_than_there_may_be() {
        let hub = Arc::new(Hub::default());
        let mut watchers: Vec<_> = (0..WATCHERS_MAX).map(|_| hub.watch(Kinds::FETCHERS, LENS).unwrap()).collect();
        assert!(hub.watch(Kinds::FETCHERS, LENS).is_none());
        watchers.pop();
        assert!(hub.watch(Kinds::FETCHERS, LENS).is_some());
    }
}
