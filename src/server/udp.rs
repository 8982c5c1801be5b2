//! Requests that come as datagrams, one thread for all of them; off unless `-U` asks for it.
//!
//! ```text
//!   0        2         4        6          8
//!   | request | number | count  | reserved | a request, or a part of an answer
//! ```
//!
//! All four are 16-bit numbers, the most significant byte first. A request is one datagram; an answer is as many as it takes, of at most
//! [`UDP_DATAGRAM_LEN`] bytes, numbered from 0. Each datagram is a conversation of its own: what is not complete in it is not done. Several
//! requests in one are answered together.
//!
//! **No amplifier.** Whoever a datagram says it is from may be somebody else, who would get the answer. So a source on the Internet
//! gets back at most [`UDP_FACTOR_MAX`] times what it sent, as in QUIC before an address is proven (RFC 9000, 8), and one on a private
//! network, beyond as many bytes as it sent, no more than [`UDP_RATE`] a second; what is more is not sent. Private sources are told apart
//! by network (the first 24 bits, or 64 of IPv6) in a table of fixed size, where strangers may share a place. Loop-back is not limited.
//! Where clients must log in there is no UDP at all, and nothing that concerns the whole daemon is done for a datagram.

use super::inbox::{Inbox, WAKE};
use super::outbox::Outbox;
use crate::clock::Tick;
use crate::command::{Context, Daemon, Out, Value};
use crate::limits::{
    OUTPUT_LEN_MAX, UDP_BURST_MAX, UDP_DATAGRAM_LEN, UDP_FACTOR_MAX, UDP_OVERHEAD_LEN, UDP_RATE, UDP_REPLY_LEN_MAX,
    UDP_SOURCES,
};
use crate::pulse::Pulse;
use crate::session::{Session, Stop};
use crate::stats::{Block, Endpoint};
use crate::store::Local;
use crossbeam_utils::CachePadded;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// The thread of datagrams.
#[derive(Debug)]
pub(super) struct Udp {
    poll: Poll,
    signal: Arc<Inbox>,
    sockets: Vec<UdpSocket>,
    daemon: Arc<Daemon>,
    local: Local,
    stats: Arc<CachePadded<Block>>,
    purse: Purse,
    /// One request.
    request: Box<[u8]>,
    reply: Reply,
}

const HEADER_LEN: usize = 8;

/// The longest payload of a UDP datagram, and more.
const REQUEST_LEN_MAX: usize = 1 << 16;

impl Udp {
    /// A thread that answers what comes to `sockets`; `poll` is woken by `signal`.
    pub(super) fn new(
        poll: Poll,
        signal: Arc<Inbox>,
        mut sockets: Vec<UdpSocket>,
        daemon: Arc<Daemon>,
    ) -> io::Result<Self> {
        for (place, socket) in sockets.iter_mut().enumerate() {
            poll.registry().register(socket, Token(place), Interest::READABLE)?;
        }
        let stats = daemon.stats.register();
        for socket in &sockets {
            if let Ok(addr) = socket.local_addr() {
                stats.conns.add(socket.as_raw_fd(), Endpoint::Udp(addr), None, Tick::START.secs());
            }
        }
        let local = daemon.store.local(Arc::clone(&stats));
        let request = vec![0; REQUEST_LEN_MAX].into_boxed_slice();
        Ok(Self { poll, signal, sockets, daemon, local, stats, purse: Purse::new(), request, reply: Reply::default() })
    }

    /// Answers until told to stop.
    pub(super) fn run(mut self, pulse: &Pulse) {
        let mut events = Events::with_capacity(64);
        while !self.signal.is_stopping() {
            pulse.beat();
            if let Err(error) = self.poll.poll(&mut events, pulse.bound(None))
                && error.kind() != ErrorKind::Interrupted
            {
                log::error!("cannot poll datagrams: {error}");
                return;
            }
            for event in &events {
                if event.token() != WAKE {
                    self.answer_all(event.token().0, pulse);
                }
            }
        }
    }

    /// Answers what waits at a socket.
    fn answer_all(&mut self, place: usize, pulse: &Pulse) {
        while !self.signal.is_stopping() {
            // There may be no end of them.
            pulse.beat();
            match self.sockets[place].recv_from(&mut self.request) {
                Ok((len, from)) => self.answer(place, len, from),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Such as what became of an answer to somebody else.
                Err(error) => log::debug!("cannot receive a datagram: {error}"),
            }
        }
    }

    fn answer(&mut self, place: usize, len: usize, from: SocketAddr) {
        self.stats.bytes_read.add(len as u64);
        let now = self.daemon.clock.now();
        let mut cx = Context { daemon: &self.daemon, local: &mut self.local, now, admin: false };
        let Some([id_high, id_low]) = respond(&mut cx, &self.request[..len], &mut self.reply) else { return };
        let reply = &self.reply.bytes;
        if reply.is_empty() || !self.purse.pay(from.ip(), len, reply.len(), now.tick) {
            return;
        }
        let parts = reply.chunks(UDP_DATAGRAM_LEN - HEADER_LEN);
        let count = u16::try_from(parts.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut datagram = Vec::with_capacity(UDP_DATAGRAM_LEN);
        for (number, part) in (0_u16..).zip(parts) {
            datagram.clear();
            datagram.extend([id_high, id_low]);
            datagram.extend(number.to_be_bytes());
            datagram.extend(count);
            datagram.extend([0, 0]);
            datagram.extend_from_slice(part);
            match self.sockets[place].send_to(&datagram, from) {
                Ok(sent) => self.stats.bytes_written.add(sent as u64),
                // A datagram may be lost; so may this one, and what follows is of no use then.
                Err(error) => {
                    log::debug!("cannot send a datagram: {error}");
                    return;
                }
            }
        }
    }
}

/// Carries out what a datagram asks for; its number, if it has one. `reply` is what it was and becomes the answer, which may be none.
pub(crate) fn respond(cx: &mut Context<'_>, datagram: &[u8], reply: &mut Reply) -> Option<[u8; 2]> {
    reply.clear();
    let (header, payload) = datagram.split_first_chunk::<HEADER_LEN>()?;
    let [id_high, id_low, _, _, count_high, count_low, _, _] = *header;
    if u16::from_be_bytes([count_high, count_low]) > 1 {
        reply.bytes(b"SERVER_ERROR multi-packet request not supported\r\n");
    } else {
        let mut session = Session::speaking(cx.daemon.settings.protocol);
        let mut used = 0;
        loop {
            let fed = session.feed(cx, &payload[used..], reply);
            used += fed.used;
            if fed.stop != Stop::Budget {
                break;
            }
        }
    }
    reply.finish();
    Some([id_high, id_low])
}

/// An answer under way. What would make it too long is not kept.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// What has been said so far. Long values are pinned: it is said under a bucket's lock, which is no place to copy them.
    said: Outbox,
    /// All of it, once all is said.
    bytes: Vec<u8>,
    overflown: bool,
}

impl Reply {
    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(UDP_DATAGRAM_LEN);
        self.overflown = false;
        if self.said.capacity() > OUTPUT_LEN_MAX {
            self.said = Outbox::default();
        }
    }

    /// Puts what was said together.
    fn finish(&mut self) {
        if self.overflown {
            self.said = Outbox::default();
            self.said.bytes(b"SERVER_ERROR out of memory writing response over UDP\r\n");
        }
        self.said.write(&mut self.bytes).expect("memory takes what is written to it");
    }

    fn has_room_for(&mut self, len: usize) -> bool {
        self.overflown |= self.said.pending_len() + len > UDP_REPLY_LEN_MAX;
        !self.overflown
    }
}

impl Out for Reply {
    fn make_room(&mut self, len: usize) {
        if self.has_room_for(len) {
            self.said.make_room(len);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if self.has_room_for(bytes.len()) {
            self.said.bytes(bytes);
        }
    }

    fn value(&mut self, value: Value<'_>) {
        if self.has_room_for(value.len()) {
            self.said.value(value);
        }
    }

    /// Never full, so that the session goes on to the end; what it says then is not kept.
    fn pending_len(&self) -> usize {
        0
    }
}

/// What each source may still be sent beyond what it sends.
#[derive(Debug)]
struct Purse {
    hasher: RandomState,
    places: Box<[Place]>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    left: u32,
    /// When `left` was right.
    at: Tick,
}

impl Purse {
    fn new() -> Self {
        let places = vec![Place { left: UDP_BURST_MAX, at: Tick::START }; UDP_SOURCES].into_boxed_slice();
        Self { hasher: RandomState::new(), places }
    }

    /// Whether a source may be sent an answer of so many bytes; then that is taken off what it has left.
    fn pay(&mut self, source: IpAddr, request_len: usize, reply_len: usize, now: Tick) -> bool {
        let source = source.to_canonical();
        // With what each datagram has before it.
        let parts = reply_len.div_ceil(UDP_DATAGRAM_LEN - HEADER_LEN);
        let (received, sent) = (request_len + UDP_OVERHEAD_LEN, reply_len + parts * (HEADER_LEN + UDP_OVERHEAD_LEN));
        if source.is_loopback() || sent <= received {
            return true;
        }
        let hash = match source {
            IpAddr::V4(v4) if v4.is_private() || v4.is_link_local() => self.hasher.hash_one(&v4.octets()[..3]),
            IpAddr::V6(v6) if v6.is_unique_local() || v6.is_unicast_link_local() => {
                self.hasher.hash_one(&v6.octets()[..8])
            }
            _ => return sent <= received * UDP_FACTOR_MAX,
        };
        let place = &mut self.places[usize::try_from(hash % UDP_SOURCES as u64).unwrap_or(0)];
        let earned = u64::from(now.0.saturating_sub(place.at.0)) * u64::from(UDP_RATE / Tick::PER_SEC);
        let left = (u64::from(place.left) + earned).min(u64::from(UDP_BURST_MAX));
        let rest = left.checked_sub((sent - received) as u64);
        let left = rest.unwrap_or(left);
        *place = Place { left: u32::try_from(left).unwrap_or(UDP_BURST_MAX), at: now };
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_network_gets_so_much_and_no_more_and_others_are_not_touched_by_it() {
        let mut purse = Purse::new();
        let [a, b, c, d]: [IpAddr; 4] =
            ["10.0.0.1", "10.0.0.99", "10.0.1.1", "fd00::1"].map(|text| text.parse().unwrap());
        let now = Tick(100);
        let mut count = 0;
        while purse.pay(a, 100, 10_000, now) {
            count += 1;
        }
        assert!((80..=UDP_BURST_MAX / 10_000).contains(&count), "{count}");
        assert!(!purse.pay(b, 100, 10_000, now), "the same network");
        assert!(purse.pay(a, 10_000, 1000, now), "an answer no longer than the request is free");
        assert!(purse.pay(c, 0, 10_000, now) && purse.pay(d, 0, 10_000, now));
        let later = Tick(now.0 + Tick::PER_SEC);
        assert!(purse.pay(a, 0, UDP_RATE as usize / 2, later) && !purse.pay(a, 0, UDP_RATE as usize, later));
        assert!(!purse.pay(a, 0, UDP_BURST_MAX as usize + 1, Tick(u32::MAX)), "no more than a burst is saved up");
    }

    #[test]
    fn a_source_on_the_internet_gets_thrice_what_it_sent_and_the_host_itself_anything() {
        let mut purse = Purse::new();
        for public in ["192.0.2.2", "2001:db8::1", "::ffff:192.0.2.2"] {
            let source = public.parse().unwrap();
            for (request_len, reply_len, sent) in
                [(15, 7, true), (15, 90, true), (15, 100, false), (1000, 2800, true), (15, 1 << 20, false)]
            {
                assert_eq!(
                    purse.pay(source, request_len, reply_len, Tick(100)),
                    sent,
                    "{public}: {request_len}, {reply_len}"
                );
            }
        }
        assert!(purse.pay("127.0.0.1".parse().unwrap(), 0, usize::MAX / 2, Tick(100)));
        assert!(purse.pay("::1".parse().unwrap(), 0, usize::MAX / 2, Tick(100)));
    }
}
