//! A recorded stream of a thousand commands, cut off at every byte and damaged at every byte: each gets an answer or a
//! close. Never a crash, never a hang, never a cache that has stopped working.
//!
//! The same for a thousand packets of the binary protocol. All of it runs on a session without a socket; a sample goes over real ones. Damage at one byte is followed by the
//! rest of the stream as far as it can matter, [`BEHIND`] requests; what went before does not depend on it.

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::direct::{Direct, DirectClient, Values};
use common::packet::Packet;
use common::server::Server;
use common::stream::{Closes, Generator, Request};
use common::stream_binary::PacketGenerator;
use common::wire::{Wire, show};
use slabd::clock::Clock;
use std::fmt::Write as _;

const REQUESTS: usize = 1000;

/// Requests are short, so that there are many bytes to damage and few to send.
const REQUEST_LEN_MAX: usize = 160;

/// Requests sent before the damaged one, and behind it.
const BEFORE: usize = 8;
const BEHIND: usize = 24;

/// What a byte is damaged into, besides one of any kind.
const DAMAGE: &[u8] = b"\n\r \0-90zgs\x80";

/// More than any number of the stream that may take the place of a length, but for those that are refused at once.
const VALUE_LEN_MAX: usize = 3 << 20;

#[test]
fn every_prefix_of_a_stream_gets_an_answer_or_a_close() {
    cut_everywhere(&recorded());
}

#[test]
fn every_prefix_of_a_stream_of_packets_gets_an_answer_or_a_close() {
    cut_everywhere(&recorded_packets());
}

fn cut_everywhere(requests: &[Vec<u8>]) {
    let mut direct = Direct::new(16 << 20);
    for (index, request) in requests.iter().enumerate() {
        for len in 0..=request.len() {
            let mut client = direct.connect(if len % 2 == 0 { Values::Fed } else { Values::Straight });
            client.send(&requests[index.saturating_sub(BEFORE)..index].concat());
            client.send(&request[..len]);
        }
        expect_alive(&mut direct.connect(Values::Fed), request);
    }
}

#[test]
fn a_stream_byte_by_byte_is_answered_as_in_one_piece() {
    compare_cuts(&recorded().concat(), without_numbers);
}

#[test]
fn a_stream_of_packets_byte_by_byte_is_answered_as_in_one_piece() {
    compare_cuts(&recorded_packets().concat(), |mut answer| {
        let (mut said, mut count) = (String::new(), 0);
        while let Some((packet, len)) = Packet::read(answer) {
            writeln!(said, "{:?}", Packet { cas: 0, ..packet }).expect("a String takes anything");
            (answer, count) = (&answer[len..], count + 1);
        }
        assert!(answer.is_empty() && count > REQUESTS / 3, "{count} answers");
        said.into_bytes()
    });
}

fn compare_cuts(stream: &[u8], without_numbers: impl Fn(&[u8]) -> Vec<u8>) {
    // Each of its own would begin with another second, if one begins in between: what is left of a lifetime would be another.
    let clock = Clock::manual();
    let mut answers = ["one piece", "byte by byte"].map(|how| {
        let mut direct = Direct::new(16 << 20).with_clock(clock.clone());
        let mut client = direct.connect(Values::Fed);
        if how == "one piece" {
            client.send(stream);
        } else {
            stream.chunks(1).for_each(|byte| client.send(byte));
        }
        without_numbers(&client.take_answer())
    });
    let [one, other] = &mut answers;
    assert!(one == other, "one piece {}\nbyte by byte {}", show(one), show(other));
}

#[test]
fn every_damaged_byte_of_a_stream_gets_an_answer_or_a_close() {
    damage_everywhere(&recorded());
}

#[test]
fn every_damaged_byte_of_a_stream_of_packets_gets_an_answer_or_a_close() {
    damage_everywhere(&recorded_packets());
}

fn damage_everywhere(requests: &[Vec<u8>]) {
    let rest_of_value = [&vec![b'x'; VALUE_LEN_MAX][..], b"\r\nversion\r\n"].concat();
    let mut rng = fastrand::Rng::with_seed(7);
    let mut direct = Direct::new(16 << 20);
    for (index, request) in requests.iter().enumerate() {
        let before = requests[index.saturating_sub(BEFORE)..index].concat();
        let behind = requests[index + 1..requests.len().min(index + 1 + BEHIND)].concat();
        for at in 0..request.len() {
            let special = |turn: usize| DAMAGE[(index + at + turn * 3) % DAMAGE.len()];
            for byte in [special(0), special(1), special(2), rng.u8(..), rng.u8(..)] {
                let mut damaged = request.clone();
                damaged[at] = byte;
                let mut client = direct.connect(if rng.bool() { Values::Fed } else { Values::Straight });
                client.send(&before);
                client.take_answer();
                client.send(&damaged);
                client.send(&behind);
                let mut is_answered = client.is_closed() || !client.take_answer().is_empty();
                if !is_answered {
                    // A damaged length: the session waits for the rest of a value.
                    client.send(&rest_of_value);
                    is_answered = client.is_closed() || !client.take_answer().is_empty();
                }
                assert!(is_answered, "neither an answer nor a close after {} and what follows it", show(&damaged));
            }
        }
        expect_alive(&mut direct.connect(Values::Fed), request);
    }
}

#[test]
fn damaged_and_cut_streams_over_sockets_end_with_the_connection() {
    damage_over_sockets(&recorded());
}

#[test]
fn damaged_and_cut_streams_of_packets_over_sockets_end_with_the_connection() {
    damage_over_sockets(&recorded_packets());
}

fn damage_over_sockets(requests: &[Vec<u8>]) {
    let mut rng = fastrand::Rng::with_seed(11);
    let server = Server::start(2);
    for _ in 0..200 {
        let mut stream = requests.concat();
        let at = rng.usize(..stream.len());
        if rng.bool() {
            stream.truncate(at);
        } else {
            stream[at] = rng.u8(..);
        }
        let mut client = server.connect();
        let mut sender = client.stream();
        let sending = std::thread::spawn(move || {
            // The server may close before it has read everything.
            drop(std::io::Write::write_all(&mut sender, &stream));
            drop(sender.shutdown(std::net::Shutdown::Write));
        });
        client.rest();
        sending.join().expect("the sender does not panic");
    }
    server.connect().exchange(b"set alive 0 0 1\r\nx\r\nget alive\r\n", b"STORED\r\nVALUE alive 0 1\r\nx\r\nEND\r\n");
}

/// The same stream every time.
fn recorded() -> Vec<Vec<u8>> {
    let mut generator = Generator::new(20_26);
    let mut requests = Vec::new();
    while requests.len() < REQUESTS {
        let batch = generator.batch();
        let suitable = batch.iter().filter(|request| request.closes == Closes::Nobody && !has_large_cas(request));
        requests.extend(suitable.map(|request| request.bytes("1")).filter(|bytes| bytes.len() <= REQUEST_LEN_MAX));
    }
    requests.truncate(REQUESTS);
    requests
}

/// A number that would be a length if the blank before it were damaged, of a value too long to be sent here.
fn has_large_cas(request: &Request) -> bool {
    request.cas.is_none() && request.head.starts_with(b"cas ")
}

fn expect_alive(client: &mut DirectClient<'_>, after: &[u8]) {
    client.send(b"set alive 0 0 1\r\nx\r\nget alive\r\n");
    let answer = client.take_answer();
    assert!(answer == b"STORED\r\nVALUE alive 0 1\r\nx\r\nEND\r\n", "{} after {}", show(&answer), show(after));
}

/// The same for packets, without those that would make the server a different one for good.
fn recorded_packets() -> Vec<Vec<u8>> {
    let mut generator = PacketGenerator::new(20_26);
    let mut requests = Vec::new();
    while requests.len() < REQUESTS {
        let batch = generator.batch();
        let packets = batch.iter().filter(|asked| !asked.closes).map(|asked| asked.bytes(0x0102_0304, 0));
        requests.extend(packets.filter(|bytes| bytes.len() <= REQUEST_LEN_MAX));
    }
    requests.truncate(REQUESTS);
    requests
}

/// CAS numbers are each daemon's own.
fn without_numbers(answer: &[u8]) -> Vec<u8> {
    let mut text = String::new();
    for line in answer.split(|byte| *byte == b'\n') {
        // Also of meta commands: `c17`, and `cas=17`.
        let is_number = |word: &&[u8]| {
            let number = word.strip_prefix(b"cas=").or(word.strip_prefix(b"c")).unwrap_or_default();
            let number = number.strip_suffix(b"\r").unwrap_or(number);
            number.len() > 1 && number.iter().all(u8::is_ascii_digit)
        };
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').filter(|word| !is_number(word)).collect();
        let words = if words.len() == 5 && words[0] == b"VALUE" { &words[..4] } else { &words[..] };
        writeln!(text, "{}", words.join(&b' ').escape_ascii()).expect("a String takes anything");
    }
    text.into_bytes()
}
