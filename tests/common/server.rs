//! A server in this process, on a port of the kernel's choice, with its clock in the test's hand.

use super::client::Client;
use slabd::clock::Clock;
use slabd::server::Running;
use slabd::settings::Settings;
use std::net::{Ipv4Addr, SocketAddr};

/// Stops when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    running: Option<Running>,
    /// Moves the server's time.
    pub(crate) clock: Clock,
    /// Where it listens.
    pub(crate) addr: SocketAddr,
}

impl Server {
    /// Starts one with so many workers.
    pub(crate) fn start(threads: usize) -> Self {
        Self::start_with(|settings| settings.threads = threads)
    }

    /// Starts one with other settings.
    pub(crate) fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        let clock = Clock::manual();
        let running = slabd::server::start(settings, clock.clone()).expect("the server starts");
        let addr = *running.local_addrs().first().expect("the server listens");
        Self { running: Some(running), clock, addr }
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.addr).with_clock(self.clock.clone())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
            running.join();
        }
    }
}

/// What servers under test run with, if the test does not say otherwise.
pub(crate) fn settings() -> Settings {
    Settings {
        listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
        unix_socket: None,
        threads: 1,
        memory_len: 64 << 20,
        process: slabd::settings::ProcessSettings {
            // For trying whether everything can be done under the filter of system calls.
            drop_privileges: std::env::var_os("SLABD_DROP_PRIVILEGES").is_some(),
            ..slabd::settings::ProcessSettings::default()
        },
        ..Settings::default()
    }
}
