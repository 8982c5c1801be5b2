//! `--metrics`: what Prometheus is told, and how little else can be had there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::client::{Client, PATIENCE};
use common::server::settings;
use slabd::clock::Clock;
use slabd::server::Running;
use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn start() -> Running {
    let mut settings = settings();
    settings.threads = 2;
    settings.metrics = vec!["127.0.0.1:0".parse().unwrap()];
    slabd::server::start(settings, Clock::system()).unwrap()
}

fn connect(running: &Running) -> TcpStream {
    let stream = TcpStream::connect(running.metrics_addrs()[0]).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes back until the server closes; a connection that is reset has nothing more to say either.
fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(len) => answer.extend_from_slice(&bytes[..len]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}"),
        }
    }
    String::from_utf8(answer).unwrap()
}

fn ask(running: &Running, request: &str) -> String {
    let mut stream = connect(running);
    stream.write_all(request.as_bytes()).unwrap();
    rest(stream)
}

/// Samples by name and labels, after a check that the text is what the format's description says.
fn samples(running: &Running) -> BTreeMap<String, f64> {
    let answer = ask(running, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{head}"
    );
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    let (mut samples, mut families) = (BTreeMap::new(), HashSet::new());
    let (mut family, mut kind) = ("", "");
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split_once(' ').unwrap().0;
            assert!(families.insert(family), "{family} twice");
            assert!(family.starts_with("slabd_"));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of) = rest.split_once(' ').unwrap();
            assert_eq!(name, family);
            assert!(["counter", "gauge", "histogram"].contains(&of));
            assert_eq!(of == "counter", name.ends_with("_total"), "{name}");
            kind = of;
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let bare = name.split('{').next().unwrap();
            let suffix = bare.strip_prefix(family).unwrap();
            assert!(if kind == "histogram" {
                ["_bucket", "_sum", "_count"].contains(&suffix)
            } else {
                suffix.is_empty()
            });
            assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name} twice");
        }
    }
    samples
}

#[test]
fn metrics_are_in_the_format_and_say_what_happened() {
    let running = start();
    let mut client = Client::connect(running.local_addrs()[0]);
    let before = samples(&running);
    client.exchange(
        b"set k 0 0 1\r\n1\r\nget k none k\r\n",
        b"STORED\r\nVALUE k 0 1\r\n1\r\nVALUE k 0 1\r\n1\r\nEND\r\n",
    );
    client.exchange(b"incr k 1\r\ndelete none\r\n", b"2\r\nNOT_FOUND\r\n");
    client.exchange(b"mn\r\n", b"MN\r\n");
    let after = samples(&running);
    let by = |name: &str| after[name] - before.get(name).copied().unwrap_or(0.0);
    for (name, count) in [
        ("slabd_commands_total{command=\"get\",result=\"hit\"}", 2.0),
        ("slabd_commands_total{command=\"get\",result=\"miss\"}", 1.0),
        ("slabd_commands_total{command=\"set\",result=\"any\"}", 1.0),
        ("slabd_commands_total{command=\"incr\",result=\"hit\"}", 1.0),
        ("slabd_commands_total{command=\"delete\",result=\"miss\"}", 1.0),
        ("slabd_items", 1.0),
        ("slabd_items_stored_total", 1.0),
        ("slabd_class_items{class=\"1\"}", 1.0),
        ("slabd_class_get_hits_total{class=\"1\"}", 2.0),
        ("slabd_class_sets_total{class=\"1\"}", 1.0),
        ("slabd_request_duration_seconds_count{command=\"get\"}", 3.0),
        ("slabd_request_duration_seconds_bucket{command=\"get\",le=\"+Inf\"}", 3.0),
        ("slabd_request_duration_seconds_count{command=\"delete\"}", 1.0),
    ] {
        assert_eq!(by(name), count, "{name}");
    }
    assert_eq!(after["slabd_connections"], 1.0, "who asks for metrics is no client");
    assert_eq!(
        after[&format!(
            "slabd_build_info{{version=\"{}\",protocol_version=\"{}\"}}",
            env!("CARGO_PKG_VERSION"),
            slabd::command::VERSION
        )],
        1.0
    );
    // Steps rise, in time and in count, and the sum is in their bounds.
    let steps: Vec<(f64, f64)> = {
        let of_get = after.iter().filter_map(|(name, value)| {
            let le = name
                .strip_prefix("slabd_request_duration_seconds_bucket{command=\"get\",le=\"")?
                .strip_suffix("\"}")?;
            Some((le.parse().unwrap_or(f64::INFINITY), *value))
        });
        let mut steps: Vec<_> = of_get.collect();
        steps.sort_by(|a, b| a.0.total_cmp(&b.0));
        steps
    };
    assert_eq!(steps.len(), 25);
    assert!(steps.windows(2).all(|two| two[0].1 <= two[1].1) && steps[23].0 > 8.0 && steps[0].0 < 2e-6);
    let sum = after["slabd_request_duration_seconds_sum{command=\"get\"}"];
    assert!(sum > 0.0 && sum < 60.0, "{sum}");
    running.stop();
    running.join();
}

#[test]
fn the_time_of_the_start_does_not_move() {
    let mut settings = settings();
    settings.metrics = vec!["127.0.0.1:0".parse().unwrap()];
    let clock = Clock::manual();
    let running = slabd::server::start(settings, clock.clone()).unwrap();
    let started: HashSet<String> = (0..11)
        .map(|_| {
            clock.advance(100);
            samples(&running)["slabd_start_time_seconds"].to_string()
        })
        .collect();
    assert_eq!(started.len(), 1, "{started:?}");
    running.stop();
    running.join();
}

/// What is resident can be asked for only by who has its file open, and a thread under the filter may open none. In a process of its
/// own: another test of this one would have opened it already.
#[test]
fn what_is_resident_is_told_with_and_without_the_filter_of_system_calls() {
    for filter in ["no_drop_privileges", "drop_privileges"] {
        let (mut child, addr) = daemon_with_metrics(&["-o", filter, "--memory-max", "100"]);
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        let told = rest(stream);
        child.kill().unwrap();
        child.wait().unwrap();
        let row = told.lines().find_map(|line| line.strip_prefix("slabd_resident_memory_bytes "));
        let len: u64 = row.unwrap_or_else(|| panic!("{filter}: no such row in {told}")).parse().unwrap();
        assert!(len > 1 << 20, "{filter}: {len}");
    }
}

/// The real daemon, and where it tells its metrics.
fn daemon_with_metrics(args: &[&str]) -> (Child, SocketAddr) {
    // The port is free when it is chosen; should somebody have taken it by then, another is.
    for _ in 0..20 {
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_slabd"))
            .args(["-p", "-1", "-l", "127.0.0.1", "--metrics", &addr.to_string()])
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        if lines.any(|line| line.unwrap().contains("listening on ")) {
            return (child, addr);
        }
        child.wait().unwrap();
    }
    panic!("no port is left alone");
}

#[test]
fn nothing_else_is_to_be_had_there() {
    let running = start();
    for (request, answer) in [
        ("GET / HTTP/1.1\r\n\r\n", "200"),
        ("GET /stats HTTP/1.1\r\n\r\n", "404"),
        ("GET /../metrics HTTP/1.1\r\n\r\n", "404"),
        ("DELETE /metrics HTTP/1.1\r\n\r\n", "405"),
        ("set k 0 0 1\r\n1\r\n", "400"),
        ("GET /metrics HTTP/1.1\r\nno header\r\n\r\n", "400"),
        ("\u{0}\u{1}\u{2}", "400"),
    ] {
        let answered = ask(&running, request);
        assert!(answered.starts_with(&format!("HTTP/1.1 {answer} ")), "{request:?}: {answered}");
        assert!(answered.contains("\r\nConnection: close\r\n"));
    }
    let head = ask(&running, "HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    let long = format!("GET /metrics HTTP/1.1\r\nx: {}\r\n", "x".repeat(1 << 20));
    let mut stream = connect(&running);
    // It may be closed before all of it is sent.
    let _ = stream.write_all(long.as_bytes());
    let answered = rest(stream);
    assert!(answered.is_empty() || answered.starts_with("HTTP/1.1 431 "), "{answered}");
    let mut client = Client::connect(running.local_addrs()[0]);
    client.exchange(b"get k\r\n", b"END\r\n");
    running.stop();
    running.join();
}

#[test]
fn those_who_say_nothing_keep_nobody_from_the_metrics_and_are_let_go() {
    let running = start();
    let begun = Instant::now();
    let mut silent: Vec<TcpStream> = (0..40).map(|_| connect(&running)).collect();
    for (n, stream) in silent.iter_mut().enumerate() {
        // Those let go already do not take it.
        let _ = stream.write_all(&b"GET /metrics HTTP/1.1\r\n"[..n % 20]);
    }
    assert!(samples(&running).len() > 50);
    // In pieces, and slowly, but in time.
    let mut slow = connect(&running);
    for piece in ["GET /met", "rics HTTP/1.1\r\n", "Host: x\r\n\r", "\n"] {
        slow.write_all(piece.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(rest(slow).starts_with("HTTP/1.1 200"));
    for stream in silent {
        assert_eq!(rest(stream), "");
    }
    assert!(begun.elapsed() < Duration::from_secs(15));
    running.stop();
    running.join();
}

#[test]
fn it_stops_with_a_client_at_hand_and_a_taken_address_is_an_error() {
    let running = start();
    let _silent = connect(&running);
    let mut settings = settings();
    settings.metrics = running.metrics_addrs().to_vec();
    let error = slabd::server::start(settings, Clock::system()).unwrap_err();
    assert!(error.to_string().contains("--metrics"), "{error}");
    running.stop();
    running.join();
}
