//! Dumps over the wire: what they tell, what they leave alone, and who waits for whom.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::client::Client;
use common::packet::Packet;
use common::server::{Server, settings};
use common::wire::Wire as _;
use slabd::clock::Clock;
use slabd::settings::Settings;
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const METADUMP: &[u8] = b"lru_crawler metadump all\r\n";
const BUSY: &[u8] = b"BUSY currently processing crawler request\r\n";

/// Keys of a metadump's lines, as they are escaped.
fn keys(dump: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(dump).expect("a dump is text");
    let body = text.strip_prefix("OK\r\n").unwrap().strip_suffix("END\r\n").unwrap();
    body.lines().map(|line| line.strip_prefix("key=").unwrap().split(' ').next().unwrap().to_owned()).collect()
}

/// Stores `count` values of `value_len` bytes under `<prefix><number>`.
fn fill(client: &mut Client, prefix: &str, count: usize, value_len: usize) {
    let value = "x".repeat(value_len);
    for numbers in (0..count).collect::<Vec<_>>().chunks(500) {
        let sets: String =
            numbers.iter().map(|n| format!("set {prefix}{n} 0 0 {value_len} noreply\r\n{value}\r\n")).collect();
        client.exchange(format!("{sets}mn\r\n").as_bytes(), b"MN\r\n");
    }
}

#[test]
fn a_line_tells_all_that_is_known_of_an_item() {
    let server = Server::start(1);
    let mut client = server.connect();
    client.exchange(
        b"set a 7 0 3\r\nabc\r\nset user:1 0 100 2\r\nhi\r\nget a\r\n",
        b"STORED\r\nSTORED\r\nVALUE a 7 3\r\nabc\r\nEND\r\n",
    );
    server.clock.advance(5000);
    let now = server.clock.now().unix_secs;
    let dump = String::from_utf8(client.ask(METADUMP, b"END\r\n")).unwrap();
    let line = |key: &str| dump.lines().find(|line| line.starts_with(&format!("key={key} "))).unwrap().to_owned();
    let (a, b) = (line("a"), line("user%3A1"));
    assert!(a.contains(" exp=-1 la=") && a.contains(" fetch=yes cls=") && a.ends_with(" flags=7 "), "{a}");
    assert!(b.contains(" fetch=no cls=") && b.ends_with(" flags=0 "), "{b}");
    let number = |line: &str, name: &str| -> u64 {
        line.split(&format!(" {name}=")).nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    };
    assert!(number(&b, "exp").abs_diff(now + 95) <= 1 && number(&b, "la").abs_diff(now - 5) <= 1, "{b} at {now}");
    // CAS numbers and sizes are those that other commands tell.
    let gets = String::from_utf8(client.ask(b"gets a\r\n", b"END\r\n")).unwrap();
    assert_eq!(gets.lines().next().unwrap(), format!("VALUE a 7 3 {}", number(&a, "cas")));
    let me = String::from_utf8(client.ask(b"me a\r\n", b"\r\n")).unwrap();
    assert!(me.contains(&format!("cls={} size={}", number(&a, "cls"), number(&a, "size"))), "{me} {a}");
    // The same moment is told the same way whenever it is asked for.
    for _ in 0..8 {
        server.clock.advance(250);
        let again = String::from_utf8(client.ask(METADUMP, b"END\r\n")).unwrap();
        assert!(again.contains(&b), "{again}");
    }
    let keys_of = client.ask(b"lru_crawler mgdump all\r\n", b"EN\r\n");
    assert!(keys_of == b"OK\r\nmg a\r\nmg user:1\r\nEN\r\n" || keys_of == b"OK\r\nmg user:1\r\nmg a\r\nEN\r\n");
    // Only those of a class; and dead ones not at all.
    let class = number(&a, "cls");
    let of_class = client.ask(format!("lru_crawler metadump {class}\r\n").as_bytes(), b"END\r\n");
    assert!(keys(&of_class).contains(&"a".to_owned()));
    client.exchange(format!("lru_crawler metadump {}\r\n", class + 30).as_bytes(), b"OK\r\nEND\r\n");
    server.clock.advance(100_000);
    assert_eq!(keys(&client.ask(METADUMP, b"END\r\n")), ["a"]);
    client.exchange(b"flush_all\r\nlru_crawler metadump hash\r\n", b"OK\r\nOK\r\nEND\r\n");
}

#[test]
fn any_bytes_in_a_key_are_one_word_of_a_line_and_lead_back_to_the_item() {
    let server = Server::start(1);
    let mut client = server.connect();
    let nasty: [&[u8]; 5] = [b"a b", b"line\r\nkey=forged exp=-1", b"\0", &[0xff; 250], b"%41\t\x7f"];
    for key in nasty {
        let set = Packet::new(1, &[0; 8], key, b"v");
        let mut binary = server.connect();
        binary.send(&set.request());
        let mut answer = [0; 24];
        binary.stream().read_exact(&mut answer).unwrap();
        assert_eq!((answer[0], answer[7]), (0x81, 0));
    }
    let dump = client.ask(METADUMP, b"END\r\n");
    assert!(dump.iter().all(|&byte| byte.is_ascii_graphic() || b" \r\n".contains(&byte)));
    let unescape = |key: &str| {
        let mut bytes = Vec::new();
        let mut rest = key.bytes();
        while let Some(byte) = rest.next() {
            let mut hex = || char::from(rest.next().unwrap()).to_digit(16).unwrap();
            bytes.push(if byte == b'%' { u8::try_from(hex() * 16 + hex()).unwrap() } else { byte });
        }
        bytes
    };
    let told: HashSet<Vec<u8>> = keys(&dump).iter().map(|key| unescape(key)).collect();
    assert_eq!(told, nasty.iter().map(|key| key.to_vec()).collect());
    // What mgdump says can be said as it is, and every one is a hit.
    let commands = client.ask(b"lru_crawler mgdump all\r\n", b"EN\r\n");
    let commands: Vec<&[u8]> =
        commands.split_inclusive(|&b| b == b'\n').filter(|line| line.starts_with(b"mg ")).collect();
    assert_eq!(commands.len(), nasty.len());
    for command in commands {
        client.exchange(command, b"HD\r\n");
    }
    let mut listed = Vec::new();
    for class in 1..60 {
        let list = client.ask(format!("stats cachedump {class} 0\r\n").as_bytes(), b"END\r\n");
        assert!(list.iter().all(|&byte| byte >= 0x80 || byte.is_ascii_graphic() || b" \r\n".contains(&byte)));
        listed.extend(list.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"ITEM ")).map(<[u8]>::to_vec));
    }
    assert_eq!(listed.len(), nasty.len());
    assert!(listed.iter().all(|line| line.ends_with(b" [1 b; 0 s]\r")));
}

#[test]
fn what_is_refused_is_refused_in_memcacheds_words() {
    let server = Server::start(1);
    let mut client = server.connect();
    let (bad_class, error) = (&b"BADCLASS invalid class id\r\n"[..], &b"ERROR\r\n"[..]);
    for (request, answer) in [
        (&b"lru_crawler metadump\r\n"[..], error),
        (b"lru_crawler metadump all all\r\n", error),
        (b"lru_crawler mgdump\r\n", error),
        (b"lru_crawler metadump x\r\n", bad_class),
        (b"lru_crawler metadump 0\r\n", bad_class),
        (b"lru_crawler mgdump 1,200\r\n", bad_class),
        (b"lru_crawler metadump 99999999999999999999\r\n", bad_class),
        (b"lru_crawler metadump -1\r\n", bad_class),
        (b"lru_crawler metadump ,\r\n", b"NOTSTARTED no items to crawl\r\n"),
        (b"stats cachedump\r\n", b"CLIENT_ERROR bad command line\r\n"),
        (b"stats cachedump 1\r\n", b"CLIENT_ERROR bad command line\r\n"),
        (b"stats cachedump x 1\r\n", b"CLIENT_ERROR bad command line format\r\n"),
        (b"stats cachedump 1 -1\r\n", b"CLIENT_ERROR bad command line format\r\n"),
        (b"stats cachedump 200 1\r\n", b"CLIENT_ERROR Illegal slab id\r\n"),
        (b"stats cachedump 4294967297 1\r\n", b"CLIENT_ERROR bad command line format\r\n"),
        (b"stats cachedump 0 1\r\n", b"END\r\n"),
        (b"shutdown\r\n", b"SERVER_ERROR: shutdown not enabled\r\n"),
        (b"shutdown graceful\r\n", b"SERVER_ERROR: shutdown not enabled\r\n"),
    ] {
        client.exchange(request, answer);
    }
    client.exchange(
        b"lru_crawler disable\r\nlru_crawler metadump all\r\n",
        b"OK\r\nCLIENT_ERROR lru crawler disabled\r\n",
    );
    let server = Server::start_with(|settings| {
        (settings.dumps, settings.flush, settings.watch) = (false, false, false);
    });
    let mut client = server.connect();
    for (request, answer) in [
        (&b"lru_crawler metadump all\r\n"[..], &b"ERROR metadump not allowed\r\n"[..]),
        (b"lru_crawler mgdump all\r\n", b"ERROR key dump not allowed\r\n"),
        (b"stats cachedump 1 0\r\n", b"CLIENT_ERROR stats cachedump not allowed\r\n"),
        (b"flush_all\r\n", b"CLIENT_ERROR flush_all not allowed\r\n"),
        (b"flush_all noreply\r\nversion\r\n", b"VERSION"),
    ] {
        client.exchange(request, answer);
    }
    let mut client = server.connect();
    client.exchange(b"watch\r\n", b"CLIENT_ERROR watch commands not allowed\r\n");
    let settings = String::from_utf8(client.ask(b"stats settings\r\n", b"END\r\n")).unwrap();
    assert!(settings.contains("STAT flush_enabled no\r\nSTAT dump_enabled no\r\n"), "{settings}");
}

#[test]
fn what_is_said_behind_a_dump_is_answered_behind_it() {
    let server = Server::start(1);
    let mut client = server.connect();
    fill(&mut client, "k", 20_000, 1);
    client.send(b"version\r\nlru_crawler metadump all\r\nget k7\r\nlru_crawler mgdump all\r\nmn\r\n");
    let answer = client.ask(b"", b"MN\r\n");
    let text = String::from_utf8(answer).unwrap();
    let (version, rest) = text.split_once("OK\r\n").unwrap();
    let (dump, rest) = rest.split_once("END\r\nVALUE k7 0 1\r\nx\r\nEND\r\nOK\r\n").unwrap();
    let (mgs, end) = rest.split_once("EN\r\n").unwrap();
    assert!(version.starts_with("VERSION") && end == "MN\r\n");
    assert_eq!((dump.lines().count(), mgs.lines().count()), (20_000, 20_000));
}

/// The index grows from 4096 buckets to a hundred times as many, and pages are moved, while the dump stands still every so often.
#[test]
fn what_is_there_all_the_time_is_told_once_whatever_else_happens() {
    let server = Server::start_with(|settings| {
        (settings.threads, settings.memory_len) = (2, 256 << 20);
    });
    let mut client = server.connect();
    fill(&mut client, "old", 30_000, 30);
    fill(&mut client, "large", 40, 100_000);
    let mut dumper = server.connect();
    dumper.send(METADUMP);
    let stop = AtomicBool::new(false);
    let dump = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut busy = server.connect();
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) && round < 15 {
                fill(&mut busy, &format!("new{round}-"), 20_000, 10 + round % 7);
                busy.send(b"slabs reassign 1 2\r\n");
                busy.ask(b"", b"\r\n");
                round += 1;
            }
        });
        let mut dump = Vec::new();
        let mut stream = dumper.stream();
        let mut piece = vec![0; 1 << 16];
        let mut pieces = 0;
        while !dump.ends_with(b"END\r\n") {
            let len = stream.read(&mut piece).unwrap();
            assert!(len > 0, "closed in the midst of a dump");
            dump.extend_from_slice(&piece[..len]);
            pieces += 1;
            if pieces % 10 == 0 && pieces < 300 {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        stop.store(true, Ordering::Relaxed);
        dump
    });
    let mut times: HashMap<String, u32> = HashMap::new();
    for key in keys(&dump) {
        *times.entry(key).or_default() += 1;
    }
    assert!(times.values().all(|&count| count == 1), "told more than once");
    let missed = (0..30_000).map(|n| format!("old{n}")).chain((0..40).map(|n| format!("large{n}")));
    assert_eq!(missed.filter(|key| !times.contains_key(key)).count(), 0, "missed");
}

#[test]
fn evictions_during_a_dump_do_no_harm() {
    let server = Server::start_with(|settings| settings.memory_len = 8 << 20);
    let mut client = server.connect();
    fill(&mut client, "k", 100_000, 10);
    let mut dumper = server.connect();
    dumper.send(METADUMP);
    fill(&mut client, "n", 200_000, 10);
    fill(&mut client, "large", 30, 300_000);
    let dump = dumper.ask(b"", b"END\r\n");
    let told = keys(&dump);
    assert!(!told.is_empty() && told.iter().collect::<HashSet<_>>().len() == told.len());
}

#[test]
fn one_dump_at_a_time_and_one_that_stands_still_gives_way() {
    let server = Server::start(2);
    let mut client = server.connect();
    // More than sockets hold.
    fill(&mut client, &"k".repeat(240), 60_000, 1);
    let mut first = server.connect();
    first.send(METADUMP);
    first.stream().read_exact(&mut [0; 1000]).unwrap();
    let mut second = server.connect();
    for request in [METADUMP, b"lru_crawler mgdump all\r\n", b"lru_crawler crawl all\r\n"] {
        second.exchange(request, BUSY);
    }
    server.clock.advance(31_000);
    let dump = second.ask(METADUMP, b"END\r\n");
    assert_eq!(keys(&dump).len(), 60_000);
    // The first one ends when it would go on.
    let rest = first.rest();
    assert!(!rest.ends_with(b"END\r\n") && rest.len() < dump.len());
    // And one that is gone keeps nobody waiting.
    let mut third = server.connect();
    third.send(METADUMP);
    third.stream().read_exact(&mut [0; 1000]).unwrap();
    second.exchange(METADUMP, BUSY);
    drop(third);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        second.send(b"lru_crawler metadump 62\r\n");
        if second.ask(b"", b"\r\n") != BUSY {
            break;
        }
        assert!(Instant::now() < deadline, "a dump whose client has gone goes on for ever");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_reader_that_stops_holds_up_its_own_dump_and_nobody_else() {
    let server = Server::start(1);
    let mut client = server.connect();
    fill(&mut client, &"k".repeat(240), 60_000, 1);
    let mut stopped = server.connect();
    stopped.send(METADUMP);
    stopped.stream().read_exact(&mut [0; 1000]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let written = |client: &mut Client| -> u64 {
        let stats = String::from_utf8(client.ask(b"stats\r\n", b"END\r\n")).unwrap();
        stats.split("STAT bytes_written ").nth(1).unwrap().split('\r').next().unwrap().parse().unwrap()
    };
    let before = written(&mut client);
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    for _ in 0..2000 {
        let begun = Instant::now();
        client.exchange(b"get nothing\r\n", b"END\r\n");
        slowest = slowest.max(begun.elapsed());
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "2000 requests took {:?}", begun.elapsed());
    assert!(written(&mut client) - before < 200_000, "the dump goes on though nobody reads");
    println!("slowest {slowest:?}");
    // It is all there when it is wanted.
    let rest = stopped.ask(b"", b"END\r\n");
    assert!(rest.len() > 60_000 * 240 / 2);
}

#[test]
fn a_list_of_a_class_has_its_limits_and_large_items_once() {
    let server = Server::start(1);
    let mut client = server.connect();
    fill(&mut client, &"k".repeat(200), 30_000, 1);
    fill(&mut client, "large", 5, 900_000);
    let class_of = |client: &mut Client, key: &str| -> u32 {
        let me = String::from_utf8(client.ask(format!("me {key}\r\n").as_bytes(), b"\r\n")).unwrap();
        me.split("cls=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    };
    let small = class_of(&mut client, &format!("{}7", "k".repeat(200)));
    let large = class_of(&mut client, "large0");
    let list = |client: &mut Client, class: u32, limit: u32| {
        let list = client.ask(format!("stats cachedump {class} {limit}\r\n").as_bytes(), b"END\r\n");
        assert!(list.len() <= 2 << 20, "{} bytes", list.len());
        let text = String::from_utf8(list).unwrap();
        let items: Vec<String> = text.lines().filter(|line| line.starts_with("ITEM ")).map(str::to_owned).collect();
        assert_eq!(items.len() + 1, text.lines().count());
        items
    };
    assert_eq!(list(&mut client, small, 10).len(), 10);
    let all = list(&mut client, small, 0);
    assert!((2 << 20) / 300 < all.len() && all.len() < 30_000, "as many as fit: {}", all.len());
    let mut larges = list(&mut client, large, 0);
    larges.sort();
    let want: Vec<String> = (0..5).map(|n| format!("ITEM large{n} [900000 b; 0 s]")).collect();
    assert_eq!(larges, want);
    client.exchange(b"stats cachedump 40 0\r\n", b"END\r\n");
}

/// What Debian's memcached package brings along: run where it is installed.
#[test]
fn memcached_tool_dumps_and_lists() {
    let script = "/usr/share/memcached/scripts/memcached-tool";
    if !std::path::Path::new(script).exists() {
        eprintln!("there is no memcached-tool here: not run");
        return;
    }
    let server = Server::start(1);
    let mut client = server.connect();
    client.exchange(b"set a:b 5 0 3\r\nabc\r\nset c 0 1000 2\r\nhi\r\n", b"STORED\r\nSTORED\r\n");
    let run = |mode: &str| {
        let output =
            std::process::Command::new("perl").args([script, &server.addr.to_string(), mode]).output().unwrap();
        assert!(output.status.success(), "{mode}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let dump = run("dump");
    assert!(dump.contains("add a:b 5 0 3\r\nabc\r\n") && dump.contains("hi\r\n"), "{dump}");
    let keys = run("keys");
    assert!(keys.contains("key=a%3Ab ") && keys.contains("key=c "), "{keys}");
}

#[test]
fn over_udp_there_are_no_dumps_and_no_watchers() {
    let settings = Settings { udp: vec!["127.0.0.1:0".parse().unwrap()], shutdown: true, ..settings() };
    let running = slabd::server::start(settings, Clock::manual()).unwrap();
    let addr = running.udp_addrs()[0];
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for request in ["lru_crawler metadump all", "lru_crawler mgdump all", "stats cachedump 1 0", "watch", "shutdown"] {
        socket.send_to(format!("\0\x01\0\0\0\x01\0\0{request}\r\n").as_bytes(), addr).unwrap();
        let mut answer = [0; 2000];
        let len = socket.recv(&mut answer).unwrap();
        assert_eq!(&answer[8..len], b"ERROR\r\n", "{request}");
    }
}

#[test]
fn a_client_that_leaves_in_the_midst_of_a_dump_is_forgotten() {
    let server = Server::start(1);
    let mut client = server.connect();
    fill(&mut client, &"k".repeat(240), 30_000, 1);
    for _ in 0..20 {
        let dumper = server.connect();
        dumper.stream().write_all(METADUMP).unwrap();
        dumper.stream().read_exact(&mut [0; 100]).unwrap();
        drop(dumper);
        let deadline = Instant::now() + Duration::from_secs(10);
        while client.ask(b"lru_crawler metadump 62\r\n", b"\r\n") == BUSY {
            assert!(Instant::now() < deadline);
        }
        client.ask(b"mn\r\n", b"MN\r\n");
    }
}
