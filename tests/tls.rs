//! TLS: handshakes, certificates of both sides, records of every length, what breaks it, and new certificates under load.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::client::Client;
use common::server::Server;
use common::tls::{Certs, TlsClient};
use common::transcripts;
use common::wire::{Cut, Transcript, Wire as _, joined, play};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use slabd::settings::{ListenTls, Protocol, Settings};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn start(certs: &Certs, verify_mode: u8) -> Server {
    start_with(certs, verify_mode, |_| {})
}

fn start_with(certs: &Certs, verify_mode: u8, change: impl FnOnce(&mut Settings)) -> Server {
    Server::start_with(|settings| {
        settings.tls = certs.settings(verify_mode);
        change(settings);
    })
}

fn connect(server: &Server, config: &ClientConfig) -> TlsClient {
    TlsClient::connect(server.addr, config).with_clock(server.clock.clone())
}

/// A row of `stats`.
fn stat(client: &mut TlsClient, name: &str) -> Option<u64> {
    client.send(b"stats\r\n");
    let mut answer = Vec::new();
    while !answer.ends_with(b"END\r\n") {
        client.receive(&mut answer);
    }
    let answer = String::from_utf8(answer).unwrap();
    answer.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} "))?.parse().ok())
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251).to_le_bytes()[0]).collect()
}

#[test]
fn every_transcript_is_answered_over_tls_as_written() {
    let certs = Certs::new("transcripts");
    for (index, transcript) in transcripts::all().enumerate() {
        let server = start_with(&certs, 0, |settings| settings.threads = 1 + index % 2);
        let version = if index % 3 == 0 { &TLS12 } else { &TLS13 };
        let config = certs.client_speaking(&[version], None);
        play(transcript, &mut connect(&server, &config), Cut::Whole).unwrap();
    }
}

#[test]
fn a_transcript_cut_into_records_and_segments_of_any_length_is_answered_as_written() {
    let certs = Certs::new("fragments");
    let is_short =
        |transcript: &&Transcript| joined(transcript, 1_700_000_000).is_some_and(|(request, _)| request.len() <= 4000);
    for (index, transcript) in transcripts::all().filter(is_short).enumerate() {
        let server = start(&certs, 0);
        let mut config = certs.client(None);
        // Records as short as rustls makes them, of odd lengths, and of the full length.
        config.max_fragment_size = [Some(32), Some(61), Some(1000), None][index % 4];
        let step = index % transcript.steps.len();
        let mut client = connect(&server, &config).chopped([701, 1777, 97, 1453][(index / 4) % 4]);
        play(transcript, &mut client, Cut::At { step, byte: 1 + index % 11 }).unwrap();
    }
}

#[test]
fn short_transcripts_byte_by_byte_on_the_socket_are_answered_as_written() {
    let certs = Certs::new("bytes");
    let is_short = |transcript: &&Transcript| transcript.steps.len() <= 2;
    for transcript in transcripts::all().filter(is_short).take(12) {
        let server = start(&certs, 0);
        let mut client = connect(&server, &certs.client(None));
        client.exchange(b"get x\r\n", b"END\r\n");
        play(transcript, &mut client.chopped(1), Cut::Whole).unwrap();
    }
}

#[test]
fn values_of_any_length_go_both_ways_in_records_of_any_length() {
    let certs = Certs::new("values");
    for version in [&TLS12, &TLS13] {
        for (record, piece) in [(None, None), (Some(1021), None), (None, Some(9973)), (Some(12_345), Some(40_000))] {
            let server = start_with(&certs, 0, |settings| settings.item_len_max = 8 << 20);
            let mut config = certs.client_speaking(&[version], None);
            config.max_fragment_size = record;
            let mut client = connect(&server, &config);
            if let Some(piece) = piece {
                client = client.chopped(piece);
            }
            for len in [0, 1, 100, 4095, 15_000, 16_383, 16_384, 16_385, 70_001, 300_000, 1 << 20, 5_000_003] {
                let value = pattern(len);
                let request = [format!("set k 0 0 {len}\r\n").as_bytes(), &value, b"\r\n"].concat();
                client.exchange(&request, b"STORED\r\n");
                let answer = [format!("VALUE k 0 {len}\r\n").as_bytes(), &value, b"\r\n"].concat();
                client.exchange(b"get k k\r\n", &[&answer[..], &answer, b"END\r\n"].concat());
            }
        }
    }
}

#[test]
fn records_that_came_together_are_all_served_without_more_news_of_the_socket() {
    let certs = Certs::new("ready");
    let server = start(&certs, 0);
    let mut config = certs.client(None);
    config.max_fragment_size = Some(32);
    let mut client = connect(&server, &config);
    client.exchange(b"get x\r\n", b"END\r\n");
    // Many turns' work, read from the socket in a few reads, in records of a few bytes; and values between.
    let value = pattern(20_000);
    let set = [&b"set v 0 0 20000\r\n"[..], &value, b"\r\n"].concat();
    for count in [1, 10, 1000, 20_000] {
        let mut tls = Vec::new();
        let gets = b"get x\r\n".repeat(count);
        for part in [&gets[..], &set, &gets, b"mn\r\n"] {
            client.tls().writer().write_all(part).unwrap();
        }
        while client.tls().wants_write() {
            client.tls().write_tls(&mut tls).unwrap();
        }
        let mut socket = client.tcp().try_clone().unwrap();
        let sending = std::thread::spawn(move || socket.write_all(&tls).unwrap());
        let gets = b"END\r\n".repeat(count);
        client.exchange(b"", &[&gets[..], b"STORED\r\n", &gets, b"MN\r\n"].concat());
        sending.join().unwrap();
    }
}

#[test]
fn a_goodbye_that_comes_with_a_request_ends_the_connection_after_the_answer() {
    let certs = Certs::new("goodbye");
    let server = start(&certs, 0);
    for count in [1, 100, 50_000] {
        let mut client = connect(&server, &certs.client(None));
        client.exchange(b"get x\r\n", b"END\r\n");
        let mut tls = Vec::new();
        client.tls().writer().write_all(&b"get x\r\n".repeat(count)).unwrap();
        client.tls().send_close_notify();
        while client.tls().wants_write() {
            client.tls().write_tls(&mut tls).unwrap();
        }
        // The socket stays open: only TLS has said that this was all.
        let mut socket = client.tcp().try_clone().unwrap();
        let sending = std::thread::spawn(move || socket.write_all(&tls).unwrap());
        assert!(client.rest() == b"END\r\n".repeat(count), "{count} answers and a goodbye");
        sending.join().unwrap();
    }
}

#[test]
fn a_stream_that_is_cut_off_is_served_as_far_as_it_went() {
    let certs = Certs::new("truncated");
    let server = start(&certs, 0);
    let mut client = connect(&server, &certs.client(None));
    client.exchange(b"get x\r\n", b"END\r\n");
    client.send(b"get x\r\nset a 0 0 100\r\nhalf");
    client.tcp().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"END\r\n");
    let mut other = connect(&server, &certs.client(None));
    other.exchange(b"get a\r\n", b"END\r\n");
    until("the close", || stat(&mut other, "curr_connections") == Some(1));
    assert_eq!(stat(&mut other, "ssl_proto_errors"), Some(0));
}

#[test]
fn quit_and_the_end_of_the_daemon_say_goodbye() {
    let certs = Certs::new("quit");
    let server = start(&certs, 0);
    let mut client = connect(&server, &certs.client(None));
    client.exchange(b"get x\r\n", b"END\r\n");
    client.send(b"get y\r\nquit\r\nget z\r\n");
    assert_eq!(client.rest(), b"END\r\n");
    let mut client = connect(&server, &certs.client(None));
    client.exchange(b"get x\r\n", b"END\r\n");
    drop(server);
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_long_pipeline_whose_answers_are_read_late_is_answered_in_full() {
    let certs = Certs::new("late");
    let server = start_with(&certs, 0, |settings| settings.item_len_max = 4 << 20);
    let mut client = connect(&server, &certs.client(None));
    let value = pattern(1 << 20);
    client.exchange(&[&b"set v 0 0 1048576\r\n"[..], &value, b"\r\n"].concat(), b"STORED\r\n");
    client.exchange(b"set s 0 0 1\r\nx\r\n", b"STORED\r\n");
    // More than sockets hold: the server has to wait in the middle of records, many times.
    let count = 40;
    client.send(&b"get s v s\r\n".repeat(count));
    std::thread::sleep(Duration::from_millis(300));
    let short = b"VALUE s 0 1\r\nx\r\n";
    let one = [&short[..], b"VALUE v 0 1048576\r\n", &value, b"\r\n", short, b"END\r\n"].concat();
    for _ in 0..count {
        client.exchange(b"", &one);
    }
    // Another is served while one does not read.
    client.send(&b"get v\r\n".repeat(200));
    let mut other = connect(&server, &certs.client(None));
    for _ in 0..20 {
        other.exchange(b"get s\r\n", b"VALUE s 0 1\r\nx\r\nEND\r\n");
    }
}

#[test]
fn a_client_is_judged_by_its_certificate_as_the_verify_mode_says() {
    let certs = Certs::new("modes");
    let others = Certs::new("modes-others");
    // No certificate, a good one, a stranger's: who is let in.
    let cases =
        [(0, [true, true, true]), (1, [true, true, false]), (2, [false, true, false]), (3, [false, true, false])];
    for (mode, let_in) in cases {
        for version in [&TLS12, &TLS13] {
            let server = start(&certs, mode);
            for (shows, is_let_in) in [None, Some(&certs), Some(&others)].into_iter().zip(let_in) {
                let config = certs.client_speaking(&[version], shows);
                let answer = connect(&server, &config).try_exchange(b"get x\r\n", 5);
                assert_eq!(answer.is_ok(), is_let_in, "mode {mode}, {version:?}, {answer:?}");
            }
            let mut client = connect(&server, &certs.client(Some(&certs)));
            let refused = let_in.iter().filter(|is_let_in| !**is_let_in).count();
            assert_eq!(stat(&mut client, "ssl_handshake_errors"), Some(refused as u64), "mode {mode}");
        }
    }
}

#[test]
fn a_client_that_trusts_another_authority_goes_away_and_is_counted() {
    let certs = Certs::new("trust");
    let others = Certs::new("trust-others");
    let server = start(&certs, 0);
    assert!(connect(&server, &others.client(None)).try_exchange(b"get x\r\n", 5).is_err());
    let mut client = connect(&server, &certs.client(None));
    until("the count", || stat(&mut client, "ssl_handshake_errors") == Some(1));
}

#[test]
fn the_least_version_is_kept() {
    let certs = Certs::new("versions");
    for (min, lets_12_in) in [(0, true), (2, true), (3, false)] {
        let server = start_with(&certs, 0, |settings| settings.tls.min_version = min);
        let old = connect(&server, &certs.client_speaking(&[&TLS12], None)).try_exchange(b"get x\r\n", 5);
        assert_eq!(old.is_ok(), lets_12_in, "least {min}: {old:?}");
        connect(&server, &certs.client_speaking(&[&TLS13], None)).exchange(b"get x\r\n", b"END\r\n");
    }
}

#[test]
fn a_list_of_ciphers_is_what_is_spoken() {
    let certs = Certs::new("ciphers");
    let name = "ECDHE-ECDSA-CHACHA20-POLY1305";
    let server = start_with(&certs, 0, |settings| settings.tls.ciphers = Some(format!("AES128-SHA:{name}")));
    let mut client = connect(&server, &certs.client_speaking(&[&TLS12], None));
    client.exchange(b"get x\r\n", b"END\r\n");
    let spoken = format!("{:?}", client.tls().negotiated_cipher_suite().unwrap().suite());
    assert_eq!(spoken, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
}

#[test]
fn sessions_are_resumed_if_they_may_be() {
    let certs = Certs::new("sessions");
    for (may, kind) in [(false, HandshakeKind::Full), (true, HandshakeKind::Resumed)] {
        for version in [&TLS12, &TLS13] {
            let server = start_with(&certs, 0, |settings| settings.tls.session_cache = may);
            let config = certs.client_speaking(&[version], None);
            connect(&server, &config).exchange(b"get x\r\n", b"END\r\n");
            let mut client = connect(&server, &config);
            client.exchange(b"get x\r\n", b"END\r\n");
            assert_eq!(client.tls().handshake_kind(), Some(kind), "{version:?}");
            assert_eq!(stat(&mut client, "ssl_new_sessions"), may.then_some(1));
        }
    }
}

#[test]
fn listeners_differ_in_what_they_ask_for() {
    let certs = Certs::new("listeners");
    let free = |host: &str| {
        let probe = std::net::TcpListener::bind((host, 0)).unwrap();
        probe.local_addr().unwrap()
    };
    let [plain, basic, mutual] = ["127.0.0.2", "127.0.0.3", "127.0.0.4"].map(free);
    let server = start_with(&certs, 2, |settings| {
        settings.listen.extend([plain, basic, mutual]);
        settings.listen_tls.extend([
            (plain, ListenTls::Without),
            (basic, ListenTls::Basic),
            (mutual, ListenTls::Mutual),
        ]);
    });
    Client::connect(plain).exchange(b"set a 0 0 1\r\nx\r\n", b"STORED\r\n");
    let (stranger, known) = (certs.client(None), certs.client(Some(&certs)));
    for (addr, lets_strangers_in) in [(basic, true), (mutual, false), (server.addr, false)] {
        let answer = TlsClient::connect(addr, &stranger).try_exchange(b"get x\r\n", 5);
        assert_eq!(answer.is_ok(), lets_strangers_in, "{addr}: {answer:?}");
        TlsClient::connect(addr, &known).exchange(b"get a\r\n", b"VALUE a 0 1\r\nx\r\nEND\r\n");
    }
}

#[test]
fn what_is_no_handshake_is_answered_with_an_alert_and_counted() {
    let certs = Certs::new("garbage");
    let server = start(&certs, 0);
    let mut client = connect(&server, &certs.client(None));
    let long = vec![b'x'; 1 << 20];
    // A request in the clear, the web's, nothing but zeroes, a record that is too long, a handshake that never ends.
    let endless = [&[0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &vec![0; 0x4000 - 4]].concat().repeat(4);
    let garbage: [&[u8]; 6] =
        [b"get x\r\n", b"GET / HTTP/1.1\r\n\r\n", &[0; 100], b"\x16\x03\x01\xff\xff", &long, &endless];
    for (index, bytes) in garbage.iter().enumerate() {
        let mut socket = TcpStream::connect(server.addr).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        drop(socket.write_all(bytes));
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        // The last is nothing that TLS has an alert for; it is only too much.
        let is_alert = answer.first() == Some(&0x15) && answer.len() == 7;
        assert!(is_alert || index == 5 && answer.is_empty(), "garbage {index}: {answer:?}");
        until("the count", || stat(&mut client, "ssl_handshake_errors") == Some(index as u64 + 1));
    }
    // Whoever only looks whether somebody is there is a failure, too, as it is to memcached.
    drop(TcpStream::connect(server.addr).unwrap());
    until("the count", || stat(&mut client, "ssl_handshake_errors") == Some(7));
    until("the closes", || stat(&mut client, "curr_connections") == Some(1));
}

#[test]
fn what_breaks_tls_later_ends_the_connection_and_is_counted() {
    let certs = Certs::new("broken");
    let server = start(&certs, 0);
    let mut client = connect(&server, &certs.client(None));
    for (index, bytes) in [&b"get x\r\n"[..], &[0x17, 3, 3, 0, 30], &[0x17, 3, 3, 0xff, 0xff]].into_iter().enumerate() {
        let mut broken = connect(&server, &certs.client(None));
        broken.exchange(b"get x\r\n", b"END\r\n");
        broken.tcp().write_all(bytes).unwrap();
        broken.tcp().write_all(&[1; 100]).unwrap();
        let mut more = Vec::new();
        let end = broken.tcp().read_to_end(&mut more);
        assert!(end.is_ok_and(|_| !more.is_empty()), "an alert");
        until("the count", || stat(&mut client, "ssl_proto_errors") == Some(index as u64 + 1));
    }
    assert_eq!(stat(&mut client, "ssl_handshake_errors"), Some(0));
}

#[test]
fn what_comes_behind_a_broken_record_does_not_hold_up_the_others() {
    let certs = Certs::new("behind");
    let server = start(&certs, 0);
    let mut idler = connect(&server, &certs.client_speaking(&[&TLS13], None));
    idler.exchange(b"get x\r\n", b"END\r\n");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut socket = idler.tcp().try_clone().unwrap();
        let stop = &stop;
        scope.spawn(move || {
            let empty = [0x17, 3, 3, 0, 0].repeat(10_000);
            while !stop.load(Ordering::Relaxed) && socket.write_all(&empty).is_ok() {}
        });
        let mut client = connect(&server, &certs.client(None));
        let mut slowest = Duration::ZERO;
        for _ in 0..200 {
            let asked = Instant::now();
            client.exchange(b"get x\r\n", b"END\r\n");
            slowest = slowest.max(asked.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        assert!(slowest < Duration::from_secs(1), "an answer took {slowest:?}");
    });
}

#[test]
fn a_handshake_that_stalls_is_ended_and_one_that_is_slow_is_not() {
    let certs = Certs::new("stall");
    let server = start(&certs, 0);
    let mut open = connect(&server, &certs.client(None));
    open.exchange(b"get x\r\n", b"END\r\n");
    let mut silent = TcpStream::connect(server.addr).unwrap();
    let mut trickling = TcpStream::connect(server.addr).unwrap();
    until("the accepts", || stat(&mut open, "curr_connections") == Some(3));
    trickling.write_all(&[0x16, 3, 1, 1, 0, 1]).unwrap();
    server.clock.advance(9_000);
    let mut slow = connect(&server, &certs.client(None)).chopped(40);
    trickling.write_all(&[0]).unwrap();
    slow.exchange(b"get x\r\n", b"END\r\n");
    server.clock.advance(2_000);
    for socket in [&mut silent, &mut trickling] {
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // With a reset, if something had come that was not read.
        let end = socket.read(&mut [0; 10]);
        assert!(end.as_ref().is_ok_and(|len| *len == 0) || end.as_ref().is_err_and(is_reset), "{end:?}");
    }
    server.clock.advance(60_000);
    open.exchange(b"get x\r\n", b"END\r\n");
    slow.exchange(b"get x\r\n", b"END\r\n");
    assert_eq!(stat(&mut open, "ssl_handshake_errors"), Some(2));
    assert_eq!(stat(&mut open, "curr_connections"), Some(2));
}

fn is_reset(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::ConnectionReset
}

#[test]
fn many_handshakes_at_once_are_all_made() {
    let certs = Certs::new("many");
    let server = start(&certs, 0);
    let config = certs.client(None);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut clients: Vec<_> = (0..40).map(|_| connect(&server, &config)).collect();
                for client in &mut clients {
                    client.send(b"get x\r\n");
                }
                for client in &mut clients {
                    client.exchange(b"", b"END\r\n");
                }
            });
        }
    });
}

#[test]
fn an_idle_client_is_sent_away_with_a_goodbye() {
    let certs = Certs::new("idle");
    let server = start_with(&certs, 0, |settings| settings.idle_timeout = Some(Duration::from_secs(5)));
    let mut client = connect(&server, &certs.client(None));
    client.exchange(b"get x\r\n", b"END\r\n");
    server.clock.advance(8_000);
    assert_eq!(client.rest(), b"");
}

#[test]
fn who_has_to_log_in_has_to_over_tls() {
    let certs = Certs::new("gate");
    certs.write("users", "alice:open sesame\n");
    let server = start_with(&certs, 0, |settings| {
        settings.auth_file = Some(certs.path("users"));
        settings.protocol = Protocol::Ascii;
    });
    let mut client = connect(&server, &certs.client(None));
    client.exchange(b"get x\r\n", b"CLIENT_ERROR unauthenticated\r\n");
    client.exchange(b"set a 0 0 17\r\nalice open sesame\r\n", b"STORED\r\n");
    client.exchange(b"get x\r\n", b"END\r\n");
    let mut other = connect(&server, &certs.client(None));
    other.exchange(b"get x\r\n", b"CLIENT_ERROR unauthenticated\r\n");
}

#[test]
fn new_certificates_are_shown_to_new_clients_and_bad_ones_to_nobody() {
    let certs = Certs::new("reload");
    let server = start(&certs, 0);
    let old = certs.client(None);
    let mut open = connect(&server, &old);
    open.exchange(b"get x\r\n", b"END\r\n");
    server.clock.advance(5_000);
    assert_eq!(stat(&mut open, "time_since_server_cert_refresh"), Some(5));

    let (chain, key) = (certs.path("server.pem"), certs.path("server.key"));
    let good = [&chain, &key].map(|path| std::fs::read_to_string(path).unwrap());
    for (name, text, refusal) in [
        ("server.pem", "", "Error loading the certificate chain\r\n"),
        (
            "server.pem",
            "-----BEGIN CERTIFICATE-----\nbad\n-----END CERTIFICATE-----\n",
            "Error loading the certificate chain\r\n",
        ),
        ("server.key", &good[0], "Error loading the key\r\n"),
        ("server.key", &std::fs::read_to_string(certs.path("client.key")).unwrap(), "Error loading the key\r\n"),
    ] {
        certs.write(name, text);
        open.exchange(b"refresh_certs\r\n", refusal.as_bytes());
        certs.write("server.pem", &good[0]);
        certs.write("server.key", &good[1]);
        connect(&server, &old).exchange(b"get x\r\n", b"END\r\n");
    }
    assert_eq!(stat(&mut open, "time_since_server_cert_refresh"), Some(5));

    certs.renew();
    connect(&server, &old).exchange(b"get x\r\n", b"END\r\n");
    open.exchange(b"refresh_certs\r\n", b"OK\r\n");
    open.exchange(b"refresh_certs noreply\r\nget x\r\n", b"END\r\n");
    assert_eq!(stat(&mut open, "time_since_server_cert_refresh"), Some(0));
    assert!(connect(&server, &old).try_exchange(b"get x\r\n", 5).is_err());
    connect(&server, &certs.client(None)).exchange(b"get x\r\n", b"END\r\n");
    open.exchange(&b"refresh_certs\r\n".repeat(20), &b"OK\r\n".repeat(20));
}

#[test]
fn clients_are_judged_by_the_authority_of_the_latest_reload() {
    let certs = Certs::new("authority");
    let server = start(&certs, 2);
    let old = certs.client(Some(&certs));
    let mut open = connect(&server, &old);
    open.exchange(b"get x\r\n", b"END\r\n");
    certs.write("ca.pem", "nothing\n");
    open.exchange(b"refresh_certs\r\n", b"Error loading the CA certificate\r\n");
    connect(&server, &old).exchange(b"get x\r\n", b"END\r\n");
    certs.renew();
    open.exchange(b"refresh_certs\r\n", b"OK\r\n");
    assert!(connect(&server, &old).try_exchange(b"get x\r\n", 5).is_err());
    connect(&server, &certs.client(Some(&certs))).exchange(b"get x\r\n", b"END\r\n");
}

#[test]
fn without_tls_there_is_nothing_to_refresh_and_no_row_of_it() {
    let server = Server::start(1);
    let mut client = server.connect();
    client.exchange(b"refresh_certs\r\n", b"Error TLS not enabled\r\n");
    let rows = String::from_utf8(client.ask(b"stats\r\n", b"END\r\n")).unwrap();
    assert!(!rows.contains("ssl_") && !rows.contains("cert"), "{rows}");
    let rows = String::from_utf8(client.ask(b"stats settings\r\n", b"END\r\n")).unwrap();
    let of_tls: Vec<_> = rows.lines().filter_map(|row| row.strip_prefix("STAT ssl_")).collect();
    let memcacheds = [
        "enabled no",
        "chain_cert (null)",
        "key (null)",
        "verify_mode 0",
        "keyformat 1",
        "ciphers NULL",
        "ca_cert NULL",
        "wbuf_size 16384",
        "session_cache no",
        "kernel_tls no",
        "min_version tlsv1.2",
    ];
    assert_eq!(of_tls, memcacheds);
}

#[test]
fn a_reload_under_load_loses_no_connection() {
    let certs = Certs::new("load");
    let server = start_with(&certs, 0, |settings| settings.threads = 2);
    let config = certs.client(None);
    let (stop, handshakes) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for id in 0..3 {
            let (server, config, stop, handshakes) = (&server, &config, &stop, &handshakes);
            scope.spawn(move || {
                let mut kept = connect(server, config);
                while !stop.load(Ordering::Relaxed) {
                    for client in [&mut kept, &mut connect(server, config)] {
                        client.exchange(format!("set k{id} 0 0 1\r\nx\r\n").as_bytes(), b"STORED\r\n");
                        client.exchange(b"get none\r\n", b"END\r\n");
                    }
                    handshakes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut client = connect(&server, &config);
        for _ in 0..100 {
            client.exchange(b"refresh_certs\r\n", b"OK\r\n");
            std::thread::sleep(Duration::from_millis(5));
        }
        until("some handshakes", || handshakes.load(Ordering::Relaxed) > 20);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(stat(&mut client, "ssl_handshake_errors"), Some(0));
        assert_eq!(stat(&mut client, "ssl_proto_errors"), Some(0));
    });
}

/// A process that does not outlive its test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_binary_reads_its_certificates_again_on_sighup() {
    let certs = Certs::new("sighup");
    let ports = certs.path("ports");
    let options = format!(
        "ssl_chain_cert={},ssl_key={},ssl_ca_cert={},ssl_verify_mode=2",
        certs.path("server.pem").display(),
        certs.path("server.key").display(),
        certs.path("ca.pem").display()
    );
    let daemon = Command::new(env!("CARGO_BIN_EXE_slabd"))
        .args(["-Z", "-p", "-1", "-l", "127.0.0.1", "-u", "root", "-o", &options])
        .env("MEMCACHED_PORT_FILENAME", &ports)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let daemon = Killed(daemon);
    until("the ports", || ports.exists());
    let text = std::fs::read_to_string(&ports).unwrap();
    let port: u16 = text.trim().rsplit(' ').next().unwrap().parse().unwrap();
    let addr = ([127, 0, 0, 1], port).into();
    let mut open = TlsClient::connect(addr, &certs.client(Some(&certs)));
    open.exchange(b"get x\r\n", b"END\r\n");
    certs.renew();
    let hang_up = Command::new("kill").args(["-s", "HUP", &daemon.0.id().to_string()]).status().unwrap();
    assert!(hang_up.success());
    let config = certs.client(Some(&certs));
    until("the new certificates", || TlsClient::connect(addr, &config).try_exchange(b"get x\r\n", 5).is_ok());
    open.exchange(b"get x\r\n", b"END\r\n");
}

#[test]
fn the_binary_refuses_what_cannot_be_served() {
    let certs = Certs::new("refused");
    let (chain, key) = (certs.path("server.pem").display().to_string(), certs.path("server.key").display().to_string());
    let both = format!("ssl_chain_cert={chain},ssl_key={key}");
    for (options, why) in [
        (String::new(), "Error loading the certificate chain: (null)"),
        (format!("ssl_key={key}"), "Error loading the certificate chain: (null)"),
        (format!("ssl_chain_cert={chain}"), "Error loading the key: (null)"),
        (format!("ssl_chain_cert={chain}.no,ssl_key={key}"), "Error loading the certificate chain: "),
        (format!("ssl_chain_cert={chain},ssl_key={key}.no"), "Error loading the key: "),
        (format!("{both},ssl_ca_cert={key}"), "Error loading the CA certificate: "),
        (format!("{both},ssl_ciphers=FOO"), "Error setting the provided cipher(s): FOO"),
        (format!("{both},ssl_verify_mode=2"), "no ssl_ca_cert"),
    ] {
        let daemon = Command::new(env!("CARGO_BIN_EXE_slabd"))
            .args(["-Z", "-p", "-1", "-l", "127.0.0.1", "-u", "root", "-o", &options])
            .output()
            .unwrap();
        let said = String::from_utf8(daemon.stderr).unwrap();
        assert!(!daemon.status.success() && said.contains(why), "{options}: {said}");
    }
}

#[test]
fn keys_may_be_renewed_in_the_middle_of_everything() {
    let certs = Certs::new("keys");
    let server = start(&certs, 0);
    let mut client = connect(&server, &certs.client_speaking(&[&TLS13], None));
    let value = pattern(300_000);
    client.exchange(&[&b"set v 0 0 300000\r\n"[..], &value, b"\r\n"].concat(), b"STORED\r\n");
    let answer = [&b"VALUE v 0 300000\r\n"[..], &value, b"\r\nEND\r\n"].concat();
    for _ in 0..20 {
        let mut tls = Vec::new();
        for part in [&b"get v\r\nget"[..], b" v\r\nset a 0 0 1\r\n", b"x\r\n"] {
            client.tls().writer().write_all(part).unwrap();
            client.tls().refresh_traffic_keys().unwrap();
        }
        while client.tls().wants_write() {
            client.tls().write_tls(&mut tls).unwrap();
        }
        client.tcp().write_all(&tls).unwrap();
        client.exchange(b"", &[&answer[..], &answer, b"STORED\r\n"].concat());
    }
}

#[test]
fn damaged_bytes_end_one_connection_at_most() {
    let certs = Certs::new("damage");
    let server = start(&certs, 1);
    let mut kept = connect(&server, &certs.client(None));
    kept.exchange(b"get x\r\n", b"END\r\n");
    let seed: u64 = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..400 {
        let version = if round % 2 == 0 { &TLS12 } else { &TLS13 };
        let mut client = connect(&server, &certs.client_speaking(&[version], Some(&certs)));
        client.tcp().set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        // Whole up to some flight, then not.
        let whole = random.usize(0..4);
        for flight in 0..4 {
            let mut tls = Vec::new();
            if flight == 2 {
                client.tls().writer().write_all(&b"get x\r\n".repeat(random.usize(1..400))).unwrap();
            }
            while client.tls().wants_write() {
                client.tls().write_tls(&mut tls).unwrap();
            }
            if flight >= whole {
                for _ in 0..random.usize(1..4) {
                    match random.usize(0..4) {
                        _ if tls.is_empty() => tls = vec![random.u8(..); random.usize(1..40)],
                        0 => tls.truncate(random.usize(0..tls.len())),
                        1 => tls.extend_from_within(random.usize(0..tls.len())..),
                        // Nearer to the front, where lengths and kinds are.
                        2 => *random.choice(tls.iter_mut().take(12)).unwrap() = random.u8(..),
                        _ => *random.choice(tls.iter_mut()).unwrap() = random.u8(..),
                    }
                }
            }
            let mut tcp = client.tcp().try_clone().unwrap();
            if tcp.write_all(&tls).is_err() || client.tls().read_tls(&mut tcp).is_err() {
                break;
            }
            if client.tls().process_new_packets().is_err() {
                break;
            }
        }
    }
    kept.exchange(b"get x\r\n", b"END\r\n");
    until("the closes", || stat(&mut kept, "curr_connections") == Some(1));
}
