//! What parsing and answering cost, without a store: nanoseconds per request line.

use criterion::{Criterion, criterion_group, criterion_main};
use slabd::command::{Outcome, ReplyShape, Value, View};
use slabd::proto::Parsed;
use slabd::proto::text::{Line, NextKey, encode, next_key, parse, single_get};
use std::hint::black_box;

fn lines(c: &mut Criterion) {
    c.bench_function("parse/get", |b| b.iter(|| single_get(black_box(b"get key0000000001\r\n"))));
    for (name, line) in [
        ("parse/set", &b"set key0000000001 0 300 100\r\n"[..]),
        ("parse/gets", b"gets key0000000001\r\n"),
        ("parse/incr", b"incr key0000000001 1\r\n"),
        ("parse/delete", b"delete key0000000001 noreply\r\n"),
    ] {
        c.bench_function(name, |b| b.iter(|| parse(black_box(line), &mut 0)));
    }
    let mut multiget = b"get".to_vec();
    for n in 0..100 {
        multiget.extend_from_slice(format!(" key{n:010}").as_bytes());
    }
    multiget.extend_from_slice(b"\r\n");
    c.bench_function("parse/get of 100 keys", |b| b.iter(|| assert_eq!(key_count(black_box(&multiget)), 100)));
}

fn key_count(line: &[u8]) -> usize {
    let Parsed::Complete { mut used, value: Line::Keys { .. } } = parse(line, &mut 0) else { panic!("keys follow") };
    let mut count = 0;
    while let NextKey::Key { used: len, .. } = next_key(&line[used..]) {
        count += 1;
        used += len;
    }
    count
}

fn answers(c: &mut Criterion) {
    let value = [b'v'; 100];
    let mut out: Vec<u8> = Vec::with_capacity(1024);
    for (name, with_cas) in [("encode/hit", false), ("encode/hit with cas", true)] {
        c.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                let view = View { key: b"key0000000001", flags: 0, cas: 1 << 50, value: Value::Borrowed(&value) };
                encode(ReplyShape { with_cas, ..ReplyShape::default() }, Outcome::Hit(view), &mut out);
                black_box(out.len())
            });
        });
    }
}

criterion_group!(benches, lines, answers);
criterion_main!(benches);
