//! The edge as clients see it: limits, half-closed and slow clients, churn, idleness, stopping. Everything here uses
//! requests whose answers are the same whatever is stored.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use slabd::clock::Clock;
use slabd::limits::DRAIN_MS_MAX;
use slabd::server::{self, Running};
use slabd::settings::{Settings, UnixSocket};
use slabd::stats::Totals;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Tests here count descriptors and time answers, so they run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn settings(threads: usize) -> Settings {
    Settings { listen: vec!["127.0.0.1:0".parse().unwrap()], threads, ..Settings::default() }
}

fn start(settings: Settings) -> (Running, SocketAddr) {
    let running = server::start(settings, Clock::system()).unwrap();
    let addr = running.local_addrs()[0];
    (running, addr)
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends a request and expects exactly this answer.
fn ask<S: Read + Write>(stream: &mut S, request: &str, answer: &str) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut got = vec![0; answer.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), answer);
}

/// Reads to the end, which a reset is not.
fn rest<S: Read>(stream: &mut S) -> String {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    String::from_utf8(rest).unwrap()
}

/// Waits until the counters say so; what they count happens on other threads.
fn until(running: &Running, what: &str, says: impl Fn(&Totals) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !says(&running.daemon().stats.totals()) {
        assert!(Instant::now() < deadline, "{what} did not come: {:?}", running.daemon().stats.totals());
        std::thread::sleep(Duration::from_millis(2));
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn requests_are_answered_and_quit_closes() {
    let _alone = alone();
    for threads in [1, 4] {
        let (_running, addr) = start(settings(threads));
        let mut clients: Vec<_> = (0..20).map(|_| connect(addr)).collect();
        for _ in 0..3 {
            for client in &mut clients {
                ask(client, "get x\r\n", "END\r\n");
                ask(client, "get x\r\nget y\r\n", "END\r\nEND\r\n");
            }
        }
        for mut client in clients {
            client.write_all(b"get x\r\nquit\r\nget y\r\n").unwrap();
            assert_eq!(rest(&mut client), "END\r\n");
        }
    }
}

#[test]
fn a_request_in_pieces_is_answered_once_it_is_whole() {
    let _alone = alone();
    let (_running, addr) = start(settings(1));
    let mut client = connect(addr);
    for piece in ["g", "et", " x", "\r", "\nget ", "y\r\nge", "t z\r\n"] {
        client.write_all(piece.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    ask(&mut client, "", "END\r\nEND\r\nEND\r\n");
    // Longer than what is joined in front of the next read, in small pieces.
    let line = format!("get {}\r\n", vec!["key"; 20_000].join(" "));
    for piece in line.as_bytes().chunks(1999) {
        client.write_all(piece).unwrap();
    }
    ask(&mut client, "get x\r\n", "END\r\nEND\r\n");
}

#[test]
fn the_connection_limit_is_exact_and_says_so() {
    let _alone = alone();
    let (running, addr) = start(Settings { conn_limit: 5, ..settings(2) });
    let mut clients: Vec<_> = (0..5).map(|_| connect(addr)).collect();
    for client in &mut clients {
        ask(client, "get x\r\n", "END\r\n");
    }
    for _ in 0..3 {
        assert_eq!(rest(&mut connect(addr)), "ERROR Too many open connections\r\n");
    }
    let totals = running.daemon().stats.totals();
    assert_eq!((totals.rejected_connections, totals.curr_connections, totals.total_connections), (3, 5, 5));
    // A place that becomes free is given again.
    clients.pop();
    until(&running, "a free place", |totals| totals.curr_connections == 4);
    ask(&mut connect(addr), "get x\r\n", "END\r\n");
    ask(&mut clients[0], "get x\r\n", "END\r\n");
}

#[test]
fn without_maxconns_fast_clients_beyond_the_limit_wait() {
    let _alone = alone();
    let (running, addr) = start(Settings { conn_limit: 2, maxconns_fast: false, ..settings(1) });
    let mut clients: Vec<_> = (0..2).map(|_| connect(addr)).collect();
    for client in &mut clients {
        ask(client, "get x\r\n", "END\r\n");
    }
    let mut late = connect(addr);
    late.write_all(b"get x\r\n").unwrap();
    late.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(late.read(&mut [0; 16]).is_err(), "it is not served, and not turned away");
    clients.pop();
    late.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    ask(&mut late, "", "END\r\n");
    let totals = running.daemon().stats.totals();
    assert_eq!((totals.rejected_connections, totals.curr_connections, totals.total_connections), (0, 2, 3));
}

#[test]
fn a_client_that_ends_its_side_still_gets_all_its_answers() {
    let _alone = alone();
    let (_running, addr) = start(settings(1));
    for count in [1, 1000, 200_000] {
        let mut client = connect(addr);
        let mut reader = client.try_clone().unwrap();
        let reading = std::thread::spawn(move || rest(&mut reader));
        client.write_all("get x\r\n".repeat(count).as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let answers = reading.join().unwrap();
        assert!(answers == "END\r\n".repeat(count), "{} of {count} answers", answers.len() / 5);
    }
}

#[test]
fn answers_before_quit_arrive_though_more_was_sent_behind_it() {
    let _alone = alone();
    let (running, addr) = start(settings(1));
    for _ in 0..20 {
        let mut client = connect(addr);
        let mut reader = client.try_clone().unwrap();
        let reading = std::thread::spawn(move || rest(&mut reader));
        let requests = "get x\r\n".repeat(50_000) + "quit\r\n" + &"get x\r\n".repeat(50_000);
        client.write_all(requests.as_bytes()).unwrap();
        assert_eq!(reading.join().unwrap().len(), 5 * 50_000);
    }
    until(&running, "the last close", |totals| totals.curr_connections == 0);
}

#[test]
fn a_client_that_does_not_read_does_not_stop_the_others() {
    let _alone = alone();
    let (running, addr) = start(settings(1));
    let mut deaf = connect(addr);
    let mut sender = deaf.try_clone().unwrap();
    let sending = std::thread::spawn(move || sender.write_all("get x\r\n".repeat(SENT).as_bytes()));
    let mut other = connect(addr);
    let mut slowest = Duration::ZERO;
    for _ in 0..200 {
        let asked = Instant::now();
        ask(&mut other, "get x\r\n", "END\r\n");
        slowest = slowest.max(asked.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(slowest < Duration::from_secs(1), "an answer took {slowest:?}");
    // It was held back, not dropped: all its answers are there when it wants them.
    let mut answers = vec![0; 5 * SENT];
    deaf.read_exact(&mut answers).unwrap();
    assert!(answers == "END\r\n".repeat(SENT).as_bytes());
    sending.join().unwrap().unwrap();
    ask(&mut deaf, "get x\r\n", "END\r\n");
    drop((deaf, other));
    until(&running, "both closed", |totals| totals.curr_connections == 0);

    const SENT: usize = 2_000_000;
}

#[test]
fn churn_leaves_no_connection_and_no_descriptor() {
    let _alone = alone();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (running, addr) = start(settings(2));
    ask(&mut connect(addr), "get x\r\n", "END\r\n");
    until(&running, "a close", |totals| totals.curr_connections == 0);
    let before = descriptors();
    for i in 0..2000 {
        let mut client = connect(addr);
        match i % 4 {
            0 => ask(&mut client, "get x\r\n", "END\r\n"),
            1 => client.write_all(b"get").unwrap(),
            2 => client.write_all(b"get x\r\nquit\r\n").unwrap(),
            _ => {}
        }
    }
    until(&running, "the last close", |totals| totals.curr_connections == 0 && totals.total_connections == 2001);
    assert_eq!(descriptors(), before);
}

#[test]
fn a_unix_socket_is_served_beside_tcp_and_its_file_goes_at_the_end() {
    let _alone = alone();
    let path = std::env::temp_dir().join(format!("slabd-edge-{}.sock", std::process::id()));
    let unix_socket = Some(UnixSocket { path: path.clone(), mode: 0o600 });
    let (running, addr) = start(Settings { unix_socket: unix_socket.clone(), ..settings(2) });
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut local = UnixStream::connect(&path).unwrap();
    ask(&mut local, "get x\r\n", "END\r\n");
    ask(&mut connect(addr), "get x\r\n", "END\r\n");
    ask(&mut local, "get x\r\n", "END\r\n");
    let error = server::start(Settings { unix_socket, ..settings(1) }, Clock::system()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    local.write_all(b"get x\r\n").unwrap();
    local.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut local), "END\r\n");
    running.stop();
    running.join();
    assert!(!path.exists());
}

#[test]
fn the_idle_are_closed_and_the_active_are_not() {
    let _alone = alone();
    let clock = Clock::manual();
    let idle_timeout = Some(Duration::from_secs(3));
    let path = std::env::temp_dir().join(format!("slabd-idle-{}.sock", std::process::id()));
    let unix_socket = Some(UnixSocket { path: path.clone(), mode: 0o600 });
    let running = server::start(Settings { idle_timeout, unix_socket, ..settings(1) }, clock.clone()).unwrap();
    let addr = running.local_addrs()[0];
    let (mut idle, mut active) = (connect(addr), connect(addr));
    let mut local = UnixStream::connect(&path).unwrap();
    ask(&mut local, "get x\r\n", "END\r\n");
    ask(&mut idle, "get x\r\n", "END\r\n");
    // Half a request, and then silence.
    let mut stalled = connect(addr);
    stalled.write_all(b"get x").unwrap();
    ask(&mut active, "get x\r\n", "END\r\n");
    for _ in 0..5 {
        clock.advance(1000);
        std::thread::sleep(Duration::from_millis(120));
        ask(&mut active, "get x\r\n", "END\r\n");
    }
    assert_eq!(rest(&mut idle), "");
    // What it had sent was read, so this is an end and no reset.
    assert_eq!(rest(&mut stalled), "");
    ask(&mut active, "get x\r\n", "END\r\n");
    ask(&mut local, "get x\r\n", "END\r\n");
    let totals = running.daemon().stats.totals();
    assert_eq!((totals.idle_kicks, totals.curr_connections), (2, 2));
}

#[test]
fn a_stop_lets_answers_go_and_takes_no_more_clients() {
    let _alone = alone();
    for threads in [1, 4] {
        let (running, addr) = start(settings(threads));
        let mut idle = connect(addr);
        ask(&mut idle, "get x\r\n", "END\r\n");
        // Owed a lot, and reading only after the stop.
        let mut late = connect(addr);
        late.set_nonblocking(true).unwrap();
        let requests = "get x\r\n".repeat(1000);
        let mut sent_count = 0;
        while sent_count < 5000 && late.write(requests.as_bytes()).is_ok_and(|len| len == requests.len()) {
            sent_count += 1;
        }
        late.set_nonblocking(false).unwrap();
        until(&running, "input", |totals| totals.bytes_read > 100_000);
        let stopped = Instant::now();
        running.stop();
        let mut some = [0; 5000];
        late.read_exact(&mut some).unwrap();
        assert_eq!(rest(&mut idle), "");
        running.join();
        assert!(stopped.elapsed() < Duration::from_millis(DRAIN_MS_MAX + 1000));
        assert!(TcpStream::connect(addr).is_err());
    }
}

#[test]
fn a_taken_address_is_an_error_that_names_it() {
    let _alone = alone();
    let (_running, addr) = start(settings(1));
    let error = server::start(Settings { listen: vec![addr], ..settings(1) }, Clock::system()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert_eq!(error.to_string(), format!("cannot listen on {addr}: Address already in use"));
}
