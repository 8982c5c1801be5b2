//! Laws of the text protocol's parser that hold for every input.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;
use slabd::command::{Command, Direction, ReplyShape, StoreRequest, StoreVerb};
use slabd::limits::{GET_LINE_LEN_MAX, KEY_LEN_MAX, LINE_LEN_MAX, META_FLAGS_MAX};
use slabd::proto::meta::{Key, KeyBuffer};
use slabd::proto::text::{Line, NextKey, next_key, parse, single_get};
use slabd::proto::{Parsed, Request};

/// Owned twin of what a line says, for comparisons across buffers: the value as text, keys drawn, bytes used in all.
type Heard = (String, Vec<Vec<u8>>, usize);

/// Reads one line with all its keys.
fn hear(input: &[u8], scanned: &mut usize) -> Option<Heard> {
    let from_the_start = *scanned == 0;
    let Parsed::Complete { used, value } = parse(input, scanned) else {
        assert!(*scanned == 0 || single_get(input).is_none());
        return None;
    };
    assert!(used <= input.len());
    if from_the_start && input[0] != b'\n' {
        assert_eq!(parse(input, &mut 1), Parsed::Complete { used, value }, "the long way leads to the same place");
    }
    let mut at = used;
    let mut keys = Vec::new();
    if let Line::Keys { .. } = value {
        loop {
            match next_key(&input[at..]) {
                NextKey::Key { key, used } => {
                    assert!((1..=KEY_LEN_MAX).contains(&key.len()));
                    assert!(!key.contains(&b' ') && !key.contains(&b'\n'));
                    keys.push(key.to_vec());
                    at += used;
                }
                NextKey::End { used } => {
                    at += used;
                    break;
                }
            }
            assert!(at <= input.len());
        }
        assert!(!keys.is_empty());
    }
    if let Some((key, used)) = single_get(input) {
        assert_eq!(value, Line::Keys { touch: None, reply: ReplyShape::default() });
        assert_eq!((&keys, at), (&vec![key.to_vec()], used), "the short way leads to the same place");
    } else {
        let is_plain = input.starts_with(b"get ") && input[used - 1] == b' ' && used == 4;
        assert!(!(is_plain && keys.len() == 1 && input[..at] == [b"get ", &keys[0][..], b"\r\n"].concat()));
    }
    Some((format!("{value:?}"), keys, at))
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_map(|b| if b == b' ' || b == b'\n' { b'x' } else { b });
    let key = prop_oneof![8 => vec(byte.clone(), 1..40), 1 => vec(byte, 240..=KEY_LEN_MAX)];
    // A carriage return at the end of a line would be taken for the line's.
    key.prop_map(|mut key| {
        if key.last() == Some(&b'\r') {
            key.pop();
            key.push(b'x');
        }
        key
    })
}

fn line_end() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("\r\n"), Just("\n")]
}

/// A word of a meta command or a lease.
fn meta_word() -> impl Strategy<Value = &'static str> {
    let words = [
        "mg",
        "ms",
        "md",
        "ma",
        "mn",
        "me",
        "lease-get",
        "lease-set",
        "metaget",
        "b",
        "c",
        "f",
        "h",
        "k",
        "l",
        "q",
        "s",
        "t",
        "u",
        "v",
        "x",
        "I",
        "L",
        "P",
        "C1",
        "D",
        "E5",
        "F7",
        "J-1",
        "ME",
        "M",
        "N30",
        "Oxyz",
        "R5",
        "T-1",
        "Tx",
        "Zm9v",
        "a=b=",
    ];
    proptest::sample::select(words.to_vec())
}

/// A well-formed line of a meta command whose flags are in any order, and what must be heard of it: its key, and whether a value
/// follows.
fn meta() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Option<usize>)> {
    let flags = [
        "c",
        "f",
        "h",
        "k",
        "l",
        "q",
        "s",
        "t",
        "u",
        "v",
        "x",
        "I",
        "L",
        "P",
        "C9",
        "D18446744073709551615",
        "E1",
        "F4294967295",
        "J0",
        "N-1",
        "O",
        "R2147483648",
        "T9223372036854775807",
    ];
    let flags = proptest::sample::subsequence(flags.to_vec(), 0..=META_FLAGS_MAX).prop_shuffle();
    let verb = prop_oneof![Just("mg"), Just("md"), Just("ma"), Just("ms")];
    (verb, key(), flags, 0..=2_147_483_645_usize, line_end()).prop_map(|(verb, key, flags, len, end)| {
        let is_store = verb == "ms";
        let mut line = [verb.as_bytes(), b" ", &key].concat();
        if is_store {
            line.extend(format!(" {len}").bytes());
        }
        flags.iter().for_each(|flag| line.extend(format!(" {flag}").bytes()));
        line.extend(end.bytes());
        (line, key, is_store.then_some(len))
    })
}

/// Bytes that are often nearly a request.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("get"),
        Just("gets"),
        Just("gat"),
        Just("gats"),
        Just("set"),
        Just("add"),
        Just("cas"),
        Just("append"),
        Just("delete"),
        Just("incr"),
        Just("decr"),
        Just("touch"),
        Just("flush_all"),
        Just("verbosity"),
        Just("stats"),
        Just("version"),
        Just("quit"),
        Just("noreply"),
        Just("0"),
        Just("1"),
        Just("-1"),
        Just("5x"),
        Just("18446744073709551615"),
        Just("99999999999999999999"),
        Just("key"),
        Just("HTTP/1.1"),
        Just("\0"),
        meta_word(),
        meta_word(),
    ]
    .prop_map(|word| word.as_bytes().to_vec());
    let rare = prop_oneof![Just("  "), Just("\r\n"), Just("\n"), Just("\r"), Just("")];
    let gap = prop_oneof![6 => Just(" "), 5 => rare].prop_map(|gap| gap.as_bytes().to_vec());
    let odd = vec(any::<u8>(), 0..300);
    let piece = prop_oneof![6 => word, 1 => odd];
    vec((piece, gap), 0..30)
        .prop_map(|pieces| pieces.into_iter().flat_map(|(piece, gap)| [piece, gap].concat()).collect())
}

/// A well-formed line of a storage command, and what it says.
fn storage() -> impl Strategy<Value = (Vec<u8>, String)> {
    let verb = prop_oneof![
        Just(("set", StoreVerb::Set)),
        Just(("add", StoreVerb::Add)),
        Just(("replace", StoreVerb::Replace)),
        Just(("append", StoreVerb::Append)),
        Just(("prepend", StoreVerb::Prepend)),
        any::<u64>().prop_map(|cas| ("cas", StoreVerb::Cas(cas))),
    ];
    let numbers = (any::<u32>(), any::<i64>(), 0..=2_147_483_645_usize);
    (verb, key(), numbers, any::<bool>(), line_end()).prop_map(
        |((word, verb), key, (flags, exptime, value_len), quiet, end)| {
            let mut line = [word.as_bytes(), b" ", &key].concat();
            line.extend(format!(" {flags} {exptime} {value_len}").bytes());
            if let StoreVerb::Cas(cas) = verb {
                line.extend(format!(" {cas}").bytes());
            }
            line.extend(if quiet { " noreply" } else { "" }.bytes());
            line.extend(end.bytes());
            let request = StoreRequest { verb, key: &key, flags, exptime, value_len };
            let said = format!("{:?}", Line::Value(request, ReplyShape { quiet, ..ReplyShape::default() }));
            (line, said)
        },
    )
}

/// A well-formed line of a command with a key and a number or none, and what it says.
fn keyed() -> impl Strategy<Value = (Vec<u8>, String)> {
    (0..4_u8, key(), any::<u64>(), any::<i64>(), any::<bool>(), line_end()).prop_map(
        |(kind, key, delta, exptime, quiet, end)| {
            let (word, number, command) = match kind {
                0 => ("incr", format!(" {delta}"), Command::Arithmetic { key: &key, direction: Direction::Up, delta }),
                1 => {
                    ("decr", format!(" {delta}"), Command::Arithmetic { key: &key, direction: Direction::Down, delta })
                }
                2 => ("touch", format!(" {exptime}"), Command::Touch { key: &key, exptime }),
                _ => ("delete", String::new(), Command::Delete { key: &key }),
            };
            let noreply = if quiet { " noreply" } else { "" };
            let line = [word.as_bytes(), b" ", &key, number.as_bytes(), noreply.as_bytes(), end.as_bytes()].concat();
            let reply = ReplyShape { quiet, ..ReplyShape::default() };
            (line, format!("{:?}", Line::One(Request { command, reply })))
        },
    )
}

/// A well-formed line of a get, what it says, and its keys.
fn get() -> impl Strategy<Value = (Vec<u8>, String, Vec<Vec<u8>>)> {
    let blanks = prop_oneof![6 => Just(" "), 1 => Just("   ")];
    (any::<bool>(), proptest::option::of(any::<i64>()), vec((blanks, key()), 1..40), line_end()).prop_map(
        |(with_cas, touch, keys, end)| {
            let mut line = match touch {
                Some(exptime) => format!("{} {exptime}", if with_cas { "gats" } else { "gat" }),
                None => if with_cas { "gets" } else { "get" }.into(),
            }
            .into_bytes();
            for (blanks, key) in &keys {
                line.extend(blanks.bytes());
                line.extend(key);
            }
            line.extend(end.bytes());
            let said = format!("{:?}", Line::Keys { touch, reply: ReplyShape { with_cas, ..ReplyShape::default() } });
            (line, said, keys.into_iter().map(|(_, key)| key).collect())
        },
    )
}

fn well_formed() -> impl Strategy<Value = (Vec<u8>, Heard)> {
    prop_oneof![
        storage().prop_map(|(line, said)| (line, said, vec![])),
        keyed().prop_map(|(line, said)| (line, said, vec![])),
        get(),
    ]
    .prop_map(|(line, said, keys)| {
        let used = line.len();
        (line, (said, keys, used))
    })
}

/// Gives `input` to the parser in pieces that end at `cuts` (fractions of its length), as a session does, and lists all
/// it hears.
fn hear_all(input: &[u8], cuts: &[f64]) -> Vec<(String, Vec<Vec<u8>>)> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a fraction of a length"
    )]
    let mut ends: Vec<usize> = cuts.iter().map(|cut| (cut * input.len() as f64) as usize).collect();
    ends.push(input.len());
    ends.sort_unstable();
    let (mut at, mut scanned, mut heard) = (0, 0, Vec::new());
    for end in ends {
        while at < end {
            let Some((said, keys, used)) = hear(&input[at..end], &mut scanned) else {
                assert_eq!(scanned, end - at, "a partial line is remembered as searched");
                break;
            };
            assert_eq!(scanned, 0, "a line is forgotten when it is complete");
            assert!(used > 0);
            let stop = said.contains("Abort") || said.contains("RefusedUnknown");
            heard.push((said, keys));
            at += used;
            if stop {
                return heard;
            }
        }
    }
    heard
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// A client could crash the daemon, or make it loop or read past its input.
    #[test]
    fn no_bytes_upset_the_parser(input in prop_oneof![vec(any::<u8>(), 0..400), nearly()], scanned in 0..500_usize) {
        hear(&input, &mut 0);
        // A caller that is wrong about what was searched gets wrong answers, and nothing worse.
        if let Parsed::Complete { used, .. } = parse(&input, &mut scanned.clone()) {
            prop_assert!(used <= input.len());
        }
        let (NextKey::Key { used, .. } | NextKey::End { used }) = next_key(&input);
        prop_assert!(used <= input.len());
    }

    /// A well-formed request would be misread, or what follows it would be.
    #[test]
    fn a_request_is_read_as_it_was_written((line, heard) in well_formed(), behind in vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(hear(&line, &mut 0), Some(heard.clone()));
        let input = [line, behind].concat();
        prop_assert_eq!(hear(&input, &mut 0), Some(heard));
    }

    /// A request would be run before it has arrived in full.
    #[test]
    fn a_request_is_not_read_before_its_end((line, heard) in well_formed(), pieces in vec(0.0..1.0_f64, 0..8)) {
        for len in 0..line.len() {
            prop_assert_eq!(parse(&line[..len], &mut 0), Parsed::Partial);
        }
        prop_assert_eq!(hear_all(&line, &pieces), vec![(heard.0, heard.1)]);
    }

    /// A well-formed meta command would be refused or misread, or run before it has arrived in full.
    #[test]
    fn a_meta_command_is_read_as_it_was_written((line, key, value_len) in meta(), behind in vec(any::<u8>(), 0..40)) {
        for len in 0..line.len() {
            prop_assert_eq!(parse(&line[..len], &mut 0), Parsed::Partial);
        }
        let used_all = line.len();
        let input = [line, behind].concat();
        let Parsed::Complete { used, value } = parse(&input, &mut 0) else { panic!("complete") };
        prop_assert_eq!(used, used_all);
        match (value, value_len) {
            (Line::Meta(request), None) => prop_assert_eq!(request.key.text, &key[..]),
            (Line::MetaValue(request, _, _), Some(len)) => prop_assert_eq!((request.key, request.value_len), (&key[..], len)),
            (other, _) => panic!("{other:?}"),
        }
    }

    /// A key in base64 would be another one than the client's, or upset the decoder.
    #[test]
    fn a_key_in_base64_is_what_was_encoded(key in vec(any::<u8>(), 1..=186), noise in vec(any::<u8>(), 1..=KEY_LEN_MAX)) {
        let mut text = [0; KEY_LEN_MAX];
        let len = STANDARD.encode_slice(&key, &mut text).expect("186 bytes are 248 letters");
        let mut buffer = KeyBuffer::new();
        prop_assert_eq!(Key { text: &text[..len], is_base64: true }.bytes(&mut buffer), &key[..]);
        let decoded = Key { text: &noise, is_base64: true }.bytes(&mut buffer).len();
        prop_assert!(decoded <= noise.len());
    }

    /// The answer would depend on how the network cuts the bytes.
    #[test]
    fn cuts_do_not_matter(input in nearly(), cuts in vec(0.0..1.0_f64, 0..12)) {
        prop_assert_eq!(hear_all(&input, &cuts), hear_all(&input, &[]));
    }

    /// A long line would be searched again and again, or be taken although it is too long, depending on the cuts.
    #[test]
    fn long_lines_are_judged_alike_however_they_are_cut(
        get in any::<bool>(), len in 2000..2100_usize, cuts in vec(0.0..1.0_f64, 0..12),
    ) {
        let mut input = if get { b"get ".to_vec() } else { b"set ".to_vec() };
        input.extend(b"key ".iter().cycle().take(len - 4));
        input.push(b'\n');
        let heard = hear_all(&input, &cuts);
        prop_assert_eq!(&heard, &hear_all(&input, &[]));
        prop_assert_eq!(heard[0].0.contains("Abort"), !get && len > LINE_LEN_MAX);
    }
}

/// A get line without end would be kept for ever.
#[test]
fn even_a_get_ends_somewhere() {
    let mut input = b"get ".to_vec();
    input.resize(GET_LINE_LEN_MAX + 1, b'k');
    let mut scanned = 0;
    assert_eq!(parse(&input[..GET_LINE_LEN_MAX], &mut scanned), Parsed::Partial);
    let Parsed::Complete { value: Line::One(request), .. } = parse(&input, &mut scanned) else {
        panic!("still waiting for the end");
    };
    assert_eq!(request.command, Command::Abort);
}
