//! Laws of the binary protocol's parser and encoder that hold for every input.

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::packet::Packet;
use proptest::collection::vec;
use proptest::prelude::*;
use slabd::command::{Command, Count, Direction, Initial, StatsTopic, StoreRequest, StoreTerms, StoreVerb};
use slabd::command::{Outcome, Report, Value, View, WireError};
use slabd::limits::{KEY_LEN_MAX, REPLY_HEAD_LEN_MAX};
use slabd::proto::Parsed;
use slabd::proto::binary::{Ask, HEAD_LEN_MAX, HEADER_LEN, Status, encode, encode_status, parse};

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(any::<u8>(), 1..40), 1 => vec(any::<u8>(), 240..=KEY_LEN_MAX)]
}

/// A CAS number, none more often than not.
fn cas() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0), 1 => any::<u64>()]
}

/// A well-formed request, its value included, and what it asks.
fn well_formed() -> impl Strategy<Value = (Packet, String)> {
    prop_oneof![reading(), storing(), counting(), talking()]
}

fn reading() -> impl Strategy<Value = (Packet, String)> {
    (0..11_usize, key(), any::<u32>(), cas(), any::<u32>()).prop_map(|(pick, key, exptime, cas, opaque)| {
        let opcode = [0x00, 0x09, 0x0c, 0x0d, 0x1c, 0x1d, 0x1e, 0x23, 0x24, 0x04, 0x14][pick];
        let (ask, extras) = match pick {
            0..4 => (Ask::Get { key: &key }, vec![]),
            4..9 => (Ask::Touch { key: &key, exptime: exptime.into() }, exptime.to_be_bytes().to_vec()),
            _ => (Ask::Delete { key: &key, compare: (cas != 0).then_some(cas) }, vec![]),
        };
        (Packet { cas, opaque, ..Packet::new(opcode, &extras, &key, b"") }, format!("{ask:?}"))
    })
}

fn storing() -> impl Strategy<Value = (Packet, String)> {
    let numbers = (any::<u32>(), any::<u32>(), cas(), any::<u32>());
    (0..10_usize, key(), numbers, vec(any::<u8>(), 0..100)).prop_map(
        |(pick, key, (flags, exptime, cas, opaque), value)| {
            let opcode = [0x01, 0x11, 0x02, 0x12, 0x03, 0x13, 0x0e, 0x19, 0x0f, 0x1a][pick];
            let verb = match pick {
                0..6 if cas != 0 => StoreVerb::Cas(cas),
                0 | 1 => StoreVerb::Set,
                2 | 3 => StoreVerb::Add,
                4 | 5 => StoreVerb::Replace,
                6 | 7 => StoreVerb::Append,
                _ => StoreVerb::Prepend,
            };
            let joins = pick >= 6;
            let (flags, exptime) = if joins { (0, 0) } else { (flags, exptime) };
            let extras = [flags.to_be_bytes(), exptime.to_be_bytes()].concat();
            let packet = Packet::new(opcode, if joins { b"" } else { &extras }, &key, &value);
            let request = StoreRequest { verb, key: &key, flags, exptime: exptime.into(), value_len: value.len() };
            let terms = StoreTerms { compare: (joins && cas != 0).then_some(cas), ..StoreTerms::default() };
            (Packet { cas, opaque, ..packet }, format!("{:?}", Ask::Value(request, terms)))
        },
    )
}

fn counting() -> impl Strategy<Value = (Packet, String)> {
    let exptime = prop_oneof![1 => Just(u32::MAX), 2 => any::<u32>()];
    (0..4_usize, key(), (any::<u64>(), any::<u64>(), exptime), cas()).prop_map(
        |(pick, key, (delta, number, exptime), cas)| {
            let direction = if pick < 2 { Direction::Up } else { Direction::Down };
            let initial = (exptime != u32::MAX).then(|| Initial { number, exptime: exptime.into() });
            let count = Count { direction, delta, compare: (cas != 0).then_some(cas), initial };
            let extras = [&delta.to_be_bytes()[..], &number.to_be_bytes(), &exptime.to_be_bytes()].concat();
            let packet = Packet { cas, ..Packet::new([0x05, 0x15, 0x06, 0x16][pick], &extras, &key, b"") };
            (packet, format!("{:?}", Ask::Count { key: &key, count }))
        },
    )
}

fn talking() -> impl Strategy<Value = (Packet, String)> {
    (0..12_usize, any::<u32>()).prop_map(|(pick, delay)| {
        let delay_bytes = delay.to_be_bytes();
        let (opcode, extras, key, ask): (u8, &[u8], &[u8], Ask<'_>) = match pick {
            0 => (0x07, b"", b"", Ask::Last(Status::Ok)),
            1 => (0x17, b"", b"", Ask::Last(Status::Ok)),
            2 => (0x08, b"", b"", Ask::One(Command::FlushAll { delay: 0 })),
            3 => (0x18, b"", b"", Ask::One(Command::FlushAll { delay: 0 })),
            4 => (0x08, &delay_bytes, b"", Ask::One(Command::FlushAll { delay: delay.into() })),
            5 => (0x18, &delay_bytes, b"", Ask::One(Command::FlushAll { delay: delay.into() })),
            6 => (0x0a, b"", b"", Ask::Answer(Status::Ok, 0)),
            7 => (0x0b, b"", b"", Ask::One(Command::Version)),
            8 => (0x10, b"", b"", Ask::One(Command::Stats(StatsTopic::General))),
            9 => (0x10, b"", b"items", Ask::One(Command::Stats(StatsTopic::Items))),
            10 => (0x10, b"", b"wings", Ask::Answer(Status::NotFound, 0)),
            _ => (0x20, b"", b"", Ask::Answer(Status::UnknownCommand, 0)),
        };
        (Packet { opaque: delay, ..Packet::new(opcode, extras, key, b"") }, format!("{ask:?}"))
    })
}

/// Bytes that are often nearly a request.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let damaged = (well_formed(), any::<prop::sample::Index>(), any::<u8>(), any::<bool>()).prop_map(
        |((packet, _), at, byte, is_damaged)| {
            let mut bytes = packet.request();
            let at = at.index(bytes.len());
            if is_damaged {
                bytes[at] = byte;
            } else {
                bytes.truncate(at);
            }
            bytes
        },
    );
    let header = (vec(0..3_u8, 23), any::<u8>()).prop_map(|(mut bytes, opcode)| {
        bytes.insert(0, 0x80);
        bytes[1] = opcode % 0x28;
        bytes
    });
    (prop_oneof![3 => damaged, 1 => header], vec(any::<u8>(), 0..600)).prop_map(|(head, tail)| [head, tail].concat())
}

fn said(input: &[u8]) -> Option<(usize, String)> {
    match parse(input) {
        Parsed::Complete { used, value } => Some((used, format!("{value:?}"))),
        Parsed::Partial => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    /// A client could crash the daemon, make it read past its input, or make it wait for ever.
    #[test]
    fn no_bytes_upset_the_parser(input in prop_oneof![vec(any::<u8>(), 0..600), nearly()]) {
        match parse(&input) {
            Parsed::Complete { used, value } => {
                prop_assert!(used <= input.len());
                prop_assert!(used >= HEADER_LEN || value.ask == Ask::Foreign, "no progress is made");
            }
            Parsed::Partial => prop_assert!(input.len() < HEAD_LEN_MAX, "waits for more than there can be"),
        }
    }

    /// A well-formed request would be misread, or read before it has arrived, or differently with other bytes behind it.
    #[test]
    fn a_request_is_read_as_it_was_written((packet, ask) in well_formed(), behind in vec(any::<u8>(), 0..40)) {
        let bytes = packet.request();
        let head_len = bytes.len() - packet.value.len();
        for len in 0..head_len {
            prop_assert_eq!(parse(&bytes[..len]), Parsed::Partial);
        }
        for input in [&bytes[..head_len], &bytes, &[&bytes[..], &behind].concat()] {
            let Parsed::Complete { used, value } = parse(input) else { panic!("it is complete") };
            prop_assert_eq!(used, head_len);
            prop_assert_eq!(format!("{:?}", value.ask), ask.clone());
            let mut answer = Vec::new();
            encode_status(value.echo, Status::NotStored, &mut answer);
            let (answer, _) = Packet::read(&answer).expect("an answer");
            prop_assert_eq!((answer.opcode, answer.opaque, answer.status), (packet.opcode, packet.opaque, 5));
        }
    }

    /// The answer would depend on how the network cuts the bytes.
    #[test]
    fn what_has_been_said_is_not_taken_back(input in nearly()) {
        let whole = said(&input);
        for len in 0..input.len() {
            let part = said(&input[..len]);
            prop_assert!(part.is_none() || part == whole, "{part:?} after {len} bytes, {whole:?} after all");
        }
    }

    /// A client would lose its place in the answers, or an answer would grow while a bucket is locked.
    #[test]
    fn answers_are_as_long_as_they_say(
        (packet, _) in well_formed(), pick in 0..12_usize, key in key(), value in vec(any::<u8>(), 0..100), cas in any::<u64>(),
    ) {
        let bytes = packet.request();
        let Parsed::Complete { value: request, .. } = parse(&bytes) else { panic!("it is complete") };
        let mut report = Report::default();
        report.push("name", cas);
        report.push("other", "value");
        let outcome = match pick {
            0 => Outcome::Hit(View { key: &key, flags: 7, cas, value: Value::Borrowed(&value) }),
            1 => Outcome::Miss,
            2 => Outcome::Stored,
            3 => Outcome::NotStored,
            4 => Outcome::Exists,
            5 => Outcome::NotFound,
            6 => Outcome::Deleted,
            7 => Outcome::Number(cas),
            8 => Outcome::Done,
            9 => Outcome::Version,
            10 => Outcome::Report(report),
            _ => Outcome::Refused([WireError::TooLarge, WireError::OutOfMemory, WireError::NonNumericValue][key.len() % 3]),
        };
        let (mut answer, is_report) = (Vec::new(), pick == 10);
        encode(request.echo, &key, outcome, cas, &mut answer);
        prop_assert!(is_report || answer.len() <= REPLY_HEAD_LEN_MAX + value.len());
        let mut rest = &answer[..];
        let mut count = 0;
        while let Some((one, len)) = Packet::read(rest) {
            prop_assert_eq!((one.opcode, one.opaque), (packet.opcode, packet.opaque));
            (rest, count) = (&rest[len..], count + 1);
        }
        prop_assert!(rest.is_empty());
        let is_right = if is_report { count == 3 } else { count <= 1 };
        prop_assert!(is_right, "{} packets", count);
    }
}
