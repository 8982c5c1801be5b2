//! Listening sockets: how they are made, and how a unix socket's file comes and goes.
//!
//! Options that accepted sockets inherit (no delay, keep-alive) are set here once, so that accepting costs one system
//! call. IPv6 listeners take IPv6 only, so that 127.0.0.1 and ::1, or 0.0.0.0 and ::, can be bound side by side.
//!
//! It does *not* decide what to listen on; settings do.

use super::socket::Socket;
use crate::limits::METRICS_BACKLOG;
use crate::settings::{ClientCerts, Protocol, Settings, UnixSocket};
use crate::stats::Endpoint;
use crate::sys::process::{self, Identity};
use mio::event::Source;
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockAddr, Type};
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A socket that clients connect to.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(mio::net::TcpListener, Protocol, Option<ClientCerts>),
    Unix {
        listener: mio::net::UnixListener,
        protocol: Protocol,
        /// Gone when the listener is; none if it was there before us.
        _file: Option<SocketFile>,
    },
}

/// What is known of a client when it comes: enough to spread clients over workers.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Peer {
    Net(IpAddr, u16),
    Local,
}

impl Listener {
    /// Takes a client that waits.
    pub(super) fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener, ..) => {
                listener.accept().map(|(stream, peer)| (Socket::Tcp(stream), Peer::Net(peer.ip(), peer.port())))
            }
            Self::Unix { listener, .. } => listener.accept().map(|(stream, _)| (Socket::Unix(stream), Peer::Local)),
        }
    }

    /// Which protocol its clients speak.
    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Tcp(_, protocol, _) | Self::Unix { protocol, .. } => *protocol,
        }
    }

    /// Whether its clients speak TLS, and what is asked of them then.
    pub(super) fn tls(&self) -> Option<ClientCerts> {
        match self {
            Self::Tcp(_, _, tls) => *tls,
            Self::Unix { .. } => None,
        }
    }

    /// Puts it on a poll.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(listener, ..) => listener.register(registry, token, Interest::READABLE),
            Self::Unix { listener, .. } => listener.register(registry, token, Interest::READABLE),
        }
    }

    /// Its descriptor, and where it listens.
    pub(super) fn place(&self) -> (i32, Endpoint) {
        match self {
            Self::Tcp(listener, ..) => (listener.as_raw_fd(), Endpoint::of_tcp(listener.local_addr().ok())),
            Self::Unix { listener, .. } => {
                let own = listener.local_addr().ok();
                (listener.as_raw_fd(), Endpoint::of_unix(own.as_ref().and_then(|own| own.as_pathname())))
            }
        }
    }

    /// Where it listens, if that is an address of the network.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener, ..) => listener.local_addr().ok(),
            Self::Unix { .. } => None,
        }
    }
}

/// Adds all listeners that the settings ask for, or none where there are some already (which the settings tell then, and do not ask
/// for). The file of a unix socket is `owner`'s. An error says which one failed.
pub(super) fn bind_all(settings: &Settings, owner: Option<&Identity>, listeners: &mut Vec<Listener>) -> io::Result<()> {
    if !listeners.is_empty() {
        return Ok(());
    }
    for &addr in &settings.listen {
        match bind_tcp(addr, settings.backlog) {
            Ok(listener) => {
                let protocol = settings.listen_protocols.get(&addr).copied().unwrap_or(settings.protocol);
                listeners.push(Listener::Tcp(
                    mio::net::TcpListener::from_std(listener),
                    protocol,
                    settings.tls_at(&addr),
                ));
            }
            Err(error) if settings.ipv6_optional && addr.is_ipv6() && process::lacks_address_family(&error) => {
                log::warn!("not listening on {addr}: this host has no IPv6 ({})", process::reason(&error));
            }
            Err(error) => return Err(cannot_listen(&addr, &error)),
        }
    }
    if let Some(unix) = &settings.unix_socket {
        let (listener, file) = bind_unix_for(owner, unix, settings.backlog)
            .map_err(|error| cannot_listen(&unix.path.display(), &error))?;
        let listener = mio::net::UnixListener::from_std(listener);
        listeners.push(Listener::Unix { listener, protocol: settings.protocol, _file: Some(file) });
    }
    if listeners.is_empty() && settings.udp.is_empty() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "there is nothing to listen on"));
    }
    Ok(())
}

/// All sockets for datagrams that the settings ask for.
pub(super) fn bind_udp(settings: &Settings) -> io::Result<Vec<mio::net::UdpSocket>> {
    let mut sockets = Vec::new();
    for &addr in &settings.udp {
        match bind_datagrams(addr) {
            Ok(socket) => sockets.push(mio::net::UdpSocket::from_std(socket)),
            Err(error) if settings.ipv6_optional && addr.is_ipv6() && process::lacks_address_family(&error) => {}
            Err(error) => return Err(cannot_listen(&format!("UDP {addr}"), &error)),
        }
    }
    Ok(sockets)
}

/// All listeners for metrics that the settings ask for.
pub(super) fn bind_metrics(settings: &Settings) -> io::Result<Vec<mio::net::TcpListener>> {
    let bind = |&addr: &SocketAddr| {
        let listener = bind_tcp(addr, METRICS_BACKLOG);
        listener.map_err(|error| cannot_listen(&format!("{addr} (--metrics)"), &error))
    };
    settings.metrics.iter().map(|addr| bind(addr).map(mio::net::TcpListener::from_std)).collect()
}

fn bind_datagrams(addr: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn cannot_listen(place: &dyn std::fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {place}: {}", process::reason(error)))
}

fn bind_tcp(addr: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(socket2::Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_keepalive(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(backlog_of(backlog))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Binds it as the user it is meant for, as memcached does; where that user may not, as ourselves, and then the file is given away.
fn bind_unix_for(owner: Option<&Identity>, unix: &UnixSocket, backlog: u32) -> io::Result<(UnixListener, SocketFile)> {
    let Some(owner) = owner else { return bind_unix(unix, backlog) };
    match owner.in_its_name(|| bind_unix(unix, backlog)) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let bound = bind_unix(unix, backlog)?;
            owner.own(&unix.path)?;
            Ok(bound)
        }
        done => done,
    }
}

fn bind_unix(unix: &UnixSocket, backlog: u32) -> io::Result<(UnixListener, SocketFile)> {
    remove_stale(&unix.path)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&unix.path)?)?;
    let file = SocketFile::of(&unix.path)?;
    // Before listening: nobody can connect earlier, so there is no moment with other permissions.
    fs::set_permissions(&unix.path, Permissions::from_mode(unix.mode))?;
    socket.listen(backlog_of(backlog))?;
    socket.set_nonblocking(true)?;
    Ok((socket.into(), file))
}

/// Removes a socket file that nobody listens on; a file that is no socket is left alone, and binding will fail.
fn remove_stale(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        return Ok(());
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Somebody listens there, or it is not for us to tell.
        Ok(_) | Err(_) => Err(ErrorKind::AddrInUse.into()),
    }
}

fn backlog_of(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

/// The file of a unix socket; removed with this, if it is still the same file.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Which file: a successor may have put its own there.
    id: FileId,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), id: id_of(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if id_of(&self.path).is_ok_and(|id| id == self.id)
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("cannot remove {}: {}", self.path.display(), process::reason(&error));
        }
    }
}

/// A file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
    /// Inodes are used again at once; the time of birth tells users apart, where the file system knows it.
    born: Option<SystemTime>,
}

fn id_of(path: &Path) -> io::Result<FileId> {
    fs::symlink_metadata(path).map(|found| FileId {
        device: found.dev(),
        inode: found.ino(),
        born: found.created().ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(name: &str) -> UnixSocket {
        let path = std::env::temp_dir().join(format!("slabd-{}-{name}.sock", std::process::id()));
        UnixSocket { path, mode: 0o700 }
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
        let unix = unix("stale");
        let (live, file) = bind_unix(&unix, 8).unwrap();
        assert_eq!(fs::metadata(&unix.path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(bind_unix(&unix, 8).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(live);
        assert!(unix.path.exists(), "a stale file is what is wanted here");
        let (_live, successor) = bind_unix(&unix, 8).unwrap();
        drop(file);
        assert!(unix.path.exists(), "the file is the successor's now");
        drop(successor);
        assert!(!unix.path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let unix = unix("file");
        fs::write(&unix.path, "precious").unwrap();
        assert!(bind_unix(&unix, 8).is_err());
        assert_eq!(fs::read_to_string(&unix.path).unwrap(), "precious");
        fs::remove_file(&unix.path).unwrap();
    }

    #[test]
    fn both_loop_backs_share_a_port() {
        // A port that the kernel chooses for one may be somebody else's of the other; twenty in a row are not.
        let shared = (0..20).any(|_| {
            let four = bind_tcp("127.0.0.1:0".parse().unwrap(), 8).unwrap();
            let port = four.local_addr().unwrap().port();
            match bind_tcp(format!("[::1]:{port}").parse().unwrap(), 8) {
                Ok(_) => true,
                Err(error) if error.kind() == ErrorKind::AddrInUse => false,
                Err(error) => process::lacks_address_family(&error),
            }
        });
        assert!(shared);
    }
}
