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
use super::pending::{Pending, Unkept};
use super::socket::Socket;
use crate::clock::Tick;
use crate::command::{Context, Out};
use crate::events::{Kinds, Reason};
use crate::limits::{READ_BUFFER_LEN, ROUND_COST_MIN, TURN_INPUT_MAX, TURN_OUTPUT_MAX, WRITE_AT_ONCE_LEN};
use crate::session::{Session, Stop};
use crate::settings::Protocol;
use crate::stats::{ConnState, Counter, Served, Tracked};
use mio::event::Event;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

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
    /// What `stats conns` tells of it.
    tracked: Arc<Tracked>,
    /// Requests served whose answers have not left yet, while requests are timed.
    owed: Served,
    /// When the first of them had come, in nanoseconds since the start.
    arrived_nanos: u64,
    /// Bytes of `pending` and, if they have not been taken at once, of `out`, as far as they are counted.
    counted: Counted,
    /// Why it is closed, when it is.
    pub reason: Reason,
    /// Where it comes from, if somebody wanted to know when it came.
    pub peer: Option<SocketAddr>,
}

/// Bytes of one connection that are in the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    input: usize,
    output: usize,
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
        let (addr, listen_addr) = socket.places();
        let tracked = desk.stats.conns.add(socket.fd(), addr, Some(listen_addr), now.secs());
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
            tracked,
            owed: Served::default(),
            arrived_nanos: 0,
            counted: Counted::default(),
            reason: Reason::Normal,
            peer: None,
        }
    }

    /// To be called before it is dropped: nothing tells of it any more.
    pub(super) fn forget(&mut self, desk: &Desk) {
        self.pending.settle(&desk.spares);
        self.count(desk, Counted::default());
        desk.stats.conns.remove(&self.tracked);
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
        self.counted = now;
    }

    /// What it is doing, between turns.
    fn state(&self) -> ConnState {
        if self.closing {
            ConnState::Closing
        } else if self.session.watcher().is_some() {
            ConnState::Watch
        } else if self.counted.output > 0 {
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
        self.tracked.note(ConnState::ParseCmd, desk.now.tick.secs());
        let next = self.serve_turn(desk);
        self.count(desk, Counted { input: self.pending.capacity(), ..self.counted });
        self.tracked.note(self.state(), self.active.secs());
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
        // What was left over has come earlier, and so have those whose answers have not left.
        if !self.again && self.owed.is_empty() {
            self.arrived_nanos = desk.turn_nanos;
        }
        desk.mark_served();
        if desk.stats.log.is_watched(Kinds::ALL) {
            desk.stats.log.serve(self.number());
        }
        let next = self.serve_open(desk);
        self.owed.add(&desk.take_served());
        if self.out.as_ref().is_none_or(|out| out.is_empty()) {
            self.note_answered(desk);
        }
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

    fn end_output(&mut self) {
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
                    self.owed.add(&desk.take_served());
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

    /// Lets the session go on with input it has left over.
    fn feed_pending(&mut self, desk: &mut Desk) -> Stop {
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
    fn read(&mut self, desk: &mut Desk, room: usize) -> io::Result<(usize, Stop)> {
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
        match self.socket.write(out, &mut desk.tls) {
            Ok(written) => {
                desk.stats.bytes_written.add(written.len as u64);
                if written.len > 0 {
                    self.active = desk.now.tick;
                }
                if !written.complete {
                    self.writable = false;
                    let output = out.capacity();
                    self.count(desk, Counted { output, ..self.counted });
                    self.tracked.note(ConnState::Mwrite, self.active.secs());
                    return Flow::Blocked;
                }
                self.note_answered(desk);
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

    /// All answers owed have been given to the kernel.
    fn note_answered(&mut self, desk: &Desk) {
        if !self.owed.is_empty() {
            let took = desk.daemon.clock.nanos().saturating_sub(self.arrived_nanos);
            desk.stats.latency.note(&self.owed, took);
            self.owed = Served::default();
        }
    }

    fn give_outbox(&mut self, desk: &mut Desk) {
        self.count(desk, Counted { output: 0, ..self.counted });
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
            match self.socket.read(&mut desk.scratch, &mut desk.tls) {
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
