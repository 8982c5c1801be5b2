//! The text protocol over sockets: the transcripts with one and with four workers, and what needs a test of its own.

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::client::Client;
use common::server::Server;
use common::transcripts;
use common::wire::{Cut, Wire, play};
use std::collections::BTreeMap;

#[test]
fn one_worker_answers_every_transcript_as_written() {
    play_all(1);
}

#[test]
fn four_workers_answer_every_transcript_as_written() {
    play_all(4);
}

#[test]
fn any_worker_serves_any_key() {
    let server = Server::start(4);
    let mut clients: Vec<Client> = (0..16).map(|_| server.connect()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        client.exchange(format!("set key{index} 0 0 2\r\n{index:02}\r\n").as_bytes(), b"STORED\r\n");
    }
    for client in &mut clients {
        for index in 0..16 {
            let answer = format!("VALUE key{index} 0 2\r\n{index:02}\r\nEND\r\n");
            client.exchange(format!("get key{index}\r\n").as_bytes(), answer.as_bytes());
        }
    }
}

#[test]
fn version_passes_for_the_memcached_whose_protocol_it_speaks_and_names_slabd() {
    let server = Server::start(1);
    let answer = server.connect().ask(b"version\r\n", b"\r\n");
    let expected = format!("VERSION 1.6.45-slabd-{}\r\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&answer), expected);
}

#[test]
fn stats_are_rows_with_memcacheds_names_in_memcacheds_order() {
    let server = Server::start(1);
    let names: Vec<String> = rows(&mut server.connect(), "stats").into_iter().map(|(name, _)| name).collect();
    let mut places = names.iter().map(|name| {
        let place = STATS.iter().position(|known| known == name);
        place.unwrap_or_else(|| panic!("memcached has no stat '{name}'"))
    });
    assert!(places.by_ref().is_sorted(), "not in memcached's order: {names:?}");
    for name in STATS_AT_LEAST {
        assert!(names.iter().any(|told| told == name), "stats do not tell {name}");
    }
}

#[test]
fn stats_count_what_happened() {
    let server = Server::start(1);
    let mut client = server.connect();
    client.exchange(b"set a 0 0 1\r\n1\r\nset b 0 0 1\r\nx\r\n", b"STORED\r\nSTORED\r\n");
    client.exchange(b"get a none\r\n", b"VALUE a 0 1\r\n1\r\nEND\r\n");
    client.exchange(b"incr a 1\r\nincr none 1\r\ndecr a 1\r\n", b"2\r\nNOT_FOUND\r\n1\r\n");
    client.exchange(b"touch a 0\r\ntouch none 0\r\n", b"TOUCHED\r\nNOT_FOUND\r\n");
    client.exchange(b"delete b\r\ndelete b\r\n", b"DELETED\r\nNOT_FOUND\r\n");
    client.exchange(b"cas none 0 0 1 1\r\nx\r\ncas a 0 0 1 1\r\nx\r\n", b"NOT_FOUND\r\nEXISTS\r\n");
    let stats: BTreeMap<String, String> = rows(&mut client, "stats").into_iter().collect();
    let expected = [
        ("cmd_get", "2"),
        ("cmd_set", "4"),
        ("get_hits", "1"),
        ("get_misses", "1"),
        ("incr_hits", "1"),
        ("incr_misses", "1"),
        ("decr_hits", "1"),
        ("cmd_touch", "2"),
        ("touch_hits", "1"),
        ("touch_misses", "1"),
        ("delete_hits", "1"),
        ("delete_misses", "1"),
        ("cas_misses", "1"),
        ("cas_badval", "1"),
        ("curr_items", "1"),
        ("curr_connections", "1"),
        ("threads", "1"),
        ("limit_maxbytes", "67108864"),
    ];
    for (name, value) in expected {
        assert_eq!(stats.get(name).map(String::as_str), Some(value), "{name}");
    }
}

#[test]
fn stats_reset_zeroes_counts_and_leaves_gauges() {
    let server = Server::start(4);
    let mut client = server.connect();
    client.exchange(b"set a 0 0 1\r\nx\r\nget a\r\n", b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    client.exchange(b"stats reset\r\n", b"RESET\r\n");
    let stats: BTreeMap<String, String> = rows(&mut client, "stats").into_iter().collect();
    for (name, value) in [("cmd_get", "0"), ("cmd_set", "0"), ("get_hits", "0"), ("curr_items", "1")] {
        assert_eq!(stats.get(name).map(String::as_str), Some(value), "{name}");
    }
}

#[test]
fn stats_by_topic_are_rows_too() {
    let server = Server::start(1);
    let mut client = server.connect();
    client.exchange(b"set a 0 0 1\r\nx\r\n", b"STORED\r\n");
    let settings: BTreeMap<String, String> = rows(&mut client, "stats settings").into_iter().collect();
    assert_eq!(settings.get("maxbytes").map(String::as_str), Some("67108864"));
    assert_eq!(settings.get("num_threads").map(String::as_str), Some("1"));
    for (name, _) in rows(&mut client, "stats items") {
        assert!(name.starts_with("items:"), "{name}");
    }
    let slabs = rows(&mut client, "stats slabs");
    assert!(slabs.iter().any(|(name, value)| name == "active_slabs" && value == "1"), "{slabs:?}");
}

#[test]
fn lru_commands_are_answered_as_by_memcached_and_change_what_stats_tell() {
    let server = Server::start(1);
    let mut client = server.connect();
    const SHARES: &str = "ERROR hot and warm pcts must not exceed 80";
    const FACTORS: &str = "ERROR hot/warm age factors must be greater than 0";
    let table = [
        ("lru", "ERROR"),
        ("lru mode", "ERROR"),
        ("lru mode FLAT", "ERROR"),
        ("lru mode flat x", "OK"),
        ("lru mode s3fifo", "OK"),
        ("lru mode segmented", "OK"),
        ("lru tune 10 20 0.5", "ERROR"),
        ("lru tune x 20 0.5 2", "ERROR"),
        ("lru tune -5 20 0.5 2", "ERROR"),
        ("lru tune 10 20 0.5x 2", "ERROR"),
        ("lru tune 41 40 0.1 2", SHARES),
        ("lru tune 4294967295 4294967295 0 0", SHARES),
        ("lru tune 20 40 0 2", FACTORS),
        ("lru tune 20 40 1 -1", FACTORS),
        ("lru tune 0 80 1 1", "OK"),
        ("lru tune 10 25 0.5 2.5 and more", "OK"),
        ("lru temp_ttl", "ERROR"),
        ("lru temp_ttl x", "ERROR"),
        ("lru temp_ttl -1", "OK"),
        ("lru temp_ttl 99999999999", "OK"),
        ("lru temp_ttl 45", "OK"),
        ("lru wings", "ERROR"),
    ];
    for (line, answer) in table {
        client.exchange(format!("{line}\r\n").as_bytes(), format!("{answer}\r\n").as_bytes());
        // Said quietly, nothing is answered, whatever is wrong with it.
        client.exchange(format!("{line} noreply\r\nmn\r\n").as_bytes(), b"MN\r\n");
    }
    let settings: BTreeMap<String, String> = rows(&mut client, "stats settings").into_iter().collect();
    for (name, value) in [
        ("lru_segmented", "yes"),
        ("hot_lru_pct", "10"),
        ("warm_lru_pct", "25"),
        ("hot_max_factor", "0.50"),
        ("warm_max_factor", "2.50"),
        ("temp_lru", "yes"),
        ("temporary_ttl", "45"),
    ] {
        assert_eq!(settings.get(name).map(String::as_str), Some(value), "{name}");
    }
    client.exchange(b"lru mode flat\r\nlru temp_ttl -1\r\n", b"OK\r\nOK\r\n");
    let settings: BTreeMap<String, String> = rows(&mut client, "stats settings").into_iter().collect();
    for (name, value) in [("lru_segmented", "no"), ("temp_lru", "no"), ("temporary_ttl", "61")] {
        assert_eq!(settings.get(name).map(String::as_str), Some(value), "{name}");
    }
}

#[test]
fn stats_items_tell_what_happened_in_a_class() {
    let server = Server::start_with(|settings| {
        settings.memory_len = 8 << 20;
        settings.lru_tuning.temporary_ttl = Some(30);
    });
    let mut client = server.connect();
    client.exchange(
        b"set brief 0 30 3\r\nabc\r\nset a 0 0 3\r\nabc\r\nappend a 0 0 2\r\nde\r\n",
        &b"STORED\r\n".repeat(3),
    );
    client.ask(b"get brief a a a\r\n", b"END\r\n");
    server.clock.advance(5000);
    let items = rows(&mut client, "stats items");
    let names: Vec<&str> = items.iter().map(|(name, _)| name.rsplit(':').next().expect("a word")).collect();
    assert_eq!(names, STATS_ITEMS);
    let value = |wanted: &str| items.iter().find(|(name, _)| name.ends_with(wanted)).expect("it is told").1.as_str();
    assert_eq!([value(":number"), value(":number_hot"), value(":number_temp")], ["2", "1", "1"]);
    assert_eq!([value(":age_hot"), value(":age")], ["5", "5"]);
    assert_eq!([value(":hits_to_hot"), value(":hits_to_warm"), value(":hits_to_temp")], ["3", "0", "1"]);
    // Two headers of 32 bytes, keys of 5 and 1, values of 3 and 5.
    assert_eq!(value(":mem_requested"), "78");
    let big = vec![b'x'; 30_000];
    for index in 0..400 {
        client.send(format!("set key{index} 0 100 {}\r\n", big.len()).as_bytes());
        client.send(&big);
        client.exchange(b"\r\n", b"STORED\r\n");
    }
    let evicted = |client: &mut Client, name: &str| -> u64 {
        let of_classes = rows(client, "stats items").into_iter().filter(|(told, _)| told.ends_with(name));
        of_classes.map(|(_, value)| value.parse::<u64>().expect("a number")).sum()
    };
    let stats: BTreeMap<String, String> = rows(&mut client, "stats").into_iter().collect();
    let count = evicted(&mut client, ":evicted");
    assert!(count > 100 && stats["evictions"] == count.to_string(), "{count} of {}", stats["evictions"]);
    assert_eq!(evicted(&mut client, ":evicted_nonzero"), count);
    assert_eq!(evicted(&mut client, ":evicted_unfetched"), count);
    client.exchange(b"stats reset\r\n", b"RESET\r\n");
    assert_eq!((evicted(&mut client, ":evicted"), evicted(&mut client, ":hits_to_hot")), (0, 0));
}

#[test]
fn without_cas_numbers_gets_tells_zero_and_cas_never_stores() {
    let server = Server::start_with(|settings| settings.with_cas = false);
    let mut client = server.connect();
    client.exchange(b"set a 0 0 1\r\nx\r\ngets a\r\n", b"STORED\r\nVALUE a 0 1 0\r\nx\r\nEND\r\n");
    client.exchange(b"cas a 0 0 1 7\r\ny\r\n", b"EXISTS\r\n");
}

#[test]
fn without_evictions_a_full_cache_refuses_and_goes_on() {
    let server = Server::start_with(|settings| {
        settings.memory_len = 8 << 20;
        settings.evict = false;
    });
    let mut client = server.connect();
    let value = vec![b'x'; 100_000];
    let mut refused = None;
    for index in 0..200 {
        client.send(format!("set key{index} 0 0 {}\r\n", value.len()).as_bytes());
        client.send(&value);
        if client.ask(b"\r\n", b"\r\n") != b"STORED\r\n" {
            refused = Some(index);
            break;
        }
    }
    let refused = refused.expect("8 MB do not hold 20 MB");
    client.send(format!("set key{refused} 0 0 {}\r\n", value.len()).as_bytes());
    client.send(&value);
    client.exchange(b"\r\n", b"SERVER_ERROR out of memory storing object\r\n");
    client.exchange(format!("get key{refused}\r\n").as_bytes(), b"END\r\n");
    client.send(b"get key0\r\n");
    let answer = client.ask(b"", b"END\r\n");
    assert!(answer.starts_with(b"VALUE key0 0 100000\r\n"), "what was stored before is gone");
    client.exchange(b"delete key0\r\n", b"DELETED\r\n");
    client.send(format!("set key{refused} 0 0 {}\r\n", value.len()).as_bytes());
    client.send(&value);
    client.exchange(b"\r\n", b"STORED\r\n");
}

#[test]
fn with_evictions_a_full_cache_takes_every_value() {
    let server = Server::start_with(|settings| settings.memory_len = 8 << 20);
    let mut client = server.connect();
    let value = vec![b'x'; 10_000];
    for index in 0..3000 {
        client.send(format!("set key{index} 0 0 {}\r\n", value.len()).as_bytes());
        client.send(&value);
        client.exchange(b"\r\n", b"STORED\r\n");
    }
    let answer = client.ask(b"get key2999\r\n", b"END\r\n");
    assert!(answer.starts_with(b"VALUE key2999 0 10000\r\n"), "the newest value is gone");
    client.exchange(b"get key0\r\n", b"END\r\n");
}

#[test]
fn an_item_limit_below_the_page_refuses_larger_values() {
    let server = Server::start_with(|settings| settings.item_len_max = 4096);
    let mut client = server.connect();
    client.exchange(b"set a 0 0 3\r\nabc\r\n", b"STORED\r\n");
    let large = format!("set a 0 0 5000\r\n{}\r\n", "x".repeat(5000));
    client.exchange(large.as_bytes(), b"SERVER_ERROR object too large for cache\r\n");
    client.exchange(b"get a\r\n", b"END\r\n");
}

#[test]
fn a_reader_that_lags_behind_gets_every_byte_it_asked_for() {
    let server = Server::start(1);
    let mut client = server.connect();
    let value = "v".repeat(500_000);
    client.exchange(format!("set a 0 0 {}\r\n{value}\r\n", value.len()).as_bytes(), b"STORED\r\n");
    let mut sender = client.stream();
    let requests = std::thread::spawn(move || {
        let all = b"get a\r\n".repeat(64);
        std::io::Write::write_all(&mut sender, &all).expect("the server reads on as its answers are read");
    });
    let one = format!("VALUE a 0 {}\r\n{value}\r\nEND\r\n", value.len());
    for _ in 0..64 {
        client.exchange(b"", one.as_bytes());
    }
    requests.join().expect("the sender has sent everything");
}

#[test]
fn a_client_that_stops_in_the_middle_of_a_value_leaves_nothing_behind() {
    let server = Server::start(1);
    let mut client = server.connect();
    client.exchange(b"set a 0 0 1\r\nx\r\n", b"STORED\r\n");
    for len in [10, 100_000] {
        let mut other = server.connect();
        other.exchange(b"version\r\n", &client.ask(b"version\r\n", b"\r\n"));
        other.send(format!("set a 0 0 {len}\r\nhalf").as_bytes());
        other.finish();
        assert_eq!(other.rest(), b"", "an answer to half a value");
        client.exchange(b"get a\r\n", b"VALUE a 0 1\r\nx\r\nEND\r\n");
    }
}

fn play_all(threads: usize) {
    let mut failures = Vec::new();
    for transcript in transcripts::text() {
        let server = Server::start(threads);
        failures.extend(play(transcript, &mut server.connect(), Cut::Whole).err());
    }
    assert!(failures.is_empty(), "{} transcripts fail\n{}", failures.len(), failures.join("\n"));
}

/// Asks for stats and takes its rows apart.
fn rows(client: &mut Client, request: &str) -> Vec<(String, String)> {
    let answer = client.ask(format!("{request}\r\n").as_bytes(), b"END\r\n");
    let answer = String::from_utf8(answer).expect("stats are text");
    let mut lines: Vec<&str> = answer.split_terminator("\r\n").collect();
    assert_eq!(lines.pop(), Some("END"));
    let row = |line: &str| {
        let (name, value) = line.strip_prefix("STAT ")?.split_once(' ')?;
        Some((name.to_owned(), value.to_owned()))
    };
    lines.into_iter().map(|line| row(line).unwrap_or_else(|| panic!("no row of stats: {line}"))).collect()
}

/// memcached's names, in its order, with those that depend on options where it puts them.
#[rustfmt::skip]
const STATS: &[&str] = &[
    "pid", "uptime", "time", "version", "libevent", "pointer_size", "rusage_user", "rusage_system", "max_connections",
    "curr_connections", "total_connections", "rejected_connections", "connection_structures", "response_obj_oom",
    "response_obj_count", "response_obj_bytes", "read_buf_count", "read_buf_bytes", "read_buf_bytes_free",
    "read_buf_oom", "reserved_fds", "cmd_get", "cmd_set", "cmd_flush", "cmd_touch", "cmd_meta", "get_hits",
    "get_misses", "get_expired", "get_flushed", "delete_misses", "delete_hits", "incr_misses", "incr_hits",
    "decr_misses", "decr_hits", "cas_misses", "cas_hits", "cas_badval", "touch_hits", "touch_misses",
    "store_too_large", "store_no_memory", "auth_cmds", "auth_errors", "idle_kicks", "bytes_read", "bytes_written",
    "limit_maxbytes", "accepting_conns", "listen_disabled_num", "time_in_listen_disabled_us", "threads", "conn_yields",
    "hash_power_level", "hash_bytes", "hash_is_expanding", "slab_reassign_rescues", "slab_reassign_chunk_rescues",
    "slab_reassign_inline_reclaim", "slab_reassign_busy_items", "slab_reassign_busy_deletes",
    "slab_reassign_busy_nomem", "slab_reassign_last_busy_status", "slab_reassign_running", "slabs_moved",
    "lru_crawler_running", "lru_crawler_starts", "lru_maintainer_juggles", "malloc_fails", "log_worker_dropped",
    "log_worker_written", "log_watcher_skipped", "log_watcher_sent", "log_watchers", "unexpected_napi_ids",
    "round_robin_fallback", "bytes", "curr_items", "total_items", "slab_global_page_pool", "expired_unfetched",
    "evicted_unfetched", "evicted_active", "evictions", "reclaimed", "crawler_reclaimed", "crawler_items_checked",
    "lrutail_reflocked", "moves_to_cold", "moves_to_warm", "moves_within_lru", "direct_reclaims",
    "lru_bumps_dropped",
];

/// memcached's rows of a class.
#[rustfmt::skip]
const STATS_ITEMS: &[&str] = &[
    "number", "number_hot", "number_warm", "number_cold", "number_temp", "age_hot", "age_warm", "age", "mem_requested",
    "evicted", "evicted_nonzero", "evicted_time", "outofmemory", "tailrepairs", "reclaimed", "expired_unfetched",
    "evicted_unfetched", "evicted_active", "crawler_reclaimed", "crawler_items_checked", "lrutail_reflocked",
    "moves_to_cold", "moves_to_warm", "moves_within_lru", "direct_reclaims", "hits_to_hot", "hits_to_warm", "hits_to_cold", "hits_to_temp",
];

/// Names that dashboards cannot do without.
#[rustfmt::skip]
const STATS_AT_LEAST: &[&str] = &[
    "pid", "uptime", "time", "version", "pointer_size", "rusage_user", "rusage_system", "max_connections",
    "curr_connections", "total_connections", "rejected_connections", "cmd_get", "cmd_set", "cmd_flush", "cmd_touch",
    "get_hits", "get_misses", "get_expired", "get_flushed", "delete_misses", "delete_hits", "incr_misses", "incr_hits",
    "decr_misses", "decr_hits", "cas_misses", "cas_hits", "cas_badval", "touch_hits", "touch_misses",
    "store_too_large", "store_no_memory", "bytes_read", "bytes_written", "limit_maxbytes", "threads", "conn_yields",
    "hash_power_level", "hash_bytes", "bytes", "curr_items", "total_items", "expired_unfetched", "evicted_unfetched",
    "evictions", "reclaimed",
];
