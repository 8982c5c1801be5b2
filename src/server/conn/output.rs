//! From the outbox to the socket.
//!
//! The outbox is borrowed from the worker's spares while something is owed; it goes back when all is written. A write that takes less
//! than it was given has filled the socket: an event says when to go on.

use super::super::desk::Desk;
use super::{Conn, Next};
use crate::command::Out;
use crate::events::Reason;
use crate::stats::ConnState;

/// How a write went.
pub(super) enum Flow {
    Done,
    Blocked,
    Broken,
}

impl Conn {
    /// The write phase: writes what is owed, and says goodbye if that was the last of it.
    pub(in crate::server) fn flush(&mut self, desk: &mut Desk) -> Next {
        match self.write(desk) {
            Flow::Done if self.closing => self.farewell(),
            Flow::Done | Flow::Blocked => Next::Wait,
            Flow::Broken => Next::Close,
        }
    }

    /// Writes what is owed; afterwards either nothing is, or the socket is full.
    pub(super) fn write(&mut self, desk: &mut Desk) -> Flow {
        let Some(out) = &mut self.out else { return Flow::Done };
        if !self.writable {
            return Flow::Blocked;
        }
        match self.socket.write(out, &mut desk.tls) {
            Ok(written) => {
                desk.stats.bytes_written.add(written.len as u64);
                if written.len > 0 {
                    self.active = desk.now.tick;
                }
                if !written.complete {
                    self.writable = false;
                    let output = out.capacity();
                    self.account.count_output(desk, output);
                    self.account.note(ConnState::Mwrite, self.active);
                    return Flow::Blocked;
                }
                self.account.answered(desk);
                self.give_outbox(desk);
                Flow::Done
            }
            Err(error) => {
                self.reason = Reason::Error;
                log::debug!("connection lost while writing: {error}");
                Flow::Broken
            }
        }
    }

    /// Gives the empty outbox back.
    pub(super) fn give_outbox(&mut self, desk: &mut Desk) {
        self.account.count_output(desk, 0);
        if let Some(out) = self.out.take() {
            desk.spares.give_outbox(out);
        }
    }

    /// Hands what its watcher has to say to an outbox, if it owes nothing: then it is not idle, though nothing may happen.
    pub(in crate::server) fn tell(&mut self, desk: &mut Desk) {
        let Self { session, out, active, .. } = self;
        if let Some(watcher) = session.watcher().filter(|_| out.is_none()) {
            *active = desk.now.tick;
            watcher.take(|lines| {
                let out = out.insert(desk.spares.take_outbox());
                out.make_room(lines.len());
                Out::bytes(&mut **out, lines);
            });
        }
    }
}
