//! The whole daemon over loop-back: connections x depth x value length x share of sets; requests per second and the time a
//! batch takes, p50, p99 and p99.9. Closed loop: each connection sends a batch, waits for all of its answer, and sends the next.
//!
//! `cargo bench --bench wire -- [CONNECTIONS DEPTH VALUE_LEN SET_PCT SECS THREADS]`; without numbers a short table.

use slabd::clock::Clock;
use slabd::server;
use slabd::settings::Settings;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// One kind of load.
#[derive(Clone, Copy, Debug)]
struct Load {
    conns: usize,
    depth: usize,
    value_len: usize,
    set_pct: u8,
    time: Duration,
    threads: usize,
}

const KEYS: u64 = 10_000;

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let measured = std::env::args().any(|arg| arg == "--bench");
    let time = Duration::from_millis(if measured { 2000 } else { 50 });
    let base = Load { conns: 8, depth: 1, value_len: 100, set_pct: 0, time, threads: 1 };
    if let [conns, depth, value_len, set_pct, secs, threads] = numbers[..] {
        let set_pct = u8::try_from(set_pct.min(100)).expect("at most 100");
        run(Load { conns, depth, value_len, set_pct, time: Duration::from_secs(secs as u64), threads });
        return;
    }
    run(base);
    run(Load { depth: 16, ..base });
    run(Load { depth: 16, set_pct: 100, ..base });
    run(Load { value_len: 50_000, ..base });
}

fn run(load: Load) {
    let listen = vec!["127.0.0.1:0".parse().expect("an address")];
    let settings = Settings { listen, threads: load.threads, memory_len: 1 << 30, ..Settings::default() };
    let running = server::start(settings, Clock::system()).expect("the server starts");
    let address = running.local_addrs()[0];
    fill(address, load.value_len);
    let clients: Vec<_> =
        (0..load.conns).map(|n| std::thread::spawn(move || client(address, load, n as u64))).collect();
    let mut times: Vec<Duration> =
        clients.into_iter().flat_map(|client| client.join().expect("a client ends")).collect();
    times.sort_unstable();
    assert!(!times.is_empty(), "not one batch was answered");
    let at = |permille: usize| times[(times.len() - 1) * permille / 1000].as_micros();
    let rate = times.len() as f64 * load.depth as f64 / load.time.as_secs_f64();
    println!("{load:?}: {rate:.0} requests/s, batch p50 {} us, p99 {} us, p99.9 {} us", at(500), at(990), at(999));
    running.stop();
}

fn fill(address: SocketAddr, value_len: usize) {
    let mut socket = TcpStream::connect(address).expect("the server listens");
    let value = vec![b'v'; value_len];
    for n in 0..KEYS {
        let mut request = format!("set {n:08} 0 0 {value_len}\r\n").into_bytes();
        request.extend_from_slice(&value);
        request.extend_from_slice(b"\r\n");
        socket.write_all(&request).expect("the server reads");
        let mut answer = [0; 8];
        socket.read_exact(&mut answer).expect("the server answers");
        assert_eq!(&answer, b"STORED\r\n");
    }
}

fn client(address: SocketAddr, load: Load, seed: u64) -> Vec<Duration> {
    let mut socket = TcpStream::connect(address).expect("the server listens");
    socket.set_nodelay(true).expect("a socket option");
    let mut rng = fastrand::Rng::with_seed(seed);
    let value = "v".repeat(load.value_len);
    let hit_len = format!("VALUE {:08} 0 {}\r\n", 0, load.value_len).len() + load.value_len + "\r\nEND\r\n".len();
    let (end, mut times, mut answer) = (Instant::now() + load.time, Vec::new(), Vec::new());
    while Instant::now() < end {
        let (mut request, mut answer_len) = (String::new(), 0);
        for _ in 0..load.depth {
            let n = rng.u64(0..KEYS);
            if rng.u8(0..100) < load.set_pct {
                write!(request, "set {n:08} 0 0 {}\r\n{value}\r\n", load.value_len).expect("a string takes all");
                answer_len += "STORED\r\n".len();
            } else {
                write!(request, "get {n:08}\r\n").expect("a string takes all");
                answer_len += hit_len;
            }
        }
        let start = Instant::now();
        socket.write_all(request.as_bytes()).expect("the server reads");
        answer.resize(answer_len, 0);
        socket.read_exact(&mut answer).expect("the server answers in full");
        times.push(start.elapsed());
        assert!(answer.ends_with(b"END\r\n") || answer.ends_with(b"STORED\r\n"), "every key is there");
    }
    times
}
