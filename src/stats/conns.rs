//! Which connections there are: a place for each, written by its thread as it serves and read by whoever asks, so that nobody waits for
//! anybody. The list itself is locked only when a connection comes or goes, and while it is read.

use super::Registry;
use crate::limits::CONNS_TOLD_MAX;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a connection is doing, in memcached's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnState {
    /// It is a listener.
    Listening,
    /// Its next request is waited for.
    Read,
    /// It is being served.
    ParseCmd,
    /// A value is coming in.
    Nread,
    /// It has not taken its answers.
    Mwrite,
    /// It is on its way out.
    Closing,
    /// It is told what happens.
    Watch,
}

const STATES: [(ConnState, &str); 7] = [
    (ConnState::Listening, "conn_listening"),
    (ConnState::Read, "conn_read"),
    (ConnState::ParseCmd, "conn_parse_cmd"),
    (ConnState::Nread, "conn_nread"),
    (ConnState::Mwrite, "conn_mwrite"),
    (ConnState::Closing, "conn_closing"),
    (ConnState::Watch, "conn_watch"),
];

/// Where an end of a socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// On the network, by TCP.
    Tcp(SocketAddr),
    /// On the network, by datagrams.
    Udp(SocketAddr),
    /// A unix-domain socket of this name; of none, a client's end of it.
    Unix(Option<Box<str>>),
}

impl Endpoint {
    /// An end of TCP. Whose address the system does not tell any more is shown as an end without a name.
    #[must_use]
    pub fn of_tcp(addr: Option<SocketAddr>) -> Self {
        addr.map_or(Self::Unix(None), Self::Tcp)
    }

    /// Our end of a unix-domain socket.
    #[must_use]
    pub fn of_unix(path: Option<&Path>) -> Self {
        Self::Unix(path.map(|path| path.display().to_string().into()))
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(addr) if addr.is_ipv6() => write!(to, "tcp6:{addr}"),
            Self::Tcp(addr) => write!(to, "tcp:{addr}"),
            Self::Udp(addr) if addr.is_ipv6() => write!(to, "udp6:{addr}"),
            Self::Udp(addr) => write!(to, "udp:{addr}"),
            Self::Unix(name) => write!(to, "unix:{}", name.as_deref().unwrap_or_default()),
        }
    }
}

/// One connection, as its thread tells of it.
#[derive(Debug)]
pub struct Tracked {
    fd: i32,
    addr: Endpoint,
    listen_addr: Option<Endpoint>,
    /// The second it was last served in, above; its state, in the lowest byte.
    word: AtomicU64,
}

impl Tracked {
    /// Writes down what it does, and when it was last served; for its own thread.
    #[inline]
    pub fn note(&self, state: ConnState, secs: u32) {
        self.word.store(u64::from(secs) << 8 | state as u64, Ordering::Relaxed);
    }
}

/// Connections of one thread, by descriptor.
#[derive(Debug, Default)]
pub struct ConnTable(Mutex<BTreeMap<i32, Arc<Tracked>>>);

impl ConnTable {
    /// A connection has come, or a listener.
    pub fn add(&self, fd: i32, addr: Endpoint, listen_addr: Option<Endpoint>, secs: u32) -> Arc<Tracked> {
        let tracked = Arc::new(Tracked { fd, addr, listen_addr, word: AtomicU64::new(0) });
        tracked.note(if tracked.listen_addr.is_some() { ConnState::Read } else { ConnState::Listening }, secs);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(fd, Arc::clone(&tracked));
        tracked
    }

    /// It goes; to be called before its descriptor is closed.
    pub fn remove(&self, tracked: &Tracked) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&tracked.fd);
    }
}

/// A connection, for `stats conns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnRow {
    /// Its descriptor.
    pub fd: i32,
    /// Its other end; a listener's own.
    pub addr: Endpoint,
    /// Its own end, unless it is a listener.
    pub listen_addr: Option<Endpoint>,
    /// What it does.
    pub state: &'static str,
    /// The second it was last served in.
    pub secs: u32,
}

impl Registry {
    /// Connections of all threads by descriptor, [`CONNS_TOLD_MAX`] at most, and how many there are more.
    #[must_use]
    pub fn conns(&self) -> (Vec<ConnRow>, usize) {
        let (mut rows, mut untold) = (Vec::new(), 0);
        for block in self.blocks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let table = block.conns.0.lock().unwrap_or_else(PoisonError::into_inner);
            let room = CONNS_TOLD_MAX - rows.len();
            untold += table.len().saturating_sub(room);
            rows.extend(table.values().take(room).cloned());
        }
        rows.sort_by_key(|tracked| tracked.fd);
        let row = |tracked: Arc<Tracked>| {
            let word = tracked.word.load(Ordering::Relaxed);
            let state = STATES.iter().find(|(state, _)| word & 0xff == *state as u64);
            ConnRow {
                fd: tracked.fd,
                addr: tracked.addr.clone(),
                listen_addr: tracked.listen_addr.clone(),
                state: state.map_or("conn_read", |(_, name)| name),
                secs: u32::try_from(word >> 8).unwrap_or(u32::MAX),
            }
        };
        (rows.into_iter().map(row).collect(), untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn no_more_connections_are_told_of_than_may_be_and_the_rest_are_counted() {
        let registry = Registry::default();
        let (a, b) = (registry.register(), registry.register());
        let place = Endpoint::Tcp((Ipv6Addr::LOCALHOST, 1).into());
        let tracked: Vec<_> = (0..CONNS_TOLD_MAX)
            .map(|n| {
                let fd = i32::try_from(n).unwrap();
                let block = if n % 2 == 0 { &a } else { &b };
                block.conns.add(fd, place.clone(), Some(Endpoint::Unix(None)), 7)
            })
            .collect();
        assert_eq!((registry.conns().0.len(), registry.conns().1), (CONNS_TOLD_MAX, 0));
        let listener = b.conns.add(1_000_000, Endpoint::Unix(Some("/run/socket".into())), None, 3);
        assert_eq!((registry.conns().0.len(), registry.conns().1), (CONNS_TOLD_MAX, 1));
        tracked.iter().enumerate().for_each(|(n, one)| if n % 2 == 0 { &a } else { &b }.conns.remove(one));
        listener.note(ConnState::Closing, 9);
        let (rows, untold) = registry.conns();
        assert_eq!((rows.len(), untold, rows[0].state, rows[0].secs), (1, 0, "conn_closing", 9));
        assert_eq!((rows[0].addr.to_string(), place.to_string()), ("unix:/run/socket".into(), "tcp6:[::1]:1".into()));
    }
}
