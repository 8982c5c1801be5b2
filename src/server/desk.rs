//! What a worker has at hand while it serves one connection after the other: the daemon, its own part of the store, the
//! time, and buffers.
//!
//! Spare buffers are those that no connection needs at the moment: the worker's own, bounded, last in first out so that the
//! warmest goes out first. An idle connection owns none; a busy one borrows one for a turn. Nothing here is shared
//! between workers.

use super::outbox::Outbox;
use super::pending::Allowance;
use super::tls::TlsBench;
use crate::clock::Now;
use crate::command::Daemon;
use crate::limits::{SPARE_BUFFER_LEN_MAX, SPARE_BUFFERS_MAX, SPARE_BYTES_MAX};
use crate::stats::{Block, Served};
use crate::store::Local;
use crossbeam_utils::CachePadded;
use std::sync::Arc;

/// What a worker has at hand while it serves.
#[derive(Debug)]
pub(super) struct Desk {
    pub daemon: Arc<Daemon>,
    pub local: Local,
    pub stats: Arc<CachePadded<Block>>,
    pub now: Now,
    /// The same, in nanoseconds since the start, as the turn began.
    pub turn_nanos: u64,
    /// Requests are timed.
    pub timing: bool,
    /// Where the counters of timed requests stood when the connection that is being served was last looked at.
    pub served: Served,
    /// Where input is read, whosever it is; `READ_BUFFER_LEN` long.
    pub scratch: Box<[u8]>,
    pub spares: Spares,
    pub tls: TlsBench,
}

impl Desk {
    /// Begins to count requests for the next connection, if they are timed.
    #[inline]
    pub(super) fn mark_served(&mut self) {
        if self.timing {
            self.served = self.stats.served();
        }
    }

    /// Requests since then, or since this was last asked; none if they are not timed.
    #[inline]
    pub(super) fn take_served(&mut self) -> Served {
        if !self.timing {
            return Served::default();
        }
        let before = std::mem::replace(&mut self.served, self.stats.served());
        self.served.since(&before)
    }
}

/// Spare buffers of one worker.
#[derive(Debug, Default)]
pub(super) struct Spares {
    #[expect(
        clippy::vec_box,
        reason = "the box itself moves, so that a connection holds one pointer and nothing is copied"
    )]
    outboxes: Vec<Box<Outbox>>,
    inputs: Vec<Vec<u8>>,
    /// Capacity of all of them together, at most `SPARE_BYTES_MAX`.
    kept_len: usize,
    /// The part of it that is for input.
    input_len: usize,
    /// What long buffers of input may have, those that are in use; all workers'.
    allowance: Arc<Allowance>,
}

impl Spares {
    /// None yet, by an allowance that others share.
    pub(super) fn sharing(allowance: Arc<Allowance>) -> Self {
        Self { allowance, ..Self::default() }
    }

    pub(super) fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// An empty outbox.
    pub(super) fn take_outbox(&mut self) -> Box<Outbox> {
        let outbox = self.outboxes.pop().unwrap_or_default();
        self.kept_len -= outbox.capacity();
        outbox
    }

    /// Takes an empty outbox back.
    pub(super) fn give_outbox(&mut self, outbox: Box<Outbox>) {
        debug_assert!(outbox.is_empty(), "an outbox that still owes something was given back");
        if self.outboxes.len() < SPARE_BUFFERS_MAX && self.keep(outbox.capacity()) {
            self.outboxes.push(outbox);
        }
    }

    /// An empty buffer for input.
    pub(super) fn take_input(&mut self) -> Vec<u8> {
        let input = self.inputs.pop().unwrap_or_default();
        self.kept_len -= input.capacity();
        self.input_len -= input.capacity();
        input
    }

    /// Bytes of spare buffers for input.
    pub(super) fn input_len(&self) -> usize {
        self.input_len
    }

    /// Takes a buffer for input back, whatever it holds.
    pub(super) fn give_input(&mut self, mut input: Vec<u8>) {
        if input.capacity() > 0 && self.inputs.len() < SPARE_BUFFERS_MAX && self.keep(input.capacity()) {
            input.clear();
            self.input_len += input.capacity();
            self.inputs.push(input);
        }
    }

    /// Whether one more buffer of this capacity may be kept; if so, it is counted.
    fn keep(&mut self, len: usize) -> bool {
        let keep = len <= SPARE_BUFFER_LEN_MAX && self.kept_len + len <= SPARE_BYTES_MAX;
        if keep {
            self.kept_len += len;
        }
        keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_reused_warmest_first_and_huge_ones_are_freed() {
        let mut spares = Spares::default();
        spares.give_input(Vec::with_capacity(100));
        spares.give_input(Vec::with_capacity(200));
        spares.give_input(Vec::with_capacity(SPARE_BUFFER_LEN_MAX + 1));
        assert_eq!(spares.take_input().capacity(), 200);
        assert_eq!(spares.take_input().capacity(), 100);
        assert_eq!(spares.take_input().capacity(), 0);
        assert_eq!(spares.kept_len, 0);
    }

    #[test]
    fn no_more_than_the_bound_is_kept() {
        let mut spares = Spares::default();
        for _ in 0..64 {
            spares.give_input(Vec::with_capacity(SPARE_BUFFER_LEN_MAX));
        }
        assert!(spares.kept_len <= SPARE_BYTES_MAX);
        assert_eq!(spares.inputs.len(), SPARE_BYTES_MAX / SPARE_BUFFER_LEN_MAX);
    }
}
