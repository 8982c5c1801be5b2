//! A session without a socket: the same bytes, a thousand times faster than over the wire.

use super::server::settings;
use super::wire::{Received, Wire};
use slabd::clock::Clock;
use slabd::command::{Context, Daemon};
use slabd::server::store_config;
use slabd::session::{Session, Stop};
use slabd::stats::Registry;
use slabd::store::{Local, Store, StoreConfig};

/// How a value's bytes reach the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// With everything else, as input.
    Fed,
    /// Straight into their chunk, as far as the session offers its room.
    Straight,
}

/// A daemon without threads.
#[derive(Debug)]
pub(crate) struct Direct {
    daemon: Daemon,
    local: Local,
}

/// One client of a [`Direct`] daemon.
#[derive(Debug)]
pub(crate) struct DirectClient<'a> {
    direct: &'a mut Direct,
    session: Session,
    values: Values,
    /// Input the session has not used yet.
    input: Vec<u8>,
    /// Answers nobody has read yet.
    answer: Vec<u8>,
    closed: bool,
}

impl Direct {
    /// With memory for items of so many bytes.
    pub(crate) fn new(memory_len: u64) -> Self {
        let settings = slabd::settings::Settings { memory_len, ..settings() };
        let config = StoreConfig { hash_seed: Some(1), ..store_config(&settings) };
        let store = Store::new(&config).expect("memory can be mapped");
        let stats = Registry::default();
        let local = store.local(stats.register());
        Self { daemon: Daemon { store, settings, clock: Clock::manual(), stats, auth: None, tls: None }, local }
    }

    /// By this clock, which another has too: what it says of lifetimes can be compared.
    pub(crate) fn with_clock(mut self, clock: Clock) -> Self {
        self.daemon.clock = clock;
        self
    }

    /// A new client; its predecessor has hung up.
    pub(crate) fn connect(&mut self, values: Values) -> DirectClient<'_> {
        let session = Session::new();
        DirectClient { direct: self, session, values, input: Vec::new(), answer: Vec::new(), closed: false }
    }
}

impl DirectClient<'_> {
    /// Whether the session has asked for the end of its connection.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Answers so far, taken.
    pub(crate) fn take_answer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answer)
    }

    fn fill<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while self.values == Values::Straight && self.input.is_empty() && !bytes.is_empty() {
            let Some(room) = self.session.unfilled() else {
                break;
            };
            assert!(!room.is_empty(), "the session offers no room for the rest of a value");
            let len = room.len().min(bytes.len());
            room[..len].copy_from_slice(&bytes[..len]);
            self.session.filled(len);
            bytes = &bytes[len..];
        }
        bytes
    }

    fn feed(&mut self) {
        let mut used = 0;
        let mut idle_count = 0;
        while !self.closed {
            let mut out = Vec::new();
            let mut cx = Context {
                daemon: &self.direct.daemon,
                local: &mut self.direct.local,
                now: self.direct.daemon.clock.now(),
                admin: true,
            };
            let fed = self.session.feed(&mut cx, &self.input[used..], &mut out);
            assert!(fed.used <= self.input.len() - used, "the session used more than it was given");
            idle_count = if fed.used == 0 && out.is_empty() { idle_count + 1 } else { 0 };
            assert!(idle_count < 4, "the session asks to be called again and again without doing anything");
            used += fed.used;
            self.answer.append(&mut out);
            match fed.stop {
                Stop::Input | Stop::Watch => break,
                // Some of a dump may be of nothing.
                Stop::Slice => idle_count = 0,
                Stop::Output | Stop::Budget | Stop::Later | Stop::Costly => {}
                Stop::Close | Stop::Abort => self.closed = true,
            }
        }
        self.input.drain(..used);
    }
}

impl Wire for DirectClient<'_> {
    fn send(&mut self, bytes: &[u8]) {
        if self.closed || bytes.is_empty() {
            return;
        }
        let bytes = self.fill(bytes);
        if !bytes.is_empty() {
            self.input.extend_from_slice(bytes);
            self.feed();
        }
    }

    fn receive(&mut self, answer: &mut Vec<u8>) -> Received {
        if !self.answer.is_empty() {
            answer.append(&mut self.answer);
            return Received::Bytes;
        }
        if self.closed { Received::Closed } else { Received::Silence }
    }

    fn advance(&mut self, ms: u64) {
        self.direct.daemon.clock.advance(ms);
    }

    fn unix_secs(&self) -> u64 {
        self.direct.daemon.clock.now().unix_secs
    }
}
