//! The binary protocol over sockets: the transcripts with one and with four workers, and what needs a test of its own.

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::client::Client;
use common::packet::Packet;
use common::server::Server;
use common::transcripts_binary;
use common::wire::{Cut, Received, Wire, play};
use slabd::settings::Protocol;
use std::collections::BTreeMap;

const GET: u8 = 0x00;
const SET: u8 = 0x01;
const INCREMENT: u8 = 0x05;
const GETQ: u8 = 0x09;
const NOOP: u8 = 0x0a;
const VERSION: u8 = 0x0b;
const GETK: u8 = 0x0c;
const STAT: u8 = 0x10;
const TOUCH: u8 = 0x1c;
const GAT: u8 = 0x1d;

#[test]
fn one_worker_answers_every_transcript_as_written() {
    play_all(1);
}

#[test]
fn four_workers_answer_every_transcript_as_written() {
    play_all(4);
}

#[test]
fn version_is_the_one_that_text_tells() {
    let server = Server::start(1);
    let answer = ask(&mut server.connect(), &Packet::new(VERSION, b"", b"", b""));
    let expected = format!("1.6.45-slabd-{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(answer, Packet { value: expected.into(), ..Packet::new(VERSION, b"", b"", b"") });
}

#[test]
fn a_key_that_would_split_a_line_is_told_to_meta_commands_in_base64() {
    let server = Server::start(1);
    let (mut binary, mut text) = (server.connect(), server.connect());
    set(&mut binary, b"a\r\nb", b"x");
    set(&mut binary, b"plain", b"x");
    text.exchange(b"mg YQ0KYg== b k v\r\nmn\r\n", b"VA 1 kYQ0KYg== b\r\nx\r\nMN\r\n");
    // As memcached does.
    text.exchange(b"mg cGxhaW4= b k v\r\nmn\r\n", b"VA 1 kplain\r\nx\r\nMN\r\n");
    let told = String::from_utf8(text.ask(b"me YQ0KYg== b\r\nmn\r\n", b"MN\r\n")).expect("text");
    assert!(told.starts_with("ME YQ0KYg== exp=") && told.lines().count() == 2, "{told}");
    let told = String::from_utf8(text.ask(b"me cGxhaW4= b\r\nmn\r\n", b"MN\r\n")).expect("text");
    assert!(told.starts_with("ME plain exp="), "{told}");
}

#[test]
fn stat_tells_the_rows_that_text_tells_and_ends_with_an_empty_packet() {
    let server = Server::start(1);
    let (mut binary, mut text) = (server.connect(), server.connect());
    set(&mut binary, b"a", b"x");
    for topic in ["", "settings", "items", "slabs"] {
        let names: Vec<String> = stats(&mut binary, topic).into_iter().map(|(name, _)| name).collect();
        let told = String::from_utf8(text.ask(format!("stats {topic}\r\n").as_bytes(), b"END\r\n")).expect("text");
        let expected: Vec<&str> = told.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(names, expected, "stats {topic}");
    }
    binary.exchange(&Packet::new(STAT, b"", b"reset", b"").request(), &Packet::new(STAT, b"", b"", b"").answer());
    let after: BTreeMap<String, String> = stats(&mut binary, "").into_iter().collect();
    assert_eq!([&after["cmd_set"], &after["curr_items"]], ["0", "1"]);
}

#[test]
fn stats_count_as_memcacheds_do() {
    let server = Server::start(1);
    let mut client = server.connect();
    set(&mut client, b"a", b"1");
    let initial = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0];
    let no_initial = [&initial[..16], &[0xff; 4]].concat();
    for packet in [
        Packet::new(GET, b"", b"a", b""),
        Packet::new(GETK, b"", b"none", b""),
        Packet::new(TOUCH, &[0; 4], b"a", b""),
        Packet::new(GAT, &[0; 4], b"a", b""),
        Packet::new(GAT, &[0; 4], b"none", b""),
        Packet::new(INCREMENT, &initial, b"a", b""),
        Packet::new(INCREMENT, &no_initial, b"none", b""),
        Packet::new(INCREMENT, &initial, b"new", b""),
        Packet { cas: 1, ..Packet::new(SET, &[0; 8], b"a", b"x") },
        Packet { cas: 1, ..Packet::new(SET, &[0; 8], b"none", b"x") },
        Packet { cas: 1, ..Packet::new(0x04, b"", b"a", b"") },
        Packet::new(0x04, b"", b"a", b""),
        Packet::new(0x04, b"", b"a", b""),
        Packet::new(0x08, b"", b"", b""),
    ] {
        ask(&mut client, &packet);
    }
    let stats: BTreeMap<String, String> = stats(&mut client, "").into_iter().collect();
    for (name, value) in [
        ("cmd_get", "2"),
        ("get_hits", "1"),
        ("get_misses", "1"),
        ("cmd_touch", "3"),
        ("touch_hits", "2"),
        ("touch_misses", "1"),
        ("cmd_set", "3"),
        ("incr_hits", "1"),
        ("incr_misses", "1"),
        ("cas_badval", "1"),
        ("cas_misses", "1"),
        ("delete_hits", "1"),
        ("delete_misses", "1"),
        ("cmd_flush", "1"),
    ] {
        assert_eq!(stats[name], value, "{name}");
    }
}

#[test]
fn both_protocols_see_the_same_items() {
    let server = Server::start(1);
    let (mut binary, mut text) = (server.connect(), server.connect());
    binary.exchange(&Packet::new(0x11, &[0, 0, 0, 7, 0, 0, 0, 0], b"a", b"from binary").request(), b"");
    ask(&mut binary, &Packet::new(NOOP, b"", b"", b""));
    text.exchange(b"get a\r\n", b"VALUE a 7 11\r\nfrom binary\r\nEND\r\n");
    text.exchange(b"set b 9 0 9\r\nfrom text\r\n", b"STORED\r\n");
    let answer = ask(&mut binary, &Packet::new(GET, b"", b"b", b""));
    assert_eq!((answer.extras, answer.value), (vec![0, 0, 0, 9], b"from text".to_vec()));
    // The number is the same number.
    text.exchange(format!("cas b 0 0 1 {}\r\nx\r\n", answer.cas).as_bytes(), b"STORED\r\n");
}

#[test]
fn keys_that_text_cannot_say_do_not_disturb_its_answers() {
    let server = Server::start(1);
    let (mut binary, mut text) = (server.connect(), server.connect());
    for key in [&b"a b"[..], b"a\r\nEND\r\n", b" ", b"\0", b"a\nSTAT x y\n", &[0xff; 250]] {
        set(&mut binary, key, b"x");
    }
    text.exchange(b"get a b\r\n", b"END\r\n");
    for topic in ["", " items", " slabs", " settings"] {
        let told = String::from_utf8(text.ask(format!("stats{topic}\r\n").as_bytes(), b"END\r\n")).expect("text");
        assert!(told.lines().all(|line| line.starts_with("STAT ") || line == "END"), "{told}");
    }
    text.exchange(b"set a 0 0 1\r\ny\r\nget a\r\n", b"STORED\r\nVALUE a 0 1\r\ny\r\nEND\r\n");
    assert_eq!(ask(&mut binary, &Packet::new(GET, b"", b"a b", b"")).value, b"x");
}

#[test]
fn protocols_can_be_prescribed() {
    let binary_only = Server::start_with(|settings| settings.protocol = Protocol::Binary);
    ask(&mut binary_only.connect(), &Packet::new(NOOP, b"", b"", b""));
    let mut text = binary_only.connect();
    text.send(b"version\r\n");
    assert_eq!(text.rest(), b"");

    let text_only = Server::start_with(|settings| settings.protocol = Protocol::Ascii);
    text_only.connect().exchange(b"get a\r\n", b"END\r\n");
    text_only.connect().exchange(&[&Packet::new(NOOP, b"", b"", b"").request()[..], b"\r\n"].concat(), b"ERROR\r\n");
    let mut settings = text_only.connect();
    let told = settings.ask(b"stats settings\r\n", b"END\r\n");
    assert!(told.windows(28).any(|row| row == b"STAT binding_protocol ascii\r"[..].as_ref()));
}

#[test]
fn without_cas_numbers_answers_tell_zero_and_no_number_is_right() {
    let server = Server::start_with(|settings| settings.with_cas = false);
    let mut client = server.connect();
    assert_eq!(ask(&mut client, &Packet::new(SET, &[0; 8], b"a", b"1")).cas, 0);
    assert_eq!(ask(&mut client, &Packet::new(GET, b"", b"a", b"")).cas, 0);
    assert_eq!(ask(&mut client, &Packet { cas: 7, ..Packet::new(SET, &[0; 8], b"a", b"2") }).status, 2);
    assert_eq!(ask(&mut client, &Packet { cas: 7, ..Packet::new(0x04, b"", b"a", b"") }).status, 2);
    assert_eq!(ask(&mut client, &Packet { cas: 7, ..Packet::new(0x0e, b"", b"a", b"2") }).status, 2);
}

#[test]
fn a_full_cache_that_may_not_evict_says_so_and_goes_on() {
    let server = Server::start_with(|settings| {
        settings.memory_len = 8 << 20;
        settings.evict = false;
    });
    let mut client = server.connect();
    let value = vec![b'x'; 100_000];
    let statuses: Vec<u16> = (0..200)
        .map(|index: u32| {
            let answer = ask(&mut client, &Packet::new(SET, &[0; 8], &index.to_be_bytes(), &value));
            assert!(answer.status == 0 || answer.value == b"Out of memory allocating item", "{answer:?}");
            answer.status
        })
        .collect();
    assert!(statuses.contains(&0) && statuses.contains(&0x82));
    assert_eq!(ask(&mut client, &Packet::new(NOOP, b"", b"", b"")).status, 0);
}

#[test]
fn a_header_that_announces_four_gigabytes_costs_nothing_and_holds_nobody_up() {
    let server = Server::start(1);
    let mut header = Packet::new(SET, &[0; 8], b"a", b"").request();
    header[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut others: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    for client in &mut others {
        client.send(&header);
        assert_eq!(receive(client).status, 3);
    }
    let mut client = server.connect();
    set(&mut client, b"b", b"x");
    for other in &mut others {
        other.send(&[b'x'; 100_000]);
    }
    assert_eq!(ask(&mut client, &Packet::new(GET, b"", b"b", b"")).value, b"x");
    // The largest that is allowed, announced by many, takes no more than one chunk each, and evicts no more than that.
    header[8..12].copy_from_slice(&(1_000_000_u32 + 9).to_be_bytes());
    let mut waiting: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for client in &mut waiting {
        client.send(&header);
    }
    assert_eq!(ask(&mut client, &Packet::new(GET, b"", b"b", b"")).value, b"x");
}

#[test]
fn a_client_that_does_not_read_is_not_read_from_and_gets_everything_in_the_end() {
    let server = Server::start(1);
    let mut client = server.connect();
    let value = vec![b'v'; 10_000];
    set(&mut client, b"a", &value);
    let mut sender = client.stream();
    let requests = Packet::new(GETQ, b"", b"a", b"").request().repeat(2000);
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut sender, &requests));
    assert_eq!(ask(&mut server.connect(), &Packet::new(GET, b"", b"a", b"")).value, value);
    let (mut count, mut answer) = (0, Vec::new());
    while count < 2000 {
        assert_eq!(client.receive(&mut answer), Received::Bytes, "after {count} answers");
        let mut used = 0;
        while let Some((packet, len)) = Packet::read(&answer[used..]) {
            assert!(packet.value == value);
            (count, used) = (count + 1, used + len);
        }
        answer.drain(..used);
    }
    sending.join().expect("the sender does not panic").expect("all of it can be sent");
}

fn play_all(threads: usize) {
    for transcript in transcripts_binary::binary() {
        let server = Server::start(threads);
        play(transcript, &mut server.connect(), Cut::Whole).expect("the answers as written");
    }
}

fn set(client: &mut Client, key: &[u8], value: &[u8]) {
    assert_eq!(ask(client, &Packet::new(SET, &[0; 8], key, value)).status, 0);
}

/// One answer to one request.
fn ask(client: &mut Client, packet: &Packet) -> Packet {
    client.send(&packet.request());
    receive(client)
}

fn receive(client: &mut Client) -> Packet {
    let mut answer = Vec::new();
    loop {
        if let Some((packet, len)) = Packet::read(&answer) {
            assert_eq!(len, answer.len(), "more than one answer");
            return packet;
        }
        assert_eq!(client.receive(&mut answer), Received::Bytes);
    }
}

fn stats(client: &mut Client, topic: &str) -> Vec<(String, String)> {
    client.send(&Packet::new(STAT, b"", topic.as_bytes(), b"").request());
    let (mut answer, mut used, mut rows) = (Vec::new(), 0, Vec::new());
    loop {
        let Some((packet, len)) = Packet::read(&answer[used..]) else {
            assert_eq!(client.receive(&mut answer), Received::Bytes);
            continue;
        };
        used += len;
        if packet.key.is_empty() {
            assert_eq!((packet, used), (Packet::new(STAT, b"", b"", b""), answer.len()));
            return rows;
        }
        rows.push((String::from_utf8(packet.key).expect("text"), String::from_utf8(packet.value).expect("text")));
    }
}
