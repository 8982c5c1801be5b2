//! What the service manager says and is told: inherited listeners, the watchdog's time, notices, and the journal.
//!
//! All of it goes by the environment that systemd sets. Where that says nothing, nothing is done, so a daemon that was started by
//! hand does not notice. It does *not* decide when to say what; the command line does.

use listenfd::ListenFd;
use nix::sys::stat::fstat;
use sd_notify::NotifyState;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener};
use std::time::Duration;

/// A listener that was there before the daemon was.
#[derive(Debug)]
pub enum Inherited {
    /// Of the network.
    Tcp(TcpListener),
    /// Of this host; its file is whoever's made it.
    Unix(UnixListener),
}

impl Inherited {
    /// Where it listens, if that is an address of the network.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Where it listens, as is said to people.
    #[must_use]
    pub fn place(&self) -> String {
        let place = match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(|addr| addr.to_string()),
            Self::Unix(listener) => {
                let addr = listener.local_addr().ok();
                addr.and_then(|addr| addr.as_pathname().map(|path| path.display().to_string()))
            }
        };
        place.unwrap_or_else(|| "a nameless socket".to_owned())
    }
}

/// The listeners of `LISTEN_FDS`, if they are meant for this process. Before any other thread is there, since the environment is
/// changed: whoever we start is not to take them for its own.
pub fn inherited() -> io::Result<Vec<Inherited>> {
    let mut descriptors = ListenFd::from_env();
    let mut listeners = Vec::with_capacity(descriptors.len());
    for i in 0..descriptors.len() {
        let taken = match descriptors.take_unix_listener(i) {
            Ok(unix) => unix.map(Inherited::Unix),
            Err(_) => {
                let refused =
                    |error| io::Error::new(io::ErrorKind::InvalidInput, format!("{error}, nor a unix stream socket"));
                descriptors.take_tcp_listener(i).map_err(refused)?.map(Inherited::Tcp)
            }
        };
        listeners.extend(taken);
    }
    Ok(listeners)
}

/// How long the service manager waits for a sign of life before it restarts the service; none if it does not wait.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero())
}

/// The daemon serves, and this is what there is to say of it.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its files again; [`ready`] says that it has.
pub fn reloading() {
    // The time is for `Type=notify-reload`, which takes a READY for an answer only if it is told when the question was seen.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// It takes its leave.
pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// It is alive.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

fn notify(states: &[NotifyState<'_>]) {
    // A manager that does not listen is no reason to stop serving; it will say itself what it missed.
    let socket = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    let told = match socket.as_bytes().split_first() {
        Some((b'@', name)) => notify_abstract(name, states),
        _ => sd_notify::notify(states),
    };
    if let Err(error) = told {
        log::warn!("cannot notify the service manager: {error}");
    }
}

/// The same, to a socket that has a name but no place among files, which the library takes for one.
fn notify_abstract(name: &[u8], states: &[NotifyState<'_>]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    let lines: Vec<String> = states.iter().map(|state| format!("{state}\n")).collect();
    socket.send_to_addr(lines.concat().as_bytes(), &UnixAddr::from_abstract_name(name)?).map(drop)
}

/// Whether what is said on standard error goes to the journal, which takes a level before each line and has the time itself.
#[must_use]
pub fn stderr_is_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|stat| stream.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino)))
}
