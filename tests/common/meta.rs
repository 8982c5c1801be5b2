//! The meta commands and the lease verbs as conversations, as in `transcripts.rs`: answers of memcached 1.6.45 as far as known.

use super::transcripts::{DATA_RUN, HEAD_WORDS, ours, same};
use super::wire::Step::{Close, Say, Wait};
use super::wire::Transcript;

/// All of them.
pub(crate) const TRANSCRIPTS: &[&[Transcript]] =
    &[READING, STORING, REMOVING, COUNTING, WINNING, BASE64, QUIET, DEBUG, FLAGS, REFUSALS, LEASES];

const NEWER: &str = "1.6.18 does not know the flag yet, or not here";
const SECONDS: &str = "memcached's clock cannot be moved by hand, and a second may pass";
const FORGETS_BASE64: &str = "1.6.18 forgets that a key came in base64 when the item is vivified or joined to";
const LEASE: &str = "memcached has no leases";

const READING: &[Transcript] = &[
    same(
        "mg tells what is asked, in the order asked",
        &[
            Say("mg a\r\n", "EN\r\n"),
            Say("mg a v k O1\r\n", "EN ka O1\r\n"),
            Say("set a 5 0 3\r\nabc\r\n", "STORED\r\n"),
            Say("mg a\r\n", "HD\r\n"),
            Say("mg a v\r\n", "VA 3\r\nabc\r\n"),
            Say("mg a s v\r\n", "VA 3 s3\r\nabc\r\n"),
            Say("mg a f k s t Oxy c\r\n", "HD f5 ka s3 t-1 Oxy c{cas:a}\r\n"),
            Say("mg a c t s k f v\r\n", "VA 3 c{cas:a} t-1 s3 ka f5\r\nabc\r\n"),
            Say("gets a\r\n", "VALUE a 5 3 {cas:a}\r\nabc\r\nEND\r\n"),
            Say("mg  a   v  \r\nmg a v\n", "VA 3\r\nabc\r\nVA 3\r\nabc\r\n"),
        ],
    ),
    same(
        "mg h says whether the item has been read before, and u leaves no trace",
        &[
            Say("ms a 2\r\nhi\r\n", "HD\r\n"),
            Say("mg a h u\r\nmg a h u v\r\n", "HD h0\r\nVA 2 h0\r\nhi\r\n"),
            Say("mg a h l\r\n", "HD h0 l0\r\n"),
            Say("mg a h l\r\nmg a h u\r\n", "HD h1 l0\r\nHD h1\r\n"),
            Say("ms a 2\r\nhi\r\nmg a h\r\n", "HD\r\nHD h0\r\n"),
            Say("ms b 2\r\nhi\r\nmg b\r\nmg b h\r\n", "HD\r\nHD\r\nHD h1\r\n"),
        ],
    ),
    ours(
        "mg l counts the seconds since the item was last used, before this use",
        SECONDS,
        &[
            Say("ms a 2\r\nhi\r\n", "HD\r\n"),
            Wait(100_000),
            Say("mg a l u\r\nmg a l\r\nmg a l\r\n", "HD l100\r\nHD l100\r\nHD l0\r\n"),
        ],
    ),
    ours(
        "mg T gives a new lifetime, and t tells it before or after",
        SECONDS,
        &[
            Say("ms a 2 T100\r\nhi\r\nmg a t\r\n", "HD\r\nHD t100\r\n"),
            Wait(10_000),
            Say("mg a t T60\r\nmg a t\r\n", "HD t90\r\nHD t60\r\n"),
            Say("mg a T30 t v\r\nmg a t T0\r\nmg a t\r\n", "VA 2 t30\r\nhi\r\nHD t30\r\nHD t-1\r\n"),
            Say("mg a T2\r\n", "HD\r\n"),
            Wait(1_500),
            Say("mg a t\r\n", "HD t1\r\n"),
            Wait(750),
            Say("mg a t\r\nmg none T5 t k\r\n", "EN\r\nEN knone\r\n"),
        ],
    ),
    same(
        "mg with a lifetime that has ended answers for the last time",
        &[Say("ms a 2\r\nhi\r\nmg a T-1 v\r\nmg a\r\n", "HD\r\nVA 2\r\nhi\r\nEN\r\n")],
    ),
    ours(
        "mg C leaves the value out if the client has it",
        NEWER,
        &[
            Say("ms a 2 c\r\nhi\r\n", "HD c{cas:a}\r\n"),
            Say("mg a v c s C{cas:a}\r\n", "HD c{cas:a} s2\r\n"),
            Say("mg a v c C1\r\nmg a C1\r\n", "VA 2 c{cas:a}\r\nhi\r\nHD\r\n"),
            Say("mg none v C1 k\r\n", "EN knone\r\n"),
        ],
    ),
    same(
        "large values come with the head of a small one",
        &[
            Say("ms a 20000\r\n{x*20000}\r\n", "HD\r\n"),
            Say("mg a s v k\r\n", "VA 20000 s20000 ka\r\n{x*20000}\r\n"),
            Say("mg a s\r\n", "HD s20000\r\n"),
            Say("ms a 700000 c\r\n{y*700000}\r\n", "HD c{cas:a}\r\n"),
            Say("mg a v c\r\nmg a s\r\n", "VA 700000 c{cas:a}\r\n{y*700000}\r\nHD s700000\r\n"),
        ],
    ),
];

const STORING: &[Transcript] = &[
    same(
        "ms stores, and tells what is asked in the order asked",
        &[
            Say("ms a 2\r\nhi\r\n", "HD\r\n"),
            Say("ms a 2 c Oq k\r\nho\r\n", "HD c{cas:a} Oq ka\r\n"),
            Say("mg a v c f\r\n", "VA 2 c{cas:a} f0\r\nho\r\n"),
            Say("ms a 2 F5 T0\r\nhi\r\nmg a v f t\r\n", "HD\r\nVA 2 f5 t-1\r\nhi\r\n"),
            Say("ms a 0 F4294967295\r\n\r\nmg a v f s\r\n", "HD\r\nVA 0 f4294967295 s0\r\n\r\n"),
            Say("ms a 2 T-1\r\nhi\r\nmg a\r\n", "HD\r\nEN\r\n"),
        ],
    ),
    ours(
        "ms T is the lifetime, ms s the length",
        SECONDS,
        &[
            Say("ms a 2 T100 s\r\nhi\r\nmg a t\r\n", "HD s2\r\nHD t100\r\n"),
            Say("ms a 1 s MA c\r\n!\r\nmg a v t c\r\n", "HD s3 c{cas:a}\r\nVA 3 t100 c{cas:a}\r\nhi!\r\n"),
            Say("ms a 20000 s MP\r\n{x*20000}\r\n", "HD s20003\r\n"),
            Say("ms a 1 s ME k\r\n!\r\nms none 3 MR s c\r\nabc\r\n", "NS s1 ka\r\nNS s3 c0\r\n"),
        ],
    ),
    same(
        "ms M chooses the mode",
        &[
            Say("ms a 2 MR k\r\nhi\r\nms a 2 MA\r\nhi\r\nms a 2 MP\r\nhi\r\n", "NS ka\r\nNS\r\nNS\r\n"),
            Say("ms a 2 ME\r\nhi\r\nms a 2 ME c Ox\r\nho\r\n", "HD\r\nNS c0 Ox\r\n"),
            Say("ms a 1 MA\r\n>\r\nms a 1 MP\r\n<\r\nmg a v\r\n", "HD\r\nHD\r\nVA 4\r\n<hi>\r\n"),
            Say("ms a 2 MR F7\r\nho\r\nmg a v f\r\n", "HD\r\nVA 2 f7\r\nho\r\n"),
            Say("ms a 1 MA F9\r\n!\r\nmg a v f\r\n", "HD\r\nVA 3 f7\r\nho!\r\n"),
            Say("ms a 2 MS\r\nhi\r\nmg a v\r\n", "HD\r\nVA 2\r\nhi\r\n"),
        ],
    ),
    ours(
        "append and prepend make an item with N",
        NEWER,
        &[
            Say("ms a 2 MA N30 T90 F3\r\nhi\r\nmg a v t f h\r\n", "HD\r\nVA 2 t30 f3 h0\r\nhi\r\n"),
            Say("ms a 1 MA N60\r\n!\r\nmg a v t\r\n", "HD\r\nVA 3 t30\r\nhi!\r\n"),
            Say("ms b 1 MP N0 s\r\n!\r\nmg b v t\r\n", "HD s1\r\nVA 1 t-1\r\n!\r\n"),
            Say("ms c 20000 MA N0\r\n{x*20000}\r\nmg c s\r\n", "HD\r\nHD s20000\r\n"),
            Say("ms c 2 MA N0 s\r\nhi\r\n", "HD s20002\r\n"),
            Say("ms d 2 N30\r\nhi\r\nmg d t\r\nms e 2 MR N30\r\nhi\r\n", "HD\r\nHD t-1\r\nNS\r\n"),
        ],
    ),
    same(
        "ms C stores only over the number it names",
        &[
            Say("ms a 2 C1 k\r\nhi\r\nms a 2 C0\r\nhi\r\n", "NF ka\r\nNF\r\n"),
            Say("ms a 2 c\r\nhi\r\n", "HD c{cas:a}\r\n"),
            Say("ms a 2 C1 c Oz\r\nho\r\nms a 2 C0\r\nho\r\n", "EX c0 Oz\r\nEX\r\n"),
            Say("ms a 2 C{cas:a} c\r\nho\r\n", "HD c{cas:b}\r\n"),
            Say("ms a 2 C{cas:a}\r\nhu\r\nmg a v c\r\n", "EX\r\nVA 2 c{cas:b}\r\nho\r\n"),
            Say("ms a 2 MR C{cas:a}\r\nhu\r\nms a 2 MR C{cas:b} c\r\nhi\r\n", "EX\r\nHD c{cas:c}\r\n"),
            Say("ms a 1 MA C1\r\n!\r\nms a 1 MA C{cas:c} c\r\n!\r\n", "EX\r\nHD c{cas:d}\r\n"),
            Say("ms a 1 MP C{cas:c}\r\n!\r\nms a 1 MP C0\r\n?\r\nmg a v\r\n", "EX\r\nHD\r\nVA 4\r\n?hi!\r\n"),
            Say("ms b 1 MA C1\r\n!\r\nms b 1 MR C1\r\n!\r\nms b 1 ME C1\r\n!\r\n", "NS\r\nNF\r\nHD\r\n"),
            Say("ms b 1 ME C1\r\n!\r\n", "NS\r\n"),
        ],
    ),
    same(
        "appending to a large value heeds C",
        &[
            Say("ms a 700000 c\r\n{y*700000}\r\n", "HD c{cas:a}\r\n"),
            Say("ms a 1 MA C1\r\n!\r\nms a 1 MA C{cas:a}\r\n!\r\nmg a s\r\n", "EX\r\nHD\r\nHD s700001\r\n"),
        ],
    ),
    ours(
        "E chooses the number",
        NEWER,
        &[
            Say("ms a 2 E100 c\r\nhi\r\nmg a c\r\n", "HD c100\r\nHD c100\r\n"),
            Say("ms a 2 E50 C100 c\r\nhi\r\n", "HD c50\r\n"),
            Say(
                "ms a 1 MA E60 c\r\n!\r\nms a 1 MP E61 c\r\n!\r\nmg a c v\r\n",
                "HD c60\r\nHD c61\r\nVA 4 c61\r\n!hi!\r\n",
            ),
            Say("ms n 2 E7\r\n41\r\nma n E9 c v\r\nmg n c\r\n", "HD\r\nVA 2 c9\r\n42\r\nHD c9\r\n"),
            Say("ma m N0 E11 c\r\nmg v N0 E12 c\r\nmg v E13 c\r\n", "HD c11\r\nHD c12 W\r\nHD c12 Z\r\n"),
            Say("md v I E14\r\nmg v c\r\nmd v x E15\r\nmg v c\r\n", "HD\r\nHD c14 X W\r\nHD\r\nHD c15\r\n"),
            Say("ms a 20000 E18446744073709551615 c\r\n{x*20000}\r\n", "HD c18446744073709551615\r\n"),
            Say("ms a 2\r\nhi\r\nmg a v\r\n", "HD\r\nVA 2\r\nhi\r\n"),
        ],
    ),
    same(
        "ms I stores a stale value over a newer number, and keeps the lifetime",
        &[
            Say("ms a 2 c\r\nhi\r\n", "HD c{cas:a}\r\n"),
            Say("ms a 2 I C1 c T100\r\nho\r\n", "HD c{cas:b}\r\n"),
            Say("mg a v c t\r\n", "VA 2 c{cas:b} t-1 X W\r\nho\r\n"),
            Say("mg a v\r\n", "VA 2 Z X\r\nho\r\n"),
            Say("ms a 2 I C1\r\nhu\r\nmg a v\r\n", "HD\r\nVA 2 Z X\r\nhu\r\n"),
            Say("ms a 2 I C18446744073709551615\r\nha\r\nms none 2 I C1\r\nha\r\n", "EX\r\nNF\r\n"),
            Say("ms a 2 I C0\r\nha\r\nms a 2 MA I C1\r\nha\r\n", "EX\r\nEX\r\n"),
            Say("ms a 2 I\r\nhe\r\nmg a v\r\n", "HD\r\nVA 2\r\nhe\r\n"),
        ],
    ),
    same(
        "ms stores what is on its way for a while",
        &[
            Say("ms a 5000 c Oq k\r\n{x*5000}\r\n", "HD c{cas:a} Oq ka\r\n"),
            Say("mg a s c\r\n", "HD s5000 c{cas:a}\r\n"),
            Say("ms a 5000 ME k\r\n{x*5000}\r\nms a 5000 C1 c\r\n{x*5000}\r\n", "NS ka\r\nEX c0\r\n"),
            Say("ms a 5000 MA q\r\n{y*5000}\r\nmg a s\r\n", "HD s10000\r\n"),
        ],
    ),
];

const REMOVING: &[Transcript] = &[
    same(
        "md removes, if the number is right",
        &[
            Say("md a\r\nmd a k Ox\r\n", "NF\r\nNF ka Ox\r\n"),
            Say("ms a 2 c\r\nhi\r\n", "HD c{cas:a}\r\n"),
            Say("md a C1 k\r\nmg a v\r\n", "EX ka\r\nVA 2\r\nhi\r\n"),
            Say("md a C{cas:a} Oy k\r\nmg a\r\n", "HD Oy ka\r\nEN\r\n"),
            Say("md a C1 k\r\n", "NF ka\r\n"),
            Say("ms a 2\r\nhi\r\nmd a C0\r\nmd a T5\r\nmd a\r\n", "HD\r\nEX\r\nHD\r\nNF\r\n"),
        ],
    ),
    same(
        "md I makes stale, gives a new number and lets one client win anew",
        &[
            Say("ms a 2 F9 c\r\nhi\r\n", "HD c{cas:a}\r\n"),
            Say("md a I C1\r\nmd a I\r\n", "EX\r\nHD\r\n"),
            Say("ms a 2 C{cas:a}\r\nho\r\n", "EX\r\n"),
            Say("mg a v f c\r\n", "VA 2 f9 c{cas:b} X W\r\nhi\r\n"),
            Say("mg a v c\r\nmg a\r\n", "VA 2 c{cas:b} Z X\r\nhi\r\nHD Z X\r\n"),
            Say("md a I\r\nmg a\r\nmg a\r\n", "HD\r\nHD X W\r\nHD Z X\r\n"),
            Say("get a\r\ntouch a 0\r\nmg a\r\n", "VALUE a 9 2\r\nhi\r\nEND\r\nTOUCHED\r\nHD Z X\r\n"),
            Say("set a 0 0 2\r\nhe\r\nmg a v\r\n", "STORED\r\nVA 2\r\nhe\r\n"),
            Say("md a I\r\nmg a\r\nms a 1 MA\r\n!\r\nmg a\r\n", "HD\r\nHD X W\r\nHD\r\nHD\r\n"),
        ],
    ),
    ours(
        "md I T gives what is stale a lifetime",
        SECONDS,
        &[
            Say("ms a 2 T100\r\nhi\r\nmd a I T30\r\nmg a t\r\n", "HD\r\nHD\r\nHD t30 X W\r\n"),
            Say("md a I\r\nmg a t\r\n", "HD\r\nHD t30 X W\r\n"),
            Wait(31_000),
            Say("mg a\r\n", "EN\r\n"),
        ],
    ),
    ours(
        "md x takes the value and leaves the item, a tombstone with I",
        NEWER,
        &[
            Say("ms a 2 F9 T100 c\r\nhi\r\n", "HD c{cas:a}\r\n"),
            Say("md a x C1\r\nmd a x C{cas:a} k\r\n", "EX\r\nHD ka\r\n"),
            Say("mg a v s f t\r\n", "VA 0 s0 f0 t100\r\n\r\n"),
            Say("ms a 2 C{cas:a}\r\nhi\r\n", "EX\r\n"),
            Say("ms a 2 F9\r\nhi\r\nmd a x I T30\r\n", "HD\r\nHD\r\n"),
            Say("mg a v t f\r\nmg a v\r\n", "VA 0 t30 f0 X W\r\n\r\nVA 0 Z X\r\n\r\n"),
            Say("md none x\r\nmd none x I q\r\n", "NF\r\nNF\r\n"),
            Say("ms a 20000 F1\r\n{x*20000}\r\nmd a x\r\nmg a v f\r\n", "HD\r\nHD\r\nVA 0 f0\r\n\r\n"),
            Say("ms a 700000\r\n{x*700000}\r\nmd a x I\r\nmg a v f\r\n", "HD\r\nHD\r\nVA 0 f0 X W\r\n\r\n"),
        ],
    ),
];

const COUNTING: &[Transcript] = &[
    same(
        "ma counts up by one or as D and M say",
        &[
            Say("ma n\r\nma n k Oa v\r\n", "NF\r\nNF kn Oa\r\n"),
            Say("ms n 2\r\n10\r\nma n\r\nma n v\r\n", "HD\r\nHD\r\nVA 2\r\n12\r\n"),
            Say("ma n D8 v\r\nma n MI v\r\nma n M+ v D2\r\n", "VA 2\r\n20\r\nVA 2\r\n21\r\nVA 2\r\n23\r\n"),
            Say("ma n MD v\r\nma n M- v D2\r\nma n MD D100 v\r\n", "VA 2\r\n22\r\nVA 2\r\n20\r\nVA 1\r\n0\r\n"),
            Say("mg n v s\r\n", "VA 2 s2\r\n0 \r\n"),
            Say("ma n D18446744073709551615 v\r\nma n v\r\n", "VA 20\r\n18446744073709551615\r\nVA 1\r\n0\r\n"),
            Say("ms n 1\r\n5\r\nma n c t k v Oz\r\n", "HD\r\nVA 1 c{cas:n} t-1 kn Oz\r\n6\r\n"),
            Say("mg n c\r\nma n C1\r\nma n C{cas:n} v\r\n", "HD c{cas:n}\r\nEX\r\nVA 1\r\n7\r\n"),
            Say("ma n C{cas:n} k\r\nma n C0 v\r\n", "EX kn\r\nVA 1\r\n8\r\n"),
            Say(
                "ms t 3\r\nabc\r\nma t v k\r\n",
                "HD\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
            ),
        ],
    ),
    same(
        "ma N makes the number J says",
        &[
            Say("ma n N0 J7 D3 v t\r\nmg n v h\r\n", "VA 1 t-1\r\n7\r\nVA 1 h0\r\n7\r\n"),
            Say("ma n N0 J7 D3 v\r\nma m N0 v\r\n", "VA 2\r\n10\r\nVA 1\r\n0\r\n"),
            Say(
                "ma l N0 J18446744073709551615 v c\r\nmg l v c\r\n",
                "VA 20 c{cas:l}\r\n18446744073709551615\r\nVA 20 c{cas:l}\r\n18446744073709551615\r\n",
            ),
            Say("ma k J5\r\nma k C5 N0 J5 v\r\n", "NF\r\nVA 1\r\n5\r\n"),
        ],
    ),
    ours(
        "ma T and N set lifetimes, in the order asked",
        SECONDS,
        &[
            Say("ma n N30 t\r\nma n N60 t\r\n", "HD t30\r\nHD t30\r\n"),
            Say("ma n t T60\r\nma n T90 t\r\nmg n t\r\n", "HD t30\r\nHD t90\r\nHD t90\r\n"),
            Say(
                "ma a N30 T60 t\r\nma b T60 N30 t\r\nma c t N30\r\nmg c t\r\n",
                "HD t60\r\nHD t30\r\nHD t-1\r\nHD t30\r\n",
            ),
            Say("ms d 1 T10\r\n9\r\nma d T20 v t\r\nmg d t v\r\n", "HD\r\nVA 2 t20\r\n10\r\nVA 2 t20\r\n10\r\n"),
        ],
    ),
    ours(
        "counting leaves what is stale as it was",
        "1.6.18 forgets it when the number becomes longer",
        &[
            Say("ms n 1\r\n9\r\nmd n I\r\nma n v\r\nmg n v\r\n", "HD\r\nHD\r\nVA 2\r\n10\r\nVA 2 X W\r\n10\r\n"),
            Say("ma n\r\nmg n v\r\n", "HD\r\nVA 2 Z X\r\n11\r\n"),
        ],
    ),
];

const WINNING: &[Transcript] = &[
    same(
        "mg N makes an item for the winner to fill",
        &[
            Say("mg a N0 s v t c k\r\n", "VA 0 s0 t-1 c{cas:a} ka W\r\n\r\n"),
            Say("mg a N0 s v\r\nmg a\r\n", "VA 0 s0 Z\r\n\r\nHD Z\r\n"),
            Say("get a\r\n", "VALUE a 0 0\r\n\r\nEND\r\n"),
            Say("ms a 2 C{cas:a}\r\nhi\r\nmg a v N0\r\n", "HD\r\nVA 2\r\nhi\r\n"),
            Say("mg b N-1\r\nmg b\r\n", "HD W\r\nEN\r\n"),
            Say("mg c N0 h\r\nmg c h\r\nmg d N0 u h\r\nmg d h\r\n", "HD h0 W\r\nHD h1 Z\r\nHD h0 W\r\nHD h0 Z\r\n"),
        ],
    ),
    ours(
        "mg N, T and t act in the order asked",
        SECONDS,
        &[
            Say("mg a N30 t\r\nmg a N60 t\r\n", "HD t30 W\r\nHD t30 Z\r\n"),
            Say(
                "mg b t N30\r\nmg b t\r\nmg c N30 t T60\r\nmg c t\r\n",
                "HD t-1 W\r\nHD t30 Z\r\nHD t30 W\r\nHD t60 Z\r\n",
            ),
            Say("mg d T60 N30 t\r\nmg e T60 N30\r\nmg e t\r\n", "HD t30 W\r\nHD W\r\nHD t30 Z\r\n"),
            Wait(31_000),
            Say("mg a N30 t\r\n", "HD t30 W\r\n"),
        ],
    ),
    ours(
        "mg R lets one client win when little is left",
        SECONDS,
        &[
            Say("ms a 2 T100\r\nhi\r\nmg a R30\r\nmg a R100\r\n", "HD\r\nHD\r\nHD\r\n"),
            Wait(80_000),
            Say("mg a t R30 v\r\nmg a R30 v\r\nmg a\r\n", "VA 2 t20 W\r\nhi\r\nVA 2 Z\r\nhi\r\nHD Z\r\n"),
            Say("ms a 2 T10\r\nhi\r\nmg a R30\r\nmg a R30\r\n", "HD\r\nHD W\r\nHD Z\r\n"),
            Say(
                "ms a 2\r\nhi\r\nmg a R30\r\nmg a R30 T10\r\nmg a T20 R15\r\nmg a T20 R30\r\n",
                "HD\r\nHD\r\nHD\r\nHD\r\nHD W\r\n",
            ),
            Say("ms a 2 T10\r\nhi\r\nmg a R0\r\nmg a R-1\r\nmg a R11 N5\r\n", "HD\r\nHD\r\nHD\r\nHD W\r\n"),
        ],
    ),
    same(
        "a stale item that was won before is won once more",
        &[
            Say("mg a N0\r\nmd a I\r\nmg a N0\r\nmg a N0\r\n", "HD W\r\nHD\r\nHD X W\r\nHD Z X\r\n"),
            Say("md a\r\nmg a N0\r\n", "HD\r\nHD W\r\n"),
        ],
    ),
];

const BASE64: &[Transcript] = &[
    same(
        "a key in base64 stays so in answers, whoever asks",
        &[
            Say("mg Zm9vYmFy b k O1\r\n", "EN kZm9vYmFy b O1\r\n"),
            Say("ms Zm9vYmFy 2 b k c\r\nhi\r\n", "HD kZm9vYmFy b c{cas:a}\r\n"),
            Say("mg foobar k v\r\nmg Zm9vYmFy b k\r\n", "VA 2 kZm9vYmFy b\r\nhi\r\nHD kZm9vYmFy b\r\n"),
            Say("get foobar\r\n", "VALUE foobar 0 2\r\nhi\r\nEND\r\n"),
            Say("ms foobar 2 k\r\nho\r\nmg Zm9vYmFy b k v\r\n", "HD kfoobar\r\nVA 2 kfoobar\r\nho\r\n"),
            Say("ms Zm9vYmFy 5000 b k\r\n{x*5000}\r\nmg foobar k s\r\n", "HD kZm9vYmFy b\r\nHD kZm9vYmFy b s5000\r\n"),
            Say("md Zm9vYmFy b k\r\nmd Zm9vYmFy b k\r\n", "HD kZm9vYmFy b\r\nNF kZm9vYmFy b\r\n"),
            Say("ms AAoNIP8= 2 b\r\nhi\r\nmg AAoNIP8= b k v\r\n", "HD\r\nVA 2 kAAoNIP8= b\r\nhi\r\n"),
            Say(
                "ms MQ== 1 b\r\n5\r\nma MQ== b v k\r\nma 1 v k\r\nmg 1 k\r\n",
                "HD\r\nVA 1 kMQ== b\r\n6\r\nVA 1 k1\r\n7\r\nHD kMQ== b\r\n",
            ),
        ],
    ),
    ours(
        "a key in base64 stays so however its item is made or joined to",
        FORGETS_BASE64,
        &[
            Say("mg Zm9v b N0 k\r\nmg foo k\r\n", "HD kZm9v b W\r\nHD kZm9v b Z\r\n"),
            Say("ma YmFy b N0 k\r\nmg bar k\r\n", "HD kYmFy b\r\nHD kYmFy b\r\n"),
            Say(
                "ms YmF6 2 b\r\nhi\r\nappend baz 0 0 1\r\n!\r\nmg baz k v\r\n",
                "HD\r\nSTORED\r\nVA 3 kYmF6 b\r\nhi!\r\n",
            ),
            Say("md baz I\r\nmg baz k\r\nmd baz x\r\nmg baz k\r\n", "HD\r\nHD kYmF6 b X W\r\nHD\r\nHD kYmF6 b\r\n"),
            Say("set baz 0 0 1\r\nx\r\nmg YmF6 b k\r\n", "STORED\r\nHD kbaz\r\n"),
        ],
    ),
    same(
        "a key that is no base64, and the longest that is",
        &[
            Say(
                "mg Zm9 b k\r\nmg foo! b\r\n",
                "CLIENT_ERROR error decoding key\r\nCLIENT_ERROR error decoding key\r\n",
            ),
            Say("ms {Zm9v*62} 2 b k\r\nhi\r\n", "HD k{Zm9v*62} b\r\n"),
            Say(
                "mg {foo*62} k v\r\nme {foo*62}\r\n",
                "VA 2 k{Zm9v*62} b\r\nhi\r\nME {Zm9v*62} exp=-1 la=0 cas={cas:a} fetch=yes cls={cas:b} size={cas:c}\r\n",
            ),
            Say("mg {Zm9v*63} b\r\n", "CLIENT_ERROR bad command line format\r\n"),
        ],
    ),
];

const QUIET: &[Transcript] = &[
    same(
        "q hides what is expected and nothing else",
        &[
            Say("mg a q k\r\nmn\r\n", "MN\r\n"),
            Say("ms a 2 q k c\r\nhi\r\nmg a q v\r\nmn\r\n", "VA 2\r\nhi\r\nMN\r\n"),
            Say(
                "ms a 2 q ME\r\nhi\r\nms a 2 q C1\r\nhi\r\nms b 2 q C1\r\nhi\r\nms b 2 q MA\r\nhi\r\n",
                "NS\r\nEX\r\nNF\r\nNS\r\n",
            ),
            Say("md a q I\r\nmg a q\r\nmd a q C1\r\nmd a q\r\nmd a q\r\nmn\r\n", "HD X W\r\nEX\r\nNF\r\nMN\r\n"),
            Say("ma n q\r\nma n q N0\r\nma n q\r\nma n q v\r\nma n q C1\r\nmn\r\n", "NF\r\nHD\r\nEX\r\nMN\r\n"),
            Say("mg v q N0\r\nmg v q N0\r\n", "HD W\r\nHD Z\r\n"),
            Say("ms a 2 q\r\nhi\r\nma a q\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
            Say(
                "mg a q T\r\nms a 2 q T\r\nhi\r\nmg a q v v\r\n",
                "CLIENT_ERROR bad token in command line format\r\nCLIENT_ERROR bad token in command line format\r\nCLIENT_ERROR duplicate flag\r\n",
            ),
            Say(
                "ms a 2000000 q\r\n{x*2000000}\r\nmg a q\r\nmn\r\n",
                "SERVER_ERROR object too large for cache\r\nMN\r\n",
            ),
        ],
    ),
    same("a quiet batch ends with mn", &[Say("mg a q\r\nmg b q\r\nmn\r\nmn x y\r\n", "MN\r\nMN\r\n")]),
];

const DEBUG: &[Transcript] = &[
    same(
        "me tells what is known of an item and leaves no trace",
        &[
            Say("me a\r\nme a x y\r\n", "EN\r\nEN\r\n"),
            Say("ms a 2\r\nhi\r\n", "HD\r\n"),
            Say("me a\r\n", "ME a exp=-1 la=0 cas={cas:a} fetch=no cls={cas:c} size={cas:s}\r\n"),
            Say(
                "me a x\r\nmg a c\r\n",
                "ME a exp=-1 la=0 cas={cas:a} fetch=no cls={cas:c} size={cas:s}\r\nHD c{cas:a}\r\n",
            ),
            Say("me a\r\n", "ME a exp=-1 la=0 cas={cas:a} fetch=yes cls={cas:c} size={cas:s}\r\n"),
            Say(
                "md a I\r\nme a\r\nmg a\r\n",
                "HD\r\nME a exp=-1 la=0 cas={cas:b} fetch=yes cls={cas:c} size={cas:s}\r\nHD X W\r\n",
            ),
            Say("ms Zm9v 2 b\r\nhi\r\n", "HD\r\n"),
            Say("me Zm9v b\r\n", "ME Zm9v exp=-1 la=0 cas={cas:d} fetch=no cls={cas:c} size={cas:t}\r\n"),
        ],
    ),
    ours(
        "me counts lifetimes towards their end",
        SECONDS,
        &[
            Say("ms a 2 T30\r\nhi\r\n", "HD\r\n"),
            Wait(5_000),
            Say("me a\r\n", "ME a exp=-25 la=5 cas={cas:a} fetch=no cls={cas:c} size={cas:s}\r\n"),
        ],
    ),
];

const FLAGS: &[Transcript] = &[
    ours(
        "every known flag is taken by every command, and ignored where it means nothing",
        NEWER,
        &[
            Say("mg a c f h k l s t u v x I L P q M\r\nmn\r\n", "MN\r\n"),
            Say("ms a 2 f h l s t u v x L P D5 J5 R5\r\nhi\r\n", "HD s2\r\n"),
            Say("mg a MZZ D5 J5 F5 E5 x I L P v\r\n", "VA 2\r\nhi\r\n"),
            Say(
                "ma a c f h l s u x I L P F5 R5\r\n",
                "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
            ),
            Say("md a c f h l s t u v L P D5 J5 F5 N5 R5 T5 MX E5\r\nmg a\r\n", "HD\r\nEN\r\n"),
            Say(
                "mg a kxyz vwhatever sO1\r\nmg a C1 D1 E1 F1 J1 L M N0 P R1 T0 c f h k l s t u v\r\n",
                "EN ka\r\nVA 0 c1 f0 h0 ka l0 s0 t-1 W\r\n\r\n",
            ),
        ],
    ),
    ours(
        "twenty flags are not too many, twenty-one are",
        "1.6.18 draws the line at seventeen, and says it otherwise for some commands",
        &[
            Say("mg a C1 D1 E1 F1 J1 L MS O1 P R1 T0 c f h k l s t u v\r\n", "EN O1 ka\r\n"),
            Say(
                "mg a C1 D1 E1 F1 I J1 L MS O1 P R1 T0 c f h k l s t u v\r\n",
                "CLIENT_ERROR options flags are too long\r\n",
            ),
            Say(
                "mg a a{ v*20}\r\nma a{ v*21}\r\n",
                "CLIENT_ERROR options flags are too long\r\nCLIENT_ERROR options flags are too long\r\n",
            ),
            Say("ms a 2{ v*21}\r\nhi\r\nmn\r\n", "CLIENT_ERROR options flags are too long\r\nMN\r\n"),
        ],
    ),
    same(
        "an opaque token has up to 31 bytes",
        &[
            Say("mg a O{x*31}\r\nmg a O\r\n", "EN O{x*31}\r\nEN O\r\n"),
            Say("mg a O{x*32}\r\n", "CLIENT_ERROR opaque token too long\r\n"),
            Say(
                "ms a 2 O{x*31}\r\nhi\r\nms a 2 O{x*32}\r\nhi\r\n",
                "HD O{x*31}\r\nCLIENT_ERROR opaque token too long\r\n",
            ),
            Say("ms a 5000 O{x*31}\r\n{x*5000}\r\n", "HD O{x*31}\r\n"),
            Say("mg a O1\\\u{7f}%\r\n", "HD O1\\\u{7f}%\r\n"),
        ],
    ),
];

const REFUSALS: &[Transcript] = &[
    same(
        "flags that nobody knows, or twice",
        &[
            Say(
                "mg foo m o o\r\nmg foo a\r\nmg foo S1\r\n",
                "CLIENT_ERROR invalid flag\r\nCLIENT_ERROR invalid flag\r\nCLIENT_ERROR invalid flag\r\n",
            ),
            Say(
                "mg foo 1\r\nmg foo \t\r\nmg foo ~\r\n",
                "CLIENT_ERROR invalid flag\r\nCLIENT_ERROR invalid flag\r\nCLIENT_ERROR invalid flag\r\n",
            ),
            Say(
                "mg foo v v\r\nmg foo k O1 O2\r\nmg foo {#ff*1}\r\n",
                "CLIENT_ERROR duplicate flag\r\nCLIENT_ERROR duplicate flag\r\nCLIENT_ERROR duplicate flag\r\n",
            ),
            Say(
                "ma foo a\r\nma foo q q\r\nma foo Dx\r\nma foo Nx\r\n",
                "{CLIENT_ERROR invalid or duplicate flag\r\n*4}",
            ),
            Say(
                "ms foo 2 a\r\nhi\r\nms foo 2 k k\r\nhi\r\nmg foo\r\n",
                "CLIENT_ERROR invalid flag\r\nCLIENT_ERROR duplicate flag\r\nEN\r\n",
            ),
        ],
    ),
    ours(
        "md says what is wrong with its flags",
        "1.6.18 has one line for all of it, as for ma",
        &[Say(
            "md foo a\r\nmd foo q q\r\nmd foo Tx\r\nmd foo C\r\n",
            "CLIENT_ERROR invalid flag\r\nCLIENT_ERROR duplicate flag\r\nCLIENT_ERROR bad token in command line format\r\nCLIENT_ERROR bad token in command line format\r\n",
        )],
    ),
    same(
        "numbers that are none",
        &[
            Say(
                "mg a Nx\r\nmg a N\r\nmg a T1x\r\nmg a R-\r\nmg a C\r\nmg a C-1\r\n",
                "{CLIENT_ERROR bad token in command line format\r\n*6}",
            ),
            Say(
                "mg a Dx\r\nmg a J\r\nmg a Fx\r\nmg a F-1\r\n",
                "CLIENT_ERROR invalid numeric delta value\r\nCLIENT_ERROR invalid numeric initial value\r\n{CLIENT_ERROR bad command line format\r\n*2}",
            ),
            Say(
                "mg a C18446744073709551616\r\nmg a Nx v v\r\nmg a Nx a\r\n",
                "CLIENT_ERROR bad token in command line format\r\nCLIENT_ERROR duplicate flag\r\nCLIENT_ERROR invalid flag\r\n",
            ),
            Say(
                "mg a Nx Dx\r\nmg a Dx Nx\r\n",
                "CLIENT_ERROR invalid numeric delta value\r\nCLIENT_ERROR bad token in command line format\r\n",
            ),
            Say(
                "ms a 2 Tx\r\nhi\r\nms a 2 Cx\r\nhi\r\nms a 2 Fx\r\nhi\r\nmg a\r\n",
                "{CLIENT_ERROR bad token in command line format\r\n*2}CLIENT_ERROR bad command line format\r\nEN\r\n",
            ),
            Say(
                "ma a D-1\r\nma a D18446744073709551616\r\nma a J\r\n",
                "{CLIENT_ERROR invalid or duplicate flag\r\n*3}",
            ),
        ],
    ),
    same(
        "modes that are none",
        &[
            Say(
                "ms a 2 MX\r\nhi\r\nms a 2 Me\r\nhi\r\nmg a\r\n",
                "{CLIENT_ERROR invalid mode for ms M token\r\n*2}EN\r\n",
            ),
            Say(
                "ma a MX\r\nma a Mi\r\nma a MS\r\nmg a MX\r\n",
                "{CLIENT_ERROR invalid mode for ma M token\r\n*3}EN\r\n",
            ),
        ],
    ),
    ours(
        "of a mode the first letter counts, and no letter is no mode",
        "1.6.18 wants exactly one letter",
        &[
            Say("ms a 2 MEX\r\nhi\r\nms a 2 ME\r\nhi\r\n", "HD\r\nNS\r\n"),
            Say(
                "ms a 2 M\r\nhi\r\nma a M\r\nmg a M\r\nmd a M\r\n",
                "CLIENT_ERROR invalid mode for ms M token\r\nCLIENT_ERROR invalid mode for ma M token\r\nHD\r\nHD\r\n",
            ),
            Say("ma a N0 MDown v\r\n", "VA 1\r\n0\r\n"),
        ],
    ),
    same(
        "keys that are missing or too long",
        &[
            Say(
                "mg {k*251} v\r\nmd {k*251}\r\nma {k*251}\r\nme {k*251}\r\nme\r\n",
                "{CLIENT_ERROR bad command line format\r\n*5}",
            ),
            Say("ms a\r\nms {k*250} 2 k\r\nhi\r\n", "CLIENT_ERROR bad command line format\r\nHD k{k*250}\r\n"),
            Say("mg {k*250} k s\r\nmgx a\r\nmg\ta\r\n", "HD k{k*250} s2\r\nERROR\r\nERROR\r\n"),
        ],
    ),
    ours(
        "a verb without a key",
        HEAD_WORDS,
        &[Say("mg\r\nmg \r\nms\r\nmd\r\nma\r\n", "{CLIENT_ERROR bad command line format\r\n*5}")],
    ),
    ours(
        "the value of a refused ms is skipped",
        DATA_RUN,
        &[Say("ms {k*251} 7\r\nmd tree\r\n", "CLIENT_ERROR bad command line format\r\n")],
    ),
    ours(
        "flags of more than 32 bits are refused, and the value is skipped",
        "1.6.18 cuts them",
        &[Say("ms a 2 F4294967296\r\nhi\r\nmn\r\n", "CLIENT_ERROR bad command line format\r\nMN\r\n")],
    ),
    ours(
        "a value without its terminator stores nothing and loses its line, quietly asked or not",
        DATA_RUN,
        &[Say("ms a 2 q\r\nhi!\r\nms a 2 q\r\nhello\r\nmg a\r\n", "{CLIENT_ERROR bad data chunk\r\n*2}EN\r\n")],
    ),
    ours(
        "ms with a length that nobody can read closes",
        DATA_RUN,
        &[Close("ms a S2\r\nhi\r\n", "CLIENT_ERROR bad command line format\r\n")],
    ),
    ours(
        "ms with less than nothing closes",
        DATA_RUN,
        &[Close("ms a -1\r\nhi\r\n", "CLIENT_ERROR bad command line format\r\n")],
    ),
    same(
        "a set that is too large removes the old value",
        &[
            Say("ms a 2\r\nhi\r\n", "HD\r\n"),
            Say("ms a 3000000 k\r\n{x*3000000}\r\nmg a\r\n", "SERVER_ERROR object too large for cache\r\nEN\r\n"),
        ],
    ),
    ours(
        "another store that is too large leaves the old value",
        "memcached removes it, whatever the mode of ms",
        &[
            Say("ms a 2\r\nhi\r\n", "HD\r\n"),
            Say(
                "ms a 3000000 ME\r\n{x*3000000}\r\nmg a v\r\n",
                "SERVER_ERROR object too large for cache\r\nVA 2\r\nhi\r\n",
            ),
            Say(
                "ms a 3000000 MA\r\n{x*3000000}\r\nmg a v\r\n",
                "SERVER_ERROR object too large for cache\r\nVA 2\r\nhi\r\n",
            ),
        ],
    ),
];

const LEASES: &[Transcript] = &[
    ours(
        "the first who misses gets the lease, the others are told to wait",
        LEASE,
        &[
            Say("lease-get a\r\n", "LVALUE a {cas:t} 0 0\r\n\r\nEND\r\n"),
            Say("lease-get a\r\nlease-get a\r\n", "LVALUE a 1 0 0\r\n\r\nEND\r\nLVALUE a 1 0 0\r\n\r\nEND\r\n"),
            Say("lease-set a 1 0 0 2\r\nhi\r\nlease-set a 0 0 0 2\r\nhi\r\n", "NOT_STORED\r\nNOT_STORED\r\n"),
            Say("lease-set a {cas:t} 5 0 2\r\nhi\r\n", "STORED\r\n"),
            Say("lease-get a\r\nget a\r\n", "VALUE a 5 2\r\nhi\r\nEND\r\nVALUE a 5 2\r\nhi\r\nEND\r\n"),
            Say("lease-set a {cas:t} 5 0 2\r\nho\r\n", "NOT_STORED\r\n"),
        ],
    ),
    ours(
        "a lease is no item to anybody else",
        LEASE,
        &[
            Say("lease-get a\r\n", "LVALUE a {cas:t} 0 0\r\n\r\nEND\r\n"),
            Say(
                "get a\r\ngets a\r\ngat 5 a\r\nmg a\r\nmg a v k\r\nme a\r\nmetaget a\r\n",
                "END\r\nEND\r\nEND\r\nEN\r\nEN ka\r\nEN\r\nEND\r\n",
            ),
            Say(
                "touch a 5\r\nincr a 1\r\nappend a 0 0 1\r\nx\r\nreplace a 0 0 1\r\nx\r\ncas a 0 0 1 {cas:t}\r\nx\r\n",
                "NOT_FOUND\r\nNOT_FOUND\r\nNOT_STORED\r\nNOT_STORED\r\nNOT_FOUND\r\n",
            ),
            Say("ma a\r\nms a 1 MA\r\nx\r\nms a 1 C{cas:t} I\r\nx\r\n", "NF\r\nNS\r\nNF\r\n"),
            Say("lease-get a\r\n", "LVALUE a 1 0 0\r\n\r\nEND\r\n"),
            Say("lease-set a {cas:t} 0 0 5000\r\n{x*5000}\r\nmg a s\r\n", "STORED\r\nHD s5000\r\n"),
        ],
    ),
    ours(
        "whoever stores or deletes ends a lease",
        LEASE,
        &[
            Say("lease-get a\r\nadd a 0 0 1\r\nx\r\n", "LVALUE a {cas:t} 0 0\r\n\r\nEND\r\nSTORED\r\n"),
            Say("lease-set a {cas:t} 0 0 2\r\nhi\r\nlease-get a\r\n", "NOT_STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"),
            Say("lease-get b\r\ndelete b\r\n", "LVALUE b {cas:b} 0 0\r\n\r\nEND\r\nNOT_FOUND\r\n"),
            Say(
                "lease-set b {cas:b} 0 0 2\r\nhi\r\nlease-get b\r\n",
                "NOT_STORED\r\nLVALUE b {cas:c} 0 0\r\n\r\nEND\r\n",
            ),
            Say("lease-get d\r\nmg d N0\r\nmg d\r\n", "LVALUE d {cas:d} 0 0\r\n\r\nEND\r\nHD W\r\nHD Z\r\n"),
        ],
    ),
    ours(
        "a lease is good for some seconds",
        LEASE,
        &[
            Say("lease-get a\r\n", "LVALUE a {cas:t} 0 0\r\n\r\nEND\r\n"),
            Wait(9_000),
            Say("lease-get a\r\n", "LVALUE a 1 0 0\r\n\r\nEND\r\n"),
            Wait(2_000),
            Say(
                "lease-set a {cas:t} 0 0 2\r\nhi\r\nlease-get a\r\n",
                "NOT_STORED\r\nLVALUE a {cas:u} 0 0\r\n\r\nEND\r\n",
            ),
            Say("lease-set a {cas:u} 0 0 2 noreply\r\nhi\r\nlease-get a\r\n", "VALUE a 0 2\r\nhi\r\nEND\r\n"),
        ],
    ),
    ours(
        "a stale value comes with the lease, and a late refill of it is stale as well",
        LEASE,
        &[
            Say("set a 7 0 2\r\nhi\r\nmd a I\r\n", "STORED\r\nHD\r\n"),
            Say(
                "lease-get a\r\nlease-get a\r\n",
                "LVALUE a {cas:t} 7 2\r\nhi\r\nEND\r\nLVALUE a 1 7 2\r\nhi\r\nEND\r\n",
            ),
            Say(
                "mg a\r\nmetaget a\r\n",
                "HD Z X\r\nMETA a age: unknown; exptime: 0; from: unknown; is_transient: 1\r\nEND\r\n",
            ),
            Say("md a I\r\nlease-set a {cas:t} 0 0 2\r\nho\r\n", "HD\r\nSTALE_STORED\r\n"),
            Say("lease-get a\r\n", "LVALUE a {cas:u} 0 2\r\nho\r\nEND\r\n"),
            Say(
                "lease-set a {cas:u} 0 0 2\r\nhe\r\nlease-get a\r\nmg a\r\n",
                "STORED\r\nVALUE a 0 2\r\nhe\r\nEND\r\nHD\r\n",
            ),
            Say("md a I\r\nmg a\r\nlease-get a\r\n", "HD\r\nHD X W\r\nLVALUE a 1 0 2\r\nhe\r\nEND\r\n"),
        ],
    ),
    ours(
        "lease verbs refuse as the classic ones do",
        LEASE,
        &[
            Say("lease-get\r\nmetaget\r\nlease-get {k*251}\r\n", "{CLIENT_ERROR bad command line format\r\n*3}"),
            Say("lease-get a b\r\nmetaget a b\r\nlease-set a\r\nlease-set a 1 0 0\r\n", "{ERROR\r\n*4}"),
            Say(
                "lease-set a x 0 0 2\r\nhi\r\nlease-set a 1 x 0 2\r\nhi\r\nlease-set a 1 0 x 2\r\nhi\r\n",
                "{CLIENT_ERROR bad command line format\r\n*3}",
            ),
            Say(
                "lease-set {k*251} 1 0 0 2\r\nhi\r\nlease-set a 1 0 0 2 x y\r\nhi\r\n",
                "CLIENT_ERROR bad command line format\r\nERROR\r\n",
            ),
            Say(
                "lease-set a 1 0 0 2\r\nhi!\r\nlease-set a 1 0 0 3000000\r\n{x*3000000}\r\n",
                "CLIENT_ERROR bad data chunk\r\nSERVER_ERROR object too large for cache\r\n",
            ),
            Say("lease-set a 1 4294967296 0 2 noreply\r\nhi\r\nmetaget none\r\n", "END\r\n"),
        ],
    ),
    ours(
        "a lease-set without a length closes",
        LEASE,
        &[Close("lease-set a 1 0 0 x\r\nhi\r\n", "CLIENT_ERROR bad command line format\r\n")],
    ),
    ours(
        "large values are leased like small ones",
        LEASE,
        &[
            Say("ms a 20000 F3\r\n{x*20000}\r\nlease-get a\r\n", "HD\r\nVALUE a 3 20000\r\n{x*20000}\r\nEND\r\n"),
            Say("md a I T60\r\nlease-get a\r\n", "HD\r\nLVALUE a {cas:t} 3 20000\r\n{x*20000}\r\nEND\r\n"),
            Say("metaget a\r\n", "META a age: unknown; exptime: 60; from: unknown; is_transient: 1\r\nEND\r\n"),
            Say("lease-set a {cas:t} 0 50 700000\r\n{y*700000}\r\nmg a s t\r\n", "STORED\r\nHD s700000 t50\r\n"),
        ],
    ),
];
