//! From the socket to the session: reading, and what a read says about the socket.
//!
//! ```text
//!   a long value under way, nothing pending ──► read straight into its chunk
//!   otherwise ──► desk.scratch, a short beginning in front of it ──► session ──► the rest is pending
//!                              behind a long beginning that is pending ──► session
//! ```

use super::super::desk::Desk;
use super::super::pending::Unkept;
use super::Conn;
use crate::command::Context;
use crate::limits::READ_BUFFER_LEN;
use crate::session::{Session, Stop};
use std::io;

impl Conn {
    /// Lets the session go on with input it has left over.
    pub(super) fn feed_pending(&mut self, desk: &mut Desk) -> Stop {
        let out = self.out.get_or_insert_with(|| desk.spares.take_outbox());
        let mut cx = Context { daemon: &desk.daemon, local: &mut desk.local, now: desk.now, admin: true };
        let fed = self.session.feed(&mut cx, self.pending.rest(), &mut **out);
        self.note_stop(fed.stop);
        self.pending.consume(fed.used, &mut desk.spares);
        if !self.again {
            self.pending.compact(&mut desk.spares);
        }
        fed.stop
    }

    /// Reads once, at most `room` bytes, and feeds the session. Gives the bytes read.
    pub(super) fn read(&mut self, desk: &mut Desk, room: usize) -> io::Result<(usize, Stop)> {
        debug_assert!(!self.again, "input is left that should be served first");
        if self.pending.is_empty()
            && let Some(unfilled) = self.session.unfilled()
        {
            let room = room.min(unfilled.len());
            let len = self.socket.read(&mut unfilled[..room], &mut desk.tls)?;
            if let Some(stop) = self.note_read(desk, len, room) {
                return Ok((len, stop));
            }
            self.session.filled(len);
            return Ok((len, self.feed_pending(desk)));
        }
        let joined = self.pending.join(&mut desk.scratch);
        let room = room.min(READ_BUFFER_LEN - joined);
        let len = self.socket.read(&mut desk.scratch[joined..joined + room], &mut desk.tls)?;
        if let Some(stop) = self.note_read(desk, len, room) {
            return Ok((len, stop));
        }
        let input = &desk.scratch[..joined + len];
        if joined == 0 && !self.pending.is_empty() {
            return Ok(match self.pending.append(input, &mut desk.spares) {
                Ok(()) => (len, self.feed_pending(desk)),
                Err(why) => (len, self.refuse(desk, why)),
            });
        }
        let out = self.out.get_or_insert_with(|| desk.spares.take_outbox());
        let mut cx = Context { daemon: &desk.daemon, local: &mut desk.local, now: desk.now, admin: true };
        let fed = self.session.feed(&mut cx, input, &mut **out);
        self.note_stop(fed.stop);
        match self.pending.keep(input, joined, fed.used, fed.stop != Stop::Input, &mut desk.spares) {
            Ok(()) => Ok((len, fed.stop)),
            Err(why) => Ok((len, self.refuse(desk, why))),
        }
    }

    /// A request that is not complete cannot be kept.
    fn refuse(&mut self, desk: &mut Desk, why: Unkept) -> Stop {
        if why == Unkept::NoRoom {
            desk.stats.read_buf_oom.add(1);
            let out = self.out.get_or_insert_with(|| desk.spares.take_outbox());
            Session::refuse_input(&mut **out);
            // It is in the middle of a line: to close before it has sent the rest would take the answer from it.
            self.readable = true;
        }
        log::debug!("connection closed: the beginning of a request cannot be kept: {why:?}");
        Stop::Abort
    }

    /// Accounts for a read of `len` bytes where `room` were wanted; says to close at the end of input.
    fn note_read(&mut self, desk: &Desk, len: usize, room: usize) -> Option<Stop> {
        if len == 0 {
            self.hung_up = false;
            // What is left after a client was given up is thrown away, as behind a last request.
            self.readable = self.socket.holds_more();
            return Some(Stop::Close);
        }
        desk.stats.bytes_read.add(len as u64);
        self.active = desk.now.tick;
        // A short read has drained the socket: news will be an event. The end of input that an event has told already
        // will not be told again.
        if len < room && !self.hung_up && !self.socket.holds_more() {
            self.readable = false;
        }
        None
    }

    fn note_stop(&mut self, stop: Stop) {
        self.again = matches!(stop, Stop::Output | Stop::Budget | Stop::Later | Stop::Costly | Stop::Slice);
    }

    /// No more requests are taken.
    pub(super) fn stop_reading(&mut self, desk: &mut Desk) {
        self.closing = true;
        self.unread = self.readable || !self.pending.is_empty();
        self.pending.clear(&mut desk.spares);
    }
}
