//! Watchers over the wire: what they are told, and that nobody waits for them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::client::Client;
use common::oracle::Oracle;
use common::packet::Packet;
use common::server::Server;
use common::wire::{Received, Wire as _};
use slabd::limits::WATCHERS_MAX;
use std::io::Read;
use std::time::{Duration, Instant};

/// A client that watches.
struct Watcher {
    client: Client,
    /// Bytes of a line that has not come in full.
    rest: Vec<u8>,
}

impl Watcher {
    fn new(mut client: Client, kinds: &str) -> Self {
        client.exchange(format!("watch {kinds}\r\n").as_bytes(), b"OK\r\n");
        Self { client, rest: Vec::new() }
    }

    /// The next lines, as many as are asked for, without what is another each time: time, number.
    fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < count {
            if let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                lines.push(String::from_utf8(line).unwrap().trim_end().to_owned());
                continue;
            }
            assert_eq!(self.client.receive(&mut self.rest), Received::Bytes, "after {lines:#?}");
        }
        lines
    }

    fn events(&mut self, count: usize) -> Vec<String> {
        self.lines(count).into_iter().map(event).collect()
    }
}

/// A line without its time and number, which it must have.
fn event(line: String) -> String {
    let mut words = line.splitn(3, ' ');
    let (ts, gid) = (words.next().unwrap(), words.next().unwrap());
    let (secs, us) = ts.strip_prefix("ts=").and_then(|ts| ts.split_once('.')).unwrap_or_else(|| panic!("{line}"));
    assert!(secs.parse::<u64>().unwrap() > 1_600_000_000 && us.parse::<u32>().unwrap() < 1_000_000, "{line}");
    assert!(gid.strip_prefix("gid=").unwrap().parse::<u64>().unwrap() > 0, "{line}");
    words.next().unwrap().to_owned()
}

/// The descriptor is another on each side, the peer's port another each time; slabd's classes are its own. What is dead already has for
/// memcached a negative number of seconds left, in an unsigned word, by how long it has run.
fn comparable(event: &str) -> String {
    let words = event.split(' ').filter(|word| !["cfd=", "clsid=", "rport="].iter().any(|name| word.starts_with(name)));
    let is_past = |word: &str| {
        word.strip_prefix("ttl=").and_then(|ttl| ttl.parse::<u32>().ok()).is_some_and(|ttl| ttl.cast_signed() < 0)
    };
    words.map(|word| if is_past(word) { "ttl=PAST" } else { word }).collect::<Vec<_>>().join(" ")
}

/// Requests whose lines memcached 1.6.18 has as well, how many lines each has, and the last bytes of its answer.
const REQUESTS: [(&str, usize, &str); 38] = [
    ("get a\r\n", 1, "END\r\n"),
    ("set a 0 0 3\r\nabc\r\n", 2, "STORED\r\n"),
    ("set a 0 1000 3\r\nabc\r\n", 2, "STORED\r\n"),
    ("get a b\r\n", 2, "END\r\n"),
    ("gets a\r\n", 1, "END\r\n"),
    ("gat 0 a\r\n", 1, "END\r\n"),
    ("gat 0 zz\r\n", 1, "END\r\n"),
    ("touch a 0\r\n", 1, "\r\n"),
    ("touch zz 0\r\n", 1, "\r\n"),
    ("add a 0 0 1\r\nx\r\n", 2, "\r\n"),
    ("add n 5 0 1\r\nx\r\n", 2, "\r\n"),
    ("replace n 0 0 2\r\nyy\r\n", 2, "\r\n"),
    ("replace nn 0 0 1\r\ny\r\n", 2, "\r\n"),
    ("append a 0 0 1\r\nx\r\n", 2, "\r\n"),
    ("prepend a 0 0 1\r\nx\r\n", 2, "\r\n"),
    ("append zz 0 0 1\r\nx\r\n", 2, "\r\n"),
    ("cas a 0 0 1 1\r\nx\r\n", 2, "\r\n"),
    ("cas zz 0 0 1 1\r\nx\r\n", 2, "\r\n"),
    ("set i 0 0 1\r\n5\r\n", 2, "\r\n"),
    ("incr i 1\r\n", 1, "\r\n"),
    ("incr zz 1\r\n", 1, "\r\n"),
    ("delete i\r\n", 1, "\r\n"),
    ("delete zz\r\n", 1, "\r\n"),
    ("mg a v\r\n", 1, "\r\n"),
    ("ms a 2 T30\r\nxx\r\n", 2, "\r\n"),
    ("ms a 2 MA\r\nxx\r\n", 2, "\r\n"),
    ("md a I\r\n", 1, "\r\n"),
    ("md a\r\n", 1, "\r\n"),
    ("me n\r\n", 1, "\r\n"),
    ("set k\u{1}%\"=z 0 0 0\r\n\r\n", 2, "\r\n"),
    ("set past 0 -1 1\r\nx\r\n", 2, "\r\n"),
    ("set older 0 1000000000 1\r\nx\r\n", 2, "\r\n"),
    ("ms gone 1 T-1\r\nx\r\n", 2, "\r\n"),
    ("set a 0 50 1\r\nx\r\n", 2, "\r\n"),
    ("add a 0 70 1\r\nx\r\n", 2, "\r\n"),
    ("add a 0 -1 1\r\nx\r\n", 2, "\r\n"),
    ("append zz 0 80 1\r\nx\r\n", 2, "\r\n"),
    ("cas a 0 -1 1 1\r\nx\r\n", 2, "\r\n"),
];

fn told_of_requests(addr: std::net::SocketAddr) -> Vec<String> {
    let mut watcher = Watcher::new(Client::connect(addr), "fetchers mutations connevents");
    let mut client = Client::connect(addr);
    let mut told = watcher.events(1);
    for (request, count, end) in REQUESTS {
        client.ask(request.as_bytes(), end.as_bytes());
        told.extend(watcher.events(count));
    }
    client.exchange(b"quit\r\n", b"");
    told.extend(watcher.events(1));
    told
}

#[test]
fn lines_are_those_of_memcached() {
    let server = Server::start(1);
    let ours = told_of_requests(server.addr);
    assert!(
        ours[0].starts_with("type=conn_new rip=127.0.0.1 rport=") && ours[0].contains(" transport=tcp cfd="),
        "{}",
        ours[0]
    );
    let store = ours.iter().find(|line| line.contains("type=item_store")).unwrap();
    assert!(
        store.starts_with("type=item_store key=a status=stored cmd=set ttl=0 clsid=1 cfd=")
            && store.ends_with(" size=3")
    );
    assert!(ours.last().unwrap().ends_with(&format!(" reason=normal cfd={}", ours[0].rsplit('=').next().unwrap())));
    let Some(oracle) = Oracle::start(&["-t", "1"]) else {
        return;
    };
    let theirs = told_of_requests(oracle.addr);
    let [ours, theirs] = [ours, theirs].map(|lines| lines.iter().map(|line| comparable(line)).collect::<Vec<_>>());
    assert_eq!(ours, theirs);
}

/// Whichever way it comes: with its line, or received by itself.
#[test]
fn for_ever_is_told_apart_from_dead_already() {
    let server = Server::start(1);
    let mut watcher = Watcher::new(server.connect(), "mutations");
    let mut client = server.connect();
    for len in [1, 100_000] {
        for (exptime, ttl) in [("0", 0), ("-1", u32::MAX), ("1000000000", u32::MAX), ("100", 100)] {
            for (verb, answer, status) in [("set", "STORED\r\n", "stored"), ("replace", "NOT_STORED\r\n", "not_stored")]
            {
                let key = format!("{verb}{len}/{exptime}").replace(['/', '-'], "_");
                let value = "x".repeat(len);
                let request = format!("{verb} {key} 0 {exptime} {len}\r\n{value}\r\n");
                client.exchange(request.as_bytes(), answer.as_bytes());
                let line = watcher.events(1).remove(0);
                let words =
                    [format!("key={key}"), format!("status={status}"), format!("cmd={verb}"), format!("ttl={ttl}")];
                assert!(line.starts_with(&format!("type=item_store {} clsid=", words.join(" "))), "{line}");
            }
        }
    }
}

#[test]
fn evictions_are_told_as_memcached_does() {
    let server = Server::start_with(|settings| settings.memory_len = 8 << 20);
    let mut watcher = Watcher::new(server.connect(), "evictions");
    let mut client = server.connect();
    let value = "x".repeat(8000);
    for n in 0..1200 {
        client.exchange(format!("set k{n} 0 500 8000\r\n{value}\r\n").as_bytes(), b"STORED\r\n");
    }
    for line in watcher.events(100) {
        assert!(line.starts_with("type=eviction key=k"), "{line}");
        let rest = line.split_once(" fetch=").unwrap().1;
        assert!(rest.starts_with("no ttl=500 la=0 clsid=") && rest.ends_with(" size=8000"), "{line}");
    }
}

#[test]
fn what_memcached_1_6_18_has_no_lines_for_is_told_too() {
    let server = Server::start(1);
    let mut deletions = Watcher::new(server.connect(), "deletions");
    let mut raw = Watcher::new(server.connect(), "rawcmds");
    let mut client = server.connect();
    client.exchange(b"set a 0 0 3\r\nabc\r\nset b 0 0 0\r\n\r\n", b"STORED\r\nSTORED\r\n");
    client.exchange(
        b"delete zz\r\nmd zz\r\nmd a I\r\ndelete a\r\nmd b\r\n",
        b"NOT_FOUND\r\nNF\r\nHD\r\nDELETED\r\nHD\r\n",
    );
    assert_eq!(
        deletions.events(2),
        ["type=deleted key=a cmd=delete clsid=1 size=3", "type=deleted key=b cmd=md clsid=1 size=0"]
    );
    client.exchange(b"get a b\r\nversion x\r\n", b"END\r\nVERSION 1.6.45-slabd-0.1.0\r\n");
    let large = format!("set large 0 0 100000\r\n{}\r\n", "get not\r\n".repeat(20_000).get(..100_000).unwrap());
    client.send(large.as_bytes());
    client.ask(b"mn\r\n", b"MN\r\n");
    let lines: Vec<String> =
        raw.events(11).iter().map(|line| line.split_once(" line=").unwrap().1.replace("%20", " ")).collect();
    let want = [
        "set a 0 0 3",
        "set b 0 0 0",
        "delete zz",
        "md zz",
        "md a I",
        "delete a",
        "md b",
        "get a b",
        "version x",
        "set large 0 0 100000",
        "mn",
    ];
    assert_eq!(lines, want);
    // Everything once more, for who comes by binary and has odd keys.
    let mut all = Watcher::new(server.connect(), "fetchers mutations deletions");
    let mut binary = server.connect();
    let mut answer = [0; 24];
    for packet in [Packet::new(1, &[0; 8], b"x y\n\0", b"v"), Packet::new(4, b"", b"x y\n\0", b"")] {
        binary.send(&packet.request());
        binary.stream().read_exact(&mut answer).unwrap();
    }
    let told: Vec<String> = all.events(4).iter().map(|line| comparable(line)).collect();
    let key = "key=x%20y%0A%00";
    assert_eq!(
        told,
        [
            format!("type=item_get {key} status=not_found size=0"),
            format!("type=item_store {key} status=stored cmd=set ttl=0 size=1"),
            format!("type=item_get {key} status=found size=1"),
            format!("type=deleted {key} cmd=delete size=1"),
        ]
    );
}

#[test]
fn refused_stores_and_moved_pages_are_told() {
    let server = Server::start_with(|settings| settings.memory_len = 16 << 20);
    let mut watcher = Watcher::new(server.connect(), "mutations sysevents");
    let mut client = server.connect();
    let large = format!("set big 0 0 2000000\r\n{}\r\n", "x".repeat(2_000_000));
    client.exchange(large.as_bytes(), b"SERVER_ERROR object too large for cache\r\n");
    assert_eq!(
        comparable(&watcher.events(1)[0]),
        "type=item_store key=big status=too_large cmd=set ttl=0 size=2000000"
    );
    let value = "x".repeat(500);
    let sets: String = (0..5000).map(|n| format!("set k{n} 0 0 500 noreply\r\n{value}\r\n")).collect();
    client.exchange(format!("{sets}mn\r\n").as_bytes(), b"MN\r\n");
    let me = String::from_utf8(client.ask(b"me k0\r\n", b"\r\n")).unwrap();
    let class: u32 = me.split("cls=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    client.exchange(format!("slabs reassign {class} 1\r\n").as_bytes(), b"OK\r\n");
    loop {
        let line = watcher.lines(1).remove(0);
        if line.contains("type=slab_move") {
            assert_eq!(event(line), format!("type=slab_move src={class} dst=1"));
            break;
        }
    }
}

#[test]
fn who_watches_says_nothing_more_and_goes_when_it_hangs_up() {
    let server = Server::start(2);
    let mut client = server.connect();
    let log_watchers = |client: &mut Client| {
        let stats = String::from_utf8(client.ask(b"stats\r\n", b"END\r\n")).unwrap();
        stats.split("STAT log_watchers ").nth(1).unwrap().split('\r').next().unwrap().parse::<usize>().unwrap()
    };
    for (request, answer) in [
        ("watch x", "ERROR"),
        ("watch fetchers x", "ERROR"),
        ("watch Fetchers", "ERROR"),
        ("watch fetchers,mutations", "ERROR"),
    ] {
        client.exchange(format!("{request}\r\n").as_bytes(), format!("{answer}\r\n").as_bytes());
    }
    let mut watcher = server.connect();
    watcher.exchange(b"watch\r\nversion\r\nset a 0 0 5\r\nhello\r\n", b"OK\r\n");
    watcher.send(b"quit\r\nwatch mutations\r\nget b\r\n");
    watcher.send(&b"x".repeat(3_000_000));
    let mut watcher = Watcher { client: watcher, rest: Vec::new() };
    client.exchange(b"get a\r\n", b"END\r\n");
    assert_eq!(comparable(&watcher.events(1)[0]), "type=item_get key=a status=not_found size=0");
    assert_eq!(log_watchers(&mut client), 1);
    watcher.client.finish();
    watcher.client.rest();
    assert_eq!(log_watchers(&mut client), 0);
}

#[test]
fn twenty_may_watch_and_the_hundredth_may_not() {
    let server = Server::start(2);
    let mut watchers = Vec::new();
    for n in 0..100 {
        let mut client = server.connect();
        if n < WATCHERS_MAX {
            watchers.push(Watcher::new(client, "fetchers"));
        } else {
            client.exchange(b"watch fetchers\r\n", b"WATCHER_TOO_MANY log watcher limit reached\r\n");
            client.exchange(b"get a\r\n", b"END\r\n");
        }
    }
    let rounds = 100 - WATCHERS_MAX;
    for watcher in &mut watchers {
        let lines = watcher.lines(rounds);
        let gids: Vec<u64> = lines
            .iter()
            .map(|line| line.split("gid=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(gids.is_sorted(), "{gids:?}");
    }
    watchers.pop();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut client = server.connect();
        client.send(b"watch\r\n");
        let mut answer = Vec::new();
        client.receive(&mut answer);
        if answer == b"OK\r\n" {
            break;
        }
        assert!(Instant::now() < deadline, "the place of one who has gone stays taken");
    }
}

/// It loses lines, is told how many, and nobody waits for it.
#[test]
fn a_watcher_that_stops_reading_loses_lines_and_they_are_counted() {
    let server = Server::start_with(|settings| {
        settings.logs = slabd::events::LogLens { worker: 16 << 10, watcher: 32 << 10 };
    });
    let mut watcher = Watcher::new(server.connect(), "fetchers");
    let mut client = server.connect();
    let gets = "get a-key-that-is-not-there\r\n".repeat(1000);
    let ends = "END\r\n".repeat(1000);
    let begun = Instant::now();
    // Far more than sockets hold.
    let rounds = 400;
    for _ in 0..rounds {
        client.exchange(gets.as_bytes(), ends.as_bytes());
    }
    println!("{rounds}000 gets took {:?}", begun.elapsed());
    let stat = |stats: &str, name: &str| -> u64 {
        stats.split(&format!("STAT {name} ")).nth(1).unwrap().split('\r').next().unwrap().parse().unwrap()
    };
    let stats = String::from_utf8(client.ask(b"stats\r\n", b"END\r\n")).unwrap();
    let (dropped, written) = (stat(&stats, "log_worker_dropped"), stat(&stats, "log_worker_written"));
    assert_eq!(dropped + written, rounds * 1000);
    assert!(dropped > 0, "{stats}");
    // Now it reads on, and is told of what it missed before what comes next.
    let (mut told, mut skipped) = (0, 0);
    client.exchange(b"set last 0 0 1\r\nx\r\n", b"STORED\r\n");
    loop {
        for line in watcher.lines(1) {
            match line.strip_prefix("skipped=") {
                Some(count) => skipped += count.parse::<u64>().unwrap(),
                None => told += 1,
            }
            if line.contains("key=last ") {
                let (set, all) = (told, told + skipped);
                assert!(all >= rounds * 1000 && set > 0 && skipped > 0, "{told} told, {skipped} skipped");
                let stats = String::from_utf8(client.ask(b"stats\r\n", b"END\r\n")).unwrap();
                let lost = stat(&stats, "log_worker_dropped") + stat(&stats, "log_watcher_skipped");
                assert_eq!(skipped, lost, "{told} told");
                return;
            }
        }
        // There may have been no room for the last one yet.
        client.exchange(b"get last\r\n", b"VALUE last 0 1\r\nx\r\nEND\r\n");
    }
}

/// All of it was put into words in one turn, a second's work for the longest logs; and what found no room in lines was lost.
#[test]
fn what_a_long_log_holds_is_told_a_part_each_turn_and_the_others_are_served_between() {
    let server = Server::start_with(|settings| {
        settings.threads = 1;
        settings.logs = slabd::events::LogLens { worker: 8 << 20, watcher: 4 << 20 };
    });
    let mut watcher = Watcher::new(server.connect(), "fetchers");
    let mut client = server.connect();
    let stats = |client: &mut Client| {
        let stats = String::from_utf8(client.ask(b"stats\r\n", b"END\r\n")).unwrap();
        ["log_worker_written", "log_worker_dropped", "log_watcher_sent", "log_watcher_skipped"].map(|name| {
            let value = stats.split(&format!("STAT {name} ")).nth(1).unwrap();
            value.split('\r').next().unwrap().parse::<u64>().unwrap()
        })
    };
    let gets = "get a-key-that-is-not-there\r\n".repeat(1000);
    let ends = "END\r\n".repeat(1000);
    // Until sockets, lines and the log are full.
    while stats(&mut client)[1] == 0 {
        client.exchange(gets.as_bytes(), ends.as_bytes());
    }
    let [written, dropped, sent_before, _] = stats(&mut client);
    assert!(written - sent_before > 50_000, "{sent_before} of {written}");
    let reader = std::thread::spawn(move || {
        let (mut told, mut missed) = (0, 0);
        while told < written || missed < dropped {
            match watcher.lines(1)[0].strip_prefix("skipped=") {
                Some(count) => missed += count.parse::<u64>().unwrap(),
                None => told += 1,
            }
        }
        (told, missed)
    });
    let (mut steps, mut longest, mut sent) = (0, Duration::ZERO, sent_before);
    while !reader.is_finished() {
        let begun = Instant::now();
        let [_, _, now, skipped] = stats(&mut client);
        longest = longest.max(begun.elapsed());
        assert_eq!(skipped, 0, "a watcher that reads misses lines that were noted");
        steps += u32::from(now != sent);
        sent = now;
        // What was lost is told before the next line.
        client.exchange(b"get a\r\n", b"END\r\n");
    }
    println!("{} lines in {steps} steps, another client waited {longest:?} at most", sent - sent_before);
    assert!(steps > 3, "{steps} steps");
    let (told, missed) = reader.join().unwrap();
    let [_, dropped, ..] = stats(&mut client);
    assert!(told >= written && missed == dropped, "{told} of {written} told, {missed} of {dropped} missed");
}

#[test]
fn a_watcher_that_reads_is_not_idle() {
    let server = Server::start_with(|settings| settings.idle_timeout = Some(Duration::from_secs(10)));
    let mut watcher = Watcher::new(server.connect(), "fetchers");
    for _ in 0..5 {
        // Time for the worker to look after it, by the system's clock.
        std::thread::sleep(Duration::from_millis(100));
        server.clock.advance(5000);
    }
    server.connect().exchange(b"get a\r\n", b"END\r\n");
    assert!(watcher.events(1)[0].starts_with("type=item_get key=a "));
}

/// A batch that is cut because answers are long was told again from where it was cut.
#[test]
fn a_line_is_told_once_however_long_its_answer_is() {
    let server = Server::start(1);
    let mut client = server.connect();
    client.send(&[&b"set big 0 0 500000\r\n"[..], &vec![b'v'; 500_000], b"\r\n"].concat());
    client.exchange(b"", b"STORED\r\n");
    let mut watcher = server.connect();
    watcher.exchange(b"watch rawcmds\r\n", b"OK\r\n");
    let asked: Vec<String> = (0..20).map(|number| format!("mg big v O{number}")).collect();
    client.send(asked.iter().map(|line| format!("{line}\r\n")).collect::<String>().as_bytes());
    let mut answers = Vec::new();
    while answers.len() < 20 * 500_000 {
        answers = [answers, client.ask(b"", b"\r\n")].concat();
    }
    client.send(&b"stats settings\r\n".repeat(40));
    client.send(b"mn\r\n");
    client.ask(b"", b"MN\r\n");
    let mut told = Vec::new();
    while !told.ends_with(b"mn\n") {
        told = [told, watcher.ask(b"", b"\n")].concat();
    }
    let told = String::from_utf8(told).unwrap();
    let lines: Vec<&str> = told.lines().filter_map(|line| line.split_once("line=")).map(|(_, line)| line).collect();
    assert_eq!(lines.len(), 61, "{told}");
}
