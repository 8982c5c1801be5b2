//! The loop that serves: one thread, one poll, its own connections, its own buffers.
//!
//! ```text
//!        ┌──► poll ──► adopt ──► read and serve ──► write ──► time out ──► reap ──┐
//!        │    events   sockets   all that are       all that   idle,      all     │
//!        │             handed    ready              owe        lingering  closed  │
//!        └────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Each phase goes over the whole batch: the code of one phase stays in the processor while it is needed, and answers
//! leave together. A connection that has used up its turn waits on `yielded`, and the next poll does not block. What is costly (a step of a TLS
//! handshake) is done behind the write phase, one a turn.
//!
//! Long answers (dumps) go on by a slice each when all others have been served, and, while there are others, rest for what they have
//! worked times `DUMP_REST`. What watchers are told is looked for every millisecond or so (`events.rs`).
//!
//! Sockets are registered once and never again; what an edge said is remembered in the connection. Nothing here is
//! shared but the store, the inbox and the counters, and the last two have one writer each way.

use super::conn::{Conn, Next};
use super::desk::{Desk, Spares};
use super::idle::{Found, Idle};
use super::inbox::{Arrival, Inbox, WAKE};
use super::pending::Allowance;
use super::socket::Socket;
use super::tls::{TlsBench, TlsStream};
use crate::auth::Auth;
use crate::clock::Tick;
use crate::command::Daemon;
use crate::events::{Event, Kinds, Reason};
use crate::limits::{
    DRAIN_MS_MAX, DUMP_REST, EVENTS_MAX, LINGER_SECS_MAX, LOGIN_POLL_MS, READ_BUFFER_LEN, TIMEOUT_POLL_MS,
    TLS_HANDSHAKE_SECS_MAX, WATCH_POLL_MS, WATCH_PUMP_MS,
};
use crate::pulse::Pulse;
use crate::settings::ClientCerts;
use crate::stats::{Served, Switch};
use mio::net::TcpStream;
use mio::{Events, Poll};
use slab::Slab;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One worker's thread.
#[derive(Debug)]
pub(super) struct Worker {
    poll: Poll,
    inbox: Arc<Inbox>,
    conns: Slab<Conn>,
    desk: Desk,
    /// Tokens to be served next turn whatever the sockets say; each connection at most once, marked in it.
    yielded: Vec<usize>,
    /// The last turn's `yielded`, being served; empty between phases.
    resumed: Vec<usize>,
    /// Tokens of connections whose login waits to be checked, each at most once, marked as those of `yielded`.
    logins: VecDeque<usize>,
    /// Tokens of connections whose next step is costly, the same way: one a turn.
    queued: VecDeque<usize>,
    /// Tokens of connections with a TLS handshake before them, and when it has to be over; in order of time.
    shaking: VecDeque<(usize, Tick)>,
    /// Connections with a long answer to go on with.
    slices: Slices,
    /// Tokens of connections that watch, and maybe of some that have gone.
    watchers: Vec<usize>,
    /// When to look again for what they are to be told, and after how long if nothing else happens.
    pump_at: Instant,
    pump_after: Duration,
    /// Tokens of connections served this turn that owe something.
    owing: Vec<usize>,
    /// Tokens of connections to close at the end of the turn; one may be here twice.
    dead: Vec<usize>,
    /// Tokens of connections that were told goodbye, and when to close them; in order of time.
    lingering: VecDeque<(usize, Tick)>,
    idle: Option<Idle>,
    /// More connections are due for a look by `idle` already.
    idle_behind: bool,
    /// Sockets being adopted; empty between phases.
    adopting: VecDeque<Arrival>,
    /// Connections ever adopted, which tells users of one slot apart.
    generation: usize,
    pulse: Pulse,
}

impl Worker {
    /// A worker that will serve what comes through `inbox`, which wakes `poll`. To be called on its own thread, so that
    /// its memory is near.
    pub(super) fn new(
        poll: Poll,
        inbox: Arc<Inbox>,
        daemon: Arc<Daemon>,
        long_input: Arc<Allowance>,
        pulse: Pulse,
    ) -> Self {
        let stats = daemon.stats.register();
        let local = daemon.store.local(Arc::clone(&stats));
        let now = daemon.clock.now();
        let idle = daemon.settings.idle_timeout.map(|timeout| Idle::new(timeout, now.tick));
        let scratch = vec![0; READ_BUFFER_LEN].into_boxed_slice();
        let tls = TlsBench::new(daemon.tls.is_some(), Arc::clone(&stats));
        stats.read_buf_count.add(1);
        stats.read_buf_bytes.add(READ_BUFFER_LEN as u64);
        let (turn_nanos, timing, served) = (daemon.clock.nanos(), false, Served::default());
        let spares = Spares::sharing(long_input);
        Self {
            poll,
            inbox,
            conns: Slab::new(),
            desk: Desk { daemon, local, stats, now, turn_nanos, timing, served, scratch, spares, tls },
            yielded: Vec::new(),
            resumed: Vec::new(),
            logins: VecDeque::new(),
            queued: VecDeque::new(),
            shaking: VecDeque::new(),
            slices: Slices { tokens: VecDeque::new(), rest_until: Instant::now(), calm: false },
            watchers: Vec::new(),
            pump_at: Instant::now(),
            pump_after: Duration::ZERO,
            owing: Vec::new(),
            dead: Vec::new(),
            lingering: VecDeque::new(),
            idle,
            idle_behind: false,
            adopting: VecDeque::new(),
            generation: 0,
            pulse,
        }
    }

    /// Serves until told to stop, then lets go what is owed.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        self.desk.local.put_off(true);
        while !self.inbox.is_stopping() {
            self.poll(&mut events);
            self.read_and_serve(&events);
            self.slice();
            self.tell_watchers();
            self.write();
            self.resume_queued();
            self.time_out();
            self.reap();
        }
        self.drain(&mut events);
    }

    /// Waits for news, if there is nothing to go on with; then reads the clock, once for the turn.
    fn poll(&mut self, events: &mut Events) {
        let timeout = if !self.yielded.is_empty() || !self.queued.is_empty() || self.idle_behind {
            Some(Duration::ZERO)
        } else if !self.logins.is_empty() {
            Some(Duration::from_millis(LOGIN_POLL_MS))
        } else if self.idle.is_some() || !self.lingering.is_empty() || !self.shaking.is_empty() {
            Some(Duration::from_millis(TIMEOUT_POLL_MS))
        } else {
            None
        };
        let timeout = self.sooner(timeout);
        self.pulse.beat();
        poll(&mut self.poll, events, self.pulse.bound(timeout));
        let desk = &mut self.desk;
        desk.turn_nanos = desk.daemon.clock.nanos();
        desk.now = desk.daemon.clock.at(desk.turn_nanos);
        desk.timing = desk.stats.watch().is_on(Switch::Latency);
        if !self.slices.tokens.is_empty() {
            let conns = &mut self.conns;
            let mut others = events.iter().map(|event| find(conns, event.token().0).is_none_or(|conn| !conn.yielded));
            self.slices.calm = !others.any(|other| other) && (self.slices.calm || timeout != Some(Duration::ZERO));
        }
    }

    /// The timeout of a poll, for those who want to go on sooner.
    fn sooner(&self, timeout: Option<Duration>) -> Option<Duration> {
        let mut timeout = timeout;
        let mut at_most = |most: Duration| timeout = Some(timeout.map_or(most, |timeout| timeout.min(most)));
        if !self.slices.tokens.is_empty() {
            at_most(if self.slices.calm { Duration::ZERO } else { Duration::from_millis(1) });
        }
        if !self.watchers.is_empty() {
            at_most(self.pump_after);
        }
        timeout
    }

    /// Takes over the sockets in the inbox. Their first events come with the next poll.
    fn adopt(&mut self) {
        let mut adopting = std::mem::take(&mut self.adopting);
        self.inbox.drain(&mut adopting);
        for arrival in adopting.drain(..) {
            self.adopt_one(arrival);
        }
        self.adopting = adopting;
    }

    fn adopt_one(&mut self, Arrival { socket, protocol, tls }: Arrival) {
        let socket = match (socket, tls) {
            (Socket::Tcp(stream), Some(asked)) => match self.with_tls(stream, asked) {
                Ok(socket) => socket,
                Err(why) => {
                    log::error!("cannot begin TLS: {why}");
                    self.inbox.closed();
                    return;
                }
            },
            (socket, _) => socket,
        };
        let slot = self.conns.vacant_entry();
        self.generation = (self.generation + 1) & GENERATION_MASK;
        let token = self.generation << SLOT_BITS | slot.key();
        let now = self.desk.now.tick;
        let mut conn = Conn::new(socket, protocol, token, &self.desk);
        if let Err(error) = conn.register(self.poll.registry()) {
            log::error!("cannot watch a connection: {error}");
            conn.forget(&self.desk);
            self.inbox.closed();
            return;
        }
        if let Some(idle) = &mut self.idle
            && conn.may_idle_out()
        {
            idle.add(token, now);
        }
        if conn.is_shaking() {
            self.shaking.push_back((token, Tick(now.0 + TLS_HANDSHAKE_SECS_MAX * Tick::PER_SEC)));
        }
        if self.desk.stats.log.wants(Kinds::CONNEVENTS) {
            conn.peer = conn.peer();
            self.desk.stats.log.serve(conn.number());
            self.desk.stats.log.note(Event::ConnNew(conn.peer));
        }
        slot.insert(conn);
        self.desk.stats.total_connections.add(1);
        self.desk.stats.curr_connections.add(1);
    }

    /// A client's stream, to be met by what the daemon shows now.
    fn with_tls(&self, stream: TcpStream, asked: ClientCerts) -> Result<Socket, String> {
        let config = self.desk.daemon.tls.as_ref().and_then(|tls| tls.config(asked));
        let config = config.ok_or("there is nothing to judge clients by")?;
        let stream = TlsStream::new(stream, config).map_err(|error| error.to_string())?;
        Ok(Socket::Tls(Box::new(stream)))
    }

    /// Serves all that are ready: first those whose last turn was cut short, then those with news.
    fn read_and_serve(&mut self, events: &Events) {
        std::mem::swap(&mut self.yielded, &mut self.resumed);
        let mut resumed = std::mem::take(&mut self.resumed);
        for token in resumed.drain(..) {
            if let Some(conn) = find(&mut self.conns, token) {
                conn.yielded = false;
                let next = conn.serve(&mut self.desk);
                self.route(token, next);
            }
        }
        self.resumed = resumed;
        self.resume_login();
        for event in events {
            let token = event.token().0;
            if let Some(conn) = find(&mut self.conns, token) {
                conn.note(event);
                // One that has had its turn already keeps the news for the next.
                if !conn.yielded {
                    let next = conn.serve(&mut self.desk);
                    self.route(token, next);
                }
            } else if event.token() == WAKE {
                self.adopt();
            }
        }
    }

    /// Has one connection go on with a long answer, if it is time.
    fn slice(&mut self) {
        let Some(&token) = self.slices.tokens.front() else { return };
        let begun = Instant::now();
        if !self.slices.calm && begun < self.slices.rest_until {
            return;
        }
        self.slices.tokens.pop_front();
        if let Some(conn) = find(&mut self.conns, token) {
            conn.yielded = false;
            let next = conn.go_on(&mut self.desk);
            self.route(token, next);
        }
        let ended = Instant::now();
        self.slices.rest_until = ended + (ended - begun) * DUMP_REST;
    }

    /// Hands watchers what they are to be told.
    fn tell_watchers(&mut self) {
        if self.watchers.is_empty() {
            return;
        }
        let begun = Instant::now();
        if begun < self.pump_at {
            return;
        }
        let mut any = self.desk.daemon.stats.hub.pump();
        let Self { conns, desk, owing, watchers, .. } = self;
        watchers.retain(|&token| {
            let Some(conn) = find(conns, token) else { return false };
            conn.tell(desk);
            if conn.owes() && conn.writable {
                any = true;
                owing.push(token);
            }
            true
        });
        self.pump_after = Duration::from_millis(if any { WATCH_PUMP_MS } else { WATCH_POLL_MS });
        self.pump_at = begun + Duration::from_millis(WATCH_PUMP_MS);
    }

    /// Serves the client that has waited longest for its login to be checked, if one may be.
    fn resume_login(&mut self) {
        if self.logins.is_empty() || !self.desk.daemon.auth.as_ref().is_some_and(Auth::can_verify) {
            return;
        }
        while let Some(token) = self.logins.pop_front() {
            if let Some(conn) = find(&mut self.conns, token) {
                conn.yielded = false;
                let next = conn.serve(&mut self.desk);
                self.route(token, next);
                break;
            }
        }
    }

    /// Lets the client that has waited longest do what is costly: behind the answers of the turn, so that they do not wait for it.
    fn resume_queued(&mut self) {
        while let Some(token) = self.queued.pop_front() {
            if let Some(conn) = find(&mut self.conns, token) {
                conn.yielded = false;
                self.desk.tls.may_work = true;
                self.desk.local.put_off(false);
                let next = conn.serve(&mut self.desk);
                self.desk.tls.may_work = false;
                self.desk.local.put_off(true);
                self.route(token, next);
                // A first request may have come along, and nothing else would have its answer written.
                self.write();
                break;
            }
        }
    }

    /// Puts a connection that was served on the lists it belongs to.
    #[inline]
    fn route(&mut self, token: usize, next: Next) {
        if next == Next::Close {
            self.dead.push(token);
            return;
        }
        let Some(conn) = find(&mut self.conns, token) else { return };
        if conn.owes() && conn.writable {
            self.owing.push(token);
        }
        if next == Next::Wait {
            return;
        }
        if next == Next::Watch {
            self.watchers.push(token);
            self.pump_at = Instant::now();
        }
        if next == Next::Linger {
            self.lingering.push_back((token, Tick(self.desk.now.tick.0 + LINGER_SECS_MAX * Tick::PER_SEC)));
        }
        if !conn.yielded {
            conn.yielded = true;
            match next {
                Next::Later => self.logins.push_back(token),
                Next::Queue => self.queued.push_back(token),
                Next::Slice => self.slices.tokens.push_back(token),
                _ => self.yielded.push(token),
            }
        }
    }

    /// Writes the answers of this turn.
    fn write(&mut self) {
        let mut owing = std::mem::take(&mut self.owing);
        for token in owing.drain(..) {
            if let Some(conn) = find(&mut self.conns, token) {
                let next = conn.flush(&mut self.desk);
                if next != Next::Wait {
                    self.route(token, next);
                }
            }
        }
        self.owing = owing;
    }

    /// Finds those who have been idle for too long, and those who were told goodbye long enough ago.
    fn time_out(&mut self) {
        let now = self.desk.now.tick;
        while let Some(&(token, due)) = self.lingering.front()
            && due < now
        {
            self.lingering.pop_front();
            self.dead.push(token);
        }
        while let Some(&(token, due)) = self.shaking.front() {
            let is_shaking = find(&mut self.conns, token).is_some_and(|conn| conn.is_shaking());
            if is_shaking && due >= now {
                break;
            }
            self.shaking.pop_front();
            if is_shaking {
                self.desk.stats.ssl_handshake_errors.add(1);
                self.dead.push(token);
            }
        }
        let Some(idle) = &mut self.idle else { return };
        let Self { conns, dead, desk, .. } = self;
        let dead_before = dead.len();
        self.idle_behind = idle.step(
            now,
            |token| find(conns, token).map_or(Found::Gone, |conn| Found::Active(conn.active)),
            |token| {
                desk.stats.idle_kicks.add(1);
                dead.push(token);
            },
        );
        for &token in &dead[dead_before..] {
            if let Some(conn) = find(conns, token) {
                conn.reason = Reason::IdleTimeout;
            }
        }
    }

    /// Closes what was found to be closed.
    fn reap(&mut self) {
        self.desk.stats.read_buf_bytes_free.set(self.desk.spares.input_len() as u64);
        while let Some(token) = self.dead.pop() {
            if let Some(conn) = find(&mut self.conns, token) {
                if self.desk.stats.log.wants(Kinds::CONNEVENTS) {
                    self.desk.stats.log.serve(conn.number());
                    self.desk.stats.log.note(Event::ConnClose(conn.peer(), conn.reason));
                }
                conn.forget(&self.desk);
                // Closing the descriptor takes it off the poll.
                drop(self.conns.remove(slot_of(token)));
                self.desk.stats.curr_connections.sub(1);
                self.inbox.closed();
            }
        }
    }

    /// The end: reads nothing any more, writes what is owed for a bounded time, closes.
    fn drain(mut self, events: &mut Events) {
        // By the system's clock: a test's hand may never move again.
        let deadline = Instant::now() + Duration::from_millis(DRAIN_MS_MAX);
        self.inbox.drain(&mut self.adopting);
        for arrival in self.adopting.drain(..) {
            drop(arrival);
            self.inbox.closed();
        }
        loop {
            for (_, conn) in &mut self.conns {
                if conn.owes() {
                    let broken = conn.flush(&mut self.desk) == Next::Close;
                    if !broken && conn.owes() {
                        continue;
                    }
                }
                conn.let_go(&mut self.desk);
                self.dead.push(conn.token);
            }
            self.reap();
            let left = deadline.saturating_duration_since(Instant::now());
            if self.conns.is_empty() || left.is_zero() {
                break;
            }
            poll(&mut self.poll, events, Some(left));
            for event in &*events {
                if let Some(conn) = find(&mut self.conns, event.token().0) {
                    conn.note(event);
                }
            }
        }
        let left: Vec<_> = self.conns.iter().map(|(_, conn)| conn.token).collect();
        self.dead.extend(left);
        self.reap();
    }
}

/// Connections with a long answer to go on with.
#[derive(Debug)]
struct Slices {
    /// Each at most once, marked in it as those of `yielded`.
    tokens: VecDeque<usize>,
    /// When the next slice may be made, while there are others.
    rest_until: Instant,
    /// Nobody else has said anything for a while.
    calm: bool,
}

/// The connection of a token, if it is still the one the token was made for.
#[inline]
fn find(conns: &mut Slab<Conn>, token: usize) -> Option<&mut Conn> {
    conns.get_mut(slot_of(token)).filter(|conn| conn.token == token)
}

/// The slot part of a token.
#[inline]
fn slot_of(token: usize) -> usize {
    token & ((1 << SLOT_BITS) - 1)
}

/// Polls; an interrupted or failed poll is one without events.
fn poll(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) {
    if let Err(error) = poll.poll(events, timeout)
        && error.kind() != io::ErrorKind::Interrupted
    {
        // Not a state the kernel can get into with valid arguments; a pause keeps it from being a spin.
        log::error!("cannot poll: {error}");
        std::thread::sleep(Duration::from_millis(TIMEOUT_POLL_MS));
    }
}

/// Bits of a token that are the slot; the generation is above.
const SLOT_BITS: u32 = 32;

/// One bit short of what is left, so that no token is [`WAKE`].
const GENERATION_MASK: usize = (1 << (usize::BITS - SLOT_BITS - 1)) - 1;

const _: () = assert!(usize::BITS == 64);
const _: () = assert!(size_of::<Conn>() <= 600);
