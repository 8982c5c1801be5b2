//! The edge: the only room that owns sockets and threads.
//!
//! ```text
//!   bind ──► BoundServer ──start──► Running ──stop──► (draining) ──join──► gone
//!              │                       │
//!              │ privileges            │   acceptor ──► inbox ──► worker 0 ─┐
//!              │ are dropped           │           └──► inbox ──► worker 1 ─┼──► one Daemon (store, settings, clock, stats)
//!              ▼ here                  ▼                   ...              ┘
//! ```
//!
//! Binding is apart from starting because a daemon gives up its privileges in between; [`start`] does both, which is what
//! a test wants. Stopping goes down the same way as a connection comes in: listeners are closed, then workers are told.
//!
//! It does *not* know any request: bytes go to a session, answers come from it.

mod acceptor;
mod conn;
mod desk;
mod idle;
mod inbox;
mod inherit;
mod listen;
mod metrics;
mod outbox;
mod pending;
pub mod signals;
mod socket;
mod tls;
pub(crate) mod udp;
mod worker;

use crate::auth::Auth;
use crate::clock::Clock;
use crate::command::Daemon;
use crate::limits::CLASS_LEN_MIN;
use crate::maintain;
use crate::pulse::{Monitor, Pulse};
use crate::settings::Settings;
use crate::stats::{Registry, Switch};
use crate::store::{Store, StoreConfig};
use crate::sys::affinity::{self, Core};
use crate::sys::confine::{Duty, confine};
use crate::sys::process::{self, Identity};
use crate::sys::systemd::Inherited;
use crate::tls::Tls;
use acceptor::Acceptor;
use inbox::{Inbox, poll_and_inbox};
use listen::Listener;
use metrics::Metrics;
use mio::Poll;
use mio::net::{TcpListener, UdpSocket};
use pending::Allowance;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use udp::Udp;
use worker::Worker;

/// Binds and serves.
pub fn start(settings: Settings, clock: Clock) -> io::Result<Running> {
    bind(settings)?.start(clock)
}

/// Checks the settings, reads the file of users, the certificates and the key, and binds all listeners; nobody is served yet.
pub fn bind(settings: Settings) -> io::Result<BoundServer> {
    bind_beside(settings, Vec::new(), None)
}

/// The same beside listeners that are there already, with a unix socket that is to be somebody else's.
pub fn bind_beside(settings: Settings, inherited: Vec<Inherited>, owner: Option<&Identity>) -> io::Result<BoundServer> {
    settings.check().map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
    let auth = settings.auth_file.as_deref().map(Auth::load).transpose();
    let auth = auth.map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, format!("-Y/--auth-file: {why}")))?;
    let tls = settings.tls.is_on.then(|| Tls::load(&settings.tls)).transpose();
    let tls = tls.map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, format!("-Z/--enable-ssl: {why}")))?;
    let mut listeners = inherit::adopt(inherited, &settings)?;
    listen::bind_all(&settings, owner, &mut listeners)?;
    let udp = listen::bind_udp(&settings)?;
    let metrics = listen::bind_metrics(&settings)?;
    Ok(BoundServer { settings, auth, tls, listeners, udp, metrics })
}

/// A daemon that holds its addresses and does nothing else.
#[derive(Debug)]
pub struct BoundServer {
    settings: Settings,
    auth: Option<Auth>,
    tls: Option<Tls>,
    listeners: Vec<Listener>,
    udp: Vec<UdpSocket>,
    metrics: Vec<TcpListener>,
}

/// A daemon that serves. Stops when dropped.
#[derive(Debug)]
pub struct Running {
    daemon: Arc<Daemon>,
    /// What workers may hold of requests that are not complete.
    long_input: Arc<Allowance>,
    local_addrs: Vec<SocketAddr>,
    udp_addrs: Vec<SocketAddr>,
    metrics_addrs: Vec<SocketAddr>,
    /// Stops the acceptor, which stops the workers.
    signal: Arc<Inbox>,
    /// Stops the thread of datagrams, if there is one.
    udp_signal: Option<Arc<Inbox>>,
    /// Stops the thread of metrics, if there is one.
    metrics_signal: Option<Arc<Inbox>>,
    /// Empty once joined.
    threads: Vec<JoinHandle<()>>,
    /// Works until the others have ended. None once joined.
    maintainer: Option<(JoinHandle<()>, Arc<AtomicBool>)>,
    /// Where there is a watchdog.
    monitor: Option<Monitor>,
}

impl BoundServer {
    /// What it was bound by.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Maps the store's memory and starts the threads.
    pub fn start(self, clock: Clock) -> io::Result<Running> {
        let Self { settings, auth, tls, listeners, udp, metrics } = self;
        let threads = settings.threads;
        let limit = (settings.conn_limit, settings.maxconns_fast);
        let daemon_watchdog = settings.process.watchdog;
        let local_addrs = listeners.iter().filter_map(Listener::local_addr).collect();
        let udp_addrs = udp.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        let metrics_addrs = metrics.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let store = Store::new(&store_config(&settings))?;
        store.tune_background(|background| *background = settings.background);
        if settings.prefault {
            store.populate();
        }
        let stats = Registry::default();
        stats.watch().turn(Switch::Hotkeys, settings.dumps);
        stats.watch().turn(Switch::Latency, !settings.metrics.is_empty());
        if let Some(delimiter) = settings.detail {
            stats.watch().set_delimiter(delimiter);
            stats.watch().turn(Switch::Detail, true);
        }
        if settings.track_sizes {
            store.track_lengths_of_all();
        }
        let daemon = Arc::new(Daemon { store, settings, clock, stats, auth, tls });

        // What only this thread may do, once the others are confined.
        process::open_resident_len();
        // What the acceptor and the workers need is made before the first of them runs. What fails later stops those that do (see `Drop`).
        let mut polls = Vec::with_capacity(threads);
        let mut inboxes = Vec::with_capacity(threads);
        for _ in 0..threads {
            let (poll, inbox) = poll_and_inbox()?;
            polls.push(poll);
            inboxes.push(Arc::new(inbox));
        }
        let (poll, signal) = poll_and_inbox()?;
        let signal = Arc::new(signal);
        let acceptor =
            Acceptor::new(poll, Arc::clone(&signal), listeners, inboxes.clone(), limit, daemon.stats.register())?;
        let long_input = Arc::new(Allowance::new(daemon.settings.process_len_max));
        let mut running = Running {
            daemon,
            long_input,
            local_addrs,
            udp_addrs,
            metrics_addrs,
            signal,
            udp_signal: None,
            metrics_signal: None,
            threads: Vec::with_capacity(threads + 2),
            maintainer: None,
            monitor: daemon_watchdog.map(Monitor::new),
        };
        // The acceptor first: should a later thread fail to start, it is who stops the earlier ones.
        let pulse = running.pulse("slabd-accept");
        let daemon = Arc::clone(&running.daemon);
        running.spawn("slabd-accept", move || acceptor.run(&pulse, &daemon))?;
        let cores = affinity::allowed_cores();
        for (i, (poll, inbox)) in polls.into_iter().zip(inboxes).enumerate() {
            let core = if threads <= cores.len() { cores.get(i).copied() } else { None };
            running.spawn_worker(i, core, poll, inbox)?;
        }
        running.spawn_udp(udp)?;
        running.spawn_metrics(metrics)?;
        running.spawn_maintainer()?;
        Ok(running)
    }
}

impl Running {
    /// Where it listens on the network, in the order of the settings; with the port the kernel chose where that was 0.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Where it answers datagrams, the same way.
    #[must_use]
    pub fn udp_addrs(&self) -> &[SocketAddr] {
        &self.udp_addrs
    }

    /// Where it tells metrics, the same way.
    #[must_use]
    pub fn metrics_addrs(&self) -> &[SocketAddr] {
        &self.metrics_addrs
    }

    /// What its threads share.
    #[must_use]
    pub fn daemon(&self) -> &Arc<Daemon> {
        &self.daemon
    }

    /// What tells whether all its threads turn, if the settings name a watchdog. To be taken once.
    pub fn take_monitor(&mut self) -> Option<Monitor> {
        self.monitor.take()
    }

    /// Tells it to stop: no more clients, no more requests, what is owed is written for a bounded time. Returns at once.
    pub fn stop(&self) {
        self.signal.stop();
        for signal in [&self.udp_signal, &self.metrics_signal].into_iter().flatten() {
            signal.stop();
        }
    }

    /// Waits until all its threads have ended, which they do after [`Running::stop`].
    ///
    /// # Panics
    ///
    /// If one of them has.
    pub fn join(mut self) {
        assert!(self.join_all(), "a thread of the daemon has panicked");
    }

    /// Whether all of them ended well.
    fn join_all(&mut self) -> bool {
        let mut well = true;
        for thread in self.threads.drain(..) {
            well &= thread.join().is_ok();
        }
        if let Some((thread, stop)) = self.maintainer.take() {
            // Release: pairs with the acquire in the maintainer's loop.
            stop.store(true, Ordering::Release);
            thread.thread().unpark();
            well &= thread.join().is_ok();
        }
        well
    }

    fn spawn_worker(&mut self, i: usize, core: Option<Core>, poll: Poll, inbox: Arc<Inbox>) -> io::Result<()> {
        let (daemon, long_input) = (Arc::clone(&self.daemon), Arc::clone(&self.long_input));
        let name = format!("slabd-work-{i}");
        let pulse = self.pulse(&name);
        self.spawn(&name, move || {
            if let Some(core) = core {
                match affinity::pin(core) {
                    Ok(()) => log::debug!("worker {i} is pinned to {core}"),
                    Err(why) => log::warn!("worker {i} is not pinned: {why}"),
                }
            }
            let worker = Worker::new(poll, inbox, Arc::clone(&daemon), long_input, pulse);
            serve_only(&daemon.settings);
            worker.run();
        })
    }

    fn spawn_udp(&mut self, sockets: Vec<UdpSocket>) -> io::Result<()> {
        if sockets.is_empty() {
            return Ok(());
        }
        let (poll, signal) = poll_and_inbox()?;
        let signal = Arc::new(signal);
        let udp = Udp::new(poll, Arc::clone(&signal), sockets, Arc::clone(&self.daemon))?;
        self.udp_signal = Some(signal);
        let (daemon, pulse) = (Arc::clone(&self.daemon), self.pulse("slabd-udp"));
        self.spawn("slabd-udp", move || {
            serve_only(&daemon.settings);
            udp.run(&pulse);
        })
    }

    fn spawn_metrics(&mut self, listeners: Vec<TcpListener>) -> io::Result<()> {
        if listeners.is_empty() {
            return Ok(());
        }
        let (poll, signal) = poll_and_inbox()?;
        let signal = Arc::new(signal);
        let metrics = Metrics::new(poll, Arc::clone(&signal), listeners, Arc::clone(&self.daemon))?;
        self.metrics_signal = Some(signal);
        let (daemon, pulse) = (Arc::clone(&self.daemon), self.pulse("slabd-metrics"));
        self.spawn("slabd-metrics", move || {
            serve_only(&daemon.settings);
            metrics.run(&pulse);
        })
    }

    fn spawn_maintainer(&mut self) -> io::Result<()> {
        let (daemon, stop) = (Arc::clone(&self.daemon), Arc::new(AtomicBool::new(false)));
        let bound = daemon.settings.process_len_max.map(maintain::Bound::new);
        let stopped = Arc::clone(&stop);
        let pulse = self.pulse("slabd-maintain");
        let thread = thread::Builder::new().name("slabd-maintain".to_owned()).spawn(move || {
            let local = daemon.store.local(daemon.stats.register());
            serve_only(&daemon.settings);
            maintain::run(&daemon.store, &daemon.clock, local, bound, &pulse, &stopped);
        })?;
        self.maintainer = Some((thread, stop));
        Ok(())
    }

    /// The pulse of a thread about to start.
    fn pulse(&mut self, name: &str) -> Pulse {
        self.monitor.as_mut().map(|monitor| monitor.pulse(name)).unwrap_or_default()
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name.to_owned()).spawn(body)?);
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.threads.is_empty() || self.maintainer.is_some() {
            self.stop();
            self.join_all();
        }
    }
}

/// `-o drop_privileges`: this thread serves from now on, and does nothing else.
///
/// # Panics
///
/// If the system does not filter: that was to be.
fn serve_only(settings: &Settings) {
    let process = &settings.process;
    if process.drop_privileges {
        confine(Duty::Serving, process.relaxed_privileges).expect("the process's own filter was taken, so is this");
    }
}

/// What the store of a daemon with these settings is made from.
#[must_use]
pub fn store_config(settings: &Settings) -> StoreConfig {
    StoreConfig {
        hash_seed: None,
        memory_len: settings.memory_len,
        class_len_min: CLASS_LEN_MIN,
        item_len_max: settings.item_len_max,
        classes: settings.classes.clone(),
        with_cas: settings.with_cas,
        evict: settings.evict,
        lru: settings.lru,
        lru_tuning: settings.lru_tuning,
    }
}
