//! slabd beside a real memcached: the same requests to both, the answers compared byte by byte.
//!
//! Streams are made from seeds. `SLABD_SEED` names the first one (1), `SLABD_SEEDS` how many (50), `SLABD_COMMANDS` how
//! many requests each (4200). A failure names its seed, so that `SLABD_SEED=17 SLABD_SEEDS=1` repeats it.
//!
//! The memcached at hand is usually 1.6.18, slabd follows 1.6.45 where they differ and its own rule where a refused
//! request's data would be run as commands. Every difference so allowed stands in [`DIFFERENCES`], with its reason and
//! exactly the answers it excuses; anything else fails. Of packets of the binary protocol there is none such: where slabd
//! differs, in what `proto/binary.rs` calls its own, memcached gets out of step with its client, and there is nothing to compare.

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::client::Client;
use common::oracle::Oracle;
use common::packet::Packet;
use common::server::Server;
use common::stream::{Closes, Generator, Request};
use common::stream_binary::{Asked, PacketGenerator};
use common::transcripts;
use common::wire::{Cut, Received, Step, Wire, play, show};
use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::thread;

/// Where slabd answers otherwise than memcached 1.6.18, and why. Each entry is told the request and both answers.
const DIFFERENCES: &[Difference] = &[
    Difference {
        reason: "a missing word: 1.6.45 says CLIENT_ERROR where 1.6.18 says ERROR (and END for gat without keys)",
        excuses: |request, theirs, ours| {
            let line: Vec<&[u8]> = words(request).collect();
            let short = match line.as_slice() {
                [] => true,
                [verb] => {
                    matches!(*verb, b"get" | b"gets" | b"gat" | b"gats" | b"delete" | b"incr" | b"decr" | b"touch")
                }
                [verb, _] => matches!(*verb, b"gat" | b"gats" | b"incr" | b"decr" | b"touch"),
                _ => false,
            };
            short && ours == BAD && (theirs == ERROR || theirs == b"END\r\n")
        },
    },
    Difference {
        reason: "a refused storage command's data, or what is too much of it, is swallowed; 1.6.18 runs it",
        excuses: |request, theirs, ours| is_storage(request) && theirs == [ours, ERROR].concat(),
    },
    Difference {
        reason: "cas without its number: 1.6.45 says CLIENT_ERROR and swallows the data",
        excuses: |request, theirs, ours| {
            request.starts_with(b"cas ")
                && words(request).count() == 5
                && ours == BAD
                && theirs == [ERROR, ERROR].concat()
        },
    },
    Difference {
        reason: "flags of more than 32 bits are refused, not cut (such keys are never read)",
        excuses: |request, _, ours| {
            is_storage(request) && words(request).nth(2) == Some(b"4294967296") && (ours == BAD || ours.is_empty())
        },
    },
    Difference {
        reason: "a line that begins with a blank is an error in 1.6.45",
        excuses: |request, _, ours| request.starts_with(b" ") && ours == ERROR,
    },
    Difference {
        reason: "delete with a time other than 0 deletes, as in 1.6.45 (such keys are never there)",
        excuses: |request, theirs, ours| {
            request.starts_with(b"delete no-such-key 5") && ours == b"NOT_FOUND\r\n" && theirs.ends_with(DELETE_USAGE)
        },
    },
    Difference {
        reason: "a storage command whose length nobody knows closes: its data would be run as commands",
        excuses: |request, theirs, ours| is_storage(request) && theirs == BAD && ours == [BAD, CLOSED].concat(),
    },
];

/// A difference that is meant.
struct Difference {
    reason: &'static str,
    excuses: fn(request: &[u8], theirs: &[u8], ours: &[u8]) -> bool,
}

const META: [&[u8]; 6] = [b"mg ", b"ms ", b"md ", b"ma ", b"me ", b"mn"];

const BAD: &[u8] = b"CLIENT_ERROR bad command line format\r\n";
const ERROR: &[u8] = b"ERROR\r\n";
const DELETE_USAGE: &[u8] = b"Usage: delete <key> [noreply]\r\n";

/// Stands behind the answer of a request on which the connection was closed.
const CLOSED: &[u8] = b"(closed)";

#[test]
fn slabd_answers_streams_of_commands_as_memcached_does() {
    // Its background threads hold items now and then, and a held item is not padded when its number becomes shorter.
    let quiet = ["-m", "1024", "-t", "1", "-o", "no_lru_crawler,no_lru_maintainer"];
    let Some(oracle) = Oracle::start(&quiet) else {
        return;
    };
    let first: u64 = env("SLABD_SEED", 1);
    let mut tally = Tally::default();
    for seed in first..first + env("SLABD_SEEDS", 50) {
        let server = Server::start_with(|settings| {
            settings.memory_len = 1 << 30;
            settings.threads = if seed.is_multiple_of(2) { 1 } else { 4 };
        });
        compare(seed, env("SLABD_COMMANDS", 4200), server.addr, oracle.addr, &mut tally);
    }
    tally.report();
}

#[test]
fn memcached_answers_the_transcripts_as_they_are_written() {
    let Some(oracle) = Oracle::start(&["-t", "1"]) else {
        return;
    };
    let mut failures = Vec::new();
    let same = transcripts::all().filter(|transcript| transcript.differs.is_none());
    for transcript in same {
        assert!(
            !transcript.steps.iter().any(|step| matches!(step, Step::Wait(_))),
            "memcached's clock cannot be moved"
        );
        Client::connect(oracle.addr).exchange(b"flush_all\r\n", b"OK\r\n");
        failures.extend(play(transcript, &mut Client::connect(oracle.addr), Cut::Whole).err());
    }
    assert!(failures.is_empty(), "{} transcripts differ\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn slabd_answers_streams_of_packets_as_memcached_does() {
    let quiet = ["-m", "1024", "-t", "1", "-o", "no_lru_crawler,no_lru_maintainer"];
    let Some(oracle) = Oracle::start(&quiet) else {
        return;
    };
    let first: u64 = env("SLABD_SEED", 1);
    let (mut request_count, mut hit_count) = (0, 0);
    for seed in first..first + env("SLABD_SEEDS", 50) {
        println!("seed {seed}");
        let server = Server::start_with(|settings| {
            settings.memory_len = 1 << 30;
            settings.threads = if seed.is_multiple_of(2) { 1 } else { 4 };
        });
        let mut generator = PacketGenerator::new(seed);
        let mut sides = [PacketSide::new("slabd", server.addr), PacketSide::new("memcached", oracle.addr)];
        let begun = request_count;
        while request_count - begun < env("SLABD_COMMANDS", 4200) {
            let batch = generator.batch();
            let [ours, theirs] = &mut sides;
            let (mine, his) = thread::scope(|scope| {
                let mine = scope.spawn(|| ours.answers(&batch));
                let his = theirs.answers(&batch);
                (mine.join().expect("slabd answers"), his)
            });
            compare_packets(seed, &batch, &mine, &his);
            for answer in mine.iter().filter(|answer| answer.cas > 0) {
                let key = &batch[answer.opaque as usize].packet.key;
                generator.saw(key, usize::try_from(answer.cas - 1).expect("a place"));
                hit_count += usize::from(!answer.extras.is_empty());
            }
            request_count += batch.len();
        }
        let [ours, theirs] = &mut sides;
        assert_eq!(ours.counts(), theirs.counts(), "seed {seed}: slabd counts, and memcached");
    }
    println!("{request_count} packets, {hit_count} hits");
}

fn compare_packets(seed: u64, batch: &[Asked], mine: &[Packet], his: &[Packet]) {
    if mine == his {
        return;
    }
    let first = mine.iter().zip(his).take_while(|(mine, his)| mine == his).count();
    let shown = |answers: &[Packet]| {
        let shown = answers[first.min(answers.len())..].iter().take(2);
        shown
            .map(|answer| format!("opaque {}: {}", answer.opaque, show(&answer.answer())))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let place = mine.get(first).or(his.get(first)).map_or(0, |answer| answer.opaque as usize).min(batch.len() - 1);
    let of_key = batch[..=place].iter().enumerate().filter(|(_, asked)| asked.packet.key == batch[place].packet.key);
    let asked: Vec<String> = of_key.map(|(place, asked)| format!("{place}: {}", show(&asked.bytes(0, 0)))).collect();
    let (his, mine) = (shown(his), shown(mine));
    panic!("seed {seed}\nrequests of this key\n{}\nmemcached answers\n{his}\nslabd answers\n{mine}", asked.join("\n"));
}

/// One server as the comparison of packets sees it.
struct PacketSide {
    name: &'static str,
    addr: SocketAddr,
    client: Client,
    /// CAS numbers in the order in which they were seen first, and their places in it.
    numbers: Vec<u64>,
    places: HashMap<u64, usize>,
}

impl PacketSide {
    /// Starts from nothing.
    fn new(name: &'static str, addr: SocketAddr) -> Self {
        let (numbers, places) = (Vec::new(), HashMap::new());
        let mut side = Self { name, addr, client: Client::connect(addr), numbers, places };
        side.answers(&[]);
        side.client.exchange(&Packet::new(0x08, b"", b"", b"").request(), &Packet::new(0x08, b"", b"", b"").answer());
        side.client
            .exchange(&Packet::new(0x10, b"", b"reset", b"").request(), &Packet::new(0x10, b"", b"", b"").answer());
        side
    }

    /// Sends a batch, and a noop behind it so that it is clear where its answers end. CAS numbers are replaced by their places, from
    /// 1 on.
    fn answers(&mut self, batch: &[Asked]) -> Vec<Packet> {
        let mut bytes = Vec::new();
        for (place, asked) in (0..).zip(batch) {
            bytes.extend(asked.bytes(place, asked.cas.map_or(0, |place| self.numbers[place])));
        }
        let closes = batch.last().is_some_and(|asked| asked.closes);
        if !closes {
            bytes.extend(Packet { opaque: END, ..Packet::new(0x0a, b"", b"", b"") }.request());
        }
        let mut stream = self.client.stream();
        // The server may close before it has read everything; its answers tell.
        let writer = thread::spawn(move || drop(stream.write_all(&bytes)));
        let answers = self.receive(closes);
        writer.join().expect("the writer does not panic");
        if closes {
            self.client = Client::connect(self.addr);
        }
        answers
    }

    fn receive(&mut self, closes: bool) -> Vec<Packet> {
        let (mut received, mut used, mut answers) = (Vec::new(), 0, Vec::new());
        loop {
            while let Some((mut answer, len)) = Packet::read(&received[used..]) {
                used += len;
                if answer.opaque == END {
                    assert_eq!(used, received.len(), "{} says more than it was asked", self.name);
                    return answers;
                }
                if answer.opcode == 0x0b && answer.status == 0 {
                    answer.value.clear();
                }
                if answer.cas != 0 {
                    let next = self.numbers.len();
                    let place = *self.places.entry(answer.cas).or_insert(next);
                    if place == next {
                        self.numbers.push(answer.cas);
                    }
                    answer.cas = place as u64 + 1;
                }
                answers.push(answer);
            }
            match self.client.receive(&mut received) {
                Received::Bytes => {}
                Received::Closed if closes && used == received.len() => return answers,
                other => {
                    panic!("{}: {other:?} after {} answers and {}", self.name, answers.len(), show(&received[used..]))
                }
            }
        }
    }

    /// What the server has counted.
    fn counts(&self) -> Vec<(&'static str, String)> {
        let stats = String::from_utf8(Client::connect(self.addr).ask(b"stats\r\n", b"END\r\n")).expect("text");
        let value = |name: &str| {
            let row = stats.lines().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '));
            row.unwrap_or_else(|| panic!("{} does not tell {name}", self.name)).to_owned()
        };
        COUNTS.iter().map(|name| (*name, value(name))).collect()
    }
}

/// Of the noop behind a batch.
const END: u32 = u32::MAX;

/// What must be counted alike.
const COUNTS: &[&str] = &[
    "cmd_get",
    "cmd_set",
    "cmd_flush",
    "cmd_touch",
    "get_hits",
    "get_misses",
    "delete_hits",
    "delete_misses",
    "incr_hits",
    "incr_misses",
    "decr_hits",
    "decr_misses",
    "cas_hits",
    "cas_misses",
    "cas_badval",
    "touch_hits",
    "touch_misses",
];

/// What was compared.
#[derive(Debug, Default)]
struct Tally {
    request_count: usize,
    hit_count: usize,
    cas_stored_count: usize,
    /// By the place of the difference in [`DIFFERENCES`].
    excused: [usize; DIFFERENCES.len()],
}

impl Tally {
    fn report(&self) {
        println!("{} requests, {} hits, {} stored by cas", self.request_count, self.hit_count, self.cas_stored_count);
        for (difference, count) in DIFFERENCES.iter().zip(self.excused) {
            println!("{count:>8} answers differ as listed: {}", difference.reason);
        }
    }
}

/// One seed's stream to both, starting from nothing.
fn compare(seed: u64, request_count: usize, slabd: SocketAddr, memcached: SocketAddr, tally: &mut Tally) {
    println!("seed {seed}");
    let mut generator = Generator::new(seed);
    let (mut ours, mut theirs) = (Side::new(slabd, Closes::Slabd), Side::new(memcached, Closes::Both));
    ours.client.exchange(b"flush_all\r\n", b"OK\r\n");
    theirs.client.exchange(b"flush_all\r\n", b"OK\r\n");
    let mut done = 0;
    while done < request_count {
        let batch = generator.batch();
        let (mine, his) = thread::scope(|scope| {
            let mine = scope.spawn(|| ours.answers(&batch));
            let his = theirs.answers(&batch);
            (mine.join().expect("slabd answers"), his)
        });
        for (index, request) in batch.iter().enumerate() {
            let (mine, his) = (&mine[index], &his[index]);
            if mine.text != his.text {
                let sent = request.bytes("<cas>");
                let place = DIFFERENCES.iter().position(|known| (known.excuses)(&sent, &his.text, &mine.text));
                let place = place.unwrap_or_else(|| {
                    panic!(
                        "seed {seed}, request {}\n{}\nmemcached answers\n{}\nslabd answers\n{}\nrequests before\n{}",
                        done + index,
                        show(&sent),
                        show(&his.text),
                        show(&mine.text),
                        before(&batch[..index]),
                    )
                });
                tally.excused[place] += 1;
            }
            mine.seen.iter().for_each(|(key, cas)| generator.saw(key, *cas));
            tally.hit_count += usize::from(mine.text.starts_with(b"VALUE "));
            tally.cas_stored_count += usize::from(request.cas.is_some() && mine.text == b"STORED\r\n");
        }
        done += batch.len();
    }
    tally.request_count += done;
}

/// The last few requests, for who has to find out.
fn before(requests: &[Request]) -> String {
    let last = &requests[requests.len().saturating_sub(8)..];
    last.iter().map(|request| show(&request.bytes("<cas>"))).collect::<Vec<_>>().join("\n")
}

/// One server as the comparison sees it.
struct Side {
    addr: SocketAddr,
    client: Client,
    /// Bytes received and not yet taken apart.
    received: Vec<u8>,
    /// CAS numbers in the order in which they were seen first, and their places in it.
    numbers: Vec<String>,
    places: HashMap<String, usize>,
    /// Closes on everything that is marked so.
    closes: Closes,
}

/// What came back for one request, CAS numbers replaced by their places.
#[derive(Debug, Default)]
struct Answer {
    text: Vec<u8>,
    /// Keys seen with their numbers' places.
    seen: Vec<(Vec<u8>, usize)>,
}

impl Side {
    fn new(addr: SocketAddr, closes: Closes) -> Self {
        let (numbers, places) = (Vec::new(), HashMap::new());
        Self { addr, client: Client::connect(addr), received: Vec::new(), numbers, places, closes }
    }

    /// Sends a batch, a `version` behind every request so that it is clear which answer belongs to which.
    fn answers(&mut self, batch: &[Request]) -> Vec<Answer> {
        let mut bytes = Vec::new();
        for request in batch {
            let cas = request.cas.map_or("", |place| &self.numbers[place]);
            bytes.extend(request.bytes(cas));
            if !self.closes_on(request) {
                bytes.extend_from_slice(b"version\r\n");
            }
        }
        let mut stream = self.client.stream();
        // The server may close before it has read everything; its answers tell.
        let writer = thread::spawn(move || drop(stream.write_all(&bytes)));
        let answers = batch.iter().map(|request| self.answer(request)).collect();
        writer.join().expect("the writer does not panic");
        if batch.last().is_some_and(|request| request.closes != Closes::Nobody) {
            self.client = Client::connect(self.addr);
            self.received.clear();
        }
        answers
    }

    fn closes_on(&self, request: &Request) -> bool {
        request.closes == Closes::Both || (request.closes == Closes::Slabd && self.closes == Closes::Slabd)
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let mut answer = Answer::default();
        if self.closes_on(request) {
            answer.text = std::mem::take(&mut self.received);
            answer.text.extend(self.client.rest());
            answer.text.extend_from_slice(CLOSED);
            return answer;
        }
        let mut version_count = request.version_lines + 1;
        while version_count > 0 {
            let line = self.line(request, &answer);
            if line.starts_with(b"VERSION ") {
                version_count -= 1;
            } else if line.starts_with(b"VALUE ") {
                self.value(&line, request, &mut answer);
            } else if META.iter().any(|verb| request.head.starts_with(verb)) {
                self.meta(&line, request, &mut answer);
            } else {
                answer.text.extend_from_slice(&line);
            }
        }
        answer
    }

    /// A hit: `VALUE <key> <flags> <len> [<cas>]`, then the value.
    fn value(&mut self, line: &[u8], request: &Request, answer: &mut Answer) {
        let text: Vec<&[u8]> = line[..line.len() - 2].split(|byte| *byte == b' ').collect();
        let len: usize =
            text.get(3).and_then(|len| str::from_utf8(len).ok()?.parse().ok()).expect("a value has a length");
        if let [value, key, flags, _, cas] = text.as_slice() {
            let cas = String::from_utf8_lossy(cas).into_owned();
            let next = self.numbers.len();
            let place = *self.places.entry(cas.clone()).or_insert(next);
            if place == next {
                self.numbers.push(cas);
            }
            answer.seen.push((key.to_vec(), place));
            let words = [*value, key, flags, text[3], format!("#{place}\r\n").as_bytes()].join(&b' ');
            answer.text.extend_from_slice(&words);
        } else {
            answer.text.extend_from_slice(line);
        }
        self.receive_until(request, answer, |received| received.len() >= len + 2);
        answer.text.extend(self.received.drain(..len + 2));
    }

    /// An answer to a meta command: numbers become places, seconds are rounded, and of `me` only what is not the server's own is kept.
    fn meta(&mut self, line: &[u8], request: &Request, answer: &mut Answer) {
        let text = String::from_utf8_lossy(line).into_owned();
        let own = ["la=", "cas=", "cls=", "size="];
        let mut told = Vec::new();
        for (index, word) in text.trim_end_matches("\r\n").split(' ').enumerate() {
            let number = word.get(1..).and_then(|number| number.parse::<u64>().ok());
            told.push(match (word.chars().next(), number) {
                (Some('c'), Some(cas @ 1..)) if index > 0 => format!("c#{}", self.place(request, cas, answer)),
                (Some('t'), Some(secs)) if index > 0 => format!("t{}000", (secs + 500) / 1000),
                _ if line.starts_with(b"ME ") && own.iter().any(|name| word.starts_with(name)) => continue,
                _ if word.starts_with("exp=-") && word != "exp=-1" => "exp".to_owned(),
                _ => word.to_owned(),
            });
        }
        answer.text.extend_from_slice(told.join(" ").as_bytes());
        answer.text.extend_from_slice(b"\r\n");
        if let Some(len) = text.strip_prefix("VA ") {
            let len = len.split([' ', '\r']).next().and_then(|len| len.parse::<usize>().ok()).expect("a length");
            self.receive_until(request, answer, |received| received.len() >= len + 2);
            answer.text.extend(self.received.drain(..len + 2));
        }
    }

    /// The place of a number, seen with the request's key.
    fn place(&mut self, request: &Request, cas: u64, answer: &mut Answer) -> usize {
        let next = self.numbers.len();
        let place = *self.places.entry(cas.to_string()).or_insert(next);
        if place == next {
            self.numbers.push(cas.to_string());
        }
        let key = words(&request.head).nth(1).unwrap_or_default();
        answer.seen.push((key.to_vec(), place));
        place
    }

    fn line(&mut self, request: &Request, answer: &Answer) -> Vec<u8> {
        self.receive_until(request, answer, |received| received.contains(&b'\n'));
        let end = memchr::memchr(b'\n', &self.received).expect("a line has been received") + 1;
        self.received.drain(..end).collect()
    }

    fn receive_until(&mut self, request: &Request, answer: &Answer, enough: impl Fn(&[u8]) -> bool) {
        while !enough(&self.received) {
            let received = self.client.receive(&mut self.received);
            assert_eq!(
                received,
                Received::Bytes,
                "{} answers {} and {} to {}",
                if self.closes == Closes::Slabd { "slabd" } else { "memcached" },
                show(&answer.text),
                show(&self.received),
                show(&request.bytes("<cas>"))
            );
        }
    }
}

fn is_storage(request: &[u8]) -> bool {
    let verbs: [&[u8]; 7] = [b"set", b"add", b"replace", b"append", b"prepend", b"cas", b"ms"];
    words(request).next().is_some_and(|verb| verbs.contains(&verb))
}

/// The words of a request's line.
fn words(request: &[u8]) -> impl Iterator<Item = &[u8]> {
    let line = request.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

fn env<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}
