//! The commands for tests, in a build that has them: `cargo test --features debug-commands --test debug`.

#![cfg(feature = "debug-commands")]

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::client::Client;
use common::server::Server;
use common::wire::Wire as _;
use slabd::clock::Clock;
use std::time::{Duration, Instant};

#[test]
fn time_jumps_stands_still_and_goes_on() {
    let running = slabd::server::start(common::server::settings(), Clock::system()).expect("the server starts");
    let mut client = Client::connect(running.local_addrs()[0]);
    client.exchange(b"debugtime p\r\nset a 0 2 1\r\nx\r\n", b"OK\r\nSTORED\r\n");
    std::thread::sleep(Duration::from_millis(2500));
    client.exchange(b"get a\r\n", b"VALUE a 0 1\r\nx\r\nEND\r\n");
    client.exchange(b"debugtime r\r\n", b"OK\r\n");
    client.exchange(b"get a\r\n", b"END\r\n");
    client.exchange(b"set b 0 100 1\r\nx\r\ndebugtime 98\r\n", b"STORED\r\nOK\r\n");
    client.exchange(b"get b\r\n", b"VALUE b 0 1\r\nx\r\nEND\r\n");
    client.exchange(b"debugtime 5\r\n", b"OK\r\n");
    client.exchange(b"get b\r\n", b"END\r\n");
    for bad in ["debugtime", "debugtime x", "debugtime -5", "debugtime 99999999999", "debugitem", "debugitem lock"] {
        client.exchange(format!("{bad}\r\n").as_bytes(), b"ERROR\r\n");
    }
    client.exchange(b"debugitem lock a\r\ndebugitem unlock a\r\n", b"MISS\r\nMISS\r\n");
}

fn stat(client: &mut Client, name: &str) -> String {
    let stats = String::from_utf8(client.ask(b"stats\r\n", b"END\r\n")).expect("stats are text");
    stats.split(&format!("STAT {name} ")).nth(1).expect("it is there").split('\r').next().unwrap_or_default().to_owned()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A page whose items are held is not moved until they are let go.
#[test]
fn a_page_waits_for_an_item_that_is_locked_or_referenced() {
    for (len, hold, release) in [(500, "lock", "unlock"), (50_000, "ref", "unref")] {
        let server = Server::start_with(|settings| settings.memory_len = 32 << 20);
        let mut client = server.connect();
        let value = "x".repeat(len);
        for n in 0..(4 << 20) / len {
            client.send(format!("set k{n} 0 0 {len} noreply\r\n{value}\r\n").as_bytes());
        }
        client.exchange(b"mn\r\n", b"MN\r\n");
        let me = String::from_utf8(client.ask(b"me k0\r\n", b"\r\n")).expect("text");
        let class: u32 =
            me.split("cls=").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).expect("a class");
        // As many as there are pages, so that one is in the page that goes.
        let held: Vec<usize> = (0..(4 << 20) / len).step_by(10).collect();
        let mut locked = Vec::new();
        for n in held {
            client.send(format!("debugitem {hold} k{n}\r\n").as_bytes());
            if client.ask(b"", b"\r\n") == b"OK\r\n" {
                locked.push(n);
            }
        }
        assert!(locked.len() > 3, "{hold}");
        client.exchange(format!("slabs reassign {class} 1\r\n").as_bytes(), b"OK\r\n");
        if hold == "lock" {
            wait_until("the mover finds nothing in its way", || stat(&mut client, "slab_reassign_busy_items") != "0");
            assert_eq!(stat(&mut client, "slab_reassign_running"), "1");
        }
        for n in locked {
            client.exchange(format!("debugitem {release} k{n}\r\n").as_bytes(), b"OK\r\n");
            client.exchange(format!("debugitem {release} k{n}\r\n").as_bytes(), b"MISS\r\n");
        }
        wait_until("the page does not move", || stat(&mut client, "slab_reassign_running") == "0");
    }
}
