//! The command line: flags as typed become [`Settings`], and settings a running daemon.
//!
//! Reading flags (`cli/flags.rs`) has no effect, so that it can be tested as a table; effects come afterwards, in this
//! order: log, inherited sockets, background, signals, user looked up, limits raised, sockets bound, privileges dropped, system calls
//! filtered, threads started. What can be refused is refused before anything is
//! started, in one line that names the option.
//!
//! It does *not* keep anything: when the daemon runs, only settings are left.

mod accepted;
mod extended;
mod flags;
mod log;

pub use flags::parse;

use crate::clock::Clock;
use crate::command::Daemon;
use crate::limits::{DESCRIPTORS_OF_OURS, DESCRIPTORS_PER_THREAD};
use crate::pulse::Monitor;
use crate::server::{self, BoundServer, Running, signals::StopSignals};
use crate::settings::{Settings, UnixSocket};
use crate::sys::background::{self, Herald, Side};
use crate::sys::confine::{Duty, confine};
use crate::sys::memory;
use crate::sys::pidfile::PidFile;
use crate::sys::process::{self, Identity};
use crate::sys::systemd::{self, Inherited};
use clap::Parser;
use flags::{Flags, first_line, settings_of};
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The daemon, from its command line to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(error) if error.use_stderr() => return refuse(&first_line(&error), EXIT_USAGE),
        Err(help) => {
            // A reader that has gone away has seen enough.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    if flags.license {
        print!("{LICENCE}");
        return ExitCode::SUCCESS;
    }
    let (settings, warnings) = match settings_of(&flags) {
        Ok(both) => both,
        Err(why) => return refuse(&why, EXIT_USAGE),
    };
    log::start(settings.verbosity);
    for warning in warnings {
        ::log::warn!("{warning}");
    }
    match begin(settings) {
        Ok(code) => ExitCode::from(code),
        Err((why, code)) => refuse(&why, code),
    }
}

/// Takes over what was inherited, goes into the background if that is wanted, and runs there.
fn begin(mut settings: Settings) -> Result<u8, Refusal> {
    let inherited = systemd::inherited().map_err(|error| os(&format!("LISTEN_FDS: {error}")))?;
    let mut herald = None;
    if settings.process.background {
        root_paths(&mut settings).map_err(|error| os(&process::reason(&error)))?;
        match background::detach(settings.process.cores).map_err(|error| os(&process::reason(&error)))? {
            Side::Parent(code) => return Ok(code),
            Side::Child(child) => herald = Some(child),
        }
    }
    run(settings, inherited, herald)?;
    Ok(0)
}

/// Files are found again from elsewhere.
fn root_paths(settings: &mut Settings) -> io::Result<()> {
    let unix = settings.unix_socket.as_mut().map(|unix| &mut unix.path);
    let tls = &mut settings.tls;
    let tls = [tls.chain_cert.as_mut(), tls.key.as_mut(), tls.ca_cert.as_mut()];
    let others = [settings.auth_file.as_mut(), settings.process.pid_file.as_mut(), unix];
    for path in tls.into_iter().chain(others).flatten() {
        *path = std::path::absolute(&*path)?;
    }
    Ok(())
}

/// Starts, serves, stops.
fn run(settings: Settings, inherited: Vec<Inherited>, herald: Option<Herald>) -> Result<(), Refusal> {
    let mut signals = StopSignals::register().map_err(|error| os(&process::reason(&error)))?;
    let (bound, _pid_file) = prepare(settings, inherited)?;
    let settings = bound.settings();
    let (locks, keeps_output) = (settings.lock_memory, settings.verbosity > 0);
    if settings.process.drop_privileges {
        confine(Duty::Process, settings.process.relaxed_privileges)
            .map_err(|why| os(&format!("-o drop_privileges: {why}")))?;
    }
    let mut running =
        bound.start(Clock::system()).map_err(|error| os(&format!("cannot start: {}", process::reason(&error))))?;
    if locks && let Err(error) = process::lock_memory() {
        let why = process::reason(&error);
        ::log::warn!(
            "-k/--lock-memory: memory is not locked: {why} (LimitMEMLOCK=infinity or ulimit -l unlimited helps)"
        );
    }
    if let Some(path) = std::env::var_os(PORT_FILE) {
        write_ports(Path::new(&path), &running).map_err(|why| os(&format!("{PORT_FILE}: {why}")))?;
    }
    let status = loud_line(&running.daemon().settings, running.local_addrs(), running.udp_addrs());
    log::notice(&status);
    if let Some(herald) = herald {
        herald.ready(keeps_output).map_err(|error| os(&process::reason(&error)))?;
    }
    systemd::ready(&status);
    let daemon = Arc::clone(running.daemon());
    let on_reload = || {
        systemd::reloading();
        reload(&daemon);
        systemd::ready(&status);
    };
    if !locks {
        memory::let_code_go();
    }
    let waited = signals.wait(on_reload, running.take_monitor().map(watchdog_round));
    systemd::stopping();
    running.stop();
    running.join();
    waited.map_err(|error| os(&process::reason(&error)))
}

/// What root is needed for, up to and including being root no more.
fn prepare(mut settings: Settings, inherited: Vec<Inherited>) -> Result<(BoundServer, Option<PidFile>), Refusal> {
    let identity =
        Identity::resolve(settings.user.as_deref()).map_err(|why| (format!("-u/--user: {why}"), EXIT_NO_USER))?;
    let descriptors = settings.conn_limit + DESCRIPTORS_OF_OURS + DESCRIPTORS_PER_THREAD * settings.threads;
    process::allow_descriptors(descriptors as u64).map_err(|why| os(&format!("-c/--conn-limit: {why}")))?;
    if settings.process.cores {
        process::allow_cores().map_err(|why| os(&format!("-r/--enable-coredumps: {why}")))?;
    }
    if settings.prefault && !process::has_huge_pages() {
        return Err(os("-L/--enable-largepages: this system has no huge pages, or has them switched off"));
    }
    if settings.lock_memory {
        process::allow_locking();
    }
    settings.process.watchdog = systemd::watchdog();
    if !inherited.is_empty() {
        settle(&mut settings, &inherited);
    }
    let bound =
        server::bind_beside(settings, inherited, identity.as_ref()).map_err(|error| os(&process::reason(&error)))?;
    step_down(identity.as_ref(), bound.settings()).map_err(|why| os(&why))?;
    let pid_file = bound.settings().process.pid_file.as_deref().and_then(|path| {
        let written = PidFile::write(path);
        written.map_err(|error| ::log::warn!("-P/--pidfile: {}: {}", path.display(), process::reason(&error))).ok()
    });
    Ok((bound, pid_file))
}

/// Where others have bound before us we listen, and nowhere else.
fn settle(settings: &mut Settings, inherited: &[Inherited]) {
    settings.listen = inherited.iter().filter_map(Inherited::addr).collect();
    settings.listen_protocols.clear();
    settings.listen_tls.clear();
    let mode = settings.unix_socket.take().map_or(0o700, |unix| unix.mode);
    let unix = inherited.iter().find(|listener| matches!(listener, Inherited::Unix(_)));
    settings.unix_socket = unix.map(|unix| UnixSocket { path: unix.place().into(), mode });
}

/// Tells the manager that all is well, as long as it is.
fn watchdog_round(mut monitor: Monitor) -> (Duration, impl FnMut()) {
    let every = monitor.every();
    let mut told = false;
    let round = move || match monitor.stalled(Instant::now()) {
        None => {
            told = false;
            systemd::alive();
        }
        Some(name) => {
            if !std::mem::replace(&mut told, true) {
                ::log::error!(
                    "the thread {name} hangs: the service manager's watchdog is told no more that all is well"
                );
            }
        }
    };
    (every, round)
}

/// Why it did not start or go on, and the exit code.
type Refusal = (String, u8);

fn os(why: &str) -> Refusal {
    (why.to_owned(), EXIT_OS)
}

/// The environment's name for a file that is to be told the ports, as memcached's.
const PORT_FILE: &str = "MEMCACHED_PORT_FILENAME";

/// Writes which ports there are, in memcached's words. The file is there when it is complete.
fn write_ports(path: &Path, running: &Running) -> Result<(), String> {
    let mut text = String::new();
    for (kind, addrs) in [("TCP", running.local_addrs()), ("UDP", running.udp_addrs())] {
        for addr in addrs {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{kind} {}: {}", if addr.is_ipv4() { "INET" } else { "INET6" }, addr.port());
        }
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".lck");
    let written = std::fs::write(&unfinished, text).and_then(|()| std::fs::rename(&unfinished, path));
    written.map_err(|error| format!("cannot write {}: {}", path.display(), process::reason(&error)))
}

/// Reads again what can be read again.
fn reload(daemon: &Daemon) {
    if let Some(tls) = &daemon.tls {
        match tls.reload(daemon.clock.now().tick) {
            Ok(()) => ::log::warn!("-Z/--enable-ssl: certificates and key are read again"),
            Err(why) => ::log::error!("-Z/--enable-ssl: {why}; certificates and key stay as they were"),
        }
    }
    let Some(auth) = &daemon.auth else { return };
    match auth.reload() {
        Ok(count) => ::log::warn!("-Y/--auth-file: read again: {count} users"),
        Err(why) => ::log::error!("-Y/--auth-file: {why}; the users stay as they were"),
    }
}

/// Gives up root's rights, now that everything they are needed for is done; and whatever others there are.
fn step_down(identity: Option<&Identity>, settings: &Settings) -> Result<(), String> {
    process::step_down(identity)?;
    if let Some(identity) = identity
        && settings.user.is_none()
    {
        let name = identity.name();
        log::notice(&format!("slabd: started by root: running as user '{name}' (-u USER to choose, -u root to stay)"));
    }
    if settings.process.cores {
        process::stay_dumpable()?;
    }
    Ok(())
}

fn refuse(why: &str, code: u8) -> ExitCode {
    log::fatal(&format!("slabd: {why}"));
    ExitCode::from(code)
}

/// What is always said, so that nobody wonders where the daemon is, how large, and who can reach it.
fn loud_line(settings: &Settings, tcp: &[SocketAddr], udp: &[SocketAddr]) -> String {
    let mut line = format!("slabd {}: listening on ", env!("CARGO_PKG_VERSION"));
    let places = tcp.iter().map(ToString::to_string);
    let places = places.chain(settings.unix_socket.iter().map(|unix| unix.path.display().to_string()));
    let places = places.chain(udp.iter().map(|addr| format!("udp:{addr}")));
    line.push_str(&places.collect::<Vec<_>>().join(", "));
    let threads = settings.threads;
    let plural = if threads == 1 { "" } else { "s" };
    let memory_mb = settings.memory_len >> 20;
    // Writing to a string does not fail.
    let _ = write!(line, "; {memory_mb} MB for items; {threads} worker thread{plural}; ");
    let mut addrs = tcp.iter().chain(udp).peekable();
    line.push_str(if addrs.peek().is_none() {
        "no TCP"
    } else if addrs.all(|addr| addr.ip().is_loopback()) {
        "loopback only, -l 0.0.0.0 serves the network"
    } else {
        "open to the network"
    });
    line
}

/// What `-i` says.
const LICENCE: &str = concat!(
    "slabd ",
    env!("CARGO_PKG_VERSION"),
    ": MIT or Apache-2.0, as you like\n\n",
    include_str!("../LICENSE-MIT"),
    "\nOr:\n\n",
    include_str!("../LICENSE-APACHE")
);

/// A command line that cannot be meant (EX_USAGE).
const EXIT_USAGE: u8 = 64;

/// There is no user of that name (EX_NOUSER).
const EXIT_NO_USER: u8 = 67;

/// The system refused (EX_OSERR).
const EXIT_OS: u8 = 71;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loud_line_says_where_how_much_and_who_can_reach_it() {
        let settings = Settings { threads: 2, ..Settings::default() };
        assert_eq!(
            loud_line(&settings, &settings.listen, &[]),
            "slabd 0.1.0: listening on 127.0.0.1:11211, [::1]:11211; 64 MB for items; 2 worker threads; loopback only, \
             -l 0.0.0.0 serves the network"
        );
        let [near, far] = ["127.0.0.1:1", "10.1.2.3:1"].map(|addr| [addr.parse().unwrap()]);
        assert!(loud_line(&settings, &far, &[]).ends_with("open to the network"));
        assert!(loud_line(&settings, &near, &far).ends_with("open to the network"));
        assert!(loud_line(&settings, &[], &near).contains("listening on udp:127.0.0.1:1; "));
        assert!(loud_line(&settings, &[], &[]).ends_with("no TCP"));
    }
}
