//! One connection: a socket, a session, and what lies between them for as long as something does.
//!
//! ```text
//!   socket ──read──► desk.scratch ──feed──► session ──► out ──write──► socket
//!                        │   ▲                │ ▲
//!            unserved    ▼   │ joined again   │ │ unfilled(): a long value, read straight into its chunk
//!                       pending               └─┘
//! ```
//!
//! An idle connection owns no buffer: input is read into the worker's scratch, what is not served at once moves to
//! `pending`, answers collect in an outbox borrowed from the worker's spares.
//!
//! Events are edges, so two bits remember what the socket last said: `readable` until a read came back short or empty,
//! `writable` until a write did. While output is owed the connection is not read: that is the back-pressure.
//!
//! Here is what it is made of, and the rounds of its turn. How it reads is in `conn/input.rs`, how it writes in `conn/output.rs`, how it ends in
//! `conn/goodbye.rs`, and what is counted of it in `conn/account.rs`.
//!
//! It does *not* know its neighbours: who is served when is the worker's business.

mod account;
mod goodbye;
mod input;
mod output;

use super::desk::Desk;
use super::outbox::Outbox;
use super::pending::Pending;
use super::socket::Socket;
use crate::clock::Tick;
use crate::command::Out;
use crate::events::{Kinds, Reason};
use crate::limits::{ROUND_COST_MIN, TURN_INPUT_MAX, TURN_OUTPUT_MAX, WRITE_AT_ONCE_LEN};
use crate::session::{Session, Stop};
use crate::settings::Protocol;
use crate::stats::ConnState;
use account::Account;
use mio::event::Event;
use mio::{Interest, Registry, Token};
use output::Flow;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// One client.
#[derive(Debug)]
pub(super) struct Conn {
    socket: Socket,
    /// Slot and generation: an event for an earlier user of the slot has another token.
    pub token: usize,
    session: Session,
    /// Answers not written yet; none when idle.
    out: Option<Box<Outbox>>,
    /// Input not served yet.
    pending: Pending,
    /// When a byte last went in or out.
    pub active: Tick,
    /// The socket may hold input.
    readable: bool,
    /// The socket may take output.
    pub writable: bool,
    /// The peer has ended its side, or did something as odd: a short read does not mean that all has been seen.
    hung_up: bool,
    /// The session stopped before it ran out of input.
    again: bool,
    /// No more requests; goes when all is written.
    closing: bool,
    /// There was input behind the last request.
    unread: bool,
    /// Goodbye is said; input is thrown away.
    lingering: bool,
    /// The session is in the midst of a long answer.
    streaming: bool,
    /// On the worker's list for the next turn.
    pub yielded: bool,
    /// What is counted of it.
    account: Account,
    /// Why it is closed, when it is.
    pub reason: Reason,
    /// Where it comes from, if somebody wanted to know when it came.
    pub peer: Option<SocketAddr>,
}

/// What the worker has to do with a connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing until the socket has news, or until the write phase if something is owed.
    Wait,
    /// Serve it again next turn.
    Yield,
    /// Serve it again when a login may be checked.
    Later,
    /// Serve it again when it may do what is costly: a step of its handshake, a long report.
    Queue,
    /// Have it go on with a long answer when others have been served.
    Slice,
    /// Serve it again next turn, and tell it what its session's watcher says from now on.
    Watch,
    /// Serve it again next turn, and close it after a while.
    Linger,
    /// Close it.
    Close,
}

impl Conn {
    /// A client that has just come.
    pub(super) fn new(socket: Socket, protocol: Protocol, token: usize, desk: &Desk) -> Self {
        let now = desk.now.tick;
        let account = Account::open(&socket, desk);
        Self {
            socket,
            token,
            session: Session::speaking(protocol),
            out: None,
            pending: Pending::default(),
            active: now,
            readable: false,
            writable: true,
            hung_up: false,
            again: false,
            closing: false,
            unread: false,
            lingering: false,
            streaming: false,
            yielded: false,
            account,
            reason: Reason::Normal,
            peer: None,
        }
    }

    /// To be called before it is dropped: nothing tells of it any more.
    pub(super) fn forget(&mut self, desk: &Desk) {
        self.pending.settle(&desk.spares);
        self.account.close(desk);
    }

    /// What it is doing, between turns.
    fn state(&self) -> ConnState {
        if self.closing {
            ConnState::Closing
        } else if self.session.watcher().is_some() {
            ConnState::Watch
        } else if self.account.holds_output() {
            ConnState::Mwrite
        } else if self.session.is_receiving() {
            ConnState::Nread
        } else {
            ConnState::Read
        }
    }

    /// Puts it on a worker's poll, for good: edges in both directions, never registered again.
    pub(super) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        #[cfg(target_os = "linux")]
        let interest = interest | Interest::PRIORITY;
        registry.register(&mut self.socket, Token(self.token), interest)
    }

    /// Whether an idle timeout applies to it.
    pub(super) fn may_idle_out(&self) -> bool {
        matches!(self.socket, Socket::Tcp(_) | Socket::Tls(_))
    }

    /// Whether its TLS handshake is under way.
    pub(super) fn is_shaking(&self) -> bool {
        matches!(&self.socket, Socket::Tls(stream) if stream.is_shaking())
    }

    /// Notes what the socket said.
    #[inline]
    pub(super) fn note(&mut self, event: &Event) {
        if event.is_readable() {
            self.readable = true;
        }
        if event.is_writable() {
            self.writable = true;
        }
        // Reads stop short at urgent data (which nobody who means well sends) as if there were nothing behind it.
        if event.is_read_closed() || event.is_error() || event.is_priority() {
            self.readable = true;
            self.hung_up = true;
        }
        if event.is_write_closed() || event.is_error() {
            // The write that finds out must be tried.
            self.writable = true;
        }
    }

    /// Whether something waits to be written.
    #[inline]
    pub(super) fn owes(&self) -> bool {
        self.out.is_some()
    }

    /// Serves what has arrived, within a turn's budget.
    pub(super) fn serve(&mut self, desk: &mut Desk) -> Next {
        self.account.note(ConnState::ParseCmd, desk.now.tick);
        let next = self.serve_turn(desk);
        self.account.count_input(desk, self.pending.capacity());
        self.account.note(self.state(), self.active);
        next
    }

    fn serve_turn(&mut self, desk: &mut Desk) -> Next {
        if self.lingering {
            return self.discard(desk);
        }
        if self.owes() {
            match self.write(desk) {
                Flow::Done => {}
                Flow::Blocked => return Next::Wait,
                Flow::Broken => return Next::Close,
            }
        }
        if self.closing {
            return self.farewell();
        }
        if self.streaming {
            return Next::Slice;
        }
        self.serve_now(desk)
    }

    /// Goes on with a long answer by a slice, and writes it.
    pub(super) fn go_on(&mut self, desk: &mut Desk) -> Next {
        match self.write(desk) {
            Flow::Done => {}
            Flow::Blocked => return Next::Wait,
            Flow::Broken => return Next::Close,
        }
        self.streaming = false;
        let next = self.serve_now(desk);
        match self.write(desk) {
            Flow::Broken => Next::Close,
            // Its event says when to go on.
            Flow::Blocked if next == Next::Slice => Next::Wait,
            _ => next,
        }
    }

    /// What it is told by.
    pub(super) fn number(&self) -> u32 {
        self.socket.number()
    }

    /// Where it comes from.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.peer.or_else(|| self.socket.peer())
    }

    fn serve_now(&mut self, desk: &mut Desk) -> Next {
        // What was left over has come earlier, and so have those whose answers have not left.
        if !self.again {
            self.account.arrive(desk);
        }
        desk.mark_served();
        if desk.stats.log.is_watched(Kinds::ALL) {
            desk.stats.log.serve(self.number());
        }
        let next = self.serve_open(desk);
        self.account.serve(&desk.take_served());
        if self.out.as_ref().is_none_or(|out| out.is_empty()) {
            self.account.answered(desk);
        }
        match &self.out {
            None => {}
            Some(out) if out.is_empty() => self.give_outbox(desk),
            Some(out) if next == Next::Wait && out.pending_len() >= WRITE_AT_ONCE_LEN => return self.flush(desk),
            Some(_) => return next,
        }
        if self.closing && next == Next::Wait { self.farewell() } else { next }
    }

    /// The rounds of a turn: feed what is there, read what the socket has, until either is dry or the budget spent.
    fn serve_open(&mut self, desk: &mut Desk) -> Next {
        let (mut input_spent, mut output_spent) = (0, 0);
        loop {
            let stop = if self.again {
                self.feed_pending(desk)
            } else if self.readable {
                match self.read(desk, TURN_INPUT_MAX - input_spent) {
                    Ok((len, stop)) => {
                        input_spent += len.max(ROUND_COST_MIN);
                        stop
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        self.readable = self.socket.holds_more();
                        return Next::Wait;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) if error.kind() == ErrorKind::ResourceBusy => return Next::Queue,
                    Err(error) => {
                        self.reason = Reason::Error;
                        log::debug!("connection lost while reading: {error}");
                        return Next::Close;
                    }
                }
            } else {
                return Next::Wait;
            };
            match stop {
                Stop::Input => {}
                Stop::Output => {
                    output_spent += self.out.as_ref().map_or(0, |out| out.pending_len()).max(ROUND_COST_MIN);
                    self.account.serve(&desk.take_served());
                    match self.write(desk) {
                        Flow::Done => {}
                        Flow::Blocked => return Next::Wait,
                        Flow::Broken => return Next::Close,
                    }
                }
                Stop::Budget => return give_way(desk),
                Stop::Later => return Next::Later,
                Stop::Costly => return Next::Queue,
                Stop::Slice => {
                    self.streaming = true;
                    return Next::Slice;
                }
                Stop::Watch => return Next::Watch,
                Stop::Close | Stop::Abort => {
                    if stop == Stop::Abort {
                        self.reason = Reason::Error;
                    }
                    self.stop_reading(desk);
                    return Next::Wait;
                }
            }
            let spent = input_spent >= TURN_INPUT_MAX || output_spent >= TURN_OUTPUT_MAX;
            if spent && (self.again || self.readable) {
                return give_way(desk);
            }
        }
    }
}

/// Ends a turn before its input ended, for the others' sake.
fn give_way(desk: &Desk) -> Next {
    desk.stats.conn_yields.add(1);
    Next::Yield
}
