//! The text protocol as conversations, each with the answers of memcached 1.6 (1.6.45 where versions differ).
//!
//! `wire_text.rs` plays them over sockets, `fragments.rs` cut at every byte, `oracle.rs` to a real memcached. The
//! notation is explained in `wire.rs`.

use super::wire::Step::{Close, Say, Wait};
use super::wire::Transcript;

/// All of them.
pub(crate) const TRANSCRIPTS: &[&[Transcript]] = &[
    RETRIEVAL, STORAGE, CAS, ARITHMETIC, REMOVAL, LIFETIMES, FLUSHES, LINES, REFUSALS, SIZES, CLOSES, SMALL_TALK,
    CHORES,
];

/// Every transcript of every protocol.
pub(crate) fn all() -> impl Iterator<Item = &'static Transcript> {
    text().chain(super::transcripts_binary::binary())
}

/// Every transcript of the text protocol, meta commands included.
pub(crate) fn text() -> impl Iterator<Item = &'static Transcript> {
    TRANSCRIPTS.iter().chain(super::meta::TRANSCRIPTS).copied().flatten()
}

pub(crate) const DATA_RUN: &str = "1.6.18 runs the data of a refused storage command as commands; slabd swallows it";
pub(crate) const HEAD_WORDS: &str = "1.6.18 says ERROR where 1.6.45 says CLIENT_ERROR bad command line format";
const QUARTERS: &str = "memcached's clock has whole seconds and cannot be moved by hand";

const BAD: &str = "CLIENT_ERROR bad command line format\r\n";

pub(crate) const fn same(name: &'static str, steps: &'static [super::wire::Step]) -> Transcript {
    Transcript { name, steps, differs: None }
}

pub(crate) const fn ours(name: &'static str, differs: &'static str, steps: &'static [super::wire::Step]) -> Transcript {
    Transcript { name, steps, differs: Some(differs) }
}

const RETRIEVAL: &[Transcript] = &[
    same(
        "get answers hits in the order asked and says nothing of misses",
        &[
            Say("get a\r\n", "END\r\n"),
            Say("set a 5 0 3\r\nabc\r\n", "STORED\r\n"),
            Say("set b 0 0 2\r\nde\r\n", "STORED\r\n"),
            Say("get a\r\n", "VALUE a 5 3\r\nabc\r\nEND\r\n"),
            Say("get b none a b\r\n", "VALUE b 0 2\r\nde\r\nVALUE a 5 3\r\nabc\r\nVALUE b 0 2\r\nde\r\nEND\r\n"),
            Say("get none nothing\r\n", "END\r\n"),
        ],
    ),
    same(
        "gets names the number of the value, the same until the value changes",
        &[
            Say("gets a\r\n", "END\r\n"),
            Say("set a 1 0 1\r\nx\r\n", "STORED\r\n"),
            Say("gets a\r\n", "VALUE a 1 1 {cas:a}\r\nx\r\nEND\r\n"),
            Say("gets a a\r\n", "VALUE a 1 1 {cas:a}\r\nx\r\nVALUE a 1 1 {cas:a}\r\nx\r\nEND\r\n"),
            Say("touch a 0\r\n", "TOUCHED\r\n"),
            Say("gats 0 a\r\n", "VALUE a 1 1 {cas:a}\r\nx\r\nEND\r\n"),
            Say("set a 1 0 1\r\nx\r\n", "STORED\r\n"),
            Say("cas a 1 0 1 {cas:a}\r\ny\r\n", "EXISTS\r\n"),
        ],
    ),
    same(
        "gat and gats read many keys like get and gets",
        &[
            Say("gat 100 a\r\n", "END\r\n"),
            Say("set a 7 0 1\r\nx\r\nset b 8 0 1\r\ny\r\n", "STORED\r\nSTORED\r\n"),
            Say("gat 100 a none b\r\n", "VALUE a 7 1\r\nx\r\nVALUE b 8 1\r\ny\r\nEND\r\n"),
            Say("gats 0 b a\r\n", "VALUE b 8 1 {cas:b}\r\ny\r\nVALUE a 7 1 {cas:a}\r\nx\r\nEND\r\n"),
            Say("gat x a\r\n", "CLIENT_ERROR invalid exptime argument\r\n"),
            Say("gats 1x a\r\n", "CLIENT_ERROR invalid exptime argument\r\n"),
        ],
    ),
    same(
        "gat with a negative lifetime answers the value for the last time",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("gat -1 a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
            Say("get a\r\n", "END\r\n"),
        ],
    ),
    same(
        "a get of more keys than are looked up at a time misses none",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("get{ a*100} b{ a*30}\r\n", "{VALUE a 0 1\r\nx\r\n*130}END\r\n"),
            Say("get{ none*99} a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
        ],
    ),
    same(
        "a line of get may be longer than any other line",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("get{ none*1000} a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
            Say("gets{ none*1000}\r\n", "END\r\n"),
        ],
    ),
];

const STORAGE: &[Transcript] = &[
    same(
        "set stores whatever was there",
        &[
            Say("set a 1 0 1\r\nx\r\n", "STORED\r\n"),
            Say("set a 2 0 5\r\nhello\r\n", "STORED\r\n"),
            Say("get a\r\n", "VALUE a 2 5\r\nhello\r\nEND\r\n"),
            Say("set a 3 0 0\r\n\r\n", "STORED\r\n"),
            Say("get a\r\n", "VALUE a 3 0\r\n\r\nEND\r\n"),
        ],
    ),
    same(
        "add stores only what is not there",
        &[
            Say("add a 1 0 1\r\nx\r\n", "STORED\r\n"),
            Say("add a 2 0 1\r\ny\r\n", "NOT_STORED\r\n"),
            Say("get a\r\n", "VALUE a 1 1\r\nx\r\nEND\r\n"),
            Say("delete a\r\n", "DELETED\r\n"),
            Say("add a 2 0 1\r\ny\r\n", "STORED\r\n"),
            Say("get a\r\n", "VALUE a 2 1\r\ny\r\nEND\r\n"),
        ],
    ),
    same(
        "replace stores only what is there",
        &[
            Say("replace a 1 0 1\r\nx\r\n", "NOT_STORED\r\n"),
            Say("get a\r\n", "END\r\n"),
            Say("set a 1 0 1\r\nx\r\n", "STORED\r\n"),
            Say("replace a 2 0 2\r\nyy\r\n", "STORED\r\n"),
            Say("get a\r\n", "VALUE a 2 2\r\nyy\r\nEND\r\n"),
        ],
    ),
    same(
        "append and prepend keep the flags of the value that is there",
        &[
            Say("append a 1 0 1\r\nx\r\n", "NOT_STORED\r\n"),
            Say("prepend a 1 0 1\r\nx\r\n", "NOT_STORED\r\n"),
            Say("get a\r\n", "END\r\n"),
            Say("set a 7 0 3\r\nmid\r\n", "STORED\r\n"),
            Say("append a 1 0 2\r\n>>\r\n", "STORED\r\n"),
            Say("prepend a 2 0 2\r\n<<\r\n", "STORED\r\n"),
            Say("get a\r\n", "VALUE a 7 7\r\n<<mid>>\r\nEND\r\n"),
            Say("append a 0 0 0\r\n\r\n", "STORED\r\n"),
            Say("get a\r\n", "VALUE a 7 7\r\n<<mid>>\r\nEND\r\n"),
        ],
    ),
    same(
        "append gives the value a new number",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("gets a\r\n", "VALUE a 0 1 {cas:a}\r\nx\r\nEND\r\n"),
            Say("append a 0 0 1\r\ny\r\n", "STORED\r\n"),
            Say("cas a 0 0 1 {cas:a}\r\nz\r\n", "EXISTS\r\n"),
        ],
    ),
    same(
        "a value may hold line ends, blanks and commands",
        &[
            Say("set a 0 0 14\r\nget b\r\n\r\nquit\n\r\n", "STORED\r\n"),
            Say("get a\r\n", "VALUE a 0 14\r\nget b\r\n\r\nquit\n\r\nEND\r\n"),
            Say("set b 0 0 2\r\n\r\n\r\n", "STORED\r\n"),
            Say("get b\r\n", "VALUE b 0 2\r\n\r\n\r\nEND\r\n"),
        ],
    ),
    same(
        "a value may hold any byte",
        &[
            Say("set a 0 0 8\r\n{#00*2}{#ff*2}{#80*2}{#0a*1}{#0d*1}\r\n", "STORED\r\n"),
            Say("get a\r\n", "VALUE a 0 8\r\n{#00*2}{#ff*2}{#80*2}{#0a*1}{#0d*1}\r\nEND\r\n"),
        ],
    ),
    same(
        "storage commands with noreply are silent whatever comes of them",
        &[
            Say("set a 1 0 1 noreply\r\nx\r\nget a\r\n", "VALUE a 1 1\r\nx\r\nEND\r\n"),
            Say("add a 2 0 1 noreply\r\ny\r\nget a\r\n", "VALUE a 1 1\r\nx\r\nEND\r\n"),
            Say("add b 2 0 1 noreply\r\ny\r\nget b\r\n", "VALUE b 2 1\r\ny\r\nEND\r\n"),
            Say("replace a 3 0 1 noreply\r\nz\r\nget a\r\n", "VALUE a 3 1\r\nz\r\nEND\r\n"),
            Say("replace none 3 0 1 noreply\r\nz\r\nget none\r\n", "END\r\n"),
            Say("append a 0 0 1 noreply\r\n>\r\nget a\r\n", "VALUE a 3 2\r\nz>\r\nEND\r\n"),
            Say("prepend a 0 0 1 noreply\r\n<\r\nget a\r\n", "VALUE a 3 3\r\n<z>\r\nEND\r\n"),
            Say("append none 0 0 1 noreply\r\n>\r\nprepend none 0 0 1 noreply\r\n>\r\nget none\r\n", "END\r\n"),
        ],
    ),
    same(
        "a last word that is not noreply is ignored",
        &[
            Say("set a 0 0 1 foo\r\nx\r\n", "STORED\r\n"),
            Say("set a 0 0 1 NOREPLY\r\nx\r\n", "STORED\r\n"),
            Say("touch a 0 foo\r\n", "TOUCHED\r\n"),
        ],
    ),
    same(
        "the greatest flags are kept",
        &[Say("set a 4294967295 0 1\r\nx\r\n", "STORED\r\n"), Say("get a\r\n", "VALUE a 4294967295 1\r\nx\r\nEND\r\n")],
    ),
    same(
        "keys may be 250 bytes of anything but blanks and control characters",
        &[
            Say("set {k*250} 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("get {k*250}\r\n", "VALUE {k*250} 0 1\r\nx\r\nEND\r\n"),
            Say("set {#ff*5}:/?*\"' 0 0 1\r\ny\r\n", "STORED\r\n"),
            Say("get {#ff*5}:/?*\"'\r\n", "VALUE {#ff*5}:/?*\"' 0 1\r\ny\r\nEND\r\n"),
            Say("get {k*249}\r\n", "END\r\n"),
            Say("delete {k*250}\r\n", "DELETED\r\n"),
        ],
    ),
];

const CAS: &[Transcript] = &[
    same(
        "cas stores on the right number, once",
        &[
            Say("cas a 0 0 1 1\r\nx\r\n", "NOT_FOUND\r\n"),
            Say("get a\r\n", "END\r\n"),
            Say("set a 1 0 1\r\nx\r\n", "STORED\r\n"),
            Say("gets a\r\n", "VALUE a 1 1 {cas:one}\r\nx\r\nEND\r\n"),
            Say("cas a 2 0 2 {cas:one}\r\nyy\r\n", "STORED\r\n"),
            Say("cas a 3 0 1 {cas:one}\r\nz\r\n", "EXISTS\r\n"),
            Say("gets a\r\n", "VALUE a 2 2 {cas:two}\r\nyy\r\nEND\r\n"),
            Say("cas a 4 0 1 {cas:two}\r\nw\r\n", "STORED\r\n"),
            Say("get a\r\n", "VALUE a 4 1\r\nw\r\nEND\r\n"),
        ],
    ),
    same(
        "cas never matches by the number 0",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("cas a 0 0 1 0\r\ny\r\n", "EXISTS\r\n"),
            Say("cas b 0 0 1 0\r\ny\r\n", "NOT_FOUND\r\n"),
        ],
    ),
    same(
        "cas with noreply stores, or not, in silence",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("gets a\r\n", "VALUE a 0 1 {cas:a}\r\nx\r\nEND\r\n"),
            Say("cas a 0 0 1 {cas:a} noreply\r\ny\r\nget a\r\n", "VALUE a 0 1\r\ny\r\nEND\r\n"),
            Say("cas a 0 0 1 {cas:a} noreply\r\nz\r\nget a\r\n", "VALUE a 0 1\r\ny\r\nEND\r\n"),
            Say("cas b 0 0 1 {cas:a} noreply\r\nz\r\nget b\r\n", "END\r\n"),
        ],
    ),
    same(
        "a deleted and stored value has another number",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("gets a\r\n", "VALUE a 0 1 {cas:a}\r\nx\r\nEND\r\n"),
            Say("delete a\r\n", "DELETED\r\n"),
            Say("cas a 0 0 1 {cas:a}\r\ny\r\n", "NOT_FOUND\r\n"),
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("cas a 0 0 1 {cas:a}\r\ny\r\n", "EXISTS\r\n"),
        ],
    ),
    same(
        "incr gives the value a new number",
        &[
            Say("set a 0 0 1\r\n1\r\n", "STORED\r\n"),
            Say("gets a\r\n", "VALUE a 0 1 {cas:a}\r\n1\r\nEND\r\n"),
            Say("incr a 1\r\n", "2\r\n"),
            Say("cas a 0 0 1 {cas:a}\r\n9\r\n", "EXISTS\r\n"),
        ],
    ),
    ours(
        "cas with a number that is none is refused and its data swallowed",
        DATA_RUN,
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("cas a 0 0 5 x\r\nget a\r\n", BAD),
            Say("cas a 0 0 5 -1\r\nget a\r\n", BAD),
            Say("cas a 0 0 5 18446744073709551616\r\nget a\r\n", BAD),
            Say("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
        ],
    ),
];

const ARITHMETIC: &[Transcript] = &[
    same(
        "incr and decr count",
        &[
            Say("incr n 1\r\n", "NOT_FOUND\r\n"),
            Say("decr n 1\r\n", "NOT_FOUND\r\n"),
            Say("set n 5 0 1\r\n9\r\n", "STORED\r\n"),
            Say("incr n 1\r\n", "10\r\n"),
            Say("get n\r\n", "VALUE n 5 2\r\n10\r\nEND\r\n"),
            Say("incr n 0\r\n", "10\r\n"),
            Say("incr n 90\r\n", "100\r\n"),
            Say("decr n 1\r\n", "99\r\n"),
            Say("incr n 1000000007\r\n", "1000000106\r\n"),
        ],
    ),
    same(
        "incr wraps at two to the 64",
        &[
            Say("set n 0 0 20\r\n18446744073709551615\r\n", "STORED\r\n"),
            Say("incr n 1\r\n", "0\r\n"),
            Say("get n\r\n", "VALUE n 0 20\r\n0{ *19}\r\nEND\r\n"),
            Say("incr n 18446744073709551615\r\n", "18446744073709551615\r\n"),
            Say("incr n 6\r\n", "5\r\n"),
        ],
    ),
    same(
        "decr stops at nothing",
        &[Say("set n 0 0 2\r\n10\r\n", "STORED\r\n"), Say("decr n 11\r\n", "0\r\n"), Say("decr n 1\r\n", "0\r\n")],
    ),
    same(
        "a number that becomes shorter is padded with blanks and stays a number",
        &[
            Say("set n 0 0 2\r\n10\r\n", "STORED\r\n"),
            Say("decr n 1\r\n", "9\r\n"),
            Say("get n\r\n", "VALUE n 0 2\r\n9 \r\nEND\r\n"),
            Say("incr n 1\r\n", "10\r\n"),
            Say("get n\r\n", "VALUE n 0 2\r\n10\r\nEND\r\n"),
        ],
    ),
    same(
        "a number with leading zeros keeps its length, not its zeros",
        &[
            Say("set n 0 0 4\r\n0007\r\n", "STORED\r\n"),
            Say("incr n 1\r\n", "8\r\n"),
            Say("get n\r\n", "VALUE n 0 4\r\n8   \r\nEND\r\n"),
        ],
    ),
    same(
        "a number may have blanks around it and a plus before it",
        &[
            Say("set n 0 0 3\r\n 5 \r\nincr n 1\r\nget n\r\n", "STORED\r\n6\r\nVALUE n 0 3\r\n6  \r\nEND\r\n"),
            Say("set n 0 0 2\r\n+5\r\nincr n 1\r\nget n\r\n", "STORED\r\n6\r\nVALUE n 0 2\r\n6 \r\nEND\r\n"),
            Say("set n 0 0 3\r\n1 0\r\nincr n 1\r\nget n\r\n", "STORED\r\n2\r\nVALUE n 0 3\r\n2  \r\nEND\r\n"),
        ],
    ),
    same(
        "counting is refused on a value that is no number",
        &[
            Say("set n 0 0 3\r\nabc\r\n", "STORED\r\n"),
            Say("incr n 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
            Say("decr n 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
            Say("set n 0 0 2\r\n1x\r\n", "STORED\r\n"),
            Say("incr n 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
            Say("set n 0 0 0\r\n\r\n", "STORED\r\n"),
            Say("incr n 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
            Say("set n 0 0 2\r\n-1\r\n", "STORED\r\n"),
            Say("incr n 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
            Say("set n 0 0 20\r\n18446744073709551616\r\n", "STORED\r\n"),
            Say("incr n 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
            Say("get n\r\n", "VALUE n 0 20\r\n18446744073709551616\r\nEND\r\n"),
        ],
    ),
    same(
        "counting by something that is no number is refused",
        &[
            Say("set n 0 0 1\r\n1\r\n", "STORED\r\n"),
            Say("incr n x\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n"),
            Say("incr n -1\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n"),
            Say("decr n 1x\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n"),
            Say("incr n 18446744073709551616\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n"),
            Say("incr none x\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n"),
            Say("get n\r\n", "VALUE n 0 1\r\n1\r\nEND\r\n"),
        ],
    ),
    same(
        "incr and decr with noreply count in silence",
        &[
            Say("set n 0 0 1\r\n5\r\n", "STORED\r\n"),
            Say("incr n 2 noreply\r\nget n\r\n", "VALUE n 0 1\r\n7\r\nEND\r\n"),
            Say("decr n 4 noreply\r\nget n\r\n", "VALUE n 0 1\r\n3\r\nEND\r\n"),
            Say("incr none 1 noreply\r\nget none\r\n", "END\r\n"),
        ],
    ),
];

const REMOVAL: &[Transcript] = &[
    same(
        "delete removes, once",
        &[
            Say("delete a\r\n", "NOT_FOUND\r\n"),
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("delete a\r\n", "DELETED\r\n"),
            Say("get a\r\n", "END\r\n"),
            Say("delete a\r\n", "NOT_FOUND\r\n"),
        ],
    ),
    same(
        "delete takes a 0 behind the key, as old clients send it",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("delete a 0\r\n", "DELETED\r\n"),
            Say("delete a 0\r\n", "NOT_FOUND\r\n"),
            Say("set a 0 0 1\r\nx\r\ndelete a 0 noreply\r\nget a\r\n", "STORED\r\nEND\r\n"),
        ],
    ),
    same(
        "delete with noreply removes in silence",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("delete a noreply\r\nget a\r\n", "END\r\n"),
            Say("delete a noreply\r\nget a\r\n", "END\r\n"),
        ],
    ),
    same(
        "delete with other words explains itself and removes nothing",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("delete a foo\r\n", "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"),
            Say("delete a 0 0\r\n", "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"),
            Say("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
        ],
    ),
];

const LIFETIMES: &[Transcript] = &[
    ours(
        "a lifetime is never shorter than asked and at most a quarter second longer",
        QUARTERS,
        &[
            Say("set a 0 1 1\r\nx\r\n", "STORED\r\n"),
            Wait(999),
            Say("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
            Wait(252),
            Say("get a\r\n", "END\r\n"),
            Wait(130),
            Say("set a 0 2 1\r\nx\r\n", "STORED\r\n"),
            Wait(1999),
            Say("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
            Wait(252),
            Say("get a\r\n", "END\r\n"),
        ],
    ),
    ours(
        "the lifetime 0 has no end",
        QUARTERS,
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("set b 0 1 1\r\ny\r\ntouch b 0\r\n", "STORED\r\nTOUCHED\r\n"),
            Wait(400 * 24 * 3600 * 1000),
            Say("get a b\r\n", "VALUE a 0 1\r\nx\r\nVALUE b 0 1\r\ny\r\nEND\r\n"),
        ],
    ),
    ours(
        "thirty days are the longest lifetime counted from now",
        QUARTERS,
        &[
            Say("set a 0 2592000 1\r\nx\r\n", "STORED\r\n"),
            Wait(2_591_999_000),
            Say("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
            Wait(1252),
            Say("get a\r\n", "END\r\n"),
        ],
    ),
    ours(
        "a lifetime beyond thirty days is a time of day",
        QUARTERS,
        &[
            Say("set a 0 {unix+10} 1\r\nx\r\n", "STORED\r\n"),
            Wait(8999),
            Say("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
            Wait(1252),
            Say("get a\r\n", "END\r\n"),
            Say("set a 0 {unix+4000000} 1\r\nx\r\n", "STORED\r\n"),
            Wait(3_999_998_999),
            Say("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
            Wait(1252),
            Say("get a\r\n", "END\r\n"),
        ],
    ),
    same(
        "a time of day that has passed is the end at once",
        &[
            Say("set a 0 {unix-100} 1\r\nx\r\n", "STORED\r\n"),
            Say("get a\r\n", "END\r\n"),
            Say("set a 0 2592001 1\r\nx\r\n", "STORED\r\n"),
            Say("get a\r\n", "END\r\n"),
        ],
    ),
    same(
        "a negative lifetime is the end at once",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("set a 0 -1 1\r\ny\r\n", "STORED\r\n"),
            Say("get a\r\n", "END\r\n"),
            Say("add a 0 -100 1\r\nx\r\n", "STORED\r\n"),
            Say("get a\r\n", "END\r\n"),
            Say("add a 0 0 1\r\nz\r\n", "STORED\r\n"),
            Say("touch a -1\r\n", "TOUCHED\r\n"),
            Say("get a\r\n", "END\r\n"),
            Say("touch a 0\r\n", "NOT_FOUND\r\n"),
        ],
    ),
    ours(
        "touch, gat and gats give a new lifetime",
        QUARTERS,
        &[
            Say("touch a 1\r\n", "NOT_FOUND\r\n"),
            Say("set a 0 1 1\r\nx\r\nset b 0 1 1\r\ny\r\nset c 0 1 1\r\nz\r\n", "STORED\r\nSTORED\r\nSTORED\r\n"),
            Say("touch a 10\r\n", "TOUCHED\r\n"),
            Say("gat 10 b\r\n", "VALUE b 0 1\r\ny\r\nEND\r\n"),
            Say("gats 10 c\r\n", "VALUE c 0 1 {cas:c}\r\nz\r\nEND\r\n"),
            Wait(9900),
            Say("get a b c\r\n", "VALUE a 0 1\r\nx\r\nVALUE b 0 1\r\ny\r\nVALUE c 0 1\r\nz\r\nEND\r\n"),
            Wait(352),
            Say("get a b c\r\n", "END\r\n"),
        ],
    ),
    same(
        "touch with noreply touches in silence, with a lifetime that is no number not at all",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("touch a -1 noreply\r\nget a\r\n", "END\r\n"),
            Say("touch a x\r\n", "CLIENT_ERROR invalid exptime argument\r\n"),
        ],
    ),
    ours(
        "an expired value is not there for any verb",
        QUARTERS,
        &[
            Say("set a 0 1 1\r\n1\r\n", "STORED\r\n"),
            Say("gets a\r\n", "VALUE a 0 1 {cas:a}\r\n1\r\nEND\r\n"),
            Wait(1252),
            Say("cas a 0 0 1 {cas:a}\r\nx\r\n", "NOT_FOUND\r\n"),
            Say("replace a 0 0 1\r\nx\r\n", "NOT_STORED\r\n"),
            Say("append a 0 0 1\r\nx\r\n", "NOT_STORED\r\n"),
            Say("incr a 1\r\n", "NOT_FOUND\r\n"),
            Say("touch a 1\r\n", "NOT_FOUND\r\n"),
            Say("gat 1 a\r\n", "END\r\n"),
            Say("delete a\r\n", "NOT_FOUND\r\n"),
            Say("add a 0 0 1\r\nx\r\n", "STORED\r\n"),
        ],
    ),
    ours(
        "append, prepend, incr and decr keep the lifetime",
        QUARTERS,
        &[
            Say("set a 0 2 1\r\n5\r\nset b 0 2 1\r\n9\r\n", "STORED\r\nSTORED\r\n"),
            Say("append a 0 0 1\r\n0\r\nprepend a 0 100 1\r\n1\r\n", "STORED\r\nSTORED\r\n"),
            Say("incr b 1\r\ndecr b 3\r\n", "10\r\n7\r\n"),
            Wait(1999),
            Say("get a b\r\n", "VALUE a 0 3\r\n150\r\nVALUE b 0 2\r\n7 \r\nEND\r\n"),
            Wait(252),
            Say("get a b\r\n", "END\r\n"),
        ],
    ),
];

const FLUSHES: &[Transcript] = &[
    same(
        "flush_all drops what was stored before, in the same second, and nothing stored after",
        &[
            Say("set a 0 0 1\r\nx\r\nset b 0 0 1\r\ny\r\n", "STORED\r\nSTORED\r\n"),
            Say("flush_all\r\n", "OK\r\n"),
            Say("get a b\r\n", "END\r\n"),
            Say("add a 0 0 1\r\nz\r\n", "STORED\r\n"),
            Say("get a b\r\n", "VALUE a 0 1\r\nz\r\nEND\r\n"),
            Say(
                "set c 0 0 1\r\nx\r\nflush_all 0\r\nset d 0 0 1\r\ny\r\nget a c d\r\n",
                "STORED\r\nOK\r\nSTORED\r\nVALUE d 0 1\r\ny\r\nEND\r\n",
            ),
        ],
    ),
    same(
        "a flushed value is not there for any verb",
        &[
            Say("set a 0 0 1\r\n1\r\n", "STORED\r\n"),
            Say("gets a\r\n", "VALUE a 0 1 {cas:a}\r\n1\r\nEND\r\n"),
            Say("flush_all\r\n", "OK\r\n"),
            Say("cas a 0 0 1 {cas:a}\r\nx\r\n", "NOT_FOUND\r\n"),
            Say("replace a 0 0 1\r\nx\r\n", "NOT_STORED\r\n"),
            Say("append a 0 0 1\r\nx\r\n", "NOT_STORED\r\n"),
            Say("prepend a 0 0 1\r\nx\r\n", "NOT_STORED\r\n"),
            Say("incr a 1\r\n", "NOT_FOUND\r\n"),
            Say("touch a 1\r\n", "NOT_FOUND\r\n"),
            Say("gat 1 a\r\n", "END\r\n"),
            Say("delete a\r\n", "NOT_FOUND\r\n"),
        ],
    ),
    same(
        "flush_all with noreply flushes in silence",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("flush_all noreply\r\nget a\r\n", "END\r\n"),
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("flush_all 0 noreply\r\nget a\r\n", "END\r\n"),
        ],
    ),
    same(
        "flush_all with a negative delay is now, with a word that is no number refused",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("flush_all x\r\n", "CLIENT_ERROR invalid exptime argument\r\n"),
            Say("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
            Say("flush_all -1\r\n", "OK\r\n"),
        ],
    ),
    ours(
        "flush_all with a delay drops what was stored before that moment, when it comes",
        QUARTERS,
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("flush_all 4\r\n", "OK\r\n"),
            Say("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
            Wait(2000),
            Say("set b 0 0 1\r\ny\r\n", "STORED\r\n"),
            Say("get a b\r\n", "VALUE a 0 1\r\nx\r\nVALUE b 0 1\r\ny\r\nEND\r\n"),
            Wait(3252),
            Say("get a b\r\n", "END\r\n"),
            Say("set c 0 0 1\r\nz\r\n", "STORED\r\n"),
            Wait(60_000),
            Say("get c\r\n", "VALUE c 0 1\r\nz\r\nEND\r\n"),
        ],
    ),
    ours(
        "flush_all with a delay and noreply is silent",
        QUARTERS,
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("flush_all 2 noreply\r\nget a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
            Wait(3252),
            Say("get a\r\n", "END\r\n"),
        ],
    ),
    ours(
        "a delayed flush does not bring back what an earlier one dropped",
        "memcached forgets the earlier flush and old values come back",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Wait(3000),
            Say("flush_all\r\nflush_all 1000\r\n", "OK\r\nOK\r\n"),
            Say("get a\r\n", "END\r\n"),
        ],
    ),
];

const LINES: &[Transcript] = &[
    same(
        "a line may end without a carriage return",
        &[
            Say("set a 0 0 1\nx\r\n", "STORED\r\n"),
            Say("get a\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
            Say("get a\r\nget a\nget a\r\n", "{VALUE a 0 1\r\nx\r\nEND\r\n*3}"),
            Say("delete a\n", "DELETED\r\n"),
            Say("verbosity 0\nflush_all\n", "OK\r\nOK\r\n"),
        ],
    ),
    same(
        "words may be far apart and a line may end in blanks",
        &[
            Say("set   a  5   0    1\r\nx\r\n", "STORED\r\n"),
            Say("get  a   a \r\n", "{VALUE a 5 1\r\nx\r\n*2}END\r\n"),
            Say("touch a  0  \r\n", "TOUCHED\r\n"),
            Say("delete  a  noreply \r\nget a\r\n", "END\r\n"),
        ],
    ),
    same(
        "a command nobody knows is an error and the next one is served",
        &[
            Say("foo\r\n", "ERROR\r\n"),
            Say("foo bar baz\r\nset a 0 0 1\r\nx\r\n", "ERROR\r\nSTORED\r\n"),
            Say("GET a\r\n", "ERROR\r\n"),
            Say("gett a\r\n", "ERROR\r\n"),
            Say("ge a\r\n", "ERROR\r\n"),
            Say("se\r\n", "ERROR\r\n"),
            Say("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
        ],
    ),
    ours(
        "too few words are a bad line",
        HEAD_WORDS,
        &[
            Say("\r\n", BAD),
            Say("\n", BAD),
            Say("get\r\n", BAD),
            Say("gets\r\n", BAD),
            Say("delete\r\n", BAD),
            Say("incr k\r\n", BAD),
            Say("decr k\r\n", BAD),
            Say("touch k\r\n", BAD),
            Say("version\r\n", "VERSION {word}\r\n"),
        ],
    ),
    ours(
        "a line that begins with a blank is an error",
        "1.6.18 skips the blank, 1.6.45 does not",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say(" get a\r\n", "ERROR\r\n"),
            Say("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
        ],
    ),
    same(
        "many requests in one piece are answered in order",
        &[
            Say(
                "set a 0 0 1\r\n1\r\nget a\r\nincr a 1\r\nget a\r\ndelete a\r\nget a\r\n",
                "STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n2\r\nVALUE a 0 1\r\n2\r\nEND\r\nDELETED\r\nEND\r\n",
            ),
            Say("{set a 0 0 1\r\nx\r\nget a\r\n*100}", "{STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n*100}"),
        ],
    ),
];

const REFUSALS: &[Transcript] = &[
    same(
        "a key longer than 250 bytes is refused",
        &[
            Say("get {k*251}\r\n", BAD),
            Say("gets {k*251}\r\n", BAD),
            Say("gat 0 {k*251}\r\n", BAD),
            Say("delete {k*251}\r\n", BAD),
            Say("incr {k*251} 1\r\n", BAD),
            Say("touch {k*251} 1\r\n", BAD),
            Say("get {k*250}\r\n", "END\r\n"),
        ],
    ),
    same(
        "a key too long, late in a multi-key get, replaces the whole answer",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("get a a {k*251}\r\n", BAD),
            Say("get a {k*251} a\r\n", BAD),
            Say("gats 0 a {k*300}\r\n", BAD),
            Say("get{ a*60} {k*251} a\r\n", BAD),
            Say("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
        ],
    ),
    ours(
        "the data of a refused storage command is swallowed, never run",
        DATA_RUN,
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("set {k*251} 0 0 8\r\ndelete a\r\n", BAD),
            Say("set a x 0 8\r\ndelete a\r\n", BAD),
            Say("set a -1 0 8\r\ndelete a\r\n", BAD),
            Say("set a 0 x 8\r\ndelete a\r\n", BAD),
            Say("set a 4294967296 0 8\r\ndelete a\r\n", BAD),
            Say("add a 0 9223372036854775808 8\r\ndelete a\r\n", BAD),
            Say("append a x 0 20\r\ndelete a\r\ndelete a\r\n\r\n", BAD),
            Say("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
        ],
    ),
    ours(
        "a refused storage command with noreply is silent, its data swallowed",
        DATA_RUN,
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("set a x 0 8 noreply\r\ndelete a\r\nget a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
            Say("set {k*251} 0 0 8 noreply\r\ndelete a\r\nget a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
        ],
    ),
    ours(
        "a value that is not followed by a line end is refused, up to the next line end",
        "1.6.18 runs the rest of the line as a command",
        &[
            Say("set a 0 0 3\r\nabcdefgh\r\n", "CLIENT_ERROR bad data chunk\r\n"),
            Say("get a\r\n", "END\r\n"),
            Say("set a 0 0 0\r\ndelete a\r\n", "CLIENT_ERROR bad data chunk\r\n"),
            Say("version\r\n", "VERSION {word}\r\n"),
        ],
    ),
    ours(
        "a refused value leaves the old one as it was",
        "1.6.18 runs the rest of the line as a command",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("set a 0 0 3\r\nabcdefgh\r\n", "CLIENT_ERROR bad data chunk\r\n"),
            Say("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
        ],
    ),
];

const SIZES: &[Transcript] = &[
    same(
        "values of all sizes come back as they were",
        &[
            Say("set a 1 0 1000\r\n{a*1000}\r\n", "STORED\r\n"),
            Say("get a\r\n", "VALUE a 1 1000\r\n{a*1000}\r\nEND\r\n"),
            Say("set b 2 0 16384\r\n{b*16384}\r\n", "STORED\r\n"),
            Say("set c 3 0 70000\r\n{c*70000}\r\n", "STORED\r\n"),
            Say(
                "get b c a\r\n",
                "VALUE b 2 16384\r\n{b*16384}\r\nVALUE c 3 70000\r\n{c*70000}\r\nVALUE a 1 1000\r\n{a*1000}\r\nEND\r\n",
            ),
        ],
    ),
    same(
        "a value of almost a megabyte comes back as it was",
        &[
            Say("set a 0 0 1048064\r\n{a*1048064}\r\n", "STORED\r\n"),
            Say("get a\r\n", "VALUE a 0 1048064\r\n{a*1048064}\r\nEND\r\n"),
            Say("get a a\r\n", "VALUE a 0 1048064\r\n{a*1048064}\r\nVALUE a 0 1048064\r\n{a*1048064}\r\nEND\r\n"),
        ],
    ),
    same(
        "a value too large is refused, its data swallowed, and the old value gone",
        &[
            Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
            Say("set a 0 0 1100000\r\n{delete b\r\n*110000}\r\n", "SERVER_ERROR object too large for cache\r\n"),
            Say("get a\r\n", "END\r\n"),
            Say("set a 0 0 1\r\ny\r\n", "STORED\r\n"),
            Say("set a 0 0 1048577 noreply\r\n{y*1048577}\r\nget a\r\n", "END\r\n"),
        ],
    ),
    same(
        "a value that grows too large by append is refused and stays",
        &[
            Say("set a 0 0 700000\r\n{a*700000}\r\n", "STORED\r\n"),
            Say("append a 0 0 700000\r\n{b*700000}\r\n", "NOT_STORED\r\n"),
            Say("get a\r\n", "VALUE a 0 700000\r\n{a*700000}\r\nEND\r\n"),
        ],
    ),
];

const CLOSES: &[Transcript] = &[
    same(
        "quit closes after what is owed",
        &[Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"), Close("get a\r\nquit\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n")],
    ),
    same("quit with more words closes too", &[Close("quit now\r\n", "")]),
    same("nothing behind quit is run", &[Close("quit\r\nset a 0 0 1\r\nx\r\n", "")]),
    same("a browser's get closes", &[Close("GET / HTTP/1.1\r\n", "")]),
    same("a browser's post closes", &[Close("POST / HTTP/1.1\r\n", "")]),
    same("a browser's put closes", &[Close("PUT /x HTTP/1.0\r\n", "")]),
    same("a browser's delete closes", &[Close("DELETE /x HTTP/1.1\r\n", "")]),
    same("a browser's head closes", &[Close("HEAD / HTTP/1.1\r\n", "")]),
    same("a browser's options close", &[Close("OPTIONS * HTTP/1.1\r\n", "")]),
    same("a line without end closes", &[Close("{x*2100}", "")]),
    ours(
        "a negative length closes, since the data has no end",
        DATA_RUN,
        &[Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"), Close("set a 0 0 -1\r\n", BAD)],
    ),
    ours(
        "a length that is no number closes, since the data has no end",
        DATA_RUN,
        &[Say("set a 0 0 1\r\nx\r\n", "STORED\r\n"), Close("set a 0 0 1x\r\ndelete a\r\n", BAD)],
    ),
];

const SMALL_TALK: &[Transcript] = &[
    same("version tells one word", &[Say("version\r\n", "VERSION {word}\r\n")]),
    same(
        "verbosity is accepted, with noreply in silence",
        &[
            Say("verbosity 1\r\n", "OK\r\n"),
            Say("verbosity 0\r\n", "OK\r\n"),
            Say("verbosity 0 noreply\r\nget a\r\n", "END\r\n"),
            Say("verbosity x\r\n", BAD),
        ],
    ),
    same("stats reset says so", &[Say("stats reset\r\n", "RESET\r\n")]),
];

/// What does not depend on what is stored, and does not take time.
const CHORES: &[Transcript] = &[
    same(
        "slabs reassign needs two numbers that are classes with pages to spare",
        &[
            Say("slabs\r\n", "ERROR\r\n"),
            Say("slabs wings\r\n", "ERROR\r\n"),
            Say("slabs reassign 5\r\n", "ERROR\r\n"),
            Say("slabs reassign 1 2 3\r\n", "ERROR\r\n"),
            Say("slabs reassign a b\r\n", BAD),
            Say("slabs reassign 1 b\r\n", BAD),
            Say("slabs reassign 0 0\r\n", "SAME src and dst class are identical\r\n"),
            Say("slabs reassign 999 999\r\n", "SAME src and dst class are identical\r\n"),
            Say("slabs reassign 999 1\r\n", "BADCLASS invalid src or dst class id\r\n"),
            Say("slabs reassign 1 -1\r\n", "BADCLASS invalid src or dst class id\r\n"),
            Say("slabs reassign -2 1\r\n", "BADCLASS invalid src or dst class id\r\n"),
            Say("slabs reassign 0 5\r\n", "NOSPARE source class has no spare pages\r\n"),
            Say("slabs  reassign  7  8 \r\n", "NOSPARE source class has no spare pages\r\n"),
        ],
    ),
    same(
        "slabs automove takes a level or a ratio, and noreply",
        &[
            Say("slabs automove\r\n", "ERROR\r\n"),
            Say("slabs automove 3\r\n", "ERROR\r\n"),
            Say("slabs automove x\r\n", BAD),
            Say("slabs automove -1\r\n", BAD),
            Say("slabs automove 0\r\n", "OK\r\n"),
            Say("slabs automove 2 3 4\r\n", "OK\r\n"),
            Say("slabs automove 1 noreply\r\nget a\r\n", "END\r\n"),
            Say("slabs automove x noreply\r\nget a\r\n", "END\r\n"),
            Say("slabs automove ratio\r\n", "ERROR\r\n"),
            Say("slabs automove ratio x\r\n", "ERROR\r\n"),
            Say("slabs automove ratio 0.8\r\n", "OK\r\n"),
        ],
    ),
    ours(
        "slabs automove window has memcached's bounds",
        "1.6.18 does not know the window, 1.6.45 does",
        &[
            Say("slabs automove window 30\r\n", "OK\r\n"),
            Say("slabs automove window 2\r\n", "CLIENT_ERROR automove window too low or too high (3..1800)\r\n"),
            Say("slabs automove window 1801\r\n", "CLIENT_ERROR automove window too low or too high (3..1800)\r\n"),
        ],
    ),
    same(
        "lru_crawler has knobs, and tells bad classes and numbers",
        &[
            Say("lru_crawler\r\n", "ERROR\r\n"),
            Say("lru_crawler wings\r\n", "ERROR\r\n"),
            Say("lru_crawler enable\r\n", "ERROR failed to start lru crawler thread\r\n"),
            Say("lru_crawler enable noreply\r\n", "ERROR\r\n"),
            Say("lru_crawler sleep\r\n", "ERROR\r\n"),
            Say("lru_crawler sleep x\r\n", BAD),
            Say("lru_crawler sleep 1000001\r\n", "CLIENT_ERROR sleep must be one second or less\r\n"),
            Say("lru_crawler sleep 100\r\n", "OK\r\n"),
            Say("lru_crawler tocrawl -1\r\n", BAD),
            Say("lru_crawler tocrawl 0\r\n", "OK\r\n"),
            Say("lru_crawler crawl\r\n", "ERROR\r\n"),
            Say("lru_crawler crawl 0\r\n", "BADCLASS invalid class id\r\n"),
            Say("lru_crawler crawl 1,x\r\n", "BADCLASS invalid class id\r\n"),
            Say("lru_crawler crawl 300\r\n", "BADCLASS invalid class id\r\n"),
            Say("lru_crawler crawl ,\r\n", "NOTSTARTED no items to crawl\r\n"),
            Say("lru_crawler crawl 1 2\r\n", "ERROR\r\n"),
        ],
    ),
    same(
        "cache_memlimit is in megabytes, eight at least",
        &[
            Say("cache_memlimit\r\n", "ERROR\r\n"),
            Say("cache_memlimit x\r\n", "ERROR\r\n"),
            Say("cache_memlimit -1\r\n", "ERROR\r\n"),
            Say("cache_memlimit 7\r\n", "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"),
            Say("cache_memlimit 65 noreply\r\nget a\r\n", "END\r\n"),
            Say("cache_memlimit 64 x y\r\n", "ERROR\r\n"),
            Say("cache_memlimit 64 x\r\n", "OK\r\n"),
            Say("cache_memlimit 1000000001\r\n", "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n"),
        ],
    ),
];
