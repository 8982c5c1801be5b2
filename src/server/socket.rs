//! A stream to a client, TCP (with TLS or without) or unix: the same to everybody but to the idle timeout.

use super::outbox::{Outbox, Written};
use super::tls::{TlsBench, TlsStream};
use crate::stats::Endpoint;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::AsRawFd;

/// A stream to a client.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// TCP with TLS. In a box, so that the others stay as small as they are.
    Tls(Box<TlsStream>),
}

impl Socket {
    /// Ends the sending side; what was written is still delivered.
    pub(super) fn end_output(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.end_output(),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Its descriptor.
    pub(super) fn fd(&self) -> i32 {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
            Self::Tls(stream) => stream.carrier().as_raw_fd(),
        }
    }

    /// Its descriptor, as a number to tell it by.
    pub(super) fn number(&self) -> u32 {
        u32::try_from(self.fd()).unwrap_or(0)
    }

    /// Where its peer is, if that is known; none at all on a unix socket.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        let peer = match self {
            Self::Tcp(stream) => stream.peer_addr(),
            Self::Tls(stream) => stream.carrier().peer_addr(),
            Self::Unix(_) => return None,
        };
        Some(peer.unwrap_or_else(|_| (Ipv4Addr::UNSPECIFIED, 0).into()))
    }

    /// Where its ends are: the client's, and ours.
    pub(super) fn places(&self) -> (Endpoint, Endpoint) {
        let tcp = |stream: &TcpStream| {
            (Endpoint::of_tcp(stream.peer_addr().ok()), Endpoint::of_tcp(stream.local_addr().ok()))
        };
        match self {
            Self::Tcp(stream) => tcp(stream),
            Self::Tls(stream) => tcp(stream.carrier()),
            Self::Unix(stream) => {
                let own = stream.local_addr().ok();
                (Endpoint::Unix(None), Endpoint::of_unix(own.as_ref().and_then(|own| own.as_pathname())))
            }
        }
    }

    /// Reads past whatever lies between.
    pub(super) fn read_plainly(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
            Self::Tls(stream) => stream.tcp().read(into),
        }
    }

    /// Writes past whatever lies between.
    pub(super) fn write_plainly(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(from),
            Self::Unix(stream) => stream.write(from),
            Self::Tls(stream) => stream.tcp().write(from),
        }
    }

    /// Whether there may be more to be read although a read was short, without news of the socket.
    #[inline]
    pub(super) fn holds_more(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(stream) => stream.holds_more(),
        }
    }

    /// Reads; a short read has drained it, but for [`Socket::holds_more`]. `ResourceBusy`: again when `bench.may_work`.
    #[inline]
    pub(super) fn read(&mut self, into: &mut [u8], bench: &mut TlsBench) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into, bench),
        }
    }

    /// Writes what an outbox owes until all is written or the socket is full.
    #[inline]
    pub(super) fn write(&mut self, from: &mut Outbox, bench: &mut TlsBench) -> io::Result<Written> {
        match self {
            Self::Tcp(stream) => from.write(stream),
            Self::Unix(stream) => from.write(stream),
            Self::Tls(stream) => from.write(&mut stream.writer(bench)),
        }
    }
}

impl Source for Socket {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.register(registry, token, interest),
            Self::Unix(stream) => stream.register(registry, token, interest),
            Self::Tls(stream) => stream.tcp().register(registry, token, interest),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.reregister(registry, token, interest),
            Self::Unix(stream) => stream.reregister(registry, token, interest),
            Self::Tls(stream) => stream.tcp().reregister(registry, token, interest),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.deregister(registry),
            Self::Unix(stream) => stream.deregister(registry),
            Self::Tls(stream) => stream.tcp().deregister(registry),
        }
    }
}
