//! The binary protocol as conversations, each with the answers of memcached 1.6. The notation is explained in `packet.rs`.

use super::wire::Step::{Close, Say, Wait};
use super::wire::Transcript;

/// Every transcript of every table.
pub(crate) fn binary() -> impl Iterator<Item = &'static Transcript> {
    [RETRIEVAL, STORAGE, CAS, COUNTING, REMOVAL, LIFETIMES, QUIET, SMALL_TALK, REFUSALS, SIZES, KEYS, CLOSES]
        .into_iter()
        .flatten()
}

const QUARTERS: &str = "memcached's clock has whole seconds and cannot be moved by hand";
const BODY: &str = "memcached takes what is behind the key for the next header";
const UNKNOWN: &str = "memcached skips as many bytes behind the body as the key and the extras have";
const KEPT: &str =
    "memcached removes the value also when a set with a CAS number is refused, whether or not the number is right";

const fn same(name: &'static str, steps: &'static [super::wire::Step]) -> Transcript {
    Transcript { name, steps, differs: None }
}

const fn ours(name: &'static str, differs: &'static str, steps: &'static [super::wire::Step]) -> Transcript {
    Transcript { name, steps, differs: Some(differs) }
}

const RETRIEVAL: &[Transcript] = &[
    same(
        "get answers flags, number and value; getk the key as well",
        &[
            Say("{req 00 k=a}", "{err 00 01}"),
            Say("{req 0c k=a}", "{res 0c s=01 k=a}"),
            Say("{req 01 k=a x=deadbeef00000000 v=hello}", "{res 01 c=a}"),
            Say("{req 00 k=a}", "{res 00 c=a x=deadbeef v=hello}"),
            Say("{req 0c k=a o=ffffffff}", "{res 0c c=a x=deadbeef k=a v=hello o=ffffffff}"),
            Say("{req 00 k=a c=99}", "{res 00 c=a x=deadbeef v=hello}"),
        ],
    ),
    same(
        "quiet gets tell hits and keep silent about misses, in order",
        &[
            Say("{req 01 k=a x=0000000100000000 v=1}", "{res 01 c=a}"),
            Say("{req 01 k=b x=0000000200000000 v=2*3}", "{res 01 c=b}"),
            Say(
                "{req 09 k=none}{req 09 k=a o=00000001}{req 0d k=nothing}{req 0d k=b o=00000002}{req 09 k=a}{req 0a o=00000003}",
                "{res 09 c=a x=00000001 v=1 o=00000001}{res 0d c=b x=00000002 k=b v=2*3 o=00000002}\
                 {res 09 c=a x=00000001 v=1}{res 0a o=00000003}",
            ),
            Say("{req 09 k=none}{req 0d k=none}{req 00 k=none}", "{err 00 01}"),
            Say(
                "{req 00 k=a}{req 0c k=none}{req 00 k=b}",
                "{res 00 c=a x=00000001 v=1}{res 0c s=01 k=none}{res 00 c=b x=00000002 v=2*3}",
            ),
        ],
    ),
    same(
        "forty pipelined gets are answered in order",
        &[
            Say("{req 01 k=a x=0000000000000000 v=1}", "{res 01 c=a}"),
            Say(
                "{req 00 k=a}{req 00 k=b}{req 00 k=a}{req 00 k=b}{req 00 k=a}{req 00 k=b}{req 00 k=a}{req 00 k=b}{req 00 k=a}{req 00 k=b}\
                 {req 00 k=a}{req 00 k=b}{req 00 k=a}{req 00 k=b}{req 00 k=a}{req 00 k=b}{req 00 k=a}{req 00 k=b}{req 00 k=a}{req 00 k=b}\
                 {req 00 k=a}{req 00 k=b}{req 00 k=a}{req 00 k=b}{req 00 k=a}{req 00 k=b}{req 00 k=a}{req 00 k=b}{req 00 k=a}{req 00 k=b}\
                 {req 00 k=a}{req 00 k=b}{req 00 k=a}{req 00 k=b}{req 00 k=a}{req 00 k=b}{req 00 k=a}{req 00 k=b}{req 00 k=a}{req 00 k=b}",
                "{res 00 c=a x=00000000 v=1}{err 00 01}{res 00 c=a x=00000000 v=1}{err 00 01}{res 00 c=a x=00000000 v=1}{err 00 01}\
                 {res 00 c=a x=00000000 v=1}{err 00 01}{res 00 c=a x=00000000 v=1}{err 00 01}{res 00 c=a x=00000000 v=1}{err 00 01}\
                 {res 00 c=a x=00000000 v=1}{err 00 01}{res 00 c=a x=00000000 v=1}{err 00 01}{res 00 c=a x=00000000 v=1}{err 00 01}\
                 {res 00 c=a x=00000000 v=1}{err 00 01}{res 00 c=a x=00000000 v=1}{err 00 01}{res 00 c=a x=00000000 v=1}{err 00 01}\
                 {res 00 c=a x=00000000 v=1}{err 00 01}{res 00 c=a x=00000000 v=1}{err 00 01}{res 00 c=a x=00000000 v=1}{err 00 01}\
                 {res 00 c=a x=00000000 v=1}{err 00 01}{res 00 c=a x=00000000 v=1}{err 00 01}{res 00 c=a x=00000000 v=1}{err 00 01}\
                 {res 00 c=a x=00000000 v=1}{err 00 01}{res 00 c=a x=00000000 v=1}{err 00 01}",
            ),
        ],
    ),
    same(
        "touch tells the flags, gat the value, gatk the key as well, all of them the number",
        &[
            Say("{req 1c k=a x=00000064}", "{err 1c 01}"),
            Say("{req 1d k=a x=00000064}", "{err 1d 01}"),
            Say("{req 23 k=a x=00000064}", "{res 23 s=01 k=a}"),
            Say("{req 1e k=a x=00000064}{req 24 k=a x=00000064}{req 0a}", "{res 0a}"),
            Say("{req 01 k=a x=0000000700000000 v=hello}", "{res 01 c=a}"),
            Say("{req 1c k=a x=00000064}", "{res 1c c=a x=00000007}"),
            Say("{req 1d k=a x=00000064}", "{res 1d c=a x=00000007 v=hello}"),
            Say("{req 23 k=a x=00000064}", "{res 23 c=a x=00000007 k=a v=hello}"),
            Say(
                "{req 1e k=a x=00000000}{req 24 k=a x=00000000}",
                "{res 1e c=a x=00000007 v=hello}{res 24 c=a x=00000007 k=a v=hello}",
            ),
        ],
    ),
];

const STORAGE: &[Transcript] = &[
    same(
        "add stores what is not there, replace what is",
        &[
            Say("{req 03 k=a x=0000000000000000 v=1}", "{err 03 01}"),
            Say("{req 02 k=a x=0000000100000000 v=2}", "{res 02 c=a}"),
            Say("{req 02 k=a x=0000000100000000 v=3}", "{err 02 02}"),
            Say("{req 00 k=a}", "{res 00 c=a x=00000001 v=2}"),
            Say("{req 03 k=a x=0000000200000000 v=4}", "{res 03 c=b}"),
            Say("{req 00 k=a}", "{res 00 c=b x=00000002 v=4}"),
        ],
    ),
    same(
        "append and prepend keep flags and give a new number",
        &[
            Say("{req 0e k=a v=x}", "{err 0e 05}"),
            Say("{req 0f k=a v=x}", "{err 0f 05}"),
            Say("{req 01 k=a x=0000000900000000 v=-}", "{res 01 c=a}"),
            Say("{req 0e k=a v=end}", "{res 0e c=b}"),
            Say("{req 0f k=a v=begin}", "{res 0f c=d}"),
            Say("{req 00 k=a}", "{res 00 c=d x=00000009 v=begin-end}"),
            Say("{req 0e k=a}", "{res 0e c=e}"),
            Say("{req 00 k=a}", "{res 00 c=e x=00000009 v=begin-end}"),
        ],
    ),
    same(
        "values may be empty, and may hold anything",
        &[
            Say("{req 01 k=a x=0000000000000000}", "{res 01 c=a}"),
            Say("{req 00 k=a}", "{res 00 c=a x=00000000}"),
            Say("{req 0c k=a}", "{res 0c c=a x=00000000 k=a}"),
            Say("{req 01 k=b x=0000000000000000 v=%00%0d%0a%80%81get%20a%0d%0a}", "{res 01 c=b}"),
            Say("{req 00 k=b}", "{res 00 c=b x=00000000 v=%00%0d%0a%80%81get%20a%0d%0a}"),
        ],
    ),
];

const CAS: &[Transcript] = &[
    same(
        "a number makes set, add and replace conditional in the same way",
        &[
            Say("{req 01 k=a x=0000000000000000 v=1 c=5}", "{err 01 01}"),
            Say("{req 02 k=a x=0000000000000000 v=1 c=5}", "{err 02 01}"),
            Say("{req 03 k=a x=0000000000000000 v=1 c=5}", "{err 03 01}"),
            Say("{req 01 k=a x=0000000000000000 v=1}", "{res 01 c=a}"),
            Say("{req 01 k=a x=0000000000000000 v=2 c=1}", "{err 01 02}"),
            Say("{req 02 k=a x=0000000000000000 v=2 c=1}", "{err 02 02}"),
            Say("{req 03 k=a x=0000000000000000 v=2 c=1}", "{err 03 02}"),
            Say("{req 01 k=a x=0000000000000000 v=2 c=a}", "{res 01 c=b}"),
            Say("{req 02 k=a x=0000000000000000 v=3 c=b}", "{res 02 c=d}"),
            Say("{req 03 k=a x=0000000000000000 v=4 c=d}", "{res 03 c=e}"),
            Say("{req 00 k=a}", "{res 00 c=e x=00000000 v=4}"),
        ],
    ),
    same(
        "append, prepend, increment and delete heed the number",
        &[
            Say("{req 0e k=a v=x c=1}", "{err 0e 05}"),
            Say("{req 04 k=a c=1}", "{err 04 01}"),
            Say("{req 05 k=a x=00000000000000010000000000000000ffffffff c=1}", "{err 05 01}"),
            Say("{req 01 k=a x=0000000000000000 v=1}", "{res 01 c=a}"),
            Say("{req 0e k=a v=x c=1}", "{err 0e 02}"),
            Say("{req 0f k=a v=x c=1}", "{err 0f 02}"),
            Say("{req 05 k=a x=0000000000000001000000000000000000000000 c=1}", "{err 05 02}"),
            Say("{req 04 k=a c=1}", "{err 04 02}"),
            Say("{req 0e k=a v=2 c=a}", "{res 0e c=b}"),
            Say("{req 0f k=a v=3 c=b}", "{res 0f c=d}"),
            Say(
                "{req 05 k=a x=0000000000000001000000000000000000000000 c=d}",
                "{res 05 c=e v=%00%00%00%00%00%00%01%39}",
            ),
            Say("{req 00 k=a}", "{res 00 c=e x=00000000 v=313}"),
            Say("{req 04 k=a c=e}", "{res 04}"),
            Say("{req 00 k=a}", "{err 00 01}"),
        ],
    ),
    same(
        "a value in pieces heeds the number, too",
        &[
            Say("{req 01 k=a x=0000000000000000 v=1*300000}", "{res 01 c=a}"),
            Say("{req 0e k=a v=2*300000 c=1}{req 0f k=a v=2 c=1}", "{err 0e 02}{err 0f 02}"),
            Say("{req 01 k=a x=0000000000000000 v=3*300000 c=1}", "{err 01 02}"),
            Say("{req 0e k=a v=1*300000 c=a}", "{res 0e c=b}"),
            Say("{req 0f k=a v=1 c=b}", "{res 0f c=d}"),
            Say("{req 04 k=a c=b}", "{err 04 02}"),
            Say("{req 00 k=a}", "{res 00 c=d x=00000000 v=1*600001}"),
            Say("{req 05 k=a x=0000000000000001000000000000000000000000}", "{err 05 06}"),
        ],
    ),
    same(
        "a long value heeds the number, too",
        &[
            Say("{req 01 k=a x=0000000000000000 v=1*5000}", "{res 01 c=a}"),
            Say("{req 01 k=a x=0000000000000000 v=2*5000 c=1}", "{err 01 02}"),
            Say("{req 0e k=a v=3*5000 c=1}", "{err 0e 02}"),
            Say("{req 01 k=a x=0000000000000000 v=4*5000 c=a}", "{res 01 c=b}"),
            Say("{req 0e k=a v=4*5000 c=b}", "{res 0e c=d}"),
            Say("{req 00 k=a}", "{res 00 c=d x=00000000 v=4*10000}"),
        ],
    ),
];

const COUNTING: &[Transcript] = &[
    same(
        "increment and decrement begin at the initial number, and answer eight bytes",
        &[
            Say("{req 05 k=a x=0000000000000001000000000000000500000000}", "{res 05 c=a v=%00%00%00%00%00%00%00%05}"),
            Say("{req 05 k=a x=0000000000000001000000000000000500000000}", "{res 05 c=b v=%00%00%00%00%00%00%00%06}"),
            Say("{req 06 k=a x=0000000000000002000000000000000500000000}", "{res 06 c=d v=%00%00%00%00%00%00%00%04}"),
            Say("{req 00 k=a}", "{res 00 c=d x=00000000 v=4}"),
            Say("{req 06 k=a x=00000000000000ff000000000000000500000000}", "{res 06 c=e v=%00*8}"),
            Say("{req 06 k=b x=0000000000000001ffffffffffffffff00000000}", "{res 06 c=f v=%ff*8}"),
            Say("{req 05 k=b x=0000000000000002000000000000000000000000}", "{res 05 c=g v=%00%00%00%00%00%00%00%01}"),
            Say("{req 00 k=b}", "{res 00 c=g x=00000000 v=1%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20}"),
        ],
    ),
    same(
        "with the lifetime of all ones nothing is made",
        &[
            Say("{req 05 k=a x=00000000000000010000000000000005ffffffff}", "{err 05 01}"),
            Say("{req 06 k=a x=00000000000000010000000000000005ffffffff}", "{err 06 01}"),
            Say("{req 15 k=a x=00000000000000010000000000000005ffffffff}", "{err 15 01}"),
            Say("{req 00 k=a}", "{err 00 01}"),
        ],
    ),
    same(
        "what is no number is told, and stays",
        &[
            Say("{req 01 k=a x=0000000000000000 v=text}", "{res 01 c=a}"),
            Say("{req 05 k=a x=0000000000000001000000000000000500000000}", "{err 05 06}"),
            Say("{req 16 k=a x=0000000000000001000000000000000500000000}", "{err 16 06}"),
            Say("{req 00 k=a}", "{res 00 c=a x=00000000 v=text}"),
        ],
    ),
];

const REMOVAL: &[Transcript] = &[
    same(
        "delete removes, and flush removes everything",
        &[
            Say("{req 04 k=a}", "{err 04 01}"),
            Say("{req 01 k=a x=0000000000000000 v=1}", "{res 01 c=a}"),
            Say("{req 04 k=a}{req 00 k=a}{req 04 k=a}", "{res 04}{err 00 01}{err 04 01}"),
        ],
    ),
    ours(
        "flush drops what was stored before, not what comes after",
        QUARTERS,
        &[
            Say("{req 01 k=a x=0000000000000000 v=1}", "{res 01 c=a}"),
            Say("{req 08}{req 00 k=a}", "{res 08}{err 00 01}"),
            Say("{req 01 k=a x=0000000000000000 v=1}{req 00 k=a}", "{res 01 c=b}{res 00 c=b x=00000000 v=1}"),
            Say("{req 08 x=00000000}{req 00 k=a}", "{res 08}{err 00 01}"),
            Say("{req 01 k=a x=0000000000000000 v=1}{req 18}{req 00 k=a}", "{res 01 c=d}{err 00 01}"),
            Say(
                "{req 01 k=a x=0000000000000000 v=1}{req 08 x=00000002}{req 00 k=a}",
                "{res 01 c=e}{res 08}{res 00 c=e x=00000000 v=1}",
            ),
            Wait(1500),
            Say("{req 00 k=a}", "{res 00 c=e x=00000000 v=1}"),
            Wait(1000),
            Say("{req 00 k=a}", "{err 00 01}"),
            Say("{req 01 k=a x=0000000000000000 v=1}{req 18 x=00000002}{req 0a}", "{res 01 c=f}{res 0a}"),
            Wait(2500),
            Say("{req 00 k=a}", "{err 00 01}"),
        ],
    ),
];

const LIFETIMES: &[Transcript] = &[ours(
    "lifetimes are seconds from now, or a time",
    QUARTERS,
    &[
        Say("{req 01 k=a x=0000000000000002 v=1}", "{res 01 c=a}"),
        Say("{req 05 k=n x=0000000000000001000000000000000500000002}", "{res 05 c=n v=%00%00%00%00%00%00%00%05}"),
        Say("{req 01 k=b x=0000000000000000 v=1}", "{res 01 c=b}"),
        Say("{req 01 k=past x=0000000040000000 v=1}{req 00 k=past}", "{res 01 c=p}{err 00 01}"),
        Say("{req 01 k=far x=00000000fffffff0 v=1}{req 00 k=far}", "{res 01 c=far}{res 00 c=far x=00000000 v=1}"),
        Wait(1500),
        Say("{req 00 k=a}{req 1c k=b x=00000002}", "{res 00 c=a x=00000000 v=1}{res 1c c=b x=00000000}"),
        Say("{req 1d k=n x=00000000}", "{res 1d c=n x=00000000 v=5}"),
        Wait(1000),
        Say("{req 00 k=a}{req 00 k=b}", "{err 00 01}{res 00 c=b x=00000000 v=1}"),
        Wait(1500),
        Say(
            "{req 00 k=b}{req 00 k=n}{req 00 k=far}",
            "{err 00 01}{res 00 c=n x=00000000 v=5}{res 00 c=far x=00000000 v=1}",
        ),
    ],
)];

const QUIET: &[Transcript] = &[
    same(
        "quiet changes say nothing when they are done",
        &[
            Say("{req 11 k=a x=0000000100000000 v=1}{req 0a}", "{res 0a}"),
            Say("{req 12 k=b x=0000000200000000 v=2}{req 0a}", "{res 0a}"),
            Say("{req 13 k=b x=0000000300000000 v=3}{req 0a}", "{res 0a}"),
            Say("{req 19 k=b v=4}{req 1a k=b v=2}{req 0a}", "{res 0a}"),
            Say("{req 00 k=b}", "{res 00 c=b x=00000003 v=234}"),
            Say(
                "{req 15 k=b x=0000000000000001000000000000000000000000}{req 16 k=b x=0000000000000003000000000000000000000000}{req 0a}",
                "{res 0a}",
            ),
            Say("{req 00 k=b}", "{res 00 c=d x=00000003 v=232}"),
            Say(
                "{req 15 k=new x=0000000000000001000000000000000900000000}{req 00 k=new}",
                "{res 00 c=n x=00000000 v=9}",
            ),
            Say("{req 14 k=b}{req 00 k=b}", "{err 00 01}"),
            Say("{req 11 k=long x=0000000000000000 v=5*6000}{req 00 k=long}", "{res 00 c=l x=00000000 v=5*6000}"),
        ],
    ),
    same(
        "quiet changes tell what went wrong",
        &[
            Say("{req 13 k=a x=0000000000000000 v=1}", "{err 13 01}"),
            Say("{req 19 k=a v=1}{req 1a k=a v=1}", "{err 19 05}{err 1a 05}"),
            Say("{req 14 k=a}", "{err 14 01}"),
            Say("{req 11 k=a x=0000000000000000 v=1 c=1}", "{err 11 01}"),
            Say("{req 11 k=a x=0000000000000000 v=1}{req 12 k=a x=0000000000000000 v=1}", "{err 12 02}"),
            Say("{req 11 k=a x=0000000000000000 v=1 c=1}{req 14 k=a c=1}", "{err 11 02}{err 14 02}"),
        ],
    ),
];

const SMALL_TALK: &[Transcript] = &[
    same("noop answers itself", &[Say("{req 0a}", "{res 0a}"), Say("{req 0a o=ffffffff c=7}", "{res 0a o=ffffffff}")]),
    same(
        "stat of an unknown topic is not found, and reset ends with an empty packet",
        &[Say("{req 10 k=wings}", "{err 10 01}"), Say("{req 10 k=reset}", "{res 10}")],
    ),
    same(
        "data type and vbucket are not looked at",
        &[
            Say("{req 0a}", "{res 0a}"),
            Say("{#80*1}{#0a*1}{#00*3}{#05*1}{#07*2}{#00*4}{#09*4}{#00*8}", "{res 0a o=09090909}"),
        ],
    ),
];

const REFUSALS: &[Transcript] = &[
    same(
        "opcodes that are not served are answered, and the connection stays",
        &[
            Say("{req 1b}{req 1f}{req 25}{req 30}{req ff}", "{err 1b 81}{err 1f 81}{err 25 81}{err 30 81}{err ff 81}"),
            Say("{req 20}", "{err 20 81}"),
            Say("{req 21 k=PLAIN v=%00user%00secret}{req 0a}", "{err 21 81}{res 0a}"),
            Say("{req 22 k=PLAIN v=%00user%00secret}{req 0a}", "{err 22 81}{res 0a}"),
            Say("{req 1b v=abcd}{req 0a}", "{err 1b 81}{res 0a}"),
        ],
    ),
    ours(
        "the body of an opcode that is not served is skipped",
        UNKNOWN,
        &[
            Say("{req 1b x=00000001}{req 0a}", "{err 1b 81}{res 0a}"),
            Say("{req ff k=key x=0011 v=value*3000}{req 0a}", "{err ff 81}{res 0a}"),
        ],
    ),
];

const SIZES: &[Transcript] = &[
    same(
        "values of any length come back",
        &[
            Say("{req 01 k=a x=0000000000000000 v=x*4095}", "{res 01 c=a}"),
            Say("{req 00 k=a}", "{res 00 c=a x=00000000 v=x*4095}"),
            Say("{req 01 k=a x=0000000000000000 v=y*4097}{req 0a}", "{res 01 c=b}{res 0a}"),
            Say("{req 0c k=a}", "{res 0c c=b x=00000000 k=a v=y*4097}"),
            Say("{req 01 k=a x=0000000000000000 v=ab*50000}{req 0a}", "{res 01 c=d}{res 0a}"),
            Say("{req 00 k=a}{req 0a}", "{res 00 c=d x=00000000 v=ab*50000}{res 0a}"),
            Say("{req 1c k=a x=00000000}", "{res 1c c=d x=00000000}"),
            Say("{req 11 k=b x=0000000000000000 v=z*600000}{req 0d k=b}", "{res 0d c=e x=00000000 k=b v=z*600000}"),
        ],
    ),
    same(
        "a value too large is refused and skipped, and what it was to replace is gone",
        &[
            Say("{req 01 k=a x=0000000000000000 v=1}", "{res 01 c=a}"),
            Say("{req 01 k=a x=0000000000000000 v=x*1100000}{req 0a}", "{err 01 03}{res 0a}"),
            Say("{req 00 k=a}", "{err 00 01}"),
            Say("{req 02 k=a x=0000000000000000 v=x*1100000}{req 0a}", "{err 02 03}{res 0a}"),
            Say("{req 11 k=a x=0000000000000000 v=x*1100000}{req 0a}", "{err 11 03}{res 0a}"),
        ],
    ),
    same(
        "what is too large to be added changes nothing",
        &[
            Say("{req 01 k=a x=0000000000000000 v=x*700000}", "{res 01 c=a}"),
            Say("{req 0e k=a v=y*1100000}{req 0a}", "{err 0e 03}{res 0a}"),
            Say("{req 03 k=a x=0000000000000000 v=y*1100000}{req 0a}", "{err 03 03}{res 0a}"),
            Say("{req 0e k=a v=y*500000}{req 0a}", "{err 0e 05}{res 0a}"),
            Say("{req 1d k=a x=00000000}", "{res 1d c=a x=00000000 v=x*700000}"),
        ],
    ),
    ours(
        "a set with a number that is refused leaves what is there",
        KEPT,
        &[
            Say("{req 01 k=a x=0000000000000000 v=1}", "{res 01 c=a}"),
            Say("{req 01 k=a x=0000000000000000 v=x*1100000 c=a}{req 0a}", "{err 01 03}{res 0a}"),
            Say("{req 00 k=a}", "{res 00 c=a x=00000000 v=1}"),
        ],
    ),
];

const KEYS: &[Transcript] = &[same(
    "keys may hold anything, up to 250 bytes",
    &[
        Say("{req 01 k=a%20b%0d%0a%00 x=0000000000000000 v=1}", "{res 01 c=a}"),
        Say("{req 0c k=a%20b%0d%0a%00}{req 0c k=a}", "{res 0c c=a x=00000000 k=a%20b%0d%0a%00 v=1}{res 0c s=01 k=a}"),
        Say("{req 01 k=k*250 x=0000000000000000 v=1}", "{res 01 c=b}"),
        Say("{req 0c k=k*250}", "{res 0c c=b x=00000000 k=k*250 v=1}"),
        Say("{req 23 k=%ff*250 x=00000000}", "{res 23 s=01 k=%ff*250}"),
        Say("{req 04 k=a%20b%0d%0a%00}{req 00 k=a%20b%0d%0a%00}", "{res 04}{err 00 01}"),
    ],
)];

const CLOSES: &[Transcript] = &[
    same("quit answers, then closes", &[Close("{req 07}", "{res 07}")]),
    same("quiet quit closes", &[Close("{req 17}", "")]),
    same("nothing is run behind quit", &[Close("{req 07}{req 0a}", "{res 07}")]),
    same("extras and key longer than the body close", &[Close("{req 00 k=abc bl=2}", "{err 00 81}")]),
    same("extras longer than the body close", &[Close("{req 01 x=0000000000000000 k=a bl=5}", "{err 01 81}")]),
    same("an unknown opcode with such a body closes as well", &[Close("{req ff k=abc bl=2}", "{err ff 81}")]),
    same("a key of more than 250 bytes closes", &[Close("{req 00 k=k*251}", "{err 00 04}")]),
    same("the same with an unknown opcode", &[Close("{req ff k=k*251}", "{err ff 04}")]),
    same("get without a key closes", &[Close("{req 00}", "{err 00 04}")]),
    same("get with extras closes", &[Close("{req 00 k=a x=00000000}", "{err 00 04}")]),
    same("getq with a value closes", &[Close("{req 09 k=a v=b}", "{err 09 04}")]),
    same("getk without a key closes", &[Close("{req 0c}", "{err 0c 04}")]),
    same("getkq without a key closes", &[Close("{req 0d}", "{err 0d 04}")]),
    same("set without extras closes", &[Close("{req 01 k=a v=b}", "{err 01 04}")]),
    same("set without a key closes", &[Close("{req 01 x=0000000000000000 v=b}", "{err 01 04}")]),
    same("set with too many extras closes", &[Close("{req 01 k=a x=000000000000000000 v=b}", "{err 01 04}")]),
    same("add with half its extras closes", &[Close("{req 02 k=a x=00000000 v=b}", "{err 02 04}")]),
    same("replaceq with none closes", &[Close("{req 13 k=a v=b}", "{err 13 04}")]),
    same("append with extras closes", &[Close("{req 0e k=a x=00000000 v=b}", "{err 0e 04}")]),
    same("prependq without a key closes", &[Close("{req 1a v=b}", "{err 1a 04}")]),
    same("delete without a key closes", &[Close("{req 04}", "{err 04 04}")]),
    same("delete with extras closes", &[Close("{req 04 k=a x=00000000}", "{err 04 04}")]),
    same("deleteq with a value closes", &[Close("{req 14 k=a v=b}", "{err 14 04}")]),
    same("increment without extras closes", &[Close("{req 05 k=a}", "{err 05 04}")]),
    same(
        "decrement with a value closes",
        &[Close("{req 06 k=a x=0000000000000001000000000000000500000000 v=b}", "{err 06 04}")],
    ),
    same(
        "incrementq without a key closes",
        &[Close("{req 15 x=0000000000000001000000000000000500000000}", "{err 15 04}")],
    ),
    same("quit with a key closes", &[Close("{req 07 k=a}", "{err 07 04}")]),
    same("quitq with a key closes and says why", &[Close("{req 17 k=a}", "{err 17 04}")]),
    same("flush with a key closes", &[Close("{req 08 k=a}", "{err 08 04}")]),
    same("flush with odd extras closes", &[Close("{req 08 x=000000}", "{err 08 04}")]),
    same("noop with a key closes", &[Close("{req 0a k=a}", "{err 0a 04}")]),
    same("version with extras closes", &[Close("{req 0b x=00}", "{err 0b 04}")]),
    same("stat with extras closes", &[Close("{req 10 x=00000000}", "{err 10 04}")]),
    same("touch without extras closes", &[Close("{req 1c k=a}", "{err 1c 04}")]),
    same("gat without a key closes", &[Close("{req 1d x=00000000}", "{err 1d 04}")]),
    same("gatq with too many extras closes", &[Close("{req 1e k=a x=0000000000000000}", "{err 1e 04}")]),
    same("gatk without extras closes", &[Close("{req 23 k=a}", "{err 23 04}")]),
    same("gatkq without a key closes", &[Close("{req 24 x=00000000}", "{err 24 04}")]),
    same("SASL list with a body closes", &[Close("{req 20 k=a}", "{err 20 04}")]),
    same("SASL without a mechanism closes", &[Close("{req 21 v=abc}", "{err 21 04}")]),
    same("SASL step with extras closes", &[Close("{req 22 k=PLAIN x=00}", "{err 22 04}")]),
    ours("touch with a value closes", BODY, &[Close("{req 1c k=a x=00000000 v=b}", "{err 1c 04}")]),
    ours("gatkq with a value closes", BODY, &[Close("{req 24 k=a x=00000000 v=b}", "{err 24 04}")]),
    ours("stat with a value closes", BODY, &[Close("{req 10 k=items v=b}", "{err 10 04}")]),
    same("another magic in a later packet closes", &[Say("{req 0a}", "{res 0a}"), Close("{req 0a m=81}", "")]),
    same(
        "text in the middle of packets closes",
        &[Say("{req 0a}", "{res 0a}"), Close("version and more of the same\r\n", "")],
    ),
    ours(
        "what came before another magic is answered",
        "memcached drops hits that have not been written yet",
        &[
            Say("{req 01 k=a x=0000000000000000 v=1}", "{res 01 c=a}"),
            Close("{req 00 k=a}{req 0a m=81}", "{res 00 c=a x=00000000 v=1}"),
        ],
    ),
];
