//! The gate: what a client can reach before it has logged in, and that a flood of wrong logins is not felt by others.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::client::Client;
use common::wire::Wire as _;
use slabd::clock::Clock;
use slabd::server::{self, Running};
use slabd::settings::{Protocol, Settings, UnixSocket};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
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
        Self::speaking(Protocol::Ascii, name, users)
    }

    fn speaking(protocol: Protocol, name: &str, users: &str) -> Self {
        let file = std::env::temp_dir().join(format!("slabd-{}-gate-{name}", std::process::id()));
        std::fs::write(&file, users).unwrap();
        let settings = Settings {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            auth_file: Some(file.clone()),
            unix_socket: Some(UnixSocket { path: file.with_extension("sock"), mode: 0o700 }),
            protocol,
            sasl: protocol != Protocol::Ascii,
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
    let commands: [&[u8]; 34] = [
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
        b"shutdown graceful",
        b"lru_crawler metadump all",
        b"lru_crawler mgdump all",
        b"stats cachedump 1 0",
        b"watch",
        b"watch fetchers rawcmds",
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

fn packet(opcode: u8, key: &[u8], extras: &[u8], value: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 24];
    (packet[0], packet[1], packet[4]) = (0x80, opcode, u8::try_from(extras.len()).unwrap());
    packet[2..4].copy_from_slice(&u16::try_from(key.len()).unwrap().to_be_bytes());
    let body_len = u32::try_from(extras.len() + key.len() + value.len()).unwrap();
    packet[8..12].copy_from_slice(&body_len.to_be_bytes());
    [&packet, extras, key, value].concat()
}

/// An answer of this opcode and status, with this body.
fn told(opcode: u8, status: u8, body: &[u8]) -> Vec<u8> {
    let mut answer = vec![0; 24];
    (answer[0], answer[1], answer[7]) = (0x81, opcode, status);
    answer[11] = u8::try_from(body.len()).unwrap();
    [&answer, body].concat()
}

#[test]
fn nothing_but_sasl_passes_in_binary() {
    let guarded = Guarded::speaking(Protocol::Auto, "sasl", "foo:bar\n");
    let failure = |opcode| told(opcode, 0x20, b"Auth failure.");
    let login = packet(0x21, b"PLAIN", b"", b"\0foo\0bar");
    for opcode in (0..=0xff).filter(|opcode| ![0x20, 0x21].contains(opcode)) {
        let mut client = guarded.client();
        client.send(&packet(opcode, b"secret", b"", b""));
        // Whatever follows is not looked at any more, not even a login.
        client.send(&login);
        client.finish();
        assert_eq!(client.rest(), failure(opcode), "opcode {opcode:#x}");
    }
    let mut client = guarded.client();
    client.exchange(&packet(0x20, b"", b"", b""), &told(0x20, 0, b"PLAIN"));
    client.exchange(&packet(0x21, b"PLAIN", b"", b"\0foo\0baz"), &failure(0x21));
    client.exchange(&packet(0x21, b"PLAIN", b"", b"\0nobody\0bar"), &failure(0x21));
    client.exchange(&packet(0x21, b"CRAM-MD5", b"", b"\0foo\0bar"), &failure(0x21));
    client.exchange(&login, &told(0x21, 0, b"Authenticated"));
    client.exchange(&packet(0x0a, b"", b"", b""), &told(0x0a, 0, b""));
    // Text on the same port has its own way.
    guarded.client().exchange(b"version\r\n", STRANGER);
    let mut client = guarded.client();
    client.exchange(&[LOGIN, b"get a\r\n"].concat(), b"STORED\r\nEND\r\n");
    let totals = guarded.running.daemon().stats.totals();
    assert_eq!((totals.auth_cmds, totals.auth_errors, totals.cmd_get), (5, 3, 1));
}

/// In the three ways a daemon with users may be set up, on both kinds of listener, whoever has not logged in reaches nothing.
#[test]
fn the_gate_is_on_every_listener_whatever_it_speaks() {
    for protocol in [Protocol::Ascii, Protocol::Binary, Protocol::Auto] {
        let guarded = Guarded::speaking(protocol, &format!("all-{protocol:?}"), "foo:bar\n");
        for request in [
            &b"get a\r\n"[..],
            &b"set a 0 0 1\r\nx\r\n"[..],
            &b"stats\r\n"[..],
            &packet(0x00, b"a", b"", b""),
            &packet(0x10, b"", b"", b""),
        ] {
            let mut tcp = guarded.client();
            tcp.send(request);
            tcp.finish();
            let mut unix = UnixStream::connect(guarded.file.with_extension("sock")).unwrap();
            unix.write_all(request).unwrap();
            unix.shutdown(std::net::Shutdown::Write).unwrap();
            let mut said = Vec::new();
            unix.read_to_end(&mut said).unwrap();
            assert_eq!(tcp.rest(), said, "{protocol:?} {request:?}");
            let is_refusal = said.is_empty() || said.starts_with(b"CLIENT_ERROR ") || said.get(7) == Some(&0x20);
            assert!(is_refusal, "{protocol:?} {request:?}: {said:?}");
        }
        let totals = guarded.running.daemon().stats.totals();
        assert_eq!((totals.cmd_get, totals.cmd_set, totals.auth_cmds - totals.auth_errors), (0, 0, 0));
    }
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
