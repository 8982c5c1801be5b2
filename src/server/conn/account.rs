//! What the counters tell of one connection: what it is doing, what memory it has, and how long its clients wait for answers.
//!
//! Written by its worker only. Nothing here decides anything.

use super::super::desk::Desk;
use super::super::socket::Socket;
use crate::clock::Tick;
use crate::limits::OUTBOX_MEMORY_MAX;
use crate::stats::{ConnState, Counter, Served, Tracked};
use std::sync::Arc;

/// What is counted of one connection.
#[derive(Debug)]
pub(super) struct Account {
    /// What `stats conns` tells of it.
    tracked: Arc<Tracked>,
    /// Requests served whose answers have not left yet, while requests are timed.
    owed: Served,
    /// When the first of them had come, in nanoseconds since the start.
    arrived_nanos: u64,
    /// Bytes of unserved input and, if they have not been taken at once, of answers, as far as they are counted.
    counted: Counted,
}

/// Bytes of one connection that are in the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    input: usize,
    output: usize,
}

impl Account {
    /// Of a connection that has just come.
    pub(super) fn open(socket: &Socket, desk: &Desk) -> Self {
        let (addr, listen_addr) = socket.places();
        let tracked = desk.stats.conns.add(socket.fd(), addr, Some(listen_addr), desk.now.tick.secs());
        Self { tracked, owed: Served::default(), arrived_nanos: 0, counted: Counted::default() }
    }

    /// Nothing is told of it any more; to be called before its descriptor is closed.
    pub(super) fn close(&mut self, desk: &Desk) {
        self.count(desk, Counted::default());
        desk.stats.conns.remove(&self.tracked);
    }

    /// What it is doing, and when it was last served.
    #[inline]
    pub(super) fn note(&self, state: ConnState, when: Tick) {
        self.tracked.note(state, when.secs());
    }

    /// It holds so much input.
    pub(super) fn count_input(&mut self, desk: &Desk, input: usize) {
        self.count(desk, Counted { input, ..self.counted });
    }

    /// It holds so many answers that were not taken at once.
    pub(super) fn count_output(&mut self, desk: &Desk, output: usize) {
        self.count(desk, Counted { output, ..self.counted });
    }

    /// Answers were not taken at once, and are still there.
    pub(super) fn holds_output(&self) -> bool {
        self.counted.output > 0
    }

    /// Counts what memory it has; while its answers leave in the turn they are made in, they are not worth counting.
    fn count(&mut self, desk: &Desk, now: Counted) {
        if self.counted == now {
            return;
        }
        let change = |bytes: &Counter, count: &Counter, before: usize, now: usize| {
            bytes.add(now as u64);
            bytes.sub(before as u64);
            count.add(u64::from(now > 0));
            count.sub(u64::from(before > 0));
        };
        let (stats, before) = (&desk.stats, self.counted);
        change(&stats.read_buf_bytes, &stats.read_buf_count, before.input, now.input);
        change(&stats.response_obj_bytes, &stats.response_obj_count, before.output, now.output);
        let of_report = |len: usize| len.saturating_sub(OUTBOX_MEMORY_MAX) as u64;
        stats.reports_bytes.add(of_report(now.output));
        stats.reports_bytes.sub(of_report(before.output));
        self.counted = now;
    }

    /// Requests have come at the beginning of this turn, unless earlier ones are not answered yet.
    pub(super) fn arrive(&mut self, desk: &Desk) {
        if self.owed.is_empty() {
            self.arrived_nanos = desk.turn_nanos;
        }
    }

    /// Requests have been served.
    pub(super) fn serve(&mut self, served: &Served) {
        self.owed.add(served);
    }

    /// All answers owed have been given to the kernel.
    pub(super) fn answered(&mut self, desk: &Desk) {
        if !self.owed.is_empty() {
            let took = desk.daemon.clock.nanos().saturating_sub(self.arrived_nanos);
            desk.stats.latency.note(&self.owed, took);
            self.owed = Served::default();
        }
    }
}
