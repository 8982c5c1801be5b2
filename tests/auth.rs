//! The gate: what a client can reach before it has logged in, and that a flood of wrong logins is not felt by others.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::client::Client;
use common::wire::Wire as _;
use slabd::clock::Clock;
use slabd::server::{self, Running};
use slabd::settings::Settings;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// "secret", by `openssl passwd -6 -salt saltsalt`.
const HASH: &str = "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1";

/// A daemon with a file of users, which goes with it.
struct Guarded {
    running: Running,
    file: PathBuf,
}

impl Guarded {
    fn start(name: &str, users: &str) -> Self {
        let file = std::env::temp_dir().join(format!("slabd-{}-gate-{name}", std::process::id()));
        std::fs::write(&file, users).unwrap();
        let settings = Settings {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            auth_file: Some(file.clone()),
            threads: 1,
            ..Settings::default()
        };
        Self { running: server::start(settings, Clock::system()).unwrap(), file }
    }

    fn client(&self) -> Client {
        Client::connect(self.running.local_addrs()[0])
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.file));
    }
}

const STRANGER: &[u8] = b"CLIENT_ERROR unauthenticated\r\n";
const LOGIN: &[u8] = b"set x 0 0 7\r\nfoo bar\r\n";

#[test]
fn nothing_but_a_login_passes() {
    let guarded = Guarded::start("all", "foo:bar\n");
    let mut known = guarded.client();
    known.exchange(LOGIN, b"STORED\r\n");
    known.exchange(b"set secret 0 0 2\r\nhi\r\n", b"STORED\r\n");
    let commands: [&[u8]; 28] = [
        b"get secret",
        b"gets secret",
        b"gat 0 secret",
        b"gats 0 secret",
        b"set",
        b"set secret 0 0",
        b"set secret 0 0 x",
        b"add a 0 0 0",
        b"replace secret 0 0 1",
        b"append secret 0 0 1",
        b"prepend secret 0 0 1",
        b"cas secret 0 0 1 1",
        b"delete secret",
        b"incr secret 1",
        b"decr secret 1",
        b"touch secret 0",
        b"flush_all",
        b"version",
        b"verbosity 1",
        b"stats",
        b"stats settings",
        b"stats reset",
        b"lru mode flat",
        b"shutdown",
        b"quit",
        b"mg secret v",
        b"",
        b"\x80\x00\x00\x00",
    ];
    let mut stranger = guarded.client();
    for command in commands {
        let line = [command, b"\r\n"].concat();
        guarded.client().exchange(&line, STRANGER);
        // And on a connection that goes on.
        stranger.exchange(&line, STRANGER);
    }
    stranger.exchange(b"set x 0 0 7\r\nfoo baz\r\n", b"CLIENT_ERROR authentication failure\r\n");
    stranger.exchange(b"set x 0 0 3\r\nfoo\r\n", b"CLIENT_ERROR bad authentication token format\r\n");
    stranger.exchange(b"set x 0 0 7\r\nfoo barXX", b"CLIENT_ERROR bad command line termination\r\n");
    stranger.exchange(b"get secret\r\n", STRANGER);
    stranger.exchange(
        b"set x 0 0 7 noreply\r\nfoo bar\r\nget secret\r\nget x\r\n",
        b"STORED\r\nVALUE secret 0 2\r\nhi\r\nEND\r\nEND\r\n",
    );
    let totals = guarded.running.daemon().stats.totals();
    assert_eq!((totals.auth_cmds, totals.auth_errors, totals.cmd_set), (3, 1, 1));
}

#[test]
fn a_login_in_pieces_is_a_login_and_an_endless_one_is_the_end() {
    let guarded = Guarded::start("pieces", "foo:bar\n");
    let mut client = guarded.client().with_pieces_apart();
    for byte in &LOGIN[..LOGIN.len() - 1] {
        client.send(std::slice::from_ref(byte));
    }
    client.exchange(b"\n", b"STORED\r\n");
    client.exchange(b"get a\r\n", b"END\r\n");
    for endless in [&b"x".repeat(5000)[..], b"set x 0 0 1000000\r\n", b"set x 0 0 99999999999999999999\r\n"] {
        let mut client = guarded.client();
        client.send(endless);
        client.finish();
        let said = client.rest();
        assert!(said == STRANGER || said == b"CLIENT_ERROR bad authentication token format\r\n", "{said:?}");
    }
}

/// Hashes are made to be slow; computing them for whoever asks must not be felt by those who were let in.
#[test]
fn wrong_logins_wait_for_each_other_and_not_others_for_them() {
    let guarded = Guarded::start("flood", &format!("foo:{HASH}\n"));
    let login = b"set x 0 0 10\r\nfoo secret\r\n";
    guarded.client().exchange(login, b"STORED\r\n");
    let addr = guarded.running.local_addrs()[0];
    let stop = AtomicBool::new(false);
    let (mut slowest, mut count) = (Duration::ZERO, 0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(addr).unwrap();
                stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    stream.write_all(b"set x 0 0 9\r\nfoo wrong\r\n").unwrap();
                    drop(stream.read(&mut [0; 64]));
                }
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            let begun = Instant::now();
            // Proven once, a secret needs no hash any more.
            let mut client = guarded.client();
            client.exchange(login, b"STORED\r\n");
            client.exchange(b"get a\r\n", b"END\r\n");
            slowest = slowest.max(begun.elapsed());
            count += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
    let totals = guarded.running.daemon().stats.totals();
    assert!(totals.auth_errors > 3, "the flood is answered, slowly: {}", totals.auth_errors);
    assert!(count > 50, "{count} logins in a second, the slowest took {slowest:?}");
}
