//! The meta commands and leases over sockets, where a transcript (`common/meta.rs`) does not do: many clients at once, numbers
//! that are counted, a server without CAS numbers.

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::client::Client;
use common::server::Server;
use common::wire::Wire;
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;

const CLIENTS: usize = 8;
const ROUNDS: usize = 100;

/// What each of many clients is answered that say the same at the same time, round by round; `before` is said by one of them first.
fn together(server: &Server, before: &str, say: &str, last_line: &str) -> Vec<Vec<String>> {
    let barrier = Barrier::new(CLIENTS);
    let client = |index: usize| {
        let mut client = server.connect();
        let mut answers = Vec::new();
        for round in 0..ROUNDS {
            if index == 0 {
                let said = format!("{before}mn\r\n").replace("KEY", &format!("key{round}"));
                client.ask(said.as_bytes(), b"MN\r\n");
            }
            barrier.wait();
            let said = say.replace("KEY", &format!("key{round}"));
            let answer = client.ask(said.as_bytes(), last_line.as_bytes());
            answers.push(String::from_utf8(answer).expect("answers are text"));
            barrier.wait();
        }
        answers
    };
    let by_client: Vec<Vec<String>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|index| scope.spawn(move || client(index))).collect();
        clients.into_iter().map(|client| client.join().expect("a client is answered")).collect()
    });
    (0..ROUNDS).map(|round| by_client.iter().map(|answers| answers[round].clone()).collect()).collect()
}

fn count(answers: &[String], wanted: &str) -> usize {
    answers.iter().filter(|answer| *answer == wanted).count()
}

#[test]
fn of_many_who_miss_exactly_one_makes_the_item() {
    let server = Server::start(4);
    for answers in together(&server, "", "mg KEY s N30\r\n", "\r\n") {
        assert_eq!((count(&answers, "HD s0 W\r\n"), count(&answers, "HD s0 Z\r\n")), (1, CLIENTS - 1), "{answers:?}");
    }
}

#[test]
fn of_many_who_find_a_stale_item_exactly_one_wins() {
    let server = Server::start(4);
    for answers in together(&server, "ms KEY 2 q\r\nhi\r\nmd KEY I q\r\n", "mg KEY v\r\n", "hi\r\n") {
        let (won, lost) = (count(&answers, "VA 2 X W\r\nhi\r\n"), count(&answers, "VA 2 Z X\r\nhi\r\n"));
        assert_eq!((won, lost), (1, CLIENTS - 1), "{answers:?}");
    }
}

#[test]
fn of_many_who_find_an_item_about_to_expire_exactly_one_wins() {
    let server = Server::start(4);
    for answers in together(&server, "ms KEY 2 T20 q\r\nhi\r\n", "mg KEY R30\r\n", "\r\n") {
        assert_eq!((count(&answers, "HD W\r\n"), count(&answers, "HD Z\r\n")), (1, CLIENTS - 1), "{answers:?}");
    }
}

#[test]
fn of_many_who_ask_for_a_lease_exactly_one_gets_it() {
    let server = Server::start(4);
    for (round, answers) in together(&server, "", "lease-get KEY\r\n", "END\r\n").into_iter().enumerate() {
        let waits = count(&answers, &format!("LVALUE key{round} 1 0 0\r\n\r\nEND\r\n"));
        assert_eq!(waits, CLIENTS - 1, "{answers:?}");
    }
}

#[test]
fn of_many_who_make_a_counter_each_counts_once() {
    let server = Server::start(4);
    for answers in together(&server, "", "ma KEY N30 J1 v q\r\nma KEY D0 v\r\nmn\r\n", "MN\r\n") {
        let made = answers.iter().filter(|answer| answer.starts_with("VA 1\r\n1\r\nVA ")).count();
        assert_eq!(made, 1, "only the making of a counter is told to the quiet: {answers:?}");
        let highest = answers.iter().filter(|answer| answer.ends_with(&format!("\r\n{CLIENTS}\r\nMN\r\n"))).count();
        assert!(highest >= 1, "somebody was the last to count: {answers:?}");
    }
}

#[test]
fn of_many_who_join_to_a_missing_value_none_is_lost() {
    let server = Server::start(4);
    together(&server, "", "ms KEY 1 MA N0 q\r\nx\r\nmn\r\n", "MN\r\n");
    let mut client = server.connect();
    for round in 0..ROUNDS {
        client.exchange(format!("mg key{round} s\r\n").as_bytes(), format!("HD s{CLIENTS}\r\n").as_bytes());
    }
}

#[test]
fn a_long_value_joins_to_what_is_there_by_then() {
    let server = Server::start(2);
    let (mut slow, mut quick) = (server.connect(), server.connect());
    slow.send(b"ms a 30000 MA N0 s\r\n");
    slow.send(&[b'x'; 10_000]);
    quick.exchange(b"ms a 2\r\nhi\r\n", b"HD\r\n");
    slow.send(&[b'x'; 20_000]);
    slow.exchange(b"\r\n", b"HD s30002\r\n");
    quick.send(b"ms b 30000 MA N50 s\r\n");
    quick.send(&[b'x'; 30_000]);
    quick.exchange(b"\r\nmg b t\r\n", b"HD s30000\r\nHD t50\r\n");
}

#[test]
fn meta_commands_are_counted_as_memcached_counts_them() {
    let server = Server::start(1);
    let mut client = server.connect();
    let mut before = stats(&mut client);
    let table: [(&str, &str, &[&str]); 19] = [
        ("me k\r\n", "EN\r\n", &["cmd_meta"]),
        ("mg k\r\n", "EN\r\n", &["cmd_get", "get_misses"]),
        ("ms k 1\r\n1\r\n", "HD\r\n", &["cmd_set", "total_items"]),
        ("mg k\r\n", "HD\r\n", &["cmd_get", "get_hits"]),
        ("mg k T5\r\n", "HD\r\n", &["cmd_touch", "touch_hits"]),
        ("mg none T5\r\n", "EN\r\n", &["cmd_get", "get_misses"]),
        ("mg made N5\r\n", "HD W\r\n", &["cmd_get", "get_hits", "total_items"]),
        ("md k I\r\n", "HD\r\n", &[]),
        ("md k C1\r\n", "EX\r\n", &["delete_misses"]),
        ("md k\r\n", "HD\r\n", &["delete_hits"]),
        ("md k\r\n", "NF\r\n", &["delete_misses"]),
        ("ma k\r\n", "NF\r\n", &["incr_misses"]),
        ("ma k MD\r\n", "NF\r\n", &["decr_misses"]),
        ("ma k N0\r\n", "HD\r\n", &["total_items"]),
        ("ma k C1\r\n", "EX\r\n", &[]),
        ("ms k 1 C1\r\n1\r\n", "EX\r\n", &["cmd_set", "cas_badval"]),
        ("ms k 1 I C1\r\n1\r\n", "HD\r\n", &["cmd_set", "cas_hits", "total_items"]),
        ("ms none 1 C1\r\n1\r\n", "NF\r\n", &["cmd_set", "cas_misses"]),
        ("lease-get none\r\n", "END\r\n", &["cmd_get", "get_misses", "total_items"]),
    ];
    for (say, answer, counted) in table {
        let told = client.ask(say.as_bytes(), answer.as_bytes());
        assert!(told.ends_with(answer.as_bytes()));
        let after = stats(&mut client);
        let watched = ["cmd_", "get_", "delete_", "incr_", "decr_", "cas_", "touch_", "total_items"];
        let grown: Vec<&str> = after
            .iter()
            .filter(|(name, _)| watched.iter().any(|prefix| name.starts_with(prefix)))
            .filter(|(name, number)| before[*name] + 1 == **number)
            .map(|(name, _)| name.as_str())
            .collect();
        let mut counted = counted.to_vec();
        counted.sort_unstable();
        assert_eq!(grown, counted, "{say}");
        before = after;
    }
}

fn stats(client: &mut Client) -> BTreeMap<String, u64> {
    let told = String::from_utf8(client.ask(b"stats\r\n", b"END\r\n")).expect("stats are text");
    let row = |line: &str| {
        let (name, number) = line.strip_prefix("STAT ")?.split_once(' ')?;
        Some((name.to_owned(), number.parse().ok()?))
    };
    told.lines().filter_map(row).collect()
}

#[test]
fn without_cas_numbers_none_is_right() {
    let server = Server::start_with(|settings| settings.with_cas = false);
    let mut client = server.connect();
    client.exchange(b"ms a 2 c\r\nhi\r\nmg a c v C0\r\n", b"HD c0\r\nVA 2 c0\r\nhi\r\n");
    client.exchange(b"ms a 2 C0\r\nho\r\nms a 2 C1 I\r\nho\r\nms a 2 MA C1\r\nho\r\n", b"EX\r\nEX\r\nEX\r\n");
    client.exchange(
        b"md a C0\r\nms n 1 E5 c\r\n1\r\nma n C1\r\nma n v c E9\r\n",
        b"EX\r\nHD c0\r\nEX\r\nVA 1 c0\r\n2\r\n",
    );
    client.exchange(b"mg v N0 c E5\r\nmd a I\r\nmg a\r\nmg a\r\n", b"HD c0 W\r\nHD\r\nHD X W\r\nHD Z X\r\n");
    client.exchange(
        b"lease-get l\r\nlease-set l 0 0 0 1\r\nx\r\nget l\r\n",
        b"LVALUE l 0 0 0\r\n\r\nEND\r\nSTORED\r\nVALUE l 0 1\r\nx\r\nEND\r\n",
    );
}

#[test]
fn what_is_noted_on_an_item_stays_while_the_index_grows_and_pages_move() {
    let server = Server::start(1);
    let mut client = server.connect();
    let mut said = String::from("ms c3RhbGU= 2 b q\r\nhi\r\nmd c3RhbGU= b I q\r\nmg made N0 q\r\n");
    for n in 0..60_000 {
        said.push_str(&format!("ms key{n} 10 q\r\n0123456789\r\n"));
    }
    said.push_str("mn\r\n");
    client.ask(said.as_bytes(), b"MN\r\n");
    client.exchange(
        b"mg stale k v\r\nmg stale k\r\nmg made\r\n",
        b"VA 2 kc3RhbGU= b X W\r\nhi\r\nHD kc3RhbGU= b Z X\r\nHD Z\r\n",
    );
}

#[test]
fn a_store_that_is_full_of_what_may_not_go_refuses_meta_commands_politely() {
    let server = Server::start_with(|settings| {
        settings.memory_len = 8 << 20;
        settings.evict = false;
    });
    let mut client = server.connect();
    let mut said = String::new();
    // All as long as the ones below, so that their class has nothing left.
    for n in 0..250_000 {
        said.push_str(&format!("ms {n:05x} 1 q\r\nx\r\n"));
    }
    said.push_str("mn\r\n");
    thread::scope(|scope| {
        let mut writer = client.stream();
        scope.spawn(move || std::io::Write::write_all(&mut writer, said.as_bytes()).expect("the server reads"));
        client.ask(b"", b"MN\r\n");
    });
    client.exchange(b"mg nones N0 k\r\n", b"EN knones\r\n");
    client.exchange(b"ma nones N0\r\n", b"SERVER_ERROR out of memory storing object\r\n");
    client.exchange(b"lease-get nones\r\n", b"SERVER_ERROR out of memory storing object\r\n");
    client.exchange(b"ms nones 1 MA N0\r\nx\r\n", b"NS\r\n");
    client.exchange(b"md 00000 I\r\nmg 00000\r\n", b"HD\r\nHD X W\r\n");
}
