//! The thread that takes clients in and hands each to a worker.
//!
//! ```text
//!   listeners ──accept──► limit? ──► two candidates by a seeded hash of the peer ──► the one with fewer connections
//!                           │ no
//!                           └──► "ERROR Too many open connections", close (with `no_maxconns_fast`: not accepted before somebody goes)
//! ```
//!
//! Two candidates, not all: nearly as even as the least of all, and a burst does not pile onto one worker. The seed keeps
//! clients from choosing their worker by their port.
//!
//! It accepts a batch from each listener in turn and remembers which had more, because events are edges. When the system
//! is out of descriptors, or all inboxes are full, it waits a little instead of spinning. It serves *no* request.

use super::inbox::{Arrival, Inbox, WAKE};
use super::listen::{Listener, Peer};
use super::socket::Socket;
use crate::clock::Tick;
use crate::command::Daemon;
use crate::limits::{ACCEPT_BACKOFF_MS, ACCEPT_BATCH_MAX, TLS_RELOAD_MS};
use crate::pulse::Pulse;
use crate::stats::Block;
use crate::sys::process;
use crossbeam_utils::CachePadded;
use mio::{Events, Poll, Token};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The acceptor's thread.
#[derive(Debug)]
pub(super) struct Acceptor {
    poll: Poll,
    /// Only for its waker and its stop; no socket ever lies in it.
    signal: Arc<Inbox>,
    listeners: Vec<Listener>,
    /// Which listeners may have clients waiting; as many as there are listeners.
    ready: Vec<bool>,
    workers: Vec<Arc<Inbox>>,
    conn_limit: usize,
    /// Whether who comes beyond the limit is turned away; else nobody is accepted for as long.
    turns_away: bool,
    hasher: RandomState,
    /// Clients without an address, who are told apart by number.
    local_count: u64,
    stats: Arc<CachePadded<Block>>,
    /// The system was out of descriptors when last asked, and the log says so.
    starved: bool,
    /// Since when nobody is accepted, for want of something.
    disabled_since: Option<Instant>,
}

/// Whether to go on accepting from a listener.
enum Pace {
    /// There may be more.
    Go,
    /// Nobody waits.
    Dry,
    /// Not now, for want of something.
    Later,
}

impl Acceptor {
    /// An acceptor that gives clients of `listeners` to `workers`; `poll` is woken by `signal`.
    pub(super) fn new(
        poll: Poll,
        signal: Arc<Inbox>,
        mut listeners: Vec<Listener>,
        workers: Vec<Arc<Inbox>>,
        (conn_limit, turns_away): (usize, bool),
        stats: Arc<CachePadded<Block>>,
    ) -> io::Result<Self> {
        for (i, listener) in listeners.iter_mut().enumerate() {
            listener.register(poll.registry(), Token(i))?;
            let (fd, place) = listener.place();
            stats.conns.add(fd, place, None, Tick::START.secs());
        }
        let ready = vec![false; listeners.len()];
        let hasher = RandomState::new();
        Ok(Self {
            poll,
            signal,
            listeners,
            ready,
            workers,
            conn_limit,
            turns_away,
            hasher,
            local_count: 0,
            stats,
            starved: false,
            disabled_since: None,
        })
    }

    /// Accepts until told to stop; then closes the listeners, and only then stops the workers.
    pub(super) fn run(mut self, pulse: &Pulse, daemon: &Daemon) {
        // Workers under a filter may not open files: they ask for certificates, and this thread looks every so often.
        let tls = daemon.tls.as_ref().filter(|_| daemon.settings.process.drop_privileges);
        let mut events = Events::with_capacity(64);
        let mut timeout = None;
        loop {
            pulse.beat();
            if let Err(error) = self.poll.poll(&mut events, pulse.bound(timeout))
                && error.kind() != ErrorKind::Interrupted
            {
                log::error!("cannot poll listeners: {error}");
                std::thread::sleep(Duration::from_millis(ACCEPT_BACKOFF_MS));
            }
            if self.signal.is_stopping() {
                break;
            }
            for event in &events {
                if event.token() != WAKE {
                    self.ready[event.token().0] = true;
                }
            }
            timeout = self.accept_ready();
            if let Some(tls) = tls {
                tls.reload_if_asked(daemon.clock.now().tick);
                let look = Duration::from_millis(TLS_RELOAD_MS);
                timeout = Some(timeout.map_or(look, |timeout| timeout.min(look)));
            }
        }
        self.listeners.clear();
        for worker in &self.workers {
            worker.stop();
        }
    }

    /// Takes a batch from each listener that has clients waiting; gives how long to sleep afterwards.
    fn accept_ready(&mut self) -> Option<Duration> {
        let timeout = self.accept_batches();
        let is_disabled = timeout.is_some_and(|timeout| !timeout.is_zero());
        if let Some(since) = self.disabled_since {
            let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.stats.time_in_listen_disabled_us.add(micros);
        }
        self.stats.listen_disabled_num.add(u64::from(is_disabled && self.disabled_since.is_none()));
        self.stats.listen_disabled.set(u64::from(is_disabled));
        self.disabled_since = is_disabled.then(Instant::now);
        timeout
    }

    fn accept_batches(&mut self) -> Option<Duration> {
        let mut timeout = None;
        for i in 0..self.listeners.len() {
            if !self.ready[i] {
                continue;
            }
            match self.accept_batch(i) {
                Pace::Go => timeout = Some(Duration::ZERO),
                Pace::Dry => self.ready[i] = false,
                Pace::Later => return Some(Duration::from_millis(ACCEPT_BACKOFF_MS)),
            }
        }
        timeout
    }

    fn accept_batch(&mut self, listener: usize) -> Pace {
        for _ in 0..ACCEPT_BATCH_MAX {
            match self.accept_one(listener) {
                Pace::Go => {}
                stop => return stop,
            }
        }
        Pace::Go
    }

    fn accept_one(&mut self, listener: usize) -> Pace {
        let is_waiting = !self.turns_away && self.is_full();
        if is_waiting || !self.workers.iter().any(|worker| worker.has_room()) {
            return Pace::Later;
        }
        match self.listeners[listener].accept() {
            Ok((socket, peer)) => {
                self.starved = false;
                let (protocol, tls) = (self.listeners[listener].protocol(), self.listeners[listener].tls());
                self.admit(Arrival { socket, protocol, tls }, peer);
                Pace::Go
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Pace::Dry,
            Err(error) if process::is_starved(&error) => {
                if !self.starved {
                    log::warn!("cannot accept for now: {}", process::reason(&error));
                    self.starved = true;
                }
                Pace::Later
            }
            // The client's trouble: it went away while it waited, or its network did.
            Err(error) => {
                log::debug!("a client was lost before it was accepted: {error}");
                Pace::Go
            }
        }
    }

    fn is_full(&self) -> bool {
        self.workers.iter().map(|worker| worker.open_count()).sum::<usize>() >= self.conn_limit
    }

    /// Hands a client to a worker, or turns it away at the limit.
    fn admit(&mut self, arrival: Arrival, peer: Peer) {
        if self.is_full() {
            self.stats.rejected_connections.add(1);
            turn_away(arrival.socket);
            return;
        }
        let mut arrival = arrival;
        let first = self.choose(peer);
        // The chosen one, then whoever has room; that somebody has was checked before accepting.
        for i in 0..self.workers.len() {
            let worker = &self.workers[(first + i) % self.workers.len()];
            match worker.push(arrival) {
                Ok(()) => return,
                Err(back) => arrival = back,
            }
        }
    }

    /// The better of two candidates.
    fn choose(&mut self, peer: Peer) -> usize {
        let hash = match peer {
            Peer::Net(..) => self.hasher.hash_one(peer),
            Peer::Local => {
                self.local_count += 1;
                self.hasher.hash_one(self.local_count)
            }
        };
        let candidate = |hash: u64| usize::try_from(hash % self.workers.len() as u64).unwrap_or(0);
        let (a, b) = (candidate(hash & u64::from(u32::MAX)), candidate(hash >> 32));
        if self.workers[b].open_count() < self.workers[a].open_count() { b } else { a }
    }
}

/// Says why and closes. What the client has sent already is read first, as far as it is there: a socket closed with
/// unread input takes the answer back with a reset.
fn turn_away(mut socket: Socket) {
    let mut unread = [0; 4096];
    // Each step may fail because the client is gone, which is what is wanted.
    let _ = socket.write_plainly(TOO_MANY);
    let _ = socket.end_output();
    let _ = socket.read_plainly(&mut unread);
}

/// memcached's words at the connection limit.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";
