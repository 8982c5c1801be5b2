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
//! ```text
//!   open ──(quit, end of input)──► closing ──(all written)──┬─(nothing unread)──► closed
//!                                                           └─(unread input)──► lingering ──► closed
//! ```
//!
//! A socket closed with unread input answers with a reset that destroys what the client has not received yet; hence
//! *lingering*: say goodbye, throw away what still comes, close when the client does or after a while.
//!
//! It does *not* know its neighbours: who is served when is the worker's business.

use super::desk::Desk;
use super::outbox::Outbox;
use super::pending::Pending;
use super::socket::Socket;
use crate::clock::Tick;
use crate::command::{Context, Out};
use crate::events::{Kinds, Reason};
use crate::limits::{READ_BUFFER_LEN, ROUND_COST_MIN, TURN_INPUT_MAX, TURN_OUTPUT_MAX, WRITE_AT_ONCE_LEN};
use crate::session::{Session, Stop};
use crate::settings::Protocol;
use mio::event::Event;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read};
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
    pub(super) fn new(socket: Socket, protocol: Protocol, token: usize, now: Tick) -> Self {
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
            reason: Reason::Normal,
            peer: None,
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
        matches!(self.socket, Socket::Tcp(_))
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

    /// Hands what its watcher has to say to an outbox, if it owes nothing: then it is not idle, though nothing may happen.
    pub(super) fn tell(&mut self, desk: &mut Desk) {
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

    /// What it is told by.
    pub(super) fn number(&self) -> u32 {
        self.socket.number()
    }

    /// Where it comes from.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.peer.or_else(|| self.socket.peer())
    }

    fn serve_now(&mut self, desk: &mut Desk) -> Next {
        if desk.stats.log.is_watched(Kinds::ALL) {
            desk.stats.log.serve(self.number());
        }
        let next = self.serve_open(desk);
        match &self.out {
            None => {}
            Some(out) if out.is_empty() => self.give_outbox(desk),
            Some(out) if next == Next::Wait && out.pending_len() >= WRITE_AT_ONCE_LEN => return self.flush(desk),
            Some(_) => return next,
        }
        if self.closing && next == Next::Wait { self.farewell() } else { next }
    }

    /// The write phase: writes what is owed, and says goodbye if that was the last of it.
    pub(super) fn flush(&mut self, desk: &mut Desk) -> Next {
        match self.write(desk) {
            Flow::Done if self.closing => self.farewell(),
            Flow::Done | Flow::Blocked => Next::Wait,
            Flow::Broken => Next::Close,
        }
    }

    /// Says goodbye and reads what is there, so that closing does not take answers back; the daemon is stopping.
    pub(super) fn let_go(&mut self, desk: &mut Desk) {
        self.end_output();
        self.readable = true;
        self.discard(desk);
    }

    fn end_output(&self) {
        // It may be closed already; that is an end, too.
        let _ = self.socket.end_output();
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
                        self.readable = false;
                        return Next::Wait;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
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
                    match self.write(desk) {
                        Flow::Done => {}
                        Flow::Blocked => return Next::Wait,
                        Flow::Broken => return Next::Close,
                    }
                }
                Stop::Budget => return give_way(desk),
                Stop::Later => return Next::Later,
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

    /// Lets the session go on with input it has left over.
    fn feed_pending(&mut self, desk: &mut Desk) -> Stop {
        let out = self.out.get_or_insert_with(|| desk.spares.take_outbox());
        let mut cx = Context { daemon: &desk.daemon, local: &mut desk.local, now: desk.now, admin: true };
        let fed = self.session.feed(&mut cx, self.pending.rest(), &mut **out);
        self.note_stop(fed.stop);
        self.pending.consume(fed.used, &mut desk.spares);
        if !self.again {
            self.pending.compact();
        }
        fed.stop
    }

    /// Reads once, at most `room` bytes, and feeds the session. Gives the bytes read.
    fn read(&mut self, desk: &mut Desk, room: usize) -> io::Result<(usize, Stop)> {
        debug_assert!(!self.again, "input is left that should be served first");
        if self.pending.is_empty()
            && let Some(unfilled) = self.session.unfilled()
        {
            let room = room.min(unfilled.len());
            let len = self.socket.read(&mut unfilled[..room])?;
            if let Some(stop) = self.note_read(desk, len, room) {
                return Ok((len, stop));
            }
            self.session.filled(len);
            return Ok((len, self.feed_pending(desk)));
        }
        let joined = self.pending.join(&mut desk.scratch);
        let room = room.min(READ_BUFFER_LEN - joined);
        let len = self.socket.read(&mut desk.scratch[joined..joined + room])?;
        if let Some(stop) = self.note_read(desk, len, room) {
            return Ok((len, stop));
        }
        let input = &desk.scratch[..joined + len];
        if joined == 0 && !self.pending.is_empty() {
            if self.pending.append(input) {
                return Ok((len, self.feed_pending(desk)));
            }
            log::debug!("connection closed: a request longer than any may be");
            return Ok((len, Stop::Abort));
        }
        let out = self.out.get_or_insert_with(|| desk.spares.take_outbox());
        let mut cx = Context { daemon: &desk.daemon, local: &mut desk.local, now: desk.now, admin: true };
        let fed = self.session.feed(&mut cx, input, &mut **out);
        self.note_stop(fed.stop);
        self.pending.keep(input, joined, fed.used, &mut desk.spares);
        Ok((len, fed.stop))
    }

    /// Accounts for a read of `len` bytes where `room` were wanted; says to close at the end of input.
    fn note_read(&mut self, desk: &Desk, len: usize, room: usize) -> Option<Stop> {
        if len == 0 {
            self.hung_up = false;
            self.readable = false;
            return Some(Stop::Close);
        }
        desk.stats.bytes_read.add(len as u64);
        self.active = desk.now.tick;
        // A short read has drained the socket: news will be an event. The end of input that an event has told already
        // will not be told again.
        if len < room && !self.hung_up {
            self.readable = false;
        }
        None
    }

    fn note_stop(&mut self, stop: Stop) {
        self.again = matches!(stop, Stop::Output | Stop::Budget | Stop::Later | Stop::Slice);
    }

    fn stop_reading(&mut self, desk: &mut Desk) {
        self.closing = true;
        self.unread = self.readable || !self.pending.is_empty();
        self.pending.clear(&mut desk.spares);
    }

    /// Writes what is owed; afterwards either nothing is, or the socket is full.
    fn write(&mut self, desk: &mut Desk) -> Flow {
        let Some(out) = &mut self.out else { return Flow::Done };
        if !self.writable {
            return Flow::Blocked;
        }
        match out.write(&mut self.socket) {
            Ok(written) => {
                desk.stats.bytes_written.add(written.len as u64);
                if written.len > 0 {
                    self.active = desk.now.tick;
                }
                if !written.complete {
                    self.writable = false;
                    return Flow::Blocked;
                }
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

    fn give_outbox(&mut self, desk: &mut Desk) {
        if let Some(out) = self.out.take() {
            desk.spares.give_outbox(out);
        }
    }

    /// All is written and nothing more is wanted.
    fn farewell(&mut self) -> Next {
        if !self.unread {
            return Next::Close;
        }
        self.end_output();
        self.session = Session::new();
        self.lingering = true;
        self.readable = true;
        Next::Linger
    }

    /// Throws input away until the socket is dry; it says so by an event when there is more.
    fn discard(&mut self, desk: &mut Desk) -> Next {
        for _ in 0..TURN_INPUT_MAX / READ_BUFFER_LEN {
            if !self.readable {
                return Next::Wait;
            }
            match self.socket.read(&mut desk.scratch) {
                Ok(0) => return Next::Close,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Next::Close,
            }
        }
        Next::Yield
    }
}

/// Ends a turn before its input ended, for the others' sake.
fn give_way(desk: &Desk) -> Next {
    desk.stats.conn_yields.add(1);
    Next::Yield
}

/// How a write went.
enum Flow {
    Done,
    Blocked,
    Broken,
}
