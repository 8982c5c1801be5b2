//! What gets feel of pages that move: the time of each, p50, p99 and p99.9, first in peace and then while an operator's page moves
//! follow each other without a break, between classes of short, middling and long items and of values in pieces.
//!
//! `cargo bench --bench moves -- [SECS]`; without a number two seconds each.

use slabd::clock::Clock;
use slabd::server::{self, Running};
use slabd::settings::Settings;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const KEYS: usize = 40_000;
const CONNECTIONS: usize = 4;

fn main() {
    let secs = std::env::args().find_map(|arg| arg.parse().ok());
    let measured = std::env::args().any(|arg| arg == "--bench");
    let time = Duration::from_millis(secs.map_or(if measured { 2000 } else { 50 }, |secs: u64| secs * 1000));
    let listen = vec!["127.0.0.1:0".parse().expect("an address")];
    let settings = Settings { listen, threads: 2, memory_len: 1 << 30, ..Settings::default() };
    let running = server::start(settings, Clock::system()).expect("the server starts");
    fill(running.local_addrs()[0]);
    measure(&running, "in peace", time, false);
    measure(&running, "while pages move", time, true);
    measure(&running, "in peace again", time, false);
    running.stop();
}

/// Lengths of values: mostly short ones, some in pieces.
fn len_of(n: usize) -> usize {
    match n % 100 {
        0 => 300_000,
        1..10 => 10_000,
        10..40 => 1000,
        _ => 100,
    }
}

/// Half of what is stored goes again, so that pages have room for what moves.
fn fill(address: SocketAddr) {
    let mut socket = TcpStream::connect(address).expect("the server listens");
    let mut exchange = |request: &[u8], answer_len: usize| {
        socket.write_all(request).expect("the server reads");
        socket.read_exact(&mut vec![0; answer_len]).expect("the server answers");
    };
    for n in 0..2 * KEYS {
        let len = len_of(n / 2);
        let mut request = format!("set {n:08} 0 0 {len}\r\n").into_bytes();
        request.resize(request.len() + len, b'v');
        request.extend_from_slice(b"\r\n");
        exchange(&request, "STORED\r\n".len());
    }
    for n in 0..KEYS {
        exchange(format!("delete {:08}\r\n", 2 * n + 1).as_bytes(), "DELETED\r\n".len());
    }
}

fn measure(running: &Running, name: &str, time: Duration, moving: bool) {
    let (address, store, done) = (running.local_addrs()[0], &running.daemon().store, AtomicBool::new(false));
    let before = running.daemon().stats.totals();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        if moving {
            scope.spawn(|| {
                let classes = store.classes(running.daemon().clock.now());
                let givers: Vec<i32> =
                    classes.iter().filter(|class| class.pages > 3).map(|class| class.id.number().into()).collect();
                let mut turn = 0;
                while !done.load(Ordering::Relaxed) {
                    // There and back, so that no class ends with less than it needs.
                    let (one, other) = (givers[turn / 2 % givers.len()], givers[(turn / 2 + 1) % givers.len()]);
                    let (from, to) = if turn % 2 == 0 { (one, other) } else { (other, one) };
                    turn += usize::from(store.ask_reassign(from, to).is_ok());
                    std::thread::sleep(Duration::from_micros(500));
                }
            });
        }
        let clients: Vec<_> = (0..CONNECTIONS).map(|n| scope.spawn(move || client(address, time, n as u64))).collect();
        let times = clients.into_iter().flat_map(|client| client.join().expect("a client ends")).collect();
        done.store(true, Ordering::Relaxed);
        times
    });
    times.sort_unstable();
    let at = |permille: usize| times[(times.len() - 1) * permille / 1000].as_micros();
    let after = running.daemon().stats.totals();
    let (moved, misses) = (after.slabs_moved - before.slabs_moved, after.get_misses - before.get_misses);
    let rescued = after.slab_reassign_rescues - before.slab_reassign_rescues;
    let pieces = after.slab_reassign_chunk_rescues - before.slab_reassign_chunk_rescues;
    println!(
        "{name}: {} gets, p50 {} us, p99 {} us, p99.9 {} us; {misses} misses; {moved} pages, {rescued} items, {pieces} pieces moved",
        times.len(),
        at(500),
        at(990),
        at(999)
    );
}

fn client(address: SocketAddr, time: Duration, seed: u64) -> Vec<Duration> {
    let mut socket = TcpStream::connect(address).expect("the server listens");
    socket.set_nodelay(true).expect("a socket option");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (end, mut times, mut answer) = (Instant::now() + time, Vec::new(), vec![0; 1 << 20]);
    while Instant::now() < end {
        let n = loop {
            let n = rng.usize(0..KEYS);
            if len_of(n) <= 10_000 {
                break n;
            }
        };
        let start = Instant::now();
        socket.write_all(format!("get {:08}\r\n", n * 2).as_bytes()).expect("the server reads");
        let mut len = 0;
        while !answer[..len].ends_with(b"END\r\n") {
            len += socket.read(&mut answer[len..]).expect("the server answers");
        }
        times.push(start.elapsed());
    }
    times
}
