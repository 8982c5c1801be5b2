//! Datagrams: one request each, answers in numbered parts, and nothing for those who must log in first.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use slabd::clock::Clock;
use slabd::limits::UDP_DATAGRAM_LEN;
use slabd::server::{self, Running};
use slabd::settings::Settings;
use std::net::UdpSocket;
use std::time::Duration;

fn start() -> Running {
    let settings = Settings {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        udp: vec!["127.0.0.1:0".parse().unwrap()],
        threads: 1,
        ..Settings::default()
    };
    server::start(settings, Clock::system()).unwrap()
}

fn socket(running: &Running) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(running.udp_addrs()[0]).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

fn header(id: u16, number: u16, count: u16) -> Vec<u8> {
    [id, number, count, 0].iter().flat_map(|field| field.to_be_bytes()).collect()
}

/// Sends one request and puts the parts of its answer together.
fn ask(socket: &UdpSocket, id: u16, request: &[u8]) -> Vec<u8> {
    socket.send(&[&header(id, 0, 1), request].concat()).unwrap();
    let (mut answer, mut part) = (Vec::new(), [0; 2 * UDP_DATAGRAM_LEN]);
    for number in 0.. {
        let len = socket.recv(&mut part).unwrap();
        assert!((9..=UDP_DATAGRAM_LEN).contains(&len));
        let count = u16::from_be_bytes([part[4], part[5]]);
        assert_eq!(part[..8], header(id, number, count), "part {number}");
        answer.extend_from_slice(&part[8..len]);
        if number + 1 == count {
            break;
        }
        assert_eq!(len, UDP_DATAGRAM_LEN, "only the last part is shorter");
    }
    answer
}

#[test]
fn a_request_is_answered_in_as_many_parts_as_it_takes() {
    let running = start();
    let socket = socket(&running);
    assert_eq!(ask(&socket, 7, b"set a 0 0 3\r\nabc\r\n"), b"STORED\r\n");
    assert_eq!(ask(&socket, 65535, b"get a\r\nget b\r\n"), b"VALUE a 0 3\r\nabc\r\nEND\r\nEND\r\n");
    for len in [1, 1300, 1374, 1375, 1392, 20_000, 60_000] {
        let value = vec![b'v'; len];
        let set = [format!("set v 0 0 {len}\r\n").as_bytes(), &value, b"\r\n"].concat();
        assert_eq!(ask(&socket, 1, &set), b"STORED\r\n");
        let want = [format!("VALUE v 0 {len}\r\n").as_bytes(), &value, b"\r\nEND\r\n"].concat();
        assert!(ask(&socket, 2, b"get v\r\n") == want, "{len} bytes");
    }
    assert_eq!(ask(&socket, 3, b"nonsense\r\n"), b"ERROR\r\n");
    // What concerns the whole daemon is not for whoever says that he is somebody.
    for request in
        ["stats", "stats reset", "flush_all", "verbosity 2", "lru mode flat", "slabs automove 0", "cache_memlimit 8"]
    {
        assert_eq!(ask(&socket, 4, format!("{request}\r\n").as_bytes()), b"ERROR\r\n", "{request}");
    }
    assert_eq!(running.daemon().stats.totals().curr_items, 2);
    running.stop();
    running.join();
}

#[test]
fn what_is_incomplete_or_has_no_answer_is_not_answered() {
    let running = start();
    let socket = socket(&running);
    let silent: [Vec<u8>; 9] = [
        vec![],
        b"abc".to_vec(),
        header(1, 0, 1),
        [&header(1, 0, 1), &b"get a"[..]].concat(),
        [&header(1, 0, 1), &b"set a 0 0 9\r\nabc"[..]].concat(),
        [&header(1, 0, 1), &b"set a 0 0 60000\r\nabc"[..]].concat(),
        [&header(1, 0, 1), &b"set a 0 0 1 noreply\r\nx\r\n"[..]].concat(),
        [&header(1, 0, 1), &b"quit\r\n"[..]].concat(),
        [&header(1, 0, 1), &b"x".repeat(60_000)[..]].concat(),
    ];
    for datagram in &silent {
        socket.send(datagram).unwrap();
    }
    // Had any of those been answered, this answer would not be the first to come.
    assert_eq!(ask(&socket, 9, b"get a\r\n"), b"VALUE a 0 1\r\nx\r\nEND\r\n");
    socket.send(&[&header(5, 0, 2), &b"get a\r\n"[..]].concat()).unwrap();
    let mut answer = [0; 100];
    let len = socket.recv(&mut answer).unwrap();
    assert_eq!(&answer[8..len], b"SERVER_ERROR multi-packet request not supported\r\n");
}

#[test]
fn an_answer_too_long_for_datagrams_is_an_error() {
    let running = start();
    let socket = socket(&running);
    let value = vec![b'v'; 60_000];
    assert_eq!(ask(&socket, 1, &[b"set v 0 0 60000\r\n", &value[..], b"\r\n"].concat()), b"STORED\r\n");
    let request = [b"get".to_vec(), b" v".repeat(30), b"\r\n".to_vec()].concat();
    assert_eq!(ask(&socket, 2, &request), b"SERVER_ERROR out of memory writing response over UDP\r\n");
    assert_eq!(ask(&socket, 3, b"get a\r\n"), b"END\r\n");
}
