//! A real memcached beside us, where there is one.

use super::client::Client;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A memcached of our own; ends when dropped.
#[derive(Debug)]
pub(crate) struct Oracle {
    child: Child,
    /// Where it listens.
    pub(crate) addr: SocketAddr,
}

impl Oracle {
    /// Starts `$MEMCACHED`, or the `memcached` in the path. Without one the caller's test can show nothing: it says so
    /// and passes, unless `SLABD_REQUIRE_ORACLE=1` asks for a failure.
    pub(crate) fn start(args: &[&str]) -> Option<Self> {
        let Some(program) = program() else {
            assert!(
                std::env::var_os("SLABD_REQUIRE_ORACLE").is_none_or(|value| value == "0"),
                "SLABD_REQUIRE_ORACLE is set, but there is no memcached in the path and none in MEMCACHED"
            );
            notice();
            return None;
        };
        for _ in 0..5 {
            if let Some(oracle) = Self::start_once(&program, args) {
                return Some(oracle);
            }
        }
        panic!("{} does not start", program.display());
    }

    /// A port is free until it is not: another process may take it before memcached does.
    fn start_once(program: &Path, args: &[&str]) -> Option<Self> {
        let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let addr = probe.local_addr().expect("a listener has an address");
        drop(probe);
        let child = Command::new(program)
            .args(["-u", "root", "-U", "0", "-l", "127.0.0.1", "-p", &addr.port().to_string()])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("memcached can be run");
        let mut oracle = Self { child, addr };
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            if oracle.child.try_wait().expect("a child can be asked").is_some() {
                return None;
            }
            if TcpStream::connect(addr).is_ok() {
                return oracle.is_ours().then_some(oracle);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("memcached does not listen");
    }

    /// Whether it is our child that answers there, not a stranger who was quicker.
    fn is_ours(&self) -> bool {
        let stats = Client::connect(self.addr).ask(b"stats\r\n", b"END\r\n");
        let pid = format!("STAT pid {}\r\n", self.child.id());
        memchr::memmem::find(&stats, pid.as_bytes()).is_some()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("MEMCACHED") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("memcached")).find(|file| file.is_file())
}

/// Past the test harness's capture, so that a pass that compared nothing is seen.
fn notice() {
    let text = "\n\
        ================================================================\n\
        == NOT COMPARED WITH A REAL MEMCACHED: none is installed here ==\n\
        ==  install memcached, or name one: MEMCACHED=/path/to/it     ==\n\
        ================================================================\n\n";
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}
