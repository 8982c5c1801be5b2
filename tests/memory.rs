//! What the daemon takes of the system's memory, seen from outside: the real binary, and the system's own figures.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const MB: u64 = 1 << 20;

/// A daemon on a port of the kernel's choice. Killed when dropped.
struct Daemon {
    child: Child,
    /// What it said up to and with the line that says where it listens.
    said: String,
    addr: SocketAddr,
}

impl Daemon {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slabd"));
        command.args(["-p", "-1", "-l", "127.0.0.1", "-t", "2"]).args(args).env_remove("RUST_LOG");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("listening on") {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "the daemon ended: {said}");
        }
        let addr = said.split("listening on ").nth(1).unwrap().split([',', ';']).next().unwrap().parse().unwrap();
        Self { child, said, addr }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Client(stream)
    }

    /// A row of the system's own report, in bytes.
    fn memory(&self, row: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(row)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    fn resident(&self) -> u64 {
        self.memory("VmRSS")
    }

    /// Waits until no more than this is resident.
    fn until_resident(&self, len_max: u64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.resident() > len_max {
            assert!(Instant::now() < deadline, "{} MB are still resident", self.resident() / MB);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself, which its clients have noticed by then.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

struct Client(TcpStream);

impl Client {
    fn say(&mut self, request: &[u8], answer: &[u8]) {
        self.0.write_all(request).unwrap();
        let mut said = vec![0; answer.len()];
        self.0.read_exact(&mut said).unwrap();
        assert_eq!(String::from_utf8_lossy(&said), String::from_utf8_lossy(answer));
    }

    /// A row of a report, which is a number.
    fn row(&mut self, report: &str, name: &str) -> u64 {
        self.0.write_all(format!("{report}\r\n").as_bytes()).unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"END\r\n") {
            let mut part = [0; 4096];
            let len = self.0.read(&mut part).unwrap();
            assert!(len > 0, "the daemon has gone");
            said.extend_from_slice(&part[..len]);
        }
        let said = String::from_utf8(said).unwrap();
        let row = said.lines().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '));
        row.unwrap().parse().unwrap()
    }

    /// Stores so many values of one length; what came before may go.
    fn fill(&mut self, from: usize, count: usize, len: usize) {
        let value = "x".repeat(len);
        for begin in (from..from + count).step_by(1000) {
            let set = |n: usize| format!("set key{n} 0 0 {len} noreply\r\n{value}\r\n");
            let batch: String = (begin..(begin + 1000).min(from + count)).map(set).collect();
            self.0.write_all(batch.as_bytes()).unwrap();
        }
        self.say(b"get none\r\n", b"END\r\n");
    }
}

/// Says that it is over, however it ends.
struct Done<'s>(&'s AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn memory_given_up_goes_back_to_the_system_and_memory_added_is_used() {
    let daemon = Daemon::start(&["-m", "128"]);
    let mut client = daemon.connect();
    client.fill(0, 200_000, 700);
    assert!(daemon.resident() > 120 * MB);
    client.say(b"cache_memlimit 16\r\n", b"OK\r\n");
    daemon.until_resident(40 * MB);
    client.fill(0, 200_000, 700);
    assert!(daemon.resident() < 40 * MB, "and does not come back");
    client.say(b"cache_memlimit 200\r\n", b"OK\r\n");
    client.fill(0, 400_000, 700);
    assert!(daemon.resident() > 190 * MB && daemon.resident() < 230 * MB, "{} MB", daemon.resident() / MB);
}

/// A class whose items had all expired kept its pages, with nothing in them, and others evicted what was alive.
#[test]
fn memory_of_what_has_expired_or_was_deleted_goes_to_who_needs_it_before_anything_alive_has_to_go() {
    let daemon = Daemon::start(&["-m", "32"]);
    let mut client = daemon.connect();
    let value = "x".repeat(1000);
    // Two of three die, a third of the others is deleted: no page is without something that lives.
    for n in 0..27_000 {
        let secs = if n % 3 == 0 { 0 } else { 1 };
        client.0.write_all(format!("set dies{n} 0 {secs} 1000 noreply\r\n{value}\r\n").as_bytes()).unwrap();
    }
    for n in (0..27_000).step_by(9) {
        client.0.write_all(format!("delete dies{n} noreply\r\n").as_bytes()).unwrap();
    }
    client.fill(0, 10_000, 100);
    let deadline = Instant::now() + Duration::from_secs(60);
    // 6000 of these have 6.5 MB.
    while client.row("stats slabs", "total_malloced") > 14 * MB {
        assert!(Instant::now() < deadline, "the memory is kept");
        std::thread::sleep(Duration::from_millis(100));
    }
    client.fill(0, 100_000, 100);
    assert_eq!(client.row("stats", "evictions"), 0);
    assert_eq!(client.row("stats", "curr_items"), 106_000);
}

#[test]
fn the_whole_process_stays_within_its_bound_whatever_it_is_full_of() {
    const BOUND: u64 = 96 * MB;
    const CONNECTIONS: usize = 2000;
    slabd::sys::process::allow_descriptors(CONNECTIONS as u64 + 200).unwrap();
    for half_sent in [4000, 20_000] {
        let daemon = Daemon::start(&["-m", "1024", "--memory-max", "96", "-c", "4000"]);
        assert!(daemon.said.contains("--memory-max: '96' leaves less for items"), "{}", daemon.said);
        let (done, most) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    most.fetch_max(daemon.resident(), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            let _done = Done(&done);
            let mut client = daemon.connect();
            // The index grows with many small items, then what is full of those is asked for large ones.
            client.fill(0, 600_000, 20);
            client.fill(0, 50_000, 3000);
            let mut others: Vec<Client> = (0..CONNECTIONS).map(|_| daemon.connect()).collect();
            for (n, other) in others.iter_mut().enumerate() {
                let part = "y".repeat(half_sent - 1);
                other.0.write_all(format!("set half{n} 0 0 {half_sent}\r\n{part}").as_bytes()).unwrap();
            }
            client.fill(0, 50_000, 3000);
            for other in &mut others {
                other.say(b"y\r\n", b"STORED\r\n");
            }
            drop(others);
            client.fill(0, 50_000, 3000);
        });
        let most = most.load(Ordering::Relaxed);
        println!("at most {} KB of {} KB were resident", most >> 10, BOUND >> 10);
        assert!(most > BOUND / 2 && most < BOUND + BOUND / 20, "{} MB", most / MB);
    }
}

/// Connections send that much of a get line and do not end it; what they were answered, and what was resident at most.
fn half_a_line_each(daemon: &Daemon, connections: usize, len: usize) -> (Vec<Client>, Vec<usize>, u64) {
    slabd::sys::process::allow_descriptors(connections as u64 + 200).unwrap();
    let mut line = b"get ".to_vec();
    while line.len() < len {
        line.extend(b"a key that is not there ");
    }
    let mut clients: Vec<Client> = (0..connections).map(|_| daemon.connect()).collect();
    let mut refused = Vec::new();
    for (n, client) in clients.iter_mut().enumerate() {
        // Once it has been refused it may be closed while it sends.
        let sent = client.0.write_all(&line[..len]);
        client.0.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut answer = Vec::new();
        let ended = client.0.read_to_end(&mut answer);
        if !answer.is_empty() {
            assert_eq!(String::from_utf8_lossy(&answer), "SERVER_ERROR out of memory reading request\r\n");
            refused.push(n);
        } else {
            assert!(sent.is_ok() && ended.is_err(), "it waits for the rest");
        }
    }
    (clients, refused, daemon.memory("VmHWM"))
}

#[test]
fn get_lines_that_do_not_end_stay_within_their_part_of_the_bound() {
    const CONNECTIONS: usize = 500;
    let daemon = Daemon::start(&["-m", "1024", "--memory-max", "96", "-c", "1000"]);
    let mut client = daemon.connect();
    client.fill(0, 50_000, 3000);
    let (mut clients, refused, most) = half_a_line_each(&daemon, CONNECTIONS, 1_000_000);
    println!("at most {} KB were resident, {} of {CONNECTIONS} were refused", most >> 10, refused.len());
    assert!(most < 101 * MB, "{} MB", most / MB);
    assert!((CONNECTIONS - 6..CONNECTIONS).contains(&refused.len()), "{}", refused.len());
    // Nobody else was: who had begun before is served when the line ends, and so is who asks for less.
    client.fill(0, 1000, 3000);
    let first = (0..CONNECTIONS).find(|n| !refused.contains(n)).unwrap();
    clients[first].0.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    clients[first].say(b"\r\n", b"END\r\n");
    let mut short = daemon.connect();
    let line = format!("get {}\r\n", "k ".repeat(6000));
    short.0.write_all(&line.as_bytes()[..11_000]).unwrap();
    short.0.write_all(&line.as_bytes()[11_000..]).unwrap();
    short.say(b"", b"END\r\n");
    // When they have gone, there is room again.
    drop(clients);
    std::thread::sleep(Duration::from_millis(100));
    let (mut clients, refused, _) = half_a_line_each(&daemon, 5, 1_000_000);
    assert_eq!(refused, []);
    clients[4].0.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    clients[4].say(b"\r\n", b"END\r\n");
    client.0.write_all(b"stats\r\n").unwrap();
    let mut rows = BufReader::new(client.0.try_clone().unwrap()).lines().map(Result::unwrap);
    let oom: usize = rows.find_map(|row| row.strip_prefix("STAT read_buf_oom ")?.parse().ok()).unwrap();
    assert!(oom >= CONNECTIONS - 6, "{oom}");
}

#[test]
fn without_a_bound_every_get_line_is_heard_out() {
    let daemon = Daemon::start(&["-m", "64"]);
    let (clients, refused, _) = half_a_line_each(&daemon, 10, 1_000_000);
    assert_eq!(refused, []);
    for mut client in clients {
        client.0.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        client.say(b"\r\n", b"END\r\n");
    }
}

#[test]
fn the_index_gives_its_memory_back_when_items_have_gone() {
    let daemon = Daemon::start(&["-m", "256"]);
    let mut client = daemon.connect();
    let rows = |client: &mut Client| -> (u64, u64) {
        client.0.write_all(b"stats\r\n").unwrap();
        let reader = BufReader::new(client.0.try_clone().unwrap());
        let rows: Vec<_> = reader.lines().map(Result::unwrap).take_while(|row| row != "END").collect();
        let row = |name: &str| rows.iter().find_map(|row| row.strip_prefix(name)?.trim().parse().ok()).unwrap();
        (row("STAT hash_bytes "), row("STAT hash_power_level "))
    };
    let least = rows(&mut client);
    client.fill(0, 1_000_000, 5);
    let (most, before) = (rows(&mut client), daemon.resident());
    assert!(most.0 > 10_000_000 && most.1 >= 17, "{most:?}");
    client.say(b"flush_all\r\n", b"OK\r\n");
    let deadline = Instant::now() + Duration::from_secs(120);
    while rows(&mut client) != least {
        assert!(Instant::now() < deadline, "{:?} of {most:?}", rows(&mut client));
        std::thread::sleep(Duration::from_millis(20));
    }
    // The pages of items stay, for others.
    daemon.until_resident(before - (most.0 - least.0) * 8 / 10);
    println!(
        "{} KB were resident, {} KB are; the index had {} KB",
        before >> 10,
        daemon.resident() >> 10,
        most.0 >> 10
    );
    client.fill(0, 200_000, 5);
    client.say(b"get key199999\r\n", b"VALUE key199999 0 5\r\nxxxxx\r\nEND\r\n");
}

#[test]
fn locked_memory_is_what_is_used_and_not_what_might_be() {
    let daemon = Daemon::start(&["-m", "256", "-k", "-u", "root"]);
    let mut client = daemon.connect();
    client.fill(0, 50_000, 700);
    assert!(daemon.resident() < 100 * MB, "room to grow is not resident");
    if daemon.said.contains("memory is not locked") {
        assert_eq!(daemon.memory("VmLck"), 0, "said, and true");
        return;
    }
    assert!(daemon.memory("VmLck") > 30 * MB);
    client.say(b"cache_memlimit 8\r\n", b"OK\r\n");
    daemon.until_resident(30 * MB);
}

#[test]
fn with_large_pages_all_memory_for_items_is_there_from_the_start() {
    if !slabd::sys::process::has_huge_pages() {
        let refused = Command::new(env!("CARGO_BIN_EXE_slabd")).args(["-p", "-1", "-L"]).output().unwrap();
        assert!(
            !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("-L/--enable-largepages")
        );
        return;
    }
    let daemon = Daemon::start(&["-m", "64", "-L"]);
    assert!(daemon.resident() >= 64 * MB && daemon.resident() < 90 * MB, "{} MB", daemon.resident() / MB);
    daemon.connect().say(b"cache_memlimit 32\r\n", b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n");
}
