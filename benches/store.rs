//! What the store costs, without protocol or sockets: nanoseconds per operation, on items beyond the processor's cache.

mod common;

use common::{daemon, item_count, key};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use slabd::store::{Condition, Deadline, Draft, Local, Store};
use std::hint::black_box;

const VALUE: [u8; 100] = [b'v'; 100];

fn put(store: &Store, local: &mut Local, now: slabd::clock::Now, n: u64) {
    let key = key(n);
    let draft = Draft::new((store.hash(key.as_bytes()), key.as_bytes()), 0, Deadline::NEVER);
    let stored = store.put(local, draft, Condition::Always, &VALUE, now);
    assert!(stored.is_ok(), "a store that evicts takes everything");
}

fn room(c: &mut Criterion) {
    let daemon = daemon(1 << 30);
    let (store, now) = (&daemon.store, daemon.clock.now());
    let mut local = store.local(daemon.stats.register());
    for n in 0..item_count() {
        put(store, &mut local, now, n);
    }
    let mut rng = fastrand::Rng::with_seed(1);
    c.bench_function("store/get", |b| {
        b.iter_batched(
            || key(rng.u64(0..item_count())),
            |key| {
                let hash = store.hash(key.as_bytes());
                let len = store.get(&mut local, (hash, key.as_bytes()), now, None, |view| view.map(|v| v.value.len()));
                assert_eq!(black_box(len), Some(VALUE.len()));
            },
            BatchSize::SmallInput,
        );
    });
    c.bench_function("store/put over", |b| b.iter(|| put(store, &mut local, now, rng.u64(0..item_count()))));
}

fn full(c: &mut Criterion) {
    let daemon = daemon(64 << 20);
    let (store, now) = (&daemon.store, daemon.clock.now());
    let mut local = store.local(daemon.stats.register());
    let mut n = 0;
    while n < 2_000_000.min(item_count() * 1000) {
        put(store, &mut local, now, n);
        n += 1;
    }
    c.bench_function("store/put evicting", |b| {
        b.iter(|| {
            put(store, &mut local, now, n);
            n += 1;
        });
    });
}

criterion_group!(benches, room, full);
criterion_main!(benches);
