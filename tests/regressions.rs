//! One test per defect that was once there, with its story. Each failed before its defect was repaired.

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::client::Client;
use common::server::{Server, settings};
use common::wire::Wire;
use slabd::cli;
use slabd::clock::Clock;
use slabd::limits::TURN_REQUESTS_MAX;
use slabd::settings::ClassSizes;
use slabd::sys::memory::{Backing, Region};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// A value without its terminator that was also too large was called a bad data chunk when it came in one piece, and too
/// large when it came in two; and only the latter removed the value that was there. An append that was too large by
/// itself was NOT_STORED in one piece, and too large in two. It was hidden by the greatest `-I`: what it refuses is never
/// in one piece.
#[test]
fn what_is_refused_is_refused_alike_in_one_piece_and_in_two() {
    let server = Server::start_with(|settings| settings.item_len_max = 4096);
    let too_large = "SERVER_ERROR object too large for cache\r\n";
    for value_len in [4090, 9000] {
        let value = "x".repeat(value_len);
        let table = [
            (format!("set k 0 0 {value_len}\r\n{value}xy"), "END\r\n"),
            (format!("append k 0 0 {value_len}\r\n{value}\r\n"), "VALUE k 0 1\r\na\r\nEND\r\n"),
            (format!("prepend none 0 0 {value_len}\r\n{value}\r\n"), "VALUE k 0 1\r\na\r\nEND\r\n"),
        ];
        for (request, left) in table {
            let answer = too_large.to_owned() + left;
            for cut in [request.len(), request.len() - 1, request.len() - 2, request.len() / 2] {
                let mut client = server.connect().with_pieces_apart();
                client.exchange(b"set k 0 0 1\r\na\r\n", b"STORED\r\n");
                client.send(&request.as_bytes()[..cut]);
                client.send(&request.as_bytes()[cut..]);
                client.exchange(b"get k\r\n", answer.as_bytes());
            }
        }
    }
}

/// A turn was bounded in bytes only, and in bytes read: half a million keys in one line, of two bytes each and none of
/// them there, were one go of 50 ms, and ten clients with deep pipelines made the others wait 40 ms for each answer.
#[test]
fn many_short_requests_are_not_served_in_one_go() {
    const KEYS: usize = 300_000;
    let running = slabd::server::start(settings(), Clock::manual()).expect("the server starts");
    let mut client = Client::connect(running.local_addrs()[0]);
    let line = format!("get{}\r\n", " k".repeat(KEYS));
    assert_eq!(client.ask(line.as_bytes(), b"END\r\n"), b"END\r\n");
    let yields = running.daemon().stats.totals().conn_yields;
    let least = KEYS as u64 / u64::from(TURN_REQUESTS_MAX);
    assert!(yields >= least, "{KEYS} keys in a line gave way to others {yields} times");
}

/// Where the kernel mapped the arena and the index side by side and not on a boundary of huge pages, a page of two
/// megabytes was shared by them, or the small beginning of the index was all of one: up to four megabytes resident
/// for nothing, or none, by chance.
#[test]
fn regions_of_huge_pages_share_none_with_their_neighbours() {
    for backing in [Backing::Huge, Backing::HugeLater] {
        let regions: Vec<Region> = (0..8)
            .map(|i| Region::reserve((2 << 20) + i * 4096, backing).expect("a few megabytes can be mapped"))
            .collect();
        for region in &regions {
            assert_eq!(region.base().addr().get() % (2 << 20), 0);
        }
    }
}

/// The log's own filter stood at the level of the start, so `verbosity` was answered and did nothing.
#[test]
fn verbosity_makes_the_log_say_more() {
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_slabd"))
        .args(["-p", "-1", "-l", "127.0.0.1", "-t", "1"])
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .expect("the daemon starts");
    let mut stderr = BufReader::new(daemon.stderr.take().expect("it is piped"));
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        assert!(stderr.read_line(&mut line).expect("text") > 0, "the daemon ended without a word");
    }
    let addr = line.split("listening on ").nth(1).and_then(|rest| rest.split(';').next()).expect("an address");
    let mut client = Client::connect(addr.parse().expect("an address"));
    client.exchange(b"verbosity 1\r\n", b"OK\r\n");
    for signal in ["HUP", "TERM"] {
        let killed = Command::new("kill").args(["-s", signal, &daemon.id().to_string()]).status();
        assert!(killed.expect("there is a kill").success());
        if signal == "HUP" {
            // It is one thread that hears them, in no order: one after the other.
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
    let mut said = String::new();
    stderr.read_to_string(&mut said).expect("text");
    assert!(daemon.wait().expect("it ends").success());
    assert!(said.contains("signal 1: reloading"), "said only: {said}");
}

/// A negative number was told to be an option that does not exist, without a word of the option it was given to; and
/// any number of brackets around an address was as good as one pair.
#[test]
fn negative_numbers_and_odd_brackets_are_refused_by_their_option() {
    let table = [
        (["slabd", "-m", "-5"], "-m/--memory-limit: '-5'"),
        (["slabd", "-I", "-1"], "-I/--max-item-size: '-1'"),
        (["slabd", "-f", "-3"], "-f/--slab-growth-factor: '-3'"),
        (["slabd", "-l", "[[::1]]"], "-l/--listen"),
        (["slabd", "-l", "[::1"], "-l/--listen"),
    ];
    for (line, want) in table {
        let why = cli::parse(line).expect_err("it cannot be meant");
        assert!(why.contains(want), "{line:?}: {why}");
    }
}

/// `stats settings` told memcached's default of 20 where slabd had none.
#[test]
fn the_requests_per_event_that_are_told_are_those_that_are_served() {
    for (given, told) in [(None, TURN_REQUESTS_MAX), (Some(7), 7)] {
        let server = Server::start_with(|settings| settings.reqs_per_event = given);
        let answer = server.connect().ask(b"stats settings\r\n", b"END\r\n");
        let answer = String::from_utf8(answer).expect("text");
        assert!(answer.contains(&format!("STAT reqs_per_event {told}\r\n")), "{answer}");
    }
}

/// A read stops at urgent data as if it had drained the socket; what lay behind it was served when more came, or never.
#[test]
fn urgent_data_does_not_hide_the_requests_behind_it() {
    let server = Server::start(1);
    for _ in 0..200 {
        let mut client = server.connect();
        client.send(b"get a\r\n");
        socket2::SockRef::from(&client.stream()).send_out_of_band(b"!").expect("a byte fits");
        client.exchange(b"get b\r\n", b"END\r\nEND\r\n");
    }
}

/// While `ms` was an unknown command like any other, the value behind it was read as commands; and so it would be today behind
/// a line whose length nobody can read, as in the syntax that `ms` once had.
#[test]
fn the_value_of_a_meta_set_is_never_run_as_commands() {
    let server = Server::start_with(|_| {});
    let mut client = server.connect();
    client.exchange(b"set k 0 0 1\r\na\r\n", b"STORED\r\n");
    client.exchange(b"ms other 8 g\r\ndelete k\r\nmn\r\n", b"CLIENT_ERROR invalid flag\r\nMN\r\n");
    client.exchange(b"ms other S8\r\ndelete k\r\n", b"CLIENT_ERROR bad command line format\r\n");
    assert!(client.rest().is_empty(), "closed, and nothing else answered");
    server.connect().exchange(b"get k\r\n", b"VALUE k 0 1\r\na\r\nEND\r\n");
}

/// An addition to a long value took its lifetime before the copying: a touch by another worker meanwhile was answered, and undone.
#[test]
fn a_lifetime_that_is_set_while_a_long_value_is_extended_stays() {
    let server = Server::start_with(|settings| settings.threads = 2);
    let value_len = 900_000;
    let mut setter = server.connect();
    setter.exchange(format!("set k 0 0 {value_len}\r\n{}\r\n", "x".repeat(value_len)).as_bytes(), b"STORED\r\n");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // As many connections as it takes for one of them to be the other worker's.
        for _ in 0..4 {
            scope.spawn(|| {
                let mut adder = server.connect();
                while !done.load(Ordering::Relaxed) {
                    adder.exchange(b"append k 0 0 1\r\ny\r\n", b"STORED\r\n");
                }
            });
        }
        let mut touchers: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        let undone = (0..400_usize).find(|&n| {
            let lifetime = 1000 * (n + 1);
            let toucher = &mut touchers[n % 4];
            toucher.exchange(format!("touch k {lifetime}\r\n").as_bytes(), b"TOUCHED\r\n");
            let told = toucher.ask(b"mg k t\r\nmn\r\n", b"MN\r\n");
            // A second may have passed.
            ![lifetime, lifetime - 1].iter().any(|secs| told.starts_with(format!("HD t{secs}\r\n").as_bytes()))
        });
        done.store(true, Ordering::Relaxed);
        assert_eq!(undone, None);
    });
}

/// Each append copies the whole value, which no length of a request shows: a thousand of them, a few kilobytes on the wire, kept a worker
/// from everybody else for seconds.
#[test]
fn many_small_additions_to_a_large_value_do_not_hold_a_worker() {
    let server = Server::start_with(|settings| (settings.threads, settings.memory_len) = (1, 64 << 20));
    let mut greedy = server.connect();
    let value = vec![b'v'; 1_000_000];
    greedy.send(b"set big 0 0 1000000\r\n");
    greedy.send(&value);
    greedy.exchange(b"\r\n", b"STORED\r\n");
    let mut other = server.connect();
    other.exchange(b"get a\r\n", b"END\r\n");
    greedy.send(&b"append big 0 0 1 noreply\r\nx\r\n".repeat(2000));
    let begun = std::time::Instant::now();
    other.exchange(b"get a\r\n", b"END\r\n");
    let waited = begun.elapsed();
    greedy.exchange(b"mn\r\n", b"MN\r\n");
    let all = begun.elapsed();
    assert!(waited < all / 4, "waited {waited:?} of {all:?}");
}

/// What was owed for earlier requests was thrown away when a line without end, or another protocol's, followed in the same packet.
#[test]
fn answers_are_owed_whatever_follows() {
    let server = Server::start_with(|_| {});
    for end in [&b"z".repeat(3000)[..], b"POST / HTTP/1.1\r\n"] {
        let mut client = server.connect();
        client.send(&[b"set a 0 0 1\r\nx\r\nget a\r\n", end].concat());
        client.finish();
        assert_eq!(client.rest(), b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    }
}

/// `md` of a key that somebody had a lease on left the lease, and with it a value from before could be stored; and a `lease-set` with a
/// wrong token and a value too large took away what was there.
#[test]
fn leases_end_with_meta_deletes_and_wrong_tokens_take_nothing_away() {
    let server = Server::start_with(|_| {});
    let mut client = server.connect();
    for delete in ["delete k", "md k", "md k I T30", "md k x"] {
        let leased = client.ask(b"lease-get k\r\n", b"END\r\n");
        let token = String::from_utf8_lossy(&leased).split(' ').nth(2).map(str::to_owned).expect("a token");
        client.send(format!("{delete}\r\n").as_bytes());
        let said: &[u8] = if delete.starts_with("md") { b"NF\r\n" } else { b"NOT_FOUND\r\n" };
        client.exchange(b"", said);
        client.exchange(format!("lease-set k {token} 0 0 3\r\nold\r\n").as_bytes(), b"NOT_STORED\r\n");
        client.exchange(b"get k\r\n", b"END\r\n");
    }
    client.exchange(b"set f 0 0 5\r\nfresh\r\n", b"STORED\r\n");
    client.send(&[&b"lease-set f 77 0 0 2000000\r\n"[..], &vec![b'v'; 2_000_000], b"\r\n"].concat());
    client.exchange(b"get f\r\n", b"SERVER_ERROR object too large for cache\r\nVALUE f 0 5\r\nfresh\r\nEND\r\n");
}

#[test]
fn a_lease_on_an_item_with_a_number_of_the_clients_own_is_one_that_can_be_kept() {
    let server = Server::start_with(|_| {});
    let mut client = server.connect();
    for number in ["0", "1", "2"] {
        client.exchange(format!("ms k 1 E{number}\r\nx\r\n").as_bytes(), b"HD\r\n");
        client.exchange(format!("md k I E{number}\r\n").as_bytes(), b"HD\r\n");
        let leased = client.ask(b"lease-get k\r\n", b"END\r\n");
        let leased = String::from_utf8(leased).unwrap();
        let token: u64 = leased.split(' ').nth(2).unwrap().parse().unwrap();
        assert!(token > 1, "{leased}");
        client.exchange(format!("lease-set k {token} 0 0 1\r\ny\r\n").as_bytes(), b"STORED\r\n");
    }
}

/// memcached's classes, the largest of this length.
fn up_to(chunk_max: usize) -> ClassSizes {
    ClassSizes { chunk_max: Some(chunk_max), ..ClassSizes::default() }
}

/// With memcached's classes (`-f`, `-n`, `slab_sizes`, `slab_chunk_max`) a page was a mebibyte, however little memory there was. Of 39
/// classes eight then had a page, each store in another class took somebody's last one, and all that was in it was lost.
#[test]
fn memcacheds_classes_all_have_their_pages_in_a_small_memory() {
    let lens: Vec<usize> = std::iter::successors(Some(40), |len| Some(len * 5 / 4)).take(39).collect();
    let by_least = ClassSizes { chunk_min: Some(48), ..ClassSizes::default() };
    for classes in [ClassSizes { factor: Some(1.25), ..ClassSizes::default() }, by_least, up_to(64 << 10)] {
        for evict in [true, false] {
            let server = Server::start_with(|settings| {
                (settings.memory_len, settings.classes, settings.evict) = (8 << 20, classes.clone(), evict);
            });
            let mut client = server.connect();
            for len in &lens {
                let value = "x".repeat(*len);
                client.exchange(format!("set s{len} 0 0 {len}\r\n{value}\r\n").as_bytes(), b"STORED\r\n");
            }
            let there = |client: &mut Client, len: &usize| {
                client.ask(format!("mg s{len}\r\n").as_bytes(), b"\r\n") == b"HD\r\n"
            };
            let kept = lens.iter().filter(|len| there(&mut client, len)).count();
            assert_eq!(kept, lens.len(), "{classes:?}");
            assert_eq!(slabs_moved(&mut client), 0, "{classes:?}");
        }
    }
}

/// The same where the largest chunk that was asked for is half a mebibyte, and there are 16 pages for 39 classes: when all had been stored
/// again and again some classes had a page, and each store of another size took one of them.
#[test]
fn values_of_more_sizes_than_there_are_pages_stay_when_there_is_room() {
    let lens: Vec<usize> = std::iter::successors(Some(40), |len| Some(len * 5 / 4)).take(39).collect();
    let server = Server::start_with(|settings| {
        (settings.memory_len, settings.classes) = (8 << 20, up_to(512 << 10));
    });
    let mut client = server.connect();
    for n in 0..20_000 {
        client.exchange(format!("set f{n} 0 0 10\r\n0123456789\r\n").as_bytes(), b"STORED\r\n");
    }
    let mut moved = 0;
    for round in 0..50 {
        for len in &lens {
            let value = "x".repeat(*len);
            client.exchange(format!("set s{len} 0 0 {len}\r\n{value}\r\n").as_bytes(), b"STORED\r\n");
        }
        if round == 2 {
            moved = slabs_moved(&mut client);
        }
    }
    let kept = lens.iter().filter(|len| client.ask(format!("mg s{len}\r\n").as_bytes(), b"\r\n") == b"HD\r\n").count();
    assert_eq!(kept, lens.len());
    let more = slabs_moved(&mut client) - moved;
    assert!(more < 20, "{more} pages moved for values that are all there");
}

fn slabs_moved(client: &mut Client) -> u64 {
    let answer = String::from_utf8(client.ask(b"stats\r\n", b"END\r\n")).expect("stats are text");
    let row = answer.lines().find_map(|line| line.strip_prefix("STAT slabs_moved "));
    row.expect("there is such a row").parse().expect("it is a number")
}
