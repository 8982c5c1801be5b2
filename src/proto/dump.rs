//! What dumps say, in memcached's words: a line for each item.
//!
//! ```text
//!   metadump    key=<escaped> exp=<unix time or -1> la=<unix time> cas=<n> fetch=yes|no cls=<n> size=<n> flags=<n> \n
//!   mgdump      mg <key>\r\n              or, where no text command can name the key, mg <base64 of it> b\r\n
//!   cachedump   ITEM <key> [<length> b; <unix time or 0> s]\r\n
//! ```
//!
//! A key is one word of printable bytes in all of them, whatever it is made of: metadump escapes it as a part of a URL, as memcached does;
//! cachedump, where memcached does not, escapes only what no text command can name.

use crate::command::{DumpForm, Dumped, Out};
use crate::events::{escape, escape_unless, is_speakable};
use crate::limits::KEY_LEN_MAX;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Says that a dump begins.
pub fn begin<O: Out>(out: &mut O) {
    out.bytes(b"OK\r\n");
}

/// Says that it is over.
pub fn end<O: Out>(form: DumpForm, out: &mut O) {
    out.bytes(match form {
        DumpForm::Meta => b"END\r\n",
        DumpForm::Keys => b"EN\r\n",
    });
}

/// Tells one item.
pub fn item<O: Out>(form: DumpForm, dumped: &Dumped<'_>, out: &mut O) {
    match form {
        DumpForm::Meta => all(dumped, out),
        DumpForm::Keys => key(dumped, out),
    }
}

fn all<O: Out>(dumped: &Dumped<'_>, out: &mut O) {
    let mut digits = itoa::Buffer::new();
    out.bytes(b"key=");
    escape(dumped.key, |part| out.bytes(part));
    match dumped.exptime {
        Some(exptime) => named(out, b" exp=", exptime),
        None => out.bytes(b" exp=-1"),
    }
    named(out, b" la=", dumped.used_at);
    named(out, b" cas=", dumped.cas);
    out.bytes(if dumped.is_fetched { b" fetch=yes cls=" } else { b" fetch=no cls=" });
    out.bytes(digits.format(dumped.class).as_bytes());
    named(out, b" size=", dumped.item_len as u64);
    named(out, b" flags=", dumped.flags.into());
    out.bytes(b" \n");
}

fn named<O: Out>(out: &mut O, name: &[u8], number: u64) {
    out.bytes(name);
    out.bytes(itoa::Buffer::new().format(number).as_bytes());
}

fn key<O: Out>(dumped: &Dumped<'_>, out: &mut O) {
    out.bytes(b"mg ");
    if !dumped.key_is_base64 && dumped.key.iter().all(|&byte| is_speakable(byte)) {
        out.bytes(dumped.key);
        out.bytes(b"\r\n");
        return;
    }
    let mut text = [0; KEY_LEN_MAX.div_ceil(3) * 4];
    let len = STANDARD.encode_slice(dumped.key, &mut text).expect("keys are at most KEY_LEN_MAX long");
    out.bytes(&text[..len]);
    out.bytes(b" b\r\n");
}

/// Tells one item of a class's list.
pub fn listed<O: Out>(dumped: &Dumped<'_>, out: &mut O) {
    out.bytes(b"ITEM ");
    escape_unless(dumped.key, is_speakable, |part| out.bytes(part));
    named(out, b" [", dumped.value_len as u64);
    named(out, b" b; ", dumped.exptime.unwrap_or(0));
    out.bytes(b" s]\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Value;

    struct Lines(Vec<u8>);

    impl Out for Lines {
        fn make_room(&mut self, _: usize) {}
        fn bytes(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
        fn value(&mut self, _: Value<'_>) {}
        fn pending_len(&self) -> usize {
            0
        }
    }

    #[test]
    fn any_key_is_one_word_and_can_be_read_back() {
        let dumped = |key| Dumped {
            key,
            key_is_base64: false,
            exptime: Some(1_800_000_000),
            used_at: 1_799_999_999,
            cas: 7,
            is_fetched: true,
            class: 3,
            item_len: 67,
            flags: 5,
            value_len: 2,
        };
        let said = |tell: &dyn Fn(&mut Lines)| {
            let mut lines = Lines(Vec::new());
            tell(&mut lines);
            String::from_utf8_lossy(&lines.0).into_owned()
        };
        for (key, escaped, mg, listed_as) in [
            (&b"user:1"[..], "user%3A1", "user:1", "user:1"),
            (b"a b\n\0\x7f%", "a%20b%0A%00%7F%25", "YSBiCgB/JQ== b", "a%20b%0A%00%7F%"),
        ] {
            let dumped = dumped(key);
            let all = format!("key={escaped} exp=1800000000 la=1799999999 cas=7 fetch=yes cls=3 size=67 flags=5 \n");
            assert_eq!(said(&|out| item(DumpForm::Meta, &dumped, out)), all);
            assert_eq!(said(&|out| item(DumpForm::Keys, &dumped, out)), format!("mg {mg}\r\n"));
            assert_eq!(said(&|out| listed(&dumped, out)), format!("ITEM {listed_as} [2 b; 1800000000 s]\r\n"));
            let base64 = Dumped { key_is_base64: true, ..dumped };
            assert!(said(&|out| item(DumpForm::Keys, &base64, out)).ends_with(" b\r\n"));
        }
    }

    #[test]
    fn no_line_is_longer_than_what_is_set_aside_for_it() {
        let key = [b' '; KEY_LEN_MAX];
        let (most, secs) = (u64::MAX, Some(u64::MAX));
        let dumped = Dumped {
            key: &key,
            key_is_base64: true,
            exptime: secs,
            used_at: most,
            cas: most,
            is_fetched: true,
            class: u8::MAX,
            item_len: usize::MAX,
            flags: u32::MAX,
            value_len: usize::MAX,
        };
        for tell in [all::<Lines>, super::key, listed] {
            let mut lines = Lines(Vec::new());
            tell(&dumped, &mut lines);
            assert!(lines.0.len() <= crate::limits::DUMP_LINE_LEN_MAX);
        }
    }
}
