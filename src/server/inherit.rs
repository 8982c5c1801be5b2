//! Listeners that were there before the daemon: those of a socket unit, or of whoever started it (`LISTEN_FDS`).
//!
//! They are taken as they are: address, permissions and backlog are those of whoever made them. What accepted sockets inherit is set as for
//! our own.

use super::listen::Listener;
use crate::settings::Settings;
use crate::sys::systemd::Inherited;
use socket2::SockRef;
use std::io;

/// Makes them ours; an error if one of them does not listen.
pub(super) fn adopt(inherited: Vec<Inherited>, settings: &Settings) -> io::Result<Vec<Listener>> {
    inherited.into_iter().map(|listener| adopt_one(listener, settings)).collect()
}

fn adopt_one(inherited: Inherited, settings: &Settings) -> io::Result<Listener> {
    let protocol = settings.protocol;
    let place = inherited.place();
    let listens = |socket: &SockRef<'_>| match socket.is_listener()? {
        true => Ok(()),
        false => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("the inherited socket {place} does not listen")))
        }
    };
    Ok(match inherited {
        Inherited::Tcp(listener) => {
            let socket = SockRef::from(&listener);
            listens(&socket)?;
            socket.set_keepalive(true)?;
            socket.set_tcp_nodelay(true)?;
            listener.set_nonblocking(true)?;
            let tls = settings.tls_at(&listener.local_addr()?);
            Listener::Tcp(mio::net::TcpListener::from_std(listener), protocol, tls)
        }
        Inherited::Unix(listener) => {
            listens(&SockRef::from(&listener))?;
            listener.set_nonblocking(true)?;
            Listener::Unix { listener: mio::net::UnixListener::from_std(listener), protocol, _file: None }
        }
    })
}
