//! What a batch of requests costs from bytes to bytes, without sockets: microseconds per batch.

mod common;

use common::{daemon, item_count, key};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use slabd::command::Context;
use slabd::session::Session;
use std::hint::black_box;

fn batches(c: &mut Criterion) {
    let daemon = daemon(1 << 30);
    let mut local = daemon.store.local(daemon.stats.register());
    let now = daemon.clock.now();
    let mut session = Session::new();
    let mut out: Vec<u8> = Vec::with_capacity(1 << 20);
    let mut feed = |input: &[u8]| {
        out.clear();
        let mut cx = Context { daemon: &daemon, local: &mut local, now, admin: true };
        let fed = session.feed(&mut cx, input, &mut out);
        assert_eq!(fed.used, input.len());
        black_box(out.len())
    };
    let value = "v".repeat(100);
    let set = |n: u64| format!("set {} 0 0 100\r\n{value}\r\n", key(n));
    for n in 0..item_count() {
        feed(set(n).as_bytes());
    }
    let mut rng = fastrand::Rng::with_seed(1);
    let mut keys = |count: usize| -> Vec<String> { (0..count).map(|_| key(rng.u64(0..item_count()))).collect() };
    c.bench_function("session/16 gets", |b| {
        b.iter_batched(
            || keys(16).iter().map(|key| format!("get {key}\r\n")).collect::<String>(),
            |input| assert_eq!(feed(input.as_bytes()), 16 * 134),
            BatchSize::SmallInput,
        );
    });
    c.bench_function("session/get of 100 keys", |b| {
        b.iter_batched(
            || format!("get {}\r\n", keys(100).join(" ")),
            |input| assert_eq!(feed(input.as_bytes()), 100 * 129 + 5),
            BatchSize::SmallInput,
        );
    });
    c.bench_function("session/16 sets", |b| {
        b.iter_batched(
            || keys(16).iter().map(|key| format!("set {key} 0 0 100\r\n{value}\r\n")).collect::<String>(),
            |input| assert_eq!(feed(input.as_bytes()), 16 * 8),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, batches);
criterion_main!(benches);
