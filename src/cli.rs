//! The command line: flags as typed become [`Settings`], and settings a running daemon.
//!
//! Reading flags (`cli/flags.rs`) has no effect, so that it can be tested as a table; effects come afterwards, in this
//! order: log, signals, user looked up, limits raised, sockets bound, privileges dropped, threads started. What can be
//! refused is refused before anything is started, in one line that names the option.
//!
//! It does *not* keep anything: when the daemon runs, only settings are left.

mod accepted;
mod extended;
mod flags;

pub use flags::parse;

use crate::clock::Clock;
use crate::command::Daemon;
use crate::limits::{DESCRIPTORS_OF_OURS, DESCRIPTORS_PER_THREAD};
use crate::server::{self, Running, signals::StopSignals};
use crate::settings::Settings;
use crate::sys::process::{self, Identity};
use clap::Parser;
use flags::{Flags, first_line, settings_of};
use log::LevelFilter;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

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
        println!("{LICENSE}");
        return ExitCode::SUCCESS;
    }
    let (settings, warnings) = match settings_of(&flags) {
        Ok(both) => both,
        Err(why) => return refuse(&why, EXIT_USAGE),
    };
    start_log(settings.verbosity);
    for warning in warnings {
        log::warn!("{warning}");
    }
    match run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err((why, code)) => refuse(&why, code),
    }
}

/// What `-i` prints.
const LICENSE: &str = concat!(
    "slabd ",
    env!("CARGO_PKG_VERSION"),
    "\n\nLicensed under either of the Apache License, Version 2.0, or the MIT license, at your option.\n\n",
    include_str!("../LICENSE-MIT")
);

/// Starts, serves, stops.
fn run(settings: Settings) -> Result<(), (String, u8)> {
    let os = |why: String| (why, EXIT_OS);
    let mut signals = StopSignals::register().map_err(|error| os(process::reason(&error)))?;
    let identity =
        Identity::resolve(settings.user.as_deref()).map_err(|why| (format!("-u/--user: {why}"), EXIT_USAGE))?;
    let descriptors = settings.conn_limit + DESCRIPTORS_OF_OURS + DESCRIPTORS_PER_THREAD * settings.threads;
    process::allow_descriptors(descriptors as u64).map_err(|why| os(format!("-c/--conn-limit: {why}")))?;

    if settings.prefault && !process::has_huge_pages() {
        return Err(os("-L/--enable-largepages: this system has no huge pages, or has them switched off".to_owned()));
    }
    if settings.lock_memory {
        process::allow_locking();
    }
    let bound = server::bind(settings).map_err(|error| os(process::reason(&error)))?;
    if let Some(identity) = identity {
        step_down(&identity, bound.settings()).map_err(os)?;
    }
    let locks = bound.settings().lock_memory;
    let running =
        bound.start(Clock::system()).map_err(|error| os(format!("cannot start: {}", process::reason(&error))))?;
    if locks && let Err(error) = process::lock_memory() {
        let why = process::reason(&error);
        log::warn!(
            "-k/--lock-memory: memory is not locked: {why} (LimitMEMLOCK=infinity or ulimit -l unlimited helps)"
        );
    }
    if let Some(path) = std::env::var_os(PORT_FILE) {
        write_ports(Path::new(&path), &running).map_err(|why| os(format!("{PORT_FILE}: {why}")))?;
    }
    eprintln!("{}", loud_line(&running.daemon().settings, running.local_addrs()));
    let daemon = Arc::clone(running.daemon());
    let waited = signals.wait(|| reload(&daemon));
    running.stop();
    running.join();
    waited.map_err(|error| os(process::reason(&error)))
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
            Ok(()) => log::warn!("-Z/--enable-ssl: certificates and key are read again"),
            Err(why) => log::error!("-Z/--enable-ssl: {why}; certificates and key stay as they were"),
        }
    }
    let Some(auth) = &daemon.auth else { return };
    match auth.reload() {
        Ok(count) => log::warn!("-Y/--auth-file: read again: {count} users"),
        Err(why) => log::error!("-Y/--auth-file: {why}; the users stay as they were"),
    }
}

/// Gives up root's rights, now that everything they are needed for is done.
fn step_down(identity: &Identity, settings: &Settings) -> Result<(), String> {
    if let Some(unix) = &settings.unix_socket {
        identity.own(&unix.path).map_err(|error| format!("-s/--unix-socket: {}", process::reason(&error)))?;
    }
    identity.assume()?;
    if settings.user.is_none() {
        eprintln!("slabd: started by root: running as user '{}' (-u USER to choose, -u root to stay)", identity.name());
    }
    Ok(())
}

fn refuse(why: &str, code: u8) -> ExitCode {
    eprintln!("slabd: {why}");
    ExitCode::from(code)
}

fn start_log(verbosity: u8) {
    let level = match verbosity {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    let mut log = env_logger::Builder::new();
    if std::env::var_os(env_logger::DEFAULT_FILTER_ENV).is_some() {
        log.filter_level(level).parse_default_env().init();
    } else {
        // The logger lets everything pass, so that there is one sieve only, which `verbosity` widens or narrows.
        log.filter_level(LevelFilter::Trace).parse_default_env().init();
        log::set_max_level(level);
    }
}

/// What is always said, so that nobody wonders where the daemon is, how large, and who can reach it.
fn loud_line(settings: &Settings, addrs: &[SocketAddr]) -> String {
    let mut line = format!("slabd {}: listening on ", env!("CARGO_PKG_VERSION"));
    let places = addrs.iter().map(ToString::to_string);
    let places = places.chain(settings.unix_socket.iter().map(|unix| unix.path.display().to_string()));
    line.push_str(&places.collect::<Vec<_>>().join(", "));
    let threads = settings.threads;
    let plural = if threads == 1 { "" } else { "s" };
    let memory_mb = settings.memory_len >> 20;
    // Writing to a string does not fail.
    let _ = write!(line, "; {memory_mb} MB for items; {threads} worker thread{plural}; ");
    line.push_str(if addrs.is_empty() {
        "no TCP"
    } else if addrs.iter().all(|addr| addr.ip().is_loopback()) {
        "loopback only, -l 0.0.0.0 serves the network"
    } else {
        "open to the network"
    });
    line
}

/// A command line that cannot be meant (EX_USAGE).
const EXIT_USAGE: u8 = 64;

/// The system refused (EX_OSERR).
const EXIT_OS: u8 = 71;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loud_line_says_where_how_much_and_who_can_reach_it() {
        let settings = Settings { threads: 2, ..Settings::default() };
        assert_eq!(
            loud_line(&settings, &settings.listen),
            "slabd 0.1.0: listening on 127.0.0.1:11211, [::1]:11211; 64 MB for items; 2 worker threads; loopback only, \
             -l 0.0.0.0 serves the network"
        );
        assert!(loud_line(&settings, &["10.1.2.3:1".parse().unwrap()]).ends_with("open to the network"));
    }
}
