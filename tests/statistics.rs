//! What `stats` says, asked through the wire: each row is moved by what it is about, and by nothing else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::client::Client;
use common::packet::Packet;
use common::server::Server;
use common::wire::Wire;
use slabd::limits::{PREFIXES_MAX, REPORTS_LEN_MAX};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

type Rows = BTreeMap<String, String>;

/// Rows in the order they are told.
fn told(client: &mut Client, request: &str) -> Vec<(String, String)> {
    let answer = client.ask(format!("{request}\r\n").as_bytes(), b"END\r\n");
    let text = String::from_utf8(answer).unwrap();
    let row = |line: &str| {
        let (name, value) = line.strip_prefix("STAT ")?.split_once(' ')?;
        Some((name.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

fn rows(client: &mut Client, request: &str) -> Rows {
    told(client, request).into_iter().collect()
}

fn number(rows: &Rows, name: &str) -> u64 {
    rows.get(name).map_or(0, |value| value.parse().unwrap())
}

/// Waits until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Rows that change by themselves, or with every request.
const RESTLESS: &[&str] = &[
    "time",
    "uptime",
    "rusage_user",
    "rusage_system",
    "bytes_read",
    "bytes_written",
    "lru_maintainer_juggles",
    "lru_crawler_starts",
    "lru_crawler_running",
    "crawler_items_checked",
];

/// The rows that have changed, and by how much.
fn moved(before: &Rows, after: &Rows) -> Vec<(String, i64)> {
    let is_calm = |name: &str| !RESTLESS.contains(&name);
    let changed = after.iter().filter(|(name, value)| is_calm(name) && before.get(*name) != Some(*value));
    let by = |rows: &Rows, name: &str| i64::try_from(number(rows, name)).unwrap();
    changed.map(|(name, _)| (name.clone(), by(after, name) - by(before, name))).collect()
}

/// A request, its answer, and the rows that it moves, with by how much.
type Step = (&'static str, &'static str, Vec<(&'static str, i64)>);

#[test]
fn each_request_moves_its_own_counters_and_no_others() {
    let server = Server::start(1);
    let mut client = server.connect();
    let stored = || vec![("cmd_set", 1), ("total_items", 1), ("curr_items", 1)];
    let steps: Vec<Step> = vec![
        ("set a:k 0 0 1\r\n1\r\n", "STORED\r\n", stored()),
        ("get a:k\r\n", "VALUE a:k 0 1\r\n1\r\nEND\r\n", vec![("cmd_get", 1), ("get_hits", 1)]),
        ("get none\r\n", "END\r\n", vec![("cmd_get", 1), ("get_misses", 1)]),
        ("mg none\r\n", "EN\r\n", vec![("cmd_get", 1), ("get_misses", 1)]),
        ("me none\r\n", "EN\r\n", vec![("cmd_meta", 1)]),
        ("touch a:k 0\r\n", "TOUCHED\r\n", vec![("cmd_touch", 1), ("touch_hits", 1)]),
        ("touch none 0\r\n", "NOT_FOUND\r\n", vec![("cmd_touch", 1), ("touch_misses", 1)]),
        ("gat 0 a:k\r\n", "VALUE a:k 0 1\r\n1\r\nEND\r\n", vec![("cmd_touch", 1), ("touch_hits", 1)]),
        ("incr a:k 1\r\n", "2\r\n", vec![("incr_hits", 1)]),
        ("incr none 1\r\n", "NOT_FOUND\r\n", vec![("incr_misses", 1)]),
        ("decr a:k 1\r\n", "1\r\n", vec![("decr_hits", 1)]),
        ("decr none 1\r\n", "NOT_FOUND\r\n", vec![("decr_misses", 1)]),
        ("cas a:k 0 0 1 1\r\n1\r\n", "EXISTS\r\n", vec![("cmd_set", 1), ("cas_badval", 1)]),
        ("cas none 0 0 1 1\r\n1\r\n", "NOT_FOUND\r\n", vec![("cmd_set", 1), ("cas_misses", 1)]),
        ("delete none\r\n", "NOT_FOUND\r\n", vec![("delete_misses", 1)]),
        ("set b 0 0 1\r\n1\r\n", "STORED\r\n", stored()),
        ("delete b\r\n", "DELETED\r\n", vec![("delete_hits", 1), ("curr_items", -1)]),
        ("flush_all\r\n", "OK\r\n", vec![("cmd_flush", 1)]),
        ("bogus\r\n", "ERROR\r\n", vec![]),
        ("version\r\n", concat!("VERSION 1.6.45-slabd-", env!("CARGO_PKG_VERSION"), "\r\n"), vec![]),
    ];
    for (request, answer, mut expected) in steps {
        let before = rows(&mut client, "stats");
        client.exchange(request.as_bytes(), answer.as_bytes());
        let after = rows(&mut client, "stats");
        let mut got = moved(&before, &after);
        // Lengths of items are the store's.
        got.retain(|(name, _)| name != "bytes");
        expected.sort_unstable();
        let got: Vec<(&str, i64)> = got.iter().map(|(name, by)| (name.as_str(), *by)).collect();
        assert_eq!(got, expected, "{request:?}");
    }
    let before = rows(&mut client, "stats");
    let mut other = server.connect();
    other.exchange(b"mn\r\n", b"MN\r\n");
    let after = rows(&mut client, "stats");
    let coming = [("connection_structures", 1), ("curr_connections", 1), ("total_connections", 1)];
    assert_eq!(moved(&before, &after), coming.map(|(name, by)| (name.to_owned(), by)));
    // A value that is refused goes, and the one before it.
    client.exchange(b"set big 0 0 1\r\n1\r\n", b"STORED\r\n");
    let before = rows(&mut client, "stats");
    let mut request = b"set big 0 0 2000000\r\n".to_vec();
    request.resize(request.len() + 2_000_000, b'x');
    request.extend(b"\r\n");
    client.exchange(&request, b"SERVER_ERROR object too large for cache\r\n");
    let after = rows(&mut client, "stats");
    assert_eq!(number(&after, "store_too_large") - number(&before, "store_too_large"), 1);
    assert_eq!(number(&before, "curr_items") - number(&after, "curr_items"), 1);
}

#[test]
fn rows_are_memcacheds_in_memcacheds_order_and_those_of_what_is_off_are_not_there() {
    let all = "pid uptime time version libevent pointer_size rusage_user rusage_system max_connections curr_connections \
        total_connections rejected_connections connection_structures response_obj_oom response_obj_count response_obj_bytes \
        read_buf_count read_buf_bytes read_buf_bytes_free read_buf_oom reserved_fds cmd_get cmd_set cmd_flush cmd_touch \
        cmd_meta get_hits get_misses get_expired get_flushed delete_misses delete_hits incr_misses incr_hits decr_misses \
        decr_hits cas_misses cas_hits cas_badval touch_hits touch_misses store_too_large store_no_memory auth_cmds \
        auth_errors bytes_read bytes_written limit_maxbytes accepting_conns listen_disabled_num \
        time_in_listen_disabled_us threads conn_yields hash_power_level hash_bytes hash_is_expanding \
        slab_reassign_rescues slab_reassign_chunk_rescues slab_reassign_inline_reclaim slab_reassign_busy_items \
        slab_reassign_busy_deletes slab_reassign_busy_nomem slab_reassign_last_busy_status slab_reassign_running \
        slabs_moved lru_crawler_running lru_crawler_starts lru_maintainer_juggles malloc_fails log_worker_dropped \
        log_worker_written log_watcher_skipped log_watcher_sent log_watchers unexpected_napi_ids \
        round_robin_fallback bytes curr_items total_items slab_global_page_pool expired_unfetched \
        evicted_unfetched evicted_active evictions reclaimed crawler_reclaimed crawler_items_checked \
        lrutail_reflocked moves_to_cold moves_to_warm moves_within_lru direct_reclaims lru_bumps_dropped";
    let all: Vec<&str> = all.split_whitespace().collect();
    assert_eq!(all.len(), 93);
    let names = |server: &Server| -> Vec<String> {
        told(&mut server.connect(), "stats").into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&Server::start(2)), all);
    let server = Server::start_with(|settings| {
        settings.background.crawler = false;
        settings.lru = slabd::settings::LruMode::Flat;
    });
    let of_what_is_off = "lru_crawler_running lru_crawler_starts lru_maintainer_juggles evicted_active moves_to_cold moves_to_warm \
        moves_within_lru direct_reclaims lru_bumps_dropped";
    let some: Vec<&str> =
        all.into_iter().filter(|name| !of_what_is_off.split_whitespace().any(|off| off == *name)).collect();
    assert_eq!(some.len(), 84);
    assert_eq!(names(&server), some);
}

#[test]
fn what_happens_to_items_of_a_class_is_told_of_that_class() {
    let server = Server::start(2);
    let mut client = server.connect();
    for (request, answer) in [
        ("set a 0 0 1\r\n5\r\n", "STORED\r\n"),
        ("add a 0 0 1\r\n5\r\n", "NOT_STORED\r\n"),
        ("append a 0 0 1\r\n5\r\n", "STORED\r\n"),
        ("get a\r\n", "VALUE a 0 2\r\n55\r\nEND\r\n"),
        ("mg a\r\n", "HD\r\n"),
        ("me none\r\n", "EN\r\n"),
        ("gat 0 a\r\n", "VALUE a 0 2\r\n55\r\nEND\r\n"),
        ("touch a 0\r\n", "TOUCHED\r\n"),
        ("mg a T0\r\n", "HD\r\n"),
        ("incr a 1\r\n", "56\r\n"),
        ("decr a 1\r\n", "55\r\n"),
        ("decr a 1\r\n", "54\r\n"),
        ("cas a 0 0 1 1\r\n1\r\n", "EXISTS\r\n"),
        ("ms a 2 E77\r\n55\r\n", "HD\r\n"),
        ("cas a 0 0 2 77\r\n55\r\n", "STORED\r\n"),
        ("set b 0 0 1\r\n5\r\n", "STORED\r\n"),
        ("delete b\r\n", "DELETED\r\n"),
        ("md none\r\n", "NF\r\n"),
    ] {
        client.exchange(request.as_bytes(), answer.as_bytes());
    }
    let mut request = b"set long 0 0 5000\r\n".to_vec();
    request.resize(request.len() + 5000, b'x');
    request.extend(b"\r\n");
    client.exchange(&request, b"STORED\r\n");
    let expected = [
        ("get_hits", 2),
        ("cmd_set", 7),
        ("delete_hits", 1),
        ("incr_hits", 1),
        ("decr_hits", 2),
        ("cas_hits", 1),
        ("cas_badval", 1),
        ("touch_hits", 3),
        ("used_chunks", 1),
    ];
    let slabs = rows(&mut client, "stats slabs");
    let first = slabs.keys().find_map(|name| name.strip_suffix(":chunk_size")).unwrap().to_owned();
    for (name, value) in expected {
        assert_eq!(number(&slabs, &format!("{first}:{name}")), value, "{name}");
    }
    // All hits are of the queue the item is in, and those that are touches of none.
    let items = rows(&mut client, "stats items");
    let hits = ["hot", "warm", "cold", "temp"].map(|queue| number(&items, &format!("items:{first}:hits_to_{queue}")));
    assert_eq!(hits.iter().sum::<u64>(), 2);
    let longest = slabs.iter().filter(|(name, _)| name.ends_with(":cmd_set")).map(|(_, value)| value.as_str());
    assert_eq!(longest.collect::<Vec<_>>(), ["7", "1"]);
    client.exchange(b"stats reset\r\n", b"RESET\r\n");
    let slabs = rows(&mut client, "stats slabs");
    for (name, _) in &expected[..8] {
        assert_eq!(number(&slabs, &format!("{first}:{name}")), 0, "{name} after a reset");
    }
    assert_eq!(number(&slabs, &format!("{first}:used_chunks")), 1);
}

#[test]
fn chunks_of_large_items_are_used_chunks_where_they_are() {
    let server = Server::start_with(|settings| settings.item_len_max = 4 << 20);
    let mut client = server.connect();
    let used = |client: &mut Client| -> Vec<u64> {
        let slabs = rows(client, "stats slabs");
        let used = slabs.iter().filter(|(name, _)| name.ends_with(":used_chunks"));
        used.map(|(_, value)| value.parse().unwrap()).filter(|&count| count > 0).collect()
    };
    let mut request = b"set large 0 0 3000000\r\n".to_vec();
    request.resize(request.len() + 3_000_000, b'x');
    request.extend(b"\r\n");
    client.exchange(&request, b"STORED\r\n");
    let slabs = rows(&mut client, "stats slabs");
    let bytes: u64 = slabs
        .iter()
        .filter_map(|(name, value)| {
            let class = name.strip_suffix(":used_chunks")?;
            Some(value.parse::<u64>().unwrap() * number(&slabs, &format!("{class}:chunk_size")))
        })
        .sum();
    assert!((3_000_000..3_100_000).contains(&bytes), "{bytes} bytes in used chunks");
    for (name, used) in slabs.iter().filter(|(name, _)| name.ends_with(":used_chunks")) {
        let class = name.strip_suffix(":used_chunks").unwrap();
        let (total, free) = (format!("{class}:total_chunks"), format!("{class}:free_chunks"));
        assert_eq!(number(&slabs, &total), number(&slabs, &free) + used.parse::<u64>().unwrap());
    }
    client.exchange(b"delete large\r\n", b"DELETED\r\n");
    assert_eq!(used(&mut client), []);
}

#[test]
fn connections_and_listeners_are_told_by_descriptor_with_what_they_do() {
    let server = Server::start(3);
    let mut client = server.connect();
    let idle = server.connect();
    let mut sending = server.connect();
    sending.send(b"set k 0 0 100000\r\nx");
    // So that all have been adopted.
    until("all are there", || number(&rows(&mut client, "stats"), "curr_connections") == 3);
    until("a value is coming", || told(&mut client, "stats conns").iter().any(|(_, value)| value == "conn_nread"));
    let conns = told(&mut client, "stats conns");
    let of = |name: &str| -> Vec<&str> {
        let rows = conns.iter().filter(|(row, _)| row.split_once(':').unwrap().1 == name);
        rows.map(|(_, value)| value.as_str()).collect()
    };
    let own = format!("tcp:{}", server.addr);
    assert_eq!(of("listen_addr"), [&own; 3]);
    assert_eq!(of("addr").iter().filter(|addr| **addr == own).count(), 1);
    for stream in [client.stream(), idle.stream(), sending.stream()] {
        let place = format!("tcp:{}", stream.local_addr().unwrap());
        assert!(of("addr").contains(&place.as_str()), "{place} in {conns:?}");
    }
    let mut states = of("state");
    states.sort_unstable();
    assert_eq!(states, ["conn_listening", "conn_nread", "conn_parse_cmd", "conn_read"]);
    let descriptors: Vec<i32> =
        conns.iter().map(|(name, _)| name.split(':').next().unwrap().parse().unwrap()).collect();
    assert!(descriptors.is_sorted());
    // Time passes for those who say nothing.
    client.advance(5000);
    drop(sending);
    until("it is gone", || number(&rows(&mut client, "stats"), "curr_connections") == 2);
    let conns = told(&mut client, "stats conns");
    let secs = conns.iter().filter(|(name, _)| name.ends_with(":secs_since_last_cmd"));
    let mut secs: Vec<&str> = secs.map(|(_, value)| value.as_str()).collect();
    secs.sort_unstable();
    assert_eq!(secs, ["0", "5", "5"]);
    drop(idle);
}

#[test]
fn many_who_do_not_take_their_answers_keep_nobody_from_reports() {
    const CLIENTS: usize = 250;
    let server = Server::start(1);
    let mut client = server.connect();
    for key in 0..40 {
        let request = format!("set k{key} 0 0 14000\r\n{}\r\n", "x".repeat(14_000));
        client.exchange(request.as_bytes(), b"STORED\r\n");
    }
    let keys: String = (0..400).map(|key| format!(" k{}", key % 40)).collect();
    let silent: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(2048).unwrap();
            socket.connect(&server.addr.into()).unwrap();
            let mut stream = TcpStream::from(socket);
            stream.write_all(format!("get{keys}\r\n").as_bytes()).unwrap();
            stream
        })
        .collect();
    until("they are all stuck", || number(&rows(&mut client, "stats"), "response_obj_count") == CLIENTS as u64);
    let weight = number(&rows(&mut client, "stats"), "response_obj_bytes");
    // All that the bound on reports allows; and what each owes is not doubled.
    assert!(weight > REPORTS_LEN_MAX && weight < (CLIENTS * (300 << 10)) as u64, "{weight}");
    assert!(told(&mut client, "stats conns").len() > CLIENTS);
    assert_eq!(told(&mut client, "stats sizes"), [("sizes_status".to_owned(), "disabled".to_owned())]);
    client.exchange(b"stats detail dump\r\n", b"END\r\n");
    drop(silent);
    until("they are gone", || number(&rows(&mut client, "stats"), "response_obj_bytes") == 0);
}

#[test]
fn who_does_not_take_long_reports_is_made_no_more_of_them_until_they_are_gone() {
    let server = Server::start(1);
    let mut client = server.connect();
    client.exchange(b"stats detail on\r\n", b"OK\r\n");
    // A byte that is told in three.
    let long = "\x01".repeat(200);
    for first in (0..PREFIXES_MAX).step_by(2048) {
        let keys: String = (first..first + 2048).map(|number| format!(" {long}{number:05}:")).collect();
        client.exchange(format!("get{keys}\r\n").as_bytes(), b"END\r\n");
    }
    let mut silent: Vec<TcpStream> = Vec::new();
    let refused = b"SERVER_ERROR out of memory writing stats\r\n";
    loop {
        assert!(silent.len() < 3, "there is no end of them");
        let mut stream = TcpStream::connect(server.addr).unwrap();
        stream.write_all(b"stats detail dump\r\n").unwrap();
        silent.push(stream);
        let stuck = silent.len() as u64;
        until("it is made", || number(&rows(&mut client, "stats"), "response_obj_count") == stuck);
        if number(&rows(&mut client, "stats"), "response_obj_bytes") > REPORTS_LEN_MAX {
            break;
        }
    }
    for costly in ["stats conns", "stats sizes", "stats detail dump"] {
        client.exchange(format!("{costly}\r\n").as_bytes(), refused);
    }
    assert!(number(&rows(&mut client, "stats"), "curr_connections") > 0, "short ones are made");
    drop(silent);
    until("they are gone", || number(&rows(&mut client, "stats"), "response_obj_count") == 0);
    assert!(!told(&mut client, "stats conns").is_empty());
}

#[test]
fn one_who_does_not_take_his_answers_is_told_of_and_so_is_what_they_weigh() {
    let server = Server::start(1);
    let mut client = server.connect();
    let mut request = b"set k 0 0 10000\r\n".to_vec();
    request.resize(request.len() + 10_000, b'x');
    request.extend(b"\r\n");
    client.exchange(&request, b"STORED\r\n");
    let mut slow = TcpStream::connect(server.addr).unwrap();
    slow.set_nonblocking(true).unwrap();
    let gets = b"get k\r\n".repeat(1000);
    until("his answers are stuck", || {
        // As long as it takes, and no longer.
        let _ = slow.write(&gets);
        number(&rows(&mut client, "stats"), "response_obj_count") == 1
    });
    let stats = rows(&mut client, "stats");
    assert!(number(&stats, "response_obj_bytes") >= 10_000);
    assert!(told(&mut client, "stats conns").iter().any(|(_, value)| value == "conn_mwrite"));
    drop(slow);
    until("it is gone", || number(&rows(&mut client, "stats"), "response_obj_count") == 0);
    let stats = rows(&mut client, "stats");
    assert_eq!(number(&stats, "response_obj_bytes"), 0);
    // A beginning of a request is held; the scratch is always there.
    let idle = (number(&stats, "read_buf_count"), number(&stats, "read_buf_bytes"));
    let mut half = server.connect();
    half.send(b"get half-a-ke");
    until("it is held", || number(&rows(&mut client, "stats"), "read_buf_count") == idle.0 + 1);
    assert!(number(&rows(&mut client, "stats"), "read_buf_bytes") >= idle.1 + 13);
    half.exchange(b"y\r\n", b"END\r\n");
    until("it is not held", || number(&rows(&mut client, "stats"), "read_buf_count") == idle.0);
    let stats = rows(&mut client, "stats");
    assert_eq!(number(&stats, "read_buf_bytes"), idle.1);
    assert!(number(&stats, "read_buf_bytes_free") >= 13);
}

#[test]
fn prefixes_are_counted_while_they_are_to_be() {
    let server = Server::start(2);
    let (mut client, mut other) = (server.connect(), server.connect());
    client.exchange(b"stats detail dump\r\n", b"END\r\n");
    client.exchange(b"set a:b 0 0 1\r\nx\r\nstats detail on\r\n", b"STORED\r\nOK\r\n");
    assert_eq!(rows(&mut client, "stats settings")["detail_enabled"], "yes");
    for (request, answer) in [
        ("set a:b 0 0 1\r\nx\r\n", "STORED\r\n"),
        ("set nopre 0 0 1\r\nx\r\n", "STORED\r\n"),
        ("get a:b a:c zz\r\n", "VALUE a:b 0 1\r\nx\r\nEND\r\n"),
        ("add a:q 0 0 1\r\n1\r\n", "STORED\r\n"),
        ("incr a:q 1\r\n", "2\r\n"),
        ("delete a:q\r\n", "DELETED\r\n"),
        ("delete a:nope\r\n", "NOT_FOUND\r\n"),
        ("touch a:b 0\r\n", "TOUCHED\r\n"),
        ("gat 0 a:b\r\n", "VALUE a:b 0 1\r\nx\r\nEND\r\n"),
        ("get :x\r\n", "END\r\n"),
    ] {
        client.exchange(request.as_bytes(), answer.as_bytes());
    }
    // Of these too, whoever asks.
    other.exchange(b"mg b:1 v\r\nms b:1 1\r\nx\r\nmd b:1\r\n", b"EN\r\nHD\r\nHD\r\n");
    let dump = b"PREFIX  get 1 hit 0 set 0 del 0\r\nPREFIX a get 3 hit 2 set 2 del 2\r\nPREFIX b get 1 hit 0 set 1 del 1\r\nEND\r\n";
    client.exchange(b"stats detail dump\r\n", dump);
    let usage = b"CLIENT_ERROR usage: stats detail on|off|dump\r\n";
    client.exchange(b"stats detail\r\n", usage);
    client.exchange(b"stats detail foo\r\n", usage);
    client.exchange(b"stats detail off\r\nget a:b\r\n", b"OK\r\nVALUE a:b 0 1\r\nx\r\nEND\r\n");
    client.exchange(b"stats detail dump\r\n", dump);
    client.exchange(b"stats reset\r\nstats detail dump\r\n", b"RESET\r\nEND\r\n");
}

#[test]
fn prefixes_go_up_to_what_was_chosen_and_cannot_break_lines() {
    let server = Server::start_with(|settings| settings.detail = Some(b'/'));
    let mut client = server.connect();
    client.exchange(b"get a/b a:c\r\n", b"END\r\n");
    let settings = rows(&mut client, "stats settings");
    assert_eq!((settings["stat_key_prefix"].as_str(), settings["detail_enabled"].as_str()), ("/", "yes"));
    // The binary protocol takes any bytes in a key.
    let mut binary = server.connect();
    binary.send(&Packet::new(0x00, b"", b"x\r\nEND\r\n/1", b"").request());
    let mut answer = Vec::new();
    binary.receive(&mut answer);
    client.exchange(
        b"stats detail dump\r\n",
        b"PREFIX a get 1 hit 0 set 0 del 0\r\nPREFIX x%0D%0AEND%0D%0A get 1 hit 0 set 0 del 0\r\nEND\r\n",
    );
}

#[test]
fn items_are_counted_by_length_from_when_it_is_asked_for() {
    let server = Server::start(2);
    let (mut client, mut other) = (server.connect(), server.connect());
    let set = |client: &mut Client, key: &str, len: usize| {
        let request = format!("set {key} 0 0 {len}\r\n{}\r\n", "x".repeat(len));
        client.exchange(request.as_bytes(), b"STORED\r\n");
    };
    set(&mut client, "before", 10);
    client.exchange(b"stats sizes\r\n", b"STAT sizes_status disabled\r\nEND\r\n");
    client.exchange(b"stats sizes_enable\r\nstats sizes\r\n", b"STAT sizes_status enabled\r\nEND\r\n");
    assert_eq!(rows(&mut client, "stats settings")["track_sizes"], "yes");
    let count = |client: &mut Client| -> u64 {
        told(client, "stats sizes").iter().map(|(_, count)| count.parse::<u64>().unwrap()).sum()
    };
    set(&mut client, "a", 100);
    set(&mut other, "b", 100);
    set(&mut client, "c", 1000);
    let sizes = told(&mut client, "stats sizes");
    assert_eq!(sizes.iter().map(|(_, count)| count.as_str()).collect::<Vec<_>>(), ["2", "1"]);
    assert!(sizes.iter().all(|(len, _)| len.parse::<usize>().unwrap() % 32 == 0));
    // In place, to another length, by extension, by deletion, by another's hand.
    set(&mut other, "a", 101);
    set(&mut other, "c", 100);
    client.exchange(b"append b 0 0 1\r\nx\r\n", b"STORED\r\n");
    assert_eq!(count(&mut client), 3);
    other.exchange(b"delete c\r\ndelete before\r\n", b"DELETED\r\nDELETED\r\n");
    assert_eq!(count(&mut client), 2);
    client.exchange(b"md a I T30\r\nmd a x\r\n", b"HD\r\nHD\r\n");
    assert_eq!(count(&mut client), 2);
    // What was there stays out of it when it is switched on anew.
    client.exchange(
        b"stats sizes_disable\r\nstats sizes\r\nstats sizes_enable\r\nset d 0 0 1\r\nx\r\n",
        b"STAT sizes_status disabled\r\nSTAT sizes_status disabled\r\nEND\r\nSTAT sizes_status enabled\r\nSTORED\r\n",
    );
    assert_eq!(count(&mut client), 1);
    client.exchange(b"delete a\r\ndelete d\r\n", b"DELETED\r\nDELETED\r\n");
    assert_eq!(count(&mut client), 0);
    let server = Server::start_with(|settings| {
        settings.with_cas = false;
        settings.track_sizes = true;
    });
    let mut client = server.connect();
    set(&mut client, "a", 10);
    assert_eq!(count(&mut client), 1);
    set(&mut client, "a", 1000);
    client.exchange(b"set b 0 0 1\r\nx\r\ndelete b\r\n", b"STORED\r\nDELETED\r\n");
    assert_eq!(count(&mut client), 1);
    client.exchange(
        b"stats sizes_disable\r\nstats sizes_enable\r\n",
        b"STAT sizes_status disabled\r\nSTAT sizes_status error\r\nSTAT sizes_error cas_support_disabled\r\n",
    );
}

#[test]
fn as_many_requests_are_timed_as_there_were() {
    let server = Server::start(2);
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    assert_eq!(rows(&mut clients[0], "stats latency")["latency_enabled"], "no");
    clients[0].exchange(b"stats latency on\r\n", b"OK\r\n");
    for (n, client) in clients.iter_mut().enumerate() {
        let mut request = Vec::new();
        let mut answer = Vec::new();
        for _ in 0..=n {
            request.extend(b"set k 0 0 1 noreply\r\n1\r\nget k k\r\nincr k 0\r\ndecr k 0\r\ntouch k 0\r\ngat 0 k\r\ndelete none\r\n");
            answer.extend(b"VALUE k 0 1\r\n1\r\nVALUE k 0 1\r\n1\r\nEND\r\n1\r\n1\r\nTOUCHED\r\nVALUE k 0 1\r\n1\r\nEND\r\nNOT_FOUND\r\n");
        }
        client.exchange(&request, &answer);
        // Nothing comes back, and all of it is served.
        client.exchange(b"set k 0 0 1 noreply\r\n1\r\n", b"");
        client.exchange(b"mn\r\n", b"MN\r\n");
    }
    let client = &mut clients[0];
    let mut large = b"set large 0 0 500000\r\n".to_vec();
    large.resize(large.len() + 500_000, b'x');
    large.extend(b"\r\nget large\r\n");
    client.send(&large);
    let mut answer = Vec::new();
    while !answer.ends_with(b"END\r\n") {
        client.receive(&mut answer);
    }
    let timed = |client: &mut Client| {
        let (stats, latency) = (rows(client, "stats"), rows(client, "stats latency"));
        assert_eq!(latency["latency_enabled"], "yes");
        let both = |hits: &str, misses: &str| number(&stats, hits) + number(&stats, misses);
        for (kind, count) in [
            ("get", number(&stats, "cmd_get")),
            ("set", number(&stats, "cmd_set")),
            ("touch", number(&stats, "cmd_touch")),
            ("delete", both("delete_hits", "delete_misses")),
            ("incr", both("incr_hits", "incr_misses")),
            ("decr", both("decr_hits", "decr_misses")),
        ] {
            assert_eq!(number(&latency, &format!("{kind}:count")), count, "{kind}");
        }
        number(&stats, "cmd_get")
    };
    assert_eq!(timed(client), 21);
    client.exchange(b"stats reset\r\nget k\r\n", b"RESET\r\nVALUE k 0 1\r\n1\r\nEND\r\n");
    assert_eq!(timed(client), 1);
    // None while it is off, none since it was forgotten, and no other words.
    client.exchange(b"stats latency off\r\n", b"OK\r\n");
    client.exchange(b"get k\r\n", b"VALUE k 0 1\r\n1\r\nEND\r\n");
    let latency = rows(client, "stats latency");
    assert_eq!((latency["latency_enabled"].as_str(), number(&latency, "get:count")), ("no", 1));
    client.exchange(b"stats latency on\r\nstats latency reset\r\n", b"OK\r\nRESET\r\n");
    client.exchange(b"get k\r\n", b"VALUE k 0 1\r\n1\r\nEND\r\n");
    assert_eq!(number(&rows(client, "stats latency"), "get:count"), 1);
    client.exchange(b"stats latency maybe\r\nstats latency on x\r\n", b"ERROR\r\nERROR\r\n");
}

#[test]
fn times_have_in_them_how_long_an_answer_waits_to_be_taken() {
    let server = Server::start(1);
    let mut client = server.connect();
    client.exchange(b"stats latency on\r\n", b"OK\r\n");
    let mut request = b"set k 0 0 1000000\r\n".to_vec();
    request.resize(request.len() + 1_000_000, b'x');
    request.extend(b"\r\n");
    client.exchange(&request, b"STORED\r\n");
    let mut slow = server.connect();
    slow.send(&b"get k\r\n".repeat(30));
    until("it is stuck", || number(&rows(&mut client, "stats"), "response_obj_count") == 1);
    client.advance(3000);
    let mut answer = Vec::new();
    while answer.len() < 30 * 1_000_000 {
        slow.receive(&mut answer);
    }
    until("all are timed", || number(&rows(&mut client, "stats latency"), "get:count") == 30);
    let latency = rows(&mut client, "stats latency");
    let max: f64 = latency["get:max_us"].parse().unwrap();
    assert!((3_000_000.0..3_400_000.0).contains(&max), "{latency:?}");
    assert_eq!(latency["set:max_us"], "0.1");
}

#[test]
fn keys_used_most_are_found_among_many() {
    let server = Server::start(2);
    let mut clients = [server.connect(), server.connect(), server.connect()];
    clients[0].exchange(b"stats hotkeys\r\n", b"STAT hotkeys_enabled yes\r\nSTAT hotkeys_one_in 256\r\n");
    let mut rest = Vec::new();
    while !rest.ends_with(b"END\r\n") {
        clients[0].receive(&mut rest);
    }
    // By Zipf's law: the most used key has an eighth of all uses, or so.
    let mut random = fastrand::Rng::with_seed(7);
    let weights: Vec<f64> = (1..=1000).map(|rank| 1.0 / f64::from(rank)).collect();
    let total: f64 = weights.iter().sum();
    let mut draw = || {
        let mut left = random.f64() * total;
        weights
            .iter()
            .position(|weight| {
                left -= weight;
                left < 0.0
            })
            .unwrap_or(999)
    };
    for round in 0..1200 {
        let client = &mut clients[round % 3];
        let mut request = Vec::new();
        for _ in 0..100 {
            request.extend(format!("mg hot/{} k\r\n", draw()).into_bytes());
        }
        request.extend(b"mn\r\n");
        client.ask(&request, b"MN\r\n");
    }
    clients[0].advance(10_000);
    let hot = rows(&mut clients[0], "stats hotkeys");
    assert_eq!(hot["1:key"], "hot%2F0", "{hot:?}");
    let near = |name: &str, expected: f64, by: f64| {
        let value: f64 = hot[name].parse().unwrap();
        assert!((value - expected).abs() <= by, "{name}: {value}, not {expected}");
    };
    near("hotkeys_samples", 469.0, 80.0);
    near("hotkeys_per_sec", 12000.0, 2400.0);
    near("1:pct", 13.4, 7.0);
    near("1:per_sec", 1600.0, 1000.0);
    assert!(hot.contains_key("5:key") && !hot.contains_key("33:key"));
    for (request, answer) in [
        ("stats hotkeys reset\r\n", "RESET\r\n"),
        ("stats hotkeys off\r\n", "OK\r\n"),
        ("stats hotkeys wat\r\n", "ERROR\r\n"),
    ] {
        clients[1].exchange(request.as_bytes(), answer.as_bytes());
    }
    clients[2].ask(&[b"mg hot/0\r\n".repeat(4000), b"mn\r\n".to_vec()].concat(), b"MN\r\n");
    clients[1].exchange(
        b"stats hotkeys\r\n",
        b"STAT hotkeys_enabled no\r\nSTAT hotkeys_one_in 256\r\nSTAT hotkeys_samples 0\r\nSTAT hotkeys_per_sec 0\r\nEND\r\n",
    );
}

#[test]
fn no_numbers_are_told_by_datagrams_nor_to_strangers() {
    let users = std::env::temp_dir().join(format!("slabd-statistics-{}", std::process::id()));
    std::fs::write(&users, "name:secret\n").unwrap();
    let server = Server::start_with(|settings| settings.auth_file = Some(users.clone()));
    std::fs::remove_file(&users).unwrap();
    for topic in ["", " conns", " hotkeys", " detail on", " sizes_enable", " latency off"] {
        let request = format!("stats{topic}\r\n");
        server.connect().exchange(request.as_bytes(), b"CLIENT_ERROR unauthenticated\r\n");
    }
    let mut settings = common::server::settings();
    settings.udp = vec!["127.0.0.1:0".parse().unwrap()];
    let running = slabd::server::start(settings, slabd::clock::Clock::manual()).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for topic in ["conns", "hotkeys", "detail on", "latency off"] {
        let datagram = [b"\0\x01\0\0\0\x01\0\0".to_vec(), format!("stats {topic}\r\n").into_bytes()].concat();
        socket.send_to(&datagram, running.udp_addrs()[0]).unwrap();
        let mut answer = [0; 1500];
        let len = socket.recv(&mut answer).unwrap();
        assert_eq!(&answer[8..len], b"ERROR\r\n", "{topic}");
    }
    let mut client = Client::connect(running.local_addrs()[0]);
    let conns = told(&mut client, "stats conns");
    let place = format!("udp:{}", running.udp_addrs()[0]);
    assert!(conns.iter().any(|(_, value)| *value == place), "{conns:?}");
    running.stop();
    running.join();
}

#[test]
fn the_binary_protocol_asks_for_the_same() {
    let server = Server::start(1);
    let mut text = server.connect();
    text.exchange(b"stats detail on\r\nget a:b\r\n", b"OK\r\nEND\r\n");
    let mut binary = server.connect();
    let mut stat = |key: &[u8]| -> Vec<u8> {
        binary.send(&Packet::new(0x10, b"", key, b"").request());
        // Rows end with an empty packet, and an error is one packet.
        let mut answer = Vec::new();
        loop {
            binary.receive(&mut answer);
            let last = answer.len().checked_sub(24).map(|at| &answer[at..]);
            if last.is_some_and(|last| last[..2] == [0x81, 0x10] && last[8..12] == [0; 4]) || answer.get(7) == Some(&1)
            {
                return answer;
            }
        }
    };
    let has = |answer: &[u8], part: &[u8]| answer.windows(part.len()).any(|window| window == part);
    assert!(has(&stat(b"detail dump"), b"detailedPREFIX a get 1 hit 0 set 0 del 0\r\n"));
    assert!(has(&stat(b"conns"), b"conn_parse_cmd"));
    assert!(has(&stat(b"sizes"), b"sizes_statusdisabled"));
    assert!(has(&stat(b"sizes_enable"), b"sizes_statusenabled"));
    assert!(has(&stat(b"latency"), b"latency_enabledno"));
    assert!(has(&stat(b"hotkeys"), b"hotkeys_enabledyes"));
    assert_eq!(stat(b"detail what")[7], 1);
    assert_eq!(stat(b"nothing of the kind")[7], 1);
}
