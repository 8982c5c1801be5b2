//! What an administrator asks for while the daemon serves: pages moved, classes crawled, memory taken away and given back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::client::Client;
use common::server::Server;
use common::wire::Wire;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn rows(client: &mut Client, request: &str) -> HashMap<String, String> {
    let answer = client.ask(format!("{request}\r\n").as_bytes(), b"END\r\n");
    let text = String::from_utf8(answer).unwrap();
    let row = |line: &str| {
        let (name, value) = line.strip_prefix("STAT ")?.split_once(' ')?;
        Some((name.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

fn number(client: &mut Client, request: &str, name: &str) -> u64 {
    rows(client, request).get(name).map_or(0, |value| value.parse().unwrap())
}

fn stat(client: &mut Client, name: &str) -> u64 {
    number(client, "stats", name)
}

/// Waits until it is so; the maintainer has its own pace.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn until_moved(client: &mut Client) {
    until("a page is on its way", || stat(client, "slab_reassign_running") == 0);
}

/// A value that says whose it is at every place.
fn value(key: &str, len: usize) -> Vec<u8> {
    key.bytes().cycle().take(len).collect()
}

fn set(client: &mut Client, key: &str, len: usize) {
    let mut request = format!("set {key} 0 0 {len}\r\n").into_bytes();
    request.extend(value(key, len));
    request.extend(b"\r\n");
    client.exchange(&request, b"STORED\r\n");
}

/// Whether the key is there, and then with its own value.
fn has(client: &mut Client, key: &str, len: usize) -> bool {
    let answer = client.ask(format!("get {key}\r\n").as_bytes(), b"END\r\n");
    if answer == b"END\r\n" {
        return false;
    }
    let mut expected = format!("VALUE {key} 0 {len}\r\n").into_bytes();
    expected.extend(value(key, len));
    expected.extend(b"\r\nEND\r\n");
    assert!(answer == expected, "{key} has another value");
    true
}

/// The class with the most pages.
fn fullest(client: &mut Client) -> u8 {
    let slabs = rows(client, "stats slabs");
    let pages = slabs.iter().filter_map(|(name, value)| {
        let class: u8 = name.strip_suffix(":total_pages")?.parse().ok()?;
        Some((value.parse::<u32>().unwrap(), class))
    });
    pages.max().unwrap().1
}

fn pages(client: &mut Client, class: u8) -> u64 {
    number(client, "stats slabs", &format!("{class}:total_pages"))
}

#[test]
fn a_page_moves_where_it_is_told_and_nothing_in_it_is_lost() {
    let server = Server::start_with(|settings| settings.memory_len = 64 << 20);
    let mut client = server.connect();
    for n in 0..4000 {
        set(&mut client, &format!("key{n}"), 1000);
    }
    // Room in the class itself: for what moves it takes no page.
    for n in 2000..4000_usize {
        client.exchange(
            format!("delete key{}\r\n", if n.is_multiple_of(2) { n } else { n - 2000 }).as_bytes(),
            b"DELETED\r\n",
        );
    }
    let is_kept = |n: &usize| (*n < 2000) == n.is_multiple_of(2);
    let from = fullest(&mut client);
    let (before, to) = (pages(&mut client, from), from + 9);
    assert!(before > 10);
    for moved in 1..=3 {
        client.exchange(format!("slabs reassign {from} {to}\r\n").as_bytes(), b"OK\r\n");
        until_moved(&mut client);
        assert_eq!((pages(&mut client, from), pages(&mut client, to)), (before - moved, moved));
    }
    client.exchange(format!("slabs reassign {from} 0\r\n").as_bytes(), b"OK\r\n");
    until_moved(&mut client);
    assert_eq!(stat(&mut client, "slab_global_page_pool"), 1);
    // The pool keeps its last page, and so does a class.
    client.exchange(format!("slabs reassign 0 {to}\r\n").as_bytes(), b"NOSPARE source class has no spare pages\r\n");
    client.exchange(format!("slabs reassign {from} 0\r\n").as_bytes(), b"OK\r\n");
    until_moved(&mut client);
    client.exchange(format!("slabs reassign 0 {to}\r\n").as_bytes(), b"OK\r\n");
    until_moved(&mut client);
    assert_eq!((stat(&mut client, "slab_global_page_pool"), pages(&mut client, to)), (1, 4));
    assert_eq!(stat(&mut client, "slabs_moved"), 6);
    assert_eq!((stat(&mut client, "evictions"), stat(&mut client, "curr_items")), (0, 2000));
    assert!(
        (0..4000).filter(is_kept).all(|n| has(&mut client, &format!("key{n}"), 1000)),
        "with room, what is moved is kept"
    );
}

/// Stores `key00000`, `key00001`, ... until their class has at least so many pages, and every chunk of them is in use; how many.
fn fill_pages(client: &mut Client, len: usize, page_count: u64) -> usize {
    let class = {
        set(client, "key00000", len);
        fullest(client)
    };
    for n in 1.. {
        set(client, &format!("key{n:05}"), len);
        let slabs = rows(client, "stats slabs");
        let of_class = |name: &str| slabs[&format!("{class}:{name}")].parse::<u64>().unwrap();
        if of_class("total_pages") >= page_count && of_class("used_chunks") == of_class("total_chunks") {
            return n + 1;
        }
    }
    unreachable!("pages have an end")
}

/// Pages that some class has.
fn pages_in_use(client: &mut Client) -> u64 {
    let slabs = rows(client, "stats slabs");
    slabs
        .iter()
        .filter(|(name, _)| name.ends_with(":total_pages"))
        .map(|(_, value)| value.parse::<u64>().unwrap())
        .sum()
}

#[test]
fn a_page_that_is_full_moves_to_one_of_the_pool_and_nothing_is_evicted() {
    for (len, item_len_max) in [(1000, 1 << 20), (60, 1 << 20), (40_000, 4 << 20)] {
        let server = Server::start_with(|settings| {
            (settings.memory_len, settings.item_len_max) = (64 << 20, item_len_max);
        });
        let mut client = server.connect();
        let count = fill_pages(&mut client, len, 6);
        let from = fullest(&mut client);
        let (before, to) = (pages(&mut client, from), from - 5);
        let there = pages(&mut client, to);
        for moved in 1..=4 {
            client.exchange(format!("slabs reassign {from} {to}\r\n").as_bytes(), b"OK\r\n");
            until_moved(&mut client);
            assert_eq!(stat(&mut client, "evictions"), 0, "of values of {len}");
            assert_eq!((pages(&mut client, from), pages(&mut client, to)), (before, there + moved));
        }
        // The pool gets a page, too, as long as it has others to lend than those it was given.
        for moved in 1..=4 {
            client.exchange(format!("slabs reassign {from} 0\r\n").as_bytes(), b"OK\r\n");
            until_moved(&mut client);
            assert_eq!((stat(&mut client, "evictions"), stat(&mut client, "slab_global_page_pool")), (0, moved));
        }
        assert_eq!(stat(&mut client, "slabs_moved"), 8);
        assert!((0..count).all(|n| has(&mut client, &format!("key{n:05}"), len)), "of values of {len}");
    }
}

#[test]
fn with_one_page_left_nothing_is_evicted_and_with_none_what_is_wanted_least() {
    let server = Server::start_with(|settings| settings.memory_len = 8 << 20);
    let mut client = server.connect();
    let all = (8 << 20) / slabd::limits::PAGE_LEN_MIN as u64;
    let count = fill_pages(&mut client, 1000, 5);
    let from = fullest(&mut client);
    let (before, to) = (pages(&mut client, from), from + 12);
    for n in 0.. {
        if pages_in_use(&mut client) == all - 1 {
            break;
        }
        set(&mut client, &format!("other{n}"), 300);
    }
    client.exchange(format!("slabs reassign {from} {to}\r\n").as_bytes(), b"OK\r\n");
    until_moved(&mut client);
    assert_eq!((pages(&mut client, from), pages(&mut client, to)), (before, 1));
    assert_eq!((stat(&mut client, "evictions"), pages_in_use(&mut client)), (0, all));
    assert!((0..count).all(|n| has(&mut client, &format!("key{n:05}"), 1000)));
    client.exchange(format!("slabs reassign {from} {to}\r\n").as_bytes(), b"OK\r\n");
    until_moved(&mut client);
    assert_eq!((pages(&mut client, from), pages(&mut client, to)), (before - 1, 2));
    let (evicted, per_page) = (stat(&mut client, "evictions"), count as u64 / before);
    assert!((1..=per_page).contains(&evicted), "{evicted} of {per_page} in a page");
    let left = (0..count).filter(|n| has(&mut client, &format!("key{n:05}"), 1000)).count();
    assert_eq!(left as u64 + evicted, count as u64);
}

#[test]
fn any_class_that_can_gives_and_in_the_end_none_can() {
    let server = Server::start_with(|settings| settings.memory_len = 8 << 20);
    let mut client = server.connect();
    for n in 0..200 {
        set(&mut client, &format!("key{n}"), 1000);
    }
    let from = fullest(&mut client);
    while pages(&mut client, from) > 1 {
        client.exchange(b"slabs reassign -1 1\r\n", b"OK\r\n");
        until_moved(&mut client);
    }
    client.exchange(format!("slabs reassign {from} 1\r\n").as_bytes(), b"NOSPARE source class has no spare pages\r\n");
    let giver = pages(&mut client, 1);
    client.exchange(format!("slabs reassign -1 {from}\r\n").as_bytes(), b"OK\r\n");
    until_moved(&mut client);
    assert_eq!(pages(&mut client, 1), giver - 1);
}

#[test]
fn pages_of_large_values_move_piece_by_piece() {
    let server = Server::start_with(|settings| {
        (settings.memory_len, settings.item_len_max) = (64 << 20, 4 << 20);
    });
    let mut client = server.connect();
    // Two pieces and a rest: a page has four, of two values.
    let len_of = |n: usize| 36_000 + n % 60 * 200;
    for n in 0..600 {
        set(&mut client, &format!("large{n}"), len_of(n));
        // Heads are as long as these, and so in the same pages.
        (0..6).for_each(|m| set(&mut client, &format!("s{n}.{m}"), 20));
    }
    for n in 0..600 {
        (0..6).for_each(|m| client.exchange(format!("delete s{n}.{m}\r\n").as_bytes(), b"DELETED\r\n"));
    }
    // Every second one goes, so that there is room for the others' pieces.
    for n in 0..300 {
        client.exchange(format!("delete large{}\r\n", n * 2).as_bytes(), b"DELETED\r\n");
    }
    let largest = fullest(&mut client);
    for _ in 0..100 {
        client.exchange(format!("slabs reassign {largest} 0\r\n").as_bytes(), b"OK\r\n");
        until_moved(&mut client);
    }
    // Heads are in a small class, last pieces in the ones between: of each a page, and of the heads' some more.
    let slabs = rows(&mut client, "stats slabs");
    let pages_of = |class: u8| slabs.get(&format!("{class}:total_pages")).map_or(0, |n| n.parse::<u64>().unwrap());
    let heads = (1..20).max_by_key(|&class| pages_of(class)).unwrap();
    for class in (1..largest).chain([heads, heads]) {
        let answer = client.ask(format!("slabs reassign {class} 0\r\n").as_bytes(), b"\r\n");
        assert!(answer.starts_with(b"OK") || answer.starts_with(b"NOSPARE"));
        until_moved(&mut client);
    }
    assert!(stat(&mut client, "slab_reassign_chunk_rescues") > 100);
    assert!(stat(&mut client, "slab_reassign_rescues") > 20, "heads");
    assert_eq!((stat(&mut client, "evictions"), stat(&mut client, "curr_items")), (0, 300));
    for n in (0..300).map(|n| n * 2 + 1) {
        assert!(has(&mut client, &format!("large{n}"), len_of(n)), "every value is whole");
        client.exchange(format!("append large{n} 0 0 1\r\n!\r\n").as_bytes(), b"STORED\r\n");
        client.exchange(format!("delete large{n}\r\n").as_bytes(), b"DELETED\r\n");
    }
    assert_eq!(stat(&mut client, "bytes"), 0);
}

#[test]
fn a_page_waits_for_a_value_that_is_half_sent_and_then_goes_on() {
    let server = Server::start_with(|settings| settings.memory_len = 8 << 20);
    let (mut client, mut slow) = (server.connect(), server.connect());
    // Longer than what is waited for together with its line: its chunk is taken at once.
    for n in 0..20 {
        set(&mut client, &format!("key{n}"), 6000);
    }
    let from = fullest(&mut client);
    slow.send(b"set slow 0 0 6000\r\nfirst");
    until("the chunk is taken", || pages(&mut client, from) > 1);
    // All pages but one go, in the end the one with the half-sent value as well.
    let mut waited = false;
    while pages(&mut client, from) > 1 && !waited {
        client.exchange(format!("slabs reassign {from} 0\r\n").as_bytes(), b"OK\r\n");
        let begun = Instant::now();
        while stat(&mut client, "slab_reassign_running") == 1 && begun.elapsed() < Duration::from_millis(300) {}
        waited = stat(&mut client, "slab_reassign_running") == 1;
    }
    if waited {
        assert!(stat(&mut client, "slab_reassign_busy_items") > 0);
        let busy = rows(&mut client, "stats").remove("slab_reassign_last_busy_status");
        assert_eq!(busy.as_deref(), Some("busy_floating"));
        client.exchange(b"slabs reassign 1 2\r\n", b"BUSY currently processing reassign request\r\n");
    }
    slow.send(&[b'x'; 5995]);
    slow.exchange(b"\r\n", b"STORED\r\n");
    until_moved(&mut client);
}

#[test]
fn moves_under_load_lose_nothing_and_are_no_error() {
    let server = Server::start_with(|settings| (settings.memory_len, settings.threads) = (256 << 20, 2));
    let mut client = server.connect();
    let lens = [100, 1000, 9000];
    let len_of = |n: usize| if n.is_multiple_of(97) { 200_000 } else { lens[n % 3] };
    let keys: Vec<(String, usize)> = (0..4000).map(|n| (format!("key{n}"), len_of(n / 2))).collect();
    for (key, len) in &keys {
        set(&mut client, key, *len);
    }
    // Every second one goes: then there is room for what moves, as long as a page that is taken is given back.
    let (keys, gone): (Vec<_>, Vec<_>) = keys.into_iter().enumerate().partition(|(n, _)| n.is_multiple_of(2));
    let keys: Vec<_> = keys.into_iter().map(|(_, key)| key).collect();
    for (_, (key, _)) in gone {
        client.exchange(format!("delete {key}\r\n").as_bytes(), b"DELETED\r\n");
    }
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..3_usize {
            let (mut client, keys, stop, reads) = (server.connect(), &keys, &stop, &reads);
            scope.spawn(move || {
                for (turn, (key, len)) in keys.iter().cycle().skip(thread * 600).enumerate() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    assert!(has(&mut client, key, *len), "{key} is lost");
                    if turn % 7 == 0 {
                        set(&mut client, key, *len);
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let classes: Vec<u8> = rows(&mut client, "stats slabs")
            .keys()
            .filter_map(|name| name.strip_suffix(":total_pages")?.parse().ok())
            .collect();
        for turn in 0..100 {
            let (one, other) = (classes[turn % classes.len()], classes[(turn / 3 + 1) % classes.len()]);
            for (from, to) in [(one, other), (other, one)] {
                let answer = client.ask(format!("slabs reassign {from} {to}\r\n").as_bytes(), b"\r\n");
                if !answer.starts_with(b"OK") {
                    assert!(answer.starts_with(b"SAME") || answer.starts_with(b"NOSPARE"));
                    break;
                }
                until_moved(&mut client);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (moved, reads) = (stat(&mut client, "slabs_moved"), reads.load(Ordering::Relaxed));
    assert!(moved > 20 && reads > 100, "{moved} pages moved, {reads} reads");
    assert_eq!((stat(&mut client, "evictions"), stat(&mut client, "curr_items")), (0, 2000));
}

/// Their stamps would go round in time.
#[test]
fn what_was_flushed_goes_within_weeks_even_where_nobody_crawls() {
    let server = Server::start_with(|settings| settings.background.crawler = false);
    let mut client = server.connect();
    (0..100).for_each(|n| set(&mut client, &format!("key{n}"), 100));
    client.exchange(b"flush_all\r\n", b"OK\r\n");
    set(&mut client, "alive", 100);
    server.clock.advance(10 * 24 * 3600 * 1000);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(stat(&mut client, "curr_items"), 101, "nobody sweeps");
    server.clock.advance(20 * 24 * 3600 * 1000);
    until("somebody does", || stat(&mut client, "curr_items") == 1);
}

#[test]
fn a_crawl_removes_what_is_dead_and_says_what_it_saw() {
    let server = Server::start_with(|settings| settings.background.crawler = false);
    let mut client = server.connect();
    assert!(!rows(&mut client, "stats").contains_key("lru_crawler_running"), "as memcached: no crawler, no rows");
    client.exchange(b"lru_crawler crawl all\r\n", b"CLIENT_ERROR lru crawler disabled\r\n");
    for n in 0..1000 {
        let (small, exptime) = (format!("small{n}"), if n < 300 { 10 } else { 0 });
        client.exchange(format!("set {small} 0 {exptime} 5\r\nvalue\r\n").as_bytes(), b"STORED\r\n");
        set(&mut client, &format!("other{n}"), 900);
    }
    let items = rows(&mut client, "stats items");
    let mut classes: Vec<u8> =
        items.keys().filter_map(|name| name.strip_prefix("items:")?.strip_suffix(":number")?.parse().ok()).collect();
    classes.sort_unstable();
    let (small, other) = (classes[0], *classes.last().unwrap());
    server.clock.advance(20_000);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(stat(&mut client, "curr_items"), 2000, "nobody sweeps");
    client.exchange(b"lru_crawler enable\r\n", b"OK\r\n");
    client.exchange(b"lru_crawler enable\r\n", b"ERROR failed to start lru crawler thread\r\n");
    until("the background sweep has begun", || stat(&mut client, "curr_items") == 1700);
    let before = number(&mut client, "stats items", &format!("items:{other}:crawler_items_checked"));
    client.exchange(format!("lru_crawler crawl {other}\r\n").as_bytes(), b"OK\r\n");
    until("the crawl is over", || stat(&mut client, "lru_crawler_running") == 0);
    let checked = number(&mut client, "stats items", &format!("items:{other}:crawler_items_checked"));
    assert!(checked - before >= 900, "every item of the class: {}", checked - before);
    assert_eq!(number(&mut client, "stats items", &format!("items:{small}:crawler_reclaimed")), 300);
    assert_eq!(stat(&mut client, "crawler_reclaimed"), 300);
    assert!(stat(&mut client, "lru_crawler_starts") >= 2 && stat(&mut client, "crawler_items_checked") >= 1000);
    // Few items a crawl; the background sweep has nothing left to look at.
    client.exchange(b"lru_crawler tocrawl 10\r\n", b"OK\r\n");
    let before = stat(&mut client, "crawler_items_checked");
    client.exchange(format!("lru_crawler crawl {other}\r\n").as_bytes(), b"OK\r\n");
    until("the crawl is over", || stat(&mut client, "lru_crawler_running") == 0);
    let checked = stat(&mut client, "crawler_items_checked") - before;
    assert!((10..200).contains(&checked), "{checked}");
    client.exchange(b"lru_crawler crawl ,\r\n", b"NOTSTARTED no items to crawl\r\n");
    client.exchange(b"lru_crawler crawl 0\r\n", b"BADCLASS invalid class id\r\n");
    client.exchange(b"lru_crawler disable\r\n", b"OK\r\n");
}

#[test]
fn knobs_are_told_as_they_are_turned() {
    let server = Server::start(1);
    let mut client = server.connect();
    for (request, answer) in [
        ("slabs automove 2", "OK"),
        ("slabs automove ratio 0.5", "OK"),
        ("slabs automove window 20", "OK"),
        ("slabs automove window 2", "CLIENT_ERROR automove window too low or too high (3..1800)"),
        ("lru_crawler sleep 7", "OK"),
        ("lru_crawler sleep 1000001", "CLIENT_ERROR sleep must be one second or less"),
        ("lru_crawler tocrawl 9", "OK"),
        ("cache_memlimit 128", "OK"),
        ("cache_memlimit 1024", "OK"),
        ("cache_memlimit 1025", "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust"),
        ("cache_memlimit 7", "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m"),
        ("cache_memlimit 1073741824", "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes"),
        ("cache_memlimit 100", "OK"),
    ] {
        client.exchange(format!("{request}\r\n").as_bytes(), format!("{answer}\r\n").as_bytes());
    }
    let settings = rows(&mut client, "stats settings");
    for (name, value) in [
        ("slab_reassign", "yes"),
        ("slab_automove", "2"),
        ("slab_automove_ratio", "0.50"),
        ("slab_automove_window", "20"),
        ("lru_crawler", "yes"),
        ("lru_crawler_sleep", "7"),
        ("lru_crawler_tocrawl", "9"),
        ("maxbytes", "104857600"),
    ] {
        assert_eq!(settings.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(stat(&mut client, "limit_maxbytes"), 100 << 20);
    let server = Server::start_with(|settings| settings.background.reassign = false);
    server.connect().exchange(b"slabs reassign a b\r\n", b"CLIENT_ERROR slab reassignment disabled\r\n");
    let server = Server::start_with(|settings| settings.prefault = true);
    server
        .connect()
        .exchange(b"cache_memlimit 100\r\n", b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n");
}

#[test]
fn with_automove_off_no_page_moves_by_itself() {
    for level in [0, 2] {
        let server = Server::start_with(|settings| settings.memory_len = 8 << 20);
        let mut client = server.connect();
        client.exchange(format!("slabs automove {level}\r\n").as_bytes(), b"OK\r\n");
        for n in 0..9000 {
            set(&mut client, &format!("old{n}"), 1000);
        }
        let old = fullest(&mut client);
        server.clock.advance(100_000);
        // The first page of a class without any is taken from another; from there on it evicts its own, and asks for more.
        let store = |client: &mut Client| (0..500).for_each(|n| set(client, &format!("new{n}"), 3000));
        let new_pages = |client: &mut Client| {
            store(client);
            let slabs = rows(client, "stats slabs");
            let pages = |class: u8| slabs.get(&format!("{class}:total_pages")).map_or(0, |n| n.parse::<u64>().unwrap());
            (old + 1..100).map(pages).sum::<u64>()
        };
        if level == 0 {
            assert_eq!((0..20).map(|_| new_pages(&mut client)).max(), Some(1));
        } else {
            until("pages have moved", || new_pages(&mut client) > 10);
        }
    }
}

#[test]
fn memory_that_is_not_wanted_any_more_is_taken_from_items_and_what_is_added_is_used() {
    let server = Server::start_with(|settings| settings.memory_len = 32 << 20);
    let mut client = server.connect();
    let fill = |client: &mut Client, count: usize| {
        for n in 0..count {
            set(client, &format!("key{n}"), 2000 + n % 5 * 3000);
        }
    };
    fill(&mut client, 6000);
    let full = stat(&mut client, "bytes");
    assert!(full > 24 << 20);
    client.exchange(b"cache_memlimit 8\r\n", b"OK\r\n");
    until("pages are given back", || stat(&mut client, "bytes") < 8 << 20);
    fill(&mut client, 6000);
    assert!(stat(&mut client, "bytes") < 8 << 20);
    client.exchange(b"cache_memlimit 64\r\n", b"OK\r\n");
    fill(&mut client, 12_000);
    let grown = stat(&mut client, "bytes");
    assert!(grown > 50 << 20, "{grown}");
    let kept = (0..12_000).filter(|n| has(&mut client, &format!("key{n}"), 2000 + n % 5 * 3000)).count();
    assert!(kept > 6000, "{kept}");
}

#[test]
fn values_longer_than_slab_chunk_max_are_kept_in_pieces_of_it() {
    for kb in [4, 16, 512] {
        let server = Server::start_with(|settings| {
            (settings.classes.chunk_max, settings.memory_len) = (Some(kb << 10), 64 << 20);
        });
        let mut client = server.connect();
        assert_eq!(number(&mut client, "stats settings", "slab_chunk_max"), kb as u64 * 1024);
        for len in [0, 1, 3700, 3800, 3900, 4096, 5000, 15_000, 16_300, 16_400, 100_000, 524_000, 524_300, 1_000_000] {
            let key = format!("key{len}");
            set(&mut client, &key, len);
            assert!(has(&mut client, &key, len));
            client.exchange(format!("append {key} 0 0 3\r\nend\r\n").as_bytes(), b"STORED\r\n");
            client.exchange(format!("prepend {key} 0 0 3\r\nbeg\r\n").as_bytes(), b"STORED\r\n");
            let answer = client.ask(format!("get {key}\r\n").as_bytes(), b"END\r\n");
            let whole = [b"beg".as_slice(), &value(&key, len), b"end\r\nEND\r\n"].concat();
            assert!(answer.ends_with(&whole) && answer.starts_with(format!("VALUE {key} 0 {}", len + 6).as_bytes()));
        }
        client.exchange(b"incr key1000000 1\r\n", b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
        let slabs = rows(&mut client, "stats slabs");
        let longest = slabs
            .iter()
            .filter(|(name, _)| name.ends_with(":chunk_size"))
            .map(|(_, len)| len.parse::<usize>().unwrap())
            .max();
        assert_eq!(longest, Some(kb << 10));
        for number in 0..200 {
            set(&mut client, &format!("more{number}"), 400_000);
        }
        assert!(stat(&mut client, "evictions") > 0 && has(&mut client, "more199", 400_000));
    }
}
