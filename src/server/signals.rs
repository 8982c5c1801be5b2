//! Signals, as events: the thread that started the daemon sleeps here until it is told to stop.
//!
//! | signal | effect |
//! | --- | --- |
//! | SIGTERM, SIGINT, SIGUSR1 | stop: what is owed is written, then exit code 0; a second one exits at once |
//! | SIGHUP | certificates, their key and the file of users are read again; a bad one is told in the log and changes nothing |
//! | SIGPIPE | ignored (the language's runtime sees to that before `main`): a lost peer is an error of one write |
//!
//! It is *not* part of a server started in-process by a test, which must not take its host's signals.

use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use signal_hook_mio::v1_0::Signals;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// The process's signals, taken over.
pub struct StopSignals {
    poll: Poll,
    signals: Signals,
}

impl StopSignals {
    /// Takes the signals over: from now on they do not kill.
    pub fn register() -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        for signal in STOP {
            // In this order: the first signal finds the flag down and raises it, the second finds it up and exits.
            flag::register_conditional_shutdown(signal, EXIT_AT_ONCE, Arc::clone(&stopping))?;
            flag::register(signal, Arc::clone(&stopping))?;
        }
        let mut signals = Signals::new(STOP.into_iter().chain([SIGHUP]))?;
        let poll = Poll::new()?;
        poll.registry().register(&mut signals, Token(0), Interest::READABLE)?;
        Ok(Self { poll, signals })
    }

    /// Sleeps until one of them says stop; `reload` is called for each that says so, and `round`, if there is one, as often as it says.
    pub fn wait(&mut self, mut reload: impl FnMut(), mut round: Option<(Duration, impl FnMut())>) -> io::Result<()> {
        let mut events = Events::with_capacity(4);
        let mut due = Instant::now();
        loop {
            let timeout = round.is_some().then(|| due.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            if let Some((every, round)) = &mut round
                && Instant::now() >= due
            {
                round();
                due = Instant::now() + *every;
            }
            for signal in self.signals.pending() {
                if STOP.contains(&signal) {
                    log::info!("signal {signal}: stopping");
                    return Ok(());
                }
                log::info!("signal {signal}: reloading");
                reload();
            }
        }
    }
}

impl fmt::Debug for StopSignals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopSignals").finish_non_exhaustive()
    }
}

const STOP: [i32; 3] = [SIGTERM, SIGINT, SIGUSR1];

/// The exit code of a daemon that was told twice.
const EXIT_AT_ONCE: i32 = 1;
